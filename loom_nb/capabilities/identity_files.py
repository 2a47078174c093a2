"""SOUL.md, IDENTITY.md and USER.md: what stands in them, and whose words that is.

A file that only the person has ever written is the person's. Each edit by the agent is written down before
it is made, with what stood there; from then on a content is the person's only where the person has confirmed
this very content: by `%loom identity confirm`, or by a yes to the difference that made it of one that was the
person's. Until then the last content that was stays in the head of requests, and the new one travels as data.
"""

import hashlib
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loom_nb.border import clean
from loom_nb.database import Database, Schema
from loom_nb.errors import LoomUsageError, StoreError, ToolError

if TYPE_CHECKING:
    from sqlite3 import Connection

File = Literal["SOUL.md", "IDENTITY.md", "USER.md"]
ABOUT: dict[File, str] = {
    "SOUL.md": "how you behave",
    "IDENTITY.md": "who you are",
    "USER.md": "what you know of the person",
}
"""For the agent."""
TOLD: dict[File, str] = {
    "SOUL.md": "how the agent behaves",
    "IDENTITY.md": "who the agent is",
    "USER.md": "what the agent knows of you",
}
"""For the person."""
FILES: tuple[File, ...] = tuple(ABOUT)
MOST_CHARS = 8_000
"""Of one file: it stands in every request."""
MOST_BYTES = 100_000
"""Of a file that is read at all."""
MOST_WRITES = 100
"""That are kept of one file, to be undone."""

