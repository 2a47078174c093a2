"""Searching a table of FTS5 by BM25, in bounded time, with how much of the question each text answers.

FTS5's own `bm25()` is near zero in small tables, where a word is in half of the texts, and slow in large
ones, where a common word is in half of the texts. So each word is asked for by itself, the rare ones
first, and the weights of the words are given here.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loom_nb.retrieval.analysis import Term, query_terms

if TYPE_CHECKING:
    from sqlite3 import Connection

READ_ROWS = 1_000
"""Rows that one search reads in all; beyond, words that are in more texts only order what others found."""
MOST = 0.25
"""The share of a large table beyond which a word says nothing: it is passed over where there are others."""
_K1 = 1.2
"""As FTS5 has it. However often a word stands in a text, BM25 gives it less than k1 + 1."""
_ONCE = 1.0
"""What BM25 gives to a word that stands once in a text of average length."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A text that has words of the question."""

    rowid: int
    bm25: float
    """The sum over its words; more is better; see `search`."""
    answered: float
    """Which share of the question it answers, 0 to 1: `bm25` of what a text would have that has each
    word once. Words of the question that no text has count as missed."""
    words: tuple[str, ...]
    """Words of the question that it has."""


@dataclass(frozen=True, slots=True)
class _Found:
    term: Term
    idf: float
    strengths: dict[int, float]
    """By rowid; only some of them where the word is common."""


def search(
    db: "Connection",
    table: str,
    query: str,
    *,
    limit: int = 50,
    columns: Sequence[float] = (),
    among: Collection[int] | None = None,
    read_rows: int = READ_ROWS,
) -> list[Hit]:
    """The texts of a table that have words of the question, the best first.

    BM25 (Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009), the sum over
    the words ``t`` of the question of ``idf(t) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average))``
    with k1 = 1.2 and b = 0.75 as FTS5 has them, and ``idf(t) = ln(1 + (N - n + 0.5) / (n + 0.5))``, which is
    never negative. A text that has the parts of a `camelCase` word has it once. Where the words of a
    question are in more than `read_rows` texts together, the common ones choose no text, and count as if
    they stood once; where all are common, the newest texts with the rarest of them are looked at. Words of
    more than a fourth (`MOST`) of a large table are passed over.

    Args:
        db: where the table is; within a transaction where others write.
        table: the name of a table of FTS5 whose columns hold `analysis.index_text`; with `TOKENIZE`.
        query: any text at all.
        limit: how many at most.
        columns: what a word counts in each of the columns, in their order; 1 by default.
        among: only these rows, as if the table had no other; None: all. The weights of words are those of
            the whole table.
        read_rows: what it reads at most of a word, and of all the words that choose texts together.

    Raises:
        sqlite3.Error: as the database raises it.
    """
    wanted = query_terms(query)
    total = rows_of(db, table) if wanted else 0
    if not total or (among is not None and not among):
        return []
    found = _asked(db, table, wanted, total, columns, read_rows, among)
    return _summed(found, total, limit, among)


def rows_of(db: "Connection", table: str) -> int:
    """How many texts a table of FTS5 has; counted in its record of lengths, the smallest of its tables."""
    (count,) = db.execute(f"SELECT count(*) FROM {quoted(table + '_docsize')}").fetchone()  # noqa: S608
    return int(count)


