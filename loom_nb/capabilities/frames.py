"""Tables and arrays in words: shape, columns, missing values, first rows, statistics.

The cost is bounded: of what is large only a regular sample is looked at, and the text says so.
Objects inside a column are never asked for anything; see `anatomy.py`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from loom_nb.capabilities.anatomy import (
    TIMES,
    derives,
    instance_dict,
    is_known_zone,
    library,
    looks_secret,
    one_line,
    scalar,
    type_name,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SAMPLE = 20_000
"""Objects of a column that are looked at one by one."""
LARGE = 2_000_000
"""Numbers of a column or array that are looked at; of more, a sample of this size."""
MAX_COLUMNS = 100
HEAD_COLUMNS = 20
CELL = 32


def attempt(make: Callable[[], str], otherwise: str = "?") -> str:
    """What `make` gives, or `otherwise` when a library fails on an odd value."""
    try:
        return make()
    except Exception:  # noqa: BLE001  the border to libraries: whatever they raise, the reader gets the rest
        return otherwise


def cell(value: Any, width: int = CELL) -> str:
    """One value of a table; of an object only its type."""
    text = value if type(value) is str else scalar(value, width)
    return f"<{type_name(type(value))}>" if text is None else one_line(text, width).replace("|", "\\|")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines with bars between."""
    return "\n".join(" | ".join(row) for row in [header, *rows])


def plain_frame(value: Any) -> "pd.DataFrame | None":
    """The data of a DataFrame, or of a class built on it, as a plain frame that shares its memory.

    None where there is none. Attributes of the user (`attrs`, methods of a subclass) stay behind.
    """
    import pandas as pd

    blocks = instance_dict(value).get("_mgr") if derives(type(value), pd.DataFrame) else None
    if blocks is None or not library(type(blocks)):
        return None
    blocks = blocks.copy(deep=False)
    frame: pd.DataFrame = pd.DataFrame._from_mgr(blocks, axes=blocks.axes)  # type: ignore[attr-defined]  # no public way
    _replace_foreign_index(frame)
    shown = [_index_label(frame.columns, n, 60) for n in range(min(len(frame.columns), MAX_COLUMNS))]
    frame.columns = pd.Index(shown + [""] * (len(frame.columns) - len(shown)), dtype=object)
    return frame


def plain_series(value: Any) -> "pd.Series[Any] | None":
    """The data of a Series, or of a class built on it, as a plain Series without a name."""
    import pandas as pd

    blocks = instance_dict(value).get("_mgr") if derives(type(value), pd.Series) else None
    if blocks is None or not library(type(blocks)):
        return None
    blocks = blocks.copy(deep=False)
    series: pd.Series[Any] = pd.Series._from_mgr(blocks, axes=blocks.axes)  # type: ignore[attr-defined]  # no public way
    series._name = None  # type: ignore[attr-defined]  # what the constructor of a Series without name leaves
    _replace_foreign_index(series)
    return series


def _replace_foreign_index(owner: Any) -> None:
    """Count the rows instead, where the labels are kept by a class of the user."""
    import pandas as pd

    if not library(type(owner.index)):
        owner.index = pd.RangeIndex(owner.shape[0])


def frame_shape(frame: "pd.DataFrame") -> str:
    """Rows and columns."""
    return f"{frame.shape[0]:,}{TIMES}{frame.shape[1]:,}"


def frame_text(frame: "pd.DataFrame", detail: str, kind: str) -> str:
    """A frame in words; `detail` as in `describe`."""
    rows, columns = frame.shape
    title = f"{kind}: {rows:,} rows {TIMES} {columns:,} columns"
    if detail == "head":
        return f"{title}\n{_rows(frame, 20)}"
    if detail == "statistics":
        return f"{title}\n{_frame_statistics(frame)}"
    parts = [title, attempt(lambda: _index_line(frame.index)), _schema(frame)]
    if detail == "summary" and rows and columns:
        parts.append(f"first {min(5, rows)} rows:\n{_rows(frame, 5)}")
    return "\n".join(part for part in parts if part)


