"""The time limits of all tools of a loop, which one timer watches."""

import asyncio
import gc
import time
import weakref

from loom_nb.runtime.deadlines import Deadlines, deadlines_of

LONG = 3600.0
RUN = object()


async def cancelled(name: str, told: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        told.append(name)


async def test_each_goes_off_in_its_time_whichever_was_set_first():
    deadlines, told = Deadlines(), list[str]()
    tasks = {name: asyncio.ensure_future(cancelled(name, told)) for name in ("last", "first", "second")}
    await asyncio.sleep(0)
    for name, seconds in (("last", 0.03), ("first", 0.01), ("second", 0.02)):
        deadlines.set(RUN, tasks[name], seconds)
    await asyncio.wait(tasks.values())
    assert told == ["first", "second", "last"]
    assert all(task.cancelled() and deadlines.clear(RUN, task) for task in tasks.values()), "they had passed"


async def test_what_is_cleared_cancels_nobody_and_those_behind_it_go_off_all_the_same():
    deadlines, told = Deadlines(), list[str]()
    cleared, other = (asyncio.ensure_future(cancelled(name, told)) for name in ("cleared", "other"))
    await asyncio.sleep(0)
    deadlines.set(RUN, cleared, 0.01)
    deadlines.set(RUN, other, 0.02)
    assert not deadlines.clear(RUN, cleared), "it had not passed"
    await asyncio.wait([other])
    assert told == ["other"]
    deadlines.set(RUN, cleared, 0.01)
    await asyncio.wait([cleared])
    assert told == ["other", "cleared"], "the timer goes on when nothing was left to watch"


async def test_those_that_passed_while_the_loop_was_busy_go_off_in_their_order():
    deadlines, told = Deadlines(), list[str]()
    tasks = {name: asyncio.ensure_future(cancelled(name, told)) for name in ("last", "first")}
    await asyncio.sleep(0)
    deadlines.set(RUN, tasks["last"], 0.002)
    deadlines.set(RUN, tasks["first"], 0.001)
    time.sleep(0.01)
    await asyncio.wait(tasks.values())
    assert told == ["first", "last"]


async def test_a_run_inside_another_one_leaves_the_limit_of_that_one_in_force():
    deadlines, told = Deadlines(), list[str]()
    task = asyncio.ensure_future(cancelled("both", told))
    await asyncio.sleep(0)
    deadlines.set(RUN, task, 0.01)
    deadlines.set("inside", task, LONG)
    assert not deadlines.clear("inside", task)
    await asyncio.wait([task])
    assert deadlines.clear(RUN, task)


async def test_all_who_ask_in_a_loop_share_them():
    loop = asyncio.get_running_loop()
    assert deadlines_of(loop) is deadlines_of(loop)


def test_a_loop_that_is_over_is_let_go_of_though_a_limit_of_it_was_far_away():
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def work() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        deadlines_of(loop).set(RUN, task, LONG)
        assert not deadlines_of(loop).clear(RUN, task)
        loops.append(weakref.ref(loop))

    asyncio.run(work())
    gc.collect()
    assert loops[0]() is None
