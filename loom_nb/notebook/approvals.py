"""The commands of `%loom` by which a person decides: approvals, approve, deny, answer, keep, rollback."""

import json
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from loom_nb.errors import AnswerRefused, LoomUsageError, SetupError
from loom_nb.events import Grant, GrantRevoked, QuestionAnswered, QuestionAsked
from loom_nb.inputs import Answer
from loom_nb.notebook import cell as cells
from loom_nb.notebook import past
from loom_nb.notebook.card import Card, Table
from loom_nb.questions import Decision, Question, Scope
from loom_nb.settings import MODE_WORDS, MODES
from loom_nb.wording import one_line

if TYPE_CHECKING:
    from loom_nb.events import LogEntry
    from loom_nb.notebook.workbench import Workbench

_SCOPES: dict[str, Scope] = {"once": "once", "notebook": "call", "session": "tool"}
_SAID = {
    "once": "once",
    "call": "for this exact call in this notebook",
    "tool": "for this tool in this session",
}
MAX_PAST = 15
"""Past decisions in the table."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A question without its answer."""

    question: Question
    session: str
    run: str
    live: bool
    """Whether its run is in this kernel; another one is taken up when it is answered."""

    @property
    def name(self) -> str:
        """How it is typed."""
        return self.question.id if self.live else f"{self.run}/{self.question.id}"


def approvals(bench: "Workbench", words: list[str]) -> Card:
    """What waits and what was decided; with a mode: what runs unasked from now on."""
    if words and words[0] == "forget":
        return _forget(bench, words[1:])
    if words:
        return _set_mode(bench, words)
    entries = bench.store.questions(limit=1000)
    waiting = pending(bench, entries)
    rows = tuple(
        (
            one.name,
            one.run,
            one.question.kind,
            _what(one.question),
            _why(one.question),
            "" if one.live else "yes",
        )
        for one in waiting
    )
    tables = (
        [Table("waiting for you", ("id", "run", "kind", "what", "why it asks", "of another kernel"), rows)]
        if rows
        else []
    )
    decided = _decided(bench, entries)
    if decided:
        tables.append(
            Table("decided here, the newest first", ("id", "run", "decision", "by", "what"), decided)
        )
    steps = [
        (f"%loom approve {one.name}", f'or: %loom deny {one.name} "why"')
        for one in waiting[:2]
        if one.question.approval
    ]
    steps += [
        (f"%loom answer {one.name} VALUE", one.question.title)
        for one in waiting[:2]
        if not one.question.approval
    ]
    steps.append((f"%loom approvals {'edits' if bench.equipment.mode == 'ask' else 'ask'}", "another mode"))
    facts = (
        ("mode", f"{bench.equipment.mode}: {MODE_WORDS[bench.equipment.mode]}"),
        ("waiting", str(len(waiting) or "nothing")),
    )
    return Card("approvals", facts, tuple(tables), steps=tuple(steps))


def _set_mode(bench: "Workbench", words: list[str]) -> Card:
    mode, *code = words
    if mode not in MODES:
        raise LoomUsageError(
            f"%loom approvals: there is no mode '{mode}'",
            cause="; ".join(f"{name}: {told}" for name, told in MODE_WORDS.items()),
            fixes=cells.suggestions(mode, MODES, "%loom approvals {}", otherwise=("%loom approvals ask",)),
        )
    if not bench.equipment.set_mode(mode, code[0] if code else ""):
        return Card(
            "everything would run unasked: commands, edits, requests",
            (("why a code", "a saved cell cannot choose this for you: each kernel has another code"),),
            steps=(
                (f"%loom approvals all {bench.equipment.code}", "chooses it for this kernel"),
                ("%loom approvals edits", "lets only what can be undone run"),
            ),
        )
    return Card(
        f"approvals: {mode}",
        (("from now on", MODE_WORDS[mode]),),
        steps=(("%loom approvals ask", "goes back to asking"),) if mode != "ask" else (),
    )


def approve(bench: "Workbench", words: list[str]) -> Card:
    """Allow a call that waits: once, for this call in this notebook, or for the tool in this session."""
    name, *rest = words or [""]
    reach = rest[0] if rest else "once"
    if reach not in _SCOPES:
        raise LoomUsageError(
            f"%loom approve: '{reach}' is no reach of a leave",
            fixes=[f"%loom approve {name or 'a1'} {one}" for one in _SCOPES],
        )
    one = _one(bench, name, "approve")
    _answer(bench, one, Decision("allow", _SCOPES[reach]))
    return Card(f"{one.name} is allowed {_SAID[_SCOPES[reach]]}", (("call", _what(one.question)),))


