"""How runs end in JupyterLab: the badge of a replay, what the runtime told the model, what to type next."""

import re

import pytest

from tests.browser.lab import THEMES, Lab
from tests.browser.test_context import faint, look_at

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MODELS = """import tempfile
from loom_nb import Model, tool
from loom_nb.models.scripted import Call
tape = tempfile.mkdtemp() + "/tape.json"
first = Model.cassette(tape, Model.scripted(["The sky is **blue**."]), "record")
again = Model.cassette(tape, Model.scripted([]), "strict")
mends = Model.scripted(["about three", '{"value": 3}'])
walks = Model.scripted([Call("look", {"page": 1})])
@tool(read_only=True)
def look(page: int) -> str:
    "Look at a page."
    return f"page {page}" """
CELLS = [
    "%load_ext loom_nb",
    MODELS,
    "%%loom -m first --new\nwhich colour is the sky?",
    "%%loom -m again --new\nwhich colour is the sky?",
    "%loom budget",
    "%%loom -m mends --new --schema int\nhow many stations are there?",
    "%%loom -m walks --new -t look --max-steps 1\nwhat is on page 1?",
    "%loom show last",
    "%loom why last",
]


def test_a_reader_sees_what_was_replayed_what_the_model_was_told_and_what_to_type(lab: Lab):
    nb = lab.notebook(CELLS)
    for index in range(len(CELLS)):
        nb.run(index).wait(index)

    assert "replayed" not in nb.output_text(2)
    assert "replayed from recording" in nb.output_text(3)
    assert re.search(r"last cell\s+nothing, replayed from recording; no cap", nb.output_text(4))
    mended = nb.output_text(5)
    assert "told the model: This does not fit the schema" in mended
    assert "You" not in mended.replace("Your", "")
    assert "%%loom --max-steps 2" in nb.output_text(6)
    assert "1 model call was made" in nb.output_text(6)
    assert "%%loom --max-steps 2" in nb.output_text(7)
    assert "%%loom --max-steps 2" in nb.output_text(8)
    for theme in THEMES:
        for index in (3, 5, 7, 8):
            look_at(nb, theme, index)
            nb.screenshot(f"ends-{index}-{theme}")
            assert faint(nb, index) == []
