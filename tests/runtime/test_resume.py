"""A run whose process was killed goes on in the next one; nothing is done twice unasked."""

import asyncio
import subprocess
import sys
import textwrap

import pytest

from loom_nb import Agent, Decision, MemoryStore, Model, Runtime, SessionConfig, SqliteStore, tool
from loom_nb.errors import LoomUsageError
from loom_nb.events import LogEntry, MessageAdded, RunResumed, RunStarted, SessionOpened
from loom_nb.inputs import Answer
from loom_nb.messages import MODEL, Message, TextPart, ToolResultPart, user
from loom_nb.runtime.fairness import fair_queue

CHILD = """
import asyncio, os, sys
from loom_nb import Agent, Model, SessionConfig, SqliteStore, tool
from loom_nb.models.scripted import Call

folder, where = sys.argv[1:]

def die(*_, **__):
    os._exit(9)

def mark(name):
    with open(f"{folder}/{name}", "a") as file:
        file.write("x")

@tool(idempotent=where == "idempotent tool")
def act(name: str) -> str:
    mark(name)
    if name == "second" and "tool" in where:
        die()
    return f"{name} done"

script = [Call("act", {"name": "first"}), Call("act", {"name": "second"}), "all done"]
if where == "model":
    script[2] = die
agent = Agent(Model.scripted(script), tools=[act], session_store=SqliteStore(f"{folder}/loom.db"))
if where == "end":
    agent.on("after_llm", lambda iteration, **_: die() if iteration == 3 else None)
asyncio.run(agent.session(SessionConfig("s")).run("act twice"))
"""


