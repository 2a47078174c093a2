"""QualityGate: an answer is accepted by a structured verdict, or the run says honestly that it was not."""

import asyncio
import json
import subprocess
import sys
import textwrap

import pytest

from loom_nb import (
    Acceptance,
    Agent,
    Generation,
    Limits,
    MemoryStore,
    Model,
    ModelError,
    QualityGate,
    RetryPolicy,
    Runtime,
    RuntimeTask,
    SessionConfig,
    SqliteStore,
    tool,
)
from loom_nb.errors import BorderError, LoomUsageError
from loom_nb.events import (
    Finding,
    MessageAdded,
    Noticed,
    QualityChecked,
    RetryScheduled,
    RunFinished,
    TurnFinished,
)
from loom_nb.messages import DataPart, Message, TextPart, ToolCallPart, ToolResultPart, Usage
from loom_nb.models.scripted import Call
from loom_nb.protocols import Reply
from loom_nb.runtime.context import starts_an_exchange
from loom_nb.runtime.quality import TOLD, acceptance_of, digest, read_verdict, task_of
from loom_nb.testing import Calls, Say, WireServer

GREEN, SHORT = "tests stay green", "the answer is short"


def verdict(*, critique="", passed=None, **findings):
    """What a judge writes; findings by criterion: green=True."""
    names = {"green": GREEN, "short": SHORT}
    listed = [
        {"criterion": names[name], "passed": ok, "reason": "" if ok else f"{name} is not met"}
        for name, ok in findings.items()
    ]
    passed = all(findings.values()) if passed is None else passed
    return json.dumps({"criteria": listed, "passed": passed, "critique": critique})


@tool(read_only=True)
def look(at: int) -> str:
    return f"stone {at}"


def agent(*replies, gate, **options):
    return Agent(
        Model.scripted(replies),
        instructions="You build.",
        tools=[look],
        session_store=MemoryStore(),
        runtime=Runtime(quality=gate),
        **options,
    )


def names(result):
    return [entry.event.type for entry in result.events]


def of(result, kind):
    return [entry.event for entry in result.events if isinstance(entry.event, kind)]


# -- accepted, refused, again ----------------------------------------------------------------------------


async def test_an_answer_that_passes_is_completed_and_its_evaluation_is_paid_for():
    gate = QualityGate.criteria([GREEN, SHORT])
    result = await agent("It is done.", verdict(green=True, short=True), gate=gate).run("mend it")

    assert names(result) == [
        "RunStarted", "MessageAdded", "AttemptStarted",
        "TurnStarted", "HeadChanged", "MessageAdded", "TurnFinished", "QualityChecked", "RunFinished",
    ]  # fmt: skip
    assert (result.status, result.output, result.turns) == ("completed", "It is done.", 2)
    (checked,) = of(result, QualityChecked)
    assert checked.results == (Finding(GREEN, True), Finding(SHORT, True))
    assert (checked.passed, checked.by, checked.attempt) == (True, "scripted:script", 1)
    assert checked.usage.input_tokens > 50
    (turn,) = of(result, TurnFinished)
    assert result.usage == turn.usage + checked.usage


async def test_a_failed_check_sends_its_critique_back_as_data_and_the_next_answer_is_checked_again():
    seen = []

    def second(messages):
        seen.extend(messages)
        return "Now it is done."

    bad = verdict(critique="Two tests are red: a, b.", green=False)
    result = await agent("Done!", bad, second, verdict(green=True), gate=QualityGate.criteria([GREEN])).run(
        "mend it"
    )

    assert (result.status, result.output) == ("completed", "Now it is done.")
    assert names(result) == [
        "RunStarted", "MessageAdded", "AttemptStarted",
        "TurnStarted", "HeadChanged", "MessageAdded", "TurnFinished", "QualityChecked",
        "MessageAdded", "AttemptStarted",
        "TurnStarted", "MessageAdded", "TurnFinished", "QualityChecked", "RunFinished",
    ]  # fmt: skip
    assert [message.role for message in seen] == ["user", "assistant", "user"]
    told = seen[-1]
    assert not starts_an_exchange(told), "it is no instruction of the person"
    (critique,) = [part for part in told.parts if isinstance(part, DataPart)]
    assert critique.text == f"Two tests are red: a, b.\n- not met: {GREEN}: green is not met"
    assert (critique.origin.kind, critique.origin.trusted) == ("model", False)
    assert "Two tests" not in told.text, "the critique is nowhere but in the data"


