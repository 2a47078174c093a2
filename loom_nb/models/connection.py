"""What the clients of all vendors share: keys, one SDK client per event loop, and how a stream is read.

The official SDK gives headers, proxies, the connection and its errors. It is handed the body as
ready bytes and asked for the raw response, both by the client's `post`, its public way to endpoints
that it has no method for; so it neither walks through the request nor builds an object per delta.
"""

import asyncio
import contextlib
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import msgspec

from loom_nb.errors import BorderError, CredentialError, LoomKeyError, ModelError
from loom_nb.models import addresses, faults, kept_keys, prices, tls
from loom_nb.models.key_errors import no_key
from loom_nb.models.sse import EventSplitter
from loom_nb.protocols import KEPT_KEY

if TYPE_CHECKING:
    import httpx2

DEFAULT_TIMEOUT = 600.0
"""Seconds of silence after which a call is given up: reasoning models may be quiet for minutes."""
CONNECT_TIMEOUT = 15.0
"""Seconds to reach the server at all, where the time for silence is not shorter still."""
MAX_ANSWER = 256 * 1024 * 1024
"""Bytes of an answer that is read whole: a thousand vectors are a fifth of it."""

_T = TypeVar("_T")


class Key:
    """An API key that no repr, log or pickle shows."""

    __slots__ = ("_value", "variable")

    def __init__(self, value: str, variable: str = "") -> None:
        self._value = value
        self.variable = variable
        """The environment variable in which it was found."""

    def reveal(self) -> str:
        """The key itself: for the header of a request only."""
        return self._value

    def __repr__(self) -> str:
        return "<key>"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")


NO_KEY = Key("no-key")
"""What a server is shown that needs none."""


def find_key(
    vendor: str, names: Sequence[str], *, given: Key | None = None, without: Key | None = None
) -> Key:
    """The key to show: `given`, or the first of the environment variables that is set.

    Args:
        vendor: whose key, for the message.
        names: the environment variables, in order.
        given: a key that was handed over in place of the environment.
        without: shown where there is none; by default one is needed.

    Raises:
        LoomKeyError: there is none and one is needed, or it cannot be one.
    """
    found = next((Key(v, name) for name in names if (v := os.environ.get(name, "").strip())), None)
    key = given or found or without
    if key is None:
        raise no_key(vendor, names, known=vendor != "compatible")
    if all(" " < char <= "~" for char in key.reveal()):
        return key
    raise LoomKeyError(
        f"the key for '{vendor}' is not a key",
        cause="it holds blanks or characters that no key has",
        fixes=["copy the key again"],
    )


