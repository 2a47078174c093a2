"""The embedded offline model: what answers when there is no key.

It follows rules and is no language model. It reads the tools it is given, picks them by the words of
the request, fills their arguments from text, notebook data and earlier results, asks for what is
missing, remembers what it is told, and answers only with what it was given. Tools that act it calls
only on an order in the words of the user; nothing in a result is one. Its answers begin with DEMO.
The same request always gives the same reply: there is no clock, no chance and no network.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator

import msgspec

from loom_nb.border import clean
from loom_nb.events import CallDelta, Delta, StopReason, TextDelta, ThinkingDelta
from loom_nb.messages import (
    MODEL,
    FilePart,
    ImagePart,
    Message,
    Origin,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    Usage,
    to_json,
)
from loom_nb.models.offline.plan import decide
from loom_nb.models.offline.steps import Calls
from loom_nb.protocols import Generation, Reply, Request
from loom_nb.tokens import estimate, estimate_part

__all__ = ["LABEL", "OfflineModel"]

LABEL = "DEMO · "
"""What every answer in words begins with."""
MODEL_NAME = "offline-demo"
_THOUGHT = Origin("model", "offline")
"""Marks reasoning that no vendor takes back, should the session go on with a real model."""
_IGNORED = ("temperature", "top_p", "seed", "reasoning_effort", "thinking_tokens")


class OfflineModel:
    """A `LanguageModel` of rules, without a network and without a key.

    Args:
        pace: seconds between two deltas, for a demonstration that can be watched; 0 is at once.
    """

    name = "offline:demo"

    def __init__(self, *, pace: float = 0.0) -> None:
        self._pace = max(0.0, pace)

    async def reply(self, request: Request, emit: Callable[[Delta], None]) -> Reply:
        """Answer, or ask for tools. Never fails: what cannot be done is said in words."""
        message, stop_reason = _message(request)
        for delta in _deltas(message):
            emit(delta)
            await asyncio.sleep(self._pace)
        usage = Usage(max(1, self._weight(request)), max(1, estimate(_written(message))))
        return Reply(message, usage, stop_reason, MODEL_NAME, _notices(request.generation))

    def _weight(self, request: Request) -> int:
        """Tokens of a request: of its JSON, but of images and files what a vendor would count."""
        media = [
            part
            for message in request.conversation
            for part in message.parts
            if isinstance(part, ImagePart | FilePart)
        ]
        in_base64 = sum(len(part.data) // 3 for part in media)  # four characters of every three bytes
        return estimate(self.encode(request).decode()) - in_base64 + sum(map(estimate_part, media))

    def encode(self, request: Request) -> bytes:
        """What is read, as JSON: nothing is sent anywhere."""
        tools = [
            {"name": t.name, "description": t.description, "parameters": msgspec.Raw(t.encoded_schema)}
            for t in request.tools
        ]
        messages = [msgspec.Raw(one) for one in request.conversation.fragments("offline", _encoded)]
        if request.working is not None:
            messages.append(msgspec.Raw(_encoded(request.working)))
        body: dict[str, object] = {
            "model": MODEL_NAME,
            "system": clean(request.system),
            "messages": messages,
            "tools": tools,
        }
        if request.output is not None:
            body["output"] = {"name": request.output.name, "schema": dict(request.output.schema)}
        return msgspec.json.encode(body)

    async def close(self) -> None:
        """Nothing is open."""

    def __repr__(self) -> str:
        return "<OfflineModel offline:demo>"


def _message(request: Request) -> tuple[Message, StopReason]:
    step = decide(request)
    thinking = (ThinkingPart(clean(step.why), origin=_THOUGHT),) if step.why else ()
    if isinstance(step, Calls):
        return Message("assistant", (*thinking, *_calls(step, request))), "tool_calls"
    text, stop_reason = _cut(clean(step.text if step.bare else f"{LABEL}{step.text}"), request.generation)
    return Message("assistant", (*thinking, TextPart(text, MODEL))), stop_reason


def _calls(step: Calls, request: Request) -> Iterator[ToolCallPart]:
    done = _calls_so_far(request)
    for place, (name, arguments) in enumerate(step.calls, done + 1):
        yield ToolCallPart(f"demo_{place}", name, clean(json.dumps(arguments, ensure_ascii=False)))


def _calls_so_far(request: Request) -> int:
    """By the number of the latest call: of earlier ones the conversation may show less than there were."""
    for message in reversed(request.conversation.messages):
        if message.calls:
            number = message.calls[-1].id.rpartition("_")[2]
            if number.isdecimal():
                return int(number)
            break
    return sum(len(message.calls) for message in request.conversation.messages)


def _cut(text: str, generation: Generation) -> tuple[str, StopReason]:
    """The text up to a stop sequence or the limit of output tokens."""
    ends = [place for stop in generation.stop if stop and (place := text.find(stop)) >= 0]
    reason: StopReason = "stop_sequence" if ends else "end"
    text = text[: min(ends)] if ends else text
    limit = generation.max_output_tokens
    if limit is not None and estimate(text) > limit:
        words = re.findall(r"\s*\S+", text)
        while words and estimate("".join(words)) > limit:
            words = words[
                : min(len(words) - 1, max(1, len(words) * limit // max(1, estimate("".join(words)))))
            ]
        return "".join(words), "length"
    return text, reason


def _deltas(message: Message) -> Iterator[Delta]:
    """The message in pieces of a few words, as a model would write it."""
    for part in message.parts:
        match part:
            case ThinkingPart(text=text):
                yield ThinkingDelta(text)
            case TextPart(text=text):
                yield from (TextDelta(piece) for piece in _pieces(text, 3))
            case ToolCallPart(id=call_id, name=name, arguments=arguments):
                yield from (CallDelta(call_id, name, piece) for piece in _fragments(arguments))


def _pieces(text: str, count: int) -> Iterator[str]:
    words = re.findall(r"\s*\S+|\s+$", text)
    for start in range(0, len(words), count):
        yield "".join(words[start : start + count])


def _fragments(arguments: str, size: int = 16) -> Iterator[str]:
    for start in range(0, len(arguments), size):
        yield arguments[start : start + size]


def _encoded(message: Message) -> bytes:
    try:
        return to_json(message)
    except UnicodeEncodeError:  # a lone surrogate in a part that was made by hand
        return json.dumps(clean(message.text)).encode()


def _written(message: Message) -> str:
    return "".join(
        part.arguments if isinstance(part, ToolCallPart) else part.text
        for part in message.parts
        if isinstance(part, TextPart | ToolCallPart | ThinkingPart)
    )


def _notices(generation: Generation) -> tuple[str, ...]:
    ignored = [name for name in _IGNORED if getattr(generation, name) is not None]
    return (
        (
            f"offline:demo follows rules: {', '.join(ignored)} {'has' if len(ignored) == 1 else 'have'} "
            "no effect",
        )
        if ignored
        else ()
    )
