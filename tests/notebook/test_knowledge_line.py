"""`%loom knowledge`: documents are added, indexed, searched, shown and removed by typing."""

import asyncio
from pathlib import Path

import pytest

from loom_nb.errors import LoomError, LoomUsageError
from loom_nb.events import EvidenceFound
from loom_nb.notebook.knowledge_places import KnowledgePlaces, source_of
from tests.notebook.kernels import WIDGET_VIEW, kernel
from tests.notebook.shells import facts, offered, typed

QUOKKAS = "# Quokkas\n\nQuokkas live on Rottnest island near Perth. They are <b>marsupials</b>.\n"
BEES = "# Bees\n\nHoney bees dance to tell each other where flowers are.\n"
ASK = "%%loom -q -t knowledge -m model\nwhere do quokkas live?"


@pytest.fixture
def papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two documents and one that is broken, and the folder above it to stand in."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "quokkas.md").write_text(QUOKKAS)
    (folder / "bees.md").write_text(BEES)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 broken")
    return folder


@pytest.fixture
def here(papers: Path, shell):
    """A shell in that folder."""
    return shell


@pytest.fixture
def indexed(here):
    typed(here, "knowledge add papers")
    typed(here, "knowledge index")
    return here


def ask(shell):
    shell.run_cell("from loom_nb import Model\nmodel = Model.scripted(['on Rottnest [1]'] * 9)")
    return shell.run_cell(ASK)


def row(card, words):
    return next(row for table in card.tables for row in table.rows if words in " ".join(row))


def test_without_documents_it_says_what_to_type_and_so_does_a_cell(here):
    card = typed(here, "knowledge")
    assert card.title == "no documents yet"
    assert card.steps[0][0] == "%loom knowledge add FOLDER"
    assert not (here.loom_workbench.settings.home / "knowledge").exists()  # nothing is made for it
    error = ask(here).error_in_exec
    assert isinstance(error, LoomUsageError)
    assert error.title == "-t knowledge: this notebook has no documents yet"
    assert error.fixes[0] == "%loom knowledge add FOLDER"


def test_a_folder_is_added_indexed_and_listed_with_what_could_not_be_read(here):
    assert typed(here, "knowledge add papers").title == "added: papers"
    assert facts(typed(here, "knowledge"))["indexed"].startswith("not yet")
    report = typed(here, "knowledge index")
    assert report.title == "indexed: 2 documents, 2 chunks; 1 document not readable"
    assert row(report, "broken.pdf")[1].startswith("it is no sound PDF")
    card = typed(here, "knowledge")
    assert card.title == "2 documents in 1 source, 2 chunks"
    assert facts(card)["not readable"] == "1 document"
    assert row(card, "papers")[:2] == ("papers", "folder")
    assert row(card, "Quokkas")[2:5] == ("papers", "markdown", "1")
    again = facts(typed(here, "knowledge index"))
    assert (again["new"], again["changed"], again["as before"]) == ("0", "0", "2")


def test_a_question_finds_passages_with_what_speaks_for_each(indexed):
    card = typed(indexed, "knowledge search where do quokkas live?")
    assert card.title == "1 passage of 2 documents"
    chunk, passage, where, score, made, told = card.tables[0].rows[0]
    assert "<b>marsupials</b>" in passage and where == "Quokkas, lines 1-3"
    assert float(score) > 0.5 and made.startswith("words 1.00") and told == "yes"
    assert "<b>" not in card.to_html()  # foreign words are text
    assert typed(indexed, "knowledge where do quokkas live").tables[0].rows[0][0] == chunk
    nothing = typed(indexed, "knowledge search zebra crossings")
    assert (nothing.title, nothing.tables) == ("0 passages of 2 documents", ())


def test_a_document_and_a_chunk_are_shown_with_where_they_open(indexed):
    document = typed(indexed, "knowledge show quokkas.md")
    name = document.title.partition(":")[0]
    assert typed(indexed, f"knowledge show {name}").title == typed(indexed, "knowledge show Quokkas").title
    assert '<a href="papers/quokkas.md">' in document.to_html()
    chunk = document.tables[0].rows[0][0]
    card = typed(indexed, f"knowledge show {chunk[:8]}")
    assert card.title == f"chunk {chunk}"
    assert card.text == QUOKKAS.strip()
    assert "opens at papers/quokkas.md:1" in str(card)
    assert facts(card)["under"] == "Quokkas"


