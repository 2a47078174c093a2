"""A real JupyterLab with a real Chromium, and a notebook in it that a test can drive.

The server is hermetic (its own configuration, data, settings and kernel folders, no keys in its
environment, no news feed), every test gets fresh pages that find nothing stored, and a page error
or a request to another machine fails the test. Waiting is done on a cell's prompt number, never on
the kernel's status, which is unreliable while a cell awaits.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import nbformat
from nbformat.sign import NotebookNotary
from playwright.sync_api import Browser, BrowserContext, Error, Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

REPOSITORY = Path(__file__).resolve().parents[2]
EXTENSION = REPOSITORY / "loom_nb" / "notebook" / "labextension"
expect.set_options(timeout=60_000)
ARTIFACTS = Path(os.environ.get("LOOM_NB_ARTIFACTS") or REPOSITORY / "artifacts")

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)

THEMES = {
    "light": "JupyterLab Light",
    "dark": "JupyterLab Dark",
    "high contrast": "JupyterLab Dark High Contrast",
}

# Of what Chromium keeps for a page, all but what it has fetched.
STORED = "cookies,file_systems,indexeddb,local_storage,websql,service_workers,cache_storage"

# JupyterLab 4.6 says this itself, now and then, where a busy page is drawn anew.
LAB_SAYS = "The node to be removed is not a child of this node"
# Notebook 7.6 says these itself, without any extension and at every notebook.
NOTEBOOK_7_SAYS = (
    "Cannot read properties of undefined (reading 'schema')",
    "Command 'filebrowser:open-path' not registered.",
)

UNUSED = (
    "celltags", "console", "csvviewer", "debugger", "extensionmanager", "fileeditor", "help", "htmlviewer",
    "hub", "imageviewer", "inspector", "logconsole", "lsp", "markdownviewer", "mermaid", "metadataform",
    "pdf", "running", "terminal", "toc", "tooltip", "vega5", "workspaces",
)  # fmt: skip
"""Parts of JupyterLab that hardly a test looks at: to load them takes a third of opening a page."""

Application = Literal["lab", "notebook"]


def chromium() -> str:
    """The browser's program. Raises when there is none: a missing browser must not pass unseen."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise RuntimeError("no Chromium on this machine: the browser tests need one (apt-get install chromium)")


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    program = chromium()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        try:
            yield opened
        finally:
            opened.close()


@dataclass
class Server:
    """A running Jupyter server with JupyterLab 4 and Notebook 7 in it."""

    url: str
    home: Path
    """Everything of this server: configuration, data, settings, notebooks, log."""
    process: subprocess.Popen[bytes]
    environment: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """Where its notebooks are."""
        return self.home / "notebooks"

    @property
    def log(self) -> str:
        """What it has printed."""
        return (self.home / "server.log").read_text(errors="replace")

    def get(self, path: str, method: str = "GET") -> Any:
        """Call its REST API."""
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            body = response.read()
        return json.loads(body) if body else None

    def stop_kernels(self) -> None:
        """Shut every kernel down."""
        for kernel in self.get("/api/kernels"):
            try:
                self.get(f"/api/kernels/{kernel['id']}", "DELETE")
            except urllib.error.HTTPError as error:
                if error.code != 404:  # it was gone already
                    raise

    def tidy(self) -> None:
        """Back to a first start, for the next test: no kernels, no notebooks, no changed settings."""
        self.stop_kernels()
        for notebook in self.folder.glob("*.ipynb"):
            notebook.unlink()
        shutil.rmtree(self.home / "settings", ignore_errors=True)
        _write_settings(self.home)
        self.offer(everything=False)

    def offer(self, *, everything: bool) -> None:
        """JupyterLab as it is installed, or without what is `UNUSED`; for pages opened from now on."""
        _offer(self.home, () if everything else UNUSED)

    def set(self, plugin: str, values: Mapping[str, Any]) -> None:
        """Change a plugin's settings, as the user would; for pages that are opened from now on."""
        _write_setting(self.home, plugin, values)

    def add_kernel(self, name: str, python: Path) -> None:
        """Offer the ipykernel of another environment."""
        folder = self.home / "share" / "kernels" / name
        folder.mkdir(parents=True)
        argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": name, "language": "python"}
        (folder / "kernel.json").write_text(json.dumps(spec))

    def trust(self, path: Path) -> None:
        """Sign a notebook as the user would with "Trust Notebook"."""
        with NotebookNotary(data_dir=str(self.home / "data")) as notary:
            notary.sign(nbformat.read(path, as_version=4))


