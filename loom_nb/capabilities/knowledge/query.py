"""What is asked of documents, and what is found in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loom_nb.errors import LoomUsageError
from loom_nb.retrieval.fusion import LEAST_ANSWERED

if TYPE_CHECKING:
    from loom_nb.protocols import Enquiry, Enrichment

THRESHOLD = LEAST_ANSWERED
"""The share of the question's words that a passage must answer, where it is not near in meaning."""


@dataclass(frozen=True, slots=True)
class KnowledgeQuery:
    """A question to documents. A plain string is a query with just a text.

    Args:
        text: any text; natural language, names, code.
        limit: passages at most.
        threshold: the share of its words, 0 to 1, that a passage must answer; the nearness in meaning that
            is enough instead rises and falls with it. 0 lets everything through.
        tokens: of all passages together, estimated.
        sources: the names of the sources to look in; none: in all.
        filters: what a document must have: `kind` ("pdf"), `title` or `path` with `*` for anything.
        per_document: passages of one document at most.
        hops: along the entity graph, where there is one; 0 does not look there.

    Raises:
        LoomUsageError: a number is out of its range, or a filter is not known.
    """

    text: str
    limit: int = 6
    threshold: float = THRESHOLD
    tokens: int = 2_500
    sources: tuple[str, ...] = ()
    filters: Mapping[str, str] = field(default_factory=dict)
    per_document: int = 3
    hops: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise LoomUsageError(f"KnowledgeQuery.text is a text, not {type(self.text).__name__}")
        for name, least, most in (
            ("limit", 1, 100), ("threshold", 0, 1), ("tokens", 1, 1_000_000), ("per_document", 1, 100),
            ("hops", 0, 4),
        ):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise LoomUsageError(f"KnowledgeQuery.{name} is from {least} to {most:,}, not {value!r}")
        unknown = sorted(set(self.filters) - set(FILTERS))
        if unknown:
            raise LoomUsageError(
                f"KnowledgeQuery has no filter {unknown[0]!r}", cause=f"there are {', '.join(FILTERS)}"
            )
        object.__setattr__(self, "sources", tuple(self.sources))

    @classmethod
    def of(cls, query: "KnowledgeQuery | str") -> "KnowledgeQuery":
        """A query itself, or one with this text."""
        return query if isinstance(query, KnowledgeQuery) else cls(query)


FILTERS = ("kind", "path", "title")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage of a document that was found, with where it stands and why it was found."""

    id: str
    """Of the passage: the same as long as document and words are the same."""
    text: str
    score: float = 0.0
    """0 to 1; 0 where nothing was looked for."""
    components: Mapping[str, float] = field(default_factory=dict)
    """What the score is made of: see `searching`: "words", "vector", "graph", and what is known besides:
    "bm25", "answered"."""
    source: str = ""
    """The name of the KnowledgeSource."""
    title: str = ""
    """Of the document."""
    location: str = ""
    """Where in it: "page 3", "lines 12-40", "cell 4"."""
    url: str = ""
    path: str = ""
    headings: tuple[str, ...] = ()
    """Those that the passage stands under."""
    trace: tuple[str, ...] = ()
    """How the entity graph led to it: "Curie -[discovered]-> polonium"."""

    @property
    def place(self) -> str:
        """Title and location in one line: "paper.pdf, page 3"."""
        return ", ".join(one for one in (self.title, self.location) if one)

    async def enrich(self, enquiry: "Enquiry") -> "Enrichment | None":
        """It as what travels with a run, for `RunContext(knowledge=[…])`."""
        from loom_nb.capabilities.knowledge.capability import enrichment_with

        return await enrichment_with(self, enquiry)
