"""The agent loop, whole, on one page.

Ask the model; carry out the tools it asks for; again, until it is done or a limit is reached. One
loop for streaming and not, for a notebook, a script and a server. It keeps no state of its own.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec

from loom_nb.errors import EndFault, ModelError, RunLimited, RunStopped, ToolError
from loom_nb.events import (
    MessageAdded,
    Noticed,
    QuestionAnswered,
    RetryScheduled,
    RunFinished,
    Status,
    StopReason,
    TurnFinished,
    TurnStarted,
)
from loom_nb.messages import MODEL, Message, Origin, TextPart, ToolCallPart, ToolResultPart
from loom_nb.protocols import Reply
from loom_nb.runtime.attempts import attempted
from loom_nb.runtime.calls import perform, tell
from loom_nb.runtime.heads import note_head
from loom_nb.runtime.large_requests import ready
from loom_nb.runtime.limits import Streak
from loom_nb.runtime.output import OutputType
from loom_nb.runtime.pressure import overflowed
from loom_nb.runtime.stage import Stage, cleaned, pay, so_far
from loom_nb.runtime.working import draw

MAX_REPAIRS = 2
"""How often a model may mend a structured answer that does not fit its schema."""


def carry_out(stage: Stage) -> Coroutine[Any, Any, RunFinished]:
    """The whole run: turn after turn, or attempt after attempt where its answer has to be accepted.

    Raises what a model call raised when it did not pass.
    """
    return attempted(stage, turns) if stage.runtime.attempted else turns(stage)


async def turns(stage: Stage) -> RunFinished:
    """Turn after turn, until the model ends its answer or a limit is reached."""
    answers = 0
    try:
        if stage.resumed is not None and (ended := await _take_up(stage)) is not None:
            return ended
        while True:
            limits = stage.runtime.limits
            exceeded = limits.exceeded(stage.turns, stage.usage, stage.cost) if stage.turns else None
            if exceeded is not None:
                return stage.finished("limit", fault=exceeded[0], reason=exceeded[1])
            reply = await _turn(stage)
            calls = reply.message.calls
            if calls and reply.stop_reason not in ("refusal", "content_filter"):
                if stage.fair.must_wait():
                    await stage.fair.turn()
                ended = _take_in(stage, calls, await perform(stage, calls, cut=reply.stop_reason == "length"))
            else:
                answers += 1
                wrong = None if stage.output is None else _schema_problem(stage.output, reply)
                repair = wrong is not None and answers <= MAX_REPAIRS
                ended = _to_mend(stage, wrong or "") if repair else _ending(stage, reply, wrong)
            if ended is not None:
                return ended
            if stage.commit is not None:
                await stage.commit()
    except RunLimited as reached:  # what had come of the message is settled at the end
        return stage.finished("limit", so_far(stage), reached.fault, reached.reason, fixes=reached.fixes)
    except RunStopped as stop:
        return stage.finished("stopped", reason=stop.reason)


async def _take_up(stage: Stage) -> RunFinished | None:
    """Go on where another process died: its calls first; it may have had the answer already."""
    last = stage.view.conversation.messages[-1]
    stop_reason = stage.resumed.stop_reason if stage.resumed is not None else "end"
    if last.calls:
        await _finish_turn(stage)
    stage.resumed = None
    if last.role == "assistant" and not last.calls and not last.partial:
        reply = Reply(last, stop_reason=stop_reason)
        wrong = None if stage.output is None else _schema_problem(stage.output, reply)
        return _ending(stage, reply, wrong)
    return None


async def _finish_turn(stage: Stage) -> None:
    """Carry out the calls of the turn in which the run was when its process died."""
    _add(
        stage,
        Message("tool", tuple(await perform(stage, stage.view.conversation.messages[-1].calls, cut=False))),
    )
    stage.between_turns()
    stage.resumed = None
    for question in stage.asking.forget_waiting():  # its tool or what it would do is another by now
        stage.say(QuestionAnswered(question.id, "cancelled"))
    if stage.commit is not None:
        await stage.commit()


async def _turn(stage: Stage) -> Reply:
    """One model call, its failures retried where they may pass."""
    say = stage.say
    if stage.run.stop_reason is not None:  # should a tool have swallowed the news
        raise asyncio.CancelledError
    tokens = stage.meter.weigh() if stage.course is None else draw(stage)  # of the next request
    tokens = tokens if stage.meter.exact else tokens + stage.head()
    if tokens >= stage.room:
        tokens = await ready(stage, tokens)
    stage.turns += 1
    say(TurnStarted(stage.turns, tokens, stage.budget, stage.meter.working))
    if stage.hooks.given:
        await tell(stage, "before_llm", iteration=stage.turns, model=stage.model.name)
    started = stage.clock.monotonic()
    played = stage.recorded is not None and stage.recorded(stage.request)
    note_head(stage)
    reply: Reply | None = None
    try:
        reply = await (_reply(stage) if stage.shown else stage.model.reply(stage.request, stage.show))
    except ModelError as error:
        if not await _may_pass(stage, error, 1):
            raise
    if reply is None:
        reply = await _ask_again(stage)
    stage.run.deltas = ()
    message, stop = cleaned(reply.message), None
    if stage.redacting.at_work:
        message, stop = await _without_secrets(stage, message)
    if message is not reply.message:
        reply = msgspec.structs.replace(reply, message=message)
    stage.add(message)
    say(MessageAdded(message))
    cost = (
        pay(stage, reply, played=played)
        if reply.discarded
        else stage.spend(reply.usage, reply.model, played=played)
    )
    stage.meter.counted_by_vendor(reply.usage)
    say(
        TurnFinished(
            stage.turns,
            reply.usage,
            reply.stop_reason,
            reply.model,
            stage.clock.monotonic() - started,
            cost,
            reply.discarded,
            played,
        )
    )
    if reply.notices or stage.hooks.given or stop is not None:
        await _tell_of(stage, reply, stop)
    return reply


async def _without_secrets(stage: Stage, message: Message) -> tuple[Message, asyncio.CancelledError | None]:
    """A reply without secrets, and who stopped the run meanwhile: what is paid for and was shown is kept."""
    if not stage.redacting.asks:
        return await stage.redacting.message(message), None
    looking = asyncio.ensure_future(stage.redacting.message(message))
    try:
        return await asyncio.shield(looking), None
    except asyncio.CancelledError as stop:
        return await looking, stop


async def _tell_of(stage: Stage, reply: Reply, stop: asyncio.CancelledError | None) -> None:
    if stop is not None:  # the reply is kept; its calls are not carried out
        raise stop
    for notice in reply.notices:
        stage.say(Noticed(notice))
    await tell(stage, "after_llm", iteration=stage.turns, model=reply.model, stop_reason=reply.stop_reason)


async def _reply(stage: Stage) -> Reply:
    """What the model says, shown as it comes; what was held back of it is shown at its end."""
    try:
        return await stage.model.reply(stage.request, stage.show)
    finally:
        if stage.shown is not None:
            stage.shown.end()


async def _ask_again(stage: Stage) -> Reply:
    """The reply after a failure. Raises the last one, where none passes."""
    attempt = 1
    while True:
        attempt += 1
        note_head(stage)
        try:
            return await _reply(stage)
        except ModelError as error:
            if not await _may_pass(stage, error, attempt):
                raise


async def _may_pass(stage: Stage, error: ModelError, attempt: int) -> bool:
    """Do what helps against a failed model call, or wait; whether it is to be tried again."""
    if error.fault == "context_overflow" and not stage.run.deltas and await overflowed(stage):
        return True
    delay = None if stage.run.deltas else stage.runtime.retry.delay(error, attempt, stage.random)
    if delay is None:
        return False
    stage.say(RetryScheduled(attempt + 1, delay, error.fault, error.title))
    await stage.clock.sleep(delay)
    return True


def _add(stage: Stage, message: Message) -> None:
    stage.add(message)
    stage.say(MessageAdded(message))


def _take_in(
    stage: Stage, calls: Sequence[ToolCallPart], results: list[ToolResultPart]
) -> RunFinished | None:
    """Add what the calls gave; the end of the run where going on is of no use."""
    stuck = _stuck(stage, calls, results)
    _add(stage, Message("tool", tuple(results)))
    stage.between_turns()
    return stage.finished("limit", fault="stuck", reason=stuck) if stuck else None


def _to_mend(stage: Stage, wrong: str) -> RunFinished | None:
    """No end yet: the model is told to mend its answer."""
    _add(stage, _mend(wrong))
    return None


def _stuck(stage: Stage, calls: Sequence[ToolCallPart], results: list[ToolResultPart]) -> str:
    """Why going on is of no use; empty where it is. One turn before, the last failure's result says so."""
    for result in results:
        if result.is_error:
            break
    else:
        stage.streak = None
        return ""
    most = stage.runtime.limits.stuck
    if most is None:
        return ""
    if stage.streak is None:
        stage.streak = Streak(most)
    told = stage.streak.grown(calls, results)
    if told is None or told.stuck:
        return told.words if told is not None else ""
    stage.say(Noticed(f"It repeats itself: {told.words}", "warning"))
    place = max(n for n, one in enumerate(results) if one.is_error)
    ours = Origin("system", "stuck")
    last = ". Once more the same ends this run: do something else, or say what is in the way.)"
    note = (TextPart("(", ours), TextPart(told.words, MODEL), TextPart(last, ours))  # it quotes arguments
    results[place] = msgspec.structs.replace(results[place], parts=(*results[place].parts, *note))
    return ""


