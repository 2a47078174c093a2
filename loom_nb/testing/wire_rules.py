"""What the vendors refuse: a request that breaks the rules of its protocol, or is too large."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loom_nb.testing.wire_script import Fail

CHARS_PER_TOKEN = 4


def too_large(dialect: str, body: bytes, window: int) -> Fail | None:
    """How the vendor would refuse a request with more tokens than that, four characters to a token."""
    tokens = len(body) // CHARS_PER_TOKEN
    if tokens <= window:
        return None
    if dialect == "anthropic":
        return Fail(400, f"prompt is too long: {tokens} tokens > {window} maximum")
    told = f"This model's maximum context length is {window} tokens; the request has {tokens}."
    return Fail(400, told, "context_length_exceeded")


def breach(dialect: str, asked: Mapping[str, Any]) -> Fail | None:
    """How the vendor would refuse a request that breaks a rule, or None: it would take it."""
    broken = next(_RULES[dialect](asked), None)
    return None if broken is None else Fail(400, broken)


def _anthropic(asked: Mapping[str, Any]) -> Iterator[str]:
    """https://docs.anthropic.com/en/api/messages and .../tool-use: pairs in neighbouring messages."""
    messages = _list(asked, "messages")
    if not messages:
        yield "messages: at least one message is required"
    elif messages[0].get("role") != "user":
        yield "messages: the first message must have the role user"
    seen: set[str] = set()
    waiting: list[str] = []
    for number, message in enumerate(messages):
        blocks = _blocks(message.get("content"))
        yield from (f"messages.{number}: {problem}" for problem in _block_problems(blocks, waiting))
        waiting = [str(one.get("id")) for one in blocks if one.get("type") == "tool_use"]
        if seen.intersection(waiting) or len(waiting) != len(set(waiting)):
            yield f"messages.{number}: tool_use ids must be unique"
        seen.update(waiting)
    if waiting:
        yield f"messages: tool_use ids {waiting} were found without tool_result blocks"


def _block_problems(blocks: Sequence[Mapping[str, Any]], waiting: Sequence[str]) -> Iterator[str]:
    kinds = [one.get("type") for one in blocks]
    results = [str(one.get("tool_use_id")) for one in blocks if one.get("type") == "tool_result"]
    if not blocks:
        yield "content must not be empty"
    if sorted(results) != sorted(waiting):
        yield f"tool_use ids {waiting} must have their tool_result here, found {results}"
    if kinds[: len(results)] != ["tool_result"] * len(results):
        yield "tool_result blocks must come before other content"
    if any(one.get("type") == "text" and not one.get("text") for one in blocks):
        yield "text content blocks must not be empty"
    if any(one.get("type") == "tool_use" and not isinstance(one.get("input"), dict) for one in blocks):
        yield "the input of a tool_use must be an object"


def _chat(asked: Mapping[str, Any]) -> Iterator[str]:
    """https://platform.openai.com/docs/api-reference/chat: tool messages right after their call."""
    messages = _list(asked, "messages")
    if not any(message.get("role") != "system" for message in messages):
        yield "messages: at least one message is required"
    waiting: list[str] = []
    for number, message in enumerate(messages):
        if message.get("role") == "tool":
            call = str(message.get("tool_call_id"))
            if call not in waiting:
                yield f"messages.{number}: a tool message must follow a message with its tool_calls"
            else:
                waiting.remove(call)
            continue
        if waiting:
            yield f"messages.{number}: tool_call_ids {waiting} have no tool message"
        calls = message.get("tool_calls") or []
        waiting = [str(call.get("id")) for call in calls]
        if len(waiting) != len(set(waiting)):
            yield f"messages.{number}: tool_call ids must be unique"
        if any(not _is_object(call.get("function", {}).get("arguments")) for call in calls):
            yield f"messages.{number}: arguments must be JSON"
        if not calls and not message.get("content") and not message.get("refusal"):
            yield f"messages.{number}: content must not be empty"
    if waiting:
        yield f"messages: tool_call_ids {waiting} have no tool message"


def _responses(asked: Mapping[str, Any]) -> Iterator[str]:
    """https://platform.openai.com/docs/api-reference/responses: each call has one output after it."""
    items = asked.get("input")
    if isinstance(items, str) and items:
        return
    known: set[str] = set()
    waiting: set[str] = set()
    for number, item in enumerate(_list(asked, "input")):
        call = str(item.get("call_id"))
        if item.get("type") == "function_call":
            if call in known:
                yield f"input.{number}: call ids must be unique"
            known.add(call)
            waiting.add(call)
            if not _is_object(item.get("arguments")):
                yield f"input.{number}: arguments must be JSON"
        elif item.get("type") == "function_call_output":
            if call not in waiting:
                yield f"input.{number}: no tool call found for function call output with call_id {call}"
            waiting.discard(call)
    if waiting:
        yield f"input: no tool output found for function calls {sorted(waiting)}"
    if not _list(asked, "input"):
        yield "input: at least one item is required"


_RULES = {"anthropic": _anthropic, "chat": _chat, "responses": _responses}


def _list(asked: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found = asked.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _blocks(content: object) -> list[Mapping[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content) if isinstance(content, list) else []


def _is_object(text: object) -> bool:
    try:
        return isinstance(json.loads(text), dict) if isinstance(text, str) else False
    except ValueError:
        return False
