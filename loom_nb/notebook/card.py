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

    def __str__(self) -> str:
        gap = [""] if self.steps and (self.facts or self.tables or self.text) else []
        return "\n".join(
            [self.title, *_fact_lines(self.facts), *self._blocks(), *gap, *_step_lines(self.steps)]
        )

    def __repr__(self) -> str:
        return str(self)

    def _blocks(self) -> list[str]:
        blocks = []
        for table in self.tables:
            blocks += ["", table.caption, *_table_lines(table)]
        return [*blocks, "", self.text] if self.text else blocks

    def to_html(self) -> str:
        """Static HTML that a sanitizer leaves alone. Nothing in it is typeset as a formula."""
        html = [f'<section class="{_CLASSES}"><h4>{escape(self.title)}</h4>']
        if self.facts:
            html.append(_html_table(Table("", (), self.facts)))
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
    return [f"  {name:<{wide}}  {value}" for name, value in facts]


def _step_lines(steps: Sequence[tuple[str, str]]) -> list[str]:
    wide = min(max((len(what) for what, _ in steps), default=0), 40)
    return [f"  {what:<{wide}}  {why}".rstrip() for what, why in steps]


def _table_lines(table: Table) -> list[str]:
    if not table.rows:
        return ["  (none)"]
    rows = [table.columns, *table.rows] if table.columns else list(table.rows)
    wide = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    while sum(wide) + 2 * len(wide) > WIDTH and max(wide) > NARROWEST:
        wide[wide.index(max(wide))] -= 1  # the widest column gives way; the others stay whole
    return [line for row in rows for line in _row_lines(row, wide)]


def _row_lines(row: Sequence[str], wide: Sequence[int]) -> list[str]:
    """A row on as many lines as its longest cell needs: what it says can still be copied."""
    cells = [textwrap.wrap(cell, wide[n], break_on_hyphens=False) for n, cell in enumerate(row)]
    return [
        "  " + "  ".join(f"{part:<{wide[n]}}" for n, part in enumerate(parts)).rstrip()
        for parts in itertools.zip_longest(*cells, fillvalue="")
    ]


_CLASSES = "jp-RenderedHTMLCommon mathjax_ignore tex2jax_ignore"
_LEFT = 'style="text-align: left"'  # front ends align the cells of a table to the right


def _html_table(table: Table) -> str:
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    head = "".join(f'<th scope="col" {_LEFT}>{escape(name)}</th>' for name in table.columns)
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    if not table.rows:
        return f"<table>{caption}{head}<tbody><tr><td>(none)</td></tr></tbody></table>"
    body = "".join(f"<tr>{_cells(row)}</tr>" for row in table.rows)
    return f"<table>{caption}{head}<tbody>{body}</tbody></table>"


def _html_text(text: str, folded: str) -> str:
    shown = f"<pre>{escape(text)}</pre>"
    return f"<details><summary>{escape(folded)}</summary>{shown}</details>" if folded else shown


def _cells(row: Sequence[str]) -> str:
    first, *rest = row
    data = "".join(f"<td {_LEFT}>{escape(cell)}</td>" for cell in rest)
    return f'<th scope="row" {_LEFT}>{escape(first)}</th>{data}'
