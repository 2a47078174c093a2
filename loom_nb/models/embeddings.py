"""Embedders behind a vendor's endpoint: OpenAI's, any that speaks its protocol, and Ollama's own.

They call through the same connections as models do: the same keys, the same errors.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from loom_nb.errors import EmbeddingError, LoomUsageError
from loom_nb.models.connection import Key
from loom_nb.models.openai_wire import Endpoint, OpenAIConnection
from loom_nb.models.registry import VENDORS
from loom_nb.retrieval.embedding import LEAST_LIFT, Kind, checked

if TYPE_CHECKING:
    import numpy as np

    from loom_nb.retrieval.embedding import Vectors

BATCH = 96
"""Texts in one request."""
TIMEOUT = 120.0
"""Seconds of silence after which a request is given up: a local server may have to load its model."""


class _WireEmbedder(ABC):
    """What both protocols share: blank texts stay here, others go in batches, answers are checked."""

    path: str

    def __init__(
        self,
        endpoint: Endpoint,
        dimension: int | None,
        batch: int,
        prefixes: tuple[str, str],
        least: float,
    ) -> None:
        if batch < 1 or (dimension is not None and dimension < 1):
            raise LoomUsageError("batch and dimension of an embedder are at least 1")
        self.name = endpoint.name if dimension is None else f"{endpoint.name}@{dimension}"
        self.least = least
        self._model = endpoint.model
        self._connection = OpenAIConnection(endpoint)
        self._dimension = dimension
        self._seen: int | None = None
        self._batch = batch
        self._prefixes: dict[Kind, str] = {"document": prefixes[0], "query": prefixes[1]}

    @abstractmethod
    def body(self, texts: Sequence[str]) -> dict[str, Any]:
        """The request for one batch."""

    @abstractmethod
    def rows(self, answer: Any) -> Any:
        """The vectors of an answer, in the order of the texts. Raises what a wrong shape raises."""

    async def embed(self, texts: Sequence[str], *, kind: Kind = "document") -> "Vectors":
        """See `Embedder`. Batches go one after the other; nothing is tried again: see `Retrying`."""
        import numpy as np

        prefix = self._prefixes[kind]
        said = [at for at, text in enumerate(texts) if text.strip()]
        batches = [said[start : start + self._batch] for start in range(0, len(said), self._batch)]
        found = [await self._ask([prefix + texts[at] for at in batch]) for batch in batches]
        whole: Vectors = np.zeros((len(texts), self._dimension or self._seen or 0), dtype=np.float32)
        if found:
            whole[said] = np.concatenate(found)
        return whole

    async def _ask(self, texts: list[str]) -> "np.ndarray[Any, np.dtype[np.float32]]":
        answer = await self._connection.ask(self.path, msgspec.json.encode(self.body(texts)))
        try:
            rows = self.rows(msgspec.json.decode(answer))
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            raise EmbeddingError(
                f"{self.name} answered with something that is no vectors",
                cause="its answer does not have the form of the protocol",
                fixes=("check the base_url: it ends in /v1 for OpenAI's protocol",),
            ) from None
        vectors = checked(rows, len(texts), self._dimension or self._seen, name=self.name)
        self._seen = int(vectors.shape[1])
        return vectors

    async def close(self) -> None:
        """Let go of connections. May be called twice."""
        await self._connection.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class OpenAIEmbedder(_WireEmbedder):
    """Embeds by OpenAI's protocol (`/embeddings`), through its SDK; nothing is loaded before the first call.

    Args:
        model: its name at the vendor: "text-embedding-3-small".
        vendor: "openai", another that `Model` knows, or "compatible" with a `base_url`.
        base_url: where to call instead of the vendor's own address.
        key_env: environment variables that may hold the key, instead of the vendor's own.
        api_key: the key itself; by default that of the environment, read at each request, or a kept one.
        dimension: numbers of a vector, for models that give shorter ones; None: the model's own.
        batch: texts in one request.
        prefixes: what is put before each text that is searched and before each question, for models that
            want it: ("passage: ", "query: ").
        least: how far above the usual a cosine lies where a text belongs to a question.
        timeout: seconds of silence after which a request is given up.

    Raises:
        LoomUsageError: the address or a number cannot be.
    """

    path = "/embeddings"

    def __init__(
        self,
        model: str,
        *,
        vendor: str = "openai",
        base_url: str | None = None,
        key_env: Sequence[str] = (),
        api_key: str | None = None,
        dimension: int | None = None,
        batch: int = BATCH,
        prefixes: tuple[str, str] = ("", ""),
        least: float = LEAST_LIFT,
        timeout: float = TIMEOUT,
    ) -> None:
        key = Key(api_key) if api_key else None
        endpoint = Endpoint(vendor, model, base_url, tuple(key_env), key, timeout=timeout)
        super().__init__(endpoint, dimension, batch, prefixes, least)

    def body(self, texts: Sequence[str]) -> dict[str, Any]:
        """The request for one batch."""
        shorter = {} if self._dimension is None else {"dimensions": self._dimension}
        return {"model": self._model, "input": list(texts), "encoding_format": "float", **shorter}

    def rows(self, answer: Any) -> Any:
        """The vectors of an answer, in the order of the texts."""
        found = sorted(answer["data"], key=lambda one: int(one["index"]))
        if [one["index"] for one in found] != list(range(len(found))):
            raise ValueError("texts are missing")
        return [one["embedding"] for one in found]


class OllamaEmbedder(_WireEmbedder):
    """Embeds by a server of Ollama (`/api/embed`).

    Args:
        model: as it was pulled: "nomic-embed-text".
        base_url: where it listens; by default OLLAMA_BASE_URL, or this machine.
        batch: texts in one request.
        prefixes: what is put before each text that is searched and before each question, for models that
            want it: ("search_document: ", "search_query: ") for nomic-embed-text.
        least: how far above the usual a cosine lies where a text belongs to a question.
        timeout: seconds of silence after which a request is given up.

    Raises:
        LoomUsageError: the address or a number cannot be.
    """

    path = "/api/embed"

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        batch: int = BATCH,
        prefixes: tuple[str, str] = ("", ""),
        least: float = LEAST_LIFT,
        timeout: float = TIMEOUT,
    ) -> None:
        vendor = VENDORS["ollama"]
        ambient = next((where for name in vendor.url_env if (where := os.environ.get(name))), None)
        address = (base_url or ambient or vendor.base_url or "").rstrip("/").removesuffix("/v1")
        endpoint = Endpoint("ollama", model, address, timeout=timeout)
        super().__init__(endpoint, None, batch, prefixes, least)

    def body(self, texts: Sequence[str]) -> dict[str, Any]:
        """The request for one batch."""
        return {"model": self._model, "input": list(texts), "truncate": True}

    def rows(self, answer: Any) -> Any:
        """The vectors of an answer, in the order of the texts."""
        return answer["embeddings"]
