"""Runs code in a namespace of this process: output and figures captured, a limit of time, stopped at will.

Plain code runs on a thread beside the event loop, so that a notebook goes on hearing ■ and Stop; an
exception is sent into it when it is to end, and its `time.sleep` is one that can be woken. Code that
awaits, or uses objects bound to the notebook's own thread (a database connection), runs on the loop; a
signal ends it there. A call into C ends by itself only: it is left behind, and said to be.
"""

import asyncio
import builtins
import contextlib
import contextvars
import ctypes
import getpass
import io
import linecache
import re
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Literal

from loom_nb.border import clean
from loom_nb.capabilities.describe import describe_image
from loom_nb.capabilities.python_code import Program
from loom_nb.messages import ImagePart, Origin, ResultPart, TextPart
from loom_nb.protocols import current_call
from loom_nb.sandbox.capture import LiveView, Window
from loom_nb.tools import result_parts

MOST_OUTPUT = 200_000
"""Bytes of printed output that are kept: its beginning and its end."""
MOST_PARTS = 20
"""Displays and figures that are kept."""
MOST_COLUMNS = 1_000
"""Of a table that is kept."""
MOST_CELLS = 50_000
"""Of a table that is shown: of a larger one the first rows are kept."""
_NUMBERED = re.compile(r"(figure \d+)?")
GRACE = 1.5
"""Seconds that code gets to end after it was told to."""
AGAIN = 0.5
"""Seconds between two tries to stop code that goes on."""
TICK = 0.1
ORIGIN = Origin("tool", "run_python")

Ended = Literal["done", "raised", "late", "stopped", "left"]


class CodeStopped(BaseException):
    """Raised in code that is to end now."""


