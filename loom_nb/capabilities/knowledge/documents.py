"""A document as text: its words, its headings, and where each piece of it stands."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["markdown", "text", "html", "pdf", "docx", "notebook", "code", "row"]


@dataclass(frozen=True, slots=True)
class Heading:
    """Where a section begins, and how it is called."""

    offset: int
    level: int
    """1 is the highest."""
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """From here on the text stands at this place: a page, a cell, a paragraph."""

    offset: int
    number: int


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a document with what is known of its form.

    Args:
        text: what chunks are pieces of; offsets count its characters.
        title: for a reader.
        kind: what it was made of.
        outline: where its sections begin, in their order.
        marks: where its places begin, in their order; none: lines are counted.
        unit: what a mark numbers: "page", "cell", "paragraph".
    """

    text: str
    title: str = ""
    kind: Kind = "text"
    outline: tuple[Heading, ...] = ()
    marks: tuple[Mark, ...] = ()
    unit: str = "line"

    def hidden(self, hide: Callable[[str], str]) -> "Document":
        """The same with its words hidden where `hide` does, which leaves every character in its place."""
        text = hide(self.text)
        if text == self.text and hide(self.title) == self.title:
            return self
        outline = tuple(Heading(one.offset, one.level, hide(one.title)) for one in self.outline)
        return replace(self, text=text, title=hide(self.title), outline=outline)

    def location(self, start: int, end: int) -> str:
        """Where a piece stands: "page 3", "lines 12-40"."""
        return locations(self)(start, end)


def locations(document: Document) -> Callable[[int, int], str]:
    """`Document.location`, for many pieces of one document."""
    unit, marks = document.unit, document.marks
    if not marks and unit != "line":
        return lambda *_: unit
    offsets = [mark.offset for mark in marks] or [0, *(one.end() for one in _LINE.finditer(document.text))]

    def number(offset: int) -> int:
        at = max(0, bisect_right(offsets, offset) - 1)
        return marks[at].number if marks else at + 1

    def location(start: int, end: int) -> str:
        first, final = number(start), number(max(start, end - 1))
        return f"{unit} {first}" if first == final else f"{unit}s {first}-{final}"

    return location


def paths(outline: Sequence[Heading]) -> Callable[[int], tuple[str, ...]]:
    """The titles that hold at a place, the highest first."""
    above: list[int] = []
    """Of each heading the one under which it stands, by its number; -1: none."""
    held: list[int] = []
    for number, heading in enumerate(outline):
        while held and outline[held[-1]].level >= heading.level:
            held.pop()
        above.append(held[-1] if held else -1)
        held.append(number)
    offsets = [heading.offset for heading in outline]

    def path(offset: int) -> tuple[str, ...]:
        titles: list[str] = []
        at = bisect_right(offsets, offset) - 1
        while at >= 0:
            titles.append(outline[at].title)
            at = above[at]
        return tuple(reversed(titles))

    return path


@dataclass(frozen=True, slots=True)
class Fence:
    """A block of code in Markdown."""

    start: int
    end: int
    """Behind its closing line, or the end of the text where it has none."""
    mark: str
    """What closes it: "```"."""
    info: str
    """What stands behind the mark that opens it: "python"."""
    body: int
    """Where its first line of code begins."""
    closing: int
    """Where its closing line begins; `end` where it has none."""


_LINE = re.compile(r"\n")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)
_ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]([^\n]*)$", re.MULTILINE)
_SETEXT = re.compile(r"^ {0,3}(\S[^\n]*)\n {0,3}(=+|-+)[ \t]*$", re.MULTILINE)
MAX_HEADING = 200
"""Characters of a title."""


def fences(text: str) -> list[Fence]:
    """The fenced blocks of a Markdown text, in their order."""
    found: list[Fence] = []
    at = 0
    while opening := _FENCE.search(text, at):
        mark, info = opening[1], opening[2]
        if mark[0] == "`" and "`" in info:  # a span of code in a line of its own
            at = opening.end()
            continue
        body = min(len(text), opening.end() + 1)
        close = re.compile(rf"^ {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$", re.MULTILINE)
        closing = close.search(text, body)
        end = len(text) if closing is None else min(len(text), closing.end() + 1)
        begin = end if closing is None else closing.start()
        found.append(Fence(opening.start(), end, mark, info.strip()[:MAX_HEADING], body, begin))
        at = max(end, opening.end() + 1)
        if at >= len(text):
            break
    return found


def markdown_outline(text: str) -> tuple[Heading, ...]:
    """The headings of a Markdown text, those within code left out."""
    code = fences(text)
    starts = [fence.start for fence in code]

    def is_code(offset: int) -> bool:
        at = bisect_right(starts, offset) - 1
        return at >= 0 and offset < code[at].end

    return tuple(
        sorted(
            (heading for heading in _headings(text) if not is_code(heading.offset)),
            key=lambda one: one.offset,
        )
    )


def _without_closing(title: str) -> str:
    """A title without the marks that close it: `## Bees ##`, but not `## C#`."""
    title = title.strip()
    bare = title.rstrip("#")
    return title if bare and not bare[-1].isspace() else bare.rstrip()


def _headings(text: str) -> Iterator[Heading]:
    for found in _ATX.finditer(text):
        yield Heading(found.start(), len(found[1]), _without_closing(found[2])[:MAX_HEADING])
    for found in _SETEXT.finditer(text):
        title = found[1].strip()
        is_rule = len(found[2]) < 2 or title.startswith(("#", ">", "-", "*", "|", "`", "~"))
        if not is_rule and (found.start() == 0 or text.endswith("\n\n", 0, found.start())):
            yield Heading(found.start(), 1 if found[2][0] == "=" else 2, title[:MAX_HEADING])
