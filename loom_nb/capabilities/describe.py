"""A value in words, for a model: what it is, how big, what is in it; made without running its code.

`describe` is what the tools over a notebook's variables say. `describe_value` and `describe_image` are
for values that a person puts into a prompt: there, and only there, a class may speak for itself by a
method `_repr_llm_`, or by its `repr`.
"""

import functools
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from loom_nb.border import clean
from loom_nb.capabilities import frames
from loom_nb.capabilities.anatomy import (
    TIMES,
    attributes,
    class_dict,
    derives,
    dict_items,
    first_doc_line,
    function_signature,
    is_one,
    is_record,
    is_sequence,
    length,
    library,
    looks_secret,
    module_dict,
    module_name,
    one_line,
    scalar,
    sequence_items,
    type_name,
)
from loom_nb.capabilities.frames import attempt
from loom_nb.messages import DataPart, ImagePart, Origin

Detail = Literal["summary", "schema", "head", "statistics"]

WITHHELD = "(withheld: its name looks like that of a secret)"
LINE = 100
"""Characters of a value on one line."""
MAX_PIXELS = 1_200
"""The longer side of an image that is sent."""
_LIBRARIES_WITH_SHAPE = frozenset(
    {"polars", "xarray", "torch", "jax", "jaxlib", "tensorflow", "cupy", "dask", "scipy"}
)
_CUT = "\n... ({:,} characters left out) ...\n"


@dataclass(frozen=True, slots=True)
class Description:
    """A value in words."""

    type: str
    size: str = ""
    """Length or shape; empty for single values."""
    line: str = ""
    """The value on one line."""
    text: str = ""
    """As much as was asked for."""
    shown: str = ""
    """What `text` holds of the value: "schema + 5 rows"."""


def describe(value: Any, detail: Detail = "summary") -> Description:
    """Describe a value. Never raises, and runs no code of a class that is not a library's."""
    made = _guarded(functools.partial(_describe, value, detail))
    return made or Description(
        type_name(type(value)), text=f"{type_name(type(value))} (it could not be described)"
    )


def describe_value(name: str, value: Any, *, max_chars: int = 4000, origin: Origin | None = None) -> DataPart:
    """A value as a data part of a prompt, at most `max_chars` characters. Never raises.

    A class may say itself what a model should read of it, by a method `_repr_llm_`; where that fails
    it is described like any other. What looks like a secret by its name is withheld.

    Args:
        name: what the user calls it; also the source of the origin.
        value: anything.
        max_chars: the longest text; longer ones lose their middle.
        origin: where it comes from, the notebook by default.
    """
    made = describe(value, "summary")
    whole = _own_words(value) or made
    if looks_secret(name, value, nested=True):
        whole = Description(made.type, made.size, text=WITHHELD, shown="withheld")
    elif whole is made and not made.shown and _is_opaque(value):
        own = attempt(lambda: str(repr(value)), "")
        if own and " at 0x" not in own:  # the address of an object says nothing
            whole = Description(
                made.type, made.size, made.line, f"{made.text}\nrepr: {own}", "attributes + repr"
            )
    text = shorten(clean(whole.text), max_chars)
    size = f" {whole.size}" if whole.size else ""
    shown = f" → {whole.shown}" if whole.shown else ""
    cut = "" if len(text) == len(clean(whole.text)) else " (shortened)"
    summary = one_line(clean(f"{whole.type}{size}{shown}{cut}"), 160)
    return DataPart(name=name, text=text, origin=origin or Origin("notebook", name), summary=summary)


def describe_image(value: Any) -> ImagePart | None:
    """A matplotlib figure or a PIL image as PNG, its longer side at most 1200 pixels; None for all else."""
    image: ImagePart | None = _guarded(functools.partial(_image, value))
    return image


def shorten(text: str, most: int) -> str:
    """`text` in at most `most` characters: its head and tail, and how much is left out between."""
    if len(text) <= most:
        return text
    room = most - len(_CUT.format(len(text)))
    if room < 20:
        return text[: max(0, most)]
    head = room * 2 // 3
    return f"{text[:head]}{_CUT.format(len(text) - room)}{text[head - room :]}"


