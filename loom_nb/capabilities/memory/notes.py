"""A note: a few words worth keeping, with who wrote them down, where, and how much they matter.

The scopes are one thing with two questions: who sees a note, and how fast does it fade.

==========  =====================================  ===========================
scope       seen by                                loses half of its recency in
==========  =====================================  ===========================
session     the session in which it was noted      30 days
working     every session of the same notebook     1 day
semantic    everybody: what is so, whoever asks    never
persistent  everybody: the person and their ways   30 days
==========  =====================================  ===========================
"""

import hashlib
import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from loom_nb.border import clean
from loom_nb.errors import LoomUsageError

Scope: TypeAlias = Literal["session", "working", "semantic", "persistent"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
Who: TypeAlias = Literal["person", "agent", "file"]
Change: TypeAlias = Literal["added", "edited", "forgotten", "conflict"]
"""What made a version of a note. "conflict": words that lost against others, kept to be found."""

MOST_TEXT = 200_000
"""Characters of one note."""
MOST_TAGS = 32
MOST_TAG = 80
"""Characters of a tag, and of a category."""
FIELDS = ("text", "category", "tags", "pinned", "importance", "scope")
"""What can be edited."""


class NoteNotFound(LoomUsageError):
    """There is no note of this id."""

    code = "L-MEM-01"


class NoteChanged(LoomUsageError):
    """A note is not what it was when it was looked at."""

    code = "L-MEM-02"


class RunNotKnown(LoomUsageError):
    """Nothing is known of a run by whose beginning notes were to be looked at."""

    code = "L-MEM-03"


class Provenance(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who wrote something down, and in the middle of what."""

    who: Who = "person"
    session: str = ""
    run: str = ""
    notebook: str = ""
    cell: str = ""
    agent: str = ""
    """Its name, where an agent did."""

    def __str__(self) -> str:
        named = self.who == "agent" and self.agent not in ("", "agent")
        name = f"agent {self.agent}" if named else self.who
        notebook = self.notebook.replace("\\", "/").rpartition("/")[2]  # a card is shared: no paths
        return " · ".join(filter(None, (name, notebook, self.cell, self.run)))


PERSON = Provenance()


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered. Times are seconds since the epoch, UTC."""

    id: str
    text: str
    category: str = ""
    tags: tuple[str, ...] = ()
    pinned: bool = False
    importance: float = 0.5
    """0 to 1."""
    scope: Scope = "persistent"
    place: str = ""
    """Of the scope: the session, or the notebook; empty where everybody sees it."""
    by: Provenance = PERSON
    """Who wrote its words, in their present form."""
    created: float = 0.0
    updated: float = 0.0
    used: float = 0.0
    """When it was last recalled; 0: never."""
    uses: int = 0
    version: int = 1
    extra: dict[str, Any] = {}
    """What a person wrote into the front matter of its file beside this."""

    @property
    def said(self) -> tuple[object, ...]:
        """What a person would say is in it: two notes of the same are equal in content."""
        return self.text, self.category, self.tags, self.pinned, self.importance, self.scope, self.place


class NoteVersion(msgspec.Struct, frozen=True):
    """A note as it was from one moment on."""

    seq: int
    """Grows with every change of the store."""
    change: Change
    moment: float
    by: Provenance
    """Who changed it."""
    note: Note
    """After the change; of a forgotten note as it was."""
    undone: bool = False


def undoable(history: Sequence[NoteVersion]) -> NoteVersion | None:
    """What an undo takes back of a note with this history; None where there is nothing."""
    return next((one for one in reversed(history) if not one.undone), None)


class Viewer(msgspec.Struct, frozen=True):
    """Who looks: decides which notes there are."""

    session: str = ""
    notebook: str = ""
    everything: bool = False
    """A person who looks at the whole store: the notes of all sessions and notebooks, too."""

    @property
    def working(self) -> str:
        """The place of the notes of scope "working"."""
        return self.notebook or self.session

    def sees(self, note: Note) -> bool:
        """Whether a note is there for this one."""
        return self.everything or note.place == self.place(note.scope)

    def place(self, scope: Scope) -> str:
        """Where a new note of this scope lies; empty where everybody sees it, or there is no such place."""
        if scope == "session":
            return self.session
        return self.working if scope == "working" else ""


EVERYTHING = Viewer(everything=True)
NOBODY = Viewer()
"""Who is in no session and no notebook: sees what everybody sees."""


def place_of(scope: Scope, viewer: Viewer) -> str:
    """Where a new note of this scope lies.

    Raises:
        LoomUsageError: the scope is that of a session or notebook, and there is none here.
    """
    place = viewer.place(scope)
    if not place and scope in ("session", "working"):
        raise LoomUsageError(
            f"a note of scope {scope!r} belongs to a {'session' if scope == 'session' else 'notebook'}",
            cause="here is none",
            fixes=["scope='persistent'"],
        )
    return place


def checked(field: str, value: Any) -> Any:
    """A value as a field of a note has it.

    Raises:
        LoomUsageError: there is no such field, or it does not take this value; it says what it takes.
    """
    match field:
        case "text":
            return _text(value)
        case "category":
            return _label(value, "category", empty=True)
        case "tags":
            return _tags(value)
        case "pinned":
            return _flag(value)
        case "importance":
            return _importance(value)
        case "scope":
            if value not in SCOPES:
                raise LoomUsageError(f"scope: {value!r:.80} is none", fixes=[f"one of {', '.join(SCOPES)}"])
            return value
    raise LoomUsageError(f"a note has no field {field!r:.80}", cause=f"its fields: {', '.join(FIELDS)}")


def id_of(text: str, salt: int = 0) -> str:
    """An id for a note that begins with these words: without clock and chance, so that a run replays."""
    digest = hashlib.sha256(f"{salt}\0{text}".encode("utf-8", "surrogatepass")).digest()
    number = int.from_bytes(digest[:5], "big")
    return "".join(_DIGITS[number >> shift & 31] for shift in range(35, 3, -5))


_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # no i, l, o, u: they are read as others, or as words


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise LoomUsageError(f"text: a note is words, not {type(value).__name__}")
    text = clean(value).strip()
    if not text:
        raise LoomUsageError("text: a note without words says nothing")
    if len(text) > MOST_TEXT:
        raise LoomUsageError(
            f"text: a note has at most {MOST_TEXT:,} characters, this {len(text):,}",
            fixes=["Capability.knowledge(...) is for documents"],
        )
    return text


def _tags(value: Any) -> tuple[str, ...]:
    given = [one for one in value.split(",") if one.strip()] if isinstance(value, str) else value
    if not isinstance(given, Iterable):
        raise LoomUsageError("tags: a list of words", fixes=["tags=['work', 'food']"])
    tags = tuple(dict.fromkeys(_label(one, "tags") for one in given))
    if len(tags) > MOST_TAGS:
        raise LoomUsageError(f"tags: at most {MOST_TAGS}")
    return tags


def _label(value: Any, field: str, *, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise LoomUsageError(f"{field}: {value!r:.80} is no word")
    label = " ".join(clean(value).split())
    if len(label) <= 4 * MOST_TAG:  # no form of Unicode is longer; of more marks, time would be quadratic
        label = unicodedata.normalize("NFC", label)
    if len(label) > MOST_TAG or (not label and not empty):
        raise LoomUsageError(f"{field}: 1 to {MOST_TAG} characters")
    return label


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise LoomUsageError(f"pinned: True or False, not {value!r:.80}")
    return value


def _importance(value: Any) -> float:
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    if not 0 <= number <= 1:
        raise LoomUsageError(f"importance: a number from 0 to 1, not {value!r:.80}", fixes=["importance=0.5"])
    return float(number)
