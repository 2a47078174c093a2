"""Which run of which cell made a variable, and whether it is what the notebook, as it stands, would make.

Pure: runs of cells go in as facts, words come out. The measure is a notebook that is run once from its
first cell to its last: there nothing is ever out of date.
"""

import bisect
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

GONE = "gone"
"""The fingerprint of a variable that was deleted."""
UNSURE = "?"
"""The fingerprint of a variable whose value was changed later, nobody knows by which cell."""
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
class _Value:
    """What a variable held: which run made it, by its place, and its fingerprint."""

    place: int
    print: str


@dataclass(frozen=True, slots=True)
class _Unseen:
    """What a variable would hold in a clean run is not known: its cell has not run on what it would read."""

    place: int
    """Of the last run of that cell."""
    why: str


_State = dict[str, _Value | _Unseen]


class Lineage:
    """What is known of the runs of a kernel, at one moment.

    It follows what a clean run would do, from the first cell to the last, each as its last run was: where
    a cell has already run on just what it would read, what it made then is what it would make. A variable
    is out of date where it holds something else than it would there.

    Args:
        runs: in the order in which they happened.
        order: the ids of the cells as they stand in the notebook; those that it lacks are put behind all
            that had run before them.
        edited: ids of cells whose text is another one by now, without having been run.
        sure: the order is that of now. Where it may be an older one, nothing is told unless some cell was
            edited, or has run again; nor what would not hold if a cell that the order lacks stood right above
            the one that ran after it.
    """

    def __init__(
        self,
        runs: Sequence[CellRun],
        order: Sequence[str] = (),
        edited: Collection[str] = (),
        *,
        sure: bool = False,
    ) -> None:
        self._runs = runs
        self._edited = frozenset(edited)
        self._mine: dict[str, list[int]] = {}
        """By cell, the places of its runs."""
        self._versions: dict[str, list[_Value]] = {}
        for place, run in enumerate(runs):
            self._mine.setdefault(run.key, []).append(place)
            for name, print_ in run.writes.items():
                self._versions.setdefault(name, []).append(_Value(place, print_))
        self._tells = sure or bool(self._edited) or any(len(places) > 1 for places in self._mine.values())
        self._before: dict[str, _State] = {}
        """By cell, what the variables would hold before it."""
        self._after: _State = {}
        self._other: Lineage | None = None
        """The same under the other order that may be meant."""
        if self._tells:
            cells = sorted(self._mine, key=_positions(runs, order).__getitem__)
            self._follow(cells)
            other = cells if sure else _moved_up(runs, cells, set(order))
            if other != cells:
                self._other = Lineage(runs, other, edited, sure=True)

    def maker(self, name: str, before: int | None = None) -> CellRun | None:
        """The run that gave a variable its value; with `before`: the value that the run there saw."""
        seen = self._seen(name, len(self._runs) if before is None else before)
        return self._runs[seen.place] if seen is not None else None

    def why_stale(self, name: str, before: int | None = None) -> str:
        """Why a variable does not hold what it would after a clean run; empty where it does.

        Args:
            name: the variable.
            before: what the run at this place saw of it, against a clean run up to the cell of that run.
        """
        if not self._tells:
            return ""
        place = len(self._runs) if before is None else before
        seen = self._seen(name, place)
        if seen is None or seen.print == GONE:
            return ""
        known = self._before[self._runs[place].key] if place < len(self._runs) else self._after
        would = known.get(name)
        if self._alike(seen, would) or (self._other is not None and not self._other.why_stale(name, before)):
            return ""
        return self._told(seen, would)

    def rerun(self, cell: str, since: int) -> CellRun | None:
        """The last run of a cell, where it has another text than the cell had before the place `since`."""
        places = self._mine.get(cell, [])
        then = [place for place in places if place < since]
        if not then or places[-1] < since:
            return None
        last = self._runs[places[-1]]
        return last if _differ(last, self._runs[then[-1]]) else None

    def ran_since(self, cell: str, since: int) -> bool:
        """Whether a cell has run at the place `since` or later."""
        return self._mine.get(cell, [-1])[-1] >= since

    def is_edited(self, cell: str) -> bool:
        """Whether its text is another one than that of its last run."""
        return bool(cell) and cell in self._edited

    # -- a clean run -----------------------------------------------------------------------------------

    def _follow(self, cells: Iterable[str]) -> None:
        state: _State = {}
        for cell in cells:
            self._before[cell] = dict(state)
            last = self._mine[cell][-1]
            done = self._done_before(cell, state)
            if done is None:
                unseen = _Unseen(last, self._why_not(last, state))
                state.update(dict.fromkeys(self._runs[last].writes, unseen))
                continue
            for name, print_ in self._runs[done].writes.items():
                state[name] = _Value(done, print_)
        self._after = state

    def _done_before(self, cell: str, state: _State) -> int | None:
        """The last run of a cell, with the text of now, that read just what it would read; None for none."""
        last = self._mine[cell][-1]
        if cell in self._edited:
            return None
        for place in reversed(self._mine[cell]):
            if not _differ(self._runs[place], self._runs[last]) and self._odd_read(place, state) is None:
                return place
        return None

    def _odd_read(self, place: int, state: _State) -> tuple[str, _Value] | None:
        """A variable that a run read and that would hold something else, with what it held."""
        for name in sorted(self._runs[place].reads):
            seen = self._seen(name, place)
            if seen is not None and not self._alike(seen, state.get(name)):
                return name, seen
        return None

    def _why_not(self, place: int, state: _State) -> str:
        """Why what a run made is not what its cell would make."""
        run = self._runs[place]
        odd = self._odd_read(place, state)
        if run.key in self._edited or odd is None:
            return f"cell [{run.number}] was edited since"
        name, seen = odd
        would = state.get(name)
        if isinstance(would, _Unseen):
            return would.why
        if would is not None and would.place > place:
            return f"cell [{self._runs[would.place].number}] has changed {name} since"
        return f"cell [{run.number}] used {name} as cell [{self._runs[seen.place].number}] had left it"

    # -- one value -------------------------------------------------------------------------------------

    def _seen(self, name: str, place: int) -> _Value | None:
        """What a variable held when the run at a place began."""
        values = self._versions.get(name, [])
        at = bisect.bisect_left(values, place, key=_place)
        return values[at - 1] if at else None

    def _alike(self, one: _Value, other: _Value | _Unseen | None) -> bool:
        """Whether both are the same value; of what cannot be told: the same cell made it anew."""
        if not isinstance(other, _Value):
            return False
        if one.print == other.print:
            return True
        opaque = one.print.startswith("@") and other.print.startswith("@")
        if not opaque and UNSURE not in (one.print, other.print):
            return False
        a, b = self._runs[one.place], self._runs[other.place]
        return a.key == b.key and not _differ(a, b)

    def _told(self, seen: _Value, would: _Value | _Unseen | None) -> str:
        run = self._runs[seen.place]
        if _differ(run, self._runs[self._mine[run.key][-1]]) or run.key in self._edited:
            return f"comes from cell [{run.number}] as it was before your edit"
        if would is None:
            return f"comes from cell [{run.number}], which stands below"
        other = self._runs[would.place]
        if other.key == run.key and would.place < seen.place:
            return f"is not what a clean run makes: {self._why_not(seen.place, self._before[run.key])}"
        if would.place < seen.place:
            return f"comes from cell [{run.number}], and cell [{other.number}] has not run since"
        if isinstance(would, _Unseen):
            return f"comes from cell [{run.number}], and {would.why}"
        return f"comes from cell [{run.number}], and cell [{other.number}] has made it anew since"


def _place(value: _Value) -> int:
    return value.place


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


def _moved_up(runs: Sequence[CellRun], cells: Sequence[str], known: set[str]) -> list[str]:
    """The cells, those whose place is not known moved right above the one that ran after their last run."""
    moved = list(cells)
    latest = {run.key: place for place, run in enumerate(runs)}
    for cell in cells:
        after = latest[cell] + 1
        if cell in known or after >= len(runs):
            continue
        below = runs[after].key
        if moved.index(below) < moved.index(cell):
            moved.remove(cell)
            moved.insert(moved.index(below), cell)
    return moved
