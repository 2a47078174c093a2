"""Stage: all that the loop works with in one run."""

import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from loom_nb.border import clean
from loom_nb.errors import EndFault
from loom_nb.events import Delta, Kept, Played, RunFinished, Status, StopReason, TextDelta, ThinkingDelta
from loom_nb.messages import (
    MODEL,
    DataPart,
    Message,
    Origin,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from loom_nb.protocols import Clock, LanguageModel, PartitionItem, Reply, Request, Spent
from loom_nb.remedies import Known, remedies
from loom_nb.runtime.artifact_files import Files
from loom_nb.runtime.asking import Asking
from loom_nb.runtime.context import View
from loom_nb.runtime.dashboard import Course
from loom_nb.runtime.deadlines import Deadlines
from loom_nb.runtime.fairness import FairQueue
from loom_nb.runtime.governance import GovernancePolicy
from loom_nb.runtime.hooks import Hooks
from loom_nb.runtime.limits import Streak
from loom_nb.runtime.origins import Origins
from loom_nb.runtime.output import OutputType
from loom_nb.runtime.policies import Runtime
from loom_nb.runtime.products import Products
from loom_nb.runtime.redacting import Redacting, ShownDeltas
from loom_nb.runtime.run import Run
from loom_nb.runtime.spending import Priced, Purse, Watched, at_most, weight
from loom_nb.runtime.tally import Tally
from loom_nb.runtime.toolkit import Toolkit
from loom_nb.tokens import estimate_message


class ModelReference(Protocol):
    """What a session needs of a Model."""

    @property
    def name(self) -> str:
        """`vendor:model`."""
        ...

    def open(self) -> LanguageModel:
        """Make a client."""
        ...

    def cost(self, usage: Usage, answered: str = "") -> float | None:
        """US dollars, or None where the price is not known. `answered` is `Reply.model`."""
        ...

    def window(self) -> int | None:
        """Tokens that it can take, request and answer together; None where that is not known."""
        ...


@dataclass(slots=True)
class Meter:
    """Tokens of the conversation so far: the vendor's last count, and an estimate of what came after."""

    counted: int = 0
    exact: bool = False
    """Whether a vendor has counted, instructions and tools included."""
    limit: int | None = None
    """Tokens of a request that a vendor refused as too large."""
    working: int = 0
    """Tokens of the dashboard in the request, which is no part of the conversation."""
    sent: int = 0
    """Tokens of the last request that was answered."""
    tail: tuple[Message, ...] = ()

    def counted_by_vendor(self, usage: Usage) -> None:
        """A reply, already added, told what its request and itself weighed."""
        sent = usage.input_tokens
        if sent:
            counted = sent + usage.output_tokens - self.working
            self.counted = counted if counted > 0 else 0
            self.exact = True
            self.sent = sent
            self.tail = ()
        else:
            self.sent = self.weigh()

    def shrunk(self, tokens: int) -> None:
        """So many tokens of the conversation are not sent any more; less than 0: they are again."""
        self.counted = max(0, self.weigh() - self.working - tokens)

    def weigh(self) -> int:
        """Tokens of the next request."""
        for message in self.tail:
            self.counted += estimate_message(message)
        self.tail = ()
        return self.counted + self.working


LOST = (
    "The outcome of this call is not known: the process ended while it ran. It may or may not have happened."
)


@dataclass(slots=True)
class Resumed:
    """What another process had done of the turn in which its run waited for a person."""

    results: dict[str, ToolResultPart] = field(default_factory=dict)
    """Of the calls that had ended."""
    started: set[str] = field(default_factory=set)
    """Ids of the calls that had begun."""
    stop_reason: StopReason = "end"
    """Of the last reply."""


_MAKING = threading.Lock()
_NOBODYS: Any = None
"""An empty stage has no run."""
_NONE_YET: Any = ()
_NONE_BEGUN: Any = frozenset()
"""Nothing can be put into them: a turn that calls tools makes its own. There are fewer objects so for the
garbage collector, whose pauses are what holds up a loop with a thousand sessions."""


def _unheard(event: object) -> None:
    raise AssertionError(f"no run is on this stage that could say {event!r}")


class _Setting(msgspec.Struct, eq=False, kw_only=True):
    """What all runs of an agent in a session have in common."""

    session: str
    model: LanguageModel
    kit: Toolkit
    runtime: Runtime
    governance: GovernancePolicy
    """The runtime's, with the rules of the capabilities before its own."""
    commit: Callable[[], Awaitable[None]] | None
    """Make all facts said so far durable; None where the store is not."""
    clock: Clock
    deadlines: Deadlines
    fair: FairQueue
    hooks: Hooks
    asking: Asking
    redacting: Redacting
    """What takes secrets out of everything that is kept, shown or sent."""
    origins: Origins
    tally: Tally
    """The calls of this session,"""
    agents: Tally
    """and those of all sessions of the agent."""
    meter: Meter
    view: View
    """What of the conversation is sent."""
    room: int
    """Tokens below which a request is known to fit."""
    reference: ModelReference
    """What is known of the model before it is opened: its price, and how much it can take."""
    recorded: Callable[[Request], bool] | None
    """Whether a request is answered from a recording; None where there is none. See `plays`."""
    counted: bool
    """Whether there is a cap on what it spends, or somebody else is to know of it."""
    random: Callable[[], float]
    agent: str = ""
    """The name of whoever answers."""
    files: Files | None = None
    """Where artifacts are kept that are too large for the log; None where the store has no place."""


class Stage(_Setting, eq=False):
    """What lies before the loop.

    A session sets up an empty one for each agent. Each run gets a copy, which the loop and the calls
    change. What differs from run to run stands first, where it is found soonest.
    """

    request: Request
    run: Run = _NOBODYS
    say: Callable[[Kept], None] = _unheard
    """Keep a fact and show it. It is durable after the next `commit`."""
    show: Callable[[Delta], None] = _unheard
    """Show a piece of the message that is being written, and note it in `run.deltas`."""
    started: float = 0.0
    """Of the clock's monotonic seconds."""
    budget: int = 0
    """Tokens that a request may have, where that has been looked up."""
    shown: ShownDeltas | None = None
    """What `show` goes through, where there are secrets that this process knows."""
    output: OutputType | None = None
    """The form that the answer must have."""
    value: Any = None
    """The answer as a value of that form."""
    started_calls: set[str] = _NONE_BEGUN
    """Ids of the calls of the turn in progress whose tools have begun to run; `perform` makes it anew."""
    resumed: Resumed | None = None
    """In the first turn of a run that another process had begun."""
    partitions: tuple[PartitionItem, ...] = ()
    """The texts of capabilities that are part of the instructions."""
    purse: Purse | None = None
    """What the run may spend; None where that is not counted."""
    weighed: int | None = None
    """Tokens of what `view.headed` tells, once somebody asked again."""
    made: Products | None = None
    """What its calls made beside what they returned, once one did."""
    closed: bool = False
    """The run has ended: a tool that was left behind has nothing to say any more."""
    turns: int = 0
    replies: int = 0
    """Model calls that were answered, handoffs left out."""
    paid: int = 0
    """Model calls that were answered, all of them."""
    usage: Usage = Usage()
    cost: float | None = None
    """US dollars so far; None where a price is not known."""
    estimated: int = 0
    """Tokens of the usage that nobody counted, of calls that were cut off."""
    played: Played = Played()
    """What of it came from a recording."""
    results: list[ToolResultPart] = _NONE_YET
    """Results of the calls of the turn in progress; likewise."""
    denied: tuple[str, ...] = ()
    """Reasons of the calls that were refused in this run."""
    allowing: tuple[str, ...] = ()
    """What a person can do who wants the first of them to run."""
    course: Course | None = None
    """What the dashboard tells of this run; None where no request holds one."""
    streak: Streak | None = None
    """The failing calls behind which no other one came; None after a turn in which none failed."""

    def entered(
        self,
        run: Run,
        request: Request,
        output: OutputType | None,
        partitions: tuple[PartitionItem, ...] = (),
    ) -> "Stage":
        """A copy of this empty stage, for one run."""
        shown = self.redacting.deltas(run.show) if self.redacting.known.redactor is not None else None
        return msgspec.structs.replace(
            self,
            run=run,
            request=request,
            say=run.say,
            show=shown or run.show,
            shown=shown,
            started=self.clock.monotonic(),
            output=output,
            partitions=partitions,
        )

    def between_turns(self) -> None:
        """No call is in progress: those of the last turn have their results in the conversation."""
        self.results, self.started_calls = _NONE_YET, _NONE_BEGUN

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """Whose calls rules may count."""
        return {"session": self.tally, "agent": self.agents}

    @property
    def products(self) -> Products:
        """What its calls make beside what they return. May be asked for from any thread."""
        with _MAKING:
            if self.made is None:
                self.made = Products()
            return self.made

    def watched(self, model: LanguageModel, priced: Priced) -> LanguageModel:
        """The model, its calls paid from the run's purse where there is one."""
        return model if self.purse is None else Watched(model, priced, self.purse, self.size, self.estimate)

    def size(self, request: Request) -> int:
        """Tokens of a request, estimated but for what a vendor has counted."""
        if request is not self.request:
            return request.tokens
        return self.meter.weigh() + (0 if self.meter.exact else self.head())

    def head(self) -> int:
        """`head_tokens` of the run's request: reckoned once for the same instructions, tools and form."""
        request, (system, tools, output, _) = self.request, self.view.headed
        if request.system is not system or request.tools is not tools or request.output is not output:
            return request.head_tokens  # the first time: the vendor's count is nearly always the next
        if self.weighed is None:
            self.weighed = request.head_tokens
        return self.weighed

    def add(self, message: Message) -> None:
        """Append a message to the conversation."""
        view, request = self.view, self.request
        view.add(message)
        if request.conversation is not view.shown:
            request.conversation = view.shown
        self.meter.tail += (message,)

    def finished(
        self,
        status: Status,
        output: str = "",
        fault: EndFault = "",
        reason: str = "",
        data: Any = None,
        fixes: Sequence[str] = (),
    ) -> RunFinished:
        """The run's last event. `fixes` are those that are known better than by the fault."""
        seconds = self.clock.monotonic() - self.started
        if self.purse is None and self.run.deltas:  # else the purse has told of it
            written = int(sum(map(weight, self.run.deltas)))
            again = self.recorded is not None and self.recorded(self.request)
            self.estimate(Usage(self.size(self.request), written), self.reference, played=again)
        played, cost = self.played, self.cost
        if played.calls:
            played = msgspec.structs.replace(played, whole=played.calls == self.paid)
            if played.whole:
                cost = 0.0
            else:
                cost = None if cost is None or played.cost is None else max(0.0, cost - played.cost)
        return RunFinished(
            status, output, reason, fault, self.usage, cost, self.replies, seconds, data, self.estimated,
            () if status == "completed" else tuple(fixes) or remedies(status, fault, self.known()), played,
        )  # fmt: skip

    def known(self) -> Known:
        """What is known of an end."""
        limits = self.runtime.limits
        return Known(
            vendor=self.model.name.partition(":")[0],
            turns=limits.max_iterations,
            seconds=limits.timeout,
            tokens=limits.max_tokens,
            dollars=limits.max_cost,
            repeats=limits.stuck,
        )

    def estimate(self, usage: Usage, model: Priced, *, played: bool = False) -> None:
        """Count a call that was cut off, so that nobody told what it came to."""
        cost, first = at_most(model, usage), not self.paid
        self.paid += 1
        if played:
            self._play(usage, cost)
        self.estimated += usage.total_tokens
        self.usage = self.usage + usage
        self.cost = cost if first else None if cost is None or self.cost is None else self.cost + cost

    def spend(
        self,
        usage: Usage,
        answered: str = "",
        price: Callable[[Usage, str], float | None] | None = None,
        *,
        aside: bool = False,
        played: bool = False,
    ) -> float | None:
        """Count a reply, and give its cost. Each is priced by itself: a long request may cost more a token.

        Args:
            usage: of the reply.
            answered: `Reply.model`: whose price counts, where the run's model is several.
            price: of the model that gave it, where it is not the run's own.
            aside: it is paid for and no step of the run: a handoff.
            played: it came from a recording. It counts for the limits as it did then.
        """
        cost, first = (price or self.reference.cost)(usage, answered), not self.paid
        self.paid += 1
        self.replies += not aside
        if played:
            self._play(usage, cost)
        if first:
            self.usage, self.cost = usage, cost
            return cost
        self.usage = self.usage + usage
        self.cost = None if cost is None or self.cost is None else self.cost + cost
        return cost

    def _play(self, usage: Usage, cost: float | None) -> None:
        """Note what nothing was sent for."""
        before = self.played
        known = before.cost if before.calls else 0.0
        whole = None if known is None or cost is None else known + cost
        self.played = Played(before.calls + 1, before.usage + usage, whole)

    def spent(self) -> Spent:
        """What the run has come to so far, without what was played from a recording."""
        cost, played = self.cost or 0.0, self.played
        tokens = self.usage.total_tokens - played.usage.total_tokens
        return Spent(tokens, max(0.0, cost - (played.cost or 0.0)) if played.calls else cost)


def pay(
    stage: Stage,
    reply: Reply,
    price: Callable[[Usage, str], float | None] | None = None,
    *,
    aside: bool = False,
    played: bool = False,
) -> float | None:
    """Count a reply like `Stage.spend`, and before it those that were discarded for it."""
    for one in reply.discarded:
        stage.spend(one.usage, one.model, price, aside=True, played=played)
    return stage.spend(reply.usage, reply.model, price, aside=aside, played=played)


def cleaned(message: Message) -> Message:
    """The message as it may be kept and sent: without lone surrogates and NUL, whoever made it."""
    for part in message.parts:
        if type(part) is TextPart and part.text.isascii() and "\0" not in part.text:
            continue  # as nearly all are
        if _cleaned_part(part) is not part:
            return msgspec.structs.replace(message, parts=tuple(map(_cleaned_part, message.parts)))
    return message


def _cleaned_part(part: Part) -> Part:
    if type(part) is TextPart or type(part) is ThinkingPart:  # by type: see `tokens`
        text = clean(part.text)
        return part if text is part.text else msgspec.structs.replace(part, text=text)
    if type(part) is ToolCallPart:
        name, arguments = clean(part.name), clean(part.arguments)
        same = name is part.name and arguments is part.arguments
        return part if same else msgspec.structs.replace(part, name=name, arguments=arguments)
    if isinstance(part, DataPart):
        origin = Origin(part.origin.kind, clean(part.origin.source))
        return DataPart(clean(part.name), clean(part.text), origin, clean(part.summary))
    return part


def partial_message(deltas: Sequence[Delta]) -> Message | None:
    """What had arrived of a message whose stream was cut: its words, never its half-written calls."""
    thinking = "".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta))
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    parts: list[TextPart | ThinkingPart] = []
    if thinking:
        parts.append(ThinkingPart(thinking))
    if text:
        parts.append(TextPart(text, MODEL))
    return Message("assistant", tuple(parts), partial=True) if parts else None


def so_far(stage: Stage) -> str:
    """The words of the message that was being written, or else of the last one."""
    partial = partial_message(stage.run.deltas)
    return partial.text if partial is not None else ""
