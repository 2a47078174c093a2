"""Questions to the person: what a request wants asked, and what a call lacks."""

import re
from collections.abc import Generator
from typing import Any

from loom_nb.models.offline import phrasing
from loom_nb.models.offline.direct import ASK
from loom_nb.models.offline.fill import answer as answer_for
from loom_nb.models.offline.slots import Slot
from loom_nb.models.offline.steps import Calls
from loom_nb.models.offline.tables import inline
from loom_nb.models.offline.task import Outcome, Task
from loom_nb.models.offline.wishes import QUOTED, listed_words, unquoted

_OURS = {
    "i": "you", "me": "you", "my": "your", "mine": "yours", "am": "are", "i'm": "you are",
    "myself": "yourself",
}  # fmt: skip
_ASK = re.compile(r"ask\s+(?:me|the user|the person)\b\s*:?\s*(?P<what>.+)", re.I | re.S)
_CHOOSE = re.compile(
    r"(?:(?P<which>which|what)(?:\s+one)?(?:\s+of)?|to (?:choose|pick|select)(?:\s+one)?(?:\s+"
    r"(?:of|from|between|among))?"
    r"|for one of)\s*:?\s+(?P<options>.+?)(?P<rest>\s+(?:to|should|do|does|is|are|i)\s.*)?",
    re.I | re.S,
)
_NUMERIC = re.compile(r"\b(?:age|number|count|year|amount|quantity|how many)\b", re.I)


def wanted_question(text: str) -> dict[str, Any] | None:
    """The arguments of a question that a piece of a request wants asked; None where it wants none."""
    match = _ASK.fullmatch(text.strip())
    if match is None:
        return None
    what = match["what"].strip()
    several = re.search(r"\b(?:several|more than one|all that apply|any number)\b", what, re.I) is not None
    whether = re.fullmatch(r"(?:whether|if)\s+(?:or not\s+)?(.+)", what, re.I | re.S)
    if whether:
        return {"question": _confirm(whether[1]), "kind": "confirm"}
    options = _options(what)
    if options:
        found = {"question": options[0], "kind": "choice", "options": options[1]}
        return found | ({"several": True} if several else {})
    fields = re.fullmatch(r"for\s+(.+)", what, re.I | re.S)
    names = listed_words(fields[1]) if fields else []
    if len(names) >= 2:
        return {
            "question": f"Please give {_ours(fields[1] if fields else '')}.",
            "kind": "form",
            "form": _form(names),
        }
    if fields:
        return {"question": f"Please give {_ours(fields[1].strip(' .?!'))}.", "kind": "text"}
    return {"question": _question(what), "kind": "text"}


def question_for(slot: Slot, tool: str) -> dict[str, Any]:
    """The question for an argument that a call lacks."""
    label = slot.name.replace("_", " ")
    details = f"{slot.description.rstrip('.')}. For {tool}." if slot.description else f"For {tool}."
    if slot.kind == "boolean":
        return {"question": f"{label.capitalize()}?", "kind": "confirm", "details": details}
    choices = [str(one) for one in slot.choices]
    if 2 <= len(choices) <= 50:
        return {"question": f"Which {label}?", "kind": "choice", "options": choices, "details": details}
    return {"question": f"Which {label}?", "kind": "text", "details": details}


def ask_for(task: Task, slot: Slot, tool: str) -> Generator[Calls, tuple[Outcome, ...], tuple[Any, str]]:
    """(the value of an argument, what to say where there is none): by a question, or in words."""
    found = task.tool(tool)
    in_words = phrasing.question(slot, found) if found else ""
    if task.tool(ASK) is None:
        return None, in_words
    (reply,) = (yield Calls(((ASK, question_for(slot, tool)),), f"{tool} needs {slot.name}"))[:1]
    if reply.is_error:
        return None, f"{phrasing.reported([reply])}\n\n{in_words}"
    text = reply.text.strip()
    value = text if slot.kind == "string" and not slot.choices else answer_for(slot, text, task.known)
    if value is None or value == "":
        return None, f"“{inline(text[:100])}” does not fit. {in_words}"
    return value, ""


