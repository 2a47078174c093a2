"""An agent changes cells of the open notebook: reviewed as one, done as one, undone as one."""

import json

import pytest

from tests.browser.lab import CONTENT, Lab
from tests.browser.test_questions import card, choose

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHANGES = [
    {"action": "edit", "cell": "In[2]", "source": "price = 12"},
    {"action": "delete", "cell": "In[3]"},
    {"action": "insert", "cell": "In[2]", "source": "# prices", "kind": "markdown"},
    {"action": "insert", "cell": "In[2]", "source": "price * 2"},
    {"action": "insert", "source": "'below the prompt'"},
]


def model(changes):
    arguments = json.dumps(json.dumps({"changes": changes}))
    return (
        "from loom_nb import Model\nfrom loom_nb.models.scripted import Call\n"
        f"m = Model.scripted([Call('propose_cells', {arguments}), 'done'])"
    )


def sources(nb):
    return [nb.source(index) for index in range(nb.count())]


def allow(nb, index):
    shown = card(nb, "Approval", index)
    choose(shown, "Allow once")
    shown.locator("button").click()


@pytest.mark.parametrize("application", ["lab", "notebook"])
def test_changes_of_cells_are_one_diff_one_step_and_one_undo(lab: Lab, application):
    loom = "%%loom -m m -t cells\nplease tidy up"
    cells = ["%load_ext loom_nb", "price = 10", "print('to be deleted')", model(CHANGES), loom]
    nb = lab.notebook(cells, application=application)
    for index in range(4):
        nb.play(index)
    nb.run(4)
    nb.wait_for_text(4, "inserts 3 cells")
    nb.wait_for_text(4, "+price = 12")
    nb.screenshot(f"cells-to-review-{application}")
    assert sources(nb) == cells
    allow(nb, 4)
    nb.page.wait_for_function(f"() => {CONTENT}.widgets.length === 7")
    nb.wait_for_text(5, "5 changes were made")
    after = ["%load_ext loom_nb", "price = 12", "# prices", "price * 2", cells[3], loom, "'below the prompt'"]
    assert sources(nb) == after
    nb.screenshot(f"cells-changed-{application}")

    nb.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.undo()")
    assert sources(nb) == cells


def test_a_cell_that_was_edited_since_it_ran_is_left_alone_and_so_are_all(lab: Lab):
    cells = [
        "%load_ext loom_nb",
        "price = 10",
        "print('to be deleted')",
        model(CHANGES),
        "%%loom -m m -t cells\ntidy",
    ]
    nb = lab.notebook(cells)
    for index in range(4):
        nb.play(index)
    nb.run(4)
    nb.wait_for_text(4, "+price = 12")
    nb.set_source(1, "price = 11")
    allow(nb, 4)
    nb.wait_for_text(4, "nothing was changed")
    assert sources(nb) == [cells[0], "price = 11", *cells[2:]]
    nb.output(4).locator("summary", has_text="propose_cells").click()
    nb.wait_for_text(4, "the cell was edited since it ran")


def test_a_page_that_is_loaded_later_can_change_cells_too(lab: Lab):
    change = [{"action": "insert", "source": "'new'"}]
    nb = lab.notebook(["%load_ext loom_nb", model(change), "%%loom -m m -t cells\nadd one"])
    for index in range(2):
        nb.play(index)
    nb.save()
    nb.page.reload()
    nb.open()
    nb.wait_for_kernel()
    nb.run(2)
    allow(nb, 2)
    nb.wait_for_text(2, "The change was made")
    assert sources(nb)[3] == "'new'"
