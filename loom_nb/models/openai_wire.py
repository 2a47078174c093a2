"""The wire to OpenAI and to every server that speaks its protocols.

The official SDK gives headers, proxies, the connection and its errors. It is handed the body as
ready bytes and asked for the raw response, both by `AsyncOpenAI.post`, its public way to endpoints
that it has no method for; so it neither walks through the request nor builds an object per delta.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast
from urllib.parse import urlsplit

import msgspec

from loom_nb.errors import BorderError, LoomKeyError, LoomUsageError, ModelError
from loom_nb.models import faults
from loom_nb.models.registry import VENDORS
from loom_nb.models.sse import EventSplitter

if TYPE_CHECKING:
    import ssl

    import httpx2
    from openai import AsyncOpenAI

DEFAULT_TIMEOUT = 600.0
"""Seconds of silence after which a call is given up: reasoning models may be quiet for minutes."""

_OPENAI = "https://api.openai.com/v1"
_PLACEHOLDER = "no-key"
_OWN_FIELDS = frozenset({"model", "messages", "input", "instructions", "stream", "tools"})


@dataclass(frozen=True, slots=True)
class Traits:
    """How one vendor's chat completions differ from the others, as far as it matters here."""

    max_tokens: str = "max_tokens"
    """The name of the field that limits the output."""
    schema: Literal["json_schema", "json_object", "none"] = "json_schema"
    """The most that `response_format` takes."""
    efforts: bool = True
    """Whether `reasoning_effort` is known."""
    thinking_back: Literal["", "reasoning_content", "tags"] = ""
    """How the reasoning of earlier messages goes back, where the vendor asks for it."""


TRAITS: Mapping[str, Traits] = {
    "openai": Traits(max_tokens="max_completion_tokens"),
    "deepseek": Traits(schema="json_object", thinking_back="reasoning_content"),
    "qwen": Traits(schema="json_object", efforts=False),
    "minimax": Traits(schema="none", efforts=False, thinking_back="tags"),
}
"""The vendors that are not like all others."""

_NEED_NO_KEY = frozenset({"ollama", "compatible"})


