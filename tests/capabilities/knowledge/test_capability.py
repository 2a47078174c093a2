"""An agent with documents: passages travel with a task, a tool finds them, numbers stay, nothing is repeated."""

import gc
import sqlite3

import numpy as np
import pytest

from loom_nb import Agent, Capability, MemoryStore, Model, RunContext
from loom_nb.capabilities.knowledge import Evidence, KnowledgeBase, KnowledgeQuery, KnowledgeSource
from loom_nb.errors import LoomUsageError, ModelError
from loom_nb.events import EvidenceFound, MessageAdded, Noticed
from loom_nb.inputs import SessionConfig
from loom_nb.messages import DataPart
from loom_nb.models.scripted import Call
from loom_nb.stores.sqlite import SqliteStore
from tests.capabilities.knowledge.papers import library_of
from tests.capabilities.sites import serving


@pytest.fixture
def source(tmp_path):
    return KnowledgeSource.folder(library_of(tmp_path / "library"))


def agent_with(source, tmp_path, *replies, store=None, **options):
    documents = Capability.knowledge([source], path=tmp_path / "k.db", **options)
    return Agent(
        Model.scripted(list(replies)), capabilities=[documents], session_store=store or MemoryStore()
    )


def found_in(session) -> list[EvidenceFound]:
    return [one.event for one in session.events() if isinstance(one.event, EvidenceFound)]


def parts_of(session) -> list[DataPart]:
    messages = [one.event.message for one in session.events() if isinstance(one.event, MessageAdded)]
    return [part for message in messages for part in message.parts if isinstance(part, DataPart)]


async def test_passages_that_fit_a_task_travel_with_it_as_data(source, tmp_path):
    async with agent_with(source, tmp_path, "On Rottnest [1].").session() as session:
        await session.run("where do quokkas live?")

        (part,) = parts_of(session)
        assert part.origin.kind == "knowledge"
        assert part.name.startswith("evidence:")
        assert part.text.startswith("[1] Quokkas, lines 1-7\n")
        (found,) = found_in(session)
        assert (found.by, found.query, found.known) == ("enrichment", "where do quokkas live?", 1)
        assert part.name == f"evidence:{found.passages[0].id}"


async def test_hi_brings_nothing(source, tmp_path):
    async with agent_with(source, tmp_path, "Hello.").session() as session:
        await session.run("hi")

        assert parts_of(session) == []
        assert found_in(session) == []


class Gone:
    """An embedder whose server is there for documents, and gone for questions."""

    name = "gone"
    least = 0.3

    async def embed(self, texts, *, kind="document"):
        if kind == "query":
            raise ModelError("the server is gone", fault="connection")
        return np.ones((len(texts), 2), np.float32)

    async def close(self):
        return None


async def test_where_the_embedder_fails_words_find_and_it_is_told(source, tmp_path):
    agent = agent_with(
        source, tmp_path, Call("search_knowledge", {"query": "krill"}), "Whales.", embedder=Gone()
    )
    async with agent.session() as session:
        result = await session.run("where do quokkas live?")

        (part,) = parts_of(session)
        assert part.text.startswith("[1] Quokkas")
        (noticed,) = [one.event for one in session.events() if isinstance(one.event, Noticed)]
        assert "words alone: the server is gone" in noticed.text
        told = next(
            inner.text
            for message in result.messages
            for one in message.parts
            for inner in getattr(one, "parts", ())
        )
        assert "words alone: the server is gone" in told


