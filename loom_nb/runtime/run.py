"""Run and RunResult: one task being carried out, and what came of it."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from loom_nb.errors import (
    EndFault,
    LoomError,
    LoomUsageError,
    RunDenied,
    RunFailed,
    RunLimited,
    RunStopped,
    SetupError,
)
from loom_nb.events import (
    CallOutput,
    Delta,
    Event,
    Kept,
    LogEntry,
    MessageAdded,
    Played,
    RunFinished,
    RunStarted,
)
from loom_nb.messages import Message, Usage
from loom_nb.remedies import first_of, remedies
from loom_nb.runtime.artifact_files import Files
from loom_nb.runtime.artifacts import Artifacts, artifacts_of
from loom_nb.runtime.tool_uses import ToolUse, tool_uses
from loom_nb.settings import money

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from loom_nb.events import Status  # quoted below: Jedi, which completes `run.`, trips over a Literal
    from loom_nb.runtime.difference import RunDifference
    from loom_nb.runtime.log import Log

_FAILURES: dict[str, type[RunFailed]] = {"stopped": RunStopped, "limit": RunLimited, "denied": RunDenied}


class RunResult(msgspec.Struct, frozen=True, eq=False):
    """What came of a run. `str(result)` is its answer.

    It is there for every run: look at `status`, or call `raise_for_status()`.
    """

    id: str
    session_id: str
    model: str
    finished: RunFinished
    events: tuple[LogEntry, ...]
    """What the log holds of the run, in order."""
    value: Any = None
    """The answer as a value of the schema that the run asked for."""
    error: BaseException | None = None
    """The exception behind a failure, where there was one. Not in the log."""
    files: Files | None = None
    """Where the content of its large artifacts lies."""

    @property
    def output(self) -> str:
        """The last words of the model."""
        return self.finished.output

    @property
    def data(self) -> Any:
        """The answer as a value of the schema that the run asked for, or None.

        Plain data in a result that was read from the log.
        """
        return self.finished.data if self.value is None else self.value

    @property
    def status(self) -> "Status":
        """completed, stopped, limit, denied or failed."""
        return self.finished.status

    @property
    def reason(self) -> str:
        """Why it did not complete."""
        return self.finished.reason

    @property
    def fault(self) -> str:
        """The class of the failure."""
        return self.finished.fault

    @property
    def fixes(self) -> tuple[str, ...]:
        """What can be typed where it did not complete; in a notebook first, then the same in a script."""
        return self.finished.fixes or remedies(self.status, self.fault)

    @property
    def usage(self) -> Usage:
        """Tokens of all model calls, also of those that were played from a recording."""
        return self.finished.usage

    @property
    def cost(self) -> float | None:
        """US dollars that were spent, or None where the price is not known."""
        return self.finished.cost

    @property
    def played(self) -> Played:
        """What of it came from a recording, and what that would have cost."""
        return self.finished.played

    @property
    def turns(self) -> int:
        """Model calls."""
        return self.finished.turns

    @property
    def seconds(self) -> float:
        """Wall time."""
        return self.finished.seconds

    @property
    def messages(self) -> list[Message]:
        """The messages that the run added to the conversation."""
        return [entry.event.message for entry in self.events if isinstance(entry.event, MessageAdded)]

    @property
    def tools(self) -> list[ToolUse]:
        """The tool calls, in the order in which they ended."""
        return tool_uses(self.events)

    @property
    def artifacts(self) -> Artifacts:
        """What its tools have kept by name: `result.artifacts["sales"].value()`."""
        return artifacts_of(self.events, files=self.files)

    @property
    def code(self) -> str:
        """The first fenced code block of the answer, or an empty string."""
        inside: list[str] | None = None
        for line in self.output.splitlines():
            if line.lstrip().startswith("```"):
                if inside is not None:
                    return "\n".join(inside)
                inside = []
            elif inside is not None:
                inside.append(line)
        return "\n".join(inside or ())

    @property
    def table(self) -> "pd.DataFrame":
        """The first Markdown table of the answer as a DataFrame of strings and numbers."""
        rows = _table_rows(self.output)
        if not rows:
            raise LoomUsageError(
                f"the answer of {self.id} holds no table", fixes=["run.output shows it as it is"]
            )
        import pandas as pd

        head, *body = rows
        frame = pd.DataFrame([(row + [""] * len(head))[: len(head)] for row in body], columns=head)
        for column in range(frame.shape[1]):
            numbers = pd.to_numeric(frame.iloc[:, column].str.replace(",", ""), errors="coerce")
            if len(numbers) and numbers.notna().all():
                frame.isetitem(column, numbers.to_numpy())
        return frame

    def to_frame(self) -> "pd.DataFrame":
        """The events as a table: seq, time, type and the fields as plain data."""
        import pandas as pd

        columns = {
            "seq": [entry.seq for entry in self.events],
            "time": pd.to_datetime([entry.time for entry in self.events], unit="s", utc=True),
            "type": [entry.event.type for entry in self.events],
            "payload": [entry.event.payload for entry in self.events],
        }
        return pd.DataFrame(columns)

    def events_frame(self) -> "pd.DataFrame":
        """One row for each event: what it was, of which turn and tool, its tokens, cost, time and words."""
        from loom_nb.runtime import frames

        return frames.events(self)

    def turns_frame(self) -> "pd.DataFrame":
        """One row for each turn: tokens, cost, seconds of the model and of its tools, calls, context."""
        from loom_nb.runtime import frames

        return frames.turns(self)

    def plot(self) -> "Figure":
        """Tokens, cost and time of each turn as a figure.

        Raises:
            SetupError: matplotlib is not installed.
        """
        from loom_nb.runtime import frames

        return frames.plot(self)

    def diff(self, other: "RunResult") -> "RunDifference":
        """This run and another one side by side: prompt, settings, calls, answer, usage, cost."""
        from loom_nb.runtime.difference import difference

        return difference(self, other)

    def raise_for_status(self) -> "RunResult":
        """This result if the run completed; else raise what ended it.

        Raises:
            LoomError: the error itself where it has a class of its own (a missing key, a model call).
            RunFailed: or its subclass for a run that was stopped, denied, or reached a limit.
        """
        if self.status == "completed":
            return self
        fixes = self.fixes
        if isinstance(self.error, LoomError):
            if not (self.error.fixes and isinstance(self.error, SetupError)):  # it knows best
                self.error.fixes = first_of(self.error.fixes, fixes)
            raise self.error
        kind = _FAILURES.get(self.status, RunFailed)
        title, fault = f"{self.id} {_VERBS[self.status]}", cast("EndFault", self.fault)
        raise kind(title, reason=self.reason, fault=fault, fixes=fixes) from self.error

    def __eq__(self, other: object) -> bool:
        """Whether the log holds the same of both: `value` and `error` are not in it."""
        if not isinstance(other, RunResult):
            return NotImplemented
        mine, its = (self.session_id, self.id, self.events), (other.session_id, other.id, other.events)
        return mine == its and self.finished == other.finished

    def __hash__(self) -> int:
        return hash((self.session_id, self.id))

    def __str__(self) -> str:
        return self.output

    def __repr__(self) -> str:
        again = " · replayed" if self.played.whole else ""
        turns = f"{self.turns} turn{'' if self.turns == 1 else 's'}"
        cost = "" if self.cost is None else f" · {money(self.cost)}"
        tokens = f"{'~' if self.finished.estimated else ''}{_thousands(self.usage.total_tokens)}"
        return f"<Run {self.id} {self.status} · {self.model} · {turns} · {tokens} tok{cost}{again}>"


def _nothing() -> None:
    """There is nothing to leave."""


_VERBS = {
    "stopped": "was stopped",
    "limit": "reached a limit",
    "denied": "was denied something",
    "failed": "failed",
}


MOMENT = 0.15
"""Seconds between the interrupt of a process and the word that it is to end, where that is why it came."""
GRACE_SECONDS = 10.0
"""How long a cancelled waiter, or a session that closes, waits for a run that does not let go."""


CELL_NUMBER = "cell_number"
"""The key in a run's metadata under which the number of its cell stands, as in `In [7]`."""


