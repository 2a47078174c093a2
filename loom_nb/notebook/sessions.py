"""`%loom sessions`: the conversations that are kept: look through them, open, name, delete and bring back."""

import shlex
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from loom_nb.errors import LoomUsageError, SessionBusy, StoreError
from loom_nb.notebook import cell as cells
from loom_nb.notebook import session_cards as cards
from loom_nb.notebook.card import Card
from loom_nb.notebook.line_words import flag
from loom_nb.protocols import SessionRow
from loom_nb.runtime.session_facts import SessionFacts, facts_in, facts_of, listing, purge
from loom_nb.wording import counted

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench

LOOKED_AT = 500
"""Conversations, newest first, among which those of a notebook are looked for."""
SHORTEST = 4
"""Characters of an id that may stand for all of it."""
NAMED = 8
"""Ids that are written out in a line to type."""


async def sessions(bench: "Workbench", words: list[str]) -> Card:
    """Carry out `%loom sessions`.

    Raises:
        LoomUsageError: there is no such word, or no such conversation.
        SessionBusy: another process writes it.
    """
    verb = words[0] if words and not words[0].startswith("-") else ""
    carry_out = VERBS.get(verb)
    if carry_out is None:
        raise LoomUsageError(
            f"%loom sessions has no '{verb}'",
            fixes=[
                *(f"%loom sessions {one}" for one in cells.near(verb, VERBS)),
                f"%loom sessions find {verb}",
                f"%loom sessions open {verb}",
            ][:3],
        )
    return await carry_out(bench, words[1:] if verb else words)


async def _list(bench: "Workbench", words: list[str]) -> Card:
    everywhere = flag(words, "--all")
    if words:
        raise LoomUsageError(
            f"%loom sessions takes --all, not {' '.join(words)!r}", fixes=["%loom sessions --all"]
        )
    return await _table(bench, everywhere=everywhere)


async def _find(bench: "Workbench", words: list[str]) -> Card:
    everywhere = flag(words, "--all")
    if not words:
        raise LoomUsageError(
            "%loom sessions find: which words?", fixes=['%loom sessions find "letter to Ada"']
        )
    return await _table(bench, everywhere=everywhere, words=" ".join(words))


async def _table(bench: "Workbench", *, everywhere: bool, words: str = "") -> Card:
    from loom_nb.notebook.session_table import SessionRows

    rows = SessionRows(bench, "" if everywhere else bench.notebook, words)
    return bench.tables.card(rows, await rows.contents())


def look_through(
    bench: "Workbench", notebook: str, words: str = "", known: dict[str, SessionFacts] | None = None
) -> list[SessionFacts]:
    """The newest conversations, newest first.

    Args:
        bench: whose store is looked at.
        notebook: whose they are; empty for those of all.
        words: each of them must occur in one's title, prompts, notebook, status or id.
        known: what was read before, kept up to date.
    """
    wanted = words.casefold().split()
    those = listing(bench.store, LOOKED_AT, known)
    if notebook:
        those = (one for one in those if one.notebook == notebook)
    return [one for one in those if all(word in _text(one) for word in wanted)]


def card_of(bench: "Workbench", those: Sequence[SessionFacts], notebook: str, words: str = "") -> Card:
    """What `look_through` gave, in print."""
    store, session = bench.store, bench.session
    return cards.list_card(
        those,
        notebook=notebook,
        current=session.id if session is not None else "",
        deleted=len(store.deleted()),
        looked_at=LOOKED_AT if len(store.sessions(limit=LOOKED_AT + 1)) > LOOKED_AT else 0,
        words=words,
    )


def _text(one: SessionFacts) -> str:
    return "\n".join((one.id, one.title, one.first, one.last, one.notebook, one.status)).casefold()


# -- one conversation ------------------------------------------------------------------------------------


async def _open(bench: "Workbench", words: list[str]) -> Card:
    (word,) = _one(words, "open")
    return await go_on_in(bench, named(bench, word, "open"))


async def go_on_in(bench: "Workbench", session: str) -> Card:
    """This kernel continues in another conversation; its next cell is the first to write there."""
    before = bench.session.id if bench.session is not None else ""
    one = one_of(bench, session)
    if before == session:
        return Card(
            f"this notebook is in it: {cards.title_of(one)}",
            (("conversation", session),),
            steps=(("%%loom", "goes on there"),),
        )
    bench.refuse_while_running()
    if one.row.writer and session not in [one.id for one in bench.sessions()]:
        raise _open_elsewhere(one.row)
    await bench.enter(session)
    return cards.opened_card(one, before)


