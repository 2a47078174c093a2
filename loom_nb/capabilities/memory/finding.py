"""Finds the notes that a query may mean, in the full-text index and among the vectors, at a bounded cost.

The rarest terms of a query lead: what they find is ranked by BM25, as long as it is not too much. Terms that
stand in thousands of notes, or begin words that do, are only looked for together, or among the latest notes.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loom_nb.capabilities.memory.notes import Note, Viewer
from loom_nb.capabilities.memory.ranking import (
    Hit,
    MemoryWeights,
    in_order,
    is_beginning,
    ranked,
    term_weights,
    vector_scores,
    words_score,
)
from loom_nb.capabilities.memory.stems import asked, shorter, stem, typed_word
from loom_nb.capabilities.memory.tables import NOTE, note_of, seen_by, vector_key
from loom_nb.retrieval.embedding import LEAST_LIFT
from loom_nb.retrieval.vectors import Near, VectorIndex

if TYPE_CHECKING:
    from sqlite3 import Connection

    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

CANDIDATES = 48
RARE = 600
"""Notes that the leading terms may be in together, so that ranking them stays cheap."""
_LEADING = 12
"""Terms that lead at most."""
_MOST_LONGER = 200
"""Words that are counted of those that begin like a term; with more of them it is a common one."""
_LAST = "\U0010ffff"
_FEW = 1_000
"""Of fewer notes it is counted anew each time how many have a term: another one makes a difference."""
_DRIFT = 0.1
"""By which share a store grows or shrinks before it is counted anew how many notes have a term."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: words, and where somebody embeds, their vector."""

    text: str
    vector: "Vector | None" = None
    model: str = ""
    """Whose vector it is."""
    least: float = LEAST_LIFT
    """How far above the usual a cosine of that model must lie for a note to belong to a query."""


@dataclass(frozen=True, slots=True)
class Place:
    """From where, when and how: what ranking depends on beside query and note."""

    viewer: Viewer
    now: float
    weights: MemoryWeights


class Finder:
    """What is kept between two searches of a store: how frequent terms are, and the vectors. Any thread."""

    def __init__(self) -> None:
        self._turn = threading.RLock()
        self._frequencies: dict[str, int] = {}
        self._reaches: dict[str, int] = {}
        self._counted_at = -1
        self._vectors: dict[str, _Vectors] = {}

    def hits(
        self, db: "Connection", query: Query, place: Place, candidates: int = CANDIDATES, typing: bool = False
    ) -> list[Hit]:
        """The notes that may be meant, best first, with all that speaks for each; no threshold is applied.

        Where somebody is `typing`, the last word of the query need not be whole.
        """
        parts = asked(query.text)
        typed = typed_word(query.text) if typing else ""
        if typed:
            parts.pop(stem(typed), None)
            parts[typed] = ()
        notes, stems = db.execute("SELECT notes, stems FROM totals").fetchone()
        if not notes:
            return []
        with self._turn:
            frequencies = self._counts(db, [*parts, *(one for made in parts.values() for one in made)], notes)
            reaches = {term: self._reach(db, term, frequencies, made, typed) for term, made in parts.items()}
            near = vector_scores(self._near(db, query, candidates), place.weights)
        weights = term_weights(list(parts), frequencies, notes)
        numbers = _by_words(db, parts, frequencies, reaches, place.viewer, candidates, typed)
        found = _rows(db, [*dict.fromkeys([*numbers, *near])], place.viewer)
        hits = []
        for number, (note, note_stems) in found.items():
            words, terms = words_score(weights, parts, note_stems, stems / notes, typed)
            vector = None if query.vector is None else near.get(number, 0.0)
            hits.append(ranked(note, words, vector, terms, place.now, place.weights, query.least))
        return in_order(hits)

    def _counts(self, db: "Connection", terms: Sequence[str], notes: int) -> dict[str, int]:
        if abs(notes - self._counted_at) > _DRIFT * notes or len(self._frequencies) > 50_000:
            self._frequencies, self._reaches, self._counted_at = {}, {}, notes
        if notes < _FEW:
            self._frequencies, self._reaches = {}, {}
        for term in terms:
            if term not in self._frequencies:
                row = db.execute("SELECT doc FROM vocabulary WHERE term = ?", (term,)).fetchone()
                self._frequencies[term] = row[0] if row else 0
        return {term: self._frequencies[term] for term in terms}

    def _reach(
        self, db: "Connection", term: str, frequencies: Mapping[str, int], parts: Sequence[str], typed: str
    ) -> int:
        """In how many notes at most stands what a term is looked for by: it, words that begin so, parts."""
        made_of = min((frequencies[part] for part in parts), default=0)
        if term != typed and not is_beginning(term):
            return frequencies[term] + made_of
        if term not in self._reaches:
            longer = """SELECT coalesce(sum(doc), 0), count(*) FROM
                (SELECT doc FROM vocabulary WHERE term BETWEEN ? AND ? LIMIT ?)"""
            notes, words = db.execute(longer, (term, f"{term}{_LAST}", _MOST_LONGER)).fetchone()
            self._reaches[term] = notes if words < _MOST_LONGER else notes + RARE
        return self._reaches[term] + made_of

    def _near(self, db: "Connection", query: Query, candidates: int) -> Near:
        """The best cosine of each of the notes nearest in meaning, by number, and what is usual."""
        if query.vector is None:
            return Near({})
        kept = self._vectors.setdefault(query.model, _Vectors(query.model))
        return kept.near(db, query.vector, candidates)


