"""Products: what calls of a run made beside what they returned, named, counted and kept once."""

import hashlib
import threading
from collections.abc import Iterable
from typing import Literal

import msgspec

from loom_nb.events import ArtifactAdded, LogEntry
from loom_nb.runtime.artifacts import Packed, size_in_words

Kind = Literal["figure", "table", "file"]
MOST = 100
"""Products of a run."""
LARGEST = 10_000_000
"""Bytes of one."""
ALL = 50_000_000
"""Bytes of all that a run keeps so."""


class Products:
    """Those of one run. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._digests: dict[str, set[str]] = {}
        """By kind, of what was kept."""
        self._files: dict[str, str] = {}
        """The last digest of each file: one that is written back to what it was has a version more."""
        self._numbers: dict[str, int] = {}
        self._count = 0
        self._bytes = 0

    def admit(self, kind: Kind, made: Packed) -> Packed | str | None:
        """It with its name, None where the run has it already, or in words why it is not kept."""
        with self._lock:
            digest = hashlib.sha256(made.data).hexdigest()
            known = self._digests.setdefault(kind, set())
            if self._files.get(made.name) == digest if kind == "file" else digest in known:
                return None
            told = made.name or f"a {kind}"
            if len(made.data) > LARGEST:
                most = size_in_words(LARGEST)
                return (
                    f"{told} has {size_in_words(len(made.data))}: more than {most} is not kept with the run"
                )
            if self._count >= MOST or self._bytes + len(made.data) > ALL:
                most = f"{MOST} figures, tables and files, {size_in_words(ALL)}"
                return f"{told} is not kept: the run keeps {most}"
            if kind == "file":
                self._files[made.name] = digest
            else:
                known.add(digest)
            self._count += 1
            self._bytes += len(made.data)
            if made.name:
                return made
            self._numbers[kind] = number = self._numbers.get(kind, 0) + 1
            return msgspec.structs.replace(made, name=f"{kind} {number}")

    def remember(self, entries: Iterable[LogEntry]) -> None:
        """What the run had kept before another process took it up."""
        for entry in entries:
            if not isinstance(entry.event, ArtifactAdded):
                continue
            kind, _, number = entry.event.name.rpartition(" ")
            if kind in ("figure", "table") and number.isdecimal():
                self._numbers[kind] = max(self._numbers.get(kind, 0), int(number))
                self._digests.setdefault(kind, set()).add(entry.event.sha256)
            else:
                self._files[entry.event.name] = entry.event.sha256
            self._count += 1
            self._bytes += entry.event.size