def test_it_tells_to_which_runs_a_passage_was_told(indexed):
    assert "was told to no run yet" in typed(indexed, "knowledge uses quokkas.md").title
    assert ask(indexed).success
    card = typed(indexed, "knowledge uses quokkas.md")
    run, _, number, how, asked, chunk = card.tables[0].rows[0]
    assert run.endswith("/r1") and (number, how) == ("[1]", "with the task")
    assert asked == "where do quokkas live?"
    assert typed(indexed, f"knowledge uses {chunk}").tables[0].rows[0][0] == run
    assert row(typed(indexed, "knowledge"), "Quokkas")[6] == "1×"


def test_a_cell_finds_what_was_added_though_nobody_indexed_it(here):
    typed(here, "knowledge add papers/quokkas.md --name animals")
    assert ask(here).success
    events = here.loom_workbench.results[-1].events
    found = [one.event for one in events if isinstance(one.event, EvidenceFound)]
    assert found[0].passages[0].source == "animals"


def test_sources_that_come_and_go_leave_the_others_as_they_are(indexed):
    Path("notes.txt").write_text("The plum tree was planted in 2019.")
    typed(indexed, "knowledge add notes.txt")
    assert facts(typed(indexed, "knowledge index"))["as before"] == "2"
    gone = typed(indexed, "knowledge rm notes.txt")
    assert gone.steps[0][0].endswith("notes.txt --name notes.txt")
    assert typed(indexed, "knowledge search plum tree").tables == ()
    assert typed(indexed, "knowledge search quokkas").tables != ()
    typed(indexed, "knowledge rm papers")
    assert typed(indexed, "knowledge").title == "no documents yet"
    assert Path("papers/quokkas.md").exists()


@pytest.mark.parametrize("others", [True, False])
def test_of_a_source_that_is_removed_no_word_stays_in_the_file(here, others):
    Path("notes.txt").write_text("The plumtree was planted in 2019, says Ermintrude.")
    typed(here, "knowledge add notes.txt")
    if others:
        typed(here, "knowledge add papers")
    typed(here, "knowledge index")
    typed(here, "knowledge rm notes.txt")
    here.loom_workbench.equipment.knowledge.close()
    (kept,) = (here.loom_workbench.settings.home / "knowledge").glob("of-*.db")
    files = [kept, *kept.parent.glob(f"{kept.name}-*")]
    words = b"".join(one.read_bytes() for one in files)
    assert b"Ermintrude" not in words and b"ermintrud" not in words and b"plumtree" not in words
    assert (b"quokka" in words) is others


@pytest.mark.parametrize("others", [True, False])
def test_of_a_source_whose_indexing_broke_off_no_word_stays_in_the_file_once_it_is_removed(
    here, papers, others
):
    trees = papers.parent / "trees"
    trees.mkdir()
    for number in range(40):
        (trees / f"{number}.md").write_text(f"Plumtree {number} was planted by Ermintrude.")
    if others:
        typed(here, "knowledge add papers")
    typed(here, "knowledge add trees")
    base = here.loom_workbench.equipment.knowledge.base()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(base.index(lambda step: step.done >= 32 and base.cancel()))
    (kept,) = (here.loom_workbench.settings.home / "knowledge").glob("of-*.db")

    def words():
        return b"".join(one.read_bytes() for one in kept.parent.glob(f"{kept.name}*"))

    assert b"Ermintrude" in words()
    typed(here, "knowledge rm trees")
    assert b"Ermintrude" not in words() and b"Plumtree" not in words() and b"trees" not in words()
    assert base.state().indexed is None  # nothing was read that nobody asked for
    assert (b"uokka" in words()) is others


def test_what_is_left_is_found_by_meaning_too_after_a_source_was_removed(here, papers):
    for number in range(60):
        (papers / f"{number}.md").write_text(f"word{number} of text {number % 7} and rain {number % 11}")
    Path("notes.txt").write_text("The plumtree was planted in 2019.")
    for line in ("add papers", "add notes.txt", "index", "rm notes.txt"):
        typed(here, f"knowledge {line}")

    card = typed(here, "knowledge search text and rain")

    assert "vector" in card.tables[0].rows[0][4]


