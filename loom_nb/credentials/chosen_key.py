"""Which of the ways to the master key a store goes: chosen once, when it begins, and kept beside it."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from loom_nb.credentials.master_key import ENVIRONMENT, KeychainKey, KeyFile, MasterKey, Passphrase
from loom_nb.credentials.sealing import SealingKey
from loom_nb.errors import LoomUsageError, SecretsLocked, StoreError

Way = Literal["keychain", "environment", "passphrase", "file"]
WAYS: tuple[Way, ...] = get_args(Way)


@dataclass(frozen=True, slots=True, repr=False)
class HandedKey:
    """A key that was read from the environment of another process, as `SealingKey.to_text` writes it."""

    text: str
    source: str = f"environment variable {ENVIRONMENT}"

    def key(self, salt: bytes, *, make: bool) -> SealingKey:
        """The key. Raises `SecretsLocked` where there is none, or it is no key."""
        if not self.text:
            raise SecretsLocked(
                f"{ENVIRONMENT} is not set", fixes=(f"set {ENVIRONMENT} and restart the kernel",)
            )
        try:
            return SealingKey.from_text(self.text)
        except ValueError as error:
            raise SecretsLocked(f"{ENVIRONMENT} holds no master key", cause=str(error)) from None


@dataclass(slots=True, repr=False)
class ChosenKey:
    """The master key of one store, by the way that was chosen when the store began.

    Args:
        home: the folder of the store.
        way: the way to take; empty: the one that was taken before, else the first that there is of keychain,
            environment and file, and a passphrase where one was given.
        handed: the master key of the environment.
    """

    home: Path
    way: str = ""
    handed: str = ""
    words: str = field(default="", repr=False)
    """The passphrase, from `unlock` to `lock`."""

    @property
    def source(self) -> str:
        """Which way."""
        way = self._taken()
        return "master key" if way == "" else self._ways()[way].source

    def key(self, salt: bytes, *, make: bool) -> SealingKey:
        """The key.

        Raises:
            SecretsLocked: the way that was chosen does not lead to one now.
        """
        way = self._taken()
        if way != "":
            return self._found(way, salt, make=make)
        if self.words:
            return self._found("passphrase", salt, make=make)
        possible: Way
        for possible in ("keychain", "environment"):
            try:
                return self._found(possible, salt, make=make)
            except SecretsLocked:
                continue
        return self._found("file", salt, make=make)

    def given(self, words: str) -> None:
        """A person's passphrase. Raises `LoomUsageError` where the store is opened another way."""
        way = self._taken()
        if way not in ("", "passphrase"):
            source = self.source
            raise LoomUsageError(f"the secrets are opened by the {source}, not by a passphrase")
        self.words = words

    def _found(self, way: Way, salt: bytes, *, make: bool) -> SealingKey:
        if way == "environment" and not self.handed:
            raise SecretsLocked(f"{ENVIRONMENT} is not set")
        key = self._ways()[way].key(salt, make=make)
        if make:
            self._keep(way)
            taken = self._taken() or way
            if taken != way:  # another process was faster
                return self._ways()[taken].key(salt, make=make)
        return key

    def _ways(self) -> dict[Way, MasterKey]:
        return {
            "keychain": KeychainKey(),
            "environment": HandedKey(self.handed),
            "passphrase": Passphrase(self._ask),
            "file": KeyFile(self.home / "master.key"),
        }

    def _ask(self) -> str:
        if not self.words:
            raise SecretsLocked("the secrets are locked by a passphrase", fixes=("%loom key unlock",))
        return self.words

    def _taken(self) -> Way | Literal[""]:
        text = self.way
        if not text:
            try:
                text = self._note.read_text(encoding="ascii").strip()
            except FileNotFoundError:
                return ""
            except (OSError, UnicodeDecodeError) as error:
                raise SecretsLocked(f"{self._note} cannot be read", cause=type(error).__name__) from None
        way = next((one for one in WAYS if one == text), None)
        if way is None:
            raise SecretsLocked(
                f"{self._note} names no way to a master key", cause=f"ways: {', '.join(WAYS)}"
            )
        return way

    def _keep(self, way: Way) -> None:
        draft = self._note.with_name(f"{self._note.name}.{os.getpid()}.{os.urandom(4).hex()}.new")
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_text(f"{way}\n", encoding="ascii")
            try:
                os.link(draft, self._note)  # the first process wins
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        except OSError as error:
            raise StoreError(f"{self._note} cannot be written", cause=str(error.strerror)) from None

    @property
    def _note(self) -> Path:
        return self.home / "opened-by"
