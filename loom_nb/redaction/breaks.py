r"""Line breaks within what is coded: base64 and hexadecimal digits come in lines of 60, 64 or 76 columns.

Such a break may be written as it is, or as `\n` in JSON.
"""

import re
from bisect import bisect_left, bisect_right

_BREAK = re.compile(rb"(?<=[A-Za-z0-9+/_-]{16})(?:\r?\n|(?:\\r)?\\n)[ \t]*(?=[A-Za-z0-9+/_-]{2})")


class Rejoined:
    """A text without the line breaks in what looks coded.

    Args:
        text: whole.
    """

    __slots__ = ("_cut", "_places", "text")

    def __init__(self, text: bytes) -> None:
        self._places: list[int] = []
        """Where in `text` a break was."""
        self._cut: list[int] = []
        """How many bytes were left out up to there."""
        parts, done, cut = [], 0, 0
        for found in _BREAK.finditer(text):
            parts.append(text[done : found.start()])
            self._places.append(found.start() - cut)
            cut += found.end() - found.start()
            self._cut.append(cut)
            done = found.end()
        self.text = b"".join((*parts, text[done:])) if parts else b""
        """Empty where no break was."""

    def across(self, start: int, end: int) -> bool:
        """Whether there was a break within a span of it."""
        return bisect_right(self._places, start) < bisect_left(self._places, end)

    def place(self, start: int, end: int) -> tuple[int, int]:
        """The span of the text that was given."""
        return self._before(start), self._before(end - 1) + 1

    def _before(self, at: int) -> int:
        breaks = bisect_right(self._places, at)
        return at + (self._cut[breaks - 1] if breaks else 0)
