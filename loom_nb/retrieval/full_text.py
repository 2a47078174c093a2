"""Searching a table of FTS5 by BM25, in bounded time, with how much of the question each text answers.

FTS5's own `bm25()` is near zero in small tables, where a word is in half of the texts, and slow in large
ones, where a common word is in half of the texts. So each word is asked for by itself, the rare ones
first, and the weights of the words are given here.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loom_nb.retrieval.analysis import Term, query_terms

if TYPE_CHECKING:
    from sqlite3 import Connection

READ_ROWS = 2_000
"""Rows that one search reads in all; beyond, words that are in more texts only order what others found."""
_K1 = 1.2
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
    common: bool


def search(
    db: "Connection",
    table: str,
    query: str,
    *,
    limit: int = 50,
    columns: Sequence[float] = (),
    among: Collection[int] | None = None,
) -> list[Hit]:
    """The texts of a table that have words of the question, the best first.

    BM25 (Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009), the sum over
    the words ``t`` of the question of ``idf(t) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average))``
    with k1 = 1.2 and b = 0.75 as FTS5 has them, and ``idf(t) = ln(1 + (N - n + 0.5) / (n + 0.5))``, which is
    never negative. Where the words of a question are in more than `READ_ROWS` texts together, the common
    ones choose no text (but for the rarest word), and count as if they stood once.

    Args:
        db: where the table is.
        table: the name of a table of FTS5 whose columns hold `analysis.index_text`; with `TOKENIZE`.
        query: any text at all.
        limit: how many at most.
        columns: what a word counts in each of the columns, in their order; 1 by default.
        among: only these rows; None: all.

    Raises:
        sqlite3.Error: as the database raises it.
    """
    wanted = query_terms(query)
    total = rows_of(db, table) if wanted else 0
    if not total:
        return []
    found = _asked(db, table, wanted, total, columns)
    return _summed(found, total, limit, among)


def rows_of(db: "Connection", table: str) -> int:
    """How many texts a table of FTS5 has; counted in its record of lengths, the smallest of its tables."""
    (count,) = db.execute(f"SELECT count(*) FROM {quoted(table + '_docsize')}").fetchone()  # noqa: S608
    return int(count)


def quoted(name: str) -> str:
    """The name of a table as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _idf(total: int, having: int) -> float:
    return math.log1p((total - having + 0.5) / (having + 0.5))


def _asked(
    db: "Connection", table: str, wanted: Sequence[Term], total: int, columns: Sequence[float]
) -> list[_Found]:
    """Each word with the rows that have it; of common words only which of the rows found by others."""
    name = quoted(table)
    probe = f"SELECT rowid FROM {name} WHERE {name} MATCH ? LIMIT {READ_ROWS + 1}"  # noqa: S608
    counts = {term: len(db.execute(probe, (term.expression,)).fetchall()) for term in wanted}
    rank = ", ".join([name, *(repr(float(weight)) for weight in columns)])
    score = f"SELECT rowid, bm25({rank}) FROM {name} WHERE {name} MATCH ? LIMIT {READ_ROWS}"  # noqa: S608
    found: list[_Found] = []
    chosen: list[Term] = []
    left = READ_ROWS
    for term in sorted(wanted, key=lambda term: (counts[term], term.word)):
        having = counts[term]
        if having == 0:
            found.append(_Found(term, _idf(total, 0), {}, common=False))
        elif not chosen or having <= left:
            left -= having
            chosen.append(term)
            if having > READ_ROWS:
                having = _count(db, name, term)
            scores = db.execute(score, (term.expression,)).fetchall()
            own = (
                max(1e-6, math.log((total - having + 0.5) / (having + 0.5))) if having < total + 0.5 else 1e-6
            )
            found.append(
                _Found(term, _idf(total, having), {row: -value / own for row, value in scores}, False)
            )
        else:
            both = f"({' OR '.join(one.expression for one in chosen)}) AND {term.expression}"
            rows = db.execute(probe, (both,)).fetchall()
            found.append(
                _Found(term, _idf(total, max(having, READ_ROWS)), {row: _ONCE for (row,) in rows}, True)
            )
    return found


def _count(db: "Connection", name: str, term: Term) -> int:
    ((count,),) = db.execute(f"SELECT count(*) FROM {name} WHERE {name} MATCH ?", (term.expression,))  # noqa: S608
    return int(count)


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
