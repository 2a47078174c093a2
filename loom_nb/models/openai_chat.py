"""OpenAI's chat completions, as OpenAI and every compatible server speak them.

A request is a join of bytes that were made once; of each chunk of the answer only the few fields
that say something are decoded.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from loom_nb.border import clean
from loom_nb.events import CallDelta, Delta, StopReason, TextDelta, ThinkingDelta
from loom_nb.media.limits import OPENAI_CHAT
from loom_nb.messages import (
    MODEL,
    FilePart,
    ImagePart,
    Message,
    Origin,
    Part,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    Usage,
)
from loom_nb.models import faults
from loom_nb.models.connection import Lenient, loose
from loom_nb.models.openai_body import (
    Head,
    OpenCall,
    WireUsage,
    data_url,
    is_reasoning_model,
    open_body,
    refuse_beyond,
    told_schema,
    told_words,
    unique_id,
    wire_arguments,
    wire_name,
)
from loom_nb.models.openai_schema import strict_schema
from loom_nb.models.openai_wire import Endpoint, OpenAIModel
from loom_nb.protocols import Generation, OutputSchema, Reply, Request
from loom_nb.tools import Tool


class OpenAIChat(OpenAIModel):
    """A `LanguageModel` by the chat completions protocol; arguments as told at `OpenAIModel`."""

    path = "/chat/completions"

    @property
    def dialect(self) -> str:
        """Vendors that want the reasoning back have messages of their own."""
        back = self.endpoint.traits.thinking_back
        return f"openai-chat:{back}" if back else "openai-chat"

    def head(self, request: Request) -> Head:
        """All of the body in front of the messages, the system text included."""
        return _head(self.endpoint, request)

    def encode_message(self, message: Message) -> bytes:
        """One message as the messages of a chat completion."""
        return encode_message(message, thinking_back=self.endpoint.traits.thinking_back)

    def reader(self, emit: Callable[[Delta], None], stem: str) -> "_ChatReader":
        """A reader for the chunks of one stream."""
        return _ChatReader(self.endpoint, emit, stem)


_THOUGHT = Origin("model", "openai-chat")

# the request


def _head(endpoint: Endpoint, request: Request) -> Head:
    notices: list[str] = []
    fields: dict[str, Any] = {
        "model": endpoint.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(endpoint, request.generation, notices),
    }
    if request.tools:
        fields["tools"] = [_tool(tool) for tool in request.tools]
    system = request.system
    if request.output is not None:
        if form := _response_format(endpoint, request.output, notices):
            fields["response_format"] = form
        if endpoint.traits.schema != "json_schema":
            system = f"{system}\n\n{told_schema(request.output)}".lstrip()
    first = b""
    if system:
        newer = endpoint.vendor == "openai" and is_reasoning_model(endpoint.model)
        role = "developer" if newer else "system"
        first = msgspec.json.encode({"role": role, "content": clean(system)})
    return Head(open_body(fields, endpoint.options, b',"messages":[' + first), tuple(notices))


def _tool(tool: Tool) -> dict[str, Any]:
    schema = msgspec.Raw(tool.encoded_schema)
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": schema},
    }


def _sampling(endpoint: Endpoint, wanted: Generation, notices: list[str]) -> dict[str, Any]:
    """The options of a request in the vendor's words; each that it does not take becomes a notice."""
    reasoning = is_reasoning_model(endpoint.model)
    fields: dict[str, Any] = {}
    plain = {
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "stop": list(wanted.stop) or None,
        "seed": wanted.seed,
    }
    if reasoning:
        refused = ("stop",) if wanted.reasoning_effort == "none" else ("temperature", "top_p", "stop")
        asked = [name for name in refused if plain.pop(name) is not None]
        notices += [
            f"{endpoint.model} is a reasoning model and takes no {name}: it was left out" for name in asked
        ]
    fields.update({name: value for name, value in plain.items() if value is not None})
    if wanted.max_output_tokens is not None:
        name = "max_completion_tokens" if reasoning else endpoint.traits.max_tokens
        fields[name] = wanted.max_output_tokens
    fields.update(_thinking(endpoint, wanted, notices))
    return fields


