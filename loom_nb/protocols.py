"""The sockets, on one page: what can be plugged into the machine, and the values that pass there.

Everything here is structural: any object of the right shape fits, nothing needs to be inherited.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from loom_nb.checks import check, number, one_of, texts, whole
from loom_nb.events import (
    Delta,
    EvidenceFound,
    Kept,
    LogEntry,
    MemoryChanged,
    NotesRecalled,
    NotesWritten,
    PlanUpdated,
    SecretUsed,
    SkillActivated,
    SkillChanged,
    StopReason,
    VariablesChanged,
)
from loom_nb.messages import Conversation, DataPart, Discarded, Message, Origin, Usage
from loom_nb.questions import Question
from loom_nb.settings import Cap, Mode, money
from loom_nb.tokens import estimate, estimate_message
from loom_nb.tools import Assessment, Effect, Tool


@dataclass(frozen=True, slots=True)
class Generation:
    """Sampling options of a request. None leaves the choice to the vendor.

    A model client sends each of these or says in a notice that its vendor does not take it.

    Raises:
        LoomUsageError: a field is of a wrong type or out of range. A lone text as `stop` is one of several.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    thinking_tokens: int | None = None
    """Budget of shown reasoning, where the vendor has one."""

    def __post_init__(self) -> None:
        check(self, _SAMPLING)


