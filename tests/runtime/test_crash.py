"""A process killed in the middle of a run: nothing acknowledged is lost, the run is interrupted, the next one works."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from loom_nb import Agent, Model, SessionConfig, SqliteStore
from loom_nb.events import CallFinished, CallStarted, RunFinished, RunInterrupted
from loom_nb.messages import ToolResultPart

CHILD = """
import asyncio, sys
from loom_nb import Agent, Model, SessionConfig, SqliteStore, Runtime, tool
from loom_nb.models.scripted import Call

effects = open(sys.argv[2], "a")

@tool
async def write(n: int) -> str:
    effects.write(f"{n}\\n")
    effects.flush()
    await asyncio.sleep(0.001)
    return "written"

async def main():
    store = SqliteStore(sys.argv[1])
    calls = [Call("write", {"n": n}) for n in range(10_000)]
    agent = Agent(Model.scripted(calls), tools=[write], session_store=store, runtime=Runtime.sdk(max_iterations=10_000))
    session = agent.session(SessionConfig("crash"))
    run = session.start("go")
    print("started", flush=True)
    await run

asyncio.run(main())
"""


def kill_one(path, effects, wait: float, *, at_work: bool) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(effects)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"started\n"
    while at_work and not (effects.exists() and effects.stat().st_size):
        time.sleep(0.01)
    time.sleep(wait)  # the point at which it dies is random on purpose
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_a_killed_run_is_interrupted_and_no_effect_is_without_its_intent(kills, tmp_path):
    path, effects = tmp_path / "loom.db", tmp_path / "effects"
    chance = random.Random(kills)
    runs: list[str] = []
    for number in range(kills):
        effects.unlink(missing_ok=True)
        kill_one(path, effects, chance.uniform(0.0, 0.4), at_work=number == 0)
        store = SqliteStore(path)
        newest = store.runs("crash", limit=1)
        done = effects.read_text().count("\n") if effects.exists() else 0
        if not newest or newest[0].run in runs:
            assert done == 0, "it died before its run was on disk, so it did nothing"
            store.close()
            continue
        runs.append(newest[0].run)
        assert newest[0].status == "interrupted"
        entries = [entry for entry in store.read("crash") if entry.run == newest[0].run]
        intents = sum(isinstance(entry.event, CallStarted) for entry in entries)
        results = sum(isinstance(entry.event, CallFinished) for entry in entries)
        assert intents - 1 <= done <= intents, "every effect has its intent on disk before it"
        assert results >= done - 1, "every result but the last was acknowledged"
        store.close()
    assert runs

    store = SqliteStore(path)
    session = Agent(Model.scripted(["alive"]), session_store=store).session(SessionConfig("crash"))

    async def next_run():
        async with session:
            return await session.run("are you there?")

    result = asyncio.run(next_run())
    assert (result.status, result.output) == ("completed", "alive")
    entries = list(store.read("crash"))
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert sum(isinstance(entry.event, RunInterrupted) for entry in entries) == len(runs)
    assert sum(isinstance(entry.event, RunFinished) for entry in entries) == 1
    for before, after in zip(session.conversation.messages, session.conversation.messages[1:], strict=False):
        if before.calls:
            assert [p.call_id for p in after.parts if isinstance(p, ToolResultPart)] == [
                c.id for c in before.calls
            ]
    store.close()
