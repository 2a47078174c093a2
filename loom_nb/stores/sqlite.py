"""Keeps the log of every session in one SQLite file that any number of processes may share.

What is acknowledged survives the process and the power cut: WAL, `synchronous=FULL`, one transaction
an append. Each row carries a hash over itself and the row before it, so that damage is noticed; the
other sessions stay readable. Listings are read from the rows of the log that begin and end a run.
"""

# The standard sqlite3, not SQLAlchemy: measured 24 against 163 µs a row, and 0.64 s CPU less to import.

import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from loom_nb.checks import checked, path_of
from loom_nb.database import Database
from loom_nb.errors import StoreDamaged, StoreError
from loom_nb.events import LogEntry, RunFinished, RunInterrupted, RunStarted, event_from_json
from loom_nb.protocols import Lease, RunRow, SessionRow
from loom_nb.stores.damage import FIXES, Damage, unread
from loom_nb.stores.encoding import event_bytes
from loom_nb.stores.labels import as_name, is_deleted, not_deleted, unknown
from loom_nb.stores.leases import HeldLease, LeaseRow, Leases, out_of_order
from loom_nb.stores.schema import SCHEMA

if TYPE_CHECKING:
    from sqlite3 import Connection

_GENESIS = bytes(32)
_FRAME = struct.Struct(">32sqdQQQQ")
_ROWS_AT_A_TIME = 256
_BYTES_AT_A_TIME = 4 * 1024 * 1024

# Texts are read as bytes, so that a flipped byte reaches the hash and not the UTF-8 decoder.
_HEAD = "SELECT CAST(entries AS INTEGER), hash FROM heads WHERE session = ?"
_HASH = "SELECT hash FROM events WHERE session = ? AND seq = ?"
_LEASE = """SELECT CAST(fence AS INTEGER), CAST(owner AS BLOB), CAST(expires AS REAL)
    FROM leases WHERE session = ?"""
_ENTRIES = """SELECT CAST(session AS BLOB), seq, CAST(run AS BLOB), ts, CAST(type AS BLOB),
    CAST(json AS BLOB), hash FROM events WHERE session = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"""
# Of runs, with the hash of the row before. The literals in WHERE are those of the partial indexes.
_STARTS = """SELECT CAST(e.session AS BLOB), e.seq, CAST(e.run AS BLOB), e.ts, CAST(e.type AS BLOB),
    CAST(e.json AS BLOB), e.hash,
    (SELECT p.hash FROM events p WHERE p.session = e.session AND p.seq = e.seq - 1)
    FROM events e WHERE e.type = 'RunStarted'
    AND NOT EXISTS (SELECT 1 FROM labels l WHERE l.session = e.session AND l.deleted IS NOT NULL)
    ORDER BY e.ts DESC, e.session DESC, e.seq DESC LIMIT ?"""
_STARTS_OF_SESSION = """SELECT CAST(e.session AS BLOB), e.seq, CAST(e.run AS BLOB), e.ts,
    CAST(e.type AS BLOB), CAST(e.json AS BLOB), e.hash,
    (SELECT p.hash FROM events p WHERE p.session = e.session AND p.seq = e.seq - 1)
    FROM events e WHERE e.type = 'RunStarted' AND e.session = ?
    AND NOT EXISTS (SELECT 1 FROM labels l WHERE l.session = e.session AND l.deleted IS NOT NULL)
    ORDER BY e.seq DESC LIMIT ?"""
_QUESTIONS = """SELECT CAST(e.session AS BLOB), e.seq, CAST(e.run AS BLOB), e.ts, CAST(e.type AS BLOB),
    CAST(e.json AS BLOB), e.hash,
    (SELECT p.hash FROM events p WHERE p.session = e.session AND p.seq = e.seq - 1)
    FROM events e WHERE e.type IN ('GrantRevoked', 'QuestionAnswered', 'QuestionAsked')
    AND (e.type = 'GrantRevoked'
        OR NOT EXISTS (SELECT 1 FROM labels l WHERE l.session = e.session AND l.deleted IS NOT NULL))
    ORDER BY e.ts DESC, e.session DESC, e.seq DESC LIMIT ?"""
