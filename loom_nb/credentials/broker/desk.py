"""The broker's side: carries out what the kernel asks, over the store that only it opens."""

import asyncio
import contextlib
import logging
import socket
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from loom_nb.credentials.broker import frames, operations
from loom_nb.credentials.broker.exchange import Exchanges
from loom_nb.credentials.broker.operations import Done, Failed, Operation, SshCall, SshClose, SshSend
from loom_nb.credentials.broker.shells import Shells, unless_hung_up
from loom_nb.credentials.broker.used import Used
from loom_nb.credentials.chosen_key import ChosenKey
from loom_nb.credentials.secrets import Secret
from loom_nb.credentials.store import SqliteSecretStore
from loom_nb.errors import CredentialError, LoomError, ScopeNotFound, SecretDamaged, SecretsLocked
from loom_nb.redaction.redactor import Redactor

log = logging.getLogger("loom_nb.broker")

FILE = "secrets.db"


class Desk:
    """Every operation, for one home. Safe for any number of lines at once.

    Args:
        hello: where the secrets lie, and how they are opened.
    """

    def __init__(self, hello: operations.Hello) -> None:
        home = Path(hello.home)
        self._key = ChosenKey(home, hello.master, hello.handed)
        self.store = SqliteSecretStore(home / FILE, self._key)
        self.used = Used()
        self._before = hello.used
        self.exchanges = Exchanges(self.store, self.used)
        self._shells = Shells(self.store, self.used)
        self._tasks: set[asyncio.Task[None]] = set()
        self._decode = msgspec.json.Decoder(Operation).decode
        self._blocking: Mapping[type, Callable[[Any], object]] = {
            operations.Put: self._put,
            operations.Rotate: lambda asked: self.store.rotate(asked.scope, _secret(asked.secret)),
            operations.Log: lambda asked: self.store.log(asked.scope, limit=asked.limit),
            operations.Rule: lambda asked: self.store.ruling(asked.use),
            operations.Find: self._find,
            operations.Redact: lambda asked: self._redacted(asked.text, kept=asked.kept),
            operations.Change: self._change,
            operations.Revoke: lambda asked: self.store.revoke(asked.scope),
            operations.Facts: lambda asked: self.store.facts(asked.scope),
            operations.List: lambda asked: self.store.list(asked.prefix),
            operations.Damaged: lambda asked: self.store.damaged(),
            operations.CheckLog: lambda asked: self.store.check_log(),
            operations.Rekey: lambda asked: self.store.rekey(),
            operations.Lock: self._lock,
            operations.Unlock: self._unlock,
        }

    def follow(self, line: socket.socket) -> None:
        """Serve one more line, on the event loop that runs."""
        task = asyncio.get_running_loop().create_task(self.serve(line))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def serve(self, line: socket.socket) -> None:
        """One operation on a line of its own: read, carry out, answer. Never raises."""
        writer = None
        try:
            line.setblocking(False)
            reader, writer = await frames.streams(line)
            kind, payload = await frames.read(reader)
            if kind != frames.JSON:
                return
            await self._answer(self._decode(payload), reader, writer)
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            log.info("a line ended: %s", type(error).__name__)
        finally:
            if writer is not None:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            else:
                line.close()

    async def hang_up(self) -> None:
        """End what runs on other machines; takes seconds at most."""
        await self._shells.close()

    def close(self) -> None:
        """Let go of the store and of the keys."""
        self._key.words = ""
        self.store.close()

    async def _answer(
        self, asked: Operation, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        name = type(asked).__name__
        try:
            if isinstance(asked, operations.Exchange):
                await self._exchange(asked, reader, writer)
                log.info("%s of %s", name, asked.use.scope)
                return
            value = await self._carried_out(asked, reader)
            answer: Done | Failed = Done(msgspec.Raw(msgspec.json.encode(value)))
            # those are so many that the log would tell of nothing else
            log.log(logging.DEBUG if isinstance(asked, operations.LOOKS) else logging.INFO, "%s", name)
        except LoomError as error:
            log.info("%s: %s", name, type(error).__name__)
            answer = Failed.of(error, self.used.redactor.text)
        except OSError:
            raise  # the line itself
        except Exception as error:  # noqa: BLE001  the border: what goes wrong here is told there
            log.error("%s: %s", name, failure(error))  # noqa: TRY400  its words may hold a value
            answer = Failed.of(
                CredentialError(
                    f"the broker of secrets failed at {name}: {type(error).__name__}",
                    cause="its log says where",
                )
            )
        writer.write(frames.packed(frames.JSON, msgspec.json.encode(answer)))
        await writer.drain()

    async def _carried_out(self, asked: Operation, reader: asyncio.StreamReader) -> object:
        if isinstance(asked, SshCall | SshSend | SshClose):
            if self._before:
                await asyncio.to_thread(self._known)
            return await unless_hung_up(reader, self._shells.carry_out(asked))
        done = await asyncio.to_thread(self._blocking[type(asked)], asked)
        if isinstance(asked, operations.Rotate | operations.Change | operations.Revoke):
            self.exchanges.forget(asked.scope)
            self._shells.forget(asked.scope)
        elif isinstance(asked, operations.Lock):
            self._shells.forget()
        return done

    async def _exchange(
        self, asked: operations.Exchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        body = await frames.read_data(reader, frames.MAX_BODY)
        if self._before:
            await asyncio.to_thread(self._known)

        async def tell(part: operations.Head | operations.Ended | bytes) -> None:
            if isinstance(part, bytes):
                for start in range(0, len(part), frames.MAX_DATA):
                    writer.write(frames.packed(frames.DATA, part[start : start + frames.MAX_DATA]))
            else:
                writer.write(frames.packed(frames.JSON, msgspec.json.encode(part)))
            await writer.drain()

        work = asyncio.ensure_future(self.exchanges.carry_out(asked, body, tell))
        gone = asyncio.ensure_future(reader.read(1))  # nothing more is said there: it ends, or who asked does
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not work.done():
                work.cancel()
                log.info("%s was given up", asked.use.scope)
            await asyncio.wait((work, gone))
        if not work.cancelled():
            work.result()

    def _known(self) -> Redactor:
        """What takes out all that was used, also by a broker before this one."""
        locked = []
        for scope in self._before:
            try:
                self.used.add(scope, self.store.get(scope)[1].hidden())
            except SecretsLocked:
                locked.append(scope)
            except CredentialError:
                pass  # it is gone, or damaged
        self._before = tuple(locked)
        return self.used.redactor

    def _redacted(self, text: str, *, kept: bool = False) -> str:
        """A text without all that was used, or without all there is.

        Raises `SecretsLocked` where some of it cannot be looked for.
        """
        redactor = self._known()
        if self._before:
            raise SecretsLocked(
                "secrets that were used cannot be looked for while they are locked",
                fixes=("%loom key unlock",),
            )
        text = redactor.text(text)
        return self._all().text(text) if kept else text

    def _all(self) -> Redactor:
        values = {}
        for facts in self.store.list():
            with contextlib.suppress(SecretDamaged, ScopeNotFound):
                values[facts.scope] = self.store.get(facts.scope)[1].hidden()
        return Redactor(values)

    def _find(self, asked: operations.Find) -> list[tuple[int, str]]:
        redactor = self._all()
        return [
            (number, name)
            for number, text in enumerate(asked.texts)
            for name in sorted(redactor.names_in(text))
        ]

    # -- operations --------------------------------------------------------------------------------------

    def _put(self, asked: operations.Put) -> object:
        return self.store.put(
            asked.scope,
            _secret(asked.secret),
            binding=asked.binding,
            policy=asked.policy,
            grants=asked.grants,
            note=asked.note,
        )

    def _change(self, asked: operations.Change) -> object:
        return self.store.change(
            asked.scope, binding=asked.binding, policy=asked.policy, grants=asked.grants, note=asked.note
        )

    def _lock(self, asked: operations.Lock) -> None:
        self._key.words = ""
        self.store.lock()

    def _unlock(self, asked: operations.Unlock) -> None:
        if asked.passphrase:
            self._key.given(asked.passphrase)
        try:
            self.store.unlock()
        except BaseException:
            self._key.words = ""
            raise


def _secret(raw: msgspec.Raw) -> Secret:
    return Secret.from_json(bytes(raw))


def failure(error: BaseException) -> str:
    """An exception for the log: its classes and places, never its words, which may hold a value."""
    places = " < ".join(
        f"{Path(frame.filename).name}:{frame.lineno}"
        for frame in reversed(traceback.extract_tb(error.__traceback__))
    )
    return f"{type(error).__name__} at {places}"
