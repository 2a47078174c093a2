"""Runs commands on other machines over SSH, for a broker that has the secret in its hands.

A connection is kept a while for the next command. A command that is given up is ended over there too, with
all that it started. What it says is kept in bounds.
"""

import asyncio
import contextlib
import re
import secrets as randomness
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from loom_nb.credentials.policies import Binding, SecretFacts
from loom_nb.credentials.remote import Ended, Filters, Output, Ran, Unfiltered, UntilMark, destination
from loom_nb.credentials.secrets import Secret
from loom_nb.credentials.ssh_login import asyncssh, connect, vouched
from loom_nb.errors import ToolError


@dataclass(frozen=True, slots=True)
class Limits:
    """How long, how many and how much."""

    connect: float = 15.0
    """Seconds for a connection with its log-in."""
    kept: float = 90.0
    """Seconds that a connection stays open without a command."""
    session: float = 900.0
    """Seconds that a session stays open without a command."""
    sessions: int = 16
    channels: int = 8
    """Commands and sessions over one connection; OpenSSH takes 10."""
    output: int = 200_000
    """Bytes that are kept of each stream of a command, its beginning and its end."""
    grace: float = 3.0
    """Seconds that a command has to end when it is told to."""
    quiet: float = 1.0
    """Seconds that what a command left in the background is waited for."""


LinkKey: TypeAlias = tuple[str, int, Binding]
"""Scope, version and binding: what changes any of them does not use the old connection."""


def link_key(facts: SecretFacts) -> LinkKey:
    """Which connections serve a secret as it is now."""
    return facts.scope, facts.version, facts.binding


@dataclass(eq=False, slots=True)
class Link:
    """A connection, and how many commands and sessions run over it."""

    key: LinkKey
    connection: asyncssh.SSHClientConnection
    room: int
    used: int = 0
    served: int = 0
    """Commands and sessions so far."""
    rest: asyncio.TimerHandle | None = None
    """Closes it when nobody used it for a while."""

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return not self.connection.is_closed()


class Links:
    """The connections of one broker, by secret.

    Args:
        limits: how long and how many.
        known_hosts: the file that may vouch for servers.
        filters: takes secrets out of what servers say.
    """

    def __init__(self, limits: Limits, known_hosts: Path, filters: Filters) -> None:
        self._limits = limits
        self._known_hosts = known_hosts
        self._filters = filters
        self._links: list[Link] = []
        self._connecting: dict[LinkKey, asyncio.Lock] = {}

    def __len__(self) -> int:
        return sum(link.alive for link in self._links)

    async def take(self, facts: SecretFacts, secret: Secret) -> Link:
        """A connection with room for one more; give it back. Raises as `connect`."""
        by = vouched(facts, self._known_hosts)
        key = link_key(facts)
        lock = self._connecting.setdefault(key, asyncio.Lock())
        try:
            async with asyncio.timeout(self._limits.connect + 5), lock:
                link = self._with_room(key)
                if link is None:
                    made = await connect(
                        facts, secret, by, seconds=self._limits.connect, filters=self._filters
                    )
                    link = Link(key, made, self._limits.channels)
                    self._links.append(link)
        except TimeoutError:
            link = None
        if link is None:
            raise ToolError(f"{by.where.authority} did not answer within {self._limits.connect:g} s")
        if link.rest is not None:
            link.rest.cancel()
            link.rest = None
        link.used += 1
        link.served += 1
        return link

    def give_back(self, link: Link) -> None:
        """One command less; the last one starts the time after which it is closed."""
        link.used -= 1
        if not link.alive:
            self.drop(link)
        elif link.used == 0:
            loop = asyncio.get_running_loop()
            link.rest = loop.call_later(self._limits.kept, self.drop, link)

    def drop(self, link: Link) -> None:
        """Close a connection."""
        if link.rest is not None:
            link.rest.cancel()
        if link in self._links:
            self._links.remove(link)
        link.connection.close()

    def of(self, scope: str) -> list[Link]:
        """The connections of a secret, whatever its version; of all where the scope is empty."""
        return [link for link in self._links if not scope or link.key[0] == scope]

    def _with_room(self, key: LinkKey) -> Link | None:
        for link in [one for one in self._links if not one.alive]:
            self.drop(link)
        return next((link for link in self._links if link.key == key and link.used < link.room), None)


# -- one command -------------------------------------------------------------------------------------