_END = """SELECT CAST(e.session AS BLOB), e.seq, CAST(e.run AS BLOB), e.ts, CAST(e.type AS BLOB),
    CAST(e.json AS BLOB), e.hash,
    (SELECT p.hash FROM events p WHERE p.session = e.session AND p.seq = e.seq - 1)
    FROM events e WHERE e.type IN ('RunFinished', 'RunInterrupted') AND e.session = ? AND e.run = ?
    ORDER BY e.type, e.seq DESC LIMIT 1"""
_MARKS = """SELECT CAST(e.session AS BLOB), e.seq, CAST(e.run AS BLOB), e.ts, CAST(e.type AS BLOB),
    CAST(e.json AS BLOB), e.hash,
    (SELECT p.hash FROM events p WHERE p.session = e.session AND p.seq = e.seq - 1)
    FROM events e WHERE e.session = ? AND {}"""
_MARKED = ("e.seq = 1", "e.type = 'RunStarted'", "e.type IN ('RunFinished', 'RunInterrupted')")
_NAMES = "SELECT CAST(session AS BLOB) FROM heads UNION SELECT CAST(session AS BLOB) FROM events"
_PURGE = (
    "DELETE FROM events WHERE session = ?",
    "DELETE FROM heads WHERE session = ?",
    "DELETE FROM leases WHERE session = ?",
    "DELETE FROM labels WHERE session = ?",
)
_WRONG_TIMES = """SELECT 1 FROM heads h WHERE session = ? AND (
    started IS NOT (SELECT ts FROM events e WHERE e.session = h.session AND seq = 1)
    OR updated IS NOT (SELECT ts FROM events e WHERE e.session = h.session AND seq = h.entries))"""
_SESSIONS = """SELECT CAST(h.session AS BLOB), CAST(h.entries AS INTEGER), CAST(h.started AS REAL),
    CAST(h.updated AS REAL), CAST(l.fence AS INTEGER), CAST(l.owner AS BLOB), CAST(l.expires AS REAL),
    CAST(b.name AS BLOB), CAST(h.bytes AS INTEGER), CAST(b.deleted AS REAL)
    FROM {} {}"""
_LISTED = """heads h LEFT JOIN leases l ON l.session = h.session
    LEFT JOIN labels b ON b.session = h.session"""
_GONE = """labels b CROSS JOIN heads h ON h.session = b.session
    LEFT JOIN leases l ON l.session = b.session"""

_Row: TypeAlias = tuple[bytes, int, bytes, float, bytes, bytes, bytes]


