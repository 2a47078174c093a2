"""The sentences of the offline model: short, and only about what is there."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from loom_nb.models.offline.arithmetic import Number, number, shown
from loom_nb.models.offline.facts import Column, Facts, figure
from loom_nb.models.offline.slots import Slot, schema_of, slots_of
from loom_nb.models.offline.tables import code, code_span, inline, markdown, of_records, tables
from loom_nb.models.offline.task import Outcome, listed
from loom_nb.tools import Tool
from loom_nb.wording import counted

REAL_MODEL = (
    "For free-form answers connect a real model: `%loom key set anthropic` keeps its key, then "
    "`%loom model anthropic:…`; `openai:…` likewise."
)
_PRINTED = re.compile(r"^([^:\n]{1,200}): (-?\d+)$", re.M)
_AS_IS = ("`list_files(", "`tree(", "`glob(", "`grep(")
"""Calls whose results are no tables, whatever their lines look like."""
_RAISED = re.compile(r"^The code (?:raised|was stopped|could not be stopped).*$", re.M)
_GREETINGS = {
    "de": "Hallo! Ich bin das eingebaute Demo-Modell: feste Regeln, kein Netz, am besten auf Englisch.",
    "fr": (
        "Bonjour ! Je suis le modèle de démonstration : des règles fixes, sans réseau, à l'aise "
        "surtout en anglais."
    ),
    "es": "¡Hola! Soy el modelo de demostración: reglas fijas, sin red, y entiendo mejor el inglés.",
    "en": "Hello! I am the built-in demo model: fixed rules, no network, no key needed.",
}


def greeting(language: str, name: str, tools: Sequence[Tool]) -> str:
    """Hello, and one thing to try."""
    hello = _GREETINGS.get(language, _GREETINGS["en"])
    if name:
        hello = hello.replace("Hello!", f"Hello {inline(name)}!", 1).replace(
            "Hallo!", f"Hallo {inline(name)}!", 1
        )
    return f"{hello}\n\n{try_this(tools)}"


def abilities(tools: Sequence[Tool]) -> str:
    """What can be done here, from the tools at hand."""
    lines = ["I am the offline demo model: I follow fixed rules and know nothing of the world. Here I can"]
    lines += [f"- call {_signature(tool)}{_purpose(tool)}" for tool in tools[:8]]
    if len(tools) > 8:
        lines.append(
            f"- and {len(tools) - 8} more tools: {', '.join(f'`{tool.name}`' for tool in tools[8:20])}"
        )
    if any(tool.name == "run_python" for tool in tools):
        lines.append(
            "- change data when you allow it: *clean {df}*, *drop duplicates*, *fill missing price with 0*, "
            "*add a column total = price \\* qty*"
        )
    lines += [
        "- answer questions about data you put in braces, as in `describe {df}`",
        "- do arithmetic, and remember what you tell me in this conversation",
    ]
    return "\n".join(lines) + f"\n\n{try_this(tools)}\n\n{REAL_MODEL}"


def cannot(tools: Sequence[Tool], *, text: str = "") -> str:
    """An honest no: what is missing, what works, how to get more."""
    if tools:
        names = ", ".join(f"`{tool.name}`" for tool in tools[:6]) + (" and more" if len(tools) > 6 else "")
        here = (
            f"I found no tool here that fits it. What I can use: {names}; also data in braces "
            f"(`{{df}}`) and arithmetic."
        )
    else:
        here = (
            "I have no tools in this run: give me a function with `%%loom -t my_function`, data in "
            "braces (`{df}`), "
            "or some arithmetic."
        )
    asked = (
        f" “{inline(text[:60].strip())}{'…' if len(text.strip()) > 60 else ''}” is beyond me."
        if text.strip()
        else ""
    )
    return f"I am the offline demo model and do not know the world.{asked} {here}\n\n{REAL_MODEL}"


def try_this(tools: Sequence[Tool]) -> str:
    """One request that works here."""
    if any(tool.name == "list_variables" for tool in tools):
        return "Try: *what data do I have here?*"
    if not tools:
        return "Try: *what is 12\\*7?*"
    needed = [slot for slot in slots_of(schema_of(tools[0])) if slot.required]
    spoken = tools[0].name.replace("_", " ")
    if all(slot.numeric for slot in needed):
        return f"Try: *{' '.join([spoken, ' and '.join(str(n) for n in range(2, 2 + len(needed)))]).strip()}*"
    samples = {"place": "in Paris", "path": "notes.txt", "person": "Ada"}
    if len(needed) == 1 and needed[0].kind == "string" and needed[0].role in samples:
        return f"Try: *{spoken} {samples[needed[0].role]}*"
    return f"Try: *{spoken}* with {', '.join(f'`{slot.name}=…`' for slot in needed)}"


def question(slot: Slot, tool: Tool, problem: str = "") -> str:
    """Ask for one argument. `ASKED` in task.py finds it again."""
    label = slot.name.replace("_", " ")
    kinds = {
        "string": "text",
        "integer": "a whole number",
        "number": "a number",
        "boolean": "yes or no",
        "array": "a list",
    }
    if slot.role == "date":
        kinds["string"] = "a date like 2024-05-31"
    kind = f" ({kinds[slot.kind]})" if slot.kind in kinds and not slot.choices else ""
    told = f": {inline(slot.description)}" if slot.description else ""
    options = f" One of {', '.join(f'`{choice}`' for choice in slot.choices[:12])}." if slot.choices else ""
    wrong = f" {inline(problem)}." if problem else ""
    return f"Which {label}? I need `{slot.name}` for `{tool.name}`{kind}{told.rstrip('.')}.{options}{wrong}"


def reported(outcomes: Sequence[Outcome], *, stopped: bool = False) -> str:
    """What the calls gave, in order."""
    if not outcomes:
        return "I called no tool."
    if len(outcomes) == 1:
        text = _result(outcomes[0])
    elif all(_is_short(outcome) for outcome in outcomes):
        each = "\n".join(f"- {_result(outcome)}" for outcome in outcomes)
        text = f"The tools say:\n\n{each}"
    else:
        text = "\n\n".join(_result(outcome) for outcome in outcomes)
    return f"I stop here after four rounds of tools. So far:\n\n{text}" if stopped else text


def arithmetic(formula: str, value: Number | None) -> str:
    """A sum and where it comes from."""
    spoken = inline(formula)
    if value is None:
        return f"{spoken} has no value that I can give: a division by zero, or a number far too large."
    return f"{spoken} = **{shown(value)}**. (Plain arithmetic, worked out here.)"


def variables(text: str) -> str:
    """The notebook's variables, from a listing."""
    rows = listed(text)
    if not rows:
        return (
            "There are no variables in this notebook yet. Run a cell that makes one, for example `x = "
            "[1, 2, 3]`, and ask again."
            if _looks_empty(text)
            else f"`list_variables` says:\n\n{code(text)}"
        )
    found = tables(text)
    count = f"You have **{len(rows):,} variable{'s' if len(rows) != 1 else ''}** here:"
    shown_as = (
        markdown(found[0]) if found else "\n".join(f"- `{name}` {inline(rest)}" for name, rest in rows[:20])
    )
    frame = next((name for name, rest in rows if "dataframe" in rest.lower()), rows[0][0])
    rest = re.findall(r"^  ([^\s(]+\(.*)$", text.partition("functions and classes:")[2], re.M)
    if rest:
        shown_as += f"\n\nFunctions and classes: {', '.join(code_span(line) for line in rest[:12])}."
    return f"{count}\n\n{shown_as}\n\nTry: *describe {{{frame}}}*"


