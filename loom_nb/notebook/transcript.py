"""What a reader sees of a run, folded from its events.

`fold(transcript, event)` is pure: a new transcript comes back and the old one stays as it was. A
delta costs the same whether it is the first or the ten thousandth, because growing texts and lists
are shared between the old value and the new one (see `Chain`). Nothing that is missing, late or
said twice is an error: a transcript shows what is known.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from loom_nb.border import parse_object
from loom_nb.errors import BorderError
from loom_nb.events import (
    ArtifactAdded,
    ArtifactKind,
    AttemptStarted,
    CallDelta,
    CallFinished,
    CallJudged,
    CallOutput,
    CallStarted,
    ContextCompacted,
    Event,
    EvidenceFound,
    GrantRevoked,
    LogEntry,
    MemoryChanged,
    MessageAdded,
    NotesRecalled,
    Noticed,
    PlanItem,
    PlanUpdated,
    Played,
    QualityChecked,
    QuestionAnswered,
    QuestionAsked,
    RecalledNote,
    RetryScheduled,
    RunFinished,
    RunInterrupted,
    RunResumed,
    RunStarted,
    SecretUsed,
    SkillActivated,
    SkillChanged,
    TableHead,
    TextDelta,
    ThinkingDelta,
    TurnFinished,
    TurnStarted,
    VariableChange,
    VariablesChanged,
)
from loom_nb.messages import (
    DataPart,
    FilePart,
    ImagePart,
    Message,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from loom_nb.notebook.cited import Evidence, found, is_found, with_words
from loom_nb.questions import Decision, Question
from loom_nb.runtime.context import item_name, words_of
from loom_nb.tokens import estimate, estimate_message
from loom_nb.wording import one_line

T = TypeVar("T")

NOTICES = "notices"
"""The key in a run's metadata under which a cell keeps what its reader is to be told: a list of texts."""

MODE = "mode"
"""The key in a run's metadata under which the mode of its policy is kept, where that is told."""
TOLD_CHARS = 600
"""Characters of what the runtime told the model that are shown; the log has all."""
OUTPUT_KEPT = 16_000
"""Characters of what a running tool prints that are remembered: the last ones."""

TranscriptStatus = Literal[
    "waiting", "running", "interrupted", "completed", "stopped", "limit", "denied", "failed"
]
"""The status of a run, with the three that come before its end is known."""

Outcome = Literal["", "ok", "error", "invalid", "unknown_tool", "denied", "timeout", "stopped", "lost"]
"""How a call ended; empty while it has not."""


class Chain(Generic[T]):
    """An append-only sequence whose `add` costs O(1) and leaves the original as it was.

    A chain and those made from it share one list, each knowing how much of it is its own. Only the
    longest may append to it; adding to an older one copies its part first. Not for two threads.
    """

    __slots__ = ("_count", "_items")

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items: list[T] = list(items)
        self._count = len(self._items)

    def add(self, item: T) -> "Chain[T]":
        """The chain with one more item."""
        longer: Chain[T] = Chain.__new__(type(self))
        mine = self._count > 0 and len(self._items) == self._count  # an empty one may be a default of many
        longer._items = self._items if mine else self._items[: self._count]
        longer._items.append(item)
        longer._count = self._count + 1
        return longer

    def since(self, index: int) -> list[T]:
        """The items from `index` on; the cost is that of what is new."""
        return self._items[index : self._count]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        return iter(self._items[: self._count])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chain) and self.since(0) == other.since(0)

    __hash__ = None  # type: ignore[assignment]  # equal by content, and the content may be long

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.since(0)!r})"


class Text(Chain[str]):
    """A text that grows by chunks; equal to another with the same characters, however chunked."""

    __slots__ = ()

    @staticmethod
    def of(text: str) -> "Text":
        """A text in one chunk."""
        return Text((text,) if text else ())

    def __str__(self) -> str:
        return "".join(self.since(0))

    def __bool__(self) -> bool:
        return len(self) > 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and str(self) == str(other)

    __hash__ = None

    def grown(self, chunk: str) -> "Text":
        """The text with one more chunk."""
        return self.add(chunk)  # type: ignore[return-value]  # `add` keeps the class


class Used(msgspec.Struct, frozen=True):
    """One value that travelled with the prompt, as the reader is told of it."""

    name: str
    summary: str
    tokens: int
    """An estimate: the vendor counts only whole requests."""
    origin: str = ""


class Picture(msgspec.Struct, frozen=True):
    """An image or a file by its bytes."""

    name: str
    media_type: str
    data: bytes
    stands: bool = False
    """It is shown as an artifact of its call, and so not a second time with the result."""


class Prompt(msgspec.Struct, frozen=True):
    """What the user said. The first prompt stands in the cell and is not shown again there."""

    text: str
    used: tuple[Used, ...] = ()
    attachments: tuple[Picture, ...] = ()
    first: bool = True
    closed: bool = True


class Words(msgspec.Struct, frozen=True):
    """The model's answer, or a part of it."""

    text: Text
    closed: bool = False
    """No more text comes: the message, or the next part of it, has arrived."""
    kept: bool = False
    """It stands in the log; before that it is a stream of deltas."""
    partial: bool = False
    """The stream was cut or stopped here."""
    evidence: Evidence | None = None
    """What it may cite."""


