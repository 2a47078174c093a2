"""What a namespace held is kept, told and put back, without running the code of its values."""

import collections
import sqlite3
import types
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from loom_nb.capabilities.snapshots import Rollback, Snapshot, in_words
from loom_nb.errors import LoomUsageError


def frame():
    return pd.DataFrame({"a": [1.0, 2.0, None], "tmp": ["x", "y", "z"]})


def step(namespace, code, **options):
    snapshot = Snapshot(namespace, **options)
    exec(code, {"pd": pd, "np": np}, namespace)
    return snapshot.compare(namespace)


def rows(told):
    return {row.name: row for row in told.changes}


def test_a_frame_that_is_replaced_is_told_by_its_shape_and_columns():
    told = rows(step({"df": frame()}, "df = df.dropna().drop(columns='tmp').assign(clean=1)"))["df"]

    assert told.change == "changed"
    assert told.before == "DataFrame 3×2"
    assert told.after == "DataFrame 2×2; columns: -tmp, +clean; rows: -1"


@pytest.mark.parametrize(
    "code",
    [
        "df.iloc[0, 0] = 9.0",
        "df['new'] = 1",
        "del df['tmp']",
        "df.columns = ['b', 'tmp']",
        "df.index.name = 'row'",
        "df.loc[7] = [1.0, 'w']",
        "df['tmp'] = df['tmp'].str.upper()",
        "df.insert(0, 'first', 1)",
    ],
)
def test_a_frame_changed_in_place_is_seen_and_put_back_as_the_same_object(code):
    df = frame()
    namespace = {"df": df, "other": df}

    taken = step(namespace, code)
    event = taken.undo(namespace)

    assert taken.names == ("df", "other")
    assert namespace["df"] is df and namespace["other"] is df
    pd.testing.assert_frame_equal(df, frame())
    assert df.index.name is None
    assert event.rolled_back and event.cannot_restore == ()


def test_a_series_and_its_name_are_put_back():
    series = pd.Series([1.0, 2.0], name="price")
    namespace = {"s": series}

    step(namespace, "s.iloc[0] = 5.0; s.name = 'cost'").undo(namespace)

    assert namespace["s"] is series and series.tolist() == [1.0, 2.0] and series.name == "price"


def test_arrays_are_put_back_in_place_and_anew_where_their_shape_changed():
    array, grown = np.arange(4.0), np.arange(4)
    namespace = {"a": array, "g": grown}

    taken = step(namespace, "a[:] = np.nan; g.resize((2, 2), refcheck=False); g[0, 0] = 9")
    taken.undo(namespace)

    assert namespace["a"] is array and array.tolist() == [0, 1, 2, 3]
    assert namespace["g"].tolist() == [0, 1, 2, 3]


def test_an_array_with_missing_numbers_that_nobody_touched_has_not_changed():
    assert step({"a": np.array([np.nan, 1.0])}, "pass").names == ()


def test_containers_keep_their_identity_and_aliases_when_they_are_put_back():
    inner = [1, 2]
    namespace = {
        "outer": {"k": inner},
        "inner": inner,
        "names": {"x", "y"},
        "queue": collections.deque([1]),
        "raw": bytearray(b"ab"),
        "ordered": collections.OrderedDict(a=1, b=2),
    }
    before = dict(namespace)

    taken = step(
        namespace,
        "inner.append(3); outer['z'] = 1; names.discard('x'); queue.append(2); raw[0] = 0; ordered.move_to_end('a')",
    )
    taken.undo(namespace)

    assert set(taken.names) == set(before)
    assert all(namespace[name] is value for name, value in before.items())
    assert namespace["outer"] == {"k": [1, 2]} and namespace["outer"]["k"] is inner
    assert namespace["names"] == {"x", "y"}
    assert list(namespace["queue"]) == [1] and namespace["raw"] == b"ab"
    assert list(namespace["ordered"]) == ["a", "b"]


def test_a_cycle_is_walked_once():
    ring = [1]
    ring.append(ring)
    namespace = {"ring": ring}

    step(namespace, "ring.insert(0, 0)").undo(namespace)

    assert ring[0] == 1 and ring[1] is ring


@dataclass
class Config:
    rate: float
    steps: list


class Slotted:
    __slots__ = ("left", "right")


def test_attributes_of_objects_are_put_back():
    config, slotted = Config(0.1, [1]), Slotted()
    slotted.left = 1
    namespace = {"config": config, "slotted": slotted}

    taken = step(
        namespace,
        "config.rate = 9; config.steps.append(2); config.extra = 1; slotted.left = 2; slotted.right = 3",
    )
    taken.undo(namespace)

    assert vars(config) == {"rate": 0.1, "steps": [1]}
    assert slotted.left == 1 and not hasattr(slotted, "right")


class Sly:
    def __eq__(self, other):
        raise AssertionError("asked")

    def __repr__(self):
        raise AssertionError("asked")

    __hash__ = None

    def __deepcopy__(self, memo):
        raise AssertionError("asked")


