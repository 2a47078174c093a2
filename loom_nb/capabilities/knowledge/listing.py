"""The rows that a face shows of a base of knowledge: read from its tables, page by page."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loom_nb.capabilities.knowledge.rows import (
    DOCUMENT_ORDERS,
    BaseState,
    ChunkRow,
    DocumentRow,
    Page,
    SourceRow,
    Use,
)
from loom_nb.capabilities.knowledge.sources import KnowledgeSource
from loom_nb.errors import LoomUsageError

if TYPE_CHECKING:
    from sqlite3 import Connection

_USES = """(SELECT count(*) FROM uses u JOIN chunks c ON c.id = u.chunk WHERE c.document = d.id)"""
_DOCUMENTS = f"""SELECT d.id, d.source, d.key, d.title, d.kind, d.url, d.path, d.chunks, d.tokens, d.indexed,
    {_USES} AS uses, d.error FROM documents d"""  # noqa: S608  our own words
_CHUNKS = """SELECT id, document, ordinal, start, end, text, headings, location, tokens,
    (SELECT count(*) FROM uses u WHERE u.chunk = c.id) FROM chunks c"""
_ORDERS = {
    "title": "d.title COLLATE NOCASE, d.id",
    "source": "d.source, d.key",
    "kind": "d.kind, d.title COLLATE NOCASE, d.id",
    "chunks": "d.chunks, d.id",
    "tokens": "d.tokens, d.id",
    "indexed": "d.indexed, d.id",
    "uses": "uses, d.id",
    "error": "d.error, d.id",
}


def sources(db: "Connection", described: Sequence[KnowledgeSource]) -> list[SourceRow]:
    """The sources in their order, with what is served of each; then those that are not described any more."""
    counts = {
        name: (documents, chunks, failed, indexed)
        for name, documents, chunks, failed, indexed in db.execute(
            """SELECT source, sum(kind <> ''), sum(chunks), sum(error <> ''), max(indexed) FROM documents
            WHERE served = 1 GROUP BY source"""
        )
    }
    rows = [
        SourceRow(one.name, one.kind, one.where, *counts.pop(one.name, (0, 0, 0, None))) for one in described
    ]
    return rows + [SourceRow(name, "", "", *count) for name, count in sorted(counts.items())]


def documents(
    db: "Connection", query: str, sort: str, offset: int, limit: int, source: str = ""
) -> Page[DocumentRow]:
    """Documents whose title, name or source has all words of a query. Raises LoomUsageError."""
    order = _order(sort)
    where, values = "d.served = 1", []
    if source:
        where += " AND d.source = ?"
        values.append(source)
    for word in query.split():
        where += " AND (d.title || ' ' || d.key || ' ' || d.source || ' ' || d.error) LIKE ? ESCAPE '\\'"
        values.append("%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%")
    (total,) = db.execute(f"SELECT count(*) FROM documents d WHERE {where}", values).fetchone()  # noqa: S608  our own words
    rows = db.execute(
        f"{_DOCUMENTS} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
        [*values, max(0, limit), max(0, offset)],
    )
    return Page(tuple(DocumentRow(*row) for row in rows), total, offset)


def _order(sort: str) -> str:
    name = sort.removeprefix("-")
    if name not in DOCUMENT_ORDERS:
        raise LoomUsageError(
            f"documents are not sorted by {name!r}", cause=f"by {', '.join(DOCUMENT_ORDERS)}"
        )
    order = _ORDERS[name]
    return ", ".join(f"{one} DESC" for one in order.split(", ")) if sort.startswith("-") else order


def document(db: "Connection", number: int) -> DocumentRow | None:
    """A document that is served, by its `DocumentRow.id`."""
    row = db.execute(f"{_DOCUMENTS} WHERE d.served = 1 AND d.id = ?", (number,)).fetchone()
    return DocumentRow(*row) if row is not None else None


def chunks(db: "Connection", document: int) -> list[ChunkRow]:
    """The chunks of a document, in their order."""
    return [_chunk(row) for row in db.execute(f"{_CHUNKS} WHERE document = ? ORDER BY ordinal", (document,))]


def chunk(db: "Connection", mark: str) -> ChunkRow | None:
    """A chunk that is served, by its id or by the only one that begins so."""
    rows = db.execute(
        f"""{_CHUNKS} WHERE (id = ? OR substr(id, 1, ?) = ?)
        AND EXISTS (SELECT 1 FROM documents d WHERE d.id = c.document AND d.served = 1)
        ORDER BY id <> ? LIMIT 2""",  # noqa: S608  our own words
        (mark, len(mark), mark, mark),
    ).fetchall()
    if not mark or (len(rows) > 1 and rows[0][0] != mark and rows[0][0] != rows[1][0]):
        return None
    return _chunk(rows[0]) if rows else None


def _chunk(row: Sequence[Any]) -> ChunkRow:
    mark, number, ordinal, start, end, text, above, where, tokens, used = row
    return ChunkRow(mark, number, ordinal, start, end, text, tuple(json.loads(above)), where, tokens, used)


def uses(db: "Connection", of: str | int) -> list[Use]:
    """Where a chunk (by its id) or any of a document (by its number) was told, newest first."""
    where = "chunk IN (SELECT id FROM chunks WHERE document = ?)" if isinstance(of, int) else "chunk = ?"
    rows = db.execute(
        f"""SELECT chunk, session, run, number, query, time, by FROM uses WHERE {where}
        ORDER BY time DESC, rowid DESC""",  # noqa: S608  our own words
        (of,),
    )
    return [Use(*row) for row in rows]


def state(db: "Connection", path: str, described: int) -> BaseState:
    """What the base holds."""
    meta = dict(db.execute("SELECT key, value FROM meta"))
    (count, pieces, failed) = db.execute(
        """SELECT coalesce(sum(kind <> ''), 0), coalesce(sum(chunks), 0), coalesce(sum(error <> ''), 0)
        FROM documents WHERE served = 1"""
    ).fetchone()
    name = meta.get("embedder", "")
    (vectors,) = db.execute("SELECT count(*) FROM vectors WHERE embedder = ?", (name,)).fetchone()
    (entities,) = db.execute("SELECT count(*) FROM entities").fetchone()
    indexed = meta.get("indexed")
    return BaseState(
        path, described, count, pieces, failed, int(meta.get("generation", 0)),
        float(indexed) if indexed is not None else None, name, vectors, entities,
    )  # fmt: skip
