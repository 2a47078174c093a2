"""What a text about a value says of it: rows, columns, missing values, statistics.

The text comes with a data part or from `inspect_variable`. Nothing is worked out that is not written there.
"""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from loom_nb.models.offline.arithmetic import number, shown
from loom_nb.models.offline.tables import Table, tables
from loom_nb.models.offline.words import likeness, name_words, stems, terms

_SHAPE = (
    re.compile(r"(\d[\d,]*)\s*rows?\s*(?:x|\u00d7|by|and|,)?\s*(\d[\d,]*)\s*col", re.I),
    re.compile(r"(\d[\d,]*)\s*[x\u00d7]\s*(\d[\d,]*)"),
    re.compile(r"\(\s*(\d+)\s*,\s*(\d+)\s*\)"),
)
_DTYPE = (
    r"u?int\d*|float\d*|object|bool(?:ean)?|str(?:ing)?|category|categorical|datetime(?:64)?|timedelta(?:64)?|complex\d*|date|u?Int\d+"
    r"|Float\d+|period|interval|mixed|text|number|numeric"
)
_SCHEMA_LINE = re.compile(
    rf"^[\s*•·-]*(?:\d+\s{{2,}})?[`'\"]?(?P<name>[^\s`'\":|,(][^`'\":|(]{{0,60}}?)[`'\"]?\s*(?P<mark>[:(|]|\s)\s*"
    rf"(?P<left>\d+\s+non-null\s+)?(?P<dtype>(?:{_DTYPE})(?:\[[^\]]*\])?)(?![\w-])(?P<rest>.*)$"
)
_MISSING = (
    re.compile(r"(?:missing|nulls?|nans?)(?: values)?\s*[:=]?\s*(\d[\d,]*)", re.I),
    re.compile(r"(\d[\d,]*)\s*(?:missing|nulls?|nans?|nas?|empty)\b", re.I),
)
_PAIR = re.compile(
    r"\b(count|mean|std|min|max|median|sum|distinct|unique|top|freq|25%|50%"
    r"|75%)\s*[:= ]\s*([-+]?[\d.,eE+-]*\d|[\w-]+)"
)
STATISTICS = (
    "count",
    "mean",
    "std",
    "min",
    "25%",
    "50%",
    "median",
    "75%",
    "max",
    "sum",
    "unique",
    "top",
    "freq",
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column, as far as the text tells."""

    name: str
    dtype: str = ""
    missing: int | None = None
    statistics: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one named value."""

    name: str
    text: str
    kind: str = ""
    rows: int | None = None
    width: int | None = None
    columns: tuple[Column, ...] = ()
    head: Table | None = None

    def column(self, asked: str) -> Column | None:
        """The column that a text names, the longest name first."""
        low = asked.lower()
        for column in sorted(self.columns, key=lambda c: -len(c.name)):
            if re.search(rf"(?<![\w]){re.escape(column.name.lower())}(?![\w])", low):
                return column
        said = terms(asked)
        for column in self.columns:
            parts = stems(name_words(column.name))
            if parts and all(any(likeness(part, term) == 1.0 for term in said) for part in parts):
                return column
        return None


@functools.lru_cache(maxsize=64)
def read_facts(name: str, text: str) -> Facts:
    """The facts in a text about the value `name`."""
    text = text[:60_000].removeprefix(f"{name}: ")
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    kind = re.match(r"(?:\w+\s*:\s*)?(?:[\w.]+\.)?([A-Za-z]\w*)", first)
    rows, width = _shape(text)
    facts = Facts(name, text, kind[1] if kind else "", rows, width)
    columns: dict[str, Column] = {}
    for table in tables(text):
        facts = _from_table(table, columns, facts)
    if width is not None or "DataFrame" in first:
        _from_lines(text, columns, rows)
    elif kind is not None and kind[1] == "Series":
        told = next((dict(pairs) for line in text.splitlines() if len(pairs := _PAIR.findall(line)) >= 2), {})
        gaps = re.search(r"missing:? (\d[\d,]*)", text)
        dtype = first.rpartition(", ")[2]
        columns = {name: Column(name, dtype, _whole(gaps[1]) if gaps else None, told)}
    columns.pop("", None)
    return replace(facts, columns=tuple(columns.values()))


def together(known: Iterable[Facts]) -> Facts | None:
    """Several texts about one value as one: later ones add to earlier ones."""
    merged: Facts | None = None
    for facts in known:
        if merged is None:
            merged = facts
            continue
        if facts.text.strip() in merged.text:
            continue  # the same words once more
        columns = {column.name: column for column in merged.columns}
        for column in facts.columns:
            old = columns.get(column.name, Column(column.name))
            columns[column.name] = Column(
                column.name,
                column.dtype or old.dtype,
                column.missing if column.missing is not None else old.missing,
                old.statistics | column.statistics,
            )
        merged = Facts(
            merged.name,
            merged.text + "\n\n" + facts.text,
            merged.kind or facts.kind,
            facts.rows if facts.rows is not None else merged.rows,
            facts.width if facts.width is not None else merged.width,
            tuple(columns.values()),
            facts.head or merged.head,
        )
    return merged


def _shape(text: str) -> tuple[int | None, int | None]:
    start = text[:400]
    for pattern in _SHAPE:
        match = pattern.search(start)
        if match:
            return _whole(match[1]), _whole(match[2])
    only = re.search(
        r"(\d[\d,]*)\s*(?:rows|values|items|elements|entries|values|records|keys)\b", start, re.I
    )
    return (_whole(only[1]) if only else None), None


def _whole(text: str) -> int | None:
    value = number(text)
    return int(value) if value is not None else None


def _from_table(table: Table, columns: dict[str, Column], facts: Facts) -> Facts:
    labels = [row[0].lower() for row in table.rows]
    titles = [title.lower() for title in table.header]
    if sum(label in STATISTICS for label in labels) >= 2:  # statistics, one row each
        for place, name in enumerate(table.header[1:], 1):
            found = {row[0].lower(): row[place] for row in table.rows if _told(row[place])}
            _note(columns, Column(name, statistics=found))
        return facts
    described = sum(title in STATISTICS for title in titles) >= 2
    typed = table.column("dtype", "type")
    named = table.column("column", "name", "field")
    if described or (typed is not None and named is not None):
        key = named if named is not None else 0
        for row in table.rows:
            found = {
                title: row[place]
                for place, title in enumerate(titles)
                if title in STATISTICS and _told(row[place])
            }
            _note(
                columns,
                Column(
                    row[key], row[typed] if typed is not None else "", _gaps(table, row, facts.rows), found
                ),
            )
        return facts
    return facts if facts.head else replace(facts, head=table)


def _gaps(table: Table, row: tuple[str, ...], rows: int | None) -> int | None:
    place = table.column("missing", "nulls", "null", "nan", "na")
    if place is not None and "non" not in table.header[place].lower():
        told = re.match(r"\d[\d,]*", row[place])
        return _whole(told[0]) if told else None
    place = table.column("non-null", "non null", "count")
    if place is not None and rows is not None:
        told = re.match(r"\d[\d,]*", row[place])
        full = _whole(told[0]) if told else None
        return None if full is None else rows - full
    return None


def _from_lines(text: str, columns: dict[str, Column], rows: int | None) -> None:
    for line in text.splitlines()[1:400]:
        summed = re.match(r"^(.{1,200}) \(([^()]{1,60})\): (.*)$", line[:1000])
        if summed:
            found = {key: value for key, value in _PAIR.findall(summed[3]) if _told(value)}
            gaps = re.search(r"\bmissing (\d[\d,]*)", summed[3])
            _note(columns, Column(summed[1], summed[2], _whole(gaps[1]) if gaps else None, found))
            continue
        match = _SCHEMA_LINE.match(line[:300])
        if match and (match["mark"] != " " or columns.get(match["name"].strip()) or _typed_line(line)):
            rest = match["rest"]
            missing = next((_whole(m[1]) for pattern in _MISSING if (m := pattern.search(rest))), None)
            full = re.search(r"(\d[\d,]*)\s+non-null", line)
            if missing is None and full and rows is not None:
                missing = rows - (_whole(full[1]) or 0)
            if missing is None and re.search(r"\bno (?:missing|nulls?)\b", rest):
                missing = 0
            found = {key: value for key, value in _PAIR.findall(rest) if _told(value)}
            _note(columns, Column(match["name"].strip(), match["dtype"], missing, found))
            continue
        stats = re.match(r"^[\s*•-]*[`'\"]?([^\s:`'\"|][^:`'\"|]{0,60})[`'\"]?\s*:\s*(.*)$", line[:300])
        if stats and len(pairs := _PAIR.findall(stats[2])) >= 2:
            _note(columns, Column(stats[1].strip(), statistics=dict(pairs)))


def _typed_line(line: str) -> bool:
    return bool(
        re.match(
            rf"^\s*(?:\d+\s+)?\S+\s+(?:\d+\s+non-null\s+)?(?:{_DTYPE})(?:\[[^\]]*\])?\s*(?:$|[,;(\d|])", line
        )
    )


def _note(columns: dict[str, Column], new: Column) -> None:
    old = columns.get(new.name, Column(new.name))
    columns[new.name] = Column(
        new.name,
        old.dtype or new.dtype,
        old.missing if old.missing is not None else new.missing,
        old.statistics | new.statistics,
    )


def _told(value: str) -> bool:
    return value.strip().lower() not in ("", "nan", "-", "—", "none", "null", "...")


def figure(value: str) -> str:
    """A figure of the text as it is shown: no trailing zeros; words stay as they are."""
    known = number(value)
    return value if known is None else shown(known)
