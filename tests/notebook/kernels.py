"""A real kernel and a plain front end of it, for tests: what is sent is what arrives."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from loom_nb.testing.kernels import kernel_sockets

PYTHON = os.environ.get("LOOM_TEST_KERNEL_PYTHON", sys.executable)
"""The Python of the kernels: another environment tries another ipykernel."""
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@dataclass
class Cell:
    """What came of executing one cell."""

    request: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        return self.reply["content"]["status"]

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [m["content"] for m in self.messages if m["msg_type"] in kinds]

    @property
    def saved(self) -> list[dict[str, Any]]:
        """The outputs as a front end has them in the end."""
        outputs: list[dict[str, Any]] = []
        clear = False
        for message in self.messages:
            kind, content = message["msg_type"], message["content"]
            if kind == "clear_output":
                clear = True
                continue
            if kind == "update_display_data":
                slot = content["transient"]["display_id"]
                for output in outputs:
                    if output.get("transient", {}).get("display_id") == slot:
                        output["data"] = content["data"]
                continue
            if kind in ("display_data", "execute_result", "stream", "error"):
                outputs = [] if clear else outputs
                clear = False
                last = outputs[-1] if outputs else {}
                if kind == "stream" and (last.get("kind"), last.get("name")) == (kind, content["name"]):
                    last["text"] += content["text"]  # one print may come in pieces
                    continue
                outputs.append({"kind": kind, **content})
        return outputs

    @property
    def text(self) -> str:
        """Everything readable of what stays."""
        return "\n".join(
            output.get("data", {}).get("text/plain", output.get("text", "")) for output in self.saved
        )

    @property
    def error(self) -> str:
        (content,) = self.of("error")
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"]))


def waits_for(found: Callable[[], Any], seconds: float = 60) -> None:
    """Until this is so; a busy machine may take its time."""
    end = time.monotonic() + seconds
    while not found():
        if time.monotonic() > end:
            raise AssertionError(f"not so within {seconds:g} s")
        time.sleep(0.05)


def stop_button(messages: Iterable[dict[str, Any]]) -> str | None:
    """The comm of the Stop button that was opened in these."""
    for message in messages:
        content = message["content"]
        state = content.get("data", {}).get("state", {}) if message["msg_type"] == "comm_open" else {}
        if state.get("_model_module") == "anywidget":
            return str(content["comm_id"])
    return None


@dataclass
class Kernel:
    """One kernel with its client."""

    manager: KernelManager
    client: BlockingKernelClient
    strays: list[dict[str, Any]] = field(default_factory=list)
    """Outputs that belong to another request than the one that was waited for."""

    def submit(self, code: str, *, allow_stdin: bool = True) -> str:
        return str(self.client.execute(code, allow_stdin=allow_stdin))

    def run(
        self,
        code: str,
        *,
        allow_stdin: bool = True,
        watch: Callable[[dict[str, Any]], None] | None = None,
        timeout: float = 60,
    ) -> Cell:
        cell = self.collect(self.submit(code, allow_stdin=allow_stdin), watch=watch, timeout=timeout)
        if cell.status == "aborted":  # ipykernel 6 aborts what comes within a moment after a failure
            cell = self.collect(self.submit(code, allow_stdin=allow_stdin), watch=watch, timeout=timeout)
        return cell

    def said(self, code: str) -> str:
        """What a cell that must not fail prints or gives, without the line end."""
        cell = self.run(code)
        assert cell.status == "ok", cell.error
        return cell.text.strip()

    def collect(
        self, request: str, *, watch: Callable[[dict[str, Any]], None] | None = None, timeout: float = 60
    ) -> Cell:
        cell = Cell(request)
        while True:
            message = self.client.get_iopub_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") != request:
                self.strays.append(message)
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
            cell.messages.append(message)
            if watch is not None:
                watch(message)
        while cell.reply.get("parent_header", {}).get("msg_id") != request:
            cell.reply = self.client.get_shell_msg(timeout=timeout)
        return cell

    def until(self, request: str, wanted: Callable[[dict[str, Any]], bool], timeout: float = 60) -> None:
        """Read what this request sends until it is this."""
        while True:
            message = self.client.get_iopub_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") == request and wanted(message):
                return

    def press(self) -> None:
        """The interrupt button; from any thread."""
        os.kill(self.manager.provisioner.process.pid, signal.SIGINT)

    def restart(self) -> None:
        """Restart at once, whatever it was at."""
        self.client.stop_channels()
        self.manager.restart_kernel(now=True)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def send_comm(self, comm_id: str, content: dict[str, Any]) -> None:
        """A custom message of a widget, as a front end without subshells sends it."""
        data = {"method": "custom", "content": content}
        message = self.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        self.client.shell_channel.send(message)

    def heard(self, comm: str, kind: str) -> dict[str, Any]:
        """The next custom message of that type to a table."""
        while True:
            message = self.client.get_iopub_msg(timeout=20)
            if message["msg_type"] == "comm_msg" and message["content"]["comm_id"] == comm:
                content = message["content"]["data"].get("content", {})
                if content.get("type") == kind:
                    return content

    def said_by(self, comm: str, message: dict[str, Any], kind: str) -> dict[str, Any]:
        """What a table answers to a message."""
        self.send_comm(comm, message)
        return self.heard(comm, kind)


def specs(home: Path) -> KernelSpecManager:
    """Knows one kernel, "tried", of `PYTHON`; whatever else is installed is not seen."""
    folder = home / "kernels" / "tried"
    folder.mkdir(parents=True, exist_ok=True)
    argv = [PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "tried", "language": "python"})
    )
    return KernelSpecManager(kernel_dirs=[str(folder.parent)], ensure_native_kernel=False)


@contextmanager
def kernel(home: Path, **environment: str) -> Iterator[Kernel]:
    """A fresh kernel with a home of its own; keys of the tester are not in its environment."""
    env = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    env.pop("PYTEST_CURRENT_TEST", None)
    env |= {"LOOM_NB_HOME": str(home), "PYTHONWARNINGS": "default", **environment}
    with kernel_sockets() as sockets:
        manager = KernelManager(kernel_name="tried", kernel_spec_manager=specs(home), **sockets)
        manager.start_kernel(env=env, cwd=str(home))
        yield from _started(manager)


def _started(manager: KernelManager) -> Iterator[Kernel]:
    started = Kernel(manager, manager.client())
    try:
        started.client.start_channels()
        started.client.wait_for_ready(timeout=60)
        yield started
    finally:
        started.client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
