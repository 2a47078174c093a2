"""What a person is shown of a store: pages of notes, as they are or as they were, and when they were used."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from loom_nb.capabilities.memory.notes import Note, Viewer
from loom_nb.capabilities.memory.ranking import Hit, MemoryWeights, ranked, term_weights, words_score
from loom_nb.capabilities.memory.stems import asked, indexed
from loom_nb.capabilities.memory.tables import NOTE, decoded, note_of, searched, seen_by
from loom_nb.errors import LoomUsageError

if TYPE_CHECKING:
    from sqlite3 import Connection

SORTS = (
    "score",
    "updated",
    "created",
    "used",
    "uses",
    "importance",
    "pinned",
    "category",
    "text",
    "scope",
    "id",
)
"""What a page can be sorted by; with "-" before it the largest first."""
_COLUMNS = {"text": "head"}


class Page(msgspec.Struct, frozen=True):
    """Some rows of a listing."""

    rows: tuple[Hit, ...]
    total: int
    """Rows of the whole listing."""


class Recall(msgspec.Struct, frozen=True):
    """That a note was shown to a model, and why."""

    note: str
    """Its id."""
    version: int
    """Of the note, as it was shown."""
    moment: float
    session: str
    run: str
    how: str
    """"enrichment": at the beginning of a run. "search": a tool looked for it."""
    query: str
    score: float
    components: dict[str, float]
    terms: tuple[str, ...] = ()


def order_of(sort: str) -> tuple[str, bool]:
    """The key of a sort, and whether the largest comes first. Raises `LoomUsageError` for no such sort."""
    key, falls = sort.removeprefix("-"), sort.startswith("-")
    if key not in SORTS:
        raise LoomUsageError(f"notes are not sorted by {key!r:.80}", fixes=[f"one of {', '.join(SORTS)}"])
    return key, falls


def listed(db: "Connection", viewer: Viewer, sort: str, offset: int, limit: int, category: str = "") -> Page:
    """A page of all notes that are seen; those that cannot be read are left out."""
    key, falls = order_of(sort)
    column = "updated" if key == "score" else _COLUMNS.get(key, key)
    way = "DESC" if falls or key == "score" else "ASC"
    where, values = seen_by(viewer)
    if category:
        where, values = f"{where} AND n.category = ?", (*values, category)
    total = (
        db.execute("SELECT notes FROM totals")
        if viewer.everything and not category
        else db.execute(f"SELECT count(*) FROM notes n WHERE {where}", values)  # noqa: S608  our own words
    ).fetchone()[0]
    order = f"n.{column} {way}, n.number {way}"
    find = f"""SELECT {NOTE} FROM notes n WHERE n.number IN (
            SELECT n.number FROM notes n WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?
        ) ORDER BY {order}"""  # noqa: S608  what is sorted and left out is numbers, not whole notes
    notes = [note_of(row) for row in db.execute(find, (*values, limit, offset))]
    return Page(tuple(Hit(note) for note in notes if note is not None), total)


def ordered(hits: Sequence[Hit], sort: str) -> list[Hit]:
    """Hits in the order of a sort; "score" leaves them as they are, the best first."""
    key, falls = order_of(sort)
    if key == "score":
        return list(hits)

    def value(hit: Hit) -> Any:
        found = getattr(hit.note, key)
        return found.casefold() if key == "text" else found

    return sorted(hits, key=value, reverse=falls)


def as_it_was(db: "Connection", seq: int) -> list[Note]:
    """The notes as they were after the change of that number."""
    find = """SELECT v.body FROM versions v JOIN (
            SELECT note, max(seq) AS last FROM versions WHERE seq <= ? AND change <> 'conflict' GROUP BY note
        ) w ON v.seq = w.last WHERE v.change <> 'forgotten'"""
    notes = (decoded(body) for (body,) in db.execute(find, (seq,)))
    return [note for note in notes if note is not None]


def among(notes: Iterable[Note], query: str, now: float, weights: MemoryWeights) -> list[Hit]:
    """Those of some notes that have words of a query, best first: for a store as it was, without an index."""
    parts, known = asked(query), list(notes)
    looked_for = [one for term, pieces in parts.items() for one in (term, *pieces)]
    some = [note for note in known if _may_hold(searched(note), looked_for)]
    if not some:
        return []
    texts = [(note, f" {indexed(searched(note))}") for note in some]
    sets = [set(stems.split()) for _, stems in texts]
    frequencies = {term: sum(term in one for one in sets) for term in parts}
    counted = term_weights(list(parts), frequencies, len(known))
    mean = sum(stems.count(" ") for _, stems in texts) / len(texts)
    hits = []
    for note, stems in texts:
        words, terms = words_score(counted, parts, stems, mean)
        if words:
            hits.append(ranked(note, words, None, terms, now, weights))
    return sorted(hits, key=lambda hit: (-hit.score, -hit.note.updated, hit.note.id))


def _may_hold(text: str, stems: Sequence[str]) -> bool:
    """Whether it is worth while to take a text to pieces: a stem is the beginning of a word."""
    if not text.isascii():
        return True
    small = text.lower()
    return any(stem in small or not stem.isascii() for stem in stems)


def recalls(
    db: "Connection", note_id: str, run: str | None, limit: int, session: str = ""
) -> tuple[Recall, ...]:
    """When a note was shown, the latest first."""
    find = """SELECT note, version, moment, session, run, how, query, score, components, terms FROM recalls
        WHERE note = ? AND (? IS NULL OR run = ?) AND (? = '' OR session = ?) ORDER BY seq DESC LIMIT ?"""
    values = (note_id, run, run, session, session, limit)
    return tuple(
        Recall(*row[:8], components=_components(row[8]), terms=tuple(row[9].split()))  # type: ignore[misc]
        for row in db.execute(find, values)
    )


def _components(data: bytes) -> dict[str, float]:
    try:
        return msgspec.json.decode(data, type=dict[str, float])
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
        return {}
