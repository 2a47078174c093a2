"""An artifact as the MIME bundle of a display: what is foreign in it is escaped or strict Markdown.

A DataFrame's own HTML is never asked for: cells, labels and names are text, whoever wrote them.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from loom_nb.notebook.render.facts import clipped
from loom_nb.notebook.render.markdown import escaped, fenced
from loom_nb.notebook.render.strict_markdown import PRE, escape
from loom_nb.runtime.artifacts import SHOWN

if TYPE_CHECKING:
    from loom_nb.runtime.artifacts import Artifact

ROWS, COLUMNS, CELL = 10, 12, 60
"""What is shown of a table: its first rows and columns, and characters of a cell."""


def bundle(artifact: "Artifact") -> dict[str, Any]:
    """Plain text, Markdown and HTML; of an image, the image.

    Raises:
        StoreError: its content is damaged or gone.
    """
    data = artifact._repr_mimebundle_()
    if artifact.kind == "image" and artifact.media_type in data:
        return data
    title = f"artifact {artifact.line}"
    markup, markdown = f"<p>{escape(title)}</p>\n", f"{escaped(title, line_start=False)}\n"
    if artifact.kind == "table":
        head, rows, left = _table(artifact)
        markup = _html(title, head, rows, left)
        markdown += "\n" + _markdown(head, rows) + (f"\n\n{left}\n" if left else "\n")
    elif artifact.kind in ("text", "json"):
        text = artifact.content().decode()
        shown = text[:SHOWN] + (f"\n… {len(text) - SHOWN:,} more characters" if len(text) > SHOWN else "")
        markup += f'<pre style="{PRE}">{escape(shown)}</pre>\n'
        markdown += f"\n{fenced(shown)}\n"
    page = f'<section class="jp-RenderedHTMLCommon mathjax_ignore tex2jax_ignore">\n{markup}</section>\n'
    return {**data, "text/markdown": markdown, "text/html": page}


def _table(artifact: "Artifact") -> tuple[list[str], list[list[str]], str]:
    """Head and rows, labels first, and what is not shown."""
    frame = artifact.value()
    shown = frame.iloc[:ROWS, :COLUMNS]
    head = ["", *map(_cell, shown.columns)]
    rows = [
        [_cell(label), *map(_cell, values)] for label, values in zip(shown.index, _rows(shown), strict=True)
    ]
    more = (len(frame) - ROWS, "rows"), (frame.shape[1] - COLUMNS, "columns")
    left = " and ".join(f"{count:,} more {what}" for count, what in more if count > 0)
    return head, rows, left


def _rows(frame: Any) -> Iterator[Sequence[Any]]:
    """Row by row, each value of its column's own type."""
    columns = [frame.iloc[:, place].tolist() for place in range(frame.shape[1])]
    return zip(*columns, strict=True) if columns else iter([()] * len(frame))


def _cell(value: Any) -> str:
    return clipped(str(value), CELL)


def _html(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], left: str) -> str:
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = []
    for label, *values in rows:
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        lines.append(f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>\n')
    note = f"<p>{left}</p>\n" if left else ""
    caption = f"<caption>{escape(title)}</caption>"
    table = f"<table>{caption}\n<thead><tr>{names}</tr></thead>\n<tbody>\n{''.join(lines)}</tbody></table>"
    return f'<div style="overflow:auto">{table}</div>\n{note}'


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    table = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell if n == 1 else escaped(cell, line_start=False) or ' ' for cell in row)} |"
        for n, row in enumerate(table)
    )
