"""What a value is made of, read without running a line of its own code.

Every user-defined class may answer `len(x)`, `x.name`, `isinstance(x, ...)`, `repr(x)`, `x == y` and
even `x.__class__` with code. So nothing here asks the value: types are compared by identity, built-in
storage is read by the built-in's own functions, attributes come from the instance's dictionary and
its slots, and a library's class counts as known only if the loaded library itself holds that class.
"""

import datetime as dt
import decimal
import enum
import fractions
import itertools
import pathlib
import re
import sys
import types
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

TIMES = "\u00d7"
"""Between the sizes of a table."""

_MRO = type.__dict__["__mro__"]
_NAME = type.__dict__["__name__"]
_MODULE = type.__dict__["__module__"]
_CLASS_DICT = type.__dict__["__dict__"]
_MODULE_DICT = vars(types.ModuleType)["__dict__"]

_CALENDAR = (dt.datetime, dt.date, dt.time, dt.timedelta)
_STRONG = frozenset(
    {"password", "passwords", "passwd", "pwd", "passphrase", "secret", "secrets", "credential"}
)
_STRONG_PAIRS = re.compile(
    r"(?:^|_)(?:api|access|auth|bearer|client|deploy|encryption|id|private|refresh|secret|session|signing|ssh"
    r"|anthropic|aws|azure|gemini|github|gitlab|google|hf|huggingface|openai|slack|stripe)_?(?:key|token)s?(?:_|$)"
)
_WEAK = frozenset({"key", "keys", "token", "tokens", "apikey", "credentials", "auth"})
_SEQUENCES: tuple[type, ...] = (list, tuple, set, frozenset, deque)
_HISTORIES = frozenset({"In", "Out", "_ih", "_oh"})
_HISTORY = re.compile(r"In|Out|_(?:ih|oh|dh|_{0,2}|i{1,3}|i?\d+)")
_MOST_NAMES = 5_000
_RECORD_MARKS = ("__dataclass_fields__", "__attrs_attrs__", "__struct_fields__", "__pydantic_fields__")


def mro(cls: type) -> tuple[type, ...]:
    """The classes a class is made of, itself first."""
    classes: tuple[type, ...] = _MRO.__get__(cls)
    return classes


def module_dict(module: types.ModuleType) -> Mapping[str, Any]:
    """The names a module holds, whatever class of module it is."""
    held: Mapping[str, Any] = _MODULE_DICT.__get__(module)
    return held


def class_dict(cls: type) -> Mapping[str, Any]:
    """What the body of a class defined."""
    defined: Mapping[str, Any] = _CLASS_DICT.__get__(cls)
    return defined


def derives(cls: type, *bases: type) -> bool:
    """Whether a class is one of `bases` or built on one; asks neither class."""
    return any(one is base for one in mro(cls) for base in bases)


def is_one(cls: type, *others: type) -> bool:
    """Whether a class is one of `others` itself. (`in` and `==` would ask its metaclass.)"""
    return any(cls is other for other in others)


def type_name(cls: type) -> str:
    """The name of a class, on one line."""
    return " ".join(str.__str__(_NAME.__get__(cls)).split())[:80] or "?"


def module_name(cls: type) -> str:
    """The module that a class says it comes from."""
    named = _MODULE.__get__(cls)
    return named if type(named) is str else ""


def library(cls: type) -> str:
    """The top name of the loaded library that holds this very class; empty for a user's class."""
    named = module_name(cls)
    module = sys.modules.get(named)
    if module is None or named == "__main__" or not derives(type(module), types.ModuleType):
        return ""
    return named.partition(".")[0] if module_dict(module).get(type_name(cls)) is cls else ""


def instance_dict(value: Any) -> dict[str, Any]:
    """The attributes a value keeps in its dictionary; empty where it has none or hides it."""
    for cls in mro(type(value)):
        slot = class_dict(cls).get("__dict__")
        if type(slot) is types.GetSetDescriptorType or type(slot) is types.MemberDescriptorType:
            kept = slot.__get__(value)
            if type(kept) is not dict:  # a class gives a proxy, which is no dictionary of an instance
                return {}
            return {name: held for name, held in dict.items(kept) if type(name) is str}
    return {}


def attributes(value: Any) -> dict[str, Any]:
    """Public attributes by name, from the instance's dictionary and its slots."""
    found: dict[str, Any] = {}
    for cls in reversed(mro(type(value))):
        for name, slot in class_dict(cls).items():
            if type(slot) is types.MemberDescriptorType and type(name) is str and not name.startswith("_"):
                try:
                    found[name] = slot.__get__(value)
                except AttributeError:  # never set
                    continue
    found.update({name: kept for name, kept in instance_dict(value).items() if not name.startswith("_")})
    return found


