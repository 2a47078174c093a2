"""`%%loom` in `ipython` in a terminal of its own: what a person sees there, and what the keys do."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pexpect = pytest.importorskip("pexpect", reason="there are no pseudo terminals on this system")

pytestmark = pytest.mark.slow
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_=>])|\r")
MENU = "[o]nce / [a]gain / [e]dit / [d]eny / [?]: "
SUBMIT = "\x1b\r"
"""Esc and Enter: the cell is complete."""
WORK = """
from loom_nb import Model, tool
from loom_nb.models.scripted import Call
gone = []
@tool(destructive=True)
def erase(name: str) -> str:
    "Erase a file."
    gone.append(name)
    return name + " is erased"
talk = Model.scripted(["word " * 400, "another answer"], chunk=5, delay=0.03)
wipe = Model.scripted([Call("erase", {"name": "a.txt"}), "It is done.", Call("erase", {"name": "b.txt"}), "I leave it."])
ask = Call("ask_user", {"question": "Shall I go on?", "kind": "confirm"})
echo = lambda messages: f"You said: {messages[-1].parts[0].text}."
sure = Model.scripted([ask, echo, ask, echo])
"""


class Terminal:
    """An `ipython` and the keyboard before it."""

    def __init__(self, home: Path) -> None:
        (home / "work.py").write_text(WORK)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.endswith("_API_KEY") and not name.startswith(("LOOM_NB_", "PYTEST_"))
        }
        self._child = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", "--no-banner", "--no-confirm-exit", "--colors=nocolor", "--no-term-title"],
            env={
                **kept, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "LOOM_NB_HOME": str(home),
                "IPYTHONDIR": str(home), "PYTHONPATH": os.pathsep.join(sys.path),
            },
            cwd=home, dimensions=(60, 120), encoding="utf-8", timeout=100,
        )  # fmt: skip
        self._number = 1
        self.sees("In [1]:")

    def sees(self, words: str) -> str:
        """Wait for words; gives what the screen showed before them."""
        self._child.expect_exact(words)
        return ESCAPES.sub("", self._child.before)

    def types(self, keys: str) -> None:
        """Press keys."""
        self._child.send(keys)

    def begins(self, cell: str) -> None:
        """Type a cell and let it run."""
        self.types(cell.replace("\n", "\r") + SUBMIT)

    def ends(self) -> str:
        """Wait for the next prompt; gives what was shown until then."""
        self._number += 1
        return self.sees(f"In [{self._number}]:")

    def run(self, cell: str) -> str:
        """Type a cell and wait until it has run."""
        self.begins(cell)
        return self.ends()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._child.sendintr()

    def close(self) -> None:
        """Leave."""
        self._child.close(force=True)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory) -> Iterator[Terminal]:
    one = Terminal(tmp_path_factory.mktemp("home"))
    try:
        assert "offline (demo, free)" in one.run("%load_ext loom_nb")
        one.run("%run -i work.py")
        yield one
    finally:
        one.close()


def test_words_are_shown_as_they_come_and_ctrl_c_keeps_them(terminal: Terminal):
    terminal.begins("%%loom -m talk\nspeak")
    terminal.sees("word word word")
    terminal.interrupt()
    rest = terminal.ends()

    assert "interrupted by you" in rest
    assert "L-RUN-02" in rest
    assert "Traceback" not in rest
    assert rest.count("word") < 390, "it did not go on to the end"
    assert "word word word" in terminal.run("%loom show")
    assert "another answer" in terminal.run("%%loom -m talk\nand now?")


def test_a_call_is_allowed_and_denied_by_typing(terminal: Terminal):
    terminal.begins("%%loom -m wipe -t erase\nerase a.txt")
    card = terminal.sees(MENU)
    terminal.types("o\r")
    allowed = terminal.ends()
    terminal.begins("%%loom -m wipe -t erase\nerase b.txt")
    terminal.sees(MENU)
    terminal.types("d\r")
    terminal.sees("tell the agent why (or nothing): ")
    terminal.types("keep it\r")
    denied = terminal.ends()

    assert 'name = "a.txt"' in card
    assert "cannot be undone" in card
    assert "It is done." in allowed
    assert "I leave it." in denied
    assert "keep it" in denied
    assert "['a.txt']" in terminal.run("gone")


def test_a_question_is_answered_by_yes_and_no(terminal: Terminal):
    """What is neither is asked about again."""
    for keys, answer in (("y", "yes"), ("n", "no")):
        terminal.begins("%%loom -m sure\nmay you go on?")
        terminal.sees("[y]es / [n]o: ")
        terminal.types("perhaps\r")
        terminal.sees("[y]es / [n]o: ")
        terminal.types(f"{keys}\r")
        assert f"You said: {answer}." in terminal.ends()
