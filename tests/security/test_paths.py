"""Paths that try to lead out of the root, and ordinary ones, through every tool that takes a path."""

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from loom_nb.capabilities.files import FilesCapability
from loom_nb.capabilities.secret_names import looks_secret
from loom_nb.errors import ToolError

CASES = Path(__file__).parent / "cases"
OPERATIONS = ("read", "write", "edit", "move", "delete")
SECRET = "s3cret-outside"
LINKS = {
    "out_file": "../secret.txt",
    "out_dir": "../outside",
    "out_abs": "{base}/secret.txt",
    "out_abs_dir": "{base}/outside",
    "dangling_out": "../not_there.txt",
    "proc": "/proc/self",
    "etc": "/etc",
    "null": "/dev/null",
    "fd0": "/dev/stdin",
    "up": "..",
    "around": "../root/notes.txt",
    "evil": "../root-evil",
    "abs_trick": "{base}/root/../secret.txt",
    "abs_dir_trick": "{base}/root/data/../..",
    "data/deep/climb": "../../../secret.txt",
    "chain1": "chain2",
    "chain2": "./out_dir",
    "loop": "loop",
    "loop_a": "loop_b",
    "loop_b": "loop_a",
    "dots": "data/../..",
    "long_way": "./././..",
    "self_up": "self_root/..",
    "home_root": "{base}",
    "self_root": ".",
    "inside": "data",
    "in_file": "notes.txt",
    "abs_in": "{base}/root/data",
    "dot_link": "data/../notes.txt",
    "data/up_in": "../notes.txt",
    "to_pipe": "pipe",
}


def rows(name):
    with (CASES / name).open() as file:
        return [json.loads(line) for line in file]


def build(base):
    """A root beside things that must not be reached."""
    for folder in ("outside/sub", "root-evil", "root/data/deep", "root/.hidden"):
        (base / folder).mkdir(parents=True)
    for name in ("secret.txt", "outside/secret.txt", "root-evil/secret.txt", "hard_outside.txt"):
        (base / name).write_text(SECRET)
    root = base / "root"
    for name in ("notes.txt", "data/a.csv", "data/deep/b.csv"):
        (root / name).write_text("old words\n")
    for name, target in LINKS.items():
        (root / name).symlink_to(target.format(base=base))
    os.link(base / "hard_outside.txt", root / "hard.txt")
    os.mkfifo(root / "pipe")
    os.mkfifo(root / "data" / "pipe")
    here = Path.cwd()
    os.chdir(root)  # a socket's path must be short
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind("sock")
    os.chdir(here)
    return root


def picture(folder):
    """Everything below a folder: kinds, contents, modes."""
    found = {}
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(top, name)
            mode = path.lstat().st_mode
            content = (
                str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            )
            found[str(path)] = (mode, content)
    return found


def outside(base):
    return {
        path: seen
        for path, seen in picture(base).items()
        if not path.startswith(f"{base}/root/") and path != f"{base}/root"
    }


async def opened(root):
    toolset = await FilesCapability(str(root), read_only=False).open()
    return {tool.name: tool for tool in toolset.tools}, toolset.close


ARGUMENTS = {
    "read": lambda path: ("read_file", {"path": path}),
    "write": lambda path: ("write_file", {"path": path, "content": "new words\n"}),
    "edit": lambda path: ("edit_file", {"path": path, "old_text": "old", "new_text": "new"}),
    "move": lambda path: ("move_file", {"source": path, "target": "moved.here"}),
    "delete": lambda path: ("delete_file", {"path": path}),
}


def attempt(tools, operation, path):
    """What the tool gives, and what it told before: (text or None, assessment)."""
    name, arguments = ARGUMENTS[operation](path)
    told = tools[name].assess(**arguments)
    try:
        given = tools[name].function(**arguments)
    except ToolError as error:
        if SECRET in str(error):
            raise
        return None, told
    return given if isinstance(given, str) else "".join(part.text for part in given), told


@pytest.mark.parametrize("row", rows("paths.jsonl"), ids=lambda row: ascii(row["path"])[:60])
async def test_a_path_does_what_the_table_says_and_never_leads_out(row, tmp_path):
    for operation in OPERATIONS:
        expect = row["expect"] if isinstance(row["expect"], str) else row["expect"][operation]
        base = tmp_path / operation
        base.mkdir()
        root = build(base)
        path = row["path"].replace("{base}", str(base))
        if expect == "inside" and not os.path.lexists(root / path) and operation != "write":
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text("old words\n")
        elif expect == "inside" and operation == "edit":
            (root / path).write_text("old words\n") if path != "hard.txt" else (
                base / "hard_outside.txt"
            ).write_text("old s3cret-outside")
        before, within = outside(base), picture(root)
        tools, close = await opened(root)

        text, told = attempt(tools, operation, path)

        assert outside(base) == before, operation
        if expect == "refuse":
            assert text is None, (operation, text)
            assert picture(root) == within, operation
            assert told.refusal or told.reasons or operation == "read"
        else:
            assert text is not None, (operation, told)
            assert not told.refusal
            assert all(one.startswith(f"{root}/") for one in told.paths), told.paths
        if operation == "read" and text is not None and path != "hard.txt":
            assert SECRET not in text
        await close()


