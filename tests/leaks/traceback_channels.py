"""Channels of errors: what is shown, kept or walked through after one, with all locals."""

import asyncio
import code
import contextlib
import faulthandler
import io
import os
import signal
import subprocess
import sys
import threading
import traceback
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.traceback import Traceback

from loom_nb.credentials import secrets
from loom_nb.credentials.broker import Broker
from loom_nb.credentials.broker.client import default_broker  # noqa: F401  loaded, for frames that show modules
from loom_nb.credentials.master_key import KeyFile
from loom_nb.credentials.policies import Binding
from loom_nb.credentials.store import SqliteSecretStore
from loom_nb.credentials.uses import Use
from tests.leaks.canaries import SEED, Canary, Fields
from tests.leaks.matrix import Seen, channel
from tests.leaks.world import World, keep

REPOSITORY = Path(__file__).resolve().parents[2]


def caught(act: Callable[[], object]) -> BaseException | None:
    """What an act raises."""
    try:
        act()
    except BaseException as error:
        return error
    return None


def wrong(one: Canary) -> Iterator[Fields]:
    """Fields that are refused, each with a value in it that nobody may see."""
    for name, value in one.fields.items():
        others = {other: text for other, text in one.fields.items() if other != name}
        yield Fields({**others, name: f"{value}\n\x01\n{value}"})
        yield Fields({**others, name: f"{value}\0"})
        yield Fields({**others, name: [value]})  # type: ignore[dict-item]  that is what is wrong with it
    yield Fields({**one.fields, next(iter(one.fields)): one.value * 1_500})
    yield Fields({**one.fields, one.value: one.value})
    yield Fields(
        {
            **one.fields,
            "algorithm": one.value,
            "token_url": f"https://ada:{one.value}@host/",
            "nope": one.value,
        }
    )
    for field in ("algorithm", "token_url", "ttl_seconds", "expires_at", "key_pem", "username"):
        if field in secrets.FIELDS[one.type].required + secrets.FIELDS[one.type].optional:  # type: ignore[index]
            yield Fields({**one.fields, field: f"{one.value}:{one.value}"})
            yield Fields({**one.fields, field: f"https://{one.value}@{one.value}/"})


class Typed(str):
    """A value where a word should be: the frames of whoever gave it are no matter of ours, the words are."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<typed>"


def failures(world: World) -> Iterator[BaseException]:
    """Every kind of error that comes of handling a secret."""
    for one in world.canaries:
        yield from filter(None, [caught(lambda one=one: world.broker.put("a", Typed(one.value), one.fields))])
        for fields in wrong(one):
            yield from filter(
                None,
                [caught(lambda one=one, fields=fields: world.broker.put(f"w.{one.type}", one.type, fields))],
            )
            yield from filter(
                None, [caught(lambda one=one, fields=fields: world.broker.rotate(one.scope, fields))]
            )
            yield from filter(None, [caught(lambda one=one, fields=fields: secrets.secret(one.type, fields))])
        # it is there already; its name is none; it is bound to nowhere
        yield from filter(None, [caught(lambda one=one: world.broker.put(one.scope, one.type, one.fields))])
        yield from filter(None, [caught(lambda one=one: world.broker.put("\ud800", one.type, one.fields))])
        yield from filter(None, [caught(lambda one=one: world.broker.put("", one.type, one.fields))])
        yield from filter(
            None, [caught(lambda one=one: world.broker.put("a", one.type, one.fields, note=b""))]
        )  # type: ignore[arg-type]
        yield from filter(None, [caught(lambda one=one: world.broker.rotate("nothing", one.fields))])


def without_ours(error: BaseException) -> BaseException:
    """The error with the frames of loom_nb and below; those of this file hold what the caller holds."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return error.with_traceback(trace)


def one_of_each_place(errors: Iterable[BaseException]) -> Iterable[BaseException]:
    """For what takes its time over each error: one of each way through the code, for each kind of value."""
    places: dict[object, BaseException] = {}
    for error in errors:
        way = tuple((frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__))
        places.setdefault((way, str(error)[:30]), error)
    return places.values()


