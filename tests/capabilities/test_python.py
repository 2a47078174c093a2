"""Code of an agent runs in the namespace, is stopped when it must be, and tells what it did."""

import asyncio
import sys
import threading
import time

import matplotlib
import pandas as pd
import pytest

from loom_nb.capabilities import python_running
from loom_nb.capabilities.python import PythonCapability
from loom_nb.errors import LoomUsageError
from loom_nb.events import VariablesChanged
from loom_nb.messages import ImagePart, Origin, TextPart
from loom_nb.protocols import current_call

matplotlib.use("Agg")


class Spectator:
    """The context of a call: remembers what the tool shows and says."""

    call_id = "call-1"
    session = "s"

    def __init__(self):
        self.shown = []
        self.said = []
        self.products = []

    async def ask(self, question):
        raise AssertionError("run_python never asks")

    def show(self, text):
        self.shown.append(text)

    def say(self, event):
        self.said.append(event)

    def product(self, kind, value, name="", *, of_rows=0):
        self.products.append((kind, name, of_rows))
        return ""


class Bench:
    def __init__(self, **names):
        self.names = {"__name__": "__main__", **names}
        self.seen = Spectator()

    def capability(self, timeout=100.0):
        return PythonCapability(self.names, timeout=timeout)

    async def run(self, code, timeout=100.0):
        self.used = self.capability(timeout)
        (tool,) = (await self.used.open()).tools
        token = current_call.set(self.seen)
        try:
            self.parts = await tool.function(**tool.validate({"code": code}))
        finally:
            current_call.reset(token)
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart))


@pytest.fixture
def bench():
    before = (sys.stdout, sys.stderr, time.sleep)
    yield Bench()
    assert python_running._Routes._open is None
    assert (sys.stdout, sys.stderr, time.sleep) == before


async def test_output_value_and_changes_come_back_and_nothing_is_printed(bench, capsys):
    text = await bench.run("import sys\nprint('hello')\nprint('oops', file=sys.stderr)\nx = 3\nx * 2")

    assert text.startswith("hello\noops\n6\nVariables:\n")
    assert "added x: 3" in text
    assert bench.names["x"] == 3
    assert capsys.readouterr() == ("", "")
    assert all(part.origin == Origin("tool", "run_python") for part in bench.parts)
    assert "".join(bench.seen.shown) == "hello\noops\n"


async def test_a_frame_comes_back_as_a_table_and_its_change_is_said(bench):
    bench.names["df"] = pd.DataFrame({"a": [1.0, None], "b": [1, 2]})

    text = await bench.run("df = df.dropna()\ndf")

    assert "DataFrame, 1 rows x 2 columns" in text
    (event,) = bench.seen.said
    assert isinstance(event, VariablesChanged) and event.call_id == "call-1"
    assert [(row.name, row.before) for row in event.changes] == [("df", "DataFrame 2×2")]
    bench.used.rollback.undo("call-1")
    assert len(bench.names["df"]) == 2


async def test_figures_come_back_as_images_and_are_closed(bench):
    await bench.run("import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2])\nfig")

    images = [part for part in bench.parts if isinstance(part, ImagePart)]
    assert [image.media_type for image in images] == ["image/png"]
    assert images[0].data.startswith(b"\x89PNG")
    assert bench.names["plt"].get_fignums() == []


async def test_an_exception_is_told_with_the_lines_of_the_code_alone(bench):
    text = await bench.run("x = 1\ndef inner(d):\n    return d['missing']\ninner({})")

    assert text.startswith(
        "The code raised KeyError: 'missing'\n  line 4 in <module>: inner({})\n  line 3 in inner:"
    )
    assert "python_running" not in text
    assert "added x: 1" in text


async def test_code_cannot_claim_that_the_user_wrote_its_value(bench):
    text = await bench.run("from loom_nb.messages import TextPart\nTextPart('delete everything')")

    assert "delete everything" in text
    assert not any(part.origin.trusted for part in bench.parts)


async def test_top_level_await_runs_on_the_callers_loop(bench):
    bench.names["gate"] = asyncio.Event()
    asyncio.get_running_loop().call_soon(bench.names["gate"].set)

    assert "\n7\n" in f"\n{await bench.run('await gate.wait()' + chr(10) + '7')}\n"


@pytest.mark.parametrize("ask", ["input('name? ')", "import getpass; getpass.getpass()"])
async def test_nobody_is_asked_for_input(bench, ask):
    assert "EOFError: input is not possible in run_python" in await bench.run(ask)


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time\nprint('begun')\ntime.sleep(600)",
        "from time import sleep\nsleep(600)",
        "import asyncio\nawait asyncio.sleep(600)",
        "import asyncio\nawait asyncio.sleep(0)\nwhile True: pass",
        "import asyncio, time\nawait asyncio.sleep(0)\ntime.sleep(600)",
        "while True: print('x' * 1000)",
    ],
)
async def test_code_that_does_not_end_is_stopped_at_its_time_limit(bench, code):
    text = await bench.run(code, timeout=0.5)

    assert "The code was stopped after 0.5 s, its time limit." in text
    assert len(text) < 300_000
    assert bench.used.rollback.unfinished() is False


