"""What goes on: a run after its kernel was killed, a copy of a conversation, answers that were recorded."""

import json
import os
import re
import signal

import pytest

from tests.notebook.kernels import kernel, waits_for

LOAD = "%load_ext loom_nb\nfrom loom_nb import Model, tool\nfrom loom_nb.models.scripted import Call"


@pytest.fixture
def home(tmp_path):
    return tmp_path


def opened(home, **settings):
    return kernel(home, LOOM_NB_RENDER="static", **settings)


def ready(one, home):
    cell = one.run(f"import os; os.chdir({str(home)!r})\n{LOAD}")
    assert cell.status == "ok", cell.error
    return one


def in_cell(one, cell_id, code, *, allow_stdin=False):
    """Execute code as the cell of that id."""
    content = {
        "code": code,
        "silent": False,
        "store_history": True,
        "allow_stdin": allow_stdin,
        "stop_on_error": False,
    }
    message = one.client.session.msg("execute_request", content, metadata={"cellId": cell_id})
    one.client.shell_channel.send(message)
    return one.collect(message["header"]["msg_id"])


SEEN = "seen = []\ndef say(messages):\n    seen.append([m.text for m in messages if m.role == 'user'])\n    return f'answer {len(seen)}'\n"


def test_a_cell_that_is_run_again_takes_the_place_of_its_turn_and_of_what_followed(home):
    with opened(home) as one:
        ready(one, home).run(f"{SEEN}m = Model.scripted([say] * 20)")
        in_cell(one, "a", "%%loom -m m\nfirst")
        in_cell(one, "b", "%%loom -m m\nsecond")
        in_cell(one, "c", "%%loom -m m\nthird")
        again = in_cell(one, "b", "%%loom -m m\nsecond, better")
        assert "takes the place of r2 and what followed it" in again.text
        assert one.run("print(seen[-1])").text.strip() == "['first', 'second, better']"
        one.run("%loom compact undo")
        in_cell(one, "d", "%%loom -m m\nfourth")
        assert one.run("print(seen[-1])").text.strip() == str(
            ["first", "second", "third", "second, better", "fourth"]
        )
        in_cell(one, "b", "%%loom -m m --new\nalone")
        assert one.run("print(seen[-1])").text.strip() == "['alone']"


HOLD = """import asyncio, time
begun, go = [], []
@tool(read_only=True)
def hold() -> str:
    "Wait until it may go on."
    begun.append(1)
    while not go:
        time.sleep(0.01)
    return "held"
"""


def test_a_cell_that_let_its_run_go_is_replaced_once_that_has_ended(home):
    with kernel(home, LOOM_NB_RENDER="live") as one:
        ready(one, home).run(f"{HOLD}{SEEN}m = Model.scripted([Call('hold'), *[say] * 20])")

        def released(prompt, out):
            cell = in_cell(one, "a", f"%%loom --bg -t hold -m m -o {out}\n{prompt}", allow_stdin=True)
            assert cell.status == "ok", cell.error

        released("first", "r1")
        assert one.run("while not begun: await asyncio.sleep(0.01)").status == "ok"
        released("meanwhile", "r2")
        one.run("go.append(1)")
        one.run("while not {'r1', 'r2'} <= {*globals()}: await asyncio.sleep(0.01)")
        released("better", "r3")
        one.run("while 'r3' not in globals(): await asyncio.sleep(0.01)")
        assert one.run("print(seen[-1])").text.strip() == "['first', 'better']"


def test_a_copy_goes_on_from_a_run_and_the_first_conversation_stays(home):
    with opened(home) as one:
        ready(one, home).run(f"{SEEN}m = Model.scripted([say] * 20)")
        for prompt in ("one", "two", "three"):
            one.run(f"%%loom -m m\n{prompt}")
        one.run("%%loom -m m --fork r1\ninstead")
        assert one.run("print(seen[-1])").text.strip() == "['one', 'instead']"
        card = one.run("%loom fork r2")
        assert "goes on from r2 in a copy" in card.text
        one.run("%%loom -m m\nother")
        assert one.run("print(seen[-1])").text.strip() == "['one', 'two', 'other']"
        wrong = one.run("%loom fork r77")
        assert wrong.status == "error" and "r77" in wrong.error


def test_a_run_whose_kernel_was_killed_goes_on_in_the_next_one(home):
    slow = (
        "@tool(read_only=True)\ndef wait() -> str:\n    'Wait.'\n    import pathlib, time\n"
        f"    pathlib.Path({str(home / 'waits')!r}).touch()\n    time.sleep(SECONDS)\n    return 'waited'\n"
    )
    with opened(home) as one:
        ready(one, home).run(slow.replace("SECONDS", "600") + "m = Model.scripted([Call('wait'), 'never'])")
        one.submit("%%loom -m m -t wait\nplease wait")
        waits_for((home / "waits").exists)
        os.kill(one.manager.provisioner.process.pid, signal.SIGKILL)
    with opened(home) as one:
        ready(one, home).run(slow.replace("SECONDS", "0") + "m = Model.scripted(['all is well'])")
        assert "interrupted" in one.run("%loom runs").text
        cell = one.run("%loom resume")
        assert cell.status == "ok", cell.error
        assert "all is well" in cell.text
        assert "completed" in one.run("%loom runs").text
        assert "no run of this notebook was interrupted" in one.run("%loom resume").error


