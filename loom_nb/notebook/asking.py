"""The desk at which a person answers the questions of one run while its cell waits.

It stands between the run and the page like the Stop button, which it carries: a question of the run
becomes a card, or a prompt to type at where no card can appear, and is taken away once it is answered,
from wherever the answer came.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from loom_nb.events import Event, QuestionAnswered, QuestionAsked, TurnStarted
from loom_nb.inputs import Answer
from loom_nb.notebook import question_view as views
from loom_nb.notebook.asked_now import asked_now
from loom_nb.notebook.bridge import StopControl
from loom_nb.notebook.comm_gate import CommGate
from loom_nb.notebook.question_view import Content, Entries, Where
from loom_nb.notebook.typed import KernelLines, Lines, TerminalLines, converse
from loom_nb.questions import Question

if TYPE_CHECKING:
    from loom_nb.notebook.widgets.question import QuestionCard

PATIENCE = 8.0
"""Seconds that a page has to show its first card; then it is also asked by typing."""
LITTLE_PATIENCE = 0.5
"""Seconds where a page has never shown one."""


class Asker(Protocol):
    """What the desk needs of a session."""

    def send(self, what: Answer) -> None:
        """Answer a question. Raises AnswerRefused where the answer does not fit."""
        ...

    def attend(self) -> Callable[[], None]:
        """A face is there that shows questions; gives the way to leave."""
        ...


class Board(Protocol):
    """Where cards are put up: a painter."""

    def put_card(self, view: dict[str, Any], metadata: dict[str, Any]) -> Callable[[], None]:
        """Show it below all that is drawn now; gives the way to take it off."""
        ...


@dataclass(slots=True)
class Pages:
    """What the kernel has learnt of its front end: whether cards appear there."""

    shown: bool = False
    waited: bool = False

    @property
    def patience(self) -> float:
        """Seconds to wait for a card to appear."""
        return LITTLE_PATIENCE if self.waited and not self.shown else PATIENCE


@dataclass(frozen=True, slots=True)
class Faces:
    """The ways to a person that there are.

    Both may be there: then what is typed is asked for where the card does not appear.
    """

    cards: bool = False
    lines: Lines | None = None
    gate: CommGate | None = None
    """Brings answers in on kernels that would hold them back; None where none is needed."""
    pages: Pages = field(default_factory=Pages)
    cell: str = ""
    """The id of the cell, where the front end told it."""
    elsewhere: bool = False
    """Whether a person answers by `%loom approve` in another cell."""

    @property
    def somebody(self) -> bool:
        """Whether there is anybody to ask."""
        return self.cards or self.lines is not None or self.elsewhere


def faces_for(
    shell: Any, mode: str, gate: CommGate | None, pages: Pages, *, background: bool = False
) -> Faces:
    """The ways to the person who executes the cell that runs now; none for a program that does.

    Args:
        shell: of IPython.
        mode: how the run is drawn: "live", "static" or "plain".
        gate: for kernels that hold messages back.
        pages: what is known of the front end.
        background: the cell does not wait, so that nothing can be typed below it.
    """
    asked = asked_now(shell)
    if asked is None:
        import sys

        terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
        return Faces(lines=TerminalLines(sys.stdin, sys.stdout) if terminal else None)
    if not asked.allow_stdin:
        return Faces()
    lines = None if background else KernelLines(shell.kernel)
    return Faces(mode == "live", lines, gate, pages, asked.cell, background)


@dataclass(slots=True, eq=False)
class _Shown:
    """One question that is being shown."""

    question: Question
    where: tuple[str, int]
    card: "QuestionCard | None" = None
    take_off: Callable[[], None] | None = None
    waiting: asyncio.TimerHandle | None = None
    typed: "asyncio.Task[None] | None" = None


class Desk:
    """Shows the questions of one run, and hands in the answers.

    It is a StopControl: hand it to `play` in place of the Stop button, which it carries along.

    Args:
        run_id: of the run; empty where a line magic asks.
        session: takes the answers.
        board: where cards are put up.
        faces: the ways to a person; at least one.
        bar: the Stop button, where there is one.
    """

    def __init__(
        self, run_id: str, session: Asker, board: Board, faces: Faces, bar: StopControl | None = None
    ) -> None:
        self._run_id = run_id
        self._session = session
        self._board = board
        self._faces = faces
        self._bar = bar
        self._loop = asyncio.get_running_loop()
        self._step = 0
        self._shown: dict[str, _Shown] = {}
        self._typing = asyncio.Lock()
        self._leave = session.attend()

    # -- as a StopControl --------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """Put up or take away what it asks."""
        if self._bar is not None:
            self._bar.take(event)
        match event:
            case TurnStarted():
                self._step = event.turn
            case QuestionAsked():
                self._guarded(lambda: self._ask(event.question))
            case QuestionAnswered():
                shown = self._shown.pop(event.question_id, None)
                if shown is not None:
                    self._take_away(shown, views.receipt(shown.question, event.how, event.value))
            case _:
                pass

    def stopping(self) -> None:
        """The stop was heard: what is open will be taken away as the run ends."""
        if self._bar is not None:
            self._bar.stopping()

    def leave(self) -> None:
        """The run is over: nothing is left to answer."""
        while self._shown:
            _, shown = self._shown.popitem()
            self._take_away(shown, "")
        self._leave()
        if self._bar is not None:
            self._bar.leave()

    # -- showing -----------------------------------------------------------------------------------

    def _ask(self, question: Question) -> None:
        if question.id in self._shown:
            return
        shown = self._shown[question.id] = _Shown(question, (self._run_id, self._step))
        if not self._faces.cards:
            shown.take_off = self._board.put_card({}, {})  # so that what led to it is written
            if self._faces.lines is not None:
                self._type_in(shown)
            return
        self._put_up(shown)
        if self._faces.lines is not None:
            shown.waiting = self._loop.call_later(self._faces.pages.patience, self._not_shown, shown)

    def _put_up(self, shown: _Shown) -> None:
        from loom_nb.notebook.widgets.question import QuestionCard

        shown.card = card = QuestionCard(
            lambda: self._content(shown),
            lambda entries: self._submit(shown.question, entries),
            lambda: self._is_shown(shown),
            self._loop,
        )
        if self._faces.gate is not None:
            self._faces.gate.watch(card.model_id, card.take)
        metadata = {"loom": {"question": shown.question.id}}
        shown.take_off = self._board.put_card(card.bundle(**self._words(shown)), metadata)

    def _take_away(self, shown: _Shown, words: str) -> None:
        if shown.waiting is not None:
            shown.waiting.cancel()
        if shown.typed is not None:
            shown.typed.cancel()
        card = shown.card
        if card is not None:
            if self._faces.gate is not None:
                self._faces.gate.forget(card.model_id)
            more = f"{words}. This page was loaded anew meanwhile: %loom show {self._run_id} shows the rest."
            self._guarded(lambda: card.leave(more if words and self._run_id else ""))
        if shown.take_off is not None:
            self._guarded(shown.take_off)

    def _content(self, shown: _Shown) -> Content:
        words = self._words(shown)
        return {
            **views.content(shown.question, self._where(shown)),
            "id": shown.question.id,
            "cell": self._faces.cell,
            "bundle": {"text/plain": words["plain"], "text/html": words["html"]},
        }

    def _words(self, shown: _Shown) -> dict[str, str]:
        """What stands in place of the card where it cannot appear."""
        plain, how = self._plain(shown), views.how_to_answer(shown.question)
        html = (
            f'<section class="jp-RenderedHTMLCommon"><pre>{escape(plain)}</pre><p>{escape(how)}</p></section>'
        )
        return {"plain": f"{plain}\n  {how}", "html": html}

    def _plain(self, shown: _Shown) -> str:
        return views.plain(shown.question, self._where(shown))

    def _where(self, shown: _Shown) -> Where:
        return Where(*shown.where, now=time.time())

    # -- answering ---------------------------------------------------------------------------------

    def _submit(self, question: Question, entries: Entries) -> None:
        """Hand in what was entered. Raises EntriesRefused with the reason; the question stays open."""
        views.submit(question, entries, self._session.send)

    def _is_shown(self, shown: _Shown) -> None:
        self._faces.pages.shown = True
        if shown.waiting is not None:
            shown.waiting.cancel()
            shown.waiting = None

    def _not_shown(self, shown: _Shown) -> None:
        """No page has shown the card: it is asked by typing too."""
        shown.waiting = None
        self._faces.pages.waited = True
        self._guarded(lambda: self._type_in(shown))

    def _type_in(self, shown: _Shown) -> None:
        shown.typed = self._loop.create_task(self._typed(shown))

    async def _typed(self, shown: _Shown) -> None:
        lines = self._faces.lines
        assert lines is not None  # noqa: S101  it is begun only where there are lines
        async with self._typing:  # one prompt at a time
            try:
                if shown.card is None:  # else the texts of the card stand above
                    lines.write(f"\n{self._plain(shown)}")
                await converse(shown.question, lines, lambda entries: self._submit(shown.question, entries))
            except EOFError:
                lines.write(
                    f"({views.name_of(shown.question)} stays open: {views.unanswered(shown.question)})"
                )
            except Exception as error:  # noqa: BLE001  the border to the front end: the question stays open
                self._tell(error)

    def _guarded(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001  the border to the front end: the question stays open
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "a question could not be shown", "exception": error})
