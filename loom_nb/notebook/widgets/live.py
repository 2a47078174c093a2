"""What all our widgets are: they speak by custom messages alone, and leave nothing in a saved notebook."""

import uuid
from typing import Any

import anywidget
import traitlets


class LiveWidget(anywidget.AnyWidget):
    """A widget that a page hears, however long it needed to load it.

    It knows its own id, by which `hearing` in parts.js finds its comm.
    """

    _loom_id = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        own = uuid.uuid4().hex
        super().__init__(model_id=own, _loom_id=own)

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
