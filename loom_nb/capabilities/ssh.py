"""Commands on other machines over SSH: the agent names a secret that it was granted, the secret the machine.

The broker logs in; neither password nor key comes into this process. Which machine it is, and by which key
it is known, is sealed with the secret.
"""

import asyncio
import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from loom_nb.border import clean
from loom_nb.capabilities.secret_use import BySecret, use_in_call
from loom_nb.capabilities.shell.command import assess_command
from loom_nb.checks import check, flag, number
from loom_nb.credentials.broker import Broker, default_broker
from loom_nb.credentials.policies import SecretFacts
from loom_nb.credentials.remote import MAX_COMMAND, MAX_SECONDS, Destination, Ran, audited, destination
from loom_nb.credentials.uses import Use
from loom_nb.errors import CredentialError, LoomUsageError, ToolError
from loom_nb.events import SecretUsed
from loom_nb.protocols import Call, Toolset, current_call
from loom_nb.tools import Assessment, Effect, Tool, tool

RUNS: frozenset[Effect] = frozenset({"runs", "network"})
MAX_SESSIONS = 8
"""Of one agent."""
_LEFT = "(something that it started in the background still runs there)"
_SESSION = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")

_WANTED = {
    "timeout": number(above=0, most=MAX_SECONDS, unit="a number of seconds", such_as="120"),
    "raw": flag(),
}


@dataclass(frozen=True)
class SshCapability:
    """The tools `ssh_call` and `ssh_session`.

    Args:
        scopes: the secrets that may be used. Each is of type password or ssh_private_key and bound to one
            user on one host, whose key is pinned.
        timeout: seconds for a command that is given none.
        raw: commands are sent as they are, to what is no shell, such as a router. One that is given up may
            go on there then, and there are no sessions.
        broker: uses the secrets; the one of this user by default.
    """

    scopes: Iterable[str]
    timeout: float = 120.0
    raw: bool = False
    broker: Broker | None = None
    name: str = field(default="ssh", init=False)

    def __post_init__(self) -> None:
        if isinstance(self.scopes, str):
            raise LoomUsageError(
                "Capability.ssh takes a list of secrets", fixes=[f"Capability.ssh([{self.scopes!r}])"]
            )
        scopes = tuple(self.scopes) if isinstance(self.scopes, Iterable) else ()
        if not scopes or not all(isinstance(one, str) and one for one in scopes):
            raise LoomUsageError(
                "Capability.ssh takes the names of secrets, one or more",
                fixes=["Capability.ssh(['prod.db'])"],
            )
        check(self, _WANTED, called="Capability.ssh")
        object.__setattr__(self, "scopes", scopes)

    async def open(self) -> Toolset:
        """The tools. Nothing is connected before one of them is called."""
        machines = Machines(tuple(self.scopes), self.broker or default_broker(), self.timeout, self.raw)
        return Toolset(tools=machines.tools(), rules=(machines.rule,), close=machines.close)


