"""A base serves what its sources held when they were last indexed: all of it, or all of what was before."""

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from loom_nb.capabilities.knowledge import KnowledgeBase, KnowledgeQuery, KnowledgeSource
from loom_nb.capabilities.knowledge.base import mark_of
from loom_nb.capabilities.knowledge.converting import converted
from loom_nb.errors import EmbeddingError, LoomUsageError, ModelError
from tests.capabilities.knowledge.papers import BEE, QUOKKA, library_of, pdf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return library_of(tmp_path / "library")


@pytest.fixture
def base(tmp_path: Path, folder: Path) -> Iterator[KnowledgeBase]:
    made = KnowledgeBase([KnowledgeSource.folder(folder)], path=tmp_path / "k.db")
    yield made
    made.close()


class Counting:
    """An embedder that counts, and fails when it is told to: letters are its meaning."""

    name = "counting"

    def __init__(self, fails_after: float = float("inf")) -> None:
        self.texts: list[str] = []
        self.fails_after = fails_after

    async def embed(self, texts: Sequence[str], *, kind: str = "document") -> np.ndarray:
        if kind == "document":
            if len(self.texts) + len(texts) > self.fails_after:
                raise ModelError("the server is gone", fault="connection")
            self.texts += texts
        rows = np.zeros((len(texts), 26), np.float32)
        for row, text in enumerate(texts):
            for letter in text.lower():
                if "a" <= letter <= "z":
                    rows[row, ord(letter) - 97] += 1
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


async def test_documents_of_every_kind_are_found_at_their_places(base):
    report = await base.index()

    assert (report.documents, report.failed) == (7, {})
    for query, title, place in (
        ("where do quokkas live?", "Quokkas", "lines 1-7"),
        ("how do honey bees tell where flowers are?", "bees.txt", "line 1"),
        ("owls turn their heads", "Owls", "lines 1-3"),
        ("krill", "On whales", "pages 1-2"),
        ("pheromones of ants", "Ants", "paragraphs 1-2"),
        ("how do frogs breathe", "Frogs", "cells 0-1"),
        ("silk web", "spiders.py", "lines 1-8"),
    ):
        best, *_ = await base.search(query)
        assert (best.title, best.location) == (title, place), query
        assert best.score > 0.3


@pytest.mark.parametrize(
    "query", ["hi", "hello there", "thanks!", "", "   ", "🙂🙂", "what is it?", '"', "AND OR NOT", "*"]
)
async def test_what_asks_for_nothing_finds_nothing(base, query):
    await base.index()

    assert await base.search(query) == []


async def test_a_question_to_which_nothing_belongs_finds_nothing(base):
    await base.index()

    assert await base.search("quarterly revenue of a shoe factory in Milan") == []


async def test_only_what_has_changed_is_read_again(base, folder):
    await base.index()
    (folder / "bees.txt").write_text("Bumble bees are large and furry.\n")
    (folder / "new.md").write_text("# Newts\n\nNewts grow their legs again.\n")
    (folder / "owls.html").unlink()

    report = await base.index()

    assert (report.added, report.changed, report.removed, report.unchanged) == (1, 1, 1, 5)
    assert [one.title for one in await base.search("furry bumble bees")] == ["bees.txt"]
    assert await base.search("owls turn their heads") == []
    assert await base.search("dance") == []
    assert (await base.index()).unchanged == 7


async def test_names_of_chunks_stay_when_a_file_is_touched(base, folder):
    await base.index()
    before = {one.id for row in base.documents().rows for one in base.chunks(row.id)}
    os.utime(folder / "bees.txt", ns=(1, 1))

    report = await base.index()

    assert report.unchanged == 7
    assert {one.id for row in base.documents().rows for one in base.chunks(row.id)} == before


async def test_a_document_that_breaks_is_served_as_it_was(base, folder):
    await base.index()
    (folder / "whales.pdf").write_bytes(b"%PDF broken")

    report = await base.index()

    assert list(report.failed) == ["library: whales.pdf"]
    assert [one.title for one in await base.search("krill")] == ["On whales"]
    (row,) = base.documents("whales").rows
    assert "no sound PDF" in row.error
    (folder / "whales.pdf").write_bytes(pdf("Whales breathe air.", title="On whales"))
    assert (await base.index()).failed == {}
    assert base.documents("whales").rows[0].error == ""


