"""What a pass does, counted: it touches what has changed, and waits for nobody where nothing has."""

import asyncio
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from loom_nb.capabilities.knowledge import KnowledgeBase, KnowledgeSource, converting
from loom_nb.capabilities.knowledge.indexing import Pass, _forget
from tests.capabilities.knowledge.papers import pdf
from tests.capabilities.sites import serving


def folder_of(folder: Path, count: int) -> Path:
    folder.mkdir()
    for n in range(count):
        (folder / f"{n}.md").write_text(f"word{n} of text {n % 7} and rain or sleet {n % 11}")
    return folder


def steps_of(path: Path, work) -> int:
    """How many hundreds of steps the machine of SQLite takes for some work."""
    count = 0

    def one() -> int:
        nonlocal count
        count += 1
        return 0

    db = sqlite3.connect(path)
    db.set_progress_handler(one, 100)
    work(db)
    db.rollback()
    db.close()
    return count


async def test_forgetting_a_document_costs_the_same_however_many_vectors_there_are(tmp_path):
    costs = []
    for count in (50, 400):
        path = tmp_path / f"{count}.db"
        texts = {f"text {n}": f"word{n} of text {n % 7} and rain or snow {n % 11}" for n in range(count)}
        base = KnowledgeBase([KnowledgeSource.texts(texts)], path=path)
        await base.index()
        assert base.state().vectors == count
        numbers = {row.id for row in base.documents(limit=20).rows}
        base.close()
        costs.append(steps_of(path, lambda db, numbers=numbers: _forget(db, numbers)))

    assert costs[1] < 2 * costs[0]


class Interrupted(Pass):
    """A pass in whose middle another process forgets what is to be served."""

    def _is_there(self, source: str, key: str, sha256: str) -> bool:
        there = super()._is_there(source, key, sha256)
        with self.database.transaction("IMMEDIATE") as db:
            _forget(
                db, {number for (number,) in db.execute("SELECT id FROM documents WHERE key = ?", (key,))}
            )
        return there


