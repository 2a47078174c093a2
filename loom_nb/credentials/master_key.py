"""Where the key that opens the store of secrets comes from: keychain, environment, passphrase or file."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loom_nb.credentials.sealing import SealingKey
from loom_nb.errors import SecretsLocked

ENVIRONMENT = "LOOM_SECRET_KEY"
_HINTS = ("%loom doctor", "put back the key from a copy: without it the secrets cannot be read by anybody")


class MasterKey(Protocol):
    """One way to come by the master key."""

    @property
    def source(self) -> str:
        """What it is called in listings and messages, such as "key file ~/.loom_nb/keys/master.key"."""
        ...

    def key(self, salt: bytes, *, make: bool) -> SealingKey:
        """The key.

        Args:
            salt: of the store, for keys that are derived.
            make: whether a new one may be made where there is none: only for a store that holds nothing.

        Raises:
            SecretsLocked: there is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A file that only this user may read; it is made at the first use."""

    path: Path

    @property
    def source(self) -> str:
        """Which file."""
        return f"key file {self.path}"

    def key(self, salt: bytes, *, make: bool) -> SealingKey:
        """Of the file. Raises `SecretsLocked` if there is none, others may read it, or it holds no key."""
        if make and not self.path.exists():
            self._make()
        try:
            info = self.path.stat()
            mode = info.st_mode
            text = self.path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise SecretsLocked(
                f"the master key {self.path} cannot be read", cause=type(error).__name__, fixes=_HINTS
            ) from None
        if os.name == "posix" and info.st_uid not in (os.geteuid(), 0):
            raise SecretsLocked(
                f"the master key {self.path} belongs to another user",
                cause="who knows the key can read all that is sealed with it",
                fixes=("%loom doctor", f"ls -l {self.path}"),
            )
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SecretsLocked(
                f"the master key {self.path} can be read by others",
                cause=f"its mode is {stat.S_IMODE(mode):o}",
                fixes=(f"chmod 600 {self.path}", "then rotate the key: others may have read it"),
            )
        return _from_text(text, self.source)

    def _make(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.{os.urandom(4).hex()}.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, SealingKey.fresh().to_text().encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(draft, self.path)  # the first process wins, and no half-written key is ever seen
        except FileExistsError:
            pass
        finally:
            draft.unlink()


@dataclass(frozen=True, slots=True)
class EnvironmentKey:
    """A variable that holds the key as `SealingKey.to_text` writes it."""

    name: str = ENVIRONMENT

    @property
    def source(self) -> str:
        """Which variable."""
        return f"environment variable {self.name}"

    def key(self, salt: bytes, *, make: bool) -> SealingKey:
        """Of the variable, which nobody but the user sets."""
        text = os.environ.get(self.name, "").strip()
        if not text:
            raise SecretsLocked(f"{self.name} is not set", fixes=_HINTS)
        return _from_text(text, self.source)


@dataclass(frozen=True, slots=True)
class Passphrase:
    """Words of a person, asked for when they are needed and not kept."""

    ask: Callable[[], str]

    @property
    def source(self) -> str:
        """What it is."""
        return "passphrase"

    def key(self, salt: bytes, *, make: bool) -> SealingKey:
        """Derived from the words and the salt of the store."""
        words = self.ask()
        if len(words) < 8:
            raise SecretsLocked("a passphrase has 8 characters or more")
        return SealingKey.from_passphrase(words, salt)


@dataclass(frozen=True, slots=True)
class KeychainKey:
    """The keychain of the operating system, through `keyring`."""

    service: str = "loom_nb"
    account: str = "master key"

    @property
    def source(self) -> str:
        """What it is."""
        return f"keychain, {self.service}"

    def key(self, salt: bytes, *, make: bool) -> SealingKey:
        """Of the keychain. Raises `SecretsLocked` where there is no keychain or it refuses."""
        try:
            import keyring
            from keyring.errors import KeyringError
        except ImportError:
            raise SecretsLocked(
                "the keychain needs keyring", fixes=("pip install 'loom-nb[auth]'",)
            ) from None
        try:
            text = keyring.get_password(self.service, self.account)
            if text is None and make:
                keyring.set_password(self.service, self.account, SealingKey.fresh().to_text())
                text = keyring.get_password(self.service, self.account)
        except KeyringError as error:
            raise SecretsLocked("the keychain refuses", cause=type(error).__name__, fixes=_HINTS) from None
        if text is None:
            raise SecretsLocked("the keychain holds no master key", fixes=_HINTS)
        return _from_text(text, self.source)


def _from_text(text: str, source: str) -> SealingKey:
    try:
        return SealingKey.from_text(text)
    except ValueError as error:
        raise SecretsLocked(f"the {source} holds no master key", cause=str(error), fixes=_HINTS) from None
