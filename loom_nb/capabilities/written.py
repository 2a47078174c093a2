"""Which files in a folder came into being, or got another content, while something ran."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from loom_nb.capabilities.secret_names import looks_secret

MOST_SEEN = 5_000
"""Files and folders that are looked at; in a larger tree nothing is followed."""
MOST = 20
"""Written files that are told."""
LARGEST = 10_000_000
"""Bytes of a file that is read."""
_PASSED_BY = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})

Stamp = tuple[int, int, int]


class Written:
    """The files below a folder as they are now, to be compared later. Links are not followed.

    Hidden ones, and those that hold secrets by their names, are left alone.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._before = _stamps(root)
        self.left_out = ""
        """Why `since` did not give all, in words."""

    @property
    def was_followed(self) -> bool:
        """Whether the folder was small enough at first."""
        return self._before is not None

    def since(self) -> list[tuple[str, int, bytes | None]]:
        """What was written since, by its path from the root, with its bytes; None for a file too large."""
        now = _stamps(self.root) if self._before is not None else None
        if self._before is None or now is None:
            self.left_out = (
                f"the folder {self.root.name} holds more than {MOST_SEEN:,} files and folders: "
                "what was written there is not kept with the run"
            )
            return []
        new = sorted(name for name, stamp in now.items() if self._before.get(name) != stamp)
        if len(new) > MOST:
            more = f"{len(new) - MOST:,} more file{'s were' if len(new) > MOST + 1 else ' was'} written"
            self.left_out = f"{more} and {'are' if len(new) > MOST + 1 else 'is'} not kept with the run: "
            self.left_out += f"of one call {MOST} are"
        found = ((name, now[name][1], _content(self.root / name)) for name in new[:MOST])
        return [(name, size, data) for name, size, data in found if data is not None or size > LARGEST]


def _stamps(root: Path) -> dict[str, Stamp] | None:
    """By path: time, size and number of each file; None where there are too many."""
    stamps: dict[str, Stamp] = {}
    folders, seen = [""], 0
    while folders:
        folder = folders.pop()
        for entry in _entries(root / folder):
            seen += 1
            if seen > MOST_SEEN:
                return None
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(".") or entry.name in _PASSED_BY or looks_secret(name):
                continue
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(found.st_mode):
                folders.append(name)
            elif stat.S_ISREG(found.st_mode):
                stamps[name] = (found.st_mtime_ns, found.st_size, found.st_ino)
    return stamps


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return


def _content(path: Path) -> bytes | None:
    """The bytes of an ordinary file that is not too large."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            data = file.read(LARGEST + 1)
    except OSError:
        return None
    return data if len(data) <= LARGEST else None
