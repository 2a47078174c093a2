"""The table of `%loom sessions`: conversations as rows, and what can be done to them.

Its actions are those of the lines `%loom sessions open`, `rename`, `delete`, `undo` and `purge`: the same
functions carry them out, and a receipt says which line takes them back.
"""

import shlex
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loom_nb.errors import LoomUsageError
from loom_nb.notebook import session_cards as cards
from loom_nb.notebook import sessions
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.notebook.table import Action, Column, Contents, Details, Receipt, Row
from loom_nb.runtime.session_facts import SessionFacts, purge
from loom_nb.wording import counted, moment

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench

_TITLE = Column("title", "title")
_RUNS = Column("runs", "runs", 4, number=True)
_SIZE = Column("size", "size", 5, number=True)
_NOTEBOOK = Column("notebook", "notebook", 9, choose=True)
COLUMNS = (
    _TITLE,
    _RUNS,
    Column("status", "status", 9.5, choose=True),
    Column("tokens", "tokens", 5.5, number=True),
    Column("cost", "cost", 5, number=True),
    _SIZE,
    Column("used", "last used", 6.5, number=True),
    _NOTEBOOK,
)
GONE = (_TITLE, _RUNS, _SIZE, Column("deleted", "deleted", 6.5, number=True), _NOTEBOOK)
ACTIONS = (
    Action("open", "Open", "this notebook goes on there", "o", one=True),
    Action(
        "rename",
        "Rename",
        "gives it a name; an empty one takes it off",
        "r",
        one=True,
        asks="Name",
        initial="title",
    ),
    Action("delete", "Delete", "takes it out of all lists; undo brings it back", "d"),
)
GONE_ACTIONS = (
    Action("undo", "Bring back", "it is as it was", "u"),
    Action(
        "purge",
        "Remove for good …",
        "its bytes leave the store, artifacts in files of their own stay; there is no undo",
        asks="Type yes to remove for good",
    ),
)
_NOUN = ("conversation", "conversations")


def row_of(one: SessionFacts, current: str, now: float) -> Row:
    """A conversation under COLUMNS."""
    return Row(
        one.id,
        (
            cards.title_of(one), f"{one.runs:,}", cards.state_of(one, current), f"{one.tokens:,}",
            cards.cost_of(one), cards.size_of(one.row.size), cards.lately(one.row.updated, now),
            cards.file_of(one.notebook),
        ),
        {1: one.runs, 3: one.tokens, 4: one.cost, 5: one.row.size, 6: one.row.updated},
        frozenset({"rename", "delete"} if one.id == current else {"open", "rename", "delete"}),
    )  # fmt: skip


def gone_row_of(one: SessionFacts, now: float) -> Row:
    """A deleted conversation under GONE."""
    moment = one.row.deleted or 0.0
    return Row(
        one.id,
        (
            cards.title_of(one), f"{one.runs:,}", cards.size_of(one.row.size), cards.lately(moment, now),
            cards.file_of(one.notebook),
        ),
        {1: one.runs, 2: one.row.size, 3: moment},
        frozenset({"undo", "purge"}),
    )  # fmt: skip


def details_of(one: SessionFacts) -> Details:
    """A conversation in full, as far as a list knows it."""
    facts = [
        ("conversation", one.id),
        ("notebook", cards.file_of(one.notebook) or "none"),
        ("begun", moment(one.row.started)),
        ("last used", moment(one.row.updated)),
        ("model calls", f"{one.turns:,}"),
        ("entries", f"{one.row.entries:,}"),
    ]
    if one.row.writer:
        facts.append(("open in", one.row.writer))
    if one.forked_from:
        facts.append(("copied from", one.forked_from))
    texts = [("first prompt", one.first)]
    if one.runs > 1:
        texts.append(("last prompt", one.last))
    if one.answer:
        texts.append(("last answer", one.answer))
    return Details(tuple(facts), tuple(texts))


@dataclass(frozen=True, slots=True)
class SessionRows:
    """The conversations of a notebook or of the store, as a `Source`.

    Args:
        bench: whose they are.
        notebook: its name; empty for those of all.
        words: each of which must occur in what is shown of one.
    """

    bench: "Workbench"
    notebook: str = ""
    words: str = ""
    known: dict[str, SessionFacts] = field(default_factory=dict)
    """What was read before: only what grew is read again."""

    def state(self) -> Hashable:
        """Differs when the newest conversations do, or what is deleted."""
        store, session = self.bench.store, self.bench.session
        newest = tuple(store.sessions(limit=50))
        return newest, len(store.deleted()), session.id if session is not None else ""

    async def contents(self) -> Contents:
        """What there is now."""
        found = sessions.look_through(self.bench, self.notebook, self.words, self.known)
        card = sessions.card_of(self.bench, found, self.notebook, self.words)
        session = self.bench.session
        current = session.id if session is not None else ""
        now = time.time()
        columns = [one for one in COLUMNS if not (self.notebook and one is _NOTEBOOK)]
        places = [place for place, one in enumerate(COLUMNS) if one in columns]
        return Contents(
            card=card,
            title=card.title,
            caption="the last used first",
            columns=tuple(columns),
            rows=tuple(_only(row_of(one, current, now), places) for one in found),
            noun=_NOUN,
            facts=card.facts,
            actions=ACTIONS,
        )

    async def details(self, row: str) -> Details:
        """A conversation with its first and its last words."""
        return details_of(sessions.one_of(self.bench, row))

    async def act(self, action: str, rows: Sequence[str], text: str) -> Receipt:
        """Open, name or delete."""
        if action == "open":
            return await _opened(self.bench, rows[0])
        if action == "rename":
            return _renamed(self.bench, rows[0], text)
        return await _deleted(self.bench, rows)


