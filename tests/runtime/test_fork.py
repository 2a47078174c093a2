"""Copies of a conversation, and runs that are taken out of one."""

import pytest

from loom_nb import Agent, FileSessionStore, MemoryStore, Model, SessionConfig, SqliteStore
from loom_nb.errors import LoomUsageError


@pytest.fixture(params=["memory", "sqlite", "files"])
def store(request, tmp_path):
    made = {
        "memory": MemoryStore,
        "sqlite": lambda: SqliteStore(tmp_path / "loom.db"),
        "files": lambda: FileSessionStore(tmp_path / "sessions"),
    }[request.param]()
    yield made
    made.close()


def words(messages):
    return [message.text for message in messages]


async def talk(store, *goals):
    seen = []

    def reply(messages):
        seen.append(words(messages))
        return f"answer {len(seen)}"

    agent = Agent(Model.scripted([reply] * 10), session_store=store)
    session = agent.session(SessionConfig("s"))
    for goal in goals:
        await session.run(goal)
    return agent, session, seen


async def test_a_copy_goes_its_own_way_and_the_first_one_stays(store):
    agent, session, seen = await talk(store, "one", "two", "three")
    name = await session.fork(before="r3")
    async with session, agent.session(SessionConfig(name)) as other:
        await other.run("instead")
        await session.run("four")
        assert seen[-2] == ["one", "answer 1", "two", "answer 2", "instead"]
        assert seen[-1] == ["one", "answer 1", "two", "answer 2", "three", "answer 3", "four"]
        opened = next(iter(store.read(name))).event
        assert opened.metadata["forked_from"] == "s/r3"
        assert [row.run for row in store.runs(name)] == ["r3", "r2", "r1"]
        assert [row.run for row in store.runs(await session.fork(through="r2"))] == ["r2", "r1"]
        assert [entry.seq for entry in store.read(name)] == list(range(1, len(list(store.read(name))) + 1))


async def test_a_copy_of_what_is_not_there_is_refused_and_nothing_is_written(store):
    _agent, session, _ = await talk(store, "one")
    async with session:
        with pytest.raises(LoomUsageError, match="has no run r9"):
            await session.fork("copy", before="r9")
        assert list(store.read("copy")) == []
        await session.fork("copy")
        with pytest.raises(LoomUsageError, match="exists already"):
            await session.fork("copy")


async def test_a_run_that_is_left_out_is_shown_again_when_that_is_undone():
    _, session, seen = await talk(MemoryStore(), "one", "two", "three")
    async with session:
        left = await session.leave_out("r2", reason="its cell was run again")
        assert (left.strategy, left.reason) == ("left out", "its cell was run again")
        assert await session.leave_out("r2") is None
        await session.run("four")
        assert seen[-1] == ["one", "answer 1", "three", "answer 3", "four"]
        await session.undo_compaction(left.id)
        await session.run("five")
        assert seen[-1][2:4] == ["two", "answer 2"]
        with pytest.raises(LoomUsageError, match="has no run r77"):
            await session.leave_out("r77")


async def test_a_run_is_left_out_with_all_that_followed_it():
    _, session, seen = await talk(MemoryStore(), "one", "two", "three")
    async with session:
        await session.leave_out("r2", later=True)
        await session.run("two again")
        assert seen[-1] == ["one", "answer 1", "two again"]


async def test_what_was_left_out_comes_back_by_no_list_and_stands_in_the_ledger():
    _, session, seen = await talk(MemoryStore(), "one", "secret " * 200, "three " * 100, "four")
    async with session:
        left = await session.leave_out("r2")
        await session.compact("collapse")
        assert "secret" not in repr(session.view.shown.messages)
        items = (await session.ledger()).items
        assert [one.name for one in items if one.by == left.id] == ["m3", "m4"]
        await session.run("five")
        assert not any("secret" in text for text in seen[-1])
