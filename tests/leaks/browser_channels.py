"""Channels of a browser: a person sets secrets in a real JupyterLab, and all that travels and stays there."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser import lab as harness
from tests.leaks.matrix import Seen, channel
from tests.leaks.world import World

BROWSER = (pytest.mark.browser,)
STORED = """async () => {
    const found = [document.cookie, JSON.stringify({...localStorage}), JSON.stringify({...sessionStorage}),
                   JSON.stringify(history.state), location.href];
    for (const {name} of await indexedDB.databases()) {
        const db = await new Promise(done => { const r = indexedDB.open(name); r.onsuccess = () => done(r.result); });
        for (const store of db.objectStoreNames) {
            const rows = await new Promise(done => {
                const r = db.transaction(store).objectStore(store).getAll(); r.onsuccess = () => done(r.result); });
            found.push(name, store, JSON.stringify(rows));
        }
    }
    const inputs = [...document.querySelectorAll('input, textarea')].map(one => one.value);
    return [...found, JSON.stringify(inputs)].join('\\n');
}"""


@dataclass
class Window:
    """What a browser saw of a notebook in which secrets were set."""

    marker: str
    sent: list[bytes] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    page: list[str] = field(default_factory=list)
    stored: str = ""
    clipboard: str = ""
    files: list[bytes] = field(default_factory=list)
    console: list[str] = field(default_factory=list)


def window(world: World) -> Window:
    """The one of this world; the browser is closed again."""
    return world.once("window", _window)


def _window(world: World) -> Window:
    seen = Window(world.marker())
    home = world.tmp
    with harness.server(home) as server, harness.browser() as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        opened = harness.Lab(server, context, "leaks")
        try:
            _set(world, opened, seen)
        finally:
            context.close()
    seen.files = [
        str(path).encode() + path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.is_symlink()
    ]
    return seen


def _set(world: World, lab: harness.Lab, seen: Window) -> None:
    word, pair, key = (world.canary(of) for of in ("password", "basic_auth", "api_key"))
    line = "--host api.example.org --policy autonomous --note " + seen.marker
    cells = [
        "%load_ext loom_nb",
        f"%loom key set {word.scope} --type password {line}",
        f"%loom key set {pair.scope} --type basic_auth {line}",
        f"%loom key set {key.scope} --type api_key {line}",
        "%loom key",
        "%loom key log",
        f"%loom key show {key.scope}",
        f"%%loom --dry-run\nuse {key.scope}",
    ]
    nb = lab.notebook(cells)
    page: Page = nb.page
    page.on("console", lambda one: seen.console.append(one.text))
    page.on("request", lambda one: seen.requests.append(f"{one.method} {one.url} {one.post_data or ''}"))
    page.on("websocket", lambda one: _listen(one, seen))
    page.reload()  # the socket was there before anybody listened
    nb.open()
    nb.wait_for_kernel()
    page.evaluate(
        "text => { localStorage.mine = text; return navigator.clipboard.writeText(text); }", seen.marker
    )
    nb.play(0)
    for index, values in (
        (1, [word.value]),
        (2, [pair.fields["username"], pair.fields["password"]]),
        (3, [key.value]),
    ):
        nb.run(index)
        card = nb.output(index).get_by_role("alertdialog")
        card.wait_for(timeout=60_000)
        page.wait_for_timeout(500)  # what comes in the first moment is no answer
        fields = card.locator("input")
        for number, value in enumerate(values):
            fields.nth(number).click()
            page.keyboard.insert_text(value)
        seen.page.append(page.locator("body").inner_text())
        nb.save()
        fields.nth(len(values) - 1).press("Enter" if len(values) == 1 else "Control+Enter")
        nb.wait(index)
        assert "kept, encrypted" in nb.output_text(index), nb.output_text(index)
        seen.page.append(page.content())
    for index in range(4, len(cells)):
        nb.play(index)
    look = "print(In, Out, {k: repr(v) for k, v in globals().items()}, vars(get_ipython().loom_workbench))"
    nb.play(nb.append(look))
    state = "import ipywidgets, json; print(json.dumps(ipywidgets.Widget.get_manager_state(), default=str))"
    nb.play(nb.append(state))
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:toggle-autosave').catch(() => null)")
    nb.save()
    seen.page += [page.content(), page.locator("body").inner_text()]
    seen.stored = page.evaluate(STORED)
    seen.clipboard = page.evaluate("() => navigator.clipboard.readText()")


def _listen(socket: Any, seen: Window) -> None:
    socket.on("framesent", lambda frame: seen.sent.append(_bytes(frame)))
    socket.on("framereceived", lambda frame: seen.received.append(_bytes(frame)))


def _bytes(frame: Any) -> bytes:
    return frame if isinstance(frame, bytes) else str(frame).encode()


@channel("browser", "frames from the kernel", slow=True, marks=BROWSER)
def _(world: World) -> Seen:
    seen = window(world)
    assert len(seen.received) > 50
    return Seen({"frames": seen.received}, seen.marker)


@channel("browser", "frames to the kernel", slow=True, marks=BROWSER)
def _(world: World) -> Seen:
    """Each secret goes there once, in the message that hands it in; that one is left out here."""
    seen = window(world)
    scanner = world.scanner(seen.marker)
    handed = [one for one in seen.sent if any(hit.whose != "control" for hit in scanner.scan(one))]
    assert len(handed) == 3
    assert all(b"comm_msg" in one for one in handed)
    return Seen({"frames": [one for one in seen.sent if one not in handed]}, seen.marker)


@channel("browser", "page", slow=True, marks=BROWSER)
def _(world: World) -> Seen:
    seen = window(world)
    return Seen({"page": seen.page, "console": seen.console}, seen.marker)


@channel("browser", "storage, addresses and requests of the page", slow=True, marks=BROWSER)
def _(world: World) -> Seen:
    seen = window(world)
    assert any("/api/contents/" in one for one in seen.requests)
    return Seen({"stored": seen.stored, "requests": seen.requests}, seen.marker)


@channel("browser", "clipboard", slow=True, marks=BROWSER)
def _(world: World) -> Seen:
    """What lay there before is there still."""
    return Seen({"clipboard": window(world).clipboard}, window(world).marker)


@channel("browser", "files of the Jupyter server", slow=True, marks=BROWSER)
def _(world: World) -> Seen:
    """Notebook, checkpoint, settings, logs, history, run store: all below its home."""
    seen = window(world)
    names = b"\n".join(one[:200] for one in seen.files)
    assert b".ipynb_checkpoints" in names
    assert b"secrets.db" in names, json.dumps([str(Path(one[:120].decode("latin-1"))) for one in seen.files])[
        :2000
    ]
    return Seen({"files": seen.files}, seen.marker)
