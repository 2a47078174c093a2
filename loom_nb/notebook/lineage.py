"""Which run of which cell made a variable, and whether it is what the notebook, as it stands, would make.

Pure: runs of cells go in as facts, words come out. The measure is a notebook that is run once from its
first cell to its last: there nothing is ever out of date.
"""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

GONE = "gone"
"""The fingerprint of a variable that was deleted."""
MOST_RUNS = 1_000
"""Runs of cells that are remembered."""


@dataclass(frozen=True, slots=True)
class CellRun:
    """One run of one cell."""

    number: int
    """Of `In[number]`."""
    cell: str
    """The id of the cell; empty where the front end does not tell it: then it is a cell of its own."""
    source: str
    reads: frozenset[str] = frozenset()
    writes: Mapping[str, str] = field(default_factory=dict)
    """The fingerprint of each variable that it gave a value, or changed."""

    @property
    def key(self) -> str:
        """What tells its cell from others."""
        return self.cell or f"#{self.number}"


@dataclass(frozen=True, slots=True)
class _Record:
    """Where a value of a variable comes from: a run, by its place, and what the value was."""

    place: int
    print: str


class Lineage:
    """What is known of the runs of a kernel, at one moment.

    Args:
        runs: in the order in which they happened.
        order: the ids of the cells as they stand in the notebook; those that it lacks are put behind all
            that had run before them.
        edited: ids of cells whose text is another one by now, without having been run.
    """

    def __init__(
        self, runs: Sequence[CellRun], order: Sequence[str] = (), edited: Iterable[str] = ()
    ) -> None:
        self._runs = runs
        self._edited = frozenset(edited)
        self._position = _positions(runs, order)
        self._latest: dict[str, int] = {}
        self._count: dict[str, int] = {}
        self._writers: dict[str, dict[str, int]] = {}
        """By variable: each cell that wrote it, and the place of its last run that did."""
        self._versions: dict[str, list[_Record]] = {}
        for place, run in enumerate(runs):
            self._latest[run.key] = place
            self._count[run.key] = self._count.get(run.key, 0) + 1
            for name, print_ in run.writes.items():
                self._writers.setdefault(name, {})[run.key] = place
                self._versions.setdefault(name, []).append(_Record(place, print_))
        self._known: dict[tuple[int, str | None], str] = {}
        self._told = 0
        """Runs, from the first on, of which it is known whether they are sound."""

    def maker(self, name: str, before: int | None = None) -> CellRun | None:
        """The run that gave a variable its value; with `before`: the value that run saw."""
        records = self._current(name, len(self._runs) if before is None else before)
        return self._runs[records[0].place] if records else None

    def why_stale(self, name: str, before: int | None = None) -> str:
        """Why a variable is not what the notebook would make of it; empty where it is.

        Args:
            name: the variable.
            before: of the value that the run at this place saw, rather than of the value of now.
        """
        place = len(self._runs) if before is None else before
        if before is not None:
            return self._read(place, name)
        return self._value(name, place)

    def rerun(self, cell: str, since: int) -> CellRun | None:
        """The last run of a cell with another text than it had at the place `since`."""
        place = self._latest.get(cell, -1)
        mine = next((one for one in reversed(self._runs[:since]) if one.key == cell), None)
        return self._runs[place] if place >= since and mine and _differ(self._runs[place], mine) else None

    def ran_since(self, cell: str, since: int) -> bool:
        """Whether a cell has run at the place `since` or later."""
        return self._latest.get(cell, -1) >= since

    def is_edited(self, cell: str) -> bool:
        """Whether its text is another one than that of its last run."""
        return bool(cell) and cell in self._edited

    # -- one value -------------------------------------------------------------------------------------

    def _current(self, name: str, place: int) -> list[_Record]:
        """The runs, oldest first, that all gave the variable the very value that it has at a place."""
        records = self._versions.get(name, [])
        same: list[_Record] = []
        for at in range(bisect.bisect_left(records, place, key=_place) - 1, -1, -1):
            record = records[at]
            if same and not self._alike(record, same[-1]):
                break
            same.append(record)
        return same[::-1]

    def _value(self, name: str, place: int) -> str:
        """Why the value at a place is out of date; it is not as soon as one of its makers is sound."""
        records = self._current(name, place)
        if records and self._told < records[-1].place:
            for one in range(self._told, records[-1].place):  # from the first on, so that none goes deep
                self._told = one + 1
                self._maker_told(one)
        told = [self._maker_told(record.place) for record in records]
        return told[-1] if told and all(told) else ""

    def _maker_told(self, place: int) -> str:
        known = (place, None)
        if known not in self._known:
            self._known[known] = ""  # a run only reads what earlier ones made, so this cannot lead back
            run = self._runs[place]
            self._known[known] = self._of_run(place, run)
        return self._known[known]

    def _of_run(self, place: int, run: CellRun) -> str:
        last = self._latest[run.key]
        if _differ(self._runs[last], run) or self.is_edited(run.cell):
            return f"comes from cell [{run.number}] as it was before your edit"
        for name in sorted(run.reads):
            told = self._read(place, name)
            if told:
                return f"comes from cell [{run.number}], for which {name} is out of date: {name} {told}"
        return ""

    def _read(self, place: int, name: str) -> str:
        """Why what a run read is not what it would read in a notebook run from first to last."""
        known = (place, name)
        if known not in self._known:
            self._known[known] = ""
            self._known[known] = self._of_read(place, name)
        return self._known[known]

    def _of_read(self, place: int, name: str) -> str:
        run = self._runs[place] if place < len(self._runs) else None
        found = self._current(name, place)
        expected = self._expected(name, run)
        if expected is None or not found:
            return self._value(name, place) if found else ""
        writer = self._runs[expected]
        wrote = _Record(expected, writer.writes[name])
        if any(self._alike(wrote, one) for one in found):
            return self._value(name, place)
        again = run is not None and self._count[run.key] > 1
        if expected > place:
            return f"was changed since by cell [{writer.number}], which stands above and was run after it"
        last = self._runs[found[-1].place]
        if again and run is not None and found[-1].place > expected:
            which = "this very cell, which has run before" if last.key == run.key else "which stands below"
            return f"was as cell [{last.number}] had left it, {which}"
        return self._value(name, place)

    def _expected(self, name: str, run: CellRun | None) -> int | None:
        """The place of the last run of the cell that, in the notebook, is the last one above to write it."""
        if run is None:
            return None
        mine = self._position[run.key]
        above = [
            (self._position[cell], place)
            for cell, place in self._writers.get(name, {}).items()
            if self._position[cell] < mine
        ]
        return max(above)[1] if above else None

    def _alike(self, one: _Record, other: _Record) -> bool:
        """Whether both are the same value; of what cannot be looked into: the same cell made it anew."""
        if one.print == other.print:
            return True
        if not (one.print.startswith("@") and other.print.startswith("@")):
            return False
        a, b = self._runs[one.place], self._runs[other.place]
        return a.key == b.key and not _differ(a, b)


def _place(record: _Record) -> int:
    return record.place


def _differ(one: CellRun, other: CellRun) -> bool:
    return one.source.strip() != other.source.strip()


def _positions(runs: Sequence[CellRun], order: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Where each cell stands: by the notebook, else behind all those that had run before it."""
    places: dict[str, tuple[int, ...]] = {cell: (number,) for number, cell in enumerate(order)}
    last: tuple[int, ...] = (-1,)
    for count, run in enumerate(runs):
        if run.key not in places:
            places[run.key] = (last[0], count + 1)
        last = max(last, places[run.key])
    return places
