"""A short text that is equal for equal values, made at a bounded cost and without running their code."""

import contextlib
import hashlib
import itertools
import types
from collections import deque
from collections.abc import Iterable
from typing import Any

from loom_nb.capabilities.anatomy import (
    class_dict,
    derives,
    instance_dict,
    library,
    module_dict,
    mro,
    type_name,
)
from loom_nb.capabilities.contents import attributes_only

MOST_VALUES = 2_000
"""Elements and attributes that are looked at, of one value and all that it holds."""
MOST_CELLS = 8_000
"""Cells of a frame or array that are looked at: of a larger one, those at regular distances."""
MOST_TEXT = 1_000_000
"""Characters of a text that are looked at: of a longer one, its ends."""
MOST_ALONE = 500
"""Members of a set that are looked at: of a larger one, only how many there are."""
DEEPEST = 12

_SCALARS = (int, float, complex, bool, type(None), type(...), range, slice)
_HEAP_TYPE = 1 << 9


def fingerprint(value: Any) -> str:
    """``=…`` where the content decides, ``@…`` where the identity has to: what cannot be looked into.

    Equal contents give equal texts. Two contents that differ give texts that differ, unless they only
    differ where a large value is not looked at. Never raises.
    """
    seal = _Seal()
    try:
        seal.add(value, 0)
    except Exception:  # noqa: BLE001  the border to values and libraries: then only its identity is known
        return f"@{type_name(type(value))}:{id(value):x}"
    return ("@" if seal.opaque else "=") + seal.digest()


def by_content(one: str) -> bool:
    """Whether a fingerprint tells of the content, and not of the identity."""
    return one.startswith("=")


