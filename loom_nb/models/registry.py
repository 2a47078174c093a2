"""Model: a frozen reference to a language model, and the vendors it may point at."""

import difflib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import msgspec

from loom_nb.checks import check, checked, mapping, number, one_of, path_of, shown, text, texts, whole
from loom_nb.errors import LoomUsageError
from loom_nb.messages import Usage
from loom_nb.models import kept_keys
from loom_nb.models.addresses import is_local
from loom_nb.models.scripted import Script, Scripted, ScriptedModel
from loom_nb.protocols import Clock, LanguageModel

if TYPE_CHECKING:
    from loom_nb.models.routing import Rules

Api = Literal["messages", "chat", "responses"]


@dataclass(frozen=True, slots=True)
class Vendor:
    """Where a vendor's models are, and which environment variables hold its key and address."""

    name: str
    api: Api
    base_url: str | None = None
    """None: the SDK's own."""
    key_env: tuple[str, ...] = ()
    """Empty: it needs no key."""
    url_env: tuple[str, ...] = ()
    """Where another address is looked for, in order: a gateway, or the vendor's other region."""
    default: str = ""
    """A model to begin with."""


VENDORS: Mapping[str, Vendor] = {
    vendor.name: vendor
    for vendor in (
        Vendor(
            "anthropic",
            "messages",
            key_env=("ANTHROPIC_API_KEY",),
            url_env=("ANTHROPIC_BASE_URL",),
            default="claude-sonnet-4-5",
        ),
        Vendor(
            "openai",
            "chat",
            key_env=("OPENAI_API_KEY",),
            url_env=("OPENAI_BASE_URL",),
            default="gpt-5.1",
        ),
        Vendor(
            "gemini",
            "chat",
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            ("GEMINI_BASE_URL",),
            "gemini-2.5-flash",
        ),
        Vendor(
            "qwen",
            "chat",
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
            ("DASHSCOPE_API_KEY",),
            ("QWEN_BASE_URL", "DASHSCOPE_BASE_URL"),
            "qwen-plus",
        ),
        Vendor(
            "deepseek",
            "chat",
            "https://api.deepseek.com/v1",
            ("DEEPSEEK_API_KEY",),
            ("DEEPSEEK_BASE_URL",),
            "deepseek-chat",
        ),
        Vendor(
            "minimax",
            "chat",
            "https://api.minimax.chat/v1",
            ("MINIMAX_API_KEY",),
            ("MINIMAX_BASE_URL",),
            "MiniMax-Text-01",
        ),
        Vendor("ollama", "chat", "http://localhost:11434/v1", (), ("OLLAMA_BASE_URL",), "llama3.2"),
    )
}
"""The vendors by name. `compatible` stands beside them for any other address."""

OWN_FIELDS = frozenset({"model", "messages", "system", "input", "instructions", "stream", "tools"})
"""Fields of a request body that a client writes itself: no option may set them."""


_SECONDS = "a number of seconds"
_WANTED = {
    "base_url": text(filled=True, optional=True, such_as='"http://localhost:8000/v1"'),
    "key_env": texts(alone=True, such_as='"MY_API_KEY"'),
    "api": one_of("messages", "responses", "chat"),
    "timeout": number(above=0, unit=_SECONDS, such_as="600"),
    "organization": text(optional=True),
    "options": mapping(such_as='{"top_k": 5}'),
}


class Group(Protocol):
    """Several models that are used as one."""

    @property
    def members(self) -> "tuple[Model, ...]":
        """The models."""
        ...

    def open(self) -> LanguageModel:
        """A client that chooses between them."""
        ...

    def window(self) -> int | None:
        """Tokens that a request to it may have."""
        ...

    def replaced(self, members: "tuple[Model, ...]") -> Self:
        """The same of other models."""
        ...


