"""The attempts of a run whose answer has to be accepted: work, check, critique, again.

What an attempt is lies in the conversation: each but the first begins with a message that says so. A run
that is resumed finds there how often it was tried.
"""

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from loom_nb.border import clean
from loom_nb.errors import BorderError, EndFault, LoomError, LoomUsageError, ModelError, RunLimited, ToolError
from loom_nb.events import (
    AttemptStarted,
    Change,
    MessageAdded,
    Noticed,
    QualityChecked,
    RetryScheduled,
    RunFinished,
)
from loom_nb.messages import MODEL, DataPart, Message, Origin, Part, TextPart, Usage
from loom_nb.protocols import Generation, LanguageModel, Reply, Request
from loom_nb.runtime.compaction import tried
from loom_nb.runtime.context import ATTEMPT, last_instruction
from loom_nb.runtime.harness import AGAIN, Attempting, Candidate, begins_again
from loom_nb.runtime.pressure import tell_compacted
from loom_nb.runtime.quality import (
    CHARS,
    Acceptance,
    Judge,
    QualityGate,
    acceptance_of,
    digest,
    name_of,
    read_verdict,
    task_of,
    verdict_request,
    with_criteria,
)
from loom_nb.runtime.restore import settle
from loom_nb.runtime.spending import plays
from loom_nb.runtime.stage import Stage, pay
from loom_nb.runtime.threads import in_thread

Turns = Callable[[Stage], Awaitable[RunFinished]]

MEND = "Your answer was not accepted. The critique follows as data: mend what it names, answer in whole."
UNSEEN = "An earlier attempt was not accepted. It is not shown; its critique follows as data."
ANEW = "Another answer is wanted. What follows was said of it:\n"
VERDICTS = 2
"""How often a judge is asked, where what it wrote is no verdict."""


async def attempted(stage: Stage, turns: Turns) -> RunFinished:
    """Carry out a run by its harness, until its answer is accepted or may not be tried again.

    Raises what a model call of an attempt raised when it did not pass.
    """
    harness = stage.runtime.harness
    one = _Attempts(stage, turns)
    stage.request.system = with_criteria(stage.request.system, one.gate, one.task)
    try:
        if harness.kind == "custom" and harness.function is not None:
            return await one.by(harness.function)
        if one.gate is None:
            return await turns(stage)
        independent = harness.kind == "generator_evaluator"
        return await one.until_accepted(one.gate, harness.attempts or one.gate.attempts, independent)
    except _Over as over:
        return one.with_last_words(over.finished)
    finally:
        await one.close()


class _Over(Exception):
    """A limit of the run is reached: nothing more can be attempted or evaluated."""

    def __init__(self, finished: RunFinished) -> None:
        super().__init__(finished.reason)
        self.finished = finished


