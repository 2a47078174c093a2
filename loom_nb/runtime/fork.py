"""A copy of a conversation up to some point, with a log of its own."""

from collections.abc import Iterable, Iterator

import msgspec

from loom_nb.errors import LoomUsageError
from loom_nb.events import (
    CompactionUndone,
    ContextCompacted,
    ContextMarked,
    Kept,
    LogEntry,
    MessageAdded,
    RunFinished,
    RunInterrupted,
    SessionOpened,
)
from loom_nb.protocols import Store
from loom_nb.runtime.context import WITHHOLDS

FORKED_FROM = "forked_from"
BATCH = 500
"""Entries that are written at once."""


def fork(store: Store, session: str, into: str, *, before: str = "", through: str = "") -> int:
    """Copy a session's log into a new session of the same store; gives how many entries.

    Args:
        store: where both are.
        session: what is copied. Runs that have not ended are left out.
        into: the id of the copy, which must be new.
        before: only what came before this run.
        through: only what came until this run ended.

    Raises:
        LoomUsageError: the run or the session does not exist, or `into` does.
        SessionBusy, StoreError: the copy cannot be written; nothing of it is kept then, or all.
    """
    entries = list(store.read(session))
    if not entries:
        raise LoomUsageError(f"there is no session {session}")
    missing = {before, through} - {one.run for one in entries} - {""}
    if missing:
        raise LoomUsageError(f"session {session} has no run {missing.pop()}")
    lease = store.acquire(into)
    try:
        if next(iter(store.read(into)), None) is not None:
            raise LoomUsageError(f"session {into} exists already")
        copied = list(copies(entries, session, into, before, through))
        for start in range(0, len(copied), BATCH):
            store.append(lease, copied[start : start + BATCH])
        return len(copied)
    finally:
        store.release(lease)


def copies(
    entries: Iterable[LogEntry], session: str, into: str, before: str = "", through: str = ""
) -> Iterator[LogEntry]:
    """The entries of a copy, numbered anew."""
    entries = list(entries)
    kept, later = _cut(entries, before, through)
    total = sum(isinstance(entry.event, MessageAdded) for entry in kept)
    origin = f"{session}/{before or through}" if before or through else session
    known: set[str] = set()
    number = 0
    for entry in [*kept, *later]:
        event: Kept | None = entry.event
        if isinstance(event, SessionOpened):
            event = msgspec.structs.replace(event, metadata={**event.metadata, FORKED_FROM: origin})
        if isinstance(event, ContextCompacted | CompactionUndone | ContextMarked):
            event = _within(event, total, known)
        if event is not None:
            number += 1
            yield LogEntry(into, number, entry.run, entry.time, event)


def _cut(entries: list[LogEntry], before: str, through: str) -> tuple[list[LogEntry], list[LogEntry]]:
    """What is copied; and of what came later the facts that keep something from the model."""
    ended = {one.run for one in entries if isinstance(one.event, RunFinished | RunInterrupted)} | {""}
    kept: list[LogEntry] = []
    for place, entry in enumerate(entries):
        if before and entry.run == before:
            return kept, [one for one in entries[place:] if not one.run and _keeps(one.event)]
        if entry.run in ended:
            kept.append(entry)
        if entry.run == through and isinstance(entry.event, RunFinished | RunInterrupted):
            return kept, [one for one in entries[place + 1 :] if not one.run and _keeps(one.event)]
    return kept, []


def _keeps(event: Kept) -> bool:
    """Whether a fact between two runs is about what the model is not to see."""
    if isinstance(event, ContextCompacted):
        return event.strategy in WITHHOLDS
    return isinstance(event, CompactionUndone | ContextMarked)


def _within(
    event: ContextCompacted | CompactionUndone | ContextMarked, total: int, known: set[str]
) -> Kept | None:
    """A fact as far as it is about messages that are copied."""
    match event:
        case ContextMarked(message=number):
            return event if number < total else None
        case CompactionUndone(id=name):
            return event if name in known else None
        case ContextCompacted(changes=changes):
            cut = [
                change if change.last < total else msgspec.structs.replace(change, last=total - 1)
                for change in changes
                if change.last < total or (not change.messages and change.first < total)
            ]
            if not cut:
                return None
            known.add(event.id)
            return msgspec.structs.replace(event, changes=tuple(cut))


def messages_of(entries: Iterable[LogEntry], run: str) -> tuple[int, int] | None:
    """The numbers of a run's first and last message in the conversation, counted from 0."""
    number = -1
    first: int | None = None
    last = -1
    for entry in entries:
        if isinstance(entry.event, MessageAdded):
            number += 1
            if entry.run == run:
                first = number if first is None else first
                last = number
    return None if first is None else (first, last)
