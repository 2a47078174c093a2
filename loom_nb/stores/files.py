"""Keeps the log of every session in a file of its own, as lines of JSON that any program can read.

What is acknowledged survives the process and the power cut: each append is written at the end of its
file and waited for. Damage stays in its file: the other sessions are not concerned. Writers of
different sessions do not wait for each other's disk.

::

    folder/sessions/nb-1-….jsonl     the log of a session, the truth
    folder/sessions/nb-1-….lease     who writes it, how much was acknowledged, its name, if it is deleted
    folder/*.index                   where runs, questions and sessions are; made anew when missing
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from loom_nb.checks import checked, path_of
from loom_nb.database import INSIDE
from loom_nb.errors import StoreError
from loom_nb.events import LogEntry, RunFinished, RunStarted
from loom_nb.protocols import Lease, RunRow, SessionRow
from loom_nb.stores.damage import Damage
from loom_nb.stores.disk import create, locked, open_file, sync, told, write_at
from loom_nb.stores.labels import as_name, is_deleted, not_deleted, unknown
from loom_nb.stores.leases import HeldLease, Leases, Owner, lost
from loom_nb.stores.segments import (
    ENDS,
    LANDMARKS,
    QUESTIONS,
    STARTS,
    Damaged,
    End,
    Line,
    Segment,
    beginning,
    encode,
    head,
)
from loom_nb.stores.slots import Note, read_note, write_note
from loom_nb.stores.timeline import Mark, Timeline

_LOG, _LEASE = ".jsonl", ".lease"
_SLUG = 40
_GONE = "the file of its log is gone"


class FileSessionStore:
    """A `Store` in one folder of plain files, safe to use from any thread and process.

    Args:
        path: the folder; it is made at the first use, readable by this user only.
        lease_seconds: how long a silent holder on another machine keeps its right to write.
        busy_seconds: how long to wait while another process writes.
        now: the clock, in seconds since the epoch.
        host: the name of this machine, where the system's own will not do.

    Raises `StoreError` from every method when the folder cannot be used: full disk, no rights, a log
    of a newer version.
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
        path = checked("FileSessionStore", "path", path, path_of(such_as='"runs"'))
        self.path = Path(os.path.realpath(Path(path).expanduser()))
        self._sessions = self.path / "sessions"
        self._busy_seconds = busy_seconds
        self._now = now
        self._leases = Leases(str(self.path), seconds=lease_seconds, now=now, host=host)
        self._starts = Timeline(self.path / "runs.index", self._index, lambda: self._survey(STARTS))
        self._asked = Timeline(self.path / "questions.index", self._index, lambda: self._survey(QUESTIONS))
        self._touched = Timeline(
            self.path / "sessions.index", self._index, lambda: self._survey(None), moving=True
        )
        self._gone = Timeline(self.path / "deleted.index", self._index, self._survey_deleted, moving=True)

    def acquire(self, session: str) -> HeldLease:
        """Become the writer of a session. Raises `SessionBusy` while its holder lives.

        The lease of a dead process of this machine is taken at once, one of another machine when it
        was silent for `lease_seconds`. One that nobody in this process refers to any more is free.
        What a crash left half written at the end of the log is cut off.
        """
        with self._told():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sessions.mkdir(mode=0o700, exist_ok=True)
            with self._noted(session, make=True) as (descriptor, note):
                if note.deleted is not None:
                    raise is_deleted(session)
                lease, row = self._leases.take(session, note.lease)
                self._cut(session, note.size)
                write_note(descriptor, write_note(descriptor, note.with_lease(row)))  # mends both slots
                return lease

    def renew(self, lease: Lease) -> None:
        """Say that the holder lives. Raises `LeaseLost`."""
        with self._told(), self._held(lease) as (descriptor, note):
            write_note(descriptor, note.with_lease(self._leases.renewed(note.lease)))

    def release(self, lease: Lease) -> None:
        """Give the right back. Never raises: one that cannot be given back ends with this process."""
        self._leases.drop(lease)
        session, fence = lease.session, lease.fence
        INSIDE.soon(lambda: self._give_back(session, fence))

    def append(self, lease: Lease, entries: Sequence[LogEntry]) -> None:
        """Keep entries, all or none; they are on disk when this returns. The lease is renewed by it, too.

        Raises `LeaseLost` when another holder came; `StoreError` for a gap in `seq`, for an event
        that is no JSON, and when the disk refuses.
        """
        with self._told(), self._held(lease) as (descriptor, note):
            due = self._leases.due(note.lease)
            then = note.with_lease(self._leases.renewed(note.lease)) if due else note
            if entries:
                then = then.with_size(self._extend(lease.session, entries, note.size))
            if then is not note:
                with suppress(OSError):  # the entries are kept; what is noted may lag behind
                    write_note(descriptor, then)

    def read(self, session: str, *, after: int = 0) -> Iterator[LogEntry]:
        """The entries of a session with `seq > after`, in order, each checked against its sum.

        What is appended once the reading has begun is not part of it. Raises `StoreDamaged`, naming
        session and entry, at the first bad line; all before it has been given.
        """
        for found in self._walk(session, max(after, 0)):
            if isinstance(found, Damage):
                raise found.error(self._file(session, _LOG))
            yield found

    def salvage(self, session: str) -> list[LogEntry]:
        """The entries before the first damage: all of them in a whole log."""
        return [found for found in self._walk(session, 0) if isinstance(found, LogEntry)]

    def check(self, session: str | None = None) -> list[Damage]:
        """The first damage of one session, or of each. Reads everything, so it takes its time."""
        if session is not None:
            return [found for found in self._walk(session, 0) if isinstance(found, Damage)]
        found: list[Damage] = []
        with self._told():
            names = self._names()
        for name in names:
            with self._told():
                try:
                    with self._segment(name) as segment:
                        known = segment.session
                except Damaged as error:
                    found.append(error.damage)
                    continue
                except FileNotFoundError:
                    if self._note(name).size:
                        found.append(Damage(name, 0, _GONE))
                    continue
            found += self.check(known)
        return found

    def reindex(self) -> None:
        """Make the listings anew from the logs, for example when files were brought from elsewhere."""
        with self._told():
            for timeline in (self._starts, self._asked, self._touched, self._gone):
                timeline.remake()

    def sessions(self, *, limit: int | None = None, before: SessionRow | None = None) -> list[SessionRow]:
        """The sessions that have entries, newest first. With a `limit`, most of the cost depends on it.

        Args:
            limit: how many at most; all where it is None.
            before: the last row of the page before; the listing goes on after it.
        """
        mine, wanted = self._leases.mine(), limit
        with self._told():
            while True:
                marks = self._marks(self._touched, wanted, before)
                rows = [row for mark in marks for row in self._session_row(mark, mine)]
                if before is not None:
                    rows = [row for row in rows if (row.updated, row.id) < (before.updated, before.id)]
                if wanted is None or limit is None or len(rows) >= limit or len(marks) < wanted:
                    break
                wanted *= 2  # some had promised what their logs did not take
        rows.sort(key=lambda row: (row.updated, row.id), reverse=True)
        return rows if limit is None else rows[: max(limit, 0)]

    def runs(self, session: str | None = None, *, limit: int = 100) -> list[RunRow]:
        """The runs of one session or of all, newest first.

        The cost depends on `limit` and on what happened in their sessions since, not on what the
        store holds. A run whose first or last line is bad is listed with the status "damaged".
        """
        mine, limit = self._leases.mine(), max(limit, 0)
        with self._told():
            if session is not None:
                found = self._runs_of(session, mine, limit)
                return [row for _, row in sorted(found, key=lambda pair: pair[0], reverse=True)[:limit]]
            wanted = limit
            while True:
                marks = self._marks(self._starts, wanted, None)
                rows = self._listed(marks, mine)
                if len(rows) >= limit or len(marks) < wanted:
                    break
                wanted *= 2
        rows.sort(key=lambda pair: (pair[1].started, pair[1].session, pair[0]), reverse=True)
        return [row for _, row in rows[:limit]]

    def questions(self, *, limit: int = 1000) -> list[LogEntry]:
        """The latest questions, answers and revoked grants of all sessions, newest first."""
        wanted = limit = max(limit, 0)
        with self._told():
            while True:
                marks = self._marks(self._asked, wanted, None)
                found = [
                    entry for name, here in _by_name(marks).items() for entry in self._asked_in(name, here)
                ]
                if len(found) >= limit or len(marks) < wanted:
                    break
                wanted *= 2
        found.sort(key=lambda entry: (entry.time, entry.session, entry.seq), reverse=True)
        return found[:limit]

    def landmarks(self, session: str) -> list[LogEntry]:
        """The first entry of a session and those that begin and end its runs, in order.

        Damaged lines are passed over.
        """
        with self._told():
            try:
                with self._segment(file_name(session), session) as segment:
                    lines = [line for line in _landmarks(segment)[1] if line.kind in STARTS | ENDS]
                    first = segment.at(segment.start)
            except (FileNotFoundError, Damaged):
                return []
        if first is not None and all(line.seq > first.seq for line in lines):
            lines.append(first)
        found = (line.entry(session) for line in reversed(lines))
        return [entry for entry in found if isinstance(entry, LogEntry)]

    def rename(self, session: str, name: str) -> None:
        """Give a session a name for people. Raises `StoreError` where there is no such session."""
        name = as_name(name)
        with self._labelled(session) as (descriptor, note):
            _write_both(descriptor, replace(note, name=name))

    def delete(self, session: str) -> None:
        """Take a session out of all listings. Raises `SessionBusy`, or `StoreError` for one unknown."""
        with self._labelled(session) as (descriptor, note):
            closed = self._leases.closed(session, note.lease)
            if note.deleted is not None:
                return
            moment = self._now()
            self._gone.add([Mark(moment, file_name(session), 1, 0)], durable=True)
            _write_both(descriptor, replace(note.with_lease(closed), deleted=moment))

    def restore(self, session: str) -> None:
        """Take back a `delete`. Raises `StoreError` for one not deleted."""
        with self._labelled(session) as (descriptor, note):
            if note.deleted is None:
                raise not_deleted(session)
            _write_both(descriptor, replace(note, deleted=None))

    def deleted(self, *, limit: int | None = None) -> list[SessionRow]:
        """The sessions that were deleted, the last deleted first."""
        mine, wanted = self._leases.mine(), limit
        with self._told():
            while True:
                marks = self._marks(self._gone, wanted, None)
                rows = [row for mark in marks for row in self._session_row(mark, mine, deleted=True)]
                if wanted is None or limit is None or len(rows) >= limit or len(marks) < wanted:
                    break
                wanted *= 2
        rows.sort(key=lambda row: (row.deleted or 0.0, row.id), reverse=True)
        return rows if limit is None else rows[: max(limit, 0)]

    def purge(self, sessions: Sequence[str]) -> list[str]:
        """Remove the files of deleted sessions, and what the listings say of them. Gives those removed."""
        gone = []
        with self._told():
            for session in dict.fromkeys(sessions):
                with suppress(FileNotFoundError), self._noted(session) as (descriptor, note):
                    if note.deleted is not None:
                        _write_both(descriptor, replace(note, size=0, name=""))
                        self._file(session, _LOG).unlink(missing_ok=True)
                        gone.append(session)
            self._sweep()
        return gone

    def _sweep(self) -> None:
        """Let nothing be left of logs that were purged. Whoever comes meanwhile is told: deleted."""
        left = {mark.name for mark in self._marks(self._gone, None, None) if self._is_purged(mark.name)}
        if not left:
            return
        for timeline in (self._starts, self._asked, self._touched):
            timeline.forget(left)
        for name in left:
            path = self._sessions / (name + _LEASE)
            with (
                suppress(FileNotFoundError, PermissionError),  # Windows keeps what is open: it is empty then
                INSIDE.turn(),
                locked(path, self._busy_seconds, make=False) as descriptor,
            ):
                note = read_note(descriptor, self._now())
                _write_both(descriptor, Note(note.turn, note.fence))
                path.unlink()
        self._gone.forget(left)

    def _is_purged(self, name: str) -> bool:
        return self._note(name).deleted is not None and not (self._sessions / (name + _LOG)).exists()

    def close(self) -> None:
        """Nothing to let go of: files are open only while something is done with them."""

    def __repr__(self) -> str:
        return f"FileSessionStore({str(self.path)!r})"

    # Files and locks

    def _file(self, session: str, suffix: str) -> Path:
        return self._sessions / (file_name(session) + suffix)

    def _names(self) -> list[str]:
        try:
            with os.scandir(self._sessions) as files:
                found = {file.name.rpartition(".")[0] for file in files if file.name.endswith((_LOG, _LEASE))}
        except FileNotFoundError:
            return []
        return sorted(found)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise told(error, self.path) from error

    @contextmanager
    def _noted(self, session: str, *, make: bool = False) -> Iterator[tuple[int, Note]]:
        """What is noted about a session, and the descriptor to note more, while nobody else may."""
        path = self._file(session, _LEASE)
        with INSIDE.turn(), locked(path, self._busy_seconds, make=make) as descriptor:
            yield descriptor, read_note(descriptor, self._now())

    @contextmanager
    def _labelled(self, session: str) -> Iterator[tuple[int, Note]]:
        """What is noted about a session that has a log, and the descriptor to note more."""
        with self._told():
            if not self._file(session, _LOG).exists():
                raise unknown(session)
            with self._noted(session, make=True) as noted:  # a log from elsewhere may have none
                yield noted

    @contextmanager
    def _held(self, lease: Lease) -> Iterator[tuple[int, Note]]:
        try:
            with self._noted(lease.session) as (descriptor, note):
                self._leases.check(lease, note.lease)
                yield descriptor, note
        except FileNotFoundError as error:
            if self._sessions.exists() and not self._file(lease.session, _LOG).exists():
                raise lost(lease.session, lease.fence, "") from None  # it was purged
            raise StoreError(
                f"The store {self.path} was moved or deleted while it was open",
                cause=f"{error.filename} is gone, and nothing was written",
                fixes=("put the folder back", "run the cell again: it begins a new store"),
            ) from None

    def _give_back(self, session: str, fence: int) -> None:
        with suppress(StoreError, OSError), self._noted(session) as (descriptor, note):
            if note.fence == fence:
                write_note(descriptor, replace(note, owner="", expires=0.0))

    @contextmanager
    def _index(self) -> Iterator[None]:
        with INSIDE.turn(), locked(self.path / "index.lock", self._busy_seconds, make=True):
            yield

    def _note(self, name: str) -> Note:
        try:
            descriptor = open_file(self._sessions / (name + _LEASE), os.O_RDONLY)
        except FileNotFoundError:
            return Note()
        try:
            return read_note(descriptor, self._now())
        finally:
            os.close(descriptor)

    def _segment(self, name: str, session: str | None = None) -> Segment:
        kept = self._note(name).size  # before the file is opened: it can only have grown since
        return Segment(self._sessions / (name + _LOG), session, kept)

    # Writing

    def _extend(self, session: str, entries: Sequence[LogEntry], kept: int) -> int:
        """Write entries at the end of the log; how long it is then."""
        path = self._file(session, _LOG)
        try:
            with Segment(path, session, kept) as segment:
                end = segment.end()
        except Damaged as error:
            raise error.damage.error(path) from None
        except FileNotFoundError:
            if kept:
                raise Damage(session, 1, _GONE).error(path) from None
            end = beginning(session)
            data, lines = encode(session, entries, end)
            self._promise(session, lines, new=True)
            create(path, head(session) + data)
            return lines[-1].end
        data, lines = encode(session, entries, end)
        self._promise(session, lines, new=False)
        _write(path, data, end.offset)
        return lines[-1].end

    def _promise(self, session: str, lines: Sequence[Line], *, new: bool) -> None:
        """Tell the listings what is about to be written, so that they never lack what is in a log."""
        name = file_name(session)
        for kinds, timeline in ((STARTS, self._starts), (QUESTIONS, self._asked)):
            marks = [Mark(line.time, name, line.seq, line.offset) for line in lines if line.kind in kinds]
            if marks:
                timeline.add(marks, durable=True)
        self._touched.add([Mark(lines[-1].time, name, lines[-1].seq, lines[-1].offset)], durable=new)

    def _cut(self, session: str, kept: int) -> None:
        """Take away what a crash left half written. What is damaged stays as it is."""
        path = self._file(session, _LOG)
        with suppress(FileNotFoundError, Damaged):
            with Segment(path, session, kept) as segment:
                end, size = segment.end(), segment.size
            if size > end.offset:
                _write(path, b"", end.offset)

    # Reading

    def _walk(self, session: str, after: int) -> Iterator[LogEntry | Damage]:
        name = file_name(session)
        with self._told():
            kept = self._note(name).size
            try:
                segment = Segment(self._sessions / (name + _LOG), session, kept)
            except (Damaged, FileNotFoundError) as error:
                if isinstance(error, Damaged):
                    yield error.damage
                elif kept:
                    yield Damage(session, 1, _GONE)
                return
        with segment, self._told():
            for found in segment.walk(after):
                entry = found.entry(session) if isinstance(found, Line) else found
                yield entry
                if isinstance(entry, Damage):
                    return

    def _marks(self, timeline: Timeline, limit: int | None, before: SessionRow | None) -> list[Mark]:
        if not self._sessions.exists():
            return []
        if before is None:
            return timeline.newest(limit)
        return timeline.newest(limit, until=before.updated)

    def _survey_deleted(self) -> Iterator[Mark]:
        for name in self._names():
            moment = self._note(name).deleted
            if moment is not None:
                yield Mark(moment, name, 1, 0)

    def _survey(self, kinds: frozenset[str] | None) -> Iterator[Mark]:
        """From the logs themselves: the lines of these kinds, or the last line of each log."""
        for name in self._names():
            with suppress(FileNotFoundError, Damaged, StoreError), self._segment(name) as segment:
                end, lines, _ = _landmarks(segment)
                if kinds is not None:
                    marked = [line for line in lines if line.kind in kinds]
                    yield from (Mark(line.time, name, line.seq, line.offset) for line in marked)
                elif end.seq:
                    yield Mark(end.time, name, end.seq, end.offset)

    def _session_row(self, mark: Mark, mine: Owner, *, deleted: bool = False) -> Iterator[SessionRow]:
        """One row, or none where the log did not take what the mark promised, or it is of the other kind."""
        note = self._note(mark.name)
        if (note.deleted is not None) != deleted:
            return
        try:
            with Segment(self._sessions / (mark.name + _LOG), None, note.size) as segment:
                session = segment.session
                first = segment.at(segment.start)
                end = _end(segment)
        except FileNotFoundError:
            return
        except Damaged:  # whose it is cannot be told any more: it is listed by the name of its file
            yield SessionRow(mark.name, 0, mark.time, mark.time, deleted=note.deleted)
            return
        if end.seq:
            started = first.time if first else end.time
            writer = self._leases.writer(session, note.lease, mine)
            size = end.offset - segment.start
            yield SessionRow(
                session, end.seq, started, end.time, writer, note.name, size, deleted=note.deleted
            )

    def _listed(self, marks: Iterable[Mark], mine: Owner) -> list[tuple[int, RunRow]]:
        rows: list[tuple[int, RunRow]] = []
        for name, starts in _by_name(marks).items():
            note = self._note(name)
            if note.deleted is not None:
                continue
            try:
                with Segment(self._sessions / (name + _LOG), None, note.size) as segment:
                    live = self._leases.in_force(segment.session, note.lease, mine)
                    rows += _run_rows(segment, starts, live)
            except FileNotFoundError:
                continue
            except Damaged:
                rows += [(mark.seq, RunRow(name, "", mark.time, "", "", "damaged")) for mark in starts]
        return rows

    def _asked_in(self, name: str, marks: Sequence[Mark]) -> Iterator[LogEntry]:
        """Questions of one session; of a deleted one, the leaves that were taken back."""
        kinds = QUESTIONS if self._note(name).deleted is None else {"GrantRevoked"}
        with suppress(Damaged, FileNotFoundError), self._segment(name) as segment:
            for mark in marks:
                line = segment.at(mark.offset)
                entry = line.entry(segment.session) if line and line.kind in kinds else None
                if isinstance(entry, LogEntry) and entry.seq == mark.seq:
                    yield entry

    def _runs_of(self, session: str, mine: Owner, limit: int) -> list[tuple[int, RunRow]]:
        name = file_name(session)
        note = self._note(name)
        if note.deleted is not None:
            return []
        try:
            with Segment(self._sessions / (name + _LOG), session, note.size) as segment:
                live = self._leases.in_force(session, note.lease, mine)
                return _run_rows(segment, _starts(segment, limit), live)
        except (FileNotFoundError, Damaged):
            return []


