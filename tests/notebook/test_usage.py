"""What can be typed is told within 100 columns and as tables; the words of -t stand in one list."""

import inspect
import warnings

import pytest

from loom_nb.errors import LoomError, LoomUsageError, SetupError
from loom_nb.notebook import cell as cells
from loom_nb.notebook import line_magics
from loom_nb.notebook.card import WIDTH, Card
from loom_nb.notebook.line_magics import COMMANDS
from loom_nb.notebook.render.facts import columns
from loom_nb.notebook.tool_groups import ALWAYS, GROUPS
from tests.notebook.shells import offered, typed

ARGUMENTS = {
    "diff": "r1 r2", "show": "r1", "why": "r1", "export": "r1 --to {folder}/run.md", "memory": "add 'a note'",
    "model": "anthropic:claude-sonnet-4-5", "approvals": "edits", "budget": "day 5.00", "skills": "find data",
}  # fmt: skip
"""What a command is given here, so that it has much to tell."""
VERBATIM = {"diff", "show"}
"""Commands that show what somebody wrote, as it was written."""
NOTHING_TO_TELL = {"resume", "approve", "deny", "answer", "rollback"}
"""Commands that refuse: nothing waits here, and nothing was interrupted."""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_card_of_every_command_is_at_most_100_columns_wide_and_has_tables(talk, name, tmp_path):
    for words in {"", ARGUMENTS.get(name, "").format(folder=tmp_path)}:
        try:
            card = typed(talk, f"{name} {words}") if name != "show" else shown(talk, words)
        except LoomError:
            assert name in NOTHING_TO_TELL or not words, "it has to be told something"
            continue
        lines = str(card).replace(str(tmp_path), "~").splitlines()  # the path of a test is no person's
        wide = [line for line in lines if columns(line) > WIDTH]
        assert wide == []
        assert name in VERBATIM or "<pre" not in html_of(card)


def shown(shell, words):
    return shell.run_cell(f"%loom show {words}").result


def html_of(card):
    made = card._repr_mimebundle_()
    return (made[0] if isinstance(made, tuple) else made)["text/html"]


@pytest.mark.parametrize("line", ["help", "-h", "--help", "?"])
def test_help_is_a_table_of_every_command_and_every_flag(shell, line):
    card = typed(shell, line)
    assert max(map(columns, str(card).splitlines())) <= WIDTH
    told = [row[0] for table in card.tables for row in table.rows]
    for name in COMMANDS:
        assert any(one.split()[:2] == ["%loom", name] for one in told), name
    for flag in cells.flags():
        assert any(flag in one.replace(",", "").split() for one in told), flag
    assert "<pre" not in card.to_html()
    assert card.to_html().count("<table>") >= 5


def test_the_cells_own_help_is_the_same_table(shell):
    card = shell.run_cell("%%loom -h").result
    assert isinstance(card, Card)
    assert "<pre" not in card.to_html()
    assert set(card.tables) <= set(typed(shell, "help").tables)


@pytest.mark.parametrize("kind", ["line", "cell"])
def test_what_a_question_mark_shows_has_room_on_a_page(shell, kind):
    told = inspect.getdoc(shell.find_magic("loom", kind))
    assert told == (cells if kind == "cell" else line_magics).usage()
    assert max(map(columns, told.splitlines())) <= WIDTH


def test_a_card_hangs_what_has_no_room_and_keeps_what_is_to_be_copied():
    long = "so many words " * 11 + "so many words"
    key = "%loom key set NAME --type ssh_private_key --host H"
    told = str(
        Card(long, (("name", long), ("宽" * 20, long)), steps=((key, long), ("short", long)))
    ).splitlines()
    assert max(map(columns, told)) <= WIDTH
    assert f"  {key}" in [line.rstrip() for line in told]
    assert " ".join(" ".join(told).split()).count("so many words") == 5 * 12


# -- the words of -t -------------------------------------------------------------------------------------


WANTS_SOMETHING = {"ssh": "no secret", "knowledge": "this notebook has no documents"}
"""Words that give nothing yet, and why."""


def test_every_word_of_t_is_equipment_and_no_other_is(shell):
    equipment = shell.loom_workbench.equipment
    made = {name: equipment.named(name) for name in (*GROUPS, *ALWAYS) if name not in WANTS_SOMETHING}
    assert all(hasattr(one, "open") for one in made.values())
    for name, why in WANTS_SOMETHING.items():
        with pytest.raises(LoomUsageError, match=f"-t {name}: {why}"):
            equipment.named(name)
    with pytest.raises(KeyError):
        equipment.named("fles")


@pytest.mark.parametrize(
    ("typed_name", "meant"),
    [("fles", "files"), ("memmory", "memory"), ("knowlege", "knowledge"), ("sell", "shell")],
)
def test_a_mistyped_word_of_t_is_suggested(shell, typed_name, meant):
    with pytest.raises(SetupError) as caught:
        shell.loom_workbench.agent_of(cells.parse(f"-t {typed_name}", "hello"))
    assert caught.value.fixes[0] == f"%%loom -t {meant}"


def test_a_word_that_is_near_nothing_is_answered_with_all_there_are(shell):
    with pytest.raises(SetupError) as caught:
        shell.loom_workbench.agent_of(cells.parse("-t zzzz", "hello"))
    assert all(name in caught.value.cause for name in GROUPS)


@pytest.mark.parametrize("name", ALWAYS)
def test_what_every_cell_has_needs_no_word(shell, name):
    with pytest.raises(SetupError) as caught:
        shell.loom_workbench.agent_of(cells.parse(f"-t {name}", "hello"))
    assert "every cell has it already" in caught.value.title


def test_tab_offers_functions_and_then_the_words_of_t(shell):
    shell.run_cell("def double(x: int) -> int:\n    return 2 * x")
    assert offered(shell, "%%loom -t ") == ["double", *GROUPS]
    assert offered(shell, "%%loom -t double fi") == ["files"]
    shell.run_cell("files = ['a.txt']")
    assert "files" not in offered(shell, "%%loom -t "), "the variable has the name now"


def test_tools_lists_only_what_can_be_one_and_says_why_a_function_of_the_reader_cannot(shell):
    shell.run_cell(
        "from dataclasses import dataclass, field\nfrom textwrap import dedent\nfrom pathlib import Path\n"
        "class Town: ...\n"
        "def fine(x: int) -> int:\n    return x\n"
        "def bad(*rest): ..."
    )
    with warnings.catch_warnings(action="error"):
        tools, groups = typed(shell, "tools").tables
    rows = {row[0]: row for row in tools.rows}
    assert {"fine", "dedent", "bad"} <= set(rows)
    assert not {"dataclass", "Path", "Town"} & set(rows)
    assert rows["fine"][1] == "with -t fine"
    assert rows["bad"][1] == "cannot be one"
    assert "'*rest'" in rows["bad"][4]
    assert dict(groups.rows) == GROUPS
