"""Which failures of a model call may pass, and how long to wait for that."""

from collections.abc import Callable
from dataclasses import dataclass

from loom_nb.checks import check, number, whole
from loom_nb.errors import ModelError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with full jitter, and the vendor's Retry-After where it sends one.

    A call is repeated only while nothing of its answer has been shown: never after the first delta.
    Full jitter: the wait is drawn evenly from 0 to the back-off (AWS Architecture Blog,
    "Exponential Backoff And Jitter", 2015), with a tenth of the back-off as its floor.

    Raises:
        LoomUsageError: a number is none, or out of range.
    """

    max_attempts: int = 4
    first_delay: float = 1.0
    """Seconds; doubles with each attempt."""
    longest_delay: float = 30.0
    longest_retry_after: float = 120.0
    """A vendor that asks for a longer wait than this ends the run instead."""

    def __post_init__(self) -> None:
        check(self, _WANTED)

    def delay(self, error: ModelError, attempt: int, random: Callable[[], float]) -> float | None:
        """Seconds to wait after the failed `attempt` (1, 2, …), or None to give up."""
        if not error.passing or attempt >= self.max_attempts:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.longest_retry_after else None
        backoff = min(self.longest_delay, self.first_delay * 2.0 ** (attempt - 1))
        return max(0.1 * backoff, random() * backoff)


_SECONDS = "a number of seconds"
_WANTED = {
    "max_attempts": whole(1, such_as="4"),
    "first_delay": number(0, unit=_SECONDS, such_as="1.0"),
    "longest_delay": number(0, unit=_SECONDS, such_as="30"),
    "longest_retry_after": number(0, endless=True, unit=_SECONDS, such_as="120"),
}
