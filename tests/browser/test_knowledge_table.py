"""`%loom knowledge` in JupyterLab: documents are indexed, looked through, asked, and cited by an answer."""

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import THEMES, Lab, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BEGIN = """import os, pathlib, tempfile
os.environ["LOOM_NB_HOME"] = tempfile.mkdtemp()
%load_ext loom_nb
from loom_nb import Model
model = Model.scripted(["On Rottnest [1]; nobody knows more [7]."] * 9)
folder = pathlib.Path("papers")
folder.mkdir(exist_ok=True)
for number, (name, text) in enumerate({
    "Quokkas": "Quokkas live on Rottnest island near Perth. <b>They</b> are marsupials.\\n\\n## Food\\n\\nThey eat grass.",
    "Bees": "Honey bees dance to tell each other where flowers are.",
    "Plums": "The plum tree was planted in 2019.",
    "Attention": "The cost of attention grows with the square of the length.",
}.items()):
    _ = (folder / f"{name.lower()}.md").write_text(f"# {name}\\n\\n{text}\\n")
_ = (folder / "broken.pdf").write_bytes(b"%PDF-1.4 broken")"""
ADD = "%loom knowledge add papers"
INDEX = "%loom knowledge index"
ASK = "%%loom -t knowledge -m model\nwhere do quokkas live?"
TABLE = "%loom knowledge"


def shown(lab: Lab, *cells: str) -> tuple[Notebook, int, Locator]:
    """A notebook of these cells, and the table that the last of them shows."""
    nb = lab.notebook([BEGIN, ADD, *cells])
    nb.run_all().wait(len(cells) + 1)
    table = nb.output(len(cells) + 1).locator(".loom-table")
    expect(table.locator("tr[data-row]").first).to_be_visible()
    return nb, len(cells) + 1, table


def row(table: Locator, words: str) -> Locator:
    return table.locator("tr[data-row]", has_text=words)


def faint(nb: Notebook, index: int) -> list[str]:
    return [words for words in nb.faint_words(index) if not re.search(r"\[\d+\]:$", words)]


def pictures(nb: Notebook, index: int, shot: Locator, name: str) -> None:
    for theme in THEMES:
        nb.theme(theme)
        nb.page.locator("#jupyterlab-splash").wait_for(state="detached")
        nb.output(index).scroll_into_view_if_needed()
        shot.screenshot(path=nb.screenshot(f"knowledge-{name}-{theme}"))
        assert faint(nb, index) == []


def test_documents_are_indexed_asked_and_cited_and_saved_as_a_card_with_the_same_facts(lab: Lab):
    nb, index, table = shown(lab, INDEX, ASK, TABLE)
    assert "indexed: 4 documents, 4 chunks; 1 document not readable" in nb.output_text(2)
    assert "done: 5 of 5 documents" in nb.output_text(2)
    assert nb.output(2).get_by_role("button", name="Stop").count() == 0
    nb.output(2).screenshot(path=nb.screenshot("knowledge-indexed"))
    assert "Evidence: 1 of 1 passage cited" in nb.output_text(3)
    assert "not in the evidence" in nb.output_text(3)  # of [7]

    expect(table.locator("tr[data-row]")).to_have_count(5)
    expect(row(table, "Quokkas")).to_contain_text("1×")
    expect(row(table, "broken.pdf")).to_contain_text("it is no sound PDF")
    row(table, "Quokkas").locator("button").first.click()
    details = table.locator(".loom-table-details")
    expect(details).to_contain_text("papers/quokkas.md")
    expect(details).to_contain_text("r1 as [1]")
    assert table.locator("b").count() == 0  # foreign words are text
    pictures(nb, index, table, "opened")
    nb.save()
    nb.reopen(kernel=False, trusted=False)
    text = nb.output_text(index)
    for words in ("4 documents in 1 source", "Quokkas", "it is no sound PDF", "not readable"):
        assert words in text
    pictures(nb, index, nb.output(index), "saved")


