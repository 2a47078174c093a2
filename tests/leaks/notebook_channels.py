"""Channels of a notebook: all that a real kernel publishes, keeps and saves while secrets are set."""

import json
import sqlite3
from typing import Any

import nbformat

from tests.leaks.kernel_recording import Recording, recorded
from tests.leaks.matrix import Seen, channel
from tests.leaks.world import World


def of(world: World) -> Recording:
    """The one session that all these look at."""
    return world.once("recording", recorded)


def printed(world: World, code: str) -> str:
    """What a cell prints and gives."""
    cell = of(world).said(code)
    return cell.text + json.dumps([one.get("data", {}) for one in cell.saved])


@channel("notebook", "outputs of cells", slow=True)
def _(world: World) -> Seen:
    made = of(world)
    return Seen({"outputs": [json.dumps(cell.saved, default=str) for _, cell in made.cells]}, made.marker)


@channel("notebook", "IOPub traffic", slow=True)
def _(world: World) -> Seen:
    made = of(world)
    return Seen({"published": made.of()}, made.marker)


@channel("notebook", "tracebacks", slow=True)
def _(world: World) -> Seen:
    made = of(world)
    assert made.of("error").count('"ename"') >= 8
    return Seen({"errors": made.of("error"), "printed": made.of("stream")}, "LoomUsageError")


@channel("notebook", "shell replies", slow=True)
def _(world: World) -> Seen:
    made = of(world)
    cell = made.said("1", user_expressions={"mine": "kept_by_the_user"})
    return Seen(
        {"replies": [json.dumps(one.reply, default=str) for _, one in [*made.cells, ("", cell)]]}, made.marker
    )


@channel("notebook", "requests for input", slow=True)
def _(world: World) -> Seen:
    """What asks for a value, and does not repeat what was typed before; hidden fields are asked for hidden."""
    made = of(world)
    hidden = [one["content"]["password"] for one in made.asked if "secret" in one["content"]["prompt"]]
    assert hidden
    assert all(hidden)
    return Seen({"asked": json.dumps(made.asked, default=str)}, "hidden answer")


@channel("notebook", "comm traffic and live widget messages", slow=True)
def _(world: World) -> Seen:
    made = of(world)
    kinds = ("comm_open", "comm_msg", "comm_close", "display_data", "update_display_data")
    return Seen({"comms": made.of(*kinds)}, '"display_data"')


@channel("notebook", "saved widget state", slow=True)
def _(world: World) -> Seen:
    made = of(world)
    code = "import ipywidgets, json; mine = ipywidgets.Text(value=kept_by_the_user); print(json.dumps(ipywidgets.Widget.get_manager_state(), default=str))"
    return Seen({"state": printed(world, code)}, made.marker)


@channel("notebook", "In, Out and the last results", slow=True)
def _(world: World) -> Seen:
    made = of(world)
    code = "print(In, Out, _, __, ___, _i, _ii, _iii, _oh, _ih, _dh)"
    return Seen(
        {
            "kept": printed(world, code),
            "vars": printed(world, "print({k: repr(v) for k, v in globals().items()})"),
        },
        made.marker,
    )


@channel("notebook", "history", slow=True)
def _(world: World) -> Seen:
    made = of(world)
    text = printed(world, "%history -o -n -t 1-999") + printed(world, "%history -g")
    made.said("get_ipython().history_manager.writeout_cache()")
    parts: dict[str, Any] = {"printed": text, "files": made.home / "ipython"}
    assert list((made.home / "ipython").rglob("history.sqlite"))
    return Seen(parts, made.marker)


@channel("notebook", "completion", slow=True)
def _(world: World) -> Seen:
    made, replies = of(world), []
    for text in (
        "%loom key ",
        "%loom key show ",
        "%loom key rotate c",
        "%loom key set x --from-env ",
        "bench.",
        "bench.secrets.",
        "kept_",
        "shown.",
        "_",
    ):
        made.kernel.client.complete(text, len(text))
        replies.append(json.dumps(made.kernel.client.get_shell_msg(timeout=60), default=str))
    return Seen({"offered": replies}, "kept_by_the_user")


