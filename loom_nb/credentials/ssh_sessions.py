"""Shells on other machines that keep their state between commands, over SSH.

A shell is told each command with a mark that nobody can guess, and says the mark with the exit code when the
command has ended: on both of its streams, so that what belongs to which command is never a matter of time.
A command has no standard input. What changes the shell itself (cd, variables, functions) stays; `exit` and
`exec` end the session, and that is told.
"""

import asyncio
import contextlib
import shlex
import time
from dataclasses import dataclass, field

from loom_nb.credentials.policies import SecretFacts
from loom_nb.credentials.remote import Ended, Filters, Output, Ran, UntilMark
from loom_nb.credentials.secrets import Secret
from loom_nb.credentials.ssh import Ear, Link, Ssh, fresh_mark, hang_up, link_key
from loom_nb.credentials.ssh_login import asyncssh
from loom_nb.errors import ToolError

SHELL = (
    "exec sh -c 'if command -v bash >/dev/null 2>&1; then exec bash --noprofile --norc --noediting -i; fi; "
    "ENV=; export ENV; exec sh -i'"
)
"""A shell of the POSIX kind, whatever the log-in shell is. It reads commands from its standard input, and as
an interactive one it gives up all of a command that is interrupted, not just the step that it is at."""
INTERRUPTS = 3
LATE = 20_000
"""Bytes that are kept of what comes between two commands."""


def opening(mark: str) -> str:
    """The first lines for a shell: it keeps its streams where no command reaches them, and tells its id."""
    return (
        "PS1= PS2=; unset HISTFILE MAILCHECK PROMPT_COMMAND TMOUT\n"
        "case ${BASH_VERSION-} in ?*) set +H +o history;; esac\n"
        f"exec 8>&1 9>&2; {_saying(mark, '$$')}\n"
    )


def framed(command: str, mark: str) -> str:
    """Lines for a shell: the command, in the shell itself and without input, and then the mark.

    The mark is put together by printf: a shell that shows what it reads does not show the mark. The command
    is one word, so that half a command is an error of its own and does not swallow what follows. The line
    before it is for bash, which takes the first word after such an error for no keyword.
    """
    quiet = "</dev/null >&8 2>&9 8>&- 9>&-"
    return f":\n{{ \\command eval {shlex.quote(command)}\n}} {quiet}; {_saying(mark, '$?')}\n"


