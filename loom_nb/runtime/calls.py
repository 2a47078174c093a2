"""The tool calls of one turn: check, judge, note, run, shorten.

Tools that only look run side by side; the others one after the other, in the order of the calls.
Results are in the order of the calls always. What a tool raises is told to the model.
"""

import asyncio
import traceback
from collections.abc import Sequence
from typing import Any, Literal

from loom_nb.border import clean
from loom_nb.errors import BorderError, LoomError, ToolError
from loom_nb.events import CallFinished, CallJudged, CallStarted, Noticed, ResultKept
from loom_nb.messages import USER, Origin, ResultPart, TextPart, ToolCallPart, ToolResultPart, to_json
from loom_nb.protocols import current_call
from loom_nb.runtime.approval import NOT_JUDGED, Ready, Refused, approved, judged, last_look
from loom_nb.runtime.in_call import InCall
from loom_nb.runtime.redacting import taken_out
from loom_nb.runtime.stage import LOST, Resumed, Stage
from loom_nb.runtime.threads import in_thread
from loom_nb.tools import Tool, result_parts

Outcome = Literal["ok", "error", "invalid", "unknown_tool", "denied", "timeout", "stopped", "lost"]

HEAD_SHARE = 0.7
"""Part of a shortened result that is its beginning; the rest is its end."""


async def perform(stage: Stage, calls: Sequence[ToolCallPart], *, cut: bool) -> list[ToolResultPart]:
    """Carry out the calls of one message; one result for each, in order.

    All are judged first and all questions asked together, so that a person decides on a turn at once.

    Args:
        stage: the run.
        calls: as the model wrote them.
        cut: the message ended at its token limit, so that its last call may be half a call.
    """
    results: dict[int, ToolResultPart] = {}
    stage.results, stage.started_calls = [], set()
    waiting: list[Ready] = []
    asks = False
    past = stage.resumed
    for place, part in enumerate(calls):
        ready = (_done_before(stage, past, part) if past is not None else None) or _prepare(
            stage,
            place,
            part,
            cut=cut and place == len(calls) - 1,
            begun=past is not None and _begun(stage, past, part),
        )
        if isinstance(ready, Ready) and ready.verdict is NOT_JUDGED:
            ready = await _judged(stage, ready)
        if isinstance(ready, Ready):
            waiting.append(ready)
            asks = asks or ready.verdict.decision == "ask"
        else:
            results[place] = ready
    if asks:
        waiting = await _consult(stage, waiting, results)
    if len(calls) == 1 and waiting and waiting[0].call is None:  # let run at once, as nearly all are
        _tell_begun(stage, waiting[0])
        if stage.commit is not None and not waiting[0].tool.read_only:
            await stage.commit()
        return [await _run(stage, waiting[0])]
    group: list[Ready] = []
    for ready in waiting:
        if group and not (ready.tool.side_by_side and group[-1].tool.side_by_side):
            await _run_group(stage, group, results)
            group = []
        group.append(ready)
    if group:
        await _run_group(stage, group, results)
    return [results[place] for place in range(len(calls))]


def _done_before(stage: Stage, past: Resumed, part: ToolCallPart) -> ToolResultPart | None:
    """The result of a call that another process had carried out, or had begun, before it died."""
    result = past.results.get(part.id)
    if result is None and _begun(stage, past, part):
        somebody = stage.asking.attended or stage.governance.unattended == "wait"
        return None if somebody else _refuse(stage, part, "lost", LOST)
    if result is not None:
        stage.results.append(result)
    return result


def _begun(stage: Stage, past: Resumed, part: ToolCallPart) -> bool:
    """Whether it is not known if a call has happened, and twice is not the same as once."""
    if part.id not in past.started:
        return False
    tool = stage.kit.get(part.name)
    return tool is None or not tool.idempotent


def _prepare(
    stage: Stage, place: int, part: ToolCallPart, *, cut: bool, begun: bool
) -> Ready | ToolResultPart:
    """Find the tool, check the arguments; judge the call where the judge need not look at it."""
    tool = stage.kit.get(part.name)
    if tool is None:
        return _refuse(stage, part, "unknown_tool", stage.kit.unknown(part.name))
    if cut:
        text = f"{part.name} was not called: the message was cut at its token limit."
        return _refuse(stage, part, "invalid", text)
    try:
        plain = tool.parse(part.arguments)
        ready = Ready(place, part, tool, plain, tool.validate(plain), begun=begun)
    except (ToolError, BorderError) as error:
        return _refuse(stage, part, "invalid", error.title)
    if begun or stage.hooks.given:
        return ready
    verdict = stage.governance.at_once(tool, stage.kit.provided_by(tool.name))
    if verdict is not None:
        ready.verdict = verdict
        stage.say(CallJudged(part.id, tool.name, verdict.decision, verdict.reason, verdict.by))
    return ready


