"""The wire to OpenAI and to every server that speaks its protocols."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from loom_nb.errors import LoomUsageError
from loom_nb.events import Delta
from loom_nb.messages import Message
from loom_nb.models import addresses
from loom_nb.models.connection import DEFAULT_TIMEOUT, NO_KEY, Connection, Key, Reader, Sdk, find_key
from loom_nb.models.kept_keys import for_run
from loom_nb.models.openai_body import Head, HeadCache
from loom_nb.models.registry import OWN_FIELDS, VENDORS
from loom_nb.protocols import Reply, Request

_OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class Traits:
    """How one vendor's chat completions differ from the others, as far as it matters here."""

    max_tokens: str = "max_tokens"
    """The name of the field that limits the output."""
    schema: Literal["json_schema", "json_object", "none"] = "json_schema"
    """The most that `response_format` takes."""
    efforts: bool = True
    """Whether `reasoning_effort` is known."""
    thinking_back: Literal["", "reasoning_content", "tags"] = ""
    """How the reasoning of earlier messages goes back, where the vendor asks for it."""


TRAITS: Mapping[str, Traits] = {
    "openai": Traits(max_tokens="max_completion_tokens"),
    "deepseek": Traits(schema="json_object", thinking_back="reasoning_content"),
    "qwen": Traits(schema="json_object", efforts=False),
    "minimax": Traits(schema="none", efforts=False, thinking_back="tags"),
}
"""The vendors that are not like all others."""

