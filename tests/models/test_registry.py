"""Model references: names, addresses, keys, and what is opened for them."""

import copy
import pickle
import subprocess
import sys
from typing import Any

import pytest

from loom_nb import Model
from loom_nb.errors import LoomKeyError, LoomUsageError
from loom_nb.messages import Conversation, user
from loom_nb.models.registry import VENDORS
from loom_nb.protocols import Reply, Request
from loom_nb.testing import Say, WireServer


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch):
    for vendor in VENDORS.values():
        for name in (*vendor.key_env, *vendor.url_env):
            monkeypatch.delenv(name, raising=False)


def request() -> Request:
    return Request("", Conversation([user("hi")]))


async def ask(model: Model) -> Reply:
    opened = model.open()
    try:
        return await opened.reply(request(), lambda delta: None)
    finally:
        await opened.close()


# names


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_vendor_is_found_by_name_and_opens_under_that_name(vendor: str):
    model = Model.from_name(f"{vendor}:some/model:8b")

    assert (model.vendor, model.model, model.name) == (vendor, "some/model:8b", f"{vendor}:some/model:8b")
    assert model.open().name == model.name


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_alone_is_its_first_model(vendor: str):
    assert Model.from_name(vendor) == Model.from_name(f"{vendor}:{VENDORS[vendor].default}")


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_method_of_a_vendor_makes_what_its_name_makes(vendor: str):
    assert getattr(Model, vendor)("m") == Model.from_name(f"{vendor}:m")


def test_spaces_and_capitals_around_a_name_do_not_matter():
    assert Model.from_name("  Anthropic:claude-X ") == Model.anthropic("claude-X")
    assert Model.from_name("Offline").name == "offline:demo"


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("antropic:claude-x", "anthropic:claude-x"),
        ("opnai:gpt-4o", "openai:gpt-4o"),
        ("ofline", "offline"),
        ("claude-opus-4-1", "anthropic:claude-opus-4-1"),
        ("gpt-4o", "openai:gpt-4o"),
        ("MiniMax-M2", "minimax:MiniMax-M2"),
        ("compatible:x", 'Model.compatible("name", base_url="http://localhost:8000/v1")'),
        ("", "one of anthropic, openai, gemini, qwen, deepseek, minimax, ollama, offline"),
        ("vllm:qwen3", 'Model.compatible("qwen3", base_url="http://localhost:8000/v1")'),
        ("vLLM", 'Model.compatible("name", base_url="http://localhost:8000/v1")'),
        ("LM-Studio:gemma", 'Model.compatible("gemma", base_url="http://localhost:1234/v1")'),
        ("llama.cpp:x", 'Model.compatible("x", base_url="http://localhost:8080/v1")'),
        ("olama:x", "ollama:x"),
        ("xyzzy:plugh", "one of anthropic, openai, gemini, qwen, deepseek, minimax, ollama, offline"),
    ],
)
def test_a_name_that_is_none_says_what_may_be_meant(name: str, fix: str):
    with pytest.raises(LoomUsageError, match="there is no vendor") as caught:
        Model.from_name(name)

    assert caught.value.fixes == (fix,)


@pytest.mark.parametrize("make", [lambda: Model.openai(""), lambda: Model.anthropic(None), lambda: Model("qwen", "")])  # type: ignore[arg-type]  # fmt: skip
def test_a_model_without_a_name_is_refused(make: Any):
    with pytest.raises(LoomUsageError, match="which model of"):
        make()


def test_what_a_vendor_does_not_take_is_refused_by_name():
    with pytest.raises(LoomUsageError, match="Model has no option 'temperature' here"):
        Model.gemini("g", temperature=1)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_timeout_is_more_than_nothing(seconds: float):
    with pytest.raises(LoomUsageError, match="timeout"):
        Model.openai("m", timeout=seconds)


# a value


def test_equal_descriptions_are_equal_and_can_be_keys():
    options = {"service_tier": "flex"}

    assert Model.openai("m", options=options) == Model.openai("m", options=dict(options))
    assert Model.openai("m") != Model.openai("m", api="responses")
    assert Model.openai("m") != Model.openai("m", options=options)
    assert (
        len({Model.openai("m"), Model.openai("m"), Model.openai("m", options=options), Model.offline()}) == 3
    )
    assert Model.scripted(["a"]) != Model.scripted(["a"])


def test_a_reference_can_be_copied_and_pickled_and_holds_no_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret-0123456789")
    model = Model.anthropic("claude-x", options={"metadata": {"user_id": "u"}})

    assert pickle.loads(pickle.dumps(model)) == copy.deepcopy(model) == model
    assert b"sk-ant" not in pickle.dumps(model)
    assert repr(model) == "Model('anthropic:claude-x')"


def test_options_are_copied():
    options = {"seed": 1}
    model = Model.openai("m", options=options)
    options["seed"] = 2

    assert model.options == {"seed": 1}


def test_with_timeout_changes_nothing_else():
    model = Model.openai("m", base_url="http://localhost:1/v1", options={"seed": 1})

    assert model.with_timeout(5).timeout == 5
    assert model.with_timeout(5).with_timeout(model.timeout) == model


