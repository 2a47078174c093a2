"""Measures of a ranking, and the rankings of the see-also collection by words, by vector and by both."""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from text_tables import table_of

from loom_nb.retrieval.full_text import search
from loom_nb.retrieval.fusion import by_vector, by_words, weighted
from loom_nb.retrieval.lsa import DIMENSION, LEAST_LIFT, LatentSemantics
from loom_nb.retrieval.vectors import VectorIndex

DATA = Path(__file__).parents[1] / "data" / "see_also"
DEEP = 100


def recall(ranking, right, depth=5):
    """The share of the right ones among the first."""
    return len(set(ranking[:depth]) & right) / min(depth, len(right))


def ndcg(ranking, right, depth=10):
    """Normalised discounted cumulative gain, right or wrong (Järvelin & Kekäläinen 2002)."""
    gain = sum(1 / math.log2(place + 2) for place, one in enumerate(ranking[:depth]) if one in right)
    return gain / sum(1 / math.log2(place + 2) for place in range(min(depth, len(right))))


@dataclass
class Collection:
    """The texts, and the questions with what they look for."""

    dimension: int = DIMENSION

    @cached_property
    def texts(self):
        return json.loads((DATA / "texts.json").read_text("utf-8"))

    @cached_property
    def questions(self):
        numbers = {key: number for number, key in enumerate(self.texts, 1)}
        asked = json.loads((DATA / "questions.json").read_text("utf-8"))
        return [(one["question"], {numbers[key] for key in one["texts"]}) for one in asked]

    @cached_property
    def table(self):
        return table_of(*self.texts.values())

    @cached_property
    def space(self):
        return LatentSemantics.fit(list(self.texts.values()), self.dimension)

    @cached_property
    def index(self):
        index = VectorIndex(self.space.dimension)
        index.add(range(1, len(self.texts) + 1), self.space.embed(list(self.texts.values())))
        return index

    def hits(self, question):
        """By words."""
        return search(self.table, "texts", question, limit=DEEP)

    def near(self, question):
        return self.index.near(self.space.embed([question], kind="query")[0], DEEP)

    def words(self, question):
        return [hit.rowid for hit in self.hits(question)]

    def vector(self, question):
        return list(self.near(question).cosines)

    def both(self, question, gated=True):
        hits, near = self.hits(question), self.near(question)
        parts = [by_words(hits), by_vector(near, least=LEAST_LIFT)]
        if not gated:
            parts = [by_words(hits, least=0.0), by_vector(near, least=0.0)]
        return [one.id for one in weighted(parts)]

    def measured(self, ranking, half):
        """Mean recall@5 and nDCG@10 over the questions of one half."""
        asked = self.questions[half::2]
        rankings = [(ranking(question), right) for question, right in asked]
        return (
            sum(recall(found, right) for found, right in rankings) / len(asked),
            sum(ndcg(found, right) for found, right in rankings) / len(asked),
        )
