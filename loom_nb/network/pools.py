"""Connections that are kept for the next request to the same place; each was dialled through a guard."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loom_nb.border import clean
from loom_nb.network.fetch import DIAL_SECONDS, Guard, Request, guarded

if TYPE_CHECKING:
    import ssl

    import httpcore2

KEPT_SECONDS = 30.0
"""How long a connection that nobody uses is kept."""
MAX_POOLS = 32
MAX_CHUNK = 2**18
"""Bytes of an unpacked body that come at once."""

_dialled: "ContextVar[list[httpcore2.AsyncNetworkStream] | None]" = ContextVar("dialled", default=None)


class Packed(Exception):
    """A body that cannot be unpacked; the text says why."""


@dataclass
class Pools:
    """Connections by the guard that judged them, on one event loop.

    Args:
        dial: what opens the connection to a judged address; the ordinary one by default.
    """

    dial: "httpcore2.AsyncNetworkBackend | None" = None
    _pools: "dict[tuple[Guard, bool], httpcore2.AsyncConnectionPool]" = field(default_factory=dict)
    _tls: "ssl.SSLContext | None" = field(default=None, repr=False)

    @asynccontextmanager
    async def opened(
        self, request: Request, guard: Guard, timeouts: Mapping[str, float | None]
    ) -> "AsyncIterator[httpcore2.Response]":
        """The answer to a request, its body unread.

        Args:
            request: redirects are not followed.
            guard: what judges the addresses.
            timeouts: seconds for "connect", "read" and "write"; None: for ever.

        Raises:
            ToolError: an address is refused.
            httpcore2 errors: the wire failed.
        """
        import httpcore2

        target = request.target
        if target.url.scheme == "https" and self._tls is None:
            self._tls = await asyncio.to_thread(_context)
        url = httpcore2.URL(
            scheme=target.url.raw_scheme, host=target.host, port=target.port, target=target.url.raw_path
        )
        headers = [("Host", target.authority), *request.headers, ("Accept-Encoding", "identity")]
        body = request.body if request.body or request.method in ("POST", "PUT", "PATCH") else None
        dialled: list[httpcore2.AsyncNetworkStream] = []
        mark = _dialled.set(dialled)
        whole = False
        try:
            extensions = {"timeout": dict(timeouts)}
            async with self._pool(guard, target.url.scheme == "https").stream(
                request.method, url, headers=headers, content=body, extensions=extensions
            ) as response:
                yield response
                whole = True
        finally:
            _dialled.reset(mark)
            if not whole:  # a pool forgets a connection that is given up during its handshake
                for stream in dialled:
                    await stream.aclose()

    async def close(self) -> None:
        """Close all connections."""
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.aclose()

    def _pool(self, guard: Guard, secure: bool) -> "httpcore2.AsyncConnectionPool":
        import httpcore2

        pool = self._pools.get((guard, secure))
        if pool is None:
            idle = [key for key, one in self._pools.items() if not one.connections]
            if len(self._pools) >= MAX_POOLS and idle:
                del self._pools[idle[0]]
            dial = self.dial or httpcore2.AnyIOBackend()
            pool = self._pools[guard, secure] = httpcore2.AsyncConnectionPool(
                ssl_context=self._tls if secure else None,
                network_backend=guarded(guard, dial, DIAL_SECONDS, _keep),
                keepalive_expiry=KEPT_SECONDS,
                max_connections=None,
            )
        return pool


def _keep(stream: "httpcore2.AsyncNetworkStream") -> None:
    dialled = _dialled.get()
    if dialled is not None:
        dialled.append(stream)


def _context() -> "ssl.SSLContext":
    import httpx2

    return httpx2.create_ssl_context()


async def unpacked(chunks: AsyncIterator[bytes], packing: str) -> AsyncIterator[bytes]:
    """A body as it was before it was packed, in pieces of bounded size.

    Args:
        chunks: as they came.
        packing: the header `content-encoding`.

    Raises:
        Packed: it is packed in a way not asked for, or damaged.
    """
    if packing in ("", "identity"):
        async for chunk in chunks:
            yield chunk
        return
    if packing not in ("gzip", "x-gzip", "deflate"):  # these, too, were not asked for
        raise Packed(f"the server packs its answer in a way not asked for: '{clean(packing)[:40]}'")
    unpack = zlib.decompressobj(wbits=47 if "gzip" in packing else zlib.MAX_WBITS)
    try:
        async for chunk in chunks:
            rest = chunk
            while rest and not unpack.eof:
                yield unpack.decompress(rest, MAX_CHUNK)
                rest = unpack.unconsumed_tail
        yield unpack.flush()
    except zlib.error:
        raise Packed("its compressed body is damaged") from None
    if not unpack.eof:
        raise Packed("its compressed body is cut short")
