"""The magics in a plain IPython shell, without a kernel: what is typed and what comes back."""

import re

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from loom_nb.errors import LoomUsageError, NotBuiltError
from loom_nb.notebook import line_magics
from loom_nb.notebook.card import Card, Table
from loom_nb.notebook.extension import awaiting_cell
from loom_nb.notebook.line_magics import COMMANDS, LATER
from loom_nb.notebook.schema import type_from


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.setenv("LOOM_NB_HOME", str(tmp_path))
    monkeypatch.setenv("LOOM_NB_RENDER", "plain")
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "LOOM_NB_MODEL"):
        monkeypatch.delenv(name, raising=False)
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    one = InteractiveShell.instance(config=config)
    one.run_cell("%load_ext loom_nb")
    yield one
    one.run_cell("%unload_ext loom_nb")
    one.reset(new_session=True)
    InteractiveShell.clear_instance()


def perform(shell, line=""):
    return line_magics.perform(shell.loom_workbench, line)


# -- the cell becomes an awaiting one --------------------------------------------------------------------


def transformed(text):
    return "".join(awaiting_cell(text.splitlines(keepends=True)))


def called(text):
    """(line, body) of the cell magic that the text became."""
    (made,) = re.findall(
        r"^await get_ipython\(\)\.run_cell_magic\('loom', (.*)\)\n$", transformed(text), re.S
    )
    return eval(f"({made})")  # two literals


@pytest.mark.parametrize(
    ("text", "line", "body"),
    [
        ("%%loom\nhello", "", "hello"),
        ("%%loom -m x\nhello\n", "-m x", "hello\n"),
        ("\n\n  # note\n%%loom\nhello", "", "hello"),
        ("%%loom \t\n>>> x\n... y\n  z", "", ">>> x\n... y\n  z"),
        ("%%loom\r\nhello\r\n", "", "hello\r\n"),
        ("%%loom", "", "\n"),
        ("  %%loom -q\n'quotes' \"and\" \\n {x}", "-q", "'quotes' \"and\" \\n {x}"),
    ],
)
def test_a_loom_cell_awaits_with_its_text_as_typed(text, line, body):
    assert called(text) == (line, body)


@pytest.mark.parametrize(
    "text", ["%%loom?", "%%loom_other\nx", "x = 1\n%%loom", "%loom doctor", "", "# only a comment"]
)
def test_any_other_cell_is_left_alone(text):
    assert transformed(text) == text


def test_the_transformer_is_not_called_while_one_types():
    assert awaiting_cell.has_side_effects


# -- the cell in a terminal ------------------------------------------------------------------------------


def test_a_cell_in_a_terminal_is_text_and_its_value_is_the_result(shell, capsys):
    shell.run_cell("x = 5")
    capsys.readouterr()
    done = shell.run_cell("%%loom\nwhat data do I have here?", store_history=True)
    told = capsys.readouterr().out
    assert done.result.status == "completed"
    assert "list_variables" in told
    assert "<section" not in told
    assert told.count("\ndemo · ") == 1
    assert told.count("<Run r1 completed") == 1
    assert shell.run_cell("_.output", store_history=True).result == done.result.output
    shell.run_cell("__", store_history=True)
    assert "list_variables" in capsys.readouterr().out


def test_a_failed_run_in_a_terminal_raises(shell, capsys):
    done = shell.run_cell("%%loom -m anthropic:claude-sonnet-4-5 -o r\nhello")
    assert type(done.error_in_exec).__name__ == "LoomKeyError"
    assert shell.user_ns["r"].status == "failed"
    assert "ANTHROPIC_API_KEY" in capsys.readouterr().out


def test_a_quiet_cell_shows_no_answer(shell, capsys):
    done = shell.run_cell("%%loom -q\n2 + 2")
    told = capsys.readouterr().out
    assert done.result.output not in told
    assert "<Run r1 completed" in told


# -- line magics -----------------------------------------------------------------------------------------


def test_bare_loom_says_how_things_stand_and_what_to_do_next(shell):
    card = perform(shell)
    assert dict(card.facts)["model"] == "offline (demo, free)"
    assert len(card.steps) == 3
    shell.run_cell("%%loom -m anthropic:claude-sonnet-4-5\nhello")
    assert perform(shell).steps[0][0] == "%loom why last"
    assert dict(perform(shell, "why last").facts)["fault"] == "key"
    assert "LoomKeyError" in str(perform(shell, "traceback"))


