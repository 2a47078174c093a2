"""What a save, a page of a list and the opening of a session cost at 10,000 sessions, against 10."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from measure import interleaved

from loom_nb.events import LogEntry, Noticed, RunFinished, RunStarted
from loom_nb.stores import FileSessionStore, MemoryStore, SqliteStore

pytestmark = [pytest.mark.slow, pytest.mark.benchmark, pytest.mark.timeout(900)]

STORES = {
    "memory": lambda folder: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "loom.db"),
    "files": lambda folder: FileSessionStore(folder / "sessions"),
}
FEW, MANY, PAGE = 10, 10_000, 10
TURN = 20
"""How often a piece of work is done in one measurement."""


def filled(kind: str, folder: Path, sessions: int):
    """A store of so many sessions of one run each."""
    folder.mkdir()
    store = STORES[kind](folder)
    for n in range(sessions):
        save(store, f"nb-{n}", 1000.0 + n)
    return store


def save(store, session: str, moment: float) -> None:
    """What a new session costs: open, one run, close."""
    lease = store.acquire(session)
    events = (RunStarted("m", "goal"), Noticed("x" * 500), RunFinished("completed", "done"))
    store.append(lease, [LogEntry(session, n, "r1", moment + n / 10, e) for n, e in enumerate(events, 1)])
    store.release(lease)


class Works:
    """The things whose cost should not depend on the size of the store."""

    def __init__(self, store) -> None:
        self.store = store
        self.held = store.acquire("held")
        self.moment = 1000.0 + 2 * MANY
        self.count = self.seq = 0

    def append(self) -> None:
        self.seq += 1
        entry = LogEntry("held", self.seq, "r1", self.moment + self.seq / 1e3, Noticed("x" * 500))
        self.store.append(self.held, [entry])

    def fresh(self) -> None:
        self.count += 1
        save(self.store, f"new-{self.count}", self.moment + self.count)

    def runs(self) -> None:
        assert len(self.store.runs(limit=PAGE)) == PAGE

    def runs_of_one(self) -> None:
        assert len(self.store.runs("nb-5")) == 1

    def sessions(self) -> None:
        assert len(self.store.sessions(limit=PAGE)) == PAGE

    def reopen(self) -> None:
        lease = self.store.acquire("nb-5")
        assert len(list(self.store.read("nb-5"))) == 3
        self.store.release(lease)


WORKS = {
    "append to an open session": Works.append,
    "save of a new session": Works.fresh,
    f"page of {PAGE} runs": Works.runs,
    "runs of one session": Works.runs_of_one,
    f"page of {PAGE} sessions": Works.sessions,
    "open and read a session": Works.reopen,
}


def often(work, *arguments):
    """The work, done TURN times."""

    def turn() -> None:
        for _ in range(TURN):
            work(*arguments)

    return turn


@pytest.mark.parametrize("kind", STORES)
def test_the_cost_at_ten_thousand_sessions(kind, table, tmp_path):
    with ExitStack() as stack:
        small, large = (
            stack.enter_context(closing(filled(kind, tmp_path / str(size), size))) for size in (FEW, MANY)
        )
        at_few, at_many = Works(small), Works(large)
        for what, work in WORKS.items():
            many, few = interleaved(often(work, at_many), often(work, at_few), rounds=15)
            table(
                f"{kind}: {what}, {MANY:,} sessions against {FEW}",
                f"{many / TURN * 1e6:,.0f} µs",
                f"{few / TURN * 1e6:,.0f} µs",
                f"{many / few:.2f}×",
            )
        (whole,) = interleaved(large.sessions, rounds=3)
        table(f"{kind}: list all {MANY:,} sessions", f"{whole * 1e3:,.0f} ms", "", "")


@pytest.mark.parametrize("kind", ["sqlite", "files"])
def test_the_cost_of_an_append_after_many(kind, table, tmp_path):
    """The length of a log must not matter to who appends to it or reads its end."""
    store = STORES[kind](tmp_path)
    lease, seq = store.acquire("s"), 0

    def grow(to: int) -> None:
        nonlocal seq
        while seq < to:
            batch = [LogEntry("s", seq + n, "r1", float(seq + n), Noticed("x" * 500)) for n in range(1, 501)]
            store.append(lease, batch)
            seq += 500

    def one() -> None:
        nonlocal seq
        seq += 1
        store.append(lease, [LogEntry("s", seq, "r1", float(seq), Noticed("x" * 500))])

    def tail() -> None:
        assert len(list(store.read("s", after=seq - 1))) == 1

    costs = {}
    for length in (500, 50_000):
        grow(length)
        costs[length] = interleaved(often(one), often(tail), rounds=9)
    for what, few, many in zip(("append", "read the last entry"), *costs.values(), strict=True):
        table(
            f"{kind}: {what}, log of 50,000 against 500",
            f"{many / TURN * 1e6:,.0f} µs",
            f"{few / TURN * 1e6:,.0f} µs",
            f"{many / few:.2f}×",
        )
    store.close()


RESUME = """
import json, sys, time
from pathlib import Path
from test_stores import STORES
start = time.perf_counter()
store = STORES[sys.argv[1]](Path(sys.argv[2]))
lease = store.acquire("s")
count = sum(1 for _ in store.read("s"))
print(json.dumps([count, time.perf_counter() - start]))
"""


@pytest.mark.parametrize("kind", ["sqlite", "files"])
def test_taking_up_a_long_session_in_a_new_process(kind, table, tmp_path):
    store = STORES[kind](tmp_path)
    lease = store.acquire("s")
    store.append(lease, [LogEntry("s", n, "r1", float(n), Noticed("x" * 500)) for n in range(1, 10_001)])
    store.release(lease)
    store.close()
    runs = []
    for _ in range(5):
        out = subprocess.run(
            [sys.executable, "-c", RESUME, kind, str(tmp_path)],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        count, seconds = json.loads(out.stdout)
        assert count == 10_000
        runs.append(seconds)
    start = time.perf_counter()
    raw = sum(len(file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file())
    floor = time.perf_counter() - start
    table(
        f"{kind}: open and read 10,000 entries",
        f"{sorted(runs)[2] * 1e3:.0f} ms",
        f"{floor * 1e3:.0f} ms for the {raw / 1e6:.0f} MB alone",
        "",
    )