async def test_unreadable_documents_are_told_and_the_others_are_there(base, folder):
    (folder / "scan.pdf").write_bytes(pdf(""))
    (folder / "empty.md").write_text("")
    (folder / "broken.docx").write_bytes(b"PK")

    report = await base.index()

    assert len(report.failed) == 3
    assert report.documents == 7
    assert base.sources()[0].failed == 3
    assert await base.search("krill")


async def test_links_hidden_files_and_files_of_secrets_are_passed_over(base, folder, tmp_path):
    (tmp_path / "outside.md").write_text("The outside treasure.")
    (folder / "link.md").symlink_to(tmp_path / "outside.md")
    (folder / ".hidden.md").write_text("The hidden treasure.")
    (folder / "credentials.json").write_text('{"treasure": 1}')
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "a.md").write_text("The module treasure.")

    report = await base.index()

    assert report.documents == 7
    assert await base.search("treasure") == []


async def test_a_folder_that_is_gone_keeps_its_documents(base, folder):
    await base.index()
    folder.rename(folder.with_name("elsewhere"))

    report = await base.index()

    assert "there is no folder" in report.failed["library"]
    assert await base.search("where do quokkas live?")


async def test_tables_functions_and_texts_are_sources(tmp_path):
    frame = pd.DataFrame(
        {"name": ["Ada", "Alan"], "about": ["wrote about engines", None], "year": [1843, 1936]}
    )
    base = KnowledgeBase([
        KnowledgeSource.dataframe(frame, ["about", "year"], title="name"),
        KnowledgeSource.callable(lambda: {"fn": "The function tells of turtles."}, name="fn"),
        KnowledgeSource.texts({"note": "# Note\n\nText of tortoises."}),
        KnowledgeSource.texts(["Numbered text of terrapins."]),
    ])  # fmt: skip

    report = await base.index()

    assert report.documents == 5
    assert [(one.title, one.location) for one in await base.search("engines")] == [("Ada", "row 0")]
    assert [one.source for one in await base.search("turtles")] == ["fn"]
    assert [one.source for one in await base.search("terrapins")] == ["texts 2"]
    with pytest.raises(LoomUsageError, match="no column 'nothing'"):
        KnowledgeSource.dataframe(frame, ["nothing"])
    base.close()
    assert not base.path.exists()
    assert base.state().documents == 0  # used again it is there again
    base.close()
    assert not base.path.parent.exists()


async def test_sources_and_filters_narrow_a_query(base):
    await base.index()

    assert await base.search(KnowledgeQuery("bees dance", filters={"kind": "pdf"})) == []
    assert await base.search(KnowledgeQuery("bees dance", filters={"path": "*.txt"}))
    assert await base.search(KnowledgeQuery("bees dance", sources=("another",))) == []
    with pytest.raises(LoomUsageError, match="no filter 'colour'"):
        KnowledgeQuery("bees", filters={"colour": "red"})


async def test_limit_budget_and_diversity_bound_what_is_told(tmp_path):
    texts = {
        f"doc {n}": "\n\n".join(f"# Part {m}\n\nZebra stripes {n} {m} " + "word " * 250 for m in range(6))
        for n in range(4)
    }
    base = KnowledgeBase([KnowledgeSource.texts(texts)], path=tmp_path / "k.db")
    await base.index()

    found = await base.search(KnowledgeQuery("zebra stripes", limit=5, per_document=2, tokens=100_000))
    assert len(found) == 5
    assert max(sum(one.title == name for one in found) for name in texts) <= 2
    assert len(await base.search(KnowledgeQuery("zebra stripes", tokens=700))) == 2
    told = {one.why for one in base.scores(KnowledgeQuery("zebra stripes", limit=2, per_document=1))}
    assert told == {"", "1 of this document are told already", "beyond the first 2"}


async def test_what_a_search_tells_is_a_piece_of_the_document(base, folder):
    await base.index()
    for row in base.documents().rows:
        text = converted((folder / row.key).read_bytes(), row.key).text
        for chunk in base.chunks(row.id):
            assert text[chunk.start : chunk.end] == chunk.text


