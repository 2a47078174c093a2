"""A server on this machine that speaks the vendors' protocols from a script, over real HTTP.

::

    with WireServer([Calls(("add", {"a": 1, "b": 2})), Say("It is 3.")]) as server:
        model = Model.anthropic("claude-test", base_url=server.url)
        ...
        assert server.requests[0].json["model"] == "claude-test"

It takes Anthropic's ``/v1/messages`` and OpenAI's ``/v1/chat/completions`` and ``/v1/responses``,
streamed or not, ``/v1/models``, and beside the script ``/v1/embeddings`` and Ollama's ``/api/embed``. It
runs in a thread of its own, beside any event loop.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import TracebackType
from typing import Any, Literal, Self

from loom_nb.testing import wire_anthropic, wire_embeddings, wire_openai
from loom_nb.testing.wire_rules import CHARS_PER_TOKEN, breach, too_large
from loom_nb.testing.wire_script import Drop, Fail, Fixed, Hang, Raw, Step, WireReply, checked_step

Dialect = Literal["anthropic", "chat", "responses"]
Outcome = Literal["running", "answered", "cut", "gone", "closed"]
"""How an exchange went: answered whole; cut by the script; the client went away; the server closed."""

_PATHS: dict[str, Dialect] = {
    "/messages": "anthropic",
    "/chat/completions": "chat",
    "/responses": "responses",
}
_SERIAL = "~serial~"
GIVEN_UP = 400
"""The status of what no repetition mends: a script that has run out, a step that fails."""
_SLICE = 32 * 1024


@dataclass(eq=False)
class WireRequest:
    """One request as it came, and how it went."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    number: int
    """1 for the first request of the server."""
    outcome: Outcome = "running"
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    @cached_property
    def json(self) -> Any:
        """The body, parsed. Raises ValueError where it is no JSON."""
        return json.loads(self.body)

    @property
    def dialect(self) -> Dialect | None:
        """Which protocol the path belongs to."""
        path = self.path.partition("?")[0]
        return next((dialect for ending, dialect in _PATHS.items() if path.endswith(ending)), None)

    def wait(self, timeout: float = 10.0) -> Outcome:
        """Wait, in a thread that may block, until the exchange has ended; say how."""
        self._ended.wait(timeout)
        return self.outcome

    def end(self, outcome: Outcome) -> None:
        """Called by the server when the exchange is over."""
        self.outcome = outcome
        self._ended.set()


