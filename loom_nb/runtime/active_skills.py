"""The skills that are active in a run: a fold of what the log says, so that a restart knows them too."""

from loom_nb.events import SkillActivated
from loom_nb.messages import ToolResultPart
from loom_nb.runtime.context import View
from loom_nb.tokens import estimate_message


def with_skill(active: tuple[SkillActivated, ...], event: SkillActivated) -> tuple[SkillActivated, ...]:
    """The active skills after one more event: the latest one of a name counts."""
    others = tuple([one for one in active if one.name != event.name])
    return (*others, event) if event.active else others


def bodies_of_skills(view: View, budget: int) -> frozenset[int]:
    """The messages by which active skills were loaded: no step of a compaction may take them away.

    Args:
        view: of the conversation.
        budget: tokens of a request; what takes more than a quarter of it may be shortened all the same.
    """
    calls = {one.call_id for one in view.skills}
    if not calls:
        return frozenset()
    messages = view.conversation.messages
    return frozenset(
        number
        for number, message in enumerate(messages)
        if any(isinstance(part, ToolResultPart) and part.call_id in calls for part in message.parts)
        and estimate_message(message) <= budget // 4
    )
