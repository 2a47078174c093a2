"""When a secret may be used, by whom and for what: values that are sealed together with it."""

import math
import re
from datetime import datetime
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from loom_nb.credentials.places import NoPlace, canonical_host, is_plain_path, split_port, too_wide
from loom_nb.errors import LoomUsageError

PolicyMode = Literal["autonomous", "notify_before", "notify_after", "time_boxed", "one_shot"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\]")
_USER = re.compile(r"[^\s:@/\x00-\x1f\x7f]{1,100}")
_HOST_KEY = re.compile(r"SHA256:[A-Za-z0-9+/]{43}|[a-z0-9@.-]{3,60} AAAA[A-Za-z0-9+/]{20,8000}={0,2}")
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00")
_WAY = re.compile(
    r"bearer|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+(=[\x20-\x7e]*)?|query:[^\s&=#]+|body:\S+|path:/\S*"
)

_OF_TRANSPORT = frozenset({
    "connection", "content-length", "content-type", "expect", "host", "te", "trailer", "transfer-encoding",
    "upgrade",
})  # fmt: skip
"""Headers that say how a request is sent: none of them is a place for a key."""


class Window(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Hours of the day, as the clocks on the walls of a zone show them, summer time and all."""

    days: tuple[Day, ...] = ()
    """On which it opens; none: on all."""
    from_: str = "00:00"
    to: str = "24:00"
    """The first minute at which it is closed again. If it is not after `from_`: on the day after."""
    zone: str = "UTC"
    """Such as `Europe/Stockholm`."""

    def __post_init__(self) -> None:
        for moment in (self.from_, self.to):
            if not _CLOCK.fullmatch(moment):
                raise LoomUsageError(f"{moment!r} is no time of day", fixes=["09:00", "17:30", "24:00"])
        if self.from_ in ("24:00", self.to):
            raise LoomUsageError(f"a window from {self.from_} to {self.to} is never open")

    def holds(self, moment: float) -> bool:
        """Whether it is open at a moment, in seconds since 1970 (UTC).

        Raises:
            LoomUsageError: this machine does not know the zone.
        """
        there = datetime.fromtimestamp(moment, self._zone())
        today, clock = there.weekday(), there.strftime("%H:%M")
        if self.from_ < self.to:
            return self._on(today) and self.from_ <= clock < self.to
        return (self._on(today) and self.from_ <= clock) or (self._on(today - 1) and clock < self.to)

    def _on(self, day: int) -> bool:
        return not self.days or DAYS[day % 7] in self.days

    def _zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise LoomUsageError(
                f"{self.zone!r} is no time zone that this machine knows", fixes=["Europe/Stockholm", "UTC"]
            ) from None

    def __str__(self) -> str:
        days = f"{', '.join(self.days)} " if self.days else ""
        return f"{days}{self.from_} to {self.to} ({self.zone})"


class CredentialPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a secret may be used. Without one, a person is asked before each use."""

    mode: PolicyMode = "notify_before"
    start: float | None = None
    """Of a time box, in seconds since 1970 (UTC); None: open."""
    end: float | None = None
    """The first moment at which it is over; None: open."""
    uses: int | None = None
    """How often it may still be used, whatever the mode; of `one_shot` 1 unless it says otherwise."""
    windows: tuple[Window, ...] = ()
    """Of a time box, besides start and end: it is open while one of them is; none: all the time."""

    def __post_init__(self) -> None:
        if self.mode == "one_shot" and self.uses is None:
            msgspec.structs.force_setattr(self, "uses", 1)
        if self.uses is not None and self.uses < 0:
            raise LoomUsageError(f"uses of a policy is 0 or more, not {self.uses}")
        for name, moment in (("start", self.start), ("end", self.end)):
            if moment is not None and not math.isfinite(moment):
                raise LoomUsageError(f"{name} of a time box is a moment, not {moment}")
        if self.mode == "time_boxed" and self.start is None and self.end is None and not self.windows:
            raise LoomUsageError("a time box has a start, an end or windows")
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
    apply: str = ""
    """Where an API key goes, if not into `Authorization: Bearer …`: `header:X-API-Key`,
    `header:Authorization=Token {value}`, `query:key`, `path:/bot{value}` (before the path), `body:key` (a
    field of a form or of a JSON object)."""
    user: str = ""
    """Who logs in over SSH; a secret without one is not used for SSH."""
    host_keys: tuple[str, ...] = ()
    """Keys by which the SSH server is known: `SHA256:…`, or `ssh-ed25519 AAAA…` as in a .pub file."""
    known_hosts: bool = False
    """Whether `~/.ssh/known_hosts` of this machine may vouch for the SSH server where no key is pinned."""

    def __post_init__(self) -> None:
        for host in self.hosts:
            if wrong := _wrong_host(host):
                raise LoomUsageError(
                    f"{host!r} is no host that a secret can be bound to",
                    cause=wrong,
                    fixes=["api.github.com", "localhost:8080"],
                )
        for path in self.paths:
            if not path.startswith("/"):
                raise LoomUsageError(f"a path that a secret is bound to begins with '/', not {path!r}")
            if not is_plain_path(path):
                cause = "without '..', '//', ';', '?', '%' and blanks, which not all servers read alike"
                raise LoomUsageError(f"{path!r} is no path that a secret can be bound to", cause=cause)
        self._check_way()
        for method in self.methods:
            if not re.fullmatch(r"[A-Z]+", method):
                raise LoomUsageError(f"{method!r} is no HTTP method", fixes=["GET", "POST"])
        self._check_login()

    def _check_login(self) -> None:
        if self.user and not _USER.fullmatch(self.user):
            raise LoomUsageError(f"{self.user!r} is no name of a user", fixes=["deploy"])
        for key in self.host_keys:
            if not _HOST_KEY.fullmatch(key):
                raise LoomUsageError(
                    f"{key[:60]!r} is no key of an SSH server",
                    cause="its fingerprint, or its type and the key itself without a comment",
                    fixes=["SHA256:… as ssh-keygen -lf prints it", "ssh-ed25519 AAAA…"],
                )

    def _check_way(self) -> None:
        way, _, place = self.apply.partition(":")
        templated = way == "path" or (way == "header" and "=" in place)
        fits = _WAY.fullmatch(self.apply) and (not templated or place.count("{value}") == 1)
        if way == "header" and place.partition("=")[0].lower() in _OF_TRANSPORT:
            fits = None
        if self.apply and not fits:
            raise LoomUsageError(
                f"{self.apply!r} is no place for a key",
                cause="where a template is given, {value} stands in it once",
                fixes=["header:X-API-Key", "query:key", "header:Authorization=Token {value}"],
            )


def _wrong_host(host: str) -> str:
    """Why a host cannot be bound to; empty if it can."""
    name, port = split_port(host)
    if not _HOST.fullmatch(name) or (port is not None and not 0 < port < 65_536):
        return "a name in lower case, with a port if it is not the usual one; no scheme, no path"
    base = name.removeprefix("*.")
    try:
        canonical = canonical_host(base)
    except NoPlace as problem:
        return str(problem)
    if canonical != base.strip("[]"):
        return f"it is spelt {canonical}"
    return too_wide(base) if base != name else ""


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
    """Who may use it: `notebook:…`, `tool:…`, `model:…`, `agent:…`; of each kind that is named one must fit;
    none: whoever the policy lets."""
    note: str = ""

    def to_json(self) -> bytes:
        """As it is stored and bound; the same facts give the same bytes."""
        return msgspec.json.encode(self, order="sorted")
