"""In JupyterLab: a cell with a tag stays hidden, and an edit of a cell marks what was made of it as stale."""

import re

import pytest

from tests.browser.lab import CELL, THEMES, Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = (
    "%load_ext loom_nb",
    "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2]})",
    "plan = 'a hush plan'",
    "df2 = df * 2",
    "%%loom --ctx above\nhow many rows has {df2}?",
    "%loom context",
)


def tag(nb: Notebook, index: int, *tags: str) -> None:
    nb.page.evaluate(
        f"([index, tags]) => {CELL}.model.sharedModel.setMetadata('tags', tags)", [index, list(tags)]
    )


def words(nb: Notebook, index: int) -> str:
    return re.sub(r"\s+", " ", nb.output_text(index))


def test_a_tagged_cell_is_hidden_and_an_edited_one_marks_what_was_made_of_it(lab: Lab):
    nb = lab.notebook(list(CELLS))
    tag(nb, 2, "loom-hide")
    nb.run_all().wait(5)
    told = words(nb, 4)
    assert "In[2] (code, 2 lines" in told
    assert "In[4] (code, 1 line" in told
    assert "In[3]" not in told
    assert "hush" not in told
    assert "stale" not in words(nb, 5)

    nb.set_source(1, CELLS[1].replace("[1, 2]", "[1, 2, 3]"))
    nb.save()
    nb.play(5)
    nb.wait_for_text(5, "cell [2] was edited since")
    nb.play(1)
    nb.play(5)
    nb.wait_for_text(5, "df2 comes from cell [4], and cell [8] has changed df since")
    nb.wait_for_text(5, "cell [2] was edited since and run again, as [8]")
    for theme in THEMES:
        nb.theme(theme)
        nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
        nb.output(5).locator("table").last.scroll_into_view_if_needed()
        nb.screenshot(f"stale-{theme}")
        assert [one for one in nb.faint_words(5) if not re.search(r"\[\d+\]:$", one)] == []
    nb.theme("light")
    nb.play(nb.append("%%loom --new\nhow many rows has {df2}?"))
    assert "stale: comes from cell [4], and cell [8] has changed df since" in words(nb, 6)
    nb.output(6).scroll_into_view_if_needed()
    nb.screenshot("stale-used")
    nb.play(3)
    nb.play(nb.append("%%loom --new --ctx all\nhow many rows has {df2}?"))
    assert "stale" not in words(nb, 7)
    assert "hush" not in words(nb, 7)
