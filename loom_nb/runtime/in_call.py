"""What a tool may do while it runs, beside returning: ask a person, show output, keep a fact."""

import asyncio
import threading
from typing import Any

import msgspec

from loom_nb.border import clean
from loom_nb.errors import Unanswered
from loom_nb.events import CallOutput, Kept, PlanUpdated, VariablesChanged
from loom_nb.questions import Question
from loom_nb.runtime.approval import Ready
from loom_nb.runtime.stage import Stage


class InCall:
    """The `CallContext` of one call. Made on the loop's thread, in the task of the call."""

    __slots__ = ("_loop", "_ready", "_stage", "_task", "_thread")

    def __init__(self, stage: Stage, ready: Ready) -> None:
        self._stage = stage
        self._ready = ready
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    @property
    def call_id(self) -> str:
        """Of the call that runs."""
        return self._ready.part.id

    @property
    def session(self) -> str:
        """The id of the session."""
        return self._stage.session

    async def ask(self, question: Question) -> Any:
        """The checked answer of a person, or the question's default; the wait is not the tool's time.

        Raises:
            Unanswered: nobody answered in time, or nobody can be asked here.
        """
        stage, policy = self._stage, self._stage.governance
        expires = (
            question.expires if question.expires is not None else stage.clock.now() + policy.answer_within
        )
        asked = msgspec.structs.replace(
            question, call_id=self.call_id, asked_by=self._ready.tool.name, expires=expires
        )
        assert self._task is not None  # noqa: S101  a call runs in a task
        stage.deadlines.clear(self._task)
        try:
            wait = stage.asking.attended or policy.unattended == "wait"
            reply = await stage.asking.ask(asked, stage.say, stage.commit, wait=wait)
        finally:
            stage.deadlines.set(self._task, self._ready.tool.timeout)
        if reply.how == "person" or reply.value is not None:
            return reply.value
        if reply.how == "timeout":
            raise Unanswered(f"Nobody answered within {policy.answer_within / 60:g} min: {asked.title}")
        raise Unanswered(
            f"Nobody can be asked here: {asked.title}", cause="no face that shows questions is connected"
        )

    def show(self, text: str) -> None:
        """Show output while the tool runs. May be called from any thread."""
        self._on_the_loop(self._show, CallOutput(self.call_id, clean(text)))

    def say(self, event: PlanUpdated | VariablesChanged) -> None:
        """Keep a fact about this call. May be called from any thread."""
        self._on_the_loop(self._keep, event)

    def _show(self, event: CallOutput) -> None:
        if not self._stage.closed:
            self._stage.stream(event)

    def _keep(self, event: Kept) -> None:
        if not self._stage.closed:
            self._stage.say(event)

    def _on_the_loop(self, act: Any, event: Any) -> None:
        if threading.get_ident() == self._thread:
            act(event)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act, event)
