"""What a wire server answers to OpenAI's ``/embeddings`` and Ollama's ``/api/embed``."""

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from loom_nb.retrieval.analysis import terms
from loom_nb.testing.wire_script import Drop, Fail, Hang, Raw

Rows: TypeAlias = Sequence[Sequence[float]]
Embedding: TypeAlias = Callable[[Sequence[str]], "Rows | Fail | Raw | Drop | Hang"]
"""Makes the vectors of texts, or says how the request fails."""

PATHS = ("/embeddings", "/api/embed")
DIMENSION = 64


def bag_of_words(texts: Sequence[str]) -> Rows:
    """Vectors that are near each other where texts share words; the same each time."""
    return [_bag(text) for text in texts]


def _bag(text: str) -> list[float]:
    row = [0.01] * DIMENSION
    for word in terms(text):
        row[zlib.crc32(word.encode()) % DIMENSION] += 1.0
    return row


def is_asked(path: str) -> bool:
    """Whether a request is for vectors."""
    return path.partition("?")[0].endswith(PATHS)


def texts_of(asked: dict[str, Any]) -> list[str]:
    """The texts of a request."""
    given = asked.get("input", [])
    return [given] if isinstance(given, str) else list(given)


def body(path: str, asked: dict[str, Any], rows: Rows) -> bytes:
    """The answer in the form of the protocol."""
    if path.partition("?")[0].endswith("/api/embed"):
        told: dict[str, Any] = {"model": asked.get("model", ""), "embeddings": rows, "total_duration": 1}
        return json.dumps(told).encode()
    tokens = sum(len(text) // 4 + 1 for text in texts_of(asked))
    data = [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(rows)]
    told = {"object": "list", "data": data, "model": asked.get("model", "")}
    return json.dumps({**told, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}).encode()
