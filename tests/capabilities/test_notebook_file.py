"""Cells of a notebook file are edited; everything else in the file stays as it is."""

import asyncio
import json

import nbformat
import pytest

from loom_nb.capabilities.files import FilesCapability
from loom_nb.errors import ToolError


def notebook(minor=5, indent=1):
    cells = [
        {
            "cell_type": "markdown",
            "id": "intro",
            "metadata": {"tags": ["x"]},
            "source": ["# Title\n", "words"],
        },
        {
            "cell_type": "code",
            "execution_count": 3,
            "id": "load",
            "metadata": {"zeta": 1, "alpha": 2},
            "outputs": [{"name": "stdout", "output_type": "stream", "text": ["loaded ü\n"]}],
            "source": ["import csv\n", "rows = []"],
        },
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "last",
            "metadata": {},
            "outputs": [],
            "source": [],
        },
    ]
    if minor < 5:
        for cell in cells:
            del cell["id"]
    whole = {
        "cells": cells,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": minor,
    }
    return json.dumps(whole, indent=indent, ensure_ascii=False) + "\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "a.ipynb").write_text(notebook())
    return tmp_path


@pytest.fixture
def tools(root):
    toolset = asyncio.run(FilesCapability(str(root), read_only=False).open())
    yield {tool.name: tool for tool in toolset.tools}
    asyncio.run(toolset.close())


@pytest.fixture
def edit(tools):
    def call(**arguments):
        tool = tools["edit_notebook"]
        return tool.function(**tool.validate({"path": "a.ipynb", **arguments}))

    return call


def cells(root, name="a.ipynb"):
    return json.loads((root / name).read_text())["cells"]


def changed_lines(before, after):
    import difflib

    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


def test_a_replaced_cell_keeps_its_outputs_and_nothing_else_changes(edit, root):
    before = (root / "a.ipynb").read_text()

    assert (
        edit(action="replace", cell=1, source="import csv\nrows = [1]") == "done: replaces cell 1 of a.ipynb"
    )

    after = (root / "a.ipynb").read_text()
    assert changed_lines(before, after) == ['-     "rows = []"', '+     "rows = [1]"'] or changed_lines(
        before, after
    ) == [
        '-    "rows = []"',
        '+    "rows = [1]"',
    ]
    assert cells(root)[1]["outputs"] == json.loads(before)["cells"][1]["outputs"]
    nbformat.validate(json.loads(after))


@pytest.mark.parametrize("cell", [1, "1", -2, "load"])
def test_a_cell_is_named_by_number_or_id(edit, root, cell):
    edit(action="delete", cell=cell)

    assert [one["id"] for one in cells(root)] == ["intro", "last"]


@pytest.mark.parametrize(("cell", "place"), [(None, 3), (0, 0), ("load", 1), (-1, 2)])
def test_a_cell_is_inserted_before_another_or_at_the_end(edit, root, cell, place):
    edit(action="insert", cell=cell, source="x = 1\ny = 2\n", cell_type="code")

    made = cells(root)[place]
    assert made["source"] == ["x = 1\n", "y = 2\n"]
    assert (made["outputs"], made["execution_count"], made["cell_type"]) == ([], None, "code")
    assert len({one["id"] for one in cells(root)}) == 4
    nbformat.validate(json.loads((root / "a.ipynb").read_text()))


@pytest.mark.parametrize("kind", ["code", "markdown", "raw"])
@pytest.mark.parametrize("minor", [0, 2, 4, 5])
def test_older_formats_get_no_ids_and_every_kind_is_sound(edit, root, kind, minor):
    (root / "a.ipynb").write_text(notebook(minor))

    edit(action="insert", source="words", cell_type=kind)
    edit(action="replace", cell=0, source="other", cell_type=kind)

    assert all(("id" in one) is (minor >= 5) for one in cells(root))
    nbformat.validate(json.loads((root / "a.ipynb").read_text()))


