"""The process between us and a child: it starts the child, watches for our end, and leaves nobody behind.

It is started as a program of its own, so it imports nothing of loom_nb and little else. It is the
new parent of whatever the child abandons (Linux), ends all of them when the child is done, when it
is told to, or when we are gone, and tells how the child ended only when nobody is left.

The order comes over standard input: four bytes of length, then a mapping. Any further byte, and the
end of the input, mean: end them.
"""

import ctypes
import marshal
import os
import select
import sys
import time

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypedDict

    class Order(TypedDict):
        """What to start, and how."""

        argv: list[str]
        cwd: str
        env: dict[str, str]
        report: int
        """The descriptor on which the end is told."""
        parent: int
        grace: float
        """Seconds between SIGTERM and SIGKILL."""
        outer: bool
        """Whether the child is the sandbox's own process, which takes the others with it."""
        rules: list[tuple[str, int]] | None
        """For Landlock; None where there is none."""
        network: bool
        filter: bytes
        """A filter of system calls that the program wants to read from a descriptor; empty for none."""
        filter_at: int
        """Where in `argv` the descriptor is named."""
        scratch: str
        """A folder to remove at the end; empty for none."""


_SIGKILL, _SIGPIPE, _SIGTERM, _SIGCONT = 9, 13, 15, 18
"""As on Linux; the module that names them takes as long to load as all else together."""
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
_KEYCTL = {"x86_64": 250, "aarch64": 219}
_LINUX = sys.platform == "linux"
_LAST_RESORT = 5.0
"""Seconds for which what does not die of SIGKILL is waited for."""


def main() -> None:
    """Start, watch, end, tell."""
    order: Order = marshal.loads(_read(int.from_bytes(_read(4), "big")))  # noqa: S302  it comes from our parent
    os.set_inheritable(order["report"], False)
    if _LINUX:
        _libc().prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != order["parent"]:
        return
    child = _start(order)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.write(order["report"], b"pid %d\n" % child)
    status = _watch(child, order["parent"])
    status = _end(child, status, order)
    if order["scratch"]:
        _remove(order["scratch"])
    os.write(order["report"], b"exit %d\n" % os.waitstatus_to_exitcode(status))


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            sys.exit(1)
        data += piece
    return data


def _start(order: "Order") -> int:
    child = os.fork()
    if child:
        return child
    try:
        _become(order)
    except OSError as error:
        _tell(order, f"error {error.strerror or error}")
    except BaseException as error:  # noqa: BLE001  between fork and program nothing may return
        _tell(order, f"error {type(error).__name__}: {error}")
    os._exit(127)


def _tell(order: "Order", line: str) -> None:
    os.write(order["report"], line.replace("\n", " ").encode(errors="replace") + b"\n")


def _become(order: "Order") -> None:
    """Turn into the child's program, inside the walls."""
    watcher = os.getppid()
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    _no_core()
    os.chdir(order["cwd"])
    _libc().signal(_SIGPIPE, None)  # Python ignores it, and so would the program
    if _LINUX:
        _libc().prctl(_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
        if os.getppid() != watcher:
            os._exit(127)
        number = _KEYCTL.get(os.uname().machine)
        if number is not None:  # a session keyring of its own, with none of our keys
            _libc().syscall(number, 1, None)
    if order["filter"]:
        order["argv"][order["filter_at"]] = str(_offered(order["filter"]))
    if order["rules"] is not None:
        from importlib import import_module  # this folder is on the path, the package is not

        import_module("landlock").restrict(order["rules"], network=order["network"])
    os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606  starting programs is its purpose


def _offered(data: bytes) -> int:
    source = os.memfd_create("filter")
    os.write(source, data)
    os.lseek(source, 0, os.SEEK_SET)
    os.set_inheritable(source, True)
    return source


def _no_core() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _watch(child: int, parent: int) -> "int | None":
    """Wait until the child has ended (its status), we are told to end it, or our parent is gone (None)."""
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    handles = [handle for handle in (_handle(child), _handle(parent)) if handle is not None]
    for handle in handles:
        poll.register(handle, select.POLLIN)
    tick = 1000 if len(handles) == 2 else 50
    while True:
        ready = poll.poll(tick)
        status = _reap(child)
        if status is not None:
            return status
        if any(fd == 0 for fd, _ in ready) or os.getppid() != parent:
            return None


def _handle(pid: int) -> "int | None":
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _reap(child: int) -> "int | None":
    """Collect all that have ended; the child's status where it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status


def _end(child: int, status: "int | None", order: "Order") -> int:
    """End everybody below us: SIGTERM, a moment's grace, SIGKILL until nobody is left."""
    outer = child if order["outer"] else 0  # the sandbox's own process would take the others with it
    for number, seconds in ((_SIGTERM, order["grace"]), (_SIGKILL, _LAST_RESORT)):
        until = time.monotonic() + seconds
        first = True
        while time.monotonic() < until:
            if first or number == _SIGKILL:
                _signal(number, child, outer if number == _SIGTERM else 0)
            first = False
            ended = _reap(child)
            status = ended if status is None else status
            if status is not None and not _has_children():
                _signal(_SIGKILL, child, 0)
                return status
            time.sleep(0.005)
    return _SIGKILL if status is None else status


def _has_children() -> bool:
    if not _LINUX:  # there, only the group of the child is known, and it has been told
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _signal(number: int, child: int, spared: int) -> None:
    if not _LINUX:
        _send(os.killpg, child, number)
        return
    for pid in _descendants(os.getpid()):
        if pid != spared:
            _send(os.kill, pid, number)
            if number == _SIGTERM:  # one that is halted hears it only when it goes on
                _send(os.kill, pid, _SIGCONT)


def _send(send: "Callable[[int, int], None]", target: int, number: int) -> None:
    try:
        send(target, number)
    except (ProcessLookupError, PermissionError):
        return


def _descendants(top: int) -> "list[int]":
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  pathlib takes long to load
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123  the same
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [top]
    while todo:
        for pid in children.get(todo.pop(), ()):
            found.append(pid)
            todo.append(pid)
    return found


def _remove(folder: str) -> None:
    try:
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                _remove(entry.path)
            else:
                os.unlink(entry.path)  # noqa: PTH108  pathlib takes long to load
        os.rmdir(folder)  # noqa: PTH106  the same
    except OSError:
        return


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