def test_the_table_is_large_enough():
    assert len(rows("paths.jsonl")) >= 120
    assert len(rows("ordinary_paths.jsonl")) >= 60


@pytest.mark.parametrize("row", rows("ordinary_paths.jsonl"), ids=lambda row: ascii(row["path"])[:60])
async def test_an_ordinary_path_is_written_read_edited_moved_deleted_and_undone(row, tmp_path):
    path = row["path"]
    (tmp_path / "root").mkdir()
    tools, close = await opened(tmp_path / "root")

    for operation, word in (("write", "done"), ("read", "new"), ("edit", ""), ("move", ""), ("delete", "")):
        if operation == "edit":
            (tmp_path / "root" / path).write_text("old words\n")
        target = "moved.here" if operation == "delete" else path
        text, told = attempt(tools, operation, target)

        assert text is not None, (operation, told)
        assert word in text
        assert told.refusal == ""
        assert told.effects == ({"reads"} if operation == "read" else {"writes"})
        assert not told.destructive
    assert not looks_secret(path)
    await close()


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".git/hooks/pre-commit",
        ".GIT/hooks/pre-commit",
        "sub/.git/config",
        "git~1/config",
        ".g\u200cit/config",
        ".husky/pre-commit",
        ".bashrc",
        ".BASHRC",
        ".bash_profile",
        ".profile",
        ".zshrc",
        ".zshenv",
        ".envrc",
        ".vscode/tasks.json",
        ".VSCode/settings.json",
        ".idea/workspace.xml",
        ".devcontainer/devcontainer.json",
        ".mcp.json",
        "sub/.mcp.json",
        ".cursor/mcp.json",
        ".github/workflows/ci.yml",
        ".GitHub/Workflows/ci.yml",
        ".gitlab-ci.yml",
        ".pre-commit-config.yaml",
        "loom.toml",
        "sitecustomize.py",
        "x/y.pth",
        ".ipython/profile_default/startup/00.py",
        ".jupyter/jupyter_server_config.py",
        "jupyter_notebook_config.json",
        ".config/autostart/x.desktop",
        ".config/fish/config.fish",
        ".ssh/authorized_keys",
        ".npmrc",
        ".venv/lib/python3.11/site-packages/x.py",
        ".local/bin/ls",
        "node_modules/.bin/tsc",
        ".vimrc",
        ".emacs.d/init.el",
    ],
)
async def test_a_file_that_another_program_runs_is_no_mere_edit(path, tmp_path):
    tools, close = await opened(tmp_path)

    told = tools["write_file"].assess(path=path, content="x")
    (tmp_path / "staged").mkdir()
    (tmp_path / "staged" / Path(path).name).write_text("x")
    moved = tools["move_file"].assess(source=f"staged/{Path(path).name}", target=path)

    if not told.refusal:
        assert "runs" in told.effects
        assert "runs" in moved.effects
        assert any("unasked" in reason for reason in told.reasons)
    else:  # a new name with characters that are not seen
        assert "\u200c" in path
    await close()


async def test_a_folder_that_is_moved_to_where_programs_look_runs_too(tmp_path):
    tools, close = await opened(tmp_path)
    (tmp_path / "x" / "workflows").mkdir(parents=True)
    (tmp_path / "x" / "workflows" / "ci.yml").write_text("on: push")

    assert "runs" in tools["move_file"].assess(source="x", target=".github").effects
    assert "runs" in tools["move_file"].assess(source="x", target=".git").effects
    assert tools["move_file"].assess(source="x", target="y").effects == {"writes"}
    await close()


async def test_a_backup_of_jupyter_cannot_be_had_back(tmp_path):
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "a.ipynb").write_text("{}")
    tools, close = await opened(tmp_path)

    assert tools["write_file"].assess(path=".ipynb_checkpoints/a.ipynb", content="x").destructive
    await close()


class Busy:
    """Does one thing over and over in a thread, with the interpreter changing threads as often as it can."""

    def __init__(self, step):
        self.step = step
        self.times = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._interval = sys.getswitchinterval()

    def __enter__(self):
        sys.setswitchinterval(1e-5)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        sys.setswitchinterval(self._interval)

    def _run(self):
        while not self._stop.is_set():
            self.step()
            self.times += 1


