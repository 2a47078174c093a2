"""How Anthropic's Messages API writes an answer on the wire: events, bodies and errors."""

import json
from collections.abc import Iterator
from typing import Any

from loom_nb.messages import Usage
from loom_nb.testing.wire_script import Calls, Say, Think, WireCall, WireReply

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_STOPS = {
    "end": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
    "content_filter": "refusal",
}


def events(reply: WireReply, *, model: str, serial: str) -> Iterator[bytes]:
    """The events of a streamed answer, in order."""
    usage = _usage(reply.tokens)
    head = _message(model, serial, [], None, {**usage, "output_tokens": 1})
    yield _event("message_start", {"message": head})
    yield _event("ping", {})
    for index, (start, deltas, _) in enumerate(_blocks(reply, serial)):
        yield _event("content_block_start", {"index": index, "content_block": start})
        for delta in deltas:
            yield _event("content_block_delta", {"index": index, "delta": delta})
        yield _event("content_block_stop", {"index": index})
    end = {"stop_reason": _STOPS.get(reply.stop_reason, reply.stop_reason), "stop_sequence": None}
    yield _event("message_delta", {"delta": end, "usage": usage})
    yield _event("message_stop", {})


def body(reply: WireReply, *, model: str, serial: str) -> dict[str, Any]:
    """The body of an answer that is not streamed."""
    content = [whole for _, _, whole in _blocks(reply, serial)]
    stop = _STOPS.get(reply.stop_reason, reply.stop_reason)
    return _message(model, serial, content, stop, _usage(reply.tokens))


def error(status: int, message: str, kind: str, *, serial: str) -> dict[str, Any]:
    """The body of an HTTP error."""
    kind = kind or KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": f"req_wire_{serial}"}


def error_event(kind: str, message: str) -> bytes:
    """An error told inside a stream."""
    return _event("error", {"error": {"type": kind, "message": message}})


def _message(
    model: str, serial: str, content: list[dict[str, Any]], stop: str | None, usage: dict[str, int]
) -> dict[str, Any]:
    return {
        "id": f"msg_wire_{serial}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
    }


def _blocks(
    reply: WireReply, serial: str
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]]:
    """For each block: how it starts, its deltas, and the whole of it."""
    number = 0
    for part in reply.parts:
        match part:
            case Say():
                start: dict[str, Any] = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": piece} for piece in part.pieces]
                yield start, deltas, {"type": "text", "text": part.text}
            case Think(redacted=""):
                start = {"type": "thinking", "thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": piece} for piece in part.pieces]
                deltas.append({"type": "signature_delta", "signature": part.signature})
                yield start, deltas, {**start, "thinking": part.text, "signature": part.signature}
            case Think():
                start = {"type": "redacted_thinking", "data": part.redacted}
                yield start, [], start
            case Calls():
                for call in part.calls:
                    number += 1
                    yield _tool_use(call, f"toolu_wire_{serial}_{number}")


def _tool_use(call: WireCall, made_id: str) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    start: dict[str, Any] = {"type": "tool_use", "id": call.id or made_id, "name": call.name, "input": {}}
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *call.pieces]]
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = {}
    return start, deltas, {**start, "input": arguments}


def _usage(tokens: Usage) -> dict[str, int]:
    cached = tokens.cache_read_tokens + tokens.cache_write_tokens
    return {
        "input_tokens": tokens.input_tokens - cached,
        "cache_creation_input_tokens": tokens.cache_write_tokens,
        "cache_read_input_tokens": tokens.cache_read_tokens,
        "output_tokens": tokens.output_tokens,
    }


def _event(kind: str, fields: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
