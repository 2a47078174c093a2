"""A plan that the agent writes down and keeps true; the reader sees it as a checklist."""

from dataclasses import dataclass
from typing import Literal

from loom_nb.border import clean
from loom_nb.errors import ToolError
from loom_nb.events import PlanItem, PlanUpdated
from loom_nb.protocols import Toolset, current_call
from loom_nb.tools import tool

MAX_STEPS = 50
MAX_STEP = 500


@dataclass(frozen=True)
class Step:
    """One step of a plan."""

    text: str
    status: Literal["pending", "active", "done", "dropped"] = "pending"


@dataclass(frozen=True)
class PlanCapability:
    """Lets the agent keep a plan of its work that the reader can follow."""

    name: str = "plan"

    async def open(self) -> Toolset:
        """The tool; there is nothing to connect."""
        return Toolset(tools=[tool(read_only=True, parallel=False)(write_plan)])


async def write_plan(steps: list[Step]) -> str:
    """Write down the whole plan of a task with several steps, and again whenever a step changes.

    Args:
        steps: all of them in order; at most one is active.
    """
    if len(steps) > MAX_STEPS:
        raise ToolError(f"steps: at most {MAX_STEPS}")
    if any(not 0 < len(step.text.strip()) <= MAX_STEP for step in steps):
        raise ToolError(f"steps: each is a text of 1 to {MAX_STEP} characters")
    active = sum(step.status == "active" for step in steps)
    if active > 1:
        raise ToolError(f"steps: {active} are active, at most one can be")
    items = tuple(PlanItem(clean(step.text), step.status) for step in steps)
    context = current_call.get()
    if context is not None:
        context.say(PlanUpdated(items))
    done = sum(step.status == "done" for step in steps)
    left = next((item.text for item in items if item.status in ("active", "pending")), "nothing is left")
    return f"{done} of {len(items)} steps done; next: {left}" if items else "the plan is empty"
