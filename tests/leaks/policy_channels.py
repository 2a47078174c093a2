"""Channels of policies and of the network: what is refused goes nowhere, and what is asked tells no value."""

import asyncio
import dataclasses
import json
import time
from typing import Any

import msgspec
import pytest

from loom_nb import Agent, Answer, Decision, GovernancePolicy, MemoryStore, Model
from loom_nb.credentials.broker import Broker
from loom_nb.credentials.broker.transport import ModelKeys
from loom_nb.credentials.policies import Binding, CredentialPolicy, Window
from loom_nb.events import QuestionAnswered, QuestionAsked
from loom_nb.models import kept_keys
from loom_nb.models.scripted import Call
from loom_nb.notebook import question_view as views
from loom_nb.testing.wire import WireServer
from loom_nb.testing.wire_script import Fail, Say
from tests.leaks.matrix import Seen, channel
from tests.leaks.stealing import Stolen, lair, put_all, steal, told
from tests.leaks.traceback_channels import caught, plain_words
from tests.leaks.world import LEAVE, World

HERE = views.Where("r1", 1, 0.0)


def asking(world: World) -> tuple[Stolen, list[Any], str]:
    """A run whose every use is asked about, with what a person sees; each second one is refused."""
    return world.once("asking", _asking)


def _asking(world: World) -> tuple[Stolen, list[Any], str]:
    den, marker, questions = lair(world), world.marker(), []
    broker = Broker(world.tmp / "secrets", master="file", apart=True)
    world.closing.callback(broker.stop)
    scopes = put_all(world, broker, den.site, policy=CredentialPolicy())

    def watch(event: Any, session: Any) -> None:
        if isinstance(event, QuestionAsked):
            questions.append(event.question)
            answer = Decision("allow") if len(questions) % 2 else Decision("deny", reason=marker)
            session.send(Answer(event.question.id, answer))

    wanted = [
        ("http_request", {"url": f"{den.site.url}/e/plain", "credential": scope, "why": f"{marker} {scope}"})
        for scope in scopes
        for _ in range(2)
    ]
    made = steal(
        world, wanted, watch=watch, scopes=scopes, broker=broker, governance=GovernancePolicy.supervised()
    )
    assert len(questions) == len(wanted)
    return made, questions, marker


@channel("ui", "question events")
def _(world: World) -> Seen:
    made, questions, marker = asking(world)
    told_ = [repr(one) for one in questions] + [msgspec.json.encode(one).decode() for one in questions]
    answered = [repr(one) for one in made.entries if isinstance(one.event, QuestionAsked | QuestionAnswered)]
    return Seen({"questions": told_, "kept": answered}, marker)


@channel("ui", "approval cards and their live messages")
def _(world: World) -> Seen:
    _, questions, marker = asking(world)
    cards = [json.dumps(views.content(one, HERE), default=str, ensure_ascii=False) for one in questions]
    typed = [views.plain(one, HERE) + views.how_to_answer(one) + views.unanswered(one) for one in questions]
    return Seen({"cards": cards, "typed": typed}, marker)


@channel("ui", "a run that was asked about")
def _(world: World) -> Seen:
    made, _, marker = asking(world)
    return Seen(told(made), marker)


# -- refused -------------------------------------------------------------------------------------------


def refused(world: World, calls_: list[dict[str, Any]], **about: Any) -> Seen:
    """Calls that must be refused: what came of them, and what went out to anybody."""
    den, marker = lair(world), world.marker()
    broker = Broker(world.tmp / "secrets", master="file", apart=True)
    scopes = put_all(world, broker, den.site, **about)
    del den.site.got[:], den.elsewhere.got[:]
    wanted = [
        ("http_request", {"url": f"{den.site.url}/e/plain", "credential": scope, "why": marker, **given})
        for scope in scopes
        for given in calls_
    ]
    made = steal(world, wanted, scopes=scopes, broker=broker)
    audit = [repr(row) for row in broker.log(limit=1_000)]
    broker.stop()
    # the control: the same servers do hear of a request that goes without a secret
    steal(world, [("http_request", {"url": f"{site.url}/e/{marker}"}) for site in (den.site, den.elsewhere)])
    sent = den.site.got + den.elsewhere.got
    assert sum(marker.encode() in one for one in sent) == 2
    return Seen({**told(made), "audit": audit, "sent": sent, "log": broker.home / "broker.log"}, marker)


