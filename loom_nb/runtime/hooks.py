"""Hooks: functions of the user that are told what a run does.

A hook is called with keywords, may be async, and cannot end a run: what it raises becomes a notice.
`before_tool` is a judge as well: it may return a `Verdict` that denies the call, asks a person, or
allows it with other arguments; what goes wrong in it denies the call.
"""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from loom_nb.errors import LoomUsageError, NotBuiltError

HOOKS = (
    "before_run",
    "after_run",
    "run_error",
    "before_llm",
    "after_llm",
    "before_tool",
    "after_tool",
    "on_context_compact",
    "context_renewed",
)
_LATER = ("signal_received", "signal_decided")

Hook = Callable[..., Any]


class Hooks:
    """The hooks of one agent by name, in the order in which they were added."""

    __slots__ = ("_hooks", "given")

    def __init__(self) -> None:
        self._hooks: dict[str, list[Hook]] = {}
        self.given = False
        """Whether a hook was ever added: a run asks at each of its points."""

    def on(self, name: str, hook: Hook) -> None:
        """Add a hook."""
        if name in _LATER:
            raise NotBuiltError(f"nothing calls the hook '{name}' in this version", fixes=[", ".join(HOOKS)])
        if name not in HOOKS:
            raise LoomUsageError(f"there is no hook '{name}'", fixes=[", ".join(HOOKS)])
        if not callable(hook):
            raise LoomUsageError(f"a hook is a function, not {type(hook).__name__}")
        self._hooks.setdefault(name, []).append(hook)
        self.given = True

    def off(self, name: str, hook: Hook) -> None:
        """Remove a hook that was added. Nothing happens if it was not."""
        if hook in self._hooks.get(name, ()):
            self._hooks[name].remove(hook)

    def named(self, name: str) -> tuple[Hook, ...]:
        """The hooks of that name, in order."""
        return tuple(self._hooks.get(name, ()))

    async def call(self, name: str, **event: Any) -> list[str]:
        """Call the hooks of that name; gives what went wrong, in words."""
        failures: list[str] = []
        for hook in self.named(name):
            try:
                done = hook(**event)
                if inspect.isawaitable(done):
                    await done
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                failures.append(f"the hook {name} cancelled itself")
            except Exception as error:  # noqa: BLE001  a hook cannot end a run
                failures.append(f"the hook {name} failed: {type(error).__name__}: {error}")
        return failures
