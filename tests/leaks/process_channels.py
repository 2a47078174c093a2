"""Channels of processes: what one sees of another, and what a thief in the kernel finds."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loom_nb.credentials.broker import Broker
from tests.leaks.matrix import Seen, channel
from tests.leaks.traceback_channels import in_tests
from tests.leaks.world import World, keep

LINUX = (pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),)
MOST_READ = 2**28


def of_process(pid: int, name: str) -> bytes:
    """A file of /proc, or why it cannot be read."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError as error:
        return f"{name}: {type(error).__name__}".encode()


def memory_of(pid: int) -> Iterator[bytes]:
    """What can be read of a process's memory that it can write to."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file:
        for line in maps.splitlines():
            start, end, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()  # type: ignore[union-attr]
            first, last = int(start, 16), int(end, 16)
            if rights.startswith("rw") and last - first <= MOST_READ:
                with contextlib.suppress(OSError, ValueError, OverflowError):
                    file.seek(first)
                    yield file.read(last - first)


def descriptors_of(pid: int) -> str:
    """What a process has open."""
    lines = []
    for one in sorted(Path(f"/proc/{pid}/fd").iterdir()):
        with contextlib.suppress(OSError):
            lines.append(f"{one.name} -> {one.readlink()}")
    return "\n".join(lines)


@contextlib.contextmanager
def broker_with(world: World, **environment: str) -> Iterator[tuple[Broker, int, Path]]:
    """A broker of its own that keeps the canaries, started with more in the environment of its kernel."""
    folder = world.tmp
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        broker = Broker(folder / "kept", master="file", apart=True)
        keep(broker, world.canaries)
        pid = broker.pid
        assert pid is not None
        yield broker, pid, folder
    finally:
        os.environ.clear()
        os.environ.update(before)
        broker.stop()


def tokens(world: World) -> dict[str, str]:
    """The canaries as people have keys in their environment."""
    return {f"{one.type.upper()}_TOKEN": one.value for one in world.canaries}


@channel("process", "arguments of the broker", marks=LINUX)
def _(world: World) -> Seen:
    with broker_with(world, **tokens(world)) as (_, pid, _folder):
        told = [of_process(pid, name) for name in ("cmdline", "comm", "status", "stat", "wchan")]
        told.append(
            subprocess.run(
                ["ps", "-ww", "-p", str(pid), "-o", "args"], capture_output=True, check=False
            ).stdout
        )
    return Seen({"told": told}, "broker/__main__.py")


@channel("process", "environment of the broker", marks=LINUX)
def _(world: World) -> Seen:
    marker = world.marker()
    with broker_with(world, **tokens(world), LC_LOOM=marker) as (_, pid, _folder):
        told = [
            of_process(pid, "environ"),
            subprocess.run(["ps", "eww", "-p", str(pid)], capture_output=True, check=False).stdout,
        ]
    return Seen({"environ": told}, marker)


LIKE_ANY = """
import ctypes, os, sys
for right in range(64):  # root may look into whom it likes: this process and its children may not
    ctypes.CDLL(None).prctl(24, right)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
SNOOP = """
import ctypes, os, sys
from pathlib import Path
for name in ("mem", "environ", "maps", "auxv", "stack", "fd", "cwd", "exe", "root", "map_files"):
    path = Path("/proc") / sys.argv[1] / name
    try:
        if name in ("cwd", "exe", "root"):
            found = os.readlink(path)
        elif path.is_dir():
            found = [os.readlink(path / one) for one in os.listdir(path)]
        else:
            found = path.open("rb").read(1) or b"empty"
        print(name, "READ", found)
    except OSError as error:
        print(name, type(error).__name__)
print("ptrace", ctypes.CDLL(None).ptrace(16, int(sys.argv[1]), 0, 0))
"""
NEIGHBOURS = """
import subprocess, sys
from pathlib import Path
from loom_nb.credentials.broker import Broker
from tests.leaks.canaries import canaries
from tests.leaks.world import keep
marker, home, snoop = sys.argv[1:]
broker = Broker(Path(home), master="file")
keep(broker, canaries())
other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
for name, pid in (("other", other.pid), ("broker", broker.pid)):
    done = subprocess.run([sys.executable, "-c", snoop, str(pid)], capture_output=True, text=True)
    print(marker, name, done.stdout, done.stderr)
other.kill()
other.communicate()
broker.stop()
"""


