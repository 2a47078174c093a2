"""NoteStore: all notes of a person, in one SQLite file, for any number of processes.

Every change is one transaction: the note, the full-text index, and a version of it that is kept for good, so
that each change can be undone and the store can be looked at as it was. What a change costs does not depend
on how many notes there are. What faces build on, all of it synchronous and safe from any thread:

    page(query="", sort="score", offset=0, limit=50, viewer=EVERYTHING, category="") -> Page(rows, total)
    get(id) -> Note                             history(id) -> (NoteVersion, …), the oldest first
    add(text, *, category, tags, pinned, importance, scope, viewer, by) -> Added(note, how, similar)
    edit(id, field, value, by=PERSON) -> Note   change(id, by=PERSON, **fields) -> Note
    pin(id, on=True, by=PERSON) -> Note         pin_all(ids, on=True, by=PERSON) -> (Note, …)
    forget(id, by=PERSON) -> Note               forget_all(ids, by=PERSON) -> (Note, …)
    undo(id=None, by=PERSON) -> Undone          undo_all({id: version}, by=PERSON) -> (Note, …)
    undoable(id) -> NoteVersion or None         why(id, run=None, limit=20, session="") -> (Recall, …)
    as_of(seconds or run, query, sort, offset, limit, session="") -> Page
    choose(query, …) -> Chosen                  would_change(id, query, …) -> WouldChange
    last_change() -> int                        grows with each change: whether to look again

`Hit` is a note with `score`, `components` (words, vector, salience, recency) and `why()`; see `ranking`.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from loom_nb.capabilities.memory import listing, tables
from loom_nb.capabilities.memory.choosing import Chosen, WouldChange, chosen
from loom_nb.capabilities.memory.finding import Finder, Place, Query
from loom_nb.capabilities.memory.listing import Page, Recall
from loom_nb.capabilities.memory.notes import (
    EVERYTHING,
    MOST_TAGS,
    NOBODY,
    PERSON,
    Change,
    Note,
    NoteChanged,
    NoteNotFound,
    NoteVersion,
    Provenance,
    RunNotKnown,
    Scope,
    Viewer,
    Who,
    checked,
    id_of,
    place_of,
    undoable,
)
from loom_nb.capabilities.memory.ranking import Hit, MemoryWeights
from loom_nb.capabilities.memory.sameness import digest, extends, is_told
from loom_nb.database import Database
from loom_nb.errors import LoomUsageError
from loom_nb.retrieval.vectors import to_bytes

if TYPE_CHECKING:
    from sqlite3 import Connection

THRESHOLD = 0.3
"""What a note's words or meaning must reach so that it counts as relevant."""
TOKENS = 1_000
"""Of the notes at the beginning of a run."""
_NEAREST = 6
"""Notes that a new one is compared with."""
_BROWSED = 1_000
"""Notes that are ranked for a page of a search."""


class Added(msgspec.Struct, frozen=True):
    """What became of words that were to be remembered."""

    note: Note
    how: Literal["added", "updated", "known"]
    """updated: a note that said the same, or part of it. known: nothing was new."""
    similar: tuple[Note, ...] = ()
    """Notes that speak of nearly the same."""


class Undone(msgspec.Struct, frozen=True):
    """What was taken back."""

    change: Change
    notes: tuple[Note, ...]
    """As they are now; of an addition that was taken back, as they were."""