def killed(folder, where):
    """A process that is killed at that point of its run."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(folder), where], check=False, timeout=60
    )
    assert done.returncode == 9


def marks(folder):
    return {path.name: len(path.read_text()) for path in folder.iterdir() if path.name in ("first", "second")}


def agent_of(folder, script, *, idempotent=False):
    @tool(idempotent=idempotent)
    def act(name: str) -> str:
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write("x")
        return f"{name} done again"

    return Agent(Model.scripted(script), tools=[act], session_store=SqliteStore(folder / "loom.db"))


async def test_a_run_killed_while_the_model_answered_goes_on_with_the_next_call(tmp_path):
    killed(tmp_path, "model")
    async with agent_of(tmp_path, ["all done now"]).session(SessionConfig("s")) as session:
        result = await (await session.resume("r1"))
    assert (result.status, result.output, result.turns) == ("completed", "all done now", 3)
    assert marks(tmp_path) == {"first": 1, "second": 1}
    assert any(isinstance(one.event, RunResumed) for one in result.events)


async def test_an_answer_that_was_not_on_disk_is_asked_for_again(tmp_path):
    killed(tmp_path, "end")
    async with agent_of(tmp_path, ["all done now"]).session(SessionConfig("s")) as session:
        result = await (await session.resume("r1"))
    assert (result.status, result.output) == ("completed", "all done now")
    assert marks(tmp_path) == {"first": 1, "second": 1}


async def test_a_run_that_had_its_answer_on_disk_ends_with_it():
    store = MemoryStore()
    said = Message("assistant", (TextPart("all done", MODEL),))
    events = [SessionOpened(), RunStarted("m", "act"), MessageAdded(user("act")), MessageAdded(said)]
    lease = store.acquire("s")
    store.append(
        lease, [LogEntry("s", n, "r1" if n > 1 else "", 0.0, one) for n, one in enumerate(events, 1)]
    )
    store.release(lease)
    async with Agent(Model.scripted([]), session_store=store).session(SessionConfig("s")) as session:
        result = await (await session.resume("r1"))
    assert (result.status, result.output) == ("completed", "all done")


async def test_a_call_that_ran_is_repeated_where_twice_is_the_same_as_once(tmp_path):
    killed(tmp_path, "idempotent tool")
    async with agent_of(tmp_path, ["ok"], idempotent=True).session(SessionConfig("s")) as session:
        result = await (await session.resume("r1"))
    assert result.status == "completed"
    assert marks(tmp_path) == {"first": 1, "second": 2}


async def test_where_nobody_can_be_asked_the_model_is_told_that_it_is_not_known(tmp_path):
    killed(tmp_path, "tool")
    seen = []

    def reply(messages):
        seen.append(messages[-1].parts[0].text)
        return "ok"

    async with agent_of(tmp_path, [reply]).session(SessionConfig("s")) as session:
        result = await (await session.resume("r1"))
    assert result.status == "completed"
    assert "It may or may not have happened" in seen[0]
    assert marks(tmp_path) == {"first": 1, "second": 1}


@pytest.mark.parametrize("again", [True, False])
async def test_a_person_is_asked_about_a_call_that_may_have_happened(tmp_path, again):
    killed(tmp_path, "tool")
    seen = []

    def reply(messages):
        seen.append(messages[-1].parts[0].text)
        return "ok"

    async with agent_of(tmp_path, [reply]).session(SessionConfig("s")) as session:
        leave = session.attend()
        run = await session.resume("r1")

        def answer(event):
            if event.type == "QuestionAsked":
                assert "may have happened already" in " ".join(event.question.approval.reasons)
                assert event.question.approval.scopes == ("once",)
                session.send(Answer(event.question.id, Decision("allow" if again else "deny")))

        run.subscribe(answer)
        result = await run
        leave()
    assert result.status == "completed"
    assert marks(tmp_path) == {"first": 1, "second": 2 if again else 1}
    assert ("second done again" in seen[0]) == again
    assert ("may or may not have happened" in seen[0]) != again


async def test_a_run_that_is_not_resumed_is_closed_when_the_next_one_begins(tmp_path):
    killed(tmp_path, "tool")
    async with agent_of(tmp_path, ["hello"]).session(SessionConfig("s")) as session:
        request, _ = await session.preview("next")
        assert "may or may not have happened" in repr(request.conversation.messages[-2])
        result = await session.run("next")
        assert result.status == "completed"
        with pytest.raises(LoomUsageError, match="cannot be resumed"):
            await session.resume("r1")
        types = [one.event.type for one in session.events()]
    assert "RunInterrupted" in types
    assert marks(tmp_path) == {"first": 1, "second": 1}


async def test_the_governance_still_counts_when_a_run_goes_on(tmp_path):
    from loom_nb import GovernancePolicy, Veto

    killed(tmp_path, "tool")
    spec = agent_of(tmp_path, ["ok"])
    object.__setattr__(
        spec, "runtime", Runtime(governance=GovernancePolicy((Veto("act"),), unattended="wait"))
    )
    async with spec.session(SessionConfig("s")) as session:
        result = await (await session.resume("r1"))
    assert result.status == "denied"
    assert marks(tmp_path) == {"first": 1, "second": 1}


def calls_and_results(session):
    """The ids of all calls of a conversation, and those of all results, in order."""
    calls = [call.id for message in session.conversation.messages for call in message.calls]
    parts = [part for message in session.conversation.messages for part in message.parts]
    return calls, [part.call_id for part in parts if isinstance(part, ToolResultPart)]


@pytest.mark.parametrize("late", [False, True], ids=["before its first step", "in the queue"])
async def test_a_resumed_run_that_is_stopped_before_its_turn_leaves_no_call_without_a_result(tmp_path, late):
    killed(tmp_path, "tool")
    async with agent_of(tmp_path, ["hello"]).session(SessionConfig("s")) as session:
        queue = fair_queue(asyncio.get_running_loop())
        run = await session.resume("r1")
        if late:
            while not queue.must_wait():
                pass  # others took all steps of this iteration
            run.stop()
        else:
            run.task.cancel()
        await asyncio.wait([run.ended])
        following = await session.run("next")
        calls, results = calls_and_results(session)
    assert (run.result.status, following.status) == ("stopped", "completed")
    assert calls == results


async def test_a_resumed_run_that_was_stopped_before_its_turn_can_be_resumed_again(tmp_path):
    killed(tmp_path, "model")
    async with agent_of(tmp_path, ["all done now"]).session(SessionConfig("s")) as session:
        first = await session.resume("r1")
        with pytest.raises(LoomUsageError, match="cannot be resumed"):
            await session.resume("r1")  # not while it is
        first.task.cancel()
        await asyncio.wait([first.ended])
        again = await (await session.resume("r1"))
    assert (first.result.status, again.status, again.output) == ("stopped", "completed", "all done now")


async def test_a_run_that_begins_before_the_resumed_one_ends_that(tmp_path):
    killed(tmp_path, "tool")
    async with agent_of(tmp_path, ["hello"]).session(SessionConfig("s")) as session:
        resumed = await session.resume("r1")
        following = await session.run("next")  # enters at once: the other has not taken its first step
        late = await resumed
        calls, results = calls_and_results(session)
        rows = {row.run: row.status for row in session.store.runs("s")}
    assert (following.status, late.status) == ("completed", "failed")
    assert "another run began" in late.error.cause
    assert calls == results
    assert rows == {"r1": "interrupted", "r2": "completed"}