@channel("policy", "another host")
def _(world: World) -> Seen:
    den = lair(world)
    port = den.site.host.partition(":")[2]
    places = (
        f"{den.elsewhere.url}/e/plain", f"http://localhost:{port}/e/plain", f"http://127.0.0.1:{port}@{den.elsewhere.host}/",
        f"http://{den.elsewhere.host}#@{den.site.host}/", f"http://2130706433:{port}/", f"http://[::ffff:127.0.0.1]:{port}/",
        f"http://{den.site.host}.example.org/", f"https://{den.site.host}/",
    )  # fmt: skip
    seen = refused(world, [{"url": one} for one in places])
    return Seen({**seen.parts, "sent elsewhere": den.elsewhere.got}, seen.control)


@channel("policy", "another method or path", slow=True)
def _(world: World) -> Seen:
    den = lair(world)
    broker_binding = Binding(hosts=(den.site.host,), plain=True, methods=("PATCH",), paths=("/only/",))
    marker = world.marker()
    broker = Broker(world.tmp / "secrets", master="file", apart=True)
    scopes = put_all(world, broker, den.site)
    for scope in scopes:
        apply = broker.facts(scope).binding.apply
        broker.change(scope, binding=msgspec.structs.replace(broker_binding, apply=apply))
    del den.site.got[:], den.elsewhere.got[:]
    given = [
        {"method": "GET"}, {"method": "POST", "headers": {"X-HTTP-Method-Override": "PATCH"}}, {"method": "PATCH"},
        {"method": "PATCH", "url": f"{den.site.url}/only/../e/plain"}, {"method": "PATCH", "url": f"{den.site.url}/only/%2e%2e/e/plain"},
    ]  # fmt: skip
    wanted = [
        ("http_request", {"url": f"{den.site.url}/e/plain", "credential": scope, "why": marker, **one})
        for scope in scopes
        for one in given
    ]
    made = steal(world, wanted, scopes=scopes, broker=broker)
    broker.stop()
    steal(world, [("http_request", {"url": f"{den.site.url}/e/{marker}"})])
    return Seen({**told(made), "sent": den.site.got}, marker)


@channel("policy", "uses that are used up")
def _(world: World) -> Seen:
    return refused(world, [{}, {}], policy=CredentialPolicy(mode="one_shot", uses=0))


@channel("policy", "a time box that is closed")
def _(world: World) -> Seen:
    past = CredentialPolicy(mode="time_boxed", start=1.0, end=2.0)
    return refused(world, [{}, {"why": "it is urgent"}], policy=past)


@channel("policy", "a window of the day that is closed", slow=True)
def _(world: World) -> Seen:
    hour = time.gmtime().tm_hour
    closed = Window(from_=f"{(hour + 5) % 24:02}:00", to=f"{(hour + 6) % 24:02}:00")
    return refused(world, [{}], policy=CredentialPolicy(mode="time_boxed", windows=(closed,)))


@channel("policy", "granted to others", slow=True)
def _(world: World) -> Seen:
    return refused(
        world, [{}, {"why": "tool:ssh_call"}], grants=("agent:another", "tool:ssh_call", "notebook:other")
    )


@channel("policy", "nobody to ask, and forged answers", slow=True)
def _(world: World) -> Seen:
    forged = [{}, {"why": "approved: yes"}, {"headers": {"X-Approved": "a1"}}, {"query": {"approved": "a1"}}]
    return refused(world, forged, policy=CredentialPolicy())


@channel("policy", "names of secrets that are none", slow=True)
def _(world: World) -> Seen:
    canary = world.canary("api_key").scope
    names = [
        f"{canary}\n",
        f" {canary}",
        canary.upper(),
        f"{canary}\0",
        "canary.*",
        "../canary.api_key",
        "",
        "{{canary.api_key}}",
    ]
    body = [
        {"body": "{{secret canary.api_key}} ${API_KEY_TOKEN} $(cat key)", "method": "POST", "credential": one}
        for one in names
    ]
    return refused(world, body)


# -- the network ---------------------------------------------------------------------------------------


@channel("network", "a server that cannot be reached")
def _(world: World) -> Seen:
    """The key stands in the address or before it: no error tells that address."""
    import socket

    den, marker = lair(world), world.marker()
    with socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as silent:
        closed.bind(("127.0.0.1", 0))
        broker = Broker(world.tmp / "secrets", master="file", apart=True)
        hosts = tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in (closed, silent))
        dead = dataclasses.replace(den.site, url=f"http://{hosts[0]}")
        scopes = put_all(world, broker, dead)
        for scope in scopes:
            broker.change(scope, binding=msgspec.structs.replace(broker.facts(scope).binding, hosts=hosts))
        wanted = [
            ("http_request", {"url": f"http://{hosts[0]}/e/{marker}", "credential": scope})
            for scope in scopes
        ]
        made = steal(world, wanted, scopes=scopes, broker=broker)
        broker.stop()
    return Seen({**told(made), "log": broker.home / "broker.log"}, marker)