async def test_a_base_that_is_compacted_holds_no_word_of_what_is_gone_and_learns_meaning_anew(tmp_path):
    stays = KnowledgeSource.texts({f"{n}": f"word{n} of text {n % 7} and rain {n % 11}" for n in range(60)})
    goes = KnowledgeSource.texts({f"{n}": f"A zyzzyvas eats palm {n}." for n in range(5)}, "beetles")
    before = KnowledgeBase([stays, goes], path=tmp_path / "k.db")
    await before.index()
    base = KnowledgeBase([stays], path=tmp_path / "k.db")
    await base.index()
    learnt = base.state().embedder
    assert "vector" in (await before.search("text of rain"))[0].components

    base.compact()

    assert b"zyzzyva" not in b"".join(one.read_bytes() for one in tmp_path.glob("k.db*"))
    assert "vector" not in (await before.search("text of rain"))[0].components
    before.close()
    report = await base.refresh()
    assert report is not None and report.embedded == 60
    assert base.state().embedder not in ("", learnt)
    assert "vector" in (await base.search("text of rain"))[0].components
    base.close()


async def test_the_embedder_is_asked_once_for_each_text(tmp_path, folder):
    embedder = Counting()
    base = KnowledgeBase([KnowledgeSource.folder(folder)], path=tmp_path / "k.db", embedder=embedder)
    await base.index()
    asked = len(embedder.texts)
    (folder / "bees.txt").write_text("Bumble bees are large.\n")

    report = await base.index()

    assert asked == 7
    assert report.embedded == 1
    assert len(embedder.texts) == asked + 1
    assert base.state().vectors == 7


async def test_an_embedder_that_fails_leaves_what_was_served_and_is_resumed(tmp_path):
    texts = {f"text {n}": f"Words of number {n}" for n in range(200)}
    before = KnowledgeBase(
        [KnowledgeSource.texts({"old": "The old words."})], path=tmp_path / "k.db", embedder=Counting()
    )
    await before.index()
    embedder = Counting(fails_after=130)
    base = KnowledgeBase([KnowledgeSource.texts(texts)], path=tmp_path / "k.db", embedder=embedder)

    with pytest.raises(ModelError):
        await base.index()
    assert [one.title for one in await base.search("old words")] == ["old"]
    embedder.fails_after = float("inf")
    report = await base.index()

    assert report.documents == 200
    assert report.embedded == 200 - 128
    assert len(embedder.texts) == 200
    assert await base.search("old words") == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
async def test_vectors_that_are_no_numbers_are_refused(tmp_path, bad):
    class Bad(Counting):
        async def embed(self, texts, *, kind="document"):
            return np.full((len(texts), 4), bad)

    base = KnowledgeBase([KnowledgeSource.texts(["words"])], path=tmp_path / "k.db", embedder=Bad())
    with pytest.raises(EmbeddingError):
        await base.index()
    assert base.state().documents == 0


async def test_vectors_of_another_dimension_are_refused(tmp_path):
    class Grows(Counting):
        async def embed(self, texts, *, kind="document"):
            return np.ones((len(texts), 4 if "one" in texts[0] else 5))

    base = KnowledgeBase([KnowledgeSource.texts(["one"])], path=tmp_path / "k.db", embedder=Grows())
    await base.index()
    other = KnowledgeBase([KnowledgeSource.texts(["one", "two"])], path=tmp_path / "k.db", embedder=Grows())
    with pytest.raises(EmbeddingError):
        await other.index()
    assert other.state().documents == 1


