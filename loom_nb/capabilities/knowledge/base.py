"""KnowledgeBase: documents in one SQLite file, indexed from their sources and searched by any process."""

import asyncio
import hashlib
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from loom_nb.capabilities.knowledge import listing
from loom_nb.capabilities.knowledge.chunking import CHUNK_TOKENS, OVERLAP_TOKENS
from loom_nb.capabilities.knowledge.graph_search import Subgraph, subgraph, traced
from loom_nb.capabilities.knowledge.indexing import (
    PASSES,
    Form,
    OvertakenError,
    Pass,
    count_up,
    forget_others,
)
from loom_nb.capabilities.knowledge.meaning import Meaning, Reader, Vectors, check_reader, forget_learnt
from loom_nb.capabilities.knowledge.query import Evidence, KnowledgeQuery
from loom_nb.capabilities.knowledge.rows import (
    BaseState,
    ChunkRow,
    DocumentRow,
    IndexProgress,
    IndexReport,
    Page,
    Score,
    SourceRow,
    Use,
)
from loom_nb.capabilities.knowledge.searching import Candidate, candidates, evidence_of, score_of
from loom_nb.capabilities.knowledge.sources import KnowledgeSource, checked_sources
from loom_nb.capabilities.knowledge.tables import SCHEMA
from loom_nb.database import Database
from loom_nb.redaction.hiding import Hiding
from loom_nb.retrieval.embedding import vectors_of
from loom_nb.retrieval.lsa import LatentEmbedder

if TYPE_CHECKING:
    from sqlite3 import Connection

T = TypeVar("T")

BUSY_SECONDS = 30.0
NOTE_SECONDS = 1.0
"""For which a note of a use waits while another process writes: it is worth no more."""
FRESH_SECONDS = 2.0
"""A search looks at the files again when the last look is older."""
PAGE_SECONDS = 86_400.0
"""Pages of the web are fetched again when they are older; `index()` always does."""
MAX_USES = 100_000


