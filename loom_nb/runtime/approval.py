"""One call before the judge and, where the judge says so, before a person.

What comes out is the call as it may run, or the words in which it was refused. Every decision is said
as an event; an error anywhere in here refuses the call and never lets it pass.
"""

import asyncio
import contextvars
import copy
import inspect
import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import msgspec

from loom_nb.border import clean
from loom_nb.errors import BorderError, ToolError
from loom_nb.events import CallJudged, Grant, Noticed
from loom_nb.messages import ToolCallPart, canonical
from loom_nb.protocols import Call, Scene, Taint, Verdict
from loom_nb.questions import Approval, Decision, Question, Scope, has_secrets, misfits
from loom_nb.remedies import Known, remedies
from loom_nb.runtime.asking import CALL_LEAVE_SECONDS, Reply, call_key, tool_key
from loom_nb.runtime.governance import sound, together
from loom_nb.runtime.redacting import Live
from loom_nb.runtime.rules import OWN_RESULTS, whence
from loom_nb.runtime.stage import Stage
from loom_nb.runtime.threads import in_thread
from loom_nb.settings import waiting_time
from loom_nb.tools import Assessment, Tool

MAX_ROUNDS = 5
"""How often rules may change the arguments of one call, and how often a person is asked about it."""

MAX_PREVIEW = 20_000
"""Characters of a preview that the log keeps."""

ASSESS_SECONDS = 20.0
EDIT_SECONDS = 1.0
"""How long an answer waits for what its tool says of changed arguments; after that, it is asked again."""


NOT_JUDGED = Verdict("deny", "not judged")


BEGUN = "it ran when the process ended: it may have happened already"


class Ready(msgspec.Struct, eq=False):
    """A call on its way: checked, judged, and perhaps waiting for a person."""

    place: int
    """Of the call in its message."""
    part: ToolCallPart
    tool: Tool
    plain: dict[str, Any]
    """The arguments as they were written."""
    arguments: dict[str, Any]
    """The arguments as the function takes them."""
    verdict: Verdict = NOT_JUDGED
    call: Call | None = None
    edited: tuple[str, ...] = ()
    """Names of the arguments that a person changed."""
    live: Live | None = None
    """What it shows while it runs, once it does."""
    begun: bool = False
    """It ran when another process died: whether it has happened is not known."""
    approved: str = ""
    """The question by which a person allowed it; empty: nobody was asked."""

    @property
    def effects(self) -> tuple[str, ...]:
        """Of this very call, in the order of the alphabet."""
        if self.call is None or self.call.assessment is None:
            return self.tool.sorted_effects
        return tuple(sorted(self.call.effects))


