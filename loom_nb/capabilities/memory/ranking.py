"""How notes are ranked: what speaks for one, each part visible, and one number from 0 to 1.

    score = (w_words · words + w_vector · vector + w_salience · salience + w_recency · recency) / Σ w

A sum of relevance, importance and recency, each brought to 0..1, as Park et al. rank the memories of their
agents (Generative Agents, 2023, section 4.1). Relevance has two voices here, words and meaning, and either
is enough: a note comes back only if `words` or `vector` reaches the threshold. The other two only order
what is relevant; nothing comes back for being new or important.

- words: BM25 (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009, k1 = 1.2, b = 0.75) as
  the share that the note has of what the query could get at most, so that it means the same in every store:

      words = Σ_t∈note idf(t) · min(1, tf·(k1+1) / (tf + k1·(1 - b + b·len/mean))) / Σ_t∈query idf(t)
      idf(t) = ln(1 + (N - n + ½) / (n + ½))

  of a store with N notes, n of which have the term; N counts as 10 at least, so that in a memory that has
  just begun a word says something, too. A word that only begins like a term counts 0.7. Of long queries the
  twelve terms that weigh most are what a note could get at most.
- vector: how far the cosine of the nearest piece of the note lies above what is usual, to 1. Usual is the
  median of all pieces, where they are twenty or more, and at least `vector_floor`: embedders differ in the
  cosine that they give to strangers, from 0 to 0.8. A note that no word speaks for comes back only from
  what the embedder says is near (`least`). 0 without an embedder, and its weight does not count then.
- salience: 0.5 · importance + 0.3 if pinned + 0.2 · min(1, ln(1 + uses) / ln 21).
- recency: ½ ^ (days since it was written or last recalled / half-life of its scope); 1 in scope semantic.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from loom_nb.capabilities.memory.notes import Note
from loom_nb.capabilities.memory.stems import shorter
from loom_nb.checks import check, number
from loom_nb.errors import LoomUsageError
from loom_nb.retrieval.fusion import lifted
from loom_nb.retrieval.vectors import Near

K1, B = 1.2, 0.75
FEWEST = 10
"""Notes that a store counts for at least: of few notes, each word stands in most of them."""
MOST_WEIGHED = 12
"""Terms of a query that count in what a note could get at most."""
BEGINS = 0.7
"""What a word counts that only begins like a term."""
SHORTEST_BEGINNING = 5
"""Letters of a term that longer words are found by."""
_WEAK_WORDS = """
    call name know tell show give find look want need like make think say said told use thing kind sort type
    many long often time way good best please remember recall note notes again usual usually does work
    mean go come keep continue
    heiss heisst nenn sag zeig gib find brauch mach wiss weiss appel dire donn trouv fair"""
"""Stems that questions are made with, and that say little of what they are about."""
_WEAK = frozenset(_WEAK_WORDS.split())
_WEAKNESS = 0.35
COMPONENTS = ("words", "vector", "salience", "recency")
DAY = 86_400.0
_MOST_USES = math.log(21)


_NUMBERS = {
    **dict.fromkeys(("words", "vector", "salience", "recency"), number(0, such_as="0.5")),
    **dict.fromkeys(
        ("half_life_days", "working_half_life_days"), number(above=0, unit="a number of days", such_as="30")
    ),
    "vector_floor": number(0, such_as="0.1"),
}


@dataclass(frozen=True, slots=True)
class MemoryWeights:
    """What counts how much when notes are ranked; see `loom_nb.capabilities.memory.ranking`.

    Raises:
        LoomUsageError: a weight is negative or none is positive, a half-life is not positive, or the floor
            is not from 0 to below 1.
    """

    words: float = 1.0
    vector: float = 1.0
    salience: float = 0.2
    recency: float = 0.1
    half_life_days: float = 30.0
    """Of notes of scope persistent and session."""
    working_half_life_days: float = 1.0
    vector_floor: float = 0.1
    """The cosine that texts without anything in common have at least, for the embedder that is used."""

    def __post_init__(self) -> None:
        check(self, _NUMBERS)
        if not self.words + self.vector > 0:
            raise LoomUsageError(
                "MemoryWeights: weights are numbers from 0 on, and words or vector counts",
                fixes=["MemoryWeights(words=1, vector=1, salience=0.2, recency=0.1)"],
            )
        if not 0 <= self.vector_floor < 1:
            raise LoomUsageError("MemoryWeights: vector_floor is from 0 to below 1")


class Hit(msgspec.Struct, frozen=True):
    """A note that was found, and why."""

    note: Note
    score: float = 0.0
    components: dict[str, float] = {}
    """`words`, `vector`, `salience`, `recency`, each 0 to 1; empty where nothing was looked for."""
    terms: tuple[str, ...] = ()
    """The stems of the query that stand in it."""
    least: float = 0.0
    """What `vector` has to be to say that it belongs to the query; that of the embedder."""

    @property
    def relevance(self) -> float:
        """What is held against the threshold."""
        vector = self.components.get("vector", 0.0)
        return max(self.components.get("words", 0.0), vector if vector >= self.least else 0.0)

    def why(self) -> str:
        """In a line: "words 0.62 (coffee, milk) · salience 0.25 · recency 0.98"."""
        told = [f"{name} {value:.2f}" for name, value in self.components.items() if value]
        if self.terms and told:
            told[0] += f" ({', '.join(self.terms)})"
        return " · ".join(told) or ("pinned" if self.note.pinned else "")


def term_weights(terms: Sequence[str], frequencies: Mapping[str, int], notes: int) -> dict[str, float]:
    """How much each term of a query says, by how few notes have it."""
    weights, notes = {}, max(notes, FEWEST)
    for term in terms:
        n = min(frequencies.get(term, 0), notes)
        weight = math.log(1 + (notes - n + 0.5) / (n + 0.5))
        if term in _WEAK:
            weight *= _WEAKNESS
        elif not n and not term.isascii() and len(term) == 2:
            weight *= _WEAKNESS  # pairs of characters across the borders of words, which stand nowhere
        weights[term] = weight
    return weights


def words_score(
    weights: Mapping[str, float],
    parts: Mapping[str, tuple[str, ...]],
    stems: str,
    mean: float,
    typed: str = "",
) -> tuple[float, tuple[str, ...]]:
    """The component `words` of a note, and which terms it has.

    Args:
        weights: of the terms of the query.
        parts: of which other stems a term is made, where it is made of some.
        stems: of the note, with a blank before each.
        mean: stems of a note in this store, on average.
        typed: one of the terms that is being typed, and need not be whole.
    """
    most = sum(sorted(weights.values(), reverse=True)[:MOST_WEIGHED])
    if not most or not stems:
        return 0.0, ()
    counts = Counter(stems.split())
    length = K1 * (1 - B + B * min(counts.total() / max(mean, 1.0), 4.0))
    total, found = 0.0, []
    for term, weight in weights.items():
        times: float = counts[term]
        if not times and (made_of := parts.get(term)):
            times = min(counts[part] for part in made_of)
        if not times and term == typed and (f" {term}" in stems or any(counts[one] for one in shorter(term))):
            times = BEGINS
        if not times and is_beginning(term) and f" {term}" in stems:
            times = BEGINS
        if times:
            found.append(term)
            total += weight * min(1.0, times * (K1 + 1) / (times + length))
    return min(1.0, total / most), tuple(found)


def is_beginning(term: str) -> bool:
    """Whether longer words are found by a term."""
    return len(term) >= SHORTEST_BEGINNING and term.isalpha()


def vector_scores(near: Near, weights: MemoryWeights) -> dict[int, float]:
    """The component `vector`, by what was found."""
    return lifted(near.cosines, max(near.usual, weights.vector_floor))


def salience(note: Note) -> float:
    """The component of that name: how much a note matters, whatever is asked."""
    used = min(1.0, math.log1p(max(note.uses, 0)) / _MOST_USES)
    return min(1.0, 0.5 * note.importance + 0.3 * note.pinned + 0.2 * used)


def recency(note: Note, now: float, weights: MemoryWeights) -> float:
    """The component of that name: how fresh it is."""
    if note.scope == "semantic":
        return 1.0
    days = max(0.0, now - max(note.updated, note.used)) / DAY
    half = weights.working_half_life_days if note.scope == "working" else weights.half_life_days
    return float(0.5 ** (days / half))


def ranked(
    note: Note, words: float, vector: float | None, terms: tuple[str, ...], now: float,
    weights: MemoryWeights, least: float = 0.0,
) -> Hit:  # fmt: skip
    """A hit with its score and components, rounded so that they read the same everywhere.

    Args:
        note: what was found.
        words: that component.
        vector: that component; None: nobody looked for meaning.
        terms: that it has.
        now: seconds since the epoch.
        weights: what counts how much.
        least: what `vector` has to be to count as relevant.
    """
    parts: dict[str, float] = {
        "words": words,
        "salience": salience(note),
        "recency": recency(note, now, weights),
    }
    if vector is not None:
        parts["vector"] = vector
    sum_of_weights = sum(getattr(weights, name) for name in parts)
    score = sum(getattr(weights, name) * value for name, value in parts.items()) / sum_of_weights
    shown: dict[str, float] = {name: round(parts[name], 4) for name in COMPONENTS if name in parts}
    return Hit(note, round(score, 4), shown, terms, least)


def in_order(hits: Sequence[Hit]) -> list[Hit]:
    """Best first; of equals the one that was written later."""
    return sorted(hits, key=lambda hit: (-hit.score, -hit.note.updated, hit.note.id))
