"""Harness: one conversation, independent candidates, or a coroutine of the user."""

import asyncio
import json

import pytest

from loom_nb import (
    Agent,
    Candidate,
    ContextProtocol,
    Harness,
    Limits,
    MemoryStore,
    Model,
    ModelError,
    QualityGate,
    Runtime,
    RuntimeTask,
    tool,
)
from loom_nb.errors import LoomUsageError
from loom_nb.events import AttemptStarted, ContextCompacted, QualityChecked
from loom_nb.messages import DataPart, ToolResultPart
from loom_nb.models.scripted import Call
from loom_nb.runtime.compaction import Collapse, Step
from loom_nb.runtime.context import words_of
from loom_nb.testing import Calls, Say, WireServer


@tool(read_only=True)
def look(at: int) -> str:
    return f"SECRET-{at} " + "stone and moss, " * 40


def wants(word):
    def judge(answer, task):
        return word in answer, f"{answer} has no {word}"

    return QualityGate.evaluator(judge)


def agent(*replies, **options):
    return Agent(
        Model.scripted(replies), tools=[look], session_store=MemoryStore(), runtime=Runtime(**options)
    )


def names(result):
    return [entry.event.type for entry in result.events]


def of(result, kind):
    return [entry.event for entry in result.events if isinstance(entry.event, kind)]


def valid(messages):
    """Every call is answered in the next message; nothing else is."""
    for number, message in enumerate(messages):
        calls = [call.id for call in message.calls]
        following = messages[number + 1] if number + 1 < len(messages) else None
        results = [p.call_id for p in following.parts if isinstance(p, ToolResultPart)] if following else []
        if calls != (results if following and following.role == "tool" else []):
            return False
    return True


# -- independent candidates ------------------------------------------------------------------------------


async def test_candidates_are_independent_and_are_told_the_critiques_of_those_before():
    seen = {}

    def noted(name, reply):
        def answer(messages):
            seen[name] = messages
            return reply

        return answer

    spec = agent(
        Call("look", {"at": 1}),
        "first",
        noted("second", Call("look", {"at": 2})),
        "second",
        noted("third", "third GOLD"),
        harness=Harness.generator_evaluator(attempts=3),
        quality=wants("GOLD"),
    )
    async with spec.session() as session:
        await session.run("what came before", agent=Agent(Model.scripted(["earlier answer"])))
        result = await session.run("find gold")

    assert (result.status, result.output) == ("completed", "third GOLD")
    for name, critiques in (
        ("second", ["first has no GOLD"]),
        ("third", ["first has no GOLD", "second has no GOLD"]),
    ):
        messages = seen[name]
        assert [message.text for message in messages[:3]] == [
            "what came before",
            "earlier answer",
            "find gold",
        ]
        assert [message.role for message in messages[3:]] == ["user"] * len(critiques)
        found = [part.text for one in messages for part in one.parts if isinstance(part, DataPart)]
        assert found == critiques
        assert "SECRET" not in "".join(map(words_of, messages))


async def test_all_events_of_all_attempts_are_there_in_order():
    result = await agent(
        Call("look", {"at": 1}), "a", "b GOLD", harness=Harness.generator_evaluator(), quality=wants("GOLD")
    ).run("go")
    assert names(result) == [
        "RunStarted", "MessageAdded", "AttemptStarted",
        "TurnStarted", "HeadChanged", "MessageAdded", "TurnFinished",
        "CallJudged", "CallStarted", "CallFinished", "MessageAdded",
        "TurnStarted", "MessageAdded", "TurnFinished", "QualityChecked",
        "ContextCompacted", "MessageAdded", "AttemptStarted",
        "TurnStarted", "MessageAdded", "TurnFinished", "QualityChecked", "RunFinished",
    ]  # fmt: skip
    assert [(one.attempt, one.independent) for one in of(result, AttemptStarted)] == [(1, True), (2, True)]
    (left_out,) = of(result, ContextCompacted)
    assert (left_out.strategy, left_out.tokens_before > left_out.tokens_after) == ("attempt", True)
    assert [change.messages for change in left_out.changes] == [()]


async def test_what_an_attempt_did_can_be_shown_again_after_the_run():
    spec = agent("a", "b GOLD", harness=Harness.generator_evaluator(), quality=wants("GOLD"))
    async with spec.session() as session:
        await session.run("go")
        assert "a" not in [message.text for message in session.view.shown]
        await session.undo_compaction()
        assert list(session.view.shown) == list(session.conversation)
        assert "a" in [message.text for message in session.view.shown]


