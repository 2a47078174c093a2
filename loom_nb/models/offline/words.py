"""Words as the offline model compares them: stems, a small table of synonyms, clauses of a sentence."""

import re
from collections.abc import Iterable

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_CUT = re.compile(r"\s*(?:[;!?\n]+|\.(?=\s|$)|,?\s+(?:and then|then|and|und|et|y)\s+|,\s*)\s*", re.IGNORECASE)


def spelled(text: str) -> frozenset[str]:
    """A set of words written one after the other."""
    return frozenset(text.split())


STOPWORDS: frozenset[str] = spelled(
    """
    a an and any are as at be been but by can could did do does for from give had has have her here him his
    how i i'd i'll i'm if in into is it it's its just kindly know let let's like me may might mine much must
    my need now of off on one or our out over per please shall she should so some tell than thanks that
    that's the their them then there these they this those to today tomorrow too under up us use using very
    want was we were what what's when where which who whose why will with without would yesterday you your
    currently right also again okay ok about bitte der die das ein eine einen ist sind ich mir mich und wie
    viel welche welcher welches was in im für von mit le la les un une des du de et est sont je moi mes mon
    ma s'il vous plaît quel quelle quelles quels que el los las una unos es son yo mi mis por favor qué cuál
    cuáles y
    """
)
"""Words that say nothing of which tool is meant, or with which argument."""

_GROUPS = (
    "describe summarise summarize summary inspect explore overview examine profile beschreibe décris "
    "describir",
    "show list display print enumerate zeige montre muestra",
    "add sum plus total addiere",
    "multiply times product mal",
    "subtract minus difference",
    "divide quotient divided ratio",
    "power exponent",
    "weather forecast wetter météo",
    "read open load",
    "write save store",
    "find search lookup look query",
    "delete remove erase drop",
    "send mail email",
    "time clock hour",
    "convert transform conversion",
    "plot chart draw graph figure",
    "variable data dataframe frame dataset notebook daten variablen données datos",
    "mean average avg durchschnitt moyenne mittelwert",
    "median middle",
    "max maximum highest largest biggest greatest most",
    "min minimum lowest smallest least",
    "compute calculate evaluate calculator calculation",
    "row record observation",
    "missing null nan na empty",
    "column field",
    "file document",
    "greet hello salute",
    "picture image photo",
    "price cost",
    "count number many",
    "top best first head",
    "url link website page",
    "temperature degree",
)

GENERIC: frozenset[str] = spelled(
    "get set do make run fetch show list use call tool my by to of for is has are can"
)
"""Parts of a tool's name that many names have."""


def stem(word: str) -> str:
    """The word without its ending, for comparison only."""
    word = word.lower().replace("\u2019", "'").removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)]
            if len(ending) > 2 and len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


_CANON: dict[str, str] = {}
for _group in _GROUPS:
    _members = _group.split()
    for _member in _members:
        _CANON.setdefault(stem(_member), stem(_members[0]))


def words(text: str) -> list[str]:
    """The words of a text, as written."""
    return _WORD.findall(text)


def name_words(name: str) -> list[str]:
    """The words in an identifier: ``get_weather``, ``getWeather``."""
    return [word.lower() for part in re.split(r"[\W_]+", name) for word in _CAMEL.split(part) if word]


def terms(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order."""
    return [stem(word) for word in words(text) if word.lower() not in STOPWORDS]


def stems(texts: Iterable[str]) -> list[str]:
    """Stems of words that are given one by one."""
    return [stem(text) for text in texts]


def likeness(one: str, other: str) -> float:
    """How near two stems are: 1 the same, 0.8 synonyms, 0 strangers."""
    if one == other:
        return 1.0
    canon = _CANON.get(one)
    return 0.8 if canon is not None and canon == _CANON.get(other) else 0.0


def nearest(term: str, among: Iterable[str]) -> float:
    """The best likeness of a stem to any of several."""
    return max((likeness(term, other) for other in among), default=0.0)


def pieces(text: str) -> list[tuple[int, int]]:
    """Where the pieces between commas, full stops and "and" begin and end; quoted text is not cut."""
    quoted = [match.span() for match in re.finditer(r"\"[^\"\n]*\"|`[^`\n]*`|“[^”\n]*”", text)]
    found: list[tuple[int, int]] = []
    start = 0
    for cut in _CUT.finditer(text):
        inside = any(begin < cut.start() < end for begin, end in quoted)
        thousands = (
            text[cut.start() : cut.end()] == "," and cut.end() < len(text) and text[cut.end()].isdigit()
        )
        if inside or thousands:
            continue
        if text[start : cut.start()].strip():
            found.append((start, cut.start()))
        start = cut.end()
    if text[start:].strip():
        found.append((start, len(text)))
    return found
