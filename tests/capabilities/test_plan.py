"""The plan that the agent keeps and the reader follows."""

import pytest

from loom_nb import Agent, MemoryStore, Model
from loom_nb.capabilities import Capability
from loom_nb.events import PlanUpdated
from loom_nb.models.scripted import Call


async def planned(*plans):
    calls = [Call("write_plan", {"steps": steps}) for steps in plans]
    agent = Agent(
        Model.scripted([*calls, "done"]), capabilities=[Capability.plan()], session_store=MemoryStore()
    )
    return await agent.run("go")


async def test_each_version_of_the_plan_is_an_event():
    first = [{"text": "look", "status": "active"}, {"text": "clean"}]
    second = [{"text": "look", "status": "done"}, {"text": "clean", "status": "active"}]
    result = await planned(first, second)
    plans = [entry.event for entry in result.events if isinstance(entry.event, PlanUpdated)]
    assert [[(item.text, item.status) for item in plan.items] for plan in plans] == [
        [("look", "active"), ("clean", "pending")],
        [("look", "done"), ("clean", "active")],
    ]
    assert result.tools[1].result == "1 of 2 steps done; next: clean"


@pytest.mark.parametrize(
    ("steps", "wrong"),
    [
        ([{"text": "a", "status": "active"}, {"text": "b", "status": "active"}], "at most one"),
        ([{"text": ""}], "1 to 500 characters"),
        ([{"text": "a", "status": "someday"}], "pending"),
        ([{"text": "a"}] * 51, "at most 50"),
        ([{"step": "a"}], "text"),
    ],
)
async def test_a_plan_that_is_none_is_told_to_the_model(steps, wrong):
    result = await planned(steps)
    assert wrong in result.tools[0].result
    assert not [entry for entry in result.events if isinstance(entry.event, PlanUpdated)]
