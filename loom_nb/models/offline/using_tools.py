"""Carrying out a request with tools: which, with what, in which order, and what came of it."""

import difflib
import json
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loom_nb.errors import LoomError
from loom_nb.models.offline import phrasing
from loom_nb.models.offline.arithmetic import number
from loom_nb.models.offline.asking import ask_for
from loom_nb.models.offline.choice import Clause
from loom_nb.models.offline.direct import ASK
from loom_nb.models.offline.fill import MAX_CALLS, Known, fill
from loom_nb.models.offline.slots import Slot, schema_of, slots_of
from loom_nb.models.offline.steps import Answer, Calls, Plan
from loom_nb.models.offline.tables import inline
from loom_nb.models.offline.task import Outcome, Task, last_results, value_in
from loom_nb.models.offline.words import likeness, stem, terms
from loom_nb.tools import Tool

MAX_CLAUSES = 4
_RESULT = re.compile(
    r"\b(?:the (?:result|sum|product|answer|total|difference|output|outcome|quotient)|that result"
    r"|its result|das ergebnis|le résultat)\b",
    re.I,
)
_IT = re.compile(r"\b(?:it|that|this|them|those)\b", re.I)
_FROM = re.compile(r"\b(subtract|take|deduct)\s+(\S+)\s+(?:away\s+)?from\s+(\S+?)(?=[\s.,;?!]|$)", re.I)
_NOT_CALLED = "was not called, its arguments are wrong: "
"""What the runtime says of a call that never ran; anything else comes from the tool itself."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Arguments for a clause, or the question that stands in the way."""

    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    question: str = ""
    lacks: Slot | None = None
    """The parameter that the question is for."""


def use_tools(task: Task, clauses: Sequence[Clause], given: dict[str, Any] | None = None) -> Plan:
    """Call the tool of each clause: side by side where they are independent, else one after the other."""
    known = task.known
    earlier = last_results(task)
    done: list[Outcome] = []
    this: list[Outcome] = []
    waiting = list(clauses[:MAX_CLAUSES])
    while waiting:
        batch: list[tuple[str, dict[str, Any]]] = []
        why: list[str] = []
        asked = ""
        while waiting:
            clause = waiting[0]
            if batch and _looks_back(clause.text):
                break
            ready = prepare(task, clause, known, this or list(earlier), given or {}, chained=bool(this))
            if ready.question and batch:
                break  # what comes first may give what is missing
            waiting.pop(0)
            if ready.question:
                ready = yield from _with_answers(
                    task, clause, known, ready, given or {}, this or list(earlier)
                )
            asked = ready.question
            if asked:
                break
            batch += ready.calls
            why.append(reason(clause))
        if asked:
            return Answer("\n\n".join([*([phrasing.reported(done)] if done else []), asked]))
        results = yield Calls(tuple(batch[:MAX_CALLS]), "picking " + ", ".join(why))
        results = yield from mend(task, results)
        done += results
        this = [outcome for outcome in results if not outcome.is_error]
        if waiting and not this and _looks_back(waiting[0].text):
            break
    return Answer(phrasing.reported(done))


def _with_answers(
    task: Task, clause: Clause, known: Known, ready: Ready, given: dict[str, Any], results: Sequence[Outcome]
) -> Generator[Calls, tuple[Outcome, ...], Ready]:
    """The calls of a clause after the person was asked for what they lack; without `ask_user` as it was."""
    tool = clause.choice.tool
    own = {name: value for name, value in given.items() if task.given_tool == tool.name}
    answered: set[str] = set()
    while ready.lacks is not None and ready.lacks.name not in answered and task.tool(ASK) is not None:
        value, problem = yield from ask_for(task, ready.lacks, tool.name)
        if problem:
            return Ready(question=problem)
        answered.add(ready.lacks.name)
        own[ready.lacks.name] = value
        ready = prepare(replace(task, given_tool=tool.name), clause, known, results, own)
    return ready


def reason(clause: Clause) -> str:
    """Why a tool was picked, in a few words."""
    spoken = ", ".join(f"“{word}”" for word in clause.choice.because[:4])
    return f"{clause.choice.tool.name} because of {spoken}" if spoken else clause.choice.tool.name


def prepare(
    task: Task,
    clause: Clause,
    known: Known,
    results: Sequence[Outcome],
    given: dict[str, Any],
    *,
    chained: bool = False,
) -> Ready:
    """The calls of a clause with valid arguments, or a question for what is missing."""
    tool, slots = clause.choice.tool, clause.choice.slots
    own = {name: value for name, value in given.items() if task.given_tool == tool.name}
    text = _FROM.sub(r"\1 \3 minus \2", _with_values(task, clause.text, slots))
    text = _with_results(text, results, chained=chained)
    filled = fill(slots, text, tool_terms=clause.choice.terms, known=known, given=own)
    spare = [value_in(outcome.text) if _wants_value(filled.missing) else outcome.text for outcome in results]
    for slot in list(filled.missing):
        value = (
            next((fitting for one in spare if (fitting := _as(slot, one)) is not None), None)
            if chained
            else None
        )
        if value is not None:
            filled.values[slot.name] = value
            filled.missing.remove(slot)
    if filled.missing:
        return Ready(question=phrasing.question(filled.missing[0], tool), lacks=filled.missing[0])
    wanted = [{slot.name: one[slot.name] for slot in slots if slot.name in one} for one in filled.calls()]
    for arguments in wanted:
        wrong = problem_with(tool, arguments)
        if wrong:
            named = [slot for slot in slots if slot.name == wrong[0]] or list(slots[:1])
            if not named:
                return Ready(question=f"I cannot call `{tool.name}`: {inline(wrong[1])}")
            told = phrasing.question(named[0], tool, wrong[1][:200])
            return Ready(question=told, lacks=named[0])
    return Ready(tuple((tool.name, arguments) for arguments in wanted))


