"""`http_request` with a secret by its name: the broker puts it in, so that no tool and no model has it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from loom_nb.border import clean
from loom_nb.capabilities.outgoing import leaving
from loom_nb.capabilities.secret_use import use_in_call
from loom_nb.credentials.broker import Answer, Broker, Exchange, ExchangeBroke
from loom_nb.credentials.places import DEFAULT_PORTS
from loom_nb.credentials.reach import guard_of, used_for
from loom_nb.credentials.uses import Use
from loom_nb.errors import CredentialError, ToolError
from loom_nb.events import SecretUsed
from loom_nb.network.fetch import SAFE_METHODS, Client, Guard, Reply, Request, next_hop
from loom_nb.protocols import Call, current_call
from loom_nb.tools import Assessment, Effect

TOOL = "http_request"
REDACTED = "[secret "
"""How the place of a secret begins that was taken out."""

Made = Callable[..., Request]
"""(guard, method, url, headers=, body=, json=, query=) → the request. Raises ToolError."""


@dataclass(frozen=True)
class Signed:
    """Requests with one of a few secrets in them.

    Args:
        scopes: the secrets that may be used.
        broker: uses them.
        guard: of the tool; a secret may go to its own hosts besides, and to none that `hosts` leaves out.
        made: makes a request of the tool's arguments.
    """

    scopes: tuple[str, ...]
    broker: Broker
    guard: Guard
    made: Made

    def about(self) -> str:
        """What the model is told of them."""
        return (
            " With `credential` the secret of that name is put into the request, for the hosts that it is "
            f"bound to: you never see it, nor need it. Granted: {', '.join(self.scopes)}."
        )

    def request(self, scope: str, method: str, url: str, **given: Any) -> Request:
        """The request of these arguments.

        Raises:
            ToolError: an argument is refused, or the secret was not granted.
            CredentialError: nothing is known of the secret.
        """
        if scope not in self.scopes:
            raise self.guard.error(
                f"'{clean(scope)[:100]}' is no secret that you were granted",
                cause=f"granted: {', '.join(self.scopes)}",
            )
        bound = guard_of(self.broker.facts(scope).binding)
        return self.made(replace(self.guard, allow=self.guard.allow | bound.allow), method, url, **given)

    def assessed(self, scope: str, method: str, url: str, **given: Any) -> Assessment:
        """What a request would do, told without asking anybody."""
        effects: frozenset[Effect] = frozenset({"writes", "network"})
        preview = clean(f"{method} {url}")[:500]
        try:
            request = self.request(scope, method, url, **given)
        except CredentialError as problem:
            return Assessment(effects, True, failure=str(problem), preview=preview)
        except ToolError as error:
            return Assessment(effects, True, refusal=str(error), preview=preview)
        seen = leaving(self.guard, request)
        return replace(
            seen,
            reasons=(*seen.reasons, f"uses the secret {scope}"),
            preview=f"{seen.preview}\n(with the secret {scope})",
            binds=scope,
        )

    def use_of(self, call: Call) -> Use | None:
        """The use of a secret that a call would be; None for one without."""
        given = dict(call.arguments)
        scope = given.pop("credential", None)
        if call.name != TOOL or not scope:
            return None
        why = str(given.pop("why", ""))
        use = Use(
            scope=scope, who=f"tool:{TOOL}", notebook=call.notebook, agent=call.agent, session=call.session,
            run=call.run, call=call.id, why=why, approved=call.approved,
        )  # fmt: skip
        return used_for(use, self.request(scope, **given))

    async def send(self, scope: str, why: str, request: Request, client: Client) -> Reply:
        """The answer; a redirect out of where the secret may go is followed without it, if it only reads.

        Raises:
            CredentialError: the secret cannot be used for this.
            ToolError: the server cannot be reached or does not answer.
        """
        asked = Exchange(
            use_in_call(scope, TOOL, why), request.method, str(request.target), request.headers,
            seconds=client.seconds, silence=client.seconds, max_bytes=client.max_bytes,
        )  # fmt: skip
        try:
            async with await self.broker.exchange(asked, request.body) as answer:
                tell(scope, request, answer)
                body = await answer.body()
        except ExchangeBroke as broke:
            tell(scope, request, None)
            raise self.guard.error(broke.title, cause=broke.cause) from None
        reply = Reply(
            self._answered(request, answer.head.url), answer.head.status, answer.head.headers, body,
            answer.whole is True,
        )  # fmt: skip
        return await self._followed(request, reply, client) if reply.redirects else reply

    async def _followed(self, request: Request, reply: Reply, client: Client) -> Reply:
        if request.method not in SAFE_METHODS or REDACTED in reply.header("location"):
            return replace(reply, note="the redirect was not followed: the secret does not go there")
        try:
            plain = replace(request, target=reply.target, headers=())
            following = await client.send(next_hop(plain, reply, self.guard))
        except ToolError as error:
            return replace(reply, note=f"the redirect was not followed: {error.title}")
        return replace(following, note=following.note or "redirected to there without the secret")

    def _answered(self, request: Request, url: str) -> Any:
        if url == str(request.target):
            return request.target
        host = (request.target.host, request.target.port)
        try:
            return replace(self.guard, allow=self.guard.allow | {host}).target(url)
        except ToolError:  # there was a secret in it
            return request.target


def tell(scope: str, request: Request, answer: Answer | None) -> None:
    """Keep the fact that a secret was used, where a run is told it."""
    context = current_call.get()
    if context is None:
        return
    target = request.target
    host = f"[{target.host}]" if ":" in target.host else target.host
    port = "" if target.port == DEFAULT_PORTS.get(target.url.scheme) else f":{target.port}"
    path = clean(target.path.partition("?")[0])[:500]
    mode = answer.head.mode if answer is not None else ""
    context.say(
        SecretUsed(scope, f"tool:{TOOL}", context.call_id, request.method, f"{host}{port}", path, mode)
    )
