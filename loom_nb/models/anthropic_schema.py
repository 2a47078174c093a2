"""A JSON schema in the narrower form to which Anthropic can bind an answer.

What the vendor does not enforce (bounds, lengths) becomes a part of the description; the caller
checks the answer against the whole schema. What it cannot express at all gives None.
"""

from collections.abc import Mapping
from typing import Any

_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_BOUNDS = (
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "maxItems", "uniqueItems"),
)
_KEPT = ("type", "title", "enum", "const", "$ref", "required", "default")
_REFUSED = ("prefixItems", "patternProperties", "propertyNames", "not", "if", "dependentSchemas", "contains")


def strict(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """`schema` as the vendor takes it, or None where it cannot: open maps, tuples, schemas in themselves."""
    definitions = schema.get("$defs", {})
    if not isinstance(definitions, dict) or _is_recursive(schema, definitions):
        return None
    try:
        closed = _closed(schema)
        if definitions:
            closed["$defs"] = {name: _closed(value) for name, value in definitions.items()}
    except _Open:
        return None
    return closed


class _Open(Exception):
    """The schema has a part that cannot be closed."""


def _closed(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or any(word in schema for word in _REFUSED):
        raise _Open
    closed = {name: schema[name] for name in _KEPT if name in schema}
    for name, target in (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")):
        if name in schema:
            closed[target] = [_closed(value) for value in schema[name]]
    if "items" in schema:
        closed["items"] = _closed(schema["items"])
    elif schema.get("type") == "array":
        raise _Open
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties") or "properties" not in schema:
            raise _Open
        closed["properties"] = {name: _closed(value) for name, value in schema["properties"].items()}
        closed["additionalProperties"] = False
    _describe(schema, closed)
    return closed


def _describe(schema: Mapping[str, Any], closed: dict[str, Any]) -> None:
    """Keep in words what the vendor does not enforce."""
    dropped = [f"{name}: {schema[name]}" for name in _BOUNDS if name in schema]
    least = schema.get("minItems")
    if least in (0, 1):
        closed["minItems"] = least
    elif least is not None:
        dropped.append(f"minItems: {least}")
    if schema.get("format") in _FORMATS:
        closed["format"] = schema["format"]
    elif "format" in schema:
        dropped.append(f"format: {schema['format']}")
    told = [str(schema["description"])] if schema.get("description") else []
    if dropped:
        told.append(f"({', '.join(dropped)})")
    if told:
        closed["description"] = " ".join(told)


def _is_recursive(schema: Any, definitions: Mapping[str, Any], inside: tuple[str, ...] = ()) -> bool:
    if isinstance(schema, Mapping):
        name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
        if name in inside:
            return True
        if name in definitions and _is_recursive(definitions[name], definitions, (*inside, name)):
            return True
        inner = [value for key, value in schema.items() if key != "$defs"]
        return any(_is_recursive(value, definitions, inside) for value in inner)
    return isinstance(schema, list) and any(_is_recursive(value, definitions, inside) for value in schema)
