"""Hundreds of turns against servers that refuse what a vendor refuses: real SDK clients, real HTTP."""

import json

import pytest

from loom_nb import Agent, GovernancePolicy, MemoryStore, Model, Runtime, tool
from loom_nb.events import ContextCompacted
from loom_nb.runtime.compaction import Auto, Collapse, ContextProtocol, Micro, Snip, Step
from loom_nb.runtime.limits import Limits
from loom_nb.testing import Calls, Say, WireServer

LADDER = (Step(0.6, Snip(chars=600, head=200, tail=100)), Step(0.7, Micro()), Step(0.8, Collapse()))


def agent_on(server, dialect, protocol, made, turns):
    @tool(read_only=True)
    def look(at: int) -> str:
        """Look at a place.

        Args:
            at: the place
        """
        made.append(at)
        code = "the code is QX-4711. " if at == 2 else ""
        return f"place {at}: {code}" + f"stone {at} and moss, " * (60 if at % 5 else 4)

    address = f"{server.url}/v1" if dialect != "messages" else server.url
    model = {
        "messages": lambda: Model.anthropic("claude-wire", base_url=address),
        "chat": lambda: Model.openai("gpt-wire", base_url=address, api="chat"),
        "responses": lambda: Model.openai("gpt-wire", base_url=address, api="responses"),
    }[dialect]()
    runtime = Runtime(
        context=protocol, governance=GovernancePolicy(), limits=Limits(max_iterations=turns + 20)
    )
    return Agent(
        model, instructions="You look around.", tools=[look], runtime=runtime, session_store=MemoryStore()
    )


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("window", [2_000, 4_000, 8_000, 200_000])
@pytest.mark.parametrize("dialect", ["messages", "chat", "responses"])
async def test_300_turns_with_600_calls_are_valid_in_every_window(dialect, window):
    made = []
    found = []

    def turn(request):
        number = len(server.requests) - len(server.refused)
        if number <= 300:
            at = (number - 1) * 2
            return Calls(("look", {"at": at}), ("look", {"at": at + 1}))
        if number == 301:
            return Calls(("recall", {"query": "the code is"}))
        found.append("QX-4711" in request.body.decode())
        return Say("done")

    with WireServer(turn, rules=True, window=window) as server:
        agent = agent_on(server, dialect, ContextProtocol(budget=int(window * 0.8), ladder=LADDER), made, 300)
        result = await agent.run("look at all places and tell me the code")

    assert result.status == "completed", result.reason
    assert made == list(range(600))
    assert server.refused == []
    assert found == [True]
    assert any(isinstance(one.event, ContextCompacted) for one in result.events)


@pytest.mark.parametrize("dialect", ["messages", "chat", "responses"])
async def test_a_window_that_nobody_knows_is_found_by_its_refusals(dialect):
    made = []

    def turn(request):
        return Calls(("look", {"at": len(made)})) if len(made) < 40 else Say("done")

    with WireServer(turn, rules=True, window=4_000) as server:
        agent = agent_on(server, dialect, ContextProtocol(ladder=LADDER), made, 40)
        result = await agent.run("look around")

    assert result.status == "completed", result.reason
    assert made == list(range(40))
    assert len(server.refused) == 1
    reasons = [one.event.reason for one in result.events if isinstance(one.event, ContextCompacted)]
    assert reasons[0] == "the vendor's limit"


TICKETS = {
    n: [
        f"T{n}-{what}-{n * 37 + place}"
        for place, what in enumerate(("customer", "order", "amount", "action"))
    ]
    for n in range(1, 6)
}


async def test_five_tickets_are_worked_through_with_all_twenty_facts_kept_and_far_fewer_tokens():
    """Tickets that each take seven calls; after each a model writes a handoff that keeps the facts."""

    def play(protocol):
        served = []

        def turn(request):
            asked = json.loads(request.body)
            if "You write a handoff" in json.dumps(asked.get("system", "")):
                text = request.body.decode()
                return Say(
                    "Goal: the tickets. Progress: "
                    + " ".join(f for n in TICKETS for f in TICKETS[n] if f in text)
                )
            served.append(request)
            number = len(served) - 1
            if number == 35:
                return Say("all done")
            return Calls(("work", {"ticket": number // 7 + 1, "step": number % 7}))

        return turn, served

    @tool(read_only=True)
    def work(ticket: int, step: int) -> str:
        """Work on a ticket.

        Args:
            ticket: its number
            step: 0 to 6
        """
        fact = TICKETS[ticket][step] if step < 4 else "nothing new"
        return f"{fact}. " + "The handbook says a lot about this and that. " * 80

    async def run(protocol):
        turn, served = play(protocol)
        with WireServer(turn, rules=True, window=200_000) as server:
            agent = Agent(
                Model.anthropic("claude-wire", base_url=server.url),
                tools=[work],
                runtime=Runtime(context=protocol, governance=GovernancePolicy()),
                session_store=MemoryStore(),
            )
            async with agent.session() as session:
                before = None
                result = await session.run("work through the five tickets")
                last = served[-1].body.decode()
                sent = sum(len(one.body) for one in server.requests)
                shown = list(session.view.shown)
                while session.view.compactions:
                    await session.undo_compaction()
                whole = session.view.shown is session.conversation
                del before, shown
        return result, last, sent, whole

    result, last, sent, whole = await run(
        ContextProtocol(budget=10_000, ladder=(Step(0.7, Auto()),), keep_turns=2, target=0.4)
    )
    plain, _, sent_plain, _ = await run(ContextProtocol(ladder=()))
    assert (result.status, plain.status) == ("completed", "completed")
    assert all(fact in last for facts in TICKETS.values() for fact in facts)
    assert sent < sent_plain * 0.42
    assert whole
