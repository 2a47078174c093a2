"""What a cell would send, to the byte, without sending it."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loom_nb.agent import Agent
from loom_nb.events import LogEntry
from loom_nb.inputs import RuntimeTask, SessionConfig
from loom_nb.notebook.card import Card
from loom_nb.notebook.context_cards import Setting, ledger_card
from loom_nb.notebook.transcript import NOTICES
from loom_nb.runtime.compaction import Step
from loom_nb.runtime.context import Fact
from loom_nb.runtime.ledger import Item, Ledger
from loom_nb.runtime.session import Session
from loom_nb.wording import percent

TEXT_LINES = 40
"""Lines of the request that are shown as plain text."""


@dataclass(frozen=True, slots=True, repr=False)
class DryRun:
    """A request that was not sent."""

    model: str
    body: bytes
    """The exact body."""
    ledger: Ledger
    """What it is made of, as `%loom context` tells it."""
    notices: tuple[str, ...] = ()

    @property
    def items(self) -> tuple[Item, ...]:
        """Of the ledger."""
        return self.ledger.items

    @property
    def tokens(self) -> int:
        """The estimate for the whole."""
        return self.ledger.tokens

    @property
    def card(self) -> Card:
        """As a reader sees it."""
        told = ledger_card(self.ledger, Setting(self.model))
        return Card(
            f"dry run: nothing was sent to {self.model}",
            (
                ("size", f"{len(self.body):,} bytes, about {self.tokens:,} tokens"),
                ("sha256", hashlib.sha256(self.body).hexdigest()),
                *(("note", notice) for notice in self.notices),
            ),
            told.tables,
            text=json.dumps(_without_bytes(json.loads(self.body)), indent=2, ensure_ascii=False),
            folded="the whole request as JSON",
            drawn=told.drawn,
        )

    def __str__(self) -> str:
        return str(self.card)

    def __repr__(self) -> str:
        return f"<DryRun {self.model} · {len(self.body):,} bytes · {self.tokens:,} tok>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Folded away in HTML; as plain text its beginning, since `str` and `body` have it whole."""
        card = self.card
        lines = card.text.split("\n")
        rest = len(lines) - TEXT_LINES
        if rest > 0:
            tail = f"… {rest:,} more lines: print(_) shows them, _.body is the request to the byte"
            card = replace(card, text="\n".join([*lines[:TEXT_LINES], tail]))
        return {"text/plain": str(card), "text/html": self.card.to_html()}


def _without_bytes(value: Any) -> Any:
    """A request as it is shown: what stands in it as base64 is told by its length, `body` has it whole."""
    if isinstance(value, dict):
        return {name: _without_bytes(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_bytes(one) for one in value]
    if not isinstance(value, str) or len(value) < BASE64:
        return value
    found = _BASE64.fullmatch(value)
    return f"{found[1] or ''}{found[2][:40]}… {len(found[2]):,} characters of base64" if found else value


BASE64 = 2_000
"""Characters from which on a text is looked at: it may be base64."""
_BASE64 = re.compile(r"(data:[\w./+-]+;base64,)?([A-Za-z0-9+/]+={0,2})")


async def preview(
    session: Session, agent: Agent, task: RuntimeTask, schema: Any = None, after: Sequence[Fact] = ()
) -> DryRun:
    """The request that a run of `task` would begin with, after these facts. Nothing is sent or kept."""
    _, body = await session.preview(task, agent=agent, schema=schema, after=after)
    ledger = await session.ledger(task, agent=agent, schema=schema, after=after)
    notices = (*task.metadata.get(NOTICES, ()), *_compacted_first(ledger, agent.runtime.context.ladder))
    return DryRun(agent.model.name, body, ledger, notices)


def _compacted_first(ledger: Ledger, ladder: Sequence[Step]) -> Iterator[str]:
    """What the request does not show: a run makes room before it sends one that is too large."""
    first = min((step.at for step in ladder), default=1.0)
    if ledger.pressure is not None and ledger.pressure >= first:
        yield f"would be compacted first: pressure {percent(ledger.pressure)}"


def apart(agent: Agent, session: str, entries: Iterable[LogEntry] = ()) -> Session:
    """A conversation that stands where these entries of a log end; nothing that it does is kept."""
    from loom_nb.stores.memory import MemoryStore

    store = MemoryStore()
    lease = store.acquire(session)
    store.append(lease, list(entries))
    store.release(lease)
    return Session(agent, SessionConfig(session), store, owns_store=True)
