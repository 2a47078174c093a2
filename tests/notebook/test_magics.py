"""The magics in a plain IPython shell, without a kernel: what is typed and what comes back."""

import gc
import html
import json
import re
import socket

import pytest

from loom_nb.errors import LoomUsageError, NotBuiltError, SessionBusy, SetupError
from loom_nb.notebook import cell as cells
from loom_nb.notebook import line_magics
from loom_nb.notebook.card import Card, Table
from loom_nb.notebook.extension import awaiting_cell
from loom_nb.notebook.line_magics import COMMANDS, LATER
from loom_nb.notebook.schema import type_from
from loom_nb.stores import default_store
from tests.notebook.shells import typed


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
    "text",
    [
        "%%loom?",
        "%%loom_other\nx",
        "%loom doctor",
        "",
        "# only a comment",
        "x = 1\n%%loom_other",
        "x = 1\n%%loom?",
        "x = 1\n# %%loom\ny = 2",
        'how = """\n%%loom\nwhat\'s here?\n"""',
        "%%bash\necho\n%%loom\n",
        "x = (5\n%%loom\n)",
    ],
)
def test_any_other_cell_is_left_alone(text):
    assert transformed(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "x = 1\n%%loom\nwhich column of {x} is empty?",
        "%load_ext loom_nb\n\n%%loom\nwhat's here, and \"why",
        "!echo it's\n%%loom -q\nhello",
        "x = 1\n%%loom\nhello\n%%loom\nhello again",
        "x = 1\nx?\n  \n%%loom\n",
        "if True:\n    %%loom -n\n    hello",
    ],
)
def test_a_loom_line_below_other_code_says_where_it_belongs_and_nothing_runs(shell, text, capsys):
    done = shell.run_cell(f"before = 'ran'\n{text}")
    assert isinstance(done.error_before_exec or done.error_in_exec, LoomUsageError)
    told = capsys.readouterr()
    assert "%%loom has to be the first line of its cell" in told.out
    assert "nothing of this cell has run" in told.out
    assert "not found" not in told.out + told.err
    assert "before" not in shell.user_ns


def test_a_loom_line_in_the_cell_that_loads_the_extension_says_where_it_belongs(shell, capsys):
    shell.run_cell("%unload_ext loom_nb")
    done = shell.run_cell("%load_ext loom_nb\n\n%%loom\nwhich column of {df} has missing values?")
    assert done.error_in_exec.title == "%%loom has to be the first line of its cell"
    told = capsys.readouterr()
    assert "what stands above it in this cell has run" in told.out
    assert "not found" not in told.out + told.err
    assert "%loom" not in set(shell.magics_manager.magics["cell"])


def test_a_timed_cell_with_a_loom_line_in_it_says_where_that_belongs(shell, capsys):
    shell.run_cell("%%time\nx = 1\n%%loom\nhello")
    assert "%%loom has to be the first line of its cell" in capsys.readouterr().out


def test_a_second_loom_in_a_prompt_is_refused_and_nothing_is_sent(shell, capsys):
    done = shell.run_cell("%%loom\nwhat is 2 + 2?\n\n%%loom -q\nand 3 + 3?")
    assert done.error_in_exec.title == "a second %%loom in one cell"
    assert "--raw" in capsys.readouterr().out
    assert shell.loom_workbench.results == []


@pytest.mark.parametrize(
    "prompt",
    [
        "what does a cell with %%loom do?",
        "explain this:\n```\n%%loom\nhello\n```\nin a word",
        "explain this:\n~~~ipython\n%%loom\nhello",
        "explain this:\n\n    %%loom\n    hello",
        "`%%loom`\nis a magic",
        "%%loom_other\nis none",
    ],
)
def test_a_prompt_may_speak_of_loom(prompt):
    assert cells.parse("", prompt).prompt == prompt


def test_a_raw_prompt_may_begin_a_line_with_loom():
    assert cells.parse("--raw", "one\n%%loom\ntwo").prompt == "one\n%%loom\ntwo"


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


