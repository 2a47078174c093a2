"""Leave for a call in real kernels: nobody there, typed, once and for all, across a kill, beside other cells."""

import os
import re
import signal
from contextlib import contextmanager
from queue import Empty

import pytest

from loom_nb import SqliteStore
from tests.notebook.kernels import Cell, kernel, waits_for

SETUP = """
%load_ext loom_nb
from loom_nb import Model, tool
from loom_nb.models.scripted import Call
from loom_nb.protocols import current_call
from loom_nb.questions import Question
from dataclasses import replace
from pathlib import Path

def save(path: str, text: str = "x") -> str:
    "Save."
    with open(path, "a") as file:
        file.write(text)
    return "saved"

def edit(path: str) -> str:
    "Edit."
    with open(path, "a") as file:
        file.write("e")
    return "edited"
edit = replace(tool(effects=["writes"])(edit), undoable=True)

@tool(read_only=True)
def look() -> str:
    "Look."
    return "seen"

@tool(read_only=True)
async def wonder() -> str:
    "Ask."
    said = await current_call.get().ask(Question("", "confirm", "Go on?"))
    Path("said").write_text(str(said))
    return f"the person said {said}"

def model(*calls):
    return Model.scripted([*calls, "the end"])
"""


@contextmanager
def at_work(home, **environment):
    environment = {"LOOM_NB_RENDER": "static", **environment}
    with kernel(home, **environment) as running:
        assert running.run(SETUP).status == "ok"
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def one(home):
    with at_work(home) as running:
        yield running


def asking(running, *calls, flags="--new -t save"):
    """A cell whose model makes these calls; its text."""
    told = running.run(f"m = model({', '.join(calls)})")
    assert told.status == "ok", told.error
    return f"%%loom {flags} -m m -o used\ngo on"


def call(name="save", **arguments):
    return f"Call({name!r}, {arguments!r})"


def answered(running, code, *lines):
    """The prompts of a cell that these lines answer, and the cell; it asks exactly so often."""
    request = running.submit(code)
    prompts = []
    try:
        for line in lines:
            prompts.append(running.client.get_stdin_msg(timeout=60)["content"]["prompt"])
            running.client.input(line)
        return prompts, running.collect(request, timeout=60)
    except Empty:  # the kernel is free again for the next test
        running.press()
        running.collect(request, timeout=60)
        raise AssertionError(
            f"it asked {len(prompts)} times, or more often than {len(lines)} times"
        ) from None


def outcome(running):
    return running.said("print(used.status, [use.outcome for use in used.tools])")


def done(home, name):
    """What the calls have written to a file; empty where there is none."""
    path = home / name
    return path.read_text() if path.exists() else ""


def card(running, line):
    """The text of a `%loom` line that is no error."""
    cell = running.run(f"%loom {line}")
    assert cell.status == "ok", cell.error
    return cell.text


def code_for_all(running):
    return re.search(r"approvals all ([0-9a-f]+)", card(running, "approvals all"))[1]


# --- where a program executes the cell ---------------------------------------------------------------


def test_headless_a_call_that_acts_is_denied_at_once_and_the_way_out_is_told(one, home):
    cell = one.run(asking(one, call(path="headless")), allow_stdin=False)
    assert cell.status == "error"
    assert "RunDenied" in cell.error
    assert "save" in cell.error
    assert "LOOM_NB_ALLOW=save" in cell.error
    assert done(home, "headless") == ""
    assert outcome(one) == "denied ['denied']"


