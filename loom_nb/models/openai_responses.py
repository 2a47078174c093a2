"""OpenAI's responses API, without anything kept at OpenAI: each request holds the whole conversation.

The reasoning of earlier turns goes along encrypted, as OpenAI gave it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from loom_nb.border import clean
from loom_nb.events import CallDelta, Delta, StopReason, TextDelta, ThinkingDelta
from loom_nb.media.limits import OPENAI_RESPONSES
from loom_nb.messages import (
    MODEL,
    FilePart,
    ImagePart,
    Message,
    Origin,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
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
    told_words,
    unique_id,
    wire_arguments,
    wire_name,
)
from loom_nb.models.openai_schema import strict_schema
from loom_nb.models.openai_wire import Endpoint, OpenAIModel
from loom_nb.protocols import Generation, Reply, Request
from loom_nb.tools import Tool

_DIALECT = "openai-responses"
_THOUGHT = Origin("model", _DIALECT)
"""On reasoning that this API gave: another vendor's would not be understood, nor this one by others."""


class OpenAIResponses(OpenAIModel):
    """A `LanguageModel` by the responses protocol; arguments as told at `OpenAIModel`."""

    path = "/responses"
    dialect = _DIALECT

    def head(self, request: Request) -> Head:
        """All of the body in front of the input."""
        return _head(self.endpoint, request)

    def encode_message(self, message: Message) -> bytes:
        """One message as items of the input."""
        return encode_message(message)

    def reader(self, emit: Callable[[Delta], None], stem: str) -> "_ResponsesReader":
        """A reader for the events of one stream."""
        return _ResponsesReader(self.endpoint, emit, stem)


# the request


def _head(endpoint: Endpoint, request: Request) -> Head:
    notices: list[str] = []
    fields: dict[str, Any] = {
        "model": endpoint.model,
        "stream": True,
        "store": False,
        **_sampling(endpoint, request.generation, notices),
    }
    if is_reasoning_model(endpoint.model):
        fields["include"] = ["reasoning.encrypted_content"]
    if request.system:
        fields["instructions"] = clean(request.system)
    if request.tools:
        fields["tools"] = [_tool(tool) for tool in request.tools]
    if (output := request.output) is not None:
        strict = strict_schema(output.schema)
        form = {"type": "json_schema", "name": wire_name(output.name), "schema": strict or output.schema}
        fields["text"] = {"format": {**form, "strict": strict is not None}}
    return Head(open_body(fields, endpoint.options, b',"input":['), tuple(notices))


def _tool(tool: Tool) -> dict[str, Any]:
    schema = msgspec.Raw(tool.encoded_schema)
    told = {"name": tool.name, "description": tool.description, "parameters": schema}
    return {"type": "function", **told, "strict": False}


def _sampling(endpoint: Endpoint, wanted: Generation, notices: list[str]) -> dict[str, Any]:
    """The options of a request in the vendor's words; each that it does not take becomes a notice."""
    reasoning = is_reasoning_model(endpoint.model)
    fields: dict[str, Any] = {"max_output_tokens": wanted.max_output_tokens}
    sampling = {"temperature": wanted.temperature, "top_p": wanted.top_p}
    if reasoning and wanted.reasoning_effort != "none":
        asked = [name for name, value in sampling.items() if value is not None]
        notices += [
            f"{endpoint.model} is a reasoning model and takes no {name}: it was left out" for name in asked
        ]
    else:
        fields.update(sampling)
    if wanted.reasoning_effort is not None:
        if reasoning or endpoint.vendor != "openai":
            fields["reasoning"] = {"effort": wanted.reasoning_effort}
        else:
            notices.append(f"{endpoint.model} takes no reasoning_effort: it was left out")
    unknown = {"stop": wanted.stop or None, "seed": wanted.seed, "thinking_tokens": wanted.thinking_tokens}
    asked = [name for name, value in unknown.items() if value is not None]
    notices += [f"the responses API has no {name}: it was left out" for name in asked]
    return {name: value for name, value in fields.items() if value is not None}


def encode_message(message: Message) -> bytes:
    """A message of ours as the items of a response's input, joined by commas."""
    match message.role:
        case "assistant":
            items = _said(message)
        case "tool":
            items = _results(message)
        case _:
            items = [{"role": "user", "content": _content(message.parts)}]
    return b",".join(map(msgspec.json.encode, items))


def _said(message: Message) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    thought: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case ThinkingPart() if part.data and part.origin == _THOUGHT:
                thought.append(_reasoning(part))
                continue
            case TextPart() if part.text:
                item: dict[str, Any] = {"role": "assistant", "content": clean(part.text)}
            case ToolCallPart():
                item = _call(part)
            case _:
                continue
        items += [*thought, item]  # reasoning must stand before what it led to, and not alone
        thought = []
    return items