class _Vectors:
    """All vectors of a model in memory. Each search takes over what is new, and drops what it finds gone."""

    def __init__(self, model: str) -> None:
        self._model = vector_key(model)
        self._index: VectorIndex | None = None
        self._seq = 0
        self._owner: dict[int, int] = {}
        """The note of each vector, both by number."""

    def near(self, db: "Connection", vector: "Vector", k: int) -> Near:
        """The best cosine of each of the nearest notes, by number, and the usual one of a piece."""
        self._catch_up(db, len(vector))
        while self._index is not None and len(self._index):
            found = self._index.near(vector, k)
            gone = [seq for seq in found.cosines if not self._is_there(db, seq)]
            if not gone:
                best: dict[int, float] = {}
                for seq, cosine in found.cosines.items():
                    best.setdefault(self._owner[seq], cosine)  # the nearest comes first
                return Near(best, found.usual)
            self._index.remove(gone)
        return Near({})

    def _is_there(self, db: "Connection", seq: int) -> bool:
        return db.execute("SELECT 1 FROM vectors WHERE seq = ?", (seq,)).fetchone() is not None

    def _catch_up(self, db: "Connection", dimension: int) -> None:
        import numpy as np

        if self._index is None or self._index.dimension != dimension:
            self._index, self._seq, self._owner = VectorIndex(dimension), 0, {}
        find = "SELECT seq, note, vector FROM vectors WHERE seq > ? AND model = ? AND length(vector) = ?"
        rows = db.execute(find, (self._seq, self._model, 4 * dimension)).fetchall()
        if rows:
            table = np.stack([np.frombuffer(row[2], dtype="<f4") for row in rows])
            good = np.isfinite(table).all(axis=1)
            kept = [row for row, is_good in zip(rows, good, strict=True) if is_good]
            self._index.add([row[0] for row in kept], table[good])
            self._owner |= {row[0]: row[1] for row in kept}
            self._seq = rows[-1][0]


def _by_words(
    db: "Connection",
    parts: Mapping[str, tuple[str, ...]],
    frequencies: Mapping[str, int],
    reaches: Mapping[str, int],
    viewer: Viewer,
    most: int,
    typed: str = "",
) -> list[int]:
    """Numbers of notes that have terms of the query.

    `frequencies` tells in how many notes a term stands, `reaches` in how many what it is looked for by.
    """
    if not parts:
        return []
    leading: list[str] = []
    sum_of = 0
    for term in sorted(parts, key=lambda term: reaches[term]):
        sum_of += reaches[term]
        if sum_of <= RARE and len(leading) < _LEADING:
            leading.append(term)
    numbers: list[int] = []
    if leading:
        either = " OR ".join(_expression(term, parts[term], term == typed) for term in leading)
        numbers = _matching(db, either, viewer, "rank", most)
    common = [term for term in parts if term not in leading and reaches[term]]
    if common:
        whole = [f'"{term}"' for term in parts if frequencies[term]]
        if whole:
            numbers += _matching(db, " AND ".join(whole), viewer, "rowid DESC", most)
        if len(numbers) < most // 2:
            rarest = min(common, key=lambda term: reaches[term])
            either = _expression(rarest, parts[rarest], rarest == typed)
            numbers += _matching(db, either, viewer, "rowid DESC", most)
    return numbers


def _matching(db: "Connection", expression: str, viewer: Viewer, order: str, most: int) -> list[int]:
    """Numbers of notes that match and are seen, the first of an order."""
    find = f"SELECT rowid FROM found WHERE found MATCH ? ORDER BY {order} LIMIT ?"  # noqa: S608  our own words
    values: tuple[str, ...] = ()
    if not viewer.everything and db.execute("SELECT 1 FROM notes WHERE place <> '' LIMIT 1").fetchone():
        where, values = seen_by(viewer)
        find = f"""SELECT n.number FROM found JOIN notes n ON n.number = found.rowid
            WHERE found MATCH ? AND {where} ORDER BY found.{order} LIMIT ?"""  # noqa: S608  our own words
    return [row[0] for row in db.execute(find, (expression, *values, most))]


def _expression(term: str, parts: tuple[str, ...], typed: bool) -> str:
    if typed:
        return "(" + " OR ".join([f'"{term}" *', *(f'"{one}"' for one in shorter(term))]) + ")"
    begins = f' OR "{term}" *' if is_beginning(term) else ""
    made_of = f" OR ({' AND '.join(f'{chr(34)}{part}{chr(34)}' for part in parts)})" if parts else ""
    return f'("{term}"{begins}{made_of})'


def _rows(db: "Connection", numbers: Sequence[int], viewer: Viewer) -> dict[int, tuple[Note, str]]:
    """The notes of these numbers that are seen, each with its stems."""
    where, values = seen_by(viewer)
    found = {}
    for start in range(0, len(numbers), 500):
        some = numbers[start : start + 500]
        marks = ",".join("?" * len(some))
        find = f"""SELECT {NOTE}, n.number, f.stems FROM notes n JOIN found f ON f.rowid = n.number
            WHERE n.number IN ({marks}) AND {where}"""  # noqa: S608  our own words
        for row in db.execute(find, (*some, *values)):
            note = note_of(row)
            if note is not None:
                found[row[3]] = (note, f" {row[4]}")
    return found
