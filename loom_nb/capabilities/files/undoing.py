"""The last change is taken back, if nobody has changed the same thing since."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from loom_nb.capabilities.files.differences import difference
from loom_nb.capabilities.files.disk import (
    empty_trash,
    make_missing,
    put,
    remove_folders,
    rename_new,
    same,
    sync,
    told,
)
from loom_nb.capabilities.files.folder import Folder, Place
from loom_nb.capabilities.files.guards import TRASH
from loom_nb.capabilities.files.history import MAX_KEPT_FILE, Change, History, Made, Moved, Wrote, digest
from loom_nb.capabilities.files.paths import plain, shown
from loom_nb.capabilities.files.plans import effects_on, sealed
from loom_nb.capabilities.files.rewriting import readable
from loom_nb.capabilities.secret_names import looks_secret
from loom_nb.errors import ToolError
from loom_nb.tools import Assessment


@dataclass(slots=True)
class Undo:
    """The newest change, and what is there now."""

    number: int
    change: Change
    now: bytes | None = None

    def told(self, folder: Folder) -> Assessment:
        """What it would do."""
        change = self.change
        touched = _touched(change)
        effects, reasons = effects_on(*touched)
        return Assessment(
            effects=effects,
            reasons=(f"takes back: {change.words}", *reasons),
            preview=self._preview(),
            preview_kind="diff" if isinstance(change, Wrote) else "text",
            paths=tuple(folder.absolute(parts) for parts in touched),
            seal=sealed(self.number, change.words, self.now or b""),
        )

    def _preview(self) -> str:
        change = self.change
        if not isinstance(change, Wrote):
            return change.words
        name = plain("/".join(change.parts))
        now, before = readable(self.now), "" if change.before is None else readable(change.before)
        if looks_secret(name) or now is None or before is None:
            return f"{name}: as it was"
        if change.before is None:
            return f"{name} is removed"
        return difference(now, before, name)

    def carry_out(self, folder: Folder, history: History) -> str:
        """Take it back."""
        match self.change:
            case Wrote() as change:
                _unwrite(folder, change, history)
            case Moved() as change:
                _move_back(folder, change)
            case Made() as change:
                _unmake(folder, change)
        history.drop(self.number)
        rest = len(history)
        return f"taken back: {self.change.words}; {rest} earlier {'change' if rest == 1 else 'changes'} kept"


def _touched(change: Change) -> tuple[tuple[str, ...], ...]:
    match change:
        case Wrote():
            return (change.parts,)
        case Moved():
            return (change.source, change.target)
        case Made():
            return change.made


@contextmanager
def undoing(folder: Folder, history: History) -> Iterator[Undo]:
    """The plan to take back the newest change. Raises ToolError where that cannot be done any more."""
    last = history.last
    if last is None:
        raise ToolError("there is nothing to take back: nothing was changed here, or not in this session")
    number, change = last
    match change:
        case Wrote():
            with _at(folder, change.parts) as place:
                _, data = _written(place, change)
            yield Undo(number, change, data)
        case Moved():
            with _at(folder, change.target) as here, _at(folder, change.source) as there:
                _still_there(here, there, change)
            yield Undo(number, change)
        case Made():
            yield Undo(number, change)


def _at(folder: Folder, parts: tuple[str, ...]) -> Place:
    return folder.place("/".join(parts), follow=False, links=False)


def _written(place: Place, change: Wrote) -> tuple[os.stat_result, bytes]:
    """The file as it was written. Raises ToolError where it is another one by now."""
    found = place.file()
    if found is None:
        raise ToolError(f"{shown(place.path)} cannot be set back: it has been removed since")
    with place.open() as file:
        found = os.fstat(file.fileno())
        data = file.read(MAX_KEPT_FILE + 1)
    if digest(data) != change.after:
        raise ToolError(f"{shown(place.path)} cannot be set back: it has been changed since by someone else")
    return found, data


def _unwrite(folder: Folder, change: Wrote, history: History) -> None:
    with _at(folder, change.parts) as place:
        found, _ = _written(place, change)
        if change.before is not None:
            history.renewed(found, put(place, change.before, found, times=change.status))
            return
        with told(f"{shown(place.path)} was not removed"):
            if not same(found, place.status()):
                raise ToolError(f"{shown(place.path)} was not removed: it has been changed meanwhile")
            os.unlink(place.name, dir_fd=place.folder)
        sync(place.folder)
    remove_folders(folder, change.made)


def _still_there(here: Place, there: Place, change: Moved) -> None:
    """Raise ToolError where it is not there any more, or its old name is taken."""
    found = here.status()
    if found is None or (found.st_dev, found.st_ino) != change.identity:
        raise ToolError(f"{shown(here.path)} cannot be moved back: it is not there any more")
    if there.status() is not None:
        raise ToolError(f"{shown(there.path)} cannot be brought back: there is something of that name again")


def _move_back(folder: Folder, change: Moved) -> None:
    with _at(folder, change.target) as here, _at(folder, change.source) as there:
        _still_there(here, there, change)
        make_missing(folder, there)
        with told(f"{shown(there.path)} was not brought back"):
            rename_new(here.name, there.name, here.folder, there.folder)
        sync(here.folder)
        sync(there.folder)
    if change.target[0] == TRASH:
        empty_trash(folder, change.target[1])
    remove_folders(folder, change.made)


def _unmake(folder: Folder, change: Made) -> None:
    *above, own = change.made
    with _at(folder, own) as place, told(f"the folder {shown(place.path)} was not removed"):
        os.rmdir(place.name, dir_fd=place.folder)
    remove_folders(folder, tuple(above))