async def test_what_never_passes_is_failed_with_the_answer_and_what_is_missing():
    bad = verdict(green=False, short=True)
    gate = QualityGate.criteria([GREEN, SHORT], attempts=2)
    result = await agent("one", bad, "two", bad, gate=gate).run("go")

    assert (result.status, result.fault, result.output) == ("failed", "quality", "two")
    assert result.reason == "the answer was not accepted after 2 attempts: tests stay green: green is not met"
    assert [one.attempt for one in of(result, QualityChecked)] == [1, 2]
    assert of(result, RunFinished)[0].usage == result.usage


async def test_criteria_of_the_task_count_and_all_are_in_the_request_once():
    asked = []

    def judge(messages):
        asked.extend(messages)
        return verdict(green=True, short=True)

    body = {}

    def answer(messages):
        body["goal"] = messages[0].text
        return "yes"

    spec = agent(answer, judge, gate=QualityGate.criteria([SHORT, GREEN]))
    result = await spec.run(RuntimeTask("mend it", input={"where": "a.py"}, criteria=[GREEN]))
    assert result.status == "completed"
    assert body["goal"] == f"mend it\n\n{TOLD}\n- {GREEN}"
    (request,) = asked
    assert request.text == f"Does this answer meet these criteria?\n- {GREEN}\n- {SHORT}"
    data = {part.name: part.text for part in request.parts if isinstance(part, DataPart)}
    assert data.pop("where").endswith("a.py")
    assert data == {"task": "mend it", "answer": "yes", "tool results": "(no tool was called)"}


async def test_a_gate_without_criteria_evaluates_nothing_unless_the_task_has_some():
    runtime = Runtime.long_running()
    spec = Agent(
        Model.scripted(["a", "b", verdict(green=True)]), session_store=MemoryStore(), runtime=runtime
    )
    async with spec.session() as session:
        plain = await session.run("go")
        assert "AttemptStarted" not in names(plain)
        checked = await session.run(RuntimeTask("go", criteria=[GREEN]))
        assert [one.passed for one in of(checked, QualityChecked)] == [True]


PRESETS = [Runtime.sdk, Runtime.supervised, Runtime.long_running, Runtime.autonomous]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda one: one.__name__)
async def test_every_preset_that_carries_criteria_evaluates_them_and_ends_honestly(preset):
    runtime = preset(criteria=[GREEN])
    assert GREEN in runtime.describe()["quality"]

    replies = ["first", verdict(green=False, critique="mend it"), "second", verdict(green=True)]
    result = await Agent(Model.scripted(replies), session_store=MemoryStore(), runtime=runtime).run("go")
    assert (result.status, result.output) == ("completed", "second")
    assert [one.passed for one in of(result, QualityChecked)] == [False, True]

    replies = ["never good", verdict(green=False, critique="mend it")] * 9
    result = await Agent(Model.scripted(replies), session_store=MemoryStore(), runtime=runtime).run("go")
    assert (result.status, result.fault) == ("failed", "quality")
    assert "green is not met" in result.reason


@pytest.mark.parametrize("preset", PRESETS[1:], ids=lambda one: one.__name__)
async def test_the_criteria_of_a_task_are_evaluated_by_the_presets_for_long_and_for_watched_work(preset):
    spec = Agent(Model.scripted(["a", verdict(green=True)]), session_store=MemoryStore(), runtime=preset())
    result = await spec.run(RuntimeTask("go", criteria=[GREEN]))
    assert [one.passed for one in of(result, QualityChecked)] == [True]


