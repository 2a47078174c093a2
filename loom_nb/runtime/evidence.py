"""The numbers by which an answer cites passages of documents, and the check of what it cites.

A passage keeps its number for the whole conversation, also in the next process: the log tells which
numbers were given out. A citation of a number that nobody gave out is an invention, and is told as one.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import msgspec

from loom_nb.events import EvidenceFound

MAX_RANGE = 30
"""Numbers that `[1-9]` may stand for."""


class Numbers(msgspec.Struct, eq=False, gc=False):
    """Which number each passage of a conversation has. Fold `EvidenceFound` events into it."""

    _of: dict[str, int] = {}
    highest: int = 0
    """The last one given out."""

    def take(self, event: EvidenceFound) -> None:
        """What the log says of numbers."""
        for passage in event.passages:
            self._of.setdefault(passage.id, passage.number)
            self.highest = max(self.highest, passage.number)
        self.highest = max(self.highest, event.known)

    def told(self, event: EvidenceFound) -> EvidenceFound:
        """The event with the highest number that was given out: what is below is no invention."""
        return event if event.known >= self.highest else msgspec.structs.replace(event, known=self.highest)

    def copy(self) -> "Numbers":
        """To try what would be given out."""
        return Numbers(dict(self._of), self.highest)

    def number(self, passages: Sequence[str]) -> tuple[int, ...]:
        """Their numbers; new ones get the next."""
        for one in passages:
            if one not in self._of:
                self.highest += 1
                self._of[one] = self.highest
        return tuple(self._of[one] for one in passages)


Standing = Literal["evidence", "earlier", "invented"]
"""Of a citation: among the passages at hand; told earlier in the conversation; in no evidence at all."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A number between brackets in an answer: `[2]`, or one of `[1, 3]`."""

    start: int
    """Where the brackets begin, which may hold several."""
    end: int
    number: int
    standing: Standing


def citations(text: str, passages: Collection[int], known: int = 0) -> list[Citation]:
    """The citations of an answer, in their order, each checked against the evidence. Pure.

    What stands in code, `x[1]`, links and footnotes are no citations.

    Args:
        text: the answer, as Markdown.
        passages: the numbers of the passages that the run was given.
        known: the highest number that the conversation has given out.
    """
    return [
        Citation(found.start, found.end, one, standing(one, passages, known))
        for found in _outside_code(text)
        for one in found.numbers
    ]


class Brackets(NamedTuple):
    """Brackets that cite."""

    start: int
    end: int
    numbers: tuple[int, ...]
    place: str
    """What they name besides: "p. 3" of `[7, p. 3]`."""


def brackets_in(text: str) -> Iterator[Brackets]:
    """The brackets of a text without code that a reader takes for citations, in their order."""
    for found in _BRACKETS.finditer(text):
        start, end = found.span()
        if _is_index(text, start, found[0]) or _is_definition(text, start, end):
            continue
        places = [" ".join(one.split()).lstrip(",;: ") for one in _PLACE.findall(found[0])]
        yield Brackets(start, end, tuple(_numbers_in(_PLACE.sub("", found[0]))), ", ".join(places))


def standing(number: int, passages: Collection[int], known: int) -> Standing:
    """What a citation of this number stands on."""
    if number in passages:
        return "evidence"
    return "earlier" if 1 <= number <= known else "invented"


@lru_cache(maxsize=16)
def _outside_code(text: str) -> tuple[Brackets, ...]:
    """The brackets that cite: every surface asks for those of the same answer."""
    kept = []
    hidden = (found.span() for found in _CODE.finditer(text))
    first, last = next(hidden, (len(text), len(text)))
    for one in brackets_in(text):  # both are in order: one walk
        while last <= one.start and first < len(text):
            first, last = next(hidden, (len(text), len(text)))
        if one.end <= first:
            kept.append(one)
    return tuple(kept)


def _is_index(text: str, start: int, brackets: str) -> bool:
    """Whether brackets right behind a name, a call or a link are an index or a label: `x[1]`, `f(x)[1]`.

    Behind a word as prose has them they cite: `April[7]`, `(2024)[7]`.
    """
    before = text[max(0, start - _LOOK_BACK) : start]
    if before.endswith(")"):
        depth, at = 0, len(before)
        while at and (depth or at == len(before)):
            at -= 1
            depth += (before[at] == ")") - (before[at] == "(")
        return not depth and at > 0 and (before[at - 1].isalnum() or before[at - 1] in "_])")
    word = _WORD.search(before[-60:])
    return word is not None and bool(_NAME.search(word[0]) or _ZERO.search(brackets))


def _is_definition(text: str, start: int, end: int) -> bool:
    """Whether brackets give an address to a label: `[1]: https://…`; `As [1]: so it is` cites."""
    if not text.startswith(":", end):
        return False
    if _ADDRESS.match(text, end) is not None:
        return True
    line = text.rfind("\n", max(0, start - 4), start) + 1
    begins = not text[line:start].strip(" ") and (line > 0 or start <= 3)
    return begins and _TARGET.match(text, end) is not None


def _numbers_in(brackets: str) -> Iterator[int]:
    """The numbers that stand between brackets: "[1, 3-5]", "[1][2]"."""
    for first, last in re.findall(r"(\d+)(?:\s*[-–]\s*(\d+))?", brackets):
        if last and int(first) < int(last) <= int(first) + MAX_RANGE:
            yield from range(int(first), int(last) + 1)
        else:
            yield from map(int, filter(None, (first, last)))


_LOOK_BACK = 200
"""Characters before brackets that tell whether they are an index."""
_PLACE = re.compile(
    r"\s{0,2}[,;:]\s{0,2}(?:pp?|pages?|sec|sections?|chap|chapters?|fig|figures?|tab|tables?|lines?|paras?|"
    r"S|Seiten?|Abs|Abschnitt|Kap|Kapitel|§{1,2})\.?\s{0,2}\d{1,5}(?:\s{0,2}[-–]\s{0,2}\d{1,5})?",
    re.IGNORECASE,
)
_BRACKETS = re.compile(
    r"(?<![\]!\\`])(?:\[\d{1,4}(?:\s{0,2}[,;–-]\s{0,2}\d{1,4}){0,9}"
    rf"(?:(?i:{_PLACE.pattern}))?\]){{1,9}}(?![(\[])"
)
"""Brackets with nothing but numbers, one or several, and a place; they are no link, image or footnote."""
_WORD = re.compile(r"[\w.'\u2019]*\w\Z")
_NAME = re.compile(r"\A[^\W\d]\Z|_|[a-z]\d|\A[a-z]+[A-Z]|[^\W\d]{2}\.\w")
"""A name of code: `x`, `the_rows`, `x1`, `readRows`, `frame.rows`."""
_ZERO = re.compile(r"(?<!\d)0+(?!\d)")
_ADDRESS = re.compile(r":[ \t]{0,4}(?:<|[A-Za-z][A-Za-z0-9+.-]{0,20}://)")
_TARGET = re.compile(r":[ \t]{0,4}\S{1,500}(?:[ \t]+[\"'(][^\n]{0,500})?[ \t]*(?:\n|\Z)")
_CODE = re.compile(
    r"^ {0,3}(?P<fence>`{3,}+|~{3,}+)[^\n]*+\n(?:.*?\n)??(?: {0,3}(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|(?<!`)(?P<span>`{1,8})(?!`)(?:(?!\n\n).){1,2000}?(?<!`)(?P=span)(?!`)"
    r"|`(?:(?!\n\n).)*"
    r"|\]\([^()\s]{1,500}",
    re.MULTILINE | re.DOTALL,
)
