"""Cuts a document into chunks: pieces of bounded size that overlap, at places where a reader would cut.

Pure. A chunk is exactly a piece of the document's text (`document.text[start:end]`); what makes it
readable by itself (its headings, the fence of a block of code that had to be cut) stands beside it.
"""

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from loom_nb.capabilities.knowledge.documents import Document, Fence, fences, locations, paths
from loom_nb.errors import LoomUsageError
from loom_nb.tokens import CHARS_PER_TOKEN, OTHERS_PER_TOKEN

CHUNK_TOKENS = 320
"""Of a chunk at most, estimated."""
OVERLAP_TOKENS = 48
"""Of a chunk that the one before ends with, where a section is cut."""
LEAST_TOKENS = 8
"""A chunk of which less can be asked is no passage."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document."""

    id: str
    """Of document, words, and which of those with the same words it is."""
    ordinal: int
    start: int
    end: int
    text: str
    """`document.text[start:end]`."""
    headings: tuple[str, ...]
    location: str
    tokens: int
    before: str = ""
    """What opens the block of code that the chunk begins in the middle of."""
    after: str = ""
    """What closes the one that it ends in the middle of."""

    @property
    def shown(self) -> str:
        """The text as it is told: stripped, with the fences of the code that was cut."""
        return f"{self.before}{self.text}{self.after}".strip("\n")


