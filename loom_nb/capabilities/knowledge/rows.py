"""What a face reads of a base of knowledge: rows of its sources, documents and chunks, and its progress."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

T = TypeVar("T")

DOCUMENT_ORDERS = ("title", "source", "kind", "chunks", "tokens", "indexed", "uses", "error")
"""By what documents are sorted."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a listing."""

    rows: tuple[T, ...]
    total: int
    """Of all that match."""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source, and what was indexed of it."""

    name: str
    kind: str
    where: str
    """For a reader: the folder, the number of addresses."""
    documents: int = 0
    chunks: int = 0
    failed: int = 0
    """Documents that could not be read."""
    indexed: float | None = None
    """Seconds since the epoch; None: not yet."""


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document as it is served."""

    id: int
    source: str
    key: str
    """Its name within the source: the path under the folder, the address."""
    title: str
    kind: str
    """markdown, text, html, pdf, docx, notebook, code, row."""
    url: str
    path: str
    """Absolute, of a file."""
    chunks: int
    tokens: int
    indexed: float
    uses: int = 0
    error: str = ""
    """Why it could not be read; or why its newest state could not, so that the one before is served."""


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A piece of a document."""

    id: str
    document: int
    ordinal: int
    start: int
    """Characters from the beginning of the document's text."""
    end: int
    text: str
    headings: tuple[str, ...]
    location: str
    tokens: int
    uses: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """What a query makes of a chunk."""

    chunk: ChunkRow
    source: str
    title: str
    score: float
    components: Mapping[str, float] = field(default_factory=dict)
    told: bool = False
    """Whether a search would tell it; else `why` says why not."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """A run to which a passage was told."""

    chunk: str
    session: str
    run: str
    number: int
    """Under which it was told: [1]."""
    query: str
    time: float
    by: str = ""
    """`search_knowledge`, or "enrichment"."""


@dataclass(frozen=True, slots=True)
class BaseState:
    """What a base holds."""

    path: str
    sources: int
    documents: int
    chunks: int
    failed: int
    generation: int
    """Grows with each re-index that changed something."""
    indexed: float | None
    embedder: str
    """Its name; empty: words alone are looked for."""
    vectors: int
    entities: int = 0


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """How far indexing is."""

    phase: Literal["looking", "reading", "embedding", "finishing", "done"]
    done: int = 0
    """Documents."""
    total: int = 0
    chunks: int = 0
    """Made so far in this pass; in phase "embedding", those that have their vector."""
    of_chunks: int = 0
    """In phase "embedding": of how many."""
    seconds_left: float | None = None
    """None while that is not known."""
    document: str = ""
    """The one that was read last."""

    @property
    def share(self) -> float:
        """0 to 1, of this phase."""
        if self.phase == "done":
            return 1.0
        count, total = (self.chunks, self.of_chunks) if self.phase == "embedding" else (self.done, self.total)
        return count / total if total else 0.0

    def __str__(self) -> str:
        left = "" if self.seconds_left is None else f", about {self.seconds_left:.0f} s left"
        if self.phase == "embedding":
            return f"embedding: {self.chunks:,} of {self.of_chunks:,} chunks{left}"
        return f"{self.phase}: {self.done:,} of {self.total:,} documents, {self.chunks:,} chunks{left}"


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What a re-index did."""

    documents: int
    chunks: int
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    embedded: int = 0
    """Chunks that got a vector in this pass."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """By document: why it could not be read."""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    """What else a reader should know, such as why there are no vectors."""

    def __str__(self) -> str:
        told = f"{self.documents:,} documents, {self.chunks:,} chunks: {self.added:,} new"
        told += f", {self.changed:,} changed, {self.removed:,} gone, {self.unchanged:,} as before"
        return told + (f", {len(self.failed):,} could not be read" if self.failed else "")