def file_name(session: str) -> str:
    """The name of the files of a session, without suffix: for people, and one for each id.

    Lower case, digits and hyphens alone, never longer than 73: no file system mixes up two of them,
    and none leads out of the folder. Raises `StoreError` for an id that is no text.
    """
    import hashlib

    try:
        digest = hashlib.blake2b(session.encode(), digest_size=16).hexdigest()
    except UnicodeEncodeError:
        raise StoreError(f"A name holds a lone surrogate: {session!r}") from None
    slug = re.sub(r"[^a-z0-9]+", "-", session[: 4 * _SLUG].lower())[:_SLUG].strip("-")
    return f"{slug}-{digest}" if slug else digest


def _write_both(descriptor: int, note: Note) -> None:
    """Note it so that no damage of one slot brings back what was before; it is on the disk then."""
    write_note(descriptor, write_note(descriptor, note))
    sync(descriptor)


def _write(path: Path, data: bytes, offset: int) -> None:
    """Let the file end with this, on the disk itself; or leave it as it was."""
    descriptor = open_file(path, os.O_RDWR)
    try:
        os.ftruncate(descriptor, offset)
        try:
            write_at(descriptor, data, offset)
            sync(descriptor)
        except BaseException:
            with suppress(OSError):  # if not even that: whoever writes next cuts it off
                os.ftruncate(descriptor, offset)
            raise
    finally:
        os.close(descriptor)