def test_opening_loads_no_sdk():
    code = (
        "import sys\n"
        "from loom_nb import Model\n"
        "[Model.from_name(name).open() for name in ('anthropic:m', 'openai:m', 'ollama:m')]\n"
        "print([name for name in ('anthropic', 'openai', 'httpx2', 'genai_prices') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[]"


# addresses


async def address(model: Model, server: WireServer) -> str:
    """The path at which a model's request arrives."""
    server.add(Say("ok"))
    await ask(model)
    return server.requests[-1].path


@pytest.mark.parametrize(
    ("vendor", "variable"),
    [(vendor.name, name) for vendor in VENDORS.values() for name in vendor.url_env],
)
async def test_the_environment_names_another_address(
    vendor: str, variable: str, monkeypatch: pytest.MonkeyPatch
):
    with WireServer() as server:
        monkeypatch.setenv(variable, server.url if vendor == "anthropic" else f"{server.url}/v1")
        for name in VENDORS[vendor].key_env:
            monkeypatch.setenv(name, "a-key")
        path = await address(Model.from_name(f"{vendor}:m"), server)

    assert path == ("/v1/messages" if vendor == "anthropic" else "/v1/chat/completions")


def test_every_vendor_has_a_variable_for_its_address():
    assert all(vendor.url_env for vendor in VENDORS.values())


async def test_an_address_that_is_given_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QWEN_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("DASHSCOPE_API_KEY", "a-key")
    with WireServer() as server:
        await address(Model.qwen("m", base_url=f"{server.url}/v1"), server)


async def test_the_first_variable_goes_before_the_second(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DASHSCOPE_BASE_URL", "http://127.0.0.1:9/v1")
    with WireServer() as server:
        monkeypatch.setenv("QWEN_BASE_URL", f" {server.url}/v1 ")
        await address(Model.qwen("m"), server)


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
async def test_ollama_is_found_with_and_without_v1(ending: str, monkeypatch: pytest.MonkeyPatch):
    with WireServer() as server:
        monkeypatch.setenv("OLLAMA_BASE_URL", server.url + ending)
        assert await address(Model.ollama("llama3.2"), server) == "/v1/chat/completions"
        assert await address(Model.ollama("llama3.2", base_url=server.url + ending), server) == (
            "/v1/chat/completions"
        )


def test_an_address_that_is_none_is_told_when_the_model_is_opened(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    with pytest.raises(LoomUsageError, match="'localhost:8000' is no address"):
        Model.openai("m").open()


# options, timeouts


OPTIONS = {"service_tier": "flex", "metadata": {"user_id": "u1"}}


@pytest.mark.parametrize(
    "make",
    [
        lambda url: Model.anthropic("m", base_url=url, options=OPTIONS),
        lambda url: Model.openai("m", base_url=f"{url}/v1", options=OPTIONS),
        lambda url: Model.openai("m", api="responses", base_url=f"{url}/v1", options=OPTIONS),
        lambda url: Model.compatible("m", base_url=f"{url}/v1", options=OPTIONS),
        lambda url: Model.gemini("m", base_url=f"{url}/v1", options=OPTIONS),
    ],
)
async def test_more_fields_of_the_body_are_sent(make: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key")
    with WireServer([Say("ok")]) as server:
        await ask(make(server.url))

    assert {name: server.requests[0].json[name] for name in OPTIONS} == OPTIONS


async def test_an_option_of_none_takes_a_field_away_and_a_mapping_is_merged(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key")
    options = {"max_tokens": None, "output_config": {"effort": "low"}}
    with WireServer([Say("ok")]) as server:
        await ask(Model.anthropic("m", base_url=server.url, options=options))

    assert "max_tokens" not in server.requests[0].json
    assert server.requests[0].json["output_config"] == {"effort": "low"}


@pytest.mark.parametrize("make", [Model.anthropic, Model.openai, Model.qwen])
@pytest.mark.parametrize(
    ("options", "told"),
    [({"messages": []}, "options cannot set 'messages'"), ({"x": object()}, "fields of a JSON body")],
)
def test_options_that_cannot_be_sent_are_refused_at_once(make: Any, options: dict[str, Any], told: str):
    with pytest.raises(LoomUsageError, match=told):
        make("m", options=options)


@pytest.mark.parametrize("vendor", ["anthropic", "openai"])
async def test_the_timeout_is_of_silence_not_of_the_whole_answer(
    vendor: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key")
    with WireServer([Say("a b c d e f g h i j", deltas=10).slow(0.4)]) as server:
        url = server.url if vendor == "anthropic" else f"{server.url}/v1"
        reply = await ask(getattr(Model, vendor)("m", base_url=url, timeout=3))

    assert reply.message.text == "a b c d e f g h i j"


# keys


def test_whether_a_key_is_there(monkeypatch: pytest.MonkeyPatch):
    model = Model.gemini("g")
    assert not model.has_key()

    monkeypatch.setenv("GEMINI_API_KEY", "  ")
    assert not model.has_key()

    monkeypatch.setenv("GOOGLE_API_KEY", "a-key")
    assert model.has_key()


@pytest.mark.parametrize(
    "model",
    [
        Model.offline(),
        Model.scripted([]),
        Model.ollama("m"),
        Model.compatible("m", base_url="http://far.example/v1"),
        Model.openai("m", base_url="http://localhost:8000/v1"),
    ],
)
async def test_models_that_need_no_key(model: Model):
    assert model.has_key()


async def test_what_has_key_says_is_what_a_call_finds(monkeypatch: pytest.MonkeyPatch):
    model = Model.openai("m", key_env="MY_KEY")
    assert not model.has_key()
    with pytest.raises(LoomKeyError, match="MY_KEY"):
        await ask(model)

    monkeypatch.setenv("MY_KEY", "mine")
    with WireServer([Say("ok")], key="mine") as server:
        await ask(Model.compatible("m", base_url=f"{server.url}/v1", key_env=("OTHER", "MY_KEY")))
