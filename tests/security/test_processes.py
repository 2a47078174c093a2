"""Children that are really ended, and walls that really hold. Real processes, real levels."""

import asyncio
import contextlib
import http.server
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from loom_nb.errors import SetupError
from loom_nb.sandbox import Child, Finished, Sandbox, Walls, child_environment, choose, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the ladder is of Linux")

STUBBORN = "trap '' TERM; sleep 600.{mark} & sleep 600.{mark}"
DAEMON = "setsid sh -c \"trap '' TERM HUP; sleep 600.{mark}; sleep 601.{mark}\" < /dev/null > /dev/null 2>&1 & echo off"


def sandbox_at(level: str) -> Sandbox:
    try:
        return choose(level)  # type: ignore[arg-type]
    except SetupError as error:
        pytest.skip(f"{level} is not there: {error.cause}")


@pytest.fixture(params=["bubblewrap", "landlock", "none"])
def sandbox(request) -> Sandbox:
    return sandbox_at(request.param)


@pytest.fixture(params=["bubblewrap", "landlock"])
def walled(request) -> Sandbox:
    return sandbox_at(request.param)


@pytest.fixture
def mark() -> str:
    """A number that only this test's processes have on their command line."""
    return str(uuid.uuid4().int)[:15]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A home with a project in it, and with things that no child may see."""
    for name in ("home/.ssh", "home/.config/gh", "home/project", "home/runs", "home/jupyter/runtime"):
        (tmp_path / name).mkdir(parents=True)
    for name in (".ssh/id", ".config/gh/hosts.yml", "runs/loom.db", "jupyter/runtime/kernel-1.json"):
        (tmp_path / "home" / name).write_text("CANARY")
    (tmp_path / "home/project/data.txt").write_text("data\n")
    return tmp_path / "home"


def environment(home: Path) -> dict[str, str]:
    return {
        **child_environment(os.environ),
        "HOME": str(home),
        "LOOM_NB_HOME": str(home / "runs"),
        "JUPYTER_DATA_DIR": str(home / "jupyter"),
    }


def started(
    command: str, sandbox: Sandbox, home: Path, *, writable=True, network=False, root="project", **given
) -> Child:
    environ = environment(home)
    walls = Walls.around(home / root, writable=writable, network=network, environ=environ)
    env = child_environment(environ)
    return Child(["bash", "-c", command], cwd=home / root, env=env, sandbox=sandbox, walls=walls, **given)


def done(command: str, sandbox: Sandbox, home: Path, **given) -> Finished:
    return started(command, sandbox, home, timeout=60, **given).wait(100)


def processes(mark: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                if mark.encode() in line and b"pytest" not in line:
                    found.append(line.replace(b"\0", b" ").decode())
    return found


def until(condition, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("command", [STUBBORN, DAEMON + "; sleep 600.{mark}"], ids=["ignores TERM", "daemon"])
def test_at_its_time_limit_a_command_ends_with_all_that_it_started(sandbox, place, mark, command):
    child = started(command.format(mark=mark), sandbox, place, timeout=2)
    assert until(lambda: processes(mark)), "it never ran"
    result = child.wait(60)
    assert result.timed_out
    assert processes(mark) == []


def test_told_to_stop_a_command_ends_with_all_that_it_started(sandbox, place, mark):
    child = started(STUBBORN.format(mark=mark), sandbox, place)
    assert until(lambda: len(processes(mark)) >= 2)
    child.stop("enough")
    result = child.wait(60)
    assert (result.stopped, result.timed_out) == ("enough", False)
    assert processes(mark) == []


async def test_a_cancelled_run_leaves_no_process_behind(sandbox, place, mark):
    environ = environment(place)
    walls = Walls.around(place / "project", writable=True, environ=environ)
    command = ["bash", "-c", STUBBORN.format(mark=mark)]
    task = asyncio.create_task(
        run(command, cwd=walls.root, env=child_environment(environ), sandbox=sandbox, walls=walls)
    )
    assert await asyncio.to_thread(until, lambda: len(processes(mark)) >= 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(until, lambda: processes(mark) == [])


def test_what_a_command_leaves_in_the_background_ends_with_it_and_holds_nothing_up(sandbox, place, mark):
    for command in (f"sleep 600.{mark} & echo off", DAEMON.format(mark=mark)):
        result = done(command, sandbox, place)
        assert (result.output, result.exit_code, result.timed_out) == ("off\n", 0, False)
        assert processes(mark) == []


def test_one_that_listens_to_term_may_tidy_up(sandbox, place, mark):
    child = started(
        f"trap 'echo tidied; exit 3' TERM; sleep 600.{mark} & echo up; wait", sandbox, place
    )  # to wait for a child is no work: nothing stands between TERM and the trap
    assert until(lambda: "up" in child.output())
    child.stop()
    result = child.wait(60)
    assert "tidied" in result.output
    assert result.exit_code == 3


PARENT = """
import os, sys
from pathlib import Path
from loom_nb.sandbox import Child, Walls, child_environment, choose