def series_text(series: "pd.Series[Any]", detail: str, name: str) -> str:
    """A Series in words."""
    title = f"Series{f' {name}' if name else ''}: {len(series):,} values, {dtype_text(series.dtype)}"
    if detail == "head":
        return f"{title}\n{_rows(series.to_frame('value'), 20)}"
    told = attempt(lambda: column_statistics(series), "")
    parts = [
        title,
        attempt(lambda: _index_line(series.index)),
        f"missing: {attempt(lambda: missing(series))}",
        told,
    ]
    if detail == "summary" and len(series):
        parts.append(f"first {min(5, len(series))} values:\n{_rows(series.to_frame('value'), 5)}")
    return "\n".join(part for part in parts if part)


def _index_line(index: "pd.Index[Any]") -> str:
    kind = type_name(type(index))
    names = [cell(name) for name in index.names if name is not None]
    named = f" ({', '.join(names)})" if names else ""
    if kind == "RangeIndex" or not len(index):
        return f"index: {kind}{named}" if named else ""
    return f"index: {kind}{named}, {_index_label(index, 0)} to {_index_label(index, len(index) - 1)}"


def _index_label(index: "pd.Index[Any]", row: int, width: int = CELL) -> str:
    if not library(type(index)) or not _is_readable(index.dtype):
        return str(row)
    label = index[row]
    return " / ".join(cell(level, width) for level in label) if type(label) is tuple else cell(label, width)


def _schema(frame: "pd.DataFrame") -> str:
    columns = frame.shape[1]
    if not columns:
        return "no columns"
    shown = [(str(frame.columns[n]), frame.iloc[:, n]) for n in range(min(columns, MAX_COLUMNS))]
    rows = [(name, dtype_text(column.dtype), attempt(partial(missing, column))) for name, column in shown]
    more = f"\n... and {columns - MAX_COLUMNS:,} more columns" if columns > MAX_COLUMNS else ""
    return table(("column", "dtype", "missing"), rows) + more


def _rows(frame: "pd.DataFrame", count: int) -> str:
    part = frame.iloc[:count, :HEAD_COLUMNS]
    secret = [looks_secret(str(name), nested=True) for name in part.columns]
    columns = [part.iloc[:, n] for n in range(part.shape[1])]
    lines = [
        [
            attempt(partial(_index_label, part.index, row)),
            *(
                "(withheld)" if hidden else attempt(partial(_value, column, row))
                for column, hidden in zip(columns, secret, strict=True)
            ),
        ]
        for row in range(len(part))
    ]
    more = frame.shape[1] - part.shape[1]
    note = f"\n(the first {HEAD_COLUMNS} columns of {frame.shape[1]:,})" if more else ""
    return table(["", *map(str, part.columns)], lines) + note


def _value(column: "pd.Series[Any]", row: int) -> str:
    return cell(column.array[row]) if _is_readable(column.dtype) else f"<{dtype_text(column.dtype)}>"


def _is_readable(dtype: Any) -> bool:
    """Whether taking an element runs only code of libraries."""
    if not library(type(dtype)) or _holds_objects(getattr(dtype, "subtype", None)):
        return False
    return is_known_zone(getattr(dtype, "tz", None))


def dtype_text(dtype: Any) -> str:
    """A dtype in short."""
    if not library(type(dtype)):
        return type_name(type(dtype))
    if type_name(type(dtype)) == "CategoricalDtype":
        kinds = "unknown" if dtype.categories is None else f"{len(dtype.categories):,}"
        return f"category of {kinds}{', ordered' if dtype.ordered else ''}"
    return one_line(str(dtype), 60) if is_known_zone(getattr(dtype, "tz", None)) else "datetime with a zone"


