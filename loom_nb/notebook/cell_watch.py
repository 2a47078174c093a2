"""Watches the cells of a kernel run: what each read, and which variables it gave a value or changed.

What it costs is bounded by the names that a cell mentions, and nothing of a value is kept but a
fingerprint.
"""

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from loom_nb.capabilities.cell_names import CellNames, names_of
from loom_nb.capabilities.fingerprint import fingerprint
from loom_nb.notebook.cells_of_notebook import NotebookCells
from loom_nb.notebook.lineage import GONE, MOST_RUNS, UNSURE, CellRun, Lineage

MOST_NAMES = 200
"""Variables that are looked at for one cell."""


@dataclass(slots=True)
class _Opened:
    """A cell that runs."""

    run: CellRun
    names: CellNames
    before: dict[str, int]
    """The identity of each variable."""


class CellWatch:
    """What the cells of one kernel did to its variables.

    Args:
        shell: the IPython shell.
        cells: of its notebook.
    """

    def __init__(self, shell: Any, cells: NotebookCells) -> None:
        self._shell = shell
        self._cells = cells
        self.runs: list[CellRun] = []
        """Of cells, in the order in which they ended."""
        self.dropped = 0
        """How many runs before those are not remembered any more."""
        self._at: list[float] = []
        """When each of them ended, in seconds since the epoch."""
        self._prints: dict[str, str] = {}
        self._open: dict[int, _Opened] = {}
        self._touched: set[str] = set()
        self._read: set[str] = set()

    def watch(self) -> None:
        """Begin."""
        self._shell.events.register("pre_run_cell", self._about_to_run)
        self._shell.events.register("post_run_cell", self._has_run)

    def unwatch(self) -> None:
        """End."""
        for event, told in (("pre_run_cell", self._about_to_run), ("post_run_cell", self._has_run)):
            with contextlib.suppress(ValueError):
                self._shell.events.unregister(event, told)

    def note(self, *, read: Iterable[str] = (), changed: Iterable[str] = ()) -> None:
        """Something that the text of the running cell does not tell: names it read, and that it changed."""
        self._read.update(read)
        self._touched.update(changed)

    def lineage(self) -> Lineage:
        """What is known by now, the cell that runs included as the last run."""
        now = [one.run for one in self._open.values()]
        runs = [*self.runs, *(replace(one, reads=one.reads | self._read) for one in now[-1:])]
        saved, when = self._cells.saved()
        sure = bool(self._at) and when > self._at[-1]
        return Lineage(
            runs, [cell.id for cell in saved if cell.id], list(self._edited(saved, when)), sure=sure
        )

    def _edited(self, saved: Iterable[Any], when: float) -> Iterable[str]:
        """Cells whose text in the file, saved after they ran, is another one."""
        texts = {cell.id: cell.source.strip() for cell in saved if cell.id and cell.kind == "code"}
        last = {run.cell: (run, ended) for run, ended in zip(self.runs, self._at, strict=True) if run.cell}
        for cell, (run, ended) in last.items():
            if cell in texts and when > ended and texts[cell] != run.source.strip():
                yield cell

    # -- what IPython calls ------------------------------------------------------------------------------

    def _about_to_run(self, info: Any) -> None:
        if not getattr(info, "store_history", True):
            return
        try:
            self._begin(info)
        except Exception:  # noqa: BLE001  the border to IPython and to values: a cell runs whatever we make of it
            self._open.pop(id(info), None)

    def _begin(self, info: Any) -> None:
        names = self._names()
        source = str(info.raw_cell or "")
        told = names_of(str(getattr(info, "transformed_cell", None) or source), self._shell.user_ns)
        self._catch_up(told.mentions, names)
        number = len(getattr(self._shell.history_manager, "input_hist_raw", []))
        run = CellRun(number, str(getattr(info, "cell_id", None) or ""), source, told.reads & names.keys())
        self._open[id(info)] = _Opened(run, told, {name: id(value) for name, value in names.items()})

    def _catch_up(self, mentioned: Iterable[str], names: Mapping[str, Any]) -> None:
        """What changed without a word of any cell belongs to none: nothing is told of it."""
        for name in sorted(self._prints.keys() & set(mentioned) & names.keys())[:MOST_NAMES]:
            now = fingerprint(names[name])
            if now == self._prints[name]:
                continue
            self._prints[name] = now
            place = next((n for n in reversed(range(len(self.runs))) if name in self.runs[n].writes), -1)
            if place >= 0:
                run = self.runs[place]
                self.runs[place] = replace(run, writes={**run.writes, name: UNSURE})

    def _has_run(self, result: Any) -> None:
        opened = self._open.pop(id(getattr(result, "info", None)), None)
        if opened is None:
            return
        try:
            self._end(opened, failed=not result.success)
        except Exception:  # noqa: BLE001  the border to IPython and to values: a cell has run whatever we make of it
            self._touched.clear()
            self._read.clear()

    def _end(self, opened: _Opened, *, failed: bool) -> None:
        names = self._names()
        fresh = {name for name, value in names.items() if opened.before.get(name) != id(value)}
        mine = opened.names.binds if not failed else frozenset()
        looked = (fresh | self._touched | opened.names.mentions | mine) & names.keys()
        looked |= self._aliases(looked, names)
        writes = {name: GONE for name in opened.before.keys() - names.keys() if name in self._prints}
        for name in writes:
            del self._prints[name]
        for name in sorted(looked, key=lambda one: (one not in fresh, one))[:MOST_NAMES]:
            now = fingerprint(names[name])
            if name in mine or name in fresh or (self._prints.get(name, now) != now):
                writes[name] = now
            self._prints[name] = now
        reads = opened.run.reads | (self._read & opened.before.keys())
        self.runs.append(replace(opened.run, reads=reads, writes=writes))
        self._at.append(time.time())
        self._touched.clear()
        self._read.clear()
        self._forget()

    def _aliases(self, looked: Iterable[str], names: Mapping[str, Any]) -> set[str]:
        """Other names of the same values, of which there is a fingerprint."""
        same = {id(names[name]) for name in looked}
        return {name for name in self._prints.keys() & names.keys() if id(names[name]) in same}

    def _forget(self) -> None:
        over = len(self.runs) - MOST_RUNS
        if over > 0:
            del self.runs[:over], self._at[:over]
            self.dropped += over

    def _names(self) -> dict[str, Any]:
        from loom_nb.capabilities.variables import VariablesCapability

        return VariablesCapability(lambda: self._shell.user_ns, hidden=self._shell.user_ns_hidden).visible()