@channel("notebook", "inspection", slow=True)
def _(world: World) -> Seen:
    made, replies = of(world), []
    for text in (
        "kept_by_the_user",
        "bench",
        "bench.secrets",
        "bench.secrets.put",
        "bench.settings",
        "shown",
        "get_ipython",
        "captured",
    ):
        for detail in (0, 1):
            made.kernel.client.inspect(text, len(text), detail)
            replies.append(json.dumps(made.kernel.client.get_shell_msg(timeout=60), default=str))
    return Seen({"told": replies}, made.marker)


@channel("notebook", "user expressions", slow=True)
def _(world: World) -> Seen:
    made = of(world)
    wanted = ("kept_by_the_user", "bench", "vars(bench)", "bench.secrets", "vars(bench.secrets)", "bench.secrets.list()",
              "bench.secrets.log()", "Out", "In", "sys.last_value", "vars(sys.last_value)", "dict(__import__('os').environ)")  # fmt: skip
    cell = made.said("import sys", user_expressions={str(n): one for n, one in enumerate(wanted)})
    return Seen({"reply": json.dumps(cell.reply, default=str)}, made.marker)


@channel("notebook", "pickle of the session", slow=True)
def _(world: World) -> Seen:
    """As dill and `%store` keep a session: everything that can be pickled, each by itself."""
    made = of(world)
    code = """
import pickle, copy
for name, value in list(globals().items()):
    for number in (2, pickle.HIGHEST_PROTOCOL):
        try:
            print(name, pickle.dumps(value, number))
        except Exception as error:
            print(name, error)
%store kept_by_the_user
"""
    return Seen({"pickled": printed(world, code), "stored": made.home / "ipython"}, made.marker)


@channel("notebook", "notebook file", slow=True)
def _(world: World) -> Seen:
    made = of(world)
    state = (
        json.loads(made.said("print(json.dumps(ipywidgets.Widget.get_manager_state(), default=str))").text)
        if False
        else None
    )
    path = world.tmp / "saved.ipynb"
    nbformat.write(made.notebook(state), path)
    return Seen({"file": path}, made.marker)


@channel("notebook", "exports of the notebook", slow=True)
def _(world: World) -> Seen:
    from nbconvert.exporters import HTMLExporter, MarkdownExporter, PythonExporter, RSTExporter

    made = of(world)
    notebook = made.notebook()
    parts = {
        one.__name__: one().from_notebook_node(notebook)[0]
        for one in (HTMLExporter, MarkdownExporter, PythonExporter, RSTExporter)
    }
    return Seen(parts, made.marker)


@channel("notebook", "home of the kernel", slow=True)
def _(world: World) -> Seen:
    """All files below its home: run store, secrets, history, logs, exports, temporary files."""
    made = of(world)
    assert sorted(path.suffix for path in made.home.glob("exported.*")) == [".html", ".ipynb", ".md", ".py"]
    return Seen({"files": made.home, "temporary": made.tmp}, made.marker)


@channel("notebook", "run store", slow=True)
def _(world: World) -> Seen:
    made, rows = of(world), []
    for path in sorted(made.home.rglob("*.db")):
        if "ipython" in path.parts or path.name == "secrets.db":
            continue
        with sqlite3.connect(path) as db:
            rows += [repr(line) for line in db.iterdump()]
        db.close()
    return Seen({"rows": rows}, "what are their values")


@channel("notebook", "debugger and last error", slow=True)
def _(world: World) -> Seen:
    made = of(world)
    text = "\n".join(cell.text for code, cell in made.cells if code.startswith("\nimport sys, traceback"))
    assert text.count("LoomUsageError") > 4
    return Seen(
        {"walked": text, "now": printed(world, "print(sys.last_type, sys.last_value, sys.last_traceback)")},
        "LoomUsageError",
    )
