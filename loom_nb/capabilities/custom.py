"""Functions of the user's own, given to an agent under one name."""

from collections.abc import Iterable
from dataclasses import dataclass

from loom_nb.errors import LoomUsageError
from loom_nb.protocols import Toolset
from loom_nb.tools import Tool, ToolFunction, as_tool


@dataclass(frozen=True)
class CustomCapability:
    """Some tools with a name.

    Raises LoomUsageError for a name that is empty or two tools of one name, SetupError for something
    that is not a function.
    """

    name: str
    tools: "tuple[Tool, ...] | Iterable[Tool | ToolFunction]" = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise LoomUsageError(
                "Capability.custom: name is empty", fixes=["Capability.custom('stock', tools=[...])"]
            )
        if not isinstance(self.tools, Iterable):
            raise LoomUsageError(
                "Capability.custom: tools is a list of functions", fixes=["tools=[my_function]"]
            )
        tools = tuple(as_tool(value) for value in self.tools)
        seen: set[str] = set()
        for tool in tools:
            if tool.name in seen:
                raise LoomUsageError(
                    f"Capability.custom: two tools are called '{tool.name}'",
                    fixes=[f"@tool(name='{tool.name}_2') gives one of them another name"],
                )
            seen.add(tool.name)
        object.__setattr__(self, "tools", tools)

    async def open(self) -> Toolset:
        """The tools as they are; there is nothing to connect."""
        return Toolset(tools=tuple(as_tool(value) for value in self.tools), own=True)
