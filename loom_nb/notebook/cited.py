"""What an answer may cite, and what it does: passages with their numbers, folded from a run's events.

Pure values and functions; the transcript holds them, and every surface says the same of them.
"""

import hashlib
import re
from collections.abc import Iterator

import msgspec

from loom_nb.events import EvidenceFound, Passage
from loom_nb.messages import DataPart, Message, TextPart, ToolResultPart
from loom_nb.runtime.evidence import Standing, brackets_in, citations, standing

EXCERPT = 600
"""Characters of a passage that are remembered for its reader."""
INVENTED = "not in the evidence"
"""What is said behind a citation of nothing."""


class Source(msgspec.Struct, frozen=True):
    """A passage that the run was given, and the beginning of its words where they are known."""

    passage: Passage
    excerpt: str = ""

    @property
    def place(self) -> str:
        """Title and location: "paper.pdf, page 3"."""
        told = ", ".join(one for one in (self.passage.title, self.passage.location) if one)
        return " ".join((told or self.passage.source or self.passage.id).split())


class Evidence(msgspec.Struct, frozen=True):
    """All passages that a run was given."""

    sources: tuple[Source, ...]
    known: int = 0
    """The highest number that the conversation had given out."""
    scope: str = ""
    """Tells the anchors of one answer from those of another on the same page."""

    def standing(self, number: int) -> Standing:
        """What a citation of this number stands on."""
        return standing(number, self._numbers, self.known)

    def source(self, number: int) -> Source | None:
        """The passage with this number."""
        return next((one for one in self.sources if one.passage.number == number), None)

    def anchor(self, number: int) -> str:
        """Where on the page the passage is told."""
        return f"loom-{self.scope}-{number}"

    def flagged(self, text: str) -> str:
        """A text of the answer with a word behind each citation of nothing."""
        out, at = [], 0
        ends = {one.end for one in citations(text, self._numbers, self.known) if one.standing == "invented"}
        for end in sorted(ends):
            out.append(f"{text[at:end]} ({INVENTED})")
            at = end
        return "".join([*out, text[at:]]) if out else text

    def pieces(self, text: str, *, behind_code: bool = False) -> Iterator["str | tuple[int, ...]"]:
        """A text without code or links: words, and the numbers of each citation.

        Right behind code or a link, brackets are an index or a label.
        """
        at = 0
        for found in brackets_in(text):
            if behind_code and found.start == 0:
                continue
            if found.start > at:
                yield text[at : found.start]
            yield found.numbers
            if found.place:
                yield f" ({found.place})"
            at = found.end
        if at < len(text):
            yield text[at:]

    def cited(self, answer: str) -> tuple[list[Source], list[int]]:
        """The passages that an answer cites, by their numbers; and the numbers that it invented."""
        found = citations(answer, self._numbers, self.known)
        numbers = {one.number for one in found}
        told = sorted(
            (one for one in self.sources if one.passage.number in numbers), key=lambda one: one.passage.number
        )
        return told, sorted({one.number for one in found if one.standing == "invented"})

    @property
    def _numbers(self) -> frozenset[int]:
        return frozenset(one.passage.number for one in self.sources)


def found(before: Evidence | None, event: EvidenceFound, *answer: str) -> Evidence:
    """With what one more search found.

    Args:
        before: what the run was given so far.
        event: the search.
        answer: what tells this answer from others on a page: its run, model and goal. The same in each
            process and at each rendering, so nothing that is made by chance, as the id of a session is.
    """
    if before is None:
        told = "\0".join((*answer, event.query, *(one.id for one in event.passages)))
        before = Evidence((), scope=hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:8])
    there = {one.passage.number: one for one in before.sources}
    for passage in event.passages:
        there.setdefault(passage.number, Source(passage))
    known = max([before.known, event.known, *there])
    return Evidence(tuple(there.values()), known, before.scope)


def with_words(before: Evidence, message: Message) -> Evidence:
    """With the words of passages that a message holds: data behind a task, or results of a search."""
    told: dict[int, str] = {}
    for part in message.parts:
        inner = part.parts if isinstance(part, ToolResultPart) else (part,)
        for one in inner:
            if isinstance(one, TextPart | DataPart) and one.origin.kind == "knowledge":
                told.update(_passage(one.text))
    if not told:
        return before
    sources = tuple(
        msgspec.structs.replace(one, excerpt=told[one.passage.number])
        if not one.excerpt and one.passage.number in told
        else one
        for one in before.sources
    )
    return msgspec.structs.replace(before, sources=sources)


def _passage(text: str) -> dict[int, str]:
    """The number and the words of a passage as `capability.told` writes it."""
    head = re.match(r"\[(\d{1,6})\] ", text)
    _, gap, words = text.partition("\n\n")
    return {int(head[1]): words[:EXCERPT]} if head is not None and gap else {}


def is_found(message: Message) -> bool:
    """Whether a message of the user's side is none of the user: it holds what was found for the task."""
    return bool(message.parts) and all(
        isinstance(part, DataPart) and part.origin.kind in ("memory", "knowledge", "skill")
        for part in message.parts
    )
