"""Limits: turns, tokens and cost over all attempts, and the guard against the same failure over and over."""

import pytest

from loom_nb import Agent, Limits, MemoryStore, Model, QualityGate, Runtime, ToolError, tool
from loom_nb.errors import LoomUsageError
from loom_nb.events import Noticed
from loom_nb.messages import ToolResultPart
from loom_nb.models.scripted import Call


@tool
def edit(path: str, line: int = 1) -> str:
    raise ToolError(f"{path} has no line {line}")


@tool(name="test")
def run_tests() -> str:
    raise ToolError("2 failed")


@tool(read_only=True)
def look(at: int = 0) -> str:
    return f"place {at}"


def agent(*replies, limits=None, **options):
    return Agent(
        Model.scripted(replies),
        tools=[edit, run_tests, look],
        session_store=MemoryStore(),
        runtime=Runtime(limits=limits or Limits(), **options),
    )


def result_texts(result):
    return [
        part.text for message in result.messages for part in message.parts if isinstance(part, ToolResultPart)
    ]


async def test_the_same_failing_call_five_times_in_a_row_ends_the_run_and_is_told_once_before():
    same = [Call("edit", {"path": "a.py", "line": 7}), Call("edit", '{"line": 7,  "path": "a.py"}')]
    result = await agent(*(same * 3)).run("go")

    assert (result.status, result.fault, result.turns) == ("limit", "stuck", 5)
    assert result.reason == 'edit({"line":7,"path":"a.py"}) failed 5 times in a row'
    told = [number for number, text in enumerate(result_texts(result), 1) if "Once more the same" in text]
    assert told == [4]
    assert [entry.event.text for entry in result.events if isinstance(entry.event, Noticed)] == [
        'It repeats itself: edit({"line":7,"path":"a.py"}) failed 4 times in a row'
    ]


async def test_a_model_that_listens_goes_on():
    calls = [Call("edit", {"path": "a"})] * 4
    result = await agent(*calls, Call("look"), *calls, "I cannot edit it").run("go")
    assert (result.status, result.turns) == ("completed", 10)


async def test_two_calls_that_fail_in_turn_are_stuck_twice_as_late():
    turn = [Call("edit", {"path": "a"}), Call("test")]
    result = await agent(*(turn * 6)).run("go")

    assert (result.status, result.fault, result.turns) == ("limit", "stuck", 10)
    assert result.reason == 'edit({"path":"a"}) and test({}) failed in turn, 10 times together'
    assert ["Once more the same" in text for text in result_texts(result)].index(True) == 8


async def test_two_calls_of_each_message_that_fail_are_stuck_as_well():
    both = [Call("edit", {"path": "a"}, "one"), Call("test", {}, "two")]
    result = await agent(*([both] * 6)).run("go")
    assert (result.fault, result.turns) == ("stuck", 5)
    assert ["Once more the same" in text for text in result_texts(result)].count(True) == 1


async def test_other_arguments_other_failures_and_successes_are_no_repetition():
    different = [Call("edit", {"path": "a", "line": n}) for n in range(12)]
    mixed = [Call("edit", {"path": "a"}), Call("look")] * 6
    three = [Call("edit", {"path": "a"}), Call("test"), Call("edit", {"path": "b"})] * 4
    result = await agent(*different, *mixed, *three, "done", limits=Limits(100)).run("go")
    assert result.status == "completed"
    assert not any("Once more" in text for text in result_texts(result))


async def test_calls_that_are_refused_or_unknown_or_broken_count_as_failures():
    for call in (Call("nothing"), Call("edit", "{broken"), Call("edit", {"wrong": 1})):
        result = await agent(*([call] * 3), limits=Limits(stuck=3)).run("go")
        assert (result.fault, result.turns) == ("stuck", 3)


async def test_a_message_that_repeats_a_call_within_itself_counts_once():
    five = [Call("test", {}, f"c{n}") for n in range(5)]
    result = await agent(five, "so it is").run("go")
    assert result.status == "completed"


async def test_the_guard_can_be_turned_off():
    result = await agent(*([Call("test")] * 20), "enough", limits=Limits(stuck=None)).run("go")
    assert (result.status, result.turns) == ("completed", 21)
    with pytest.raises(LoomUsageError, match=r"Limits\(stuck=0\)"):
        Limits(stuck=0)


def refuse(answer, task):
    return False, "not yet"


async def test_turns_are_counted_over_all_attempts():
    gated = agent(*(["draft"] * 9), limits=Limits(4), quality=QualityGate.evaluator(refuse, attempts=9))
    result = await gated.run("go")
    assert (result.status, result.fault, result.turns, result.output) == ("limit", "turns", 4, "draft")
    assert result.reason.endswith("the answer before was not accepted: not yet")


class Priced:
    """A script whose tokens cost a tenth of a cent each."""

    name = "scripted:priced"

    def __init__(self, *replies):
        self.script = Model.scripted(replies)

    def open(self):
        return self.script.open()

    def window(self):
        return None

    def cost(self, usage, answered=""):
        return usage.total_tokens / 1000


@pytest.mark.parametrize(("limit", "fault"), [({"max_tokens": 400}, "tokens"), ({"max_cost": 0.4}, "cost")])
async def test_tokens_and_cost_are_counted_over_all_attempts_evaluations_included(limit, fault):
    more = '{"criteria": [], "passed": false, "critique": "more"}'
    spec = agent(limits=Limits(**limit), quality=QualityGate.pass_fail(attempts=40))
    object.__setattr__(spec, "model", Priced(*["draft", more] * 50))
    result = await spec.run("go")
    assert (result.status, result.fault, result.output) == ("limit", fault, "draft")
    assert 400 <= result.usage.total_tokens < 1_000
    assert result.cost == pytest.approx(result.usage.total_tokens / 1000)


async def test_an_answer_that_there_is_no_budget_to_check_is_not_completed_and_is_kept():
    spec = agent("a fine answer", limits=Limits(max_tokens=1), quality=QualityGate.pass_fail())
    result = await spec.run("go")
    assert (result.status, result.fault, result.output) == ("limit", "tokens", "a fine answer")
    assert "not evaluated" in result.reason
