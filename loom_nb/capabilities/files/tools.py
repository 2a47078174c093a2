"""The tools over one folder, as a model sees them, each with what it tells before it acts."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from loom_nb.border import clean
from loom_nb.capabilities import notebook_file
from loom_nb.capabilities.files import moving, reading, rewriting, searching, undoing
from loom_nb.capabilities.files.folder import Folder
from loom_nb.capabilities.files.history import MAX_KEPT_FILE, History
from loom_nb.capabilities.files.paths import Refused, amount, plain, shown
from loom_nb.capabilities.files.plans import WORST, Plan
from loom_nb.capabilities.secret_names import looks_secret
from loom_nb.errors import BorderError, ToolError
from loom_nb.messages import Origin, ResultPart, TextPart
from loom_nb.protocols import current_call
from loom_nb.tools import Assessment, Effect, Tool, tool

_READS: frozenset[Effect] = frozenset({"reads"})


class Looking:
    """The tools that read, list and search."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def tools(self) -> tuple[Tool, ...]:
        """As a capability brings them."""
        made: Callable[[Callable[..., Any]], Tool] = tool(read_only=True, timeout=60.0)
        by_path = (self.read_file, self.list_files, self.tree, self.read_notebook)
        by_glob = ((self.glob, self._about_glob), (self.grep, self._about_grep))
        return (
            *(replace(made(function), assess=self._about_path) for function in by_path),
            *(replace(made(function), assess=about) for function, about in by_glob),
        )

    def read_file(self, path: str, start_line: int = 1, line_count: int = 400) -> list[ResultPart]:
        """Read lines of a text file, or look at an image or a PDF.

        Args:
            path: the file, relative to the folder, such as data/prices.csv.
            start_line: the first line, counted from 1.
            line_count: how many lines, at most 2000.
        """
        return reading.read(self._folder, path, start_line, line_count)

    def list_files(self, path: str = ".") -> list[TextPart]:
        """List a folder: names with sizes, folders end with '/'.

        Args:
            path: the folder to list, relative to the top; '.' is the top.
        """
        return [TextPart(reading.listing(self._folder, path), Origin("file", clean(path)))]

    def tree(self, path: str = ".", depth: int = 3) -> list[TextPart]:
        """Show folders within folders as an outline.

        Args:
            path: where to begin, relative to the top; '.' is the top.
            depth: how many levels, 1 to 10.
        """
        return [TextPart(searching.tree(self._folder, path, depth), Origin("file", clean(path)))]

    def read_notebook(self, path: str) -> list[TextPart]:
        """List the cells of a notebook file: number, kind, id, source, beginning of the outputs.

        Args:
            path: the .ipynb file, relative to the folder.
        """
        with self._folder.open_file(path) as file:
            data = file.read(MAX_KEPT_FILE + 1)
        if len(data) > MAX_KEPT_FILE:
            raise ToolError(f"{shown(path)} is too large (over {amount(MAX_KEPT_FILE)})")
        try:
            return [TextPart(notebook_file.listed(data, path), Origin("file", clean(path)))]
        except BorderError as error:
            raise ToolError(f"{shown(path)} is no sound notebook: {error.title}") from None

    def glob(self, pattern: str) -> list[TextPart]:
        """Find files by name.

        Args:
            pattern: such as *.csv (top folder only) or **/*.py (everywhere); * ? [a-z] and ** are known.
        """
        return [searching.names(self._folder, pattern)]

    async def grep(self, pattern: str, glob: str = "**/*", ignore_case: bool = False) -> list[TextPart]:
        """Find lines of text files by a regular expression (Python's).

        Args:
            pattern: the regular expression, matched within each line.
            glob: which files, such as **/*.py.
            ignore_case: whether A matches a.
        """
        return [await searching.lines(self._folder, pattern, glob, ignore_case)]

    def _about_path(self, path: str = ".", **_: object) -> Assessment:
        try:
            absolute = self._folder.real(path)
        except Refused as refused:
            return Assessment(_READS, refusal=refused.title)
        except (ToolError, OSError):
            return Assessment(_READS)  # there is nothing to be read: the tool says why
        secret = looks_secret(absolute) or looks_secret(path)
        reasons = (f"by its name {plain(path)} holds secrets",) if secret else ()
        return Assessment(_READS, reasons=reasons, paths=(absolute,))

    def _about_glob(self, pattern: str) -> Assessment:
        return self._about_search(pattern)

    def _about_grep(self, pattern: str, glob: str = "**/*", ignore_case: bool = False) -> Assessment:
        return self._about_search(glob)

    def _about_search(self, glob: str) -> Assessment:
        """The folder that is searched is the part of the pattern before its first wildcard."""
        fixed = []
        for name in glob.split("/")[:-1]:
            if any(mark in name for mark in "*?["):
                break
            fixed.append(name)
        told = self._about_path("/".join(fixed) or ("." if not glob.startswith("/") else glob))
        return Assessment(_READS, refusal=told.refusal, paths=told.paths)


