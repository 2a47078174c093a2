"""What a piece of work costs, counted in calls and bytes: the same on a fast, a slow and a busy machine."""

import statistics
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any


def calls(work: Callable[[], Any]) -> int:
    """How many functions, of Python's and of C's, are called by `work`."""
    count = 0

    def tick(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(tick)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def taken(work: Callable[[], Any]) -> int:
    """The most bytes that `work` holds at once beyond what was held before."""
    mine = not tracemalloc.is_tracing()
    if mine:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        if mine:
            tracemalloc.stop()
    return peak - before


def each(count: int, work: Callable[[], Any], measure: Callable[[Callable[[], Any]], int]) -> float:
    """What one of many usually costs: the median, as a list that grows is copied now and then."""
    return statistics.median(measure(work) for _ in range(count))
