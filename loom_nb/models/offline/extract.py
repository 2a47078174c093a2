"""What the words of a user tie to the fields of a form: never a guess."""

import re
from collections.abc import Mapping
from typing import Any

from loom_nb.models.offline.arithmetic import number, numbers
from loom_nb.models.offline.fill import fill
from loom_nb.models.offline.recall import is_question
from loom_nb.models.offline.slots import Slot, slots_of
from loom_nb.models.offline.words import nearest, spelled, stem

_TELLS = re.compile(
    r"\s*(?:is|was|are|has|had|have|lives|likes|works|weighs|costs|earns|scored|aged|turned|'s|\u2019s|,|:|=|\("
    r"|\d|and\b|$)",
    re.I,
)
_BEFORE = re.compile(
    r"(?:\b(?:is|am|was|are|has|had|have|with|at|turned|aged)|(?<=i)['\u2019]m|[=:,(])\s*$", re.I
)
_HELLO = spelled("hello hi hey yes no ok okay thanks please help dear good hallo bonjour hola")
_FINDS = re.compile(r"\b(?:extract|parse|find the number|read the number|pull out)\b", re.I)


def said(properties: Mapping[str, Any], root: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The values that a text gives for the properties of a schema, as far as it does.

    Args:
        properties: name to schema of each field.
        root: the whole schema, for its references.
        text: what the user wrote.
    """
    shared = {key: root[key] for key in ("$defs", "definitions") if key in root}
    slots = slots_of({"properties": dict(properties), "required": list(properties), **shared})
    asks = is_question(text)
    only = list(properties) == ["value"]
    lone = sum(slot.numeric for slot in slots) == 1 and _lone_figure(text, only=only)
    tied = [
        slot for slot in slots if not slot.numeric or (lone and not asks) or _beside(slot, text) is not None
    ]
    found = fill([slot for slot in tied if slot.kind not in ("array", "object")], text, sure=True).values
    for slot in slots:
        beside = _beside(slot, text) if slot.numeric else None
        if beside is not None:
            found[slot.name] = int(beside) if slot.kind == "integer" else beside
    quotes = re.findall(r"[\"“«`]([^\"”»`\n]+)[\"”»`]", text)
    texts = [slot for slot in slots if slot.kind == "string" and not slot.choices]
    for slot in slots if asks else ():  # "is it good?" does not say that it is
        if slot.choices and str(found.get(slot.name, "")).lower() not in text.lower().partition("\n")[2]:
            found.pop(slot.name, None)
    for slot in texts:
        if slot.role == "person" and slot.name in found:
            own = re.sub(r"^(?:i['\u2019]m|i am|my name is)\s+", "", str(found[slot.name]), flags=re.I)
            found[slot.name] = own
    every = not asks and len(quotes) == len(texts)  # one quoted text for each field
    return {
        slot.name: found[slot.name]
        for slot in slots
        if slot.name in found and (slot not in texts or every or _is_told(slot, found[slot.name], text))
    }


def _lone_figure(text: str, *, only: bool) -> bool:
    """Whether the one number in a text is said of something: "Ada is 36"."""
    found = numbers(text)
    if len(found) != 1:
        return False
    if only:
        return _FINDS.search(text) is not None
    start, end, _ = found[0]
    named = re.search(r"\b[^\W\d_a-z]\w*\s*$", text[:start])
    return _BEFORE.search(text[:start]) is not None or bool(named and not text[end:].strip(" .!"))


def _is_told(slot: Slot, value: Any, text: str) -> bool:
    """Whether a text says a value of a field, rather than only beginning with a capital."""
    if not isinstance(value, str) or value.lower() in _HELLO:
        return False
    place = text.find(value)
    if place < 0:
        return True
    before = text[:place].rstrip(" \"'`“«")
    if place + len(value) < len(text) and text[place - 1 : place] in tuple("\"'`“«"):
        own = r"[_ ]".join(re.escape(word) for word in slot.name.split("_"))
        return re.search(rf"\b{own}\s*(?:is|=|:|called|named)?$", before, re.I) is not None
    starts = not before or before[-1] in ".!?;\n"
    return not starts or " " in value or _TELLS.match(text[place + len(value) :]) is not None


def _beside(slot: Slot, text: str) -> float | None:
    """The number next to a word of the field's name: "36 years" for an age."""
    years = slot.about[:1] == ("age",) or slot.name.lower() in ("age", "years")
    explicit = re.search(rf"(?<!\w){re.escape(slot.name)}\s*[=:]\s*(-?\d[\d,]*(?:\.\d+)?)", text[:4000], re.I)
    told = number(explicit[1]) if explicit else None
    found = [] if told is None else [told]
    for start, end, value in numbers(text[:4000]) if slot.about else ():
        around = (
            re.findall(r"[^\W\d_]+", text[max(0, start - 30) : start])[-2:]
            + re.findall(r"[^\W\d_]+", text[end : end + 20])[:2]
        )
        tied = years and "years" in (word.lower() for word in around)
        if tied or any(nearest(stem(word), slot.about) for word in around):
            found.append(value)
    return next((one for one in found if slot.kind != "integer" or float(one).is_integer()), None)