class Acting:
    """The tools that change something. Each change is planned first, and told, by the same code."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._history = History()

    def tools(self) -> tuple[Tool, ...]:
        """As a capability brings them: all can be undone, unless their assessment says otherwise."""
        made: Callable[[Callable[..., Any]], Tool] = tool(effects=WORST, timeout=60.0)
        plans: tuple[tuple[Callable[..., str], Callable[..., AbstractContextManager[Plan]]], ...] = (
            (self.write_file, self._write),
            (self.edit_file, self._edit),
            (self.move_file, self._move),
            (self.delete_file, self._delete),
            (self.make_folder, self._make),
            (self.edit_notebook, self._edit_cell),
            (self.undo_change, self._undo),
        )
        return tuple(
            replace(made(function), undoable=True, assess=self._teller(plan)) for function, plan in plans
        )

    def write_file(self, path: str, content: str) -> str:
        """Create a text file, or overwrite it with new content (UTF-8). Missing folders are made.

        Args:
            path: the file, relative to the folder.
            content: all of its text.
        """
        return self._do(lambda: self._write(path, content))

    def edit_file(self, path: str, old_text: str, new_text: str, replace_all: bool = False) -> str:
        """Exchange a piece of a text file. Encoding and line ends stay as they are.

        Args:
            path: the file, relative to the folder.
            old_text: the piece, to the letter; it must stand in the file exactly once.
            new_text: what takes its place; empty removes it.
            replace_all: exchange it wherever it stands.
        """
        return self._do(lambda: self._edit(path, old_text, new_text, replace_all))

    def move_file(self, source: str, target: str) -> str:
        """Move or rename a file or a folder. Nothing is overwritten. Missing folders are made.

        Args:
            source: what is moved, relative to the folder.
            target: its new path, the name included.
        """
        return self._do(lambda: self._move(source, target))

    def delete_file(self, path: str) -> str:
        """Move a file or a folder with all in it to the trash.

        Args:
            path: what is deleted, relative to the folder.
        """
        return self._do(lambda: self._delete(path))

    def make_folder(self, path: str) -> str:
        """Make a folder, and those above it that are missing.

        Args:
            path: the new folder, relative to the top.
        """
        return self._do(lambda: self._make(path))

    def edit_notebook(
        self,
        path: str,
        action: notebook_file.Action,
        cell: int | str | None = None,
        source: str | None = None,
        cell_type: notebook_file.Kind | None = None,
    ) -> str:
        """Insert, replace or delete one cell of a notebook file; outputs and all else are kept.

        Args:
            path: the .ipynb file, relative to the folder.
            action: insert, replace or delete.
            cell: its number, counted from 0, or its id; for insert the cell that it goes before, or nothing
                for the end.
            source: the new source, for insert and replace.
            cell_type: code, markdown or raw.
        """
        return self._do(lambda: self._edit_cell(path, action, cell, source, cell_type))

    def undo_change(self) -> str:
        """Take back the last change made to files in this session; again for the one before it."""
        return self._do(self._undo)

    def _do(self, plan: Callable[[], AbstractContextManager[Plan]]) -> str:
        with self._history.lock, plan() as ready:
            told = ready.carry_out(self._folder, self._history)
            if isinstance(ready, rewriting.Rewrite):
                _keep_written(ready)
            return told

    def _teller(self, plan: Callable[..., AbstractContextManager[Plan]]) -> Callable[..., Assessment]:
        def assess(**arguments: Any) -> Assessment:
            try:
                with plan(**arguments) as ready:
                    return ready.told(self._folder)
            except Refused as refused:
                return Assessment(WORST, refusal=refused.title)
            except (ToolError, OSError) as error:
                return would_fail(error)

        return assess

    def _write(self, path: str, content: str) -> AbstractContextManager[Plan]:
        return rewriting.writing(self._folder, path, content)

    def _edit(
        self, path: str, old_text: str, new_text: str, replace_all: bool = False
    ) -> AbstractContextManager[Plan]:
        return rewriting.editing(self._folder, path, old_text, new_text, replace_all)

    def _move(self, source: str, target: str) -> AbstractContextManager[Plan]:
        return moving.moving(self._folder, source, target)

    def _delete(self, path: str) -> AbstractContextManager[Plan]:
        return moving.deleting(self._folder, path)

    def _make(self, path: str) -> AbstractContextManager[Plan]:
        return moving.making_folder(self._folder, path)

    def _edit_cell(
        self,
        path: str,
        action: notebook_file.Action,
        cell: int | str | None = None,
        source: str | None = None,
        cell_type: notebook_file.Kind | None = None,
    ) -> AbstractContextManager[Plan]:
        edit = notebook_file.Edit(action, cell, source, cell_type)
        return rewriting.editing_notebook(self._folder, path, edit)

    def _undo(self) -> AbstractContextManager[Plan]:
        return undoing.undoing(self._folder, self._history)


def _keep_written(done: rewriting.Rewrite) -> None:
    """Keep what was written with the run; what looks secret by its name stays where it is."""
    context = current_call.get()
    if context is not None and not looks_secret(done.place.path):
        context.product("file", done.after, clean(done.place.path))


def would_fail(error: Exception) -> Assessment:
    """For a call that would fail as things are: the model is told, and nobody is asked."""
    title = error.title if isinstance(error, ToolError) else str(error)
    return Assessment(WORST, reasons=(f"would fail as things are: {title}",), failure=title)
