"""The working partition of a run's requests: the dashboard behind the conversation, drawn anew for each.

It is no part of the conversation, so that what stands before it is, byte for byte, what it was.
"""

from collections.abc import Iterable, Sequence

from loom_nb.events import Kept, LogEntry, MessageAdded, RunFinished, RunStarted
from loom_nb.protocols import Request
from loom_nb.runtime.context import View
from loom_nb.runtime.dashboard import Around, Course, dashboard_of, room_for, working_message
from loom_nb.runtime.origins import Origins, kinds_of
from loom_nb.runtime.policies import Runtime
from loom_nb.runtime.stage import Stage
from loom_nb.tokens import estimate_message


def follow(stage: Stage, entries: Iterable[LogEntry]) -> None:
    """From now on every request of this run ends with a dashboard.

    Args:
        stage: of the run.
        entries: what has happened in it so far.
    """
    past = [entry.event for entry in entries]
    added = sum(isinstance(event, MessageAdded) for event in past)
    course = Course.of(past, len(stage.view.conversation) - added)
    say = stage.say

    def heard(event: Kept) -> None:
        course.take(event)
        say(event)

    stage.course, stage.say = course, heard


def draw(stage: Stage) -> int:
    """Put the dashboard of now behind the next request; gives the tokens of the conversation with it."""
    course, runtime = stage.course, stage.runtime
    if course is not None:
        course.usage, course.cost = stage.usage, stage.cost if stage.replies else 0.0
        around = around_of(runtime, stage.origins.kinds)
        room = room_for(runtime.context.budget or stage.budget)
        stage.request.working = working_message(dashboard_of(course, stage.view, around), room)
        sent = stage.request.working
        stage.meter.working = estimate_message(sent) if sent is not None else 0
    return stage.meter.weigh()


def begin(
    request: Request, runtime: Runtime, view: View, origins: Origins, begun: Iterable[Kept] = ()
) -> None:
    """Put behind a request the dashboard that the first one of a run would have.

    Args:
        request: nothing where the runtime wants no dashboard.
        runtime: of the run.
        view: of the conversation before the run.
        origins: of its texts.
        begun: the events with which the run would begin, and those that would come before it.
    """
    if not runtime.context.dashboard:
        return
    events = list(begun)
    course = Course.of(events, len(view.conversation))
    messages = [event.message for event in events if isinstance(event, MessageAdded)]
    around = around_of(runtime, origins.kinds | kinds_of(messages))
    request.working = working_message(dashboard_of(course, view, around), room_for(runtime.context.budget))


def around_of(runtime: Runtime, kinds: frozenset[str], seconds: float | None = None) -> Around:
    """What the dashboard of a run needs to know beside its events."""
    criteria = runtime.gate.wanted if runtime.gate is not None else ()
    return Around(
        runtime.limits, runtime.governance.mode, criteria, kinds, seconds, bool(runtime.context.dashboard)
    )


def seconds_of(entries: Sequence[LogEntry], now: float) -> float | None:
    """Wall time of the latest run of a log; None where there is none."""
    for entry in reversed(entries):
        match entry.event:
            case RunFinished(seconds=seconds):
                return seconds
            case RunStarted():
                return max(0.0, now - entry.time)
    return None
