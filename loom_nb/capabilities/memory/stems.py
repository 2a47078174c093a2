"""Stems: what is left of a word when its ending is let go, so that "meetings" finds "meet".

Light on purpose, and the same for index and query: endings of English, German and French. What is cut
wrongly is cut wrongly on both sides, and does no harm beyond a few words that meet by chance.
"""

from functools import lru_cache

from loom_nb.retrieval.analysis import query_terms, words

_ENDINGS = (
    "ierungen", "isation", "ization", "ements", "ingly", "ungen", "ation", "ement", "ments", "ierung",
    "edly", "ness", "ment", "ence", "ance", "able", "ible", "ings", "lich", "heit", "keit", "ions",
    "eren", "ing", "ung", "ion", "ies", "ied", "ern", "est", "ent", "ant", "end", "ers", "ier", "eux",
    "ed", "es", "en", "er", "em", "ly", "is", "ez", "e", "s", "y", "i",
)  # fmt: skip
_SHORTEST = 4
"""Letters that are left at least."""


@lru_cache(65_536)
def stem(word: str) -> str:
    """What is left of a word in lower case; of what is short, or no word of letters, all of it."""
    if len(word) <= _SHORTEST or not word.isascii() or not word.isalpha():
        return word[:-1] if len(word) == _SHORTEST and word.endswith("s") and word[-2] != "s" else word
    left = word
    for _ in range(2):  # "meetings": s, then ing
        ending = next((e for e in _ENDINGS if left.endswith(e) and len(left) - len(e) >= _SHORTEST), "")
        if not ending or left.endswith("ss"):
            break
        left = left[: -len(ending)]
    if len(left) > _SHORTEST and left[-1] == left[-2] and left[-1] not in "ls":
        left = left[:-1]  # preferr-ed
    return left


def indexed(text: str) -> str:
    """The stems of a text, with blanks between them, as they are put into the index."""
    return " ".join(map(stem, words(text)))


def asked(query: str) -> dict[str, tuple[str, ...]]:
    """The stems that a question looks for, in order, each with those of its parts."""
    return {stem(term.word): tuple(map(stem, term.parts)) for term in query_terms(query)}


def typed_word(text: str) -> str:
    """The word at the end of a text that somebody is typing; empty behind a blank or a mark."""
    if not text or not text[-1].isalnum():
        return ""
    found = words(text)
    return found[-1] if found and found[-1].isascii() and len(found[-1]) > 1 else ""


def shorter(typed: str) -> list[str]:
    """Stems that a word which is being typed may have when it is whole: "meetin" is on its way to "meet"."""
    return [stem(typed), *(typed[:-cut] for cut in range(1, 4) if len(typed) - cut >= _SHORTEST)]
