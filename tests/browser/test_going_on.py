"""What goes on in JupyterLab when a kernel dies or the page is loaded anew in the middle of a run."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.lab import RESTART, Application, Lab, Notebook
from tests.browser.test_questions import card, choose
from tests.notebook.environments import OTHERS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HEAD = """%load_ext loom_nb
import os, pathlib, asyncio
from loom_nb import Model, tool
from loom_nb.models.scripted import Call
"""
TOOLS = (
    HEAD
    + '''
pathlib.Path({pid!r}).write_text(str(os.getpid()))
@tool(read_only={unasked})
def book(seats: int) -> str:
    """Books seats."""
    with open({booked!r}, "a") as file:
        file.write(f"{{seats}}\\n")
    print("said by the tool")
    return f"{{seats}} seats booked"
@tool(read_only=True)
async def wait_for(word: str) -> str:
    """Waits for a file."""
    pathlib.Path({waits!r}).touch()
    while not pathlib.Path({gate!r}).exists():
        await asyncio.sleep(0.02)
    return "the gate is open"
{model}
'''
)
FIRST = "m = Model.scripted([Call('book', {'seats': 3}), Call('wait_for', {'word': 'go'}), 'never said'])"
SECOND = "m = Model.scripted(['all is booked, once'])"
ASKS = "m = Model.scripted([Call('book', {'seats': 3}), 'never said'])"


class Ground:
    """The files by which a test and its tools know of each other."""

    def __init__(self, folder: Path) -> None:
        self.booked, self.pid, self.gate, self.waits = (
            str(folder / name) for name in ("booked", "pid", "gate", "waits")
        )

    def cell(self, model: str, *, unasked: bool = True) -> str:
        return TOOLS.format(**vars(self), unasked=unasked, model=model)

    def bookings(self) -> str:
        return Path(self.booked).read_text() if Path(self.booked).exists() else ""


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def kill(nb: Notebook, ground: Ground) -> None:
    """The kernel's process ends at once; the server starts another one, and the page says so."""
    os.kill(int(Path(ground.pid).read_text()), signal.SIGKILL)
    dialog = nb.page.locator(".jp-Dialog")
    dialog.locator("button.jp-mod-accept").click(timeout=60_000)
    dialog.wait_for(state="detached")
    nb.wait_for_kernel()


def restart(nb: Notebook, ground: Ground) -> None:
    """As the button in the toolbar: the server interrupts the kernel, then tells it to end, then starts another."""
    nb.page.evaluate(RESTART)
    nb.wait_for_kernel()


@pytest.mark.parametrize("ends", [kill, restart])
def test_a_run_whose_kernel_ended_is_interrupted_and_goes_on_without_doing_anything_twice(
    lab: Lab, ground: Ground, ends
):
    run = "%%loom -m m -t book,wait_for\nbook three seats and wait"
    nb = lab.notebook([ground.cell(FIRST), run, "%loom runs", "%loom resume"])
    nb.run(0).wait(0)
    nb.run(1)
    until(nb, lambda: Path(ground.waits).exists())
    assert ground.bookings() == "3\n"
    ends(nb, ground)
    Path(ground.gate).touch()

    nb.set_source(0, ground.cell(SECOND))
    nb.run(0).wait(0)
    assert re.search(r"r1\s.*interrupted", nb.play(2))
    assert "all is booked, once" in nb.play(3)
    assert ground.bookings() == "3\n"
    for theme in ("light", "dark"):
        nb.theme(theme)
        nb.output(3).scroll_into_view_if_needed()
        nb.screenshot(f"resumed-{ends.__name__}-{theme}")
    assert re.search(r"r1\s.*completed", nb.play(nb.append("%loom runs")))


def until(nb: Notebook, fact) -> None:
    for _ in range(600):
        if fact():
            return
        nb.page.wait_for_timeout(50)
    raise AssertionError("waited in vain")


@pytest.mark.parametrize("ends", [kill, restart])
def test_a_question_outlives_its_kernel_and_its_call_is_made_once(lab: Lab, ground: Ground, ends):
    run = "%%loom -m m -t book\nbook three seats"
    nb = lab.notebook([ground.cell(ASKS, unasked=False), run, "%loom runs", "%loom resume"])
    nb.run(0).wait(0)
    nb.run(1)
    card(nb, "Approval a1", 1)
    ends(nb, ground)

    nb.set_source(0, ground.cell(SECOND, unasked=False))
    nb.run(0).wait(0)
    assert re.search(r"r1\s.*interrupted", nb.play(2))
    assert ground.bookings() == ""
    nb.run(3)
    shown = card(nb, "Approval a1", 3)
    nb.screenshot(f"resumed-question-{ends.__name__}")
    choose(shown, "Allow once")
    shown.locator("button").click()
    nb.wait(3)
    assert "all is booked, once" in nb.output_text(3)
    assert ground.bookings() == "3\n"


