"""The background tasks of one session: commands that run on while the model does other things."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

from loom_nb.errors import ToolError
from loom_nb.sandbox import Child

MAX_RUNNING = 8
"""Tasks that run at once."""
MAX_KEPT = 40
"""Tasks that are remembered, ended ones included."""


@dataclass(frozen=True, slots=True)
class Task:
    """A command in the background."""

    name: str
    command: str
    child: Child

    def __str__(self) -> str:
        first = self.command.strip().splitlines()[0]
        shown = first if len(first) <= 80 else first[:77] + "..."
        return f"{self.name}  {self._state()}  {shown}"

    def _state(self) -> str:
        done = self.child.result
        if done is None:
            return f"runs for {time.monotonic() - self.child.started:.0f} s"
        if done.stopped:
            return f"{done.stopped} after {done.seconds:.0f} s"
        return f"ended after {done.seconds:.0f} s, exit code {done.exit_code}"


class Tasks:
    """By name, in the order in which they were started."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._count = 0
        self._closed = False

    def __iter__(self) -> Iterator[Task]:
        return iter(tuple(self._tasks.values()))

    def check_room(self) -> None:
        """Raises ToolError where no more may be started."""
        if self._closed:
            raise ToolError("the session is closed: no task can be started")
        if sum(task.child.result is None for task in self) >= MAX_RUNNING:
            raise ToolError(
                f"{MAX_RUNNING} tasks run already", fixes=["stop_task ends one; list_tasks names them"]
            )

    def add(self, command: str, child: Child) -> Task:
        """Remember a task under a new name. One that comes after the close is ended at once."""
        if self._closed:
            child.stop("session closed")
        self._count += 1
        task = Task(f"t{self._count}", command, child)
        self._tasks[task.name] = task
        for old in self:
            if len(self._tasks) > MAX_KEPT and old.child.result is not None:
                del self._tasks[old.name]
        return task

    def get(self, name: str) -> Task:
        """The task of that name. Raises ToolError where there is none."""
        if name not in self._tasks:
            known = ", ".join(self._tasks) or "none was started"
            raise ToolError(f"there is no task {name[:40]!r}", cause=f"tasks: {known}")
        return self._tasks[name]

    async def close(self, seconds: float) -> None:
        """End all, and wait for that, at most so long."""
        self._closed = True
        running = [task.child for task in self if task.child.result is None]
        for child in running:
            child.stop("session closed")
        if running:
            ends = [asyncio.ensure_future(child.finished()) for child in running]
            _, late = await asyncio.wait(ends, timeout=seconds)
            for end in late:
                end.cancel()
