"""An embedder that is asked again where the failure may pass."""

import numpy as np
import pytest

from loom_nb.errors import EmbeddingError, ModelError
from loom_nb.retrieval.retrying import Retrying
from loom_nb.runtime.retry import RetryPolicy


class Flaky:
    """Fails as it is told, then answers; writes down what it was asked."""

    name, least = "flaky", 0.3

    def __init__(self, *failures):
        self.failures = list(failures)
        self.asked = []

    async def embed(self, texts, *, kind="document"):
        self.asked.append((kind, list(texts)))
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        if not any(texts):
            return np.zeros((len(texts), 0), np.float32)
        return np.full((len(texts), 2), 0.5, np.float32)

    async def close(self):
        self.asked.append("closed")


def around(flaky, **options):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    policy = RetryPolicy(max_attempts=3, first_delay=1.0)
    return Retrying(flaky, policy, sleep=sleep, random=lambda: 1.0, **options), waits


def passing():
    return ModelError("busy", fault="overloaded")


async def test_a_failure_that_passes_is_waited_for_by_the_policy():
    flaky = Flaky(passing(), ModelError("slow down", fault="rate_limit", retry_after=7.0))
    embedder, waits = around(flaky)
    assert (await embedder.embed(["a"], kind="query")).shape == (1, 2)
    assert waits == [1.0, 7.0]
    assert flaky.asked == [("query", ["a"])] * 3


async def test_the_last_attempt_and_what_does_not_pass_are_raised():
    embedder, waits = around(Flaky(*[passing() for _ in range(3)]))
    with pytest.raises(ModelError, match="busy"):
        await embedder.embed(["a"])
    assert len(waits) == 2
    for error in (ModelError("no key", fault="auth"), EmbeddingError("NaN")):
        embedder, waits = around(Flaky(error))
        with pytest.raises(type(error)):
            await embedder.embed(["a"])
        assert waits == []


async def test_only_the_batch_that_failed_is_asked_for_again_and_progress_is_told():
    flaky, told = Flaky(None, passing(), None, None), []
    embedder, _ = around(flaky, batch=2, tell=told.append)
    assert (await embedder.embed(list("abcde"))).shape == (5, 2)
    assert [texts for _, texts in flaky.asked] == [["a", "b"], ["c", "d"], ["c", "d"], ["e"]]
    assert told == [2, 4, 5]


async def test_closing_it_closes_the_one_that_is_asked():
    flaky = Flaky()
    await around(flaky)[0].close()
    assert flaky.asked == ["closed"]


async def test_a_batch_of_blank_texts_takes_the_dimension_of_the_others():
    embedder, _ = around(Flaky(), batch=1)
    assert (await embedder.embed(["", "a"])).tolist() == [[0.0, 0.0], [0.5, 0.5]]
    assert (await embedder.embed([])).shape == (0, 0)


async def test_batches_of_different_dimensions_are_refused_and_blank_ones_fit_any():
    class Growing(Flaky):
        async def embed(self, texts, *, kind="document"):
            self.asked.append(texts)
            return np.ones((len(texts), len(self.asked) * 4 if any(texts) else 0), np.float32)

    assert (await Retrying(Growing(), RetryPolicy(), batch=2).embed(["", "", "a"])).shape == (3, 8)
    with pytest.raises(EmbeddingError) as refused:
        await Retrying(Growing(), RetryPolicy(), batch=2).embed(["a", "b", "c"])
    assert "4 numbers" in refused.value.cause and "8" in refused.value.cause


async def test_rows_need_be_no_array():
    class Lists(Flaky):
        async def embed(self, texts, *, kind="document"):
            return [[1.0, 0.0] for _ in texts]

    assert (await Retrying(Lists(), RetryPolicy(), batch=2).embed(["a", "b", "c"])).shape == (3, 2)
