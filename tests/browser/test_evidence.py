"""What an answer rests on, in JupyterLab: a number is followed to its passage, an invention is seen."""

import re

import pytest

from tests.browser.lab import THEMES, Lab

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOAD = "%load_ext loom_nb"
MADE = """from loom_nb import Agent, MemoryStore, Model
from loom_nb.capabilities.knowledge import KnowledgeSource
texts = {
    "Quokkas": "# Quokkas\\n\\nQuokkas live on Rottnest island near Perth. <b>They</b> are marsupials.",
    "Bees": "# Bees\\n\\nHoney bees dance to tell each other where flowers are.",
}
agent = Agent(
    Model.scripted(["Quokkas live on **Rottnest** [1], bees dance [2]; nobody knows the rest [7].\\n\\n" + "And so on.\\n\\n" * 30] * 9),
    knowledge=[KnowledgeSource.texts(texts, name="animals")], session_store=MemoryStore(),
)"""
ASK = """from IPython.display import display
from loom_nb.notebook.render.bundle import bundle
from loom_nb.notebook.transcript import Transcript
result = await agent.run("where do quokkas live, and how do honey bees dance?")
display(bundle(Transcript.of(result.events)), raw=True)"""


@pytest.mark.parametrize("trusted", [True, False])
def test_a_citation_is_followed_to_its_passage(lab: Lab, trusted):
    nb = lab.notebook([LOAD, MADE, ASK])
    nb.run(0).run(1).run(2).wait(2)
    if not trusted:
        nb.save()
        nb.reopen(trusted=False, kernel=False)
    shown = nb.output(2)
    assert "Evidence: 2 of 2 passages cited" in nb.output_text(2)
    assert "⚠ not in the evidence" in nb.output_text(2)
    assert "<b>They</b> are marsupials." in nb.output_text(2)
    link = shown.locator("a", has_text=re.compile("^1$")).first
    place = shown.get_by_text("Quokkas, lines 1-3 · score").first
    link.scroll_into_view_if_needed()
    link.click()
    nb.page.wait_for_function(
        "element => { const box = element.getBoundingClientRect(); return box.top >= 0 && box.top < innerHeight }",
        arg=place.element_handle(),
    )


def test_evidence_is_read_on_light_and_on_dark(lab: Lab):
    nb = lab.notebook([LOAD, MADE, ASK])
    nb.run(0).run(1).run(2).wait(2)
    for theme in THEMES:
        nb.theme(theme)
        nb.output(2).locator("details").last.scroll_into_view_if_needed()
        assert nb.faint_words(2) == []
        nb.screenshot(f"evidence-{theme.split()[-1].lower()}")
