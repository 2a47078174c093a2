"""`%loom memory`: notes are found, added, edited, pinned, forgotten and brought back by typing."""

import os
import time

import pytest

from loom_nb.capabilities.memory.mirror import Mirror
from loom_nb.capabilities.memory.notes import NoteNotFound
from loom_nb.errors import LoomUsageError
from tests.notebook.kernels import kernel
from tests.notebook.shells import facts, offered, typed

COFFEE = "likes black coffee in the morning"
THEME = "the theme of the editor is dark"
ASK = "%%loom -q -t memory -m model\nwhich theme has the editor?"


def noted(shell, *texts):
    store = shell.loom_workbench.memory
    return [store.add(text).note.id for text in texts]


def ask(shell):
    shell.run_cell("from loom_nb import Model\nmodel = Model.scripted(['dark'] * 9)")
    assert shell.run_cell(ASK).success


def test_a_note_is_added_with_all_its_fields_and_listed(shell):
    card = typed(shell, f'memory add "{COFFEE}" --category taste --tags drink,morning --importance 0,9 --pin')
    assert card.title.startswith("remembered as ")
    listed = str(typed(shell, "memory"))
    assert "1 note remembered" in listed
    for words in (COFFEE, "taste", "yes", "0.9", "person", "0×"):
        assert words in listed
    (hit,) = shell.loom_workbench.memory.page().rows
    assert (hit.note.tags, hit.note.pinned) == (("drink", "morning"), True)


def test_what_is_known_already_is_not_noted_twice(shell):
    typed(shell, f'memory add "{COFFEE}"')
    assert typed(shell, f'memory add "{COFFEE}"').title.startswith("known already, as ")
    assert shell.loom_workbench.memory.page().total == 1


def test_a_note_of_a_run_says_which_cell_asked_for_it(shell):
    shell.run_cell("%loom approvals edits", store_history=True)
    shell.run_cell("%%loom -q -t memory\nremember that the office closes at six", store_history=True)
    (hit,) = shell.loom_workbench.memory.page().rows
    assert (hit.note.text, hit.note.by.who) == ("The office closes at six.", "agent")
    number = len(shell.history_manager.input_hist_raw) - 1
    assert (hit.note.by.cell, hit.note.by.run) == (f"[{number}]", "r1")
    assert f"[{number}]" in str(hit.note.by)


def test_a_secret_does_not_become_a_note(shell):
    typed(shell, "memory add the key is AKIA" + "IOSFODNN7EXAMPLQ and nothing else")
    assert "AKIAIOSF" not in str(typed(shell, "memory"))


def test_words_find_with_what_speaks_for_each(shell):
    noted(shell, COFFEE, THEME)
    card = typed(shell, "memory dark editor")
    assert card.title == "1 of 2 notes"
    assert facts(card)["looked for"] == "dark editor"
    (row,) = card.tables[0].rows
    assert row[1] == THEME
    assert "(dark, editor)" in row[-1] and "words 0.9" in row[-1] and "recency" in row[-1]
    assert typed(shell, "memory find add").title == "0 of 2 notes"  # a verb can be looked for, too


def test_a_note_is_edited_field_by_field(shell):
    (note,) = noted(shell, COFFEE)
    card = typed(shell, f"memory edit {note} text likes green tea")
    assert facts(card)["was"] == COFFEE
    assert facts(typed(shell, f"memory edit {note} weight 0.75"))["importance"] == "0.5 → 0.75"
    assert facts(typed(shell, f"memory edit {note} tags drink, hot"))["tags"] == "none → drink, hot"
    assert facts(typed(shell, f"memory edit {note} pinned yes"))["pinned"] == "False → True"
    assert typed(shell, f"memory edit {note} pin yes").title == f"{note} says that already"
    now = shell.loom_workbench.memory.get(note)
    assert (now.text, now.importance, now.tags, now.pinned) == (
        "likes green tea",
        0.75,
        ("drink", "hot"),
        True,
    )


