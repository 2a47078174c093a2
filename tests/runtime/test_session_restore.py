"""What of an earlier process enters the next run: exactly what the policy says, and never anything twice."""

import pytest

from loom_nb import (
    Agent,
    ContextProtocol,
    MemoryStore,
    Model,
    Runtime,
    SessionConfig,
    SessionRestorePolicy,
    tool,
)
from loom_nb.errors import LoomUsageError
from loom_nb.events import CallFinished, ContextCompacted
from loom_nb.messages import ToolResultPart
from loom_nb.models.scripted import Call
from loom_nb.runtime.context import words_of
from loom_nb.runtime.past_ledger import past_request


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
    with pytest.raises(LoomUsageError, match="from 0 on"):
        SessionRestorePolicy.window(max_messages=-1)
    with pytest.raises(LoomUsageError, match="has no limits"):
        SessionRestorePolicy("none", max_chars=3)
    assert SessionRestorePolicy.window(max_messages=12, max_chars=8000).describe() == (
        "the latest exchanges, at most 12 messages, 8,000 characters"
    )


# -- what is told of the next request is what is sent --------------------------------------------------------


def cut_off(store, kind):
    """The log as it stood when the process died behind the last event of a kind."""
    log = list(store.read("s"))
    end = max(place for place, entry in enumerate(log) if isinstance(entry.event, kind))
    cut = MemoryStore()
    lease = cut.acquire("s")
    cut.append(lease, log[: end + 1])
    cut.release(lease)
    return cut


@pytest.mark.parametrize("dashboard", [False, True])
@pytest.mark.parametrize(
    "policy",
    [
        SessionRestorePolicy.none(),
        SessionRestorePolicy.window(max_transcripts=1),
        SessionRestorePolicy.transcript_only(),
    ],
    ids=lambda policy: policy.kind,
)
async def test_a_preview_is_what_is_sent_also_while_an_interrupted_run_waits(policy, dashboard):
    store, saw = cut_off(await earlier(), CallFinished), []
    agent = Agent(
        Model.scripted([lambda messages: saw.extend(messages) or "done"]),
        tools=[look],
        session_store=store,
        runtime=Runtime(session_restore=policy, context=ContextProtocol(dashboard=dashboard)),
    )
    async with agent.session(SessionConfig("s")) as session:
        request, _ = await session.preview("now something else")
        ledger = await session.ledger("now something else")
        known = len(session.conversation)
        result = await session.run("now something else")
        assert known < len(session.conversation) and session.conversation.messages[known].role == "tool"
        sent = past_request(session.events(), result.id)
        assert list(request.conversation) == saw
        assert ledger.tokens == request.tokens == sent.ledger.tokens
        assert [one.name for one in ledger.items if one.section == "tools"] == ["tool:look", "tool:recall"]


async def test_the_ledger_of_a_short_answer_holds_the_question_that_it_answers():
    store = MemoryStore()
    runtime = Runtime(session_restore=SessionRestorePolicy.window(max_chars=300))

    def agent(*replies):
        return Agent(Model.scripted(replies), session_store=store, runtime=runtime)

    async with agent("Here is much to say. " * 60 + "Shall I delete the stones?").session(
        SessionConfig("s")
    ) as session:
        await session.run("look at the stones " * 20)
    async with agent("done").session(SessionConfig("s")) as session:
        request, _ = await session.preview("yes")
        ledger = await session.ledger("yes")
        assert "Shall I delete" in request.conversation.messages[1].text
        assert ledger.tokens == request.tokens