def quoted(name: str) -> str:
    """The name of a table as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _idf(total: int, having: float) -> float:
    return math.log1p((total - having + 0.5) / (having + 0.5))


def _asked(
    db: "Connection",
    table: str,
    wanted: Sequence[Term],
    total: int,
    columns: Sequence[float],
    read_rows: int,
    among: Collection[int] | None = None,
) -> list[_Found]:
    """Each word with the rows that have it; of common words only which of the rows found by others."""
    name = quoted(table)
    within, rows = _within(among)
    newest = f"SELECT rowid FROM {name} WHERE {name} MATCH ?{within} ORDER BY rowid DESC LIMIT {read_rows}"  # noqa: S608
    anywhere = f"SELECT rowid FROM {name} WHERE {name} MATCH ? ORDER BY rowid DESC LIMIT {read_rows}"  # noqa: S608
    counts = _counts(db, anywhere, (), wanted, _ends(db, table), total, read_rows)
    here, size = counts, total
    if among is not None:
        size = len(among)
        here = _counts(db, newest, rows, wanted, (min(among), max(among)), size, read_rows)
    rank = ", ".join([name, *(repr(float(weight)) for weight in columns)])
    score = f"SELECT rowid, bm25({rank}) FROM {name} WHERE {name} MATCH ?{within}"  # noqa: S608
    found: list[_Found] = []
    chosen: list[str] = []
    left = float(read_rows)
    for term in _telling(here, size, large=size > read_rows):
        having, idf = counts[term], _idf(total, counts[term])
        if here[term] == 0:
            found.append(_Found(term, idf, {}))
        elif here[term] <= left and having > read_rows:  # common, but not among these
            left -= here[term]
            chosen.append(term.expression)
            found.append(
                _Found(term, idf, {row: _ONCE for (row,) in db.execute(newest, (term.expression, *rows))})
            )
        elif here[term] <= left:
            left -= here[term]
            chosen.append(term.expression)
            found.append(_Found(term, idf, _strengths(db, name, score, within, rows, term, total)))
        else:
            both = f"({' OR '.join(chosen)}) AND {term.expression}" if chosen else term.expression
            chosen = chosen or [term.expression]
            found.append(_Found(term, idf, {row: _ONCE for (row,) in db.execute(newest, (both, *rows))}))
    return found


def _strengths(
    db: "Connection",
    name: str,
    score: str,
    within: str,
    rows: Sequence[int | str],
    term: Term,
    total: int,
) -> dict[int, float]:
    """What BM25 gives to a word in each of the rows that have it, without its weight.

    FTS5 adds up the weights of all words of an expression: so a word with parts is asked for by itself, and
    a row that has its parts counts as if the word stood there once, where it does not say more.
    """
    scores = db.execute(score, (term.whole, *rows)).fetchall()
    having = len(scores)
    if within:  # FTS5 weighs a word by all rows that have it
        (having,) = db.execute(f"SELECT count(*) FROM {name} WHERE {name} MATCH ?", (term.whole,)).fetchone()  # noqa: S608
    own = max(1e-6, math.log((total - having + 0.5) / (having + 0.5)))  # as FTS5 has it
    strengths = {row: min(_K1 + 1, -value / own) for row, value in scores}
    if term.parts:
        either = f"SELECT rowid FROM {name} WHERE {name} MATCH ?{within}"  # noqa: S608
        for (row,) in db.execute(either, (term.expression, *rows)):
            strengths[row] = max(_ONCE, strengths.get(row, 0.0))
    return strengths


def _within(among: Collection[int] | None) -> tuple[str, tuple[int | str, ...]]:
    """That a row is one of these, for a query, with its values; rows of one source lie side by side."""
    if among is None:
        return "", ()
    first, last = min(among), max(among)
    if last - first + 1 == len(among):
        return " AND rowid BETWEEN ? AND ?", (first, last)
    # not looked up one by one: the plus keeps FTS5 from that
    rows = json.dumps(list(among))
    return " AND rowid BETWEEN ? AND ? AND +rowid IN (SELECT value FROM json_each(?))", (first, last, rows)


def _ends(db: "Connection", table: str) -> tuple[int, int]:
    """The first and the last row of a table that is not empty."""
    lengths = quoted(table + "_docsize")
    # both in one SELECT would read all rows
    ends = f"SELECT (SELECT min(id) FROM {lengths}), (SELECT max(id) FROM {lengths})"  # noqa: S608
    first, last = db.execute(ends).fetchone()
    return int(first), int(last)


def _telling(counts: Mapping[Term, float], total: int, *, large: bool) -> list[Term]:
    """The words to ask for, the rarest first; in a large table without those that most texts have."""
    ordered = sorted(counts, key=lambda term: (counts[term], term.word))
    if not large:
        return ordered
    rarest = counts[ordered[0]]
    return [term for term in ordered if counts[term] <= max(rarest, MOST * total)]


def _counts(
    db: "Connection",
    newest: str,
    rows: Sequence[int | str],
    wanted: Sequence[Term],
    ends: tuple[int, int],
    total: int,
    read_rows: int,
) -> dict[Term, float]:
    """How many texts have each word; beyond `read_rows` as the newest of them let expect."""
    count = f"SELECT count(*), min(rowid) FROM ({newest})"  # noqa: S608
    first, last = ends
    counts: dict[Term, float] = {}
    for term in wanted:
        seen, oldest = db.execute(count, (term.expression, *rows)).fetchone()
        counts[term] = float(seen)
        if seen == read_rows:
            counts[term] = min(float(total), seen * (last - first + 1) / (last - oldest + 1))
    return counts


def _summed(found: Sequence[_Found], total: int, limit: int, among: Collection[int] | None) -> list[Hit]:
    whole = sum(one.idf for one in found) * _ONCE
    sums: dict[int, float] = {}
    for one in found:
        for row, strength in one.strengths.items():
            sums[row] = sums.get(row, 0.0) + one.idf * strength
    rows = [row for row in sums if among is None or row in among]
    rows.sort(key=lambda row: (-sums[row], row))
    return [
        Hit(
            row,
            sums[row],
            min(
                1.0,
                sum(one.idf * min(_ONCE, one.strengths[row]) for one in found if row in one.strengths)
                / whole,
            ),
            tuple(one.term.word for one in found if row in one.strengths),
        )
        for row in rows[:limit]
    ]
