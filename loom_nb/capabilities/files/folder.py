"""An open folder, and the only way to what is below it.

A path is walked one name at a time from an open descriptor of the folder, and no step follows a
link by itself: a link is read and walked like a path that was asked for. So there is no moment
between a check and a use in which a name could be exchanged. What cannot be seen from here is a
second name (hard link) that somebody made for a file of another place: reading it reads that file.
"""

import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from loom_nb.capabilities.files.paths import Refused, shown, steps
from loom_nb.errors import NotBuiltError, SetupError, ToolError

MAX_LINKS = 40
FOLDER_FLAGS = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
)
FILE_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
)  # without waiting: a pipe must not hold us up before we can see that it is one
_SYSTEM = frozenset(
    {"proc", "sysfs", "debugfs", "tracefs", "securityfs", "configfs", "cgroup", "cgroup2", "bpf", "pstore"}
    | {"efivarfs", "fusectl", "binfmt_misc", "nsfs", "selinuxfs"}
)
"""File systems whose files are the system itself."""


@dataclass(slots=True)
class Place:
    """Where a name is, or could be: an open folder and a name in it. To be used in a `with`."""

    folder: int
    """A descriptor of the folder it is in; where `missing` is not empty, of the nearest one above."""
    name: str
    parts: tuple[str, ...]
    """The real names from the root on, this one included."""
    missing: tuple[str, ...] = ()
    """Folders between that are not there yet."""
    through: bool = False
    """A link led here."""

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.folder)

    @property
    def path(self) -> str:
        """From the root, with '/'."""
        return "/".join(self.parts)

    def status(self) -> os.stat_result | None:
        """What is there now, links not followed; None for nothing."""
        if self.missing:
            return None
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ToolError(f"{shown(self.path)} cannot be looked at: {error.strerror}") from None

    def file(self) -> os.stat_result | None:
        """Like `status`, and it is an ordinary file. Raises ToolError for all else."""
        found = self.status()
        if found is not None:
            must_be_file(found, self.path)
        return found

    def open(self) -> BinaryIO:
        """The ordinary file that is there, for reading."""
        return open_checked(self.name, self.folder, self.path)


