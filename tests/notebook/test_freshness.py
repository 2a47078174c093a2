"""The notebook as context in real kernels: `--ctx`, tags, what is stale and why; and without a person."""

import json
import re

import pytest

from tests.notebook.kernels import kernel
from tests.notebook.test_nbclient import client, environment, notebook, outputs

LOAD = "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2]})"
DOUBLE = "df2 = df * 2\nprint('made')"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def kept(home):
    with kernel(home, LOOM_NB_RENDER="static") as one:
        yield one


@pytest.fixture
def live(kept):
    """Cells as JupyterLab sends them, with id and tags."""
    kept.restart()

    def run(cell, code, *tags):
        content = {
            "code": code, "silent": False, "store_history": True, "user_expressions": {},
            "allow_stdin": False, "stop_on_error": True,
        }  # fmt: skip
        metadata = {"cellId": cell, "tags": list(tags), "trusted": True}
        message = kept.client.session.msg("execute_request", content, metadata=metadata)
        kept.client.shell_channel.send(message)
        return kept.collect(message["header"]["msg_id"])

    assert run("c0", "%load_ext loom_nb").status == "ok"
    return run


def sent(cell):
    """The request of a dry run."""
    return cell.saved[-1]["data"]["text/html"] + cell.text


def test_the_code_of_the_cells_above_travels_as_data_and_a_tagged_cell_does_not(live):
    live("c1", LOAD)
    live("c2", "plan = 'a hush plan'", "loom:hide")
    live("c3", DOUBLE)
    live("c4", "%%loom\nwhat is in {df2}?")
    told = live("c5", "%%loom --ctx above,outputs\nwhat is in {df2}?").text
    assert re.search(r"used: In\[2\] \(code, 2 lines, ~\d+ tok\) · In\[4\] .* output of In\[4\]", told)
    body = sent(live("c6", "%%loom -n --ctx all,outputs\nand now?"))
    assert "df2 = df * 2" in body
    assert "hush" not in told + body
    assert "there is no cell 3" in live("c7", "%%loom --ctx cells:3\nx").error
    read = live(
        "c8",
        "from loom_nb.capabilities.cells import CellsCapability\n"
        "cells = CellsCapability(get_ipython().loom_workbench.equipment.cells)\n"
        "print('\\n'.join(part.text for part in cells.read()))",
    )
    assert "df2 = df * 2" in read.text
    assert "hush" not in read.text


def test_none_gives_not_even_what_the_prompt_names_and_a_plus_gives_what_it_does_not(live):
    live("c1", LOAD)
    none = live("c2", "%%loom -n --ctx none\nwhat is {df}?")
    assert "what is df?" in none.text
    assert "first 2 rows" not in none.text
    plus = live("c3", "%%loom -n --ctx +df\nwhat is there?")
    assert re.search(r"m1\.2 +data .* df: DataFrame", plus.text)
    assert "did you mean df?" in live("c4", "%%loom --ctx +dff\nx").error
    assert "--ctx above" in live("c5", "%%loom --ctx abov\nx").error


def test_the_default_of_a_notebook_is_set_and_shown_with_where_it_came_from(live):
    live("c1", LOAD)
    assert re.search(r"context\s+mentioned\s+default", live("c2", "%loom config").text)
    assert (
        "cells without --ctx: --ctx above from the next cell on"
        in live("c3", "%loom context default above").text
    )
    assert re.search(r"context\s+above\s+%loom context default", live("c4", "%loom config").text)
    assert "import pandas" in live("c5", "%%loom -n\nx").text
    assert "import pandas" not in live("c6", "%%loom -n --ctx mentioned\nx").text
    assert "--ctx above" in live("c7", "%loom context default abov").error


def test_the_turn_of_a_cell_with_the_tag_is_pinned(live):
    told = live("c1", "%%loom\nremember this", "loom-pin").text
    assert "pinned by the tag of its cell" in told
    live("c2", "%%loom\nand this")
    states = [line.split() for line in live("c3", "%loom context").text.splitlines()]
    rows = {line[0]: line for line in states if line and re.fullmatch(r"m\d+(\.\d)?", line[0])}
    assert all("pinned" in rows[name] for name in rows if name.startswith(("m1", "m2")))
    assert not any("pinned" in rows[name] for name in rows if name.startswith(("m3", "m4")))


def test_an_edit_makes_what_was_given_stale_and_says_why_and_running_on_makes_it_fresh(live):
    live("c1", LOAD)
    live("c2", DOUBLE)
    ask = "%%loom --ctx above\nhow many rows has {df2}?"
    first = live("c3", ask).text
    assert "stale" not in first
    assert "stale" not in live("c4", "%loom context").text
    live("c1", LOAD.replace("2]", "2, 3]"))
    card = live("c4", "%loom context").text
    assert re.search(r"m1\.2 .* sent, stale", card)
    assert "cell [2] was edited since and run again, as [6]" in card
    assert "df2 comes from cell [3], and cell [6] has changed df since" in re.sub(r"\s+", " ", card)
    shown = live("c5", "%loom context show m1.4").text
    assert re.search(r"why\s+you named it in the prompt", shown)
    assert re.search(r"source\s+df2, made by cell \[3\]", shown)
    assert "stale" in shown
    again = re.sub(r"\s+", " ", live("c6", "%%loom --new\nhow many rows has {df2}?").text)
    assert "stale: comes from cell [3], and cell [6] has changed df since" in again
    live("c2", DOUBLE)
    assert "stale" not in live("c7", "%%loom --new\nhow many rows has {df2}?").text
    assert "stale" not in live("c4", "%loom context").text