def chunked(
    document: Document, name: str, size: int = CHUNK_TOKENS, overlap: int = OVERLAP_TOKENS
) -> list[Chunk]:
    """The chunks of a document, in their order.

    They cover every word of it. None has more than `size` tokens. Where a section is cut, the next chunk
    begins with up to `overlap` tokens of the one before; a block of code that fits into a chunk is whole
    in one.

    Args:
        document: the text.
        name: of the document, unique among all: the ids are of it.
        size: tokens of a chunk, estimated.
        overlap: tokens.

    Raises:
        LoomUsageError: the sizes make no sense.
    """
    if size < LEAST_TOKENS or not 0 <= overlap <= size // 2:
        raise LoomUsageError(
            f"chunks of {size} tokens that overlap by {overlap} cannot be made",
            cause=f"a chunk has {LEAST_TOKENS} tokens or more, and at most half of it may overlap",
        )
    if not document.text.strip():
        return []
    cut, path, location_of = _Cut(document, size, overlap), paths(document.outline), locations(document)
    seen: Counter[str] = Counter()
    made: list[Chunk] = []
    for start, end in cut.spans():
        text = document.text[start:end]
        seen[text] += 1
        mark = hashlib.sha256(f"{name}\0{seen[text]}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()
        before, after = cut.fence_of(start), cut.fence_at_end(end)
        place = start + len(text) - len(text.lstrip())
        headings, location = path(place), location_of(place, start + len(text.rstrip()))
        tokens = cut.tokens(start, end)
        made.append(Chunk(mark[:16], len(made), start, end, text, headings, location, tokens, before, after))
    return made


class _Cut:
    """Where one document is cut."""

    def __init__(self, document: Document, size: int, overlap: int) -> None:
        self._text = text = document.text
        self._size, self._overlap = size, overlap
        self._ascii = text.isascii()
        self._weights = () if self._ascii else tuple(accumulate(map(_weight, text), initial=0.0))
        is_markdown = document.kind in ("markdown", "html", "notebook", "docx")
        self._fences: Sequence[Fence] = fences(text) if is_markdown else ()
        self._fence_ends = [fence.end for fence in self._fences]
        self._fence_starts = [fence.start for fence in self._fences]
        self._sections = sorted({0, *(one.offset for one in document.outline), len(text)})

    def tokens(self, start: int, end: int) -> int:
        """Of a piece, estimated; never less than `loom_nb.tokens.estimate` says."""
        if self._ascii:
            return int(-(-(end - start) // CHARS_PER_TOKEN))
        return int(-((self._weights[start] - self._weights[end]) // 1.0))

    def fence_of(self, offset: int) -> str:
        """What opens the block of code in whose middle a place is."""
        fence = self._within(offset)
        return f"{fence.mark}{fence.info}\n" if fence is not None and offset >= fence.body else ""

    def fence_at_end(self, offset: int) -> str:
        """What closes it."""
        fence = self._within(offset)
        if fence is None or offset <= fence.body - 1 or offset > fence.closing:
            return ""
        if offset == fence.closing == fence.end:  # a block that the document does not close
            return ""
        return fence.mark if self._text[offset - 1] == "\n" else f"\n{fence.mark}"

    def spans(self) -> Iterator[tuple[int, int]]:
        """Beginning and end of each chunk."""
        for first, last in self._packed_sections():
            start = beyond = first
            while beyond < last:
                end = self._end(start, beyond, last)
                if self._text[start:end].strip():
                    yield start, end
                start, beyond = self._next_start(start, end), end

    def _packed_sections(self) -> Iterator[tuple[int, int]]:
        """Sections; short ones that follow each other go together, as far as they fit."""
        start = self._sections[0]
        for begin, end in zip(self._sections, self._sections[1:], strict=False):
            if begin > start and self.tokens(start, end) > self._size:
                yield start, begin
                start = begin
        if start < len(self._text):
            yield start, len(self._text)

    def _end(self, start: int, beyond: int, last: int) -> int:
        """Where a chunk that begins here, and goes beyond the one before, ends."""
        furthest = self._reach(start, last)
        if furthest >= last:
            return last
        end = self._best_cut(start, beyond, furthest)
        for place in (furthest, end):
            fence = self._within(place)
            if fence is None or fence.start < start or not self._fits(fence.start, fence.end):
                continue
            if fence.start > beyond:
                return fence.start  # the whole block is in the next chunk
            if place == end and fence.end <= furthest:
                return fence.end
        return end

    def _fits(self, start: int, end: int) -> bool:
        return self.tokens(start, end) <= self._size

    def _reach(self, start: int, last: int) -> int:
        """The last place where a chunk that begins here may end."""
        if self._ascii:
            return min(last, start + int(self._size * CHARS_PER_TOKEN))
        most = bisect_right(self._weights, self._weights[start] + self._size, lo=start) - 1
        while most > start + 1 and self.tokens(start, most) > self._size:
            most -= 1
        return min(last, max(most, start + 1))

    def _best_cut(self, start: int, beyond: int, furthest: int) -> int:
        """The last place for a cut in what fits: between paragraphs, else lines, sentences, words."""
        window = self._text[start:furthest]
        for pattern, least in _CUTS:
            place = max([found.end() for found in pattern.finditer(window)], default=0)
            if place >= least * len(window) and start + place > beyond:
                return start + place
        return furthest

    def _next_start(self, start: int, end: int) -> int:
        """Where the chunk after this one begins: some words before its end, at the start of some."""
        if not self._overlap:
            return end
        if self._ascii:
            earliest = end - int(self._overlap * CHARS_PER_TOKEN)
        else:
            earliest = bisect_left(self._weights, self._weights[end] - self._overlap, hi=end)
        earliest = self._overlapped(max(earliest, start + 1), start, end)
        following = self._within(end + 1)
        if following is not None and following.start == end and self._fits(end, following.end):
            return earliest if self._fits(earliest, following.end) else end
        return earliest

    def _overlapped(self, earliest: int, start: int, end: int) -> int:
        """The first start of some words from `earliest` on; `end` where there is none."""
        fence = self._within(end - 1)
        if fence is not None and fence.end == end and fence.start >= start:
            return end  # behind a block of code that is whole
        fence = self._whole_fence_before(earliest, end)
        if fence is not None:
            earliest = fence.end
        window = self._text[earliest:end]
        for pattern, _ in _CUTS:
            found = pattern.search(window)
            if found is not None and found.end() < len(window):
                return earliest + found.end()
        return min(earliest, end)

    def _whole_fence_before(self, earliest: int, end: int) -> Fence | None:
        """The last block of code that ends between two places, or in whose middle the first is."""
        at = bisect_right(self._fence_ends, end) - 1
        return self._fences[at] if at >= 0 and earliest < self._fence_ends[at] else None

    def _within(self, offset: int) -> Fence | None:
        """The block of code in which a place is, its first character not counted."""
        at = bisect_left(self._fence_starts, offset) - 1
        if at < 0:
            return None
        fence = self._fences[at]
        return fence if fence.start < offset < fence.end or offset == fence.closing == fence.end else None


def _weight(character: str) -> float:
    return 1 / CHARS_PER_TOKEN if character.isascii() else 1 / OTHERS_PER_TOKEN


_CUTS = (
    (re.compile(r"\n[ \t]*\n+"), 0.5),
    (re.compile(r"\n"), 0.5),
    (re.compile("[.!?\u2026\u3002\uff01\uff1f]+[\"'\u201d\u2019)\\]]*\\s+|[\u3002\uff01\uff1f]"), 0.5),
    (re.compile(r"\s+"), 0.1),
)
"""Where a text is cut, the best first, and how much of a chunk must stand before it."""
