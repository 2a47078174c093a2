"""The events of runs as tables, and what their turns took as a figure.

    from loom_nb import frames

    frames.events(result); frames.turns(session); frames.plot(result)

pandas and matplotlib are loaded on first use.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from loom_nb.errors import SetupError
from loom_nb.events import (
    ArtifactAdded,
    CallFinished,
    CallJudged,
    CallStarted,
    ContextCompacted,
    EvidenceFound,
    Kept,
    LogEntry,
    MemoryChanged,
    MessageAdded,
    NotesRecalled,
    Noticed,
    QuestionAnswered,
    QuestionAsked,
    RetryScheduled,
    RunFinished,
    RunInterrupted,
    RunStarted,
    SecretUsed,
    SkillActivated,
    SkillChanged,
    TurnFinished,
    TurnStarted,
)
from loom_nb.messages import Usage, to_json

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT = 500
"""Characters of the words of an event in a table."""


@runtime_checkable
class Told(Protocol):
    """A RunResult, whose `events` are entries, or a Session, whose `events()` are."""

    @property
    def events(self) -> Any:
        """The entries, or what gives them."""
        ...


Source: TypeAlias = Told | Iterable[LogEntry]


def events(source: Source) -> "pd.DataFrame":
    """One row for each event, in order.

    A sum over a column counts nothing twice: tokens and cost stand at the end of each model call, and the
    cost of a run stands at its own end only where its turns do not tell theirs. `seconds` is how long the
    turn, the call or the whole run took; `time` is UTC.

    Args:
        source: a RunResult, a Session, or entries of a log.
    """
    import pandas as pd

    rows = _rows(_entries(source))
    frame = pd.DataFrame([[row[name] for name in _EVENT_COLUMNS] for row in rows], columns=_EVENT_COLUMNS)
    return _typed(frame, ("seq", "turn", "tokens_in", "tokens_out", "cached"), ("cost", "seconds"))


def turns(source: Source) -> "pd.DataFrame":
    """One row for each turn of each run.

    `tokens_in` includes `cached`. `tool_seconds` is the sum over the calls, also of those that ran side by
    side. `context` are the tokens of the request, as the vendor counted them or else estimated. What is
    not known is missing: the cost where the price is not, the tokens of a call that failed.

    Args:
        source: a RunResult, a Session, or entries of a log.
    """
    import pandas as pd

    made = _turns(_entries(source))
    frame = pd.DataFrame(
        [[getattr(turn, name) for name in _TURN_COLUMNS] for turn in made], columns=_TURN_COLUMNS
    )
    whole = ("turn", "tokens_in", "tokens_out", "cached", "calls", "failed", "retries", "context", "budget")
    return _typed(frame, whole, ("cost", "model_seconds", "tool_seconds"))


def plot(source: Source) -> "Figure":
    """Tokens, cost and time of each turn, on a page that may be light or dark.

    Args:
        source: a RunResult, a Session, or entries of a log.

    Raises:
        SetupError: matplotlib is not installed.
    """
    kind = _figure_class()
    made = _turns(_entries(source))
    figure: Figure = kind(figsize=(min(max(7.0, 3.0 + 0.16 * len(made)), 12.0), 6.2), layout="constrained")
    figure.patch.set_alpha(0.0)  # the page shines through
    panels = figure.subplots(3, 1, sharex=True)
    _bars(panels[0], _token_parts(made), "tokens")
    _cost(panels[1], [turn.cost for turn in made])
    _bars(panels[2], _time_parts(made), "seconds")
    for axes in panels:
        _style(axes)
    _label(panels, made)
    figure.align_ylabels()
    return figure


# --- rows

_EVENT_COLUMNS = (
    *("seq", "time", "session", "run", "turn", "type", "tool", "call", "outcome"),
    *("tokens_in", "tokens_out", "cached", "cost", "seconds", "text"),
)


def _entries(source: Source) -> list[LogEntry]:
    if isinstance(source, Told):
        told = source.events
        return list(told() if callable(told) else told)
    return list(source)


def _rows(entries: Sequence[LogEntry]) -> list[dict[str, Any]]:
    priced = {
        entry.run
        for entry in entries
        if isinstance(entry.event, TurnFinished) and entry.event.spent is not None
    }
    turn: dict[str, int] = {}
    rows = []
    for entry in entries:
        if isinstance(entry.event, TurnStarted):
            turn[entry.run] = entry.event.turn
        rows.append(
            dict.fromkeys(_EVENT_COLUMNS)
            | {
                "seq": entry.seq,
                "time": entry.time,
                "session": entry.session,
                "run": entry.run,
                "turn": turn.get(entry.run),
                "type": entry.event.type,
            }
            | _told(entry.event)
        )
        if isinstance(entry.event, RunFinished) and entry.run not in priced:
            rows[-1]["cost"] = entry.event.cost
    return rows


def _told(event: Kept) -> dict[str, Any]:
    """What an event says, by column."""
    say = _SAYINGS.get(type(event))
    return say(event) if say is not None else {"text": _brief(_words(event))}


def _of_call(name: str, call: str, text: str) -> dict[str, Any]:
    return {"tool": name, "call": call, "text": _brief(text)}


def _compacted(event: ContextCompacted) -> dict[str, Any]:
    spent = _tokens(event.usage) if event.usage != Usage() else {}
    return {**spent, "outcome": event.strategy, "text": event.reason}


_SAYINGS: dict[type[Any], Callable[[Any], dict[str, Any]]] = {
    TurnFinished: lambda e: {
        **_tokens(e.usage), "outcome": e.stop_reason, "seconds": e.seconds, "cost": e.spent
    },
    ContextCompacted: _compacted,
    CallJudged: lambda e: {**_of_call(e.name, e.call_id, e.reason), "outcome": e.decision},
    CallStarted: lambda e: _of_call(e.name, e.call_id, to_json(e.arguments).decode()),
    CallFinished: lambda e: {
        **_of_call(e.result.name, e.call_id, e.result.text), "outcome": e.outcome, "seconds": e.seconds
    },
    SecretUsed: lambda e: {
        "call": e.call_id, "outcome": e.mode, "text": _brief(f"{e.scope}: {e.method} {e.host}{e.path}")
    },
    EvidenceFound: lambda e: {"call": e.call_id, "outcome": str(len(e.passages)), "text": _brief(e.query)},
    NotesRecalled: lambda e: {
        "call": e.call_id, "outcome": e.how, "text": _brief(" · ".join(note.words for note in e.notes))
    },
    MemoryChanged: lambda e: {"call": e.call_id, "outcome": e.change, "text": _brief(e.words)},
    SkillActivated: lambda e: {
        "call": e.call_id, "outcome": "active" if e.active else "put away", "text": e.name
    },
    SkillChanged: lambda e: {
        "call": e.call_id, "outcome": e.change, "text": _brief(f"{e.name}: {e.words}")
    },
    RunFinished: lambda e: {"outcome": e.status, "seconds": e.seconds, "text": _brief(e.reason or e.output)},
    ArtifactAdded: lambda e: {"call": e.call_id, "text": f"{e.name}: {e.summary}"},
    RetryScheduled: lambda e: {"outcome": e.fault, "text": _brief(e.message)},
    QuestionAsked: lambda e: {
        "call": e.question.call_id, "outcome": e.question.kind, "text": _brief(e.question.title)
    },
    QuestionAnswered: lambda e: {"outcome": e.how},  # what was answered is the person's own
}  # fmt: skip


def _words(event: Kept) -> str:
    match event:
        case RunStarted(goal=goal):
            return goal
        case MessageAdded(message=message):
            return message.text
        case Noticed(text=text):
            return text
        case RunInterrupted(reason=reason):
            return reason
    return ""


def _tokens(usage: Usage) -> dict[str, Any]:
    return {
        "tokens_in": usage.input_tokens,
        "tokens_out": usage.output_tokens,
        "cached": usage.cache_read_tokens,
    }


def _brief(text: str) -> str:
    return text if len(text) <= TEXT else f"{text[: TEXT - 1]}…"


def _typed(frame: "pd.DataFrame", whole: Iterable[str], real: Iterable[str]) -> "pd.DataFrame":
    """The same whatever the rows hold, also where there are none."""
    import pandas as pd

    for column in frame.columns:
        if column == "time":
            frame[column] = pd.to_datetime(frame[column].astype("float64"), unit="s", utc=True)
        elif column in whole:
            frame[column] = frame[column].astype("Int64")
        elif column in real:
            frame[column] = frame[column].astype("float64")
        else:
            frame[column] = frame[column].fillna("").astype("str")
    return frame


# --- turns

_TURN_COLUMNS = (
    *("session", "run", "turn", "time", "model", "tokens_in", "tokens_out", "cached", "cost"),
    *("model_seconds", "tool_seconds", "calls", "failed", "retries", "context", "budget", "stop_reason"),
)


@dataclass(slots=True)
class _Turn:
    """What one turn took."""

    session: str
    run: str
    turn: int
    time: float
    context: int | None
    budget: int | None
    model: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    cached: int | None = None
    cost: float | None = None
    model_seconds: float | None = None
    tool_seconds: float = 0.0
    calls: int = 0
    failed: int = 0
    """Calls that did not end well."""
    retries: int = 0
    stop_reason: str = ""
    usage: Usage = field(default_factory=Usage)

    def take(self, event: Kept) -> None:
        """One more event of this turn."""
        match event:
            case TurnFinished(usage=usage):
                self.usage, self.model, self.stop_reason = usage, event.model, event.stop_reason
                self.tokens_in, self.tokens_out = usage.input_tokens, usage.output_tokens
                self.cached, self.cost = usage.cache_read_tokens, event.spent
                self.model_seconds = event.seconds
                self.context = usage.input_tokens or self.context
            case CallFinished(outcome=outcome, seconds=seconds):
                self.calls += 1
                self.failed += outcome != "ok"
                self.tool_seconds += seconds
            case RetryScheduled():
                self.retries += 1


def _turns(entries: Iterable[LogEntry]) -> list[_Turn]:
    made: dict[tuple[str, str], list[_Turn]] = {}
    for entry in entries:
        event, key = entry.event, (entry.session, entry.run)
        mine = made.setdefault(key, [])
        if isinstance(event, TurnStarted):
            turn = _Turn(*key, event.turn, entry.time, event.tokens or None, event.budget or None)
            mine.append(turn)
        elif isinstance(event, RunFinished):
            for turn in mine if len(mine) == 1 or event.cost == 0 else ():  # so is that of its turns
                turn.cost = event.cost if turn.cost is None else turn.cost
        elif mine:
            mine[-1].take(event)
    return [turn for of_run in made.values() for turn in of_run]


# --- the figure

_INK = "#7a7a7a"
"""Four to one on white and on the darkest page."""
_BLUE, _PALE, _ORANGE, _GREEN, _VIOLET = "#3f8fd2", "#93bfe6", "#e08a2e", "#2f9e74", "#9a74c9"
_Part: TypeAlias = tuple[str, str, list[float]]


@cache
def _figure_class() -> "Callable[..., Figure]":
    """A figure that draws itself where nobody has told the page how: without pyplot, and never twice."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SetupError(
            "a plot needs matplotlib, which is not installed",
            fixes=['%pip install "loom-nb[plots]"', "%pip install matplotlib"],
        ) from error
    import io

    class Drawn(Figure):
        def _repr_png_(self) -> bytes:
            drawn = io.BytesIO()
            self.savefig(drawn, format="png", dpi=100)
            return drawn.getvalue()

    return Drawn


