"""A client for Anthropic's Messages API that decodes only what it needs."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from loom_nb.border import clean
from loom_nb.errors import LoomUsageError
from loom_nb.events import CallDelta, Delta, StopReason, TextDelta, ThinkingDelta
from loom_nb.messages import MODEL, Message, Origin, Part, TextPart, ThinkingPart, ToolCallPart, Usage
from loom_nb.models import anthropic_encode as encode
from loom_nb.models import faults
from loom_nb.models.connection import DEFAULT_TIMEOUT, Connection, Key, Lenient, Sdk, find_key
from loom_nb.models.kept_keys import for_run
from loom_nb.protocols import Reply, Request

VENDOR = "anthropic"
KEY_ENV = ("ANTHROPIC_API_KEY",)

_STOPS: dict[str, StopReason] = {
    "end_turn": "end",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
}
_THOUGHT = Origin("model", encode.DIALECT)


class AnthropicMessages:
    """A `LanguageModel` that speaks Anthropic's Messages API. Nothing is loaded before its first call.

    Args:
        model: the model's name: "claude-…".
        base_url: where to call instead of the vendor's own address, without "/v1".
        key_env: environment variables that may hold the key, in order; read at each call.
        api_key: the key itself, in place of that of the environment or a kept one.
        timeout: seconds of silence after which a call is given up.
        options: more fields of the request body; a mapping is merged into ours, None takes one away.
        max_output_tokens: asked for where a request does not say how many; by default what the model's
            generation is known to take.

    Raises:
        LoomUsageError: the address cannot be one.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        key_env: Sequence[str] = KEY_ENV,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        options: Mapping[str, Any] | None = None,
        max_output_tokens: int | None = None,
    ) -> None:
        if not model:
            raise LoomUsageError("which model of anthropic?", fixes=['AnthropicMessages("claude-…")'])
        self.name = f"{VENDOR}:{model}"
        self._model = model
        key = Key(api_key) if api_key else None
        self._connection = _AnthropicConnection(model, base_url, key_env, key, timeout)
        self._traits = encode.Traits.of(model)
        self._max_tokens = max_output_tokens or self._traits.max_tokens
        self._options = dict(options or {})
        self._head: encode.Head | None = None

    async def reply(self, request: Request, emit: Callable[[Delta], None]) -> Reply:
        """Answer, calling `emit` for each delta as it comes. See `LanguageModel.reply`."""
        body = self.encode(request)
        notices = self._head.notices if self._head is not None else ()
        reader = _Reader(faults.Called(VENDOR, self._model), emit, notices)
        with for_run(request.run):
            await self._connection.stream("/v1/messages", body, reader)
        return reader.reply()

    def encode(self, request: Request) -> bytes:
        """The exact body that `reply` would send.

        Raises:
            ModelError: fault "format": the conversation holds a file that the vendor does not read.
        """
        if self._head is None or not self._head.fits(request):
            limit = request.generation.max_output_tokens or self._max_tokens
            self._head = encode.head(request, self._model, self._traits, limit, self._options)
        fragments = request.conversation.fragments(encode.DIALECT, encode.message)
        working = encode.message(request.working) if request.working is not None else b""
        return encode.body(self._head, fragments, working)

    async def close(self) -> None:
        """Let go of connections. May be called twice."""
        await self._connection.close()

    def __repr__(self) -> str:
        return f"<AnthropicMessages {self._model}>"


