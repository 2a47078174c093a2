"""Tokens of the OAuth 2 client credentials grant: asked for once, kept until they end or are revoked."""

import asyncio
import base64
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from loom_nb.credentials.appliers import Material
from loom_nb.credentials.places import NoPlace, is_loopback, place
from loom_nb.credentials.policies import SecretFacts
from loom_nb.credentials.secrets import Secret
from loom_nb.errors import CredentialError

EARLY_SECONDS = 30.0
"""A token that ends so soon is not used any more; of a short-lived one it is a tenth of its life."""
TOKEN_SECONDS = 3_600.0
"""How long a token is taken to be good, where its server does not say."""
MAX_TOKEN = 65_536
REMEMBERED = 1_000
"""How many tokens that are not used any more are still looked for in what comes back."""

PostForm = Callable[[str, Mapping[str, str], Mapping[str, str]], Awaitable[tuple[int, Any]]]
"""(address, form, headers) → (status, the answer's JSON or None). Follows no redirect, bounds the answer."""


@dataclass(slots=True)
class _Kept:
    """What is known of one version of one secret."""

    token: str = ""
    stale: float = -math.inf
    """When it is not used any more."""
    asking: "asyncio.Task[None] | None" = None
    forgotten: bool = False


class OAuth2Tokens:
    """Tokens by scope and version (RFC 6749, section 4.4). For one event loop.

    Args:
        post: how a token server is asked.
        now: seconds since 1970 (UTC).
    """

    def __init__(self, post: PostForm, now: Callable[[], float]) -> None:
        self._post = post
        self._now = now
        self._kept: dict[tuple[str, int], _Kept] = {}
        self._seen: deque[str] = deque(maxlen=REMEMBERED)

    async def bearer(self, secret: Secret, facts: SecretFacts) -> Material:
        """A token that is good for some time, as a bearer token. However many wait, one asks.

        Raises:
            CredentialError: the token server refuses, or answers with no token. Its words are not repeated:
                they may hold the secret.
        """
        self._drop_older(facts)
        kept = self._kept.setdefault((facts.scope, facts.version), _Kept())
        if not kept.token or kept.stale <= self._now():
            if kept.asking is None or kept.asking.done():
                kept.asking = asyncio.create_task(self._renew(kept, secret, facts))
                kept.asking.add_done_callback(_looked_at)
            # whoever is stopped does not stop the others, and a refusal is told to all who wait
            await asyncio.shield(kept.asking)
        if kept.forgotten:  # while it was asked for
            raise CredentialError(f"{facts.scope} was revoked or rotated meanwhile")
        return Material({"authorization": f"Bearer {kept.token}"}, hidden=(kept.token,))

    def forget(self, scope: str) -> None:
        """Use no token of a scope any more, also none that is on its way: it was rotated or revoked."""
        for name in [name for name in self._kept if name[0] == scope]:
            self._kept.pop(name).forgotten = True

    def refused(self, facts: SecretFacts) -> None:
        """Use the token of this version no more, but ask for another: a server did not take it."""
        if kept := self._kept.get((facts.scope, facts.version)):
            kept.stale = -math.inf

    def hidden(self) -> tuple[str, ...]:
        """All tokens of late, for redaction; also those that are not used any more."""
        return tuple(dict.fromkeys(self._seen))

    def _drop_older(self, facts: SecretFacts) -> None:
        for name in [name for name in self._kept if name[0] == facts.scope and name[1] < facts.version]:
            self._kept.pop(name).forgotten = True

    async def _renew(self, kept: _Kept, secret: Secret, facts: SecretFacts) -> None:
        """Here and not by those who wait: who comes before they go on finds the new one, too."""
        kept.token, kept.stale = await self._ask(secret, facts)

    async def _ask(self, secret: Secret, facts: SecretFacts) -> tuple[str, float]:
        url = _checked(secret.reveal("token_url"), facts)
        form = {"grant_type": "client_credentials"}
        if scopes := secret.reveal("scopes"):
            form["scope"] = scopes
        # each of the two form-encoded before base64: RFC 6749, section 2.3.1
        pair = f"{quote_plus(secret.reveal('client_id'))}:{quote_plus(secret.reveal('client_secret'))}"
        login = base64.b64encode(pair.encode()).decode()
        headers = {"authorization": f"Basic {login}", "accept": "application/json"}
        asked, what = self._now(), f"the token server of {facts.scope}"
        status, answer = await self._post(url, form, headers)
        if status != 200:
            raise CredentialError(f"{what} refused", cause=f"status {status}{_code(answer)}")
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN or not _sendable(token):
            raise CredentialError(f"{what} answered with no token")
        if str(answer.get("token_type", "Bearer")).lower() != "bearer":
            raise CredentialError(f"{what} gave a token that is no bearer token")
        self._seen.append(token)
        seconds = _seconds(answer.get("expires_in"))
        return token, asked + seconds - min(EARLY_SECONDS, seconds / 10)


def _looked_at(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()  # those who waited may all be gone


_CODES = ("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client",
          "unsupported_grant_type", "invalid_scope")  # fmt: skip
"""Those of RFC 6749, section 5.2. Nothing else that a server says is repeated."""


def _code(answer: Any) -> str:
    code = answer.get("error") if isinstance(answer, dict) else None
    return f", {code}" if code in _CODES else ""


def _checked(url: str, facts: SecretFacts) -> str:
    try:
        to = place(url)
    except NoPlace as problem:
        raise CredentialError(
            f"the token server of {facts.scope} cannot be asked", cause=str(problem)
        ) from None
    if to.scheme != "https" and not (to.scheme == "http" and facts.binding.plain and is_loopback(to.host)):
        cause = "its address begins with http:// and not with https://"
        raise CredentialError(f"the token server of {facts.scope} is not asked in clear", cause=cause)
    return url


def _sendable(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token


def _seconds(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return TOKEN_SECONDS
    return seconds if 0 <= seconds < 1e9 else TOKEN_SECONDS