@pytest.mark.parametrize(
    ("line", "says", "fix"),
    [
        ("edit {} importnce 1", "a note has no field 'importnce'", "%loom memory edit {} importance …"),
        ("edit {} importance 7", "a number from 0 to 1", "importance=0.5"),
        ("edit {} importance much", "a number from 0 to 1, not 'much'", ""),
        ("edit {} pinned perhaps", "yes or no, not 'perhaps'", ""),
        ("edit {}", "takes ID FIELD VALUE", '%loom memory edit ab12cd34 text "likes tea"'),
        ("forgt {}", "no note has anything of", "%loom memory forget {}"),
        ("forget", "takes ID, not ''", "%loom memory   (which notes there are)"),
        ("forget nothere", "there is no note 'nothere'", "%loom memory"),
        ("--as-off r1", "has no --as-off", "%loom memory --as-of r5"),
        ("--as-of", "--as-of: what?", "%loom memory --as-of r5"),
        ("add", "remember what?", ""),
        ("add x --colour red", "has no --colour", ""),
    ],
)
def test_what_cannot_be_done_says_why_and_what_to_type(shell, line, says, fix):
    (note,) = noted(shell, COFFEE)
    with pytest.raises(LoomUsageError) as raised:
        typed(shell, f"memory {line.format(note)}")
    assert says in raised.value.title
    assert not fix or fix.format(note) in raised.value.fixes
    assert shell.loom_workbench.memory.get(note).version == 1


def test_a_forgotten_note_says_what_that_changes_and_comes_back(shell):
    coffee, theme = noted(shell, COFFEE, THEME)
    typed(shell, f"memory pin {coffee}")
    told = facts(typed(shell, f"memory forget {coffee} --preview"))["next request"]
    assert "it leaves the next request, which is" in told and "tokens shorter" in told
    assert shell.loom_workbench.memory.get(coffee).pinned
    unseen = facts(typed(shell, f"memory forget {theme} --preview"))["next request"]
    assert "stays as it is" in unseen
    assert facts(typed(shell, f"memory forget {coffee}"))["next request"] == told
    with pytest.raises(NoteNotFound):
        shell.loom_workbench.memory.get(coffee)
    assert "the forgetting of" in typed(shell, "memory undo").title
    assert shell.loom_workbench.memory.get(coffee).text == COFFEE
    assert "the change of" in typed(shell, f"memory undo {coffee}").title  # of the pin
    assert not shell.loom_workbench.memory.get(coffee).pinned


def test_a_card_says_undo_only_where_that_takes_back_what_it_tells_of(shell):
    (note,) = noted(shell, COFFEE)
    typed(shell, f"memory edit {note} text likes tea")
    card = typed(shell, f"memory undo {note}")
    assert dict(card.steps)[f"%loom memory undo {note}"] == "takes back the change before it"
    card = typed(shell, f"memory undo {note}")
    assert card.title.endswith(f"the addition of {note}") and not card.steps
    ids = noted(shell, THEME, COFFEE)
    typed(shell, f"memory pin {ids[0]}")
    card = typed(shell, f"memory pin {ids[0]}")
    assert "pinned already" in card.title and "undo" not in str(card)
    typed(shell, f"memory pin {' '.join(ids)}")
    card = typed(shell, f"memory unpin {' '.join(ids)}")
    assert ("%loom memory undo", "takes it back") in card.steps
    typed(shell, "memory undo")
    assert all(shell.loom_workbench.memory.get(one).pinned for one in ids)


def test_why_tells_of_each_recall_and_what_stands_in_the_conversation(shell):
    coffee, theme = noted(shell, COFFEE, THEME)
    ask(shell)
    card = typed(shell, f"memory why {theme} r1")
    ((run, _, how, asked, score, why),) = card.tables[0].rows
    assert (run, how, asked) == ("r1", "at its beginning", "which theme has the editor?")
    assert float(score) > 0.3 and "words" in why
    assert card.text == THEME
    assert "stands in this conversation already" in facts(card)["if forgotten"]
    assert facts(typed(shell, f"memory why {coffee} r1"))["in this run"] == "it was not recalled"


