"""Questions about the notebook's data: which there is, how large, what is missing, its figures."""

import difflib
import re
from dataclasses import dataclass, replace
from typing import Literal

from loom_nb.models.offline import phrasing, rows
from loom_nb.models.offline.arithmetic import numbers
from loom_nb.models.offline.direct import ALWAYS, RUN
from loom_nb.models.offline.facts import Column, Facts, read_facts, together
from loom_nb.models.offline.figures import asks_which, cells, of_list, statistic
from loom_nb.models.offline.slots import schema_of, slots_of
from loom_nb.models.offline.steps import Answer, Calls, Plan
from loom_nb.models.offline.tables import Table, code, code_span, inline, markdown
from loom_nb.models.offline.task import Task, last_results, listed, names_in_braces, value_in
from loom_nb.models.offline.values import NOTHING, plain_data
from loom_nb.models.offline.words import terms, words
from loom_nb.wording import counted

Topic = Literal[
    "overview", "describe", "size", "columns", "missing", "types", "head", "statistic", "clean", "cells"
]

LIST = "list_variables"
INSPECT = "inspect_variable"

_OVERVIEW = re.compile(
    r"\b(?:what|which|show|list|display|see|any)\b[^.?!]*\b(?:data|variables?|data ?frames?|datasets?"
    r"|tables?)\b[^.?!]*"
    r"\b(?:have|here|there|available|notebook|defined|exist|loaded|do i|are)\b"
    r"|\b(?:show|list|display|what are|print)\b(?: me)?(?: all)?(?: of)?(?: the| my| our)? (?:data"
    r"|variables|data ?frames|datasets)\b"
    r"|\bwhat(?:'s| is) in (?:my|the|this) notebook\b|\bwhat do i have (?:here|loaded)\b"
    r"|^\s*(?:my )?(?:data|variables)\s*\??$"
    r"|\bwelche (?:daten|variablen)\b|\bquelles? (?:données|variables)\b|\bqué (?:datos|variables)\b"
    r"|\bque (?:datos|variables)\b",
    re.I,
)
_STATISTICS: tuple[tuple[str, str, str], ...] = (
    (r"mean|average|avg|durchschnitt|mittelwert|moyenne|promedio|media", "mean", "mean"),
    (r"median", "50%", "median"),
    (
        r"max|maximum|highest|largest|biggest|greatest|most(?! (?:common|frequent|of|likely))",
        "max",
        "maximum",
    ),
    (r"min|minimum|lowest|smallest|cheapest|fewest|(?<!at )least", "min", "minimum"),
    (r"std|standard deviation|spread", "std", "standard deviation"),
    (r"sum|total", "sum", "sum"),
    (r"unique|distinct|different", "distinct", "number of distinct values"),
    (r"count", "count", "count"),
)
_TOPICS: tuple[tuple[str, Topic], ...] = (
    (
        r"missing|nulls?|nans?|na values|incomplete|gaps|empty (?:cells|values)|fehlen\w*"
        r"|manquant\w*",
        "missing",
    ),
    (r"clean|tidy|repair|fix up", "clean"),
    (
        r"how many (?:rows|records|lines|observations|columns|fields|entries|items)|number of (?:rows"
        r"|records|columns)|rows?\b.*\bcolumns?|shape|how (?:big|large|long)"
        r"|size|length|wie viele zeilen|combien de lignes|cuántas filas",
        "size",
    ),
    (r"d?types?\b|schema", "types"),
    (r"columns?|column names|fields|features|spalten|colonnes|columnas", "columns"),
    (r"head|first (?:few )?(?:\w+ )?rows?|preview|look like|sample", "head"),
    (
        r"describe|summari[sz]e|summary|overview|explore|inspect|explain|tell me (?:more )?about|what(?:'s"
        r"| is) in|what(?:'s| is)|look at|analy[sz]e"
        r"|profile|show|statistics|stats|insights?|beschreibe|décris|describir|about",
        "describe",
    ),
)
_DETAIL: dict[Topic, tuple[str, ...]] = {
    "describe": ("statistics", "schema"),
    "missing": ("schema", "statistics"),
    "types": ("schema",),
    "columns": ("schema",),
    "head": ("head",),
    "statistic": ("statistics",),
    "size": ("schema",),
    "clean": ("schema", "statistics"),
    "cells": ("head",),
}
_POINTS_BACK = re.compile(
    r"\b(?:it|its|it's|that|this|them|their|those|these|there|the same)\b|^\s*(?:and|und|et|y)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked."""

    topic: Topic
    statistic: str = ""
    label: str = ""


def ask_of(text: str) -> Ask | None:
    """What a text asks of data, or None."""
    short = text[:600]
    if _OVERVIEW.search(short):
        return Ask("overview")
    for pattern, topic in _TOPICS[:4]:
        if re.search(rf"\b(?:{pattern})", short, re.I):
            return Ask(topic)
    for pattern, which, label in _STATISTICS:
        if re.search(rf"\b(?:{pattern})\b", short, re.I):
            return Ask("statistic", which, label)
    for pattern, topic in _TOPICS[4:]:
        if re.search(rf"\b(?:{pattern})\b", short, re.I):
            return Ask(topic)
    return None


def _is_about(task: Task, subject: str) -> bool:
    """Whether a text that asks nothing in particular is about a variable: "{df}", "and x?"."""
    follows = _POINTS_BACK.search(task.text) is not None and len(task.text) < 60
    return subject in task.parts or follows


def asks_overview(text: str) -> bool:
    """Whether a text asks which data there is."""
    return _OVERVIEW.search(text[:600]) is not None


def about_data(task: Task) -> Plan | None:
    """The plan for a question about data; None when the text is about something else."""
    asked = ask_of(task.text)
    subject = _subject(task)
    if asked is None and subject and _is_about(task, subject):
        asked = Ask("describe")
    if subject and (asked is None or asked.topic in ("describe", "columns", "size")):
        asked = _closer(task, subject) or asked
    if asked is None:
        return None
    if subject and asked.topic == "overview" and re.search(r"\b(?:columns?|rows?)\b", task.text, re.I):
        asked = ask_of(re.sub(_OVERVIEW, " columns ", task.text)) or asked
    if asked.topic == "overview" and not (subject and subject in task.parts):
        return _overview(task) if task.tool(LIST) or task.exchange.parts else None
    if asked.topic == "overview":
        asked = Ask("describe")
    if subject:
        return _look(task, asked, subject, sure=subject in task.known.variables)
    figures = _figures_of_last(task, asked)
    if figures is not None:
        return _say(figures)
    if task.tool(LIST) and _speaks_of_data(task, asked):
        return _search(task, asked)
    return None


def _closer(task: Task, subject: str) -> Ask | None:
    """What is asked of the cells of a frame, where the text names a column or a row of it."""
    facts = task.facts(subject)
    if facts is None or not facts.columns:
        return None
    text = _without(task.text, subject)
    named = rows.named_columns(facts, text)
    if re.search(r"\bhow many\b|\bnumber of\b", text, re.I):
        counted = re.search(r"\b(?:how many|number of)\s+([^\W\d]\w*)", text, re.I)
        what = rows.named_columns(facts, counted[1]) if counted else []
        if what and not rows.is_number(what[0]):
            return Ask("statistic", "distinct", "number of distinct values")
    shown_rows = rows.records(facts) or []
    if named and rows.named_rows(facts, shown_rows, text):
        return Ask("cells")
    listed_out = re.search(r"\b(?:names?|values?|list|all|which|what are|every)\b", text, re.I)
    if named and listed_out and not re.search(r"\b(?:columns?|types?|rows?|missing)\b", text, re.I):
        return Ask("cells")
    return None


def _say(answer: Answer) -> Plan:
    yield from ()
    return answer


def _subject(task: Task) -> str | None:
    """The variable a text is about: named, travelling with it, or the last one that was."""
    if task.given_tool == INSPECT and isinstance(task.given.get("name"), str):
        return str(task.given["name"])
    known = task.known
    named = [
        n
        for n in sorted(known.variables, key=len, reverse=True)
        if re.search(rf"(?<![\w]){re.escape(n)}(?![\w])", task.text)
    ]
    if named:
        return next((name for name in named if name in task.parts), named[0])
    if task.exchange.parts:
        return task.exchange.parts[0].name
    owner = _owner(task)
    if owner:
        return owner
    fresh = _spelled(task)
    if fresh:
        return fresh
    asked = ask_of(task.text)
    short = asked is not None and _continues(task, asked)
    back = short or _POINTS_BACK.search(task.text) is not None or _known_column(task) is not None
    return last_subject(task) if back else None


def _spelled(task: Task) -> str | None:
    """A name in backticks, or the last word after "describe" and its like: a variable not seen yet."""
    if task.tool(INSPECT) is None:
        return None
    ticked: list[str] = [*re.findall(r"`([^\W\d]\w{0,80})`", task.text), *names_in_braces(task.text)]
    if ticked:
        return ticked[0]
    match = re.search(
        r"\b(?:describe|summari[sz]e|inspect|explore|beschreibe|décris|profile|analy[sz]e|preview"
        r"|head of|columns (?:of|in|does|has)|rows (?:of|in|does|has)"
        r"|shape of|size of|missing values (?:of|in)|what is in|what's in|tell me about|\w+ (?:in|from)"
        r"|how (?:large|big|long) is)\s+(?:the |my |data ?frame |variable "
        r"|frame )*([^\W\d]\w{0,80})\s*(?:have\s*)?[?.!]*\s*$",
        task.text[:400],
        re.I,
    )
    words = {
        "data",
        "it",
        "that",
        "this",
        "them",
        "me",
        "notebook",
        "variables",
        "dataframe",
        "frame",
        "table",
        "dataset",
        "here",
        "there",
        "you",
        "yourself",
    }
    return match[1] if match and match[1].lower() not in words else None


def last_subject(task: Task) -> str | None:
    """The variable that was talked of last, if nothing else was since."""
    for exchange in reversed(task.past[-20:]):
        for turn in reversed(exchange.turns):
            for outcome in reversed(turn):
                if outcome.name == INSPECT and isinstance(outcome.arguments.get("name"), str):
                    return str(outcome.arguments["name"])
                if outcome.name not in (LIST, *ALWAYS):
                    return None  # something else was talked of since
        if exchange.parts:
            return exchange.parts[-1].name
    return None


def _known_column(task: Task) -> str | None:
    return next(
        (c for c in task.known.columns if re.search(rf"(?<!\w){re.escape(c)}(?!\w)", task.text, re.I)), None
    )


def _continues(task: Task, asked: Ask) -> bool:
    """Whether a short question without a name goes on about what was talked of."""
    if asked.topic in ("overview", "describe"):
        return False
    brief = len(task.text) < 30 and asked.topic in ("statistic", "size")
    return brief or (_speaks_of_data(task, asked) and len(task.text) < 80)


def _owner(task: Task) -> str | None:
    """The variable that has the column which the text names, the newest first."""
    if _known_column(task) is None:
        return None
    for name in task.known.variables[:20]:
        facts = task.facts(name)
        if facts and facts.column(task.text):
            return name
    return None


def _speaks_of_data(task: Task, asked: Ask) -> bool:
    if asked.topic in ("missing", "clean", "head", "types") or _known_column(task):
        return True
    if asked.topic == "statistic" and len(task.text) < 60:
        return True
    return (
        re.search(
            r"\b(?:data|data ?frames?|table|dataset|columns?|rows?|spalten?|daten)\b", task.text[:600], re.I
        )
        is not None
    )


def _overview(task: Task) -> Plan:
    if task.tool(LIST) is None:
        each = "\n".join(
            f"- `{part.name}` {inline(part.summary or part.text[:80])}" for part in task.exchange.parts
        )
        return Answer(
            f"With this message came:\n\n{each}\n\nOther variables I cannot see: there is no tool for "
            "them here."
        )
    (listing,) = (yield Calls(((LIST, {}),), f"picking {LIST} because the question is which data there is"))[
        :1
    ]
    if listing.is_error:
        return Answer(phrasing.reported([listing]))
    return Answer(phrasing.variables(listing.text))


def _search(task: Task, asked: Ask, near: str = "") -> Plan:
    """Which variable is meant is not said: look which there are."""
    (listing,) = (yield Calls(((LIST, {}),), f"picking {LIST} because no variable is named"))[:1]
    if listing.is_error:
        return Answer(phrasing.reported([listing]))
    variables = listed(listing.text)
    named = [name for name, _ in variables if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", task.text)]
    named = named or difflib.get_close_matches(near, [name for name, _ in variables], 1, cutoff=0.6)
    column = re.compile(rf"(?<!\w){re.escape(near)}(?!\w)") if near else None
    holding = [
        name for name, rest in variables if column and "dataframe" in rest.lower() and column.search(rest)
    ]
    if asked.topic == "statistic" and not named and not holding:
        said = [word for word in words(task.text) if terms(word) and ask_of(word) is None]
        holding = [
            name
            for name, rest in variables
            if any(re.search(rf"(?<!\w){re.escape(w)}(?!\w)", rest, re.I) for w in said)
        ]
        if said and not holding:
            return Answer(
                f"{phrasing.cannot(task.tools, text=task.text)}\n\nI also looked at your variables: "
                "none of them names it."
            )
    frames = named or holding or [name for name, rest in variables if "dataframe" in rest.lower()]
    inspect = task.tool(INSPECT)
    if len(frames) == 1 and inspect is not None:
        return (yield from _look(task, asked, frames[0], sure=True))
    if len(frames) > 1 and inspect is not None:
        slot = next((slot for slot in slots_of(schema_of(inspect)) if slot.name == "name"), None)
        if slot is not None:
            return Answer(
                f"{phrasing.question(slot, inspect)} You have {', '.join(f'`{n}`' for n in frames[:12])}."
            )
    return Answer("I see no DataFrame to answer that from.\n\n" + phrasing.variables(listing.text))


def _look(task: Task, asked: Ask, subject: str, *, sure: bool) -> Plan:
    """Answer from what travels with the message, else inspect, else from what is known from before."""
    inspect = task.tool(INSPECT) if subject.isidentifier() else None  # "df.visits" is no name to look up
    facts = task.facts(subject, old=inspect is None)
    said = _answered(task, asked, facts) if facts else None
    enough = asked.topic != "describe" or (facts and not facts.columns and subject in task.parts)
    if said and (inspect is None or enough):
        return replace(said, why=f"what came with the message about {subject} holds the answer")
    problem = ""
    for views in _views(task, asked, facts) if inspect else ():
        calls = tuple((INSPECT, {"name": subject} | ({"detail": view} if view else {})) for view in views)
        results = yield Calls(calls, f"picking {INSPECT} because the question is about {subject}")
        good = [read_facts(subject, outcome.text) for outcome in results if not outcome.is_error]
        facts = together([*([facts] if facts else []), *good])
        problem = "" if good else phrasing.reported(results)
        if problem and not sure and task.tool(LIST):
            return (yield from _search(task, asked, near=subject))
        said = _answered(task, asked, facts) if facts else None
        more = asked.topic == "describe" and facts is not None and _lacks_statistics(facts)
        if (said or problem) and not more:
            break
    if said or problem:
        return said or Answer(problem)
    facts = facts or task.facts(subject)
    if facts is None:
        return Answer(
            f"I have nothing about `{subject}`: put it in braces, `{{{subject}}}`, so that it travels "
            "with your message."
        )
    hint = _cell_for(task, asked, facts)
    return Answer(
        f"What I was given about `{subject}` does not say.{hint} This is all I have:\n\n{code(facts.text)}"
    )


def _cell_for(task: Task, asked: Ask, facts: Facts) -> str:
    """The line of Python that would tell."""
    column = facts.column(_without(task.text, facts.name))
    method = {"50%": "median", "distinct": "nunique"}.get(asked.statistic, asked.statistic)
    if asked.topic != "statistic" or column is None:
        return ""
    return f" A cell would: {code_span(f'{facts.name}[{column.name!r}].{method}()')}."


def _lacks_statistics(facts: Facts) -> bool:
    return bool(facts.columns) and not any(column.statistics for column in facts.columns)


def _views(task: Task, asked: Ask, facts: Facts | None) -> list[tuple[str, ...]]:
    """Which views of a variable to ask for, side by side, then as a second try."""
    inspect = task.tool(INSPECT)
    choices = (
        next((s.choices for s in slots_of(schema_of(inspect)) if s.name == "detail"), ()) if inspect else ()
    )
    wanted = [view for view in _DETAIL.get(asked.topic, ()) if view in choices]
    if asked.topic == "describe" and facts is None:
        wanted = ["", *wanted[:1]]
        return [(view,) for view in wanted]
    if asked.topic == "describe":
        return [(view,) for view in (wanted[:1] or [""])] if facts and facts.columns else [("",)]
    if asks_which(task.text, asked.statistic) and "head" in choices:  # the row stands in the rows
        return [("head", *wanted), ("",)]
    return [(view,) for view in ([*wanted, ""] if wanted else [""])[:2]]


def _answered(task: Task, asked: Ask, facts: Facts) -> Answer | None:
    """The answer, if the facts hold it: in words and as plain data."""
    text = _without(task.text, facts.name)
    match asked.topic:
        case "size":
            said = _size(text, facts)
        case "missing":
            said = _missing(text, facts)
        case "columns" | "types" if facts.columns:
            names = [column.name for column in facts.columns]
            said = Answer(phrasing.columns(facts), values=(names, len(names)))
        case "head":
            said = _head(task, facts)
        case "statistic":
            said = statistic(text, asked.statistic, asked.label, facts, _column_before(task, facts))
        case "cells":
            said = cells(text, facts)
        case "clean":
            said = _clean(facts, acts=task.tool(RUN) is not None)
        case _:
            said = _described(task, facts)
    return said


def _size(text: str, facts: Facts) -> Answer | None:
    count = facts.rows
    if rows.filters(text) and facts.columns:  # only some of the rows are counted
        every = rows.records(facts)
        some = rows.kept(facts, every, text) if every is not None else None
        if some is None:
            return None
        return Answer(f"**{counted(len(some), 'row')}** of `{facts.name}` fit that.", values=(len(some),))
    said = phrasing.size(facts)
    wide = re.search(r"\b(?:columns?|fields?|wide)\b", text, re.I) and not re.search(r"\brows?\b", text, re.I)
    return (
        Answer(said, values=(facts.width if wide and facts.width is not None else count,)) if said else None
    )


def _missing(text: str, facts: Facts) -> Answer | None:
    said = phrasing.missing(facts)
    told = [column for column in facts.columns if column.missing is not None]
    named = [column for column in rows.named_columns(facts, text) if column in told]
    gaps = [column.name for column in told if column.missing]
    count = sum(column.missing or 0 for column in (named or told))
    return Answer(said, values=(count, gaps, *(gaps if len(gaps) == 1 else ()))) if said else None


def _head(task: Task, facts: Facts) -> Answer | None:
    if facts.head is None:
        return None
    wanted = next(
        (int(value) for _, _, value in numbers(task.text) if 0 < value <= len(facts.head.rows)), None
    )
    kept = facts.head.rows[:wanted]
    return Answer(f"The first rows of `{facts.name}`:\n\n{markdown(Table(facts.head.header, kept))}")


def _described(task: Task, facts: Facts) -> Answer:
    column = facts.column(_without(task.text, facts.name))
    if column is None or not column.statistics:
        value = plain_data(facts.text) if not facts.columns else NOTHING
        if value is NOTHING and facts.name in task.parts and not facts.columns:
            value = value_in(facts.text)
            value = NOTHING if value is None else value
        every = rows.records(facts)
        if every is not None and facts.kind == "Series":
            value = [row.get(facts.columns[0].name) for row in every]
        return Answer(phrasing.described(facts), values=() if value is NOTHING else (value,), told=True)
    each = ", ".join(f"{title} {value}" for title, value in column.statistics.items())
    return Answer(
        f"`{column.name}` in `{facts.name}` ({column.dtype or 'column'}): {inline(each)}.", told=True
    )


def _column_before(task: Task, facts: Facts) -> Column | None:
    """The column of the question before this one: "and its maximum?"."""
    if not _POINTS_BACK.search(task.text) or not task.past:
        return None
    return facts.column(_without(task.past[-1].text, facts.name))


def _without(text: str, name: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", " ", text)


def _clean(facts: Facts, *, acts: bool) -> Answer | None:
    if not facts.columns:
        return None
    gaps = [column for column in facts.columns if column.missing]
    found = phrasing.missing(facts) or (
        f"`{facts.name}` has {len(facts.columns)} columns; what I was given says nothing of missing values."
    )
    idea = (
        f"`{facts.name} = {facts.name}.dropna(subset={[column.name for column in gaps]!r})`"
        if gaps
        else f"`{facts.name}.duplicated().sum()`"
    )
    if acts:
        return Answer(
            f"{found}\n\nSay *clean {{{facts.name}}}*: I trim text, drop wholly empty rows and exact "
            "duplicates, and you see the code before it runs."
        )
    return Answer(
        f"I cannot change `{facts.name}`: I have only tools that look. {found}\n\nA next step for you: {idea}"
    )


def _figures_of_last(task: Task, asked: Ask) -> Answer | None:
    """Figures of a list of numbers that the last tool gave: "and its mean?"."""
    back = _POINTS_BACK.search(task.text) is not None or len(task.text) < 30
    if asked.topic not in ("statistic", "size") or not back:
        return None
    results = last_results(task)
    which = "count" if asked.topic == "size" else asked.statistic
    said = of_list(results[-1].name, value_in(results[-1].text), which, asked.label) if results else None
    return replace(said, why=f"the last result of {results[-1].name} is a list of numbers") if said else None
