"""Keeps sessions in this process and nowhere else: for tests, servers without state and measurements."""

import threading
import time
import weakref
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import TypeAlias, TypeVar

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
from loom_nb.stores.labels import as_name, is_deleted, not_deleted, unknown
from loom_nb.stores.leases import HeldLease, Owner, busy, lost, out_of_order

_T = TypeVar("_T")
_Place: TypeAlias = tuple[float, str, int]
_LISTED = frozenset({RunStarted, RunFinished, RunInterrupted, QuestionAsked, QuestionAnswered, GrantRevoked})


class _Log:
    __slots__ = ("deleted", "entries", "fence", "holder", "listed", "name")

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.listed: _Listed | None = None
        """What the listings know of it; made for the first of them."""
        self.fence = 0
        self.holder: weakref.ref[HeldLease] | None = None
        self.name = ""
        self.deleted: float | None = None

    @property
    def held(self) -> bool:
        return self.holder is not None and self.holder() is not None


class _Listed:
    __slots__ = ("ended", "known", "marks", "place", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        """The numbers of the entries that start a run."""
        self.marks: list[int] = []
        """And of those that start or end one."""
        self.ended: dict[str, str] = {}
        """How runs ended."""
        self.known = 0
        """How many entries the listings know."""
        self.place = 0.0, ""
        """Where the listing of sessions has it."""


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
        self._gone: dict[str, None] = {}
        """The deleted ones, in the order in which they were."""
        self._fences = 0
        """The highest of the sessions that were purged."""

    def acquire(self, session: str) -> HeldLease:
        """Become the writer of a session. Raises `SessionBusy` while another lease of it is in use."""
        with self._lock:
            log = self._logs.get(session)
            if log is None:
                log = self._logs[session] = _Log()
                log.fence = self._fences
            self._refuse_held(session, log)
            if log.deleted is not None:
                raise is_deleted(session)
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
            seq = len(kept)
            for entry in entries:
                seq += 1
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

    def landmarks(self, session: str) -> list[LogEntry]:
        """The first entry of a session and those that begin and end its runs, in order."""
        with self._lock:
            self._catch_up()
            log = self._logs.get(session)
            if log is None or log.listed is None:
                return []
            return [log.entries[seq - 1] for seq in dict.fromkeys((1, *log.listed.marks))]

    def rename(self, session: str, name: str) -> None:
        """Give a session a name for people. Raises `StoreError` where there is no such session."""
        name = as_name(name)
        with self._lock:
            self._known(session).name = name

    def delete(self, session: str) -> None:
        """Take a session out of all listings. Raises `SessionBusy`, or `StoreError` for one unknown."""
        with self._lock:
            log = self._known(session)
            self._refuse_held(session, log)
            if log.deleted is None:
                self._catch_up()
                if log.listed is not None:
                    del self._recent[bisect_left(self._recent, log.listed.place)]
                log.deleted = time.time()
                log.fence += 1
                self._gone[session] = None

    def restore(self, session: str) -> None:
        """Take back a `delete`. Raises `StoreError` for one not deleted."""
        with self._lock:
            log = self._logs.get(session)
            if log is None or log.deleted is None:
                raise not_deleted(session)
            log.deleted = None
            del self._gone[session]
            if log.listed is not None:
                insort(self._recent, log.listed.place)

    def deleted(self, *, limit: int | None = None) -> list[SessionRow]:
        """The sessions that were deleted, the last deleted first."""
        with self._lock:
            names = list(reversed(self._gone))[: None if limit is None else max(limit, 0)]
            return [_session_row(name, self._logs[name]) for name in names]

    def purge(self, sessions: Sequence[str]) -> list[str]:
        """Forget deleted sessions for good. Gives those that were."""
        with self._lock:
            gone = [name for name in dict.fromkeys(sessions) if name in self._gone]
            for name in gone:
                del self._gone[name]
                self._fences = max(self._fences, self._logs.pop(name).fence)
            if gone:
                self._starts = [place for place in self._starts if place[1] in self._logs]
                self._asked = [place for place in self._asked if place[1] in self._logs]
            return gone

    def runs(self, session: str | None = None, *, limit: int = 100) -> list[RunRow]:
        """The runs of one session or of all, newest first."""
        with self._lock:
            self._catch_up()
            if session is None:
                places = [(name, seq) for _, name, seq in self._last_listed(self._starts, limit)]
            else:
                log = self._logs.get(session)
                listed = log.listed if log is not None and log.deleted is None else None
                places = [(session, seq) for seq in _last(listed.starts, limit)] if listed is not None else []
            return [_run_row(self._logs[name], self._logs[name].entries[seq - 1]) for name, seq in places]

    def questions(self, *, limit: int = 1000) -> list[LogEntry]:
        """The latest questions, answers and revoked grants of all sessions, newest first."""
        with self._lock:
            self._catch_up()
            places = self._last_listed(self._asked, limit)
            return [self._logs[name].entries[seq - 1] for _, name, seq in places]

    def close(self) -> None:
        """Nothing to let go of: the entries live as long as the store."""

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._logs)} sessions>"

    def _catch_up(self) -> None:
        """Bring the listing of sessions up to date: it costs what was appended since, not what there is."""
        for name in self._grown:
            log = self._logs[name]
            if not log.entries:
                continue
            if log.listed is None:
                log.listed = _Listed()
            else:
                del self._recent[bisect_left(self._recent, log.listed.place)]
            for entry in log.entries[log.listed.known :]:
                if type(entry.event) in _LISTED:
                    self._list(log.listed, entry)
            log.listed.known = len(log.entries)
            log.listed.place = log.entries[-1].time, name
            insort(self._recent, log.listed.place)
        self._grown.clear()

    def _list(self, log: _Listed, entry: LogEntry) -> None:
        place = (entry.time, entry.session, entry.seq)
        match entry.event:
            case RunStarted():
                log.starts.append(entry.seq)
                log.marks.append(entry.seq)
                insort(self._starts, place)
            case RunFinished(status=status):
                log.ended[entry.run] = status
                log.marks.append(entry.seq)
            case RunInterrupted():
                log.ended.setdefault(entry.run, "interrupted")
                log.marks.append(entry.seq)
            case _:
                insort(self._asked, place)

    def _last_listed(self, places: list[_Place], limit: int) -> list[_Place]:
        """The last ones, last first; of what was deleted only the leaves that were taken back."""
        if not self._gone:
            return _last(places, limit)
        found: list[_Place] = []
        for place in reversed(places):
            if len(found) >= limit:
                break
            log = self._logs[place[1]]
            if log.deleted is None or isinstance(log.entries[place[2] - 1].event, GrantRevoked):
                found.append(place)
        return found

    def _known(self, session: str) -> _Log:
        log = self._logs.get(session)
        if log is None or not log.entries:
            raise unknown(session)
        return log

    def _refuse_held(self, session: str, log: _Log) -> None:
        if log.held:
            mine = Owner.mine()
            raise busy(session, mine, mine, 0)

    def _held(self, lease: Lease) -> _Log:
        log = self._logs.get(lease.session)
        if log is None or log.fence != lease.fence or log.holder is None:
            holder = "another writer in this process" if log is not None and log.held else ""
            raise lost(lease.session, lease.fence, holder)
        return log


def _session_row(name: str, log: _Log) -> SessionRow:
    entries = log.entries
    writer = Owner.mine().short if log.held else ""
    times = entries[0].time, entries[-1].time
    return SessionRow(name, len(entries), *times, writer, log.name, deleted=log.deleted)


def _run_row(log: _Log, entry: LogEntry) -> RunRow:
    start = entry.event
    ended = log.listed.ended if log.listed is not None else {}
    status = ended.get(entry.run) or ("running" if log.held else "interrupted")
    goal, model = (start.goal, start.model) if isinstance(start, RunStarted) else ("", "")
    return RunRow(entry.session, entry.run, entry.time, goal, model, status)


def _last(places: list[_T], limit: int) -> list[_T]:
    """The last ones, last first."""
    return places[-limit:][::-1] if limit > 0 else []
