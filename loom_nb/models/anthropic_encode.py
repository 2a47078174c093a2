"""A request in the form of Anthropic's Messages API, as bytes.

The body is a head (model, system, tools, options), made once for each combination, and the messages,
each encoded once. Bytes of earlier turns never change but for the cache marks, so that the vendor's
prompt cache finds them again.
"""

import base64
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from loom_nb.border import clean, parse_object
from loom_nb.errors import BorderError, ModelError
from loom_nb.media.limits import ANTHROPIC, why_not
from loom_nb.messages import (
    DataPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    as_read,
    fenced,
)
from loom_nb.models.anthropic_schema import strict
from loom_nb.models.connection import with_options
from loom_nb.protocols import Generation, OutputSchema, Request
from loom_nb.tools import Tool

DIALECT = "anthropic"
"""The name of the encoded fragments in a conversation, and the source of thinking that may go back."""

_MARK = {"cache_control": {"type": "ephemeral"}}
_MARKED_END = b',"cache_control":{"type":"ephemeral"}}]}'
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_TEXTS = ("json", "xml", "yaml", "toml", "javascript", "csv", "sql", "x-sh", "x-python")
_MIN_THINKING = 1024
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Traits:
    """What a generation of models takes, told from the name."""

    max_tokens: int = 8192
    """Asked for where nobody says how much."""
    adaptive: bool = False
    """It decides itself how much to think."""
    budget: bool = True
    """It takes a budget of thinking tokens."""
    sampling: bool = True
    effort: bool = True
    schema: bool = True

    @classmethod
    def of(cls, model: str) -> "Traits":
        """The traits of a model by its name; a name without a version gets all but adaptive thinking."""
        version = _version(model)
        if version is None:
            return cls()
        return cls(
            max_tokens=4096 if version < (3, 5) else 8192 if version < (3, 7) else 32_000,
            adaptive=version >= (4, 6),
            budget=(3, 7) <= version < (4, 7),
            sampling=version < (4, 7),
            effort=version >= (4, 6) or (version == (4, 5) and "opus" in model),
            schema=version >= (4, 5) or (version == (4, 1) and "opus" in model),
        )


@dataclass(frozen=True, slots=True)
class Head:
    """The part of a body in front of the messages, and what made it."""

    data: bytes
    notices: tuple[str, ...]
    system: str
    tools: tuple[Tool, ...]
    generation: Generation
    output: OutputSchema | None

    def fits(self, request: Request) -> bool:
        """Whether it is the head of this request too."""
        return (
            self.generation is request.generation
            and self.output is request.output
            and len(self.tools) == len(request.tools)
            and all(mine is theirs for mine, theirs in zip(self.tools, request.tools, strict=True))
            and self.system == request.system
        )


def head(request: Request, model: str, traits: Traits, max_tokens: int, options: Mapping[str, Any]) -> Head:
    """Encode all of a request but its messages."""
    notices: list[str] = []
    fields: dict[str, Any] = {"model": model, "max_tokens": max_tokens, "stream": True}
    fields.update(_options(request.generation, max_tokens, traits, notices))
    system = request.system
    form = None
    if request.output is not None:
        form = strict(request.output.schema) if traits.schema else None
        if form is None:
            asked = _json(request.output.schema).decode()
            system = f"{system}\n\nAnswer with nothing but JSON that fits this schema:\n{asked}".strip()
            notices.append(
                "the form of the answer is asked for in words: the model cannot be bound to this schema"
            )
    effort = _effort(request.generation, traits, notices)
    if effort or form is not None:
        fields["output_config"] = {
            **({"effort": effort} if effort else {}),
            **({"format": {"type": "json_schema", "schema": form}} if form is not None else {}),
        }
    tools = [_tool(tool) for tool in request.tools]
    if system.strip():
        fields["system"] = [{"type": "text", "text": clean(system), **_MARK}]
    elif tools:
        tools[-1] |= _MARK
    if tools:
        fields["tools"] = tools
    data = _json(with_options(fields, options))[:-1] + b',"messages":['
    given = (request.system, tuple(request.tools), request.generation, request.output)
    return Head(data, tuple(notices), *given)