def test_nothing_that_listens_for_ollama_asks_whether_it_runs(shell, monkeypatch):
    with socket.socket() as closed:  # bound and never listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OLLAMA_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
        error = shell.run_cell("%%loom -m ollama:llama3.2\nhello").error_in_exec
    assert error.fault == "connection"
    assert error.fixes[0] == "is `ollama serve` running?"
    assert len(set(error.fixes)) == len(error.fixes) == 3


def test_a_quiet_cell_shows_no_answer(shell, capsys):
    done = shell.run_cell("%%loom -q\n2 + 2")
    told = capsys.readouterr().out
    assert done.result.output not in told
    assert "<Run r1 completed" in told


def test_an_empty_prompt_is_a_short_error_with_an_example(shell, capsys):
    done = shell.run_cell("%%loom -m offline\n  \n")
    assert done.error_in_exec.title == "the prompt is empty"
    assert done.error_in_exec.fixes[0].startswith("%%loom -m offline\n")
    assert len(capsys.readouterr().out.strip().splitlines()) <= 5
    assert "--max-steps" in str(shell.run_cell("%%loom -h").result)


def test_the_reader_is_told_of_a_slip_and_of_a_variable_that_is_replaced(shell, capsys):
    shell.run_cell("df = [1, 2]\nold = 5")
    shell.run_cell("%%loom -o old\nsay {dff} and {df}")
    told = capsys.readouterr().out
    assert "not found: dff (did you mean df?)" in told
    assert "-o old: takes the place of the int of that name" in told
    assert told.index("used: df") < told.index("not found") < told.index("demo ·")
    shown = perform(shell, "show last")
    for kind in ("text/plain", "text/html", "text/markdown", "text/llm+plain"):
        assert "dff (did you mean df?)" in shown.data[kind], kind
    shell.run_cell("%%loom -o old\n2 + 2")
    assert "takes the place" not in capsys.readouterr().out, "an answer may be replaced by the next"


def test_a_dry_run_folds_its_json_and_keeps_it_whole(shell):
    shell.run_cell("df = [1, 2]")
    dry = shell.run_cell("%%loom -n\nsay {dff}").result
    bundle = dry._repr_mimebundle_()
    assert "<details><summary>the whole request" in bundle["text/html"]
    assert "<details open" not in bundle["text/html"]
    assert "not found: dff (did you mean df?)" in bundle["text/plain"]
    assert len(bundle["text/plain"].splitlines()) < 70
    assert "more lines: print(_) shows them" in bundle["text/plain"]
    whole = json.dumps(json.loads(dry.body), indent=2, ensure_ascii=False)
    assert str(dry).endswith(whole)
    assert html.escape(whole) in bundle["text/html"]


@pytest.mark.parametrize("magic", ["%%time", "%%timeit -n1", "%%capture out", "%%prun"])
def test_a_cell_below_a_magic_that_runs_python_is_refused_in_words(shell, magic):
    done = shell.run_cell(f"# note\n{magic}\n\n# another\n%%loom\n2 + 2")
    assert done.error_in_exec.title == f"%%loom cannot stand below {magic.split()[0]}"
    assert done.error_in_exec.fixes[0].startswith("%%loom ")


def test_a_file_that_begins_with_loom_can_be_written(shell, tmp_path):
    assert transformed("%%time\nx = 1") == "%%time\nx = 1"
    assert shell.run_cell(f"%%writefile {tmp_path / 'cell.txt'}\n%%loom\n2 + 2\n").success
    assert (tmp_path / "cell.txt").read_text() == "%%loom\n2 + 2\n"


@pytest.mark.filterwarnings("error")
def test_the_magic_as_a_call_has_to_be_awaited(shell):
    call = "get_ipython().run_cell_magic('loom', '', '2 + 2')"
    done = shell.run_cell(f"for _ in 'ab':\n    x = {call}")
    assert done.error_in_exec.title == "%%loom has to be awaited"
    assert shell.run_cell(f"(await {call}).status").result == "completed"
    shell.run_cell(f"def ask():\n    return {call}")
    assert "has not begun: await get_ipython()" in repr(shell.run_cell("ask()").result)
    assert shell.run_cell("ask().output").error_in_exec.title == "%%loom has to be awaited"
    assert shell.run_cell("(await ask()).status").result == "completed"
    gc.collect()


