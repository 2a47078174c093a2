"""What of an earlier process enters the next run: exactly what the policy says, and never anything twice."""

import pytest

from loom_nb import Agent, MemoryStore, Model, Runtime, SessionConfig, SessionRestorePolicy, tool
from loom_nb.errors import LoomUsageError
from loom_nb.events import ContextCompacted
from loom_nb.messages import ToolResultPart
from loom_nb.models.scripted import Call
from loom_nb.runtime.context import words_of


@tool(read_only=True)
def look(at: int) -> str:
    """Look."""
    return f"stone {at} " * 20


SCRIPT = [
    piece
    for n in range(4)
    for piece in (Call("look", {"at": n}), Call("look", {"at": n + 10}), f"answer {n}")
]


async def earlier():
    """A store in which four runs have used two tools each."""
    store = MemoryStore()
    async with Agent(Model.scripted(SCRIPT), tools=[look], session_store=store).session(
        SessionConfig("s")
    ) as one:
        for n in range(4):
            await one.run(f"question {n}")
    return store


async def seen_by_the_next(store, policy):
    """The messages that the first request of another process holds, and that process's first run."""
    seen = []

    def reply(messages):
        seen.extend(messages)
        return "ok"

    agent = Agent(
        Model.scripted([reply]), tools=[look], session_store=store, runtime=Runtime(session_restore=policy)
    )
    async with agent.session(SessionConfig("s")) as session:
        result = await session.run("and now?")
        assert result.status == "completed"
    return seen[:-1], result


def results(messages):
    return [part.text for one in messages for part in one.parts if isinstance(part, ToolResultPart)]


async def test_all_is_there_by_default_and_nothing_twice():
    messages, _ = await seen_by_the_next(await earlier(), SessionRestorePolicy())
    assert len(messages) == 4 * 6
    assert [one.text for one in messages if one.role == "user"] == [f"question {n}" for n in range(4)]


async def test_none_begins_anew_and_the_log_keeps_all():
    store = await earlier()
    messages, _ = await seen_by_the_next(store, SessionRestorePolicy.none())
    assert messages == []
    assert len([one for one in store.read("s") if one.event.type == "MessageAdded"]) == 4 * 6 + 2


async def test_transcript_only_is_what_was_said():
    messages, _ = await seen_by_the_next(await earlier(), SessionRestorePolicy.transcript_only())
    assert [one.text for one in messages] == [
        word for n in range(4) for word in (f"question {n}", f"answer {n}")
    ]
    assert not results(messages) and not any(one.calls for one in messages)


async def test_a_window_holds_the_latest_exchanges_with_their_tool_turns():
    messages, _ = await seen_by_the_next(await earlier(), SessionRestorePolicy.window(max_transcripts=2))
    assert [one.text for one in messages if one.role == "user"] == ["question 2", "question 3"]
    assert len(results(messages)) == 4


@pytest.mark.parametrize("chars", [0, 50, 100, 300, 500, 800, 1_000, 5_000, 12_000])
async def test_the_limit_of_characters_is_global_and_exact(chars):
    messages, _ = await seen_by_the_next(await earlier(), SessionRestorePolicy.window(max_chars=chars))
    assert sum(len(words_of(one)) for one in messages) <= chars
    assert bool(messages) == (chars >= 50)


@pytest.mark.parametrize("limit", range(0, 30, 3))
async def test_the_limits_of_messages_and_of_tool_turns_are_exact(limit):
    messages, _ = await seen_by_the_next(
        await earlier(), SessionRestorePolicy.window(max_messages=limit, max_chars=None)
    )
    assert len(messages) <= limit
    messages, _ = await seen_by_the_next(
        await earlier(), SessionRestorePolicy.window(max_runtime_items=limit, max_chars=None)
    )
    assert len(results(messages)) == sum(len(one.calls) for one in messages) == min(8, limit // 2 * 2)


async def test_what_is_left_out_is_undone_like_any_compaction_and_said_once():
    store = await earlier()
    policy = SessionRestorePolicy.transcript_only()
    await seen_by_the_next(store, policy)
    await seen_by_the_next(store, policy)
    said = [one.event for one in store.read("s") if isinstance(one.event, ContextCompacted)]
    assert [one.strategy for one in said] == ["restore transcript_only"]
    agent = Agent(Model.scripted(["x"]), tools=[look], session_store=store)
    async with agent.session(SessionConfig("s")) as session:
        await session.ledger()
        assert len(session.view.shown) == 8 + 4
        await session.undo_compaction()
        assert session.view.shown is session.conversation


async def test_what_is_pinned_is_restored_whatever_the_limits():
    store = await earlier()
    agent = Agent(Model.scripted(["x"]), tools=[look], session_store=store)
    async with agent.session(SessionConfig("s")) as session:
        await session.mark(2, "pinned")
    messages, _ = await seen_by_the_next(store, SessionRestorePolicy.none())
    assert [one.role for one in messages] == ["assistant", "tool"]


def test_limits_that_mean_nothing_are_refused():
    with pytest.raises(LoomUsageError, match="0 or more"):
        SessionRestorePolicy.window(max_messages=-1)
    with pytest.raises(LoomUsageError, match="has no limits"):
        SessionRestorePolicy("none", max_chars=3)
    assert SessionRestorePolicy.window(max_messages=12, max_chars=8000).describe() == (
        "the latest exchanges, at most 12 messages, 8,000 characters"
    )
