"""A run played in a cell: what is drawn, what stops it, what a broken picture may not do."""

import asyncio
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from loom_nb import Agent, MemoryStore, Model, SessionConfig
from loom_nb.errors import RunStopped
from loom_nb.events import CallFinished, CallStarted, RunFinished, TextDelta
from loom_nb.messages import TextPart, ToolResultPart
from loom_nb.notebook import painter as painters
from loom_nb.notebook import render
from loom_nb.notebook.bridge import play
from loom_nb.notebook.comm_gate import is_needed
from loom_nb.notebook.interrupt import PATIENCE, sigint_calls
from loom_nb.notebook.painter import Announcer, LivePainter, StaticPainter, mode_for

WIDGETS = Path(painters.__file__).parent / "widgets"


class Page:
    """An outlet that remembers what a page would show."""

    def __init__(self):
        self.outputs = {}
        self.seen = ""
        """All HTML that was ever shown."""
        self.frames = 0
        self.final = None

    def show(self, slot, data, metadata):
        assert slot not in self.outputs
        self._set(slot, data)

    def change(self, slot, data, metadata):
        assert slot in self.outputs
        self._set(slot, data)

    def _set(self, slot, data):
        self.outputs[slot] = data
        self.seen += data.get("text/html", "")
        self.frames += 1

    def replace(self, data, metadata):
        self.final = data

    @property
    def text(self):
        return "".join(data.get("text/plain", "") for data in self.outputs.values())


def draw(transcript):
    return render.bundle(transcript), render.metadata(transcript)


def started(replies, **options):
    session = Agent(Model.scripted(replies, **options), session_store=MemoryStore()).session(SessionConfig())
    return session, session.start("go")


async def test_a_run_is_drawn_as_it_grows_and_whole_at_the_end():
    page = Page()
    _, run = started(["one two three. " * 40], chunk=9, delay=0.005)
    result = await play(run, LivePainter(page, draw, run.id, interval=0.02))
    assert result.status == "completed"
    assert page.frames > 5
    assert len(page.outputs) == 1
    assert " ".join(page.final["text/plain"].split()).count("one two three.") == 40


async def test_a_quick_run_shows_nothing_but_its_end():
    page = Page()
    _, run = started(["done"])
    await play(run, LivePainter(page, draw, run.id, interval=10))
    assert page.frames == 0
    assert "done" in page.final["text/plain"]


async def test_what_is_complete_is_not_drawn_again():
    page = Page()
    _, run = started(["A paragraph of many words.\n\n" * 4000], chunk=2000, delay=0.001)
    changes = []
    page.change = lambda slot, data, metadata: (changes.append(slot), page.outputs.update({slot: data}))
    await play(run, LivePainter(page, draw, run.id, interval=0.005))
    assert 5 < len(page.outputs) <= 42
    first = next(iter(page.outputs))
    assert changes.count(first) < len(changes) / 2
    assert "A paragraph" in page.text


async def test_a_bar_takes_the_first_place_and_the_text_moves_down():
    page = Page()
    _, run = started(["word " * 60], chunk=5, delay=0.005)
    painter = LivePainter(page, draw, run.id, interval=0.01)
    leave = run.subscribe(painter.take)
    while "word" not in page.text:
        await asyncio.sleep(0.005)
    painter.put_bar({"text/plain": "BAR"})
    first, second = page.outputs.values()
    assert first == {"text/plain": "BAR"}
    assert "word" in second["text/plain"]
    await run
    leave()


async def test_a_picture_that_breaks_never_harms_the_run():
    class Broken(Page):
        def show(self, slot, data, metadata):
            raise OSError("no page")

        def replace(self, data, metadata):
            raise OSError("no page")

    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))
    _, run = started(["word " * 40], chunk=5, delay=0.005)
    result = await play(run, LivePainter(Broken(), draw, run.id, interval=0.01))
    assert result.status == "completed"
    assert "a frame of a transcript failed" in told
    assert "the last frame of a transcript failed" in told


@pytest.mark.parametrize("kind", ["live", "static"])
async def test_an_answer_that_cannot_be_drawn_is_shown_as_its_words(kind):
    def fails(transcript):
        raise ValueError("no picture")

    told, page = [], Page()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))
    _, run = started(["the answer"])
    painter = LivePainter(page, fails, run.id) if kind == "live" else StaticPainter(page.replace, fails)
    result = await play(run, painter)
    assert (result.status, result.output) == ("completed", "the answer")
    assert page.final == {"text/plain": "the answer"}
    assert told == ["the last frame of a transcript failed"]


