"""Mirror: a folder with one Markdown file for each lasting note, which people edit and version as they like.

`sync` brings folder and notes together, from wherever a change came:

- A file that was edited changes its note; one that was added becomes a note, with the dates that it says, or
  those of the file; one that was deleted forgets its note, which can be undone.
- A note that was changed elsewhere is written into its file, whole or not at all.
- Where both changed, each field is what the one who changed it made of it. Of a field that both changed the
  later one wins; that is told, what lost is a version of the note, and an undo brings it back.

A file is left as its writer made it, byte for byte, until its note is changed elsewhere. What cannot be read
is told and left alone. Files are written within a transaction of the store, so that of several processes one
writes at a time; `files` in the store says how file and note were when they last agreed, and after a crash
the next `sync` goes on from there. Notes of a session or notebook have no files.
"""

import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from loom_nb.border import clean
from loom_nb.capabilities.memory import tables
from loom_nb.capabilities.memory.front_matter import MOST_BYTES, FileNote, parsed, rendered
from loom_nb.capabilities.memory.merging import content, merged
from loom_nb.capabilities.memory.notes import Note, Provenance, id_of
from loom_nb.capabilities.memory.store import NoteStore
from loom_nb.errors import LoomError, LoomUsageError, SetupError, StoreError
from loom_nb.wording import counted

if TYPE_CHECKING:
    from sqlite3 import Connection

CHUNK = 100
"""Files and notes of one transaction."""
_DEEP = 8
"""Folders within the folder."""
_MANY = 3
"""If so many files, and all there were, are gone at once, that is no wish to forget."""
_RACY = 2.0
"""Seconds in which a file may have been changed twice within one tick of its clock."""
_TMP = re.compile(r"\.loom-[0-9a-f]{16}\.tmp")
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK, errno.ENXIO)
"""What is no file of ours to read: gone, a link, a socket."""
_FILE = Provenance("file")
_T = TypeVar("_T")


@dataclass(slots=True)
class SyncReport:
    """What became of folder and notes."""

    added: list[str] = field(default_factory=list)
    """Ids of notes that came from new files."""
    edited: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    """Paths of files."""
    removed: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    """Ids of notes of which a field was changed in both places."""
    problems: tuple[str, ...] = ()
    """What could not be read or written, in words. The next `sync` says it again, where that is still so."""
    told_once: list[str] = field(default_factory=list)
    """What lost in a conflict, and that files were written anew, in words. No later `sync` says it again."""

    def __bool__(self) -> bool:
        return any((self.added, self.edited, self.forgotten, self.written, self.removed, self.conflicts))


