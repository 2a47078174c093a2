"""A request with a secret in it, from the broker: ruled, sent where the secret is bound to, cleaned of it.

The secret is put in here, so that it is nowhere else: not in the kernel that asks, and not in the answer.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec

from loom_nb.border import clean
from loom_nb.credentials import gate
from loom_nb.credentials.appliers import Material, Outgoing, applied
from loom_nb.credentials.broker.operations import Broke, Ended, Exchange, ExchangeBroke, Head
from loom_nb.credentials.broker.used import Used
from loom_nb.credentials.oauth2 import OAuth2Tokens
from loom_nb.credentials.places import place
from loom_nb.credentials.policies import Binding, SecretFacts
from loom_nb.credentials.reach import guard_of, used_for
from loom_nb.credentials.secrets import Secret
from loom_nb.credentials.store import SecretStore
from loom_nb.credentials.uses import Use
from loom_nb.errors import CredentialDenied, CredentialError, ToolError
from loom_nb.network.fetch import (
    SAFE_METHODS,
    Guard,
    Reply,
    Request,
    head_of,
    next_hop,
    words,
)
from loom_nb.network.pools import Packed, Pools, unpacked

if TYPE_CHECKING:
    import httpcore2

OVERRIDES = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
"""Headers by which some servers take one method for another."""

REROUTES = frozenset(
    {"x-original-url", "x-rewrite-url", "x-original-uri", "x-forwarded-uri", "x-forwarded-path"}
    | {"x-forwarded-prefix"}
)
"""Headers by which some servers take one path for another."""

_WRITTEN_HERE = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"}
    | {"expect", "accept-encoding", "proxy-connection", "proxy-authorization", "proxy-authenticate"}
    | {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
)
_OF_THE_WIRE = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-encoding", "trailer", "upgrade"}
)
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})

TOKEN_SECONDS = 30.0
MAX_TOKEN_ANSWER = 2**18

Tell = Callable[[Head | Ended | bytes], Awaitable[None]]
"""Where the answer goes: its head, pieces of its body, its end."""


class Exchanges:
    """Requests of one broker, on one event loop.

    Args:
        store: where the secrets are.
        used: what is taken out of answers.
        now: seconds since 1970 (UTC).
    """

    def __init__(self, store: SecretStore, used: Used, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._used = used
        self._now = now
        self._pools = Pools()
        self._tokens = OAuth2Tokens(self._post, now)

    async def carry_out(self, asked: Exchange, body: bytes, tell: Tell) -> None:
        """Send it, and tell the answer.

        Raises:
            CredentialError: the secret cannot be used for this.
            ToolError: the address is refused, or the server cannot be reached or does not answer.
        """
        try:
            async with asyncio.timeout(asked.seconds):
                await self._carried_out(asked, body, tell)
        except TimeoutError:
            title = f"no whole answer within {asked.seconds or 0:g} seconds"
            raise _broke(asked, title, "timeout", sent=True) from None
        except ExchangeBroke:
            raise
        except ToolError as error:  # of the guard, who tells what a tool can be given, and this is none
            raise ToolError(error.title, cause=error.cause) from None

    def forget(self, scope: str) -> None:
        """It was revoked, rotated or changed: no token of it is used any more."""
        self._tokens.forget(scope)

    async def _carried_out(self, asked: Exchange, body: bytes, tell: Tell) -> None:
        facts = await asyncio.to_thread(self._store.facts, asked.use.scope)
        guard = guard_of(facts.binding)
        try:
            hop = first_hop(asked, body, guard, facts.binding)
            use = used_for(asked.use, hop)
        except (ToolError, CredentialDenied) as error:
            await asyncio.to_thread(self._refuse, asked, guard, error)
            raise
        taken = await asyncio.to_thread(self._store.take, use)
        sealed, secret = taken
        if sealed.binding != facts.binding:
            raise CredentialDenied(f"the binding of {facts.scope} was changed meanwhile")
        self._used.add(facts.scope, secret.hidden())
        again = secret.type == "oauth2_client_credentials"
        for left in range(asked.redirects, -1, -1):
            follow = await self._hop(asked, hop, guard, taken, tell, again=again, left=left)
            if follow is None:
                return
            await asyncio.to_thread(self._check_still, sealed)
            again = again and follow is not hop
            if follow is not hop:
                await asyncio.to_thread(self._store.go_on, used_for(asked.use, follow), sealed)
            hop = follow
        raise _broke(asked, f"more than {asked.redirects} redirects", "protocol", sent=True)

    def _refuse(self, asked: Exchange, guard: Guard, error: ToolError | CredentialDenied) -> None:
        """Have it written down that a request is refused in any case; raise what the policy says of it."""
        if isinstance(error, ToolError):
            with contextlib.suppress(ToolError):
                target = guard.parsed(asked.url)
                ruling = self._store.ruling(used_for(asked.use, Request(asked.method, target)))
                if ruling.decision == "deny":
                    fixes = (f"%loom key show {asked.use.scope}", f"%loom key log {asked.use.scope}")
                    title = f"{asked.use.scope} may not be used"
                    raise CredentialDenied(title, cause=ruling.reason, fixes=fixes)
        use = msgspec.structs.replace(asked.use, method=clean(asked.method)[:20])
        self._store.refuse(use, f"{error.title}: {error.cause}" if error.cause else error.title)

    def _check_still(self, taken: SecretFacts) -> None:
        """Raise `CredentialError` where the secret was taken back or changed since it was taken."""
        now = self._store.facts(taken.scope)
        if (now.version, now.updated, now.binding, now.grants) != (
            taken.version, taken.updated, taken.binding, taken.grants,
        ):  # fmt: skip
            raise CredentialDenied(f"{taken.scope} was changed while it was used")

    async def _hop(
        self,
        asked: Exchange,
        hop: Request,
        guard: Guard,
        taken: tuple[SecretFacts, Secret],
        tell: Tell,
        *,
        again: bool,
        left: int,
    ) -> Request | None:
        """Send one request; the next one, or None where the answer was told."""
        facts, secret = taken
        material = await self._material(secret, facts, outgoing(hop))
        redactor = self._used.add(facts.scope, material.hidden)
        signed = _signed(hop, material, guard)
        timeouts = {"connect": asked.connect, "read": asked.silence, "write": asked.silence}
        sent = False
        try:
            async with self._pools.opened(signed, guard, timeouts) as response:
                sent = True
                reply = head_of(hop.target, response)
                if reply.status == HTTPStatus.UNAUTHORIZED and again:
                    self._tokens.refused(facts)
                    return hop
                follow = (
                    followed(hop, reply, facts, asked.use, guard, self._now())
                    if left and reply.redirects
                    else None
                )
                if follow is not None:
                    return follow
                head = Head(
                    reply.status,
                    tuple((redactor.text(name), redactor.text(value)) for name, value in _shown(hop, reply)),
                    redactor.text(str(hop.target)),
                    facts.scope,
                    facts.policy.mode,
                )
                await tell(head)
                await self._body(response, reply, asked.max_bytes, tell)
        except Packed as error:
            raise _broke(asked, f"{reply.told}, but {error}", "protocol", sent=True) from None
        except wire_errors() as error:
            what = redactor.text(words(error))
            raise _broke(asked, f"the connection failed: {what}", broken(error), sent=sent) from None
        return None

    async def _body(self, response: "httpcore2.Response", reply: Reply, most: int | None, tell: Tell) -> None:
        stream = self._used.redactor.stream()
        packing = reply.header("content-encoding").strip().lower()
        left = most
        async for chunk in unpacked(response.aiter_stream(), packing):
            made = stream.feed(chunk)
            if left is not None and len(made) > left:  # cleaned first, and cut after that
                await tell(made[:left])
                return await tell(Ended(whole=False))
            if made:
                await tell(made)
            left = None if left is None else left - len(made)
        await tell(stream.end()[:left])
        return await tell(Ended())

    async def _material(self, secret: Secret, facts: SecretFacts, request: Outgoing) -> Material:
        if secret.type == "oauth2_client_credentials":
            token = await self._tokens.bearer(secret, facts)
            await asyncio.to_thread(self._check_still, facts)  # asking for it may have taken a while
            return token
        return await asyncio.to_thread(applied, secret, facts, request, self._now())

    async def _post(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, object]:
        """Ask a token server: what it says, as JSON, or None. Its address is sealed with the secret."""
        to = place(url)
        guard = Guard("http", "token server", frozenset({(to.host, to.port)}))
        lines = (*headers.items(), ("content-type", "application/x-www-form-urlencoded"))
        request = Request("POST", guard.target(url), lines, urlencode(form).encode())
        answer = bytearray()
        try:
            async with asyncio.timeout(TOKEN_SECONDS):
                async with self._pools.opened(request, guard, {}) as response:
                    async for chunk in response.aiter_stream():
                        answer += chunk
                        if len(answer) > MAX_TOKEN_ANSWER:
                            return response.status, None
        except wire_errors() as error:  # which the end of the time is one of
            raise CredentialError("the token server does not answer", cause=type(error).__name__) from None
        try:
            return response.status, msgspec.json.decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return response.status, None


def first_hop(asked: Exchange, body: bytes, guard: Guard, binding: Binding) -> Request:
    """The request that is asked for, as it is judged.

    Raises:
        CredentialDenied: it is not one that everybody reads alike.
        ToolError: the address is refused.
    """
    if not re.fullmatch(r"[A-Z]{1,20}", asked.method) or asked.method in _REFUSED_METHODS:
        raise CredentialDenied(f"{clean(asked.method)[:40]!r} is no method that a secret goes with")
    target = guard.target(asked.url)
    headers = tuple((name, value) for name, value in asked.headers if name.lower() not in _WRITTEN_HERE)
    names = {name.lower().replace("_", "-") for name, _ in headers}
    if binding.methods and names & OVERRIDES:
        raise CredentialDenied(
            f"{asked.use.scope} is bound to {', '.join(binding.methods)}",
            cause="a header asks the server to take one method for another",
        )
    if binding.paths and names & REROUTES:
        raise CredentialDenied(
            f"{asked.use.scope} is bound to paths below {', '.join(binding.paths)}",
            cause="a header asks the server to take one path for another",
        )
    return Request(asked.method, target, headers, body)


def followed(
    hop: Request, reply: Reply, facts: SecretFacts, use: Use, guard: Guard, now: float
) -> Request | None:
    """The request that a redirect asks for, where the secret may go there, too; else None.

    Only within one origin; judged like the first one, of which it is a part: it is not counted again. But
    what a person said yes to is that one: a redirect may read elsewhere for it, not write.
    """
    if not reply.redirects:
        return None
    try:
        following = next_hop(hop, reply, guard)
        if following.target.origin != hop.target.origin:
            return None
        if facts.policy.uses is not None:
            facts = msgspec.structs.replace(facts, policy=msgspec.structs.replace(facts.policy, uses=1))
        if following.method not in SAFE_METHODS or following.body:
            use = msgspec.structs.replace(use, approved="")
        ruling = gate.ruling(facts, used_for(use, following), now)
    except (ToolError, CredentialDenied):
        return None
    return following if ruling.decision == "allow" else None


def outgoing(hop: Request) -> Outgoing:
    """A request as a secret is put into it."""
    headers: dict[str, str] = {}
    for name, value in hop.headers:
        lower = name.lower()
        headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
    return Outgoing(hop.method, str(hop.target), headers, hop.body)


def _signed(hop: Request, material: Material, guard: Guard) -> Request:
    made = material.put_into(outgoing(hop))
    target = guard.target(made.url)
    if target.origin != hop.target.origin:
        raise CredentialDenied("the secret would lead the request to another host")
    return Request(made.method, target, tuple(made.headers.items()), made.body)


def _shown(hop: Request, reply: Reply) -> Iterator[tuple[str, str]]:
    """The headers of an answer that still hold when it is told."""
    for name, value in reply.headers:
        if name not in _OF_THE_WIRE and (name != "content-length" or hop.method == "HEAD"):
            yield name, value


def wire_errors() -> tuple[type[Exception], ...]:
    """What a connection raises when it breaks, or cannot be made."""
    import httpcore2

    return (
        httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError,
        httpcore2.UnsupportedProtocol, OSError,
    )  # fmt: skip


def broken(error: Exception) -> Broke:
    """Where an exchange broke."""
    import httpcore2

    kinds: tuple[tuple[type[Exception], Broke], ...] = (
        (httpcore2.ConnectTimeout, "connect_timeout"),
        (httpcore2.TimeoutException, "timeout"),
        (httpcore2.ConnectError, "connect"),
        (httpcore2.ProtocolError, "protocol"),
    )
    return next((name for kind, name in kinds if isinstance(error, kind)), "network")


def _broke(asked: Exchange, title: str, broke: Broke, *, sent: bool) -> ExchangeBroke:
    unsure = sent and asked.method not in SAFE_METHODS
    cause = "the request may have been carried out all the same" if unsure else ""
    return ExchangeBroke(title, broke=broke, cause=cause)
