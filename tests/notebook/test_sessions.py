"""`%loom sessions`: conversations are listed, opened, named, deleted, brought back and purged, in real kernels."""

import pytest

from tests.notebook.kernels import kernel

LOAD = "%load_ext loom_nb\nfrom loom_nb import Model\nmodel = Model.scripted([lambda m: f'answer to {m[-1].text}'] * 40)"
IDS = "from loom_nb.stores import default_store\nids = {row.goal: row.session for row in default_store().runs()}"


@pytest.fixture
def home(tmp_path):
    return tmp_path


def opened(home, name="work.ipynb", **settings):
    return kernel(home, LOOM_NB_RENDER="static", JPY_SESSION_NAME=name, LOOM_NB_HOME=str(home), **settings)


def with_three(one):
    for code in (LOAD, *(f"%%loom -m model --new\n{goal}" for goal in ("apples", "pears", "plums")), IDS):
        cell = one.run(code)
        assert cell.status == "ok", cell.error
    return {goal: one.run(f"print(ids[{goal!r}])").text.strip() for goal in ("apples", "pears", "plums")}


def test_a_notebook_lists_its_conversations_and_with_all_those_of_others(home):
    with opened(home) as one:
        ids = with_three(one)
        card = one.run("%loom sessions").text
        assert "3 conversations of work.ipynb" in card
        assert [card.index(goal) for goal in ("plums", "pears", "apples")] == sorted(
            card.index(goal) for goal in ids
        )
        assert "completed, here" in card
    with opened(home, "other.ipynb") as two:
        two.run(LOAD)
        assert "0 conversations of other.ipynb" in two.run("%loom sessions").text
        assert "3 conversations kept on this machine" in two.run("%loom sessions --all").text
        found = two.run("%loom sessions find --all APPLES answer").text
        assert "0 conversations" in found
        found = two.run("%loom sessions find --all apples work").text
        assert "1 conversation kept" in found and ids["apples"] in found


def test_a_conversation_is_opened_and_its_next_cell_goes_on_there(home):
    with opened(home) as one:
        ids = with_three(one)
        one.run(f'%loom sessions rename {ids["apples"]} "the orchard"')

        card = one.run('%loom sessions open "The Orchard"').text

        assert "goes on in: the orchard" in card and "answer to apples" in card
        assert f"%loom sessions open {ids['plums']}" in card
        one.run("seen = []\nm = Model.scripted([lambda m: seen.append([x.text for x in m]) or 'ok'] * 2)")
        one.run("%%loom -m m\nand then?")
        assert "'apples', 'answer to apples', 'and then?'" in one.run("print(seen)").text
        assert "is in it" in one.run(f"%loom sessions open {ids['apples'][:9]}").text


def test_a_conversation_that_was_just_left_is_opened_again(home):
    with opened(home) as one:
        ids = with_three(one)
        card = one.said("%loom reset")
        assert f"%loom sessions open {ids['plums']}" in card
        one.said(f"%loom sessions open {ids['plums']}")
        assert "answer to plums" in one.said("%loom context")
        assert "answer to more" in one.said("%%loom -m model\nmore")


def test_the_way_back_after_a_reset_leads_to_the_conversation_that_was_left(home):
    with opened(home) as one:
        ids = with_three(one)
        one.said(f"%loom sessions open {ids['apples']}")
        assert "not read yet" in one.said("%loom")
        assert ids["apples"] in one.said("%loom reset")


def test_what_is_open_in_another_kernel_is_neither_opened_nor_deleted(home):
    with opened(home) as one, opened(home) as two:
        ids = with_three(one)
        two.run(LOAD)

        for verb in ("open", "delete"):
            refused = two.run(f"%loom sessions {verb} {ids['plums']}")
            assert "SessionBusy" in refused.error, refused
        assert "deleted: 1 conversation" in two.run(f"%loom sessions delete {ids['apples']}").text
        assert "2 conversations" in one.run("%loom sessions").text
        assert one.run("%%loom -m model\nstill mine").status == "ok"


