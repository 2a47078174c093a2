"""A folder is looked at as it is: what nobody can read is told and not forgotten."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loom_nb.capabilities.knowledge import KnowledgeBase, KnowledgeSource
from loom_nb.errors import Unreadable

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


def replaced_by(kind: str, file: Path, outside: Path) -> None:
    file.unlink()
    match kind:
        case "a link out of the folder":
            file.symlink_to(outside / "c.md")
        case "a pipe":
            os.mkfifo(file)
        case _:
            file.parent.rmdir()
            file.parent.symlink_to(outside)


@pytest.mark.parametrize("kind", ["a link out of the folder", "a pipe", "a link in place of its folder"])
def test_what_is_put_in_the_place_of_a_file_after_it_was_found_is_not_read(tmp_path, kind):
    file = tmp_path / "docs" / "sub" / "c.md"
    for one in (file, tmp_path / "outside" / "c.md"):
        one.parent.mkdir(parents=True)
        one.write_text("words of a file")
    (found,) = KnowledgeSource.folder(tmp_path / "docs").listing().found
    replaced_by(kind, file, tmp_path / "outside")

    with pytest.raises(Unreadable):
        found.read()


def test_a_file_that_has_become_a_pipe_is_not_waited_for(tmp_path):
    file = tmp_path / "c.md"
    file.write_text("words of a file")
    (found,) = KnowledgeSource.files(file).listing().found
    file.unlink()
    os.mkfifo(file)

    with pytest.raises(Unreadable, match="no ordinary file"):
        found.read()


def test_a_folder_that_is_itself_a_link_is_read(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "c.md").write_text("words of a file")
    (tmp_path / "link").symlink_to(tmp_path / "docs")

    (found,) = KnowledgeSource.folder(tmp_path / "link").listing().found

    assert found.read().data == b"words of a file"


async def test_what_is_left_out_of_a_folder_is_counted_and_told(tmp_path):
    for name in (
        "a.md", "README", "plan.adoc", "more.ADOC", "passwords.txt", ".hidden.adoc", "build/plan.md",
        "sub/build/b.md", "venv/c.md", ".git/d.md", "not/e.adoc",
    ):  # fmt: skip
        (tmp_path / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / name).write_text("words of a text")
    docs = KnowledgeSource.folder(tmp_path / "docs", exclude=["not/*"])
    base = KnowledgeBase([docs], path=tmp_path / "k.db", embedder=None)

    report = await base.index()

    assert report.documents == 1
    assert report.notes == (
        "docs: 3 folders passed over: build, venv",
        "docs: 3 files of kinds that are not read: .adoc, no ending",
        "docs: 1 file passed over whose name says that it holds secrets",
    )
    pages = KnowledgeSource.folder(tmp_path / "docs" / "sub", "*.md", name="sub")
    assert pages.listing().notes == ("1 folder passed over: build",)
    base.close()
