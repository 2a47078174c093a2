"""Channels of SSH: a machine that sends back what one logged in with, and all that goes wrong on the way."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh

from loom_nb import Agent, GovernancePolicy, MemoryStore, Model, Runtime
from loom_nb.capabilities.ssh import SshCapability
from loom_nb.credentials.broker import Broker
from loom_nb.credentials.policies import Binding
from loom_nb.events import CallFinished, event_to_json
from loom_nb.models.scripted import Call
from tests.credentials.ssh_servers import Shells
from tests.leaks.matrix import Seen, channel
from tests.leaks.peers import WRITTEN
from tests.leaks.traceback_channels import caught, plain_words
from tests.leaks.world import LEAVE, World


class Machine:
    """An SSH server in a thread of its own with a real shell, in whose folder lies what one logs in with."""

    def __init__(self, password: str, key: asyncssh.SSHKey) -> None:
        self.password = password
        self.key: asyncssh.SSHKey | None = key
        self.shells = Shells(0, asyncssh.generate_private_key("ssh-ed25519"))
        self.heard: list[str] = []
        """Passwords that were tried."""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()

    def run(self, ready: threading.Event) -> None:
        """Serve until the end."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(ready))

    def stop(self) -> None:
        """End it; from any thread."""
        self._loop.call_soon_threadsafe(self._stop.set)

    async def _serve(self, ready: threading.Event) -> None:
        machine = self

        class Door(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                self._connection = conn
                machine.shells.connections.add(conn)

            def connection_lost(self, exc: Exception | None) -> None:
                machine.shells.connections.discard(self._connection)

            def begin_auth(self, username: str) -> bool:
                return True

            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                machine.heard.append(password)
                self._connection.send_auth_banner(f"you said {password}\n")
                return password == machine.password and username == "deploy"

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                return machine.key is not None and key == machine.key.convert_to_public()

        acceptor = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[self.shells.host_key], server_factory=Door,
            process_factory=self.shells.run, encoding=None, allow_pty=False,
        )  # fmt: skip
        self.shells.port = acceptor.get_port()
        ready.set()
        await self._stop.wait()
        await self.shells.end(acceptor)


@contextmanager
def machine(world: World) -> Iterator[Machine]:
    """A server into which the canaries of SSH lead."""
    key = asyncssh.import_private_key(world.canary("ssh_private_key").fields["key_pem"])
    made = Machine(world.canary("password").value, key)
    ready = threading.Event()
    thread = threading.Thread(target=made.run, args=(ready,), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield made
    finally:
        made.stop()
        thread.join(20)


def written(world: World, marker: str) -> Path:
    """A file in which the secrets of both ways to log in stand in every form."""
    one = world.canary("ssh_private_key")
    secrets = [
        world.canary("password").value,
        one.fields["passphrase"],
        one.fields["key_pem"],
        one.fields["key_pem"].splitlines()[1],
    ]
    lines = [marker.encode() + b" " + write(value) for name, write in WRITTEN.items() for value in secrets]
    path = world.tmp / "said"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def keep_for(world: World, broker: Broker, made: Machine) -> tuple[str, ...]:
    """Keep what one logs in with; the names."""
    scopes = []
    for of in ("password", "ssh_private_key"):
        one = world.canary(of)
        binding = Binding(
            hosts=(f"127.0.0.1:{made.shells.port}",), user="deploy", host_keys=(made.shells.fingerprint,)
        )
        broker.put(one.scope, one.type, one.fields, binding=binding, policy=LEAVE)
        scopes.append(one.scope)
    return tuple(scopes)


SLOWLY = "import sys; [(sys.stdout.buffer.write(bytes([one])), sys.stdout.flush()) for one in open(sys.argv[1], 'rb').read()]"


def session(
    world: World, commands: list[str], tools: tuple[str, ...] = ("ssh_call",), *, rights: bool = True
) -> tuple[Seen, Machine]:
    """Let a model run commands over there; `said` is the file with what it should not be told."""
    marker = world.marker()
    said = written(world, marker)
    broker = Broker(world.tmp / "secrets", master="file", apart=True)
    with machine(world) as made:
        scopes = keep_for(world, broker, made)
        if not rights:
            made.password, made.key = f"another {made.password}", None
        commands = [one.replace("said", str(said)) for one in commands]
        first = [
            Call("ssh_call", {"scope": scope, "command": f"echo {marker}"}) for scope in scopes
        ]  # both are used
        wanted = [
            Call(name, {"scope": scope, "command": one})
            for scope in scopes
            for name in tools
            for one in commands
        ]
        agent = Agent(
            Model.scripted([*first, *wanted, "done"]), capabilities=[SshCapability(scopes, timeout=20.0, broker=broker)],
            session_store=MemoryStore(), runtime=Runtime(governance=GovernancePolicy(mode="all")),
        )  # fmt: skip
        result = asyncio.run(agent.run(marker))
    events = [event_to_json(entry.event) for entry in result.events]
    results = [entry.event.result.text for entry in result.events if isinstance(entry.event, CallFinished)]
    assert len(results) == len(wanted) + 2, result
    errors = [plain_words(error, marker)] if (error := caught(result.raise_for_status)) is not None else []
    audit = [repr(row) for row in broker.log(limit=1_000)]
    broker.stop()
    parts: dict[str, Any] = {
        "results": results[2:], "events": events, "result": repr(result), "errors": errors, "audit": audit,
        "log": broker.home / "broker.log", "events as Python shows them": [repr(one) for one in result.events],
    }  # fmt: skip
    return Seen(parts, marker), made


@channel("ssh", "output of commands", slow=True)
def _(world: World) -> Seen:
    seen, made = session(
        world,
        [
            "cat said",
            "cat said >&2; exit 7",
            "cat said; kill -TERM $$",
            "base64 -w0 said",
            "xxd -p said | tr -d '\\n'",
        ],
    )
    assert world.canary("password").value in made.heard
    assert sum(seen.control in one for one in seen.parts["results"]) >= 6
    return seen


@channel("ssh", "output that comes byte by byte", slow=True)
def _(world: World) -> Seen:
    seen, _made = session(world, [f'{sys.executable} -c "{SLOWLY}" said'])
    assert all(seen.control in one for one in seen.parts["results"])
    return seen


@channel("ssh", "a session")
def _(world: World) -> Seen:
    seen, _made = session(world, ["kept=$(cat said)", 'echo "$kept"', "cat said >&2"], ("ssh_session",))
    assert sum(seen.control in one for one in seen.parts["results"]) >= 4
    return seen


@channel("ssh", "a machine that refuses", slow=True)
def _(world: World) -> Seen:
    return session(world, ["cat said"], ("ssh_call", "ssh_session"), rights=False)[0]


@channel("ssh", "environment and commands over there", slow=True)
def _(world: World) -> Seen:
    seen, made = session(world, ["env", "cat /proc/self/cmdline"])
    return Seen(
        {"heard": [*made.shells.commands, repr(made.shells.environments)], "told": seen.parts["results"]},
        seen.control,
    )