def test_the_card_at_loading_says_what_to_do_with_a_key(shell, monkeypatch, capsys):
    for name, says in (
        ("X", "%loom key set anthropic"),
        ("OPENAI_API_KEY", "OPENAI_API_KEY is set: %loom model openai"),
    ):
        monkeypatch.setenv(name, "sk-canary")
        shell.run_cell("%unload_ext loom_nb")
        capsys.readouterr()
        shell.run_cell("%load_ext loom_nb")
        lines = capsys.readouterr().out.strip().splitlines()
        (hint,) = [line for line in lines if "Have a key?" in line]
        assert says in hint
        assert len(lines) <= 8
        assert max(map(len, lines)) <= 100
        assert "canary" not in "".join(lines)


def test_a_healthy_installation_has_nothing_to_look_at_for_its_demo_model(shell):
    rows = {row[1]: row for row in perform(shell, "doctor").tables[0].rows}
    assert rows["model"][0] == "ok"
    assert rows["model"][3] == "%loom models shows the others"


# -- line magics -----------------------------------------------------------------------------------------


def test_bare_loom_says_how_things_stand_and_what_to_do_next(shell):
    card = perform(shell)
    assert dict(card.facts)["model"] == "offline (demo, free)"
    assert len(card.steps) == 3
    shell.run_cell("%%loom -m anthropic:claude-sonnet-4-5\nhello")
    assert perform(shell).steps[0][0] == "%loom why last"
    assert dict(perform(shell, "why last").facts)["fault"] == "key"
    assert "%loom traceback" in dict(perform(shell, "why last").steps)
    assert "LoomKeyError" in str(perform(shell, "traceback"))
    shell.run_cell("%%loom\n2 + 2")
    for line in ("why", "why r2", "why r1"):
        assert "%loom traceback" not in dict(perform(shell, line).steps), "it is there for the last run only"


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
    assert caught.value.fixes == ("%loom doctor", "%loom help")
    with pytest.raises(LoomUsageError) as caught:
        perform(shell, "what data do I have")
    assert caught.value.cause == "to ask something, use %%loom with the prompt below it"
    assert caught.value.fixes[0] == "%%loom\n         what data do I have"
    with pytest.raises(LoomUsageError, match="to ask something, use %%loom"):
        perform(shell, "xyzzy")
    with pytest.raises(LoomUsageError, match="takes nothing more"):
        perform(shell, "runs fast")


def test_runs_are_listed_and_drawn_again(shell):
    shell.run_cell("%%loom\n2 + 2")
    assert "2 + 2" in str(perform(shell, "runs"))
    assert "demo · " in repr(perform(shell, "show r1"))
    assert repr(perform(shell, "show last")) == repr(perform(shell, "show r1"))
    with pytest.raises(LoomUsageError) as caught:
        perform(shell, "show r11")
    assert caught.value.fixes == ("%loom show r1", "%loom runs   lists those there are")


# -- which conversation ----------------------------------------------------------------------------------


@pytest.fixture
def again(shell, monkeypatch):
    """Makes another kernel of this shell: the extension anew, nothing remembered but the log."""

    def restart(notebook=""):
        shell.run_cell("%unload_ext loom_nb")
        monkeypatch.setenv("JPY_SESSION_NAME", notebook)
        shell.run_cell("%load_ext loom_nb")

    return restart


def asked(shell, text, flags=""):
    done = shell.run_cell(f"%%loom {flags} -o answer\n{text}")
    assert done.success, done.error_in_exec
    return shell.user_ns["answer"]


