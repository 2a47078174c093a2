"""The ledger of every request: its parts add up to the whole, and the log tells them later as they were."""

import json
import re

import msgspec
import pytest

from loom_nb import Agent, GovernancePolicy, MemoryStore, Model, Runtime, tool
from loom_nb.events import ContextCompacted, HeadChanged, LogEntry, TurnStarted
from loom_nb.messages import Conversation, ImagePart, TextPart
from loom_nb.models.anthropic_encode import DIALECT
from loom_nb.models.anthropic_encode import message as encode
from loom_nb.protocols import PartitionItem, Request, Toolset
from loom_nb.runtime.compaction import Collapse, ContextProtocol, Micro, Snip, Step
from loom_nb.runtime.context import without_content
from loom_nb.runtime.ledger import head_of
from loom_nb.runtime.limits import Limits
from loom_nb.runtime.past_ledger import past_request
from loom_nb.testing import Calls, Say, WireServer
from loom_nb.tokens import estimate, estimate_message

TURNS = 30
PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(40)
LADDER = (Step(0.6, Snip(chars=600, head=200, tail=100)), Step(0.7, Micro()), Step(0.8, Collapse()))


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")


@tool(read_only=True)
def look(at: int) -> list:
    """Look at a place, and draw it.

    Args:
        at: the place
    """
    words = TextPart(f"place {at}: " + "stone and moss, " * (60 if at % 5 else 4))
    return [words, ImagePart(PIXEL, "image/png")] if at % 3 == 0 else [words]


@tool(read_only=True)
def listen(at: int) -> str:
    """Listen at a place: not in every run."""
    return f"{at}: nothing"


def agent_on(server, *tools, budget=2_500):
    model = Model.anthropic("claude-wire", base_url=server.url)
    return Agent(
        model,
        instructions="You look around, für immer.",
        tools=tools,
        runtime=Runtime(
            context=ContextProtocol(budget=budget, ladder=LADDER),
            governance=GovernancePolicy(),
            limits=Limits(max_iterations=TURNS + 5),
        ),
        session_store=MemoryStore(),
    )


def plain(body):
    """A body without the marks for the vendor's cache, which wander from request to request."""
    return re.sub(rb',"cache_control":\{"type":"ephemeral"\}', b"", body)


def weighed(body):
    """The estimate of what stands before the conversation, from nothing but what came over the wire."""
    (system,) = body["system"]
    return estimate(system["text"]) + sum(
        estimate(one["name"] + one["description"]) + len(msgspec.json.encode(one["input_schema"])) // 4
        for one in body["tools"]
    )


async def test_every_request_of_a_long_run_is_told_to_the_byte_from_its_log_and_adds_up():
    script = [Calls(("look", {"at": at})) for at in range(TURNS)]
    steps = [*script, Say("done"), Calls(("listen", {"at": 1})), Say("quiet")]
    with WireServer(steps, rules=True, window=200_000) as server:
        agent = agent_on(server, look)
        async with agent.session() as session:
            first = await session.run("look around")
            other = agent_on(server, look, listen)
            second = await session.run("and listen", agent=other)
            entries = session.events()
    assert (first.status, second.status) == ("completed", "completed")
    assert [one for one in first.events if isinstance(one.event, ContextCompacted)], "it was compacted"
    place = 0
    for run, turns in ((first, TURNS + 1), (second, 2)):
        for turn in range(1, turns + 1):
            body = json.loads(plain(server.requests[place].body))
            place += 1
            past = past_request(entries, run.id, turn)
            assert (past.turn, past.turns, past.model) == (turn, turns, "anthropic:claude-wire")
            sent = b",".join(past.view.shown.fragments(DIALECT, encode))
            assert json.loads(b"[" + sent + b"]") == body["messages"], (run.id, turn)
            head = [item for item in past.ledger.items if item.section != "history"]
            offered = [one["name"] for one in body["tools"]]
            assert [one.name for one in head] == ["instructions", *(f"tool:{name}" for name in offered)]
            assert sum(one.tokens for one in head) == weighed(body)
            whole = weighed(body) + sum(map(estimate_message, past.view.shown))
            assert past.ledger.tokens == sum(past.ledger.sections().values()) == whole
    assert place == len(server.requests)
    heads = [entry.event for entry in entries if isinstance(entry.event, HeadChanged)]
    assert [[item.name for item in head.items if item.section == "tools"] for head in heads] == [
        ["tool:look"], ["tool:look", "tool:recall"], ["tool:look", "tool:listen", "tool:recall"]
    ]  # fmt: skip


