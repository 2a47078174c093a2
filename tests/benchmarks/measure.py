"""CPU time of pieces of work that take turns in the same run.

What a piece of work returns is let go of when its clock has stopped. So a work that returns all that it
made is measured without the freeing of it, and one that keeps more than another does not look faster:
a conversation, its log and its results are there to be kept, and when they go is up to who has them.
"""

import gc
import os
import statistics
import time
from collections.abc import Callable

ROUNDS = int(os.environ.get("LOOM_NB_ROUNDS", "7"))


def interleaved(*works: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """CPU seconds of each piece of work: the median of rounds in which all of them take turns."""
    times: list[list[float]] = [[] for _ in works]
    for work in works:
        work()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for kept, work in zip(times, works, strict=True):
                start = time.process_time()
                made = work()
                kept.append(time.process_time() - start)
                del made
    finally:
        gc.enable()
    return [statistics.median(kept) for kept in times]
