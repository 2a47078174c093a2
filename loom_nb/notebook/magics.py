"""`%%loom` and `%loom`, as IPython knows them: each hands its text to the workbench."""

import inspect
import sys
from collections.abc import Callable, Generator
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


def unregister(shell: Any) -> None:
    """Take both away."""
    for kind in ("cell", "line"):
        shell.magics_manager.magics[kind].pop("loom", None)


def _cell_magic(bench: "Workbench") -> Callable[[str, str], Any]:
    def loom(line: str, cell: str) -> Awaiting:
        if _is_plain_cell(_caller()):
            raise _not_awaited("a cell that does not await it cannot run it")
        return Awaiting(bench, line, cell)

    loom.__doc__ = cells.usage()
    return _plain(loom)


class Awaiting:
    """A `%%loom` cell that has not begun: it does when it is awaited, and not before."""

    def __init__(self, bench: "Workbench", line: str, cell: str) -> None:
        self._bench = bench
        self._text = (line, cell)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._bench.play(*self._text).__await__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what IPython and copy ask of any value
            raise AttributeError(name)
        raise _not_awaited(f".{name} was asked of a run that has not begun")

    def __repr__(self) -> str:
        return f"<%%loom that has not begun: {_AWAIT}>"


_AWAIT = "await get_ipython().run_cell_magic('loom', '', prompt)"


def _not_awaited(cause: str) -> LoomUsageError:
    return LoomUsageError("%%loom has to be awaited", cause=cause, fixes=[_AWAIT])


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
        return line_magics.perform(bench, line)

    loom.__doc__ = line_magics.usage()
    return _plain(loom)


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """IPython is not to expand $name and {name} in the text: prompts have rules of their own."""
    marked: Callable[..., Any] = no_var_expand(function)
    return marked