class Thinking(msgspec.Struct, frozen=True):
    """The model's reasoning, where its vendor shows it."""

    text: Text
    closed: bool = False
    kept: bool = False


class Attached(msgspec.Struct, frozen=True):
    """An image or a file in the model's answer."""

    picture: Picture
    kept: bool = True
    closed: bool = True


class Asked(msgspec.Struct, frozen=True):
    """A question to a person, and what became of it."""

    question: Question
    how: Literal["", "person", "timeout", "nobody", "cancelled"] = ""
    """How it ended; empty while it waits."""
    value: Any = None
    by: str = ""
    at: float = 0.0
    """Seconds since the epoch; 0 where the events came without their times."""

    @property
    def closed(self) -> bool:
        """Whether it has its answer, or will get none."""
        return self.how != ""

    @property
    def decision(self) -> Decision | None:
        """What was decided on a call; None while it waits, and for other questions."""
        if isinstance(self.value, Decision) or self.question.approval is None:
            return self.value if isinstance(self.value, Decision) else None
        try:
            return msgspec.convert(self.value, Decision)
        except msgspec.ValidationError:
            return None

    @property
    def edited(self) -> tuple[str, ...]:
        """The names of the arguments that the person has changed."""
        decision, approval = self.decision, self.question.approval
        if approval is None or decision is None or decision.arguments is None:
            return ()
        before, after = approval.arguments, decision.arguments
        names = dict.fromkeys((*before, *after))
        return tuple(
            name for name in names if (name in before, before.get(name)) != (name in after, after.get(name))
        )

    @property
    def sha256(self) -> str:
        """The hash of the arguments that were decided on."""
        approval, decision = self.question.approval, self.decision
        given = decision.arguments if decision is not None else None
        passed = given if given is not None else approval.arguments if approval is not None else {}
        return _hash(canonical(passed))


class Variables(msgspec.Struct, frozen=True):
    """What code that the agent ran did to the variables of the notebook."""

    call_id: str
    changes: tuple[VariableChange, ...]
    rolled_back: bool = False
    """The table tells of a roll back."""
    undone: bool = False
    """It was rolled back later."""
    cannot_restore: tuple[str, ...] = ()
    closed: bool = True


class Card(msgspec.Struct, frozen=True):
    """One tool call, from the first letter of its arguments to its result."""

    call_id: str
    name: str
    arguments: Text = Text()
    """The JSON text as the model wrote it."""
    kept: bool = False
    values: dict[str, Any] | None = None
    """The arguments as they were passed."""
    effects: tuple[str, ...] = ()
    decision: str = ""
    reason: str = ""
    by: str = ""
    started: bool = False
    outcome: Outcome = ""
    result: str = ""
    pictures: tuple[Picture, ...] = ()
    seconds: float = 0.0
    chars: int = 0
    """Length of the whole result, where the model was given only a part of it; else 0."""
    asked: tuple[Asked, ...] = ()
    """The approvals that were asked for it: a second one where its arguments were edited."""
    output: str = ""
    """The end of what it has printed so far, as it came."""

    @property
    def closed(self) -> bool:
        """Whether it has its result."""
        return self.outcome != ""

    @property
    def waiting(self) -> Asked | None:
        """The question that it waits for."""
        last = self.asked[-1] if self.asked else None
        return last if last is not None and not last.closed and not self.closed else None

    @property
    def passed(self) -> dict[str, Any] | None:
        """The arguments; None where they are not (yet) a JSON object."""
        if self.values is not None:
            return self.values
        text = str(self.arguments)
        if not text.strip():
            return {}
        try:
            return parse_object(text)
        except BorderError:
            return None

    @property
    def sha256(self) -> str:
        """The hash of the arguments: of their canonical JSON, or of the text that is none."""
        passed = self.passed
        return _hash(str(self.arguments) if passed is None else canonical(passed))


class Notice(msgspec.Struct, frozen=True):
    """Something the reader should know."""

    text: str
    level: Literal["info", "warning"] = "info"
    closed: bool = True


class Retry(msgspec.Struct, frozen=True):
    """A model call that failed and is tried again."""

    attempt: int
    delay: float
    fault: str
    message: str
    closed: bool = True


class Replaced(msgspec.Struct, frozen=True):
    """One item of a compaction: what was sent of it, and what is sent now."""

    item: str
    """`m3`, or `m2-m9` for several."""
    was: str
    """The beginning of it; empty where the log does not say."""
    now: str
    before: int
    """Tokens, estimated."""
    after: int
    handoff: bool = False
    """What is sent now is the handoff."""


