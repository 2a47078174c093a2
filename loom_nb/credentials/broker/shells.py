"""SSH of the broker: each command is a use of its secret, ruled and written down before it is sent."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from loom_nb.credentials.broker.operations import SshCall, SshClose, SshSend
from loom_nb.credentials.broker.used import Used
from loom_nb.credentials.policies import SecretFacts
from loom_nb.credentials.remote import MAX_COMMAND, MAX_SECONDS, Filter, Ran, audited, destination
from loom_nb.credentials.secrets import Secret
from loom_nb.credentials.store import SecretStore
from loom_nb.credentials.uses import Use
from loom_nb.errors import ToolError

if TYPE_CHECKING:
    from loom_nb.credentials.ssh_sessions import Sessions

_T = TypeVar("_T")


class Shells:
    """Commands over SSH for one desk, on its event loop. The library is loaded at the first of them.

    Args:
        store: gives a secret out, once it has written that down.
        used: is told the values of each secret before it is used, and takes them out of what is said.
    """

    def __init__(self, store: SecretStore, used: Used) -> None:
        self._store = store
        self._used = used
        self._opened: Sessions | None = None

    async def carry_out(self, asked: SshCall | SshSend | SshClose) -> Ran | bool:
        """What became of it.

        Raises:
            CredentialDenied: the policy, the binding or the grants refuse it; the secret is not for SSH.
            CredentialError: as of the store; `HostKeyRefused`; the server does not take the secret.
            ToolError: the server cannot be reached, or there is no such session.
            SetupError: asyncssh is not installed.
        """
        sessions = self._sessions()
        match asked:
            case SshClose():
                return await sessions.end(asked.session)
            case SshSend() if asked.session and asked.session not in sessions:
                from loom_nb.credentials.ssh_sessions import gone

                raise gone()
        if not 0 < len(asked.command) <= MAX_COMMAND or "\0" in asked.command:
            raise ToolError(f"a command has 1 to {MAX_COMMAND:,} characters, none of them NUL")
        seconds = min(asked.seconds, MAX_SECONDS)
        facts, secret = await asyncio.to_thread(self._taken, asked.use, asked.command)
        if isinstance(asked, SshCall):
            ran = await sessions.ssh.call(facts, secret, asked.command, seconds=seconds, raw=asked.raw)
        else:
            ran = await sessions.send(asked.session, facts, secret, asked.command, seconds=seconds)
        where, mode = destination(facts).authority, facts.policy.mode
        return msgspec.structs.replace(ran, where=where, mode=mode)

    def forget(self, scope: str = "") -> None:
        """Close all that was opened with a secret, or with any."""
        if self._opened is not None:
            self._opened.ssh.forget(scope)

    async def close(self) -> None:
        """End all that is under way, over there too; takes seconds at most."""
        if self._opened is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(3.0):
                    await self._opened.close()
                    await self._opened.ssh.close()

    def _taken(self, use: Use, command: str) -> tuple[SecretFacts, Secret]:
        """The secret, for a command on the host that its binding names; the gate reads the sealed binding."""
        where = destination(self._store.facts(use.scope))
        use = msgspec.structs.replace(
            use, method="SSH", scheme="ssh", host=where.host, port=where.port, path=audited(command)
        )
        facts, secret = self._store.take(use)
        self._used.add(use.scope, secret.hidden())
        return facts, secret

    def _filter(self) -> Filter:
        """Takes out all that was used so far."""
        return self._used.redactor.stream()

    def _sessions(self) -> "Sessions":
        if self._opened is None:
            from loom_nb.credentials.ssh import Ssh
            from loom_nb.credentials.ssh_sessions import Sessions

            self._opened = Sessions(Ssh(filters=self._filter))
        return self._opened


class HungUp(ConnectionError):
    """Nobody waits for the answer any more."""


async def unless_hung_up(reader: asyncio.StreamReader, work: Coroutine[Any, Any, _T]) -> _T:
    """What work gives; it is cancelled where the other side hangs up. Raises `HungUp` then."""
    task = asyncio.ensure_future(work)
    listening = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HungUp
        return task.result()
    finally:
        for one in (task, listening):
            one.cancel()
        await asyncio.gather(task, listening, return_exceptions=True)
