"""Web pages as text, from public addresses only.

Each hop of a request is judged by itself: the URL is parsed once, its host is resolved once, every
address of the answer must be public, and the connection goes to an address that was judged. No
cookies, no proxy and no credentials from the environment, nothing over a size and a time limit.
"""

import asyncio
import codecs
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from loom_nb.border import clean
from loom_nb.capabilities.addresses import why_not_public
from loom_nb.errors import LoomUsageError, ToolError
from loom_nb.messages import Origin, TextPart
from loom_nb.protocols import Toolset
from loom_nb.tools import tool

if TYPE_CHECKING:
    import ssl

    import httpcore2
    import httpx2

MAX_BYTES = 1_000_000
"""Bytes of a page that are read, also after decompression."""
MAX_SECONDS = 10.0
"""For the whole fetch with all its redirects."""
MAX_REDIRECTS = 5
MAX_URL = 4_096

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OTHER_SERVICES = frozenset(
    {21, 22, 23, 25, 53, 110, 111, 119, 135, 139, 143, 179, 389, 445, 465, 514, 587, 636, 993, 995}
    | {1433, 1521, 2049, 2375, 3306, 3389, 5432, 5900, 6000, 6379, 11211, 27017}
)
"""Ports where mail, shells and databases answer: no page is there, only something to be misused."""
_CHARSETS = ("utf", "ascii", "latin", "iso8859", "cp", "gb", "big5", "shift_jis", "euc", "koi8", "mac", "hz")
_HEADERS = [
    ("User-Agent", "loom-nb"),
    ("Accept", "text/html,text/*;q=0.9,application/json;q=0.9,application/xml;q=0.8"),
    ("Accept-Encoding", "identity"),
]

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host; raises OSError where there are none."""


@dataclass(frozen=True)
class WebCapability:
    """The tool `web_fetch`. `allow` names (host, port) pairs that need not be public."""

    allow: Iterable[tuple[str, int]] = ()
    name: str = field(default="web", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow", tuple(_allowed(pair) for pair in _pairs(self.allow)))

    async def open(self) -> Toolset:
        """The tool; a connection is made for each fetch and closed after it."""
        fetcher = Fetcher(allow=frozenset(self.allow))

        async def web_fetch(url: str) -> list[TextPart]:
            """Read a public web page, JSON or text document as text.

            Args:
                url: the whole address, http or https.
            """
            return [await fetcher.fetch(url)]

        made = tool(effects=["network"], idempotent=True, timeout=MAX_SECONDS * 2, max_chars=40_000)(
            web_fetch
        )
        return Toolset(tools=(made,))


def _pairs(allow: Any) -> Iterable[Any]:
    if isinstance(allow, str) or not hasattr(allow, "__iter__"):
        raise LoomUsageError(
            "Capability.web: allow is a list of (host, port)", fixes=['allow=[("127.0.0.1", 8000)]']
        )
    pairs: Iterable[Any] = allow
    return pairs


def _allowed(pair: Any) -> tuple[str, int]:
    match pair:
        case (str(host), int(port)) if host and not isinstance(port, bool) and 0 < port < 65536:
            return host.strip("[]").lower(), port
        case _:
            raise LoomUsageError(
                f"Capability.web: allow takes (host, port), not {pair!r}",
                fixes=['allow=[("127.0.0.1", 8000)]'],
            )


async def resolve_host(host: str, port: int) -> list[str]:
    """The addresses of a host as the system knows them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@dataclass
