"""Retrying: an embedder that is asked again where the failure may pass, a batch at a time."""

import asyncio
import random as chance
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from loom_nb.errors import EmbeddingError, ModelError
from loom_nb.retrieval.embedding import LEAST_LIFT, Embedder, Kind

if TYPE_CHECKING:
    from loom_nb.retrieval.embedding import Vectors

BATCH = 64
"""Texts that one failure costs again."""


class Patience(Protocol):
    """How long to wait for what may pass; `RetryPolicy` is one."""

    def delay(self, error: ModelError, attempt: int, random: Callable[[], float]) -> float | None:
        """Seconds to wait after the failed `attempt` (1, 2, …), or None to give up."""
        ...


class Retrying:
    """An `Embedder` around another one.

    Args:
        embedder: the one that is asked.
        patience: how often, and how long to wait in between.
        tell: called after each batch with how many texts are done; what it raises ends the work.
        batch: texts that are asked for at once.
        sleep: how to wait.
        random: from 0 to 1, for the wait.
    """

    def __init__(
        self,
        embedder: Embedder,
        patience: Patience,
        *,
        tell: Callable[[int], None] = lambda _: None,
        batch: int = BATCH,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self.name = embedder.name
        self.least = float(getattr(embedder, "least", LEAST_LIFT))
        self._embedder = embedder
        self._patience = patience
        self._tell = tell
        self._batch = batch
        self._sleep = sleep
        self._random = random

    async def embed(self, texts: Sequence[str], *, kind: Kind = "document") -> "Vectors":
        """See `Embedder`. Raises EmbeddingError where batches have vectors of different dimensions."""
        import numpy as np

        found = []
        for start in range(0, len(texts) or 1, self._batch):
            some = texts[start : start + self._batch]
            found.append(np.atleast_2d(np.asarray(await self._insist(some, kind), np.float32)))
            self._tell(min(len(texts), start + self._batch))
        width, *others = sorted({rows.shape[1] for rows in found if rows.shape[1]}) or [0]
        if others:
            raise EmbeddingError(
                f"The vectors of {self.name} cannot be used",
                cause=f"those of one batch have {width:,} numbers, those of another {others[0]:,}",
                fixes=("check that all requests go to the same model",),
            )
        return np.concatenate(  # a batch of blank texts may not know its dimension
            [rows if rows.shape[1] else np.zeros((len(rows), width), np.float32) for rows in found]
        )

    async def close(self) -> None:
        """Close the one that is asked."""
        await self._embedder.close()

    async def _insist(self, texts: Sequence[str], kind: Kind) -> "Vectors":
        attempt = 1
        while True:
            try:
                return await self._embedder.embed(texts, kind=kind)
            except ModelError as error:
                wait = self._patience.delay(error, attempt, self._random)
                if wait is None:
                    raise
            await self._sleep(wait)
            attempt += 1
