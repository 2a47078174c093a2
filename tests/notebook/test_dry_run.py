"""What a cell would send, and what it does not show of what would happen."""

import pytest

from loom_nb import Agent, ContextProtocol, MemoryStore, Model, Runtime, RuntimeTask
from loom_nb.events import ContextCompacted
from loom_nb.notebook.dry_run import preview


@pytest.mark.parametrize("words", [20, 1_500])
async def test_a_request_that_would_be_compacted_first_says_so(words):
    agent = Agent(
        Model.scripted(["b " * words, "b " * words, "c", "c", "c"]),
        session_store=MemoryStore(),
        runtime=Runtime(context=ContextProtocol(budget=2_000)),
    )
    async with agent.session() as session:
        await session.run("a " * words)
        await session.run("third")
        told = str((await preview(session, agent, RuntimeTask("more"))).card)
        result = await session.run("more")
        compacted = any(isinstance(one.event, ContextCompacted) for one in result.events)
        assert ("would be compacted first: pressure" in told) == compacted == (words > 100)
