"""Carrying out what a request orders: a plan if it has steps, a look, the act, and what became of it.

An order comes only from the words of the user. What tools gave is reported; nothing in it is followed.
"""

import json
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from loom_nb.models.offline import asking, phrasing
from loom_nb.models.offline.about_data import INSPECT, LIST, ask_of, last_subject
from loom_nb.models.offline.arithmetic import expression
from loom_nb.models.offline.choice import clauses
from loom_nb.models.offline.direct import ASK, BY_RULE, PLAN, RUN, WHERE, Wish, direct, path_in, usable
from loom_nb.models.offline.facts import Facts, read_facts
from loom_nb.models.offline.frame_code import Change, Unclear, changes_for, wants_frame, whole_code
from loom_nb.models.offline.slots import schema_of, slots_of
from loom_nb.models.offline.steps import Answer, Calls, Plan
from loom_nb.models.offline.tables import inline
from loom_nb.models.offline.task import Exchange, Outcome, Task, listed, names_in_braces
from loom_nb.models.offline.wishes import Piece, asked

Otherwise: TypeAlias = Callable[[Task], Plan]
"""What is done with a piece that orders nothing: a question, a tool of the user."""
Doing: TypeAlias = Generator[Calls, tuple[Outcome, ...], "Done"]

ENOUGH_FOR_A_PLAN = 3
_BACK = re.compile(
    r"\b(?:it|that|this one|my (?:answer|choice)|the answer|the one I (?:choose|chose|pick))\b", re.I
)
_ASKS = re.compile(
    r"^(?:what|how|which|where|who|show|describe|list|count|print|summari[sz]e|is|are|read|find)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one step."""

    text: str
    done: bool = True
    answer: str = ""
    """What the person said, where a question was asked."""


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of a request and the way it goes."""

    piece: Piece
    kind: str
    """frame, call, ask, other, or odd: for what there is no rule."""
    frame: str = ""
    wish: Wish | None = None


@dataclass(slots=True)
class Course:
    """A request under way: what was asked of whom, and what came back."""

    task: Task
    otherwise: Otherwise
    turns: list[tuple[Outcome, ...]] = field(default_factory=list)

    @property
    def now(self) -> Task:
        """The task with all that has come back so far in its past."""
        before = Exchange(self.task.text, self.task.exchange.parts, turns=tuple(self.turns))
        return replace(self.task, past=(*self.task.past, before)) if self.turns else self.task


def orders(task: Task) -> bool:
    """Whether a text orders something done."""
    return acting(task, _nothing) is not None


def _nothing(_: Task) -> Plan:
    yield from ()
    return Answer("")


def acting(task: Task, otherwise: Otherwise) -> Plan | None:
    """The plan for a request that orders something done; None for all others."""
    if len(task.text) > 4000:
        return None
    request = asked(task.text)
    steps = [step for piece in request.pieces for step in _steps(piece, task)]
    frames = {step.frame for step in steps} - {""}
    if len(frames) == 1:  # named once, meant throughout
        steps = [replace(step, frame=min(frames)) if step.kind == "frame" else step for step in steps]
    acts = [step for step in steps if step.kind in ("frame", "call", "ask")]
    counted = request.numbered or request.planned or len(steps) >= ENOUGH_FOR_A_PLAN
    planned = counted and task.tool(PLAN) is not None
    several = planned and (request.numbered or request.planned) and len(steps) >= 2
    if not acts and not (several and any(step.kind == "other" for step in steps)):
        return None
    return _unhurried(Course(task, otherwise), steps, planned=planned)


def _steps(piece: Piece, task: Task) -> list[Step]:
    wish = direct(piece.text, task)
    frames = _frames_in(piece.text, task)
    meant = clauses(
        piece.text, [tool for tool in task.tools if tool.assess is None and tool.name not in (LIST, INSPECT)]
    )
    own = any(clause.choice.score >= 3.0 for clause in meant)  # a function of the user says it is for this
    if task.tool(ASK) and asking.wanted_question(piece.text):
        return [Step(piece, "ask")]
    if wish is not None and (usable(wish, task) or not own):
        return [Step(piece, "call", wish=wish)]
    if task.tool(RUN) and wants_frame(piece.text) and (frames or not own):
        return [Step(piece, "frame", frame) for frame in frames or [""]]
    short = piece.text[:600]
    asks = _ASKS.match(short) and ask_of(short) is not None
    known = asks or own or clauses(piece.text, task.tools) or expression(short) is not None
    return [Step(piece, "other" if known else "odd")]


def _frames_in(text: str, task: Task) -> list[str]:
    """The frames that words name, of those that travel with the message or were seen before."""
    braced = [name for name in names_in_braces(text) if name not in task.parts]
    named = [name for name in (*task.parts, *braced) if _names(text, name)]
    if named:
        return named
    known = [name for name in task.known.variables if _names(text, name)]
    return [name for name in known if (facts := task.facts(name)) and facts.kind == "DataFrame"][:1]


def _names(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text) is not None


def _unhurried(course: Course, steps: list[Step], *, planned: bool) -> Plan:
    """The course with every turn kept, and with more turns than a question is given."""
    plan = _course(course, steps, planned=planned)
    results: tuple[Outcome, ...] | None = None
    while True:
        try:
            calls = next(plan) if results is None else plan.send(results)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
        results = yield replace(calls, acts=True)
        course.turns.append(results)


def _course(course: Course, steps: list[Step], *, planned: bool) -> Plan:
    """Step by step; what is refused is left, and the rest goes on."""
    board = ["pending"] * len(steps)
    texts = [step.piece.text for step in steps]
    said: list[str] = []
    answer = it = ""
    place = 0
    while place < len(steps):
        end = _together(steps, place)
        group = [_pointed(step, it, course.now) for step in steps[place:end]]
        wanted = group[0].piece.only_if
        if wanted is not None and answer in ("yes", "no") and (answer == "yes") is not wanted:
            board[place:end] = ["dropped"] * len(group)
            said.append(f"Your answer was {inline(answer)}, so I left out: {inline(texts[place])}.")
            place = end
            continue
        if planned:
            board[place] = "active"
            yield from _tell_plan(texts, board)
        done = yield from _group(course, group)
        board[place:end] = ["done" if done.done else "dropped"] * len(group)
        answer = done.answer or answer
        own = done.answer if done.answer not in ("", "yes", "no") else path_in(texts[end - 1])
        it = own or it
        said.append(done.text)
        place = end
    if planned:
        yield from _tell_plan(texts, board)
    return Answer("\n\n".join(text for text in said if text))


def _together(steps: Sequence[Step], place: int) -> int:
    """Where the group ends that begins here: changes to one frame are one piece of code."""
    end = place + 1
    while (
        steps[place].kind == "frame"
        and end < len(steps)
        and steps[end].kind == "frame"
        and steps[end].frame in ("", steps[place].frame)
        and steps[end].piece.only_if == steps[place].piece.only_if
    ):
        end += 1
    return end


def _pointed(step: Step, it: str, task: Task) -> Step:
    """A step with what was spoken of last, or what the person answered, in the place of "it"."""
    if not it or step.kind == "ask" or path_in(step.piece.text) or not _BACK.search(step.piece.text):
        return step
    quoted = f"`{it}`" if "`" not in it and "\n" not in it else it
    text = _BACK.sub(lambda _: quoted, step.piece.text, count=1)
    return _steps(Piece(text, step.piece.only_if), task)[0]


def _tell_plan(texts: list[str], board: list[str]) -> Generator[Calls, tuple[Outcome, ...], None]:
    steps = [{"text": text[:300], "status": status} for text, status in zip(texts, board, strict=True)]
    left = sum(status in ("pending", "active") for status in board)
    yield Calls(((PLAN, {"steps": steps}),), f"the plan: {left} of {len(board)} steps are left")


def _group(course: Course, group: list[Step]) -> Doing:
    step = group[0]
    match step.kind:
        case "frame":
            return (yield from _change_frame(course, group))
        case "call" if step.wish is not None:
            return (yield from _call(course, step.wish))
        case "ask":
            return (yield from _ask(course, step))
        case "other":
            sub = replace(course.now, text=step.piece.text)
            done = yield from course.otherwise(sub)
            return Done(done.text)
    return Done(f"I have no rule for “{inline(step.piece.text[:200])}”.", done=False)


# ------------------------------------------------------------------ one call


def _call(course: Course, wish: Wish) -> Doing:
    tool = course.task.tool(wish.tool)
    if wish.tool == "undo_change" and _last_act(course.now) == RUN:
        return Done("What code changed in the notebook is yours to take back: `%loom rollback`.", done=False)
    if tool is None or not usable(wish, course.task):
        if tool is not None and "credential" in wish.arguments:
            name = inline(str(wish.arguments["credential"]))
            return Done(f"I was given no secret to name, so not `{name}`: `%loom key` says which there are.",
                        done=False)  # fmt: skip
        bring = WHERE.get(wish.tool)
        how = f": run the cell with `%%loom -t {bring}`" if bring and tool is None else ""
        return Done(f"For that I need the tool `{wish.tool}`, which I was not given{how}.", done=False)
    arguments = dict(wish.arguments)
    for slot in slots_of(schema_of(tool)):
        if slot.required and slot.name not in arguments:
            value, problem = yield from asking.ask_for(course.task, slot, tool.name)
            if problem:
                return Done(problem, done=False)
            arguments[slot.name] = value
    try:
        tool.parse(json.dumps(arguments))
    except ValueError:
        return Done(f"I cannot call `{tool.name}` with that.", done=False)
    (outcome,) = (yield Calls(((tool.name, arguments),), f"picking {tool.name} because the words order it"))[
        :1
    ]
    lines = re.match(r"[^\n]*\blines 1-([\d,]+)\)", outcome.text)
    if wish.counts and lines and not outcome.is_error:
        return Done(f"`{inline(str(arguments['path']))}` has **{lines[1]} lines**.")
    return Done(phrasing.reported([outcome]), done=not outcome.is_error)


def _last_act(task: Task) -> str:
    """The tool that changed something last; empty where none did."""
    for exchange in reversed(task.past):
        for turn in reversed(exchange.turns):
            for outcome in reversed(turn):
                if outcome.name in BY_RULE - {ASK, PLAN} and not outcome.is_error:
                    return outcome.name
    return ""


def _ask(course: Course, step: Step) -> Doing:
    arguments = asking.wanted_question(step.piece.text) or {}
    (reply,) = (yield Calls(((ASK, arguments),), f"picking {ASK} because you want to be asked"))[:1]
    if reply.is_error:
        return Done(phrasing.reported([reply]), done=False)
    return Done(f"You answered: {inline(reply.text)}.", answer=reply.text.strip())


# ------------------------------------------------------------------ a DataFrame


def _change_frame(course: Course, group: list[Step]) -> Doing:
    text = " ".join(step.piece.text for step in group)
    name, problem = group[0].frame, ""
    if not name:
        name, problem = yield from _which_frame(course, text)
    if problem:
        return Done(problem, done=False)
    facts, problem = yield from _look(course.task, name)
    if facts is None:
        return Done(problem, done=False)
    changes: list[Change] = []
    unclear: list[str] = []
    for step in group:
        made, told = yield from _made(course.task, step.piece.text, facts)
        changes += made
        unclear += told
    if not changes:
        return Done("\n\n".join(unclear) or f"There is nothing to change in `{name}`.", done=False)
    why = f"picking {RUN} to change {name}, as asked"
    (outcome,) = (yield Calls(((RUN, {"code": whole_code(changes, name)}),), why))[:1]
    done = phrasing.frame_changed(name, [change.label for change in changes], outcome)
    return Done("\n\n".join([done, *unclear]), done=not outcome.is_error)


def _made(
    task: Task, text: str, facts: Facts
) -> Generator[Calls, tuple[Outcome, ...], tuple[list[Change], list[str]]]:
    """The changes of one wish; a column that there is not is asked for, once."""
    try:
        return changes_for(text, facts.name, facts), []
    except Unclear as unclear:
        said = f"{unclear}."
        if not unclear.named or task.tool(ASK) is None or not facts.columns:
            return [], [said]
        question = asking.one_of(
            f"Which column of {facts.name} do you mean by “{unclear.named}”?",
            [c.name for c in facts.columns][:50],
        )
        (reply,) = (yield Calls(((ASK, question),), f"{facts.name} has no column {unclear.named}"))[:1]
        if reply.is_error:
            return [], [said, phrasing.reported([reply])]
        mended = re.sub(
            rf"(?<!\w){re.escape(unclear.named)}(?!\w)", lambda _: f"`{reply.text.strip()}`", text
        )
        try:
            return changes_for(mended, facts.name, facts), []
        except Unclear as still:
            return [], [f"{still}."]


def _look(task: Task, name: str) -> Generator[Calls, tuple[Outcome, ...], tuple[Facts | None, str]]:
    """The columns of a frame: looked at now, since it may have changed since it was spoken of."""
    if not name.isidentifier():
        return None, f"I can change a variable by its name, and `{inline(name)}` is none."
    if task.tool(INSPECT) is None:
        facts = task.facts(name)
        return (facts, "") if facts else (None, f"I have nothing about `{name}` and no tool to look at it.")
    (seen,) = (yield Calls(((INSPECT, {"name": name}),), f"looking at {name} before it is changed"))[:1]
    if seen.is_error:
        return None, phrasing.reported([seen])
    facts = read_facts(name, seen.text)
    if facts.kind != "DataFrame" and not facts.columns:
        return None, f"`{name}` is no DataFrame, and I clean only those."
    return facts, ""


def _which_frame(course: Course, text: str) -> Generator[Calls, tuple[Outcome, ...], tuple[str, str]]:
    """(the frame that is meant, what to say where that is not clear)."""
    task = course.now
    parts = [name for name in task.parts if name.isidentifier()]
    if len(parts) == 1:
        return parts[0], ""
    if task.tool(LIST) is None:
        return "", "Which DataFrame? Put its name in braces: `clean {df}`."
    (listing,) = (yield Calls(((LIST, {}),), f"picking {LIST} because no DataFrame is named"))[:1]
    if listing.is_error:
        return "", phrasing.reported([listing])
    rows = listed(listing.text)
    named = [name for name, _ in rows if _names(text, name) or _names(task.text, name)]
    frames = [name for name, rest in rows if "dataframe" in rest.lower()]
    last = last_subject(task)
    for among in ([name for name in frames if name in named], [last] if last in frames else [], frames):
        if len(among) == 1:
            return among[0] or "", ""
        if among:
            frames = among
            break
    if not frames:
        return "", f"I see no DataFrame to change.\n\n{phrasing.variables(listing.text)}"
    if task.tool(ASK) is None:
        return "", f"Which DataFrame? There are {', '.join(f'`{name}`' for name in frames[:12])}."
    (reply,) = (
        yield Calls(((ASK, asking.one_of("Which DataFrame?", frames[:50])),), "several could be meant")
    )[:1]
    return ("", phrasing.reported([reply])) if reply.is_error else (reply.text.strip(), "")