@dataclass(frozen=True, slots=True)
class DeletedRows:
    """What was deleted and not purged, as a `Source`."""

    bench: "Workbench"

    def state(self) -> Hashable:
        """Differs when something was deleted, brought back or purged."""
        return tuple((one.id, one.deleted) for one in self.bench.store.deleted())

    async def contents(self) -> Contents:
        """What there is now."""
        gone = sessions.deleted(self.bench)
        card, now = cards.deleted_card(gone), time.time()
        return Contents(
            card=card,
            title=card.title,
            caption="the last deleted first",
            columns=GONE,
            rows=tuple(gone_row_of(one, now) for one in gone),
            noun=_NOUN,
            actions=GONE_ACTIONS,
        )

    async def details(self, row: str) -> Details:
        """A conversation with its first and its last words."""
        return details_of(sessions.one_of(self.bench, row))

    async def act(self, action: str, rows: Sequence[str], text: str) -> Receipt:
        """Bring back, or remove for good."""
        if action == "undo":
            return _restored(self.bench, rows)
        if text.strip().casefold() != "yes":
            raise LoomUsageError("nothing was removed: type yes to remove for good")
        gone = {one.id: one for one in sessions.deleted(self.bench)}
        removed = [gone[one] for one in purge(self.bench.store, rows) if one in gone]
        size = cards.size_of(sum(one.row.size for one in removed))
        words = f"{counted(len(removed), 'conversation')} removed for good"
        return Receipt(" · ".join(word for word in (words, size) if word))


# -- actions ---------------------------------------------------------------------------------------------


async def _opened(bench: "Workbench", session: str) -> Receipt:
    before = bench.session.id if bench.session is not None else ""
    await sessions.go_on_in(bench, session)
    title = cards.title_of(sessions.one_of(bench, session))

    async def back() -> Receipt:
        if bench.session is None or bench.session.id != session:
            raise LoomUsageError(
                "this notebook went on elsewhere since", fixes=[f"%loom sessions open {shlex.quote(before)}"]
            )
        return await _opened(bench, before)

    line = (f"%loom sessions open {shlex.quote(before)}",) if before else ()
    return Receipt(f"this notebook goes on in: {title}", line, back if before else None)


def _renamed(bench: "Workbench", session: str, name: str) -> Receipt:
    before = sessions.rename(bench, session, name)
    now = sessions.one_of(bench, session).row.name

    async def back() -> Receipt:
        if sessions.one_of(bench, session).row.name != now:
            raise LoomUsageError(
                "it was named otherwise since", fixes=[sessions.named_again(session, before)]
            )
        return _renamed(bench, session, before)

    words = (
        f"{visible(session)} is called: {visible(now)}" if now else f"{visible(session)} has no name any more"
    )
    return Receipt(words, (sessions.named_again(session, before),), back)


async def _deleted(bench: "Workbench", rows: Sequence[str]) -> Receipt:
    done, refused = await sessions.delete(bench, rows)
    words = [f"{counted(len(done), 'conversation')} deleted", *(error.title for error in refused[:2])]
    back = _taking_back(bench, done, _restored_later)
    return Receipt(visible(" · ".join(words)), (_line("undo", done),), back)


def _restored(bench: "Workbench", rows: Sequence[str]) -> Receipt:
    for session in rows:
        bench.store.restore(session)
    return Receipt(
        f"{counted(len(rows), 'conversation')} back as before",
        (_line("delete", rows),),
        _taking_back(bench, rows, _deleted),
    )


async def _restored_later(bench: "Workbench", rows: Sequence[str]) -> Receipt:
    return _restored(bench, rows)


def _taking_back(
    bench: "Workbench",
    rows: Sequence[str],
    action: "Callable[[Workbench, Sequence[str]], Awaitable[Receipt]]",
) -> "Callable[[], Awaitable[Receipt]]":
    return lambda: action(bench, rows)


def _line(verb: str, rows: Sequence[str]) -> str:
    return f"%loom sessions {verb} {shlex.join(rows[: sessions.NAMED])}"


def _only(row: Row, places: Sequence[int]) -> Row:
    """A row with some of its cells."""
    keys: Mapping[int, float] = {n: row.keys[place] for n, place in enumerate(places) if place in row.keys}
    return Row(row.id, tuple(row.cells[place] for place in places), keys, row.can)