def test_a_base_in_a_variable_is_looked_at_in_the_same_words(indexed):
    indexed.run_cell(
        "from loom_nb.capabilities.knowledge import KnowledgeBase, KnowledgeSource\n"
        "base = KnowledgeBase([KnowledgeSource.texts({'plums': 'The plum tree is old.'})])"
    )
    typed(indexed, "knowledge index --of base")
    assert typed(indexed, "knowledge search plum --of base").title == "1 passage of 1 document"
    assert facts(typed(indexed, "knowledge --of base"))["of"] == "the variable base"
    assert typed(indexed, "knowledge search plum").tables == ()
    with pytest.raises(LoomUsageError, match="--of bas: that is no KnowledgeBase"):
        typed(indexed, "knowledge --of bas")
    with pytest.raises(LoomUsageError, match="is for the documents of this notebook"):
        typed(indexed, "knowledge add papers --of base")


def test_the_entity_graph_is_a_picture_with_the_same_in_words(indexed):
    with pytest.raises(LoomUsageError, match="there is no entity graph") as raised:
        typed(indexed, "knowledge graph")
    assert any("extend(" in fix for fix in raised.value.fixes)
    base = indexed.loom_workbench.equipment.knowledge.base()
    chunk = typed(indexed, "knowledge search quokkas").tables[0].rows[0][0]

    def write(db):
        for number, name in enumerate(("Quokka", "Rottnest <i>"), 1):
            db.execute("INSERT INTO entities VALUES (?, ?, 'thing', '')", (number, name))
            db.execute("INSERT INTO aliases VALUES (?, ?)", (name.split()[0].lower(), number))
        db.execute("INSERT INTO edges VALUES (1, 'lives on', 2, ?)", (chunk,))

    base.writing(write)
    card = typed(indexed, "knowledge graph quokka")
    assert "Quokka lives on Rottnest <i>" in str(card)
    html = card.to_html()
    assert "<svg" in html and "Rottnest &lt;i&gt;" in html
    assert typed(indexed, "knowledge graph").title.startswith("what is related most: 2 names, 1 relation")
    with pytest.raises(LoomUsageError, match="has no 'rotness'") as raised:
        typed(indexed, "knowledge graph rotness")
    assert any("Rottnest" in fix for fix in raised.value.fixes)


@pytest.mark.parametrize(
    ("line", "says", "fix"),
    [
        ("add", "which folder, file or address?", "%loom knowledge add papers --name literature"),
        ("add nowhere", "there is no folder or file 'nowhere'", "%loom knowledge add FOLDER"),
        ("add ftp://x/y", "cannot be fetched", ""),
        ("add papers", "a source of this notebook already: papers", "%loom knowledge index"),
        (
            "add papers/bees.md --name papers",
            "there is a source 'papers' already",
            "%loom knowledge rm papers",
        ),
        ("add papers --nme x", "has no --nme", ""),
        ("rm paper", "there is no source 'paper'", "%loom knowledge rm papers"),
        (
            "show quokka.md",
            "there is no document and no chunk 'quokka.md'",
            "%loom knowledge   (which there are)",
        ),
        ("show", "takes DOCUMENT or CHUNK", ""),
        ("search", "search: what?", ""),
        ("serch plums", "no document has anything of 'serch plums'", "%loom knowledge search plums"),
        ("index now", "takes nothing more", ""),
        ("--off base", "has no --off", "%loom knowledge --of base"),
    ],
)
def test_what_cannot_be_done_says_why_and_what_to_type(indexed, line, says, fix):
    with pytest.raises(LoomUsageError) as raised:
        typed(indexed, f"knowledge {line}")
    assert says in raised.value.title
    assert not fix or fix in raised.value.fixes


def test_tab_offers_verbs_paths_sources_documents_and_variables(here):
    assert offered(here, "%loom know") == ["knowledge"]
    assert offered(here, "%loom knowledge ")[:3] == ["add", "rm", "index"]
    assert offered(here, "%loom knowledge show ") == [""]
    assert offered(here, "%loom knowledge add papers/") == [
        "papers/bees.md", "papers/broken.pdf", "papers/quokkas.md",
    ]  # fmt: skip
    typed(here, "knowledge add papers")
    typed(here, "knowledge index")
    assert offered(here, "%loom knowledge rm ") == ["papers"]
    assert len(offered(here, "%loom knowledge show d")) == 3
    here.run_cell(
        "from loom_nb.capabilities.knowledge import KnowledgeBase\nmine = KnowledgeBase(['papers'])"
    )
    assert offered(here, "%loom knowledge --of ") == ["mine"]


