"""What to do with a request: the rules of the offline model, from the first that fits.

A plan is a generator that yields calls and returns an answer. It is run again from its start at
every turn with the results that the conversation holds, so that the model itself keeps nothing.
"""

import difflib
import re
from collections.abc import Generator
from dataclasses import replace
from typing import Any

from loom_nb.models.offline import known, phrasing, recall
from loom_nb.models.offline.about_data import INSPECT, LIST, about_data, asks_overview
from loom_nb.models.offline.acting import acting, orders
from loom_nb.models.offline.arithmetic import Number, expression, numbers, value_of
from loom_nb.models.offline.choice import Choice, Clause, choose, clauses
from loom_nb.models.offline.conversion import conversion, takes_unit, unit_asked
from loom_nb.models.offline.direct import BY_RULE
from loom_nb.models.offline.fill import answer as answer_for
from loom_nb.models.offline.fill import fill
from loom_nb.models.offline.handoff import asked, handoff, headings
from loom_nb.models.offline.slots import Slot, schema_of, slots_of
from loom_nb.models.offline.steps import Answer, Calls, Plan
from loom_nb.models.offline.structured import filled, structured
from loom_nb.models.offline.tables import code, inline
from loom_nb.models.offline.task import (
    Exchange,
    Outcome,
    Task,
    listed_names,
    names_in_braces,
    read_task,
    value_in,
    without_tex,
)
from loom_nb.models.offline.using_tools import problem_with, use_tools
from loom_nb.protocols import Request

MAX_TOOL_TURNS = 4
"""Rounds of tools after which the model answers, whatever it has."""
MAX_ACTS = 40
"""The same where a request orders several things, one after the other."""

_HELLO = {
    "en": "hello hi hey hiya howdy greetings good morning afternoon evening day there yo",
    "de": "hallo guten tag morgen abend moin servus grüß gott",
    "fr": "bonjour salut bonsoir coucou",
    "es": "hola buenos buenas días dias tardes noches",
}
_HELP = re.compile(
    r"^\s*(?:/?help|\?+|hilfe|aide|ayuda|man)\b(?:\s+me)?\s*[.!?]*$|\bwhat (?:all |else )?can (?:you|i) do\b"
    r"|\bwhat (?:are|do) you(?:r)? (?:able|capab|do\b|tools|skills)"
    r"|\bwhat (?:tools|functions) (?:do you have|can you|are)|\b(?:list|show) (?:me )?(?:your|the"
    r"|all) tools\b|\bhow (?:do|can) (?:i|you) (?:use|help)"
    r"|\bhelp\b.*\bplease\b|\bhow does this work\b|\bwas kannst du\b|\bque (?:peux|sais)-tu\b"
    r"|\bqué puedes\b|\bwhich tools\b",
    re.I,
)
_WHO = re.compile(
    r"\b(?:who|what) are you\b|\bare you (?:a |an |the )?(?:real|demo|ai|gpt|claude"
    r"|chatgpt|bot|human|llm|model)|\bwhat(?: language)? model\b|\bwer bist du\b|\bqui es-tu\b"
    r"|\bquién eres\b|\byour name\b|\bintroduce yourself\b",
    re.I,
)
_THANKS = re.compile(
    r"^\s*(?:ok(?:ay)?[\s,]+)?(?:thanks?|thank you|thx|danke|merci|gracias|great|perfect|nice|cool"
    r"|super)\b[\w\s,]{0,30}[.!]*\s*$",
    re.I,
)
_BYE = re.compile(r"^\s*(?:good ?bye|bye|see you|tschüss|au revoir|adiós|adios|ciao)\b.{0,20}$", re.I)
_NEVER_MIND = re.compile(
    r"^\s*(?:never ?mind|cancel|stop|forget it|no thanks?|nothing|abbrechen|skip it)\b", re.I
)
_FOLLOWS = re.compile(
    r"^\s*(?:and|what about|how about|und|et|y|same for|also|now|the same for)\b[\s,]*(.+)$", re.I | re.S
)


def decide(request: Request) -> Calls | Answer:
    """The next step of a request: a pure function of it."""
    conversation = asked(request)
    if conversation is not None:
        return Answer(handoff(conversation, request.generation.max_output_tokens, headings(request)))
    task = read_task(request)
    turns = task.exchange.turns
    plan = _plan(
        replace(task, exchange=replace(task.exchange, turns=()))
    )  # what came back is sent, turn by turn
    try:
        step = next(plan)
        for turn in turns:
            step = plan.send(turn)
    except StopIteration as end:
        answer: Answer = end.value
        return answer
    if len(turns) < (MAX_ACTS if step.acts else MAX_TOOL_TURNS):
        return step
    outcomes = [outcome for turn in turns for outcome in turn]
    return (
        filled(task, outcomes)
        if task.output is not None
        else Answer(phrasing.reported(outcomes, stopped=True))
    )


