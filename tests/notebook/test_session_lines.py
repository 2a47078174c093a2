"""What `%loom sessions` tells to type takes back what was done, whatever the name and the age."""

import shlex
import sqlite3
from types import SimpleNamespace

import pytest

from loom_nb import FileSessionStore, SqliteStore
from loom_nb.errors import LoomUsageError
from loom_nb.events import LogEntry, RunFinished, RunStarted, SessionOpened
from loom_nb.notebook import past, session_cards, sessions
from loom_nb.runtime.session_facts import listing

MANY = sessions.LOOKED_AT + 2


@pytest.fixture(params=["sqlite", "files"])
def bench(request, tmp_path):
    store = SqliteStore(tmp_path / "l.db") if request.param == "sqlite" else FileSessionStore(tmp_path / "f")
    for number in range(MANY):
        session = f"nb-{number:05d}"
        lease = store.acquire(session)
        events = (SessionOpened(), RunStarted("m", "hi"), RunFinished("completed"))
        store.append(
            lease,
            [LogEntry(session, n, "r1" if n > 1 else "", float(number), e) for n, e in enumerate(events, 1)],
        )
        store.release(lease)
    yield SimpleNamespace(store=store, session=None, notebook="", sessions=list)
    store.close()


async def renamed(bench, *words):
    return (await sessions.sessions(bench, ["rename", *words])).steps[0][0]


@pytest.mark.parametrize("name", ["precious name", 'say "hi" to Ada\'s', "a \\ b", ""])
async def test_the_undo_line_gives_an_old_conversation_its_name_back(bench, name):
    bench.store.rename("nb-00000", name)

    line = await renamed(bench, "nb-00000", "other")
    assert shlex.split(line)[:3] == ["%loom", "sessions", "rename"]
    await renamed(bench, *shlex.split(line)[3:])

    assert sessions.one_of(bench, "nb-00000").row.name == name


@pytest.mark.parametrize("name", ["nb-00003/r1", "nb-00003", "r1", "last"])
def test_of_a_run_in_a_deleted_conversation_it_is_said_how_it_comes_back(tmp_path, name):
    store = FileSessionStore(tmp_path)
    lease = store.acquire("nb-00003")
    store.append(
        lease,
        [
            LogEntry("nb-00003", 1, "", 1.0, SessionOpened()),
            LogEntry("nb-00003", 2, "r1", 2.0, RunStarted("m", "hi")),
        ],
    )
    store.release(lease)
    store.delete("nb-00003")

    with pytest.raises(LoomUsageError) as caught:
        past.find(store, name, mine=["nb-00003"], notebook="", form="%loom show {}")

    assert "nb-00003 was deleted" in str(caught.value)
    assert caught.value.fixes[0] == "%loom sessions undo nb-00003"


async def test_a_conversation_named_twice_is_deleted_and_brought_back_once(bench):
    card = await sessions.sessions(bench, ["delete", "nb-00009", "nb-00009"])
    assert [name for name, _ in card.facts] == ["nb-00009"]
    card = await sessions.sessions(bench, ["undo", "nb-00009", "nb-00009"])
    assert card.facts == (("conversation", "nb-00009"),)
    assert bench.store.deleted() == []


@pytest.mark.parametrize(("damaged", "title"), [("RunStarted", "(cannot be read)"), ("RunFinished", "hi")])
async def test_a_conversation_whose_last_run_is_damaged_says_so_and_is_not_called_interrupted(
    tmp_path, damaged, title
):
    store = SqliteStore(tmp_path / "l.db")
    lease = store.acquire("nb-1234")
    events = (SessionOpened(), RunStarted("m", "hi"), RunFinished("completed"))
    entries = [LogEntry("nb-1234", n, "r1" if n > 1 else "", 9.0, e) for n, e in enumerate(events, 1)]
    store.append(lease, entries)
    store.release(lease)
    with sqlite3.connect(tmp_path / "l.db") as file:
        file.execute("update events set json = 'x' where type = ?", (damaged,))

    (found,) = listing(store, 10)
    bench = SimpleNamespace(store=store, session=None, notebook="", sessions=list)
    one = sessions.one_of(bench, "nb-1234")

    assert found == one
    assert (one.status, session_cards.title_of(one)) == ("damaged", title)
    assert "resume" not in str(session_cards.opened_card(one, ""))
    store.close()


async def test_a_conversation_whose_id_has_spaces_is_named_in_lines_that_work(tmp_path):
    store = SqliteStore(tmp_path / "l.db")
    for session in ("my talk", "your talk"):
        lease = store.acquire(session)
        events = (SessionOpened(), RunStarted("m", "hi"), RunFinished("completed"))
        runs = [LogEntry(session, n, "r1" if n > 1 else "", 9.0, e) for n, e in enumerate(events, 1)]
        store.append(lease, runs)
        store.release(lease)
    bench = SimpleNamespace(store=store, session=None, notebook="", sessions=list)

    listed = session_cards.list_card(list(listing(store, 9)), notebook="", current="your talk", deleted=0)
    assert listed.steps[2][0] == "%loom sessions delete 'my talk'"
    gone = await sessions.sessions(bench, shlex.split(listed.steps[2][0])[2:])
    assert [row.id for row in store.deleted()] == ["my talk"]
    back = await sessions.sessions(bench, shlex.split(gone.steps[0][0])[2:])
    assert store.deleted() == []
    assert back.steps[0][0] == "%loom sessions open 'my talk'"
    store.close()
