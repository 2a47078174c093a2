"""Any HTTP request to public addresses: every method, what the server says, and a person's leave.

Reading runs unasked, all else asks: the card shows the request as it would go out.
"""

import asyncio
import json as json_text
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlencode

from loom_nb.border import clean
from loom_nb.capabilities.outgoing import leaving
from loom_nb.capabilities.pages import as_text, is_text
from loom_nb.errors import LoomUsageError, ToolError
from loom_nb.messages import FilePart, ImagePart, Origin, ResultPart, TextPart
from loom_nb.network.fetch import (
    Client,
    Guard,
    Reply,
    Request,
    Target,
    checked_allow,
    checked_hosts,
)
from loom_nb.protocols import Toolset
from loom_nb.tools import MAX_ATTACHMENT_BYTES, Assessment, Tool, ToolFunction, tool

if TYPE_CHECKING:
    from loom_nb.credentials.broker import Broker

TIMEOUT = 30.0
"""Seconds for a whole request with all its redirects."""
MAX_BYTES = 4_000_000
"""Bytes of an answer that are read, also after decompression."""
MAX_BODY = 8_000_000
MAX_HEADERS = 16_384
PRETTY = 20_000
"""Characters up to which JSON is laid out in lines."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_WRITTEN_HERE = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te"}
    | {"trailer", "upgrade", "expect", "accept-encoding", "proxy-authorization", "proxy-authenticate"}
    | {"http2-settings", "via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
)
_SHOWN = frozenset(
    {"location", "date", "retry-after", "etag", "last-modified", "link", "allow", "content-disposition"}
    | {"content-location", "content-range", "accept-ranges", "www-authenticate", "x-request-id", "sunset"}
    | {"deprecation", "x-total-count", "accept-patch", "accept-post", "cache-control", "content-language"}
)
_IMAGES = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}


@dataclass(frozen=True)
class HttpCapability:
    """The tool `http_request`.

    Args:
        allow: (host, port) pairs that need not be public.
        hosts: if any, only these hosts; "*.example.org" stands for all below example.org.
        timeout: seconds for a whole request with all its redirects.
        max_bytes: of an answer that are read.
        credentials: names of secrets that a request may go with; each goes to the hosts that it is bound to.
        broker: uses the secrets; the one of this user by default.

    Raises LoomUsageError for anything else.
    """

    allow: Iterable[tuple[str, int]] = ()
    hosts: Iterable[str] = ()
    timeout: float = TIMEOUT
    max_bytes: int = MAX_BYTES
    credentials: Iterable[str] = ()
    broker: "Broker | None" = None
    name: str = field(default="http", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow", checked_allow("http", self.allow))
        object.__setattr__(self, "hosts", checked_hosts("http", self.hosts))
        object.__setattr__(self, "credentials", _checked_scopes(self.credentials))
        for known in ("timeout", "max_bytes"):
            value = getattr(self, known)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
                raise LoomUsageError(
                    f"Capability.http: {known} is a number over 0, not {value!r}", fixes=[f"{known}=30"]
                )

    async def open(self) -> Toolset:
        """The tool; a connection is made for each request and closed after it."""
        guard = Guard("http", "http_request", frozenset(self.allow), tuple(self.hosts))
        client = Client(guard, self.timeout, int(self.max_bytes))

        async def http_request(
            url: str,
            method: str = "GET",
            headers: dict[str, str] | None = None,
            body: str | None = None,
            json: Any = None,
            query: dict[str, Any] | None = None,
        ) -> list[ResultPart]:
            """Send an HTTP request and read the answer: status, headers and body.

            Args:
                url: the whole address, http or https.
                method: GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE or another one.
                headers: more headers by name.
                body: the body as text.
                json: a value that is sent as JSON, in place of body.
                query: fields that are added to the address; a list repeats its field.
            """
            return await request(
                client, made(guard, method, url, headers=headers, body=body, json=json, query=query)
            )

        made_of = tool(
            effects=["writes", "network"], destructive=True, timeout=self.timeout + 10, max_chars=40_000
        )
        if self.credentials:
            return self._signed(guard, client, made_of)
        return Toolset(tools=(replace(made_of(http_request), assess=partial(assessed, guard)),))

    def _signed(self, guard: Guard, client: Client, made_of: Callable[[ToolFunction], Tool]) -> Toolset:
        """The tool with a secret on request."""
        from loom_nb.capabilities.http_secret import Signed
        from loom_nb.capabilities.secret_use import BySecret
        from loom_nb.credentials.broker import default_broker

        scopes = tuple(self.credentials)
        signed = Signed(scopes, self.broker or default_broker(), guard, made)

        async def http_request(
            url: str,
            method: str = "GET",
            headers: dict[str, str] | None = None,
            body: str | None = None,
            json: Any = None,
            query: dict[str, Any] | None = None,
            credential: str | None = None,
            why: str = "",
        ) -> list[ResultPart]:
            """Send an HTTP request and read the answer: status, headers and body.

            Args:
                url: the whole address, http or https.
                method: GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE or another one.
                headers: more headers by name.
                body: the body as text.
                json: a value that is sent as JSON, in place of body.
                query: fields that are added to the address; a list repeats its field.
                credential: the secret that goes with it; none: it goes without.
                why: what the secret is needed for, in a few words, for the person who is asked.
            """
            given = {"headers": headers, "body": body, "json": json, "query": query}
            if credential is None:
                return await request(client, made(guard, method, url, **given))
            asked = await asyncio.to_thread(partial(signed.request, credential, method, url, **given))
            reply = await signed.send(credential, why, asked, client)
            return await asyncio.to_thread(parts, asked, reply)

        http_request.__annotations__["credential"] = Literal[scopes] | None

        def assess(credential: str | None = None, why: str = "", **given: Any) -> Assessment:
            if credential is None:
                return assessed(guard, **given)
            return signed.assessed(credential, **given)

        whole = made_of(http_request)
        whole = replace(whole, assess=assess, description=whole.description + signed.about())
        return Toolset(tools=(whole,), rules=(BySecret(signed.use_of, signed.broker),))


def _checked_scopes(given: Any) -> tuple[str, ...]:
    """The names of secrets. Raises LoomUsageError for anything else."""
    fixes = ['credentials=["github.read"]']
    if isinstance(given, str) or not hasattr(given, "__iter__"):
        raise LoomUsageError("Capability.http: credentials is a list of names of secrets", fixes=fixes)
    scopes = tuple(given)
    wrong = next((one for one in scopes if not isinstance(one, str) or not one.strip()), None)
    if wrong is not None:
        raise LoomUsageError(
            f"Capability.http: credentials takes names of secrets, not {wrong!r}", fixes=fixes
        )
    return tuple(dict.fromkeys(scopes))


def assessed(guard: Guard, method: str, url: str, **given: Any) -> Assessment:
    """What a request would do, told without asking anybody."""
    try:
        return leaving(guard, made(guard, method, url, **given))
    except ToolError as error:
        preview = clean(f"{method} {url}")[:500]
        return Assessment(frozenset({"writes", "network"}), True, refusal=str(error), preview=preview)


def made(
    guard: Guard,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
    json: Any = None,
    query: Mapping[str, Any] | None = None,
) -> Request:
    """The request of these arguments. Raises ToolError where one of them is refused."""
    verb = method.strip().upper()
    if not _TOKEN.fullmatch(verb) or len(verb) > 20 or verb == "CONNECT":
        raise guard.error(f"'{clean(method)[:40]}' is no method that can be sent")
    lines = _headers(guard, headers or {})
    named = {name.lower() for name, _ in lines}
    content, kind = _content(guard, body, json)
    if kind and "content-type" not in named:
        lines.append(("Content-Type", kind))
    if "user-agent" not in named:
        lines.append(("User-Agent", "loom-nb"))
    if "accept" not in named:
        lines.append(("Accept", "*/*"))
    return Request(verb, guard.target(_with_query(guard, url, query or {})), tuple(lines), content)


def _headers(guard: Guard, given: Mapping[str, str]) -> list[tuple[str, str]]:
    seen: set[str] = set()
    for name, value in given.items():
        lower = name.lower()
        if not _TOKEN.fullmatch(name):
            raise guard.error(f"'{clean(name)[:40]}' is no name of a header")
        if lower in _WRITTEN_HERE or lower.startswith(("proxy-", "sec-")):
            raise guard.error(f"the header {lower[:40]} is not yours to set")
        if lower in seen:
            raise guard.error(f"the header {lower[:40]} is there twice")
        if not value.isascii() or any((ord(c) < 32 and c != "\t") or ord(c) == 127 for c in value):
            raise guard.error(
                f"the header {lower[:40]} has a character that no header may have",
                cause="one line of ASCII: no line break, no NUL, no accent",
            )
        seen.add(lower)
    if sum(len(name) + len(value) for name, value in given.items()) > MAX_HEADERS:
        raise guard.error(f"the headers have more than {MAX_HEADERS:,} characters")
    return [(name, value.strip()) for name, value in given.items()]


def _content(guard: Guard, body: str | None, json: Any) -> tuple[bytes, str]:
    """The bytes of the body and the type that they have unless another is named."""
    if body is not None and json is not None:
        raise guard.error("either body or json, not both")
    if json is not None:
        try:
            content = json_text.dumps(json, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError):
            raise guard.error("json is no value that JSON can carry") from None
        kind = "application/json"
    else:
        content = (body or "").encode("utf-8", "replace")
        kind = "text/plain; charset=utf-8" if body else ""
    if len(content) > MAX_BODY:
        raise guard.error(f"the body has {len(content):,} bytes, the limit is {MAX_BODY:,}")
    return content, kind


def _with_query(guard: Guard, url: str, query: Mapping[str, Any]) -> str:
    if not query:
        return url
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        for one in value if isinstance(value, list) else [value]:
            match one:
                case bool():
                    pairs.append((name, "true" if one else "false"))
                case str() | int() | float():
                    pairs.append((name, str(one)))
                case _:
                    raise guard.error(f"query: the field {clean(name)[:40]} is no text or number")
    address, mark, fragment = url.partition("#")
    sign = "&" if "?" in address else "?"
    return f"{address}{sign}{urlencode(pairs)}{mark}{fragment}"


async def request(client: Client, asked: Request) -> list[ResultPart]:
    """The answer as parts: status, headers and text; an image or a PDF beside it.

    Raises:
        ToolError: the address is refused, or the server cannot be reached or does not answer.
    """
    reply = await client.send(asked)
    return await asyncio.to_thread(parts, asked, reply)


def parts(asked: Request, reply: Reply) -> list[ResultPart]:
    """An answer as a model reads it."""
    origin = Origin("web", clean(str(reply.target)))
    attached, words = _body(reply, origin)
    text = clean("\n".join(_head(asked, reply)) + (f"\n\n{words}" if words else ""))
    return [TextPart(text, origin), *attached]


def _head(asked: Request, reply: Reply) -> list[str]:
    kind = reply.header("content-type")[:100]
    hops = f" (asked for {asked.target})" if reply.target != asked.target else ""
    size = reply.size if reply.body or not reply.header("content-length") else ""
    if asked.method == "HEAD" and reply.header("content-length"):
        size = f"content-length {reply.header('content-length')[:20]}"
    lines = [" · ".join(one for one in (reply.told, kind, size, f"{reply.target}{hops}") if one)]
    if reply.note:
        lines.append(f"Note: {reply.note}")
    lines += [
        f"{name}: {' '.join(value.split())[:500]}"
        for name, value in reply.headers
        if name in _SHOWN or name.startswith(("ratelimit", "x-ratelimit", "x-rate-limit"))
    ][:40]
    cookies = sum(name == "set-cookie" for name, _ in reply.headers)
    if cookies:
        lines.append(f"set-cookie: {cookies}, not kept")
    return lines


def _body(reply: Reply, origin: Origin) -> tuple[list[ResultPart], str]:
    """What goes beside the text, and the text."""
    body, kind = reply.body, reply.kind
    if not body:
        return [], ""
    if kind in _IMAGES or kind == "application/pdf":
        return _attached(reply, origin)
    if is_text(kind) or (not kind and _looks_like_text(body)) or kind == "image/svg+xml":
        text = as_text(body, reply.header("content-type"), str(reply.target))
        if "json" in kind and reply.whole:
            text = _laid_out(text)
        return [], text if reply.whole else f"{text}\n\n(cut here: {reply.size} of the answer were read)"
    return [], f"({len(body):,} bytes{'' if reply.whole else ' and more'} that are no text: not shown)"


def _attached(reply: Reply, origin: Origin) -> tuple[list[ResultPart], str]:
    """An image or PDF that is what it says it is: a model's vendor refuses a whole request otherwise."""
    body, kind = reply.body, reply.kind
    name = _file_name(reply.target)
    marks = _IMAGES.get(kind, (b"%PDF-",))
    if not reply.whole or len(body) > MAX_ATTACHMENT_BYTES:
        return [], f"({kind}: more than {len(body):,} bytes, not shown)"
    if not body.startswith(marks) or (kind == "image/webp" and body[8:12] != b"WEBP"):
        return [], f"({len(body):,} bytes that are no {kind}: not shown)"
    if kind in _IMAGES:
        return [ImagePart(body, kind, origin, name)], f"({kind}, attached)"
    return [FilePart(body, kind, name or "document.pdf", origin)], f"({kind}, attached)"


def _file_name(target: Target) -> str:
    return clean(unquote(PurePosixPath(target.url.path).name))[:100]


def _looks_like_text(body: bytes) -> bool:
    try:
        return "\0" not in body[:-4].decode() if len(body) > 4 else "\0" not in body.decode()
    except UnicodeDecodeError:
        return False


def _laid_out(text: str) -> str:
    """JSON in lines where it is short, else without white space; each value as the server wrote it."""
    import msgspec

    try:
        raw = text.encode()
        tight = msgspec.json.format(raw, indent=-1).decode()
        return msgspec.json.format(raw, indent=2).decode() if len(tight) <= PRETTY else tight
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return text
