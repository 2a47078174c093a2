"""`%%loom` and `%loom`, as IPython knows them: each hands its text to the workbench."""

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable, Generator
from types import FrameType
from typing import TYPE_CHECKING, Any

from IPython.core.magic import no_var_expand

from loom_nb.errors import LoomUsageError
from loom_nb.notebook import cell as cells
from loom_nb.notebook import line_magics

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench


def register(shell: Any, bench: "Workbench") -> None:
    """Give the shell both magics."""
    shell.register_magic_function(_cell_magic(bench), "cell", "loom")
    shell.register_magic_function(_line_magic(bench), "line", "loom")
    shell.register_magic_function(_misplaced, "line", _MISPLACED)


def unregister(shell: Any) -> None:
    """Take both away."""
    for kind, name in (("cell", "loom"), ("line", "loom"), ("line", _MISPLACED)):
        shell.magics_manager.magics[kind].pop(name, None)


_MISPLACED = "%loom"
"""What IPython takes a `%%loom` for that is not the first line of its cell: a line magic of this name."""


def _misplaced(_: str) -> None:
    """Say where %%loom belongs: it stands in the cell that loads the extension, or in a loop."""
    raise cells.not_the_first_line("what stands above it in this cell has run")


def _cell_magic(bench: "Workbench") -> Callable[[str, str], Any]:
    def loom(line: str, cell: str) -> Awaiting:
        if _is_plain_cell(_caller()):
            raise _not_awaited("%%loom", _AWAIT, "a cell that does not await it cannot run it")
        return Awaiting(lambda: bench.play(line, cell), "%%loom", _AWAIT)

    loom.__doc__ = cells.usage()
    return _plain(loom)


class Awaiting:
    """A magic that has not begun: it does when it is awaited, and not before.

    Args:
        begin: begins it.
        magic: how it is typed.
        how: how it is awaited.
    """

    def __init__(self, begin: Callable[[], Awaitable[Any]], magic: str, how: str) -> None:
        self._begin = begin
        self._told = (magic, how)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._begin().__await__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what IPython and copy ask of any value
            raise AttributeError(name)
        raise _not_awaited(*self._told, f".{name} was asked of a run that has not begun")

    def __repr__(self) -> str:
        magic, how = self._told
        return f"<{magic} that has not begun: {how}>"


_AWAIT = "await get_ipython().run_cell_magic('loom', '', prompt)"


def _not_awaited(magic: str, how: str, cause: str) -> LoomUsageError:
    return LoomUsageError(f"{magic} has to be awaited", cause=cause, fixes=[how])


def _caller() -> FrameType | None:
    """The frame outside IPython that called the magic."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "IPython":
        frame = frame.f_back
    return frame


def _is_plain_cell(frame: FrameType | None) -> bool:
    """Whether this is the code of a cell or script itself, without any await: nothing there will wait."""
    if frame is None or frame.f_code.co_name != "<module>":
        return False
    return not frame.f_code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)


def _line_magic(bench: "Workbench") -> Callable[[str], Any]:
    def loom(line: str) -> Any:
        if not line_magics.is_awaited(line):
            return line_magics.perform(bench, line)
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # a terminal, a script: nobody waits, so this does
            return bench.shell.loop_runner(line_magics.carry_out(bench, line))
        magic, how = (
            f"%loom {line.split(maxsplit=1)[0]}",
            f"await get_ipython().run_line_magic('loom', {line!r})",
        )
        if _is_plain_cell(_caller()):
            raise _not_awaited(
                magic, how, "a line of its own at the left edge of a cell is awaited by itself"
            )
        return Awaiting(lambda: line_magics.carry_out(bench, line), magic, how)

    loom.__doc__ = line_magics.usage()
    return _plain(loom)


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """IPython is not to expand $name and {name} in the text: prompts have rules of their own."""
    marked: Callable[..., Any] = no_var_expand(function)
    return marked
