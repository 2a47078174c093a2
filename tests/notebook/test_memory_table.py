"""The live table of `%loom memory`: its pages, edits and undo as values, and its messages in a real kernel."""

import asyncio
from contextlib import closing

import pytest

from loom_nb.capabilities.memory.store import NoteStore
from loom_nb.errors import LoomUsageError
from loom_nb.notebook.memory_table import AS_OF, BROWSED, COLUMNS, PLACES, MemoryRows
from loom_nb.notebook.table import MOST_ROWS, PagedSource, Query, Stale, head
from tests.notebook.kernels import WIDGET_VIEW, kernel
from tests.notebook.many_notes import fill

TEXTS = ("likes black coffee", "the editor is dark", "reports go to Ada <b>")


@pytest.fixture
def rows(shell):
    for text in TEXTS:
        shell.loom_workbench.memory.add(text)
    return MemoryRows(shell.loom_workbench)


@pytest.fixture
def many(shell):
    fill(shell.loom_workbench.settings.home / "memory.db", 3_000).close()
    return MemoryRows(shell.loom_workbench)


def now(work):
    return asyncio.run(work)


def look(rows, **query):
    return now(rows.look(Query(**query)))


def texts(found):
    return [row.cells[PLACES["text"]] for row in found.rows]


def named(rows, words):
    return next(row.id for row in look(rows).rows if words in row.cells[PLACES["text"]])


def edit(rows, note, column, text):
    return now(rows.edit(note, column, text, now(rows.value(note, column)).version))


def test_it_is_a_paged_source_whose_contents_hold_no_rows_and_whose_card_has_the_first(many):
    contents = now(many.contents())
    assert isinstance(many, PagedSource)
    assert contents.rows == ()
    assert head(contents)["total"] == 3_000
    card = str(contents.card)
    assert "3,000 notes remembered" in card and "the first 20, and 2,980 more" in card
    assert "number2999" in card and "number2979" not in card


def test_the_latest_change_comes_first_and_any_page_is_a_window(many):
    found = look(many, start=2_950, count=40)
    assert (found.start, found.matching, len(found.rows)) == (2_950, 3_000, 40)
    assert found.rows[0].id == "n0000049"
    beyond = look(many, start=9_000, count=10)  # rows went away meanwhile
    assert [row.id for row in beyond.rows][-1] == "n0000000"


def test_columns_sort_the_whole_store(many):
    weights = [
        float(row.cells[PLACES["importance"]]) for row in look(many, sort="importance", down=True).rows
    ]
    assert weights[0] == 1.0 and weights == sorted(weights, reverse=True)
    assert look(many, sort="created", count=1).rows[0].id == "n0000000"
    assert look(many, sort="tags", count=1).rows[0].id == "n0002999"  # no order: the usual one
    assert [column.name for column in COLUMNS if not column.sorts] == ["tags", "from"]


def test_a_search_gives_the_best_with_parts_that_add_up_to_their_score(many):
    found = look(many, text="coffee number1234")
    best = found.rows[0]
    assert best.id == "n0001234"
    assert sum(size for size, _ in best.parts) == pytest.approx(float(best.cells[PLACES["score"]]), abs=0.01)
    assert "number1234" in best.hints[PLACES["score"]]
    assert found.caption.endswith("the score is words + salience + recency, each as far as it counts")
    worst = look(many, text="coffee number1234", sort="score")
    assert worst.rows[-1].id == best.id or worst.matching > MOST_ROWS
    assert look(many, text="coffee").matching <= BROWSED
    assert look(many, text="nowhere at all zzz").rows == ()


def test_a_cell_is_edited_and_taken_back_change_by_change(rows):
    note = named(rows, "coffee")
    first = edit(rows, note, "text", "likes tea")
    second = edit(rows, note, "tags", "hot, drink")
    assert rows.store.get(note).tags == ("hot", "drink")
    now(second.undo())
    assert rows.store.get(note).tags == ()
    assert rows.store.get(note).text == "likes tea"
    with pytest.raises(LoomUsageError, match="changed otherwise since"):
        now(first.undo())  # the way back led over a version of its own
    assert "is as it was" in edit(rows, note, "text", "likes tea").words


