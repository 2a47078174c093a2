"""Fingerprints: equal for equal values, another for others, cheap for large ones, without a value's code."""

import collections
import copy
import datetime as dt
import threading

import numpy as np
import pandas as pd
import pytest

from loom_nb.capabilities.fingerprint import by_content, fingerprint


class Point:
    def __init__(self, x):
        self.x = x


class Loud:
    """Whose code must not run."""

    def __eq__(self, other):
        raise AssertionError

    __hash__ = __repr__ = __str__ = __len__ = __iter__ = __getattr__ = __eq__


class LoudList(list):
    def __iter__(self):
        raise AssertionError

    __len__ = __getitem__ = __repr__ = __iter__


def frame():
    return pd.DataFrame(
        {"a": [1, 2, None], "s": ["x", "y", "z"], "c": pd.Categorical(["a", "b", "a"]), "o": [[1], {}, None]},
        index=pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a")]),
    )


MAKERS = [
    lambda: 3,
    lambda: 3.5,
    lambda: "text",
    lambda: b"bytes",
    lambda: None,
    lambda: [1, [2, {"k": (3, {4, "5"})}]],
    lambda: collections.OrderedDict(a=1),
    lambda: frozenset(f"w{n}" for n in range(50)),
    lambda: dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    frame,
    lambda: pd.Series([1, None], dtype="Int64"),
    lambda: pd.Series(pd.date_range("2024", periods=3, tz="UTC"), name="t"),
    lambda: pd.Series(pd.period_range("2024", periods=3)),
    lambda: pd.Timestamp("2024-01-01"),
    lambda: np.arange(12).reshape(3, 4)[:, ::2],
    lambda: np.array([1, "a", None], dtype=object),
    lambda: np.float64(2.5),
    lambda: Point([1, 2]),
    lambda: {"p": Point(1), "all": [Point(2)]},
]


@pytest.mark.parametrize("make", MAKERS, ids=range(len(MAKERS)))
def test_values_made_anew_have_the_same_fingerprint_and_it_tells_of_their_content(make):
    assert fingerprint(make()) == fingerprint(make()) == fingerprint(copy.deepcopy(make()))
    assert by_content(fingerprint(make()))


def test_different_values_have_different_fingerprints():
    prints = [fingerprint(make()) for make in MAKERS]
    assert len(set(prints)) == len(prints)
    assert len({fingerprint(one) for one in (1, 1.0, True, "1", b"1", [1], (1,), {1}, {1: 1})}) == 9


def test_any_change_of_a_small_value_is_seen():
    def changed(make, change):
        value = make()
        before = fingerprint(value)
        change(value)
        return fingerprint(value) != before

    assert changed(frame, lambda df: df.__setitem__("a", [1, 2, 3]))
    assert changed(frame, lambda df: df["o"].iloc[0].append(2))
    assert changed(frame, lambda df: setattr(df, "columns", list("wxyz")))
    assert changed(lambda: [1, [2]], lambda value: value[1].append(3))
    assert changed(lambda: Point([1]), lambda point: point.x.append(2))
    assert changed(lambda: np.zeros(1_000), lambda array: array.__setitem__(777, 1))
    assert changed(lambda: {"a": 1}, lambda value: value.update(a=2))


def test_functions_and_classes_are_told_by_their_code():
    def made(text):
        names = {"__name__": "__main__"}
        exec(text, names)
        return fingerprint(names["f"])

    assert made("def f(x=1): return x + 1") == made("def f(x=1): return x + 1")
    assert made("def f(x=1): return x + 1") != made("def f(x=1): return x + 2")
    assert made("def f(x=1): return x") != made("def f(x=2): return x")
    assert made("class f:\n  def m(self): return 1") != made("class f:\n  def m(self): return 2")


def test_what_cannot_be_looked_into_is_told_by_its_identity():
    lock = threading.Lock()
    assert not by_content(fingerprint(lock))
    assert not by_content(fingerprint([lock]))
    assert fingerprint([lock]) == fingerprint([lock])
    assert fingerprint(lock) != fingerprint(threading.Lock())


def test_no_code_of_a_value_runs():
    loud = Loud()
    assert fingerprint(loud)
    assert fingerprint({"k": [loud]})
    assert by_content(fingerprint(LoudList([1, 2])))


def test_a_value_that_holds_itself_has_one_too():
    ring = [1]
    ring.append(ring)
    other = [1]
    other.append(other)
    assert fingerprint(ring) == fingerprint(other)


def test_of_a_large_value_a_part_at_regular_distances_is_looked_at():
    large = list(range(10**6))
    before = fingerprint(large)
    large[1] = "between"
    assert fingerprint(large) == before
    large[0] = "looked at"
    assert fingerprint(large) != before
    nested = [[[n] for n in range(100)] for _ in range(10**4)]
    before = fingerprint(nested)
    nested[-1][-1].append(1)
    assert fingerprint(nested) == before
    assert fingerprint(np.zeros(10**7)) != fingerprint(np.zeros(10**7 + 1))
