"""How often tools were let run: what rate limits count."""

import fnmatch
from bisect import bisect_left, insort
from collections import deque
from contextlib import suppress


class Tally:
    """The times of calls by the name of their tool. Failed calls count; refused ones do not."""

    __slots__ = ("_new", "_times")

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}
        self._new: deque[tuple[str, float]] = deque()
        """Not sorted in yet: most agents have no rule that ever counts."""

    def add(self, name: str, time: float) -> None:
        """A call was let run, at a time in seconds since the epoch."""
        self._new.append((name, time))

    def count(self, glob: str, since: float = 0.0) -> int:
        """Calls of tools whose name matches, from that time on."""
        self._sort_in()
        return sum(
            len(times) - bisect_left(times, since)
            for name, times in self._times.copy().items()
            if name == glob or fnmatch.fnmatchcase(name, glob)
        )

    def _sort_in(self) -> None:
        with suppress(IndexError):  # none is left; sessions in other threads may count at the same time
            while True:
                name, time = self._new.popleft()
                insort(self._times.setdefault(name, []), time)  # a clock may have been set back
