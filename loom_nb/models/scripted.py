"""A model that answers from a script: for tests, documents and demos of your own.

    Model.scripted([Call("add", {"a": 1, "b": 2}), "It is 3."])

A reply is a text, a `Call`, a `Thought`, a list of these, an exception to raise, a whole `Reply`, or
a function of the conversation's messages that gives one of these. The script goes on from run to
run; asking for more than it holds is an error, and `script.assert_used()` finds what was left over.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from loom_nb.errors import SetupError
from loom_nb.events import CallDelta, Delta, StopReason, TextDelta, ThinkingDelta
from loom_nb.messages import (
    MODEL,
    Conversation,
    Message,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    Usage,
    to_json,
)
from loom_nb.models.plain import plain_request
from loom_nb.protocols import Reply, Request
from loom_nb.tokens import estimate, estimate_message


@dataclass(frozen=True, slots=True)
class Call:
    """The model asks for a tool."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    """A mapping, or JSON text as it is (also broken)."""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Thought:
    """The model thinks aloud."""

    text: str


Piece: TypeAlias = str | Call | Thought
Scripted: TypeAlias = (
    "Piece | Sequence[Piece] | BaseException | type[BaseException] | Reply | Callable[[list[Message]], Any]"
)


class Script:
    """The replies in order, and how many were given."""

    def __init__(self, replies: Sequence[Scripted]) -> None:
        self.replies = tuple(replies)
        self.given = 0

    def next(self) -> Scripted:
        """The next reply. Raises `SetupError` at the end."""
        if self.given >= len(self.replies):
            raise SetupError(
                f"the script holds {len(self.replies)} replies and is asked for one more",
                fixes=["add a reply to Model.scripted([...])"],
            )
        self.given += 1
        return self.replies[self.given - 1]

    @property
    def leftover(self) -> tuple[Scripted, ...]:
        """The replies nobody asked for."""
        return self.replies[self.given :]

    def assert_used(self) -> None:
        """Raise AssertionError if a reply was not asked for."""
        if self.leftover:
            raise AssertionError(
                f"{len(self.leftover)} scripted replies were not asked for: {self.leftover[0]!r}, …"
            )


class ScriptedModel:
    """A LanguageModel that answers from a `Script`.

    Args:
        script: shared between all who open the same Model.
        chunk: characters of text in a delta; 0 streams a text as one delta.
        delay: seconds before each delta.
    """

    def __init__(self, script: Script, *, chunk: int = 0, delay: float = 0.0) -> None:
        self.name = "scripted:script"
        self._script = script
        self._chunk = chunk
        self._delay = delay
        self._counted: tuple[Conversation | None, int, int] = (None, 0, 0)
        """(the conversation of the last request, its messages then, their tokens)."""

    async def reply(self, request: Request, emit: Callable[[Delta], None]) -> Reply:
        """The next reply of the script."""
        said = self._script.next()
        turn = self._script.given
        if callable(said) and not isinstance(said, type):
            said = said(list(request.conversation.messages))
        if isinstance(said, BaseException) or (isinstance(said, type) and issubclass(said, BaseException)):
            raise said
        if isinstance(said, Reply):
            for part in said.message.parts:
                await self._show(part, emit)
            return said
        pieces = (said,) if isinstance(said, str | Call | Thought) else _several(said)
        parts = [_part(piece, f"call_{turn}_{n}") for n, piece in enumerate(pieces, 1)]
        for part in parts:
            await self._show(part, emit)
        message = Message("assistant", tuple(parts))
        stop: StopReason = "tool_calls" if message.calls else "end"
        return Reply(message, self._usage(request, message), stop, "scripted")

    async def _show(self, part: Part, emit: Callable[[Delta], None]) -> None:
        match part:
            case ToolCallPart():
                await self._pace()
                emit(CallDelta(part.id, part.name, part.arguments))
            case ThinkingPart():
                await self._stream(part.text, ThinkingDelta, emit)
            case TextPart():
                await self._stream(part.text, TextDelta, emit)

    async def _stream(
        self, text: str, kind: type[TextDelta] | type[ThinkingDelta], emit: Callable[[Delta], None]
    ) -> None:
        step = self._chunk or len(text) or 1
        for start in range(0, len(text), step):
            await self._pace()
            emit(kind(text[start : start + step]))

    async def _pace(self) -> None:
        if self._delay:
            await asyncio.sleep(self._delay)

    def _usage(self, request: Request, message: Message) -> Usage:
        """Estimates of the whole request: a script has no vendor to count. Each message is counted once."""
        conversation, known, tokens = self._counted
        if conversation is not request.conversation:
            known, tokens = 0, 0
        for one in request.conversation.messages[known:]:
            tokens += estimate_message(one)
        self._counted = (request.conversation, len(request.conversation), tokens)
        if request.working is not None:
            tokens += estimate_message(request.working)
        return Usage(estimate(request.system) + tokens, estimate_message(message))

    def encode(self, request: Request) -> bytes:
        """The request as plain JSON: a script has no vendor's form."""
        return to_json(plain_request(self.name, request))

    async def close(self) -> None:
        """Nothing is open."""


def _several(said: Any) -> Sequence[Piece]:
    if isinstance(said, Sequence):
        return said
    raise SetupError(
        f"a scripted reply cannot be a {type(said).__name__}",
        fixes=["use a text, Call, Thought, a list of these, an exception, a Reply or a function"],
    )


def _part(piece: Piece, call_id: str) -> TextPart | ThinkingPart | ToolCallPart:
    match piece:
        case Call(name=name, arguments=arguments, id=given):
            text = arguments if isinstance(arguments, str) else to_json(arguments).decode()
            return ToolCallPart(given or call_id, name, text)
        case Thought(text=text):
            return ThinkingPart(text)
        case str():
            return TextPart(piece, MODEL)
    raise SetupError(
        f"a scripted reply cannot hold a {type(piece).__name__}", fixes=["use a text, Call or Thought"]
    )
