"""The small file beside a log: who may write it, how much of it was acknowledged, what it is called.

Two slots of a fixed size, written in turns: whatever happens to one, the other tells what was so
a moment before. The file is never replaced, so it is also what is locked.
"""

import zlib
from dataclasses import dataclass, replace

import msgspec

from loom_nb.errors import StoreError
from loom_nb.stores.disk import read_at, write_at
from loom_nb.stores.leases import LeaseRow

_SIZE = 1024


@dataclass(frozen=True, slots=True)
class Note:
    """What is noted about a session."""

    turn: int = 0
    """Grows with each note: the slot with the higher one counts."""
    fence: int = 0
    owner: str = ""
    expires: float = 0.0
    size: int = 0
    """Bytes of the log that were acknowledged; 0 where that is not known."""
    name: str = ""
    """What a person called the session."""
    deleted: float | None = None
    """When it was deleted."""

    @property
    def lease(self) -> LeaseRow:
        """The lease of the session."""
        return LeaseRow(self.fence, self.owner, self.expires)

    def with_lease(self, row: LeaseRow) -> "Note":
        """The same log under another lease."""
        return replace(self, fence=row.fence, owner=row.owner, expires=row.expires)

    def with_size(self, size: int) -> "Note":
        """The same lease, with a longer log."""
        return replace(self, size=size)


_DECODER = msgspec.json.Decoder(Note)


def read_note(descriptor: int, now: float) -> Note:
    """What was noted last.

    Where a slot is bad, a newer note than the other may be lost: the fence leaps over the ones it
    may have given. Where both are, it goes on at the clock's seconds.
    """
    content = read_at(descriptor, 2 * _SIZE, 0)
    if not content:
        return Note()
    slots = [_parse(content[:_SIZE]), _parse(content[_SIZE:])]
    whole = [slot for slot in slots if slot is not None]
    if not whole:
        return Note(fence=max(int(now), 1))
    newest = max(whole, key=lambda slot: slot.turn)
    if len(whole) == 2:
        return newest
    return replace(newest, turn=newest.turn + 1, fence=newest.fence + 1, owner="", expires=0.0)


def write_note(descriptor: int, note: Note) -> Note:
    """Note it in the slot of the older note. Raises OSError."""
    note = replace(note, turn=note.turn + 1)
    json = msgspec.json.encode(note)
    text = b"%08x %s" % (zlib.crc32(json), json)
    if len(text) >= _SIZE:
        raise StoreError(f"The name of this machine is too long: {note.owner}")
    write_at(descriptor, text.ljust(_SIZE - 1) + b"\n", (note.turn + 1) % 2 * _SIZE)
    return note


def _parse(slot: bytes) -> Note | None:
    text = slot.rstrip()
    if len(slot) != _SIZE or text[:8] != b"%08x" % zlib.crc32(text[9:]):
        return None
    try:
        return _DECODER.decode(text[9:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
