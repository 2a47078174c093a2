"""Plays notebooks from a fresh start and saves what they show: `python -m tests.save_notebooks [PATH …]`.

For after a change of words or pictures, or of what is sent: a recording that a lesson plays is made anew
first, with a script in the vendor's place. Read the difference before you commit it. A notebook that fails,
or asks for what nobody answers, stays as it was.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat

from tests.played import play
from tests.recorded import record, recording_of

ROOT = Path(__file__).parents[1]


def save(path: Path) -> list[str]:
    """Play one and save it; the problems, where it is left alone."""
    notebook = nbformat.read(path, as_version=4)
    if recording_of(path) is not None:
        with tempfile.TemporaryDirectory() as home:
            problems = record(path, notebook, path.parent, _environment(home))
        if problems:
            return problems
    with tempfile.TemporaryDirectory() as home:
        show = play(notebook, path.parent, _environment(home), name=path.name)
        if show.problems:
            return show.problems
        for number, cell in enumerate((one for one in show.notebook.cells if one.cell_type == "code"), 1):
            cell.execution_count = number
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = number
        text = nbformat.writes(show.notebook).replace(home, "~/.local/share/loom_nb")
    path.write_text(text + "\n", encoding="utf-8")
    return []


def _environment(home: str) -> dict[str, str]:
    """No key, no settings of whoever runs this, a home of its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.endswith("_API_KEY") and not name.startswith("LOOM_NB_")
    }
    return {**kept, "LOOM_NB_HOME": home, "IPYTHONDIR": f"{home}/ipython"}


def main() -> int:
    """1 where one of them could not be saved."""
    named = [Path(one).resolve() for one in sys.argv[1:]]
    failed = 0
    for path in named or sorted([*ROOT.glob("tutorial/*.ipynb"), *ROOT.glob("notebooks/*.ipynb")]):
        problems = save(path)
        failed += bool(problems)
        print(path.name, *(problems or ["saved"]), sep="\n  ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