class Folder:
    """A folder that stays the same one even when it is moved. May be used from several threads."""

    def __init__(self, root: str) -> None:
        if os.open not in os.supports_dir_fd or not hasattr(os, "O_NOFOLLOW"):
            raise NotBuiltError(
                "Capability.files is not built for this system yet",
                cause="it has no open relative to a folder, by which paths are confined",
            )
        try:
            self._fd = os.open(Path(root).expanduser(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._root = os.path.realpath(Path(root).expanduser())
        except (OSError, ValueError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SetupError(
                f"Capability.files: the folder {root!r} cannot be opened",
                cause=str(reason),
                fixes=["give a folder that exists, relative to the notebook's working directory"],
            ) from None
        self._system = _system_devices()
        self._closing = threading.Lock()

    def close(self) -> None:
        """Let go of the folder. May be called twice; later use is a ToolError."""
        with self._closing:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    @property
    def root(self) -> str:
        """Where the folder is now, absolute, links resolved."""
        try:
            where = str(Path(f"/proc/self/fd/{self._fd}").readlink())
        except OSError:
            return self._root
        return where if where.startswith("/") and not where.endswith(" (deleted)") else self._root

    def absolute(self, parts: tuple[str, ...]) -> str:
        """Real names below the root as one path for rules and cards."""
        return str(Path(self.root, *parts))

    def open_file(self, path: str) -> BinaryIO:
        """An ordinary file for reading. Raises ToolError for all else."""
        with self.place(path, folders=True) as place:
            file = place.open()
        if self.is_system(file.fileno()):
            file.close()
            raise of_the_system(path)
        return file

    def entries(self, path: str) -> list[os.DirEntry[str]]:
        """What is in a folder, by name."""
        with _Way(self, path) as way:
            while (name := way.next()) is not None:
                way.enter(name)
            with os.scandir(way.here) as found:
                entries = sorted(found, key=lambda entry: entry.name)
                for entry in entries:
                    size_of(entry)  # asked for while the descriptor is open; the entry remembers it
                return entries

    def real(self, path: str) -> str:
        """The absolute path that `path` stands for, links resolved; what is missing is taken as it is."""
        with self.place(path, folders=True) as place:
            return self.absolute(place.parts)

    def place(self, path: str, *, follow: bool = True, links: bool = True, folders: bool = False) -> Place:
        """Where `path` leads, whether there is something or not. To be used in a `with`.

        Args:
            path: relative to the root.
            follow: also the last name, where it is a link.
            links: False refuses every link on the way.
            folders: True takes the root itself, as the place '.' in the root.
        """
        with _Way(self, path, links=links) as way:
            while (name := way.next(follow=follow)) is not None:
                if not way.steps:
                    return Place(way.take(), name, (*way.names, name), through=way.links > 0)
                if not way.enter(name, missing_ok=True):
                    rest = tuple(reversed(way.steps))
                    if ".." in rest:
                        raise ToolError(f"{shown(path)} leads through a link to nowhere")
                    parts = (*way.names, name, *rest)
                    return Place(way.take(), parts[-1], parts, (name, *rest[:-1]), way.links > 0)
            if not folders:
                raise Refused(f"{shown(path)} is a folder that is held open: name what is in it")
            return Place(way.take(), ".", tuple(way.names), through=way.links > 0)

    def top(self) -> int:
        """A new descriptor of the folder, the caller's to close. Raises ToolError after `close`."""
        with self._closing:  # a number that is closed may at once stand for something else
            if self._fd < 0:
                raise ToolError("the files capability is closed")
            fd = os.open(".", FOLDER_FLAGS, dir_fd=self._fd)  # no dup: it would share the reading position
        if self.is_system(fd):
            os.close(fd)
            raise of_the_system(".")
        return fd

    def is_system(self, fd: int) -> bool:
        """Whether it is part of /proc, /sys and the like."""
        return os.fstat(fd).st_dev in self._system


class _Way:
    """A walk: the open folders from the root down to here. The stack makes '..' in links safe."""

    def __init__(self, folder: Folder, path: str, *, links: bool = True) -> None:
        self._folder = folder
        self._path = path
        self._may_turn = links
        self.steps = steps(path)
        self.names: list[str] = []
        self.links = 0
        self._stack = [folder.top()]

    def __enter__(self) -> "_Way":
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._stack:
            os.close(fd)

    @property
    def here(self) -> int:
        return self._stack[-1]

    def take(self) -> int:
        """The folder reached, now the caller's to close."""
        return self._stack.pop()

    def next(self, *, follow: bool = True) -> str | None:
        """The next name that is neither a link nor '..'; those are walked. None at the end."""
        while self.steps:
            step = self.steps.pop()
            if step == "..":
                if len(self._stack) == 1:
                    raise Refused(f"{shown(self._path)} is refused: a link in it leads out of the folder")
                os.close(self._stack.pop())
                self.names.pop()
                continue
            if not follow and not self.steps:
                return step
            target = link_target(step, self.here)
            if target is None:
                return step
            self._turn(target)
        return None

    def enter(self, name: str, *, missing_ok: bool = False) -> bool:
        """Go into a folder; False where it is missing and may be."""
        try:
            fd = os.open(name, FOLDER_FLAGS, dir_fd=self.here)
        except OSError as error:
            if missing_ok and isinstance(error, FileNotFoundError):
                return False
            raise ToolError(f"{shown(self._path)} cannot be opened: {error.strerror}") from None
        self._stack.append(fd)
        self.names.append(name)
        if self._folder.is_system(fd):
            raise of_the_system(self._path)
        return True

    def _turn(self, target: str) -> None:
        """Walk a link. One that is absolute and names the root is walked from there."""
        self.links += 1
        why = "leads to itself" if self.links > MAX_LINKS else ""
        if not self._may_turn:
            why = "has come into it since"
        if target.startswith("/"):
            root = self._folder.root.rstrip("/")
            if not f"{target}/".startswith(f"{root}/"):
                why = why or "leads out of the folder"
            target = target[len(root) :]
            while len(self._stack) > 1 and not why:
                os.close(self._stack.pop())
                self.names.pop()
        if why:
            raise Refused(f"{shown(self._path)} is refused: a link in it {why}")
        self.steps += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        if len(self.steps) > 1000:
            raise Refused(f"{shown(self._path)} is refused: the links in it are too long")


def of_the_system(path: str) -> Refused:
    """For what lies in /proc and the like."""
    return Refused(f"{shown(path)} is refused: it belongs to the system (/proc, /sys)")


def link_target(name: str, parent: int) -> str | None:
    """Where a link points to; None for what is no link. If it is exchanged now, the open refuses."""
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError:
        return None


def must_be_file(found: os.stat_result, path: str) -> None:
    """Raise ToolError for all but an ordinary file."""
    if stat.S_ISREG(found.st_mode):
        return
    if stat.S_ISDIR(found.st_mode):
        raise ToolError(f"{shown(path)} is a folder, not a file", fixes=["list_files lists it"])
    raise Refused(f"{shown(path)} is no ordinary file ({special(found) or 'a link'})")


def special(found: os.stat_result) -> str:
    """What it is, if it is neither file, folder nor link."""
    kinds: tuple[tuple[Callable[[int], bool], str], ...] = (
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISCHR, "a device"),
    )
    return next((word for test, word in kinds if test(found.st_mode)), "")


def open_checked(name: str, parent: int, path: str) -> BinaryIO:
    """Open an ordinary file; looked at before, since opening a device can have effects, and after."""
    try:
        must_be_file(os.stat(name, dir_fd=parent, follow_symlinks=False), path)
        fd = os.open(name, FILE_FLAGS, dir_fd=parent)
    except OSError as error:
        raise ToolError(f"{shown(path)} cannot be opened: {error.strerror}") from None
    try:
        must_be_file(os.fstat(fd), path)
    except ToolError:
        os.close(fd)
        raise
    return os.fdopen(fd, "rb")


def size_of(entry: os.DirEntry[str]) -> int:
    """The bytes of an entry of a folder."""
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return 0


def _system_devices() -> frozenset[int]:
    """The devices of the file systems that are the system itself."""
    found = {Path(mount).stat().st_dev for mount in ("/proc", "/sys") if os.path.ismount(mount)}
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        fields, _, tail = line.partition(" - ")
        if tail.split(" ", 1)[0] in _SYSTEM:
            major, _, minor = fields.split(" ")[2].partition(":")
            found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)