_SAMPLING = {
    "temperature": number(0, 2, optional=True, such_as="0.7"),
    "top_p": number(0, 1, optional=True, such_as="0.9"),
    "max_output_tokens": whole(1, optional=True, such_as="1000"),
    "stop": texts(alone=True, such_as='["END"]'),
    "seed": whole(-(2**63), 2**63 - 1, optional=True, such_as="7"),
    "reasoning_effort": one_of("none", "minimal", "low", "medium", "high", optional=True),
    "thinking_tokens": whole(0, optional=True, such_as="2000"),
}


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The form the answer must have: a JSON schema with a name."""

    name: str
    schema: Mapping[str, Any]

    @property
    def tokens(self) -> int:
        """What it weighs in a request, estimated."""
        return len(str(self.schema)) // 4


class Request(msgspec.Struct):
    """One model call. The conversation is shared and append-only: read it, never change it."""

    system: str
    conversation: Conversation
    tools: Sequence[Tool] = ()
    generation: Generation = Generation()
    output: OutputSchema | None = None
    working: Message | None = None
    """Sent behind the conversation, in this request alone: the dashboard, where a run has one."""
    run: "Running | None" = None
    """Whose it is: for whoever gives a key out; it is not sent."""

    @property
    def head_tokens(self) -> int:
        """Of what stands before the conversation: instructions, tools, the form of the answer; estimated."""
        form = self.output.tokens if self.output is not None else 0
        return estimate(self.system) + sum([tool.tokens for tool in self.tools]) + form

    @property
    def tokens(self) -> int:
        """Of the whole, estimated."""
        working = estimate_message(self.working) if self.working is not None else 0
        return self.head_tokens + sum([estimate_message(message) for message in self.conversation]) + working


class Reply(msgspec.Struct, frozen=True):
    """A whole answer of a model: only ever made when the stream came to its proper end."""

    message: Message
    usage: Usage = Usage()
    stop_reason: StopReason = "end"
    model: str = ""
    notices: tuple[str, ...] = ()
    """What the reader should know, for example an option that was dropped."""
    discarded: tuple[Discarded, ...] = ()
    """Answers of others to the same request that were paid for and not taken."""


class LanguageModel(Protocol):
    """An opened model."""

    @property
    def name(self) -> str:
        """`vendor:model`, as a person would type it."""
        ...

    async def reply(self, request: Request, emit: Callable[[Delta], None]) -> Reply:
        """Answer, calling `emit` for each delta as it comes.

        Raises `ModelError` for every failure of the call, `LoomKeyError` without a key. A stream
        that ends before its end mark is a ModelError with fault `cut_stream`, never a Reply.
        Cancelling the task closes the connection.
        """
        ...

    def encode(self, request: Request) -> bytes:
        """The exact body that `reply` would send."""
        ...

    async def close(self) -> None:
        """Let go of connections. May be called twice."""
        ...


class Lease(Protocol):
    """The right to write one session, held by one process at a time."""

    @property
    def session(self) -> str:
        """The id of the session."""
        ...

    @property
    def fence(self) -> int:
        """Grows with each new holder: a store refuses writes under an older number."""
        ...


class Store(Protocol):
    """Keeps the log of every session. All calls are synchronous and may come from any thread."""

    @property
    def durable(self) -> bool:
        """Whether an acknowledged event survives the process."""
        ...

    def acquire(self, session: str) -> Lease:
        """Become the writer of a session, which need not exist. Raises `SessionBusy`, `SessionDeleted`."""
        ...

    def renew(self, lease: Lease) -> None:
        """Say that the holder lives. Raises `LeaseLost`."""
        ...

    def release(self, lease: Lease) -> None:
        """Give the right back. Never raises for a lease that was lost."""
        ...

    def append(self, lease: Lease, entries: Sequence[LogEntry]) -> None:
        """Keep entries, all or none; they are acknowledged when this returns.

        Raises `LeaseLost` when another holder came, `StoreError` when the disk refuses.
        """
        ...

    def read(self, session: str, *, after: int = 0) -> Iterable[LogEntry]:
        """The entries of a session with `seq > after`, in order. Raises `StoreDamaged` at a bad row."""
        ...

    def questions(self, *, limit: int = 1000) -> Sequence[LogEntry]:
        """The latest questions, answers and revoked grants of all sessions, newest first.

        Damaged rows are passed over. Of deleted sessions only the revoked grants are among them: what
        was taken back does not hold again because somebody tidied up.
        """
        ...

    def sessions(
        self, *, limit: int | None = None, before: "SessionRow | None" = None
    ) -> Sequence["SessionRow"]:
        """The sessions that have entries, newest first: all, or at most `limit` of them.

        `before` is the last row of a page: the listing goes on after it.
        """
        ...

    def runs(self, session: str | None = None, *, limit: int = 100) -> Sequence["RunRow"]:
        """The runs of one session or of all, newest first."""
        ...

    def landmarks(self, session: str) -> Sequence[LogEntry]:
        """The first entry of a session and those that begin and end its runs, in order.

        Damaged rows are passed over. The cost depends on how many runs it has, not on what they did.
        """
        ...

    def rename(self, session: str, name: str) -> None:
        """Give a session a name for people, whoever writes it; an empty one takes it off.

        Its log and its place in the listings stay as they are. Raises `StoreError` where there is no
        such session.
        """
        ...

    def delete(self, session: str) -> None:
        """Take a session out of all listings, at once. Nothing of it is lost, and it can still be read.

        Raises `SessionBusy` while somebody writes it, `StoreError` where there is no such session.
        """
        ...

    def restore(self, session: str) -> None:
        """Take back a `delete`: all is as it was, to the byte. Raises `StoreError` for one not deleted."""
        ...

    def deleted(self, *, limit: int | None = None) -> Sequence["SessionRow"]:
        """The sessions that were deleted and not purged, the last deleted first."""
        ...

    def purge(self, sessions: Sequence[str]) -> Sequence[str]:
        """Remove deleted sessions from the store for good. Gives those that were removed.

        Those that are not deleted are left as they are. What a crash interrupts is finished by the
        next purge.
        """
        ...

    def close(self) -> None:
        """Let go of files. May be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session in a listing."""

    id: str
    entries: int
    started: float
    updated: float
    writer: str = ""
    """Who holds the lease now, as `host:pid`; empty when nobody does."""
    name: str = ""
    """What a person called it."""
    size: int = 0
    """Bytes of its events; 0 where they are not kept as bytes."""
    deleted: float | None = None
    """When it was deleted, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in a listing. `status` is "running", "interrupted", "damaged" or a Status."""

    session: str
    run: str
    started: float
    goal: str
    model: str
    status: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent of one account."""

    tokens: int = 0
    dollars: float = 0.0
    unpriced: int = 0
    """Those of the tokens whose price is not known."""

    def __add__(self, other: "Spent") -> "Spent":
        dollars = self.dollars + other.dollars
        return Spent(self.tokens + other.tokens, dollars, self.unpriced + other.unpriced)

    def __sub__(self, other: "Spent") -> "Spent":
        return self + Spent(-other.tokens, -other.dollars, -other.unpriced)

    def __bool__(self) -> bool:
        return bool(self.tokens or self.dollars or self.unpriced)

    def left(self, cap: Cap) -> float:
        """What a cap leaves, in its unit; less than 0 where it was passed."""
        return cap.tokens - self.tokens if cap.tokens is not None else (cap.dollars or 0.0) - self.dollars

    def told(self, cap: Cap) -> str:
        """In the unit of a cap: `$0.0512`, `12,345 tokens`."""
        return f"{self.tokens:,} tokens" if cap.tokens is not None else money(self.dollars)

    def of(self, cap: Cap) -> str:
        """How much of a cap: `$0.0512 of $5.00`, `12,345 of 20,000 tokens`."""
        return f"{self.tokens:,} of {cap}" if cap.tokens is not None else f"{money(self.dollars)} of {cap}"


