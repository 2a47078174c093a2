"""Finds passages: by their words, by meaning, along the entity graph; ranked as one, no more than asked for.

The score of a passage is the weighted mean of numbers from 0 to 1 (see `retrieval.fusion.weighted`): "words",
its BM25 beside the best one's; "vector", how near it is in meaning; "graph", how few hops lead to it. It is
told where it answers a large enough share of the question's words ("answered"), or is near enough in meaning,
or the graph leads there: a question to which nothing belongs gets nothing.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from loom_nb.capabilities.knowledge.indexing import hash_of
from loom_nb.capabilities.knowledge.meaning import Vectors
from loom_nb.capabilities.knowledge.query import Evidence, KnowledgeQuery
from loom_nb.capabilities.knowledge.rows import ChunkRow, Score
from loom_nb.capabilities.knowledge.tables import marks, portions
from loom_nb.retrieval import full_text
from loom_nb.retrieval.fusion import LEAST_ANSWERED, Component, by_vector, by_words, weighted
from loom_nb.retrieval.vectors import Near
from loom_nb.tokens import estimate

if TYPE_CHECKING:
    from sqlite3 import Connection

    from loom_nb.retrieval.vectors import Vector, VectorIndex

CANDIDATES = 100
"""Passages that are looked at of each kind."""
GRAPH_WEIGHT = 0.5
HEAD_WEIGHT = 1.0
"""What a word counts that stands in the headings."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk with what stands in its document."""

    chunk: ChunkRow
    source: str
    title: str
    kind: str
    url: str
    path: str
    shown: str
    """Its words, with the fences of code that was cut."""
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage with what a query makes of it."""

    passage: Passage
    score: float
    components: Mapping[str, float]
    trace: tuple[str, ...] = ()
    why: str = ""
    """Why it is not told; empty where it is."""


def candidates(
    db: "Connection",
    query: KnowledgeQuery,
    vectors: Vectors,
    asked: "Vector | None",
    traces: Mapping[int, tuple[float, tuple[str, ...]]] | None = None,
) -> list[Candidate]:
    """Every passage that was looked at, the best first, each with whether it is told.

    Args:
        db: of the base.
        query: what is asked.
        vectors: those that are served.
        asked: the query as a vector; None: words alone are looked for.
        traces: what the entity graph adds: score and path, by the number of a chunk.
    """
    among = wanted(db, query)
    if among is not None and not among:
        return []
    columns = (HEAD_WEIGHT, 1.0)
    hits = full_text.search(db, "words", query.text, limit=CANDIDATES, columns=columns, among=among)
    views = [by_words(hits, least=query.threshold)]
    if asked is not None and vectors.index is not None:
        near = _near(vectors.index, asked, [hit.rowid for hit in hits], among)
        views.append(by_vector(near, least=min(1.0, vectors.least * query.threshold / LEAST_ANSWERED)))
    graph = {one: score for one, (score, _) in (traces or {}).items() if among is None or one in among}
    if graph:
        views.append(Component("graph", graph, GRAPH_WEIGHT, frozenset(graph)))
    let_in = frozenset[int]().union(*(view.lets_in for view in views))
    everything = weighted([replace(view, lets_in=frozenset(view.values)) for view in views])
    ranked = sorted(everything, key=lambda one: one.id not in let_in)  # the others behind, in their order
    bm25 = {hit.rowid: hit.bm25 for hit in hits}
    found = []
    answered = {hit.rowid: hit.answered for hit in hits}
    passages = passages_of(db, [one.id for one in ranked])
    for one in ranked:
        passage = passages.get(one.id)
        if passage is None:
            continue
        values = {name: round(value, 4) for name, value in one.components.items()}
        if one.id in bm25:
            values |= {"bm25": round(bm25[one.id], 4), "answered": round(answered[one.id], 4)}
        trace = (traces or {}).get(one.id, (0.0, ()))[1]
        why = "" if one.id in let_in else "below the threshold"
        why = "it is damaged" if passage.damaged else why
        found.append(Candidate(passage, round(one.score, 4), values, trace, why))
    return chosen(found, query)


def chosen(found: Sequence[Candidate], query: KnowledgeQuery) -> list[Candidate]:
    """The same, with the reasons of those that are not told: too many, of one document, over the budget."""
    told = 0
    tokens = 0
    documents: Counter[int] = Counter()
    judged = []
    for one in found:
        why, weight = one.why, estimate(one.passage.shown)
        if not why and told >= query.limit:
            why = f"beyond the first {query.limit}"
        elif not why and documents[one.passage.chunk.document] >= query.per_document:
            why = f"{query.per_document} of this document are told already"
        elif not why and tokens + weight > query.tokens:
            why = "over the budget of tokens"
        if not why:
            told, tokens = told + 1, tokens + weight
            documents[one.passage.chunk.document] += 1
        judged.append(Candidate(one.passage, one.score, one.components, one.trace, why))
    return judged


def evidence_of(one: Candidate) -> Evidence:
    """A candidate as it is told."""
    passage = one.passage
    return Evidence(
        passage.chunk.id, passage.shown, one.score, one.components, passage.source, passage.title,
        passage.chunk.location, passage.url, passage.path, passage.chunk.headings, one.trace,
    )  # fmt: skip


def score_of(one: Candidate) -> Score:
    """A candidate as a face shows it."""
    passage = one.passage
    return Score(
        passage.chunk, passage.source, passage.title, one.score, one.components, not one.why, one.why
    )


def wanted(db: "Connection", query: KnowledgeQuery) -> set[int] | None:
    """The chunks that a query may find; None: all."""
    if not query.sources and not query.filters:
        return None
    rows = db.execute("SELECT id, source, title, kind, path, key FROM documents WHERE served = 1")
    documents = [row[0] for row in rows if _fits(query, *row[1:])]
    found: set[int] = set()
    for some in portions(documents):
        numbers = db.execute(f"SELECT number FROM chunks WHERE document IN ({marks(some)})", some)  # noqa: S608  marks only
        found.update(number for (number,) in numbers)
    return found


def _fits(query: KnowledgeQuery, source: str, title: str, kind: str, path: str, key: str) -> bool:
    if query.sources and source not in query.sources:
        return False
    for name, pattern in query.filters.items():
        values = {"kind": (kind,), "title": (title,), "path": (path, key)}[name]
        if not any(fnmatch(value.casefold(), pattern.casefold()) for value in values):
            return False
    return True


def _near(index: "VectorIndex", asked: "Vector", hits: Sequence[int], among: Collection[int] | None) -> Near:
    """How near the nearest chunks, and those that were found by words, are in meaning."""
    near = index.near(asked, CANDIDATES, among)
    found = index.near(asked, len(hits), hits).cosines if hits else {}
    return Near({**found, **near.cosines}, near.usual)


def passages_of(db: "Connection", numbers: Sequence[int]) -> dict[int, Passage]:
    """Chunks by their numbers, with what stands in their documents."""
    found: dict[int, Passage] = {}
    for some in portions(numbers):
        rows = db.execute(
            f"""SELECT c.number, c.id, c.document, c.ordinal, c.start, c.end, c.text, c.headings, c.location,
            c.tokens, c.before, c.after, c.hash, d.source, d.title, d.kind, d.url, d.path
            FROM chunks c JOIN documents d ON d.id = c.document
            WHERE d.served = 1 AND c.number IN ({marks(some)})""",  # noqa: S608  marks only
            some,
        )
        for number, *row in rows:
            found[number] = _passage(row)
    return found


def _passage(row: Sequence[Any]) -> Passage:
    """A row of the query above, without its number."""
    chunk, document, ordinal, start, end, text, headings, location, tokens, *rest = row
    before, after, mark, source, title, kind, url, path = rest
    try:
        above = tuple(map(str, json.loads(headings)))
    except (ValueError, TypeError):
        above = ()
    damaged = hash_of(title, above, text) != mark
    piece = ChunkRow(chunk, document, ordinal, start, end, text, above, location, tokens)
    shown = f"{before}{text}{after}".strip("\n")
    return Passage(piece, source, title, kind, url, path, shown, damaged)
