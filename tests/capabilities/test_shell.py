"""Commands of a shell: what is told of them before they run, what they may do, and how they end."""

import asyncio
import contextlib
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from loom_nb.capabilities.shell.capability import ShellCapability
from loom_nb.errors import LoomUsageError, SetupError, ToolError
from loom_nb.protocols import Toolset, current_call
from loom_nb.sandbox import Sandbox, probe

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="commands are not built for Windows")

Opened = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "data.txt").write_text("one\ntwo\n")
    return folder


@contextlib.asynccontextmanager
async def opened(root: Path, **given: Any) -> AsyncIterator[dict[str, Any]]:
    toolset: Toolset = await ShellCapability(str(root), **given).open()
    try:
        yield {tool.name: tool for tool in toolset.tools}
    finally:
        assert toolset.close is not None
        await toolset.close()


def running(mark: str) -> int:
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                found += line.startswith(b"sleep") and mark.encode() in line
    return found


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


async def test_the_tools_say_what_they_do_and_under_which_limits(root):
    async with opened(root) as tools:
        assert sorted(tools) == ["list_tasks", "run_command", "start_command", "stop_task", "task_output"]
        assert tools["run_command"].effects >= {"reads", "writes", "runs"}
        assert tools["run_command"].destructive
        assert tools["task_output"].read_only
        assert str(root) in tools["run_command"].description
        assert probe().level in tools["run_command"].description or probe().level == "none"
        assert set(tools["run_command"].schema["properties"]) == {"command", "timeout"}


async def test_a_command_that_provably_reads_is_told_as_a_read(root):
    async with opened(root) as tools:
        told = tools["run_command"].assess(command="cat data.txt")
    assert told.effects == {"reads"}
    assert not told.destructive
    assert (told.preview, told.preview_kind, told.sandbox) == ("cat data.txt", "command", probe().level)
    assert str(root / "data.txt") in told.paths


async def test_any_other_command_is_told_as_one_that_acts_with_its_reasons(root):
    async with opened(root) as tools:
        told = tools["run_command"].assess(command="rm -rf data.txt")
    assert told.effects >= {"runs", "writes"}
    assert told.destructive
    assert told.reasons


@pytest.mark.parametrize("sandbox", ["auto", "none"])
@pytest.mark.parametrize("network", [False, True])
async def test_the_network_counts_unless_it_is_closed(root, sandbox, network):
    async with opened(root, sandbox=sandbox, network=network) as tools:
        told = tools["run_command"].assess(command="python3 script.py")
    closed = probe().level != "none" and sandbox == "auto" and not network
    assert ("network" in told.effects) is not closed


@pytest.mark.parametrize("command", ["", "  \n", "cat a\0b", "x" * 200_000])
async def test_what_is_no_command_is_refused_and_never_run(root, command):
    async with opened(root) as tools:
        assert tools["run_command"].assess(command=command).refusal
        with pytest.raises(ToolError, match="not run"):
            await tools["run_command"](command)


async def test_the_result_is_the_output_and_the_exit_code_unless_it_is_zero(root):
    async with opened(root) as tools:
        assert await tools["run_command"]("cat data.txt") == "one\ntwo"
        assert await tools["run_command"]("echo out; echo err >&2; exit 3") == "out\nerr\nexit code 3"
        assert await tools["run_command"]("true") == "(no output)"
        assert await tools["run_command"]("kill -9 $$") == "(no output)\nexit code 137 (SIGKILL)"


async def test_colours_and_overwritten_lines_do_not_reach_the_model(root):
    async with opened(root) as tools:
        result = await tools["run_command"](r"printf '10%%\r50%%\rdone\n\033[31mred\033[0m\n'")
    assert result == "done\nred"


async def test_every_command_starts_in_the_root_with_no_variables_of_the_last(root):
    async with opened(root) as tools:
        await tools["run_command"]("mkdir deep && cd deep && export LEFT=over")
        assert await tools["run_command"]("pwd; echo ${LEFT-nothing}") == f"{root}\nnothing"


