"""The floor: the least that a typed async agent loop can be, written by hand.

A dataclass message, a list of tools, arguments checked by pydantic, a streaming model as an async
generator, usage added up, one queue of events. No sessions, no log, no governance, no limits.
Every ratio of the benchmarks is to this.
"""

import asyncio
import json
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


@dataclass(slots=True)
class FloorTool:
    name: str
    function: Callable[..., Any]
    arguments: type[BaseModel]


FloorModel = Callable[[list[FloorMessage]], AsyncIterator[Any]]


async def floor_run(
    prompt: str,
    model: FloorModel,
    tools: list[FloorTool],
    events: "asyncio.Queue[FloorEvent]",
    messages: list[FloorMessage] | None = None,
) -> str:
    """The loop. The model yields texts, then one (message, usage)."""
    by_name = {tool.name: tool for tool in tools}
    messages = [] if messages is None else messages
    usage = FloorUsage()
    put = events.put_nowait
    messages.append(FloorMessage("user", prompt))
    put(FloorEvent("run_started", prompt))
    while True:
        put(FloorEvent("turn_started"))
        message = FloorMessage("assistant")
        async for said in model(messages):
            if isinstance(said, str):
                put(FloorEvent("delta", said))
            else:
                message, spent = said
                usage.input += spent.input
                usage.output += spent.output
        messages.append(message)
        put(FloorEvent("message", message))
        if not message.calls:
            put(FloorEvent("run_finished", usage))
            return message.text
        for call in message.calls:
            tool = by_name[call.name]
            arguments = tool.arguments.model_validate_json(call.arguments)
            put(FloorEvent("call_started", call))
            result = await tool.function(
                **{name: getattr(arguments, name) for name in type(arguments).model_fields}
            )
            result_message = FloorMessage("tool", json.dumps(result), call_id=call.id)
            messages.append(result_message)
            put(FloorEvent("call_finished", result_message))
