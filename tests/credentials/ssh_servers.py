"""SSH servers for tests: asyncssh's own in this process, and OpenSSH's sshd where it is installed."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from loom_nb.credentials.policies import Binding, CredentialPolicy, SecretFacts
from loom_nb.credentials.secrets import Secret, secret

PASSWORD = "Canary-9f3b!kT7-passw0rd"
USER = "deploy"

Session = Callable[[], asyncssh.SSHServerSession[bytes]]


def facts(
    binding: Binding, *, of_type: str = "password", scope: str = "prod.db", version: int = 1
) -> SecretFacts:
    """Facts as a store would give them."""
    return SecretFacts(
        scope=scope,
        type=of_type,
        version=version,
        created=1.0,
        updated=1.0,
        binding=binding,
        policy=CredentialPolicy(mode="autonomous"),
    )


def password(value: str = PASSWORD) -> Secret:
    """A secret of type password."""
    return secret("password", {"value": value})


def private_key(key: asyncssh.SSHKey, passphrase: str = "", form: str = "pkcs8-pem") -> Secret:
    """A secret of type ssh_private_key."""
    pem = key.export_private_key(form, passphrase=passphrase or None).decode()
    return secret("ssh_private_key", {"key_pem": pem, "passphrase": passphrase})


@dataclass
class Shells:
    """An asyncssh server in this process: lets one user in, and hands commands to a real shell."""

    port: int
    host_key: asyncssh.SSHKey
    acceptor: asyncssh.SSHAcceptor | None = None
    commands: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)
    connections: set[asyncssh.SSHServerConnection] = field(default_factory=set)
    children: list[asyncio.subprocess.Process] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    """The commands that run, and of which who asked for them was told so."""

    @property
    def fingerprint(self) -> str:
        """Of its key."""
        return self.host_key.get_fingerprint("sha256")

    def bound(self, *keys: str, user: str = USER, known_hosts: bool = False) -> Binding:
        """A binding to this server; without keys its own is pinned."""
        return Binding(
            hosts=(f"localhost:{self.port}",),
            user=user,
            host_keys=keys or (() if known_hosts else (self.fingerprint,)),
            known_hosts=known_hosts,
        )

    async def run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Hand a command to a shell."""
        command = process.command or ""
        self.commands.append(command)
        self.environments.append(dict(process.env))
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self.children.append(child)
        self.started.append(command)
        assert child.stdin and child.stdout and child.stderr
        says = (
            asyncio.ensure_future(_pump(child.stdout, process.stdout)),
            asyncio.ensure_future(_pump(child.stderr, process.stderr)),
        )
        hears = asyncio.ensure_future(_hear(process.stdin, child.stdin))
        try:
            code = await child.wait()
            await asyncio.wait(says)
            if code < 0:
                process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
            else:
                process.exit(code)
        finally:
            for one in (*says, hears):
                one.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)

    async def left(self) -> None:
        """Wait until everybody has gone: a server hears of it later than who goes."""
        while self.connections:
            await asyncio.sleep(0.01)

    def hang_up(self) -> None:
        """Drop all connections without a word."""
        for connection in tuple(self.connections):
            connection.abort()

    async def end(self, acceptor: asyncssh.SSHAcceptor) -> None:
        """Take no more, and end what still runs: also what an ended command left in the background."""
        acceptor.close()
        self.hang_up()
        await acceptor.wait_closed()
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
            child._transport.close()  # it may be told of the end of its pipes only after that of the loop


