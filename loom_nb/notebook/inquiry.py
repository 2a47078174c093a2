"""Asks a person one thing in the cell of a line magic, outside of any run: by a card, or by typing.

The answer goes to whoever asks and nowhere else: no event, log, output, history or widget state holds it.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from loom_nb.errors import NobodyToAsk, RunStopped
from loom_nb.events import QuestionAnswered, QuestionAsked
from loom_nb.inputs import Answer
from loom_nb.notebook import question_view as views
from loom_nb.notebook.asking import Desk, Faces
from loom_nb.notebook.interrupt import sigint_calls
from loom_nb.notebook.question_view import Entries, Where
from loom_nb.notebook.typed import Lines, converse
from loom_nb.questions import Question, checked

if TYPE_CHECKING:
    from loom_nb.notebook.painter import Bundle, KernelOutlet

Take = Callable[[Any], Any]
"""Makes of an answer what the caller wants. Raises AnswerRefused where it is none: it is asked again."""


async def inquire(question: Question, take: Take, faces: Faces, shell: Any, *, fixes: tuple[str, ...]) -> Any:
    """Ask, and give what `take` makes of the answer.

    Args:
        question: its `asked_by` is the line that asks, as it is typed.
        take: checks the answer.
        faces: the ways to the person in front of the cell that runs now.
        shell: of IPython.
        fixes: what to type where nobody can be asked.

    Raises:
        NobodyToAsk: a program executes this notebook, or the line of input has ended.
        RunStopped: the person interrupted it.
    """
    if not faces.cards and faces.lines is None:
        raise NobodyToAsk(
            f"{question.asked_by}: there is nobody to ask",
            cause="a program executes this notebook, so that nothing can be typed in",
            fixes=fixes,
        )
    loop = asyncio.get_running_loop()
    one = _One(question, take)
    if faces.cards:
        asked = loop.create_task(_by_card(one, faces, shell))
    else:
        assert faces.lines is not None  # noqa: S101  it was looked for above
        asked = loop.create_task(_typed(one, faces.lines))
    stopped: asyncio.Future[None] = loop.create_future()

    def stop() -> None:
        if not stopped.done():
            stopped.set_result(None)

    try:
        with sigint_calls(loop, stop):
            both: set[asyncio.Future[Any]] = {asked, stopped}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            raise RunStopped(f"{question.asked_by}: nothing was changed", reason="interrupted by you")
        return asked.result().value
    except EOFError:
        raise NobodyToAsk(
            f"{question.asked_by}: nobody types any more", cause="the input has ended", fixes=fixes
        ) from None
    finally:
        stopped.cancel()
        asked.cancel()
        await asyncio.wait({asked})


async def _typed(one: "_One", lines: Lines) -> "_Taken":
    lines.write(views.plain(one.question, Where("", 0, now=time.time())))
    await converse(one.question, lines, one.submit)
    return one.answer.result()


async def _by_card(one: "_One", faces: Faces, shell: Any) -> "_Taken":
    from loom_nb.notebook.painter import KernelOutlet

    desk = Desk("", one, _Slot(KernelOutlet(shell)), faces)
    try:
        desk.take(QuestionAsked(one.question))
        made = await one.answer
        desk.take(QuestionAnswered(one.question.id, "person"))
        return made
    finally:
        desk.leave()


class _Taken:
    """What was made of an answer: a loop in debug mode logs what tasks and futures hold, and so not this."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class _One:
    """Takes the answer to one question, in place of a session."""

    def __init__(self, question: Question, take: Take) -> None:
        self.question = question
        self._take = take
        self.answer: asyncio.Future[_Taken] = asyncio.get_running_loop().create_future()

    def send(self, what: Answer) -> None:
        """An answer of the card. Raises AnswerRefused where it does not fit."""
        made = self._take(checked(self.question, what.value))
        if not self.answer.done():
            self.answer.set_result(_Taken(made))

    def submit(self, entries: Entries) -> None:
        """What was typed. Raises EntriesRefused where it does not fit."""
        views.submit(self.question, entries, self.send)

    def attend(self) -> Callable[[], None]:
        """Nobody but this cell waits for the answer."""
        return _nothing


class _Slot:
    """Where the card stands: an output of the cell, which is empty once it is answered."""

    def __init__(self, outlet: "KernelOutlet") -> None:
        self._outlet = outlet

    def put_card(self, view: "Bundle", metadata: "Bundle") -> Callable[[], None]:
        """Show it; gives the way to take it off."""
        from uuid import uuid4

        slot = f"loom-{uuid4().hex}"
        self._outlet.show(slot, view, metadata)
        return lambda: self._outlet.change(slot, {"text/plain": "", "text/html": ""}, {})


def _nothing() -> None:
    return None
