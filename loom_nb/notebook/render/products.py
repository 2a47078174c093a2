"""What every surface says of an artifact that a run made: the words, said once."""

from loom_nb.events import TableHead
from loom_nb.notebook.render.facts import Glyphs, clipped, one_line
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.notebook.transcript import Product
from loom_nb.runtime.artifacts import size_in_words

LINES = 20
"""Lines of a text that are shown."""
CELL = 60


def title(shown: Product, marks: Glyphs) -> str:
    """``artifact figure 1 · figure · image/png · 12.3 kB``."""
    version = f" (version {shown.version:,})" if shown.version > 1 else ""
    told = shown.summary if shown.media_type in shown.summary else f"{shown.summary} · {shown.media_type}"
    kind = shown.summary if shown.kind in ("table", "json") else told
    items = [f"artifact {shown.name}{version}", *kind.split(" · "), size_in_words(shown.size)]
    return f" {marks.dot} ".join(one_line(item) for item in items)


def hint(shown: Product) -> str:
    """How to get it: ``result.artifacts["figure 1"]``."""
    name = one_line(shown.name).replace("\\", "\\\\").replace('"', '\\"')
    way = {"table": ".table", "text": ".text", "image": ".image"}.get(shown.kind, "")
    return f'result.artifacts["{name}"]{way}'


def ways(shown: Product) -> str:
    """What else can be typed."""
    name = one_line(shown.name)
    quoted = name if name.replace(".", "").replace("_", "").isalnum() else f'"{name}"'
    return f"%loom artifacts save {quoted} PATH" if '"' not in name else "%loom artifacts"


def rows(table: TableHead) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table, labels first, each cell one line."""
    head = ["", *(clipped(name, CELL) for name in table.columns)]
    return head, [[clipped(cell, CELL) for cell in row] for row in table.rows]


def left(table: TableHead) -> str:
    """``10 of 1,204 rows, 12 of 30 columns``; empty where all is shown."""
    told = []
    if table.of_rows > len(table.rows):
        told.append(f"{len(table.rows):,} of {table.of_rows:,} rows")
    if table.of_columns > len(table.columns):
        told.append(f"{len(table.columns):,} of {table.of_columns:,} columns")
    return ", ".join(told)


def text(shown: Product) -> tuple[str, str]:
    """The beginning of a text, and what is left out."""
    lines = visible(shown.text).rstrip("\n").split("\n")
    head = "\n".join(lines[:LINES])
    if shown.more < 0:
        return head, "and more"
    more = shown.more + len(shown.text.rstrip("\n")) - len(head)
    return head, f"{more:,} more characters" if more > 0 or len(lines) > LINES else ""


def undrawn(shown: Product) -> str:
    """Why an image is told in words only; empty for what is drawn, and for what is none."""
    if shown.kind != "image" or shown.picture is not None:
        return ""
    known = shown.media_type in ("image/png", "image/jpeg")
    return "too large to be shown here" if known else "not drawn: only PNG and JPEG are"