def test_headless_what_only_looks_runs(one):
    cell = one.run(asking(one, call("look"), flags="--new -t look"), allow_stdin=False)
    assert cell.status == "ok"
    assert outcome(one) == "completed ['ok']"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LOOM_NB_ALLOW": "save"}, {"save": "ok", "edit": "denied", "look": "ok"}),
        ({"LOOM_NB_ALLOW": "s*, edit"}, {"save": "ok", "edit": "ok", "look": "ok"}),
        ({"LOOM_NB_APPROVE": "read-only"}, {"save": "denied", "edit": "denied", "look": "ok"}),
        ({"LOOM_NB_APPROVE": "edits"}, {"save": "denied", "edit": "ok", "look": "ok"}),
        ({"LOOM_NB_APPROVE": "all"}, {"save": "ok", "edit": "ok", "look": "ok"}),
        (
            {"LOOM_NB_APPROVE": "read-only", "LOOM_NB_ALLOW": "save"},
            {"save": "denied", "edit": "denied", "look": "ok"},
        ),
    ],
)
def test_the_environment_says_what_runs_unasked(tmp_path, variables, expected):
    with at_work(tmp_path, **variables) as running:
        found = {}
        for name in expected:
            arguments = {} if name == "look" else {"path": name}
            running.run(asking(running, call(name, **arguments), flags=f"--new -t {name}"), allow_stdin=False)
            found[name] = re.search(r"\['(\w+)'\]", outcome(running))[1]
            written = done(tmp_path, name)
            assert bool(written) == (found[name] == "ok" and name != "look")
        assert found == expected


@pytest.mark.parametrize(
    ("line", "words"), [('approve = "all"', "approve = 'all'"), ('allow = "*"', "allow in")]
)
def test_a_project_file_cannot_say_that_all_runs_unasked(tmp_path, line, words):
    (tmp_path / "loom.toml").write_text(f'{line}\nmodel = "offline"\n')
    with kernel(tmp_path, LOOM_NB_RENDER="static", XDG_DATA_HOME=str(tmp_path / "data")) as running:
        assert running.run("%load_ext loom_nb").status == "ok"
        told = card(running, "")
        assert words in told
        assert "loom.toml" in told
        assert running.run(SETUP.replace("%load_ext loom_nb", "")).status == "ok"
        running.run(asking(running, call(path="a")), allow_stdin=False)
        assert outcome(running) == "denied ['denied']"
        assert done(tmp_path, "a") == ""


def test_a_project_file_that_is_refused_does_not_loosen_what_the_environment_says(tmp_path):
    (tmp_path / "loom.toml").write_text('approve = "all"\n')
    with at_work(tmp_path, LOOM_NB_APPROVE="read-only", XDG_DATA_HOME=str(tmp_path / "data")) as running:
        assert "read-only" in card(running, "approvals")
        assert not (tmp_path / "data").exists()


# --- typed -------------------------------------------------------------------------------------------

MENU = "[o]nce / [a]gain / [s]ession / [e]dit / [d]eny / [?]: "


def test_once_is_for_one_call_and_the_next_one_asks_again(one, home):
    calls = [call(path="once"), call(path="once")]
    prompts, cell = answered(one, asking(one, *calls), "o", "once")
    assert prompts == [MENU, MENU]
    assert cell.status == "ok"
    assert done(home, "once") == "xx"
    assert outcome(one) == "completed ['ok', 'ok']"


def test_for_the_session_is_for_all_calls_of_the_tool_until_the_next_conversation(one, home):
    calls = [call(path="session", text=text) for text in "xyz"]
    prompts, _ = answered(one, asking(one, *calls), "s")
    assert prompts == [MENU]
    assert done(home, "session") == "xyz"
    prompts, _ = answered(one, asking(one, call(path="session")), "d no")
    assert prompts == [MENU]
    assert done(home, "session") == "xyz"


def test_a_refusal_is_read_by_the_agent_with_its_reason(one, home):
    _, cell = answered(one, asking(one, call(path="no")), "d not in this folder")
    assert "RunDenied" in cell.error
    assert done(home, "no") == ""
    assert "denied by the person: not in this folder" in one.run("print(used.tools[0].result)").text
    _, cell = answered(one, asking(one, call(path="no")), "d", "too early")
    assert "too early" in one.run("print(used.tools[0].result)").text