def body(start: Head, fragments: Sequence[bytes], working: bytes = b"") -> bytes:
    """The whole body: the head, then the messages, the last two of the user's side marked for the cache.

    Two marks, because a turn with many calls lies further from the last mark than the vendor looks back.
    What stands behind the messages is another one in each request and gets none.
    """
    pieces = [piece for piece in fragments if piece]
    marks = 2
    for index in range(len(pieces) - 1, -1, -1):
        if pieces[index].startswith(b'{"role":"user"'):
            pieces[index] = pieces[index][:-3] + _MARKED_END
            marks -= 1
            if not marks:
                break
    if working:
        pieces.append(working)
    return start.data + b",".join(pieces) + b"]}"


def message(value: Message) -> bytes:
    """One message; empty where nothing of it can be sent.

    Raises:
        ModelError: fault "format": it holds a file or an image that the vendor does not read.
    """
    if value.role == "assistant":
        content = _said(value)
    else:
        content = [block for part in value.parts for block in _blocks(part)]
        content = content or [{"type": "text", "text": "(empty)"}]
    role = "assistant" if value.role == "assistant" else "user"
    return _json({"role": role, "content": content}) if content else b""


def _said(value: Message) -> list[dict[str, Any]]:
    """The blocks of an assistant's message, valid also where its stream was cut."""
    parts = list(value.parts)
    while parts and isinstance(parts[-1], ThinkingPart):
        parts.pop()  # thinking is never the end of a message
    content = [block for part in parts for block in _blocks(part)]
    if value.partial and content and content[-1]["type"] == "text":
        content[-1]["text"] = content[-1]["text"].rstrip()
    return content


def _blocks(part: Part) -> Iterator[dict[str, Any]]:
    match part:
        case TextPart():
            yield from _text(as_read(part))
        case DataPart():
            yield from _text(fenced(part))
        case ThinkingPart():
            yield from _thinking(part)
        case ImagePart():
            yield _image(part.data, part.media_type, part.name)
        case FilePart():
            yield _file(part)
        case ToolCallPart():
            yield {"type": "tool_use", "id": _id(part.id), "name": _id(part.name), "input": _input(part)}
        case ToolResultPart():
            yield _result(part)


def _text(text: str) -> Iterator[dict[str, Any]]:
    if text.strip():  # the vendor refuses empty blocks
        yield {"type": "text", "text": clean(text)}


def _thinking(part: ThinkingPart) -> Iterator[dict[str, Any]]:
    if part.origin.source not in ("", DIALECT):
        return  # another vendor's, which this one cannot check
    if part.signature:
        yield {"type": "thinking", "thinking": clean(part.text), "signature": part.signature}
    elif part.data:
        yield {"type": "redacted_thinking", "data": part.data}


def _image(data: bytes, media_type: str, name: str) -> dict[str, Any]:
    if media_type not in _IMAGES:
        raise _unreadable(name or "an image", media_type, "PNG, JPEG, GIF or WebP")
    _refuse_beyond(media_type, data, name or "an image")
    source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
    return {"type": "image", "source": source}


def _file(part: FilePart) -> dict[str, Any]:
    kind = part.media_type.partition(";")[0].strip().lower()
    if kind.startswith("image/") and kind in _IMAGES:
        return _image(part.data, kind, part.name)
    if kind == "application/pdf":
        _refuse_beyond(kind, part.data, part.name)
        source = {"type": "base64", "media_type": kind, "data": base64.b64encode(part.data).decode()}
    elif kind.startswith("text/") or any(word in kind for word in _TEXTS):
        try:
            text = part.data.decode()
        except UnicodeDecodeError:
            raise _unreadable(part.name, f"{kind}, not UTF-8", "PDF or text in UTF-8") from None
        source = {"type": "text", "media_type": "text/plain", "data": clean(text) or "(empty)"}
    else:
        _refuse_beyond(kind, part.data, part.name)
        raise _unreadable(part.name, kind, "PDF, text, PNG, JPEG, GIF or WebP")
    return {"type": "document", "source": source, "title": clean(part.name)[:255] or "file"}


def _refuse_beyond(kind: str, data: bytes, name: str) -> None:
    """What the vendor would refuse, once it is told why."""
    if reason := why_not(ANTHROPIC, kind, data):
        raise ModelError(f"anthropic does not take {clean(name)}: {reason}", fault="format")