class NoteStore:
    """The notes of a person.

    Args:
        path: the file, made at first use for this user only.
        now: seconds since the epoch, UTC.
        weights: of the ranking.
        threshold: what counts as relevant, 0 to 1.
        clean: takes secrets out of all words before they are kept.
        kept: takes out of what a person writes, and of files, the secrets that somebody else knows. It may
            take a moment and raise: then nothing is written. What an agent writes has passed its gates.
        busy_seconds: how long to wait while another process writes.

    Every method raises `StoreError` where the file cannot be read or written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        now: Callable[[], float] = time.time,
        weights: MemoryWeights | None = None,
        threshold: float = THRESHOLD,
        clean: Callable[[str], str] = lambda text: text,
        kept: Callable[[str], str] = lambda text: text,
        busy_seconds: float = 10.0,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise LoomUsageError("threshold: a number from 0 to 1", fixes=[f"threshold={THRESHOLD}"])
        self.path = Path(path)
        self.weights = weights or MemoryWeights()
        self.threshold = threshold
        self._now = now
        self.clean = clean
        self._kept = kept
        self._database = Database(self.path, tables.SCHEMA, busy_seconds)
        self._finder = Finder()

    # -- notes -------------------------------------------------------------------------------------------

    def add(
        self, text: str, *, category: str = "", tags: Iterable[str] = (), pinned: bool = False,
        importance: float = 0.5, scope: Scope = "persistent", viewer: Viewer = NOBODY,
        by: Provenance = PERSON,
    ) -> Added:  # fmt: skip
        """Remember something, unless a note says it already: then that one is brought up to date.

        What an agent says beyond a note that a person wrote or pinned becomes a note of its own.

        Args:
            text: the words; what has the form of a secret, or is known as one, is taken out.
            category: one word that it belongs under.
            tags: more of them.
            pinned: shown in every run.
            importance: 0 to 1.
            scope: who sees it, and how fast it fades.
            viewer: for whom, where the scope is that of a session or a notebook.
            by: who says it.

        Raises:
            LoomUsageError: a value is none that its field takes.
            LoomError: it cannot be said whether it holds a secret.
        """
        given = {
            "text": text, "category": category, "tags": tags, "pinned": pinned, "importance": importance,
            "scope": scope,
        }  # fmt: skip
        fields = self._fields(given, by)
        fields["place"] = place_of(fields["scope"], viewer)
        with self.writing() as db:
            old, similar = self._alike(db, fields, viewer)
            theirs = old is not None and by.who == "agent" and (old.pinned or old.by.who != "agent")
            if old is None or (theirs and extends(text, old.text)):
                similar = similar if old is None else (old, *similar)
                return Added(self._put_new(db, fields, by), "added", similar)
            if theirs:  # an agent adds nothing to what a person wrote or pinned
                return Added(old, "known", similar)
            better = _merged(old, fields)
            if better.said == old.said:
                return Added(old, "known", similar)
            return Added(self._put(db, better, by)[0], "updated", similar)

    def get(self, note_id: str) -> Note:
        """The note of an id. Raises `NoteNotFound`."""
        with self._database.transaction() as db:
            return _found(db, note_id)

    def edit(
        self, note_id: str, field: str, value: Any, by: Provenance = PERSON, *, expected: int | None = None
    ) -> Note:
        """Change one field of a note. Raises as `change`."""
        return self.change(note_id, by, expected=expected, **{field: value})

    def change(
        self, note_id: str, by: Provenance = PERSON, viewer: Viewer = NOBODY, *,
        expected: int | None = None, **fields: Any,
    ) -> Note:  # fmt: skip
        """Change fields of a note: text, category, tags, pinned, importance, scope.

        Args:
            note_id: of the note.
            by: who does it.
            viewer: for whom, where the scope becomes that of a session or a notebook.
            expected: the version that the note must have; None: any.
            fields: by name, what they are to be.

        Raises:
            NoteNotFound: there is none of this id.
            NoteChanged: it has another version.
            LoomUsageError: there is no such field, or it does not take this value.
        """
        fields = self._fields(fields, by)
        with self.writing() as db:
            old = _found(db, note_id, expected)
            if fields.get("scope", old.scope) != old.scope:
                fields["place"] = place_of(fields["scope"], viewer)
            new = msgspec.structs.replace(old, **fields)
            return old if new.said == old.said else self._put(db, new, by)[0]

    def pin(self, note_id: str, on: bool = True, by: Provenance = PERSON) -> Note:
        """Show a note in every run, or no longer. Raises `NoteNotFound`."""
        return self.change(note_id, by, pinned=on)

    def pin_all(self, note_ids: Iterable[str], on: bool = True, by: Provenance = PERSON) -> tuple[Note, ...]:
        """Show notes in every run, or no longer: one change. Those of them that are there and were not so."""
        with self.writing() as db:
            batch, done = 0, []
            for old in (tables.read(db, note_id) for note_id in dict.fromkeys(note_ids)):
                if old is not None and old.pinned != on:
                    note, batch = self._put(db, msgspec.structs.replace(old, pinned=on), by, batch)
                    done.append(note)
            return tuple(done)

    def forget(self, note_id: str, by: Provenance = PERSON, *, expected: int | None = None) -> Note:
        """Let a note go; `undo` brings it back. Raises `NoteNotFound`, and `NoteChanged` as `change`."""
        with self.writing() as db:
            note = _found(db, note_id, expected)
            tables.remove(db, note_id)
            tables.version(db, note, "forgotten", self._now(), by)
            return note

    def forget_all(self, note_ids: Iterable[str], by: Provenance = PERSON) -> tuple[Note, ...]:
        """Let notes go: one change. Those of them that were there."""
        with self.writing() as db:
            notes = [tables.read(db, note_id) for note_id in dict.fromkeys(note_ids)]
            there, moment, batch = [note for note in notes if note is not None], self._now(), 0
            for note in there:
                tables.remove(db, note.id)
                batch = tables.version(db, note, "forgotten", moment, by, batch)
            return tuple(there)

    def undoable(self, note_id: str) -> NoteVersion | None:
        """What `undo` would take back of a note; None where there is nothing."""
        return undoable(self.history(note_id))

    def undo(
        self, note_id: str | None = None, by: Provenance = PERSON, *, only_by: Who | None = None,
        expected: int | None = None,
    ) -> Undone:  # fmt: skip
        """Take back the last change that is not taken back yet, of one note or of all.

        Where that is words of a file that lost against those of the note, they are what it says now.

        Args:
            note_id: of the note; None: whichever was changed last.
            by: who does it.
            only_by: who must have made that change; None: anybody.
            expected: the number of that change, as `undoable` gives it; None: any.

        Raises:
            LoomUsageError: there is none.
            NoteChanged: it was made by somebody else, or is another one.
        """
        with self.writing() as db:
            return self._undo(db, note_id, by, only_by, expected)

    def undo_all(self, versions: Mapping[str, int], by: Provenance = PERSON) -> tuple[Note, ...]:
        """Take back the last change of each of some notes, of all or of none.

        Args:
            versions: of the notes by id, as they must be; 0: it is gone.
            by: who does it.

        Raises:
            NoteChanged: one of them has another version.
            LoomUsageError: there is nothing to undo of one of them.
        """
        with self.writing() as db:
            for note_id, version in versions.items():
                note = tables.read(db, note_id)
                if (note.version if note is not None else 0) != version:
                    raise NoteChanged(
                        f"{note_id} was changed otherwise since", fixes=[f"%loom memory why {note_id}"]
                    )
            undone = [self._undo(db, note_id, by) for note_id in versions]
            return tuple(note for one in undone for note in one.notes)

    def history(self, note_id: str) -> tuple[NoteVersion, ...]:
        """All versions of a note, the oldest first, those of a forgotten one, too."""
        find = f"SELECT {tables.VERSION} FROM versions WHERE note = ? ORDER BY seq"  # noqa: S608
        with self._database.transaction() as db:
            rows = map(tables.version_of, db.execute(find, (note_id,)).fetchall())
            return tuple(row for row in rows if row is not None)

    def last_change(self) -> int:
        """A number that grows with each change of any note, by whatever process."""
        with self._database.transaction() as db:
            return int(db.execute("SELECT coalesce(max(seq), 0) FROM versions").fetchone()[0])

    # -- looking -----------------------------------------------------------------------------------------

    def search(
        self,
        query: str | Query,
        *,
        viewer: Viewer = EVERYTHING,
        limit: int = 8,
        threshold: float | None = None,
    ) -> tuple[Hit, ...]:
        """The notes that are relevant, best first; none where nothing is.

        Args:
            query: any text at all; a `Query` where there is a vector of it.
            viewer: who looks.
            limit: how many at most.
            threshold: in place of that of the store.
        """
        least = self.threshold if threshold is None else threshold
        with self._database.transaction() as db:
            hits = self._finder.hits(db, _query(query), self._place(viewer))
        return tuple([hit for hit in hits if hit.relevance >= least and hit.relevance > 0][:limit])

    def page(
        self, query: str = "", sort: str = "score", offset: int = 0, limit: int = 50,
        viewer: Viewer = EVERYTHING, category: str = "",
    ) -> Page:  # fmt: skip
        """Some rows of all notes, or of those that have a word of the query: a thousand at most, best first.

        Args:
            query: any text, also one that is being typed; an empty one lists all, the latest change first.
            sort: one of `listing.SORTS`; with "-" before it the largest first.
            offset: rows before the first.
            limit: rows at most.
            viewer: who looks.
            category: only notes of this one.

        Raises:
            LoomUsageError: there is no such sort.
        """
        offset, limit = max(0, offset), max(0, limit)
        with self._database.transaction() as db:
            if not query.strip():
                return listing.listed(db, viewer, sort, offset, limit, category)
            listing.order_of(sort)
            hits = self._finder.hits(db, Query(query), self._place(viewer), _BROWSED, typing=True)
        found = listing.ordered(
            [hit for hit in hits if hit.relevance > 0 and category in ("", hit.note.category)], sort
        )
        return Page(tuple(found[offset : offset + limit]), len(found))

    def as_of(
        self, when: float | str, query: str = "", sort: str = "-updated", offset: int = 0, limit: int = 50,
        viewer: Viewer = EVERYTHING, session: str = "",
    ) -> Page:  # fmt: skip
        """`page` of the notes as they were at a moment, or when a run began.

        Args:
            when: seconds since the epoch, or the id of a run that looked into this memory or changed it.
            query: as for `page`, and so are the others.
            sort: as there.
            offset: rows before the first.
            limit: rows at most.
            viewer: who looks.
            session: of the run; the latest run of that id where it is empty.

        Raises:
            RunNotKnown: nothing is known of this run.
            LoomUsageError: there is no such sort.
        """
        offset, limit = max(0, offset), max(0, limit)
        with self._database.transaction() as db:
            seq, moment = _moment(db, when, session)
            notes = [note for note in listing.as_it_was(db, seq) if viewer.sees(note)]
        words = query.strip()
        hits = listing.among(notes, words, moment, self.weights) if words else [Hit(note) for note in notes]
        found = listing.ordered(hits, sort)
        return Page(tuple(found[offset : offset + limit]), len(found))

    def why(
        self, note_id: str, run: str | None = None, limit: int = 20, session: str = ""
    ) -> tuple[Recall, ...]:
        """When, in which run and why a note was shown to a model, the latest first.

        Args:
            note_id: of a note, or of one that was forgotten.
            run: only in this one.
            limit: how many at most.
            session: only in this one; runs of other sessions have the same ids.
        """
        with self._database.transaction() as db:
            return listing.recalls(db, note_id, run, limit, session)

    # -- what a run is shown -----------------------------------------------------------------------------

    def choose(
        self, query: str | Query, *, viewer: Viewer = EVERYTHING, tokens: int = TOKENS,
        threshold: float | None = None, seen: Collection[str] = (), without: str = "",
    ) -> Chosen:  # fmt: skip
        """What a run that begins with these words is shown. Changes nothing; see `used`.

        Args:
            query: what the run is about.
            viewer: whose run it is.
            tokens: the budget.
            threshold: in place of that of the store.
            seen: names of parts that the conversation has already.
            without: the id of a note that is left out, as if it was forgotten.
        """
        hits = self.search(query, viewer=viewer, limit=40, threshold=threshold)
        where, values = tables.seen_by(viewer)
        find = f"""SELECT {tables.NOTE} FROM notes n WHERE n.pinned AND {where}
            ORDER BY n.importance DESC, n.created, n.id LIMIT 200"""  # noqa: S608
        with self._database.transaction() as db:
            notes = [tables.note_of(row) for row in db.execute(find, values)]
        pinned = [note for note in notes if note is not None and note.id != without]
        return chosen(pinned, [hit for hit in hits if hit.note.id != without], tokens, seen)

    def would_change(
        self, note_id: str, query: str | Query = "", *, viewer: Viewer = EVERYTHING, tokens: int = TOKENS,
        threshold: float | None = None, seen: Collection[str] = (),
    ) -> WouldChange:  # fmt: skip
        """What the next request would be shown if a note was forgotten; as for `choose`."""
        now = self.choose(query, viewer=viewer, tokens=tokens, threshold=threshold, seen=seen)
        then = self.choose(
            query, viewer=viewer, tokens=tokens, threshold=threshold, seen=seen, without=note_id
        )
        return WouldChange(note_id, note_id in now.ids, now.ids, then.ids, then.tokens - now.tokens)

    def used(
        self, hits: Sequence[Hit], *, how: str, query: str, by: Provenance, begins: bool = False
    ) -> None:
        """Write down that notes were shown to a model, and why.

        Args:
            hits: what was shown.
            how: "enrichment" or "search".
            query: what was looked for.
            by: the run.
            begins: this is the beginning of the run, by which `as_of` finds it.
        """
        if not hits and not begins:
            return
        moment, short = self._now(), self.clean(query)[:400]
        with self.writing() as db:
            if begins and by.run:
                db.execute(
                    """INSERT OR IGNORE INTO runs
                    SELECT ?, ?, ?, coalesce(max(seq), 0) FROM versions""", (by.session, by.run, moment),
                )  # fmt: skip
            for hit in hits:
                note = hit.note
                db.execute("UPDATE notes SET uses = uses + 1, used = ? WHERE id = ?", (moment, note.id))
                db.execute(
                    """INSERT INTO recalls (moment, session, run, note, version, how, query, score,
                    components, terms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                    (
                        moment, by.session, by.run, note.id, note.version, how, short, hit.score,
                        msgspec.json.encode(hit.components), " ".join(hit.terms),
                    ),
                )  # fmt: skip

    # -- vectors -----------------------------------------------------------------------------------------

    def without_vectors(self, model: str, limit: int = 64) -> list[tuple[int, str]]:
        """Notes that have no vectors of a model, by number, with their words; the latest first."""
        find = f"""SELECT {tables.NOTE}, n.number FROM notes n WHERE NOT EXISTS (
            SELECT 1 FROM vectors v WHERE v.note = n.number AND v.model = ?) ORDER BY n.number DESC LIMIT ?"""  # noqa: S608
        with self._database.transaction() as db:
            rows = db.execute(find, (tables.vector_key(model), limit)).fetchall()
        notes = ((row[3], tables.note_of(row)) for row in rows)
        return [(number, tables.searched(note)) for number, note in notes if note is not None]

    def keep_vectors(self, model: str, vectors: Mapping[int, Sequence[Any]]) -> None:
        """Keep what `without_vectors` asked for, unless a note was changed meanwhile: its number is gone."""
        key = tables.vector_key(model)
        with self.writing() as db:
            for number, rows in vectors.items():
                if db.execute("SELECT 1 FROM notes WHERE number = ?", (number,)).fetchone():
                    db.execute("DELETE FROM vectors WHERE note = ? AND model = ?", (number, key))
                    db.executemany(
                        "INSERT INTO vectors (note, model, vector) VALUES (?, ?, ?)",
                        [(number, key, to_bytes(row)) for row in rows],
                    )

    def forget_vectors(self, model: str, dimension: int) -> None:
        """Let vectors of a model go that have another dimension, so that their notes count as without any.

        Where there are none, it waits for nobody who writes.
        """
        key, size = tables.vector_key(model), 4 * dimension
        ends = """SELECT 1 WHERE EXISTS (SELECT 1 FROM (SELECT vector FROM vectors WHERE model = :key
            ORDER BY seq LIMIT 1) WHERE length(vector) <> :size) OR EXISTS (SELECT 1 FROM (SELECT vector FROM
            vectors WHERE model = :key ORDER BY seq DESC LIMIT 1) WHERE length(vector) <> :size)"""
        with self._database.transaction() as db:
            is_mixed = db.execute(ends, {"key": key, "size": size}).fetchone() is not None
        if is_mixed:
            with self.writing() as db:
                db.execute("DELETE FROM vectors WHERE model = ? AND length(vector) <> ?", (key, size))

    def check(self) -> list[str]:
        """What does not agree in the store, in words; nothing where it is sound. Reads all of it."""
        with self._database.transaction() as db:
            return tables.disagreements(db)

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        self._database.close()

    def __repr__(self) -> str:
        return f"NoteStore({str(self.path)!r})"

    # -- inside ------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> "Iterator[Connection]":
        """One change of the store, all of it or nothing; for what is kept beside the notes, such as files."""
        with self._database.transaction("IMMEDIATE") as db:
            yield db

    def _place(self, viewer: Viewer) -> Place:
        return Place(viewer, self._now(), self.weights)

    def without_secrets(self, text: str) -> str:
        """Words of a person or a file as they may be kept. Raises LoomError where that cannot be said."""
        return self._kept(self.clean(text))

    def _fields(self, given: dict[str, Any], by: Provenance) -> dict[str, Any]:
        """Checked values without secrets."""
        clean = self.clean if by.who == "agent" else self.without_secrets
        fields = {name: checked(name, value) for name, value in given.items()}
        for name in ("text", "category"):
            if name in fields:
                fields[name] = checked(name, clean(fields[name]))
        if "tags" in fields:
            fields["tags"] = checked("tags", [clean(tag) for tag in fields["tags"]])
        return fields

    def _alike(
        self, db: "Connection", fields: dict[str, Any], viewer: Viewer
    ) -> tuple[Note | None, tuple[Note, ...]]:
        """The note that says the same, if there is one, and those that speak of nearly the same."""
        text, scope, place = fields["text"], fields["scope"], fields["place"]
        find = f"SELECT {tables.NOTE} FROM notes n WHERE digest = ?"  # noqa: S608
        row = db.execute(find, (digest(text, scope, place),)).fetchone()
        same = tables.note_of(row) if row else None
        if same is not None:
            return same, ()
        here = Place(viewer, self._now(), self.weights)
        hits = self._finder.hits(db, Query(text), here, _NEAREST)[:_NEAREST]
        near = [hit.note for hit in hits if hit.relevance >= self.threshold]
        alike = [note for note in near if (note.scope, note.place) == (scope, place)]
        for note in alike:
            if is_told(text, [note.text]) or extends(text, note.text):
                return note, tuple(one for one in near if one is not note)
        if len(alike) > 1 and is_told(text, [note.text for note in alike]):
            return alike[0], tuple(alike[1:])
        return None, tuple(near[:3])

    def _put_new(self, db: "Connection", fields: dict[str, Any], by: Provenance) -> Note:
        salt = 0
        while db.execute(
            "SELECT 1 FROM notes WHERE id = ?", (note_id := id_of(fields["text"], salt),)
        ).fetchone():
            salt += 1
        moment = self._now()
        last = db.execute(tables.LATEST, (note_id,)).fetchone()
        before = tables.decoded(last[0]) if last else None  # it was forgotten, and is remembered again
        number = before.version + 1 if before else 1
        note = Note(id=note_id, by=by, created=moment, updated=moment, version=number, **fields)
        tables.write(db, note)
        tables.version(db, note, "added", moment, by)
        return note

    def _put(self, db: "Connection", note: Note, by: Provenance, batch: int = 0) -> tuple[Note, int]:
        """Another version of a note; gives it, and its batch."""
        moment = self._now()
        note = msgspec.structs.replace(note, updated=moment, version=note.version + 1, by=by)
        tables.write(db, note)
        return note, tables.version(db, note, "edited", moment, by, batch)

    def _undo(
        self, db: "Connection", note_id: str | None, by: Provenance, only_by: Who | None = None,
        expected: int | None = None,
    ) -> Undone:  # fmt: skip
        where, values = ("AND note = ?", (note_id,)) if note_id is not None else ("", ())
        find = (
            f"SELECT {tables.VERSION}, batch FROM versions WHERE NOT undone {where} ORDER BY seq DESC LIMIT 1"  # noqa: S608
        )
        last = db.execute(find, values).fetchone()
        of = f" of {note_id}" if note_id else ""
        if last is None:
            raise LoomUsageError(f"there is nothing to undo{of}")
        seq, change, batch = last[0], last[1], last[-1]
        if expected not in (None, seq):
            raise NoteChanged(f"the last change{of} is another one by now")
        if only_by is not None:
            version = tables.version_of(last[:-1])
            if version is None or version.by.who != only_by:
                raise NoteChanged(f"the last change{of} was made by somebody else")
        rows = db.execute(
            f"SELECT note, min(seq) FROM versions WHERE batch = ? {where} GROUP BY note",  # noqa: S608
            (batch, *values),
        ).fetchall()
        db.execute(f"UPDATE versions SET undone = 1 WHERE batch = ? {where}", (batch, *values))  # noqa: S608
        batch, notes = 0, []
        for one, first in rows:
            note, batch = self._back(db, one, first, batch, by, lost=change == "conflict")
            notes += [note] if note else []
        return Undone(change, tuple(notes))

    def _back(
        self, db: "Connection", note_id: str, before: int, batch: int, by: Provenance, *, lost: bool = False
    ) -> tuple[Note | None, int]:
        """Make a note what it was before a change, or what lost in it; gives it, and its batch."""
        which = "seq = ?" if lost else "seq < ? AND change <> 'conflict'"
        row = db.execute(
            f"SELECT {tables.VERSION} FROM versions WHERE note = ? AND {which} ORDER BY seq DESC LIMIT 1",  # noqa: S608
            (note_id, before),
        ).fetchone()
        was = tables.version_of(row) if row else None
        now, moment = tables.read(db, note_id), self._now()
        if was is None or was.change == "forgotten":
            if now is None:
                return None, batch
            tables.remove(db, note_id)
            return now, tables.version(db, now, "forgotten", moment, by, batch, undone=True)
        newest = db.execute(tables.LATEST, (note_id,)).fetchone()
        last = tables.decoded(newest[0])
        number = max(was.note.version, last.version if last else 0) + 1
        uses = now or was.note
        note = msgspec.structs.replace(
            was.note, version=number, uses=max(uses.uses, was.note.uses), used=max(uses.used, was.note.used)
        )
        tables.write(db, note)
        change: Change = "edited" if now else "added"
        return note, tables.version(db, note, change, moment, by, batch, undone=True)


