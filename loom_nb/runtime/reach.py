"""What a call can reach: the paths and hosts that its tool tells, and those that its arguments name.

A tool's own account is exact; the arguments are read as well, so that a rule also binds tools that give
none. Every spelling of a path counts. Code that computes a path is the sandbox's to hold, not ours.
"""

import dataclasses
import fnmatch
import glob as globs_of
import ipaddress
import os
import re
import socket
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from loom_nb.protocols import Call

_SEPARATORS = re.compile(r"[\s'\"`=:;,|&<>(){}\[\]$]+")
_FILE_ADDRESS = re.compile(r"file:(?://[^/]*)?(?=/)", re.IGNORECASE)
_WILDCARDS = frozenset("*?[")

MAX_TEXT = 100_000


def touched_paths(call: Call, root: str = "", *, lines: bool = False) -> Iterator[str]:
    """Every path that the call may touch, absolute: as it is spelled, and with links resolved.

    Args:
        call: the call.
        root: what relative paths are relative to; the working directory where it is empty.
        lines: whether texts of several lines count as well, for a path may have a line break in it.
    """
    base = _absolute(root)
    if call.assessment is not None:
        for told in call.assessment.paths:
            yield from _places(base, told)
    for text in dict.fromkeys((*texts(call.arguments), *texts(call.written))):
        for word in _spellings(text, "runs" in call.effects):
            if _may_be_path(word, lines=lines):
                for form in ("NFC", "NFKC", "NFD"):
                    yield from _places(base, unicodedata.normalize(form, word))


def _places(base: str, word: str) -> Iterator[str]:
    place = os.path.join(base, _at_home(word))  # noqa: PTH118  a Path would drop what is looked for
    yield os.path.normpath(place)
    yield os.path.realpath(place)


def _spellings(text: str, is_code: bool) -> dict[str, None]:
    """What a text may mean as a path: also with variables, file addresses and percent signs resolved."""
    meant = [text, os.path.expandvars(text)] if "$" in text else [text]
    words = [word for one in meant for word in (one, *(_SEPARATORS.split(one) if is_code else ()))]
    words += [_FILE_ADDRESS.sub("", word.strip(), count=1) for word in words]
    words += [unquote(word) for word in words if "%" in word]
    return dict.fromkeys((*words, *(word.strip() for word in words)))


def _may_be_path(text: str, *, lines: bool) -> bool:
    plain = bool(text.strip()) and "\0" not in text and "://" not in text and len(text) < MAX_TEXT
    return plain and (lines or "\n" not in text.strip())


def real_path(path: str) -> str:
    """Absolute, `~` and links resolved."""
    return os.path.realpath(_at_home(path))


def _absolute(folder: str) -> str:
    return os.path.abspath(_at_home(folder or "."))  # noqa: PTH100  the links are resolved later


def _at_home(path: str) -> str:
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111  keeps the spelling


def covers(globs: Iterable[str], path: str, base: str = "", *, folds: bool | None = None) -> bool:
    """Whether a glob matches the path, or a folder in which it lies.

    Args:
        globs: relative ones are meant in `base`; one that begins with a wildcard also matches anywhere.
        path: absolute.
        base: a folder; the working directory where it is empty.
        folds: whether upper and lower case are the same; where it is None, the file system is asked.
    """
    return _fits(_absolute_patterns(globs, base), path, folds)


def first_covered(globs: Iterable[str], paths: Iterable[str], base: str = "") -> str | None:
    """The first of the paths that `covers` is true of."""
    patterns: frozenset[str] | None = None
    for path in dict.fromkeys(paths):
        if patterns is None:
            patterns = _absolute_patterns(globs, base)
        if _fits(patterns, path, None):
            return path
    return None


def _absolute_patterns(globs: Iterable[str], base: str = "") -> frozenset[str]:
    """All that the globs stand for now: links may change."""
    return frozenset(unicodedata.normalize("NFC", one) for glob in globs for one in _patterns(glob, base))


