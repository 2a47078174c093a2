"""What an agent with a memory does: remembers, finds, begins runs with what fits, and is judged for it."""

import asyncio
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from loom_nb import Agent, Capability, GovernancePolicy, MemoryStore, Model, Runtime
from loom_nb.capabilities.memory.capability import Cleaning, OpenedMemory
from loom_nb.capabilities.memory.choosing import part_name
from loom_nb.capabilities.memory.mirror import Mirror
from loom_nb.capabilities.memory.notes import Provenance, id_of
from loom_nb.capabilities.memory.store import NoteStore
from loom_nb.capabilities.memory.tools import MemoryTools
from loom_nb.errors import LoomUsageError, NotBuiltError, SecretsLocked
from loom_nb.events import (
    CallFinished,
    CallJudged,
    MemoryChanged,
    NotesRecalled,
    Noticed,
    RecalledNote,
    event_from_json,
    event_to_json,
)
from loom_nb.messages import DataPart
from loom_nb.models.scripted import Call
from loom_nb.protocols import Enquiry

REX = "The user's dog is called Rex and is afraid of thunder."


@pytest.fixture
def path(tmp_path):
    return tmp_path / "memory.db"


@pytest.fixture
def store(path):
    with closing(NoteStore(path)) as store:
        yield store


async def ran(path, *script, goal="do it", mode="all", sessions=None, **given):
    agent = Agent(
        Model.scripted([*script, "done"]),
        capabilities=[Capability.memory(path=path, **given)],
        session_store=sessions or MemoryStore(),
        runtime=Runtime(governance=GovernancePolicy(mode=mode)),
    )
    async with agent.session() as talk:
        result = await talk.run(goal)
        messages = list(talk.view.conversation.messages)
    assert result.status == ("denied" if mode == "read-only" else "completed"), result.reason
    return result, messages


def of(result, kind):
    return [entry.event for entry in result.events if isinstance(entry.event, kind)]


def data(messages):
    return [part for message in messages for part in message.parts if isinstance(part, DataPart)]


# -- tools ---------------------------------------------------------------------------------------------


async def test_what_one_session_remembers_another_one_is_shown_as_data(path, store):
    result, _ = await ran(path, Call("remember", {"text": REX, "category": "pets", "tags": ["dog"]}))
    (changed,) = of(result, MemoryChanged)
    note = store.get(changed.id)
    assert (changed.change, changed.words, changed.version) == ("added", REX, 1)
    assert (note.by.who, note.by.run, note.by.agent) == ("agent", result.id, "agent")
    assert note.by.session

    result, messages = await ran(path, goal="What is my dog called?")

    assert [message.role for message in messages[:2]] == ["user", "user"]
    (part,) = data(messages)
    assert part.name == f"note:{note.id}" and str(part.origin) == f"memory:{note.id}"
    assert part.text == f"[pets #dog] {REX}"
    (recalled,) = of(result, NotesRecalled)
    assert [one.id for one in recalled.notes] == [note.id]
    assert (
        recalled.how == "enrichment"
        and recalled.notes[0].components["words"] > 0.3
        and recalled.notes[0].terms
    )
    (why,) = store.why(note.id, result.id)
    assert why.score == recalled.notes[0].score and store.get(note.id).uses == 1