class WireServer:
    """Serves a script, one step for each model call.

    Args:
        script: the steps in order, or a lone one; or one function of the request, for any number of calls.
        strict: leaving the ``with`` block raises AssertionError when steps are left over, or one failed: its
            function, or what it made.
        key: the API key that clients must show; others get a 401. Empty: any will do.
        models: what ``/v1/models`` lists.
        window: tokens that the model takes, four characters of the body to a token; a larger request is
            refused in the vendor's words and takes no step of the script. Answers that name no usage
            then tell these tokens.
        rules: whether to refuse as well what breaks the rules of its protocol, such as a call without
            its result.
        embedding: makes the vectors for `/v1/embeddings` and `/api/embed`, or says how that fails.
    """

    def __init__(
        self,
        script: Iterable[Step] | Step | Callable[[WireRequest], Fixed] = (),
        *,
        strict: bool = True,
        key: str = "",
        models: Sequence[str] = ("wire-model",),
        window: int | None = None,
        rules: bool = False,
        embedding: wire_embeddings.Embedding = wire_embeddings.bag_of_words,
    ) -> None:
        self._endless = script if callable(script) else None
        self._steps: deque[Step] = deque()
        if not callable(script):
            given: Any = script
            self.add(*(given if isinstance(given, Iterable) and not isinstance(given, str) else [given]))
        self._strict = strict
        self._key = key
        self._models = tuple(models)
        self._window = window
        self._rules = rules
        self._embedding = embedding
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._exchanges: set[asyncio.Task[Any]] = set()
        self._step_error: BaseException | None = None
        self.url = ""
        """Where it listens: "http://127.0.0.1:43210"."""
        self.requests: list[WireRequest] = []
        """Every request so far, in the order of arrival."""
        self.refused: list[Fail] = []
        """What was refused by the rules of the protocol, or as too large."""
        self.connections = 0
        """How many connections were opened to it."""

    @property
    def leftover(self) -> tuple[Step, ...]:
        """The steps that no request has used yet."""
        return tuple(self._steps)

    def add(self, *steps: Step) -> None:
        """Append steps to the script. Raises LoomUsageError for what is no step."""
        self._steps.extend([checked_step(one) for one in steps])

    def start(self) -> Self:
        """Listen. Called by ``with``."""
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="loom-wire-server", daemon=True
        )
        self._thread.start()
        ready.wait()
        return self

    def close(self) -> None:
        """Stop listening and close every connection. May be called twice."""
        if self._thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if error is not None or not self._strict:
            return
        if self._step_error is not None:
            raise AssertionError(
                f"a step of the wire server's script failed: {self._step_error!r}"
            ) from self._step_error
        if self._steps:
            raise AssertionError(f"the wire server has {len(self._steps)} unused steps: {self.leftover!r}")

    def __repr__(self) -> str:
        return f"<WireServer {self.url or 'not started'}, {len(self.requests)} requests>"

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 20, backlog=2048)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._stop.wait()
        server.close()
        for exchange in self._exchanges:
            exchange.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All exchanges of one connection, one after the other."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  this is a coroutine
        self._exchanges.add(task)
        wire = _Wire(reader, writer)
        try:
            while (request := await wire.read_request(len(self.requests) + 1)) is not None:
                self.requests.append(request)
                await self._exchange(request, wire)
                if request.outcome != "answered":
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went in the middle of a request, or the server closes
        finally:
            self._exchanges.discard(task)
            writer.close()

    async def _exchange(self, request: WireRequest, wire: "_Wire") -> None:
        outcome: Outcome = "closed"
        try:
            outcome = await self._answer(request, wire)
        except ConnectionError:
            outcome = "gone"
        except Exception as error:  # noqa: BLE001  what a script holds: told to the client, raised at the end
            outcome = await self._broken(request, wire, error)
        finally:
            request.end(outcome)

    async def _broken(self, request: WireRequest, wire: "_Wire", error: Exception) -> Outcome:
        """A step that cannot be played. Whoever sees it must not try again: the next step is not meant."""
        told = self._failed(request, error)
        return "cut" if wire.begun else await _fail(wire, request, told)

    def _failed(self, request: WireRequest, error: Exception) -> Fail:
        self._step_error = self._step_error or error
        return Fail(GIVEN_UP, f"the step for request {request.number} failed: {error!r}")

    async def _answer(self, request: WireRequest, wire: "_Wire") -> Outcome:
        dialect = request.dialect
        if not self._knows(request):
            return await _fail(wire, request, Fail(401, "invalid x-api-key"))
        if request.path.partition("?")[0].endswith("/models"):
            return await wire.whole(200, json.dumps(_listing(self._models)).encode(), request)
        if request.method == "POST" and wire_embeddings.is_asked(request.path):
            return await self._embed(request, wire)
        if dialect is None or request.method != "POST":
            return await _fail(
                wire, request, Fail(404, f"the wire server has no {request.method} {request.path}")
            )
        try:
            asked = request.json
        except ValueError as error:
            return await _fail(wire, request, Fail(400, f"the body is no JSON: {error}"))
        refused = too_large(dialect, request.body, self._window) if self._window is not None else None
        if refused is None and self._rules:
            refused = breach(dialect, asked)
        if refused is not None:
            self.refused.append(refused)
            return await _fail(wire, request, refused)
        count = len(request.body) // CHARS_PER_TOKEN if self._window is not None else None
        return await _play(self._next(request), request, asked, wire, count)

    async def _embed(self, request: WireRequest, wire: "_Wire") -> Outcome:
        answer = self._embedding(wire_embeddings.texts_of(request.json))
        if isinstance(answer, Fail | Raw | Drop | Hang):
            return await _play(answer, request, request.json, wire, None)
        return await wire.whole(200, wire_embeddings.body(request.path, request.json, answer), request)

    def _knows(self, request: WireRequest) -> bool:
        shown = request.headers.get("x-api-key") or request.headers.get("authorization", "")
        return not self._key or shown.removeprefix("Bearer ") == self._key

    def _next(self, request: WireRequest) -> Fixed:
        step = self._endless or (self._steps.popleft() if self._steps else None)
        if step is None:
            return Fail(
                GIVEN_UP, f"the wire server's script has run out: request {request.number} has no step"
            )
        if not callable(step):
            return step
        try:
            made: Fixed = checked_step(step(request))
        except Exception as error:  # noqa: BLE001  foreign code: told to the client, raised at the end
            return self._failed(request, error)
        return made


async def _play(
    step: Fixed, request: WireRequest, asked: dict[str, Any], wire: "_Wire", count: int | None
) -> Outcome:
    match step:
        case Fail():
            return await _fail(wire, request, step)
        case Raw():
            headers = {"content-type": step.content_type, **step.headers}
            return await wire.whole(step.status, step.body, request, headers)
        case Drop():
            return "cut"
        case Hang():
            await wire.pause(None)
            return "gone"
        case _:
            reply = step.whole
    if count is not None and reply.usage is None:
        reply = reply.with_usage(input_tokens=count, output_tokens=reply.tokens.output_tokens)
    if reply.latency:
        await wire.pause(reply.latency)
    dialect = request.dialect or "chat"
    if asked.get("stream"):
        return await _stream(reply, dialect, request, asked, wire)
    model = str(asked.get("model", ""))
    body = _BODIES[dialect](reply, model=model, serial=str(request.number))
    return await wire.whole(200, json.dumps(body).encode(), request)


