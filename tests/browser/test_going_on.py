"""What goes on in JupyterLab when a kernel dies or the page is loaded anew in the middle of a run."""

import os
import re
import signal
from pathlib import Path

import pytest

from tests.browser.lab import RESTART, Lab, Notebook
from tests.browser.test_questions import card, choose

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


SLOW = (
    HEAD + "words = ' '.join(f'word{n}' for n in range(40))\nm = Model.scripted([words], chunk=8, delay=0.25)"
)


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "unsaved"])
def test_a_run_goes_on_while_its_page_is_loaded_anew_and_is_shown_whole_and_once(lab: Lab, saved: bool):
    """JupyterLab does not attach a new page to a cell that runs: what was saved stays, and `show` has it all."""
    nb = lab.notebook([SLOW, "%%loom -m m -o answer\nspeak slowly", "%loom show last"])
    nb.save()
    nb.run(0).wait(0)
    nb.run(1)
    nb.wait_for_text(1, "word5")
    if saved:
        nb.save()
    nb.open()
    nb.wait_for_session()
    nb.wait_for_kernel()  # it answers when the run has ended
    nb.screenshot(f"reloaded-mid-run-{'saved' if saved else 'unsaved'}")
    shown = nb.output_text(1)
    whole = nb.play(2)
    assert whole.count("word39") == 1
    assert whole.count("word0 ") == 1
    assert nb.play(nb.append("print(answer.status)")).strip() == "completed"
    assert shown.count("word0 ") <= 1
    assert shown.count("word39") <= 1
