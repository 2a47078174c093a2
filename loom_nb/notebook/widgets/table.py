"""The live table: it shows a window of the rows of a `Source`, and hands in what a person does to them.

It carries no state of its own: rows go out as custom messages, what a person does comes in as custom
messages, and nothing of it is left in a saved notebook.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from loom_nb.errors import LoomError
from loom_nb.notebook import table as tables
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.notebook.table import Contents, PagedSource, Query, Receipt, Row, Source, Stale
from loom_nb.notebook.widgets.live import LiveWidget
from loom_nb.notebook.widgets.sources import script, style


class _Act(msgspec.Struct, frozen=True):
    """What a page asks to have done."""

    action: str
    rows: tuple[str, ...] = ()
    text: str = ""


class _Edit(msgspec.Struct, frozen=True):
    """A cell, and what a person has typed into it."""

    row: str
    column: str
    value: str = ""
    was: str = ""
    """The version of the row when it was begun."""


class TableView(LiveWidget):
    """One table, for as long as it is on a page.

    Args:
        source: what stands behind it.
        contents: what it shows at first.
        loop: where all of this is called, on whichever thread the kernel reads the messages.
        on_changed: called after an action, so that all tables are renewed.
        on_left: called when no page shows it any more.
    """

    _esm = script("table")
    _css = style("table")

    def __init__(
        self,
        source: Source,
        contents: Contents,
        loop: asyncio.AbstractEventLoop,
        on_changed: "Callable[[TableView], Awaitable[None]]",
        on_left: "Callable[[TableView], None]",
    ) -> None:
        super().__init__(loop, self._taken)
        self._source = source
        self._contents = contents
        self._state: Hashable = source.state()
        self._loop = loop
        self._on_changed = on_changed
        self._on_left = on_left
        self._arranged: tuple[Hashable, tuple[Row, ...]] = (None, ())
        self._undo: Callable[[], Awaitable[Receipt]] | None = None
        self._shown = False
        self._turn = asyncio.Lock()
        self._work: set[asyncio.Task[None]] = set()

    # -- what a page says --------------------------------------------------------------------------

    def _taken(self, content: Any) -> None:
        task = self._loop.create_task(self._answered(content))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _answered(self, content: Any) -> None:
        """Carry out one message after the other."""
        async with self._turn:
            try:
                await self._answer(content if isinstance(content, dict) else {})
            except LoomError as error:
                self._refuse(error.title, error.cause, tuple(error.fixes))
            except (msgspec.ValidationError, KeyError):
                self._refuse("A message came that this table does not know. It was ignored.")
            except Exception as error:  # noqa: BLE001  the border to the front end: the kernel goes on
                self._refuse("This could not be done.", f"{type(error).__name__}: {error}"[:300])
                self._loop.call_exception_handler({"message": "a table failed", "exception": error})

    async def _answer(self, content: dict[str, Any]) -> None:
        answers: dict[Any, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "ready": self._ready,
            "query": self._query,
            "all": self._all,
            "open": self._open,
            "act": self._act,
            "edit": self._begin,
            "set": self._set,
            "undo": self._take_back,
            "left": self._left,
        }
        await answers[content.get("type")](content)

    async def _ready(self, _: dict[str, Any]) -> None:
        self._shown = True
        await self.renew()
        self._show()

    async def _query(self, content: dict[str, Any]) -> None:
        if await self.renew():  # a run beside the cells has ended meanwhile
            self._show()
        else:
            await self._page(content)

    async def _open(self, content: dict[str, Any]) -> None:
        name = msgspec.convert(content["row"], str)
        details = tables.opened(await self._source.details(name))
        self.send({"type": "details", "row": name, "details": details})

    async def _take_back(self, _: dict[str, Any]) -> None:
        if self._undo is not None:
            await self._done(await self._undo())

    async def _left(self, _: dict[str, Any]) -> None:
        self._on_left(self)

    # -- showing -----------------------------------------------------------------------------------

    def _show(self, note: str = "") -> None:
        card = self._contents.card
        self.send(
            {
                "type": "show",
                "head": tables.head(self._contents),
                "saved": {"text/plain": str(card), "text/html": card.to_html()},
                "model": self.model_id,
                "note": note,
            }
        )

    async def _page(self, content: dict[str, Any]) -> None:
        query = msgspec.convert(content["query"], Query)
        number = msgspec.convert(content.get("number", 0), int)
        source = self._source
        try:
            page = (
                tables.part(await source.look(query))
                if isinstance(source, PagedSource)
                else tables.page(self._rows(query), query)
            )
        except LoomError:
            self.send({"type": "page", "number": number, "start": 0, "matching": 0, "rows": []})
            raise
        self.send({"type": "page", "number": number, **page})

    async def _all(self, content: dict[str, Any]) -> None:
        query = msgspec.convert(content["query"], Query)
        source, most = self._source, tables.MOST_CHOSEN
        if isinstance(source, PagedSource):
            wanted = msgspec.structs.replace(query, start=0, count=most)
            rows = (await source.look(wanted)).rows
        else:
            rows = self._rows(query)
        self.send({"type": "all", "ids": [row.id for row in rows[:most]]})

    def _rows(self, query: Query) -> tuple[Row, ...]:
        if self._arranged[0] != query.order():
            self._arranged = (query.order(), tables.arranged(self._contents, query))
        return self._arranged[1]

    async def renew(self) -> bool:
        """Look again, where something has changed; gives whether it had. A table that cannot stays."""
        state = self._source.state()
        if state == self._state:
            return False
        try:
            contents = await self._source.contents()
        except LoomError:
            return False
        self._state, self._contents, self._arranged = state, contents, (None, ())
        return True

    async def look_again(self) -> None:
        """Show what has changed since, by whatever means."""
        async with self._turn:
            if await self.renew() and self._shown:
                self._show("This table has been renewed: something has changed.")

    # -- acting ------------------------------------------------------------------------------------

    async def _act(self, content: dict[str, Any]) -> None:
        wanted = msgspec.convert(content, _Act)
        action = next((one for one in self._contents.actions if one.name == wanted.action), None)
        if action is None:
            raise KeyError(wanted.action)
        rows = tables.able(await self._with(wanted.rows), action.name, wanted.rows)
        if not rows or (action.one and len(rows) > 1):
            return self._refuse(
                f"{action.label}: {'choose one row' if rows else 'none of the chosen rows can take it'}."
            )
        left = len(set(wanted.rows)) - len(rows)
        note = f"{left:,} of the chosen rows cannot take it" if left else ""
        return await self._done(await self._source.act(action.name, rows, wanted.text), note)

    async def _with(self, rows: Sequence[str]) -> Contents:
        """The contents, in which at least these rows are, as far as they exist."""
        if isinstance(self._source, PagedSource):
            return replace(self._contents, rows=await self._source.these(rows[: tables.MOST_CHOSEN]))
        return self._contents

    # -- editing -----------------------------------------------------------------------------------

    def _edited(self) -> PagedSource:
        if not isinstance(self._source, PagedSource):
            raise KeyError("edit")  # no page of ours asks for it
        return self._source

    async def _begin(self, content: dict[str, Any]) -> None:
        cell = msgspec.convert(content, _Edit)
        value = await self._edited().value(cell.row, cell.column)
        self.send(
            {
                "type": "value",
                "row": cell.row,
                "column": cell.column,
                "value": value.text,
                "was": value.version,
            }
        )

    async def _set(self, content: dict[str, Any]) -> None:
        cell = msgspec.convert(content, _Edit)
        source = self._edited()
        try:
            receipt = await source.edit(cell.row, cell.column, cell.value, cell.was)
        except LoomError as error:
            words = ": ".join(part for part in (error.title, error.cause) if part)
            told = {"text": visible(words), "fixes": [visible(fix) for fix in error.fixes]}
            if isinstance(error, Stale):
                told |= {"now": visible(error.now.text), "was": error.now.version}
            self.send({"type": "refused", "row": cell.row, "column": cell.column, **told})
            return
        self.send({"type": "set", "row": cell.row, "column": cell.column})
        await self._done(receipt)

    async def _done(self, receipt: Receipt, note: str = "") -> None:
        self._undo = receipt.undo
        if await self.renew():
            self._show()
        self.send(
            {
                "type": "receipt",
                "text": visible(" · ".join(part for part in (receipt.words, note) if part)),
                "back": [visible(line) for line in receipt.back],
                "undo": receipt.undo is not None,
            }
        )
        await self._on_changed(self)

    def _refuse(self, text: str, cause: str = "", fixes: tuple[str, ...] = ()) -> None:
        words = ": ".join(part for part in (text, cause) if part)
        self.send(
            {
                "type": "problem",
                "text": visible(words),
                "fixes": [visible(fix) for fix in fixes],
            }
        )

    # -- the page ----------------------------------------------------------------------------------

    def leave(self) -> None:
        """Take it off the page, where its card stays, with every trace in the widget state."""
        for task in self._work:
            if task is not asyncio.current_task(self._loop):
                task.cancel()
        self.send({"type": "gone"})
        self.retire()

    def view(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The MIME bundle that shows it, and its metadata; the card is for where widgets do not appear."""
        card = self._contents.card
        return self.bundle(str(card), card.to_html()), {"loom": {"table": self.model_id}}

    def __repr__(self) -> str:
        return "TableView()"