class _AnthropicConnection(Connection):
    """The way to the vendor through its SDK."""

    request_id_header = "request-id"

    def __init__(
        self, model: str, base_url: str | None, key_env: Sequence[str], key: Key | None, timeout: float
    ) -> None:
        address = base_url or os.environ.get("ANTHROPIC_BASE_URL", "").strip()
        super().__init__(VENDOR, model, address.rstrip("/").removesuffix("/v1"), timeout)
        self._key_env = tuple(key_env) or KEY_ENV
        self._key = key

    def find_key(self) -> Key:
        """The key that was given, or the one in the environment."""
        return find_key(VENDOR, self._key_env, given=self._key)

    def load(self) -> Sdk:
        """Import the SDK."""
        from anthropic import AnthropicError, APIStatusError, AsyncStream, DefaultAsyncHttpxClient

        return Sdk(APIStatusError, AnthropicError, AsyncStream, DefaultAsyncHttpxClient)

    def build(self, http: Mapping[str, Any]) -> Any:
        """The SDK's client."""
        from anthropic import AsyncAnthropic

        return AsyncAnthropic(api_key="signed later", **http)

    def sign(self, client: Any, key: Key) -> Mapping[str, str]:
        """In the client itself: headers of a single request would stand in the SDK's log."""
        client.api_key = key.reveal()
        return {}


