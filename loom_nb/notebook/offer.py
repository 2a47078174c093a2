"""What a cell offers the agent with `-t`: functions of the notebook, found by name and checked before
anything is sent.
"""

import builtins
import fnmatch
import inspect
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loom_nb.errors import LoomUsageError, SetupError
from loom_nb.notebook import cell as cells
from loom_nb.notebook.tool_groups import ALWAYS, GROUPS

if TYPE_CHECKING:
    from loom_nb.protocols import Capability
    from loom_nb.tools import Tool

LISTED = 8
"""Functions that an error names."""


def can_be_offered(value: Any) -> bool:
    """Whether `*` looks at it: functions and tools, but no classes and no other callables."""
    from loom_nb.tools import Tool

    ours = str(getattr(value, "__module__", "")).partition(".")[0] == "loom_nb"
    return isinstance(value, Tool) or (inspect.isfunction(value) and not ours)


def _is_capability(value: Any) -> bool:
    from loom_nb.protocols import Capability

    return not isinstance(value, type) and isinstance(value, Capability)


class Offer:
    """Tools made of the notebook's functions: each is made once, so that the same cell is the same agent."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, Tool]] = {}

    def capabilities(
        self, patterns: Sequence[str], everything: Mapping[str, Any], build: "Callable[[str], Capability]"
    ) -> "tuple[list[Capability], list[str]]":
        """(capabilities, the names that are left): those in variables, and the built-in ones by name.

        Args:
            patterns: what stands behind `-t`.
            everything: what a name may mean.
            build: makes a built-in one by its name, the same each time.
        """
        found: list[Capability] = []
        left: list[str] = []
        for pattern in patterns:
            value = everything.get(pattern)
            if value is not None and _is_capability(value):
                found.append(value)
            elif value is None and pattern in GROUPS:
                found.append(build(pattern))
            else:
                left.append(pattern)
        return found, left

    def named(
        self, patterns: Sequence[str], mine: Mapping[str, Any], everything: Mapping[str, Any]
    ) -> "tuple[list[Tool], list[str]]":
        """The tools with these names, and what is to be told of those that were left out.

        Args:
            patterns: names and paths; `*` and `?` match and leave out what cannot be a tool.
            mine: the reader's own variables, for `*` and `?`.
            everything: what a name or a path may begin with.

        Raises:
            SetupError: nothing has the name, or what has it cannot be a tool; says why.
        """
        found: dict[str, Tool] = {}
        left_out: dict[str, str] = {}
        for pattern in patterns:
            if any(sign in pattern for sign in "*?["):
                self._match(pattern, mine, found, left_out)
            else:
                tool = self.tool(pattern, _value(pattern, everything))
                found[tool.name] = tool
        notices = (
            [f"-t left out {', '.join(f'{n} ({why})' for n, why in left_out.items())}"] if left_out else []
        )
        return list(found.values()), notices

    def tool(self, name: str, value: Any) -> "Tool":
        """A value as a tool, its schema made. Raises SetupError where it cannot be one."""
        from loom_nb.tools import as_tool

        known = self._made.get(id(value))
        if known is not None:
            return known[1]
        try:
            with warnings.catch_warnings(action="ignore"):  # of pydantic, of defaults that no schema can tell
                tool = as_tool(value)
                _ = tool.encoded_schema  # made now: what a model cannot be told of is refused before the run
        except SetupError:
            raise
        except (TypeError, ValueError, RuntimeError) as error:  # of inspect and of pydantic
            raise LoomUsageError(
                f"-t {name}: it cannot be described to a model",
                cause=str(error).splitlines()[0] if str(error) else type(error).__name__,
                fixes=[WRAP],
            ) from None
        self._made[id(value)] = (value, tool)
        return tool

    def _match(
        self, pattern: str, mine: Mapping[str, Any], found: "dict[str, Tool]", left_out: dict[str, str]
    ) -> None:
        names = [n for n, v in mine.items() if fnmatch.fnmatchcase(n, pattern) and can_be_offered(v)]
        if not names:
            raise LoomUsageError(
                f"-t {pattern} matches no function of this notebook", cause=_functions_of(mine)
            )
        for name in names:
            try:
                tool = self.tool(name, mine[name])
            except SetupError as error:
                left_out[name] = error.title
                continue
            if found.setdefault(tool.name, tool) is not tool:
                left_out[name] = f"another function is called {tool.name}"


WRAP = "write a function around it in the notebook, with annotations, and offer that"


def _value(name: str, names: Mapping[str, Any]) -> Any:
    try:
        value = cells.look_up(name, names)
    except KeyError:
        raise _not_there(name, names) from None
    if isinstance(value, type):
        raise LoomUsageError(f"-t {name}: a class is not taken as a tool", fixes=[WRAP])
    if isinstance(value, types.BuiltinFunctionType):
        raise _of_builtin(name)
    if not callable(value):
        raise LoomUsageError(f"-t {name}: a {type(value).__name__} cannot be called")
    return value


def _not_there(name: str, names: Mapping[str, Any]) -> LoomUsageError:
    if callable(getattr(builtins, name, None)):
        return _of_builtin(name)
    owner, _, attribute = name.rpartition(".")
    if owner and _has_method(owner, attribute, names):
        return LoomUsageError(f"-t {name}: a method is not taken as a tool", fixes=[WRAP])
    if name in ALWAYS:
        return LoomUsageError(f"-t {name}: every cell has it already", fixes=["%loom tools"])
    functions = [n for n, v in names.items() if can_be_offered(v)]
    return LoomUsageError(
        f"-t {name}: there is no such function in this notebook",
        cause=f"{_functions_of(names)}; -t knows {', '.join(GROUPS)}",
        fixes=cells.suggestions(name, [*functions, *GROUPS], "%%loom -t {}", otherwise=()),
    )


def _of_builtin(name: str) -> LoomUsageError:
    return LoomUsageError(
        f"-t {name}: a builtin is not taken as a tool",
        cause="it does not say which arguments it takes, and of which type",
        fixes=[WRAP],
    )


def _has_method(owner: str, attribute: str, names: Mapping[str, Any]) -> bool:
    try:
        return callable(inspect.getattr_static(cells.look_up(owner, names), attribute, None))
    except KeyError:
        return False


def _functions_of(names: Mapping[str, Any]) -> str:
    functions = [name for name, value in names.items() if can_be_offered(value) and not name.startswith("_")]
    more = f" and {len(functions) - LISTED} more" if len(functions) > LISTED else ""
    return f"functions here: {', '.join(functions[:LISTED])}{more}" if functions else "there is none here yet"
