"""The rows of a frame that a text shows whole: cells, exact figures, which row stands out, simple filters."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from loom_nb.models.offline.arithmetic import Number, number
from loom_nb.models.offline.facts import Column, Facts
from loom_nb.models.offline.words import name_words, stem, stems, terms

Row: TypeAlias = dict[str, Any]
"""A row by column names; under "" its label, where rows have one."""

_NONE = frozenset({"nan", "none", "nat", "<na>"})
_WITHHELD = "(withheld)"
_CUT = 32
"""Where cells are cut when they are shown."""
_FILTERS = re.compile(
    r"\b(?:where|whose|except|excluding|only|containing|starting with|beginning with|equal to|at least"
    r"|at most|(?:more|less|greater|fewer|larger|smaller|higher|lower|bigger) than"
    r"|(?:over|under|above|below|between)\s+\d+)\b|[<>]|\b(?:top|first|last)\s+\d",
    re.I,
)
_COMPARED = re.compile(
    r"(?P<sign>>=|<=|>|<|at least|at most|(?:more|greater|larger|higher|bigger) than|(?:less|fewer|smaller"
    r"|lower) than|over|above|under|below)\s*(?P<figure>-?\d[\d,]*(?:\.\d+)?)",
    re.I,
)


def shown_whole(facts: Facts) -> bool:
    """Whether the text shows every row of the frame or Series."""
    return facts.head is not None and facts.rows is not None and len(facts.head.rows) == facts.rows


def records(facts: Facts) -> list[Row] | None:
    """Every row with its values as plain data, or None when not all are shown.

    A cell that was cut or withheld is left out of its row; a missing value is None.
    """
    if not shown_whole(facts) or facts.head is None:
        return None
    header, body = facts.head.header, facts.head.rows
    series = header == ("", "value") and len(facts.columns) == 1
    names = ("", facts.columns[0].name) if series else header
    labelled = header[:1] == ("",) and [row[0] for row in body] != [str(n) for n in range(len(body))]
    known = {column.name: column for column in facts.columns}
    found: list[Row] = []
    for cells in body:
        row: Row = {}
        for name, text in zip(names, cells, strict=True):
            if name == "" and header[:1] == ("",):
                row |= {"": text} if labelled else {}
            elif name in known and text != _WITHHELD and not (len(text) >= _CUT and text.endswith("...")):
                row[name] = _value(text, known[name])
        found.append(row)
    return found


def is_number(column: Column) -> bool:
    """Whether a column holds numbers."""
    return (
        re.match(r"u?int|float|number|numeric", column.dtype, re.I) is not None or "mean" in column.statistics
    )


def named_columns(facts: Facts, text: str) -> list[Column]:
    """The columns that a text names, in the order of the frame."""
    said = terms(text)
    found = []
    for column in facts.columns:
        whole = re.search(rf"(?<!\w){re.escape(column.name)}(?!\w)", text, re.I)
        parts = stems(name_words(column.name))
        if whole or (parts and all(part in said for part in parts)):
            found.append(column)
    return found


def measured(facts: Facts, text: str) -> Column | None:
    """The column of numbers that a text is about: the one it names, else the only one."""
    named = named_columns(facts, text)
    figures = [column for column in named if is_number(column)]
    if len(figures) == 1:
        return figures[0]
    if figures or named:
        return facts.column(text) if figures else None
    every = [column for column in facts.columns if is_number(column)]
    return every[0] if len(every) == 1 else None


def labels(facts: Facts, text: str) -> Column | None:
    """The column that names the rows: the text column that is asked for, else the first one."""
    words = [column for column in facts.columns if not is_number(column)]
    return next(iter([column for column in named_columns(facts, text) if column in words] or words), None)


def figures_of(rows: Sequence[Row], name: str) -> list[Number] | None:
    """The numbers in a column without the missing ones; None where a cell is no number."""
    if any(name not in row for row in rows):
        return None
    values = [row[name] for row in rows if row[name] is not None]
    return values if all(_is_number(value) for value in values) else None


def exact(values: Sequence[Any], which: str) -> Number | None:
    """A figure of values that are all known: mean, sum, min, max, 50%, std, count, distinct."""
    if which in ("count", "distinct"):
        return len(values) if which == "count" else len({repr(value) for value in values})
    work = _FIGURES.get(which)
    if work is None or not values or not all(_is_number(value) for value in values):
        return None
    return work(sorted(values))


def _sum(values: Sequence[Number]) -> Number:
    return sum(values) if all(isinstance(value, int) for value in values) else math.fsum(values)


def _median(values: Sequence[Number]) -> Number:
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def _deviation(values: Sequence[Number]) -> Number | None:
    middle = math.fsum(values) / len(values)
    squares = math.fsum((value - middle) ** 2 for value in values)
    return math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else None


_FIGURES: dict[str, Callable[[Sequence[Number]], Number | None]] = {
    "mean": lambda values: math.fsum(values) / len(values),
    "sum": _sum,
    "min": lambda values: values[0],
    "max": lambda values: values[-1],
    "50%": _median,
    "std": _deviation,
}
"""Of values in order."""


def named_rows(facts: Facts, rows: Sequence[Row], text: str) -> list[Row]:
    """The rows of which a text names a cell or the label: "the visits of Rome"."""
    found = []
    for row in rows:
        words = [value for name, value in row.items() if isinstance(value, str) and name not in ("dtype",)]
        if any(len(w) > 1 and re.search(rf"(?<!\w){re.escape(w)}(?!\w)", text) for w in words):
            found.append(row)
    return found


def kept(facts: Facts, rows: Sequence[Row], text: str) -> list[Row] | None:
    """The rows that a text means: all, those it names or past a limit; None when that is unclear."""
    left = named_rows(facts, rows, text) or list(rows)
    if not filters(text):
        return left
    limit = _COMPARED.search(text)
    column = measured(facts, text)
    rest = text.replace(limit[0], " ") if limit else text
    if limit is None or column is None or filters(re.sub(r"\b(?:where|whose|only)\b", " ", rest, flags=re.I)):
        return None
    figure = number(limit["figure"])
    if figure is None or any(not _is_number(row.get(column.name, 0) or 0) for row in left):
        return None
    return [row for row in left if _passes(row.get(column.name), limit["sign"].lower(), figure)]


def filters(text: str) -> bool:
    """Whether a text speaks of some of the rows only."""
    return _FILTERS.search(text) is not None


def aligned(fields: Sequence[tuple[str, bool]], title: str, row: Row) -> dict[str, str]:
    """Which column goes into which field: (name, whether it is text) of each, and the title of the type.

    The same name first, then the same words; a field called "name" takes the one column of words left.
    """
    found: dict[str, str] = {}
    left = list(row)
    for same in (_flat, lambda name: tuple(sorted(stems(name_words(name))))):
        for name, _ in fields:
            column = next(
                (one for one in left if name not in found and one and same(one) == same(name)), None
            )
            if column is not None:
                found[name] = column
                left.remove(column)
    words = [one for one in left if isinstance(row[one], str)]
    titled = [one for one in words if stem(one) == stem(title)]
    for name, is_text in fields:
        if name not in found and is_text and name.lower() in ("name", "title", "label"):
            named = [one for one in words if one]
            best = titled or (named if len(named) == 1 else [one for one in words if one == ""])
            if best:
                found[name] = best[0]
                words.remove(best[0])
    return found


def _flat(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _value(text: str, column: Column) -> Any:
    if text.lower() in _NONE and column.missing != 0:
        return None
    if is_number(column):
        known = number(text)
        return text if known is None else known
    if column.dtype.startswith("bool"):
        return {"true": True, "false": False}.get(text.lower(), text)
    return text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _passes(value: Any, sign: str, figure: Number) -> bool:
    if not _is_number(value):
        return False
    if sign in (">=", "at least"):
        return bool(value >= figure)
    if sign in ("<=", "at most"):
        return bool(value <= figure)
    up = sign in (">", "over", "above") or sign.split(maxsplit=1)[0] in (
        "more",
        "greater",
        "larger",
        "higher",
        "bigger",
    )
    return bool(value > figure if up else value < figure)
