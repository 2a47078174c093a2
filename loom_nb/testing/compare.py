"""Runs a notebook again and tells where its outputs differ from the saved ones.

::

    def test_the_tutorial_is_what_it_says():
        compare_notebook("tutorial/01_first.ipynb")

What a display update changes afterwards counts as it stands at the end, as a reader sees it: tools
that compare messages as they come see the first state of a live output only.
"""

import difflib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loom_nb.testing.kernels import kernel_sockets

IGNORE = frozenset({"nbval-ignore-output"})
"""Tags of cells that are run and whose outputs may be any."""
RAISES = frozenset({"raises-exception", "nbval-raises-exception"})
"""Tags of cells that are expected to raise; what they raise is compared like any output."""
SKIP = frozenset({"nbval-skip", "skip-execution"})
"""Tags of cells that are not run."""
COMPARED = ("text/plain", "text/html")
"""The forms of a display that are compared, where either side has them."""
_MAX_DIFF_LINES = 30


@dataclass(frozen=True, slots=True)
class Difference:
    """One output that is not what was saved."""

    cell: int
    """Counted from 1 over all cells, also those of text."""
    source: str
    """The code of the cell."""
    what: str
    """Which output: "stdout", "display 1 text/html", "error", …"""
    saved: str
    """Empty where nothing was saved."""
    fresh: str
    """Empty where there is nothing any more."""

    def __str__(self) -> str:
        first = self.source.strip().partition("\n")[0]
        lines = list(
            difflib.unified_diff(
                self.saved.splitlines(), self.fresh.splitlines(), "saved", "fresh", lineterm="", n=2
            )
        )
        more = len(lines) - _MAX_DIFF_LINES
        told = lines[:_MAX_DIFF_LINES] + ([f"… {more} more lines"] if more > 0 else [])
        return "\n".join([f"cell {self.cell} ({first[:60]}): {self.what}", *(f"    {line}" for line in told)])


def compare_notebook(
    path: str | Path,
    *,
    timeout: float = 120.0,
    kernel: str = "",
    folder: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    sanitize: Callable[[str], str] | None = None,
    check: bool = True,
) -> list[Difference]:
    """Run a notebook in a fresh kernel and compare its outputs with the saved ones. The file stays as it is.

    Compared are what was printed, displays and results by their text/plain and text/html, and what
    expected errors say; not their tracebacks, images, or the numbers of the cells. Tags on cells are
    honoured: ``nbval-ignore-output``, ``raises-exception``, ``nbval-skip``.

    Args:
        path: the notebook.
        timeout: seconds that a single cell may take.
        kernel: the name of the kernel; by default the one that the notebook names.
        folder: where it runs; by default its own folder.
        environment: variables for the kernel, beside those of this process.
        sanitize: applied to both sides of every text before they are compared.
        check: raise where anything differs. Else the differences are only given.

    Returns:
        The differences in the order of the cells; the last one is that of the cell that broke off the run.

    Raises:
        AssertionError: something differs, or a cell raised that was not expected to; says what and where.
    """
    import nbformat

    path = Path(path)
    saved: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no types here
    fresh, failed, why = _execute(saved, timeout, kernel, Path(folder or path.parent), environment)
    found: list[Difference] = []
    for number, (before, after) in enumerate(zip(saved.cells, fresh.cells, strict=True), 1):
        if before.cell_type != "code" or _tags(before) & SKIP:
            continue
        if failed == number:
            found.append(Difference(number, before.source, "raised", "", why))
            break
        if not _tags(before) & IGNORE:
            found += _compare(number, before, after, sanitize or str)
    if check and found:
        raise AssertionError(f"{path.name} is not what was saved:\n" + "\n".join(map(str, found)))
    return found


def _execute(
    saved: Any, timeout: float, kernel: str, folder: Path, environment: Mapping[str, str] | None
) -> tuple[Any, int, str]:
    """The notebook with fresh outputs; the number of the cell that broke it off, or 0, and how it did."""
    import copy

    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    fresh = copy.deepcopy(saved)
    for cell in fresh.cells:
        tags = _tags(cell)
        if cell.cell_type == "code" and not tags & SKIP:
            cell.outputs = []
        # the words of the client that runs it
        ours = [
            name for name, known in (("skip-execution", SKIP), ("raises-exception", RAISES)) if tags & known
        ]
        if ours:
            cell.metadata["tags"] = [*tags, *ours]
    begun = [0]

    def note(cell: Any, cell_index: int) -> None:
        begun[0] = cell_index + 1

    name = kernel or saved.metadata.get("kernelspec", {}).get("name", "python3")
    resources = {"metadata": {"path": str(folder)}}
    try:
        with kernel_sockets() as sockets:
            manager = AsyncKernelManager(kernel_name=name, **sockets)
            client = NotebookClient(
                fresh, km=manager, timeout=timeout, resources=resources, on_cell_start=note
            )
            client.execute(env={**os.environ, **(environment or {})}, cleanup_kc=True)
    except CellExecutionError as error:
        return fresh, begun[0], f"{error.ename}: {error.evalue}"
    except CellTimeoutError:
        return fresh, begun[0], f"it did not end within {timeout:g} s"
    except DeadKernelError:
        return fresh, begun[0], "the kernel died"
    return fresh, 0, ""


def _tags(cell: Any) -> frozenset[str]:
    return frozenset(cell.metadata.get("tags", ()))


def _compare(number: int, before: Any, after: Any, sanitize: Callable[[str], str]) -> Iterator[Difference]:
    saved, fresh = (_texts(cell.outputs) for cell in (before, after))
    for what in [*saved, *(what for what in fresh if what not in saved)]:
        was, now = sanitize(saved.get(what, "")), sanitize(fresh.get(what, ""))
        if was != now or (what in saved) != (what in fresh):
            yield Difference(number, before.source, what, was, now)


def _texts(outputs: Sequence[Any]) -> dict[str, str]:
    """What is compared of a cell's outputs, each text by its name, in the order of a reader."""
    texts: dict[str, str] = {}
    shown = 0
    for output in outputs:
        match output.output_type:
            case "stream":  # in whatever pieces it came
                texts[output.name] = texts.get(output.name, "") + output.text
            case "error":
                texts["error"] = _error(output)
            case _:
                shown += 1
                told = [form for form in COMPARED if form in output.data]
                for form in told:
                    texts[f"display {shown} {form}"] = _joined(output.data[form])
                if not told:
                    texts[f"display {shown}"] = ", ".join(sorted(output.data))
    return texts


def _joined(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _error(output: Any) -> str:
    return f"{output.ename}: {output.evalue}"