def _saying(mark: str, number: str) -> str:
    one, two = mark[: len(mark) // 2], mark[len(mark) // 2 :]
    said = f"\\command printf '\\036%s%s %d\\n' {one} {two}"
    return f'{said} "{number}" >&8; {said} 0 >&9'


class _Running:
    """A command that runs in a shell: its output up to the mark, on both streams."""

    def __init__(self, mark: str, most: int, filters: Filters) -> None:
        self.mark = mark
        self.again = f"\x1e{mark} 130\n".encode(), f"\x1e{mark} 0\n".encode()
        """The marks of one that was interrupted, which may come twice."""
        self.out, self.err = Output(most, filters()), Output(most, filters())
        self._until = UntilMark(mark), UntilMark(mark)
        self.done = asyncio.Event()
        """Both marks came, or none comes any more."""
        self.interrupted = False

    @property
    def number(self) -> int | None:
        """That stands at the mark, once both came."""
        first, second = self._until
        return first.number if second.number is not None else None

    def hear(self, data: bytes, *, error: bool) -> bytes:
        """Take in what belongs to the command; what follows it is given back."""
        before, after = self._until[error].feed(data)
        (self.err if error else self.out).feed(before)
        if self.number is not None:
            self.done.set()
        return after

    def end(self) -> None:
        """Nothing more belongs to it."""
        for output, until in zip((self.out, self.err), self._until, strict=True):
            output.feed(until.end())
            output.end()


class _Without:
    """Takes the marks of a command that was interrupted out of what follows it: a shell may say them late."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._until = UntilMark(mark)

    def feed(self, data: bytes) -> bytes:
        """What is none of them; a piece that may be the beginning of one waits for the next piece."""
        kept = b""
        while True:
            before, data = self._until.feed(data)
            kept += before
            if self._until.number is None:
                return kept
            self._until = UntilMark(self._mark)


class _ShellEar(Ear):
    """Hears a shell: gives each byte to the command that it belongs to."""

    def __init__(self, filters: Filters) -> None:
        super().__init__()
        self._filters = filters
        self.running: _Running | None = None
        self._stale: tuple[_Without, _Without] | None = None
        self._late = self._nothing()

    def turn_to(self, running: _Running) -> None:
        """From here on all belongs to this command, but the marks of the one before that was interrupted."""
        before, self.running = self.running, running
        if before is not None and before.interrupted:
            self._stale = _Without(before.mark), _Without(before.mark)

    def hear(self, data: bytes, *, error: bool) -> None:
        """Sort it."""
        if self._stale is not None:
            data = self._stale[error].feed(data)
        if self.running is not None:
            data = self.running.hear(data, error=error)
            data = data.replace(self.running.again[error], b"")
        if data:
            self._late[error].feed(data)

    def late(self) -> str:
        """What was said between commands since the last time."""
        late, self._late = self._late, self._nothing()
        for one in late:
            one.end()
        return "".join(one.text for one in late)

    def exit_status_received(self, status: int) -> None:
        """The shell ended."""
        super().exit_status_received(status)
        self._no_more()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """The shell was ended."""
        super().exit_signal_received(signal, core_dumped, msg, lang)
        self._no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed."""
        super().connection_lost(exc)
        self._no_more()

    def _no_more(self) -> None:
        if self.running is not None:
            self.running.done.set()

    def _nothing(self) -> tuple[Output, Output]:
        return Output(LATE, self._filters()), Output(LATE, self._filters())


class Session:
    """One shell over there, one command at a time."""

    def __init__(self, ssh: Ssh, link: Link, ear: _ShellEar) -> None:
        self.name = fresh_mark()
        """By which it is asked for; nobody can guess it."""
        self.link = link
        self._ssh = ssh
        self._ear = ear
        self._one_by_one = asyncio.Lock()
        self.used = time.monotonic()
        self.busy = 0
        """Commands that run or wait."""

    @property
    def alive(self) -> bool:
        """Whether it takes commands."""
        return not self._ear.told.is_set()

    async def run(self, command: str, seconds: float) -> Ran:
        """Run a command.

        One that takes too long is interrupted; where it does not end by that, the session ends with it.

        Raises:
            ToolError: the session has ended.
        """
        self.busy += 1
        await self._one_by_one.acquire()
        handed_on = False
        began = time.monotonic()
        running = self._begin(fresh_mark())
        late = self._ear.late()
        ended: Ended = "exit"
        try:
            self._write(framed(command, running[0]))
            async with asyncio.timeout(seconds):
                await running[1].done.wait()
        except TimeoutError:
            ended = "timeout"
            await self._interrupt(running[1])
        except asyncio.CancelledError:
            handed_on = True
            self._ssh.in_background(self._given_up(running[1]), self.link)
            raise
        finally:
            if not handed_on:
                self._free()
        return await self._told(running[1], ended, late, began)

    async def end(self) -> None:
        """End the shell and what it left in the background."""
        if self.alive and self._ear.pid is not None:
            await self._ssh.signal(self.link, self._ear.pid, "HUP")
        hang_up(self._ear)

    async def introduce(self, seconds: float) -> None:
        """Have the shell tell its id. Raises `ToolError` where it is no shell."""
        mark, running = self._begin(fresh_mark())
        with contextlib.suppress(TimeoutError):
            self._write(opening(mark))
            async with asyncio.timeout(seconds):
                await running.done.wait()
        self._ear.group_is(running.number)
        if self._ear.pid is None:
            hang_up(self._ear)
            raise ToolError(
                "no session was opened: what answers over there is no shell",
                cause="it does not say what a POSIX shell says",
                fixes=["ssh_call runs single commands"],
            )

    def _begin(self, mark: str) -> tuple[str, _Running]:
        running = _Running(mark, self._ssh.limits.output, self._ssh.filters)
        self._ear.turn_to(running)
        if not self.alive:
            running.done.set()
        return mark, running

    def _write(self, line: str) -> None:
        channel = self._ear.channel
        if channel is not None and self.alive:
            with contextlib.suppress(OSError, asyncssh.Error):
                channel.write(line.encode("utf-8", "replace"))

    async def _interrupt(self, running: _Running) -> None:
        """End a command; the whole shell where nothing else helps."""
        running.interrupted = True
        pid = self._ear.pid
        if pid is None or not self.alive:
            return
        for _ in range(INTERRUPTS):  # a shell whose step ended by itself at that moment goes on
            await self._ssh.signal(self.link, pid, "INT")
            if not running.done.is_set():
                self._write(f"{_saying(running.mark, '130')}\n")  # its own went with the rest of the line
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(running.done.wait(), self._ssh.limits.grace / INTERRUPTS)
            if running.done.is_set():
                return
        await self._ssh.signal(self.link, pid, "KILL")
        hang_up(self._ear)
        self._ear.told.set()

    async def _given_up(self, running: _Running) -> None:
        try:
            await self._interrupt(running)
        finally:
            self._free()

    def _free(self) -> None:
        self.busy -= 1
        self.used = time.monotonic()
        self._one_by_one.release()

    async def _told(self, running: _Running, ended: Ended, late: str, began: float) -> Ran:
        ear = self._ear
        if running.number is None:
            await self._ssh.rest(ear)
        running.end()
        code = running.number
        if code is None and ended == "exit":
            code = ear.code
            ended = "signal" if ear.signal else "exit" if ear.ended else "lost"
        return Ran(
            ended=ended,
            code=code if ended == "exit" else None,
            signal=ear.signal,
            out=running.out.text,
            err=running.err.text,
            out_bytes=running.out.received,
            err_bytes=running.err.received,
            late=late,
            seconds=round(time.monotonic() - began, 3),
            session=self.name if self.alive else "",
        )


@dataclass(eq=False, slots=True)
class Sessions:
    """The sessions of one broker, by ids that nobody can guess. Belongs to the event loop of its `Ssh`."""

    ssh: Ssh
    _open: dict[str, Session] = field(default_factory=dict, init=False)
    _opening: int = field(default=0, init=False)
    _watch: asyncio.TimerHandle | None = field(default=None, init=False)

    def __len__(self) -> int:
        self._sweep()
        return len(self._open) + self._opening

    def __contains__(self, name: str) -> bool:
        self._sweep()
        return name in self._open

    async def open(self, facts: SecretFacts, secret: Secret) -> Session:
        """Open a session.

        Raises:
            ToolError: there are too many, or what answers is no shell; and as `Ssh.call`.
        """
        if len(self) >= self.ssh.limits.sessions:
            raise ToolError(
                f"{self.ssh.limits.sessions} sessions are open, which is the most",
                fixes=["close one of them first"],
            )
        self._opening += 1
        try:
            ear = _ShellEar(self.ssh.filters)
            link = await self.ssh.start(facts, secret, ear, SHELL)
            session = Session(self.ssh, link, ear)
            try:
                await session.introduce(self.ssh.limits.connect)
            except BaseException:
                hang_up(ear)
                self.ssh.links.give_back(link)
                raise
        finally:
            self._opening -= 1
        self._open[session.name] = session
        self._look_later()
        return session

    async def send(
        self, name: str, facts: SecretFacts, secret: Secret, command: str, *, seconds: float
    ) -> Ran:
        """Run a command in a session.

        Args:
            name: of the session; empty to open one, which is then named in what is returned.
            facts: of the secret as it is now: one that was changed does not go on with an old session.
            secret: to open one.
            command: for the shell.
            seconds: after which it is interrupted.

        Raises:
            ToolError: there is no such session any more: nothing was run.
        """
        self._sweep()
        session = self._open.get(name) if name else await self.open(facts, secret)
        if session is not None and session.link.key != link_key(facts):
            await self.end(name)
            session = None
        if session is None:
            raise gone()
        try:
            return await session.run(command, seconds)
        except asyncio.CancelledError:
            if not name:  # nobody learns of it
                self.ssh.in_background(self._ended(session.name), session.link)
            raise
        finally:
            self._sweep()

    async def end(self, name: str) -> bool:
        """Close a session; whether there was one."""
        session = self._open.pop(name, None)
        if session is None:
            return False
        try:
            await session.end()
        finally:
            self.ssh.links.give_back(session.link)
        return True

    async def close(self) -> None:
        """Close them all."""
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.gather(*(self.end(name) for name in tuple(self._open)))

    def _sweep(self) -> None:
        """Take out those that have ended by themselves, and end those that nobody used for long."""
        now = time.monotonic()
        for name, session in tuple(self._open.items()):
            if session.busy:
                continue
            if not session.alive:
                del self._open[name]
                hang_up(session._ear)
                self.ssh.links.give_back(session.link)
            elif now - session.used >= self.ssh.limits.session:
                self.ssh.in_background(self._ended(name), session.link)

    def _look_later(self) -> None:
        """Look after idle ones now and then, as long as there are any."""
        if self._watch is not None:
            self._watch.cancel()
        self._watch = None
        self._sweep()
        if self._open:
            loop = asyncio.get_running_loop()
            self._watch = loop.call_later(max(self.ssh.limits.session / 4, 0.05), self._look_later)

    async def _ended(self, name: str) -> None:
        await self.end(name)


def gone() -> ToolError:
    """The error for a session that is no more."""
    return ToolError(
        "nothing was run: this session has ended",
        cause="nobody used it for long, or its secret was changed; what it knew is gone",
    )
