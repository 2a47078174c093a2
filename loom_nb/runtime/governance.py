"""The one judge: what a run may do.

Rules are asked in order; the first verdict that is not `allow` stands, and a call on which no rule
has an opinion is allowed: it can only be a tool that the user handed over. An error in a rule denies.
"""

import fnmatch
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loom_nb.errors import LoomUsageError
from loom_nb.protocols import Call, Rule, Verdict

_HANDED_OVER = Verdict("allow", "you gave this tool to the agent", "default")


@dataclass(frozen=True, slots=True)
class GovernancePolicy:
    """An ordered list of rules."""

    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        for rule in self.rules:
            if not callable(getattr(rule, "judge", None)):
                raise LoomUsageError(
                    f"{rule!r} is no rule", cause="a rule has a name and a method judge(call)"
                )

    @classmethod
    def default(cls) -> "GovernancePolicy":
        """Every tool that you hand over may run."""
        return cls()

    @classmethod
    def read_only(cls) -> "GovernancePolicy":
        """Only tools that declare that they just look."""
        return cls((ReadOnly(),))

    async def judge(self, call: Call) -> Verdict:
        """One verdict for one call. Never raises: what goes wrong in a rule denies."""
        verdict = _HANDED_OVER
        for rule in self.rules:
            said = await _opinion(rule, call)
            if said is None:
                continue
            if said.decision != "allow":
                return said
            verdict = said
        return verdict

    def describe(self) -> tuple[str, ...]:
        """What is allowed and denied, in words."""
        return (*(str(rule) for rule in self.rules), "every tool that you hand over may run")


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """Denies every tool that does not declare that it only reads."""

    name: str = "read-only"

    def judge(self, call: Call) -> Verdict | None:
        """Deny what can change anything."""
        if call.tool.read_only:
            return None
        effects = ", ".join(sorted(call.tool.effects))
        return Verdict(
            "deny", f"{call.name} can change things ({effects}) and this run is read-only", self.name
        )

    def __str__(self) -> str:
        return "tools that do not declare to be read-only are denied"


@dataclass(frozen=True, slots=True)
class Deny:
    """Denies tools whose name matches a glob, all or those whose arguments fit."""

    glob: str
    reason: str = "denied by a rule"
    when: Callable[[Mapping[str, Any]], bool] | None = None
    name: str = "deny"

    def judge(self, call: Call) -> Verdict | None:
        """Deny a call that matches."""
        if not fnmatch.fnmatchcase(call.name, self.glob) or (
            self.when is not None and not self.when(call.arguments)
        ):
            return None
        return Verdict("deny", self.reason, self.name)

    def __str__(self) -> str:
        return f"{self.glob} is denied" + (" for some arguments" if self.when else "")


async def _opinion(rule: Rule, call: Call) -> Verdict | None:
    name = str(getattr(rule, "name", type(rule).__name__))
    try:
        said = rule.judge(call)
        verdict = await said if inspect.isawaitable(said) else said
    except Exception as error:  # noqa: BLE001  an error in a judge denies, whatever it is
        return Verdict("deny", f"the rule failed: {type(error).__name__}: {error}", name)
    if verdict is None or (isinstance(verdict, Verdict) and verdict.decision in ("allow", "ask", "deny")):
        return verdict
    return Verdict("deny", f"the rule returned {verdict!r} in place of a verdict", name)