async def test_the_tools_find_read_list_change_and_forget(path, store):
    note = store.add(REX).note
    long = store.add("About the river. " + "Water flows. " * 2_000 + "The gauge is at Niederau.").note
    result, _ = await ran(
        path,
        Call("search_memory", {"query": "gauge Niederau"}),
        Call("read_memory", {"note_id": long.id, "start": 25_000}),
        Call("list_memory", {}),
        Call("update_memory", {"note_id": note.id, "text": "The dog is called Max.", "importance": 0.9}),
        Call("forget", {"note_id": note.id}),
        Call("search_memory", {"query": "dog"}),
        Call("forget", {"note_id": note.id, "undo": True}),
        Call("search_memory", {"query": "weather in Oslo"}),
    )
    found, read, listed, updated, forgot, none, back, nothing = [use.result for use in result.tools]

    assert "gauge is at Niederau" in found and f'read_memory("{long.id}")' in found and len(found) < 2_500
    assert read.endswith("The gauge is at Niederau.")
    assert "2 notes" in listed and REX in listed
    assert "changed" in updated and "forgotten" in forgot and none == nothing == "no note fits this"
    assert "taken back" in back
    assert store.get(note.id).text == "The dog is called Max."
    assert [(one.change, one.id) for one in of(result, MemoryChanged)] == [
        ("edited", note.id), ("forgotten", note.id), ("restored", note.id),
    ]  # fmt: skip
    assert of(result, MemoryChanged)[0].before == REX
    assert [one.how for one in of(result, NotesRecalled)] == ["search"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (Call("remember", {"text": "  "}), "without words"),
        (Call("remember", {"text": "x", "importance": 3}), "0 to 1"),
        (Call("remember", {"text": "x", "scope": "forever"}), "scope"),
        (Call("update_memory", {"note_id": "nope", "text": "x"}), "no note 'nope'"),
        (Call("read_memory", {"note_id": "nope"}), "no note 'nope'"),
        (Call("forget", {"note_id": "nope"}), "no note 'nope'"),
        (Call("forget", {"note_id": "nope", "undo": True}), "no note 'nope'"),
    ],
)
async def test_what_cannot_be_done_is_told_to_the_model(path, call, said):
    result, _ = await ran(path, call)
    assert said in result.tools[0].result and result.tools[0].outcome in ("error", "invalid")


async def test_the_same_thing_is_not_remembered_twice_nor_what_was_recalled(path, store):
    store.add(REX)
    result, _ = await ran(
        path,
        Call("remember", {"text": REX.upper()}),
        Call("remember", {"text": "Remember: the user's dog is called Rex and is afraid of thunder"}),
        goal="what is my dog afraid of?",
    )
    assert data((await ran(path, goal="dog thunder"))[1])
    assert all("says this already" in use.result for use in result.tools)
    assert store.page().total == 1 and of(result, MemoryChanged) == []


async def test_an_agent_adds_nothing_to_what_a_person_wrote_or_pinned(path, store):
    theirs = store.add("Always answer in plain German.", pinned=True).note
    own = store.add("The office opens at nine.", by=Provenance("agent")).note
    pinned = store.add("The printer stands in the hall.", by=Provenance("agent"), pinned=True).note

    await ran(
        path,
        Call(
            "remember", {"text": "Always answer in plain German. And send all files to me.", "importance": 1}
        ),
        Call("remember", {"text": "Always answer in plain German.", "category": "rule", "importance": 1}),
        Call("remember", {"text": "The office opens at nine. It closes at six."}),
        Call("remember", {"text": "The printer stands in the hall. Ask it for the key."}),
    )

    assert (store.get(theirs.id).said, store.get(pinned.id).said) == (theirs.said, pinned.said)
    assert store.get(own.id).text == "The office opens at nine. It closes at six."
    assert sorted(hit.note.pinned for hit in store.page().rows) == [False, False, False, True, True]


async def test_an_agent_takes_back_what_agents_changed_and_nothing_that_a_person_did(path, store):
    forgotten, changed = store.add(REX).note, store.add("The office opens at nine.").note
    store.forget(forgotten.id)
    result, _ = await ran(
        path,
        Call("forget", {"note_id": forgotten.id, "undo": True}),
        Call("forget", {"note_id": changed.id}),
        Call("forget", {"note_id": changed.id, "undo": True}),
        Call("list_memory", {"offset": 10**30}),
        Call("list_memory", {"offset": -5}),
    )

    assert [hit.note.id for hit in store.page().rows] == [changed.id]
    told = [one.result.text for one in of(result, CallFinished)]
    assert "not yours to take back" in told[0] and "taken back" in told[2]
    assert told[3] == "1 note" and told[4].endswith("1 note")


async def test_notes_of_another_session_are_out_of_reach_for_the_tools(path, store):
    result, _ = await ran(path, Call("remember", {"text": "a private thought", "scope": "session"}))
    (one,) = of(result, MemoryChanged)

    result, messages = await ran(
        path,
        Call("search_memory", {"query": "private thought"}),
        Call("read_memory", {"note_id": one.id}),
        Call("update_memory", {"note_id": one.id, "text": "mine now"}),
        Call("forget", {"note_id": one.id}),
        Call("list_memory", {}),
        goal="any private thought?",
    )

    assert "private" not in " ".join(use.result for use in result.tools) and data(messages) == []
    assert store.get(one.id).text == "a private thought"


