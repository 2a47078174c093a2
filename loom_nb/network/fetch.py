"""One HTTP request to a public address, hop by hop: the road of every tool that reaches the web.

A URL is parsed once: what is judged is what is dialled and what the server is told. Its host is
resolved once for each hop, every address of the answer must be public, and the connection goes to an
address that was judged. No cookies, no proxy and no credentials from the environment, certificates
always verified, nothing over a size and a time limit.
"""

import asyncio
import re
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from loom_nb.border import clean
from loom_nb.errors import LoomUsageError, ToolError
from loom_nb.network.addresses import why_not_named, why_not_public

if TYPE_CHECKING:
    import ssl

    import httpcore2
    import httpx2

MAX_REDIRECTS = 5
MAX_URL = 4_096
MAX_DIALS = 4
"""Addresses of a host that are tried."""
DIAL_SECONDS = 3.0
"""How long each of them but the last is waited for."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""They ask a server to change nothing."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OTHER_SERVICES = frozenset(
    {1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103}
    | {104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 445, 465, 512}
    | {513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 873, 989, 990, 993, 995}
    | {1433, 1521, 1719, 1720, 1723, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 3659, 4045, 4190}
    | {5060, 5061, 5432, 5672, 5900, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6697, 9042, 9092}
    | {10250, 11211, 27017}
)
"""Ports where mail, shells and databases answer: no page is there, only something to be misused."""

_TRAVELLERS = frozenset(
    {"accept", "accept-language", "content-type", "content-language", "user-agent", "range", "prefer"}
    | {"cache-control", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"}
)
"""The only headers that follow a redirect to another origin: any other may hold a secret."""
_OF_A_BODY = frozenset({"content-type", "content-language"})

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host; raises OSError where there are none."""


