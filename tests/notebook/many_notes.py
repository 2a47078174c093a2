"""A store with any number of notes, written at once, for tests of what a person sees of a large one."""

import functools
from collections.abc import Iterator
from pathlib import Path

import msgspec

from loom_nb.capabilities.memory.notes import Note
from loom_nb.capabilities.memory.stems import indexed
from loom_nb.capabilities.memory.store import NoteStore

WORDS = [
    "apple",
    "pear",
    "plum",
    "quince",
    "orchard",
    "letter",
    "rain",
    "gauge",
    "river",
    "mountain",
    "train",
    "ticket",
    "coffee",
    "theme",
    "report",
]
BEGIN = 1_700_000_000.0


def notes(count: int) -> Iterator[Note]:
    """The same ones each time; the n-th is one second younger than the one before."""
    for n in range(count):
        words = " ".join(WORDS[(n * step + n // 7) % len(WORDS)] for step in (1, 3, 5, 7, 11))
        moment = BEGIN + n
        category = ("work", "home", "garden")[n % 3]
        yield Note(
            f"n{n:07}",
            f"{words} number{n}",
            category,
            created=moment,
            updated=moment,
            importance=n % 101 / 100,
        )


@functools.cache
def _common(word: str) -> str:
    return indexed(word)


def _stem(word: str) -> str:
    return word if word[-1].isdigit() else _common(word)


def fill(path: Path, count: int) -> NoteStore:
    """A new store with `count` notes, each with its first version."""
    store = NoteStore(path)
    store.last_change()  # makes the tables
    rows, found, versions, stems = [], [], [], 0
    for number, note in enumerate(notes(count), 1):
        words = " ".join(_stem(word) for word in (*note.text.split(), note.category))
        size = words.count(" ") + 1
        stems += size
        body = msgspec.json.encode(note)
        rows.append(
            (number, note.id, note.scope, note.importance, note.category, note.text[:80].casefold(),
             note.created, note.updated, note.id.encode(), size, body)
        )  # fmt: skip
        found.append((number, words))
        versions.append((number, note.id, note.created, number, body))
    with store.writing() as db:
        db.executemany(
            """INSERT INTO notes (number, id, scope, place, pinned, importance, category, head, created, updated,
            used, uses, version, digest, stems, body) VALUES (?,?,?,'',0,?,?,?,?,?,0,0,1,?,?,?)""",
            rows,
        )
        db.executemany("INSERT INTO found (rowid, stems) VALUES (?, ?)", found)
        db.executemany(
            """INSERT INTO versions (seq, note, change, moment, batch, undone, run, by, body)
            VALUES (?,?,'added',?,?,0,'','{}',?)""",
            versions,
        )
        db.execute("UPDATE totals SET notes = ?, stems = ?", (count, stems))
    return store