def _thinking(endpoint: Endpoint, wanted: Generation, notices: list[str]) -> dict[str, Any]:
    effort, budget = wanted.reasoning_effort, wanted.thinking_tokens
    fields: dict[str, Any] = {}
    if endpoint.vendor == "qwen":
        if effort is not None or budget is not None:
            fields["enable_thinking"] = effort != "none"
        if budget is not None and effort != "none":
            fields["thinking_budget"] = budget
        if effort not in (None, "none"):
            notices.append(f"qwen only turns thinking on or off: reasoning_effort {effort} is on")
        return fields
    if effort is not None:
        if endpoint.vendor == "deepseek" and effort == "none":
            fields["thinking"] = {"type": "disabled"}
        elif endpoint.traits.efforts and (endpoint.vendor != "openai" or is_reasoning_model(endpoint.model)):
            fields["reasoning_effort"] = effort
        else:
            notices.append(f"{endpoint.model} takes no reasoning_effort: it was left out")
    if budget is not None:
        notices.append(f"{endpoint.vendor} has no budget of thinking tokens: thinking_tokens was left out")
    return fields


def _response_format(endpoint: Endpoint, output: OutputSchema, notices: list[str]) -> dict[str, Any] | None:
    if endpoint.traits.schema == "json_schema":
        strict = strict_schema(output.schema)
        form = {
            "name": wire_name(output.name),
            "schema": strict or output.schema,
            "strict": strict is not None,
        }
        return {"type": "json_schema", "json_schema": form}
    notices.append(f"{endpoint.vendor} cannot enforce an output schema: the model was told of it in words")
    return {"type": "json_object"} if endpoint.traits.schema == "json_object" else None


def encode_message(message: Message, *, thinking_back: str = "") -> bytes:
    """A message of ours as the messages of a chat completion, joined by commas."""
    match message.role:
        case "assistant":
            wire = [_assistant(message, thinking_back)]
        case "tool":
            wire = _results(message)
        case _:
            wire = [{"role": "user", "content": _content(message.parts)}]
    return b",".join(map(msgspec.json.encode, wire))


def _assistant(message: Message, thinking_back: str) -> dict[str, Any]:
    text: str | None = clean(message.text)
    thought = clean("".join(part.text for part in message.parts if isinstance(part, ThinkingPart)))
    if thought and thinking_back == "tags":
        text = f"<think>{thought}</think>\n\n{text}"
    calls = [
        {
            "id": clean(call.id),
            "type": "function",
            "function": {"name": wire_name(call.name), "arguments": wire_arguments(call.arguments)},
        }
        for call in message.calls
    ]
    wire: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
    if thought and thinking_back == "reasoning_content":
        wire["reasoning_content"] = thought
    if calls:
        wire["tool_calls"] = calls
    return wire


def _results(message: Message) -> list[dict[str, Any]]:
    """One message for each result; what is no text follows from the user, for tools may only write."""
    wire: list[dict[str, Any]] = []
    beside: list[Part] = []
    for part in message.parts:
        if not isinstance(part, ToolResultPart):
            beside.append(part)
            continue
        words = [told for inner in part.parts if (told := told_words(inner)) is not None]
        seen = [inner for inner in part.parts if told_words(inner) is None]
        if seen:
            words.append("(what it shows follows)")
            beside += [TextPart(f"From the tool {part.name}, call {part.call_id}:"), *seen]
        text = "\n".join(words)
        content = f"[error] {text}" if part.is_error else text
        wire.append({"role": "tool", "tool_call_id": clean(part.call_id), "content": content})
    if beside:
        wire.append({"role": "user", "content": _content(beside)})
    return wire


def _content(parts: Sequence[Part]) -> str | list[dict[str, Any]]:
    """Plain words where there is nothing else, which every server understands; else a list of parts."""
    told = [(part, told_words(part)) for part in parts]
    if all(words is not None for _, words in told):
        return "\n\n".join(words for _, words in told if words)
    shown = [_shown(part) if words is None else {"type": "text", "text": words} for part, words in told]
    return [part for part in shown if part is not None]


