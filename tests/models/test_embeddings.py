"""Embedders behind an endpoint: the real SDK against a real server on the loopback."""

import httpx2
import numpy as np
import pytest

from loom_nb.errors import EmbeddingError, LoomKeyError, LoomUsageError, ModelError
from loom_nb.models import kept_keys
from loom_nb.models.embeddings import OllamaEmbedder, OpenAIEmbedder
from loom_nb.models.registry import VENDORS
from loom_nb.protocols import KEPT_KEY
from loom_nb.retrieval.retrying import Retrying
from loom_nb.runtime.retry import RetryPolicy
from loom_nb.testing import Drop, Fail, Raw, WireServer

SECRET = "sk-proj-0123456789abcdef"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    names = [name for vendor in VENDORS.values() for name in (*vendor.key_env, *vendor.url_env)]
    for name in (*names, "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


OPENED = []


@pytest.fixture(autouse=True)
async def closed_at_the_end():
    yield
    while OPENED:
        await OPENED.pop().close()


def openai(server, **options):
    where = f"{server.url}/v1"
    OPENED.append(OpenAIEmbedder("embed-test", base_url=where, **{"api_key": SECRET, **options}))
    return OPENED[-1]


def ollama(server, **options):
    OPENED.append(OllamaEmbedder("nomic-embed-text", server.url, **options))
    return OPENED[-1]


both = pytest.mark.parametrize("make", [openai, ollama])


@both
async def test_texts_come_back_as_vectors_that_are_near_where_their_words_are(make):
    with WireServer() as server:
        embedder = make(server)
        coffee, roast, train = await embedder.embed(
            ["dark roast coffee", "coffee, dark roast", "a late train"]
        )
        await embedder.close()
    assert coffee.dtype == np.float32
    assert coffee @ roast == pytest.approx(1.0)
    assert coffee @ train < 0.5


async def test_the_requests_are_those_of_the_protocols():
    with WireServer(key=SECRET) as server:
        await openai(server, dimension=64).embed(["one"])
        asked = server.requests[0]
    assert asked.path == "/v1/embeddings"
    assert asked.headers["authorization"] == f"Bearer {SECRET}"
    assert asked.json == {
        "model": "embed-test",
        "input": ["one"],
        "encoding_format": "float",
        "dimensions": 64,
    }
    with WireServer() as server:
        await ollama(server).embed(["one"])
        assert server.requests[0].path == "/api/embed"
        assert server.requests[0].json == {"model": "nomic-embed-text", "input": ["one"], "truncate": True}


async def test_the_key_comes_from_the_environment_and_is_asked_for_where_it_is_needed(monkeypatch):
    monkeypatch.setenv("MY_KEY", SECRET)
    with WireServer(key=SECRET) as server:
        await openai(server, api_key=None, key_env=["MY_KEY"]).embed(["one"])
    with pytest.raises(LoomKeyError, match="no key for 'openai'"):
        await OpenAIEmbedder("text-embedding-3-small").embed(["one"])


class Keeper:
    """Keeps a key of OpenAI, and puts it into requests on their way."""

    def keeps(self, vendor):
        return vendor == "openai"

    async def way(self, vendor, bound_to=""):
        return Way() if self.keeps(vendor) else None


class Way(httpx2.AsyncHTTPTransport):
    async def handle_async_request(self, request):
        assert request.headers["authorization"] == f"Bearer {KEPT_KEY}"
        request.headers["authorization"] = f"Bearer {SECRET}"
        return await super().handle_async_request(request)


async def test_a_kept_key_is_used_as_it_is_by_models():
    before = kept_keys.come_from(Keeper)
    try:
        with WireServer(key=SECRET) as server:
            assert len(await openai(server, api_key=None, key_env=["NOT_SET"]).embed(["one"])) == 1
    finally:
        kept_keys.come_from(before)


@both
async def test_many_texts_go_in_batches_and_keep_their_order(make):
    with WireServer() as server:
        texts = [f"word{number}" for number in range(7)]
        rows = await make(server, batch=3).embed(texts)
        assert [len(request.json["input"]) for request in server.requests] == [3, 3, 1]
        one_by_one = await make(server, batch=1).embed(texts)
    assert np.allclose(rows, one_by_one)


async def test_vectors_that_come_out_of_order_are_put_in_order():
    def shuffled(texts):
        data = [{"index": 1, "embedding": [0.0, 1.0]}, {"index": 0, "embedding": [1.0, 0.0]}]
        return Raw(json({"data": data}), content_type="application/json")

    with WireServer(embedding=shuffled) as server:
        assert (await openai(server).embed(["a", "b"])).tolist() == [[1.0, 0.0], [0.0, 1.0]]


@both
async def test_blank_texts_are_not_sent_and_have_zeros(make):
    with WireServer() as server:
        rows = await make(server).embed(["", "word", " \n"])
        assert [request.json["input"] for request in server.requests] == [["word"]]
    assert np.linalg.norm(rows, axis=1).tolist() == pytest.approx([0.0, 1.0, 0.0])


@both
async def test_no_texts_ask_nobody(make):
    with WireServer() as server:
        assert len(await make(server).embed([])) == 0
        assert server.requests == []


@both
async def test_questions_and_documents_have_their_prefixes(make):
    with WireServer() as server:
        embedder = make(server, prefixes=("passage: ", "query: "))
        await embedder.embed(["text"])
        await embedder.embed(["text"], kind="query")
        assert [request.json["input"] for request in server.requests] == [["passage: text"], ["query: text"]]


@both
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ([[1.0, float("nan")]], "form of the protocol"),  # JSON has no NaN
        ([[1e300, 1.0]], "NaN or infinity"),
        ([[0.0, 0.0]], "zeros"),
        ([[1.0], [1.0]], "2 vectors for 1 text"),
        ([], "0 vectors for 1 text"),
        ([["a"]], "no number"),
        (Raw(b"{}", content_type="application/json"), "form of the protocol"),
        (Raw(b"[1]", content_type="application/json"), "form of the protocol"),
        (Raw(b"<html>", content_type="text/html"), "form of the protocol"),
    ],
)
async def test_an_answer_that_cannot_be_used_is_refused_with_what_to_do(make, answer, why):
    with WireServer(embedding=lambda texts: answer) as server, pytest.raises(EmbeddingError) as caught:
        await make(server).embed(["text"])
    assert why in caught.value.cause
    assert caught.value.fixes