root = Path(sys.argv[2])
env = child_environment(os.environ)
Child(["bash", "-c", sys.argv[3]], cwd=root, env=env, sandbox=choose(sys.argv[1]), walls=Walls.around(root))
print("started", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["killed", "exit"])
def test_when_the_kernel_dies_no_child_outlives_it(sandbox, place, mark, end):
    command = f"trap '' TERM; setsid sleep 600.{mark} & sleep 600.{mark}"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, sandbox.level, str(place / "project"), command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None and parent.stdin is not None
    try:
        assert parent.stdout.readline() == b"started\n"
        assert until(lambda: sum(line.startswith("sleep") for line in processes(mark)) == 2)
        if end == "killed":
            os.kill(parent.pid, signal.SIGKILL)
        else:
            parent.stdin.close()
        parent.wait(60)
        assert until(lambda: processes(mark) == []), processes(mark)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        parent.stdin.close()


def test_a_supervisor_that_is_killed_takes_the_child_with_it(place, mark):
    child = started(f"kill -9 $PPID; sleep 600.{mark}", choose("none"), place)
    result = child.wait(60)
    assert result.problem == "the process that watches over it was lost"
    assert until(lambda: processes(mark) == [])


def test_four_hundred_megabytes_of_output_take_little_memory_and_keep_both_ends(sandbox, place):
    done("true", sandbox, place)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shown: list[int] = []
    result = done(
        "echo first; yes | head -c 400000000; echo last",
        sandbox,
        place,
        on_output=lambda text: shown.append(len(text)),
    )
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert result.total == 400_000_011
    assert result.output.startswith("first\n")
    assert result.output.endswith("last\n")
    assert f"{result.cut:,} bytes left out" in result.output
    assert len(result.output) < 201_000
    assert sum(shown) < 100_000 * (result.seconds + 1)  # ten times 8 kB a second
    assert grown < 20_000, f"{grown} KB"


def test_output_that_nobody_can_take_ends_the_child_and_is_told(place, mark):
    def broken(text: str) -> None:
        raise ValueError(text)

    child = started(f"echo now; sleep 600.{mark}", choose("none"), place, on_output=broken)
    with pytest.raises(ValueError, match="now"):
        child.wait(60)
    assert until(lambda: processes(mark) == [])


def test_how_it_ended_is_told_alike_at_every_level(sandbox, place):
    assert done("exit 7", sandbox, place).exit_code == 7
    killed = done("kill -9 $$", sandbox, place)
    assert (killed.exit_code, killed.signal) == (137, signal.SIGKILL)
    both = done("echo out; echo err >&2; echo out again", sandbox, place)
    assert both.output == "out\nerr\nout again\n"
    assert done("read line; echo got:$line", sandbox, place).output == "got:\n"


def test_a_program_that_is_not_there_is_told_as_such(place):
    walls = Walls.around(place / "project", environ=environment(place))
    child = Child(
        ["no-such-program"], cwd=walls.root, env={"PATH": "/usr/bin"}, sandbox=choose("none"), walls=walls
    )
    result = child.wait(60)
    assert (result.exit_code, result.problem) == (127, "No such file or directory")


def test_keys_of_the_environment_are_not_in_a_child(sandbox, place, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "CANARY-KEY")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "CANARY-TOKEN")
    result = done(
        "env; cat /proc/$$/environ /proc/$PPID/environ /proc/self/environ 2>/dev/null | tr '\\0' '\\n'",
        sandbox,
        place,
    )
    assert f"HOME={place}" in result.output
    assert "CANARY" not in result.output


def test_the_environment_of_the_kernel_cannot_be_read(walled, place):
    result = done(f"cat /proc/{os.getpid()}/environ /proc/{os.getpid()}/maps | wc -c", walled, place)
    assert result.output.strip().splitlines()[-1] == "0"


SECRETS = ("~/.ssh/id", "~/.config/gh/hosts.yml", "~/runs/loom.db", "~/jupyter/runtime/kernel-1.json")


