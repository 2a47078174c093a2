"""Latent semantic analysis: an embedder fitted on the user's own texts, offline, with numpy alone.

Words that stand in the same texts come to lie near each other, so that a question finds a text that says
it in other words (Deerwester et al., "Indexing by Latent Semantic Analysis", 1990). Runs of four letters
count beside the words, so that a misspelt one is near what was meant. Weights are
``ln(1 + tf) * ln((1 + N) / (1 + n))``, rows of length 1; the truncated SVD is the randomized one of Halko,
Martinsson & Tropp ("Finding Structure with Randomness", 2011), with a fixed seed, so the same texts give
the same vectors.
"""

import hashlib
import json
import math
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from loom_nb.errors import EmbeddingError
from loom_nb.retrieval.analysis import stems

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from loom_nb.retrieval.embedding import Kind, Vectors

DIMENSION = 300
"""Numbers of a vector, where the texts have as many to give."""
LEAST_TEXTS = 50
"""Fewer texts say too little of which words belong together."""
LEAST_LIFT = 0.45
"""A cosine from which a text belongs to a question; from 0.3 on, a fourth of foreign questions found some."""
MOST_WORDS = 30_000
"""Words and runs of letters that are kept: those in the most texts."""
MOST_TEXTS = 8_000
"""Texts that it is fitted on; of more, evenly spread ones."""
_LETTERS = 0.3
"""What a run of four letters counts beside a word: so forms of a word and misspelt ones are near it."""
_OVER, _POWERS, _SEED = 16, 2, 20_110_503
_LEAST_SIZE = 1e-3
"""Of the largest singular value: smaller ones are noise of the arithmetic."""
_MAGIC = b"loom-lsa-1\n"


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
    def fit(
        cls, texts: Sequence[str], dimension: int = DIMENSION, tell: Callable[[float], None] = lambda _: None
    ) -> Self:
        """A space of at most `dimension` dimensions from these texts.

        Thousands of texts take seconds: call it in a thread.

        Args:
            texts: what is searched, or what is like it.
            dimension: how many numbers a vector has at most.
            tell: called now and then with the share that is done; what it raises ends the work.

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
        chosen = _spread(texts)
        counts = []
        for done, text in enumerate(chosen):
            counts.append(_features(text))
            if done % 256 == 0:
                tell(0.3 * done / len(chosen))
        having = Counter(word for count in counts for word in count)
        shared = [word for word, texts_with in having.items() if texts_with > 1]
        words = sorted(sorted(shared, key=lambda word: (-having[word], word))[:MOST_WORDS])
        if not words:
            raise EmbeddingError("The texts share no words to learn from")
        idf = np.log((1 + len(counts)) / (1 + np.array([having[word] for word in words]))).astype(np.float32)
        space = cls(words, idf, np.zeros((len(words), 0), np.float32))
        space._basis = _right_basis(space._sparse(counts), dimension, tell)
        return space

    @property
    def dimension(self) -> int:
        """Numbers in each vector."""
        return int(self._basis.shape[1])

    @cached_property
    def version(self) -> str:
        """The same for the same space: vectors of another version are of another space."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:12]

    def embed(self, texts: Sequence[str], *, kind: "Kind" = "document") -> "Vectors":
        """One row of length 1 for each text; zeros where it has no word that is known.

        A query whose words are not all known has a shorter row, by the weight of those that are: of
        "how long does an egg boil" a book about bridges knows "long", and that is not the question.
        """
        import numpy as np

        counts = [_features(text) for text in texts]
        rows = self._sparse(counts).times(self._basis)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        lengths[lengths < 1e-6] = np.inf
        if kind == "query":
            rows *= np.array([self._known(count) for count in counts], dtype=np.float32)[:, None]
        unit: Vectors = (rows / lengths).astype(np.float32)
        return unit

    def _known(self, count: Mapping[str, float]) -> float:
        """Which share of a question has known words, by length in the space of all words."""
        strange = float(self._idf.max(initial=1.0))
        known = missed = 0.0
        for word, times in count.items():
            place = self._places.get(word)
            weight = math.log1p(times) * (strange if place is None else float(self._idf[place]))
            known, missed = (known, missed + weight**2) if place is None else (known + weight**2, missed)
        return math.sqrt(known / (known + missed)) if known else 0.0

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

    def _sparse(self, counts: Sequence[Mapping[str, float]]) -> "_Sparse":
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
        matrix = _Sparse(
            column, weight.astype(np.float32), np.array(starts, dtype=np.int64), len(self._words)
        )
        return matrix.with_rows_of_length_one()


class LatentEmbedder:
    """A space of meaning as an `Embedder`.

    Args:
        space: fitted on the texts that are searched.
    """

    def __init__(self, space: LatentSemantics) -> None:
        self.space = space
        self.name = f"lsa:{space.version}"
        self.least = LEAST_LIFT

    async def embed(self, texts: Sequence[str], *, kind: "Kind" = "document") -> "Vectors":
        """See `Embedder`; a text without known words has a row of zeros."""
        import asyncio
        import sys

        if len(texts) < 8 or sys.platform == "emscripten":
            return self.space.embed(texts, kind=kind)
        return await asyncio.to_thread(self.space.embed, texts, kind=kind)

    async def close(self) -> None:
        """Nothing is open."""


