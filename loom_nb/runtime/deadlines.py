"""The time limits of the tools of a session, watched by one timer for all of them.

A timer for each call costs more than the rest of the call; nearly all of them are never needed.
"""

import asyncio
import contextvars


class Deadlines:
    """When each of some tasks is to be cancelled."""

    __slots__ = ("_armed", "_due", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[asyncio.Task[object], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0.0

    def set(self, task: "asyncio.Task[object]", seconds: float) -> None:
        """Cancel the task after so many seconds, unless it is cleared before."""
        due = self._loop.time() + seconds
        self._due[task] = due
        if self._timer is None or due < self._armed:
            self._arm(due)

    def clear(self, task: "asyncio.Task[object]") -> bool:
        """Take the limit back; tells whether it had passed, so that the cancellation was ours."""
        return self._due.pop(task, None) is None

    def close(self) -> None:
        """Watch nothing any more."""
        if self._timer is not None:
            self._due.clear()
            self._timer.cancel()
            self._timer = None

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = due
        # of the call that arms it, a timer would keep all that its context holds, long after it was cancelled
        self._timer = self._loop.call_at(due, self._check, context=contextvars.Context())

    def _check(self) -> None:
        self._timer = None
        now = self._loop.time()
        for task, due in list(self._due.items()):
            if due <= now:
                del self._due[task]
                task.cancel()
        if self._due:
            self._arm(min(self._due.values()))
