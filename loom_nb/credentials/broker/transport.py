"""The way of a model's SDK to its vendor through the broker, which puts the kept key into each request."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import httpx2

from loom_nb.credentials.broker.client import Answer, Broker
from loom_nb.credentials.broker.desk import FILE
from loom_nb.credentials.broker.operations import Broke, Exchange, ExchangeBroke
from loom_nb.credentials.places import NoPlace, covers_host, place
from loom_nb.credentials.policies import Binding, SecretFacts
from loom_nb.credentials.uses import Use
from loom_nb.errors import CredentialError, ToolError
from loom_nb.protocols import KEPT_KEY, current_run

_KEY_TYPES = ("api_key", "bearer_token")
_ERRORS: Mapping[Broke, type[httpx2.TransportError]] = {
    "connect": httpx2.ConnectError,
    "connect_timeout": httpx2.ConnectTimeout,
    "timeout": httpx2.ReadTimeout,
    "network": httpx2.ReadError,
    "protocol": httpx2.RemoteProtocolError,
}


class ModelKeys:
    """The keys of models in the store of secrets: that of a vendor is kept under the vendor's name.

    Args:
        broker: gives the broker; nothing is started where nothing was ever kept.
    """

    def __init__(self, broker: Callable[[], Broker]) -> None:
        self._broker = broker
        self._ways: dict[tuple[Broker, str], KeptKeyTransport] = {}

    def keeps(self, vendor: str) -> bool:
        """Whether there is one. Waits for the broker."""
        return self._facts(vendor) is not None

    def _facts(self, vendor: str) -> SecretFacts | None:
        broker = self._broker()
        if not (broker.home / FILE).exists():
            return None
        try:
            facts = broker.facts(vendor)
        except CredentialError:
            return None
        return facts if facts.type in _KEY_TYPES else None

    async def way(self, vendor: str, bound_to: str = "") -> httpx2.AsyncBaseTransport | None:
        """What sends requests with the key of a vendor in them.

        None where none is kept, or it may not go to the address `bound_to`, if one is given.
        """
        facts = await asyncio.to_thread(self._facts, vendor)
        if facts is None or (bound_to and not _covers(facts.binding, bound_to)):
            return None
        broker = self._broker()
        return self._ways.setdefault((broker, vendor), KeptKeyTransport(broker, vendor))


def _covers(binding: Binding, address: str) -> bool:
    try:
        to = place(address)
    except NoPlace:
        return False
    return any(covers_host(host, to) for host in binding.hosts)


class KeptKeyTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of an SDK through the broker; the key that they show stands for the kept one.

    Args:
        broker: sends them.
        vendor: whose key.
    """

    def __init__(self, broker: Broker, vendor: str) -> None:
        self._broker = broker
        self._vendor = vendor

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer, its body still to come.

        Raises:
            CredentialError: the key cannot be used.
            httpx2.TransportError: the server cannot be reached or does not answer.
        """
        body = await request.aread()
        limits = request.extensions.get("timeout", {})
        asked = Exchange(
            use=self._use(),
            method=request.method,
            url=str(request.url),
            headers=tuple(
                (name, value) for name, value in request.headers.multi_items() if KEPT_KEY not in value
            ),
            silence=limits.get("read"),
            connect=limits.get("connect"),
        )
        try:
            answer = await self._broker.exchange(asked, body)
        except ExchangeBroke as broke:
            raise _ERRORS[broke.broke](broke.title, request=request) from None
        except ToolError as error:  # the address is refused, or not known
            raise httpx2.ConnectError(error.title, request=request) from None
        body_of = _Body(answer, request)
        headers = list(answer.head.headers)
        return httpx2.Response(answer.head.status, headers=headers, stream=body_of, request=request)

    def _use(self) -> Use:
        run = current_run.get()
        who = f"model:{self._vendor}"
        if run is None:
            return Use(scope=self._vendor, who=who)
        return Use(
            scope=self._vendor, who=who, notebook=run.notebook, agent=run.agent, session=run.session_id,
            run=run.id,
        )  # fmt: skip


class _Body(httpx2.AsyncByteStream):
    """The body of an answer as httpx2 reads it."""

    def __init__(self, answer: Answer, request: httpx2.Request) -> None:
        self._answer = answer
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.chunks():
                yield chunk
        except ExchangeBroke as broke:
            raise _ERRORS[broke.broke](broke.title, request=self._request) from None
        except CredentialError as error:  # the broker itself ended: the next call starts it again
            raise httpx2.ReadError(error.title, request=self._request) from None

    async def aclose(self) -> None:
        await self._answer.close()
