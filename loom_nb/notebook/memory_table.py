"""The table of `%loom memory`: notes as rows of any number, edited where they stand.

Its actions are those of the lines `%loom memory edit`, `pin`, `forget` and `undo`: the same store carries
them out. The kernel finds, sorts and pages; a page of 100,000 notes takes a few milliseconds.
"""

import asyncio
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loom_nb.capabilities.memory.listing import Page, Recall
from loom_nb.capabilities.memory.notes import Note, NoteChanged, NoteNotFound
from loom_nb.capabilities.memory.ranking import COMPONENTS, Hit, MemoryWeights
from loom_nb.errors import LoomUsageError
from loom_nb.notebook import memories
from loom_nb.notebook import memory_cards as cards
from loom_nb.notebook.table import (
    Action,
    Choice,
    Column,
    Contents,
    Details,
    Found,
    Meter,
    Query,
    Receipt,
    Row,
    Stale,
    Value,
)
from loom_nb.wording import counted, moment, one_line

if TYPE_CHECKING:
    from loom_nb.capabilities.memory.store import NoteStore
    from loom_nb.notebook.workbench import Workbench

BROWSED = 1_000
"""Notes of a search that are looked through; the store ranks no more."""
AS_OF = "as of"
"""By which a query says as of which run."""
RUNS = 40
"""Runs to choose from, the newest first."""
ALL = 10_000_000
COLUMNS = (
    Column("id", "id", 7),
    Column("text", "note", edits="text"),
    Column("score", "score", 7.2, number=True, shown="asked", meter=True),
    Column("category", "category", 6.4, edits="line"),
    Column("tags", "tags", 6.2, sorts=False, edits="line"),
    Column("pinned", "pin", 2.9, number=True, edits="flag"),
    Column("importance", "weight", 5, number=True, edits="line"),
    Column("from", "from", 4.6, sorts=False),
    Column("created", "created", 5.6, number=True, shown="unasked"),
    Column("uses", "used", 3.9, number=True),
)
PLACES = {column.name: place for place, column in enumerate(COLUMNS)}
ACTIONS = (
    Action("pin", "Pin", "shows it in every run", "p"),
    Action("unpin", "Unpin", "shows it where it is relevant", "p"),
    Action("forget", "Forget", "takes it out of the memory; undo brings it back", "Delete"),
)
TONES: Mapping[str, int] = {"words": 1, "vector": 2, "salience": 5, "recency": 3}
_NOUN = ("note", "notes")


def row_of(hit: Hit, weights: MemoryWeights, *, past: bool = False) -> Row:
    """A note under COLUMNS; of the past, nothing can be done to it."""
    note = hit.note
    note_id, text, category, tags, pinned, importance, source, _, _ = cards.cells_of(note)
    can = set() if past else {"edit", "forget", "unpin" if note.pinned else "pin"}
    parts = cards.shares(hit, weights)
    hints = {PLACES["pinned"]: "pinned" if note.pinned else "not pinned", PLACES["from"]: str(note.by)}
    if hit.components:
        hints[PLACES["score"]] = cards.score_words(hit)
    if note.created:
        hints[PLACES["created"]] = moment(note.created)
    return Row(
        note_id,
        (
            note_id, text, f"{hit.score:.2f}" if hit.components else "", category, tags,
            "●" if pinned else "○", importance, source, _day(note.created), f"{note.uses:,}×",
        ),
        can=frozenset(can),
        parts=tuple((size, TONES[name]) for name, size in parts.items()),
        hints=hints,
        why="this is how it was: nothing can be done to it" if past else "",
        quiet=past,
    )  # fmt: skip


def _day(seconds: float) -> str:
    """In few letters: the time of today, the day of this year, else the month."""
    if not seconds:
        return ""
    then, now = time.localtime(seconds), time.localtime()
    if then[:3] == now[:3]:
        return time.strftime("%H:%M", then)
    return time.strftime("%d %b" if then[0] == now[0] else "%Y-%m", then)


