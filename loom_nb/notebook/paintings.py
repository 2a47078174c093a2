"""What the live cells of a kernel show now, for a page that was loaded anew while they run.

Such a page has not seen what was shown before it came, and nobody tells it which cell a message is
for. A painting is all of one cell in one piece; our lab extension puts it up and goes on from there.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

RECENT = 60.0
"""Seconds for which a cell that has ended is told: it may have ended while the page was being loaded."""

Painting = dict[str, Any]
"""The cell, the request it answers, its number, whether it still holds the kernel, and its outputs."""


class Painted(Protocol):
    """The outputs of one cell that is being painted."""

    def listening(self) -> AbstractContextManager[None]:
        """Remember, while the block runs, what others send to this cell."""
        ...

    def painting(self) -> Painting | None:
        """All that it shows now; None where the front end has not told its cell."""
        ...


class Paintings:
    """The live cells of one kernel, and those that ended a moment ago.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._live: list[Painted] = []
        self._ended: list[tuple[float, Painting]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.contextmanager
    def shown(self, outlet: Painted) -> Iterator[None]:
        """The cell of this outlet is live while the block runs."""
        self._loop = asyncio.get_running_loop()
        self._live.append(outlet)
        try:
            with outlet.listening():
                yield
        finally:
            self._live.remove(outlet)
            painting = outlet.painting()
            if painting is not None:
                self._forget(painting["cell"])
                self._ended.append((self._clock(), {**painting, "busy": False, "ended": True}))

    def now(self) -> list[Painting]:
        """Each cell that is live, and each that has just ended and was not begun anew."""
        live = [painting for outlet in self._live if (painting := outlet.painting()) is not None]
        for painting in live:
            self._forget(painting["cell"])
        self._forget("")
        return [*(painting for _, painting in self._ended), *live]

    def tell(self, send: Callable[[list[Painting]], None]) -> None:
        """Hand them over on the thread that paints, so that what is painted later is sent later."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: send(self.now()))

    def _forget(self, cell: str) -> None:
        """What this cell showed before, and whatever ended too long ago."""
        oldest = self._clock() - RECENT
        self._ended = [one for one in self._ended if one[0] >= oldest and one[1]["cell"] != cell]