def deny(bench: "Workbench", words: list[str]) -> Card:
    """Refuse a call that waits; the agent reads why."""
    name, *why = words or [""]
    one = _one(bench, name, "deny")
    _answer(bench, one, Decision("deny", reason=" ".join(why)))
    return Card(
        f"{one.name} is denied",
        (("call", _what(one.question)), *((("the agent reads", " ".join(why)),) if why else ())),
    )


def answer(bench: "Workbench", words: list[str]) -> Card:
    """Answer a question that waits: yes or no, an option, words, or a form as JSON."""
    name, *rest = words or [""]
    one = _one(bench, name, "answer")
    if one.question.kind == "secret":
        raise LoomUsageError(
            "a secret is not typed into a cell: it would be saved with the notebook",
            fixes=["answer it on its card"],
        )
    _answer(bench, one, _value(one.question, " ".join(rest)))
    return Card(f"{one.name} is answered", (("question", one.question.title),))


def _value(question: Question, text: str) -> Any:
    match question.kind:
        case "confirm":
            known = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
            return known.get(text.lower(), text)
        case "choice" if question.multiple:
            return [part.strip() for part in text.split(",") if part.strip()]
        case "form":
            try:
                return json.loads(text)
            except ValueError as error:
                raise LoomUsageError(
                    f"the form is no JSON: {error}", fixes=[f"%loom answer {question.id} '{{\"field\": 1}}'"]
                ) from None
    return text


def rollback(bench: "Workbench", _: list[str]) -> Card:
    """Take back what the last piece of the agent's code did to the variables."""
    return bench.roll_back()


def keep(bench: "Workbench", _: list[str]) -> Card:
    """Keep what the agent's code did to the variables."""
    return bench.keep_changes()


def pending(bench: "Workbench", entries: "Sequence[LogEntry] | None" = None) -> list[Waiting]:
    """What waits for an answer: in this kernel first, then runs of this notebook whose kernel died."""
    live = [
        Waiting(question, session.id, _run_of(bench, session.id, question), True)
        for session in bench.sessions()
        for question in session.questions
    ]
    known = {(one.session, one.question.id) for one in live}
    mine = {session.id for session in bench.sessions()}
    answered: set[tuple[str, str]] = set()
    left: list[Waiting] = []
    for entry in bench.store.questions(limit=1000) if entries is None else entries:
        match entry.event:
            case QuestionAnswered(question_id=asked):
                answered.add((entry.session, asked))
            case QuestionAsked(question=question) if (entry.session, question.id) not in answered | known:
                if entry.session not in mine:
                    left.append(Waiting(question, entry.session, entry.run, False))
    return [*live, *(one for one in left if bench.can_be_resumed(one.session, one.run))]


def _run_of(bench: "Workbench", session: str, question: Question) -> str:
    for entry in bench.store.questions(limit=200):
        if (
            entry.session == session
            and isinstance(entry.event, QuestionAsked)
            and entry.event.question.id == question.id
        ):
            return entry.run
    return bench.running[-1].id if bench.running else ""


def _one(bench: "Workbench", name: str, command: str) -> Waiting:
    approval = command != "answer"
    waiting = [one for one in pending(bench) if (one.question.approval is not None) == approval]
    hits = [one for one in waiting if name in (one.name, one.question.id, f"{one.run}/{one.question.id}")]
    if not name and len(waiting) == 1:
        return waiting[0]
    if len(hits) == 1 or (hits and hits[0].live):
        return hits[0]
    what = (
        f"'{name}' stands for several"
        if hits
        else f"nothing called '{name}' waits for you"
        if name
        else "say which"
    )
    raise LoomUsageError(
        f"%loom {command}: {what}",
        cause=f"waiting: {', '.join(one.name for one in waiting) or 'nothing'}",
        fixes=[*(f"%loom {command} {one.name}" for one in (hits or waiting)[:2]), "%loom approvals"],
    )


