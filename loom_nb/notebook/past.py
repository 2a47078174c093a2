"""Which run of which conversation is meant: of this one, of this notebook, of another."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loom_nb.errors import LoomUsageError, StoreError
from loom_nb.events import RunStarted, SessionOpened
from loom_nb.notebook import cell as cells

if TYPE_CHECKING:
    from loom_nb.protocols import RunRow, Store

NOTEBOOK = "notebook"
"""The key in a conversation's metadata under which it says of which notebook it is."""
CELL = "cell"
"""The key in a run's metadata under which the flags of its cell stand."""
LOOKED_AT = 1_000
"""Runs, newest first, among which one is looked for."""
MOST_GONE = 50
"""Deleted conversations in which a run is looked for."""


def notebook_name(names: dict[str, Any]) -> str:
    """What the front end calls the notebook; empty where it does not say."""
    told = os.environ.get("JPY_SESSION_NAME") or names.get("__vsc_ipynb_file__") or ""
    return told if isinstance(told, str) else ""


def find(store: "Store", name: str, *, mine: Sequence[str], notebook: str, form: str) -> "RunRow":
    """A run by `id` or `conversation/id`, or the newest, "last".

    Args:
        store: where runs are kept.
        name: of the run.
        mine: the conversations of this kernel, the current one first: they come before all others.
        notebook: of this notebook's name, or empty: its conversations come next.
        form: how a suggestion is typed, with {} for the run.

    Raises:
        LoomUsageError: there is none; says which are near.
    """
    session, _, run = name.rpartition("/")
    rows = list(_rows(store, [session] if session else mine))
    row = next((row for row in rows if run in (row.run, "last")), None)
    if row is None and not session:
        others = [row for row in store.runs(limit=LOOKED_AT) if row.session not in mine]
        hits = [row for row in others if run in (row.run, "last")]
        row = next(
            (row for row in hits[:20] if notebook and notebook_of(store, row.session) == notebook), None
        )
        row = row or next(iter(hits), None)
        rows += others
    if row is not None:
        return row
    _refuse_deleted(store, session, run, mine)
    where = f" in conversation {session}" if session else ""
    near = [f"{session}/{one}" if session else one for one in cells.near(run, [row.run for row in rows])]
    raise LoomUsageError(
        f"there is no run '{run}'{where}",
        fixes=[*(form.format(one) for one in near), "%loom runs   lists those there are"],
    )


def _refuse_deleted(store: "Store", session: str, run: str, mine: Sequence[str]) -> None:
    """Say of a run whose conversation was deleted that it was, and how that is taken back."""
    gone = [row.id for row in store.deleted(limit=LOOKED_AT)]
    if session or run in gone:
        found = [one for one in (session or run,) if one in gone]
    else:
        ours = sorted(gone, key=lambda one: one not in mine)[:MOST_GONE]
        found = [
            one
            for one in ours
            if (run == "last" and one in mine) or any(entry.run == run for entry in store.landmarks(one))
        ]
    if found:
        raise LoomUsageError(
            f"the conversation {found[0]} was deleted",
            cause=f"'{run}' is in it" if run != found[0] else "nothing of it is lost until it is purged",
            fixes=[f"%loom sessions undo {found[0]}", "%loom sessions deleted"],
        )


def remark(store: "Store", row: "RunRow", name: str, *, mine: Sequence[str], notebook: str) -> str:
    """Where a run comes from that is of no conversation of this kernel; empty where that is clear."""
    if "/" in name or row.session in mine:
        return ""
    same = notebook and notebook_of(store, row.session) == notebook
    whose = "an earlier conversation of this notebook" if same else "another conversation"
    return f"this is {row.run} of {whose}, {row.session}"


def earlier(path: Path, store: "Store", notebook: str) -> "RunRow | None":
    """The last run of this notebook before this kernel; where its name is not known, of any notebook."""
    if not path.exists():
        return None
    try:
        taken = {row.id for row in store.sessions() if row.writer}
        seen = set()
        for row in store.runs(limit=100):
            if row.session in seen or row.session in taken or not row.session.startswith("nb-"):
                continue
            seen.add(row.session)
            if not notebook or notebook_of(store, row.session) == notebook:
                return row
    except StoreError:  # it is only a hint: `%loom doctor` tells what is wrong with the store
        return None
    return None


def notebook_of(store: "Store", session: str) -> str:
    """The notebook of a conversation, where it says so."""
    try:
        first = next(iter(store.read(session)), None)
    except StoreError:
        return ""
    event = first.event if first is not None else None
    return str(event.metadata.get(NOTEBOOK, "")) if isinstance(event, SessionOpened) else ""


def cell_of(store: "Store", session: str, run: str) -> str:
    """The flags of the cell that began a run; empty where it had none."""
    for entry in store.read(session):
        if entry.run == run and isinstance(entry.event, RunStarted):
            return str(entry.event.metadata.get(CELL, ""))
    return ""


def _rows(store: "Store", sessions: Sequence[str]) -> Iterator["RunRow"]:
    for session in sessions:
        yield from store.runs(session, limit=LOOKED_AT)