def one_of(question: str, options: list[str]) -> dict[str, Any]:
    """A question with a few answers; with one or none it is a question for words."""
    if 2 <= len(options) <= 50:
        return {"question": question, "kind": "choice", "options": options}
    return {"question": question, "kind": "text"}


def _options(what: str) -> tuple[str, list[str]] | None:
    plain = re.sub(
        r",?\s*\(?(?:several|more than one|all that apply|any number)\b.*$",
        "",
        what.strip(" ?.!"),
        flags=re.I,
    )
    match = _CHOOSE.fullmatch(plain)
    if (
        match is None
        and re.search(r"\bor\b", plain)
        and not re.match(r"(?:what|how|who|where|when|why|for)\b", plain, re.I)
    ):
        names = listed_words(plain)
        return (f"{_listed(names)}?", names) if len(names) >= 2 else None
    if match is None or not re.search(r",|\b(?:or|and)\b", match["options"]):
        return None
    lead, body = re.fullmatch(rf"(?:((?:(?!{QUOTED})[^,])*?)\s*:\s*)?(.+)", match["options"], re.S).groups()  # type: ignore[union-attr]  # it fits every text
    names = listed_words(body)
    if len(names) < 2 or (match["which"] and "or" not in body.split() and " of " not in f" {plain.lower()} "):
        return None
    rest = _ours(re.sub(r"^\s+i\s+", " do you ", match["rest"] or "", flags=re.I))
    rest = re.sub(r"^\s+to\s+", " should I ", rest)
    return (f"Which {lead or 'one'}{rest}?" if lead or rest else f"Which one: {_listed(names)}?", names)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _form(names: list[str]) -> dict[str, Any]:
    fields = [re.sub(r"^(?:my|the|a|an|your|its)\s+", "", name, flags=re.I) for name in names]
    properties = {
        re.sub(r"\W+", "_", name).strip("_").lower(): {
            "type": "integer" if _NUMERIC.search(name) else "string",
            "title": name,
        }
        for name in fields
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _confirm(clause: str) -> str:
    clause = clause.strip(" .?!")
    if clause.lower().startswith("to "):
        return f"Should I {_ours(clause[3:])}?"
    own = re.fullmatch(
        r"(?:i|you)\s+(want|like|have|need|know|agree|mean|prefer|use)\b(.*)", clause, re.I | re.S
    )
    if own:
        return f"Do you {own[1].lower()}{_ours(own[2])}?"
    is_so = re.fullmatch(r"(.+?)\s+(is|are|was|were|can|should|may)\s+(.+)", clause, re.I | re.S)
    if is_so:
        told = f"{is_so[2]} {_ours(is_so[1])} {_ours(is_so[3])}?"
        return (
            re.sub(r"^is you\b", "are you", told, flags=re.I).capitalize()
            if told.islower()
            else told[0].upper() + told[1:]
        )
    return f"{clause[:1].upper()}{_ours(clause)[1:]}?"


def _question(what: str) -> str:
    what = unquoted(what) if re.fullmatch(QUOTED, what) else what
    plain = what.strip(" .?!")
    turned = re.fullmatch(
        r"(what|who|where|when|how|which \w+)\s+(.+?)\s+(is|are|was|were)", plain, re.I | re.S
    )
    if turned:
        return f"{turned[1].capitalize()} {turned[3]} {_ours(turned[2])}?"
    if not re.match(r"(?:what|who|where|when|how|which|why|do|does|is|are|can|should)\b", plain, re.I):
        plain = f"what is {re.sub(r'^about ', '', plain, flags=re.I)}"
    asked = _ours(plain)
    if re.match(r"(?:what|who|where|when|how|which)\b", plain, re.I):  # "which file to delete"
        asked = re.sub(r"\s+to\s+(?=[a-z]+)", " should I ", asked, count=1)
    return f"{asked[:1].upper()}{asked[1:]}?"


def _ours(text: str) -> str:
    """From the mouth of the one who asks."""
    return re.sub(r"[A-Za-z']+", lambda match: _OURS.get(match[0].lower(), match[0]), text)