class Fetcher:
    """Fetches pages; keeps nothing between two of them but the TLS settings."""

    allow: frozenset[tuple[str, int]] = frozenset()
    resolve: Resolve = resolve_host
    dial: "httpcore2.AsyncNetworkBackend | None" = None
    """What opens the connection to a judged address; the ordinary one by default."""
    seconds: float = MAX_SECONDS
    _tls: "ssl.SSLContext | None" = field(default=None, repr=False)

    async def fetch(self, url: str) -> TextPart:
        """The page as text, under a line that says status, type, size and address.

        Raises:
            ToolError: the address is refused, the server cannot be reached or answers with an error,
                or what it has is no text.
        """
        import httpcore2

        try:
            async with asyncio.timeout(self.seconds):
                return await self._follow(_parsed(url))
        except TimeoutError:
            raise ToolError(f"web_fetch: no whole answer within {self.seconds:g} seconds") from None
        except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
            raise ToolError(
                f"web_fetch: the connection failed: {clean(str(error)) or type(error).__name__}"
            ) from None
        except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol):
            raise ToolError("web_fetch: the server does not speak proper HTTP") from None

    async def _follow(self, url: "httpx2.URL") -> TextPart:
        first = url
        for _ in range(MAX_REDIRECTS + 1):
            async with self._get(url) as response:
                headers = {
                    name.decode("latin-1").lower(): value.decode("latin-1")
                    for name, value in response.headers
                }
                if response.status not in _REDIRECTS or "location" not in headers:
                    return await _read(url, first, response, headers)
                url = _parsed(_joined(url, headers["location"]))
        raise ToolError(f"web_fetch: more than {MAX_REDIRECTS} redirects")

    @asynccontextmanager
    async def _get(self, url: "httpx2.URL") -> "AsyncIterator[httpcore2.Response]":
        import httpcore2
        import httpx2

        if url.scheme == "https" and self._tls is None:
            self._tls = await asyncio.to_thread(httpx2.create_ssl_context, trust_env=False)
        opened: list[httpcore2.AsyncNetworkStream] = []
        backend = _guard(self.resolve, self.allow, self.dial or httpcore2.AnyIOBackend(), opened)
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = [("Host", url.netloc.decode("ascii")), *_HEADERS]
        try:
            async with (
                httpcore2.AsyncConnectionPool(ssl_context=self._tls, network_backend=backend) as pool,
                pool.stream("GET", target, headers=headers) as response,
            ):
                yield response
        finally:
            for stream in opened:  # the pool forgets a connection that is given up during its handshake
                await stream.aclose()


def _parsed(url: str) -> "httpx2.URL":
    """A URL that may be asked for; whether its host may be reached is judged when it is dialled."""
    import httpx2

    text = url.strip(" \t\r\n")
    if len(text) > MAX_URL:
        raise ToolError(f"web_fetch: the URL has {len(text):,} characters, the limit is {MAX_URL:,}")
    if not text.isprintable() or any(c in text for c in ' \\"<>^`{|}'):
        raise ToolError(
            "web_fetch: the URL has a character that must be percent-encoded (space, backslash, …)"
        )
    try:
        parsed = httpx2.URL(text)
        parsed.netloc.decode("ascii")
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise ToolError("web_fetch: this is not a URL") from None
    if parsed.scheme not in ("http", "https"):
        raise ToolError(f"web_fetch: only http and https, not '{clean(parsed.scheme)[:40]}'")
    if not parsed.host:
        raise ToolError("web_fetch: the URL names no host")
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise ToolError("web_fetch: a port is a number from 1 to 65535")
    if parsed.userinfo or "@" in text.split("?", 1)[0].split("/", 3)[2]:
        raise ToolError("web_fetch: a URL with a user name or password is refused")
    return parsed


def _joined(url: "httpx2.URL", location: str) -> str:
    import httpx2

    try:
        return str(url.join(location.strip()))
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise ToolError("web_fetch: the server redirects to something that is not a URL") from None


def _guard(
    resolve: Resolve,
    allow: frozenset[tuple[str, int]],
    dial: "httpcore2.AsyncNetworkBackend",
    opened: "list[httpcore2.AsyncNetworkStream]",
) -> "httpcore2.AsyncNetworkBackend":
    """A network that opens connections to public addresses only."""
    import httpcore2

    class Guard(httpcore2.AsyncNetworkBackend):
        """Resolves once, judges every address, dials the judged address."""

        async def connect_tcp(
            self, host: str, port: int, *args: Any, **kwargs: Any
        ) -> httpcore2.AsyncNetworkStream:
            addresses = await _judged(host, port, resolve, allow)
            failure: httpcore2.NetworkError | httpcore2.TimeoutException | None = None
            for address in addresses[:4]:
                try:
                    stream = await dial.connect_tcp(address, port, *args, **kwargs)
                except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
                    failure = error
                else:
                    opened.append(stream)
                    return stream
            raise failure or httpcore2.ConnectError("no address")

        async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
            raise ToolError("web_fetch: sockets of this machine are refused")

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

    return Guard()


