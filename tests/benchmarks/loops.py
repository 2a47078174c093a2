"""The same small agent on our loop and on the floor, and a thousand of its runs at once.

A module of its own, without a test runner: a server has none, and what it imports lies in the heap that the
garbage collector walks through in the middle of a thousand runs.
"""

import asyncio
import time

from floor import FloorCall, FloorMessage, FloorTool, FloorUsage, floor_collect
from pydantic import BaseModel

from loom_nb import Agent, Limits, MemoryStore, Runtime, tool
from loom_nb.events import TextDelta
from loom_nb.messages import MODEL, Message, TextPart, ToolCallPart, Usage
from loom_nb.protocols import Reply


@tool(read_only=True)
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Arguments(BaseModel):
    a: int
    b: int


async def floor_add(a: int, b: int) -> int:
    return a + b


FLOOR_TOOLS = [FloorTool("add", floor_add, Arguments)]


class Ours:
    """A model that asks for a tool `rounds` times, then streams `deltas` words."""

    name = "bench:model"

    def __init__(
        self, rounds: int, deltas: int = 1, wait: float = 0.0, marks: list[int] | None = None
    ) -> None:
        self.rounds, self.deltas, self.wait = rounds, deltas, wait
        self.marks = marks

    def open(self):
        return self

    def window(self):
        return None

    def cost(self, usage, answered=""):
        return None

    async def reply(self, request, emit):
        if self.marks is not None:  # reading the CPU clock is a system call: it costs more than a turn
            self.marks.append(time.process_time_ns())
        if self.wait:
            await asyncio.sleep(self.wait)
        asked = len(request.conversation.messages) // 2
        if asked < self.rounds:
            call = ToolCallPart(f"c{asked}", "add", '{"a":1,"b":2}')
            return Reply(Message("assistant", (call,)), Usage(10, 5), "tool_calls", "m")
        for _ in range(self.deltas):
            emit(TextDelta("word "))
        return Reply(Message("assistant", (TextPart("done", MODEL),)), Usage(10, 5), "end", "m")

    async def close(self): ...


def floor_model(rounds: int, deltas: int = 1, wait: float = 0.0, marks: list[int] | None = None):
    async def model(messages):
        if marks is not None:
            marks.append(time.process_time_ns())
        if wait:
            await asyncio.sleep(wait)
        asked = len(messages) // 2
        if asked < rounds:
            yield (
                FloorMessage("assistant", calls=[FloorCall(f"c{asked}", "add", '{"a":1,"b":2}')]),
                FloorUsage(10, 5),
            )
            return
        for _ in range(deltas):
            yield "word "
        yield FloorMessage("assistant", "done"), FloorUsage(10, 5)

    return model


def agent_with(model, store=None) -> Agent:
    spec = Agent(
        tools=[add],
        session_store=store or MemoryStore(),
        runtime=Runtime(limits=Limits(max_iterations=10_000)),
    )
    object.__setattr__(spec, "model", model)
    return spec


async def thousand() -> tuple[float, float]:
    """(wall seconds, longest block of the loop) of 1,000 runs of ours at once."""
    spec = agent_with(Ours(1, wait=0.05))
    lag = asyncio.create_task(worst_lag())
    start = time.perf_counter()
    results = await asyncio.gather(*[spec.session().run("hi") for _ in range(1000)])
    wall = time.perf_counter() - start
    lag.cancel()
    assert all(result.status == "completed" for result in results)
    return wall, await lag


async def floor_thousand() -> tuple[float, float]:
    model = floor_model(1, wait=0.05)
    lag = asyncio.create_task(worst_lag())
    start = time.perf_counter()
    await asyncio.gather(*[floor_collect("hi", model, FLOOR_TOOLS) for _ in range(1000)])
    wall = time.perf_counter() - start
    lag.cancel()
    return wall, await lag


async def worst_lag() -> float:
    worst = 0.0
    try:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - start - 0.001)
    except asyncio.CancelledError:
        return worst