class Book(Protocol):
    """What was spent, by account; one for all processes that share a store. Safe from any thread."""

    def change(self, change: Spent, accounts: Sequence[str]) -> list[Spent]:
        """Add the same to each of the accounts, all at once, and give what each comes to.

        Nothing to add only reads. It may wait for another process. Raises StoreError where it cannot
        be read or kept.
        """
        ...

    def change_now(self, change: Spent, accounts: Sequence[str]) -> list[Spent] | None:
        """`change` without waiting; None, and nothing is changed, while somebody else writes."""
        ...


@dataclass(frozen=True, slots=True)
class Taint:
    """Where the texts of a turn come from."""

    context: frozenset[str] = frozenset()
    """The kinds of origin that are in the request and that the user did not write."""
    arguments: Mapping[str, Origin] = field(default_factory=dict)
    """For each text in the arguments, by its path ("to[0]"): where it was found."""


class Tally(Protocol):
    """The calls that were let run, failed ones included."""

    def count(self, glob: str, since: float = 0.0) -> int:
        """Calls of tools whose name matches, from that time on (seconds since the epoch)."""
        ...


class Scene(msgspec.Struct, frozen=True):
    """What a judge may look at beside the call itself."""

    mode: Mode = "ask"
    now: float = 0.0
    """Seconds since the epoch."""
    cost: float | None = 0.0
    """US dollars of the run so far; None where a price is not known."""
    tallies: Mapping[str, Tally] = {}
    """By "session" and "agent"."""
    trace: Callable[[Mapping[str, Any]], Taint] = lambda arguments: Taint()
    """Where these arguments come from."""
    skills: tuple[SkillActivated, ...] = ()
    """Those that are active in the run."""


