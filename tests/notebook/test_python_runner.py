"""An agent runs code in a real kernel: stopped by ■ and by Stop, nothing of it in the reader's cell."""

import json

import pytest

from tests.notebook.kernels import kernel, stop_button, waits_for

SETUP = """
from IPython import get_ipython
from loom_nb import Model
from loom_nb.capabilities.python import PythonCapability
from loom_nb.notebook.python_runner import NotebookRunner
shell = get_ipython()
python = PythonCapability(lambda: shell.user_ns, NotebookRunner(shell), hidden=shell.user_ns_hidden)
(run_tool,) = (await python.open()).tools

async def go(code):
    from loom_nb.messages import TextPart
    for part in await run_tool.function(code):
        print(part.text if isinstance(part, TextPart) else (part.media_type, part.name, len(part.data) > 1000))
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with kernel(tmp_path_factory.mktemp("home"), LOOM_NB_RENDER="live") as one:
        assert one.run("%load_ext loom_nb").status == "ok"
        assert one.run("%matplotlib inline").status == "ok"
        cell = one.run(SETUP)
        assert cell.status == "ok", cell.error
        yield one


def test_displays_and_figures_of_the_code_are_its_result_and_not_in_the_cell(live):
    cell = live.run(
        "await go('''import matplotlib.pyplot as plt\\nfrom IPython.display import HTML\\n"
        "display(HTML(\"<b>shown</b>\"))\\nplt.plot([1, 2])\\nplt.show()\\nplt.plot([3, 4])\\nprint(5)''')"
    )

    assert cell.status == "ok"
    assert not cell.of("display_data", "clear_output")
    assert cell.text.splitlines()[0] == "5"
    assert "IPython.core.display.HTML object" in cell.text
    assert "('image/png', '', True)" in cell.text
    assert "('image/png', 'figure 1', True)" in cell.text


def test_variables_are_those_of_the_cells_and_can_be_rolled_back(live):
    live.run("rows = [1, 2]")
    cell = live.run("await go('rows.append(3); total = sum(rows); total')")

    assert "6\nVariables:\n" in cell.text and "added total: 6" in cell.text
    undone = live.run("event = python.rollback.undo(); print(rows, 'total' in globals(), event.rolled_back)")
    assert undone.text.strip() == "[1, 2] False True"


def test_nothing_is_asked_on_the_readers_keyboard(live):
    assert "EOFError: input is not possible" in live.run("await go('input()')").text


def test_displays_of_the_reader_are_as_before(live):
    cell = live.run("from IPython.display import HTML, display\ndisplay(HTML('<i>mine</i>'))\nprint('me')")

    assert cell.of("display_data")[0]["data"]["text/html"] == "<i>mine</i>"
    assert cell.text.rstrip().endswith("me")


RUNAWAYS = {
    "computes": "while True: pass",
    "sleeps": "import time\ntime.sleep(600)",
    "awaits": "import asyncio\nawait asyncio.sleep(600)",
}
ON_THE_LOOP = {
    "computes on the loop": "import asyncio\nawait asyncio.sleep(0)\nwhile True: pass",
    "sleeps on the loop": "import asyncio, time\nawait asyncio.sleep(0)\ntime.sleep(600)",
}


def script(code):
    arguments = json.dumps(json.dumps({"code": "mark = 1\n" + code}))
    return (
        "from loom_nb.models.scripted import Call\n"
        "import dataclasses\n"
        "allowed = dataclasses.replace(run_tool, name='do_python', effects=frozenset({'reads'}), assess=None)\n"
        f"model = Model.scripted([Call('do_python', {arguments}), 'the end'])"
    )


def begin(live, code, folder):
    """A cell whose agent runs this code; returns when the code runs."""
    begun = folder / "begun"
    cell = live.run(script(f"open({str(begun)!r}, 'w').close()\n{code}"))
    assert cell.status == "ok", cell.error
    request = live.submit("%%loom -m model -t allowed -o used\ngo")
    waits_for(begun.exists)
    return request


@pytest.mark.parametrize("name", [*RUNAWAYS, *ON_THE_LOOP])
def test_the_interrupt_button_ends_it_and_the_kernel_goes_on(live, name, tmp_path):
    request = begin(live, (RUNAWAYS | ON_THE_LOOP)[name], tmp_path)
    live.press()
    cell = live.collect(request)  # that it ends at all: by itself, none of these does

    assert cell.status == "error" and "RunStopped" in cell.error
    assert live.said("print(used.status, mark, python.rollback.unfinished())") == "stopped 1 False"
    live.run("python.rollback.undo()")


@pytest.mark.parametrize("name", RUNAWAYS)
def test_the_stop_button_ends_it_and_the_kernel_goes_on(live, name, tmp_path):
    request = begin(live, RUNAWAYS[name], tmp_path)

    def click(message):
        button = stop_button([message])
        if button:
            live.send_comm(button, {"type": "stop"})

    cell = live.collect(request, watch=click)

    assert cell.status == "error" and "RunStopped" in cell.error
    assert live.said("print(used.status, mark)") == "stopped 1"


def test_cells_are_read_with_their_outputs_and_the_tags_of_the_saved_notebook(live, tmp_path):
    book = {
        "cells": [
            {"cell_type": "markdown", "id": "m1", "metadata": {}, "source": ["# Title\n", "text"]},
            {"cell_type": "code", "id": "c1", "metadata": {}, "source": "40 + 2", "outputs": []},
            {"cell_type": "code", "id": "c2", "metadata": {"tags": ["loom-exclude"]}, "source": "'hush'"},
        ],
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
    }
    (tmp_path / "it.ipynb").write_text(json.dumps(book), encoding="utf-8")
    live.run("'hush'")
    live.run("40 + 2")
    cell = live.run(
        "from loom_nb.capabilities.cells import CellsCapability, CellChange\n"
        "from loom_nb.notebook.cells_of_notebook import NotebookCells\n"
        f"__vsc_ipynb_file__ = {str(tmp_path / 'it.ipynb')!r}\n"
        "cells = CellsCapability(NotebookCells(shell))\n"
        "print('\\n'.join(part.text for part in cells.read()))"
    )

    live.run("del __vsc_ipynb_file__")

    assert cell.status == "ok", cell.error
    assert "# Title\ntext" in cell.text
    assert "code id c1 ---\n40 + 2\n--- output ---\n42" in cell.text
    assert "hush" not in cell.text


def test_an_excluded_cell_stays_excluded_when_it_is_edited_and_run_but_not_saved(live, tmp_path):
    cell = {"cell_type": "code", "id": "c9", "metadata": {"tags": ["loom-exclude"]}, "source": "'old'"}
    book = {"cells": [cell], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}
    (tmp_path / "it.ipynb").write_text(json.dumps(book), encoding="utf-8")
    live.run(
        "from loom_nb.capabilities.cells import CellsCapability\n"
        "from loom_nb.notebook.cells_of_notebook import NotebookCells\n"
        f"__vsc_ipynb_file__ = {str(tmp_path / 'it.ipynb')!r}\n"
        "book = NotebookCells(shell); book.watch()"
    )
    message = live.client.session.msg(
        "execute_request",
        {"code": "'newer secret'", "silent": False, "store_history": True, "allow_stdin": False},
        metadata={"cellId": "c9"},
    )
    live.client.shell_channel.send(message)
    live.collect(message["header"]["msg_id"])
    told = live.run(
        "print(*(part.text for part in CellsCapability(book).read())); book.unwatch(); print('read')"
    )

    live.run("del __vsc_ipynb_file__")

    assert "read" in told.text and "newer secret" not in told.text


def test_where_the_file_is_not_known_it_is_said_that_tags_are_not(live):
    told = live.run(
        "from loom_nb.capabilities.cells import CellsCapability\n"
        "from loom_nb.notebook.cells_of_notebook import NotebookCells\n"
        "print(*(part.text for part in CellsCapability(NotebookCells(shell)).read()[-2:]))"
    )

    assert "loom-exclude" in told.text and "not known here" in told.text


def test_what_is_proposed_stands_below_the_cell_and_what_cannot_be_done_is_said(live):
    cell = live.run(
        "from loom_nb.capabilities.cells import CellsCapability, CellChange\n"
        "from loom_nb.notebook.cells_of_notebook import NotebookCells\n"
        "tool = (await CellsCapability(NotebookCells(shell)).open()).tools[1]\n"
        "print(await tool.function([CellChange('insert', source='a = 1'), CellChange('insert', source='b = 2'),\n"
        "    CellChange('delete', cell='In[1]')]))"
    )

    (payload,) = [one for one in cell.reply["content"]["payload"] if one["source"] == "set_next_input"]
    assert payload["text"] == "a = 1\n\n\nb = 2"
    assert "2 cells, joined into one" in cell.text
    assert "Not deleted: In[1]" in cell.text