class Compacted(msgspec.Struct, frozen=True):
    """The model is shown less of the conversation from here on."""

    id: str
    strategy: str
    reason: str
    before: int
    """Tokens of the request, estimated."""
    after: int
    items: tuple[Replaced, ...]
    handoff: str = ""
    usage: Usage = Usage()
    """Of writing the handoff."""
    closed: bool = True

    @staticmethod
    def of(event: ContextCompacted) -> "Compacted":
        """As the event tells it."""
        return Compacted(
            event.id,
            event.strategy,
            event.reason,
            event.tokens_before,
            event.tokens_after,
            tuple(
                Replaced(
                    item_name(change.first, change.last),
                    change.was,
                    now := "\n".join(words_of(message) for message in change.messages),
                    change.tokens,
                    sum(estimate_message(message) for message in change.messages),
                    bool(event.handoff) and event.handoff in now,
                )
                for change in event.changes
            ),
            event.handoff,
            event.usage,
        )


class Recalled(msgspec.Struct, frozen=True):
    """Notes of the memory that the model was shown at the beginning of the run."""

    notes: tuple[RecalledNote, ...]
    left_out: int = 0
    """Relevant ones for which there was no room."""
    tokens: int = 0
    closed: bool = True


class Product(msgspec.Struct, frozen=True):
    """An artifact where it came into being: what of it can be shown, and how it is called."""

    name: str
    kind: ArtifactKind
    media_type: str
    summary: str
    size: int
    """Bytes."""
    sha256: str
    version: int = 1
    call_id: str = ""
    picture: Picture | None = None
    """Of a PNG or JPEG whose bytes stand in the log."""
    text: str = ""
    """The beginning of a text."""
    more: int = 0
    """Characters of the text that are not shown; -1 where that is not known."""
    table: TableHead | None = None
    closed: bool = True


Block: TypeAlias = (
    Words
    | Thinking
    | Attached
    | Card
    | Notice
    | Retry
    | Prompt
    | Asked
    | Variables
    | Compacted
    | Recalled
    | Product
)

_STREAMED = (Words, Thinking, Card)


class Transcript(msgspec.Struct, frozen=True):
    """A run as a reader sees it: blocks in their order, and how it stands."""

    run: str = ""
    """The id of the run, where the events came as log entries."""
    model: str = ""
    """The model that was asked; `answered` is the one that replied, as its vendor names it."""
    answered: str = ""
    goal: str = ""
    prompt: Prompt | None = None
    remarks: tuple[str, ...] = ()
    """What is to be told of the prompt, as notices right after it."""
    settled: Chain[Block] = Chain()
    """The blocks of earlier turns."""
    current: tuple[Block, ...] = ()
    """The blocks of this turn: few, so that copying the tuple for each delta costs nothing."""
    turn: int = 0
    counted: int = 0
    """The last turn whose usage is in `usage`."""
    turns: int = 0
    usage: Usage = Usage()
    compacting: tuple[int, Usage] = (0, Usage())
    """Calls that wrote handoffs: no steps of the agent, and part of `usage`."""
    budget: int = 0
    """Tokens that a request may have; 0 where that is not known."""
    context: int = 0
    """Tokens of the last request, with its answer as soon as that is there."""
    status: TranscriptStatus = "waiting"
    reason: str = ""
    fault: str = ""
    fixes: tuple[str, ...] = ()
    """What a person can type, where the end tells it."""
    output: str = ""
    data: Any = None
    cost: float | None = None
    """US dollars; None where the price is not known."""
    played: Played = Played()
    """What of it came from a recording."""
    seconds: float = 0.0
    revision: int = 0
    """Goes up whenever something that had been shown as final has changed after all."""
    message: Message | None = None
    """The model's last message, while nothing has come after it."""
    plan: tuple[PlanItem, ...] = ()
    """The agent's plan as it is now."""
    evidence: Evidence | None = None
    """The passages of documents that the run was given; None where none were looked for."""
    mode: str = ""
    """Of the policy, where it is known: "ask", "read-only", "edits", "all"."""
    raises: bool = False
    """It stands in a cell, and the error below it says why the run did not complete: it is not told twice."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks in their order."""
        return (*self.settled, *self.current)

    @property
    def cards(self) -> tuple[Card, ...]:
        """The tool calls in their order."""
        return tuple(block for block in self.blocks if isinstance(block, Card))

    @property
    def waiting(self) -> tuple[Asked, ...]:
        """The questions that wait for a person. They are of this turn: it cannot end without them."""
        if self.finished:
            return ()
        blocks = (block.waiting if isinstance(block, Card) else block for block in self.current)
        return tuple(block for block in blocks if isinstance(block, Asked) and not block.closed)

    @property
    def finished(self) -> bool:
        """Whether the run is over, one way or another."""
        return self.status not in ("waiting", "running")

    @property
    def demo(self) -> bool:
        """Whether the embedded demo model answers."""
        return self.model.split(":")[0] in ("offline", "demo")

    @property
    def text(self) -> str:
        """The words of the answer so far, of all turns."""
        return "\n\n".join(str(block.text) for block in self.blocks if isinstance(block, Words))

    @staticmethod
    def of(
        events: Iterable[Event | LogEntry], *, run: str = "", remarks: tuple[str, ...] = ()
    ) -> "Transcript":
        """The transcript of these events. A session's whole log gives that of its last run."""
        transcript = Transcript(run=run, remarks=remarks)
        for event in events:
            transcript = fold(transcript, event)
        return transcript