def described(facts: Facts) -> str:
    """A value in a few lines: size, columns, gaps, statistics."""
    if not facts.columns:
        text = facts.text.strip().removeprefix(f"{facts.name}: ")
        if "\n" not in text and len(text) <= 200:
            return f"`{facts.name}` is {inline(text)}."
        return f"`{facts.name}` is:\n\n{code(text)}"
    if facts.kind == "Series":
        kind = f" ({facts.columns[0].dtype})" if facts.columns[0].dtype else ""
        first = [f"`{facts.name}` has **{counted(facts.rows or 0, 'value')}**{kind}."]
    else:
        first = [f"`{facts.name}`{_size(facts)}. Columns: {_names(facts.columns)}."]
    gaps = missing(facts, brief=True)
    if gaps:
        first.append(gaps)
    figured = [column for column in facts.columns if "mean" in column.statistics]
    lines = [" ".join(first)]
    if figured:
        titles = [title for title in ("mean", "min", "max") if any(title in c.statistics for c in figured)]
        rows = [
            f"| {inline(c.name)} | " + " | ".join(figure(c.statistics.get(t, "")) for t in titles) + " |"
            for c in figured[:12]
        ]
        lines += [
            "| column | "
            + " | ".join(titles)
            + " |\n|"
            + " --- |" * (len(titles) + 1)
            + "\n"
            + "\n".join(rows)
        ]
    return "\n\n".join(lines)


