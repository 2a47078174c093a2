"""A clock that stands still until told otherwise: waiting costs no time and is remembered."""


class ManualClock:
    """A `Clock` whose `sleep` returns at once and moves it forward."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._time = start
        self.slept: list[float] = []
        """Every wait that was asked for, in seconds."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._time

    def monotonic(self) -> float:
        """The same, as a clock that never runs backwards."""
        return self._time

    async def sleep(self, seconds: float) -> None:
        """Move forward."""
        self.slept.append(seconds)
        self._time += seconds