def fold(transcript: Transcript, event: Event | LogEntry) -> Transcript:
    """The transcript with one more event. Pure, never raises for an event that is late or unknown."""
    if isinstance(event, LogEntry):
        if isinstance(event.event, QuestionAnswered):
            folded = _question_answered(transcript, event.event, event.time)
        elif isinstance(event.event, ContextCompacted) and not event.run:
            return transcript
        else:
            folded = fold(transcript, event.event)
        return replace(folded, run=event.run) if event.run and folded.run != event.run else folded
    step = _STEPS.get(type(event))
    return transcript if step is None else step(transcript, event)


def canonical(value: Any) -> str:
    """One JSON text for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


# --- the run and its turns


def _run_started(transcript: Transcript, event: RunStarted) -> Transcript:
    if transcript.finished:  # the next run of the session: the transcript is of the last one
        transcript = Transcript(revision=transcript.revision + 1)
    told = event.metadata.get(NOTICES)
    remarks = tuple(text for text in told if isinstance(text, str)) if isinstance(told, list) else ()
    mode = event.metadata.get(MODE)
    return replace(
        transcript,
        mode=mode if isinstance(mode, str) else transcript.mode,
        model=event.model,
        goal=event.goal,
        status="running",
        remarks=tuple(dict.fromkeys((*transcript.remarks, *remarks))),
    )


def _turn_started(transcript: Transcript, event: TurnStarted) -> Transcript:
    if event.turn == transcript.turn:
        return transcript
    settled = transcript.settled
    for block in transcript.current:
        settled = settled.add(_closed(block))
    return replace(
        transcript,
        settled=settled,
        current=(),
        turn=event.turn,
        message=None,
        status=_awake(transcript),
        budget=event.budget or transcript.budget,
        context=event.tokens,
    )


def _turn_finished(transcript: Transcript, event: TurnFinished) -> Transcript:
    if event.turn <= transcript.counted or transcript.finished:  # the end of a run tells the whole
        return transcript
    return replace(
        transcript,
        counted=event.turn,
        turns=transcript.turns + 1,
        usage=transcript.usage + event.usage,
        context=event.usage.total_tokens or transcript.context,
        answered=event.model or transcript.answered,
    )


def _run_finished(transcript: Transcript, event: RunFinished) -> Transcript:
    current = tuple(_closed(block) for block in transcript.current)
    said = any(isinstance(block, Words) for block in (*transcript.settled, *current))
    if event.output and not said:
        told = Words(Text.of(event.output), closed=True, kept=True, evidence=transcript.evidence)
        current = (*current, told)
    return replace(
        transcript,
        current=current,
        status=event.status,
        reason=event.reason,
        fault=event.fault,
        fixes=event.fixes,
        output=event.output,
        data=event.data,
        usage=event.usage if event.usage.total_tokens else transcript.usage,
        cost=event.cost,
        played=event.played,
        turns=event.turns or transcript.turns,
        seconds=event.seconds,
    )


def _run_interrupted(transcript: Transcript, event: RunInterrupted) -> Transcript:
    current = tuple(_closed(block) for block in transcript.current)
    return replace(transcript, current=current, status="interrupted", reason=event.reason)


def _run_resumed(transcript: Transcript, event: RunResumed) -> Transcript:
    """The run goes on in another process; that it was interrupted is past."""
    why = event.reason or "another process took it up"
    resumed = replace(
        transcript, status="running", reason="", revision=transcript.revision + transcript.finished
    )
    return _noticed(resumed, Noticed(f"the run goes on: {why}"))


def _secret_used(transcript: Transcript, event: SecretUsed) -> Transcript:
    told = f"used {event.scope} for {event.method} {event.host}{event.path}"
    return _noticed(transcript, Noticed(told, "warning" if event.mode == "notify_after" else "info"))


def _evidence_found(transcript: Transcript, event: EvidenceFound) -> Transcript:
    answer = (transcript.run, transcript.model, transcript.goal)
    return replace(transcript, evidence=found(transcript.evidence, event, *answer))


def _with_words(transcript: Transcript, message: Message) -> Transcript:
    """The words of passages that were told, for whoever wants to see what is cited."""
    if transcript.evidence is None:
        return transcript
    return replace(transcript, evidence=with_words(transcript.evidence, message))


def _notes_recalled(transcript: Transcript, event: NotesRecalled) -> Transcript:
    if event.call_id or not event.notes:
        return transcript  # the card of the call shows them
    block = Recalled(event.notes, event.left_out, event.tokens)
    if block in transcript.current:
        return transcript
    return replace(transcript, current=(*_all_closed(transcript.current), block))


def _memory_changed(transcript: Transcript, event: MemoryChanged) -> Transcript:
    words, before = one_line(event.words, 120), one_line(event.before, 60)
    told = {
        "added": f"remembered: {words}",
        "edited": f"remembered anew: {words}"
        + (f" (it said: {before})" if before and before != words else ""),
        "forgotten": f"forgot: {words}",
    }.get(event.change, f"remembers again: {words}")
    is_undoable = event.undoable and event.change != "restored"
    return _noticed(
        transcript, Noticed(f"{told} · %loom memory undo {event.id} takes it back" if is_undoable else told)
    )


def _skill_activated(transcript: Transcript, event: SkillActivated) -> Transcript:
    if not event.active:
        return _noticed(transcript, Noticed(f"the skill {event.name} was put away"))
    tools = (
        f"; only {', '.join(event.allowed_tools) or 'no tools'} while it is"
        if event.allowed_tools is not None
        else ""
    )
    found = f"; the guard: {'; '.join(event.findings)}" if event.findings else ""
    told = f"the skill {event.name} ({event.tier}) is active{tools}{found}"
    return _noticed(transcript, Noticed(told, "warning" if event.findings else "info"))


def _skill_changed(transcript: Transcript, event: SkillChanged) -> Transcript:
    file = f", {event.file}" if event.file else ""
    return _noticed(
        transcript, Noticed(f"the agent's skill {event.name}{file} was {event.change}", "warning")
    )


def _grant_revoked(transcript: Transcript, event: GrantRevoked) -> Transcript:
    return _noticed(transcript, Noticed(f"a leave was taken back (sha256:{event.grant.key[:16]})"))


def _retry_scheduled(transcript: Transcript, event: RetryScheduled) -> Transcript:
    retry = Retry(event.attempt, event.delay, event.fault, event.message)
    if transcript.current and transcript.current[-1] == retry:
        return transcript
    # What the failed attempt had streamed is void: the next attempt says it again.
    staying = tuple(block for block in transcript.current if not _is_stream(block))
    lost = len(staying) < len(transcript.current)
    return replace(transcript, current=(*staying, retry), revision=transcript.revision + lost)


def _attempt(transcript: Transcript, event: AttemptStarted) -> Transcript:
    alone = ", which is shown nothing of the one before" if event.independent else ""
    return (
        _noticed(transcript, Noticed(f"attempt {event.attempt}{alone}")) if event.attempt > 1 else transcript
    )


def _quality(transcript: Transcript, event: QualityChecked) -> Transcript:
    if event.passed:
        return _noticed(transcript, Noticed(f"the answer was accepted{_by(event)}"))
    if event.passed is None:
        return _noticed(transcript, Noticed(f"the answer could not be evaluated{_by(event)}", "warning"))
    failed = "; ".join(one.criterion for one in event.results if not one.passed)
    told = f"not accepted{_by(event)}" + (f": {failed}" if failed else "")
    return _noticed(transcript, Noticed(told + (f". {event.critique}" if event.critique else ""), "warning"))


SHOWN_CHARS = 2_000
"""Characters of a text artifact that are shown."""
_DRAWN = ("image/png", "image/jpeg")


def _artifact(transcript: Transcript, event: ArtifactAdded) -> Transcript:
    before = [one for one in transcript.blocks if isinstance(one, Product) and one.name == event.name]
    block = _product(event, len(before) + 1)
    if transcript.current and replace(block, version=len(before)) == transcript.current[-1]:
        return transcript
    return replace(
        transcript,
        current=(*_all_closed(transcript.current), block),
        revision=transcript.revision + transcript.finished,
    )


def _product(event: ArtifactAdded, version: int) -> Product:
    picture = None
    if event.media_type in _DRAWN and event.data is not None:
        picture = Picture(event.name, event.media_type, event.data, stands=True)
    text, more = "", 0
    if event.kind in ("text", "json"):
        text = (event.text if event.text is not None else event.head)[:SHOWN_CHARS]
        more = len(event.text) - len(text) if event.text is not None else -1
    return Product(
        event.name, event.kind, event.media_type, event.summary, event.size, event.sha256, version,
        event.call_id, picture, text, more, event.table,
    )  # fmt: skip


def _by(event: QualityChecked) -> str:
    return f" by {event.by}" if event.by else ""


def _noticed(transcript: Transcript, event: Noticed) -> Transcript:
    notice = Notice(event.text, event.level)
    if transcript.current and transcript.current[-1] == notice:
        return transcript
    return replace(transcript, current=(*_all_closed(transcript.current), notice))


# --- deltas


def _text_delta(transcript: Transcript, event: TextDelta) -> Transcript:
    if not event.text:
        return transcript
    current = transcript.current
    last = current[-1] if current else None
    if type(last) is Words and not last.closed:
        grown = Words(last.text.grown(event.text), evidence=last.evidence)
        return replace(transcript, current=(*current[:-1], grown))
    return _opened(transcript, Words(Text.of(event.text), evidence=transcript.evidence))


def _thinking_delta(transcript: Transcript, event: ThinkingDelta) -> Transcript:
    if not event.text:
        return transcript
    current = transcript.current
    last = current[-1] if current else None
    if type(last) is Thinking and not last.closed:
        return replace(transcript, current=(*current[:-1], Thinking(last.text.grown(event.text))))
    return _opened(transcript, Thinking(Text.of(event.text)))


def _call_delta(transcript: Transcript, event: CallDelta) -> Transcript:
    for index in range(len(transcript.current) - 1, -1, -1):
        card = transcript.current[index]
        if isinstance(card, Card) and not card.kept and card.call_id == event.call_id:
            arguments = card.arguments.grown(event.arguments) if event.arguments else card.arguments
            card = replace(card, name=card.name or event.name, arguments=arguments)
            return replace(transcript, current=_with(transcript.current, index, card))
    return _opened(transcript, Card(event.call_id, event.name, Text.of(event.arguments)))


def _opened(transcript: Transcript, block: Block) -> Transcript:
    current = (*_all_closed(transcript.current), block)
    return replace(transcript, current=current, message=None, status=_awake(transcript))


# --- messages


def _message_added(transcript: Transcript, event: MessageAdded) -> Transcript:
    match event.message.role:
        case "user":
            return _user_message(transcript, event.message)
        case "assistant":
            return _model_message(transcript, event.message)
        case "tool":
            return _tool_message(transcript, event.message)


def _user_message(transcript: Transcript, message: Message) -> Transcript:
    if is_found(message):
        return _with_words(transcript, message)
    used = tuple(
        Used(part.name, part.summary, estimate(part.text), str(part.origin))
        for part in message.parts
        if isinstance(part, DataPart) and part.origin.kind != "memory"  # its own fact tells of that
    )
    attachments = tuple(_picture(part) for part in message.parts if isinstance(part, ImagePart | FilePart))
    prompt = Prompt(message.text, used, attachments, first=transcript.prompt is None)
    if not (prompt.text or used or attachments or prompt.first):
        return transcript
    if transcript.prompt is None:
        late = bool(transcript.current or len(transcript.settled))
        remarks = tuple(Notice(text) for text in transcript.remarks)
        current = (*_all_closed(transcript.current), prompt, *remarks)
        return replace(transcript, prompt=prompt, current=current, revision=transcript.revision + late)
    if is_of_the_runtime(message):
        return _noticed(transcript, Noticed(_told_the_model(prompt)))
    said = replace(prompt, first=True) == transcript.prompt or prompt in transcript.current
    return transcript if said else replace(transcript, current=(*_all_closed(transcript.current), prompt))


def is_of_the_runtime(message: Message) -> bool:
    """Whether no word of a message on the user's side is the user's: the runtime asks for another answer."""
    words = [part.origin.kind for part in message.parts if isinstance(part, TextPart)]
    return bool(words) and "user" not in words


def _told_the_model(prompt: Prompt) -> str:
    with_it = f" (with {', '.join(used.name for used in prompt.used)})" if prompt.used else ""
    return f"told the model: {one_line(prompt.text, TOLD_CHARS)}{with_it}"


def _model_message(transcript: Transcript, message: Message) -> Transcript:
    if transcript.message == message:
        return transcript
    blocks = _blocks_of(message, transcript.current, transcript.evidence)
    streamed = [index for index, block in enumerate(transcript.current) if _is_stream(block)]
    if _same([transcript.current[index] for index in streamed], blocks):
        current = list(transcript.current)
        for index, block in zip(streamed, blocks, strict=True):
            current[index] = _agreed(current[index], block)
        return replace(
            transcript,
            current=tuple(current),
            message=message,
            status=_awake(transcript),
            revision=transcript.revision + _cut_after_all(transcript.current, current),
        )
    staying = tuple(block for block in transcript.current if not _is_stream(block))
    return replace(
        transcript,
        current=(*staying, *blocks),
        message=message,
        status=_awake(transcript),
        revision=transcript.revision + bool(streamed),
    )


def _blocks_of(message: Message, current: tuple[Block, ...], evidence: Evidence | None = None) -> list[Block]:
    """The blocks of a model's message; calls keep what the stream has told of them."""
    known = [block for block in current if isinstance(block, Card) and not block.kept]
    blocks: list[Block] = []
    for part in message.parts:
        match part:
            case TextPart(text=text) if text:
                blocks.append(Words(Text.of(text), closed=True, kept=True, evidence=evidence))
            case ThinkingPart(text=text) if text:
                blocks.append(Thinking(Text.of(text), closed=True, kept=True))
            case ToolCallPart():
                card = next((card for card in known if card.call_id == part.id), Card(part.id, part.name))
                known = [other for other in known if other is not card]
                blocks.append(replace(card, name=part.name, arguments=Text.of(part.arguments), kept=True))
            case ImagePart() | FilePart():
                blocks.append(Attached(_picture(part)))
    if message.partial:
        for index in range(len(blocks) - 1, -1, -1):
            block = blocks[index]
            if isinstance(block, Words):
                blocks[index] = replace(block, partial=True)
                break
    return blocks


