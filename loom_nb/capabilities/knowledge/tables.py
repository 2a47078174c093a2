"""The tables of a base of knowledge, version by version."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from loom_nb.database import Schema
from loom_nb.retrieval.analysis import TOKENIZE

T = TypeVar("T")

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
        # A state of a document never changes: a newer one is another row. Those that are served are what a
        # search sees; the others are of a pass that has not come to its end, or never will.
        """CREATE TABLE documents (
            id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, key TEXT NOT NULL,
            sha256 TEXT NOT NULL, form TEXT NOT NULL, stamp TEXT NOT NULL, title TEXT NOT NULL,
            kind TEXT NOT NULL, url TEXT NOT NULL, path TEXT NOT NULL, chunks INTEGER NOT NULL,
            tokens INTEGER NOT NULL, error TEXT NOT NULL, indexed REAL NOT NULL,
            served INTEGER NOT NULL DEFAULT 0, UNIQUE (source, key, sha256, form))""",
        "CREATE INDEX documents_served ON documents (served, source)",
        """CREATE TABLE chunks (
            number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, document INTEGER NOT NULL,
            ordinal INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, text TEXT NOT NULL,
            before TEXT NOT NULL, after TEXT NOT NULL, headings TEXT NOT NULL, location TEXT NOT NULL,
            tokens INTEGER NOT NULL, hash BLOB NOT NULL)""",
        "CREATE INDEX chunks_document ON chunks (document, ordinal)",
        "CREATE INDEX chunks_id ON chunks (id)",
        "CREATE INDEX chunks_hash ON chunks (hash)",
        # Of served chunks alone: what is not served must not count in the weights of words.
        f"CREATE VIRTUAL TABLE words USING fts5(head, body, {TOKENIZE})",
        # By what was said and who read it, so that nothing is embedded twice.
        """CREATE TABLE vectors (
            embedder TEXT NOT NULL, hash BLOB NOT NULL, vector BLOB NOT NULL,
            PRIMARY KEY (embedder, hash)) WITHOUT ROWID""",
        "CREATE TABLE spaces (name TEXT PRIMARY KEY, data BLOB NOT NULL, texts INTEGER NOT NULL)",
        """CREATE TABLE uses (
            chunk TEXT NOT NULL, session TEXT NOT NULL, run TEXT NOT NULL, number INTEGER NOT NULL,
            query TEXT NOT NULL, time REAL NOT NULL, by TEXT NOT NULL)""",
        "CREATE INDEX uses_chunk ON uses (chunk, time)",
        """CREATE TABLE entities (
            id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, kind TEXT NOT NULL,
            about TEXT NOT NULL)""",
        "CREATE TABLE aliases (alias TEXT PRIMARY KEY, entity INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX aliases_entity ON aliases (entity)",
        """CREATE TABLE mentions (
            entity INTEGER NOT NULL, chunk TEXT NOT NULL, PRIMARY KEY (entity, chunk)) WITHOUT ROWID""",
        "CREATE INDEX mentions_chunk ON mentions (chunk)",
        """CREATE TABLE edges (
            subject INTEGER NOT NULL, relation TEXT NOT NULL, object INTEGER NOT NULL, chunk TEXT NOT NULL,
            PRIMARY KEY (subject, relation, object, chunk)) WITHOUT ROWID""",
        "CREATE INDEX edges_object ON edges (object)",
        "CREATE INDEX edges_chunk ON edges (chunk)",
        "CREATE TABLE extracted (chunk TEXT PRIMARY KEY, form TEXT NOT NULL) WITHOUT ROWID",
    ),
    (
        # What a model had read in passages that are gone was kept.
        "DELETE FROM mentions WHERE chunk NOT IN (SELECT id FROM chunks)",
        "DELETE FROM edges WHERE chunk NOT IN (SELECT id FROM chunks)",
        "DELETE FROM extracted WHERE chunk NOT IN (SELECT id FROM chunks)",
        "DELETE FROM aliases WHERE entity NOT IN (SELECT entity FROM mentions)",
        "DELETE FROM entities WHERE id NOT IN (SELECT entity FROM mentions)",
        # Documents that two processes at once had left without their words: read again at the next look.
        "UPDATE OR IGNORE documents SET stamp = '', form = '' WHERE kind = '' AND error = ''",
    ),
)
SCHEMA = Schema(0x4C4F4F4B, MIGRATIONS)  # "LOOK"


def portions(numbers: Sequence[T]) -> Iterator[Sequence[T]]:
    """So many at once as a statement may name."""
    for first in range(0, len(numbers), 500):
        yield numbers[first : first + 500]


def marks(some: Sequence[object]) -> str:
    """A place in a statement for each: "?,?,?"."""
    return ",".join("?" * len(some))