class _Attempts:
    """The attempts of one run; a `Trial` for those who decide themselves."""

    def __init__(self, stage: Stage, turns: Turns) -> None:
        self._stage = stage
        self._turns = turns
        messages = stage.view.conversation.messages
        self._begin = max(0, last_instruction(messages))
        """The number of the message with the task."""
        self.task = task_of(messages[self._begin])
        gate = stage.runtime.gate
        self.gate = None if gate is None or gate.idle(self.task) else gate
        self.number = 1 + sum(map(begins_again, messages[self._begin + 1 :]))
        self._from = max([self._begin + 1, *(last + 1 for last in self._left_out())])
        """The first message that belongs to the attempts that are shown."""
        self.candidates: list[Candidate] = []
        self._ends: list[tuple[RunFinished, Any]] = []
        """How the run would have ended with each of them, and the value of its answer."""
        self._verdicts: dict[int, Acceptance | None] = {}
        self._critique: Part | None = None
        """What the next attempt is to be told."""
        self._judge: LanguageModel | None = None

    def _left_out(self) -> list[int]:
        """The last messages of what earlier attempts did, where it is not shown any more."""
        compactions = self._stage.view.compactions.values()
        changes = [one for each in compactions if each.strategy == ATTEMPT for one in each.changes]
        return [change.last for change in changes if change.first > self._begin]

    # -- by the gate -------------------------------------------------------------------------------

    async def until_accepted(self, gate: QualityGate, most: int, independent: bool) -> RunFinished:
        """Again until the gate says yes, at most so many times in all."""
        words = UNSEEN if independent else MEND
        while True:
            candidate = await self._once(independent)
            if candidate.status != "completed":
                return self.with_last_words(self._ends[-1][0])
            verdict = await self._checked(gate, candidate)
            if verdict is None or verdict.passed or self.number >= most:
                return self._ending(candidate, verdict, passed=verdict is not None and verdict.passed)
            await self._again(words, independent)

    async def _once(self, independent: bool) -> Candidate:
        """Let the model work until it ends its answer."""
        stage = self._stage
        if stage.resumed is None:
            stage.say(AttemptStarted(self.number, independent))
        if self.candidates:
            stage.denied = stage.allowing = ()
        stage.value = None
        finished = await self._turns(stage)
        candidate = Candidate(self.number, finished.output, finished.status, finished.reason, finished.data)
        self.candidates.append(candidate)
        self._ends.append((finished, stage.value))
        return candidate

    async def _again(self, words: str, independent: bool) -> None:
        """Begin the next attempt with these words and the critique, where there is one."""
        stage = self._stage
        if independent:
            await self._leave_out()
        critique = () if self._critique is None else (self._critique,)
        self._critique = None
        said = () if words in (MEND, UNSEEN) else (TextPart(clean(words), MODEL),)  # it may quote the model
        message = Message("user", (TextPart(words if not said else ANEW, AGAIN), *said, *critique))
        self.number += 1
        stage.add(message)
        stage.say(MessageAdded(message))

    def _settle(self) -> None:
        """Close what an attempt that was broken off has left open."""
        stage = self._stage
        for event in settle(stage):
            stage.say(event)
        stage.run.deltas = ()
        stage.between_turns()

    async def _leave_out(self) -> None:
        """The work of the attempts so far is not shown any more; what each was told at its beginning is."""
        stage = self._stage
        messages = stage.view.conversation.messages
        changes: list[Change] = []
        for number in range(self._from, len(messages)):
            if begins_again(messages[number]):
                continue
            if changes and changes[-1].last == number - 1:
                changes[-1] = Change(changes[-1].first, number)
            else:
                changes.append(Change(number, number))
        self._from = len(messages)
        if not changes:
            return
        told = f"attempt {self.number + 1} is made without the work of those before"
        compacted, _ = tried(stage.view, ATTEMPT, tuple(changes), stage.meter.weigh(), told)
        stage.view.take(compacted)
        await tell_compacted(stage, compacted)

    def _ending(self, candidate: Candidate, verdict: Acceptance | None, *, passed: bool) -> RunFinished:
        """How the run ends with this candidate."""
        finished, self._stage.value = self._ends[candidate.number - self.candidates[0].number]
        if passed:
            return self._stage.finished("completed", finished.output, data=finished.data)
        if verdict is None:
            reason = "the answer could not be evaluated, so that it is not accepted"
        else:
            times = f"{self.number} attempt{'' if self.number == 1 else 's'}"
            reason = f"the answer was not accepted after {times}: {_brief(verdict.missing)}"
        return self._stage.finished("failed", finished.output, "quality", reason, finished.data)

    def with_last_words(self, finished: RunFinished) -> RunFinished:
        """An end that came in the midst of an attempt: the answer before it is the output."""
        done = [one for one in self.candidates if one.status == "completed"]
        if not done:
            return finished
        verdict = self._verdicts.get(done[-1].number)
        reason = f"{finished.reason}; the answer before was " + (
            f"not accepted: {_brief(verdict.missing)}" if verdict is not None else "not evaluated"
        )
        return self._ended(finished, finished.output or done[-1].text, reason)

    def _ended(self, finished: RunFinished, output: str, reason: str) -> RunFinished:
        """The end of an attempt as that of the run, which has spent more since."""
        fault = cast("EndFault", finished.fault)
        return self._stage.finished(finished.status, output, fault, reason, finished.data, finished.fixes)

    # -- by a function of the user -----------------------------------------------------------------

    async def by(self, function: Attempting) -> RunFinished:
        """Let a user's coroutine attempt and decide; what it accepts still has to pass the gate."""
        stage = self._stage
        try:
            chosen: object = await function(self)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self._failed("it cancelled itself")
        except (LoomError, _Over):
            raise
        except Exception as error:  # noqa: BLE001  the border: what a user's function raises ends the run
            return self._failed(_told(error, function))
        if stage.run.is_stopping():
            raise asyncio.CancelledError
        self._settle()
        return await self._chosen(self._made(chosen) if isinstance(chosen, str) else chosen)

    async def _chosen(self, chosen: object) -> RunFinished:
        """How the run ends with what the user's coroutine gave."""
        stage = self._stage
        if chosen is None:
            return self._failed("it accepted no candidate")
        if not isinstance(chosen, Candidate) or chosen not in self.candidates:
            return self._failed(f"it returned {_brief(repr(chosen))} in place of a candidate, a text or None")
        if chosen.status != "completed":
            finished, stage.value = self._ends[chosen.number - self.candidates[0].number]
            return self._ended(finished, finished.output, finished.reason)
        verdict: Acceptance | None = Acceptance(passed=True)
        if self.gate is not None:
            known = chosen.number in self._verdicts
            verdict = self._verdicts[chosen.number] if known else await self._checked(self.gate, chosen)
        return self._ending(chosen, verdict, passed=verdict is not None and verdict.passed)

    def _made(self, text: str) -> Candidate:
        """An answer that the user's function wrote itself."""
        stage, text = self._stage, clean(text)
        finished = stage.finished("completed", text)
        stage.value = None
        if stage.output is not None:
            try:
                stage.value = stage.output.accept(text)
                finished = stage.finished("completed", text, data=stage.output.plain(stage.value))
            except ToolError as error:
                finished = stage.finished(
                    "failed", text, "format", f"it does not fit the schema: {error.title}"
                )
        first = self.candidates[0].number if self.candidates else self.number
        candidate = Candidate(
            first + len(self.candidates), text, finished.status, finished.reason, finished.data
        )
        self.candidates.append(candidate)
        self._ends.append((finished, stage.value))
        return candidate

    def _failed(self, what: str) -> RunFinished:
        text = self.candidates[-1].text if self.candidates else ""
        return self._stage.finished("failed", text, "harness", f"the harness did not end well: {what}")

    async def attempt(self, extra: str = "", *, independent: bool = False) -> Candidate:
        """See `Trial`."""
        stage = self._stage
        if stage.resumed is None:
            self._settle()
        if self.candidates:
            last = self._ends[-1][0]
            if last.status == "limit" and last.fault != "length":
                raise _Over(last)  # it would be the same again
            await self._again(extra or "Try again: another answer is wanted.", independent)
        elif extra and stage.resumed is None:
            message = Message("user", (TextPart(clean(extra), MODEL),))  # it may quote anybody
            stage.add(message)
            stage.say(MessageAdded(message))
        return await self._once(independent)

    async def check(self, candidate: Candidate) -> Acceptance | None:
        """See `Trial`."""
        if self.gate is None:
            raise LoomUsageError(
                "there is nothing to check by", fixes=["Runtime(quality=QualityGate.pass_fail(), …)"]
            )
        if candidate not in self.candidates or candidate.status != "completed":
            raise LoomUsageError(f"attempt {candidate.number} has no answer that could be checked")
        return await self._checked(self.gate, candidate)

    # -- one evaluation ----------------------------------------------------------------------------

    async def _checked(self, gate: QualityGate, candidate: Candidate) -> Acceptance | None:
        """Hold an answer against what it must meet; None where that was not possible."""
        stage = self._stage
        if stage.run.is_stopping():
            raise asyncio.CancelledError
        if stage.commit is not None:
            await stage.commit()  # the answer is on disk before its evaluation, which may take long
        before, by = stage.usage, ""
        if gate.by is None or isinstance(gate.by, Judge):
            by = gate.by.name if gate.by is not None else stage.model.name
            verdict = await self._by_model(gate, candidate)
        else:
            by = name_of(gate.by)
            verdict = await self._by_function(gate.by, candidate)
        self._verdicts[candidate.number] = verdict
        usage = _difference(stage.usage, before)
        if verdict is None:
            stage.say(QualityChecked(candidate.number, None, usage=usage, by=by))
        else:
            told = () if verdict.passed else (verdict.told,)
            origin = MODEL if gate.asks_a_model else Origin("tool", by)
            self._critique = next((DataPart("critique", clean(one), origin) for one in told), None)
            stage.say(
                QualityChecked(candidate.number, verdict.passed, verdict.critique, verdict.results, usage, by)
            )
        if stage.commit is not None:
            await stage.commit()
        return verdict

    async def _by_model(self, gate: QualityGate, candidate: Candidate) -> Acceptance | None:
        """Ask the judge; once more where what it wrote is no verdict."""
        stage = self._stage
        criteria = gate.all_of(self.task)
        room = min(CHARS, stage.budget) if stage.budget else CHARS
        work = stage.view.conversation.messages[self._from :]
        generation = stage.request.generation if gate.by is None else Generation()
        request = verdict_request(self.task, candidate.text, digest(work, room), criteria, generation, room)
        request.run = stage.request.run
        for _ in range(VERDICTS):
            over = stage.runtime.limits.overspent(stage.usage, stage.cost)
            if over is not None:
                raise _Over(stage.finished("limit", candidate.text, *over, candidate.data))
            try:
                reply = await self._reply(gate.by, request)
                return read_verdict(_whole(reply), criteria)
            except BorderError as error:
                stage.say(Noticed(f"the answer was not evaluated: {error.title}", "warning"))
            except RunLimited as reached:
                told = (candidate.text, reached.fault, reached.reason, candidate.data, reached.fixes)
                raise _Over(stage.finished("limit", *told)) from None
            except LoomError as error:  # the judge's own troubles do not undo the work
                stage.say(Noticed(f"the answer was not evaluated: {error.title}", "warning"))
                return None
        return None

    async def _reply(self, by: object, request: Request) -> Reply:
        """A whole answer of the judge, retried where a failure may pass, and counted."""
        stage = self._stage
        if self._judge is None:
            self._judge = stage.watched(by.open(), by) if isinstance(by, Judge) else stage.model
        attempt = 0
        while True:
            attempt += 1
            played = plays(self._judge, request)
            try:
                reply = await self._judge.reply(request, lambda _: None)
            except ModelError as error:
                delay = stage.runtime.retry.delay(error, attempt, stage.random)
                if delay is None:
                    raise
                stage.say(RetryScheduled(attempt + 1, delay, error.fault, error.title))
                await stage.clock.sleep(delay)
                continue
            pay(stage, reply, by.cost if isinstance(by, Judge) else None, played=played)
            return reply

    async def _by_function(self, function: Callable[..., Any], candidate: Candidate) -> Acceptance | None:
        """Ask the user's function, beside the event loop where it is not async."""
        stage, call = self._stage, partial(function, candidate.text, self.task)
        try:
            said = call() if inspect.iscoroutinefunction(function) else await in_thread(call)
            if inspect.isawaitable(said):
                said = await said
            return acceptance_of(said)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return Acceptance(passed=False, critique=f"{name_of(function)} cancelled itself")
        except BorderError as error:
            stage.say(Noticed(f"the answer was not evaluated: {error.title}", "warning"))
            return None
        except Exception as error:  # noqa: BLE001  the border: what a check raises is why it did not pass
            words = error.title if isinstance(error, LoomError) else f"{type(error).__name__}: {error}"
            return Acceptance(passed=False, critique=_brief(clean(words), 2_000))

    async def close(self) -> None:
        """Let go of a judge that is not the run's own model."""
        judge, self._judge = self._judge, None
        if judge is None or judge is self._stage.model:
            return
        try:
            await judge.close()
        except Exception as error:  # noqa: BLE001  the border: it is told, and must not cost a result
            self._stage.say(Noticed(f"closing the judge failed: {type(error).__name__}: {error}", "warning"))


def _whole(reply: Reply) -> str:
    """The words of a reply that was not cut. Raises BorderError where it was, or was refused."""
    if reply.stop_reason in ("length", "refusal", "content_filter"):
        raise BorderError(f"the verdict is not whole: {reply.stop_reason}")
    return reply.message.text


def _difference(after: Usage, before: Usage) -> Usage:
    return Usage(*(getattr(after, name) - getattr(before, name) for name in Usage.__struct_fields__))


def _told(error: Exception, function: object) -> str:
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.name == name_of(function)]
    place = f" (line {frames[-1].lineno} of {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def _brief(text: str, chars: int = 500) -> str:
    return text if len(text) <= chars else f"{text[: chars - 1]}…"
