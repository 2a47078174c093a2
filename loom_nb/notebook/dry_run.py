"""What a cell would send, to the byte, without sending it."""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from loom_nb.agent import Agent
from loom_nb.inputs import RuntimeTask
from loom_nb.messages import DataPart, Message, TextPart
from loom_nb.notebook.card import Card, Table
from loom_nb.notebook.transcript import NOTICES
from loom_nb.protocols import Request
from loom_nb.runtime.session import Session
from loom_nb.tokens import estimate, estimate_message, estimate_part

TEXT_LINES = 40
"""Lines of the request that are shown as plain text."""


@dataclass(frozen=True, slots=True, repr=False)
class DryRun:
    """A request that was not sent."""

    model: str
    body: bytes
    """The exact body."""
    items: tuple[tuple[str, str, int], ...]
    """(part, item, estimated tokens)."""
    notices: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """The estimate for the whole."""
        return sum(tokens for _, _, tokens in self.items)

    @property
    def card(self) -> Card:
        """As a reader sees it."""
        rows = tuple((part, item, f"{tokens:,}") for part, item, tokens in self.items)
        return Card(
            f"dry run: nothing was sent to {self.model}",
            (
                ("size", f"{len(self.body):,} bytes, about {self.tokens:,} tokens"),
                ("sha256", hashlib.sha256(self.body).hexdigest()),
                *(("note", notice) for notice in self.notices),
            ),
            (Table("what it is made of", ("part", "item", "tokens"), rows),),
            text=json.dumps(json.loads(self.body), indent=2, ensure_ascii=False),
            folded="the whole request as JSON",
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


async def preview(session: Session, agent: Agent, task: RuntimeTask, schema: Any = None) -> DryRun:
    """The request that a run of `task` would begin with. Nothing is sent, and no run is kept."""
    request, body = await session.preview(task, agent=agent, schema=schema)
    notices = tuple(task.metadata.get(NOTICES, ()))
    return DryRun(agent.model.name, body, tuple(_items(request)), notices)


def _items(request: Request) -> list[tuple[str, str, int]]:
    *past, last = list(request.conversation)
    items = [("system", "instructions and partitions", estimate(request.system))] if request.system else []
    for tool in request.tools:
        weight = estimate(tool.name) + estimate(tool.description) + estimate(tool.encoded_schema.decode())
        items.append(("tool", tool.name, weight))
    if past:
        items.append(("history", f"{len(past)} messages", sum(map(estimate_message, past))))
    items += _message_items(last)
    working = request.working.parts if request.working is not None else ()
    return items + [
        ("working", part.name, estimate_part(part)) for part in working if isinstance(part, DataPart)
    ]


def _message_items(message: Message) -> list[tuple[str, str, int]]:
    items: list[tuple[str, str, int]] = []
    for part in message.parts:
        match part:
            case TextPart(text=text):
                items.append(("prompt", text.splitlines()[0][:60] if text else "", estimate(text)))
            case DataPart(name=name, text=text, summary=summary):
                items.append(("data", f"{name}: {summary}" if summary else name, estimate(text)))
            case _:
                alone = Message("user", (part,))
                name = str(getattr(part, "name", ""))
                items.append((str(part.__struct_config__.tag), name, estimate_message(alone)))
    return items
