"""What was attached, in JupyterLab: a thumbnail, a PDF, a sound; in both themes and in a saved notebook."""

import re

import pytest

from tests.browser.lab import THEMES, Lab

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MAKE = """import io, wave, numpy as np, matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
from PIL import Image
y, x = np.mgrid[0:1800, 0:2400]
sky = np.stack([60 + y / 12, 110 + y / 14, 200 - y / 20], -1)
sky[y > 1100 + 120 * np.sin(x / 300)] = (52, 84, 60)
Image.fromarray(sky.astype("uint8")).save("lake at dawn.jpg", quality=90)
with plt.rc_context({"figure.figsize": (4, 3)}):
    fig, ax = plt.subplots()
    ax.plot([1.1, 2.3, 1.9, 4.0]); ax.set_title("pressure")
    from matplotlib.backends.backend_pdf import PdfPages
    with PdfPages("report.pdf") as pages:
        for _ in range(3):
            pages.savefig(fig)
    plt.close(fig)
with wave.open("bell.wav", "wb") as sound:
    sound.setnchannels(1); sound.setsampwidth(2); sound.setframerate(8_000)
    sound.writeframes((np.sin(np.arange(27_200) / 3) * 9_000).astype("<i2").tobytes())"""
ASK = '%%loom --attach "lake at dawn.jpg" report.pdf bell.wav\nwhat is on {fig}, and what do you see?'


def test_images_pdfs_and_sounds_are_seen_and_survive_in_a_saved_notebook(lab: Lab):
    nb = lab.notebook(["%load_ext loom_nb", MAKE, ASK, '%%loom --attach "lake at dwan.jpg"\nhi'])
    nb.run_all().wait(3)
    shown = nb.output(2)
    text = nb.output_text(2)
    for words in (
        "lake at dawn.jpg",
        "1,568 × 1,176 px",
        "3 pages",
        "3.4 s",
        "PDF",
        "WAV",
        "fig",
        "~7,500 tok",
    ):
        assert words in text, words
    assert shown.locator("img").count() == 2
    assert "attached image lake at dawn.jpg" in str(shown.locator("img").first.get_attribute("alt"))
    for image in shown.locator("img").all():
        assert image.evaluate("one => one.complete && one.naturalWidth > 0")
        assert str(image.get_attribute("src")).startswith("data:image/")
    assert "lake at dawn.jpg" in nb.output_text(3)  # what was meant
    for theme in THEMES:
        nb.theme(theme)
        nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
        shown.scroll_into_view_if_needed()
        nb.screenshot(f"attachments-{theme}")
        assert [words for words in nb.faint_words(2) if not re.search(r"\[\d+\]:$", words)] == []

    saved = nb.save()
    assert len(str(saved)) < 400_000
    nb.reopen(kernel=False, trusted=False)
    assert nb.output(2).locator("img").count() == 2
    assert "3 pages" in nb.output_text(2)
    nb.screenshot("attachments-saved")