class Machines:
    """The machines that the secrets of one agent lead to, and its sessions there."""

    def __init__(self, scopes: tuple[str, ...], broker: Broker, timeout: float, raw: bool) -> None:
        self._scopes = scopes
        self._broker = broker
        self._timeout = timeout
        self._raw = raw
        self._sessions: dict[tuple[str, str], str] = {}
        self._names = frozenset({"ssh_call"} if raw else {"ssh_call", "ssh_session"})
        self.rule = BySecret(self._use_of, broker)

    def tools(self) -> tuple[Tool, ...]:
        """`ssh_call`, and `ssh_session` where there are shells."""
        made = tool(effects=RUNS, destructive=True, timeout=MAX_SECONDS + 60, max_chars=40_000)
        whole = (
            (self.ssh_call, self._about_calls(), self._assess_call),
            (self.ssh_session, self._about_sessions(), self._assess_session),
        )
        return tuple(
            replace(made(function), description=about, assess=assess)
            for function, about, assess in whole
            if function.__name__ in self._names
        )

    async def ssh_call(
        self,
        scope: str,
        command: str,
        timeout: float | None = None,  # noqa: ASYNC109  it is the command's
        why: str = "",
    ) -> str:
        """Run a command on another machine.

        Args:
            scope: the secret to log in with; it says which machine.
            command: what the shell there is given.
            timeout: seconds after which it is ended.
            why: what it is for, in a few words, for the person who is asked.
        """
        self._check(scope, command)
        ran = await self._broker.ssh_call(
            use_in_call(scope, "ssh_call", why), command, seconds=self._seconds(timeout), raw=self._raw
        )
        _keep_fact(scope, "ssh_call", ran)
        return told(ran)

    async def ssh_session(
        self,
        scope: str,
        command: str,
        session: str = "main",
        timeout: float | None = None,  # noqa: ASYNC109  it is the command's
        close: bool = False,
        why: str = "",
    ) -> str:
        """Run a command in a shell on another machine that stays open.

        Args:
            scope: the secret to log in with; it says which machine.
            command: what the shell there is given; may be empty to only close it.
            session: which shell, by a name of your own; a new name opens another one.
            timeout: seconds after which it is interrupted.
            close: end the shell afterwards.
            why: what it is for, in a few words, for the person who is asked.
        """
        if not _SESSION.fullmatch(session):
            raise ToolError("session is a short name of letters, digits, '_', '.' and '-'")
        place = (scope, session)
        if close and not command.strip():
            return await self._closed(place)
        self._check(scope, command)
        known = self._sessions.get(place, "")
        if not known and len(self._sessions) >= MAX_SESSIONS:
            open_now = ", ".join(name for _, name in self._sessions)
            raise ToolError(f"{MAX_SESSIONS} sessions are open, which is the most", cause=f"open: {open_now}")
        ran = await self._sent(place, known, command, self._seconds(timeout), why)
        first = "" if known else f"(a new session {session})\n"
        last = f"\n{await self._closed(place)}" if close and ran.session else ""
        return first + told(ran, session) + last

    async def _sent(self, place: tuple[str, str], known: str, command: str, seconds: float, why: str) -> Ran:
        use = use_in_call(place[0], "ssh_session", why)
        self._sessions.pop(place, None)  # whatever breaks now, the next one is new, and says so
        try:
            ran = await self._broker.ssh_send(use, command, seconds=seconds, session=known)
        except asyncio.CancelledError:
            if known:
                self._sessions[place] = known  # it is interrupted, and goes on
            raise
        if ran.session:
            self._sessions[place] = ran.session
        _keep_fact(place[0], "ssh_session", ran)
        return ran

    async def _closed(self, place: tuple[str, str]) -> str:
        name = self._sessions.pop(place, "")
        was = bool(name) and await self._broker.ssh_close(name)
        return f"session {place[1]} is closed" if was else f"there is no session {place[1]}"

    async def close(self) -> None:
        """End the sessions."""
        names, self._sessions = tuple(self._sessions.values()), {}
        for name in names:
            with contextlib.suppress(CredentialError):
                await self._broker.ssh_close(name)

    # -- before it runs ----------------------------------------------------------------------------------

    def _assess_call(
        self, scope: str, command: str, timeout: float | None = None, why: str = ""
    ) -> Assessment:
        return self._assess(scope, command)

    def _assess_session(
        self,
        scope: str,
        command: str,
        session: str = "main",
        timeout: float | None = None,
        close: bool = False,
        why: str = "",
    ) -> Assessment:
        if close and not command.strip():
            return Assessment(frozenset({"reads"}), reasons=("ends a session",))
        return self._assess(scope, command)

    def _assess(self, scope: str, command: str) -> Assessment:
        """What a command would do, as far as it can be told from here: that it only looks cannot."""
        try:
            self._check(scope, command)
        except ToolError as refused:
            return Assessment(RUNS, True, refusal=str(refused), preview=clean(command)[:4_000])
        try:
            facts = self._broker.facts(scope)
            where = destination(facts)
        except CredentialError as problem:
            return Assessment(RUNS, True, failure=str(problem))
        seen = assess_command(command, root="/", cwd="/", resolve=str)
        return Assessment(
            RUNS,
            destructive=seen.destructive,
            reasons=(f"runs a command on {where} with the secret {scope}", *seen.reasons),
            preview=command,
            preview_kind="command",
            hosts=(where.host,),
            binds=_bound(where, facts),
        )

    def _use_of(self, call: Call) -> Use | None:
        """The use that a call would be."""
        if call.name not in self._names or call.effects == {"reads"}:
            return None
        given = call.arguments
        scope, command = str(given.get("scope", "")), str(given.get("command", ""))
        where = destination(self._broker.facts(scope))
        return Use(
            scope=scope, who=f"tool:{call.name}", notebook=call.notebook, agent=call.agent,
            session=call.session, run=call.run, call=call.id, method="SSH", scheme="ssh", host=where.host,
            port=where.port, path=audited(command), why=str(given.get("why", "")), approved=call.approved,
        )  # fmt: skip

    def _check(self, scope: str, command: str) -> None:
        if scope not in self._scopes:
            raise ToolError(
                f"{clean(scope)[:100]!r} is no secret that you were granted",
                cause=f"granted: {', '.join(self._scopes)}",
            )
        if not command.strip() or "\0" in command or len(command) > MAX_COMMAND:
            raise ToolError(f"a command has 1 to {MAX_COMMAND:,} characters, none of them NUL")

    def _seconds(self, timeout: float | None) -> float:
        if timeout is None:
            return self._timeout
        if not 0 < timeout <= MAX_SECONDS:
            raise ToolError(f"timeout is a number of seconds up to {MAX_SECONDS:g}")
        return timeout

    # -- what the model is told --------------------------------------------------------------------------

    def _about_calls(self) -> str:
        return (
            f"Run a command on another machine over SSH. {self._granted()} Returns its output, its standard "
            "error apart, and its exit code. Each command is on its own: cd and variables do not last. "
            f"Standard input is empty; there is no terminal. Time limit {self._timeout:g} s unless you give "
            "another; what is still running then is ended there."
        )

    def _about_sessions(self) -> str:
        return (
            "Run a command in a shell on another machine that stays open between calls, over SSH: cd, "
            f"variables and functions last. {self._granted()} A new name opens another shell. Standard input "
            "of a command is empty; there is no terminal. A command that takes too long is interrupted; "
            "`exit` and `exec` end the shell."
        )

    def _granted(self) -> str:
        return f"scope is one of: {', '.join(self._scopes)}; it says which machine and which user."