_SCHEMA = Schema(
    0x4C4E4944,
    (
        (
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
            """CREATE TABLE writes (
                id INTEGER PRIMARY KEY, path TEXT NOT NULL, at REAL NOT NULL, run TEXT NOT NULL,
                before BLOB, after BLOB NOT NULL, undone INTEGER NOT NULL DEFAULT 0)""",
            "CREATE INDEX writes_by_path ON writes (path, id)",
            """CREATE TABLE confirmed (
                id INTEGER PRIMARY KEY, path TEXT NOT NULL, sha256 TEXT NOT NULL, at REAL NOT NULL,
                content BLOB NOT NULL, UNIQUE (path, sha256))""",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """One of the files as it is now."""

    file: File
    path: Path
    words: str = ""
    """The person's: they stand in the head of a request."""
    data: str = ""
    """What stands in the file and is not the person's: it travels as data."""
    confirmed: bool = True
    """Whether what stands in the file is the person's."""
    sha256: str = ""
    """Of what stands in the file; empty where there is none."""
    trouble: str = ""
    """Why the file is not the person's or cannot be read, where that is not for an edit of the agent."""

    @property
    def is_there(self) -> bool:
        """Whether there is such a file."""
        return bool(self.sha256)

    @property
    def waits(self) -> bool:
        """Whether its content waits for the person to confirm it."""
        return self.is_there and not self.confirmed


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit that the agent made."""

    id: int
    at: float
    run: str
    before: str | None
    """None: there was no such file."""
    after: str


class Files:
    """The three files of one folder, and the record of who wrote them. Safe from any thread and process.

    Args:
        folder: where the files are.
        record: the database of what the agent wrote and the person confirmed; made at the first edit.
    """

    def __init__(self, folder: Path, record: Path) -> None:
        self.folder = folder
        self.record = record
        self._database = Database(record, _SCHEMA, 10.0)

    def path(self, file: File) -> Path:
        """Where a file is, or would be: links are followed, as its owner may have put it elsewhere."""
        return Path(os.path.realpath(self.folder / file))

    def any(self) -> bool:
        """Whether any of the files is there."""
        return any((self.folder / file).is_file() for file in FILES)

    def profiles(self) -> list[Profile]:
        """All three as they are. Raises nothing: what goes wrong is told as `trouble`."""
        return [self.profile(file) for file in FILES]

    def profile(self, file: File) -> Profile:
        """One of them."""
        path = self.path(file)
        try:
            found = read(path)
        except ToolError as error:
            return Profile(file, path, trouble=error.title)
        if found is None:
            return Profile(file, path)
        data, status = found
        sha, text = digest(data), clean(data.decode("utf-8", "replace"))
        foreign = _foreign(status)
        try:
            if foreign and not self._is_confirmed(file, sha):
                return Profile(file, path, "", text, False, sha, foreign)
            whose = self._whose(file, sha)
        except StoreError as error:
            return Profile(file, path, "", text, False, sha, error.title)
        if whose is None:
            return Profile(file, path, text, sha256=sha)
        return Profile(file, path, clean(whose.decode("utf-8", "replace")), text, False, sha)

    def _key(self, file: File) -> str:
        """By what the record knows a file: a link that is put in its place is no other file."""
        return str(self.folder / file)

    def _whose(self, file: File, sha: str) -> bytes | None:
        """None where the content is the person's; else the last one that was, or nothing."""
        if not self.record.exists():
            return None
        with self._database.transaction() as db:
            return _last_confirmed(db, self._key(file), sha)

    def _is_confirmed(self, file: File, sha: str) -> bool:
        if not self.record.exists():
            return False
        with self._database.transaction() as db:
            query = "SELECT 1 FROM confirmed WHERE path = ? AND sha256 = ?"
            return db.execute(query, (self._key(file), sha)).fetchone() is not None

    # -- changing them -----------------------------------------------------------------------------

    def edit(self, file: File, after: str, *, run: str, approved: bool, now: float) -> None:
        """Write a file as the agent wants it; what stood there is kept.

        Args:
            file: which.
            after: all of its new text.
            run: whose edit it is.
            approved: a person has seen the difference and said yes.
            now: seconds since the epoch.

        Raises:
            ToolError: it cannot be written.
            StoreError: the record cannot be kept; nothing was changed then.
        """
        path, key, content = self.path(file), self._key(file), after.encode()
        before = read(path)
        old = before[0] if before is not None else None
        with self._database.transaction("IMMEDIATE") as db:  # first: what is not on record would be trusted
            theirs = before is None or (
                _last_confirmed(db, key, digest(before[0])) is None and not _foreign(before[1])
            )
            db.execute(
                "INSERT INTO writes (path, at, run, before, after) VALUES (?, ?, ?, ?, ?)",
                (key, now, run, old, content),
            )
            if theirs and old is not None:
                _confirm(db, key, old, now)
            if theirs and approved:
                _confirm(db, key, content, now)
            db.execute(
                """DELETE FROM writes WHERE path = ?1 AND id NOT IN
                (SELECT id FROM writes WHERE path = ?1 ORDER BY id DESC LIMIT ?2)""",
                (key, MOST_WRITES),
            )
        put(path, content)

    def confirm(self, file: File, sha256: str, *, now: float) -> None:
        """The person takes the present content as their own words.

        Args:
            file: which.
            sha256: of the content that they were shown, or its first digits.
            now: seconds since the epoch.

        Raises:
            LoomUsageError: there is no such file, or it has another content by now.
        """
        path = self.path(file)
        found = read(path)
        if found is None:
            raise LoomUsageError(f"there is no {file}", fixes=["%loom identity"])
        if len(sha256) < 4 or not digest(found[0]).startswith(sha256):
            raise LoomUsageError(
                f"{file} has another content than the one that {sha256} stands for",
                fixes=[f"%loom identity diff {file}   shows it, and what to type"],
            )
        with self._database.transaction("IMMEDIATE") as db:
            _confirm(db, self._key(file), found[0], now)

    def undo(self, file: File) -> Edit:
        """Take back the agent's latest edit of a file; gives it.

        Raises:
            LoomUsageError: there is none, or the file has been changed since.
        """
        path = self.path(file)
        edit = next(iter(self.edits(file)), None)
        if edit is None:
            raise LoomUsageError(f"the agent has made no edit of {file} that could be undone")
        found = read(path)
        if found is None or found[0] != edit.after.encode():
            raise LoomUsageError(
                f"{file} has been changed since the agent's last edit",
                cause="undoing would lose what came after it",
                fixes=[f"%loom identity diff {file}", f"edit it: {path}"],
            )
        if edit.before is None:
            path.unlink()
        else:
            put(path, edit.before.encode())
        with self._database.transaction("IMMEDIATE") as db:
            db.execute("UPDATE writes SET undone = 1 WHERE id = ?", (edit.id,))
        return edit

    def edits(self, file: File) -> Sequence[Edit]:
        """The agent's edits that were not undone, the newest first."""
        if not self.record.exists():
            return []
        with self._database.transaction() as db:
            rows = db.execute(
                """SELECT id, at, run, before, after FROM writes
                WHERE path = ? AND undone = 0 ORDER BY id DESC""",
                (self._key(file),),
            ).fetchall()
        return [
            Edit(id_, at, run, None if before is None else bytes(before).decode(), bytes(after).decode())
            for id_, at, run, before, after in rows
        ]

    def close(self) -> None:
        """Let go of the record."""
        self._database.close()


def _last_confirmed(db: "Connection", path: str, sha256: str) -> bytes | None:
    """None where this content is the person's; else the last one that was, empty where none ever was."""
    if db.execute("SELECT 1 FROM writes WHERE path = ?", (path,)).fetchone() is None:
        return None
    rows = db.execute(
        "SELECT sha256, content FROM confirmed WHERE path = ? ORDER BY at DESC, id DESC", (path,)
    ).fetchall()
    if any(known == sha256 for known, _ in rows):
        return None
    return bytes(rows[0][1]) if rows else b""


def _confirm(db: "Connection", path: str, content: bytes, now: float) -> None:
    db.execute("DELETE FROM confirmed WHERE path = ? AND sha256 = ?", (path, digest(content)))
    db.execute(
        "INSERT INTO confirmed (path, sha256, at, content) VALUES (?, ?, ?, ?)",
        (path, digest(content), now, content),
    )


def digest(data: bytes) -> str:
    """The SHA-256 of a content."""
    return hashlib.sha256(data).hexdigest()


def read(path: Path) -> tuple[bytes, os.stat_result] | None:
    """A file and what the system knows of it; None where there is none.

    Raises:
        ToolError: it is no plain file, too large, or cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ToolError(f"{path.name} cannot be read: {error.strerror or error}") from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise ToolError(f"{path.name} is no plain file")
    with os.fdopen(fd, "rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ToolError(f"{path.name} is too large: {status.st_size:,} bytes, at most {MOST_BYTES:,}")
    return data, status


def _foreign(status: os.stat_result) -> str:
    """Why a file cannot be taken for the person's own; empty where it can."""
    if not hasattr(os, "getuid"):
        return ""
    if status.st_uid != os.getuid():
        return "it belongs to another user of this machine"
    return "everybody on this machine may write it" if status.st_mode & stat.S_IWOTH else ""


def put(path: Path, content: bytes) -> None:
    """Give a file this content, whole or not at all. Raises ToolError."""
    made = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(fd, mode)
                os.fsync(fd)
            made.replace(path)
        except BaseException:
            with suppress(OSError):
                made.unlink()
            raise
    except OSError as error:
        raise ToolError(f"{path.name} was not written: {error.strerror or error}") from None
