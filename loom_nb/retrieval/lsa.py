"""Latent semantic analysis: an embedder fitted on the user's own texts, offline, with numpy alone.

Words that stand in the same texts come to lie near each other, so that a question finds a text that says
it in other words (Deerwester et al., "Indexing by Latent Semantic Analysis", 1990). Weights are
``ln(1 + tf) * ln((1 + N) / (1 + n))``, rows of length 1; the truncated SVD is the randomized one of Halko,
Martinsson & Tropp ("Finding Structure with Randomness", 2011), with a fixed seed, so the same texts give
the same vectors.
"""

import hashlib
import json
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

from loom_nb.errors import EmbeddingError
from loom_nb.retrieval.analysis import stems

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from loom_nb.retrieval.embedding import Kind, Vectors

LEAST_TEXTS = 50
"""Fewer texts say too little of which words belong together."""
MOST_WORDS = 30_000
"""Words that are kept: those in the most texts."""
MOST_TEXTS = 20_000
"""Texts that it is fitted on; of more, evenly spread ones."""
_OVER, _POWERS, _SEED = 16, 3, 20_110_503
_MAGIC = b"loom-lsa-1\n"
_CHUNK = 1 << 15


class LatentSemantics:
    """A fitted space of meaning. Make one by `fit` or `from_bytes`; it does not change.

    Args:
        words: those it knows, in order.
        idf: the weight of each.
        basis: one column a dimension, one row a word.
    """

    def __init__(
        self, words: Sequence[str], idf: "NDArray[np.float32]", basis: "NDArray[np.float32]"
    ) -> None:
        self._words = tuple(words)
        self._places = {word: place for place, word in enumerate(self._words)}
        self._idf = idf
        self._basis = basis

    @classmethod
    def fit(cls, texts: Sequence[str], dimension: int = 200) -> Self:
        """A space of at most `dimension` dimensions from these texts.

        Thousands of texts take seconds: call it in a thread.

        Raises:
            EmbeddingError: fewer than `LEAST_TEXTS` texts, or they share no words.
        """
        import numpy as np

        if len(texts) < LEAST_TEXTS:
            raise EmbeddingError(
                f"Too few texts to learn from: {len(texts)}",
                cause=f"latent semantic analysis needs {LEAST_TEXTS}",
                fixes=("leave the embedder out: words alone find, too",),
            )
        step = -(-len(texts) // MOST_TEXTS)
        counts = [Counter(stems(text)) for text in texts[::step]]
        having = Counter(word for count in counts for word in count)
        shared = [word for word, texts_with in having.items() if texts_with > 1]
        words = sorted(sorted(shared, key=lambda word: (-having[word], word))[:MOST_WORDS])
        if not words:
            raise EmbeddingError("The texts share no words to learn from")
        idf = np.log((1 + len(counts)) / (1 + np.array([having[word] for word in words]))).astype(np.float32)
        space = cls(words, idf, np.zeros((len(words), 0), np.float32))
        space._basis = _right_basis(space._sparse(counts), len(words), dimension)
        return space

    @property
    def dimension(self) -> int:
        """Numbers in each vector."""
        return int(self._basis.shape[1])

    @property
    def version(self) -> str:
        """The same for the same space: vectors of another version are of another space."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:12]

    def embed(self, texts: Sequence[str]) -> "Vectors":
        """One row of length 1 for each text; zeros where it has no word that is known."""
        import numpy as np

        rows = self._sparse([Counter(stems(text)) for text in texts]).times(self._basis)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        lengths[lengths < 1e-6] = np.inf
        unit: Vectors = (rows / lengths).astype(np.float32)
        return unit

    def to_bytes(self) -> bytes:
        """It as bytes, without pickle; the same for the same space."""
        head = json.dumps({"words": self._words, "dimension": self.dimension}, ensure_ascii=False).encode()
        basis = self._basis.astype("<f4").tobytes()
        return b"".join(
            (_MAGIC, struct.pack("<I", len(head)), head, self._idf.astype("<f4").tobytes(), basis)
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """It from its bytes. Raises EmbeddingError where they are damaged or of another version."""
        import numpy as np

        start = len(_MAGIC) + 4
        try:
            if not data.startswith(_MAGIC):
                raise ValueError("it does not begin like one")
            (size,) = struct.unpack("<I", data[len(_MAGIC) : start])
            head = json.loads(data[start : start + size])
            words, dimension = [str(word) for word in head["words"]], int(head["dimension"])
            numbers = np.frombuffer(data[start + size :], dtype="<f4").astype(np.float32)
            if not np.isfinite(numbers).all():
                raise ValueError("it holds NaN or infinity")
            basis = numbers[len(words) :].reshape(len(words), dimension)
        except (ValueError, KeyError, TypeError, struct.error) as error:
            raise EmbeddingError(
                "A kept space of meaning is damaged", cause=str(error), fixes=("index again",)
            ) from None
        return cls(words, numbers[: len(words)], basis)

    def _sparse(self, counts: Sequence[Counter[str]]) -> "_Sparse":
        import numpy as np

        columns, values, starts = [], [], [0]
        for count in counts:
            known = [
                (place, times)
                for word, times in count.items()
                if (place := self._places.get(word)) is not None
            ]
            columns += [place for place, _ in known]
            values += [times for _, times in known]
            starts.append(len(columns))
        column = np.array(columns, dtype=np.int64)
        weight = np.log1p(np.array(values, dtype=np.float32)) * self._idf[column]
        matrix = _Sparse(column, weight.astype(np.float32), np.array(starts, dtype=np.int64))
        return matrix.with_rows_of_length_one()


class LatentEmbedder:
    """A space of meaning as an `Embedder`.

    Args:
        space: fitted on the texts that are searched.
    """

    def __init__(self, space: LatentSemantics) -> None:
        self.space = space
        self.name = f"lsa:{space.version}"

    async def embed(self, texts: Sequence[str], *, kind: "Kind" = "document") -> "Vectors":
        """See `Embedder`; a text without known words has a row of zeros."""
        import asyncio
        import sys

        if len(texts) < 8 or sys.platform == "emscripten":
            return self.space.embed(texts)
        return await asyncio.to_thread(self.space.embed, texts)


class _Sparse:
    """A matrix of rows with few entries."""

    def __init__(
        self, columns: "NDArray[np.int64]", values: "NDArray[np.float32]", starts: "NDArray[np.int64]"
    ) -> None:
        self.columns, self.values, self.starts = columns, values, starts

    def with_rows_of_length_one(self) -> "_Sparse":
        import numpy as np

        lengths = np.sqrt(
            np.bincount(self.owners(), self.values.astype(np.float64) ** 2, len(self.starts) - 1)
        )
        scaled = self.values / np.where(lengths, lengths, 1.0)[self.owners()]
        return _Sparse(self.columns, scaled.astype(np.float32), self.starts)

    def owners(self) -> "NDArray[np.int64]":
        """The row of each entry."""
        import numpy as np

        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def times(self, dense: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """This matrix times a dense one."""
        return _gathered(self.owners(), self.columns, self.values, dense, len(self.starts) - 1)

    def turned_times(self, dense: "NDArray[np.float32]", columns: int) -> "NDArray[np.float32]":
        """Its transpose times a dense one."""
        import numpy as np

        order = np.argsort(self.columns, kind="stable")
        owners, values = self.owners()[order], self.values[order]
        return _gathered(self.columns[order], owners, values, dense, columns)


def _gathered(
    into: "NDArray[np.int64]",
    sources: "NDArray[np.int64]",
    values: "NDArray[np.float32]",
    dense: "NDArray[np.float32]",
    rows: int,
) -> "NDArray[np.float32]":
    """For each entry, its value times a row of `dense` is added to a row of the result; `into` is sorted."""
    import numpy as np

    result = np.zeros((rows, dense.shape[1]), dtype=np.float32)
    for chunk in _chunks(len(values)):
        targets = into[chunk]
        firsts = np.flatnonzero(np.diff(targets, prepend=-1))
        sums = np.add.reduceat(values[chunk, None] * dense[sources[chunk]], firsts, axis=0)
        result[targets[firsts]] += sums
    return result


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, count, _CHUNK))


def _right_basis(matrix: _Sparse, words: int, dimension: int) -> "NDArray[np.float32]":
    """The right singular vectors of the largest singular values, each with a fixed sign."""
    import numpy as np

    rows = len(matrix.starts) - 1
    width = min(dimension + _OVER, rows, words)
    start = np.random.default_rng(_SEED).standard_normal((words, width)).astype(np.float32)
    sample = matrix.times(start)
    for _ in range(_POWERS):
        sample = matrix.turned_times(np.linalg.qr(sample)[0], words)
        sample = matrix.times(np.linalg.qr(sample)[0])
    left = np.linalg.qr(sample)[0]
    _, sizes, right = np.linalg.svd(matrix.turned_times(left, words).T, full_matrices=False)
    kept = right[: min(dimension, int((sizes > 1e-4 * sizes[0]).sum()))]
    signs = np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])
    basis: NDArray[np.float32] = np.ascontiguousarray((kept * signs[:, None]).T, dtype=np.float32)
    return basis
