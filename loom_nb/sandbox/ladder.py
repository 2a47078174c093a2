"""Which walls this system can build around a child process: bubblewrap, else Landlock, else none.

Each rung is tried out by really starting a child, once a process. What a rung cannot do is in its
`notes`, why a better one is not there in `why`; whoever needs a level asks for it by `choose`.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from loom_nb.errors import SetupError
from loom_nb.sandbox import landlock
from loom_nb.sandbox.walls import Walls, child_environment, is_below

Level: TypeAlias = Literal["bubblewrap", "landlock", "none"]
Wanted: TypeAlias = Literal["auto", "required", "bubblewrap", "landlock", "none"]
"""auto: the best there is. required: any but none. none: by choice."""

WANTED: tuple[Wanted, ...] = ("auto", "required", "bubblewrap", "landlock", "none")
INSTALL = "apt install bubblewrap (or dnf, pacman, apk: the package has that name everywhere)"

FILTER_AT = 2
"""Where in its command bubblewrap is told the descriptor of its filter of system calls."""

_NOTES: dict[Level, tuple[str, ...]] = {
    "bubblewrap": (
        "nothing outside of the root can be written",
        "no keys, connection files, sockets or other processes can be seen; home is empty, /tmp private",
        "no network, unless it was given",
    ),
    "landlock": (
        "nothing outside of the root can be written, but modes and times of your own files can be changed",
        "no keys and connection files can be read; names of other processes can be seen",
        "no sockets, unless the network was given",
        "where the root holds hidden folders, new files can be made only in its other folders",
    ),
    "none": (
        "a command can do whatever you can: read keys, use the network, answer our questions itself",
        "commands are given few names of the environment, and are ended, at this level too",
    ),
}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A rung of the ladder, as it was found on this system."""

    level: Level
    why: tuple[str, ...] = ()
    """For each better rung, why it is not this one."""
    program: str = ""
    """The path of bubblewrap."""
    options: tuple[str, ...] = ()
    """What this version of bubblewrap understands besides."""

    @property
    def tier(self) -> Literal["T0", "T1"]:
        """T1: children are sandboxed."""
        return "T0" if self.level == "none" else "T1"

    @property
    def notes(self) -> tuple[str, ...]:
        """What holds at this level, in words."""
        return _NOTES[self.level]

    def closes_network(self, *, network: bool) -> bool:
        """Whether a child has no network."""
        return self.level != "none" and not network

    def command(self, argv: Sequence[str], walls: Walls) -> list[str]:
        """What to start instead of `argv`."""
        if self.level != "bubblewrap":
            return list(argv)
        return [
            self.program,
            *(["--seccomp", "(descriptor)"] if self.call_filter(walls) else []),
            *self._namespaces(walls),
            *_mounts(walls),
            "--chdir",
            str(walls.root),
            "--",
            *argv,
        ]

    def environment(self, env: Mapping[str, str], scratch: str) -> dict[str, str]:
        """`env` with a folder for temporary files that can be written."""
        if self.level == "none":
            return dict(env)
        return {**env, "TMPDIR": scratch or "/tmp"}  # noqa: S108  inside, it is a folder of the child's own

    def rules(self, walls: Walls, scratch: str) -> list[tuple[str, int]] | None:
        """The trees that stay open under Landlock, with their rights; None at the other levels."""
        return _rules(walls, scratch) if self.level == "landlock" else None

    def call_filter(self, walls: Walls) -> bytes:
        """The filter of system calls that bubblewrap is to load; empty for none.

        With the network come the abstract sockets of this machine (a desktop's bus is one): closed by it.
        """
        if self.level != "bubblewrap" or not landlock.machine_is_known():
            return b""
        families = landlock.FAMILIES_OF_NETWORK if walls.network else landlock.FAMILIES_IN_NAMESPACE
        return landlock.filter_program(os.uname().machine, families)

    def _namespaces(self, walls: Walls) -> list[str]:
        found = ["--die-with-parent", "--new-session", "--unshare-user", "--unshare-pid", "--unshare-ipc"]
        found += ["--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL", *self.options]
        return found if walls.network else [*found, "--unshare-net"]


def choose(wanted: Wanted = "auto", found: Sandbox | None = None) -> Sandbox:
    """The sandbox for what is wanted; `found` stands for what `probe` would find.

    Raises:
        SetupError: what is wanted is not there, with what to install; never a lower level in silence.
    """
    if wanted not in WANTED:
        raise SetupError(f"{wanted!r} is no sandbox", fixes=[f"one of {', '.join(WANTED)}"])
    if wanted == "none":
        return Sandbox("none", why=("it was switched off: sandbox='none'",))
    best = found or probe("landlock" if wanted == "landlock" else "auto")
    enough: dict[Wanted, tuple[Level, ...]] = {
        "auto": ("bubblewrap", "landlock", "none"),
        "required": ("bubblewrap", "landlock"),
        "bubblewrap": ("bubblewrap",),
        "landlock": ("landlock",),
    }
    if best.level in enough[wanted]:
        return best
    what = "a sandbox" if wanted == "required" else wanted
    raise SetupError(
        f"{what} is required here, and not there (what there is: {best.level})",
        cause="; ".join(best.why),
        fixes=[*fixes(best), "sandbox='auto' takes what there is, and says so on each card"],
    )