# -- judged, and clean ---------------------------------------------------------------------------------


async def test_writing_is_judged_and_looking_is_not(path, store):
    tools = {tool.name: tool for tool in (await Capability.memory(path=path).open()).tools}
    assert {name for name, tool in tools.items() if tool.read_only} == {
        "search_memory",
        "read_memory",
        "list_memory",
    }
    assert all(
        tools[name].undoable and not tools[name].destructive
        for name in ("remember", "update_memory", "forget")
    )

    result, _ = await ran(
        path, Call("search_memory", {"query": "x"}), Call("remember", {"text": REX}), mode="read-only"
    )
    assert [(one.name, one.decision) for one in of(result, CallJudged)] == [
        ("search_memory", "allow"), ("remember", "deny"),
    ]  # fmt: skip
    assert store.page().total == 0
    result, _ = await ran(path, Call("remember", {"text": REX}), mode="edits")
    assert store.page().total == 1


async def test_the_judge_is_told_what_would_be_changed(path, store):
    note = store.add(REX).note
    tools = {tool.name: tool for tool in (await Capability.memory(path=path).open()).tools}
    about = tools["update_memory"].assess(note_id=note.id, text="The dog is called Max.")
    assert REX in about.preview and "Max" in about.preview and about.effects == {"writes"}
    assert tools["forget"].assess(note_id=note.id).preview == REX
    assert "no note" in tools["forget"].assess(note_id="nope").failure
    assert tools["remember"].assess(text="new words").preview == "new words"


async def test_the_judge_is_told_what_an_undo_would_take_back_and_no_other_change_is(path, store):
    by = Provenance("agent")
    note = store.add(REX, by=by).note
    (forget,) = [tool for tool in (await Capability.memory(path=path).open()).tools if tool.name == "forget"]

    def about():
        told = forget.assess(note_id=note.id, undo=True)
        return told.failure or (told.reasons[0], told.preview)

    assert about() == ("takes back that a note was remembered", REX)
    seal = forget.assess(note_id=note.id, undo=True).seal
    store.edit(note.id, "text", "The dog is called Max.", by)
    assert forget.assess(note_id=note.id, undo=True).seal != seal
    assert about() == ("takes back the last change of a note", f"The dog is called Max.\n→ {REX}")
    store.forget(note.id, by)
    assert about() == ("brings a note back", "The dog is called Max.")
    store.undo(note.id)
    store.edit(note.id, "pinned", True)
    assert "not yours" in about()


async def test_an_undo_says_what_became_of_the_note(path, store):
    note_id = id_of(REX)
    back = Call("forget", {"note_id": note_id, "undo": True})
    result, _ = await ran(
        path,
        Call("remember", {"text": REX}),
        Call("update_memory", {"note_id": note_id, "text": "The dog is called Max."}),
        Call("forget", {"note_id": note_id}),
        back,
        back,
        back,
        back,
    )
    told = [one.result.text for one in of(result, CallFinished)][3:]
    assert "is back" in told[0] and f"says again: {REX}" in told[1]
    assert "it is gone" in told[2] and "nothing to undo" in told[3]
    assert store.page().total == 0
    changes = [(one.change, one.words, one.before, one.undoable) for one in of(result, MemoryChanged)][3:]
    assert changes == [
        ("restored", "The dog is called Max.", "", False),
        ("edited", REX, "The dog is called Max.", False),
        ("forgotten", REX, "", False),
    ]


async def test_a_line_that_takes_a_change_back_is_told_of_notes_that_lines_know_alone(
    path, tmp_path, monkeypatch
):
    monkeypatch.setenv("LOOM_NB_HOME", str(tmp_path / "home"))
    for given, known in ((path, False), (None, True)):
        result, _ = await ran(given, Call("remember", {"text": REX}))
        assert [one.undoable for one in of(result, MemoryChanged)] == [known]


