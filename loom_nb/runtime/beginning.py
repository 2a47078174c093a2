"""What a run begins with: the message of its user, and what is kept beside it."""

from collections.abc import Callable
from typing import Any

import msgspec

from loom_nb.border import clean, parse_object
from loom_nb.errors import LoomUsageError
from loom_nb.inputs import RunContext, RuntimeTask
from loom_nb.messages import DataPart, Message, Origin, TextPart, to_json, user
from loom_nb.runtime.stage import cleaned
from loom_nb.tools import readable


class Beginning(msgspec.Struct, frozen=True):
    """What a run begins with."""

    message: Message
    metadata: dict[str, Any]
    form: dict[str, Any] | None = None
    knowledge: tuple[Any, ...] = ()
    """What it was given to look things up in."""
    told: str = ""
    """What the user should know of secrets in it."""

    @property
    def goal(self) -> str:
        """The words of the user."""
        return self.message.text


def first_message(
    task: str | RuntimeTask, context: RunContext | None, describe: Callable[[str, Any], DataPart]
) -> Message:
    """The user's message: the goal with its criteria, then every value as a data part."""
    if isinstance(task, str):
        if context is None and task.strip():
            return Message("user", (TextPart(clean(task)),))
        task = RuntimeTask(task)
    if not isinstance(task, RuntimeTask):
        raise LoomUsageError(f"a task is a string or a RuntimeTask, not {type(task).__name__}")
    if not isinstance(task.goal, str) or not task.goal.strip():
        raise LoomUsageError(
            "the prompt is empty", fixes=["write what you want: a text under %%loom, or a goal"]
        )
    goal = task.goal
    if task.criteria:
        goal += "\n\nThe result must meet these criteria:\n"
        goal += "\n".join(f"- {criterion}" for criterion in task.criteria)
    if context is not None and not isinstance(context, RunContext):
        raise LoomUsageError("context is a RunContext", fixes=["context=RunContext(inputs={…})"])
    values = {**task.input, **(context.inputs if context is not None else {})}
    parts = (describe(name, value) for name, value in values.items())
    return cleaned(user(goal, *task.attachments, *parts))


def plain_metadata(task: RuntimeTask) -> dict[str, Any]:
    """The metadata of a task as the log keeps it: plain JSON, checked before the run begins."""
    if not task.metadata:
        return {}
    try:
        return parse_object(to_json(dict(task.metadata)), what="RuntimeTask.metadata")
    except (TypeError, ValueError) as error:
        raise LoomUsageError(
            "RuntimeTask.metadata must be plain JSON",
            cause=str(error).splitlines()[0],
            fixes=["values that the model should see belong to RuntimeTask.input"],
        ) from None


def as_text(name: str, value: Any) -> DataPart:
    """A value in words, where nobody describes values better."""
    text = readable(value)
    return DataPart(name, text, Origin("user", name), f"{type(value).__name__}, {len(text):,} characters")
