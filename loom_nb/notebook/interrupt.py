"""The interrupt button (SIGINT) as a call on the event loop, at once, while a cell waits.

The kernel's own way notices an interrupt of a waiting cell only when the loop happens to wake, and
once. A signal's Python code runs on the main thread between two instructions, so it does the one
thing that is safe there: it hands the callback to the loop.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def sigint_calls(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> Iterator[bool]:
    """While the block runs, each SIGINT calls `callback` on `loop`; afterwards all is as before.

    Yields:
        whether it is in force: not off the main thread, and not where there are no signals (a
        kernel in the browser). There the caller is cancelled in the kernel's own way instead.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGINT"):
        yield False
        return

    def tell_the_loop(_number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(callback)

    try:
        before = signal.signal(signal.SIGINT, tell_the_loop)
    except (ValueError, OSError, RuntimeError):  # not the main interpreter, or no signals here
        yield False
        return
    try:
        yield True
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)