def test_as_of_a_run_notes_are_what_they_were_when_it_began(shell):
    (theme,) = noted(shell, THEME)
    ask(shell)
    while time.time() <= shell.loom_workbench.find_run("r1").started:
        pass  # the clock has moved on since the run began
    typed(shell, f"memory edit {theme} text the theme is light now")
    noted(shell, COFFEE)
    card = typed(shell, "memory --as-of r1")
    assert [row[1] for row in card.tables[0].rows] == [THEME]
    assert facts(card)["as of"].endswith("/r1")
    assert typed(shell, "memory light --as-of r1").tables == ()


def test_tab_offers_verbs_ids_fields_and_runs(shell):
    assert offered(shell, "%loom memory ")[:3] == ["find", "add", "edit"]
    assert not (shell.loom_workbench.settings.home / "memory.db").exists()  # nothing is made for it
    assert offered(shell, "%loom memory forget ") == [""]
    (note,) = noted(shell, THEME)
    ask(shell)
    assert offered(shell, "%loom memory edit ") == [note]
    assert offered(shell, f"%loom memory edit {note} im") == ["importance"]
    assert offered(shell, f"%loom memory edit {note} scope se") == ["session", "semantic"]
    assert offered(shell, f"%loom memory why {note} ") == ["r1", "last"]
    assert offered(shell, "%loom memory coffee --as-of ") == ["r1", "last"]
    assert offered(shell, "%loom memory add tea --ca") == ["--category"]


def test_what_one_kernel_remembers_another_one_knows(tmp_path):
    scripted = "from loom_nb import Model\nmodel = Model.scripted(['dark'] * 3)"
    with kernel(tmp_path, LOOM_NB_RENDER="static", LOOM_NB_HOME=str(tmp_path)) as one:
        for code in ("%load_ext loom_nb", f'%loom memory add "{THEME}"'):
            assert one.run(code).status == "ok"
    with kernel(tmp_path, LOOM_NB_RENDER="static", LOOM_NB_HOME=str(tmp_path)) as two:
        for code in ("%load_ext loom_nb", scripted):
            two.run(code)
        cell = two.run("%%loom -t memory -m model\nwhich theme has the editor?")
        assert "recalled 1 note" in cell.text and THEME in cell.text
        assert "1 note remembered" in two.run("%loom memory").text


def test_what_a_file_said_and_lost_is_in_why_and_undo_brings_it_back(shell, tmp_path):
    store = shell.loom_workbench.memory
    (note,) = noted(shell, COFFEE)
    mirror = Mirror(tmp_path / "notes", store)
    mirror.sync()
    assert "its file said" not in str(typed(shell, f"memory why {note}"))
    (file,) = mirror.folder.glob("*.md")
    file.write_text(file.read_text().replace("black", "white"))
    os.utime(file, (1, 1))
    store.edit(note, "text", "likes tea")
    assert mirror.sync().conflicts == [note]

    card = typed(shell, f"memory why {note}")
    assert facts(card)["its file said"].startswith("text: likes white coffee in the morning – ")
    assert f"%loom memory undo {note}" in str(card)
    assert (
        typed(shell, f"memory undo {note}").title == f"taken back: the loss of what the file said of {note}"
    )
    card = typed(shell, f"memory why {note}")
    assert "likes white coffee" in str(card) and "its file said" not in str(card)


def test_what_the_store_of_keys_knows_does_not_become_a_note(shell, monkeypatch):
    monkeypatch.setenv("LOOM_SECRET_KEY", "ab" * 32)
    shell.loom_workbench.secrets.put("gate", "api_key", {"value": "tulip-orchid-93715-basalt"})
    typed(shell, 'memory add "the gate code is tulip-orchid-93715-basalt"')
    (hit,) = shell.loom_workbench.memory.page().rows
    assert hit.note.text == "the gate code is [secret gate]"
