"""`loom-nb`: the tutorial in JupyterLab, a notebook run without one, and what was run.

A face like the notebook: it reads its arguments, asks the rooms below, and prints.
"""

import argparse
import asyncio
import contextlib
import importlib.metadata
import importlib.util
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loom_nb import __version__
from loom_nb.errors import LoomError, LoomUsageError, SetupError
from loom_nb.settings import load
from loom_nb.wording import moment

if TYPE_CHECKING:
    from rich.console import Console

    from loom_nb.protocols import RunRow

LAB_EXTRA = 'pip install "loom-nb[lab]"'
PACKAGE = Path(__file__).resolve().parent
FIRST_LESSON = "00_first_cell.ipynb"
TUTORIAL_COPY = "loom-nb-tutorial"
"""The folder in the working directory that gets a copy of an installed tutorial."""

MAX_NOTEBOOK = 256 * 2**20
"""Bytes of a notebook that is looked through."""

# as the kernel has it: empty lines and comments may stand above
_PROMPT = re.compile(r"(?:[ \t]*(?:#.*)?\n)*[ \t]*%%loom(?=\s|$)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; the exit code: 0 done, 1 failed, 2 mistyped, 130 interrupted."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace, Console], int] = options.command
    console = _console()
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
    run.add_argument("--cell-timeout", type=_seconds, metavar="S", help="seconds any cell may take")
    run.set_defaults(command=_run)

    runs = commands.add_parser("runs", help="list the runs kept on this machine")
    runs.add_argument("-n", "--limit", type=int, default=20, help="how many, the newest first (default: 20)")
    runs.set_defaults(command=_runs)

    policy = commands.add_parser("policy", help="put calls before the judge without running them")
    policies = policy.add_subparsers(required=True, metavar="ACTION")
    check = policies.add_parser(
        "check", help="one case of JSON a line in, one verdict a line out; 1 where a case expects another"
    )
    check.add_argument("cases", help="a file of JSON lines, or - for the standard input")
    check.add_argument("--policy", help="a mode, or module:attribute (default: that of a notebook)")
    check.add_argument("--root", default=".", help="the folder of cases that name none (default: here)")
    check.set_defaults(command=_policy_check)
    tools = policies.add_parser("tools", help="the tools that cases may name, and their arguments")
    tools.set_defaults(command=_policy_tools)

    scan = commands.add_parser("scan", help="look for secrets in notebooks; 1 where something is found")
    scan.add_argument("notebooks", nargs="+", type=Path)
    scan.set_defaults(command=_scan)

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


# --- scan -----------------------------------------------------------------------------------------


def _scan(options: argparse.Namespace, console: "Console") -> int:
    from rich.text import Text

    from loom_nb.border import parse_object
    from loom_nb.errors import BorderError
    from loom_nb.notebook.key_scan import scan

    total = 0
    for path in options.notebooks:
        try:
            notebook = parse_object(path.read_bytes(), what=path.name, max_bytes=MAX_NOTEBOOK)
        except (OSError, BorderError) as error:
            raise LoomUsageError(f"cannot read {path}", cause=str(error).splitlines()[0]) from None
        found = scan(notebook)
        total += len(found)
        for one in found:
            console.print(Text(f"{path}: {one}"))
            console.print(Text(f"  {one.fix}", style="dim"))
    return 1 if total else 0


# --- policy ---------------------------------------------------------------------------------------


def _policy_check(options: argparse.Namespace, console: "Console") -> int:
    from loom_nb.policy_check import Finding, PolicyCheck, policy_from

    sys.path.insert(0, str(Path.cwd()))  # a policy of the user's own lies beside the cases

    async def findings() -> list[Finding]:
        found: list[Finding] = []
        policy = policy_from(options.policy) if options.policy else None
        async with PolicyCheck(policy, options.root) as check:
            async for one in check.check(_lines(options.cases)):
                print(json.dumps(one.plain(), ensure_ascii=False), flush=True)
                found.append(one)
        return found

    found = asyncio.run(findings())
    wrong = [one for one in found if not one.as_expected]
    counts = Counter(one.verdict for one in found)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("allow", "ask", "deny"))
    print(f"{len(found)} cases: {told}; {len(wrong)} other than expected", file=sys.stderr)
    return 1 if wrong else 0


