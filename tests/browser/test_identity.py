"""The identity files in JupyterLab: who wrote what, the difference of an edit, and how it becomes one's own."""

import re

import pytest

from tests.browser.lab import THEMES, Lab
from tests.browser.test_questions import card, choose

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FILES = '''from pathlib import Path
import os, loom_nb
home = get_ipython().loom_workbench.settings.home
(home / "identity").mkdir(parents=True, exist_ok=True)
(home / "identity" / "SOUL.md").write_text("""- Answer briefly.
- Never guess: say what you do not know.
- Dates as 2026-11-21.
""")
(home / "identity" / "USER.md").write_text("""- Kim, hydrologist, works in Zurich.
- Prefers metres to feet.
""")'''
EDIT = """from loom_nb import Agent, MemoryStore, Model
from loom_nb.capabilities.identity import IdentityCapability
from loom_nb.models.scripted import Call
def agent(**options):
    return Agent(Model.scripted([Call("edit_profile", {"file": "USER.md",
        "old": "- Prefers metres to feet.\\n",
        "new": "- Prefers metres to feet, and kPa to bar.\\n- Works on the house at the lake until spring.\\n"}),
        "noted"]), capabilities=[IdentityCapability(home=home, **options)], session_store=MemoryStore())
await agent(edits="allow").run("note what you learned")
None"""


def test_the_difference_of_an_edit_is_seen_confirmed_and_undone(lab: Lab):
    nb = lab.notebook(
        ["%load_ext loom_nb", FILES, "%loom identity", EDIT, "%loom identity", "%loom identity diff",
         "%%loom\nwho am I?"]
    )  # fmt: skip
    nb.run_all().wait(6)
    assert re.search(r"SOUL\.md\s+how the agent behaves\s+yours: in the instructions", nb.output_text(2))
    assert "changed by the agent, not confirmed: travels as data" in nb.output_text(4)
    shown = nb.output_text(5)
    assert "+- Works on the house at the lake until spring." in shown
    assert "USER.md travels as data" in nb.output_text(6)
    digits = re.search(r"%loom identity confirm USER\.md ([0-9a-f]{8})", shown)
    assert digits is not None
    for theme in THEMES:
        nb.theme(theme)
        nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
        nb.output(5).scroll_into_view_if_needed()
        nb.screenshot(f"identity-{theme}")
        assert [words for words in nb.faint_words(5) if not re.search(r"\[\d+\]:$", words)] == []
    nb.append(digits[0])
    nb.append("%loom identity undo USER.md")
    nb.append("%loom identity")
    for index in (7, 8, 9):
        nb.run(index).wait(index)
    assert "USER.md is yours" in nb.output_text(7)
    assert "the agent's latest edit of USER.md is undone" in nb.output_text(8)
    assert "not confirmed" not in nb.output_text(9)
    nb.screenshot("identity-undone")


def test_an_edit_is_asked_for_with_its_difference(lab: Lab):
    asking = EDIT.replace('await agent(edits="allow").run("note what you learned")\nNone', "") + (
        "\nfrom loom_nb import GovernancePolicy, Runtime\n"
        "get_ipython().loom_workbench.model = Model.scripted([Call('edit_profile', {'file': 'SOUL.md', "
        "'old': '- Answer briefly.', 'new': '- Answer at length, with jokes.'}), 'done'])"
    )
    nb = lab.notebook(["%load_ext loom_nb", FILES, asking, "%%loom\nbe funnier", "%loom identity"])
    nb.run(0).wait(0).run(1).wait(1).run(2).wait(2)
    nb.run(3)
    nb.wait_for_text(3, "Answer at length, with jokes.")
    for theme in THEMES:
        nb.theme(theme)
        nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
        nb.screenshot(f"identity-asked-{theme}")
    shown = card(nb, index=3)
    choose(shown, "Allow once")
    shown.locator("button").click()
    nb.wait(3)
    nb.run(4).wait(4)
    assert "not confirmed" not in nb.output_text(4)