EXCHANGE = """
import ctypes, os, sys, time
one, other, stop = map(os.fsencode, sys.argv[1:])
rename = ctypes.CDLL(None, use_errno=True).renameat2
times = 0
while not os.path.exists(stop):
    for _ in range(101):  # odd: the names stay exchanged half of the time
        assert rename(-100, one, -100, other, 2) == 0, os.strerror(ctypes.get_errno())
        times += 1
    time.sleep(0.0003)  # let some attempts come through: a race that nobody enters shows nothing
print(times)
"""


@contextlib.contextmanager
def exchanging(one, other, stop):
    """Another process has two names change places at once, as fast as it can; gives how often, at the end."""
    if not hasattr(ctypes.CDLL(None), "renameat2"):
        pytest.skip("this system cannot exchange two names at once")
    times = []
    with subprocess.Popen(
        [sys.executable, "-c", EXCHANGE, str(one), str(other), str(stop)], stdout=subprocess.PIPE, text=True
    ) as child:
        while not Path(one).is_symlink():  # it has begun
            assert child.poll() is None
        try:
            yield times
        finally:
            stop.touch()
            out, _ = child.communicate()
        times.append(int(out))
    stop.unlink()


async def race(base, times):
    """Read, write, edit, move and delete below a name that is exchanged all the time."""
    root = base / "root"
    (root / "swap").mkdir(parents=True)
    (root / "swap" / "file.txt").write_text("mine")
    (base / "outside").mkdir()
    (base / "outside" / "file.txt").write_text(SECRET)
    (root / "swap_link").symlink_to("../outside")
    before = outside(base)
    tools, close = await opened(root)
    done = {"read": 0, "write": 0, "refused": 0}
    with exchanging(root / "swap", root / "swap_link", base / "stop") as swaps:
        for number in range(times * 50):
            if number >= times and min(done.values()) > times // 90:
                break
            for operation in ("read", "write"):
                text, _ = attempt_raced(tools, operation, number)
                if text is None:
                    done["refused"] += 1
                    continue
                assert SECRET not in text
                done[operation] += 1
            if number % 20 == 0:
                for operation in ("edit", "move", "delete"):
                    attempt_raced(tools, operation, number)
                with contextlib.suppress(ToolError):
                    tools["undo_change"].function()
    await close()
    assert outside(base) == before
    assert list(root.rglob("*.tmp")) == []
    return done, swaps[0]


def attempt_raced(tools, operation, number):
    name, arguments = ARGUMENTS[operation]("swap/file.txt")
    if operation == "move":
        arguments["target"] = f"swap/moved-{number}"
    if operation == "write":
        arguments["content"] = f"mine {number}"
    try:
        given = tools[name].function(**arguments)
    except ToolError:
        return None, None
    return given if isinstance(given, str) else "".join(part.text for part in given), None


async def test_no_exchange_of_names_leads_a_read_or_a_write_out(tmp_path):
    done, swaps = await race(tmp_path, 2_000)

    assert swaps > 1_000
    assert min(done.values()) > 20, done


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_no_exchange_of_names_leads_out_in_a_hundred_thousand_attempts_each(tmp_path):
    done, swaps = await race(tmp_path, 100_000)

    assert swaps > 10_000
    assert min(done.values()) > 500, done


async def test_a_file_that_becomes_a_link_is_not_written_through(tmp_path):
    """The name itself, not a folder above it, is exchanged."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.txt").write_text(SECRET)
    tools, close = await opened(root)
    read = 0

    def step():
        with contextlib.suppress(OSError):
            (root / "swap").symlink_to("../secret.txt")
        with contextlib.suppress(OSError):
            (root / "swap").unlink()
        with contextlib.suppress(OSError), (root / "mine").open("w") as file:
            file.write("mine")
        with contextlib.suppress(OSError):
            (root / "mine").rename(root / "swap")
        time.sleep(0.0001)  # let it be read
        with contextlib.suppress(OSError):
            (root / "swap").unlink()

    with Busy(step):
        for number in range(1_000):
            with contextlib.suppress(ToolError):
                tools["write_file"].function(path="swap", content=f"mine {number}")
            with contextlib.suppress(ToolError):
                text = tools["read_file"].function(path="swap")[0].text
                assert SECRET not in text
                read += 1
    await close()

    assert (tmp_path / "secret.txt").read_text() == SECRET
    assert {path.name for path in tmp_path.iterdir()} == {"root", "secret.txt"}
    assert read