_SOUNDS = {"audio/wav": "wav", "audio/mpeg": "mp3"}


def _shown(part: Part) -> dict[str, Any] | None:
    match part:
        case ImagePart():
            refuse_beyond(OPENAI_CHAT, part, "this model")
            return {"type": "image_url", "image_url": {"url": data_url(part.media_type, part.data)}}
        case FilePart() if part.media_type.startswith("audio/"):
            refuse_beyond(OPENAI_CHAT, part, "this model")
            sound = {"data": b64encode(part.data).decode("ascii"), "format": _SOUNDS[part.media_type]}
            return {"type": "input_audio", "input_audio": sound}
        case FilePart():
            refuse_beyond(OPENAI_CHAT, part, "this model")
            inside = {"filename": clean(part.name), "file_data": data_url(part.media_type, part.data)}
            return {"type": "file", "file": inside}
    return None


# the answer


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _CallPiece(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Inside(msgspec.Struct):
    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_CallPiece] | None = None


class _Choice(msgspec.Struct):
    delta: _Inside | None = None
    finish_reason: str | None = None
    index: int | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    model: str | None = None
    error: Any = None
    object: str | None = None


_decode = Lenient(_Chunk)

_STOPS: dict[str, StopReason] = {
    "stop": "end",
    "end": "end",
    "end_turn": "end",
    "eos": "end",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "function_calls": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "refusal",
}
_BROKEN = {
    "error": "server_error",
    "abort": "server_error",
    "insufficient_system_resource": "overloaded_error",
}
"""Words for an end that is no end, with what they mean as an error."""


class _ChatReader:
    """Makes a reply of the chunks of one stream."""

    def __init__(self, endpoint: Endpoint, emit: Callable[[Delta], None], stem: str) -> None:
        self.called = faults.Called(endpoint.vendor, endpoint.model)
        self._emit = emit
        self._stem = stem
        self._tags = _ThinkTags() if endpoint.traits.thinking_back == "tags" else None
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._calls: list[OpenCall] = []
        self._notices: list[str] = []
        self._usage = Usage()
        self._model = ""
        self._finish = ""
        self._refused = False

    def take(self, data: bytes) -> bool:
        """Read one chunk; true at the end mark."""
        if data == b"[DONE]":
            return True
        chunk = _decode(data, self.called)
        if chunk.choices:
            choice = chunk.choices[0]
            if choice.delta is not None:
                self._grow(choice.delta)
            if choice.finish_reason:
                self._finish = choice.finish_reason.lower()
        if chunk.usage is not None:
            self._usage = chunk.usage.ours
        if chunk.model and not self._model:
            self._model = clean(chunk.model)
        if chunk.error or chunk.object == "error":
            raise faults.from_body(self.called, loose(data))
        return False

    def reply(self, notices: tuple[str, ...]) -> Reply:
        """The whole answer, after the stream has ended.

        Raises:
            ModelError: it ended before its end.
        """
        if not self._finish:
            raise faults.cut_stream(self.called, "it ended without a reason to finish")
        if self._finish in _BROKEN:
            told = {"type": _BROKEN[self._finish], "message": f"it stopped with '{self._finish}'"}
            raise faults.from_body(self.called, {"error": told})
        if self._tags is not None:
            self._tell(self._tags.end())
        parts: list[Part] = []
        if thinking := clean("".join(self._thinking)):
            parts.append(ThinkingPart(thinking, origin=_THOUGHT))
        if text := clean("".join(self._text)):
            parts.append(TextPart(text, MODEL))
        parts += [call.part for call in self._calls]
        return Reply(
            Message("assistant", tuple(parts)),
            self._usage,
            self._stop_reason(),
            self._model,
            (*notices, *self._notices),
        )

    def _stop_reason(self) -> StopReason:
        if self._refused:
            return "refusal"
        told = _STOPS.get(self._finish, "other")
        if self._calls and told in ("end", "other"):  # some servers say "stop" with calls
            return "tool_calls"
        return "end" if told == "tool_calls" and not self._calls else told

    def _grow(self, delta: _Inside) -> None:
        if delta.content:
            text = delta.content if isinstance(delta.content, str) else _words_of(delta.content)
            self._say(text) if self._tags is None else self._tell(self._tags.feed(text))
        if thought := delta.reasoning_content or delta.reasoning:
            self._think(thought)
        if delta.refusal:
            self._refused = True
            self._say(delta.refusal)
        for piece in delta.tool_calls or ():
            self._grow_call(piece)

    def _say(self, text: str) -> None:
        self._text.append(text)
        self._emit(TextDelta(clean(text)))

    def _think(self, text: str) -> None:
        self._thinking.append(text)
        self._emit(ThinkingDelta(clean(text)))

    def _tell(self, split: tuple[str, str]) -> None:
        thought, text = split
        if thought:
            self._think(thought)
        if text:
            self._say(text)

    def _grow_call(self, piece: _CallPiece) -> None:
        function = piece.function or _Function()
        call = self._find_call(piece, function)
        if call is None:
            wanted = clean(piece.id or "") or f"{self._stem}_{len(self._calls) + 1}"
            made = unique_id(wanted, self._calls, self._notices)
            call = OpenCall(made, function.name or "", piece.index, piece.id or "")
            self._calls.append(call)
        call.name = call.name or function.name or ""
        arguments = function.arguments or ""
        if not isinstance(arguments, str):  # a server that does not write JSON within JSON
            arguments = msgspec.json.encode(arguments).decode()
        if arguments:
            call.pieces.append(arguments)
        self._emit(CallDelta(call.id, clean(call.name), clean(arguments)))

    def _find_call(self, piece: _CallPiece, function: _Function) -> OpenCall | None:
        """The call that a fragment goes on with, or None where it opens a new one.

        Meant to go by index; but some servers leave it out, or count every call as 0.
        """
        if piece.index is not None:
            known = [call for call in self._calls if call.index == piece.index]
        elif piece.id:
            known = [call for call in self._calls if call.sent_id == piece.id]
        else:
            known = self._calls
        if not known:
            return None
        call = known[-1]
        if piece.id and call.sent_id and piece.id != call.sent_id:
            return None
        names = bool(function.name) and bool(function.arguments or not piece.id)
        return None if names and _is_whole("".join(call.pieces)) else call


