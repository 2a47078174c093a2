"""Arguments from words: what a text offers for the parameters of a tool.

Each piece of the text is used once: a span that filled one parameter fills no other.
"""

import datetime as dt
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from loom_nb.models.offline.arithmetic import NUMBER, expression, number, numbers
from loom_nb.models.offline.slots import Role, Slot
from loom_nb.models.offline.words import STOPWORDS, likeness, nearest, stem, terms

MAX_CALLS = 8
"""Calls that one sentence is spread over at most: "weather in Paris, Rome and Oslo" is three."""

_QUOTED = re.compile(
    r"\"([^\"\n]{1,2000})\"|“([^”\n]{1,2000})”|„([^“\n]{1,2000})“|«\s?([^»\n]{1,2000}?)\s?»|`([^`\n]{1,2000})`|(?<!\w)'([^'\n]{1,2000})'(?!\w)"
)
_PATH = re.compile(
    r"(?<![\w/])(?:~|\.{1,2})?/?(?:[\w.-]+/)*[\w-]+(?:\.[A-Za-z]\w{0,5})(?![\w/])|(?<!\S)(?:~|\.{1,2})?/[\w./-]+|(?<!\S)[\w.-]+/[\w./-]*"
)
_URL = re.compile(r"https?://[^\s<>\"'`)]{1,2000}|www\.[^\s<>\"'`)]{1,500}")
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?(?:Z|[+-]\d{2}:\d{2})?)?")
_CAPITAL = re.compile(
    r"\b[^\W\d_a-zß-öø-ÿ][\w'\u2019-]*(?:\s+(?:(?:de|da|del|la|le|van|von|of|the)\s+)?[^\W\d_a-zß-öø-ÿ][\w'\u2019-]*)*"
)
_ONE_NAME = rf"(?:\"[^\"\n]{{1,80}}\"|'[^'\n]{{1,80}}'|`[^`\n]{{1,80}}`|“[^”\n]{{1,80}}”|{_CAPITAL.pattern})"
_A_NAME = rf"(?:{_ONE_NAME}|[^\W\d]\w*)"
_BETWEEN = re.compile(rf"(?i:\bbetween)\s+(?P<one>{_A_NAME})\s+(?:and|to)\s+(?P<two>{_A_NAME})")
_FROM_TO = re.compile(rf"(?i:\bfrom)\s+(?P<one>{_A_NAME})\s+(?:to|until)\s+(?P<two>{_A_NAME})")
_TO_FROM = re.compile(rf"(?i:\bto)\s+(?P<two>{_A_NAME})\s+from\s+(?P<one>{_A_NAME})")
_JOINED = re.compile(r"[^\d,]{0,20}?\s*(?:,|\band\b|\bor\b|\bund\b|\bet\b|&)\s*(?:and\s+)?")
_STOP_AT = (
    r"(?=\s+(?:in|for|of|at|from|to|near|by|with|on|into|until|using|as|please|now|today"
    r"|tomorrow|and then|then|right now|bitte)\b|[?!;:\n]|\.(?:\s|$)|$)"
)
_FILLER = re.compile(
    r"^(?:the|a|an|my|our|this|that|city of|town of|file|column|called|named|name|der|die|das|le|la|el)\s+",
    re.I,
)
_PREPOSITIONS: dict[str, str] = {
    "place": "in|for|near|at|of|from|to|à|en|für|bei",
    "person": "named|called|to|for|from|by|is|am|who|dear",
    "column": "by|column|of|on|per|for|from|in|over",
    "variable": "of|in|from|variable|about|for|on|at",
    "from": "from|starting at|von|de",
    "to": "to|into|until|towards|nach|in",
    "free": "for|about|saying|that says|with the text|of|on|named|called",
    "path": "in|from|to|at|file|path|folder",
    "date": "on|at|for|by|since",
    "other": "named|called|for|in|of|by|about|with|as|to|on|from|at",
}
_UNITS = {"f": "fahrenheit", "c": "celsius", "k": "kelvin"}


