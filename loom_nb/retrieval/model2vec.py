"""Model2VecEmbedder: static embeddings from a folder that the user has, without a network."""

import asyncio
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loom_nb.errors import SetupError
from loom_nb.retrieval.embedding import LEAST_LIFT, Kind, checked

if TYPE_CHECKING:
    from loom_nb.retrieval.embedding import Vectors

_END = 65_536
"""Bytes at each end of a file that are looked at."""


class Model2VecEmbedder:
    """Embeds with a model of model2vec (the extra `embed`). Nothing is loaded before the first call.

    Args:
        path: the folder of the model, on this machine: nothing is fetched.
        least: how far above the usual a cosine lies where a text belongs to a question.

    Raises:
        SetupError: there is no such folder, or no model in it; at the first call, the extra is missing.
    """

    def __init__(self, path: str | Path, *, least: float = LEAST_LIFT) -> None:
        self._path = Path(path).expanduser()
        config = self._path / "config.json"
        if not config.is_file():
            raise SetupError(
                f"There is no model of model2vec in {self._path}",
                cause="a model is a folder with config.json, tokenizer.json and model.safetensors",
                fixes=("give the path of the folder that holds config.json",),
            )
        self.name = f"model2vec:{self._path.name}-{_mark(config, self._path / 'model.safetensors')}"
        self.least = least
        self._model: Any = None

    async def embed(self, texts: Sequence[str], *, kind: Kind = "document") -> "Vectors":
        """See `Embedder`; a text without known words has a row of zeros."""
        if sys.platform == "emscripten":
            return self._embed(texts)
        return await asyncio.to_thread(self._embed, texts)

    async def close(self) -> None:
        """Nothing is open."""

    def _embed(self, texts: Sequence[str]) -> "Vectors":
        if self._model is None:
            self._model = self._load()
        if not texts:
            return checked((), 0, int(self._model.dim))
        return checked(
            self._model.encode(list(texts), use_multiprocessing=False), len(texts), name=self.name, zeros=True
        )

    def _load(self) -> Any:
        try:
            from model2vec import StaticModel
        except ImportError:
            raise SetupError("model2vec is not installed", fixes=("pip install 'loom-nb[embed]'",)) from None
        return StaticModel.from_pretrained(str(self._path), force_download=False)


def _mark(*files: Path) -> str:
    """What changes when another model comes to the same place: sizes, and both ends of each file."""
    digest = hashlib.sha256()
    for path in files:
        if not path.is_file():
            continue
        with path.open("rb") as file:
            digest.update(file.read(_END))
            size = file.seek(0, 2)
            file.seek(max(0, size - _END))
            digest.update(file.read() + str(size).encode())
    return digest.hexdigest()[:8]