class _Sparse:
    """A matrix of rows with few entries; both products with a dense one take a row at a time."""

    def __init__(
        self,
        columns: "NDArray[np.int64]",
        values: "NDArray[np.float32]",
        starts: "NDArray[np.int64]",
        width: int,
    ) -> None:
        self.columns, self.values, self.starts, self.width = columns, values, starts, width

    @property
    def height(self) -> int:
        return len(self.starts) - 1

    def with_rows_of_length_one(self) -> "_Sparse":
        import numpy as np

        owners = self._owners()
        lengths = np.sqrt(np.bincount(owners, self.values.astype(np.float64) ** 2, self.height))
        scaled = self.values / np.where(lengths, lengths, 1.0)[owners]
        return _Sparse(self.columns, scaled.astype(np.float32), self.starts, self.width)

    def turned(self) -> "_Sparse":
        """Its transpose."""
        import numpy as np

        order = np.argsort(self.columns, kind="stable")
        starts = np.searchsorted(self.columns[order], np.arange(self.width + 1))
        return _Sparse(self._owners()[order], self.values[order], starts, self.height)

    def times(
        self, dense: "NDArray[np.float32]", pulse: Callable[[], None] = lambda: None
    ) -> "NDArray[np.float32]":
        """This matrix times a dense one; `pulse` is called now and then, and may end the work by raising."""
        import numpy as np

        result = np.zeros((self.height, dense.shape[1]), dtype=np.float32)
        ends = self.starts.tolist()
        for row, (start, end) in enumerate(pairwise(ends)):
            if row % 1_024 == 0:
                pulse()
            if start < end:
                np.dot(self.values[start:end], dense[self.columns[start:end]], out=result[row])
        return result

    def _owners(self) -> "NDArray[np.int64]":
        """The row of each entry."""
        import numpy as np

        return np.repeat(np.arange(self.height), np.diff(self.starts))


def _spread(texts: Sequence[str], most: int = MOST_TEXTS) -> Sequence[str]:
    """All of them, or as many as it is fitted on, evenly spread."""
    return texts if len(texts) <= most else [texts[at * len(texts) // most] for at in range(most)]


def _features(text: str) -> dict[str, float]:
    """How often each word stands in a text, and, for less, each run of four letters within its words."""
    found: dict[str, float] = {}
    for word, times in Counter(stems(text)).items():
        found[word] = found.get(word, 0.0) + times
        for run in _letters(word):
            found[run] = found.get(run, 0.0) + times * _LETTERS
    return found


@lru_cache(maxsize=1 << 16)
def _letters(word: str) -> tuple[str, ...]:
    marked = f"<{word}>"
    return tuple(f"~{marked[at : at + 4]}" for at in range(len(marked) - 3)) if len(word) > 2 else ()


def _right_basis(matrix: _Sparse, dimension: int, tell: Callable[[float], None]) -> "NDArray[np.float32]":
    """The right singular vectors of the largest singular values, each with a fixed sign."""
    import numpy as np

    turned = matrix.turned()
    width = min(dimension + _OVER, matrix.height, matrix.width)
    start = np.random.default_rng(_SEED).standard_normal((matrix.width, width)).astype(np.float32)
    share = 0.3

    def pulse() -> None:
        tell(share)

    left, _ = _orthogonal(matrix.times(start, pulse))
    for _ in range(_POWERS):
        left, _ = _orthogonal(matrix.times(turned.times(left, pulse), pulse))
        share += 0.6 / _POWERS
    right, sizes = _orthogonal(turned.times(left, pulse))
    kept = right[:, : min(dimension, int((sizes > _LEAST_SIZE * sizes[0]).sum()))]
    signs = np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(kept.shape[1])])
    basis: NDArray[np.float32] = np.ascontiguousarray(kept * signs)
    tell(1.0)
    return basis


def _orthogonal(table: "NDArray[np.float32]") -> "tuple[NDArray[np.float32], NDArray[np.float64]]":
    """Columns of length 1 that span the same, at right angles; and the singular values, the largest first.

    By the small matrix of products and not by QR or SVD, which take ten times as long where several
    threads share a few cores.
    """
    import numpy as np

    wide = table.astype(np.float64)
    squares, turn = np.linalg.eigh(wide.T @ wide)
    order = np.argsort(-squares, kind="stable")
    sizes = np.sqrt(np.maximum(squares[order], 0.0))
    scale = np.where(sizes > 1e-6 * sizes[0], sizes, np.inf)
    columns: NDArray[np.float32] = (wide @ (turn[:, order] / scale)).astype(np.float32)
    return columns, sizes
