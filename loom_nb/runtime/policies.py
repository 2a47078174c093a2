"""Runtime: the policies of a run, bundled."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from loom_nb.errors import LoomUsageError, NotBuiltError
from loom_nb.protocols import Call, Verdict
from loom_nb.runtime.compaction import ContextProtocol
from loom_nb.runtime.continuity import ContinuityPolicy
from loom_nb.runtime.governance import GovernancePolicy
from loom_nb.runtime.harness import Harness
from loom_nb.runtime.limits import Limits
from loom_nb.runtime.preflight import Preflight
from loom_nb.runtime.quality import QualityGate
from loom_nb.runtime.retry import RetryPolicy
from loom_nb.runtime.session_restore import SessionRestorePolicy
from loom_nb.runtime.spending import SpendingCaps
from loom_nb.settings import Mode

_FIELDS = "limits, governance, retry, context, continuity, session_restore, harness, quality, caps, preflight"
_LATER = ("delegation", "feedback", "attention")
LONG = 300
"""Model calls of a run that is meant to take long."""


class Unasked(GovernancePolicy):
    """Nobody is asked: what a person would be asked about is denied, also where a face is there to ask."""

    __slots__ = ()

    async def judge(self, call: Call) -> Verdict:
        """The verdict, with a refusal in the place of a question."""
        verdict = await GovernancePolicy.judge(self, call)
        if verdict.decision != "ask":
            return verdict
        return Verdict("deny", f"{verdict.reason}; an autonomous run asks nobody", verdict.by)

    def describe(self) -> dict[str, tuple[str, ...]]:
        """What is allowed and denied, in words."""
        told = GovernancePolicy.describe(self)
        asked = [words for words in told["asked"] if not words.startswith("a person has")]
        denied = [f"{words} (nobody is asked)" for words in asked]
        return {"allowed": told["allowed"], "asked": (), "denied": (*told["denied"], *denied)}


@dataclass(frozen=True, slots=True, init=False)
class Runtime:
    """How runs are carried out. Every field has an effect; what is not built yet is refused by name."""

    limits: Limits = field(default_factory=Limits)
    governance: GovernancePolicy = field(default_factory=GovernancePolicy.default)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    context: ContextProtocol = field(default_factory=ContextProtocol)
    continuity: ContinuityPolicy = field(default_factory=ContinuityPolicy)
    session_restore: SessionRestorePolicy = field(default_factory=SessionRestorePolicy)
    harness: Harness = field(default_factory=Harness)
    quality: QualityGate | None = None
    """None: an answer that the model ends by itself is accepted."""
    caps: SpendingCaps = field(default_factory=SpendingCaps)
    """None is set by default."""
    preflight: Preflight = field(default_factory=Preflight)
    attempted: bool = field(init=False, repr=False, compare=False)
    """Whether there is more to a run than its turns: every run asks."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        governance: GovernancePolicy | None = None,
        retry: RetryPolicy | None = None,
        context: ContextProtocol | None = None,
        continuity: ContinuityPolicy | None = None,
        session_restore: SessionRestorePolicy | None = None,
        harness: Harness | None = None,
        quality: QualityGate | None = None,
        caps: SpendingCaps | None = None,
        preflight: Preflight | None = None,
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
        given: tuple[tuple[str, Any, Any], ...] = (
            ("limits", limits, Limits),
            ("governance", governance, GovernancePolicy),
            ("retry", retry, RetryPolicy),
            ("context", context, ContextProtocol),
            ("continuity", continuity, ContinuityPolicy),
            ("session_restore", session_restore, SessionRestorePolicy),
            ("harness", harness, Harness),
            ("quality", quality, QualityGate),
            ("caps", caps, SpendingCaps),
            ("preflight", preflight, Preflight),
        )
        for name, value, kind in given:
            if value is not None and not isinstance(value, kind):
                raise LoomUsageError(f"Runtime.{name} must be a {kind.__name__}, not {type(value).__name__}")
            none = value is None and kind is not QualityGate
            object.__setattr__(self, name, kind() if none else value)
        object.__setattr__(self, "attempted", self.gate is not None or self.harness.kind != "single_run")

    @property
    def gate(self) -> QualityGate | None:
        """What answers are held against: a generator needs an evaluator."""
        if self.quality is None and self.harness.kind == "generator_evaluator":
            return QualityGate.pass_fail()
        return self.quality

    @classmethod
    def sdk(cls, *, max_iterations: int = 50, criteria: Sequence[str] = ()) -> "Runtime":
        """The plain loop: functions that you hand over run, what capabilities bring asks before it acts.

        Args:
            max_iterations: model calls of a run.
            criteria: what an answer must meet, beside the criteria of a task; without any, those of a task
                are shown to the model and not evaluated.
        """
        quality = QualityGate.criteria(criteria) if criteria else None
        return cls(limits=Limits(max_iterations=max_iterations), quality=quality)

    @classmethod
    def long_running(
        cls, criteria: Sequence[str] = (), *, max_iterations: int | None = None, **policies: Any
    ) -> "Runtime":
        """Work of hundreds of turns: room is made as it is needed, handoffs are written, answers checked.

        Every request ends with where the run stands, see `ContextProtocol.dashboard`.

        Args:
            criteria: what an answer must meet, beside the criteria of a task; see `QualityGate.criteria`.
            max_iterations: model calls of a run; 300 by default.
            policies: any field of a Runtime, in the place of the preset's.
        """
        return _preset("long_running", criteria, max_iterations, LONG, _with_dashboard(policies))

    @classmethod
    def supervised(
        cls,
        *,
        criteria: Sequence[str] = (),
        max_iterations: int | None = None,
        mode: Mode = "ask",
        answer_within: float = 600.0,
        **policies: Any,
    ) -> "Runtime":
        """A person is asked before anything acts, and waited for: answer with `session.send(Answer(…))`.

        Args:
            criteria: what an answer must meet, beside the criteria of a task; see `QualityGate.criteria`.
            max_iterations: model calls of a run; 50 by default.
            mode: what runs unasked, see `protocols.Mode`.
            answer_within: seconds that a person has for each question; then it is refused.
            policies: any field of a Runtime, in the place of the preset's.
        """
        governance = GovernancePolicy.supervised(mode=mode, answer_within=answer_within)
        options = {"governance": governance, **policies}
        return _preset("supervised", criteria, max_iterations, Limits().max_iterations, options)

    @classmethod
    def autonomous(
        cls, max_iterations: int | None = None, criteria: Sequence[str] = (), **policies: Any
    ) -> "Runtime":
        """Long work without a person: what would be asked is denied, also in a notebook.

        Functions that you hand over run, and calls that only look; `governance` with a rule such as
        `Allow("shell")` lets more run. Every request ends with where the run stands.

        Args:
            max_iterations: model calls of a run; 200 by default.
            criteria: what an answer must meet, beside the criteria of a task; see `QualityGate.criteria`.
            policies: any field of a Runtime, in the place of the preset's.

        Raises:
            NotBuiltError: for `max_depth`: nobody can be given work yet.
        """
        if "max_depth" in policies:
            raise NotBuiltError(
                "Runtime.autonomous(max_depth=…) is not part of this version",
                cause="an agent cannot delegate yet: it would be accepted and ignored",
                fixes=["Runtime.autonomous(max_iterations=200)"],
            )
        governance = policies.get("governance") or GovernancePolicy.default()
        if type(governance) is GovernancePolicy:  # its rules hold; where it would ask, it denies
            given = {one.name: getattr(governance, one.name) for one in fields(governance) if one.init}
            policies["governance"] = Unasked(**given)
        policies.setdefault("preflight", Preflight(ask=False))
        return _preset("autonomous", criteria, max_iterations, 200, _with_dashboard(policies))

    def describe(self) -> dict[str, Any]:
        """What this runtime will do, as plain data."""
        limits = self.limits
        return {
            "model calls": limits.max_iterations,
            "tokens": limits.max_tokens,
            "cost": limits.max_cost,
            "seconds": limits.timeout,
            "budget": self.caps.describe(),
            "asked before it is sent": self.preflight.describe(),
            "stuck": _stuck_in_words(limits.stuck),
            "attempts per model call": self.retry.max_attempts,
            "context": self.context.describe(),
            "handoff": ", ".join(self.continuity.sections) or "none is written",
            "an earlier process": self.session_restore.describe(),
            "harness": self.harness.describe(),
            "quality": self.gate.describe() if self.gate is not None else _UNCHECKED,
            "mode": self.governance.mode,
            **{fate: list(words) for fate, words in self.governance.describe().items()},
        }


