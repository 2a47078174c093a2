"""A folder is looked at as it is: what nobody can read is told and not forgotten."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loom_nb.capabilities.knowledge import KnowledgeBase, KnowledgeSource

NOBODY = 65534


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that the user `nobody` can reach, with two documents, one in a folder of its own."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    (made / "docs" / "sub").mkdir(parents=True)
    (made / "docs" / "a.md").write_text("# A\n\nThe queen bee lays eggs.")
    (made / "docs" / "sub" / "b.md").write_text("# B\n\nHornets build nests of paper.")
    yield made
    shutil.rmtree(made)


@contextmanager
def somebody() -> Iterator[None]:
    """Without the rights of root, whom no folder is closed to."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


async def base_of(home: Path, *sources: KnowledgeSource) -> KnowledgeBase:
    """A base of these, indexed once; `nobody` may write to it."""
    base = KnowledgeBase(list(sources), path=home / "index" / "k.db", embedder=None)
    await base.index()
    if os.geteuid() == 0:
        for one in (home / "index", *(home / "index").iterdir()):
            os.chown(one, NOBODY, NOBODY)
    return base


@pytest.mark.parametrize(
    ("mode", "told"), [(0o000, "docs: sub/"), (0o444, "docs: sub/b.md")], ids=["closed", "its names alone"]
)
async def test_what_is_in_a_folder_that_nobody_can_read_is_kept_and_told(home, mode, told):
    base = await base_of(home, KnowledgeSource.folder(home / "docs"))
    (home / "docs" / "sub").chmod(mode)
    with somebody():
        report = await base.index()
        found = await base.search("who builds nests?")
        base.close()

    assert (report.documents, report.removed) == (2, 0)
    assert dict(report.failed) == {told: "it cannot be read: Permission denied"}
    assert [one.title for one in found] == ["B"]


async def test_a_folder_below_one_that_is_closed_keeps_its_documents_and_the_others_are_indexed(home):
    (home / "closed" / "in").mkdir(parents=True)
    (home / "closed" / "in" / "c.md").write_text("# C\n\nWasps like jam.")
    base = await base_of(
        home, KnowledgeSource.folder(home / "closed" / "in"), KnowledgeSource.folder(home / "docs")
    )
    (home / "docs" / "new.md").write_text("# New\n\nAphids give honeydew.")
    (home / "closed").chmod(0)
    with somebody():
        report = await base.index()
        base.close()

    assert (report.documents, report.added, report.removed) == (4, 1, 0)
    assert "cannot be looked at: Permission denied" in report.failed["in"]