def test_running_all_cells_again_in_order_raises_no_alarm(live):
    book = {
        "c1": LOAD,
        "c2": "import threading\nlock = threading.Lock()\nfrom loom_nb import tool\n"
        "@tool(read_only=True)\ndef double(x: int) -> int:\n    'Double.'\n    return 2 * x",
        "c3": "for n in range(2):\n    total = n if n == 0 else total + n\ntry:\n    seen\nexcept NameError:\n    seen = []",
        "c4": "df['b'] = df.a * 2\nseen = [lock, df]",
        "c5": "%%loom -t double --ctx above,outputs,+seen\nwhat is in {df}, {total} and {lock}? please double 21",
        "c6": "df = df.dropna()\nrows = [df]\nrows[0].loc[0, 'a'] = 7",
        "c7": "%%loom --ctx all\nwhat is in {df} and {rows}?",
        "c8": "%loom context",
    }
    for _ in range(3):
        texts = {cell: live(cell, code) for cell, code in book.items()}
        assert {cell: one.status for cell, one in texts.items()} == dict.fromkeys(book, "ok")
        assert not [cell for cell, one in texts.items() if "stale" in one.text]


def test_a_change_through_another_name_blames_no_innocent_cell(live):
    book = {
        "c1": "l = []\nm = l\nd = {'l': l}",
        "c2": "m.append(1)",
        "c3": "print('innocent')",
        "c4": "print(len(l), d)",
        "c5": "n = [len(d['l'])]",
    }
    for _ in range(2):
        for cell, code in book.items():
            assert live(cell, code).status == "ok"
    for cell in ("c1", "c2"):
        live(cell, book[cell])
    assert "stale" not in live("c6", "%%loom\nsee {l}, {m}, {d} and {n}").text
    assert "stale" not in live("c7", "%loom context").text
    live("c2", "m.append(2)")
    assert "stale" in live("c6", "%%loom\nsee {l} and {m}").text


def test_a_hidden_cell_is_not_given_through_a_variable_that_holds_all_cells(live):
    live("c1", "plan = 1\n'HUSH ' + 'OUT'", "loom-exclude")
    live("c2", "import sys\nspace = globals()\nmain = sys.modules['__main__']\nmine = {'In': 3, '_i1': 4}")
    live("c3", "copied = {k: v for k, v in space.items() if k[0] != '_'}; held = [space]")
    for path in ("space", "copied", "held", "main", "space['In']", "space['_oh']", "main._ih", "main.Out"):
        body = sent(live("c4", "%%loom -n\nwhat is in {" + path + "}?"))
        assert "HUSH" not in body, path
    look = (
        "from loom_nb.capabilities.describe import describe\nprint(describe(mine).text, describe(space).size)"
    )
    assert "'_i1': 4" in live("c5", look).text


def test_a_file_that_was_written_to_since_it_was_read_is_told(live, home):
    (home / "notes.txt").write_text("first", encoding="utf-8")
    live("c1", "%%loom -t files\nread the file notes.txt")
    before = live("c2", "%loom context").text
    assert "file:notes.txt" in before
    assert "stale" not in before
    live("c3", "import os\nopen('notes.txt', 'w').write('second')\nos.utime('notes.txt', (4e9, 4e9))")
    assert "notes.txt was written to since it was read" in live("c2", "%loom context").text


def test_a_variable_or_cell_that_is_not_there_cannot_be_left_out(live):
    live("c1", LOAD)
    assert "--ctx -df" in live("c2", "%%loom -n --ctx above,-dff\nwhat?").error
    assert "--ctx -cell:c1" in live("c3", "%%loom -n --ctx -cell:c11\nwhat?").error
    assert live("c4", "%%loom -n --ctx above,-df,-cell:c1\nwhat?").status == "ok"
    assert live("c5", "%loom context default above,-later").status == "ok"
    assert live("c6", "%%loom -n\nwhat?").status == "ok"


async def test_two_kernels_without_a_person_give_the_same_bytes_and_no_marks(tmp_path):
    cells = (
        "%load_ext loom_nb",
        LOAD,
        DOUBLE,
        "%%loom --ctx above,outputs\nwhat is in {df2}?",
        "df = df.dropna()",
        "df = df.dropna()",
        "%%loom --ctx +df,-cell:2,all\nand in {df2}?",
        "%loom context",
        "%loom context show m1",
    )
    made = []
    for name in ("one", "two"):
        node = notebook(cells)
        with client(node, tmp_path / name) as one:
            await one.async_execute(env=environment(tmp_path / name), cleanup_kc=True)
        made.append(node)
    assert outputs(made[0]) == outputs(made[1])
    assert "stale" not in outputs(made[0])
    assert "In[2] (code, 2 lines" in json.dumps(made[0].cells[3].outputs)
