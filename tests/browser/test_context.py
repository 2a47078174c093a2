"""The context in JupyterLab: a table and a bar, a compaction in two columns, pinned, hidden and undone."""

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import THEMES, Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TOOL = '''from loom_nb import tool
@tool(read_only=True)
def look(page: int) -> str:
    """Look at a page."""
    return f"page {page}: " + " ".join(f"station {n} reads {n * 7 % 41 / 2}" for n in range(250))'''
LOAD = "%load_ext loom_nb"
BUDGET = "%loom context budget 3k"
ASK = "%%loom -t look\nplease look at page {}"
SEGMENTS = 'div[title*=": "][title$=" tokens"]'


def begun(lab: Lab) -> Notebook:
    """A conversation of three prompts, more than its budget holds; the cells are 3, 4 and 5."""
    nb = lab.notebook([LOAD, TOOL, BUDGET, *(ASK.format(page) for page in (1, 2, 3))])
    nb.run_all().wait(5)
    return nb


def context(nb: Notebook) -> tuple[int, Locator]:
    """Run `%loom context`; its cell, and the table once its rows are there."""
    index = nb.append("%loom context")
    nb.run(index).wait(index)
    table = nb.output(index).locator(".loom-table")
    table.locator("tr[data-row]").first.wait_for(timeout=30_000)
    return index, table


def told(nb: Notebook) -> str:
    """What `%loom context` says."""
    return context(nb)[1].inner_text()


def faint(nb: Notebook, index: int) -> list[str]:
    """What is hard to read, without JupyterLab's own prompt."""
    return [words for words in nb.faint_words(index) if not re.search(r"\[\d+\]:$", words)]


def look_at(nb: Notebook, theme: str, index: int) -> None:
    nb.theme(theme)
    nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
    nb.output(index).scroll_into_view_if_needed()


def widths(nb: Notebook, index: int) -> list[float]:
    nb.output(index).scroll_into_view_if_needed()
    expect(nb.output(index).locator(SEGMENTS)).to_have_count(3)
    boxes = [one.bounding_box() for one in nb.output(index).locator(SEGMENTS).all()]
    return [box["width"] * (box["height"] > 8) for box in boxes if box is not None]


def test_a_compaction_stands_in_the_run_in_two_columns_and_the_footer_tells_the_pressure(lab: Lab):
    nb = begun(lab)
    card = nb.output(4).locator("details", has=nb.page.locator("summary", has_text="Context compacted")).first
    assert card.get_attribute("open") is None
    card.locator("summary").click()
    heads = [one.inner_text() for one in card.locator("thead th").all()]
    assert heads == ["item", "what was sent", "what the model is shown now"]
    left, right = card.locator("tbody tr").first.locator("td").all()
    sides = [side.bounding_box() for side in (left, right)]
    assert sides[0]["x"] + sides[0]["width"] <= sides[1]["x"] + 1
    assert abs(sides[0]["width"] - sides[1]["width"]) < 8
    assert "left out" in right.inner_text()
    assert "left out" not in left.inner_text()
    assert "%loom compact undo c1" in card.inner_text()
    assert re.search(r"· context \d+ %", nb.output_text(4))
    for theme in THEMES:
        look_at(nb, theme, 4)
        nb.screenshot(f"compaction-{theme}")
        assert faint(nb, 4) == []


def test_the_context_is_a_bar_and_a_table_and_an_item_can_be_pinned_and_hidden(lab: Lab):
    nb = begun(lab)
    assert re.search(r"budget\s+3,000 tokens, set in this notebook", told(nb))
    pinned = nb.play(nb.append("%loom context pin m9"))
    assert "m9 is pinned" in pinned
    assert "m9 is hidden" in nb.play(nb.append("%loom context hide m9"))
    assert "1 message hidden" in told(nb)

    nb.save()
    nb.reopen(kernel=False, trusted=False)  # what is left is the card
    system, tools, history = widths(nb, 9)
    assert tools > system > 5
    assert history > 5
    row = nb.output(9).locator("tr", has=nb.page.locator("th", has_text=re.compile("^m9$"))).first
    assert "hidden by you" in (row.text_content() or "")
    for theme in THEMES:
        look_at(nb, theme, 9)
        nb.screenshot(f"context-{theme}")
        assert faint(nb, 9) == []


def test_a_conversation_is_compacted_by_hand_and_that_is_undone(lab: Lab):
    nb = lab.notebook([LOAD, TOOL, *(ASK.format(page) for page in (1, 2))])
    nb.run_all().wait(3)
    before = re.search(r"next request\s+about ([\d,]+)", told(nb))[1]
    assert "preview, nothing was changed" in nb.play(nb.append("%loom compact --preview"))
    nb.screenshot("compact-preview")
    done = nb.play(nb.append("%loom compact micro"))
    assert "from the next request on" in done
    assert nb.output(6).locator("details[open] td").count() >= 2
    look_at(nb, "dark", 6)
    nb.screenshot("compact-dark")
    assert faint(nb, 6) == []
    assert f"about {before} tokens" not in told(nb)
    assert "c1 is undone" in nb.play(nb.append("%loom compact undo"))
    after = re.search(r"next request\s+about ([\d,]+)", told(nb))[1]
    written = nb.play(nb.append("%loom compact auto"))
    assert "Next step" in written
    look_at(nb, "light", 10)
    nb.screenshot("handoff")
    # the tool `recall` has come to stay, so that the request is not shorter than before
    assert int(after.replace(",", "")) >= int(before.replace(",", ""))
