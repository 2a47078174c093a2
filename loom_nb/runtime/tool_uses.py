"""The tool calls of a run as its result tells of them, folded from what was said while it ran."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from loom_nb.border import parse_object
from loom_nb.errors import BorderError
from loom_nb.events import CallFinished, CallStarted, LogEntry, MessageAdded

_NEVER_BEGUN = ("denied", "invalid", "unknown_tool")


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One tool call of a run, folded from its events."""

    id: str
    name: str
    arguments: dict[str, Any]
    """Those it was carried out with. Those the model wrote, where it never began: `{"": text}` where that
    is no JSON object."""
    outcome: str
    result: str
    seconds: float


def tool_uses(entries: Iterable[LogEntry]) -> list[ToolUse]:
    """The calls in the order in which they ended.

    Args:
        entries: what the log holds of one run, in order.
    """
    begun: dict[str, deque[dict[str, Any]]] = {}
    written: dict[str, deque[str]] = {}
    uses: list[ToolUse] = []
    for fact in (entry.event for entry in entries):
        if isinstance(fact, MessageAdded):
            for call in fact.message.calls:
                written.setdefault(call.id, deque()).append(call.arguments)
        elif isinstance(fact, CallStarted):
            begun.setdefault(fact.call_id, deque()).append(fact.arguments)
        elif isinstance(fact, CallFinished):
            passed, words = begun.get(fact.call_id), written.get(fact.call_id)
            text = words.popleft() if words else ""
            carried_out = bool(passed) and fact.outcome not in _NEVER_BEGUN
            arguments = passed.popleft() if passed and carried_out else as_written(text)
            uses.append(
                ToolUse(
                    fact.call_id, fact.result.name, arguments, fact.outcome, fact.result.text, fact.seconds
                )
            )
    return uses


def as_written(arguments: str) -> dict[str, Any]:
    """The arguments of a call as the model wrote them; `{"": text}` where that is no JSON object."""
    try:
        return parse_object(arguments) if arguments.strip() else {}
    except BorderError:
        return {"": arguments}