@both
async def test_a_dimension_that_changes_is_refused(make):
    rows = iter([[[1.0, 2.0]], [[1.0, 2.0, 3.0]]])
    with WireServer(embedding=lambda texts: next(rows)) as server:
        embedder = make(server)
        await embedder.embed(["text"])
        with pytest.raises(EmbeddingError, match="do not fit the index"):
            await embedder.embed(["text"])


async def test_another_dimension_than_was_asked_for_is_refused():
    with WireServer() as server, pytest.raises(EmbeddingError, match="do not fit"):
        await openai(server, dimension=7).embed(["text"])


@both
async def test_a_failure_is_told_as_that_of_a_model_without_the_key(make):
    answers = iter([Fail(404, f"model not found, key {SECRET}"), Drop()])
    with WireServer(embedding=lambda texts: next(answers)) as server:
        with pytest.raises(ModelError) as missing:
            await make(server).embed(["text"])
        with pytest.raises(ModelError) as dropped:
            await make(server).embed(["text"])
    assert missing.value.fault == "model_not_found"
    assert SECRET not in str(missing.value)
    assert dropped.value.passing


@both
async def test_what_passes_is_tried_again_by_the_policy_of_models(make):
    answers = iter([Fail(429, retry_after=0), Fail(503), [[1.0, 0.0]]])
    with WireServer(embedding=lambda texts: next(answers)) as server:
        patient = Retrying(make(server), RetryPolicy(first_delay=0.001))
        assert (await patient.embed(["text"])).tolist() == [[1.0, 0.0]]
        assert len(server.requests) == 3


def test_names_tell_models_and_dimensions_apart():
    assert OpenAIEmbedder("m").name == "openai:m"
    assert OpenAIEmbedder("m", dimension=256).name == "openai:m@256"
    assert OllamaEmbedder("m").name == "ollama:m"
    assert "sk-" not in repr(OpenAIEmbedder("m", api_key=SECRET))


def test_ollama_is_called_beside_its_v1(monkeypatch):
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://box:11434/v1/")
    assert OllamaEmbedder("m")._connection._address == "http://box:11434"


def test_arguments_that_cannot_be_are_refused():
    for wrong in ({"batch": 0}, {"dimension": 0}, {"base_url": "ftp://x"}):
        with pytest.raises(LoomUsageError):
            OpenAIEmbedder("m", **wrong)
    with pytest.raises(LoomUsageError, match="needs a base_url"):
        OpenAIEmbedder("m", vendor="compatible")


def json(value):
    import msgspec

    return msgspec.json.encode(value)