def _by_name(marks: Iterable[Mark]) -> dict[str, list[Mark]]:
    found: dict[str, list[Mark]] = {}
    for mark in marks:
        found.setdefault(mark.name, []).append(mark)
    return found


def _end(segment: Segment) -> End:
    """The end of a log; of a damaged one, its last good line."""
    try:
        return segment.end()
    except Damaged:
        end = End(segment.start, 0, "", 0)
        for line in segment.survivors():
            end = End(line.end, line.seq, line.sum, line.last_mark, line.time)
        return end


def _landmarks(segment: Segment, until: Callable[[Line], bool] | None = None) -> tuple[End, list[Line], bool]:
    """End of the log, its landmarks, last first, and whether all can be believed to be there."""
    lines: list[Line] = []
    try:
        end = segment.end()
        for line in segment.landmarks(end):
            lines.append(line)
            if until is not None and until(line):
                break
    except Damaged:
        lines = [line for line in segment.survivors() if line.kind in LANDMARKS]
        return _end(segment), lines[::-1], False
    return end, lines, True


def _starts(segment: Segment, limit: int) -> list[Mark]:
    """Where the last runs of a session begin."""
    found = 0

    def enough(line: Line) -> bool:
        nonlocal found
        found += line.kind in STARTS
        return found >= limit

    _, lines, _ = _landmarks(segment, enough)
    return [Mark(line.time, "", line.seq, line.offset) for line in lines if line.kind in STARTS][:limit]


