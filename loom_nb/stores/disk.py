"""What the file store asks of the operating system: locks between processes, whole writes, plain words."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loom_nb.errors import LoomError, StoreError

_BINARY: int = getattr(os, "O_BINARY", 0)  # Windows would change the ends of lines
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_LOCKED_BYTE = 1 << 30  # far behind the content: on Windows what is locked cannot be read
ELSEWHERE = "keep sessions elsewhere: give FileSessionStore another folder"


def open_file(path: Path, flags: int) -> int:
    """A descriptor of a file; what is made is for this user only."""
    return os.open(path, flags | _BINARY | getattr(os, "O_CLOEXEC", 0), 0o600)


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Up to `size` bytes from `offset`, fewer only at the end of the file."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    pieces = []
    while size > 0 and (piece := os.read(descriptor, size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of it. Raises OSError, with some of it written."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync(descriptor: int) -> None:
    """Wait until what was written is on the disk itself."""
    try:
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # type: ignore[attr-defined,unused-ignore]  # macOS alone
    except (ImportError, AttributeError, OSError):
        os.fsync(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk. Not everywhere can a folder be asked to."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create(path: Path, data: bytes) -> None:
    """Make a file, or another in its place, at once or not at all; it is on the disk when this returns."""
    draft = path.with_name(path.name + ".new")
    try:
        descriptor = open_file(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_at(descriptor, data, 0)
            sync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    sync_folder(path.parent)


class Occupied(StoreError):
    """Somebody held a lock for as long as one was ready to wait."""


@contextmanager
def locked(path: Path, patience: float, *, make: bool) -> Iterator[int]:
    """A descriptor of the file, locked against all other processes and threads that lock it.

    Raises OSError, and `StoreError` when somebody held it for all of `patience` seconds. The end of
    a process ends its locks.
    """
    while True:
        descriptor = open_file(path, os.O_RDWR | (os.O_CREAT if make else 0))
        try:
            _wait(lambda: _lock(descriptor), patience, path)  # noqa: B023  called before the next round
            try:
                if not _is_at(descriptor, path):
                    continue  # it was removed while we waited: the lock of another file keeps nobody away
                yield descriptor
                return
            finally:
                _unlock(descriptor)
        finally:
            os.close(descriptor)


def told(error: OSError, path: Path) -> LoomError:
    """What an error of the system means for the user."""
    code, says = error.errno, error.strerror or str(error)
    if code in _FULL:
        title = f"The disk is full: {path} takes no more"
        fixes: tuple[str, ...] = (
            "free some space, or look at quotas and the file-size limit (ulimit -f)",
            ELSEWHERE,
        )
    elif code == errno.EIO:
        title, fixes = f"The disk refuses to read or write {path}", ("%loom doctor", ELSEWHERE)
    elif code in {errno.EACCES, errno.EPERM, errno.EROFS}:
        title, fixes = f"The store {path} may not be used by this user", (f"chmod -R u+rwX {path}", ELSEWHERE)
    elif code in {errno.EEXIST, errno.ENOTDIR}:
        title, fixes = f"The store {path} cannot be made: a file is in its place", (ELSEWHERE,)
    else:
        title, fixes = f"The store {path} cannot be used", ("%loom doctor", ELSEWHERE)
    return StoreError(title, cause=f"the system says: {says}", fixes=fixes)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _wait(attempt: Callable[[], bool], patience: float, path: Path) -> None:
    deadline, pause = time.monotonic() + patience, 0.0005
    while not attempt():
        if not patience or time.monotonic() > deadline:
            raise Occupied(
                f"{path} is locked by another process",
                cause=f"it was not let go of for {patience:g} s",
                fixes=("run again", "look for a process that was stopped in the middle of a write"),
            )
        time.sleep(pause)
        pause = min(pause * 2, 0.02)


try:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)

except ImportError:
    try:
        import msvcrt

        def _lock(descriptor: int) -> bool:
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            except OSError:
                return False
            return True

        def _unlock(descriptor: int) -> None:
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]

    except ImportError:  # a browser: one process, and nobody to be locked out

        def _lock(descriptor: int) -> bool:
            return True

        def _unlock(descriptor: int) -> None:
            return None