def is_record(cls: type) -> bool:
    """Whether its attributes are its fields: dataclasses, attrs, msgspec, pydantic."""
    return any(mark in class_dict(one) for one in mro(cls) for mark in _RECORD_MARKS)


def looks_secret(name: str, value: Any = "", *, nested: bool = False) -> bool:
    """Whether a value must not be shown because of its name.

    Args:
        name: of the variable, key, column or attribute.
        value: what it holds; numbers called "…_tokens" and None are no secrets.
        nested: the name is a key or a column, where a plain "key" or "token" is usual data.
    """
    if (
        value is None
        or type(value) is bool
        or derives(type(value), type, types.FunctionType, types.ModuleType)
    ):
        return False
    flat = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:200]).lower().replace("-", "_").replace(" ", "_")
    words = set(re.split(r"[_\W\d]+", flat))
    if words & _STRONG or "apikey" in words or (_STRONG_PAIRS.search(flat) and not _is_number(value)):
        return True
    return not nested and bool(words & _WEAK) and not _is_number(value)


def _is_number(value: Any) -> bool:
    return is_one(type(value), int, float)


def dict_items(value: Any, most: int) -> list[tuple[Any, Any]]:
    """The first items of a dict or of a class built on it, from the dict's own storage.

    Of a notebook's namespace without what IPython keeps there of all cells: hidden ones are among them.
    """
    pairs: Iterable[tuple[Any, Any]] = dict.items(value)
    if _is_namespace(value):
        pairs = (pair for pair in pairs if type(pair[0]) is not str or not _HISTORY.fullmatch(pair[0]))
    return list(itertools.islice(pairs, most))


def is_history(value: Any, key: Any) -> bool:
    """Whether a key of a dict stands for what IPython keeps there of the cells: `In`, `_oh`, `_i3`, …"""
    return type(key) is str and _HISTORY.fullmatch(key) is not None and _is_namespace(value)


def _is_namespace(value: Any) -> bool:
    """Whether a dict is the namespace of IPython, or a copy of it."""
    some = itertools.islice(dict.items(value), _MOST_NAMES)
    held = {name: type(one) for name, one in some if type(name) is str and name in _HISTORIES}
    return {"_ih", "_oh"} <= held.keys() or (held.get("In") is list and held.get("Out") is dict)


def sequence_items(value: Any, most: int) -> list[Any]:
    """The first elements of a list, tuple, set, frozenset or deque, or of a class built on one."""
    return list(itertools.islice(_storage(value).__iter__(value), most))


def length(value: Any) -> int:
    """How many elements the built-in storage of a container holds."""
    return int(dict.__len__(value) if derives(type(value), dict) else _storage(value).__len__(value))


def is_sequence(cls: type) -> bool:
    """Whether `sequence_items` can read it."""
    return derives(cls, *_SEQUENCES)


def _storage(value: Any) -> Any:
    return next(base for base in mro(type(value)) if is_one(base, *_SEQUENCES))


def scalar(value: Any, width: int = 80) -> str | None:
    """A single value on one line of at most about `width` characters; None for what is no scalar."""
    cls = type(value)
    if value is None or value is Ellipsis or value is NotImplemented or cls is bool:
        return str(value)
    if derives(cls, enum.Enum):
        kept = instance_dict(value).get("_name_")
        return f"{type_name(cls)}.{kept}" if type(kept) is str else None
    if derives(cls, str):
        return quoted(str.__str__(value), width)
    if derives(cls, int, float, complex):
        return number(value)
    if derives(cls, bytes, bytearray):
        return _bytes(value, width)
    text = _library_scalar(value, cls)
    return None if text is None else one_line(text, width)


