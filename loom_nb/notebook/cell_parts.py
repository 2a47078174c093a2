"""Cells of a notebook become parts of a prompt: chosen by a spec, each with its origin, none too long.

Pure: cells and names go in, parts and words come out.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loom_nb.border import clean
from loom_nb.capabilities.cell_tags import is_hidden
from loom_nb.capabilities.cells import CellView
from loom_nb.errors import LoomUsageError
from loom_nb.messages import DataPart, Origin
from loom_nb.notebook.cell import near
from loom_nb.notebook.cell_secrets import secrets_in, without_secrets
from loom_nb.notebook.context_spec import Cells, ContextSpec
from loom_nb.wording import counted

SOURCE_CHARS = 6_000
"""Characters of one cell."""
OUTPUT_CHARS = 2_000
ALL_CHARS = 48_000
"""Characters of all cells together: the farthest ones are left out then."""
MOST_CELLS = 100

_ASKS = re.compile(r"\s*%%loom\b")


@dataclass(frozen=True, slots=True)
class Given:
    """A part of a prompt that holds a cell, or what it put out."""

    part: DataPart
    cell: CellView
    is_output: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a spec chooses of a notebook's cells."""

    given: tuple[Given, ...] = ()
    notices: tuple[str, ...] = ()
    """What the reader is to know of it."""


def choose(
    spec: ContextSpec, cells: Sequence[CellView], here: int | None, secrets: Iterable[str] = ()
) -> Chosen:
    """The cells that travel with a prompt.

    Args:
        spec: what is asked for.
        cells: all that are known, in the order of the notebook.
        here: the place among them before which cells count as above; None: all of them that have run.
        secrets: texts that nobody is to be given.

    Raises:
        LoomUsageError: a cell is named that is not there, is hidden by its tag, or asks the agent itself.
    """
    named = [cell for one in spec.cells for cell in _named(one, cells)]
    above = [
        cell
        for place, cell in enumerate(cells)
        if cell.kind == "code" and (cell.number is not None if here is None else place < here)
    ]
    base = {"above": above, "all": [cell for cell in cells if cell.kind != "raw"]}.get(spec.base, [])
    wanted = [cell for cell in cells if any(cell is one for one in (*base, *named))]
    left = [cell for cell in wanted if _is_for_the_model(cell) and not _is_without(spec, cell)]
    typed = [text for cell in cells if cell.kind == "code" for text in secrets_in(cell.source)]
    known = dict.fromkeys(sorted([*secrets, *typed], key=len, reverse=True))
    return _fitted(spec, left, here_place(cells, here), tuple(known))


def refuse_absent(spec: ContextSpec, cells: Sequence[CellView]) -> None:
    """Raises LoomUsageError where a spec leaves out a cell that there never was."""
    newest = max((cell.number or 0 for cell in cells), default=0)
    ids = [cell.id for cell in cells if cell.id]
    for one in spec.without:
        if one.id not in ids if one.id else one.first > newest:
            raise LoomUsageError(
                f"--ctx -cell:{one}: there is no such cell",
                cause=f"In[1] to In[{newest}] have run" if newest else "no cell has run yet",
                fixes=[f"--ctx -cell:{name}" for name in near(one.id, ids)],
            )


def here_place(cells: Sequence[CellView], here: int | None) -> list[CellView]:
    """The cells by their distance: those right above first, then those above, then those below."""
    place = len(cells) if here is None else here
    return [*reversed(cells[:place]), *cells[place:]]


def _is_for_the_model(cell: CellView) -> bool:
    """Not a cell that is hidden, is empty, or speaks to us: what that one said is in the conversation."""
    return bool(cell.source.strip()) and not is_hidden(cell.tags) and not is_ours(cell.source)


def is_ours(source: str) -> bool:
    """Whether a cell only speaks to us: `%%loom`, or nothing but `%loom` lines."""
    lines = [line.strip() for line in source.splitlines() if line.strip() and line.strip()[0] != "#"]
    if lines and _ASKS.match(lines[0]):
        return True
    return bool(lines) and all(re.match(r"%(?:loom\b|(?:re)?load_ext\s+loom_nb\b)", line) for line in lines)