def _keep_fact(scope: str, name: str, ran: Ran) -> None:
    """Have the run's log tell that a secret was used."""
    context = current_call.get()
    if context is not None:
        context.say(SecretUsed(scope, f"tool:{name}", context.call_id, "SSH", ran.where, mode=ran.mode))


def _bound(where: Destination, facts: SecretFacts) -> str:
    """What a leave is bound to: the machine, and the keys by which it is known."""
    return f"{where} {' '.join(facts.binding.host_keys) or facts.binding.known_hosts}"


def told(ran: Ran, session: str = "") -> str:
    """What became of a command, for a model."""
    lines = []
    if ran.late:
        lines.append(f"--- what earlier commands said meanwhile\n{readable(ran.late, len(ran.late))}\n---")
    lines.append(readable(ran.out, ran.out_bytes) or ("(no output)" if not ran.err else ""))
    if ran.err:
        lines.append(f"--- standard error\n{readable(ran.err, ran.err_bytes)}\n---")
    lines.append(_ending(ran))
    if ran.held:
        lines.append(_LEFT if ran.ended != "timeout" else "(it may still run there)")
    if session and not ran.session:
        lines.append(
            f"(session {session} has ended with it: what it knew is gone; the next call opens a new one)"
        )
    return "\n".join(line for line in lines if line)


def _ending(ran: Ran) -> str:
    match ran.ended:
        case "exit":
            return f"exit code {ran.code}"
        case "signal":
            return f"ended by the signal {ran.signal}"
        case "timeout":
            what = "interrupted" if ran.session else "given up" if ran.held else "ended there"
            return f"{what} after {ran.seconds:.1f} s, its time limit"
        case _:
            return "the connection broke: whether the command went on is not known"


def readable(output: str, size: int) -> str:
    """Output as text: without colours, and told in a few words where it is no text."""
    strange = output.count("\0") + output.count("\ufffd")
    if strange > len(output) / (100 if "\0" in output else 5):
        return f"({size:,} bytes that are no text: not shown)"
    text = _ESCAPES.sub("", output).replace("\r\n", "\n")
    return re.sub(r"[^\n]*\r", "", text).rstrip("\n")
