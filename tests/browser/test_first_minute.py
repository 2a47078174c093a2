"""The first sixty seconds of a new user, as far as this version reaches."""

import re
import time

import pytest

from tests.browser.lab import Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

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
    asked = time.monotonic()
    nb.run(2).wait_for_text(2, "DEMO")
    seen_after = time.monotonic() - asked
    answer = nb.wait(2).output_text(2)
    assert seen_after < 5, f"the first words came after {seen_after:.1f} s"  # 1 s on an idle machine
    for name in ("df", "limit", "names", "['a', 'b']"):
        assert name in answer
    folded = nb.output(2).locator("details", has=nb.page.locator("summary", has_text="list_variables"))
    assert folded.count() == 1
    assert folded.get_attribute("open") is None
    assert "reads" in folded.locator("summary").first.inner_text()
    assert re.search(r"demo · \d+ steps · [\d,.k]+→[\d,.k]+ tok · \$0", answer)
    nb.screenshot("minute-2-answer")

    # 40 s: a question about a value, handed over with the prompt
    about = nb.append("%%loom\nhow many rows has {df}?")
    told = nb.play(about)
    assert re.search(r"\b4\b", told)
    assert "used" in told.lower()
    assert "df" in told

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
    nb.screenshot("minute-3-again")


def timeless(text: str) -> str:
    """A transcript without how long things took."""
    return re.sub(r"\d+(\.\d+)? m?s\b", "— s", text)


def complete_to(nb: Notebook, name: str) -> None:
    """Press Tab until the name is offered or written: JupyterLab drops an answer that takes over a second."""
    for _ in range(10):
        nb.page.keyboard.press("Tab")
        nb.page.wait_for_timeout(1500)
        offered = nb.page.locator(".jp-Completer").all_inner_texts()
        if any(name in text for text in [*offered, nb.source(nb.count() - 1)]):
            return
    raise AssertionError(f"'{name}' was never offered")
