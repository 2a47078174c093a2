"""Plays a notebook with a person at the keyboard: a real kernel asks, the answers stand in the cells.

A cell that asks has `"loom_answers": ["d", "not there"]` in its metadata: what is typed at each prompt, in
order. A prompt without an answer is a failure, and so is an answer that no prompt wanted.
"""

import copy
import queue
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import KernelManager

from loom_nb.testing.compare import RAISES, Difference, _compare, _tags
from loom_nb.testing.kernels import kernel_sockets

ANSWERS = "loom_answers"
VARIES = "any-output"
"""A tag: what the cell shows is another thing each time, on each computer."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Performance:
    """What came of playing a notebook."""

    notebook: Any
    """With the fresh outputs."""
    problems: list[str] = field(default_factory=list)
    """Prompts without answers, answers without prompts, cells that failed or should have."""
    prompts: list[tuple[int, str, str]] = field(default_factory=list)
    """(cell, prompt, what was typed)."""


def needs_a_person(path: Path) -> bool:
    """Whether it has cells that ask."""
    return any(ANSWERS in cell.metadata for cell in nbformat.read(path, as_version=4).cells)


def differences(saved: Any, fresh: Any, sanitize: Callable[[str], str]) -> list[Difference]:
    """Where a performance is not what was saved; what nbval cannot see is compared too."""
    found: list[Difference] = []
    for number, (before, after) in enumerate(zip(saved.cells, fresh.cells, strict=True), 1):
        if before.cell_type == "code" and VARIES not in _tags(before):
            found += _compare(number, before, after, sanitize)
    return found


def play(
    saved: Any, folder: Path, environment: dict[str, str], timeout: float = 60.0, *, name: str = ""
) -> Performance:
    """Execute the cells one after the other, typing the answers that they carry. The first failure ends it.

    Args:
        saved: the notebook.
        folder: in which it lies.
        environment: of its kernel.
        timeout: seconds for a cell.
        name: of its file, if the kernel is to know it, as a Jupyter server tells it.
    """
    if name:
        environment = {**environment, "JPY_SESSION_NAME": str(folder / name)}
    show = Performance(copy.deepcopy(saved))
    with kernel_sockets() as sockets:
        manager = KernelManager(kernel_name="python3", **sockets)
        manager.start_kernel(env={**environment, "LOOM_NB_RENDER": "static"}, cwd=str(folder))
        _play(show, manager, timeout)
    return show


def _play(show: Performance, manager: KernelManager, timeout: float) -> None:
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        for number, cell in enumerate(show.notebook.cells, 1):
            if cell.cell_type == "code":
                _play_cell(show, client, number, cell, timeout)
                if show.problems:
                    break
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


@dataclass
class _Turn:
    """One cell on the stage."""

    number: int
    cell: Any
    answers: list[str]
    request: str = ""
    status: str = ""

    @property
    def where(self) -> str:
        return f"cell {self.number} ({self.cell.source.strip().partition(chr(10))[0][:60]})"


def _play_cell(show: Performance, client: Any, number: int, cell: Any, timeout: float) -> None:
    turn = _Turn(number, cell, list(cell.metadata.get(ANSWERS, ())))
    for _ in range(20):  # ipykernel 6 aborts what comes within a moment after a failure
        cell.outputs = []
        turn.request, turn.status = client.execute(cell.source, allow_stdin=True), ""
        _until_done(show, client, turn, timeout)
        if turn.status != "aborted":
            break
        time.sleep(0.1)
    if show.problems:
        return
    if turn.answers:
        show.problems.append(f"{turn.where}: nobody asked for {turn.answers!r}")
    expected = bool(_tags(cell) & RAISES)
    if turn.status == "error" and not expected:
        told = [f"{one.ename}: {one.evalue}" for one in cell.outputs if one.output_type == "error"]
        show.problems.append(f"{turn.where}: raised {' '.join(told)}")
    if turn.status == "ok" and expected:
        show.problems.append(f"{turn.where}: was to raise and did not")


def _until_done(show: Performance, client: Any, turn: _Turn, timeout: float) -> None:
    """Answer and gather until the cell is done, or something is wrong."""
    deadline = time.monotonic() + timeout
    idle = False
    while not (idle and turn.status) and not show.problems:
        if time.monotonic() > deadline:
            show.problems.append(f"{turn.where}: did not end within {timeout:g} s")
        _hear(show, client, turn)
        try:
            message = client.get_iopub_msg(timeout=0.05)
        except queue.Empty:
            continue
        if message["parent_header"].get("msg_id") != turn.request:
            continue
        if message["msg_type"] == "status":
            idle = message["content"]["execution_state"] == "idle"
        else:
            _keep(turn.cell.outputs, message)


def _hear(show: Performance, client: Any, turn: _Turn) -> None:
    """Type an answer where one is asked for, and take the reply."""
    for channel in (client.stdin_channel, client.shell_channel):
        while channel.msg_ready():
            message = channel.get_msg(timeout=0)
            if message["parent_header"].get("msg_id") != turn.request:
                continue
            if message["msg_type"] == "execute_reply":
                turn.status = message["content"]["status"]
            elif message["msg_type"] == "input_request":
                prompt = message["content"]["prompt"]
                if not turn.answers:
                    show.problems.append(f"{turn.where}: {prompt!r} has no answer")
                    return
                show.prompts.append((turn.number, prompt, turn.answers[0]))
                client.input(turn.answers.pop(0))


def _keep(outputs: list[Any], message: dict[str, Any]) -> None:
    """An output as a notebook saves it."""
    kind, content = message["msg_type"], message["content"]
    if (
        kind == "stream"
        and outputs
        and outputs[-1].output_type == kind
        and outputs[-1].name == content["name"]
    ):
        outputs[-1].text += content["text"]
    elif kind in ("display_data", "execute_result", "stream", "error"):
        output = nbformat.v4.output_from_msg(message)
        if kind == "error":
            output.traceback = [_COLOURS.sub("", line) for line in output.traceback]
        outputs.append(output)
