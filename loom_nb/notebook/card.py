"""A small answer of a line magic: a title, facts, tables and things to type next.

It is a value with three surfaces, plain text, Markdown and HTML, made here and nowhere else; every
word of it is escaped.
"""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol

WIDTH = 100
NARROWEST = 12
"""Columns of the plain text."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a caption."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    """The columns, counted from 0, that hold numbers."""
    only_html: frozenset[int] = frozenset()
    """The columns for which there is no room in plain text."""
    one_line: bool = False
    """In plain text a row is one line: its last column is cut."""
    to_type: bool = False
    """In HTML the first column is not broken: it is there to be typed."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A part of a card that something else has drawn, on both surfaces; foreign words in it are escaped."""

    text: str
    html: str


@dataclass(frozen=True, slots=True, repr=False)
class Card:
    """What a line magic shows. `str(card)` is its plain text."""

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    """(name, value) pairs."""
    tables: tuple[Table, ...] = ()
    text: str = ""
    """Preformatted text, for example JSON."""
    steps: tuple[tuple[str, str], ...] = ()
    """(what to type, what it does)."""
    folded: str = ""
    """The words under which the text is folded away in HTML; empty: it is open."""
    drawn: tuple[Drawn, ...] = ()
    """Shown between the facts and the tables."""

    def __str__(self) -> str:
        gap = [""] if self.steps and (self.facts or self.drawn or self.tables or self.text) else []
        facts, steps = _fact_lines(self.facts), _step_lines(self.steps)
        return "\n".join([*_hung("", self.title), *facts, *self._blocks(), *gap, *steps])

    def __repr__(self) -> str:
        return str(self)

    def _blocks(self) -> list[str]:
        blocks = [line for part in self.drawn for line in ("", part.text)]
        for table in self.tables:
            blocks += ["", *_hung("", table.caption), *_table_lines(table)]
        return [*blocks, "", self.text] if self.text else blocks

    def to_html(self) -> str:
        """Static HTML that a sanitizer leaves alone. Nothing in it is typeset as a formula."""
        html = [f'<section class="{_CLASSES}"><h4>{escape(self.title)}</h4>']
        if self.facts:
            html.append(_html_table(Table("", (), self.facts)))
        html += [part.html for part in self.drawn]
        html += [_html_table(table) for table in self.tables]
        if self.text:
            html.append(_html_text(self.text, self.folded))
        if self.steps:
            items = "".join(f"<li><code>{escape(what)}</code> {escape(why)}</li>" for what, why in self.steps)
            html.append(f"<ul>{items}</ul>")
        return "".join([*html, "</section>"])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.to_html()}


class Described(Protocol):
    """Something that tells in words what it will do."""

    def describe(self) -> Mapping[str, Any]:
        """Lists of words under "allowed", "asked" and "denied"; anything else is a limit or a setting."""
        ...


_FATES = {
    "allowed": "Runs unasked",
    "asked": "Is asked about first",
    "denied": "Is denied, whoever asks",
}
_ALL = "DANGER: the mode is `all`: whatever no rule denies runs unasked"


def describe_card(runtime: Described) -> Card:
    """What a runtime will allow, ask and deny, and its limits, as a card."""
    from loom_nb.notebook.render.strict_markdown import visible

    told = runtime.describe()
    facts = tuple(
        (visible(str(name)), visible(_said(value))) for name, value in told.items() if name not in _FATES
    )
    tables = tuple(
        Table(title, (), tuple((visible(str(words)),) for words in told.get(fate, ())))
        for fate, title in _FATES.items()
    )
    title = "What this runtime allows"
    return Card(f"{title} · {_ALL}" if told.get("mode") == "all" else title, facts, tables)


def _said(value: Any) -> str:
    if value is None:
        return "no limit"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _fact_lines(facts: Sequence[tuple[str, str]]) -> list[str]:
    wide = max((len(name) for name, _ in facts), default=0)
    return [line for name, value in facts for line in _hung(f"  {name:<{wide}}  ", value)]


def _step_lines(steps: Sequence[tuple[str, str]]) -> list[str]:
    wide = min(max((len(what) for what, _ in steps), default=0), 40)
    return [line.rstrip() for what, why in steps for line in _hung(f"  {what:<{wide}}  ", why)]