def with_options(fields: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a body with the user's own: a mapping is merged into ours, None takes a field away."""
    whole = dict(fields)
    for name, value in options.items():
        old = whole.get(name)
        whole[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, Mapping) else value
    return {name: value for name, value in whole.items() if value is not None}


class Reader(Protocol):
    """Makes a reply of the events of one stream."""

    called: faults.Called
    """Set by the connection as soon as the vendor has answered."""

    def take(self, data: bytes) -> bool:
        """Read the data of one event; true at the end mark.

        Raises:
            ModelError: the event tells of a failure, or is not what the protocol says.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sdk:
    """The names that a connection needs of a vendor's SDK. Made when the SDK is loaded."""

    status_error: type[Any]
    """Raised for an HTTP answer of 400 and above; has `response` and `body`."""
    any_error: type[Exception]
    """The root of all that it raises."""
    stream: type[Any]
    """Its class of streams: must be named, and is never made."""
    http_client: Callable[..., Any]
    """Makes an HTTP client as the SDK wants it."""


class Connection(ABC):
    """The way to one model of one vendor, opened at the first request.

    Args:
        vendor: who is called.
        model: as the vendor calls it.
        address: where; may hold a login. Empty for the SDK's own.
        timeout: seconds of silence after which a call is given up.

    Raises:
        LoomUsageError: the address cannot be one.
    """

    request_id_header = "x-request-id"
    keyed = True
    """Whether the vendor has keys at all, so that one may be kept."""

    def __init__(self, vendor: str, model: str, address: str, timeout: float) -> None:
        if address:
            addresses.check(address)
        self._vendor = vendor
        self._model = model
        # the login goes apart from the address, which httpx2 and the SDK write to their logs
        self._address, self._login = addresses.split_login(address)
        self._timeout = timeout
        self._client: Any = None
        self._way: Any = None
        """What the client sends through; None: the network itself."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()

    @abstractmethod
    def find_key(self) -> Key:
        """The key to show now. Raises LoomKeyError."""

    @abstractmethod
    def load(self) -> Sdk:
        """Import the SDK."""

    @abstractmethod
    def build(self, http: Mapping[str, Any]) -> Any:
        """The SDK's client, with `http` (address, time limit, no retries) among its arguments."""

    @abstractmethod
    def sign(self, client: Any, key: Key) -> Mapping[str, str]:
        """Show the key: the headers that do, or in the client itself."""

    async def stream(self, path: str, body: bytes, reader: Reader) -> None:
        """Post `body` and let `reader` take each event of the answer, until its end mark or its end.

        Raises:
            ModelError: the call failed.
            LoomKeyError: there is no key.
        """

        async def read(response: "httpx2.Response", called: faults.Called) -> None:
            reader.called = called
            await _read(response, reader)

        await self._exchange(path, body, "text/event-stream", read)

    async def ask(self, path: str, body: bytes) -> bytes:
        """Post `body`; the whole answer.

        Raises:
            ModelError: the call failed, or the answer has more than `MAX_ANSWER` bytes.
            LoomKeyError: there is no key.
        """
        whole = bytearray()

        async def read(response: "httpx2.Response", called: faults.Called) -> None:
            async with contextlib.aclosing(response.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    whole.extend(chunk)
                    if len(whole) > MAX_ANSWER:
                        raise faults.garbage(called, bytes(whole[:80]))

        await self._exchange(path, body, "application/json", read)
        return bytes(whole)

    async def _exchange(
        self,
        path: str,
        body: bytes,
        accept: str,
        read: "Callable[[httpx2.Response, faults.Called], Awaitable[None]]",
    ) -> None:
        """Post `body` and let `read` take the answer. Raises what `stream` does."""
        key, way = await self._shown_key()
        called = self._called(key)
        client = await self._open(called, way)
        sdk = self.load()
        began = False
        try:
            headers = {"Accept": accept, **self.sign(client, key)}
            response = await _post(client, path, body, headers, sdk)
            began = True
            told = response.headers.get(self.request_id_header, "")
            called = replace(called, request_id=told)
            try:
                await read(response, called)
            finally:
                await response.aclose()
        except sdk.status_error as error:
            answer = error.response
            raise faults.from_status(called, answer.status_code, error.body, answer.headers) from None
        except (sdk.any_error, *_wire_errors()) as error:
            if way is not None and (problem := kept_keys.problem(self._vendor, (), error)) is not None:
                raise problem from None
            raise faults.from_transport(called, error, streaming=began) from None
        except ExceptionGroup as error:  # connecting tries several addresses at once
            if began:
                raise
            raise faults.from_transport(called, error) from None

    async def _shown_key(self) -> tuple[Key, Any]:
        """The key to show; where there is none, a stand-in and the way on which it is replaced."""
        source = kept_keys.source() if self.keyed else None
        try:
            key = self.find_key()
        except LoomKeyError as missing:
            asks = source is not None and missing.title == no_key(self._vendor, ()).title
            way = await source.way(self._vendor) if asks and source is not None else None
            if way is None:
                raise
            return Key(KEPT_KEY), way
        if key is not NO_KEY or source is None:
            return key, None
        # a server on this machine may need none: it is shown one that is bound to it, and no other
        way = await source.way(self._vendor, self._address)
        return (key, None) if way is None else (Key(KEPT_KEY), way)

    async def close(self) -> None:
        """Let go of the connections. May be called twice."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.close()

    def _called(self, key: Key) -> faults.Called:
        secrets = (key.reveal(), *(self._login[1:] if self._login else ()))
        shown = addresses.shown(self._address)
        return faults.Called(self._vendor, self._model, secrets, shown, variable=key.variable)

    async def _open(self, called: faults.Called, way: Any) -> Any:
        loop = asyncio.get_running_loop()
        if self._way is not way:  # a key has come or gone
            await self.close()
            self._way = way
        if self._loop is not loop:  # connections belong to their loop
            self._loop, self._client, self._opening = loop, None, asyncio.Lock()
        if self._client is None:
            async with self._opening:
                # importing an SDK takes about a second of CPU, which the loop has better use for
                threads = sys.platform != "emscripten"
                if self._client is None:
                    building = asyncio.to_thread(self._build, called, way) if threads else None
                    self._client = await building if building else self._build(called, way)
                    if threads:  # what a call costs is asked at its end, where loading would hold the loop
                        loop.run_in_executor(None, prices.load)
        return self._client

    def _build(self, called: faults.Called, way: Any) -> Any:
        import httpx2

        limit = httpx2.Timeout(self._timeout, connect=min(self._timeout, CONNECT_TIMEOUT))
        make = self.load().http_client
        try:
            wire = {"verify": tls.context()} if way is None else {"transport": way}
            http = make(auth=self._login, **wire)
            given = {"base_url": self._address or None, "timeout": limit, "http_client": http}
            return self.build({**given, "max_retries": 0})  # the runtime retries
        except (httpx2.InvalidURL, ValueError, ImportError, OSError) as error:
            raise faults.no_client(called, error) from None


class Lenient(Generic[_T]):
    """Decodes events of one kind; also one with a lone surrogate or a byte that is no UTF-8.

    Args:
        kind: the msgspec Struct to make.
    """

    __slots__ = ("_kind", "_strict")

    def __init__(self, kind: type[_T]) -> None:
        self._kind = kind
        self._strict = msgspec.json.Decoder(kind).decode

    def __call__(self, data: bytes, called: faults.Called) -> _T:
        """The event. Raises ModelError where the data is not what the protocol says."""
        try:
            return self._strict(data)
        except (ValueError, RecursionError):
            pass
        try:
            return msgspec.convert(loose(data), self._kind, strict=False)
        except (ValueError, RecursionError):
            raise faults.garbage(called, data) from None


def loose(data: bytes) -> Any:
    """Plain data from JSON that a strict decoder refuses: a lone surrogate, a byte that is no UTF-8."""
    return json.loads(data.decode("utf-8", "replace"))


async def _post(
    client: Any, path: str, body: bytes, headers: Mapping[str, str], sdk: Sdk
) -> "httpx2.Response":
    """The raw response to ready bytes, its body still unread."""
    import httpx2

    response = await client.post(
        path,
        cast_to=httpx2.Response,  # which makes the SDK hand over the response itself
        content=body,
        options={"headers": dict(headers)},
        stream=True,
        stream_cls=sdk.stream[Any],
    )
    return cast("httpx2.Response", response)


def _wire_errors() -> tuple[type[Exception], ...]:
    """What a connection raises when it breaks, or cannot be made."""
    import httpx2

    return (httpx2.HTTPError, httpx2.InvalidURL, OSError, CredentialError)


async def _read(response: "httpx2.Response", reader: Reader) -> None:
    """Hand each event to the reader, until its end mark or the end of the stream."""
    kind = response.headers.get("content-type", "").lower()
    if "json" in kind or "html" in kind:
        raise _not_a_stream(reader.called, await _head(response))
    splitter = EventSplitter()
    take = reader.take
    async with contextlib.aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            for data in _split(splitter, chunk, reader.called):
                if take(data):
                    await _drain(chunks)
                    return
    for data in splitter.end():
        if take(data):
            return


def _split(splitter: EventSplitter, chunk: bytes, called: faults.Called) -> Sequence[bytes]:
    try:
        return splitter.feed(chunk)
    except BorderError as error:
        raise faults.cut_stream(called, error.title) from None


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read the last bytes behind the end mark, so that the connection can serve the next request."""
    with contextlib.suppress(TimeoutError, *_wire_errors()):
        async with asyncio.timeout(0.2):
            async for _ in chunks:
                pass


def _not_a_stream(called: faults.Called, data: bytes) -> ModelError:
    """An answer of 200 that is an error in JSON, or a page of some proxy."""
    try:
        document = loose(data)
    except (ValueError, RecursionError):
        return faults.garbage(called, data)
    told = isinstance(document, dict) and (document.get("error") or document.get("object") == "error")
    return faults.from_body(called, document) if told else faults.garbage(called, data)


async def _head(response: "httpx2.Response", size: int = 65_536) -> bytes:
    data = b""
    async with contextlib.aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            data += chunk
            if len(data) >= size:
                break
    return data[:size]