class SqliteStore:
    """A `Store` in one file, opened at its first use and safe to use from any thread and process.

    Args:
        path: the file; its folder is made when missing, readable by this user only.
        lease_seconds: how long a silent holder on another machine keeps its right to write.
        busy_seconds: how long to wait while another process writes.
        now: the clock, in seconds since the epoch.
        host: the name of this machine, where the system's own will not do.

    Raises `StoreError` from every method when the file cannot be used: full disk, no rights, locked,
    no database, a schema newer than this version.
    """

    durable = True

    def __init__(
        self,
        path: str | Path,
        *,
        lease_seconds: float = 30.0,
        busy_seconds: float = 10.0,
        now: Callable[[], float] = time.time,
        host: str | None = None,
    ) -> None:
        path = checked("SqliteStore", "path", path, path_of("a file", such_as='"runs.db"'))
        self.path = Path(os.path.realpath(Path(path).expanduser()))
        self._database = Database(self.path, SCHEMA, busy_seconds)
        self._now = now
        self._leases = Leases(str(self.path), seconds=lease_seconds, now=now, host=host)

    def acquire(self, session: str) -> HeldLease:
        """Become the writer of a session. Raises `SessionBusy` while its holder lives.

        The lease of a dead process of this machine is taken at once, one of another machine when it
        was silent for `lease_seconds`. One that nobody in this process refers to any more is free.
        """
        with self._database.transaction("IMMEDIATE") as db:
            if _is_deleted(db, session):
                raise is_deleted(session)
            lease, row = self._leases.take(session, _lease_row(db, session))
            values = (session, row.fence, row.owner, row.expires)
            db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", values)
        return lease

    def renew(self, lease: Lease) -> None:
        """Say that the holder lives. Raises `LeaseLost`."""
        with self._database.transaction("IMMEDIATE") as db:
            row = _lease_row(db, lease.session)
            self._leases.check(lease, row)
            self._extend(db, lease, row)

    def release(self, lease: Lease) -> None:
        """Give the right back. Never raises: one that cannot be given back ends with this process."""
        session, fence = lease.session, lease.fence
        self._leases.drop(lease)
        self._database.soon(lambda: self._give_back(session, fence))

    def append(self, lease: Lease, entries: Sequence[LogEntry]) -> None:
        """Keep entries, all or none; they are on disk when this returns. The lease is renewed by it, too.

        Raises `LeaseLost` when another holder came; `StoreError` for a gap in `seq`, for an event
        that is no JSON, and when the disk refuses.
        """
        encoded = [(entry, event_bytes(entry)) for entry in entries]
        session = lease.session
        with self._database.transaction("IMMEDIATE") as db:
            held = _lease_row(db, session)
            self._leases.check(lease, held)
            last, head = _head(db, session)
            if last and db.execute(_HASH, (session, last)).fetchone() != (head,):
                raise StoreDamaged(f"The end of session {session!r} is damaged", fixes=FIXES)
            rows = _chained(session, encoded, last, head)
            size = sum(len(json) for _, json in encoded)
            db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            if rows:
                db.execute(
                    "INSERT INTO heads VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (session) DO UPDATE "
                    "SET entries = excluded.entries, hash = excluded.hash, updated = excluded.updated, "
                    "bytes = heads.bytes + excluded.bytes",
                    (session, rows[-1][1], rows[-1][6], rows[0][3], rows[-1][3], size),
                )
            if self._leases.due(held):
                self._extend(db, lease, held)

    def read(self, session: str, *, after: int = 0) -> Iterator[LogEntry]:
        """The entries of a session with `seq > after`, in order, each checked against its hash.

        What is appended once the reading has begun is not part of it. Raises `StoreDamaged`, naming
        session and entry, at the first bad row; all before it has been given.
        """
        for found in self._walk(session, max(after, 0)):
            if isinstance(found, Damage):
                raise found.error(self.path)
            yield found

    def salvage(self, session: str) -> list[LogEntry]:
        """The entries before the first damage: all of them in a whole log."""
        good: list[LogEntry] = []
        for found in self._walk(session, 0):
            if isinstance(found, Damage):
                break
            good.append(found)
        return good

    def check(self, session: str | None = None) -> list[Damage]:
        """All damage in one session, or in the whole file. Reads everything, so it takes its time."""
        if session is not None:
            found = [step for step in self._walk(session, 0) if isinstance(step, Damage)]
            return found or self._check_times(session)
        found, names = self._check_file()
        for name in names:
            session = _text(name)
            if session.encode() == name:
                found += self.check(session)
            else:
                found.append(Damage(session, 0, "the name of the session is no text"))
        return found

    def sessions(self, *, limit: int | None = None, before: SessionRow | None = None) -> list[SessionRow]:
        """The sessions that have entries, newest first. With a `limit`, the cost depends on it alone.

        Args:
            limit: how many at most; all where it is None.
            before: the last row of the page before; the listing goes on after it.
        """
        where, values = "WHERE b.deleted IS NULL", list[Any]()
        if before is not None:
            where += " AND (h.updated, h.session) < (?, ?)"
            values = [before.updated, before.id]
        return self._list(_LISTED, f"{where} ORDER BY h.updated DESC, h.session DESC", values, limit)

    def landmarks(self, session: str) -> list[LogEntry]:
        """The first entry of a session and those that begin and end its runs, in order.

        Damaged rows are passed over.
        """
        rows: dict[int, tuple[Any, ...]] = {}
        with self._database.transaction() as db:
            for which in _MARKED:
                rows |= {row[1]: row for row in db.execute(_MARKS.format(which), (session,))}
        found = (_entry(session, rows[seq][:7], rows[seq][7] or _GENESIS) for seq in sorted(rows))
        return [entry for entry in found if isinstance(entry, LogEntry)]

    def rename(self, session: str, name: str) -> None:
        """Give a session a name for people. Raises `StoreError` where there is no such session."""
        name = as_name(name)
        with self._database.transaction("IMMEDIATE") as db:
            _known(db, session)
            db.execute(
                "INSERT INTO labels VALUES (?, ?, NULL) ON CONFLICT (session) DO UPDATE "
                "SET name = excluded.name",
                (session, name),
            )

    def delete(self, session: str) -> None:
        """Take a session out of all listings. Raises `SessionBusy`, or `StoreError` for one unknown."""
        with self._database.transaction("IMMEDIATE") as db:
            row = self._leases.closed(session, _lease_row(db, session))
            _known(db, session)
            if _is_deleted(db, session):
                return
            db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, '', 0)", (session, row.fence))
            db.execute(
                "INSERT INTO labels VALUES (?, '', ?) ON CONFLICT (session) DO UPDATE "
                "SET deleted = excluded.deleted",
                (session, self._now()),
            )

    def restore(self, session: str) -> None:
        """Take back a `delete`. Raises `StoreError` for one not deleted."""
        with self._database.transaction("IMMEDIATE") as db:
            if not _is_deleted(db, session):
                raise not_deleted(session)
            db.execute("UPDATE labels SET deleted = NULL WHERE session = ?", (session,))

    def deleted(self, *, limit: int | None = None) -> list[SessionRow]:
        """The sessions that were deleted, the last deleted first."""
        last = "WHERE b.deleted IS NOT NULL ORDER BY b.deleted DESC, b.session DESC"
        return self._list(_GONE, last, [], limit)

    def purge(self, sessions: Sequence[str]) -> list[str]:
        """Remove deleted sessions for good: their bytes are overwritten. Gives those that were removed.

        The file keeps its size and uses the room again.
        """
        with self._database.transaction("IMMEDIATE") as db:
            db.execute("PRAGMA secure_delete = ON")
            gone = [name for name in dict.fromkeys(sessions) if _is_deleted(db, name)]
            for statement in _PURGE:
                db.executemany(statement, [(name,) for name in gone])
        if gone:
            self._database.overwrite()
        return gone

    def _list(self, source: str, rest: str, values: list[Any], limit: int | None) -> list[SessionRow]:
        mine = self._leases.mine()
        query = _SESSIONS.format(source, f"{rest} LIMIT ?")
        with self._database.transaction() as db:
            rows = db.execute(query, (*values, -1 if limit is None else max(limit, 0))).fetchall()
        listed = []
        for name, entries, started, updated, fence, owner, expires, called, size, deleted in rows:
            session, lease = _text(name), LeaseRow(fence or 0, _text(owner), expires or 0.0)
            writer = self._leases.writer(session, lease, mine)
            times = started or 0.0, updated or 0.0
            listed.append(
                SessionRow(session, entries or 0, *times, writer, _text(called), size or 0, deleted)
            )
        return listed

    def runs(self, session: str | None = None, *, limit: int = 100) -> list[RunRow]:
        """The runs of one session or of all, newest first.

        The cost depends on `limit` alone, not on what the store holds. A run whose first or last row
        is bad is listed with the status "damaged".
        """
        mine = self._leases.mine()
        limit = max(limit, 0)
        with self._database.transaction() as db:
            if session is None:
                starts = db.execute(_STARTS, (limit,)).fetchall()
            else:
                starts = db.execute(_STARTS_OF_SESSION, (session, limit)).fetchall()
            live = {
                name: self._leases.in_force(name, _lease_row(db, name), mine)
                for name in {_text(row[0]) for row in starts}
            }
            return [_run_row(db, row, live) for row in starts]

    def questions(self, *, limit: int = 1000) -> list[LogEntry]:
        """The latest questions, answers and revoked grants of all sessions, newest first."""
        with self._database.transaction() as db:
            rows = db.execute(_QUESTIONS, (max(limit, 0),)).fetchall()
        found = (_entry(_text(row[0]), row[:7], row[7] or _GENESIS) for row in rows)
        return [entry for entry in found if isinstance(entry, LogEntry)]

    def close(self) -> None:
        """Let go of the file. Leases stay as they are, and any later call opens the file again."""
        self._database.close()

    def __repr__(self) -> str:
        return f"SqliteStore({str(self.path)!r})"

    def _check_file(self) -> tuple[list[Damage], list[bytes]]:
        """What SQLite itself finds, and the names of all sessions that can be found."""
        found: list[Damage] = []
        names: list[bytes] = []
        try:
            with self._database.transaction() as db:
                found += [
                    Damage("", 0, text) for (text,) in db.execute("PRAGMA integrity_check") if text != "ok"
                ]
        except StoreDamaged as error:
            found.append(Damage("", 0, f"{error.title} ({error.cause})"))
        try:
            with self._database.transaction() as db:
                names += [name for (name,) in db.execute(_NAMES)]
        except StoreDamaged as error:
            found.append(Damage("", 0, f"{error.title} ({error.cause})"))
        return found, names

    def _check_times(self, session: str) -> list[Damage]:
        with self._database.transaction() as db:
            wrong = db.execute(_WRONG_TIMES, (session,)).fetchone()
        return [Damage(session, 0, "the listing has other times than the log")] if wrong else []

    def _give_back(self, session: str, fence: int) -> None:
        if not self.path.exists():
            return
        with suppress(StoreError), self._database.transaction("IMMEDIATE") as db:
            db.execute(
                "UPDATE leases SET owner = '', expires = 0 WHERE session = ? AND fence = ?", (session, fence)
            )

    def _walk(self, session: str, after: int) -> Iterator[LogEntry | Damage]:
        """The entries after `after`, and a Damage in the place of each that is bad or missing."""
        last = after
        try:
            head, end, previous = self._ends(session, after)
            while last < end:
                rows = self._rows(session, last, end)
                for row in rows:
                    if not isinstance(row[1], int) or row[1] <= last:
                        yield Damage(session, last + 1, "the index of the rows leads astray")
                        return
                    if row[1] != last + 1:
                        yield Damage(session, last + 1, f"missing, up to entry {row[1] - 1}")
                    yield _entry(session, row, previous)
                    last, previous = row[1], row[6]
                if not rows:
                    yield Damage(session, last + 1, f"missing, up to the end at entry {end}")
                    return
            if last == end and head != (end, previous):
                yield Damage(session, end, "the end of the log is not the one that was written last")
        except StoreDamaged as error:
            yield Damage(session, last + 1, f"{error.title} ({error.cause})")

    def _ends(self, session: str, after: int) -> tuple[tuple[int, bytes], int, bytes]:
        """Last number and hash by the head of the log, last number by its rows, and the hash at `after`."""
        with self._database.transaction() as db:
            head = _head(db, session)
            (last,) = db.execute(
                "SELECT CAST(max(seq) AS INTEGER) FROM events WHERE session = ?", (session,)
            ).fetchone()
            end = max(head[0], last or 0)
            at = None
            if 0 < after <= end:
                at = db.execute(_HASH, (session, after)).fetchone()
        return head, end, at[0] if at else _GENESIS

    def _rows(self, session: str, last: int, end: int) -> list[_Row]:
        """Some rows, few enough for memory; between two calls nobody has to wait for the reader."""
        rows: list[_Row] = []
        size = 0
        with (
            self._database.transaction() as db,
            closing(db.execute(_ENTRIES, (session, last, end, _ROWS_AT_A_TIME))) as cursor,
        ):
            try:
                for row in cursor:
                    rows.append(row)
                    size += len(row[5] or b"")
                    if size > _BYTES_AT_A_TIME:
                        break
            except db.DatabaseError:
                if not rows:  # else they are good: the next call meets the error again, with none before it
                    raise
        return rows

    def _extend(self, db: "Connection", lease: Lease, row: LeaseRow) -> None:
        expires = self._leases.renewed(row).expires
        db.execute("UPDATE leases SET expires = ? WHERE session = ?", (expires, lease.session))