def _found(db: "Connection", note_id: str, expected: int | None = None) -> Note:
    note = tables.read(db, note_id) if isinstance(note_id, str) else None
    if note is None:
        raise NoteNotFound(f"there is no note {note_id!r:.80}", fixes=["%loom memory"])
    if expected not in (None, note.version):
        raise NoteChanged(f"the note {note_id} was changed meanwhile, by {note.by}")
    return note


def _query(query: str | Query) -> Query:
    return query if isinstance(query, Query) else Query(query)


def _merged(old: Note, fields: dict[str, Any]) -> Note:
    """A note with what was said anew: nothing that it has is lost."""
    text = fields["text"] if extends(fields["text"], old.text) else old.text
    return msgspec.structs.replace(
        old,
        text=text,
        category=old.category or fields["category"],
        tags=checked("tags", tuple(dict.fromkeys((*old.tags, *fields["tags"])))[:MOST_TAGS]),
        pinned=old.pinned or fields["pinned"],
        importance=max(old.importance, fields["importance"]),
    )


def _moment(db: "Connection", when: float | str, session: str) -> tuple[int, float]:
    """The number of the last change before a moment, or before a run began, and that moment."""
    if not isinstance(when, str):
        row = db.execute("SELECT coalesce(max(seq), 0) FROM versions WHERE moment <= ?", (when,)).fetchone()
        return int(row[0]), float(when)
    row = db.execute(
        """SELECT seq, moment FROM runs WHERE run = ? AND (? = '' OR session = ?)
        ORDER BY moment DESC LIMIT 1""", (when, session, session),
    ).fetchone()  # fmt: skip
    if row is None:
        row = _first_change(db, when, session)
    if row is None:
        raise RunNotKnown(
            f"the memory knows nothing of a run {when!r:.80}",
            fixes=["%loom runs", "as_of(seconds since 1970)"],
        )
    return int(row[0]), float(row[1])


def _first_change(db: "Connection", run: str, session: str) -> tuple[int, float] | None:
    """The same of a run that was shown nothing, by the first note that it changed."""
    find = f"SELECT {tables.VERSION} FROM versions WHERE run = ? ORDER BY seq"  # noqa: S608  our own words
    changes = map(tables.version_of, db.execute(find, (run,)))
    first = next((one for one in changes if one is not None and session in ("", one.by.session)), None)
    return (first.seq - 1, first.moment) if first is not None else None