def test_help_is_given_and_it_asks_on(one, home):
    prompts, cell = answered(one, asking(one, call(path="help")), "?", "what", "", "o")
    assert prompts == [MENU] * 4
    assert cell.text.count("d  ") >= 2
    assert done(home, "help") == "x"


def test_edited_arguments_are_used_and_the_agent_is_told(one, home):
    prompts, _ = answered(one, asking(one, call(path="mine")), "e", "yours")
    assert len(prompts) == 2
    assert (done(home, "mine"), done(home, "yours")) == ("", "x")
    assert "changed path" in one.run("print(used.tools[0].result)").text


def test_two_questions_of_one_turn_are_asked_one_after_the_other(one, home):
    both = f"[{call(path='two', text='1')}, {call(path='two', text='2')}]"
    prompts, _ = answered(one, asking(one, both), "o", "d no")
    assert prompts == [MENU, MENU]
    assert done(home, "two") == "1"
    assert sorted(re.findall(r"'(\w+)'", outcome(one))) == ["denied", "ok"]


def test_an_interrupt_while_it_asks_ends_the_run_and_the_next_cell_works(one, home):
    request = one.submit(asking(one, call(path="stopped")))
    one.client.get_stdin_msg(timeout=60)
    one.press()
    cell = one.collect(request)
    assert "RunStopped" in cell.error
    assert outcome(one) == "stopped ['stopped']"
    assert "stopped" not in card(one, "approvals").split("decided")[0]
    prompts, _ = answered(one, asking(one, call(path="after")), "o")
    assert prompts == [MENU]
    assert (done(home, "stopped"), done(home, "after")) == ("", "x")


# --- run all again -----------------------------------------------------------------------------------


def test_a_leave_that_was_taken_back_stays_so_in_the_next_conversation_and_kernel(tmp_path):
    with at_work(tmp_path, JPY_SESSION_NAME=str(tmp_path / "mine.ipynb")) as running:
        assert answered(running, asking(running, call(path="a")), "a")[0] == [MENU]
        card(running, "approvals forget r1/a1")
        assert answered(running, asking(running, call(path="a")), "a")[0] == [MENU]
        card(running, "approvals forget r2/a1")
        os.kill(running.manager.provisioner.process.pid, signal.SIGKILL)
        running.restart()
        assert running.run(SETUP).status == "ok"
        assert "allowed for this exact call in this notebook (taken back)" in card(running, "approvals")
        assert answered(running, asking(running, call(path="a")), "d no")[0] == [MENU]
        assert done(tmp_path, "a") == "xx"


def test_what_is_allowed_for_the_notebook_is_not_asked_again_until_it_changes(tmp_path):
    named = {"JPY_SESSION_NAME": str(tmp_path / "mine.ipynb")}
    with at_work(tmp_path, **named) as running:
        assert answered(running, asking(running, call(path="a")), "a")[0] == [MENU]
        assert answered(running, asking(running, call(path="a")))[1].status == "ok"
        assert done(tmp_path, "a") == "xx"
        running.restart()
        assert running.run(SETUP).status == "ok"
        assert answered(running, asking(running, call(path="a")))[1].status == "ok"
        assert done(tmp_path, "a") == "xxx"
        prompts, _ = answered(running, asking(running, call(path="b")), "d no")
        assert prompts == [MENU]
        changed = SETUP.replace('return "saved"', 'return "saved anew"')
        assert running.run(changed.replace("%load_ext loom_nb", "")).status == "ok"
        prompts, _ = answered(running, asking(running, call(path="a")), "d no")
        assert prompts == [MENU]
        assert done(tmp_path, "a") == "xxx"


# --- the kernel is killed while it asks --------------------------------------------------------------