_NEED_NO_KEY = frozenset({"ollama", "compatible"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Which model, where, and what goes along with every request to it."""

    vendor: str
    model: str
    """As the vendor calls it."""
    base_url: str | None = field(default=None, repr=False)
    """Where to call instead of the vendor's own address."""
    key_env: tuple[str, ...] = ()
    """Environment variables that may hold the key, instead of the vendor's own."""
    key: Key | None = None
    """By default that of the environment, read at each request, or else the one that is kept."""
    organization: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    """Seconds of silence after which a call is given up."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """More fields of the request body; a mapping is merged into ours, None takes a field away."""

    def __post_init__(self) -> None:
        if not self.model:
            raise LoomUsageError(f"which model of {self.vendor}?")
        if taken := sorted(OWN_FIELDS & self.options.keys()):
            raise LoomUsageError(f"options cannot set '{taken[0]}'", cause="the client writes it itself")
        if not self.address:
            raise LoomUsageError(
                f"vendor '{self.vendor}' needs a base_url", fixes=['base_url="http://localhost:8000/v1"']
            )

    @property
    def name(self) -> str:
        """`vendor:model`, as a person would type it."""
        return f"{self.vendor}:{self.model}"

    @property
    def traits(self) -> Traits:
        """How the vendor differs from others."""
        return TRAITS.get(self.vendor, Traits())

    @property
    def address(self) -> str:
        """Where to call."""
        known = VENDORS.get(self.vendor)
        own = (known and known.base_url) or (_OPENAI if self.vendor == "openai" else "")
        ambient = os.environ.get("OPENAI_BASE_URL", "") if self.vendor == "openai" else ""
        return self.base_url or ambient or own

    def find_key(self) -> Key:
        """The key to show: a placeholder where none is needed.

        Raises:
            LoomKeyError: one is needed, and there is none.
        """
        known = VENDORS.get(self.vendor)
        names = self.key_env or (known.key_env if known else ())
        needed = bool(self.key_env) or self.vendor not in _NEED_NO_KEY
        without = None if needed and not addresses.is_local(self.address) else NO_KEY
        return find_key(self.vendor, names, given=self.key, without=without)


class OpenAIConnection(Connection):
    """The way to an endpoint through OpenAI's SDK."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint.vendor, endpoint.model, endpoint.address, endpoint.timeout)
        self._endpoint = endpoint
        known = VENDORS.get(endpoint.vendor)
        self.keyed = known is not None and bool(known.key_env)

    def find_key(self) -> Key:
        """The key to show: a placeholder where none is needed."""
        return self._endpoint.find_key()

    def load(self) -> Sdk:
        """Import the SDK."""
        from openai import APIStatusError, AsyncStream, DefaultAsyncHttpxClient, OpenAIError

        return Sdk(APIStatusError, OpenAIError, AsyncStream, DefaultAsyncHttpxClient)

    def build(self, http: Mapping[str, Any]) -> Any:
        """The SDK's client."""
        from openai import AsyncOpenAI, Omit

        endpoint = self._endpoint
        ours = endpoint.vendor == "openai"
        # what the environment says of OpenAI is none of another vendor's business
        foreign: dict[str, Any] = {} if ours else {name: Omit() for name in _ambient_headers()}
        client = AsyncOpenAI(
            api_key=NO_KEY.reveal(),  # the real one goes with each request
            organization=endpoint.organization,
            default_headers=foreign,
            **http,
        )
        client.admin_api_key = None
        if not ours:
            client.organization, client.project = endpoint.organization, None
        return client

    def sign(self, client: Any, key: Key) -> Mapping[str, str]:
        """A header, which the SDK keeps out of its own log."""
        return {"Authorization": f"Bearer {key.reveal()}"}


class OpenAIReader(Reader, Protocol):
    """Makes a reply of the events of one stream of OpenAI's."""

    def reply(self, notices: tuple[str, ...]) -> Reply:
        """The whole answer. Raises ModelError where the stream had no proper end."""
        ...


class OpenAIModel(ABC):
    """A `LanguageModel` by one of OpenAI's protocols; nothing is loaded before its first call.

    Args:
        model: its name at the vendor.
        vendor: "openai", "ollama", "deepseek", "qwen", "minimax", "gemini" or "compatible".
        base_url: where to call instead of the vendor's own address.
        key_env: environment variables that may hold the key, instead of the vendor's own.
        api_key: the key itself; by default that of the environment, read at each request, or a kept one.
        organization: sent along.
        timeout: seconds of silence after which a call is given up.
        options: more fields of the request body; a mapping is merged into ours, None takes one away.

    Raises:
        LoomUsageError: the address or an option cannot be.
    """

    path: ClassVar[str]
    """Behind the base URL."""

    def __init__(
        self,
        model: str,
        *,
        vendor: str = "openai",
        base_url: str | None = None,
        key_env: Sequence[str] = (),
        api_key: str | None = None,
        organization: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        key = Key(api_key) if api_key else None
        where = (base_url, tuple(key_env), key, organization, timeout, options or {})
        self.endpoint = Endpoint(vendor, model, *where)
        self.name = self.endpoint.name
        self._connection = OpenAIConnection(self.endpoint)
        self._heads = HeadCache(self.head)

    @property
    @abstractmethod
    def dialect(self) -> str:
        """The name of the encoded fragments in a conversation."""

    @abstractmethod
    def head(self, request: Request) -> Head:
        """The start of a body, up to its first message."""

    @abstractmethod
    def encode_message(self, message: Message) -> bytes:
        """One message in the protocol's form; may be several items, joined by commas, or nothing."""

    @abstractmethod
    def reader(self, emit: Callable[[Delta], None], stem: str) -> OpenAIReader:
        """A reader for one stream; calls that come without an id are named after `stem`."""

    async def reply(self, request: Request, emit: Callable[[Delta], None]) -> Reply:
        """Answer; see `LanguageModel`."""
        body = self.encode(request)
        notices = self._heads.get(request).notices
        reader = self.reader(emit, f"call_{request.conversation.added}")
        with for_run(request.run):
            await self._connection.stream(self.path, body, reader)
        return reader.reply(notices)

    def encode(self, request: Request) -> bytes:
        """The exact body that `reply` would send."""
        head = self._heads.get(request).body
        fragments = request.conversation.fragments(self.dialect, self.encode_message)
        if request.working is not None:
            fragments = (*fragments, self.encode_message(request.working))
        messages = b",".join(filter(None, fragments))
        between = b"" if head.endswith(b"[") or not messages else b","
        return b"".join((head, between, messages, b"]}"))

    async def close(self) -> None:
        """Let go of connections. May be called twice."""
        await self._connection.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def _ambient_headers() -> list[str]:
    """Names of the headers that the SDK takes from the environment, meant for OpenAI only."""
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    return [line.partition(":")[0].strip() for line in lines if ":" in line]
