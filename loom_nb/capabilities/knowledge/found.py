"""What a source tells when it is looked at: its documents, and what stands in the way of others."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from loom_nb.capabilities.knowledge.converting import converted
from loom_nb.capabilities.knowledge.documents import Document


@dataclass(frozen=True, slots=True)
class Raw:
    """What was read of a document, not yet converted."""

    data: bytes
    name: str
    media_type: str = ""
    url: str = ""
    make: Callable[[], Document] | None = field(default=None, repr=False)
    """Makes the document, where it is no file."""

    @property
    def sha256(self) -> str:
        """Of what it says."""
        return hashlib.sha256(self.data).hexdigest()

    def document(self) -> Document:
        """Converted. Raises Unreadable, SetupError."""
        if self.make is not None:
            return self.make()
        return converted(self.data, self.name, self.media_type, self.url)


@dataclass(frozen=True, slots=True)
class Found:
    """A document that a source has."""

    key: str
    """Its name, unique within the source."""
    stamp: str
    """As long as it is the same, the document need not be read again; empty: it always is."""
    read: Callable[[], Raw] | None = field(default=None, repr=False)
    """Reads it; may take a while. Raises Unreadable."""
    url: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """All that a source tells."""

    found: tuple[Found, ...]
    closed: dict[str, str] = field(default_factory=dict)
    """Where nobody could look, and why: what is known of there is still there, as far as anybody knows.
    By the beginning that the keys of all documents of there have: "minutes/"."""
    notes: tuple[str, ...] = ()
    """What a reader should know of documents that are not among them."""


@dataclass(slots=True)
class Look:
    """What is noted beside the documents while they are found."""

    closed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
