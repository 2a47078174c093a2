"""What the model is shown of a conversation: all of it, less what was compacted, hidden or left out.

The conversation itself never changes. A `Change` says what stands for some of its messages; the newest
one that reaches over a message counts. Undo takes a compaction out again, and what is shown is, byte for
byte, what it was before.
"""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from loom_nb.events import (
    Change,
    CompactionUndone,
    ContextCompacted,
    ContextMarked,
    HeadItem,
    Mark,
    NotesWritten,
    PlanItem,
    SkillActivated,
)
from loom_nb.messages import (
    Conversation,
    DataPart,
    Message,
    Origin,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from loom_nb.runtime.evidence import Numbers
from loom_nb.tokens import estimate_message

HIDDEN = "[left out by the person]"
LEFT_OUT = "left out"
"""The strategy by which a run is left out."""
ATTEMPT = "attempt"
"""The strategy by which the work of earlier attempts is."""
LEFT_PART = "leave out"
"""The strategy by which a part of a message is."""
RESTORE = "restore "
"""How the strategies begin by which work of an earlier process is."""
WITHHOLDS = frozenset({LEFT_OUT, ATTEMPT})
"""Strategies after which the model is to read nothing of it, by no tool."""

_K = TypeVar("_K")
_V = TypeVar("_V")

Fact = ContextCompacted | CompactionUndone | ContextMarked


_NONE: Mapping[Any, Any] = MappingProxyType({})


def _none_yet() -> Mapping[Any, Any]:
    return _NONE


@dataclass(slots=True)
class View:
    """A conversation as it is sent, and why. What it is told of is put in place of what it had, so that
    copies may have the same.

    Args:
        conversation: the whole of it; only ever appended to.
    """

    conversation: Conversation
    shown: Conversation = field(init=False)
    """What is sent; the same object as the conversation for as long as nothing was changed."""
    compactions: Mapping[str, ContextCompacted] = field(default_factory=_none_yet)
    """Those in force, oldest first."""
    marks: Mapping[int, Mark] = field(default_factory=_none_yet)
    """By the number of a message, counted from 0."""
    _hidden: Mapping[int, int] = field(default_factory=_none_yet)
    """Those that are hidden, with how many compactions there had been."""
    numbers: int = 0
    """Compactions so far, undone ones included."""
    undone: Mapping[str, ContextCompacted] = field(default_factory=_none_yet)
    """Those of which all or a part was undone, whole."""
    plan: tuple[PlanItem, ...] = ()
    """The latest one: it survives whatever is left out."""
    planned: int = -1
    """The message by which it was written down; -1 where that is not known."""
    notes: tuple[tuple[int, NotesWritten], ...] = ()
    """What was written on the scratchpad, oldest first, each with the message that did it."""
    evidence: Numbers = field(default_factory=Numbers)
    """The numbers of the passages of documents that were told; copies of the view have the same."""
    skills: tuple[SkillActivated, ...] = ()
    """Those that are active in the run that goes on."""
    head: "tuple[HeadItem, ...] | None" = None
    """What stood before the conversation in the last request; None where none was noted."""
    headed: tuple[object, ...] = (None, None, None, None)
    """What that was made of: instructions, tools, form of the answer, partitions. None of them changes."""
    _items: "tuple[int, Sequence[Shown]] | None" = None
    """As `items` gave them for a conversation of so many messages; good until a fact is taken."""
    _tokens: tuple[int, int] | None = None
    """Likewise."""

    def __post_init__(self) -> None:
        self.shown = self.conversation
        if self.compactions or self.marks:
            self.shown = self._redrawn()

    def add(self, message: Message) -> None:
        """The conversation grew."""
        self.conversation.messages.append(message)
        if self.shown is self.conversation:
            return
        last = self.shown.messages[-1] if self.shown.messages else None
        if message.role == "tool" or (last is not None and last.role == "assistant" and last.calls):
            self._add_paired(message)
        else:
            self.shown.messages.append(message)

    def _add_paired(self, message: Message) -> None:
        """A result joins its calls; what was drawn before its other half came is drawn anew."""
        last = self.shown.messages[-1] if self.shown.messages else None
        if last is not None and [call.id for call in last.calls] == _results(message) and last.calls:
            self.shown.messages.append(message)
        else:
            self.take()

    def take(self, *facts: Fact) -> None:
        """Something was compacted, undone, pinned or hidden."""
        for fact in facts:
            self._take(fact)
        self._items = self._tokens = None
        self.shown = self._redrawn()

    def adopt(self, tried: "View", fact: ContextCompacted) -> None:
        """Take what a copy of this view has taken, as this fact tells it; nothing is drawn anew."""
        self.compactions = {**self.compactions, fact.id: fact}
        self.numbers = tried.numbers
        self.shown = tried.shown
        self._items, self._tokens = tried._items, tried._tokens

    def _take(self, fact: Fact) -> None:
        match fact:
            case ContextCompacted():
                self.compactions = {**self.compactions, fact.id: fact}
                self.numbers = max(self.numbers + 1, _place(fact.id))
            case CompactionUndone(id=name, first=None):
                known = self.compactions.get(name)
                if known is not None:
                    self.compactions = _without(self.compactions, name)
                    self.undone = {**self.undone, name: self.undone.get(name, known)}
            case CompactionUndone(id=name, first=int(first)):
                self._undo_one(name, first)
            case ContextMarked(message=number, mark=mark):
                self.marks, self._hidden = _without(self.marks, number), _without(self._hidden, number)
                if mark is not None:
                    self.marks = {**self.marks, number: mark}
                if mark == "hidden":
                    self._hidden = {**self._hidden, number: self.numbers}

    def _undo_one(self, name: str, first: int) -> None:
        """One change of a compaction is undone."""
        known = self.compactions.get(name)
        if known is None:
            return
        self.undone = {**self.undone, name: self.undone.get(name, known)}
        left = tuple(change for change in known.changes if change.first != first)
        if left:
            self.compactions = {**self.compactions, name: msgspec.structs.replace(known, changes=left)}
        else:
            self.compactions = _without(self.compactions, name)

    @property
    def pinned(self) -> frozenset[int]:
        """The messages that stay as they are."""
        return frozenset(number for number, mark in self.marks.items() if mark == "pinned")

    def changes(self) -> list[Change]:
        """Those that count, in the order of the conversation; they do not overlap.

        What is left out stays so whatever else is said of it; of what is hidden or left out no earlier
        change tells.
        """
        gone, when, numbers = self._gone(), self._when(), sorted(self._hidden)
        counts: list[Change] = []
        for compaction in self.compactions.values():
            newer = [one for one in compaction.changes if one.messages]
            if numbers or when:
                newer = self._silent(compaction, newer, numbers, when)
            newer.sort(key=_first)
            older = [one for one in counts if not _overlaps(newer, one.first, one.last)]
            counts = sorted([*older, *newer], key=_first)
        if gone:
            counts = [one for one in counts if not _overlaps(gone, one.first, one.last)]
        hidden = [
            Change(number, number, (without_content(self.conversation.messages[number]),))
            for number in self._hidden
            if number < len(self.conversation)
            and not _overlaps(counts, number, number)
            and not _overlaps(gone, number, number)
        ]
        return sorted([*counts, *gone, *hidden], key=_first) if gone or hidden else counts

    def _when(self) -> list[tuple[Change, int]]:
        """What was left out, with the number of the compaction that did it."""
        return [
            (one, _place(name))
            for name, compaction in self.compactions.items()
            for one in compaction.changes
            if not one.messages or compaction.strategy == LEFT_PART
        ]

    def told_since(self, compaction: ContextCompacted) -> tuple[Change, ...]:
        """Of the changes of a compaction those that tell of nothing that was withheld after it was made."""
        silent = [one for one in compaction.changes if one.messages]
        silent = self._silent(compaction, silent, sorted(self._hidden), self._when())
        return tuple(one for one in compaction.changes if not one.messages or one in silent)

    def _silent(
        self,
        compaction: ContextCompacted,
        changes: list[Change],
        hidden: Sequence[int],
        gone: Sequence[tuple[Change, int]],
    ) -> list[Change]:
        """Of changes of a compaction those that tell of nothing that was hidden or left out later."""
        place = _place(compaction.id)
        if any(self._tells(first, last, place, hidden, gone) for first, last in _told_by(compaction)):
            return []
        return [one for one in changes if not self._tells(one.first, one.last, place, hidden, gone)]

    def _gone(self) -> list[Change]:
        """What is left out whole, by whatever compaction: ranges in order, which do not touch."""
        ranges = sorted(
            (change.first, change.last)
            for compaction in self.compactions.values()
            for change in compaction.changes
            if not change.messages
        )
        gone: list[Change] = []
        for first, last in ranges:
            if gone and first <= gone[-1].last + 1:
                gone[-1] = Change(gone[-1].first, max(gone[-1].last, last))
            else:
                gone.append(Change(first, last))
        return gone

    def counting(self) -> dict[str, list[Change]]:
        """By the id of a compaction, its changes that count; of those with none, nothing."""
        counts = {id(change) for change in self.changes()}
        found = {
            name: [one for one in compaction.changes if not one.messages or id(one) in counts]
            for name, compaction in self.compactions.items()
        }
        return {name: changes for name, changes in found.items() if changes}

    @property
    def withheld(self) -> frozenset[int]:
        """The messages that the model may not read again either: hidden ones, and runs that were left out."""
        left = [
            number
            for compaction in self.compactions.values()
            if compaction.strategy in WITHHOLDS
            for change in compaction.changes
            if not change.messages
            for number in range(change.first, change.last + 1)
        ]
        return frozenset([*self._hidden, *left])

    def withholds(self, number: int) -> bool:
        """Whether a message is one of `withheld`, at less cost."""
        return number in self._hidden or any(
            change.first <= number <= change.last
            for compaction in self.compactions.values()
            if compaction.strategy in WITHHOLDS
            for change in compaction.changes
            if not change.messages
        )

    @property
    def parts_left(self) -> dict[int, frozenset[int]]:
        """The parts that the model may not read again either, by their message: those left out of it."""
        left: dict[int, frozenset[int]] = {}
        for compaction in self.compactions.values():
            if compaction.strategy != LEFT_PART:
                continue
            for change in compaction.changes:
                message, stands = self.conversation.messages[change.first], change.messages
                places = _left_of(message, stands[0]) if stands else frozenset(range(len(message.parts)))
                left[change.first] = left.get(change.first, frozenset()) | places
        return left

    @property
    def calls_left(self) -> frozenset[str]:
        """The ids of the calls whose results are among `parts_left`."""
        messages = self.conversation.messages
        parts = [messages[one].parts[place] for one, places in self.parts_left.items() for place in places]
        return frozenset(part.call_id for part in parts if isinstance(part, ToolResultPart))

    def readable(self) -> Sequence[Message]:
        """The conversation with a word in the place of each of `parts_left`."""
        left = self.parts_left
        if not left:
            return self.conversation.messages
        known = list(self.conversation.messages)
        for number, places in left.items():
            parts = enumerate(known[number].parts)
            told = tuple([without_words(part) if place in places else part for place, part in parts])
            known[number] = msgspec.structs.replace(known[number], parts=told)
        return known

    def _forgotten(self, number: int) -> bool:
        """Whether what a message wrote down counts no more: it is withheld, or was not restored whole."""
        return self.withholds(number) or any(
            change.first <= number <= change.last
            for compaction in self.compactions.values()
            if compaction.strategy.startswith(RESTORE)
            for change in compaction.changes
        )

    @property
    def plan_shown(self) -> tuple[PlanItem, ...]:
        """The plan, unless the message that wrote it down is withheld, or was not restored."""
        return () if self._forgotten(self.planned) else self.plan

    def noted(self, event: NotesWritten) -> None:
        """The agent wrote on its scratchpad, by the last message."""
        self.notes += ((len(self.conversation) - 1, event),)

    @property
    def scratchpad(self) -> list[tuple[int, str]]:
        """The notes that stand, each with its message: those by a message that is withheld never were."""
        stand: list[tuple[int, str]] = []
        for number, event in self.notes:
            if self._forgotten(number):
                continue
            if event.how != "append":
                stand.clear()
            if event.text:
                stand.append((number, event.text))
        return stand

    @property
    def hidden(self) -> frozenset[int]:
        """The messages that the model is not to see."""
        return frozenset(self._hidden)

    def withholds_result(self, result: str) -> bool:
        """Whether a long result belongs to a message, or is a part, that the model is not to read."""
        messages = self.conversation.messages
        parts = [part for one in self.withheld if one < len(messages) for part in messages[one].parts]
        calls = {part.call_id for part in parts if isinstance(part, ToolResultPart)} | self.calls_left
        return any(call == result or result.startswith(f"{call}_") for call in calls)

    def _tells(
        self, first: int, last: int, place: int, hidden: Sequence[int], gone: Sequence[tuple[Change, int]]
    ) -> bool:
        """Whether one of these messages was hidden or left out after a compaction that may tell of it."""
        reach = hidden[bisect.bisect_left(hidden, first) : bisect.bisect_right(hidden, last)]
        if any(place <= self._hidden[number] for number in reach):
            return True
        return any(place < at and one.first <= last and first <= one.last for one, at in gone)

    def items(self) -> "Sequence[Shown]":
        """What is sent, message after message."""
        size = len(self.conversation)
        if self._items is None or self._items[0] != size:
            self._items = size, self._drawn()
        return self._items[1]

    def _drawn(self) -> "list[Shown]":
        messages = self.conversation.messages
        items: list[Shown] = []
        at = 0
        for change in self.changes():
            items += [Shown(n, n, messages[n]) for n in range(at, change.first)]
            items += [Shown(change.first, change.last, message, changed=True) for message in change.messages]
            at = change.last + 1
        items += [Shown(n, n, messages[n]) for n in range(at, len(messages))]
        return _paired(items)

    def _redrawn(self) -> Conversation:
        items = self.items()
        if len(items) == len(self.conversation) and not any(item.changed for item in items):
            return self.conversation
        return self.conversation.edited([item.message for item in items])

    @property
    def tokens(self) -> int:
        """An estimate of what is sent."""
        size = len(self.conversation)
        if self._tokens is None or self._tokens[0] != size:
            self._tokens = size, sum([estimate_message(message) for message in self.shown])
        return self._tokens[1]


def _without(some: Mapping[_K, _V], key: _K) -> Mapping[_K, _V]:
    return {one: value for one, value in some.items() if one != key} if key in some else some


def copy_of(view: View) -> View:
    """Another view of the same conversation, to try things on."""
    copy = View(
        view.conversation,
        numbers=view.numbers,
        plan=view.plan,
        planned=view.planned,
        notes=view.notes,
        evidence=view.evidence,
    )
    copy.compactions, copy.marks, copy._hidden = view.compactions, view.marks, view._hidden
    copy.undone = view.undone
    copy.shown, copy._items, copy._tokens = view.shown, view._items, view._tokens
    return copy


def grown(view: View, messages: Sequence[Message]) -> View:
    """A copy of a view as it would be if these messages had been added."""
    copy = copy_of(view)
    copy.conversation = Conversation([*view.conversation, *messages])
    copy.take()
    return copy


def _place(name: str) -> int:
    """The number of a compaction, by its id: `c3` is the third."""
    return int(name[1:]) if name[1:].isdecimal() else 0


def _told_by(compaction: ContextCompacted) -> tuple[tuple[int, int], ...]:
    """Ranges of which all notes of a compaction may tell; logs of before say nothing of a handoff's."""
    if compaction.tells or compaction.strategy != "auto":
        return compaction.tells
    last = max([one.last for one in compaction.changes], default=-1)
    return ((0, last),) if last >= 0 else ()


def _first(change: Change) -> int:
    return change.first


def _overlaps(changes: Sequence[Change], first: int, last: int) -> bool:
    """Whether one of the changes, which are in order, reaches into a range."""
    place = bisect.bisect_right(changes, last, key=_first) - 1
    return place >= 0 and changes[place].last >= first


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as it is sent, and which messages of the conversation it stands for."""

    first: int
    last: int
    message: Message
    changed: bool = False


def _paired(items: list[Shown]) -> list[Shown]:
    """Without calls whose results are left out, and without results whose calls are."""
    paired: list[Shown] = []
    waiting: list[str] = []
    for place, item in enumerate(items):
        message = item.message
        if message.role == "user":
            waiting = []
        elif message.role == "tool":
            if _results(message) != waiting:
                continue
            waiting = []
        else:
            waiting = [call.id for call in message.calls]
            if waiting and place + 1 < len(items) and _results(items[place + 1].message) != waiting:
                waiting = []
                rest = tuple([part for part in message.parts if not isinstance(part, ToolCallPart)])
                if not any(isinstance(part, TextPart) for part in rest):
                    continue
                told = msgspec.structs.replace(message, parts=rest)
                item = Shown(item.first, item.last, told, changed=True)  # noqa: PLW2901  without its calls
        paired.append(item)
    return paired


def _results(message: Message) -> list[str]:
    """The ids of the calls that a message answers."""
    return [part.call_id for part in message.parts if isinstance(part, ToolResultPart)]


def item_name(first: int, last: int | None = None) -> str:
    """How a person and a model name messages: `m1` is the first one; `m3-m9` are seven."""
    return f"m{first + 1}" if last is None or last == first else f"m{first + 1}-m{last + 1}"


def without_content(message: Message) -> Message:
    """The message with nothing in it but what a vendor's rules need: which calls, which results."""
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolCallPart):
            parts.append(msgspec.structs.replace(part, arguments="{}", vendor_id=""))
        elif isinstance(part, ToolResultPart):
            parts.append(msgspec.structs.replace(part, parts=(TextPart(HIDDEN, Origin("system")),)))
    if not parts:
        parts = [TextPart(HIDDEN, Origin("system"))]
    return Message(message.role, tuple(parts))


