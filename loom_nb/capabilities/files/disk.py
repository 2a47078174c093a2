"""The few things that are done to a disk, each whole or not at all, each relative to an open folder."""

import contextlib
import ctypes
import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from loom_nb.capabilities.files.folder import FOLDER_FLAGS, Folder, Place
from loom_nb.capabilities.files.guards import TRASH
from loom_nb.capabilities.files.paths import shown
from loom_nb.errors import ToolError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what a disk says into words for the model."""
    try:
        yield
    except FileExistsError:
        raise ToolError(f"{what}: something of that name has come into being meanwhile") from None
    except OSError as error:
        cause = "the folder and the trash are on different file systems" if error.errno == errno.EXDEV else ""
        raise ToolError(f"{what}: {error.strerror or error}", cause=cause or "nothing was changed") from None


def put(
    place: Place, data: bytes, before: os.stat_result | None, *, times: os.stat_result | None = None
) -> tuple[int, int]:
    """Give the file at `place` this content, at once: whoever reads it sees the old or the new.

    Gives its device and number, which are new.

    The old file is replaced, not written to: other names of it (hard links) keep the old content. Its
    mode, owner and attributes are kept where the system allows.

    Args:
        place: where; its missing folders must have been made.
        data: all of the new content.
        before: what is there; None for a new file. If it is another one by now, ToolError.
        times: whose time of change it gets; its own where it is None.
    """
    name = f".loom-{secrets.token_hex(8)}.tmp"
    with told(f"{shown(place.path)} was not written"):
        fd = os.open(name, _NEW, 0o666 if before is None else 0o600, dir_fd=place.folder)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                if before is not None:
                    _keep_nature(fd, place, before)
                if times is not None:
                    os.utime(fd, ns=(times.st_atime_ns, times.st_mtime_ns))
                os.fsync(fd)
                now = os.fstat(fd)
            if before is None:
                rename_new(name, place.name, place.folder, place.folder)
            elif not same(before, place.status()):
                raise ToolError(f"{shown(place.path)} was not written: it has been changed meanwhile")
            else:
                os.replace(name, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=place.folder)
            raise
    sync(place.folder)
    return now.st_dev, now.st_ino


def _keep_nature(fd: int, place: Place, before: os.stat_result) -> None:
    """Mode, owner and extended attributes of the file that is replaced."""
    now = os.fstat(fd)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(OSError):  # only the superuser may give files away
            os.fchown(fd, before.st_uid, before.st_gid)
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):
            old = os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.folder)
            try:
                for attribute in os.listxattr(old):
                    os.setxattr(fd, attribute, os.getxattr(old, attribute))
            finally:
                os.close(old)
    # what runs as another user was allowed to for its old content only
    os.fchmod(fd, stat.S_IMODE(before.st_mode) & 0o1777)


def same(before: os.stat_result, now: os.stat_result | None) -> bool:
    """Whether a file is the one that was looked at, unchanged."""
    return now is not None and (before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns) == (
        now.st_dev,
        now.st_ino,
        now.st_size,
        now.st_mtime_ns,
    )


def make_missing(folder: Folder, place: Place) -> tuple[tuple[str, ...], ...]:
    """Make the folders that `place` misses and go into them; gives those that were made."""
    made: list[tuple[str, ...]] = []
    above = place.parts[: len(place.parts) - len(place.missing) - 1]
    try:
        with told(f"the folder of {shown(place.path)} was not made"):
            for name in place.missing:
                above = (*above, name)
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=place.folder)
                    made.append(above)
                inner = os.open(name, FOLDER_FLAGS, dir_fd=place.folder)
                os.close(place.folder)
                place.folder = inner
    except ToolError:
        remove_folders(folder, made)
        raise
    place.missing = ()
    return tuple(made)


def remove_folders(folder: Folder, made: list[tuple[str, ...]] | tuple[tuple[str, ...], ...]) -> None:
    """Remove folders that were made, the innermost first, as far as they are empty."""
    for parts in sorted(made, key=len, reverse=True):
        with (
            contextlib.suppress(OSError, ToolError),
            folder.place("/".join(parts), follow=False, links=False) as place,
        ):
            os.rmdir(place.name, dir_fd=place.folder)


def rename_new(name: str, new: str, source: int, target: int) -> None:
    """Rename, never over something. Raises FileExistsError, OSError."""
    if sys.platform == "linux" and (rename := _renameat2()) is not None:
        if rename(source, os.fsencode(name), target, os.fsencode(new), 1) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise OSError(code, os.strerror(code))
    with contextlib.suppress(FileNotFoundError):  # this disk cannot do both at once: look, then rename
        os.stat(new, dir_fd=target, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)


@cache
def _renameat2() -> Callable[..., int] | None:
    try:
        found: Any = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    found.restype = ctypes.c_int
    made: Callable[..., int] = found
    return made


def to_trash(folder: Folder, place: Place) -> tuple[str, ...]:
    """Move what is at `place` into a folder of its own in the trash; gives where it is now."""
    box = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    with told(f"{shown(place.path)} was not deleted"), contextlib.ExitStack() as stack:
        root = folder.top()
        stack.callback(os.close, root)
        with contextlib.suppress(FileExistsError):
            os.mkdir(TRASH, 0o700, dir_fd=root)
        trash = os.open(TRASH, FOLDER_FLAGS, dir_fd=root)
        stack.callback(os.close, trash)
        with contextlib.suppress(FileExistsError):
            note = os.open(".gitignore", _NEW, 0o600, dir_fd=trash)
            os.write(note, b"*\n")
            os.close(note)
        os.mkdir(box, 0o700, dir_fd=trash)
        inner = os.open(box, FOLDER_FLAGS, dir_fd=trash)
        stack.callback(os.close, inner)
        try:
            rename_new(place.name, place.name, place.folder, inner)
        except OSError:
            empty_trash(folder, box)
            raise
    sync(place.folder)
    return (TRASH, box, place.name)


def empty_trash(folder: Folder, box: str) -> None:
    """Remove a folder of the trash that is empty, and the trash itself if that was all."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        root = folder.top()
        stack.callback(os.close, root)
        trash = os.open(TRASH, FOLDER_FLAGS, dir_fd=root)
        stack.callback(os.close, trash)
        os.rmdir(box, dir_fd=trash)
        with os.scandir(trash) as entries:
            left = [entry.name for entry in entries]
        if left == [".gitignore"]:
            os.unlink(".gitignore", dir_fd=trash)
            os.rmdir(TRASH, dir_fd=root)


def sync(fd: int) -> None:
    """Have a folder's names on the disk, where it can be had."""
    with contextlib.suppress(OSError):
        os.fsync(fd)
