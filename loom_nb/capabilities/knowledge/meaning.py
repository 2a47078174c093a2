"""The vectors of a base of knowledge: made by an embedder, or by latent semantics of its own texts."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from loom_nb.capabilities.knowledge.indexing import said
from loom_nb.capabilities.unbroken import unbroken
from loom_nb.database import Database
from loom_nb.errors import EmbeddingError, LoomUsageError
from loom_nb.retrieval.embedding import LEAST_LIFT, Embedder, vectors_of
from loom_nb.retrieval.lsa import LEAST_TEXTS, LatentEmbedder, LatentSemantics
from loom_nb.retrieval.retrying import Retrying
from loom_nb.retrieval.vectors import VectorIndex, to_bytes
from loom_nb.runtime.retry import RetryPolicy

if TYPE_CHECKING:
    from sqlite3 import Connection

    from loom_nb.retrieval.embedding import Vectors as Table

Reader: TypeAlias = "Embedder | Literal['lsa'] | None"
"""Who reads for meaning: an embedder; "lsa", fitted on the texts themselves; nobody."""
BATCH = 64
"""Texts that an embedder is given at once."""
LATENT_BATCH = 512
REFIT = 0.2
"""Share of new texts from which on latent semantics are fitted anew."""


def check_reader(reader: object) -> None:
    """Raise LoomUsageError for what is no `Reader`."""
    if reader is not None and reader != "lsa" and not callable(getattr(reader, "embed", None)):
        raise LoomUsageError(
            f"there is no embedder {reader!r:.80}",
            cause='an embedder has an `embed`; "lsa" learns from the documents; None looks for words alone',
            fixes=['embedder="lsa"', "embedder=None", 'embedder=OpenAIEmbedder("text-embedding-3-small")'],
        )


class Meaning:
    """Gives the chunks of a base their vectors in one pass.

    Args:
        database: of the base.
        reader: who makes them.
    """

    def __init__(self, database: Database, reader: Reader) -> None:
        self._database = database
        self._reader: Reader = reader
        self.name = ""
        """Of the embedder that this pass ends with; empty: none."""
        self.changed = False
        """Whether that is another one than before, or has new vectors."""

    async def embedding(self, documents: Sequence[int], notes: list[str]) -> AsyncIterator[tuple[int, int]]:
        """Embed what has no vector yet of these documents; how many are done, of how many.

        Raises whatever the embedder raises; what was embedded before is kept.
        """
        embedder = await self._embedder(documents, notes)
        before = await asyncio.to_thread(self._served_name)
        self.name = embedder.name if embedder is not None else ""
        self.changed = before != self.name
        if embedder is None:
            return
        missing = await asyncio.to_thread(self._missing, documents, embedder.name)
        self.changed = self.changed or bool(missing)
        size = LATENT_BATCH if self._reader == "lsa" else BATCH
        dimension = await asyncio.to_thread(self._dimension, embedder.name)
        patient = embedder if self._reader == "lsa" else Retrying(embedder, RetryPolicy())
        for first in range(0, len(missing), size):
            some = missing[first : first + size]
            texts = [text for _, text in some]
            vectors = await vectors_of(patient, texts, "document", dimension, zeros=True)
            dimension = vectors.shape[1]
            await unbroken(self._keep, embedder.name, [one for one, _ in some], vectors)
            yield first + len(some), len(missing)

    def is_served(self, db: "Connection") -> bool:
        """Whether what is served was read by this reader: all of it that can has its vectors then."""
        name = _meta(db, "embedder")
        if not isinstance(self._reader, str):
            return name == ("" if self._reader is None else self._reader.name)
        if not name:
            served = """SELECT count(DISTINCT c.hash) FROM chunks c JOIN documents d ON d.id = c.document
                WHERE d.served = 1"""
            return int(db.execute(served).fetchone()[0]) < LEAST_TEXTS
        return db.execute("SELECT 1 FROM spaces WHERE name = ?", (name,)).fetchone() is not None

    def serve(self, db: "Connection") -> None:
        """From now on these are the vectors that are searched."""
        db.execute("INSERT OR REPLACE INTO meta VALUES ('embedder', ?)", (self.name,))
        db.execute("DELETE FROM spaces WHERE name <> ?", (self.name,))
        db.execute("DELETE FROM vectors WHERE embedder <> ? AND embedder LIKE 'lsa:%'", (self.name,))

    async def _embedder(self, documents: Sequence[int], notes: list[str]) -> Embedder | None:
        if not isinstance(self._reader, str):
            return self._reader
        try:
            space, fitted_on = await asyncio.to_thread(self._space, documents)
        except EmbeddingError as error:
            notes.append(f"words alone are looked for: {error.title}")
            return None
        if fitted_on:
            await unbroken(self._keep_space, space, fitted_on)
        return LatentEmbedder(space)

    def _space(self, documents: Sequence[int]) -> tuple[LatentSemantics, int]:
        """The latent semantics as they are, and 0; or, where much has changed, fitted anew, on so many."""
        with self._database.transaction() as db:
            texts = _texts(db, documents)
            name = _meta(db, "embedder")
            row = db.execute("SELECT data, texts FROM spaces WHERE name = ?", (name,)).fetchone()
            have = {one for (one,) in db.execute("SELECT hash FROM vectors WHERE embedder = ?", (name,))}
        new = sum(1 for one in texts if one not in have)
        if row is not None and new <= REFIT * max(1, row[1]) and len(texts) >= row[1] * (1 - REFIT):
            try:
                return LatentSemantics.from_bytes(row[0]), 0
            except EmbeddingError:
                pass  # it is damaged: made anew
        space = LatentSemantics.fit(list(texts.values()))
        if not space.dimension:
            raise EmbeddingError("The texts are too much alike to learn from")
        return space, len(texts)

    def _keep_space(self, space: LatentSemantics, fitted_on: int) -> None:
        values = (f"lsa:{space.version}", space.to_bytes(), fitted_on)
        with self._database.transaction("IMMEDIATE") as db:
            db.execute("INSERT OR REPLACE INTO spaces VALUES (?, ?, ?)", values)

    def _served_name(self) -> str:
        with self._database.transaction() as db:
            return _meta(db, "embedder")

    def _missing(self, documents: Sequence[int], name: str) -> list[tuple[bytes, str]]:
        with self._database.transaction() as db:
            have = {one for (one,) in db.execute("SELECT hash FROM vectors WHERE embedder = ?", (name,))}
            return [(one, text) for one, text in _texts(db, documents).items() if one not in have]

    def _dimension(self, name: str) -> int | None:
        with self._database.transaction() as db:
            row = db.execute(
                "SELECT length(vector) FROM vectors WHERE embedder = ? LIMIT 1", (name,)
            ).fetchone()
        return None if row is None else int(row[0]) // 4

    def _keep(self, name: str, hashes: Sequence[bytes], vectors: "Table") -> None:
        rows = [(name, one, to_bytes(vector)) for one, vector in zip(hashes, vectors, strict=True)]
        with self._database.transaction("IMMEDIATE") as db:
            db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)


class Vectors:
    """The served vectors in memory, by the number of their chunk."""

    def __init__(self, name: str, index: VectorIndex | None, embedder: Embedder | None) -> None:
        self.name = name
        self.index = index
        self.embedder = embedder

    @property
    def least(self) -> float:
        """How far above the usual a cosine lies where a text belongs to a question."""
        return float(getattr(self.embedder, "least", LEAST_LIFT))

    @classmethod
    def load(cls, db: "Connection", reader: Reader) -> "Vectors":
        """Those that are served; none where who made them is not at hand. Damaged rows are passed over."""
        name = _meta(db, "embedder")
        embedder = _at_hand(db, reader, name)
        rows = db.execute(
            """SELECT c.number, v.vector FROM vectors v JOIN chunks c ON c.hash = v.hash
            JOIN documents d ON d.id = c.document AND d.served = 1 WHERE v.embedder = ? ORDER BY c.number""",
            (name,),
        ).fetchall()
        if embedder is None or not rows:
            return cls("", None, None)
        return cls(name, _filled(rows), embedder)


def _filled(rows: Sequence[tuple[int, bytes]]) -> VectorIndex:
    import numpy as np

    lengths = [len(one) if isinstance(one, bytes) else 0 for _, one in rows]
    usual = max(set(lengths), key=lengths.count)
    sound = [row for row, length in zip(rows, lengths, strict=True) if length == usual and usual]
    index = VectorIndex(usual // 4)
    table = np.frombuffer(b"".join(one for _, one in sound), dtype="<f4").reshape(len(sound), -1)
    fine = np.isfinite(table).all(axis=1)
    index.add([number for (number, _), ok in zip(sound, fine, strict=True) if ok], table[fine])
    return index


def _at_hand(db: "Connection", reader: Reader, name: str) -> Embedder | None:
    if not isinstance(reader, str):
        return reader if reader is not None and reader.name == name else None
    row = db.execute("SELECT data FROM spaces WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    try:
        return LatentEmbedder(LatentSemantics.from_bytes(row[0]))
    except EmbeddingError:
        return None


def forget_learnt(db: "Connection") -> None:
    """Let go of latent semantics, which hold stems of the texts that they were fitted on."""
    db.execute("DELETE FROM spaces")
    db.execute("DELETE FROM vectors WHERE embedder LIKE 'lsa:%'")
    db.execute("UPDATE meta SET value = '' WHERE key = 'embedder' AND value LIKE 'lsa:%'")


def _meta(db: "Connection", key: str) -> str:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return "" if row is None else str(row[0])


def _texts(db: "Connection", documents: Sequence[int]) -> dict[bytes, str]:
    """What is embedded of the chunks of some documents, by its hash, in an order that stays."""
    wanted = set(documents)
    rows = db.execute(
        """SELECT d.id, c.hash, d.title, c.headings, c.text FROM chunks c
        JOIN documents d ON d.id = c.document ORDER BY d.source, d.key, c.ordinal"""
    )
    return {
        mark: said(title, json.loads(above), text) for one, mark, title, above, text in rows if one in wanted
    }
