"""The content of one value that can change in place: kept, compared, put back, without running its code."""

import collections
import contextlib
import datetime as dt
import decimal
import enum
import fractions
import operator
import pathlib
import re
import sys
import types
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from loom_nb.capabilities.anatomy import class_dict, derives, library, mro

SAMPLE = 65_536
"""Elements of a frame or array that is too large to be copied, which are looked at for a change."""

_FIXED = frozenset(
    [
        *(int, float, complex, bool, str, bytes, type(None), range, slice, type(...), type(NotImplemented)),
        *(dt.date, dt.datetime, dt.time, dt.timedelta, dt.timezone, decimal.Decimal, fractions.Fraction),
        *(
            uuid.UUID,
            re.Pattern,
            types.FunctionType,
            types.BuiltinFunctionType,
            types.ModuleType,
            types.CodeType,
        ),
        *(types.MethodType, types.GenericAlias, types.UnionType, property, staticmethod, classmethod),
    ]
)
_NOT_OPENED = frozenset(
    {"IPython", "ipykernel", "ipywidgets", "traitlets", "anywidget", "matplotlib", "loom_nb", "asyncio"}
    | {"threading", "concurrent", "logging", "multiprocessing", "subprocess", "socket", "contextvars", "zmq"}
)
"""Libraries whose objects live a life of their own: they are not looked into."""
_HEAP_TYPE = 1 << 9
_POINTER = 8


class Budget:
    """What may still be copied and looked into."""

    def __init__(self, most_bytes: int, most_objects: int) -> None:
        self._bytes = most_bytes
        self._objects = most_objects
        self.used = 0

    def take(self, size: int) -> bool:
        """Whether so many bytes may be copied; they count then."""
        if self._objects <= 0 or self.used + size > self._bytes:
            return False
        self._objects -= 1
        self.used += size
        return True

    def size_of(self, value: Any) -> int:
        """Bytes that a copy of a frame, array or container takes."""
        try:
            if _is_pandas(type(value)):
                told = value.memory_usage(deep=False)
                return int(told if isinstance(told, int) else told.sum())
            if _is_array(type(value)):
                return int(value.nbytes)
        except Exception:  # noqa: BLE001  the border to libraries: an odd frame counts as nothing
            return 0
        for base in (list, dict, set, tuple, bytearray, collections.deque):
            if derives(type(value), base):
                return int(_POINTER * (2 if base is dict else 1) * base.__len__(value))
        return sys.getsizeof(value) if is_fixed(value) else 200


class Content:
    """What a value held.

    Args:
        value: the value itself.
        size: bytes that are kept.
        children: what it leads to.
        changed: whether it holds something else now.
        restore: puts the old content back; gives the value to bind, the same wherever possible.
        before: something of the same kind with the old content, to be described.
        sampled: only looked at in samples: it can be told that it changed, not what it was.
    """

    __slots__ = ("_changed", "before", "children", "restore", "sampled", "size", "value")

    def __init__(
        self,
        value: Any,
        size: int,
        children: Sequence[Any],
        changed: Callable[[], bool],
        restore: Callable[[], Any],
        before: Callable[[], Any],
        *,
        sampled: bool = False,
    ) -> None:
        self.value = value
        self.size = size
        self.children = children
        self._changed = changed
        self.restore = restore
        self.before = before
        self.sampled = sampled

    def changed(self) -> bool:
        """Whether the value holds something else than it did; what cannot be compared counts as changed."""
        try:
            return self._changed()
        except Exception:  # noqa: BLE001  the border to libraries and values
            return True


def is_fixed(value: Any) -> bool:
    """Whether a value cannot change, or is code, which is not looked into."""
    cls = type(value)
    if cls in _FIXED:
        return True
    if derives(cls, type, enum.Enum, pathlib.PurePath):
        return True
    if "numpy" in sys.modules and derives(cls, sys.modules["numpy"].generic):
        return True
    if "pandas" in sys.modules and library(cls) == "pandas":
        return not _is_pandas(cls)
    return False


