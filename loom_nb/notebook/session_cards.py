"""What a person sees of conversations: the list, one that was opened, those deleted, what a purge takes.

Pure: values go in, a card comes out.
"""

import time
from collections.abc import Sequence
from shlex import quote

from loom_nb.notebook.card import Card, Table, cut
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.runtime.artifacts import size_in_words
from loom_nb.runtime.session_facts import SessionFacts
from loom_nb.settings import money
from loom_nb.wording import counted, moment

SHOWN = 30
"""Conversations of a list that is printed."""
WORDS = 60
COLUMNS = ("conversation", "title", "runs", "status", "turns", "tokens", "cost", "size", "last used")
NUMBERS = frozenset({2, 4, 5, 6, 7})


def title_of(one: SessionFacts) -> str:
    """What it is called in a list."""
    nothing = "(cannot be read)" if one.status == "damaged" else "(nothing was asked)"
    return cut(visible(one.title), WORDS) if one.title else nothing


def row_of(one: SessionFacts, current: str = "") -> tuple[str, ...]:
    """Its cells under COLUMNS."""
    return (
        visible(one.id),
        title_of(one),
        f"{one.runs:,}",
        state_of(one, current),
        f"{one.turns:,}",
        f"{one.tokens:,}",
        cost_of(one),
        size_of(one.row.size),
        moment(one.row.updated),
    )


def state_of(one: SessionFacts, current: str = "") -> str:
    """How its last run ended; whether it is the one of this notebook, or open elsewhere."""
    where = "here" if one.id == current else "open" if one.row.writer else ""
    return ", ".join(word for word in (one.status or "no run", where) if word)


def cost_of(one: SessionFacts) -> str:
    """US dollars, with a + where a price is not known."""
    if one.unknown:
        return f"{money(one.cost)}+" if one.cost else "not known"
    return money(one.cost)


def size_of(size: int) -> str:
    """Bytes for people; empty where it is not kept as bytes."""
    return size_in_words(size) if size else ""


def file_of(notebook: str) -> str:
    """The name of a notebook, without the folders above it."""
    return visible(notebook.replace("\\", "/").rpartition("/")[2])


def lately(seconds: float, now: float) -> str:
    """A moment in few words: the time of today, else the day."""
    then = time.localtime(seconds)
    today = time.localtime(now)[:3] == then[:3]
    return time.strftime("%H:%M" if today else "%Y-%m-%d", then)


def list_card(
    found: Sequence[SessionFacts],
    *,
    notebook: str,
    current: str,
    deleted: int,
    looked_at: int = 0,
    words: str = "",
) -> Card:
    """The conversations of a notebook, or of the store.

    Args:
        found: the newest first.
        notebook: whose they are; empty for those of all.
        current: the one of this kernel.
        deleted: how many wait for an undo or a purge.
        looked_at: where older ones were not looked at, how many were; 0 where all were.
        words: what was searched for.
    """
    whose = f"of {file_of(notebook)}" if notebook else "kept on this machine"
    facts = []
    if words:
        facts.append(("with the words", visible(words)))
    if len(found) > SHOWN:
        facts.append(("shown", f"the newest {SHOWN} of {len(found):,}"))
    if looked_at:
        facts.append(("looked at", f"the newest {looked_at:,} of all conversations"))
    if deleted:
        facts.append(("deleted", f"{deleted:,}, still in the store"))
    columns: tuple[str, ...] = COLUMNS
    rows = [row_of(one, current) for one in found[:SHOWN]]
    if not notebook and any(one.notebook for one in found[:SHOWN]):
        columns = (*columns, "notebook")
        rows = [(*row, file_of(one.notebook)) for row, one in zip(rows, found, strict=False)]
    hidden = frozenset({4, 6, 7, len(COLUMNS)})
    table = Table(
        "the last used first", columns, tuple(rows), NUMBERS, only_html=hidden & set(range(len(columns)))
    )
    return Card(
        f"{counted(len(found), 'conversation')} {whose}",
        tuple(facts),
        (table,) if found else (),
        steps=_list_steps(found, current, notebook=bool(notebook), deleted=bool(deleted)),
    )


