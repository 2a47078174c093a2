"""What every surface says of a compaction: the words, said once."""

from itertools import takewhile

from msgspec import structs

from loom_nb.notebook.render.facts import UNICODE, Glyphs, clipped, one_line
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.notebook.transcript import Compacted, Replaced
from loom_nb.runtime.compaction import calls_in_words
from loom_nb.wording import counted

ITEMS = 20
"""Items of which is told what was and what is sent; the others are counted."""
CHARS = 400
"""Characters of each."""
SAME = 80
"""Characters that are shown again of a beginning that stays as it was."""
COLUMNS = ("item", "what was sent", "what the model is shown now")
WROTE = "Handoff, written by the model"
ABOVE = "(the handoff above)"


def tentative(shown: Compacted) -> Compacted:
    """One that only would be: it has no name, and there is nothing to undo."""
    return structs.replace(shown, id="")


def title(shown: Compacted, marks: Glyphs) -> str:
    """``Context compacted: snip · 12,400 → 6,100 tokens · pressure 82 %``."""
    fate = "Context compacted" if shown.id else "Would be compacted"
    items = [
        f"{fate}: {clipped(shown.strategy, 60)}",
        f"{shown.before:,} {marks.arrow} {shown.after:,} tokens",
        reason(shown),
    ]
    return f" {marks.dot} ".join(item for item in items if item)


def reason(shown: Compacted) -> str:
    """Why."""
    return clipped(shown.reason, 120).replace("%", " %")


def undo(shown: Compacted) -> str:
    """What to type to undo the whole of it; empty where it was not done."""
    return f"%loom compact undo {one_line(shown.id)}" if shown.id else ""


def undo_one(shown: Compacted) -> str:
    """What to type to undo one item; empty where there is only one."""
    if len(shown.items) < 2 or not shown.id:
        return ""
    first = shown.items[0].item.partition("-")[0]
    return f"{undo(shown)} {first}"


def cost(shown: Compacted, marks: Glyphs = UNICODE) -> str:
    """What the handoff cost, ``compaction: 1 call, 412→96 tok``; empty where none was written."""
    return calls_in_words(1, shown.usage, marks.arrow) if shown.usage.total_tokens else ""


def tokens(item: Replaced, marks: Glyphs) -> str:
    """``4,210 → 210 tok``."""
    return f"{item.before:,} {marks.arrow} {item.after:,} tok" if item.before else f"{item.after:,} tok"


def pairs(shown: Compacted) -> list[tuple[Replaced, str, str]]:
    """(item, what was sent, what is sent now) of the first items; what they have in common is told once."""
    return [(item, *_pair(item)) for item in shown.items[:ITEMS]]


def _pair(item: Replaced) -> tuple[str, str]:
    was, now = visible(item.was), visible(item.now)
    if item.handoff:
        return _head(was, CHARS) or "(not kept)", ABOVE
    same = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(was, now, strict=False)))
    if same > 2 * SAME:
        return _head(was, CHARS), f"{now[:SAME]} … {_head(now[same:].lstrip(), CHARS)}"
    return _head(was, CHARS) or "(not kept)", _head(now, CHARS)


def _head(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[:chars].rstrip()}…"


def rest(shown: Compacted) -> str:
    """How many items are not told of; empty for none."""
    left = len(shown.items) - ITEMS
    return f"and {counted(left, 'more item')}" if left > 0 else ""
