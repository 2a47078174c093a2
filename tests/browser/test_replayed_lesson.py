"""The lesson with a real vendor in JupyterLab: no key, no network, played from what lies beside it."""

import shutil
from pathlib import Path

import nbformat
import pytest

from loom_nb.testing.compare import RAISES, _tags
from tests.browser.lab import THEMES, Lab
from tests.recorded import recording_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LESSON = Path(__file__).parents[2] / "tutorial" / "13_a_real_model.ipynb"


def test_the_recorded_lesson_is_played_in_jupyterlab_as_it_is_saved(lab: Lab):
    shutil.copyfile(recording_of(LESSON), lab.server.folder / recording_of(LESSON).name)
    nb = lab.notebook(path=LESSON, name=LESSON.stem)
    cells = nbformat.read(LESSON, as_version=4).cells
    asked = [index for index, cell in enumerate(cells) if cell.source.startswith("%%loom")]
    for index, cell in enumerate(cells):
        if cell.cell_type == "code":
            nb.play(index)

    longer, later, drift = asked
    assert "The café in Rome is open longer: 12 hours a day" in nb.output_text(longer)
    assert nb.output_text(longer).count("opening_hours") == 2
    assert "only Rome is open" in nb.output_text(later)
    assert _tags(cells[drift]) & RAISES
    assert "ReplayDrift" in nb.output_text(drift)
    assert "in Rome or in Oslo?" in nb.output_text(drift)
    for theme in list(THEMES)[:2]:
        nb.theme(theme)
        nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
        nb.output(longer).scroll_into_view_if_needed()
        nb.screenshot(f"real-model-{theme}")
