"""The time of the machine we run on."""

import asyncio
import time


class SystemClock:
    """The system's own clock."""

    __slots__ = ()

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)


SYSTEM_CLOCK = SystemClock()
"""It has no state: one serves all."""