@dataclass(slots=True)
class Filled:
    """What was found. `spread` holds further values of one slot: each is a call of its own."""

    values: dict[str, Any]
    missing: list[Slot]
    spread: dict[str, list[Any]] = field(default_factory=dict)

    def calls(self) -> list[dict[str, Any]]:
        """One set of arguments for each call."""
        for name, several in self.spread.items():
            return [self.values | {name: value} for value in several[:MAX_CALLS]]
        return [self.values]


@dataclass(frozen=True, slots=True)
class Known:
    """What the notebook offers by name."""

    variables: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


class _Text:
    """A text of which pieces are taken away."""

    __slots__ = ("left", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.left = text  # the same length: what is taken is blanked out

    def take(self, start: int, end: int) -> None:
        self.left = f"{self.left[:start]}{'¦' * (end - start)}{self.left[end:]}"

    def find(self, pattern: str | re.Pattern[str]) -> Iterable[re.Match[str]]:
        compiled = re.compile(pattern, re.IGNORECASE) if isinstance(pattern, str) else pattern
        return (m for m in compiled.finditer(self.left) if "¦" not in m[0])


def fill(
    slots: Sequence[Slot],
    text: str,
    *,
    tool_terms: Iterable[str] = (),
    known: Known = Known(),
    given: dict[str, Any] | None = None,
    sure: bool = False,
) -> Filled:
    """Fill the slots from a text.

    Args:
        slots: the parameters, required ones first.
        text: what the user wrote.
        tool_terms: stems of the words that chose the tool: no values in themselves.
        known: names of variables and columns.
        given: values that are already there.
        sure: take only what the text ties to a slot, never a leftover (for data that must not be guessed).
    """
    source = _Text(text)
    filled = Filled(dict(given or {}), [])
    words = tuple(tool_terms)
    steps = (_explicit, _choices, _booleans, _names, _shaped, _lists, _beside, _in_order)
    for step in steps:
        open_slots = [slot for slot in slots if slot.name not in filled.values]
        step(open_slots, source, filled, known)
    _strings([slot for slot in slots if slot.name not in filled.values], source, filled, words, sure)
    _last_list([slot for slot in slots if slot.name not in filled.values], source, filled, words, sure)
    _spread_numbers(slots, source, filled)
    filled.missing = [slot for slot in slots if slot.required and slot.name not in filled.values]
    return filled


def shaped(text: str) -> frozenset[Role]:
    """The roles of which a text holds a value that is known by its form."""
    forms: dict[Role, re.Pattern[str]] = {"url": _URL, "email": _EMAIL, "path": _PATH, "date": _DATE}
    return frozenset(role for role, form in forms.items() if form.search(text))


def answer(slot: Slot, text: str, known: Known = Known()) -> Any:
    """The value in a short answer to "which …?", or None when it holds none that fits."""
    only = replace(slot, required=True)
    found = fill([only], text, known=known).values.get(slot.name)
    if found is not None:
        return found
    quoted = _QUOTED.search(text)
    plain = next(group for group in quoted.groups() if group) if quoted else text.strip().strip(".!")
    plain = re.sub(
        r"^(?:it is|it's|the|use|take|please|i mean|my|in|for|at|es ist|nimm)\s+", "", plain, flags=re.I
    )
    return as_kind(plain, slot) if plain else None


def as_kind(text: str, slot: Slot) -> Any:
    """A piece of text as a value of the slot's kind, or None."""
    text = text.strip()
    if slot.choices and slot.kind != "array":
        return next((choice for choice in slot.choices if str(choice).lower() == text.lower()), None)
    match slot.kind:
        case "string":
            return text or None
        case "integer" | "number":
            value = number(text) if text else None
            whole = value is not None and float(value).is_integer() and abs(value) < 1e300
            return (int(value) if whole else None) if slot.kind == "integer" and value is not None else value
        case "boolean":
            return {
                "true": True,
                "yes": True,
                "on": True,
                "ja": True,
                "false": False,
                "no": False,
                "off": False,
            }.get(text.lower())
        case "array":
            return _list_of(text, slot)
        case "object":
            return _json(text, dict)
    value = number(text)
    return value if value is not None else text or None


def _explicit(slots: Sequence[Slot], source: _Text, filled: Filled, known: Known) -> None:
    """``name=value``, ``name: value``, ``name is value``."""
    value = r"(\[[^\]\n]*\]|\{[^\n]*\}|\"[^\"\n]*\"|'[^'\n]*'|`[^`\n]*`|[^\s,;]+)"
    for slot in slots:
        spelled = re.escape(slot.name).replace("_", "[_ ]")
        for match in source.find(
            rf"(?<![\w.]){spelled}(?![\w])\s*(?:=|:|\bis\b|\bset to\b|\bequals?\b)\s*{value}"
        ):
            raw = match[1]
            bare = (
                raw[1:-1] if raw[:1] in "\"'`" and raw[-1:] == raw[:1] and len(raw) > 1 else raw.rstrip(".?!")
            )
            found = as_kind(bare, slot)
            if found is not None:
                filled.values[slot.name] = found
                source.take(*match.span())
                break


def _choices(slots: Sequence[Slot], source: _Text, filled: Filled, known: Known) -> None:
    for slot in slots:
        found: list[tuple[int, Any]] = []
        for choice in slot.choices:
            spelled = re.escape(str(choice)).replace("_", "[_ -]")
            if choice is None or isinstance(choice, bool) or not str(choice):
                continue
            for match in source.find(rf"(?<![\w-]){spelled}(?:e?s)?(?![\w-])"):
                found.append((match.start(), choice))
                source.take(*match.span())
                break
        if found:
            ordered = [choice for _, choice in sorted(found, key=lambda pair: pair[0])]
            filled.values[slot.name] = ordered if slot.kind == "array" else ordered[0]
            if slot.required and slot.kind != "array" and len(ordered) > 1 and not filled.spread:
                filled.spread[slot.name] = ordered
        elif slot.choices and slot.kind != "array":
            said = terms(source.left)
            near = [
                choice
                for choice in slot.choices
                if isinstance(choice, str) and any(likeness(stem(choice), t) for t in said)
            ]
            if len(near) == 1:
                filled.values[slot.name] = near[0]


def _booleans(slots: Sequence[Slot], source: _Text, filled: Filled, known: Known) -> None:
    for slot in slots:
        if slot.kind != "boolean" or not slot.about:
            continue
        for match in source.find(
            r"(\b(?:not|no|without|don't|never|ohne|nicht)\s+(?:any\s+|the\s+)?)?\b([^\W\d_]+)\b"
        ):
            if nearest(stem(match[2]), slot.about) == 1.0:
                filled.values[slot.name] = not match[1]
                source.take(*match.span())
                break


def _names(slots: Sequence[Slot], source: _Text, filled: Filled, known: Known) -> None:
    """Names of variables and columns that the text mentions."""
    for slot in slots:
        if slot.kind != "string" or slot.choices:
            continue
        among = known.columns if slot.role == "column" else known.variables if slot.role == "variable" else ()
        for name in sorted(among, key=len, reverse=True):
            match = next(iter(source.find(rf"(?<![\w]){re.escape(name)}(?![\w])")), None)
            if match:
                filled.values[slot.name] = name
                source.take(*match.span())
                break


def _shaped(slots: Sequence[Slot], source: _Text, filled: Filled, known: Known) -> None:
    """What is known by its form: addresses, paths, dates, formulas."""
    for slot in slots:
        if slot.kind not in ("string", "any") or slot.choices:
            continue
        if slot.role == "expression":
            formula = expression(source.left)
            if formula:
                filled.values[slot.name] = formula
                source.take(0, len(source.left))
            continue
        spaced = _quoted_path(source) if slot.role == "path" else None
        if spaced is not None:
            filled.values[slot.name] = _inside(spaced)
            source.take(*spaced.span())
            continue
        pattern = {"url": _URL, "email": _EMAIL, "path": _PATH, "date": _DATE}.get(slot.role)
        if slot.role in ("from", "to", "other") and _is_date(slot):
            pattern = _DATE
        match = (
            next((m for m in source.find(pattern) if pattern is not _DATE or _real_date(m[0])), None)
            if pattern
            else None
        )
        if match:
            filled.values[slot.name] = match[0].rstrip(".,;")
            source.take(*match.span())


def _quoted_path(source: _Text) -> re.Match[str] | None:
    """A path between marks, which may hold blanks."""
    return next((match for match in source.find(_QUOTED) if _PATH.search(_inside(match))), None)


def _is_date(slot: Slot) -> bool:
    return any(word in ("date", "dat", "day", "iso", "yyyy") for word in (*slot.about, *slot.hints))


def _real_date(text: str) -> bool:
    try:
        dt.date.fromisoformat(text[:10])
    except ValueError:
        return False
    return True


def _lists(slots: Sequence[Slot], source: _Text, filled: Filled, known: Known) -> None:
    arrays = [slot for slot in slots if slot.kind in ("array", "object")]
    for slot in arrays:
        brackets = next(
            iter(source.find(r"\[[^\[\]\n]{0,4000}\]" if slot.kind == "array" else r"\{[^{}\n]{0,4000}\}")),
            None,
        )
        if brackets:
            found = as_kind(brackets[0], slot)
            if found is not None:
                filled.values[slot.name] = found
                source.take(*brackets.span())
            continue
        if (
            slot.kind == "object"
            or slot.item in ("object", "array")
            or (not slot.required and len(arrays) > 1)
        ):
            continue
        _list_in_words(slot, source, filled, known)


def _list_in_words(slot: Slot, source: _Text, filled: Filled, known: Known) -> None:
    if slot.item in ("integer", "number", "any"):
        found = numbers(source.left)
        values = [value for _, _, value in found if slot.item != "integer" or isinstance(value, int)]
        if values and (slot.required or len(values) > 1):
            filled.values[slot.name] = values
            for start, end, _ in found:
                source.take(start, end)
            return
    if slot.item in ("string", "any") and not slot.choices:
        named = [name for name in known.columns if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", source.left)]
        quoted = [_inside(match) for match in source.find(_QUOTED)]
        phrase = (
            _after(source, "of|for|in|with|columns?|items?|named")
            if not (quoted or named) and slot.required
            else None
        )
        values_of = (
            named if slot.role == "column" and named else quoted or (_enumerated(phrase[0]) if phrase else [])
        )
        if values_of:
            filled.values[slot.name] = list(values_of)
            for value in values_of:
                place = source.left.find(str(value))
                if place >= 0:
                    source.take(place, place + len(str(value)))


def _beside(slots: Sequence[Slot], source: _Text, filled: Filled, known: Known) -> None:
    """Numbers next to a word of the parameter's name or description: "100 fahrenheit", "limit 5"."""
    for rank in (1.0, 0.8, 0.5):
        for slot in slots:
            if not (slot.numeric or slot.kind == "any") or slot.name in filled.values:
                continue
            about = slot.about if rank > 0.5 else slot.hints
            for start, end, value in numbers(source.left):
                after = re.match(r"\s*(?:-\s*)?(?:°\s*)?([^\W\d_]+)", source.left[end : end + 40])
                before = re.search(
                    r"([^\W\d_]+)\s*(?:of|is|to|=|:)?\s*$", source.left[max(0, start - 40) : start]
                )
                beside = [stem(match[1]) for match in (after, before) if match]
                if after and after[1] in ("F", "C", "K"):
                    beside.append(stem({"F": "fahrenheit", "C": "celsius", "K": "kelvin"}[after[1]]))
                counts = "top" in beside or "first" in beside or "last" in beside or "head" in beside
                fits = any(nearest(word, about) >= min(rank, 0.8) for word in beside if word not in STOPWORDS)
                if (fits or (rank == 1.0 and counts and slot.counts)) and _fits(value, slot):
                    filled.values[slot.name] = int(value) if slot.kind == "integer" else value
                    named = after is not None and nearest(stem(after[1]), slot.about) >= 0.8
                    source.take(start, end + after.end() if after and named else end)
                    break


def _in_order(slots: Sequence[Slot], source: _Text, filled: Filled, known: Known) -> None:
    """The numbers that are left, for the numeric parameters that are left; then those without a type."""
    quotes = sum(1 for _ in source.find(_QUOTED))
    untyped = [slot for slot in slots if slot.kind == "any" and slot.required and not slot.choices]
    loose = [slot for slot in untyped if slot.role in ("other", "free") or slot.counts]
    for slot in [slot for slot in loose if not slot.counts][:quotes]:
        loose.remove(slot)  # the texts between marks come first
    wanted = [slot for slot in slots if slot.numeric] + loose
    open_slots = [slot for slot in wanted if slot.name not in filled.values]
    for slot in open_slots:
        place = next(
            (
                one
                for one in numbers(source.left)
                if _fits(one[2], slot) and not _other_unit(source.left[one[1] :], slot)
            ),
            None,
        )
        if place is None:
            continue
        start, end, value = place
        filled.values[slot.name] = int(value) if slot.kind == "integer" else value
        source.take(start, end)


def _other_unit(after: str, slot: Slot) -> bool:
    """Whether a number is given in another unit than the one the parameter is named after."""
    units = {stem(name) for name in _UNITS.values()}
    match = re.match(r"\s*(?:degrees?\s+)?°?\s*([^\W\d_]+)", after)
    if match is None or not units.intersection(slot.about):
        return False
    said = stem(_UNITS.get(match[1].lower(), match[1]))
    return said in units and said not in slot.about


def _spread_numbers(slots: Sequence[Slot], source: _Text, filled: Filled) -> None:
    """One number is asked for and several are given: each is a call of its own."""
    needed = [slot for slot in slots if slot.required]
    if filled.spread or len(needed) != 1 or not needed[0].numeric or needed[0].name not in filled.values:
        return
    slot = needed[0]
    if any(other.numeric and other is not slot and other.name in filled.values for other in slots):
        return
    found = [place for place in numbers(source.text) if _fits(place[2], slot)]
    gaps = [source.text[one[1] : two[0]] for one, two in pairwise(found)]
    if gaps and all(_JOINED.fullmatch(gap) for gap in gaps):
        filled.spread[slot.name] = [int(value) if slot.kind == "integer" else value for _, _, value in found]


def _fits(value: float, slot: Slot) -> bool:
    return slot.kind in ("number", "any") or (abs(value) < 1e300 and float(value).is_integer())


def _strings(
    slots: Sequence[Slot], source: _Text, filled: Filled, words: tuple[str, ...], sure: bool
) -> None:
    open_slots = [
        slot
        for slot in slots
        if slot.kind in ("string", "any")
        and not slot.choices
        and slot.role not in ("url", "email", "date", "expression")
    ]
    _units(open_slots, source, filled)
    _two(open_slots, source, filled, words)
    for slot in open_slots:
        quoted = next(iter(source.find(_QUOTED)), None)
        if quoted and slot.name not in filled.values:
            filled.values[slot.name] = _inside(quoted)  # a number between marks stays text
            source.take(*quoted.span())
    ordered = sorted(open_slots, key=lambda slot: slot.role not in ("from", "to"))
    for slot in ordered:
        if slot.name in filled.values or not (
            slot.required or slot.role in ("column", "place", "from", "to")
        ):
            continue
        found = _phrase(slot, source, words, alone=sum(s.required for s in open_slots) == 1, sure=sure)
        if not found:
            continue
        several = _enumerated(found) if slot.role != "free" and slot.required else [found]
        several = [as_kind(one, slot) for one in several] if slot.kind == "any" else several
        filled.values[slot.name] = several[0]
        if len(several) > 1 and not filled.spread and sum(s.required for s in slots) == 1:
            filled.spread[slot.name] = list(several)


def _last_list(
    slots: Sequence[Slot], source: _Text, filled: Filled, words: tuple[str, ...], sure: bool
) -> None:
    """A list without marks, as in "tag apples, pears and plums": what is left of the text."""
    needed = [slot for slot in slots if slot.required]
    if (
        sure
        or len(needed) != 1
        or needed[0].kind != "array"
        or needed[0].item != "string"
        or needed[0].choices
    ):
        return
    left = _leftover(source, words)
    if left and needed[0].role != "column":
        filled.values[needed[0].name] = _enumerated(re.split(r"\s+(?:in|to|into|from|with|as)\s+", left)[0])


def _units(slots: Sequence[Slot], source: _Text, filled: Filled) -> None:
    """``100 usd to eur``: two names with a "to" between them."""
    start = next((slot for slot in slots if slot.role == "from" and slot.name not in filled.values), None)
    end = next((slot for slot in slots if slot.role == "to" and slot.name not in filled.values), None)
    if start is None or end is None:
        return
    match = re.search(r"¦+\s*([^\W\d_]{1,20})\s+(?:to|in|into|as)\s+([^\W\d_]{1,20})", source.left)
    if match:
        filled.values[start.name], filled.values[end.name] = match[1], match[2]
        source.take(*match.span(1))
        source.take(*match.span(2))


def _two(slots: Sequence[Slot], source: _Text, filled: Filled, words: tuple[str, ...]) -> None:
    """Two names for two parameters: "between A and B", "from A to B", "city A and other B", "A, B"."""
    roles = ("place", "person", "other", "from", "to")
    pair = [slot for slot in slots if slot.required and slot.name not in filled.values and slot.role in roles]
    if len(pair) != 2:
        return
    for slot in pair:
        own = re.escape(slot.name).replace("_", "[_ ]")
        match = re.search(rf"(?i:\b{own})\s+({_ONE_NAME})", source.left)
        if match:
            filled.values[slot.name] = match[1].strip("\"'`“”")
            source.take(*match.span(1))
    if any(slot.name in filled.values for slot in pair):
        return
    match = _BETWEEN.search(source.left) or _FROM_TO.search(source.left) or _TO_FROM.search(source.left)
    if match:
        spans = [match.span("one"), match.span("two")]
    else:
        spans = _capitals(source.left, words)
        alone = re.fullmatch(r"(\S+)\s+(\S+)", source.left[slice(*spans[0])]) if len(spans) == 1 else None
        if alone:
            start = spans[0][0]
            spans = [(start + begin, start + end) for begin, end in (alone.span(1), alone.span(2))]
    if len(spans) != 2 or any("¦" in source.left[start:end] for start, end in spans):
        return
    ordered = pair[::-1] if pair[0].role == "to" and pair[1].role == "from" else pair
    for slot, (start, end) in zip(ordered, spans, strict=True):
        filled.values[slot.name] = source.left[start:end].strip("\"'`“” ")
    for start, end in spans:
        source.take(start, end)


def _capitals(text: str, words: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where the names with a capital stand; a verb at the beginning is none."""
    found = []
    for match in _CAPITAL.finditer(text):
        start, end = match.span()
        first = match[0].split()[0]
        if start == 0 and (stem(first) in words or first.lower() in STOPWORDS):
            start = end - len(match[0][len(first) :].lstrip())
        if start < end and text[start:end].lower() not in STOPWORDS and stem(text[start:end]) not in words:
            found.append((start, end))
    return found


def _phrase(slot: Slot, source: _Text, words: tuple[str, ...], *, alone: bool, sure: bool) -> str | None:
    """The words that name the value of a slot: after a preposition, with a capital, or what is left."""
    if slot.role == "path":
        return None  # a path has its own form; anything else would be a guess
    if sure and slot.role not in ("place", "person", "from", "to"):
        return None
    own = "|".join(re.escape(word) for word in slot.name.lower().split("_"))
    spans = [
        _after(
            source, f"{own}|{_PREPOSITIONS.get(slot.role, _PREPOSITIONS['other'])}", bare=slot.role == "free"
        )
    ]
    if slot.role in ("place", "person", "from", "to", "other"):
        spans.append(_capital(source, words, telling=sure))
    for span in spans:
        if span and _says_something(span[0], words) and (not sure or span[0][0].isupper()):
            source.take(span[1], span[2])
            return span[0]
    if sure or not slot.required:
        return None
    if slot.role == "free" or (alone and slot.role not in ("column", "variable")):
        return _leftover(source, words)
    last = re.search(r"([^\W\d]\w*)\W*$", source.left)
    if alone and last and stem(last[1]) not in words and last[1].lower() not in STOPWORDS:
        return last[1]
    return None


def _after(source: _Text, cues: str, *, bare: bool = False) -> tuple[str, int, int] | None:
    stop = r"(?=[?!;\n]|\.(?:\s|$)|$)" if bare else _STOP_AT
    for match in re.finditer(rf"\b(?:{cues})\s+([^¦?!;\n]{{1,400}}?)\s*{stop}", source.left, re.IGNORECASE):
        start, end = match.span(1)
        phrase = match[1]
        while (shorter := _FILLER.sub("", phrase)) != phrase:
            start += len(phrase) - len(shorter)
            phrase = shorter
        trimmed = re.sub(
            r"(?:[\s,]+(?:please|now|right now|today|tomorrow|currently|again|bitte))+$",
            "",
            phrase,
            flags=re.I,
        ).strip(" ,.")
        if trimmed and trimmed.lower() not in STOPWORDS and not NUMBER.fullmatch(trimmed):
            return trimmed, start, end
    return None


def _capital(source: _Text, words: tuple[str, ...], *, telling: bool = False) -> tuple[str, int, int] | None:
    """The first name with a capital; that a sentence begins with one counts where it tells of it."""
    found = [
        m for m in _CAPITAL.finditer(source.left) if m[0].lower() not in STOPWORDS and stem(m[0]) not in words
    ]
    tells = re.compile(r"\s+(?:is|was|has|had|lives|likes|works|turned|aged)\b|\s*[,:(]")
    found = [
        m
        for m in found
        if m.start() > 0 or " " in m[0] or len(found) == 1 or (telling and tells.match(source.left, m.end()))
    ]
    if not found:
        return None
    first = found[0]
    end = first.end()
    for more in found[1:]:  # "Paris, Rome and Oslo"
        if not re.fullmatch(r"\s*(?:,|and|or|und|et|y|&|,\s*and)\s*", source.left[end : more.start()]):
            break
        end = more.end()
    return source.left[first.start() : end], first.start(), end


def _leftover(source: _Text, words: tuple[str, ...]) -> str | None:
    """What is left at the end when the words that chose the tool are gone."""
    spans = [m.span() for m in re.finditer(r"[^\s¦]+", source.left)]
    while spans:
        start, end = spans[0]
        word = source.left[start:end].strip("?.!,:;()'\"").lower()
        if word and word not in STOPWORDS and not any(likeness(stem(word), term) for term in words):
            break
        spans.pop(0)
    if not spans:
        return None
    rest = source.left[spans[0][0] : spans[-1][1]].replace("¦", "").strip(" ?.!,:;")
    return rest if _says_something(rest, words) else None


def _says_something(phrase: str, words: tuple[str, ...]) -> bool:
    return any(nearest(term, words) != 1.0 for term in terms(phrase)) or bool(
        re.search(r"[^\W_]", phrase) and not terms(phrase) and phrase.lower() not in STOPWORDS
    )


def _enumerated(phrase: str) -> list[str]:
    parts = re.split(r"\s*(?:,\s*(?:and|or|und|et|y)\s+|,|\s+(?:and|or|und|et|y|&)\s+)\s*", phrase)
    cleaned = [re.sub(r"^(?:in|for|the|of)\s+", "", part.strip(), flags=re.I) for part in parts]
    return [part for part in dict.fromkeys(cleaned) if part][:MAX_CALLS]


def _inside(match: re.Match[str]) -> str:
    return next((group for group in match.groups() if group), "").strip()


def _list_of(text: str, slot: Slot) -> list[Any] | None:
    parsed = _json(text, list)
    if parsed is None:
        parts = [
            part.strip().strip("\"'`") for part in re.split(r",|;|\s+and\s+|\s+und\s+", text.strip("[]() "))
        ]
        parsed = [number(part) if slot.item in ("integer", "number") else part for part in parts if part]
    kinds: dict[str, type | tuple[type, ...]] = {
        "integer": int,
        "number": (int, float),
        "string": str,
        "boolean": bool,
    }
    wanted = kinds.get(slot.item)
    if not parsed or (wanted and not all(isinstance(one, wanted) for one in parsed)):
        return None
    return list(parsed)


def _json(text: str, kind: type) -> Any:
    try:
        value = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, kind) else None
