"""What a log says of the past, and how a run that broke off is brought to a valid end.

A model is never shown a call without its result: what did not finish gets a result that says so.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from loom_nb.events import (
    CallFinished,
    CallStarted,
    Kept,
    LogEntry,
    MessageAdded,
    ResultKept,
    RunFinished,
    RunInterrupted,
    RunStarted,
    TurnFinished,
)
from loom_nb.messages import Conversation, Message, Origin, TextPart, ToolResultPart
from loom_nb.runtime.stage import Meter, Stage, partial_message

_STOPPED = "This call was stopped before it ended; whatever it had done until then is not undone."
_LOST = (
    "The outcome of this call is not known: the process ended while it ran. It may or may not have happened."
)
_NEVER = "This call was not started."


@dataclass(slots=True)
class Past:
    """The fold of a session's log."""

    conversation: Conversation = field(default_factory=Conversation)
    meter: Meter = field(default_factory=Meter)
    kept: dict[str, str] = field(default_factory=dict)
    seq: int = 0
    runs: set[str] = field(default_factory=set)
    """The ids that runs have."""
    repairs: list[tuple[str, Kept]] = field(default_factory=list)
    """(run, event) to append so that the log is whole again: a process died in these runs."""


def read_past(entries: Iterable[LogEntry]) -> Past:
    """Fold a log from its first entry to its last."""
    past = Past()
    open_runs: dict[str, list[ToolResultPart]] = {}
    begun: set[str] = set()
    for entry in entries:
        past.seq = entry.seq
        match entry.event:
            case RunStarted():
                past.runs.add(entry.run)
                open_runs[entry.run] = []
            case MessageAdded(message=message):
                past.conversation.add(message)
                past.meter.added(message)
                open_runs.get(entry.run, []).clear()
                begun.clear()
            case CallStarted(call_id=call_id):
                begun.add(call_id)
            case CallFinished(result=result):
                open_runs.get(entry.run, []).append(result)
            case TurnFinished(usage=usage):
                past.meter.counted_by_vendor(usage)
            case ResultKept(call_id=call_id, text=text):
                past.kept[call_id] = text
            case RunFinished() | RunInterrupted():
                open_runs.pop(entry.run, None)
    for run, results in open_runs.items():
        repairs = [*_close_calls(past.conversation.messages, results, begun, "lost"), RunInterrupted()]
        past.repairs += [(run, event) for event in repairs]
    return past


def settle(stage: Stage) -> list[Kept]:
    """What must be said so that a conversation broken off at any point is valid again.

    The words that had arrived are kept; every call without a result gets one.
    """
    said: list[Kept] = []
    partial = partial_message(stage.deltas)
    if partial is not None:
        said.append(MessageAdded(partial))
    else:
        said += _close_calls(
            stage.request.conversation.messages, stage.results, stage.started_calls, "stopped"
        )
    for event in said:
        if isinstance(event, MessageAdded):
            stage.add(event.message)
    return said


def _close_calls(
    messages: Sequence[Message],
    results: Sequence[ToolResultPart],
    begun: Collection[str],
    outcome: Literal["lost", "stopped"],
) -> list[Kept]:
    """Results for the calls of the last message, if it is one that asks for any."""
    if not messages or not messages[-1].calls:
        return []
    have = {result.call_id: result for result in results}
    events: list[Kept] = []
    for call in messages[-1].calls:
        if call.id in have:
            continue
        text = (_LOST if outcome == "lost" else _STOPPED) if call.id in begun else _NEVER
        result = ToolResultPart(
            call.id, call.name, (TextPart(text, Origin("system")),), is_error=True, origin=Origin("system")
        )
        have[call.id] = result
        events.append(CallFinished(result, outcome))
    events.append(MessageAdded(Message("tool", tuple(have[call.id] for call in messages[-1].calls))))
    return events
