"""The beginning and the end of a long output, in bounded memory, and a calm live view of it."""

import codecs
from collections.abc import Callable


class Window:
    """The first and the last half of `limit` bytes; what lies between is counted and dropped."""

    def __init__(self, limit: int) -> None:
        self._half = max(limit // 2, 1)
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0
        """Bytes that came."""

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self.total += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data[-self._half :]
        if len(self._tail) > 4 * self._half:
            del self._tail[: -self._half]

    @property
    def cut(self) -> int:
        """Bytes that are left out."""
        return self.total - len(self._head) - min(len(self._tail), self._half)

    def text(self) -> str:
        """What is kept, with a mark where something is left out. Bytes that are no UTF-8 are replaced."""
        tail = bytes(self._tail[-self._half :])
        if not self.cut:
            return (bytes(self._head) + tail).decode(errors="replace")
        while tail and tail[0] & 0xC0 == 0x80:  # not in the middle of a character
            tail = tail[1:]
        head = codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(self._head))
        return f"{head}\n[… {self.cut:,} bytes left out …]\n{tail.decode(errors='replace')}"


class LiveView:
    """Hands output on a few times a second, and no more than a screenful each time."""

    def __init__(self, show: Callable[[str], None], *, every: float = 0.1, most: int = 8_192) -> None:
        self._show = show
        self._every = every
        self._most = most
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = bytearray()
        self._skipped = 0
        self._last = float("-inf")

    def add(self, data: bytes, now: float) -> None:
        """Take the next bytes; `now` in seconds of any clock that does not run backwards."""
        self._pending += data[-self._most :]
        over = max(len(self._pending) - self._most, 0)
        self._skipped += max(len(data) - self._most, 0) + over
        del self._pending[:over]
        self.tick(now)

    def due(self) -> float | None:
        """When `tick` has something to show; None for never."""
        return self._last + self._every if self._pending else None

    def tick(self, now: float) -> None:
        """Show what waits, where it is time."""
        if self._pending and now >= self._last + self._every:
            self._last = now
            mark = f"\n[… {self._skipped:,} bytes not shown …]\n" if self._skipped else ""
            text = mark + self._decoder.decode(bytes(self._pending))
            self._pending.clear()
            self._skipped = 0
            self._show(text)

    def finish(self) -> None:
        """Show what is left."""
        self.tick(float("inf"))
