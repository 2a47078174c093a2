"""A DataFrame as plain JSON and back: no pickles, and the same wherever it is read.

What comes back equal: booleans, integers, floats (also NaN and infinities), times and durations with
their unit and zone, pandas' own nullable types, strings and categories; None, True, 1, 1.5 and "a" in
a column of objects; labels of these kinds, also on several levels; any order, also equal names.

What does not: any other object becomes its text, and the summary says in which columns. Left out are
`attrs`, the frequency of an index of times, and subclasses of DataFrame.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from loom_nb.errors import BorderError
from loom_nb.events import TableHead

if TYPE_CHECKING:
    import pandas as pd

TABLE_TYPE = "application/vnd.loom.table+json"
VERSION = 1

_PLAIN = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")
_NULLABLE = re.compile(r"boolean|U?Int(8|16|32|64)|Float(32|64)")
_TIME = re.compile(r"(datetime64|timedelta64)\[(s|ms|us|ns)\]")
_ZONED = re.compile(r"datetime64\[(s|ms|us|ns), (.+)\]")
_NAT = -(2**63)
"""What numpy counts for a time that is none."""
_ODD = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_NAME = "~"
"""The key of what JSON has no word for: {"~": "nan"}, {"~": "NaT"}, {"~": "2024-01-01T00:00:00"}."""


def table_to_json(frame: "pd.DataFrame") -> tuple[bytes, list[str]]:
    """A table as JSON, and the names of the columns of which some values were only kept as texts."""
    columns, texts = [], []
    for place in range(frame.shape[1]):
        column, as_text = _column(frame.iloc[:, place])
        columns.append(column)
        if as_text:
            texts.append(str(frame.columns[place]))
    document = {
        "table": VERSION,
        "rows": len(frame),
        "index": _axis(frame.index),
        "labels": _axis(frame.columns),
        "columns": columns,
    }
    return msgspec.json.encode(document), texts


def table_from_json(data: bytes) -> "pd.DataFrame":
    """The inverse.

    Raises:
        BorderError: it is no table of ours.
    """
    import pandas as pd

    try:
        document = msgspec.json.decode(data)
        if document["table"] != VERSION:
            raise BorderError(f"a table of version {document['table']}; this version reads {VERSION}")
        index, labels = _index(document["index"]), _index(document["labels"])
        arrays = [_series(column) for column in document["columns"]]
        frame = pd.DataFrame({n: array.set_axis(index) for n, array in enumerate(arrays)}, index=index)
        frame.columns = labels
    except (msgspec.DecodeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, BorderError):
            raise
        raise BorderError(
            f"the content of an artifact is no table: {type(error).__name__}: {error}"
        ) from None
    return frame


def _axis(index: "pd.Index[Any]") -> dict[str, Any]:
    """The labels of rows or columns."""
    import pandas as pd

    names = [_cell(name)[0] for name in index.names]
    if isinstance(index, pd.RangeIndex):
        return {"names": names, "range": [index.start, index.stop, index.step]}
    levels = [index.get_level_values(level).to_series() for level in range(index.nlevels)]
    return {"names": names, "levels": [_column(level)[0] for level in levels]}


def _index(axis: dict[str, Any]) -> "pd.Index[Any]":
    import pandas as pd

    names = [_uncell(name) for name in axis["names"]]
    if "range" in axis:
        start, stop, step = axis["range"]
        return pd.RangeIndex(start, stop, step, name=names[0])
    levels = [_series(level) for level in axis["levels"]]
    if len(levels) > 1:
        return pd.MultiIndex.from_arrays(levels, names=names)
    index: pd.Index[Any] = pd.Index(levels[0], name=names[0])
    return index


def _column(values: "pd.Series[Any]") -> tuple[dict[str, Any], bool]:
    """One column, and whether some of its values were only kept as texts."""
    import pandas as pd

    dtype = values.dtype
    kind = str(dtype)
    if isinstance(dtype, pd.CategoricalDtype):
        categories, as_text = _column(dtype.categories.to_series())
        codes = values.cat.codes.tolist()
        return {
            "dtype": "category",
            "ordered": bool(dtype.ordered),
            "categories": categories,
            "values": codes,
        }, as_text
    if _PLAIN.fullmatch(kind):
        return {"dtype": kind, "values": _numbers(values.tolist(), kind)}, False
    if _TIME.fullmatch(kind) or _ZONED.fullmatch(kind):
        counts = values.astype("int64").tolist()
        return {"dtype": kind, "values": [None if count == _NAT else count for count in counts]}, False
    if _NULLABLE.fullmatch(kind) or isinstance(dtype, pd.StringDtype):
        missing = values.isna().to_numpy()
        cells = [None if gone else _odd(value) for value, gone in zip(values.tolist(), missing, strict=True)]
        return {"dtype": kind, "values": cells}, False
    pairs = [_cell(value) for value in values.astype(object)]
    return {"dtype": "object", "values": [cell for cell, _ in pairs]}, any(as_text for _, as_text in pairs)


def _series(column: dict[str, Any]) -> "pd.Series[Any]":
    import numpy as np
    import pandas as pd

    kind, values = column["dtype"], column["values"]
    if kind == "category":
        categories = pd.Index(_series(column["categories"]))
        return pd.Series(pd.Categorical.from_codes(values, categories=categories, ordered=column["ordered"]))
    if kind == "object":
        return pd.Series([_uncell(value) for value in values], dtype=object)
    timed, zoned = _TIME.fullmatch(kind), _ZONED.fullmatch(kind)
    if timed or zoned:
        unit = zoned[1] if zoned else kind
        counts = np.array([_NAT if one is None else one for one in values], dtype="int64")
        series: pd.Series[Any] = pd.Series(counts.view(f"datetime64[{unit}]" if zoned else unit))
        if zoned:
            series = series.dt.tz_localize("UTC").dt.tz_convert(zoned[2])
        return series
    if not (_PLAIN.fullmatch(kind) or _NULLABLE.fullmatch(kind) or kind in ("str", "string")):
        raise BorderError(f"a table with a column of an unknown type: {kind}")
    plain: pd.Series[Any] = pd.Series([_unodd(value) for value in values], dtype=kind)
    return plain


def _numbers(values: Sequence[Any], kind: str) -> Sequence[Any]:
    """Numbers as JSON has them; it has no word for NaN and infinities."""
    if not kind.startswith("float") or all(map(math.isfinite, values)):
        return values
    return [_odd(value) for value in values]


def _odd(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {_NAME: str(value)}
    return value


def _unodd(value: Any) -> Any:
    return _ODD[value[_NAME]] if isinstance(value, dict) else value


def _cell(value: Any) -> tuple[Any, bool]:
    """One object as JSON, and whether only its text was kept."""
    if value is None or type(value) in (bool, int):
        return value, False
    if type(value) is str:
        return text_as_kept(value), False
    if type(value) is float:
        return _odd(value), False
    kind = type(value)
    if kind.__module__ == "numpy" and hasattr(value, "item"):
        plain = value.item()
        return (str(value), True) if type(plain) is kind else _cell(plain)
    if kind.__module__.startswith("pandas") and kind.__name__ in ("NAType", "NaTType"):
        return {_NAME: str(value).strip("<>")}, False
    if kind.__module__.startswith("pandas") and kind.__name__ in ("Timestamp", "Timedelta"):
        return {_NAME: kind.__name__, "is": value.isoformat()}, False
    return text_as_kept(str(value)), True


def _uncell(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    name = value[_NAME]
    if name in _ODD:
        return _ODD[name]
    import pandas as pd

    kinds: dict[str, Any] = {"Timestamp": pd.Timestamp, "Timedelta": pd.Timedelta}
    if name in kinds:
        return kinds[name](value["is"])
    return {"NA": pd.NA, "NaT": pd.NaT}[name]


ROWS, COLUMNS, CELL = 10, 12, 60
"""What a reader is shown of a table: its first rows and columns, and characters of a cell."""


def head_of(frame: "pd.DataFrame", *, of_rows: int | None = None) -> TableHead:
    """The first rows of a table in words, each value of its column's own type.

    Args:
        frame: the table.
        of_rows: how many there were, where it is only the beginning of another one.
    """
    shown = frame.iloc[:ROWS, :COLUMNS]
    values = [shown.iloc[:, place].tolist() for place in range(shown.shape[1])]
    rows = tuple(
        (_brief(label), *(_brief(column[n]) for column in values)) for n, label in enumerate(shown.index)
    )
    columns = tuple(map(_brief, shown.columns))
    return TableHead(columns, rows, len(frame) if of_rows is None else of_rows, frame.shape[1])


def _brief(value: object) -> str:
    text = text_as_kept(str(value))
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"


def text_as_kept(text: str) -> str:
    """The text itself, but for lone surrogates, which no file can hold: they become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def described(rows: int, columns: int, texts: Iterable[str]) -> str:
    """``12 rows × 3 columns``, and which of them are only texts now."""
    words = f"{rows:,} row{'' if rows == 1 else 's'} × {columns:,} column{'' if columns == 1 else 's'}"
    named = list(texts)
    return f"{words}; as texts: {', '.join(named)}" if named else words
