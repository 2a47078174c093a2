"""Answers in figures: of a column, of the rows that are shown, of a list of numbers."""

import math
import re

from loom_nb.models.offline import phrasing, rows
from loom_nb.models.offline.arithmetic import Number, number, shown
from loom_nb.models.offline.facts import Column, Facts
from loom_nb.models.offline.rows import Row
from loom_nb.models.offline.steps import Answer
from loom_nb.models.offline.tables import inline
from loom_nb.models.offline.task import value_in
from loom_nb.wording import counted

_WHICH = re.compile(r"\b(?:with the|which|what|who|where|name of|welche[rs]?|quelle?)\b", re.I)
_WHICH_ROW = re.compile(r"\b(?:which|who|where|name of)\b", re.I)
_MORE = re.compile(
    r"\b(?:second|third|fourth|next|difference|range|squared?|half|twice|double|ratio|percent\w*|share"
    r"|without|except|excluding|not|other than|minus|plus|divided|times|root|log|change|growth|increase"
    r"|weighted)\b|%",
    re.I,
)
_ARRANGED = re.compile(
    r"\b(?:sort(?:ed)?|order(?:ed)?|rank(?:ed)?|descending|ascending|reversed?|alphabetical\w*|unique|distinct"
    r"|different|random|shortest|longest|most|least|fewest|highest|lowest|largest|smallest|biggest|best|worst"
    r"|mean|average|median|total|sum|max\w*|min\w*|how many|number of|count)\b",
    re.I,
)
_DIGITS = 6
"""Significant figures of the statistics that a description holds."""
_GROUPED = re.compile(r"\b(?:per|for each|grouped?|by)\s+(.+)$", re.I | re.S)


def statistic(text: str, which: str, label: str, facts: Facts, before: Column | None) -> Answer | None:
    """One figure of a frame, a Series or a list; exact where all rows are shown.

    Args:
        text: the question without the name of the frame.
        which: "mean", "50%", "max", "min", "std", "sum", "distinct" or "count".
        label: the same in words.
        facts: what is known.
        before: the column of the question before this one.
    """
    if not facts.columns:
        return of_list(facts.name, value_in(facts.text), which, label)
    grouped = _GROUPED.search(text)
    every = rows.records(facts)
    if (grouped and rows.named_columns(facts, grouped[1])) or _means_more(text, facts, every or []):
        return None  # a figure of each group, or of something unknown, is another question
    some = rows.kept(facts, every, text) if every is not None else None
    if some is not None and which in ("max", "min") and (found := _standing_out(text, which, facts, some)):
        return found
    column = (facts.column(text) if which in ("distinct", "count") else rows.measured(facts, text)) or before
    column = column or facts.column(text)
    if some is not None and column is not None and (worked := _worked_out(column, which, label, facts, some)):
        return worked
    return None if rows.filters(text) else _told(column, which, label, facts)


def asks_which(text: str, which: str) -> bool:
    """Whether a text asks for the row that stands out rather than for the figure."""
    return which in ("max", "min") and _WHICH_ROW.search(text) is not None


def cells(text: str, facts: Facts) -> Answer | None:
    """The values of the column that a text names, in the rows that it names or in all."""
    every = rows.records(facts)
    named = rows.named_columns(facts, text)
    some = rows.kept(facts, every, text) if every is not None else None
    if some is None or not named or not as_they_are(text, facts):
        return None
    by_row = rows.named_rows(facts, some, text)
    column = next((column for column in named if rows.is_number(column)), named[0]) if by_row else named[0]
    if any(column.name not in row for row in some):
        return None
    values = [row[column.name] for row in some]
    if by_row and len(values) == 1:
        place = next((str(row) for row in _labels_of(facts, some, text) if row != values[0]), "that row")
        return Answer(
            f"`{column.name}` of {inline(place)} in `{facts.name}` is **{_spelled(values[0])}**.",
            values=(values[0], values),
            row=some[0],
        )
    each = ", ".join(_spelled(value) for value in values[:40])
    more = f" and {len(values) - 40:,} more" if len(values) > 40 else ""
    return Answer(f"`{column.name}` in `{facts.name}`: {each or 'nothing'}{more}.", values=(values,))


def as_they_are(text: str, facts: Facts) -> bool:
    """Whether a text wants rows as they stand: neither sorted nor counted nor some that are not shown."""
    plain = (
        re.sub(r"\bhow many\b", " ", text, flags=re.I)
        if rows.named_rows(facts, rows.records(facts) or [], text)
        else text
    )  # "how many visits has Rome?" is one cell
    return _ARRANGED.search(plain) is None and not _means_more(text, facts, rows.records(facts) or [])


