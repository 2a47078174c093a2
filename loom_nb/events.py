"""All that comes out of a session: facts in the past tense.

An event says what happened, nothing about where it is kept: a `LogEntry` puts it into a session's
log with its number, run and time. Deltas are shown as they come and never kept; the finished
message is. `event.type` is the name of the class and `event.payload` its fields as plain data.
"""

from typing import Any, Literal, TypeAlias

import msgspec

from loom_nb.errors import Fault
from loom_nb.messages import Discarded, Message, ToolResultPart, Usage
from loom_nb.questions import Question

SCHEMA = 1
"""Version of the JSON form of the events."""

Status = Literal["completed", "stopped", "limit", "denied", "failed"]
"""How a run ends. Only `completed` is a success."""

StopReason = Literal["end", "tool_calls", "length", "stop_sequence", "refusal", "content_filter", "other"]
"""Why a model ended its message, in one vocabulary for every vendor."""


class _Fact(msgspec.Struct, frozen=True, omit_defaults=True, tag=True, tag_field="type"):
    @property
    def type(self) -> str:
        """The name of the fact."""
        return type(self).__name__

    @property
    def payload(self) -> dict[str, Any]:
        """The fields as plain data."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        plain.pop("type")
        return plain


class SessionOpened(_Fact, frozen=True, gc=False):
    """A session got its log. The first event of every session."""

    schema: int = SCHEMA
    metadata: dict[str, Any] = {}


class RunStarted(_Fact, frozen=True, gc=False):
    """A run began. The user's message follows as a MessageAdded."""

    model: str
    goal: str
    metadata: dict[str, Any] = {}
    form: dict[str, Any] | None = None
    """The form that the answer must have, so that a resumed run still holds to it: "name", "schema" (None
    where it is no JSON) and "wrapped", for an answer that travels as the field `value`."""


class MessageAdded(_Fact, frozen=True, gc=False):
    """The conversation grew by one message."""

    message: Message


HeadSection: TypeAlias = Literal["system", "tools", "memory", "skill", "working"]


