"""The cells of the notebook of a kernel: what has run, as the kernel remembers it, and what was saved.

A kernel cannot edit its front end's notebook by itself: see `front_cells`. It knows the code that ran and
the outputs; tags, ids and cells that are no code stand in the saved file only, where the front end says
which file that is.
"""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loom_nb.border import clean
from loom_nb.capabilities.cell_tags import tags_of
from loom_nb.capabilities.cells import CellChange, Cells, CellView, the_cell
from loom_nb.errors import ToolError
from loom_nb.notebook.asked_now import asked_now
from loom_nb.notebook.front_cells import FrontCells, FrontChange
from loom_nb.notebook.past import notebook_name

MOST_FILE_BYTES = 50 * 2**20
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class NotebookCells(Cells):
    """The cells of one kernel's notebook.

    Args:
        shell: the IPython shell.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self.front: FrontCells | None = None
        """Carries changes out, where a front end can."""
        self._ids: dict[int, str] = {}
        """The id of the cell behind each In[n], as the front end told it."""
        self._tags: dict[int, frozenset[str]] = {}
        """The tags that it had when it ran, where the front end told them."""
        self._saved_ids: frozenset[str] = frozenset()
        """Of the file: some front ends tell ids of their own, which stand in no file."""

    def watch(self) -> None:
        """From now on remember which cell each In[n] was: edited cells keep their tags then."""
        self._shell.events.register("pre_run_cell", self._about_to_run)

    def unwatch(self) -> None:
        """Remember no more."""
        with contextlib.suppress(ValueError):
            self._shell.events.unregister("pre_run_cell", self._about_to_run)

    def _about_to_run(self, info: Any) -> None:
        told = getattr(info, "cell_id", None)
        if told and getattr(info, "store_history", True):
            history = getattr(self._shell.history_manager, "input_hist_raw", [])
            self._ids[len(history)] = str(told)  # not execution_count: that is one more in newer IPythons
            self._tags[len(history)] = self.tags_now

    @property
    def tags_now(self) -> frozenset[str]:
        """The tags of the cell that runs now, where the front end tells them, as JupyterLab does."""
        asked = asked_now(self._shell)
        return asked.tags if asked is not None else frozenset()

    @property
    def id_now(self) -> str:
        """The id of the cell that runs now, where the front end says it."""
        asked = asked_now(self._shell)
        return asked.cell if asked is not None else ""

    def _tags_of(self, number: int) -> frozenset[str]:
        """The tags of the cell behind In[number]: those it had then, and in any later run."""
        cell = self._ids.get(number)
        if cell is None:
            return frozenset()
        runs = (n for n, one in self._ids.items() if one == cell and n >= number)
        return frozenset().union(*(self._tags.get(n, frozenset()) for n in runs))

    @property
    def remark(self) -> str:
        """What is not known of the cells."""
        if self.path is None:
            return (
                "Only cells that ran are known: the front end does not say which file this notebook is, so "
                "its tags (loom-exclude, loom-pin), ids and Markdown cells are not known here."
            )
        return "Tags, ids and cells that have not run are those of the notebook as it was last saved."

    @property
    def path(self) -> Path | None:
        """The saved notebook, where it is known."""
        name = notebook_name(self._shell.user_ns)
        if not name.endswith(".ipynb"):
            return None
        here = Path.cwd()
        for path in (Path(name), here / Path(name).name, *(above / name for above in (here, *here.parents))):
            if path.is_file():
                return path
        return None

    def saved(self) -> tuple[list[CellView], float]:
        """The cells of the file, and when it was saved, in seconds since the epoch; (none, 0) without one."""
        path = self.path
        try:
            return (self._saved(), path.stat().st_mtime) if path is not None else ([], 0.0)
        except OSError:
            return [], 0.0

    def cells(self, *, answers: bool = True) -> Sequence[CellView]:
        """All cells in the order of the saved file; those that only the kernel knows before or after them.

        Args:
            answers: also of outputs that are answers of an agent.
        """
        ran = self._ran()
        saved = self._saved(answers=answers)
        self._saved_ids = frozenset(cell.id for cell in saved)
        found: list[CellView] = []
        taken: set[int] = set()
        for cell in saved:
            numbers = [n for n, code in ran.items() if self._is(n, code, cell) and n not in taken]
            if not numbers:
                found.append(cell)
                continue
            taken.update(numbers)
            number = numbers[-1]
            tags = cell.tags | self._tags_of(number)
            output = self._output(number, answers=answers) or cell.outputs_text
            found.append(CellView(cell.id, number, "code", ran[number], output, tags))
        rest = [
            CellView(
                self._ids.get(n, ""), n, "code", code, self._output(n, answers=answers), self._tags_of(n)
            )
            for n, code in ran.items()
            if n not in taken
        ]
        newest = max(taken, default=0)
        older = [cell for cell in rest if (cell.number or 0) < newest]
        return [*older, *found, *(cell for cell in rest if cell not in older)]

    def _is(self, number: int, code: str, cell: CellView) -> bool:
        """Whether In[number] was this cell of the file."""
        told = self._ids.get(number)
        if told and cell.id and told in self._saved_ids:
            return told == cell.id
        return cell.kind == "code" and code.strip() == cell.source.strip()

    def _ran(self) -> dict[int, str]:
        """In[n] by n: the code of this session as it was typed, without the prompt that is answered now."""
        history = list(getattr(self._shell.history_manager, "input_hist_raw", []))
        if history and history[-1].startswith("%%loom"):
            history.pop()
        return {n: code for n, code in enumerate(history) if n and code.strip()}

    def _output(self, number: int, *, answers: bool = True) -> str:
        """What is kept of its outputs, as text."""
        manager = self._shell.history_manager
        kept = getattr(manager, "outputs", {}).get(number, ())
        texts = [_bundle_text(one) for one in kept if answers or not _is_answer(getattr(one, "bundle", None))]
        error = getattr(manager, "exceptions", {}).get(number)
        if isinstance(error, Mapping):
            texts.append(f"{error.get('ename', 'Error')}: {error.get('evalue', '')}")
        if not any(texts):
            kept = self._shell.user_ns.get("Out", {})
            if isinstance(kept, dict) and number in kept and (answers or not _is_of_ours(kept[number])):
                from loom_nb.capabilities.describe import describe

                texts = [describe(kept[number]).text]
        return _ANSI.sub("", clean("\n".join(text for text in texts if text)))

    def _saved(self, *, answers: bool = True) -> list[CellView]:
        path = self.path
        if path is None:
            return []
        try:
            if path.stat().st_size > MOST_FILE_BYTES:
                return []
            book = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # it is being written, or is no notebook: then only the kernel tells
            return []
        cells = book.get("cells") if isinstance(book, dict) else None
        return [_saved_cell(cell, answers=answers) for cell in cells or () if isinstance(cell, dict)]

    async def propose(self, changes: Sequence[CellChange]) -> str:
        """Have the front end change its cells; where it cannot, put what is new below the running cell."""
        if self.front is not None and self.front.there:
            return await self._change(self.front, changes)
        return self._put_below(changes)

    async def _change(self, front: FrontCells, changes: Sequence[CellChange]) -> str:
        visible = self.cells()
        outcome = await front.carry_out([_for_front(one, visible) for one in changes], self.id_now)
        if outcome is None:
            return self._put_below(changes)
        if outcome.unknown:
            raise ToolError(
                "the front end did not answer", cause="it is not known whether the cells were changed"
            )
        if not outcome.done:
            wrong = [f"change {n}: {why}" for n, why in enumerate(outcome.refused, 1) if why]
            raise ToolError("nothing was changed", cause=clean("; ".join(wrong))[:1_000])
        many = f"{len(changes)} changes were made" if len(changes) > 1 else "The change was made"
        return f"{many} to the notebook's cells. Nothing was run. The person can undo it as a cell operation."

    def _put_below(self, changes: Sequence[CellChange]) -> str:
        """What a kernel can do by itself."""
        fresh = [_as_text(change) for change in changes if change.action != "delete"]
        told = []
        if fresh:
            self._shell.set_next_input("\n\n\n".join(fresh), replace=False)
            many = f"{len(fresh)} cells, joined into one" if len(fresh) > 1 else "one cell"
            told.append(
                f"Put below the running cell when it ends, for the person to look at and run: {many}."
            )
        edited = [change.cell for change in changes if change.action == "edit"]
        if edited:
            told.append(
                f"Not edited in place: {', '.join(edited)}. A kernel cannot edit cells of its front end; the "
                "new text is in the new cell, the old cell is unchanged."
            )
        deleted = [change.cell for change in changes if change.action == "delete"]
        if deleted:
            told.append(
                f"Not deleted: {', '.join(deleted)}. A kernel cannot delete cells of its front end: the "
                "person has to."
            )
        placed = [change.cell for change in changes if change.action == "insert" and change.cell]
        if placed:
            told.append("The place asked for is not kept: a kernel can only insert below the running cell.")
        return "\n".join(told)


def _for_front(change: CellChange, visible: Sequence[CellView]) -> FrontChange:
    if not change.cell:
        return FrontChange(change.action, source=change.source, kind=change.kind)
    cell = the_cell(change.cell, visible)
    if not cell.id:
        raise ToolError(f"{cell.name} cannot be found in the front end", cause="its id is not known")
    before = None if change.action == "insert" else cell.source
    return FrontChange(change.action, cell.id, change.source, change.kind, before)


def _as_text(change: CellChange) -> str:
    if change.kind == "markdown":
        return f"%%markdown\n{change.source}" if change.action == "insert" else change.source
    return f"# instead of {change.cell}\n{change.source}" if change.action == "edit" else change.source


def _saved_cell(cell: Any, *, answers: bool = True) -> CellView:
    kind = cell.get("cell_type", "raw")
    kept = [one for one in cell.get("outputs", ()) if answers or not _is_answer(one.get("data"))]
    outputs = [_saved_output(one) for one in kept]
    return CellView(
        id=str(cell.get("id", "")),
        number=None,  # a number in a file may be of another kernel
        kind=kind if kind in ("code", "markdown") else "raw",
        source=_joined(cell.get("source", "")),
        outputs_text=_ANSI.sub("", clean("\n".join(text for text in outputs if text))),
        tags=tags_of(cell.get("metadata")),
    )


def _saved_output(output: Any) -> str:
    match output.get("output_type"):
        case "stream":
            return _joined(output.get("text", ""))
        case "error":
            return f"{output.get('ename', 'Error')}: {output.get('evalue', '')}"
        case _:
            return _text_of(output.get("data", {}))


def _bundle_text(output: Any) -> str:
    bundle = getattr(output, "bundle", None)
    return _text_of(bundle) if isinstance(bundle, Mapping) else ""


def _is_answer(bundle: Any) -> bool:
    """Whether an output is an answer of an agent, which stands in the conversation already."""
    return isinstance(bundle, Mapping) and "application/vnd.loom.run.v1+json" in bundle


def _is_of_ours(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "loom_nb"


def _text_of(bundle: Mapping[str, Any]) -> str:
    for kind in ("text/llm+plain", "stream", "text/plain", "text/markdown"):
        text = _joined(bundle.get(kind, ""))
        if text:
            return text
    images = [kind for kind in bundle if kind.startswith("image/")]
    return f"({images[0]})" if images else ""


def _joined(text: Any) -> str:
    """Text as a notebook keeps it: one string, or its lines."""
    return "".join(map(str, text)) if isinstance(text, list) else str(text)
