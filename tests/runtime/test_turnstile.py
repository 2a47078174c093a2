"""The turnstile: one at a time, in the order in which they came, whoever gives up meanwhile."""

import asyncio

from loom_nb.runtime.fairness import FairQueue
from loom_nb.runtime.turnstile import Turnstile


async def passing(turnstile: Turnstile, name: str, passed: list[str]) -> None:
    async with turnstile:
        passed.append(name)
        await asyncio.sleep(0)


async def test_nobody_waits_where_nobody_is_inside():
    turnstile = Turnstile(FairQueue())
    assert not turnstile.must_wait()
    assert turnstile.must_wait(), "one is inside"
    turnstile.leave()
    assert not turnstile.must_wait()


async def test_those_who_wait_pass_in_the_order_in_which_they_came():
    turnstile, passed = Turnstile(FairQueue()), []
    assert not turnstile.must_wait()
    waiting = [asyncio.create_task(passing(turnstile, name, passed)) for name in "abc"]
    await asyncio.sleep(0)
    assert passed == []
    turnstile.leave()
    await asyncio.gather(*waiting)
    assert passed == ["a", "b", "c"]


async def test_who_gives_up_while_he_waits_holds_nobody_up():
    turnstile, passed = Turnstile(FairQueue()), []
    assert not turnstile.must_wait()
    first, second = (asyncio.create_task(passing(turnstile, name, passed)) for name in "ab")
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    turnstile.leave()
    await second
    assert passed == ["b"]


async def test_who_gives_up_when_he_was_let_in_lets_the_next_one_in():
    turnstile, passed = Turnstile(FairQueue()), []
    assert not turnstile.must_wait()
    first, second = (asyncio.create_task(passing(turnstile, name, passed)) for name in "ab")
    await asyncio.sleep(0)
    turnstile.leave()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert passed == ["b"]
    assert not turnstile.must_wait(), "nobody is inside any more"


async def test_who_waits_for_other_sessions_passes_when_the_loop_has_gone_round():
    fair = FairQueue()
    while not fair.must_wait():
        pass
    turnstile, passed = Turnstile(fair), []
    assert turnstile.must_wait()
    task = asyncio.create_task(passing(turnstile, "a", passed))
    await task
    assert passed == ["a"]