@contextmanager
def killed_while_asking(home, *calls, flags="-t save", setup=SETUP):
    """A new kernel over the same home after one that died with a question open."""
    with at_work(home, JPY_SESSION_NAME=str(home / "mine.ipynb")) as running:
        running.submit(asking(running, *calls, flags=flags))
        running.client.get_stdin_msg(timeout=60)
        store = SqliteStore(home / "loom.db")
        waits_for(store.questions)  # it is shown a moment before it is on disk
        store.close()
        os.kill(running.manager.provisioner.process.pid, signal.SIGKILL)
        running.restart()
        assert running.run(setup).status == "ok"
        yield running


def settled(running, home, name):
    """The status of the run `r1`, once it has one."""
    found = []

    def told():
        shown = re.search(r"r1 +\S+ \S+ +(\w+)", card(running, "runs"))
        found.append(shown[1] if shown else "")
        return found[-1] in ("completed", "denied", "failed", "stopped")

    waits_for(told)
    return found[-1]


MODEL_OF_THE_REST = (
    SETUP
    + """
m = Model.scripted(["the end"])
"""
)


def test_a_call_that_waited_when_its_kernel_was_killed_runs_exactly_once(tmp_path):
    with killed_while_asking(tmp_path, call(path="a"), setup=MODEL_OF_THE_REST) as running:
        told = card(running, "approvals")
        assert "r1/a1" in told
        assert 'save(path="a")' in told
        assert done(tmp_path, "a") == ""
        assert "allowed once" in card(running, "approve r1/a1")
        assert settled(running, tmp_path, "a") == "completed"
        assert done(tmp_path, "a") == "x"
        again = running.run("%loom approve r1/a1")
        assert again.status == "error"
        assert "nothing called 'r1/a1' waits" in again.error
        assert "r1/a1" not in card(running, "approvals")
        assert done(tmp_path, "a") == "x"
        waits_for(lambda: running.said("'used' in globals()") == "True")  # it is bound a moment after the end
        assert running.said("print(used.status)") == "completed"


def test_a_call_that_waited_when_its_kernel_was_killed_is_denied(tmp_path):
    with killed_while_asking(tmp_path, call(path="a"), setup=MODEL_OF_THE_REST) as running:
        assert "is denied" in card(running, 'deny r1/a1 "not any more"')
        assert settled(running, tmp_path, "a") == "denied"
        assert "not any more" in card(running, "show r1")
        assert running.run("%loom deny r1/a1").status == "error"
        assert done(tmp_path, "a") == ""


def test_without_its_function_a_run_is_not_taken_up_and_it_is_said_what_to_run_first(tmp_path):
    with killed_while_asking(tmp_path, call(path="a"), setup=MODEL_OF_THE_REST + "del save") as running:
        cell = running.run("%loom approve r1/a1")
        assert cell.status == "error"
        assert "save" in cell.error
        assert "cell" in cell.error
        assert "r1/a1" in card(running, "approvals")
        assert running.run(MODEL_OF_THE_REST.replace("%load_ext loom_nb", "")).status == "ok"
        card(running, "approve r1/a1")
        assert settled(running, tmp_path, "a") == "completed"
        assert done(tmp_path, "a") == "x"


def test_with_another_source_of_its_function_it_asks_anew(tmp_path):
    changed = MODEL_OF_THE_REST.replace('return "saved"', 'return "saved anew"')
    with killed_while_asking(tmp_path, call(path="a"), setup=changed) as running:
        card(running, "approve r1/a1")
        waits_for(lambda: "a2" in card(running, "approvals").split("decided")[0])
        assert done(tmp_path, "a") == ""
        card(running, "approve a2")
        assert settled(running, tmp_path, "a") == "completed"
        assert done(tmp_path, "a") == "x"


# --- beside other cells ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A kernel whose front end draws: a cell may be released there."""
    home = tmp_path_factory.mktemp("live")
    with at_work(home, LOOM_NB_RENDER="live") as running:
        running.home = home
        yield running


def status_of(running):
    return running.said("print(getattr(used, 'status', None))")