_UNCHECKED = "none: an answer that the model ends by itself is accepted"


def _stuck_in_words(stuck: int | None) -> str:
    if stuck is None:
        return "repeated failures end no run"
    return f"the same failing call {stuck} times in a row, or two in turn {2 * stuck} times, ends the run"


def _with_dashboard(policies: dict[str, Any]) -> dict[str, Any]:
    """Requests end with a dashboard, unless the context that is given says otherwise."""
    context = policies.get("context") or ContextProtocol()
    if not isinstance(context, ContextProtocol) or context.dashboard is not None:
        return policies
    return {**policies, "context": replace(context, dashboard=True)}


def _preset(
    name: str, criteria: Sequence[str], turns: int | None, usual: int, policies: dict[str, Any]
) -> Runtime:
    """A runtime with criteria, so many turns, and whatever else is given."""
    if turns is not None and policies.get("limits") is not None:
        raise LoomUsageError(f"Runtime.{name} takes limits or max_iterations, not both")
    if criteria and policies.get("quality") is not None:
        raise LoomUsageError(
            f"Runtime.{name} takes quality or criteria, not both",
            fixes=["QualityGate.evaluator(…, criteria=[…])"],
        )
    chosen: dict[str, Any] = {
        "limits": Limits(max_iterations=usual if turns is None else turns),
        "quality": QualityGate.criteria(criteria),
    }
    chosen.update({one: value for one, value in policies.items() if value is not None or one == "quality"})
    return Runtime(**chosen)