def _answer(bench: "Workbench", one: Waiting, value: Any) -> None:
    reply = Answer(one.question.id, value)
    if one.live:
        session = next(session for session in bench.sessions() if session.id == one.session)
        try:
            session.send(reply)
        except AnswerRefused as refused:
            raise LoomUsageError(refused.title, cause=refused.cause, fixes=refused.fixes) from None
        return
    try:
        bench.take_up(one.session, one.run, reply)
    except SetupError as missing:
        raise LoomUsageError(
            f"{one.run} cannot go on yet: {missing.title}",
            cause=missing.cause or "what its cell gave the agent is not in this kernel",
            fixes=["run the cells that make it first, then this line again; the question stays open"],
        ) from None


def _forget(bench: "Workbench", words: list[str]) -> Card:
    """Take back a leave that reaches further than one call."""
    if not words:
        raise LoomUsageError("%loom approvals forget: say which leave", fixes=["%loom approvals"])
    entries = bench.store.questions(limit=1000)
    mine = _of_this_notebook(bench, entries)
    for entry in entries:
        event = entry.event
        if (
            entry.session in mine
            and isinstance(event, QuestionAnswered)
            and event.grant is not None
            and words[0] in (event.question_id, f"{entry.run}/{event.question_id}")
        ):
            _revoke(bench, event.grant)
            return Card(f"the leave given by {words[0]} is taken back", (("from now on", "it asks again"),))
    raise LoomUsageError(
        f"%loom approvals forget: no leave was given here by '{words[0]}'", fixes=["%loom approvals"]
    )


def _revoke(bench: "Workbench", grant: Grant) -> None:
    """In every open conversation: each has read the leaves for itself."""
    kept = False
    for session in bench.sessions():
        try:
            session.revoke(grant)
        except LoomUsageError:  # nothing has run in it, so it reads the leaves when something does
            continue
        kept = True
    if not kept:
        raise SetupError(
            "nothing has run in this kernel yet, so there is no log to write it to", fixes=["%%loom"]
        )


def _decided(bench: "Workbench", entries: "Sequence[LogEntry]") -> tuple[tuple[str, ...], ...]:
    """Rows of what was decided in this notebook."""
    mine = _of_this_notebook(bench, entries)
    asked = {
        (entry.session, entry.event.question.id): entry.event.question
        for entry in entries
        if isinstance(entry.event, QuestionAsked)
    }
    revoked = (
        {entry.event.grant for entry in entries if isinstance(entry.event, GrantRevoked)}
        if entries
        else set()
    )
    rows = []
    for entry in entries:
        event = entry.event
        if not isinstance(event, QuestionAnswered) or entry.session not in mine:
            continue
        question = asked.get((entry.session, event.question_id))
        told = _decision(event) + (_lasts(event.grant, revoked) if event.grant is not None else "")
        rows.append(
            (event.question_id, entry.run, told, event.by or event.how, _what(question) if question else "")
        )
    return tuple(rows[:MAX_PAST])


def _lasts(grant: Grant, revoked: "Set[Grant]") -> str:
    """Until when a leave holds, where it does not hold as long as the kernel."""
    if grant in revoked:
        return " (taken back)"
    if grant.expires is None:
        return ""
    if grant.expires <= time.time():
        return " (over)"
    return f" (until {time.strftime('%Y-%m-%d', time.localtime(grant.expires))})"


def _of_this_notebook(bench: "Workbench", entries: "Sequence[LogEntry]") -> set[str]:
    """The conversations of this kernel, and those of earlier ones whose leaves hold here."""
    mine = {session.id for session in bench.sessions()} | {result.session_id for result in bench.results}
    if not bench.notebook:
        return mine
    others = {entry.session for entry in entries} - mine
    return mine | {one for one in others if past.notebook_of(bench.store, one) == bench.notebook}


def _decision(event: QuestionAnswered) -> str:
    if event.how != "person":
        return {
            "timeout": "nobody answered in time",
            "nobody": "nobody could be asked",
            "cancelled": "the run ended first",
        }[event.how]
    try:
        decision = msgspec.convert(event.value, Decision)
    except msgspec.ValidationError:
        return "answered"
    if decision.decision == "deny":
        return "denied" + (f": {decision.reason}" if decision.reason else "")
    edited = " with other arguments" if decision.arguments is not None else ""
    return f"allowed {_SAID[decision.scope]}{edited}"


def _what(question: Question) -> str:
    if question.approval is None:
        return one_line(question.title, 80)
    arguments = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False, default=str)}"
        for name, value in question.approval.arguments.items()
    )
    return one_line(f"{question.approval.tool}({arguments})", 80)


def _why(question: Question) -> str:
    return one_line("; ".join(question.approval.reasons), 80) if question.approval is not None else ""