class Work:
    """One run of code: what it printed and showed so far, and how it ended."""

    def __init__(
        self, program: Program, namespace: MutableMapping[str, Any], show: Callable[[str], None]
    ) -> None:
        self.program = program
        self.namespace = namespace
        self.ended: Ended | None = None
        """None while it runs."""
        self.error = ""
        self.late = False
        self.thread: threading.Thread | None = None
        self.awake = threading.Event()
        """Set when it is to end: its sleeps end at once."""
        self.over = False
        self._parts: list[ResultPart] = []
        self.products: list[tuple[Literal["figure", "table"], Any, str, int]] = []
        """Figures and tables that it showed: what, the value, a name of its own, rows of the whole table."""
        self._left_out = 0
        self._window = Window(MOST_OUTPUT)
        self._live = LiveView(show)
        self._lock = threading.Lock()
        self._known = {one.ident for one in threading.enumerate()}
        self._figures = set(_open_figures())

    # -- what it gives -----------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """What it prints."""
        data = text.encode("utf-8", "replace")
        with self._lock:
            self._window.add(data)
            self._live.add(data, time.monotonic())

    def tick(self, *, last: bool = False) -> None:
        """Show what waits to be shown."""
        with self._lock:
            self._live.finish() if last else self._live.tick(time.monotonic())

    def add(self, *parts: ResultPart) -> None:
        """What it shows."""
        for part in parts:
            if len(self._parts) < MOST_PARTS:
                self._parts.append(_of_tool(part))
                if isinstance(part, ImagePart):
                    named = "" if _NUMBERED.fullmatch(part.name) else part.name
                    self.products.append(("figure", part.data, named, 0))
            else:
                self._left_out += 1

    def shown(self, value: Any, name: str = "") -> None:
        """It shows a value: a table is kept, as it is now, beside the words that the model reads."""
        pandas = sys.modules.get("pandas")
        if pandas is None or not isinstance(value, pandas.DataFrame | pandas.Series):
            return
        if len(self.products) >= MOST_PARTS:
            return
        if value.ndim > 1 and value.shape[1] > MOST_COLUMNS:
            wide, value = value.shape[1], value.iloc[:, :MOST_COLUMNS]
            words = f"(of a table of {wide:,} columns the first {MOST_COLUMNS:,} are kept with the run)"
            self._parts.append(TextPart(words, ORIGIN))
        rows = max(1, MOST_CELLS // max(1, value.shape[1] if value.ndim > 1 else 1))
        self.products.append(
            ("table", value.iloc[:rows].copy(), name, len(value) if len(value) > rows else 0)
        )

    def parts(self) -> tuple[ResultPart, ...]:
        """All that it gave, in words and images."""
        with self._lock:
            printed = self._window.text().rstrip("\n")
        parts: list[ResultPart] = [TextPart(clean(printed), ORIGIN)] if printed else []
        parts += self._parts
        if self._left_out:
            parts.append(TextPart(f"({self._left_out:,} more displays left out)", ORIGIN))
        return tuple(parts)

    def is_ours(self) -> bool:
        """Whether the thread or task that asks is of this code: its own, or one that it started."""
        mine = _current.get()
        if mine is not None:
            return mine is self
        thread = threading.current_thread()
        return thread.ident not in self._known and not thread.name.startswith(("loom-", "asyncio_"))

    # -- running -----------------------------------------------------------------------------------

    def on_thread(self) -> None:
        """Run it here, on a thread of its own."""
        try:
            try:
                self._note(self._run_all())
            except BaseException as error:  # noqa: BLE001  whatever code raises is its result
                self._note_error(error)
            with self._lock:
                self.over = True
        except CodeStopped:  # it came between the end of the code and the line above
            self.over = True
            self.ended = self.ended or "stopped"

    async def on_loop(self) -> None:
        """Run it here, on the event loop."""
        try:
            value = eval(self.program.body, self._globals)  # noqa: S307  a person has allowed this code
            if self.program.waits and asyncio.iscoroutine(value):
                await value
            value = None
            if self.program.last is not None:
                value = eval(self.program.last, self._globals)  # noqa: S307  see above
                if self.program.last.co_flags & _COROUTINE:
                    value = await value
            self._note(value)
        except BaseException as error:  # noqa: BLE001  whatever code raises is its result
            self._note_error(error)
        self.over = True

    def _run_all(self) -> Any:
        exec(self.program.body, self._globals)  # noqa: S102  a person has allowed this code
        return None if self.program.last is None else eval(self.program.last, self._globals)  # noqa: S307

    @property
    def _globals(self) -> dict[str, Any]:
        return self.namespace  # type: ignore[return-value]  # a notebook's namespace is a dict

    def _note(self, value: Any) -> None:
        """Its value and its figures."""
        figures = self._take_figures()
        if value is not None and not any(value is figure for figure in figures):
            self.shown(value, self.program.last_name)
            self.add(*result_parts(value, ORIGIN))
        self.ended = "done"

    def _note_error(self, error: BaseException) -> None:
        if isinstance(error, CodeStopped | asyncio.CancelledError) and (self.awake.is_set() or self.late):
            self.ended = "stopped"
        else:
            self.error = told(error, self.program.filename)
            self.ended = "raised"
        with contextlib.suppress(Exception):  # the figures of failed code are a gift
            self._take_figures()

    def _take_figures(self) -> list[Any]:
        """The figures that it opened, closed as at the end of a cell."""
        figures = []
        for number in [one for one in _open_figures() if one not in self._figures]:
            pyplot = sys.modules["matplotlib.pyplot"]
            figure = pyplot.figure(number)
            image = describe_image(figure)
            if image is not None:
                label = str(figure.get_label())
                self.add(ImagePart(image.data, image.media_type, ORIGIN, clean(label) or f"figure {number}"))
            figures.append(figure)
            pyplot.close(number)
        return figures

    # -- stopping ----------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Send the exception into its thread, and wake it where it sleeps."""
        with self._lock:
            if self.over or self.thread is None or self.thread.ident is None:
                return
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self.thread.ident), ctypes.py_object(CodeStopped)
            )
        self.awake.set()

    def on_stack(self, frame: types.FrameType | None) -> bool:
        """Whether this code is what runs in a frame or below it."""
        while frame is not None:
            if frame.f_code.co_filename == self.program.filename:
                return True
            frame = frame.f_back
        return False


_COROUTINE = 0x80
_current: contextvars.ContextVar[Work | None] = contextvars.ContextVar("loom_nb_work", default=None)