async def _judged(stage: Stage, ready: Ready) -> Ready | ToolResultPart:
    """Ask the judge."""
    try:
        await judged(stage, ready)
    except (ToolError, BorderError) as error:
        return _refuse(stage, ready.part, "invalid", error.title)
    except Refused as refused:
        return _deny(stage, ready.part, refused)
    return ready


async def _consult(stage: Stage, waiting: list[Ready], results: dict[int, ToolResultPart]) -> list[Ready]:
    """Ask about all calls that need it, together; gives those that may run."""
    asked = [ready for ready in waiting if ready.verdict.decision == "ask"]
    tasks = [asyncio.ensure_future(_approved(stage, ready)) for ready in asked]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        unanswered = [task for task in tasks if not task.done()]
        for task in unanswered:  # the run was stopped, or its log could not be written
            task.cancel()
        if unanswered:
            await asyncio.wait(unanswered)
    for task in tasks:
        if not task.cancelled():
            task.result()  # what went wrong comes before those that were cancelled for it
    for ready, task in zip(asked, tasks, strict=True):
        refusal = task.result()
        if refusal is not None:
            results[ready.place] = refusal
    return [ready for ready in waiting if ready.place not in results]


async def _approved(stage: Stage, ready: Ready) -> ToolResultPart | None:
    """The result of a call that a person does not allow; None for one that may run."""
    try:
        await approved(stage, ready)
    except (ToolError, BorderError) as error:
        return _refuse(stage, ready.part, "invalid", error.title)
    except Refused as refused:
        if ready.begun:  # that nobody repeats it does not undo it
            return _refuse(stage, ready.part, "lost", f"{LOST} {refused.text}")
        return _deny(stage, ready.part, refused)
    return None


def _deny(stage: Stage, part: ToolCallPart, refused: Refused) -> ToolResultPart:
    stage.denied = (*stage.denied, f"{part.name}: {refused.reason}")
    stage.allowing = stage.allowing or refused.fixes
    return _refuse(stage, part, "denied", refused.text)


async def _run_group(stage: Stage, group: list[Ready], results: dict[int, ToolResultPart]) -> None:
    """Run one call directly, several as tasks side by side."""
    for ready in tuple(group):
        refusal = await _look_again(stage, ready) if ready.call is not None else None
        if refusal is not None:
            results[ready.place] = refusal
            group.remove(ready)
            continue
        _tell_begun(stage, ready)
    if not group:
        return
    if stage.commit is not None and not all(ready.tool.read_only for ready in group):
        await stage.commit()  # the intent is on disk before the effect
    if len(group) == 1:
        results[group[0].place] = await _run(stage, group[0])
        return
    tasks = [asyncio.ensure_future(_run(stage, ready)) for ready in group]
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=1.0)  # a tool that holds on to its life is left behind
        raise
    for ready, task in zip(group, tasks, strict=True):
        results[ready.place] = task.result()


def _tell_begun(stage: Stage, ready: Ready) -> None:
    """Count a call and say that it begins."""
    now = stage.clock.now()
    stage.tally.add(ready.part.name, now)
    stage.agents.add(ready.part.name, now)
    stage.say(CallStarted(ready.part.id, ready.part.name, ready.plain, ready.effects))


async def _look_again(stage: Stage, ready: Ready) -> ToolResultPart | None:
    """The result of a call that may not run after all; rules had it in their hands, and time has passed."""
    try:
        await last_look(stage, ready)
        ready.arguments = ready.tool.validate(ready.plain)
    except (ToolError, BorderError) as error:
        return _refuse(stage, ready.part, "invalid", error.title)
    except Refused as refused:
        return _deny(stage, ready.part, refused)
    return None


async def _run(stage: Stage, ready: Ready) -> ToolResultPart:
    """One call within its time; what it raises is its result."""
    part, tool, clock, results = ready.part, ready.tool, stage.clock.monotonic, stage.results
    started = clock()
    stage.started_calls.add(part.id)
    outcome, parts = await _within(stage, ready)
    if ready.live is not None:
        await ready.live.end()
    if ready.edited:
        now = to_json({name: ready.plain.get(name) for name in ready.edited}).decode()
        told = TextPart(
            f"The person changed {', '.join(ready.edited)} before allowing it:", Origin("system", "approval")
        )
        parts = (told, TextPart(clean(now), USER), *parts)
    if stage.closed:  # it was left behind when the run ended, and has its result already
        return ToolResultPart(part.id, part.name, parts, outcome != "ok", tool.origin)
    parts, taken = await stage.redacting.result(parts) if stage.redacting.suspects(parts) else (parts, 0)
    parts, chars = _shorten(stage, part.id, tool, parts)
    result = ToolResultPart(part.id, part.name, parts, outcome != "ok", tool.origin)
    results.append(result)
    stage.say(CallFinished(result, outcome, clock() - started, chars))
    if taken:
        stage.say(taken_out(taken, part.name))
    if stage.hooks.given:
        success = not result.is_error
        await tell(
            stage, "after_tool", tool_name=part.name, call_id=part.id, success=success, result=result.text
        )
    return result


