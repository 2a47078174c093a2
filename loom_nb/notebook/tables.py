"""The live tables of one kernel: where each appears, and how all of them keep up with what changes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from loom_nb.notebook.card import Card
from loom_nb.notebook.comm_gate import CommGate
from loom_nb.notebook.table import Contents, Source

if TYPE_CHECKING:
    from loom_nb.notebook.widgets.table import TableView

MOST_OPEN = 6
"""Tables that are live at once; the oldest becomes its card."""


@dataclass(frozen=True, slots=True, repr=False)
class TableCard(Card):
    """A card that is a live table where it is displayed on a page that can answer."""

    put_up: Callable[[], tuple[dict[str, Any], dict[str, Any]]] | None = field(default=None, compare=False)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        if self.put_up is None:
            return Card._repr_mimebundle_(self, include, exclude)
        return self.put_up()


class Tables:
    """Those that are open.

    Args:
        shell: whose cells may change what they show.
        gate: brings messages in on kernels that would hold them back; None where none is needed.
        is_live: whether the front end of the cell that runs now can answer.
    """

    def __init__(self, shell: Any, gate: Callable[[], CommGate | None], is_live: Callable[[], bool]) -> None:
        self._shell = shell
        self._gate = gate
        self._is_live = is_live
        self._open: list[TableView] = []
        self._looking: asyncio.Task[None] | None = None

    def card(self, source: Source, contents: Contents) -> Card:
        """What a line magic returns: `contents.card`, which is a live table wherever that can be."""
        card = contents.card
        if not self._is_live():
            return card
        loop = asyncio.get_running_loop()
        whole = {one.name: getattr(card, one.name) for one in fields(Card)}
        return TableCard(**whole, put_up=lambda: self._put_up(source, contents, loop))

    def _put_up(
        self, source: Source, contents: Contents, loop: asyncio.AbstractEventLoop
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        from loom_nb.notebook.widgets.table import TableView

        while len(self._open) >= MOST_OPEN:
            self._take_off(self._open[0])
        if not self._open:
            self._shell.events.register("post_run_cell", self._cell_has_run)
        view = TableView(source, contents, loop, self._renew_others, self._take_off)
        self._open.append(view)
        gate = self._gate()
        if gate is not None:
            gate.watch(view.model_id, view.take)
        return view.view()

    def _take_off(self, view: "TableView") -> None:
        if view not in self._open:
            return
        self._open.remove(view)
        if not self._open:
            self._shell.events.unregister("post_run_cell", self._cell_has_run)
        gate = self._gate()
        if gate is not None:
            gate.forget(view.model_id)
        view.leave()

    async def _renew_others(self, done: "TableView") -> None:
        self._look_again(done)

    def _cell_has_run(self, *_: Any) -> None:
        """A cell may have said something in the conversation, or marked an item."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # the loop that their messages come to is not here
            return
        self._look_again(None)

    def _look_again(self, done: "TableView | None") -> None:
        others = [view for view in self._open if view is not done]
        if others:
            loop = asyncio.get_running_loop()
            self._looking = loop.create_task(_each_looks_again(others))

    def close(self) -> None:
        """Every table becomes its card."""
        for view in tuple(self._open):
            self._take_off(view)


async def _each_looks_again(views: "list[TableView]") -> None:
    for view in views:
        await view.look_again()
