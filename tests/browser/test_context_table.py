"""The live table of the context in JupyterLab: by mouse, by keys alone, saved, loaded anew, with 5,000 items."""

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import THEMES, Lab, Notebook
from tests.browser.test_context import ASK, LOAD, TOOL, begun, context, faint, look_at
from tests.browser.test_questions import KERNELS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

VIEW = "application/vnd.jupyter.widget-view+json"
SLOW = '''import asyncio
from loom_nb import tool
@tool(read_only=True)
async def look(page: int) -> str:
    """Look at a page."""
    await asyncio.sleep(600)'''
MANY = """from loom_nb.messages import Message, Origin, TextPart
session = get_ipython().loom_workbench.session
for number in range(5_000 - len(session.conversation)):
    words = f"remark {number} " + "and more " * (number % 50)
    session.view.add(Message("user", (TextPart(words, Origin("user")),)))"""


def row(table: Locator, name: str) -> Locator:
    return table.locator(f'tr[data-row="{name}"]')


def names(table: Locator) -> list[str]:
    return table.evaluate("node => [...node.querySelectorAll('tr[data-row]')].map(one => one.dataset.row)")


def cell(table: Locator, name: str, column: int) -> str:
    return row(table, name).locator("th, td").nth(column + 1).inner_text().strip()


def focused(nb: Notebook) -> str:
    """The row that has the focus, or what else has it."""
    return nb.page.evaluate(
        "() => document.activeElement.dataset.row ?? document.activeElement.getAttribute('aria-label')"
        " ?? document.activeElement.textContent"
    )


def tokens(table: Locator) -> int:
    told = table.locator(".loom-table-facts").first.inner_text()
    return int(re.search(r"about ([\d,]+) tokens", told)[1].replace(",", ""))


def receipt(table: Locator, words: str) -> None:
    expect(table.locator(".loom-table-word")).to_contain_text(words)


def test_the_context_is_a_table_that_is_sorted_filtered_and_read_in_every_theme(lab: Lab):
    nb = begun(lab)
    index, table = context(nb)
    assert names(table)[:2] == ["instructions", "tool:list_variables"]
    grid = table.get_by_role("grid", name="in the order of the request")
    expect(grid).to_have_attribute("aria-rowcount", str(len(names(table)) + 1))
    heads = table.locator("thead th[scope=col]")
    assert [one.inner_text().strip() for one in heads.all()][1:] == [
        "item", "section", "kind", "words", "tokens", "share", "from", "state", "by",
    ]  # fmt: skip
    bar = table.get_by_role("img").get_attribute("aria-label")
    assert re.search(r"of 3,000 tokens.*system [\d,]+ tokens \(\d+ %\).*compaction from 60 % on", bar)

    press = heads.nth(5).get_by_role("button")
    for order, first in (("descending", "m11"), ("ascending", "m"), ("none", "instructions")):
        press.click()
        expect(heads.nth(5)).to_have_attribute("aria-sort", order)
        expect(table.locator("tr[data-row]").first).to_have_attribute("data-row", re.compile(f"^{first}"))

    table.get_by_label("Filter by words").press_sequentially("station 2")
    expect(table.locator(".loom-table-matching")).to_have_text(re.compile(r"^6 of \d+ items$"))
    table.get_by_label("Filter by state").select_option("shortened")
    expect(table.locator("tr[data-row]")).to_have_count(2)
    assert names(table) == ["m3", "m7"]
    row(table, "m3").get_by_role("button").click()
    sides = table.locator(".loom-table-details pre")
    expect(sides).to_have_count(2)
    assert "the rest left out" in sides.nth(0).inner_text()
    assert "station 249 reads" in sides.nth(1).inner_text()
    for theme in THEMES:
        look_at(nb, theme, index)
        table.screenshot(path=nb.screenshot(f"context-table-{theme}"))
        assert faint(nb, index) == []


