"""The kernel's side of the broker: one method for each thing that it can be asked.

Each operation has a line of its own, so that any thread and any event loop may ask, and to cancel is to
close. What crosses to here is facts and outcomes, never a value.
"""

import asyncio
import contextlib
import os
import socket
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from loom_nb.credentials.broker import frames, operations
from loom_nb.credentials.broker.operations import Done, Failed, Hello
from loom_nb.credentials.broker.process import Process
from loom_nb.credentials.chosen_key import Way
from loom_nb.credentials.master_key import ENVIRONMENT
from loom_nb.credentials.policies import Binding, CredentialPolicy, SecretFacts
from loom_nb.credentials.remote import Ran
from loom_nb.credentials.secrets import Secret, secret
from loom_nb.credentials.used_secrets import USED
from loom_nb.credentials.uses import AuditRow, Ruling, Use
from loom_nb.errors import CredentialError, LoomError, LoomUsageError

if TYPE_CHECKING:
    from loom_nb.credentials.broker.serving import InThread

_T = TypeVar("_T")

Found = list[tuple[int, str]]
Tier = Literal["broker process", "this process"]
_APART = hasattr(socket, "send_fds") and hasattr(os, "fork")
"""Whether this system can hand a line to another process."""


class Broker:
    """Secrets of one home, kept and used by a process of their own, which starts at the first use.

    Every method may be called from any thread and any event loop. They raise the errors of
    `SqliteSecretStore`, and `CredentialError` where the process ends in the middle.

    Args:
        home: the folder of the store; it is made when missing.
        master: where the master key comes from; by default as it was, or the first way that there is.
        apart: whether in a process of its own; by default wherever the system can. `tier` says what is.
    """

    def __init__(self, home: Path, *, master: Way | Literal[""] = "", apart: bool | None = None) -> None:
        self.home = Path(home)
        self._master = master
        self._apart = _APART if apart is None else apart
        self._used: set[str] = set()
        self._held = _Held()
        weakref.finalize(self, _Held.stop, self._held)
        _BROKERS.add(self)

    @property
    def tier(self) -> Tier:
        """Where secrets are opened."""
        return "broker process" if self._apart else "this process"

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        office = self._held.office
        return office.pid if isinstance(office, Process) and office.alive else None

    def _note_use(self, scope: str) -> None:
        self._used.add(scope)
        USED.in_use = True

    @property
    def in_use(self) -> bool:
        """Whether it has used any secret for this process."""
        return bool(self._used)

    # -- administration ----------------------------------------------------------------------------------

    def put(
        self,
        scope: str,
        secret_type: str,
        fields: Mapping[str, object],
        *,
        binding: Binding | None = None,
        policy: CredentialPolicy | None = None,
        grants: Sequence[str] = (),
        note: str = "",
    ) -> SecretFacts:
        """Keep a secret under a name that is free."""
        kept = _checked(secret_type, fields)
        del fields
        if isinstance(kept, LoomUsageError):
            raise kept
        asked = operations.Put(scope, msgspec.Raw(kept.to_json()), binding, policy, tuple(grants), note)
        return self._ask(asked, SecretFacts)

    def rotate(self, scope: str, fields: Mapping[str, object]) -> SecretFacts:
        """Another value in place of the one that is kept; the rest stays."""
        kept = _checked(self.facts(scope).type, fields)
        del fields
        if isinstance(kept, LoomUsageError):
            raise kept
        return self._ask(operations.Rotate(scope, msgspec.Raw(kept.to_json())), SecretFacts)

    def change(
        self,
        scope: str,
        *,
        binding: Binding | None = None,
        policy: CredentialPolicy | None = None,
        grants: Sequence[str] | None = None,
        note: str | None = None,
    ) -> SecretFacts:
        """Other facts for the value that is kept; None leaves one as it is."""
        given = None if grants is None else tuple(grants)
        return self._ask(operations.Change(scope, binding, policy, given, note), SecretFacts)

    def revoke(self, scope: str) -> bool:
        """Forget a secret; whether there was one."""
        return self._ask(operations.Revoke(scope), bool)

    def facts(self, scope: str) -> SecretFacts:
        """What may be known of one. Raises `ScopeNotFound`."""
        return self._ask(operations.Facts(scope), SecretFacts)

    def list(self, prefix: str = "") -> tuple[SecretFacts, ...]:
        """What may be known of all whose scope begins so."""
        return self._ask(operations.List(prefix), tuple[SecretFacts, ...])

    def damaged(self) -> tuple[str, ...]:
        """Scopes that cannot be read or opened."""
        return self._ask(operations.Damaged(), tuple[str, ...])

    def check_log(self) -> int:
        """Read the whole audit; how many rows it has. Raises `StoreDamaged` where it was changed."""
        return self._ask(operations.CheckLog(), int)

    def rekey(self) -> int:
        """Seal everything anew; how many."""
        return self._ask(operations.Rekey(), int)

    def lock(self) -> None:
        """Forget the keys: the next use asks for the master key again."""
        self._ask(operations.Lock(), type(None))

    def unlock(self, passphrase: str = "") -> None:
        """Come by the keys. A passphrase given to an empty store is what opens it from then on."""
        asked = operations.Unlock(passphrase)
        del passphrase
        self._ask(asked, type(None))

    def log(self, scope: str = "", *, limit: int = 100) -> tuple[AuditRow, ...]:
        """What became of a secret, or of all: the latest lines of the audit, the last one last."""
        return self._ask(operations.Log(scope, limit), tuple[AuditRow, ...])

    def find(self, texts: Sequence[str]) -> Found:
        """(number of the text, scope) wherever a stored secret stands in one of them, in any encoding."""
        return self._ask(operations.Find(tuple(texts)), Found)

    # -- use ---------------------------------------------------------------------------------------------

    async def ruling(self, use: Use) -> Ruling:
        """What the policy says of a use. Nothing is opened, nothing is counted."""
        return await self._asked(operations.Rule(use), Ruling)

    async def exchange(self, asked: operations.Exchange, body: bytes = b"") -> "Answer":
        """Send a request with a secret in it; its answer, cleaned of the secret, as it comes.

        Args:
            asked: which secret, who wants it, and the request without it.
            body: of the request.

        Returns:
            The answer: close it.

        Raises:
            CredentialDenied: the policy, the binding or the grants refuse it, or a person has to be asked.
            CredentialError: the secret cannot be used; the process ended in the middle.
            ToolError: the address is refused.
            ExchangeBroke: the server cannot be reached or does not answer.
        """
        pieces = frames.pieces(body)
        async with contextlib.AsyncExitStack() as stack:
            reader, writer = await stack.enter_async_context(self.opened())
            self._note_use(asked.use.scope)  # it may be sent, and told elsewhere, though no answer comes
            writer.write(frames.packed(frames.JSON, frames.encoded(asked)))
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            _, payload = await frames.read(reader)
            head = msgspec.json.decode(payload, type=operations.Head | Failed)
            if isinstance(head, Failed):
                raise head.error()
            return Answer(head, reader, stack.pop_all())

    async def redact(self, text: str) -> str:
        """The text without any secret that was used, in any encoding."""
        return await self._asked(operations.Redact(text), str)

    def without_secrets(self, text: str) -> str:
        """The text without any secret that is kept, in any encoding. Raises `SecretsLocked`."""
        return self._ask(operations.Redact(text, kept=True), str)

    async def ssh_call(self, use: Use, command: str, *, seconds: float, raw: bool = False) -> Ran:
        """Run a command on the machine that a secret is bound to; to cancel this ends it there.

        Args:
            use: the secret, who wants it and why; where it goes is told by the secret alone.
            command: for the log-in shell of its user.
            seconds: after which it is ended.
            raw: sent as it is, to what is no shell; it may then outlive its time.

        Raises:
            CredentialDenied: the policy refuses it, or a person has to be asked.
            HostKeyRefused: the machine is not the one that is pinned.
            CredentialError: the machine does not take the secret.
            ToolError: it cannot be reached.
        """
        self._note_use(use.scope)
        return await self._asked(operations.SshCall(use, command, seconds, raw), Ran)

    async def ssh_send(self, use: Use, command: str, *, seconds: float, session: str = "") -> Ran:
        """Run a command in a shell that keeps its state. Raises as `ssh_call`.

        Args:
            use: as for `ssh_call`.
            command: for the shell.
            seconds: after which it is interrupted.
            session: which shell, as an earlier answer named it; empty for a new one.
        """
        self._note_use(use.scope)
        return await self._asked(operations.SshSend(use, command, seconds, session), Ran)

    async def ssh_close(self, session: str) -> bool:
        """End a session; whether there was one."""
        return await self._asked(operations.SshClose(session), bool)

    def stop(self) -> None:
        """End the process. The next operation starts another one."""
        self._held.stop()

    # -- lines -------------------------------------------------------------------------------------------

    def _ask(self, asked: operations.Operation, kind: type[_T]) -> _T:
        payload = self._told(asked)
        del asked  # it may hold a value, which no frame of an error should
        if isinstance(payload, LoomError):
            raise payload
        return answered(payload, kind)

    def _told(self, asked: operations.Operation) -> bytes | LoomError:
        """The answer, or what went wrong on the way."""
        looks = isinstance(asked, operations.LOOKS)
        try:
            frame = frames.packed(frames.JSON, frames.encoded(asked))
            try:
                return self._through(frame)
            except OSError:
                return self._through(frame) if looks else ended()
        except OSError:
            return ended()
        except LoomError as error:
            return error.with_traceback(None)

    def _through(self, frame: bytes) -> bytes:
        with self._line() as line:
            line.sendall(frame)
            return frames.receive(line)[1]

    async def _asked(self, asked: operations.Operation, kind: type[_T]) -> _T:
        async with self.opened() as (reader, writer):
            writer.write(frames.packed(frames.JSON, frames.encoded(asked)))
            await writer.drain()
            _, payload = await frames.read(reader)
        if isinstance(asked, operations.SshCall | operations.SshSend):
            self._note_use(asked.use.scope)
        return answered(payload, kind)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A line of its own on the event loop that runs; closed at the end of the block.

        Raises:
            CredentialError: the process ended in the middle.
        """
        try:
            line = self._line() if self._held.ready else await asyncio.to_thread(self._line)
            reader, writer = await frames.streams(line)
            try:
                yield reader, writer
            finally:
                writer.close()
        except OSError:
            raise ended() from None

    def _line(self) -> socket.socket:
        """One end of a new line, whose other end the broker has. Starts it where it does not run."""
        if sys.platform == "emscripten":
            raise CredentialError("secrets are not kept in a kernel that runs in a browser")
        for _ in range(2):  # one that died since it was last asked is started anew
            ours, theirs = socket.socketpair()
            try:
                with theirs, self._held.turn:
                    self._running().hand_over(theirs)
            except ConnectionError:
                ours.close()
                self._held.stop()
            except BaseException:
                ours.close()
                raise
            else:
                return ours
        raise ConnectionError("it does not stay")

    def _running(self) -> "Process | InThread":
        held = self._held
        if held.office is None or not held.office.alive:
            held.end()
            held.office = self._start()
        return held.office

    def _start(self) -> "Process | InThread":
        handed = os.environ.get(ENVIRONMENT, "").strip()
        hello = Hello(str(self.home.absolute()), self._master, handed, tuple(sorted(self._used)))
        if self._apart:
            return Process(hello)
        from loom_nb.credentials.broker.serving import InThread

        return InThread(hello)

    def __repr__(self) -> str:
        return f"Broker({str(self.home)!r}, {self.tier})"


class Answer:
    """An answer whose body is read as it comes. To be closed, as by `async with`."""

    def __init__(
        self, head: operations.Head, reader: asyncio.StreamReader, line: contextlib.AsyncExitStack
    ) -> None:
        self.head = head
        self.whole: bool | None = None
        """Whether all of the body came; None before its end."""
        self._reader = reader
        self._line = line

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece.

        Raises:
            ExchangeBroke: the server broke off.
            CredentialError: the process ended in the middle.
        """
        while self.whole is None:
            try:
                kind, payload = await frames.read(self._reader)
            except OSError:
                raise ended() from None
            if kind == frames.DATA:
                yield payload
                continue
            end = msgspec.json.decode(payload, type=operations.Ended | Failed)
            if isinstance(end, Failed):
                self.whole = False
                raise end.error()
            self.whole = end.whole

    async def body(self) -> bytes:
        """All of it."""
        return b"".join([chunk async for chunk in self.chunks()])

    async def close(self) -> None:
        """Let go of it: what still comes is not waited for. May be called twice."""
        await self._line.aclose()

    async def __aenter__(self) -> "Answer":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def ended() -> CredentialError:
    """The process ended in the middle."""
    return CredentialError(
        "the broker of secrets ended in the middle of this",
        cause="whether it was done is not known; the next use starts it again",
        fixes=("%loom key log",),
    )