def _lines(name: str) -> list[str]:
    try:
        return sys.stdin.read().splitlines() if name == "-" else Path(name).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LoomUsageError(f"cannot read {name}", cause=str(error)) from None


def _policy_tools(options: argparse.Namespace, console: "Console") -> int:
    from loom_nb.policy_check import PolicyCheck

    async def listed() -> None:
        async with PolicyCheck() as check:
            for tool in await check.tools():
                arguments = ", ".join(tool.schema.get("properties", {}))
                print(f"{tool.name}({arguments})  {', '.join(tool.sorted_effects)}")

    asyncio.run(listed())
    return 0


# --- lab ------------------------------------------------------------------------------------------


def _lab(options: argparse.Namespace, console: "Console") -> int:
    if not _is_installed("jupyterlab"):
        raise SetupError(
            "JupyterLab is not installed in this environment",
            cause=f"no module jupyterlab for {sys.executable}",
            fixes=[LAB_EXTRA],
        )
    if options.folder is not None and not options.folder.is_dir():
        raise LoomUsageError(f"no folder {options.folder}")
    folder = options.folder or tutorial_folder(Path.cwd())
    console.print(f"Opening {folder} in JupyterLab. Stop it with Ctrl-C.")
    command = lab_command(folder, port=options.port, browser=not options.no_browser)
    if os.name == "posix":
        os.execv(command[0], command)  # noqa: S606  this process becomes the server, so signals reach it
    return subprocess.call(command)  # noqa: S603  our own interpreter and a folder


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # what an import hook may say
        return False


def lab_command(folder: Path, *, port: int | None = None, browser: bool = True) -> list[str]:
    """What starts JupyterLab in `folder`, at the first lesson if it is there."""
    in_source_tree = (folder.parent / "pyproject.toml").is_file()  # the worked examples are beside it
    root = folder.parent if in_source_tree else folder
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    if (folder / FIRST_LESSON).is_file():
        lesson = (folder / FIRST_LESSON).relative_to(root).as_posix()
        command.append(f"--LabApp.default_url=/lab/tree/{lesson}")
    if port is not None:
        command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # the user of a container: the server would refuse
        command.append("--allow-root")
    return command


def tutorial_folder(working: Path, *, package: Path = PACKAGE) -> Path:
    """The lessons, where they may be edited: those of the source tree, or a copy in `working`.

    A copy that is already there is kept, with the reader's changes; lessons it lacks are added.
    Raises SetupError when this installation has no lessons.
    """
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

    out.parent.mkdir(parents=True, exist_ok=True)
    _nbformat().write(node, out)
    if failure:
        console.print(f"\nStopped: {failure}", style="bold red", markup=False)
        console.print(f"What ran until then: {out}", markup=False)
        return 1
    console.print(f"\nExecuted notebook: {out}", markup=False)
    console.print(f"Open the tutorial in JupyterLab: {_this_command()} lab", markup=False)
    return 0


def _seconds(text: str) -> int:
    """A positive number of seconds, rounded up: kernels are waited for in whole ones."""
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError(text)
    return math.ceil(value)


def _this_command() -> str:
    """How to call this program again from this folder, in a new shell."""
    script = Path(sys.executable).parent / "loom-nb"
    if not script.is_file():
        return f"{sys.executable} -m loom_nb"
    if script.is_relative_to(Path.cwd()):
        return str(script.relative_to(Path.cwd()))
    return "loom-nb" if shutil.which("loom-nb") else str(script)


