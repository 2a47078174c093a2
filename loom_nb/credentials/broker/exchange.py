"""A request with a secret in it, from the broker: ruled, sent where the secret is bound to, cleaned of it.

The secret is put in here, so that it is nowhere else: not in the kernel that asks, and not in the answer.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from loom_nb.border import clean
from loom_nb.credentials import gate
from loom_nb.credentials.appliers import Material, Outgoing, applied
from loom_nb.credentials.broker.operations import Broke, Ended, Exchange, ExchangeBroke, Head
from loom_nb.credentials.broker.used import Used
from loom_nb.credentials.oauth2 import OAuth2Tokens
from loom_nb.credentials.places import NoPlace, place, split_port
from loom_nb.credentials.policies import Binding, SecretFacts
from loom_nb.credentials.secrets import Secret
from loom_nb.credentials.store import SqliteSecretStore
from loom_nb.credentials.uses import Use
from loom_nb.errors import CredentialDenied, CredentialError, LoomError, ToolError
from loom_nb.network.fetch import (
    SAFE_METHODS,
    Guard,
    Reply,
    Request,
    Target,
    header_text,
    next_hop,
    resolve_host,
    words,
)
from loom_nb.network.pools import Packed, Pools, unpacked

if TYPE_CHECKING:
    import httpcore2

MAX_BODY = 64 * 2**20
"""Bytes of the body of a request."""
OVERRIDES = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
"""Headers by which some servers take one method for another."""

_WRITTEN_HERE = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"}
    | {"expect", "accept-encoding", "proxy-connection", "proxy-authorization", "proxy-authenticate"}
    | {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
)
_OF_THE_WIRE = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-encoding", "trailer", "upgrade"}
)
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})

Tell = Callable[[Head | Ended | bytes], Awaitable[None]]
"""Where the answer goes: its head, pieces of its body, its end."""


class Exchanges:
    """Requests of one broker, on one event loop.

    Args:
        store: where the secrets are.
        used: what is taken out of answers.
        now: seconds since 1970 (UTC).
    """

    def __init__(self, store: SqliteSecretStore, used: Used, now: Callable[[], float] = time.time) -> None:
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
        began = False

        async def told(part: Head | Ended | bytes) -> None:
            nonlocal began
            began = True
            await tell(part)

        try:
            async with asyncio.timeout(asked.seconds):
                await self._carried_out(asked, body, told)
        except TimeoutError:
            title = f"no whole answer within {asked.seconds:g} seconds"
            raise _broke(asked, title, "timeout", sent=True) from None

    def forget(self, scope: str) -> None:
        """It was revoked, rotated or changed: no token of it is used any more."""
        self._tokens.forget(scope)

    async def _carried_out(self, asked: Exchange, body: bytes, tell: Tell) -> None:
        facts = await asyncio.to_thread(self._store.facts, asked.use.scope)
        guard = guard_of(facts.binding)
        hop = first_hop(asked, body, guard)
        taken = await asyncio.to_thread(self._store.take, used_for(asked.use, hop))
        sealed, secret = taken
        if sealed.binding != facts.binding:
            raise CredentialDenied(f"the binding of {facts.scope} was changed meanwhile")
        self._used.add(facts.scope, secret.hidden())
        again = secret.type == "oauth2_client_credentials"
        for left in range(asked.redirects, -1, -1):
            follow = await self._hop(asked, hop, guard, taken, tell, again=again, left=left)
            if follow is None:
                return
            again = again and follow is not hop
            hop = follow
        raise _broke(asked, f"more than {asked.redirects} redirects", "protocol", sent=True)

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
                reply = _reply(hop.target, response)
                if reply.status == HTTPStatus.UNAUTHORIZED and again:
                    self._tokens.refused(facts)
                    return hop
                if left and reply.redirects and (follow := followed(hop, reply, facts, asked.use, guard)):
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
        except LoomError:
            raise
        except Exception as error:
            if (broke := broken(error)) is None:
                raise
            what = redactor.text(words(error))
            raise _broke(asked, f"the connection failed: {what}", broke, sent=sent) from None
        return None

    async def _body(self, response: "httpcore2.Response", reply: Reply, most: int | None, tell: Tell) -> None:
        stream = self._used.redactor.stream()
        packing = reply.header("content-encoding").strip().lower()
        left, whole = most, True
        async for chunk in unpacked(_chunks(response), packing):
            if left is not None and len(chunk) > left:
                chunk, whole = chunk[:left], False
            if made := stream.feed(chunk):
                await tell(made)
            if left is not None:
                left -= len(chunk)
            if not whole:
                break
        if made := stream.end():
            await tell(made)
        await tell(Ended(whole))

    async def _material(self, secret: Secret, facts: SecretFacts, request: Outgoing) -> Material:
        if secret.type == "oauth2_client_credentials":
            return await self._tokens.bearer(secret, facts)
        return await asyncio.to_thread(applied, secret, facts, request, self._now())
