"""A child process with a time limit and a bounded output, that ends with all that it has started.

Between us and the child stands a small process of our own (`supervise`): it ends everybody below it
when the child is done, when it is told to, and when we are gone, be it by SIGKILL.
"""

import asyncio
import contextlib
import marshal
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loom_nb.errors import NotBuiltError
from loom_nb.sandbox.capture import LiveView, Window
from loom_nb.sandbox.ladder import FILTER_AT, Sandbox
from loom_nb.sandbox.walls import Walls

DEFAULT_MAX_OUTPUT = 200_000
"""Bytes of output that are kept: the first and the last half."""
GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL."""
_PATIENCE = 8.0
"""Seconds after which the process between us and the child is taken to be lost."""
_PIECE = 1 << 16
_START = "import sys; sys.path.append({folder!r}); import supervise; supervise.main()"


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended."""

    exit_code: int
    """128 + n where signal n ended it; 127 where it could not be started."""
    output: str
    """Standard output and standard error in the order in which they came, the middle left out when long."""
    cut: int = 0
    """Bytes that were left out."""
    total: int = 0
    """Bytes that came."""
    timed_out: bool = False
    stopped: str = ""
    """Why we ended it, other than for its time; empty where it ended by itself."""
    seconds: float = 0.0
    problem: str = ""
    """Why it could not be started."""

    @property
    def signal(self) -> int | None:
        """The signal that ended it, as far as the exit code tells."""
        number = self.exit_code - 128
        return number if 0 < number < signal.NSIG else None


async def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    sandbox: Sandbox,
    walls: Walls,
    timeout: float | None = None,  # noqa: ASYNC109  the time is kept where the child is, and told in the result
    max_output: int = DEFAULT_MAX_OUTPUT,
    on_output: Callable[[str], None] | None = None,
) -> Finished:
    """Run a program to its end. Cancelling ends it and all that it has started.

    `on_output` is called from a thread, some ten times a second at most; what it raises ends the
    child and is raised here. Standard input is empty. The environment is `env` and nothing else.
    """
    child = Child(
        argv,
        cwd=cwd,
        env=env,
        sandbox=sandbox,
        walls=walls,
        timeout=timeout,
        max_output=max_output,
        on_output=on_output,
    )
    try:
        return await child.finished()
    except asyncio.CancelledError:
        await child.ended_soon("cancelled")
        raise


