"""VectorIndex: which of the vectors are nearest to one; exact, in memory, float32."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loom_nb.retrieval.embedding import checked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from loom_nb.retrieval.embedding import Vectors

    Vector = NDArray[np.float32]

_CROWD = 20
"""Of so many vectors most are strangers to any query."""
_ROOM = 256
"""Rows that there is room for to begin with; doubles as the index grows."""


def to_bytes(vector: "Vector") -> bytes:
    """One vector as it is kept in a row of a table: little-endian float32."""
    return vector.astype("<f4").tobytes()


@dataclass(frozen=True, slots=True)
class Near:
    """What a search by vector found."""

    cosines: Mapping[int, float]
    """The nearest, by id, the nearest first."""
    usual: float = 0.0
    """The median cosine of all that was compared, where they are enough; else 0."""


class VectorIndex:
    """Vectors by id. Not for several threads at once; a search does not change it.

    Every row is compared: a search takes time in proportion to the rows and to their numbers.

    Args:
        dimension: numbers in each vector.
    """

    def __init__(self, dimension: int) -> None:
        import numpy as np

        self.dimension = dimension
        self._table: Vectors = np.zeros((_ROOM, dimension), dtype=np.float32)
        self._ids = np.zeros(_ROOM, dtype=np.int64)
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def add(self, ids: Sequence[int], vectors: "Vectors") -> None:
        """Keep vectors; one whose id is there already is replaced.

        Args:
            ids: one for each row.
            vectors: need not have length 1.

        Raises:
            EmbeddingError: they are not what `checked` lets pass.
        """
        import numpy as np

        rows = checked(vectors, len(ids), self.dimension, name="the index", zeros=True)
        new = list(dict.fromkeys(key for key in ids if key not in self._places))
        count = len(self._places)
        if count + len(new) > len(self._ids):
            room = max(2 * len(self._ids), count + len(new))
            self._table = np.concatenate(
                [self._table, np.zeros((room - len(self._ids), self.dimension), np.float32)]
            )
            self._ids = np.concatenate([self._ids, np.zeros(room - len(self._ids), np.int64)])
        for place, key in enumerate(new, count):
            self._places[key] = place
            self._ids[place] = key
        self._table[[self._places[key] for key in ids]] = rows

    def remove(self, ids: Iterable[int]) -> None:
        """Forget vectors; an id that is not there is passed over."""
        for key in ids:
            place = self._places.pop(key, None)
            if place is None:
                continue
            last = len(self._places)
            if place != last:  # the last one moves into the gap
                moved = int(self._ids[last])
                self._table[place], self._ids[place] = self._table[last], moved
                self._places[moved] = place

    def near(self, vector: "Vector", k: int, among: Collection[int] | None = None) -> Near:
        """The `k` nearest by cosine, and what is usual.

        Args:
            vector: of this dimension; all zeros finds nothing. One that is shorter than 1 lowers the
                cosines: so `LatentEmbedder` says that it knows only a part of the question.
            k: how many at most.
            among: only these ids; None: all.

        Raises:
            EmbeddingError: the vector is not what `checked` lets pass.
        """
        import numpy as np

        wanted = checked(np.asarray(vector)[None], 1, self.dimension, name="the query", zeros=True)[0]
        wanted *= min(1.0, float(np.linalg.norm(vector)))
        count = len(self._places)
        if among is None:
            places = None
            cosines = self._table[:count] @ wanted
        else:
            places = np.fromiter((self._places[key] for key in among if key in self._places), dtype=np.int64)
            cosines = self._table[places] @ wanted
        if not len(cosines) or k < 1 or not wanted.any():
            return Near({})
        usual = float(np.median(cosines)) if len(cosines) >= _CROWD else 0.0
        top = np.arange(len(cosines))
        if k < len(cosines):
            top = np.argpartition(cosines, -k)[-k:]
        ids = self._ids[:count][top] if places is None else self._ids[places[top]]
        order = np.lexsort((ids, -cosines[top]))
        found = {int(ids[at]): float(cosines[top[at]]) for at in order}
        return Near(found, usual)
