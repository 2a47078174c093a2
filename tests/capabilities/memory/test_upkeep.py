"""Vectors are made beside the runs: batch by batch, and nobody waits for them longer than a moment."""

import asyncio
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from loom_nb.capabilities.memory.store import NoteStore
from loom_nb.capabilities.memory.upkeep import Upkeep
from loom_nb.errors import EmbeddingError

NOTES = 20


class Gated:
    """Embeds so many texts, then waits to be let through."""

    name, least = "test:gated", 0.3

    def __init__(self, free=0):
        self.free = free
        self.gate, self.reached = asyncio.Event(), asyncio.Event()
        self.closed = 0

    async def embed(self, texts, *, kind="document"):
        self.free -= len(texts)
        if self.free < 0:
            self.reached.set()
            await self.gate.wait()
        return np.ones((len(texts), 3))

    async def close(self):
        self.closed += 1


class Failing(Gated):
    async def embed(self, texts, *, kind="document"):
        if self.closed:
            return await super().embed(texts)
        raise KeyError("data")


@pytest.fixture
def store(tmp_path):
    with closing(NoteStore(tmp_path / "memory.db")) as store:
        for n in range(NOTES):
            store.add(f"lantern {n} is on shelf {n}")
        yield store


def missing(store, embedder):
    return len(store.without_vectors(embedder.name, 1_000))


async def test_who_waits_does_so_for_a_moment_and_the_work_goes_on(store):
    embedder = Gated()
    upkeep = Upkeep(store, embedder, wait=0)
    assert not await upkeep.caught_up()
    assert not await upkeep.caught_up()  # the same work, not another one
    embedder.free, work = 1_000, upkeep.begin()
    embedder.gate.set()
    assert await work is None and missing(store, embedder) == 0
    assert await Upkeep(store, embedder).caught_up()
    await upkeep.close()


async def test_what_was_made_is_kept_when_a_session_ends_in_the_middle(store):
    embedder = Gated(free=5)
    upkeep = Upkeep(store, embedder, wait=0)
    await upkeep.caught_up()
    await embedder.reached.wait()

    await upkeep.close()

    assert 0 < missing(store, embedder) < NOTES


async def test_who_writes_beside_it_holds_up_the_work_and_not_the_loop(store):
    embedder = Reached(free=1_000)
    upkeep = Upkeep(store, embedder)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        work = upkeep.begin()
        await embedder.reached.wait()
        assert not work.done()  # this loop goes on, while what was made waits to be kept

    assert await work is None and missing(store, embedder) == 0
    await upkeep.close()


class Reached(Gated):
    async def embed(self, texts, *, kind="document"):
        self.reached.set()
        return await super().embed(texts)


async def test_a_failure_is_told_and_tried_again_the_next_time(store):
    embedder = Failing(free=1_000)
    upkeep = Upkeep(store, embedder)
    for _ in range(2):
        with pytest.raises(EmbeddingError):
            await upkeep.caught_up()
    embedder.closed = 1
    assert await upkeep.caught_up() and missing(store, embedder) == 0
    await upkeep.close()


async def test_a_query_that_takes_too_long_is_given_up(store):
    upkeep = Upkeep(store, Gated(), patience=0)
    with pytest.raises(TimeoutError):
        await upkeep.query("lantern")
    await upkeep.close()


async def test_an_embedder_is_closed_by_the_last_who_uses_it(store):
    embedder = Gated()
    one, other = Upkeep(store, embedder), Upkeep(store, embedder)
    await one.close()
    assert embedder.closed == 0
    await other.close()
    assert embedder.closed == 1


async def test_where_no_vector_is_missing_nobody_who_writes_is_waited_for(store):
    embedder = Gated(free=1_000)
    upkeep = Upkeep(store, embedder)
    await upkeep.query("lantern")
    assert await upkeep.caught_up()
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with closing(NoteStore(store.path, busy_seconds=0.01)) as impatient:
            again = Upkeep(impatient, embedder)
            await again.query("lantern")
            assert await again.caught_up()
            await again.close()
    await upkeep.close()


async def test_vectors_of_another_dimension_are_made_anew_once_a_query_has_told(store):
    embedder = Gated(free=1_000)
    upkeep = Upkeep(store, embedder)
    assert await upkeep.caught_up()
    embedder.embed = Wider(free=1_000).embed

    await upkeep.query("lantern")

    assert await upkeep.caught_up() and missing(store, embedder) == 0
    with store.writing() as db:
        sizes = db.execute("SELECT DISTINCT length(vector) FROM vectors").fetchall()
    assert sizes == [(4 * Wider.dimension,)]
    await upkeep.close()


class Wider(Gated):
    dimension = 5

    async def embed(self, texts, *, kind="document"):
        return np.ones((len(texts), self.dimension))
