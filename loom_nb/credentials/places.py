"""Where a request goes, in one reading: scheme, host, port and path, and whether a binding covers them.

What programs read in more than one way is either covered in each of the readings, or in none: a path with
`..`, `%2e`, `//`, `;` or a backslash in it means one thing to a proxy and another to the server behind it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import unquote_to_bytes

DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22}
MAX_DECODING = 3
"""How often a path may be percent-encoded over; who does it more often hides something."""

_URL = re.compile(
    r"(?P<scheme>https?|ssh)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)", re.ASCII | re.IGNORECASE
)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(:(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""What ends no name: the last part of an address, in any of its spellings."""
_PLAIN_PATH = re.compile(r"(/(?!\.+(/|$))[A-Za-z0-9._~!$&'()*+,=:@-]+)*/?")
"""A path that everybody reads alike: nothing encoded, no part of dots alone, no empty part."""
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")
_PARAMETERS = re.compile(r";[^/]*")

# Under a country, names are often sold below one of these: nobody owns co.uk. And on these hosts
# everybody may have a name of their own, so that a wildcard over them is one over strangers.
_SOLD_BELOW = frozenset((
    "ac", "ad", "asn", "co", "com", "edu", "go", "gob", "gov", "gouv", "id", "info", "ltd", "me",
    "mil", "ne", "net", "nom", "or", "org", "plc", "sch",
))  # fmt: skip
_SHARED = frozenset((
    "amazonaws.com", "appspot.com", "azurewebsites.net", "blogspot.com", "cloudapp.net",
    "cloudfront.net", "eu.org", "fly.dev", "firebaseapp.com", "github.dev", "github.io",
    "gitlab.io", "glitch.me", "herokuapp.com", "hf.space", "myshopify.com", "netlify.app",
    "ngrok.app", "ngrok.dev", "ngrok.io", "ngrok-free.app", "onrender.com", "pages.dev", "r2.dev",
    "railway.app", "readthedocs.io", "repl.co", "replit.app", "run.app", "streamlit.app",
    "surge.sh", "trycloudflare.com", "vercel.app", "web.app", "windows.net", "workers.dev",
    "wordpress.com", "uk.com", "us.com", "eu.com", "de.com", "cn.com", "ru.com",
))  # fmt: skip


class NoPlace(ValueError):
    """An address that cannot be read in one way; the message says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes."""

    scheme: str
    host: str
    """ASCII, lower case, without brackets and without a dot at the end."""
    port: int
    path: str = "/"
    """As it is sent, without a query."""

    @property
    def authority(self) -> str:
        """Host, and the port where it is not the usual one."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == DEFAULT_PORTS.get(self.scheme) else f"{name}:{self.port}"


def place(url: str) -> Place:
    """Where a URL goes.

    Raises:
        NoPlace: it is not one that everybody reads alike.
    """
    if re.search(r"[\x00-\x20\x7f-\x9f\\\ud800-\udfff]", url):
        raise NoPlace("it holds blanks, control characters or a backslash")
    match = _URL.match(url)
    if match is None:
        raise NoPlace("it does not begin with https://")
    scheme, authority, path = match["scheme"].lower(), match["authority"], match["path"]
    if "@" in authority:
        raise NoPlace("it holds a user name")
    found = _AUTHORITY.fullmatch(authority)
    port = int(found["port"] or DEFAULT_PORTS[scheme]) if found else 0
    if found is None or not 0 < port < 65_536:
        raise NoPlace("its host or its port is none")
    return Place(scheme, canonical_host(found["host"]), port, path or "/")


def canonical_host(host: str) -> str:
    """The one spelling of a host: ASCII, lower case, no brackets, no dot at the end.

    Raises:
        NoPlace: it is no name and no address, or one in an odd spelling.
    """
    if host.startswith("[") or ":" in host:
        return _six(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    host = re.sub("[\u3002\uff0e\uff61]", ".", host).removesuffix(".")
    name = host.lower() if host.isascii() else _from_letters(host)
    labels = name.split(".")
    if not name or len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise NoPlace("its host is no name")
    if _NUMBER.fullmatch(labels[-1]):
        return _four(name)
    if any(label.startswith("xn--") for label in labels):
        _check_punycode(name)
    return name


def _six(host: str) -> str:
    try:
        address = IPv6Address(host)
    except ValueError:
        raise NoPlace("its host is no address") from None
    if address.scope_id is not None:
        raise NoPlace("its host is an address with a zone")
    return str(address)


def _four(name: str) -> str:
    try:
        return str(IPv4Address(name))
    except ValueError:
        raise NoPlace("its host is an address in an odd spelling") from None


def _from_letters(host: str) -> str:
    import idna

    try:
        return idna.encode(host.lower(), strict=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise NoPlace("its host is no name") from None


def _check_punycode(name: str) -> None:
    import idna

    try:
        idna.decode(name)
    except (idna.IDNAError, UnicodeError):
        raise NoPlace("its host is no name") from None


def is_loopback(host: str) -> bool:
    """Whether a canonical host is this machine itself, told by its spelling."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def split_port(bound: str) -> tuple[str, int | None]:
    """The name and the port, if one is given, of `api.github.com`, `localhost:8080` or `[::1]:8080`."""
    match = re.fullmatch(r"(.+?)(?::(\d{1,5}))?", bound) if bound.count(":") < 2 or "]" in bound else None
    if match is None:
        return bound, None
    return match[1], int(match[2]) if match[2] else None