def _reasoning(part: ThinkingPart) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": clean(part.text)}] if part.text else []
    return {
        "type": "reasoning",
        "id": clean(part.signature),
        "summary": summary,
        "encrypted_content": clean(part.data),
    }


def _call(part: ToolCallPart) -> dict[str, Any]:
    item = {
        "type": "function_call",
        "call_id": clean(part.id),
        "name": wire_name(part.name),
        "arguments": wire_arguments(part.arguments),
    }
    return {**item, "id": clean(part.vendor_id)} if part.vendor_id.startswith("fc") else item


def _results(message: Message) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    beside: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolResultPart):
            output = _content((TextPart("[error]"), *part.parts) if part.is_error else part.parts)
            items.append({"type": "function_call_output", "call_id": clean(part.call_id), "output": output})
        else:
            beside.append(part)
    if beside:
        items.append({"role": "user", "content": _content(beside)})
    return items


def _content(parts: Sequence[Part]) -> str | list[dict[str, Any]]:
    told = [(part, told_words(part)) for part in parts]
    if all(words is not None for _, words in told):
        return "\n\n".join(words for _, words in told if words)
    shown = [_shown(part) if words is None else {"type": "input_text", "text": words} for part, words in told]
    return [part for part in shown if part is not None]


def _shown(part: Part) -> dict[str, Any] | None:
    match part:
        case ImagePart():
            refuse_beyond(OPENAI_RESPONSES, part, "this model")
            url = data_url(part.media_type, part.data)
            return {"type": "input_image", "detail": "auto", "image_url": url}
        case FilePart():
            refuse_beyond(OPENAI_RESPONSES, part, "this model")
            url = data_url(part.media_type, part.data)
            return {"type": "input_file", "filename": clean(part.name), "file_data": url}
    return None


# the answer


class _Text(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    content: list[_Text] | None = None
    summary: list[_Text] | None = None
    encrypted_content: str | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    model: str | None = None
    output: list[_Item] | None = None
    usage: WireUsage | None = None
    incomplete_details: _Incomplete | None = None


class _Whole(msgspec.Struct):
    response: _Response


class _Placed(msgspec.Struct):
    item: _Item


class _Event(msgspec.Struct):
    """What every event has that says something by itself."""

    type: str = ""
    output_index: int | None = None
    delta: Any = None


_decode = Lenient(_Event)
_decode_placed = Lenient(_Placed)
_decode_whole = Lenient(_Whole)

_INCOMPLETE: Mapping[str, StopReason] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}


@dataclass(slots=True)
class _Output:
    """One item of the answer, as far as it has come."""

    item: _Item = field(default_factory=_Item)
    texts: list[str] = field(default_factory=list)
    call: OpenCall | None = None
    refused: bool = False


