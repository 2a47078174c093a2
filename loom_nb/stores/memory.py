"""Keeps sessions in this process and nowhere else: for tests, servers without state and measurements."""

import threading
import weakref
from collections.abc import Iterator, Sequence

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


class _Log:
    __slots__ = ("entries", "fence", "holder")

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
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
            kept = self._held(lease).entries
            for seq, entry in enumerate(entries, len(kept) + 1):
                if entry.seq != seq or entry.session != session:
                    raise out_of_order(session, seq, entry.session, entry.seq)
            kept.extend(entries)

    def read(self, session: str, *, after: int = 0) -> Iterator[LogEntry]:
        """The entries of a session with `seq > after`, as they are now."""
        with self._lock:
            log = self._logs.get(session)
            return iter(log.entries[max(after, 0) :] if log else ())

    def sessions(self) -> list[SessionRow]:
        """All sessions that have entries, newest first."""
        with self._lock:
            rows = [_session_row(name, log) for name, log in self._logs.items() if log.entries]
        return sorted(rows, key=lambda row: (row.updated, row.id), reverse=True)

    def runs(self, session: str | None = None, *, limit: int = 100) -> list[RunRow]:
        """The runs of one session or of all, newest first."""
        with self._lock:
            logs = self._logs if session is None else {session: self._logs.get(session, _Log())}
            found = [(row, seq) for name, log in logs.items() for row, seq in _run_rows(name, log)]
        if session is None:
            found.sort(key=lambda pair: (pair[0].started, pair[0].session, pair[1]), reverse=True)
        else:
            found.sort(key=lambda pair: pair[1], reverse=True)
        return [row for row, _ in found[: max(limit, 0)]]

    def questions(self, *, limit: int = 1000) -> list[LogEntry]:
        """The latest questions, answers and revoked grants of all sessions, newest first."""
        kinds = (QuestionAsked, QuestionAnswered, GrantRevoked)
        with self._lock:
            found = [
                entry for log in self._logs.values() for entry in log.entries if type(entry.event) in kinds
            ]
        found.sort(key=lambda entry: (entry.time, entry.session, entry.seq), reverse=True)
        return found[: max(limit, 0)]

    def close(self) -> None:
        """Nothing to let go of: the entries live as long as the store."""

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._logs)} sessions>"

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


def _run_rows(name: str, log: _Log) -> Iterator[tuple[RunRow, int]]:
    ended: dict[str, str] = {}
    for entry in log.entries:
        match entry.event:
            case RunFinished(status=final):
                ended[entry.run] = final
            case RunInterrupted():
                ended.setdefault(entry.run, "interrupted")
            case _:
                pass
    open_status = "running" if log.held else "interrupted"
    for entry in log.entries:
        if isinstance(entry.event, RunStarted):
            start = entry.event
            status: str = ended.get(entry.run, open_status)
            yield RunRow(name, entry.run, entry.time, start.goal, start.model, status), entry.seq
