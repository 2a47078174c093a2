"""What was changed in this session, newest last, with what it takes to take it back."""

import hashlib
import itertools
import os
import threading
from dataclasses import dataclass, field, replace
from typing import TypeAlias

MAX_CHANGES = 50
MAX_KEPT = 64 * 1024 * 1024
"""Bytes of old contents in memory, all changes together."""
MAX_KEPT_FILE = 16 * 1024 * 1024
"""Bytes of one old content: a larger file that is overwritten cannot be had back."""

Parts: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wrote:
    """A file got another content, or came into being."""

    words: str
    parts: Parts
    before: bytes | None = field(repr=False)
    """None where there was nothing."""
    status: os.stat_result | None = field(repr=False)
    after: str
    """The digest of what was written."""
    made: tuple[Parts, ...] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """Something has another name; into the trash, where it was deleted."""

    words: str
    source: Parts
    target: Parts
    identity: tuple[int, int]
    """Device and number of what was moved."""
    made: tuple[Parts, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """Folders came into being."""

    words: str
    made: tuple[Parts, ...]


Change: TypeAlias = Wrote | Moved | Made


class History:
    """The last changes, as many as fit. `lock` is held by whoever changes something."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._changes: list[tuple[int, Change]] = []
        self._numbers = itertools.count(1)

    def add(self, change: Change) -> None:
        """Remember a change; the oldest ones are forgotten where there are too many."""
        self._changes.append((next(self._numbers), change))
        while len(self._changes) > MAX_CHANGES or sum(map(_weight, self._changes)) > MAX_KEPT:
            del self._changes[0]

    def renewed(self, old: os.stat_result, new: tuple[int, int]) -> None:
        """A file that we replaced has another number now: what was moved before is still known by it."""
        before = (old.st_dev, old.st_ino)
        self._changes = [
            (number, replace(change, identity=new))
            if isinstance(change, Moved) and change.identity == before
            else (number, change)
            for number, change in self._changes
        ]

    @property
    def last(self) -> tuple[int, Change] | None:
        """The newest change, with a number that no other has."""
        return self._changes[-1] if self._changes else None

    def drop(self, number: int) -> None:
        """The change was taken back."""
        self._changes = [one for one in self._changes if one[0] != number]

    def __len__(self) -> int:
        return len(self._changes)


def digest(data: bytes) -> str:
    """What stands for a content."""
    return hashlib.sha256(data).hexdigest()


def _weight(numbered: tuple[int, Change]) -> int:
    change = numbered[1]
    return len(change.before or b"") if isinstance(change, Wrote) else 0
