"""A note that was changed in two places: each field is what the place that changed it made of it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from loom_nb.capabilities.memory.notes import Note


class Merged(msgspec.Struct, frozen=True):
    """What becomes of a note of which a file says something else."""

    note: Note
    """With what both say; of the fields that clash, those of the later."""
    lost: Note | None = None
    """The same with what the file says of them, where the note was the later."""
    clashes: tuple[str, ...] = ()
    """The fields that both changed, and not to the same."""


def merged(base: Note | None, note: Note, told: Mapping[str, Any], *, is_later: bool) -> Merged:
    """A note and its file as one, field by field.

    Args:
        base: as both said it last; None where that is not known: then every difference is a clash.
        note: as it is.
        told: the fields as the file says them.
        is_later: whether the file was changed after the note.
    """
    taken: dict[str, Any] = {}
    clashes: dict[str, Any] = {}
    for name, there in told.items():
        here = getattr(note, name)
        if there == here or (base is not None and there == getattr(base, name)):
            continue
        if base is not None and here == getattr(base, name):
            taken[name] = there
        else:
            clashes[name] = there
    if is_later:
        return Merged(_with(note, taken | clashes), None, tuple(clashes))
    return Merged(_with(note, taken), _with(note, taken | clashes) if clashes else None, tuple(clashes))


def content(note: Note) -> tuple[object, ...]:
    """All of a note that a file says."""
    return (*note.said, note.extra)


def _with(note: Note, fields: dict[str, Any]) -> Note:
    """With other fields; a file gives no scope that belongs to a session or notebook."""
    place = "" if "scope" in fields else note.place
    return msgspec.structs.replace(note, **fields, place=place)
