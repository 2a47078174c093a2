"""`%loom budget`: what was spent in the last cell, in this notebook and today, and what may be."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from loom_nb.errors import LoomUsageError, SetupError, StoreError
from loom_nb.notebook import cell as cells
from loom_nb.notebook.card import Card, Drawn
from loom_nb.notebook.render.meter import html_meter, meter_marks, text_meter
from loom_nb.settings import PREFIX, Cap, Settings, money
from loom_nb.wording import percent

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench
    from loom_nb.protocols import Spent

Scope: TypeAlias = Literal["cell", "notebook", "day"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
BAR = 40
"""Columns of a bar as text."""
NEAR = 0.8
"""From this share on a bar warns."""
_USUAL: dict[str, str] = {"cell": "0.05", "notebook": "1.00", "day": "5.00"}
_NAMES: dict[Scope, str] = {"cell": "last cell", "notebook": "this notebook", "day": "today"}
_OFF = ("off", "none")
_EDGE = "rgba(128,128,128,0.35)"
_COLOURS = ("#2e9e5b", "#c26a1b", "#c0392b")
"""Plenty, near the cap, spent: three to one on white and on black."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """What may be spent from this kernel; None for no cap."""

    cell: Cap | None = None
    notebook: Cap | None = None
    day: Cap | None = None
    ask_above: int | None = None
    """Tokens of a request from which on it is asked about; None: none is."""

    @classmethod
    def of(cls, settings: Settings) -> "Budgets":
        """As the settings say."""
        return cls(settings.budget_cell, settings.budget_notebook, settings.budget_day, settings.ask_above)

    def for_cell(self, own: Cap | None) -> "Budgets":
        """With what a cell says of itself."""
        return self if own is None else replace(self, cell=own)

    def cap(self, scope: Scope) -> Cap | None:
        """The cap of a scope."""
        return {"cell": self.cell, "notebook": self.notebook, "day": self.day}[scope]


@dataclass(frozen=True, slots=True)
class Line:
    """One bar: what was spent of what."""

    scope: Scope
    spent: "Spent | None"
    """None where nothing was, or that is not known."""
    cap: Cap | None
    unread: bool = False
    """Whether what was spent could not be read."""
    replayed: bool = False
    """Whether nothing was sent: the answers came from a recording."""

    @property
    def share(self) -> float:
        """Of the cap, 0 to 1 and more; 0 without a cap."""
        if self.cap is None or self.spent is None:
            return 0.0
        most = self.cap.tokens if self.cap.tokens is not None else self.cap.dollars
        used = self.spent.tokens if self.cap.tokens is not None else self.spent.dollars
        return used / most if most else 0.0

    @property
    def words(self) -> str:
        """`$0.0512 of $5.00, $4.95 left`."""
        if self.unread:
            return f"not known; {'no cap' if self.cap is None else f'the cap is {self.cap}'}"
        if self.cap is None:
            told = "nothing, replayed from recording" if self.replayed else sum_of(self.spent)
            return f"{told}; no cap"
        if self.spent is None:
            return f"nothing yet of {self.cap}"
        left = self.spent.left(self.cap)
        rest = f"{max(0, int(left)):,} tokens" if self.cap.tokens is not None else money(max(0.0, left))
        unpriced = self.spent.unpriced if self.cap.tokens is None else 0
        more = f"; {unpriced:,} tokens of unknown price are not in it" if unpriced else ""
        return f"{self.spent.of(self.cap)}, {rest} left{more}"


def sum_of(spent: "Spent | None") -> str:
    """`12,345 tokens, $0.0512`; no dollars for tokens whose price is not known."""
    if spent is None or not spent:
        return "nothing yet"
    tokens = f"{spent.tokens:,} tokens"
    if not spent.unpriced:
        return f"{tokens}, {money(spent.dollars)}"
    if spent.unpriced >= spent.tokens:
        return f"{tokens} of unknown price"
    return f"{tokens}: {money(spent.dollars)} and {spent.unpriced:,} tokens of unknown price"


# -- the command -----------------------------------------------------------------------------------------


def budget(bench: "Workbench", words: list[str]) -> Card:
    """What was spent and what is left; with a scope and an amount: a cap from now on.

    Raises:
        LoomUsageError: there is no such scope, or the amount is none.
    """
    if not words:
        return overview(bench)
    if [word.lower() for word in words] in [[off] for off in _OFF]:
        bench.budgets = Budgets(ask_above=bench.budgets.ask_above)
        return _changed(bench, "no cap on what is spent from now on")
    scope, *amount = words
    if scope == "ask":
        return _ask(bench, " ".join(amount))
    if scope not in SCOPES:
        raise _no_scope(words)
    if not amount:
        raise LoomUsageError(
            f"%loom budget {scope} how much?",
            fixes=[f"%loom budget {scope} {_USUAL[scope]}", f"%loom budget {scope} off"],
        )
    off = [word.lower() for word in amount] in [[word] for word in _OFF]
    cap = None if off else _cap(" ".join(amount), f"%loom budget {scope} {{}}")
    fields: dict[str, Any] = {scope: cap}
    bench.budgets = replace(bench.budgets, **fields)
    told = {"cell": "each cell", "notebook": "this notebook", "day": "the day"}[scope]
    return _changed(bench, f"no cap on {told}" if cap is None else f"{told} may spend {cap}", scope)


def _ask(bench: "Workbench", amount: str) -> Card:
    if not amount:
        raise LoomUsageError(
            "%loom budget ask from how many tokens on?",
            fixes=["%loom budget ask 50k", "%loom budget ask off"],
        )
    off = amount.lower() in _OFF
    tokens = f"{amount} tok" if amount.isdecimal() else amount
    cap = None if off else _cap(tokens, "%loom budget ask {}", ("50k", "off"))
    if cap is not None and cap.tokens is None:
        raise LoomUsageError("%loom budget ask takes tokens", fixes=["%loom budget ask 50k"])
    above = cap.tokens if cap is not None else None
    bench.budgets = replace(bench.budgets, ask_above=above)
    return _changed(
        bench, "no request is asked about" if above is None else f"from {above:,} tokens on you are asked"
    )


def _cap(text: str, form: str, instead: tuple[str, ...] = ()) -> Cap:
    try:
        return Cap.of(text)
    except SetupError as error:
        fixes = [form.format(fix) for fix in instead or error.fixes]
        raise LoomUsageError(f"%loom budget: {error.title}", cause=error.cause, fixes=fixes) from None


def _no_scope(words: list[str]) -> LoomUsageError:
    try:
        Cap.of(" ".join(words))
    except SetupError:
        near = cells.near(words[0], [*SCOPES, "ask", "off"])
        fixes = [f"%loom budget {one} {_USUAL.get(one, '')}".strip() for one in near]
    else:
        fixes = [f"%loom budget {scope} {' '.join(words)}" for scope in SCOPES]
    return LoomUsageError(
        f"%loom budget has no '{words[0]}'",
        cause="a cap is on the cell, the notebook or the day",
        fixes=fixes or [f"%loom budget {scope} {_USUAL[scope]}" for scope in SCOPES],
    )


def _changed(bench: "Workbench", title: str, scope: Scope | None = None) -> Card:
    card = overview(bench)
    cap = bench.budgets.cap(scope) if scope is not None else None
    lasting = (
        (
            (
                f"{PREFIX}BUDGET_{scope.upper()}={cap.typed}",
                "in the environment: for every kernel, not this one alone",
            ),
        )
        if scope is not None and cap is not None
        else ()
    )
    return replace(card, title=f"from the next cell on {title}", steps=lasting)


# -- the card --------------------------------------------------------------------------------------------


def overview(bench: "Workbench") -> Card:
    """The caps of this kernel, and what was spent of each."""
    caps = bench.budgets
    lines, problem = _lines(bench)
    above = caps.ask_above
    asks = f"before a request of {above:,} tokens that is twice the one before" if above else "never"
    free = [scope for scope in SCOPES if caps.cap(scope) is None]
    steps = [(f"%loom budget {scope} {_USUAL[scope]}", _WHY[scope]) for scope in free]
    if any(caps.cap(scope) is not None for scope in SCOPES):
        steps.append(("%loom budget off", "no caps"))
    return Card(
        "budget: what was spent and what is left",
        (*problem, ("you are asked", asks)),
        drawn=(Drawn(bars_text(lines, ascii=bench.settings.ascii), bars_html(lines)),),
        steps=tuple(steps),
    )


_WHY: dict[Scope, str] = {
    "cell": "dollars for each cell; %%loom --budget 20k: tokens, for one",
    "notebook": "for all runs of this notebook, from every kernel",
    "day": "for all runs until midnight, from every kernel",
}


def facts(bench: "Workbench") -> list[tuple[str, str]]:
    """The caps in force and what is left of each, for the status card; nothing where there is none."""
    caps = bench.budgets
    if caps.cell is None and caps.notebook is None and caps.day is None:
        return []
    lines, problem = _lines(bench)
    told = [(f"budget, {_NAMES[line.scope]}", line.words) for line in lines if line.cap is not None]
    return [*told, *problem]


def _lines(bench: "Workbench") -> tuple[list[Line], list[tuple[str, str]]]:
    """A bar for each scope; and what hinders, where what was spent cannot be read."""
    caps = bench.budgets
    try:
        spent = _spent(bench)
    except StoreError as error:
        told = "; ".join([error.title, *error.fixes[:1]])
        return [Line(scope, None, caps.cap(scope), unread=True) for scope in SCOPES], [("not known", told)]
    last = bench.results[-1] if bench.results else None
    again = last is not None and last.played.whole
    return [
        Line(scope, one, caps.cap(scope), replayed=again and scope == "cell") for scope, one in spent.items()
    ], []


def _spent(bench: "Workbench") -> "dict[Scope, Spent | None]":
    """What was spent in each scope; of the cell, by the last run of this kernel."""
    import time

    from loom_nb.protocols import Spent
    from loom_nb.runtime.spending import day_account, notebook_account
    from loom_nb.stores.spending import book_beside

    place = bench.notebook or (bench.session.id if bench.session is not None else "")
    accounts = [day_account(time.time()), notebook_account(place)]
    day, notebook = book_beside(bench.store).change(Spent(), accounts)
    last = bench.results[-1] if bench.results else None
    cell = None
    if last is not None:
        tokens, cost = last.finished.spent_tokens, last.cost
        cell = Spent(tokens, cost or 0.0, tokens if cost is None else 0)
    return {"cell": cell, "notebook": notebook if place else None, "day": day}


def bars_text(lines: list[Line], *, ascii: bool = False) -> str:  # noqa: A002  the name of the option
    """A bar for each scope as text."""
    marks = meter_marks(ascii)
    wide = max(len(name) for name in _NAMES.values())
    rows = []
    for line in lines:
        bar = text_meter(line.share, BAR, marks) if line.cap is not None else " " * (BAR + 2)
        rows.append(f"  {_NAMES[line.scope]:<{wide}}  {bar}  {line.words}")
    return "\n".join(rows)


def bars_html(lines: list[Line]) -> str:
    """The same as HTML. Nothing in it is anybody's words."""
    rows = []
    for line in lines:
        shade = _COLOURS[0 if line.share < NEAR else 1 if line.share < 1 else 2]
        bar = html_meter(line.share, percent(min(line.share, 1)), shade) if line.cap is not None else ""
        rows.append(
            f'<tr><th scope="row" style="text-align: left">{_NAMES[line.scope]}</th>'
            f'<td style="text-align: left">{bar}</td><td style="text-align: left">{line.words}</td></tr>'
        )
    return f"<table><tbody>{''.join(rows)}</tbody></table>"
