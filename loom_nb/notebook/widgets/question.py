"""The card on which a person answers one question while the cell runs.

It carries no state of its own: what it shows goes out as custom messages, what a person enters comes
in as one custom message with a nonce, and nothing of it is left in a saved notebook.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from loom_nb.notebook.question_view import Content, Entries, EntriesRefused
from loom_nb.notebook.widgets.live import LiveWidget
from loom_nb.notebook.widgets.sources import script, style

BURST = 0.3
"""Seconds after it appeared in which nothing is an answer: a click that was meant for something else."""


class QuestionCard(LiveWidget):
    """One question, until it is answered.

    Args:
        content: what it shows now; asked anew for each page that comes up.
        on_entries: takes what was entered. Raises EntriesRefused where it is no answer yet.
        on_ready: told once a page shows it.
        loop: where all of this is called, on whichever thread the kernel reads the messages.
    """

    _esm = script("question")
    _css = style("question")

    def __init__(
        self,
        content: Callable[[], Content],
        on_entries: Callable[[Entries], None],
        on_ready: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(loop, self._taken)
        self._content = content
        self._on_entries = on_entries
        self._on_ready = on_ready
        self._nonce = ""
        self._shown_at = 0.0
        self._left = False
        self._pages = 0

    def _taken(self, content: Any) -> None:
        kind = content.get("type") if isinstance(content, dict) else None
        if self._left:
            return
        if kind == "ready":
            self._show()
        elif kind == "answer":
            self._answered(content)
        else:
            self._note("A message came that this card does not know. It was ignored.")

    def _show(self) -> None:
        """A page has loaded it: the first one, or one that was loaded anew."""
        self._pages += 1
        self._renew()
        self._shown_at = time.monotonic()
        shown = {**self._content(), "again": self._pages > 1}
        self.send({"type": "show", "content": shown, "nonce": self._nonce, "model": self.model_id})
        self._on_ready()

    def _answered(self, content: dict[str, Any]) -> None:
        nonce = content.get("nonce")
        if not self._nonce or not isinstance(nonce, str) or not nonce.isascii():
            return self._note("An answer came without its mark. It was ignored.")
        if not secrets.compare_digest(nonce, self._nonce):
            return self._note("An answer came that was not given on this card as it is now. It was ignored.")
        if time.monotonic() - self._shown_at < BURST:
            return self._note("That came too quickly to be an answer. Please answer again.")
        self._renew()  # each mark is good for one answer
        try:
            self._on_entries(msgspec.convert(content.get("entries"), Entries))
        except msgspec.ValidationError:
            self._refuse("What came is no answer. It was ignored.")
        except EntriesRefused as refused:
            self._refuse(str(refused), refused.fields)
        return None

    def _renew(self) -> None:
        self._nonce = secrets.token_urlsafe(18)

    def _note(self, text: str) -> None:
        self.send({"type": "note", "text": text, "nonce": self._nonce})

    def _refuse(self, text: str, fields: dict[str, str] | None = None) -> None:
        self.send({"type": "refused", "text": text, "fields": fields or {}, "nonce": self._nonce})

    def leave(self, words: str = "") -> None:
        """Take it off the page, with every trace in the widget state; `words` say how it ended."""
        self._left = True
        self._nonce = ""
        self.send({"type": "gone", "text": words})
        self.retire()

    def __repr__(self) -> str:
        return "QuestionCard()"
