"""What enters the next run of a conversation that is opened again: all of it, its words, a window, nothing.

The log keeps everything whatever the policy says: what is not restored is a compaction like any other,
with `recall` to read it and an undo.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from loom_nb.checks import check, one_of, whole
from loom_nb.errors import LoomUsageError
from loom_nb.events import Change
from loom_nb.messages import DataPart, Message, TextPart
from loom_nb.runtime.context import starts_an_exchange, without_content, words_of

Kind = Literal["none", "transcript_only", "window", "runtime_state"]

_WORDS: dict[Kind, str] = {
    "none": "nothing of it is shown",
    "transcript_only": "what was said",
    "window": "the latest exchanges",
    "runtime_state": "all of it",
}

_WANTED = {
    "kind": one_of("none", "transcript_only", "window", "runtime_state"),
    **dict.fromkeys(("max_transcripts", "max_messages"), whole(0, optional=True, such_as="20")),
    "max_runtime_items": whole(0, optional=True, such_as="40"),
    "max_chars": whole(0, optional=True, such_as="12_000"),
}


@dataclass(frozen=True, slots=True)
class SessionRestorePolicy:
    """How much of an earlier process the model is shown. Made by its class methods; limits are exact.

    Args:
        kind: "none" of it; "transcript_only", what the person and the model said; "window", the latest
            exchanges with their tool turns; "runtime_state", everything as it was.
        max_transcripts: exchanges: an instruction and all that followed it.
        max_messages: messages.
        max_runtime_items: tool calls with their results.
        max_chars: characters of all texts, calls and results together.

    Raises:
        LoomUsageError: a limit is no number or negative, or given to a kind that has none.
    """

    kind: Kind = "runtime_state"
    max_transcripts: int | None = None
    max_messages: int | None = None
    max_runtime_items: int | None = None
    max_chars: int | None = None

    def __post_init__(self) -> None:
        check(self, _WANTED)
        limits = [self.max_transcripts, self.max_messages, self.max_runtime_items, self.max_chars]
        if self.kind in ("none", "runtime_state") and any(limit is not None for limit in limits):
            raise LoomUsageError(f"SessionRestorePolicy.{self.kind}() has no limits")

    @classmethod
    def none(cls) -> "SessionRestorePolicy":
        """Nothing: each process begins anew."""
        return cls("none")

    @classmethod
    def transcript_only(
        cls,
        *,
        max_transcripts: int | None = None,
        max_messages: int | None = None,
        max_chars: int | None = None,
    ) -> "SessionRestorePolicy":
        """What the person and the model said, without tools."""
        return cls("transcript_only", max_transcripts, max_messages, 0, max_chars)

    @classmethod
    def window(
        cls,
        *,
        max_transcripts: int | None = None,
        max_messages: int | None = None,
        max_runtime_items: int | None = None,
        max_chars: int | None = 12_000,
    ) -> "SessionRestorePolicy":
        """The latest exchanges that fit, newest first; of one whose tool turns do not fit, its words."""
        return cls("window", max_transcripts, max_messages, max_runtime_items, max_chars)

    @classmethod
    def runtime_state(cls) -> "SessionRestorePolicy":
        """Everything as it was, compactions, plan and marks included."""
        return cls("runtime_state")

    def describe(self) -> str:
        """In words, with the limits."""
        limits = (
            (self.max_transcripts, "exchanges"),
            (self.max_messages, "messages"),
            (self.max_runtime_items if self.kind == "window" else None, "tool calls"),
            (self.max_chars, "characters"),
        )
        told = ", ".join(f"{most:,} {what}" for most, what in limits if most is not None)
        return f"{_WORDS[self.kind]}{f', at most {told}' if told else ''}"

    def changes(
        self,
        messages: Sequence[Message],
        pinned: frozenset[int] = frozenset(),
        hidden: frozenset[int] = frozenset(),
    ) -> tuple[Change, ...]:
        """What stands for the messages of earlier processes; what is pinned stays whatever the limits say.

        Args:
            messages: of the conversation.
            pinned: the numbers of those that stay.
            hidden: of those that the model is not to see: of them nothing is told.
        """
        if not messages or self.kind == "runtime_state":
            return ()
        messages = [without_content(one) if n in hidden else one for n, one in enumerate(messages)]
        kept: dict[int, Message] = {}
        room = _Room(self)
        for first, last in reversed(list(_exchanges(messages)) if self.kind != "none" else []):
            kept.update(room.take(messages, first, last))
            if room.full:
                break
        for number in pinned:
            together = range(
                number - (messages[number].role == "tool"), number + 1 + bool(messages[number].calls)
            )
            kept.update({one: messages[one] for one in together if 0 <= one < len(messages)})
        return tuple(_changes(messages, kept))


class _Room:
    """What is left of the limits, exchange by exchange from the newest on."""

    def __init__(self, policy: SessionRestorePolicy) -> None:
        self.exchanges = _limit(policy.max_transcripts)
        self.messages = _limit(policy.max_messages)
        self.items = _limit(policy.max_runtime_items)
        self.chars = _limit(policy.max_chars)
        self.full = self.exchanges < 1

    def take(self, messages: Sequence[Message], first: int, last: int) -> dict[int, Message]:
        """Of one exchange as much as fits: whole, else its words, else its words cut short."""
        if self.full:
            return {}
        whole = {number: messages[number] for number in range(first, last + 1)}
        words = {number: spoken for number, one in whole.items() if (spoken := _spoken(one)) is not None}
        self.exchanges -= 1
        self.full = self.exchanges < 1
        for some in (whole, words):
            if self._fits(some):
                return self._used(some)
        self.full = True
        return self._used(self._cut(words))

    def _fits(self, some: dict[int, Message]) -> bool:
        return (
            len(some) <= self.messages
            and sum(len(one.calls) for one in some.values()) <= self.items
            and sum(len(words_of(one)) for one in some.values()) <= self.chars
        )

    def _used(self, some: dict[int, Message]) -> dict[int, Message]:
        self.messages -= len(some)
        self.items -= sum(len(one.calls) for one in some.values())
        self.chars -= sum(len(words_of(one)) for one in some.values())
        return some

    def _cut(self, words: dict[int, Message]) -> dict[int, Message]:
        """The instruction and the answer, each cut to half of what is left, if that says anything."""
        ends = dict([*list(words.items())[:1], *list(words.items())[1:][-1:]])
        if len(ends) > self.messages or self.chars < 40 * max(len(ends), 1):
            return {}
        each = int(min(self.chars, 10**9) // len(ends))
        return {
            number: Message(one.role, (_short(one.text, each),)) for number, one in ends.items() if one.text
        }


def _short(text: str, chars: int) -> TextPart:
    return TextPart(text if len(text) <= chars else text[: chars - 1] + "…")


def _limit(given: int | None) -> float:
    return float("inf") if given is None else given


def _exchanges(messages: Sequence[Message]) -> Iterator[tuple[int, int]]:
    """Ranges from an instruction to what precedes the next one."""
    first = 0
    for number in range(1, len(messages)):
        if starts_an_exchange(messages[number]):
            yield first, number - 1
            first = number
    yield first, len(messages) - 1


def _spoken(message: Message) -> Message | None:
    """What is said in a message; None for one that only carries calls or results."""
    if message.role == "tool":
        return None
    parts = tuple([part for part in message.parts if isinstance(part, TextPart | DataPart)])
    if not any(part.text.strip() for part in parts):
        return None
    return message if parts == message.parts else msgspec.structs.replace(message, parts=parts)


def _changes(messages: Sequence[Message], kept: dict[int, Message]) -> Iterator[Change]:
    """Runs of messages that are gone become one change; those that are shorter one each."""
    gone: int | None = None
    for number, message in enumerate(messages):
        stands = kept.get(number)
        if stands is None:
            gone = number if gone is None else gone
            continue
        if gone is not None:
            yield Change(gone, number - 1)
            gone = None
        if stands is not message:
            yield Change(number, number, (stands,))
    if gone is not None:
        yield Change(gone, len(messages) - 1)