WORDS = "' '.join(f'word{n}' for n in range(40))"
LONG = (
    "m = Model.scripted([Call('book', {'seats': 3}), Call('wait_for', {'word': 'go'}), "
    f"{WORDS}], chunk=8, delay=0.05)"
)
RUN = "%%loom -m m -t book,wait_for -o answer\nbook three seats, wait and speak"


def waiting(lab: Lab, ground: Ground, *, run: str = RUN, delay: str = "0.05", **options: Any) -> Notebook:
    """A run that has booked, has printed, and waits for the gate."""
    nb = lab.notebook([ground.cell(LONG.replace("0.05", delay)), run, "answer.status"], **options)
    nb.save()
    nb.run(0).wait(0)
    nb.run(1)
    until(nb, lambda: Path(ground.waits).exists())
    nb.wait_for_text(1, "said by the tool")
    return nb


def is_whole_and_once(nb: Notebook) -> None:
    """The cell shows the whole run, once, with its footer, and so does the file."""
    for text in (nb.output_text(1), "".join(texts(nb.save().cells[1].outputs))):
        assert [text.count(word) for word in ("said by the tool", "word0 ", "word12 ", "word39")] == [1] * 4
        assert text.count("3 steps") == 1


def texts(outputs) -> list[str]:
    return [output.get("text") or output.data["text/plain"] for output in outputs]


@pytest.mark.parametrize("application", ["lab", "notebook"])
@pytest.mark.parametrize("saved", [True, False], ids=["saved", "unsaved"])
def test_a_run_goes_on_in_its_cell_when_its_page_is_loaded_anew(
    lab: Lab, ground: Ground, saved: bool, application: Application
):
    nb = waiting(lab, ground, application=application)
    if saved:
        nb.save()
    name = f"{application}-{'saved' if saved else 'unsaved'}"
    nb.screenshot(f"before-reload-{name}")
    nb.open()
    expect(nb.cell(1).locator(".jp-InputPrompt")).to_have_text("[*]:")
    stop = nb.output(1).locator(".loom-stop-button")
    nb.wait_for_text(1, "3 seats booked")
    if nb.output(1).get_by_text("Loading widget").count():  # Jupyter asks for widgets for four seconds, once
        nb.page.wait_for_timeout(5_000)
    if not stop.count():
        nb.open()
        expect(nb.cell(1).locator(".jp-InputPrompt")).to_have_text("[*]:")
    stop.wait_for()
    nb.wait_for_text(1, "3 seats booked")  # what was shown before is there, before anything new is said
    nb.wait_for_text(1, "said by the tool")
    nb.screenshot(f"after-reload-{name}")
    Path(ground.gate).touch()
    nb.wait_for_text(1, "word12 ")  # and it goes on
    nb.screenshot(f"going-on-after-reload-{name}")
    nb.wait(1)
    assert nb.prompt(1) == "[2]:"
    is_whole_and_once(nb)
    nb.screenshot(f"ended-after-reload-{name}")
    assert nb.play(2).strip() == "'completed'"


@pytest.mark.parametrize("ipykernel", OTHERS)
def test_with_an_older_kernel_what_comes_is_shown_and_the_whole_in_the_end(
    lab: Lab, ground: Ground, older_kernel: Callable[[str], str], ipykernel: str
):
    """It hears nothing before the cell has ended, so that it cannot be asked what was shown before."""
    nb = waiting(lab, ground, kernel=older_kernel(ipykernel), delay="0.3")
    nb.save()
    nb.open()
    nb.wait_for_session()
    Path(ground.gate).touch()
    nb.wait_for_text(1, "word12 ")
    nb.wait_for_text(1, "the page was loaded anew")
    nb.screenshot(f"going-on-with-ipykernel-{ipykernel}")
    nb.wait(1)
    is_whole_and_once(nb)
    assert nb.prompt(1) == "[2]:"
    assert nb.play(2).strip() == "'completed'"