def test_a_deleted_conversation_vanishes_and_undo_brings_it_back_to_the_byte(home):
    with opened(home) as one:
        ids = with_three(one)
        one.run(f"before = list(default_store().read({ids['plums']!r}))")

        card = one.run(f"%loom sessions delete {ids['plums']} {ids['pears']}").text

        assert "deleted: 2 conversations" in card
        assert "plums" not in one.run("%loom runs").text
        assert "1 conversation of" in one.run("%loom sessions").text
        gone = one.run(f"%loom sessions open {ids['plums']}")
        assert "it was deleted" in gone.error and f"undo {ids['plums']}" in gone.error
        assert "2 conversations deleted" in one.run("%loom sessions deleted").text
        assert one.run("%%loom -m model\nsomething new").status == "ok"  # in one of its own

        assert "back as it was" in one.run(f"%loom sessions undo {ids['plums']}").text
        assert "back as it was: pears" in one.run("%loom sessions undo").text
        assert "nothing is deleted" in one.run("%loom sessions undo").text

        same = one.run(f"print(before == list(default_store().read({ids['plums']!r})))").text
        assert same.strip() == "True"
        assert "4 conversations" in one.run("%loom sessions").text
        assert "goes on in: plums" in one.run(f"%loom sessions open {ids['plums']}").text


def test_a_purge_asks_first_and_leaves_no_byte(home):
    with opened(home) as one:
        ids = with_three(one)
        one.run(f"%loom sessions delete {ids['apples']} {ids['pears']}")

        asked = one.run(f"%loom sessions purge {ids['apples']}").text
        assert "remove 1 conversation for good?" in asked and f"purge {ids['apples']} --yes" in asked
        assert "2 conversations deleted" in one.run("%loom sessions deleted").text

        assert (
            "1 conversation removed for good" in one.run(f"%loom sessions purge {ids['apples']} --yes").text
        )
        assert "1 conversation removed for good" in one.run("%loom sessions purge --yes").text

        assert "nothing is deleted" in one.run("%loom sessions purge").text
        assert "1 conversation of" in one.run("%loom sessions").text
    kept = [file for file in home.rglob("*") if file.is_file() and "loom.db" in str(file)]
    assert len(kept) > 1
    for file in kept:
        for word in (b"apples", b"pears", ids["apples"].encode()):
            assert word not in file.read_bytes(), file


def test_the_conversation_of_a_run_that_goes_on_is_neither_left_nor_deleted(home):
    with kernel(home, LOOM_NB_RENDER="live", JPY_SESSION_NAME="work.ipynb", LOOM_NB_HOME=str(home)) as one:
        ids = with_three(one)
        one.run(
            "import asyncio\ngate = asyncio.Event()\nasync def wait() -> str:\n    '''Waits.'''\n    await gate.wait()\n    return 'done'"
        )
        one.run("from loom_nb.models.scripted import Call\nslow = Model.scripted([Call('wait', {}), 'over'])")
        one.run("%%loom -m slow -t wait --bg\ngo")
        for line in (f"open {ids['apples']}", "delete " + ids["plums"]):
            assert "has not ended" in one.run(f"%loom sessions {line}").error
        one.run("gate.set()")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("opne x", "%loom sessions open"),
        ("open", "takes one conversation"),
        ("open nb-nothing", "there is no conversation"),
        ("delete", "which?"),
        ("rename", "which, and how?"),
        ("find", "which words?"),
        ("undo nb-1", "nothing is deleted"),
        ("deleted now", "takes nothing more"),
        ("--al", "takes --all"),
    ],
)
def test_what_is_mistyped_is_told_with_what_was_meant(home, line, told):
    with opened(home) as one:
        one.run(LOAD)
        cell = one.run(f"%loom sessions {line}")
        assert told in (cell.text if cell.status == "ok" else cell.error)
