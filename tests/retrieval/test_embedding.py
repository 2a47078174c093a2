"""What vectors must be to be kept."""

import numpy as np
import pytest

from loom_nb.errors import EmbeddingError
from loom_nb.retrieval.embedding import checked


def test_vectors_are_made_float32_of_length_one():
    rows = checked([[3.0, 4.0], [0.0, 2.0]], 2)
    assert rows.dtype == np.float32
    assert rows.tolist() == pytest.approx(np.array([[0.6, 0.8], [0.0, 1.0]]))


@pytest.mark.parametrize(
    ("vectors", "why"),
    [
        ([[1.0, float("nan")]], "NaN or infinity"),
        ([[1.0, float("inf")]], "NaN or infinity"),
        ([[1e300, 1.0]], "NaN or infinity"),
        ([[0.0, 0.0]], "text 1 has a vector of zeros"),
        ([[1.0, 2.0], [1.0, 2.0]], "2 vectors for 1 text"),
        ([], "0 vectors for 1 text"),
        ([[1.0], [1.0, 2.0]], "differ in length"),
        ([["a", "b"]], "no number"),
        ([[None, 1.0]], "NaN"),
        ("vector", "no number"),
        (1.0, "0 vectors for 1 text"),
    ],
)
def test_what_cannot_be_used_is_refused_and_says_why_and_what_to_do(vectors, why):
    with pytest.raises(EmbeddingError) as caught:
        checked(vectors, 1, name="openai:m")
    assert why in caught.value.cause
    assert "openai:m" in caught.value.title
    assert caught.value.fixes


def test_another_dimension_says_to_index_again():
    with pytest.raises(EmbeddingError, match="do not fit the index") as caught:
        checked([[1.0, 2.0]], 1, 3)
    assert "2 numbers" in caught.value.cause
    assert any("index again" in fix for fix in caught.value.fixes)


def test_zeros_pass_where_they_are_expected_and_none_are_none():
    assert checked([[0.0, 0.0]], 1, zeros=True).tolist() == [[0.0, 0.0]]
    assert checked([], 0, 5).shape == (0, 5)


def test_tiny_vectors_keep_their_direction():
    assert checked([[3e-30, 4e-30]], 1).tolist() == pytest.approx(np.array([[0.6, 0.8]]))
