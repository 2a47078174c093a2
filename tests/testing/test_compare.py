"""Comparing a notebook with itself: real notebooks in real kernels."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest

from loom_nb.testing import Difference, compare_notebook

Cells = Sequence[tuple[str, Sequence[str]]]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a notebook of (code, outputs) pairs; kernels start with a profile of their own."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def make(*cells: Any, name: str = "book.ipynb") -> Path:
        written = [nbformat.v4.new_markdown_cell("# A book")]
        for source, *rest in cells:
            outputs, tags = [*rest, [], []][:2]
            cell = nbformat.v4.new_code_cell(source, outputs=list(outputs))
            cell.metadata["tags"] = list(tags)
            written.append(cell)
        node = nbformat.v4.new_notebook(cells=written)
        node.metadata["kernelspec"] = {"name": "python3", "display_name": "Python", "language": "python"}
        nbformat.write(node, tmp_path / name)
        return tmp_path / name

    return make


def printed(text: str, name: str = "stdout") -> Any:
    return nbformat.v4.new_output("stream", name=name, text=text)


def result(text: str, **data: str) -> Any:
    return nbformat.v4.new_output("execute_result", {"text/plain": text, **data}, execution_count=7)


def shown(data: dict[str, str]) -> Any:
    return nbformat.v4.new_output("display_data", data)


def raised(name: str, value: str) -> Any:
    return nbformat.v4.new_output("error", ename=name, evalue=value, traceback=["saved elsewhere"])


LIVE = (
    "from IPython.display import HTML, display\n"
    "live = display(HTML('<b>begun</b>'), display_id=True)\n"
    "live.update(HTML('<b>ended</b>'))"
)
ENDED = {"text/plain": "<IPython.core.display.HTML object>", "text/html": "<b>ended</b>"}


def test_a_notebook_that_does_what_it_shows_has_no_differences_and_stays_as_it_is(write: Any):
    path = write(
        ("1 + 1", [result("2")]),
        ("for n in range(3):\n    print(n, flush=True)", [printed("0\n"), printed("1\n2\n")]),
        ("import sys\n_ = sys.stderr.write('careful')", [printed("careful", "stderr")]),
        (LIVE, [shown(ENDED)]),
        ("1 / 0", [raised("ZeroDivisionError", "division by zero")], ["raises-exception"]),
        ("import random\nrandom.random()", [result("0.5")], ["nbval-ignore-output"]),
        ("raise SystemError('not run')", [printed("kept as it is")], ["nbval-skip"]),
        ("x = 2",),
        ("x", [result("2")]),
    )
    before = path.read_bytes()

    assert compare_notebook(path) == []
    assert path.read_bytes() == before


def test_every_kind_of_difference_is_found_and_named(write: Any):
    path = write(
        ("'new'", [result("'old'")]),
        ("print('new')", [printed("old\n")]),
        (LIVE, [shown({**ENDED, "text/html": "<b>begun</b>"})]),
        ("None", [result("gone")]),
        ("'more'",),
        ("raise KeyError('new')", [raised("KeyError", "'old'")], ["raises-exception"]),
        ("0", [raised("KeyError", "'old'")], ["nbval-raises-exception"]),
        ("'same'", [result("'same'")]),
    )

    found = compare_notebook(path, check=False)

    assert [(one.cell, one.what, one.saved, one.fresh) for one in found] == [
        (2, "display 1 text/plain", "'old'", "'new'"),
        (3, "stdout", "old\n", "new\n"),
        (4, "display 1 text/html", "<b>begun</b>", "<b>ended</b>"),
        (5, "display 1 text/plain", "gone", ""),
        (6, "display 1 text/plain", "", "'more'"),
        (7, "error", "KeyError: 'old'", "KeyError: 'new'"),
        (8, "error", "KeyError: 'old'", ""),
        (8, "display 1 text/plain", "", "0"),
    ]


def test_a_difference_is_raised_with_the_lines_that_changed(write: Any):
    path = write(("print('one\\ntwo\\nthree')", [printed("one\n2\nthree\n")]))

    with pytest.raises(AssertionError) as caught:
        compare_notebook(path)

    told = str(caught.value)
    assert told.startswith("book.ipynb is not what was saved:\ncell 2 (print('one\\ntwo\\nthree')): stdout\n")
    assert "    -2\n    +two\n" in told


def test_an_error_that_nobody_expected_ends_the_comparison_and_is_told(write: Any):
    path = write(("'new'", [result("'old'")]), ("1 / 0", [printed("fine")]), ("'never'", [result("'other'")]))

    found = compare_notebook(path, check=False)

    assert [(one.cell, one.what, one.fresh) for one in found] == [
        (2, "display 1 text/plain", "'new'"),
        (3, "raised", "ZeroDivisionError: division by zero"),
    ]


def test_a_cell_that_takes_too_long_is_told(write: Any):
    path = write(("import time\ntime.sleep(600)",))

    (found,) = compare_notebook(path, timeout=3, check=False)

    assert (found.cell, found.what, found.fresh) == (2, "raised", "it did not end within 3 s")


def test_a_kernel_that_dies_is_told(write: Any):
    path = write(("1", [result("1")]), ("import os\nos._exit(1)",), ("1", [result("1")]))

    (found,) = compare_notebook(path, check=False)

    assert (found.cell, found.what, found.fresh) == (3, "raised", "the kernel died")


def test_it_runs_beside_its_files_or_where_it_is_told_with_the_variables_it_is_given(
    write: Any, tmp_path: Path
):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    code = "import os, pathlib\nprint(pathlib.Path().resolve().name, os.environ.get('MY_NAME'))"

    assert compare_notebook(write((code, [printed(f"{tmp_path.name} None\n")]))) == []
    path = write((code, [printed("elsewhere anna\n")]))
    assert compare_notebook(path, folder=folder, environment={"MY_NAME": "anna"}) == []


def test_what_may_differ_can_be_taken_out_of_both_sides(write: Any):
    path = write(("object()", [result("<object at 0x7f00>")]))

    assert compare_notebook(path, check=False)
    assert compare_notebook(path, sanitize=lambda text: text.partition(" at 0x")[0]) == []


async def test_it_works_inside_a_running_loop(write: Any):
    assert compare_notebook(write(("1", [result("1")]))) == []


def test_a_difference_of_many_lines_is_told_in_short():
    told = str(Difference(3, "x", "stdout", "\n".join("abc" * 20), "\n".join("xyz" * 40)))

    assert "more lines" in told
    assert len(told.splitlines()) < 40


def test_importing_the_doubles_loads_no_jupyter():
    code = "import sys, loom_nb.testing; print([n for n in ('nbformat', 'nbclient', 'IPython') if n in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[]"
