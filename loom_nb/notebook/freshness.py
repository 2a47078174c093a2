"""What of the notebook the model was given, why, and whether the notebook is still so.

It knows the cells, variables and files that this kernel's runs were given, and says of each item of a
ledger where it comes from and what has changed since.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from loom_nb.errors import LoomUsageError
from loom_nb.messages import DataPart, Part, TextPart, ToolResultPart
from loom_nb.notebook import context_spec
from loom_nb.notebook.cell import CellRequest, Reference, interpolate, near
from loom_nb.notebook.cell_parts import Chosen, Given, choose, refuse_absent
from loom_nb.notebook.cell_secrets import secret_texts
from loom_nb.notebook.cell_watch import CellWatch
from loom_nb.notebook.context_spec import ContextSpec
from loom_nb.notebook.lineage import Lineage
from loom_nb.runtime.ledger import Note

if TYPE_CHECKING:
    from loom_nb.notebook.cells_of_notebook import NotebookCells
    from loom_nb.runtime.run import RunResult
    from loom_nb.runtime.session import Session

PINNED = "pinned by the tag of its cell: compaction leaves this turn as it is"
MOST_REMEMBERED = 2_000
"""Things that the model was given, of which it is known when."""


@dataclass(frozen=True, slots=True)
class Travelled:
    """Something of the notebook that the model was given once."""

    at: int
    """How many cells had run before the one that gave it."""
    why: str = ""
    variable: str = ""
    cell: str = ""
    """The id of the cell whose text or output it is."""
    number: int = 0
    output: str | None = None
    """What that cell had put out; None where it is about its text."""
    file: Path | None = None
    seen: float = 0.0
    """When the file was read, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What travels with a prompt."""

    prompt: str
    references: tuple[Reference, ...] = ()
    cells: tuple[DataPart, ...] = ()
    notices: tuple[str, ...] = ()
    whys: Mapping[str, str] = field(default_factory=dict)
    """Why each reference does, where the prompt does not name it."""


class Freshness:
    """What the model was given of one kernel's notebook.

    Args:
        cells: of the notebook.
        watch: over the cells that run.
    """

    def __init__(self, cells: "NotebookCells", watch: CellWatch) -> None:
        self._cells = cells
        self.watch = watch
        self._given: dict[tuple[str, str], Travelled] = {}
        """By name and text, as the model was given it."""

    # -- what travels with a prompt --------------------------------------------------------------------

    def settle(self, request: CellRequest, default: str, names: Mapping[str, Any]) -> Settled:
        """Choose what travels with a prompt.

        Args:
            request: of the cell.
            default: the spec of cells without `--ctx`.
            names: the variables that a prompt may name.

        Raises:
            LoomUsageError: the spec says nothing, or names what is not there.
        """
        spec = context_spec.parse(default if request.ctx is None else request.ctx, names)
        if request.ctx is not None:  # what a default leaves out may come later
            self._refuse_absent(spec, names)
        given, prompt = [], request.prompt
        for one in request.references:
            if spec.base == "none" or one.path in spec.names:
                prompt = prompt.replace(f"⟨{one.path}⟩", one.path)
            else:
                given.append(one)
        asked = [_variable(path, names) for path in dict.fromkeys(spec.variables)]
        fresh = [one for one in asked if one.path not in [known.path for known in given]]
        chosen = self._choose(spec, names) if spec.wants_cells else Chosen()
        why = f"--ctx {spec}"
        for each in chosen.given:
            self._remember(each.part, self._travelled(each, why))
        whys = {one.path: why for one in fresh}
        parts = tuple(each.part for each in chosen.given)
        return Settled(prompt, (*given, *fresh), parts, chosen.notices, whys)

    @contextlib.contextmanager
    def rehearsal(self) -> Iterator[None]:
        """In it, nothing counts as given to the model."""
        before = dict(self._given)
        try:
            yield
        finally:
            self._given.clear()
            self._given.update(before)

    def described(self, part: DataPart, why: str = "") -> DataPart:
        """A variable as it travels with a prompt now; a reader is told where it is out of date."""
        name = _root(part.name)
        self.watch.note(read=[name])
        self._remember(part, Travelled(self._now, why or "you named it in the prompt", variable=name))
        told = self.watch.lineage().why_stale(name, len(self.watch.runs))
        if not told:
            return part
        words = f"stale: {told}"
        return msgspec.structs.replace(part, summary=f"{part.summary}; {words}" if part.summary else words)

    def _refuse_absent(self, spec: ContextSpec, names: Mapping[str, Any]) -> None:
        if spec.without:
            refuse_absent(spec, self._cells.cells(answers=False))
        for path in spec.names:
            if _root(path) not in names:
                raise _no_variable("-", path, names)

    def _choose(self, spec: ContextSpec, names: Mapping[str, Any]) -> Chosen:
        here = self._cells.id_now
        in_file = bool(here) and any(cell.id == here for cell in self._cells.saved()[0])
        known = self._cells.cells(answers=False)
        latest = {cell.id: cell for cell in known if cell.id}
        cells = [one for one in known if not one.id or latest[one.id] is one]
        place = next((n for n, cell in enumerate(cells) if in_file and cell.id == here), None)
        others = [one for one in cells if place is not None or not here or one.id != here]
        secrets = [*secret_texts(names), *secret_texts(os.environ, nested=True)]
        return choose(spec, others, place, secrets)

    def _travelled(self, given: Given, why: str) -> Travelled:
        cell = given.cell
        output = cell.outputs_text if given.is_output else None
        return Travelled(self._now, why, cell=cell.id, number=cell.number or 0, output=output)

    # -- what a run was given --------------------------------------------------------------------------

    def saw(self, result: "RunResult") -> None:
        """What tools told of variables and files in a run that has ended, and what its code changed."""
        from loom_nb.events import MessageAdded, VariablesChanged

        for entry in result.events:
            match entry.event:
                case VariablesChanged(changes=changes):
                    self.watch.note(changed=[one.name for one in changes])
                case MessageAdded(message=message):
                    for part in message.parts:
                        if isinstance(part, ToolResultPart) and not part.is_error:
                            self._saw_result(part, entry.time)
                case _:
                    pass

    def _saw_result(self, part: ToolResultPart, when: float) -> None:
        first = next((one for one in part.parts if isinstance(one, TextPart)), None)
        if first is None:
            return
        if first.origin.kind == "notebook" and part.name == "inspect_variable":
            self.watch.note(read=[first.origin.source])
            self._remember(first, Travelled(self._now, variable=first.origin.source))
        elif first.origin.kind == "file" and part.name.startswith("read_"):
            path = Path(first.origin.source).absolute()
            self._remember(first, Travelled(self._now, file=path, seen=when))

    @property
    def _now(self) -> int:
        return self.watch.dropped + len(self.watch.runs)

    def _remember(self, part: DataPart | TextPart, travelled: Travelled) -> None:
        self._given.pop(_key(part), None)
        self._given[_key(part)] = travelled
        while len(self._given) > MOST_REMEMBERED:
            del self._given[next(iter(self._given))]

    # -- what a ledger says ----------------------------------------------------------------------------

    def notes(self) -> "Notes":
        """What is known of the items of a ledger now."""
        return Notes(self._given, self.watch.lineage(), self.watch.dropped, self._cells)


@dataclass(frozen=True, slots=True)
class Notes:
    """What is known of the parts of a conversation at one moment; called with each of them."""

    given: Mapping[tuple[str, str], Travelled]
    lineage: Lineage
    dropped: int
    cells: "NotebookCells"

    def __call__(self, part: Part) -> Note | None:
        """What is known of a part; None where nothing is."""
        held: Part | None = part
        if isinstance(part, ToolResultPart):
            held = next((one for one in part.parts if isinstance(one, TextPart)), None)
        if not isinstance(held, DataPart | TextPart):
            return None
        known = self.given.get(_key(held))
        return self._note(known) if known is not None else None

    def _note(self, known: Travelled) -> Note:
        at = known.at - self.dropped
        if known.variable:
            maker = self.lineage.maker(known.variable, max(at, 0))
            source = f"{known.variable}, made by cell [{maker.number}]" if maker else known.variable
            stale = self.lineage.why_stale(known.variable, at) if at >= 0 else ""
            return Note(source, f"{known.variable} {stale}" if stale else "", known.why)
        if known.file is not None:
            return Note(str(known.file.name), _file_told(known.file, known.seen), known.why)
        name = f"cell [{known.number}]" if known.number else f"cell {known.cell}"
        return Note(name, self._cell_told(known, name, at) if known.cell and at >= 0 else "", known.why)

    def _cell_told(self, known: Travelled, name: str, at: int) -> str:
        again = self.lineage.rerun(known.cell, at)
        if again is not None:
            return f"{name} was edited since and run again, as [{again.number}]"
        if self.lineage.is_edited(known.cell):
            return f"{name} was edited since"
        if known.output is not None and self.lineage.ran_since(known.cell, at):
            now = [one for one in self.cells.cells(answers=False) if one.id == known.cell]
            if now and now[-1].outputs_text != known.output:
                return f"{name} was run again since and has put out something else"
        return ""


async def pin(session: "Session", result: "RunResult") -> None:
    """Keep the messages of a run from compaction."""
    from loom_nb.events import MessageAdded

    added = {id(one.event.message) for one in result.events if isinstance(one.event, MessageAdded)}
    messages = session.conversation.messages
    for number in [n for n, message in enumerate(messages) if id(message) in added]:
        await session.mark(number, "pinned")


def _file_told(path: Path, seen: float) -> str:
    with contextlib.suppress(OSError):
        return f"{path.name} was written to since it was read" if path.stat().st_mtime > seen else ""
    return f"{path.name} is not there any more"


def _variable(path: str, names: Mapping[str, Any]) -> Reference:
    """Raises LoomUsageError where there is no such variable, or a look at it would run code."""
    _, found, slips = interpolate("{" + path + "}", names)
    if found:
        return found[0]
    raise _no_variable("+", path, names, "; ".join(slips))


def _no_variable(sign: str, path: str, names: Mapping[str, Any], cause: str = "") -> LoomUsageError:
    mine = [name for name in names if not name.startswith("_")]
    return LoomUsageError(
        f"--ctx {sign}{path}: there is no such variable",
        cause=cause,
        fixes=[f"--ctx {sign}{name}" for name in near(path, mine)],
    )


def _root(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def _key(part: DataPart | TextPart) -> tuple[str, str]:
    return (part.name if isinstance(part, DataPart) else part.origin.source, part.text)
