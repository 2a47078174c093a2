"""The leak matrix: every channel by which a secret could get out, by name, and how each is driven.

`DECLARED` is the promise: it is written by hand, and a channel that stands there and is not driven fails the
tests, as does one that is driven and does not stand there.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.leaks.canaries import files

DECLARED: Mapping[str, tuple[str, ...]] = {
    "objects": (
        "repr, str and format of every object",
        "vars, slots and attributes",
        "pickle, copy and marshal",
        "json, msgspec, pprint and rich",
        "equality and ordering errors",
        "everything the collector reaches from a broker",
    ),
    "traceback": (
        "put with wrong values",
        "rotate with wrong values",
        "errors of locked, damaged, denied and missing secrets",
        "plain traceback with its chain",
        "rich traceback with locals",
        "captured locals of a traceback",
        "verbose traceback of IPython",
        "frames a debugger walks",
        "last error of the interpreter",
        "faulthandler",
        "pytest assertion with locals",
        "warnings",
        "a broker that dies in the middle",
    ),
    "notebook": (
        "outputs of cells",
        "IOPub traffic",
        "tracebacks",
        "shell replies",
        "requests for input",
        "comm traffic and live widget messages",
        "saved widget state",
        "In, Out and the last results",
        "history",
        "completion",
        "inspection",
        "user expressions",
        "pickle of the session",
        "notebook file",
        "exports of the notebook",
        "home of the kernel",
        "run store",
        "debugger and last error",
    ),
    "logs": (
        "all logs at DEBUG",
        "no telemetry",
        "asyncio in a kernel that tells of every callback",
    ),
    "model": (
        "echo as it is",
        "echo in an address",
        "echo in base64",
        "echo in base64 with line breaks",
        "echo in hexadecimal",
        "echo in JSON",
        "echo in HTML",
        "echo packed",
        "echo byte by byte",
        "error bodies",
        "headers of answers",
        "an answer cut at its limit",
        "an answer broken off",
        "attachments",
        "other character sets",
        "the key of a model, sent back by its vendor",
    ),
    "runs": (
        "events",
        "requests to the model",
        "store of runs in SQLite",
        "store of runs in files",
        "cassette",
        "transcript as text, HTML and Markdown",
        "exports",
        "result and its errors",
        "a session that is taken up again",
        "tools that find a used secret elsewhere",
    ),
    "ui": (
        "question events",
        "approval cards and their live messages",
        "a run that was asked about",
    ),
    "policy": (
        "another host",
        "another method or path",
        "uses that are used up",
        "a time box that is closed",
        "a window of the day that is closed",
        "granted to others",
        "nobody to ask, and forged answers",
        "names of secrets that are none",
    ),
    "network": (
        "redirects",
        "a server that cannot be reached",
        "a token server that refuses",
        "proxies of the environment",
    ),
    "ssh": (
        "output of commands",
        "output that comes byte by byte",
        "a session",
        "a machine that refuses",
        "environment and commands over there",
    ),
    "process": (
        "arguments of the broker",
        "environment of the broker",
        "memory of the broker",
        "descriptors of the broker",
        "core dumps of the broker",
        "environment of what a kernel starts",
        "a thief in the kernel",
        "environment of a tool's command",
        "memory of the kernel",
        "environment, arguments and descriptors of the kernel",
        "modules and objects of the kernel",
        "the broker of a kernel",
        "a broker that is killed in the middle of a use",
    ),
    "disk": (
        "home of loom_nb",
        "store after rotate, change, revoke and rekey",
        "write-ahead log and free pages",
        "temporary files",
        "log of the broker",
        "audit",
        "backup of the store",
    ),
    "browser": (
        "frames from the kernel",
        "frames to the kernel",
        "page",
        "storage, addresses and requests of the page",
        "clipboard",
        "files of the Jupyter server",
    ),
}

Part: TypeAlias = "bytes | str | Path | Iterable[Part]"


@dataclass
class Seen:
    """What came through a channel.

    Args:
        parts: by name; a path stands for a file, or all files below a folder.
        control: a text that had to come through as well: a channel that carries nothing proves nothing.
        deep: whether escapes are read and packed data is unpacked.
    """

    parts: Mapping[str, Part]
    control: str
    deep: bool = True

    def data(self) -> dict[str, bytes]:
        """All of it."""
        return {name: _bytes(part) for name, part in self.parts.items()}


def _bytes(part: Part) -> bytes:
    if isinstance(part, bytes):
        return part
    if isinstance(part, str):
        return part.encode("utf-8", "surrogatepass")
    if isinstance(part, Path):
        return b"\n".join(str(path).encode() + b"\n" + data for path, data in files(part))
    return b"\n".join(map(_bytes, part))


@dataclass(frozen=True)
class Channel:
    """One way out, and how it is driven."""

    group: str
    name: str
    drive: Callable[..., Seen]
    slow: bool = False
    marks: tuple[pytest.MarkDecorator, ...] = ()

    @property
    def id(self) -> str:
        """As tests name it."""
        return f"{self.group}: {self.name}"


CHANNELS: dict[str, Channel] = {}


def channel(
    group: str, name: str, *, slow: bool = False, marks: Iterable[pytest.MarkDecorator] = ()
) -> Callable[[Callable[..., Seen]], Callable[..., Seen]]:
    """A function that drives the canaries through a channel, and gives all that came out there."""

    def kept(drive: Callable[..., Seen]) -> Callable[..., Seen]:
        one = Channel(group, name, drive, slow, tuple(marks))
        assert one.id not in CHANNELS, one.id
        CHANNELS[one.id] = one
        return drive

    return kept


@dataclass
class Row:
    """What became of one channel in this run."""

    channel: str
    patterns: int
    scanned: int
    found: int
    parts: int = field(default=1)


ROWS: list[Row] = []


def table(rows: Iterable[Row]) -> str:
    """The rows, for a person."""
    rows = list(rows)
    width = max((len(row.channel) for row in rows), default=10)
    lines = [f"{'channel':<{width}}  {'forms':>6}  {'bytes':>12}  found"]
    lines += [
        f"{row.channel:<{width}}  {row.patterns:>6,}  {row.scanned:>12,}  {row.found:>5}" for row in rows
    ]
    whole = f"{len(rows)} channels, {sum(row.scanned for row in rows):,} bytes, {sum(row.found for row in rows)} found"
    return "\n".join([*lines, "-" * len(lines[0]), whole])
