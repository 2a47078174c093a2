"""Addresses of model servers: what is refused, and that no login or query is ever shown."""

import logging
from typing import Any

import pytest

from loom_nb import Agent, MemoryStore, Model
from loom_nb.errors import LoomUsageError, ModelError
from loom_nb.messages import Conversation, user
from loom_nb.models import addresses
from loom_nb.models.openai import OpenAIChat
from loom_nb.models.registry import VENDORS
from loom_nb.protocols import Request
from loom_nb.testing import Fail, Say, WireServer

PASSWORD = "hunter2-hunter2"
KEY = "sk-0123456789abcdef"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch):
    for vendor in VENDORS.values():
        for name in (*vendor.key_env, *vendor.url_env):
            monkeypatch.delenv(name, raising=False)
        for name in vendor.key_env[:1]:
            monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("MY_KEY", KEY)


def at(vendor: str, address: str) -> Model:
    """A model of any vendor behind an address."""
    if vendor == "compatible":
        return Model.compatible("m", base_url=address, key_env="MY_KEY")
    made: Model = getattr(Model, vendor)("m", base_url=address)
    return made


every_vendor = pytest.mark.parametrize("vendor", [*VENDORS, "compatible"])


async def failure(model: Model) -> ModelError:
    opened = model.open()
    try:
        with pytest.raises(ModelError) as caught:
            await opened.reply(Request("", Conversation([user("hi")])), lambda _: None)
    finally:
        await opened.close()
    return caught.value


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://h:8000/v1", "http://h:8000/v1"),
        ("http://me:pw@h:8000/v1?key=k#f", "http://h:8000/v1"),
        ("htp://me:p@ss/w?rd#@h", "htp://h"),
        ("me:pw@h/v1", "h/v1"),
        ("localhost:8000", "localhost:8000"),
        ("h?u=http://me:pw@x", "x"),
        ("http://" + "h" * 500, "http://" + "h" * 193 + "…"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_login_and_query(address: str, shown: str):
    assert addresses.shown(address) == shown


@pytest.mark.parametrize(
    "address",
    [
        "htp://me:{}@h/v1",
        "me:{}@h/v1",
        "http://me:{}@h:99999/v1",
        "http://me:{}@h:-1/v1",
        "http://me:{}@h:port/v1",
        "http://me:{}@[::1/v1",
        "http://me:{}@/v1",
        "http://me:{}/x@h/v1",
        "http://me:{}@bad host/v1",
        "https:me:{}@h",
    ],
)
@every_vendor
async def test_an_address_that_is_none_is_refused_without_its_password(vendor: str, address: str):
    model = at(vendor, address.format(PASSWORD))
    with pytest.raises(LoomUsageError, match="is no address of a model server") as caught:
        model.open()
    result = await Agent(model, session_store=MemoryStore()).run("hi")

    assert (result.status, result.fault) == ("failed", "setup")
    assert "65535" in caught.value.cause
    told = f"{caught.value}{result.reason}{result.error}{result.events}{model!r}"
    assert "hunter2" not in told


@every_vendor
async def test_a_password_in_the_address_is_sent_and_never_told(
    vendor: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    with WireServer([Fail(400, message=f"http://me:{PASSWORD}@h/x?k=1 and {PASSWORD}"), Say("ok")]) as server:
        host = server.url.partition("://")[2]
        model = at(vendor, f"http://me:{PASSWORD}@{host}/v1")
        opened = model.open()
        asked = Request("", Conversation([user("hi")]))
        with pytest.raises(ModelError) as caught:
            await opened.reply(asked, lambda _: None)
        await opened.reply(asked, lambda _: None)
        await opened.close()

    assert all(sent.headers["authorization"].startswith("Basic ") for sent in server.requests)
    assert "hunter2" not in str(caught.value) + repr(opened) + caplog.text
    assert "http://h/x and [key]" in caught.value.title
    assert host in caplog.text  # the SDK did write the address


def test_the_repr_of_an_endpoint_holds_no_address():
    model = OpenAIChat("m", vendor="compatible", base_url=f"http://me:{PASSWORD}@h/v1")

    assert "hunter2" not in repr(model.endpoint) + repr(model)


def refusing() -> str:
    """An address where nobody listens."""
    with WireServer() as server:
        return server.url


@every_vendor
async def test_nobody_listening_on_this_machine_is_told_at_once(vendor: str):
    url = refusing()
    error = await failure(at(vendor, f"{url.replace('://', f'://me:{PASSWORD}@')}/v1?key=k"))

    assert (error.fault, error.passing) == ("connection", False)
    assert f"nobody listens at {url}" in error.title
    assert "hunter2" not in str(error)
    assert "key=k" not in str(error)
    start = "is `ollama serve` running?" if vendor == "ollama" else "start the model server"
    assert error.fixes[0].startswith(start)


PROXIED = "http://server.invalid/v1"


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sends all requests by way of a proxy."""
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    return lambda address: monkeypatch.setenv("HTTP_PROXY", address)


@pytest.mark.parametrize("vendor", ["anthropic", "compatible"])
async def test_a_refusal_elsewhere_may_pass(vendor: str, proxy: Any):
    proxy(refusing())
    error = await failure(at(vendor, PROXIED))

    assert (error.fault, error.passing) == ("connection", True)
    assert error.title.endswith("the connection was refused")


@pytest.mark.parametrize("vendor", ["anthropic", "compatible"])
async def test_a_port_that_is_none_is_a_clear_error_wherever_it_stands(vendor: str, proxy: Any):
    proxy(f"http://me:{PASSWORD}@127.0.0.1:99999")
    error = await failure(at(vendor, PROXIED))

    assert (error.fault, error.passing) == ("format", False)
    assert "port must be 0-65535" in error.title
    assert "TaskGroup" not in str(error)
    assert "HTTP_PROXY" in error.fixes[0]


@pytest.mark.parametrize("address", ["htp://me:{}@h", "http://me:{}@h:port"])
@pytest.mark.parametrize("vendor", ["anthropic", "compatible"])
async def test_a_proxy_that_cannot_be_is_a_clear_error(vendor: str, address: str, proxy: Any):
    proxy(address.format(PASSWORD))
    error = await failure(at(vendor, PROXIED))

    assert (error.fault, error.passing) == ("connection", False)
    assert "cannot be set up" in error.title
    assert "HTTP_PROXY" in error.fixes[0]
    assert "hunter2" not in str(error)


async def test_a_file_of_certificates_that_is_missing_is_a_clear_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSL_CERT_FILE", "none.pem")
    error = await failure(at("compatible", PROXIED))

    assert (error.fault, error.passing) == ("connection", False)
    assert "SSL_CERT_FILE" in error.fixes[0]


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("http://localhost:1/v1", True),
        ("http://127.8.0.1/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://me:127.0.0.1@example.com", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_this_machine_is_known_by_its_names(address: str, local: bool):
    assert addresses.is_local(address) is local