def test_a_released_cell_works_on_while_the_next_one_runs_and_binds_its_result(live):
    live.run(
        "import asyncio\nused, go = None, asyncio.Event()\n"
        "@tool(read_only=True)\nasync def hold() -> str:\n    'Waits for the reader.'\n"
        "    await go.wait()\n    return 'held'\n"
        "m = Model.scripted([Call('hold'), 'the end'])"
    )
    cell = live.run("%%loom --bg --new -t hold -m m -o used\ngo on")
    assert cell.status == "ok"
    assert live.said("1 + 1") == "2"
    assert status_of(live) == "None"
    live.run("go.set()")
    waits_for(lambda: status_of(live) == "completed")


def test_what_a_released_cell_prints_stays_whatever_other_cells_ran_meanwhile(live):
    live.run(
        "import asyncio\nused, go = None, asyncio.Event()\n"
        "@tool(read_only=True)\nasync def tell() -> str:\n    'Prints.'\n"
        "    await go.wait()\n    print('told late')\n    return 'told'\n"
        "m, other = Model.scripted([Call('tell'), 'the end']), Model.scripted(['hello'])"
    )
    released = live.submit("%%loom --bg --new -t tell -m m -o used\ngo on")
    sent = live.collect(released).messages
    live.strays.clear()
    assert live.run("%%loom --new -m other\nhello").status == "ok"  # it begins later and ends sooner
    live.run("go.set()")
    waits_for(lambda: status_of(live) == "completed")
    sent += [one for one in live.strays if one["parent_header"].get("msg_id") == released]
    shown = Cell(released, sent)
    assert "the end" in shown.text and "told late\n" in shown.text


def test_a_released_cell_is_ended_by_stop(live):
    live.run("used = None\nm = Model.scripted(['word ' * 2000], chunk=5, delay=0.02)")
    live.run("%%loom --bg --new -m m -o used\ngo on")
    assert "asked to stop" in card(live, "stop")
    waits_for(lambda: status_of(live) == "stopped")
    assert "nothing runs" in card(live, "stop")


def test_stop_ends_all_that_were_released(live):
    live.run(
        "first = second = None\nm = Model.scripted(['word ' * 2000, 'word ' * 2000], chunk=5, delay=0.02)"
    )
    live.run("%%loom --bg --new -m m -o first\ngo on")
    live.run("%%loom --bg -m m -o second\ngo on")
    assert "were asked to stop" in card(live, "stop")
    both = "print(first and first.status, second and second.status)"
    waits_for(lambda: live.said(both) == "stopped stopped")  # in either order: the second never began


def test_what_a_released_cell_asks_is_answered_in_another_cell(live):
    live.run("used = None")
    live.run(asking(live, call(path="beside"), flags="--bg --new -t save"))
    waits_for(lambda: "a1" in card(live, "approvals").split("decided")[0])
    assert done(live.home, "beside") == ""
    card(live, "approve a1")
    waits_for(lambda: status_of(live) == "completed")
    assert done(live.home, "beside") == "x"
    assert live.run("%loom approve a1").status == "error"


def test_a_question_of_a_released_cell_is_answered_in_another_cell(live):
    live.run("used = None")
    live.run(asking(live, call("wonder"), flags="--bg --new -t wonder"))
    waits_for(lambda: "q1" in card(live, "approvals").split("decided")[0])
    wrong = live.run("%loom answer q1 perhaps")
    assert wrong.status == "error"
    assert "neither True nor False" in wrong.error
    card(live, "answer q1 yes")
    waits_for(lambda: status_of(live) == "completed")
    assert done(live.home, "said") == "True"


def test_without_a_front_end_a_released_cell_is_waited_for(one):
    one.run("used = None\nm = Model.scripted(['word ' * 50], chunk=5, delay=0.02)")
    assert one.run("%%loom --bg --new -m m -o used\ngo on", allow_stdin=False).status == "ok"
    assert status_of(one) == "completed"