def _plan(task: Task) -> Plan:
    task = _answering(task)
    tools = [tool for tool in task.tools if tool.name not in (LIST, INSPECT)]
    found = clauses(task.text, tools) if task.text.strip() else []
    if task.given_tool:
        found = _for_given(task, found)
    unknown = yield from _unknown_names(task)
    if unknown:
        return Answer(unknown)
    if task.output is not None:
        return (yield from structured(task, found, _work(task, found)))
    return (yield from _work(task, found))


def _unknown_names(task: Task) -> Generator[Calls, tuple[Outcome, ...], str]:
    """What to say of names in braces that travelled with no value and that the notebook does not have."""
    names = [name for name in names_in_braces(task.text) if name not in task.known.variables]
    if not names or task.tool(LIST) is None:
        return ""
    why = f"picking {LIST} because {names[0]} came without a value"
    (listing,) = (yield Calls(((LIST, {}),), why))[:1]
    there = listed_names(listing.text)
    lost = [name for name in names if name not in there]
    if listing.is_error or not lost:
        return ""
    near = difflib.get_close_matches(lost[0], there, 1, cutoff=0.6)
    told = ", ".join(f"`{name}`" for name in lost[:5])
    hint = f" (did you mean `{near[0]}`?)" if near else ""
    return f"There is no variable {told}{hint}."


def _work(task: Task, found: list[Clause]) -> Plan:
    """The answer in words."""
    ordered = acting(task, _ask_again) if not task.given_tool else None
    if ordered is not None:
        return (yield from ordered)
    noted = known.ordered(task)
    if noted is not None:
        return (yield from noted)
    if not any(_surely(clause.choice) for clause in found):
        said = _social(task) or _told(task)
        if said is not None:
            return said
    return (yield from _act(task, found))


def _ask_again(task: Task) -> Plan:
    """A piece of a request as a request of its own."""
    tools = [tool for tool in task.tools if tool.name not in (LIST, INSPECT)]
    return (yield from _act(task, clauses(task.text, tools)))


def _act(task: Task, found: list[Clause]) -> Plan:
    """Tools, arithmetic, the last call again, the notebook's data: what fits first."""
    in_unit = _in_unit(task)
    if in_unit is not None:
        return (yield from in_unit)
    plain = replace(task, text=without_tex(task.text))
    data = about_data(plain)
    formula = _formula(plain)
    if found and asks_overview(task.text):
        found = clauses(task.text, task.tools)
    if found and formula is not None and (_too_much(formula, found) or not found[0].choice.meant):
        found = []
    if found and (data is None or any(_beats_data(task, clause) for clause in found)):
        return (yield from use_tools(task, found, task.given))
    if formula is not None:
        value = value_of(formula)
        return Answer(
            phrasing.arithmetic(formula, value),
            "this is arithmetic, no tool is needed",
            values=() if value is None else (value,),
        )
    again = None if data is not None and task.exchange.parts else _again(task)
    if again is not None:
        return (yield from again)
    if data is not None:
        return (yield from data)
    named = clauses(task.text, task.tools)
    if named:
        return (yield from use_tools(task, named, task.given))
    looked_up = known.answered(task)
    return (yield from looked_up) if looked_up is not None else _beyond(task)


def _too_much(formula: str, found: list[Clause]) -> bool:
    """Whether a formula has more numbers than the one tool for it would take."""
    slots = found[0].choice.slots
    takes_all = any(slot.role == "expression" or slot.kind == "array" for slot in slots)
    return len(found) == 1 and not takes_all and len(numbers(formula)) > sum(slot.numeric for slot in slots)


def _surely(choice: Choice) -> bool:
    """Whether the words name the tool itself, not only things it deals with."""
    return choice.score >= 3.0


def _beats_data(task: Task, clause: Clause) -> bool:
    """Whether a tool of the user is meant although the question could be one about data."""
    choice = clause.choice
    known = task.known
    if not choice.meant:  # the only tool of the user
        named = any(re.search(rf"(?<!\w){re.escape(one)}(?!\w)", task.text) for one in known.variables)
        return not task.exchange.parts and not named and not asks_overview(task.text)
    filled = fill(choice.slots, clause.text, tool_terms=choice.terms, known=known)
    return choice.score >= 3.3 or (choice.score >= 2.4 and not filled.missing and bool(filled.values))


