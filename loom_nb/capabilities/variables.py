"""The variables of a notebook, to look at: two tools that only read and never run a value's code."""

import difflib
import fnmatch
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loom_nb.border import clean
from loom_nb.capabilities.anatomy import derives, is_one, looks_secret, module_name, one_line, type_name
from loom_nb.capabilities.describe import WITHHELD, Detail, describe, describe_image, shorten
from loom_nb.errors import LoomUsageError, ToolError
from loom_nb.messages import ImagePart, Origin, TextPart
from loom_nb.protocols import Toolset
from loom_nb.tools import tool

MAX_ROWS = 200
"""Variables that are listed."""
MAX_CHARS = 12_000
"""Characters that one variable may fill."""
OF_IPYTHON = frozenset({"In", "Out", "exit", "quit", "get_ipython"})


@dataclass(frozen=True, eq=False)  # comparing would run the code of the values
class VariablesCapability:
    """The tools list_variables and inspect_variable over a namespace that others change at will."""

    namespace: Callable[[], Mapping[str, Any]] | Mapping[str, Any] = field(repr=False)
    hidden: Iterable[str] | Mapping[str, Any] = field(default=(), repr=False)
    name: str = field(default="variables", init=False)

    def __post_init__(self) -> None:
        if not callable(self.namespace) and not isinstance(self.namespace, Mapping):
            raise LoomUsageError(
                "Capability.variables: namespace is a mapping or a function that gives one",
                fixes=["Capability.variables(globals())"],
            )
        if isinstance(self.hidden, str) or not isinstance(self.hidden, Iterable):
            raise LoomUsageError("Capability.variables: hidden is a list of names", fixes=["hidden=['tmp*']"])
        if not isinstance(self.hidden, Mapping):
            object.__setattr__(self, "hidden", tuple(self.hidden))

    async def open(self) -> Toolset:
        """The two tools; there is nothing to connect."""
        reads = tool(read_only=True, timeout=60.0)

        def list_variables() -> list[TextPart]:
            """List the notebook's variables: name, type, size and a one-line summary; then its functions."""
            return [TextPart(clean(listing(self.visible())), Origin("notebook", "variables"))]

        def inspect_variable(name: str, detail: Detail = "summary") -> list[TextPart | ImagePart]:
            """Look into one variable of the notebook without running code.

            Args:
                name: the variable's name.
                detail: summary; schema (columns, types, keys); head (first rows or items); statistics.
            """
            return inspected(self.visible(), name, detail)

        return Toolset(tools=(reads(list_variables), reads(inspect_variable)))

    def visible(self) -> dict[str, Any]:
        """The variables that may be looked at, in the order in which they were made."""
        current = self.namespace() if callable(self.namespace) else self.namespace
        found = list(current.items())  # at once: the namespace may grow while we look
        return {
            name: value for name, value in found if type(name) is str and not self._is_hidden(name, value)
        }

    def _is_hidden(self, name: str, value: Any) -> bool:
        if name.startswith("_") or name in OF_IPYTHON or derives(type(value), types.ModuleType):
            return True
        if module_name(type(value)).startswith("IPython."):
            return True
        if type(value) is types.FunctionType and str(value.__module__).startswith("IPython."):
            return True
        if isinstance(self.hidden, Mapping):
            return name in self.hidden and self.hidden[name] is value
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.hidden)


def listing(variables: Mapping[str, Any]) -> str:
    """A table of variables, and below it the functions and classes by their signatures."""
    values = {name: value for name, value in variables.items() if not _is_code(value)}
    code = {name: value for name, value in variables.items() if _is_code(value)}
    if not variables:
        return "the notebook has no variables yet"
    lines = [" | ".join(("name", "type", "size", "summary"))] if values else []
    lines += [_row(name, value) for name, value in list(values.items())[:MAX_ROWS]]
    if len(values) > MAX_ROWS:
        rest = list(values)[MAX_ROWS:]
        lines.append(f"... and {len(rest):,} more: {one_line(', '.join(rest), 1_000)}")
    if code:
        lines += ["", "functions and classes:"] if lines else ["functions and classes:"]
        lines += [f"  {_code_line(name, value)}" for name, value in list(code.items())[:MAX_ROWS]]
    return "\n".join(lines)


def inspected(variables: Mapping[str, Any], name: str, detail: Detail) -> list[TextPart | ImagePart]:
    """One variable in words, with its picture if it is one.

    Raises:
        ToolError: there is no such variable; it names those that are near.
    """
    if name not in variables:
        near = difflib.get_close_matches(name, variables, n=3)
        raise ToolError(
            f"there is no variable {clean(name)[:80]!r}",
            cause="" if variables else "the notebook has no variables yet",
            fixes=[f"inspect_variable(name={one!r})" for one in near] or ["list_variables shows their names"],
        )
    value = variables[name]
    origin = Origin("notebook", name)
    if looks_secret(name, value):
        return [TextPart(f"{name}: {type_name(type(value))} {WITHHELD}", origin)]
    made = describe(value, detail)
    parts: list[TextPart | ImagePart] = [TextPart(shorten(clean(f"{name}: {made.text}"), MAX_CHARS), origin)]
    image = describe_image(value)
    if image is not None:
        parts.append(ImagePart(image.data, image.media_type, origin, name))
    return parts


def _is_code(value: Any) -> bool:
    return derives(type(value), type) or is_one(type(value), types.FunctionType, types.BuiltinFunctionType)


def _row(name: str, value: Any) -> str:
    if looks_secret(name, value):
        return " | ".join((name, type_name(type(value)), "", WITHHELD))
    made = describe(value, "schema")
    return " | ".join((name, made.type, made.size, made.line.replace("|", "\\|")))


def _code_line(name: str, value: Any) -> str:
    line = describe(value).line
    if derives(type(value), type) or line.removeprefix("async ").startswith(f"{name}("):
        return line
    return f"{name} = {line}"
