"""`%loom memory` in JupyterLab: notes are searched, sorted, edited, forgotten and brought back, also 100,000."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import THEMES, Lab, Notebook
from tests.notebook.many_notes import fill

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BEGIN = """import os, tempfile
os.environ["LOOM_NB_HOME"] = {home}
%load_ext loom_nb
from loom_nb import Model
model = Model.scripted(["a light one"] * 9)
notes = get_ipython().loom_workbench.memory"""
FOUR = """for text, category, tags in (
    ("likes black coffee in the morning, without sugar", "taste", ["drink", "morning"]),
    ("the theme of the editor is dark", "work", ["editor"]),
    ("reports go to Ada on Fridays <b>", "work", ["mail"]),
    ("the plum tree was planted in 2019", "garden", []),
):
    _ = notes.add(text, category=category, tags=tags)
ids = {hit.note.text.split()[1]: hit.note.id for hit in notes.page().rows}
_ = notes.pin(ids["go"])"""
ASK = "%%loom -t memory -m model\nwhich theme shall the new editor have?"
TABLE = "%loom memory"


def shown(lab: Lab, *cells: str, home: str = "tempfile.mkdtemp()") -> tuple[Notebook, int, Locator]:
    """A notebook of these cells, and the table that the last of them shows."""
    nb = lab.notebook([BEGIN.format(home=home), *cells])
    nb.run_all().wait(len(cells))
    table = nb.output(len(cells)).locator(".loom-table")
    expect(table.locator("tr[data-row]").first).to_be_visible()
    return nb, len(cells), table


def row(table: Locator, words: str) -> Locator:
    return table.locator("tr[data-row]", has_text=words)


def cell(table: Locator, words: str, column: str) -> Locator:
    return row(table, words).locator(f'[data-column="{column}"]')


def receipt(table: Locator, words: str) -> None:
    expect(table.locator(".loom-table-word")).to_contain_text(words)


def faint(nb: Notebook, index: int) -> list[str]:
    return [words for words in nb.faint_words(index) if not re.search(r"\[\d+\]:$", words)]


def pictures(nb: Notebook, index: int, shot: Locator, name: str, *themes: str) -> None:
    for theme in themes or THEMES:
        nb.theme(theme)
        nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
        nb.output(index).scroll_into_view_if_needed()
        shot.screenshot(path=nb.screenshot(f"memory-{name}-{theme}"))
        assert faint(nb, index) == []


def test_notes_are_searched_explained_and_saved_as_a_card_with_the_same_facts(lab: Lab):
    nb, index, table = shown(lab, FOUR, ASK, TABLE)
    expect(table.locator("tr[data-row]")).to_have_count(4)
    assert table.locator("b").count() == 0  # foreign words are text
    nb.output(2).get_by_text("recalled 2 notes").click()
    expect(nb.output(2)).to_contain_text("pinned: it is in every run")
    nb.output(2).screenshot(path=nb.screenshot("memory-recalled"))
    table.screenshot(path=nb.screenshot("memory-all"))

    table.get_by_label("Search", exact=True).press_sequentially("dark editor")
    expect(table.locator("tr[data-row]")).to_have_count(1)
    row(table, "theme").locator("button").first.click()
    expect(table.locator(".loom-table-details")).to_contain_text("why it was recalled in r1")
    expect(table.locator(".loom-table-measure").first).to_contain_text("words")
    expect(table.locator(".loom-table-spoken")).to_contain_text(
        re.compile(r"words [01]\.\d\d, salience")
    )  # said to a screen reader
    pictures(nb, index, table, "why")
    table.get_by_label("As of which run").select_option(index=1)
    expect(row(table, "theme")).to_have_class(re.compile("quiet"))
    assert row(table, "theme").locator(".loom-table-editable").count() == 0  # the past is not edited

    nb.save()
    nb.reopen(kernel=False, trusted=False)
    text = nb.output_text(index)
    assert all(words in text for words in ("4 notes remembered", "without sugar", "reports go to Ada", "yes"))
    pictures(nb, index, nb.output(index), "saved", "dark", "light")


def test_a_cell_is_edited_where_it_stands_and_what_is_refused_stays_there(lab: Lab):
    nb, index, table = shown(lab, FOUR, TABLE)
    weight = cell(table, "coffee", "importance")
    weight.dblclick()
    line = table.get_by_role("textbox", name=re.compile("^weight of"))
    line.fill("much")
    line.press("Enter")
    expect(weight.get_by_role("alert")).to_contain_text("a number from 0 to 1, not 'much'")
    expect(line).to_have_value("much")
    line.fill("0.9")
    line.press("Enter")
    receipt(table, "weight changed")
    expect(weight).to_have_text("0.9")

    text = cell(table, "coffee", "text")
    text.dblclick()
    line = table.get_by_role("textbox", name=re.compile("^note of"))
    line.fill("likes green tea")
    table.get_by_label("Search", exact=True).fill("plum")  # the row goes away: what was typed does not
    expect(table.locator(".loom-table-homeless textarea")).to_have_value("likes green tea")
    table.get_by_label("Search", exact=True).fill("")
    nb.run(nb.append("_ = notes.edit(ids['black'], 'text', 'likes coffee with milk')")).wait(nb.count() - 1)
    expect(row(table, "black coffee")).to_have_count(0)
    line.press("Enter")
    alert = table.get_by_role("alert")
    expect(alert).to_contain_text("was changed meanwhile")
    expect(alert).to_contain_text("likes coffee with milk")
    expect(line).to_have_value("likes green tea")
    table.screenshot(path=nb.screenshot("memory-stale"))
    assert faint(nb, index) == []
    alert.get_by_role("button", name="Keep mine").click()
    expect(row(table, "likes green tea")).to_be_visible()

    table.get_by_role("button", name="Undo", exact=True).click()
    expect(row(table, "likes coffee with milk")).to_be_visible()
    cell(table, "plum tree", "pinned").click()
    receipt(table, "pin changed")
    expect(cell(table, "plum tree", "pinned")).to_have_text("●")


def test_all_of_it_by_the_keyboard_alone(lab: Lab):
    nb, _, table = shown(lab, FOUR, TABLE)
    cells, keys = nb.count(), nb.page.keyboard
    is_told_what_everything_is(table)
    table.get_by_label("Search", exact=True).focus()
    keys.type("coffee")
    expect(table.locator("tr[data-row]")).to_have_count(1)
    keys.press("ArrowDown")
    expect(row(table, "coffee")).to_be_focused()
    keys.press("w")
    expect(table.locator(".loom-table-details")).to_contain_text("if forgotten")
    keys.press("w")
    expect(table.locator(".loom-table-details")).to_have_count(0)
    keys.press("ArrowRight")
    keys.press("ArrowRight")
    expect(cell(table, "coffee", "category")).to_be_focused()
    keys.press("Enter")
    expect(table.get_by_role("textbox", name=re.compile("^category of"))).to_be_focused()
    keys.type("drinks")
    keys.press("Enter")
    receipt(table, "category changed")
    expect(cell(table, "coffee", "category")).to_be_focused()
    expect(cell(table, "coffee", "category")).to_have_text("drinks")
    keys.press("Escape")
    keys.press("/")
    keys.press("Escape")  # everything again
    expect(table.locator("tr[data-row]")).to_have_count(4)
    keys.press("ArrowDown")
    first = table.locator("tr[data-row]").first
    expect(first).to_be_focused()
    words = first.locator('[data-column="text"]').inner_text()
    keys.press("p")
    receipt(table, "pinned: in every run from now on")
    keys.press("Delete")
    receipt(table, "forgotten")
    receipt(table, "it leaves the next request")
    expect(row(table, words)).to_have_count(0)
    keys.press("Control+z")
    expect(row(table, words)).to_be_visible()
    keys.press("Control+z")
    receipt(table, "taken back")
    assert nb.count() == cells  # no key reached the notebook


def is_told_what_everything_is(table: Locator) -> None:
    """Who hears the table: names, states and numbers of rows."""
    expect(table.get_by_role("grid")).to_have_attribute("aria-rowcount", "5")
    unnamed = table.evaluate(
        """node => [...node.querySelectorAll("button, input, select, textarea, [role=img]")]
        .filter((one) => one.offsetParent && !(one.getAttribute("aria-label") || one.textContent.trim()
            || one.labels?.length)).map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    ids = table.evaluate('() => [...document.querySelectorAll("[id^=loom-table]")].map((one) => one.id)')
    assert len(ids) == len(set(ids))
    assert cell(table, "Ada", "pinned").get_attribute("aria-label") == "pinned"
    assert table.locator("[role=status]").count() >= 2
    assert table.locator("tr[data-row][tabindex='0']").count() == 1


