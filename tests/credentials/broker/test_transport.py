"""Models with a key that is kept: the SDK sends through the broker, and no process but that one has the key."""

import asyncio
import os
import signal

import pytest

from loom_nb import Agent, MemoryStore, Model, SessionConfig
from loom_nb.credentials.broker import Broker
from loom_nb.credentials.broker.transport import ModelKeys
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.errors import KeyLocked, KeyNotGranted, LoomKeyError, NobodyToAsk
from loom_nb.models import kept_keys
from loom_nb.testing.wire import WireServer
from loom_nb.testing.wire_script import Calls, Drop, Fail, Say
from tests.capabilities.sites import serving

CANARY = "sk-canary-93f1b2c7d8e64a50"
NAMES = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "DEEPSEEK_API_KEY")


@pytest.fixture
def broker(tmp_path, monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    made = Broker(tmp_path / "secrets", master="file")
    keys = ModelKeys(lambda: made)
    before = kept_keys.come_from(lambda: keys)
    yield made
    kept_keys.come_from(before)
    made.stop()


def keep(broker, server, vendor, *, grants=None, mode="autonomous", value=CANARY):
    apply = "header:x-api-key" if vendor == "anthropic" else ""
    port = server.url.rpartition(":")[2].partition("/")[0]
    broker.put(
        vendor, "api_key", {"value": value},
        binding=Binding(hosts=(f"127.0.0.1:{port}",), plain=True, apply=apply),
        policy=CredentialPolicy(mode=mode), grants=(f"model:{vendor}",) if grants is None else grants,
    )  # fmt: skip


def model(vendor, server, **given):
    made = {"anthropic": Model.anthropic, "openai": Model.openai}.get(vendor)
    if made is None:
        return Model.from_name(f"{vendor}:m").__class__(
            vendor, "m", base_url=f"{server.url}/v1", key_env=("NO_KEY",)
        )
    base = server.url if vendor == "anthropic" else f"{server.url}/v1"
    return made("claude-test" if vendor == "anthropic" else "gpt-test", base_url=base, **given)


def shown(request):
    return request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix(
        "Bearer "
    )


async def run(spec, notebook=""):
    agent = Agent(spec, session_store=MemoryStore(), tools=[double])
    metadata = {"notebook": notebook} if notebook else {}
    async with agent.session(SessionConfig(metadata=metadata)) as session:
        return await session.run("go")


def double(x: int) -> int:
    """Twice as much."""
    return 2 * x


@pytest.mark.parametrize(
    ("vendor", "given"),
    [("anthropic", {}), ("openai", {}), ("openai", {"api": "responses"}), ("deepseek", {})],
)
async def test_a_real_sdk_answers_and_calls_tools_with_a_kept_key(broker, vendor, given):
    with WireServer([Calls(("double", {"x": 21})), Say("It is 42.")]) as server:
        keep(broker, server, vendor)
        result = await run(model(vendor, server, **given))
        assert (result.status, result.output) == ("completed", "It is 42."), result
        assert [shown(request) for request in server.requests] == [CANARY, CANARY]
        assert all("kept-by" not in repr(request.headers) for request in server.requests)
    rows = await asyncio.to_thread(broker.log, vendor)
    used = [row.use for row in rows if row.kind == "used"]
    assert [(use.who, use.run) for use in used] == [(f"model:{vendor}", result.id)] * 2


async def test_the_environment_comes_before_what_is_kept(broker, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-environment")
    with WireServer([Say("a"), Say("b")]) as server:
        keep(broker, server, "anthropic")
        spec = Agent(model("anthropic", server), session_store=MemoryStore())
        async with spec.session() as session:
            assert (await session.run("go")).output == "a"
            monkeypatch.delenv("ANTHROPIC_API_KEY")
            assert (await session.run("go")).output == "b"
        assert [shown(request) for request in server.requests] == ["sk-of-the-environment", CANARY]


async def test_an_answer_that_repeats_the_key_is_without_it(broker):
    with WireServer([Say(f"your key is {CANARY}!")]) as server:
        keep(broker, server, "anthropic")
        result = await run(model("anthropic", server))
    assert result.output == "your key is [secret anthropic]!"


async def test_a_key_that_is_refused_is_told_as_ever(broker):
    with WireServer([Fail(401, message=f"bad key {CANARY}")]) as server:
        keep(broker, server, "openai")
        result = await run(model("openai", server))
    assert (result.status, result.fault) == ("failed", "auth")
    assert CANARY not in repr(result)


async def test_a_stream_that_is_cut_is_tried_again(broker):
    with WireServer([Drop(), Say("whole")]) as server:
        keep(broker, server, "anthropic")
        result = await run(model("anthropic", server))
    assert (result.status, result.output) == ("completed", "whole")


async def test_a_broker_that_is_killed_in_the_middle_is_started_again(broker):
    with WireServer([Calls(("double", {"x": 1})), Say("done")]) as server:
        keep(broker, server, "anthropic")

        def kill(x: int) -> int:
            """Twice as much."""
            os.kill(broker.pid, signal.SIGKILL)
            return x

        kill.__name__ = "double"
        spec = Agent(model("anthropic", server), session_store=MemoryStore(), tools=[kill])
        result = await spec.run("go")
        assert (result.status, result.output) == ("completed", "done"), result


async def reply_error(spec):
    from loom_nb.messages import Conversation, user
    from loom_nb.protocols import Request

    client = spec.open()
    conversation = Conversation()
    conversation.add(user("go"))
    try:
        with pytest.raises(LoomKeyError) as told:
            await client.reply(Request("", conversation), lambda delta: None)
    finally:
        await client.close()
    return told.value


async def test_each_way_of_having_no_key_says_what_to_do(broker, tmp_path):
    with WireServer([]) as server:
        spec = model("anthropic", server)
        missing = await reply_error(spec)
        assert type(missing) is LoomKeyError
        assert missing.fixes[0].startswith("%loom key set anthropic")
        keep(broker, server, "anthropic", grants=("notebook:a.ipynb",))
        assert isinstance(denied := await reply_error(spec), KeyNotGranted)
        assert denied.fixes[0] == "%loom key grant anthropic --here"
        broker.change("anthropic", grants=(), policy=CredentialPolicy())
        assert isinstance(asks := await reply_error(spec), NobodyToAsk)
        assert asks.fixes[0] == "%loom key policy anthropic autonomous"
        broker.stop()
        (broker.home / "master.key").rename(tmp_path / "away")
        assert isinstance(locked := await reply_error(spec), KeyLocked)
        assert locked.fixes[0].startswith("%loom key unlock")
        assert server.requests == []


async def test_a_key_that_is_forgotten_is_missing_at_once(broker):
    with WireServer([Say("a")]) as server:
        keep(broker, server, "anthropic")
        spec = model("anthropic", server)
        assert (await run(spec)).output == "a"
        broker.revoke("anthropic")
        assert type(await reply_error(spec)) is LoomKeyError


async def test_a_grant_to_one_notebook_holds_there(broker):
    with WireServer([Say("a")]) as server:
        keep(broker, server, "anthropic", grants=("notebook:a.ipynb",))
        assert (await run(model("anthropic", server), "b.ipynb")).status == "failed"
        assert (await run(model("anthropic", server), "a.ipynb")).output == "a"
        assert len(server.requests) == 1


async def test_no_tool_can_use_the_key_of_a_model(broker):
    from loom_nb.credentials.broker import Exchange
    from loom_nb.credentials.uses import Use
    from loom_nb.errors import CredentialDenied

    with WireServer([]) as server:
        keep(broker, server, "anthropic")
        with pytest.raises(CredentialDenied):
            await broker.exchange(
                Exchange(Use(scope="anthropic", who="tool:http_request"), "GET", server.url)
            )
        assert server.requests == []


async def test_a_key_does_not_go_to_another_address(broker):
    async with serving() as other:
        with WireServer([]) as server:
            keep(broker, server, "anthropic")
        error = await reply_error(Model.anthropic("claude-test", base_url=f"http://127.0.0.1:{other.port}"))
        assert isinstance(error, KeyNotGranted) or "refused" in str(error)
        assert other.asked == []


def test_nothing_is_started_where_nothing_was_ever_kept(broker):
    assert not Model.anthropic("claude-test").has_key()
    assert broker.pid is None
    assert not broker.home.exists()


def test_a_kept_key_is_a_key(broker):
    with WireServer([]) as server:
        keep(broker, server, "anthropic")
    assert Model.anthropic("claude-test").has_key()
    assert not Model.openai("gpt").has_key()
