"""Two runs held side by side: what was asked, what was called, what was answered, and what it took.

Pure: entries of a log go in, a value comes out.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal, TypeVar

import msgspec

from loom_nb.events import (
    CallFinished,
    CallStarted,
    LogEntry,
    MessageAdded,
    RunFinished,
    RunInterrupted,
    RunStarted,
    TurnFinished,
)
from loom_nb.messages import DataPart, Usage
from loom_nb.runtime.run import CELL_NUMBER, RunResult
from loom_nb.runtime.tool_uses import as_written

_T = TypeVar("_T", str, bytes)

MOST_LINES = 4_000
MOST_WORDS = 1_500
"""Lines, and words of a changed place, that are held against each other one by one."""
_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_NOT_SETTINGS = frozenset({"notices", CELL_NUMBER})


@dataclass(frozen=True, slots=True)
class CalledTool:
    """A tool call as it was carried out."""

    name: str
    arguments: dict[str, Any]
    outcome: str = ""
    """Of `CallFinished`; empty where it had none."""
    result: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs."""

    run: str
    session: str = ""
    model: str = ""
    """As it was asked for."""
    answered: str = ""
    """As the vendor named itself."""
    prompt: str = ""
    data: tuple[tuple[str, str], ...] = ()
    """(name, text) of the values that travelled with the prompt."""
    settings: tuple[tuple[str, str], ...] = ()
    """(name, value) of what the cell or the caller said of the run."""
    calls: tuple[CalledTool, ...] = ()
    answer: str = ""
    status: str = ""
    """"running", "interrupted" or a Status."""
    reason: str = ""
    fault: str = ""
    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CallPair:
    """A call of one run and its like in the other; one of them may be None."""

    left: CalledTool | None
    right: CalledTool | None

    @property
    def name(self) -> str:
        """Of the tool."""
        one = self.left or self.right
        return one.name if one is not None else ""

    @property
    def difference(self) -> Literal["", "only left", "only right", "arguments", "outcome", "result"]:
        """What is not the same: the first that applies."""
        if self.left is None or self.right is None:
            return "only right" if self.left is None else "only left"
        if _canonical(self.left) != _canonical(self.right):
            return "arguments"
        if self.left.outcome != self.right.outcome:
            return "outcome"
        return "result" if self.left.result != self.right.result else ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text: in both, only in the first, only in the second."""

    kind: Literal["same", "gone", "new"]
    text: str


@dataclass(frozen=True, slots=True)
class RunDifference:
    """What two runs have in common and what not."""

    left: Side
    right: Side

    @property
    def prompt(self) -> tuple[Chunk, ...]:
        """The prompts, word by word."""
        return compared(self.left.prompt, self.right.prompt)

    @property
    def answer(self) -> tuple[Chunk, ...]:
        """The answers, word by word."""
        return compared(self.left.answer, self.right.answer)

    @property
    def calls(self) -> tuple[CallPair, ...]:
        """The calls, those that are alike beside each other."""
        return tuple(paired(self.left.calls, self.right.calls))

    @property
    def differs(self) -> tuple[str, ...]:
        """What is not the same, of: prompt, data, model, settings, calls, answer, status."""
        told = {
            "prompt": self.left.prompt != self.right.prompt,
            "data": self.left.data != self.right.data,
            "model": (self.left.model, self.left.answered) != (self.right.model, self.right.answered),
            "settings": self.left.settings != self.right.settings,
            "calls": any(pair.difference for pair in self.calls),
            "answer": self.left.answer != self.right.answer,
            "status": (self.left.status, self.left.fault) != (self.right.status, self.right.fault),
        }
        return tuple(name for name, is_other in told.items() if is_other)

    def __repr__(self) -> str:
        what = ", ".join(self.differs)
        return f"<{self.left.run} and {self.right.run}: {f'other {what}' if what else 'the same'}>"


def difference(left: RunResult | Iterable[LogEntry], right: RunResult | Iterable[LogEntry]) -> RunDifference:
    """Hold two runs against each other.

    Args:
        left: a result, or what a log holds of a run.
        right: the other one.
    """
    return RunDifference(_side(left), _side(right))


def _side(run: RunResult | Iterable[LogEntry]) -> Side:
    if not isinstance(run, RunResult):
        return side_of(run)
    if run.events:
        return side_of(run.events)
    end = run.finished  # it never began, so no log knows it
    return Side(
        run.id,
        run.session_id,
        run.model,
        status=end.status,
        reason=end.reason,
        fault=end.fault,
        answer=end.output,
    )


def side_of(entries: Iterable[LogEntry], status: str = "interrupted") -> Side:
    """Fold what a log holds of one run.

    Args:
        entries: of the run, in their order.
        status: that of a run without an end: "running", where somebody knows that it goes on.
    """
    facts: dict[str, Any] = {"run": "", "status": status}
    data: list[tuple[str, str]] | None = None
    for entry in (kept := tuple(entries)):
        match entry.event:
            case RunStarted() as begun:
                facts |= {
                    "run": entry.run,
                    "session": entry.session,
                    "model": begun.model,
                    "prompt": begun.goal,
                    "settings": tuple(_settings(begun)),
                }
            case MessageAdded(message=message) if data is None:
                data = [(part.name, part.text) for part in message.parts if isinstance(part, DataPart)]
            case TurnFinished() as turn:
                facts |= _so_far(facts, turn, entry.time - kept[0].time)
            case RunFinished() as end:
                facts |= {
                    "answer": end.output,
                    "status": end.status,
                    "reason": end.reason,
                    "fault": end.fault,
                }
                facts |= {"turns": end.turns, "usage": end.usage, "cost": end.cost, "seconds": end.seconds}
            case RunInterrupted():
                facts["status"] = "interrupted"
            case _:
                pass
    return Side(**facts, data=tuple(data or ()), calls=tuple(_calls(kept)))


def _so_far(facts: dict[str, Any], turn: TurnFinished, seconds: float) -> dict[str, Any]:
    """What a run took until the end of a model call: all that is known of one that has no end."""
    before = facts.get("cost") if "turns" in facts else 0.0
    return {
        "answered": turn.model or facts.get("answered", ""),
        "turns": facts.get("turns", 0) + 1,
        "usage": facts.get("usage", Usage()) + turn.usage,
        "cost": None if before is None or turn.spent is None else before + turn.spent,
        "seconds": max(0.0, seconds),
    }


def _settings(begun: RunStarted) -> Iterator[tuple[str, str]]:
    for name, value in sorted(begun.metadata.items()):
        if isinstance(value, str | int | float) and name not in _NOT_SETTINGS:
            yield str(name), str(value)
    if begun.form is not None:
        yield "form", str(begun.form.get("name", ""))


def _calls(entries: Sequence[LogEntry]) -> Iterator[CalledTool]:
    """In the order in which they began; those that were refused before they did stand where they ended."""
    made: dict[str, list[CalledTool]] = {}
    written: dict[str, dict[str, Any]] = {}
    for event in (entry.event for entry in entries):
        match event:
            case MessageAdded(message=message):
                written |= {call.id: as_written(call.arguments) for call in message.calls}
            case CallStarted(call_id=call, name=name, arguments=arguments):
                made.setdefault(call, []).append(CalledTool(name, arguments))
            case CallFinished(result=result, outcome=outcome):
                known = made.setdefault(result.call_id, [])
                begun = (
                    known.pop()
                    if known and not known[-1].outcome
                    else CalledTool(result.name, written.get(result.call_id, {}))
                )
                known.append(CalledTool(begun.name, begun.arguments, outcome, result.text))
            case _:
                pass
    for calls in made.values():
        yield from calls


def paired(left: Sequence[CalledTool], right: Sequence[CalledTool]) -> Iterator[CallPair]:
    """Calls that are alike beside each other: the same arguments first, else the same tool."""
    for kind, a, b, c, d in _steps([_canonical(one) for one in left], [_canonical(one) for one in right]):
        if kind == "equal":
            yield from (CallPair(*both) for both in zip(left[a:b], right[c:d], strict=True))
            continue
        names = [one.name for one in left[a:b]], [one.name for one in right[c:d]]
        for alike, e, f, g, h in _steps(*names):
            here, there = left[a + e : a + f], right[c + g : c + h]
            if alike == "equal":
                yield from (CallPair(*both) for both in zip(here, there, strict=True))
            else:
                yield from (CallPair(one, None) for one in here)
                yield from (CallPair(None, one) for one in there)


def _steps(left: Sequence[_T], right: Sequence[_T]) -> list[tuple[str, int, int, int, int]]:
    """How one sequence becomes the other."""
    found: list[tuple[str, int, int, int, int]] = []
    found += difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
    return found


def _canonical(call: CalledTool) -> bytes:
    return msgspec.json.encode([call.name, call.arguments], order="sorted")


def compared(left: str, right: str) -> tuple[Chunk, ...]:
    """Two texts line by line, and where lines differ, word by word."""
    if left == right:
        return (Chunk("same", left),) if left else ()
    lines = left.splitlines(keepends=True), right.splitlines(keepends=True)
    if max(map(len, lines)) > MOST_LINES:
        return _merged([Chunk("gone", left), Chunk("new", right)])
    return _merged(_chunks(*lines, _by_word))


def _by_word(left: Sequence[str], right: Sequence[str]) -> Iterator[Chunk]:
    words = _WORD.findall("".join(left)), _WORD.findall("".join(right))
    if max(map(len, words)) > MOST_WORDS:
        yield from (Chunk("gone", "".join(left)), Chunk("new", "".join(right)))
        return
    yield from _chunks(*words, _apart)


def _apart(left: Sequence[str], right: Sequence[str]) -> Iterator[Chunk]:
    yield from (Chunk("gone", "".join(left)), Chunk("new", "".join(right)))


def _chunks(
    left: Sequence[str],
    right: Sequence[str],
    changed: "Callable[[Sequence[str], Sequence[str]], Iterable[Chunk]]",
) -> Iterator[Chunk]:
    for kind, a, b, c, d in _steps(left, right):
        if kind == "equal":
            yield Chunk("same", "".join(left[a:b]))
        elif kind == "replace":
            yield from changed(left[a:b], right[c:d])
        else:
            yield from _apart(left[a:b], right[c:d])


def _merged(chunks: Iterable[Chunk]) -> tuple[Chunk, ...]:
    """Neighbours of one kind as one; a blank between two changes is part of them."""
    found: list[Chunk] = []
    for chunk in chunks:
        if not chunk.text:
            continue
        if found and found[-1].kind == chunk.kind:
            found[-1] = Chunk(chunk.kind, found[-1].text + chunk.text)
        else:
            found.append(chunk)
    return tuple(_without_islands(found))


def _without_islands(chunks: Sequence[Chunk]) -> Iterator[Chunk]:
    """A blank between two changed words is part of the change: "three words" is one change, not two."""
    gone = new = ""
    for chunk, after in zip_longest(chunks, chunks[1:]):
        island = chunk.kind == "same" and (gone or new) and after is not None and not chunk.text.strip(" ")
        if chunk.kind == "gone" or island:
            gone += chunk.text
        if chunk.kind == "new" or island:
            new += chunk.text
        if chunk.kind == "same" and not island:
            yield from _pair(gone, new)
            gone = new = ""
            yield chunk
    yield from _pair(gone, new)


def _pair(gone: str, new: str) -> Iterator[Chunk]:
    if gone:
        yield Chunk("gone", gone)
    if new:
        yield Chunk("new", new)
