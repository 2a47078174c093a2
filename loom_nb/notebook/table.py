"""A table that a person looks through and acts on, as values: its columns, rows, actions, and one page of it.

How to make one: write a `Source` (what it shows, one row in full, what an action does), and give it with
its static `Card` to the tables of the workbench::

    async def sessions(bench, words):
        source = SessionRows(bench)
        return bench.tables.card(source, await source.contents())

Where a page can answer, the card is a live table; everywhere else, and in the saved file, it is
`Contents.card`. The kernel sorts, filters and pages; the browser holds a window of `MOST_ROWS` rows. Where
there are too many to hold even in the kernel, write a `PagedSource`: its `Contents` have no rows, it finds
them page by page, and its cells can be edited where they stand.
Words in all of these values may be foreign: they travel as text and are written as text, characters that
are not seen made visible.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import msgspec

from loom_nb.errors import LoomUsageError
from loom_nb.notebook.card import Card
from loom_nb.notebook.render.strict_markdown import visible

MOST_ROWS = 200
"""Rows that a page is sent at once."""
MOST_CHOSEN = 1_000
"""Rows that one action takes."""
LONGEST = 400
"""Characters of a cell."""
WHOLE = 50_000
"""Characters of a text of `Details`."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    """How a query names it."""
    title: str
    """Its heading."""
    width: float = 0.0
    """In em; 0 for those that share what is left."""
    number: bool = False
    """Set to the right; the largest come first when it is first sorted by."""
    choose: bool = False
    """Its values can be chosen from: for columns with few of them."""
    swatch: bool = False
    """The colour of the row's tone stands before its words."""
    sorts: bool = True
    """Rows can be sorted by it."""
    edits: Literal["", "line", "text", "flag"] = ""
    """How a person changes its cells where they stand, in a `PagedSource`: in one line, in several, or from
    yes to no; not at all."""
    shown: Literal["always", "asked", "unasked"] = "always"
    """Whether it is there only while words are looked for, or only while none are."""
    meter: bool = False
    """The parts of a row stand in it as a strip, beside its words."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing."""

    id: str
    """Names it in actions; stays with the thing when the table is renewed."""
    cells: tuple[str, ...]
    """What each column shows of it."""
    keys: Mapping[int, float] = field(default_factory=dict)
    """By the number of a column, what it is sorted by, where that is not its words."""
    can: frozenset[str] = frozenset()
    """The names of the actions that can be done to it."""
    tone: int = 0
    """The colour that it shares with a segment of the bar, 1 to 6; 0 for none."""
    why: str = ""
    """Why it takes no action, in half a sentence, where it takes none."""
    quiet: bool = False
    """Drawn faintly: it is there, and does not count."""
    parts: tuple[tuple[float, int], ...] = ()
    """(size, tone): what its meter is made of; all sizes together are at most 1."""
    hints: Mapping[int, str] = field(default_factory=dict)
    """By the number of a column, what its words stand for, where they do not tell it."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something that can be done to rows."""

    name: str
    label: str
    """On its button."""
    says: str = ""
    """What it does, in half a sentence."""
    key: str = ""
    """Does it while a row has the focus. Several may share one: the first that a row can take is done."""
    one: bool = False
    """It takes one row, not several."""
    asks: str = ""
    """The label of the line of text that it needs; empty for none."""
    initial: str = ""
    """The column whose words stand in that line at first; of choices, the one in whose cell they stand."""
    choices: tuple[tuple[str, str], ...] = ()
    """(value, label): it needs one of these in place of a line of text, chosen in the row itself."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar."""

    name: str
    size: float
    words: str
    """How much it is."""
    tone: int = 0
    """1 to 6; 0 for what is free."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Parts of a whole, side by side."""

    label: str
    """What it tells, in one line."""
    segments: tuple[Segment, ...]
    mark: float = 0.0
    """A place on it, 0 to 1; 0 for none."""
    mark_words: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to look at all of it, chosen beside the words that are looked for."""

    name: str
    """By which `Query.chosen` has what was chosen."""
    label: str
    options: tuple[tuple[str, str], ...]
    """(value, label); the empty value is how it is looked at otherwise."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a table shows at one time."""

    card: Card
    """The same facts where no table can be: printed, and in the saved file."""
    title: str
    columns: tuple[Column, ...]
    """The first one names a row."""
    rows: tuple[Row, ...]
    """In their natural order."""
    caption: str = ""
    noun: tuple[str, str] = ("row", "rows")
    facts: tuple[tuple[str, str], ...] = ()
    bar: Bar | None = None
    actions: tuple[Action, ...] = ()
    opens: bool = True
    """A row can be opened to its `Details`."""
    total: int | None = None
    """How many rows there are, where `rows` does not hold them."""
    choices: tuple[Choice, ...] = ()
    query: "Query | None" = None
    """What is looked for at first."""
    placeholder: str = "type to filter"
    """In the line for words."""
    open_key: str = ""
    """Opens a row, where Enter edits."""


