"""What a policy leaves out of a conversation that is opened again, and the question that it does not."""

from loom_nb.events import CompactionUndone, ContextCompacted
from loom_nb.messages import Message
from loom_nb.runtime.compaction import tried
from loom_nb.runtime.context import RESTORE, Fact, View, copy_of
from loom_nb.runtime.session_restore import SessionRestorePolicy
from loom_nb.runtime.short_answers import answers_what


def restoring(view: View, policy: SessionRestorePolicy) -> ContextCompacted | None:
    """What leaves out whatever the policy does not want of an earlier process; None where that is nothing."""
    changes = policy.changes(view.readable(), view.pinned, view.hidden)
    if not changes:
        return None
    left, after = tried(view, f"{RESTORE}{policy.kind}", changes, view.tokens, "an earlier process")
    return None if list(after.shown) == list(view.shown) else left


def keeping_the_question(
    view: View, policy: SessionRestorePolicy, restored: str, message: Message
) -> tuple[Fact, ...]:
    """What shows the question again that a short answer answers, where it was not restored.

    Args:
        view: of the conversation before the answer.
        policy: by which it was restored.
        restored: the id of the compaction that did it; empty where all was.
        message: the answer.
    """
    if not restored:
        return ()
    asked = answers_what([*view.conversation.messages, message]) - view.hidden
    whole = {one.first for one in view.items() if not one.changed}
    if asked <= whole:
        return ()
    undone, after = CompactionUndone(restored), copy_of(view)
    after.take(undone)
    changes = policy.changes(view.readable(), view.pinned | asked, view.hidden)
    told = "a short answer keeps its question"
    return (undone, tried(after, f"{RESTORE}{policy.kind}", changes, after.tokens, told)[0])