class Call(msgspec.Struct, frozen=True):
    """A tool call as the judge sees it: arguments already validated."""

    id: str
    name: str
    arguments: Mapping[str, Any]
    tool: Tool
    run: str = ""
    session: str = ""
    assessment: Assessment | None = None
    provided_by: str = ""
    """The capability that brought the tool; empty for a function that the user handed over."""
    scene: Scene = Scene()
    written: Mapping[str, Any] = {}
    """The arguments as plain data, as the model or a person wrote them."""
    notebook: str = ""
    """The notebook that the run is for; empty in a script."""
    agent: str = ""
    """The name of the agent whose run it is."""
    approved: str = ""
    """The question that a person answered with yes to this very call; empty: nobody was asked yet."""

    @property
    def effects(self) -> frozenset[Effect]:
        """Of this very call where its tool tells them, else of the tool."""
        return self.tool.effects if self.assessment is None else self.assessment.effects

    @property
    def destructive(self) -> bool:
        """Whether what it does cannot be taken back."""
        return self.tool.destructive if self.assessment is None else self.assessment.destructive

    @property
    def read_only(self) -> bool:
        """Whether it only looks."""
        return self.effects <= {"reads", "network"} and not self.destructive


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule or the whole policy says of one call."""

    decision: Literal["allow", "ask", "deny"]
    reason: str = ""
    by: str = ""
    arguments: Mapping[str, Any] | None = None
    """With "allow": call it with these instead; they are validated and judged again. The same ones as
    before are no opinion: who tidies arguments gives no leave."""
    each: bool = False
    """With "ask": each call is asked about; no leave is offered that holds for a later one."""


Layer: TypeAlias = Literal["hook", "permission", "veto", "effect", "rate", "origin", "approval"]
LAYERS: tuple[Layer, ...] = ("hook", "permission", "veto", "effect", "rate", "origin", "approval")
"""The order in which rules are asked."""


class Rule(Protocol):
    """One opinion about a call. An exception in a rule denies the call.

    A rule may have a `layer`, one of LAYERS; "permission" is assumed.
    """

    @property
    def name(self) -> str:
        """What a verdict is signed with."""
        ...

    def judge(self, call: Call) -> Verdict | Awaitable[Verdict | None] | None:
        """A verdict, or None for no opinion."""
        ...


class Redaction(Protocol):
    """Takes out of texts the secrets that this process does not know itself: a broker's."""

    @property
    def in_use(self) -> bool:
        """Whether any secret has been used so far. While none was, no text is handed over."""
        ...

    async def redact(self, text: str) -> str:
        """The text without any secret that was used, in any encoding, each as `[secret NAME]`.

        From any event loop, several at once. Raises LoomError where it cannot be said: then the text is
        not used.
        """
        ...


Said: TypeAlias = (
    PlanUpdated
    | NotesWritten
    | VariablesChanged
    | SecretUsed
    | NotesRecalled
    | MemoryChanged
    | SkillActivated
    | SkillChanged
    | EvidenceFound
)
"""What a tool may keep about its call."""


class CallContext(Protocol):
    """What a tool that is running may do beside returning: `current_call.get()` gives it."""

    @property
    def call_id(self) -> str:
        """Of the call that runs."""
        ...

    @property
    def session(self) -> str:
        """The id of the session."""
        ...

    @property
    def run(self) -> str:
        """The id of the run."""
        ...

    @property
    def notebook(self) -> str:
        """The notebook that the run is for; empty in a script."""
        ...

    @property
    def cell(self) -> str:
        """Which cell asked: `[7]`; empty in a script."""
        ...

    @property
    def agent(self) -> str:
        """The name of the agent whose run it is."""
        ...

    @property
    def approved(self) -> str:
        """The question that a person answered with yes to this very call; empty: nobody was asked."""
        ...

    async def ask(self, question: Question) -> Any:
        """The checked answer of a person, or the question's default. The time does not count as the tool's.

        `id`, `call_id`, `asked_by` and, where it is None, `expires` are filled in.

        Raises:
            Unanswered: nobody answered in time, or nobody can be asked here.
        """
        ...

    def show(self, text: str) -> None:
        """Show output while the tool runs. May be called from any thread."""
        ...

    @property
    def notes(self) -> str:
        """What stands on the agent's scratchpad."""
        ...

    def say(self, event: Said) -> None:
        """Keep a fact about this call. May be called from any thread."""
        ...

    def number(self, passages: Sequence[str]) -> tuple[int, ...]:
        """The numbers by which passages, told by their ids, are cited in this conversation."""
        ...

    def artifact(self, name: str, value: Any, media_type: str | None = None) -> None:
        """Keep a value with the run, by name; see `loom_nb.artifact`. May be called from any thread.

        Raises:
            LoomUsageError: it cannot be kept, or the run is over.
            StoreError: the disk refuses.
        """
        ...

    def product(
        self, kind: Literal["figure", "table", "file"], value: Any, name: str = "", *, of_rows: int = 0
    ) -> str:
        """Keep what the call made beside what it returns. May be called from any thread; raises nothing.

        Args:
            kind: what it is; without a name of its own it is called `figure 1`, `table 2`.
            value: like `artifact`; of a file its bytes.
            name: what it is called.
            of_rows: rows of the table of which this is the beginning; 0: it is the whole.

        Returns:
            Why it is not kept; empty where it is, or was already.
        """
        ...