class ThreadRunner:
    """Runs code with what plain Python offers; a notebook adds what it displays."""

    def __init__(self) -> None:
        self._left: list[Work] = []

    @property
    def unfinished(self) -> bool:
        """Whether code that was left behind still runs."""
        self._left = [work for work in self._left if work.thread is not None and work.thread.is_alive()]
        return bool(self._left)

    async def run(self, work: Work, seconds: float) -> None:
        """Run it to its end, for at most so many seconds; `work.ended` says how it ended.

        Raises:
            asyncio.CancelledError: the caller was cancelled; the code has ended, or was left behind.
        """
        linecache.cache[work.program.filename] = (
            len(work.program.source),
            None,
            work.program.source.splitlines(keepends=True),
            work.program.filename,
        )
        routes = _Routes.open(work, self.routed)
        try:
            if work.program.bound_to_home(work.namespace):
                await self._on_loop(work, seconds)
            else:
                await self._on_thread(work, seconds)
        finally:
            work.tick(last=True)
            if work.over:
                routes.close(work)
            else:
                work.ended = "left"
                self._left.append(work)
                threading.Thread(target=_reap, args=(work, routes), name="loom-reaper", daemon=True).start()

    @contextlib.contextmanager
    def routed(self, taker: Callable[[], Work | None]) -> Iterator[None]:
        """While the block runs, what `taker` gives a Work for is displayed into that."""
        del taker
        yield

    async def _on_thread(self, work: Work, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        context = _context_of(work)

        def run() -> None:
            context.run(work.on_thread)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_settle, ended)

        work.thread = threading.Thread(target=run, name="loom-python", daemon=True)
        work.thread.start()
        try:
            if not await _wait(work, ended, seconds):
                work.late = True
        finally:
            if not work.over:
                await _stop(work, ended, work.interrupt)
            _name_lateness(work)

    async def _on_loop(self, work: Work, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        with _guarded(work, seconds):
            task = loop.create_task(work.on_loop(), context=_context_of(work))
            try:
                if not await _wait(work, task, seconds):
                    work.late = True
            finally:
                if not work.over:
                    work.awake.set()
                    await _stop(work, task, task.cancel)
                _name_lateness(work)


def _context_of(work: Work) -> contextvars.Context:
    context = contextvars.copy_context()
    context.run(_current.set, work)
    context.run(current_call.set, None)  # the code is no tool: it may not speak for the call
    return context


def _settle(ended: "asyncio.Future[None]") -> None:
    if not ended.done():
        ended.set_result(None)


async def _wait(work: Work, ended: "asyncio.Future[None]", seconds: float) -> bool:
    """Whether it ended in time."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while not ended.done() and not work.over:
        left = end - clock()
        if left <= 0:
            return False
        await asyncio.wait({ended}, timeout=min(TICK, left))
        work.tick()
    return not work.late


async def _stop(work: Work, ended: "asyncio.Future[None]", tell: Callable[[], object]) -> None:
    """Tell it to end, again and again, for as long as it has grace."""
    clock = asyncio.get_running_loop().time
    end = clock() + GRACE
    while not work.over and clock() < end:
        tell()
        await asyncio.wait({ended}, timeout=min(AGAIN, max(end - clock(), 0.01)))


def _name_lateness(work: Work) -> None:
    if work.late and work.ended == "stopped":
        work.ended = "late"


def _reap(work: Work, routes: "_Routes") -> None:
    """Beside everything: end code that was left behind as soon as it can be, then open the way again."""
    while work.thread is not None and work.thread.is_alive():
        work.interrupt()
        _sleep_really(AGAIN)
    routes.close(work)


@contextlib.contextmanager
def _guarded(work: Work, seconds: float) -> Iterator[None]:
    """While the block runs, a signal ends code that holds the loop up: ■, or the end of its time."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_kill"):
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    main = threading.get_ident()

    def pressed(number: int, frame: types.FrameType | None) -> None:
        ours = work.late and not work.over
        if not ours and callable(before) and before is not signal.default_int_handler:
            before(number, frame)
        if work.on_stack(frame):
            work.awake.set()
            raise CodeStopped
        if not ours and before is signal.default_int_handler:
            raise KeyboardInterrupt

    def too_late() -> None:
        work.late = True
        while not work.over:
            signal.pthread_kill(main, signal.SIGINT)
            _sleep_really(AGAIN)

    timer = threading.Timer(seconds + 0.2, too_late)
    timer.daemon = True
    signal.signal(signal.SIGINT, pressed)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if signal.getsignal(signal.SIGINT) is pressed:
            signal.signal(signal.SIGINT, before)


# -- what the process shares ---------------------------------------------------------------------------

_sleep_really = time.sleep