def _tool_message(transcript: Transcript, message: Message) -> Transcript:
    """Results whose CallFinished did not come; the others are known already."""
    transcript = _with_words(transcript, message)
    for part in message.parts:
        if isinstance(part, ToolResultPart):
            waiting = any(
                isinstance(block, Card) and block.call_id == part.call_id and not block.closed
                for block in transcript.current
            )
            if waiting:
                outcome: Outcome = "error" if part.is_error else "ok"
                transcript = _call_finished(transcript, CallFinished(part, outcome))  # type: ignore[arg-type]
    return transcript


def _same(streamed: list[Block], blocks: list[Block]) -> bool:
    """Whether a message says what had been streamed, so that nothing shown has to change."""
    if len(streamed) != len(blocks):
        return False
    for one, other in zip(streamed, blocks, strict=True):
        if isinstance(one, Words | Thinking) and isinstance(other, Words | Thinking):
            agree = type(one) is type(other) and one.text == other.text
        else:
            agree = isinstance(one, Card) and isinstance(other, Card) and one.call_id == other.call_id
        if not agree:
            return False
    return True


def _agreed(streamed: Block, block: Block) -> Block:
    """The block of the message, in the chunks in which its text was streamed."""
    if isinstance(streamed, Words | Thinking) and isinstance(block, Words | Thinking):
        return replace(block, text=streamed.text)
    return block