def test_a_conversation_that_cannot_be_entered_leaves_the_current_one_as_it_was(shell, tmp_path):
    taken = asked(shell, "2 + 2")
    perform(shell, "reset")
    current = asked(shell, "3 + 3").session_id
    elsewhere = default_store(tmp_path / "loom.db")
    lease = elsewhere.acquire(taken.session_id)
    for flags in ("", "-n"):
        done = shell.run_cell(f"%%loom --continue {taken.session_id}/r1 {flags}\n4 + 4")
        assert isinstance(done.error_in_exec, SessionBusy)
    assert dict(perform(shell, "why last").facts)["status"] == "failed"
    assert "is being written by" in repr(perform(shell, "show last"))
    assert asked(shell, "5 + 5").session_id == current
    elsewhere.release(lease)
    assert asked(shell, "6 + 6", f"--continue {taken.session_id}/r1").session_id == taken.session_id
    assert asked(shell, "7 + 7").session_id == taken.session_id


def test_a_schema_that_is_none_leaves_the_current_conversation(shell):
    current = asked(shell, "2 + 2").session_id
    shell.run_cell("class Odd:\n    pass")
    assert not shell.run_cell("%%loom --new --schema Odd\n3 + 3").success
    assert asked(shell, "4 + 4").session_id == current


def test_a_run_is_looked_for_in_this_conversation_first(shell, again):
    old = asked(shell, "2 + 2")
    again()
    new = asked(shell, "3 + 3")
    assert (old.id, new.id) == ("r1", "r1")
    assert "3 + 3" in repr(perform(shell, "show r1"))
    assert "this is r1" not in repr(perform(shell, "show r1"))
    asked(shell, "4 + 4", f"--continue {old.session_id}/r1")
    assert "2 + 2" in repr(perform(shell, "show r1"))
    perform(shell, "reset")
    asked(shell, "5 + 5")
    assert "3 + 3" in repr(perform(shell, "show r1")), "this kernel's conversations before all others"


def test_a_run_of_another_conversation_is_shown_with_a_line_that_names_it(shell, again):
    again("/one.ipynb")
    mine = asked(shell, "2 + 2")
    again("/two.ipynb")
    other = asked(shell, "3 + 3")
    again("/one.ipynb")
    told = repr(perform(shell, "show r1"))
    assert "2 + 2" in told
    assert f"this is r1 of an earlier conversation of this notebook, {mine.session_id}" in told
    assert "this is r1" not in repr(perform(shell, f"show {mine.session_id}/r1"))
    assert dict(perform(shell, "why r1").facts)["conversation"] == mine.session_id
    again("/three.ipynb")
    told = perform(shell, "show r1")
    assert f"this is r1 of another conversation, {other.session_id}" in repr(told)
    assert f"of another conversation, {other.session_id}" in told.data["text/html"]


def test_going_on_in_another_conversation_by_a_bare_id_says_in_which(shell, again, capsys):
    old = asked(shell, "2 + 2")
    again()
    capsys.readouterr()
    assert asked(shell, "3 + 3", "--continue r1").session_id == old.session_id
    assert f"of another conversation, {old.session_id}" in capsys.readouterr().out


def test_after_a_restart_the_status_says_how_to_go_on(shell, again):
    again("/one.ipynb")
    mine = asked(shell, "2 + 2")
    again("/two.ipynb")
    other = asked(shell, "3 + 3")
    again("/one.ipynb")
    card = perform(shell)
    assert dict(card.facts)["earlier here"] == mine.session_id
    assert card.steps[0][0] == f"%%loom --continue {mine.session_id}/r1"
    again("/new.ipynb")
    assert "earlier here" not in dict(perform(shell).facts)
    again()  # the front end does not say which notebook it is
    assert dict(perform(shell).facts)["earlier here"] == other.session_id
    asked(shell, "4 + 4")
    assert "earlier here" not in dict(perform(shell).facts)


def test_a_run_that_is_not_there_names_those_that_are_near(shell):
    for _ in range(2):
        perform(shell, "reset")
        asked(shell, "2 + 2")
    done = shell.run_cell("%%loom --continue r22\n3 + 3")
    assert done.error_in_exec.fixes == (
        "%%loom --continue r2",
        "%loom runs   lists those there are",
    )
    with pytest.raises(LoomUsageError) as caught:
        perform(shell, "show nb-nothing/r1")
    assert "in conversation nb-nothing" in caught.value.title
    assert caught.value.fixes == ("%loom runs   lists those there are",)


