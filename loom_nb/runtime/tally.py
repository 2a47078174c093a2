"""How often tools were let run: what rate limits count."""

import fnmatch
from bisect import bisect_left, insort

import msgspec


class Tally(msgspec.Struct, eq=False, gc=False):
    """The times of calls by the name of their tool. Failed calls count; refused ones do not."""

    _times: dict[str, list[float]] = {}

    def add(self, name: str, time: float) -> None:
        """A call was let run, at a time in seconds since the epoch."""
        times = self._times.get(name)
        if times is None:
            times = self._times.setdefault(name, [])  # sessions in other threads may add at the same time
        insort(times, time)  # a clock may have been set back

    def count(self, glob: str, since: float = 0.0) -> int:
        """Calls of tools whose name matches, from that time on."""
        return sum(
            len(times) - bisect_left(times, since)
            for name, times in self._times.copy().items()
            if name == glob or fnmatch.fnmatchcase(name, glob)
        )