async def test_only_what_would_be_completed_is_evaluated():
    cut = Reply(Message("assistant", (TextPart("half an ans"),)), Usage(1, 1), "length")
    result = await agent(cut, gate=QualityGate.pass_fail()).run("go")
    assert (result.status, result.fault, of(result, QualityChecked)) == ("limit", "length", [])


async def test_pass_fail_needs_no_criteria_and_is_told_of_tool_results():
    asked = []

    def judge(messages):
        asked.extend(messages)
        return '{"criteria": [], "passed": true, "critique": ""}'

    result = await agent(Call("look", {"at": 3}), "a stone", judge, gate=QualityGate.pass_fail()).run("look")
    assert result.status == "completed"
    data = {part.name: part for part in asked[0].parts if isinstance(part, DataPart)}
    assert data["tool results"].text == 'look({"at":3}) gave:\nstone 3'
    assert {part.origin.kind for part in data.values()} == {"user", "model", "tool"}
    assert all(part.origin.kind == "system" for part in asked[0].parts if isinstance(part, TextPart))


async def test_a_form_of_the_answer_holds_beside_the_gate():
    gate = QualityGate.evaluator(lambda answer, task: json.loads(answer)["value"] > 2, attempts=2)
    result = await agent('{"value": 1}', "words", '{"value": 3}', gate=gate).run("go", schema=int)
    assert (result.status, result.data, result.value) == ("completed", 3, 3)
    told = [message for message in result.messages if message.role == "user"]
    assert [starts_an_exchange(message) for message in told] == [True, False, False]
    bad = await agent('{"value": 1}', '{"value": 2}', gate=gate).run("go", schema=int)
    assert (bad.status, bad.fault, bad.data) == ("failed", "quality", 2)


# -- broken verdicts -------------------------------------------------------------------------------------

BROKEN = {
    "prose": "PASS: all criteria are met.",
    "prose around it": "Here it is: " + verdict(green=True),
    "empty": "",
    "a bare true": "true",
    "a text for a bool": '{"criteria":[{"criterion":"tests stay green","passed":"true","reason":""}],'
    '"passed":"true","critique":""}',
    "no criteria": '{"criteria": [], "passed": true, "critique": ""}',
    "another criterion": verdict(short=True),
    "one named twice": '{"criteria":[{"criterion":"tests stay green","passed":true,"reason":""},'
    '{"criterion":"tests stay green","passed":false,"reason":""}],"passed":true,"critique":""}',
    "passed against its findings": verdict(green=False, passed=True),
    "failed against its findings": verdict(green=True, passed=False),
    "two verdicts in one": '{"criteria":[],"passed":false,"passed":true,"critique":""}',
    "no verdict at all": '{"criteria":[{"criterion":"tests stay green","passed":true,"reason":""}]}',
}