def test_no_code_of_a_value_runs():
    namespace = {"sly": Sly(), "many": [Sly(), Sly()]}

    taken = step(namespace, "many.pop(); sly.x = 1")

    assert set(taken.names) == {"many", "sly"}
    assert "sly" in in_words(taken)


def test_added_and_deleted_names_go_and_come_back():
    namespace = {"gone": 1}

    taken = step(namespace, "del gone; new = [1]; import math")
    assert {name: row.change for name, row in rows(taken).items()} == {
        "gone": "deleted",
        "new": "added",
        "math": "added",
    }
    taken.undo(namespace)

    assert namespace == {"gone": 1}


def test_the_names_of_ipython_and_hidden_ones_are_no_variables():
    hidden = types.ModuleType("tool")
    namespace = {"tool": hidden, "_": 1, "_i3": "x", "__name__": "__main__", "In": [], "_mine": 1}

    taken = step(namespace, "_ = 2; _i3 = 'y'; In = [1]; _mine = 2", hidden={"tool": hidden})

    assert taken.names == ("_mine",)


def test_what_cannot_be_looked_into_is_named_where_the_code_could_reach_it():
    namespace = {"db": sqlite3.connect(":memory:"), "other": iter([1])}
    try:
        assert set(Snapshot(namespace).compare(namespace).cannot_restore) == {"db", "other"}
        assert Snapshot(namespace).compare(namespace, {"db"}).cannot_restore == ("db",)
        assert Snapshot(namespace).compare(namespace, ()).cannot_restore == ()
    finally:
        namespace["db"].close()


def test_what_is_too_large_to_be_copied_is_seen_to_change_and_said_to_be_lost():
    namespace = {"df": frame(), "a": np.zeros(1000)}

    taken = step(namespace, "df.iloc[0, 0] = 5.0; a[0] = 1", most_bytes=10)

    assert taken.names == ("df", "a")
    assert taken.cannot_restore == ("df", "a")
    assert taken.undo(namespace).cannot_restore == ("df", "a")
    assert namespace["a"][0] == 1


def test_a_secret_is_not_told():
    taken = step({"api_key": "sk-old"}, "api_key = 'sk-new'; password = 'hunter2'")

    assert "sk-" not in in_words(taken) and "hunter2" not in in_words(taken)
    assert "api_key" in in_words(taken)


class Names(dict):
    """A namespace with a Rollback over it."""

    def __init__(self, **names):
        super().__init__(names)
        self.rollback = Rollback(lambda: self)

    def do(self, call_id, code):
        self.rollback.add(call_id, step(self, code))


def test_the_last_step_is_undone_by_default_and_earlier_ones_take_later_ones_with_them():
    names = Names(x=1, y=[1])
    names.do("a", "x = 2")
    names.do("b", "x = 3; y.append(2)")
    names.do("c", "x = 4")

    assert names.rollback.undo().call_id == "c"
    assert names["x"] == 3
    event = names.rollback.undo("a")

    assert event.call_id == "a" and event.rolled_back
    assert [(row.name, row.before, row.after) for row in event.changes] == [
        ("x", "3", "1"),
        ("y", "[1, 2]", "[1]"),
    ]
    assert names == {"x": 1, "y": [1]}
    assert names.rollback.calls == ()


def test_what_the_reader_bound_anew_since_then_is_left_alone():
    names = Names(x=1, y=1)
    names.do("a", "x = 2; y = 2; z = 2")
    names["x"] = "mine"

    event = names.rollback.undo()

    assert names == {"x": "mine", "y": 1}
    assert event.cannot_restore == ("x",)


def test_keeping_forgets_the_way_back():
    names = Names(x=1)
    names.do("a", "x = 2")
    names.rollback.keep()

    with pytest.raises(LoomUsageError, match="nothing to roll back"):
        names.rollback.undo()


def test_a_call_that_is_not_kept_is_named_with_those_that_are():
    names = Names(x=1)
    names.do("a", "x = 2")

    with pytest.raises(LoomUsageError) as raised:
        names.rollback.undo("z")

    assert raised.value.fixes == ("one of a",)


def test_only_the_last_steps_are_kept_and_not_more_than_fits():
    names = Names(x=0, a=np.zeros(1000))
    for n in range(8):
        names.do(f"c{n}", f"x = {n + 1}")
    assert names.rollback.calls == ("c3", "c4", "c5", "c6", "c7")

    small = Rollback(lambda: names, most_bytes=100)
    assert small.add("large", step(names, "a[0] = 1")) is False
    assert small.calls == ()


def test_nothing_is_put_back_while_code_still_runs():
    names = Names(x=1)
    names.do("a", "x = 2")
    names.rollback.unfinished = lambda: True

    with pytest.raises(LoomUsageError, match="still runs"):
        names.rollback.undo()
