"""What the words of a text are, so that a question and what it looks for meet.

One reading for index and query: compatibility forms are made one (NFKC), case and accents are let go,
`camelCase` and `snake_case` are also found by their parts, and scripts without blanks between words
(Chinese, Japanese, Korean, Thai and their neighbours) are read in pairs of characters.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from loom_nb.retrieval.stop_words import STOP_WORDS, is_small_talk, without_stop_words

TOKENIZE = """tokenize = "porter unicode61 remove_diacritics 2 categories 'L* N* M* Co Cn'\""""
"""The clause of `CREATE VIRTUAL TABLE … USING fts5(…)` for columns that hold `index_text`.

Marks belong to the words of Indic scripts; what SQLite has not heard of (Cn) are letters of newer ones.
"""
MAX_QUERY_CHARS = 4_000
"""Of a longer query the beginning is read: what is asked stands there."""
MAX_TERMS = 32
"""Terms of a query that are looked for; of more, the longest, which say the most."""
MAX_WORD_CHARS = 64
"""A longer word is cut: it is a line of base64, not a word."""
MAX_MARKS = 30
"""Marks upon one letter that are read, as the stream-safe text format of Unicode has them (UAX #15, 13)."""

_DENSE = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Letters of scripts that are read in pairs."""
_SIGNS = "".join(
    char
    for char in map(chr, (*range(0x0E00, 0x1200), *range(0x1780, 0x1800), *range(0x3040, 0x3200)))
    if unicodedata.category(char)[0] in "PS"
)
"""What is no letter among them."""
_MARKS = "\u0300-\u036f" + "".join(
    char for char in map(chr, range(0x0900, 0x0E00)) if unicodedata.category(char).startswith("M")
)
"""What is written above, below or beside a letter, in Latin and in the scripts of India."""
_RUN = re.compile(rf"(?P<dense>(?:(?![{_SIGNS}])[{_DENSE}])+)|(?P<word>(?:[^\W_{_DENSE}]|[{_MARKS}])+)")
_PLACED = re.compile(rf"(?P<dense>(?:(?![{_SIGNS}])[{_DENSE}])+)|(?:[^\W{_DENSE}]|[{_MARKS}])+(?:\+\+|#)?")
_HALF_MARKS = "\uff9e\uff9f"
"""Letters that normalisation makes marks of."""
_MARKED = re.compile(rf"(?:[^\w\s]|[{_HALF_MARKS}]){{{MAX_MARKS + 1},}}")
_SHARP = re.compile(r"(?<![^\W_])([a-zA-Z])(\+\+|#)(?![^\W_])")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SPELT = {"++": "plusplus", "#": "sharp"}
_MARK = re.compile("[\u0300-\u036f]+")
_VOWEL = re.compile("[aeiouy]")
ENGLISH = STOP_WORDS["en"]
"""Words that no text is known by."""


@dataclass(frozen=True, slots=True)
class Term:
    """One word of a query."""

    word: str
    """As it is indexed."""
    parts: tuple[str, ...] = ()
    """The words that it is made of: a text that has all of them is found as well."""

    @property
    def whole(self) -> str:
        """The word itself as a legal part of an FTS5 expression, in quotes."""
        return _quoted(self.word)

    @property
    def expression(self) -> str:
        """It, or all of its parts, as a legal part of an FTS5 expression."""
        return (
            f"({self.whole} OR ({' AND '.join(f'{_quoted(part)}' for part in self.parts)}))"
            if self.parts
            else self.whole
        )


def words(text: str) -> list[str]:
    """The words of a text that is indexed, in order; pure letters and digits, lower case.

    Of a run of Chinese or the like there are all characters and all pairs; of `readTheFile` there are
    `readthefile`, `read`, `the`, `file`.
    """
    found: list[str] = []
    for kind, run in _runs(text):
        if kind == "dense":
            found += run
            found += _pairs(run)
        else:
            found += _forms(run)
    return list(filter(None, found))


def placed_words(text: str) -> Iterator[tuple[int, str]]:
    """The words of a text, each with the place in it at which it begins, or what it is a part of."""
    for found in _PLACED.finditer(text):
        start, run = found.start(), found.group()
        if found.lastgroup != "dense":
            plain = run.isascii() and run.isalnum() and run.islower()
            yield from ((start, word) for word in ([run[:MAX_WORD_CHARS]] if plain else words(run)))
        elif unicodedata.is_normalized("NFKC", run):
            yield from ((start + at, char) for at, char in enumerate(run))
            yield from ((start + at, pair) for at, pair in enumerate(_pairs(run)))
        else:
            yield from ((start + at, word) for at in range(len(run)) for word in words(run[at : at + 2]))


def stream_safe(text: str) -> str:
    """A text of which each letter has at most `MAX_MARKS` marks, so that it is normalised in linear time."""
    return text if text.isascii() else _MARKED.sub(_without_more_marks, text)


def index_text(text: str) -> str:
    """What is put into a column of FTS5 in place of a text: its words, with blanks between them."""
    return " ".join(words(text))


def query_terms(query: str) -> tuple[Term, ...]:
    """What a question looks for: its words without stop words and greetings, each once.

    Empty where nothing is left, as of "hi", of "what is it?" or of a row of emoji.
    """
    terms: dict[str, Term] = {}
    plain: list[str] = []
    for kind, run in _runs(query[:MAX_QUERY_CHARS]):
        if kind == "dense":
            if not is_small_talk(run):
                terms |= {pair: Term(pair) for pair in (_pairs(run) or [run])}
            continue
        whole, *parts = _forms(run)
        if not whole:  # a row of marks
            continue
        plain.append(whole)
        terms[whole] = Term(whole, tuple(parts))
    kept = without_stop_words(plain)
    dropped = set(plain) - set(kept)
    rest = [term for word, term in terms.items() if word not in dropped]
    if len(rest) > MAX_TERMS:
        longest = set(sorted((term.word for term in rest), key=len, reverse=True)[:MAX_TERMS])
        rest = [term for term in rest if term.word in longest][:MAX_TERMS]
    return tuple(rest)


def terms(query: str) -> list[str]:
    """The words that a question looks for; see `query_terms`."""
    return [term.word for term in query_terms(query)]


def _runs(text: str) -> Iterator[tuple[str, str]]:
    """Words and dense runs in order, normalised but for their case."""
    flat = unicodedata.normalize("NFKC", stream_safe(text))
    flat = _SHARP.sub(lambda found: found[1] + _SPELT[found[2]], flat)
    for found in _RUN.finditer(flat):
        run = found.group()
        yield (found.lastgroup or "word"), run


def _without_more_marks(found: re.Match[str]) -> str:
    kept, marks = [], 0
    for char in found.group():
        is_mark = char in _HALF_MARKS or unicodedata.category(char).startswith("M")
        marks = marks + 1 if is_mark else 0
        if marks <= MAX_MARKS:
            kept.append(char)
    return "".join(kept)


def _forms(run: str) -> list[str]:
    """A word as it is indexed, and its parts where it is written in camel case."""
    whole = _plain(run)
    if run.islower() or run.isupper() or not run.isascii():
        return [whole]
    parts = [_plain(part) for part in _CAMEL.split(run)]
    return [whole, *parts] if len(parts) > 1 else [whole]


def _plain(word: str) -> str:
    """Without case and accents."""
    if word.isascii():
        return word.lower()[:MAX_WORD_CHARS]
    bare = _MARK.sub("", unicodedata.normalize("NFKD", word.casefold()))
    return unicodedata.normalize("NFC", bare)[:MAX_WORD_CHARS]


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]


def _quoted(word: str) -> str:
    return f'"{word}"'


def stems(text: str) -> list[str]:
    """The words of a text without those that say nothing, cut down to what their forms share."""
    return [stem(word) for word in words(text) if word not in ENGLISH]


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """An English word without the endings of plural, participle and past; others mostly as they are."""
    if len(word) < 4 or not word.isascii():
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        bare = word.removesuffix(ending)
        if bare != word and len(bare) > 2 and _VOWEL.search(bare):
            doubled = bare[-1] == bare[-2] and bare[-1] not in "lsz"
            return bare[:-1] if doubled else bare.removesuffix("e")
    return word.removesuffix("e") if len(word) > 4 else word
