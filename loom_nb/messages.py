"""What a model reads and writes: messages of parts, each part with its origin.

Values are msgspec Structs: frozen, compared by value, plain JSON both ways. They are made bottom up
and cannot form cycles, so the garbage collector need not look at them (`gc=False`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

OriginKind = Literal[
    "user",
    "system",
    "notebook",
    "model",
    "tool",
    "file",
    "web",
    "mcp",
    "memory",
    "knowledge",
    "skill",
    "signal",
]


class Origin(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Where a part comes from; `source` names it more closely ("df", "read_file", a URL)."""

    kind: OriginKind
    source: str = ""

    @property
    def trusted(self) -> bool:
        """Whether the user wrote it: all else is data, never an instruction."""
        return self.kind in ("user", "system")

    def __str__(self) -> str:
        return f"{self.kind}:{self.source}" if self.source else self.kind


USER = Origin("user")
MODEL = Origin("model")


class TextPart(msgspec.Struct, frozen=True, gc=False, tag="text", omit_defaults=True):
    """Words."""

    text: str
    origin: Origin = USER


class ThinkingPart(msgspec.Struct, frozen=True, gc=False, tag="thinking", omit_defaults=True):
    """Reasoning that the vendor shows, with what it wants back: a `signature`, or opaque `data`."""

    text: str
    signature: str = ""
    data: str = ""
    origin: Origin = MODEL


class DataPart(msgspec.Struct, frozen=True, gc=False, tag="data", omit_defaults=True):
    """A named value as text. It reaches the model fenced as data, apart from the instruction."""

    name: str
    text: str
    origin: Origin
    summary: str = ""
    """What a reader is told of it: "DataFrame 1,204 x 8 -> schema + 5 rows"."""


class ImagePart(msgspec.Struct, frozen=True, gc=False, tag="image", omit_defaults=True):
    """An image by its bytes."""

    data: bytes
    media_type: str = "image/png"
    origin: Origin = USER
    name: str = ""


class FilePart(msgspec.Struct, frozen=True, gc=False, tag="file", omit_defaults=True):
    """A file by its bytes."""

    data: bytes
    media_type: str
    name: str
    origin: Origin = USER


class ToolCallPart(msgspec.Struct, frozen=True, gc=False, tag="tool_call", omit_defaults=True):
    """The model asks for a tool. `arguments` is the JSON text as the model wrote it, unjudged."""

    id: str
    name: str
    arguments: str
    origin: Origin = MODEL
    vendor_id: str = ""
    """The vendor's own second id of the item, where it wants it back (OpenAI responses)."""


ResultPart: TypeAlias = TextPart | ImagePart | FilePart


class ToolResultPart(msgspec.Struct, frozen=True, gc=False, tag="tool_result", omit_defaults=True):
    """What a call gave: one for each ToolCallPart, in the order of the calls."""

    call_id: str
    name: str
    parts: tuple[ResultPart, ...]
    is_error: bool = False
    origin: Origin = Origin("tool")

    @property
    def text(self) -> str:
        """The words of the result."""
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart))


Part: TypeAlias = TextPart | ThinkingPart | DataPart | ImagePart | FilePart | ToolCallPart | ToolResultPart
Role: TypeAlias = Literal["user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One step of a conversation. A "tool" message holds the results of all calls of a turn."""

    role: Role
    parts: tuple[Part, ...]
    partial: bool = False
    """The stream was cut or stopped: this is what had arrived."""

    @property
    def text(self) -> str:
        """The words, without thinking, data and calls."""
        parts = self.parts
        if len(parts) == 1 and type(parts[0]) is TextPart:
            return parts[0].text
        return "".join([part.text for part in self.parts if isinstance(part, TextPart)])

    @property
    def calls(self) -> tuple[ToolCallPart, ...]:
        """The tools that the message asks for."""
        if len(self.parts) == 1:
            (part,) = self.parts
            return (part,) if type(part) is ToolCallPart else ()
        return tuple([part for part in self.parts if type(part) is ToolCallPart])


def user(text: str, *parts: Part) -> Message:
    """A message of the user: the instruction, then what travels with it."""
    return Message("user", (TextPart(text), *parts))


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Tokens as the vendor counted them. Cached ones are part of `input_tokens`."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


class Discarded(msgspec.Struct, frozen=True):
    """What an answer used that nobody was shown: a model refused, and another one was asked instead."""

    usage: Usage
    model: str = ""
    """Who gave it: whose price counts."""


_NOTHING: dict[int, tuple["Message", bytes]] = {}


class Conversation:
    """The messages of a session in order, append-only, with their encoded fragments kept.

    A model client asks for `fragments(dialect, encode)`: each message is encoded once for each
    dialect, so that a request body is a join of bytes and turn n costs no more than turn 1.
    """

    __slots__ = ("_encoded", "_fragments", "_left_out", "messages")

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.messages: list[Message] = list(messages)
        self._fragments: dict[str, list[bytes]] = {}
        self._encoded: dict[str, dict[int, tuple[Message, bytes]]] = {}
        """By dialect and identity: what another conversation had encoded."""
        self._left_out = 0

    def add(self, message: Message) -> None:
        """Append one message."""
        self.messages.append(message)

    def fragments(self, dialect: str, encode: Callable[[Message], bytes]) -> Sequence[bytes]:
        """The messages encoded by `encode`, one fragment each; only new ones are encoded."""
        kept = self._fragments.setdefault(dialect, [])
        known = self._encoded.get(dialect, _NOTHING) if self._encoded else _NOTHING
        for message in self.messages[len(kept) :]:
            had = known.get(id(message))
            kept.append(had[1] if had is not None and had[0] is message else encode(message))
        return kept

    def edited(self, messages: Iterable[Message]) -> "Conversation":
        """Another one, of these messages; those that stand in this one too are not encoded again."""
        made = Conversation(messages)
        made._left_out = self.added - len(made)
        for dialect, kept in self._fragments.items():
            pairs = zip(self.messages, kept, strict=False)  # the last ones may not be encoded yet
            made._encoded[dialect] = {id(message): (message, fragment) for message, fragment in pairs}
        return made

    @property
    def added(self) -> int:
        """How many messages there were in all, those that others stand for included: it only grows."""
        return len(self.messages) + self._left_out

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __repr__(self) -> str:
        return f"<Conversation of {len(self.messages)} messages>"


def fenced(part: DataPart) -> str:
    """A data part as the model reads it: between marks that its own text cannot close."""
    body = part.text.replace("</data", "<\\/data")
    return f'<data name="{_attribute(part.name)}" origin="{_attribute(str(part.origin))}">\n{body}\n</data>'


_FROM_OUTSIDE = frozenset({"web", "file", "mcp", "memory", "knowledge", "skill", "signal"})


def as_read(part: TextPart) -> str:
    """A text as the model reads it: what comes from outside stands between marks, as data."""
    if part.origin.kind not in _FROM_OUTSIDE:
        return part.text
    return fenced(DataPart(part.origin.source, part.text, part.origin))


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\n", " ")


_ENCODER = msgspec.json.Encoder()
_SORTED = msgspec.json.Encoder(order="sorted")


def canonical(value: Any) -> bytes:
    """Plain data as JSON, keys in order. Equal bytes are equal data; 1, 1.0 and true are three."""
    return _SORTED.encode(value)


def to_json(value: Any) -> bytes:
    """Any value of this package as plain JSON."""
    return _ENCODER.encode(value)
