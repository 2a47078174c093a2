"""Synchronous functions beside the event loop, each in a daemon thread that a stop can interrupt.

What such a function has started outside Python (a child process of `subprocess.run`) is its own to end:
an async tool with `asyncio.create_subprocess_exec` is told of a stop and can do so.
"""

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import Callable
from typing import Any


class _Interrupted(BaseException):
    """Raised inside a worker thread whose result nobody waits for any more."""


async def in_thread(function: Callable[..., Any], /, **arguments: Any) -> Any:
    """Call a function in a thread of its own, with the context variables of the caller.

    Cancelling interrupts the function at its next Python instruction; a call that blocks in C ends
    when it returns, and its result is dropped. The thread is a daemon: it never holds up the exit.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()
    ended = threading.Event()

    def work() -> None:
        try:
            call()
        except _Interrupted:
            return

    def call() -> None:
        try:
            value = context.run(function, **arguments)
        except _Interrupted:
            raise
        except BaseException as error:  # noqa: BLE001  carried over to the waiting task, whatever it is
            ended.set()
            _hand_over(loop, future, None, error)
        else:
            ended.set()
            _hand_over(loop, future, value, None)

    thread = threading.Thread(
        target=work, name=f"loom-tool-{getattr(function, '__name__', 'function')}", daemon=True
    )
    thread.start()
    try:
        return await future
    except asyncio.CancelledError:
        if not ended.is_set():
            _interrupt(thread)
        raise


def _hand_over(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], value: Any, error: BaseException | None
) -> None:
    def settle() -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(value)
        elif isinstance(error, StopIteration | KeyboardInterrupt | SystemExit):
            future.set_exception(RuntimeError(f"the function raised {type(error).__name__}"))
        else:
            future.set_exception(error)

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)


def _interrupt(thread: threading.Thread) -> None:
    if thread.is_alive() and thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(_Interrupted)
        )