def test_two_notebooks_have_lists_of_their_own(papers: Path, tmp_path: Path):
    one, other = (KnowledgePlaces(tmp_path, lambda name=name: name) for name in ("a.ipynb", "b.ipynb"))
    one.add(source_of("papers"))
    assert [source.name for source in one.sources()] == ["papers"]
    assert other.sources() == ()
    again = KnowledgePlaces(tmp_path, lambda: "a.ipynb")
    assert again.sources() == one.sources()
    asyncio.run(one.base().index())
    assert again.base().path == one.base().path
    assert again.base().state().documents == 2
    for each in (one, other, again):
        each.close()


def test_a_folder_that_is_gone_keeps_what_was_indexed_and_says_so(indexed, papers: Path):
    papers.rename(papers.parent / "elsewhere")
    report = typed(indexed, "knowledge index")
    assert row(report, "papers")[1].startswith("there is no folder")
    assert typed(indexed, "knowledge search quokkas").tables != ()


def test_an_entity_graph_is_made_once_its_cost_was_agreed_to(indexed):
    code = """import json
from loom_nb import Model
def said(*names):
    entities = [dict(name=name, kind='', about='', aliases=[]) for name in names]
    relations = [dict(subject=names[0], relation='lives near', object=names[1])] if names else []
    return json.dumps(dict(entities=entities, relations=relations))
reader = Model.scripted([said('bees', 'flowers'), said(), said('Quokkas', 'Perth'), said()])"""
    assert indexed.run_cell(code).success
    with pytest.raises(LoomUsageError, match="the demo model cannot read"):
        typed(indexed, "knowledge graph build --yes")
    typed(indexed, "model reader")
    with pytest.raises(LoomUsageError, match="takes --yes and nothing more, not 'quokka'"):
        typed(indexed, "knowledge graph build quokka")

    with pytest.raises(LoomError, match="there is nobody to ask") as raised:
        typed(indexed, "knowledge graph build")
    assert "%loom knowledge graph build --yes" in raised.value.fixes
    card = typed(indexed, "knowledge graph build --yes")

    assert card.title == "entity graph: 4 names; read: 2 of 2 passages"
    assert facts(card)["calls of the model"] == "4"
    assert "Quokkas lives near Perth" in str(typed(indexed, "knowledge graph quokkas"))
    assert typed(indexed, "knowledge graph build").title == "every passage was read"


# -- a kernel --------------------------------------------------------------------------------------------


def test_indexing_shows_its_bar_and_ends_with_a_card_and_no_button(papers: Path, tmp_path: Path):
    with kernel(tmp_path, LOOM_NB_RENDER="live", LOOM_NB_HOME=str(tmp_path)) as one:
        for code in ("%load_ext loom_nb", f"%cd -q {tmp_path}", "%loom knowledge add papers"):
            assert one.run(code).status == "ok"
        cell = one.run("card = %loom knowledge index")
        assert cell.status == "ok"
        bar, card = (output for output in cell.saved if output["kind"] == "display_data")
        assert "done: 3 of 3 documents, 2 chunks" in bar["data"]["text/plain"]
        assert "indexed: 2 documents, 2 chunks; 1 document not readable" in card["data"]["text/plain"]
        assert WIDGET_VIEW not in card["data"]
        shown = [str(content["data"]) for content in cell.of("display_data", "update_display_data")]
        assert any("reading: 0 of 3 documents" in words for words in shown)
        assert one.said("print(card.title)").startswith("indexed: 2 documents")


def test_an_interrupt_stops_indexing_and_the_next_goes_on(tmp_path: Path):
    endless = """from loom_nb.capabilities.knowledge import KnowledgeBase, KnowledgeSource
import threading
go = threading.Event()
def pages():
    for number in range(40):
        yield f"page {number}", f"about page{number} and plums"
        if number == 20:
            print("halfway", flush=True)
            go.wait(30)
base = KnowledgeBase([KnowledgeSource.callable(pages)])"""
    with kernel(tmp_path, LOOM_NB_RENDER="live", LOOM_NB_HOME=str(tmp_path)) as one:
        for code in ("%load_ext loom_nb", endless):
            assert one.run(code).status == "ok"
        request = one.submit("%loom knowledge index --of base")
        one.until(request, lambda message: "halfway" in str(message["content"]))
        one.manager.interrupt_kernel()
        cell = one.collect(request)
        assert cell.status == "ok"
        last = str(cell.of("update_display_data")[-1]["data"])
        assert "indexing was stopped by you" in last
        assert "%loom knowledge index --of base" in last
        one.run("go.set()")
        assert "indexed: 40 documents" in one.run("%loom knowledge index --of base").text
