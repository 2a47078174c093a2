"""What tools and readers may do to a running cell: print, draw, ask, sleep, press ■, restart the kernel."""

import threading
from contextlib import contextmanager

import pytest

from tests.notebook.kernels import kernel, stop_button, waits_for

TOOLS = """
import asyncio, time
from pathlib import Path
from loom_nb import Model, tool
from loom_nb.models.scripted import Call

@tool(read_only=True)
def show() -> str:
    "Shows something."
    from IPython.display import HTML, display
    display(HTML("<b>shown</b>"))
    return "fine"

@tool(read_only=True)
def plot() -> str:
    "Draws a figure."
    import matplotlib.pyplot as plt
    plt.plot([1, 2])
    plt.show()
    return "fine"

@tool(read_only=True)
def leave_a_figure() -> str:
    "Draws a figure and leaves it to the end of the cell."
    import matplotlib.pyplot as plt
    plt.plot([1, 2])
    return "fine"

@tool(read_only=True)
def ask() -> str:
    "Asks."
    return input("name? ")

@tool(read_only=True)
def give_up() -> str:
    "Raises what an interrupt raises."
    raise KeyboardInterrupt

@tool(read_only=True)
def sleep() -> str:
    "Sleeps beside the loop."
    Path("begun").touch()
    time.sleep(600)
    return "slept"

@tool(read_only=True)
def spin() -> str:
    "Works beside the loop."
    Path("begun").touch()
    while True:
        pass

@tool(read_only=True)
async def hold() -> str:
    "Sleeps on the loop."
    Path("begun").touch()
    time.sleep(600)
    return "slept"
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with kernel(home, LOOM_NB_RENDER="live") as one:
        one.home = home
        assert one.run("%load_ext loom_nb").status == "ok"
        assert one.run("%matplotlib inline").status == "ok"
        assert one.run(TOOLS).status == "ok"
        yield one


def use(live, name, **options):
    """A cell whose agent calls this tool once and then says "the end"."""
    live.run(f"used, model = None, Model.scripted([Call('{name}'), 'the end'])")
    return live.run(f"%%loom -m model -t {name} -o used\ngo", **options)


def outcome(live):
    return live.said("print(used.status, [use.outcome for use in used.tools])")


@contextmanager
def pressed_once(live, at_work):
    """Presses ■ as soon as the tool is at work, while the block runs."""

    def press():
        waits_for(at_work)
        live.press()

    thread = threading.Thread(target=press)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize(
    ("name", "mime"), [("show", "text/html"), ("plot", "image/png"), ("leave_a_figure", "image/png")]
)
def test_what_a_tool_displays_stays_below_the_transcript(live, name, mime):
    cell = use(live, name)
    transcript, shown = cell.saved
    assert "the end" in transcript["data"]["text/plain"]
    assert mime in shown["data"]
    assert outcome(live) == "completed ['ok']"


def test_a_tool_asks_the_reader(live):
    live.run("model = Model.scripted([Call('ask'), 'the end'])")
    request = live.submit("%%loom -m model -t ask -o used\ngo")
    assert live.client.get_stdin_msg(timeout=60)["content"]["prompt"] == "name? "
    live.client.input("Ada")
    assert "Ada" in live.collect(request).text
    assert outcome(live) == "completed ['ok']"


def test_a_tool_that_raises_an_interrupt_ends_itself_and_nothing_else(live):
    cell = use(live, "give_up")
    assert cell.status == "ok"
    assert "KeyboardInterrupt" in cell.text
    assert outcome(live) == "completed ['error']"


@pytest.mark.parametrize("name", ["sleep", "spin", "hold", "ask"])
def test_an_interrupt_ends_a_run_whose_tool_would_never_end(live, name):
    begun = live.home / "begun"
    begun.unlink(missing_ok=True)
    with pressed_once(live, live.client.stdin_channel.msg_ready if name == "ask" else begun.exists):
        cell = use(live, name)
    assert "RunStopped" in cell.error
    assert outcome(live).startswith("stopped ")
    assert live.run("%%loom\nhello").status == "ok"
    assert live.run("1 + 1").text == "2"
    if name == "ask":  # the question of the tool that was left does not take the next answer
        live.client.get_stdin_msg(timeout=60)
        asked = live.submit("input('again? ')")
        assert live.client.get_stdin_msg(timeout=60)["content"]["prompt"] == "again? "
        live.client.input("Grace")
        assert live.collect(asked).text == "'Grace'"


def test_a_tool_that_hears_the_interrupt_and_sleeps_on_is_broken_off_again(live):
    live.run(
        "@tool(read_only=True)\nasync def deaf() -> str:\n    'Sleeps on.'\n    for _ in range(2):\n        try:\n"
        "            Path('deaf').touch()\n            time.sleep(600)\n"
        "        except Exception:\n            pass\n    return 'awake'"
    )
    with pressed_once(live, (live.home / "deaf").exists):
        use(live, "deaf")
    assert outcome(live).startswith("stopped ")


def test_a_click_on_stop_ends_run_all_and_both_cells_work_again(live):
    live.run("slow = Model.scripted(['word ' * 400, 'later', 'last'], chunk=5, delay=0.05)")
    first = live.submit("%%loom -m slow -o one\ngo")
    live.submit("%%loom -m slow -o two\nand on")
    seen = {}

    def click(message):
        comm = stop_button([message])
        if comm:
            seen["comm"] = comm
        if message["msg_type"] == "update_display_data" and seen.get("comm"):
            live.send_comm(seen.pop("comm"), {"type": "stop"})

    stopped = live.collect(first, watch=click)
    assert "RunStopped" in stopped.error
    assert live.client.get_shell_msg(timeout=60)["content"]["status"] == "aborted"
    assert live.run("%%loom -m slow -o two\nand on").status == "ok"
    assert live.run("one.status, two.status, one.session_id == two.session_id").text == (
        "('stopped', 'completed', True)"
    )


def test_a_kernel_that_is_restarted_in_the_middle_of_a_run_knows_how_far_it_came(tmp_path):
    with kernel(tmp_path, LOOM_NB_RENDER="live") as one:
        one.run("%load_ext loom_nb")
        one.run(TOOLS)
        one.run("slow = Model.scripted(['word ' * 400], chunk=5, delay=0.05)")
        request = one.submit("%%loom -m slow\na story")
        one.until(request, lambda message: message["msg_type"] == "update_display_data")
        one.restart()
        one.run("%load_ext loom_nb")
        runs = one.run("%loom runs").text
        (line,) = [line for line in runs.splitlines() if "a story" in line]
        assert "interrupted" in line
        assert one.run("%%loom -o answer\nhello").status == "ok"
        assert one.said("print(answer.status)") == "completed"