async def test_a_document_that_another_process_forgets_meanwhile_is_read_again(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.md").write_text("# B\n\nHornets build nests of paper.")
    base = KnowledgeBase([KnowledgeSource.folder(tmp_path / "docs")], path=tmp_path / "k.db", embedder=None)
    await base.index()
    os.utime(tmp_path / "docs" / "b.md", ns=(1, 1))
    passes = iter([Interrupted, Pass])
    monkeypatch.setattr("loom_nb.capabilities.knowledge.base.Pass", lambda *given: next(passes)(*given))

    await base.index()

    assert next(passes, None) is None
    assert [one.text for one in await base.search("hornets")] == ["# B\n\nHornets build nests of paper."]
    base.close()


@pytest.mark.parametrize("embedder", [None, "lsa"])
@pytest.mark.parametrize("count", [0, 1, 60])
async def test_a_look_at_what_has_not_changed_reads_no_file_and_waits_for_nobody(tmp_path, embedder, count):
    source = KnowledgeSource.folder(folder_of(tmp_path / "docs", count))
    base = KnowledgeBase([source], path=tmp_path / "k.db", embedder=embedder)
    await base.index()
    other = sqlite3.connect(tmp_path / "k.db")
    other.execute("BEGIN IMMEDIATE")
    steps: list[str] = []

    report = await base.index(lambda step: steps.append(step.phase), everything=False)

    assert (report.documents, report.unchanged, report.added) == (count, count, 0)
    assert steps == ["looking", "reading", "done"]
    other.close()
    base.close()


@pytest.mark.parametrize("embedder", [None, "lsa"])
async def test_a_look_at_an_empty_folder_is_known_as_an_indexing_from_then_on(tmp_path, embedder):
    source = KnowledgeSource.folder(folder_of(tmp_path / "docs", 0))
    base = KnowledgeBase([source], path=tmp_path / "k.db", embedder=embedder)

    await base.index(everything=False)

    assert base.state().indexed is not None
    base.close()


async def test_texts_that_become_enough_to_learn_from_are_learnt_from(tmp_path):
    folder = folder_of(tmp_path / "docs", 49)
    base = KnowledgeBase([KnowledgeSource.folder(folder)], path=tmp_path / "k.db")
    await base.index()
    assert base.state().embedder == ""
    (folder / "49.md").write_text("word49 of text 0 and rain or snow")

    report = await base.index(everything=False)

    assert (report.embedded, base.state().vectors) == (50, 50)
    base.close()


async def test_what_was_stopped_writes_nothing_any_more(tmp_path, monkeypatch):
    begun, go = threading.Event(), threading.Event()

    class Slow(Pass):
        def _read(self, *given):
            begun.set()
            assert go.wait(30)
            return super()._read(*given)

    monkeypatch.setattr("loom_nb.capabilities.knowledge.base.Pass", Slow)
    base = KnowledgeBase([KnowledgeSource.texts(["Owls turn."])], path=tmp_path / "k.db", embedder=None)
    task = asyncio.create_task(base.index())
    await asyncio.to_thread(begun.wait, 30)

    await base.stop()
    go.set()
    await asyncio.get_running_loop().shutdown_default_executor()  # until the thread has come to its end

    assert task.cancelled()
    assert base.reading(lambda db: db.execute("SELECT count(*) FROM documents").fetchone()) == (0,)
    base.close()


async def test_a_look_of_another_reader_reads_for_meaning(tmp_path):
    source = KnowledgeSource.folder(folder_of(tmp_path / "docs", 60))
    words = KnowledgeBase([source], path=tmp_path / "k.db", embedder=None)
    await words.index()
    base = KnowledgeBase([source], path=tmp_path / "k.db")

    report = await base.index(everything=False)

    assert report.embedded == 60
    assert base.state().embedder.startswith("lsa:")
    words.close()
    base.close()


async def test_what_cannot_be_read_is_not_tried_again_at_each_look(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "docs", 1)
    (folder / "new.pdf").write_bytes(b"%PDF-1.4 and no more")
    (folder / "old.pdf").write_bytes(pdf("Whales sing."))
    tried: list[str] = []
    real = converting.converted

    def converted(data, name, *rest):
        tried.append(name)
        return real(data, name, *rest)

    monkeypatch.setattr("loom_nb.capabilities.knowledge.found.converted", converted)
    base = KnowledgeBase([KnowledgeSource.folder(folder)], path=tmp_path / "k.db", embedder=None)
    await base.index()
    (folder / "old.pdf").write_bytes(b"%PDF-1.4 broken")
    await base.index(everything=False)
    tried.clear()

    report = await base.index(everything=False)

    assert tried == []
    assert list(report.failed) == ["docs: new.pdf", "docs: old.pdf"]
    assert [row.key for row in base.documents("sound").rows] == ["new.pdf", "old.pdf"]
    assert await base.search("whales sing")
    await base.index()
    assert tried == ["new.pdf", "old.pdf"]
    (folder / "old.pdf").write_bytes(pdf("Whales sing and dive."))
    assert list((await base.index(everything=False)).failed) == ["docs: new.pdf"]
    base.close()


async def test_a_page_that_stays_the_same_is_fetched_once_a_day(tmp_path):
    clock = [1_000_000.0]
    async with serving() as site:
        site.page("/owls", "<title>Owls</title><p>Owls turn their heads.</p>")
        address = f"http://127.0.0.1:{site.port}/owls"
        source = KnowledgeSource.urls(address, allow=[("127.0.0.1", site.port)])
        base = KnowledgeBase([source], path=tmp_path / "k.db", embedder=None, now=lambda: clock[0])
        fetched = []
        for later in (0.0, 10.0, 90_000.0, 10.0, 10.0, 90_000.0):
            clock[0] += later
            await base.index(everything=False)
            fetched.append(len(site.methods))
        base.close()

    assert fetched == [1, 1, 2, 2, 2, 3]


async def test_a_file_whose_time_was_set_back_is_read_again(tmp_path):
    folder = folder_of(tmp_path / "docs", 1)
    file = folder / "0.md"
    base = KnowledgeBase([KnowledgeSource.folder(folder)], path=tmp_path / "k.db", embedder=None)
    await base.index()
    before = file.stat()
    file.write_text(file.read_text().replace("rain", "snow"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    report = await base.index(everything=False)

    assert (report.changed, file.stat().st_size) == (1, before.st_size)
    base.close()


async def test_to_index_is_to_read_also_where_nothing_shows_that_a_file_has_changed(tmp_path):
    folder = folder_of(tmp_path / "docs", 1)
    base = KnowledgeBase([KnowledgeSource.folder(folder)], path=tmp_path / "k.db", embedder=None)
    await base.index()
    (folder / "0.md").write_text("The budget is two thousand euros.")
    status = (folder / "0.md").stat()
    stamp = f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"
    base.writing(lambda db: db.execute("UPDATE documents SET stamp = ?", (stamp,)))

    assert (await base.index(everything=False)).changed == 0
    assert (await base.index()).changed == 1
    base.close()


async def test_secrets_in_addresses_and_names_are_kept_and_told_nowhere(tmp_path):
    key, other = ("ghp_" + ("A1b2C3d4" + letters) * 3 for letters in ("wxYZ", "YZwx"))
    kept = tmp_path / "index" / "k.db"
    folder = folder_of(tmp_path / "docs", 1)
    (folder / f"notes {key}.md").write_text("Hornets build nests.")
    (folder / f"notes {other}.md").write_text("Wasps like jam.")
    async with serving() as site:
        site.page(f"/owls?token={key}", "<title>Owls</title><p>Owls turn their heads.</p>")
        where = f"http://127.0.0.1:{site.port}/owls?token={key}"
        closed = f"http://127.0.0.2:{site.port}/owls?token={key}"
        allow = [("127.0.0.1", site.port)]
        sources = [KnowledgeSource.urls(where, closed, allow=allow), KnowledgeSource.folder(folder)]
        base = KnowledgeBase([*sources, closed], path=kept, embedder=None)
        report = await base.index()
        told = [*report.failed.items(), *base.sources(), *base.documents().rows]
        found = [*await base.search("owls turn heads"), *await base.search("wasps and hornets")]
        base.close()

    assert f"GET /owls?token={key}" in site.methods
    assert (report.documents, len(found)) == (4, 3)
    assert "token=****" in repr(told) and "token=****" in found[0].url
    for secret in (key, other):
        assert secret not in repr(told) and secret not in repr(found)
        assert secret.encode() not in kept.read_bytes()
