"""Keeps sessions in this process and nowhere else: for tests, servers without state and measurements."""

import threading
import weakref
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import TypeVar

from loom_nb.events import (
    GrantRevoked,
    LogEntry,
    QuestionAnswered,
    QuestionAsked,
    RunFinished,
    RunInterrupted,
    RunStarted,
)
from loom_nb.protocols import Lease, RunRow, SessionRow
from loom_nb.stores.leases import HeldLease, Owner, busy, lost, out_of_order

_T = TypeVar("_T")
_LISTED = frozenset({RunStarted, RunFinished, RunInterrupted, QuestionAsked, QuestionAnswered, GrantRevoked})


class _Log:
    __slots__ = ("ended", "entries", "fence", "holder", "known", "listed", "starts")

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.starts: list[int] = []
        """The numbers of the entries that start a run."""
        self.ended: dict[str, str] = {}
        """How runs ended."""
        self.known = 0
        """How many entries the listings know."""
        self.listed: tuple[float, str] | None = None
        """Where the listing of sessions has it."""
        self.fence = 0
        self.holder: weakref.ref[HeldLease] | None = None

    @property
    def held(self) -> bool:
        return self.holder is not None and self.holder() is not None


class MemoryStore:
    """A `Store` that forgets: entries are kept as they are, nothing is encoded and nothing is hashed."""

    durable = False

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may give a lease back in the middle of any call
        self._logs: dict[str, _Log] = {}
        self._starts: list[tuple[float, str, int]] = []
        """Where runs start, in the order of time; and where there are questions."""
        self._asked: list[tuple[float, str, int]] = []
        self._recent: list[tuple[float, str]] = []
        """Sessions in the order of their last entries, but for those that grew since the last listing."""
        self._grown: set[str] = set()

    def acquire(self, session: str) -> HeldLease:
        """Become the writer of a session. Raises `SessionBusy` while another lease of it is in use."""
        with self._lock:
            log = self._logs.get(session)
            if log is None:
                log = self._logs[session] = _Log()
            elif log.held:
                mine = Owner.mine()
                raise busy(session, mine, mine, 0)
            log.fence += 1
            lease = HeldLease(session, log.fence)
            log.holder = weakref.ref(lease)
            return lease

    def renew(self, lease: Lease) -> None:
        """Say that the holder lives. Raises `LeaseLost`."""
        with self._lock:
            self._held(lease)

    def release(self, lease: Lease) -> None:
        """Give the right back."""
        with self._lock:
            log = self._logs.get(lease.session)
            if log is not None and log.fence == lease.fence:
                log.holder = None

    def append(self, lease: Lease, entries: Sequence[LogEntry]) -> None:
        """Keep entries, all or none. Raises `LeaseLost`, or `StoreError` for a gap in `seq`."""
        session = lease.session
        with self._lock:
            log = self._held(lease)
            kept = log.entries
            for seq, entry in enumerate(entries, len(kept) + 1):
                if entry.seq != seq or entry.session != session:
                    raise out_of_order(session, seq, entry.session, entry.seq)
            kept.extend(entries)
            self._grown.add(session)

    def read(self, session: str, *, after: int = 0) -> Iterator[LogEntry]:
        """The entries of a session with `seq > after`, as they are now."""
        with self._lock:
            log = self._logs.get(session)
            return iter(log.entries[max(after, 0) :] if log else ())

    def sessions(self, *, limit: int | None = None, before: SessionRow | None = None) -> list[SessionRow]:
        """The sessions that have entries, newest first; at most `limit`, those after the row `before`."""
        with self._lock:
            self._catch_up()
            end = len(self._recent)
            if before is not None:
                end = bisect_left(self._recent, (before.updated, before.id))
            start = 0 if limit is None else max(end - max(limit, 0), 0)
            page = self._recent[start:end][::-1]
            return [_session_row(name, self._logs[name]) for _, name in page]

    def runs(self, session: str | None = None, *, limit: int = 100) -> list[RunRow]:
        """The runs of one session or of all, newest first."""
        with self._lock:
            self._catch_up()
            if session is None:
                places = [(name, seq) for _, name, seq in _last(self._starts, limit)]
            else:
                log = self._logs.get(session)
                places = [(session, seq) for seq in _last(log.starts if log else [], limit)]
            return [_run_row(self._logs[name], self._logs[name].entries[seq - 1]) for name, seq in places]

    def questions(self, *, limit: int = 1000) -> list[LogEntry]:
        """The latest questions, answers and revoked grants of all sessions, newest first."""
        with self._lock:
            self._catch_up()
            return [self._logs[name].entries[seq - 1] for _, name, seq in _last(self._asked, limit)]

    def close(self) -> None:
        """Nothing to let go of: the entries live as long as the store."""

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._logs)} sessions>"

    def _catch_up(self) -> None:
        """Bring the listing of sessions up to date: it costs what was appended since, not what there is."""
        for name in self._grown:
            log = self._logs[name]
            for entry in log.entries[log.known :]:
                if type(entry.event) in _LISTED:
                    self._list(log, entry)
            log.known = len(log.entries)
            if not log.entries:
                continue
            if log.listed is not None:
                del self._recent[bisect_left(self._recent, log.listed)]
            log.listed = log.entries[-1].time, name
            insort(self._recent, log.listed)
        self._grown.clear()

    def _list(self, log: _Log, entry: LogEntry) -> None:
        place = (entry.time, entry.session, entry.seq)
        match entry.event:
            case RunStarted():
                log.starts.append(entry.seq)
                insort(self._starts, place)
            case RunFinished(status=status):
                log.ended[entry.run] = status
            case RunInterrupted():
                log.ended.setdefault(entry.run, "interrupted")
            case _:
                insort(self._asked, place)

    def _held(self, lease: Lease) -> _Log:
        log = self._logs.get(lease.session)
        if log is None or log.fence != lease.fence or log.holder is None:
            holder = "another writer in this process" if log is not None and log.held else ""
            raise lost(lease.session, lease.fence, holder)
        return log


def _session_row(name: str, log: _Log) -> SessionRow:
    entries = log.entries
    writer = Owner.mine().short if log.held else ""
    return SessionRow(name, len(entries), entries[0].time, entries[-1].time, writer)


def _run_row(log: _Log, entry: LogEntry) -> RunRow:
    start = entry.event
    status = log.ended.get(entry.run) or ("running" if log.held else "interrupted")
    goal, model = (start.goal, start.model) if isinstance(start, RunStarted) else ("", "")
    return RunRow(entry.session, entry.run, entry.time, goal, model, status)


def _last(places: list[_T], limit: int) -> list[_T]:
    """The last ones, last first."""
    return places[-limit:][::-1] if limit > 0 else []
