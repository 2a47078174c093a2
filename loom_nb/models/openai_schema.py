"""JSON schemas in the form that OpenAI can enforce to the letter ("strict").

There every object names all of its properties, requires them all and takes no others; schemas that
cannot be said so are sent as they are, and the answer is checked after it has come.
"""

from collections.abc import Mapping
from typing import Any

_KEPT = frozenset(
    {
        "type",
        "description",
        "enum",
        "const",
        "pattern",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
    }
)
_DROPPED = frozenset(
    {
        "title",
        "default",
        "examples",
        "deprecated",
        "discriminator",
        "minLength",
        "maxLength",
        "uniqueItems",
        "$schema",
        "$id",
        "$comment",
        "required",
        "additionalProperties",
    }
)
"""Keywords that annotate, that are set anew, or whose loss only makes the schema wider."""
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"},
)


class _NotStrictError(Exception):
    """This schema says something that strict ones cannot."""


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """`schema` made strict, or None where that cannot be.

    Whatever fits the strict schema fits the given one, but for limits of length, which strict
    schemas do not have. Optional properties become required.
    """
    if schema.get("type") != "object" or "anyOf" in schema:
        return None
    try:
        return _strict(schema)
    except (_NotStrictError, RecursionError):
        return None


def _strict(node: Any) -> dict[str, Any]:
    if not isinstance(node, Mapping):
        raise _NotStrictError
    if "$ref" in node:
        return _reference(node)
    if not node.keys() & {"type", "enum", "const", "anyOf", "oneOf", "allOf"}:
        raise _NotStrictError  # anything goes
    strict: dict[str, Any] = {}
    for keyword, value in node.items():
        if keyword in _KEPT:
            strict[keyword] = value
        elif keyword == "format":
            strict.update({"format": value} if value in _FORMATS else {})
        elif keyword not in _DROPPED:
            strict.update(_nested(keyword, value))
    if "object" in _types(strict):
        _close(strict, node)
    if "array" in _types(strict) and "items" not in strict:
        raise _NotStrictError
    return strict


def _nested(keyword: str, value: Any) -> dict[str, Any]:
    match keyword, value:
        case (("properties" | "$defs" | "definitions"), Mapping()):
            return {keyword: {name: _strict(inner) for name, inner in value.items()}}
        case "items", Mapping():
            return {"items": _strict(value)}
        case (("anyOf" | "oneOf"), list()):
            return {"anyOf": [_strict(inner) for inner in value]}
        case "allOf", [only]:
            return _strict(only)
        case _:
            raise _NotStrictError


def _reference(node: Mapping[str, Any]) -> dict[str, Any]:
    """A reference stands alone there; a description beside it is given up."""
    if node.keys() - {"$ref", "description"} - _DROPPED or not str(node["$ref"]).startswith("#/"):
        raise _NotStrictError
    return {"$ref": node["$ref"]}


def _close(strict: dict[str, Any], node: Mapping[str, Any]) -> None:
    """Require each property, and allow no others."""
    free = node.get("additionalProperties")
    if "properties" not in strict or (free is not None and free is not False):
        raise _NotStrictError
    if set(node.get("required", ())) - set(strict["properties"]):
        raise _NotStrictError
    strict["required"] = list(strict["properties"])
    strict["additionalProperties"] = False


def _types(node: Mapping[str, Any]) -> list[str]:
    kind = node.get("type")
    return [kind] if isinstance(kind, str) else list(kind or ())