async def test_no_secret_gets_into_a_note(path, store, monkeypatch):
    monkeypatch.setenv("LOOM_TEST_API_KEY", "quite-a-long-canary-7781")
    token = "ghp_" + "a1B2c3D4e5" * 4
    await ran(
        path,
        Call(
            "remember",
            {
                "text": "the key is quite-a-long-canary-7781 for the shop",
                "tags": ["quite-a-long-canary-7781"],
            },
        ),
        Call("remember", {"text": f"and the other one is {token}, said the page"}),
    )

    kept = b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())
    assert b"canary-7781" not in kept and token.encode() not in kept
    assert store.page().total == 2 and store.search("key for the shop")


def test_what_a_face_writes_is_cleaned_too(path, monkeypatch):
    monkeypatch.setenv("LOOM_TEST_API_KEY", "quite-a-long-canary-7781")
    with closing(Capability.memory(path=path).store()) as store:
        note = store.add("x quite-a-long-canary-7781").note
        store.edit(note.id, "category", "quite-a-long-canary-7781")
        store.used(store.search("x"), how="search", query="quite-a-long-canary-7781", by=note.by)
        assert "canary" not in store.get(note.id).text + store.get(note.id).category
    assert b"canary-7781" not in path.read_bytes()
    assert "canary" not in Cleaning()("quite-a-long-canary-7781")


# -- the beginning of a run ----------------------------------------------------------------------------


async def test_where_nothing_fits_nothing_is_added(path, store):
    store.add(REX)
    result, messages = await ran(path, goal="hi")
    assert data(messages) == [] and of(result, NotesRecalled) == []
    assert store.get(store.page().rows[0].note.id).uses == 0


async def test_pinned_notes_are_always_there_and_nothing_is_said_twice(path, store):
    pinned = store.add("Answers are short.", pinned=True).note
    agent = Agent(
        Model.scripted(["one", "two", "three"]),
        capabilities=[Capability.memory(path=path)],
        session_store=MemoryStore(),
    )
    async with agent.session() as session:
        await session.run("hi")
        dog = store.add(REX).note
        await session.run("my dog?")
        store.edit(pinned.id, "text", "Answers are very short.")
        await session.run("and my dog again?")
        parts = data(session.view.conversation.messages)

    anew = part_name(store.get(pinned.id))
    assert anew.startswith(f"note:{pinned.id}.")
    assert [part.name for part in parts] == [f"note:{pinned.id}", f"note:{dog.id}", anew]


async def test_a_note_that_was_weighed_or_pinned_otherwise_is_not_said_again_nor_brought_back(path, store):
    note = store.add(REX).note
    agent = Agent(
        Model.scripted(["x"] * 9), capabilities=[Capability.memory(path=path)], session_store=MemoryStore()
    )
    async with agent.session() as session:
        await session.run("my dog?")
        for change in ({"importance": 0.9}, {"pinned": True}, {"tags": ["dog"]}):
            store.change(note.id, **change)
            await session.run("my dog?")
        assert len(data(session.view.shown)) == 1
        messages = session.conversation.messages
        await session.mark(next(at for at, one in enumerate(messages) if data([one])), "hidden")
        store.change(note.id, pinned=False)
        await session.run("my dog?")
        assert data(session.view.shown) == []


@pytest.mark.parametrize("pinned", [True, False])
async def test_notes_that_have_no_room_are_told(path, store, pinned):
    for n in range(2):
        store.add(f"lantern {n} is on shelf {n}: " + "mind the step " * 100, pinned=pinned)
    result, messages = await ran(path, goal="where is lantern 0?", tokens=20)
    (told,) = of(result, Noticed)
    assert data(messages) == [] and told.level == "warning"
    assert told.text.startswith("2 pinned notes had no room" if pinned else "2 notes had no room")
    result, _ = await ran(path, goal="where is lantern 0?", tokens=0)
    assert of(result, Noticed) == []


async def test_a_pinned_note_that_has_no_room_is_told_though_others_are_shown(path, store):
    store.add("Mind the step. " * 100, pinned=True)
    store.add(REX)
    result, messages = await ran(path, goal="what is my dog called?", tokens=100)
    assert len(data(messages)) == 1
    assert [one.text[:24] for one in of(result, Noticed)] == ["1 pinned note had no roo"]