async def test_what_cannot_be_read_is_told_once(tmp_path):
    library = library_of(tmp_path / "library")
    (library / "broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    here, gone = KnowledgeSource.folder(library), KnowledgeSource.folder(tmp_path / "nowhere")
    documents = Capability.knowledge([here, gone], path=tmp_path / "k.db")
    agent = Agent(Model.scripted(["a", "b"]), capabilities=[documents], session_store=MemoryStore())
    async with agent.session() as session:
        await session.run("where do quokkas live?")
        await session.run("who eats krill?")

        (noticed,) = [one.event for one in session.events() if isinstance(one.event, Noticed)]
        assert "could not be read (" in noticed.text and "1 other document" in noticed.text
        assert len(found_in(session)) == 2


def test_wrong_documents_are_refused_with_what_to_write(tmp_path):
    for wrong in (3, None, [3], []):
        with pytest.raises(LoomUsageError):
            Capability.knowledge(wrong)
    for given in ({"embedder": "word2vec"}, {"embedder": 7}, {"path": 3}):
        with pytest.raises(LoomUsageError, match=next(iter(given))):
            Capability.knowledge(tmp_path, **given)
    for texts in ("all in one", [1], {"a": 2}):
        with pytest.raises(LoomUsageError, match="texts by their names"):
            KnowledgeSource.texts(texts)
    with pytest.raises(LoomUsageError, match="exclude"):
        KnowledgeSource.folder(tmp_path, exclude=3)


async def test_never_enriching_leaves_only_the_tool(source, tmp_path):
    agent = agent_with(
        source, tmp_path, Call("search_knowledge", {"query": "krill"}), "Whales [1].", enrich="never"
    )
    async with agent.session() as session:
        result = await session.run("who eats krill?")

        assert parts_of(session) == []
        (found,) = found_in(session)
        assert (found.by, found.passages[0].title, found.passages[0].location) == (
            "search_knowledge",
            "On whales",
            "pages 1-2",
        )
        parts = result.messages[2].parts[0].parts
        assert parts[0].text == "1 passage of 7 documents in 1 source"
        assert (parts[1].origin.kind, parts[1].text.splitlines()[0]) == (
            "knowledge",
            "[1] On whales, pages 1-2",
        )


async def test_the_tool_says_where_it_looked_when_it_finds_nothing(source, tmp_path):
    agent = agent_with(
        source, tmp_path,
        Call("search_knowledge", {"query": "shoe factories of Milan"}),
        Call("search_knowledge", {"query": "bees", "source": "papers"}), "Nothing.",
    )  # fmt: skip
    result = await agent.run("hi")

    assert result.messages[2].parts[0].text == "nothing in 7 documents of 1 source belongs to that"
    assert "there is no source 'papers'" in result.messages[4].parts[0].text


async def test_numbers_stay_in_a_conversation_and_nothing_is_shown_twice(source, tmp_path):
    replies = ["a", Call("search_knowledge", {"query": "how do bees dance"}), "b", "c"]
    async with agent_with(source, tmp_path, *replies).session() as session:
        await session.run("where do quokkas live?")
        await session.run("hi")
        await session.run("where do quokkas live, again?")

        numbers = {one.title: one.number for found in found_in(session) for one in found.passages}
        assert numbers == {"Quokkas": 1, "bees.txt": 2}
        assert found_in(session)[-1].known == 2  # also where a run finds fewer of them
        assert [part.summary for part in parts_of(session)] == ["[1] Quokkas, lines 1-7"]


async def test_numbers_stay_when_another_process_goes_on(source, tmp_path):
    store = SqliteStore(tmp_path / "loom.db")
    async with agent_with(source, tmp_path, "a", store=store).session(SessionConfig("s")) as session:
        await session.run("where do quokkas live?")
    again = agent_with(source, tmp_path, "b", store=SqliteStore(tmp_path / "loom.db"))
    async with again.session(SessionConfig("s")) as session:
        await session.run("how do honey bees dance near quokkas?")

        last = found_in(session)[-1]
        numbers = {one.title: one.number for one in last.passages}
        assert numbers["bees.txt"] == 2
        assert numbers.get("Quokkas", 1) == 1
        assert last.known == 2


async def test_a_preview_is_the_same_to_the_byte_and_counts_as_no_use(source, tmp_path):
    agent = agent_with(source, tmp_path, "a")
    async with agent.session() as session:
        cats = Evidence("cats", "Cats sleep a lot.", title="Cats")
        context = RunContext(knowledge=[cats])
        _, before = await session.preview("where do quokkas live?", context=context)
        base = agent.capabilities[0].base()
        used = [use for row in base.documents().rows for use in base.uses(row.id)]
        await session.run("where do quokkas live?", context=context)
        sent = [one.text for one in parts_of(session)]

    assert used == []
    assert len(sent) == 2
    for text in sent:
        assert text.splitlines()[0].encode() in before


async def test_a_run_can_be_given_evidence_and_sources_of_its_own(tmp_path):
    agent = Agent(Model.scripted(["a"]), session_store=MemoryStore())
    given = [
        Evidence("cats", "Cats sleep a lot.", title="Cats", location="page 9"),
        KnowledgeSource.texts({"dogs": "Dogs wag their tails when they are glad."}),
    ]
    async with agent.session() as session:
        await session.run("why do dogs wag their tails?", context=RunContext(knowledge=given))

        assert [one.text.splitlines()[0] for one in parts_of(session)] == [
            "[1] Cats, page 9",
            "[2] dogs, line 1",
        ]
        with pytest.raises(LoomUsageError, match="RunContext.knowledge"):
            await session.run("more", context=RunContext(knowledge=["papers"]))


async def test_resolve_knowledge_gives_evidence(source, tmp_path):
    agent = agent_with(source, tmp_path)

    (best, *_) = await agent.resolve_knowledge("where do quokkas live?")

    assert (best.title, best.source, best.url) == ("Quokkas", "library", "")
    assert best.path.endswith("quokkas.md")
    assert await agent.resolve_knowledge(KnowledgeQuery("quokkas", filters={"kind": "pdf"})) == []
    assert await Agent().resolve_knowledge("anything") == []


async def test_agents_take_knowledge_and_share_the_base_of_the_same_sources(source, tmp_path, monkeypatch):
    monkeypatch.setenv("LOOM_NB_HOME", str(tmp_path / "home"))
    one, other = Agent(knowledge=[source]), Agent(knowledge=source)

    assert one.capabilities[0].base() is other.capabilities[0].base()
    own = KnowledgeBase([source], path=tmp_path / "own.db")
    assert Agent(knowledge=own).capabilities[0].base() is own


async def test_changed_documents_are_found_in_the_next_run(tmp_path):
    folder = library_of(tmp_path / "library")
    base = KnowledgeBase([folder], path=tmp_path / "k.db", monotonic=iter(range(0, 10**6, 10)).__next__)
    agent = Agent(Model.scripted(["a", "b"]), knowledge=base, session_store=MemoryStore())
    async with agent.session() as session:
        await session.run("how do newts heal?")
        (folder / "newts.md").write_text("# Newts\n\nNewts heal by growing their legs again.")
        await session.run("how do newts heal, then?")

        assert [one.text.splitlines()[0] for one in parts_of(session)] == ["[1] Newts, lines 1-3"]


async def test_what_fails_is_told_and_the_run_goes_on(tmp_path):
    folder = library_of(tmp_path / "library")
    source = KnowledgeSource.folder(folder)

    class Gone:
        name = "gone"

        async def embed(self, texts, *, kind="document"):
            raise LoomUsageError("the embedder is gone")

    async with agent_with(source, tmp_path, "a", embedder=Gone()).session() as session:
        result = await session.run("where do quokkas live?")

        told = [one.event.text for one in session.events() if isinstance(one.event, Noticed)]
        assert result.status == "completed"
        assert any("the embedder is gone" in one for one in told)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"sources": []}, "which documents"),
        ({"sources": ["."], "enrich": "always"}, "enrich is 'auto' or 'never'"),
        ({"sources": ["."], "limit": 0}, "limit is from 1"),
        ({"sources": ["."], "colour": 1}, "no field 'colour'"),
    ],
)
def test_a_mistyped_capability_is_refused(options, why):
    with pytest.raises(LoomUsageError, match=why):
        Capability.knowledge(**options)


