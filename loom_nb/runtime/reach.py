"""What a call can reach: the paths and hosts that its tool tells, and those that its arguments name.

A tool's own account is exact; the arguments are read as well, so that a rule also binds tools that give
none. Every spelling of a path counts. Code that computes a path is the sandbox's to hold, not ours.
"""

import dataclasses
import fnmatch
import glob as globs_of
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loom_nb.protocols import Call

_SEPARATORS = re.compile(r"[\s'\"`=:;,|&<>(){}\[\]$]+")

MAX_TEXT = 100_000


def touched_paths(call: Call, root: str = "") -> Iterator[str]:
    """Every path that the call may touch, absolute, links resolved.

    Args:
        call: the call.
        root: what relative paths are relative to; the working directory where it is empty.
    """
    if call.assessment is not None:
        yield from map(real_path, call.assessment.paths)
    base = Path(root or ".").expanduser()
    for text in texts(call.arguments):
        words = [text, *_SEPARATORS.split(text)] if "runs" in call.effects else [text]
        for word in (word.strip().removeprefix("file://") for word in words):
            if not _may_be_path(word):
                continue
            for form in ("NFC", "NFKC", "NFD"):
                place = str(base / _at_home(unicodedata.normalize(form, word).strip()))
                yield os.path.normpath(Path.cwd() / place)
                yield os.path.realpath(place)


def _may_be_path(text: str) -> bool:
    text = text.strip()
    return (
        bool(text) and "\0" not in text and "\n" not in text and ("://" not in text) and len(text) < MAX_TEXT
    )


def real_path(path: str) -> str:
    """Absolute, `~` and links resolved."""
    return os.path.realpath(_at_home(path))


def _at_home(path: str) -> str:
    try:
        return str(Path(path).expanduser())
    except RuntimeError:  # the home of somebody unknown: a name like any other
        return path


def covers(globs: Iterable[str], path: str) -> bool:
    """Whether a glob matches the path, or a folder in which it lies."""
    plain = Path(unicodedata.normalize("NFC", path))
    places = [str(place) for place in (plain, *plain.parents)]
    globs = [form for glob in globs for form in (glob, _literal(glob))]
    patterns = {pattern for glob in globs for pattern in (_at_home(glob), _real_glob(_at_home(glob)))}
    return any(
        place == pattern or fnmatch.fnmatchcase(place, pattern) for place in places for pattern in patterns
    )


def _literal(glob: str) -> str:
    """The glob with the signs escaped that stand in the names of folders which exist."""
    path = Path(_at_home(glob))
    held = next((one for one in (path, *path.parents) if os.path.lexists(one)), path.anchor)
    return globs_of.escape(str(held)) + str(path)[len(str(held)) :]


def _real_glob(glob: str) -> str:
    """The glob with the links resolved in the folders before its first wildcard."""
    parts = Path(glob).parts
    fixed = next((n for n, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
    return str(Path(os.path.realpath(Path(*parts[:fixed])), *parts[fixed:])) if fixed else glob


def touched_hosts(call: Call) -> Iterator[str]:
    """Every host that the tool tells, and every one that an argument names.

    An address that parsers read differently gives all that it could mean, so that no list of allowed
    hosts fits it.
    """
    if call.assessment is not None:
        yield from map(plain_host, call.assessment.hosts)
    for text in texts(call.arguments):
        for word in _SEPARATING.split(text) if "runs" in call.effects else [text.strip()]:
            yield from _hosts_in(word)


_SEPARATING = re.compile(r"[\s'\"`;|&<>(){}]+")
_ADDRESS = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?[/\\]{2}(?P<authority>[^/?#]*)")
_BARE = re.compile(r"(?P<authority>(?:[\w-]+\.)+[a-zA-Z]{2,})(?::\d+)?(?:/.*)?", re.DOTALL)


def _hosts_in(word: str) -> Iterator[str]:
    found = _ADDRESS.match(word) or _BARE.fullmatch(word)
    if found is None:
        return
    authority = found["authority"]
    if set(authority) & set("\\@") or any(sign.isspace() or not sign.isprintable() for sign in authority):
        yield from (plain_host(piece.partition(":")[0]) for piece in re.split(r"[\\@\s]", authority) if piece)
    try:
        host = urlsplit(f"//{authority}").hostname
    except ValueError:
        host = authority
    if host:
        yield plain_host(host)


def host_in(globs: Iterable[str], host: str) -> bool:
    """Whether one of the globs matches the host."""
    return any(fnmatch.fnmatchcase(plain_host(host), plain_host(glob)) for glob in globs)


def plain_host(host: str) -> str:
    """Lower case, without the dot at its end, in ASCII where IDNA knows a form."""
    folded = unicodedata.normalize("NFKC", host).lower().rstrip(".")
    try:
        return folded if folded.isascii() else folded.encode("idna").decode()
    except UnicodeError:
        return folded


def texts(value: Any) -> Iterator[str]:
    """Every string in a value of plain data, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, os.PathLike):
        yield os.fspath(value)
    elif hasattr(value, "model_dump"):
        yield from texts(value.model_dump(mode="json"))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from texts({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from texts(inner)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from texts(inner)
