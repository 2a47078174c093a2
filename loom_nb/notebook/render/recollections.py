"""What every surface says of notes that were recalled: the words, said once."""

from loom_nb.events import RecalledNote
from loom_nb.notebook.render.facts import UNICODE, Glyphs, clipped
from loom_nb.notebook.transcript import Recalled
from loom_nb.wording import counted

COLUMNS = ("note", "it says", "why")
WORDS = 160


def title(shown: Recalled, marks: Glyphs = UNICODE) -> str:
    """``recalled 2 notes · 43 tokens · 1 more had no room``."""
    parts = [f"recalled {counted(len(shown.notes), 'note')}"]
    if shown.tokens:
        parts.append(f"{shown.tokens:,} tokens")
    if shown.left_out:
        parts.append(f"{shown.left_out:,} more had no room")
    return f" {marks.dot} ".join(parts)


def rows(shown: Recalled, marks: Glyphs = UNICODE) -> list[tuple[str, str, str]]:
    """Each note under COLUMNS."""
    return [(note.id, clipped(note.words, WORDS), why(note, marks)) for note in shown.notes]


def why(note: RecalledNote, marks: Glyphs = UNICODE) -> str:
    """``score 0.71: words 0.62 (coffee, milk), salience 0.25``; pinned, where nothing else spoke."""
    if not note.components:
        return "pinned: it is in every run"
    told = [f"{name} {value:.2f}" for name, value in note.components.items() if value]
    if note.terms and told:
        told[0] += f" ({clipped(', '.join(note.terms), 60)})"
    return f"{'pinned, ' if note.pinned else ''}score {note.score:.2f}: {', '.join(told)}"


def hint(shown: Recalled) -> str:
    """What to type to know more."""
    return f"%loom memory why {shown.notes[0].id}"