def _lease_row(db: "Connection", session: str) -> LeaseRow:
    row = db.execute(_LEASE, (session,)).fetchone()
    return LeaseRow(row[0] or 0, _text(row[1]), row[2] or 0.0) if row else LeaseRow()


def _is_deleted(db: "Connection", session: str) -> bool:
    query = "SELECT 1 FROM labels WHERE session = ? AND deleted IS NOT NULL"
    return db.execute(query, (session,)).fetchone() is not None


def _known(db: "Connection", session: str) -> None:
    if db.execute("SELECT 1 FROM heads WHERE session = ?", (session,)).fetchone() is None:
        raise unknown(session)


def _head(db: "Connection", session: str) -> tuple[int, bytes]:
    """Number and hash of the last entry, as they were noted beside the log."""
    row = db.execute(_HEAD, (session,)).fetchone() or (0, _GENESIS)
    return row[0] or 0, row[1] or b""


def _chained(session: str, encoded: Sequence[tuple[LogEntry, bytes]], last: int, head: bytes) -> list[Any]:
    rows = []
    for seq, (entry, json) in enumerate(encoded, last + 1):
        if entry.seq != seq or entry.session != session:
            raise out_of_order(session, seq, entry.session, entry.seq)
        stamp = float(entry.time) + 0.0  # SQLite keeps no negative zero
        kind = entry.event.type
        head = _digest(head, session.encode(), seq, entry.run.encode(), stamp, kind.encode(), json)
        rows.append((session, seq, entry.run, stamp, kind, json.decode(), head))
    return rows


