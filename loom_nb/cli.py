"""`loom-nb`: the tutorial in JupyterLab, a notebook run without one, and what was run.

A face like the notebook: it reads its arguments, asks the rooms below, and prints.
"""

import argparse
import asyncio
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loom_nb import __version__
from loom_nb.errors import LoomError, LoomUsageError, SetupError
from loom_nb.settings import load

if TYPE_CHECKING:
    from rich.console import Console

    from loom_nb.protocols import RunRow

FIRST_LESSON = "00_first_cell.ipynb"
TUTORIAL_COPY = "loom-nb-tutorial"
"""The folder in the working directory that gets a copy of an installed tutorial."""

# as the kernel has it: empty lines and comments may stand above
_PROMPT = re.compile(r"(?:[ \t]*(?:#.*)?\n)*[ \t]*%%loom(?=\s|$)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; the exit code: 0 done, 1 failed, 2 mistyped, 130 interrupted."""
    options = _parser().parse_args(arguments)
    console = _console()
    command: "Callable[[argparse.Namespace, Console], int]" = options.command
    try:
        return command(options, console)
    except LoomError as error:
        _print_error(console, error)
        return 2 if isinstance(error, LoomUsageError) else 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loom-nb", description="An agent runtime that lives in your notebook.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"loom-nb {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    lab = commands.add_parser("lab", help="open the tutorial in JupyterLab")
    lab.add_argument("folder", nargs="?", type=Path, help="open this folder instead of the tutorial")
    lab.add_argument("--port", type=int, help="the server's port (default: the first free one from 8888)")
    lab.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    lab.set_defaults(command=_lab)

    run = commands.add_parser("run", help="run a notebook here and print what its %%%%loom cells answer")
    run.add_argument("notebook", type=Path)
    run.add_argument("-o", "--out", type=Path, help="the executed notebook (default: executed/NAME.ipynb)")
    run.add_argument("-m", "--model", help="the model of cells that name none (default: offline)")
    run.add_argument("--cell-timeout", type=float, metavar="S", help="seconds any cell may take")
    run.set_defaults(command=_run)

    runs = commands.add_parser("runs", help="list the runs kept on this machine")
    runs.add_argument("-n", "--limit", type=int, default=20, help="how many, the newest first (default: 20)")
    runs.set_defaults(command=_runs)

    doctor = commands.add_parser("doctor", help="check this installation and say what to do")
    doctor.set_defaults(command=_doctor)
    return parser


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def _print_error(console: "Console", error: LoomError) -> None:
    from rich.text import Text

    first, _, rest = f"{type(error).__name__}: {error}".partition("\n")
    console.print(Text(first, style="bold red"))
    if rest:
        console.print(Text(rest))


# --- lab ------------------------------------------------------------------------------------------


def _lab(options: argparse.Namespace, console: "Console") -> int:
    if importlib.util.find_spec("jupyterlab") is None:
        raise SetupError(
            "JupyterLab is not installed in this environment",
            cause=f"no module jupyterlab for {sys.executable}",
            fixes=['pip install "loom-nb[lab]"'],
        )
    if options.folder is not None and not options.folder.is_dir():
        raise LoomUsageError(f"no folder {options.folder}")
    folder = options.folder or tutorial_folder(Path.cwd())
    console.print(f"Opening {folder} in JupyterLab. Stop it with Ctrl-C.")
    command = lab_command(folder, port=options.port, browser=not options.no_browser)
    process = subprocess.Popen(command)  # noqa: S603  our own interpreter and a folder
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the server got it too, and asks before it stops


def lab_command(folder: Path, *, port: int | None = None, browser: bool = True) -> list[str]:
    """What starts JupyterLab in `folder`, at the first lesson if it is there."""
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}"]
    if (folder / FIRST_LESSON).is_file():
        command.append(str(folder / FIRST_LESSON))
    if port is not None:
        command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # the user of a container: the server would refuse
        command.append("--allow-root")
    return command