def _run_rows(segment: Segment, starts: Sequence[Mark], live: bool) -> list[tuple[int, RunRow]]:
    """The runs that begin there, with their numbers; marks of what was never written are left out."""
    if not starts:
        return []
    lowest = min(mark.offset for mark in starts)
    end, lines, whole = _landmarks(segment, lambda line: line.offset <= lowest)
    ends: dict[str, str] = {}
    for line in reversed(lines):
        if line.kind in ENDS and not (line.kind == "RunInterrupted" and line.run in ends):
            ends[line.run] = _end_status(line.entry(segment.session))
    unknown = ("running" if live else "interrupted") if whole else "damaged"
    written = max(end.offset, segment.kept)
    found = [(mark, segment.at(mark.offset)) for mark in starts if mark.offset < written]
    return [
        (mark.seq, _run_row(segment.session, mark, line, ends, unknown))
        for mark, line in found
        if line is None or (line.kind in STARTS and line.seq == mark.seq)
    ]


def _run_row(session: str, mark: Mark, line: Line | None, ends: Mapping[str, str], unknown: str) -> RunRow:
    entry = line.entry(session) if line is not None else None
    if isinstance(entry, LogEntry) and isinstance(entry.event, RunStarted):
        status = ends.get(entry.run, unknown)
        return RunRow(session, entry.run, entry.time, entry.event.goal, entry.event.model, status)
    return RunRow(session, line.run if line else "", mark.time, "", "", "damaged")


def _end_status(found: LogEntry | Damage) -> str:
    match found:
        case LogEntry(event=RunFinished(status=status)):
            return status
        case LogEntry():
            return "interrupted"
        case _:
            return "damaged"
