"""The rule by which the policy of a secret speaks in the judge, before a call that would use it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from loom_nb.border import clean
from loom_nb.credentials.uses import Ruling, Use
from loom_nb.protocols import Call, Layer, Verdict, current_call


class Rules(Protocol):
    """Whoever knows what a policy says of a use."""

    async def ruling(self, use: Use) -> Ruling:
        """What the policy says, without opening anything."""
        ...


@dataclass(frozen=True, slots=True)
class BySecret:
    """Asks or denies as the policy of the secret says that a call would use.

    That a policy lets a use pass is no leave for what the call does with it: then the mode decides as for
    any other call.

    Args:
        use_of: the use that a call would be; None for one that uses no secret.
        rules: knows the policies.
    """

    use_of: Callable[[Call], Use | None]
    rules: Rules
    name: str = "secret"
    layer: Layer = "permission"
    decision: Literal["ask"] = "ask"

    async def judge(self, call: Call) -> Verdict | None:
        """Speak of a call that uses a secret."""
        use = self.use_of(call)
        if use is None:
            return None
        ruling = await self.rules.ruling(use)
        if ruling.decision == "allow":
            return None
        reason = clean(ruling.reason).replace(";", ",")
        if ruling.decision == "ask" and use.why:
            why = " ".join(clean(use.why).split())[:300].replace(";", ",")
            reason = f"{reason}; the agent says why: {why}"
        return Verdict(ruling.decision, reason, self.name, each=ruling.decision == "ask")

    def __str__(self) -> str:
        return "a use of a secret is asked about where its policy says so"


def use_in_call(scope: str, tool: str, why: str = "") -> Use:
    """The use of a secret by the tool call that runs here, with the question that allowed it."""
    context = current_call.get()
    if context is None:
        return Use(scope=scope, who=f"tool:{tool}", why=why)
    return Use(
        scope=scope,
        who=f"tool:{tool}",
        notebook=context.notebook,
        agent=context.agent,
        session=context.session,
        run=context.run,
        call=context.call_id,
        why=why,
        approved=context.approved,
    )
