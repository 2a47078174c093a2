"""What a page that was loaded anew is told of the cells that run."""

import contextlib
import queue

import pytest

from loom_nb.notebook.front_cells import TARGET
from loom_nb.notebook.paintings import RECENT, Paintings
from tests.notebook.kernels import kernel

SETUP = """%load_ext loom_nb
import asyncio, pathlib
from loom_nb import Model, tool
from loom_nb.models.scripted import Call
@tool(read_only=True)
async def wait_for(word: str) -> str:
    "Waits for a file."
    print("said by the tool")
    while not pathlib.Path(word).exists():
        await asyncio.sleep(0.02)
    return "it is there"
"""


class Outlet:
    """The outputs of a cell that shows what it is told to."""

    def __init__(self, cell, *outputs):
        self.cell = cell
        self.outputs = list(outputs)

    @contextlib.contextmanager
    def listening(self):
        yield

    def painting(self):
        if not self.cell:
            return None
        return {"cell": self.cell, "request": "q", "count": 1, "busy": True, "outputs": list(self.outputs)}


class Clock:
    """Seconds that a test moves on."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


async def test_a_live_cell_is_told_as_it_is_now_and_for_a_while_as_it_ended(clock):
    paintings = Paintings(clock)
    cell = Outlet("c", "one")
    with paintings.shown(cell):
        cell.outputs.append("two")
        (told,) = paintings.now()
        assert (told["busy"], told["outputs"], "ended" in told) == (True, ["one", "two"], False)
        cell.outputs[:] = ["whole"]
    (told,) = paintings.now()
    assert (told["busy"], told["outputs"], told["ended"]) == (False, ["whole"], True)
    clock.now = RECENT + 1
    assert paintings.now() == []


async def test_a_cell_that_runs_again_is_told_once(clock):
    paintings = Paintings(clock)
    with paintings.shown(Outlet("c", "first")):
        pass
    with paintings.shown(Outlet("c", "second")), paintings.shown(Outlet("d", "other")):
        assert [told["outputs"] for told in paintings.now()] == [["second"], ["other"]]
    assert [told["outputs"] for told in paintings.now()] == [["other"], ["second"]]


async def test_a_cell_that_the_front_end_did_not_name_is_not_told(clock):
    paintings = Paintings(clock)
    with paintings.shown(Outlet("", "one")):
        assert paintings.now() == []
    assert paintings.now() == []


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with kernel(tmp_path_factory.mktemp("home"), LOOM_NB_RENDER="live") as one:
        assert one.run(SETUP).status == "ok"
        yield one


def named(live, code, cell_id):
    """Run a cell that has an id, as JupyterLab does."""
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {},
               "allow_stdin": True, "stop_on_error": True}  # fmt: skip
    message = live.client.session.msg("execute_request", content, metadata={"cellId": cell_id})
    live.client.shell_channel.send(message)
    return message["header"]["msg_id"]


def open_comm(live, comm_id):
    content = {"comm_id": comm_id, "target_name": TARGET, "data": {}}
    live.client.shell_channel.send(live.client.session.msg("comm_open", content))


def test_what_is_painted_names_its_cell_and_the_last_is_marked(live):
    live.run("talk = Model.scripted(['one two three ' * 20], chunk=7, delay=0.03)")
    number = int(live.said("len(get_ipython().history_manager.input_hist_raw) - 1")) + 1
    cell = live.collect(named(live, "%%loom -m talk\nspeak", "c7"))
    *frames, last = [m["transient"]["loom"] for m in cell.of("display_data", "update_display_data")]
    place = {"cell": "c7", "count": number, "busy": True}
    assert len(frames) >= 3
    assert all(frame == place for frame in frames)
    assert last == {**place, "last": True}
    unnamed = live.run("%%loom -m talk\nspeak")
    assert not any("loom" in m["transient"] for m in unnamed.of("display_data", "update_display_data"))


def told(live, seconds=20):
    """The next paintings that the kernel sends, and what comes before them."""
    before = []
    while True:
        message = live.client.get_iopub_msg(timeout=seconds)
        if message["msg_type"] == "comm_msg" and "paintings" in message["content"]["data"]:
            return message["content"]["data"]["paintings"], before
        before.append(message)


def test_a_page_that_comes_in_mid_run_is_told_all_that_the_cell_shows(live, tmp_path):
    gate = tmp_path / "gate"
    live.run(f"waits = Model.scripted([Call('wait_for', {{'word': {str(gate)!r}}}), 'over'])")
    request = named(live, "%%loom -m waits -t wait_for\nwait", "c8")
    live.until(request, lambda message: "running" in str(message["content"].get("data", "")))
    open_comm(live, "page-1")
    paintings, _ = told(live)
    (mine,) = [one for one in paintings if one["request"] == request]
    shown = str(mine["outputs"])
    assert (mine["cell"], mine["busy"], "ended" in mine) == ("c8", True, False)
    assert "said by the tool" in shown
    assert "wait_for" in shown

    live.send_comm("page-1", {"paint": True})
    again, _ = told(live)
    assert [one for one in again if one["request"] == request] == [mine]

    gate.touch()
    cell = live.collect(request)
    open_comm(live, "page-2")
    paintings, _ = told(live)
    (mine,) = [one for one in paintings if one["request"] == request]
    assert mine["ended"]
    assert [output["msg_type"] for output in mine["outputs"]] == ["display_data", "stream"]
    assert "over" in mine["outputs"][0]["content"]["data"]["text/plain"]
    assert cell.saved[0]["data"] == mine["outputs"][0]["content"]["data"]


def test_a_static_cell_is_painted_as_before(tmp_path):
    with kernel(tmp_path, LOOM_NB_RENDER="static") as one:
        one.run(SETUP)
        one.run("talk = Model.scripted(['one two'])")
        cell = one.collect(named(one, "%%loom -m talk\nspeak", "c9"))
        (output,) = cell.of("display_data")
        assert output["transient"] == {}
        open_comm(one, "page")
        one.run("pass")
        with pytest.raises(queue.Empty):
            told(one, seconds=1)
