"""`%loom identity`: whose words each file holds, the difference, and how a person makes it theirs or undoes it."""

import re

import pytest

from loom_nb.errors import LoomUsageError
from loom_nb.notebook import render
from loom_nb.notebook.transcript import Transcript
from tests.notebook.shells import facts, offered, typed

SOUL = "Answer briefly.\n"


@pytest.fixture
def files(shell):
    known = shell.loom_workbench.equipment.identity_files()
    known.folder.mkdir(parents=True)
    (known.folder / "SOUL.md").write_text(SOUL)
    return known


def row(card, file):
    (table,) = card.tables
    return next(one for one in table.rows if one[0] == file)


def edited(files, text="Shout.\n", file="SOUL.md"):
    files.edit(file, text, run="r7", approved=False, now=1_790_000_000.0)


def test_without_files_it_says_how_to_begin(shell):
    card = typed(shell, "identity")
    assert [one[2] for one in card.tables[0].rows] == ["not there"] * 3
    assert any("%%writefile" in what for what, _ in card.steps)
    assert (
        "%%loom -t identity",
        "lets the agent write them: you see each edit before it is made",
    ) in card.steps


def test_it_says_whose_words_each_file_holds(shell, files):
    assert row(typed(shell, "identity"), "SOUL.md") == (
        "SOUL.md", "how the agent behaves", "yours: in the instructions", "16 characters",
    )  # fmt: skip
    edited(files)
    card = typed(shell, "identity")
    assert row(card, "SOUL.md")[2] == (
        "changed by the agent, not confirmed: travels as data; your last version is in the instructions"
    )
    assert card.steps[0][0] == "%loom identity diff SOUL.md"


def test_the_difference_is_shown_and_confirmed_by_its_digits(shell, files):
    assert "nothing waits for you" in str(typed(shell, "identity diff"))
    edited(files)
    card = typed(shell, "identity diff")
    assert "-Answer briefly.\n+Shout." in str(card)
    assert "<script" not in card.to_html()
    line = card.steps[0][0]
    assert re.fullmatch(r"%loom identity confirm SOUL\.md [0-9a-f]{8}", line)
    assert facts(typed(shell, line.removeprefix("%loom ")))["from now on"] == "yours: in the instructions"
    assert files.profile("SOUL.md").words == "Shout.\n"


def test_nothing_that_hides_or_turns_words_reaches_the_screen(shell, files):
    """What is confirmed stands in the head of requests: it must be what the person has read."""
    edited(files, "Answer briefly.\x1b[2K\x1b[1A \u202eesrever\u202c\n")
    cards = [typed(shell, "identity diff"), typed(shell, "identity show SOUL.md")]
    cards.append(typed(shell, "identity undo SOUL.md"))
    for card in cards:
        for text in (str(card), card.to_html()):
            assert "\u27e8U+202E\u27e9" in text
            assert "\x1b" not in text and "\u202e" not in text


def test_digits_of_another_content_confirm_nothing(shell, files):
    edited(files)
    (line, _), *_ = typed(shell, "identity diff soul").steps
    edited(files, "Scream.\n")
    with pytest.raises(LoomUsageError, match="another content"):
        typed(shell, line.removeprefix("%loom "))
    assert files.profile("SOUL.md").waits


def test_undo_brings_back_the_persons_words(shell, files):
    edited(files)
    card = typed(shell, "identity undo SOUL.md")
    assert facts(card)["now"] == "yours: in the instructions"
    assert (files.folder / "SOUL.md").read_text() == SOUL
    edited(files, "new\n", "USER.md")
    assert facts(typed(shell, "identity undo user"))["now"] == "gone, as it was before"


def test_show_and_edit_tell_the_text_and_the_place(shell, files):
    assert typed(shell, "identity show soul").text == SOUL
    card = typed(shell, "identity edit SOUL.md")
    assert facts(card)["file"] == str(files.path("SOUL.md"))
    assert facts(card)["what you write is"].startswith("yours")
    edited(files)
    assert "until you confirm it" in facts(typed(shell, "identity edit SOUL.md"))["what you write is"]


@pytest.mark.parametrize(
    ("line", "told", "fix"),
    [
        ("identity dif", "no command 'dif'", "%loom identity diff"),
        ("identity show", "which file?", "%loom identity show SOUL.md"),
        ("identity undo TEAM.md", "there is no file 'TEAM.md'", "%loom identity undo SOUL.md"),
        ("identity confirm SOUL.md", "the digits", "%loom identity diff"),
        ("identity show USER.md", "there is no USER.md", None),
        ("identity undo SOUL.md", "no edit", None),
        ("identity show SOUL.md more", "'more' is too much", None),
    ],
)
def test_a_slip_says_what_was_meant(shell, files, line, told, fix):
    with pytest.raises(LoomUsageError, match=re.escape(told)) as caught:
        typed(shell, line)
    assert fix is None or fix in caught.value.fixes


def test_tab_knows_words_files_and_digits(shell, files):
    assert offered(shell, "%loom identity ") == ["show", "edit", "diff", "undo", "confirm"]
    assert offered(shell, "%loom identity show U") == ["USER.md"]
    edited(files)
    assert offered(shell, "%loom identity confirm SOUL.md ") == [files.profile("SOUL.md").sha256[:8]]
    assert "identity" in offered(shell, "%loom ide")


def test_files_that_are_there_are_used_by_every_cell_and_the_tool_comes_with_them(shell, files):
    dry = shell.run_cell("%%loom -n\nhi").result
    assert "Answer briefly." in dry.body.decode()
    item = next(one for one in dry.items if one.name == "identity:SOUL.md")
    assert item.origin == "user:identity/SOUL.md"
    assert any(one.name == "tool:edit_profile" for one in dry.items)
    both = shell.run_cell("%%loom -n -t identity\nhi").result
    assert both.body == dry.body


def test_without_files_no_cell_pays_for_them_unless_it_asks(shell):
    assert "edit_profile" not in shell.run_cell("%%loom -n\nhi").result.body.decode()
    assert "edit_profile" in shell.run_cell("%%loom -n -t identity\nhi").result.body.decode()


def test_a_cell_says_that_a_file_travels_as_data_and_shows_nobody_saying_it(shell, files):
    edited(files, "Kim.\n", "USER.md")
    done = shell.run_cell("%%loom -q\nwho am I?")
    assert done.success
    result = done.result
    dry = shell.run_cell("%%loom -n\nhi").result
    item = next(one for one in dry.items if "identity:USER.md" in one.words)
    assert (item.section, item.why) == ("memory", "the agent wrote it, nobody confirmed it")
    shown = Transcript.of([entry.event for entry in result.events])
    assert [type(block).__name__ for block in shown.blocks].count("Prompt") == 1
    assert "USER.md travels as data" in render.plain(shown)