def lives(pid: str) -> bool:
    """Whether a process of this machine still runs; one that is only waited for by nobody does not."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True)
    return bool(told.stdout.strip()) and not told.stdout.startswith("Z")


async def _pump(child: asyncio.StreamReader, line: asyncssh.SSHWriter[bytes]) -> None:
    with contextlib.suppress(OSError):
        while data := await child.read(65_536):
            line.write(data)
            await line.drain()


async def _hear(line: asyncssh.SSHReader[bytes], child: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await line.read(65_536):
            child.write(data)
            await child.drain()
    child.close()


class _Door(asyncssh.SSHServer):
    """Lets the one user in, with the password or with a key."""

    def __init__(self, to: Shells, authorized: asyncssh.SSHKey | None, session: Session | None) -> None:
        self._to = to
        self.session_requested = session or super().session_requested
        self._authorized = authorized and authorized.convert_to_public()

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._to.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._to.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        self._to.logins.append(username)
        return True

    def password_auth_supported(self) -> bool:
        return self._authorized is None

    def validate_password(self, username: str, password: str) -> bool:
        return username == USER and password == PASSWORD

    def public_key_auth_supported(self) -> bool:
        return self._authorized is not None

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == USER and key == self._authorized


class Refuses(asyncssh.SSHServerSession[bytes]):
    """Takes no command."""

    def exec_requested(self, command: str) -> bool:
        """No."""
        return False


class Goes(asyncssh.SSHServerSession[bytes]):
    """Is gone before it says whether it takes a command."""

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan

    def exec_requested(self, command: str) -> bool:
        """Nobody hears the answer."""
        self._chan.get_connection().abort()
        return True


@contextlib.asynccontextmanager
async def shells(
    *,
    host_key: asyncssh.SSHKey | None = None,
    authorized: asyncssh.SSHKey | None = None,
    session: Session | None = None,
) -> AsyncIterator[Shells]:
    """A server that runs what it is given in a shell, each command in a process group of its own.

    Where a session is given, that one is asked instead.
    """
    key = host_key or asyncssh.generate_private_key("ssh-ed25519")
    made = Shells(0, key)
    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[key],
        server_factory=lambda: _Door(made, authorized, session),
        process_factory=None if session else made.run,
        encoding=None,
        allow_pty=False,
    )
    made.port, made.acceptor = acceptor.get_port(), acceptor
    try:
        yield made
    finally:
        await made.end(acceptor)


# -- OpenSSH -----------------------------------------------------------------------------------------

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass
class OpenSsh:
    """A running sshd, in which this very user logs in with a key."""

    port: int
    user: str
    key: asyncssh.SSHKey
    fingerprints: dict[str, str]
    process: subprocess.Popen[bytes]
    log: Path

    def bound(self, kind: str = "ed25519") -> Binding:
        """A binding to it, by the fingerprint of one of its keys."""
        return Binding(
            hosts=(f"127.0.0.1:{self.port}",), user=self.user, host_keys=(self.fingerprints[kind],)
        )

    @property
    def secret(self) -> Secret:
        """The key that it takes."""
        return private_key(self.key, form="openssh")


@contextlib.contextmanager
def openssh(folder: Path) -> Iterator[OpenSsh]:
    """An sshd of its own, with its own keys, below a folder that nobody else can write."""
    import pwd

    assert SSHD is not None
    user = pwd.getpwuid(os.getuid()).pw_name
    key = asyncssh.generate_private_key("ssh-ed25519")
    fingerprints = {}
    for kind in ("ed25519", "rsa", "ecdsa"):
        path = folder / f"host_{kind}"
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
        fingerprints[kind] = asyncssh.read_public_key(f"{path}.pub").get_fingerprint("sha256")
    (folder / "authorized").write_bytes(key.export_public_key())
    (folder / "authorized").chmod(0o600)
    config = folder / "sshd_config"
    config.write_text(
        "ListenAddress 127.0.0.1\nPidFile none\nUsePAM no\nStrictModes no\n"
        + "".join(f"HostKey {folder}/host_{kind}\n" for kind in fingerprints)
        + f"AuthorizedKeysFile {folder}/authorized\nPasswordAuthentication no\nPermitRootLogin yes\n"
        "KbdInteractiveAuthentication no\nAcceptEnv *\nPrintMotd no\nLogLevel VERBOSE\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it separates its privileges
    log = folder / "sshd.log"
    port, process = _listening(config, log)
    try:
        yield OpenSsh(port, user, key, fingerprints, process, log)
    finally:
        _ended(process)


def _listening(config: Path, log: Path) -> tuple[int, subprocess.Popen[bytes]]:
    """The port of an sshd that listens, and it; another port where somebody took the free one meanwhile."""
    for _ in range(5):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log.write_bytes(b"")
        process = subprocess.Popen(
            [SSHD, "-D", "-E", log, "-f", config, "-p", str(port)], stdin=subprocess.DEVNULL
        )
        try:
            while f"Server listening on 127.0.0.1 port {port}." not in log.read_text(errors="replace"):
                if process.poll() is not None:
                    break
                time.sleep(0.02)
            else:
                return port, process
        except BaseException:
            _ended(process)
            raise
        assert "Cannot bind" in log.read_text(errors="replace"), log.read_text(errors="replace")
    raise AssertionError("no port for sshd")


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
