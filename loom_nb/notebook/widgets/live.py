"""What all our widgets are: they speak by custom messages alone, and leave nothing in a saved notebook."""

import asyncio
import contextvars
import uuid
from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

MOST_KNOWN = 1_000
"""Messages of pages that are known to have come."""


class LiveWidget(anywidget.AnyWidget):
    """A widget that hears its page, and that its page hears; `talking` in parts.js is the other end.

    A message of a page may get lost or be slept over on its way, so a page says again what was not confirmed;
    here each message counts once. The widget knows its own id, by which the page finds its comm.

    Args:
        loop: where messages are taken in, on whichever thread the kernel reads them.
        taken: called there with what a page has said, once.
    """

    _loom_id = traitlets.Unicode().tag(sync=True)

    def __init__(self, loop: asyncio.AbstractEventLoop, taken: Callable[[Any], None]) -> None:
        own = uuid.uuid4().hex
        super().__init__(model_id=own, _loom_id=own)
        self._hears_on = loop
        self._taken_in = taken
        self._context = contextvars.copy_context()  # the thread that reads knows of no cell to answer to
        self._known: dict[str, None] = {}
        self.on_msg(lambda _widget, content, _buffers: self.take(content))

    def take(self, content: Any) -> None:
        """One custom message of the front end, on any thread."""
        self._hears_on.call_soon_threadsafe(self._confirmed, content, context=self._context)

    def _confirmed(self, content: Any) -> None:
        said = content.get("said") if isinstance(content, dict) else None
        if isinstance(said, str):
            self.send({"type": "heard", "said": said})
            if said in self._known:
                return
            self._known[said] = None
            if len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
        self._taken_in(content)

    def bundle(self, plain: str, html: str) -> dict[str, Any]:
        """The MIME bundle that shows it; the texts are for where widgets do not appear."""
        return {
            "text/plain": plain,
            "text/html": html,
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.model_id,
            },
        }

    def retire(self) -> None:
        """Take it out of the widget state, with every trace."""
        if self.layout is not None:
            self.layout.close()
        self.close()