def _cut_after_all(before: Iterable[Block], after: Iterable[Block]) -> bool:
    """Whether a text that looked complete turns out to be cut off."""
    return any(
        isinstance(one, Words)
        and isinstance(other, Words)
        and one.closed
        and other.partial
        and not one.partial
        for one, other in zip(before, after, strict=True)
    )


def _picture(part: ImagePart | FilePart) -> Picture:
    return Picture(part.name, part.media_type, part.data)


# --- calls


def _call_judged(transcript: Transcript, event: CallJudged) -> Transcript:
    def judged(card: Card) -> Card:
        return replace(card, decision=event.decision, reason=event.reason, by=event.by)

    if event.by.startswith("mode "):
        transcript = replace(transcript, mode=event.by.removeprefix("mode "))
    return _on_card(transcript, event.call_id, event.name, judged, lambda card: card.decision in ("", "ask"))


def _call_started(transcript: Transcript, event: CallStarted) -> Transcript:
    def started(card: Card) -> Card:
        effects = card.effects if card.asked else event.effects  # what was asked about is of this very call
        return replace(card, values=event.arguments, effects=effects, started=True, kept=True)

    return _on_card(transcript, event.call_id, event.name, started, lambda card: not card.started)


def _call_finished(transcript: Transcript, event: CallFinished) -> Transcript:
    result = event.result
    shown = {
        one.picture.data
        for one in transcript.current
        if isinstance(one, Product) and one.picture is not None and one.call_id == event.call_id
    }
    pictures = tuple(
        replace(picture, stands=picture.data in shown)
        for picture in (_picture(part) for part in result.parts if isinstance(part, ImagePart | FilePart))
    )

    def finished(card: Card) -> Card:
        return replace(
            card,
            output="",
            name=card.name or result.name,
            kept=True,
            outcome=event.outcome,
            result=result.text,
            pictures=pictures,
            seconds=event.seconds,
            chars=event.chars,
        )

    return _on_card(transcript, result.call_id, result.name, finished, lambda card: not card.closed)


