"""Markdown cut where a reader would cut it, while it is still being written.

A segment that has been given out never changes: cuts depend on complete lines only, so that the
same text gives the same segments however it was chunked.
"""

import re
from dataclasses import dataclass, field

LONG = 8_000
"""Characters after which a list is cut between two of its items."""
LONGEST = 12_000
"""Characters after which anything is cut, so that no redraw costs more than this."""

_FENCE = re.compile(r"( *)(`{3,}(?=[^`]*$)|~{3,})(.*)$")
_ITEM = re.compile(r"([-*+]|\d{1,9}[.)])(\s|$)")
_DELIMITERS = re.compile(r" {0,3}\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?\s*)?\|?\s*$")


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a text that renders on its own."""

    source: str
    """Exactly as it stood: all segments joined are the text."""
    opening: str = ""
    """What a cut in the middle left behind: the opening line of a fence, the head of a table."""

    @property
    def markdown(self) -> str:
        """What to render."""
        return self.opening + self.source


@dataclass(slots=True)
class Splitter:
    """Takes a text in chunks and gives out its segments as soon as they are sure."""

    _lines: list[str] = field(default_factory=list)
    _tail: str = ""
    _size: int = 0
    _opening: str = ""
    _fence: str = ""
    _fence_line: str = ""
    _fence_indent: int = 0
    _head: str = ""
    _in_list: bool = False

    def feed(self, chunk: str) -> list[Segment]:
        """Take more text; return what is complete now."""
        segments: list[Segment] = []
        self._tail += chunk
        start = 0
        while True:
            end = self._tail.find("\n", start, start + LONGEST)
            if end >= 0:
                self._take(self._tail[start : end + 1], segments)
                start = end + 1
            elif len(self._tail) - start >= LONGEST:  # one endless line: cut at a space
                cut = self._tail.rfind(" ", start + 1, start + LONGEST) + 1 or start + LONGEST
                self._take(self._tail[start:cut], segments)
                self._seal(segments)
                start = cut
            else:
                self._tail = self._tail[start:]
                return segments

    def finish(self) -> list[Segment]:
        """No more text comes: the rest."""
        segments: list[Segment] = []
        if self._tail:
            tail, self._tail = self._tail, ""
            self._take(tail, segments)
        if self._lines:
            self._seal(segments)
        return segments

    @property
    def rest(self) -> Segment:
        """What is not complete yet."""
        return Segment("".join(self._lines) + self._tail, self._opening)

    @property
    def in_fence(self) -> bool:
        """Whether the rest ends within fenced code."""
        return bool(self._fence)

    def _take(self, line: str, segments: list[Segment]) -> None:
        if self._fence and not self._leaves_list(line):
            self._add(line)
            if _closes(line, self._fence):
                self._fence = ""
        else:
            self._fence = ""
            if self._begins_block(line):
                self._seal(segments)
            self._add(line)
            self._look(line)
        if self._size >= LONGEST:
            self._seal(segments)

    def _leaves_list(self, line: str) -> bool:
        return self._in_list and self._fence_indent > 0 and bool(line.strip()) and not line.startswith(" ")

    def _begins_block(self, line: str) -> bool:
        """Whether this line can begin a segment: after a blank one, not inside a list."""
        if not self._lines or not line.strip() or line[0] in " \t":
            return False
        item = _ITEM.match(line) is not None
        if self._in_list and item:
            return self._size >= LONG
        return not self._lines[-1].strip()

    def _look(self, line: str) -> None:
        """Remember what this line begins: a fence, a list, a table."""
        if not line.strip():
            self._head = ""
            return
        opened = _FENCE.match(line.rstrip("\n"))
        if opened:
            self._fence, self._fence_line = opened[2], line.strip() + "\n"
            self._fence_indent = len(opened[1])
        elif _ITEM.match(line):
            self._in_list = True
        elif len(self._lines) > 1 and "|" in self._lines[-2] and _DELIMITERS.match(line):
            self._head = self._lines[-2] + line

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self._size += len(line)

    def _seal(self, segments: list[Segment]) -> None:
        segments.append(Segment("".join(self._lines), self._opening))
        self._opening = self._fence_line if self._fence else self._head
        self._lines, self._size, self._in_list = [], 0, False


def segments(text: str) -> list[Segment]:
    """All segments of a whole text."""
    splitter = Splitter()
    return splitter.feed(text) + splitter.finish()


def completed(text: str) -> str:
    """Markdown that breaks off in mid-sentence, as it will most likely go on.

    Emphasis and code spans are closed, half a link shows its words, half a table is one.
    """
    head, gap, last = text.rpartition("\n\n")
    last = _completed_table(last)
    last = re.sub(r"!?\[([^\]\[]*)\]\([^)\s]*$", r"\1", last)
    last = re.sub(r"!?\[([^\]\[]*)$", r"\1", last)
    ticks: list[str] = re.findall(r"`+", last)
    if len(ticks) % 2:
        return head + gap + last + ticks[-1]
    words = re.sub(r"(`+).*?\1", "", last, flags=re.DOTALL)
    closing = ""
    for mark in ("***", "**", "__", "~~", "*", "_"):
        pattern = re.compile(
            rf"(?<![\\\w*_~]){re.escape(mark)}(?=[^\s*_~])|(?<=[^\s*_~\\]){re.escape(mark)}(?![*_~\w])"
        )
        if len(pattern.findall(words)) % 2 and pattern.search(words):
            closing += mark
        words = pattern.sub("", words)
    return head + gap + last.rstrip() + closing if closing else head + gap + last


def _completed_table(text: str) -> str:
    """A table whose second line is being written gets the whole of it."""
    lines = text.split("\n")
    if (
        len(lines) >= 2
        and "|" in lines[-2]
        and lines[-1].strip()
        and not set(lines[-1].strip()) - set("|-: ")
    ):
        columns = lines[-2].strip().strip("|").count("|") + 1
        if len(lines) == 2 or "|" not in lines[-3]:
            return "\n".join([*lines[:-1], "|" + "---|" * columns])
    return text


def _closes(line: str, fence: str) -> bool:
    text = line.strip()
    return len(text) >= len(fence) and not text.strip(fence[0])