class HeadItem(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One thing that stands before the conversation in a request."""

    name: str
    """`instructions`, `tool:look`, the id of a partition's item."""
    section: HeadSection
    words: str
    """Its beginning, in one line."""
    tokens: int
    """Estimated."""
    sha256: str = ""
    """The first 16 digits of the hash of its text: whether it is the same as in another request."""
    origin: str = ""
    """Where it comes from: "user:identity/SOUL.md"; empty: from the program itself."""


class HeadChanged(_Fact, frozen=True, gc=False):
    """What stands before the conversation is other than it was: from the next model call on it is this."""

    items: tuple[HeadItem, ...]


class TurnStarted(_Fact, frozen=True, gc=False):
    """A model call began; `tokens` is the estimate of its request."""

    turn: int
    tokens: int = 0
    budget: int = 0
    """Tokens that the request may have; 0 where that was not known."""
    working: int = 0
    """Those of `tokens` that are the dashboard, which is no part of the conversation."""


class RetryScheduled(_Fact, frozen=True, gc=False):
    """A model call failed in a way that may pass; it is tried again after `delay` seconds."""

    attempt: int
    delay: float
    fault: Fault
    message: str


class TurnFinished(_Fact, frozen=True, gc=False):
    """A model call ended. The message itself came as a MessageAdded before this."""

    turn: int
    usage: Usage
    stop_reason: StopReason
    model: str = ""
    """The model that answered, as the vendor names it."""
    seconds: float = 0.0
    cost: float | None = None
    """US dollars of this call alone; None where the price is not known, or was not noted. That is what an
    answer from a recording would have cost, too: see `spent`."""
    discarded: tuple[Discarded, ...] = ()
    """Answers of others to the same request that were paid for and not taken."""
    played: bool = False
    """The answer came from a recording: nothing was sent."""

    @property
    def spent(self) -> float | None:
        """US dollars that the call did cost."""
        return 0.0 if self.played else self.cost


class CallJudged(_Fact, frozen=True, gc=False):
    """The governance decided on a call. `by` names the rule."""

    call_id: str
    name: str
    decision: Literal["allow", "ask", "deny"]
    reason: str = ""
    by: str = ""


class CallStarted(_Fact, frozen=True, gc=False):
    """A tool is about to run: kept before the effect, so that a crash cannot hide it."""

    call_id: str
    name: str
    arguments: dict[str, Any]
    effects: tuple[str, ...] = ()


class CallFinished(_Fact, frozen=True, gc=False):
    """A tool call has its result. `outcome` says how; an error result is not a crash."""

    result: ToolResultPart
    outcome: Literal["ok", "error", "invalid", "unknown_tool", "denied", "timeout", "stopped", "lost"] = "ok"
    seconds: float = 0.0
    chars: int = 0
    """Length of the whole result, where the model was given only its head and tail; else 0."""

    @property
    def call_id(self) -> str:
        """The call this is the result of."""
        return self.result.call_id


class ResultKept(_Fact, frozen=True, gc=False):
    """The whole text of a result that was too long for the request; `read_result` reads it."""

    call_id: str
    text: str


class QuestionAsked(_Fact, frozen=True):
    """A run asks a person and waits. Kept before the wait, so that a restart finds it."""

    question: Question


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """A leave that reaches further than one call."""

    key: str
    """Of the exact call, or of the tool."""
    place: str
    """The notebook, or the session, in which it holds."""
    rules: tuple[str, ...] = ()
    """For a whole tool: which rules asked. Where another one asks, it does not hold."""
    expires: float | None = None
    """Seconds since the epoch, UTC, from when on it does not hold; None: with its place."""


class QuestionAnswered(_Fact, frozen=True):
    """A question has its answer, or will not get one. A secret is never part of it."""

    question_id: str
    how: Literal["person", "timeout", "nobody", "cancelled"]
    """"nobody": there was no one to ask. "cancelled": the run ended first."""
    value: Any = None
    by: str = ""
    grant: Grant | None = None


class GrantRevoked(_Fact, frozen=True, gc=False):
    """A leave was taken back."""

    grant: Grant


class PlanItem(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One step of a plan."""

    text: str
    status: Literal["pending", "active", "done", "dropped"] = "pending"


class PlanUpdated(_Fact, frozen=True, gc=False):
    """The agent wrote its plan down, whole."""

    items: tuple[PlanItem, ...]


class NotesWritten(_Fact, frozen=True, gc=False):
    """The agent wrote on its scratchpad, or wiped it."""

    text: str = ""
    how: Literal["append", "replace", "clear"] = "append"


class VariableChange(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What happened to one variable; `before` and `after` describe it in a few words."""

    name: str
    change: Literal["added", "changed", "deleted"]
    before: str = ""
    after: str = ""


class VariablesChanged(_Fact, frozen=True, gc=False):
    """Code that the agent ran changed variables of the notebook, or a roll back restored them."""

    call_id: str
    changes: tuple[VariableChange, ...]
    rolled_back: bool = False
    cannot_restore: tuple[str, ...] = ()
    """Names whose old value could not be kept, so that a roll back would not bring it back."""


class Change(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the model is shown in place of some messages of the conversation, which stays as it is."""

    first: int
    last: int
    """The messages, counted from 0, both included."""
    messages: tuple[Message, ...] = ()
    """What stands for them; calls and results still fit each other."""
    was: str = ""
    """The beginning of what was sent in their place before, for a reader."""
    tokens: int = 0
    """Of what was sent in their place before, estimated."""


ArtifactKind: TypeAlias = Literal["text", "json", "table", "image", "data"]


class TableHead(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The beginning of a table in words, for a reader."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Each with its label first."""
    of_rows: int = 0
    of_columns: int = 0


class ArtifactAdded(_Fact, frozen=True, gc=False):
    """A tool of the run produced something with a name. The same name again is a new version of it."""

    name: str
    kind: ArtifactKind
    media_type: str
    summary: str
    """What it is, in a few words: "12 rows × 3 columns"."""
    size: int
    """Of its bytes; a text is UTF-8."""
    sha256: str
    """Of its bytes, in hexadecimal."""
    call_id: str = ""
    """The call in which it was produced."""
    text: str | None = None
    """The content, where it is words: a text, or JSON."""
    data: bytes | None = None
    """The content, where it is not. Neither is here when it was too large for the log: it is a file then."""
    head: str = ""
    """The beginning of a text whose content is a file."""
    table: TableHead | None = None
    """Of a table."""


class ContextCompacted(_Fact, frozen=True, gc=False):
    """The model is shown less from now on. Nothing is lost: `recall` reads it, CompactionUndone undoes it."""

    id: str
    strategy: str
    """The name of the strategy: "snip", "micro", "collapse", "auto", or another one's."""
    reason: str
    """Why: "pressure 0.82", "the vendor's limit", "asked for"."""
    changes: tuple[Change, ...]
    tokens_before: int
    """Of the request, estimated."""
    tokens_after: int
    handoff: str = ""
    """What a summary of the work so far says, where one was written."""
    usage: Usage = Usage()
    """Of writing it."""
    tells: tuple[tuple[int, int], ...] = ()
    """First and last of the messages of which any of its notes may tell, its own among them."""


class CompactionUndone(_Fact, frozen=True, gc=False):
    """The model is shown again what a compaction took away: all, or the change that begins at `first`."""

    id: str
    first: int | None = None


Mark: TypeAlias = Literal["pinned", "hidden"]


class ContextMarked(_Fact, frozen=True, gc=False):
    """A person keeps a message from compaction, or keeps it from the model; None takes the mark off."""

    message: int
    """Its number in the conversation, counted from 0."""
    mark: Mark | None = None


class AttemptStarted(_Fact, frozen=True, gc=False):
    """A run whose answer has to be accepted sets out, or sets out again."""

    attempt: int
    """1 is the first."""
    independent: bool = False
    """Whether it is shown nothing of the work of those before it."""


class Finding(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What was found of one criterion."""

    criterion: str
    passed: bool
    reason: str = ""


class QualityChecked(_Fact, frozen=True, gc=False):
    """The answer of an attempt was held against what it must meet."""

    attempt: int
    passed: bool | None
    """None: it could not be evaluated, so that it counts as not passed."""
    critique: str = ""
    """What is to be done better."""
    results: tuple[Finding, ...] = ()
    usage: Usage = Usage()
    """Of the evaluation; part of what the run tells at its end."""
    by: str = ""
    """The model or the function that judged."""


class RunResumed(_Fact, frozen=True, gc=False):
    """Another process took up a run that waited for a person."""

    reason: str = ""


class Noticed(_Fact, frozen=True, gc=False):
    """Something the reader should know: a dropped option, a shortened result, a hook that failed."""

    text: str
    level: Literal["info", "warning"] = "info"


class SecretUsed(_Fact, frozen=True, gc=False):
    """A secret was used, by the broker that keeps it: what it is stands nowhere."""

    scope: str
    """Its name."""
    who: str
    """`tool:http_request`, `model:anthropic`."""
    call_id: str = ""
    method: str = ""
    host: str = ""
    """With its port, where that is not the usual one."""
    path: str = ""
    """Without a query."""
    mode: str = ""
    """Of the policy by which it was used: `notify_after` is to be told."""


class Passage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A passage of a document as the model was given it. Its words stand in the message or the result."""

    number: int
    """By which an answer cites it: [1]. It stays the same in the whole conversation."""
    id: str
    title: str = ""
    location: str = ""
    """Where in the document: "page 3"."""
    source: str = ""
    score: float = 0.0
    url: str = ""
    """Of a page of the web."""
    headings: tuple[str, ...] = ()


class EvidenceFound(_Fact, frozen=True, gc=False):
    """Documents were searched. No passages: nothing in them belongs to the query."""

    query: str
    passages: tuple[Passage, ...] = ()
    by: str = ""
    """`search_knowledge`, or "enrichment" for what a run begins with."""
    call_id: str = ""
    known: int = 0
    """The highest number that a passage of the conversation has."""


class SkillActivated(_Fact, frozen=True, gc=False):
    """A skill is active in this run from now on, or is no longer. The end of the run ends it too."""

    name: str
    tier: str = ""
    """How far it is trusted, by its place: builtin, user, project or agent."""
    place: str = ""
    """The folder in which skills of this place lie."""
    sha256: str = ""
    """Of all that it said."""
    allowed_tools: tuple[str, ...] | None = None
    """The only tools that may be used while it is active; None: all."""
    call_id: str = ""
    active: bool = True
    """False: it was put away."""
    findings: tuple[str, ...] = ()
    """What the guard told of it, in words."""


class SkillChanged(_Fact, frozen=True, gc=False):
    """The agent wrote a skill of its own, changed or deleted it, or took such a change back."""

    name: str
    change: Literal["created", "changed", "deleted", "undone"]
    file: str = ""
    """Which of its files."""
    words: str = ""
    call_id: str = ""


class RecalledNote(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A note that a model was shown, and why."""

    id: str
    words: str
    """Its beginning, in one line."""
    score: float = 0.0
    components: dict[str, float] = {}
    """What the score is made of, each 0 to 1; empty: it is pinned, and nothing fitted."""
    terms: tuple[str, ...] = ()
    """Stems of the query that stand in it."""
    version: int = 1
    pinned: bool = False


class NotesRecalled(_Fact, frozen=True, gc=False):
    """Notes of the memory were shown to the model."""

    notes: tuple[RecalledNote, ...]
    query: str = ""
    """What was looked for, the beginning of it."""
    how: Literal["enrichment", "search"] = "enrichment"
    """At the beginning of a run, or by a tool."""
    left_out: int = 0
    """Relevant ones for which the budget had no room."""
    tokens: int = 0
    """Of what was shown, estimated."""
    call_id: str = ""


class MemoryChanged(_Fact, frozen=True, gc=False):
    """A run changed a note of the memory."""

    id: str
    change: Literal["added", "edited", "forgotten", "restored"]
    words: str = ""
    """Its beginning as it is now, or was, in one line."""
    before: str = ""
    """The same before an edit."""
    version: int = 1
    call_id: str = ""
    undoable: bool = True
    """Whether `%loom memory undo` takes it back: not where it took something back itself, nor where these are
    notes that `%loom memory` does not know."""


class RunInterrupted(_Fact, frozen=True, gc=False):
    """A process died in the middle of this run; written by the next one that opens the session."""

    reason: str = "the process ended before the run did"


class Played(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What of a run came from a recording: nothing was sent for it, and nothing spent."""

    calls: int = 0
    """Model calls."""
    usage: Usage = Usage()
    """Tokens that they took when they were recorded."""
    cost: float | None = None
    """US dollars that these would have cost; None where the price is not known."""
    whole: bool = False
    """No model was asked at all."""


class RunFinished(_Fact, frozen=True, gc=False):
    """A run ended, and how. Never `completed` unless the model ended its answer by itself."""

    status: Status
    output: str = ""
    reason: str = ""
    fault: str = ""
    """The class of the failure: a `Fault` of a model call, or a `RunFault`."""
    usage: Usage = Usage()
    """Of all model calls, those included that were played from a recording."""
    cost: float | None = None
    """What was spent, in US dollars; None where the price is not known."""
    turns: int = 0
    """Model calls that were answered."""
    seconds: float = 0.0
    data: Any = None
    """The structured output, where the run asked for one: plain JSON."""
    estimated: int = 0
    """Tokens of the usage that are estimated: of calls that were cut off, so that nobody counted them."""
    fixes: tuple[str, ...] = ()
    """What a person can type then; empty for a run that completed."""
    played: Played = Played()

    @property
    def spent_tokens(self) -> int:
        """Tokens for which something was sent."""
        return self.usage.total_tokens - self.played.usage.total_tokens


class TextDelta(_Fact, frozen=True, gc=False):
    """More words of the answer. Shown, never kept."""

    text: str


class ThinkingDelta(_Fact, frozen=True, gc=False):
    """More reasoning. Shown, never kept."""

    text: str


class CallDelta(_Fact, frozen=True, gc=False):
    """More of a call's arguments, as JSON text. Shown, never kept."""

    call_id: str
    name: str
    arguments: str


class CallOutput(_Fact, frozen=True, gc=False):
    """What a tool prints while it runs. Shown, never kept; the result is."""

    call_id: str
    text: str


Delta: TypeAlias = TextDelta | ThinkingDelta | CallDelta
Kept: TypeAlias = (
    SessionOpened
    | RunStarted
    | MessageAdded
    | HeadChanged
    | TurnStarted
    | RetryScheduled
    | TurnFinished
    | CallJudged
    | CallStarted
    | CallFinished
    | ResultKept
    | QuestionAsked
    | QuestionAnswered
    | GrantRevoked
    | PlanUpdated
    | NotesWritten
    | VariablesChanged
    | ArtifactAdded
    | ContextCompacted
    | CompactionUndone
    | ContextMarked
    | AttemptStarted
    | QualityChecked
    | RunResumed
    | Noticed
    | SecretUsed
    | EvidenceFound
    | NotesRecalled
    | MemoryChanged
    | SkillActivated
    | SkillChanged
    | RunInterrupted
    | RunFinished
)
Event: TypeAlias = Kept | Delta | CallOutput


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """One event in the log of a session."""

    session: str
    seq: int
    """Dense from 1 in each session."""
    run: str
    """Empty for events of the session itself."""
    time: float
    """Seconds since the epoch, UTC."""
    event: Kept


_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Kept] = msgspec.json.Decoder(Kept)


def event_to_json(event: Event) -> bytes:
    """An event as one line of JSON."""
    return _ENCODER.encode(event)


def event_from_json(data: bytes | str) -> Kept:
    """The inverse. Raises msgspec.ValidationError for anything that is not an event of ours."""
    return _DECODER.decode(data)
