"""A dry run in a real kernel is what the cell would send, and leaves everything as it was."""

import pytest

from tests.notebook.kernels import kernel
from tests.notebook.test_continuing import in_cell

WIRE = (
    "%load_ext loom_nb\nimport os\nos.environ['ANTHROPIC_API_KEY'] = 'k'\n"
    "from loom_nb import Model\nfrom loom_nb.testing import Say, WireServer\n"
    "server = WireServer([Say(f'a{n}') for n in range(20)], rules=True)\nserver.start()\n"
    "bench = get_ipython().loom_workbench\n"
    "bench.model = Model.anthropic('claude-wire', base_url=server.url)"
)
STATE = (
    "print([bench.session and bench.session.id, len(server.requests), "
    "[(row.id, row.entries) for row in bench.store.sessions()]])"
)


@pytest.fixture
def wired(tmp_path):
    with kernel(tmp_path, LOOM_NB_RENDER="static") as one:
        started = one.run(WIRE)
        assert started.status == "ok", started.error
        yield one


def both(one, cell, line, prompt):
    """What a cell would send, and what it then sends."""
    dry = in_cell(one, cell, f"%%loom -n {line}\n{prompt}")
    assert dry.status == "ok", dry.error
    one.said("dry = _.body")
    real = in_cell(one, cell, f"%%loom {line}\n{prompt}")
    assert real.status == "ok", real.error
    return dry, one.said("print(dry == server.requests[-1].body)")


def test_the_dry_run_of_a_cell_that_has_run_before_is_what_its_next_run_sends(wired):
    for cell in "abc":
        in_cell(wired, cell, f"%%loom\nfirst {cell}")
    dry, same = both(wired, "b", "", "better b")
    assert same == "True"
    assert "takes the place of r2 and what followed it" in dry.saved[-1]["data"]["text/html"]
    assert both(wired, "a", "", "better a")[1] == "True"


@pytest.mark.parametrize("line", ["--fork r1", "--new", "--continue r1"])
def test_a_dry_run_elsewhere_leaves_the_notebook_and_the_store_as_they_were(wired, line):
    in_cell(wired, "a", "%%loom\nhi")
    in_cell(wired, "b", "%%loom --new\nand then")
    before = wired.said(STATE)
    dry = in_cell(wired, "d", f"%%loom -n {line}\nelsewhere?")
    assert dry.status == "ok", dry.error
    in_cell(wired, "e", "%%loom -n\nhere?")
    assert wired.said(STATE) == before
    assert both(wired, "d", line, "elsewhere?")[1] == "True"


def test_a_dry_run_before_all_others_begins_no_conversation(wired):
    before = wired.said(STATE)
    assert in_cell(wired, "a", "%%loom -n\nhi").status == "ok"
    assert wired.said(STATE) == before
    assert both(wired, "a", "", "hi")[1] == "True"
