"""Logs in to other machines by SSH with a sealed secret, and to nobody but the server it is meant for.

A server must show a key that the secret's binding vouches for; another one is told of, and nothing is sent to
it. No agent, no configuration of the user, no variables of this machine, no forwarding of any kind takes
part.
"""

import asyncio
import getpass
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loom_nb.credentials.policies import Binding, SecretFacts
from loom_nb.credentials.remote import SSH_PORT, Destination, Filters, Unfiltered, destination, pinned
from loom_nb.credentials.secrets import Secret
from loom_nb.errors import CredentialError, HostKeyRefused, LoomError, SetupError, ToolError

try:
    import asyncssh
except ImportError:
    raise SetupError(
        "SSH needs the package asyncssh, which is not installed", fixes=["pip install 'loom-nb[ssh]'"]
    ) from None

__all__ = ["HOST_KEY_ALGORITHMS", "HostKey", "Vouched", "asyncssh", "connect", "silence", "vouched"]

HOST_KEY_ALGORITHMS = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("rsa-sha2-512", "rsa-sha2-256"),
)
"""Plain keys: a certificate says who signed it, and nobody here knows the signer."""


def silence() -> None:
    """Keep the library's own log to itself: at its loudest it writes whole packets, a password among them."""
    log = logging.getLogger("asyncssh")
    log.propagate = False
    log.setLevel(logging.CRITICAL + 1)
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    asyncssh.set_debug_level(1)


def take_a_name() -> None:
    """The library wants to know who runs it, although nobody is told: in some containers nobody does."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = "nobody"


# -- who the server is -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostKey:
    """The key that a server shows."""

    kind: str
    line: str
    """Type and key, as in a .pub file."""
    fingerprint: str

    @classmethod
    def of(cls, key: asyncssh.SSHKey) -> "HostKey":
        """A key of the library's."""
        line = " ".join(key.export_public_key("openssh").decode().split()[:2])
        return cls(line.partition(" ")[0], line, key.get_fingerprint("sha256"))


@dataclass(frozen=True, slots=True)
class Vouched:
    """Who is known to be the server: by the binding, or by the file of known hosts where it may."""

    where: Destination
    binding: Binding
    known: tuple[HostKey, ...] = ()
    revoked: tuple[HostKey, ...] = ()

    def accepts(self, key: HostKey) -> bool:
        """Whether this is the server."""
        if key in self.revoked:
            return False
        if self.binding.host_keys:
            return pinned(self.binding, key.line, key.fingerprint)
        return key in self.known

    @property
    def fingerprints(self) -> bool:
        """Whether a fingerprint is pinned: the server may have the right key and show one of another kind."""
        return any(key.startswith("SHA256:") for key in self.binding.host_keys)

    def algorithms(self) -> tuple[str, ...]:
        """What to ask for first: the kinds of key that are known, where they are."""
        lines = [key for key in self.binding.host_keys if " " in key]
        kinds = {line.partition(" ")[0] for line in lines} or {key.kind for key in self.known}
        if self.fingerprints or not kinds:
            return HOST_KEY_ALGORITHMS
        return tuple(name for name in HOST_KEY_ALGORITHMS if _kind(name) in kinds) or HOST_KEY_ALGORITHMS

    def refusal(self, scope: str, key: HostKey) -> HostKeyRefused:
        """The error for a server with this key."""
        where = self.where.authority
        pin = f"%loom key bind {scope} --host-key {key.fingerprint}"
        shows = f"it shows {key.kind} {key.fingerprint}"
        if key in self.revoked:
            return HostKeyRefused(
                f"{where} shows a key that was revoked", cause=f"{shows}; ~/.ssh/known_hosts says so"
            )
        compare = "compare it on the server: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
        if self.binding.host_keys or self.known:
            those = [*map(_fingerprint, self.binding.host_keys)] or [one.fingerprint for one in self.known]
            source = f"pinned for {scope}" if self.binding.host_keys else "in ~/.ssh/known_hosts"
            return HostKeyRefused(
                f"{where} shows another key than the one that is {source}",
                cause=f"{shows}, not {' or '.join(those)}: the server was set up anew, or somebody is in "
                "between; nothing was sent",
                fixes=(compare, f"if it is right: {pin}"),
            )
        return HostKeyRefused(
            f"nobody vouches for the key of {where}",
            cause=f"{shows}; nothing was sent",
            fixes=(compare, f"if it is right: {pin}"),
        )