class _Seal:
    """What has been looked at so far."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=12)
        self._left = MOST_VALUES
        self._seen: dict[int, tuple[int, Any]] = {}
        """By identity, with the value: so that no other one gets its identity meanwhile."""
        self.opaque = False

    def digest(self) -> str:
        return self._hash.hexdigest()

    def add(self, value: Any, depth: int) -> None:
        self._left -= 1
        cls = type(value)
        self._say(f"{cls.__module__}.{type_name(cls)}")
        if derives(cls, str, bytes):
            self._text(value if type(value) in (str, bytes) else (str if derives(cls, str) else bytes)(value))
        elif cls in _SCALARS:
            self._say(repr(value))
        elif self._left <= 0 or depth >= DEEPEST:
            self._say("…")
        elif id(value) in self._seen:
            self._say(f"again {self._seen[id(value)][0]}")
        else:
            self._seen[id(value)] = (len(self._seen), value)
            self._open(value, cls, depth)

    def _open(self, value: Any, cls: type, depth: int) -> None:
        for look in (self._table, self._container, self._code):
            if look(value, cls, depth):
                return
        self._instance(value, cls, depth)

    def _say(self, word: str) -> None:
        self._hash.update(word.encode("utf-8", "surrogatepass") + b"\0")

    def _text(self, text: str | bytes) -> None:
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        self._say(f"{len(data)}")
        half = MOST_TEXT // 2
        self._hash.update(data if len(data) <= MOST_TEXT else data[:half] + data[-half:])

    def _all(self, values: Iterable[Any], depth: int) -> None:
        for value in values:
            if self._left <= 0:
                self._say("…")
                return
            self.add(value, depth + 1)

    # -- containers and code ---------------------------------------------------------------------------

    def _container(self, value: Any, cls: type, depth: int) -> bool:
        for base in (dict, list, tuple, deque, set, frozenset, bytearray):
            if derives(cls, base):
                break
        else:
            return False
        size = int(base.__len__(value))
        self._say(f"{base.__name__} {size}")
        if base is bytearray:
            self._text(bytes(value))
        elif base is dict:
            self._all((one for pair in _spread(dict.items(value), size) for one in pair), depth)
        elif base in (set, frozenset):
            self._unordered(base.__iter__(value), size)
        else:
            some: Iterable[Any] = base.__iter__(value)
            if base is list or base is tuple:
                some = base.__getitem__(value, slice(None, None, _step(size)))
            elif size > MOST_VALUES:
                some = _spread(some, size)
            self._all(some, depth)
        if cls is not base:
            self._attributes(value, depth)
        return True

    def _unordered(self, values: Iterable[Any], size: int) -> None:
        """The order of a set is no property of its content; which of a large one come first is."""
        if size > MOST_ALONE:
            return
        alone = sorted(fingerprint(one) for one in values)
        self._left -= size
        self.opaque = self.opaque or any(not by_content(one) for one in alone)
        self._say(" ".join(alone))

    def _code(self, value: Any, cls: type, depth: int) -> bool:
        if cls is types.FunctionType:
            self._program(value.__code__, depth)
            self._all([value.__defaults__, value.__kwdefaults__], depth)
            self._all([cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)], depth)
        elif derives(cls, types.ModuleType):
            self._say(str(module_dict(value).get("__name__")))
        elif derives(cls, type):
            self._say(f"class {value.__module__}.{type_name(value)}")
            if type.__dict__["__flags__"].__get__(value) & _HEAP_TYPE and value.__module__ == "__main__":
                own = class_dict(value)
                self._all([own[name] for name in sorted(own) if type(own[name]) is types.FunctionType], depth)
        else:
            return False
        return True

    def _program(self, code: types.CodeType, depth: int) -> None:
        self._say(code.co_name)
        self._hash.update(code.co_code)
        self._say(" ".join((*code.co_names, *code.co_varnames)))
        for constant in code.co_consts:
            if type(constant) is types.CodeType:
                self._program(constant, depth)
            else:
                self.add(constant, depth + 1)

    # -- objects ---------------------------------------------------------------------------------------

    def _instance(self, value: Any, cls: type, depth: int) -> None:
        classes = [one for one in mro(cls) if one is not object]
        if library(cls) in ("pathlib", "datetime", "decimal", "fractions", "uuid", "zoneinfo"):
            self._say(repr(value))
        elif attributes_only(cls) and not any("__slots__" in class_dict(one) for one in classes):
            self._attributes(value, depth)
        else:
            self.opaque = True
            self._say(f"{id(value):x}")

    def _attributes(self, value: Any, depth: int) -> None:
        held = instance_dict(value)
        self._all((one for name in sorted(held) for one in (name, held[name])), depth)

    # -- tables ----------------------------------------------------------------------------------------

    def _table(self, value: Any, cls: type, depth: int) -> bool:
        whose = {library(one) for one in mro(cls)}
        if "pandas" in whose:
            return self._pandas(value, cls, depth)
        if "numpy" in whose:
            import numpy as np

            if derives(cls, np.ndarray):
                self._array(np.ndarray.view(value, np.ndarray), depth)
            else:
                self._say(repr(value) if derives(cls, np.generic, np.dtype) else f"{id(value):x}")
                self.opaque = self.opaque or not derives(cls, np.generic, np.dtype)
            return True
        return False

    def _array(self, array: Any, depth: int) -> None:
        self._say(f"{array.shape} {array.dtype}")
        flat = array.reshape(-1) if array.flags.c_contiguous or array.size <= MOST_CELLS else array.flat
        picked = flat[:: max(1, array.size // MOST_CELLS)]
        if picked.dtype.hasobject:
            self._all(_spread(picked, len(picked)), depth)
        else:
            self._hash.update(picked.tobytes())

    def _pandas(self, value: Any, cls: type, depth: int) -> bool:
        import pandas as pd

        if derives(cls, pd.DataFrame):
            self._say(f"{value.shape}")
            self._column(value.columns, MOST_VALUES, depth)
            most = max(8, MOST_CELLS // max(1, value.shape[1]))
            self._column(value.index, most, depth)
            for number in range(min(value.shape[1], MOST_VALUES)):
                self._column(value.iloc[:, number], most, depth)
        elif derives(cls, pd.Series):
            self._say(f"{value.shape} {value.name!s:.200}")
            self._column(value.index, MOST_CELLS, depth)
            self._column(value, MOST_CELLS, depth)
        elif derives(cls, pd.Index):
            self._column(value, MOST_CELLS, depth)
        else:
            self._say(repr(value) if library(cls) == "pandas" else "?")
        return True

    def _column(self, column: Any, most: int, depth: int) -> None:
        """A column or index; its values by the library where they are not objects of somebody."""
        import pandas as pd

        self._say(f"{len(column)} {column.dtype}")
        if isinstance(column, pd.RangeIndex):
            self._say(f"{column.start} {column.step} {column.name!s:.200}")
            return
        step = max(1, len(column) // most)
        part = column[::step] if isinstance(column, pd.Index) else column.iloc[::step]
        if isinstance(part, pd.MultiIndex):
            for level in range(part.nlevels):
                self._column(part.get_level_values(level), most, depth)
        elif type_name(type(column.dtype)) == "ObjectDType":
            self._objects(list(part.to_numpy()), depth)
        else:
            part = part.to_series() if isinstance(part, pd.Index) else part
            self._hash.update(pd.util.hash_pandas_object(part, index=False).to_numpy().tobytes())

    def _objects(self, values: list[Any], depth: int) -> None:
        """Objects of a column: texts, of which there may be many, at once."""
        if all(type(one) is str for one in values):
            self._text("\0".join(values))
        else:
            self._all(_spread(values, len(values)), depth)


def _spread(values: Iterable[Any], size: int) -> Iterable[Any]:
    """All of them, or as many at regular distances."""
    return itertools.islice(values, 0, None, min(100, _step(size)))


def _step(size: int) -> int:
    return -(-size // (MOST_VALUES // 2)) or 1


def _is_filled(cell: types.CellType) -> bool:
    with contextlib.suppress(ValueError):
        return cell.cell_contents is not None
    return False
