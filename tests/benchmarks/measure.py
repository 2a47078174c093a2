"""CPU time of pieces of work that take turns in the same run."""

import gc
import statistics
import time
from collections.abc import Callable


def interleaved(*works: Callable[[], object], rounds: int = 7) -> list[float]:
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
                work()
                kept.append(time.process_time() - start)
    finally:
        gc.enable()
    return [statistics.median(kept) for kept in times]
