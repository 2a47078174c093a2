"""The time limits of the tools of an event loop, watched by one timer for all of them.

A timer for each call costs more than the rest of the call; nearly all of them are never needed.
"""

import asyncio
import contextvars
import math
import weakref
from operator import itemgetter


class Deadlines:
    """When each of some tasks is to be cancelled. Of the running loop, which it does not keep alive."""

    __slots__ = ("__weakref__", "_armed", "_due")

    def __init__(self) -> None:
        self._due: dict[tuple[object, asyncio.Task[object]], float] = {}
        """By run and task: a tool may await another run in its own task."""
        self._armed = math.inf
        """When the timer that counts goes off. One that was set for later finds that it does not."""

    def set(self, run: object, task: "asyncio.Task[object]", seconds: float) -> None:
        """Cancel the task, as a run asks, after so many seconds, unless it is cleared before."""
        loop = task.get_loop()
        due = loop.time() + seconds
        self._due[run, task] = due
        if due < self._armed:
            self._arm(loop, due)

    def clear(self, run: object, task: "asyncio.Task[object]") -> bool:
        """Take the limit back; tells whether it had passed, so that the cancellation was ours."""
        return not self._due or self._due.pop((run, task), None) is None

    def _arm(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._armed = due
        # of the call that arms it, a timer would keep all that its context holds
        loop.call_at(due, self._check, loop, due, context=contextvars.Context())

    def _check(self, loop: asyncio.AbstractEventLoop, armed: float) -> None:
        if armed != self._armed:
            return
        self._armed = math.inf
        now = loop.time()
        for due, run, task in sorted(((due, *key) for key, due in self._due.items()), key=itemgetter(0)):
            if due > now:
                break
            del self._due[run, task]
            task.cancel()
        if self._due:
            self._arm(loop, min(self._due.values()))


_DEADLINES: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Deadlines]" = weakref.WeakKeyDictionary()
"""One for each loop, whoever made it, for as long as it lives."""


def deadlines_of(loop: asyncio.AbstractEventLoop) -> Deadlines:
    """Those of all sessions of a loop."""
    known = _DEADLINES.get(loop)
    if known is None:
        known = _DEADLINES[loop] = Deadlines()
    return known