def without_words(part: Part) -> Part:
    """What stands for a part that is left out: a result still answers its call."""
    note = TextPart(HIDDEN, Origin("system"))
    if isinstance(part, ToolResultPart):
        return msgspec.structs.replace(part, parts=(note,))
    return msgspec.structs.replace(part, text=HIDDEN) if isinstance(part, DataPart) else note


def _left_of(message: Message, stands: Message) -> frozenset[int]:
    """Which parts of a message are left out in what stands for it; where they do not match, all."""
    if len(message.parts) != len(stands.parts):
        return frozenset(range(len(message.parts)))
    pairs = enumerate(zip(message.parts, stands.parts, strict=True))
    return frozenset(
        place
        for place, (part, now) in pairs
        if not isinstance(part, ToolCallPart) and now == without_words(part)
    )


def last_instruction(messages: Sequence[Message]) -> int:
    """The number of the latest message in which a person says what to do; -1 where there is none."""
    return next((n for n in range(len(messages) - 1, -1, -1) if starts_an_exchange(messages[n])), -1)


def starts_an_exchange(message: Message) -> bool:
    """Whether a person says in it what to do."""
    return message.role == "user" and any(
        isinstance(part, TextPart) and part.origin.kind == "user" for part in message.parts
    )


def turns_back(messages: Sequence[Message], turns: int) -> int:
    """The number of the first message of the last so many turns: a turn begins where the model speaks."""
    left = turns
    for number in range(len(messages) - 1, -1, -1):
        if messages[number].role == "assistant":
            left -= 1
            if left == 0:
                return number
    return 0


def words_of(message: Message) -> str:
    """All the words of a message, calls and results included, as `recall` gives them."""
    lines = []
    for part in message.parts:
        match part:
            case TextPart() | ThinkingPart():
                lines.append(part.text)
            case ToolCallPart():
                lines.append(f"[call {part.name}({part.arguments})]")
            case ToolResultPart():
                lines.append(f"[result of {part.name}]\n{part.text}")
            case DataPart():
                lines.append(f"[data {part.name}]\n{part.text}")
            case _:
                lines.append(f"[{part.media_type}, {len(part.data):,} bytes]")
    return "\n".join(lines)
