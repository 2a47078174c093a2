"""Runtime: the policies of a run, bundled."""

from dataclasses import dataclass, field
from typing import Any

from loom_nb.errors import LoomUsageError, NotBuiltError
from loom_nb.runtime.compaction import ContextProtocol
from loom_nb.runtime.continuity import ContinuityPolicy
from loom_nb.runtime.governance import GovernancePolicy
from loom_nb.runtime.limits import Limits
from loom_nb.runtime.retry import RetryPolicy
from loom_nb.runtime.session_restore import SessionRestorePolicy
from loom_nb.settings import Mode

_FIELDS = "limits, governance, retry, context, continuity, session_restore"
_LATER = (
    "harness",
    "quality",
    "delegation",
    "feedback",
    "attention",
)


@dataclass(frozen=True, slots=True, init=False)
class Runtime:
    """How runs are carried out. Every field has an effect; what is not built yet is refused by name."""

    limits: Limits = field(default_factory=Limits)
    governance: GovernancePolicy = field(default_factory=GovernancePolicy.default)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    context: ContextProtocol = field(default_factory=ContextProtocol)
    continuity: ContinuityPolicy = field(default_factory=ContinuityPolicy)
    session_restore: SessionRestorePolicy = field(default_factory=SessionRestorePolicy)

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        governance: GovernancePolicy | None = None,
        retry: RetryPolicy | None = None,
        context: ContextProtocol | None = None,
        continuity: ContinuityPolicy | None = None,
        session_restore: SessionRestorePolicy | None = None,
        **later: Any,
    ) -> None:
        for name in later:
            if name in _LATER:
                raise NotBuiltError(
                    f"Runtime({name}=…) is not part of this version",
                    cause="it would be accepted and ignored",
                    fixes=[f"built so far: {_FIELDS}"],
                )
            raise LoomUsageError(f"Runtime has no field '{name}'", fixes=[_FIELDS])
        for name, value, kind in (
            ("limits", limits, Limits),
            ("governance", governance, GovernancePolicy),
            ("retry", retry, RetryPolicy),
            ("context", context, ContextProtocol),
            ("continuity", continuity, ContinuityPolicy),
            ("session_restore", session_restore, SessionRestorePolicy),
        ):
            if value is not None and not isinstance(value, kind):
                raise LoomUsageError(f"Runtime.{name} must be a {kind.__name__}, not {type(value).__name__}")
            object.__setattr__(self, name, kind() if value is None else value)

    @classmethod
    def sdk(cls, *, max_iterations: int = 50) -> "Runtime":
        """The plain loop: functions that you hand over run, what capabilities bring asks before it acts."""
        return cls(limits=Limits(max_iterations=max_iterations))

    @classmethod
    def long_running(cls, **options: Any) -> "Runtime":
        """Not built yet: needs context, continuity and quality policies."""
        raise _not_built("long_running", options)

    @classmethod
    def supervised(
        cls, *, max_iterations: int = 50, mode: Mode = "ask", answer_within: float = 600.0
    ) -> "Runtime":
        """A person is asked before anything acts, and waited for: answer with `session.send(Answer(…))`.

        Args:
            max_iterations: model calls of a run.
            mode: what runs unasked, see `protocols.Mode`.
            answer_within: seconds that a person has for each question; then it is refused.
        """
        policy = GovernancePolicy.supervised(mode=mode, answer_within=answer_within)
        return cls(limits=Limits(max_iterations=max_iterations), governance=policy)

    @classmethod
    def autonomous(cls, **options: Any) -> "Runtime":
        """Not built yet: needs delegation and quality policies."""
        raise _not_built("autonomous", options)

    def describe(self) -> dict[str, Any]:
        """What this runtime will do, as plain data."""
        limits = self.limits
        return {
            "model calls": limits.max_iterations,
            "tokens": limits.max_tokens,
            "cost": limits.max_cost,
            "seconds": limits.timeout,
            "attempts per model call": self.retry.max_attempts,
            "context": self.context.describe(),
            "handoff": ", ".join(self.continuity.sections) or "none is written",
            "an earlier process": self.session_restore.describe(),
            "mode": self.governance.mode,
            **{fate: list(words) for fate, words in self.governance.describe().items()},
        }


def _not_built(preset: str, options: dict[str, Any]) -> NotBuiltError:
    told = ", ".join(f"{name}=…" for name in options)
    return NotBuiltError(
        f"Runtime.{preset}({told}) is not part of this version",
        fixes=["Runtime.sdk()", "Runtime.supervised()"],
    )