def test_an_item_is_pinned_by_the_keyboard_alone(lab: Lab):
    nb = begun(lab)
    _, table = context(nb)
    cells = nb.count()
    keys = nb.page.keyboard
    table.get_by_label("Filter by words").focus()
    keys.type("dd xx")  # as text, not as the notebook's shortcuts
    expect(table.locator("tr[data-row]")).to_have_count(0)
    keys.press("Escape")
    expect(table.locator("tr[data-row]").first).to_be_visible()
    for _ in range(13):  # two filters, the box that chooses all, nine headings, and then the row
        keys.press("Tab")
    assert focused(nb) == "instructions"
    assert row(table, "instructions").evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    keys.press("p")
    receipt(table, "instructions and tools are no messages")
    keys.press("End")
    assert focused(nb) == "m12"
    for _ in range(2):
        keys.press("ArrowUp")
    name = focused(nb)
    keys.press("p")
    receipt(table, "is pinned: compaction leaves it as it is")
    message = name.partition(".")[0]
    assert f"{message} is pinned" in table.locator(".loom-table-word").inner_text()
    expect(row(table, name).locator("td").nth(7)).to_have_text("pinned")
    assert focused(nb) == name  # where it was
    keys.press("z")
    receipt(table, f"taken back: {message} is as before")
    expect(row(table, name).locator("td").nth(7)).to_have_text("sent")
    keys.press("Enter")
    expect(table.locator(".loom-table-details pre")).to_be_visible()
    expect(row(table, name).get_by_role("button")).to_have_attribute("aria-expanded", "true")
    keys.press("Enter")
    expect(table.locator(".loom-table-details")).to_have_count(0)
    keys.press("Tab")  # and on to the buttons
    assert focused(nb).startswith("Pin")
    assert nb.count() == cells


def test_several_items_are_hidden_tokens_fall_and_undo_takes_it_back_in_every_table(lab: Lab):
    nb = begun(lab)
    _, other = context(nb)
    _, table = context(nb)
    before = tokens(table)
    for name in ("m11", "m4"):
        row(table, name).get_by_role("checkbox").check()
    assert row(table, "m4").get_attribute("aria-selected") == "true"
    table.get_by_role("button", name=re.compile("^Hide")).click()
    receipt(table, "m4, m11 are hidden: the model is not shown them")
    receipt(table, "fewer · by hand: %loom context free m4 m11")
    nb.page.wait_for_timeout(300)
    nb.screenshot("context-table-hidden")
    assert tokens(table) < before - 1_000
    assert cell(table, "m11", 7) == "hidden"
    assert cell(table, "m11", 8) == "you"
    expect(row(other, "m11").locator("td").nth(7)).to_have_text("hidden")
    assert tokens(other) == tokens(table)
    table.get_by_role("button", name="Undo", exact=True).click()
    receipt(table, "taken back: m4, m11 are as before")
    assert tokens(table) == before
    assert nb.play(nb.append("%loom context pin m1")).startswith("m1 is pinned")
    for one in (table, other):
        expect(row(one, "m1").locator("td").nth(7)).to_have_text("pinned")
    nb.run(0).wait(0)  # a cell that changes nothing
    receipt(table, "has been renewed")


def test_a_compacted_item_is_restored_and_a_compaction_undone(lab: Lab):
    nb = begun(lab)
    _, table = context(nb)
    table.get_by_label("Filter by state").select_option("shortened")
    expect(table.locator("tr[data-row]")).to_have_count(2)
    row(table, "m3").click()
    nb.page.keyboard.press("u")
    receipt(table, "m3 is sent as before it was compacted")
    expect(table.locator("tr[data-row]")).to_have_count(1)
    assert focused(nb) == "m7"
    nb.page.keyboard.press("Shift+U")
    receipt(table, "c4 is undone")
    expect(table.locator(".loom-table-empty")).to_be_hidden()


