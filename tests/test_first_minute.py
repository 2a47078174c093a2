"""The first sixty seconds of a newcomer, headless: no key, no network, the same outputs each time."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

OFFLINE = Path(__file__).parent / "offline"
CELLS = (
    "%load_ext loom_nb",
    "import pandas as pd\ndf = pd.DataFrame({'city': ['Bern', 'Basel', 'Brig'], 'people': [134, None, 13]})",
    "%%loom\nwhat data do I have here?",
    "print(_.status, '|', _.output.splitlines()[0])",
    "%%loom -o run\nwhich columns of {df} have missing values?",
    "print(run.output)",
    "%%loom\nwhat is the capital of France?",
    "_.table if '|' in _.output else 'no table'",
    "%loom context",
)


def execute(path: Path, home: Path) -> list[list[dict]]:
    """The outputs of each cell, as a fresh kernel without a network gives them."""
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell, id=f"c{n}") for n, cell in enumerate(CELLS)]
    )
    nbformat.write(nb, path)
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    environment = {
        **kept, "PYTHONPATH": str(OFFLINE), "LOOM_NB_HOME": str(home), "IPYTHONDIR": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
    }  # fmt: skip
    subprocess.run(
        [sys.executable, "-c", "from nbclient.cli import main; main()", "--inplace", "--startup_timeout=200", str(path)],
        env=environment, capture_output=True, text=True, check=True, timeout=280,
    )  # fmt: skip
    cells = nbformat.read(path, 4).cells
    return [[dict(output) for output in cell.outputs] for cell in cells]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("minute")
    return [execute(folder / f"{n}.ipynb", folder) for n in range(2)]


def plain(outputs: list[dict]) -> str:
    return "".join(o["text"] if "text" in o else o["data"]["text/plain"] for o in outputs)


def test_loading_shows_a_card_and_says_nothing_on_stderr(runs):
    card = plain(runs[0][0])
    assert "offline (demo, free)" in card
    assert "%%loom" in card
    assert [o["output_type"] for o in runs[0][0]] == ["display_data"]


def test_the_first_question_is_answered_by_looking_at_the_variables(runs):
    answer = plain(runs[0][2])
    assert "DEMO" in answer
    assert "✓ list_variables" in answer
    assert "3×2" in answer
    assert "$0" in answer


def test_the_answer_is_a_value(runs):
    assert plain(runs[0][3]).startswith("completed | DEMO")
    assert "`people` (1)" in plain(runs[0][5])


def test_the_demo_does_not_pretend_to_know_the_world(runs):
    answer = plain(runs[0][6])
    assert "Paris" not in answer
    assert "%loom model" in " ".join(answer.split())


def test_the_context_says_what_the_next_request_is_made_of(runs):
    ledger = plain(runs[0][8])
    for kind in ("system", "tools", "history"):
        assert re.search(rf"^  \S {kind} +[\d,]+ tok +\d+ %$", ledger, re.MULTILINE), kind
    assert re.search(r"^  m\S+ +data +\d+  notebook:df +sent ", ledger, re.MULTILINE)
    assert "0 messages hidden, 0 pinned" in ledger
    assert {"text/plain", "text/html"} <= set(runs[0][8][0]["data"])


def test_restart_and_run_all_gives_the_same_outputs(runs):
    first, second = runs
    assert first[1:] == second[1:]
