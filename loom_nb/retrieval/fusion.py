"""How what was found by words and what was found by meaning become one ranking, and what is left out.

Each component is a number from 0 to 1 that can be shown beside the result. Some of them say which texts
belong to the question at all (`by_words`, `by_vector`); others, as how new a text is, only order what
belongs. So a question to which nothing belongs gets nothing, however fresh or important the texts are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loom_nb.retrieval.embedding import LEAST_LIFT
from loom_nb.retrieval.full_text import Hit
from loom_nb.retrieval.vectors import Near

WORDS_WEIGHT = 1.0
VECTOR_WEIGHT = 0.6
"""Tuned on one half of the questions of `tests/retrieval/test_quality.py`, which reports the other."""
LEAST_ANSWERED = 0.3
"""The share of a question that a text must answer by its words to belong to it."""


@dataclass(frozen=True, slots=True)
class Component:
    """One view of the texts: what each is worth by it, and which it lets in."""

    name: str
    values: Mapping[int, float]
    """By id, 0 to 1; a text that is not named has 0."""
    weight: float = 1.0
    lets_in: frozenset[int] = field(default_factory=frozenset)
    """Texts that belong to the question by this view."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One text in a ranking."""

    id: int
    score: float
    """0 to 1."""
    components: Mapping[str, float]
    """What the score is made of: by component its value, 0 to 1, before its weight."""


def by_words(
    hits: Sequence[Hit], *, weight: float = WORDS_WEIGHT, least: float = LEAST_ANSWERED
) -> Component:
    """What `full_text.search` found: ``bm25 / the highest bm25``.

    A text is let in where it answers a share of at least `least` of the question.
    """
    best = max((hit.bm25 for hit in hits), default=0.0) or 1.0
    values = {hit.rowid: hit.bm25 / best for hit in hits}
    return Component("words", values, weight, frozenset(hit.rowid for hit in hits if hit.answered >= least))


def by_vector(near: Near, *, weight: float = VECTOR_WEIGHT, least: float = LEAST_LIFT) -> Component:
    """What `VectorIndex.near` found: the cosines, `lifted`.

    A text is let in where its value is at least `least`: give that of the embedder.
    """
    values = lifted(near.cosines, near.usual)
    return Component(
        "vector", values, weight, frozenset(key for key, value in values.items() if value >= least)
    )


def weighted(components: Sequence[Component]) -> list[Ranked]:
    """The texts that any component lets in, the best first, by the weighted mean of their values.

    ``score = sum(weight * value) / sum(weight)`` over the components that are given: one that is not
    available, such as vectors, is not given, and then does not pull the scores down. Texts of equal score
    are in the order of their ids.
    """
    total = sum(one.weight for one in components) or 1.0
    return _ordered(
        components,
        {
            key: sum(one.weight * _value(one, key) for one in components) / total
            for key in _let_in(components)
        },
    )


def lifted(cosines: Mapping[int, float], usual: float) -> dict[int, float]:
    """Cosines as values from 0 to 1: ``(cosine - usual) / (1 - usual)``, 0 for what is usual or less.

    Models differ in the cosine that they give to strangers, from 0 to 0.7; what lies above it says
    something.

    Args:
        cosines: by id.
        usual: of a stranger: the median over all texts; see `vectors.Near`.
    """
    floor = min(max(usual, 0.0), 0.99)
    return {key: min(1.0, max(0.0, (cosine - floor) / (1.0 - floor))) for key, cosine in cosines.items()}


def _let_in(components: Sequence[Component]) -> frozenset[int]:
    return frozenset[int]().union(*(one.lets_in for one in components))


def _value(component: Component, key: int) -> float:
    return min(1.0, max(0.0, component.values.get(key, 0.0)))


def _ordered(components: Sequence[Component], scores: Mapping[int, float]) -> list[Ranked]:
    return [
        Ranked(key, scores[key], {one.name: _value(one, key) for one in components})
        for key in sorted(scores, key=lambda key: (-scores[key], key))
    ]