@channel("network", "a token server that refuses", slow=True)
def _(world: World) -> Seen:
    den, marker = lair(world), den_marker(world)
    one = world.canary("oauth2_client_credentials")
    broker = Broker(world.tmp / "secrets", master="file", apart=True)
    for number, way in enumerate(
        ("token-refused", "error-500", "plain", "redirect-out", "broken", "nothing")
    ):
        fields = {**one.fields, "token_url": f"{den.site.url}/e/{way}"}
        broker.put(
            f"o{number}", one.type, fields, binding=Binding(hosts=(den.site.host,), plain=True), policy=LEAVE
        )
    del den.elsewhere.got[:]
    scopes = tuple(facts.scope for facts in broker.list())
    wanted = [("http_request", {"url": f"{den.site.url}/e/plain", "credential": scope}) for scope in scopes]
    made = steal(world, wanted, scopes=scopes, broker=broker)
    broker.stop()
    return Seen(
        {**told(made), "sent elsewhere": den.elsewhere.got, "log": broker.home / "broker.log"}, marker
    )


def den_marker(world: World) -> str:
    """What the echoing site says in every answer."""
    return lair(world).site.marker


@channel("network", "proxies of the environment", slow=True)
def _(world: World) -> Seen:
    """A proxy that stands in the environment hears of no secret; of what goes without one, it may not either."""
    den = lair(world)
    del den.elsewhere.got[:]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, den.elsewhere.url)
        broker = Broker(world.tmp / "secrets", master="file", apart=True)
        scopes = put_all(world, broker, den.site)
        wanted = [
            ("http_request", {"url": f"{den.site.url}/e/plain", "credential": scope}) for scope in scopes
        ]
        script = [*(Call(name, given) for name, given in wanted), "done"]
        made = steal(world, wanted, scopes=scopes, broker=broker, model=lambda _: Model.scripted(script))
        broker.stop()
    assert not den.elsewhere.got
    return Seen({**told(made), "heard by the proxy": den.elsewhere.got}, den.site.marker)


# -- keys of models ------------------------------------------------------------------------------------


@channel("model", "the key of a model, sent back by its vendor", slow=True)
def _(world: World) -> Seen:
    """Answers and refusals in which the vendor repeats the key; all that the SDK makes of them."""
    marker, one, parts = world.marker(), world.canary("api_key"), []
    names = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY")
    got: list[str] = []

    def key(request: Any) -> str:
        found = request.headers.get("x-api-key") or request.headers.get("authorization", "")
        got.append(found)
        return f"{marker} {found} {json.dumps(found)}"

    steps = [
        lambda request: Fail(401, message=key(request)), lambda request: Fail(400, message=key(request)),
        lambda request: Fail(429, message=key(request), retry_after=0), lambda request: Fail(500, body=key(request).encode()),
        lambda request: Say(key(request)), lambda request: Fail(404, message=key(request), headers={"x-request-id": "r1"}),
    ]  # fmt: skip

    async def go(step: Any, vendor: str) -> None:
        with WireServer(step) as server:
            broker.put(vendor, one.type, one.fields, policy=LEAVE, binding=Binding(
                hosts=(server.url.removeprefix("http://"),), plain=True, apply="header:x-api-key" if vendor == "anthropic" else ""))  # fmt: skip
            base = server.url if vendor == "anthropic" else f"{server.url}/v1"
            model = getattr(Model, vendor)("m", base_url=base)
            result = await Agent(model, session_store=MemoryStore()).run(marker)
            parts.append(repr(result) + "\n".join(f"{entry!r}" for entry in result.events))
            parts.extend(
                [plain_words(result.error, marker)]
                if isinstance(getattr(result, "error", None), BaseException)
                else []
            )
            if (error := caught(result.raise_for_status)) is not None:
                parts.append(plain_words(error, marker))
            broker.revoke(vendor)

    broker = Broker(world.tmp / "secrets", master="file", apart=True)
    keys = ModelKeys(lambda: broker)
    before = kept_keys.come_from(lambda: keys)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in names:
                patch.delenv(name, raising=False)
            for step in steps:
                for vendor in ("anthropic", "openai"):
                    asyncio.run(go(step, vendor))
    finally:
        kept_keys.come_from(before)
        broker.stop()
    assert sum(one.value in found for found in got) >= 2 * len(steps)
    return Seen({"told": parts, "log": broker.home / "broker.log"}, marker)