def of_list(name: str, value: object, which: str, label: str) -> Answer | None:
    """A figure of a list of numbers."""
    if not isinstance(value, list) or not value or len(value) > 200:
        return None
    if which == "count":
        return Answer(f"`{name}` has **{counted(len(value), 'value')}**.", values=(len(value),))
    figure = rows.exact(value, which) if which in ("mean", "max", "min", "sum", "50%") else None
    if figure is None:
        return None
    return Answer(
        f"The {label} of `{name}` is **{shown(figure)}**. (Worked out here from its "
        f"{counted(len(value), 'value')}.)",
        values=(figure,),
    )


def _means_more(text: str, facts: Facts, every: list[Row]) -> bool:
    """Whether a question has more in it than a figure of a column: "the second largest", "in London"."""
    if _MORE.search(text):
        return True
    names = re.findall(r"(?<=[a-z,] )[^\W\d_a-z][^\W_]+", text)  # capitals inside the sentence
    shown_text = " ".join(str(value) for row in every for value in row.values())
    known = f"{facts.name} {' '.join(column.name for column in facts.columns)} {shown_text}".lower()
    return any(name.lower() not in known for name in names)


def _standing_out(text: str, which: str, facts: Facts, some: list[Row]) -> Answer | None:
    """The row with the largest or smallest value: "which city has the most visits?"."""
    column, label = rows.measured(facts, text), rows.labels(facts, text)
    asks = _WHICH.search(text)
    wanted = [named for named in rows.named_columns(facts, text) if not rows.is_number(named)]
    if (
        column is None
        or asks is None
        or not (wanted or re.search(r"\brows?\b|\bwho\b|\bwhere\b", text, re.I))
    ):
        return None
    figures = [row.get(column.name) for row in some]
    known = [figure for figure in figures if isinstance(figure, int | float)]
    best = rows.exact(known, which)
    if best is None or any(isinstance(figure, str) for figure in figures):
        return None
    winners = [row for row in some if row.get(column.name) == best]
    names = [str(row.get(label.name if label else "", "")) for row in winners]
    if not all(names):
        return None
    verb = "has" if len(winners) == 1 else "have"
    superlative = "most" if which == "max" else "least"
    return Answer(
        f"**{inline(' and '.join(names))}** {verb} the {superlative} `{column.name}` in `{facts.name}`: "
        f"**{shown(best)}**.",
        values=(names[0], names) if len(names) == 1 else (names,),
        row=winners[0] if len(winners) == 1 else None,
    )


def _worked_out(column: Column, which: str, label: str, facts: Facts, some: list[Row]) -> Answer | None:
    if any(column.name not in row for row in some):
        return None
    known = [row[column.name] for row in some if row[column.name] is not None]
    figure = rows.exact(known, which)
    if figure is None:
        return None
    where = "" if column.name == facts.name else f" in `{facts.name}`"
    few = "" if facts.rows == len(some) else f" (in {counted(len(some), 'row')} of {facts.rows:,})"
    return Answer(f"The {label} of `{column.name}`{where}{few} is **{shown(figure)}**.", values=(figure,))


def _told(column: Column | None, which: str, label: str, facts: Facts) -> Answer | None:
    """A figure that is written in the text."""
    wanted = [column] if column else list(facts.columns)
    spelled = (which, {"50%": "median", "distinct": "unique"}.get(which, ""))
    key = next((one for one in spelled if any(one in column.statistics for column in wanted)), "")
    if key:
        having = [one for one in wanted if key in one.statistics]
        told = having[0].statistics[key] if len(having) == 1 else ""
        value = number(told) if told else None
        return Answer(
            phrasing.statistic(facts, wanted, key, label),
            values=(told if value is None else value,) if told else (),
        )
    if which == "count" and facts.rows is not None and column is None:
        return Answer(phrasing.size(facts), values=(facts.rows,))
    if which == "sum" and column and {"mean", "count"} <= column.statistics.keys():
        return _sum(column)
    return None


def _sum(column: Column) -> Answer | None:
    """Mean times count, with no more figures than the rounded mean allows."""
    mean, count = number(column.statistics["mean"]), number(column.statistics["count"])
    if mean is None or count is None:
        return None
    total = mean * count
    size = math.floor(math.log10(abs(mean))) if mean else 0
    error = 0.5 * 10.0 ** (size - _DIGITS + 1) * count if mean else 0.0
    whole = re.match(r"u?int", column.dtype, re.I) is not None
    if whole and error < 0.5:
        return Answer(f"The sum of `{column.name}` is **{shown(round(total))}**.", values=(round(total),))
    places = -math.ceil(math.log10(error)) if error else _DIGITS
    rounded: Number = round(total, min(places, 12))
    return Answer(
        f"The sum of `{column.name}` is about **{shown(rounded)}** (its rounded mean times its count).",
    )


def _labels_of(facts: Facts, some: list[Row], text: str) -> list[object]:
    label = rows.labels(facts, text)
    return [row.get(label.name if label else "") or row.get("") for row in some]


def _spelled(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return shown(value)
    return "(missing)" if value is None else inline(str(value))
