"""Notebooks executed without a person: the same outputs each time, byte for byte."""

import asyncio
import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from loom_nb.testing.kernels import kernel_sockets
from tests.notebook.kernels import specs

CELLS = (
    "%load_ext loom_nb",
    "import pandas as pd\ndf = pd.DataFrame({'city': ['Oslo', 'Lima'], 'visits': [12, 30]})",
    "%%loom\nwhat data do I have here?",
    "from loom_nb import tool\n@tool(read_only=True)\ndef double(x: int) -> int:\n    'Double a number.'\n    print('called')\n    return 2 * x",
    "%%loom -t double -o answer\nplease double 21",
    "answer",
    "%%loom\nhow many rows has {df}?",
    "print(_.output)",
)


def notebook(cells):
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    for number, cell in enumerate(node.cells):
        cell.id = f"cell-{number}"
    node.metadata.kernelspec = {"name": "tried", "display_name": "tried", "language": "python"}
    return node


def environment(home):
    keyless = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return keyless | {"LOOM_NB_HOME": str(home)}


@contextmanager
def client(node, home):
    home.mkdir()
    with kernel_sockets() as sockets:
        manager = AsyncKernelManager(kernel_name="tried", kernel_spec_manager=specs(home), **sockets)
        yield NotebookClient(node, km=manager, timeout=60, resources={"metadata": {"path": str(home)}})


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The same notebook, executed by two kernels that know nothing of each other."""

    async def execute():
        node, home = notebook(CELLS), tmp_path_factory.mktemp("run") / "home"
        with client(node, home) as one:
            await one.async_execute(env=environment(home), cleanup_kc=True)
        return node

    async def both():
        return await asyncio.gather(execute(), execute())

    return asyncio.run(both())


def outputs(node):
    return json.dumps([cell.outputs for cell in node.cells], sort_keys=True)


def test_two_executions_give_the_same_bytes(two):
    first, second = two
    assert outputs(first) == outputs(second)
    assert "0x" not in outputs(first)


def test_a_loom_cell_leaves_one_display_and_no_widget(two):
    node = two[0]
    nbformat.validate(node)
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


async def test_a_failed_run_stops_the_notebook(tmp_path):
    cells = ("%load_ext loom_nb", "%%loom -m anthropic:claude-sonnet-4-5\nhello", "1 + 1")
    home = tmp_path / "home"
    with pytest.raises(CellExecutionError, match="LoomKeyError"), client(notebook(cells), home) as one:
        await one.async_execute(env=environment(home), cleanup_kc=True)


async def test_cells_executed_one_by_one_with_parameters_put_in_are_complete_at_every_save(tmp_path):
    """As papermill does it."""
    node, saved = (
        notebook(("%load_ext loom_nb", "x = 1", "%%loom -o answer\nwhat is {x} + 2?", "answer.status")),
        [],
    )
    node.cells.insert(
        2, nbformat.v4.new_code_cell("# Parameters\nx = 40", metadata={"tags": ["injected-parameters"]})
    )
    home = tmp_path / "home"
    with client(node, home) as one:
        async with one.async_setup_kernel(env=environment(home), cleanup_kc=True):
            for index, cell in enumerate(node.cells):
                await one.async_execute_cell(cell, index)
                saved.append(nbformat.reads(nbformat.writes(node), as_version=4))
    assert [len(cell.outputs) for cell in saved[3].cells] == [1, 0, 0, 1, 0]
    (output,) = saved[3].cells[3].outputs
    assert "42" in output.data["text/plain"]
    assert saved[-1].cells[4].outputs[0].data["text/plain"] == "'completed'"


@pytest.mark.slow
def test_nbconvert_executes_and_shows_an_answer_once(tmp_path):
    nbformat.write(notebook(CELLS[:3]), tmp_path / "tried.ipynb")
    specs(tmp_path)
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "html", "--execute", "tried.ipynb"]
    paths = {"JUPYTER_PATH": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path) | paths, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "tried.html").read_text()
    assert len(re.findall(r"<summary[^>]*>(?:(?!</summary>).)*list_variables", page, re.DOTALL)) == 1
    assert page.count("You have ") == 1
    assert "widget-view" not in page
    assert "interrupt the kernel to stop" not in page