def meters_of(hit: Hit, weights: MemoryWeights) -> tuple[Meter, ...]:
    """What speaks for a note, each component with how much it counts, and all of it together."""
    if not hit.components:
        return ()
    bars = [
        Meter(name, hit.components[name], f"× {getattr(weights, name):g}{_terms(hit, name)}", TONES[name])
        for name in COMPONENTS
        if name in hit.components
    ]
    return (*bars, Meter("score", hit.score, "the weighted mean of these"))


def _terms(hit: Hit, name: str) -> str:
    return f": {', '.join(hit.terms)}" if name == "words" and hit.terms else ""


def _best(hits: Sequence[Hit]) -> str:
    parts = [name for name in COMPONENTS if hits and name in hits[0].components]
    return (
        f"best first; the score is {' + '.join(parts)}, each as far as it counts" if parts else "best first"
    )


def sort_of(query: Query) -> str:
    """How the store names the order that a page wants."""
    if query.sort not in PLACES or not COLUMNS[PLACES[query.sort]].sorts:
        return "score"
    return f"-{query.sort}" if query.down else query.sort


@dataclass(slots=True)
class MemoryRows:
    """The notes of a person, as a `PagedSource`.

    Args:
        bench: whose memory it is.
        query: what is looked for at first.
        as_of: as of which run, `conversation/run`; empty for now.
    """

    bench: "Workbench"
    query: str = ""
    as_of: str = ""
    _asked: str = field(default="", init=False)
    """What was looked for last."""
    _known: tuple[Hashable, list[Hit]] = field(default=(None, []), init=False)
    """A search, or the past, in full: its other pages cost nothing."""
    _was: Page | None = field(default=None, init=False)
    """The first notes as of that run."""

    @property
    def store(self) -> "NoteStore":
        """Where the notes are."""
        return self.bench.memory

    def state(self) -> Hashable:
        """Differs when any note does, whoever changed it, and after each run."""
        session = self.bench.session
        return self.store.last_change(), len(self.bench.results), session.id if session is not None else ""

    async def contents(self) -> Contents:
        """Everything but the rows."""
        page, total = await asyncio.to_thread(self._first)
        card = cards.list_card(page, query=self.query, as_of=self.as_of, total=total)
        chosen = {AS_OF: self.as_of} if self.as_of else {}
        return Contents(
            card=card,
            title=cards.title_of(total),
            caption="the latest change first; Enter or a double click edits a cell",
            columns=COLUMNS,
            rows=(),
            noun=_NOUN,
            actions=ACTIONS,
            total=total,
            choices=(Choice(AS_OF, "As of which run", self._runs()),),
            query=Query(text=self.query, chosen=chosen),
            placeholder="search",
            open_key="w",
        )

    def _first(self) -> tuple[Page, int]:
        total = self.store.page(limit=0).total
        if self.as_of:  # which stays as it is
            self._was = self._was or memories.as_of(self.bench, self.as_of, self.query, limit=cards.SHOWN)
            return self._was, total
        return self.store.page(self.query, limit=cards.SHOWN), total

    def _runs(self) -> tuple[tuple[str, str], ...]:
        known = [(f"{row.session}/{row.run}", row) for row in self.bench.store.runs(limit=RUNS)]
        found = [
            (name, f"as of {row.run}, {moment(row.started)}: {one_line(row.goal, 30)}") for name, row in known
        ]
        if self.as_of and self.as_of not in dict(found):
            found.insert(0, (self.as_of, f"as of {self.as_of}"))
        return (("", "as they are now"), *found)

    # -- looking -----------------------------------------------------------------------------------

    async def look(self, query: Query) -> Found:
        """One page of notes. Raises LoomError where nothing is known of a run."""
        self._asked = query.text.strip()
        return await asyncio.to_thread(self._look, query)

    def _look(self, query: Query) -> Found:
        when, sort = query.chosen.get(AS_OF, ""), sort_of(query)
        if not when and not self._asked:
            plain = "-updated" if sort == "score" else sort
            page = self._page(plain, query)
            return self._found(page.rows, query.start, page.total)
        key = (when, self._asked, query.sort, query.down, 0 if when else self.state())
        if self._known[0] != key:
            self._known = key, self._all(when, sort, query)
        hits = self._known[1]
        start = min(query.start, max(0, len(hits) - 1))
        best = _best(hits) if self._asked and not query.sort else ""
        if not when and len(hits) == BROWSED:
            best = ": ".join(part for part in (f"the best {BROWSED:,} that are found", best) if part)
        return self._found(hits[start : start + query.count], start, len(hits), best, past=bool(when))

    def _page(self, sort: str, query: Query) -> Page:
        page = self.store.page("", sort, query.start, query.count)
        if page.rows or not query.start:
            return page
        return self.store.page("", sort, max(0, page.total - query.count), query.count)

    def _all(self, when: str, sort: str, query: Query) -> list[Hit]:
        if when:
            plain = "-updated" if sort == "score" and not self._asked else sort
            hits = memories.as_of(self.bench, when, self._asked, plain, limit=ALL).rows
        else:
            hits = self.store.page(self._asked, sort, 0, BROWSED).rows
        is_worst_first = query.sort == "score" and not query.down
        return list(reversed(hits)) if is_worst_first else list(hits)

    def _found(
        self, hits: Sequence[Hit], start: int, matching: int, caption: str = "", *, past: bool = False
    ) -> Found:
        weights = self.store.weights
        return Found(tuple(row_of(hit, weights, past=past) for hit in hits), start, matching, caption)

    async def these(self, rows: Sequence[str]) -> tuple[Row, ...]:
        """Those of the notes that are there."""
        return await asyncio.to_thread(self._these, rows)

    def _these(self, rows: Sequence[str]) -> tuple[Row, ...]:
        found = []
        for note_id in dict.fromkeys(rows):
            try:
                found.append(row_of(Hit(self.store.get(note_id)), self.store.weights))
            except NoteNotFound:
                continue
        return tuple(found)

    # -- one note ----------------------------------------------------------------------------------

    async def details(self, row: str) -> Details:
        """A note in full: why it is found, why it was recalled, and what would be without it."""
        return await asyncio.to_thread(self._details, row)

    def _details(self, note_id: str) -> Details:
        store, weights = self.store, self.store.weights
        note = store.get(note_id)
        versions = store.history(note_id)
        texts = [("note", note.text)]
        said = [one.note.text for one in reversed(versions) if one.change != "conflict"]
        before = next((text for text in said if text != note.text), None)
        if before is not None:
            texts.append(("as it was before", before))
        meters = []
        if hit := self._hit(note_id):
            meters.append((f"why it is found for “{one_line(self._asked, 60)}”", meters_of(hit, weights)))
        recalls = store.why(note_id, limit=3)
        meters += [(_recall_title(one), _recall_meters(one, note, weights)) for one in recalls[:2]]
        told = [
            ("if forgotten", memories.without(self.bench, note_id, self._asked)),
            *cards.told_of(note, versions),
        ]
        return Details(tuple(told), tuple(texts), tuple(one for one in meters if one[1]))

    def _hit(self, note_id: str) -> Hit | None:
        return next((hit for hit in self._known[1] if hit.note.id == note_id), None) if self._asked else None

    async def value(self, row: str, column: str) -> Value:
        """What a cell holds. Raises LoomUsageError where there is no such note, or it cannot be edited."""
        note = await asyncio.to_thread(self.store.get, row)
        return Value(_text_of(note, column), str(note.version))

    async def edit(self, row: str, column: str, text: str, version: str) -> Receipt:
        """Change a field of a note. Raises `Stale` where it was changed meanwhile, LoomError as the store."""
        return await asyncio.to_thread(self._edit, row, column, text, version)

    def _edit(self, note_id: str, column: str, text: str, version: str) -> Receipt:
        now = self.store.get(note_id)
        if str(now.version) != version:
            raise self._stale(note_id, column)
        try:
            note = self.store.edit(
                note_id, column, memories.parsed(column, text), memories.by(self.bench), expected=now.version
            )
        except NoteChanged:
            raise self._stale(note_id, column) from None
        if note.version == now.version:
            return Receipt(f"{note_id} is as it was")
        title = COLUMNS[PLACES[column]].title
        return self._receipt(f"{note_id}: {title} changed", {note_id: note.version})

    def _stale(self, note_id: str, column: str) -> Stale:
        now = self.store.get(note_id)
        return Stale(
            f"{note_id} was changed meanwhile, by {now.by}: keep yours or what stands there now",
            Value(_text_of(now, column), str(now.version)),
        )

    # -- acting ------------------------------------------------------------------------------------

    async def act(self, action: str, rows: Sequence[str], text: str) -> Receipt:
        """Pin, unpin or forget notes."""
        return await asyncio.to_thread(self._act, action, rows)

    def _act(self, action: str, rows: Sequence[str]) -> Receipt:
        by = memories.by(self.bench)
        if action == "forget":
            told = memories.without(self.bench, rows[0], self._asked) if len(rows) == 1 else ""
            gone = [note.id for note in self.store.forget_all(rows, by)]
            if not gone:
                return Receipt(f"{_named(rows)} was forgotten before")
            words = " · ".join(part for part in (f"forgotten: {_named(gone)}", told) if part)
            return self._receipt(words, dict.fromkeys(gone, 0))
        done = {note.id: note.version for note in self.store.pin_all(rows, action == "pin", by)}
        words = "pinned: in every run from now on" if action == "pin" else "no longer pinned"
        if not done:
            return Receipt(f"{_named(rows)} as before")
        return self._receipt(f"{_named(list(done))} {words}", done)

    def _receipt(self, words: str, done: Mapping[str, int]) -> Receipt:
        """What was done, and the way back.

        Args:
            words: what was done.
            done: the version that each note has now; 0 where it is gone.
        """
        line = (f"%loom memory undo {next(iter(done))}",) if len(done) == 1 else ()

        async def back() -> Receipt:
            return await asyncio.to_thread(self._back, done)

        return Receipt(words, line, back)

    def _back(self, done: Mapping[str, int]) -> Receipt:
        self.store.undo_all(done, memories.by(self.bench))
        there = {note_id: _version(self.store, note_id) for note_id in done}
        return Receipt(f"taken back: {_named(list(done))} as before" if all(there.values()) else "taken back")


def _version(store: "NoteStore", note_id: str) -> int:
    try:
        return store.get(note_id).version
    except NoteNotFound:
        return 0


def _recall_title(one: Recall) -> str:
    run = one.run or "a run"
    return f"why it was recalled in {run}, {moment(one.moment)}, for “{one_line(one.query, 60)}”"


def _recall_meters(one: Recall, note: Note, weights: MemoryWeights) -> tuple[Meter, ...]:
    meters = meters_of(Hit(note, one.score, one.components, one.terms), weights)
    return meters or (Meter("pinned", 1.0, "shown in every run"),)


def _text_of(note: Note, column: str) -> str:
    """What a person edits of a note."""
    match column:
        case "text":
            return note.text
        case "category":
            return note.category
        case "tags":
            return ", ".join(note.tags)
        case "pinned":
            return "yes" if note.pinned else "no"
        case "importance":
            return f"{note.importance:g}"
    raise LoomUsageError(f"{column!r:.80} of a note is not edited")


def _named(rows: Sequence[str]) -> str:
    return ", ".join(rows) if len(rows) < 4 else counted(len(rows), "note")
