"""Addresses of model servers: what can be one, what of it may be shown, and whether it is on this machine."""

import re
from urllib.parse import unquote, urlsplit, urlunsplit

from loom_nb.errors import LoomUsageError

_MAX_CHARS = 200
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


def shown(address: str) -> str:
    """An address as people may see it: without login, query and fragment, also where it is mistyped."""
    scheme = _SCHEME.match(address)
    rest = address[scheme.end() :] if scheme else address
    # a password may hold any character, so everything up to the last @ counts as login
    rest = rest.rpartition("@")[2].partition("?")[0].partition("#")[0]
    whole = f"{scheme.group() if scheme else ''}{rest}"
    return whole if len(whole) <= _MAX_CHARS else f"{whole[:_MAX_CHARS]}…"


def check(address: str) -> None:
    """Refuse what cannot be the address of a model server. Raises LoomUsageError, which shows no login."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if good and all(char > " " for char in address):
        return
    raise LoomUsageError(
        f"'{shown(address)}' is no address of a model server",
        cause="it has http:// or https://, a host, and may have a port up to 65535",
        fixes=['base_url="http://localhost:8000/v1"'],
    )


def split_login(address: str) -> tuple[str, tuple[str, str] | None]:
    """An address that can be one, as address without login, and user and password where it had them."""
    parts = urlsplit(address)
    login, mark, host = parts.netloc.rpartition("@")
    if not mark:
        return address, None
    user, _, password = login.partition(":")
    return urlunsplit(parts._replace(netloc=host)), (unquote(user), unquote(password))


def is_local(address: str) -> bool:
    """Whether an address is on this machine: a server there needs no key."""
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return False
    return host in ("localhost", "::1", "0.0.0.0") or host.startswith("127.")  # noqa: S104  compared, not bound
