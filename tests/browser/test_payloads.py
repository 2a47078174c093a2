"""Every hostile text on every surface in one real page: nothing runs, nothing is fetched, nothing is built."""

import re

import pytest

from tests.browser.lab import Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DRAW = """from IPython.display import display
from loom_nb.notebook import render
from loom_nb.notebook.transcript import Transcript
from tests.security.payloads import PAYLOADS, run_with, the_end

def bundles(over):
    for payload in PAYLOADS:
        events = run_with(payload)
        yield render.bundle(Transcript.of([*events, the_end(payload)] if over else events), times=True, prompt=True)

def show(kind, over, join):
    texts = [bundle[kind] for bundle in bundles(over)]
    for start in range(0, len(texts), 8):  # a cell shows fifty outputs
        display({kind: join.join(texts[start:start + 8])}, raw=True)
"""
CELLS = [
    DRAW,
    "show('text/html', False, '')",
    "show('text/html', True, '')",
    "show('text/markdown', True, '\\n\\n---\\n\\n')",
    "show('text/plain', True, '\\n\\n')",
]
TAGS = {
    *(
        "section",
        "div",
        "p",
        "details",
        "summary",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "table",
        "thead",
        "tbody",
    ),
    *(
        "tr",
        "th",
        "td",
        "pre",
        "code",
        "span",
        "strong",
        "em",
        "s",
        "del",
        "a",
        "ul",
        "ol",
        "li",
        "blockquote",
    ),
    *("br", "hr", "footer"),
}
READ = """index => {
  const shown = document.querySelector(`.jp-Cell[data-windowed-list-index="${index}"]`);
  const found = {};
  const roots = shown.querySelectorAll('.jp-OutputArea-output');
  for (const root of roots) for (const node of root.querySelectorAll('*')) {
    if (node.closest('mjx-container, .MathJax, mjx-assistive-mml')) continue;  // a formula that we marked
    const anchor = node.closest('.jp-InternalAnchorLink');
    if (anchor) continue;  // JupyterLab's own, at headings
    const told = Object.fromEntries([...node.attributes].map(one => [one.name, one.value.slice(0, 300)]));
    const name = node.tagName.toLowerCase();
    (found[name] ??= []).push(told);
  }
  return [roots.length, found];
}"""
PROVOKE = """index => {
  const shown = document.querySelector(`.jp-Cell[data-windowed-list-index="${index}"]`);
  for (const node of shown.querySelectorAll('.jp-OutputArea-output *')) {
    if (node.tagName === 'DETAILS') node.open = true;
    for (const kind of ['mouseover', 'mouseenter', 'focus', 'animationstart', 'toggle', 'load', 'error'])
      node.dispatchEvent(new Event(kind));
  }
}"""


@pytest.mark.timeout(600)
def test_no_payload_does_anything_in_a_page(lab: Lab):
    nb = lab.notebook(CELLS)
    nb.timeout = 180
    for index in range(len(CELLS)):
        nb.play(index)
    seen = 0
    for index in range(1, len(CELLS)):
        nb.cell(index).scroll_into_view_if_needed()
        nb.page.evaluate(PROVOKE, index)
        count, elements = nb.page.evaluate(READ, index)
        assert count >= 10
        seen += sum(map(len, elements.values()))
        assert_ours(elements, ours=index < 3)
    nb.page.wait_for_timeout(1000)  # for what would load late

    assert seen > 5_000
    assert nb.page.evaluate("() => window.__ran") is None
    assert not [problem for problem in lab.problems if "beacon" in problem]
    assert nb.page.locator(".jp-Dialog").count() == 0


ATTRIBUTES = {"style", "class", "title", "open", "scope", "start", "href", "rel", "target"}


LINK = r"https?://|mailto:"
NO_SCRIPT = r"(?!\s*(javascript|vbscript):)"
"""A link to `data:` leads nowhere: no browser opens it from a page."""


def assert_ours(elements: dict[str, list[dict[str, str]]], *, ours: bool) -> None:
    """Only elements of the list, with no attribute that could do anything."""
    assert set(elements) <= TAGS, set(elements) - TAGS
    for name, nodes in elements.items():
        # JupyterLab numbers headings, and gives the code of Markdown a class of its own
        allowed = ATTRIBUTES | ({"id", "data-jupyter-id"} if re.fullmatch("h[1-6]", name) else set())
        for told in nodes:
            assert set(told) <= allowed, (name, told)
            style = told.get("style", "").lower()
            assert not re.search(r"position|url|expression|import|z-index|inset|visibility", style), told
            assert not re.search("jp-(?!RenderedText)", told.get("class", "")), told
            # a bare address in Markdown and plain text is made a link by JupyterLab itself
            assert re.match(LINK if ours else NO_SCRIPT, told.get("href", "https://")), told


ACTS = """from IPython.display import display
from loom_nb.notebook import render
from loom_nb.notebook.transcript import Transcript
from tests.notebook import test_render_acts as acts

code = acts.ask("a5", call_id="c3", tool="run_python", arguments={"code": "x = 1"},
                preview="import pandas as pd\\ndf = df[df.t < 60]  # drop", preview_kind="code")
shell = acts.ask("a4", call_id="c2", tool="run_shell", arguments={"command": "rm -r out"}, destructive=True,
                 preview="rm -r out", preview_kind="command", sandbox="none", mode="all")
asked = acts.other("choice", options=(acts.Option("a.csv"), acts.Option("b.csv", "b.csv", "1 GB")))
"""
WAITING = "display(render.bundle(Transcript.of([*acts.WAITING, shell, code, asked, acts.PLAN])), raw=True)"
OVER = """display(render.bundle(Transcript.of([
    *acts.WAITING, acts.allowed("call", acts.ARGUMENTS | {"path": "out/new.csv"}), *acts.DONE,
    shell, acts.denied("too risky", "a4"), code, acts.QuestionAnswered("a5", "timeout"),
    asked, acts.QuestionAnswered("q5", "person", "a.csv", "you"), acts.CHANGES, acts.PLAN, *acts.END])), raw=True)"""


def test_cards_plans_and_tables_can_be_read_in_every_theme(lab: Lab):
    nb = lab.notebook([ACTS, WAITING, OVER])
    for index in range(3):
        nb.play(index)
    for theme in ("light", "dark", "high contrast"):
        nb.theme(theme)
        for index in (1, 2):
            look(nb, index, f"acts-{theme}-{index}")
            assert nb.faint_words(index) == []


def look(nb: Notebook, index: int, name: str) -> None:
    """Bring a cell into view and keep a picture of it."""
    nb.cell(index).scroll_into_view_if_needed()
    nb.screenshot(name)
