"""What a person writes into a setting, looked at when the setting is made.

    @dataclass(frozen=True, slots=True)
    class Patience:
        tries: int = 3

        def __post_init__(self) -> None:
            check(self, _WANTED)

    _WANTED = {"tries": whole(1, such_as="3")}

A wrong type or a number out of range is a `LoomUsageError` that names the field, says what it takes and
what to type instead. What means the same in another spelling is written down in the field's own: a lone
text where several may stand, a list for a tuple, a number of numpy's.
"""

import math
import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loom_nb.errors import LoomUsageError

MOST_SHOWN = 40
"""Characters of a wrong value that a message holds."""
_LARGE = 10**30
_PLAIN = frozenset({str, int, float, bool, bytes})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one field takes."""

    words: str
    """Behind "temperature is": "a number from 0 to 2"."""
    such_as: str
    """A value that fits, as it is typed."""
    take: Callable[[Any], Any]
    """Gives the value as the field keeps it, or raises TypeError or ValueError."""


def check(setting: object, wanted: Mapping[str, Wanted], *, called: str = "") -> None:
    """Look at the fields of a frozen value, and keep each in its own spelling.

    Args:
        setting: the value that is being made.
        wanted: what its fields take, by name.
        called: what a person types to make one; the name of its class by default.

    Raises:
        LoomUsageError: a field has a value that it does not take.
    """
    for name, one in wanted.items():
        given = getattr(setting, name)
        kept = checked(called or type(setting).__name__, name, given, one)
        if kept is not given:
            object.__setattr__(setting, name, kept)


def checked(owner: str, name: str, given: object, wanted: Wanted) -> Any:
    """One value as its field keeps it.

    Raises:
        LoomUsageError: the field does not take it.
    """
    try:
        return wanted.take(given)
    except (TypeError, ValueError, OverflowError):
        raise LoomUsageError(
            f"{owner}({name}={shown(given)})",
            cause=f"{name} is {wanted.words}",
            fixes=[f"{owner}({name}={wanted.such_as})"],
        ) from None


def shown(value: object) -> str:
    """A value as it was typed, where it is short and plain; else its type."""
    if isinstance(value, type):
        return value.__name__
    inside = value if isinstance(value, list | tuple) else (value,)
    if not all(type(one) in _PLAIN or one is None for one in inside):
        return (
            f"<{type(value).__name__}>"  # what a repr of somebody else's says, and whether it fails: unknown
        )
    if any(type(one) is int and abs(one) > _LARGE for one in inside):
        return "a number of that size"
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


# -- what fields take --------------------------------------------------------------------------------


def whole(least: int | None = 1, most: int | None = None, *, optional: bool = False, such_as: str) -> Wanted:
    """A whole number. True is none, and 2.0 is none either."""

    def take(value: Any) -> Any:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
        _within(number, least, most)
        return number

    return _maybe(f"a whole number{_range(least, most)}", such_as, take, optional)


def number(
    least: float | None = 0,
    most: float | None = None,
    *,
    above: float | None = None,
    optional: bool = False,
    endless: bool = False,
    unit: str = "a number",
    such_as: str,
) -> Wanted:
    """A number.

    Args:
        least: the smallest that fits, unless `above` is given.
        most: the largest.
        above: it has to be more than this.
        optional: None fits, too.
        endless: infinity fits, too.
        unit: what it counts, such as "a number of seconds".
        such_as: one that fits.
    """
    low = None if above is not None else least

    def take(value: Any) -> Any:
        if isinstance(value, bool | str | bytes | bytearray):
            raise TypeError
        plain = value if type(value) in (int, float) else float(value)
        if math.isnan(plain) or (math.isinf(plain) and not endless):
            raise ValueError
        _within(plain, low, most)
        if above is not None and not plain > above:
            raise ValueError
        return plain

    over = f" over {above:g}" if above is not None else ""
    up_to = f" and at most {most:g}" if over and most is not None else ""
    return _maybe(f"{unit}{over}{up_to}" if over else f"{unit}{_range(low, most)}", such_as, take, optional)


def flag(*, optional: bool = False) -> Wanted:
    """True or False."""

    def take(value: Any) -> Any:
        if not isinstance(value, bool):
            raise TypeError
        return value

    return _maybe("True or False", "True", take, optional)


def text(*, filled: bool = False, optional: bool = False, such_as: str = '"…"') -> Wanted:
    """A text, with at least one character that is no space where it has to be filled."""

    def take(value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError
        if filled and not value.strip():
            raise ValueError
        return value

    return _maybe("a text that is not empty" if filled else "a text", such_as, take, optional)


def texts(*, alone: bool = False, most: int | None = None, such_as: str) -> Wanted:
    """Several texts, none of them empty; kept as a tuple.

    Args:
        alone: a lone text stands for one of several; else it is refused, as its letters are not meant.
        most: so many at most.
        such_as: some that fit.
    """

    def take(value: Any) -> Any:
        if isinstance(value, str) and alone:
            value = (value,)
        if isinstance(value, str | bytes | Mapping):
            raise TypeError
        several = value if type(value) is tuple else tuple(value)
        if not all(isinstance(one, str) and one for one in several):
            raise TypeError
        if most is not None and len(several) > most:
            raise ValueError
        return several

    words = "a list of texts" if most is None else f"a list of texts, {most} at most"
    return Wanted(words, such_as, take)


def one_of(*known: str, optional: bool = False) -> Wanted:
    """One of these words."""

    def take(value: Any) -> Any:
        if not isinstance(value, str) or value not in known:
            raise ValueError
        return value

    words = ", ".join(map(repr, known[:-1])) + f" or {known[-1]!r}"
    return _maybe(words, repr(known[-1]), take, optional)


def some_of(*known: str, such_as: str) -> Wanted:
    """Any of these words, each once; a lone one stands for itself. Kept as a frozenset."""

    def take(value: Any) -> Any:
        chosen = (
            value if type(value) is frozenset else frozenset((value,) if isinstance(value, str) else value)
        )
        if not chosen <= {*known}:
            raise ValueError
        return chosen

    return Wanted(f"some of {', '.join(known)}", such_as, take)


def mapping(*, such_as: str = '{"name": value}') -> Wanted:
    """Values by name."""

    def take(value: Any) -> Any:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise TypeError
        return value

    return Wanted("a dict whose keys are texts", such_as, take)


def several(kind: type | tuple[type, ...], words: str, *, such_as: str) -> Wanted:
    """Several values of one type; kept as a tuple."""

    def take(value: Any) -> Any:
        many = value if type(value) is tuple else tuple(value)
        if not all(isinstance(one, kind) for one in many):
            raise TypeError
        return many

    return Wanted(words, such_as, take)


def a(kind: type | tuple[type, ...], words: str, *, optional: bool = False, such_as: str) -> Wanted:
    """A value of a type."""

    def take(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError
        return value

    return _maybe(words, such_as, take, optional)


def function(of: str, *, optional: bool = False, such_as: str) -> Wanted:
    """Something that can be called."""

    def take(value: Any) -> Any:
        if not callable(value):
            raise TypeError
        return value

    return _maybe(f"a function of {of}", such_as, take, optional)


def path_of(what: str = "a folder", *, optional: bool = False, such_as: str) -> Wanted:
    """A path, of what need not be there; kept as a text."""

    def take(value: Any) -> Any:
        path = os.fspath(value)
        if not isinstance(path, str) or not path.strip():
            raise ValueError
        return path

    return _maybe(f"the path of {what}", such_as, take, optional)


def _maybe(words: str, such_as: str, take: Callable[[Any], Any], optional: bool) -> Wanted:
    if not optional:
        return Wanted(words, such_as, take)
    return Wanted(f"{words}, or None", such_as, lambda value: None if value is None else take(value))


def _within(value: float, least: float | None, most: float | None) -> None:
    if (least is not None and value < least) or (most is not None and value > most):
        raise ValueError


def _range(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {least:,g} to {most:,g}"
    return f" from {least:,g} on" if least is not None else f" up to {most:,g}" if most is not None else ""