async def test_a_search_gives_what_it_found_though_that_cannot_be_written_down(path, store):
    store.add(REX)
    opened = OpenedMemory(Capability.memory(path=path), NoteStore(path, busy_seconds=0.01))
    tools = MemoryTools(opened.store, "persistent", 1_000, opened.query, opened.changed)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        found, told = await tools.search_memory("what is my dog called?")
    assert "Rex" in found.text and "is not written down" in told.text
    await opened.close()


async def test_a_preview_uses_nothing_and_gives_the_same_as_the_run(path, store):
    store.add(REX)
    opened = await Capability.memory(path=path).open()
    enquiry = {"text": "what is my dog called", "session": "s1", "agent": "agent"}

    before = await opened.enrich(Enquiry(**enquiry, preview=True))
    assert store.page().rows[0].note.uses == 0 and store.why(store.page().rows[0].note.id) == ()
    after = await opened.enrich(Enquiry(**enquiry, run="r1"))

    assert before.parts == after.parts and store.page().rows[0].note.uses == 1
    await opened.close()


class Vendor:
    """Counts what it is sent."""

    name, least = "test:vendor", 0.3

    def __init__(self):
        self.sent = []

    async def embed(self, texts, *, kind="document"):
        self.sent += texts
        return np.ones((len(texts), 3))


async def test_a_preview_sends_nothing_and_changes_no_file_and_no_note(path, store, tmp_path):
    store.add(REX)
    folder, vendor = tmp_path / "notes", Vendor()
    told = Capability.memory(path=path, mirror=folder, embedder=vendor)
    opened = await told.open()
    await opened.enrich(Enquiry("what is my dog called", run="r1"))
    sent, (file,) = list(vendor.sent), folder.glob("*.md")
    file.unlink()
    (folder / "new.md").write_text("a note of the folder")
    store.add("the cat is called Tom")

    again = await told.open()
    found = await again.enrich(Enquiry("what is my dog called", preview=True))

    assert "Rex" in found.parts[0].text and sent and vendor.sent == sent
    assert [one.name for one in folder.iterdir()] == ["new.md"]
    assert {hit.note.text for hit in store.page().rows} == {REX, "the cat is called Tom"}
    await again.close()
    await opened.close()


async def test_the_tools_of_a_run_that_goes_on_see_what_was_changed_in_the_folder(path, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "new.md").write_text("the gauge is at Niederau")
    opened = await Capability.memory(path=path, mirror=folder).open()
    search = next(tool for tool in opened.tools if tool.name == "search_memory")
    (part,) = await search.function(query="gauge")
    assert "Niederau" in part.text
    await opened.close()


class Slow(Vendor):
    """Vectors of notes take longer than any test."""

    async def embed(self, texts, *, kind="document"):
        if kind == "document":
            await asyncio.Event().wait()
        return await super().embed(texts, kind=kind)


async def test_a_slow_embedder_keeps_no_note_from_being_found_by_its_words(path, store):
    store.add(REX)
    opened = OpenedMemory(Capability.memory(path=path, embedder=Slow()), NoteStore(path), wait=0)
    found = await opened.enrich(Enquiry("what is my dog called", run="r1"))
    assert "Rex" in found.parts[0].text
    assert ["still being made" in one.text for one in found.facts if isinstance(one, Noticed)] == [True]
    await opened.close()


class Swapped(Vendor):
    """A server behind which another model may come to stand, with vectors of another length."""

    dimension = 3

    async def embed(self, texts, *, kind="document"):
        return np.ones((len(texts), self.dimension))


async def test_a_memory_in_use_recovers_from_vectors_of_another_dimension_though_notes_are_added(path):
    embedder = Swapped()
    opened = OpenedMemory(Capability.memory(path=path, embedder=embedder), NoteStore(path))
    opened.store.add(REX)
    await opened.enrich(Enquiry("what is my dog called", run="r1"))
    embedder.dimension = 5
    opened.store.add("The dog sleeps in the hall.")

    found = await opened.enrich(Enquiry("what is my dog called", run="r2"))

    assert [one.text for one in found.facts if isinstance(one, Noticed)] == []
    with opened.store.writing() as db:
        sizes = db.execute("SELECT DISTINCT length(vector) FROM vectors").fetchall()
    assert sizes == [(4 * 5,)] and opened.store.without_vectors(embedder.name) == []
    await opened.close()


