"""What `--ctx` says: which of the notebook's cells and variables travel with a prompt."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from loom_nb.errors import LoomUsageError
from loom_nb.notebook.cell import near

BASES = ("mentioned", "above", "none", "all")
WORDS = {
    "mentioned": "only what the prompt names",
    "above": "and the code of the cells above",
    "none": "nothing: {df} in the prompt is just its name",
    "all": "and every cell of the notebook, Markdown too",
    "cells:3-7": "and these cells, by In[number] or id",
    "+df": "and this variable",
    "-cell:12": "without this cell",
    "outputs": "and what the cells that are given have put out, as text",
}
"""What may be said, with what it means."""

_CELL = re.compile(r"([+-]?)cells?:(.+)", re.IGNORECASE | re.DOTALL)
_SPAN = re.compile(r"(?:In)?\[?(\d{1,6})\]?(?:(?:-|\.\.)\[?(\d{1,6})\]?)?", re.IGNORECASE)
_ID = re.compile(r"[A-Za-z0-9][\w:./#-]{0,63}")
_VARIABLE = re.compile(r"([+-])([^\W\d]\w*(?:\.[^\W\d]\w*|\[(?:\"[^\"\n\]]*\"|'[^'\n\]]*'|-?\d{1,9})\])*)")


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells by In[number], first to last, or one by its id."""

    first: int = 0
    last: int = 0
    id: str = ""

    def __str__(self) -> str:
        return self.id or (f"{self.first}-{self.last}" if self.last > self.first else str(self.first))

    def holds(self, number: int | None, cell: str) -> bool:
        """Whether it names this cell."""
        if self.id:
            return self.id == cell
        return number is not None and self.first <= number <= self.last


@dataclass(frozen=True, slots=True)
class ContextSpec:
    """What travels with a prompt."""

    base: str = "mentioned"
    cells: tuple[Cells, ...] = ()
    """Named one by one, and so given whatever else is said."""
    without: tuple[Cells, ...] = ()
    variables: tuple[str, ...] = ()
    """Paths that are given though the prompt does not name them."""
    names: tuple[str, ...] = ()
    """Paths that are not given though the prompt names them."""
    outputs: bool = False

    @property
    def wants_cells(self) -> bool:
        """Whether any cell may be given."""
        return self.base in ("above", "all") or bool(self.cells)

    def __str__(self) -> str:
        words = [self.base] if self.base != "mentioned" else []
        words += [f"cells:{one}" for one in self.cells] + [f"-cell:{one}" for one in self.without]
        words += [f"+{path}" for path in self.variables] + [f"-{path}" for path in self.names]
        return ",".join([*words, *(["outputs"] if self.outputs else [])]) or "mentioned"


def parse(text: str, names: Iterable[str] = ()) -> ContextSpec:
    """What a spec says.

    Args:
        text: words with commas between them.
        names: of the notebook's variables, for what may have been meant.

    Raises:
        LoomUsageError: a word means nothing, or two contradict each other.
    """
    bases: list[str] = []
    cells: dict[str, list[Cells]] = {"+": [], "-": []}
    paths: dict[str, list[str]] = {"+": [], "-": []}
    outputs, sign = False, ""
    for word in filter(None, (part.strip() for part in text.split(","))):
        named, variable = _CELL.fullmatch(word), _VARIABLE.fullmatch(word)
        if named:
            sign = named[1] or "+"
            cells[sign].append(_cells(named[2].strip(), word))
        elif sign and _SPAN.fullmatch(word):  # cells:3-7,9
            cells[sign].append(_cells(word, word))
        elif variable:
            sign = ""
            paths[variable[1]].append(variable[2])
        elif word.lower() in ("outputs", "output"):
            outputs, sign = True, ""
        elif word.lower() in BASES:
            sign = ""
            bases.append(word.lower())
        else:
            raise _unknown(word, names)
    if len(set(bases)) > 1:
        raise LoomUsageError(
            f"--ctx: {' and '.join(dict.fromkeys(bases))} exclude each other",
            fixes=[f"--ctx {one}" for one in dict.fromkeys(bases)],
        )
    spec = ContextSpec(
        bases[0] if bases else "mentioned",
        tuple(cells["+"]), tuple(cells["-"]), tuple(paths["+"]), tuple(paths["-"]), outputs,
    )  # fmt: skip
    return _sensible(spec, text)


def _sensible(spec: ContextSpec, text: str) -> ContextSpec:
    if not text.strip(" ,"):
        raise LoomUsageError("--ctx says nothing", cause=_known(), fixes=["--ctx above"])
    if spec.outputs and not spec.wants_cells:
        raise LoomUsageError(
            "--ctx outputs: no cells are given whose outputs that could be",
            fixes=["--ctx above,outputs", "--ctx cells:3,outputs"],
        )
    return spec


def _cells(told: str, word: str) -> Cells:
    span = _SPAN.fullmatch(told)
    if span:
        first, last = int(span[1]), int(span[2] or span[1])
        if first > last or first < 1:
            raise LoomUsageError(
                f"--ctx {word}: there are no such cells",
                cause="the first of a span is the smaller number, and In[1] is the first there is",
                fixes=[f"--ctx cells:{max(1, min(first, last))}-{max(1, first, last)}"],
            )
        return Cells(first, last)
    if not _ID.fullmatch(told):
        raise LoomUsageError(
            f"--ctx {word}: that is no cell", fixes=["--ctx cells:3-7", "--ctx cells:3", "--ctx cells:ID"]
        )
    return Cells(id=told)


def _unknown(word: str, names: Iterable[str]) -> LoomUsageError:
    known = list(names)
    if word in known:
        return LoomUsageError(
            f"--ctx {word}: a variable is given with a plus before it", fixes=[f"--ctx +{word}"]
        )
    if _SPAN.fullmatch(word):
        return LoomUsageError(f"--ctx {word}: cells are named so", fixes=[f"--ctx cells:{word}"])
    meant = near(word.lower(), [*BASES, "outputs", "cells:3-7"]) or [f"+{one}" for one in near(word, known)]
    return LoomUsageError(
        f"--ctx has no word '{word}'", cause=_known(), fixes=[f"--ctx {one}" for one in meant]
    )


def _known() -> str:
    return f"it knows {', '.join(WORDS)}; several with commas"