def missing(column: "pd.Series[Any]") -> str:
    """How many values are missing; of a large column of objects, how many in a sample."""
    if not _is_readable(column.dtype):
        return "?"
    if not _holds_objects(column.dtype):
        return f"{int(column.isna().sum()):,}"
    values, sampled = _objects(column)
    count = sum(is_missing(value) for value in values)
    return f"{count:,} in a sample of {len(values):,}" if sampled else f"{count:,}"


def _holds_objects(dtype: Any) -> bool:
    return type_name(type(dtype)) == "ObjectDType"


def _objects(column: "pd.Series[Any]") -> tuple[list[Any], bool]:
    step = max(1, -(-len(column) // SAMPLE))
    values = column.iloc[::step].to_numpy()
    return [values[n] for n in range(len(values))], step > 1


def is_missing(value: Any) -> bool:
    """None, NaN, NaT, NA; by type and identity only."""
    import decimal

    import pandas as pd

    if value is None or value is pd.NA or value is pd.NaT:
        return True
    if type(value) is decimal.Decimal:
        return value.is_nan()
    return derives(type(value), float) and float.__ne__(value, value)


def _frame_statistics(frame: "pd.DataFrame") -> str:
    columns = frame.shape[1]
    lines = []
    for n in range(min(columns, MAX_COLUMNS)):
        name = str(frame.columns[n])
        column = frame.iloc[:, n]
        if looks_secret(name, nested=True):
            lines.append(f"{name}: (withheld)")
            continue
        told = attempt(partial(column_statistics, column))
        lines.append(f"{name} ({dtype_text(column.dtype)}): {told}")
    if columns > MAX_COLUMNS:
        lines.append(f"... and {columns - MAX_COLUMNS:,} more columns")
    return "\n".join(lines) or "no columns"


def column_statistics(column: "pd.Series[Any]") -> str:
    """Count, range and shares of a column on one line."""
    if not len(column):
        return "empty"
    if not _is_readable(column.dtype):
        return "(not read: its dtype is not a library's)"
    step = max(1, -(-len(column) // LARGE))
    part = column.iloc[::step]
    note = f" (sample of {len(part):,})" if step > 1 else ""
    if type_name(type(column.dtype)) == "CategoricalDtype":
        return _category_statistics(part) + note
    match column.dtype.kind:
        case "b":
            known = part.dropna()
            true = int(known.sum())
            return f"count {len(known):,}, true {true:,}, false {len(known) - true:,}{note}"
        case "i" | "u" | "f":
            return number_statistics(part.to_numpy(dtype=float, na_value=float("nan"))) + note
        case "M" | "m":
            known = part.dropna()
            ends = f", min {cell(known.min())}, max {cell(known.max())}" if len(known) else ""
            return f"count {len(known):,}{ends}{note}"
        case "O":
            return _object_statistics(part)
        case _:
            return f"count {len(part):,}{note}"


def _category_statistics(column: "pd.Series[Any]") -> str:
    import numpy as np

    codes = column.cat.codes.to_numpy()
    counts = np.bincount(codes[codes >= 0], minlength=1)
    categories = column.cat.categories
    top = [int(n) for n in np.argsort(counts)[::-1][:3] if counts[n]]
    shown = ", ".join(f"{cell(categories[n])} ({counts[n]:,})" for n in top)
    count = int((codes >= 0).sum())
    return f"count {count:,}, categories {len(categories):,}{f', most: {shown}' if shown else ''}"


def _object_statistics(column: "pd.Series[Any]") -> str:
    values, sampled = _objects(column)
    known = [value for value in values if not is_missing(value)]
    kinds: dict[str, int] = {}
    words: dict[str, int] = {}
    for value in known:
        kinds[type_name(type(value))] = kinds.get(type_name(type(value)), 0) + 1
        if type(value) is str:
            words[value] = words.get(value, 0) + 1
    told = [f"count {len(known):,}"]
    if len(kinds) > 1 or "str" not in kinds:
        told.append("types " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items())[:5]))
    if words:
        top = sorted(words.items(), key=lambda item: -item[1])[:3]
        told.append(
            f"distinct {len(words):,}, most: " + ", ".join(f"{cell(word)} ({count:,})" for word, count in top)
        )
    return ", ".join(told) + (f" (sample of {len(values):,})" if sampled else "")


def number_statistics(values: "np.ndarray[Any, Any]") -> str:
    """Count, missing, mean, spread and range of numbers."""
    import numpy as np

    known = values[~np.isnan(values)]
    if not known.size:
        return f"count 0, missing {values.size:,}"
    with np.errstate(all="ignore"):
        low, lower, middle, upper, high = np.quantile(known, [0, 0.25, 0.5, 0.75, 1])
        figures = {
            "mean": known.mean(),
            "std": known.std(ddof=1) if known.size > 1 else float("nan"),
            "min": low,
            "25%": lower,
            "50%": middle,
            "75%": upper,
            "max": high,
        }
    lost = f", missing {values.size - known.size:,}" if known.size < values.size else ""
    return f"count {known.size:,}{lost}, " + ", ".join(
        f"{name} {float(f):.6g}" for name, f in figures.items()
    )


def plain_array(value: Any) -> "np.ndarray[Any, Any]":
    """The data of an array, or of a class built on it, as a plain array that shares its memory."""
    import numpy as np

    return np.ndarray.view(value, np.ndarray)


def array_shape(array: "np.ndarray[Any, Any]") -> str:
    """The sizes of an array."""
    return TIMES.join(f"{size:,}" for size in array.shape) or "scalar"


def array_text(array: "np.ndarray[Any, Any]", detail: str, kind: str) -> str:
    """An array in words."""
    title = f"{kind}: shape {array.shape}, dtype {one_line(str(array.dtype), 120)}, {array.nbytes:,} bytes"
    parts = [title]
    if detail in ("summary", "statistics"):
        parts.append(attempt(lambda: array_statistics(array), ""))
    if detail in ("summary", "head") and array.size:
        count = 10 if detail == "summary" else 50
        first = [array[spot] for spot in _first_spots(array.shape, count)]
        parts.append(
            f"first values: {', '.join(cell(value) for value in first)}{' ...' if array.size > count else ''}"
        )
    return "\n".join(part for part in parts if part)


def _first_spots(shape: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    import numpy as np

    size = min(count, int(np.prod(shape, dtype=object)))
    return [tuple(int(n) for n in np.unravel_index(n, shape)) for n in range(size)] if shape else [()]


def array_statistics(array: "np.ndarray[Any, Any]") -> str:
    """The figures of an array of numbers, dates or booleans; empty for others."""
    import numpy as np

    if not array.size or array.dtype.names:
        return ""
    values, note = _sampled(array)
    if values.dtype.kind in "iuf":
        return number_statistics(values.astype(float)) + note
    if values.dtype.kind == "b":
        return f"true {int(values.sum()):,} of {values.size:,}{note}"
    if values.dtype.kind in "mM":
        known = values[~np.isnat(values)]
        return f"min {known.min()}, max {known.max()}{note}" if known.size else "all missing"
    return ""


def _sampled(array: "np.ndarray[Any, Any]") -> "tuple[np.ndarray[Any, Any], str]":
    """The values in a row; of a large array, those at regular distances along its longest axes."""
    if array.size <= LARGE:
        return array.reshape(-1), ""
    steps = [1] * array.ndim
    left = -(-array.size // LARGE)
    for axis in sorted(range(array.ndim), key=lambda axis: -array.shape[axis]):
        steps[axis] = min(left, array.shape[axis])
        left = -(-left // steps[axis])
    part = array[tuple(slice(None, None, step) for step in steps)].reshape(-1)
    return part, f" (sample of {part.size:,})"
