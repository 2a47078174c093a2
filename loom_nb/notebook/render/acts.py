"""What every surface says of questions, answers, plans and variables: the words, said once."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loom_nb.events import PlanItem, VariableChange
from loom_nb.notebook.render.facts import Glyphs, clipped, one_line
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.notebook.transcript import Asked, Card, Variables
from loom_nb.questions import Approval, Question
from loom_nb.settings import MODE_WORDS

WIDEST = 300
"""Characters of an answer, a reason or a title that are shown in a line."""
OUTPUT_LINES = 40
OUTPUT_WIDTH = 400
UNDO = "%loom rollback"


# --- questions


def waits(asked: Asked, *, finished: bool) -> bool:
    """Whether a person can still answer it."""
    return not asked.closed and not finished


def state(asked: Asked, *, finished: bool = False) -> str:
    """What became of a question about a call: "allowed once by you"."""
    if not asked.closed:
        return "not answered: the run ended first" if finished else "waiting for you"
    if asked.how == "cancelled":
        return "cancelled: the run ended first"
    decision = asked.decision
    fate = "allowed" if decision is not None and decision.decision == "allow" else "denied"
    if asked.how != "person":
        words = "timed out" if asked.how == "timeout" else "nobody could be asked"
        return f"{words}, so it was {fate}"
    if decision is None or decision.decision == "deny":
        reason = clipped(decision.reason, WIDEST) if decision is not None else ""
        return f"denied{by(asked)}" + (f": {reason}" if reason else "")
    return f"allowed {_REACH[decision.scope]}{by(asked)}"


_REACH = {
    "once": "once",
    "call": "for this exact call in this notebook",
    "tool": "for this tool in this session",
}


def by(asked: Asked) -> str:
    """Who answered."""
    return f" by {clipped(asked.by, 60)}" if asked.by else ""


def mark(asked: Asked, marks: Glyphs) -> str:
    """The mark of a receipt; its words say the same."""
    decision = asked.decision
    if not asked.closed:
        return marks.wait
    if decision is not None and decision.decision == "allow":
        return marks.tick
    return marks.cross if asked.how == "person" else marks.halt


def receipt(asked: Asked, marks: Glyphs, *, times: bool, finished: bool = True) -> str:
    """``✓ a3 allowed once by you 12:04:10, args sha256:9c1f… (edited: path)``; no clock without `times`."""
    words, _, reason = state(asked, finished=finished).partition(": ")
    line = f"{mark(asked, marks)} {one_line(asked.question.id)} {words}"
    line += f" {clock(asked.at)}" if times and asked.at else ""
    line += f", args sha256:{asked.sha256[:16]}{marks.cut}"
    line += f" (edited: {one_line(', '.join(asked.edited))})" if asked.edited else ""
    return f"{line}; {reason}" if reason else line


def receipts(card: Card, marks: Glyphs, *, times: bool, finished: bool) -> list[str]:
    """What persons have decided about a call; also a leave that was given earlier."""
    lines = [
        receipt(asked, marks, times=times, finished=finished)
        for asked in card.asked
        if not waits(asked, finished=finished or card.closed)
    ]
    if card.decision == "allow" and _EARLIER.fullmatch(card.by) and not card.asked:
        lines.append(
            f"{marks.tick} {one_line(card.by)} allowed it before, args sha256:{card.sha256[:16]}{marks.cut}"
        )
    return lines


_EARLIER = re.compile(r"a\d+")


def verdict_counts(card: Card) -> bool:
    """Whether the verdict says more than the receipts."""
    if not card.asked or card.decision == "":
        return True
    last = card.asked[-1]
    if card.decision != "deny":
        return False
    allowed = last.decision is not None and last.decision.decision == "allow"
    return last.how == "nobody" or allowed  # it says how to let it run, or what denied it after all


def question_line(asked: Asked, marks: Glyphs, *, times: bool = False, finished: bool = False) -> str:
    """``q3 Which file? → report.csv, by you``: a question that is not about a call, in a line."""
    question = asked.question
    title = f"{one_line(question.id)} {clipped(question.title, WIDEST)}"
    line = f"{title} {marks.arrow} {answer(asked, finished=finished)}"
    return f"{line} {clock(asked.at)}" if times and asked.at else line


def answer(asked: Asked, *, finished: bool = False) -> str:
    """What came back, or that nothing did. Of a secret only that it was given."""
    if not asked.closed:
        return "not answered: the run ended first" if finished else "waiting for you"
    if asked.how == "cancelled":
        return "cancelled: the run ended first"
    if asked.question.kind == "secret":
        told = "a secret was given" if asked.how == "person" else "no secret was given"
        return told + by(asked)
    if asked.how == "person":
        return f"{value(asked)},{by(asked)}" if asked.by else value(asked)
    words = "timed out" if asked.how == "timeout" else "nobody could be asked"
    return words if asked.value is None else f"{words}; {value(asked)} counts"


def value(asked: Asked) -> str:
    """The answer in a line."""
    given = asked.value
    if isinstance(given, bool):
        return "yes" if given else "no"
    if isinstance(given, dict):
        given = ", ".join(f"{name}={_json(field)}" for name, field in given.items())
    elif isinstance(given, (list, tuple)):
        given = ", ".join(map(str, given))
    return clipped(str(given), WIDEST) or "nothing"


def asker(question: Question) -> str:
    """Who asks, where that is a tool."""
    return one_line(question.asked_by) if question.asked_by not in ("", "judge") else ""


def offered(question: Question) -> list[str]:
    """The options of a choice, or the fields of a form, in words."""
    if question.kind == "form":
        fields = (question.schema or {}).get("properties")
        return [one_line(str(name)) for name in fields] if isinstance(fields, dict) else []
    return [
        one_line(option.label or option.value)
        + (f": {one_line(option.description)}" if option.description else "")
        for option in question.options
    ]


def how_to_answer(asked: Asked) -> tuple[str, ...]:
    """What to type where no widget asks."""
    name = one_line(asked.question.id)
    if asked.question.approval is None:
        return ("%loom approvals" if asked.question.kind == "secret" else f"%loom answer {name} VALUE",)
    return (f"%loom approve {name}", f'%loom deny {name} "why"')


def until(asked: Asked, *, times: bool) -> str:
    """What happens when nobody answers."""
    question = asked.question
    when = f" by {clock(question.expires)}" if times and question.expires else " in time"
    if question.approval is not None:
        return f"not answered{when}: denied"
    return ""


@dataclass(frozen=True, slots=True)
class Aspect:
    """One line of what there is to know about a call that is asked about."""

    name: str
    lines: tuple[str, ...]
    warning: bool = False


def aspects(card: Card) -> list[Aspect]:
    """Why a call is asked about, where its arguments come from, and what it would run in."""
    last = card.asked[-1].question.approval if card.asked else None
    found = [] if last is None else about(last)
    if mode_of(card) == "all" and last is None:
        found.append(_mode("all"))
    return found


def about(approval: Approval, *, whole: bool = False) -> list[Aspect]:
    """All that is beside the call itself; with `whole` also what goes without saying in a transcript."""
    found = []
    if approval.reasons:
        found.append(Aspect("Why it asks", tuple(one_line(reason) for reason in approval.reasons)))
    if approval.origins:
        lines = tuple(one_line(f"{name} came from {origin}") for name, origin in approval.origins.items())
        found.append(Aspect("Not from you", lines, warning=True))
    undo = "cannot be undone" if approval.destructive else "can be undone" if approval.undoable else ""
    effects = [one_line(effect) for effect in approval.effects] or ["not declared: counts as writing"]
    told = ", ".join([*(effects if whole else ()), *([undo] if undo else ())])
    if told:
        found.append(Aspect("Effects", (told,), warning=approval.destructive))
    if approval.sandbox == "none":
        found.append(Aspect("Sandbox", (NO_SANDBOX,), warning=True))
    elif approval.sandbox:
        found.append(Aspect("Sandbox", (one_line(approval.sandbox),)))
    return [*found, _mode(approval.mode)] if whole or approval.mode == "all" else found


def _mode(mode: str) -> Aspect:
    words = MODE_WORDS.get(mode)
    return Aspect("Mode", (f"{mode}: {words}" if words else one_line(mode),), warning=mode == "all")


_LABEL = {
    "Why it asks": "asked",
    "Not from you": "not yours",
    "Effects": "effects",
    "Sandbox": "sandbox",
    "Mode": "mode",
}


def label(aspect: Aspect) -> str:
    """The name of an aspect where there is no room for more."""
    return _LABEL[aspect.name]


NO_SANDBOX = "none: it may do whatever you may do"


def mode_of(card: Card) -> str:
    """The mode that a call was judged in, where it is known."""
    last = card.asked[-1].question.approval if card.asked else None
    if last is not None:
        return last.mode
    return card.by.removeprefix("mode ") if card.by.startswith("mode ") else ""


def badges(card: Card) -> list[str]:
    """Warnings that are seen without opening the card."""
    last = card.asked[-1].question.approval if card.asked else None
    found = ["unasked, mode all" if not card.asked else "mode all"] if mode_of(card) == "all" else []
    return [*found, "no sandbox"] if last is not None and last.sandbox == "none" else found


def preview_of(card: Card) -> Approval | None:
    """The approval that shows what a call would do, where one does."""
    last = card.asked[-1].question.approval if card.asked else None
    return last if last is not None and last.preview.strip() else None


def preview_title(approval: Approval) -> str:
    """``Would change: 3 lines added, 1 removed``."""
    title = _PREVIEWS[approval.preview_kind]
    if approval.preview_kind != "diff":
        return title
    lines = approval.preview.splitlines()
    added = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
    removed = sum(line.startswith("-") and not line.startswith("---") for line in lines)
    return f"{title}: {added:,} {'line' if added == 1 else 'lines'} added, {removed:,} removed"


_PREVIEWS = {"diff": "Would change", "code": "Would run", "command": "Would run", "text": "Would do"}
LANGUAGES = {"diff": "diff", "code": "python", "command": "bash", "text": ""}


def clock(at: float) -> str:
    """A time of the day, where the reader is."""
    return time.strftime("%H:%M:%S", time.localtime(at))


# --- plans


def plan_title(items: Sequence[PlanItem]) -> str:
    """``Plan: 2 of 5 done``."""
    counted = [item for item in items if item.status != "dropped"]
    done = sum(item.status == "done" for item in counted)
    return f"Plan: {done} of {len(counted)} done"


def plan_over(items: Sequence[PlanItem]) -> bool:
    """Whether nothing is left to do."""
    return all(item.status in ("done", "dropped") for item in items)


def plan_mark(item: PlanItem, marks: Glyphs) -> str:
    """☐ ◐ ☑ ☒."""
    return {"pending": marks.todo, "active": marks.active, "done": marks.done, "dropped": marks.dropped}[
        item.status
    ]


def plan_word(item: PlanItem) -> str:
    """The same as a word."""
    return {"pending": "to do", "active": "now", "done": "done", "dropped": "dropped"}[item.status]


def plan_text(item: PlanItem) -> str:
    """What is to be done."""
    return clipped(item.text, WIDEST)


# --- variables


def variables_title(shown: Variables) -> str:
    """``Variables changed: 1 added, 2 changed``."""
    if shown.rolled_back:
        return "Variables rolled back"
    counts = {
        kind: sum(one.change == kind for one in shown.changes) for kind in ("added", "changed", "deleted")
    }
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return f"Variables: {told}" if told else "Variables: none changed"


COLUMNS = ("variable", "change", "before", "after")


def variable_rows(shown: Variables) -> list[tuple[str, str, str, str]]:
    """Cells by `COLUMNS`."""
    return [_variable(change) for change in shown.changes]


def _variable(change: VariableChange) -> tuple[str, str, str, str]:
    return (
        clipped(change.name, 80),
        change.change,
        clipped(change.before, 120) or "–",
        clipped(change.after, 120) or "–",
    )


def variables_note(shown: Variables) -> str:
    """What a roll back cannot bring back."""
    if not shown.cannot_restore:
        return ""
    names = clipped(", ".join(shown.cannot_restore), WIDEST)
    return f"could not be restored: {names}" if shown.rolled_back else f"a roll back cannot restore: {names}"


def variables_hint(shown: Variables) -> str:
    """What to type to undo it; empty where there is nothing to undo."""
    if shown.rolled_back or {one.name for one in shown.changes} <= set(shown.cannot_restore):
        return ""
    return "rolled back later" if shown.undone else UNDO


# --- live output

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # colours and movements
    r"|[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\|$)"  # titles, links: also one that has not ended yet
    r"|\[[0-?]*[ -/]*$|[ -/]*[0-~]|$)"
)


def output_tail(printed: str) -> tuple[str, bool]:
    """The last lines that a tool printed, as a terminal would show them, and whether there were more."""
    lines = [_overwritten(line) for line in _ESCAPES.sub("", printed.replace("\r\n", "\n")).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    shown = [
        visible(line[:OUTPUT_WIDTH]) + ("…" if len(line) > OUTPUT_WIDTH else "")
        for line in lines[-OUTPUT_LINES:]
    ]
    return "\n".join(shown), len(lines) > OUTPUT_LINES


def _overwritten(line: str) -> str:
    """A line in which the cursor went back to the beginning: what is written later covers it."""
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part) :]
    return shown.rstrip()


def _json(given: Any) -> str:
    return json.dumps(given, ensure_ascii=False, default=str)


# --- what only we may say

LABELS = ("arguments", "verdict", *_LABEL.values(), "preview", "receipt", "answer", "printed")
_LIST = r"\s*(?:[-*+>]\s+|\d+[.)]\s+)*"
_MARK = r"(?:[✓✗■…?☐◐☑☒]|ok|x|#|\.\.\.) +"
_OURS = re.compile(
    rf" {{4}}(?:{'|'.join(f'{label:9}' for label in LABELS)}) "
    rf"|{_LIST}{_MARK}`*[aq]\d+`* +(?:allowed|denied|waiting|timed|nobody|cancelled|not|.*(?:→|->))"
    rf"|{_LIST}{_MARK}(?:`+[^`]+`+|\S+) *\\?\[[a-z, ]*\\?\]"
    rf"|{_LIST}[✓✗■…] +(?:`+[^`]+`+|\S+) *→"
    rf"|{_LIST}{_MARK}`+[^`]+`+ +\*",
    re.IGNORECASE,
)
_HEAD = re.compile(_LIST)
MAY_BE_OURS = re.compile(
    rf" {{4}}|{_LIST}(?:[✓✗■…?☐◐☑☒]|o$|ok(?:\s|$)|x(?:\s|$)|#|\.(?:\.|$))", re.IGNORECASE
)
"""How a line begins that may turn out to look like one of ours as it grows."""
QUOTED = "(quoted) "


def start_of_words(text: str, at: int) -> int:
    """Where the words of the line begin that begins at `at`: after its indentation and list marks."""
    head = _HEAD.match(text, at)
    return head.end() if head is not None else at


def quoted(line: str) -> str:
    """A foreign line of plain text; one that looks as if we had written it is marked as quoted."""
    if not _OURS.match(line):
        return line
    at = start_of_words(line, 0)
    return f"{line[:at]}{QUOTED}{line[at:]}"
