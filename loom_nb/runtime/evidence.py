"""The numbers by which an answer cites passages of documents, and the check of what it cites.

A passage keeps its number for the whole conversation, also in the next process: the log tells which
numbers were given out. A citation of a number that nobody gave out is an invention, and is told as one.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

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
    hidden = [found.span() for found in _CODE.finditer(text)]
    found: list[Citation] = []
    for brackets in CITATION.finditer(text):
        start, end = brackets.span()
        if any(first < end and start < last for first, last in hidden):
            continue
        found += [
            Citation(start, end, one, standing(one, passages, known)) for one in numbers_in(brackets[0])
        ]
    return found


def standing(number: int, passages: Collection[int], known: int) -> Standing:
    """What a citation of this number stands on."""
    if number in passages:
        return "evidence"
    return "earlier" if 1 <= number <= known else "invented"


def numbers_in(brackets: str) -> Iterator[int]:
    """The numbers that stand between brackets: "[1, 3-5]", "[1][2]"."""
    for first, last in re.findall(r"(\d+)(?:\s*[-–]\s*(\d+))?", brackets):
        if last and int(first) < int(last) <= int(first) + MAX_RANGE:
            yield from range(int(first), int(last) + 1)
        else:
            yield from map(int, filter(None, (first, last)))


CITATION = re.compile(r"(?<![\w\]!\\`)])(?:\[\d{1,4}(?:\s{0,2}[,;–-]\s{0,2}\d{1,4}){0,9}\]){1,9}(?![(\[:])")
"""Brackets with nothing but numbers, one or several, which are no index, link, image or footnote."""
_CODE = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})[^\n]*\n(?:.*?\n)??(?: {0,3}(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|(?<!`)(?P<span>`{1,8})(?!`)(?:(?!\n\n).){1,2000}?(?<!`)(?P=span)(?!`)"
    r"|`(?:(?!\n\n).)*"
    r"|\]\([^()\s]{1,500}",
    re.MULTILINE | re.DOTALL,
)