class _ResponsesReader:
    """Makes a reply of the events of one stream."""

    def __init__(self, endpoint: Endpoint, emit: Callable[[Delta], None], stem: str) -> None:
        self.called = faults.Called(endpoint.vendor, endpoint.model)
        self._emit = emit
        self._stem = stem
        self._outputs: dict[int, _Output] = {}
        self._notices: list[str] = []
        self._end = ""
        self._response = _Response()

    def take(self, data: bytes) -> bool:
        """Read one event; true at the end mark."""
        if data == b"[DONE]":
            return True
        event = _decode(data, self.called)
        if (step := _STEPS.get(event.type)) is not None:
            step(self, event, data)
        return bool(self._end)

    def reply(self, notices: tuple[str, ...]) -> Reply:
        """The whole answer, after the stream has ended.

        Raises:
            ModelError: it ended before its end.
        """
        if not self._end:
            raise faults.cut_stream(self.called, "it ended without the event that it is complete")
        if not self._outputs:
            for index, item in enumerate(self._response.output or ()):
                self._finish(self._output(index), item)
        outputs = [self._outputs[index] for index in sorted(self._outputs)]
        parts = tuple(part for output in outputs if (part := _part(output)) is not None)
        usage = self._response.usage
        return Reply(
            Message("assistant", parts),
            usage.ours if usage else Usage(),
            self._stop_reason(outputs),
            clean(self._response.model or ""),
            (*notices, *self._notices),
        )

    def _stop_reason(self, outputs: Sequence[_Output]) -> StopReason:
        if self._end == "incomplete":
            why = self._response.incomplete_details
            return _INCOMPLETE.get((why and why.reason) or "", "other")
        if any(output.refused for output in outputs):
            return "refusal"
        return "tool_calls" if any(output.call for output in outputs) else "end"

    def say(self, event: _Event, data: bytes) -> None:
        """More words."""
        text = _delta(event)
        self._output(event.output_index).texts.append(text)
        self._emit(TextDelta(clean(text)))

    def refuse(self, event: _Event, data: bytes) -> None:
        """More words that say no."""
        self._output(event.output_index).refused = True
        self.say(event, data)

    def think(self, event: _Event, data: bytes) -> None:
        """More reasoning; a new part of it opens a paragraph."""
        output = self._output(event.output_index)
        opens = event.type == "response.reasoning_summary_part.added"
        text = "\n\n" if opens and output.texts else _delta(event)
        output.item.type = output.item.type or "reasoning"
        if text:
            output.texts.append(text)
            self._emit(ThinkingDelta(clean(text)))

    def argue(self, event: _Event, data: bytes) -> None:
        """More of a call's arguments."""
        output = self._output(event.output_index)
        call = output.call or self._open_call(output)
        text = _delta(event)
        call.pieces.append(text)
        self._emit(CallDelta(call.id, clean(call.name), clean(text)))

    def begin(self, event: _Event, data: bytes) -> None:
        """An item begins."""
        index = len(self._outputs) if event.output_index is None else event.output_index
        self._place(self._output(index), _decode_placed(data, self.called).item)

    def finish(self, event: _Event, data: bytes) -> None:
        """An item is whole; what it says now counts."""
        self._finish(self._output(event.output_index), _decode_placed(data, self.called).item)

    def end(self, event: _Event, data: bytes) -> None:
        """The answer is over."""
        self._response = _decode_whole(data, self.called).response
        self._end = event.type.rpartition(".")[2]

    def fail(self, event: _Event, data: bytes) -> None:
        """The vendor tells of an error."""
        told = loose(data)
        if event.type or "error" in told:
            raise faults.from_body(self.called, told)

    def _output(self, index: int | None) -> _Output:
        """The item at `index`; the newest where a server does not number them."""
        where = max(self._outputs, default=0) if index is None else index
        return self._outputs.setdefault(where, _Output())

    def _place(self, output: _Output, item: _Item) -> None:
        output.item = item
        if item.type == "function_call" and output.call is None:
            self._open_call(output)

    def _finish(self, output: _Output, item: _Item) -> None:
        self._place(output, item)
        if output.call is not None:
            output.call.name = item.name or output.call.name
            output.call.pieces = [item.arguments] if item.arguments else output.call.pieces

    def _open_call(self, output: _Output) -> OpenCall:
        calls = [other.call for other in self._outputs.values() if other.call is not None]
        wanted = clean(output.item.call_id or "") or f"{self._stem}_{len(calls) + 1}"
        made = unique_id(wanted, calls, self._notices)
        output.call = OpenCall(made, output.item.name or "", vendor_id=clean(output.item.id or ""))
        self._emit(CallDelta(made, clean(output.call.name), ""))
        return output.call


_STEPS: Mapping[str, Callable[[_ResponsesReader, _Event, bytes], None]] = {
    "response.output_text.delta": _ResponsesReader.say,
    "response.refusal.delta": _ResponsesReader.refuse,
    "response.reasoning_summary_text.delta": _ResponsesReader.think,
    "response.reasoning_text.delta": _ResponsesReader.think,
    "response.reasoning_summary_part.added": _ResponsesReader.think,
    "response.function_call_arguments.delta": _ResponsesReader.argue,
    "response.output_item.added": _ResponsesReader.begin,
    "response.output_item.done": _ResponsesReader.finish,
    "response.completed": _ResponsesReader.end,
    "response.incomplete": _ResponsesReader.end,
    "response.failed": _ResponsesReader.fail,
    "error": _ResponsesReader.fail,
    "": _ResponsesReader.fail,
}
"""What is done with each kind of event; all others say nothing that we need."""


def _delta(event: _Event) -> str:
    return event.delta if isinstance(event.delta, str) else ""


def _part(output: _Output) -> Part | None:
    """An item of the answer as a part of ours; None for those that we did not ask for."""
    item, came = output.item, clean("".join(output.texts))
    if output.call is not None:
        return output.call.part
    if item.type == "reasoning":
        told = "\n\n".join(text.text or "" for text in (*(item.summary or ()), *(item.content or ())))
        data = clean(item.encrypted_content or "")
        thinking = ThinkingPart(clean(told) or came, clean(item.id or "") if data else "", data, _THOUGHT)
        return thinking if thinking.text or data else None
    told = "".join(text.text or text.refusal or "" for text in item.content or ())
    output.refused = output.refused or any(text.refusal for text in item.content or ())
    text = clean(told) or came
    return TextPart(text, MODEL) if text else None
