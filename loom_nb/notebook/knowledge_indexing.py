"""`%loom knowledge index` as it goes on: a bar and a Stop button; the interrupt button stops it, too."""

import asyncio
import sys
import uuid
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from loom_nb.capabilities.knowledge.rows import IndexProgress, IndexReport
from loom_nb.notebook import knowledge_cards as cards
from loom_nb.notebook.card import Card, Drawn
from loom_nb.notebook.interrupt import sigint_calls
from loom_nb.notebook.render.meter import html_meter, text_meter
from loom_nb.notebook.render.strict_markdown import escape, visible

if TYPE_CHECKING:
    from loom_nb.capabilities.knowledge.base import KnowledgeBase
    from loom_nb.notebook.comm_gate import CommGate
    from loom_nb.notebook.painter import Outlet
    from loom_nb.notebook.workbench import Workbench

INTERVAL = 0.2
"""Seconds between two pictures of the bar."""
LINES = 2.0
"""Seconds between two lines where nothing can be redrawn."""
COLOUR = "#4a7fd1"


def words_of(step: IndexProgress) -> str:
    """How far it is: "reading: 12 of 40 documents, 96 chunks, about 3 s left"."""
    return "looking what there is" if step.phase == "looking" else str(step)


def bar_of(step: IndexProgress, document: str = "") -> Drawn:
    """The bar with its words, as text and as HTML."""
    words = visible(words_of(step))
    at = f'<div style="opacity:0.75">{escape(document[-120:])}</div>' if document else ""
    html = (
        f'<div role="group" style="margin:0.3em 0">{html_meter(step.share, words, COLOUR)}'
        f"<div>{escape(words)}</div>{at}</div>"
    )
    return Drawn(f"{text_meter(step.share, 30)} {words}", html)


def summary_of(report: IndexReport) -> IndexProgress:
    """The last picture of the bar."""
    whole = report.documents + len(report.failed)
    return IndexProgress("done", whole, whole, report.chunks)


class ShownCard(Card):
    """A card that stands in the output already: as the value of a line it is not shown again."""

    def _ipython_display_(self) -> None:
        """Nothing."""


async def index(bench: "Workbench", base: "KnowledgeBase", of: str = "") -> Card:
    """Index a base, telling how far it is; interrupt and Stop end it, and keep what was done.

    Raises:
        StoreError: the file cannot be used.
        LoomError: the embedder fails.
    """
    loop, mode = asyncio.get_running_loop(), bench.mode()
    is_stopped = False

    def stop() -> None:
        nonlocal is_stopped
        is_stopped = base.cancel() or is_stopped

    show: Sight = LiveSight(bench, stop) if mode == "live" else Lines(mode == "plain")
    steps = [IndexProgress("looking")]

    def noted(step: IndexProgress) -> None:
        steps.append(step)
        del steps[:-1]
        show.step(step)

    try:
        with sigint_calls(loop, stop):
            report = await base.index(noted)
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and is_stopped:
            return show.end(cards.stopped_card(words_of(steps[-1]), of), steps[-1])
        show.leave(steps[-1])
        raise
    return show.end(cards.report_card(report, of), summary_of(report))


class Sight:
    """Where nothing is shown on the way."""

    def step(self, step: IndexProgress) -> None:
        """Show how far it is."""

    def end(self, card: Card, step: IndexProgress) -> Card:
        """Show the end; gives the card as the value of the line."""
        self.leave(step)
        return card

    def leave(self, step: IndexProgress) -> None:
        """Let go of what only stands there while it goes on."""


class Lines(Sight):
    """Prints a line from time to time, in a terminal.

    Args:
        is_wanted: whether anybody reads along.
    """

    def __init__(self, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        self._due = asyncio.get_running_loop().time() + LINES

    def step(self, step: IndexProgress) -> None:
        """Show how far it is."""
        now = asyncio.get_running_loop().time()
        if self._is_wanted and now >= self._due:
            self._due = now + LINES
            sys.stdout.write(f"{bar_of(step).text}\n")
            sys.stdout.flush()


class LiveSight(Sight):
    """The bar and the Stop button, redrawn; at the end the bar stays full, and the card follows it.

    Args:
        bench: of the kernel.
        stop: called on the loop at a click.
    """

    def __init__(self, bench: "Workbench", stop: Callable[[], None]) -> None:
        from loom_nb.notebook.painter import KernelOutlet
        from loom_nb.notebook.widgets.stop import StopButton

        self._loop = asyncio.get_running_loop()
        self._outlet: Outlet = KernelOutlet(bench.shell)
        self._gate: CommGate | None = bench.comm_gate()
        self._bar, self._below = f"loom-index-{uuid.uuid4().hex}", f"loom-index-{uuid.uuid4().hex}"
        self._due, self._phase = 0.0, "looking"
        self._stop = stop
        self._button = StopButton(self._clicked)
        if self._gate is not None:
            self._gate.watch(self._button.model_id, self._button.take)
        self._outlet.show(self._bar, _bundle(bar_of(IndexProgress("looking"))), {})
        self._outlet.show(self._below, self._button.view(), {"loom": {"live_only": True}})

    def step(self, step: IndexProgress) -> None:
        """Show how far it is, not more often than one can see."""
        now = self._loop.time()
        if now < self._due and step.phase == self._phase:
            return
        if step.phase != self._phase:
            self._button.say(words_of(step))
        self._due, self._phase = now + INTERVAL, step.phase
        self._outlet.change(self._bar, _bundle(bar_of(step, step.document)), {})

    def _clicked(self) -> None:
        """On whichever thread the message came."""
        self._loop.call_soon_threadsafe(self._stop)

    def leave(self, step: IndexProgress) -> None:
        """Take the button away."""
        if self._gate is not None:
            self._gate.forget(self._button.model_id)
        self._button.leave()
        self._outlet.change(self._bar, _bundle(bar_of(step)), {})
        self._outlet.change(self._below, {"text/plain": "", "text/html": ""}, {})

    def end(self, card: Card, step: IndexProgress) -> Card:
        """The card in place of the button."""
        self.leave(step)
        self._outlet.change(self._below, {"text/plain": str(card), "text/html": card.to_html()}, {})
        return ShownCard(**{one.name: getattr(card, one.name) for one in fields(Card)})


def _bundle(drawn: Drawn) -> dict[str, Any]:
    return {"text/plain": drawn.text, "text/html": drawn.html}
