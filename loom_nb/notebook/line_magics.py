"""The commands of `%loom`: each looks at the workbench and answers with a card."""

import fnmatch
import inspect
import itertools
import shlex
import traceback
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from loom_nb.errors import LoomError, LoomUsageError, NotBuiltError
from loom_nb.notebook import approvals
from loom_nb.notebook import cell as cells
from loom_nb.notebook.card import Card, Table
from loom_nb.notebook.tool_groups import GROUPS
from loom_nb.notebook.tour import LESSONS, NAMES
from loom_nb.remedies import remedies, typed_and_why
from loom_nb.settings import money
from loom_nb.wording import counted, moment, one_line

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench
    from loom_nb.protocols import RunRow

Command = Callable[["Workbench", list[str]], Any]

LATER = ("fix", "cost")
"""Announced commands that this version refuses by name."""


AWAITED = ("context", "compact", "dashboard", "resume", "fork", "sessions", "key", "memory", "knowledge")
"""Commands that work on the open conversation, and so are awaited: `perform` gives a coroutine."""


def is_awaited(line: str) -> bool:
    """Whether the line of a `%loom` has to be awaited."""
    return line.split(maxsplit=1)[:1] in [[name] for name in AWAITED]


async def carry_out(bench: "Workbench", line: str) -> Any:
    """`perform`, and wait for what it begins."""
    made = perform(bench, line)
    return await made if inspect.isawaitable(made) else made


def perform(bench: "Workbench", line: str) -> Any:
    """Carry out one `%loom` line.

    Raises:
        LoomUsageError: there is no such command, or it takes something else.
        NotBuiltError: a command of a later version.
    """
    try:
        words = shlex.split(line)
    except ValueError:
        raise LoomUsageError("%loom: a quotation mark is not closed", cause=line) from None
    if not words:
        return _status(bench, [])
    name, *arguments = words
    name = {"-h": "help", "--help": "help", "?": "help"}.get(name, name)
    if name in LATER:
        raise NotBuiltError(f"%loom {name} is not part of this version", fixes=["%loom help"])
    command = COMMANDS.get(name)
    if command is None:
        raise _unknown(name, line)
    most = _TAKES.get(name, 0)
    if len(arguments) > most:
        raise LoomUsageError(
            f"%loom {name} takes {_at_most(most)}, not {' '.join(arguments)!r}",
            fixes=["%loom help"],
        )
    return command(bench, arguments)


def _at_most(words: int) -> str:
    return {0: "nothing more", 1: "one word more"}.get(words, f"at most {words} words")


def _unknown(name: str, line: str) -> LoomUsageError:
    sentence = len(line.split()) > 2
    near = [f"%loom {one}" for one in cells.near(name, COMMANDS, cutoff=0.8 if sentence else 0.55)]
    if near:
        return LoomUsageError(f"%loom has no command '{name}'", fixes=[*near, "%loom help"])
    asked = [f"%%loom\n{' ' * 9}{line.strip()}"] if sentence else []
    return LoomUsageError(
        f"%loom has no command '{name}'",
        cause="to ask something, use %%loom with the prompt below it",
        fixes=[*asked, "%loom help"],
    )


def usage() -> str:
    """The help text of `%loom`."""
    return str(Card("Look at and steer loom_nb in this notebook.", tables=(_usage_table(),)))


def _usage_table() -> Table:
    rows = [(_typed(name), _SAYS[name]) for name in COMMANDS]
    return Table("commands", (), (("%loom", "where you are, and what to do next"), *rows), to_type=True)


def _typed(name: str) -> str:
    return f"%loom {name} {_ARGUMENT[name]}" if name in _ARGUMENT else f"%loom {name}"