def _fits(patterns: frozenset[str], path: str, folds: bool | None) -> bool:
    plain = Path(unicodedata.normalize("NFC", path))
    places = [str(place) for place in (plain, *plain.parents)]
    if ignores_case(path) if folds is None else folds:
        places = [place.casefold() for place in places]
        patterns = frozenset(pattern.casefold() for pattern in patterns)
    return any(
        place == pattern or fnmatch.fnmatchcase(place, pattern) for place in places for pattern in patterns
    )


def _patterns(glob: str, base: str) -> Iterator[str]:
    """The absolute patterns that a glob stands for: as it is spelled, and with links resolved."""
    glob = _at_home(glob)
    yield glob
    if os.path.isabs(glob):  # noqa: PTH117  it is no path
        places = [str(Path(glob)), _literal(glob)]
    else:
        folder = globs_of.escape(_absolute(base))
        places = [f"{folder}/{Path(glob)}", f"{folder}/{_literal(glob, _absolute(base))}"]
    for place in places:
        for one in (place, os.path.normpath(place)):
            yield one
            yield _real_glob(one)


def _literal(glob: str, base: str = "") -> str:
    """The glob with the signs escaped that stand in the names of folders which exist."""
    path = Path(glob)
    held = next((one for one in (path, *path.parents) if os.path.lexists(base / one)), Path(path.anchor))
    rest = path.relative_to(held) if held != path else ""
    return str(Path(globs_of.escape(str(held)), rest))


def _real_glob(pattern: str) -> str:
    """The pattern with the links resolved in the folders before its first wildcard."""
    parts = Path(pattern).parts
    names = [_plain_name(part) for part in parts]
    fixed = next((n for n, name in enumerate(names) if name is None), len(parts))
    folder = os.path.realpath(Path(*(name for name in names[:fixed] if name is not None)))
    return str(Path(globs_of.escape(folder), *parts[fixed:])) if fixed else pattern


def _plain_name(part: str) -> str | None:
    """The name that a part of a pattern stands for; None where it has a wildcard."""
    name = re.sub(r"\[([*?\[])\]", r"\1", part)
    return name if globs_of.escape(name) == part or not set(part) & _WILDCARDS else None


def ignores_case(path: str) -> bool:
    """Whether names that differ in upper and lower case only are the same where the path lies."""
    place = Path(path)
    for one in (place, *place.parents):
        other = one.name.swapcase()
        if other != one.name:
            try:
                return one.samefile(one.with_name(other))
            except OSError:  # one of the two is not there
                if os.path.lexists(one):
                    return False
    return False


def touched_hosts(call: Call) -> Iterator[str]:
    """Every host that the tool tells, and every one that an argument names.

    An address that parsers read differently gives all that it could mean, so that no list of allowed
    hosts fits it.
    """
    if call.assessment is not None:
        yield from map(plain_host, call.assessment.hosts)
    for text in dict.fromkeys((*texts(call.arguments), *texts(call.written))):
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
    """Lower case, without the dot at its end, in ASCII where IDNA knows a form; a number has one form."""
    folded = unicodedata.normalize("NFKC", host).lower().rstrip(".").removeprefix("[").removesuffix("]")
    if folded and not set(folded) - _SIGNS_OF_NUMBERS:
        return _plain_number(folded)
    try:
        return folded if folded.isascii() else folded.encode("idna").decode()
    except UnicodeError:
        return folded


_SIGNS_OF_NUMBERS = frozenset("0123456789abcdefx.:")


def _plain_number(host: str) -> str:
    """`127.1`, `0x7f000001` and `::ffff:7f00:1` are one address."""
    try:
        if ":" in host:
            long = ipaddress.IPv6Address(host)
            return str(long.ipv4_mapped or long)
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, ValueError):  # a name after all
        return host


def texts(value: Any) -> Iterator[str]:
    """Every string in a value of plain data, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (bytes, os.PathLike)):
        yield os.fsdecode(value)
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