def _call_output(transcript: Transcript, event: CallOutput) -> Transcript:
    """Only the end is remembered, and only while there is no result: ten thousand lines cost no more."""
    found = _find(transcript.current, event.call_id, lambda card: not card.closed)
    if found is None or found[1].closed or not event.text:
        return transcript
    index, card = found
    output = (card.output + event.text[-OUTPUT_KEPT:])[-OUTPUT_KEPT:]
    return replace(transcript, current=_with(transcript.current, index, replace(card, output=output)))


# --- questions, plans, variables


def _question_asked(transcript: Transcript, event: QuestionAsked) -> Transcript:
    question, approval = event.question, event.question.approval
    if any(asked.question.id == question.id for asked in _all_asked(transcript.current)):
        return transcript
    if approval is None:
        return replace(transcript, current=(*_all_closed(transcript.current), Asked(question)))

    def asked(card: Card) -> Card:
        return replace(
            card,
            name=card.name or approval.tool,
            kept=True,
            values=approval.arguments,
            effects=approval.effects or card.effects,
            asked=(*card.asked, Asked(question)),
        )

    transcript = replace(transcript, mode=approval.mode or transcript.mode)
    return _on_card(transcript, approval.call_id, approval.tool, asked, lambda card: not card.closed)


def _question_answered(transcript: Transcript, event: QuestionAnswered, at: float = 0.0) -> Transcript:
    def answered(asked: Asked) -> Asked:
        if asked.question.id != event.question_id or asked.closed:
            return asked
        value = None if asked.question.kind == "secret" else event.value
        return replace(asked, how=event.how, value=value, by=event.by, at=at)

    def changed(block: Block) -> Block:
        if isinstance(block, Asked):
            return answered(block)
        if isinstance(block, Card) and block.asked:
            return replace(block, asked=tuple(answered(asked) for asked in block.asked))
        return block

    return _everywhere(transcript, changed)


def _plan_updated(transcript: Transcript, event: PlanUpdated) -> Transcript:
    return replace(transcript, plan=event.items, revision=transcript.revision + transcript.finished)


def _context_compacted(transcript: Transcript, event: ContextCompacted) -> Transcript:
    if transcript.finished:  # asked for between two runs: of no run
        return transcript
    block = Compacted.of(event)
    if block in transcript.current:
        return transcript
    if event.usage.total_tokens:
        calls, usage = transcript.compacting
        transcript = replace(
            transcript, usage=transcript.usage + event.usage, compacting=(calls + 1, usage + event.usage)
        )
    return replace(transcript, current=(*_all_closed(transcript.current), block))


