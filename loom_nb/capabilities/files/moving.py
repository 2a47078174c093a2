"""Something gets another name, goes to the trash, or a folder comes into being."""

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from loom_nb.capabilities.files.disk import make_missing, remove_folders, rename_new, sync, to_trash, told
from loom_nb.capabilities.files.folder import FOLDER_FLAGS, Folder, Place, special
from loom_nb.capabilities.files.guards import runs_later
from loom_nb.capabilities.files.history import History, Made, Moved
from loom_nb.capabilities.files.paths import Refused, amount, check_new_name, plain, shown
from loom_nb.capabilities.files.plans import effects_on, not_in_trash, notes_on, sealed, stamp
from loom_nb.errors import ToolError
from loom_nb.tools import Assessment

MAX_SURVEYED = 5_000
"""Entries of a folder that are counted."""
_MAX_DEEP = 64
_SHOWN = 40


@dataclass(slots=True)
class Survey:
    """What a file or a folder holds."""

    files: int = 0
    bytes: int = 0
    names: list[tuple[str, ...]] = field(default_factory=list)
    facts: list[tuple[object, ...]] = field(default_factory=list)
    whole: bool = True

    @property
    def words(self) -> str:
        """Such as "3 files, 12 kB"."""
        least = "" if self.whole else "more than "
        return f"{least}{self.files:,} {'file' if self.files == 1 else 'files'}, {amount(self.bytes)}"


@dataclass(slots=True)
class Move:
    """A name and the one that it would be."""

    source: Place
    found: os.stat_result
    target: Place
    survey: Survey

    def told(self, folder: Folder) -> Assessment:
        """What it would do."""
        source, target = self.source, self.target
        inside = [(*target.parts, *inner) for inner in self.survey.names]
        obeyed = [one for one in (target.parts, *inside) if runs_later(one)]
        effects, reasons = effects_on(source.parts, *obeyed[:3])
        if not self.survey.whole:
            effects |= {"runs"}
            reasons.append("it holds more than was looked at")
        words = f"moves {_kind(self.found, source)} to {plain(target.path)}"
        if stat.S_ISDIR(self.found.st_mode):
            words += f" ({self.survey.words})"
        made = [f"makes the folder {plain('/'.join(target.parts[:-1]))}"] if target.missing else []
        paths = (folder.absolute(source.parts), folder.absolute(target.parts))
        return Assessment(
            effects=effects,
            reasons=(words, *made, *reasons, *notes_on(target, None)),
            preview="\n".join([f"{plain(source.path)} -> {plain(target.path)}", *_contents(self.survey)]),
            paths=paths,
            seal=sealed(paths, stamp(self.found), self.survey.facts, target.missing),
        )

    def carry_out(self, folder: Folder, history: History) -> str:
        """Rename it."""
        source, target = self.source, self.target
        made = make_missing(folder, target)
        try:
            with told(f"{shown(source.path)} was not moved"):
                rename_new(source.name, target.name, source.folder, target.folder)
        except BaseException:
            remove_folders(folder, made)
            raise
        sync(source.folder)
        sync(target.folder)
        words = f"moved {plain(source.path)} to {plain(target.path)}"
        identity = (self.found.st_dev, self.found.st_ino)
        history.add(Moved(words, source.parts, target.parts, identity, made))
        return f"done: {words}"


@dataclass(slots=True)
class Delete:
    """What would go to the trash."""

    place: Place
    found: os.stat_result
    survey: Survey

    def told(self, folder: Folder) -> Assessment:
        """What it would do."""
        place = self.place
        effects, reasons = effects_on(place.parts)
        inner = next((one for one in self.survey.names if runs_later((*place.parts, *one))), None)
        if inner is not None and not reasons:
            reasons.append(f"with it goes {plain('/'.join((*place.parts, *inner)))}")
        size = f" ({self.survey.words})" if not stat.S_ISLNK(self.found.st_mode) else ""
        path = folder.absolute(place.parts)
        return Assessment(
            effects=effects,
            reasons=(f"moves {_kind(self.found, place)}{size} to the trash", *reasons),
            preview="\n".join([plain(place.path), *_contents(self.survey)]),
            paths=(path,),
            seal=sealed(path, stamp(self.found), self.survey.facts),
        )

    def carry_out(self, folder: Folder, history: History) -> str:
        """Move it to the trash."""
        place = self.place
        where = to_trash(folder, place)
        words = f"deleted {plain(place.path)}"
        history.add(Moved(words, place.parts, where, (self.found.st_dev, self.found.st_ino)))
        return f"done: {words} (it is in {'/'.join(where[:2])}); undo_change brings it back"


