"""Toolkit: the tools of an agent by name, with the text and the rules that came with them."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from loom_nb.errors import SetupError, ToolError
from loom_nb.protocols import PartitionItem, Rule, Toolset
from loom_nb.runtime.context import View
from loom_nb.tools import Tool, tool

_NOTHING: Mapping[str, str] = {}


class Equipped(Protocol):
    """Who has tools."""

    @property
    def tools(self) -> Sequence[Tool]:
        """Those that no capability brings."""
        ...


class Toolkit:
    """Tools by name, made once for an agent; opened capabilities included."""

    __slots__ = ("_kept", "_provided", "_toolsets", "agent", "enriching", "rules", "tools", "view")

    def __init__(
        self,
        agent: Equipped,
        opened: Sequence[tuple[str, Toolset]],
        kept: dict[str, str],
        view: View,
    ) -> None:
        self.agent = agent
        self.tools: tuple[Tool, ...] = tuple(agent.tools)
        self._provided: Mapping[str, str] = _NOTHING
        toolsets = tuple(toolset for _, toolset in opened)
        for capability, toolset in opened:
            self.tools += tuple(toolset.tools)
            if not toolset.own:
                self._provided = {**self._provided, **{one.name: capability for one in toolset.tools}}
        self.rules: tuple[Rule, ...] = tuple(rule for toolset in toolsets for rule in toolset.rules)
        self._toolsets = toolsets
        self.enriching = tuple((name, one.enrich) for name, one in opened if one.enrich is not None)
        """What may add to the beginning of a run, by capability."""
        self._kept = kept
        self.view = view
        """Knows what of what was kept the model is not to read."""
        names: set[str] = set()
        for one in self.tools:
            if one.name in names:
                raise SetupError(
                    f"two tools are called '{one.name}'",
                    cause="a model could not tell them apart",
                    fixes=[f"rename one: tool(name='{one.name}_2')"],
                )
            names.add(one.name)
        if kept:
            self.offer_reader()

    def get(self, name: str) -> Tool | None:
        """The tool of that name."""
        for one in self.tools:
            if one.name == name:
                return one
        return None

    def provided_by(self, name: str) -> str:
        """The capability that brought a tool; empty for a function that the user handed over."""
        return self._provided.get(name, "")

    def unknown(self, name: str) -> str:
        """What the model is told of a tool that does not exist."""
        names = [one.name for one in self.tools]
        near = difflib.get_close_matches(name, names, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        known = ", ".join(sorted(names)) or "none"
        return f"There is no tool '{name}'.{hint} Known: {known}."

    def partitions(self) -> tuple[PartitionItem, ...]:
        """The text that the capabilities add to the request, as it is now."""
        if not self._toolsets:
            return ()
        return tuple([item for toolset in self._toolsets for item in toolset.partitions()])

    def keep(self, call_id: str, text: str) -> str:
        """Keep a whole result of which the model is given head and tail; gives the id to read it by."""
        name, number = call_id, 2
        while name in self._kept:
            name, number = f"{call_id}_{number}", number + 1
        self._kept[name] = text
        return name

    def offer_reader(self) -> Sequence[Tool]:
        """Offer `read_result` from now on, and give all tools."""
        if self.get("read_result") is not None:
            return self.tools
        return self.offer(_result_reader(self, self._kept))

    def offer(self, one: Tool) -> Sequence[Tool]:
        """Offer one more tool of the runtime, in place of an earlier one of its own, and give all tools."""
        if self._provided.get(one.name) == "runtime":
            self.tools = tuple([one if known.name == one.name else known for known in self.tools])
        elif self.get(one.name) is None:
            self._provided = {**self._provided, one.name: "runtime"}
            self.tools = (*self.tools, one)
        return self.tools

    async def close(self) -> None:
        """Close every capability, also when one of them fails to; the first failure is raised at the end."""
        failures: list[BaseException] = []
        for toolset in self._toolsets:
            if toolset.close is None:
                continue
            try:
                await toolset.close()
            except Exception as error:  # noqa: BLE001  one that fails must not leave the others open
                failures.append(error)
        if failures:
            raise failures[0]


def _result_reader(kit: Toolkit, kept: dict[str, str]) -> Tool:
    def read_result(call_id: str, start: int = 0, length: int = 10_000) -> str:
        """Read part of an earlier result that was too long to be shown whole.

        Args:
            call_id: the id named where the result was shortened.
            start: first character, counted from 0.
            length: number of characters, at most 20000.
        """
        text = None if kit.view.withholds_result(call_id) else kept.get(call_id)
        if text is None:
            known = ", ".join(name for name in kept if not kit.view.withholds_result(name)) or "none"
            raise ToolError(f"No long result has the id '{call_id}'. Known: {known}.")
        if start < 0 or not 0 < length <= 20_000:
            raise ToolError("start must be 0 or more, length 1 to 20000")
        return text[start : start + length] or f"(nothing there: the result has {len(text)} characters)"

    made: Any = tool(read_only=True, max_chars=20_001)(read_result)
    assert isinstance(made, Tool)  # noqa: S101  tells the type checker
    return made