def _guarded(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception:  # noqa: BLE001  the border to libraries: whatever they raise becomes "not described"
        return None


def _own_words(value: Any) -> Description | None:
    def ask() -> Description | None:
        own = getattr(type(value), "_repr_llm_", None)
        text = None if own is None or derives(type(value), type) else own(value)
        return (
            Description(type_name(type(value)), text=text, shown="its own words")
            if type(text) is str
            else None
        )

    made: Description | None = _guarded(ask)
    return made


def _is_opaque(value: Any) -> bool:
    cls = type(value)
    return not derives(cls, dict, type, types.FunctionType, types.ModuleType) and not is_sequence(cls)


def _describe(value: Any, detail: Detail) -> Description:
    cls = type(value)
    if derives(cls, str):
        return _string(str.__str__(value), type_name(cls), detail)
    for portray in (_library_value, _code, _container, _figure):
        made = portray(value, cls, detail)
        if made is not None:
            return made
    single = scalar(value, 1_000)
    if single is not None:
        return _single(value, cls, single)
    return _instance(value, cls)


def _single(value: Any, cls: type, text: str) -> Description:
    size = ""
    if derives(cls, bytes, bytearray):
        size = f"{(bytes if derives(cls, bytes) else bytearray).__len__(value):,} bytes"
    name = type_name(cls)
    return Description(name, size, one_line(text, LINE), f"{name}: {text}" if size else text, "value")


def _string(text: str, name: str, detail: Detail) -> Description:
    size = f"{len(text):,} characters"
    line = scalar(text, LINE) or ""
    lines = text.count("\n") + 1
    match detail:
        case "summary":
            return Description(name, size, line, text, "text")
        case "head":
            return Description(name, size, line, text[:2_000], "head")
        case _:
            return Description(name, size, line, f"{name}: {size}, {lines:,} lines\nbegins {line}", "size")


def _library_value(value: Any, cls: type, detail: Detail) -> Description | None:
    """Tables and arrays of the libraries that are loaded."""
    if "pandas" in sys.modules:
        made = _pandas(value, cls, detail)
        if made is not None:
            return made
    if "numpy" in sys.modules:
        import numpy as np

        if derives(cls, np.ndarray):
            array = frames.plain_array(value)
            size = frames.array_shape(array)
            kind = one_line(str(array.dtype), 40)
            text = frames.array_text(array, detail, type_name(cls))
            return Description(
                type_name(cls), size, f"{kind} {_array_line(array)}".strip(), text, _shown(detail, "values")
            )
    return _shaped(value, cls) if library(cls) in _LIBRARIES_WITH_SHAPE else None


def _array_line(array: Any) -> str:
    if array.size > 6:
        return ""
    return "[" + ", ".join(frames.cell(array[n]) for n in range(array.size)) + "]" if array.ndim == 1 else ""


def _shown(detail: Detail, unit: str, count: int = 5) -> str:
    return {
        "summary": f"schema + {count} {unit}",
        "schema": "schema",
        "head": unit,
        "statistics": "statistics",
    }[detail]


def _pandas(value: Any, cls: type, detail: Detail) -> Description | None:
    import pandas as pd

    name = type_name(cls)
    if derives(cls, pd.DataFrame):
        frame = frames.plain_frame(value)
        if frame is None:
            return None
        columns = one_line("columns " + ", ".join(map(str, frame.columns[:12])), LINE)
        text = frames.frame_text(frame, detail, name)
        shown = _shown(detail, "rows", min(5, frame.shape[0]))
        return Description(name, frames.frame_shape(frame), columns, text, shown)
    if derives(cls, pd.Series):
        series = frames.plain_series(value)
        if series is None:
            return None
        told = attempt(functools.partial(frames.column_statistics, series), "")
        line = f"{frames.dtype_text(series.dtype)}, {told}"
        text = frames.series_text(series, detail, "")
        return Description(
            name,
            f"{len(series):,}",
            one_line(line, LINE),
            text,
            _shown(detail, "values", min(5, len(series))),
        )
    if derives(cls, pd.Index) and library(cls) == "pandas":
        series = pd.Series(range(len(value)), index=value)
        text = f"{name}: {len(value):,} labels\n" + frames.series_text(series, "head", "")
        return Description(name, f"{len(value):,}", name, text, "labels")
    return None


def _shaped(value: Any, cls: type) -> Description | None:
    """Tables and tensors of other libraries: their shape and types, no values."""
    told = []
    for name in ("shape", "sizes", "dtype", "schema", "device", "data_vars", "nnz"):
        if name == "schema" and type_name(cls) == "LazyFrame":
            continue  # to know it would be to run the query
        found = attempt(functools.partial(_said, value, name), "")
        if found:
            told.append((name, found))
    if not told:
        return None
    size = next((found for name, found in told if name in ("shape", "sizes")), "")
    text = "\n".join([f"{library(cls)} {type_name(cls)}", *(f"{name}: {found}" for name, found in told)])
    return Description(
        type_name(cls), one_line(size, 40), one_line(f"{library(cls)} {told[-1][1]}", LINE), text, "schema"
    )


def _said(value: Any, name: str) -> str:
    found = getattr(value, name, None)
    if found is None or callable(found):
        return ""
    if name in ("schema", "sizes", "data_vars"):
        return ", ".join(
            f"{key}: {getattr(found[key], 'dtype', found[key])}" for key in list(found)[: frames.MAX_COLUMNS]
        )
    return str(found)


def _code(value: Any, cls: type, detail: Detail) -> Description | None:
    """Functions, classes and modules."""
    del detail  # there is one way to tell of code
    if cls is types.FunctionType:
        signature = function_signature(value)
        doc = first_doc_line(value.__doc__)
        return Description("function", "", signature, f"{signature}\n{doc}".strip(), "signature")
    if cls is types.MethodType and type(value.__func__) is types.FunctionType:
        signature = function_signature(value.__func__)
        return Description("method", "", signature, f"method {signature}", "signature")
    if is_one(cls, types.BuiltinFunctionType, types.MethodWrapperType, types.WrapperDescriptorType):
        name = str(value.__name__)
        return Description(
            "function", "", f"{name}(...)", f"{name}(...)\n{first_doc_line(value.__doc__)}", "signature"
        )
    if derives(cls, types.ModuleType):
        named = module_dict(value).get("__name__")
        name = named if type(named) is str else "?"
        return Description(
            "module",
            "",
            name,
            f"module {name}",
        )
    return _class(value) if derives(cls, type) else None


def _class(value: type) -> Description:
    name = type_name(value)
    bases = [type_name(base) for base in type.__dict__["__bases__"].__get__(value) if base is not object]
    line = f"class {name}({', '.join(bases)})" if bases else f"class {name}"
    body = class_dict(value)
    methods = [
        f"  {function_signature(body[key], LINE)}"
        for key in body
        if type(body[key]) is types.FunctionType and (key == "__init__" or not key.startswith("_"))
    ]
    parts = [line, first_doc_line(body.get("__doc__")), *methods[:40]]
    return Description("class", "", line, "\n".join(part for part in parts if part), "methods")


def _container(value: Any, cls: type, detail: Detail) -> Description | None:
    if derives(cls, dict):
        return _dict(value, type_name(cls), detail)
    if is_sequence(cls):
        if derives(cls, tuple) and type(class_dict(cls).get("_fields")) is tuple:
            fields = class_dict(cls)["_fields"]
            items = sequence_items(value, len(fields))
            return _record(cls, {str(k): v for k, v in zip(fields, items, strict=False)})
        return _sequence(value, type_name(cls), detail)
    return None


def _dict(value: Any, name: str, detail: Detail) -> Description:
    size = length(value)
    most = {"summary": 20, "schema": 100, "head": 50, "statistics": 0}[detail]
    rows = [_entry(key, held, detail) for key, held in dict_items(value, most)]
    if detail == "statistics":
        rows = _kinds([held for _, held in dict_items(value, frames.SAMPLE)])
    text = "\n".join([f"{name}: {size:,} items", *rows, *_more(size, most, "items")])
    return Description(
        name, f"{size:,} items", compact(value), text, f"{min(size, most):,} items" if most else "types"
    )


def _entry(key: Any, held: Any, detail: Detail, *, field: bool = False) -> str:
    label = one_line(key, 60) if field else compact(key, 60)
    if type(key) is str and looks_secret(key, held, nested=True):
        return f"  {label}: {WITHHELD}"
    if detail == "schema":
        return f"  {label}: {_type_line(held)}"
    return f"  {label}: {compact(held, 200)}"


def _sequence(value: Any, name: str, detail: Detail) -> Description:
    size = length(value)
    most = {"summary": 10, "schema": 0, "head": 50, "statistics": 0}[detail]
    rows = [f"  {compact(held, 200)}" for held in sequence_items(value, most)]
    if detail in ("schema", "statistics"):
        held = sequence_items(value, frames.SAMPLE)
        rows = [*_kinds(held), *(_figures(held) if detail == "statistics" else _first_item(held))]
    text = "\n".join([f"{name}: {size:,} items", *rows, *_more(size, most, "items")])
    return Description(
        name, f"{size:,} items", compact(value), text, f"{min(size, most):,} items" if most else "types"
    )


def _more(size: int, most: int, unit: str) -> list[str]:
    return [f"  ... and {size - most:,} more {unit}"] if 0 < most < size else []


def _kinds(values: list[Any]) -> list[str]:
    counts: dict[str, int] = {}
    for value in values:
        counts[type_name(type(value))] = counts.get(type_name(type(value)), 0) + 1
    return [
        f"  {count:,} {TIMES} {kind}"
        for kind, count in sorted(counts.items(), key=lambda item: -item[1])[:20]
    ]


def _first_item(values: list[Any]) -> list[str]:
    if not values or not derives(type(values[0]), dict):
        return []
    return [
        "  the first one:",
        *(f"  {_entry(key, held, 'schema')}" for key, held in dict_items(values[0], 40)),
    ]


def _figures(values: list[Any]) -> list[str]:
    numbers = [value for value in values if is_one(type(value), int, float)]
    if not numbers or "numpy" not in sys.modules:
        return []
    import numpy as np

    return [f"  numbers: {frames.number_statistics(np.array(numbers, dtype=float))}"]


def _figure(value: Any, cls: type, detail: Detail) -> Description | None:
    del detail  # an image is shown whole or not at all
    name = type_name(cls)
    if library(cls) == "matplotlib" and _is_figure(cls):
        inches = _inches(value)
        return Description(name, inches, "matplotlib figure", f"matplotlib {name} {inches}".strip(), "image")
    if _is_pillow(cls):
        size = f"{value.size[0]:,}{TIMES}{value.size[1]:,}"
        return Description(
            name, size, f"image {value.mode}", f"image: {size} pixels, mode {value.mode}", "image"
        )
    return None


def _inches(value: Any) -> str:
    width, height = value.get_size_inches()
    return f"{width:g}{TIMES}{height:g} in"


def _is_figure(cls: type) -> bool:
    figure = sys.modules.get("matplotlib.figure")
    return figure is not None and derives(cls, figure.Figure)


def _is_pillow(cls: type) -> bool:
    image = sys.modules.get("PIL.Image")
    return image is not None and library(cls) == "PIL" and derives(cls, image.Image)


def _image(value: Any) -> ImagePart | None:
    import io

    cls = type(value)
    buffer = io.BytesIO()
    if library(cls) == "matplotlib" and _is_figure(cls):
        longest = max(*value.get_size_inches(), 0.1)
        value.savefig(buffer, format="png", dpi=min(float(value.get_dpi()), MAX_PIXELS / longest))
    elif _is_pillow(cls):
        small = value.copy()
        small.thumbnail((MAX_PIXELS, MAX_PIXELS))
        keeps = small.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
        (small if keeps else small.convert("RGB")).save(buffer, format="PNG")
    else:
        return None
    return ImagePart(buffer.getvalue(), "image/png", Origin("notebook"))


def _instance(value: Any, cls: type) -> Description:
    """An instance of any other class: its attributes, with values only where they are its fields."""
    kept = attributes(value)
    if is_record(cls):
        return _record(cls, kept)
    name = type_name(cls)
    home = module_name(cls)
    rows = [f"  {one_line(key, 60)}: {_type_line(held)}" for key, held in list(kept.items())[:60]]
    line = f"attributes {', '.join(list(kept)[:8])}" if kept else ""
    head = f"{name}{f' ({home})' if home not in ('', '__main__', 'builtins') else ''} object"
    text = "\n".join([head, *rows, *_more(len(kept), 60, "attributes")])
    return Description(name, "", one_line(line, LINE), text, "")


def _record(cls: type, fields: dict[str, Any]) -> Description:
    name = type_name(cls)
    rows = [_entry(key, held, "summary", field=True) for key, held in list(fields.items())[:60]]
    line = compact_record(name, fields, LINE, 2)
    return Description(name, "", line, "\n".join([name, *rows, *_more(len(fields), 60, "fields")]), "fields")


def _type_line(value: Any) -> str:
    """Type and size of a value, not the value."""
    cls = type(value)
    name = type_name(cls)
    if derives(cls, str):
        return f"{name}, {str.__len__(value):,} characters"
    if derives(cls, dict):
        keys = ", ".join(compact(key, 30) for key, _ in dict_items(value, 8))
        return f"{name}, {length(value):,} items" + (f" ({keys})" if keys else "")
    if is_sequence(cls):
        first = sequence_items(value, 1)
        return f"{name}, {length(value):,} items" + (f" of {type_name(type(first[0]))}" if first else "")
    made = _guarded(functools.partial(_library_value, value, cls, "schema"))
    return f"{name} {made.size}".strip() if made else name


def compact(value: Any, width: int = LINE, depth: int = 3) -> str:
    """A value on one line of about `width` characters; of what is nested deep only its type."""
    single = scalar(value, width)
    if single is not None:
        return single
    cls = type(value)
    if depth == 0:
        return _type_line(value)
    if derives(cls, dict):
        rows = []
        for key, held in dict_items(value, 8):
            secret = type(key) is str and looks_secret(key, held, nested=True)
            shown = "(withheld)" if secret else compact(held, width // 2, depth - 1)
            rows.append(f"{compact(key, 40, 1)}: {shown}")
        return one_line("{" + _joined(rows, length(value)) + "}", width)
    if is_sequence(cls):
        rows = [compact(held, width // 2, depth - 1) for held in sequence_items(value, 8)]
        return one_line("[" + _joined(rows, length(value)) + "]", width)
    if is_record(cls):
        return compact_record(type_name(cls), attributes(value), width, depth)
    if derives(cls, type):
        return f"class {type_name(value)}"
    if cls is types.FunctionType:
        return f"function {function_signature(value, width)}"
    return f"<{_type_line(value)}>"


def compact_record(name: str, fields: dict[str, Any], width: int, depth: int) -> str:
    """`Name(field=value, ...)` on one line."""
    rows = []
    for key, held in list(fields.items())[:8]:
        secret = looks_secret(key, held, nested=True)
        rows.append(f"{key}={'(withheld)' if secret else compact(held, width // 2, depth - 1)}")
    return one_line(f"{name}({_joined(rows, len(fields))})", width)


def _joined(rows: list[str], size: int) -> str:
    return ", ".join([*rows, f"... {size:,} in all"] if size > len(rows) else rows)
