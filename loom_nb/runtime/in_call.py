"""What a tool may do while it runs, beside returning: ask a person, show output, keep a fact."""

import asyncio
import mimetypes
from collections.abc import Sequence
from typing import Any

import msgspec

from loom_nb.border import clean
from loom_nb.errors import LoomError, LoomUsageError, Unanswered
from loom_nb.events import CallOutput, EvidenceFound, Kept, NotesWritten, PlanUpdated, SkillActivated
from loom_nb.protocols import Said
from loom_nb.questions import Question
from loom_nb.runtime.active_skills import with_skill
from loom_nb.runtime.approval import Ready
from loom_nb.runtime.artifact_tables import described
from loom_nb.runtime.artifacts import Packed, packed, stored
from loom_nb.runtime.products import Kind
from loom_nb.runtime.redacting import Live
from loom_nb.runtime.stage import Stage
from loom_nb.settings import waiting_time


class InCall(msgspec.Struct, frozen=True, eq=False):
    """The `CallContext` of one call, which is carried out by a task."""

    _stage: Stage
    _ready: Ready
    _task: asyncio.Task[Any]

    @property
    def call_id(self) -> str:
        """Of the call that runs."""
        return self._ready.part.id

    @property
    def session(self) -> str:
        """The id of the session."""
        return self._stage.session

    @property
    def run(self) -> str:
        """The id of the run."""
        return self._stage.run.id

    @property
    def notebook(self) -> str:
        """The notebook that the run is for; empty in a script."""
        return self._stage.asking.notebook

    @property
    def cell(self) -> str:
        """Which cell asked: `[7]`; empty in a script."""
        return self._stage.run.cell

    @property
    def agent(self) -> str:
        """The name of the agent whose run it is."""
        return self._stage.agent

    @property
    def approved(self) -> str:
        """The question that a person answered with yes to this very call; empty: nobody was asked."""
        return self._ready.approved

    async def ask(self, question: Question) -> Any:
        """The checked answer of a person, or the question's default; the wait is not the tool's time.

        Raises:
            Unanswered: nobody answered in time, or nobody can be asked here.
        """
        stage, policy = self._stage, self._stage.governance
        if question.kind == "approval":
            raise Unanswered("A tool asks no leave for itself: the judge does.")
        if stage.closed:
            raise Unanswered("The run is over: nobody is asked any more.")
        expires = (
            question.expires if question.expires is not None else stage.clock.now() + policy.answer_within
        )
        asked = msgspec.structs.replace(
            question, call_id=self.call_id, asked_by=self._ready.tool.name, expires=expires
        )
        stage.deadlines.clear(stage.run, self._task)
        try:
            wait = stage.asking.attended or policy.unattended == "wait"
            reply = await stage.asking.ask(asked, stage.say, stage.commit, wait=wait)
        finally:
            stage.deadlines.set(stage.run, self._task, self._ready.tool.timeout)
        if reply.how == "person" or reply.value is not None:
            return reply.value
        if reply.how == "timeout":
            raise Unanswered(f"Nobody answered within {waiting_time(policy.answer_within)}: {asked.title}")
        raise Unanswered(
            f"Nobody can be asked here: {asked.title}", cause="no face that shows questions is connected"
        )

    def show(self, text: str) -> None:
        """Show output while the tool runs. May be called from any thread."""
        self._on_the_loop(self._show, CallOutput(self.call_id, clean(text)))

    @property
    def notes(self) -> str:
        """What stands on the agent's scratchpad."""
        return "\n".join(text for _, text in self._stage.view.scratchpad)

    def say(self, event: Said) -> None:
        """Keep a fact about this call. May be called from any thread."""
        self._on_the_loop(self._keep, event)

    def number(self, passages: Sequence[str]) -> tuple[int, ...]:
        """The numbers by which passages, told by their ids, are cited in this conversation."""
        return self._stage.view.evidence.number(passages)

    def artifact(self, name: str, value: Any, media_type: str | None = None) -> None:
        """Keep a value with the run, by name. May be called from any thread.

        What is large is on the disk when this returns, and told in the log after that: a crash between
        the two leaves a file that nothing refers to, never a reference to nothing.

        Raises:
            LoomUsageError: it cannot be kept, or the run is over.
            StoreError: the disk refuses.
        """
        if self._stage.closed:
            raise LoomUsageError(f"artifact {name!r} comes too late: the run is over")
        made = self._stage.redacting.packed(packed(name, value, media_type))
        event = stored(made, self._stage.files, call_id=self.call_id)
        self._on_the_loop(self._keep, event)

    def product(self, kind: Kind, value: Any, name: str = "", *, of_rows: int = 0) -> str:
        """Keep what the call made; see `CallContext.product`. A value of which nothing is known is told."""
        try:
            media_type = mimetypes.guess_type(name)[0] if kind == "file" else None
            made = packed(name or kind, value, media_type)
            if kind != "table":
                words = f"file, {made.media_type}" if kind == "file" else "figure"
                made = msgspec.structs.replace(made, summary=words)
            if of_rows and made.table is not None:
                words = f"table, first {described(len(value), value.shape[1], ())} of {of_rows:,}"
                table = msgspec.structs.replace(made.table, of_rows=of_rows)
                made = msgspec.structs.replace(made, summary=words, table=table)
            admitted = self._stage.products.admit(kind, msgspec.structs.replace(made, name=name))
            if isinstance(admitted, Packed) and not self._stage.closed:
                made = self._stage.redacting.packed(admitted)
                event = stored(made, self._stage.files, call_id=self.call_id)
                self._on_the_loop(self._keep, event)
        except LoomError as error:
            return error.title
        return admitted if isinstance(admitted, str) else ""

    def _show(self, event: CallOutput) -> None:
        if not self._stage.closed:
            if self._ready.live is None:
                self._ready.live = Live(self._stage.redacting, self._stage.run.stream, event.call_id)
            self._ready.live.feed(event.text)

    def _keep(self, event: Kept) -> None:
        if self._stage.closed:
            return
        view, event = self._stage.view, self._stage.redacting.kept(event)
        if isinstance(event, PlanUpdated):
            view.plan, view.planned = event.items, len(view.conversation) - 1
        elif isinstance(event, NotesWritten):
            view.noted(event)
        elif isinstance(event, EvidenceFound):
            event = view.evidence.told(event)
        elif isinstance(event, SkillActivated):
            view.skills = with_skill(view.skills, event)
        self._stage.say(event)

    def _on_the_loop(self, act: Any, event: Any) -> None:
        loop = self._task.get_loop()
        try:
            here = asyncio.get_running_loop() is loop
        except RuntimeError:  # another thread
            here = False
        if here:
            act(event)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(act, event)
