"""What a listing says of a conversation: its title, its runs, what they used; and how one is removed.

Read from the first entry of its log and from where its runs begin and end, never from the rest.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from loom_nb.events import (
    GrantRevoked,
    Kept,
    LogEntry,
    RunFinished,
    RunInterrupted,
    RunStarted,
    SessionOpened,
)
from loom_nb.protocols import SessionRow, Store

TAKEN_BACK = "leaves-taken-back"
"""The session that keeps what purged ones had taken back; listings for people leave it out."""
MOST_LEAVES = 1_000
"""Questions and answers, newest first, among which leaves are looked for anywhere."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """One conversation in a listing."""

    row: SessionRow
    notebook: str = ""
    first: str = ""
    """The first prompt."""
    last: str = ""
    """The last prompt."""
    answer: str = ""
    """The last answer."""
    last_run: str = ""
    runs: int = 0
    status: str = ""
    """Of the last run: "running", "interrupted", "damaged" or a Status; empty where there is none."""
    turns: int = 0
    """Model calls of the runs that have ended; so with what follows."""
    tokens: int = 0
    cost: float = 0.0
    """US dollars, as far as prices are known."""
    unknown: int = 0
    """Runs that called a model whose price is not known."""
    forked_from: str = ""

    @property
    def id(self) -> str:
        """Of the session."""
        return self.row.id

    @property
    def title(self) -> str:
        """The name that a person gave it, or else its first prompt in one line."""
        return self.row.name or " ".join(self.first.split())


def facts_of(row: SessionRow, landmarks: Iterable[LogEntry]) -> SessionFacts:
    """Fold what a store tells of a session."""
    opened: SessionOpened | None = None
    starts: list[tuple[str, RunStarted]] = []
    ends: dict[str, RunFinished | RunInterrupted] = {}
    for entry in landmarks:
        match entry.event:
            case SessionOpened():
                opened = opened or entry.event
            case RunStarted():
                starts.append((entry.run, entry.event))
            case RunFinished():
                ends[entry.run] = entry.event
            case RunInterrupted():
                ends.setdefault(entry.run, entry.event)
            case _:
                pass
    finished = [one for one in ends.values() if isinstance(one, RunFinished)]
    metadata = opened.metadata if opened is not None else {}
    return SessionFacts(
        row,
        notebook=str(metadata.get("notebook", "")),
        first=starts[0][1].goal if starts else "",
        last=starts[-1][1].goal if starts else "",
        answer=finished[-1].output if finished else "",
        last_run=starts[-1][0] if starts else "",
        runs=len(starts),
        status=_status(starts[-1][0], ends, bool(row.writer)) if starts else "",
        turns=sum(one.turns for one in finished),
        tokens=sum(one.spent_tokens for one in finished),
        cost=sum(one.cost or 0.0 for one in finished),
        unknown=sum(one.cost is None and one.spent_tokens > 0 for one in finished),
        forked_from=str(metadata.get("forked_from", "")),
    )


def _status(run: str, ends: dict[str, RunFinished | RunInterrupted], held: bool) -> str:
    match ends.get(run):
        case RunFinished(status=status):
            return status
        case None if held:
            return "running"
        case _:
            return "interrupted"


def facts_in(store: Store, row: SessionRow) -> SessionFacts:
    """What a store tells of a session, with the status "damaged" where its last run cannot be read."""
    facts = facts_of(row, store.landmarks(row.id))
    if facts.status in ("", "interrupted") and row.entries > 1:  # what is damaged is no landmark
        last = next(iter(store.runs(row.id, limit=1)), None)
        if last is not None and last.status == "damaged":
            return replace(facts, status="damaged")
    return facts


def listing(store: Store, most: int, known: dict[str, SessionFacts] | None = None) -> Iterator[SessionFacts]:
    """The newest conversations of a store, newest first.

    Args:
        store: where they are.
        most: how many are looked at.
        known: what was read before, by id, kept up to date: only what grew since is read again.
    """
    known = {} if known is None else known
    rows = [row for row in store.sessions(limit=most) if row.id != TAKEN_BACK]
    for gone in known.keys() - {row.id for row in rows}:
        del known[gone]
    for row in rows:
        before = known.get(row.id)
        if before is None or before.row != row:
            known[row.id] = facts_in(store, row)
        yield known[row.id]


def purge(store: Store, sessions: Sequence[str]) -> Sequence[str]:
    """Remove deleted sessions for good; gives those that were removed.

    A leave that one of them had taken back stays taken back: another session may have given it.

    Raises:
        SessionBusy: another process purges at this moment.
        StoreError: the disk refuses.
    """
    wanted = set(sessions) & {row.id for row in store.deleted()}
    events = [one for one in store.questions(limit=MOST_LEAVES) if isinstance(one.event, GrantRevoked)]
    there = {(one.time, one.event) for one in events if one.session == TAKEN_BACK}
    ours = [one for one in reversed(events) if one.session in wanted and (one.time, one.event) not in there]
    if ours:
        _keep(store, ours)
    return store.purge([one for one in sessions if one in wanted])


def _keep(store: Store, taken_back: Sequence[LogEntry]) -> None:
    lease = store.acquire(TAKEN_BACK)
    try:
        seq = max((entry.seq for entry in store.read(TAKEN_BACK)), default=0)
        events: list[tuple[float, Kept]] = [(one.time, one.event) for one in taken_back]
        if not seq:
            events.insert(0, (taken_back[0].time, SessionOpened()))
        entries = [
            LogEntry(TAKEN_BACK, seq + n, "", time, event) for n, (time, event) in enumerate(events, 1)
        ]
        store.append(lease, entries)
    finally:
        store.release(lease)