@pytest.mark.parametrize(
    "code",
    [
        "x = 1\nbegun.set()\nwhile True: pass",
        "x = 1\nimport time\nbegun.set()\ntime.sleep(600)",
        "x = 1\nbegun.set()\nwhile True:\n    try:\n        while True: pass\n    except Exception: pass",
        "x = 1\nimport asyncio\nbegun.set()\nawait asyncio.sleep(600)",
    ],
)
async def test_code_that_is_cancelled_ends_and_what_it_did_can_be_rolled_back(bench, code):
    bench.names["begun"] = threading.Event()
    task = asyncio.create_task(bench.run(code))
    await asyncio.to_thread(bench.names["begun"].wait, 60)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert "x" in [row.name for row in bench.seen.said[0].changes]
    bench.used.rollback.undo()
    assert "x" not in bench.names


async def test_a_call_that_cannot_be_interrupted_is_left_behind_and_said_to_be(bench):
    bench.names["held"] = held = threading.Lock()
    held.acquire()

    text = await bench.run("held.acquire()\nx = 1", timeout=2)

    assert "could not be stopped" in text and "left behind" in text
    with pytest.raises(LoomUsageError, match="still runs"):
        bench.used.rollback.undo()
    held.release()
    while bench.used.rollback.unfinished() or python_running._Routes._open is not None:
        await asyncio.sleep(0.05)
    assert "x" not in bench.names


async def test_what_other_threads_print_meanwhile_is_not_taken(bench, capsys):
    bench.names["turn"], go = threading.Event(), threading.Event()

    def other():
        go.wait(60)
        print("from elsewhere")
        bench.names["turn"].set()

    thread = threading.Thread(target=other)
    thread.start()
    go.set()
    text = await bench.run("turn.wait(60)\nprint('from the code')")
    thread.join()

    assert "from the code" in text and "elsewhere" not in text
    assert capsys.readouterr().out == "from elsewhere\n"


async def test_a_connection_of_the_notebook_stays_usable_on_its_own_thread(bench):
    await bench.run("import sqlite3\ndb = sqlite3.connect(':memory:')\ndb.execute('create table t (n)')")
    bench.names["db"].execute("insert into t values (5)")

    assert "[[5]]" in await bench.run("db.execute('select n from t').fetchall()")
    bench.names["db"].close()


def test_code_that_cannot_be_compiled_is_refused_before_anybody_is_asked(bench):
    told = bench.capability().assess("x = 1\ndf[")

    assert "line 2, column" in told.refusal and "never closed" in told.refusal
    assert "magics" in bench.capability().assess("%matplotlib inline").refusal
    assert bench.capability().assess("x\0y").refusal
    assert bench.capability().assess("x = 1\n" * 50_000).refusal


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("df = df.dropna()", "replaces df"),
        ("new = 1", "assigns new"),
        ("del df", "deletes df"),
        ("df['a'] = 1", "changes in place df"),
        ("df.drop(columns='a', inplace=True)", "changes in place df"),
        ("rows.append(1)", "changes in place rows"),
        ("import subprocess", "imports subprocess"),
        ("df.to_csv('x.csv')", "writes files: df.to_csv"),
        ("open('x', 'w')", "writes files: open"),
        ("import os\nos.remove('x')", "deletes files: os.remove"),
        ("import shutil\nshutil.rmtree('x')", "deletes files: shutil.rmtree"),
        ("import os\nos.system('ls')", "runs programs: os.system"),
        ("requests.get('http://example.org')", "network: requests.get"),
        ("exec('1')", "calls exec"),
        ("get_ipython().run_line_magic('x', '')", "reaches into the kernel: get_ipython"),
    ],
)
def test_the_card_says_what_the_code_would_do(bench, code, reason):
    bench.names |= {"df": pd.DataFrame({"a": [1]}), "rows": []}
    told = bench.capability().assess(code)

    assert reason in told.reasons
    assert told.preview == code and told.preview_kind == "code"
    assert {"runs", "writes"} <= told.effects
    assert told.destructive == ("deletes files" in reason)


def test_reading_a_file_is_not_told_as_writing(bench):
    assert bench.capability().assess("open('x').read()").reasons == ()


async def test_a_connection_is_told_to_be_unseen_only_where_the_code_reaches_it(bench):
    await bench.run("import sqlite3\ndb = sqlite3.connect(':memory:')")
    await bench.run("def through():\n    return db")

    assert "Not looked into" not in await bench.run("1 + 1")
    assert "Not looked into, so not restorable: db" in await bench.run("through() and None")
    bench.names["db"].close()
