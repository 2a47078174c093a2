"""Preflight: which requests are asked about before they are sent."""

from dataclasses import dataclass

from loom_nb.checks import check, flag, number, whole
from loom_nb.settings import money, waiting_time

ABOVE = 30_000
"""Tokens."""
_WANTED = {
    "above": whole(1, optional=True, such_as="30_000"),
    "cost": number(above=0, optional=True, unit="US dollars: a number", such_as="0.50"),
    "times": number(above=1, such_as="2"),
    "answer_within": number(above=0, endless=True, unit="a number of seconds", such_as="600"),
    "ask": flag(),
}


@dataclass(frozen=True, slots=True)
class Preflight:
    """When a request is asked about before it is sent.

    It is where it is large, and much larger than the one before it in its session. Answers that are played
    from a recording are not asked about.

    Args:
        above: tokens, estimated, from which on a request is large; None: never for its tokens.
        cost: dollars from which on it is large, where the price is known; None: never for its cost.
        times: so many times as large as the request before it.
        answer_within: seconds that a person has; then the run is stopped and nothing is sent.
        ask: whether a person is asked at all; if not, it is sent and said.

    Raises:
        LoomUsageError: a number is out of range.
    """

    above: int | None = ABOVE
    cost: float | None = 0.50
    times: float = 2.0
    answer_within: float = 600.0
    ask: bool = True

    def __post_init__(self) -> None:
        check(self, _WANTED)

    @classmethod
    def never(cls) -> "Preflight":
        """Nothing is asked about and nothing said."""
        return cls(None, None)

    def describe(self) -> str:
        """In words."""
        large = [f"{self.above:,} tokens"] if self.above is not None else []
        large += [money(self.cost)] if self.cost is not None else []
        if not large:
            return "never"
        times = f"{self.times:g} times the one before"
        told = f"a request of {' or '.join(large)} that is {times}"
        if not self.ask:
            return f"nobody: {told}, is sent and said"
        return f"{told}; without an answer in {waiting_time(self.answer_within)} it is not sent"
