"""A space of meaning from the user's own texts: the same each time, and honest about what it does not know."""

from itertools import pairwise

import numpy as np
import pytest

from loom_nb.errors import EmbeddingError
from loom_nb.retrieval.lsa import LEAST_LIFT, LatentEmbedder, LatentSemantics, _spread
from loom_nb.retrieval.vectors import VectorIndex

TOPICS = (
    ("car engine wheel driver road petrol", "automobile engine wheel driver road petrol"),
    ("soup kitchen pepper onion stove dinner", "broth kitchen pepper onion stove dinner"),
    ("guitar melody concert violin singer chorus", "tune concert violin singer chorus guitar"),
)
TEXTS = [f"{text} {number}" for number in range(12) for topic in TOPICS for text in topic]


@pytest.fixture(scope="module")
def space():
    return LatentSemantics.fit(TEXTS, 3)


def cosine(space, one, other):
    first, second = space.embed([one, other])
    return float(first @ second)


def test_words_that_stand_in_the_same_texts_are_near_each_other(space):
    assert cosine(space, "car", "automobile") > 0.8
    assert cosine(space, "car", "broth") < 0.2


def test_a_misspelt_word_is_near_what_was_meant(space):
    assert cosine(space, "concret violni", "violin concert") > 0.5


def test_rows_have_length_one_or_are_zeros_where_no_word_is_known(space):
    rows = space.embed(["car soup", "xyzzy", ""])
    assert np.linalg.norm(rows, axis=1).tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-5)


def test_a_question_that_is_known_in_part_is_shorter(space):
    whole, part, none = np.linalg.norm(
        space.embed(["car engine", "car xyzzyplugh quuxfrob", "xyzzyplugh"], kind="query"), axis=1
    )
    assert whole == pytest.approx(1.0, abs=1e-5)
    assert 0 < part < 0.7
    assert none == 0.0


def test_the_same_texts_give_the_same_space_and_bytes_and_version(space):
    again = LatentSemantics.fit(TEXTS, 3)
    assert again.to_bytes() == space.to_bytes()
    assert again.version == space.version
    assert LatentSemantics.fit([*TEXTS, "more of it", "more of it"], 12).version != space.version


def test_it_is_kept_as_bytes_without_pickle(space):
    again = LatentSemantics.from_bytes(space.to_bytes())
    assert again.version == space.version
    assert np.array_equal(again.embed(TEXTS[:5]), space.embed(TEXTS[:5]))


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-3], lambda b: b[40:], lambda b: b"", lambda b: b[:30], lambda b: b[:-8] + b"\xff" * 8],
)
def test_damaged_bytes_are_refused(space, damage):
    with pytest.raises(EmbeddingError, match="damaged"):
        LatentSemantics.from_bytes(damage(space.to_bytes()))


def test_too_few_texts_say_how_many_it_needs():
    with pytest.raises(EmbeddingError, match="Too few texts") as caught:
        LatentSemantics.fit(["one", "two"])
    assert "50" in caught.value.cause
    with pytest.raises(EmbeddingError, match="share no words"):
        LatentSemantics.fit([""] * 60)


def test_the_work_tells_how_far_it_is_and_can_be_ended():
    told = []
    LatentSemantics.fit(TEXTS, 12, told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0

    def stop(share):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        LatentSemantics.fit(TEXTS, 12, stop)


@pytest.mark.parametrize("count", [60, 100, 101, 199, 250, 999])
def test_of_too_many_texts_as_many_are_read_as_it_is_fitted_on_evenly_spread(count):
    texts = [f"common{number % 7} word{number}" for number in range(count)]
    read = _spread(texts, 100)
    at = [texts.index(text) for text in read]
    assert len(read) == min(count, 100)
    assert at == sorted(at) and at[0] == 0 and at[-1] >= count - 1 - count // 100
    gaps = {after - before for before, after in pairwise(at)}
    assert max(gaps) - min(gaps) <= 1


def test_the_basis_is_that_of_the_singular_vectors():
    """Against the SVD of the whole matrix."""
    space = LatentSemantics.fit(TEXTS, 6)
    rows = space._sparse([_counts(text) for text in TEXTS])
    dense = np.zeros((rows.height, rows.width), np.float32)
    dense[rows._owners(), rows.columns] = rows.values
    _, _, right = np.linalg.svd(dense, full_matrices=False)
    overlap = np.linalg.svd(right[:3] @ space._basis[:, :3], compute_uv=False)
    assert overlap == pytest.approx(np.ones(3), abs=1e-3)


def _counts(text):
    from loom_nb.retrieval.lsa import _features

    return _features(text)


async def test_as_an_embedder_it_finds_what_is_said_in_other_words_and_nothing_for_a_stranger(space):
    embedder = LatentEmbedder(space)
    assert embedder.name == f"lsa:{space.version}"
    assert embedder.least == LEAST_LIFT
    index = VectorIndex(space.dimension)
    index.add(range(len(TEXTS)), await embedder.embed(TEXTS))
    (query, stranger) = await embedder.embed(["automobile", "xyzzyplugh quux"], kind="query")
    found = [TEXTS[key] for key in index.near(query, 20).cosines]
    assert any(text.startswith("car") for text in found)
    assert not index.near(stranger, 5).cosines
