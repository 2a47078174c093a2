"""What was spent, beside a store: a small file for each day and each notebook, one for all processes.

Amounts are added under a lock. A file is two slots of a fixed size, written in turns: whatever a crash
does to one, the other tells what was so a moment before. What it costs to add or to read does not
depend on what was spent before. It is written at once and not waited for: it survives every end of a
process; a power cut may take the last seconds.
"""

import hashlib
import os
import threading
import weakref
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from loom_nb.errors import StoreError
from loom_nb.protocols import Book, Spent, Store
from loom_nb.stores.disk import Occupied, locked, open_file, read_at, told, write_at

SLOT = 512
"""Bytes."""
NAMED = 200
"""Characters of an account's name that are kept for a reader; the file is found by all of them."""
PATIENCE = 5.0
"""Seconds to wait while another process writes, which takes much less."""


def book_beside(store: Store) -> Book:
    """What was spent by all that use a store: in a folder beside it, `<its name>.spending`.

    For a store without a place, in this process and as long as the store lives.
    """
    path = getattr(store, "path", None)
    if isinstance(path, Path):
        return FileBook(path.with_name(f"{path.name}.spending"))
    known = _IN_MEMORY.get(id(store))
    if known is None:
        known = _IN_MEMORY.setdefault(id(store), (_kept_for(store), MemoryBook()))
    return known[1]


def _kept_for(store: Store) -> object:
    """What drops the book of a store with it; the store itself where nothing can tell of its end."""
    key = id(store)
    try:
        return weakref.ref(store, lambda _: _IN_MEMORY.pop(key, None))
    except TypeError:  # a class of the user's with slots: then both stay as long as the process
        return store


class MemoryBook:
    """A `Book` that forgets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accounts: dict[str, Spent] = {}

    def change(self, change: Spent, accounts: Sequence[str]) -> list[Spent]:
        """See `Book`."""
        with self._lock:
            for account in accounts:
                self._accounts[account] = self._accounts.get(account, Spent()) + change
            return [self._accounts[account] for account in accounts]

    def change_now(self, change: Spent, accounts: Sequence[str]) -> list[Spent] | None:
        """See `Book`."""
        return self.change(change, accounts)


_IN_MEMORY: dict[int, tuple[object, MemoryBook]] = {}
"""By identity: a store of the user's may be equal to others, or have no hash."""


class _Slot(msgspec.Struct, frozen=True):
    """What a file says of its account."""

    turn: int = 0
    """Grows with each writing: the slot with the higher one counts."""
    tokens: int = 0
    dollars: float = 0.0
    unpriced: int = 0
    account: str = ""

    @property
    def spent(self) -> Spent:
        return Spent(self.tokens, self.dollars, self.unpriced)

    def and_more(self, change: Spent, account: str) -> "_Slot":
        after = self.spent + change
        return _Slot(self.turn + 1, after.tokens, after.dollars, after.unpriced, account)


_DECODER = msgspec.json.Decoder(_Slot)


class FileBook:
    """A `Book` in a folder, which is made at the first use, readable by this user only.

    Args:
        folder: where it is kept.
        patience: seconds to wait while another process writes.
    """

    def __init__(self, folder: Path, *, patience: float = PATIENCE) -> None:
        self.folder = folder
        self._patience = patience

    def change(self, change: Spent, accounts: Sequence[str]) -> list[Spent]:
        """See `Book`. What is damaged is told, not guessed."""
        return self._change(change, accounts, self._patience)

    def change_now(self, change: Spent, accounts: Sequence[str]) -> list[Spent] | None:
        """See `Book`."""
        try:
            return self._change(change, accounts, 0.0)
        except Occupied:
            return None

    def _change(self, change: Spent, accounts: Sequence[str], patience: float) -> list[Spent]:
        try:
            if not change and not self.folder.exists():
                return [Spent() for _ in accounts]
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self.folder / "lock", patience, make=True):
                before = [self._read(account) for account in accounts]
                if not change:
                    return [slot.spent for slot in before]
                after = [
                    slot.and_more(change, account) for slot, account in zip(before, accounts, strict=True)
                ]
                for slot, account in zip(after, accounts, strict=True):
                    self._write(slot, account)
                return [slot.spent for slot in after]
        except OSError as error:
            raise told(error, self.folder) from error

    def _path(self, account: str) -> Path:
        kind = account.partition(" ")[0]
        return self.folder / f"{kind}-{hashlib.sha256(account.encode()).hexdigest()[:16]}"

    def _read(self, account: str) -> _Slot:
        path = self._path(account)
        try:
            descriptor = open_file(path, os.O_RDONLY)
        except FileNotFoundError:
            return _Slot()
        try:
            content = read_at(descriptor, 2 * SLOT, 0)
        finally:
            os.close(descriptor)
        slots = [slot for at in (0, SLOT) if (slot := _parsed(content[at : at + SLOT])) is not None]
        if not slots and content.strip(b"\0"):
            raise StoreError(
                f"what was spent cannot be read: {path} is damaged",
                cause="neither of its two slots matches its checksum",
                fixes=[f"remove {path}: counting begins anew"],
            )
        return max(slots, key=lambda slot: slot.turn, default=_Slot())

    def _write(self, slot: _Slot, account: str) -> None:
        json = msgspec.json.encode(msgspec.structs.replace(slot, account=account[:NAMED]))
        text = b"%08x %s" % (zlib.crc32(json), json)
        if len(text) >= SLOT:  # a name of many bytes: it is only for a reader
            self._write(slot, "")
            return
        descriptor = open_file(self._path(account), os.O_RDWR | os.O_CREAT)
        try:
            write_at(descriptor, text.ljust(SLOT - 1) + b"\n", slot.turn % 2 * SLOT)
        finally:
            os.close(descriptor)

    def __repr__(self) -> str:
        return f"FileBook({str(self.folder)!r})"


def _parsed(slot: bytes) -> _Slot | None:
    text = slot.rstrip()
    if len(slot) != SLOT or text[:8] != b"%08x" % zlib.crc32(text[9:]):
        return None
    try:
        return _DECODER.decode(text[9:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
