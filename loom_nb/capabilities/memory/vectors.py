"""Vectors of notes: made piece by piece, so that the end of a long note counts as much as its beginning."""

from typing import TYPE_CHECKING

from loom_nb.capabilities.memory.finding import Query
from loom_nb.capabilities.memory.store import NoteStore
from loom_nb.retrieval.embedding import Embedder, vectors_of

if TYPE_CHECKING:
    from loom_nb.retrieval.embedding import Vectors

PIECE = 900
"""Characters of a piece, about; pieces overlap."""
OVERLAP = 150
BATCH = 64
"""Pieces that are embedded at once."""


def pieces(text: str, size: int = PIECE, overlap: int = OVERLAP) -> list[str]:
    """A text in pieces that overlap, cut between words where that can be; nothing of it is left out."""
    found, start = [], 0
    while len(text) - start > size:
        blank = max(text.rfind(mark, start + size // 2, start + size) for mark in (" ", "\n", "。"))
        end = blank + 1 if blank > 0 else start + size
        found.append(text[start:end])
        start = end - overlap
        while start < end - 1 and overlap and not text[start - 1].isspace():
            start += 1
    return [*found, text[start:]]


async def embed_notes(store: NoteStore, embedder: Embedder, most: int = 256) -> int:
    """Make the vectors of notes that have none yet, `most` notes at most; how many were made.

    Raises:
        ModelError, LoomKeyError, EmbeddingError: the embedder failed; what was made before is kept.
    """
    done = 0
    while done < most and (missing := store.without_vectors(embedder.name, min(BATCH, most - done))):
        texts = [(number, piece) for number, text in missing for piece in pieces(text)]
        rows: dict[int, list[Vectors]] = {number: [] for number, _ in missing}
        for start in range(0, len(texts), BATCH):
            some = texts[start : start + BATCH]
            made = await vectors_of(embedder, [piece for _, piece in some], "document")
            for (number, _), row in zip(some, made, strict=True):
                rows[number].append(row)
        store.keep_vectors(embedder.name, rows)
        done += len(missing)
    return done


async def embedded_query(embedder: Embedder | None, text: str) -> Query:
    """A query with its vector, where somebody embeds. Raises as `embed_notes`."""
    if embedder is None or not text.strip():
        return Query(text)
    made = await vectors_of(embedder, [text], "query")
    return Query(text, made[0], embedder.name)
