"""Upkeep of vectors: those that notes lack are made beside the runs, which wait for them a moment at most."""

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from loom_nb.capabilities.memory.finding import Query
from loom_nb.capabilities.memory.vectors import BATCH, embed_notes, embedded_query
from loom_nb.errors import LoomError

if TYPE_CHECKING:
    from loom_nb.capabilities.memory.store import NoteStore
    from loom_nb.retrieval.embedding import Embedder

WAIT = 3.0
"""Seconds for which a run waits for the vectors of notes; the work goes on without it."""
QUERY = 10.0
"""Seconds for which a run waits for the vector of its task, with a local model that has to be loaded."""
_FIRST = 4
"""Notes of the first batch. A batch that takes less than a second is followed by one of twice as many."""
_OPEN: Counter[int] = Counter()
"""How many memories of this process use an embedder, by its id."""


class Upkeep:
    """Who embeds for one opened memory.

    Args:
        store: the notes.
        embedder: who is asked; it is closed when the last memory that uses it is.
        wait: seconds, as `WAIT`.
        patience: seconds, as `QUERY`.
    """

    def __init__(
        self, store: "NoteStore", embedder: "Embedder", wait: float = WAIT, patience: float = QUERY
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._wait = wait
        self._patience = patience
        self._dimension: int | None = None
        """Of the vectors that it gives now, once it was asked for one."""
        self._work: asyncio.Task[LoomError | None] | None = None
        _OPEN[id(embedder)] += 1

    def begin(self) -> "asyncio.Task[LoomError | None]":
        """Make what is missing, unless that is going on already. It is kept batch by batch."""
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._make())
        return self._work

    async def caught_up(self) -> bool:
        """Make what is missing, and wait for it a moment; whether there is nothing left to make.

        Raises LoomError as `embed_notes`.
        """
        work = self.begin()
        await asyncio.wait({work}, timeout=self._wait)
        if not work.done():
            return False
        if error := work.result():
            raise error
        return True

    async def query(self, text: str) -> Query:
        """A query with its vector. Raises LoomError as `embed_notes`, and TimeoutError."""
        async with asyncio.timeout(self._patience):
            query = await embedded_query(self._embedder, text)
        if query.vector is not None:
            self._dimension = len(query.vector)
        return query

    async def close(self) -> None:
        """End the work, what was made is kept; and let go of connections where nobody else uses them."""
        if self._work is not None and not self._work.done():
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        _OPEN[id(self._embedder)] -= 1
        if not _OPEN[id(self._embedder)]:
            del _OPEN[id(self._embedder)]
            close = getattr(self._embedder, "close", None)
            if close is not None:
                await close()

    async def _make(self) -> LoomError | None:
        size = _FIRST
        try:
            while True:
                began = time.monotonic()
                if await embed_notes(self._store, self._embedder, size, self._dimension) < size:
                    return None
                is_fast = time.monotonic() - began < 1
                size = min(BATCH, size * 2) if is_fast else max(1, size // 2)
        except LoomError as error:
            return error
