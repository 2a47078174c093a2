"""Help in JupyterLab: tables to read, Tab in a prompt, and a %%loom that stands where it cannot."""

import re

import pytest

from loom_nb.notebook.line_magics import COMMANDS
from loom_nb.notebook.tool_groups import GROUPS
from tests.browser.lab import THEMES, Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOAD = "%load_ext loom_nb"
DATA = "prices = {'unit price': [1, 2], 'city': ['Bern', 'Biel']}"
BELOW = "x = 1\n\n%%loom\nwhich column of {x} has missing values?"
TWO = "%%loom\nwhat is 2 + 2?\n\n%%loom\nand 3 + 3?"


def test_help_is_tables_that_need_no_scrolling_sideways(lab: Lab):
    nb = lab.notebook([LOAD, "%loom help", "%loom tools"])
    nb.run_all().wait(2)
    for theme in THEMES:
        nb.theme(theme)
        for index, name in ((1, "help"), (2, "tools")):
            nb.output(index).scroll_into_view_if_needed()
            assert nb.output(index).locator("pre").count() == 0
            wide = nb.output(index).evaluate("node => [node.scrollWidth, node.clientWidth]")
            assert wide[0] <= wide[1] + 1, name
            own = [words for words in nb.faint_words(index) if not re.search(r"\[\d+\]:$", words)]
            assert own == [], "without JupyterLab's own prompt"
            nb.screenshot(f"{name}-{theme}")
    typed = nb.output(1).locator("th[scope=row]", has_text="%loom compact")
    assert typed.evaluate("node => getComputedStyle(node).whiteSpace") == "nowrap", (
        "what is typed is one line"
    )
    rows = nb.output(1).locator("table th[scope=row]").all_inner_texts()
    assert {one.split()[1] for one in rows if one.startswith("%loom ")} == set(COMMANDS)
    assert set(GROUPS) <= set(nb.output(2).locator("table th[scope=row]").all_inner_texts())


def test_a_loom_that_stands_where_it_cannot_says_so_in_a_few_lines(lab: Lab):
    nb = lab.notebook([LOAD, BELOW, TWO])
    nb.play(0)
    for index, says in ((1, "has to be the first line of its cell"), (2, "a second %%loom in one cell")):
        told = nb.play(index)
        assert says in told
        assert "not found" not in told
        assert len(told.strip().splitlines()) <= 6
    nb.screenshot("misplaced-loom")


def test_tab_offers_the_keys_of_a_variable_in_a_prompt(lab: Lab):
    nb = lab.notebook([LOAD, DATA, "%%loom\nsay {prices['"])
    nb.play(0)
    nb.play(1)
    nb.command("notebook:enter-command-mode", 2)
    nb.page.keyboard.press("Enter")
    nb.page.keyboard.press("Control+End")
    offered_keys(nb)
    nb.screenshot("completion-of-a-key")
    nb.page.locator(".jp-Completer-item", has_text="unit price").click()
    assert nb.source(2) == "%%loom\nsay {prices['unit price']"


def offered_keys(nb: Notebook) -> None:
    """Press Tab until they are offered: JupyterLab drops an answer that takes over a second."""
    for _ in range(30):
        nb.page.keyboard.press("Tab")
        nb.page.wait_for_timeout(1500)
        texts = nb.page.locator(".jp-Completer-item").all_inner_texts()
        if any("unit price" in text for text in texts) and any("city" in text for text in texts):
            return
    raise AssertionError("the keys were never offered")
