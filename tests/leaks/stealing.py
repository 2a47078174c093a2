"""A model that does all it can to get at the secrets it may use: its runs, and all that is left of them."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from loom_nb import Agent, GovernancePolicy, Model, Runtime, SessionConfig, SqliteStore
from loom_nb.capabilities.http import HttpCapability
from loom_nb.credentials.broker import Broker
from loom_nb.credentials.policies import Binding
from loom_nb.testing.wire import WireServer
from loom_nb.testing.wire_script import Calls, Say
from tests.leaks.canaries import text
from tests.leaks.peers import Site, serving
from tests.leaks.world import LEAVE, World

OF_API_KEY = {"": "", ".header": "header:X-API-Key", ".templated": "header:Authorization=Token {value}",
              ".query": "query:key", ".path": "path:/bot{value}", ".body": "body:key"}  # fmt: skip
OVER_HTTP = ("basic_auth", "bearer_token", "oauth2_client_credentials", "jwt_signing_key", "aws_sigv4")


@dataclass
class Lair:
    """A broker whose secrets are bound to a site that echoes them."""

    broker: Broker
    site: Site
    elsewhere: Site
    scopes: tuple[str, ...]
    access_token: str = field(repr=False)


def lair(world: World) -> Lair:
    """The one of this world."""
    return world.once("lair", _lair)


def _lair(world: World) -> Lair:
    access_token = text("-._~")
    site, elsewhere = world.closing.enter_context(serving(world.marker(), access_token))
    broker = Broker(world.tmp / "secrets", master="file", apart=True)
    world.closing.callback(broker.stop)
    scopes = put_all(world, broker, site)
    return Lair(broker, site, elsewhere, scopes, access_token)


def put_all(world: World, broker: Broker, site: Site, **more: Any) -> tuple[str, ...]:
    """Keep all that goes over HTTP, bound to a site; their names."""
    scopes = []
    given = {"policy": LEAVE, **more}
    for name, apply in OF_API_KEY.items():
        one = world.canary("api_key")
        scopes.append(f"{one.scope}{name}")
        broker.put(
            scopes[-1],
            one.type,
            one.fields,
            binding=Binding(hosts=(site.host,), plain=True, apply=apply),
            **given,
        )
    for of in OVER_HTTP:
        one = world.canary(of)
        scopes.append(one.scope)
        fields = dict(one.fields)
        if of == "oauth2_client_credentials":
            fields["token_url"] = f"{site.url}/token"
        broker.put(one.scope, one.type, fields, binding=Binding(hosts=(site.host,), plain=True), **given)
    return tuple(scopes)


@dataclass
class Stolen:
    """What came of a run, wherever it is left."""

    result: Any
    asked: list[bytes]
    """The bodies of requests to the model."""
    entries: list[Any]
    home: Path

    @property
    def results(self) -> list[str]:
        """What the tools gave."""
        from loom_nb.events import CallFinished

        return [one.event.result.text for one in self.entries if isinstance(one.event, CallFinished)]

    @property
    def events(self) -> str:
        """All of the log, as JSON and as Python shows it."""
        from loom_nb.events import event_to_json

        return "\n".join(f"{event_to_json(one.event).decode()}\n{one!r}" for one in self.entries)


def calls(scopes: Sequence[str], url: str, **more: Any) -> list[tuple[str, dict[str, Any]]]:
    """One call with each secret."""
    return [("http_request", {"url": url, "credential": scope, **more}) for scope in scopes]


def steal(
    world: World, wanted: Sequence[tuple[str, dict[str, Any]]], *,
    model: Callable[[Model], Model] = lambda model: model, watch: Callable[[Any, Any], None] | None = None,
    capabilities: Sequence[Any] = (), scopes: Sequence[str] | None = None, broker: Broker | None = None,
    governance: GovernancePolicy | None = None,
) -> Stolen:  # fmt: skip
    """Let a model call tools, and keep all that is left.

    Args:
        world: whose secrets it may use.
        wanted: the calls, eight to a turn.
        model: what is put around the model.
        watch: is given each event, and the session.
        capabilities: more of them.
        scopes: the secrets that it is given; by default all.
        broker: with the secrets.
        governance: of its runs; by default only the secrets' own policies are asked.
    """
    den, home = lair(world), world.tmp
    turns = [Calls(*wanted[start : start + 8]) for start in range(0, len(wanted), 8)]

    async def go() -> Stolen:
        with WireServer([*turns, Say(den.site.marker)], strict=False) as server:
            used = HttpCapability(
                credentials=den.scopes if scopes is None else scopes, broker=broker or den.broker,
                allow=[("127.0.0.1", int(one.host.partition(":")[2])) for one in (den.site, den.elsewhere)],
            )  # fmt: skip
            agent = Agent(
                model(Model.anthropic("claude-test", base_url=server.url)),
                capabilities=[used, *capabilities], session_store=SqliteStore(home / "loom.db"), name="thief",
                runtime=Runtime(governance=governance or GovernancePolicy(mode="all")),
            )  # fmt: skip
            async with agent.session(SessionConfig(id="stolen")) as session:
                run = session.start(f"{den.site.marker}: get me the secrets")
                if watch is not None:
                    run.subscribe(lambda event: watch(event, session))
                result = await run
                entries = list(session.store.read(session.id))
            with contextlib.suppress(AttributeError):
                agent.session_store.close()  # type: ignore[union-attr]
            return Stolen(result, [one.body for one in server.requests], entries, home)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_API_KEY", "none")  # that of the model is no matter here
        made = asyncio.run(go())
    assert made.entries
    return made


def told(made: Stolen) -> dict[str, Any]:
    """The parts to be scanned."""
    return {
        "results": made.results,
        "requests": made.asked,
        "events": made.events,
        "files": made.home,
        "result": [repr(made.result), json.dumps(str(made.result))],
    }
