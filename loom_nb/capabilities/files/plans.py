"""What every change has in common: it is planned, told, and only then carried out.

A plan holds the folder open in which it would act, so that what is told and what is done are about
the same place. Making one changes nothing.
"""

import hashlib
import os
from collections.abc import Iterator
from typing import Protocol

from loom_nb.capabilities.files.folder import Folder, Place
from loom_nb.capabilities.files.guards import is_backup, is_trash, runs_later
from loom_nb.capabilities.files.history import History
from loom_nb.capabilities.files.paths import Refused, plain, shown, twin
from loom_nb.tools import Assessment, Effect

WORST: frozenset[Effect] = frozenset({"writes", "runs"})
"""A file may be one that another program runs."""
_MAX_TWINS = 10_000


class Plan(Protocol):
    """One change that could be made."""

    def told(self, folder: Folder) -> Assessment:
        """What it would do."""
        ...

    def carry_out(self, folder: Folder, history: History) -> str:
        """Do it, remember it, and say what was done. Raises ToolError; then nothing has changed."""
        ...


def effects_on(*paths: tuple[str, ...]) -> tuple[frozenset[Effect], list[str]]:
    """The effects of changing these paths, with the reasons for those that are more than writing."""
    effects: set[Effect] = {"writes"}
    reasons = []
    for parts in paths:
        who = runs_later(parts)
        if who:
            effects.add("runs")
            reasons.append(f"{plain('/'.join(parts))} is run or obeyed by {who}, unasked")
    return frozenset(effects), reasons


def not_in_trash(place: Place) -> None:
    """Raise Refused for what lies in the trash."""
    if is_trash(place.parts):
        raise Refused(
            f"{shown(place.path)} is refused: deleted things are kept there",
            fixes=["undo_change brings back what was deleted last"],
        )


def notes_on(place: Place, found: os.stat_result | None) -> Iterator[str]:
    """What somebody who decides should know of a place."""
    if place.through:
        yield f"a link leads to {plain(place.path)}"
    if found is not None and found.st_nlink > 1:
        yield f"it has {found.st_nlink - 1} other name (hard link), which keeps the old content"
    if found is not None and found.st_mode & 0o111:
        yield "it is a program"
    if is_backup(place.parts):
        yield "Jupyter keeps it as a backup"
    if found is None and not place.missing:
        other = _twin_of(place)
        if other:
            yield f"there is {plain(other)} already, which looks the same"


def _twin_of(place: Place) -> str:
    """A name beside `place` that some systems take for the same; empty if there is none."""
    try:
        with os.scandir(place.folder) as entries:
            for _, entry in zip(range(_MAX_TWINS), entries, strict=False):
                if twin(entry.name, place.name):
                    return entry.name
    except OSError:
        return ""
    return ""


def sealed(*facts: object) -> str:
    """A seal of what was looked at."""
    whole = hashlib.sha256()
    for fact in facts:
        data = fact if isinstance(fact, bytes) else repr(fact).encode("utf-8", "surrogateescape")
        whole.update(len(data).to_bytes(8) + data)
    return whole.hexdigest()


def stamp(found: os.stat_result | None) -> tuple[int, ...]:
    """What tells one state of a file from another without reading it."""
    if found is None:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
