"""Opens a SQLite file of ours: pragmas, schema, transactions, and what its errors mean."""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loom_nb.errors import StoreDamaged, StoreError

if TYPE_CHECKING:
    from sqlite3 import Connection, Error


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database of ours is."""

    application: int
    """In the header of the file, so that no other program's database is taken for it."""
    migrations: Sequence[Sequence[str]]
    """The statements that each version adds to the one before. The first makes `meta (key, value)`."""


class Inside(threading.local):
    """Whether this thread holds a lock of a file, and what it is to do when it holds none any more.

    The garbage collector may run the finalizer of one object in the middle of what another one does,
    in the same thread and on the same file: to wait there would be to wait for itself.
    """

    def __init__(self) -> None:
        self._late: deque[Callable[[], None]] = deque()  # first: to make it may call a finalizer, which asks
        self._depth = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Inside, until the end of the block."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            while not self._depth and self._late:
                self._late.popleft()()

    def soon(self, action: Callable[[], None]) -> None:
        """Call `action` now, or when this thread holds no lock any more. For finalizers."""
        if self._depth:
            self._late.append(action)
        else:
            action()


INSIDE = Inside()
"""One for all stores of the process, whatever object they were opened by."""


READER_MS = 100
"""Milliseconds for which `overwrite` waits for who reads: a backup may read for hours."""


class Database:
    """One connection, opened at its first use, shared by all threads through a lock.

    In a folder that may not be written it is read as it lies there, unless somebody is writing it.

    Args:
        path: the file; its folder is made when missing, for this user only.
        schema: what it holds.
        busy_seconds: how long to wait while another process writes.
        pragmas: more of them, for each connection.
    """

    def __init__(self, path: Path, schema: Schema, busy_seconds: float, pragmas: Sequence[str] = ()) -> None:
        self.path = path
        self._schema = schema
        self._pragmas = pragmas
        self._busy_seconds = busy_seconds
        self._lock = threading.RLock()  # a finalizer may come by at any moment: see `soon`
        self._connection: Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._frozen: tuple[int, int] | None = None
        """How the file was when it was opened as one that nobody writes."""
        self._closing: weakref.finalize[..., Database] | None = None

    @contextmanager
    def transaction(self, mode: Literal["DEFERRED", "IMMEDIATE"] = "DEFERRED") -> "Iterator[Connection]":
        """One moment of the database. What "IMMEDIATE" ones change is kept at the end of the block, all of
        it, and undone by any exception.

        Raises `StoreError` for every failure of the database.
        """
        import sqlite3

        with self._turn():
            try:
                db = self._ready()
                try:
                    db.execute(f"BEGIN {mode}")
                    if mode == "IMMEDIATE":
                        self._refuse_newer(db)
                    yield db
                    if mode == "IMMEDIATE":
                        db.execute("COMMIT")
                finally:
                    if db.in_transaction:
                        with suppress(sqlite3.Error):
                            db.rollback()
            except sqlite3.Error as error:
                raise told(error, self.path) from error
            except UnicodeDecodeError as error:  # a message of SQLite that quotes a damaged schema
                raise StoreDamaged(_DAMAGED.format(self.path), cause=str(error), fixes=_REPAIRS) from None
            except UnicodeEncodeError as error:
                raise StoreError(f"A name holds a lone surrogate: {error.object!r}") from None

    def overwrite(self) -> None:
        """Let what was deleted be gone from the files, too, and not only from the tables.

        Best effort: while another process reads, the last of it goes later. Raises `StoreError`.
        """
        import sqlite3

        with self._turn():
            try:
                db = self._ready()
                (usual,) = db.execute("PRAGMA busy_timeout").fetchone()
                db.execute(f"PRAGMA busy_timeout = {READER_MS}")
                try:
                    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                finally:
                    db.execute(f"PRAGMA busy_timeout = {usual}")
            except sqlite3.Error as error:
                raise told(error, self.path) from error

    def soon(self, action: Callable[[], None]) -> None:
        """Call `action` now, or after the transaction, of whatever database, in whose middle this thread is.

        For finalizers, which the garbage collector may run anywhere.
        """
        INSIDE.soon(action)

    def close(self) -> None:
        """Let go of the file; the next transaction opens it again."""
        with self._turn():
            self._let_go()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with INSIDE.turn(), self._lock:
            yield

    def _ready(self) -> "Connection":
        if self._connection is not None and self._frozen not in (None, _frozen(self.path)):
            self._let_go()  # somebody writes it after all, or did
        if self._connection is None:
            return self._open()
        if self._identity != _identity(self.path):
            self._let_go()
            raise StoreError(
                f"The store {self.path} was moved or deleted while it was open",
                cause="what was written to it is in the moved file, or gone",
                fixes=("put the file back", "run the cell again: it begins a new store"),
            )
        return self._connection

    def _open(self) -> "Connection":
        import sqlite3

        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.path.exists():
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StoreError(
                f"The store {self.path} cannot be made", cause=str(error.strerror), fixes=(_ELSEWHERE,)
            ) from None
        self._frozen = None
        try:
            return self._connect(str(self.path))
        except sqlite3.OperationalError as error:
            self._frozen = _frozen(self.path) if error.sqlite_errorcode & 0xFF in _READ_ONLY else None
            if self._frozen is None:
                raise
        return self._connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)

    def _connect(self, name: str, *, uri: bool = False) -> "Connection":
        import sqlite3

        db = sqlite3.connect(
            name, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False, uri=uri
        )
        self._connection = db
        self._closing = weakref.finalize(self, db.close)
        try:
            self._prepare(db)
            self._identity = _identity(self.path)
        except BaseException:
            self._let_go()
            raise
        return db

    def _prepare(self, db: "Connection") -> None:
        for pragma in (
            "synchronous = FULL",
            "fullfsync = ON",
            "trusted_schema = OFF",
            "cell_size_check = ON",
            *self._pragmas,
        ):
            db.execute(f"PRAGMA {pragma}")
        if schema_version(db, self.path, self._schema) < len(self._schema.migrations):
            _use_wal(db, self._busy_seconds)
            migrate(db, self.path, self._schema)

    def _refuse_newer(self, db: "Connection") -> None:
        # each time: a newer loom_nb may have come while the file was open
        version, ours = _version(db, self.path, self._schema), len(self._schema.migrations)
        if version > ours:
            raise StoreError(
                f"The store {self.path} was written by a newer loom_nb",
                cause=f"its schema is {version}, ours {ours}: it can be read, not written",
                fixes=("pip install --upgrade loom-nb", _ELSEWHERE),
            )

    def _let_go(self) -> None:
        if self._closing is not None:
            self._closing()
        self._connection = self._closing = None