def tutorial_folder(working: Path) -> Path:
    """The lessons, where they may be edited: those of the source tree, or a copy in `working`.

    A copy that is already there is kept, with the reader's changes; lessons it lacks are added.
    Raises SetupError when this installation has no lessons.
    """
    package = Path(__file__).resolve().parent
    in_source_tree = package.parent / "tutorial"
    if (in_source_tree / FIRST_LESSON).is_file() and (package.parent / "pyproject.toml").is_file():
        return in_source_tree
    shipped = package / "tutorial"
    if not shipped.is_dir():
        raise SetupError(
            "this installation has no tutorial", fixes=["loom-nb lab FOLDER", "reinstall loom-nb"]
        )
    copy = working / TUTORIAL_COPY
    for source in sorted(path for path in shipped.rglob("*") if path.is_file()):
        target = copy / source.relative_to(shipped)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return copy


# --- run ------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace, console: "Console") -> int:
    notebook: Path = options.notebook
    out: Path = options.out or Path("executed") / f"{notebook.stem}.ipynb"
    node = _read_notebook(notebook)
    settings = load(model=options.model)
    environment = {**os.environ, "LOOM_NB_MODEL": settings.model} if options.model else dict(os.environ)
    failure = _Execution(node, notebook, environment, options.cell_timeout, console).play()

    import nbformat

    out.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(node, out)
    if failure:
        console.print(f"\nStopped: {failure}", style="bold red", markup=False)
        console.print(f"What ran until then: {out}", markup=False)
        return 1
    console.print(f"\nExecuted notebook: {out}", markup=False)
    console.print("Open the tutorial in JupyterLab: loom-nb lab", markup=False)
    return 0


def _read_notebook(path: Path) -> Any:
    import nbformat

    try:
        node = nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise LoomUsageError(f"no notebook {path}") from None
    except (OSError, ValueError, nbformat.reader.NotJSONError) as error:
        raise LoomUsageError(f"{path} is not a notebook", cause=str(error).splitlines()[0][:200]) from None
    language = node.metadata.get("kernelspec", {}).get("language", "python")
    if language != "python":
        raise LoomUsageError(f"{path} is a notebook for {language}", cause="loom_nb runs in Python")
    return node


@dataclass
class _Execution:
    """One notebook, run by a kernel of this very Python, told in the terminal cell by cell."""

    node: Any
    path: Path
    environment: dict[str, str]
    cell_timeout: float | None
    console: "Console"

    def play(self) -> str:
        """Execute the notebook in place; what stopped it, or nothing."""
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

        # no kernel folders: only the kernel of this Python is left, whatever else is registered
        kernel = AsyncKernelManager(
            kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[])
        )
        client = NotebookClient(
            self.node,
            km=kernel,
            timeout=self.cell_timeout,
            resources={"metadata": {"path": str(self.path.resolve().parent)}},
            on_cell_execute=self._started,
            on_cell_executed=self._executed,
        )
        try:
            asyncio.run(client.async_execute(env=self.environment))
        except CellExecutionError as error:
            return f"{error.ename}: {error.evalue.splitlines()[0] if error.evalue else ''}"
        except CellTimeoutError:
            return f"a cell took longer than {self.cell_timeout} s"
        except DeadKernelError:
            return "the kernel died"
        except KeyboardInterrupt:
            return "interrupted"
        return ""

    def _started(self, cell: Any, cell_index: int) -> None:
        if is_prompt(cell):
            self._tell_prompt(cell)

    def _executed(self, cell: Any, cell_index: int, execute_reply: Any) -> None:
        from rich.text import Text

        if is_prompt(cell) or execute_reply["content"].get("status") == "error":
            for text in plain_outputs(cell):
                self.console.print(Text.from_ansi(text))

    def _tell_prompt(self, cell: Any) -> None:
        from rich.rule import Rule
        from rich.text import Text

        head, _, body = cell.source.strip().partition("\n")
        self.console.print(Rule(Text(head, style="bold"), align="left", style="dim"))
        if body.strip():
            self.console.print(Text(body.strip(), style="italic"))
            self.console.print()


def is_prompt(cell: Any) -> bool:
    """Whether a cell of a notebook is a `%%loom` cell."""
    return cell.cell_type == "code" and bool(_PROMPT.match(cell.source))


