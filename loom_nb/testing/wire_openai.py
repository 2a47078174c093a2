"""How OpenAI's two APIs, chat completions and responses, write an answer on the wire."""

import json
from collections.abc import Iterator
from typing import Any

from loom_nb.messages import Usage
from loom_nb.testing.wire_script import Calls, Say, Think, WireCall, WireReply

KINDS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    413: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", "server_overloaded"),
    529: ("server_error", "server_overloaded"),
}

_STOPS = {"end": "stop", "stop_sequence": "stop", "refusal": "stop"}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_CREATED = 1_700_000_000


def error(status: int, message: str, kind: str) -> dict[str, Any]:
    """The body of an HTTP error. `kind` becomes both its type and its code."""
    usual, code = KINDS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    return {"error": {"message": message, "type": kind or usual, "param": None, "code": kind or code}}


# chat completions


def chat_events(reply: WireReply, *, model: str, serial: str, usage: bool) -> Iterator[bytes]:
    """The events of a streamed chat completion; the last tells the tokens if `usage` asks for it."""
    head = {
        "id": f"chatcmpl-wire-{serial}",
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": model,
    }

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data({**head, "choices": [choice], **({"usage": None} if usage else {})})

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for delta in _chat_deltas(reply, serial):
        yield chunk(delta)
    yield chunk({}, _STOPS.get(reply.stop_reason, reply.stop_reason))
    if usage:
        yield _data({**head, "choices": [], "usage": _chat_usage(reply.tokens)})
    yield b"data: [DONE]\n\n"


def chat_body(reply: WireReply, *, model: str, serial: str) -> dict[str, Any]:
    """The body of a chat completion that is not streamed."""
    refused = reply.stop_reason == "refusal"
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refused else reply.text or None,
        "refusal": reply.text if refused else None,
    }
    thought = "".join(part.text for part in reply.parts if isinstance(part, Think))
    if thought:
        message["reasoning_content"] = thought
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": call.id or f"call_wire_{serial}_{n}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for n, call in enumerate(reply.calls, 1)
        ]
    finish = _STOPS.get(reply.stop_reason, reply.stop_reason)
    return {
        "id": f"chatcmpl-wire-{serial}",
        "object": "chat.completion",
        "created": _CREATED,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": _chat_usage(reply.tokens),
    }


def chat_error_event(kind: str, message: str) -> bytes:
    """An error told inside a stream."""
    return _data({"error": {"message": message, "type": kind, "param": None, "code": kind}})


def _chat_deltas(reply: WireReply, serial: str) -> Iterator[dict[str, Any]]:
    words = "refusal" if reply.stop_reason == "refusal" else "content"
    index = -1
    for part in reply.parts:
        if isinstance(part, Say):
            yield from ({words: piece} for piece in part.pieces)
        elif isinstance(part, Think):
            yield from ({"reasoning_content": piece} for piece in part.pieces)
        else:
            for call in part.calls:
                index += 1
                opening = {"name": call.name, "arguments": ""}
                made = call.id or f"call_wire_{serial}_{index + 1}"
                yield {"tool_calls": [{"index": index, "id": made, "type": "function", "function": opening}]}
                for piece in call.pieces:
                    yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _chat_usage(tokens: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens.input_tokens,
        "completion_tokens": tokens.output_tokens,
        "total_tokens": tokens.total_tokens,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read_tokens},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning_tokens},
    }


# responses


def responses_events(reply: WireReply, *, model: str, serial: str) -> Iterator[bytes]:
    """The events of a streamed response."""
    started = _response(reply, model, serial, status="in_progress")
    facts: list[dict[str, Any]] = [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": started},
    ]
    for index, part in enumerate(_items(reply)):
        facts += _item_events(part, _item(part, index, serial, reply), index)
    whole = responses_body(reply, model=model, serial=serial)
    facts.append({"type": f"response.{whole['status']}", "response": whole})
    for number, fact in enumerate(facts):
        yield _event(fact["type"], {**fact, "sequence_number": number})


