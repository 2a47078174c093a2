"""The tables that notes lie in, and one note in and out of them.

`notes` has what is listed and sorted by in columns and the note itself as JSON; `found` is the full-text
index of its stems, written in the same transaction; `versions` only grows. One row that cannot be read is
passed over, and the others are not concerned.
"""

import hashlib
from typing import TYPE_CHECKING

import msgspec

from loom_nb.capabilities.memory.notes import Change, Note, NoteVersion, Provenance, Viewer
from loom_nb.capabilities.memory.sameness import digest
from loom_nb.capabilities.memory.stems import indexed
from loom_nb.database import Schema

if TYPE_CHECKING:
    from sqlite3 import Connection, Row

SCHEMA = Schema(
    0x4C4F4F4D,  # "LOOM"
    (
        (
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
            """CREATE TABLE notes (
                number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
                scope TEXT NOT NULL, place TEXT NOT NULL, pinned INTEGER NOT NULL, importance REAL NOT NULL,
                category TEXT NOT NULL, head TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL,
                used REAL NOT NULL, uses INTEGER NOT NULL, version INTEGER NOT NULL,
                digest BLOB NOT NULL, stems INTEGER NOT NULL, body BLOB NOT NULL)""",
            "CREATE INDEX notes_by_digest ON notes (digest)",
            "CREATE INDEX notes_by_updated ON notes (updated)",
            "CREATE INDEX notes_by_created ON notes (created)",
            "CREATE INDEX notes_by_uses ON notes (uses)",
            "CREATE INDEX notes_by_used ON notes (used)",
            "CREATE INDEX notes_by_importance ON notes (importance)",
            "CREATE INDEX notes_by_category ON notes (category)",
            "CREATE INDEX notes_by_head ON notes (head)",
            "CREATE INDEX notes_by_scope ON notes (scope)",
            "CREATE INDEX notes_by_pinned ON notes (pinned)",
            "CREATE INDEX notes_of_places ON notes (place) WHERE place <> ''",
            "CREATE INDEX notes_pinned ON notes (pinned) WHERE pinned",
            "CREATE VIRTUAL TABLE found USING fts5(stems, tokenize = 'unicode61 remove_diacritics 0')",
            "CREATE VIRTUAL TABLE vocabulary USING fts5vocab(found, 'row')",
            "CREATE TABLE totals (one INTEGER PRIMARY KEY, notes INTEGER NOT NULL, stems INTEGER NOT NULL)",
            "INSERT INTO totals VALUES (1, 0, 0)",
            """CREATE TABLE versions (
                seq INTEGER PRIMARY KEY AUTOINCREMENT, note TEXT NOT NULL, change TEXT NOT NULL,
                moment REAL NOT NULL, batch INTEGER NOT NULL, undone INTEGER NOT NULL, run TEXT NOT NULL,
                by BLOB NOT NULL, body BLOB NOT NULL)""",
            "CREATE INDEX versions_by_note ON versions (note, seq)",
            "CREATE INDEX versions_by_moment ON versions (moment)",
            "CREATE INDEX versions_by_batch ON versions (batch)",
            """CREATE TABLE recalls (
                seq INTEGER PRIMARY KEY AUTOINCREMENT, moment REAL NOT NULL, session TEXT NOT NULL,
                run TEXT NOT NULL, note TEXT NOT NULL, version INTEGER NOT NULL, how TEXT NOT NULL,
                query TEXT NOT NULL, score REAL NOT NULL, components BLOB NOT NULL, terms TEXT NOT NULL)""",
            "CREATE INDEX recalls_by_note ON recalls (note, seq)",
            "CREATE INDEX recalls_by_run ON recalls (run)",
            """CREATE TABLE runs (
                session TEXT NOT NULL, run TEXT NOT NULL, moment REAL NOT NULL, seq INTEGER NOT NULL,
                PRIMARY KEY (run, session)) WITHOUT ROWID""",
            """CREATE TABLE vectors (
                seq INTEGER PRIMARY KEY AUTOINCREMENT, note INTEGER NOT NULL, model TEXT NOT NULL,
                vector BLOB NOT NULL)""",
            "CREATE INDEX vectors_by_note ON vectors (note, model)",
            """CREATE TABLE files (
                folder TEXT NOT NULL, path TEXT NOT NULL, note TEXT NOT NULL, version INTEGER NOT NULL,
                sha256 TEXT NOT NULL, mtime INTEGER NOT NULL, size INTEGER NOT NULL,
                PRIMARY KEY (folder, path)) WITHOUT ROWID""",
            "CREATE INDEX files_by_note ON files (note)",
        ),
    ),
)
NOTE = "n.body, n.used, n.uses"
"""The columns that `note_of` reads, of `notes n`."""

LATEST = "SELECT body FROM versions WHERE note = ? ORDER BY seq DESC LIMIT 1"
"""The newest version of a note, whatever it is."""
_HEAD = 80
"""Characters by which a listing is sorted by text."""


def note_of(row: "Row | tuple[bytes, float, int]") -> Note | None:
    """The note of a row; None where it cannot be read."""
    note = decoded(row[0])
    return None if note is None else msgspec.structs.replace(note, used=row[1], uses=row[2])


def decoded(body: bytes) -> Note | None:
    """A note from its JSON; None where that is damaged."""
    try:
        return _NOTE.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
        return None


