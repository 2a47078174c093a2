"""Notebooks executed without a person: the same outputs each time, byte for byte."""

import json
import os

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.notebook.kernels import specs

CELLS = (
    "%load_ext loom_nb",
    "import pandas as pd\ndf = pd.DataFrame({'city': ['Oslo', 'Lima'], 'visits': [12, 30]})",
    "%%loom\nwhat data do I have here?",
    "def double(x: int) -> int:\n    'Double a number.'\n    print('called')\n    return 2 * x",
    "%%loom -t double -o answer\nplease double 21",
    "answer",
    "%%loom\nhow many rows has {df}?",
    "print(_.output)",
)


@pytest.fixture
def execute(tmp_path, monkeypatch):
    def run(cells, name):
        home = tmp_path / name
        home.mkdir()
        monkeypatch.setenv("LOOM_NB_HOME", str(home))
        for key in [key for key in os.environ if key.endswith("_API_KEY")]:
            monkeypatch.delenv(key)
        node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        for number, cell in enumerate(node.cells):
            cell.id = f"cell-{number}"
        node.metadata.kernelspec = {"name": "python3", "display_name": "Python", "language": "python"}
        manager = AsyncKernelManager(kernel_name="tried", kernel_spec_manager=specs(home))
        resources = {"metadata": {"path": str(home)}}
        NotebookClient(node, km=manager, timeout=60, resources=resources).execute(cleanup_kc=True)
        nbformat.validate(node)
        return node

    return run


def outputs(node):
    return json.dumps([cell.outputs for cell in node.cells], sort_keys=True)


def test_two_executions_give_the_same_bytes(execute):
    first, second = execute(CELLS, "one"), execute(CELLS, "two")
    assert outputs(first) == outputs(second)
    assert "0x" not in outputs(first)


def test_a_loom_cell_leaves_one_display_and_no_widget(execute):
    node = execute(CELLS[:3], "one")
    (output,) = node.cells[2].outputs
    assert output.output_type == "display_data"
    assert "list_variables" in output.data["text/plain"]
    assert set(output.data) >= {
        "text/plain",
        "text/html",
        "text/markdown",
        "application/vnd.loom.run.v1+json",
    }
    assert "widgets" not in node.metadata
    assert output.metadata["loom"]["run"] == "r1"


def test_a_failed_run_stops_the_notebook(execute):
    with pytest.raises(CellExecutionError, match="LoomKeyError"):
        execute(("%load_ext loom_nb", "%%loom -m anthropic:claude-sonnet-4-5\nhello", "1 + 1"), "one")
