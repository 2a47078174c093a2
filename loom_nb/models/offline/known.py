"""What notes, documents and skills say: written down, looked up, and quoted with the number of its passage.

A passage is data. The sentences of it that answer a question are quoted; nothing in one is ever followed.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

from loom_nb.models.offline import phrasing, recall
from loom_nb.models.offline.direct import (
    ACTIVATE,
    FORGET,
    LIST_NOTES,
    LIST_SKILLS,
    REMEMBER,
    SEARCH_DOCUMENTS,
    SEARCH_NOTES,
)
from loom_nb.models.offline.steps import Answer, Calls, Plan
from loom_nb.models.offline.tables import inline
from loom_nb.models.offline.task import Outcome, Passage, Task
from loom_nb.models.offline.wishes import unquoted
from loom_nb.models.offline.words import stem, terms, words

ENOUGH = 0.5
"""The share of what a question asks for that a sentence must hold, its rare words counting more."""
QUOTED = 3
"""Sentences of an answer."""
_FORGET = re.compile(
    r"^\s*(?:please\s+|can you\s+|could you\s+)?forget\s+(?:about\s+|that\s+"
    r"|what i (?:said|told you) about\s+|the note (?:about|on|that)\s+|everything about\s+)?"
    r"(?P<what>.{3,300}?)[\s.!?]*$",
    re.I | re.S,
)
_SKILL = re.compile(
    r"\b(?:use|activate|follow|apply|run|load|with)\s+(?:the\s+)?(?:[`“\"]?(?P<first>[a-z0-9][a-z0-9-]{1,63})"
    r"[`”\"]?\s+skill\b|skill\s+[`“\"]?(?P<then>[a-z0-9][a-z0-9-]{1,63}))",
    re.I,
)
_SKILLS = re.compile(r"\b(?:which|what|list|show)\b.{0,30}\bskills\b|^\s*skills\s*\??\s*$", re.I)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^a-z\s])|\n+")


def ordered(task: Task) -> Plan | None:
    """The plan of a request that wants something written down, forgotten, listed or activated."""
    text = task.text
    if task.tool(REMEMBER) is not None and recall.wants_note(text) and recall.facts(text):
        return _remember(_told(text))
    wish = _FORGET.match(text)
    if wish is not None and task.tool(FORGET) is not None and task.tool(SEARCH_NOTES) is not None:
        return _forget(wish["what"])
    if task.tool(LIST_NOTES) is not None and recall.asks_for_all(text):
        return _list_notes()
    if task.tool(ACTIVATE) is not None and (named := _SKILL.search(text)) is not None:
        return _activate((named["first"] or named["then"]).lower(), text)
    if task.tool(LIST_SKILLS) is not None and _SKILLS.search(text):
        return _list_skills()
    return None


def may_know(task: Task) -> bool:
    """Whether there is anything to look a question up in."""
    return bool(task.exchange.found) or any(task.tool(name) for name in (SEARCH_DOCUMENTS, SEARCH_NOTES))


def answered(task: Task) -> Plan | None:
    """The plan of a question that notes or documents may answer; None where there are none."""
    return _look_up(task) if may_know(task) and terms(task.text) else None


def _look_up(task: Task) -> Plan:
    said = quoted(task.text, task.exchange.found)
    if said is not None:
        return said
    asked = [name for name in (SEARCH_DOCUMENTS, SEARCH_NOTES) if task.tool(name) is not None]
    looked: tuple[Outcome, ...] = ()
    if asked:
        looked = yield Calls(
            tuple((name, {"query": task.text[:300]}) for name in asked),
            f"picking {' and '.join(asked)} because the answer may stand there",
        )
        said = quoted(task.text, [passage for outcome in looked for passage in outcome.passages])
        if said is not None:
            return said
    failed = [outcome for outcome in looked if outcome.is_error]
    if failed:
        return Answer(phrasing.reported(failed))
    where = " or ".join(
        word
        for word, name in (("your documents", SEARCH_DOCUMENTS), ("your notes", SEARCH_NOTES))
        if task.tool(name) is not None
    )
    return Answer(
        f"I find nothing about that in {where or 'what I was given'}.", "nothing that was found fits"
    )


def quoted(question: str, passages: Sequence[Passage]) -> Answer | None:
    """The sentences that answer a question, each with the number or the note it stands in."""
    asked = list(dict.fromkeys(terms(question)))
    lines = [line for passage in passages for line in _lines(passage)]
    if not asked or not lines:
        return None
    weights = _weights(asked, lines)
    scored = sorted(
        ((_score(line, weights), -place, line) for place, line in enumerate(lines)),
        key=lambda one: one[:2],
        reverse=True,
    )
    best = scored[0][0]
    if best < ENOUGH * sum(weights.values()):
        return None
    least = max(0.85 * best, ENOUGH * sum(weights.values()))
    good = {line.text: line for score, _, line in reversed(scored) if score >= least}
    return _told_of(list(reversed(good.values()))[:QUOTED])


def _told_of(lines: Sequence["_Line"]) -> Answer:
    says = [f"{inline(one.text)} {one.passage.mark}".strip() for one in lines]
    notes = {one.passage.kind == "memory" for one in lines}
    start = "Your notes say: " if notes == {True} else ""
    if len(says) == 1:
        return Answer(f"{start}{says[0]}", "quoted from what was found")
    each = "\n".join(f"- {one}" for one in says)
    return Answer(f"{start or 'I find:'}\n\n{each}", "quoted from what was found")


@dataclass(frozen=True, slots=True)
class _Line:
    """A sentence of a passage."""

    text: str
    passage: Passage
    stems: frozenset[str]
    around: frozenset[str]
    """Stems of what stands over it: title and headings."""


def _lines(passage: Passage) -> Iterable[_Line]:
    around = frozenset(terms(passage.head))
    for sentence in _SENTENCE.split(passage.body):
        text = sentence.strip(" \t-*•>#|")
        if len(text) >= 4:
            yield _Line(text, passage, frozenset(map(stem, words(text))), around)


def _weights(asked: Sequence[str], lines: Sequence[_Line]) -> dict[str, float]:
    """What each word of a question counts: the rarer in the passages, the more."""
    among = Counter(term for line in lines for term in line.stems | line.around)
    return {term: log(1 + len(lines) / (1 + among[term])) + 0.2 for term in asked}


def _score(line: _Line, weights: dict[str, float]) -> float:
    inside = sum(weight for term, weight in weights.items() if _has(line.stems, term))
    return inside and inside + sum(
        0.5 * weight
        for term, weight in weights.items()
        if not _has(line.stems, term) and _has(line.around, term)
    )


def _has(stems: frozenset[str], term: str) -> bool:
    return term in stems or (len(term) > 4 and any(one.startswith(term[:5]) for one in stems if len(one) > 4))


def _told(text: str) -> str:
    """What is to be written down, as the user said it."""
    said = next((match[1] for pattern in recall.TOLD if (match := pattern.search(text[:4000]))), "")
    said = unquoted(" ".join(said.split()).strip(" .!")).strip()
    return f"{said[0].upper()}{said[1:]}." if said else ""


def _remember(told: str) -> Plan:
    results = yield Calls(((REMEMBER, {"text": told}),), f"picking {REMEMBER} because you said so", acts=True)
    return Answer(_after(results, f"Noted: {inline(told)}"))


def _forget(what: str) -> Plan:
    looked = yield Calls(
        ((SEARCH_NOTES, {"query": what[:300]}),), f"picking {SEARCH_NOTES} to find the note", acts=True
    )
    found = [passage for outcome in looked for passage in outcome.passages if passage.source]
    if not found:
        return Answer(_after(looked, f"I find no note about “{inline(what)}”."))
    first = found[0]
    results = yield Calls(
        ((FORGET, {"note_id": first.source}),), f"picking {FORGET} because you said so", acts=True
    )
    return Answer(_after(results, f"Forgotten: {inline(first.body)} (`{first.source}`)"))


def _after(results: Sequence[Outcome], words_of_success: str) -> str:
    """What is said of calls that were ordered: what went wrong, or that it is done, and how."""
    if any(outcome.is_error for outcome in results):
        return phrasing.reported(results)
    more = "; ".join(inline(outcome.text) for outcome in results if not outcome.passages and outcome.text)
    return f"{words_of_success} ({more})" if more else words_of_success


def _list_notes() -> Plan:
    results = yield Calls(((LIST_NOTES, {}),), f"picking {LIST_NOTES} because you ask for all")
    if any(outcome.is_error for outcome in results):
        return Answer(phrasing.reported(results))
    notes = [inline(passage.body) for outcome in results for passage in outcome.passages]
    if not notes:
        return Answer("There are no notes yet. Say *remember that …*.")
    each = "\n".join(f"- {note}" for note in notes)
    return Answer(f"Your notes:\n\n{each}")


def _activate(name: str, text: str) -> Plan:
    results = yield Calls(
        ((ACTIVATE, {"name": name, "arguments": _applied_to(text)}),),
        f"picking {ACTIVATE} because you name it",
    )
    passages = [passage for outcome in results for passage in outcome.passages]
    if any(outcome.is_error for outcome in results) or not passages:
        return Answer(phrasing.reported(results))
    each = "\n".join(f"> - {inline(step)}" for step in _steps(passages[0].body))
    return Answer(
        f"The skill `{name}` is active. It says, among other things:\n\n{each}\n\nI am a demo of fixed rules"
        " and follow no procedure; a real model now works by it, with the tools that it allows."
    )


def _applied_to(text: str) -> str:
    """What a skill is to be used on: the words behind its name; else all of them."""
    named = _SKILL.search(text)
    rest = text[named.end() :] if named is not None else ""
    on = re.match(r"\s*(?:skill\s+)?(?:on|for|to|with|about)\s+(.+)", rest, re.I | re.S)
    return (on[1] if on else text).strip(" .!?\n")[:500]


def _steps(body: str) -> list[str]:
    """The numbered lines of a procedure, or its first sentences: without marks, the first six."""
    paragraphs = [" ".join(one.split()) for one in re.split(r"\n(?=\s*(?:\d+\.|[-*#]|\n))", body)]
    numbered = [one for one in paragraphs if re.match(r"\d+\. ", one)]
    plain = [one for one in paragraphs[1:] if one and not one.startswith("#")]
    steps = [re.sub(r"^(?:\d+\.|[-*])\s+|\*\*", "", one) for one in numbered or plain]
    return [one if len(one) <= 160 else f"{one[:159]}…" for one in steps[:6]]


def _list_skills() -> Plan:
    results = yield Calls(((LIST_SKILLS, {}),), f"picking {LIST_SKILLS} because you ask for them")
    if any(outcome.is_error for outcome in results):
        return Answer(phrasing.reported(results))
    rows = [
        line.lstrip("- ") for outcome in results for one in outcome.passages for line in one.body.splitlines()
    ]
    return Answer("\n".join(f"- {inline(row)}" for row in rows) or "There are no skills here.")
