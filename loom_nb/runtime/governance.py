"""The one judge: what a run may do, what it asks a person, and what it may not do.

Every rule is asked, layer by layer: hook, permission, veto, effect, rate, origin, approval. One that
denies ends it: nothing outranks a refusal. One that asks is heard unless a rule or the mode has
allowed the call and the asking is a mere approval. What no rule speaks of is up to the mode. An error
in a rule denies.
"""

import asyncio
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from loom_nb.checks import check, number, one_of, shown
from loom_nb.errors import LoomUsageError
from loom_nb.messages import canonical
from loom_nb.protocols import LAYERS, Call, Rule, Verdict
from loom_nb.settings import MODES, Mode, waiting_time
from loom_nb.tools import Tool

DECISIONS = ("allow", "ask", "deny")
_WANTED = {
    "mode": one_of(*MODES),
    "own_tools": one_of("allow", "ask"),
    "answer_within": number(above=0, endless=True, unit="a number of seconds", such_as="600"),
    "unattended": one_of("deny", "wait"),
}


@dataclass(frozen=True, slots=True)
class GovernancePolicy:
    """An ordered list of rules, a mode for what no rule speaks of, and how long a person is waited for."""

    rules: tuple[Rule, ...] = ()
    mode: Mode = "ask"
    own_tools: Literal["allow", "ask"] = "allow"
    """Functions that the user handed over: let run, or treated like any tool of a capability."""
    answer_within: float = 600.0
    """Seconds that a person has to answer; then the question's default counts, for an approval a refusal."""
    unattended: Literal["deny", "wait"] = "deny"
    """Where no face shows questions: refused at once, or waited for somebody who connects."""
    above: "GovernancePolicy | None" = None
    """Of the run that began this one: the stricter of the two verdicts holds."""
    _ordered: tuple[tuple[str, Rule], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if callable(getattr(self.rules, "judge", None)) or not isinstance(self.rules, Iterable):
            raise LoomUsageError(
                f"GovernancePolicy(rules={shown(self.rules)})",
                cause="rules are a list",
                fixes=["GovernancePolicy([Deny('shell')])"],
            )
        object.__setattr__(self, "rules", tuple(self.rules))
        for rule in self.rules:
            if not callable(getattr(rule, "judge", None)):
                raise LoomUsageError(
                    f"{shown(rule)} among the rules of a GovernancePolicy is no rule",
                    cause="a rule has a name and a method judge(call)",
                    fixes=["GovernancePolicy([Deny('shell')])"],
                )
            if _layer(rule) not in LAYERS:
                raise LoomUsageError(f"{rule!r} is in no layer", fixes=[", ".join(LAYERS)])
        check(self, _WANTED, called="GovernancePolicy")
        if self.above is not None and not isinstance(self.above, GovernancePolicy):
            raise LoomUsageError(
                f"GovernancePolicy(above={shown(self.above)})", cause="above is a GovernancePolicy, or None"
            )
        ordered = sorted(((_layer(rule), rule) for rule in self.rules), key=lambda one: LAYERS.index(one[0]))
        object.__setattr__(self, "_ordered", tuple(ordered))

    @classmethod
    def default(cls) -> "GovernancePolicy":
        """Functions that you hand over run; what capabilities bring asks before it acts."""
        return cls()

    @classmethod
    def supervised(cls, *rules: Rule, mode: Mode = "ask", answer_within: float = 600.0) -> "GovernancePolicy":
        """A person is asked before anything acts, and waited for."""
        from loom_nb.runtime.rules import WhenUntrusted

        untrusted = () if mode == "all" else (WhenUntrusted(),)
        return cls((*rules, *untrusted), mode, "ask", answer_within, "wait")

    @classmethod
    def read_only(cls) -> "GovernancePolicy":
        """Only what just looks, and nobody is asked."""
        return cls(mode="read-only", own_tools="ask")

    def with_rules(self, *rules: Rule) -> "GovernancePolicy":
        """This policy with more rules before its own: what any of them denies stays denied."""
        return replace(self, rules=(*rules, *self.rules))

    def under(self, parent: "GovernancePolicy") -> "GovernancePolicy":
        """This policy for a child of a run under `parent`: it may do nothing that the parent may not."""
        return replace(self, above=parent if self.above is None else self.above.under(parent))

    def at_once(self, tool: Tool, provided_by: str) -> Verdict | None:
        """The verdict on every call of a tool, where it depends on nothing else: no rule has to be asked."""
        if self._ordered or tool.assess is not None or self.above is not None:
            return None
        if type(self).judge is not GovernancePolicy.judge:  # a policy of somebody's own
            return None
        if self.own_tools == "allow" and not provided_by and self.mode != "read-only":
            return _HANDED_OVER
        return _ONLY_LOOKS if tool.read_only else None

    async def judge(self, call: Call) -> Verdict:
        """One verdict for one call. What goes wrong in a rule denies."""
        verdict = await self._judge(call)
        if self.above is None or verdict.decision == "deny" or verdict.arguments is not None:
            return verdict
        theirs = await self.above.judge(call)
        if verdict.decision == theirs.decision == "ask":
            return together([verdict, theirs])
        return max(verdict, theirs, key=lambda one: DECISIONS.index(one.decision))

    async def _judge(self, call: Call) -> Verdict:
        if call.assessment is not None and call.assessment.refusal:
            return Verdict("deny", call.assessment.refusal, call.provided_by or call.name)
        allowed: Verdict | None = None
        asks: list[Verdict] = []
        approvals: list[Verdict] = []
        for layer, rule in self._ordered:
            said = await _opinion(rule, call)
            if said is None:
                continue
            if said.decision == "deny" or said.arguments is not None:
                return said  # changed arguments are judged from the start
            if said.decision == "allow":
                allowed = allowed or said
            else:
                (approvals if layer == "approval" else asks).append(said)
        by_mode = self._by_mode(call)
        if by_mode.decision == "deny":
            return by_mode
        if self.mode == "all":
            approvals.clear()
        if by_mode.decision == "ask":
            approvals.append(by_mode)
        if not asks and (allowed is not None or not approvals):
            return allowed or by_mode
        return together([*asks, *(approvals if allowed is None else ())])

    def _by_mode(self, call: Call) -> Verdict:
        """What holds where no rule speaks."""
        if self.own_tools == "allow" and not call.provided_by and self.mode != "read-only":
            return _HANDED_OVER
        if call.read_only:
            return _ONLY_LOOKS
        what = _effects_in_words(call)
        if self.mode == "read-only":
            return Verdict("deny", f"{call.name} {what} and this run is read-only", "mode read-only")
        if self.mode == "all":
            return Verdict("allow", "the mode `all` asks nothing", "mode all")
        if (
            self.mode == "edits"
            and call.tool.undoable
            and not call.destructive
            and "runs" not in call.effects
        ):
            return Verdict("allow", "it can be undone", "mode edits")
        return Verdict("ask", what, f"mode {self.mode}")

    def describe(self) -> dict[str, tuple[str, ...]]:
        """What is allowed, asked and denied, in words."""
        told: dict[str, list[str]] = {"allowed": [], "asked": [], "denied": []}
        for _, rule in self._ordered:
            told[_FATE.get(getattr(rule, "decision", "deny"), "denied")].append(str(rule))
        if self.own_tools == "allow" and self.mode != "read-only":
            told["allowed"].append("functions that you handed over")
        told["allowed"].append("calls that only look")
        if self.mode == "edits":
            told["allowed"].append("edits that can be undone")
        rest = _REST[self.mode]
        told[rest[0]].append(rest[1])
        if rest[0] == "asked":
            minutes = waiting_time(self.answer_within)
            alone = "refused at once" if self.unattended == "deny" else f"waited for, {minutes} at most"
            told["asked"].append(f"a person has {minutes} to answer; without one: {alone}")
        return {fate: tuple(words) for fate, words in told.items()}


_FATE = {"allow": "allowed", "ask": "asked", "deny": "denied"}
_REST = {
    "ask": ("asked", "all else: what writes, runs, sends or says nothing of itself"),
    "read-only": ("denied", "all else, without asking"),
    "edits": ("asked", "all else: what runs, sends, cannot be undone or says nothing of itself"),
    "all": ("allowed", "everything that no rule denies, UNASKED"),
}
_HANDED_OVER = Verdict("allow", "you gave this tool to the agent", "default")
_ONLY_LOOKS = Verdict("allow", "it only looks", "default")


def _effects_in_words(call: Call) -> str:
    """What the call does, as the end of a sentence that begins with its name."""
    if call.assessment is not None and call.assessment.reasons:
        return "; ".join(one.replace(";", ",") for one in call.assessment.reasons)
    words = [word for effect, word in _WORDS.items() if effect in call.effects]
    if call.destructive:
        words.append("does what cannot be taken back")
    return " and ".join(words) or "acts"


_WORDS = {"writes": "can change things", "runs": "runs code", "network": "talks to the network"}


def together(asks: list[Verdict]) -> Verdict:
    """One question for all that ask."""
    reasons = dict.fromkeys(reason for ask in asks for reason in ask.reason.split("; ") if reason)
    by = ", ".join(dict.fromkeys(ask.by for ask in asks if ask.by))
    return Verdict("ask", "; ".join(reasons), by, each=any(ask.each for ask in asks))


def _layer(rule: Rule) -> str:
    return str(getattr(rule, "layer", "permission"))


async def _opinion(rule: Rule, call: Call) -> Verdict | None:
    name = type(rule).__name__
    try:
        name = str(getattr(rule, "name", name))
        said = rule.judge(call)
        verdict = await said if inspect.isawaitable(said) else said
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return Verdict("deny", f"the rule {name} cancelled itself", name)
    except Exception as error:  # noqa: BLE001  an error in a judge denies, whatever it is
        return Verdict("deny", f"the rule {name} failed: {type(error).__name__}: {error}", name)
    return sound(verdict, name, call.written)


def sound(verdict: object, name: str, written: Mapping[str, Any]) -> Verdict | None:
    """What a judge returned, if it is a verdict or None; a refusal in place of anything else.

    A change to the arguments that changes nothing is no opinion.
    """
    if verdict is None:
        return None
    if not isinstance(verdict, Verdict) or not _well_formed(verdict):
        return Verdict("deny", f"the rule {name} returned {verdict!r} in place of a verdict", name)
    if verdict.arguments is not None and verdict.decision != "allow":
        return Verdict("deny", f"the rule {name} changed arguments of a call it does not allow", name)
    if verdict.arguments is not None and _same(verdict.arguments, written):
        return None
    return verdict if verdict.by else replace(verdict, by=name)


def _same(arguments: Mapping[str, Any], written: Mapping[str, Any]) -> bool:
    try:
        return canonical(dict(arguments)) == canonical(dict(written))
    except (TypeError, ValueError):  # no JSON: what comes of it is told when it is tried
        return False


def _well_formed(verdict: Verdict) -> bool:
    arguments: object = verdict.arguments
    words = isinstance(verdict.reason, str) and isinstance(verdict.by, str)
    return verdict.decision in DECISIONS and words and (arguments is None or isinstance(arguments, Mapping))
