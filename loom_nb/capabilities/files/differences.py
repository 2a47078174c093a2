"""What a change would do to a text, as a unified diff that is bounded and says what it leaves out."""

import difflib

MAX_SHOWN = 300
"""Lines of a diff."""
MAX_WIDTH = 400
"""Characters of one of its lines."""
_MAX_WORK = 4_000_000
"""Lines before times lines after, the common beginning and end not counted: more is not compared."""
_CONTEXT = 3


def difference(before: str, after: str, name: str, *, new: bool = False) -> str:
    """A unified diff; empty where nothing differs.

    Args:
        before: the text as it is.
        after: the text as it would be.
        name: what it is called.
        new: there is nothing yet.
    """
    if before == after and not new:
        return ""
    old, fresh = before.splitlines(keepends=True), after.splitlines(keepends=True)
    body = _hunks(old, fresh)
    added = sum(line.startswith("+") for line in body)
    removed = sum(line.startswith("-") for line in body)
    head = [f"--- {'(nothing)' if new else name}", f"+++ {name}"]
    shown = [_fit(line) for line in body[:MAX_SHOWN]]
    if len(body) > MAX_SHOWN:
        shown.append(f"... {len(body) - MAX_SHOWN:,} more lines; in all {added:,} added, {removed:,} removed")
    return "\n".join([*head, *shown])


def _hunks(old: list[str], fresh: list[str]) -> list[str]:
    """The lines of the diff after its head."""
    start = 0
    while start < min(len(old), len(fresh)) and old[start] == fresh[start]:
        start += 1
    end = 0
    while end < min(len(old), len(fresh)) - start and old[-1 - end] == fresh[-1 - end]:
        end += 1
    first, tail = max(0, start - _CONTEXT), max(0, end - _CONTEXT)
    old, fresh = old[first : len(old) - tail], fresh[first : len(fresh) - tail]
    if len(old) * len(fresh) <= _MAX_WORK:
        found = list(difflib.unified_diff(old, fresh, n=_CONTEXT))[2:]
        return [_moved(line, first) if line.startswith("@@") else line for line in found]
    return [
        f"@@ -{first + 1},{len(old)} +{first + 1},{len(fresh)} @@ (too much to be compared)",
        *(f"-{line}" for line in old),
        *(f"+{line}" for line in fresh),
    ]


def _moved(mark: str, by: int) -> str:
    """The mark of a hunk, its line numbers counted from the whole text's beginning."""
    if not by:
        return mark
    pieces = []
    for piece in mark.split(" "):
        if piece[:1] in "+-" and piece[1:2].isdigit():
            number, comma, count = piece[1:].partition(",")
            pieces.append(f"{piece[0]}{int(number) + by}{comma}{count}")
        else:
            pieces.append(piece)
    return " ".join(pieces)


def _fit(line: str) -> str:
    text = line.rstrip("\n")
    ending = "" if line.endswith("\n") or text.startswith("@@") else "  (no line feed at its end)"
    text = text.removesuffix("\r")
    more = len(text) - MAX_WIDTH
    return (text if more <= 0 else f"{text[:MAX_WIDTH]} ... ({more:,} more)") + ending
