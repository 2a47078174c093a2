"""Turns an entry of a log into plain JSON, or refuses it."""

from loom_nb.errors import StoreError
from loom_nb.events import LogEntry, event_to_json


def event_bytes(entry: LogEntry) -> bytes:
    """The event of an entry as JSON. Raises `StoreError` for what is no JSON."""
    try:
        return event_to_json(entry.event)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise no_json(entry, str(error)) from None


def no_json(entry: LogEntry, problem: str) -> StoreError:
    """The refusal of an entry that cannot be kept."""
    return StoreError(
        f"Entry {entry.seq} ({entry.event.type}) of session {entry.session!r} cannot be kept",
        cause=f"the log keeps plain JSON only: {problem}",
    )
