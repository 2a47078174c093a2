"""Static embeddings from a folder: a tiny model made on the spot, nothing fetched."""

import numpy as np
import pytest

from loom_nb.errors import SetupError
from loom_nb.retrieval.model2vec import Model2VecEmbedder

WORDS = {"[UNK]": [0.0, 0.0], "coffee": [1.0, 0.0], "espresso": [0.9, 0.1], "train": [0.0, 1.0]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model2vec = pytest.importorskip("model2vec")
    from tokenizers import Tokenizer, models, pre_tokenizers

    numbers = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    model = model2vec.StaticModel(np.array(list(WORDS.values()), np.float32), tokenizer)
    where = tmp_path_factory.mktemp("tiny-model")
    model.save_pretrained(where)
    return where


async def test_near_words_are_near(folder):
    embedder = Model2VecEmbedder(folder)
    coffee, espresso, train = await embedder.embed(["coffee", "espresso", "train"])
    assert coffee @ espresso > 0.9
    assert coffee @ train == pytest.approx(0.0)
    assert coffee.dtype == np.float32


async def test_what_says_nothing_is_a_row_of_zeros_and_no_texts_are_no_rows(folder):
    embedder = Model2VecEmbedder(folder)
    assert (await embedder.embed(["", "xyzzy"])).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert (await embedder.embed([])).shape == (0, 2)


def test_its_name_tells_another_model_at_the_same_place(folder):
    before = Model2VecEmbedder(folder).name
    assert before == Model2VecEmbedder(str(folder)).name
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + b"\x01")
    assert Model2VecEmbedder(folder).name != before
    weights.write_bytes(data)


def test_a_folder_without_a_model_says_what_one_is(tmp_path):
    with pytest.raises(SetupError, match="no model of model2vec") as caught:
        Model2VecEmbedder(tmp_path)
    assert caught.value.fixes
