"""The skills that are there, by name: looked at anew each time, read again only where a file changed."""

import hashlib
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TypeAlias

from loom_nb.border import clean
from loom_nb.capabilities.files.folder import FILE_FLAGS, FOLDER_FLAGS, Folder
from loom_nb.capabilities.files.plans import sealed
from loom_nb.capabilities.skills.contents import HEAD, MAX_RESOURCE, Unread, contents
from loom_nb.capabilities.skills.front_matter import MAX_FILE, FrontMatter, NotASkill, is_name, parse
from loom_nb.capabilities.skills.places import Place
from loom_nb.errors import LoomError, ToolError

MAX_SKILLS = 5_000
"""Folders of one place that are looked at."""

Stamp: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill, or a folder that should be one."""

    name: str
    """Of its folder."""
    place: Place
    matter: FrontMatter | None
    problem: str = ""
    """Why it cannot be used; empty for a sound one."""
    size: int = 0
    """Bytes of its SKILL.md."""
    shadowed_by: str = ""
    """The place of the skill of the same name that counts; empty for the one that does."""

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.place.path / self.name

    @property
    def tier(self) -> str:
        """How far it is trusted, by its place."""
        return self.place.tier

    @property
    def description(self) -> str:
        """What it is for."""
        return self.matter.description if self.matter is not None else ""

    @property
    def usable(self) -> bool:
        """Whether it can be activated by its name."""
        return self.matter is not None and not self.shadowed_by


@dataclass(frozen=True, slots=True)
class Opened:
    """All of a skill, read."""

    skill: Skill
    matter: FrontMatter
    text: str = field(repr=False)
    """The whole SKILL.md."""
    body: str = field(repr=False)
    files: tuple[str, ...] = ()
    """Its resources and scripts, by their paths."""
    texts: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """What is looked at, SKILL.md first: all that can be, hidden or not."""
    unread: tuple[Unread, ...] = ()
    """What nobody looks at."""
    marks: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """(path, what stands for its content) of everything in its folder."""
    sha256: str = ""
    """Stands for all of that: another one is another skill."""
    changed: int = 0
    """When the last of it was changed, in nanoseconds since the epoch."""


class Known:
    """What was read of files that have not changed since. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: dict[str, tuple[Stamp, FrontMatter | None, str]] = {}

    def look(self, folder: str, name: str) -> tuple[FrontMatter | None, str, int]:
        """The front matter of `folder/SKILL.md`, or what is wrong with it, and its bytes."""
        path = f"{folder}/{HEAD}"
        try:
            found = os.lstat(path)
        except OSError as error:
            with self._lock:
                self._read.pop(path, None)
            return None, f"it has no {HEAD}" if isinstance(error, FileNotFoundError) else str(error), 0
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        with self._lock:
            known = self._read.get(path)
        if known is None or known[0] != stamp:
            known = (stamp, *_head(folder, name, found))
            with self._lock:
                self._read[path] = known
        return known[1], known[2], found.st_size


@cache
def known_here() -> Known:
    """One for the process: all its sessions look at the same disk."""
    return Known()


def _head(folder: str, name: str, found: os.stat_result) -> tuple[FrontMatter | None, str]:
    try:
        if not stat.S_ISREG(found.st_mode):
            raise NotASkill(f"its {HEAD} is no ordinary file")
        return parse(read_head(folder), name)[0], ""
    except ToolError as error:
        return None, error.title
    except OSError as error:
        return None, f"it cannot be read: {error.strerror or error}"


