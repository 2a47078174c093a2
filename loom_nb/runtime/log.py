"""The log of one session, as its only writer sees it: what is said is pending until it is committed."""

import asyncio
import weakref
from itertools import chain
from typing import Any

from loom_nb.errors import StoreError
from loom_nb.events import Kept, LogEntry, Noticed, VariablesChanged, event_to_json
from loom_nb.protocols import Clock, Lease, Store
from loom_nb.runtime.redacting import Redacting
from loom_nb.runtime.restore import Past, read_past

RENEW_SECONDS = 10.0
"""How often a running session says that it lives, for writers on other machines."""


class Log:
    """Notes events in order and makes them durable in batches.

    A cancellation never leaves it in doubt: it waits for the disk, then goes on its way.

    Args:
        session: the id.
        store: where it lies.
        clock: the time.
        redacting: takes secrets out of each fact before it is shown or written; none by default.
    """

    def __init__(self, session: str, store: Store, clock: Clock, redacting: Redacting | None = None) -> None:
        self.session = session
        self.redacting = redacting or Redacting()
        self.known = self.redacting.known
        self.pending: list[LogEntry] = []
        """What was said and is not durable yet."""
        self._writing: asyncio.Future[None] | None = None
        self._store = store
        self.now = clock.now
        self.seq = 0
        """Of the last fact."""
        self._lease: Lease | None = None
        self.is_open = False
        """Whether this process is the writer."""
        self._if_dropped: weakref.finalize[Any, Log] | None = None

    async def open(self) -> Past | None:
        """Become the writer and read what is there; None where nothing is.

        Raises `SessionBusy` when another one is, `StoreDamaged` at a bad row.
        """
        if self._store.durable:
            work = asyncio.ensure_future(asyncio.to_thread(self._acquire))
            cancelled = await _settled(work)
            if cancelled is not None:
                if work.exception() is None:
                    self._store.release(work.result()[0])
                raise cancelled
            lease, past = work.result()
        else:
            lease, past = self._acquire()
        self._lease = lease
        self.is_open = True
        if self._store.durable:  # a lease that is dropped is free in this process: others are to be told
            self._if_dropped = weakref.finalize(self, self._store.release, lease)
        self.seq = past.seq if past is not None else 0
        return past

    def _acquire(self) -> tuple[Lease, Past | None]:
        lease = self._store.acquire(self.session)
        try:
            entries = iter(self._store.read(self.session))
            first = next(entries, None)
            return lease, None if first is None else read_past(chain((first,), entries))
        except BaseException:
            self._store.release(lease)
            raise

    def note(self, run: str, event: Kept) -> LogEntry:
        """Say a fact, as it may be kept. It is durable after the next `commit`."""
        if self.known.redactor is not None or type(event) is VariablesChanged:
            event = self.redacting.kept(event)
        self.seq = seq = self.seq + 1
        entry = LogEntry(self.session, seq, run, self.now(), event)
        self.pending.append(entry)
        return entry

    def renote(self, event: Kept) -> LogEntry:
        """Say something else in place of the last fact, which was not committed."""
        last, event = self.pending[-1], self.redacting.kept(event)
        self.pending[-1] = entry = LogEntry(self.session, last.seq, last.run, last.time, event)
        return entry

    async def commit(self) -> None:
        """Make durable what was said. What a store refuses stays pending for the next time."""
        while self._writing is not None:  # two questions of one turn may come here side by side
            if self._writing.done():  # its writer was not woken yet: let it be, or we turn in circles
                await asyncio.sleep(0)
                continue
            cancelled = await _settled(self._writing)
            if cancelled is not None:
                raise cancelled
        if not self.pending:
            return
        assert self._lease is not None  # noqa: S101  nothing is said before the log is open
        if not self._store.durable:
            self.commit_now()
            return
        batch = tuple(map(_writable, self.pending))
        writing = asyncio.ensure_future(asyncio.to_thread(self._store.append, self._lease, batch))
        self._writing = writing
        cancelled = await _settled(writing)
        self._writing = None
        failure = writing.exception()
        if failure is None:
            del self.pending[: len(batch)]
        if cancelled is not None:
            raise cancelled
        if failure is not None:
            raise failure

    def commit_now(self) -> bool:
        """The same at once, on this thread; False where a write is under way, which has to end first.

        Raises:
            StoreError: the store refuses; it stays pending.
        """
        if self._writing is not None or self._lease is None:
            return False
        if self.pending:
            durable = self._store.durable  # a store in memory takes whatever can be said
            batch = tuple(map(_writable, self.pending) if durable else self.pending)
            self._store.append(self._lease, batch)
            del self.pending[: len(batch)]
        return True

    async def renew(self) -> None:
        """Say now and then that the writer lives, until cancelled."""
        while self._lease is not None:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await asyncio.to_thread(self._store.renew, self._lease)
            except StoreError:
                return  # the next commit meets the same trouble, and tells it

    def lost(self) -> list[LogEntry]:
        """Another writer came: forget the lease, and give back what was never committed."""
        self._forget_lease()
        pending, self.pending = self.pending, []
        return pending

    def close(self) -> None:
        """Give the right to write back."""
        lease = self._lease
        self._forget_lease()
        if lease is not None:
            self._store.release(lease)

    def _forget_lease(self) -> None:
        self._lease = None
        self.is_open = False
        if self._if_dropped is not None:
            self._if_dropped.detach()
            self._if_dropped = None


def _writable(entry: LogEntry) -> LogEntry:
    """The entry, or a notice in its place if no JSON can carry it: it must not block all others."""
    try:
        event_to_json(entry.event)
    except (TypeError, ValueError, RecursionError) as error:
        notice = Noticed(f"a {entry.event.type} could not be kept: {type(error).__name__}", "warning")
        return LogEntry(entry.session, entry.seq, entry.run, entry.time, notice)
    return entry


async def _settled(work: "asyncio.Future[Any]") -> asyncio.CancelledError | None:
    """Wait until the work is done, whatever happens meanwhile; gives the cancellation that came."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as stop:
            cancelled = stop
    return cancelled
