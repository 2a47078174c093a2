"""The last figure in another unit: "and in miles?" is a request for the tool that converts."""

import re
from collections.abc import Sequence

from loom_nb.models.offline.choice import Choice, Clause, choose
from loom_nb.models.offline.slots import schema_of, slots_of
from loom_nb.models.offline.task import Outcome
from loom_nb.models.offline.words import name_words, spelled, stem, stems, words
from loom_nb.tools import Tool

_ASKED = re.compile(
    r"^\s*(?:(?:and|now|also|what about|und|et|y)\b[\s,]*)?"
    r"(?:(?:how much|how many|what) (?:is|are|would) (?:it|that|this|be)\b(?: be\b)?\s*)?"
    r"(?:in|into|to|as)\s+(?P<unit>[^\W\d_]+)\s*[?!.]*\s*$",
    re.IGNORECASE,
)
_FIGURE = re.compile(r"(?<![\w.])(-?\d[\d,]*(?:\.\d+)?)(?:\s*(?:°\s*)?([^\W\d_]+))?")
_MEASURED = {
    "length": "length distance",
    "money": "money currency",
    "temperature": "temperature",
    "mass": "mass weight",
    "volume": "volume",
    "time": "duration",
    "speed": "speed",
}
"""Words for what is measured."""
_UNITS = {
    "length": "km kilometre kilometer metre meter m cm mm centimetre centimeter mile foot feet yard inch",
    "money": "usd eur gbp chf jpy cny inr dollar euro pound franc yen",
    "temperature": "celsius fahrenheit kelvin",
    "mass": "kg kilogram kilo gram g ounce oz lb lbs ton tonne",
    "volume": "litre liter l ml gallon pint cup",
    "time": "second minute hour day week month year",
    "speed": "kmh mph knot",
}
"""And for what it is measured in."""
_UNIT = {stem(word): kind for kind, told in _UNITS.items() for word in spelled(told)}
_KIND = _UNIT | {stem(word): kind for kind, told in _MEASURED.items() for word in spelled(told)}
_CONVERTS = stems(spelled("convert converts converter conversion exchange"))


def unit_asked(text: str) -> str:
    """The unit in which a follow-up wants the last figure: "miles" of "and in miles?"; else empty."""
    found = _ASKED.match(text) if len(text) < 120 else None
    return found["unit"] if found is not None and stem(found["unit"]) in _UNIT else ""


def takes_unit(tool: Tool, unit: str) -> bool:
    """Whether a tool converts, or gives its figures in a unit of choice: then it is simply called again."""
    asked = stem(unit)
    return _converts(tool, unit) or any(
        any(stem(str(one)) == asked for one in slot.choices) or (not slot.choices and "unit" in slot.about)
        for slot in slots_of(schema_of(tool))
    )


def conversion(unit: str, last: Outcome, made_by: Tool | None, tools: Sequence[Tool]) -> Clause | None:
    """The call that gives the figure of the last result in a unit; None where no tool converts it."""
    figure = _FIGURE.search(last.text)
    if figure is None or last.is_error:
        return None
    source = _source(figure[2], unit, made_by)
    text = " ".join(["convert", figure[1].replace(",", ""), *([source] if source else []), "to", unit])
    fitting = [tool for tool in tools if tool.name != last.name and _converts(tool, unit)]
    fitting = [tool for tool in fitting if _UNIT[stem(unit)] in _kinds(tool)] or fitting
    if not fitting:
        return None
    best = choose(text, fitting)
    tool = best.tool if best is not None else fitting[0]
    return Clause(text, Choice(tool, slots_of(schema_of(tool)), 9.0, ("convert", unit)))


def _source(beside: str | None, unit: str, made_by: Tool | None) -> str:
    """The unit of a figure: the word behind it, or one that its tool is named or described with."""
    told = [beside or "", *(_words_of(made_by) if made_by is not None else ())]
    fitting = (word for word in told if _UNIT.get(stem(word)) == _UNIT[stem(unit)])
    return next((word for word in fitting if stem(word) != stem(unit)), "")


def _converts(tool: Tool, unit: str) -> bool:
    """Whether a tool converts, and what it says of itself does not speak of other kinds of units only."""
    kinds = _kinds(tool)
    converts = any(word in _CONVERTS for word in stems(_words_of(tool)))
    return converts and (not kinds or _UNIT[stem(unit)] in kinds)


def _kinds(tool: Tool) -> set[str]:
    """The kinds of units that a tool speaks of."""
    return {_KIND[word] for word in stems(_words_of(tool)) if word in _KIND}


def _words_of(tool: Tool) -> list[str]:
    return [*name_words(tool.name), *words(tool.description)]