class Refused(Exception):
    """The call does not run; the text is for the model, `reason` and `fixes` for the end of the run."""

    def __init__(self, text: str, reason: str, fixes: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.text = text
        self.reason = reason
        self.fixes = tuple(fixes)


async def judged(stage: Stage, ready: Ready) -> None:
    """Give the call its verdict: "allow" or "ask".

    Raises:
        Refused: a hook or a rule denies it.
        ToolError, BorderError: a rule changed the arguments to some that do not fit.
    """
    for _ in range(MAX_ROUNDS):
        verdict = await _verdict(stage, ready)
        if ready.begun and verdict.decision != "deny" and verdict.arguments is None:
            why = f"{BEGUN}; {verdict.reason}" if verdict.decision == "ask" else BEGUN
            verdict = Verdict("ask", why, "resume")
        if verdict.arguments is None:
            _say(stage, ready, verdict)
            ready.verdict = verdict
            if verdict.decision == "deny":
                raise _ruled_out(ready, verdict)
            return
        stage.say(Noticed(f"{verdict.by} changed the arguments of {ready.tool.name}"))
        _change(ready, dict(verdict.arguments))
    reason = f"rules changed its arguments {MAX_ROUNDS} times over"
    _say(stage, ready, Verdict("deny", reason, "judge"))
    raise Refused(f"{ready.tool.name} was refused: {reason}", reason)


async def _verdict(stage: Stage, ready: Ready) -> Verdict:
    """What hooks and rules say of the call as it is now."""
    ready.call = call = await _as_the_judge_sees_it(stage, ready)
    hooked = await _by_hooks(stage, ready) if stage.hooks.given else None
    if hooked is not None and (hooked.decision == "deny" or hooked.arguments is not None):
        return hooked
    ruled = await stage.governance.judge(call)
    if (
        hooked is None
        or hooked.decision == "allow"
        or ruled.decision == "deny"
        or ruled.arguments is not None
    ):
        return ruled
    return together([hooked, ruled]) if ruled.decision == "ask" else hooked


async def last_look(stage: Stage, ready: Ready) -> None:
    """Just before it runs: nothing denies it now, and what was looked at is as it was. Raises Refused."""
    seen = ready.call
    assert seen is not None  # noqa: S101  the caller looked
    ready.call = await _as_the_judge_sees_it(stage, ready)
    verdict = await stage.governance.judge(ready.call)  # the hooks have been told
    if verdict.decision != "deny" and _seal(ready.call) != _seal(seen):
        verdict = Verdict("deny", "what it would change has changed since it was allowed", "judge")
    if verdict.decision == "deny":
        _say(stage, ready, verdict)
        raise _ruled_out(ready, verdict)


async def approved(stage: Stage, ready: Ready) -> None:
    """Have a person decide about a call whose verdict is "ask".

    Raises:
        Refused: the person says no, nobody answers, or there is nobody to ask.
        ToolError, BorderError: it would fail now, or a rule changed its arguments to some that do not fit.
    """
    assert ready.call is not None  # noqa: S101  it was judged
    each = ready.begun
    for attempt in range(MAX_ROUNDS):
        each = each or ready.verdict.each
        ready.approved = ""
        call = ready.call
        mine = Grant(_key(ready), stage.asking.place)
        rules = tuple(rule for rule in _rules(ready.verdict) if not rule.endswith(OWN_RESULTS))
        whole = Grant(tool_key(ready.tool), stage.asking.session, rules)
        scopes: tuple[Scope, ...] = ("once",) if each else _scopes(call)
        before = (
            "" if attempt or each else stage.asking.granted(*([mine, whole] if "tool" in scopes else [mine]))
        )
        if before:
            ready.approved = before
            return _say(stage, ready, Verdict("allow", f"allowed before, by {before}", before))
        reply = await stage.asking.ask(
            _question(stage, ready, scopes),
            stage.say,
            stage.commit,
            wait=stage.asking.attended or stage.governance.unattended == "wait",
            grant=partial(_grant, mine, whole, stage.clock.now),
            check=partial(_misfit, ready),
        )
        ready.approved = reply.question  # of a refusal nothing comes
        same, verdict = await _decided(stage, ready, reply)
        if verdict is None:
            continue
        each = each or verdict.each
        if verdict.decision == "deny":
            _say(stage, ready, verdict)
            changed = "" if same else " as changed by the person"
            raise _ruled_out(ready, verdict, changed)
        if verdict.arguments is not None:
            _change(ready, dict(verdict.arguments))
            ready.call = await _as_the_judge_sees_it(stage, ready)
            ready.verdict = Verdict("ask", f"{verdict.by} changed its arguments", verdict.by)
        elif same and _seal(ready.call) != _seal(call):
            ready.verdict = Verdict("ask", "what it would change has changed since you were asked", "judge")
        else:
            how = "allowed" if same else "changed and allowed"
            return _say(stage, ready, Verdict("allow", f"{how} by {reply.by}", reply.by))
    raise Refused(
        f"{ready.tool.name} was refused: it changed faster than it could be decided on", "it kept changing"
    )


async def _decided(stage: Stage, ready: Ready, reply: Reply) -> tuple[bool, Verdict | None]:
    """Whether it is as it was asked about, and the verdict on it; None: the person's change would fail.

    Raises:
        Refused: it is not allowed.
        ToolError, BorderError: it would fail now as it was asked about.
    """
    plain, arguments, call = ready.plain, ready.arguments, ready.call
    try:
        same = _decide(stage, ready, reply)
        return same, await _verdict(stage, ready)
    except (ToolError, BorderError) as error:
        if _edit(reply.value, plain) is None:
            raise
        ready.plain, ready.arguments, ready.call, ready.edited = plain, arguments, call, ()
        why = f"your change would fail: {error.title}".replace(";", ",")
        ready.verdict = Verdict("ask", f"{why}; {ready.verdict.reason}", ready.verdict.by)
        return False, None


def _edit(value: Any, plain: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments that an answer gives in place of those that were asked about."""
    given = value.arguments if isinstance(value, Decision) and value.decision == "allow" else None
    return None if given is None or canonical(given) == canonical(plain) else given


def _misfit(ready: Ready, value: Any) -> str:
    """Why a person's arguments are none that the tool can take; empty where they are."""
    given = value.arguments if isinstance(value, Decision) and value.decision == "allow" else None
    if given is None:
        return ""
    tool = ready.tool
    try:
        arguments = tool.validate(tool.parse(_as_json(tool, given)))
    except (ToolError, BorderError) as error:
        if not has_secrets(tool.schema):
            return error.title
        return misfits(tool.schema, given, "the arguments") or f"they do not fit {tool.name}"
    return _would_fail(tool, arguments) if tool.assess is not None else ""


def _would_fail(tool: Tool, arguments: dict[str, Any]) -> str:
    """Why the call would certainly fail, if its tool can tell that soon: somebody waits."""
    told: list[str] = []

    def look() -> None:
        try:
            found = tool.assess(**arguments) if tool.assess is not None else None
            told.append(found.failure if isinstance(found, Assessment) and not found.refusal else "")
        except ToolError as error:
            told.append(error.title)
        except Exception:  # noqa: BLE001  the judge meets it again, and refuses the call
            told.append("")

    thread = threading.Thread(target=contextvars.copy_context().run, args=(look,), daemon=True)
    thread.start()
    thread.join(EDIT_SECONDS)
    return told[0] if told else ""


def _decide(stage: Stage, ready: Ready, reply: Reply) -> bool:
    """Whether the call is allowed as it was asked about; False where the person changed it.

    Raises Refused where it is not allowed.
    """
    name = ready.tool.name
    decision: Decision | None = reply.value if isinstance(reply.value, Decision) else None
    if reply.how == "person" and decision is not None and decision.decision == "allow":
        edit = _edit(decision, ready.plain)
        if edit is None:
            return True
        before = ready.plain
        _change(ready, edit)
        changed = before.keys() ^ ready.plain.keys() | {
            key for key in before.keys() & ready.plain.keys() if before[key] != ready.plain[key]
        }
        ready.edited = tuple(sorted(changed))
        return False
    judged = ""
    if reply.how == "person":
        said = decision.reason.strip() if decision is not None else ""
        reason, text = (
            f"denied by {reply.by}",
            f"{name} was denied by the person" + (f": {said}" if said else "."),
        )
        by, fixes = reply.by, remedies("denied", "by a person")
        reason += f": {said}" if said else ""
    elif reply.how == "timeout":
        waited = waiting_time(stage.governance.answer_within)
        reason, by = f"nobody answered within {waited}", "timeout"
        fixes = remedies("denied", "unanswered")
        text = f"{name} was refused: {reason}."
    else:
        reason, by = f"it asks ({ready.verdict.reason}) and nobody can be asked here", "nobody"
        text = f"{name} was refused: {reason}."
        own = ready.call is not None and not ready.call.provided_by
        judged, fixes = f"; {how_to_allow(name, own=own)}", ways_to_allow(name, own=own)
    _say(stage, ready, Verdict("deny", reason + judged, by))
    raise Refused(text, reason, fixes)


def _ruled_out(ready: Ready, verdict: Verdict, changed: str = "") -> Refused:
    """A rule or the mode says no."""
    fault = "read-only" if verdict.by == "mode read-only" else "denied"
    fixes = remedies("denied", fault)
    return Refused(f"{ready.tool.name} was refused{changed}: {verdict.reason}", verdict.reason, fixes)


def how_to_allow(name: str, *, own: bool) -> str:
    """What a person can do who wants a call to run where nobody can be asked."""
    looks = "declare @tool(read_only=True) if it only looks, or " if own else ""
    return f"to let it run: {looks}LOOM_NB_ALLOW={name} in the environment, or the rule Allow({name!r})"


def ways_to_allow(name: str, *, own: bool) -> tuple[str, ...]:
    """The same, each as it is typed."""
    ways = remedies("denied", "nobody to ask", Known(tool=name))
    return ways if own else ways[:2]


async def _as_the_judge_sees_it(stage: Stage, ready: Ready) -> Call:
    scene = Scene(
        mode=stage.governance.mode,
        now=stage.clock.now(),
        cost=stage.cost if stage.paid else 0.0,
        tallies=stage.tallies,
        trace=stage.origins.trace,
        skills=stage.view.skills,
    )
    return Call(
        ready.part.id,
        ready.tool.name,
        MappingProxyType(ready.arguments),
        ready.tool,
        stage.run.id,
        stage.session,
        await _assess(ready.tool, ready.arguments) if ready.tool.assess is not None else None,
        stage.kit.provided_by(ready.tool.name),
        scene,
        MappingProxyType(ready.plain),
        stage.asking.notebook,
        stage.agent,
        ready.approved,
    )


async def _assess(tool: Tool, arguments: dict[str, Any]) -> Assessment:
    """What the call would do, by its tool; a tool that cannot tell is refused.

    Raises:
        ToolError: the call would certainly fail: nobody need be asked.
    """
    assert tool.assess is not None  # noqa: S101  the caller looked
    try:
        async with asyncio.timeout(ASSESS_SECONDS):
            found = await in_thread(tool.assess, **arguments)
    except Exception as error:  # noqa: BLE001  an error in a judge denies, whatever it is
        return Assessment(
            tool.effects,
            refusal=f"{tool.name} could not tell what it would do: {type(error).__name__}: {error}",
        )
    if not isinstance(found, Assessment):
        return Assessment(tool.effects, refusal=f"{tool.name} told {found!r} of what it would do")
    if found.failure and not found.refusal:
        raise ToolError(found.failure)
    return found


async def _by_hooks(stage: Stage, ready: Ready) -> Verdict | None:
    """What the hooks `before_tool` say: each may deny, ask, or change the arguments."""
    asked: Verdict | None = None
    event = {
        "run_id": stage.run.id,
        "session_id": stage.session,
        "tool_name": ready.tool.name,
        "call_id": ready.part.id,
    }
    for hook in stage.hooks.named("before_tool"):
        try:
            done = hook(**event, arguments=copy.deepcopy(ready.plain))
            answer = await done if inspect.isawaitable(done) else done
            said = sound(answer, "before_tool", ready.plain)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return Verdict("deny", "the hook before_tool cancelled itself", "before_tool")
        except Exception as error:  # noqa: BLE001  an error in a judge denies, whatever it is
            return Verdict(
                "deny", f"the hook before_tool failed: {type(error).__name__}: {error}", "before_tool"
            )
        if said is not None and (said.decision == "deny" or said.arguments is not None):
            return said
        if said is not None and said.decision == "ask":
            asked = said
    return asked


def _change(ready: Ready, arguments: dict[str, Any]) -> None:
    """Call it with these. Raises ToolError or BorderError where they do not fit the tool."""
    plain = ready.tool.parse(_as_json(ready.tool, arguments))
    ready.arguments = ready.tool.validate(plain)
    ready.plain = plain


def _as_json(tool: Tool, arguments: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(arguments)
    except (TypeError, ValueError) as error:
        raise ToolError(f"{tool.name} was not called, its arguments are no JSON: {error}") from None


def _say(stage: Stage, ready: Ready, verdict: Verdict) -> None:
    stage.say(
        CallJudged(ready.part.id, ready.tool.name, verdict.decision, clean(verdict.reason), clean(verdict.by))
    )


def _grant(mine: Grant, whole: Grant, now: Callable[[], float], decision: Any) -> Grant | None:
    if not isinstance(decision, Decision) or decision.decision != "allow" or decision.arguments is not None:
        return None
    if decision.scope == "once":
        return None
    grant, ends = (mine, now() + CALL_LEAVE_SECONDS) if decision.scope == "call" else (whole, None)
    return msgspec.structs.replace(grant, expires=ends if decision.expires is None else decision.expires)


def _scopes(call: Call) -> tuple[Scope, ...]:
    """A leave for a whole tool is not offered for what runs code or cannot be taken back."""
    if call.destructive or "runs" in call.effects:
        return ("once", "call")
    return ("once", "call", "tool")


def _seal(call: Call) -> str:
    return call.assessment.seal if call.assessment is not None else ""


def _rules(verdict: Verdict) -> tuple[str, ...]:
    """The rules that ask: a leave for a whole tool holds where no other one does."""
    return tuple(rule for rule in verdict.by.split(", ") if rule)


def _key(ready: Ready) -> str:
    """What a leave for this exact call is bound to: also the files, hosts and scripts that it touches."""
    seen = ready.call.assessment if ready.call is not None else None
    reach = (*seen.paths, *seen.hosts, seen.sandbox, seen.binds) if seen is not None else ()
    return call_key(ready.tool, ready.plain, reach)


def _question(stage: Stage, ready: Ready, scopes: tuple[Scope, ...]) -> Question:
    call = ready.call
    assert call is not None  # noqa: S101  it was judged
    seen = call.assessment
    taint = stage.origins.trace(ready.plain)
    preview = seen.preview if seen is not None else ""
    if len(preview) > MAX_PREVIEW:
        preview = f"{preview[:MAX_PREVIEW]}\n[{len(preview) - MAX_PREVIEW:,} more characters]"
    effects = tuple(sorted(call.effects))
    return Question(
        id="",
        kind="approval",
        title=f"{ready.tool.name}: {', '.join(effects) or 'acts'}",
        asked_by="judge",
        call_id=ready.part.id,
        expires=stage.clock.now() + stage.governance.answer_within,
        approval=Approval(
            call_id=ready.part.id,
            tool=ready.tool.name,
            arguments=msgspec.json.decode(msgspec.json.encode(ready.plain)),
            key=_key(ready),
            effects=effects,
            destructive=call.destructive,
            undoable=ready.tool.undoable,
            reasons=tuple(clean(reason) for reason in ready.verdict.reason.split("; ") if reason),
            rules=_rules(ready.verdict),
            origins=origins_in_words(taint),
            preview=clean(preview),
            preview_kind=seen.preview_kind if seen is not None else "text",
            sandbox=seen.sandbox if seen is not None else "",
            mode=stage.governance.mode,
            scopes=scopes,
            schema=ready.tool.schema,
        ),
    )


def origins_in_words(taint: Taint) -> dict[str, str]:
    """For a card: where arguments came from that neither the user nor the model wrote."""
    return {
        where: clean(whence(origin.kind, origin.source))
        for where, origin in taint.arguments.items()
        if not origin.trusted and origin.kind != "model"
    }
