"""Bytes that are too large for a log, each in a file named by its SHA-256, beside the store.

A file is there whole or not at all, and is checked against its name whenever it is read. Equal bytes
are kept once.
"""

import hashlib
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

from loom_nb.errors import StoreDamaged, StoreError
from loom_nb.protocols import Store

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Files:
    """Bytes by their SHA-256 in one folder, which is made at the first use, readable by this user only.

    Safe to use from any thread and process.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> str:
        """Keep bytes; they are on the disk when this returns. Gives their SHA-256.

        Raises:
            StoreError: the disk refuses.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        try:
            if path.exists() and _sum(path) == digest:  # a damaged one is written anew
                return digest
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, data)
        except OSError as error:
            raise StoreError(
                f"the artifact could not be written to {self.folder}",
                cause=f"the system says: {error.strerror or error}",
                fixes=["free some space there, or keep sessions elsewhere"],
            ) from error
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of that SHA-256.

        Raises:
            StoreDamaged: what is there is not what was kept.
            StoreError: the file is gone, or cannot be read.
        """
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StoreError(
                f"the file of an artifact cannot be read: {path}",
                cause=f"the system says: {error.strerror or error}",
                fixes=["it belongs to the store: move or copy both together"],
            ) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreDamaged(
                f"the file of an artifact is damaged: {path}",
                cause="its content does not match its SHA-256",
                fixes=["bring it back from a backup, or run again what produced it"],
            )
        return data

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise StoreDamaged("an artifact is told by something that is no SHA-256")
        return self.folder / digest[:2] / digest

    def __repr__(self) -> str:
        return f"Files({str(self.folder)!r})"


def files_beside(store: Store) -> Files | None:
    """What is too large for the log of a store lies in a folder beside it, `<its name>.artifacts`.

    None for a store without a place.
    """
    path = getattr(store, "path", None)  # isinstance of a protocol takes longer than all else of a session
    return Files(path.with_name(f"{path.name}.artifacts")) if isinstance(path, Path) else None


def write_whole(path: Path, data: bytes) -> None:
    """Make a file, or another in its place, at once or not at all. Raises OSError."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:32]}-", suffix=".new")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(draft).unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Wait until the names in it are on the disk. Not everywhere can a folder be asked to."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
