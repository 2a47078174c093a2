"""What sessions with a run in flight weigh for the garbage collector: a thousand of them make its pauses."""

import asyncio
import gc
from collections import Counter

import pytest

from loom_nb import Agent, MemoryStore, Model, SessionConfig, tool
from loom_nb.messages import MODEL, Message, TextPart, ToolCallPart, Usage
from loom_nb.protocols import Reply
from loom_nb.runtime.redacting import Redacting
from loom_nb.runtime.session import Session
from tests.runtime.own_models import OwnModel

SESSIONS = 100


@tool(read_only=True)
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Held(OwnModel):
    """A model that asks for a tool `rounds` times, and lets nobody go on who has asked so often."""

    name = "held:model"

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.asked = 0
        self.all_asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def reply(self, request, emit):
        if len(request.conversation.messages) // 2 < self.rounds:
            call = ToolCallPart("c", "add", '{"a":1,"b":2}')
            return Reply(Message("assistant", (call,)), Usage(10, 5), "tool_calls", "m")
        self.asked += 1
        if self.asked >= SESSIONS:
            self.all_asked.set()
        await self.go_on.wait()
        return Reply(Message("assistant", (TextPart("done", MODEL),)), Usage(10, 5), "end", "m")


async def weights(rounds: int) -> dict[str, float]:
    """For a session with a run that waits for its model: objects of the garbage collector, by their type."""
    agent, store = Agent(Model.scripted(["warm"]), tools=[add]), MemoryStore()
    nothing = Redacting()  # not what this process knows of secrets: that may be more in other tests

    def session() -> Session:
        return Session(agent, SessionConfig(), store, redacting=nothing)

    await session().run("what is made once is made before")
    model = Held(rounds)
    object.__setattr__(agent, "model", model)
    gc.collect()
    before = {id(one) for one in gc.get_objects()}
    runs = [asyncio.ensure_future(session().run("go")) for _ in range(SESSIONS)]
    await model.all_asked.wait()
    gc.collect()  # tuples of nothing but texts and numbers are none of its business once it has seen them
    new = Counter(type(one).__name__ for one in gc.get_objects() if id(one) not in before)
    model.go_on.set()
    assert all(result.status == "completed" for result in await asyncio.gather(*runs))
    return {name: number / SESSIONS for name, number in new.most_common()}


@pytest.mark.parametrize(("rounds", "most"), [(0, 45), (1, 49)])
async def test_a_session_with_a_run_in_flight_is_few_objects(rounds, most):
    collects = gc.isenabled()
    gc.disable()  # it works where this says so, and nowhere else
    try:
        weight = await weights(rounds)
    finally:
        if collects:
            gc.enable()
    assert sum(weight.values()) <= most, {name: number for name, number in weight.items() if number >= 0.5}