def _unreadable(name: str, kind: str, known: str) -> ModelError:
    return ModelError(
        f"anthropic does not read {clean(name)} ({kind})", fault="format", fixes=[f"attach {known}"]
    )


def _result(part: ToolResultPart) -> dict[str, Any]:
    content = [block for inner in part.parts for block in _blocks(inner)]
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(part.call_id)}
    if part.is_error:
        block["is_error"] = True
    block["content"] = content or [{"type": "text", "text": "(no output)"}]
    return block


def _input(part: ToolCallPart) -> msgspec.Raw:
    """The arguments as the model wrote them; an empty object where they are no JSON object."""
    try:
        parse_object(part.arguments)
    except BorderError:
        return msgspec.Raw(b"{}")
    return msgspec.Raw(part.arguments.encode())


def _id(text: str) -> str:
    """An id or a name as the vendor takes it; one from elsewhere is spelt anew, always the same way."""
    if _ID.fullmatch(text):
        return text
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", text)[:48]
    return f"{plain}_{zlib.crc32(text.encode(errors='replace')):08x}"


def _tool(tool: Tool) -> dict[str, Any]:
    described = {"description": clean(tool.description)} if tool.description else {}
    return {"name": tool.name, **described, "input_schema": msgspec.Raw(tool.encoded_schema)}


def _options(generation: Generation, max_tokens: int, traits: Traits, notices: list[str]) -> dict[str, Any]:
    """The sampling options, and what cannot be sent as a notice."""
    fields: dict[str, Any] = _thought(generation, max_tokens, traits, notices)
    thinking = "thinking" in fields
    for name, value in (("temperature", generation.temperature), ("top_p", generation.top_p)):
        if value is None:
            continue
        if not traits.sampling:
            notices.append(f"{name} was dropped: this model does not take it")
        elif thinking and not (value == 1 or (name == "top_p" and value >= 0.95)):
            notices.append(f"{name} was dropped: it does not go with thinking")
        else:
            fields[name] = value
    if generation.stop:
        fields["stop_sequences"] = list(generation.stop)
    if generation.seed is not None:
        notices.append("seed was dropped: anthropic does not take one")
    return fields


def _thought(generation: Generation, max_tokens: int, traits: Traits, notices: list[str]) -> dict[str, Any]:
    budget = generation.thinking_tokens
    if not budget:
        return {}
    if traits.adaptive:
        notices.append("thinking_tokens: this model thinks as much as it needs, the number is not sent")
        return {"thinking": {"type": "adaptive", "display": "summarized"}}
    if not traits.budget:
        notices.append("thinking_tokens was dropped: this model shows no thinking")
        return {}
    if generation.max_output_tokens is None:
        budget = max(budget, _MIN_THINKING)
        return {
            "max_tokens": max(max_tokens, budget + traits.max_tokens // 2),
            "thinking": {"type": "enabled", "budget_tokens": budget},
        }
    asked, budget = budget, max(_MIN_THINKING, min(budget, max_tokens - 1))
    if budget >= max_tokens:
        notices.append(f"thinking_tokens was dropped: {max_tokens} output tokens leave no room for it")
        return {}
    if budget != asked:
        notices.append(f"thinking_tokens: {budget} in place of {asked}")
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _effort(generation: Generation, traits: Traits, notices: list[str]) -> str:
    asked = generation.reasoning_effort
    if asked is None or (asked == "none" and traits.sampling):
        return ""  # models that take sampling options do not think unless told to
    if not traits.effort:
        notices.append("reasoning_effort was dropped: this model does not take it")
        return ""
    if asked in ("none", "minimal"):
        notices.append(f"reasoning_effort: 'low' in place of '{asked}', which anthropic does not know")
        return "low"
    return asked


def _version(model: str) -> tuple[int, int] | None:
    """(4, 5) of "claude-opus-4-5-20251101" and (3, 5) of "claude-3-5-haiku-latest"."""
    if "claude-mythos" in model or "claude-fable" in model:
        return (5, 0)
    found = re.search(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)", model)
    return (int(found[1]), int(found[2] or 0)) if found else None
