"""Making room: which parts of a conversation the model is shown in a shorter form, mildest first.

Four strategies of growing force, and their ladder. Each gives `Change`s over a `View` and changes
nothing itself; calls and their results are only ever replaced together, so that every request stays
valid by the vendors' rules. The latest instruction, what is pinned and the last turns stay as they are.
"""

import asyncio
import dataclasses
import inspect
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from loom_nb.border import clean
from loom_nb.checks import check, flag, several, shown, whole
from loom_nb.checks import number as a_number
from loom_nb.errors import LoomUsageError
from loom_nb.events import Change, ContextCompacted
from loom_nb.messages import (
    DataPart,
    Message,
    Origin,
    Part,
    ResultPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from loom_nb.runtime.context import Shown, View, copy_of, item_name, last_instruction, turns_back, words_of
from loom_nb.runtime.short_answers import answers_what
from loom_nb.tokens import estimate_message

LEAST_SAVED = 0.02
"""Of the budget: a step that frees less is not taken, because every step costs the vendor's cache."""
LEAST_LIST = 800
"""Characters that a list of earlier turns may have in any case."""
STANDS_FOR = "\n(This stands for "
EARLIER = "earlier work"
"""The name of the data part that stands for what was left out."""
WAS, WAS_LINES = 600, 8
"""Characters of a message, or lines of several, that an event keeps of what was sent before."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a strategy works on."""

    view: View
    before: int
    """Messages from this number on stay as they are."""
    stays: frozenset[int]
    """And these."""
    budget: int
    """Tokens of a request."""
    summarise: Callable[[str], Awaitable[str]] | None = None
    """Asks the model for a handoff of a text; None where it may not be asked."""

    def open(self) -> Iterator[tuple[int, Message]]:
        """Single messages that may be shortened, with what is shown of them now."""
        for item in self.view.items():
            if item.last >= self.before:
                return
            if item.first == item.last and item.first not in self.stays:
                yield item.first, item.message


class Compaction(Protocol):
    """A way to show the model less."""

    @property
    def name(self) -> str:
        """How events and cards name it."""
        ...

    def compact(self, situation: Situation) -> "Sequence[Change] | Awaitable[Sequence[Change]]":
        """What is to stand for what; nothing where it can do nothing."""
        ...


_SNIP = {
    "chars": whole(1, such_as="2_000"),
    "head": whole(0, such_as="600"),
    "tail": whole(1, such_as="200"),
}
_MICRO = dict.fromkeys(("chars", "argument"), whole(0, such_as="200"))
_SHARE = {"share": a_number(above=0, most=1, such_as="0.5")}

# -- snip, micro: single messages ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Snip:
    """Long results and data of earlier turns keep their head and tail; images are left out.

    Args:
        chars: longer texts are cut.
        head: characters that stay of the beginning.
        tail: and of the end.
    """

    chars: int = 2_000
    head: int = 600
    tail: int = 200
    name: str = "snip"

    def __post_init__(self) -> None:
        check(self, _SNIP)
        if self.head + self.tail > self.chars:
            raise LoomUsageError(
                f"Snip(chars={self.chars}, head={self.head}, tail={self.tail})",
                cause="a text that is cut keeps head and tail: together they are chars at most",
                fixes=["Snip(chars=2_000, head=600, tail=200)"],
            )

    def compact(self, situation: Situation) -> Sequence[Change]:
        """Cut texts longer than `chars`."""
        return _each(situation, self._part)

    def _part(self, part: Part, item: str) -> Part:
        if isinstance(part, DataPart):
            return msgspec.structs.replace(part, text=self._cut(part.text, item))
        if isinstance(part, ToolResultPart):
            inner = tuple([self._inner(one, item) for one in part.parts])
            return part if inner == part.parts else msgspec.structs.replace(part, parts=inner)
        return part

    def _inner(self, part: ResultPart, item: str) -> ResultPart:
        if isinstance(part, TextPart):
            text = self._cut(part.text, item)
            return part if text is part.text else TextPart(text, part.origin)
        return TextPart(f"[{part.media_type} left out; {item} has it]", Origin("system"))

    def _cut(self, text: str, item: str) -> str:
        if len(text) <= self.chars:
            return text
        left = len(text) - self.head - self.tail
        note = f'\n[… {left:,} characters left out here; recall("{item}") gives them …]\n'
        return text[: self.head] + note + text[-self.tail :]


@dataclass(frozen=True, slots=True)
class Micro:
    """Results of earlier turns become a line that says what there was; long arguments are cut.

    Args:
        chars: longer results are replaced.
        argument: characters that stay of each text in the arguments of a call.
    """

    chars: int = 200
    argument: int = 120
    name: str = "micro"

    def __post_init__(self) -> None:
        check(self, _MICRO)

    def compact(self, situation: Situation) -> Sequence[Change]:
        """Replace results longer than `chars`."""
        return _each(situation, self._part)

    def _part(self, part: Part, item: str) -> Part:
        if isinstance(part, ToolResultPart):
            return self._result(part, item)
        if isinstance(part, ToolCallPart) and len(part.arguments) > self.argument:
            arguments = shortened(part.arguments, self.argument)
            return msgspec.structs.replace(part, arguments=arguments, vendor_id="")
        if isinstance(part, DataPart) and len(part.text) > self.chars:
            note = f'[{part.summary or "data"} left out; recall("{item}") gives it]'
            return msgspec.structs.replace(part, text=note)
        return part

    def _result(self, part: ToolResultPart, item: str) -> ToolResultPart:
        if len(part.text) <= self.chars and all(isinstance(one, TextPart) for one in part.parts):
            return part
        first = " ".join(part.text[:80].split())
        words = f'{first}… [the rest left out; recall("{item}") gives it]'
        origin = part.parts[0].origin if part.parts else part.origin
        return msgspec.structs.replace(part, parts=(TextPart(words, origin),))


def _each(situation: Situation, cut: Callable[[Part, str], Part]) -> list[Change]:
    """A change for each open message of which a part becomes another one."""
    changes = []
    for number, message in situation.open():
        name = item_name(number)
        parts = tuple([cut(part, name) for part in message.parts])
        if parts != message.parts:
            shorter = msgspec.structs.replace(message, parts=parts)
            if estimate_message(shorter) < estimate_message(message):
                changes.append(Change(number, number, (shorter,)))
    return changes


def shortened(arguments: str, chars: int) -> str:
    """Arguments as JSON in which every text has at most so many characters and its length in words."""
    try:
        given = json.loads(arguments)
        short = json.dumps(_short(given, chars), ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):  # as the model wrote them
        return "{}"
    return clean(short)


def _short(value: Any, chars: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= chars else f"{value[:chars]}… ({len(value):,} characters)"
    if isinstance(value, dict):
        return {key: _short(one, chars) for key, one in value.items()}
    if isinstance(value, list):
        more = [f"… ({len(value) - 5:,} more)"] if len(value) > 6 else []
        return [_short(one, chars) for one in (value[:5] if more else value)] + more
    return value


# -- collapse, auto: whole turns -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Collapse:
    """Earlier turns become a list of what was asked, done and said, a line each.

    Args:
        share: of the budget, at most so much for the list.
    """

    share: float = 0.15
    name: str = "collapse"

    def __post_init__(self) -> None:
        check(self, _SHARE)

    def compact(self, situation: Situation) -> Sequence[Change]:
        """Replace whole turns."""
        messages = situation.view.conversation.messages
        ranges = list(spans(messages, situation.before, situation.stays))
        room = max(LEAST_LIST, int(situation.budget * self.share * 4 / max(len(ranges), 1)))
        return [
            _stands_for(
                first,
                last,
                _with_books(_list(situation.view, first, last, room), situation, (first, last), number),
            )
            for number, (first, last) in enumerate(ranges)
        ]


@dataclass(frozen=True, slots=True)
class Auto:
    """Earlier turns become a handoff that the model writes: goal, progress, decisions, what is next.

    Args:
        share: of the budget, at most so much is given to the model to read.
    """

    share: float = 0.6
    name: str = "auto"

    def __post_init__(self) -> None:
        check(self, _SHARE)

    async def compact(self, situation: Situation) -> Sequence[Change]:
        """Ask for a summary of all that may go. Nothing where the model may not be asked."""
        messages = situation.view.conversation.messages
        ranges = list(spans(messages, situation.before, situation.stays))
        if situation.summarise is None or not ranges:
            return []
        room = int(situation.budget * self.share * 4)
        shown = [item for item in situation.view.items() if item.last < situation.before]
        each = max(200, room // max(len(shown), 1))
        text = "\n\n".join(
            f"[{item_name(one.first, one.last)} · {one.message.role}]\n{_ends(words_of(one.message), each)}"
            for one in shown
        )
        handoff = await situation.summarise(text)
        told = [handoff, *["(see the handoff above)"] * (len(ranges) - 1)]
        return [
            _stands_for(*here, _with_books(text, situation, here, number))
            for number, (here, text) in enumerate(zip(ranges, told, strict=True))
        ]


def spans(messages: Sequence[Message], before: int, stays: frozenset[int]) -> Iterator[tuple[int, int]]:
    """Ranges of whole turns that may be replaced: a call never without its results."""
    first: int | None = None
    number = 0
    while number < before:
        last = number
        if messages[number].calls and number + 1 < len(messages) and messages[number + 1].role == "tool":
            last = number + 1
        kept = last >= before or any(one in stays for one in range(number, last + 1))
        if kept:
            if first is not None:
                yield first, number - 1
            first = None
        elif first is None:
            first = number
        number = last + 1
    if first is not None:
        yield first, number - 1


def _with_books(text: str, situation: Situation, here: tuple[int, int], number: int) -> str:
    """The first text of a compaction says how the plan stood; each, what was noted in its messages.

    So notes are hidden with the messages that wrote them.
    """
    view, (first, last) = situation.view, here
    plan = [f"- {item.text} ({item.status})" for item in view.plan_shown] if not number else []
    notes = [words for place, words in view.scratchpad if first <= place <= last]
    told = [
        text,
        *(["The plan:", *plan] if plan else []),
        *(["Notes on the scratchpad:", *notes] if notes else []),
    ]
    return "\n".join(told)


def _stands_for(first: int, last: int, text: str) -> Change:
    return Change(first, last, (_note(first, last, text),))


def _note(first: int, last: int, text: str) -> Message:
    name = item_name(first, last)
    told = f'{text}{STANDS_FOR}{name}; recall("{name}") gives the words themselves.)'
    return Message("user", (DataPart(EARLIER, told, Origin("model", name), f"stands for {name}"),))


def _list(view: View, first: int, last: int, room: int) -> str:
    """A line for each message, at most so many characters: the middle goes first."""
    messages, hidden = view.readable(), view.hidden
    lines: list[str] = []
    for number in range(first, last + 1):
        if number not in hidden:
            lines += _lines(messages[number], item_name(number))
    size = sum(len(line) + 1 for line in lines)
    if size <= room:
        return "\n".join(lines)
    head, tail = [], []
    left = room
    for line in lines[: len(lines) // 4]:
        left -= len(line) + 1
        if left < room * 3 // 4:
            break
        head.append(line)
    for line in reversed(lines[len(head) :]):
        left -= len(line) + 1
        if left < 0:
            break
        tail.append(line)
    out = len(lines) - len(head) - len(tail)
    return "\n".join([*head, f"[… {out:,} lines left out …]", *reversed(tail)])


def _lines(message: Message, name: str) -> Iterator[str]:
    for part in message.parts:
        match part:
            case TextPart() if part.text.strip():
                asked = "the person" if part.origin.trusted and part.origin.kind == "user" else "a note"
                who = asked if message.role == "user" else "you"
                yield f"{name} {who}: {_in_line(part.text, 300)}"
            case ToolCallPart():
                yield f"{name} you called {part.name}({_in_line(part.arguments, 120)})"
            case ToolResultPart():
                failed = " failed" if part.is_error else ""
                yield f"{name} {part.name}{failed}: {_in_line(part.text, 160)}"
            case DataPart():
                yield f"{name} data {part.name}: {part.summary}"
            case ThinkingPart() | TextPart():
                pass
            case _:
                yield f"{name} {part.media_type}"


def _one(text: str) -> str:
    return " ".join(text.split())


def _in_line(text: str, chars: int) -> str:
    """Both ends of a text in one line; of a long one no more is read than these."""
    if len(text) <= 8 * chars:
        return _ends(_one(text), chars)
    return _ends(f"{_one(text[: 4 * chars])} {_one(text[-4 * chars :])}", chars)


def _ends(text: str, chars: int) -> str:
    if len(text) <= chars:
        return text
    tail = chars // 4
    return f"{text[: chars - tail]} … {text[-tail:]}"


# -- the ladder ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A strategy, and the pressure from which on it is used."""

    at: float
    """Of the budget, 0 to 1."""
    compaction: Compaction

    def __post_init__(self) -> None:
        check(self, _STEP)
        if not callable(getattr(self.compaction, "compact", None)):
            raise LoomUsageError(
                f"Step(compaction={shown(self.compaction)})",
                cause="a strategy has a name and a method compact(situation)",
                fixes=["Step(0.6, Snip())"],
            )


_STEP = {"at": a_number(above=0, most=1, such_as="0.6")}
LADDER = (Step(0.6, Snip()), Step(0.7, Micro()), Step(0.8, Collapse()), Step(0.9, Auto()))
_PROTOCOL = {
    "budget": whole(500, optional=True, such_as="20_000"),
    "ladder": several(Step, "steps, the mildest first", such_as="(Step(0.6, Snip()), Step(0.9, Auto()))"),
    "keep_turns": whole(1, such_as="4"),
    "target": a_number(above=0, most=1, such_as="0.5"),
    "dashboard": flag(optional=True),
}


@dataclass(frozen=True, slots=True)
class ContextProtocol:
    """How much of a conversation the model is shown, and what goes first when there is too much.

    Args:
        budget: tokens of a request; None: what the model can take, less room for its answer, where
            that is known. Where it is not, only the vendor's own refusal makes room.
        ladder: strategies by the pressure from which on each is used, mildest first.
        keep_turns: the last turns, which stay as they are.
        target: the pressure that is enough: no further step is taken below it.
        dashboard: whether every request ends with where the run stands: goal, plan, what is left,
            errors, risks, evidence, notes. None: as the preset has it; a plain Runtime has it not.

    Raises:
        LoomUsageError: a number is out of range, or the steps are not in order.
    """

    budget: int | None = None
    ladder: tuple[Step, ...] = LADDER
    keep_turns: int = 4
    target: float = 0.5
    dashboard: bool | None = None

    def __post_init__(self) -> None:
        check(self, _PROTOCOL)
        pressures = [step.at for step in self.ladder]
        if any(not 0 < at <= 1 for at in pressures) or pressures != sorted(pressures):
            told = ", ".join(f"{step.compaction.name} {step.at:g}" for step in self.ladder)
            raise LoomUsageError(
                "ContextProtocol.ladder: pressures lie between 0 and 1 and grow from step to step",
                cause=f"given: {told}",
            )
        if not 0 < self.target <= min(pressures, default=1):
            raise LoomUsageError(
                f"ContextProtocol.target lies between 0 and the first step, not at {self.target!r}"
            )

    @classmethod
    def manager(cls, *, max_tokens: int, keep_turns: int = 4) -> "ContextProtocol":
        """The usual ladder within so many tokens a request."""
        return cls(max_tokens, keep_turns=keep_turns)

    def describe(self) -> str:
        """In words: how much, and what goes first."""
        much = f"{self.budget:,} tokens" if self.budget is not None else "what the model can take"
        steps = ", ".join(f"{step.compaction.name} at {step.at:.0%}" for step in self.ladder)
        ends = "; each request ends with a dashboard" if self.dashboard else ""
        return f"{much}; {steps or 'nothing is left out'}{ends}"

    def situation(
        self, view: View, budget: int, summarise: Callable[[str], Awaitable[str]] | None = None
    ) -> Situation:
        """What may be shortened now."""
        messages = view.conversation.messages
        instruction = last_instruction(messages)
        before = turns_back(messages, self.keep_turns)
        asked = {n for n in answers_what(messages) if estimate_message(messages[n]) <= budget // 2}
        gone = {n for one in view.changes() if not one.messages for n in range(one.first, one.last + 1)}
        return Situation(view, before, view.pinned | {instruction} | asked | gone, budget, summarise)


def calls_in_words(calls: int, usage: Usage, arrow: str = "→") -> str:
    """``compaction: 1 call, 412→96 tok``."""
    several = f"{calls:,} call" if calls == 1 else f"{calls:,} calls"
    return f"compaction: {several}, {usage.input_tokens:,}{arrow}{usage.output_tokens:,} tok"


def chosen(protocol: ContextProtocol, strategy: str | None) -> Sequence[Step]:
    """The step of that name, or all. Raises LoomUsageError where there is none."""
    steps = [step for step in protocol.ladder if strategy in (None, step.compaction.name)]
    if not steps:
        known = ", ".join(step.compaction.name for step in protocol.ladder) or "none"
        raise LoomUsageError(f"no strategy is called '{strategy}'", cause=f"the ladder has: {known}")
    return steps


async def make_room(
    situation: Situation, ladder: Sequence[Step], tokens: int, target: int, reason: str
) -> list[ContextCompacted]:
    """Take step after step until a request has at most `target` tokens; the view has taken them.

    A step that frees too little is not taken. What a strategy raises is passed on.

    Args:
        situation: what may be shortened.
        ladder: the steps that may be taken, mildest first.
        tokens: of the request now.
        target: what is enough.
        reason: for the events.
    """
    taken: list[ContextCompacted] = []
    for step in ladder:
        if tokens <= target:
            break
        changes, tells = await _taken(step.compaction, situation)
        compacted, after = tried(situation.view, step.compaction.name, changes, tokens, reason, tells)
        saved = tokens - compacted.tokens_after
        if not changes or saved < max(1, int(situation.budget * LEAST_SAVED)):
            continue
        situation.view.adopt(after, compacted)
        tokens = compacted.tokens_after
        taken.append(compacted)
        await asyncio.sleep(0)  # in a long conversation a step takes a while: others have their turn
    return taken


async def _taken(
    compaction: Compaction, situation: Situation
) -> tuple[tuple[Change, ...], tuple[tuple[int, int], ...]]:
    """The changes of a strategy, and the messages of which its notes may tell."""
    read: list[str] = []
    if situation.summarise is not None:
        situation = dataclasses.replace(situation, summarise=_noted(situation.summarise, read))
    given = compaction.compact(situation)
    changes = tuple(await given if inspect.isawaitable(given) else given)
    return changes, _tells(situation, changes, read=bool(read))


def _noted(ask: Callable[[str], Awaitable[str]], read: list[str]) -> Callable[[str], Awaitable[str]]:
    """The same, and each text that it was given is put into a list."""

    def summarise(text: str) -> Awaitable[str]:
        read.append(text)
        return ask(text)

    return summarise


def _tells(situation: Situation, changes: Sequence[Change], *, read: bool) -> tuple[tuple[int, int], ...]:
    """The messages of which changes may tell beside their own: those of a handoff, of the plan, of notes.

    Args:
        situation: in which they were made.
        changes: made.
        read: whether the model was given all that may go to read.
    """
    view = situation.view
    notes = [(one.first, one.last) for one in changes if any(map(_is_note, one.messages))]
    reach = [(0, situation.before - 1)] if read else [(one.first, one.last) for one in changes]
    told = {
        one
        for name, known in view.counting().items()
        if any(one.first <= last and first <= one.last for one in known for first, last in reach)
        for one in view.compactions[name].tells
    }
    if notes or read:
        told.update(reach if read else notes)
        told.update(notes)
        if view.plan_shown and view.planned >= 0:
            told.add((view.planned, view.planned))
    merged: list[tuple[int, int]] = []
    for first, last in sorted(told):
        if merged and first <= merged[-1][1] + 1:
            start, end = merged.pop()
            merged.append((start, max(last, end)))
            continue
        merged.append((first, last))
    return tuple(merged)


def _is_note(message: Message) -> bool:
    return any(isinstance(part, DataPart) and part.name == EARLIER for part in message.parts)


def tried(
    view: View,
    strategy: str,
    changes: tuple[Change, ...],
    tokens: int,
    reason: str,
    tells: tuple[tuple[int, int], ...] = (),
) -> tuple[ContextCompacted, View]:
    """What a compaction would be, with what it frees; and the view as it would be then."""
    handoff = ""
    if strategy == "auto" and changes:
        handoff = next((part.text for part in changes[0].messages[0].parts if isinstance(part, DataPart)), "")
        handoff = handoff.rpartition(STANDS_FOR)[0]
    compacted = ContextCompacted(
        f"c{view.numbers + 1}", strategy, reason, _told(view, changes), tokens, tokens, handoff, tells=tells
    )
    after = copy_of(view)
    if changes:
        after.take(compacted)
    left = max(0, tokens - view.tokens + after.tokens)
    return msgspec.structs.replace(compacted, tokens_after=left), after


def _told(view: View, changes: Sequence[Change]) -> tuple[Change, ...]:
    """The changes with the beginning of what is sent now in the place of each."""
    if not changes:
        return ()
    shown: dict[int, list[Shown]] = {}
    for item in view.items():
        shown.setdefault(item.first, []).append(item)
    told = []
    for change in changes:
        items = [item for n in range(change.first, change.last + 1) for item in shown.get(n, ())]
        tokens = sum(estimate_message(item.message) for item in items)
        told.append(msgspec.structs.replace(change, was=_beginning(items), tokens=tokens))
    return tuple(told)


def _beginning(items: Sequence[Shown]) -> str:
    if len(items) == 1:
        text = words_of(items[0].message)
        return text if len(text) <= WAS else f"{text[:WAS]}…"
    first = items[:WAS_LINES]
    lines = [f"{item_name(one.first, one.last)}: {_one(words_of(one.message)[:400])[:120]}" for one in first]
    more = len(items) - len(first)
    return "\n".join([*lines, f"… {more:,} more"] if more else lines)
