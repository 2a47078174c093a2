"""What capabilities add to the beginning of a run: data behind the words of its task.

It is a message of the conversation like any other: kept in the log, so that a replay or a resumed run looks
nothing up again; left as it is from turn to turn, so that a vendor's prompt cache holds; and a person can
hide it.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from loom_nb.errors import LoomError, LoomUsageError
from loom_nb.events import EvidenceFound, Kept, MessageAdded, Noticed
from loom_nb.inputs import RunContext
from loom_nb.messages import DataPart, Message
from loom_nb.protocols import Enquiry, Enrich, Enrichment
from loom_nb.runtime.redacting import Redacting
from loom_nb.runtime.stage import Stage
from loom_nb.runtime.toolkit import Toolkit

SECONDS = 30.0
"""How long a run waits for what may help it."""


async def enrich(stage: Stage, enquiry: Enquiry, knowledge: Sequence[Any] = ()) -> None:
    """Add to a run that begins what its capabilities, and what it was given, know of its task."""
    message, facts = await enriched(stage.kit, enquiry, stage.redacting, knowledge)
    for fact in facts:
        stage.say(stage.view.evidence.told(fact) if isinstance(fact, EvidenceFound) else fact)
    if message is not None:
        stage.add(message)
        stage.say(MessageAdded(message))
    if facts and stage.commit is not None:
        await stage.commit()


async def enriched(
    kit: Toolkit, enquiry: Enquiry, redacting: Redacting, knowledge: Sequence[Any] = ()
) -> tuple[Message | None, list[Kept]]:
    """The message that stands behind the task, where there is one, and what is to be kept of it.

    What fails or takes too long is told, and the run goes on without it.
    """
    asked = (*kit.enriching, *(("knowledge", one.enrich) for one in knowledge))
    found = await asyncio.gather(*[_asked(name, enquiry, enrich) for name, enrich in asked])
    parts: list[DataPart] = []
    facts: list[Kept] = []
    for one in found:
        if isinstance(one, Noticed):
            facts.append(one)
        elif one is not None:
            facts += one.facts
            parts += one.parts
    if not parts:
        return None, facts
    message, _ = await redacting.asked(Message("user", tuple(parts)))
    return message, facts


async def _asked(capability: str, enquiry: Enquiry, enrich: Enrich) -> Enrichment | Noticed | None:
    try:
        async with asyncio.timeout(SECONDS):
            return await enrich(enquiry)
    except TimeoutError:
        why = f"it took longer than {SECONDS:g} seconds"
    except LoomError as error:
        why = error.title
    except Exception as error:  # noqa: BLE001  the border to capabilities, whoever wrote them
        why = type(error).__name__
    return Noticed(f"Nothing was added from {capability}: {why}", "warning")


def knowledge_of(context: RunContext | None) -> tuple[Any, ...]:
    """What `RunContext.knowledge` holds. Raises LoomUsageError for what cannot be in one."""
    if context is None:
        return ()
    knowledge: Any = context.knowledge
    given = tuple(knowledge) if isinstance(knowledge, tuple | list) else (knowledge,)
    for one in given:
        if not callable(getattr(one, "enrich", None)):
            raise LoomUsageError(
                f"RunContext.knowledge takes Evidence and KnowledgeSource, not {type(one).__name__}",
                fixes=['RunContext(knowledge=[KnowledgeSource.folder("papers")])'],
            )
    return given


def seen_in(messages: Iterable[Message]) -> frozenset[str]:
    """The names of the data in a conversation that no person sent along."""
    return frozenset(
        part.name
        for message in messages
        for part in message.parts
        if isinstance(part, DataPart) and part.origin.kind in ("memory", "knowledge", "skill")
    )