@dataclass(frozen=True, slots=True)
class Meter:
    """One number from 0 to 1, as a small bar."""

    name: str
    value: float
    words: str = ""
    """What it comes from."""
    tone: int = 0
    """The colour, 1 to 6; 0 for that of what counts together."""


@dataclass(frozen=True, slots=True)
class Details:
    """One row in full."""

    facts: tuple[tuple[str, str], ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    """(label, text): shown side by side, as text."""
    meters: tuple[tuple[str, tuple[Meter, ...]], ...] = ()
    """(label, bars): shown below each other."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an action did."""

    words: str
    """In one line."""
    back: tuple[str, ...] = ()
    """What to type to take it back."""
    undo: "Callable[[], Awaitable[Receipt]] | None" = None
    """Takes it back. Raises LoomError where that cannot be done any more."""


class Source(Protocol):
    """What stands behind a table. All of it is called on the loop of the kernel, one call at a time."""

    def state(self) -> Hashable:
        """Something cheap that differs when `contents` would."""
        ...

    async def contents(self) -> Contents:
        """What it shows now. Raises LoomError where that cannot be told now: the table stays as it was."""
        ...

    async def details(self, row: str) -> Details:
        """A row in full. Raises LoomError where there is none, or not now."""
        ...

    async def act(self, action: str, rows: Sequence[str], text: str) -> Receipt:
        """Carry out an action on rows that can take it. Raises LoomError where it cannot be done."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What a `PagedSource` has for a query."""

    rows: tuple[Row, ...]
    start: int
    """Rows before the first."""
    matching: int
    """Rows in all that the query wants."""
    caption: str = ""
    """In which order they are, where it is not that of a column."""
    words: str = ""
    """How many there are, where they are none of the things that the table is of."""


@dataclass(frozen=True, slots=True)
class Value:
    """What a cell holds, to be edited."""

    text: str
    version: str
    """Differs when the row has changed."""


class Stale(LoomUsageError):
    """What was to be changed has changed meanwhile.

    Args:
        title: in a sentence.
        now: what it holds now.
    """

    def __init__(self, title: str, now: Value) -> None:
        super().__init__(title)
        self.now = now


@runtime_checkable
class PagedSource(Source, Protocol):
    """What stands behind a table of any number of rows, whose cells can be edited."""

    async def look(self, query: "Query") -> Found:
        """The rows that a query wants, from `query.start` on, `query.count` at most. Raises LoomError."""
        ...

    async def these(self, rows: Sequence[str]) -> tuple[Row, ...]:
        """Those of the rows that are there."""
        ...

    async def value(self, row: str, column: str) -> Value:
        """What a cell holds in full. Raises LoomError where it cannot be edited."""
        ...

    async def edit(self, row: str, column: str, text: str, version: str) -> Receipt:
        """Change a cell. Raises `Stale` where the row has changed, LoomError where it takes no such text."""
        ...


# -- looking through it ----------------------------------------------------------------------------------


class Query(msgspec.Struct, frozen=True):
    """What a page wants to see."""

    text: str = ""
    """Each word of it must occur in a row."""
    chosen: dict[str, str] = {}
    """By the name of a column, the words that it must have; by the name of a `Choice`, its value."""
    sort: str = ""
    """The name of a column; empty for the natural order."""
    down: bool = False
    """The largest first."""
    start: Annotated[int, msgspec.Meta(ge=0)] = 0
    count: Annotated[int, msgspec.Meta(ge=1, le=MOST_ROWS)] = MOST_ROWS

    def order(self) -> Hashable:
        """What decides which rows come in which order."""
        return (self.text, tuple(sorted(self.chosen.items())), self.sort, self.down)


def arranged(contents: Contents, query: Query) -> tuple[Row, ...]:
    """The rows that a query wants, in its order. A column that is not there is passed over."""
    places = {column.name: place for place, column in enumerate(contents.columns)}
    chosen = [(places[name], words) for name, words in query.chosen.items() if name in places]
    rows = [row for row in contents.rows if all(row.cells[place] == words for place, words in chosen)]
    wanted = query.text.casefold().split()
    if wanted:
        rows = [row for row in rows if _has(row, wanted)]
    place = places.get(query.sort)
    if place is not None:  # rows that are equal stay in their natural order
        rows.sort(key=lambda row: _key(row, place), reverse=query.down)
    return tuple(rows)


def _has(row: Row, wanted: Sequence[str]) -> bool:
    words = "\n".join(row.cells).casefold()
    return all(word in words for word in wanted)


def _key(row: Row, place: int) -> tuple[float, str]:
    number = row.keys.get(place)
    return (0.0, row.cells[place].casefold()) if number is None else (number, "")


def able(contents: Contents, action: str, rows: Sequence[str]) -> tuple[str, ...]:
    """Those of the rows that can take an action, each once, in the order of the table."""
    wanted = set(rows)
    return tuple(row.id for row in contents.rows if row.id in wanted and action in row.can)[:MOST_CHOSEN]


# -- as messages -----------------------------------------------------------------------------------------


def head(contents: Contents) -> dict[str, Any]:
    """All but the rows, as plain data."""
    bar = contents.bar
    return {
        "title": visible(contents.title),
        "caption": visible(contents.caption),
        "noun": list(contents.noun),
        "facts": _pairs(contents.facts),
        "bar": msgspec.to_builtins(bar) if bar is not None else None,
        "columns": [msgspec.to_builtins(column) for column in contents.columns],
        "actions": [msgspec.to_builtins(action) for action in contents.actions],
        "values": _values(contents),
        "paged": contents.total is not None,
        "total": len(contents.rows) if contents.total is None else contents.total,
        "opens": contents.opens,
        "choices": [
            {"name": one.name, "label": one.label, "options": _pairs(one.options)} for one in contents.choices
        ],
        "query": msgspec.to_builtins(contents.query) if contents.query is not None else None,
        "placeholder": contents.placeholder,
        "open_key": contents.open_key,
    }


def _values(contents: Contents) -> dict[str, list[tuple[str, int]]]:
    """Of each column to choose from, its values with how often each occurs."""
    found: dict[str, list[tuple[str, int]]] = {}
    for place, column in enumerate(contents.columns):
        if column.choose:
            counts: dict[str, int] = {}
            for row in contents.rows:
                counts[row.cells[place]] = counts.get(row.cells[place], 0) + 1
            found[column.name] = list(counts.items())
    return found


def page(rows: Sequence[Row], query: Query) -> dict[str, Any]:
    """The rows that are asked for, of those that `arranged` gave, as plain data."""
    start = min(query.start, max(0, len(rows) - 1))
    return {
        "start": start,
        "matching": len(rows),
        "rows": [_row(row) for row in rows[start : start + query.count]],
    }


def part(found: Found) -> dict[str, Any]:
    """What a `PagedSource` has found, as plain data."""
    return {
        "start": found.start,
        "matching": found.matching,
        "rows": [_row(row) for row in found.rows],
        "caption": visible(found.caption),
        "words": visible(found.words),
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "cells": [visible(cell[:LONGEST]) for cell in row.cells],
        "can": sorted(row.can),
        "tone": row.tone,
        "quiet": row.quiet,
        "why": visible(row.why),
        "parts": [list(one) for one in row.parts],
        "hints": {str(place): visible(words) for place, words in row.hints.items()},
    }


def opened(details: Details) -> dict[str, Any]:
    """A row in full, as plain data."""
    return {
        "facts": _pairs(details.facts),
        "texts": [(visible(label), _whole(text)) for label, text in details.texts],
        "meters": [(visible(label), [_meter(one) for one in meters]) for label, meters in details.meters],
    }


def _meter(one: Meter) -> dict[str, Any]:
    value = min(1.0, max(0.0, one.value))
    return {"name": visible(one.name), "value": value, "words": visible(one.words), "tone": one.tone}


def _whole(text: str) -> str:
    left = len(text) - WHOLE
    return visible(text[:WHOLE]) + (f"\n… {left:,} more characters" if left > 0 else "")


def _pairs(facts: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(visible(name), visible(value)) for name, value in facts]
