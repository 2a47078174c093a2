"""What a result tells of its calls: also of those that were never carried out."""

import pytest

from loom_nb import Agent, GovernancePolicy, Model, Runtime, tool
from loom_nb.events import CallFinished, CallStarted, LogEntry, MessageAdded
from loom_nb.messages import Message, TextPart, ToolCallPart, ToolResultPart
from loom_nb.models.scripted import Call
from loom_nb.runtime.tool_uses import tool_uses


@tool(effects={"reads"})
def add(a: int, b: int = 0) -> int:
    """Adds."""
    return a + b


@tool
def erase(path: str) -> str:
    """Erases."""
    raise AssertionError(f"{path} is not to be erased")


async def used(*calls, **options):
    agent = Agent(Model.scripted([list(calls), "I see"]), tools=(add, erase), **options)
    return (await agent.run("go")).tools


@pytest.mark.parametrize(
    ("call", "outcome", "arguments"),
    [
        (Call("add", {"a": "x", "b": 1}), "invalid", {"a": "x", "b": 1}),
        (Call("ad", {"a": 1}), "unknown_tool", {"a": 1}),
        (Call("ad"), "unknown_tool", {}),
        (Call("add", '{"a": 1, "b'), "invalid", {"": '{"a": 1, "b'}),
        (Call("add", '{"a":1,"a":2}'), "invalid", {"": '{"a":1,"a":2}'}),
        (Call("add", "[1, 2]"), "invalid", {"": "[1, 2]"}),
        (Call("add", ""), "invalid", {}),
    ],
)
async def test_a_call_that_could_not_be_made_tells_what_the_model_wrote(call, outcome, arguments):
    (use,) = await used(call)

    assert (use.outcome, use.arguments) == (outcome, arguments)


async def test_a_call_that_was_refused_tells_what_it_was_about_to_do():
    (use,) = await used(
        Call("erase", {"path": "a.csv"}), runtime=Runtime(governance=GovernancePolicy.read_only())
    )

    assert (use.outcome, use.arguments) == ("denied", {"path": "a.csv"})


async def test_a_call_that_was_carried_out_tells_what_it_was_given():
    (use,) = await used(Call("add", {"a": 1}))

    assert (use.outcome, use.arguments, use.result) == ("ok", {"a": 1}, "1")


def test_calls_with_one_id_keep_their_own_arguments():
    def done(outcome):
        return CallFinished(ToolResultPart("c", "erase", (TextPart(outcome),)), outcome)

    asked = tuple(ToolCallPart("c", "erase", f'{{"path": "{n}"}}') for n in range(3))
    events = (
        MessageAdded(Message("assistant", asked)),
        done("denied"),
        CallStarted("c", "erase", {"path": "1"}),
        done("ok"),
        done("invalid"),
    )

    uses = tool_uses(LogEntry("s", n, "r1", 0.0, event) for n, event in enumerate(events, 1))

    assert [use.arguments["path"] for use in uses] == ["0", "1", "2"]