def _status(bench: "Workbench", _: list[str]) -> Card:
    last = bench.results[-1] if bench.results else None
    known = sum(result.cost or 0.0 for result in bench.results)
    unknown = sum(one.cost is None and one.finished.spent_tokens > 0 for one in bench.results)
    tokens = sum(result.finished.spent_tokens for result in bench.results)
    earlier = bench.earlier()
    facts = (
        ("model", bench.model_name + (" (demo, free)" if bench.model_name == "offline" else "")),
        ("key", _key_words(bench)),
        ("conversation", _conversation(bench)),
        (
            "spent here",
            money(known) + (f" and {counted(unknown, 'run')} of unknown price" if unknown else ""),
        ),
        ("tokens here", f"{tokens:,}"),
        *_budgets(bench),
        ("last run", f"{last.id} {last.status}" if last else "none yet"),
        *((("earlier here", earlier.session),) if earlier else ()),
        *(("notice", notice) for notice in bench.notices),
    )
    return Card("loom_nb", facts, steps=_next_steps(bench, earlier))


def _key_words(bench: "Workbench") -> str:
    """How it stands with the key of the model, and what to type where it cannot be used."""
    try:
        state = bench.key_of(bench.model)
    except LoomError as error:
        return error.title
    return state.words if state.usable or not state.fix else f"{state.words}: {state.fix}"


def _budgets(bench: "Workbench") -> list[tuple[str, str]]:
    from loom_nb.notebook import budgets

    return budgets.facts(bench)


def _conversation(bench: "Workbench") -> str:
    session, budget = bench.session, bench.context_budget
    if session is None:
        return "not begun"
    if not len(session.conversation):  # it was opened by its name
        return f"{session.id}, not read yet: the next cell goes on there"
    size = f"about {session.view.tokens:,} tokens" + (f" of {budget:,}" if budget else "")
    return f"{session.id}, {len(session.conversation)} messages, {size}"


def _next_steps(bench: "Workbench", earlier: "RunRow | None") -> tuple[tuple[str, str], ...]:
    if earlier is not None:
        return (
            (f"%%loom --continue {earlier.session}/{earlier.run}", "goes on with what was said earlier here"),
            ("%%loom", "and a prompt below it: begins a new conversation"),
            ("%loom runs", "everything that ran"),
        )
    if not bench.results:
        return (
            ("%loom tour", "five small cells that show how it works"),
            ("%%loom", "and a prompt below it"),
            ("%loom doctor", "what works here and what is missing"),
        )
    last = bench.results[-1]
    if last.status != "completed":
        return (
            ("%loom why last", "what went wrong"),
            ("%loom doctor", "what works here and what is missing"),
            ("%loom show last", "what it had done until then"),
        )
    return (
        ("_.output", "the last answer as text"),
        ("%%loom -t my_function", "give the agent a function of yours"),
        ("%loom runs", "everything that ran"),
    )


def _model(bench: "Workbench", arguments: list[str]) -> Card:
    if arguments:
        bench.set_model(arguments[0])
    model = bench.model
    facts = (("name", bench.model_name), ("key", bench.key_state(model)))
    title = "the model from now on" if arguments else "the model of cells that name none"
    state = bench.key_of(model)
    if not state.usable:
        fix = ((state.fix, "then it can be used"),) if state.fix else ()
        steps: tuple[tuple[str, str], ...] = (*fix, ("%loom model offline", "goes back to the demo"))
    else:
        steps = (("%loom models", "all names"),)
    return Card(title, facts, steps=steps)


