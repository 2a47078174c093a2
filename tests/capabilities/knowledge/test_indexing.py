"""What a pass does, counted: it touches what has changed, and waits for nobody where nothing has."""

import os
import sqlite3
from pathlib import Path

from loom_nb.capabilities.knowledge import KnowledgeBase, KnowledgeSource
from loom_nb.capabilities.knowledge.indexing import Pass, _forget


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
