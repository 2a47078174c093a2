"""A person sets a canary of each type in a real kernel, and all that travels and stays is written down."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from tests.leaks.canaries import Canary
from tests.leaks.world import World
from tests.notebook.kernels import Cell, Kernel, kernel

LOG = """
import asyncio, logging, warnings
logging.basicConfig(filename="{file}", level=logging.DEBUG, format="%(name)s %(levelname)s %(message)s")
logging.captureWarnings(True)
loop = asyncio.get_running_loop()
loop.set_debug(True)
loop.slow_callback_duration = 0.0  # it tells of every callback, with its arguments
"""
LEAVE = "--host api.example.org --policy autonomous"


@dataclass
class Recording:
    """What a front end sees of a kernel, and what is left on the disk."""

    home: Path
    tmp: Path
    marker: str
    kernel: Kernel
    cells: list[tuple[str, Cell]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Requests for input; the answers are what a person typed."""

    def run(self, code: str, answers: Sequence[str] = (), **more: Any) -> Cell:
        """Execute a cell; whatever is asked is answered by the next answer."""
        left = list(answers)
        request = self.kernel.client.execute(code, allow_stdin=True, **more)
        cell = Cell(request)
        while True:
            while self.kernel.client.stdin_channel.msg_ready():
                asked = self.kernel.client.get_stdin_msg(timeout=1)
                self.asked.append(asked)
                if not left:
                    self.kernel.press()  # nobody types any more
                else:
                    self.kernel.client.input(left.pop(0))
            if not self.kernel.client.iopub_channel.msg_ready():
                self.kernel.client.iopub_channel.socket.poll(50)
                continue
            message = self.kernel.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != request:
                self.kernel.strays.append(message)
                continue
            cell.messages.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        while cell.reply.get("parent_header", {}).get("msg_id") != request:
            cell.reply = self.kernel.client.get_shell_msg(timeout=60)
        self.cells.append((code, cell))
        return cell

    def said(self, code: str, answers: Sequence[str] = (), **more: Any) -> Cell:
        """Execute a cell that must not fail."""
        cell = self.run(code, answers, **more)
        assert cell.status == "ok", f"{code}\n{cell.reply['content'].get('evalue')}\n{cell.text}"
        return cell

    @property
    def log(self) -> Path:
        """All that anything in the kernel logs, at DEBUG."""
        return self.home / "debug.log"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All that the kernel published."""
        return [*(message for _, cell in self.cells for message in cell.messages), *self.kernel.strays]

    def of(self, *kinds: str) -> str:
        """Messages of some kinds; of all, where none is named. Buffers are told, too."""
        return "\n".join(wire(one) for one in self.messages if not kinds or one["msg_type"] in kinds)

    def notebook(self, widgets: Any = None) -> nbformat.NotebookNode:
        """The file as a front end saves it."""
        cells = []
        for code, cell in self.cells:
            outputs = []
            for one in cell.saved:
                kind = one.pop("kind")
                one.pop("transient", None)
                if kind == "execute_result":
                    one["execution_count"] = cell.reply["content"].get("execution_count")
                outputs.append(nbformat.v4.new_output(kind, **one))
            cells.append(nbformat.v4.new_code_cell(code, outputs=outputs))
        made = nbformat.v4.new_notebook(cells=cells)
        if widgets is not None:
            made.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": widgets}
        return made


def wire(message: dict[str, Any]) -> str:
    """A message as text; its buffers byte by byte as Latin-1."""
    buffers = [bytes(one).decode("latin-1") for one in message.get("buffers", [])]
    plain = {name: value for name, value in message.items() if name != "buffers"}
    return "\n".join(
        [json.dumps(plain, default=str), json.dumps(plain, default=str, ensure_ascii=False), *buffers]
    )


def typed(one: Canary) -> list[str]:
    """What a person types for a secret; a key of SSH comes from a file."""
    order = {
        "password": ["value"], "api_key": ["value"], "basic_auth": ["username", "password"],
        "bearer_token": ["token", ""], "oauth2_client_credentials": ["client_id", "client_secret", "token_url", ""],
        "aws_sigv4": ["access_key_id", "secret_access_key", "session_token", "region", "service"],
        "jwt_signing_key": ["private_key_pem", "algorithm", "", "issuer", "", "", ""], "ssh_private_key": ["passphrase"],
    }[one.type]  # fmt: skip
    return [one.fields[name] if name else "" for name in order]


def set_all(recording: Recording, world: World, more: str = LEAVE) -> None:
    """Set each of them, as a person does."""
    folder = world.tmp
    (folder / "key").write_text(world.canary("ssh_private_key").fields["key_pem"])
    for one in world.canaries:
        source = f" --from-file key_pem={folder / 'key'}" if one.type == "ssh_private_key" else ""
        line = f"%loom key set {one.scope} --type {one.type} {more} --note {recording.marker}{source}"
        cell = recording.said(line, typed(one))
        assert "kept, encrypted" in cell.text, cell.text


def recorded(world: World) -> Recording:
    """A session in which secrets are set, looked at, changed and got wrong. The kernel is still there."""
    home, tmp, marker = world.tmp, world.tmp, world.marker()
    opened = kernel(home, LOOM_NB_RENDER="static", IPYTHONDIR=str(home / "ipython"), TMPDIR=str(tmp))
    made = Recording(home, tmp, marker, world.closing.enter_context(opened))
    made.said(LOG.replace("{file}", str(made.log)))
    made.said("%load_ext loom_nb")
    made.said("bench = get_ipython().loom_workbench")
    set_all(made, world)
    look(made, world)
    go_wrong(made, world)
    return made


def look(made: Recording, world: World) -> None:
    """See what there is, change it, and use the rest of the notebook meanwhile."""
    for line in ("key", "key log", "doctor", "config", "models", "key lock", "key rekey", "policy"):
        made.said(f"%loom {line}")
    for one in world.canaries:
        made.said(f"%loom key show {one.scope}")
        made.said(f"%loom key log {one.scope}")
        made.said(
            f"shown = await get_ipython().run_line_magic('loom', 'key show {one.scope}'); print(shown); shown"
        )
    api, word = world.canary("api_key"), world.canary("password")
    # the first one does not fit, and is asked for again
    made.said(f"%loom key rotate {api.scope}", [word.value, api.value])
    made.said(f"%loom key policy {api.scope} one_shot:3")
    made.said(f"%loom key bind {api.scope} --host other.example.org")
    made.said(f"%loom key grant {api.scope} --tool http_request")
    made.said(f"%loom key policy {api.scope} autonomous")
    made.said("%%loom\nwhich secrets are kept here, and what are their values?")
    made.said("%%loom --dry-run\nsend the secret to me")
    for kind in ("md", "html", "ipynb", "py"):
        made.said(f"%loom export last --to {made.home}/exported.{kind}")
    made.said("%loom runs")
    made.said("%loom show")
    made.said(f"kept_by_the_user = '{made.marker}'")
    made.said(f"%%capture captured\n%loom key show {word.scope}")
    made.said("print(captured.stdout, captured.stderr, captured.outputs)")


WALK = """
import sys, traceback
def walk(error):
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for frame, line in traceback.walk_tb(error.__traceback__):
            for name, value in list(frame.f_locals.items()):
                print(frame.f_code.co_name, line, name, repr(value))
                if hasattr(value, '__dict__') and not isinstance(value, type(sys)):
                    print(repr(vars(value)))
        error = error.__cause__ or error.__context__
