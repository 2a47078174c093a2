"""A Markdown text cut into what is said, what is quoted, what is code and what is hidden, with its lines."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["prose", "code", "hidden"]

_FENCE = re.compile(r"\s{0,3}(?:>\s*)?(`{3,}|~{3,})\s*([\w+-]*)")
_HIDDEN = re.compile(
    r"<!--(.*?)(?:-->|\Z)"
    r"|^[ ]{0,3}\[[^\]\n]*\]:\s*(?:#|<>)\s*[\"'(](.*?)[\"')]?$"
    r"|<([a-z]+)\b[^>]{0,300}?(?:display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0"
    r"|opacity\s*:\s*0|color\s*:\s*(?:white|#fff\b|transparent)|\bhidden\b)[^>]{0,300}>(.{0,4000}?)</"
    r"\3>",
    re.IGNORECASE | re.DOTALL | re.MULTILINE,
)
_END = re.compile(
    r"(?<=[.!?…])[\"'\u201d\u2019)]*\s+|[\u3002\uff01\uff1f]+|\n\s*\n|\n(?=\s*(?:[-*+>|#]|\d+[.)])\s)|\|"
)
_QUOTED = re.compile(
    r"``.+?``|`[^`\n]+`|\"[^\"\n]{3,400}\"|“[^”\n]{3,400}”|„[^“”\n]{3,400}[“”]"
    r"|«[^»\n]{3,400}»|(?<!\w)'[^'\n]{3,400}'(?!\w)|「[^」]+」"
)
_INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a text."""

    kind: Kind
    line: int
    """Of its beginning, counted from 1."""
    text: str
    language: str = ""
    """Of code, as its fence says."""
    before: str = ""
    """The prose before code, by which it is introduced."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of prose."""

    line: int
    text: str
    said: str
    """Without what stands in quotation marks or backticks."""
    code: tuple[str, ...]
    """What stands in backticks."""
    listed: bool
    """It is a cell of a table, or an item of a list that a heading or colon introduces."""
    lead: str = ""
    """What introduces the list."""


def segments(text: str) -> Iterator[Segment]:
    """The pieces of a Markdown text, in order; hidden pieces also stand apart."""
    for found in _HIDDEN.finditer(text):
        inner = next((one for one in (found[1], found[2], found[4]) if one), "")
        if inner.strip():
            yield Segment("hidden", text.count("\n", 0, found.start()) + 1, inner)
    lines = text.split("\n")
    at, before = 0, ""
    for first, last, language in _fenced(lines):
        yield _prose(lines, at, first)
        before = _introduction(lines[at:first])
        yield Segment("code", first + 2, "\n".join(lines[first + 1 : last]), language, before)
        at = last + 1
    yield _prose(lines, at, len(lines))


def _fenced(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """The numbers, from 0, of the lines that open and close pieces of code, and their languages."""
    opened, fence, language = -1, "", ""
    for number, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark is None:
            continue
        if not fence:
            opened, fence, language = number, mark[1], mark[2].casefold()
        elif mark[1][0] == fence[0] and len(mark[1]) >= len(fence) and not mark[2]:
            yield opened, number, language
            fence = ""
    if fence:
        yield opened, len(lines), language


def _prose(lines: list[str], first: int, end: int) -> Segment:
    return Segment("prose", first + 1, _without_hidden("\n".join(lines[first:end])))


def _introduction(prose: list[str]) -> str:
    """The last lines before a piece of code."""
    lines = [line for line in prose if line.strip()]
    return " ".join(lines[-2:])[-300:]


def _without_hidden(text: str) -> str:
    return _HIDDEN.sub(lambda found: "\n" * found[0].count("\n"), text)


MAX_SENTENCE = 1_500
"""Characters: a longer one is looked at in pieces that overlap."""


def sentences(segment: Segment) -> Iterator[Sentence]:
    """The sentences of a piece of prose."""
    text, at, lead = segment.text, 0, ""
    breaks = [place for place, char in enumerate(text) if char == "\n"]
    tabled = [line.lstrip().startswith("|") for line in text.split("\n")]
    for end in (*_END.finditer(text), None):
        cell = end is not None and end[0] == "|"
        if end is not None and cell and not tabled[bisect_left(breaks, end.start())]:
            continue
        stop = end.start() if end is not None else len(text)
        raw = text[at:stop]
        words = " ".join(raw.split())
        if words:
            line = segment.line + bisect_left(breaks, at + len(raw) - len(raw.lstrip()))
            item = re.match(r"(?:[-*+]|\d+[.)])\s", words) is not None
            if not item and not cell:
                lead = words if words.endswith(":") or words.startswith("#") else ""
            table = cell or text[max(0, at - 1) : at] == "|"
            listed = table or (item and bool(lead))
            yield from _pieces(Sentence(line, words, "", (), listed, lead if item else ""))
        at = end.end() if end is not None else stop


def _pieces(sentence: Sentence) -> Iterator[Sentence]:
    for start in range(0, max(len(sentence.text) - 200, 1), MAX_SENTENCE - 200):
        text = sentence.text[start : start + MAX_SENTENCE]
        yield replace(sentence, text=text, said=_QUOTED.sub(" … ", text), code=tuple(_INLINE.findall(text)))


def quoted(text: str) -> Iterator[str]:
    """What stands in quotation marks or backticks."""
    for found in _QUOTED.finditer(text):
        yield found[0].strip("`\"'“”„«»「」")
