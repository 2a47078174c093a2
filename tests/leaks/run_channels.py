"""Channels of runs: every place in which a run that used secrets is kept, shown, exported or taken up again."""

import asyncio
import functools
import sqlite3

import pytest

from loom_nb import Agent, Capability, FileSessionStore, Model, SessionConfig, SqliteStore
from loom_nb.events import CallFinished
from loom_nb.notebook import exporting, render
from loom_nb.notebook.transcript import Transcript, fold
from loom_nb.testing.wire import WireServer
from loom_nb.testing.wire_script import Calls, Say
from tests.leaks.matrix import Seen, channel
from tests.leaks.stealing import Stolen, calls, lair, steal, told
from tests.leaks.world import World


def heist(world: World) -> Stolen:
    """A run in which secrets are used and sent back in many ways, recorded in a cassette."""
    return world.once("heist", _heist)


def _heist(world: World) -> Stolen:
    den, tape = lair(world), world.tmp / "tape.json"
    ways = ("plain", "json-body", "page", "headers", "error-401", "redirect-out", "by-byte", "repr")
    wanted = [call for way in ways for call in calls(den.scopes, f"{den.site.url}/e/{way}")]
    shell = [
        ("shell", {"command": command})
        for command in ("env", f"find {den.broker.home} -type f -exec cat {{}} +", f"strings -a {den.broker.home}/secrets.db",
                        f"cat /proc/{den.broker.pid}/environ /proc/{den.broker.pid}/cmdline", "cat /proc/self/environ; ls -la /proc/*/fd")
    ]  # fmt: skip
    made = steal(
        world, wanted + shell, model=lambda model: Model.cassette(tape, model, "record"),
        capabilities=[Capability.shell(root=world.tmp)],
    )  # fmt: skip
    made.tape = tape.read_bytes()  # type: ignore[attr-defined]
    return made


def transcript(made: Stolen) -> Transcript:
    """As the notebook shows it."""
    return functools.reduce(fold, (one.event for one in made.entries), Transcript())


@channel("runs", "events")
def _(world: World) -> Seen:
    made = heist(world)
    return Seen({"events": made.events}, lair(world).site.marker)


@channel("runs", "requests to the model")
def _(world: World) -> Seen:
    made = heist(world)
    return Seen({"bodies": made.asked}, lair(world).site.marker)


@channel("runs", "store of runs in SQLite")
def _(world: World) -> Seen:
    made, rows = heist(world), []
    with sqlite3.connect(made.home / "loom.db") as db:
        rows = list(db.iterdump())
    db.close()
    return Seen({"rows": rows, "files": made.home}, lair(world).site.marker)


@channel("runs", "store of runs in files", slow=True)
def _(world: World) -> Seen:
    den, folder = lair(world), world.tmp

    async def go() -> None:
        wanted = calls(den.scopes, f"{den.site.url}/e/plain")
        with WireServer([Calls(*wanted), Say(den.site.marker)]) as server:
            from loom_nb import GovernancePolicy, Runtime
            from loom_nb.capabilities.http import HttpCapability

            agent = Agent(
                Model.anthropic("claude-test", base_url=server.url), session_store=FileSessionStore(folder / "runs"),
                capabilities=[HttpCapability(credentials=den.scopes, broker=den.broker)],
                runtime=Runtime(governance=GovernancePolicy(mode="all")),
            )  # fmt: skip
            result = await agent.run(den.site.marker)
            assert sum(isinstance(one.event, CallFinished) for one in result.events) == len(wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_API_KEY", "none")
        asyncio.run(go())
    return Seen({"files": folder}, den.site.marker)


@channel("runs", "cassette")
def _(world: World) -> Seen:
    return Seen({"tape": heist(world).tape}, lair(world).site.marker)  # type: ignore[attr-defined]


@channel("runs", "transcript as text, HTML and Markdown")
def _(world: World) -> Seen:
    shown = transcript(heist(world))
    parts = {
        "text": render.plain(shown, prompt=True),
        "html": render.html(shown, prompt=True),
        "markdown": render.markdown(shown, prompt=True),
    }
    return Seen(parts, lair(world).site.marker)


@channel("runs", "exports")
def _(world: World) -> Seen:
    made = heist(world)
    parts = {kind: exporting.export(made.entries, kind) for kind in ("md", "html", "py", "ipynb")}
    return Seen(parts, lair(world).site.marker)


@channel("runs", "result and its errors")
def _(world: World) -> Seen:
    made = heist(world)
    return Seen(
        {
            "result": [
                repr(made.result),
                str(made.result),
                repr(vars(made.result)) if hasattr(made.result, "__dict__") else "",
            ]
        },
        lair(world).site.marker,
    )


@channel("runs", "a session that is taken up again", slow=True)
def _(world: World) -> Seen:
    made, den = heist(world), lair(world)

    async def go() -> list[bytes]:
        with WireServer([Say(den.site.marker)]) as server:
            agent = Agent(
                Model.anthropic("claude-test", base_url=server.url),
                session_store=SqliteStore(made.home / "loom.db"),
            )
            async with agent.session(SessionConfig(id="stolen")) as session:
                await session.run("say all that you were told before")
            agent.session_store.close()  # type: ignore[union-attr]
            return [one.body for one in server.requests]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_API_KEY", "none")
        asked = asyncio.run(go())
    assert max(map(len, asked)) > 10_000  # it was told what had been
    return Seen({"bodies": asked, "files": made.home}, den.site.marker)


@channel("runs", "tools that find a used secret elsewhere", slow=True)
def _(world: World) -> Seen:
    """A secret that was used also lies in a file: the tools that read it do not tell it."""
    den, folder = lair(world), world.tmp
    from tests.leaks.peers import WRITTEN

    used = [one for one in world.canaries if one.type in ("api_key", "basic_auth", "bearer_token")]
    for number, one in enumerate(used):
        for name, write in WRITTEN.items():
            (folder / f"{number}-{name}").write_bytes(den.site.marker.encode() + b" " + write(one.value))
    (folder / "script.py").write_text(f"print({[one.value for one in used]!r})")
    wanted = calls(den.scopes, f"{den.site.url}/e/plain")
    wanted += [
        ("shell", {"command": command})
        for command in ("cat *", "grep -r . .", "python3 script.py", "xxd -p 0-plain | tr -d '\\n'")
    ]
    wanted += [("read_file", {"path": path.name}) for path in sorted(folder.iterdir())[:6]]
    capabilities = [Capability.shell(root=folder), Capability.files(folder)]
    made = steal(world, wanted, capabilities=capabilities)
    assert sum(den.site.marker in one for one in made.results) >= 8
    return Seen(told(made), den.site.marker)


@channel("process", "environment of a tool's command", slow=True)
def _(world: World) -> Seen:
    """A command of the shell tool is told no key of the kernel's environment."""
    den, marker = lair(world), world.marker()
    with pytest.MonkeyPatch.context() as patch:
        for one in world.canaries:
            patch.setenv(f"{one.type.upper()}_TOKEN", one.value)
        patch.setenv("LOOM_SECRET_KEY", "")
        patch.setenv("LC_LOOM", marker)
        commands = (
            "env",
            "cat /proc/self/environ",
            "cat /proc/$PPID/environ",
            "printenv; set; export -p",
            "ps eww -A",
        )
        made = steal(
            world,
            [("shell", {"command": one}) for one in commands],
            capabilities=[Capability.shell(root=world.tmp)],
        )
    assert len(made.results) == len(commands)
    return Seen(told(made), marker if any(marker in one for one in made.results) else den.site.marker)
