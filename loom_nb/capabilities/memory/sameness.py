"""Whether a text says what notes say already, so that a memory does not grow by copying itself.

Two notes are the same if their words are, whatever their case, punctuation and articles. A text is told
already if it is a piece of one note, word for word, or made of whole notes and nothing else: so a number that
changed or names that changed places make it news, and what was recalled and is said again is none.
"""

import hashlib
import re
from collections.abc import Sequence

from loom_nb.retrieval.analysis import words

_FILLER_WORDS = """
    a an the that this is are to of and please remember note der die das dass ein eine ist sind
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
_LEAST = 3
"""Words of a note that a longer text may take the place of."""


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
    if any(
        _holds(new, old) and _denials(new, text) == _denials(old, note)
        for old, note in zip(known, notes, strict=True)
    ):
        return True
    rest = _line(new)
    for old in sorted(filter(None, known), key=len, reverse=True):
        rest = rest.replace(_line(old), "  ")
    return not rest.strip()


def extends(text: str, note: str) -> bool:
    """Whether a text says all that a note says, in the same words, and more."""
    new, old = said(text), said(note)
    return _LEAST <= len(old) < len(new) and _holds(old, new)


def _holds(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether words stand in others one behind the other."""
    return _line(part) in _line(whole)


def _line(said: Sequence[str]) -> str:
    """Words with blanks around each, to be looked for as a text: in C, and in linear time."""
    return f" {' '.join(said)} "


def _denials(said: Sequence[str], text: str) -> int:
    return sum(word in _NEGATIONS for word in said) + len(_CHINESE_NO.findall(text))