current_call: ContextVar[CallContext | None] = ContextVar("loom_nb_current_call", default=None)
"""The context of the tool call that runs here; carried into threads."""


class Running(Protocol):
    """Which run it is that goes on here, and for whom."""

    @property
    def session_id(self) -> str:
        """The id of its session."""
        ...

    @property
    def id(self) -> str:
        """Its own."""
        ...

    @property
    def notebook(self) -> str:
        """Which notebook it is for; empty in a script."""
        ...

    @property
    def agent(self) -> str:
        """The name of who carries it out."""
        ...


current_run: ContextVar[Running | None] = ContextVar("loom_nb_current_run", default=None)
"""The run that goes on here, its model calls included."""

KEPT_KEY = "kept-by-the-broker-of-secrets"
"""What an SDK shows in place of a key that it is not given."""


class KeySource(Protocol):
    """Keeps keys of models, and gives none out. Safe from any thread."""

    def keeps(self, vendor: str) -> bool:
        """Whether there is a key of a vendor. May wait."""
        ...

    async def way(self, vendor: str, bound_to: str = "") -> Any | None:
        """An `httpx2.AsyncBaseTransport` that puts the key of a vendor in place of `KEPT_KEY`.

        None where none is kept, or it may not go to the address `bound_to`, if one is given. What it raises
        of the key itself is a `CredentialError`.
        """
        ...


@dataclass(frozen=True, slots=True)
class PartitionItem:
    """A piece of text a toolset adds to the system side of a request, with where it came from."""

    id: str
    text: str
    partition: Literal["system", "memory", "skill", "working"] = "working"
    origin: str = ""
    """Where it comes from, for the ledger: "user:identity/SOUL.md"; empty: from the program itself."""


def _numbered(passages: Sequence[str]) -> tuple[int, ...]:
    return tuple(range(1, len(passages) + 1))


class Enquiry(msgspec.Struct, frozen=True):
    """What a run begins with: for whoever knows something about it."""

    text: str
    """The words of the task."""
    session: str = ""
    run: str = ""
    """Empty in a preview."""
    notebook: str = ""
    agent: str = ""
    cell: str = ""
    """Which one asks: `[7]`."""
    preview: bool = False
    """Whether nothing is sent, to embedders neither: then nothing is changed and nothing counts as used."""
    seen: frozenset[str] = frozenset()
    """The names of the data that the model is shown of this conversation already."""
    number: Callable[[Sequence[str]], tuple[int, ...]] = _numbered
    """The numbers by which passages, told by their ids, are cited in this conversation."""


class Enrichment(msgspec.Struct, frozen=True):
    """What a capability adds to the beginning of a run."""

    parts: tuple[DataPart, ...]
    """Data with its origin, never an instruction; it stands behind the words of the task."""
    facts: tuple[Kept, ...] = ()
    """What is to be kept of how it was found."""


Enrich: TypeAlias = Callable[[Enquiry], Awaitable[Enrichment | None]]


@dataclass(slots=True)
class Toolset:
    """What an opened capability brings."""

    tools: Sequence[Tool] = ()
    partitions: Callable[[], Sequence[PartitionItem]] = field(default=lambda: ())
    enrich: Enrich | None = None
    """Asked once when a run begins."""
    rules: Sequence[Rule] = ()
    close: Callable[[], Awaitable[None]] | None = None
    own: bool = False
    """Whether its tools are functions that the user wrote: they count as handed over."""


@runtime_checkable
class Capability(Protocol):
    """A frozen description of something an agent can be given."""

    @property
    def name(self) -> str:
        """What it is called in listings."""
        ...

    async def open(self) -> Toolset:
        """Connect, and bring the tools."""
        ...


class Clock(Protocol):
    """Time, handed in so that tests need none."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...
