"""What a log says of the past, and how a run that broke off is brought to a valid end.

A model is never shown a call without its result: what did not finish gets a result that says so.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from loom_nb.border import parse_object
from loom_nb.errors import BorderError, ToolError
from loom_nb.events import (
    CallFinished,
    CallStarted,
    CompactionUndone,
    ContextCompacted,
    ContextMarked,
    EvidenceFound,
    Kept,
    LogEntry,
    MessageAdded,
    NotesWritten,
    Noticed,
    PlanItem,
    PlanUpdated,
    QualityChecked,
    QuestionAnswered,
    QuestionAsked,
    ResultKept,
    RunFinished,
    RunInterrupted,
    RunStarted,
    SkillActivated,
    TurnFinished,
    TurnStarted,
)
from loom_nb.messages import Conversation, Message, Origin, TextPart, ToolResultPart
from loom_nb.protocols import OutputSchema
from loom_nb.questions import Question, misfits
from loom_nb.remedies import remedies
from loom_nb.runtime.active_skills import with_skill
from loom_nb.runtime.context import Fact
from loom_nb.runtime.evidence import Numbers
from loom_nb.runtime.output import OutputType, without_fence
from loom_nb.runtime.stage import LOST, Meter, Resumed, Stage, partial_message
from loom_nb.runtime.tally import Tally

_STOPPED = "This call was stopped before it ended; whatever it had done until then is not undone."
_NEVER = "This call was not started."


@dataclass(slots=True)
class Past:
    """The fold of a session's log."""

    conversation: Conversation = field(default_factory=Conversation)
    meter: Meter = field(default_factory=Meter)
    kept: dict[str, str] = field(default_factory=dict)
    seq: int = 0
    runs: set[str] = field(default_factory=set)
    """The ids that runs have."""
    ended: set[str] = field(default_factory=set)
    """Of those that have ended."""
    repairs: list[tuple[str, Kept]] = field(default_factory=list)
    """(run, event) to append so that the log is whole again: a process died in these runs."""
    waiting: "Waiting | None" = None
    """The last run, if its process died: it has no repairs yet."""
    asked: int = 0
    """Questions so far."""
    tally: Tally = field(default_factory=Tally)
    context: list[Fact] = field(default_factory=list)
    """What was compacted, undone and marked."""
    plan: tuple[PlanItem, ...] = ()
    planned: int = -1
    """The message that wrote it down."""
    notes: tuple[tuple[int, NotesWritten], ...] = ()
    evidence: Numbers = field(default_factory=Numbers)
    """The numbers of the passages that were told."""
    skills: tuple[SkillActivated, ...] = ()
    """Those that were active in the last run."""


@dataclass(slots=True)
class Waiting:
    """The last run, whose process died: it can be resumed."""

    run: str
    questions: list[Question]
    """Without an answer."""
    resumed: Resumed
    entries: list[LogEntry]
    """What the log holds of the run."""
    repairs: list[Kept]
    """What ends it instead, where it is not resumed."""

    @property
    def knowledge(self) -> tuple[()]:
        """What it was given to look things up in: that was looked up when it began."""
        return ()

    @property
    def goal(self) -> str:
        """The words of the user."""
        return self._started.goal if self._started is not None else ""

    @property
    def output(self) -> "KeptForm | None":
        """The form that the answer must have, as far as the log kept it."""
        form = self._started.form if self._started is not None else None
        return KeptForm(form) if form is not None and isinstance(form.get("schema"), dict) else None

    @property
    def told(self) -> Noticed | None:
        """What is not as it was: the process that began the run had a type for its answer."""
        if self._started is None or self._started.form is None:
            return None
        if self.output is not None:
            return Noticed("The answer is held to its form as before; its data is plain, without the type.")
        return Noticed(
            "The form that the answer of this run must have was not kept: its answer is text.", "warning"
        )

    @property
    def _started(self) -> RunStarted | None:
        return next((one.event for one in self.entries if isinstance(one.event, RunStarted)), None)


def form_to_keep(output: OutputType | None) -> dict[str, Any] | None:
    """What `RunStarted` keeps of the form of an answer."""
    if output is None:
        return None
    kept: dict[str, Any] = {"name": output.schema.name, "schema": None, "wrapped": output.wrapped}
    with suppress(TypeError, ValueError, OverflowError, RecursionError):  # a type may put anything in
        kept["schema"] = msgspec.json.decode(msgspec.json.encode(output.schema.schema))
    return kept


class KeptForm(OutputType):
    """The form of an answer as a log keeps it, without the Python type: its values stay plain."""

    __slots__ = ()

    def __init__(self, form: Mapping[str, Any]) -> None:
        self.wrapped = bool(form.get("wrapped"))
        self.schema = OutputSchema(str(form.get("name") or "answer"), form["schema"])

    def accept(self, text: str) -> Any:
        """The answer as plain data. Raises `ToolError` that names each wrong field."""
        try:
            plain = parse_object(without_fence(text), what="the answer")
        except BorderError as error:
            raise ToolError(error.title) from None
        wrong = misfits(self.schema.schema, plain, "answer")
        if wrong:
            raise ToolError(wrong)
        return plain["value"] if self.wrapped else plain

    def plain(self, value: Any) -> Any:
        """It is plain already."""
        return value


class _OpenRun:
    """A run in the log that has not ended."""

    __slots__ = ("begun", "entries", "questions", "results")

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.questions: dict[str, Question] = {}
        self.results: list[ToolResultPart] = []
        self.begun: set[str] = set()