def _token_parts(made: Sequence[_Turn]) -> list[_Part]:
    cached = [float(turn.usage.cache_read_tokens) for turn in made]
    fresh = [turn.usage.input_tokens - read for turn, read in zip(made, cached, strict=True)]
    return [
        ("read from cache", _PALE, cached),
        ("input", _BLUE, fresh),
        ("output", _ORANGE, [float(turn.usage.output_tokens) for turn in made]),
    ]


def _time_parts(made: Sequence[_Turn]) -> list[_Part]:
    return [
        ("model", _BLUE, [turn.model_seconds or 0.0 for turn in made]),
        ("tools", _GREEN, [turn.tool_seconds for turn in made]),
    ]


def _bars(axes: "Axes", parts: Sequence[_Part], label: str) -> None:
    """Bars on each other; a part that is nowhere is not named."""
    count = len(parts[0][2])
    under = [0.0] * count
    for name, colour, heights in parts:
        if any(heights):
            axes.bar(
                range(1, count + 1), heights, bottom=under, color=colour, width=_width(count), label=name
            )
            under = [low + height for low, height in zip(under, heights, strict=True)]
    axes.set_ylabel(label)
    if any(under):
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, labelcolor=_INK, fontsize=9)
    else:
        _say(axes, "none")


def _cost(axes: "Axes", costs: Sequence[float | None]) -> None:
    known = {place: cost for place, cost in enumerate(costs, 1) if cost is not None}
    if any(known.values()):
        axes.bar(list(known), list(known.values()), color=_VIOLET, width=_width(len(costs)))
    else:
        _say(axes, "free of charge" if known else "not known" if costs else "none")
    axes.set_ylabel("US dollars")