async def test_at_its_time_limit_a_command_is_ended_and_that_is_told(root):
    mark = str(uuid.uuid4().int)[:15]
    async with opened(root, timeout=2) as tools:
        result = await tools["run_command"](f"echo begun; trap '' TERM; sleep 600.{mark} & sleep 600.{mark}")
        assert result.startswith("begun\nstopped after ")
        assert "time limit" in result
        assert running(mark) == 0
        with pytest.raises(ToolError, match="up to 3600"):
            await tools["run_command"]("true", timeout=100_000)


async def test_a_long_output_is_cut_in_the_middle_and_says_so(root):
    async with opened(root, max_output=1_000) as tools:
        result = await tools["run_command"]("seq 1 100000")
    assert result.startswith("1\n2\n")
    assert result.endswith("100000")
    assert "bytes left out" in result
    assert len(result) < 1_100


async def test_a_cancelled_call_leaves_nothing_running(root):
    mark = str(uuid.uuid4().int)[:15]
    async with opened(root) as tools:
        task = asyncio.ensure_future(
            tools["run_command"](f"trap '' TERM; sleep 600.{mark} & sleep 600.{mark}")
        )
        assert await until(lambda: running(mark) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await until(lambda: running(mark) == 0)


class Recorder:
    """A call's context that keeps what is shown."""

    call_id, session = "c1", "s1"

    def __init__(self) -> None:
        self.shown: list[str] = []

    async def ask(self, question: Any) -> Any:
        raise AssertionError("a command asks nothing")

    def show(self, text: str) -> None:
        self.shown.append(text)

    def say(self, event: Any) -> None:
        raise AssertionError("a command says nothing")


async def test_output_is_shown_while_the_command_runs(root):
    recorder = Recorder()
    token = current_call.set(recorder)
    try:
        async with opened(root) as tools:
            task = asyncio.ensure_future(
                tools["run_command"]("echo first; while [ ! -e go ]; do sleep 0.02; done; echo second")
            )
            assert await until(lambda: "".join(recorder.shown) == "first\n")
            (root / "go").touch()
            await task
    finally:
        current_call.reset(token)
    assert "".join(recorder.shown) == "first\nsecond\n"


async def test_names_of_the_environment_reach_a_command_only_where_they_are_given(root, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "CANARY")
    monkeypatch.setenv("MY_SETTING", "seen")
    async with opened(root, env=["MY_SETTING"]) as tools:
        result = await tools["run_command"]("env | sort; true")
    assert "MY_SETTING=seen" in result
    assert "CANARY" not in result


needs_walls = pytest.mark.skipif(
    sys.platform != "linux" or probe().level == "none", reason="there is no sandbox on this system"
)


@needs_walls
async def test_a_read_runs_with_the_root_read_only_whatever_it_turns_into(root):
    """A folder of PATH in the root holds a program with the name of a reader: it is not run."""
    (root / "bin").mkdir()
    trap = root / "bin" / "cat"
    trap.write_text("#!/bin/sh\necho trapped > stolen\n")
    trap.chmod(0o755)
    path = f"{root}/bin:/usr/bin:/bin"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        async with opened(root) as tools:
            assert await tools["run_command"]("cat data.txt") == "one\ntwo"
    assert not (root / "stolen").exists()


@needs_walls
async def test_what_changed_after_it_was_judged_a_read_is_not_run(root, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    async with opened(root) as tools:
        assert tools["run_command"].assess(command="cat data.txt").effects == {"reads"}
        (root / "data.txt").unlink()
        (root / "data.txt").symlink_to(outside)
        with pytest.raises(ToolError) as raised:
            await tools["run_command"]("cat data.txt")
    assert "changed" in raised.value.cause


@needs_walls
async def test_a_write_outside_of_the_root_fails_with_a_hint(root):
    outside = Path.home() / f"loom-test-{uuid.uuid4().hex}"
    async with opened(root) as tools:
        result = await tools["run_command"](f"echo x > {outside}")
        inside = await tools["run_command"]("echo x > inside.txt && cat inside.txt")
    assert "exit code 1" in result
    assert f"(sandbox {probe().level}: files can be written only below {root})" in result
    assert inside == "x"
    assert not outside.exists()


@needs_walls
async def test_our_own_runs_cannot_be_seen(root, tmp_path, monkeypatch):
    home = root / "loom-home"
    home.mkdir()
    (home / "loom.db").write_text("CANARY")
    monkeypatch.setenv("LOOM_NB_HOME", str(home))
    async with opened(root) as tools:
        result = await tools["run_command"]("cat loom-home/loom.db; cat loom-home/*; true")
    assert "CANARY" not in result


async def test_a_sandbox_that_is_required_and_not_there_is_an_error_that_says_what_to_install(root):
    nothing = Sandbox("none", why=("bubblewrap: it is not installed", "Landlock: this kernel has none"))
    with pytest.raises(SetupError, match="a sandbox is required") as raised:
        await ShellCapability(str(root), sandbox="required", found=nothing).open()
    assert "not installed" in raised.value.cause
    assert raised.value.fixes


async def test_without_a_sandbox_the_card_says_none(root):
    nothing = Sandbox("none", why=("bubblewrap: it is not installed",))
    async with opened(root, found=nothing) as tools:
        assert tools["run_command"].assess(command="make").sandbox == "none"
        assert "no sandbox" in tools["run_command"].description


async def test_a_root_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(SetupError, match="no folder"):
        await ShellCapability(str(tmp_path / "nowhere")).open()


@pytest.mark.parametrize(
    "given", [{"timeout": 0}, {"timeout": 10_000}, {"env": "HOME"}, {"max_output": 1}, {"hidden": "x"}]
)
def test_a_mistyped_setting_is_an_error(given):
    with pytest.raises(LoomUsageError):
        ShellCapability(**given)


async def test_a_background_task_is_followed_and_stopped(root):
    mark = str(uuid.uuid4().int)[:15]
    async with opened(root) as tools:
        assert tools["list_tasks"]() == "no background tasks"
        assert await tools["start_command"](f"echo serving; sleep 600.{mark}") == "task t1 started"
        assert await until(lambda: running(mark) == 1)
        while not (shown := await tools["task_output"]("t1")).endswith("\nserving"):
            await asyncio.sleep(0.01)  # it is read by a thread
        assert shown.startswith("t1  runs for ")
        assert "t1  runs" in tools["list_tasks"]()
        stopped = await tools["stop_task"]("t1")
        assert "t1  stopped after" in stopped
        assert "serving" in stopped
        assert await until(lambda: running(mark) == 0)


async def test_the_end_of_a_background_task_can_be_waited_for(root):
    async with opened(root) as tools:
        await tools["start_command"]("echo working; exit 4")
        shown = await tools["task_output"]("t1", wait=20)
    assert "t1  ended after" in shown
    assert shown.endswith("working\nexit code 4")


async def test_an_unknown_task_is_named_with_those_that_are_known(root):
    async with opened(root) as tools:
        await tools["start_command"]("true")
        with pytest.raises(ToolError) as raised:
            await tools["task_output"]("t9")
    assert "t1" in raised.value.cause


async def test_only_so_many_tasks_run_at_once(root):
    async with opened(root) as tools:
        for _ in range(8):
            await tools["start_command"]("sleep 60")
        with pytest.raises(ToolError, match="8 tasks run already"):
            await tools["start_command"]("sleep 60")


async def test_background_tasks_end_with_the_session(root):
    mark = str(uuid.uuid4().int)[:15]
    async with opened(root) as tools:
        await tools["start_command"](f"trap '' TERM; setsid sleep 600.{mark} & sleep 600.{mark}")
        assert await until(lambda: running(mark) == 2)
    assert running(mark) == 0
