"""What the clients of all vendors share: keys, one SDK client for each event loop, and the way a stream is read.

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
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import msgspec

from loom_nb.errors import BorderError, LoomKeyError, ModelError
from loom_nb.models import faults, tls
from loom_nb.models.sse import EventSplitter

if TYPE_CHECKING:
    import httpx2

DEFAULT_TIMEOUT = 600.0
"""Seconds of silence after which a call is given up: reasoning models may be quiet for minutes."""
CONNECT_TIMEOUT = 15.0
"""Seconds to reach the server at all, where the time for silence is not shorter still."""

_T = TypeVar("_T")


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
    value = next((v for name in names if (v := os.environ.get(name, "").strip())), "")
    key = given or (Key(value) if value else without)
    if key is None:
        raise LoomKeyError(
            f"no key for '{vendor}'",
            cause=f"the environment has no {' or '.join(names)}",
            fixes=[
                f'import os, getpass; os.environ["{names[0]}"] = getpass.getpass()   (hidden input)',
                "%%loom -m offline   (needs no key)",
            ],
        )
    if all(" " < char <= "~" for char in key.reveal()):
        return key
    raise LoomKeyError(
        f"the key for '{vendor}' is not a key",
        cause="it holds blanks or characters that no key has",
        fixes=["copy the key again"],
    )


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


class Connection(ABC):
    """The way to one model of one vendor, opened at the first request."""

    request_id_header = "x-request-id"

    def __init__(self, vendor: str, model: str) -> None:
        self._vendor = vendor
        self._model = model
        self._client: Any = None
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
        """The SDK's client, with `http` (time limits, certificates, no retries) among its arguments."""

    @abstractmethod
    def sign(self, client: Any, key: Key) -> Mapping[str, str]:
        """Show the key: the headers that do, or in the client itself."""

    async def stream(self, path: str, body: bytes, reader: Reader) -> None:
        """Post `body` and let `reader` take each event of the answer, until its end mark or its end.

        Raises:
            ModelError: the call failed.
            LoomKeyError: there is no key.
        """
        key = self.find_key()
        client = await self._open()
        sdk = self.load()
        called = faults.Called(self._vendor, self._model, (key.reveal(),))
        began = False
        try:
            response = await _post(client, path, body, self.sign(client, key), sdk)
            began = True
            told = response.headers.get(self.request_id_header, "")
            called = reader.called = replace(called, request_id=told)
            try:
                await _read(response, reader)
            finally:
                await response.aclose()
        except sdk.status_error as error:
            answer = error.response
            raise faults.from_status(called, answer.status_code, error.body, answer.headers) from None
        except (sdk.any_error, *_wire_errors()) as error:
            raise faults.from_transport(called, error, streaming=began) from None

    async def close(self) -> None:
        """Let go of the connections. May be called twice."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.close()

    async def _open(self) -> Any:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # connections belong to their loop
            self._loop, self._client, self._opening = loop, None, asyncio.Lock()
        if self._client is None:
            async with self._opening:
                # importing an SDK takes about a second of CPU, which the loop has better use for
                threads = sys.platform != "emscripten"
                if self._client is None:
                    self._client = await asyncio.to_thread(self._build) if threads else self._build()
        return self._client

    @abstractmethod
    def _build(self) -> Any:
        """Import the SDK and make its client."""


async def _post(
    client: Any, path: str, body: bytes, headers: Mapping[str, str], sdk: Sdk
) -> "httpx2.Response":
    """The raw response to ready bytes, its body still unread."""
    import httpx2

    response = await client.post(
        path,
        cast_to=httpx2.Response,  # which makes the SDK hand over the response itself
        content=body,
        options={"headers": {"Accept": "text/event-stream", **headers}},
        stream=True,
        stream_cls=sdk.stream[Any],
    )
    return cast("httpx2.Response", response)
