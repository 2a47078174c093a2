"""How far a run may go: turns, tokens, cost, time."""

from dataclasses import dataclass, fields

from loom_nb.errors import LoomUsageError
from loom_nb.messages import Usage


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one run. None means no limit of that kind."""

    max_iterations: int = 50
    """Model calls."""
    max_tokens: int | None = None
    """Input and output tokens of all model calls together, as the vendor counts them."""
    max_cost: float | None = None
    """US dollars; needs a model whose price is known."""
    timeout: float | None = None
    """Seconds of wall time, from the moment the run leaves the queue."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value > 0:
                raise LoomUsageError(f"Limits.{field.name} must be positive, not {value!r}")

    def exceeded(self, turns: int, usage: Usage, cost: float | None) -> tuple[str, str] | None:
        """The (fault, reason) of the first limit that forbids another model call, or None."""
        if turns >= self.max_iterations:
            return "turns", f"{turns} model calls were made, the limit is {self.max_iterations}"
        if self.max_tokens is not None and usage.total_tokens >= self.max_tokens:
            return "tokens", f"{usage.total_tokens:,} tokens were used, the limit is {self.max_tokens:,}"
        if self.max_cost is not None and turns:
            if cost is None:
                return "cost", "a limit of cost was set and the price of this model is not known"
            if cost >= self.max_cost:
                return "cost", f"${cost:.4f} was spent, the limit is ${self.max_cost:.4f}"
        return None