async def _stream(
    reply: WireReply, dialect: Dialect, request: WireRequest, asked: dict[str, Any], wire: "_Wire"
) -> Outcome:
    usage = bool((asked.get("stream_options") or {}).get("include_usage"))
    events = _rendered(reply, dialect, str(asked.get("model", "")), usage)
    serial = str(request.number).encode()
    await wire.begin(request)
    if reply.pace is None:
        data = b"".join(events).replace(_SERIAL.encode(), serial)
        for start in range(0, len(data), _SLICE):
            await wire.send(data[start : start + _SLICE])
    else:
        for event in events:
            await wire.pause(reply.pace)
            await wire.send(event.replace(_SERIAL.encode(), serial))
    if reply.cut_after is None or reply.cut_how == "clean":
        await wire.finish()
        return "answered"
    if reply.cut_how == "hang":
        await wire.pause(None)
    if reply.cut_how == "reset":
        wire.reset()
    return "cut"


@lru_cache(maxsize=64)
def _rendered(reply: WireReply, dialect: Dialect, model: str, usage: bool) -> tuple[bytes, ...]:
    """The events as they go out, with what goes wrong among them."""
    events: list[bytes]
    match dialect:
        case "anthropic":
            events = list(wire_anthropic.events(reply, model=model, serial=_SERIAL))
            told = wire_anthropic.error_event
        case "chat":
            events = list(wire_openai.chat_events(reply, model=model, serial=_SERIAL, usage=usage))
            told = wire_openai.chat_error_event
        case "responses":
            events = list(wire_openai.responses_events(reply, model=model, serial=_SERIAL))
            told = wire_openai.responses_error_event
    if reply.inserted is not None:
        after, data = reply.inserted
        events.insert(after, data)
    if reply.failure is not None:
        after, kind, message = reply.failure
        events[after:] = [told(kind, message)]
    return tuple(events if reply.cut_after is None else events[: reply.cut_after])


_BODIES: dict[Dialect, Callable[..., dict[str, Any]]] = {
    "anthropic": wire_anthropic.body,
    "chat": wire_openai.chat_body,
    "responses": wire_openai.responses_body,
}


async def _fail(wire: "_Wire", request: WireRequest, step: Fail) -> Outcome:
    message = step.message or f"the script says {step.status}"
    if request.dialect == "anthropic" or "anthropic-version" in request.headers:
        told = wire_anthropic.error(step.status, message, step.kind, serial=str(request.number))
    else:
        told = wire_openai.error(step.status, message, step.kind)
    headers = dict(step.headers)
    if step.retry_after is not None:
        headers["retry-after"] = f"{step.retry_after}"
    body = json.dumps(told).encode() if step.body is None else step.body
    if step.body is not None:
        headers.setdefault("content-type", "text/html")
    return await wire.whole(step.status, body, request, headers)


def _listing(models: Sequence[str]) -> dict[str, Any]:
    """The models, in a form that both vendors' clients read."""
    rows = [
        {
            "id": name,
            "object": "model",
            "type": "model",
            "display_name": name,
            "created": 1_700_000_000,
            "created_at": "2023-11-14T22:13:20Z",
            "owned_by": "wire",
        }
        for name in models
    ]
    ends = {"first_id": models[0], "last_id": models[-1]} if models else {"first_id": None, "last_id": None}
    return {"object": "list", "data": rows, "has_more": False, **ends}


class _Wire:
    """HTTP/1.1 on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.begun = False
        """Whether the head of an answer has gone out."""

    async def read_request(self, number: int) -> WireRequest | None:
        """The next request, or None when the client is done."""
        self.begun = False
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join([piece async for piece in self._chunks()])
        else:
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return WireRequest(method, path, headers, body, number)

    async def _chunks(self) -> Any:
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readuntil(b"\r\n")

    async def whole(
        self, status: int, body: bytes, request: WireRequest, headers: Mapping[str, str] | None = None
    ) -> Outcome:
        """An answer in one piece."""
        told = {"content-type": "application/json", **_ids(request), **(headers or {})}
        answer = _head(status, {**told, "content-length": str(len(body))}) + body
        self.begun = True
        self._writer.write(answer)
        await self._writer.drain()
        return "answered"

    async def begin(self, request: WireRequest) -> None:
        """The head of a streamed answer."""
        told = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        self.begun = True
        self._writer.write(_head(200, {**told, **_ids(request), "transfer-encoding": "chunked"}))
        await self._writer.drain()

    async def send(self, data: bytes) -> None:
        """One chunk. Raises ConnectionError when the client has gone."""
        if data:
            self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await self._writer.drain()

    async def finish(self) -> None:
        """The proper end of a streamed answer."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def pause(self, seconds: float | None) -> None:
        """Wait; raise ConnectionError as soon as the client has gone."""
        if seconds == 0:
            await asyncio.sleep(0)
            if self._reader.at_eof():
                raise ConnectionResetError
            return
        watch = asyncio.ensure_future(self._reader.read(1))
        try:
            done, _ = await asyncio.wait({watch}, timeout=seconds)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        if done:  # the end of what the client sends; anything else would break the protocol
            raise ConnectionResetError

    def reset(self) -> None:
        """Tear the connection down without a goodbye."""
        self._writer.transport.abort()


def _ids(request: WireRequest) -> dict[str, str]:
    return {"request-id": f"req_wire_{request.number}", "x-request-id": f"req_wire_{request.number}"}


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n{lines}\r\n".encode("latin-1")


_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 429: "Too Many Requests", 500: "Server Error"}
