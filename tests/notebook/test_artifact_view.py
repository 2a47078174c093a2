"""An artifact on the screen: its content, and nothing that a page would run."""

from html.parser import HTMLParser

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from loom_nb.notebook.artifact_view import bundle
from loom_nb.runtime.artifacts import Artifact, packed, stored

NASTY = "<img src=x onerror=alert(1)><script>alert(1)</script>[a](javascript:x)|\u202e"
PNG = b"\x89PNG\r\n\x1a\n"


def one_of(value, name="thing", media_type=None):
    return Artifact(stored(packed(name, value, media_type), None))


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.words = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.cells += [""] if tag in ("td", "th") else []

    def handle_data(self, data):
        self.words += data
        if self.cells and self.tags[-1] in ("td", "th"):
            self.cells[-1] += data.strip()


def test_a_table_is_shown_as_one_on_every_surface():
    frame = pd.DataFrame({"city": ["Zürich", None], "n": [1, 2], "x": [0.5, 1.0]})
    shown = bundle(one_of(frame, "towns"))
    assert Page(shown["text/html"]).cells == [
        "",
        "city",
        "n",
        "x",
        "0",
        "Zürich",
        "1",
        "0.5",
        "1",
        "nan",
        "2",
        "1.0",
    ]
    assert "| 0 | Zürich | 1 | 0.5 |" in shown["text/markdown"]
    assert "Zürich" in shown["text/plain"]
    assert "<caption>artifact towns · table, 2 rows × 3 columns" in shown["text/html"]


def test_of_a_large_table_the_first_part_is_shown_and_the_rest_counted():
    shown = bundle(one_of(pd.DataFrame([[0] * 20] * 5_000)))
    assert len(Page(shown["text/html"]).cells) == 13 * 11
    assert "10 of 5,000 rows, 12 of 20 columns" in shown["text/html"]
    assert "10 of 5,000 rows, 12 of 20 columns" in shown["text/markdown"]


@pytest.mark.parametrize(
    "value",
    [
        NASTY,
        {"a": NASTY},
        pd.DataFrame({NASTY: [NASTY]}, index=[NASTY]),
        NASTY.encode(),
        pd.DataFrame(index=[NASTY]),
    ],
)
def test_nothing_in_it_is_markup(value):
    shown = bundle(one_of(value, NASTY.removesuffix("\u202e")))
    assert set(shown) == {"text/plain", "text/markdown", "text/html"}
    forbidden = {"img", "script", "a"}
    assert not set(Page(shown["text/html"]).tags) & forbidden
    trusting = MarkdownIt("commonmark", {"html": True}).enable("table").render(shown["text/markdown"])
    assert not set(Page(trusting).tags) & forbidden
    assert all("\u202e" not in text for text in shown.values())


def test_an_image_is_shown_as_an_image_and_a_drawing_that_could_run_is_not():
    assert set(bundle(one_of(PNG))) == {"text/plain", "image/png"}
    svg = bundle(one_of(b"<svg onload='alert(1)'/>", media_type="image/svg+xml"))
    assert set(svg) == {"text/plain", "text/markdown", "text/html"}
    assert "<svg" not in svg["text/html"]


def test_a_long_text_is_cut_and_says_so():
    shown = bundle(one_of("x" * 5_000))
    assert "3,000 more characters" in shown["text/html"]
    assert "3,000 more characters" in shown["text/plain"]