def test_the_state_of_a_key_is_told_by_name_only(shell, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary")
    card = perform(shell, "model anthropic:claude-sonnet-4-5")
    assert dict(card.facts)["key"] == "ANTHROPIC_API_KEY is set"
    for line in ("", "models", "doctor", "config"):
        assert "sk-canary" not in str(perform(shell, line)) + perform(shell, line).to_html()
    assert perform(shell, "model offline").facts[0] == ("name", "offline")


def test_an_unknown_vendor_is_refused_and_the_model_stays(shell):
    with pytest.raises(LoomUsageError, match="antropic"):
        perform(shell, "model antropic:x")
    assert shell.loom_workbench.model_name == "offline"


@pytest.mark.parametrize("name", LATER)
def test_a_command_of_a_later_version_is_refused_by_name(shell, name):
    with pytest.raises(NotBuiltError, match=f"%loom {name} is not part of this version"):
        perform(shell, name)


def test_a_mistyped_command_is_refused_with_a_suggestion(shell):
    with pytest.raises(LoomUsageError) as caught:
        perform(shell, "docter")
    assert "%loom doctor" in caught.value.fixes
    with pytest.raises(LoomUsageError, match="takes nothing more"):
        perform(shell, "runs fast")


def test_runs_are_listed_and_drawn_again(shell):
    shell.run_cell("%%loom\n2 + 2")
    assert "2 + 2" in str(perform(shell, "runs"))
    assert "demo · " in repr(perform(shell, "show r1"))
    assert repr(perform(shell, "show last")) == repr(perform(shell, "show r1"))
    with pytest.raises(LoomUsageError) as caught:
        perform(shell, "show r11")
    assert caught.value.fixes == ("%loom show r1",)


def test_reset_begins_a_new_conversation(shell):
    shell.run_cell("%%loom -o a\n2 + 2")
    perform(shell, "reset")
    shell.run_cell("%%loom -o b\n2 + 2")
    assert shell.user_ns["a"].session_id != shell.user_ns["b"].session_id


def test_tools_of_the_notebook_are_listed_with_their_calls(shell):
    shell.run_cell("def double(x: int) -> int:\n    'Double a number.'\n    return 2 * x")
    shell.run_cell("%%loom -t double\nplease double 21")
    rows = {row[0]: row for row in perform(shell, "tools").tables[0].rows}
    assert rows["double"][3] == "1"
    assert rows["list_variables"][1] == "always"
    with pytest.raises(LoomUsageError) as caught:
        shell.loom_workbench.tools_named(("dubble",))
    assert caught.value.fixes == ("%%loom -t double",)
    assert len(shell.loom_workbench.tools_named(("dou*",))) == 1
    shell.run_cell("import textwrap")
    assert shell.loom_workbench.tools_named(("textwrap.shorten",))[0].__name__ == "shorten"


def test_the_tour_inserts_one_cell_at_a_time(shell):
    inserted = []
    shell.set_next_input = lambda text, replace=False: inserted.append(text)
    cards = [perform(shell, "tour") for _ in range(5)]
    assert len(set(inserted)) == 5
    assert [card.title.split(":")[0] for card in cards] == [f"lesson {n} of 5" for n in range(1, 6)]
    with pytest.raises(LoomUsageError, match="lessons 1 to 5"):
        perform(shell, "tour 9")


def test_config_says_where_each_value_came_from(shell):
    rows = {row[0]: row for row in perform(shell, "config").tables[0].rows}
    assert rows["home"][2] == "LOOM_NB_HOME"
    assert rows["model"][1:3] == ("offline", "default")


def test_help_names_every_command(shell):
    told = str(perform(shell, "help"))
    assert all(f"%loom {name}" in told for name in COMMANDS)
    assert "--max-steps" in told


def test_a_wrong_project_file_does_not_stop_the_extension(shell, tmp_path, monkeypatch, capsys):
    shell.run_cell("%unload_ext loom_nb")
    (tmp_path / "loom.toml").write_text("modle = 'offline'\n")
    monkeypatch.chdir(tmp_path)
    shell.run_cell("%load_ext loom_nb")
    assert "modle" in dict(perform(shell).facts)["notice"]


# -- cards and types -------------------------------------------------------------------------------------


def test_a_card_escapes_every_word():
    nasty = "<script>alert(1)</script> & \"'"
    card = Card(nasty, ((nasty, nasty),), (Table(nasty, (nasty,), ((nasty,),)),), nasty, ((nasty, nasty),))
    assert "<script" not in card.to_html()
    assert card.to_html().count("&lt;script&gt;") == 9


def test_a_card_is_at_most_100_columns_wide_in_its_tables():
    card = Card("t", tables=(Table("c", ("a", "b"), (("x" * 90, "y" * 90),)),))
    assert max(map(len, str(card).splitlines())) == 100


def test_types_are_looked_up_without_running_code():
    class Town:
        pass

    names = {"Town": Town}
    assert type_from("Town", names) is Town
    assert type_from("list[Town]", names) == list[Town]
    assert type_from("dict[str, Town] | None", names) == dict[str, Town] | None
    assert type_from("Literal['a', 'b']", names).__args__ == ("a", "b")
    for text in ("Tawn", "Town()", "list[", "__import__('os')", "print", "3 + 4"):
        with pytest.raises(LoomUsageError):
            type_from(text, names)