async def test_making_room_does_not_tell_a_candidate_of_the_work_of_another():
    looks = [Call("look", {"at": n}) for n in range(8)]
    second = [Call("look", {"at": n}) for n in range(100, 108)]
    seen = []

    def last(messages):
        seen.extend(messages)
        return "GOLD"

    protocol = ContextProtocol(900, (Step(0.6, Collapse()),), keep_turns=2)
    result = await agent(
        *looks, "a", *second, last,
        harness=Harness.generator_evaluator(), quality=wants("GOLD"), context=protocol,
    ).run("go")  # fmt: skip
    assert result.status == "completed"
    told = "".join(map(words_of, seen))
    assert {one.strategy for one in of(result, ContextCompacted)} == {"attempt", "collapse"}
    assert "SECRET-10" in told, "its own earlier turns are told in short"
    assert "a has no GOLD" in told, "the critique stays as it is"
    assert "SECRET-7" not in told
    assert "SECRET-1 " not in told
    assert valid(seen)


async def test_without_a_gate_a_model_says_whether_a_candidate_does_what_was_asked():
    bad, good = (
        json.dumps({"criteria": [], "passed": ok, "critique": "" if ok else "no"}) for ok in (False, True)
    )
    result = await agent("a", bad, "b", good, harness=Harness.generator_evaluator(2)).run("go")
    assert (result.status, result.output) == ("completed", "b")
    never = await agent("a", bad, "b", bad, harness=Harness.generator_evaluator(2)).run("go")
    assert (never.status, never.fault, never.output) == ("failed", "quality", "b")
    assert never.reason == "the answer was not accepted after 2 attempts: no"


@pytest.mark.parametrize("dialect", ["messages", "chat", "responses"])
async def test_requests_of_candidates_keep_the_rules_of_every_vendor(monkeypatch, dialect):
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    script = [Calls(("look", {"at": 1})), Say("a"), Calls(("look", {"at": 2})), Say("b"), Say("GOLD")]
    with WireServer(script, rules=True) as server:
        model = (
            Model.anthropic("claude-wire", base_url=server.url)
            if dialect == "messages"
            else Model.openai("gpt-wire", base_url=f"{server.url}/v1", api=dialect)
        )
        runtime = Runtime(harness=Harness.generator_evaluator(), quality=wants("GOLD"))
        spec = Agent(model, tools=[look], session_store=MemoryStore(), runtime=runtime)
        result = await spec.run("go")
        assert (result.status, server.refused) == ("completed", [])
        assert b"SECRET" not in server.requests[-1].body


# -- a coroutine of the user -----------------------------------------------------------------------------


async def test_a_coroutine_attempts_and_decides():
    async def best_of_two(trial):
        assert trial.task.goal == "count"
        first = await trial.attempt("be brief")
        second = await trial.attempt("be exact", independent=True)
        return max([first, second], key=lambda one: len(one.text))

    seen = []

    def second(messages):
        seen.extend(messages)
        return "7"

    result = await agent("seven stones", second, harness=Harness.custom(best_of_two)).run("count")
    assert (result.status, result.output) == ("completed", "seven stones")
    assert seen[0].text == "count" and seen[1].text.endswith(":\nbe exact")
    assert [part.origin.kind for part in seen[1].parts] == ["system", "model"]  # it may quote the model
    assert [one.attempt for one in of(result, AttemptStarted)] == [1, 2]


async def test_a_coroutine_may_give_an_answer_of_its_own_and_it_must_fit_the_form():
    async def merged(trial):
        both = [(await trial.attempt()).text, (await trial.attempt()).text]
        return json.dumps({"value": [json.loads(one)["value"][0] for one in both]})

    replies = ['{"value": [1]}', '{"value": [2]}']
    result = await agent(*replies, harness=Harness.custom(merged)).run("go", schema=list[int])
    assert (result.status, result.data, result.output) == ("completed", [1, 2], '{"value": [1, 2]}')

    async def words(trial):
        return "words"

    broken = await agent(harness=Harness.custom(words)).run("go", schema=list[int])
    assert (broken.status, broken.fault, broken.output) == ("failed", "format", "words")


async def test_a_coroutine_checks_as_it_goes_and_the_critique_is_told_to_the_next_attempt():
    async def until(trial):
        for _ in range(5):
            candidate = await trial.attempt()
            if (await trial.check(candidate)).passed:
                return candidate
        return None

    seen = []

    def second(messages):
        seen.extend(messages)
        return "GOLD"

    result = await agent("a", second, harness=Harness.custom(until), quality=wants("GOLD")).run("go")
    assert result.status == "completed"
    assert len(of(result, QualityChecked)) == 2, "what was checked is not checked again"
    assert [part.text for part in seen[-1].parts if isinstance(part, DataPart)] == ["a has no GOLD"]