def test_where_no_cell_is_released_it_is_asked_by_typing(one, home):
    prompts, cell = answered(one, asking(one, call(path="typed"), flags="--bg --new -t save"), "o")
    assert prompts == [MENU]
    assert cell.status == "ok"
    assert done(home, "typed") == "x"


# --- everything unasked ------------------------------------------------------------------------------


def test_that_all_runs_unasked_needs_a_code_that_a_restart_forgets(tmp_path):
    with at_work(tmp_path) as running:
        refused = running.run(asking(running, call(path="a"), flags="--new --approve all -t save"))
        assert refused.status == "error"
        assert "a saved cell cannot say so for you" in refused.error
        assert "would run unasked" in card(running, "approvals all")
        assert "would run unasked" in card(running, "approvals all 0")
        assert "mode" in card(running, "approvals")
        assert "EVERYTHING" not in card(running, "approvals")
        code = code_for_all(running)
        assert "EVERYTHING RUNS UNASKED" in card(running, f"approvals all {code}")
        assert running.run(asking(running, call(path="a")), allow_stdin=False).status == "ok"
        card(running, "approvals ask")
        allowed = running.run(asking(running, call(path="a"), flags="--new --approve all -t save"))
        assert allowed.status == "ok"
        assert running.run(asking(running, call(path="a")), allow_stdin=False).status == "error"
        assert done(tmp_path, "a") == "xx"
        running.restart()
        assert running.run(SETUP).status == "ok"
        assert "would run unasked" in card(running, f"approvals all {code}")
        assert running.run(asking(running, call(path="b")), allow_stdin=False).status == "error"
        assert done(tmp_path, "b") == ""


def test_a_mode_of_one_cell_is_for_that_cell(one, home):
    flags = "--new --approve edits -t edit"
    assert one.run(asking(one, call("edit", path="m"), flags=flags), allow_stdin=False).status == "ok"
    assert (
        one.run(asking(one, call("edit", path="m"), flags="--new -t edit"), allow_stdin=False).status
        == "error"
    )
    flags = "--new --approve read-only -t edit"
    assert answered(one, asking(one, call("edit", path="m"), flags=flags))[1].status == "error"
    assert done(home, "m") == "e"


# --- taken back --------------------------------------------------------------------------------------


def test_what_the_agents_code_did_is_rolled_back_and_the_agent_is_told(one):
    one.run("number = 1")
    code = "Call('run_python', {'code': 'number = 2; other = 3'})"
    _, cell = answered(one, asking(one, code, flags="--new"), "o")
    assert cell.status == "ok", cell.error
    assert one.run("print(number, other)").text.strip() == "2 3"
    told = card(one, "rollback")
    assert "number" in told
    assert one.run("print(number, 'other' in globals())").text.strip() == "1 False"
    one.run("heard = []\nm = Model.scripted([lambda messages: heard.append(messages[-1]) or 'fine'])")
    one.run("%%loom -m m\nand now?")
    assert "rolled back" in one.run("print(heard[0])").text
    one.run("m = Model.scripted([lambda messages: heard.append(messages[-1]) or 'fine'])")
    one.run("%%loom -m m\nand now?")
    assert "rolled back" not in one.run("print(heard[1])").text
    assert one.run("%loom rollback").status == "error"


def test_a_leave_for_the_notebook_can_be_taken_back(one, home):
    assert answered(one, asking(one, call(path="leave")), "a")[0] == [MENU]
    assert answered(one, asking(one, call(path="other"), flags="-t save"), "a")[0] == [MENU]
    assert answered(one, asking(one, call(path="other"), flags="-t save"))[1].status == "ok"
    rows = card(one, "approvals")
    name = re.search(r"(a\d+) +(r\d+) +allowed for this exact call", rows)
    card(one, f"approvals forget {name[2]}/{name[1]}")
    assert "taken back" in card(one, "approvals")
    prompts, _ = answered(one, asking(one, call(path="other"), flags="-t save"), "d no")
    assert prompts == [MENU]
