"""`%loom knowledge graph build`: a model reads the entity graph, once a person has agreed to the cost."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loom_nb.capabilities.knowledge.rows import IndexProgress
from loom_nb.errors import LoomUsageError
from loom_nb.notebook.card import Card
from loom_nb.notebook.interrupt import sigint_calls
from loom_nb.notebook.knowledge_indexing import Lines, LiveSight, Sight
from loom_nb.notebook.line_words import flag
from loom_nb.questions import Question
from loom_nb.settings import money
from loom_nb.wording import counted

if TYPE_CHECKING:
    from loom_nb.capabilities.knowledge.base import KnowledgeBase
    from loom_nb.capabilities.knowledge.graph import Expected, GraphProgress
    from loom_nb.models.registry import Model
    from loom_nb.notebook.workbench import Workbench

BUILD = "build"


@dataclass(frozen=True, slots=True)
class GraphStep(IndexProgress):
    """How far reading is, for the bar of an index."""

    calls: int = 0
    entities: int = 0

    def __str__(self) -> str:
        told = (
            f"{self.done:,} of {counted(self.total, 'passage')}, {counted(self.calls, 'call')} of the model"
        )
        return f"reading: {told}, {counted(self.entities, 'name')}"


async def build(bench: "Workbench", base: "KnowledgeBase", words: list[str], of: str = "") -> Card:
    """Read what was not read yet; interrupt and Stop end it, and keep what was done.

    Raises:
        LoomUsageError: it takes something else, or the model only plays.
        ModelError: the model cannot be asked; what was read is kept.
    """
    from loom_nb.capabilities.knowledge.graph import expected, unread

    words = list(words)
    is_agreed, line = flag(words, "--yes"), f"%loom knowledge graph {BUILD}{of}"
    if words:
        raise LoomUsageError(
            f"{line} takes --yes and nothing more, not {' '.join(words)!r:.80}", fixes=[line]
        )
    model = bench.model
    left = await asyncio.to_thread(base.reading, unread)
    if not left:
        return Card("every passage was read", steps=((f"%loom knowledge graph{of}", "what is related most"),))
    if bench.model_name == "offline":
        raise LoomUsageError(
            "the demo model cannot read an entity graph",
            cause="it takes a model that answers in a form",
            fixes=["%loom model NAME", "%loom models"],
        )
    wanted = expected(left)
    if not is_agreed:
        asked = Question(
            line, "confirm", f"Let {model.name} read {counted(wanted.passages, 'passage')}?",
            text=told_of(wanted, model), asked_by=line,
        )  # fmt: skip
        if not await bench.ask(asked, bool, (f"{line} --yes",)):
            return Card("nothing was read")
    return await _built(bench, base, wanted, of)


def told_of(wanted: "Expected", model: "Model") -> str:
    """What it costs, as far as it is known before."""
    usage = wanted.usage
    dollars = model.cost(usage)
    price = "its price is not known" if dollars is None else f"about {money(dollars)} at the list price"
    return (
        f"up to {counted(wanted.calls, 'call')} of the model, with about {usage.input_tokens:,} tokens in "
        f"and {usage.output_tokens:,} out: {price}.\n"
        "The passages are sent to it. What it reads is kept; a passage that stays the same is read once."
    )


async def _built(bench: "Workbench", base: "KnowledgeBase", wanted: "Expected", of: str) -> Card:
    from loom_nb.capabilities.knowledge.graph import GraphProgress, extend

    loop, mode = asyncio.get_running_loop(), bench.mode()
    steps = [GraphProgress(0, wanted.passages)]

    async def read() -> None:
        async for step in extend(base, bench.model, most_calls=wanted.calls):
            steps.append(step)
            del steps[:-1]
            show.step(step_of(step))

    task, is_stopped = loop.create_task(read()), False

    def stop() -> None:
        nonlocal is_stopped
        is_stopped = task.cancel() or is_stopped

    show: Sight = LiveSight(bench, stop) if mode == "live" else Lines(mode == "plain")
    try:
        with sigint_calls(loop, stop):
            await task
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and is_stopped:
            return show.end(built_card(steps[-1], of, "it was stopped by you"), step_of(steps[-1]))
        show.leave(step_of(steps[-1]))
        raise
    return show.end(built_card(steps[-1], of, steps[-1].stopped), step_of(steps[-1]))


def step_of(step: "GraphProgress") -> GraphStep:
    """A step as the bar shows it."""
    return GraphStep("reading", step.done, step.total, calls=step.calls, entities=step.entities)


def built_card(last: "GraphProgress", of: str = "", stopped: str = "") -> Card:
    """What was read."""
    usage = last.usage
    on = ((f"%loom knowledge graph {BUILD}{of}", "goes on where it stopped"),) if stopped else ()
    return Card(
        f"entity graph: {counted(last.entities, 'name')}; read: {last.done:,} of "
        f"{counted(last.total, 'passage')}",
        (
            ("calls of the model", f"{last.calls:,}"),
            ("tokens", f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"),
            *((("no answer in the form", counted(last.failed, "passage")),) if last.failed else ()),
            *((("stopped", stopped),) if stopped else ()),
        ),
        steps=(*on, (f"%loom knowledge graph{of}", "what is related most")),
    )  # fmt: skip
