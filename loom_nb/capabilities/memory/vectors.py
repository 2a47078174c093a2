"""Vectors of notes: made piece by piece, so that the end of a long note counts as much as its beginning.

What an embedder does not know, such as words in a script of which it learnt nothing, has a vector of zeros:
near to nothing, and asked for no more.
"""

from typing import TYPE_CHECKING

from loom_nb.capabilities.memory.finding import Query
from loom_nb.capabilities.memory.store import NoteStore
from loom_nb.capabilities.unbroken import unbroken
from loom_nb.retrieval.analysis import query_terms
from loom_nb.retrieval.embedding import Embedder, vectors_of
from loom_nb.retrieval.retrying import Retrying
from loom_nb.runtime.retry import RetryPolicy

if TYPE_CHECKING:
    from loom_nb.retrieval.embedding import Vectors

PIECE = 900
"""Characters of a piece, about; pieces overlap."""
OVERLAP = 150
BATCH = 64
"""Pieces that are embedded at once."""
PATIENCE = RetryPolicy(max_attempts=2, first_delay=0.5, longest_retry_after=2.0)
"""With an embedder that is busy: a run that begins waits for it, and words find, too."""


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


async def embed_notes(
    store: NoteStore, embedder: Embedder, most: int = 256, dimension: int | None = None
) -> int:
    """Make the vectors of notes that have none yet, `most` notes at most; how many were made.

    Words leave for the embedder without what is known as a secret by now. Where the embedder has come to
    give vectors of another dimension, those that it gave before are forgotten, and made anew. Nobody waits
    in the event loop for another process that writes.

    Args:
        store: the notes.
        embedder: who is asked.
        most: notes, in one call.
        dimension: of its vectors, where that is known: that of a query.

    Raises:
        ModelError, LoomKeyError, EmbeddingError: the embedder failed; what was made before is kept.
    """
    embedder, done, is_known = Retrying(embedder, PATIENCE), 0, dimension is not None
    if dimension is not None:
        await unbroken(store.forget_vectors, embedder.name, dimension)
    while done < most:
        missing = await unbroken(store.without_vectors, embedder.name, min(BATCH, most - done))
        if not missing:
            break
        texts = [
            (number, piece)
            for number, text in missing
            for piece in pieces(store.clean(text))
            if not piece.isspace()
        ]
        rows: dict[int, list[Vectors]] = {number: [] for number, _ in missing}
        for start in range(0, len(texts), BATCH):
            some = texts[start : start + BATCH]
            made = await vectors_of(embedder, [piece for _, piece in some], "document", dimension, zeros=True)
            dimension = made.shape[1]
            for (number, _), row in zip(some, made, strict=True):
                rows[number].append(row)
        await unbroken(store.keep_vectors, embedder.name, rows)
        if dimension is not None and not is_known:
            is_known = True
            await unbroken(store.forget_vectors, embedder.name, dimension)
        done += len(missing)
    return done


async def embedded_query(embedder: Embedder | None, text: str) -> Query:
    """A query with its vector, where somebody embeds and there is something to look for.

    Raises as `embed_notes`.
    """
    if embedder is None or not query_terms(text):
        return Query(text)
    patient = Retrying(embedder, PATIENCE)
    made = await vectors_of(patient, [text], "query", zeros=True)
    return Query(text, made[0], patient.name, patient.least)
