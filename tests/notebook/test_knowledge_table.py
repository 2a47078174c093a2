"""The live table of `%loom knowledge`: documents and passages as pages of rows, each with its details."""

import asyncio

import pytest

from loom_nb.errors import LoomUsageError
from loom_nb.notebook.knowledge_table import COLUMNS, HOW, NAMES, PLACES, SOURCE, KnowledgeRows
from loom_nb.notebook.table import PagedSource, Query, head
from tests.notebook.shells import typed

MADE = """from loom_nb.capabilities.knowledge import KnowledgeBase, KnowledgeSource
animals = {f"animal {number}": f"# Animal {number}\\n\\nThe number{number} eats <b>grass</b> at night." for number in range(30)}
base = KnowledgeBase([
    KnowledgeSource.texts(animals, name="animals"),
    KnowledgeSource.texts({"plums": "The plum tree was planted in 2019 beside the grass."}, name="garden"),
])"""


@pytest.fixture
def rows(shell):
    shell.run_cell(MADE)
    typed(shell, "knowledge index --of base")
    return KnowledgeRows(shell.loom_workbench, variable="base")


def now(work):
    return asyncio.run(work)


def look(rows, **query):
    return now(rows.look(Query(**query)))


def cells(found, column):
    return [row.cells[PLACES[column]] for row in found.rows]


def test_it_is_a_paged_source_whose_card_has_the_sources_and_the_first_documents(rows):
    contents = now(rows.contents())
    assert isinstance(rows, PagedSource)
    assert contents.rows == () and head(contents)["total"] == 31
    assert contents.title == "31 documents in 2 sources, 31 chunks"
    card = str(contents.card)
    assert "the first 20 documents, and 11 more" in card and "garden" in card
    assert [one for one, _ in contents.choices[1].options] == ["", "animals", "garden"]


def test_documents_are_sorted_filtered_and_given_page_by_page(rows):
    found = look(rows, start=29, count=10)
    assert (found.start, found.matching, len(found.rows)) == (29, 31, 2)
    assert cells(look(rows, sort="source", down=True, count=1), "source") == ["garden"]
    assert look(rows, chosen={SOURCE: "garden"}).matching == 1
    assert look(rows, start=900, count=5).rows[-1].cells[PLACES["title"]] == "plums"
    named = look(rows, text="plum", chosen={HOW: NAMES})
    assert cells(named, "title") == ["plums"]


def test_a_question_gives_passages_with_parts_that_add_up_to_their_score(rows):
    found = look(rows, text="number7 eats what?")
    best = found.rows[0]
    assert best.cells[PLACES["title"]] in ("animal 7", "Animal 7")
    assert best.cells[PLACES["told"]] == "yes" and not best.quiet
    assert sum(size for size, _ in best.parts) == pytest.approx(float(best.cells[PLACES["score"]]), abs=0.01)
    assert any(row.quiet and row.cells[PLACES["told"]] == "no" for row in found.rows)
    assert "best first" in found.caption
    worst = look(rows, text="number7 eats what?", sort="score")
    assert worst.rows[-1].id == best.id and worst.caption == ""
    assert look(rows, text="number7 eats what?", chosen={SOURCE: "garden"}).matching <= 1
    assert look(rows, text="zebra zzz").rows == ()


def test_details_of_a_document_are_its_chunks_and_of_a_passage_why_it_is_found(rows):
    document = now(rows.details(look(rows, text="plum", chosen={HOW: NAMES}).rows[0].id))
    assert [text for _, text in document.texts] == ["The plum tree was planted in 2019 beside the grass."]
    assert dict(document.facts)["used"] == "never"
    passage = now(rows.details(look(rows, text="plum tree").rows[0].id))
    ((label, meters),) = passage.meters
    assert label == "why it is found" and [one.name for one in meters][-1] == "score"
    assert "BM25" in meters[0].words
    with pytest.raises(LoomUsageError, match="is gone"):
        now(rows.details("nothere"))


def test_it_tells_where_a_passage_was_used(shell, rows):
    base = shell.user_ns["base"]
    chunk = look(rows, text="plum tree").rows[0].id
    base.used([(chunk, 3)], session="nb-x", run="r5", query="how old is it?", by="search_knowledge")
    told = dict(now(rows.details(chunk)).facts)["told to"]
    assert told.startswith("nb-x/r5 as [3]") and "how old is it?" in told


def test_it_is_renewed_after_another_index_and_bears_that_the_documents_go(shell, rows):
    before = rows.state()
    typed(shell, "knowledge index --of base")
    assert rows.state() != before
    shell.run_cell("del base")
    assert "no KnowledgeBase" in rows.state()
    with pytest.raises(LoomUsageError):
        now(rows.contents())


def test_nothing_of_a_document_is_edited_here(rows):
    row = look(rows).rows[0].id
    assert not any(column.edits for column in COLUMNS)
    with pytest.raises(LoomUsageError, match="edited where they are"):
        now(rows.value(row, "title"))
    with pytest.raises(LoomUsageError, match="edited where they are"):
        now(rows.edit(row, "title", "x", ""))
    with pytest.raises(LoomUsageError):
        now(rows.act("forget", [row], ""))