class Ear(asyncssh.SSHClientSession[bytes]):
    """Takes in what a command says, and how it ended."""

    def __init__(self) -> None:
        self.channel: asyncssh.SSHClientChannel[bytes] | None = None
        self.closed = asyncio.Event()
        self.told = asyncio.Event()
        """How it ended is known, or nothing more comes."""
        self.announced = asyncio.Event()
        """Its process group is known."""
        self.pid: int | None = None
        """Of the process group."""
        self.code: int | None = None
        self.signal = ""
        self.heard = 0
        """Bytes."""

    @property
    def ended(self) -> bool:
        """Whether it is known to have ended."""
        return self.code is not None or bool(self.signal)

    def hear(self, data: bytes, *, error: bool) -> None:
        """Take in some bytes."""

    def group_is(self, number: int | None) -> None:
        """It has told its process group."""
        if number is not None and number > 1:
            self.pid = number
        self.announced.set()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The channel is open; nothing was asked of it yet."""
        self.channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Bytes of one of the streams."""
        self.heard += len(data)
        self.hear(data, error=datatype is not None)

    def eof_received(self) -> bool:
        """No more is said, but how it ended may be told."""
        return True

    def exit_status_received(self, status: int) -> None:
        """It ended."""
        self.code = status
        self.told.set()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """It was ended."""
        self.signal = re.sub(r"[^A-Z0-9a-z@.-]", "", signal)[:40]
        self.told.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed."""
        self.announced.set()
        self.told.set()
        self.closed.set()


class _CommandEar(Ear):
    """Hears one command, which tells its process group first unless the mark is empty."""

    def __init__(self, most: int, filters: Filters, mark: str) -> None:
        super().__init__()
        self.out, self.err = Output(most, filters()), Output(most, filters())
        self._until = UntilMark(mark) if mark else None

    def hear(self, data: bytes, *, error: bool) -> None:
        """Sort it."""
        if not error:
            self.out.feed(data)
        elif self._until is None:
            self.err.feed(data)
        else:
            for part in self._until.feed(data):
                self.err.feed(part)
            if self._until.number is not None and not self.announced.is_set():
                self.group_is(self._until.number)

    def end(self) -> None:
        """Nothing more is taken in."""
        if self._until is not None:
            self.err.feed(self._until.end())
        self.out.end()
        self.err.end()


def _announced(command: str, mark: str) -> str:
    """The command behind a line that tells its process group: any log-in shell understands it.

    The mark is put together by printf, so that a shell that shows its lines does not show the mark.
    """
    one, two = mark[: len(mark) // 2], mark[len(mark) // 2 :]
    return f"""sh -c 'printf "\\036%s%s %d\\n" {one} {two} "$PPID" >&2'\n{command}"""


def killing(pid: int, *signals: str) -> str:
    """A command that sends signals to a process group, one second apart."""
    steps = "; sleep 1; ".join(
        f"kill -s {signal} -- -{pid} 2>/dev/null || kill -s {signal} {pid} 2>/dev/null" for signal in signals
    )
    return f"sh -c '{steps}; exit 0'"


def _not_known(facts: SecretFacts) -> ToolError:
    return ToolError(
        f"{destination(facts).authority} broke off as the command was sent",
        cause="whether it was started is not known",
    )


def hang_up(ear: Ear) -> None:
    """Close a channel."""
    if ear.channel is not None:
        ear.channel.close()


def fresh_mark() -> str:
    """A word that no command can guess."""
    return randomness.token_hex(16)


def _known_hosts() -> Path:
    try:
        return Path("~/.ssh/known_hosts").expanduser()
    except RuntimeError:  # nobody has a home here
        return Path("/nonexistent/known_hosts")


@dataclass(eq=False, slots=True)
class Ssh:
    """All SSH of one broker. Belongs to one event loop.

    Args:
        limits: how long, how many and how much.
        known_hosts: the file that may vouch for servers where a binding says so.
        filters: makes what takes secrets out of a stream.
    """

    limits: Limits = field(default_factory=Limits)
    known_hosts: Path = field(default_factory=_known_hosts)
    filters: Filters = Unfiltered
    links: Links = field(init=False)
    _background: set[asyncio.Task[Any]] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.links = Links(self.limits, self.known_hosts, self.filters)

    async def call(
        self, facts: SecretFacts, secret: Secret, command: str, *, seconds: float, raw: bool = False
    ) -> Ran:
        """Run one command and wait for its end.

        Args:
            facts: of the secret; they say where it leads.
            secret: a password or a private key.
            command: what the log-in shell over there is given.
            seconds: after which it is ended there.
            raw: send the command as it is, to what is no shell: ending it early may then not reach it.

        Raises:
            HostKeyRefused, CredentialError: as `connect`.
            ToolError: the server cannot be reached or does not take another command.
        """
        began = time.monotonic()
        mark = "" if raw else fresh_mark()
        ear = _CommandEar(self.limits.output, self.filters, mark)
        link = await self.start(facts, secret, ear, command if raw else _announced(command, mark))
        try:
            if ear.channel is not None:
                ear.channel.write_eof()  # there is nobody who could type
            ended, held = await self.to_its_end(ear, seconds)
            if ended == "timeout":
                await self.end(link, ear)
                held = not ear.ended
        except asyncio.CancelledError:
            self.in_background(self.end(link, ear), link)
            raise
        else:
            hang_up(ear)
        finally:
            self.links.give_back(link)
        ear.end()
        return Ran(
            ended=ended,
            code=ear.code if ended == "exit" else None,
            signal=ear.signal,
            out=ear.out.text,
            err=ear.err.text,
            out_bytes=ear.out.received,
            err_bytes=ear.err.received,
            seconds=round(time.monotonic() - began, 3),
            held=held,
        )

    async def start(self, facts: SecretFacts, secret: Secret, ear: Ear, command: str) -> Link:
        """Start a command over a connection with room, which is to be given back. Raises as `call`.

        A kept connection that turns out to be dead is replaced, as long as nothing was asked over it.
        """
        for _ in range(3):
            link = await self.links.take(facts, secret)
            try:
                await self._opened(link, ear, command)
            except asyncssh.ChannelOpenError as error:
                self.links.give_back(link)
                asked = error.code == asyncssh.OPEN_REQUEST_SESSION_FAILED
                if asked and not link.alive:  # it went before it answered
                    raise _not_known(facts) from None
                if asked or (link.alive and link.used == 0):
                    break
                link.room = max(link.used, 1)  # it takes no more than these
            except BaseException as error:
                if ear.channel is not None:  # it may have been started
                    self.in_background(self.end(link, ear), link)
                self.links.give_back(link)
                if isinstance(error, TimeoutError | OSError | asyncssh.Error):
                    raise _not_known(facts) from None
                raise
            else:
                return link
        raise ToolError(
            f"{destination(facts).authority} did not start the command",
            cause="the connection broke, or the server takes no commands from this user",
        )

    async def _opened(self, link: Link, ear: Ear, command: str) -> None:
        """Start a command. Raises `asyncssh.ChannelOpenError` where nobody said that it was started."""
        async with asyncio.timeout(self.limits.connect):
            await link.connection.create_session(
                lambda: ear,
                command,
                env={},
                send_env=[],
                request_pty=False,
                x11_forwarding=False,
                encoding=None,
            )

    async def to_its_end(self, ear: Ear, seconds: float) -> tuple[Ended, bool]:
        """How it ended, and whether something it left behind holds its output."""
        try:
            async with asyncio.timeout(seconds):
                await ear.told.wait()
                held = not await self.rest(ear)
        except TimeoutError:
            held = ear.ended
            if not held:
                return "timeout", False
        if ear.signal:
            return "signal", held
        return ("exit", held) if ear.code is not None else ("lost", False)

    async def rest(self, ear: Ear) -> bool:
        """Whether all was said; waits for it while more comes."""
        while not ear.closed.is_set():
            heard = ear.heard
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ear.closed.wait(), self.limits.quiet)
            if ear.heard == heard:
                break
        return ear.closed.is_set()

    async def end(self, link: Link, ear: Ear, *signals: str) -> None:
        """End a command over there, with all that it started; by TERM and then KILL where nothing is said."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ear.announced.wait(), 1.0)
        if not ear.ended:
            told = ear.pid is not None and await self.signal(link, ear.pid, *(signals or ("TERM", "KILL")))
            if not told and ear.channel is not None:
                with contextlib.suppress(OSError, asyncssh.Error):
                    ear.channel.kill()  # some servers do that, and some for some users
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ear.told.wait(), 0.5)
        hang_up(ear)

    async def signal(self, link: Link, pid: int, *signals: str) -> bool:
        """Send signals to a process group over there, by a command of its own; whether that could be run."""
        ear = Ear()
        for attempt in range(4):
            try:
                async with asyncio.timeout(self.limits.grace + len(signals)):
                    await self._opened(link, ear, killing(pid, *signals))
                    await ear.told.wait()
            except asyncssh.ChannelOpenError:
                if not link.alive:
                    break
                await asyncio.sleep(0.2 * (attempt + 1))
            except (TimeoutError, OSError, asyncssh.Error):
                break
            else:
                hang_up(ear)
                return ear.code == 0
        hang_up(ear)
        return False

    def in_background(self, work: Coroutine[Any, Any, None], link: Link) -> None:
        """Let something come to its end; its connection stays as long."""
        link.used += 1
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)

        def done(ended: asyncio.Task[None]) -> None:
            self._background.discard(ended)
            self.links.give_back(link)

        task.add_done_callback(done)

    def forget(self, scope: str) -> None:
        """Close the connections of a secret that was revoked or changed, with all that runs over them."""
        for link in self.links.of(scope):
            self.links.drop(link)

    async def close(self) -> None:
        """End what is being ended, and close all connections."""
        if self._background:
            await asyncio.wait(self._background, timeout=self.limits.grace)
        links = self.links.of("")
        self.forget("")
        for link in links:
            with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
                await asyncio.wait_for(link.connection.wait_closed(), 1.0)
