"""How far a run may go: turns, tokens, cost, time, and the same failure over and over."""

from collections.abc import Sequence
from dataclasses import dataclass

from loom_nb.border import parse
from loom_nb.checks import check, number, whole
from loom_nb.errors import BorderError, EndFault
from loom_nb.messages import ToolCallPart, ToolResultPart, Usage, canonical
from loom_nb.settings import money
from loom_nb.wording import counted


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one run, all its attempts together. None means no limit of that kind.

    Raises:
        LoomUsageError: a limit is no number, or not positive.
    """

    max_iterations: int = 50
    """Model calls."""
    max_tokens: int | None = None
    """Input and output tokens of all model calls together, as the vendor counts them."""
    max_cost: float | None = None
    """US dollars; needs a model whose price is known."""
    timeout: float | None = None
    """Seconds of wall time, from the moment the run leaves the queue."""
    stuck: int | None = 5
    """The same failing call so many times in a row, or two that fail in turn twice as often."""

    def __post_init__(self) -> None:
        check(self, _WANTED)

    def exceeded(self, turns: int, usage: Usage, cost: float | None) -> tuple[EndFault, str] | None:
        """The (fault, reason) of the first limit that forbids another turn, or None."""
        if turns >= self.max_iterations:
            made = f"{counted(turns, 'model call')} {'was' if turns == 1 else 'were'} made"
            return "turns", f"{made}, the limit is {self.max_iterations}"
        return self.overspent(usage, cost)

    def overspent(self, usage: Usage, cost: float | None) -> tuple[EndFault, str] | None:
        """The (fault, reason) of the limit that forbids whatever costs anything, or None."""
        if self.max_tokens is not None and usage.total_tokens >= self.max_tokens:
            return "tokens", f"{usage.total_tokens:,} tokens were used, the limit is {self.max_tokens:,}"
        if self.max_cost is not None:
            if cost is None:
                return "cost", "a limit of cost was set and the price of this model is not known"
            if cost >= self.max_cost:
                return "cost", f"{money(cost)} was spent, the limit is {money(self.max_cost)}"
        return None


_WANTED = {
    "max_iterations": whole(1, such_as="50"),
    "max_tokens": whole(1, optional=True, such_as="200_000"),
    "max_cost": number(above=0, optional=True, unit="US dollars: a number", such_as="0.50"),
    "timeout": number(above=0, optional=True, unit="a number of seconds", such_as="600"),
    "stuck": whole(1, optional=True, such_as="5"),
}


@dataclass(frozen=True, slots=True)
class Repetition:
    """Calls that fail again and again."""

    words: str
    """Which, and how often."""
    stuck: bool
    """Whether this is once too often; else it is one turn before that."""


class Streak:
    """The failing calls of a run behind which no other call came, oldest first.

    Args:
        most: the same call so many times in a row is stuck; two in turn, twice as often.
    """

    __slots__ = ("_failed", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._failed: list[tuple[str, bytes]] = []

    def grown(self, calls: Sequence[ToolCallPart], results: Sequence[ToolResultPart]) -> Repetition | None:
        """Take in the calls of a turn; gives what is told of it, where it is time to.

        A call that a message holds twice counts once: its second result told nothing new.
        """
        last: dict[tuple[str, bytes], None] = {}
        for call, result in zip(calls, results, strict=True):
            if result.is_error:
                last[call.name, _same(call.arguments)] = None
            else:
                last.clear()
                self._failed.clear()
        self._failed += last
        del self._failed[: -2 * self._most]
        return self._repetition(len(last))

    def _repetition(self, new: int) -> Repetition | None:
        """What repeats itself at the end, if that is too often, or would be after one more such turn."""
        if not self._failed:
            return None
        count, most = self._count(1), self._most
        names = [self._failed[-1]]
        words = f"{_told(*names)} failed {count} times in a row"
        if count < 2 and len(self._failed) > 1 and self._failed[-1] != self._failed[-2]:
            count, most = self._count(2), 2 * self._most
            names = [self._failed[-2], *names]
            words = f"{_told(names[0])} and {_told(names[1])} failed in turn, {count} times together"
        if count >= most:
            return Repetition(words, stuck=True)
        if most - count <= new and count > 1:
            return Repetition(words, stuck=False)
        return None

    def _count(self, period: int) -> int:
        """How many of the last calls are the same as the one so many places before them."""
        count = period
        while count < len(self._failed) and self._failed[-count - 1] == self._failed[period - count - 1]:
            count += 1
        return count


def _same(arguments: str) -> bytes:
    """Arguments so that equal ones are equal bytes, however they were written."""
    try:
        return canonical(parse(arguments))
    except BorderError:
        return arguments.encode(errors="replace")


def _told(call: tuple[str, bytes]) -> str:
    arguments = call[1].decode()
    return f"{call[0]}({arguments if len(arguments) <= 120 else arguments[:119] + '…'})"