def test_unloading_gives_models_their_keys_back(shell):
    import loom_nb.agent  # noqa: F401  which says where they come from without a notebook
    from loom_nb.models import kept_keys

    before = kept_keys.come_from(None)
    kept_keys.come_from(before)
    assert shell.run_cell("%%loom\nhello").success
    assert kept_keys.come_from(None) != before
    kept_keys.come_from(shell.loom_workbench._keys_of_models)
    shell.run_cell("%unload_ext loom_nb")
    assert kept_keys.come_from(before) == before


def test_unloading_in_a_terminal_gives_the_conversation_back(shell, tmp_path):
    session = asked(shell, "2 + 2").session_id
    with pytest.raises(SessionBusy):
        default_store(tmp_path / "loom.db").acquire(session)
    shell.run_cell("%unload_ext loom_nb")
    default_store(tmp_path / "loom.db").acquire(session)


def test_reset_begins_a_new_conversation(shell):
    shell.run_cell("%%loom -o a\n2 + 2")
    perform(shell, "reset")
    shell.run_cell("%%loom -o b\n2 + 2")
    assert shell.user_ns["a"].session_id != shell.user_ns["b"].session_id


def test_tools_of_the_notebook_are_listed_with_their_calls(shell):
    shell.run_cell(
        "from loom_nb import tool\n@tool(read_only=True)\ndef double(x: int) -> int:\n    'Double a number.'\n    return 2 * x"
    )
    shell.run_cell("%%loom -t double\nplease double 21")
    rows = {row[0]: row for row in perform(shell, "tools").tables[0].rows}
    assert rows["double"][3] == "1"
    assert rows["list_variables"][1] == "always"


# -- what -t offers --------------------------------------------------------------------------------------


def offered(shell, *names):
    return shell.loom_workbench.tools_named(names)


def refused(shell, name):
    with pytest.raises(SetupError) as caught:
        offered(shell, name)
    return caught.value


def test_functions_are_offered_by_name_by_path_and_by_pattern(shell):
    shell.run_cell("def double(x: int) -> int:\n    return 2 * x\ntwice = double\nimport textwrap")
    (tool,), notices = offered(shell, "dou*", "double")
    assert (tool.name, notices) == ("double", [])
    assert offered(shell, "double")[0] == [tool]
    assert offered(shell, "textwrap.dedent")[0][0].name == "dedent"
    assert offered(shell, "*") == ([tool], [])


def test_a_name_that_is_no_function_says_which_there_are(shell):
    shell.run_cell("def double(x: int) -> int:\n    return 2 * x\nn = 1")
    assert refused(shell, "dubble").fixes == ("%%loom -t double",)
    assert refused(shell, "nope").cause.startswith("functions here: double; -t knows files, ")
    assert refused(shell, "nope*").cause == "functions here: double"
    assert "int cannot be called" in refused(shell, "n").title


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("len", "builtin"),
        ("math.sqrt", "builtin"),
        ("text.upper", "method"),
        ("Town", "class"),
        ("town.visit", "method"),
    ],
)
def test_what_is_no_plain_function_says_why_it_is_not_taken(shell, name, kind):
    shell.run_cell("import math\ntext = 'a'\nclass Town:\n    def visit(self): ...\ntown = Town()")
    error = refused(shell, name)
    assert error.title == f"-t {name}: a {kind} is not taken as a tool"
    assert "write a function around it" in error.fixes[0]


def test_a_function_that_no_model_can_call_is_refused_before_anything_is_sent(shell):
    shell.run_cell("def star(*numbers: int) -> int:\n    return sum(numbers)")
    done = shell.run_cell("%%loom -t star -o answer\nsum 1 and 2")
    assert "'*numbers' cannot be described" in str(done.error_in_exec)
    assert "answer" not in shell.user_ns
    assert shell.loom_workbench.results == []
    shell.run_cell("from typing import Callable\ndef call(f: Callable): ...")
    assert "call" in refused(shell, "call").title
    assert describes(shell, "star").startswith("tool star: '*numbers' cannot be described")