def schema_version(db: "Connection", path: Path, schema: Schema) -> int:
    """The version of the schema, 0 for an empty file. Raises `StoreError` for somebody else's database."""
    db.execute("BEGIN")
    try:
        return _version(db, path, schema)
    finally:
        if db.in_transaction:
            db.rollback()


def migrate(db: "Connection", path: Path, schema: Schema) -> int:
    """Bring an older schema to the newest, in one transaction or not at all; the version it has then."""
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _version(db, path, schema)  # another process may have been faster
        if version < len(schema.migrations):
            for statements in schema.migrations[version:]:
                for statement in statements:
                    db.execute(statement)
            version = len(schema.migrations)
            db.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (str(version),))
            db.execute(f"PRAGMA application_id = {schema.application}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.rollback()
    return version


def told(error: "Error", path: Path) -> StoreError:
    """What an error of SQLite means for the user."""
    import sqlite3

    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # absent where Python itself raised it
    match code:
        case sqlite3.SQLITE_FULL:
            title, fixes = (
                f"The disk is full: {path} takes no more",
                ("free some space and run again", _ELSEWHERE),
            )
        case sqlite3.SQLITE_IOERR:
            title = f"The disk refuses to read or write {path}"
            fixes = ("free some space, or look at quotas and the file-size limit (ulimit -f)", _ELSEWHERE)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            title, fixes = f"The store {path} may not be written", (f"chmod u+w {path}*", _ELSEWHERE)
        case sqlite3.SQLITE_CANTOPEN:
            title, fixes = f"The store {path} cannot be opened", (f"chmod u+rwx {path.parent}", _ELSEWHERE)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            title = f"The store {path} is locked by another process"
            fixes = ("run again", "close the program that has the file open, for example a database browser")
        case sqlite3.SQLITE_NOTADB:
            title, fixes = f"{path} is not a database", (_RESTORE, _ELSEWHERE)
        case sqlite3.SQLITE_CORRUPT:
            return StoreDamaged(
                f"The store {path} is damaged", cause=str(error), fixes=("%loom doctor", _RESTORE)
            )
        case _:
            title, fixes = f"The store {path} cannot be used", ("%loom doctor", _ELSEWHERE)
    return StoreError(title, cause=f"SQLite says: {error}", fixes=fixes)


_ELSEWHERE = "keep sessions elsewhere: set LOOM_NB_HOME to another folder"
_RESTORE = "move the file away, or put back a copy"
_DAMAGED = "The store {} is damaged"
_REPAIRS = ("%loom doctor", _RESTORE)


def _version(db: "Connection", path: Path, schema: Schema) -> int:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if application == schema.application:
        try:
            ((version,),) = db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchall()
            return int(version)
        except ValueError:
            title = f"The store {path} does not say which schema it has"
            raise StoreDamaged(title, fixes=(_RESTORE, _ELSEWHERE)) from None
    if application == 0 and not db.execute("SELECT 1 FROM sqlite_master").fetchall():
        return 0
    raise StoreError(
        f"{path} is a database of another program", cause="nothing in it was changed", fixes=(_ELSEWHERE,)
    )


def _use_wal(db: "Connection", patience: float) -> None:
    """Switch the file to WAL. SQLite does not wait by itself when several processes do this at once."""
    import sqlite3

    deadline = time.monotonic() + patience
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


_READ_ONLY = (8, 14)
"""The codes of SQLite, which is loaded late, for what may not be written and what cannot be opened."""


def _frozen(path: Path) -> tuple[int, int] | None:
    """When a file was changed and how large it is, where this process may not write beside it, as SQLite
    needs to even for reading, and nobody else is writing it; None where that is otherwise.
    """
    try:
        may_write = os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
        if may_write or path.with_name(f"{path.name}-wal").exists():
            return None
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