def test_a_hundred_thousand_notes_are_a_window_of_rows_that_scrolls_to_the_end(lab: Lab, tmp_path: Path):
    fill(tmp_path / "memory.db", 100_000).close()
    nb, index, table = shown(lab, TABLE, home=repr(str(tmp_path)))
    expect(table).to_contain_text("100,000 notes")
    expect(table.locator("tr[data-row]").first).to_contain_text("number99999")
    table.locator("tr[data-row]").first.click()
    nb.page.keyboard.press("End")
    last = table.locator('tr[data-row="n0000000"]')
    expect(last).to_be_focused()
    expect(last).to_have_attribute("aria-rowindex", "100001")
    table.screenshot(path=nb.screenshot("memory-100k"))
    table.locator(".loom-table-scroll").evaluate("node => { node.scrollTop = node.scrollHeight / 2; }")
    expect(table.locator('tr[data-row="n0050000"]')).to_be_attached()
    assert table.locator("tr").count() < 200  # a window
    table.get_by_role("button", name="weight").click()
    expect(table.locator("tr[data-row]").first).to_contain_text("1")
    expect(table.get_by_role("columnheader", name="weight")).to_have_attribute("aria-sort", "descending")
    table.get_by_label("Search", exact=True).press_sequentially("number77777")
    expect(row(table, "number77777")).to_be_visible()
    nb.save()
    nb.reopen(kernel=False)
    assert "99,980 more" in nb.output_text(index)