def plain_words(error: BaseException, marker: str) -> str:
    """Everything that tells of an error: words, chain, locals, attributes."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True, limit=-50)
    chain = [error.__cause__, error.__context__]
    return "\n".join(
        [
            marker,
            *told.format(chain=True),
            repr(error),
            str(error),
            repr(error.args),
            repr(vars(error)),
            repr(chain),
        ]
    )


@channel("traceback", "put with wrong values")
def _(world: World) -> Seen:
    marker, lines = world.marker(), []
    for one in world.canaries:
        for number, fields in enumerate(wrong(one)):
            scope = f"{one.type}.{number}"
            error = caught(
                lambda one=one, fields=fields, scope=scope: world.broker.put(scope, one.type, fields)
            )
            if error is None:
                world.broker.revoke(scope)
            else:
                lines.append(plain_words(error, marker))
    assert len(lines) > 40
    return Seen({"errors": lines}, marker)


@channel("traceback", "rotate with wrong values")
def _(world: World) -> Seen:
    marker, lines = world.marker(), []
    for one in world.canaries:
        for fields in wrong(one):
            error = caught(lambda one=one, fields=fields: world.broker.rotate(one.scope, fields))
            if error is not None:
                lines.append(plain_words(error, marker))
    assert len(lines) > 40
    return Seen({"errors": lines}, marker)


@channel("traceback", "errors of locked, damaged, denied and missing secrets", slow=True)
def _(world: World) -> Seen:
    import sqlite3

    marker, lines, folder = world.marker(), [], world.tmp
    locked = Broker(folder / "locked", apart=True)
    locked.unlock("correct horse battery")
    keep(locked, world.canaries)
    locked.lock()
    damaged = Broker(folder / "damaged", master="file", apart=True)
    keep(damaged, world.canaries)
    damaged.stop()
    with sqlite3.connect(folder / "damaged" / "secrets.db") as db:
        db.execute("UPDATE secrets SET box = CAST(substr(box, 1, length(box) - 1) || x'00' AS BLOB)")
    db.close()
    for one in world.canaries:
        use = Use(
            scope=one.scope, who=f"tool:{marker}", scheme="https", host="evil.example", method="GET", path="/"
        )
        for act in (
            lambda one=one: locked.rotate(one.scope, one.fields),
            lambda one=one: locked.put("another", one.type, one.fields),
            lambda one=one: locked.unlock(one.value),
            lambda one=one: world.broker.unlock(one.value),
            lambda one=one: damaged.rotate(one.scope, one.fields),
            lambda one=one: damaged.rekey(),
            lambda one=one: world.broker.facts(marker),
            lambda use=use: asyncio.run(world.broker.ruling(use)),
        ):
            error = caught(act)
            lines += [plain_words(error, marker)] if error else []
    lines.append(f"{damaged.damaged()}")
    locked.stop()
    damaged.stop()
    return Seen({"errors": lines}, marker)


@channel("traceback", "plain traceback with its chain")
def _(world: World) -> Seen:
    marker, lines = world.marker(), []
    for error in failures(world):
        try:
            try:
                raise error
            except BaseException as first:
                raise RuntimeError(marker) from first
        except RuntimeError:
            lines += traceback.format_exception(sys.exception())
    return Seen({"printed": sorted(set(lines))}, marker)


@channel("traceback", "rich traceback with locals", slow=True)
def _(world: World) -> Seen:
    marker, screen = world.marker(), io.StringIO()
    console = Console(file=screen, width=300)
    for error in one_of_each_place(failures(world)):
        try:
            here = marker  # noqa: F841  it is to be seen among the locals
            raise without_ours(error)
        except BaseException as raised:
            shown = Traceback.from_exception(
                type(raised), raised, raised.__traceback__, show_locals=True, locals_max_length=None,
                locals_max_string=None, max_frames=200, suppress=(),
            )  # fmt: skip
            console.print(shown)
    return Seen({"screen": screen.getvalue()}, marker)


@channel("traceback", "captured locals of a traceback")
def _(world: World) -> Seen:
    marker, lines = world.marker(), []
    for error in failures(world):
        told = traceback.TracebackException.from_exception(without_ours(error), capture_locals=True)
        lines += [marker, *told.format(), *(repr(frame.locals) for frame in told.stack)]
    return Seen({"captured": sorted(set(lines))}, marker)


@channel("traceback", "verbose traceback of IPython", slow=True)
def _(world: World) -> Seen:
    from IPython.core.ultratb import VerboseTB

    marker, lines = world.marker(), []
    shown = VerboseTB(theme_name="nocolor", include_vars=True)
    for error in one_of_each_place(failures(world)):
        try:
            here = marker
            raise without_ours(error) or RuntimeError(here)
        except BaseException as raised:
            lines.append(shown.text(type(raised), raised, raised.__traceback__))
    return Seen({"shown": lines}, marker)


def walked(frame: types.FrameType) -> Iterator[str]:
    """What a debugger shows of a frame: its locals, and what they hold in turn."""
    for name, value in frame.f_locals.items():
        yield f"{name} = {value!r}"
        if isinstance(value, Mapping | list | tuple | set):
            yield repr(value)
        elif hasattr(value, "__dict__"):
            yield repr(vars(value))


def _frame_with(here: str) -> types.FrameType:
    """A frame in which the control stands."""
    assert here
    return sys._getframe()


@channel("traceback", "frames a debugger walks")
def _(world: World) -> Seen:
    marker, lines = world.marker(), []
    for error in failures(world):
        for one in (error, error.__cause__, error.__context__):
            trace = without_ours(one).__traceback__ if one is not None else None
            lines += [text for frame, _ in traceback.walk_tb(trace) for text in walked(frame)]
    lines += walked(_frame_with(marker))
    return Seen({"walked": sorted(set(lines))}, marker)


@channel("traceback", "last error of the interpreter")
def _(world: World) -> Seen:
    marker, lines = world.marker(), []
    space = {"broker": world.broker, "keep": keep, "some": world.canaries, "marker": marker}
    interpreter, screen = code.InteractiveInterpreter(space), io.StringIO()
    with contextlib.redirect_stderr(screen):
        for source in (
            "keep(broker, some)",
            "broker.rotate(marker, some[0].fields)",
            "broker.unlock(some[0].value)",
        ):
            interpreter.runcode(compile(source, "<cell>", "exec"))
            lines.append(plain_words(sys.last_value, marker))
            lines += [repr((sys.last_type, sys.last_value, sys.last_traceback))]
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        if hasattr(sys, name):
            delattr(sys, name)
    return Seen({"last": lines, "screen": screen.getvalue()}, marker)


@channel("traceback", "faulthandler")
def _(world: World) -> Seen:
    path, value = world.tmp / "fault", world.canary("password").value

    def control_of_this_channel(_value: str) -> None:
        with path.open("w") as file:
            faulthandler.dump_traceback(file, all_threads=True)

    control_of_this_channel(value)
    return Seen({"dumped": path}, "control_of_this_channel")


TEST = """
from loom_nb.credentials.secrets import secret
from tests.leaks.canaries import canaries

