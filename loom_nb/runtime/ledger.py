"""The ledger: what a request is made of, item by item, and what was left out of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from loom_nb.events import Change
from loom_nb.messages import (
    DataPart,
    ImagePart,
    Message,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from loom_nb.protocols import PartitionItem, Request
from loom_nb.runtime.context import Shown, View, item_name
from loom_nb.tokens import MESSAGE_TOKENS, estimate, estimate_part

Section = Literal["system", "tools", "memory", "skill", "working", "history"]
SECTIONS: tuple[Section, ...] = ("system", "tools", "memory", "skill", "working", "history")
State = Literal["sent", "pinned", "hidden", "shortened", "stands for others", "left out"]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in a request, or one that was left out of it."""

    name: str
    """How it is typed: `m3`, `m3.2`, `tool:look`, `instructions`."""
    section: Section
    kind: str
    """text, thinking, data, call, result, image, file, tool."""
    words: str
    """Its beginning, in one line."""
    tokens: int
    """Estimated; of what is sent of it."""
    origin: str
    """Where it comes from: "user", "web:https://…"."""
    state: State = "sent"
    by: str = ""
    """The compaction that shortened it or left it out."""
    whole: int = 0
    """Tokens of it as it was, where less of it is sent."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """All items of a request."""

    items: tuple[Item, ...]
    budget: int | None = None
    """Tokens that it may have, where that is known."""
    counted: int | None = None
    """Tokens of the last request and its answer, as the vendor counted them."""

    @property
    def tokens(self) -> int:
        """Estimated tokens of the request: the sum of its items."""
        return sum(item.tokens for item in self.items)

    @property
    def pressure(self) -> float | None:
        """The share of the budget that is used, 0 to 1 and more."""
        return self.tokens / self.budget if self.budget else None

    def sections(self) -> dict[Section, int]:
        """Tokens of each section that has any."""
        sums = {
            section: sum(one.tokens for one in self.items if one.section == section) for section in SECTIONS
        }
        return {section: tokens for section, tokens in sums.items() if tokens}

    def largest(self, count: int = 5) -> list[Item]:
        """The items with the most tokens."""
        return sorted(self.items, key=lambda item: -item.tokens)[:count]


def ledger_of(
    request: Request,
    view: View,
    partitions: Sequence[PartitionItem] = (),
    *,
    budget: int | None = None,
    counted: int | None = None,
) -> Ledger:
    """The ledger of a request.

    Args:
        request: what is sent; its conversation is what the view shows, or that and more.
        view: why it is what it is.
        partitions: the texts of capabilities that are part of the instructions.
        budget: tokens that it may have.
        counted: what the vendor counted last.
    """
    items = [*_head(request, partitions), *_history(view)]
    shown = len(view.shown)
    for offset, message in enumerate(request.conversation.messages[shown:]):
        number = len(view.conversation) + offset
        items += _parts(message, item_name(number), "sent", "", message)
    if request.working is not None:
        items += _working(request.working)
    return Ledger(tuple(items), budget, counted)


def _head(request: Request, partitions: Sequence[PartitionItem]) -> Iterator[Item]:
    own = request.system
    for item in partitions:
        own = own.replace(item.text, "", 1)
        yield _text(item.id, item.partition, item.text)
    if own.strip():
        yield _text("instructions", "system", own.strip())
    for tool in request.tools:
        tokens = estimate(tool.name + tool.description) + len(tool.encoded_schema) // 4
        words = tool.description.strip().partition("\n")[0]
        yield Item(f"tool:{tool.name}", "tools", "tool", words[:120], tokens, "system")
    if request.output is not None:
        tokens = len(str(request.output.schema)) // 4
        yield Item("form of the answer", "system", "text", request.output.name, tokens, "user")


def _working(message: Message) -> Iterator[Item]:
    """The dashboard, a part of it to each item."""
    for place, part in enumerate(message.parts):
        tokens = estimate_part(part) + (0 if place else MESSAGE_TOKENS)
        name, words = ("working", "") if not isinstance(part, DataPart) else (part.name, _line(part.text))
        yield Item(name, "working", "data", words, tokens, _origin(part))


def _text(name: str, section: str, text: str) -> Item:
    known: Section = next((one for one in SECTIONS if one == section), "system")
    return Item(name, known, "text", _line(text), estimate(text), "system")


def _history(view: View) -> Iterator[Item]:
    by = {
        (change.first, change.last): compaction.id
        for compaction in view.compactions.values()
        for change in compaction.changes
    }
    gone = [change for change in view.changes() if not change.messages]
    for shown in view.items():
        while gone and gone[0].first < shown.first:
            yield from _gone(view, gone.pop(0))
        name = item_name(shown.first, shown.last)
        yield from _parts(
            shown.message,
            name,
            _state(view, shown),
            by.get((shown.first, shown.last), ""),
            _whole(view, shown),
        )
        if shown.last > shown.first:
            for number in range(shown.first, shown.last + 1):
                yield from _left_out(
                    view.conversation.messages[number], item_name(number), by[(shown.first, shown.last)]
                )
    for change in gone:
        yield from _gone(view, change)


def _gone(view: View, change: Change) -> Iterator[Item]:
    by = {
        number: name
        for name, changes in view.counting().items()
        for one in changes
        if not one.messages
        for number in range(max(one.first, change.first), min(one.last, change.last) + 1)
    }
    for number in range(change.first, change.last + 1):
        yield from _left_out(view.conversation.messages[number], item_name(number), by[number])


def _state(view: View, shown: Shown) -> State:
    if shown.changed:
        hidden = view.marks.get(shown.first) == "hidden" and shown.first == shown.last
        return "hidden" if hidden else "shortened" if shown.first == shown.last else "stands for others"
    return "pinned" if shown.first in view.pinned else "sent"


def _whole(view: View, shown: Shown) -> Message | None:
    return view.conversation.messages[shown.first] if shown.first == shown.last else None


def _parts(message: Message, name: str, state: State, by: str, whole: Message | None) -> Iterator[Item]:
    for place, part in enumerate(message.parts):
        tokens = estimate_part(part) + (0 if place else MESSAGE_TOKENS)
        before = whole.parts[place] if whole is not None and place < len(whole.parts) else part
        was = estimate_part(before) + (0 if place else MESSAGE_TOKENS)
        words, kind = _told(before)
        yield Item(
            name if len(message.parts) == 1 else f"{name}.{place + 1}",
            "history", kind, words, tokens, _origin(before),
            state if state != "shortened" or before != part else "sent",
            by if before != part or state == "stands for others" else "",
            was if was != tokens else 0,
        )  # fmt: skip


def _left_out(message: Message, name: str, by: str) -> Iterator[Item]:
    for place, part in enumerate(message.parts):
        words, kind = _told(part)
        yield Item(
            name if len(message.parts) == 1 else f"{name}.{place + 1}",
            "history", kind, words, 0, _origin(part), "left out", by, estimate_part(part),
        )  # fmt: skip


def _told(part: Part) -> tuple[str, str]:
    match part:
        case TextPart():
            return _line(part.text), "text"
        case ThinkingPart():
            return _line(part.text), "thinking"
        case DataPart():
            return _line(f"{part.name}: {part.summary or part.text}"), "data"
        case ToolCallPart():
            return _line(f"{part.name}({part.arguments})"), "call"
        case ToolResultPart():
            return _line(f"{part.name}: {part.text}"), "result"
        case ImagePart():
            return f"{part.name or 'image'} ({part.media_type}, {len(part.data):,} bytes)", "image"
        case _:
            return f"{part.name} ({part.media_type}, {len(part.data):,} bytes)", "file"


def _origin(part: Part) -> str:
    if isinstance(part, ToolResultPart) and part.parts:
        return str(part.parts[0].origin)
    return str(part.origin)


def _line(text: str) -> str:
    return " ".join(text[:400].split())[:120]