def read_past(entries: Iterable[LogEntry]) -> Past:
    """Fold a log from its first entry to its last."""
    past = Past()
    open_runs: dict[str, _OpenRun] = {}
    for entry in entries:
        past.seq = entry.seq
        _fold(past, entry)
        if isinstance(entry.event, RunStarted):
            open_runs[entry.run] = _OpenRun()
        run = open_runs.get(entry.run)
        if run is None:
            continue
        if isinstance(entry.event, RunFinished | RunInterrupted):
            past.ended.add(entry.run)
            del open_runs[entry.run]
        else:
            _follow(run, entry)
    for name, run in open_runs.items():
        _leave_or_end(past, name, run, last=name == next(reversed(open_runs)))
    return past


def _fold(past: Past, entry: LogEntry) -> None:
    """What an entry means for the session as a whole."""
    match entry.event:
        case RunStarted():
            past.runs.add(entry.run)
            past.skills = ()
        case MessageAdded(message=message):
            past.conversation.add(message)
            past.meter.tail += (message,)
        case CallStarted(name=name):
            past.tally.add(name, entry.time)
        case TurnStarted(working=working):
            past.meter.working = working
        case TurnFinished(usage=usage):
            past.meter.counted_by_vendor(usage)
        case ResultKept(call_id=call_id, text=text):
            past.kept[call_id] = text
        case QuestionAsked():
            past.asked += 1
        case ContextCompacted() | CompactionUndone() | ContextMarked():
            past.context.append(entry.event)
            if isinstance(entry.event, ContextCompacted):
                past.meter.shrunk(entry.event.tokens_before - entry.event.tokens_after)
        case _:
            _fold_books(past, entry.event)


def _fold_books(past: Past, event: Kept) -> None:
    """The agent's own books: its plan and its notes, each with the message that wrote them."""
    last = len(past.conversation) - 1
    if isinstance(event, PlanUpdated):
        past.plan, past.planned = event.items, last
    elif isinstance(event, NotesWritten):
        past.notes += ((last, event),)
    elif isinstance(event, EvidenceFound):
        past.evidence.take(event)
    elif isinstance(event, SkillActivated):
        past.skills = with_skill(past.skills, event)


def _follow(run: _OpenRun, entry: LogEntry) -> None:
    """What an entry means for a run that has not ended."""
    run.entries.append(entry)
    match entry.event:
        case MessageAdded():
            run.results.clear()
            run.begun.clear()
        case CallStarted(call_id=call_id):
            run.begun.add(call_id)
        case CallFinished(result=result):
            run.results.append(result)
        case QuestionAsked(question=question):
            run.questions[question.id] = question
        case QuestionAnswered(question_id=asked):
            run.questions.pop(asked, None)
        case _:
            pass


def _leave_or_end(past: Past, name: str, run: _OpenRun, *, last: bool) -> None:
    """A run whose process died: the last one is left as it is, until it is resumed or another begins."""
    cancelled: list[Kept] = [QuestionAnswered(asked, "cancelled") for asked in run.questions]
    closed = _close_calls(past.conversation.messages, run.results, run.begun, "lost")
    repairs: list[Kept] = [*cancelled, *closed, RunInterrupted()]
    if last:
        ends = [one.event.stop_reason for one in run.entries if isinstance(one.event, TurnFinished)]
        resumed = Resumed(
            {result.call_id: result for result in run.results}, set(run.begun), ends[-1] if ends else "end"
        )
        past.waiting = Waiting(name, list(run.questions.values()), resumed, run.entries, repairs)
        return
    past.repairs += [(name, event) for event in repairs]


def settle(stage: Stage) -> list[Kept]:
    """What must be said so that a conversation broken off at any point is valid again.

    The words that had arrived are kept; every call without a result gets one.
    """
    said: list[Kept] = []
    partial = partial_message(stage.run.deltas)
    if partial is not None:
        said.append(MessageAdded(partial))
    else:
        said += _close_calls(stage.view.conversation.messages, stage.results, stage.started_calls, "stopped")
    for event in said:
        if isinstance(event, MessageAdded):
            stage.add(event.message)
    return said


def _close_calls(
    messages: Sequence[Message],
    results: Sequence[ToolResultPart],
    begun: Collection[str],
    outcome: Literal["lost", "stopped"],
) -> list[Kept]:
    """Results for the calls of the last message, if it is one that asks for any."""
    if not messages or not messages[-1].calls:
        return []
    have = {result.call_id: result for result in results}
    events: list[Kept] = []
    for call in messages[-1].calls:
        if call.id in have:
            continue
        text = (LOST if outcome == "lost" else _STOPPED) if call.id in begun else _NEVER
        result = ToolResultPart(
            call.id, call.name, (TextPart(text, Origin("system")),), is_error=True, origin=Origin("system")
        )
        have[call.id] = result
        events.append(CallFinished(result, outcome))
    events.append(MessageAdded(Message("tool", tuple(have[call.id] for call in messages[-1].calls))))
    return events


def take_up(stage: Stage, past: Waiting) -> None:
    """Stand where the run stood when its process ended."""
    stage.resumed = past.resumed
    stage.products.remember(past.entries)
    for entry in past.entries:
        if isinstance(entry.event, TurnFinished):
            stage.turns += 1
            played = entry.event.played
            for one in entry.event.discarded:
                stage.spend(one.usage, one.model, aside=True, played=played)
            stage.spend(entry.event.usage, entry.event.model, played=played)
        elif isinstance(entry.event, QualityChecked):
            stage.spend(entry.event.usage)
        elif isinstance(entry.event, ContextCompacted) and entry.event.usage.total_tokens:
            stage.spend(entry.event.usage, aside=True)
        elif isinstance(entry.event, CallFinished) and entry.event.outcome == "denied":
            result = entry.event.result
            stage.denied = (*stage.denied, result.text)
            stage.allowing = stage.allowing or remedies("denied", "denied")
