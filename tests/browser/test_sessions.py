"""`%loom sessions` in JupyterLab: a table that is searched and acted upon, by mouse and by keys alone."""

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import THEMES, Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOAD = """%load_ext loom_nb
from loom_nb import Model
model = Model.scripted([lambda m: f"answer to {m[-1].text}"] * 40)"""
GOALS = ("plan the orchard", "write a letter to Ada", "count the plums <b>", "read the rain gauge")
SESSIONS = "%loom sessions"


def begun(lab: Lab) -> tuple[Notebook, int, Locator]:
    """Four conversations, and their table."""
    nb = lab.notebook([LOAD, *(f"%%loom -m model --new\n{goal}" for goal in GOALS)])
    nb.run_all().wait(len(GOALS))
    return nb, *table_of(nb, SESSIONS)


def table_of(nb: Notebook, line: str) -> tuple[int, Locator]:
    index = nb.append(line)
    nb.run(index).wait(index)
    table = nb.output(index).locator(".loom-table")
    expect(table.locator("tr[data-row]").first).to_be_visible()
    return index, table


def row(table: Locator, words: str) -> Locator:
    return table.locator("tr[data-row]", has_text=words)


def receipt(table: Locator, words: str) -> None:
    expect(table.locator(".loom-table-word")).to_contain_text(words)


def faint(nb: Notebook, index: int) -> list[str]:
    return [words for words in nb.faint_words(index) if not re.search(r"\[\d+\]:$", words)]


def test_conversations_are_searched_read_and_shown_in_every_theme(lab: Lab):
    nb, index, table = begun(lab)
    expect(table.locator("tr[data-row]")).to_have_count(4)
    first = table.locator("tr[data-row]").first.inner_text()
    assert "read the rain gauge" in first
    assert "completed, here" in first
    assert table.locator("b").count() == 0  # foreign words are text
    row(table, "Ada").locator("button").first.click()
    expect(table.locator(".loom-table-details pre").first).to_contain_text("write a letter to Ada")
    for theme in THEMES:
        nb.theme(theme)
        nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
        nb.output(index).scroll_into_view_if_needed()
        table.screenshot(path=nb.screenshot(f"sessions-table-{theme}"))
        assert faint(nb, index) == []
    table.get_by_label("Filter by words").fill("plums count")
    expect(table.locator("tr[data-row]")).to_have_count(1)


def test_a_conversation_is_opened_renamed_deleted_and_brought_back(lab: Lab):
    nb, _, table = begun(lab)
    letter = row(table, "Ada").get_attribute("data-row")
    row(table, "Ada").click()
    table.get_by_role("button", name=re.compile("^Rename")).click()
    line = table.get_by_label("Name")
    line.fill("the letters")
    line.press("Enter")
    receipt(table, "is called: the letters")
    expect(row(table, "the letters")).to_be_visible()

    row(table, "the letters").click()
    table.get_by_role("button", name=re.compile("^Open")).click()
    receipt(table, "this notebook goes on in: the letters")
    expect(row(table, "the letters")).to_contain_text("here")
    nb.set_source(4, "%%loom -m model\nand to her mother")
    nb.play(4)
    assert "4 messages" in nb.play(nb.append("%loom"))
    assert letter in nb.output_text(nb.count() - 1)

    for words in ("orchard", "plums"):
        row(table, words).get_by_role("checkbox").check()
    table.get_by_role("button", name=re.compile("^Delete")).click()
    receipt(table, "2 conversations deleted")
    expect(table.locator("tr[data-row]")).to_have_count(2)
    nb.screenshot("sessions-deleted")
    table.get_by_role("button", name="Undo", exact=True).click()
    receipt(table, "2 conversations back as before")
    expect(table.locator("tr[data-row]")).to_have_count(4)


def test_all_of_it_by_the_keyboard_alone_and_a_purge_wants_its_yes(lab: Lab):
    nb, _, table = begun(lab)
    keys = nb.page.keyboard
    cells = nb.count()
    table.get_by_label("Filter by words").focus()
    keys.type("orchard")
    expect(table.locator("tr[data-row]")).to_have_count(1)
    tab_to_a_row(nb)
    keys.press("r")
    line = table.get_by_label("Name")
    expect(line).to_be_focused()
    assert line.input_value() == "plan the orchard"
    keys.press("Control+a")
    keys.type("the orchard")
    keys.press("Enter")
    receipt(table, "is called: the orchard")
    expect(row(table, "the orchard")).to_be_focused()
    keys.press("d")
    receipt(table, "1 conversation deleted")
    expect(table.locator("tr[data-row]")).to_have_count(0)

    _, gone = table_of(nb, "%loom sessions deleted")
    gone.get_by_label("Filter by words").focus()
    tab_to_a_row(nb)
    expect(row(gone, "the orchard")).to_be_focused()
    button = gone.get_by_role("button", name=re.compile("^Remove for good"))
    button.focus()
    keys.press("Enter")
    line = gone.get_by_label("Type yes to remove for good")
    expect(line).to_be_focused()
    nb.screenshot("sessions-purge-asks")
    keys.type("no")
    keys.press("Enter")
    receipt(gone, "nothing was removed")
    expect(gone.locator("tr[data-row]")).to_have_count(1)
    button.focus()
    keys.press("Enter")
    expect(line).to_be_focused()
    keys.type("yes")
    keys.press("Enter")
    receipt(gone, "1 conversation removed for good")
    expect(gone.locator("tr[data-row]")).to_have_count(0)
    assert nb.count() == cells + 1
    assert "nothing is deleted" in nb.play(nb.append("%loom sessions undo"))


def tab_to_a_row(nb: Notebook) -> None:
    for _ in range(25):
        nb.page.keyboard.press("Tab")
        if nb.page.evaluate("() => document.activeElement.dataset.row !== undefined"):
            return
    raise AssertionError("no row takes the focus")


def test_what_is_saved_is_the_card_with_the_same_facts(lab: Lab):
    nb, index, _ = begun(lab)
    nb.save()
    for trusted in (True, False):
        nb.reopen(kernel=False, trusted=trusted)
        text = nb.output_text(index)
        for goal in GOALS:
            assert goal in text
        assert "4 conversations of" in text
        nb.output(index).scroll_into_view_if_needed()
        nb.screenshot(f"sessions-saved-{'trusted' if trusted else 'untrusted'}")
        assert faint(nb, index) == []


def test_two_runs_side_by_side_in_every_theme(lab: Lab):
    cells = ["%%loom -m model\ncount the plums", "%%loom -m model\ncount the ripe plums", "%loom diff r1 r2"]
    nb = lab.notebook([LOAD, *cells])
    nb.run_all().wait(3)
    struck = nb.output(3).locator("ins").first
    assert "ripe" in struck.inner_text()
    for theme in THEMES:
        nb.theme(theme)
        nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
        nb.output(3).scroll_into_view_if_needed()
        nb.screenshot(f"diff-{theme}")
        assert faint(nb, 3) == []
    nb.save()
    nb.reopen(kernel=False, trusted=False)
    assert "ripe" in nb.output(3).locator("ins").first.inner_text()