def test_each_field_is_shown_to_be_edited_as_a_person_types_it(rows):
    note = named(rows, "coffee")
    for column, text in (("category", "taste"), ("tags", "a, b"), ("importance", "0.25"), ("pinned", "yes")):
        edit(rows, note, column, text)
        assert now(rows.value(note, column)).text == text
    with pytest.raises(LoomUsageError, match="not edited"):
        now(rows.value(note, "created"))


def test_what_a_field_does_not_take_is_refused_and_nothing_changes(rows):
    note = named(rows, "coffee")
    for column, text in (("importance", "2"), ("importance", "x"), ("text", "   "), ("tags", "x" * 99)):
        with pytest.raises(LoomUsageError):
            edit(rows, note, column, text)
    assert rows.store.get(note).version == 1


def test_an_edit_of_another_version_is_refused_with_what_stands_there_now(rows):
    note = named(rows, "coffee")
    begun = now(rows.value(note, "text"))
    rows.store.edit(note, "text", "likes milk")
    with pytest.raises(Stale) as raised:
        now(rows.edit(note, "text", "likes tea", begun.version))
    assert raised.value.now.text == "likes milk"
    now(rows.edit(note, "text", "likes tea", raised.value.now.version))  # the person keeps theirs
    assert rows.store.get(note).text == "likes tea"


def test_an_edit_in_the_middle_of_which_another_process_writes_is_refused(rows):
    note = named(rows, "coffee")
    with closing(NoteStore(rows.store.path)) as other:
        value = now(rows.value(note, "text"))

        class Late(str):
            """Words that take so long to be read that another process is faster."""

            def strip(self, *_):
                return str(self)

            def __str__(self):
                other.edit(note, "text", "likes milk, and is allergic to nuts")
                return "likes tea"

        with pytest.raises(Stale):
            now(rows.edit(note, "text", Late("likes tea"), value.version))
    assert rows.store.get(note).text == "likes milk, and is allergic to nuts"


def test_notes_are_pinned_together_and_only_what_was_changed_is_taken_back(rows):
    ids = [row.id for row in look(rows).rows]
    rows.store.pin(ids[0])
    receipt = now(rows.act("pin", ids, ""))
    now(receipt.undo())
    assert [rows.store.get(one).pinned for one in ids] == [True, False, False]
    assert rows.store.get(ids[0]).text in TEXTS
    assert now(rows.act("pin", ids[:1], "")).undo is None


def test_of_notes_that_are_to_be_forgotten_some_may_be_gone_already(rows):
    ids = [row.id for row in look(rows).rows]
    rows.store.forget(ids[1])
    receipt = now(rows.act("forget", ids, ""))
    assert look(rows).matching == 0
    now(receipt.undo())
    assert {row.id for row in look(rows).rows} == {ids[0], ids[2]}


def test_notes_are_forgotten_together_and_come_back_together(rows):
    ids = [row.id for row in look(rows).rows]
    receipt = now(rows.act("forget", ids, ""))
    assert receipt.words.startswith("forgotten: ")
    assert look(rows).matching == 0
    assert "taken back" in now(receipt.undo()).words
    assert look(rows).matching == 3
    with pytest.raises(LoomUsageError, match="changed otherwise since"):
        now(receipt.undo())


def test_pins_and_what_each_row_can_take(rows):
    note = named(rows, "coffee")
    now(rows.act("pin", [note], ""))
    (row,) = now(rows.these([note, "nothere"]))
    assert row.can == {"edit", "unpin", "forget"}
    assert row.cells[PLACES["pinned"]] == "●" and row.hints[PLACES["pinned"]] == "pinned"