@dataclass(frozen=True, slots=True)
class Model:
    """A frozen reference to a language model; a session opens it.

    Make one by vendor (`Model.anthropic("…")`), by address (`Model.compatible(base_url=…)`), or
    without any (`Model.offline()`, `Model.scripted([...])`). It holds no key: the key is read from
    the environment when a run needs it.
    """

    vendor: str
    model: str
    base_url: str | None = None
    """None: what the environment says at the time of opening, or else the vendor's own."""
    key_env: tuple[str, ...] = ()
    api: Api = "chat"
    timeout: float = 600.0
    """Seconds of silence on the wire after which a call is given up; what keeps coming may take longer."""
    organization: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """More fields of each request body, in the vendor's words; for an embedded model, its own options.

    A field of a wrong type or out of range is a LoomUsageError.

    Models are equal when all their fields are; two scripts are never equal.
    """

    def __post_init__(self) -> None:
        if not self.model or not isinstance(self.model, str):
            raise LoomUsageError(f"which model of {self.vendor}?", fixes=[f'Model.{self.vendor}("name")'])
        check(self, _WANTED, called=f"Model.{self.vendor}")

    @property
    def name(self) -> str:
        """`vendor:model`, as `Model.from_name` takes it; of a fallback chain `vendor:model|vendor:model`."""
        return self.model if self.vendor == "fallback" else f"{self.vendor}:{self.model}"

    # -- making one --------------------------------------------------------------------------------

    @classmethod
    def from_name(cls, name: str) -> "Model":
        """The model called `vendor:model`; "offline" alone is the demo model.

        `vendor:model|vendor:model` is a chain of them: see `Model.fallback`.

        Raises:
            LoomUsageError: the vendor is not known; says which are.
        """
        if not isinstance(name, str):
            raise LoomUsageError(
                f"Model.from_name({shown(name)})",
                cause="a model is named vendor:model",
                fixes=['Model.from_name("anthropic:claude-sonnet-4-5")', "Model.offline()"],
            )
        if "|" in name:
            return cls.fallback(*(one for one in name.split("|")))
        vendor, _, model = name.strip().partition(":")
        known = VENDORS.get(vendor.lower())
        if vendor.lower() == "offline":
            return cls.offline()
        if known is None:
            raise _no_vendor(vendor, model)
        return cls._of(known, model or known.default)

    @classmethod
    def _of(cls, vendor: Vendor, model: str, **given: Any) -> "Model":
        made = f"Model.{vendor.name}"
        key_env = checked(made, "key_env", given.pop("key_env", None) or (), _WANTED["key_env"])
        options = _checked(checked(made, "options", given.pop("options", None) or {}, _WANTED["options"]))
        fields: dict[str, Any] = {"key_env": key_env or vendor.key_env, "api": vendor.api, "options": options}
        told = {name: value for name, value in given.items() if value is not None}
        return cls(vendor.name, model, **(fields | told))

    @classmethod
    def anthropic(
        cls,
        model: str,
        *,
        base_url: str | None = None,
        key_env: str | Sequence[str] | None = None,
        timeout: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> "Model":
        """A model of Anthropic, by the Messages API. For `options` see `Model.openai`."""
        return cls._of(
            VENDORS["anthropic"],
            model,
            base_url=base_url,
            key_env=key_env,
            timeout=timeout,
            options=options,
        )

    @classmethod
    def openai(
        cls,
        model: str,
        *,
        api: Literal["chat", "responses"] = "chat",
        base_url: str | None = None,
        key_env: str | Sequence[str] | None = None,
        organization: str | None = None,
        timeout: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> "Model":
        """A model of OpenAI, by Chat Completions or by Responses.

        Args:
            model: its name at the vendor.
            api: which of the two protocols.
            base_url: where to call instead of the vendor's own address.
            key_env: the environment variable, or several in order, that may hold the key.
            organization: sent along.
            timeout: seconds of silence on the wire after which a call is given up.
            options: more fields of the request body; a mapping is merged into ours, None takes one away.
        """
        return cls._of(
            VENDORS["openai"],
            model,
            api=api,
            base_url=base_url,
            key_env=key_env,
            organization=organization,
            timeout=timeout,
            options=options,
        )

    @classmethod
    def gemini(cls, model: str, **options: Any) -> "Model":
        """A model of Google, by its compatible endpoint."""
        return cls._of(VENDORS["gemini"], model, **_allowed(options))

    @classmethod
    def qwen(cls, model: str, **options: Any) -> "Model":
        """A model of Alibaba.

        The international address is https://dashscope-intl.aliyuncs.com/compatible-mode/v1: give it as
        `base_url`, or set QWEN_BASE_URL.
        """
        return cls._of(VENDORS["qwen"], model, **_allowed(options))

    @classmethod
    def deepseek(cls, model: str = "deepseek-chat", **options: Any) -> "Model":
        """A model of DeepSeek."""
        return cls._of(VENDORS["deepseek"], model, **_allowed(options))

    @classmethod
    def minimax(cls, model: str = "MiniMax-Text-01", **options: Any) -> "Model":
        """A model of MiniMax.

        The international address is https://api.minimax.io/v1: give it as `base_url`, or set
        MINIMAX_BASE_URL.
        """
        return cls._of(VENDORS["minimax"], model, **_allowed(options))

    @classmethod
    def ollama(cls, model: str, **options: Any) -> "Model":
        """A model that runs on this machine under Ollama; needs no key."""
        return cls._of(VENDORS["ollama"], model, **_allowed(options))

    @classmethod
    def compatible(
        cls,
        model: str,
        *,
        base_url: str,
        key_env: str | Sequence[str] = (),
        api: Literal["chat", "responses"] = "chat",
        timeout: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> "Model":
        """Any server that speaks OpenAI's protocol (vLLM, LM Studio, llama.cpp, a gateway)."""
        return cls._of(
            Vendor("compatible", api),
            model,
            base_url=base_url,
            key_env=key_env,
            timeout=timeout,
            options=options,
        )

    @classmethod
    def offline(cls, *, pace: float = 0.0) -> "Model":
        """The embedded demo model: no key, no network, no cost; it follows rules and says so.

        Args:
            pace: seconds between the pieces it streams.
        """
        pace = checked("Model.offline", "pace", pace, number(0, unit=_SECONDS, such_as="0.05"))
        return cls("offline", "demo", options={"pace": pace} if pace else {})

    @classmethod
    def scripted(cls, replies: Sequence[Scripted], *, chunk: int = 0, delay: float = 0.0) -> "Model":
        """A model that answers from a script; see `loom_nb.models.scripted`."""
        if not isinstance(replies, Sequence) or isinstance(replies, str):
            shown_reply = repr(replies[:40]) if isinstance(replies, str) else '"a reply"'
            raise LoomUsageError("a script is a list of replies", fixes=[f"Model.scripted([{shown_reply}])"])
        chunk = checked("Model.scripted", "chunk", chunk, whole(0, such_as="8"))
        delay = checked("Model.scripted", "delay", delay, number(0, unit=_SECONDS, such_as="0.05"))
        return cls("scripted", "script", options={"script": Script(replies), "chunk": chunk, "delay": delay})

    @classmethod
    def cassette(
        cls,
        path: str | Path,
        model: "Model | str",
        mode: Literal["auto", "record", "replay", "strict"] = "auto",
    ) -> "Model":
        """A model whose replies are recorded in a file and played from it; see `loom_nb.models.cassette`.

        Args:
            path: the file; need not exist.
            model: the model that is recorded.
            mode: "auto" plays what is recorded and asks for the rest; "record" begins the file anew;
                "replay" never asks; "strict" never asks and wants the order of the recording.
        """
        from loom_nb.models.cassette import Cassette

        path = checked("Model.cassette", "path", path, path_of("a file", such_as='"a.json"'))
        recorded = cls._named(model)
        return cls("cassette", recorded.name, options={"cassette": Cassette(path, mode), "model": recorded})

    @classmethod
    def fallback(
        cls,
        *models: "Model | str",
        on: Collection[str] | None = None,
        cool_down: float = 60.0,
        patience: float = 5.0,
        clock: Clock | None = None,
    ) -> "Model":
        """A chain of models: where one fails, the next one answers in the same turn.

        By name: `Model.from_name("anthropic:…|openai:…")`. What happens when:

        * A model fails by a fault that another one may not have, and nothing of its answer has been shown:
          the next one is asked at once. After the first delta the call fails as it does without a chain.
        * A rate limit that is over within `patience` seconds is waited for, once; then the next is asked.
        * A model that failed rests for as long as its vendor says, or else `cool_down` seconds: until then
          nobody waits for it. A model without a key is passed over and does not rest.
        * What is wrong with the request (format, context_overflow, …) is no reason to change: the runtime
          compacts, or the run ends. A model that stands in for another may fail in any other way.
        * All failed: the call fails by the fault that may be over soonest, of equals the last model's, and
          that model alone is free at the next attempt. So the runtime's RetryPolicy repeats, waits and
          gives up as it does for a single model; the chain itself never repeats but as told above.
        * `Reply.model` names the one that answered. Its notices tell who stands in for whom and why: when
          that changes, and at each new instruction. What it costs is what the one that answered costs.

        Args:
            models: in order of preference; a Model or its name.
            on: the faults, of `loom_nb.errors.Fault`; by default auth, billing, rate_limit, overloaded,
                server_error, timeout, connection, cut_stream and model_not_found. With "content_filter" an
                answer that is refused before its first word counts as well.
            cool_down: seconds.
            patience: seconds.
            clock: tells the time, and waits.

        Raises:
            LoomUsageError: fewer than two models, or one or a fault that there is not.
        """
        from loom_nb.models.fallback import Chain, FallbackPolicy

        if len(models) < 2:
            raise LoomUsageError(
                "a chain has at least two models", fixes=['Model.fallback("anthropic:…", "openai:…")']
            )
        members = tuple(cls._named(one) for one in models)
        return cls._grouped("fallback", Chain(members, FallbackPolicy.of(on, cool_down, patience, clock)))

    @classmethod
    def route(cls, rules: "Rules", *, default: "Model | str") -> "Model":
        """A model that is chosen for each task, by plain facts about the request; nobody is asked.

            Model.route({"vision": "gemini:…", "code": "anthropic:…", "cheap": "openai:…"}, default="…")
            Model.route([(lambda facts: "SQL" in facts.instruction, "qwen:…")], default="openai:…")

        The first rule that applies counts, else `default`. A model whose window is known to be too small is
        passed over. Once chosen it stays for the task: between a call and its result the model changes only
        where the request does not fit any more. A notice tells of each change, `Reply.model` who answered.

        Args:
            rules: a strength of `loom_nb.models.routing.STRENGTHS` ("vision", "files", "long context",
                "code", "reasoning", "tools", "cheap") or a function of `routing.Facts` that says yes or no,
                and the model for it; in order.
            default: for all else.

        Raises:
            LoomUsageError: no rule, or a strength that there is not.
        """
        from loom_nb.models.routing import Router

        return cls._grouped("route", Router.of(rules, cls._named(default), cls._named))

    @classmethod
    def _named(cls, model: "Model | str") -> "Model":
        if isinstance(model, Model | str):
            return cls.from_name(model) if isinstance(model, str) else model
        raise LoomUsageError(f"a Model or its name is needed, not a {type(model).__name__}")

    @classmethod
    def _grouped(cls, vendor: str, group: Group) -> "Model":
        keys = tuple(dict.fromkeys(name for one in group.members for name in one.key_env))
        return cls(vendor, str(group), key_env=keys, options={"group": group})

    @property
    def members(self) -> "tuple[Model, ...]":
        """The models that a chain or a route chooses between; none of a plain model."""
        return self._group.members if self._group is not None else ()

    @property
    def _group(self) -> Group | None:
        return self.options["group"] if self.vendor in ("fallback", "route") else None

    @property
    def script(self) -> Script:
        """The script of a scripted model."""
        script = self.options.get("script")
        if not isinstance(script, Script):
            raise LoomUsageError(f"{self.name} has no script")
        return script

    def with_timeout(self, seconds: float) -> "Model":
        """The same model with another time limit for silence on the wire."""
        if self._group is None:
            return replace(self, timeout=seconds)
        members = tuple(one.with_timeout(seconds) for one in self.members)
        return replace(self, timeout=seconds, options={"group": self._group.replaced(members)})

    # -- using it ----------------------------------------------------------------------------------

    def open(self) -> LanguageModel:
        """A client. Nothing is sent, and no SDK is loaded, before its first call.

        Where the environment holds several of its keys, they are tried in order.
        """
        if self._group is not None:
            return self._group.open()
        if len(self.key_env) > 1:
            from loom_nb.models.fallback import with_keys

            return with_keys(self)
        return self.open_plain()

    def open_plain(self) -> LanguageModel:
        """A client that shows one key only: the first that is set."""
        match self.vendor:
            case "scripted":
                return ScriptedModel(self.script, chunk=self.options["chunk"], delay=self.options["delay"])
            case "offline":
                from loom_nb.models.offline import OfflineModel

                return OfflineModel(**self.options)
            case "cassette":
                from loom_nb.models.cassette import CassetteModel

                recorded: Model = self.options["model"]
                return CassetteModel(
                    self.options["cassette"],
                    recorded.name,
                    recorded.open,
                    options=_asked(recorded),
                    key_env=recorded.key_env,
                )
            case "anthropic":
                from loom_nb.models.anthropic import AnthropicMessages

                return AnthropicMessages(
                    self.model,
                    base_url=self._url(),
                    key_env=self.key_env,
                    timeout=self.timeout,
                    options=self.options,
                )
        from loom_nb.models.openai import OpenAIChat, OpenAIResponses

        client = OpenAIResponses if self.api == "responses" else OpenAIChat
        return client(
            self.model,
            vendor=self.vendor,
            base_url=self._url(),
            key_env=self.key_env,
            organization=self.organization,
            timeout=self.timeout,
            options=self.options,
        )

    def _url(self) -> str | None:
        vendor = VENDORS.get(self.vendor)
        ambient = (os.environ.get(name, "").strip() for name in vendor.url_env) if vendor else ()
        url = self.base_url or next(filter(None, ambient), None) or (vendor.base_url if vendor else None)
        if self.vendor == "ollama" and url and not url.rstrip("/").endswith("/v1"):
            return url.rstrip("/") + "/v1"
        return url

    def has_key(self) -> bool:
        """Whether a key that this model needs is in the environment, or kept; True where it needs none."""
        if self.members:
            return any(one.has_key() for one in self.members)
        if not self.key_env or any(os.environ.get(name, "").strip() for name in self.key_env):
            return True
        if self.vendor in VENDORS and self.api != "messages" and is_local(self._url() or ""):
            return True
        source = kept_keys.source()
        return source is not None and source.keeps(self.vendor)

    def cost(self, usage: Usage, answered: str = "") -> float | None:
        """US dollars of these tokens, or None where the price is not known.

        Args:
            usage: of one reply.
            answered: `Reply.model`: of a chain or a route it tells whose price counts. Without it theirs is
                only known where all cost the same.
        """
        if self.members:
            leaves = list(_leaves(self))
            known = [one for one in leaves if one.name == answered] or leaves
            prices = {one.cost(usage, answered) for one in known}
            return prices.pop() if len(prices) == 1 else None
        if self.vendor in ("offline", "scripted"):
            return 0.0
        if self.vendor == "cassette":
            recorded: Model = self.options["model"]
            return recorded.cost(usage, answered)
        if self.vendor in ("ollama", "compatible"):
            return None
        from loom_nb.models.prices import cost

        return cost(self.vendor, self.model, usage)

    def cost_at_most(self, usage: Usage) -> float | None:
        """US dollars that these tokens cost at most, whichever model of a chain or a route answers.

        Those of its models whose price is not known do not count; None where none is known.
        """
        if self.vendor == "cassette":
            recorded: Model = self.options["model"]
            return recorded.cost_at_most(usage)
        if not self.members:
            return self.cost(usage)
        return max((known for one in _leaves(self) if (known := one.cost(usage)) is not None), default=None)

    def window(self) -> int | None:
        """Tokens that it can take, request and answer together, or None where that is not known."""
        if self._group is not None:
            return self._group.window()
        if self.vendor == "cassette":
            recorded: Model = self.options["model"]
            return recorded.window()
        if self.vendor in ("offline", "scripted", "ollama", "compatible"):
            return None
        from loom_nb.models.prices import window

        return window(self.vendor, self.model)

    def __repr__(self) -> str:
        return f"Model({self.name!r})"


def _leaves(model: Model) -> Iterator[Model]:
    """The plain models of a group and of the groups in it."""
    for one in model.members or ():
        yield from _leaves(one) if one.members else (one,)


def _asked(model: Model) -> dict[str, Any]:
    """The fields that a model, or each of a group, adds to its requests."""
    if model.members:
        return {one.name: asked for one in _leaves(model) if (asked := _asked(one))}
    return {} if model.vendor in ("offline", "scripted", "cassette") else dict(model.options)


def _no_vendor(vendor: str, model: str) -> LoomUsageError:
    """What to type instead of a name that is none."""
    low = vendor.lower()
    names = [*VENDORS, "offline"]
    near = difflib.get_close_matches(low, names, 1)
    known = [one.name for one in VENDORS.values() if low.startswith(one.default.lower().partition("-")[0])]
    if low in _MADE:
        fix = _MADE[low]
    elif _plain(low) in _SERVERS:
        fix = f'Model.compatible("{model or "name"}", base_url="{_SERVERS[_plain(low)]}")'
    elif known and not model and "-" in vendor:
        fix = f"{known[0]}:{vendor}"
    elif near:
        fix = f"{near[0]}:{model}" if model else near[0]
    else:
        fix = "one of " + ", ".join(names)
    cause = "a model is named vendor:model"
    return LoomUsageError(f"there is no vendor '{vendor}'", cause=cause, fixes=[fix])


_MADE = {
    "compatible": 'Model.compatible("name", base_url="http://localhost:8000/v1")',
    "scripted": 'Model.scripted(["a reply"])',
    "cassette": 'Model.cassette("file.json", "vendor:model")',
    "fallback": "vendor:model|vendor:model",
    "route": 'Model.route({"code": "vendor:model"}, default="vendor:model")',
}
"""Models that a name alone cannot make."""


_SERVERS = {
    "vllm": "http://localhost:8000/v1",
    "sglang": "http://localhost:30000/v1",
    "tgi": "http://localhost:8080/v1",
    "llamacpp": "http://localhost:8080/v1",
    "llamafile": "http://localhost:8080/v1",
    "lmstudio": "http://localhost:1234/v1",
    "localai": "http://localhost:8080/v1",
    "litellm": "http://localhost:4000/v1",
    "jan": "http://localhost:1337/v1",
}
"""Servers that speak OpenAI's protocol, with the addresses at which they listen unless told otherwise."""


def _plain(vendor: str) -> str:
    """A name without what people put between its parts."""
    return "".join(letter for letter in vendor if letter.isalnum())


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Fields for a request body, a copy."""
    if taken := sorted(OWN_FIELDS & options.keys()):
        raise LoomUsageError(f"options cannot set '{taken[0]}'", cause="the client writes it itself")
    try:
        msgspec.json.encode(options)
    except (TypeError, ValueError) as error:
        raise LoomUsageError("options are fields of a JSON body", cause=str(error)) from None
    return dict(options)


def _allowed(options: dict[str, Any]) -> dict[str, Any]:
    known = ("base_url", "key_env", "timeout", "options")
    for name in options:
        if name not in known:
            raise LoomUsageError(f"Model has no option '{name}' here", fixes=[", ".join(known)])
    return options
