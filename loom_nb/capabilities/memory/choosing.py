"""What of the notes a run is shown: pinned ones first, then what is relevant, within a budget of tokens."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import msgspec

from loom_nb.capabilities.memory.notes import Note, id_of
from loom_nb.capabilities.memory.ranking import Hit, is_beginning
from loom_nb.capabilities.memory.stems import stem
from loom_nb.messages import DataPart, Origin, fenced
from loom_nb.retrieval.analysis import placed_words
from loom_nb.tokens import estimate

EXCERPT = 1_600
"""Characters of a note that are shown at once; the passage in which it has most of what was asked."""


class Chosen(msgspec.Struct, frozen=True):
    """What is shown at the beginning of a run."""

    hits: tuple[Hit, ...] = ()
    left_out: int = 0
    """Notes for which the budget had no room, pinned ones among them."""
    pinned_out: int = 0
    """How many of these are pinned."""
    tokens: int = 0
    """Of what is shown, estimated."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the notes, in order."""
        return tuple(hit.note.id for hit in self.hits)


class WouldChange(msgspec.Struct, frozen=True):
    """What the next request would be without a note."""

    id: str
    shown: bool
    """Whether it is in the next request."""
    before: tuple[str, ...]
    """The ids of the notes in it, in order."""
    after: tuple[str, ...]
    """The same, were the note forgotten."""
    tokens: int = 0
    """That the request would grow by; negative: shrink."""

    @property
    def enters(self) -> tuple[str, ...]:
        """The notes that would take its place."""
        return tuple(note_id for note_id in self.after if note_id not in self.before)


def chosen(pinned: Iterable[Note], hits: Sequence[Hit], tokens: int, seen: Collection[str] = ()) -> Chosen:
    """What fits of the pinned and the relevant notes, and is not shown already.

    Args:
        pinned: shown whatever is asked, in this order.
        hits: the relevant ones, best first.
        tokens: the budget.
        seen: names of parts that stand in the conversation.
    """
    found = {hit.note.id: hit for hit in hits}
    first = [found.get(note.id, Hit(note)) for note in pinned]
    names = set(seen)
    taken, used, left, pinned_out = [], 0, 0, 0
    for hit in {hit.note.id: hit for hit in (*first, *hits)}.values():
        part = shown(hit)
        if part.name in names:
            continue
        cost = estimate(fenced(part))
        if used + cost > tokens:
            left += 1
            pinned_out += hit.note.pinned
        else:
            taken.append(hit)
            used += cost
    return Chosen(tuple(taken), left, pinned_out, used)


def part_name(note: Note) -> str:
    """By which it is known in a conversation what stands there: other words have another name, a note that
    was pinned, weighed or filed otherwise has not.
    """
    if note.id == id_of(note.text):
        return f"note:{note.id}"
    return f"note:{note.id}.{hashlib.sha256(note.text.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"


def shown(hit: Hit) -> DataPart:
    """A note as a model reads it. The same note gives the same bytes at all times."""
    note = hit.note
    about = [note.category, *(f"#{tag}" for tag in note.tags), "pinned" if note.pinned else ""]
    head = " ".join(filter(None, about))
    text = excerpt(note.text, hit.terms)
    if len(text) < len(note.text):
        text += f'\n(part of {len(note.text):,} characters; read_memory("{note.id}") gives all)'
    return DataPart(
        part_name(note), f"[{head}] {text}" if head else text, Origin("memory", note.id), _summary(hit)
    )


def _summary(hit: Hit) -> str:
    if hit.terms:
        return f"a note on {', '.join(hit.terms)}"
    return "a pinned note" if hit.note.pinned else "a note that is near in meaning"


def excerpt(text: str, terms: Collection[str], most: int = EXCERPT) -> str:
    """The passage of a text that has most of the terms; the text itself where it is short.

    Args:
        text: of any length.
        terms: stems.
        most: characters.
    """
    if len(text) <= most:
        return text
    start = _fullest(_places(text, terms), most * 3 // 4)
    start = max(0, min(start - most // 4, len(text) - most))
    if start:
        blank = text.find(" ", start, start + 80)
        start = blank + 1 if blank >= 0 else start
    end = min(len(text), start + most)
    return f"{'… ' if start else ''}{text[start:end].strip()}{' …' if end < len(text) else ''}"


def _places(text: str, terms: Collection[str]) -> list[tuple[int, str]]:
    """Where terms stand in a text, in order; long ones also at the beginning of longer words."""
    wanted = set(terms)
    begins = tuple([term for term in terms if is_beginning(term)])
    found = []
    for at, word in placed_words(text):
        stemmed = stem(word)
        if stemmed in wanted:
            found.append((at, stemmed))
        elif begins and stemmed.startswith(begins):
            found.append((at, next(term for term in begins if stemmed.startswith(term))))
    return sorted(found)


def _fullest(places: Sequence[tuple[int, str]], size: int) -> int:
    """Where the window begins that has most of the different terms; of equals the first."""
    best, most, last = 0, 0, 0
    inside: Counter[str] = Counter()
    for start, term in places:
        while last < len(places) and places[last][0] < start + size:
            inside[places[last][1]] += 1
            last += 1
        if len(inside) > most:
            best, most = start, len(inside)
        inside[term] -= 1
        if not inside[term]:
            del inside[term]
    return best
