"""`%%loom` and `%loom`, as IPython knows them: each hands its text to the workbench."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.magic import no_var_expand

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
    def loom(line: str, cell: str) -> Any:
        return bench.play(line, cell)

    loom.__doc__ = cells.usage()
    return _plain(loom)


def _line_magic(bench: "Workbench") -> Callable[[str], Any]:
    def loom(line: str) -> Any:
        return line_magics.perform(bench, line)

    loom.__doc__ = line_magics.usage()
    return _plain(loom)


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """IPython is not to expand $name and {name} in the text: prompts have rules of their own."""
    marked: Callable[..., Any] = no_var_expand(function)
    return marked