@dataclass(slots=True)
class MakeFolder:
    """A folder that is not there yet."""

    place: Place

    def told(self, folder: Folder) -> Assessment:
        """What it would do."""
        path = folder.absolute(self.place.parts)
        effects, reasons = effects_on(self.place.parts)
        words = f"makes the folder {plain(self.place.path)}"
        return Assessment(
            effects=effects,
            reasons=(words, *reasons, *notes_on(self.place, None)),
            preview=f"{plain(self.place.path)}/",
            paths=(path,),
            seal=sealed(path, self.place.missing),
        )

    def carry_out(self, folder: Folder, history: History) -> str:
        """Make it, with those above it."""
        place = self.place
        made = make_missing(folder, place)
        try:
            with told(f"the folder {shown(place.path)} was not made"):
                os.mkdir(place.name, dir_fd=place.folder)
        except BaseException:
            remove_folders(folder, made)
            raise
        words = f"made the folder {plain(place.path)}"
        history.add(Made(words, (*made, place.parts)))
        return f"done: {words}"


@contextmanager
def moving(folder: Folder, source: str, target: str) -> Iterator[Move]:
    """The plan to move or rename a file, a folder or a link."""
    with folder.place(source, follow=False) as old, folder.place(target, follow=False) as new:
        found = _movable(old, source)
        not_in_trash(new)
        if new.status() is not None:
            raise ToolError(
                f"there is {shown(target)} already",
                fixes=["name the file in that folder: 'folder/name'", "delete_file it first"],
            )
        for name in (*new.missing, new.name):
            check_new_name(name)
        if new.parts[: len(old.parts)] == old.parts:
            raise ToolError(f"{shown(source)} cannot be moved into itself")
        yield Move(old, found, new, survey(old, found))


@contextmanager
def deleting(folder: Folder, path: str) -> Iterator[Delete]:
    """The plan to move a file, a folder or a link to the trash."""
    with folder.place(path, follow=False) as place:
        found = _movable(place, path)
        yield Delete(place, found, survey(place, found))


@contextmanager
def making_folder(folder: Folder, path: str) -> Iterator[MakeFolder]:
    """The plan to make a folder, and those above it that are missing."""
    with folder.place(path, follow=False) as place:
        not_in_trash(place)
        if place.status() is not None:
            raise ToolError(f"there is {shown(path)} already")
        for name in (*place.missing, place.name):
            check_new_name(name)
        yield MakeFolder(place)


def _movable(place: Place, path: str) -> os.stat_result:
    """What is there. Raises ToolError for nothing, and for what is neither file, folder nor link."""
    not_in_trash(place)
    found = place.status()
    if found is None:
        raise ToolError(f"{shown(path)} does not exist")
    if special(found):
        raise Refused(f"{shown(path)} is no ordinary file ({special(found)})")
    return found


def _kind(found: os.stat_result, place: Place) -> str:
    if stat.S_ISDIR(found.st_mode):
        return f"the folder {plain(place.path)}"
    return f"the link {plain(place.path)}" if stat.S_ISLNK(found.st_mode) else plain(place.path)


def survey(place: Place, found: os.stat_result) -> Survey:
    """Look through what is at `place`, links not followed, up to a bound."""
    seen = Survey()
    if not stat.S_ISDIR(found.st_mode):
        seen.files, seen.bytes = 1, found.st_size
        return seen
    with contextlib.suppress(OSError):
        top = os.open(place.name, FOLDER_FLAGS, dir_fd=place.folder)
        try:
            _look_through(top, (), seen)
        finally:
            os.close(top)
    return seen


def _look_through(fd: int, above: tuple[str, ...], seen: Survey) -> None:
    with os.scandir(fd) as entries:
        inner = sorted(entries, key=lambda entry: entry.name)
        for entry in inner:
            if len(seen.names) >= MAX_SURVEYED or len(above) >= _MAX_DEEP:
                seen.whole = False
                return
            parts = (*above, entry.name)
            seen.names.append(parts)
            try:
                found = entry.stat(follow_symlinks=False)
                seen.facts.append((parts, stamp(found)))
                if not stat.S_ISDIR(found.st_mode):
                    seen.files += 1
                    seen.bytes += found.st_size
                    continue
                below = os.open(entry.name, FOLDER_FLAGS, dir_fd=fd)
            except OSError:
                seen.whole = False
                continue
            try:
                _look_through(below, parts, seen)
            finally:
                os.close(below)


def _contents(seen: Survey) -> list[str]:
    lines = [f"  {plain('/'.join(parts))}" for parts in seen.names[:_SHOWN]]
    more = len(seen.names) - _SHOWN
    return [*lines, f"  ... {'' if seen.whole else 'more than '}{more:,} more"] if more > 0 else lines
