"""MemoryCapability: lets an agent keep notes, and begins each run with those that fit its task."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loom_nb import settings
from loom_nb.capabilities.memory.choosing import Chosen, shown
from loom_nb.capabilities.memory.finding import Query
from loom_nb.capabilities.memory.notes import SCOPES, Provenance, Scope, Viewer
from loom_nb.capabilities.memory.ranking import Hit, MemoryWeights
from loom_nb.capabilities.memory.store import THRESHOLD, TOKENS, NoteStore
from loom_nb.capabilities.memory.tools import MemoryTools, recalled
from loom_nb.capabilities.memory.upkeep import QUERY, WAIT, Upkeep
from loom_nb.credentials.kept_secrets import KeptSecrets
from loom_nb.errors import LoomError, LoomUsageError, StoreError
from loom_nb.events import Kept, Noticed
from loom_nb.protocols import Enquiry, Enrichment, Toolset
from loom_nb.redaction.key_forms import without_key_forms
from loom_nb.redaction.known import KnownSecrets
from loom_nb.retrieval.embedding import Embedder
from loom_nb.wording import counted

_TOLD = 3
"""Files of the folder beside the notes of which a run tells what came of them; the others are counted."""


@dataclass(frozen=True)
class MemoryCapability:
    """Notes that outlive conversations. See `Capability.memory`.

    Raises LoomUsageError for a value that a field does not take.
    """

    scope: Scope = "persistent"
    path: Path | None = None
    mirror: Path | None = None
    embedder: Embedder | None = None
    tokens: int = TOKENS
    threshold: float = THRESHOLD
    weights: MemoryWeights = field(default_factory=MemoryWeights)
    name: str = "memory"

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise LoomUsageError(f"Capability.memory: scope is one of {', '.join(SCOPES)}")
        if isinstance(self.tokens, bool) or not isinstance(self.tokens, int) or self.tokens < 0:
            raise LoomUsageError("Capability.memory: tokens is a whole number from 0 on")
        number = isinstance(self.threshold, (int, float)) and not isinstance(self.threshold, bool)
        if not number or not 0 <= self.threshold <= 1:
            raise LoomUsageError("Capability.memory: threshold is a number from 0 to 1")
        if not isinstance(self.weights, MemoryWeights):
            raise LoomUsageError("Capability.memory: weights is a MemoryWeights", fixes=["MemoryWeights()"])
        if self.embedder is not None and not callable(getattr(self.embedder, "embed", None)):
            raise LoomUsageError(
                "Capability.memory: embedder has an `embed`; see loom_nb.retrieval.embedding"
            )

    def store(self, kept: Callable[[str], str] | None = None) -> NoteStore:
        """The notes, for a face.

        Args:
            kept: as for `NoteStore`; by default the secrets that this user keeps are taken out.
        """
        return NoteStore(
            store_path(self.path, self.mirror),
            weights=self.weights,
            threshold=self.threshold,
            clean=Cleaning(),
            kept=kept or KeptSecrets(),
        )

    async def open(self) -> Toolset:
        """Open the notes. What was changed in the folder beside them comes with the first run."""
        opened = OpenedMemory(self, self.store())
        tools = MemoryTools(
            opened.store, self.scope, max(self.tokens, 1), opened.query, opened.changed,
            faced=opened.store.path == store_path(),
        )  # fmt: skip
        return Toolset(tools=tools.tools(), enrich=opened.enrich, close=opened.close)


def store_path(path: Path | None = None, mirror: Path | None = None) -> Path:
    """Where notes lie: the file that is named; of a folder that mirrors them a file of its own; or the
    `memory.db` of this user.
    """
    if path is not None:
        return path.expanduser()
    home = settings.load().home
    if mirror is None:
        return home / "memory.db"
    from loom_nb.capabilities.memory.mirror import folder_key

    return home / "memory" / f"{folder_key(mirror)}.db"


class Cleaning:
    """Takes secrets out of words before they become a note: known ones, and what has the form of one."""

    def __init__(self, known: KnownSecrets | None = None) -> None:
        self._known = known or KnownSecrets()

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        self._known.refresh()
        redactor = self._known.redactor
        return without_key_forms(text if redactor is None else redactor.text(text))[0]


class OpenedMemory:
    """A memory in use: its store, the folder that mirrors it, and who embeds.

    Args:
        described: what it is to be.
        store: the notes.
        wait: seconds that a run waits for vectors of notes.
        patience: seconds that it waits for the vector of its task.
    """

    def __init__(
        self, described: MemoryCapability, store: NoteStore, wait: float = WAIT, patience: float = QUERY
    ) -> None:
        self.store = store
        self._described = described
        self._mirror = None
        self._turn = asyncio.Lock()
        self._looked = False
        self._untold: list[str] = []
        """What the folder says once alone, for the next run that begins."""
        embedder = described.embedder
        self._upkeep = Upkeep(store, embedder, wait, patience) if embedder is not None else None
        if described.mirror is not None:
            from loom_nb.capabilities.memory.mirror import Mirror

            self._mirror = Mirror(described.mirror, store)

    async def in_step(self) -> tuple[str, ...]:
        """Bring folder and notes together; what is wrong with the folder, in words.

        What is said of it once alone, such as what lost in a conflict, is kept for the next run that begins.
        """
        self._looked = True
        if self._mirror is None:
            return ()
        try:
            async with self._turn:
                report = await asyncio.to_thread(self._mirror.sync)
        except LoomError as error:  # the notes are there without their folder, too
            return (f"{error.title}: notes and folder are not in step",)
        self._untold += report.told_once
        return self._few(report.problems)

    def _few(self, words: Sequence[str]) -> tuple[str, ...]:
        """The first of what is said of files, and how many more there are."""
        told, more = tuple(words[:_TOLD]), len(words) - _TOLD
        where = self._mirror.folder if self._mirror is not None else ""
        return (*told, f"and {counted(more, 'other file')} of {where}") if more > 0 else told

    async def changed(self) -> None:
        """After a change by a tool: folder and vectors follow; the next run tells what fails."""
        await self.in_step()
        if self._upkeep is not None:
            self._upkeep.begin()

    async def query(self, text: str) -> Query:
        """A query with its vector; without, where the embedder fails: words find, too."""
        if not self._looked:  # a run that goes on where another process left off
            await self.in_step()
        words = self.store.clean(text)
        if self._upkeep is None:
            return Query(words)
        try:
            return await self._upkeep.query(words)
        except (LoomError, TimeoutError):
            return Query(words)

    async def enrich(self, enquiry: Enquiry) -> Enrichment | None:
        """What a run that begins is shown, within the budget, and the fact that it was.

        A preview changes no file and no note and asks no embedder: notes are looked for by their words.
        """
        facts: list[Kept] = []
        query = Query(self.store.clean(enquiry.text))
        if not enquiry.preview:
            problems = await self.in_step()
            untold, self._untold = self._untold, []
            facts += [Noticed(words, "warning") for words in (*self._few(untold), *problems)]
            query, told = await self._asked(query)
            facts += told
        viewer = Viewer(enquiry.session, enquiry.notebook)
        chosen = await asyncio.to_thread(
            lambda: self.store.choose(query, viewer=viewer, tokens=self._described.tokens, seen=enquiry.seen)
        )
        if not enquiry.preview:
            failed = await asyncio.to_thread(self._counted, chosen.hits, enquiry)
            facts += [failed] if failed else []
        if chosen.hits:
            facts.append(
                recalled(chosen.hits, enquiry.text, "enrichment", chosen.left_out, tokens=chosen.tokens)
            )
        facts += self._without_room(chosen)
        return Enrichment(tuple(map(shown, chosen.hits)), tuple(facts)) if facts else None

    def _without_room(self, chosen: Chosen) -> list[Noticed]:
        """That all notes were left out, or some that a person counts on; of others their number is told."""
        most = self._described.tokens
        left, kind = (chosen.pinned_out, "pinned note") if chosen.pinned_out else (chosen.left_out, "note")
        if not most or not left or (chosen.hits and not chosen.pinned_out):
            return []
        told = f"{counted(left, kind)} had no room in {most:,} tokens and {'was' if left == 1 else 'were'}"
        return [Noticed(f"{told} not shown: shorten it, or Capability.memory(tokens=…)", "warning")]

    def _counted(self, hits: Sequence[Hit], enquiry: Enquiry) -> Noticed | None:
        """Write down what a run is shown; where that fails, it is shown all the same."""
        by = Provenance("agent", enquiry.session, enquiry.run, enquiry.notebook, enquiry.cell, enquiry.agent)
        try:
            self.store.used(hits, how="enrichment", query=enquiry.text, by=by, begins=True)
        except StoreError as error:
            return Noticed(f"That notes were shown is not written down: {error.title}", "warning")
        return None

    async def close(self) -> None:
        """Let go of the file, and of the embedder where no other memory uses it."""
        try:
            if self._upkeep is not None:
                await self._upkeep.close()
        finally:
            self.store.close()

    async def _asked(self, query: Query) -> tuple[Query, list[Noticed]]:
        """A query with its vector, where somebody embeds; and what is to be told of it."""
        if self._upkeep is None:
            return query, []
        try:
            made = await self._upkeep.query(query.text)  # first: it tells the dimension that vectors have now
            is_whole = await self._upkeep.caught_up()
        except TimeoutError:
            self._upkeep.begin()  # a model that is slow to load is there for the next run
            why = "the embedder takes too long"
        except LoomError as error:
            why = error.title
        else:
            rest = "The vectors of some notes are still being made: these are found by their words alone"
            return made, [] if is_whole else [Noticed(rest)]
        return query, [Noticed(f"Notes were looked for by their words alone: {why}", "warning")]
