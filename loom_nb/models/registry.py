"""Model: a frozen reference to a language model, and the vendors it may point at."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from loom_nb.errors import LoomUsageError
from loom_nb.messages import Usage
from loom_nb.models.scripted import Script, Scripted, ScriptedModel
from loom_nb.protocols import LanguageModel

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
    url_env: str = ""
    default: str = ""
    """A model to begin with."""


VENDORS: Mapping[str, Vendor] = {
    vendor.name: vendor
    for vendor in (
        Vendor(
            "anthropic", "messages", None, ("ANTHROPIC_API_KEY",), "ANTHROPIC_BASE_URL", "claude-sonnet-4-5"
        ),
        Vendor("openai", "chat", None, ("OPENAI_API_KEY",), "OPENAI_BASE_URL", "gpt-5.1"),
        Vendor(
            "gemini",
            "chat",
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            default="gemini-2.5-flash",
        ),
        Vendor(
            "qwen",
            "chat",
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
            ("DASHSCOPE_API_KEY",),
            default="qwen-plus",
        ),
        Vendor(
            "deepseek", "chat", "https://api.deepseek.com/v1", ("DEEPSEEK_API_KEY",), default="deepseek-chat"
        ),
        Vendor(
            "minimax", "chat", "https://api.minimax.chat/v1", ("MINIMAX_API_KEY",), default="MiniMax-Text-01"
        ),
        Vendor("ollama", "chat", "http://localhost:11434/v1", (), "OLLAMA_BASE_URL", "llama3.2"),
    )
}
"""The vendors by name. `compatible` stands beside them for any other address."""

_EMBEDDED = ("offline", "scripted", "cassette", "compatible")


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
    key_env: tuple[str, ...] = ()
    api: Api = "chat"
    timeout: float = 600.0
    """Seconds for a whole model call."""
    organization: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the embedded models."""

    def __post_init__(self) -> None:
        if not self.model or not isinstance(self.model, str):
            raise LoomUsageError(f"which model of {self.vendor}?", fixes=[f'Model.{self.vendor}("name")'])

    @property
    def name(self) -> str:
        """`vendor:model`, as `Model.from_name` takes it."""
        return f"{self.vendor}:{self.model}"

    # -- making one --------------------------------------------------------------------------------

    @classmethod
    def from_name(cls, name: str) -> "Model":
        """The model called `vendor:model`; "offline" alone is the demo model.

        Raises:
            LoomUsageError: the vendor is not known; says which are.
        """
        vendor, _, model = name.strip().partition(":")
        if vendor == "offline":
            return cls.offline()
        known = VENDORS.get(vendor)
        if known is None:
            near = difflib.get_close_matches(vendor, [*VENDORS, "offline"], 1)
            raise LoomUsageError(
                f"there is no vendor '{vendor}'",
                cause="a model is named vendor:model",
                fixes=[f"{near[0]}:…" if near else "one of " + ", ".join([*VENDORS, "offline"])],
            )
        return cls._of(known, model or known.default)

    @classmethod
    def _of(cls, vendor: Vendor, model: str, **given: Any) -> "Model":
        api = given.pop("api", None) or vendor.api
        env = given.pop("key_env", None)
        key_env = vendor.key_env if env is None else (env,) if isinstance(env, str) else tuple(env)
        base_url = given.pop("base_url", None) or vendor.base_url
        return cls(
            vendor.name, model, base_url, key_env, api, **{k: v for k, v in given.items() if v is not None}
        )

    @classmethod
    def anthropic(
        cls,
        model: str,
        *,
        base_url: str | None = None,
        key_env: str | Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> "Model":
        """A model of Anthropic, by the Messages API."""
        return cls._of(VENDORS["anthropic"], model, base_url=base_url, key_env=key_env, timeout=timeout)

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
    ) -> "Model":
        """A model of OpenAI, by Chat Completions or by Responses."""
        return cls._of(
            VENDORS["openai"],
            model,
            api=api,
            base_url=base_url,
            key_env=key_env,
            organization=organization,
            timeout=timeout,
        )

    @classmethod
    def gemini(cls, model: str, **options: Any) -> "Model":
        """A model of Google, by its compatible endpoint."""
        return cls._of(VENDORS["gemini"], model, **_allowed(options))

    @classmethod
    def qwen(cls, model: str, **options: Any) -> "Model":
        """A model of Alibaba."""
        return cls._of(VENDORS["qwen"], model, **_allowed(options))

    @classmethod
    def deepseek(cls, model: str = "deepseek-chat", **options: Any) -> "Model":
        """A model of DeepSeek."""
        return cls._of(VENDORS["deepseek"], model, **_allowed(options))

    @classmethod
    def minimax(cls, model: str = "MiniMax-Text-01", **options: Any) -> "Model":
        """A model of MiniMax."""
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
    ) -> "Model":
        """Any server that speaks OpenAI's protocol (vLLM, LM Studio, llama.cpp, a gateway)."""
        return cls._of(
            Vendor("compatible", api, base_url), model, base_url=base_url, key_env=key_env, timeout=timeout
        )

    @classmethod
    def offline(cls, *, pace: float = 0.0) -> "Model":
        """The embedded demo model: no key, no network, no cost; it follows rules and says so.

        Args:
            pace: seconds between the pieces it streams.
        """
        return cls("offline", "demo", options={"pace": pace} if pace else {})

    @classmethod
    def scripted(cls, replies: Sequence[Scripted], *, chunk: int = 0, delay: float = 0.0) -> "Model":
        """A model that answers from a script; see `loom_nb.models.scripted`."""
        if isinstance(replies, str):
            raise LoomUsageError(
                "a script is a list of replies", fixes=[f"Model.scripted([{replies[:40]!r}])"]
            )
        return cls("scripted", "script", options={"script": Script(replies), "chunk": chunk, "delay": delay})

    @classmethod
    def cassette(
        cls,
        path: str | Path,
        model: "Model | str",
        mode: Literal["auto", "record", "replay", "strict"] = "auto",
    ) -> "Model":
        """A model whose replies are recorded in a file and played from it; see `loom_nb.models.cassette`."""
        recorded = cls.from_name(model) if isinstance(model, str) else model
        return cls("cassette", recorded.name, options={"path": Path(path), "model": recorded, "mode": mode})

    @property
    def script(self) -> Script:
        """The script of a scripted model."""
        script = self.options.get("script")
        if not isinstance(script, Script):
            raise LoomUsageError(f"{self.name} has no script")
        return script

    def with_timeout(self, seconds: float) -> "Model":
        """The same model with another time limit for a call."""
        return replace(self, timeout=seconds)

    # -- using it ----------------------------------------------------------------------------------

    def open(self) -> LanguageModel:
        """A client. Nothing is sent, and no SDK is loaded, before its first call."""
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
                    self.options["path"], recorded.name, recorded.open, mode=self.options["mode"]
                )
            case "anthropic":
                from loom_nb.models.anthropic import AnthropicMessages

                return AnthropicMessages(
                    self.model, base_url=self._url(), key_env=self.key_env, timeout=self.timeout
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
        )

    def _url(self) -> str | None:
        import os

        vendor = VENDORS.get(self.vendor)
        if vendor is None or self.base_url != vendor.base_url or not vendor.url_env:
            return self.base_url
        url = os.environ.get(vendor.url_env) or self.base_url
        if self.vendor == "ollama" and url and not url.rstrip("/").endswith("/v1"):
            return url.rstrip("/") + "/v1"
        return url

    def has_key(self) -> bool:
        """Whether a key that this model needs is in the environment; True where it needs none."""
        import os

        return not self.key_env or any(os.environ.get(name) for name in self.key_env)

    def cost(self, usage: Usage) -> float | None:
        """US dollars of these tokens, or None where the price is not known."""
        if self.vendor in ("offline", "scripted"):
            return 0.0
        if self.vendor == "cassette":
            recorded: Model = self.options["model"]
            return recorded.cost(usage)
        if self.vendor in ("ollama", "compatible"):
            return None
        from loom_nb.models.prices import cost

        return cost(self.vendor, self.model, usage)

    def __repr__(self) -> str:
        return f"Model({self.name!r})"


def _allowed(options: dict[str, Any]) -> dict[str, Any]:
    known = ("base_url", "key_env", "timeout")
    for name in options:
        if name not in known:
            raise LoomUsageError(f"Model has no option '{name}' here", fixes=[", ".join(known)])
    return options