async def resolve_host(host: str, port: int) -> list[str]:
    """The addresses of a host as the system knows them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    url: "httpx2.URL"
    """As it was parsed; its host may be spelt otherwise."""
    host: str
    """ASCII, lower case, no brackets, no dot at the end; an address in its usual spelling."""
    port: int

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: a secret that is meant for one is not meant for another."""
        return self.url.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """The host as a server is told it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.url.port is None else f"{host}:{self.port}"

    @property
    def path(self) -> str:
        """Path and query."""
        return self.url.raw_path.decode("ascii")

    def __str__(self) -> str:
        return f"{self.url.scheme}://{self.authority}{self.path}"


@dataclass(frozen=True)
class Guard:
    """Which hosts a tool may reach.

    Args:
        capability: "web" or "http", for what a user is told to type.
        tool: the tool's name, for errors.
        allow: (host, port) pairs that need not be public.
        hosts: if any, only these hosts; "*.example.org" stands for all below example.org.
    """

    capability: str
    tool: str
    allow: frozenset[tuple[str, int]] = frozenset()
    hosts: tuple[str, ...] = ()
    resolve: Resolve = field(default=resolve_host, compare=False)

    def target(self, text: str) -> Target:
        """Parse a URL and judge it by its form, without asking anybody. Raises ToolError."""
        target = self.parsed(text)
        named, port = target.host, target.port
        if (named, port) in self.allow:
            return target
        if reason := why_not_named(named):
            raise self._refused(named, port, reason)
        if port in _OTHER_SERVICES:
            raise self.error(f"port {port} is refused, it belongs to another service than the web")
        if self.hosts and not any(_covers(pattern, named) for pattern in self.hosts):
            raise self.error(
                f"'{named[:100]}' is none of the hosts that are allowed here",
                fixes=[f"the user can permit it: Capability.{self.capability}(hosts=[{named[:100]!r}, ...])"],
            )
        return target

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host, asked for once. One that is not public refuses them all."""
        try:
            addresses = list(dict.fromkeys(await self.resolve(host, port)))
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise self.error(f"the host '{clean(host)[:100]}' is not known")
        for address in addresses:
            reason = why_not_public(address)
            if reason and (host, port) not in self.allow:
                raise self._refused(host, port, f"{address} is not public ({reason})")
        return addresses

    def error(self, title: str, *, cause: str = "", fixes: Iterable[str] = ()) -> ToolError:
        """An error for the model, signed with the tool's name."""
        return ToolError(f"{self.tool}: {title}", cause=cause, fixes=fixes)

    def _refused(self, host: str, port: int, reason: str) -> ToolError:
        return self.error(
            f"'{clean(host)[:100]}' is refused: {reason}",
            fixes=[f"the user can permit it: Capability.{self.capability}(allow=[({host[:100]!r}, {port})])"],
        )

    def parsed(self, given: str) -> Target:
        """A URL that everybody reads alike, whatever host it names. Raises ToolError for any other."""
        import httpx2

        text = given.strip(" \t\r\n")
        if len(text) > MAX_URL:
            raise self.error(f"the URL has {len(text):,} characters, the limit is {MAX_URL:,}")
        if not text.isprintable() or "\\" in text:
            raise self.error("the URL has a character that must be percent-encoded (tab, backslash, …)")
        found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(//([^/?#]*))?", text)
        if not found:
            raise self.error("this is not a whole URL", fixes=["https://example.org/page"])
        scheme, authority = found[1].lower(), found[3]
        if scheme not in ("http", "https"):
            raise self.error(f"only http and https, not '{clean(scheme)[:40]}'")
        if not authority:
            raise self.error("the URL names no host")
        if "@" in authority:
            raise self.error("a URL with a user name or password is refused")
        port = authority.rpartition("]")[2].partition(":")[2]
        if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
            raise self.error("a port is a number from 1 to 65535")
        try:
            url = httpx2.URL(text)
            host = url.raw_host.decode("ascii").lower()
        except (httpx2.InvalidURL, UnicodeError, ValueError):
            raise self.error("this is not a URL") from None
        return Target(url, canonical_host(host), url.port or (443 if url.scheme == "https" else 80))


def canonical_host(host: str) -> str:
    """A host in lower case, without brackets and a dot at the end; an address as it is usually written."""
    host = host.strip("[]").lower()
    host = host[:-1] if host.endswith(".") and not host.endswith("..") else host
    try:
        return str(ip_address(host)) if ":" in host and "%" not in host else host
    except ValueError:
        return host


def _covers(pattern: str, host: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def checked_allow(capability: str, allow: Any) -> tuple[tuple[str, int], ...]:
    """The (host, port) pairs of a capability. Raises LoomUsageError for anything else."""
    fixes = ['allow=[("127.0.0.1", 8000)]']
    if isinstance(allow, str) or not hasattr(allow, "__iter__"):
        raise LoomUsageError(f"Capability.{capability}: allow is a list of (host, port)", fixes=fixes)
    pairs = []
    for pair in allow:
        match pair:
            case (str(host), int(port)) if host and not isinstance(port, bool) and 0 < port < 65536:
                pairs.append((canonical_host(host), port))
            case _:
                raise LoomUsageError(
                    f"Capability.{capability}: allow takes (host, port), not {pair!r}", fixes=fixes
                )
    return tuple(pairs)


def checked_hosts(capability: str, hosts: Any) -> tuple[str, ...]:
    """The host names of a capability, in ASCII. Raises LoomUsageError for anything else."""
    fixes = ['hosts=["api.example.org", "*.example.com"]']
    if isinstance(hosts, str) or not hasattr(hosts, "__iter__"):
        raise LoomUsageError(f"Capability.{capability}: hosts is a list of names", fixes=fixes)
    return tuple(_checked_host(capability, host, fixes) for host in hosts)


def _checked_host(capability: str, host: Any, fixes: list[str]) -> str:
    import httpx2

    wrong = LoomUsageError(f"Capability.{capability}: hosts takes names, not {host!r}", fixes=fixes)
    if not isinstance(host, str):
        raise wrong
    star = "*." if host.startswith("*.") else ""
    try:
        name = canonical_host(httpx2.URL(f"http://{host.removeprefix('*.')}").raw_host.decode("ascii"))
        typed = re.search(r"[/?#@\s*]", host.removeprefix("*.")) or re.search(r":\d*$", host)
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise wrong from None
    if not name or (typed and ":" not in name) or why_not_named(name) == "not a host name":
        raise wrong
    return star + name


@dataclass(frozen=True, slots=True)
class Request:
    """What a server is asked."""

    method: str
    target: Target
    headers: tuple[tuple[str, str], ...] = ()
    """Beside Host and the length and encoding of the body, which are written here."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    target: Target
    """The address that answered, after all redirects."""
    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    body: bytes = b""
    whole: bool = True
    """Whether that is all of the body."""
    note: str = ""
    """Why a redirect was not followed."""

    def header(self, name: str) -> str:
        """The first header of that name (lower case), or an empty text."""
        return next((value for known, value in self.headers if known == name), "")

    @property
    def kind(self) -> str:
        """The media type, without parameters."""
        return self.header("content-type").split(";")[0].strip().lower()

    @property
    def told(self) -> str:
        """The status in words: "HTTP 200 OK"."""
        try:
            return f"HTTP {self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:  # the server's own words say nothing that is known
            return f"HTTP {self.status}"

    @property
    def size(self) -> str:
        """How much of the body there is, in words."""
        return f"{len(self.body):,} bytes" if self.whole else f"only the first {len(self.body):,} bytes"

    @property
    def redirects(self) -> bool:
        """Whether it sends the client on to another address."""
        return self.status in _REDIRECTS and bool(self.header("location"))


class _Packed(Exception):
    """A body that cannot be unpacked; the text says why."""


@dataclass
class Client:
    """Sends requests; keeps nothing between two of them but the TLS settings.

    Args:
        guard: which hosts it may reach.
        seconds: for a whole request with all its redirects.
        max_bytes: of a body that are read, also after decompression.
        dial: what opens the connection to a judged address; the ordinary one by default.
        tls: whose certificates are trusted; the usual ones by default.
        dial_seconds: how long an address is waited for where there is another one.
    """

    guard: Guard
    seconds: float
    max_bytes: int
    dial: "httpcore2.AsyncNetworkBackend | None" = None
    tls: "ssl.SSLContext | None" = field(default=None, repr=False)
    dial_seconds: float = DIAL_SECONDS

    async def send(self, request: Request) -> Reply:
        """The answer, after redirects.

        A redirect that is refused is an error where the request asked for nothing but to read; else the
        answer that redirects is returned, with a note, as the request was carried out.

        Raises:
            ToolError: the address is refused, or the server cannot be reached or does not answer.
        """
        try:
            async with asyncio.timeout(self.seconds):
                return await self._follow(request)
        except TimeoutError:
            raise self._failed(f"no whole answer within {self.seconds:g} seconds", request) from None

    def _failed(self, title: str, request: Request) -> ToolError:
        unsure = request.method not in SAFE_METHODS or bool(request.body)
        return self.guard.error(
            title, cause="the request may have been carried out all the same" if unsure else ""
        )

    async def _follow(self, request: Request) -> Reply:
        guard, reply = self.guard, None
        hop = request
        for _ in range(MAX_REDIRECTS + 1):
            try:
                if reply is not None:
                    hop = next_hop(hop, reply, guard)
                reply = await self._exchange(hop, guard)
            except ToolError as error:
                if reply is None or request.method in SAFE_METHODS:
                    raise
                return replace(reply, note=f"the redirect was not followed: {error.title}")
            if not reply.redirects:
                return reply
            if (hop.target.host, hop.target.port) not in guard.allow:
                guard = replace(guard, allow=frozenset())  # a public page leads to no private one
        raise self._failed(f"more than {MAX_REDIRECTS} redirects", request)

    async def _exchange(self, request: Request, guard: Guard) -> Reply:
        import httpcore2

        try:
            async with self._open(request, guard) as response:
                reply = head_of(request.target, response)
                if reply.redirects:
                    return reply
                body, whole = await self._body(response, reply.header("content-encoding").strip().lower())
                return replace(reply, body=body, whole=whole)
        except _Packed as error:
            raise self._failed(f"{reply.told}, but {error}", request) from None
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
            raise self.guard.error(f"the connection failed: {words(error)}") from None
        except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
            raise self._failed(f"the connection failed: {words(error)}", request) from None
        except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol):
            raise self._failed("the server does not speak proper HTTP", request) from None

    @asynccontextmanager
    async def _open(self, request: Request, guard: Guard) -> "AsyncIterator[httpcore2.Response]":
        import httpcore2
        import httpx2

        target = request.target
        if target.url.scheme == "https" and self.tls is None:
            self.tls = await asyncio.to_thread(httpx2.create_ssl_context, trust_env=False)
        opened: list[httpcore2.AsyncNetworkStream] = []
        backend = guarded(guard, self.dial or httpcore2.AnyIOBackend(), self.dial_seconds, opened.append)
        url = httpcore2.URL(
            scheme=target.url.raw_scheme, host=target.host, port=target.port, target=target.url.raw_path
        )
        headers = [("Host", target.authority), *request.headers, ("Accept-Encoding", "identity")]
        body = request.body if request.body or request.method in ("POST", "PUT", "PATCH") else None
        try:
            async with (
                httpcore2.AsyncConnectionPool(ssl_context=self.tls, network_backend=backend) as pool,
                pool.stream(request.method, url, headers=headers, content=body) as response,
            ):
                yield response
        finally:
            for stream in opened:  # the pool forgets a connection that is given up during its handshake
                await stream.aclose()

    async def _body(self, response: "httpcore2.Response", packed: str) -> tuple[bytes, bool]:
        """The bytes up to the limit, and whether that is all of them."""
        if packed in ("gzip", "x-gzip", "deflate"):  # sent although we asked for none
            unpack = zlib.decompressobj(wbits=47 if "gzip" in packed else zlib.MAX_WBITS)
        elif packed in ("", "identity"):
            unpack = None
        else:
            raise _Packed(f"the server packs its answer in a way not asked for: '{clean(packed)[:40]}'")
        body = bytearray()
        async for chunk in response.aiter_stream():
            room = self.max_bytes + 1 - len(body)
            try:
                body += chunk[:room] if unpack is None else unpack.decompress(chunk, room)
            except zlib.error:
                raise _Packed("its compressed body is damaged") from None
            if len(body) > self.max_bytes:
                return bytes(body[: self.max_bytes]), False
        return bytes(body), True


def next_hop(hop: Request, reply: Reply, guard: Guard) -> Request:
    """The request that a redirect asks for. Raises ToolError where it is not to be followed."""
    target = guard.target(_joined(hop.target, reply.header("location"), guard))
    if hop.target.url.scheme == "https" and target.url.scheme != "https":
        raise guard.error(f"a redirect from https to http is refused: {clean(str(target))[:300]}")
    method, body, headers = hop.method, hop.body, hop.headers
    if (reply.status == 303 and method != "HEAD") or (reply.status in (301, 302) and method == "POST"):
        method, body = "GET", b""
        headers = tuple(pair for pair in headers if pair[0].lower() not in _OF_A_BODY)
    if target.origin != hop.target.origin:
        if method not in SAFE_METHODS or body:
            raise guard.error(
                f"{method} would be sent on to another origin: {clean(str(target))[:300]}",
                cause="it was meant for this one only",
            )
        headers = tuple(pair for pair in headers if pair[0].lower() in _TRAVELLERS)
    return Request(method, target, headers, body)


def _joined(target: Target, location: str, guard: Guard) -> str:
    import httpx2

    location = location.strip()
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", location):  # a whole address: nothing is guessed of a broken one
        return location
    try:
        return str(target.url.join(location))
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise guard.error("the server redirects to something that is not a URL") from None


def guarded(
    guard: Guard,
    dial: "httpcore2.AsyncNetworkBackend",
    seconds: float,
    opened: "Callable[[httpcore2.AsyncNetworkStream], None]",
) -> "httpcore2.AsyncNetworkBackend":
    """A network that opens connections to judged addresses only.

    Args:
        guard: what judges.
        dial: what opens a connection to a judged address.
        seconds: how long an address is waited for where there is another one.
        opened: is told each connection.
    """
    import httpcore2

    def keep(stream: httpcore2.AsyncNetworkStream) -> httpcore2.AsyncNetworkStream:
        opened(stream)
        return stream

    class Guarded(httpcore2.AsyncNetworkBackend):
        """Resolves once, judges every address, dials the judged address."""

        async def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
            addresses = (await guard.addresses(host, port))[:MAX_DIALS]
            for address in addresses[:-1]:
                try:
                    async with asyncio.timeout(seconds):
                        return keep(await dial.connect_tcp(address, port, *args, **kwargs))
                except (TimeoutError, httpcore2.NetworkError, httpcore2.TimeoutException):
                    continue
            return keep(await dial.connect_tcp(addresses[-1], port, *args, **kwargs))

        async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
            raise guard.error("sockets of this machine are refused")

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

    return Guarded()


def words(error: Exception) -> str:
    """What an error of the wire says, for a person."""
    return clean(str(error))[:300] or type(error).__name__


def head_of(target: Target, response: "httpcore2.Response") -> Reply:
    """An answer whose body is still to be read."""
    headers = tuple((_text(name).lower(), _text(value)) for name, value in response.headers)
    return Reply(target, response.status, headers)


def _text(value: bytes) -> str:
    """A header's value, mostly ASCII; some servers write UTF-8."""
    try:
        return clean(value.decode())
    except UnicodeDecodeError:
        return value.decode("latin-1")
