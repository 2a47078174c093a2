"""An agent reads the cells of a notebook that it may read, and proposes changes as one diff."""

import pytest

from loom_nb.capabilities.cells import CellChange, CellsCapability, CellView
from loom_nb.errors import ToolError
from loom_nb.messages import Origin


class Shelf:
    """Cells that remember what was proposed."""

    remark = ""

    def __init__(self, *cells):
        self._cells = cells
        self.proposed = None

    def cells(self):
        return self._cells

    async def propose(self, changes):
        self.proposed = changes
        return "done"


CELLS = (
    CellView("a1", None, "markdown", "# Report"),
    CellView("b2", 1, "code", "x = 1", ""),
    CellView("c3", 2, "code", "token = 'hush'", "hush", frozenset({"loom-exclude"})),
    CellView("d4", 3, "code", "x + 1", "2"),
    CellView("e5", 4, "code", "rules()", "ok", frozenset({"loom-pin"})),
)


@pytest.fixture
def shelf():
    return Shelf(*CELLS)


def texts(parts):
    return [part.text for part in parts]


async def tools(shelf):
    return {tool.name: tool for tool in (await CellsCapability(shelf).open()).tools}


async def test_all_cells_but_the_excluded_are_read_each_with_its_own_origin(shelf):
    parts = (await tools(shelf))["read_cells"].function()

    assert [part.origin for part in parts] == [
        Origin("notebook", name) for name in ("a1", "In[1]", "In[3]", "In[4]")
    ]
    assert texts(parts)[2] == "--- In[3] code id d4 ---\nx + 1\n--- output ---\n2"
    assert "hush" not in "".join(texts(parts))


@pytest.mark.parametrize("which", ["In[3]", "3", "in[3]", "d4", " In[ 3 ] "])
def test_a_cell_is_named_by_its_number_or_its_id_and_pinned_ones_come_along(shelf, which):
    if which.startswith("in"):
        with pytest.raises(ToolError):
            CellsCapability(shelf).read(which)
        return
    assert [part.origin.source for part in CellsCapability(shelf).read(which)] == ["In[4]", "In[3]"]


def test_several_cells_are_named_by_a_span_or_with_commas(shelf):
    capability = CellsCapability(shelf)

    assert [part.origin.source for part in capability.read("1-3")] == ["In[4]", "In[1]", "In[3]"]
    assert [part.origin.source for part in capability.read("a1, 4")] == ["a1", "In[4]"]


@pytest.mark.parametrize("which", ["2", "c3", "In[9]", "nonsense"])
def test_an_excluded_cell_is_as_unknown_as_one_that_is_not_there(shelf, which):
    with pytest.raises(ToolError, match="there is no cell"):
        CellsCapability(shelf).read(which)


def test_long_outputs_are_shortened_and_many_cells_are_counted():
    many = [CellView("", n, "code", "print()", "y" * 50_000) for n in range(1, 101)]
    parts = CellsCapability(Shelf(*many)).read()

    assert len(parts) == 41
    assert "60 more cells" in parts[-1].text
    assert all(len(part.text) < 3_000 for part in parts)


def test_changes_are_one_diff_and_ask_for_leave(shelf):
    told = CellsCapability(shelf).assess(
        [
            CellChange("insert", source="y = 2"),
            CellChange("edit", "In[3]", "x + 2"),
            CellChange("delete", "b2"),
        ]
    )

    assert told.refusal == ""
    assert told.effects == {"writes"}
    assert told.reasons == ("inserts 1 cell", "edits 1 cell", "deletes 1 cell")
    assert told.preview_kind == "diff"
    assert "+y = 2" in told.preview
    assert "-x + 1\n+x + 2" in told.preview
    assert "-x = 1" in told.preview


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (CellChange("edit", "In[2]", "x"), "there is no cell"),
        (CellChange("delete", ""), "which cell"),
        (CellChange("insert", source=" "), "source is empty"),
        (CellChange("edit", "1-3", "x"), "names 2 cells"),
    ],
)
async def test_a_change_that_fits_no_cell_is_refused_before_anybody_is_asked(shelf, change, words):
    assert words in CellsCapability(shelf).assess([change]).refusal
    with pytest.raises(ToolError, match=words):
        await (await tools(shelf))["propose_cells"].function(changes=[change])
    assert shelf.proposed is None


async def test_the_arguments_of_a_model_become_changes(shelf):
    tool = (await tools(shelf))["propose_cells"]
    arguments = tool.validate(
        '{"changes": [{"action": "insert", "source": "y"}, {"action": "delete", "cell": "3"}]}'
    )

    assert await tool.function(**arguments) == "done"
    assert shelf.proposed == [CellChange("insert", source="y"), CellChange("delete", "3")]
    assert tool.undoable and not tool.read_only