async def test_what_a_coroutine_accepts_still_has_to_pass_the_gate():
    async def eager(trial):
        return await trial.attempt()

    result = await agent("a", harness=Harness.custom(eager), quality=wants("GOLD")).run("go")
    assert (result.status, result.fault, result.output) == ("failed", "quality", "a")


async def fails(trial):
    await trial.attempt()
    raise KeyError("oops")


async def gives_nothing(trial):
    await trial.attempt()


async def gives_something_else(trial):
    await trial.attempt()
    return 7


async def gives_a_stranger(trial):
    await trial.attempt()
    return Candidate(1, "mine", "completed")


async def cancels(trial):
    await trial.attempt()
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (fails, "KeyError: 'oops' (line "),
        (gives_nothing, "it accepted no candidate"),
        (gives_something_else, "it returned 7 in place of"),
        (gives_a_stranger, "in place of a candidate"),
        (cancels, "it cancelled itself"),
    ],
)
async def test_a_coroutine_that_does_not_end_well_fails_the_run_and_the_answer_is_kept(function, told):
    result = await agent("a", harness=Harness.custom(function)).run("go")
    assert (result.status, result.fault, result.output) == ("failed", "harness", "a")
    assert told in result.reason


async def test_limits_hold_whatever_a_coroutine_tries():
    async def forever(trial):
        while True:
            await trial.attempt()

    result = await agent(*(["a"] * 9), harness=Harness.custom(forever), limits=Limits(4)).run("go")
    assert (result.status, result.fault, result.turns, result.output) == ("limit", "turns", 4, "a")


async def test_a_failing_model_call_ends_the_run_or_is_taken_care_of_by_the_coroutine():
    lost = ModelError("no", fault="billing")

    async def careful(trial):
        try:
            return await trial.attempt()
        except ModelError:
            return await trial.attempt("again")

    async def plain(trial):
        return await trial.attempt()

    ended = await agent(lost, harness=Harness.custom(plain)).run("go")
    assert (ended.status, ended.fault) == ("failed", "billing")
    saved = await agent(lost, "fine", harness=Harness.custom(careful)).run("go")
    assert (saved.status, saved.output) == ("completed", "fine")


async def test_a_stop_ends_a_coroutine_and_the_next_run_goes_on():
    begun = asyncio.Event()

    async def slow(trial):
        candidate = await trial.attempt()
        begun.set()
        await asyncio.sleep(3600)
        return candidate

    spec = agent("a", harness=Harness.custom(slow))
    async with spec.session() as session:
        run = session.start("go")
        await begun.wait()
        run.stop()
        assert (await run).status == "stopped"
        again = await session.run(
            "and now", agent=Agent(Model.scripted([lambda messages: f"{len(messages)}"]))
        )
        assert (again.status, again.output) == ("completed", "3")


async def test_an_attempt_in_a_task_of_its_own_survives_a_tool_that_takes_too_long():
    @tool(timeout=0.05)
    async def hang() -> None:
        await asyncio.Event().wait()

    async def apart(trial):
        return await asyncio.wait_for(trial.attempt(), 60)  # in Python 3.11 it has a task of its own

    spec = Agent(
        Model.scripted([Call("hang"), "fine"]),
        tools=[hang],
        session_store=MemoryStore(),
        runtime=Runtime(harness=Harness.custom(apart)),
    )
    result = await spec.run("go")
    assert (result.status, result.output, result.tools[0].outcome) == ("completed", "fine", "timeout")


async def test_a_check_without_a_gate_is_a_clear_error():
    async def checks(trial):
        return await trial.check(await trial.attempt())

    result = await agent("a", harness=Harness.custom(checks)).run("go")
    assert (result.status, result.fault) == ("failed", "setup")
    assert "nothing to check by" in result.reason


def test_a_harness_says_what_it_does_and_refuses_what_it_cannot():
    assert Harness.single_run() == Harness()
    assert "independent" in Harness.generator_evaluator(4).describe()
    assert "gives_nothing" in Harness.custom(gives_nothing).describe()
    for wrong in (lambda: Harness.generator_evaluator(0), lambda: Harness.custom("f")):
        with pytest.raises(LoomUsageError):
            wrong()
    told = Runtime(harness=Harness.generator_evaluator()).describe()
    assert "whether the answer does what was asked" in told["quality"]


async def test_criteria_of_a_task_make_candidates_too():
    judged = []

    def judge(messages):
        judged.append(messages[0].text)
        found = {"criterion": "a number", "passed": True, "reason": ""}
        return json.dumps({"criteria": [found], "passed": True, "critique": ""})

    result = await agent("7", judge, harness=Harness.generator_evaluator()).run(
        RuntimeTask("count", criteria=["a number"])
    )
    assert result.status == "completed"
    assert judged == ["Does this answer meet these criteria?\n- a number"]