class _Piece(msgspec.Struct, gc=False):
    """The inside of a delta, of any kind."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    signature: str = ""
    stop_reason: str | None = None


class _Start(msgspec.Struct, gc=False):
    """How a block begins."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str | None = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Details(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Tokens(msgspec.Struct, gc=False):
    """Token counts; each report replaces what an earlier one said."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _Details | None = None


class _Opening(msgspec.Struct, gc=False):
    model: str = ""
    usage: _Tokens | None = None


class _Event(msgspec.Struct, gc=False):
    """Any event of a stream, with the few fields that are needed of it."""

    type: str
    index: int = 0
    delta: _Piece | None = None
    content_block: _Start | None = None
    message: _Opening | None = None
    usage: _Tokens | None = None
    error: Any = None
    request_id: str | None = None


_decode = Lenient(_Event)


class _Block:
    """One block of the answer while it arrives."""

    __slots__ = ("closed", "id", "kind", "name", "pieces", "signature", "start")

    def __init__(self, start: _Start, call_id: str) -> None:
        self.kind = start.type
        self.start = start
        self.id = call_id
        self.name = clean(start.name)
        self.pieces: list[str] = [opening] if (opening := start.text or start.thinking) else []
        self.signature: list[str] = [start.signature or ""]
        self.closed = False


class _Reader:
    """Makes a reply of the events of one stream."""

    def __init__(self, called: faults.Called, emit: Callable[[Delta], None], notices: Sequence[str]) -> None:
        self.called = called
        self._emit = emit
        self._notices = list(notices)
        self._blocks: dict[int, _Block] = {}
        self._ids: set[str] = set()
        self._counts: dict[str, int] = {}
        self._model = ""
        self._stop: str | None = None
        self._ended = False

    def take(self, data: bytes) -> bool:
        """Read one event; true at the end mark.

        Raises:
            ModelError: the event tells of a failure, or is not what the protocol says.
        """
        event = _decode(data, self.called)
        if event.type != "content_block_delta":
            return self._other(event)
        block = self._blocks.get(event.index)
        if block is None or event.delta is None:
            raise faults.garbage(self.called, data)
        self._more(block, event.delta)
        return False

    def reply(self) -> Reply:
        """The whole answer. Raises ModelError with fault `cut_stream` where the stream had no proper end."""
        if not self._ended:
            raise faults.cut_stream(self.called, "the stream ended before its end mark")
        if self._stop is None:
            raise faults.cut_stream(self.called, "the stream did not say why it ended")
        if any(block.kind == "tool_use" and not block.closed for block in self._blocks.values()):
            raise faults.cut_stream(self.called, "the arguments of a call did not come to their end")
        blocks = [self._blocks[index] for index in sorted(self._blocks)]
        parts = [part for block in blocks if (part := self._part(block)) is not None]
        return Reply(
            message=Message("assistant", tuple(parts)),
            usage=self._usage(),
            stop_reason=_STOPS.get(self._stop, "other"),
            model=self._model,
            notices=tuple(self._notices),
        )

    def _more(self, block: _Block, piece: _Piece) -> None:
        """The next piece of a block: the hot path."""
        match piece.type:
            case "text_delta":
                block.pieces.append(piece.text)
                self._emit(TextDelta(clean(piece.text)))
            case "input_json_delta":
                if piece.partial_json:
                    block.pieces.append(piece.partial_json)
                    self._emit(CallDelta(block.id, block.name, clean(piece.partial_json)))
            case "thinking_delta":
                block.pieces.append(piece.thinking)
                self._emit(ThinkingDelta(clean(piece.thinking)))
            case "signature_delta":
                block.signature.append(piece.signature)

    def _other(self, event: _Event) -> bool:
        """What comes a few times in a stream; true at the end mark."""
        match event.type:
            case "message_start" if event.message is not None:
                self._model = clean(event.message.model)
                self._count(event.message.usage)
            case "content_block_start" if event.content_block is not None:
                self._begin(event.index, event.content_block)
            case "content_block_stop" if event.index in self._blocks:
                self._blocks[event.index].closed = True
            case "message_delta":
                if event.delta is not None and event.delta.stop_reason:
                    self._stop = event.delta.stop_reason
                self._count(event.usage)
            case "message_stop":
                self._ended = True
            case "error":
                raise faults.from_body(self.called, {"error": event.error, "request_id": event.request_id})
        return self._ended

    def _begin(self, index: int, start: _Start) -> None:
        if index in self._blocks:
            raise faults.cut_stream(self.called, f"block {index} began twice")
        block = self._blocks[index] = _Block(start, self._own_id(start) if start.type == "tool_use" else "")
        match start.type:
            case "tool_use":
                self._emit(CallDelta(block.id, block.name, ""))
            case "text" if start.text:
                self._emit(TextDelta(clean(start.text)))
            case "thinking":
                if start.thinking:
                    self._emit(ThinkingDelta(clean(start.thinking)))
            case "text" | "redacted_thinking":
                pass
            case _:
                self._notices.append(f"a block of type '{clean(start.type)[:40]}' was left out")

    def _own_id(self, start: _Start) -> str:
        """The call's id, made unique within the message: results are paired by it."""
        told = clean(start.id) or "call"
        own, number = told, 1
        while own in self._ids:
            number += 1
            own = f"{told}_{number}"
        if own != start.id:
            self._notices.append(
                f"two calls had the id '{told}': one is now '{own}'"
                if start.id
                else f"a call had no id: it is now '{own}'"
            )
        self._ids.add(own)
        return own

    def _part(self, block: _Block) -> Part | None:
        text = clean("".join(block.pieces))
        match block.kind:
            case "text":
                return TextPart(text, MODEL) if text else None
            case "thinking":
                signature = clean("".join(block.signature))
                return ThinkingPart(text, signature, origin=_THOUGHT) if text or signature else None
            case "redacted_thinking":
                return ThinkingPart("", data=clean(block.start.data), origin=_THOUGHT)
            case "tool_use":
                whole = text or clean(bytes(block.start.input).decode())
                return ToolCallPart(block.id, block.name, whole or "{}")
        return None

    def _count(self, tokens: _Tokens | None) -> None:
        if tokens is None:
            return
        told = msgspec.structs.asdict(tokens)
        self._counts.update((name, value) for name, value in told.items() if isinstance(value, int))
        if tokens.output_tokens_details is not None:
            self._counts["reasoning"] = tokens.output_tokens_details.thinking_tokens or 0

    def _usage(self) -> Usage:
        """Our counts: the vendor tells cached tokens apart from the input, here they are part of it."""
        counts = self._counts
        read = counts.get("cache_read_input_tokens", 0)
        written = counts.get("cache_creation_input_tokens", 0)
        return Usage(
            input_tokens=counts.get("input_tokens", 0) + read + written,
            output_tokens=counts.get("output_tokens", 0),
            cache_read_tokens=read,
            cache_write_tokens=written,
            reasoning_tokens=counts.get("reasoning", 0),
        )