def _digest(
    previous: bytes, session: bytes, seq: int, run: bytes, ts: float, kind: bytes, json: bytes
) -> bytes:
    import hashlib

    frame = _FRAME.pack(previous, seq, ts, len(session), len(run), len(kind), len(json))
    return hashlib.sha256(b"".join((frame, session, run, kind, json))).digest()


def _entry(session: str, row: _Row, previous: bytes) -> LogEntry | Damage:
    seq, run, ts, json, stored = row[1], row[2], row[3], row[5], row[6]
    try:
        whole = _digest(previous, *row[:6]) == stored
    except (TypeError, struct.error):  # a value changed its type
        whole = False
    if not whole:
        return Damage(session, seq, "the row does not match its hash")
    try:
        return LogEntry(session, seq, run.decode(), ts, event_from_json(json))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return unread(session, seq, error)


def _run_row(db: "Connection", start: tuple[Any, ...], live: Mapping[str, bool]) -> RunRow:
    session, run = _text(start[0]), _text(start[2])
    begun = _entry(session, start[:7], start[7] or _GENESIS)
    if isinstance(begun, Damage) or not isinstance(begun.event, RunStarted):
        return RunRow(session, run, 0.0, "", "", "damaged")
    status = "running" if live[session] else "interrupted"
    end = db.execute(_END, (session, run)).fetchone()  # RunFinished, if there is one, comes first
    if end is not None:
        status = _end_status(_entry(session, end[:7], end[7] or _GENESIS))
    return RunRow(session, run, begun.time, begun.event.goal, begun.event.model, status)


def _end_status(found: LogEntry | Damage) -> str:
    match found:
        case LogEntry(event=RunFinished(status=status)):
            return status
        case LogEntry(event=RunInterrupted()):
            return "interrupted"
        case _:
            return "damaged"


def _text(name: bytes | None) -> str:
    return (name or b"").decode(errors="replace")
