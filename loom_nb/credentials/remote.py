"""Commands on other machines as values: where a secret leads, what became of a command, and its output.

Nothing here talks to a network: `ssh.py` does.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import msgspec

from loom_nb.credentials.policies import Binding, SecretFacts
from loom_nb.errors import CredentialDenied

SSH_PORT = 22
MAX_COMMAND = 100_000
"""Characters of a command."""
MAX_SECONDS = 3_600.0
"""That a command may be given."""
MAX_AUDITED = 4_000
"""Characters of a command that the audit keeps."""
SSH_TYPES = ("password", "ssh_private_key")
"""Types of secret with which one logs in."""

Ended: TypeAlias = Literal["exit", "signal", "timeout", "lost"]
"""`lost`: the connection broke, and whether the command went on is not known."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a secret of SSH leads. It stands in the sealed facts: nobody names another host."""

    user: str
    host: str
    """Lower case, without brackets."""
    port: int = SSH_PORT

    @property
    def authority(self) -> str:
        """Host, and the port where it is not the usual one."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == SSH_PORT else f"{name}:{self.port}"

    def __str__(self) -> str:
        return f"{self.user}@{self.authority}"


def destination(facts: SecretFacts) -> Destination:
    """The one user on the one host that a secret logs in to.

    Raises:
        CredentialDenied: it is of another type, or its binding does not name one user and one host.
    """
    scope, binding = facts.scope, facts.binding
    if facts.type not in SSH_TYPES:
        raise CredentialDenied(
            f"{scope} is not used for SSH: it is of type {facts.type}",
            cause=f"SSH takes {' or '.join(SSH_TYPES)}",
        )
    if not binding.user:
        raise CredentialDenied(
            f"{scope} is not used for SSH: it is bound to no user",
            cause="only a secret with a user is for SSH",
            fixes=(f"%loom key bind {scope} --user deploy",),
        )
    if len(binding.hosts) != 1 or binding.hosts[0].startswith("*"):
        hosts = ", ".join(binding.hosts) or "none"
        raise CredentialDenied(
            f"{scope} is not used for SSH: it must be bound to one host",
            cause=f"it is bound to {hosts}; an agent names a secret, and the secret the host",
            fixes=(f"%loom key bind {scope} --host db.example.com:22",),
        )
    host, port = _split(binding.hosts[0])
    return Destination(binding.user, host, port)


def _split(bound: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[(?P<six>[^\]]+)\]|(?P<name>[^:]+))(?::(?P<port>\d{1,5}))?", bound)
    if match is None:
        return bound, SSH_PORT
    return match["six"] or match["name"], int(match["port"] or SSH_PORT)


class Ran(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a command."""

    ended: Ended
    code: int | None = None
    """The exit code, where there is one."""
    signal: str = ""
    """That ended it, without SIG."""
    out: str = ""
    """Standard output; of a long one the beginning and the end."""
    err: str = ""
    out_bytes: int = 0
    """In all."""
    err_bytes: int = 0
    late: str = ""
    """What earlier commands of the session said after they had ended."""
    seconds: float = 0.0
    session: str = ""
    """The session that goes on; empty where there is none, or where it has ended with this command."""
    held: bool = False
    """Whether something of it may still run: what it left in the background, or what did not let itself be
    ended in time."""
    where: str = ""
    """The host, and its port where that is not the usual one."""
    mode: str = ""
    """Of the policy by which the secret was used."""


class Filter(Protocol):
    """Takes secrets out of a stream of bytes, wherever it is cut."""

    def feed(self, data: bytes, /) -> bytes:
        """What is safe to pass on so far."""
        ...

    def end(self) -> bytes:
        """The rest."""
        ...


class Unfiltered:
    """Passes all on."""

    def feed(self, data: bytes, /) -> bytes:
        """The data."""
        return data

    def end(self) -> bytes:
        """Nothing is held back."""
        return b""


Filters: TypeAlias = Callable[[], Filter]


class Output:
    """The beginning and the end of a stream, filtered first: never more than so many bytes of it.

    Args:
        most: bytes that are kept.
        filtered: takes secrets out before anything is cut.
    """

    def __init__(self, most: int, filtered: Filter) -> None:
        self.received = 0
        """Bytes that came."""
        self._filter = filtered
        self._half = most // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._kept = 0

    def feed(self, data: bytes) -> None:
        """More of it."""
        self.received += len(data)
        self._keep(self._filter.feed(data))

    def end(self) -> None:
        """No more of it comes."""
        self._keep(self._filter.end())

    def _keep(self, data: bytes) -> None:
        self._kept += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail += data[-self._half :]
            if len(self._tail) > 2 * self._half:
                del self._tail[: -self._half]

    @property
    def text(self) -> str:
        """What is kept; the place of what is not says how much it was."""
        tail = bytes(self._tail[-self._half :])
        cut = self._kept - len(self._head) - len(tail)
        if not cut:
            return (bytes(self._head) + tail).decode("utf-8", "replace")
        head = self._head.decode("utf-8", "replace")
        return f"{head}\n[… {cut:,} of {self._kept:,} bytes left out …]\n{tail.decode('utf-8', 'replace')}"


class UntilMark:
    """Splits a stream at a mark that cannot be guessed: what is before it, the number at it, what follows.

    Args:
        mark: that is looked for; a number and the end of a line follow it.
    """

    def __init__(self, mark: str) -> None:
        self._mark = b"\x1e" + mark.encode() + b" "
        self._held = b""
        self.number: int | None = None
        """That stood at the mark; None until it came."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(what is before the mark, what follows it): both empty while it is not told which it is."""
        if self.number is not None:
            return b"", data
        held = self._held + data
        at = held.find(self._mark)
        if at < 0:
            keep = _overlap(held, self._mark)
            self._held = held[len(held) - keep :]
            return held[: len(held) - keep], b""
        line, newline, rest = held[at + len(self._mark) :].partition(b"\n")
        if not newline and len(line) < 20:
            self._held = held[at:]
            return held[:at], b""
        self._held = b""
        self.number = int(line) if line.isdigit() else -1
        return held[:at], rest

    def end(self) -> bytes:
        """What was held back, where no mark comes any more."""
        held, self._held = self._held, b""
        return held


def _overlap(data: bytes, mark: bytes) -> int:
    """How many bytes at the end of the data may be the beginning of the mark."""
    most = min(len(data), len(mark) - 1)
    return next((size for size in range(most, 0, -1) if mark.startswith(data[len(data) - size :])), 0)


def audited(command: str) -> str:
    """A command as the audit keeps it: whole up to a length, and by its hash beyond it."""
    if len(command) <= MAX_AUDITED:
        return command
    digest = hashlib.sha256(command.encode("utf-8", "replace")).hexdigest()
    return f"{command[:MAX_AUDITED]}… {len(command):,} characters, sha256:{digest}"


def pinned(binding: Binding, line: str, fingerprint: str) -> bool:
    """Whether a binding vouches for a server's key.

    Args:
        binding: with the keys that are pinned.
        line: type and key, as in a .pub file, without a comment.
        fingerprint: `SHA256:…` of it.
    """
    return line in binding.host_keys or fingerprint in binding.host_keys
