"""Fairness: however many runs there are, the event loop has time for everything else.

asyncio carries out all that is ready before it looks at its timers and sockets again. A thousand runs that
begin at once, or are answered at once, would be one long iteration, in which nothing else happens. So
runs wait in line, first come, first served, and only some of them go on in each iteration.
"""

import asyncio
import weakref
from collections import deque

STEPS = 100
"""How many steps may be taken before the loop goes round. One is the beginning of a run, or what follows
from a reply: some 20 to 200 µs."""


class FairQueue:
    """Where the runs of one event loop wait for their next step."""

    __slots__ = ("__weakref__", "_left", "_waiting")

    def __init__(self) -> None:
        self._left = STEPS
        self._waiting: deque[asyncio.Future[None]] = deque()

    def must_wait(self) -> bool:
        """Take a step, unless it has to wait for its `turn`. Most need not, and this costs them nothing."""
        if not self._left:
            return True
        self._left -= 1
        if not self._left:  # others are let in by the next iteration
            asyncio.get_running_loop().call_soon(self._let_in)
        return False

    async def turn(self) -> None:
        """Take a step after those who came before."""
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        await place

    def _let_in(self) -> None:
        self._left = STEPS
        while self._waiting and self._left:
            place = self._waiting.popleft()
            if not place.done():  # else its run was stopped meanwhile
                place.set_result(None)
                self.must_wait()


_QUEUES: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, FairQueue]" = weakref.WeakKeyDictionary()
"""One for each loop, whoever made it, for as long as it lives."""


def fair_queue(loop: asyncio.AbstractEventLoop) -> FairQueue:
    """The queue in which all runs of a loop wait."""
    queue = _QUEUES.get(loop)
    if queue is None:
        queue = _QUEUES[loop] = FairQueue()
    return queue
