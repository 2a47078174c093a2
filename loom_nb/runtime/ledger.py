"""The ledger: what a request is made of, item by item, and what was left out of it."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from loom_nb.events import Change, HeadItem, HeadSection
from loom_nb.media.measures import measured
from loom_nb.messages import (
    DataPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    Role,
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
    sha256: str = ""
    """Of what stands before the conversation: the first 16 digits of the hash of its text."""
    source: str = ""
    """What it comes from, closer than its origin: "df, made by cell [4]", "look #c3"."""
    why: str = ""
    """Why it is there: "you named it in the prompt", "result of a call of the model"."""
    stale: str = ""
    """Why it is not what it was when the model was given it; empty where it is, or nothing is known."""


@dataclass(frozen=True, slots=True)
class Note:
    """What somebody who knows the notebook says of a part; empty where nothing is known."""

    source: str = ""
    stale: str = ""
    why: str = ""


Notes = Callable[[Part], Note | None]
"""Asked of each part of the conversation."""


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
    notes: Notes | None = None,
) -> Ledger:
    """The ledger of a request.

    Args:
        request: what is sent; its conversation is what the view shows, or that and more.
        view: why it is what it is.
        partitions: the texts of capabilities that are part of the instructions.
        budget: tokens that it may have.
        counted: what the vendor counted last.
        notes: what is known of parts besides.
    """
    working = tuple(_working(request.working)) if request.working is not None else ()
    sent = request.conversation.messages
    head = head_of(request, partitions)
    return ledger_with(head, view, sent, working, budget=budget, counted=counted, notes=notes)


def ledger_with(
    head: Sequence[HeadItem],
    view: View,
    sent: Sequence[Message] = (),
    working: Sequence[Item] = (),
    *,
    budget: int | None = None,
    counted: int | None = None,
    notes: Notes | None = None,
) -> Ledger:
    """The ledger of a request whose head is known by its items.

    Args:
        head: what stands before the conversation.
        view: the conversation as it is sent.
        sent: what the view shows, or that and more.
        working: the dashboard behind it.
        budget: tokens that it may have.
        counted: what the vendor counted last.
        notes: what is known of parts besides.
    """
    items = [*map(_of_head, head), *_history(view, notes)]
    shown = len(view.shown)
    for offset, message in enumerate(sent[shown:]):
        number = len(view.conversation) + offset
        items += _parts(message, item_name(number), "sent", "", message, notes)
    return Ledger((*items, *working), budget, counted)


def head_of(request: Request, partitions: Sequence[PartitionItem] = ()) -> tuple[HeadItem, ...]:
    """What stands before the conversation; its tokens add up to `request.head_tokens`."""
    items = _system(request.system, partitions)
    for tool in request.tools:
        words = tool.description.strip().partition("\n")[0]
        text = f"{tool.name}\n{tool.description}\n".encode() + tool.encoded_schema
        items.append(HeadItem(f"tool:{tool.name}", "tools", words[:120], tool.tokens, _mark(text)))
    form = request.output
    if form is not None:
        mark = _mark(str(form.schema).encode())
        items.append(HeadItem("form of the answer", "system", form.name, form.tokens, mark))
    return tuple(items)


def _working(message: Message) -> Iterator[Item]:
    """The dashboard, a part of it to each item."""
    for place, part in enumerate(message.parts):
        tokens = estimate_part(part) + (0 if place else MESSAGE_TOKENS)
        name, words = ("working", "") if not isinstance(part, DataPart) else (part.name, _line(part.text))
        why = "where the run stands, told anew in each request"
        yield Item(name, "working", "data", words, tokens, _origin(part), source="dashboard", why=why)


def _system(system: str, partitions: Sequence[PartitionItem]) -> list[HeadItem]:
    """The instructions, and the items of partitions in them; what stands between belongs to what follows."""
    own, own_tokens, items, at, counted = "", 0, [], 0, 0
    for item in partitions:
        place = system.find(item.text, at) if item.text else -1
        if place < 0:
            continue
        end = place + len(item.text)
        between = system[at:place]
        before = counted if not between.strip() else estimate(system[:place])
        own, own_tokens = own + between, own_tokens + before - counted
        counted = estimate(system[:end])
        section: HeadSection = next((one for one in _HEAD if one == item.partition), "system")
        mark = _mark(item.text.encode())
        items.append(HeadItem(item.id, section, _line(item.text), counted - before, mark, item.origin))
        at = end
    own, own_tokens = own + system[at:], own_tokens + estimate(system) - counted
    if own.strip():
        mark = _mark(own.strip().encode())
        return [HeadItem("instructions", "system", _line(own.strip()), own_tokens, mark), *items]
    return items


_HEAD: tuple[HeadSection, ...] = ("system", "tools", "memory", "skill", "working")


def _mark(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def _of_head(item: HeadItem) -> Item:
    kind, origin, source, why = "text", item.origin or "system", item.name, "instruction"
    if item.origin.startswith("user"):
        source, why = item.origin.partition(":")[2] or item.name, "you wrote it, or confirmed it"
    if item.section == "tools":
        kind, source, why = "tool", "tool", "the model is offered it"
    elif item.name == "form of the answer":
        origin, source, why = "user", item.words, "the answer is to have this form"
    return Item(
        item.name, item.section, kind, item.words, item.tokens, origin,
        sha256=item.sha256, source=source, why=why,
    )  # fmt: skip


def _history(view: View, notes: Notes | None) -> Iterator[Item]:
    by = {
        (change.first, change.last): compaction.id
        for compaction in view.compactions.values()
        for change in compaction.changes
    }
    gone = [change for change in view.changes() if not change.messages]
    for shown in view.items():
        while gone and gone[0].first < shown.first:
            yield from _gone(view, gone.pop(0), notes)
        name = item_name(shown.first, shown.last)
        yield from _parts(
            shown.message,
            name,
            _state(view, shown),
            by.get((shown.first, shown.last), ""),
            _whole(view, shown),
            notes,
        )
        if shown.last > shown.first:
            for number in range(shown.first, shown.last + 1):
                yield from _left_out(
                    view.conversation.messages[number],
                    item_name(number),
                    by[(shown.first, shown.last)],
                    notes,
                )
    for change in gone:
        yield from _gone(view, change, notes)


def _gone(view: View, change: Change, notes: Notes | None) -> Iterator[Item]:
    by = {
        number: name
        for name, changes in view.counting().items()
        for one in changes
        if not one.messages
        for number in range(max(one.first, change.first), min(one.last, change.last) + 1)
    }
    for number in range(change.first, change.last + 1):
        yield from _left_out(view.conversation.messages[number], item_name(number), by[number], notes)


def _state(view: View, shown: Shown) -> State:
    if shown.changed:
        hidden = view.marks.get(shown.first) == "hidden" and shown.first == shown.last
        return "hidden" if hidden else "shortened" if shown.first == shown.last else "stands for others"
    return "pinned" if shown.first in view.pinned else "sent"


def _whole(view: View, shown: Shown) -> Message | None:
    return view.conversation.messages[shown.first] if shown.first == shown.last else None


def _parts(
    message: Message, name: str, state: State, by: str, whole: Message | None, notes: Notes | None
) -> Iterator[Item]:
    if not message.parts:
        yield Item(name, "history", "text", "(empty)", MESSAGE_TOKENS, "system", state)
    for place, part in enumerate(message.parts):
        tokens = estimate_part(part) + (0 if place else MESSAGE_TOKENS)
        before = whole.parts[place] if whole is not None and place < len(whole.parts) else part
        was = estimate_part(before) + (0 if place else MESSAGE_TOKENS)
        words, kind = _told(before)
        note = _noted(message.role, before, notes)
        why = f"{by} made it of what it stands for" if state == "stands for others" else note.why
        yield Item(
            name if len(message.parts) == 1 else f"{name}.{place + 1}",
            _section(before), kind, words, tokens, _origin(before),
            state if state != "shortened" or before != part else "sent",
            by if before != part or state == "stands for others" else "",
            was if was != tokens else 0, source=note.source, why=why, stale=note.stale,
        )  # fmt: skip


def _left_out(message: Message, name: str, by: str, notes: Notes | None) -> Iterator[Item]:
    for place, part in enumerate(message.parts):
        words, kind = _told(part)
        note = _noted(message.role, part, notes)
        yield Item(
            name if len(message.parts) == 1 else f"{name}.{place + 1}",
            _section(part), kind, words, 0, _origin(part), "left out", by, estimate_part(part),
            source=note.source, why=note.why, stale=note.stale,
        )  # fmt: skip


def _noted(role: Role, part: Part, notes: Notes | None) -> Note:
    """What is known of a part: by itself, and by who knows the notebook."""
    known = (notes(part) if notes is not None else None) or Note()
    return Note(known.source or _source(part), known.stale, known.why or _why(role, part))


def _source(part: Part) -> str:
    match part:
        case ToolCallPart(id=call, name=name) | ToolResultPart(call_id=call, name=name):
            return f"{name} #{call}"
        case DataPart() | ImagePart() | FilePart():
            return part.name or str(part.origin)
        case _:
            return str(part.origin)


def _why(role: Role, part: Part) -> str:
    match part:
        case ToolCallPart():
            return "a call of the model"
        case ToolResultPart():
            return "result of a call of the model"
        case ThinkingPart():
            return "the model's reasoning, which its vendor wants back"
        case TextPart() if role == "assistant":
            return "the model said it"
        case TextPart(origin=origin):
            return "you wrote it" if origin.kind == "user" else f"the {origin.kind} told it"
        case DataPart(origin=origin) | ImagePart(origin=origin) if origin.kind == "notebook":
            return "you named it in the prompt"
        case DataPart(origin=origin) if origin.kind in _FOUND:
            unconfirmed = origin.source.startswith("identity/")
            return "the agent wrote it, nobody confirmed it" if unconfirmed else _FOUND[origin.kind]
        case _:
            return "it travelled with the prompt"


_FOUND = {
    "memory": "a note that fits the prompt",
    "knowledge": "a passage that fits the prompt",
    "skill": "skills that fit the prompt",
}


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
            return f"{part.name or 'image'} ({_media(part)})", "image"
        case _:
            return f"{part.name} ({_media(part)})", "file"


def _media(part: ImagePart | FilePart) -> str:
    """Kind, size in its own measure where that is known, and bytes."""
    size = measured(part.data, part.media_type)
    return ", ".join([one for one in (part.media_type, size, f"{len(part.data):,} bytes") if one])


def _origin(part: Part) -> str:
    if isinstance(part, ToolResultPart) and part.parts:
        return str(part.parts[0].origin)
    return str(part.origin)


def _section(part: Part) -> Section:
    """Notes and documents are memory, wherever in the conversation they stand; a skill is a skill."""
    kind = part.parts[0].origin.kind if isinstance(part, ToolResultPart) and part.parts else part.origin.kind
    return _SECTIONS.get(kind, "history")


_SECTIONS: dict[str, Section] = {"memory": "memory", "knowledge": "memory", "skill": "skill"}


def _line(text: str) -> str:
    return " ".join(text[:400].split())[:120]