async def test_who_cannot_take_an_event_never_harms_the_run():
    class Dizzy:
        def take(self, event):
            raise LookupError(event)

        def stopping(self):
            raise LookupError

        def finish(self):
            raise LookupError

        def leave(self):
            return None

    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))
    _, run = started(["the answer"])
    result = await play(run, Dizzy(), Dizzy())
    assert (result.status, result.output) == ("completed", "the answer")
    assert set(told) == {"an event could not be shown", "the last frame of a transcript failed"}


async def test_a_static_run_is_displayed_once():
    shown = []
    _, run = started(["word " * 40], chunk=5, delay=0.001)
    await play(run, StaticPainter(lambda data, metadata: shown.append(data), draw, run.id))
    assert len(shown) == 1


def once(kind, act, *arguments):
    """A reader of events that does this at the first one of a kind."""
    waiting = [act]

    def take(event):
        if isinstance(event, kind) and waiting:
            waiting.pop()(*arguments)

    return take


async def test_the_interrupt_signal_stops_the_run_at_once_and_the_handler_comes_back():
    before = signal.getsignal(signal.SIGINT)
    page = Page()
    session, run = started(["word " * 400, "next"], chunk=5, delay=0.02)
    run.subscribe(once(TextDelta, os.kill, os.getpid(), signal.SIGINT))
    result = await play(run, LivePainter(page, draw, run.id))
    assert (result.status, result.reason) == ("stopped", "interrupted by you")
    assert "word" in page.final["text/plain"]
    assert signal.getsignal(signal.SIGINT) is before
    assert (await session.run("again")).output == "next"


async def test_a_signal_with_which_a_kernel_is_ended_writes_nothing_of_an_end():
    """Who restarts a kernel interrupts it first, and then says so: the run is left as it was."""
    session, run = started(["word " * 400, "next"], chunk=5, delay=0.02)
    run.subscribe(once(TextDelta, os.kill, os.getpid(), signal.SIGINT))
    result = await play(run, StaticPainter(lambda data, metadata: None, draw), is_ending=lambda: True)
    assert result.status == "stopped"  # for whoever still waits; nothing of it is in the log
    assert "RunFinished" not in [entry.event.type for entry in session.events()]


async def test_a_second_signal_leaves_a_run_that_does_not_end():
    release, presses = asyncio.Event(), [signal.SIGINT] * 2

    async def deaf() -> str:
        """Does not listen."""
        while not release.is_set():
            if presses:  # one when it begins, and one when it was to stop
                os.kill(os.getpid(), presses.pop())
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "done"

    from loom_nb.models.scripted import Call

    agent = Agent(Model.scripted([Call("deaf"), "end"]), tools=[deaf], session_store=MemoryStore())
    run = agent.session().start("go")
    with pytest.raises(RunStopped, match="was left before it had stopped"):
        await play(run, StaticPainter(lambda data, metadata: None, draw))
    assert not run.done
    release.set()
    await run.wait()
    assert run.done


async def test_the_signal_breaks_off_a_tool_that_holds_up_the_loop():
    from loom_nb.models.scripted import Call

    async def hold() -> str:
        """Sleeps on the loop."""
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
        time.sleep(600)
        return "slept"

    page = Page()
    agent = Agent(
        Model.scripted([Call("hold"), "end"], delay=0.05), tools=[hold], session_store=MemoryStore()
    )
    run = agent.session().start("go")
    result = await play(run, LivePainter(page, draw, run.id, interval=0.02))
    assert (result.status, result.reason) == ("stopped", "interrupted by you")
    assert "running hold" in page.seen, "what holds up the loop was not shown before it did"


async def test_the_signal_breaks_off_nothing_but_tools():
    def busy(seconds):
        os.kill(os.getpid(), signal.SIGINT)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        finished.append(True)

    finished = []
    _, run = started(["word " * 400], chunk=5, delay=0.02)
    run.subscribe(once(TextDelta, asyncio.get_running_loop().call_soon, busy, 3 * PATIENCE))
    result = await play(run, StaticPainter(lambda data, metadata: None, draw))
    assert finished == [True]
    assert result.reason == "interrupted by you"