def too_wide(base: str) -> str:
    """Why `*.base` would cover hosts of strangers, in a few words; empty where it would not.

    A short list, not the register of all public suffixes: it stops the slip, not somebody who means it.
    """
    labels = base.split(".")
    if len(labels) < 2:
        return f"anybody may have a name under .{base}"
    sold = len(labels) == 2 and len(labels[1]) == 2 and (labels[0] in _SOLD_BELOW or len(labels[0]) <= 2)
    if sold or base in _SHARED:
        return f"anybody may have a name under {base}"
    return ""


def covers_host(bound: str, place: Place) -> bool:
    """Whether a host of a binding is the one that a request goes to. A wildcard never covers its own base."""
    name, port = split_port(bound)
    if (port or DEFAULT_PORTS.get(place.scheme)) != place.port:
        return False
    if name.startswith("*."):
        base = name[2:]
        return not too_wide(base) and place.host.endswith("." + base)
    try:
        return canonical_host(name) == place.host
    except NoPlace:
        return False


def covers_path(bounds: Iterable[str], path: str) -> bool:
    """Whether every reading of a path begins with one of these paths, part by part.

    Raises:
        NoPlace: the path cannot be read: a broken escape, a climb above the root, encoded over and over.
    """
    wanted = [_bound(bound) for bound in bounds]
    return all(any(_begins(parts, bound) for bound in wanted) for parts in readings(path))


def is_plain_path(path: str) -> bool:
    """Whether a path can be bound to: everybody reads it alike."""
    return bool(path) and _PLAIN_PATH.fullmatch(path) is not None


def _bound(path: str) -> tuple[str, ...]:
    """The parts of a path that is bound to; an empty last one where only what is below it is meant."""
    return tuple(path[1:].split("/")) if path != "/" else ()


def _begins(parts: tuple[str, ...], bound: tuple[str, ...]) -> bool:
    if bound and bound[-1] == "":
        return len(parts) >= len(bound) and parts[: len(bound) - 1] == bound[:-1]
    return parts[: len(bound)] == bound


def readings(path: str) -> frozenset[tuple[str, ...]]:
    """The parts of a path, in every way in which a server may read them.

    Raises:
        NoPlace: it cannot be read.
    """
    if not path.startswith("/"):
        raise NoPlace("its path does not begin with /")
    if _PLAIN_PATH.fullmatch(path):
        return frozenset({tuple(path[1:].split("/"))})
    if _CONTROL.search(path) or "?" in path or "#" in path:
        raise NoPlace("its path holds what no path holds")
    found = {tuple(path[1:].split("/"))}
    for encoded, decoded in _decodings(path):
        found |= {_resolved(_decoded(part) for part in way.split("/")) for way in _ways(encoded)}
        found |= {_resolved(way.split("/")) for way in _ways(decoded)}
    return frozenset(found)


def _decodings(path: str) -> Iterator[tuple[str, str]]:
    """(a path, the same decoded once), until there is nothing to decode."""
    for _ in range(MAX_DECODING):
        decoded = _decoded(path)
        yield path, decoded
        if decoded == path or "%" not in decoded:
            return
        if _ESCAPE.search(decoded):  # a percent sign that was meant
            return
        path = decoded
    raise NoPlace("its path is encoded over and over")


def _decoded(text: str) -> str:
    if _ESCAPE.search(text):
        raise NoPlace("its path holds a broken escape")
    try:
        decoded = unquote_to_bytes(text).decode()
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise NoPlace("its path holds an escape that is no UTF-8") from None
    if re.search(r"[\x00-\x1f\x7f-\x9f]", decoded):
        raise NoPlace("its path holds a control character")
    return decoded


def _ways(path: str) -> set[str]:
    """A path with and without parameters, with either slash, in its letters and in plainer ones."""
    ways = {path, unicodedata.normalize("NFKC", path)}
    ways |= {way.replace("\\", "/") for way in ways}
    ways |= {_PARAMETERS.sub("", way) for way in ways}
    return ways | {re.sub("//+", "/", way) for way in ways}


def _resolved(parts: Iterable[str]) -> tuple[str, ...]:
    """The parts behind the root, without `.` and `..`."""
    kept: list[str] = []
    whole = list(parts)[1:]
    for number, part in enumerate(whole):
        last = number == len(whole) - 1
        if part not in (".", "..") and part and not part.strip(" .\t"):
            raise NoPlace("its path holds a part of nothing but dots and blanks")
        if part == "..":
            if not kept:
                raise NoPlace("its path climbs above the root")
            kept.pop()
        elif part != ".":
            kept.append(part)
            continue
        if last:
            kept.append("")
    return tuple(kept)