def read_head(folder: str) -> str:
    """The text of `folder/SKILL.md`, no link followed.

    Raises:
        NotASkill: it is too large, or no UTF-8.
        OSError: it cannot be read.
    """
    inner = os.open(folder, FOLDER_FLAGS)
    try:
        with os.fdopen(os.open(HEAD, FILE_FLAGS, dir_fd=inner), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise NotASkill(f"its {HEAD} is no ordinary file")
            data = file.read(MAX_FILE + 1)
    finally:
        os.close(inner)
    if len(data) > MAX_FILE:
        raise NotASkill(f"its {HEAD} is larger than {MAX_FILE // 1024} kB")
    try:
        return clean(data.decode())
    except UnicodeDecodeError:
        raise NotASkill(f"its {HEAD} is no UTF-8") from None


class Shelf:
    """The skills of some places, the first place of a name first.

    Args:
        places: where to look, in the order in which a name counts.
        known: what was read before.
    """

    def __init__(self, places: Sequence[Place], known: Known | None = None) -> None:
        self.places = tuple(places)
        self._known = known if known is not None else known_here()

    def all(self) -> tuple[Skill, ...]:
        """Every skill as it is now, with those that another one shadows and those that are damaged."""
        found = [skill for place in self.places for skill in self._of(place)]
        counts: dict[str, Skill] = {}
        made = []
        for skill in found:
            if skill.matter is None:
                made.append(skill)
                continue
            first = counts.setdefault(skill.name, skill)
            made.append(skill if first is skill else replace(skill, shadowed_by=str(first.place.path)))
        return tuple(made)

    def usable(self) -> tuple[Skill, ...]:
        """Those that can be activated, by name."""
        return tuple(sorted((one for one in self.all() if one.usable), key=lambda one: one.name))

    def get(self, name: str) -> Skill:
        """The skill that counts under a name.

        Raises:
            ToolError: there is none, or it is damaged.
        """
        broken = ""
        for place in self.places if is_name(name) else ():
            skill = self._one(place, name)
            if skill is not None and skill.matter is not None:
                return skill
            broken = broken or (skill.problem if skill is not None else "")
        if broken:
            raise ToolError(f"the skill {name} cannot be used: {broken}")
        raise ToolError(f"there is no skill {name!r:.80}", fixes=["list_skills finds skills by words"])

    def open(self, skill: Skill) -> Opened:
        """Read all of a skill.

        Raises:
            ToolError: it cannot be read any more.
        """
        return read_skill(skill)

    def _one(self, place: Place, name: str) -> Skill | None:
        folder = place.path / name
        if folder.is_symlink():
            return Skill(name, place, None, "it is a link")
        if not folder.is_dir():
            return None
        matter, problem, size = self._known.look(str(folder), name)
        return Skill(name, place, matter, problem, size)

    def _of(self, place: Place) -> Iterator[Skill]:
        root = str(place.path)
        try:
            with os.scandir(root) as entries:
                found = sorted(
                    (one.name, one.is_symlink(), one.is_dir(follow_symlinks=False)) for one in entries
                )
        except OSError:
            return
        for name, link, folder in found[:MAX_SKILLS]:
            if name.startswith((".", "_")) or not (link or folder):
                continue
            if link or not is_name(name):
                shown = clean(name.encode("utf-8", "replace").decode())[:80]
                yield Skill(shown, place, None, "it is a link" if link else "that is no name for a skill")
                continue
            matter, problem, size = self._known.look(f"{root}/{name}", name)
            yield Skill(name, place, matter, problem, size)


def read_skill(skill: Skill) -> Opened:
    """Read a skill and what lies beside it, nothing outside of its folder.

    Raises:
        ToolError: it cannot be read.
    """
    try:
        text = read_head(str(skill.folder))
        matter, body = parse(text, skill.name)
        beside = contents(skill.folder, text)
    except OSError as error:
        raise ToolError(f"the skill {skill.name} cannot be read: {error.strerror or error}") from None
    texts = ((HEAD, text), *beside.texts)
    marks = ((HEAD, hashlib.sha256(text.encode()).hexdigest()), *beside.marks)
    seal = sealed(*(part.encode("utf-8", "surrogateescape") for mark in marks for part in mark))
    return Opened(skill, matter, text, body, beside.files, texts, beside.unread, marks, seal, beside.changed)


def read_resource(root: Path, path: str) -> str | None:
    """A text file of a skill; None for one that is no text, too large or not reachable from within it."""
    try:
        folder = Folder(str(root))
    except LoomError:
        return None
    try:
        with folder.open_file(path) as file:
            data = file.read(MAX_RESOURCE + 1)
        return None if len(data) > MAX_RESOURCE or b"\0" in data else clean(data.decode())
    except (ToolError, OSError, UnicodeDecodeError):
        return None
    finally:
        folder.close()
