"""Finding by way of the entity graph: from what a question names, along relations, to passages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loom_nb.capabilities.knowledge.tables import marks
from loom_nb.retrieval.analysis import words

if TYPE_CHECKING:
    from sqlite3 import Connection

DECAY = 0.7
"""What each hop takes from the score: a passage that names what was asked for has 1."""
LEAST = 0.2
"""Of that score: what is further away is not told."""
LONGEST_NAME = 6
"""Words of a name that are looked for in a question."""
MOST_STEPS = 2_000
"""Of all walks together."""
MOST_PASSAGES = 200

_WALK = """WITH RECURSIVE walk (entity, depth, path, seen, chunk) AS (
    SELECT id, 0, name, '|' || id || '|', '' FROM entities WHERE id IN ({marks})
    UNION ALL
    SELECT other.id, walk.depth + 1,
        CASE WHEN e.subject = walk.entity THEN walk.path || ' -[' || e.relation || ']-> ' || other.name
            ELSE walk.path || ' <-[' || e.relation || ']- ' || other.name END,
        walk.seen || other.id || '|', e.chunk
    FROM walk
    JOIN edges e ON e.subject = walk.entity OR e.object = walk.entity
    JOIN entities other ON other.id = CASE WHEN e.subject = walk.entity THEN e.object ELSE e.subject END
    WHERE walk.depth < ? AND instr(walk.seen, '|' || other.id || '|') = 0 AND EXISTS (
        SELECT 1 FROM chunks c JOIN documents d ON d.id = c.document AND d.served = 1 WHERE c.id = e.chunk)
    ORDER BY 2 LIMIT {most})
SELECT entity, depth, path, chunk FROM walk"""
_SERVED = """SELECT c.number FROM chunks c JOIN documents d ON d.id = c.document AND d.served = 1
    WHERE c.id = ? ORDER BY c.number LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Node:
    """An entity in a picture of the graph."""

    name: str
    kind: str
    depth: int
    """Hops from what was asked for."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A relation between two of them, by their places among the nodes."""

    subject: int
    relation: str
    object: int


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A part of the entity graph."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    more: int = 0
    """Entities that were left out."""


def named(db: "Connection", text: str) -> list[int]:
    """The entities that a text names, by their aliases; the longest names first take their words."""
    said = words(text)[:200]
    found: list[int] = []
    taken: set[int] = set()
    for length in range(min(LONGEST_NAME, len(said)), 0, -1):
        for start in range(len(said) - length + 1):
            places = set(range(start, start + length))
            if places & taken:
                continue
            alias = " ".join(said[start : start + length])
            row = db.execute("SELECT entity FROM aliases WHERE alias = ?", (alias,)).fetchone()
            if row is not None:
                taken |= places
                found.append(int(row[0]))
    return list(dict.fromkeys(found))


def traced(db: "Connection", text: str, hops: int) -> dict[int, tuple[float, tuple[str, ...]]]:
    """Score and way of each passage that the graph leads to, by the number of its chunk.

    A relation's score is 0.7 to the power of its hops, for the passage that tells of it; a passage that
    names an entity has that of the way to it, once more times 0.7 where the way is not empty.
    """
    found: dict[int, tuple[float, tuple[str, ...]]] = {}
    for entity, depth, path, chunk in walked(db, named(db, text), hops):
        score = DECAY**depth
        if score < LEAST:
            continue
        _note(db, found, [chunk] if chunk else [], score, path)
        if depth < hops or not depth:
            chunks = db.execute("SELECT chunk FROM mentions WHERE entity = ? LIMIT 50", (entity,)).fetchall()
            weaker = score if not depth else score * DECAY
            _note(db, found, [one for (one,) in chunks], weaker, path)
        if len(found) >= MOST_PASSAGES:
            break
    return found


def _note(
    db: "Connection",
    found: dict[int, tuple[float, tuple[str, ...]]],
    chunks: Sequence[str],
    score: float,
    path: str,
) -> None:
    if score < LEAST:
        return
    for chunk in chunks:
        row = db.execute(_SERVED, (chunk,)).fetchone()
        if row is not None and found.get(row[0], (0.0, ()))[0] < score:
            found[row[0]] = (score, (path,))


def walked(db: "Connection", starts: Sequence[int], hops: int) -> list[tuple[int, int, str, str]]:
    """(entity, hops, the way in words, the passage that tells of the last step), the nearest first."""
    if not starts:
        return []
    walk = _WALK.format(marks=marks(starts), most=MOST_STEPS)
    return db.execute(walk, [*starts, hops]).fetchall()


def subgraph(db: "Connection", names: Sequence[str], hops: int, most: int = 40) -> Subgraph:
    """What is around some entities, by their names; without names, what is related most."""
    starts = [one for name in names for one in named(db, name)]
    if not names:
        rows = db.execute(
            """SELECT entity FROM (SELECT subject AS entity FROM edges UNION ALL SELECT object FROM edges)
            GROUP BY entity ORDER BY count(*) DESC, entity LIMIT 5"""
        )
        starts = [int(row[0]) for row in rows]
    depths: dict[int, int] = {}
    for entity, depth, _, _ in walked(db, starts, hops):
        depths[entity] = min(depth, depths.get(entity, depth))
    shown = sorted(depths, key=lambda one: (depths[one], one))[:most]
    return Subgraph(_nodes(db, shown, depths), _edges(db, shown), len(depths) - len(shown))


def _nodes(db: "Connection", shown: Sequence[int], depths: Mapping[int, int]) -> tuple[Node, ...]:
    nodes = []
    for one in shown:
        name, kind = db.execute("SELECT name, kind FROM entities WHERE id = ?", (one,)).fetchone()
        nodes.append(Node(name, kind, depths[one]))
    return tuple(nodes)


def _edges(db: "Connection", shown: Sequence[int]) -> tuple[Edge, ...]:
    places = {one: place for place, one in enumerate(shown)}
    known = marks(shown)
    rows = db.execute(
        f"""SELECT DISTINCT subject, relation, object FROM edges
        WHERE subject IN ({known}) AND object IN ({known}) ORDER BY 1, 3, 2""",  # noqa: S608  marks only
        [*shown, *shown],
    )
    return tuple(Edge(places[subject], relation, places[target]) for subject, relation, target in rows)
