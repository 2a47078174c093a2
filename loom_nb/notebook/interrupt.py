"""The interrupt button (SIGINT) as a call on the event loop, at once, while a cell waits.

The kernel's own way notices an interrupt of a waiting cell only when the loop happens to wake, and
once. A signal's Python code runs on the main thread between two instructions, so it does the one
thing that is safe there: it hands the callback to the loop. Where code of the reader holds the loop
up, that code is broken off.
"""

import _thread
import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from loom_nb.errors import RunStopped

PATIENCE = 0.4
"""Seconds after which a loop that has not heard of a press is held up."""


def nothing_breaks(_frame: FrameType) -> bool:
    """No code is broken off."""
    return False


@contextlib.contextmanager
def sigint_calls(
    loop: asyncio.AbstractEventLoop,
    callback: Callable[[], None],
    breaks: Callable[[FrameType], bool] = nothing_breaks,
) -> Iterator[bool]:
    """While the block runs, each SIGINT calls `callback` on `loop`; afterwards all is as before.

    Args:
        loop: runs on this thread.
        callback: one press.
        breaks: whether the code in this frame, which has held up the loop since the press, is to be
            broken off: RunStopped is raised in it then, so that the loop hears of the press.

    Yields:
        whether it is in force: not off the main thread, and not where there are no signals (a
        kernel in the browser). There the caller is cancelled in the kernel's own way instead.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGINT"):
        yield False
        return
    presses = _Presses(loop, callback, breaks)
    try:
        before = signal.signal(signal.SIGINT, presses.press)
    except (ValueError, OSError, RuntimeError):  # not the main interpreter, or no signals here
        yield False
        return
    try:
        yield True
    finally:
        presses.end()
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)


class _Presses:
    """Presses on their way to the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        callback: Callable[[], None],
        breaks: Callable[[FrameType], bool],
    ) -> None:
        self._loop = loop
        self._callback = callback
        self._breaks = breaks
        self._unheard = 0
        self._watched = False
        self._nudged = False
        """The next signal is our own, to see what the main thread is at."""
        self._ended = False
        self._ending = threading.Lock()

    def press(self, _number: int, frame: FrameType | None) -> None:
        """The signal, on the main thread, wherever it was."""
        if self._nudged:
            self._nudged = False
            if self._unheard and frame is not None and self._breaks(frame):
                raise RunStopped("this was broken off", reason="interrupted by you")
            return
        self._unheard += 1
        self._loop.call_soon_threadsafe(self._heard)
        if not self._watched:
            self._watched = True
            # not threading.Thread: its start takes a lock that the code under this signal may hold
            _thread.start_new_thread(self._watch, ())

    def end(self) -> None:
        """No signal of ours comes any more."""
        with self._ending:
            self._ended = True

    def _heard(self) -> None:
        self._unheard -= 1
        self._callback()

    def _watch(self) -> None:
        """Beside the loop: as long as it does not hear, look again at what holds it up."""
        while True:
            time.sleep(PATIENCE)
            with self._ending:
                if self._ended or not self._unheard:
                    self._watched = False
                    return
                self._nudged = True
                _signal_main_thread()


def _signal_main_thread() -> None:
    kill: Any = getattr(signal, "pthread_kill", None)
    ident = threading.main_thread().ident
    if kill is not None and ident is not None:
        kill(ident, signal.SIGINT)  # to that very thread, so that a sleep in it ends
    else:
        signal.raise_signal(signal.SIGINT)
