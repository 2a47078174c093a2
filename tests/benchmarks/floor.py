"""The floor: the least that a typed async agent loop can be, written by hand.

A dataclass message, a list of tools, arguments checked by pydantic, a streaming model as an async
generator. No sessions, no log, no governance, no limits, no retries, no way to stop it.
Every ratio of the benchmarks is to this, so it gives its caller what a caller of ours has too:

- events as they happen, deltas included: a loop without them could not be shown to anybody. They
  are an async generator, the least that streams; a queue with a reader at its end costs more;
- the time in every event: a list of events without it does not say what took how long;
- a result at the end, with the answer, the messages that the run added, the usage, the number of
  turns and the seconds: what its caller would otherwise have to fold from the events.

`floor_collect` is the caller: it reads every event, keeps them, and hands out both.
"""

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel


@dataclass(slots=True)
class FloorCall:
    id: str
    name: str
    arguments: str


@dataclass(slots=True)
class FloorMessage:
    role: str
    text: str = ""
    calls: list[FloorCall] = field(default_factory=list)
    call_id: str = ""


@dataclass(slots=True)
class FloorUsage:
    input: int = 0
    output: int = 0


@dataclass(slots=True)
class FloorEvent:
    type: str
    payload: Any = None
    time: float = field(default_factory=time.time)


@dataclass(slots=True)
class FloorResult:
    text: str
    messages: list[FloorMessage]
    usage: FloorUsage
    turns: int
    seconds: float


@dataclass(slots=True)
class FloorTool:
    name: str
    function: Callable[..., Any]
    arguments: type[BaseModel]


FloorModel = Callable[[list[FloorMessage]], AsyncIterator[Any]]


async def floor_run(
    prompt: str, model: FloorModel, tools: list[FloorTool], messages: list[FloorMessage]
) -> AsyncIterator[FloorEvent]:
    """The loop. The model yields texts, then one (message, usage); the last event carries the result."""
    started, before, turns = time.monotonic(), len(messages), 0
    by_name = {tool.name: tool for tool in tools}
    usage = FloorUsage()
    messages.append(FloorMessage("user", prompt))
    yield FloorEvent("run_started", prompt)
    while True:
        turns += 1
        yield FloorEvent("turn_started", turns)
        message = FloorMessage("assistant")
        async for said in model(messages):
            if isinstance(said, str):
                yield FloorEvent("delta", said)
            else:
                message, spent = said
                usage.input += spent.input
                usage.output += spent.output
        messages.append(message)
        yield FloorEvent("message", message)
        if not message.calls:
            seconds = time.monotonic() - started
            result = FloorResult(message.text, messages[before:], usage, turns, seconds)
            yield FloorEvent("run_finished", result)
            return
        for call in message.calls:
            tool = by_name[call.name]
            arguments = tool.arguments.model_validate_json(call.arguments)
            yield FloorEvent("call_started", call)
            value = await tool.function(
                **{name: getattr(arguments, name) for name in type(arguments).model_fields}
            )
            result_message = FloorMessage("tool", json.dumps(value), call_id=call.id)
            messages.append(result_message)
            yield FloorEvent("call_finished", result_message)


async def floor_collect(
    prompt: str, model: FloorModel, tools: list[FloorTool], messages: list[FloorMessage] | None = None
) -> tuple[FloorResult, list[FloorEvent]]:
    """Carry out a run, in a conversation of its own or in the one that is handed in."""
    messages = [] if messages is None else messages
    events = [event async for event in floor_run(prompt, model, tools, messages)]
    return events[-1].payload, events