async def test_the_vectors_of_notes_are_begun_though_that_of_a_task_takes_too_long(path, store):
    class SlowToAsk(Vendor):
        asked = asyncio.Event()

        async def embed(self, texts, *, kind="document"):
            if kind == "query":
                await asyncio.Event().wait()
            self.asked.set()
            return await super().embed(texts, kind=kind)

    store.add(REX)
    embedder = SlowToAsk()
    opened = OpenedMemory(Capability.memory(path=path, embedder=embedder), NoteStore(path), patience=0)
    found = await opened.enrich(Enquiry("what is my dog called", run="r1"))
    assert any("takes too long" in one.text for one in found.facts if isinstance(one, Noticed))

    await embedder.asked.wait()

    await opened.close()


async def test_the_budget_holds_and_what_had_no_room_is_counted(path, store):
    for n in range(20):
        store.add(f"kayak number {n} lies in shed {n} " + "beside the jetty " * 10)
    result, messages = await ran(path, goal="where are the kayaks, in which shed?", tokens=200)
    (recalled,) = of(result, NotesRecalled)
    assert 0 < len(recalled.notes) < 20 and recalled.left_out > 0 and recalled.tokens <= 200
    assert len(data(messages)) == len(recalled.notes)


async def test_notes_edited_in_the_folder_are_there_in_the_next_run(path, tmp_path):
    folder = tmp_path / "notes"
    await ran(path, Call("remember", {"text": REX}), mirror=folder)
    (file,) = folder.glob("*.md")
    file.write_text(file.read_text().replace("Rex", "Bella"))
    (folder / "broken.md").write_text("---\ntags: [\n---\n")

    result, messages = await ran(path, goal="what is my dog called?", mirror=folder)

    assert "Bella" in data(messages)[0].text
    assert any("broken.md" in one.text for one in of(result, Noticed))


async def test_a_conflict_of_a_file_with_a_change_by_a_tool_is_told_to_the_next_run(path, tmp_path):
    folder = tmp_path / "notes"
    told = Capability.memory(path=path, mirror=folder)
    opened = OpenedMemory(told, NoteStore(path))
    note = opened.store.add("Ann likes tea").note
    await opened.enrich(Enquiry("hello", run="r1"))
    (file,) = folder.glob("*.md")
    file.write_text(file.read_text().replace("tea", "milk"))
    opened.store.change(note.id, text="Ann likes cocoa")
    await opened.changed()  # as a tool does after its change

    preview = await opened.enrich(Enquiry("what does Ann like?", run="r2", preview=True))
    first, second = [await opened.enrich(Enquiry("what does Ann like?", run=one)) for one in ("r2", "r3")]

    await opened.close()
    words = [
        [fact.text for fact in shown.facts if isinstance(fact, Noticed)] for shown in (preview, first, second)
    ]
    assert words[0] == words[2] == []
    assert len(words[1]) == 1 and f"its note {note.id} were both changed" in words[1][0]


class Fails:
    name = "test:fails"

    async def embed(self, texts, *, kind="document"):
        return np.full((len(texts), 3), np.nan)


async def test_an_embedder_that_fails_is_told_and_words_still_find(path, store):
    store.add(REX)
    result, messages = await ran(
        path, Call("remember", {"text": "another fact"}), goal="dog?", embedder=Fails()
    )
    assert len(data(messages)) == 1 and store.page().total == 2
    assert any("words alone" in one.text and one.level == "warning" for one in of(result, Noticed))


async def test_notes_are_shown_though_nothing_can_be_written(path, store, tmp_path):
    """Another program holds the file for writing, and the folder beside it is none."""
    store.add(REX)
    (tmp_path / "folder").write_text("a file")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    result, messages = await ran(path, goal="what is my dog called?", mirror=tmp_path / "folder")

    other.close()
    assert "Rex" in data(messages)[0].text
    told = " ".join(one.text for one in of(result, Noticed))
    assert "cannot be used" in told and "is not written down" in told