def test_restart_and_run_all_gives_the_same_from_the_recording_and_drift_is_told(home):
    def play(script, prompts, **settings):
        with opened(home, **settings) as one:
            ready(one, home).run(f"m = Model.scripted({script!r})")
            return [one.run(f"%%loom -m m\n{prompt}") for prompt in prompts]

    first = play(["blue", "because of the air"], ["which colour is the sky?", "why?"], LOOM_NB_REPLAY="auto")
    recording = home / "notebook.loom-replay.json"
    assert len(json.loads(recording.read_text())["interactions"]) == 2
    again = play([], ["which colour is the sky?", "why?"], LOOM_NB_REPLAY="strict")
    badge = " · replayed from recording"
    assert [cell.text.count(badge) for cell in again] == [1, 1]
    assert [cell.text.replace(badge, "") for cell in again] == [cell.text for cell in first]
    drift = play([], ["which colour is the sea?"], LOOM_NB_REPLAY="strict")[0]
    assert drift.status == "error" and "ReplayDrift" in drift.error
    assert "sky" in drift.error and "sea" in drift.error


def test_the_way_of_recording_is_set_for_a_notebook_or_a_cell(home):
    with opened(home) as one:
        ready(one, home).run("m = Model.scripted(['one', 'two', 'three'])")
        assert "replay: record" in one.run("%loom replay record").text
        one.run("%%loom -m m --new\nsay it")
        one.run("%%loom -m m --new --replay off\nsay it")
        assert "replay: auto" in one.run("%loom replay auto").text
        assert "one" in one.run("%%loom -m m --new\nsay it").text
        assert "other.json, not there yet" in one.run("%loom replay auto takes/other.json").text
        one.run("m = Model.scripted(['four'])")
        assert "four" in one.run("%%loom -m m --new\nsay it").text
        assert len(json.loads((home / "takes" / "other.json").read_text())["interactions"]) == 1
        assert "other.json" in one.run("%loom replay strict").text, "the file stays"
        wrong = one.run("%loom replay perhaps")
        assert wrong.status == "error" and "no way 'perhaps'" in wrong.error


def test_a_run_is_exported_by_the_ending_of_the_name_and_nothing_is_overwritten(home):
    with opened(home) as one:
        ready(one, home).run("m = Model.scripted(['the **end**'])")
        one.run("%%loom -m m\nbegin")
        for ending in ("md", "html", "py", "ipynb"):
            cell = one.run(f"%loom export last --to run.{ending}")
            assert cell.status == "ok", cell.error
            assert "begin" in (home / f"run.{ending}").read_text()
        assert "exists" in one.run("%loom export last --to run.md").error
        assert "say which run" in one.run("%loom export").error


WAIT = """import asyncio
from loom_nb.models.scripted import Call
go = asyncio.Event()
@tool(read_only=True)
async def wait() -> str:
    "Wait until it may go on."
    await go.wait()
    return "done"
m = Model.scripted([lambda m: f"answer to {m[-1].text}"] * 40)
slow = Model.scripted([Call("wait"), "the end"])
used = None"""


@pytest.fixture
def beside(home):
    """A kernel in which r1 has ended and r2 goes on beside the cells, both in one conversation."""
    with kernel(home, LOOM_NB_RENDER="live") as one:
        ready(one, home).said(WAIT)
        one.said("%%loom -m m\napples")
        assert one.run("%%loom --bg -m slow -t wait -o used\npears").status == "ok"
        one.said(
            "while not any(run.id == 'r2' for run in get_ipython().loom_workbench.running): await asyncio.sleep(0.01)"
        )
        yield one


def test_a_run_beside_the_cells_goes_on_while_others_begin_conversations_of_their_own(beside):
    for prompt in ("one", "two", "three"):
        assert f"answer to {prompt}" in beside.said(f"%%loom -m m --new\n{prompt}")
    beside.said("go.set()")
    beside.said("while used is None: await asyncio.sleep(0.01)")
    assert beside.said("print(used.status, used.output)") == "completed the end"
    assert "answer to on" in beside.said("%%loom -m m --continue r2\non")


def test_a_conversation_is_gone_back_to_while_its_run_goes_on_whatever_was_set_since(beside):
    beside.said("%%loom -m m --new\none")
    beside.said("%loom budget day 50k")
    assert beside.run("%%loom --bg -m m --continue r2 -o later\nplums").status == "ok"
    beside.said("go.set()")
    beside.said("while 'later' not in globals(): await asyncio.sleep(0.01)")
    assert beside.said("print(used.status, later.output, later.session_id == used.session_id)") == (
        "completed answer to plums True"
    )


def test_an_ended_run_is_copied_while_the_next_one_of_its_conversation_goes_on(beside):
    assert "goes on from r1 in a copy" in beside.said("%loom fork r1")
    assert "r2 has not ended" in beside.run("%loom fork r2").error
    assert "answer to plums" in beside.said("%%loom -m m\nplums")
    assert "answer to figs" in beside.said("%%loom -m m --fork r1\nfigs")
    beside.said("go.set()")
    beside.said("while used is None: await asyncio.sleep(0.01)")
    assert beside.said("print(used.status)") == "completed"


def test_a_run_that_goes_on_is_shown_and_held_against_another_as_it_stands(beside):
    beside.said(
        "while not any(one.event.type == 'CallStarted' for one in get_ipython().loom_workbench.session.events()):"
        " await asyncio.sleep(0.01)"
    )
    card = beside.said("%loom diff r1 r2")
    assert "running" in card and "interrupted" not in card
    assert re.search(r"model calls +1 +1", card)
    assert re.search(r"tools called +0 +1", card)
    assert "$0 " in card.partition("\n  cost")[2].partition("\n")[0]
    assert "wait" in beside.said("%loom show r2")


def test_a_run_is_not_written_where_there_is_no_folder(home):
    with opened(home) as one:
        ready(one, home).said("m = Model.scripted(['hello'])")
        one.said("%%loom -m m\nhi")
        refused = one.run("%loom export last --to nowhere/run.md")
        assert "nowhere/run.md cannot be written" in refused.error
        assert "Traceback" not in refused.error
