"""What a person sees of notes: the list, one in full, why it was recalled, what was changed.

Pure: values go in, a card comes out. Words of notes are foreign: they are text, characters that are not seen
made visible.
"""

from collections.abc import Mapping, Sequence
from shlex import quote

from loom_nb.capabilities.memory.choosing import WouldChange
from loom_nb.capabilities.memory.listing import Page, Recall
from loom_nb.capabilities.memory.notes import FIELDS, Note, NoteVersion, Provenance
from loom_nb.capabilities.memory.ranking import COMPONENTS, Hit, MemoryWeights
from loom_nb.notebook.card import Card, Table
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.wording import counted, moment, one_line

SHOWN = 20
"""Notes of a list that is printed."""
WORDS = 120
"""Characters of a note in a list."""
COLUMNS = ("id", "note", "category", "tags", "pin", "weight", "from", "created", "used")
NUMBERS = frozenset({5, 8})
SCORE = "score"


def cells_of(note: Note) -> tuple[str, ...]:
    """A note under COLUMNS."""
    return (
        note.id,
        one_line(note.text, WORDS),
        note.category,
        ", ".join(note.tags),
        "yes" if note.pinned else "",
        f"{note.importance:.2f}".rstrip("0").rstrip("."),
        source_of(note.by),
        moment(note.created)[:10] if note.created else "",
        f"{note.uses:,}×",
    )


def source_of(by: Provenance) -> str:
    """Who wrote it, in few words: the run of an agent, else the person or the file."""
    who = by.agent or by.who
    return (
        " ".join(part for part in (who if by.who != "agent" or not by.run else "", by.run) if part) or by.who
    )


def told_of(note: Note, versions: Sequence[NoteVersion] = ()) -> tuple[tuple[str, str], ...]:
    """All that is known of a note beside its words."""
    told = [
        ("scope", f"{note.scope}{f', of {note.place}' if note.place else ''}"),
        ("written by", str(note.by)),
        ("created", moment(note.created) if note.created else ""),
        ("changed", _changed(note, versions)),
        ("recalled", f"{counted(note.uses, 'time')}, last {moment(note.used)}" if note.uses else "never"),
        ("its file said", lost_words(note, versions)),
    ]
    return tuple((name, words) for name, words in told if words)


def lost_words(note: Note, versions: Sequence[NoteVersion]) -> str:
    """What its file said, lost against what the note said, and an undo would bring back; empty: nothing."""
    last = next((one for one in reversed(versions) if not one.undone), None)
    if last is None or last.change != "conflict":
        return ""
    pairs = ((name, getattr(last.note, name), getattr(note, name)) for name in (*FIELDS, "extra"))
    told = "; ".join(f"{name}: {_value(there)}" for name, there, here in pairs if there != here)
    return f"{one_line(told, 400)} – {moment(last.moment)}; an undo brings it back" if told else ""


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _changed(note: Note, versions: Sequence[NoteVersion]) -> str:
    versions = [one for one in versions if one.change != "conflict"]
    if not versions:
        return f"version {note.version}" if note.version > 1 else ""
    last = versions[-1]
    if len(versions) == 1:
        return ""
    return f"{counted(len(versions) - 1, 'time')}, last {moment(last.moment)} by {last.by}"


def score_words(hit: Hit) -> str:
    """A score with what it is made of: "0.62 = words 0.58 · salience 0.25"."""
    return f"{hit.score:.2f}: {hit.why()}" if hit.components else ""


def shares(hit: Hit, weights: MemoryWeights) -> Mapping[str, float]:
    """What each component adds to the score; together they are the score."""
    here = {name: hit.components[name] for name in COMPONENTS if name in hit.components}
    whole = sum(getattr(weights, name) for name in here) or 1.0
    return {name: getattr(weights, name) * value / whole for name, value in here.items()}


def list_card(page: Page, *, query: str = "", as_of: str = "", total: int = 0) -> Card:
    """Notes as they are, as they were, or those that are found.

    Args:
        page: the first of them.
        query: what was looked for.
        as_of: when it was so.
        total: of the store.
    """
    hits = page.rows[:SHOWN]
    columns: tuple[str, ...] = COLUMNS
    rows = [cells_of(hit.note) for hit in hits]
    if query:
        columns = (*columns, SCORE)
        rows = [(*row, score_words(hit)) for row, hit in zip(rows, hits, strict=True)]
    left = page.total - len(hits)
    facts = []
    if query:
        facts.append(("looked for", visible(query)))
    if as_of:
        facts.append(("as of", visible(as_of)))
    if left > 0:
        facts.append(("shown", f"the first {len(hits)}, and {left:,} more"))
    caption = "best first" if query else "the latest change first"
    numbers = NUMBERS
    shown = tuple(tuple(visible(cell) for cell in row) for row in rows)
    only_html = frozenset({2, 3, 6, 7}) if query else frozenset({3, 7})
    table = Table(caption, columns, shown, numbers, only_html=only_html)
    return Card(
        title_of(page.total, query, total),
        tuple(facts),
        (table,) if rows else (),
        steps=_steps(hits[0].note if hits else None, query=query, as_of=as_of),
    )