def quoted(text: str, width: int) -> str:
    """A string as Python writes it, its middle left out."""
    if len(text) <= width:
        return repr(text)
    half = max(4, width // 2 - 8)
    return f"{text[:half]!r} ... {text[-half:]!r} ({len(text):,} characters)"


def number(value: Any) -> str:
    """An int, float or complex, also of a class built on one."""
    if derives(type(value), int):
        bits = int.bit_length(value)
        return int.__repr__(value) if bits <= 512 else f"an integer of {bits:,} bits"
    return float.__repr__(value) if derives(type(value), float) else complex.__repr__(value)


def one_line(text: str, width: int) -> str:
    """`text` on one line, cut at its end."""
    line = " ".join(text[: width * 4].split())
    return line if len(line) <= width else f"{line[: width - 3]}..."


def _bytes(value: Any, width: int) -> str:
    base = bytes if derives(type(value), bytes) else bytearray
    size = base.__len__(value)
    if size <= width // 2:
        return repr(bytes(base.__getitem__(value, slice(0, size))))
    return f"{bytes(base.__getitem__(value, slice(0, width // 4)))!r} ... ({size:,} bytes)"


def _library_scalar(value: Any, cls: type) -> str | None:
    if is_one(cls, *_CALENDAR):
        return _moment(value)
    if is_one(cls, decimal.Decimal, fractions.Fraction, uuid.UUID, range, dt.timezone):
        return f"{value!r}" if cls is range else str(value)
    if derives(cls, pathlib.PurePath) and library(cls) == "pathlib":
        return f"{type_name(cls)}({str(value)!r})"
    if cls is re.Pattern:
        return f"re.compile({value.pattern!r})"
    match library(cls):
        case "numpy" if "numpy" in sys.modules:
            return _numpy_scalar(value)
        case "pandas" if "pandas" in sys.modules:
            return _pandas_scalar(value)
    return None


def is_known_zone(zone: Any) -> bool:
    """Whether a time zone is a library's, so that asking it runs no code of the user."""
    known = ("datetime", "zoneinfo", "dateutil", "pytz")
    return zone is None or library(type(zone)) in known or module_name(type(zone)) == "pytz.tzfile"


def _moment(value: Any) -> str:
    zone = value.tzinfo if is_one(type(value), dt.datetime, dt.time) else None
    if is_known_zone(zone):
        return str(value)
    return f"{value.replace(tzinfo=None)} (in the zone of a {type_name(type(zone))})"


def _numpy_scalar(value: Any) -> str | None:
    import numpy as np

    if not derives(type(value), np.generic):
        return None
    if value.dtype.kind in "OV":
        return f"{type_name(type(value))} of {value.dtype.itemsize} bytes"
    return str(value)


def _pandas_scalar(value: Any) -> str | None:
    import pandas as pd

    if value is pd.NA or value is pd.NaT:
        return str(value)
    if type(value) is pd.Timestamp:
        return str(value) if is_known_zone(value.tzinfo) else f"{value.asm8} UTC"
    return str(value) if is_one(type(value), pd.Timedelta, pd.Period, pd.Interval) else None


def function_signature(function: Any, width: int = 160) -> str:
    """`name(parameters) -> result` of a plain function, from its code object; defaults only where plain."""
    code = function.__code__
    annotations = function.__annotations__ if sys.version_info < (3, 14) else {}
    positional = code.co_varnames[: code.co_argcount]
    keyword = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    defaults = dict(zip(reversed(positional), reversed(function.__defaults__ or ()), strict=False))
    defaults.update(function.__kwdefaults__ or {})
    rest = iter(code.co_varnames[len(positional) + len(keyword) :])
    parts = [_parameter(name, annotations, defaults) for name in positional]
    if code.co_posonlyargcount:
        parts.insert(code.co_posonlyargcount, "/")
    if code.co_flags & 0x04:
        parts.append(f"*{next(rest)}")
    elif keyword:
        parts.append("*")
    parts += [_parameter(name, annotations, defaults) for name in keyword]
    if code.co_flags & 0x08:
        parts.append(f"**{next(rest)}")
    result = _annotation(annotations["return"]) if "return" in annotations else ""
    prefix = "async " if code.co_flags & 0x80 else ""
    text = f"{prefix}{str.__str__(function.__name__)}({', '.join(parts)}){f' -> {result}' if result else ''}"
    return one_line(text, width)


def _parameter(name: str, annotations: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    noted = _annotation(annotations[name]) if name in annotations else ""
    text = f"{name}: {noted}" if noted else name
    if name not in defaults:
        return text
    default = defaults[name]
    shown = "..." if looks_secret(name, default) else scalar(default, 30) or "..."
    return f"{text} = {shown}" if noted else f"{text}={shown}"


def _annotation(value: Any) -> str:
    """An annotation in short: names and strings, and generics of those; nothing for the rest."""
    if type(value) is str:
        return value
    if value is None:
        return "None"
    if derives(type(value), type):
        return type_name(value)
    if type(value) is types.GenericAlias:
        inner = [_annotation(one) or "..." for one in value.__args__]
        return f"{_annotation(value.__origin__)}[{', '.join(inner)}]"
    if type(value) is types.UnionType:
        return " | ".join(_annotation(one) or "..." for one in value.__args__)
    return ""


def first_doc_line(documented: Any) -> str:
    """The first line of what a docstring says; empty where there is none."""
    return (
        one_line(documented.strip().split("\n")[0], 120)
        if type(documented) is str and documented.strip()
        else ""
    )


def base_classes(cls: type) -> Iterator[str]:
    """The names of the classes a class is built on."""
    return (type_name(base) for base in mro(cls)[1:] if base is not object)