class _Held:
    """What runs now, apart from the object that asks it, so that it is ended when nobody asks any more."""

    def __init__(self) -> None:
        self.turn = threading.RLock()
        self.office: Process | InThread | None = None

    @property
    def ready(self) -> bool:
        """Whether it runs, as far as is known."""
        office = self.office
        return office is not None and office.alive

    def end(self) -> None:
        """End what runs; under `turn`."""
        office, self.office = self.office, None
        if office is not None:
            office.stop()

    def stop(self) -> None:
        """End what runs."""
        with self.turn:
            self.end()

    def forked(self) -> None:
        """In a forked child: what the parent holds is not ours."""
        self.turn = threading.RLock()  # somebody in the parent may have held the other one
        office, self.office = self.office, None
        if isinstance(office, Process):
            office.let_go()


def answered(payload: bytes, kind: type[_T]) -> _T:
    """The value of an answer; raises the error that came in its place."""
    answer = msgspec.json.decode(payload, type=Done | Failed)
    if isinstance(answer, Failed):
        raise answer.error()
    return msgspec.json.decode(bytes(answer.value), type=kind)


def _checked(secret_type: str, fields: Mapping[str, object]) -> Secret | LoomUsageError:
    """The secret of these fields, or what is wrong with them: an error whose frames hold no value."""
    try:
        return secret(secret_type, fields)
    except LoomUsageError as error:
        return error.with_traceback(None)


_BROKERS: "weakref.WeakSet[Broker]" = weakref.WeakSet()
_AT: dict[Path, Broker] = {}
_AT_TURN = threading.Lock()


def brokers() -> tuple[Broker, ...]:
    """All of this process."""
    return tuple(_BROKERS)


def broker_at(home: Path) -> Broker:
    """The one broker of this process for a folder; it starts nothing."""
    with _AT_TURN:
        return _AT.setdefault(Path(home).absolute(), Broker(home))


def default_broker() -> Broker:
    """The broker of this user: `secrets` in the home that the settings name. Starts nothing."""
    from loom_nb.settings import load

    return broker_at(load().home / "secrets")


def _forked() -> None:
    for broker in list(_BROKERS):
        broker._held.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
