"""The newest marks are found from the end of the file, whatever order the times came in."""

import random
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_nb.stores.timeline import Mark, Timeline


def timeline(folder: Path, *, moving: bool = False, known: tuple[Mark, ...] = ()) -> Timeline:
    return Timeline(folder / "x.index", nullcontext, lambda: known, moving=moving)


def expected(marks: list[Mark], limit: int | None, *, moving: bool) -> list[Mark]:
    last = {mark.name if moving else (mark.name, mark.seq): mark for mark in marks}
    ordered = sorted(last.values(), key=lambda mark: (mark.time, mark.name, mark.seq), reverse=True)
    if limit is None or len(ordered) <= limit:
        return ordered
    return [mark for mark in ordered if mark.time >= ordered[limit - 1].time] if limit else []


@pytest.mark.parametrize("moving", [False, True])
@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=60),
    limit=st.one_of(st.none(), st.integers(0, 20)),
)
def test_the_newest_are_those_that_a_sort_of_all_would_give(
    tmp_path_factory: pytest.TempPathFactory,
    moving: bool,
    steps: list[tuple[int, int]],
    limit: int | None,
) -> None:
    line = timeline(tmp_path_factory.mktemp("t"), moving=moving)
    marks = [Mark(float(time), f"n{name}", seq, seq * 10) for seq, (time, name) in enumerate(steps)]
    for mark in marks:
        line.add([mark], durable=False)

    assert line.newest(limit) == expected(marks, limit, moving=moving)
    until = [mark for mark in expected(marks, None, moving=moving) if mark.time <= 15]
    assert line.newest(None, until=15.0) == until


@pytest.mark.parametrize("moving", [False, True])
def test_they_stay_so_when_thousands_came_out_of_order(tmp_path: Path, moving: bool) -> None:
    chance = random.Random(1)
    line = timeline(tmp_path, moving=moving)
    marks = [
        Mark(float(n) if n != 100 else 1e9, f"n{chance.randrange(700)}", n, n) for n in range(3500)
    ]  # one from a clock that was far ahead
    for at in range(0, len(marks), 5):
        line.add(marks[at : at + 5], durable=False)

    for limit in (1, 10, 1000):
        assert line.newest(limit) == expected(marks, limit, moving=moving)
    assert line.newest() == expected(marks, None, moving=moving)


def test_a_file_that_is_missing_is_made_from_the_survey(tmp_path: Path) -> None:
    known = (Mark(2.0, "b", 1, 10), Mark(1.0, "a", 1, 10))

    assert timeline(tmp_path, known=known).newest(5) == list(known)


def test_marks_are_written_over_a_torn_record(tmp_path: Path) -> None:
    line = timeline(tmp_path)
    line.add([Mark(1.0, "a", 1, 10)], durable=True)
    with (tmp_path / "x.index").open("ab") as file:
        file.write(b"torn")

    assert line.newest(5) == [Mark(1.0, "a", 1, 10)]
    line.add([Mark(2.0, "b", 1, 10)], durable=True)
    assert line.newest(5) == [Mark(2.0, "b", 1, 10), Mark(1.0, "a", 1, 10)]
