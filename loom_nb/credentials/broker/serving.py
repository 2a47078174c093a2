"""How the desk is kept open: in a process of its own, or in a thread where there can be none."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Sequence

import msgspec

from loom_nb.credentials.broker import frames
from loom_nb.credentials.broker.desk import Desk, failure, log
from loom_nb.credentials.broker.operations import Hello
from loom_nb.redaction.log_filter import RedactingFilter


def main(number: int, closed: Sequence[str]) -> None:
    """Serve until the control line ends: then the kernel is gone.

    Args:
        number: the file descriptor of the control line.
        closed: how this process is closed to others, for the log.
    """
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    log.setLevel(logging.INFO)
    log.info("started; %s", ", ".join(closed) or "open to other processes of this user")
    code = 0
    try:
        control = socket.socket(fileno=number)
        control.set_inheritable(False)
        kind, payload = frames.receive(control)
        if kind == frames.JSON:
            asyncio.run(_serve(control, msgspec.json.decode(payload, type=Hello)))
    except ConnectionError:
        pass  # the kernel was gone before it began
    except BaseException as error:  # noqa: BLE001  the border: its words may hold a value
        log.error("ended by %s", failure(error))
        code = 1
    os._exit(code)


async def _serve(control: socket.socket, hello: Hello) -> None:
    loop, desk, gone = asyncio.get_running_loop(), Desk(hello), asyncio.Event()
    control.setblocking(False)

    def redacted(text: str) -> str:
        return desk.used.redactor.text(text)

    for handler in logging.getLogger().handlers:  # what a library warns of may quote what it was given
        handler.addFilter(RedactingFilter(redacted))

    def take() -> None:
        try:
            data, numbers, _, _ = socket.recv_fds(control, 1, 1)
        except BlockingIOError:
            return
        except OSError:
            data, numbers = b"", []
        for number in numbers:
            desk.follow(socket.socket(fileno=number))
        if not data:
            loop.remove_reader(control)
            gone.set()

    loop.add_reader(control, take)
    await gone.wait()
    await desk.hang_up()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.to_thread(desk.close), 1.0)
    log.info("ended")
    os._exit(0)  # a thread that waits for a keychain waits for nobody any more


class InThread:
    """The desk in a thread of this process: the same lines, without the walls between."""

    def __init__(self, hello: Hello) -> None:
        self._hello = hello
        self._loop = asyncio.new_event_loop()
        self._desk = Desk(hello)
        self._thread = threading.Thread(target=self._run, name="loom-secrets", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it takes lines."""
        return self._thread.is_alive()

    def hand_over(self, line: socket.socket) -> None:
        """Serve a copy of this line, which the caller closes. Raises `ConnectionError` where it has ended."""
        copy = line.dup()
        try:
            self._loop.call_soon_threadsafe(self._desk.follow, copy)
        except RuntimeError:
            copy.close()
            raise ConnectionError("it has ended") from None

    def stop(self) -> None:
        """End it. May be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(_tidied())
            self._loop.run_until_complete(self._desk.hang_up())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._desk.close()
            self._loop.close()


async def _tidied() -> None:
    """End what is still under way, and let each connection be closed to its end."""
    for _ in range(3):
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)