@pytest.mark.parametrize("words", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_verdict_is_asked_for_again_and_never_taken_for_a_pass(words):
    gate = QualityGate.criteria([GREEN])
    result = await agent("done", words, words, gate=gate).run("go")
    assert (result.status, result.fault, result.output) == ("failed", "quality", "done")
    assert "could not be evaluated" in result.reason
    assert [one.passed for one in of(result, QualityChecked)] == [None]
    assert [one.text.startswith("the answer was not evaluated: ") for one in of(result, Noticed)] == [
        True
    ] * 2

    mended = await agent("done", words, verdict(green=True), gate=gate).run("go")
    assert mended.status == "completed"


async def test_a_verdict_that_was_cut_or_asks_for_tools_is_none():
    whole = verdict(green=True)
    cut = Reply(Message("assistant", (TextPart(whole),)), Usage(1, 1), "length")
    call = Reply(Message("assistant", (ToolCallPart("c", "look", "{}"),)), Usage(1, 1), "tool_calls")
    result = await agent("done", cut, call, gate=QualityGate.criteria([GREEN])).run("go")
    assert (result.status, result.fault) == ("failed", "quality")
    assert result.tools == []


async def test_a_judge_that_fails_is_retried_where_that_may_help_and_does_not_undo_the_work():
    lost = ModelError("busy", fault="overloaded")
    gate = QualityGate.criteria([GREEN])
    spec = Agent(
        Model.scripted(["done", lost, verdict(green=True)]),
        session_store=MemoryStore(),
        runtime=Runtime(quality=gate, retry=RetryPolicy(first_delay=0.001)),
    )
    result = await spec.run("go")
    assert (result.status, len(of(result, RetryScheduled))) == ("completed", 1)

    final = await agent("done", ModelError("no", fault="billing"), gate=gate).run("go")
    assert (final.status, final.fault, final.output) == ("failed", "quality", "done")
    assert [one.text for one in of(final, Noticed)] == ["the answer was not evaluated: no"]


def test_the_criteria_of_a_verdict_are_found_in_our_words_and_order():
    said = {
        "criteria": [
            {"criterion": "- The answer  is SHORT.", "passed": True, "reason": " so it is "},
            {"criterion": GREEN, "passed": False, "reason": "2 red"},
        ],
        "passed": False,
        "critique": "",
    }
    read = read_verdict(f"```json\n{json.dumps(said)}\n```", [GREEN, SHORT])
    assert read.results == (Finding(GREEN, False, "2 red"), Finding(SHORT, True, "so it is"))
    assert read.missing == f"{GREEN}: 2 red"
    assert read.told == f"- not met: {GREEN}: 2 red"


# -- functions and other models --------------------------------------------------------------------------


async def test_a_function_is_given_the_answer_and_the_task_and_its_critique_goes_back():
    given = []

    async def judge(answer, task):
        given.append((answer, task))
        return Acceptance("7" in answer, "name the number")

    task = RuntimeTask("count the stones", input={"place": "north"}, criteria=[GREEN])
    result = await agent("many", "7 stones", gate=QualityGate.evaluator(judge)).run(task)
    assert (result.status, result.output, result.turns) == ("completed", "7 stones", 2)
    answer, seen = given[0]
    assert (answer, seen.goal, seen.criteria) == ("many", "count the stones", (GREEN,))
    assert "north" in seen.input["place"]
    (critique,) = [
        part for one in result.messages for part in one.parts
        if isinstance(part, DataPart) and part.name == "critique"
    ]  # fmt: skip
    assert (critique.text, str(critique.origin)) == ("name the number", "tool:judge")
    assert [one.by for one in of(result, QualityChecked)] == ["judge", "judge"]


async def test_a_function_that_is_not_async_does_not_hold_up_the_loop():
    inside = []

    def judge(answer, task):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            inside.append("a thread")
        return True

    assert (await agent("x", gate=QualityGate.evaluator(judge)).run("go")).status == "completed"
    assert inside == ["a thread"]


async def test_an_exception_in_a_function_is_why_it_did_not_pass():
    def judge(answer, task):
        assert "7" in answer, "there is no 7 in it"
        return True

    result = await agent("8", "7", gate=QualityGate.evaluator(judge)).run("go")
    assert result.status == "completed"
    first, _ = of(result, QualityChecked)
    assert first.passed is False
    assert first.critique.startswith("AssertionError: there is no 7 in it")


@pytest.mark.parametrize("said", [None, 1, "PASS", [], {"passed": "yes"}, (True, 3)])
async def test_a_function_that_returns_no_verdict_evaluates_nothing(said):
    result = await agent("x", gate=QualityGate.evaluator(lambda answer, task: said)).run("go")
    assert (result.status, result.fault, result.turns) == ("failed", "quality", 1)
    assert "an evaluator returns a bool" in of(result, Noticed)[0].text


def test_what_counts_as_the_verdict_of_a_function():
    class Judged:
        passed = False
        critique = "no"

    import numpy

    for said, passed, critique in (
        (True, True, ""),
        (numpy.bool_(False), False, ""),
        ((False, "why"), False, "why"),
        ({"passed": True}, True, ""),
        ({"passed": False, "critique": "c"}, False, "c"),
        (Judged(), False, "no"),
        (Acceptance(False, "c", (Finding(GREEN, False),)), False, "c"),
    ):
        read = acceptance_of(said)
        assert (read.passed, read.critique) == (passed, critique)
    with pytest.raises(BorderError):
        acceptance_of(1)


async def test_another_model_judges_with_the_criteria_and_is_closed_at_the_end():
    class Watched:
        name = "other:judge"
        closed = 0

        def open(self):
            inner = Model.scripted([verdict(green=True)]).open()
            watched = self

            class Client:
                name = watched.name
                reply, encode = inner.reply, inner.encode

                async def close(self):
                    watched.closed += 1

            return Client()

        def cost(self, usage, answered=""):
            return 0.25

    judge = Watched()
    result = await agent("done", gate=QualityGate.evaluator(judge, criteria=[GREEN])).run("go")
    assert (result.status, judge.closed) == ("completed", 1)
    assert of(result, QualityChecked)[0].by == "other:judge"
    assert result.cost == 0.25, "the judge has a price, the script none"


async def test_a_model_by_its_description_judges():
    gate = QualityGate.evaluator(Model.scripted([verdict(green=True)]), criteria=[GREEN])
    result = await agent("done", gate=gate).run("go")
    assert (result.status, result.turns) == ("completed", 2)


def test_a_gate_is_refused_where_it_could_not_do_what_it_says():
    for wrong in (
        lambda: QualityGate.criteria("tests stay green"),
        lambda: QualityGate.criteria([GREEN, ""]),
        lambda: QualityGate.criteria([GREEN], attempts=0),
        lambda: QualityGate.evaluator("gpt"),
    ):
        with pytest.raises(LoomUsageError):
            wrong()
    assert QualityGate.criteria([GREEN]).describe() == (
        "a separate call of the model holds the answer against each criterion of the task and against: "
        "tests stay green; at most 3 attempts, then the run is failed"
    )


# -- values ----------------------------------------------------------------------------------------------


def test_a_task_is_read_back_from_its_message():
    text = f"do it\n- well\n\n{TOLD}\n- one\n- two\nlines"
    read = task_of(Message("user", (TextPart(text),)))
    assert (read.goal, read.criteria) == ("do it\n- well", ("one", "two\nlines"))
    assert task_of(Message("user", (TextPart("no criteria: - x"),))).criteria == ()


def test_a_digest_stays_within_its_room_and_names_every_call_it_can():
    messages = []
    for n in range(300):
        messages.append(Message("assistant", (ToolCallPart(f"c{n}", "look", f'{{"at":{n}}}'),)))
        result = ToolResultPart(f"c{n}", "look", (TextPart(f"result {n} " + "x" * 3_000),), is_error=n == 299)
        messages.append(Message("tool", (result,)))
    few, many = digest(messages[:8], 4_000), digest(messages, 4_000)
    assert [f'look({{"at":{n}}}) gave' in few for n in range(4)] == [True] * 4
    assert len(few) < 4_400
    assert 'look({"at":299}) failed' in many
    assert "calls left out" in many
    assert len(many) < 8_000


# -- stopped, killed, on the wire ------------------------------------------------------------------------


async def test_a_run_that_is_stopped_while_it_is_evaluated_leaves_a_valid_conversation():
    waiting = asyncio.Event()

    async def judge(answer, task):
        waiting.set()
        await asyncio.sleep(3600)

    spec = agent("an answer", "after it", gate=QualityGate.evaluator(judge))
    async with spec.session() as session:
        run = session.start("go")
        await waiting.wait()
        run.stop()
        result = await run
        assert (result.status, names(result)[-1]) == ("stopped", "RunFinished")
        assert of(result, QualityChecked) == []
        assert [message.role for message in session.conversation] == ["user", "assistant"]


async def test_time_runs_out_for_an_evaluation_as_for_all_else():
    async def judge(answer, task):
        await asyncio.sleep(3600)

    spec = Agent(
        Model.scripted(["an answer"]),
        session_store=MemoryStore(),
        runtime=Runtime(quality=QualityGate.evaluator(judge), limits=Limits(timeout=0.05)),
    )
    result = await spec.run("go")
    assert (result.status, result.fault) == ("limit", "timeout")


CHILD = """
import asyncio, os, sys
from loom_nb import Agent, Model, QualityGate, Runtime, SessionConfig, SqliteStore

count = 0

def judge(answer, task):
    global count
    count += 1
    if count == 2:
        os._exit(9)
    return False, "say it better"

agent = Agent(
    Model.scripted(["one", "two"]),
    session_store=SqliteStore(f"{sys.argv[1]}/loom.db"),
    runtime=Runtime(quality=QualityGate.evaluator(judge)),
)
asyncio.run(agent.session(SessionConfig("s")).run("say it"))
"""


async def test_a_run_killed_in_its_second_evaluation_is_evaluated_when_it_is_resumed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path)], check=False, timeout=60
    )
    assert done.returncode == 9
    given = []

    def judge(answer, task):
        given.append((answer, task.goal))
        return False, "still not"

    store = SqliteStore(tmp_path / "loom.db")
    spec = Agent(
        Model.scripted(["three"]),
        session_store=store,
        runtime=Runtime(quality=QualityGate.evaluator(judge)),
    )
    session = spec.session(SessionConfig("s"))
    result = await (await session.resume("r1"))
    assert given == [("two", "say it"), ("three", "say it")]
    assert (result.status, result.fault, result.output) == ("failed", "quality", "three")
    assert [one.attempt for one in of(result, QualityChecked)] == [1, 2, 3]
    await session.close()
    store.close()


