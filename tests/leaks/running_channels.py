"""Channels of a running kernel: its memory and all that one sees of it, after it has used every secret."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.leaks.matrix import Seen, channel
from tests.leaks.process_channels import LINUX, descriptors_of, memory_of, of_process
from tests.leaks.stealing import lair
from tests.leaks.world import World
from tests.notebook.kernels import Kernel, kernel

USE = """
from loom_nb import Agent, Capability, GovernancePolicy, MemoryStore, Model, Runtime
from loom_nb.models.scripted import Call
marker = "{marker}"
wanted = [Call("http_request", {{"url": "{url}/e/" + way, "credential": scope}}) for way in {ways} for scope in {scopes}]
turns = [wanted[start : start + 8] for start in range(0, len(wanted), 8)]
agent = Agent(Model.scripted([*turns, "done"]), capabilities=[Capability.http(credentials={scopes})],
              session_store=MemoryStore(), runtime=Runtime(governance=GovernancePolicy(mode="all")))
result = await agent.run(marker)
print(result.status, marker, len(result.events))
"""
THEFT = """
import gc, os, sys
loot = [marker, repr(dict(os.environ)), repr(sys.argv)]
for one in gc.get_objects():
    try:
        some = one.values() if isinstance(one, dict) else one if isinstance(one, (list, tuple, set)) else ()
        loot += [repr(value)[:400] for value in list(some) if isinstance(value, (str, bytes)) and 11 < len(value) < 5_000]
    except Exception:
        continue
from loom_nb.credentials.broker import default_broker
broker = default_broker()
for name in dir(broker):
    loot.append(repr(getattr(broker, name)))
loot.append(repr(broker.list()) + repr(broker.log(limit=500)))
Path = __import__("pathlib").Path
Path("loot").write_text("\\n".join(loot), errors="replace")
"""


@dataclass
class Running:
    """A kernel that has used every secret, and was never told one."""

    kernel: Kernel
    marker: str
    home: Path
    pid: int
    broker: int
    said: str


def running(world: World) -> Running:
    """The one of this world."""
    return world.once("running", _running)


def _running(world: World) -> Running:
    den, marker, home = lair(world), world.marker(), world.tmp
    den.broker.list()
    (home / "secrets").symlink_to(den.broker.home, target_is_directory=True)
    opened = world.closing.enter_context(kernel(home, LC_LOOM=marker))
    opened.said("%load_ext loom_nb")
    # those that the kernel itself reads anew, such as other character sets, are no matter here
    ways = (
        "plain",
        "url-upper",
        "base64-1",
        "hex",
        "json-ascii",
        "html",
        "gzip",
        "by-byte",
        "error-500",
        "headers",
        "redirect-out",
    )
    code = USE.format(marker=marker, url=den.site.url, ways=ways, scopes=list(den.scopes))
    del den.site.got[:]
    cell = opened.run(code, timeout=120)
    assert cell.status == "ok", cell.error
    assert "completed" in cell.text, cell.text
    sent = {hit.whose.partition(".")[0] for hit in world.scanner(marker).scan(b"\n".join(den.site.got))}
    assert sent >= {"api_key", "basic_auth", "bearer_token"}
    pid = opened.manager.provisioner.process.pid
    broker = int(
        opened.said("from loom_nb.credentials.broker import default_broker; print(default_broker().pid)")
    )
    return Running(opened, marker, home, pid, broker, cell.text)


@channel("process", "memory of the kernel", slow=True, marks=LINUX)
def _(world: World) -> Seen:
    """Byte by byte, as one sees it who may read it: also what is no object any more."""
    one = running(world)
    return Seen({"memory": memory_of(one.pid)}, one.marker, deep=False)


@channel("process", "environment, arguments and descriptors of the kernel", slow=True, marks=LINUX)
def _(world: World) -> Seen:
    one = running(world)
    told: dict[str, Any] = {
        name: of_process(one.pid, name) for name in ("environ", "cmdline", "maps", "status", "limits")
    }
    return Seen({**told, "open": descriptors_of(one.pid)}, one.marker)


@channel("process", "modules and objects of the kernel", slow=True)
def _(world: World) -> Seen:
    """Code of an agent in the kernel gathers all that Python knows of there."""
    one = running(world)
    cell = one.kernel.run(THEFT, timeout=120)
    assert cell.status == "ok", cell.error
    return Seen({"loot": one.home / "loot"}, one.marker)


@channel("process", "the broker of a kernel", slow=True, marks=LINUX)
def _(world: World) -> Seen:
    """What is seen of it from outside while it holds secrets: everything but its memory."""
    one = running(world)
    told = [of_process(one.broker, name) for name in ("cmdline", "environ", "comm", "status", "limits")]
    assert b"broker/__main__.py" in told[0]
    return Seen(
        {
            "told": told,
            "open": descriptors_of(one.broker),
            "log": (one.home / "secrets").resolve() / "broker.log",
        },
        one.marker,
    )


@channel("process", "a broker that is killed in the middle of a use", slow=True, marks=LINUX)
def _(world: World) -> Seen:
    import signal

    one, den = running(world), lair(world)
    stop = f"import os; os.kill({one.broker}, {int(signal.SIGKILL)})"
    code = USE.format(marker=one.marker, url=den.site.url, ways=("by-byte",), scopes=list(den.scopes))
    request = one.kernel.submit(code.replace("result = await", "import asyncio; work = asyncio.ensure_future(agent.run(marker)); await asyncio.sleep(0.2); "
                                              f"{stop}; result = await work #").replace("#agent", "# agent"))  # fmt: skip
    cell = one.kernel.collect(request, timeout=120)
    assert cell.status == "ok", cell.error
    shown = one.kernel.said("print(repr(result), *[repr(one) for one in result.events], sep='\\n')")
    place = (one.home / "secrets").resolve()
    cores = [
        path
        for folder in (place, one.home, Path("/tmp"), Path.cwd(), Path("/"))
        for path in folder.glob("core*")
        if path.is_file()
    ]
    assert not [
        path for path in cores if path.stat().st_mtime > (place / "broker.log").stat().st_mtime - 60
    ], cores
    return Seen(
        {"shown": shown, "files": [place, one.home], "core": [os.fsencode(path) for path in cores]},
        one.marker,
    )