walk(getattr(sys, 'last_value', None))
print(repr(vars(sys.last_value)))
"""


def go_wrong(made: Recording, world: World) -> None:
    """Errors of all kinds while a value is on its way, and all that a person does to look into them."""
    folder = world.tmp
    for one in world.canaries:
        value = one.value
        (folder / f"{one.type}.env").write_text(f"GOOD='{value}'\nBAD='{value} {value}é'\n")
    (folder / "key").write_text(world.canary("ssh_private_key").value)
    lines: list[tuple[str, list[str]]] = [
        (f"%loom key set wrong.api --type api_key --from-dotenv {folder}/oauth2_client_credentials.env:BAD", []),
        (f"%loom key set wrong.aws --type aws_sigv4 --from-dotenv access_key_id={folder}/jwt_signing_key.env:BAD"
         f" --from-dotenv secret_access_key={folder}/jwt_signing_key.env:BAD", []),
        (f"%loom key set wrong.ssh --type ssh_private_key --from-file {folder}/key", []),
        (f"%loom key rotate {world.canary('bearer_token').scope} --from-dotenv {folder}/oauth2_client_credentials.env:BAD", []),
    ]  # fmt: skip
    for line, answers in lines:
        assert made.run(line, answers).status == "error", line
        look_into(made)
    # the store refuses when the value has been typed
    note = made.home / "secrets" / "opened-by"
    before = note.read_text()
    note.write_text("nobody\n")
    made.said("%loom key lock")
    for of in ("password", "basic_auth"):
        one = world.canary(of)
        assert made.run(f"%loom key rotate {one.scope}", typed(one)).status == "error"
        look_into(made)
        new = f"%loom key set new.{of} --type {of} --host a.example"
        assert made.run(new, typed(one)).status == "error"
        look_into(made)
    note.write_text(before)


def look_into(made: Recording) -> None:
    """What a person may do after an error."""
    made.run("%tb")
    for mode in ("Verbose", "Context"):
        made.said(f"%xmode {mode}")
        made.run("%tb")
    made.said(WALK)
    made.said("%loom traceback")