class Moody(Counting):
    """Fails at questions, in a way of its own."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    async def embed(self, texts: Sequence[str], *, kind: str = "document") -> np.ndarray:
        if kind == "document":
            return await super().embed(texts)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        ValueError("a bug of somebody else"),
        ModelError("the server is gone", fault="connection"),
        np.full((1, 26), np.nan, np.float32),
        np.ones((1, 7), np.float32),
        np.ones((2, 26), np.float32),
        "no vectors at all",
    ],
)
async def test_an_embedder_that_fails_at_a_question_is_an_error_and_words_find(tmp_path, answer):
    texts = KnowledgeSource.texts({"bees": BEE, "quokkas": QUOKKA})
    base = KnowledgeBase([texts], path=tmp_path / "k.db", embedder=Moody(answer))
    await base.index()

    with pytest.raises((EmbeddingError, ModelError)):
        await base.search("where do quokkas live")
    (found, *_) = await base.search("where do quokkas live", meaning=False)
    assert found.title == "quokkas"
    base.close()


async def test_secrets_in_documents_and_questions_are_kept_and_sent_nowhere(tmp_path, monkeypatch):
    known, form = "quite-a-long-canary-7781", "sk-ant-api03-" + "A1b2C3d4" * 12
    monkeypatch.setenv("LIBRARY_TOKEN", known)
    text = f"# The token {known}\n\nThe token of the library is {known}.\nAnd the key is {form}.\n"
    sent = Counting()
    asked: list[str] = []

    class Listening(Moody):
        async def embed(self, texts: Sequence[str], *, kind: str = "document") -> np.ndarray:
            asked.extend(texts if kind == "query" else ())
            return await sent.embed(texts)

    source = KnowledgeSource.texts({"notes": text})
    base = KnowledgeBase([source], path=tmp_path / "k.db", embedder=Listening(None))
    await base.index()
    (found,) = await base.search(f"the token {known} of the library")
    base.used([(found.id, 1)], session="s", run="r", query=f"{known} and {form}", by="enrichment")
    base.close()

    assert found.text == text.replace(known, "*" * len(known)).replace(form, "*" * len(form)).strip("\n")
    told = " ".join([*sent.texts, *asked])
    assert "library" in told and known not in told and form not in told
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("k.db*"))
    assert b"library" in kept and known.encode() not in kept and form.encode() not in kept


async def test_indexing_tells_how_far_it_is_and_can_be_left(tmp_path):
    texts = {f"text {n}": f"Words of number {n} " * 20 for n in range(100)}
    base = KnowledgeBase([KnowledgeSource.texts(texts)], path=tmp_path / "k.db")
    async for step in base.indexing():
        if step.phase == "reading" and step.done >= 48:
            break  # leaving it cancels
    assert base.state().documents == 0

    steps = [step async for step in base.indexing()]

    assert [one.phase for one in (steps[0], steps[-1])] == ["looking", "done"]
    reading = [one.done for one in steps if one.phase == "reading"]
    assert reading == sorted(reading)
    assert reading[-1] == 100
    assert steps[-1].share == 1.0
    assert base.state().documents == 100


async def test_cancel_keeps_what_is_served(tmp_path):
    base = KnowledgeBase([KnowledgeSource.texts({"a": "Old words."})], path=tmp_path / "k.db")
    await base.index()
    many = {f"text {n}": f"Words of number {n} " * 20 for n in range(200)}
    other = KnowledgeBase([KnowledgeSource.texts(many)], path=tmp_path / "k.db")

    with pytest.raises(asyncio.CancelledError):
        await other.index(lambda step: step.done >= 32 and other.cancel())

    assert await base.search("old words")
    assert other.state().documents == 1
    assert (await other.index()).documents == 200


async def test_who_asks_while_it_goes_on_waits_for_the_same_and_is_told_too(tmp_path):
    texts = {f"text {n}": f"Words of number {n} " * 20 for n in range(100)}
    base = KnowledgeBase([KnowledgeSource.texts(texts)], path=tmp_path / "k.db", embedder=None)
    one: list[str] = []
    other: list[str] = []
    first = asyncio.create_task(base.index(lambda step: one.append(step.phase)))
    while "reading" not in one:
        await asyncio.sleep(0)
    look = base.index(lambda step: other.append(step.phase), everything=False)
    second = asyncio.create_task(look)
    reports = await asyncio.gather(first, second)

    assert reports[0] is reports[1]
    assert other[0] == "reading" and other[-1] == one[-1] == "done"
    base.close()


async def test_what_a_listener_raises_is_raised_to_its_own_caller_and_the_others_have_their_report(tmp_path):
    texts = {f"text {n}": f"Words of number {n} " * 20 for n in range(100)}
    base = KnowledgeBase([KnowledgeSource.texts(texts)], path=tmp_path / "k.db", embedder=None)
    told: list[str] = []

    def broken(step):
        told.append(step.phase)
        raise KeyError(step.phase)

    first, second, third = (
        asyncio.create_task(base.index(one)) for one in (broken, lambda step: told.append("well"), None)
    )
    await asyncio.wait([first, second, third])

    assert isinstance(first.exception(), KeyError)
    assert second.result() is third.result() and second.result().documents == 100
    assert told.count("looking") == 1 and told.count("well") > 5  # who raised is told no more
    with pytest.raises(KeyError):
        await base.index(broken)
    assert not base.cancel()  # it does not go on for nobody
    base.close()


async def test_a_caller_that_is_cancelled_leaves_it_to_those_who_wait_and_the_last_one_ends_it(tmp_path):
    go = threading.Event()

    def slow():
        assert go.wait(30)
        return ["The queen bee lays eggs."]

    base = KnowledgeBase([KnowledgeSource.callable(slow)], path=tmp_path / "k.db", embedder=None)
    first, second, look = (
        asyncio.create_task(base.index(everything=every)) for every in (False, False, True)
    )
    await asyncio.sleep(0)
    first.cancel()
    look.cancel()
    await asyncio.wait([first, look])
    go.set()

    assert first.cancelled() and look.cancelled()
    assert (await second).documents == 1
    assert not base.cancel()
    alone = asyncio.create_task(base.index())
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.wait([alone])
    assert not base.cancel()
    base.close()


async def test_who_asks_while_an_indexing_is_being_stopped_has_one_of_its_own(tmp_path):
    base = KnowledgeBase([KnowledgeSource.texts(["Bees dance."])], path=tmp_path / "k.db", embedder=None)
    first = asyncio.create_task(base.index())
    await asyncio.sleep(0)
    assert base.cancel()

    report = await base.index(everything=False)

    assert first.cancelled() and report.documents == 1
    base.close()


async def test_it_is_stopped_from_another_thread(tmp_path):
    go, begun = threading.Event(), threading.Event()

    def slow():
        begun.set()
        assert go.wait(30)
        return ["The queen bee lays eggs."]

    base = KnowledgeBase([KnowledgeSource.callable(slow)], path=tmp_path / "k.db", embedder=None)
    one, other = asyncio.create_task(base.index()), asyncio.create_task(base.index())
    await asyncio.to_thread(begun.wait, 30)

    assert await asyncio.to_thread(base.cancel)

    go.set()
    await asyncio.wait([one, other])
    assert one.cancelled() and other.cancelled()
    base.close()


async def test_two_bases_on_one_file_see_each_others_work(tmp_path, folder):
    one = KnowledgeBase([KnowledgeSource.folder(folder)], path=tmp_path / "k.db")
    other = KnowledgeBase([KnowledgeSource.folder(folder)], path=tmp_path / "k.db")
    await asyncio.gather(one.index(), other.index())
    assert one.state().documents == other.state().documents == 7
    (folder / "bees.txt").write_text("Bumble bees are furry.")
    await one.index()

    assert [item.title for item in await other.search("furry bumble bees")] == ["bees.txt"]


async def test_a_damaged_row_is_not_told_and_does_not_stand_in_the_way(base, tmp_path):
    await base.index()
    (row,) = base.documents("bees").rows
    base.close()
    with sqlite3.connect(tmp_path / "k.db") as db:
        db.execute("UPDATE chunks SET text = 'Bees dance and steal.' WHERE document = ?", (row.id,))
    db.close()

    assert await base.search("how do honey bees dance?") == []
    assert [one.why for one in base.scores("how do honey bees dance?")][:1] == ["it is damaged"]
    assert await base.search("where do quokkas live?")


async def test_a_face_reads_sources_documents_chunks_scores_and_uses(base):
    await base.index()
    (found,) = [one for one in await base.search("where do quokkas live?") if one.title == "Quokkas"]
    base.used([(found.id, 3)], session="s", run="r1", query="where?", by="search_knowledge")

    (source,) = base.sources()
    assert (source.name, source.kind, source.documents) == ("library", "folder", 7)
    page = base.documents(sort="-uses", limit=2)
    assert (page.total, len(page.rows), page.rows[0].title, page.rows[0].uses) == (7, 2, "Quokkas", 1)
    assert [one.title for one in base.documents("quok MD").rows] == ["Quokkas"]
    assert base.documents("100%_").total == 0
    (use,) = base.uses(found.id)
    assert (use.run, use.number, use.by) == ("r1", 3, "search_knowledge")
    assert base.uses(page.rows[0].id) == [use]
    assert base.chunks(page.rows[0].id)[0].uses == 1
    (score, *_) = base.scores("where do quokkas live?")
    assert (score.title, score.told, score.components["words"] > 0.9) == ("Quokkas", True, True)
    with pytest.raises(LoomUsageError, match="not sorted by 'colour'"):
        base.documents(sort="colour")


async def test_meaning_is_learnt_from_the_documents_themselves(tmp_path):
    filler = [
        "the stock market fell",
        "rain falls in the north",
        "the recipe wants eggs",
        "a goal in the last minute",
    ]
    texts = {f"filler {n}": f"{filler[n % 4]} on day {n} and again on day {n + 1}" for n in range(60)}
    texts |= {f"car {n}": f"the automobile and the car share an engine, motor {n}" for n in range(12)}
    base = KnowledgeBase([KnowledgeSource.texts(texts)], path=tmp_path / "k.db")
    report = await base.index()

    assert report.notes == ()
    assert base.state().embedder.startswith("lsa:")
    assert (await base.search("car engine"))[0].components["vector"] > 0.3


CHILD = """
import asyncio, sys
from loom_nb.capabilities.knowledge import KnowledgeBase, KnowledgeSource
base = KnowledgeBase([KnowledgeSource.folder(sys.argv[1])], path=sys.argv[2])
print("ready", flush=True)
asyncio.run(base.index())
print("done", flush=True)
"""


def killed_at(seconds: float, folder: Path, path: Path) -> bool:
    """Index in a process of its own, which is killed after so many seconds; whether it was done by then."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(folder), str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
    child.wait()
    done = "done" in child.stdout.read()
    child.stdout.close()
    return done


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(
            int(os.environ.get("LOOM_NB_KILLS", "100")), marks=[pytest.mark.slow, pytest.mark.timeout(1800)]
        )
    ],
)
async def test_after_a_kill_at_any_moment_the_old_or_the_new_version_is_served(tmp_path, points):
    folder, path = tmp_path / "library", tmp_path / "k.db"
    folder.mkdir()
    rng = random.Random(7)

    def write(version: int) -> None:
        for n in range(60):
            (folder / f"d{n}.md").write_text(
                f"# Document {n}\n\nversion{version} of document{n}. "
                + "Filler words go here. " * rng.randint(20, 200)
            )

    write(0)
    base = KnowledgeBase([KnowledgeSource.folder(folder)], path=path)
    await base.index()
    served, finished = 0, 0
    for point in range(1, points + 1):
        write(point)
        done = killed_at(rng.uniform(0.0, 1.2), folder, path)
        finished += done
        versions = set()
        for row in base.documents(limit=1000).rows:
            for chunk in base.chunks(row.id):
                versions |= {word for word in chunk.text.split() if word.startswith("version")}
        assert len(versions) == 1, "a mixture is served"
        (version,) = versions
        assert version in (f"version{served}", f"version{point}")
        assert not done or version == f"version{point}"
        served = int(version.removeprefix("version"))
        assert base.state().documents == 60
        check_index_agrees(path)
        assert await base.search(KnowledgeQuery(f"version{served} document7", limit=1))
        if point % 10 == 0:
            await base.index()  # what was begun is taken up
            served = point
            check_index_agrees(path)
    print(f"{points} kills: {finished} passes had ended before")


