"""The files of a folder, and files by their names, as documents: which there are, and what is in them."""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from loom_nb.capabilities.files.folder import FILE_FLAGS, FOLDER_FLAGS
from loom_nb.capabilities.knowledge.converting import kind_of
from loom_nb.capabilities.knowledge.found import Found, Look, Raw
from loom_nb.capabilities.secret_names import looks_secret
from loom_nb.errors import SetupError, Unreadable
from loom_nb.wording import counted

MAX_FILE = 40_000_000
"""Bytes of a file."""
_FILE = FILE_FLAGS & ~getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
"""To open a file by its name, links followed; without waiting for one that is a pipe."""
PRUNED = frozenset(
    [
        "node_modules",
        "__pycache__",
        "venv",
        "site-packages",
        "dist",
        "build",
        "target",
        ".git",
        ".ipynb_checkpoints",
    ]
)
"""Folders that hold nothing anybody wrote to be read."""


def in_folder(options: Mapping[str, Any], look: Look) -> Iterator[Found]:
    """The documents under a folder.

    Raises:
        SetupError: it is not there.
        Unreadable: it cannot be looked at.
    """
    root = Path(options["root"])
    _must_be_folder(root)
    patterns = [one.strip() for one in options["pattern"].split(",") if one.strip()]

    def closed(error: OSError) -> None:
        where = Path(os.fsdecode(error.filename))
        if where == root:
            raise Unreadable(f"the folder {root} cannot be looked at: {error.strerror}")
        if not isinstance(error, FileNotFoundError | NotADirectoryError):  # it has not gone meanwhile
            look.closed[f"{_told(where.relative_to(root))}/"] = _denied(error)

    left = _LeftOut()
    for folder, folders, names in os.walk(root, followlinks=False, onerror=closed):
        visible = sorted(one for one in folders if not one.startswith("."))
        folders[:] = [one for one in visible if one not in PRUNED]
        left.folders.update(one for one in visible if one in PRUNED)
        for name in sorted(names):
            path = Path(folder, name)
            key = _told(path.relative_to(root))
            if name.startswith(".") or not any(fnmatch(name, pattern) for pattern in patterns):
                continue
            if any(fnmatch(key, pattern) for pattern in options["exclude"]):
                continue
            if not left.takes(key):
                continue
            if (found := _file(path, key, partial(_within, root, path.relative_to(root).parts))) is not None:
                yield found
    look.notes += left.notes()


@dataclass(slots=True)
class _LeftOut:
    """What of a folder is passed over, though it is not hidden."""

    folders: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    secrets: int = 0

    def takes(self, key: str) -> bool:
        """Whether a file is a document; else it is counted."""
        if looks_secret(key):
            self.secrets += 1
            return False
        if kind_of(key) is None:
            self.kinds[Path(key).suffix.lower() or "no ending"] += 1
            return False
        return True

    def notes(self) -> list[str]:
        """For a reader; nothing where it is nothing."""
        made = []
        if self.folders:
            told = ", ".join(sorted(self.folders))
            made.append(f"{counted(self.folders.total(), 'folder')} passed over: {told}")
        if self.kinds:
            most = [name for name, _ in self.kinds.most_common(5)]
            more = f" and {len(self.kinds) - 5} more" if len(self.kinds) > 5 else ""
            files = counted(self.kinds.total(), "file")
            made.append(f"{files} of kinds that are not read: {', '.join(most)}{more}")
        if self.secrets:
            made.append(f"{counted(self.secrets, 'file')} passed over whose name says that it holds secrets")
        return made


def of_files(options: Mapping[str, Any], _: Look) -> Iterator[Found]:
    """Files by their names, links followed."""
    for path in options["paths"]:
        opening = partial(os.open, path, _FILE)
        yield _file(Path(path), _told(Path(path)), opening, links=True) or Found(
            path, "", _failing(f"there is no file {path}")
        )


def _must_be_folder(root: Path) -> None:
    try:
        status = root.stat()
    except (FileNotFoundError, NotADirectoryError):
        status = None
    except OSError as error:  # the folder above it is closed
        raise Unreadable(f"the folder {root} cannot be looked at: {error.strerror}") from None
    if status is None or not stat.S_ISDIR(status.st_mode):
        raise SetupError(f"there is no folder {root}", cause="it is a source of knowledge")


def _within(root: Path, parts: tuple[str, ...]) -> int:
    """A file below a folder, opened step by step: no link leads out, whoever puts one there meanwhile."""
    if os.open not in os.supports_dir_fd:
        return os.open(root.joinpath(*parts), _FILE)
    here = os.open(root, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        for name in parts[:-1]:
            below = os.open(name, FOLDER_FLAGS, dir_fd=here)
            os.close(here)
            here = below
        return os.open(parts[-1], FILE_FLAGS, dir_fd=here)
    finally:
        os.close(here)


def _read(fd: int) -> bytes:
    """What is in an ordinary file; closes it. Raises Unreadable for all else."""
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("it is no ordinary file any more")
        data = file.read(MAX_FILE + 1) if status.st_size <= MAX_FILE else b""
    if status.st_size > MAX_FILE or len(data) > MAX_FILE:
        raise Unreadable(f"it has more than {MAX_FILE:,} bytes")
    return data


def _file(path: Path, key: str, opening: Callable[[], int], *, links: bool = False) -> Found | None:
    """A file; None for a link, a device, or one that is gone by now."""
    shown = _told(path)
    try:
        status = path.stat() if links else path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # a folder whose names can be read, and nothing more
        return Found(key, "", _failing(_denied(error)), path=shown)
    if not stat.S_ISREG(status.st_mode):
        return None

    def read() -> Raw:
        try:
            return Raw(_read(opening()), key)
        except OSError as error:
            raise Unreadable(_denied(error)) from None

    # the time of writing can be set back, as `cp -p` and `rsync` do; that of the change cannot
    stamp = f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"
    return Found(key, stamp, read, path=shown)


def _told(path: Path) -> str:
    """A name that is no text, too."""
    return path.as_posix().encode("utf-8", "replace").decode()


def _denied(error: OSError) -> str:
    return f"it cannot be read: {error.strerror or error}"


def _failing(why: str) -> Callable[[], Raw]:
    def read() -> Raw:
        raise Unreadable(why)

    return read