class Run(msgspec.Struct, eq=False, weakref=True):
    """One task being carried out in a session. Iterate its `events()`, `await` it for its result.

    A run never raises for the failure of its task: the result says how it ended.
    """

    session_id: str
    id: str
    model: str
    _loop: asyncio.AbstractEventLoop
    _log: "Log"
    agent: str = ""
    """The name of who carries it out."""
    place: str = ""
    """Where what it spends is counted: its notebook, or else its session."""
    result: RunResult | None = None
    stop_reason: str | None = None
    """Why it was asked to end, once it was."""
    unless: Callable[[], bool] | None = None
    """Whether the whole process is about to end: see `stop`."""
    expired: bool = False
    """Whether it ran out of time."""
    task: "asyncio.Task[None] | None" = None
    sinks: tuple[Callable[[Event], None], ...] = ()
    entries: list[LogEntry] = msgspec.field(default_factory=list)
    deltas: Sequence[Delta] = ()
    """What the model has shown of a message that is not finished."""
    _ended: "asyncio.Future[None] | None" = None

    @property
    def notebook(self) -> str:
        """Which notebook it is for; empty in a script."""
        return self.place if self.place != self.session_id else ""

    @property
    def cell(self) -> str:
        """Which cell asked: `[7]`; empty in a script, and where another process began it."""
        begun = next((one.event for one in self.entries if isinstance(one.event, RunStarted)), None)
        number = begun.metadata.get(CELL_NUMBER) if begun is not None else None
        return f"[{number}]" if number else ""

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.result is not None

    def stream(self, event: CallOutput) -> None:
        """Show what is not kept."""
        for sink in self.sinks:
            sink(event)

    @property
    def ended(self) -> "asyncio.Future[None]":
        """Done when the result is there. Made for the first who waits: `session.run` needs none."""
        if self._ended is None:
            self._ended = self._loop.create_future()
            if self.result is not None:
                self._ended.set_result(None)
        return self._ended

    def subscribe(self, sink: Callable[[Event], None]) -> Callable[[], None]:
        """Call `sink` with every event, what was kept so far first; gives the way to unsubscribe.

        The sink is called on the loop's thread, at once and in order. It must not raise. RunFinished
        comes last, when it is durable.
        """
        for entry in self.entries:
            if not isinstance(entry.event, RunFinished):
                sink(entry.event)
        if self.result is not None:
            sink(self.result.finished)
            return _nothing
        self.sinks = (*self.sinks, sink)

        def leave() -> None:
            self.sinks = tuple(other for other in self.sinks if other is not sink)

        return leave

    def say(self, event: Kept) -> None:
        """Keep a fact in the log and show it."""
        log = self._log  # as `Log.note` does it: every fact of every run comes by here
        if log.known.redactor is not None:
            event = log.redacting.kept(event)
        log.seq = seq = log.seq + 1
        now = log.now  # called by a name of its own, an attribute of an instance is found sooner
        entry = LogEntry(log.session, seq, self.id, now(), event)
        log.pending.append(entry)
        self.entries.append(entry)
        if self.sinks:
            for sink in self.sinks:
                sink(entry.event)

    def show(self, delta: Delta) -> None:
        """Show a piece of the message that is being written."""
        if type(self.deltas) is list:
            self.deltas.append(delta)
        else:
            self.deltas = [delta]
        if self.sinks:
            for sink in self.sinks:
                sink(delta)

    async def events(self) -> AsyncIterator[Event]:
        """Every event, what was kept so far first; ends with RunFinished."""
        waiting: deque[Event] = deque()
        wake = asyncio.Event()

        def sink(event: Event) -> None:
            waiting.append(event)
            wake.set()

        leave = self.subscribe(sink)
        try:
            while True:
                while waiting:
                    event = waiting.popleft()
                    yield event
                    if isinstance(event, RunFinished):
                        return
                wake.clear()
                await wake.wait()
        finally:
            leave()

    async def wait(self) -> RunResult:
        """The result. Cancelling the waiting task stops the run, and waits some seconds for its end."""
        try:
            await asyncio.shield(self.ended)
        except asyncio.CancelledError:
            self._stop_now("the task that waited for it was cancelled")
            await asyncio.wait([self.ended], timeout=GRACE_SECONDS)
            raise
        assert self.result is not None  # noqa: S101  set before `ended` is
        return self.result

    async def artifacts(self) -> Artifacts:
        """What its tools have kept by name, once it has ended; `events()` tells of each as it comes."""
        return (await self.wait()).artifacts

    def end(self, result: RunResult) -> None:
        """Hand out the result: the last event to every reader, then wake who waits."""
        self.result = result
        for sink in self.sinks:
            sink(result.finished)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def __await__(self) -> Generator[Any, None, RunResult]:
        return self.wait().__await__()

    def stop(
        self, reason: str = "stopped by the caller", *, unless: Callable[[], bool] | None = None
    ) -> None:
        """End the run now: what was done is kept, and the next run finds a valid conversation.

        May be called from any thread, and more than once.

        Args:
            reason: what is told of it.
            unless: asked `MOMENT` seconds later, when nothing of the run is at work any more: whether the
                whole process is about to end. Then nothing is written of an end, and another process finds
                the run interrupted, and can resume it.
        """
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop_now, reason, unless)

    def is_stopping(self) -> bool:
        """Whether it was told to end."""
        return self.stop_reason is not None

    def expire(self) -> None:
        """End the run because its time is up."""
        self.expired = True
        self._stop_now("time is up")

    def _stop_now(self, reason: str, unless: Callable[[], bool] | None = None) -> None:
        if self.result is not None or self.stop_reason is not None:
            return  # its task may be one that goes on with something else by now
        self.stop_reason, self.unless = reason, unless
        if self.task is not None:
            self.task.cancel(reason)

    def __repr__(self) -> str:
        return f"<Run {self.id} {self.result.status if self.result else 'running'} · {self.model}>"


def _table_rows(text: str) -> list[list[str]]:
    """Cells of the first Markdown table: a head, a line of dashes, rows."""
    lines = text.splitlines()
    for number in range(len(lines) - 1):
        head, rule = lines[number].strip(), lines[number + 1].strip()
        if "|" in head and rule and set(rule) <= set("|-: ") and "-" in rule:
            rows = [_cells(head)]
            for line in lines[number + 2 :]:
                if "|" not in line:
                    break
                rows.append(_cells(line.strip()))
            return rows
    return []


def _cells(line: str) -> list[str]:
    """The cells of a row, without the escapes of Markdown."""
    cells = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell.strip()) for cell in cells]


def _thousands(count: int) -> str:
    return f"{count / 1000:.1f}k" if count >= 1000 else str(count)