def check_index_agrees(path: Path) -> None:
    """The index of words holds the served chunks, all of them and no other."""
    with sqlite3.connect(path) as db:
        served = {
            n
            for (n,) in db.execute(
                "SELECT number FROM chunks c JOIN documents d ON d.id = c.document WHERE d.served = 1"
            )
        }
        indexed = {n for (n,) in db.execute("SELECT rowid FROM words")}
        assert served == indexed
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 0)")
    db.close()


def test_the_same_sources_have_the_same_file(folder):
    one, other = KnowledgeBase([KnowledgeSource.folder(folder)]), KnowledgeBase([str(folder)])

    assert one.path == other.path
    assert one.path != KnowledgeBase([KnowledgeSource.folder(folder, "*.md")]).path
    same = [KnowledgeSource.folder(folder)]
    others = [
        one,
        KnowledgeBase(same, embedder=None),
        KnowledgeBase(same, embedder=Counting()),
        KnowledgeBase(same, chunk_tokens=64, overlap_tokens=8),
    ]
    assert len({each.path for each in others}) == 4  # else they undo each other's work at every look
    # what stands here is the name of files that were made before the others had one of their own
    assert mark_of([KnowledgeSource.texts({"a": "b"})]) == "fc3ebed359063308"
    assert BEE and QUOKKA


@pytest.mark.parametrize("wrong", [3, object(), [3], None])
def test_what_is_no_source_is_refused(wrong):
    with pytest.raises((LoomUsageError, TypeError)):
        KnowledgeBase([wrong])