def content_of(value: Any, budget: Budget) -> Content | None:
    """The content of a value; None where it cannot be looked into, or the budget is spent."""
    cls = type(value)
    if derives(cls, tuple, frozenset):
        base = tuple if derives(cls, tuple) else frozenset
        if not budget.take(0):
            return None
        children = _opened(base.__iter__(value))
        return Content(value, 0, children, lambda: False, lambda: value, lambda: value)
    if _is_pandas(cls):
        return _pandas(value, budget)
    if _is_array(cls):
        return _array(value, budget)
    if derives(cls, list, dict, set, bytearray, collections.deque):
        return _container(value, budget)
    return _instance(value, budget)


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of a frame, series or array; None for all else."""
    if _is_pandas(type(value)) or _is_array(type(value)):
        with contextlib.suppress(Exception):  # the border to libraries
            return tuple(int(one) for one in value.shape)
    return None


def _opened(values: Iterable[Any]) -> list[Any]:
    """Those that are to be looked into."""
    return [one for one in values if type(one) not in _FIXED]


# -- containers ----------------------------------------------------------------------------------------


def _container(value: Any, budget: Budget) -> Content | None:
    base = next(one for one in _WAYS if derives(type(value), one))
    size = budget.size_of(value)
    if not budget.take(size):
        return None
    read, write = _WAYS[base]
    held = read(value)

    def restore() -> Any:
        write(value, held)
        return value

    children: list[Any] = []
    if derives(base, dict):
        children = _opened(one for pair in held for one in pair)
    elif base is not bytearray:
        children = _opened(held)
    children += list(_dictionary(value).values()) if type(value) is not base else []
    as_before = {dict: dict, collections.OrderedDict: dict, set: set, bytearray: bytearray}.get(base, list)
    return Content(
        value, size, children, lambda: not _equal_items(held, read(value)), restore, lambda: as_before(held)
    )


def _write_list(value: Any, held: list[Any]) -> None:
    list.__setitem__(value, slice(None), held)


def _write_dict(value: Any, held: list[tuple[Any, Any]]) -> None:
    dict.clear(value)
    for key, one in held:
        dict.__setitem__(value, key, one)


def _write_ordered(value: Any, held: list[tuple[Any, Any]]) -> None:
    collections.OrderedDict.clear(value)
    for key, one in held:
        collections.OrderedDict.__setitem__(value, key, one)


def _write_set(value: Any, held: list[Any]) -> None:
    set.clear(value)
    set.update(value, held)


def _write_deque(value: Any, held: list[Any]) -> None:
    collections.deque.clear(value)
    collections.deque.extend(value, held)


def _write_bytes(value: Any, held: bytes) -> None:
    bytearray.__setitem__(value, slice(None), held)


_WAYS: dict[Any, tuple[Callable[[Any], Any], Callable[[Any, Any], None]]] = {
    list: (lambda value: list(list.__iter__(value)), _write_list),
    collections.OrderedDict: (lambda value: list(collections.OrderedDict.items(value)), _write_ordered),
    dict: (lambda value: list(dict.items(value)), _write_dict),
    set: (lambda value: list(set.__iter__(value)), _write_set),
    collections.deque: (lambda value: list(collections.deque.__iter__(value)), _write_deque),
    bytearray: (bytes, _write_bytes),
}
_VALUES = frozenset({int, float, complex, bool, str, bytes})


def _equal_items(old: Any, new: Any) -> bool:
    if type(old) is bytes:
        return bool(old == new)
    if len(old) != len(new):
        return False
    if not old or type(old[0]) is not tuple:
        return all(map(operator.is_, old, new)) or all(map(_alike, old, new))
    return all(map(_alike_pair, old, new))


def _alike(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and type(one) in _VALUES and bool(one == other))


def _alike_pair(one: Any, other: Any) -> bool:
    if type(one) is tuple and type(other) is tuple and len(one) == len(other) == 2:
        return one is other or (_alike(one[0], other[0]) and _alike(one[1], other[1]))
    return _alike(one, other)


# -- objects of classes written in Python --------------------------------------------------------------


def _instance(value: Any, budget: Budget) -> Content | None:
    cls = type(value)
    if library(cls) in _NOT_OPENED or not attributes_only(cls) or not budget.take(200):
        return None
    kept, slots = _dictionary(value), _slots(cls)
    held = list(kept.items())
    in_slots = _slot_values(value, slots)

    def changed() -> bool:
        return not (
            _equal_items(held, list(_dictionary(value).items()))
            and all(map(_alike, in_slots, _slot_values(value, slots)))
        )

    def restore() -> Any:
        now = _dictionary(value)
        now.clear()
        now.update(held)
        for slot, old in zip(slots, in_slots, strict=True):
            if old is not _UNSET:
                slot.__set__(value, old)
            elif _slot_values(value, [slot]) != [_UNSET]:
                slot.__delete__(value)
        return value

    children = _opened([*(one for _, one in held), *(one for one in in_slots if one is not _UNSET)])
    return Content(value, 200 + 16 * len(held), children, changed, restore, lambda: value)


_UNSET: Any = object()


def _dictionary(value: Any) -> dict[str, Any]:
    """The dictionary of an object's attributes itself; an empty one where there is none."""
    for cls in mro(type(value)):
        slot = class_dict(cls).get("__dict__")
        if type(slot) is types.GetSetDescriptorType:
            found = slot.__get__(value)
            return found if type(found) is dict else {}
    return {}


def _slots(cls: type) -> list[types.MemberDescriptorType]:
    found = []
    for one in mro(cls):
        found += [slot for slot in class_dict(one).values() if type(slot) is types.MemberDescriptorType]
    return found


def _slot_values(value: Any, slots: list[types.MemberDescriptorType]) -> list[Any]:
    values = []
    for slot in slots:
        try:
            values.append(slot.__get__(value))
        except AttributeError:
            values.append(_UNSET)
    return values


