"""The table of `%loom knowledge`: documents as rows; while words are looked for, the passages they find.

The kernel finds, sorts and pages; it says the same as the lines `%loom knowledge search`, `show` and `uses`.
"""

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loom_nb.capabilities.knowledge.query import KnowledgeQuery
from loom_nb.capabilities.knowledge.rows import ChunkRow, DocumentRow, Score, SourceRow, Use
from loom_nb.errors import LoomError, LoomUsageError
from loom_nb.notebook import knowledge_cards as cards
from loom_nb.notebook.card import Card
from loom_nb.notebook.table import (
    Choice,
    Column,
    Contents,
    Details,
    Found,
    Meter,
    Query,
    Receipt,
    Row,
    Value,
)
from loom_nb.wording import counted, moment, one_line

if TYPE_CHECKING:
    from loom_nb.capabilities.knowledge.base import KnowledgeBase
    from loom_nb.notebook.workbench import Workbench

BROWSED = 200
"""Passages of a search that are looked through."""
CHUNKS = 40
"""Of a document, that are shown when it is opened."""
USES = 5
"""Runs that are told of a row."""
HOW, NAMES, SOURCE = "how", "names", "source"
_HOW = (("", "passages that answer"), (NAMES, "names of documents"))
COLUMNS = (
    Column("id", "id", 7.5, sorts=False),
    Column("title", "document"),
    Column("words", "passage", sorts=False, shown="asked"),
    Column("score", "score", 7.2, number=True, shown="asked", meter=True),
    Column("told", "told", 3.5, shown="asked"),
    Column("source", "source", 6),
    Column("kind", "kind", 6.5, shown="unasked"),
    Column("place", "where", 6.5, sorts=False, shown="asked"),
    Column("chunks", "chunks", 5.2, number=True, shown="unasked"),
    Column("tokens", "tokens", 4.8, number=True, shown="unasked"),
    Column("indexed", "indexed", 6.6, number=True, shown="unasked"),
    Column("uses", "used", 4, number=True),
)
PLACES = {column.name: place for place, column in enumerate(COLUMNS)}
TONES: Mapping[str, int] = {"words": 1, "vector": 2, "graph": 3}


def row_of(row: DocumentRow) -> Row:
    """A document under COLUMNS."""
    title = one_line(row.title or row.key, 200)
    shown = f"✗ {title}: {row.error}" if row.error else title
    cells = {
        "id": cards.document_id(row.id), "title": shown, "words": row.key, "source": row.source,
        "kind": row.kind or "not read", "place": row.kind, "chunks": f"{row.chunks:,}",
        "tokens": f"{row.tokens:,}", "indexed": moment(row.indexed)[:10], "uses": f"{row.uses:,}×",
    }  # fmt: skip
    return Row(
        cards.document_id(row.id),
        tuple(cells.get(column.name, "") for column in COLUMNS),
        hints={
            PLACES["title"]: row.error or row.path or row.url or row.key,
            PLACES["indexed"]: moment(row.indexed),
        },
    )


def passage_of(score: Score) -> Row:
    """A passage under COLUMNS, with what speaks for it."""
    chunk = score.chunk
    cells = {
        "id": chunk.id[:8], "title": one_line(score.title, 200), "words": one_line(chunk.text, 300),
        "score": f"{score.score:.2f}", "told": "yes" if score.told else "no", "source": score.source,
        "place": chunk.location, "tokens": f"{chunk.tokens:,}", "uses": f"{chunk.uses:,}×",
    }  # fmt: skip
    return Row(
        chunk.id,
        tuple(cells.get(column.name, "") for column in COLUMNS),
        parts=tuple((size, TONES[name]) for name, size in cards.shares(score).items()),
        hints={
            PLACES["score"]: f"{score.score:.2f}: {cards.made_of(score)}",
            PLACES["told"]: "yes: an agent would be told it" if score.told else f"no: {score.why}",
            PLACES["title"]: " > ".join((score.title, *score.chunk.headings)),
        },
        quiet=not score.told,
    )