def fixes(sandbox: Sandbox) -> tuple[str, ...]:
    """What to do for a better level; empty where it is the best."""
    if sandbox.level == "bubblewrap" or sys.platform != "linux":
        return ()
    if shutil.which("bwrap") is None:
        return (INSTALL,)
    return ("let this user make user namespaces (in a container: a profile that allows them)",)


@functools.cache
def probe(best: Literal["auto", "landlock"] = "auto") -> Sandbox:
    """The best level that works here, from `best` downward. Starts a child for each that is tried.

    Takes some 50 ms the first time; the answer is kept for the life of the process.
    """
    if sys.platform != "linux":
        return Sandbox("none", why=(f"bubblewrap and Landlock are of Linux; this is {sys.platform}",))
    why: list[str] = []
    if best == "auto":
        found = _try_bubblewrap()
        if isinstance(found, Sandbox):
            return found
        why.append(f"bubblewrap: {found}")
    problem = _try_landlock()
    if not problem:
        return Sandbox("landlock", why=tuple(why))
    return Sandbox("none", why=(*why, f"Landlock: {problem}"))


def doctor_lines(sandbox: Sandbox | None = None) -> tuple[str, ...]:
    """What to tell of this system: the level, what holds, what is missing, what to do."""
    found = sandbox or probe()
    lines = [f"{found.level} ({found.tier})", *found.notes, *found.why]
    return (*lines, *(f"for more: {one}" for one in fixes(found)))


def _mounts(walls: Walls) -> list[str]:
    verbs = {"read": "--ro-bind", "write": "--bind"}
    everything = Path("/")
    base = "--bind" if walls.root == everything and walls.writable else "--ro-bind"
    found = [base, "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for kind, place in walls.mounts():
        if place == everything or is_below(place, Path("/dev")):
            continue
        name = str(place)
        if kind == "empty":
            found += ["--tmpfs", name]
        elif kind == "blank":
            found += ["--ro-bind", os.devnull, name]
        else:
            found += [verbs[kind], name, name]
    names = Path(os.path.realpath("/etc/resolv.conf"))
    if walls.network and names.is_file():
        found += ["--ro-bind", str(names), str(names)]
    empty = [str(place) for kind, place in walls.mounts() if kind == "empty" and place not in walls.scratch]
    # last, as the places to mount on are made in them; a file that would be gone at the end is refused
    return [*found, *(word for name in empty for word in ("--remount-ro", name))]


_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def _rules(walls: Walls, scratch: str) -> list[tuple[str, int]]:
    writes = landlock.writes(landlock.abi())
    found = [("/proc", landlock.READS)]
    found += [(name, landlock.READ_FILE | landlock.WRITE_FILE) for name in _DEVICES]
    special = {"/dev", "/proc"}
    found += [(tree, landlock.READS) for tree in walls.open_trees(Path("/")) if tree not in special]
    found += [(tree, landlock.READS) for top in walls.readable for tree in walls.open_trees(top)]
    rights = writes if walls.writable else landlock.READS
    found.append((str(walls.root), landlock.READ_DIR))
    found += [(tree, rights) for tree in walls.open_trees(walls.root)]
    if walls.network:
        found.append((os.path.realpath("/etc/resolv.conf"), landlock.READ_FILE))
    return [*found, (scratch, writes)] if scratch else found


def _try_bubblewrap() -> Sandbox | str:
    """It, or why not."""
    program = shutil.which("bwrap")
    if program is None:
        return "it is not installed"
    problem = ""
    for options in (("--disable-userns",), ()):
        sandbox = Sandbox("bubblewrap", program=program, options=options)
        problem = _problem_of(sandbox)
        if not problem:
            return sandbox
    return problem


def _try_landlock() -> str:
    """Why not; empty where it works."""
    version = landlock.abi()
    if version == 0:
        return "this kernel has none, or it is switched off"
    if version < landlock.LEAST_ABI:
        return f"this kernel has version {version}; {landlock.LEAST_ABI} is needed (Linux 6.2)"
    if not landlock.machine_is_known():
        return f"the filter of system calls is not written for {os.uname().machine}"
    return _problem_of(Sandbox("landlock"))


_TRIAL = '! (read x < "$1") 2> /dev/null && : > "$2" && ! (: > "$3") 2> /dev/null && echo walls'


def _problem_of(sandbox: Sandbox) -> str:
    """Start a child that may write one folder, and must neither read nor write the one beside it."""
    from loom_nb.sandbox.process import Child

    with tempfile.TemporaryDirectory(prefix="loom-probe-") as top:
        root, outside = Path(top, "root"), Path(top, "outside")
        root.mkdir()
        outside.mkdir()
        canary = outside / "canary"
        canary.write_text("x")
        walls = Walls.around(root, writable=True, secret=[outside])
        argv = ["sh", "-c", _TRIAL, "sh", str(canary), str(root / "new"), str(outside / "new")]
        try:
            done = Child(
                argv, cwd=root, env=child_environment(os.environ), sandbox=sandbox, walls=walls, timeout=10
            ).wait()
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
        wrote_outside = (outside / "new").exists()
        if done.exit_code == 0 and done.output == "walls\n" and (root / "new").exists() and not wrote_outside:
            return ""
    return done.problem or (done.output.strip().splitlines() or [f"exit code {done.exit_code}"])[0]
