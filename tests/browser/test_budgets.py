"""Budgets in JupyterLab: a large request is asked about on a card, and the bars of what was spent."""

import re

import pytest

from tests.browser.lab import THEMES, Lab, Notebook
from tests.browser.test_context import faint, look_at
from tests.browser.test_questions import card, choose

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TOOL = '''from loom_nb import tool
@tool(read_only=True, max_chars=1_000_000)
def look(page: int) -> str:
    """Look at a page."""
    return f"page {page}: " + " ".join(f"station {n} reads {n * 7 % 41 / 2}" for n in range(7_000))'''
LOAD = "%load_ext loom_nb"
CAPS = "%loom budget cell 200k\n%loom budget notebook 1.00\n%loom budget day 3m"
ASK = "%%loom -t look\nplease look at page 1"


def asked(lab: Lab) -> Notebook:
    nb = lab.notebook([LOAD, TOOL, CAPS, ASK, "%loom budget"])
    nb.run_all()
    return nb


def test_what_makes_a_request_large_is_left_out_by_a_click(lab: Lab):
    nb = asked(lab)
    shown = card(nb, index=3)
    text = shown.inner_text()
    assert re.search(r"This will send about \d\dk tokens", text)
    assert re.search(r"m3 output of look: \d\dk", text)
    for theme in THEMES:
        look_at(nb, theme, 3)
        nb.screenshot(f"large-request-{theme}")
        assert faint(nb, 3) == []
    choose(shown, "Leave m3 out")
    shown.locator("button").click()
    nb.wait(4)
    said = nb.output_text(3)
    assert re.search(r"This will send about \d\dk tokens → leave, by you", said)
    assert "[left out by the person]" in said
    assert nb.output(3).get_by_role("alertdialog").count() == 0


def test_who_stops_sees_why_and_the_bars_tell_what_is_left(lab: Lab):
    nb = asked(lab)
    shown = card(nb, index=3)
    choose(shown, "Stop")
    shown.locator("button").click()
    nb.wait_for_text(3, "was not sent")
    nb.run(4).wait(4)
    text = nb.output_text(4)
    assert re.search(r"last cell\s+[\d,]+ of 200,000 tokens", text)
    assert re.search(r"today\s+[\d,]+ of 3,000,000 tokens, [\d,]+ tokens left", text)
    for theme in THEMES:
        look_at(nb, theme, 4)
        nb.screenshot(f"budget-{theme}")
        assert faint(nb, 4) == []