async def test_the_ledger_of_a_dry_run_is_that_of_the_request_that_is_sent_then():
    with WireServer([Calls(("look", {"at": 3})), Say("moss")]) as server:
        async with agent_on(server, look).session() as session:
            told = await session.ledger("look around")
            request, body = await session.preview("look around")
            result = await session.run("look around")
            past = past_request(session.events(), result.id, 1)
    assert told.items == past.ledger.items
    assert told.tokens == request.tokens
    assert server.requests[0].body == body


async def test_what_is_hidden_takes_exactly_its_own_bytes_and_tokens_with_it():
    with WireServer([*(Calls(("look", {"at": at})) for at in range(5)), Say("moss")]) as server:
        async with agent_on(server, look, budget=90_000).session() as session:
            await session.run("look around")
            for number, message in enumerate(list(session.conversation)):
                before, (_, whole) = await session.ledger(), await session.preview("next")
                await session.mark(number, "hidden")
                after, (_, left) = await session.ledger(), await session.preview("next")
                was, now = encode(message), encode(without_content(message))
                assert plain(whole).replace(was, now, 1) == plain(left) != plain(whole), number
                saved = estimate_message(message) - estimate_message(without_content(message))
                assert before.tokens - after.tokens == saved
                item = next(one for one in after.items if one.name.split(".")[0] == f"m{number + 1}")
                assert item.state == "hidden"
                await session.mark(number, None)
                assert (await session.preview("next"))[1] == whole


async def test_what_happened_later_changes_no_past_ledger():
    with WireServer([Calls(("look", {"at": 1})), Say("moss"), Say("again")]) as server:
        async with agent_on(server, look).session() as session:
            first = await session.run("look around")
            then = past_request(session.events(), first.id).ledger
            await session.mark(2, "hidden")
            await session.compact("collapse")
            await session.run("again")
            assert past_request(session.events(), first.id).ledger == then
            assert past_request(session.events(), first.id, 9) is None
            assert past_request(session.events(), "r99") is None


async def test_a_head_that_stays_is_noted_once_and_an_old_log_says_that_it_has_none():
    with WireServer([Say("one"), Say("two")]) as server:
        async with agent_on(server, look).session() as session:
            await session.run("a")
            await session.run("b")
            entries = session.events()
    assert sum(isinstance(entry.event, HeadChanged) for entry in entries) == 1
    assert past_request(entries, "r2").head_known
    old = [entry for entry in entries if not isinstance(entry.event, HeadChanged)]
    assert isinstance(old[0], LogEntry)
    past = past_request(old, "r2")
    assert not past.head_known
    assert past.ledger.sections().keys() == {"history"}
    assert any(isinstance(entry.event, TurnStarted) for entry in old)


async def test_a_head_is_noted_anew_when_a_partition_changes_be_it_only_its_name():
    told = iter([("a", "Known"), ("a", "Known"), ("b", "Known"), ("b", "More")])

    class Memory:
        name = "memory"

        async def open(self):
            return Toolset(partitions=lambda: [PartitionItem(*next(told), "memory")])

    agent = Agent(Model.scripted(["1", "2", "3", "4"]), instructions="", capabilities=[Memory()])
    async with agent.session() as session:
        for _ in range(4):
            await session.run("go")
        entries = session.events()
    heads = {entry.run: entry.event.items for entry in entries if isinstance(entry.event, HeadChanged)}
    assert {run: [(item.name, item.words) for item in items] for run, items in heads.items()} == {
        "r1": [("a", "Known")],
        "r3": [("b", "Known")],
        "r4": [("b", "More")],
    }


def test_the_parts_of_the_instructions_add_up_to_their_whole():
    texts = ["a", "né", "plan: x", "", "日本語の記憶", "tail " * 9]
    items = [PartitionItem(f"p{n}", text, "memory") for n, text in enumerate(texts)]
    for own in ("", "Be good.", "Ä"):
        system = "\n\n".join(text for text in [own, *texts, "criteria: é"] if text)
        head = head_of(Request(system, Conversation()), items)
        assert sum(item.tokens for item in head) == estimate(system)
        assert all(item.tokens >= 0 for item in head)
        assert [item.name for item in head[1:]] == ["p0", "p1", "p2", "p4", "p5"]