SOME = canaries()

def test_two_secrets_are_one():
    made = [secret(one.type, one.fields) for one in SOME]
    marker = "{marker}"
    assert made == list(reversed(made)), marker

def test_one_is_another():
    first, second, *_ = [secret(one.type, one.fields) for one in SOME]
    assert first == second

def test_put_fails(tmp_path):
    from loom_nb.credentials.broker import Broker
    broker = Broker(tmp_path / "kept", master="file")
    for _ in range(2):
        for one in SOME:
            broker.put(one.scope, one.type, one.fields)
"""


def in_tests(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run Python in a process of its own that knows the same canaries."""
    env = {**os.environ, "LOOM_LEAK_SEED": SEED, "PYTHONPATH": str(REPOSITORY), **environment}
    env.pop("PYTEST_CURRENT_TEST", None)
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=env, capture_output=True, timeout=120, check=False
    )


@channel("traceback", "pytest assertion with locals", slow=True)
def _(world: World) -> Seen:
    marker, folder = world.marker(), world.tmp
    (folder / "test_it.py").write_text(TEST.replace("{marker}", marker))
    words = (
        "-m",
        "pytest",
        "-vv",
        "--showlocals",
        "--tb=long",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        ".",
    )
    done = in_tests(*words, cwd=folder, LOOM_NB_HOME=str(folder / "home"))
    assert b"3 failed" in done.stdout, done.stdout[-2000:]
    return Seen({"printed": done.stdout + done.stderr}, marker)


@channel("traceback", "warnings", slow=True)
def _(world: World) -> Seen:
    import gc
    import tracemalloc

    marker, folder = world.marker(), world.tmp
    tracemalloc.start(20)
    try:
        with warnings.catch_warnings(record=True) as caught_here:
            warnings.simplefilter("always")
            warnings.warn(marker, stacklevel=1)
            broker = Broker(folder / "kept", master="file", apart=True)
            keep(broker, world.canaries)
            store = SqliteSecretStore(folder / "store.db", KeyFile(folder / "master.key"))
            for one in world.canaries:
                store.put(one.scope, secrets.secret(one.type, one.fields), binding=Binding())
            broker.list()
            broker.stop()
            del store, broker
            gc.collect()
    finally:
        tracemalloc.stop()
    told = [warnings.formatwarning(w.message, w.category, w.filename, w.lineno, w.line) for w in caught_here]
    return Seen({"told": told, "raw": [repr(vars(w)) for w in caught_here]}, marker)


@channel("traceback", "a broker that dies in the middle", slow=True)
def _(world: World) -> Seen:
    marker, lines, folder = world.marker(), [], world.tmp
    for one in world.canaries:
        broker = Broker(folder / one.type, master="file", apart=True)
        broker.list()
        pid = broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # it takes the line and never answers
        errors: list[BaseException | None] = []
        thread = threading.Thread(
            target=lambda one=one, broker=broker, errors=errors: errors.append(
                caught(lambda: broker.put(one.scope, one.type, one.fields))
            )
        )
        thread.start()
        while not any(frame.f_code.co_name == "receive" for frame in _frames(thread)):
            pass
        os.kill(pid, signal.SIGKILL)
        thread.join()
        (error,) = errors
        assert error is not None
        lines.append(plain_words(error, marker))
        broker.stop()
    return Seen({"errors": lines, "left": folder}, marker)


def _frames(thread: threading.Thread) -> Iterator[types.FrameType]:
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        yield frame
        frame = frame.f_back
