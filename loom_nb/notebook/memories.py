"""`%loom memory`: what is remembered: find it, see why it was recalled, edit, pin, forget and take back."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from loom_nb.capabilities.memory.choosing import WouldChange, part_name
from loom_nb.capabilities.memory.listing import Page
from loom_nb.capabilities.memory.notes import FIELDS, NoteNotFound, Provenance, RunNotKnown, Viewer
from loom_nb.errors import LoomUsageError
from loom_nb.notebook import cell as cells
from loom_nb.notebook import memory_cards as cards
from loom_nb.notebook.card import Card
from loom_nb.notebook.line_words import option
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.wording import counted

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench

_YES, _NO = ("yes", "true", "on", "1", "pinned"), ("no", "false", "off", "0", "")
_FIELD = {"note": "text", "pin": "pinned", "weight": "importance", "tag": "tags"}
"""What people call some of the fields."""


async def memory(bench: "Workbench", words: list[str]) -> Card:
    """Carry out `%loom memory`.

    Raises:
        LoomUsageError: it takes something else, or there is no such note.
    """
    verb = words[0] if words else ""
    carry_out = VERBS.get(verb)
    if carry_out is not None:
        return await carry_out(bench, words[1:])
    return await _find(bench, words, said=True)


# -- looking -----------------------------------------------------------------------------------------------


async def _find(bench: "Workbench", words: list[str], said: bool = False) -> Card:
    """The table of all notes, or of those that are found."""
    words = list(words)
    run = option(words, "--as-of", "%loom memory --as-of r5")
    unknown = next((word for word in words if word.startswith("--")), "")
    if unknown:
        raise LoomUsageError(
            f"%loom memory has no {unknown}", fixes=["%loom memory --as-of r5", "%loom memory coffee"]
        )
    row = bench.find_run(run, "%loom memory --as-of {}") if run else None
    query = " ".join(words)
    from loom_nb.notebook.memory_table import MemoryRows

    source = MemoryRows(bench, query, f"{row.session}/{row.run}" if row is not None else "")
    contents = await source.contents()
    if said and words and not contents.card.tables:
        _refuse_near(words)
    return bench.tables.card(source, contents)


def _refuse_near(words: list[str]) -> None:
    """A search that finds nothing may have been meant as something else."""
    near = cells.near(words[0], [verb for verb in VERBS if verb], cutoff=0.6)
    if near:
        rest = " ".join(words[1:])
        raise LoomUsageError(
            f"no note has anything of '{' '.join(words)}'",
            fixes=[*(f"%loom memory {verb} {rest}".strip() for verb in near), "%loom memory"],
        )


def as_of(bench: "Workbench", run: str, query: str = "", sort: str = "-updated", limit: int = 50) -> Page:
    """The notes as they were when a run began. Raises LoomUsageError where there is no such run."""
    row = bench.find_run(run, "%loom memory --as-of {}")
    try:  # by what the memory knows of the run: clocks may be set back
        return bench.memory.as_of(row.run, query, sort, 0, limit, session=row.session)
    except RunNotKnown:
        if not row.started:
            raise LoomUsageError(f"it is not known when {run} began", fixes=["%loom runs"]) from None
    return bench.memory.as_of(row.started, query, sort, 0, limit)


async def _why(bench: "Workbench", words: list[str]) -> Card:
    note_id, *runs = _some(words, "why", 1, 2, "ID [RUN]")
    note = bench.memory.get(note_id)
    row = bench.find_run(runs[0], f"%loom memory why {note_id} {{}}") if runs else None
    run, session = (row.run, row.session) if row is not None else (None, "")
    recalls = bench.memory.why(note_id, run, session=session)
    return cards.why_card(note, bench.memory.history(note_id), recalls, without(bench, note_id), run or "")


def viewer(bench: "Workbench") -> Viewer:
    """Who asks in the next cell."""
    return Viewer(bench.session.id if bench.session is not None else "", bench.notebook)


def would_change(bench: "Workbench", note_id: str, query: str = "") -> WouldChange:
    """What the next request would be without a note; it is taken to ask for what was asked last.

    Args:
        bench: whose request.
        note_id: of the note.
        query: what it is taken to ask for instead.
    """
    last = bench.store.runs(bench.session.id, limit=1) if bench.session is not None else []
    asks = query or next((row.goal for row in last), "")
    return bench.memory.would_change(note_id, asks, viewer=viewer(bench), seen=seen(bench))


def seen(bench: "Workbench") -> frozenset[str]:
    """The names of what the conversation of this notebook has been shown already."""
    from loom_nb.runtime.enriching import seen_in

    return seen_in(bench.session.view.shown) if bench.session is not None else frozenset()


def without(bench: "Workbench", note_id: str, query: str = "") -> str:
    """What would be otherwise were a note forgotten, in a sentence."""
    here = part_name(bench.memory.get(note_id)) in seen(bench)
    return cards.would_words(would_change(bench, note_id, query), here=here)


# -- changing ----------------------------------------------------------------------------------------------


def by(bench: "Workbench") -> Provenance:
    """The person at this notebook."""
    session = bench.session.id if bench.session is not None else ""
    return Provenance("person", session=session, notebook=bench.notebook)


def parsed(field: str, text: str) -> Any:
    """What a person has typed for a field, as the store takes it. Raises LoomUsageError where it is none."""
    word = text.strip().casefold()
    if field == "pinned":
        if word not in _YES + _NO:
            raise LoomUsageError(f"pinned: yes or no, not {text!r:.80}")
        return word in _YES
    if field == "importance":
        try:
            return float(word.replace(",", "."))
        except ValueError:
            raise LoomUsageError(f"importance: a number from 0 to 1, not {text!r:.80}") from None
    return text


async def _add(bench: "Workbench", words: list[str]) -> Card:
    words = list(words)
    form = '%loom memory add "likes black coffee" --category taste --tags drink,morning'
    fields: dict[str, Any] = {}
    for flag in ADDS[:-1]:
        if text := option(words, flag, form):
            fields[flag[2:]] = parsed(flag[2:], text)
    if "--pin" in words:
        words.remove("--pin")
        fields["pinned"] = True
    unknown = next((word for word in words if word.startswith("--")), "")
    if unknown or not words:
        what = f"%loom memory add has no {unknown}" if unknown else "%loom memory add: remember what?"
        raise LoomUsageError(what, fixes=[form])
    made = bench.memory.add(" ".join(words), viewer=viewer(bench), by=by(bench), **fields)
    title = {
        "added": f"remembered as {made.note.id}",
        "updated": f"brought up to date: {made.note.id}, which said part of it",
        "known": f"known already, as {made.note.id}",
    }[made.how]
    near = tuple(("nearly the same", f"{one.id}: {one.text[:80]}") for one in made.similar)
    return cards.note_card(title, made.note, undo=made.how != "known", facts=near)


async def _edit(bench: "Workbench", words: list[str]) -> Card:
    if len(words) < 3:
        raise LoomUsageError(
            "%loom memory edit takes ID FIELD VALUE",
            cause=f"the fields: {', '.join(FIELDS)}",
            fixes=['%loom memory edit ab12cd34 text "likes tea"'],
        )
    note_id, field, *values = words
    field = _FIELD.get(field, field)
    if field not in FIELDS:
        near = cells.near(field, [*FIELDS, *_FIELD])
        raise LoomUsageError(
            f"a note has no field '{field}'",
            cause=f"the fields: {', '.join(FIELDS)}",
            fixes=[f"%loom memory edit {note_id} {one} …" for one in near[:2]],
        )
    before = bench.memory.get(note_id)
    value = parsed(field, " ".join(values))
    note = bench.memory.change(note_id, by(bench), viewer(bench), **{field: value})
    if note.version == before.version:
        return cards.note_card(f"{note_id} says that already", note, undo=False)
    old, new = getattr(before, field), getattr(note, field)
    facts = () if field == "text" else ((field, f"{_said(old)} → {_said(new)}"),)
    was = (("was", visible(before.text[:400])),) if field == "text" else ()
    return cards.note_card(f"{note_id} changed", note, facts=(*was, *facts))


def _said(value: Any) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return visible(text) or "none"


async def _pin(bench: "Workbench", words: list[str], on: bool = True) -> Card:
    ids = _some(words, "pin" if on else "unpin", 1, 100, "ID …")
    notes = [bench.memory.get(note_id) for note_id in ids]
    done = bench.memory.pin_all(ids, on, by(bench))
    if not done:
        words_of = "pinned already" if on else "not pinned"
        return cards.note_card(f"{' and '.join(ids)}: {words_of}", notes[-1], undo=False)
    words_of = "pinned: in every run from now on" if on else "no longer pinned"
    card = cards.note_card(f"{' and '.join(note.id for note in done)} {words_of}", done[-1])
    if len(done) == 1:
        return card
    return Card(card.title, card.facts, steps=(("%loom memory undo", "takes it back"), *card.steps[1:]))


async def _unpin(bench: "Workbench", words: list[str]) -> Card:
    return await _pin(bench, words, on=False)


async def _forget(bench: "Workbench", words: list[str]) -> Card:
    words = list(words)
    only_tell = "--preview" in words
    if only_tell:
        words.remove("--preview")
    (note_id,) = _some(words, "forget", 1, 1, "ID")
    note = bench.memory.get(note_id)
    facts = (("next request", without(bench, note_id)),)
    if only_tell:
        return cards.note_card(f"{note_id} would be forgotten", note, undo=False, facts=facts)
    bench.memory.forget(note_id, by(bench))
    card = cards.note_card(f"forgotten: {note_id}", note, facts=facts)
    return Card(card.title, card.facts, steps=card.steps[:1])


async def _undo(bench: "Workbench", words: list[str]) -> Card:
    ids = _some(words, "undo", 0, 1, "[ID]")
    done = bench.memory.undo(ids[0] if ids else None, by(bench))
    what = {
        "added": "addition",
        "edited": "change",
        "forgotten": "forgetting",
        "conflict": "loss of what the file said",
    }[done.change]
    if not done.notes:
        return Card(f"the last {what} is taken back", steps=(("%loom memory", "what there is"),))
    note = done.notes[0]
    is_there = _is_there(bench, note.id)
    more = f" and {counted(len(done.notes) - 1, 'other note')}" if len(done.notes) > 1 else ""
    title = f"taken back: the {what} of {note.id}{more}"
    more_of = bench.memory.undoable(note.id) is not None
    steps = ((f"%loom memory undo {note.id}", "takes back the change before it"),) if more_of else ()
    if not is_there:
        return Card(title, (("it said", visible(note.text[:400])),), steps=steps)
    card = cards.note_card(title, note, undo=False)
    return Card(card.title, card.facts, steps=(*steps, *card.steps))


def _is_there(bench: "Workbench", note_id: str) -> bool:
    try:
        bench.memory.get(note_id)
    except NoteNotFound:
        return False
    return True


# -- words -------------------------------------------------------------------------------------------------


def _some(words: list[str], verb: str, least: int, most: int, form: str) -> list[str]:
    if least <= len(words) <= most:
        return words
    raise LoomUsageError(
        f"%loom memory {verb} takes {form}, not {' '.join(words)!r}",
        fixes=["%loom memory   (which notes there are)"],
    )


VERBS: "dict[str, Callable[[Workbench, list[str]], Awaitable[Card]]]" = {
    "find": _find,
    "add": _add,
    "edit": _edit,
    "pin": _pin,
    "unpin": _unpin,
    "forget": _forget,
    "undo": _undo,
    "why": _why,
}
ADDS = ("--category", "--tags", "--importance", "--scope", "--pin")
"""What `add` knows."""


def ids(bench: "Workbench", most: int = 50) -> list[str]:
    """Of the latest notes; nothing is made for it."""
    if not (bench.settings.home / "memory.db").exists():
        return []
    return [hit.note.id for hit in bench.memory.page(limit=most).rows]