class _Routes:
    """The streams, `input` and `time.sleep` of the process, for as long as code of the agent runs.

    Each use is looked at: what comes from the code goes to its Work, all else where it went before.
    """

    _open: "_Routes | None" = None
    _opening = threading.Lock()

    def __init__(self) -> None:
        self._works: list[Work] = []
        self._undo = contextlib.ExitStack()

    @classmethod
    def open(cls, work: Work, also: Callable[[Callable[[], Work | None]], Any]) -> "_Routes":
        """The routes of the process; the first that comes puts them up."""
        with cls._opening:
            routes = cls._open
            if routes is None:
                routes = cls._open = cls()
                routes._put_up(also)
            routes._works.append(work)
            routes._swap_sleep(work, _sleep_really, _sleep)
            return routes

    def close(self, work: Work) -> None:
        """The code is over; the last that goes takes the routes down."""
        with self._opening:
            self._swap_sleep(work, _sleep, _sleep_really)
            self._works.remove(work)
            if not self._works:
                type(self)._open = None
                self._undo.close()

    def work(self) -> Work | None:
        """Of whose code the thread or task that asks is."""
        return next((work for work in reversed(self._works) if work.is_ours()), None)

    def _put_up(self, also: Callable[[Callable[[], Work | None]], Any]) -> None:
        put = self._undo.callback
        for name in ("stdout", "stderr"):
            original = getattr(sys, name)
            stream = _Stream(original, self.work)
            setattr(sys, name, stream)
            put(_put_back, sys, name, stream, original)
        for owner, name in ((builtins, "input"), (getpass, "getpass")):
            original = getattr(owner, name)
            asked = _refusing(original, self.work)
            setattr(owner, name, asked)
            put(_put_back, owner, name, asked, original)
        time.sleep = _sleep
        put(_put_back, time, "sleep", _sleep, _sleep_really)
        self._undo.enter_context(also(self.work))

    @staticmethod
    def _swap_sleep(work: Work, one: Any, other: Any) -> None:
        """Names of the notebook that are `time.sleep` itself."""
        for name, value in list(work.namespace.items()):
            if value is one:
                work.namespace[name] = other


def _put_back(owner: Any, name: str, ours: Any, original: Any) -> None:
    if getattr(owner, name) is ours:
        setattr(owner, name, original)


def _sleep(seconds: Any, /) -> None:
    """`time.sleep`, which ends at once in code of the agent that is to be stopped."""
    work = _current.get()
    plain = type(seconds) in (int, float) and 0 <= seconds < threading.TIMEOUT_MAX
    if work is None or not plain or threading.current_thread() is not work.thread or seconds < TICK:
        _sleep_really(seconds)
    else:
        work.awake.wait(seconds)


def _refusing(original: Any, taker: Callable[[], Work | None]) -> Any:
    def ask(*args: Any, **kwargs: Any) -> Any:
        if taker() is None:
            return original(*args, **kwargs)
        raise EOFError("input is not possible in run_python: nobody is asked while the code runs")

    return ask


class _Stream(io.TextIOBase):
    """Stands for `sys.stdout` or `sys.stderr`: what the code writes goes to its Work."""

    def __init__(self, original: Any, taker: Callable[[], Work | None]) -> None:
        super().__init__()
        self._original = original
        self._taker = taker

    def write(self, text: str) -> int:
        """Where the text belongs."""
        work = self._taker()
        if work is None:
            return int(self._original.write(text) or 0)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        work.write(text)
        return len(text)

    def flush(self) -> None:
        """Of the real stream, except for the code itself."""
        if self._taker() is None:
            self._original.flush()

    def writable(self) -> bool:
        """Always."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __del__(self) -> None:
        """Nothing is closed: the real stream is not ours."""


# -- values and errors ---------------------------------------------------------------------------------


def _open_figures() -> list[int]:
    pyplot = sys.modules.get("matplotlib.pyplot")
    return list(pyplot.get_fignums()) if hasattr(pyplot, "get_fignums") else []  # type: ignore[union-attr]  # asked


def _of_tool(part: ResultPart) -> ResultPart:
    """The part with the origin of a result: code cannot say that the user wrote it."""
    if isinstance(part, TextPart):
        return TextPart(part.text, ORIGIN)
    if isinstance(part, ImagePart):
        return ImagePart(part.data, part.media_type, ORIGIN, part.name)
    return type(part)(part.data, part.media_type, part.name, ORIGIN)


def told(error: BaseException, filename: str) -> str:
    """An exception with the lines of the code that led to it, without the frames around them."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((n for n, frame in enumerate(frames) if frame.filename == filename), len(frames))
    lines = []
    for n, frame in enumerate(frames[first:]):
        mine = frame.filename.startswith("<") or "ipykernel_" in frame.filename
        if mine or n == len(frames) - first - 1:
            where = f"line {frame.lineno}" if mine else f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
            lines.append(f"  {where} in {frame.name}: {(frame.line or '').strip()[:160]}")
    try:
        words = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  the border to the code: its error may fail to describe itself
        words = type(error).__name__
    return clean("\n".join([words[:4_000], *lines[-12:]]))