def title_of(matching: int, query: str = "", total: int = 0) -> str:
    """How many notes there are, or are found."""
    if query and total:
        return f"{matching:,} of {counted(total, 'note')}"
    return f"{counted(matching, 'note')} remembered"


def _steps(first: Note | None, *, query: str, as_of: str) -> tuple[tuple[str, str], ...]:
    if first is None:
        back = (("%loom memory", "all notes"),) if query else ()
        return (
            *back,
            ('%loom memory add "…"', "remembers something"),
            ("%%loom -t memory", "lets agents do so"),
        )
    if as_of:
        return (("%loom memory", "as they are now"),)
    note_id = quote(first.id)
    steps = [(f"%loom memory why {note_id}", "in full, and why it was recalled")]
    if not query:
        steps.append(("%loom memory WORDS", "finds notes, with what speaks for each"))
    return (
        *steps,
        (f'%loom memory edit {note_id} text "…"', "or category, tags, importance, scope"),
        (f"%loom memory pin {note_id}", "is shown in every run"),
        (f"%loom memory forget {note_id}", "says what that changes; undo brings it back"),
    )


def note_card(title: str, note: Note, *, undo: bool = True, facts: Sequence[tuple[str, str]] = ()) -> Card:
    """One note after something was done to it."""
    note_id = quote(note.id)
    told = [("note", visible(one_line(note.text, 400)))]
    if note.category or note.tags:
        told.append(
            ("under", visible(", ".join((note.category, *(f"#{tag}" for tag in note.tags))).strip(", ")))
        )
    steps = ((f"%loom memory undo {note_id}", "takes it back"),) if undo else ()
    return Card(title, (*told, *facts), steps=(*steps, (f"%loom memory why {note_id}", "all about it")))


def why_card(
    note: Note,
    versions: Sequence[NoteVersion],
    recalls: Sequence[Recall],
    would: str = "",
    run: str = "",
) -> Card:
    """A note in full, and when, for what and why it was recalled."""
    rows = tuple(
        (
            one.run or "–",
            moment(one.moment),
            "at its beginning" if one.how == "enrichment" else "the agent looked",
            visible(one_line(one.query, 60)),
            f"{one.score:.2f}",
            visible(recall_words(one)),
        )
        for one in recalls
    )
    columns = ("run", "when", "how", "asked", "score", "why")
    tables = (Table("recalled, the latest first", columns, rows, frozenset({4})),) if rows else ()
    facts = [(name, visible(words)) for name, words in told_of(note, versions)]
    if note.category or note.tags:
        facts.insert(
            0, ("under", visible(", ".join((note.category, *(f"#{tag}" for tag in note.tags))).strip(", ")))
        )
    facts.insert(0, ("weight", f"{note.importance:g}{', pinned' if note.pinned else ''}"))
    if run and not rows:
        facts.append(("in this run", "it was not recalled"))
    if would:
        facts.append(("if forgotten", would))
    back = (f"%loom memory undo {quote(note.id)}", "brings back what its file said")
    return Card(
        f"note {visible(note.id)}",
        tuple(facts),
        tables,
        text=visible(note.text),
        steps=(
            *((back,) if lost_words(note, versions) else ()),
            (f'%loom memory edit {quote(note.id)} text "…"', "changes it"),
        ),
    )


def recall_words(one: Recall) -> str:
    """What spoke for it: "words 0.58 (coffee, milk) · salience 0.25"."""
    return Hit(Note(one.note, ""), one.score, one.components, one.terms).why() or "pinned"


def would_words(would: WouldChange, *, here: bool = False) -> str:
    """What the next request would be without a note, in a sentence.

    Args:
        would: as the store has it.
        here: the conversation has been shown the note already.
    """
    if here:
        return "it stands in this conversation already and stays there: %loom context hides it"
    if not would.shown:
        return "the next request stays as it is: this note is not in it"
    size = f"{abs(would.tokens):,} tokens {'longer' if would.tokens > 0 else 'shorter'}"
    change = f"it leaves the next request, which is {size}" if would.tokens else "it leaves the next request"
    if would.enters:
        change += f"; {' and '.join(would.enters)} would take its place"
    return change