def test_a_run_that_ends_while_its_page_is_loaded_is_shown_whole(lab: Lab, ground: Ground):
    nb = waiting(lab, ground)
    nb.save()
    nb.page.goto("about:blank")
    Path(ground.gate).touch()
    until(nb, lambda: nb.lab.server.get("/api/kernels")[0]["execution_state"] == "idle")
    nb.open()
    nb.wait(1)
    is_whole_and_once(nb)
    assert nb.prompt(1) == "[2]:"


def test_a_background_run_goes_on_in_its_cell_and_the_cell_keeps_its_number(lab: Lab, ground: Ground):
    nb = waiting(lab, ground, run=RUN.replace("%%loom", "%%loom --bg"))
    nb.wait(1)
    nb.save()
    nb.open()
    nb.output(1).locator(".loom-stop-button").wait_for()
    assert nb.prompt(1) == "[2]:"
    Path(ground.gate).touch()
    nb.wait_for_text(1, "3 steps")
    nb.wait_for_text(1, "said by the tool")  # sent behind the whole, and no end of the cell is waited for
    is_whole_and_once(nb)


def test_the_stop_button_of_a_page_that_was_loaded_anew_stops(lab: Lab, ground: Ground):
    nb = waiting(lab, ground)
    nb.open()
    nb.output(1).locator(".loom-stop-button").click()
    nb.wait(1)
    assert "stopped by you" in nb.output_text(1)
    assert nb.output_text(1).count("3 seats booked") == 1


def test_a_cell_that_is_run_again_after_a_reload_belongs_to_the_new_run(lab: Lab, ground: Ground):
    nb = waiting(lab, ground, run=RUN.replace("%%loom", "%%loom --bg"))
    nb.open()
    nb.output(1).locator(".loom-stop-button").wait_for()
    nb.set_source(1, "print('something else')")
    assert nb.play(1) == "something else\n"
    Path(ground.gate).touch()
    assert nb.play(nb.append("await answer.wait() if hasattr(answer, 'wait') else answer")).strip()
    assert nb.output_text(1) == "something else\n"


def test_a_page_that_shows_the_run_is_not_touched_and_neither_is_a_second_one(lab: Lab, ground: Ground):
    nb = waiting(lab, ground)
    second = Notebook(lab, lab.page(), nb.path)
    second.open()
    second.wait_for_session()
    before = second.outputs(1)
    Path(ground.gate).touch()
    nb.wait(1)
    is_whole_and_once(nb)
    second.wait_for_kernel()
    assert second.outputs(1) == before == []
    assert not second.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.model.dirty")


def test_a_question_of_a_run_that_goes_on_is_answered_and_the_cell_is_whole(lab: Lab, ground: Ground):
    model = ASKS.replace("never said", "all is booked, once")
    nb = lab.notebook([ground.cell(model, unasked=False), "%%loom -m m -t book\nbook three seats"])
    nb.save()
    nb.run(0).wait(0)
    nb.run(1)
    card(nb, "Approval a1", 1)
    nb.open()
    nb.output(1).locator(".loom-stop-button").wait_for()
    shown = card(nb, "Approval a1", 1)
    nb.screenshot("question-after-reload")
    choose(shown, "Allow once")
    shown.locator("button").click()
    nb.wait(1)
    text = nb.output_text(1)
    assert [text.count(words) for words in ("all is booked, once", "2 steps")] == [1, 1]
    assert "loaded anew" not in text
    assert ground.bookings() == "3\n"
    nb.screenshot("question-after-reload-ended")


def test_a_second_view_of_the_notebook_shows_nothing_twice(lab: Lab, ground: Ground):
    nb = waiting(lab, ground)
    nb.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:clone').then(() => null)")
    nb.page.wait_for_function("() => document.querySelectorAll('.jp-NotebookPanel').length === 2")
    Path(ground.gate).touch()
    nb.wait(1)
    is_whole_and_once(nb)


def test_a_second_page_goes_on_where_the_first_one_is_closed(lab: Lab, ground: Ground):
    nb = waiting(lab, ground, delay="0.3")
    second = Notebook(lab, lab.page(), nb.path)
    second.open()
    second.wait_for_session()
    Path(ground.gate).touch()
    nb.wait_for_text(1, "word2 ")
    assert second.outputs(1) == []
    nb.page.close()
    second.wait(1)
    is_whole_and_once(second)