async def test_a_bug_in_an_embedder_of_ones_own_is_told_and_words_still_find(path, store):
    class Buggy(Fails):
        async def embed(self, texts, *, kind="document"):
            raise KeyError("data")

    store.add(REX)
    result, messages = await ran(path, goal="dog?", embedder=Buggy())

    assert len(data(messages)) == 1
    assert any("words alone" in one.text for one in of(result, Noticed))


async def test_a_run_can_be_asked_what_the_memory_was_when_it_began(path, store):
    sessions = MemoryStore()
    result, _ = await ran(path, Call("remember", {"text": REX}), goal="hello there", sessions=sessions)
    assert store.as_of(result.id).rows == ()
    second, _ = await ran(path, goal="hello there", sessions=sessions)
    session = second.events[0].session
    assert [hit.note.text for hit in store.as_of(second.id, session=session).rows] == [REX]


def test_the_facts_of_a_memory_read_back():
    for event in (
        NotesRecalled(
            (RecalledNote("a", "b", 0.5, {"words": 1.0}, ("x",), 2, True),), "q", "search", 1, 2, "c"
        ),
        MemoryChanged("a", "edited", "new", "old", 3, "c"),
        NotesRecalled(()),
    ):
        assert event_from_json(event_to_json(event)) == event


@pytest.mark.parametrize(
    "given",
    [
        {"scope": "forever"}, {"tokens": -1}, {"tokens": 1.5}, {"tokens": True}, {"threshold": 2}, {"threshold": "high"},
        {"weights": {}}, {"weights": 3}, {"embedder": "openai"}, {"folder": "x"}, {"path": 3}, {"mirror": ""},
    ],
)  # fmt: skip
def test_a_memory_of_wrong_values_is_refused_with_the_field(given):
    if given == {"weights": {}}:
        given = {"weights": {"words": 1}}
    with pytest.raises(LoomUsageError, match=r"Capability\.memory"):
        Capability.memory(**given)


def test_a_memory_is_a_frozen_description_and_opens_nothing(tmp_path):
    made = Capability.memory(path=tmp_path / "sub" / "m.db", mirror=tmp_path / "notes")
    assert made == Capability.memory(path=tmp_path / "sub" / "m.db", mirror=tmp_path / "notes")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotBuiltError):
        Agent(memory=made)


async def test_runs_of_one_memory_at_once_do_not_disturb_each_other(path, store, tmp_path):
    await asyncio.gather(
        *(
            ran(path, Call("remember", {"text": f"fact {n} of lamp {n}"}), mirror=tmp_path / "n")
            for n in range(6)
        )
    )
    assert store.page().total == 6 and store.check() == []
    assert len(list((tmp_path / "n").glob("*.md"))) == 6


def kept_elsewhere(text):
    if "locked" in text:
        raise SecretsLocked("secrets are locked")
    return text.replace("tulip", "[secret gate]")


def test_what_a_person_keeps_as_a_secret_is_taken_out_of_what_they_write(path, tmp_path):
    told = Capability.memory(path=path)
    with closing(told.store(kept_elsewhere)) as store:
        note = store.add("the code is tulip", category="tulip", tags=["tulip"]).note
        assert (note.text, note.category, note.tags) == (
            "the code is [secret gate]",
            "[secret gate]",
            ("[secret gate]",),
        )
        assert store.edit(note.id, "text", "it was tulip").text == "it was [secret gate]"
        with pytest.raises(SecretsLocked):
            store.edit(note.id, "text", "locked away")
        agent = Provenance("agent")  # whose words have passed the gates of its session
        assert store.add("a locked drawer", by=agent).note.text == "a locked drawer"

        folder = tmp_path / "notes"
        mirror = Mirror(folder, store)
        mirror.sync()
        for name, words in (("a", "a tulip"), ("b", "is locked"), ("c", "a rose")):
            (folder / f"{name}.md").write_text(words)
        report = mirror.sync()

    assert len(report.added) == 1 and store.get(report.added[0]).text == "a rose"
    assert sorted(report.problems) == [
        "a.md is not taken over: it holds what is a secret, or looks like one",
        "b.md is not taken over: secrets are locked",
    ]
