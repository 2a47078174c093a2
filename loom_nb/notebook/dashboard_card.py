"""The dashboard as a person sees it: where the latest run of the conversation stands.

Pure but for `dashboard`, the command: a value goes in, a card comes out.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from loom_nb.notebook.card import Card, Drawn, Table
from loom_nb.notebook.render import acts, facts
from loom_nb.notebook.render.meter import html_meter, meter_marks, text_meter
from loom_nb.notebook.render.strict_markdown import escape, visible
from loom_nb.runtime.context import item_name
from loom_nb.runtime.dashboard import (
    NEARLY,
    Dashboard,
    Failure,
    done_so_far,
    items,
    named,
    question_lines,
    told_of,
)  # fmt: skip
from loom_nb.wording import one_line, percent

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench

BAR = 30
"""Columns of a bar as text."""
GOAL = 600
"""Characters of the goal that are shown."""
SOURCES = 12
"""Sources of evidence that are shown, the newest."""
_CALM, _TIGHT = "#2e9e5b", "#c26a1b"
"""Three to one on white and on black."""


async def dashboard(bench: "Workbench") -> Card:
    """Where the latest run of this notebook's conversation stands, also while it works."""
    session = bench.session
    if session is None:
        from loom_nb.notebook.contexts import nothing_yet

        title = "there is no conversation yet, and so nothing stands anywhere"
        return dataclasses.replace(nothing_yet(bench), title=title)
    return dashboard_card(await session.dashboard(), ascii=bench.settings.ascii)


def dashboard_card(board: Dashboard, *, ascii: bool = False) -> Card:  # noqa: A002  the name of the option
    """The dashboard as a card: every field, also those of which there is nothing.

    Args:
        board: where the run stands.
        ascii: bars and marks as text without a mark that is not ASCII.
    """
    meters = list(_meters(board))
    drawn = Drawn("\n".join(_bar_text(*one, meter_marks(ascii)) for one in meters), _bars_html(meters))
    newest = [one.number for one in board.errors] + [one.numbers[-1] for one in board.evidence] + [0]
    return Card(
        f"dashboard: where {'the latest run' if board.goal or board.status else 'the next run'} stands",
        tuple((name, visible(value)) for name, value in _facts(board)),
        tuple(_tables(board, facts.glyphs(ascii))),
        steps=(
            (f"%loom context show {item_name(newest[0])}", "the whole of an item"),
            ("%loom context", "all that the next request is made of"),
        ),
        drawn=(drawn,),
    )


# -- facts -----------------------------------------------------------------------------------------------


def _facts(board: Dashboard) -> Iterator[tuple[str, str]]:
    yield "goal", one_line(board.goal, GOAL) or "none yet"
    yield "state", _state(board)
    yield "progress", _progress(board)
    yield "budget left", "; ".join(map(str, board.left))
    yield "pressure", _pressure(board)
    yield (
        "depth",
        f"{board.depth}: nobody else was given a part of the work" if not board.depth else str(board.depth),
    )
    empty = {
        "plan": board.plan, "errors": board.errors, "risks": board.risks, "open questions": board.questions,
        "evidence": board.evidence, "scratchpad": board.scratchpad,
    }  # fmt: skip
    none = [name for name, value in empty.items() if not value]
    if none:
        yield "none so far", ", ".join(none)
    yield "the model", _SENT if board.sent else _NOT_SENT


_SENT = "reads this at the end of each request, in short"
_NOT_SENT = "does not read this: ContextProtocol(dashboard=True) or Runtime.long_running() sends it"


def _state(board: Dashboard) -> str:
    if not board.goal and not board.status:
        return "nothing has run yet"
    return board.status or "goes on"


def _progress(board: Dashboard) -> str:
    told = done_so_far(board)
    if board.streak > 1:
        told.append(f"the last {board.streak} in a row failed")
    if board.plan:
        told.insert(0, acts.plan_title(board.plan).replace("Plan:", "steps of the plan:"))
    return "; ".join(told)


def _pressure(board: Dashboard) -> str:
    if board.pressure is None:
        return "not known: no budget is set, and the last request did not need one"
    return f"{percent(board.pressure)} of {board.budget:,} tokens, at the last request"


# -- bars ------------------------------------------------------------------------------------------------


def _meters(board: Dashboard) -> Iterator[tuple[str, float, str, bool]]:
    """(name, share, words, whether it is tight)."""
    counted = sum(item.status != "dropped" for item in board.plan)
    if counted:
        yield "plan", board.done / counted, f"{board.done} of {counted} done", False
    for one in board.left:
        yield f"{one.what} used", one.share, percent(one.share), one.share >= NEARLY
    if board.pressure is not None:
        yield "context", board.pressure, percent(board.pressure), board.pressure >= NEARLY


def _bar_text(name: str, share: float, words: str, tight: bool, marks: tuple[str, str]) -> str:
    return f"  {name:<18} {text_meter(share, BAR, marks)} {words}{' !' if tight else ''}"


def _bars_html(meters: list[tuple[str, float, str, bool]]) -> str:
    rows = "".join(
        f'<div style="clear:both;overflow:hidden;margin:0.15em 0">'
        f'<div style="float:left;width:11em">{escape(name)}</div>'
        f'<div style="float:left;margin:0.35em 0.8em 0 0">'
        f"{html_meter(share, words, _TIGHT if tight else _CALM)}</div>"
        f"<div>{escape(words)}{' · nearly used up' if tight else ''}</div></div>"
        for name, share, words, tight in meters
    )
    return f'<div style="margin:0.5em 0 0.8em 0;font-size:0.95em">{rows}</div>'


# -- tables ----------------------------------------------------------------------------------------------


def _tables(board: Dashboard, marks: facts.Glyphs) -> Iterator[Table]:
    if board.plan:
        steps = [(acts.plan_mark(one, marks), acts.plan_text(one), acts.plan_word(one)) for one in board.plan]
        yield Table("plan", (), _visible(steps))
    if board.errors:
        columns = ("item", "tool", "how", "words")
        yield Table("errors, the newest first", columns, _visible(map(_failure, board.errors)))
    told = [
        *(("risk", line) for line in board.risks),
        *(("question", line) for line in question_lines(board)),
        *(("criterion", line) for line in board.criteria),
        *(("note", line) for line in board.scratchpad.splitlines()),
    ]
    if told:
        yield Table("to keep in mind", (), _visible(told))
    if board.evidence:
        shown = board.evidence[:SOURCES]
        more = f", {len(board.evidence) - SOURCES} more are left out" if len(board.evidence) > SOURCES else ""
        rows = [(items(one), named(one), told_of(one)) for one in shown]
        yield Table(f"evidence, the newest first{more}", ("items", "of", "from"), _visible(rows))


def _visible(rows: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(visible(cell) for cell in row) for row in rows)


def _failure(one: Failure) -> tuple[str, ...]:
    how = "failed" if one.outcome == "error" else one.outcome.replace("_", " ")
    return (item_name(one.number), one_line(one.tool, 60), how, one.words)
