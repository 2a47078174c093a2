"""Lets an agent read the cells of a notebook, and propose changes to them as one thing to review."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from loom_nb.border import clean
from loom_nb.capabilities.cell_tags import is_hidden, is_pinned
from loom_nb.capabilities.describe import shorten
from loom_nb.errors import ToolError
from loom_nb.messages import Origin, TextPart
from loom_nb.protocols import Toolset
from loom_nb.tools import Assessment, Tool, tool

MOST_CELLS = 40
"""Cells that are shown at once."""
SOURCE_CHARS = 6_000
OUTPUT_CHARS = 2_000
MOST_CHANGES = 30


@dataclass(frozen=True, slots=True)
class CellView:
    """One cell as an agent may read it."""

    id: str
    """What the notebook's file calls it; empty where that is not known."""
    number: int | None
    """Of `In[number]`; None for a cell that has not run, or is no code."""
    kind: Literal["code", "markdown", "raw"]
    source: str
    outputs_text: str = ""
    tags: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """What it is called to the agent."""
        return f"In[{self.number}]" if self.number is not None else self.id or "a cell"


@dataclass(frozen=True)
class CellChange:
    """One change to the cells of a notebook."""

    action: Literal["insert", "edit", "delete"]
    cell: str = ""
    """For edit and delete: which, as In[3] or its id. For insert: the cell above; empty for the end."""
    source: str = ""
    """The whole new text, for insert and edit."""
    kind: Literal["code", "markdown"] = "code"


class Cells(Protocol):
    """The cells of one notebook."""

    @property
    def remark(self) -> str:
        """What is not known of them, in words; empty where all is."""
        ...

    def cells(self) -> Sequence[CellView]:
        """All cells, in order."""
        ...

    async def propose(self, changes: Sequence[CellChange]) -> str:
        """Carry out what can be carried out; says in words what was done and what was not."""
        ...


@dataclass(frozen=True, eq=False)
class CellsCapability:
    """The tools read_cells and propose_cells over the cells of one notebook."""

    cells: Cells = field(repr=False)
    name: str = field(default="cells", init=False)

    async def open(self) -> Toolset:
        """The two tools; there is nothing to connect."""

        def read_cells(which: str = "") -> list[TextPart]:
            """Read cells of the notebook with their outputs.

            Args:
                which: "In[3]", "3", "3-7", a cell's id, or several with commas; empty for all.
            """
            return self.read(which)

        async def propose_cells(changes: list[CellChange]) -> str:
            _checked(changes, self._visible())
            return await self.cells.propose(changes)

        propose = Tool(
            function=propose_cells,
            name="propose_cells",
            description=PROPOSE,
            effects=frozenset({"writes"}),
            undoable=True,
            parallel=False,
            assess=self.assess,
        )
        return Toolset(tools=(tool(read_only=True, timeout=60.0)(read_cells), propose))

    def read(self, which: str = "") -> list[TextPart]:
        """The chosen cells, pinned ones first, each with its own origin.

        Raises:
            ToolError: there is no such cell.
        """
        visible = self._visible()
        chosen = _chosen(which, visible) if which.strip() else visible[-MOST_CELLS:]
        pinned = [cell for cell in visible if is_pinned(cell.tags) and cell not in chosen]
        shown = [*pinned, *chosen]
        parts = [TextPart(_told(cell), Origin("notebook", cell.name)) for cell in shown[:MOST_CELLS]]
        notes = [self.cells.remark] if self.cells.remark else []
        if not shown:
            notes.insert(0, "There are no cells to be read yet.")
        left = len(visible) - len(shown) if not which.strip() else len(shown) - len(parts)
        if left > 0:
            notes.append(f"{left:,} more cells: name them, such as read_cells('1-10').")
        return [*parts, *(TextPart(clean(note), Origin("notebook", "cells")) for note in notes)]

    def assess(self, changes: list[CellChange]) -> Assessment:
        """What these changes would do, as one diff; a refusal where a cell does not exist."""
        effects: frozenset[Literal["reads", "writes", "runs", "network"]] = frozenset({"writes"})
        try:
            visible = self._visible()
            _checked(changes, visible)
        except ToolError as error:
            return Assessment(effects, refusal=str(error))
        except Exception as error:  # noqa: BLE001  the border to the notebook: a look must not fail
            return Assessment(effects, reasons=(f"the cells could not be read ({type(error).__name__})",))
        count = {
            action: sum(one.action == action for one in changes) for action in ("insert", "edit", "delete")
        }
        verbs = {"insert": "inserts", "edit": "edits", "delete": "deletes"}
        told = [f"{verbs[action]} {n} cell{'s' if n > 1 else ''}" for action, n in count.items() if n]
        preview = "\n".join(_diff(one, visible) for one in changes)
        return Assessment(effects, reasons=tuple(told), preview=clean(preview), preview_kind="diff")

    def _visible(self) -> list[CellView]:
        return [cell for cell in self.cells.cells() if not is_hidden(cell.tags)]


