"""Channels of SSH: a machine that sends back what one logged in with, and all that goes wrong on the way."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncssh

from loom_nb import Agent, GovernancePolicy, MemoryStore, Model, Runtime
from loom_nb.capabilities.ssh import SshCapability
from loom_nb.credentials.broker import Broker
from loom_nb.credentials.policies import Binding
from loom_nb.events import CallFinished, event_to_json
from loom_nb.models.scripted import Call
from tests.leaks.matrix import Seen, channel
from tests.leaks.peers import WRITTEN
from tests.leaks.traceback_channels import caught, plain_words
from tests.leaks.world import LEAVE, World


class Machine:
    """An SSH server in a thread of its own, that knows what everybody logs in with, and says it."""

    def __init__(self, secrets: dict[str, str], key: asyncssh.SSHKey | None, marker: str) -> None:
        self.secrets = secrets
        self.key = key
        self.marker = marker
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.port = 0
        self.heard: list[str] = []
        """What clients sent besides: environment, commands, passwords."""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()

    def run(self, ready: threading.Event) -> None:
        """Serve until the end."""
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    def stop(self) -> None:
        """End it; from any thread."""
        self._loop.call_soon_threadsafe(self._stop.set)

    async def _serve(self, ready: threading.Event) -> None:
        machine = self

        class Door(asyncssh.SSHServer):
            def begin_auth(self, username: str) -> bool:
                return True

            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                self._connection = conn

            def auth_completed(self) -> None:
                return None

            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                machine.heard.append(password)
                self._connection.send_auth_banner(f"{machine.marker} {password}")
                return password == machine.secrets.get("password") and username == "deploy"

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                return machine.key is not None and key == machine.key.convert_to_public()

        acceptor = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[self.host_key], server_factory=Door, process_factory=self._act, encoding=None
        )
        self.port = acceptor.get_port()
        ready.set()
        await self._stop.wait()
        acceptor.close()
        await acceptor.wait_closed()

    async def _act(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.heard.append(f"{process.command} {dict(process.env)}")
        word = (process.command or "").rpartition("say ")[2].strip("'\" \n")
        out, err = process.stdout, process.stderr
        for name, write in WRITTEN.items():
            if name == "base64-lines":
                continue
            for value in self.secrets.values():
                data = self.marker.encode() + b" " + write(value) + b"\n"
                stream = err if "errors" in word else out
                size = 1 if "slowly" in word else len(data)
                for start in range(0, len(data), size):
                    stream.write(data[start : start + size])
                await stream.drain()
        if "signal" in word:
            process.exit_with_signal("TERM", False, f"{self.marker} {' '.join(self.secrets.values())}".encode().decode())
        else:
            process.exit(7)


@contextmanager
def machine(world: World, marker: str) -> Iterator[Machine]:
    """A server into which the canaries of SSH lead."""
    one = world.canary("ssh_private_key")
    secrets = {"password": world.canary("password").value, "passphrase": one.fields["passphrase"], **dict(one.hidden)}
    made = Machine(secrets, asyncssh.import_private_key(one.fields["key_pem"]), marker)
    ready = threading.Event()
    thread = threading.Thread(target=made.run, args=(ready,), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield made
    finally:
        made.stop()
        thread.join(20)


def keep_for(world: World, broker: Broker, made: Machine) -> tuple[str, ...]:
    """Keep what one logs in with; the names."""
    scopes = []
    for of in ("password", "ssh_private_key"):
        one = world.canary(of)
        binding = Binding(hosts=(f"127.0.0.1:{made.port}",), user="deploy", host_keys=(made.host_key.get_fingerprint("sha256"),))
        broker.put(one.scope, one.type, one.fields, binding=binding, policy=LEAVE)
        scopes.append(one.scope)
    return tuple(scopes)


def session(world: World, commands: list[str], tools: tuple[str, ...] = ("ssh_call",), *, rights: bool = True) -> tuple[Seen, Machine]:
    """Let a model run commands over there."""
    marker = world.marker()
    broker = Broker(world.tmp / "secrets", master="file", apart=True)
    with machine(world, marker) as made:
        scopes = keep_for(world, broker, made)
        if not rights:
            made.secrets["password"], made.key = f"another {made.secrets['password']}", None
        wanted = [Call(name, {"scope": scope, "command": one}) for scope in scopes for name in tools for one in commands]
        agent = Agent(
            Model.scripted([*wanted, "done"]), capabilities=[SshCapability(scopes, timeout=20.0, broker=broker)],
            session_store=MemoryStore(), runtime=Runtime(governance=GovernancePolicy(mode="all")),
        )  # fmt: skip
        result = asyncio.run(agent.run(marker))
        events = [event_to_json(entry.event) for entry in result.events]
        results = [entry.event.result.text for entry in result.events if isinstance(entry.event, CallFinished)]
        assert len(results) == len(wanted), result
        errors = [plain_words(error, marker)] if (error := caught(result.raise_for_status)) is not None else []
    audit = [repr(row) for row in broker.log(limit=1_000)]
    broker.stop()
    parts: dict[str, Any] = {
        "results": results, "events": events, "result": repr(result), "errors": errors, "audit": audit,
        "log": broker.home / "broker.log", "events as Python shows them": [repr(one) for one in result.events],
    }  # fmt: skip
    return Seen(parts, marker), made


@channel("ssh", "output of commands")
def _(world: World) -> Seen:
    seen, made = session(world, ["say all", "say errors", "say signal"])
    assert world.canary("password").value in made.heard
    assert any(seen.control in one for one in seen.parts["results"])
    return seen


@channel("ssh", "output that comes byte by byte", slow=True)
def _(world: World) -> Seen:
    return session(world, ["say slowly", "say slowly errors"])[0]


@channel("ssh", "a session")
def _(world: World) -> Seen:
    return session(world, ["say all"], ("ssh_session",))[0]


@channel("ssh", "a machine that refuses")
def _(world: World) -> Seen:
    return session(world, ["say all"], ("ssh_call", "ssh_session"), rights=False)[0]


@channel("ssh", "environment and commands over there")
def _(world: World) -> Seen:
    seen, made = session(world, [f"say all {world.marker()}", "env"])
    heard = [one for one in made.heard if one != world.canary("password").value]
    return Seen({"heard": heard}, "say all")
