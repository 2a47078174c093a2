"""`%loom artifacts`: what a run made, listed, and written to a file."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from loom_nb.errors import LoomUsageError
from loom_nb.notebook import cell as cells
from loom_nb.notebook.card import Card, Table

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench
    from loom_nb.runtime.artifacts import Artifact, Artifacts

FORCE = "--overwrite"
_SAVE = "%loom artifacts save NAME PATH"


def artifacts(bench: "Workbench", words: list[str]) -> Card:
    """The artifacts of a run; with `save NAME PATH [RUN]` one of them as a file.

    Raises:
        LoomUsageError: there is no such run or artifact, or a file would be overwritten.
        StoreError: its content is damaged or gone.
    """
    if words[:1] == ["save"]:
        return _save(bench, words[1:])
    if len(words) > 1:
        raise LoomUsageError(
            f"%loom artifacts takes a run, or save, not {' '.join(words)!r}",
            fixes=["%loom artifacts r1", _SAVE],
        )
    run, kept = _of(bench, words[0] if words else "")
    if not kept:
        return Card(
            f"{run} made no artifacts" if run else "nothing has run yet",
            steps=(("artifact(name, value)", "in a function of yours keeps a value with the run"),),
        )
    columns = ("name", "version", "kind", "media type", "size", "what it is")
    rows = tuple(map(_row, kept))
    table = Table("in the order in which they were made", columns, rows, numbers=frozenset({4}))
    name = kept[-1].name
    return Card(
        f"artifacts of {run}",
        tables=(table,),
        steps=(
            (f"%loom artifacts save {shlex.quote(name)} PATH", "writes one to a file or into a folder"),
            (f"result.artifacts[{name!r}]", "has it as a value: .table, .text, .image, .save(path)"),
        ),
    )


def _row(one: "Artifact") -> tuple[str, ...]:
    version = f"{one.version:,}" if one.version > 1 else ""
    return (one.name, version, one.kind, one.media_type, _size(one.size), one.summary)


def _save(bench: "Workbench", words: list[str]) -> Card:
    given = [word for word in words if word != FORCE]
    if len(given) not in (2, 3):
        raise LoomUsageError(
            "%loom artifacts save takes a name and a path", fixes=[_SAVE, "%loom artifacts lists the names"]
        )
    name, path, *run = given
    _, kept = _of(bench, run[0] if run else "", name)
    if name not in kept.names:
        near = cells.near(name, kept.names)
        raise LoomUsageError(
            f"there is no artifact {name!r}",
            cause=f"kept: {', '.join(kept.names) or 'none'}",
            fixes=[f"%loom artifacts save {shlex.quote(one)} {shlex.quote(path)}" for one in near]
            or ["%loom artifacts"],
        )
    one = kept[name]
    target = Path(path).expanduser()
    if target.is_dir():
        target /= one.file_name
    if target.exists() and FORCE not in words:
        again = f"%loom artifacts save {shlex.quote(name)} {shlex.quote(path)} {FORCE}"
        raise LoomUsageError(
            f"{target} exists already, and nothing was written", fixes=[again, "another path"]
        )
    try:
        written = one.save(target)
    except OSError as error:
        raise LoomUsageError(
            f"{target} cannot be written", cause=error.strerror or str(error), fixes=["another path"]
        ) from error
    return Card(f"{name} is written to {written}", (("size", _size(written.stat().st_size)),))


def _of(bench: "Workbench", run: str, name: str = "") -> "tuple[str, Artifacts]":
    """A run and what it made. Where none is named: the last one of this notebook that made any."""
    from loom_nb.runtime.artifact_files import files_beside
    from loom_nb.runtime.artifacts import Artifacts, artifacts_of

    if not run:
        made = [result for result in reversed(bench.results) if result.artifacts]
        best = [result for result in made if name in result.artifacts.names] or made or bench.results[-1:]
        return (best[0].id, best[0].artifacts) if best else ("", Artifacts())
    mine = next((one for one in reversed(bench.results) if one.id == run), None)
    if mine is not None:
        return run, mine.artifacts
    row = bench.find_run(run, "%loom artifacts {}")
    return row.run, artifacts_of(bench.entries_of(row), files=files_beside(bench.store))


def _size(size: int) -> str:
    from loom_nb.runtime.artifacts import size_in_words

    return size_in_words(size)