async def test_cancelling_the_cell_stops_the_run():
    _, run = started(["word " * 400], chunk=5, delay=0.02)
    cell = asyncio.ensure_future(play(run, StaticPainter(lambda data, metadata: None, draw)))
    run.subscribe(once(TextDelta, cell.cancel))
    with pytest.raises(asyncio.CancelledError):
        await cell
    assert run.result.status == "stopped"


async def test_off_the_main_thread_there_is_no_signal_and_no_error():
    loop = asyncio.get_running_loop()
    outcome = []

    def elsewhere():
        with sigint_calls(loop, lambda: None) as in_force:
            outcome.append(in_force)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert outcome == [False]


@pytest.mark.parametrize(
    ("wanted", "environ", "in_kernel", "allow_stdin", "mode"),
    [
        ("auto", {}, True, True, "live"),
        ("auto", {}, True, False, "static"),
        ("auto", {}, False, False, "plain"),
        ("auto", {"PYTEST_CURRENT_TEST": "x"}, True, True, "static"),
        ("live", {"PYTEST_CURRENT_TEST": "x"}, True, False, "live"),
        ("live", {}, False, True, "plain"),
        ("static", {}, True, True, "static"),
        ("static", {}, False, False, "static"),
        ("plain", {}, True, True, "plain"),
    ],
)
def test_the_mode_follows_who_asks(wanted, environ, in_kernel, allow_stdin, mode):
    assert mode_for(wanted, environ, in_kernel=in_kernel, allow_stdin=allow_stdin) == mode


def test_what_tools_print_is_put_together_again():
    def message(kind, **content):
        return {"msg_type": kind, "content": content}

    merged = painters._merged(
        [
            message("stream", name="stdout", text="a"),
            message("stream", name="stdout", text="b"),
            message("stream", name="stderr", text="c"),
            message("display_data", data={"text/plain": "old"}, transient={"display_id": "d"}),
            message("update_display_data", data={"text/plain": "new"}, transient={"display_id": "d"}),
        ]
    )
    assert [m["content"].get("text") or m["content"]["data"]["text/plain"] for m in merged] == [
        "ab",
        "c",
        "new",
    ]
    assert [m["msg_type"] for m in merged] == ["stream", "stream", "display_data"]


def test_a_listener_hears_sentences_and_calls_not_tokens():
    voice = Announcer()
    said = [voice.take(TextDelta(text)) for text in ("The", " answer", " is 4. And", " more")]
    assert said == ["", "", "The answer is 4.", ""]
    assert voice.take(CallStarted("c", "add", {})) == "Calling add."
    assert voice.take(CallFinished(ToolResultPart("c", "add", (TextPart("4"),)))) == "add: done."
    assert voice.take(RunFinished("completed")) == "And more Run completed."


@pytest.mark.parametrize(
    ("version", "needed"),
    [("6.29.5", True), ("7.3.0", True), ("7.4.0", False), ("8.0.0a1", False), ("7.10.1", False)],
)
def test_the_gate_stands_only_where_clicks_would_wait(version, needed):
    assert is_needed(version) is needed


async def test_the_stop_button_is_labelled_and_leaves_nothing_in_its_state():
    from loom_nb.notebook.widgets.stop import StopButton

    clicks = []
    button = StopButton(lambda: clicks.append(1))
    assert repr(button) == "StopButton()"
    button.take({"type": "stop"})
    button.take({"type": "other"})
    button.take("stop")
    await asyncio.sleep(0)
    assert clicks == [1]
    for said in ("p-1", "p-1", "p-2"):  # a page says again what was not confirmed
        button.take({"type": "stop", "said": said})
    await asyncio.sleep(0)
    assert clicks == [1, 1, 1]
    own = set(button.get_state()) - {"layout", "tabbable", "tooltip"}
    assert all(name.startswith("_") for name in own)
    button.leave()
    script = (WIDGETS / "stop.js").read_text()
    assert "innerHTML" not in script
    assert 'setAttribute("role", "status")' in script
    assert re.search(r"focus-visible[^}]+var\(--jp-brand-color1, ", (WIDGETS / "stop.css").read_text())
