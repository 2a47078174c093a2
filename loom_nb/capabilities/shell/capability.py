"""Shell commands under one folder: judged before they run, sandboxed where the system can, ended for sure.

A command that provably only reads runs with the folder read-only; any other needs leave, and may
write below the folder and nowhere else, as far as the level of the sandbox goes. That level is on
every card.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loom_nb import settings
from loom_nb.capabilities.shell.command import QUIET_ENVIRONMENT, assess_command
from loom_nb.capabilities.shell.tasks import Task, Tasks
from loom_nb.checks import check, flag, number, one_of, path_of, whole
from loom_nb.errors import LoomUsageError, SetupError, ToolError
from loom_nb.protocols import Toolset, current_call
from loom_nb.sandbox import WANTED, Child, Finished, Sandbox, Walls, Wanted, child_environment, choose
from loom_nb.tools import Assessment, Effect, Tool, tool

MAX_TIMEOUT = 3_600.0
"""Seconds that a command may be given; longer ones go to the background."""
MAX_COMMAND = 100_000
"""Bytes of a command."""
MAX_WAIT = 60.0
"""Seconds that task_output waits at most."""
_CLOSING = 2.0

_SETTINGS = {
    "root": path_of(such_as='"data"'),
    "sandbox": one_of(*WANTED),
    "network": flag(),
    "timeout": number(above=0, most=MAX_TIMEOUT, unit="a number of seconds", such_as="120"),
    "max_output": whole(1_000, such_as="200_000"),
}


@dataclass(frozen=True)
class ShellCapability:
    """The tools run_command, start_command, task_output, stop_task and list_tasks.

    Args:
        root: the folder in which every command starts, and the only one that may be written.
        sandbox: "auto" takes the best level there is; "required" any but none; "bubblewrap" and
            "landlock" that one; "none" by choice none.
        network: whether commands have the network of this machine, its loopback included.
        timeout: seconds for a command that is given none.
        env: names of the environment that commands are given besides the usual few.
        max_output: bytes of output that are kept of one command, its beginning and its end.
        hidden: folders and files that no command may see, besides those that are known.
        found: what was found of the sandbox; None to look when it opens.
    """

    root: str = "."
    sandbox: Wanted = "auto"
    network: bool = False
    timeout: float = 120.0
    env: Iterable[str] = ()
    max_output: int = 200_000
    hidden: Iterable[str] = ()
    found: Sandbox | None = None
    name: str = field(default="shell", init=False)

    def __post_init__(self) -> None:
        check(self, _SETTINGS, called="Capability.shell")
        for name in ("env", "hidden"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise LoomUsageError(f"Capability.shell: {name} is a list", fixes=[f"{name}=[{value!r}]"])
            object.__setattr__(self, name, tuple(value))

    async def open(self) -> Toolset:
        """Look which sandbox there is, and take the folder.

        Raises:
            SetupError: there is no such folder, it holds keys, or the sandbox that is wanted is not there.
        """
        shell = await asyncio.to_thread(Shell, self)
        return Toolset(tools=shell.tools(), close=shell.close)


class Shell:
    """An open shell capability: its folder, its sandbox, its tasks."""

    def __init__(self, given: ShellCapability) -> None:
        self.given = given
        self.sandbox = choose(given.sandbox, given.found)
        self.env = _absolute(child_environment(os.environ, given.env))
        self.secret = [settings.load().home, *(Path(place).expanduser() for place in given.hidden)]
        self.root = self.walls(Path(given.root), writable=False).root
        self.program = _shell_program(self.root, self.env.get("PATH", ""))
        self.tasks = Tasks()
        self._judged: dict[str, bool] = {}

    def walls(self, root: Path, *, writable: bool) -> Walls:
        """What a command may reach."""
        return Walls.around(root, writable=writable, network=self.given.network, secret=self.secret)

    def tools(self) -> tuple[Tool, ...]:
        """The tools of this shell."""
        runs: frozenset[Effect] = frozenset({"reads", "writes", "runs", *self._network()})
        acting = {"effects": runs, "destructive": True, "assess": self.assess}
        return (
            _described(self.run_command, self._about_running(), timeout=MAX_TIMEOUT + 30, **acting),
            _described(self.start_command, self._about_starting(), **acting),
            tool(read_only=True, timeout=MAX_WAIT + 30)(self.task_output),
            # what it ends was started with leave
            dataclasses.replace(tool(read_only=True, parallel=False)(self.stop_task), idempotent=False),
            tool(read_only=True)(self.list_tasks),
        )

    def assess(self, command: str, timeout: float | None = None) -> Assessment:
        """What this command would do. Changes nothing."""
        refusal = _refusal(command)
        if refusal:
            return Assessment(frozenset({"runs"}), True, refusal=refusal, sandbox=self.sandbox.level)
        found = assess_command(command, root=str(self.root), cwd=str(self.root), home=self.env.get("HOME"))
        self._remember(command, found.reads)
        runs: frozenset[Effect] = frozenset({"runs", "writes", *self._network()})
        reasons = list(found.reasons)
        if found.network and not self._network():
            reasons.append("the network is closed to it")
        return Assessment(
            effects=frozenset({"reads"}) if found.reads else runs,
            destructive=found.destructive,
            reasons=() if found.reads else tuple(reasons),
            preview=command,
            preview_kind="command",
            paths=tuple(found.paths),
            sandbox=self.sandbox.level,
            binds="" if found.reads else _scripts(found.paths),
        )

    async def run_command(self, command: str, timeout: float | None = None) -> str:  # noqa: ASYNC109
        """Run a command.

        Args:
            command: what bash is given.
            timeout: seconds after which it is ended.
        """
        seconds = self._seconds(timeout)
        context = current_call.get()
        walls = await asyncio.to_thread(self._judged_walls, command)
        child = self._start(command, walls, seconds, context.show if context is not None else None)
        return self._told(await _to_its_end(child), writable=walls.writable)

    async def start_command(self, command: str) -> str:
        """Start a command in the background.

        Args:
            command: what bash is given.
        """
        walls = await asyncio.to_thread(self._judged_walls, command)
        self.tasks.check_room()
        child = self._start(command, walls, None, None)
        return f"task {self.tasks.add(command, child).name} started"

    async def task_output(self, task: str, wait: float = 0.0) -> str:
        """Show whether a background task still runs, and its output so far.

        Args:
            task: its name, such as t1.
            wait: seconds to wait for its end, 60 at most.
        """
        found = self.tasks.get(task)
        if wait > 0 and found.child.result is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(found.child.finished(), min(wait, MAX_WAIT))
        return self._told_of(found)

    async def stop_task(self, task: str) -> str:
        """End a background task and all that it has started; shows its last output.

        Args:
            task: its name, such as t1.
        """
        found = self.tasks.get(task)
        found.child.stop()
        await found.child.finished()
        return self._told_of(found)

    def list_tasks(self) -> str:
        """List the background tasks of this session."""
        return "\n".join(map(str, self.tasks)) or "no background tasks"

    async def close(self) -> None:
        """End all tasks."""
        await self.tasks.close(_CLOSING)

    def _start(
        self, command: str, walls: Walls, seconds: float | None, show: Callable[[str], None] | None
    ) -> Child:
        """Without a pause between the start and the handle, in which it could be lost."""
        env = self.env if walls.writable else self._quiet_env()
        return Child(
            [*self.program, command],
            cwd=self.root,
            env=env,
            sandbox=self.sandbox,
            walls=walls,
            timeout=seconds,
            max_output=self.given.max_output,
            on_output=show,
        )

    def _quiet_env(self) -> dict[str, str]:
        """For what only reads: nothing that steers programs, and no program from below the root."""
        usual = _absolute(child_environment(os.environ))
        return {**_without_root(usual, self.root), **QUIET_ENVIRONMENT}

    def _judged_walls(self, command: str) -> Walls:
        """Open for writing where leave was asked for. What changed since it was judged ends it here."""
        refusal = _refusal(command)
        if refusal:
            raise ToolError("the command was not run", cause=refusal)
        judged = self._judged.get(command)
        reads = assess_command(
            command, root=str(self.root), cwd=str(self.root), home=self.env.get("HOME")
        ).reads
        if judged and not reads:
            raise ToolError(
                "the command was not run",
                cause="what it touches has changed since it was found to be only a read",
                fixes=["call it again: it will be judged anew"],
            )
        return self.walls(self.root, writable=not reads and not judged)

    def _remember(self, command: str, reads: bool) -> None:
        self._judged.pop(command, None)
        self._judged[command] = reads
        while len(self._judged) > 1_000:
            self._judged.pop(next(iter(self._judged)), None)

    def _seconds(self, timeout: float | None) -> float:
        if timeout is None:
            return self.given.timeout
        if not 0 < timeout <= MAX_TIMEOUT:
            raise ToolError(
                f"timeout is a number of seconds up to {MAX_TIMEOUT:g}",
                fixes=["start_command runs longer commands in the background"],
            )
        return timeout

    def _network(self) -> tuple[Effect, ...]:
        return () if self.sandbox.closes_network(network=self.given.network) else ("network",)

    def _told(self, done: Finished, *, writable: bool) -> str:
        """What the model reads of a command that has ended."""
        if done.problem:
            raise ToolError("the command could not be run", cause=done.problem)
        lines = [_readable(done.output) or "(no output)"]
        if done.timed_out:
            lines.append(f"stopped after {done.seconds:.1f} s, its time limit; all that it started has ended")
        elif done.stopped:
            lines.append(f"ended: {done.stopped}")
        if done.exit_code and not done.timed_out:
            lines.append(f"exit code {done.exit_code}{_named(done.signal)}")
            lines += self._hint(done.output, writable=writable)
        return "\n".join(lines)

    def _hint(self, output: str, *, writable: bool) -> list[str]:
        if self.sandbox.level == "none":
            return []
        if re.search(r"Read-only file system|Permission denied|Operation not permitted", output):
            where = f"only below {self.root}" if writable else "nowhere: this command was judged to only read"
            return [f"(sandbox {self.sandbox.level}: files can be written {where})"]
        if not self.given.network and re.search(_NO_NETWORK, output, re.IGNORECASE):
            return [f"(sandbox {self.sandbox.level}: commands have no network)"]
        return []

    def _told_of(self, task: Task) -> str:
        done = task.child.result
        if done is None:
            return f"{task}\n{_readable(task.child.output()) or '(no output yet)'}"
        return f"{task}\n{self._told(done, writable=True)}"

    def _about_running(self) -> str:
        return (
            f"Run a command by bash in {self.root}, and return its output (standard output and error "
            "together) and its exit code. Each command starts anew in that folder: cd and variables do "
            "not last. Standard input is empty; no terminal. What it leaves in the background is ended "
            f"when it ends. Time limit {self.given.timeout:g} s unless you give another. {self._limits()}"
        )

    def _about_starting(self) -> str:
        return (
            f"Start a long command (a server, a training) by bash in {self.root} in the background. "
            "Returns the name of a task for task_output and stop_task; it ends with the session at the "
            f"latest. {self._limits()}"
        )

    def _limits(self) -> str:
        if self.sandbox.level == "none":
            return "There is no sandbox."
        network = "with the network" if self.given.network else "without network"
        return (
            f"It is sandboxed ({self.sandbox.level}): it writes only below that folder, {network}; home is "
            "hidden, and temporary files are gone when it ends."
        )


_NO_NETWORK = (
    "network is unreachable|could not resolve|name or service not known|temporary failure in name"
    "|connection refused|failed to establish a new connection"
)
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


async def _to_its_end(child: Child) -> Finished:
    try:
        return await child.finished()
    except asyncio.CancelledError:
        await child.ended_soon("cancelled")
        raise


_SCRIPTS = (".sh", ".bash", ".py", ".r", ".pl", ".rb", ".js", ".jl", ".mk", "makefile")
MAX_SCRIPT = 4 * 1024 * 1024


def _scripts(paths: Iterable[str]) -> str:
    """The hash of the scripts among these files: a leave to run one does not cover what it becomes."""
    digest = hashlib.sha256()
    for path in map(Path, paths):
        try:
            if not path.is_file() or not (path.name.lower().endswith(_SCRIPTS) or os.access(path, os.X_OK)):
                continue
            with path.open("rb") as file:
                digest.update(path.name.encode("utf-8", "replace") + b"\0" + file.read(MAX_SCRIPT))
        except OSError as error:
            digest.update(type(error).__name__.encode())
    return digest.hexdigest()


def _refusal(command: str) -> str:
    if not command.strip():
        return "the command is empty"
    if "\0" in command:
        return "the command holds a NUL character"
    if len(command.encode(errors="surrogatepass")) > MAX_COMMAND:
        return f"the command is longer than {MAX_COMMAND:,} bytes: write a script and run that"
    return ""


def _readable(output: str) -> str:
    """Without colours, and of a line that was overwritten only what stayed."""
    text = _ESCAPES.sub("", output).replace("\r\n", "\n")
    return re.sub(r"[^\n]*\r", "", text).rstrip("\n")


def _named(number: int | None) -> str:
    if number is None:
        return ""
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""


def _described(function: Callable[..., Any], description: str, **given: Any) -> Tool:
    return dataclasses.replace(tool(function), description=description, **given)


def _shell_program(root: Path, path: str) -> list[str]:
    """Bash without its start-up files, else sh; never one from below the root."""
    for name, options in (("bash", ["--norc", "--noprofile", "-c"]), ("sh", ["-c"])):
        for place in (f"/bin/{name}", f"/usr/bin/{name}", shutil.which(name, path=path)):
            if place and os.access(place, os.X_OK) and root not in Path(os.path.realpath(place)).parents:
                return [place, *options]
    raise SetupError("there is neither bash nor sh on this system", fixes=["install bash"])


def _absolute(env: dict[str, str]) -> dict[str, str]:
    """Without the folders of PATH that depend on where a command starts."""
    kept = [place for place in env.get("PATH", os.defpath).split(os.pathsep) if place.startswith("/")]
    return {**env, "PATH": os.pathsep.join(kept)}


def _without_root(env: dict[str, str], root: Path) -> dict[str, str]:
    """Without the folders of PATH below the root: what only reads runs no program from there."""
    kept = [
        place
        for place in env["PATH"].split(os.pathsep)
        if root not in (real := Path(os.path.realpath(place))).parents and real != root
    ]
    return {**env, "PATH": os.pathsep.join(kept)}
