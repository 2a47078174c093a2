"""Work in a thread comes to its end, however often who waits for it is cancelled."""

import asyncio
import threading

import pytest

from loom_nb.capabilities.unbroken import unbroken


async def test_who_waits_goes_on_when_the_work_is_done_however_often_it_is_cancelled():
    begun, may_end, done = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        may_end.wait(30)
        done.append(1)

    waiting = asyncio.ensure_future(unbroken(work))
    await begun.wait()
    for _ in range(4):
        waiting.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not waiting.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done == [1]


async def test_what_it_gives_or_raises_is_passed_on():
    assert await unbroken(int, "7") == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await unbroken(int, "x")


async def test_an_error_after_it_was_cancelled_is_nobodys():
    begun, may_end = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        may_end.wait(30)
        raise ValueError("too late")

    waiting = asyncio.ensure_future(unbroken(work))
    await begun.wait()
    waiting.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