def _schema_problem(output: OutputType, reply: Reply) -> str | None:
    """Why the answer does not fit the schema that the run asked for, or None."""
    if reply.stop_reason not in ("end", "stop_sequence", "other"):
        return None
    try:
        output.accept(reply.message.text)
    except ToolError as error:
        return error.title
    return None


def _mend(wrong: str) -> Message:
    """The model is told to mend its answer: by nobody's order, and in part in its own words."""
    ours = Origin("system", "schema")
    first, last = "This does not fit the schema: ", "\nAnswer with only JSON that fits."
    return Message("user", (TextPart(first, ours), TextPart(wrong, MODEL), TextPart(last, ours)))


_NO_FIT = (
    "%loom show last   (what it answered)",
    "say in the prompt what each field means",
    "run the cell again",
)
_REFUSED: tuple[Status, EndFault, str] = ("failed", "content_filter", "the model refused to answer")
_BROKEN_OFF: dict[StopReason, tuple[Status, EndFault, str]] = {
    "length": ("limit", "length", "the answer was cut at the model's output limit"),
    "refusal": _REFUSED,
    "content_filter": _REFUSED,
    "tool_calls": ("failed", "format", "the model announced tool calls and sent none"),
}
"""How a run ends whose last message did not come to its own end: status, fault and reason."""


def _ending(stage: Stage, reply: Reply, wrong: str | None) -> RunFinished:
    """How a run ends whose model asked for nothing more: a cut or refused answer is not completed."""
    text = reply.message.text
    if (broken := _BROKEN_OFF.get(reply.stop_reason)) is not None:
        status, fault, reason = broken
        return stage.finished(status, text, fault, reason)
    if stage.replies == 1 and not text.strip():
        return stage.finished("failed", fault="format", reason="the model sent an empty answer")
    if wrong is not None:
        reason = f"the answer does not fit the schema: {wrong}"
        return stage.finished("failed", text, "format", reason, fixes=_NO_FIT)
    if stage.denied:
        return stage.finished("denied", text, "denied", "; ".join(stage.denied), fixes=stage.allowing)
    if stage.output is None:
        return stage.finished("completed", text)
    stage.value = stage.output.accept(text)
    return stage.finished("completed", text, data=stage.output.plain(stage.value))