def _for_given(task: Task, found: list[Clause]) -> list[Clause]:
    """The clauses of an earlier request, with the tool that was asked about among them."""
    tool = task.tool(task.given_tool)
    if tool is None or tool.name in (LIST, INSPECT) or any(c.choice.tool.name == tool.name for c in found):
        return found
    return [Clause(task.text, Choice(tool, slots_of(schema_of(tool)), 9.0, ()))]


def _answering(task: Task) -> Task:
    """The task that an answer to a question goes on with: the request before it, with the argument given."""
    chain: list[tuple[Exchange, tuple[str, str]]] = []
    for exchange in reversed(task.past[-6:]):
        asked = exchange.asked
        if asked is None or (chain and asked[1] != chain[-1][1][1]):
            break
        chain.append((exchange, asked))
    if not chain:
        return task
    chain.reverse()
    tool = task.tool(chain[0][1][1])
    if tool is None or _NEVER_MIND.search(task.text):
        return task
    texts = [*(exchange.text for exchange, _ in chain[1:]), task.text]
    slots = {slot.name: slot for slot in slots_of(schema_of(tool))}
    given: dict[str, Any] = {}
    start = 0
    for place, ((_, (name, _)), text) in enumerate(zip(chain, texts, strict=True)):
        value = _value(slots.get(name), text, task) if not _starts_anew(text, task, name) else None
        if value is None:  # that was another request: the chain begins after it
            given, start = {}, place + 1
        else:
            given[name] = value
    if start >= len(chain):
        return task
    first = chain[start][0]
    merged = replace(task.exchange, parts=(*first.parts, *task.exchange.parts))
    return replace(task, text=first.text, exchange=merged, given=given, given_tool=tool.name)


def _value(slot: Slot | None, text: str, task: Task) -> Any:
    if slot is None or len(text) > 2000:
        return None
    return answer_for(slot, text, task.known)


def _starts_anew(text: str, task: Task, name: str) -> bool:
    """Whether a text is a request of its own rather than an answer."""
    if re.search(rf"(?<!\w){re.escape(name)}\s*[=:]", text):
        return False
    if recall.is_question(text) or _HELP.search(text) or recall.wants_note(text):
        return True
    if orders(replace(task, text=text)):
        return True
    choice = choose(text, task.tools)
    return choice is not None and choice.score >= 3.0 and len(text.split()) > 2


def _social(task: Task) -> Answer | None:
    """Greetings, thanks, "who are you", "help", silence."""
    text, tools = task.text, task.tools
    if not text.strip() and not task.exchange.parts:
        return Answer(f"There is no request in this message. {phrasing.try_this(tools)}")
    if _HELP.search(text):
        return Answer(phrasing.abilities(tools))
    language = _greets(text)
    if language:
        name = recall.found("name", _remembered(task, now=True))
        return Answer(phrasing.greeting(language, name.text if name else "", tools))
    if _WHO.search(text) and len(text) < 120:
        who = (
            "I am the offline demo model of loom_nb: a set of rules, not a language model. I pick "
            "tools by your words and report what they give."
        )
        return Answer(f"{who}\n\n{phrasing.try_this(tools)}\n\n{phrasing.REAL_MODEL}")
    if _NEVER_MIND.search(text) and len(text) < 40:
        return Answer(f"All right, nothing was called. {phrasing.try_this(tools)}")
    if _THANKS.search(text):
        return Answer("You are welcome.")
    if _BYE.search(text):
        return Answer("Goodbye. This conversation stays in the notebook.")
    return None


def _greets(text: str) -> str:
    plain = re.findall(r"[^\W\d_]+", text.lower())
    if not plain or len(plain) > 6:
        return ""
    for language, hello in _HELLO.items():
        known = hello.split()
        if plain[0] in known and all(
            word in known or word in ("loom", "demo", "model", "you", "all") for word in plain
        ):
            return language
    return ""


def _remembered(task: Task, *, now: bool = False) -> list[recall.Fact]:
    exchanges = (*task.past, task.exchange) if now else task.past
    texts = (*task.told, *(exchange.text for exchange in exchanges))
    return [fact for text in texts for fact in recall.facts(text)]