class Child:
    """A program that runs, in a thread of ours that reads it. It starts at once."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        sandbox: Sandbox,
        walls: Walls,
        timeout: float | None = None,
        max_output: int = DEFAULT_MAX_OUTPUT,
        on_output: Callable[[str], None] | None = None,
    ) -> None:
        if os.name != "posix":
            raise NotBuiltError(
                "commands cannot be run on this system yet",
                cause="a group of processes that surely ends is built for Linux and macOS",
            )
        self._argv, self._cwd, self._env = tuple(argv), cwd, dict(env)
        self._sandbox, self._walls = sandbox, walls
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._window = Window(max_output)
        self._live = LiveView(on_output) if on_output is not None else None
        self._lock = threading.Lock()
        self._orders, self._ordered = -1, False
        self._stopped, self._timed_out = "", False
        self._asked_at: float | None = None
        self._told, self._pid, self._problem = b"", 0, ""
        self._exit: int | None = None
        self._result: Finished | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._waiting: list[Callable[[], None]] = []
        self.started = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="loom-child", daemon=True)
        self._thread.start()

    def stop(self, reason: str = "stopped") -> None:
        """Have it ended, and all that it has started. Returns at once; from any thread; twice is fine."""
        with self._lock:
            self._stopped = self._stopped or reason
            self._end()

    async def ended_soon(self, reason: str) -> None:
        """Have it ended, and wait a moment for that: whoever cancels does not wait for long.

        Its end does not need us; it comes even when this is not waited for.
        """
        self.stop(reason)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.finished(), GRACE + 0.4)

    def output(self) -> str:
        """What it has put out so far, the middle left out when long."""
        with self._lock:
            return self._window.text()

    @property
    def result(self) -> Finished | None:
        """How it ended; None while it runs."""
        return self._result

    def wait(self, timeout: float | None = None) -> Finished:
        """Block until it has ended. Raises TimeoutError when that takes longer than `timeout` seconds."""
        if not self._done.wait(timeout):
            raise TimeoutError("it still runs")
        return self._ended()

    async def finished(self) -> Finished:
        """Wait until it has ended. Cancelling only ends the waiting."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not future.done():
                future.set_result(None)

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits
                loop.call_soon_threadsafe(settle)

        with self._lock:
            if self._done.is_set():
                settle()
            else:
                self._waiting.append(wake)
        await future
        return self._ended()

    def _ended(self) -> Finished:
        if self._result is None:
            raise self._error or RuntimeError("it still runs")
        return self._result

    def _work(self) -> None:
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001  carried over to whoever waits, whatever it is
            self._error = error
        with self._lock:
            self._done.set()
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def _run(self) -> None:
        scratch = tempfile.mkdtemp(prefix="loom-") if self._sandbox.level == "landlock" else ""
        report, report_end = os.pipe()
        output, output_end = os.pipe()
        orders_end, orders = os.pipe()
        try:
            try:
                supervisor = self._open(orders_end, output_end, report_end)
            except OSError:
                os.close(orders)
                raise
            finally:
                _close(orders_end, output_end, report_end)
            with supervisor, self._giving_orders(supervisor, orders):
                self._send(self._order(report_end, scratch))
                self._read(output, report)
        finally:
            _close(report, output)
            if scratch:
                shutil.rmtree(scratch, ignore_errors=True)
        self._result = self._summary()

    def _summary(self) -> Finished:
        code = 127 if self._exit is None else self._exit if self._exit >= 0 else 128 - self._exit
        return Finished(
            exit_code=code,
            output=self._window.text(),
            cut=self._window.cut,
            total=self._window.total,
            timed_out=self._timed_out,
            stopped=self._stopped,
            seconds=time.monotonic() - self.started,
            problem=self._problem,
        )

    @contextlib.contextmanager
    def _giving_orders(self, supervisor: "subprocess.Popen[bytes]", orders: int) -> Iterator[None]:
        """The line to the supervisor, closed at the end; if it is lost, what we know of is ended."""
        with self._lock:
            self._orders = orders
        try:
            yield
        finally:
            with self._lock:
                self._orders = -1
                os.close(orders)
            self._let_go(supervisor)

    def _open(self, orders: int, output: int, report: int) -> "subprocess.Popen[bytes]":
        start = _START.format(folder=str(Path(__file__).parent))
        return subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-I", "-S", "-c", start],
            stdin=orders,
            stdout=output,
            stderr=output,
            pass_fds=(report,),
            env=self._env,
            cwd="/",
            start_new_session=True,  # an interrupt from the keyboard is for us, not for it
        )

    def _order(self, report: int, scratch: str) -> bytes:
        sandbox, walls = self._sandbox, self._walls
        order = {
            "argv": sandbox.command(self._argv, walls),
            "cwd": str(self._cwd),
            "env": sandbox.environment(self._env, scratch),
            "report": report,
            "parent": os.getpid(),
            "grace": GRACE,
            "outer": sandbox.level == "bubblewrap",
            "rules": sandbox.rules(walls, scratch),
            "network": walls.network,
            "filter": sandbox.call_filter(walls),
            "filter_at": FILTER_AT,
            "scratch": scratch,
        }
        data = marshal.dumps(order)
        return len(data).to_bytes(4, "big") + data

    def _read(self, output: int, report: int) -> None:
        """Until the supervisor says that nobody is left, and the output is read to its end."""
        with selectors.DefaultSelector() as selector:
            for fd in (output, report):
                os.set_blocking(fd, False)
                selector.register(fd, selectors.EVENT_READ)
            over: float | None = None
            while True:
                now = time.monotonic()
                self._keep_time(now)
                if over is not None and (now >= over or output not in selector.get_map()):
                    break
                if self._asked_at is not None and now > self._asked_at + _PATIENCE:
                    break
                for key, _ in selector.select(self._next_look(now, over)):
                    if not self._take(key.fd, output):
                        selector.unregister(key.fd)
                        over = now + 0.5 if key.fd == report else over
        if self._live is not None:
            self._live.finish()

    def _take(self, fd: int, output: int) -> bool:
        """Read a piece; False at the end."""
        data = os.read(fd, _PIECE)
        if fd != output:
            self._told += data
            self._note(complete=not data)
        elif data:
            with self._lock:
                self._window.add(data)
            if self._live is not None:
                self._live.add(data, time.monotonic())
        return bool(data)

    def _note(self, *, complete: bool) -> None:
        """What the supervisor tells, line by line."""
        *lines, self._told = self._told.split(b"\n")
        for line in lines:
            word, _, rest = line.decode(errors="replace").partition(" ")
            if word == "pid":
                self._pid = int(rest)
            elif word == "exit":
                self._exit = int(rest)
            elif word == "error":
                self._problem = rest
        if complete and self._exit is None and not self._problem:
            self._problem = "the process that watches over it was lost"

    def _keep_time(self, now: float) -> None:
        if self._live is not None:
            self._live.tick(now)
        if self._deadline is not None and now >= self._deadline and self._asked_at is None:
            with self._lock:
                if not self._stopped:
                    self._timed_out = True
                self._end()

    def _next_look(self, now: float, over: float | None) -> float:
        due = self._live.due() if self._live is not None else None
        times = [time_ for time_ in (self._deadline, due, over) if time_ is not None and time_ > now]
        return min([0.25, *(time_ - now for time_ in times)])

    def _end(self) -> None:
        """With the lock held."""
        if self._asked_at is None and self._ordered:
            self._asked_at = time.monotonic()
            self._write(b"end")

    def _send(self, order: bytes) -> None:
        with self._lock:
            self._write(order)
            self._ordered = True
            if self._stopped:  # it was stopped before it had begun
                self._end()

    def _write(self, data: bytes) -> None:
        """With the lock held."""
        view = memoryview(data)
        with contextlib.suppress(BrokenPipeError):
            while view and self._orders >= 0:
                view = view[os.write(self._orders, view) :]

    def _let_go(self, supervisor: "subprocess.Popen[bytes]") -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            supervisor.wait(2.0)
            if self._exit is not None:
                return
        supervisor.kill()
        supervisor.wait()
        if self._pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
