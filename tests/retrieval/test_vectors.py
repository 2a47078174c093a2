"""Which vectors are nearest: exact, whatever was added, replaced and removed before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_nb.errors import EmbeddingError
from loom_nb.retrieval.vectors import VectorIndex, to_bytes


def index_of(**rows):
    index = VectorIndex(2)
    index.add([int(key[1:]) for key in rows], np.array(list(rows.values()), np.float32))
    return index


def nearest(index, *query, **options):
    """The nearest as (id, cosine), the nearest first."""
    return list(index.near(*query, **options).cosines.items())


def test_the_nearest_come_first_with_their_cosine():
    index = index_of(n1=[1, 0], n2=[1, 1], n3=[0, 5])
    found = nearest(index, np.array([2.0, 0.0], np.float32), 2)
    assert [key for key, _ in found] == [1, 2]
    assert [cosine for _, cosine in found] == pytest.approx([1.0, 0.70710678])


def test_equal_ones_come_in_the_order_of_their_ids():
    index = index_of(n9=[1, 0], n4=[2, 0], n7=[3, 0])
    assert [key for key, _ in nearest(index, np.array([1.0, 0.0], np.float32), 9)] == [4, 7, 9]


def test_only_some_may_be_asked_for():
    index = index_of(n1=[1, 0], n2=[1, 1], n3=[0, 5])
    assert [key for key, _ in nearest(index, np.array([1.0, 0.0], np.float32), 9, among={3, 2, 77})] == [2, 3]
    assert nearest(index, np.array([1.0, 0.0], np.float32), 9, among=()) == []


def test_nothing_is_near_to_nothing():
    assert nearest(VectorIndex(2), np.array([1.0, 0.0], np.float32), 3) == []
    assert nearest(index_of(n1=[1, 0]), np.zeros(2, np.float32), 3) == []
    assert nearest(index_of(n1=[1, 0]), np.array([1.0, 0.0], np.float32), 0) == []


def test_a_shorter_query_lowers_the_cosines_and_a_longer_one_does_not_raise_them():
    index = index_of(n1=[1, 0])
    assert nearest(index, np.array([0.5, 0.0], np.float32), 1) == [(1, pytest.approx(0.5))]
    assert nearest(index, np.array([50.0, 0.0], np.float32), 1) == [(1, pytest.approx(1.0))]


def test_what_is_usual_is_the_median_of_a_crowd():
    index = VectorIndex(2)
    index.add(range(30), np.tile(np.array([1.0, 1.0], np.float32), (30, 1)))
    assert index.near(np.array([1.0, 0.0], np.float32), 3).usual == pytest.approx(0.70710678)
    assert index_of(n1=[1, 1]).near(np.array([1.0, 0.0], np.float32), 3).usual == 0.0


def test_an_id_that_is_added_again_is_replaced():
    index = index_of(n1=[1, 0], n2=[0, 1])
    index.add([1], np.array([[0, 1]], np.float32))
    assert len(index) == 2
    assert nearest(index, np.array([1.0, 0.0], np.float32), 1)[0][1] == pytest.approx(0.0)


def test_the_wrong_dimension_and_nan_are_refused_and_change_nothing():
    index = index_of(n1=[1, 0])
    for wrong in (
        np.ones((1, 3), np.float32),
        np.array([[1, np.nan]], np.float32),
        np.ones((2, 2), np.float32),
    ):
        with pytest.raises(EmbeddingError):
            index.add([2], wrong)
    with pytest.raises(EmbeddingError):
        nearest(index, np.ones(3, np.float32), 1)
    assert len(index) == 1
    assert 2 not in index


def test_a_vector_is_kept_as_little_endian_numbers_of_four_bytes():
    assert to_bytes(np.array([1.0, -2.0])) == b"\0\0\x80?\0\0\0\xc0"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove"]), st.lists(st.integers(0, 12), min_size=1, max_size=4, unique=True)
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(0, 2**32 - 1))
def test_it_agrees_with_a_dictionary_whatever_is_added_and_removed(steps, seed):
    draw = np.random.default_rng(seed)
    index, plain = VectorIndex(3), {}
    for step, keys in steps:
        if step == "add":
            rows = draw.standard_normal((len(keys), 3)).astype(np.float32)
            index.add(keys, rows)
            plain |= dict(zip(keys, rows, strict=True))
        else:
            index.remove(keys)
            plain = {key: row for key, row in plain.items() if key not in keys}
    query = np.array([1.0, 0.5, -0.2], np.float32)
    theirs = {
        key: float(row @ query / np.linalg.norm(row) / np.linalg.norm(query)) for key, row in plain.items()
    }
    assert dict(nearest(index, query, 99)) == pytest.approx(theirs, abs=1e-5)


def test_it_grows_past_its_first_room():
    index = VectorIndex(2)
    index.add(range(1_000), np.tile(np.array([0.0, 1.0], np.float32), (1_000, 1)))
    index.add([5_000], np.array([[1.0, 0.0]], np.float32))
    assert nearest(index, np.array([1.0, 0.0], np.float32), 1) == [(5_000, pytest.approx(1.0))]