async def test_the_verdict_is_asked_for_by_schema_without_tools_on_the_wire(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    bad, good = verdict(critique="look first", green=False), verdict(green=True)
    script = [Say("done"), Say(bad), Calls(("look", {"at": 1})), Say("seen: stone 1"), Say(good)]
    with WireServer(script, rules=True) as server:
        spec = Agent(
            Model.openai("gpt-wire", base_url=f"{server.url}/v1", api="chat"),
            tools=[look],
            generation=Generation(max_output_tokens=100, stop=("END",)),
            session_store=MemoryStore(),
            runtime=Runtime.long_running(criteria=[GREEN]),
        )
        result = await spec.run("look")
        bodies = [request.json for request in server.requests]
    assert (result.status, result.output) == ("completed", "seen: stone 1")
    first, judge, second, _, last = bodies
    assert json.dumps(first).count(GREEN) == 1, "the criteria are in the request, once"
    assert "tools" not in judge
    assert "stop" not in judge
    form = judge["response_format"]["json_schema"]["schema"]
    assert form["properties"]["criteria"]["items"]["properties"]["criterion"]["enum"] == [GREEN]
    said = first["messages"][:-1]  # the dashboard comes behind it
    assert second["messages"][: len(said)] == said, "the prefix stays as it was"
    assert "look first" in json.dumps(second)
    assert '<data name=\\"critique\\"' in json.dumps(second)
    assert "stone 1" in json.dumps(last)
    assert len(of(result, MessageAdded)) == 6


async def test_a_preview_holds_the_criteria_byte_for_byte_as_they_are_sent(monkeypatch):
    from loom_nb import Agent, MemoryStore, Model, Runtime
    from loom_nb.testing import Say, WireServer

    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    with WireServer([Say("done"), Say('{"criteria": []}'), Say("x")], strict=False) as server:
        agent = Agent(
            Model.anthropic("claude-wire", base_url=server.url),
            instructions="Be good.",
            runtime=Runtime.long_running(criteria=["tests stay green"]),
            session_store=MemoryStore(),
        )
        async with agent.session() as session:
            _, body = await session.preview("go")
            await session.run("go")
        assert b"tests stay green" in body
        assert server.requests[0].body == body