def _list_steps(
    found: Sequence[SessionFacts], current: str, *, notebook: bool, deleted: bool
) -> tuple[tuple[str, str], ...]:
    other = quote(next((one.id for one in found if one.id != current), ""))
    steps = []
    if any(one.id != current for one in found):
        steps += [
            (f"%loom sessions open {other}", "goes on there"),
            (f'%loom sessions rename {other} "NAME"', "gives it a name"),
            (f"%loom sessions delete {other}", "takes it away; undo brings it back"),
        ]
    elif not found:
        steps.append(("%%loom", "and a prompt below it: begins one"))
    if notebook:
        steps.append(("%loom sessions --all", "those of other notebooks, too"))
    if deleted:
        steps.append(("%loom sessions deleted", "what can be brought back, or purged"))
    return tuple(steps)


def opened_card(one: SessionFacts, before: str) -> Card:
    """This notebook goes on in another conversation."""
    facts = [("conversation", visible(one.id))]
    if one.notebook:
        facts.append(("begun in", file_of(one.notebook)))
    facts.append(("so far", f"{counted(one.runs, 'run')}, the last one {one.status or 'none'}"))
    if one.last:
        facts.append(("asked last", _line(one.last)))
    if one.answer:
        facts.append(("answered", _line(one.answer)))
    steps = [("%%loom", "goes on there")]
    if one.last_run:
        steps.append((f"%loom show {quote(f'{one.id}/{one.last_run}')}", "its last run"))
    if one.status == "interrupted":
        steps.append(
            (f"%loom resume {quote(f'{one.id}/{one.last_run}')}", "goes on with what was interrupted")
        )
    if before:
        steps.append((f"%loom sessions open {quote(before)}", "goes back"))
    return Card(f"this notebook goes on in: {title_of(one)}", tuple(facts), steps=tuple(steps))


def deleted_card(gone: Sequence[SessionFacts]) -> Card:
    """What was deleted and not purged."""
    if not gone:
        return Card("nothing is deleted", steps=(("%loom sessions", "what there is"),))
    rows = tuple(
        (*row_of(one)[:3], size_of(one.row.size), moment(one.row.deleted or 0.0)) for one in gone[:SHOWN]
    )
    table = Table(
        "the last deleted first",
        ("conversation", "title", "runs", "size", "deleted"),
        rows,
        frozenset({2, 3}),
    )
    shown = (("shown", f"the last {SHOWN} of {len(gone):,}"),) if len(gone) > SHOWN else ()
    return Card(
        f"{counted(len(gone), 'conversation')} deleted and still in the store",
        shown,
        (table,),
        steps=(
            ("%loom sessions undo", "brings back the one that was deleted last"),
            (f"%loom sessions undo {quote(gone[-1].id)}", "or any other one"),
            ("%loom sessions purge", "removes them for good, once you said yes"),
        ),
    )


def purge_card(gone: Sequence[SessionFacts], typed: str) -> Card:
    """What a purge would remove: the question before it."""
    rows = tuple((*row_of(one)[:3], size_of(one.row.size), moment(one.row.deleted or 0.0)) for one in gone)
    columns = ("conversation", "title", "runs", "size", "deleted")
    table = Table("what would be removed", columns, rows, frozenset({2, 3}))
    return Card(
        f"remove {counted(len(gone), 'conversation')} for good?",
        (
            ("size", size_of(sum(one.row.size for one in gone)) or "not known"),
            ("undo", "there is none after it"),
            _STAYS,
        ),
        (table,),
        steps=(
            (f"%loom sessions purge {typed} --yes", "removes them"),
            (f"%loom sessions undo {quote(gone[0].id)}", "keeps one of them"),
        ),
    )


_STAYS = ("stays", "what was exported, recordings beside notebooks, and artifacts in files of their own")


def purged_card(gone: Sequence[SessionFacts]) -> Card:
    """What a purge has removed."""
    size = size_of(sum(one.row.size for one in gone))
    return Card(
        f"{counted(len(gone), 'conversation')} removed for good",
        ((("bytes", f"{size}, gone from the store"),) if size else ()) + (_STAYS,),
        steps=(("%loom sessions", "what there is"),),
    )


def _line(text: str) -> str:
    return cut(visible(" ".join(text.split())), WORDS)