async def test_a_page_is_fetched_by_the_guarded_road(tmp_path):
    async with serving() as site:
        site.page("/owls", "<title>Owls</title><p>Owls turn their heads.</p>")
        source = KnowledgeSource.urls(f"http://127.0.0.1:{site.port}/owls", allow=[("127.0.0.1", site.port)])
        refused = KnowledgeSource.urls(f"http://127.0.0.1:{site.port}/owls", name="refused")
        base = KnowledgeBase([source, refused], path=tmp_path / "k.db")
        report = await base.index()

        (found,) = await base.search("owls turn their heads")
        assert (found.title, found.url) == ("Owls", f"http://127.0.0.1:{site.port}/owls")
        (why,) = report.failed.values()
        assert "refused" in why


async def test_what_was_found_is_told_where_its_use_cannot_be_noted(tmp_path, monkeypatch):
    monkeypatch.setattr("loom_nb.capabilities.knowledge.base.BUSY_SECONDS", 0.05)
    base = KnowledgeBase([KnowledgeSource.texts({"a": "The queen bee lays eggs."})], path=tmp_path / "k.db")
    await base.index()
    replies = [Call("search_knowledge", {"query": "queen bee"}), "It does [1]."]
    agent = Agent(Model.scripted(replies), knowledge=base, session_store=MemoryStore())
    other = sqlite3.connect(tmp_path / "k.db")
    other.execute("BEGIN IMMEDIATE")
    async with agent.session() as session:
        result = await session.run("who lays eggs, the queen bee?")

        assert result.status == "completed"
        assert [one.by for one in found_in(session)] == ["enrichment", "search_knowledge"]
        assert "[1] a, line 1" in str(result.messages[-2])
    other.close()
    base.close()


async def test_of_texts_that_come_with_runs_nothing_stays_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("LOOM_NB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "passing"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "passing").mkdir()
    agent = Agent(Model.scripted(["a"] * 12), session_store=MemoryStore())
    async with agent.session() as session:
        for number in range(12):
            given = KnowledgeSource.texts({"contract": f"The budget of project {number} is {number}000."})
            await session.run("what is the budget?", context=RunContext(knowledge=[given]))

        assert len(found_in(session)) == 12
    gc.collect()
    assert not (tmp_path / "home" / "knowledge").exists()
    assert len(list((tmp_path / "passing").iterdir())) == 8