def describes(shell, name):
    rows = {row[0]: row for row in perform(shell, "tools").tables[0].rows}
    return rows[name][4]


def test_a_pattern_leaves_out_what_cannot_be_a_tool_and_says_so(shell, capsys):
    shell.run_cell(
        "from loom_nb import tool\n@tool(read_only=True)\ndef double(x: int) -> int:\n    return 2 * x\nsmall = lambda x: x\ndef star(*n): ..."
    )
    done = shell.run_cell("%%loom -t * -o answer\nplease double 21")
    assert done.result.status == "completed"
    told = capsys.readouterr().out
    assert "-t left out small ('<lambda>' is no name for a tool), star (" in told
    assert "left out small" in repr(perform(shell, "show last"))


def test_the_tour_inserts_one_cell_at_a_time(shell):
    inserted = []
    shell.set_next_input = lambda text, replace=False: inserted.append(text)
    shell.run_cell("df = answer = tour_df = 'mine'")
    cards = [perform(shell, "tour") for _ in range(5)]
    assert len(set(inserted)) == 5
    assert "tour_df2 = " in inserted[0]
    assert "{tour_df2}" in inserted[2]
    assert "tour_df2" in str(cards[0])
    for cell in inserted:
        done = shell.run_cell(cell)
        assert done.success, (cell, done.error_in_exec)
    assert [shell.user_ns[name] for name in ("df", "answer", "tour_df")] == ["mine"] * 3
    assert shell.user_ns["tour_answer"].status == "completed"
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
    folded = Card("t", text=nasty, folded=nasty)
    assert "<script" not in folded.to_html()


def test_nothing_on_a_card_is_typeset_as_a_formula():
    formula = "$E=mc^2$"
    table = Table(formula, (formula,), ((formula,), (formula,)))
    card = Card(formula, ((formula, formula),), (table,), formula, ((formula, formula),))
    shown = card.to_html()
    opening = '<section class="jp-RenderedHTMLCommon mathjax_ignore tex2jax_ignore">'
    assert shown.startswith(opening)
    assert shown.endswith("</section>")
    assert shown.count("section") == 2, "every cell stands in the one section"
    assert shown.count(formula) == 10


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


def test_a_line_with_too_many_words_says_how_many_it_takes(shell):
    for line, told in (
        ("diff r1 r2 r3", "at most 2 words"),
        ("show r1 r2", "one word more"),
        ("stop now", "nothing"),
    ):
        with pytest.raises(LoomUsageError, match=f"takes {told}"):
            typed(shell, line)


def test_keep_does_not_claim_what_there_is_not(shell):
    assert typed(shell, "keep").title == "there is nothing to keep or to roll back"


def test_config_says_what_lines_of_this_kernel_have_set(shell):
    for line in (
        "model openai:gpt-x",
        "replay strict",
        "approvals edits",
        "budget day 5.00",
        "budget ask off",
    ):
        typed(shell, line)
    rows = {row[0]: row[1:3] for row in typed(shell, "config").tables[0].rows}
    assert rows["model"] == ("openai:gpt-x", "%loom model")
    assert rows["replay"] == ("strict", "%loom replay")
    assert rows["approve"] == ("edits", "%loom approvals")
    assert rows["budget_day"] == ("$5.00", "%loom budget")
    assert rows["ask_above"] == ("None", "%loom budget ask")
    assert rows["budget_cell"] == ("None", "default")


@pytest.mark.parametrize("line", ["approve", "deny", "answer q1 yes", "deny a1"])
def test_a_line_that_finds_nothing_to_decide_names_itself(shell, line):
    with pytest.raises(LoomUsageError, match=f"^%loom {line.split()[0]}: "):
        typed(shell, line)