def _told(task: Task) -> Answer | None:
    """What the user wants remembered, or told again."""
    if recall.asks_for_all(task.text):
        kept = _remembered(task)
        if not kept:
            return Answer(
                "You have told me nothing to remember in this conversation yet. Say *remember that …*."
            )
        each = "\n".join(
            f"- {inline(f'your {fact.about}: {fact.text}' if fact.about else fact.text)}"
            for fact in kept[-20:]
        )
        return Answer(f"In this conversation you told me:\n\n{each}")
    about = recall.asked_about(task.text)
    if about is not None:
        fact = recall.found(about, _remembered(task))
        if fact is not None:
            phrases = {"home": "You live in", "work": "You work at"}
            start = phrases.get(fact.about, f"Your {inline(fact.about)} is") if fact.about else "You told me:"
            return Answer(
                f"{start} **{inline(fact.text)}**. (You said so in this conversation.)", values=(fact.text,)
            )
        if not known.may_know(task) and (about in ("name", "home", "work") or not about_data(task)):
            return Answer(
                f"You have not told me your {inline(about)} in this conversation. Say *my "
                f"{inline(about)} is …* and I keep it in mind."
            )
    subject = recall.noted_subject(task.text)
    note = recall.found(subject, _remembered(task)) if subject else None
    if note is not None:
        return Answer(
            f"You told me: **{inline(f'{note.about}: {note.text}' if note.about else note.text)}**."
        )
    new = recall.facts(task.text)
    if new and (recall.wants_note(task.text) or _only_tells(task.text)):
        each = "; ".join(
            inline(f"your {fact.about}: {fact.text}" if fact.about else fact.text) for fact in new
        )
        return Answer(f"Noted: {each}. I keep it for this conversation.")
    return None


def _only_tells(text: str) -> bool:
    """Whether a message tells something and asks for nothing."""
    return not recall.is_question(text) and len(re.findall(r"[.!?]\s+\S", text)) <= 1 and len(text) < 300


def _formula(task: Task) -> str | None:
    """The arithmetic in a text; variables that are numbers and "that" for the last result included."""
    text = task.text
    if len(text) > 400:
        return None
    for name, part in task.parts.items():
        value = value_in(part.text)
        if isinstance(value, int | float) and not isinstance(value, bool):
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", repr(value), text)
    return expression(text, _last_number(task))


def _last_number(task: Task) -> Number | None:
    """What "that" stands for: the figure of the newest answer, or of the newest result."""
    for exchange in reversed(task.past[-3:]):
        said = re.search(r" = \*\*(-?[\d,]+(?:\.\d+)?(?:e[-+]?\d+)?)\*\*", exchange.answer)
        results = [outcome.text for turn in exchange.turns for outcome in turn if not outcome.is_error]
        for text in [*([said[1].replace(",", "")] if said else []), *reversed(results)]:
            value = value_in(text)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return value
    return None


def _in_unit(task: Task) -> Plan | None:
    """The last figure in another unit, by a tool that converts: "and in miles?"."""
    unit = unit_asked(task.text)
    last = _last_call(task) if unit and not task.exchange.parts else None
    if last is None:
        return None
    made_by = task.tool(last.name)
    if made_by is not None and takes_unit(made_by, unit):
        return None
    clause = conversion(unit, last, made_by, task.tools)
    if clause is not None:
        return use_tools(task, [clause], task.given)
    return None if made_by is None else _says(_beyond(task))


def _says(answer: Answer) -> Plan:
    """An answer without a call."""
    yield from ()
    return answer


def _again(task: Task) -> Plan | None:
    """The last call once more, with what the text changes: "and in Rome?"."""
    follows = _FOLLOWS.match(task.text)
    last = _last_call(task)
    tool = task.tool(last.name) if last else None
    if (
        follows is None
        or last is None
        or tool is None
        or tool.name in (LIST, INSPECT, *BY_RULE)
        or len(task.text) > 200
    ):
        return None
    slots = slots_of(schema_of(tool))
    choice = Choice(tool, slots, 9.0, ("and",))
    new = fill(slots, follows[1], tool_terms=choice.terms, known=task.known)
    wanted = [last.arguments | arguments for arguments in new.calls()]
    if not new.values or any(problem_with(tool, arguments) for arguments in wanted):
        return None
    return _repeat(tool.name, wanted)


def _repeat(name: str, wanted: list[dict[str, Any]]) -> Plan:
    results = yield Calls(
        tuple((name, arguments) for arguments in wanted),
        f"picking {name} because this follows the last question",
    )
    return Answer(phrasing.reported(results))


def _last_call(task: Task) -> Outcome | None:
    for exchange in reversed(task.past[-3:]):
        for turn in reversed(exchange.turns):
            if turn:
                return turn[-1]
    return None


def _beyond(task: Task) -> Answer:
    """Nothing fits: say so, and show what did come with the message."""
    if task.exchange.parts:
        part = task.exchange.parts[0]
        summary = f" ({inline(part.summary)})" if part.summary else ""
        came = f"With your message came `{part.name}`{summary}:\n\n{code(part.text, lines=8)}"
        return Answer(f"{phrasing.cannot(task.tools, text=task.text)}\n\n{came}")
    if task.exchange.media:
        return Answer(f"I cannot look at images or files. {phrasing.cannot(task.tools)}")
    return Answer(phrasing.cannot(task.tools, text=task.text))
