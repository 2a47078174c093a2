"""A turnstile: the runs of one session pass it one at a time, in the order in which they came.

It stands before the steps of all sessions, see `FairQueue`: who passes it takes one of them.
"""

import asyncio
from collections import deque

from loom_nb.runtime.fairness import FairQueue


class Turnstile:
    """Like a lock that need not be awaited where nobody is inside, which is so nearly always.

    Args:
        fair: where the runs of all sessions wait.
    """

    __slots__ = ("_fair", "_taken", "_waiting")

    def __init__(self, fair: FairQueue) -> None:
        self._fair = fair
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] | None = None
        """Made for the first who has to wait."""

    def must_wait(self) -> bool:
        """Pass, unless one has to wait for one's `turn`."""
        if self._taken or self._fair.must_wait():
            return True
        self._taken = True
        return False

    async def turn(self) -> None:
        """Pass after those who came before."""
        if self._taken:
            await self._place()
        self._taken = True
        try:
            if self._fair.must_wait():
                await self._fair.turn()
        except asyncio.CancelledError:
            self.leave()
            raise

    async def _place(self) -> None:
        """Wait until the one before leaves."""
        if self._waiting is None:
            self._waiting = deque()
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it was let in, and does not come any more
                self.leave()
            raise

    def leave(self) -> None:
        """Let the next one in."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():  # else it was stopped meanwhile
                place.set_result(None)
                return
        self._taken = False

    async def __aenter__(self) -> None:
        if self.must_wait():
            await self.turn()

    async def __aexit__(self, *_: object) -> None:
        self.leave()