class Key:
    """An API key that no repr, log or pickle shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself: for the header of a request only."""
        return self._value

    def __repr__(self) -> str:
        return "<key>"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Which model, where, and what goes along with every request to it."""

    vendor: str
    model: str
    """As the vendor calls it."""
    base_url: str | None = None
    """Where to call instead of the vendor's own address."""
    key_env: tuple[str, ...] = ()
    """Environment variables that may hold the key, instead of the vendor's own."""
    key: Key | None = None
    """By default it is read from the environment at each request."""
    organization: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    """Seconds of silence after which a call is given up."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """More fields of the request body; a mapping is merged into ours, None takes a field away."""

    def __post_init__(self) -> None:
        if not self.model:
            raise LoomUsageError(f"which model of {self.vendor}?")
        if taken := sorted(_OWN_FIELDS & self.options.keys()):
            raise LoomUsageError(f"options cannot set '{taken[0]}'", cause="the client writes it itself")
        if urlsplit(self.address).scheme not in ("http", "https"):
            raise LoomUsageError(
                f"'{self.address}' is no address of a model server"
                if self.address
                else f"vendor '{self.vendor}' needs a base_url",
                fixes=['base_url="http://localhost:8000/v1"'],
            )

    @property
    def name(self) -> str:
        """`vendor:model`, as a person would type it."""
        return f"{self.vendor}:{self.model}"

    @property
    def traits(self) -> Traits:
        """How the vendor differs from others."""
        return TRAITS.get(self.vendor, Traits())

    @property
    def address(self) -> str:
        """Where to call."""
        known = VENDORS.get(self.vendor)
        own = (known and known.base_url) or (_OPENAI if self.vendor == "openai" else "")
        ambient = os.environ.get("OPENAI_BASE_URL", "") if self.vendor == "openai" else ""
        return self.base_url or ambient or own

    def find_key(self) -> Key:
        """The key to show: a placeholder where none is needed.

        Raises:
            LoomKeyError: one is needed, and there is none.
        """
        if self.key is not None:
            return _checked(self.key, self.vendor)
        known = VENDORS.get(self.vendor)
        names = self.key_env or (known.key_env if known else ())
        value = next((v for name in names if (v := os.environ.get(name, "").strip())), "")
        needed = bool(self.key_env) or self.vendor not in _NEED_NO_KEY
        if not value and needed and not _is_local(self.address):
            raise _no_key(self.vendor, names)
        return _checked(Key(value or _PLACEHOLDER), self.vendor)


class Reader(Protocol):
    """Makes a reply of the events of one stream."""

    called: faults.Called
    """Set by the connection as soon as the vendor has answered."""

    def take(self, data: bytes) -> bool:
        """Read the data of one event; true at the end mark.

        Raises:
            ModelError: the event tells of a failure.
            ValueError: the data is not what the protocol says.
        """
        ...


class Connection:
    """The way to an endpoint. Opened at the first request."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client: AsyncOpenAI | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()

    async def stream(self, path: str, body: bytes, reader: Reader) -> None:
        """Post `body` and let `reader` take each event of the answer, until its end mark or its end.

        Raises:
            ModelError: the call failed.
            LoomKeyError: there is no key.
        """
        key = self._endpoint.find_key()
        client = await self._open()
        from openai import APIStatusError

        called = faults.Called(self._endpoint.vendor, self._endpoint.model, (key.reveal(),))
        began = False
        try:
            response = await _post(client, path, body, key)
            began = True
            called = reader.called = replace(called, request_id=response.headers.get("x-request-id", ""))
            try:
                await _read(response, reader)
            finally:
                await response.aclose()
        except APIStatusError as error:
            told = error.response
            raise faults.from_status(called, told.status_code, error.body, told.headers) from None
        except _wire_errors() as error:
            raise faults.from_transport(called, error, streaming=began) from None

    async def close(self) -> None:
        """Let go of the connections. May be called twice."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.close()

    async def _open(self) -> "AsyncOpenAI":
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # connections belong to their loop
            self._loop, self._client, self._opening = loop, None, asyncio.Lock()
        if self._client is None:
            async with self._opening:
                # importing the SDK takes about a second of CPU, which the loop has better use for
                threads = sys.platform != "emscripten"
                if self._client is None:
                    self._client = await asyncio.to_thread(self._build) if threads else self._build()
        return self._client

    def _build(self) -> "AsyncOpenAI":
        import httpx2
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Omit

        endpoint = self._endpoint
        ours = endpoint.vendor == "openai"
        # what the environment says of OpenAI is none of another vendor's business
        foreign: dict[str, Any] = {} if ours else {name: Omit() for name in _ambient_headers()}
        client = AsyncOpenAI(
            api_key=_PLACEHOLDER,  # the real one goes with each request
            base_url=endpoint.address,
            organization=endpoint.organization,
            max_retries=0,  # the runtime retries, and says so
            timeout=httpx2.Timeout(endpoint.timeout, connect=min(endpoint.timeout, 15.0)),
            default_headers=foreign,
            http_client=DefaultAsyncHttpxClient(verify=_trusted()),
        )
        client.admin_api_key = None
        if not ours:
            client.organization, client.project = endpoint.organization, None
        return client


@cache
def _trusted() -> "ssl.SSLContext":
    """The certificates to trust, read once: it takes 20 ms, which each client would spend anew."""
    import httpx2

    return httpx2.create_ssl_context()


async def _post(client: "AsyncOpenAI", path: str, body: bytes, key: Key) -> "httpx2.Response":
    """The raw response to ready bytes, its body still unread."""
    import httpx2
    from openai import AsyncStream

    response = await client.post(
        path,
        cast_to=httpx2.Response,  # which makes the SDK hand over the response itself
        content=body,
        options={"headers": {"Accept": "text/event-stream", "Authorization": f"Bearer {key.reveal()}"}},
        stream=True,
        stream_cls=AsyncStream[Any],
    )
    return cast("httpx2.Response", response)


def _wire_errors() -> tuple[type[Exception], ...]:
    """What a connection raises when it breaks, or cannot be made."""
    import httpx2
    from openai import OpenAIError

    return (OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, OSError)


async def _read(response: "httpx2.Response", reader: Reader) -> None:
    """Hand each event to the reader, until its end mark or the end of the stream."""
    kind = response.headers.get("content-type", "").lower()
    if "json" in kind or "html" in kind:
        raise _not_a_stream(reader.called, await _head(response))
    splitter = EventSplitter()
    async with contextlib.aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            for data in _split(splitter, chunk, reader.called):
                if _take(reader, data):
                    await _drain(chunks)
                    return
    for data in splitter.end():
        _take(reader, data)


def _split(splitter: EventSplitter, chunk: bytes, called: faults.Called) -> Sequence[bytes]:
    try:
        return splitter.feed(chunk)
    except BorderError as error:
        raise faults.cut_stream(called, error.title) from None


def _take(reader: Reader, data: bytes) -> bool:
    try:
        return reader.take(data)
    except (ValueError, RecursionError):
        raise faults.garbage(reader.called, data) from None


def _not_a_stream(called: faults.Called, data: bytes) -> ModelError:
    """An answer of 200 that is an error in JSON, or a page of some proxy."""
    told = _error_in(data)
    return faults.garbage(called, data) if told is None else faults.from_body(called, told)


async def _head(response: "httpx2.Response", size: int = 65_536) -> bytes:
    data = b""
    async with contextlib.aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            data += chunk
            if len(data) >= size:
                break
    return data[:size]


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read the last bytes behind the end mark, so that the connection can serve the next request."""
    with contextlib.suppress(TimeoutError, *_wire_errors()):
        async with asyncio.timeout(0.2):
            async for _ in chunks:
                return


def _error_in(data: bytes) -> object | None:
    """The error that a JSON document tells of, if it is one."""
    try:
        document = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return None
    told = isinstance(document, dict) and (document.get("error") or document.get("object") == "error")
    return document if told else None


def loose(data: bytes) -> Any:
    """Plain data from JSON that the strict decoder refuses: a lone surrogate, a byte that is no UTF-8."""
    return json.loads(data.decode("utf-8", "replace"))


def _is_local(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    return host in ("localhost", "::1", "0.0.0.0") or host.startswith("127.")  # noqa: S104  compared, not bound


def _ambient_headers() -> list[str]:
    """Names of the headers that the SDK takes from the environment, meant for OpenAI only."""
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    return [line.partition(":")[0].strip() for line in lines if ":" in line]


def _no_key(vendor: str, names: Sequence[str]) -> LoomKeyError:
    wanted = " or ".join(names)
    return LoomKeyError(
        f"no key for '{vendor}'",
        cause=f"the environment has no {wanted}",
        fixes=[
            f'import os, getpass; os.environ["{names[0]}"] = getpass.getpass()   (hidden input)',
            "%%loom -m offline   (needs no key)",
        ],
    )


def _checked(key: Key, vendor: str) -> Key:
    if all(" " < char <= "~" for char in key.reveal()):
        return key
    raise LoomKeyError(
        f"the key for '{vendor}' is not a key",
        cause="it holds blanks or characters that no key has",
        fixes=["copy the key again"],
    )
