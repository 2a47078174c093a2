"""One ranking of several views, with its components, and nothing where nothing belongs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_nb.retrieval.full_text import Hit
from loom_nb.retrieval.fusion import (
    Component,
    by_vector,
    by_words,
    lifted,
    weighted,
)
from loom_nb.retrieval.vectors import Near


def hit(row, bm25, answered):
    return Hit(row, bm25, answered, ("word",))


WORDS = by_words([hit(1, 8.0, 0.9), hit(2, 4.0, 0.5), hit(3, 1.0, 0.1)], least=0.3)


def ids(ranking):
    return [one.id for one in ranking]


def test_the_score_is_the_weighted_mean_of_what_is_shown():
    vector = by_vector(Near({2: 0.9, 1: 0.2}), weight=0.5, least=0.4)
    first, second = weighted([WORDS, vector])
    assert (first.id, dict(first.components)) == (1, {"words": 1.0, "vector": pytest.approx(0.2)})
    assert first.score == pytest.approx((1.0 + 0.5 * 0.2) / 1.5)
    assert (second.id, second.score) == (2, pytest.approx((0.5 + 0.5 * 0.9) / 1.5))


def test_what_only_a_vector_finds_is_found():
    vector = by_vector(Near({7: 0.9}), least=0.4)
    assert ids(weighted([WORDS, vector])) == [1, 7, 2]


def test_what_answers_too_little_and_is_too_far_is_left_out():
    vector = by_vector(Near({3: 0.39, 8: 0.1}), least=0.4)
    assert ids(weighted([WORDS, vector])) == [1, 2]


def test_salience_and_recency_order_but_let_nothing_in():
    fresh = Component("recency", {2: 1.0, 9: 1.0}, 5.0)
    assert ids(weighted([WORDS, fresh])) == [2, 1]
    assert weighted([by_words([]), by_vector(Near({})), fresh]) == []


def test_a_view_that_is_missing_does_not_pull_scores_down():
    assert weighted([WORDS])[0].score == pytest.approx(1.0)


def test_cosines_are_measured_from_what_is_usual():
    assert lifted({1: 0.85, 2: 0.7, 3: 0.5}, 0.7) == {1: pytest.approx(0.5), 2: 0.0, 3: 0.0}
    assert lifted({1: 0.5}, -0.3) == {1: 0.5}


VALUES = st.dictionaries(st.integers(0, 20), st.floats(0, 1), max_size=20)


@given(VALUES, VALUES, VALUES)
def test_scores_are_bounded_sorted_and_only_of_what_belongs(words, vector, salient):
    parts = [
        Component("words", words, 1.0, frozenset(key for key, value in words.items() if value > 0.5)),
        Component("vector", vector, 0.6, frozenset(key for key, value in vector.items() if value > 0.5)),
        Component("salience", salient, 0.1),
    ]
    ranking = weighted(parts)
    assert {one.id for one in ranking} == parts[0].lets_in | parts[1].lets_in
    assert [one.score for one in ranking] == sorted((one.score for one in ranking), reverse=True)
    assert all(0 <= one.score <= 1 + 1e-9 for one in ranking)
    assert all(set(one.components) == {"words", "vector", "salience"} for one in ranking)
