"""When a secret may be used, by whom and for what: values that are sealed together with it."""

import math
import re
from typing import Literal

import msgspec

from loom_nb.errors import LoomUsageError

PolicyMode = Literal["autonomous", "notify_before", "notify_after", "time_boxed", "one_shot"]
_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\]")
_USER = re.compile(r"[^\s:@/\x00-\x1f\x7f]{1,100}")
_HOST_KEY = re.compile(r"SHA256:[A-Za-z0-9+/]{43}|[a-z0-9@.-]{3,60} AAAA[A-Za-z0-9+/]{20,8000}={0,2}")


class CredentialPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a secret may be used. Without one, a person is asked before each use."""

    mode: PolicyMode = "notify_before"
    start: float | None = None
    """Of a time box, in seconds since 1970 (UTC); None: open."""
    end: float | None = None
    """The first moment at which it is over; None: open."""
    uses: int | None = None
    """How often it may still be used; of `one_shot` 1 unless it says otherwise."""

    def __post_init__(self) -> None:
        if self.mode == "one_shot" and self.uses is None:
            msgspec.structs.force_setattr(self, "uses", 1)
        if self.uses is not None and self.uses < 0:
            raise LoomUsageError(f"uses of a policy is 0 or more, not {self.uses}")
        for name, moment in (("start", self.start), ("end", self.end)):
            if moment is not None and not math.isfinite(moment):
                raise LoomUsageError(f"{name} of a time box is a moment, not {moment}")
        if self.mode == "time_boxed" and self.start is None and self.end is None:
            raise LoomUsageError("a time box has a start or an end")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise LoomUsageError("a time box ends after it starts")


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """Where a secret may go. Without hosts: nowhere over HTTP."""

    hosts: tuple[str, ...] = ()
    """`api.github.com`, `api.github.com:8443`, `*.internal.example`; lower case, without a scheme."""
    methods: tuple[str, ...] = ()
    """HTTP methods; none: all."""
    paths: tuple[str, ...] = ()
    """Beginnings of paths, each `/…`; none: all."""
    plain: bool = False
    """Whether plain HTTP to this machine itself is allowed; to others it never is."""
    user: str = ""
    """Who logs in over SSH; a secret without one is not used for SSH."""
    host_keys: tuple[str, ...] = ()
    """Keys by which the SSH server is known: `SHA256:…`, or `ssh-ed25519 AAAA…` as in a .pub file."""
    known_hosts: bool = False
    """Whether `~/.ssh/known_hosts` of this machine may vouch for the SSH server where no key is pinned."""

    def __post_init__(self) -> None:
        for host in self.hosts:
            name, _, port = host.rpartition(":") if re.search(r":\d+$", host) else (host, "", "")
            if not _HOST.fullmatch(name) or (port and not 0 < int(port) < 65_536):
                raise LoomUsageError(
                    f"{host!r} is no host that a secret can be bound to",
                    cause="a name in lower case, with a port if it is not the usual one; no scheme, no path",
                    fixes=["api.github.com", "localhost:8080"],
                )
        for path in self.paths:
            if not path.startswith("/"):
                raise LoomUsageError(f"a path that a secret is bound to begins with '/', not {path!r}")
        for method in self.methods:
            if not re.fullmatch(r"[A-Z]+", method):
                raise LoomUsageError(f"{method!r} is no HTTP method", fixes=["GET", "POST"])
        if self.user and not _USER.fullmatch(self.user):
            raise LoomUsageError(f"{self.user!r} is no name of a user", fixes=["deploy"])
        for key in self.host_keys:
            if not _HOST_KEY.fullmatch(key):
                raise LoomUsageError(
                    f"{key[:60]!r} is no key of an SSH server",
                    cause="its fingerprint, or its type and the key itself without a comment",
                    fixes=["SHA256:… as ssh-keygen -lf prints it", "ssh-ed25519 AAAA…"],
                )


class SecretFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What may be known of a secret without its key. It is sealed with it: no byte can be changed alone."""

    scope: str
    """Its name."""
    type: str
    version: int
    """1 for the first; each rotation adds 1."""
    created: float
    """Seconds since 1970 (UTC), of the first version."""
    updated: float
    """Of this version."""
    binding: Binding = Binding()
    policy: CredentialPolicy = CredentialPolicy()
    grants: tuple[str, ...] = ()
    """Who may use it: notebooks, agents; none: whoever the policy lets."""
    note: str = ""

    def to_json(self) -> bytes:
        """As it is stored and bound; the same facts give the same bytes."""
        return msgspec.json.encode(self, order="sorted")
