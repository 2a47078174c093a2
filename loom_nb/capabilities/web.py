"""Web pages as text, from public addresses only."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from loom_nb.border import clean
from loom_nb.capabilities.outgoing import leaving
from loom_nb.capabilities.pages import as_text, is_text
from loom_nb.errors import ToolError
from loom_nb.messages import Origin, TextPart
from loom_nb.network.fetch import Client, Guard, Request, checked_allow, checked_hosts
from loom_nb.protocols import Toolset
from loom_nb.tools import Assessment, tool

MAX_BYTES = 1_000_000
"""Bytes of a page that are read, also after decompression."""
MAX_SECONDS = 10.0
"""For the whole fetch with all its redirects."""

_HEADERS = (
    ("User-Agent", "loom-nb"),
    ("Accept", "text/html,text/*;q=0.9,application/json;q=0.9,application/xml;q=0.8"),
)


@dataclass(frozen=True)
class WebCapability:
    """The tool `web_fetch`.

    Args:
        allow: (host, port) pairs that need not be public.
        hosts: if any, only these hosts; "*.example.org" stands for all below example.org.

    Raises LoomUsageError for anything else.
    """

    allow: Iterable[tuple[str, int]] = ()
    hosts: Iterable[str] = ()
    name: str = field(default="web", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow", checked_allow("web", self.allow))
        object.__setattr__(self, "hosts", checked_hosts("web", self.hosts))

    async def open(self) -> Toolset:
        """The tool; a connection is made for each fetch and closed after it."""
        guard = Guard("web", "web_fetch", frozenset(self.allow), tuple(self.hosts))
        client = Client(guard, MAX_SECONDS, MAX_BYTES)

        async def web_fetch(url: str) -> list[TextPart]:
            """Read a public web page, JSON or text document as text.

            Args:
                url: the whole address, http or https.
            """
            return [await fetch(client, url)]

        def assess(url: str) -> Assessment:
            return assessed(guard, url)

        made = tool(effects=["reads", "network"], idempotent=True, timeout=MAX_SECONDS * 2, max_chars=40_000)(
            web_fetch
        )
        return Toolset(tools=(replace(made, assess=assess),))


def assessed(guard: Guard, url: str) -> Assessment:
    """What a fetch would do, told without asking anybody."""
    try:
        request = asked(guard, url)
    except ToolError as error:
        return Assessment(frozenset({"reads", "network"}), refusal=str(error), preview=clean(url)[:500])
    return leaving(guard, request)


def asked(guard: Guard, url: str) -> Request:
    """The request for a page. Raises ToolError where the address is refused."""
    return Request("GET", guard.target(url), _HEADERS)


async def fetch(client: Client, url: str) -> TextPart:
    """The page as text, under a line that says status, type, size and address.

    Raises:
        ToolError: the address is refused, the server cannot be reached or answers with an error,
            or what it has is no text.
    """
    request = asked(client.guard, url)
    reply = await client.send(request)
    kind = clean(reply.kind)[:60]
    if not 200 <= reply.status < 300:
        # the server's own words stay out of an error: an error has no origin that marks it as foreign
        raise client.guard.error(f"{reply.told}{f' · {kind}' if kind else ''}")
    if not is_text(reply.kind):
        raise client.guard.error(f"{reply.told}, but this is no text: content type '{kind or 'not given'}'")
    source = clean(str(reply.target))
    text = await asyncio.to_thread(as_text, reply.body, reply.header("content-type"), source)
    hops = f" (asked for {request.target})" if reply.target != request.target else ""
    head = f"{reply.told} · {reply.kind} · {reply.size} · {source}{hops}"
    return TextPart(clean(f"{head}\n\n{text}"), Origin("web", source))
