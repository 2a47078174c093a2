"""Which tool a text means: its words against the name, description and parameters of each tool."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from loom_nb.models.offline.arithmetic import numbers
from loom_nb.models.offline.direct import ALWAYS, BY_RULE, KNOWING
from loom_nb.models.offline.fill import fill, shaped
from loom_nb.models.offline.recall import is_question
from loom_nb.models.offline.slots import Slot, schema_of, slots_of
from loom_nb.models.offline.words import GENERIC, likeness, name_words, nearest, pieces, stem, terms, words
from loom_nb.tools import Tool

ENOUGH = 2.0
"""The score from which a tool is meant."""
ENOUGH_TO_ACT = 2.3
"""The same for a tool that does more than look."""
_NOT_CHOSEN = KNOWING | {"read_result"}
"""Tools of the runtime itself, for models that ask for the rest of a long text, and those that have rules."""
_OF_NOTEBOOK = frozenset({"list_variables", "inspect_variable"}) | ALWAYS
_SIGNS = (("*", "multiply"), ("\u00d7", "multiply"), ("+", "add"), ("/", "divide"), ("÷", "divide"))
_UNITS = {"f": "fahrenheit", "c": "celsius", "k": "kelvin"}


@dataclass(frozen=True, slots=True)
class Choice:
    """A tool with the reasons to take it."""

    tool: Tool
    slots: tuple[Slot, ...]
    score: float
    because: tuple[str, ...]
    """The words of the text that speak for it."""
    leads: bool = False
    """Whether the text begins with the word that the description begins with, or a word of the name."""

    @property
    def meant(self) -> bool:
        """Whether the reasons are enough."""
        return self.score >= (ENOUGH if self.tool.read_only else ENOUGH_TO_ACT)

    @property
    def touched(self) -> bool:
        """Whether the text begins with what the tool does, or has two words of it."""
        return self.score > 0 and (self.leads or len(self.because) >= 2)

    @property
    def terms(self) -> tuple[str, ...]:
        """Stems that chose the tool and so are no values."""
        named = [stem(word) for word in name_words(self.tool.name)]
        return (*named, *(stem(word) for word in self.because))


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of the request that one tool carries out."""

    text: str
    choice: Choice


def choose(text: str, tools: Sequence[Tool]) -> Choice | None:
    """The tool that a text means most, or None."""
    said = _said(text)
    scored = [_score(tool, text, said) for tool in tools if _may_be_chosen(tool, text)]
    best = max(scored, key=lambda choice: choice.score, default=None)  # the first of equals
    return best if best is not None and best.meant else None


def _may_be_chosen(tool: Tool, text: str) -> bool:
    """Whether words may mean a tool at all: one that tells what it would do acts only on an order."""
    if tool.name in _NOT_CHOSEN:
        return False
    if tool.assess is None and tool.name not in BY_RULE:
        return True
    if "_" in tool.name and re.search(rf"(?<!\w){re.escape(tool.name)}(?!\w)", text[:4000]):
        return True
    return tool.name not in BY_RULE and (tool.read_only or not is_question(text))


def clauses(text: str, tools: Sequence[Tool]) -> list[Clause]:
    """The request cut at "and", "then", commas and full stops, where another tool begins."""
    spans = pieces(text)
    if len(spans) > 40:
        spans = [*spans[:39], (spans[39][0], len(text))]
    opened: list[tuple[int, Choice]] = []
    for start, end in spans:
        choice = choose(text[start:end], tools)
        if choice is None:
            continue
        same = bool(opened) and opened[-1][1].tool.name == choice.tool.name
        if not same or _leads(text[start:end], choice):
            opened.append((start if opened else 0, choice))
    if not opened:
        whole = choose(text, tools) or _only(text, tools)
        return [Clause(text, whole)] if whole else []
    ends = [*(start for start, _ in opened[1:]), len(text)]
    found = []
    for (start, choice), end in zip(opened, ends, strict=True):
        part = re.sub(r"(?:[\s,;]+(?:and then|and|then|und|et))?[\s,;]*$", "", text[start:end])
        found.append(Clause(part, choice))
    return found


def _only(text: str, tools: Sequence[Tool]) -> Choice | None:
    """The one tool that the user handed over, where the words touch what it is for."""
    own = [tool for tool in tools if tool.name not in (*_NOT_CHOSEN, *_OF_NOTEBOOK)]
    if len(own) != 1 or re.match(r"\s*(?:i|we|you|he|she|they|my|our)\b", text, re.I) or len(text) > 400:
        return None
    choice = _score(own[0], text, _said(text))
    if not choice.touched:
        return None
    filled = fill(choice.slots, text, tool_terms=choice.terms)
    return choice if choice.leads or not filled.missing else None


