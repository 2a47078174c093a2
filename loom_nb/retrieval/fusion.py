"""How what was found by words and what was found by meaning become one ranking, and what is left out.

Each component is a number from 0 to 1 that can be shown beside the result. Two of them decide whether a
text belongs to the question at all (`words`, `vector`); the others (`salience`, `recency`) only order what
belongs. So a question to which nothing belongs gets nothing, however fresh or important the texts are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

RRF_K = 60
"""The constant of reciprocal rank fusion, as its authors found it."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What a component counts in the weighted sum, and the least that it must be to let a text in.

    The defaults were tuned on one half of the questions of `tests/retrieval`, and are reported on the other.
    """

    weights: Mapping[str, float] = field(
        default_factory=lambda: {"words": 1.0, "vector": 1.0, "salience": 0.15, "recency": 0.1}
    )
    """By component; one that is not named counts nothing."""
    thresholds: Mapping[str, float] = field(default_factory=lambda: {"words": 0.3, "vector": 0.35})
    """A text is let in where one of these components reaches its threshold."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One text in a ranking."""

    id: int
    score: float
    components: Mapping[str, float]
    """What the score is made of, each from 0 to 1 before its weight."""


def weighted(components: Mapping[str, Mapping[int, float]], weights: Weights | None = None) -> list[Ranked]:
    """The texts that belong to the question, the best first, by the weighted mean of their components.

    ``score = sum(weight[c] * value[c]) / sum(weight[c])`` over the components that were looked at; a text
    that a component does not name has 0 there. Texts of equal score are in the order of their ids.

    Args:
        components: for each component its value by id, 0 to 1. A component that is not available (no
            vectors) is left out of the mapping, and then does not pull the score down.
        weights: what they count.
    """
    chosen = weights or Weights()
    total = sum(chosen.weights.get(name, 0.0) for name in components) or 1.0
    found = []
    for key in _let_in(components, chosen.thresholds):
        values = {name: min(1.0, max(0.0, of.get(key, 0.0))) for name, of in components.items()}
        score = sum(chosen.weights.get(name, 0.0) * value for name, value in values.items()) / total
        found.append(Ranked(key, score, values))
    return sorted(found, key=lambda one: (-one.score, one.id))


def reciprocal(
    components: Mapping[str, Mapping[int, float]], weights: Weights | None = None, *, k: int = RRF_K
) -> list[Ranked]:
    """The texts that belong to the question, the best first, by reciprocal rank fusion.

    ``score = sum(weight[c] / (k + rank[c]))``, scaled so that first in all components is 1; ranks begin
    at 1, and a text that a component does not name gets nothing from it (Cormack, Clarke & Büttcher,
    "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods", SIGIR 2009).

    Args:
        components: see `weighted`.
        weights: see `weighted`.
        k: how little the first places stand out.
    """
    chosen = weights or Weights()
    total = sum(chosen.weights.get(name, 0.0) for name in components) or 1.0
    ranks = {name: _ranks(of) for name, of in components.items()}
    found = []
    for key in _let_in(components, chosen.thresholds):
        score = sum(
            chosen.weights.get(name, 0.0) * (k + 1) / (k + of[key]) for name, of in ranks.items() if key in of
        )
        values = {name: min(1.0, max(0.0, of.get(key, 0.0))) for name, of in components.items()}
        found.append(Ranked(key, score / total, values))
    return sorted(found, key=lambda one: (-one.score, one.id))


def recency(age_seconds: float, half_life_seconds: float) -> float:
    """1 for now, 1/2 after each half-life: ``0.5 ** (age / half_life)``. The future counts as now."""
    return math.pow(0.5, max(0.0, age_seconds) / half_life_seconds)


def salience(importance: float, uses: int = 0, *, pinned: bool = False) -> float:
    """How much a note stands out, whatever is asked: 1 where it is pinned.

    Else ``0.7 * importance + 0.3 * (1 - 1 / (1 + ln(1 + uses)))``: use counts for less and less.

    Args:
        importance: 0 to 1, as its author said.
        uses: how often it was used.
        pinned: a person pinned it.
    """
    if pinned:
        return 1.0
    habit = 1.0 - 1.0 / (1.0 + math.log1p(max(0, uses)))
    return 0.7 * min(1.0, max(0.0, importance)) + 0.3 * habit


def lifted(cosines: Mapping[int, float], usual: float) -> dict[int, float]:
    """Cosines as values from 0 to 1: ``(cosine - usual) / (1 - usual)``, 0 for what is usual or less.

    Models differ in the cosine that they give to strangers, from 0 to 0.7; what lies above it says
    something.

    Args:
        cosines: by id.
        usual: of a stranger: the median over all texts; see `vectors.Near`.
    """
    floor = min(max(usual, 0.0), 0.99)
    return {key: max(0.0, (cosine - floor) / (1.0 - floor)) for key, cosine in cosines.items()}


def _let_in(components: Mapping[str, Mapping[int, float]], thresholds: Mapping[str, float]) -> Sequence[int]:
    judges = {name: least for name, least in thresholds.items() if name in components}
    keys = {key for name in judges for key in components[name]}
    return [
        key for key in keys if any(components[name].get(key, 0.0) >= least for name, least in judges.items())
    ]


def _ranks(values: Mapping[int, float]) -> dict[int, int]:
    ordered = sorted(values, key=lambda key: (-values[key], key))
    return {key: rank for rank, key in enumerate(ordered, 1)}
