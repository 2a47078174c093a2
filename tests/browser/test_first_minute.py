"""The first sixty seconds of a new user, as far as this version reaches."""

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import THEMES, Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("whole_lab")]

DATA = """import pandas as pd

df = pd.DataFrame({"city": ["Bern", "Basel", "Brig", "Biel"], "people": [134, 173, 13, 55]})
limit = 20
names = ["a", "b"]"""


def test_from_load_ext_to_restart_and_run_all(lab: Lab):
    nb = lab.notebook(["%load_ext loom_nb", DATA, "%%loom -o run\nwhat data do I have here?"])

    # 0 s: a short card, no key asked for
    card = nb.play(0)
    assert re.search(r"loom_nb \d", card)
    assert "offline (demo, free)" in card
    assert "none needed" in card
    assert "%%loom" in card
    nb.screenshot("minute-1-card")

    # 10 s: an answer, soon, labelled; one folded card of a tool that only reads; a footer
    nb.play(1)
    nb.run(2).wait_for_text(2, "DEMO")
    answer = nb.wait(2).output_text(2)
    for name in ("df", "limit", "names", "['a', 'b']"):
        assert name in answer
    folded = nb.output(2).locator("details", has=nb.page.locator("summary", has_text="list_variables"))
    assert folded.count() == 1
    assert folded.get_attribute("open") is None
    assert "reads" in folded.locator("summary").first.inner_text()
    assert re.search(r"demo · \d+ steps · [\d,.k]+→[\d,.k]+ tok · \$0", answer)
    nb.screenshot("minute-2-answer")

    # 25 s: a question about a value, handed over with the prompt
    about = nb.append("%%loom\nhow many rows has {df}?")
    told = nb.play(about)
    assert re.search(r"\b4\b", told)
    assert "used" in told.lower()
    assert "df" in told

    # 40 s: what the next request is made of: a bar, its parts and every item; nothing is hidden
    context = nb.append("%loom context")
    nb.run(context).wait(context)
    ledger = nb.output(context).locator(".loom-table")
    ledger.locator("tr[data-row]").first.wait_for(timeout=30_000)
    bar = ledger.get_by_role("img").get_attribute("aria-label")
    assert re.search(r"system [\d,]+ tokens.*tools [\d,]+ tokens.*history [\d,]+ tokens", bar or "")
    expect(ledger.locator("tr[data-row]").filter(has_text="notebook:df")).to_have_count(1)
    assert "0 messages hidden, 0 pinned" in ledger.inner_text()
    items = named(ledger)
    for theme in THEMES:
        nb.theme(theme)
        nb.output(context).scroll_into_view_if_needed()
        nb.screenshot(f"minute-3-context-{theme}")
    nb.theme(next(iter(THEMES)))

    # 50 s: real values, and completion on them
    assert "df" in nb.play(nb.append("print(run.output)"))
    assert nb.play(nb.append("print(run.status, len(run.tools))")).split() == ["completed", "1"]
    last = nb.append("run.outp")
    nb.command("notebook:enter-command-mode", last)
    nb.page.keyboard.press("Enter")
    nb.page.keyboard.press("End")
    complete_to(nb, "output")
    nb.page.keyboard.press("Escape")
    nb.set_source(last, "'done'")

    # 60 s: everything again, in a new kernel, gives the same
    nb.restart_and_run_all()
    nb.wait(last)
    assert timeless(nb.output_text(2)) == timeless(answer)
    assert timeless(nb.output_text(about)) == timeless(told)
    nb.output(context).scroll_into_view_if_needed()
    expect(ledger.locator("tr[data-row]")).to_have_count(len(items))
    assert named(ledger) == items
    nb.screenshot("minute-4-again")


MESSY = """import pandas as pd

df = pd.DataFrame({"city": ["Oslo ", "Lima", "Lima", None], "price": ["$1,200", "30", "30", None]})"""


def test_the_first_act_is_asked_about_once_and_can_be_taken_back(lab: Lab):
    clean = "%%loom\nclean {df} and tell me what changed"
    nb = lab.notebook(["%load_ext loom_nb", MESSY, clean, "len(df)", "%loom rollback", "len(df)"])
    nb.play(0)
    nb.play(1)

    # 25 s: the first act asks; the call is shown whole
    nb.run(2)
    card = nb.output(2).get_by_role("alertdialog", name="Approval a1")
    card.wait_for(timeout=60_000)
    assert "drop_duplicates" in card.inner_text()
    nb.page.wait_for_timeout(400)  # what comes in the first moment is no answer
    card.get_by_role("radio", name=re.compile("^Allow this exact call again")).click()
    card.locator("button").click()
    told = nb.wait(2).output_text(2)
    assert "DataFrame 4×2" in told
    assert "a1 allowed" in told
    nb.screenshot("minute-5-cleaned")
    assert nb.play(3).strip() == "2"
    assert "rolled back" in nb.play(4)
    assert nb.play(5).strip() == "4"
    nb.screenshot("minute-6-rolled-back")

    # 60 s: an unchanged call that was allowed in this notebook is not asked about again
    nb.restart_and_run_all()
    nb.wait(5)
    assert "a1 allowed it before" in nb.output_text(2)
    assert nb.output_text(5).strip() == "4"


def named(ledger: Locator) -> list[str]:
    """What each row of the ledger begins with: the item."""
    return [row.inner_text().split()[0] for row in ledger.locator("tr[data-row]").all()]


def timeless(text: str) -> str:
    """A transcript without how long things took."""
    return re.sub(r"\d+(\.\d+)? m?s\b", "— s", text)


def complete_to(nb: Notebook, name: str) -> None:
    """Press Tab until the name is offered or written: JupyterLab drops an answer that takes over a second."""
    for _ in range(30):
        nb.page.keyboard.press("Tab")
        nb.page.wait_for_timeout(1500)
        offered = nb.page.locator(".jp-Completer").all_inner_texts()
        if any(name in text for text in [*offered, nb.source(nb.count() - 1)]):
            return
    raise AssertionError(f"'{name}' was never offered")