PROPOSE = (
    "Propose changes to the notebook's cells: insert, edit and delete, reviewed as one diff.\n\n"
    "What the front end does not allow is done as far as it goes. Nothing is executed.\n\n"
    "Returns: what was done, and what was not."
)


def _chosen(which: str, visible: Sequence[CellView]) -> list[CellView]:
    found: list[CellView] = []
    for word in which.split(","):
        found += [cell for cell in _one(word.strip(), visible) if cell not in found]
    return found


def _one(word: str, visible: Sequence[CellView]) -> list[CellView]:
    span = re.fullmatch(r"(?:In)?\s*\[?\s*(\d+)\s*(?:[-:]\s*(\d+)\s*)?\]?", word)
    if span:
        first, last = int(span[1]), int(span[2] or span[1])
        hits = [cell for cell in visible if cell.number is not None and first <= cell.number <= last]
        hits = hits or [cell for cell in visible if cell.id == word]
    else:
        hits = [cell for cell in visible if cell.id and cell.id == word]
    if hits:
        return hits
    numbers = [cell.number for cell in visible if cell.number is not None]
    known = f"In[{min(numbers)}] to In[{max(numbers)}]" if numbers else "there is none yet"
    ids = [cell.id for cell in visible if cell.id]
    near = difflib.get_close_matches(word, ids, n=3)
    raise ToolError(
        f"there is no cell {clean(word)[:60]!r} to be read",
        cause=f"cells that ran: {known}",
        fixes=[f"read_cells({one!r})" for one in near],
    )


def _told(cell: CellView) -> str:
    """One cell as the agent reads it."""
    title = " ".join(
        text
        for text in (
            cell.name,
            cell.kind,
            f"id {cell.id}" if cell.id and cell.number is not None else "",
            f"tags {', '.join(sorted(cell.tags))}" if cell.tags else "",
        )
        if text
    )
    text = f"--- {title} ---\n{shorten(cell.source, SOURCE_CHARS)}"
    if cell.outputs_text:
        text += f"\n--- output ---\n{shorten(cell.outputs_text, OUTPUT_CHARS)}"
    return clean(text)


def _checked(changes: Sequence[CellChange], visible: Sequence[CellView]) -> None:
    """Raises ToolError where a change names no cell, or has nothing in it."""
    if not changes:
        raise ToolError("there is no change in it", fixes=['changes=[{"action": "insert", "source": "..."}]'])
    if len(changes) > MOST_CHANGES:
        raise ToolError(f"too many changes at once: {len(changes)}, at most {MOST_CHANGES}")
    touched: set[int] = set()
    for change in changes:
        if change.action != "delete" and not change.source.strip():
            raise ToolError(f"{change.action}: source is empty")
        if change.action != "insert" and not change.cell.strip():
            raise ToolError(f"{change.action}: which cell?", fixes=["cell='In[3]'"])
        if change.cell.strip():
            cell = the_cell(change.cell, visible)
            if change.action != "insert" and id(cell) in touched:
                raise ToolError(f"{cell.name} is changed twice")
            touched |= {id(cell)} if change.action != "insert" else set()


def the_cell(name: str, visible: Sequence[CellView]) -> CellView:
    """The one cell of that name; the last run of it. Raises ToolError where there is none or are several."""
    hits = _one(name.strip(), visible)
    if len(hits) > 1:
        raise ToolError(f"{clean(name)[:60]!r} names {len(hits)} cells", fixes=["one cell, such as 'In[3]'"])
    return hits[0]


def _diff(change: CellChange, visible: Sequence[CellView]) -> str:
    old, name = "", change.cell or "the end"
    if change.action != "insert":
        cell = the_cell(change.cell, visible)
        old, name = cell.source, cell.name
    new = "" if change.action == "delete" else change.source
    before = "/dev/null" if change.action == "insert" else name
    after = "/dev/null" if change.action == "delete" else name
    if change.action == "insert":
        after = f"new {change.kind} cell, {'after ' + name if change.cell else 'at ' + name}"
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), before, after, lineterm="")
    return "\n".join(lines)
