"""What the bodies of OpenAI's two protocols have in common: their start, and how parts are written."""

import itertools
import operator
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from loom_nb.border import clean
from loom_nb.errors import ModelError
from loom_nb.media.limits import Limits, why_not
from loom_nb.messages import (
    DataPart,
    FilePart,
    ImagePart,
    Part,
    TextPart,
    ToolCallPart,
    Usage,
    as_read,
    fenced,
)
from loom_nb.models.connection import with_options
from loom_nb.protocols import Generation, OutputSchema, Request
from loom_nb.tools import Tool


@dataclass(frozen=True, slots=True)
class Head:
    """The start of a request body, up to its first message, and what was left out of it."""

    body: bytes
    notices: tuple[str, ...] = ()


class HeadCache:
    """Makes the head of a request again only where the system text, tools or options have changed."""

    def __init__(self, make: Callable[[Request], Head]) -> None:
        self._make = make
        self._kept: tuple[str, tuple[Tool, ...], Generation, OutputSchema | None] | None = None
        self._head = Head(b"")

    def get(self, request: Request) -> Head:
        """The head for `request`."""
        if self._kept is None or not _same(self._kept, request):
            self._head = self._make(request)
            self._kept = (request.system, tuple(request.tools), request.generation, request.output)
        return self._head


def _same(kept: tuple[str, tuple[Tool, ...], Generation, OutputSchema | None], request: Request) -> bool:
    system, tools, generation, output = kept
    return (
        output is request.output
        and generation == request.generation
        and system == request.system
        and len(tools) == len(request.tools)
        and all(map(operator.is_, tools, request.tools))
    )


def open_body(fields: Mapping[str, Any], options: Mapping[str, Any], tail: bytes) -> bytes:
    """The start of a body: `fields` with the endpoint's options, and then `tail` in place of the end."""
    return msgspec.json.encode(with_options(fields, options))[:-1] + tail


def is_reasoning_model(model: str) -> bool:
    """Whether OpenAI's name says that it thinks first, and so takes no sampling options."""
    name = model.rpartition("/")[2]
    return _REASONING.match(name) is not None and "-chat" not in name


_REASONING = re.compile(r"(?:gpt-(?:[5-9]|1\d)|o[1-9])(?:[.-]|$)")


def told_schema(output: OutputSchema) -> str:
    """What a model is told in words of the form of its answer."""
    schema = msgspec.json.encode(output.schema).decode()
    return f"Answer with one JSON object and nothing else. It must fit this JSON schema:\n{schema}"


def wire_name(name: str) -> str:
    """A name as the vendors take it; models invent others."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "unknown"


def wire_arguments(text: str) -> str:
    """The arguments of an earlier call as a JSON object, since servers parse them again."""
    if not text.strip():
        return "{}"
    try:
        whole = isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        whole = False
    return clean(text) if whole else msgspec.json.encode({"invalid_json": clean(text)}).decode()


def data_url(media_type: str, data: bytes) -> str:
    """Bytes as a URL that holds them."""
    return f"data:{media_type};base64,{b64encode(data).decode('ascii')}"


def refuse_beyond(limits: Limits, part: ImagePart | FilePart, what: str) -> None:
    """Raise ModelError, fault "format", for a part that the vendor would refuse."""
    if reason := why_not(limits, part.media_type, part.data):
        name = clean(part.name) or part.media_type
        raise ModelError(f"{what} does not take {name}: {reason}", fault="format")


def told_words(part: Part) -> str | None:
    """A part that is words, as the model reads it; None for images and the like."""
    match part:
        case TextPart():
            return clean(as_read(part))
        case DataPart():
            return clean(fenced(part))
        case FilePart() if part.media_type.startswith("text/") or part.media_type in _TEXTUAL:
            text = part.data.decode("utf-8", "replace")
            return clean(fenced(DataPart(part.name, text, part.origin)))
    return None


_TEXTUAL = frozenset({"application/json", "application/xml", "application/yaml", "application/x-ipynb+json"})


@dataclass(slots=True)
class OpenCall:
    """A tool call whose arguments are still coming."""

    id: str
    name: str
    index: int | None = None
    sent_id: str = ""
    """The id as the vendor sent it; `id` differs where that was empty or taken."""
    vendor_id: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def part(self) -> ToolCallPart:
        """The call as the message keeps it."""
        arguments = clean("".join(self.pieces))
        return ToolCallPart(self.id, clean(self.name), arguments, vendor_id=self.vendor_id)


def unique_id(wanted: str, calls: Iterable[OpenCall], notices: list[str]) -> str:
    """`wanted`, or with a number behind it where another call of the same message has it already."""
    taken = {call.id for call in calls}
    if wanted not in taken:
        return wanted
    made = next(made for n in itertools.count(2) if (made := f"{wanted}_{n}") not in taken)
    notices.append(f"two tool calls came with the id {wanted}; the second is now {made}")
    return made


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """Tokens as either protocol counts them: one says prompt and completion, the other input and output."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None

    @property
    def ours(self) -> Usage:
        """The same in our words."""
        given = self.prompt_tokens_details or self.input_tokens_details or _InputDetails()
        made = self.completion_tokens_details or self.output_tokens_details or _OutputDetails()
        return Usage(
            input_tokens=self.prompt_tokens or self.input_tokens or 0,
            output_tokens=self.completion_tokens or self.output_tokens or 0,
            cache_read_tokens=given.cached_tokens or self.prompt_cache_hit_tokens or 0,
            cache_write_tokens=given.cache_write_tokens or 0,
            reasoning_tokens=made.reasoning_tokens or 0,
        )