def _width(count: int) -> float:
    """Of a bar; many of them stand without gaps, which would flicker."""
    return 0.75 if count <= 80 else 1.0


def _say(axes: "Axes", text: str) -> None:
    """In place of bars."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=_INK)
    axes.set_yticks([])


def _style(axes: "Axes") -> None:
    from matplotlib.ticker import EngFormatter

    axes.set_facecolor("none")
    axes.yaxis.label.set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_INK)
    axes.grid(axis="y", color=_INK, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_ylim(bottom=0)
    if axes.get_ylabel() == "tokens":
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))


def _label(panels: "Sequence[Axes]", made: Sequence[_Turn]) -> None:
    """The numbers of the turns; where there are several runs, where each begins, by name if there is room."""
    starts = [n for n, turn in enumerate(made) if n == 0 or turn.run != made[n - 1].run]
    named: list[int] = []
    for start in starts:
        for axes in panels if start else ():
            axes.axvline(start + 0.5, color=_INK, alpha=0.5, linewidth=0.8, linestyle=(0, (3, 3)))
        if not named or start - named[-1] > len(made) / 20:
            named.append(start)
            panels[0].annotate(
                made[start].run,
                (start + 0.55, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 4),
                textcoords="offset points",
                color=_INK,
                fontsize=9,
                parse_math=False,
            )
    ticks = _ticks(made, named)
    panels[-1].set_xticks([n + 1 for n in ticks], [str(made[n].turn) for n in ticks])
    panels[-1].set_xlim(0.4, max(len(made), 5) + 0.6)
    panels[-1].set_xlabel("turn", color=_INK)


def _ticks(made: Sequence[_Turn], starts: Sequence[int]) -> list[int]:
    """Which turns are numbered: all of a few, else the first of runs and round numbers apart from these."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 10**9) if len(made) <= 14 * step)
    if step == 1:
        return list(range(len(made)))
    far = [n for n in range(len(made)) if all(abs(n - start) > step / 2 for start in starts)]
    return [*starts, *(n for n in far if made[n].turn % step == 0)]
