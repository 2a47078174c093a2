"""Stage: all that the loop works with in one run."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from loom_nb.events import Delta, Kept, RunFinished, Status, TextDelta, ThinkingDelta
from loom_nb.messages import MODEL, Message, TextPart, ThinkingPart, ToolResultPart, Usage
from loom_nb.protocols import Clock, LanguageModel, Request
from loom_nb.runtime.governance import GovernancePolicy
from loom_nb.runtime.hooks import Hooks
from loom_nb.runtime.policies import Runtime
from loom_nb.runtime.toolkit import Toolkit
from loom_nb.tokens import estimate_message


@dataclass(slots=True)
class Meter:
    """Tokens of the conversation so far: the vendor's last count, and an estimate of what came after."""

    counted: int = 0
    tail: list[Message] = field(default_factory=list)

    def added(self, message: Message) -> None:
        """The conversation grew."""
        self.tail.append(message)

    def counted_by_vendor(self, usage: Usage) -> None:
        """A reply, already added, told what its request and itself weighed."""
        if usage.input_tokens:
            self.counted = usage.input_tokens + usage.output_tokens
            self.tail.clear()

    @property
    def tokens(self) -> int:
        """Of the next request."""
        if self.tail:
            self.counted += sum(map(estimate_message, self.tail))
            self.tail.clear()
        return self.counted


@dataclass(slots=True)
class Stage:
    """What lies before the loop. The session makes it; the loop and the calls change it."""

    session: str
    run: str
    model: LanguageModel
    request: Request
    kit: Toolkit
    runtime: Runtime
    governance: GovernancePolicy
    """The runtime's, with the rules of the capabilities before its own."""
    say: Callable[[Kept], None]
    """Keep a fact and show it. It is durable after the next `commit`."""
    show: Callable[[Delta], None]
    """Show a piece of the message that is being written, and note it in `deltas`."""
    commit: Callable[[], Awaitable[None]] | None
    """Make all facts said so far durable; None where the store is not."""
    stopped: Callable[[], bool]
    """Whether the run was told to end: asked before every turn, should a tool have swallowed the news."""
    clock: Clock
    hooks: Hooks
    meter: Meter
    price: Callable[[Usage], float | None]
    random: Callable[[], float]
    deltas: list[Delta]
    """What the model has shown of a message that is not finished."""
    started: float
    """Of the clock's monotonic seconds."""
    accept: Callable[[str], Any] | None = None
    """Checks the final text of a run with an output schema: gives its data or raises ToolError."""
    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    results: list[ToolResultPart] = field(default_factory=list)
    """Results of the calls of the turn in progress."""
    denied: list[str] = field(default_factory=list)
    """Reasons of the calls that were refused in this run."""

    def add(self, message: Message) -> None:
        """Append a message to the conversation."""
        self.request.conversation.add(message)
        self.meter.added(message)

    def finished(
        self, status: Status, output: str = "", fault: str = "", reason: str = "", data: Any = None
    ) -> RunFinished:
        """The run's last event."""
        seconds = self.clock.monotonic() - self.started
        return RunFinished(status, output, reason, fault, self.usage, self.cost, self.turns, seconds, data)

    @property
    def cost(self) -> float | None:
        """US dollars so far, where the price is known."""
        return self.price(self.usage)


def partial_message(deltas: list[Delta]) -> Message | None:
    """What had arrived of a message whose stream was cut: its words, never its half-written calls."""
    thinking = "".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta))
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    parts: list[TextPart | ThinkingPart] = []
    if thinking:
        parts.append(ThinkingPart(thinking))
    if text:
        parts.append(TextPart(text, MODEL))
    return Message("assistant", tuple(parts), partial=True) if parts else None