def missing(facts: Facts, *, brief: bool = False) -> str:
    """Which columns have gaps, as far as the text tells."""
    told = [column for column in facts.columns if column.missing is not None]
    gaps = [column for column in told if column.missing]
    if not told:
        return ""
    if not gaps:
        return (
            "No missing values."
            if brief
            else f"`{facts.name}` has no missing values in its {counted(len(told), 'column')}."
        )
    each = ", ".join(f"`{column.name}` ({column.missing:,})" for column in gaps)
    return (
        f"Missing values: {each}."
        if brief
        else f"In `{facts.name}` missing values are in {each}; the other columns are complete."
    )


def statistic(facts: Facts, columns: Sequence[Column], which: str, label: str) -> str:
    """One figure of one or several columns."""
    having = [column for column in columns if which in column.statistics]
    if len(having) == 1:
        where = "" if having[0].name == facts.name else f" in `{facts.name}`"
        return f"The {label} of `{having[0].name}`{where} is **{figure(having[0].statistics[which])}**."
    each = "\n".join(f"- `{column.name}`: **{figure(column.statistics[which])}**" for column in having[:20])
    return f"The {label} of each numeric column of `{facts.name}`:\n\n{each}"


def columns(facts: Facts) -> str:
    """The columns of a frame with their types."""
    each = ", ".join(f"`{c.name}`" + (f" ({c.dtype})" if c.dtype else "") for c in facts.columns[:40])
    count = facts.width or len(facts.columns)
    return f"`{facts.name}` has **{counted(count, 'column')}**: {each}."


def size(facts: Facts) -> str:
    """How large a value is."""
    if facts.rows is not None and facts.width is not None:
        return (
            f"`{facts.name}` has **{counted(facts.rows, 'row')}** and **{counted(facts.width, 'column')}**."
        )
    if facts.rows is not None:
        return f"`{facts.name}` has **{counted(facts.rows, 'item')}**."
    return ""


def _size(facts: Facts) -> str:
    if facts.rows is None:
        return ""
    width = facts.width or len(facts.columns)
    return f" has **{counted(facts.rows, 'row')}** and **{counted(width, 'column')}**"


def _names(found: Iterable[Column]) -> str:
    every = list(found)
    more = f" and {len(every) - 12} more" if len(every) > 12 else ""
    return ", ".join(f"`{c.name}`" for c in every[:12]) + more


def _signature(tool: Tool) -> str:
    inside = ", ".join(slot.name if slot.required else f"{slot.name}=…" for slot in slots_of(schema_of(tool)))
    return f"`{tool.name}({inside})`"


def _purpose(tool: Tool) -> str:
    first = tool.description.strip().split("\n")[0].split(". ")[0].strip().rstrip(".")
    return f": {inline(first)}" if first else ""


def call(name: str, arguments: dict[str, Any]) -> str:
    """A call as Python would write it, shortened."""
    inside = ", ".join(f"{key}={_brief(value)}" for key, value in arguments.items())
    return f"`{name}({inside})`"


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False).replace("`", "'").replace("\n", " ")
    return text if len(text) <= 48 else text[:45] + "..."


def _is_short(outcome: Outcome) -> bool:
    return outcome.is_error or (
        "\n" not in outcome.text.strip()
        and len(outcome.text) <= 200
        and not outcome.text.startswith(("{", "[{"))
    )


def _result(outcome: Outcome) -> str:
    text = _given(outcome)
    return f"{text} {edited(outcome)}".strip() if outcome.changed else text


def edited(outcome: Outcome) -> str:
    """That the person changed the arguments of a call; empty where not."""
    names = ", ".join(f"`{name}`" for name in outcome.changed)
    return f"(You changed {names} before allowing it.)" if names else ""


def frame_changed(name: str, labels: Sequence[str], outcome: Outcome) -> str:
    """What became of code that changes a frame, from its own output."""
    refusal = inline(outcome.refusal)
    wanted = "; ".join(_label(label, {}) for label in labels)
    if refusal:
        return f"`{name}` is as it was: I did not run the code ({wanted}): {refusal}."
    if outcome.is_error:
        return reported([outcome])
    found = {key: int(figure) for key, figure in _PRINTED.findall(outcome.text)}
    raised = _RAISED.search(outcome.text)
    lines = []
    if raised:
        lines.append(f"The code did not run to its end. {inline(raised[0])}")
    elif "rows before" in found and "rows after" in found:
        before, after = found["rows before"], found["rows after"]
        lines.append(
            f"`{name}` went from **{before:,}** to **{counted(after, 'row')}**."
            if before != after
            else f"`{name}` still has **{counted(after, 'row')}**."
        )
    else:
        lines.append(f"I ran the code on `{name}`.")
    if outcome.changed:
        lines[0] += f" {edited(outcome)} What I say is of your version."
        lines.append(code(outcome.text))
        return "\n\n".join(lines)
    if not raised:
        lines.append("\n".join(f"- {_label(label, found)}" for label in labels))
    return "\n\n".join([*lines, *_variables_changed(outcome.text)])


