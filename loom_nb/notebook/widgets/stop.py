"""The Stop button of a run that is going on, and the voice that tells a screen reader how it goes.

It carries no state of its own: clicks come as custom messages, words go as custom messages, and
nothing of it is left in a saved notebook.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget

_HERE = Path(__file__).parent


class StopButton(anywidget.AnyWidget):
    """One button, one line of status.

    Args:
        on_stop: called at a click, on whichever thread the kernel reads the message.
    """

    _esm = _HERE / "stop.js"
    _css = _HERE / "stop.css"

    def __init__(self, on_stop: Callable[[], None]) -> None:
        super().__init__()
        self._on_stop = on_stop
        self.on_msg(self._heard)

    def _heard(self, _widget: Any, content: Any, _buffers: Any) -> None:
        self.take(content)

    def take(self, content: Any) -> None:
        """One custom message of the front end."""
        if isinstance(content, dict) and content.get("type") == "stop":
            self._on_stop()

    def say(self, text: str) -> None:
        """Tell it politely: whole sentences, not tokens."""
        self.send({"type": "say", "text": text})

    def stopping(self) -> None:
        """Show that the click arrived."""
        self.send({"type": "stopping"})

    def leave(self) -> None:
        """Take it off the page, with every trace in the widget state."""
        self.send({"type": "gone"})
        if self.layout is not None:
            self.layout.close()
        self.close()

    def view(self) -> dict[str, Any]:
        """The MIME bundle that shows it."""
        return {
            "text/plain": "(running: interrupt the kernel to stop)",
            "text/html": "<p>(running: interrupt the kernel to stop)</p>",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.model_id,
            },
        }

    def __repr__(self) -> str:
        return "StopButton()"
