"""What a request would send and where, in words for the card on which a person allows it."""

import re
from urllib.parse import parse_qsl

from loom_nb.border import clean
from loom_nb.network.fetch import SAFE_METHODS, Guard, Request
from loom_nb.tools import Assessment, Effect

LONG_ADDRESS = 300
"""Characters of path and query from which on an address may carry something away."""
LONG_HOST = 80
MAX_PREVIEW = 4_000

OVERRIDES = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
"""Headers by which some servers take one method for another."""
_SECRET_NAME = re.compile(
    r"auth|cookie|token|secret|passw|pwd|credential|session|signature|\bsig\b|api[-_]?key|\bkey\b|[-_]key\b",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"""(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}
    |xox[abeprs]-[\w-]{10,}|A(?:KIA|SIA)[A-Z0-9]{16}|AIza[\w-]{30,}|hf_[A-Za-z0-9]{20,}
    |eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*""",
    re.VERBOSE,
)


def leaving(guard: Guard, request: Request) -> Assessment:
    """What this request does: the effects, the reasons to look twice, and the request as text."""
    method, target = request.method, request.target
    taken_for = {value.strip().upper() for name, value in request.headers if name.lower() in OVERRIDES}
    reads = method in SAFE_METHODS and not request.body and taken_for <= SAFE_METHODS
    effects: frozenset[Effect] = frozenset({"reads" if reads else "writes", "network"})
    deletes = method == "DELETE" or "DELETE" in taken_for
    return Assessment(
        effects,
        destructive=deletes,
        reasons=(*_acts(request, reads, deletes), *_leaks(request), *_place(guard, request)),
        preview=shown(request),
        hosts=(target.host,),
    )


def _acts(request: Request, reads: bool, deletes: bool) -> list[str]:
    host, method = request.target.host, request.method
    told = []
    if request.body:
        told.append(f"sends {_amount(len(request.body))} to {host} by {method}")
    elif not reads:
        told.append(f"asks {host} to act by {method}")
    if deletes:
        told.append(f"deletes at {host}")
    told += [
        f"asks {host} to take {method} for {clean(value)[:20]}"
        for name, value in request.headers
        if name.lower() in OVERRIDES
    ]
    return told


def _leaks(request: Request) -> list[str]:
    path, host = request.target.path, request.target.host
    told = []
    if len(path) > LONG_ADDRESS:
        told.append(f"sends {len(path):,} characters in the address")
    if len(host) > LONG_HOST:
        told.append(f"sends {len(host):,} characters in the name of the host")
    secret = [name.lower() for name, value in request.headers if is_secret(name, value)]
    if secret:
        told.append(f"sends to {host} what looks like a secret: {', '.join(secret)}")
    if any(is_secret(name, value) for name, value in _query(request)):
        told.append(f"sends to {host} what looks like a secret: in the address")
    if request.target.url.scheme == "http" and (secret or request.body):
        told.append("unencrypted")
    return told


def _place(guard: Guard, request: Request) -> list[str]:
    target = request.target
    told = []
    if (target.host, target.port) in guard.allow:
        told.append(f"{target.host}:{target.port} is allowed by name, it need not be public")
    if any(label.startswith("xn--") for label in target.host.split(".")):
        told.append(f"the host is written in other letters: {clean(target.url.host)[:100]!r}")
    return told


def _amount(size: int) -> str:
    if size == 1:
        return "1 byte"
    return f"{size:,} bytes" if size < 1_000 else f"{size / 1_000:,.1f} kB"


def is_secret(name: str, value: str) -> bool:
    """Whether a header or field looks like one that nobody else should read."""
    return bool(value) and bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))


def masked(value: str) -> str:
    """A secret's kind and length, not the secret."""
    scheme, space, rest = value.partition(" ")
    known = space and scheme.lower() in ("basic", "bearer", "digest", "token", "apikey")
    return f"{scheme} ••• ({len(rest)} characters)" if known else f"••• ({len(value)} characters)"


def _query(request: Request) -> list[tuple[str, str]]:
    return parse_qsl(request.target.path.partition("?")[2], keep_blank_values=True)


def shown(request: Request) -> str:
    """The request as text, its secrets masked."""
    lines = [f"{request.method} {_shown_address(request)}"]
    lines += [
        f"{name}: {masked(value) if is_secret(name, value) else value}" for name, value in request.headers
    ]
    text = "\n".join(lines)
    if request.body:
        body = request.body[: MAX_PREVIEW + 1].decode("utf-8", "replace")
        more = f"\n… {len(request.body):,} bytes in all" if len(request.body) > MAX_PREVIEW else ""
        text += f"\n\n{body[:MAX_PREVIEW]}{more}"
    return clean(text)


def _shown_address(request: Request) -> str:
    """The address with the values of secret fields masked; all else as it is sent."""
    address, mark, query = str(request.target).partition("?")
    fields = []
    for one in query.split("&"):
        name, equals, value = one.partition("=")
        pairs = parse_qsl(one, keep_blank_values=True)
        secret = any(is_secret(*pair) for pair in pairs)
        fields.append(f"{name}{equals}{masked(value)}" if secret else one)
    return address + mark + "&".join(fields)