def _models(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.models.registry import VENDORS, Model
    from loom_nb.notebook.key_states import kept_by

    kept = kept_by(bench)
    pattern = arguments[0] if arguments else "*"
    rows = []
    for name in bench.known_models():
        if not fnmatch.fnmatch(name, pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"):
            continue
        value = bench.shell.user_ns.get(name)
        model = value if isinstance(value, Model) else Model.from_name(name)
        kind = "demo, free" if name == "offline" else "variable" if value is model else ""
        state = bench.key_of(model, kept)
        rows.append((name, "none" if state.kind == "missing" else state.words, kind, state.fix))
    vendors = ", ".join(VENDORS)
    table = Table(
        "models by name; any other of a vendor works too: vendor:name",
        ("name", "key", "", "what would give it one"),
        tuple(rows),
    )
    return Card(
        "models",
        (("vendors", vendors),),
        (table,),
        steps=(
            ("%loom model NAME", "use one from now on"),
            ("%loom key set anthropic", "keeps the key of a vendor, encrypted: asks for it, hidden"),
        ),
    )


def _tools(bench: "Workbench", _: list[str]) -> Card:
    counts: dict[str, int] = {}
    for result in bench.results:
        for use in result.tools:
            counts[use.name] = counts.get(use.name, 0) + 1
    offered = [(tool.name, tool.description, tool.effects) for tool in bench.built_in_tools()]
    rows = [
        (name, "always", ", ".join(sorted(effects)), str(counts.pop(name, 0)), _first_line(description))
        for name, description, effects in offered
    ]
    for name, tool in bench.can_be_tools():
        if isinstance(tool, LoomError):
            rows.append((name, "cannot be one", "", "", tool.title))
            continue
        count, effects = str(counts.pop(name, 0)), ", ".join(sorted(tool.effects))
        rows.append((name, f"with -t {name}", effects, count, _first_line(tool.description)))
    rows += [(name, "was given", "", str(count), "") for name, count in sorted(counts.items())]
    return Card(
        "tools of this notebook",
        tables=(
            Table("tools", ("name", "offered", "effects", "calls", "what it does"), tuple(rows)),
            Table("with -t and their name", ("name", "what it brings"), tuple(GROUPS.items())),
        ),
        steps=(("%%loom -t NAME", "offers a function, or what has this name, to the agent"),),
    )


def _runs(bench: "Workbench", _: list[str]) -> Card:
    rows = tuple(
        (
            row.run,
            moment(row.started) if row.started else "not known",
            row.status,
            row.model,
            row.session,
            one_line(row.goal, 50),
        )
        for row in bench.store.runs(limit=30)
    )
    table = Table("the newest first", ("run", "started", "status", "model", "conversation", "prompt"), rows)
    return Card(
        "runs kept on this machine",
        tables=(table,),
        steps=(
            ("%loom show RUN", "or CONVERSATION/RUN: draws it again"),
            *((("%loom resume", "goes on with what was interrupted"),) if _any_interrupted(rows) else ()),
        ),
    )


def _any_interrupted(rows: tuple[tuple[str, ...], ...]) -> bool:
    return any(row[2] == "interrupted" for row in rows)


def _policy(bench: "Workbench", _: list[str]) -> Card:
    from loom_nb.notebook.card import describe_card

    return describe_card(bench.runtime())


def _show(bench: "Workbench", arguments: list[str]) -> Any:
    return bench.view(arguments[0] if arguments else "last")


def _stop(bench: "Workbench", _: list[str]) -> Card:
    if not bench.running:
        return Card("nothing runs", steps=(("■", "the interrupt button stops a cell while it runs"),))
    for run in bench.running:
        run.stop("stopped by %loom stop")
    names = [run.id for run in bench.running]
    return Card(f"{' and '.join(names)} {'was' if len(names) == 1 else 'were'} asked to stop")


def _reset(bench: "Workbench", _: list[str]) -> Card:
    before = bench.session
    bench.reset()
    back = (
        ((f"%loom sessions open {shlex.quote(before.id)}", "goes back to the one before"),) if before else ()
    )
    return Card("the next cell begins a new conversation", steps=back)


def _doctor(bench: "Workbench", _: list[str]) -> Card:
    from loom_nb.notebook.doctor import card, checks

    return card(checks(bench.settings, bench))


def _config(bench: "Workbench", _: list[str]) -> Card:
    from loom_nb.settings import NAMES, PREFIX

    settings = bench.settings
    here = _set_here(bench)
    rows = tuple(
        (
            name,
            *here.get(name, (str(getattr(settings, name)), settings.origins.get(name, "default"))),
            PREFIX + name.upper(),
        )
        for name in NAMES
    )
    rows += (("context", bench.context_default, bench.context_default_from, ""),)
    table = Table(
        "each value with where it came from", ("setting", "value", "from", "in the environment"), rows
    )
    facts = tuple(("notice", notice) for notice in bench.notices)
    return Card("settings", facts, (table,), steps=(("%loom model NAME", "another model for this notebook"),))


def _set_here(bench: "Workbench") -> dict[str, tuple[str, str]]:
    """What lines of this kernel have set in place of a setting, with the line."""
    settings, caps = bench.settings, bench.budgets
    now: dict[str, tuple[Any, str]] = {
        "replay": (bench.replay, "%loom replay"),
        "approve": (bench.equipment.mode, "%loom approvals"),
        "budget_cell": (caps.cell, "%loom budget"),
        "budget_notebook": (caps.notebook, "%loom budget"),
        "budget_day": (caps.day, "%loom budget"),
        "ask_above": (caps.ask_above, "%loom budget ask"),
    }
    set_here = {
        name: (str(value), line) for name, (value, line) in now.items() if value != getattr(settings, name)
    }
    return set_here | ({"model": (bench.model_name, "%loom model")} if bench.model_was_set else {})


def _tour(bench: "Workbench", arguments: list[str]) -> Card:
    if arguments:
        if not arguments[0].isdigit() or not 1 <= int(arguments[0]) <= len(LESSONS):
            raise LoomUsageError(f"the tour has lessons 1 to {len(LESSONS)}", fixes=["%loom tour 1"])
        bench.lesson = int(arguments[0]) - 1
    number = bench.lesson % len(LESSONS)
    lesson = LESSONS[number]
    bench.lesson = number + 1
    cell = lesson.cell_for(_tour_names(bench, anew=number == 0))
    bench.shell.set_next_input(cell)
    last = bench.lesson == len(LESSONS)
    after = "%loom" if last else "%loom tour"
    return Card(
        f"lesson {number + 1} of {len(LESSONS)}: {lesson.title}",
        (("below", "a new cell; run it"), ("look for", lesson.look_for_in(bench.tour_names))),
        steps=((after, "what comes next" if last else "the next lesson"),),
    )


def _tour_names(bench: "Workbench", *, anew: bool) -> dict[str, str]:
    """Names for the tour's variables that nothing has yet: it overwrites nothing of the reader's."""
    if anew or not bench.tour_names:
        taken = bench.shell.user_ns
        for name in NAMES:
            free = (name if n == 1 else f"{name}{n}" for n in itertools.count(1))
            bench.tour_names[name] = next(one for one in free if one not in taken) if anew else name
    return bench.tour_names


def _help(_: "Workbench", __: list[str]) -> Card:
    asking = cells.usage_card()
    return Card(
        "help",
        (
            ("%loom", "looks at and steers loom_nb in this notebook"),
            ("%%loom", "asks an agent: the prompt is the text below it"),
        ),
        (_usage_table(), *asking.tables),
        steps=asking.steps,
    )


def _traceback(bench: "Workbench", _: list[str]) -> Card:
    error = bench.results[-1].error if bench.results else None
    if error is None:
        return Card("the last run ended without an exception" if bench.results else "nothing has run yet")
    text = "".join(traceback.format_exception(error))
    return Card(f"traceback of {bench.results[-1].id}", text=text)


def _why(bench: "Workbench", arguments: list[str]) -> Card:
    name = arguments[0] if arguments else "last"
    if name == "last" and not bench.results:
        return Card("nothing has run yet", steps=(("%loom", "status and next steps"),))
    finished, row = bench.end_of(name)
    facts = [("status", row.status), ("model", row.model), ("conversation", row.session)]
    if finished is not None:
        facts += [
            ("reason", finished.reason or "the model ended its answer by itself"),
            ("fault", finished.fault or "none"),
        ]
        facts.append(("model calls", str(finished.turns)))
    shown = row.run if "/" not in name else f"{row.session}/{row.run}"
    steps = [(f"%loom show {shown}", "what it did")]
    if finished is not None and finished.status != "completed":
        fixes = finished.fixes or remedies(finished.status, finished.fault)
        steps = [*map(typed_and_why, fixes), *steps]
    last = bench.results[-1] if bench.results else None
    if last is not None and last.error is not None and (last.session_id, last.id) == (row.session, row.run):
        steps.append(("%loom traceback", "the whole error"))
    return Card(f"why {row.run} ended", tuple(facts), steps=tuple(steps))


async def _context(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import contexts

    return await contexts.context(bench, arguments)


async def _compact(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import contexts

    return await contexts.compact(bench, arguments)


async def _dashboard(bench: "Workbench", _: list[str]) -> Card:
    from loom_nb.notebook import dashboard_card

    return await dashboard_card.dashboard(bench)


async def _resume(bench: "Workbench", arguments: list[str]) -> Any:
    from loom_nb.notebook import continuing

    return await continuing.resume(bench, arguments)


async def _fork(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import continuing

    return await continuing.fork(bench, arguments)


async def _sessions(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import sessions

    return await sessions.sessions(bench, arguments)


async def _key(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import keys

    return await keys.key(bench, arguments)


async def _memory(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import memories

    return await memories.memory(bench, arguments)


async def _knowledge(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import knowledge

    return await knowledge.knowledge(bench, arguments)


def _replay(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import continuing

    return continuing.replay(bench, arguments)


def _diff(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import continuing

    return continuing.diff(bench, arguments)


def _export(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import continuing

    return continuing.export(bench, arguments)


def _artifacts(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import artifact_lines

    return artifact_lines.artifacts(bench, arguments)


def _budget(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import budgets

    return budgets.budget(bench, arguments)


def _skills(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import skills

    return skills.skills(bench, arguments)


def _identity(bench: "Workbench", arguments: list[str]) -> Card:
    from loom_nb.notebook import identities

    return identities.identity(bench, arguments)


def _first_line(text: str) -> str:
    return one_line(text.strip().splitlines()[0], 50) if text.strip() else ""


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "model": _model,
        "models": _models,
        "key": _key,
        "tools": _tools,
        "runs": _runs,
        "sessions": _sessions,
        "show": _show,
        "why": _why,
        "traceback": _traceback,
        "context": _context,
        "compact": _compact,
        "dashboard": _dashboard,
        "memory": _memory,
        "knowledge": _knowledge,
        "resume": _resume,
        "fork": _fork,
        "replay": _replay,
        "diff": _diff,
        "export": _export,
        "artifacts": _artifacts,
        "budget": _budget,
        "skills": _skills,
        "identity": _identity,
        "stop": _stop,
        "approvals": approvals.approvals,
        "approve": approvals.approve,
        "deny": approvals.deny,
        "answer": approvals.answer,
        "rollback": approvals.rollback,
        "keep": approvals.keep,
        "policy": _policy,
        "reset": _reset,
        "doctor": _doctor,
        "config": _config,
        "tour": _tour,
        "help": _help,
    }
)
_MANY = 1_000
_TAKES = {
    "model": 1, "models": 1, "key": _MANY, "show": 1, "why": 1, "tour": 1,
    "sessions": _MANY, "context": _MANY, "compact": _MANY, "memory": _MANY, "knowledge": _MANY,
    "resume": 1, "fork": 1,
    "replay": 2, "diff": 2, "export": 3, "artifacts": 5, "budget": _MANY, "skills": _MANY, "identity": _MANY,
    "approvals": 2, "approve": 2, "deny": _MANY, "answer": _MANY,
}  # fmt: skip
_ARGUMENT = {
    "model": "[NAME]", "models": "[GLOB]", "key": "[WORD …]", "sessions": "[--all] [WORD …]", "show": "[RUN]",
    "why": "[RUN]", "tour": "[N]",
    "approvals": "[MODE | forget ID]", "approve": "ID [once|notebook|session]", "deny": "ID [WHY]",
    "answer": "ID VALUE", "context": "[WORD …]",
    "compact": "[STRATEGY] [--preview]", "resume": "[RUN]", "fork": "[RUN]",
    "memory": "[WORD …] [--as-of RUN]", "knowledge": "[WORD …]",
    "replay": "[MODE] [FILE]", "diff": "RUN RUN", "export": "RUN --to FILE",
    "artifacts": "[RUN | save NAME PATH]", "skills": "[WORD …]",
    "budget": "[WORD AMOUNT]", "identity": "[WORD FILE]",
}  # fmt: skip
_SAYS = {
    "model": "the model of cells that name none; with a name: use that one from now on",
    "models": "models to begin with, and whether there is a key",
    "key": "secrets, never their values; set anthropic, set NAME --host H, rotate, rm, grant NAME --here, "
    "policy, bind, log, lock, unlock, rekey, scan",
    "tools": "what the agent may call here, and how often it has",
    "runs": "the runs kept on this machine",
    "sessions": "the conversations of this notebook, or --all; find WORDS, open, rename, delete, undo, "
    "deleted, purge",
    "show": "draw a run again",
    "why": "how and why a run ended",
    "traceback": "the whole error of the last run",
    "context": "what the next request is made of, and r3 or r3.1 a request of a run; all, show ITEM, "
    "pin, hide or free ITEM, budget 40k, diff RUN RUN, default SPEC (see --ctx)",
    "compact": "send less of the conversation: before and after side by side; undo [c1 [m3]] takes it back",
    "dashboard": "where the latest run stands: goal, plan, what is left, errors, risks, evidence, notes",
    "memory": "what is remembered, and WORDS finds; add, edit ID FIELD VALUE, pin, unpin or forget ID, undo, "
    "why ID [RUN], --as-of RUN",
    "knowledge": "the documents of this notebook (-t knowledge), and what WORDS find in them; add PATH|URL, "
    "rm NAME, index, search WORDS, show or uses DOCUMENT or CHUNK, graph [NAME], graph build; --of VARIABLE",
    "resume": "go on with a run whose kernel ended before it did",
    "fork": "go on from a run in a copy of its conversation",
    "replay": "answers recorded beside the notebook, or in FILE: auto, record, strict or off, as --replay",
    "diff": "two runs side by side: prompt, settings, calls, answer, what they took",
    "export": "write a run to a file: .md, .html, .py or .ipynb",
    "artifacts": "figures, tables and files that a run made; save NAME PATH writes one to a file",
    "budget": "what was spent and what is left; cell, notebook or day with an amount (0.05 dollars, 20k "
    "tokens) is a hard cap, ask 50k a size from which on you are asked, off ends them",
    "skills": "procedures that the agent may load (-t skills), and how far each is trusted; show NAME, "
    "find WORDS, check PATH asks the guard, undo takes back what an agent wrote",
    "identity": "SOUL.md, IDENTITY.md, USER.md: what the agent is told of itself and of you, by whom; "
    "show, edit, diff, undo or confirm one",
    "stop": "stop what runs, also beside the cells (--bg)",
    "approvals": "what waits for you and what was decided; with ask, read-only, edits or all: the mode; "
    "forget ID takes a lasting leave back",
    "approve": "allow a call that waits, also one of a kernel that is gone",
    "deny": "refuse a call that waits; the agent reads why",
    "answer": "answer a question that waits",
    "rollback": "take back what the agent's code did to the variables",
    "keep": "keep what the agent's code did to the variables",
    "policy": "what is allowed, asked and denied here, in words",
    "reset": "begin a new conversation with the next cell",
    "doctor": "what works here, what is missing, what to do",
    "config": "the settings, each with where it came from",
    "tour": "five small cells that show how it works",
    "help": "this text, and the flags of %%loom",
}