@contextmanager
def server(home: Path, *, timeout: float = 120) -> Iterator[Server]:
    """Start a Jupyter server below `home`, and stop it with its kernels afterwards."""
    _settle_in(home)
    running = _started(home, timeout)
    try:
        yield running
        running.stop_kernels()
    finally:
        _end(running.process)


def _started(home: Path, timeout: float) -> Server:
    """A server that is up. The port is chosen some time before it is bound: where it was taken, another one."""
    for _ in range(3):
        port = _free_port()
        environment = _environment(home)
        with (home / "server.log").open("wb") as log:
            process = subprocess.Popen(
                _command(home, port), env=environment, cwd=home, stdout=log, stderr=log
            )
        running = Server(f"http://127.0.0.1:{port}", home, process, environment)
        try:
            _wait_until_up(running, timeout)
        except BaseException as error:
            _end(process)
            if not isinstance(error, RuntimeError) or "already in use" not in running.log:
                raise
        else:
            return running
    raise RuntimeError("three ports were taken before the Jupyter server could bind them")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _command(home: Path, port: int) -> list[str]:
    arguments = {
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": home / "notebooks",
        "ServerApp.disable_check_xsrf": True,
        "IdentityProvider.token": "",
        "LabApp.expose_app_in_browser": True,
        "LabApp.news_url": "None",
        "JupyterNotebookApp.expose_app_in_browser": True,
        "LanguageServerManager.autodetect": False,
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    return command + [f"--{name}={value}" for name, value in arguments.items()]


def _environment(home: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not re.match(r"JUPYTER|IPYTHON|LOOM_NB_|PYTEST|COV_|.*_API_KEY$", name)
    }
    return kept | {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_PATH": str(home / "share"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "LOOM_NB_HOME": str(home / "loom"),
        "PYTHONPATH": str(REPOSITORY),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


def _settle_in(home: Path) -> None:
    (home / "notebooks").mkdir(parents=True)
    # an editable install has no data files where Jupyter looks: lay the extension out from the source
    shutil.copytree(EXTENSION, home / "share" / "labextensions" / "loom-nb")
    _write_settings(home)
    (home / "config" / "labconfig").mkdir(parents=True)
    _offer(home, UNUSED)


def _offer(home: Path, left_out: Sequence[str]) -> None:
    disabled = {f"@jupyterlab/{name}-extension": True for name in left_out}
    config = home / "config" / "labconfig" / "page_config.json"
    config.write_text(json.dumps({"disabledExtensions": disabled}))


def _write_settings(home: Path) -> None:
    settings: dict[str, dict[str, Any]] = {
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
        "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
        # whatever a widget leaves behind would be in the file, and be found
        "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},
    }
    for plugin, values in settings.items():
        _write_setting(home, plugin, values)


def _write_setting(home: Path, plugin: str, values: Mapping[str, Any]) -> None:
    path = home / "settings" / f"{plugin.replace(':', '/')}.jupyterlab-settings"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_up(running: Server, timeout: float) -> None:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if running.process.poll() is not None:
            break
        try:
            running.get("/api/status")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"the Jupyter server did not start:\n{running.log[-4000:]}")


@dataclass
class Lab:
    """One test's pages at the server."""

    server: Server
    context: BrowserContext
    name: str
    """Of the test: names its notebooks and screenshots."""
    problems: list[str] = field(default_factory=list)
    """Page errors, and requests to other machines."""
    notebooks: list["Notebook"] = field(default_factory=list)

    def notebook(
        self,
        cells: Sequence[str] = (),
        *,
        name: str = "",
        application: Application = "lab",
        path: Path | None = None,
        kernel: str = "python3",
        first: str = "",
    ) -> "Notebook":
        """Write a notebook of code cells, or copy the one at `path`, and open it with a kernel.

        A cell that starts with "# %% md" becomes a Markdown cell. `first` is JavaScript that the page runs
        before its own.
        """
        target = self.server.folder / f"{name or f'{self.name}-{len(self.notebooks)}'}.ipynb"
        if path is None:
            nbformat.write(made_of(cells, kernel), target)
        else:
            shutil.copyfile(path, target)
        opened = Notebook(self, self.page(), target, application)
        if first:
            opened.page.add_init_script(first)
        self.notebooks.append(opened)
        opened.open()
        opened.wait_for_kernel()
        return opened

    def page(self) -> Page:
        """A new tab that reports its problems here."""
        page = self.context.new_page()
        page.set_default_timeout(60_000)  # two shared cores, now and then
        page.on("pageerror", lambda error: self._judge_error(page, error))
        page.on("request", lambda request: self._judge(request.url))
        return page

    def _judge_error(self, page: Page, error: Error) -> None:
        frames = [line for line in (error.stack or "").splitlines() if line.strip().startswith("at ")]
        labs = LAB_SAYS in error.message and frames and all("/jlab_core." in line for line in frames)
        if not labs and not ("/notebooks/" in page.url and error.message in NOTEBOOK_7_SAYS):
            self.problems.append(f"page error: {error.message}\n{error.stack or ''}")

    def _judge(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in (
            "127.0.0.1",
            "localhost",
        ):
            self.problems.append(f"request to another machine: {url}")

    def forget(self) -> None:
        """Close every page, and drop all that pages have stored; what was fetched from the server stays."""
        for page in self.context.pages:
            page.close()
        self.context.clear_cookies()
        self.context.clear_permissions()
        blank = self.context.new_page()
        everything = {"origin": self.server.url, "storageTypes": STORED}
        self.context.new_cdp_session(blank).send("Storage.clearDataForOrigin", everything)
        blank.close()

    def screenshot_all(self, name: str) -> None:
        """Every open page, for a failure."""
        for number, page in enumerate(self.context.pages):
            _screenshot(page, f"{name}-{number}")


RUNS_SOMETHING = """() => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const done = kernel.requestExecute({ code: 'pass', silent: true, store_history: false }).done;
  const late = new Promise(resolve => setTimeout(() => resolve(null), 60000));
  return Promise.race([done, late]).then(reply => reply !== null);
}"""
RESTART = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"


def made_of(cells: Sequence[str], kernel: str = "python3") -> nbformat.NotebookNode:
    """A notebook of these cells."""
    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
    for number, source in enumerate(cells):
        if source.startswith("# %% md\n"):
            cell = nbformat.v4.new_markdown_cell(source.partition("\n")[2])
        else:
            cell = nbformat.v4.new_code_cell(source)
        cell["id"] = f"cell-{number}"
        made.cells.append(cell)
    return made


CONTENT = "window.jupyterapp.shell.currentWidget.content"
CELL = f"{CONTENT}.widgets[index]"
TEXT = (
    f"[...{CELL}.outputArea.node.querySelectorAll('.jp-OutputArea-output')]"
    ".map(node => node.innerText).join('\\n')"
)


FAINT = f"""index => {{
  const rgb = text => {{
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  }};
  const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] + below[i] * (1 - top[3]));
  const light = color => {{
    const linear = c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = color.map(c => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }};
  const ground = node => {{
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(rgb(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  }};
  const found = [];
  const root = {CELL}.outputArea.node;
  const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let text = walk.nextNode(); text; text = walk.nextNode()) {{
    const words = text.textContent.trim();
    const node = text.parentElement;
    if (!words || !node.checkVisibility()) continue;
    const back = ground(node);
    const front = over(rgb(getComputedStyle(node).color), back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    // a symbol beside its word needs less; the colours of code are the theme's own
    const least = node.closest('pre span') ? 0 : /[\\p{{L}}\\p{{N}}]/u.test(words) ? 4.5 : 3;
    if (contrast < least) found.push(`${{contrast.toFixed(2)}} ${{words.slice(0, 60)}}`);
  }}
  return found;
}}"""


@dataclass
class Notebook:
    """A notebook open in a page. Cells are counted from 0."""

    lab: Lab
    page: Page
    path: Path
    application: Application = "lab"
    timeout: float = 60
    """Seconds that any waiting may take."""

    # --- opening -----------------------------------------------------------------------------

    def open(self) -> None:
        """Load the page and wait until the cells are there; no kernel is waited for."""
        place = {"lab": "lab/tree", "notebook": "notebooks"}[self.application]
        self.page.goto(f"{self.lab.server.url}/{place}/{self.path.name}?reset")
        self._until(
            "() => window.jupyterapp?.shell?.currentWidget?.content?.model?.cells?.length"
            " && window.jupyterapp.shell.currentWidget.context.isReady",
            "the notebook to open",
        )

    def wait_for_kernel(self) -> None:
        """Wait until the kernel has answered, and has run something.

        Now and then a kernel on a busy machine comes up deaf: it is started again, once.
        """
        self._wait_for_info()
        if not self.page.evaluate(RUNS_SOMETHING):
            self.page.evaluate(RESTART)
            self._wait_for_info()
            assert self.page.evaluate(RUNS_SOMETHING), "the kernel answers and runs nothing, twice"

    def _wait_for_info(self) -> None:
        self._until(
            "async () => { const session = window.jupyterapp.shell.currentWidget.sessionContext;"
            " await session.ready; const kernel = session.session?.kernel; if (!kernel) return false;"
            " await kernel.info; return true; }",
            "the kernel",
        )

    def wait_for_session(self) -> None:
        """Wait until a kernel is there, busy or not."""
        self._until("() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel", "a session")

    def reopen(self, *, kernel: bool = True, trusted: bool = True) -> None:
        """Load the file again as a new page would, with a new kernel or with none at all.

        Without `trusted`, the file comes as from someone else: its HTML is sanitized.
        """
        self.page.goto("about:blank")
        self.lab.server.stop_kernels()
        file = nbformat.read(self.path, as_version=4)
        if not kernel:  # no kernel fits it, so JupyterLab asks
            file.metadata["kernelspec"] = {
                "name": "none-such",
                "display_name": "none such",
                "language": "none",
            }
            file.metadata.pop("language_info", None)
        if not trusted:
            file.metadata["touched"] = f"{time.time_ns()}"
        nbformat.write(file, self.path)
        if trusted:
            self.lab.server.trust(self.path)
        self.open()
        if kernel:
            self.wait_for_kernel()
        else:
            dialog = self.page.locator(".jp-Dialog")
            dialog.locator("select").select_option(label="No Kernel")
            dialog.locator("button.jp-mod-accept").click()
            dialog.wait_for(state="detached")

    # --- running -----------------------------------------------------------------------------

    def run(self, index: int) -> "Notebook":
        """Start a cell and return at once."""
        self._select(index)
        self.page.evaluate(
            f"index => {{ const cell = {CELL}; cell.model.executionCount = null;"
            " void window.jupyterapp.commands.execute('notebook:run-cell'); }",
            index,
        )
        return self

    def command(self, name: str, index: int) -> None:
        """Carry out one of JupyterLab's commands on a cell, to its end."""
        self._select(index)
        self.page.evaluate("name => window.jupyterapp.commands.execute(name).then(() => null)", name)

    def run_all(self) -> "Notebook":
        """Start all cells and return at once."""
        self.page.evaluate(
            f"() => {{ for (const cell of {CONTENT}.widgets)"
            " { if (cell.model.type === 'code') cell.model.executionCount = null; }"
            " void window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
        )
        return self

    def restart_and_run_all(self) -> "Notebook":
        """Begin anew with a new kernel; returns when the old numbers are gone."""
        self.page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:restart-run-all'); }")
        dialog = self.page.locator(".jp-Dialog")
        dialog.locator("button.jp-mod-accept").click()
        dialog.wait_for(state="detached")
        self._until(
            f"() => {CONTENT}.widgets.filter(cell => cell.model.type === 'code')"
            ".some(cell => cell.model.executionCount === null)",
            "the cells to begin anew",
        )
        return self

    def wait(self, index: int, *, timeout: float | None = None) -> "Notebook":
        """Wait until a cell has its prompt number."""
        self._until(
            f"index => Number.isInteger({CELL}.model.executionCount)", f"cell {index}", index, timeout=timeout
        )
        return self

    def wait_until_dropped(self, index: int) -> "Notebook":
        """Wait until a cell that was to run will not: its prompt is "[ ]:" again."""
        expect(self.cell(index).locator(".jp-InputPrompt")).to_have_text("[ ]:")
        return self

    def play(self, index: int) -> str:
        """Run a cell to its end; its output as text."""
        return self.run(index).wait(index).output_text(index)

    def prompt(self, index: int) -> str:
        """What stands before a cell: "[1]:", "[*]:", "[ ]:"."""
        return self.cell(index).locator(".jp-InputPrompt").inner_text().strip()

    def comms(self) -> str:
        """How JupyterLab sends what is clicked to the kernel: "perCommTarget", "perComm", "disabled"."""
        way: str = self.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.commsOverSubshells"
        )
        return way

    def interrupt(self) -> None:
        """Press the toolbar's stop button."""
        self.page.locator('.jp-NotebookPanel-toolbar [data-jp-item-name="interrupt"]').locator(
            "button, jp-button"
        ).first.click()

    # --- reading -----------------------------------------------------------------------------

    def cell(self, index: int) -> Locator:
        """A cell's node."""
        return self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"]')

    def output(self, index: int) -> Locator:
        """The node of a cell's outputs."""
        return self.cell(index).locator(".jp-OutputArea").first

    def output_text(self, index: int) -> str:
        """A cell's outputs as a reader sees them, folded parts left out."""
        text: str = self.page.evaluate(f"index => {TEXT}", index)
        return text

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """A cell's outputs as JupyterLab holds them."""
        found: list[dict[str, Any]] = self.page.evaluate(f"index => {CELL}.model.outputs.toJSON()", index)
        return found

    def wait_for_text(self, index: int, text: str, *, timeout: float | None = None) -> "Notebook":
        """Wait until a cell's outputs show `text`."""
        self._until(
            f"([index, text]) => {TEXT}.includes(text)",
            f"{text!r} in cell {index}",
            [index, text],
            timeout=timeout,
        )
        return self

    def mime(self, index: int) -> str:
        """The language in which a cell is coloured."""
        found: str = self.page.evaluate(f"index => {CELL}.model.mimeType", index)
        return found

    def wait_for_mime(self, index: int, mime: str) -> None:
        """Wait until a cell is coloured so."""
        self._until(
            f"([index, mime]) => {CELL}.model.mimeType === mime", f"{mime} on cell {index}", [index, mime]
        )

    # --- writing -----------------------------------------------------------------------------

    def source(self, index: int) -> str:
        """A cell's text."""
        text: str = self.page.evaluate(f"index => {CELL}.model.sharedModel.getSource()", index)
        return text

    def count(self) -> int:
        """How many cells there are."""
        number: int = self.page.evaluate(f"() => {CONTENT}.widgets.length")
        return number

    def set_source(self, index: int, source: str) -> None:
        """Replace a cell's text."""
        self.page.evaluate(f"([index, text]) => {CELL}.model.sharedModel.setSource(text)", [index, source])

    def append(self, source: str) -> int:
        """Add a code cell at the end; its index."""
        index: int = self.page.evaluate(
            f"source => {{ const model = {CONTENT}.model.sharedModel;"
            " model.insertCell(model.cells.length, { cell_type: 'code', source });"
            " return model.cells.length - 1; }",
            source,
        )
        return index

    def save(self) -> nbformat.NotebookNode:
        """Save, and read the file back."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        return nbformat.read(self.path, as_version=4)

    # --- looking -----------------------------------------------------------------------------

    def theme(self, name: str) -> None:
        """Change the theme: light, dark or high contrast."""
        full = THEMES[name]
        self.page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", full
        )
        self._until("theme => document.body.dataset.jpThemeName === theme", f"the theme {full}", full)

    def faint_words(self, index: int) -> list[str]:
        """Words of a cell's outputs with too little contrast in the theme of now (WCAG AA), and how much."""
        found: list[str] = self.page.evaluate(FAINT, index)
        return found

    def screenshot(self, name: str) -> Path:
        """Keep a picture of the page among the artefacts."""
        return _screenshot(self.page, name)

    def _select(self, index: int) -> None:
        self.page.evaluate(
            f"index => {{ {CONTENT}.activeCellIndex = index; {CONTENT}.deselectAll(); }}", index
        )

    def _until(
        self, condition: str, what: str, argument: Any = None, *, timeout: float | None = None
    ) -> None:
        seconds = self.timeout if timeout is None else timeout
        try:
            self.page.wait_for_function(condition, arg=argument, timeout=seconds * 1000)
        except PlaywrightTimeout:
            raise AssertionError(f"waited {seconds:.0f} s for {what}\n{self._seen()}") from None

    def _seen(self) -> str:
        body = self.page.evaluate(
            "() => [...document.querySelectorAll('.jp-Cell, .jp-Dialog-content')].map(node => node.innerText)"
        )
        return "\n---\n".join(body)[:4000] or self.page.url


def _screenshot(page: Page, name: str) -> Path:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    path = ARTIFACTS / (re.sub(r"[^\w.-]+", "-", name).strip("-") + ".png")
    page.screenshot(path=path)
    return path