async def _judged(host: str, port: int, resolve: Resolve, allow: frozenset[tuple[str, int]]) -> list[str]:
    """The addresses of a host. One that is not public refuses them all."""
    named = host.strip("[]").lower()
    if (named, port) not in allow and port in _OTHER_SERVICES:
        raise ToolError(f"web_fetch: port {port} is refused, it belongs to another service than the web")
    try:
        addresses = list(dict.fromkeys(await resolve(named, port)))
    except (OSError, UnicodeError):
        addresses = []
    if not addresses:
        raise ToolError(f"web_fetch: the host '{clean(named)[:100]}' is not known")
    for address in addresses:
        reason = why_not_public(address)
        if reason and (named, port) not in allow:
            raise ToolError(
                f"web_fetch: '{clean(named)[:100]}' is refused: {address} is not public ({reason})",
                fixes=[f"the user can permit it: Capability.web(allow=[({named!r}, {port})])"],
            )
    return addresses


async def _read(
    url: "httpx2.URL", first: "httpx2.URL", response: "httpcore2.Response", headers: dict[str, str]
) -> TextPart:
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    told = f"HTTP {response.status}{_phrase(response.status)}"
    if response.status >= 400 or not 200 <= response.status < 300:
        # the server's own words stay out of an error: an error has no origin that marks it as foreign
        raise ToolError(f"web_fetch: {told}{f' · {clean(kind)[:60]}' if kind else ''}")
    if not _is_text(kind):
        raise ToolError(
            f"web_fetch: {told}, but this is no text: content type '{clean(kind)[:60] or 'not given'}'"
        )
    body, whole = await _body(response, headers.get("content-encoding", "").strip().lower())
    text = await asyncio.to_thread(_as_text, body, kind, headers.get("content-type", ""), str(url))
    size = f"{len(body):,} bytes" if whole else f"only the first {len(body):,} bytes"
    hops = f" (asked for {first})" if url != first else ""
    source = clean(str(url))
    return TextPart(clean(f"{told} · {kind} · {size} · {source}{hops}\n\n{text}"), Origin("web", source))


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _is_text(kind: str) -> bool:
    subtype = kind.removeprefix("application/")
    return kind.startswith("text/") or (
        kind.startswith("application/")
        and (subtype in ("json", "xml", "x-ndjson", "yaml", "x-yaml") or subtype.endswith(("+json", "+xml")))
    )


async def _body(response: "httpcore2.Response", encoding: str) -> tuple[bytes, bool]:
    """The bytes up to the limit, and whether that is all of them."""
    if encoding in ("gzip", "x-gzip", "deflate"):  # sent although we asked for none
        unpack = zlib.decompressobj(wbits=47 if "gzip" in encoding else zlib.MAX_WBITS)
    elif encoding in ("", "identity"):
        unpack = None
    else:
        raise ToolError(
            f"web_fetch: the server packs its answer in a way not asked for: '{clean(encoding)[:40]}'"
        )
    body = bytearray()
    async for chunk in response.aiter_stream():
        room = MAX_BYTES + 1 - len(body)
        try:
            body += chunk[:room] if unpack is None else unpack.decompress(chunk, room)
        except zlib.error:
            raise ToolError("web_fetch: the server's compressed answer is damaged") from None
        if len(body) > MAX_BYTES:
            return bytes(body[:MAX_BYTES]), False
    return bytes(body), True


def _as_text(body: bytes, kind: str, content_type: str, url: str) -> str:
    text = body.decode(_charset(body, content_type), "replace")
    if "html" not in kind:
        return text
    from loom_nb.capabilities.pages import page_text

    return page_text(text, url)


def _charset(body: bytes, content_type: str) -> str:
    """The declared charset where it is an ordinary one: some codecs are costly or no text at all."""
    named = ""
    for source in (content_type, body[:1024].decode("ascii", "ignore")):
        _, found, rest = source.lower().partition("charset=")
        if found:
            named = rest.lstrip("\"' ").split(";")[0].split('"')[0].split("'")[0].split(">")[0].strip(" /")
            break
    try:
        known = codecs.lookup(named).name if named.isascii() else ""
    except (LookupError, ValueError):
        known = ""
    return known if known.startswith(_CHARSETS) and known != "utf-7" else "utf-8"