def _variables_changed(text: str) -> list[str]:
    """What the notebook says that changed, as one line."""
    table = re.search(r"^Variables:\n((?:  .*\n?)+)", text, re.M)
    each = [inline(line.strip().replace("->", "→")) for line in table[1].splitlines()] if table else []
    return [f"Variables: {'; '.join(each)}."] if each else []


def _ran(outcome: Outcome) -> str:
    """What a piece of code gave."""
    text = outcome.text.strip()
    raised = _RAISED.search(text)
    output = re.split(
        r"^(?:Variables:|No variable changed\b|The code (?:raised|was|could not)\b)",
        text,
        maxsplit=1,
        flags=re.M,
    )[0]
    output = output.removeprefix("(no output)").strip()
    first = f"The code did not run to its end. {inline(raised[0])}" if raised else "The code ran."
    short = "\n" not in output and len(output) <= 200
    if output and short:
        first += f" It gives: {inline(output)}"
    images = f" It shows {counted(outcome.media, 'picture')}." if outcome.media else ""
    lines = [f"{first}{images}", *([code(output)] if output and not short else []), *_variables_changed(text)]
    return "\n\n".join(lines)


def _label(label: str, found: dict[str, int]) -> str:
    figure_found = found.get(label.replace('"', " ").replace("\\", " "))
    return (
        f"{inline(label) if '`' not in label else label}: **{figure_found:,}**"
        if figure_found is not None
        else label
    )


def _given(outcome: Outcome) -> str:
    called, text = call(outcome.name, outcome.arguments), outcome.text.strip()
    refusal = inline(outcome.refusal)
    if refusal:
        return f"I did not call {called}: {refusal}."
    if outcome.is_error:
        first = "I could not ask you" if outcome.name == "ask_user" else f"{called} did not work"
        return f"{first}: {inline(text.partition(chr(10))[0]) or 'no reason was given'}"
    if outcome.name == "run_python":
        return _ran(outcome)
    if outcome.media and not text:
        return f"{called} gave {outcome.media} image{'s' if outcome.media > 1 else ''}."
    if text in ("", "(no result)", "null"):
        return f"{called} is done; it returned nothing."
    value = number(text)
    if value is not None:
        return f"{called} gives **{shown(value)}**."
    if text in ("true", "false"):
        return f"{called} says **{'yes' if text == 'true' else 'no'}**."
    return _structured(called, text) or _worded(called, text)


def _structured(called: str, text: str) -> str | None:
    if text[0] not in "[{":
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and value:
        each = "\n".join(
            f"- {inline(str(key))}: {_shown_value(one)}" for key, one in list(value.items())[:20]
        )
        return f"{called} gives\n\n{each}" + (
            f"\n\n… and {len(value) - 20:,} more." if len(value) > 20 else ""
        )
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return (
            f"{called} gives {len(value):,} "
            f"row{'s' if len(value) != 1 else ''}:\n\n{markdown(of_records(value))}"
        )
    if isinstance(value, list):
        each = ", ".join(_shown_value(one) for one in value[:20])
        more = f" and {len(value) - 20:,} more" if len(value) > 20 else ""
        return (
            f"{called} gives {len(value):,} value{'s' if len(value) != 1 else ''}: {each}{more}."
            if value
            else f"{called} gives an empty list."
        )
    return None


def _shown_value(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return inline(str(value)) or "(empty)"
    if isinstance(value, int | float):
        return f"**{shown(value)}**"
    return inline(json.dumps(value, ensure_ascii=False))


def _worded(called: str, text: str) -> str:
    if "\n" not in text and len(text) <= 200:
        return f"{called} says: {inline(text)}"
    found = tables(text) if not called.startswith(_AS_IS) else []
    first = text.splitlines()[0].strip()
    if found and (len(found) == 1 or first.startswith("DataFrame")):
        heading = f" gives {inline(first)}" if first.startswith("DataFrame") else " gives"
        return f"{called}{heading}:\n\n{markdown(found[0])}"
    return f"{called} returned {len(text):,} characters:\n\n{code(text)}"


def _looks_empty(text: str) -> bool:
    return len(text) < 200