def test_a_cell_that_becomes_another_kind_loses_what_that_kind_has_not(edit, root):
    edit(action="replace", cell="load", source="# words", cell_type="markdown")

    assert cells(root)[1] == {
        "cell_type": "markdown",
        "id": "load",
        "metadata": {"zeta": 1, "alpha": 2},
        "source": ["# words"],
    }


@pytest.mark.parametrize("indent", [1, 2, 4, "\t", None])
@pytest.mark.parametrize("end", ["", "\n"])
def test_the_file_keeps_its_manner(edit, root, indent, end):
    before = notebook(indent=indent).rstrip("\n") + end
    (root / "a.ipynb").write_text(before)

    edit(action="insert", cell=0, source="x")
    edit(action="delete", cell=0)

    assert (root / "a.ipynb").read_text() == before


def test_the_card_shows_the_cells_and_not_the_json(tools):
    told = tools["edit_notebook"].assess(
        path="a.ipynb", action="replace", cell=1, source="import csv\nrows = [1]"
    )

    assert told.reasons[0] == "replaces cell 1 of a.ipynb"
    assert "-rows = []\n+rows = [1]" in told.preview
    assert '"' not in told.preview
    assert told.seal


def test_an_edit_of_a_notebook_is_taken_back(edit, tools, root):
    before = (root / "a.ipynb").read_bytes()
    edit(action="delete", cell=0)
    tools["undo_change"].function()

    assert (root / "a.ipynb").read_bytes() == before


def test_the_cells_are_listed_with_what_they_gave(tools):
    (part,) = tools["read_notebook"].function(path="a.ipynb")

    assert part.origin.source == "a.ipynb"
    assert part.text.splitlines() == [
        "[0] markdown id=intro",
        "# Title",
        "words",
        "",
        "[1] code id=load",
        "import csv",
        "rows = []",
        "-> loaded ü",
        "",
        "[2] code id=last",
        "",
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"action": "replace", "cell": 7, "source": "x"}, "there is no cell 7: they are 0 to 2"),
        ({"action": "replace", "cell": "nobody", "source": "x"}, "no cell has the id 'nobody'"),
        ({"action": "replace", "source": "x"}, "which cell"),
        ({"action": "replace", "cell": 0}, "needs the source"),
        ({"action": "insert"}, "needs the source"),
        ({"action": "delete"}, "which cell"),
        ({"action": "delete", "cell": 0, "source": "x"}, "takes no source"),
        ({"action": "burn", "cell": 0}, "was not called"),
    ],
)
def test_an_edit_that_cannot_be_is_an_error_that_says_why(edit, root, arguments, why):
    before = (root / "a.ipynb").read_bytes()

    with pytest.raises(ToolError, match=why):
        edit(**arguments)

    assert (root / "a.ipynb").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "no sound notebook"),
        ("[]", "an object is expected"),
        ("{}", "no notebook of format 4"),
        ('{"cells": [], "nbformat": 3}', "no notebook of format 4"),
        ('{"cells": {}, "nbformat": 4}', "no notebook of format 4"),
        ('{"cells": [1], "nbformat": 4}', "a cell of it is no object"),
        ('{"cells": [], "cells": [], "nbformat": 4}', "no sound notebook"),
        ('{"cells": [], "metadata": {"x": NaN}, "nbformat": 4, "nbformat_minor": 5}', "no sound notebook"),
        ('{"cells": [], "nbformat": 4, "nbformat_minor": 5}', "would not be a sound notebook.*metadata"),
        ("[" * 5000, "no sound notebook"),
    ],
)
def test_a_file_that_is_no_sound_notebook_is_left_alone(edit, tools, root, content, why):
    (root / "a.ipynb").write_text(content)

    with pytest.raises(ToolError, match=why):
        edit(action="insert", source="x")

    assert (root / "a.ipynb").read_text() == content
    assert tools["edit_notebook"].assess(path="a.ipynb", action="insert", source="x").reasons