def test_a_question_is_asked_as_one_types_by_the_keyboard_alone(lab: Lab):
    nb, index, table = shown(lab, INDEX, TABLE)
    cells, keys = nb.count(), nb.page.keyboard
    search = table.get_by_label("Search", exact=True)
    search.focus()
    keys.type("where do quokkas live")
    expect(table.locator("tr[data-row]").first).to_contain_text("Rottnest")
    expect(table.locator("caption")).to_contain_text("passages, best first: 1 of them would be told")
    keys.press("ArrowDown")
    first = table.locator("tr[data-row]").first
    expect(first).to_be_focused()
    keys.press("Enter")
    details = table.locator(".loom-table-details")
    expect(details).to_contain_text("why it is found")
    expect(details).to_contain_text("papers/quokkas.md:1")
    expect(table.locator(".loom-table-spoken")).to_contain_text(
        re.compile(r"why it is found, words [01]\.\d\d")
    )
    pictures(nb, index, table, "asked")
    first.focus()  # a page that changes its theme may take it
    keys.press("Enter")
    expect(details).to_have_count(0)
    keys.press("/")
    keys.press("Escape")
    expect(table.locator("tr[data-row]")).to_have_count(5)
    table.get_by_role("button", name="chunks").click()
    expect(table.get_by_role("columnheader", name="chunks")).to_have_attribute("aria-sort", "descending")
    search.fill("plum")
    table.get_by_label("What is looked for").select_option("names")
    expect(table.locator("tr[data-row]")).to_have_count(1)
    expect(row(table, "Plums")).to_be_visible()
    unnamed = table.evaluate(
        """node => [...node.querySelectorAll("button, input, select, textarea, [role=img]")]
        .filter((one) => one.offsetParent && !(one.getAttribute("aria-label") || one.textContent.trim()
            || one.labels?.length)).map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    assert nb.count() == cells  # no key reached the notebook


def test_a_document_opens_at_its_link_and_the_graph_is_a_picture(whole_lab: Lab):
    lab = whole_lab  # it opens in JupyterLab's editor
    graph = """base = get_ipython().loom_workbench.equipment.knowledge.base()
chunk = base.scores("quokkas")[0].chunk.id
def write(db):
    for number, name in enumerate(("Quokka", "Rottnest <i>", "Perth"), 1):
        db.execute("INSERT INTO entities VALUES (?, ?, 'place', '')", (number, name))
        db.execute("INSERT INTO aliases VALUES (?, ?)", (name.split()[0].lower(), number))
    db.execute("INSERT INTO edges VALUES (1, 'lives on', 2, ?)", (chunk,))
    db.execute("INSERT INTO edges VALUES (2, 'is near', 3, ?)", (chunk,))
base.writing(write)"""
    nb = lab.notebook(
        [BEGIN, ADD, INDEX, graph, "%loom knowledge graph quokka", "%loom knowledge show quokkas.md"]
    )
    nb.run_all().wait(5)
    picture = nb.output(4).get_by_role("img", name="entities")
    expect(picture).to_be_visible()
    assert "lives on" in picture.inner_html() and "<i>" not in picture.inner_html()
    pictures(nb, 4, nb.output(4), "graph")
    nb.output(5).get_by_role("link", name=re.compile("quokkas.md")).click()
    expect(nb.page.locator(".lm-TabBar-tabLabel", has_text="quokkas.md").first).to_be_visible()
    nb.page.screenshot(path=nb.screenshot("knowledge-followed"))


def test_the_stop_button_ends_indexing_and_keeps_what_was_done(lab: Lab):
    slow = """import threading
from loom_nb.capabilities.knowledge import KnowledgeBase, KnowledgeSource
go = threading.Event()
def pages():
    yield "a page", "about plums"
    go.wait(30)
base = KnowledgeBase([KnowledgeSource.callable(pages)])"""
    nb = lab.notebook([BEGIN, slow, "%loom knowledge index --of base", "go.set()"])
    nb.run(0).run(1).wait(1)
    nb.run(2)
    button = nb.output(2).get_by_role("button", name="Stop")
    button.click()
    nb.wait_for_text(2, "indexing was stopped by you")
    expect(button).to_have_count(0)
    nb.output(2).screenshot(path=nb.screenshot("knowledge-stopped"))