def meters_of(score: Score) -> tuple[Meter, ...]:
    """What speaks for a passage, each part with how much it counts, and all of it together."""
    parts = score.components
    bars = [
        Meter(name, parts[name], f"× {weight:g}{_bm25(score) if name == 'words' else ''}", TONES[name])
        for name, weight in cards.WEIGHTS.items()
        if name in parts
    ]
    if "answered" in parts:
        bars.append(Meter("answered", parts["answered"], "of the question's words stand in it", 5))
    told = "an agent would be told it" if score.told else f"not told: {score.why}"
    return (*bars, Meter("score", score.score, f"the weighted mean; {told}"))


def _bm25(score: Score) -> str:
    return f": BM25 {score.components['bm25']:.2f}" if "bm25" in score.components else ""


def use_facts(uses: Sequence[Use]) -> tuple[tuple[str, str], ...]:
    """The latest runs to which something was told."""
    told = [
        (
            "told to",
            f"{one.session}/{one.run} as [{one.number}], {moment(one.time)}, {cards.how(one)}: "
            f"“{one_line(one.query, 80)}”",
        )
        for one in uses[:USES]
    ]
    left = len(uses) - len(told)
    return (*told, *((("and", f"{left:,} times more"),) if left > 0 else ()))


def _sorted(scores: Sequence[Score], query: Query) -> list[Score]:
    """Passages in the order that a page wants; without one, the best first."""
    keys = {
        "title": lambda one: one.title.casefold(),
        "score": lambda one: one.score,
        "told": lambda one: one.told,
        "source": lambda one: one.source.casefold(),
        "tokens": lambda one: one.chunk.tokens,
        "uses": lambda one: one.chunk.uses,
    }
    key = keys.get(query.sort)
    return sorted(scores, key=key, reverse=query.down) if key is not None else list(scores)