def _kind(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _fingerprint(pin: str) -> str:
    if pin.startswith("SHA256:"):
        return pin
    try:
        return HostKey.of(asyncssh.import_public_key(pin)).fingerprint
    except asyncssh.KeyImportError:
        return pin[:60]


def vouched(facts: SecretFacts, known_hosts: Path) -> Vouched:
    """Who may be the server that a secret is for.

    Args:
        facts: of the secret.
        known_hosts: the file that is asked where the binding says so.

    Raises:
        CredentialDenied: the secret is not for SSH.
        HostKeyRefused: the file cannot be read.
    """
    where, binding = destination(facts), facts.binding
    if binding.host_keys or not binding.known_hosts:
        return Vouched(where, binding)
    try:
        found = asyncssh.read_known_hosts(str(known_hosts)).match(
            where.host, "", None if where.port == SSH_PORT else where.port
        )
    except FileNotFoundError:
        return Vouched(where, binding)
    except (OSError, ValueError, asyncssh.KeyImportError):
        raise HostKeyRefused(
            f"{known_hosts} cannot be read", cause="it does not vouch for any server then"
        ) from None
    keys, _, revoked = found[:3]
    return Vouched(where, binding, tuple(map(HostKey.of, keys)), tuple(map(HostKey.of, revoked)))


class _Watch(asyncssh.SSHClient):
    """Looks at the key of a server before anything else is said to it."""

    def __init__(self, by: Vouched) -> None:
        self.by = by
        self.shown: HostKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Whether this is the server."""
        self.shown = HostKey.of(key)
        return self.by.accepts(self.shown)


# -- logging in --------------------------------------------------------------------------------------


async def connect(
    facts: SecretFacts, secret: Secret, by: Vouched, *, seconds: float, filters: Filters = Unfiltered
) -> asyncssh.SSHClientConnection:
    """Log in.

    Raises:
        HostKeyRefused: the server is not the one that was vouched for.
        CredentialError: the server does not take this secret, or the key cannot be opened.
        ToolError: it cannot be reached, or does not answer in time.
    """
    algorithms = by.algorithms()
    first: LoomError | None = None
    while True:
        watch = _Watch(by)
        made = await _attempt(facts, secret, by.where, watch, algorithms, seconds, filters)
        if not isinstance(made, LoomError):
            return made
        if first is None:
            first = made
        if not isinstance(made, HostKeyRefused) or watch.shown is None or not by.fingerprints:
            raise first
        shown = watch.shown.kind.partition("-nistp")[0]  # the pinned one may be of another kind
        algorithms = tuple(name for name in algorithms if not _kind(name).startswith(shown))
        if not algorithms:
            raise first


async def _attempt(
    facts: SecretFacts,
    secret: Secret,
    where: Destination,
    watch: _Watch,
    algorithms: Sequence[str],
    seconds: float,
    filters: Filters,
) -> asyncssh.SSHClientConnection | LoomError:
    """A connection, or why there is none: made outside of any frame that holds the secret."""
    silence()
    take_a_name()
    by_key = secret.type == "ssh_private_key"
    key = await asyncio.to_thread(_private_key, facts.scope, secret) if by_key else None
    if isinstance(key, LoomError):
        return key
    try:
        async with asyncio.timeout(seconds):
            return await asyncssh.connect(
                where.host,
                where.port,
                config=None,
                username=where.user,
                password=None if by_key else secret.reveal(),
                client_keys=[key] if key is not None else None,
                client_factory=lambda: watch,
                known_hosts=([], [], []),
                server_host_key_algs=list(algorithms),
                x509_trusted_certs=None,
                x509_trusted_cert_paths=[],
                agent_path=None,
                agent_forwarding=False,
                pkcs11_provider=None,
                gss_host=None,
                gss_kex=False,
                gss_auth=False,
                host_based_auth=False,
                public_key_auth=by_key,
                password_auth=not by_key,
                kbdint_auth=not by_key,
                preferred_auth=["publickey"] if by_key else ["password", "keyboard-interactive"],
                disable_trivial_auth=True,
                x11_forwarding=False,
                compression_algs=None,
                send_env=[],
                env={},
                login_timeout=seconds,
                keepalive_interval=15,
                keepalive_count_max=3,
                utf8_decode_errors="replace",
            )
    except (TimeoutError, OSError, asyncssh.Error, ValueError) as error:
        return _why(error, facts.scope, where, watch, seconds, filters)


def _why(
    error: Exception, scope: str, where: Destination, watch: _Watch, seconds: float, filters: Filters
) -> LoomError:
    """What went wrong, in words of ours; what the server says is filtered."""
    match error:
        case asyncssh.HostKeyNotVerifiable() if watch.shown is not None:
            return watch.by.refusal(scope, watch.shown)
        case asyncssh.PermissionDenied():
            return CredentialError(
                f"{where.authority} does not let {where.user} in with {scope}",
                cause="the server does not take this secret for this user",
                fixes=(f"%loom key rotate {scope}", f"%loom key bind {scope} --user {where.user}"),
            )
        case asyncssh.KeyExchangeFailed():
            return CredentialError(
                f"{where.authority} and loom_nb have no way of encryption in common",
                cause="the server is very old, or has no key of the kind that is pinned",
            )
        case TimeoutError():
            return ToolError(f"{where.authority} did not answer within {seconds:g} s")
        case asyncssh.ConnectionLost():
            return ToolError(f"{where.authority} hung up before the log-in was done")
        case asyncssh.DisconnectError():
            return ToolError(f"{where.authority} hung up", cause=_foreign(error.reason, filters))
        case OSError():
            words = os.strerror(error.errno) if error.errno and error.errno > 0 else "its name is not known"
            return ToolError(f"{where.authority} cannot be reached", cause=words)
    return ToolError(f"{where.authority} cannot be spoken to", cause=type(error).__name__)


def _foreign(text: str, filters: Filters) -> str:
    """What a server says, as one line of ours."""
    filtered = filters()
    data = filtered.feed(text.encode("utf-8", "replace")) + filtered.end()
    words = "".join(one if one.isprintable() else " " for one in data.decode("utf-8", "replace"))
    return f"it says: {' '.join(words.split())[:200]}"


def _private_key(scope: str, secret: Secret) -> asyncssh.SSHKey | LoomError:
    """The key of a secret; an error whose words hold nothing of it."""
    try:
        return asyncssh.import_private_key(secret.reveal("key_pem"), secret.reveal("passphrase") or None)
    except asyncssh.KeyEncryptionError as error:
        if "bcrypt" in str(error):
            return CredentialError(
                f"the key of {scope} is encrypted in OpenSSH's own way, and the package bcrypt is missing",
                fixes=("pip install bcrypt", "ssh-keygen -p -m PKCS8 -f KEY writes it in another way"),
            )
        return _not_opened(scope)
    except (asyncssh.KeyImportError, ValueError):
        return _not_opened(scope)


def _not_opened(scope: str) -> CredentialError:
    return CredentialError(
        f"the key of {scope} cannot be opened",
        cause="its passphrase is missing or wrong, or it is no key that SSH knows",
        fixes=(f"%loom key rotate {scope}",),
    )