def test_the_past_can_be_looked_at_and_not_changed(shell, rows):
    shell.run_cell("from loom_nb import Model\nmodel = Model.scripted(['ok'] * 3)")
    assert shell.run_cell("%%loom -q -t memory -m model\nis the editor dark?").success
    run = shell.loom_workbench.find_run("r1")
    rows.store.edit(named(rows, "coffee"), "text", "likes tea")
    then = look(rows, chosen={AS_OF: f"{run.session}/r1"})
    assert "likes black coffee" in texts(then)
    assert {row.can for row in then.rows} == {frozenset()}
    assert all("nothing can be done" in row.why for row in then.rows)
    choice = now(rows.contents()).choices[0]
    assert choice.options[0] == ("", "as they are now")
    assert choice.options[1][0] == f"{run.session}/r1"
    with pytest.raises(LoomUsageError):
        look(rows, chosen={AS_OF: "r99"})


def test_details_tell_why_it_is_found_why_it_was_recalled_and_what_a_forget_would_change(shell, rows):
    shell.run_cell("from loom_nb import Model\nmodel = Model.scripted(['ok'] * 3)")
    assert shell.run_cell("%%loom -q -t memory -m model\nis the editor dark?").success
    look(rows, text="editor")
    note = look(rows, text="editor").rows[0].id
    details = now(rows.details(note))
    labels = [label for label, _ in details.meters]
    assert labels[0] == "why it is found for “editor”"
    assert labels[1].startswith("why it was recalled in r1")
    assert [meter.name for meter in details.meters[0][1]] == ["words", "salience", "recency", "score"]
    assert "conversation already" in dict(details.facts)["if forgotten"]
    rows.store.edit(note, "text", "the editor is light")
    assert now(rows.details(note)).texts == (
        ("note", "the editor is light"),
        ("as it was before", "the editor is dark"),
    )


def test_a_change_by_another_process_is_seen(rows):
    before = rows.state()
    other = type(rows.store)(rows.store.path)
    other.add("written elsewhere")
    other.close()
    assert rows.state() != before
    assert "written elsewhere" in texts(look(rows))


# -- a kernel --------------------------------------------------------------------------------------------


def test_cells_are_edited_by_messages_and_nothing_of_it_is_in_the_state_of_the_widget(tmp_path):
    with kernel(tmp_path, LOOM_NB_RENDER="live", LOOM_NB_HOME=str(tmp_path)) as one:
        for code in ("%load_ext loom_nb", *(f'%loom memory add "{text}"' for text in TEXTS)):
            assert one.run(code).status == "ok"
        shown = one.run("%loom memory coffee")
        (output,) = shown.saved
        comm = output["data"][WIDGET_VIEW]["model_id"]
        states = [content["data"]["state"] for content in shown.of("comm_open")]
        assert not any("black coffee" in str(state) for state in states)
        first = one.said_by(comm, {"type": "ready"}, "show")
        query = first["head"]["query"]
        assert query["text"] == "coffee"
        (row,) = one.said_by(comm, {"type": "query", "number": 1, "query": query}, "page")["rows"]
        cell = {"row": row["id"], "column": "text"}
        value = one.said_by(comm, {"type": "edit", **cell}, "value")
        assert value["value"] == "likes black coffee"
        one.said_by(comm, {"type": "set", **cell, "value": "likes tea", "was": value["was"]}, "set")
        assert one.heard(comm, "receipt")["undo"] is True
        refused = one.said_by(comm, {"type": "set", **cell, "value": "mine", "was": value["was"]}, "refused")
        assert refused["now"] == "likes tea" and "changed meanwhile" in refused["text"]
        bad = {"type": "set", "row": row["id"], "column": "importance", "value": "9", "was": refused["was"]}
        assert "from 0 to 1" in one.said_by(comm, bad, "refused")["text"]
        running = one.said_by(comm, {"type": "query", "query": {"chosen": {AS_OF: "r77"}}}, "problem")
        assert "r77" in running["text"]
        assert "likes tea" in one.run("%loom memory").text