class _Row(msgspec.Struct, frozen=True):
    """How a file and its note were when they last agreed."""

    path: str
    note: str
    version: int
    sha256: str
    mtime: int
    size: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as it was judged."""

    sha256: str = ""
    told: FileNote | None = None
    """What it says; None where it is as it was, or is refused."""
    refused: str = ""
    """Why it is not taken over."""


def folder_key(folder: Path) -> str:
    """By which the notes of a folder are kept apart from those of others."""
    return hashlib.sha256(os.fsencode(_real(folder))).hexdigest()[:16]


class Mirror:
    """One folder and the notes of one store.

    Args:
        folder: made when missing, `~` allowed.
        store: the notes.
        now: seconds since the epoch, UTC.
    """

    def __init__(self, folder: Path, store: NoteStore, now: Callable[[], float] = time.time) -> None:
        self.folder = Path(_real(folder))
        self._key = str(self.folder)
        self._store = store
        self._now = now

    def sync(self) -> SyncReport:
        """Bring folder and notes together; what was done. Any process may do this at any time.

        Raises:
            SetupError: the folder cannot be made or read.
            StoreError: the store cannot.
        """
        report = SyncReport()
        problems: list[str] = []
        fresh = not self.folder.is_dir()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            there = _scan(self.folder)
        except OSError as error:
            raise SetupError(
                f"the folder of the notes, {self.folder}, cannot be used", cause=str(error.strerror)
            ) from None
        files = _with_plain_names(there.files, problems)
        problems += [f"{path} cannot be read: {why}" for path, why in there.closed.items()]
        with self._store.writing() as db:
            rows = {row.path: row for row in self._rows(db)}
            self._tidy(there.debris)
        looks = [path for path, found in files.items() if self._differs(found, rows.get(path))]
        gone = [row for path, row in rows.items() if path not in files and _is_gone(self.folder / path)]
        lost = fresh or (len(gone) >= _MANY and len(gone) == len(rows) and not looks)
        if lost and gone:
            report.told_once.append(
                f"all files of {self.folder} were gone: {counted(len(gone), 'note')} written anew"
            )
        for start in range(0, len(looks), CHUNK):
            seen = [(path, self._seen(path, rows.get(path))) for path in looks[start : start + CHUNK]]
            self._each(seen, lambda db, one: self._look(db, *one, report, problems))
        batch = [0]
        self._each(gone, lambda db, row: self._gone(db, row, report, batch, lost))
        with self._store.writing() as db:
            rows = {row.note: row for row in self._rows(db)}
            versions = dict(db.execute("SELECT id, version FROM notes WHERE place = ''"))
        stale = [one for one, at in versions.items() if one not in rows or rows[one].version != at]
        self._each(stale, lambda db, note_id: self._write(db, note_id, report, problems))
        dead = [row for one, row in rows.items() if one not in versions]
        self._each(dead, lambda db, row: self._unlink(db, row, report, problems))
        report.problems = tuple(problems)
        return report

    # -- from the folder ---------------------------------------------------------------------------------

    def _seen(self, path: str, row: _Row | None) -> "_Seen":
        """What a file says, judged. Whether it holds a secret may take a moment to say: nobody waits for a
        lock of the store meanwhile.
        """
        try:
            found = self._read(path)
        except OSError:
            return _Seen()  # it is told by `_look`, which reads it, too
        if found is None:
            return _Seen()
        sha = hashlib.sha256(found[0]).hexdigest()
        if row is not None and row.sha256 == sha:
            return _Seen(sha)
        try:
            told = parsed(found[0])
            self._refuse_secret(told)
        except StoreError:
            raise
        except LoomError as error:
            return _Seen(sha, None, error.title)
        return _Seen(sha, told)

    def _look(
        self, db: "Connection", path: str, seen: "_Seen", report: SyncReport, problems: list[str]
    ) -> None:
        """Take over a file that is new or other than it was, unless it has changed since it was judged: the
        next `sync` looks.
        """
        try:
            found = self._read(path)
        except OSError as error:
            problems.append(f"{path} is not taken over: {error.strerror}")
            return
        if found is None:
            return
        data, status = found
        sha = hashlib.sha256(data).hexdigest()
        row = self._row(db, path)
        if row is not None and row.sha256 == sha:
            self._agree(db, path, row.note, row.version, sha, status)
            return
        if seen.sha256 != sha:
            return
        if seen.refused:
            problems.append(f"{path} is not taken over: {seen.refused}")
        elif seen.told is not None:
            row = row or self._moved(db, seen.told, sha)
            self._take(db, path, seen.told, row, sha, status, report)

    def _take(
        self, db: "Connection", path: str, told: FileNote, row: _Row | None, sha: str, status: os.stat_result,
        report: SyncReport,
    ) -> None:  # fmt: skip
        """Make a note of what a file says, or of both."""
        note_id = row.note if row else ""
        if row is None and told.id and not self._rows(db, note=told.id):
            note_id = told.id  # a file of another checkout, or one that was put back
        note = tables.read(db, note_id) if note_id else None
        if note is not None and note.place and row is None:  # of a session or notebook: no file bears its id
            note_id, note = "", None
        if note is None:
            note = self._new(db, told, note_id, status)
            report.added.append(note.id)
            version = note.version
        elif content(note) == content(msgspec.structs.replace(note, **told.fields)):
            version = note.version
        else:  # where the file is not yet what the note is, it is written next
            version = self._both(db, path, note, told, row, status, report)
        if row is not None and row.path != path:
            db.execute("DELETE FROM files WHERE folder = ? AND path = ?", (self._key, row.path))
        self._agree(db, path, note.id, version, sha, status)

    def _both(
        self, db: "Connection", path: str, note: Note, told: FileNote, row: _Row | None,
        status: os.stat_result, report: SyncReport,
    ) -> int:  # fmt: skip
        """Take what a file says otherwise into its note; the version that the file is then.

        That is the one that file and note had last where the file is to be written again.
        """
        agreed = row.version if row is not None else 0
        told_now = msgspec.structs.replace(note, **told.fields)
        versions = _versions(db, note.id)
        base = next((one for one in versions if one.version == agreed), None)
        if agreed != note.version and any(
            one.version > agreed and content(one) == content(told_now) for one in versions
        ):
            return agreed  # nobody edited the file, which only was not written since
        made = merged(base, note, told.fields, is_later=status.st_mtime > note.updated)
        if content(made.note) != content(note):
            note = self._edited(db, made.note, status)
            report.edited.append(note.id)
        if made.lost is not None:
            lost = msgspec.structs.replace(made.lost, version=note.version)
            tables.version(db, lost, "conflict", self._now(), _FILE)
        if made.clashes:
            report.conflicts.append(note.id)
            later, other = ("the note", "file") if made.lost is not None else ("the file", "note")
            report.told_once.append(
                f"{path} and its note {note.id} were both changed, {later} later, whose "
                f"{' and '.join(made.clashes)} holds: an undo of the note brings back what the {other} said"
            )
        return note.version if content(note) == content(told_now) else agreed

    def _new(self, db: "Connection", told: FileNote, note_id: str, status: os.stat_result) -> Note:
        salt = 0
        taken = "SELECT 1 FROM versions WHERE note = ?"
        while not note_id or (salt and db.execute(taken, (note_id,)).fetchone()):
            note_id, salt = id_of(told.fields["text"], salt), salt + 1
        row = db.execute(tables.LATEST, (note_id,)).fetchone()
        before = tables.decoded(row[0]) if row else None
        changed = status.st_mtime
        created = told.created if told.created is not None else before.created if before else changed
        updated = told.updated if told.updated is not None else changed
        note = Note(
            id=note_id, by=_FILE, created=created, updated=updated,
            version=before.version + 1 if before else 1, **told.fields,
        )  # fmt: skip
        tables.write(db, note)
        tables.version(db, note, "added", self._now(), _FILE)
        return note

    def _edited(self, db: "Connection", note: Note, status: os.stat_result) -> Note:
        note = msgspec.structs.replace(
            note, version=note.version + 1, updated=max(note.updated, min(status.st_mtime, self._now())),
            by=_FILE,
        )  # fmt: skip
        tables.write(db, note)
        tables.version(db, note, "edited", self._now(), _FILE)
        return note

    def _gone(
        self, db: "Connection", row: _Row, report: SyncReport, batch: list[int], lost: bool
    ) -> None:  # fmt: skip
        """Forget the note of a file that was deleted, unless it was changed elsewhere meanwhile."""
        if self._row(db, row.path) != row or not _is_gone(self.folder / row.path):
            return
        db.execute("DELETE FROM files WHERE folder = ? AND path = ?", (self._key, row.path))
        note = tables.read(db, row.note)
        if note is not None and note.version == row.version and not lost:
            tables.remove(db, note.id)
            batch[0] = tables.version(db, note, "forgotten", self._now(), _FILE, batch[0])
            report.forgotten.append(note.id)

    def _moved(self, db: "Connection", told: FileNote, sha: str) -> _Row | None:
        """The row of a file that lay elsewhere before: of this id, or of these very bytes, and gone there."""
        rows = self._rows(db, note=told.id) if told.id else self._rows(db, sha256=sha)
        return next((row for row in rows if _is_gone(self.folder / row.path)), None)

    def _refuse_secret(self, told: FileNote) -> None:
        fields = told.fields
        words = (fields["text"], fields["category"], *fields["tags"], *_words_in(fields["extra"]))
        whole = " ".join(words)
        if any(self._store.clean(one) != one for one in words) or self._store.without_secrets(whole) != whole:
            raise LoomUsageError("it holds what is a secret, or looks like one")

    # -- into the folder ---------------------------------------------------------------------------------

    def _write(self, db: "Connection", note_id: str, report: SyncReport, problems: list[str]) -> None:
        """Write a note into its file, unless somebody changed that meanwhile: the next `sync` looks."""
        note = tables.read(db, note_id)
        if note is None or note.place:
            return
        rows = self._rows(db, note=note_id)
        row = rows[0] if rows else None
        if row is not None and row.version == note.version:
            return
        path = row.path if row else self._free(note)
        data = rendered(note)
        try:
            if row is not None and not _is_gone(self.folder / path):
                there = self._read(path)
                if there is None or hashlib.sha256(there[0]).hexdigest() != row.sha256:
                    return
            status = _put(self.folder / path, data)
        except OSError as error:
            problems.append(f"{path} was not written: {error.strerror}")
            return
        self._agree(db, path, note_id, note.version, hashlib.sha256(data).hexdigest(), status)
        report.written.append(path)

    def _unlink(self, db: "Connection", row: _Row, report: SyncReport, problems: list[str]) -> None:
        """Take away the file of a note that was forgotten, unless somebody changed it since.

        Where that cannot be done, the next `sync` tries again.
        """
        note = tables.read(db, row.note)
        if self._row(db, row.path) != row or (note is not None and not note.place):
            return
        try:
            found = self._read(row.path)
            if found is not None:
                if hashlib.sha256(found[0]).hexdigest() != row.sha256:
                    return
                (self.folder / row.path).unlink(missing_ok=True)
                report.removed.append(row.path)
        except OSError as error:
            problems.append(f"{row.path} was not removed: {error.strerror}")
            return
        db.execute("DELETE FROM files WHERE folder = ? AND path = ?", (self._key, row.path))

    def _free(self, note: Note) -> str:
        slug = "-".join(re.findall(r"[^\W_]+", note.text.casefold())[:6])[:40].strip("-")
        stem = f"{slug}-{note.id}" if slug else note.id
        names = (f"{stem}{f'-{n}' if n else ''}.md" for n in range(10_000))
        return next(name for name in names if not os.path.lexists(self.folder / name))

    # -- both --------------------------------------------------------------------------------------------

    def _each(self, things: Sequence[_T], act: Callable[["Connection", _T], None]) -> None:
        """Do something with each, some in one transaction."""
        for start in range(0, len(things), CHUNK):
            with self._store.writing() as db:
                for one in things[start : start + CHUNK]:
                    act(db, one)

    def _rows(self, db: "Connection", note: str = "", sha256: str = "") -> list[_Row]:
        where = "note = ?" if note else "sha256 = ?" if sha256 else "'' = ?"
        find = f"SELECT path, note, version, sha256, mtime, size FROM files WHERE folder = ? AND {where}"  # noqa: S608  our own words
        return [_Row(*row) for row in db.execute(find, (self._key, note or sha256))]

    def _row(self, db: "Connection", path: str) -> _Row | None:
        find = "SELECT path, note, version, sha256, mtime, size FROM files WHERE folder = ? AND path = ?"
        row = db.execute(find, (self._key, path)).fetchone()
        return _Row(*row) if row else None

    def _agree(
        self, db: "Connection", path: str, note: str, version: int, sha: str, status: os.stat_result
    ) -> None:
        db.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._key, path, note, version, sha, status.st_mtime_ns, status.st_size),
        )

    def _differs(self, found: os.stat_result, row: _Row | None) -> bool:
        if row is None or (found.st_mtime_ns, found.st_size) != (row.mtime, row.size):
            return True
        return abs(self._now() - found.st_mtime) < _RACY

    def _read(self, path: str) -> tuple[bytes, os.stat_result] | None:
        """The bytes of a file within the folder; None where it is gone, a link, or no file.

        Raises OSError where it cannot be read.
        """
        place = self.folder / path
        if not place.parent.resolve().is_relative_to(self.folder):
            return None
        try:
            fd = os.open(place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except OSError as error:
            if error.errno in _NO_FILE:
                return None
            raise
        with open(fd, "rb") as file:  # noqa: PTH123  by its number: what was opened is what is read
            status = os.fstat(fd)
            return (file.read(MOST_BYTES + 1), status) if stat.S_ISREG(status.st_mode) else None

    def _tidy(self, debris: Iterable[str]) -> None:
        """Remove what a crash left behind. Within a transaction: nobody else writes files now, and what was
        being written when the folder was looked through has its own name by now.
        """
        for path in debris:
            with suppress(OSError):
                (self.folder / path).unlink()


@dataclass(slots=True)
class _There:
    """What lies in a folder, by path."""

    files: dict[str, os.stat_result] = field(default_factory=dict)
    """Markdown, hidden ones and links left out."""
    debris: list[str] = field(default_factory=list)
    """What a crash left behind, or is being written just now."""
    closed: dict[str, str] = field(default_factory=dict)
    """Folders and files of which nothing is known, with the reason."""


def _scan(folder: Path) -> _There:
    """What lies in a folder. Raises OSError where the folder itself cannot be read."""
    found = _There()
    _into(found, folder, "", 0)
    return found


def _into(found: _There, folder: Path, inside: str, depth: int) -> None:
    with os.scandir(folder / inside) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = f"{inside}{entry.name}"
            try:
                _enter(found, folder, entry, path, depth)
            except FileNotFoundError:
                continue
            except OSError as error:
                found.closed[clean(path)] = str(error.strerror)


def _enter(found: _There, folder: Path, entry: "os.DirEntry[str]", path: str, depth: int) -> None:
    if _TMP.fullmatch(entry.name):
        found.debris.append(path)
    elif entry.name.startswith("."):
        return
    elif entry.is_dir(follow_symlinks=False):
        if depth < _DEEP:
            _into(found, folder, f"{path}/", depth + 1)
    elif entry.name.endswith(".md") and entry.is_file(follow_symlinks=False):
        found.files[path] = entry.stat(follow_symlinks=False)


def _is_gone(place: Path) -> bool:
    """Whether it is certain that nothing lies there: a folder that cannot be looked into may hold it."""
    try:
        place.lstat()
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR)
    return False


def _with_plain_names(files: dict[str, os.stat_result], problems: list[str]) -> dict[str, os.stat_result]:
    """The files whose names can be kept; of the others it is told."""
    odd = [path for path in files if not _is_text(path)]
    problems += [f"{clean(path)!r} is not taken over: its name is no UTF-8" for path in odd]
    return {path: status for path, status in files.items() if path not in odd} if odd else files


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _put(place: Path, data: bytes) -> os.stat_result:
    """Give a file this content at once: whoever reads it sees the old or the new."""
    name = place.parent / f".loom-{secrets.token_hex(8)}.tmp"
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o644)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123  by its number
            file.write(data)
            file.flush()
            os.fsync(fd)
            status = os.fstat(fd)
        name.replace(place)
    except BaseException:
        with suppress(OSError):
            name.unlink()
        raise
    return status


def _versions(db: "Connection", note_id: str) -> list[Note]:
    """What a note said at any time, the latest first; what lost in a conflict was never said."""
    find = "SELECT body FROM versions WHERE note = ? AND change <> 'conflict' ORDER BY seq DESC"
    told = (tables.decoded(body) for (body,) in db.execute(find, (note_id,)))
    return [one for one in told if one is not None]


def _words_in(value: Any) -> Iterator[str]:
    """All names and values of some front matter."""
    if isinstance(value, dict):
        yield from (one for pair in value.items() for part in pair for one in _words_in(part))
    elif isinstance(value, list):
        yield from (one for part in value for one in _words_in(part))
    elif value is not None:
        yield str(value)


def _real(folder: Path) -> str:
    return os.path.realpath(Path(folder).expanduser())
