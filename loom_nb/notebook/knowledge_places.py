"""Which documents the agents of a notebook are given: its folders, files and addresses, and their base.

The list is kept in the user's home, `knowledge/notebooks.db`, under the path by which the front end calls the
notebook; where it tells none, as in a terminal, under the folder it runs in. All sources of a notebook are in
one base, so that another one does not index the others anew.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loom_nb.capabilities.addresses import is_address
from loom_nb.capabilities.knowledge.sources import KnowledgeSource
from loom_nb.capabilities.unbroken import unbroken
from loom_nb.database import Database, Schema
from loom_nb.errors import LoomError, LoomUsageError

if TYPE_CHECKING:
    from loom_nb.capabilities.knowledge.base import KnowledgeBase
    from loom_nb.capabilities.knowledge.capability import KnowledgeCapability

ADD = "%loom knowledge add FOLDER"
_SCHEMA = Schema(
    0x4C4B4E42,  # "LKNB"
    (
        (
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
            """CREATE TABLE sources (
                id INTEGER PRIMARY KEY AUTOINCREMENT, notebook TEXT NOT NULL, kind TEXT NOT NULL,
                name TEXT NOT NULL, place TEXT NOT NULL, added REAL NOT NULL, UNIQUE (notebook, name))""",
        ),
    ),
)


def source_of(place: str, name: str = "") -> KnowledgeSource:
    """A folder, a file or an address as a source.

    Raises:
        LoomUsageError: there is no such folder or file.
    """
    if not is_address(place):
        _must_be_there(place)
    source = KnowledgeSource.of(place)
    return replace(source, name=name) if name else source


def _must_be_there(place: str) -> None:
    if "://" in place:
        raise LoomUsageError(
            f"{place!r:.200} cannot be fetched", cause="addresses begin with https:// or http://", fixes=[ADD]
        )
    path = Path(place).expanduser()
    if not path.is_dir() and not path.is_file():
        raise LoomUsageError(
            f"there is no folder or file {place!r:.200}", cause=f"looked in {Path.cwd()}", fixes=[ADD]
        )


class KnowledgePlaces:
    """The sources of one notebook, remembered, and what is made of them.

    Args:
        home: of the settings.
        notebook: what the front end calls it now; empty where it does not say.
    """

    def __init__(self, home: Path, notebook: Callable[[], str]) -> None:
        self._folder = home / "knowledge"
        self._database = Database(self._folder / "notebooks.db", _SCHEMA, 10.0)
        self._notebook = notebook
        self._cwd = str(Path.cwd())
        self._made: tuple[str, tuple[KnowledgeSource, ...], KnowledgeCapability] | None = None

    @property
    def owner(self) -> str:
        """Whose list it is: the notebook, or the folder."""
        return self._notebook() or self._cwd

    def sources(self) -> tuple[KnowledgeSource, ...]:
        """Those of this notebook, in the order in which they were added; nothing is made for it."""
        if not self._database.path.exists():
            return ()
        with self._database.transaction() as db:
            rows = db.execute(
                "SELECT kind, name, place FROM sources WHERE notebook = ? ORDER BY id", (self.owner,)
            ).fetchall()
        return tuple(_described(*row) for row in rows)

    def add(self, source: KnowledgeSource) -> None:
        """Remember one. Raises LoomUsageError where its name is taken, or the same place is there."""
        for one in self.sources():
            if one.options == source.options:
                raise LoomUsageError(
                    f"it is a source of this notebook already: {one.name}",
                    fixes=["%loom knowledge index"],
                )
            if one.name == source.name:
                raise LoomUsageError(
                    f"there is a source {one.name!r} already: {one.where}",
                    fixes=[
                        f"%loom knowledge add {source.where} --name OTHER",
                        f"%loom knowledge rm {one.name}",
                    ],
                )
        row = (self.owner, source.kind, source.name, source.where, time.time())
        with self._database.transaction("IMMEDIATE") as db:
            db.execute(
                "INSERT OR IGNORE INTO sources (notebook, kind, name, place, added) VALUES (?, ?, ?, ?, ?)",
                row,
            )

    def remove(self, name: str) -> bool:
        """Forget one; whether it was there. Its files stay as they are."""
        with self._database.transaction("IMMEDIATE") as db:
            gone = db.execute(
                "DELETE FROM sources WHERE notebook = ? AND name = ?", (self.owner, name)
            ).rowcount
        return bool(gone)

    def capability(self) -> "KnowledgeCapability":
        """What `-t knowledge` is: the same as long as the sources are. Raises LoomUsageError without any."""
        from loom_nb.capabilities.knowledge.base import KnowledgeBase
        from loom_nb.capabilities.knowledge.capability import KnowledgeCapability

        owner, sources = self.owner, self.sources()
        if not sources:
            raise LoomUsageError(
                "-t knowledge: this notebook has no documents yet",
                cause="a folder, a file or an address has to be added first; it is remembered",
                fixes=[ADD, "%loom knowledge add https://example.org/page"],
            )
        if self._made is None or self._made[:2] != (owner, sources):
            base = KnowledgeBase(sources, path=self._path(owner))
            self._made = owner, sources, KnowledgeCapability(base)
        return self._made[2]

    async def forget(self) -> None:
        """Let what was indexed of sources that were removed go, from what is found and from the file.

        What is left is learnt from anew, where it was indexed before.

        Raises:
            StoreError: the file cannot be used.
        """
        from loom_nb.capabilities.knowledge.base import KnowledgeBase

        if self._made is not None:
            await self._made[2].base().stop()  # it would bring back what it was reading
        owner, sources = self.owner, self.sources()
        if not self._path(owner).exists():
            return
        base = self.base() if sources else KnowledgeBase((), path=self._path(owner), embedder=None)
        try:
            await unbroken(base.compact)
            if sources and base.state().indexed is not None:
                with suppress(LoomError):  # the source is gone; what is wrong here the next look tells
                    await base.index(everything=False)
        finally:
            if not sources:
                base.close()

    def _path(self, owner: str) -> Path:
        mark = hashlib.sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return self._folder / f"of-{mark}.db"

    def base(self) -> "KnowledgeBase":
        """Of the sources. Raises LoomUsageError without any."""
        return self.capability().base()

    def close(self) -> None:
        """Let go of the files."""
        self._database.close()
        if self._made is not None:
            self._made[2].base().close()


def _described(kind: str, name: str, place: str) -> KnowledgeSource:
    """A source as it was added, also where its folder is gone by now: indexing says so then."""
    match kind:
        case "folder":
            return KnowledgeSource.folder(place, name=name)
        case "urls":
            return KnowledgeSource.urls(place, name=name)
        case _:
            return KnowledgeSource.files(place, name=name)