def _variables_changed(transcript: Transcript, event: VariablesChanged) -> Transcript:
    block = Variables(event.call_id, event.changes, event.rolled_back, cannot_restore=event.cannot_restore)
    if block in transcript.current:
        return transcript

    def undone(other: Block) -> Block:
        mine = isinstance(other, Variables) and other.call_id == event.call_id and not other.rolled_back
        return replace(other, undone=True) if mine else other

    if event.rolled_back:
        transcript = _everywhere(transcript, undone)
    return replace(
        transcript,
        current=(*_all_closed(transcript.current), block),
        revision=transcript.revision + transcript.finished,
    )


def _everywhere(transcript: Transcript, change: Callable[[Block], Block]) -> Transcript:
    """Change blocks wherever they stand; what had been shown as final is drawn anew."""
    current = tuple(change(block) for block in transcript.current)
    settled = [change(block) for block in transcript.settled]
    late = any(new != old for new, old in zip(settled, transcript.settled, strict=True))
    final = any(
        new != old and (old.closed or transcript.finished)
        for new, old in zip(current, transcript.current, strict=True)
    )
    return replace(
        transcript,
        current=current,
        settled=Chain(settled) if late else transcript.settled,
        revision=transcript.revision + (late or final),
    )


def _all_asked(blocks: Iterable[Block]) -> Iterator[Asked]:
    for block in blocks:
        if isinstance(block, Asked):
            yield block
        elif isinstance(block, Card):
            yield from block.asked


def _on_card(
    transcript: Transcript,
    call_id: str,
    name: str,
    change: Callable[[Card], Card],
    waits: Callable[[Card], bool],
) -> Transcript:
    """Change the card of a call: of this turn if it can be, where an id was used twice the waiting one."""
    found = _find(transcript.current, call_id, waits)
    if found is not None:
        index, old = found
        new = change(old)
        if new == old:
            return transcript
        current = _with(transcript.current, index, new)
        return replace(
            transcript, current=current, revision=transcript.revision + (old.closed or transcript.finished)
        )
    found = _find(transcript.settled, call_id, waits)
    if found is not None:
        index, old = found
        new = change(old)
        if new == old:
            return transcript
        settled = Chain(_with(tuple(transcript.settled), index, new))
        return replace(transcript, settled=settled, revision=transcript.revision + 1)
    return replace(transcript, current=(*_all_closed(transcript.current), change(Card(call_id, name))))


def _find(blocks: Iterable[Block], call_id: str, waits: Callable[[Card], bool]) -> tuple[int, Card] | None:
    found = None
    for index, block in enumerate(blocks):
        if isinstance(block, Card) and block.call_id == call_id:
            if waits(block):
                return index, block
            found = index, block
    return found


# --- small pieces


def _with(blocks: tuple[Block, ...], index: int, block: Block) -> tuple[Block, ...]:
    return (*blocks[:index], block, *blocks[index + 1 :])


def _is_stream(block: Block) -> bool:
    return isinstance(block, _STREAMED) and not block.kept


def _closed(block: Block) -> Block:
    if isinstance(block, Words | Thinking) and not block.closed:
        return replace(block, closed=True)
    return block


def _all_closed(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """Only the last block can be open: whatever comes next closes it."""
    if not blocks or blocks[-1] is (last := _closed(blocks[-1])):
        return blocks
    return (*blocks[:-1], last)


def _awake(transcript: Transcript) -> TranscriptStatus:
    return "running" if transcript.status == "waiting" else transcript.status


_STEPS: dict[type[Any], Callable[[Transcript, Any], Transcript]] = {
    RunStarted: _run_started,
    TurnStarted: _turn_started,
    TurnFinished: _turn_finished,
    RunFinished: _run_finished,
    RunInterrupted: _run_interrupted,
    RetryScheduled: _retry_scheduled,
    ArtifactAdded: _artifact,
    AttemptStarted: _attempt,
    QualityChecked: _quality,
    Noticed: _noticed,
    SecretUsed: _secret_used,
    EvidenceFound: _evidence_found,
    NotesRecalled: _notes_recalled,
    MemoryChanged: _memory_changed,
    SkillActivated: _skill_activated,
    SkillChanged: _skill_changed,
    TextDelta: _text_delta,
    ThinkingDelta: _thinking_delta,
    CallDelta: _call_delta,
    MessageAdded: _message_added,
    CallJudged: _call_judged,
    CallStarted: _call_started,
    CallFinished: _call_finished,
    CallOutput: _call_output,
    QuestionAsked: _question_asked,
    QuestionAnswered: _question_answered,
    GrantRevoked: _grant_revoked,
    PlanUpdated: _plan_updated,
    VariablesChanged: _variables_changed,
    ContextCompacted: _context_compacted,
    RunResumed: _run_resumed,
}
"""SessionOpened and ResultKept are not seen by a reader: the first says nothing of the run, and that
a result is kept whole is told by the `chars` of its CallFinished. What a person undoes, pins or hides
happens between two runs."""
