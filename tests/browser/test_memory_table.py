"""`%loom memory` in JupyterLab: notes are searched, sorted, edited, forgotten and brought back, also 100,000."""

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import THEMES, Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOAD = """%load_ext loom_nb
from loom_nb import Model
model = Model.scripted(["a light one"] * 9)
notes = get_ipython().loom_workbench.memory
for text, category, tags in (
    ("likes black coffee in the morning, without sugar", "taste", ["drink", "morning"]),
    ("the theme of the editor is dark", "work", ["editor"]),
    ("reports go to Ada on Fridays <b>", "work", ["mail"]),
    ("the plum tree was planted in 2019", "garden", []),
):
    _ = notes.add(text, category=category, tags=tags)
_ = notes.pin(notes.page("Ada").rows[0].note.id)"""
ASK = "%%loom -t memory -m model\nwhich theme shall the new editor have?"


def shown(lab: Lab, line: str = "%loom memory", *cells: str) -> tuple[Notebook, int, Locator]:
    """Four notes, and their table."""
    nb = lab.notebook([LOAD, *cells, line])
    nb.run_all().wait(1 + len(cells))
    index = 1 + len(cells)
    table = nb.output(index).locator(".loom-table")
    expect(table.locator("tr[data-row]").first).to_be_visible()
    return nb, index, table


def row(table: Locator, words: str) -> Locator:
    return table.locator("tr[data-row]", has_text=words)


def cell(table: Locator, words: str, column: str) -> Locator:
    return row(table, words).locator(f'[data-column="{column}"]')


def receipt(table: Locator, words: str) -> None:
    expect(table.locator(".loom-table-word")).to_contain_text(words)


def test_notes_are_searched_explained_and_shown_in_every_theme(lab: Lab):
    nb, index, table = shown(lab, "%loom memory", ASK)
    expect(table.locator("tr[data-row]")).to_have_count(4)
    assert table.locator("b").count() == 0  # foreign words are text
    table.get_by_label("Search", exact=True).fill("editor the")
    expect(table.locator("tr[data-row]")).to_have_count(1)
    row(table, "theme").locator("button").first.click()
    expect(table.locator(".loom-table-details")).to_contain_text("recalled in r1")
    for theme in THEMES:
        nb.theme(theme)
        nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
        nb.output(index).scroll_into_view_if_needed()
        table.screenshot(path=nb.screenshot(f"memory-why-{theme}"))
        assert nb.faint_words(index) == []