def _open_elsewhere(row: SessionRow) -> SessionBusy:
    return SessionBusy(
        f"Session {row.id!r} is open elsewhere, in {row.writer}",
        cause="one writer at a time keeps a session's log in order",
        fixes=("%loom reset   there, and run a cell", f"%loom fork {row.id}/last   goes on in a copy"),
    )


async def _rename(bench: "Workbench", words: list[str]) -> Card:
    if not words:
        raise LoomUsageError(
            "%loom sessions rename: which, and how?", fixes=['%loom sessions rename ID "NAME"']
        )
    session = named(bench, words[0], "rename")
    before = rename(bench, session, " ".join(words[1:]))
    found = one_of(bench, session)
    return Card(
        f"{session} is called: {cards.title_of(found)}"
        if found.row.name
        else f"{session} has no name any more",
        steps=((named_again(session, before), "as it was called before"),),
    )


def rename(bench: "Workbench", session: str, name: str) -> str:
    """Give a conversation a name; gives the one that it had. Raises LoomUsageError for what is no name."""
    before = one_of(bench, session).row.name
    bench.store.rename(session, name)
    return before


def named_again(session: str, name: str) -> str:
    """The line that gives a conversation this name; for the same person to paste."""
    return f"%loom sessions rename {shlex.quote(session)} {shlex.quote(name)}"


# -- deleting, and back ----------------------------------------------------------------------------------


async def _delete(bench: "Workbench", words: list[str]) -> Card:
    if not words:
        raise LoomUsageError(
            "%loom sessions delete: which?", fixes=["%loom sessions delete ID", "%loom sessions"]
        )
    wanted = dict.fromkeys(named(bench, word, "delete") for word in words)
    found = [one_of(bench, session) for session in wanted]
    done, refused = await delete(bench, [one.id for one in found])
    facts = [(one.id, cards.title_of(one)) for one in found if one.id in done]
    facts += [("not deleted", error.title) for error in refused]
    return Card(
        f"deleted: {counted(len(done), 'conversation')}, still in the store",
        tuple(facts),
        steps=(
            (f"%loom sessions undo {shlex.join(done[:NAMED])}", "brings back all of it"),
            ("%loom sessions purge", "removes it for good, once you said yes"),
        ),
    )


async def delete(bench: "Workbench", wanted: Sequence[str]) -> tuple[list[str], list[StoreError]]:
    """Delete conversations; gives those that were, and why others were not.

    Raises:
        SessionBusy, StoreError: none of them could be deleted.
        LoomUsageError: one of them is this notebook's, and a run of it goes on.
    """
    done: list[str] = []
    refused: list[StoreError] = []
    if any(one.id in wanted for one in bench.sessions()):
        bench.refuse_while_running()
        await bench.let_go(wanted)
    for session in dict.fromkeys(wanted):
        try:
            bench.store.delete(session)
        except StoreError as error:
            refused.append(error)
        else:
            done.append(session)
    if refused and not done:
        raise refused[0]
    return done, refused


async def _undo(bench: "Workbench", words: list[str]) -> Card:
    gone = deleted(bench)
    if not gone:
        return cards.deleted_card(gone)
    chosen = _chosen(gone, words) or [gone[0]]
    for one in chosen:
        bench.store.restore(one.id)
    return Card(
        f"back as it was: {', '.join(cards.title_of(one) for one in chosen)}",
        tuple(("conversation", one.id) for one in chosen),
        steps=(
            (f"%loom sessions open {shlex.quote(chosen[0].id)}", "goes on there"),
            (f"%loom sessions delete {shlex.join(one.id for one in chosen)}", "takes it away again"),
        ),
    )


async def _show_deleted(bench: "Workbench", words: list[str]) -> Card:
    if words:
        raise LoomUsageError(f"%loom sessions deleted takes nothing more, not {' '.join(words)!r}")
    from loom_nb.notebook.session_table import DeletedRows

    rows = DeletedRows(bench)
    return bench.tables.card(rows, await rows.contents())


