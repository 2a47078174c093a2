"""The parameters of a tool as places to fill from words."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from loom_nb.errors import LoomError
from loom_nb.models.offline.words import GENERIC, name_words, spelled, stems, terms
from loom_nb.tools import Tool

Kind = Literal["string", "integer", "number", "boolean", "array", "object", "any"]
Role = Literal[
    "place",
    "path",
    "url",
    "email",
    "column",
    "variable",
    "person",
    "free",
    "expression",
    "date",
    "from",
    "to",
    "other",
]

_KINDS: dict[str, Kind] = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "array",
    "object": "object",
}
_ROLES: dict[Role, frozenset[str]] = {
    "path": spelled("path file filename filepath folder directory dir"),
    "url": spelled("url uri link website"),
    "email": spelled("email mail"),
    "place": spelled("city place location town country region address"),
    "column": spelled("column col columns field feature"),
    "variable": spelled("variable var df frame dataframe dataset data table"),
    "expression": spelled("expression formula expr equation"),
    "date": spelled("date day datetime deadline birthday"),
    "from": spelled("origin source start from src departure base begin"),
    "to": spelled("destination target end to dest into arrival until"),
    "person": spelled("person user who recipient customer name author"),
    "free": spelled(
        "query text question message prompt content q search topic keyword keywords term sentence note "
        "body title "
        "subject string words phrase input value"
    ),
}


_COUNTS = frozenset(
    stems(spelled("n k count limit number top size max maximum rows days times length amount steps page"))
)


@dataclass(frozen=True, slots=True)
class Slot:
    """One parameter: what fits, what it is about."""

    name: str
    kind: Kind
    required: bool
    role: Role
    choices: tuple[Any, ...] = ()
    item: Kind = "string"
    description: str = ""
    about: tuple[str, ...] = ()
    """Stems of the words in its name."""
    hints: tuple[str, ...] = ()
    """Stems of the words in its description."""

    @property
    def counts(self) -> bool:
        """Whether it is named like a number of things."""
        return bool(self.about) and self.about[0] in _COUNTS

    @property
    def numeric(self) -> bool:
        """Whether a number fits."""
        return self.kind in ("integer", "number")


def schema_of(tool: Tool) -> Mapping[str, Any]:
    """The schema of a tool; one that cannot be described has no parameters here."""
    try:
        return tool.schema
    except LoomError:
        return {}


def slots_of(schema: Mapping[str, Any]) -> tuple[Slot, ...]:
    """The parameters of a schema of arguments, the required ones first."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return ()
    required = schema.get("required")
    needed = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    slots = [_slot(str(name), node, schema, str(name) in needed) for name, node in properties.items()]
    return tuple(sorted(slots, key=lambda slot: not slot.required))


def resolved(node: Any, root: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """A schema without references and alternatives: the first one that is not null."""
    if not isinstance(node, Mapping) or depth > 12:
        return {}
    plain = dict(node)
    reference = plain.pop("$ref", None)
    if isinstance(reference, str) and reference.startswith("#/"):
        target: Any = root
        for step in reference[2:].split("/"):
            target = (
                target.get(step.replace("~1", "/").replace("~0", "~"), {})
                if isinstance(target, Mapping)
                else {}
            )
        return resolved(target, root, depth + 1) | plain
    for word in ("anyOf", "oneOf", "allOf"):
        branches = plain.get(word)
        if isinstance(branches, list):
            rest = {key: value for key, value in plain.items() if key != word}
            for branch in branches:
                chosen = resolved(branch, root, depth + 1)
                if chosen.get("type") != "null":
                    return chosen | rest
    if isinstance(plain.get("type"), list):
        plain["type"] = next((one for one in plain["type"] if one != "null"), "null")
    return plain


def kind_of(node: Mapping[str, Any]) -> Kind:
    """Which kind of value a resolved schema describes."""
    kind: Kind | None = _KINDS.get(str(node.get("type")))
    if kind is not None:
        return kind
    if "properties" in node:
        return "object"
    options = _choices(node)
    if options and all(isinstance(one, str) for one in options):
        return "string"
    return "any"


def _slot(name: str, node: Any, root: Mapping[str, Any], required: bool) -> Slot:
    plain = resolved(node, root)
    kind = kind_of(plain)
    if kind == "any" and isinstance(plain.get("default"), int | float):  # a parameter without a type
        kind = "boolean" if isinstance(plain["default"], bool) else "number"
    described = plain.get("description")
    description = described if isinstance(described, str) else ""
    items = resolved(plain.get("items"), root)
    parts = name_words(name)
    return Slot(
        name,
        kind,
        required,
        _role(parts, description, plain),
        _choices(items if kind == "array" else plain),
        kind_of(items) if items else "any",
        description,
        tuple(stem for stem in stems(parts) if stem not in GENERIC),
        tuple(terms(description)),
    )


def _choices(node: Mapping[str, Any]) -> tuple[Any, ...]:
    if "const" in node:
        return (node["const"],)
    options = node.get("enum")
    return tuple(options) if isinstance(options, list) else ()


def _role(parts: list[str], description: str, node: Mapping[str, Any]) -> Role:
    if node.get("format") in ("date", "date-time"):
        return "date"
    if node.get("format") in ("uri", "url"):
        return "url"
    if node.get("format") == "email":
        return "email"
    for role in _roles_of(parts[::-1]):
        if role == "person" and re.search(r"\b(?:variable|dataframe)\b", description, re.I):
            return "variable"
        if role == "person" and re.search(r"\bcolumn\b", description, re.I):
            return "column"
        if role == "person" and re.search(r"\b(?:city|town|place)\b", description, re.I):
            return "place"
        return role
    return next((role for role in _roles_of(re.findall(r"[a-z]+", description.lower()))
                 if role in ("path", "url", "column", "place", "email")), "other")  # fmt: skip


def _roles_of(parts: list[str]) -> Iterator[Role]:
    for part in parts:
        for role, members in _ROLES.items():
            if part in members:
                yield role