@dataclass(slots=True)
class KnowledgeRows:
    """The documents of a notebook, or of a variable, as a `PagedSource`.

    Args:
        bench: whose documents they are.
        query: what is looked for at first.
        variable: holds the base; empty for that of the notebook.
    """

    bench: "Workbench"
    query: str = ""
    variable: str = ""
    _known: tuple[Hashable, dict[str, Score]] = field(default=(None, {}), init=False)
    """The last search: its other pages cost nothing."""

    @property
    def base(self) -> "KnowledgeBase":
        """Raises LoomUsageError where there is none any more."""
        from loom_nb.notebook import knowledge

        return knowledge.base_of(self.bench, self.variable)

    @property
    def _of(self) -> str:
        return f" --of {self.variable}" if self.variable else ""

    @property
    def _owner(self) -> str:
        from loom_nb.notebook import knowledge

        return knowledge.owner_of(self.bench, self.variable)

    def state(self) -> Hashable:
        """Differs when another state is served, another source is there, and after each run."""
        try:
            base = self.base
            state = base.state()
        except LoomError as error:
            return error.title
        names = tuple(one.name for one in base.described)
        return state.generation, state.indexed, names, len(self.bench.results), state.entities

    async def contents(self) -> Contents:
        """Everything but the rows."""
        return await asyncio.to_thread(self._contents)

    def _contents(self) -> Contents:
        base = self.base
        state, sources = base.state(), base.sources()
        first = base.documents(limit=cards.SHOWN)
        card = cards.list_card(sources, first, state, self._owner, self._of)
        return Contents(
            card=self._card(base) if self.query else card,
            title=cards.title_of(state),
            caption="by title; Enter opens a row: its chunks, where it opens, where it was used",
            columns=COLUMNS,
            rows=(),
            noun=("document", "documents"),
            facts=cards.state_facts(state, self._owner),
            total=first.total,
            choices=(
                Choice(HOW, "What is looked for", _HOW),
                Choice(SOURCE, "In which source", _sources(sources)),
            ),
            query=Query(text=self.query),
            placeholder="ask the documents",
        )  # fmt: skip

    def _card(self, base: "KnowledgeBase") -> Card:
        return cards.scores_card(self.query, base.scores(self.query), base.state(), self._of)

    # -- looking -----------------------------------------------------------------------------------

    async def look(self, query: Query) -> Found:
        """One page of documents, or of passages."""
        return await asyncio.to_thread(self._look, query)

    def _look(self, query: Query) -> Found:
        source, text = query.chosen.get(SOURCE, ""), query.text.strip()
        if text and query.chosen.get(HOW, "") != NAMES:
            return self._passages(text, source, query)
        sort = (
            query.sort if query.sort in ("source", "kind", "chunks", "tokens", "indexed", "uses") else "title"
        )
        order = f"-{sort}" if query.down else sort
        page = self.base.documents(text, order, query.start, query.count, source)
        if not page.rows and query.start:
            page = self.base.documents(text, order, max(0, page.total - query.count), query.count, source)
        return Found(tuple(row_of(row) for row in page.rows), page.offset, page.total)

    def _passages(self, text: str, source: str, query: Query) -> Found:
        key = (text, source, self.state())
        if self._known[0] != key:
            wanted = KnowledgeQuery(text, sources=(source,) if source else ())
            self._known = key, {one.chunk.id: one for one in self.base.scores(wanted, BROWSED)}
        found = _sorted(list(self._known[1].values()), query)
        start = min(query.start, max(0, len(found) - 1))
        rows = tuple(passage_of(one) for one in found[start : start + query.count])
        told = sum(one.told for one in found)
        words = f"passages, best first: {told} of them would be told to an agent, the faint ones not"
        return Found(rows, start, len(found), words if not query.sort else "", counted(len(found), "passage"))

    async def these(self, rows: Sequence[str]) -> tuple[Row, ...]:
        """None: no action is done to documents here."""
        return ()

    # -- one of them -------------------------------------------------------------------------------

    async def details(self, row: str) -> Details:
        """A document with its chunks; a passage with its words and what speaks for it."""
        return await asyncio.to_thread(self._details, row)

    def _details(self, name: str) -> Details:
        base = self.base
        if name[:1] == "d" and (document := base.document(_number(name))) is not None:
            return self._document(base, document)
        chunk = base.chunk(name)
        document = base.document(chunk.document) if chunk is not None else None
        if chunk is None or document is None:
            raise LoomUsageError(f"{name} is gone: it was indexed anew", fixes=["%loom knowledge"])
        return self._passage(base, chunk, document)

    def _document(self, base: "KnowledgeBase", document: DocumentRow) -> Details:
        chunks = base.chunks(document.id)
        texts = [(_label(one), one.text) for one in chunks[:CHUNKS]]
        left = len(chunks) - len(texts)
        line = f"%loom knowledge show{self._of} {cards.document_id(document.id)}"
        more = (("more", f"{left:,} chunks more; {line} lists them"),) if left > 0 else ()
        facts = (*cards.document_facts(document), *more, *use_facts(base.uses(document.id)))
        return Details(facts, tuple(texts))

    def _passage(self, base: "KnowledgeBase", chunk: ChunkRow, document: DocumentRow) -> Details:
        facts = [
            ("opens at", cards.opens_at(document.path, document.url, chunk.location) or document.title),
            ("under", " > ".join(chunk.headings)),
            ("document", f"{cards.document_id(document.id)}, chunk {chunk.ordinal + 1} of {document.chunks}"),
            ("source", document.source),
            *use_facts(base.uses(chunk.id)),
        ]
        if not chunk.uses:
            facts.append(("used", "never"))
        score = self._known[1].get(chunk.id)
        meters = ((("why it is found", meters_of(score)),)) if score is not None else ()
        return Details(tuple(one for one in facts if one[1]), ((_label(chunk), chunk.text),), meters)

    async def value(self, row: str, column: str) -> Value:
        """Nothing of a document is edited here. Raises LoomUsageError."""
        raise LoomUsageError("documents are edited where they are", fixes=["%loom knowledge index"])

    async def edit(self, row: str, column: str, text: str, version: str) -> Receipt:
        """Nothing of a document is edited here. Raises LoomUsageError."""
        raise LoomUsageError("documents are edited where they are", fixes=["%loom knowledge index"])

    async def act(self, action: str, rows: Sequence[str], text: str) -> Receipt:
        """There is no action. Raises LoomUsageError."""
        raise LoomUsageError(f"{action!r:.80} is nothing that is done to documents")


def _sources(sources: Sequence[SourceRow]) -> tuple[tuple[str, str], ...]:
    return (("", "all sources"), *((one.name, one.name) for one in sources))


def _number(name: str) -> int:
    return int(name[1:]) if name[1:].isdecimal() else -1


def _label(chunk: ChunkRow) -> str:
    return " · ".join(part for part in (chunk.id, chunk.location, " > ".join(chunk.headings)) if part)
