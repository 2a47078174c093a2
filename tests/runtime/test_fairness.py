"""Fairness: a thousand runs at once leave the loop time for everything else, and come in their order."""

import asyncio
import gc
import weakref
from collections import Counter

import pytest

from loom_nb import Agent, MemoryStore, Model, SessionConfig, tool
from loom_nb.events import MessageAdded, RunFinished, RunStarted
from loom_nb.messages import MODEL, Message, TextPart, ToolCallPart, Usage
from loom_nb.models.scripted import Call
from loom_nb.protocols import Reply
from loom_nb.runtime.fairness import STEPS, FairQueue, fair_queue
from tests.runtime.own_models import OwnModel


@tool(read_only=True)
async def look() -> str:
    return "seen"


class Iterations:
    """Counts how often the loop went round: a callback that calls itself soon, as long as it is open."""

    def __init__(self) -> None:
        self.now = 0
        self._open = True
        self._count()

    def _count(self) -> None:
        if self._open:
            self.now += 1
            asyncio.get_running_loop().call_soon(self._count)

    def close(self) -> None:
        self._open = False


@pytest.fixture
async def iterations():
    counting = Iterations()
    yield counting
    counting.close()


async def step(queue: FairQueue) -> None:
    if queue.must_wait():
        await queue.turn()


async def test_in_each_iteration_of_the_loop_only_some_go_on_in_the_order_in_which_they_came(iterations):
    queue, took = FairQueue(), []

    async def one(number: int) -> None:
        await step(queue)
        took.append((iterations.now, number))

    await asyncio.gather(*(one(number) for number in range(10 * STEPS)))

    assert [number for _, number in took] == list(range(10 * STEPS))
    assert set(Counter(at for at, _ in took).values()) == {STEPS}


async def test_one_that_is_stopped_while_it_waits_keeps_nobody_else_from_going_on():
    queue, took = FairQueue(), []

    async def one(number: int) -> None:
        await step(queue)
        took.append(number)

    tasks = [asyncio.create_task(one(number)) for number in range(4 * STEPS)]
    await asyncio.sleep(0)  # all have begun, most of them wait
    stopped = tasks[STEPS : 3 * STEPS]
    for task in stopped:
        task.cancel()
    await asyncio.wait(tasks)

    assert took == [*range(STEPS), *range(3 * STEPS, 4 * STEPS)]
    assert all(task.cancelled() for task in stopped)


async def test_one_that_never_waits_for_anything_lets_the_others_in(iterations):
    queue = FairQueue()
    for _ in range(3 * STEPS):
        await step(queue)

    assert iterations.now >= 3


def test_all_that_runs_in_a_loop_shares_one_queue_and_none_outlives_its_loop():
    async def queues() -> list[FairQueue]:
        return [fair_queue(asyncio.get_running_loop()) for _ in range(2)]

    one, again = asyncio.run(queues())
    (other, _) = asyncio.run(queues())
    gone = weakref.ref(one)
    assert one is again
    assert one is not other
    del one, again
    gc.collect()
    assert gone() is None


async def test_runs_that_begin_at_once_begin_in_parts_in_their_order(iterations):
    started = []
    runs = 5 * STEPS

    class Store(MemoryStore):
        def acquire(self, session):
            started.append((iterations.now, session))
            return super().acquire(session)

    spec = Agent(Model.scripted(["done"] * runs), session_store=Store())
    names = [f"s{number}" for number in range(runs)]
    results = await asyncio.gather(*(spec.session(SessionConfig(name)).run("go") for name in names))

    assert {result.status for result in results} == {"completed"}
    assert [name for _, name in started] == names
    assert max(Counter(at for at, _ in started).values()) <= STEPS


class AnswersAllAtOnce(OwnModel):
    """A model that answers nobody before so many have asked; first it calls `note`, then it is done."""

    name = "test:at-once"

    def __init__(self, runs: int) -> None:
        self._asked = asyncio.Barrier(runs)

    async def reply(self, request, emit):
        await self._asked.wait()
        if len(request.conversation) == 1:
            return Reply(Message("assistant", (ToolCallPart("c1", "note", "{}"),)), Usage(1, 1), "tool_calls")
        return Reply(Message("assistant", (TextPart("done", MODEL),)), Usage(1, 1), "end")


async def test_replies_that_come_at_once_are_followed_up_in_parts(iterations):
    called, runs = [], 5 * STEPS

    @tool(read_only=True)
    async def note() -> str:
        called.append(iterations.now)
        return "noted"

    spec = Agent(Model.offline(), tools=[note], session_store=MemoryStore())
    object.__setattr__(spec, "model", AnswersAllAtOnce(runs))
    results = await asyncio.gather(*(spec.session().run("go") for _ in range(runs)))

    assert {result.output for result in results} == {"done"}
    assert len(called) == runs
    assert max(Counter(called).values()) <= STEPS


async def test_a_run_that_is_stopped_before_its_turn_to_begin_leaves_no_trace_and_the_next_one_is_fine():
    spec = Agent(Model.scripted(["done"] * (STEPS + 1)), session_store=MemoryStore())
    first = [spec.session().start("go") for _ in range(STEPS)]
    session = spec.session()
    late = session.start("too late")
    await asyncio.sleep(0)
    assert fair_queue(asyncio.get_running_loop()).must_wait()
    late.stop("not wanted")
    result = await late

    assert (result.status, result.reason) == ("stopped", "not wanted")
    assert [(await run).status for run in first] == ["completed"] * STEPS
    assert (await session.run("now")).status == "completed"
    assert [m.text for m in session.conversation] == ["now", "done"]


async def test_a_run_that_is_stopped_while_its_reply_waits_keeps_the_reply_and_ends_its_calls():
    queue = fair_queue(asyncio.get_running_loop())
    runs = []

    def reply(messages):
        while not queue.must_wait():  # others take what is left of this iteration
            pass
        runs[0].task.cancel()
        return Call("look")

    session = Agent(Model.scripted([reply, "next"]), tools=[look], session_store=MemoryStore()).session()
    runs.append(session.start("go"))
    result = await runs[0]

    assert result.status == "stopped"
    assert [use.outcome for use in result.tools] == ["stopped"]
    assert result.turns == 1
    assert (await session.run("again")).status == "completed"
    assert [message.role for message in session.conversation] == [
        "user",
        "assistant",
        "tool",
        "user",
        "assistant",
    ]


async def test_runs_of_one_session_stay_in_their_order_whoever_waits():
    spec = Agent(Model.scripted(["done"] * 3 * STEPS), session_store=MemoryStore())
    session = spec.session()
    others = [spec.session() for _ in range(2 * STEPS)]
    runs = [one.start("go") for one in others] + [session.start(f"{number}") for number in range(STEPS)]
    for run in runs:
        assert (await run).status == "completed"

    events = [entry.event for entry in session.events()]
    order = [event.message.text for event in events if isinstance(event, MessageAdded)][::2]
    assert order == [str(number) for number in range(STEPS)]
    kinds = [type(event) for event in events if isinstance(event, RunStarted | RunFinished)]
    assert kinds == [RunStarted, RunFinished] * STEPS


def test_a_session_that_is_dropped_is_freed_at_once_with_its_runs():
    async def main() -> None:
        spec = Agent(Model.scripted([Call("look"), "done"]), tools=[look], session_store=MemoryStore())
        session = spec.session()
        result = await session.run("go")
        freed = weakref.ref(session)
        del session
        assert result.status == "completed"
        assert freed() is None

    gc.disable()  # no collector is needed: nothing of it refers to itself
    try:
        asyncio.run(main())
    finally:
        gc.enable()