def _read_notebook(path: Path) -> Any:
    nbformat = _nbformat()
    try:
        node = nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise LoomUsageError(f"no notebook {path}") from None
    except (OSError, ValueError, nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        raise LoomUsageError(f"{path} is not a notebook", cause=str(error).partition("\n")[0][:200]) from None
    if not isinstance(node.get("cells"), list):
        raise LoomUsageError(f"{path} is not a notebook", cause="it has no cells")
    language = node.metadata.get("kernelspec", {}).get("language", "python")
    if language != "python":
        raise LoomUsageError(f"{path} is a notebook for {language}", cause="loom_nb runs in Python")
    return node


def _nbformat() -> Any:
    """A library whose functions carry no types."""
    import nbformat

    return nbformat


@dataclass
class _Execution:
    """One notebook, run by a kernel of this very Python, told in the terminal cell by cell."""

    node: Any
    path: Path
    environment: dict[str, str]
    cell_timeout: int | None
    console: "Console"

    def play(self) -> str:
        """Execute the notebook in place; what stopped it, or nothing."""
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

        try:
            asyncio.run(self._execute())
        except CellExecutionError as error:
            first = (error.evalue or "").partition("\n")[0]
            return f"{error.ename}: {first}".removesuffix(": ")
        except CellTimeoutError:
            return f"a cell took longer than {self.cell_timeout} s"
        except DeadKernelError:
            return "the kernel died"
        except (KeyboardInterrupt, asyncio.CancelledError):
            return "interrupted"
        return ""

    async def _execute(self) -> None:
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager

        from loom_nb.testing.kernels import kernel_sockets

        # no kernel folders: only the kernel of this Python is left, whatever else is registered
        specs = KernelSpecManager(kernel_dirs=[])
        with kernel_sockets() as sockets:
            kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs, **sockets)
            await self._client(kernel).async_execute(env=self.environment, cleanup_kc=True)

    def _client(self, kernel: Any) -> Any:
        from nbclient import NotebookClient

        return NotebookClient(
            self.node,
            km=kernel,
            timeout=self.cell_timeout,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],  # its warnings are not for the reader
            resources={"metadata": {"path": str(self.path.resolve().parent)}},
            on_notebook_start=lambda notebook: _interrupts(kernel, asyncio.current_task()),
            on_cell_execute=self._started,
            on_cell_executed=self._executed,
        )

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


def _interrupts(kernel: Any, task: "asyncio.Task[Any] | None") -> None:
    """The first Ctrl-C interrupts the cell, which keeps what it has said; the second ends it all."""
    pressed = 0

    def on_interrupt() -> None:
        nonlocal pressed
        pressed += 1
        if pressed == 1:
            waiting.append(asyncio.ensure_future(kernel.interrupt_kernel()))
        elif task is not None:
            task.cancel()

    waiting: list[Any] = []  # a task that nobody holds may be collected
    with contextlib.suppress(NotImplementedError, RuntimeError):  # Windows; a loop outside the main thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, on_interrupt)


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
    rows: Sequence[RunRow] = ()
    if database.exists():
        with contextlib.closing(default_store(database)) as store:
            rows = store.runs(limit=options.limit)
    if not rows:
        console.print(f"No runs in {home} yet.", markup=False)
        return 0
    for row in rows:
        when = moment(row.started)
        goal = " ".join(row.goal.split())
        line = f"{when}  {row.run:<8} {row.status:<11} {row.model:<24} {goal}"
        console.print(Text(line if len(line) <= 100 else line[:99] + "…"))
    return 0


# --- doctor ---------------------------------------------------------------------------------------


def _doctor(options: argparse.Namespace, console: "Console") -> int:
    from rich.text import Text

    from loom_nb.notebook import doctor

    lab = "JupyterLab"
    if _is_installed("jupyterlab"):
        found = doctor.Check(lab, "ok", importlib.metadata.version("jupyterlab"))
    else:
        found = doctor.Check(lab, "warn", "not in this environment", LAB_EXTRA)
    checks = [*doctor.checks(load()), found]
    console.print(Text(str(doctor.card(checks))))
    return 1 if any(check.state == "blocked" for check in checks) else 0
