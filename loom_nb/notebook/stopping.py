"""The Stop button of one live run: when it appears, how a click reaches the run, how it goes."""

import asyncio
from typing import TYPE_CHECKING, Any

from loom_nb.events import Event, QuestionAsked
from loom_nb.notebook.comm_gate import CommGate
from loom_nb.notebook.painter import Announcer, LivePainter
from loom_nb.runtime.run import Run

if TYPE_CHECKING:
    from loom_nb.notebook.widgets.stop import StopButton

DELAY = 0.3
"""Seconds before the button appears: a run that is over by then needs none."""
PAUSE = 1.0
"""Seconds between two announcements, so that a screen reader can follow."""


class StopBar:
    """Puts the button above the transcript for as long as the run lasts.

    Args:
        run: what it stops.
        painter: whose first output it takes.
        gate: brings clicks in on kernels that would hold them back; None where none is needed.
    """

    def __init__(self, run: Run, painter: LivePainter, gate: CommGate | None) -> None:
        self._run = run
        self._painter = painter
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._announcer = Announcer()
        self._words: list[str] = []
        self._speaking: asyncio.TimerHandle | None = None
        self._button: StopButton | None = None
        self._appearing: asyncio.TimerHandle | None = self._loop.call_later(
            DELAY, self._guarded, self._appear
        )

    def take(self, event: Event) -> None:
        """Say what a listener should know of it."""
        if isinstance(event, QuestionAsked) and self._appearing is not None and self._button is None:
            self._appearing.cancel()
            self._guarded(self._appear)
        words = self._announcer.take(event)
        if words:
            self._words.append(words)
            if self._speaking is None and self._button is not None:
                self._speaking = self._loop.call_later(PAUSE, self._guarded, self._speak)

    def stopping(self) -> None:
        """Show on the button that the stop was heard."""
        if self._button is not None:
            self._guarded(self._button.stopping)

    def leave(self) -> None:
        """Take the button away, with every trace of it."""
        for timer in (self._appearing, self._speaking):
            if timer is not None:
                timer.cancel()
        button, self._button = self._button, None
        if button is not None:
            if self._gate is not None:
                self._gate.forget(button.model_id)
            self._guarded(button.leave)

    def _appear(self) -> None:
        from loom_nb.notebook.widgets.stop import StopButton

        self._button = button = StopButton(self._clicked)
        if self._gate is not None:
            self._gate.watch(button.model_id, button.take)
        self._painter.put_bar(button.view())

    def _clicked(self) -> None:
        """On whichever thread the message came: the run hands it over to the loop itself."""
        self._run.stop("stopped by you")

    def _speak(self) -> None:
        self._speaking = None
        words, self._words = " ".join(self._words), []
        if self._button is not None and words:
            self._button.say(words)

    def _guarded(self, act: Any) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001  the border to the front end: without its button the run goes on
            self._loop.call_exception_handler({"message": "the Stop button failed", "exception": error})
