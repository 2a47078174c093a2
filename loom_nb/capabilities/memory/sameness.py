"""Whether a text says what notes say already, so that a memory does not grow by copying itself.

Two notes are the same if their words are, whatever their case, punctuation and articles. A text is told
already if all its words stand in the notes nearest to it, and nearly all of them in the same order: so a
number that changed makes it news, and what was recalled and is said again does not.
"""

import hashlib
import re
from collections.abc import Sequence

from loom_nb.retrieval.analysis import words

_FILLER_WORDS = """
    a an the that this is are was were to of and please remember note der die das dass ein eine ist sind
    und le la les un une est sont et que el los las es son y"""
_FILLERS = frozenset(_FILLER_WORDS.split())
_NEGATIONS = frozenset(
    (
        "not",
        "no",
        "never",
        "without",
        "nicht",
        "kein",
        "keine",
        "keinen",
        "nie",
        "ohne",
        "pas",
        "jamais",
        "sans",
    )
)
_CHINESE_NO = re.compile("[不没無无非未别]")
_RUN = 3
_SHARE = 0.8
"""Of the runs of three words that have to be known."""


def said(text: str) -> list[str]:
    """The words of a text that say something, in order."""
    return [word for word in words(text) if word not in _FILLERS]


def digest(text: str, scope: str, place: str) -> bytes:
    """Equal for notes that say the same to the same."""
    told = " ".join(said(text)) or text
    return hashlib.sha256("\0".join((scope, place, told)).encode("utf-8", "surrogatepass")).digest()[:16]


def is_told(text: str, notes: Sequence[str]) -> bool:
    """Whether a text says nothing that does not stand in these notes."""
    new = said(text)
    if not new:
        return False
    known = [said(note) for note in notes]
    if not set(new) <= {word for note in known for word in note} or _denials(new, text) != max(
        (_denials(old, note) for old, note in zip(known, notes, strict=True) if set(old) & set(new)),
        default=0,
    ):
        return False
    size = min(_RUN, len(new))
    runs = _runs(new, size)
    stand = {run for note in known for run in _runs(note, size)}
    return len(runs & stand) >= _SHARE * len(runs)


def extends(text: str, note: str) -> bool:
    """Whether a text says all that a note says, in the same words, and more."""
    new, old = said(text), said(note)
    if len(old) < _RUN or len(new) <= len(old):
        return False
    return any(new[at : at + len(old)] == old for at in range(len(new) - len(old) + 1))


def _runs(said: Sequence[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(said[at : at + size]) for at in range(len(said) - size + 1)}


def _denials(said: Sequence[str], text: str) -> int:
    return sum(word in _NEGATIONS for word in said) + len(_CHINESE_NO.findall(text))
