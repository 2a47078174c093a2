"""The ledger of a request that was sent, folded from the log: as it was then, whatever happened since."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loom_nb.events import (
    CompactionUndone,
    ContextCompacted,
    ContextMarked,
    HeadChanged,
    LogEntry,
    MessageAdded,
    RunFinished,
    RunInterrupted,
    RunResumed,
    RunStarted,
    TurnFinished,
    TurnStarted,
)
from loom_nb.messages import Conversation
from loom_nb.runtime.context import Fact, View
from loom_nb.runtime.ledger import Item, Ledger, ledger_with

_ENDS = (MessageAdded, TurnStarted, TurnFinished, RunFinished, RunInterrupted, RunResumed)


@dataclass(frozen=True, slots=True)
class PastRequest:
    """A request of a run, and what it was made of."""

    run: str
    turn: int
    """1 is the first of its run; 0 where the run ended before it sent any."""
    turns: int
    """How many the run has sent."""
    model: str
    ledger: Ledger
    view: View
    """The conversation as it was sent."""

    @property
    def head_known(self) -> bool:
        """Whether the log keeps what stood before the conversation: older ones do not."""
        return self.view.head is not None


def past_request(entries: Iterable[LogEntry], run: str, turn: int | None = None) -> PastRequest | None:
    """The request that a turn of a run sent, as it was last sent; of a run without any, what it would have.

    Args:
        entries: the log of a session, from its first entry on.
        run: the run.
        turn: 1 is its first; None: its last.

    Returns:
        None where there is no such run, or no such turn of it.
    """
    log = list(entries)
    sent = _sent(log, run)
    if turn is not None and sent and turn not in sent:
        return None
    chosen = turn if turn is not None else max(sent, default=0)
    upto = sent[chosen] if sent else _beginning(log, run)
    if upto is None:
        return None
    view = _view(log[:upto])
    events = [entry.event for entry in log[:upto] if entry.run == run]
    model = next((event.model for event in events if isinstance(event, RunStarted)), "")
    began = next((event for event in reversed(events) if isinstance(event, TurnStarted)), TurnStarted(0))
    working = (_dashboard(began.working),) if began.working else ()
    ledger = ledger_with(view.head or (), view, (), working, budget=began.budget or None)
    return PastRequest(run, chosen if sent else 0, len(sent), model, ledger, view)


def _dashboard(tokens: int) -> Item:
    return Item("working", "working", "data", "where the run stood: its words are not kept", tokens, "system")


def _view(entries: Iterable[LogEntry]) -> View:
    """What the model was shown after these entries."""
    view = View(Conversation())
    facts: list[Fact] = []
    for entry in entries:
        match entry.event:
            case MessageAdded(message=message):
                view.conversation.add(message)
            case ContextCompacted() | CompactionUndone() | ContextMarked() as fact:
                facts.append(fact)
            case HeadChanged(items=items):
                view.head = items
            case _:
                pass
    view.take(*facts)
    return view


def _sent(log: Sequence[LogEntry], run: str) -> dict[int, int]:
    """By turn: how many entries there were when its request was sent for the last time."""
    sent: dict[int, int] = {}
    open_turn = 0
    for place, entry in enumerate(log):
        if entry.run != run:
            continue
        event = entry.event
        if open_turn and isinstance(event, _ENDS):
            sent[open_turn] = place
            open_turn = 0
        if isinstance(event, TurnStarted):
            open_turn = event.turn
    if open_turn:
        sent[open_turn] = len(log)
    return sent


def _beginning(log: Sequence[LogEntry], run: str) -> int | None:
    """How many entries there were when a run ended that sent nothing; None where there is no such run."""
    mine = [place for place, entry in enumerate(log) if entry.run == run]
    ends = [place for place in mine if isinstance(log[place].event, RunFinished | RunInterrupted)]
    return (ends[0] if ends else mine[-1] + 1) if mine else None