def plain_outputs(cell: Any) -> list[str]:
    """A cell's outputs as a terminal can show them."""
    told = []
    for output in cell.get("outputs", ()):
        match output.output_type:
            case "stream":
                told.append(output.text.rstrip("\n"))
            case "error":
                told.append("\n".join(output.traceback))
            case _:
                text = output.data.get("text/plain", "")
                told.append(text if isinstance(text, str) else "".join(text))
    return [text for text in told if text.strip()]


# --- runs -----------------------------------------------------------------------------------------


def _runs(options: argparse.Namespace, console: "Console") -> int:
    from rich.text import Text

    from loom_nb.stores import default_store

    home = load().home
    database = home / "loom.db"
    rows: "Sequence[RunRow]" = ()
    if database.exists():
        with closing(default_store(database)) as store:
            rows = store.runs(limit=options.limit)
    if not rows:
        console.print(f"No runs in {home} yet.", markup=False)
        return 0
    for row in rows:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.started))
        goal = " ".join(row.goal.split())
        line = f"{when}  {row.run:<8} {row.status:<11} {row.model:<24} {goal}"
        console.print(Text(line if len(line) <= 100 else line[:99] + "…"))
    return 0


# --- doctor ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """One finding about an installation, and what to do about it."""

    name: str
    state: Literal["ok", "warn", "blocked"]
    detail: str
    action: str = ""


def _doctor(options: argparse.Namespace, console: "Console") -> int:
    from rich.text import Text

    found = tuple(checks(load()))
    style = {"ok": "green", "warn": "yellow", "blocked": "bold red"}
    for check in found:
        console.print(
            Text.assemble((f"{check.state:<8}", style[check.state]), f"{check.name}: {check.detail}")
        )
        if check.action:
            console.print(Text(f"        → {check.action}"))
    return 1 if any(check.state == "blocked" for check in found) else 0


def checks(settings: Settings) -> Iterator[Check]:
    """What stands, what is missing, what to do: without network, without showing any key."""
    yield Check("Python", "ok", f"{sys.version.split()[0]}, loom_nb {__version__}")
    yield _check_packages()
    yield _check_lab()
    yield _check_home(settings.home)
    yield from _check_model(settings)
    for notice in settings.notices:
        yield Check("environment", "warn", notice)


def _check_packages() -> Check:
    names = ("ipykernel", "ipywidgets", "anywidget", "nbclient")
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        return Check(
            "notebook", "blocked", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}"
        )
    return Check("notebook", "ok", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names))


def _check_lab() -> Check:
    if importlib.util.find_spec("jupyterlab") is None:
        return Check("JupyterLab", "warn", "not in this environment", 'pip install "loom-nb[lab]"')
    from jupyter_core.paths import jupyter_path

    version = importlib.metadata.version("jupyterlab")
    places = [Path(place) / "loom-nb" / "package.json" for place in jupyter_path("labextensions")]
    if not any(place.is_file() for place in places):
        detail = f"{version}; %%loom cells are coloured as Python: the lab extension is not installed"
        return Check("JupyterLab", "warn", detail, "install loom-nb as a wheel in JupyterLab's environment")
    return Check("JupyterLab", "ok", f"{version}, with the lab extension")


def _check_home(home: Path) -> Check:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        return Check("runs", "blocked", f"cannot write in {home}: {error.strerror}", "set LOOM_NB_HOME")
    return Check("runs", "ok", f"kept in {home}")


def _check_model(settings: Settings) -> Iterator[Check]:
    from loom_nb.models.registry import VENDORS, Model

    origin = settings.origins["model"]
    told = f"{settings.model} (from {origin})" if origin != "default" else settings.model
    try:
        model = Model.from_name(settings.model)
    except SetupError as error:
        yield Check("model", "blocked", f"{told}: {error.title}", next(iter(error.fixes), ""))
        return
    if model.has_key():
        yield Check("model", "ok", told)
    else:
        yield Check("model", "blocked", f"{told} has no key", f"export {model.key_env[0]}=…")
    set_here = sorted({name for v in VENDORS.values() for name in v.key_env if os.environ.get(name)})
    yield Check("keys", "ok", f"in the environment: {', '.join(set_here) or 'none (offline needs none)'}")
