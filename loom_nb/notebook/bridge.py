"""Plays a run in the cell that awaits it: events to the painter, ■ to the run, failures to the reader."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from types import FrameType
from typing import Any, Protocol

from loom_nb.errors import RunStopped
from loom_nb.events import Event
from loom_nb.notebook.interrupt import sigint_calls
from loom_nb.notebook.painter import Painter
from loom_nb.runtime import calls
from loom_nb.runtime.run import Run, RunResult

GRACE = 5.0
"""Seconds a cancelled cell waits for its run to end in order."""


class StopControl(Protocol):
    """Something on the page that stops the run and says how it goes."""

    def take(self, event: Event) -> None:
        """One event, on the loop's thread. Never raises."""
        ...

    def stopping(self) -> None:
        """The stop was heard."""
        ...

    def leave(self) -> None:
        """The run is over. Never raises."""
        ...


class Interrupted:
    """What the interrupt button does: the first press asks the run to stop, the second leaves it.

    Who restarts or ends a kernel interrupts it first. Then the run is not stopped but interrupted, and the
    next kernel can resume it: see `Run.stop`.
    """

    def __init__(
        self,
        run: Run,
        left: "asyncio.Future[None]",
        told: Callable[[], None],
        is_ending: Callable[[], bool],
    ) -> None:
        self._run = run
        self._left = left
        self._told = told
        self._is_ending = is_ending
        self._presses = 0

    def __call__(self) -> None:
        """One press, on the loop's thread."""
        self._presses += 1
        if self._presses == 1:
            self._run.stop("interrupted by you", unless=self._is_ending)
            self._told()
        elif not self._left.done():
            self._left.set_result(None)


async def play(
    run: Run,
    painter: Painter,
    control: StopControl | None = None,
    *,
    background: bool = False,
    is_ending: Callable[[], bool] = bool,
) -> RunResult:
    """Wait for the end of a run while it is painted; the result says how it ended.

    Args:
        run: what is played.
        painter: draws it.
        control: stops it from the page.
        background: no cell waits for it, so that ■ belongs to others.
        is_ending: whether the kernel was told to end.

    Raises:
        RunStopped: the reader pressed ■ a second time, and the run is left to end by itself.
        asyncio.CancelledError: the cell was cancelled; the run has been stopped.
    """
    loop = asyncio.get_running_loop()
    left: asyncio.Future[None] = loop.create_future()
    ended = asyncio.ensure_future(run.wait())
    leave = run.subscribe(_to_all(loop, painter.take, *([control.take] if control is not None else [])))
    try:
        interrupted = Interrupted(run, left, control.stopping if control else _nothing, is_ending)
        with nullcontext() if background else sigint_calls(loop, interrupted, in_a_tool):
            waited: set[asyncio.Future[Any]] = {ended, left}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            ended.add_done_callback(_look_away)
            raise RunStopped(f"{run.id} was left before it had stopped", reason="interrupted twice")
        return await ended
    except asyncio.CancelledError:
        run.stop("the cell was cancelled")
        await asyncio.wait({ended}, timeout=GRACE)
        raise
    finally:
        left.cancel()
        leave()
        if control is not None:
            control.leave()
        _finish(painter, loop)


def in_a_tool(frame: FrameType | None) -> bool:
    """Whether this is code of a tool that holds the loop: of ours, what calls tools comes next below it."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] == "loom_nb":
            return name == calls.__name__
        frame = frame.f_back
    return False


def _to_all(loop: asyncio.AbstractEventLoop, *takers: Callable[[Event], None]) -> Callable[[Event], None]:
    def sink(event: Event) -> None:
        for take in takers:
            try:
                take(event)
            except Exception as error:  # noqa: BLE001  the border between a picture and a run: the run goes on
                loop.call_exception_handler({"message": "an event could not be shown", "exception": error})

    return sink


def _finish(painter: Painter, loop: asyncio.AbstractEventLoop) -> None:
    try:
        painter.finish()
    except Exception as error:  # noqa: BLE001  the border between a picture and a run: the result is kept
        loop.call_exception_handler({"message": "the last frame of a transcript failed", "exception": error})


def _look_away(task: "asyncio.Future[RunResult]") -> None:
    """Nobody awaits it any more: what it raises was told already."""
    if not task.cancelled():
        task.exception()


def _nothing() -> None:
    return None
