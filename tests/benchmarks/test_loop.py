"""What the loop, its governance and its log cost, against the floor in the same run."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from floor import floor_collect
from loops import FLOOR_TOOLS, Ours, agent_with, floor_model
from measure import interleaved

from loom_nb import SqliteStore

pytestmark = [pytest.mark.slow, pytest.mark.benchmark, pytest.mark.timeout(600)]


def ours(n: int, rounds: int, deltas: int = 1, *, fresh: bool = True):
    """n runs, each in a session of its own or all in one. Nothing of it is freed: see `measure`."""

    async def work():
        spec = agent_with(Ours(rounds, deltas))
        session = spec.session()
        made = [spec]
        for _ in range(n):
            if fresh:
                session = spec.session()
            result = await session.run("hi")
            assert result.status == "completed"
            made += session, result
        return made

    return lambda: asyncio.run(work())


def floor(n: int, rounds: int, deltas: int = 1, *, fresh: bool = True):
    """n runs of the floor, each in a conversation of its own or all in one. Nothing of it is freed."""

    async def work():
        model = floor_model(rounds, deltas)
        messages, made = [], []
        for _ in range(n):
            if fresh:
                messages = []
            result, events = await floor_collect("hi", model, FLOOR_TOOLS, messages)
            assert result.text == "done"
            made += messages, result, events
        return made

    return lambda: asyncio.run(work())


def test_overhead_of_a_run_a_round_trip_and_a_delta(table):
    n = 1000
    mine, least, same, least_same = interleaved(
        ours(n, 0), floor(n, 0), ours(n, 0, fresh=False), floor(n, 0, fresh=False)
    )
    table(
        "run without tools, own session",
        f"{mine / n * 1e6:.1f} µs",
        f"{least / n * 1e6:.1f} µs",
        f"{mine / least:.2f}×",
    )
    table(
        "run without tools, same session",
        f"{same / n * 1e6:.1f} µs",
        f"{least_same / n * 1e6:.1f} µs",
        f"{same / least_same:.2f}× · 2.5×",
    )

    n, rounds = 20, 100
    mine, least = interleaved(ours(n, rounds), floor(n, rounds))
    table(
        "tool round trip",
        f"{mine / n / rounds * 1e6:.1f} µs",
        f"{least / n / rounds * 1e6:.1f} µs",
        f"{mine / least:.2f}× · 2.5×",
    )

    n = 10_000
    mine, least = interleaved(ours(1, 0, n), floor(1, 0, n))
    table("delta", f"{mine / n * 1e6:.2f} µs", f"{least / n * 1e6:.2f} µs", f"{mine / least:.2f}× · 1.5×")
    table("deltas per CPU second", f"{n / mine:,.0f}", f"{n / least:,.0f}", "")


def test_growth_from_the_first_turn_to_the_two_hundredth(table):
    def marks_of_ours():
        marks: list[int] = []
        asyncio.run(agent_with(Ours(200, marks=marks)).session().run("hi"))
        return marks

    def floor_marks():
        marks: list[int] = []
        asyncio.run(floor_collect("hi", floor_model(200, marks=marks), FLOOR_TOOLS))
        return marks

    def between(runs, turn):
        return statistics.median(marks[turn + 1] - marks[turn] for marks in runs) / 1000

    mine = [marks_of_ours() for _ in range(40)]
    least = [floor_marks() for _ in range(40)]
    for turn in (5, 100, 195):
        table(f"turn {turn}", f"{between(mine, turn):.1f} µs", f"{between(least, turn):.1f} µs", "")
    table(
        "turn 195 against turn 5",
        f"{between(mine, 195) / between(mine, 5):.2f}×",
        f"{between(least, 195) / between(least, 5):.2f}×",
        "1.1×",
    )


THOUSAND = """
import asyncio, json, statistics
from loops import floor_thousand, thousand
asyncio.run(thousand()), asyncio.run(floor_thousand())
runs = [(asyncio.run(thousand()), asyncio.run(floor_thousand())) for _ in range(7)]
print(json.dumps([statistics.median(run[who][what] for run in runs) for who in (0, 1) for what in (0, 1)]))
"""


def test_a_thousand_runs_at_once(table):
    """In a process of its own: the heap of a test runner would be collected in the middle of it."""
    folder = str(Path(__file__).parent)
    out = subprocess.run(
        [sys.executable, "-c", THOUSAND], cwd=folder, capture_output=True, text=True, check=True
    )
    wall, lag, floor_wall, floor_lag = json.loads(out.stdout)
    table(
        "1,000 runs with one tool, 50 ms models",
        f"{wall * 1e3:.0f} ms",
        f"{floor_wall * 1e3:.0f} ms",
        f"{wall / floor_wall:.2f}× · 2×",
    )
    table("longest block of the loop", f"{lag * 1e3:.0f} ms", f"{floor_lag * 1e3:.0f} ms", "50 ms")


def test_the_log_on_disk_per_turn(table, tmp_path):
    rounds = 100

    async def durable(path):
        store = SqliteStore(path)
        commits = 0
        append = store.append

        class Counting:
            durable = True

            def __getattr__(self, name):
                return getattr(store, name)

            def append(self, lease, entries):
                nonlocal commits
                commits += 1
                append(lease, entries)

        async with agent_with(Ours(rounds), Counting()).session() as session:
            result = await session.run("hi")
        assert result.status == "completed"
        store.close()
        return commits

    start, wall = time.process_time(), time.perf_counter()
    commits = asyncio.run(durable(tmp_path / "a.db"))
    cpu, wall = time.process_time() - start, time.perf_counter() - wall
    (memory,) = interleaved(ours(1, rounds))
    table(
        "turn with one reading tool, SQLite log",
        f"{cpu / rounds * 1e6:.0f} µs CPU, {wall / rounds * 1e6:.0f} µs wall",
        f"{memory / rounds * 1e6:.0f} µs in memory",
        "",
    )
    table("commits per turn", f"{commits / (rounds + 1):.2f}", "", "1")


IMPORTS = """
import sys, time
{first}
before, start = len(sys.modules), time.process_time()
{then}
print(time.process_time() - start, len(sys.modules) - before)
"""


def cost_of(then: str, first: str = "pass") -> tuple[float, int]:
    runs = []
    for _ in range(5):
        out = subprocess.run(
            [sys.executable, "-c", IMPORTS.format(first=first, then=then)],
            capture_output=True,
            text=True,
            check=True,
        )
        cpu, modules = out.stdout.split()[-2:]
        runs.append((float(cpu), int(modules)))
    return statistics.median(cpu for cpu, _ in runs), runs[0][1]


def test_imports_and_load_ext(table):
    for what, then, first, goal in (
        ("import loom_nb", "import loom_nb", "pass", "150 ms"),
        ("import asyncio, json", "import asyncio, json", "pass", ""),
        ("from loom_nb import Agent, Model, tool", "from loom_nb import Agent, Model, tool; Agent()", "pass", ""),
        ("first offline run", "Agent(session_store=MemoryStore()).run_sync('hi')", "from loom_nb import Agent, MemoryStore", ""),
        ("%load_ext loom_nb", "shell.run_line_magic('load_ext', 'loom_nb')",
         "from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell.instance()", "300 ms"),
    ):  # fmt: skip
        cpu, modules = cost_of(then, first)
        table(what, f"{cpu * 1e3:.0f} ms CPU, {modules} modules", "", goal)