async def _within(stage: Stage, ready: Ready) -> tuple[Outcome, tuple[ResultPart, ...]]:
    """Call the function within its time limit."""
    tool, run, task = ready.tool, stage.run, asyncio.current_task()
    assert task is not None  # noqa: S101  we are in a coroutine
    before = current_call.set(InCall(stage, ready, task))
    late = stage.deadlines.clear
    stage.deadlines.set(run, task, tool.timeout)
    try:
        value = await (tool.function(**ready.arguments) if tool.is_async else _called(tool, ready.arguments))
        parts = result_parts(value, tool.origin)
    except asyncio.CancelledError:
        if late(run, task) and task.uncancel() == 0:
            return "timeout", _too_late(tool)
        if task.cancelling():
            raise
        return "error", _words(f"{tool.name} cancelled itself.", tool)
    except (SystemExit, KeyboardInterrupt) as way_out:  # let through, it would end a kernel
        late(run, task)
        if task.cancelling():  # the second Ctrl-C of a script
            raise
        return "error", _words(f"{tool.name} raised {type(way_out).__name__}.", tool)
    except Exception as error:  # noqa: BLE001  the border: what a tool raises is a result for the model
        if not late(run, task):
            return "error", _words(_told(error, tool), tool)
    else:
        if not late(run, task):
            return "ok", parts
    finally:
        current_call.reset(before)
    task.uncancel()  # it swallowed the news; its time was up all the same
    return "timeout", _too_late(tool)


def _too_late(tool: Tool) -> tuple[ResultPart, ...]:
    return _words(f"{tool.name} was stopped after {tool.timeout:g} s, its time limit.", tool)


async def _called(tool: Tool, arguments: dict[str, Any]) -> Any:
    """What a function that is not async returned."""
    value = tool.function(**arguments) if tool.inline else await in_thread(tool.function, **arguments)
    return await value if asyncio.iscoroutine(value) else value


def _words(text: str, tool: Tool) -> tuple[ResultPart, ...]:
    return (TextPart(clean(text), tool.origin),)


def _refuse(stage: Stage, part: ToolCallPart, outcome: Outcome, text: str) -> ToolResultPart:
    """A result for a call that does not run."""
    origin = Origin("tool", part.name)
    told = stage.redacting.words(clean(text))
    result = ToolResultPart(part.id, part.name, (TextPart(told, origin),), is_error=True, origin=origin)
    stage.results.append(result)
    stage.say(CallFinished(result, outcome))
    return result


def _told(error: BaseException, tool: Tool) -> str:
    """What the model is told of an exception: the words of a ToolError, else the class and the place."""
    if isinstance(error, LoomError):
        return str(error)
    place = ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.name == getattr(tool.function, "__name__", "") or "loom_nb" not in frame.filename:
            place = f" (line {frame.lineno} of {frame.name})"
            break
    return f"{tool.name} failed: {type(error).__name__}: {error}{place}"


def _shorten(
    stage: Stage, call_id: str, tool: Tool, parts: tuple[ResultPart, ...]
) -> tuple[tuple[ResultPart, ...], int]:
    """Head and tail of a text that is too long; the whole is kept and can be read by `read_result`."""
    if len(parts) == 1 and isinstance(parts[0], TextPart) and len(parts[0].text) <= tool.max_chars:
        return parts, 0
    if sum(len(part.text) for part in parts if isinstance(part, TextPart)) <= tool.max_chars:
        return parts, 0
    text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
    others = tuple(part for part in parts if not isinstance(part, TextPart))
    head = int(tool.max_chars * HEAD_SHARE)
    tail = tool.max_chars - head
    left_out = len(text) - head - tail
    name = stage.kit.keep(call_id, text)
    way = f'read_result(call_id="{name}", start={head})'
    mark = f"\n[... {left_out:,} of {len(text):,} characters left out: {way} reads on ...]\n"
    stage.request.tools = stage.kit.offer_reader()
    stage.say(ResultKept(name, text))
    origin = next(part.origin for part in parts if isinstance(part, TextPart))
    return (TextPart(text[:head] + mark + text[len(text) - tail :], origin), *others), len(text)


async def tell(stage: Stage, hook: str, **event: Any) -> None:
    """Call the hooks of that name; their failures become notices."""
    for failure in await stage.hooks.call(hook, run_id=stage.run.id, session_id=stage.session, **event):
        stage.say(Noticed(failure, "warning"))