def _is_whole(arguments: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(arguments), dict)
    except (ValueError, RecursionError):
        return False


def _words_of(content: list[Any]) -> str:
    """The text in a list of content parts."""
    texts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


class _ThinkTags:
    """Parts a text into the reasoning between ``<think>`` and ``</think>`` at its start, and the rest."""

    _OPEN, _CLOSE = "<think>", "</think>"

    def __init__(self) -> None:
        self._held = ""
        self._where: Literal["start", "thinking", "after", "rest"] = "start"

    def feed(self, piece: str) -> tuple[str, str]:
        """What of the reasoning, and of the rest, is certain by now."""
        if self._where == "rest":
            return "", piece
        self._held += piece
        if self._where == "start":
            self._start()
        thought = self._thought() if self._where == "thinking" else ""
        if self._where == "after":  # blank lines between the two belong to neither
            self._held = self._held.lstrip()
            self._where = "rest" if self._held else "after"
        return thought, self._release() if self._where == "rest" else ""

    def end(self) -> tuple[str, str]:
        """What was held back."""
        held = self._release()
        return (held, "") if self._where == "thinking" else ("", held)

    def _start(self) -> None:
        begun = self._held.lstrip()
        if begun.startswith(self._OPEN):
            self._where, self._held = "thinking", begun[len(self._OPEN) :]
        elif not self._OPEN.startswith(begun):
            self._where = "rest"

    def _thought(self) -> str:
        thought, mark, behind = self._held.partition(self._CLOSE)
        if mark:
            self._where, self._held = "after", behind
            return thought
        sizes = range(min(len(self._CLOSE), len(thought)), 0, -1)
        half = next((size for size in sizes if self._CLOSE.startswith(thought[-size:])), 0)
        self._held = thought[len(thought) - half :]  # it may be the beginning of the mark
        return thought[: len(thought) - half]

    def _release(self) -> str:
        held, self._held = self._held, ""
        return held
