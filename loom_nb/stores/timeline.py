"""A list of places in many logs in the order of time, so that the newest are found without opening all.

Records of a fixed size in one file, appended as they come, each with the latest time before it: who
reads from the end knows when nothing newer can follow, even where a clock jumped. The file is never
the truth: what it says is looked up in the log, and a file that is missing or damaged is made anew.
It may promise what the log then did not take; it never leaves out what the log has.
"""

import heapq
import math
import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from loom_nb.stores.disk import create, open_file, read_at, sync, write_at

_RECORD = struct.Struct(">ddQQ80s12xI")  # time, latest time before it, seq, offset, name; checksum
_HEAD = struct.Struct(">8sQ108xI")  # what it is, records in the order of time; checksum
_MAGIC = b"loomidx1"
_SIZE = _RECORD.size
_LOOSE = 1024
"""So many records may be out of order, or an eighth of those that are in order, if that is more."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a log."""

    time: float
    name: str
    """Of the file, in ASCII."""
    seq: int
    offset: int


class _Bad(Exception):
    """A record that is not as it was written."""


class Timeline:
    """The marks of one kind.

    Args:
        path: the file.
        lock: keeps other writers away for the length of a block.
        survey: all marks, from the logs themselves.
        moving: each name has one mark, which moves; otherwise each name and number has one.
    """

    def __init__(
        self,
        path: Path,
        lock: Callable[[], AbstractContextManager[object]],
        survey: Callable[[], Iterable[Mark]],
        *,
        moving: bool = False,
    ) -> None:
        self._path = path
        self._lock = lock
        self._survey = survey
        self._moving = moving

    def add(self, marks: Iterable[Mark], *, durable: bool) -> None:
        """Append marks; with `durable`, they survive a power cut. Raises OSError."""
        with self._lock():
            try:
                self._append(list(marks), durable)
            except (_Bad, FileNotFoundError):
                self._remake()
                self._append(list(marks), durable)

    def newest(self, limit: int | None = None, *, until: float = math.inf) -> list[Mark]:
        """The newest marks of time `until` or earlier, newest first; all of the same time as the last, too.

        Raises OSError.
        """
        if limit is not None and limit <= 0:
            return []
        try:
            return self._newest(limit, until)
        except (_Bad, FileNotFoundError):  # perhaps a record that was being written
            pass
        with self._lock():
            try:
                return self._newest(limit, until)
            except (_Bad, FileNotFoundError):
                self._remake()
                return self._newest(limit, until)

    def remake(self) -> None:
        """Make the file anew from the logs."""
        with self._lock():
            self._remake()

    def forget(self, names: Collection[str]) -> None:
        """Take out all marks of some logs, which are gone. Raises OSError."""
        with self._lock(), suppress(FileNotFoundError):
            try:
                kept = self._each()
            except _Bad:
                self._remake()
                kept = self._each()
            self._replace([mark for mark in kept if mark.name not in names])

    def _append(self, marks: list[Mark], durable: bool) -> None:
        descriptor = open_file(self._path, os.O_RDWR)
        try:
            count = os.fstat(descriptor).st_size // _SIZE  # a torn record at the end is written over
            sorted_ = _sorted(read_at(descriptor, _SIZE, 0))
            before, at = -math.inf, count
            if count > 1:
                last, top = _unpack(read_at(descriptor, _SIZE, (count - 1) * _SIZE))
                if self._moving and marks and last.name == marks[0].name and count - 1 > sorted_:
                    before, at = top, count - 1
                else:
                    before = max(last.time, top)
            write_at(descriptor, _pack(marks, before), at * _SIZE)
            if durable:
                sync(descriptor)
        finally:
            os.close(descriptor)
        if at + len(marks) - 1 - sorted_ > max(_LOOSE, sorted_ // 8):
            with suppress(OSError):  # it is only slower then
                self._sort()

    def _newest(self, limit: int | None, until: float) -> list[Mark]:
        found: dict[object, Mark] = {}
        for top, marks in self._backward():
            for mark in marks:
                found.setdefault(mark.name if self._moving else (mark.name, mark.seq), mark)
            if limit is None or len(found) < limit:
                continue
            times = heapq.nlargest(limit, (mark.time for mark in found.values() if mark.time <= until))
            if len(times) == limit and times[-1] > top:
                break
        known = sorted((mark for mark in found.values() if mark.time <= until), key=_by_time, reverse=True)
        if limit is None or len(known) <= limit:
            return known
        return [mark for mark in known if mark.time >= known[limit - 1].time]

    def _backward(self) -> Iterator[tuple[float, list[Mark]]]:
        """Records from the end, newest first, in pieces; with each, the latest time before the piece."""
        descriptor = open_file(self._path, os.O_RDONLY)
        try:
            _sorted(read_at(descriptor, _SIZE, 0))
            high, step = os.fstat(descriptor).st_size // _SIZE, 128
            while high > 1:
                low = max(high - step, 1)
                content = read_at(descriptor, (high - low) * _SIZE, low * _SIZE)
                records = [_unpack(content[at : at + _SIZE]) for at in range(0, len(content), _SIZE)]
                yield records[0][1], [mark for mark, _ in reversed(records)]
                high, step = low, step * 2
        finally:
            os.close(descriptor)

    def _sort(self) -> None:
        """Bring all into the order of time."""
        self._replace(self._each())

    def _each(self) -> list[Mark]:
        """Each mark once."""
        kept: dict[object, Mark] = {}
        for _, marks in self._backward():
            for mark in marks:
                kept.setdefault(mark.name if self._moving else (mark.name, mark.seq), mark)
        return list(kept.values())

    def _remake(self) -> None:
        """From the logs, and what is still good of the file: it may promise what is being written now."""
        kept: dict[object, Mark] = {}
        for mark in (*self._survey(), *self._good()):
            kept.setdefault(mark.name if self._moving else (mark.name, mark.seq), mark)
        self._replace(kept.values())

    def _good(self) -> Iterator[Mark]:
        try:
            content = self._path.read_bytes()
        except OSError:
            return
        for at in range(_SIZE, len(content), _SIZE):
            with suppress(_Bad):
                yield _unpack(content[at : at + _SIZE])[0]

    def _replace(self, marks: Iterable[Mark]) -> None:
        ordered = sorted(marks, key=_by_time)
        head = _HEAD.pack(_MAGIC, len(ordered), 0)[:-4]
        create(self._path, head + _checksum(head) + _pack(ordered, -math.inf))


def _by_time(mark: Mark) -> tuple[float, str, int]:
    return mark.time, mark.name, mark.seq


def _pack(marks: Iterable[Mark], before: float) -> bytes:
    pieces: list[bytes] = []
    for mark in marks:
        record = _RECORD.pack(mark.time, before, mark.seq, mark.offset, mark.name.encode("ascii"), 0)[:-4]
        pieces += (record, _checksum(record))
        before = max(before, mark.time)
    return b"".join(pieces)


def _unpack(record: bytes) -> tuple[Mark, float]:
    if len(record) != _SIZE or record[-4:] != _checksum(record[:-4]):
        raise _Bad
    time, top, seq, offset, name, _ = _RECORD.unpack(record)
    return Mark(time, name.rstrip(b"\0").decode("ascii"), seq, offset), top


def _sorted(head: bytes) -> int:
    """How many records are in the order of time."""
    if len(head) != _SIZE or head[:8] != _MAGIC or head[-4:] != _checksum(head[:-4]):
        raise _Bad
    return int(_HEAD.unpack(head)[1])


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")