async def _purge(bench: "Workbench", words: list[str]) -> Card:
    sure = flag(words, "--yes")
    words = [] if words == ["all"] else words
    gone = deleted(bench)
    chosen = _chosen(gone, words) or gone
    if not chosen:
        return cards.deleted_card(chosen)
    if not sure:
        named_ = chosen if words or len(chosen) <= NAMED else []
        return cards.purge_card(chosen, shlex.join(one.id for one in named_) or "all")
    removed = set(purge(bench.store, [one.id for one in chosen]))
    return cards.purged_card([one for one in chosen if one.id in removed])


def deleted(bench: "Workbench") -> list[SessionFacts]:
    """What was deleted and not purged, the last deleted first."""
    return [facts_of(row, bench.store.landmarks(row.id)) for row in bench.store.deleted()]


def _chosen(gone: Sequence[SessionFacts], words: Sequence[str]) -> list[SessionFacts]:
    """The deleted conversations that words mean, each once."""
    found = [_deleted(gone, word) for word in words]
    return [one for place, one in enumerate(found) if one not in found[:place]]


def _deleted(gone: Sequence[SessionFacts], word: str) -> SessionFacts:
    hits = _hits(gone, word)
    if len(hits) == 1:
        return hits[0]
    raise LoomUsageError(
        f"{'several' if hits else 'no'} deleted conversation{'s' if hits else ''} '{word}'",
        fixes=[f"%loom sessions undo {shlex.quote(one.id)}" for one in (hits or gone)[:3]],
    )


# -- small pieces ----------------------------------------------------------------------------------------


def named(bench: "Workbench", word: str, verb: str) -> str:
    """The id of the conversation that a word means: its id, how that begins, or its name.

    Raises:
        LoomUsageError: there is none, or there are several.
    """
    found = list(listing(bench.store, LOOKED_AT))
    hits = _hits(found, word)
    if len(hits) == 1:
        return hits[0].id
    if not hits and bench.store.runs(word, limit=1):  # an older one
        return word
    if hits:
        raise LoomUsageError(
            f"{len(hits)} conversations are called '{word}'",
            fixes=[f"%loom sessions {verb} {shlex.quote(one.id)}" for one in hits[:3]],
        )
    names = [one.id for one in found] + [one.row.name for one in found if one.row.name]
    gone = any(row.id == word for row in bench.store.deleted())
    raise LoomUsageError(
        f"there is no conversation '{word}'" + (": it was deleted" if gone else ""),
        fixes=[
            *([f"%loom sessions undo {word}"] if gone else []),
            *(f"%loom sessions {verb} {shlex.quote(one)}" for one in cells.near(word, names)),
            "%loom sessions --all",
        ][:3],
    )


def _hits(those: Sequence[SessionFacts], word: str) -> list[SessionFacts]:
    name = word.casefold()
    return (
        [one for one in those if one.id == word]
        or [one for one in those if one.row.name and one.row.name.casefold() == name]
        or [one for one in those if len(word) >= SHORTEST and one.id.startswith(word)]
    )


def one_of(bench: "Workbench", session: str) -> SessionFacts:
    """One conversation. Raises LoomUsageError where there is none."""
    for row in _pages(bench):
        if row.id == session:
            return facts_in(bench.store, row)
    marks = bench.store.landmarks(session)
    if not marks:
        raise LoomUsageError(f"there is no conversation '{session}'", fixes=["%loom sessions --all"])
    return facts_of(SessionRow(session, marks[-1].seq, marks[0].time, marks[-1].time), marks)


def _pages(bench: "Workbench") -> Iterator[SessionRow]:
    """The conversations of the store, newest first, as far as they are asked for."""
    last: SessionRow | None = None
    while page := bench.store.sessions(limit=LOOKED_AT, before=last):
        yield from page
        last = page[-1]


def _one(words: list[str], verb: str) -> tuple[str]:
    if len(words) != 1:
        raise LoomUsageError(
            f"%loom sessions {verb} takes one conversation",
            fixes=[f"%loom sessions {verb} ID", "%loom sessions"],
        )
    return (words[0],)


Verb = Callable[["Workbench", list[str]], Awaitable[Card]]
VERBS: dict[str, Verb] = {
    "": _list,
    "find": _find,
    "open": _open,
    "rename": _rename,
    "delete": _delete,
    "undo": _undo,
    "deleted": _show_deleted,
    "purge": _purge,
}
"""What may stand behind `%loom sessions`."""
