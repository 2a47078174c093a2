"""Brings a base of knowledge to what its sources hold now: incremental, resumed where it was left, atomic.

A pass reads what has changed and keeps it beside what is served, in small transactions; at its end one
transaction makes the new state the served one. Until then, and whatever happens, the old one is served.
What a pass that broke off had read and embedded is there for the next one.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from loom_nb.border import clean
from loom_nb.capabilities.knowledge import graph_forgetting
from loom_nb.capabilities.knowledge.chunking import Chunk, chunked
from loom_nb.capabilities.knowledge.documents import Document
from loom_nb.capabilities.knowledge.found import Found, Listing, Raw
from loom_nb.capabilities.knowledge.rows import IndexProgress, IndexReport
from loom_nb.capabilities.knowledge.sources import KnowledgeSource
from loom_nb.capabilities.knowledge.tables import marks, portions
from loom_nb.capabilities.unbroken import unbroken
from loom_nb.database import Database
from loom_nb.errors import LoomError, SetupError, StoreError, Unreadable
from loom_nb.retrieval.analysis import index_text
from loom_nb.wording import one_line

if TYPE_CHECKING:
    from sqlite3 import Connection

    from loom_nb.capabilities.knowledge.meaning import Meaning

FORM = "2"
"""Of converters and chunks: when they change, documents are read again."""
BATCH = 16
"""Documents that are read before they are kept."""
ABANDONED_SECONDS = 7 * 86_400.0
"""After which what a pass that broke off had read is thrown away."""
PASSES = 3
"""How often a pass is begun again because another process finished one meanwhile."""


@dataclass(frozen=True, slots=True)
class Form:
    """How documents are cut."""

    size: int
    overlap: int

    def __str__(self) -> str:
        return f"{FORM}-{self.size}-{self.overlap}"


@dataclass(frozen=True, slots=True)
class _Known:
    """A document as it is served."""

    id: int
    stamp: str
    sha256: str
    form: str
    error: str
    indexed: float


@dataclass(frozen=True, slots=True)
class _Read:
    """A document as it was read."""

    source: str
    found: Found
    sha256: str = ""
    """Of its bytes; empty where it could not be read."""
    document: Document | None = None
    chunks: tuple[Chunk, ...] = ()
    url: str = ""
    error: str = ""
    lasts: bool = False
    """Whether what it holds was the reason, so that it need not be read again as long as it is the same."""


@dataclass(slots=True)
class _Plan:
    """What the next state is made of."""

    stays: dict[int, str] = field(default_factory=dict)
    """Documents that are served, or were read before, with their stamps."""
    errors: dict[int, str] = field(default_factory=dict)
    """Of those, why their newest state could not be read."""
    asked: dict[str, float] = field(default_factory=dict)
    """When each source of pages was asked last, by its name."""
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def keep(self, source: str, key: str, one: _Known) -> None:
        """A document stays as it is served, with what was wrong with it."""
        self.stays[one.id] = one.stamp
        if one.error:
            self.errors[one.id] = self.failed[f"{source}: {key}"] = one.error
        else:
            self.unchanged += 1

    def is_served(self, known: Iterable[_Known], asked: dict[str, float]) -> bool:
        """Whether the next state is the one that is there: there is nothing to write."""
        there = {one.id: (one.stamp, one.error) for one in known}
        return self.asked == asked and there == {
            number: (stamp, self.errors.get(number, "")) for number, stamp in self.stays.items()
        }


class OvertakenError(StoreError):
    """Another process finished a pass meanwhile; the pass is begun again."""


_OVERTAKEN = "{} was indexed by another process meanwhile"


@dataclass(slots=True)
class Pass:
    """One pass over the sources.

    Args:
        database: of the base.
        sources: what is indexed; documents of any other source go.
        form: how documents are cut.
        meaning: gives chunks their vectors.
        now: seconds since the epoch.
        monotonic: seconds that never run backwards.
        again: whether a source is to be asked again; one that is not stays as it is served.
        hide: puts stars over secrets before anything is kept, or sent to who embeds.
        everything: whether files are read also where they look as before, and what could not be read is
            tried again; else a pass is a look, and writes nothing where nothing has changed.
    """

    database: Database
    sources: Sequence[KnowledgeSource]
    form: Form
    meaning: "Meaning"
    now: Callable[[], float]
    monotonic: Callable[[], float]
    again: Callable[[KnowledgeSource, float | None], bool]
    hide: Callable[[str], str]
    everything: bool = True
    report: IndexReport | None = None
    _chunks: int = 0
    _asked: dict[str, float] = field(default_factory=dict)
    _had_end: bool = False
    """Whether a pass over this base ever came to its end."""

    async def progress(self) -> AsyncIterator[IndexProgress]:
        """Carry it out, telling how far it is. `report` is there at the end.

        Raises:
            StoreError: the database cannot be used.
            LoomError: the embedder fails; what was embedded is kept.
        """
        started = self.monotonic()
        yield IndexProgress("looking")
        known = await asyncio.to_thread(self._served)
        plan, to_read = await self._planned(known)
        total = len(plan.stays) + len(to_read)
        yield IndexProgress("reading", len(plan.stays), total)
        async for step in self._reading(plan, to_read, known, total):
            yield step
        notes = plan.notes
        is_same = not self.everything and self._had_end and plan.is_served(known.values(), self._asked)
        served = await asyncio.to_thread(self._as_served) if is_same else None
        embedded = 0
        if served is None:
            began = self.monotonic()
            yield IndexProgress("embedding", total, total)
            async for done, of in self.meaning.embedding(tuple(plan.stays), notes):
                left = _left(self.monotonic() - began, done, of) if done else None
                embedded = done
                yield IndexProgress("embedding", total, total, done, of, left)
            yield IndexProgress("finishing", total, total, self._chunks)
            if is_same and not self.meaning.changed:
                served = await asyncio.to_thread(self._counted)
            else:
                served = await unbroken(self._serve, plan)
        documents, chunks, removed = served
        self.report = IndexReport(
            documents, chunks, plan.added, plan.changed, plan.unchanged, removed, embedded, plan.failed,
            self.monotonic() - started, tuple(notes),
        )  # fmt: skip
        yield IndexProgress("done", total, total, chunks)

    # --- what there is to do

    def _served(self) -> dict[tuple[str, str], _Known]:
        with self.database.transaction() as db:
            rows = db.execute(
                "SELECT source, key, id, stamp, sha256, form, error, indexed FROM documents WHERE served = 1"
            ).fetchall()
            asked = db.execute("SELECT value FROM meta WHERE key = 'asked'").fetchone()
            self._had_end = db.execute("SELECT 1 FROM meta WHERE key = 'indexed'").fetchone() is not None
        self._asked = json.loads(asked[0]) if asked is not None else {}
        return {(source, key): _Known(*rest) for source, key, *rest in rows}

    async def _planned(
        self, known: dict[tuple[str, str], _Known]
    ) -> tuple[_Plan, list[tuple[KnowledgeSource, Found]]]:
        plan = _Plan()
        to_read: list[tuple[KnowledgeSource, Found]] = []
        for source in self.sources:
            mine = {key: one for (name, key), one in known.items() if name == source.name}
            last = self._asked.get(source.name, max((one.indexed for one in mine.values()), default=None))
            if mine and not self.again(source, last):
                self._keep_all(plan, source.name, mine)
                if source.name in self._asked:
                    plan.asked[source.name] = self._asked[source.name]
                continue
            if source.kind == "urls":
                plan.asked[source.name] = self.now()
            try:
                listing = await asyncio.to_thread(source.listing)
            except Exception as error:  # noqa: BLE001  the border: it is somebody else's function or table
                plan.failed[source.name] = self.hide(_why(error))
                self._keep_all(plan, source.name, mine)  # a disk that is not there now is no reason to forget
                continue
            self._keep_closed(plan, source.name, listing, mine)
            plan.notes += [f"{source.name}: {self._told(note)}" for note in listing.notes]
            for one in self._named(listing.found):
                before = mine.get(one.key)
                if before is not None and self._is_as_before(source, one, before):
                    plan.keep(source.name, one.key, before)
                else:
                    to_read.append((source, one))
        return plan, to_read

    def _told(self, text: str) -> str:
        """A name, an address or a reason as it may be kept and told."""
        return self.hide(clean(text))

    def _named(self, found: Iterable[Found]) -> Iterator[Found]:
        """The same by names that may be kept; each name once."""
        exact: set[str] = set()
        names: set[str] = set()
        for one in found:
            if one.key in exact:
                continue
            exact.add(one.key)
            plain = key = self._told(one.key)
            number = 2
            while key in names:  # two that differ in what is hidden
                key, number = f"{plain} {number}", number + 1
            names.add(key)
            yield one if key == one.key else replace(one, key=key)

    def _keep_closed(self, plan: _Plan, source: str, listing: Listing, mine: dict[str, _Known]) -> None:
        """Where nobody could look, nothing has gone."""
        for where, why in listing.closed.items():
            plan.failed[f"{source}: {self._told(where)}"] = self._told(why)
            beginning = self._told(where)
            below = {key: one for key, one in mine.items() if key.startswith(beginning)}
            self._keep_all(plan, source, below)

    def _is_as_before(self, source: KnowledgeSource, one: Found, before: _Known) -> bool:
        """Whether a document need not be read: a look takes its stamp for it."""
        if not one.stamp or (before.stamp, before.form) != (one.stamp, str(self.form)):
            return False
        return not self.everything or (source.kind not in ("folder", "files") and not before.error)

    @staticmethod
    def _keep_all(plan: _Plan, source: str, mine: dict[str, _Known]) -> None:
        for key, one in mine.items():
            plan.keep(source, key, one)

    # --- reading

    async def _reading(
        self,
        plan: _Plan,
        to_read: Sequence[tuple[KnowledgeSource, Found]],
        known: dict[tuple[str, str], _Known],
        total: int,
    ) -> AsyncIterator[IndexProgress]:
        began, before = self.monotonic(), len(plan.stays)
        for first in range(0, len(to_read), BATCH):
            batch = to_read[first : first + BATCH]
            fetched = await asyncio.gather(
                *(self._fetched(source, found) for source, found in batch if source.kind == "urls")
            )
            pages = {one[0]: one[1] for one in fetched}
            read = await asyncio.to_thread(self._read_all, batch, pages)
            await unbroken(self._stage_all, plan, read, known)
            done = first + len(batch)
            left = _left(self.monotonic() - began, done, len(to_read))
            name = batch[-1][1].key
            yield IndexProgress("reading", before + done, total, self._chunks, 0, left, name)

    async def _fetched(
        self, source: KnowledgeSource, found: Found
    ) -> tuple[tuple[str, str], Raw | LoomError]:
        try:
            return (source.name, found.key), await source.fetched(found)
        except Exception as error:  # noqa: BLE001  the border: an address is any text at all
            return (source.name, found.key), Unreadable(_why(error))

    def _read_all(
        self,
        batch: Sequence[tuple[KnowledgeSource, Found]],
        pages: dict[tuple[str, str], Raw | LoomError],
    ) -> list[_Read]:
        return [
            self._read(source.name, found, pages.get((source.name, found.key))) for source, found in batch
        ]

    def _stage_all(self, plan: _Plan, read: Sequence[_Read], known: dict[tuple[str, str], _Known]) -> None:
        """Keep what was read, unserved."""
        is_new = any(one.document is not None or one.error for one in read)
        with self.database.transaction("IMMEDIATE" if is_new else "DEFERRED") as db:
            for one in read:
                self._stage(db, plan, one, known.get((one.source, one.found.key)))

    def _read(self, source: str, found: Found, page: Raw | LoomError | None) -> _Read:
        lasts = False
        try:
            raw = _raw(found, page)
            if self._is_there(source, found.key, raw.sha256):
                return _Read(source, found, raw.sha256)
            lasts = True
            document = raw.document().hidden(self.hide)
            chunks = chunked(document, f"{source}\0{found.key}", self.form.size, self.form.overlap)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001  the border: a document comes from outside
            lasts = lasts and not isinstance(error, SetupError)  # a library can be installed
            return _Read(source, found, error=self.hide(_why(error)), lasts=lasts)
        return _Read(source, found, raw.sha256, document, tuple(chunks), raw.url or found.url)

    def _is_there(self, source: str, key: str, sha256: str) -> bool:
        with self.database.transaction() as db:
            return _state(db, source, key, sha256, str(self.form)) is not None

    def _stage(self, db: "Connection", plan: _Plan, read: _Read, before: _Known | None) -> None:
        """Keep a document as it was read, beside what is served."""
        label = f"{read.source}: {read.found.key}"
        if read.error:
            plan.failed[label] = read.error
            if before is not None and before.sha256:
                plan.stays[before.id] = read.found.stamp if read.lasts else ""
                plan.errors[before.id] = read.error
                return
        there = _state(db, read.source, read.found.key, read.sha256, str(self.form))
        if there is None and read.document is None and not read.error:
            raise OvertakenError(_OVERTAKEN.format(self.database.path))  # it was there a moment ago
        if there is None:
            there = self._kept(db, read)
            self._chunks += len(read.chunks)
        plan.stays[there] = "" if read.error and not read.lasts else read.found.stamp
        if read.error:
            plan.errors[there] = read.error
        elif before is None:
            plan.added += 1
        elif before.id == there:
            plan.unchanged += 1
        else:
            plan.changed += 1

    def _kept(self, db: "Connection", read: _Read) -> int:
        found, document = read.found, read.document
        title = document.title if document is not None else found.key.rpartition("/")[2]
        kind = document.kind if document is not None else ""
        cursor = db.execute(
            """INSERT INTO documents (source, key, sha256, form, stamp, title, kind, url, path, chunks,
            tokens, error, indexed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                read.source, found.key, read.sha256, str(self.form), found.stamp, title, kind,
                self._told(read.url), self._told(found.path), len(read.chunks),
                sum(one.tokens for one in read.chunks), read.error, self.now(),
            ),
        )  # fmt: skip
        number = int(cursor.lastrowid or 0)
        db.executemany(
            """INSERT INTO chunks (id, document, ordinal, start, end, text, before, after, headings, location,
            tokens, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            [
                (
                    one.id, number, one.ordinal, one.start, one.end, one.text, one.before, one.after,
                    json.dumps(one.headings, ensure_ascii=False), one.location, one.tokens,
                    hash_of(title, one.headings, one.text),
                )
                for one in read.chunks
            ],
        )  # fmt: skip
        return number

    # --- serving

    def _serve(self, plan: _Plan) -> tuple[int, int, int]:
        """Make the new state the served one: documents, chunks, and how many documents have gone."""
        with self.database.transaction("IMMEDIATE") as db:
            served = {row[0] for row in db.execute("SELECT id FROM documents WHERE served = 1")}
            wanted = set(plan.stays)
            there = {row[0] for row in db.execute("SELECT id FROM documents")}
            if not wanted <= there:
                raise OvertakenError(_OVERTAKEN.format(self.database.path))
            gone, new = served - wanted, wanted - served
            replaced = _keys(db, gone) & _keys(db, wanted)
            _forget(db, gone)
            _index(db, sorted(new))
            self._note(db, plan)
            abandoned = db.execute(
                "SELECT id FROM documents WHERE served = 0 AND indexed < ?", (self.now() - ABANDONED_SECONDS,)
            )
            _forget(db, {row[0] for row in abandoned})
            if gone or new or self.meaning.changed:
                count_up(db)
            self.meaning.serve(db)
            counts = _counts(db)
        return *counts, len(gone) - len(replaced)

    def _as_served(self) -> tuple[int, int, int] | None:
        """What `_serve` gives, where all is served with its vectors; else None."""
        with self.database.transaction() as db:
            return (*_counts(db), 0) if self.meaning.is_served(db) else None

    def _counted(self) -> tuple[int, int, int]:
        """What `_serve` gives, where it has nothing to write."""
        with self.database.transaction() as db:
            return *_counts(db), 0

    def _note(self, db: "Connection", plan: _Plan) -> None:
        rows = [(stamp, plan.errors.get(number, ""), number) for number, stamp in plan.stays.items()]
        db.executemany(
            "UPDATE documents SET stamp = ?, error = ?, served = 1 WHERE id = ?"
            " AND (stamp, error, served) IS NOT (?1, ?2, 1)",
            rows,
        )
        db.execute("INSERT OR REPLACE INTO meta VALUES ('indexed', ?)", (repr(self.now()),))
        db.execute("INSERT OR REPLACE INTO meta VALUES ('asked', ?)", (json.dumps(plan.asked),))


def _why(error: Exception) -> str:
    """What went wrong with a source or a document, in one line."""
    if isinstance(error, LoomError):
        return clean(error.title)
    return clean(f"{type(error).__name__}: {one_line(str(error), 300)}".removesuffix(": "))


def _raw(found: Found, page: Raw | LoomError | None) -> Raw:
    if isinstance(page, LoomError):
        raise page
    if page is not None:
        return page
    if found.read is None:
        raise Unreadable("it was not fetched")
    return found.read()


def hash_of(title: str, headings: Sequence[str], text: str) -> bytes:
    """Of what a chunk says, for its vector and to notice damage."""
    return hashlib.sha256(said(title, headings, text).encode("utf-8", "surrogatepass")).digest()[:16]


def said(title: str, headings: Sequence[str], text: str) -> str:
    """What is embedded of a chunk: where it stands, and its words."""
    above = " > ".join(one for one in (title, *headings) if one)
    return f"{above}\n{text}" if above else text


def _state(db: "Connection", source: str, key: str, sha256: str, form: str) -> int | None:
    row = db.execute(
        "SELECT id FROM documents WHERE source = ? AND key = ? AND sha256 = ? AND form = ?",
        (source, key, sha256, form),
    ).fetchone()
    return None if row is None else int(row[0])


def _keys(db: "Connection", numbers: set[int]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for some in portions(sorted(numbers)):
        found.update(db.execute(f"SELECT source, key FROM documents WHERE id IN ({marks(some)})", some))  # noqa: S608  marks only
    return found


def _forget(db: "Connection", numbers: set[int]) -> None:
    """Documents, their chunks, and vectors and what a model read there, where no other chunk has it."""
    readers = _readers(db) if numbers else []
    for some in portions(sorted(numbers)):
        places = marks(some)
        db.execute(
            f"DELETE FROM words WHERE rowid IN (SELECT number FROM chunks WHERE document IN ({places}))",  # noqa: S608  marks only
            some,
        )
        gone = db.execute(f"SELECT id, hash FROM chunks WHERE document IN ({places})", some).fetchall()  # noqa: S608  marks only
        db.execute(f"DELETE FROM chunks WHERE document IN ({places})", some)  # noqa: S608  marks only
        db.execute(f"DELETE FROM documents WHERE id IN ({places})", some)  # noqa: S608  marks only
        for name in readers:
            db.executemany(
                """DELETE FROM vectors WHERE embedder = ?2 AND hash = ?1
                AND NOT EXISTS (SELECT 1 FROM chunks WHERE hash = ?1)""",
                [(mark, name) for _, mark in gone],
            )
        graph_forgetting.forget(db, (chunk for chunk, _ in gone))


def forget_others(db: "Connection", sources: Sequence[str]) -> None:
    """All that is of other sources: what is served, and what a pass had read that broke off."""
    rows = db.execute("SELECT id, source FROM documents")
    _forget(db, {number for number, source in rows if source not in sources})
    row = db.execute("SELECT value FROM meta WHERE key = 'asked'").fetchone()
    asked = {} if row is None else json.loads(row[0])
    asked = {source: moment for source, moment in asked.items() if source in sources}
    db.execute("UPDATE meta SET value = ? WHERE key = 'asked'", (json.dumps(asked),))


def _readers(db: "Connection") -> list[str]:
    """Those who made vectors. They lie by who made them: to ask for a hash alone would read them all."""
    found: list[str] = []
    ask = "SELECT min(embedder) FROM vectors WHERE embedder > ?"
    while (name := db.execute(ask, (found[-1] if found else "",)).fetchone()[0]) is not None:
        found.append(name)
    return found


def _index(db: "Connection", numbers: Sequence[int]) -> None:
    """Put the words of documents into the index."""
    for some in portions(numbers):
        rows = db.execute(
            f"""SELECT c.number, d.title, c.headings, c.text FROM chunks c
            JOIN documents d ON d.id = c.document WHERE d.id IN ({marks(some)}) ORDER BY c.number""",  # noqa: S608  marks only
            some,
        ).fetchall()
        db.executemany(
            "INSERT INTO words (rowid, head, body) VALUES (?, ?, ?)",
            [
                (number, index_text(" ".join((title, *json.loads(headings)))), index_text(text))
                for number, title, headings, text in rows
            ],
        )


def _counts(db: "Connection") -> tuple[int, int]:
    documents, chunks = db.execute(
        "SELECT count(*), coalesce(sum(chunks), 0) FROM documents WHERE served = 1 AND kind <> ''"
    ).fetchone()
    return documents, chunks


def count_up(db: "Connection") -> None:
    """Another state is served from now on."""
    row = db.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
    generation = int(row[0]) + 1 if row is not None else 1
    db.execute("INSERT OR REPLACE INTO meta VALUES ('generation', ?)", (str(generation),))


def _left(seconds: float, done: int, total: int) -> float | None:
    return seconds / done * (total - done) if done else None