@channel("process", "memory of the broker", slow=True, marks=LINUX)
def _(world: World) -> Seen:
    """A process of the same user is refused all that it reads of any other process of that user."""
    marker, folder = world.marker(), world.tmp
    done = in_tests("-c", LIKE_ANY, "-c", NEIGHBOURS, marker, str(folder / "kept"), SNOOP, cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    _, other, broker = done.stdout.decode().split(marker)
    assert "environ READ" in other
    assert "maps READ" in other
    assert "READ" not in broker, broker
    assert broker.count("PermissionError") >= 8, broker
    assert "ptrace -1" in broker
    return Seen({"said": done.stdout + done.stderr, "files": folder}, marker)


@channel("process", "descriptors of the broker", marks=LINUX)
def _(world: World) -> Seen:
    """It has its store, its log and its lines open; nothing that the kernel had open has come along."""
    folder = world.tmp
    mine = (folder / "of the kernel").open("w")
    os.set_inheritable(mine.fileno(), True)
    with mine, broker_with(world) as (_, pid, kept):
        told = descriptors_of(pid)
    assert "of the kernel" not in told
    return Seen({"open": told}, str(kept / "kept" / "secrets.db"))


@channel("process", "core dumps of the broker", slow=True, marks=LINUX)
def _(world: World) -> Seen:
    """It may write none, whatever its kernel may; and when it is made to crash it leaves none."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        with broker_with(world) as (broker, pid, folder):
            limits = of_process(pid, "limits")
            os.kill(pid, signal.SIGABRT)
            while broker.pid is not None:
                pass
            broker.list()
            found = [
                path.read_bytes()
                for place in (folder, Path("/"), Path.cwd())
                for path in place.glob("core*")
                if path.is_file()
            ]
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    assert re.search(rb"Max core file size\s+0\s+0", limits)
    return Seen({"limits": limits, "cores": found}, "Max core file size")


@channel("process", "environment of what a kernel starts")
def _(world: World) -> Seen:
    """A child of the kernel gets no secret and no master key by its environment from us."""
    marker = world.marker()
    world.broker.list()
    os.environ["LOOM_MARK"] = marker
    try:
        show = "import os; os.write(1, repr(dict(os.environ)).encode())"
        done = subprocess.run([sys.executable, "-c", show], capture_output=True, check=True)
    finally:
        del os.environ["LOOM_MARK"]
    return Seen({"child": done.stdout, "here": repr(dict(os.environ))}, marker)


THIEF = """
import gc, json, os, socket, sys
from pathlib import Path
from loom_nb.credentials.broker import Broker
from loom_nb.credentials.uses import Use
home, marker = Path(sys.argv[1]), sys.argv[2]
broker = Broker(home)
broker.list()
loot = [marker]
say = lambda *some: loot.extend(map(repr, some))
say(broker, broker.list(), broker.log(), dict(os.environ))
for name in dir(broker):
    try:
        say(name, getattr(broker, name))
    except Exception as error:
        say(error)
scopes = [one.scope for one in broker.list()]
from loom_nb.credentials.broker import frames, operations
def ask(payload, kind=frames.JSON):
    line = broker._line()
    line.settimeout(5)
    try:
        line.sendall(frames.packed(kind, payload))
        say(frames.receive(line))
    except Exception as error:
        say(error)
    finally:
        line.close()
for op in ("Get", "Reveal", "Take", "get", "Export", "Backup", "Dump", "Put", "Find", "Redact", "Eval", "Log", "List", "Facts", "Damaged"):
    for scope in scopes:
        ask(json.dumps({"op": op, "scope": scope, "text": scope, "texts": [scope], "use": {"scope": scope, "who": "person"}}).encode())
ask(b"", frames.DATA)
ask(b"[" * 100000)
for path in sorted(home.rglob("*")):
    if path.is_file() and path.name != "master.key":
        say(path.name, path.read_bytes())
for one in gc.get_objects():
    if isinstance(one, (dict, list, tuple)) and one is not loot:
        try:
            for inner in (one.values() if isinstance(one, dict) else one):
                if isinstance(inner, (str, bytes)):
                    loot.append(inner if isinstance(inner, str) else repr(inner))
        except RuntimeError:
            pass
for name, module in list(sys.modules.items()):
    loot += [f"{name}.{key}={value}" for key, value in list(vars(module).items()) if isinstance(value, (str, bytes))]
os.write(1, "\\n".join(loot).encode("utf-8", "replace"))
broker.stop()
"""


@channel("process", "a thief in the kernel")
def _(world: World) -> Seen:
    """Python code in the kernel asks the broker for everything, and looks through all that there is."""
    marker = world.marker()
    done = in_tests(
        "-c", THIEF, str(world.broker.home), marker, cwd=world.tmp, LOOM_LEAK_SEED="none of these"
    )
    assert done.returncode == 0, done.stderr.decode()
    return Seen({"loot": done.stdout, "errors": done.stderr}, marker)
