"""Embedder: what turns texts into vectors, and the check that its vectors can be used."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from loom_nb.errors import EmbeddingError, LoomError
from loom_nb.wording import counted, one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
    """One row a text."""

LEAST_LIFT = 0.3
"""How far above the usual a cosine must lie for a text to belong to a question; see `fusion.lifted`.

Not measured here, where there is no such model: published figures of common ones lie around it.
"""
Kind = Literal["document", "query"]


class Embedder(Protocol):
    """Turns texts into vectors whose cosine tells how near they are in meaning."""

    @property
    def name(self) -> str:
        """Which model, by which its vectors are kept apart from those of others: `openai:…`."""
        ...

    @property
    def least(self) -> float:
        """How far above the usual a cosine of it must lie for a text to belong to a question; 0 to 1."""
        ...

    async def embed(self, texts: Sequence[str], *, kind: Kind = "document") -> "Vectors":
        """One row of float32 for each text, all of the same dimension.

        Each has length 1, but for texts that say nothing to the model (a blank one): these are all zeros,
        and near to nothing.

        Args:
            texts: may be none; any of them may be empty or long.
            kind: some models read a question in another way than what it looks for.

        Raises:
            ModelError: the model could not be asked.
            LoomKeyError: there is no key.
            EmbeddingError: its answer cannot be used.
        """
        ...

    async def close(self) -> None:
        """Let go of connections, on the loop that used them. May be called twice."""
        ...


async def vectors_of(
    embedder: Embedder,
    texts: Sequence[str],
    kind: Kind,
    dimension: int | None = None,
    *,
    zeros: bool = False,
) -> "Vectors":
    """Ask an embedder, whoever wrote it; its vectors as `checked` gives them.

    Args:
        embedder: who is asked.
        texts: for which there is to be a vector each.
        kind: as for `Embedder.embed`.
        dimension: as for `checked`.
        zeros: as for `checked`.

    Raises:
        ModelError, LoomKeyError: it could not ask.
        EmbeddingError: it failed in another way, or what it gave cannot be used.
    """
    try:
        made = await embedder.embed(texts, kind=kind)
    except LoomError:
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {one_line(str(error), 200)}"
        raise EmbeddingError(f"The embedder {embedder.name} failed", cause=cause) from error
    return checked(made, len(texts), dimension, name=embedder.name, zeros=zeros)


def checked(
    vectors: Any, count: int, dimension: int | None = None, *, name: str = "the embedder", zeros: bool = False
) -> "Vectors":
    """Vectors as they may be kept: float32, each of length 1.

    Args:
        vectors: rows of numbers as they came.
        count: how many texts were asked for.
        dimension: what a row must have; None: all the same, and at least one.
        name: who made them, for the message.
        zeros: whether a vector may be all zeros.

    Raises:
        EmbeddingError: too few or too many, of another dimension, with NaN or infinity, or all zeros.
    """
    import numpy as np

    try:
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinity, and is refused
            table = np.asarray(vectors, dtype=np.float32)
    except (ValueError, TypeError):
        raise _refused(name, "its vectors differ in length, or hold what is no number") from None
    if count == 0 and table.size == 0:
        return np.zeros((0, dimension or 0), dtype=np.float32)
    if table.ndim != 2 or table.shape[0] != count:
        rows = table.shape[0] if table.ndim else 0
        raise _refused(name, f"it gave {counted(rows, 'vector')} for {counted(count, 'text')}")
    if table.shape[1] == 0 or (dimension is not None and table.shape[1] != dimension):
        raise EmbeddingError(
            f"The vectors of {name} do not fit the index",
            cause=f"they have {counted(table.shape[1], 'number')}, those of the index {dimension}",
            fixes=("use the embedder that made the index", "index again with the new embedder"),
        )
    if not np.isfinite(table).all():
        raise _refused(name, "a vector holds NaN or infinity")
    lengths = np.linalg.norm(table.astype(np.float64), axis=1)
    if not zeros and not lengths.all():
        raise _refused(
            name, f"text {int(np.argmin(lengths)) + 1} has a vector of zeros, which is near to nothing"
        )
    unit: Vectors = (table / np.where(lengths, lengths, 1.0)[:, None]).astype(np.float32)
    return unit


def _refused(name: str, cause: str) -> EmbeddingError:
    return EmbeddingError(
        f"The vectors of {name} cannot be used",
        cause=cause,
        fixes=("check that the model is one for embeddings", "leave the embedder out: words alone find, too"),
    )