def _leads(piece: str, choice: Choice) -> bool:
    said = terms(piece)
    named = [stem(word) for word in name_words(choice.tool.name) if word not in GENERIC]
    return bool(said) and nearest(said[0], named) > 0


def _said(text: str) -> dict[str, str]:
    """Stems to the words they come from; signs and units count as words."""
    said: dict[str, str] = {}
    for word in words(text[:2000]):
        if terms(word):
            said.setdefault(stem(word), word)
    for one, two in pairwise(words(text[:2000])):  # "big frame" names bigframe
        said.setdefault(stem(f"{one}{two}"), f"{one} {two}")
    for sign, word in _SIGNS:
        if re.search(rf"\d\s*{re.escape(sign)}\s*\d", text[:2000]):
            said.setdefault(stem(word), word)
    for unit in re.findall(r"\d\s*°?\s*([FCK])\b", text[:2000]):
        said.setdefault(stem(_UNITS[unit.lower()]), _UNITS[unit.lower()])
    return said


def _score(tool: Tool, text: str, said: dict[str, str]) -> Choice:
    slots = slots_of(schema_of(tool))
    because: dict[str, None] = {}
    named = [(stem(word), 0.3 if word in GENERIC else 1.0) for word in name_words(tool.name)]
    reached = sum(weight * _hit(one, said, because) for one, weight in named)
    score = 3.0 * reached / max(1.0, sum(weight for _, weight in named))
    told = dict.fromkeys(terms(tool.description[:400]))  # in order: the same thought in every process
    score += min(1.5, 0.75 * sum(_hit(one, said, because) for one in told))
    score += min(1.0, 0.5 * sum(_hit(one, said, because) for slot in slots for one in slot.about))
    score += min(0.5, 0.5 * sum(_choice_named(slot, text) for slot in slots))
    score += min(0.5, 0.5 * sum(slot.role in shaped(text[:2000]) for slot in slots))
    score += min(1.0, 0.5 * sum(_cued(slot, text[:2000]) for slot in slots))
    score += min(1.25, 1.25 * sum(_number_beside(slot, text) for slot in slots))
    if re.search(rf"(?<![\w]){re.escape(tool.name)}(?![\w])", text[:4000]) and (
        "_" in tool.name or f"`{tool.name}`" in text
    ):
        score += 5.0
    first = words(text[:40])[:1]
    opening = stem(first[0]) if first and terms(first[0]) else ""
    leads = bool(opening) and (opening in list(told)[:1] or opening in [one for one, _ in named])
    score += 1.0 if opening and opening in list(told)[:1] else 0.0
    if first and tool.name.startswith(f"{first[0].lower()}_"):  # "is 17 prime?" means is_prime, not primes
        score += 2.0 if reached >= 1.0 else 0.0
    if _refused(text, because):
        score = 0.0
    return Choice(tool, slots, score, tuple(because), leads)


def _hit(one: str, said: dict[str, str], because: dict[str, None]) -> float:
    best, word = 0.0, ""
    for term, spelled in said.items():
        like = likeness(one, term)
        if like > best:
            best, word = like, spelled
    if best:
        because.setdefault(word)
    return best


def _choice_named(slot: Slot, text: str) -> bool:
    return any(
        isinstance(one, str)
        and len(one) > 1
        and re.search(rf"(?<!\w){re.escape(one)}(?!\w)", text[:2000], re.I)
        for one in slot.choices
    )


def _cued(slot: Slot, text: str) -> bool:
    """Whether the text has the turn of phrase that goes with a column, "by …", or a count, "top 3"."""
    if slot.role == "column":
        return re.search(r"\bby\s+\w", text, re.I) is not None
    return slot.numeric and slot.counts and re.search(r"\b(?:top|first|last)\s+\d", text, re.I) is not None


def _number_beside(slot: Slot, text: str) -> float:
    if not slot.numeric:
        return 0.0
    for _, end, _ in numbers(text[:400]):
        after = re.match(r"\s*(?:°\s*|degrees?\s+)?([^\W\d_]+)", text[end : end + 40])
        if after and nearest(stem(_UNITS.get(after[1].lower(), after[1])), slot.about) == 1.0:
            return 1.0
    return 0.0


def _refused(text: str, because: dict[str, None]) -> bool:
    """Whether the user says not to do it."""
    match = re.search(r"\b(?:don't|do not|never|don\u2019t)\s+(\w+)", text[:2000], re.I)
    return bool(match and match[1] in because)
