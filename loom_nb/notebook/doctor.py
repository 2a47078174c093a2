"""What works here, what is missing, and what to do about it. Looks only; sends nothing."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loom_nb.errors import LoomError, SecretsLocked
from loom_nb.notebook.card import Card, Table
from loom_nb.settings import Settings
from loom_nb.wording import counted

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench

State = Literal["ok", "warn", "blocked"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    says: str
    action: str = ""
    """What to do next; empty where nothing is needed."""


def checks(settings: Settings, bench: "Workbench | None" = None) -> list[Check]:
    """Everything worth knowing about this installation, and about this notebook where there is one."""
    found = [
        Check("python", "ok", platform.python_version()),
        _store(settings),
        _log(settings),
        _model(settings, bench),
        _keys(),
        *_secrets(settings, bench),
        *(Check("settings", "warn", notice) for notice in settings.notices),
        _package("anywidget", "the Stop button and the questions in the page", "pip install -U anywidget"),
        _sandbox(),
        _lab_extension(),
    ]
    return found + (_notebook(bench) if bench is not None else [])


def card(found: Sequence[Check]) -> Card:
    """The checks as a card, the worst first."""
    order = {"blocked": 0, "warn": 1, "ok": 2}
    rows = tuple((c.state, c.name, c.says, c.action) for c in sorted(found, key=lambda c: order[c.state]))
    blocked = sum(c.state == "blocked" for c in found)
    warned = sum(c.state == "warn" for c in found)
    title = f"doctor: {blocked} blocked, {warned} to look at, {len(found) - blocked - warned} ok"
    return Card(title, tables=(Table("", ("state", "what", "found", "next"), rows),))


def _store(settings: Settings) -> Check:
    folder = settings.home
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if existing.is_dir() and os.access(existing, os.W_OK):
        return Check("runs are kept in", "ok", str(folder))
    return Check(
        "runs are kept in", "blocked", f"{folder} cannot be written", "set LOOM_NB_HOME to a folder of yours"
    )


def _sandbox() -> Check:
    """The level under which commands of the agent run."""
    from loom_nb.sandbox import doctor_lines, probe
    from loom_nb.sandbox.ladder import fixes

    try:
        found = probe()
    except LoomError as error:  # such as a TMPDIR below what a sandbox hides
        return Check("sandbox", "warn", f"cannot be tried: {error.title}", next(iter(error.fixes), ""))
    says = doctor_lines(found)[0]
    if found.level != "none":
        return Check("sandbox", "ok", says)
    why = f"; {found.why[0]}" if found.why else ""
    return Check("sandbox", "warn", f"{says}{why}", next(iter(fixes(found)), ""))


def _log(settings: Settings) -> Check:
    """Every row of the log against its hash."""
    from loom_nb.stores import default_store

    path = settings.home / "loom.db"
    if not path.exists():
        return Check("log of runs", "ok", "empty")
    store = default_store(path)
    try:
        damage = store.check()
    except LoomError as error:
        return Check("log of runs", "blocked", error.title, error.fixes[0] if error.fixes else "")
    finally:
        store.close()
    if not damage:
        return Check("log of runs", "ok", "every row matches its hash")
    first = damage[0]
    where = f"conversation {first.session}, entry {first.seq}" if first.session else "the file"
    return Check(
        "log of runs", "warn", f"{len(damage)} damaged: {where}: {first.problem}", f"keep a copy of {path}"
    )


def _model(settings: Settings, bench: "Workbench | None") -> Check:
    from loom_nb.models.registry import Model

    try:
        model = bench.model if bench is not None else Model.from_name(settings.model)
    except LoomError as error:
        return Check("model", "blocked", error.title, "%loom model offline")
    if model.vendor == "offline":
        return Check("model", "ok", "offline: a demo that follows rules", "%loom models shows the others")
    if bench is not None:
        state = bench.key_of(model)
        if not state.usable:
            return Check("model", "blocked", f"{model.name}: its key is {state.words}", state.fix)
        return Check(
            "model", "ok", f"{model.name}: its key is {state.words}" if model.key_env else model.name
        )
    if not model.has_key():
        return Check(
            "model",
            "blocked",
            f"{model.name}, {' or '.join(model.key_env)} is not set",
            f"set {model.key_env[0]}, or %loom key set {model.vendor} in a notebook",
        )
    return Check("model", "ok", model.name)


def _secrets(settings: Settings, bench: "Workbench | None") -> list[Check]:
    """What is kept, what opens it, where it is opened, and whether a record is damaged."""
    from loom_nb.notebook.key_places import WAYS, is_begun, way_of

    name = "secrets"
    if not is_begun(settings.home):
        return [Check(name, "ok", "none are kept", "%loom key set NAME keeps one")]
    way = WAYS.get(way_of(settings.home), "nothing yet")
    if bench is None:
        return [Check(name, "ok", f"kept in {settings.home / 'secrets'}, opened by {way}")]
    try:
        kept, tier = bench.secrets.list(), bench.secrets.tier
    except LoomError as error:
        return [Check(name, "blocked", error.title, error.fixes[0] if error.fixes else "")]
    says = f"{counted(len(kept), 'secret')}, opened by {way}"
    found = [Check(name, "ok", f"{says}, in a process of their own")]
    if tier != "broker process":
        found = [Check(name, "warn", f"{says}, in {tier}: other code can reach them", "use Linux or macOS")]
    try:
        damaged = bench.secrets.damaged()
    except SecretsLocked as error:
        return [*found, Check(f"{name}: locked", "warn", error.title, "%loom key unlock")]
    except LoomError as error:
        return [*found, Check(f"{name}: records", "warn", error.title, error.fixes[0] if error.fixes else "")]
    found += [
        Check(f"{name}: {one}", "warn", "its record is damaged", f"%loom key rm {one}") for one in damaged
    ]
    return [*found, _audit(bench)]


def _audit(bench: "Workbench") -> Check:
    """The log of what secrets were used for, every row against its hash."""
    name = "secrets: their log"
    try:
        rows = bench.secrets.check_log()
    except LoomError as error:
        return Check(name, "warn", error.title, error.fixes[0] if error.fixes else "%loom key log")
    return Check(name, "ok", f"{counted(rows, 'row')}, each as it was written")


def _keys() -> Check:
    from loom_nb.notebook.key_states import in_environment

    names = in_environment()
    return Check("keys in the environment", "ok", ", ".join(names) or "none (the demo needs none)")


def _package(name: str, use: str, action: str) -> Check:
    try:
        return Check(name, "ok", f"{importlib.metadata.version(name)}, for {use}")
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "warn", f"not installed: no {use}", action)


def _lab_extension() -> Check:
    from jupyter_core.paths import jupyter_path

    if any((Path(place) / "loom-nb" / "package.json").is_file() for place in jupyter_path("labextensions")):
        return Check("highlighting in JupyterLab", "ok", "installed")
    return Check(
        "highlighting in JupyterLab",
        "warn",
        "not installed: prompts look like Python",
        "pip install loom-nb as a wheel",
    )


def _notebook(bench: "Workbench") -> list[Check]:
    shell = bench.shell
    found = [Check("drawing", "ok", f"{bench.mode()} (setting: {bench.settings.render})")]
    if not getattr(shell, "autoawait", True):
        found.append(Check("await in cells", "blocked", "switched off", "%autoawait asyncio"))
    if getattr(shell, "kernel", None) is None:
        return [*found, Check("front end", "ok", "a terminal: text only")]
    from loom_nb.notebook.comm_gate import is_needed

    version = importlib.metadata.version("ipykernel")
    says = f"{version}, clicks reach a running cell " + (
        "through our gate" if is_needed(version) else "by themselves"
    )
    return [*found, Check("ipykernel", "ok", says)]
