"""Changes to cells, carried out by the front end: our lab extension reports for it, where it is there.

A kernel cannot edit the notebook it serves. The extension of the wheel can: when it sees our card it opens a
comm, and from then on takes lists of changes, does all of one list in one step that one undo takes back, or
none of it, and says which. A page that was loaded in the middle of a run is told by it what the cells show.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from loom_nb.notebook.paintings import Paintings

if TYPE_CHECKING:
    from loom_nb.notebook.comm_gate import CommGate

TARGET = "loom-nb.cells"
"""The name of the comm, as the extension knows it."""
INVITATION = {"loom": {"cells": TARGET}}
"""Metadata of an output at which the extension opens the comm."""
SECONDS = 15.0
"""How long a front end is waited for."""


class FrontChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change as it travels."""

    action: str
    """insert, edit or delete."""
    cell: str = ""
    """The id of the cell; for insert of the one above, empty: below the running cell."""
    source: str = ""
    kind: str = "code"
    before: str | None = None
    """What the cell must hold now, or nothing is done."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a front end did: everything, or nothing and why not."""

    done: bool
    refused: tuple[str, ...] = ()
    """For each change in turn why it cannot be done; empty where it could be."""
    unknown: bool = False
    """It did not answer: it may have been done."""


class _Said(msgspec.Struct):
    id: int = 0
    done: bool = False
    refused: list[str] = []
    paint: bool = False
    """It asks for what the cells show."""


class FrontCells:
    """The way to the front end of one kernel.

    Args:
        shell: of IPython.
        gate: brings its answers in on kernels that hold messages back while a cell runs.
    """

    def __init__(self, shell: Any, gate: "Callable[[], CommGate | None]") -> None:
        self._comms = getattr(getattr(shell, "kernel", None), "comm_manager", None)
        self._shell = shell
        self._gate = gate
        self._comm: Any = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[_Said]] = {}
        self.paintings = Paintings(time.monotonic)
        """What a page is told that has not seen it."""
        if self._comms is not None:
            self._comms.register_target(TARGET, self._opened)

    def close(self) -> None:
        """Listen no more."""
        if self._comms is not None:
            with contextlib.suppress(KeyError):
                self._comms.unregister_target(TARGET, self._opened)
        self._left()

    @property
    def there(self) -> bool:
        """Whether a front end has offered to carry out changes."""
        return self._comm is not None

    async def carry_out(self, changes: Sequence[FrontChange], below: str) -> Outcome | None:
        """Have changes made to the notebook.

        Args:
            changes: all of them or none.
            below: the id of the running cell.

        Returns:
            What came of it; None where no front end is there that could.
        """
        comm = self._comm
        if comm is None:
            return None
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            comm.send({"id": number, "below": below, "changes": msgspec.to_builtins(changes)})
            said = await asyncio.wait_for(answer, SECONDS)
        except TimeoutError:
            self._left()
            return Outcome(done=False, unknown=True)
        finally:
            del self._waiting[number]
        return Outcome(said.done, tuple(said.refused))

    def _opened(self, comm: Any, _message: Any) -> None:
        """A page offers itself; the newest one is used."""
        self._left()
        self._comm = comm
        comm.on_msg(lambda message: self._take(message["content"]["data"].get("content")))
        comm.on_close(lambda _message: self._left(comm))
        gate = self._gate()
        if gate is not None:
            gate.watch(comm.comm_id, self._take)
        self.paintings.tell(self._paint)

    def _paint(self, paintings: list[dict[str, Any]]) -> None:
        if self._comm is not None and paintings:
            self._comm.send({"paintings": paintings})

    def _left(self, comm: Any = None) -> None:
        if self._comm is not None and comm in (None, self._comm):
            gate = self._gate()
            if gate is not None:
                gate.forget(self._comm.comm_id)
            self._comm = None

    def _take(self, content: Any) -> None:
        """One message of the front end; on whichever thread it is read."""
        try:
            said = msgspec.convert(content, _Said)
        except msgspec.ValidationError:
            return  # nothing of ours
        if said.paint:
            self.paintings.tell(self._paint)
        answer = self._waiting.get(said.id)
        if answer is not None:
            answer.get_loop().call_soon_threadsafe(_settle, answer, said)


def _settle(answer: "asyncio.Future[_Said]", said: _Said) -> None:
    if not answer.done():
        answer.set_result(said)