def attributes_only(cls: type) -> bool:
    """Whether all that an object holds is in its attributes: no state of C code behind it."""
    classes = [one for one in mro(cls) if one is not object]
    if not all(type.__dict__["__flags__"].__get__(one) & _HEAP_TYPE for one in classes):
        return False
    size = type.__dict__["__basicsize__"].__get__(cls) - _POINTER * len(_slots(cls))
    return bool(size <= object.__basicsize__ + 2 * _POINTER)


# -- numpy and pandas ----------------------------------------------------------------------------------


def _is_array(cls: type) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and derives(cls, numpy.ndarray) and not derives(cls, numpy.memmap)


def _is_pandas(cls: type) -> bool:
    pandas = sys.modules.get("pandas")
    if pandas is None or not hasattr(pandas, "Series"):  # another thread may be importing it
        return False
    return derives(cls, pandas.DataFrame, pandas.Series)


def _array(value: Any, budget: Budget) -> Content | None:
    import numpy as np

    size = int(value.nbytes)
    if not budget.take(size):
        seal = _array_seal(value)
        return Content(
            value, 0, (), lambda: _array_seal(value) != seal, lambda: value, lambda: value, sampled=True
        )
    held = np.array(value, copy=True, subok=False)

    def changed() -> bool:
        if value.shape != held.shape or value.dtype != held.dtype:
            return True
        if held.dtype.hasobject:
            return not all(map(operator.is_, np.asarray(value).flat, held.flat))
        return not np.array_equal(np.asarray(value), held, equal_nan=held.dtype.kind in "fcmM")

    def restore() -> Any:
        if value.shape == held.shape and value.dtype == held.dtype and value.flags.writeable:
            np.copyto(np.asarray(value), held)
            return value
        return held.view(type(value))

    return Content(value, size, (), changed, restore, lambda: held)


def _array_seal(value: Any) -> object:
    import hashlib

    import numpy as np

    flat = np.asarray(value).reshape(-1) if value.flags.c_contiguous else np.asarray(value).flat
    step = max(1, value.size // SAMPLE)
    picked = np.ascontiguousarray(flat[::step])
    words = picked.tobytes() if not picked.dtype.hasobject else repr([id(one) for one in picked]).encode()
    return (value.shape, str(value.dtype), hashlib.blake2b(words, digest_size=16).digest())


def _pandas(value: Any, budget: Budget) -> Content | None:
    size = budget.size_of(value)
    if not budget.take(size):
        seal = _frame_seal(value)
        return Content(
            value, 0, (), lambda: _frame_seal(value) != seal, lambda: value, lambda: value, sampled=True
        )
    held = value.copy(deep=not _copies_on_write())

    def restore() -> Any:
        fresh = held.copy(deep=not _copies_on_write())
        try:
            value._update_inplace(fresh)
            if fresh.ndim == 1:
                value.name = fresh.name
        except Exception:  # noqa: BLE001  the border to pandas: where it has no such way, the name is bound anew
            return fresh
        return value

    return Content(value, size, (), lambda: not _same_frame(value, held), restore, lambda: held)


def _copies_on_write() -> bool:
    """Whether a shallow copy of a frame is a whole one as far as anybody can see."""
    import pandas as pd

    if int(pd.__version__.partition(".")[0]) >= 3:
        return True
    return getattr(pd.options.mode, "copy_on_write", False) is True


def _same_frame(value: Any, held: Any) -> bool:
    if value.shape != held.shape or list(value.index.names) != list(held.index.names):
        return False
    if value.ndim == 1 and not _alike(value.name, held.name):
        return False
    if value.ndim == 2 and list(value.columns.names) != list(held.columns.names):
        return False
    if _same_memory(value, held) and value.index.identical(held.index):
        return value.ndim == 1 or bool(value.columns.identical(held.columns))
    return bool(value.equals(held))


def _same_memory(value: Any, held: Any) -> bool:
    """Whether both show the very same arrays, so that there is nothing to compare."""
    try:
        ours, theirs = value._mgr.blocks, held._mgr.blocks
        return len(ours) == len(theirs) and all(
            one.values.__array_interface__ == other.values.__array_interface__
            and list(one.mgr_locs) == list(other.mgr_locs)
            for one, other in zip(ours, theirs, strict=True)
        )
    except Exception:  # noqa: BLE001  the border to pandas: then they are compared
        return False


def _frame_seal(value: Any) -> object:
    import hashlib

    from pandas.util import hash_pandas_object

    part = value.iloc[
        :: max(1, len(value) // max(1, SAMPLE // max(1, value.shape[-1] if value.ndim == 2 else 1)))
    ]
    labels = list(map(str, value.columns)) if value.ndim == 2 else [str(value.name)]
    columns = [part.iloc[:, n] for n in range(part.shape[1])] if part.ndim == 2 else [part]
    seals = []
    for column in columns:
        try:
            numbers = hash_pandas_object(column, index=True).to_numpy().tobytes()
        except TypeError:  # it holds lists or the like
            numbers = repr([id(one) for one in column]).encode()
        seals.append(hashlib.blake2b(numbers, digest_size=16).digest())
    return (value.shape, labels, seals)