class KnowledgeBase:
    """Documents, their chunks, words and vectors. Safe from any thread; one file for many processes.

    Args:
        sources: what it is made of; folders, files and addresses by their names are sources, too.
        path: the file; without one, it is one of the user's for just these sources, read and cut like this,
            or of this process alone where they are tables or functions.
        embedder: who reads for meaning; "lsa" learns it from the documents, offline; None: words alone.
        chunk_tokens: of a chunk at most, estimated.
        overlap_tokens: of a chunk that the next one repeats, where a section is cut.
        now: seconds since the epoch.
        monotonic: seconds that never run backwards.

    Raises:
        LoomUsageError: a source is none, or the sizes make no sense.
    """

    def __init__(
        self,
        sources: Any = (),
        *,
        path: str | Path | None = None,
        embedder: Reader = "lsa",
        chunk_tokens: int = CHUNK_TOKENS,
        overlap_tokens: int = OVERLAP_TOKENS,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.described = checked_sources(sources)
        check_reader(embedder)
        self._form = Form(chunk_tokens, overlap_tokens)
        self._reader: Reader = embedder
        self._now, self._monotonic = now, monotonic
        self._hide = Hiding()
        self._temporary: weakref.finalize[..., KnowledgeBase] | None = None
        self.path = Path(path).expanduser().absolute() if path is not None else self._own_path()
        if path is None and self._is_passing():
            self._delete_at_end()
        self._database = Database(self.path, SCHEMA, BUSY_SECONDS)
        self._notes = Database(self.path, SCHEMA, min(NOTE_SECONDS, BUSY_SECONDS))
        self._vectors: tuple[int, Vectors] | None = None
        self._loading = threading.Lock()
        self._looked: float | None = None
        self._asked: set[str] = set()
        self._jobs: list[_Job] = []
        _OPEN.add(self)

    @classmethod
    def passing(cls, sources: Any) -> "KnowledgeBase":
        """A base of this process alone, deleted with it or earlier, whatever its sources are."""
        made = cls(sources, path=_passing_path())
        made._delete_at_end()
        return made

    # --- indexing

    async def index(
        self, progress: Callable[[IndexProgress], object] | None = None, *, everything: bool = True
    ) -> IndexReport:
        """Bring it to what its sources hold now. What is served stays so until all of it is done.

        A look that is asked for while one goes on waits for that one, and is told how far it is.

        Args:
            progress: told how far it is, after each portion. What it raises is raised here, and nowhere else
                where the same indexing is waited for.
            everything: fetch pages, call functions and read files again, too, also those that could not be
                read; else look at files, and read those whose size or times have changed. A look that
                finds nothing new reads no texts and waits for nobody who writes.

        Raises:
            StoreError: the file cannot be used.
            LoomError: the embedder fails; the next call goes on where this one stopped.
            asyncio.CancelledError: `cancel` was called, or the caller was cancelled. An indexing for which
                others wait goes on without that caller.
        """
        job = self._job_for(everything)
        listener = _Listener(progress, job.loop.create_future())
        job.waiting += 1
        try:
            job.tell(listener)
            either: list[asyncio.Future[Any]] = [job.task, listener.raised]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if listener.raised.done():
                raise listener.raised.result()
            return job.task.result()
        finally:
            job.leave(listener)
            job.waiting -= 1
            if not job.waiting and not job.task.done():  # it goes on for nobody
                job.task.cancel()
                await asyncio.gather(job.task, return_exceptions=True)

    async def indexing(self, *, everything: bool = True) -> AsyncIterator[IndexProgress]:
        """`index`, as what it tells on the way. Leaving the iteration early cancels it."""
        queue: asyncio.Queue[IndexProgress | None] = asyncio.Queue()
        task = asyncio.get_running_loop().create_task(self.index(queue.put_nowait, everything=everything))
        task.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (step := await queue.get()) is not None:
                yield step
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def cancel(self) -> bool:
        """Stop indexing, from any thread; whether there was any.

        What is served stays, and what was read and embedded is kept.
        """
        running = self._running()
        for job in running:
            job.cancel()
        return bool(running)

    async def stop(self) -> None:
        """`cancel`, and wait until what goes on in this loop has come to its end: it writes no more then."""
        here = asyncio.get_running_loop()
        ending = [job.task for job in self._running() if job.loop is here]
        self.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def refresh(self) -> IndexReport | None:
        """`index` what is cheap to look at, unless it was looked at a moment ago."""
        return None if self.is_fresh() else await self.index(everything=False)

    def is_fresh(self) -> bool:
        """Whether its sources were looked at a moment ago."""
        return self._looked is not None and self._monotonic() - self._looked < FRESH_SECONDS

    def _running(self) -> "list[_Job]":
        self._jobs = [job for job in self._jobs if job.is_running()]
        return self._jobs

    def _job_for(self, everything: bool) -> "_Job":
        """The one of this loop that goes on; for everything one that has not begun to look yet."""
        loop = asyncio.get_running_loop()
        mine = [job for job in self._running() if job.loop is loop]
        for job in mine:
            if job.task.cancelling():
                continue
            if not everything or (job.everything and not job.has_begun):
                return job
        job = _Job(everything, loop, mine)
        job.task = loop.create_task(self._indexed(job))
        self._jobs = [*self._jobs, job]
        return job

    async def _indexed(self, job: "_Job") -> IndexReport:
        if job.behind:
            await asyncio.wait([one.task for one in job.behind])
        job.has_begun = True
        everything = job.everything
        database = Database(self.path, SCHEMA, BUSY_SECONDS)  # its own: a search need not wait for it
        try:
            for attempt in range(PASSES):
                run = Pass(
                    database, self.described, self._form, Meaning(database, self._reader), self._now,
                    self._monotonic, lambda source, last: everything or self._again(source, last), self._hide,
                    everything,
                )  # fmt: skip
                try:
                    async for step in run.progress():
                        job.told(step)
                except OvertakenError:
                    if attempt == PASSES - 1:
                        raise
                    continue
                break
            self._looked = self._monotonic()
            self._asked.update(source.name for source in self.described)
            assert run.report is not None  # noqa: S101  a pass that ended has one
            return run.report
        finally:
            await asyncio.to_thread(database.close)

    def _again(self, source: KnowledgeSource, last: float | None) -> bool:
        match source.kind:
            case "folder" | "files":
                return True
            case "urls":
                return last is None or self._now() - last > PAGE_SECONDS
            case _:
                return source.name not in self._asked

    # --- searching

    async def search(self, query: KnowledgeQuery | str, *, meaning: bool = True) -> list[Evidence]:
        """The passages that answer a query, the best first; none where nothing belongs to it.

        It searches what is indexed; `index` or `refresh` bring that up to date.

        Args:
            query: what is looked for.
            meaning: whether the embedder is asked; else words alone are looked for.

        Raises:
            StoreError: the file cannot be used.
            LoomError: the embedder cannot be asked.
        """
        query = KnowledgeQuery.of(query)
        asked, model = await self._vector_of(query) if meaning and query.text.strip() else (None, "")
        found = await asyncio.to_thread(self._candidates, query, asked, model)
        return [evidence_of(one) for one in found if not one.why]

    async def _vector_of(self, query: KnowledgeQuery) -> tuple[Any, str]:
        """A query as a vector, and whose it is."""
        vectors = await asyncio.to_thread(self._loaded)
        if vectors.embedder is None or vectors.index is None:
            return None, ""
        text = self._hide(query.text)
        if isinstance(vectors.embedder, LatentEmbedder):  # its vectors say by their length what they know
            made = await vectors.embedder.embed([text], kind="query")
        else:
            dimension = vectors.index.dimension
            made = await vectors_of(vectors.embedder, [text], "query", dimension, zeros=True)
        return made[0], vectors.name

    def _candidates(self, query: KnowledgeQuery, asked: Any, model: str) -> list[Candidate]:
        vectors = self._loaded()
        if vectors.name != model:
            asked = None  # another state is served by now, whose vectors are of another space
        with self._database.transaction() as db:
            traces = None
            if query.hops:
                traces = traced(db, query.text, query.hops)
            return candidates(db, query, vectors, asked, traces)

    def _loaded(self) -> Vectors:
        """The served vectors; read again when another state is served."""
        with self._loading:
            with self._database.transaction() as db:
                row = db.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
                generation = int(row[0]) if row is not None else 0
                if self._vectors is None or self._vectors[0] != generation:
                    self._vectors = (generation, Vectors.load(db, self._reader))
            return self._vectors[1]

    def used(
        self, passages: Iterable[tuple[str, int]], *, session: str, run: str, query: str, by: str
    ) -> None:
        """Note that passages (id, number) were told to a run.

        Raises:
            StoreError: the file cannot be used, or another process writes to it for long.
        """
        query = self._hide(query)[:500]
        rows = [(one, session, run, number, query, self._now(), by) for one, number in passages]
        with self._notes.transaction("IMMEDIATE") as db:
            db.executemany("INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            db.execute("DELETE FROM uses WHERE rowid <= (SELECT max(rowid) FROM uses) - ?", (MAX_USES,))

    # --- what a face reads

    def sources(self) -> list[SourceRow]:
        """The sources, with what is served of each."""
        with self._database.transaction() as db:
            rows = listing.sources(db, self.described)
        return [replace(row, where=self._hide(row.where)) for row in rows]

    def documents(
        self, query: str = "", sort: str = "title", offset: int = 0, limit: int = 100, source: str = ""
    ) -> Page[DocumentRow]:
        """Documents whose title, name or source has all words of a query.

        Args:
            query: words; empty: all.
            sort: one of `rows.DOCUMENT_ORDERS`, with "-" before it the other way round.
            offset: how many are passed over.
            limit: how many are given at most.
            source: the name of the one to look in; empty: all.
        """
        with self._database.transaction() as db:
            return listing.documents(db, query, sort, offset, limit, source)

    def document(self, number: int) -> DocumentRow | None:
        """A document by its `DocumentRow.id`; None where there is none."""
        with self._database.transaction() as db:
            return listing.document(db, number)

    def chunks(self, document: int) -> list[ChunkRow]:
        """The chunks of a document, by its `DocumentRow.id`, in their order."""
        with self._database.transaction() as db:
            return listing.chunks(db, document)

    def chunk(self, mark: str) -> ChunkRow | None:
        """A chunk by its id, or by a beginning of it that no other has; None where there is none."""
        with self._database.transaction() as db:
            return listing.chunk(db, mark)

    def scores(self, query: KnowledgeQuery | str, limit: int = 20) -> list[Score]:
        """What a query makes of the passages that come near it, told or not, the best first.

        An embedder that is asked over a network is not asked here from within a running loop: words alone.
        """
        query = KnowledgeQuery.of(query)
        vectors = self._loaded()
        asked = None
        space = getattr(vectors.embedder, "space", None)
        if space is not None and query.text.strip():
            asked = space.embed([query.text])[0]
        return [score_of(one) for one in self._candidates(query, asked, vectors.name)[: max(0, limit)]]

    def uses(self, of: str | int) -> list[Use]:
        """The runs to which a chunk (by its id) or any of a document (by its number) was told."""
        with self._database.transaction() as db:
            return listing.uses(db, of)

    def state(self) -> BaseState:
        """What it holds."""
        with self._database.transaction() as db:
            return listing.state(db, str(self.path), len(self.described))

    def subgraph(self, names: Iterable[str] = (), hops: int = 2) -> Subgraph:
        """What the entity graph has around some names; without names, around what is related most."""
        with self._database.transaction() as db:
            return subgraph(db, list(names), hops)

    def reading(self, work: "Callable[[Connection], T]") -> T:
        """Do some work that reads, in one moment of the database."""
        with self._database.transaction() as db:
            return work(db)

    def writing(self, work: "Callable[[Connection], T]") -> T:
        """Do some work that writes, all of it or nothing."""
        with self._database.transaction("IMMEDIATE") as db:
            return work(db)

    def compact(self) -> None:
        """Let what is of sources that are no longer its own go, and the words of what is gone from the file.

        No source is asked for it, so that nothing keeps it from its end, and one that was never indexed to
        its end leaves nothing, either.
        What latent semantics had learnt goes with it, as words of what is gone are among that: the next look
        learns it anew from what is there. While another process reads, the last of it goes later.

        Raises:
            StoreError: the file cannot be used.
        """
        names = [one.name for one in self.described]
        with self._database.transaction("IMMEDIATE") as db:
            forget_others(db, names)
            forget_learnt(db)
            count_up(db)  # who has vectors in memory lets go of them
            db.execute("DELETE FROM uses WHERE chunk NOT IN (SELECT id FROM chunks)")
            db.execute("INSERT INTO words (words) VALUES ('optimize')")  # segments keep words of deleted rows
        with self._database.transaction() as db:
            db.execute("COMMIT")  # VACUUM is no part of a transaction
            db.execute("VACUUM")
        self._database.overwrite()
        self._looked = None

    def close(self) -> None:
        """Let go of the file; the next use opens it again. One of this process alone is deleted."""
        self._database.close()
        self._notes.close()
        self._vectors = None
        if self._temporary is not None:
            self._temporary()
            self._delete_at_end()  # it may be used again

    def __repr__(self) -> str:
        return f"<KnowledgeBase {', '.join(one.name for one in self.described) or 'without sources'}>"

    def _delete_at_end(self) -> None:
        self._temporary = weakref.finalize(self, shutil.rmtree, self.path.parent, ignore_errors=True)

    def _is_passing(self) -> bool:
        return any(one.kind in ("dataframe", "callable") for one in self.described)

    def _own_path(self) -> Path:
        if self._is_passing():
            return _passing_path()
        from loom_nb.settings import load

        return load().home / "knowledge" / f"{mark_of(self.described, self._reader, self._form)}.db"


@dataclass(eq=False, slots=True)
class _Listener:
    """Who is told how far an indexing is."""

    progress: Callable[[IndexProgress], object] | None
    raised: "asyncio.Future[Exception]"
    """What it raised, where it did: it is told no more."""

    def told(self, step: IndexProgress) -> None:
        if self.progress is None or self.raised.done():
            return
        try:
            self.progress(step)
        except Exception as error:  # noqa: BLE001  the border: somebody else's function; its own caller is told
            self.raised.set_result(error)


@dataclass(eq=False, slots=True)
class _Job:
    """An indexing that goes on, and who waits for it."""

    everything: bool
    loop: asyncio.AbstractEventLoop
    behind: "list[_Job]"
    """Those that end first."""
    task: "asyncio.Task[IndexReport]" = field(init=False)
    waiting: int = 0
    has_begun: bool = False
    _listeners: list[_Listener] = field(default_factory=list)
    _last: IndexProgress | None = None

    def is_running(self) -> bool:
        return not self.task.done() and not self.loop.is_closed()

    def cancel(self) -> None:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self.loop:
            self.task.cancel()
        else:
            with suppress(RuntimeError):  # the loop has come to its end
                self.loop.call_soon_threadsafe(self.task.cancel)

    def tell(self, listener: _Listener) -> None:
        """From now on tell it how far this is."""
        self._listeners.append(listener)
        if self._last is not None:
            listener.told(self._last)

    def leave(self, listener: _Listener) -> None:
        self._listeners.remove(listener)

    def told(self, step: IndexProgress) -> None:
        self._last = step
        for listener in list(self._listeners):
            listener.told(step)


_OPEN: "weakref.WeakSet[KnowledgeBase]" = weakref.WeakSet()


def bases() -> list[KnowledgeBase]:
    """Those of this process that somebody still holds, by their paths."""
    return sorted(_OPEN, key=lambda one: str(one.path))


def _passing_path() -> Path:
    return Path(tempfile.mkdtemp(prefix="loom-knowledge-"), "knowledge.db")


_USUAL = Form(CHUNK_TOKENS, OVERLAP_TOKENS)


def mark_of(sources: Sequence[KnowledgeSource], reader: Reader = "lsa", form: Form = _USUAL) -> str:
    """The same for the same sources that are read and cut alike: others would undo each other's work."""
    told: list[object] = [(one.kind, one.name, _plain(one)) for one in sources]
    name = reader if isinstance(reader, str) or reader is None else reader.name
    if (name, form) != ("lsa", _USUAL):  # files that were made so keep their names
        told.append((name, form.size, form.overlap))
    return hashlib.sha256(repr(told).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _plain(source: KnowledgeSource) -> list[tuple[str, str]]:
    return sorted((name, repr(value)) for name, value in source.options.items())
