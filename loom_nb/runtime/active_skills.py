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
        budget: tokens of a request. One that takes more than a quarter of it may be shortened all the same,
            and of all the latest that take one half together are kept: the task needs room, too.
    """
    calls = {one.call_id for one in view.skills}
    kept, left = set[int](), budget // 2
    messages = view.conversation.messages
    for number in range(len(messages) - 1, -1, -1) if calls else ():
        message = messages[number]
        if not any(isinstance(part, ToolResultPart) and part.call_id in calls for part in message.parts):
            continue
        size = estimate_message(message)
        if size <= budget // 4:
            left -= size
            if left < 0:
                break
            kept.add(number)
    return frozenset(kept)
