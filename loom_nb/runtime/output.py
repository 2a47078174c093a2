"""Structured output: the form that an answer must have, and the check that it has it."""

from collections.abc import Mapping
from typing import Any

from loom_nb.border import parse
from loom_nb.errors import BorderError, LoomUsageError, ToolError
from loom_nb.protocols import OutputSchema
from loom_nb.tools import schema_fixes

ANSWER_TYPES = "use a dataclass, a pydantic model, a TypedDict, or list[…] of one"


class OutputType:
    """A type that a run's answer is read into: a dataclass, a pydantic model, `list[Foo]`, a TypedDict.

    Vendors want an object at the root: any other type travels as the field `value` of one.
    """

    __slots__ = ("_adapter", "schema", "wrapped")

    def __init__(self, kind: Any) -> None:
        from pydantic import PydanticUserError, TypeAdapter
        from pydantic.errors import PydanticSchemaGenerationError

        name = getattr(kind, "__name__", "answer")
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
            schema = self._adapter.json_schema()
        except (PydanticSchemaGenerationError, PydanticUserError, TypeError) as error:
            raise LoomUsageError(
                f"{kind!r} cannot be the schema of an answer",
                cause=str(error).splitlines()[0],
                fixes=schema_fixes(error, ANSWER_TYPES),
            ) from None
        self.wrapped = schema.get("type") != "object" and "$ref" not in schema
        if self.wrapped:
            definitions = schema.pop("$defs", None)
            schema = {
                "type": "object",
                "properties": {"value": schema},
                "required": ["value"],
                "additionalProperties": False,
            }
            if definitions:
                schema["$defs"] = definitions
        self.schema = OutputSchema(_plain_name(name), schema)

    def accept(self, text: str) -> Any:
        """The answer as a value of the type. Raises `ToolError` that names each wrong field."""
        from pydantic import ValidationError

        try:
            plain = parse(without_fence(text), what="the answer")
        except BorderError as error:
            raise ToolError(error.title) from None
        if self.wrapped:
            if not isinstance(plain, Mapping) or set(plain) != {"value"}:
                raise ToolError('an object with the single field "value" is expected')
            plain = plain["value"]
        try:
            return self._adapter.validate_python(plain)
        except ValidationError as error:
            problems = [
                f"{'.'.join(str(step) for step in problem['loc']) or 'answer'}: {problem['msg']}"
                for problem in error.errors(include_url=False, include_context=False, include_input=False)
            ]
            raise ToolError("; ".join(problems)) from None

    def plain(self, value: Any) -> Any:
        """A value of the type as plain data, for the log."""
        return self._adapter.dump_python(value, mode="json")


def without_fence(text: str) -> str:
    """The inside of a single ``` block, where a model put one around its JSON."""
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```") and "\n" in stripped:
        return stripped.split("\n", 1)[1].rsplit("```", 1)[0].strip()
    return stripped


def _plain_name(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)[:64] or "answer"