def test_a_saved_table_is_the_card_as_it_was_last_and_a_page_loaded_anew_is_a_table_again(lab: Lab):
    nb = begun(lab)
    index, table = context(nb)
    row(table, "m11").click()
    nb.page.keyboard.press("h")
    receipt(table, "m11 is hidden")
    file = nb.save()
    (output,) = file.cells[index].outputs
    assert VIEW not in output.data
    assert "1 message hidden, 0 pinned" in output.data["text/plain"]
    assert "1 message hidden, 0 pinned" in output.data["text/html"]
    assert "widgets" not in file.metadata

    nb.page.reload()
    nb._until("() => window.jupyterapp?.shell?.currentWidget?.context?.isReady", "the notebook to open again")
    again = nb.page.locator(".loom-table")
    expect(row(again, "m11").locator("td").nth(7)).to_have_text("hidden", timeout=30_000)
    nb.save()

    nb.reopen(kernel=False)
    expect(nb.page.locator(".loom-table")).to_have_count(0)
    assert "1 message hidden, 0 pinned" in nb.output_text(index)
    assert nb.output(index).locator("caption", has_text="in the order of the request").count() == 1
    nb.output(index).scroll_into_view_if_needed()
    nb.screenshot("context-table-reopened")


def test_five_thousand_items_are_a_window_of_rows(lab: Lab):
    nb = lab.notebook([LOAD, TOOL, ASK.format(1), MANY])
    nb.run_all().wait(3)
    _, table = context(nb)
    total = re.search(r"([\d,]+) items", table.locator(".loom-table-matching").inner_text())[1]
    assert int(total.replace(",", "")) > 5_000
    assert len(names(table)) <= 200
    row(table, "m1").click()
    keys = nb.page.keyboard
    keys.press("End")
    expect(row(table, "m5000")).to_be_focused(timeout=20_000)
    assert len(names(table)) <= 200
    expect(row(table, "m5000")).to_have_attribute("aria-rowindex", str(int(total.replace(",", "")) + 1))
    keys.press("Home")
    expect(row(table, "instructions")).to_be_focused(timeout=20_000)
    scroll = table.locator(".loom-table-scroll")
    scroll.evaluate("node => { node.scrollTop = node.scrollHeight / 2; }")
    middle = """node => {
      const box = node.getBoundingClientRect();
      const at = document.elementFromPoint(box.x + 40, box.y + box.height / 2)?.closest('tr')?.dataset.row;
      return at?.startsWith('m2') && at.length === 5;
    }"""
    nb.page.wait_for_function(middle, arg=scroll.element_handle(), timeout=10_000)
    nb.screenshot("context-table-many")
    scroll.evaluate("node => { node.scrollTop += 5_000; }")
    expect(row(table, "m2700")).to_be_attached(timeout=10_000)
    table.get_by_role("button", name="tokens").click()
    first = table.locator("tr[data-row]").first
    expect(first).to_have_attribute("data-row", "m3", timeout=20_000)  # the one long result
    table.get_by_label("Filter by words").fill("remark 4321")
    expect(table.locator("tr[data-row]")).to_have_count(2, timeout=20_000)
    assert set(names(table)) == {"m4321", "m4326"}  # by its name, and by its words


@pytest.mark.parametrize(("ipykernel", "comms"), KERNELS)
def test_every_kernel_answers_and_refuses_while_a_run_goes_on(lab: Lab, older_kernel, ipykernel, comms):
    lab.server.set("@jupyterlab/apputils-extension:kernels-settings", {"commsOverSubshells": comms})
    spec = older_kernel(ipykernel) if ipykernel else "python3"
    nb = lab.notebook([LOAD, TOOL, ASK.format(1), SLOW], kernel=spec)
    nb.run_all().wait(3)
    _, table = context(nb)
    row(table, "m3").click()
    nb.page.keyboard.press("h")
    receipt(table, "m3 is hidden")
    running = nb.append("%%loom -t look\nplease look at page 2")
    nb.run(running).wait_for_text(running, "look")
    row(table, "m3").click()
    nb.page.keyboard.press("h")
    receipt(table, "has not ended")
    assert nb.prompt(running) == "[*]:"
    nb.interrupt()
    nb.wait(running, timeout=15)
    row(table, "m3").click()
    nb.page.keyboard.press("h")
    receipt(table, "m3 is neither pinned nor hidden any more")
