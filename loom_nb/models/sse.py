"""Splits a stream of server-sent events, as it arrives in chunks of bytes, into the data of each event.

Pure and incremental: any chunking of the same bytes gives the same events. Names and ids of events
are dropped, since the vendors repeat the type inside of the data.
"""

from collections.abc import Sequence

from loom_nb.border import MAX_BYTES
from loom_nb.errors import BorderError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventSplitter:
    """The state of one stream: what has arrived and belongs to no whole event yet.

    Args:
        max_bytes: refuse an event that is longer.
    """

    __slots__ = ("_after_cr", "_held", "_max_bytes", "_rest")

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self._rest: list[bytes] = []
        self._held = 0
        self._after_cr = False
        self._max_bytes = max_bytes

    def feed(self, chunk: bytes) -> Sequence[bytes]:
        """The data of each event that `chunk` completes, in order. Events without data are skipped.

        Raises:
            BorderError: one event is longer than `max_bytes`.
        """
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_plain_newlines(chunk)
        if b"\n" not in chunk:  # the middle of a long event: joined once, at its end
            return self._hold(chunk)
        if self._rest:
            chunk = b"".join((*self._rest, chunk))
            self._rest.clear()
            self._held = 0
        *blocks, rest = chunk.split(b"\n\n")
        if rest:
            self._hold(rest)
        return [data for block in blocks if (data := _data(block))]

    def end(self) -> Sequence[bytes]:
        """The stream is over: the last event, where the blank line behind it is missing."""
        lines, newline, _ = b"".join(self._rest).rpartition(b"\n")
        self._rest.clear()
        self._held = 0
        return [data] if newline and (data := _data(lines)) else []

    def _hold(self, piece: bytes) -> Sequence[bytes]:
        if piece:
            self._rest.append(piece)
            self._held += len(piece)
        if self._held > self._max_bytes:
            raise BorderError(f"an event of the stream is longer than {self._max_bytes:,} bytes")
        return ()

    def _with_plain_newlines(self, chunk: bytes) -> bytes:
        r"""\r\n and \r as \n, also where a chunk ends between the two."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        elif chunk:
            self._after_cr = False
        if chunk.endswith(b"\r"):
            self._after_cr = True
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data(block: bytes) -> bytes:
    """The data of one event, from its lines."""
    _name, _, last = block.partition(b"\n") if block.startswith(b"event:") else (b"", b"", block)
    if last.startswith(b"data: ") and b"\n" not in last:  # what the vendors send: one line of data
        return last[6:]
    lines = [
        line
        for raw in block.removeprefix(_BYTE_ORDER_MARK).split(b"\n")
        if (line := _data_line(raw)) is not None
    ]
    return b"\n".join(lines)


def _data_line(line: bytes) -> bytes | None:
    if not line.startswith(b"data"):  # a comment, or another field
        return None
    field, _, value = line.partition(b":")
    return value.removeprefix(b" ") if field == b"data" else None