@pytest.mark.parametrize("root", ["project", "."])
@pytest.mark.parametrize("writable", [False, True])
def test_keys_runs_and_connection_files_cannot_be_read(walled, place, root, writable):
    result = done(
        f"cat {' '.join(SECRETS)}; grep -r CANARY ~; echo end", walled, place, root=root, writable=writable
    )
    assert result.output.endswith("end\n")
    assert "CANARY" not in result.output


def test_what_should_be_seen_is_seen(sandbox, place):
    result = done(
        f"cat data.txt; pwd; {sys.executable} -c 'print(6 * 7)'; ls /usr/bin | head -1", sandbox, place
    )
    assert result.output.startswith(f"data\n{place / 'project'}\n42\n")
    assert result.exit_code == 0


def test_nothing_outside_of_the_root_can_be_written(walled, place):
    outside = place / "outside"
    outside.mkdir()
    kept = outside / "kept"
    kept.write_text("kept")
    result = done(
        f"echo x > {kept}; echo x > {outside}/new; rm -rf {outside}; truncate -s 0 {kept}; ln {kept} here; "
        "mv data.txt ../moved; echo x > /etc/x-loom; echo ok > inside; cat inside",
        walled,
        place,
    )
    assert result.output.endswith("ok\n")
    assert kept.read_text() == "kept"
    assert [entry.name for entry in outside.iterdir()] == ["kept"]
    assert (place / "project" / "inside").read_text() == "ok\n"
    assert not Path("/etc/x-loom").exists()
    assert not (place / "moved").exists()


def test_a_command_that_may_only_read_cannot_write_the_root_either(walled, place):
    result = done(
        "echo x > new; rm data.txt; echo x >> data.txt; cat data.txt", walled, place, writable=False
    )
    assert result.output.endswith("data\n")
    assert [entry.name for entry in (place / "project").iterdir()] == ["data.txt"]


def test_a_file_in_the_hidden_home_is_refused_rather_than_lost(walled, place):
    command = "echo x > /root/x-loom || echo x > /home/x-loom || echo refused"
    assert done(command, walled, place).output.endswith("refused\n")


def test_temporary_files_can_be_made_and_are_gone_afterwards(sandbox, place):
    result = done("f=$(mktemp) && echo temporary > $f && cat $f && echo $f", sandbox, place, writable=False)
    text, path = result.output.split()
    assert text == "temporary"
    if sandbox.level != "none":
        assert not Path(path).exists()
        assert not Path(path).parent.name.startswith("loom-") or not Path(path).parent.exists()
    else:
        Path(path).unlink()


@pytest.fixture
def button() -> Iterator[tuple[int, list[str]]]:
    """A server on the loopback: who reaches it could press our Approve button."""
    pressed: list[str] = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pressed.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, pressed
        server.shutdown()
        thread.join()


PRESS = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30) as s:
    s.sendall(b"GET /approve HTTP/1.0\\r\\n\\r\\n")
    print(s.recv(100))
"""


def press(port: int, sandbox: Sandbox, place: Path, *, network: bool) -> Finished:
    (place / "project" / "press.py").write_text(PRESS)
    return done(f"{sys.executable} press.py {port}", sandbox, place, network=network)


def test_a_server_on_the_loopback_cannot_be_reached(walled, place, button):
    port, pressed = button
    result = press(port, walled, place, network=False)
    assert result.exit_code == 1
    assert "refused" in result.output or "denied" in result.output
    assert pressed == []


def test_with_the_network_the_same_server_is_reached(walled, place, button):
    port, pressed = button
    assert press(port, walled, place, network=True).exit_code == 0
    assert pressed == ["/approve"]


@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize("abstract", [False, True])
def test_sockets_of_other_programs_cannot_be_reached(walled, place, network, abstract, mark):
    path = f"/tmp/loom-test-{mark}"
    address = f"\0loom-{mark}" if abstract else path
    script = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({address!r}); print(6 * 7)"
    (place / "project" / "connect.py").write_text(script)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        try:
            result = done(f"{sys.executable} connect.py", walled, place, network=network)
        finally:
            Path(path).unlink(missing_ok=True)
    assert result.exit_code == 1
    assert "42" not in result.output.splitlines()


def test_the_kernel_cannot_be_signalled_from_inside(walled, place):
    result = done(f"kill -0 {os.getpid()}; echo $?", walled, place)
    assert result.output.strip().splitlines()[-1] == "1"