def _is_without(spec: ContextSpec, cell: CellView) -> bool:
    return any(one.holds(cell.number, cell.id) for one in spec.without)


def _named(one: Cells, cells: Sequence[CellView]) -> list[CellView]:
    found = [cell for cell in cells if one.holds(cell.number, cell.id)]
    visible = [cell for cell in found if not is_hidden(cell.tags)]
    if visible and (one.last > one.first or any(_is_for_the_model(cell) for cell in visible)):
        return visible
    if visible:
        raise LoomUsageError(
            f"--ctx: cell {one} asks the agent itself, or is empty",
            cause="what a %%loom cell asked and was told is in the conversation already",
            fixes=["%%loom --continue RUN", "%loom context"],
        )
    numbers = [cell.number for cell in cells if cell.number is not None and not is_hidden(cell.tags)]
    known = f"cells that ran: {min(numbers)} to {max(numbers)}" if numbers else "no cell has run yet"
    alike = (
        near(one.id, [cell.id for cell in cells if cell.id and not is_hidden(cell.tags)]) if one.id else []
    )
    raise LoomUsageError(
        f"--ctx: there is no cell {one}",
        cause=f"{known}; a cell with the tag loom-exclude is never given",
        fixes=[
            *(f"--ctx cells:{name}" for name in alike),
            *([f"--ctx cells:{max(numbers)}"] if numbers else []),
        ],
    )


# -- parts -----------------------------------------------------------------------------------------------


def _fitted(
    spec: ContextSpec, cells: Sequence[CellView], nearest: Sequence[CellView], secrets: tuple[str, ...]
) -> Chosen:
    """As many as there is room for, the nearest first; told in the order of the notebook."""
    room = ALL_CHARS
    fit: list[tuple[CellView, list[Given]]] = []
    out: list[CellView] = []
    for cell in (one for one in nearest if any(one is other for other in cells)):
        made = list(_given(cell, secrets, outputs=spec.outputs))
        size = sum(len(one.part.text) for one in made)
        if size > room or len(fit) >= MOST_CELLS:
            out.append(cell)
            continue
        room -= size
        fit.append((cell, made))
    given = [one for cell in cells for known, made in fit if known is cell for one in made]
    if not out:
        return Chosen(tuple(given), () if given else _nothing(spec))
    names = ", ".join(cell.name for cell in cells if any(cell is one for one in out))
    text = f"These cells are left out, for there is no room for them: {names}"
    note = DataPart("cells left out", text, Origin("system"), f"{len(out)} cells cut for their size")
    told = f"--ctx {spec}: cut, {names} left out (at most {ALL_CHARS:,} characters); --ctx cells:3-7 chooses"
    return Chosen((*given, Given(note, out[0])), (told,))


def _nothing(spec: ContextSpec) -> tuple[str, ...]:
    return (f"--ctx {spec}: there is no cell to be given",) if spec.wants_cells else ()


def _given(cell: CellView, secrets: tuple[str, ...], *, outputs: bool) -> Iterable[Given]:
    origin = Origin("notebook" if cell.number is not None else "file", cell.name)
    source, hidden = without_secrets(cell.source, secrets, code=cell.kind == "code")
    kind = cell.kind if cell.number is not None or cell.kind != "code" else "code that has not run here"
    yield Given(_part(cell.name, source, SOURCE_CHARS, origin, kind, hidden=hidden), cell)
    if outputs and cell.outputs_text.strip():
        name = f"output of {cell.name}"
        text, hidden = without_secrets(cell.outputs_text, secrets, code=False)
        made = _part(name, text, OUTPUT_CHARS, Origin("tool", name), "output", hidden=hidden)
        yield Given(made, cell, is_output=True)


def _part(name: str, text: str, most: int, origin: Origin, kind: str, *, hidden: bool) -> DataPart:
    text = clean(text).strip("\n")
    lines = text.count("\n") + 1
    told = [f"{kind}, {counted(lines, 'line')}"]
    if len(text) > most:
        left = len(text) - most
        text = f"{text[:most]}\n[cut here: {left:,} more characters are not shown]"
        told.append("cut")
    return DataPart(name, text, origin, ", ".join([*told, *(["a secret withheld"] if hidden else [])]))
