"""`%loom key scan`: what looks like a secret in this notebook, in its file and in what ran since."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loom_nb.capabilities.cells import CellView
from loom_nb.errors import LoomUsageError
from loom_nb.notebook.card import Card, Table
from loom_nb.notebook.key_line import KeyLine
from loom_nb.notebook.key_places import is_begun
from loom_nb.notebook.key_scan import Find, KeyFinding, scan
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.notebook.session_cards import lately
from loom_nb.runtime.threads import in_thread
from loom_nb.wording import counted

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench

MOST_BYTES = 50 * 2**20
"""Of a file that is looked through."""


async def look_for_keys(bench: "Workbench", line: KeyLine) -> Card:
    """Look through this notebook, or the files that the line names.

    Raises:
        LoomUsageError: a file cannot be read, or is no notebook.
    """
    kept = bench.has_secrets or is_begun(bench.settings.home)
    find: Find | None = bench.secrets.find if kept else None
    if line.names:
        found = []
        for name in line.names:
            there = await in_thread(scan, notebook=read(name), find=find)
            found += [(f"{Path(name).name}, {place_of(one)}", one) for one in there]
        return card_of(found, ", ".join(line.names), (), is_file=True)
    cells = bench.equipment.cells
    saved = read(str(cells.path)) if cells.path is not None else {"cells": []}
    found = [(place_of(one), one) for one in await in_thread(scan, notebook=saved, find=find)]
    told = {(one.kind, one.excerpt) for _, one in found if one.where == "output"}
    known = {_source(cell) for cell in saved.get("cells", ()) if isinstance(cell, dict)}
    ran = [cell for cell in cells.cells() if cell.number is not None]
    for one in await in_thread(scan, notebook={"cells": [as_file(cell) for cell in ran]}, find=find):
        cell = ran[one.cell - 1]
        stands = one.where == "source" and cell.source.strip() in known
        if not stands and (one.where != "output" or (one.kind, one.excerpt) not in told):
            found.append((f"In[{cell.number}], {one.where}", one))
    return card_of(found, Path(bench.notebook).name or "this notebook", _looked_at(cells.path, len(ran)))


def _looked_at(path: Path | None, ran: int) -> tuple[tuple[str, str], ...]:
    if path is None:
        return (("looked at", f"{counted(ran, 'cell')} that ran: this front end does not tell its file"),)
    told = [("looked at", f"{path.name} as it was saved {lately(path.stat().st_mtime, time.time())}")]
    if ran:
        told.append(("and", f"{counted(ran, 'cell')} that ran in this kernel, with what came out"))
    return tuple(told)


def read(name: str) -> Mapping[str, Any]:
    """A notebook as it stands in its file. Raises LoomUsageError where it is none."""
    path = Path(name).expanduser()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise LoomUsageError(f"{path} is too large to be looked through")
        made = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LoomUsageError(f"{path} is no notebook that can be read", cause=type(error).__name__) from None
    if not isinstance(made, dict) or not isinstance(made.get("cells"), list):
        raise LoomUsageError(f"{path} is no notebook", fixes=["%loom key scan", "%loom key scan FILE.ipynb"])
    return made


def as_file(cell: CellView) -> dict[str, Any]:
    """A cell that ran in this kernel, with what came out, as it would stand in a file."""
    return {"cell_type": "code", "source": cell.source, "outputs": [{"text": cell.outputs_text}]}


def _source(cell: Mapping[str, Any]) -> str:
    text = cell.get("source", "")
    return (
        "".join(one for one in text if isinstance(one, str)) if isinstance(text, list) else str(text)
    ).strip()


def place_of(one: KeyFinding) -> str:
    """Where in a file: `cell 3, output`."""
    return f"cell {one.cell}, {one.where}" if one.cell else f"the notebook, {one.where}"


def card_of(
    found: Sequence[tuple[str, KeyFinding]],
    name: str,
    facts: tuple[tuple[str, str], ...],
    *,
    is_file: bool = False,
) -> Card:
    """What was found, each with where it stands and what to do about it; no finding holds a secret."""
    if not found:
        return Card(f"nothing in {visible(name)} looks like a secret", facts)
    rows = tuple((place, one.kind, visible(one.excerpt), one.fix) for place, one in found)
    table = Table("in the order of the cells", ("where", "what", "the line", "what to do"), rows)
    told = [*facts, ("a key that was saved or sent", "is known: have a new one made where it comes from")]
    if not is_file and any(one.where == "source" for _, one in found):
        told.append(("also in", "the history file of IPython, with all that was typed"))
    many = "place looks" if len(found) == 1 else "places look"
    return Card(
        f"{len(found):,} {many} like a secret in {visible(name)}",
        tuple(told),
        (table,),
        steps=(
            ("%loom key set NAME --host H", "keeps one; tools and models name it instead"),
            ("%loom key scan", "once it is saved again"),
        ),
    )