def _hung(lead: str, text: str) -> list[str]:
    """A text behind its lead, no wider than the card: what has no room hangs below."""
    if len(lead) + len(text) <= WIDTH // 2 or all(_fits(line) for line in f"{lead}{text}".split("\n")):
        return [f"{lead}{text}"]
    from loom_nb.notebook.render.text import wrapped

    if len(lead) > WIDTH // 2:
        return [lead, *wrapped(f"      {text}", hanging=" " * 6).split("\n")]
    return wrapped(f"{lead}{text}", hanging=" " * len(lead)).split("\n")


def _fits(line: str) -> bool:
    from loom_nb.notebook.render.facts import columns

    return columns(line) <= WIDTH


def _table_lines(table: Table) -> list[str]:
    if not table.rows:
        return ["  (none)"]
    rows = [table.columns, *table.rows] if table.columns else list(table.rows)
    here = [n for n in range(len(rows[0])) if n not in table.only_html]
    rows = [tuple(row[n] for n in here) for row in rows]
    numbers = frozenset(place for place, n in enumerate(here) if n in table.numbers)
    if table.one_line:
        return _aligned(rows, numbers)
    wide = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    while sum(wide) + 2 * len(wide) > WIDTH and max(wide) > NARROWEST:
        wide[wide.index(max(wide))] -= 1  # the widest column gives way; the others stay whole
    return [line for row in rows for line in _row_lines(row, wide, numbers)]


def _aligned(rows: Sequence[Sequence[str]], numbers: frozenset[int]) -> list[str]:
    """Each row in one line, its last column cut at the end of it."""
    from loom_nb.notebook.render.facts import columns

    wide = [max(columns(row[n]) for row in rows) for n in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        gaps = [" " * (width - columns(cell)) for cell, width in zip(row, wide, strict=False)]
        cells = [
            gap + cell if n in numbers else cell + gap
            for n, (cell, gap) in enumerate(zip(row, gaps, strict=False))
        ]
        lead = "  " + "  ".join([*cells, ""])
        lines.append(cut(lead + row[-1], WIDTH).rstrip())
    return lines


def cut(text: str, width: int) -> str:
    """A line of at most so many columns."""
    from loom_nb.notebook.render.facts import columns

    if columns(text) <= width:
        return text
    while columns(text) > width - 1:
        text = text[: max(0, len(text) - max(1, (columns(text) - width) // 2))]
    return text + "…"


def _row_lines(row: Sequence[str], wide: Sequence[int], numbers: frozenset[int]) -> list[str]:
    """A row on as many lines as its longest cell needs: what it says can still be copied."""
    cells = [textwrap.wrap(cell, wide[n], break_on_hyphens=False) for n, cell in enumerate(row)]
    return [
        "  "
        + "  ".join(
            f"{part:{'>' if n in numbers else '<'}{wide[n]}}" for n, part in enumerate(parts)
        ).rstrip()
        for parts in itertools.zip_longest(*cells, fillvalue="")
    ]


_CLASSES = "jp-RenderedHTMLCommon mathjax_ignore tex2jax_ignore"
_LEFT = 'style="text-align: left"'  # front ends align the cells of a table to the right
_WHOLE = 'style="text-align: left; white-space: nowrap"'
_RIGHT = 'style="text-align: right"'


def _html_table(table: Table) -> str:
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    sides = [_RIGHT if n in table.numbers else _LEFT for n in range(len(table.columns))]
    head = "".join(
        f'<th scope="col" {side}>{escape(name)}</th>' for name, side in zip(table.columns, sides, strict=True)
    )
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    if not table.rows:
        return f"<table>{caption}{head}<tbody><tr><td>(none)</td></tr></tbody></table>"
    body = "".join(f"<tr>{_cells(row, table)}</tr>" for row in table.rows)
    return f"<table>{caption}{head}<tbody>{body}</tbody></table>"


def _html_text(text: str, folded: str) -> str:
    shown = f"<pre>{escape(text)}</pre>"
    return f"<details><summary>{escape(folded)}</summary>{shown}</details>" if folded else shown


def _cells(row: Sequence[str], table: Table) -> str:
    first, *rest = row
    data = "".join(
        f"<td {_RIGHT if n in table.numbers else _LEFT}>{escape(cell)}</td>" for n, cell in enumerate(rest, 1)
    )
    return f'<th scope="row" {_WHOLE if table.to_type else _LEFT}>{escape(first)}</th>{data}'