def responses_body(reply: WireReply, *, model: str, serial: str) -> dict[str, Any]:
    """The body of a response that is not streamed."""
    cut = _INCOMPLETE.get(reply.stop_reason)
    whole = _response(reply, model, serial, status="incomplete" if cut else "completed")
    whole["output"] = [_item(part, index, serial, reply) for index, part in enumerate(_items(reply))]
    whole["incomplete_details"] = {"reason": cut} if cut else None
    whole["usage"] = {
        "input_tokens": reply.tokens.input_tokens,
        "input_tokens_details": {"cached_tokens": reply.tokens.cache_read_tokens},
        "output_tokens": reply.tokens.output_tokens,
        "output_tokens_details": {"reasoning_tokens": reply.tokens.reasoning_tokens},
        "total_tokens": reply.tokens.total_tokens,
    }
    return whole


def responses_error_event(kind: str, message: str) -> bytes:
    """An error told inside a stream."""
    told = {"type": "error", "code": kind, "message": message, "param": None, "sequence_number": 0}
    return _event("error", told)


def _response(reply: WireReply, model: str, serial: str, *, status: str) -> dict[str, Any]:
    return {
        "id": f"resp_wire_{serial}",
        "object": "response",
        "created_at": _CREATED,
        "status": status,
        "model": model,
        "output": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }


def _items(reply: WireReply) -> Iterator[Say | Think | WireCall]:
    for part in reply.parts:
        if isinstance(part, Calls):
            yield from part.calls
        else:
            yield part


def _item(part: Say | Think | WireCall, index: int, serial: str, reply: WireReply) -> dict[str, Any]:
    match part:
        case Say():
            refused = reply.stop_reason == "refusal"
            content = (
                {"type": "refusal", "refusal": part.text}
                if refused
                else {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
            )
            return {
                "id": f"msg_wire_{serial}_{index}",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [content],
            }
        case Think():
            return {
                "id": f"rs_wire_{serial}_{index}",
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": part.text}] if part.text else [],
                "encrypted_content": part.redacted or part.signature,
                "status": "completed",
            }
        case WireCall():
            return {
                "id": f"fc_wire_{serial}_{index}",
                "type": "function_call",
                "call_id": part.id or f"call_wire_{serial}_{index}",
                "name": part.name,
                "arguments": part.arguments,
                "status": "completed",
            }


def _item_events(part: Say | Think | WireCall, item: dict[str, Any], index: int) -> list[dict[str, Any]]:
    where = {"item_id": item["id"], "output_index": index}
    running: dict[str, Any] = {**item, "status": "in_progress"}
    if isinstance(part, Say):
        running, inner = {**running, "content": []}, _message_events(part, item["content"][0], where)
    elif isinstance(part, Think):
        running, inner = {**running, "summary": []}, _summary_events(part, where)
    else:
        running, inner = {**running, "arguments": ""}, _call_events(part, where)
    return [
        {"type": "response.output_item.added", "output_index": index, "item": running},
        *inner,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _message_events(part: Say, content: dict[str, Any], where: dict[str, Any]) -> list[dict[str, Any]]:
    place = {**where, "content_index": 0}
    done: dict[str, Any]
    if content["type"] == "refusal":
        kind, empty, done = "refusal", {**content, "refusal": ""}, {"refusal": part.text}
    else:
        kind, empty, done = "output_text", {**content, "text": ""}, {"text": part.text, "logprobs": []}
    more: dict[str, Any] = {} if kind == "refusal" else {"logprobs": []}
    return [
        {"type": "response.content_part.added", **place, "part": empty},
        *({"type": f"response.{kind}.delta", **place, "delta": piece, **more} for piece in part.pieces),
        {"type": f"response.{kind}.done", **place, **done},
        {"type": "response.content_part.done", **place, "part": content},
    ]


def _summary_events(part: Think, where: dict[str, Any]) -> list[dict[str, Any]]:
    if not part.text:
        return []
    place = {**where, "summary_index": 0}
    name = "response.reasoning_summary"
    return [
        {"type": f"{name}_part.added", **place, "part": {"type": "summary_text", "text": ""}},
        *({"type": f"{name}_text.delta", **place, "delta": piece} for piece in part.pieces),
        {"type": f"{name}_text.done", **place, "text": part.text},
        {"type": f"{name}_part.done", **place, "part": {"type": "summary_text", "text": part.text}},
    ]


def _call_events(part: WireCall, where: dict[str, Any]) -> list[dict[str, Any]]:
    name = "response.function_call_arguments"
    return [
        *({"type": f"{name}.delta", **where, "delta": piece} for piece in part.pieces),
        {"type": f"{name}.done", **where, "name": part.name, "arguments": part.arguments},
    ]


def _data(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def _event(kind: str, value: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(value)}\n\n".encode()
