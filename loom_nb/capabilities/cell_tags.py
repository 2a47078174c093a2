"""What the tags of a cell say to agents, whatever way they are spelled."""

import re
from collections.abc import Iterable

HIDE = frozenset({"loom-exclude", "loom-hide", "loom-hidden"})
PIN = frozenset({"loom-pin", "loom-pinned"})
TAGS = {
    "loom-exclude": "no agent is given this cell: not by --ctx, not by the tools that read cells; the "
    "variables and functions that it makes are not hidden, nor is the first line of a docstring",
    "loom-pin": "on a %%loom cell: its turn is never compacted; on any other: read_cells always shows it",
}
"""What a person may write, with what it means."""


def is_hidden(tags: Iterable[str]) -> bool:
    """Whether no agent is to be given the cell: `loom-exclude`, `loom:hide`, `Loom_Hide`, …"""
    return any(_plain(tag) in HIDE for tag in tags)


def is_pinned(tags: Iterable[str]) -> bool:
    """Whether the cell, or the turn that it made, always stays."""
    return any(_plain(tag) in PIN for tag in tags)


def tags_of(metadata: object) -> frozenset[str]:
    """The tags in the metadata of a cell, as a file or a front end has them; none where that is odd."""
    tags = metadata.get("tags", ()) if isinstance(metadata, dict) else ()
    return frozenset(str(tag) for tag in tags) if isinstance(tags, list | tuple) else frozenset()


def _plain(tag: str) -> str:
    return re.sub(r"[\s:_./-]+", "-", tag.strip().casefold())