def read(db: "Connection", note_id: str) -> Note | None:
    """The note of an id, if there is one that can be read."""
    row = db.execute(f"SELECT {NOTE} FROM notes n WHERE id = ?", (note_id,)).fetchone()  # noqa: S608  our own words
    return note_of(row) if row else None


def write(db: "Connection", note: Note) -> None:
    """A note as it is from now on, in the table and in the index.

    Where its words are as they were, its number stays, and with it its vectors; a number never comes again.
    """
    stems = indexed(searched(note))
    had = db.execute(
        "SELECT n.number, f.stems FROM notes n JOIN found f ON f.rowid = n.number WHERE n.id = ?", (note.id,)
    ).fetchone()
    kept = had[0] if had and had[1] == stems else None
    if kept is None:
        remove(db, note.id)
    cursor = db.execute(
        """INSERT OR REPLACE INTO notes (number, id, scope, place, pinned, importance, category, head,
            created, updated, used, uses, version, digest, stems, body)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            kept, note.id, note.scope, note.place, note.pinned, note.importance, note.category,
            note.text[:_HEAD].casefold(), note.created, note.updated, note.used, note.uses, note.version,
            digest(note.text, note.scope, note.place), stems.count(" ") + 1, msgspec.json.encode(note),
        ),
    )  # fmt: skip
    if kept is None:
        db.execute("INSERT INTO found (rowid, stems) VALUES (?, ?)", (cursor.lastrowid, stems))
        db.execute("UPDATE totals SET notes = notes + 1, stems = stems + ?", (stems.count(" ") + 1,))


def remove(db: "Connection", note_id: str) -> bool:
    """Take a note out of the table, the index and the vectors; its versions stay."""
    row = db.execute("SELECT number, stems FROM notes WHERE id = ?", (note_id,)).fetchone()
    if row is None:
        return False
    db.execute("DELETE FROM found WHERE rowid = ?", (row[0],))
    db.execute("DELETE FROM notes WHERE number = ?", (row[0],))
    db.execute("DELETE FROM vectors WHERE note = ?", (row[0],))
    db.execute("UPDATE totals SET notes = notes - 1, stems = stems - ?", (row[1],))
    return True


def version(
    db: "Connection", note: Note, change: Change, moment: float, by: Provenance, batch: int = 0,
    undone: bool = False,
) -> int:  # fmt: skip
    """Write down what a note is from now on; gives the batch, by which one undo takes back several."""
    cursor = db.execute(
        "INSERT INTO versions (note, change, moment, batch, undone, run, by, body) VALUES (?,?,?,?,?,?,?,?)",
        (note.id, change, moment, batch, undone, by.run, msgspec.json.encode(by), msgspec.json.encode(note)),
    )
    if batch:
        return batch
    db.execute("UPDATE versions SET batch = seq WHERE seq = ?", (cursor.lastrowid,))
    return cursor.lastrowid or 0


VERSION = "seq, change, moment, by, body, undone"


def version_of(row: tuple[int, Change, float, bytes, bytes, int]) -> NoteVersion | None:
    """A version from its row; None where that cannot be read."""
    note = decoded(row[4])
    try:
        by = _PROVENANCE.decode(row[3])
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
        return None
    return None if note is None else NoteVersion(row[0], row[1], row[2], by, note, bool(row[5]))


def seen_by(viewer: Viewer) -> tuple[str, tuple[str, ...]]:
    """The condition on `notes n` for what one sees, and its values."""
    if viewer.everything:
        return "1", ()
    return (
        "(n.place = '' OR (n.scope = 'session' AND n.place = ?) OR (n.scope = 'working' AND n.place = ?))",
        (viewer.session, viewer.working),
    )


def vector_key(model: str) -> str:
    """A name of a model of any length, as it is kept beside its vectors."""
    return model if len(model) <= 200 else hashlib.sha256(model.encode()).hexdigest()


def disagreements(db: "Connection") -> list[str]:
    """Where notes, index, versions and totals say different things."""
    found = [f"SQLite: {row[0]}" for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
    kept, stems = 0, 0
    for number, one, body, version_ in db.execute("SELECT number, id, body, version FROM notes"):
        note = decoded(body)
        if note is None or note.id != one or note.version != version_:
            found.append(f"{one}: the row cannot be read")
            continue
        words = indexed(searched(note))
        kept, stems = kept + 1, stems + words.count(" ") + 1
        row = db.execute("SELECT stems FROM found WHERE rowid = ?", (number,)).fetchone()
        if row is None or row[0] != words:
            found.append(f"{one}: the index has other words")
        last = db.execute(LATEST.replace("ORDER", "AND change <> 'conflict' ORDER"), (one,)).fetchone()
        was = decoded(last[0]) if last else None
        if was is None or was.version != note.version or was.said != note.said:
            found.append(f"{one}: its last version is another")
    if db.execute("SELECT count(*) FROM found").fetchone()[0] != kept:
        found.append("the index has words of notes that are not there")
    if db.execute("SELECT notes, stems FROM totals").fetchone() != (kept, stems):
        found.append("the totals are wrong")
    return found


def searched(note: Note) -> str:
    """All words by which a note is found."""
    return " ".join((note.text, note.category, *note.tags))


_NOTE = msgspec.json.Decoder(Note)
_PROVENANCE = msgspec.json.Decoder(Provenance)