def problem_with(tool: Tool, arguments: dict[str, Any]) -> tuple[str, str] | None:
    """(parameter, what is wrong) where the tool would not take the arguments."""
    try:
        tool.validate(json.dumps(arguments, ensure_ascii=False))
    except LoomError as error:
        told = error.title.split("arguments are wrong:")[-1].strip()
        field, _, message = told.partition(":")
        return field.split(".")[0].strip(), message.split(";")[0].strip() or told
    return None


def _looks_back(text: str) -> bool:
    return _RESULT.search(text) is not None or _IT.search(text) is not None


def _with_values(task: Task, text: str, slots: Sequence[Slot]) -> str:
    """Short values from the notebook in the place of their names, unless the tool wants the name."""
    if any(slot.role in ("variable", "column") for slot in slots):
        return text
    for name, part in task.parts.items():
        value = value_in(part.text)
        spelled = _spelled(value)
        if spelled:
            text = re.sub(rf"(?<![\w]){re.escape(name)}(?![\w])", lambda _, s=spelled: s, text)  # type: ignore[misc]  # mypy cannot infer a default in a lambda
    return text


def _with_results(text: str, results: Sequence[Outcome], *, chained: bool) -> str:
    """The value of an earlier result in the place of "the result", "it", "that"."""
    values = [value for outcome in results if (value := value_in(outcome.text)) is not None]
    if not values:
        return text
    pattern = _RESULT if _RESULT.search(text) else _IT
    spelled = _spelled(values[-1])
    return (
        pattern.sub(lambda _: spelled, text, count=1)
        if spelled and (chained or not isinstance(values[-1], str))
        else text
    )


def _spelled(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return f'"{value}"' if '"' not in value else ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else ""


def _wants_value(missing: Sequence[Slot]) -> bool:
    return any(slot.kind != "string" for slot in missing)


def _as(slot: Slot, value: Any) -> Any:
    """A result where a parameter is missing, if its kind fits."""
    match slot.kind:
        case "string":
            return (
                str(value)
                if isinstance(value, str) and slot.role != "variable" and not slot.choices
                else None
            )
        case "integer":
            return value if isinstance(value, int) and not isinstance(value, bool) else None
        case "number":
            return value if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "array":
            return value if isinstance(value, list) else None
    return value if slot.kind == "any" else None


def mend(
    task: Task, results: tuple[Outcome, ...]
) -> Generator[Calls, tuple[Outcome, ...], tuple[Outcome, ...]]:
    """Try failed calls once more where the error and the text offer something better."""
    fixes = {
        place: fixed
        for place, one in enumerate(results)
        if one.is_error and (fixed := mended(task, one)) is not None
    }
    if not fixes:
        return results
    names = ", ".join(sorted({results[place].name for place in fixes}))
    again = yield Calls(
        tuple((results[place].name, arguments) for place, arguments in fixes.items()),
        f"trying {names} again with what the error suggests",
    )
    for place, outcome in zip(fixes, again, strict=False):
        results = (*results[:place], outcome, *results[place + 1 :])
    return results


def mended(task: Task, outcome: Outcome) -> dict[str, Any] | None:
    """Other arguments for a call that never ran because one was wrong, or None.

    A tool that ran and failed is not called again: it may have done something, and who asked did not
    say with what else to try.
    """
    tool = task.tool(outcome.name)
    _, refused, problem = outcome.text.partition(_NOT_CALLED)
    if tool is None or not refused:
        return None
    wrong = {told.split(":")[0].split(".")[0].strip() for told in problem.split("; ")}
    for slot in slots_of(schema_of(tool)):
        used = outcome.arguments.get(slot.name)
        better = _better(slot, used, problem, task) if slot.name in wrong else None
        if better is not None and better not in outcome.arguments.values():
            arguments = outcome.arguments | {slot.name: better}
            if problem_with(tool, arguments) is None:
                return arguments
    return None


def _better(slot: Slot, used: Any, error: str, task: Task) -> Any:
    if slot.kind == "string":
        offered = [
            word
            for word in re.findall(r"[^\s,;:()\[\]{}\"'`]+", error[:2000])
            if word != used and len(word) > 1
        ]
        offered += [name for name in task.known.columns if name != used] if slot.role == "column" else []
        if isinstance(used, str):
            same = [word for word in offered if word.lower().rstrip(".") == used.lower()]
            near = difflib.get_close_matches(
                used, [word.rstrip(".") for word in offered if len(word) > 2], 1, cutoff=0.75
            )
            if same or near:
                return same[0].rstrip(".") if same else near[0]
        said = terms(task.text)
        quoted = re.findall(r"['\"`]([^'\"`\n]{1,80})['\"`]", error[:2000])
        return next((w for w in quoted if w != used and any(likeness(stem(w), t) == 1.0 for t in said)), None)
    if slot.numeric:
        other = [number(found) for found in re.findall(r"-?\d+(?:\.\d+)?", task.text[:1000])]
        return next((value for value in other if value is not None and value != used), None)
    return None
