"""Takes out of the entity graph what stood in passages that are gone: what only they said is said no more."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from loom_nb.retrieval.analysis import words

if TYPE_CHECKING:
    from sqlite3 import Connection


def forget(db: "Connection", chunks: Iterable[str]) -> None:
    """Forget what was read in these passages, unless another state of their document has them.

    An entity that no other passage names goes; of one that others name, only names stay that stand in those,
    and what was told about it goes, for nobody knows which of them told it.
    """
    if db.execute("SELECT 1 FROM entities LIMIT 1").fetchone() is None:
        return
    touched: set[int] = set()
    for chunk in dict.fromkeys(chunks):
        if db.execute("SELECT 1 FROM chunks WHERE id = ?", (chunk,)).fetchone() is not None:
            continue
        touched.update(one for (one,) in db.execute("SELECT entity FROM mentions WHERE chunk = ?", (chunk,)))
        for table in ("mentions", "edges", "extracted"):
            db.execute(f"DELETE FROM {table} WHERE chunk = ?", (chunk,))  # noqa: S608  our own words
    for entity in sorted(touched):
        _reduce(db, entity)


def _reduce(db: "Connection", entity: int) -> None:
    """Leave of an entity what the passages say that still name it."""
    aliases = {one for (one,) in db.execute("SELECT alias FROM aliases WHERE entity = ?", (entity,))}
    stale = set(aliases)
    for place in db.execute(
        """SELECT d.title || ' ' || c.location || ' ' || c.text FROM mentions m
        JOIN chunks c ON c.id = m.chunk JOIN documents d ON d.id = c.document WHERE m.entity = ?""",
        (entity,),
    ):
        said = f" {' '.join(words(place[0]))} "
        stale = {one for one in stale if f" {one} " not in said}
        if not stale:
            break
    db.executemany("DELETE FROM aliases WHERE alias = ?", [(one,) for one in stale])
    kept = sorted(aliases - stale, key=lambda one: (-len(one), one))
    if not kept:
        db.execute("DELETE FROM mentions WHERE entity = ?", (entity,))
        db.execute("DELETE FROM edges WHERE subject = ?1 OR object = ?1", (entity,))
        db.execute("DELETE FROM entities WHERE id = ?", (entity,))
        return
    (name,) = db.execute("SELECT name FROM entities WHERE id = ?", (entity,)).fetchone()
    name = name if " ".join(words(name)) in kept else kept[0]
    db.execute("UPDATE entities SET name = ?, about = '' WHERE id = ?", (name, entity))
