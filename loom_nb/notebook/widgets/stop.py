"""The Stop button of a run that is going on, and the voice that tells a screen reader how it goes.

It carries no state of its own: clicks come as custom messages, words go as custom messages, and
nothing of it is left in a saved notebook.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from loom_nb.notebook.widgets.live import LiveWidget
from loom_nb.notebook.widgets.sources import script, sheet


class StopButton(LiveWidget):
    """One button, one line of status.

    Args:
        on_stop: called at a click, on the loop in which this was made.
    """

    _esm = script("stop")
    _css = sheet("stop")

    def __init__(self, on_stop: Callable[[], None]) -> None:
        super().__init__(asyncio.get_running_loop(), self._taken)
        self._on_stop = on_stop

    def _taken(self, content: Any) -> None:
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
        self.retire()

    def view(self) -> dict[str, Any]:
        """The MIME bundle that shows it."""
        words = "(running: interrupt the kernel to stop)"
        return self.bundle(words, f"<p>{words}</p>")

    def __repr__(self) -> str:
        return "StopButton()"
