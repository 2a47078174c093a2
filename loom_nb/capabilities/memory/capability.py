"""MemoryCapability: lets an agent keep notes, and begins each run with those that fit its task."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loom_nb import settings
from loom_nb.capabilities.memory.choosing import shown
from loom_nb.capabilities.memory.finding import Query
from loom_nb.capabilities.memory.notes import SCOPES, Provenance, Scope, Viewer
from loom_nb.capabilities.memory.ranking import Hit, MemoryWeights
from loom_nb.capabilities.memory.store import THRESHOLD, TOKENS, NoteStore
from loom_nb.capabilities.memory.tools import MemoryTools, recalled
from loom_nb.capabilities.memory.vectors import embed_notes, embedded_query
from loom_nb.credentials.kept_secrets import KeptSecrets
from loom_nb.errors import LoomError, LoomUsageError, StoreError
from loom_nb.events import Kept, Noticed
from loom_nb.protocols import Enquiry, Enrichment, Toolset
from loom_nb.redaction.key_forms import without_key_forms
from loom_nb.redaction.known import KnownSecrets
from loom_nb.retrieval.embedding import Embedder
from loom_nb.wording import counted

_TOLD = 3
"""Files of the folder beside the notes of which a run tells what went wrong; the others are counted."""


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
        """Open the notes, and bring what of the folder beside them was changed."""
        opened = OpenedMemory(self, self.store())
        await opened.in_step()
        tools = MemoryTools(opened.store, self.scope, max(self.tokens, 1), opened.query, opened.changed)
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
    """A memory in use: its store, the folder that mirrors it, and who embeds."""

    def __init__(self, described: MemoryCapability, store: NoteStore) -> None:
        self.store = store
        self._described = described
        self._mirror = None
        self._turn = asyncio.Lock()
        if described.mirror is not None:
            from loom_nb.capabilities.memory.mirror import Mirror

            self._mirror = Mirror(described.mirror, store)

    async def in_step(self) -> tuple[str, ...]:
        """Bring folder and notes together; what of it went wrong, in words."""
        if self._mirror is None:
            return ()
        try:
            async with self._turn:
                report = await asyncio.to_thread(self._mirror.sync)
        except LoomError as error:  # the notes are there without their folder, too
            return (f"{error.title}: notes and folder are not in step",)
        told, more = report.problems[:_TOLD], len(report.problems) - _TOLD
        return (*told, f"and {counted(more, 'other file')} of {self._mirror.folder}") if more > 0 else told

    async def changed(self) -> None:
        """After a change by a tool: the folder follows, and the vectors; what fails is made good later."""
        await self.in_step()
        if self._described.embedder is not None:
            try:
                await embed_notes(self.store, self._described.embedder, most=8)
            except LoomError:
                return  # the next run makes them, and tells where it cannot

    async def query(self, text: str) -> Query:
        """A query with its vector; without, where the embedder fails: words find, too."""
        try:
            return await embedded_query(self._described.embedder, self.store.clean(text))
        except LoomError:
            return Query(text)

    async def enrich(self, enquiry: Enquiry) -> Enrichment | None:
        """What a run that begins is shown, within the budget, and the fact that it was."""
        facts: list[Kept] = [Noticed(words, "warning") for words in await self.in_step()]
        query, failed = await self._asked(enquiry)
        facts += [failed] if failed else []
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
        return Enrichment(tuple(map(shown, chosen.hits)), tuple(facts)) if facts else None

    def _counted(self, hits: Sequence[Hit], enquiry: Enquiry) -> Noticed | None:
        """Write down what a run is shown; where that fails, it is shown all the same."""
        by = Provenance("agent", enquiry.session, enquiry.run, enquiry.notebook, enquiry.cell, enquiry.agent)
        try:
            self.store.used(hits, how="enrichment", query=enquiry.text, by=by, begins=True)
        except StoreError as error:
            return Noticed(f"That notes were shown is not written down: {error.title}", "warning")
        return None

    async def close(self) -> None:
        """Let go of the file."""
        self.store.close()

    async def _asked(self, enquiry: Enquiry) -> tuple[Query, Noticed | None]:
        embedder = self._described.embedder
        try:
            if embedder is not None:
                await embed_notes(self.store, embedder)
            return await embedded_query(embedder, self.store.clean(enquiry.text)), None
        except LoomError as error:
            told = f"Notes were looked for by their words alone: {error.title}"
            return Query(enquiry.text), Noticed(told, "warning")
