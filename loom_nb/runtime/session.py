"""Session: one conversation, and the only writer of its log.

Runs of a session queue; sessions run side by side. Facts are shown as they happen and durable
after the next commit: before every effect, at the end of every turn, and before a run's result is
handed out. A run that ends in any way leaves a conversation that the next one can go on from.
"""

import asyncio
import dataclasses
import os
import random
import warnings
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, get_args

import msgspec

from loom_nb.errors import LeaseLost, LoomError, LoomUsageError, StoreError
from loom_nb.events import (
    Change,
    CompactionUndone,
    ContextCompacted,
    ContextMarked,
    Event,
    Grant,
    GrantRevoked,
    Kept,
    LogEntry,
    Mark,
    MessageAdded,
    Noticed,
    RunInterrupted,
    RunResumed,
    RunStarted,
    SessionOpened,
    VariablesChanged,
)
from loom_nb.inputs import Answer, RunContext, RuntimeTask, SessionConfig, Stop
from loom_nb.messages import Conversation, DataPart, FilePart, ImagePart, Message, Usage
from loom_nb.protocols import Book, Clock, Enquiry, LanguageModel, PartitionItem, Request, Spent, Store
from loom_nb.questions import Question
from loom_nb.remedies import first_of, remedies
from loom_nb.runtime.agent_description import AgentDescription
from loom_nb.runtime.artifact_files import files_beside
from loom_nb.runtime.asking import Asking
from loom_nb.runtime.beginning import Beginning, as_text, first_message, plain_metadata
from loom_nb.runtime.calls import tell
from loom_nb.runtime.clock import SYSTEM_CLOCK
from loom_nb.runtime.compaction import chosen, make_room, tried
from loom_nb.runtime.context import LEFT_OUT, Fact, View, copy_of, grown
from loom_nb.runtime.dashboard import Course, Dashboard, dashboard_of
from loom_nb.runtime.deadlines import Deadlines, deadlines_of
from loom_nb.runtime.ending import Ending, failed, is_left, settle_run, stopped, tell_safely, tell_the_end
from loom_nb.runtime.enriching import enrich, enriched, knowledge_of, seen_in
from loom_nb.runtime.fairness import FairQueue, fair_queue
from loom_nb.runtime.fork import fork, messages_of
from loom_nb.runtime.ledger import Ledger, Notes, ledger_of
from loom_nb.runtime.log import Log
from loom_nb.runtime.loop import carry_out
from loom_nb.runtime.origins import Origins
from loom_nb.runtime.output import OutputType
from loom_nb.runtime.policies import Runtime
from loom_nb.runtime.pressure import UNSEEN, budget_of, handoff
from loom_nb.runtime.quality import task_of, with_criteria
from loom_nb.runtime.recall import recall_tool
from loom_nb.runtime.redacting import Redacting
from loom_nb.runtime.restore import Past, Waiting, form_to_keep, take_up
from loom_nb.runtime.restored import keeping_the_question, restoring
from loom_nb.runtime.run import GRACE_SECONDS, Run, RunResult
from loom_nb.runtime.spending import Purse, Watched, recording_of, records
from loom_nb.runtime.stage import Meter, ModelReference, Stage
from loom_nb.runtime.tally import Tally
from loom_nb.runtime.toolkit import Toolkit
from loom_nb.runtime.turnstile import Turnstile
from loom_nb.runtime.working import around_of, begin, follow, seconds_of

MAX_KITS = 16
"""Agents whose tools and capabilities a session keeps open; each run may name another agent."""

_Watch = asyncio.TimerHandle | asyncio.Future[None]
"""Something that goes on until it is cancelled."""


class Session:
    """One conversation. Made by `agent.session()`; it opens its log at the first run.

    Args:
        agent: who answers, where a run names nobody else.
        config: the id and metadata.
        store: where the log is kept; closed with the session only if `owns_store`.
        owns_store: whether the session opened the store for itself.
        clock: the time.
        describe: makes a data part of a named value.
        book: gives what was spent by all that use the store; without it, nobody is told.
        redacting: takes secrets out of all that is kept, shown or sent; none by default.
    """

    __slots__ = (  # of objects with more than 30 attributes, Python finds each one slowly
        "__weakref__", "_active", "_asking", "_book", "_book_of", "_clock", "_closed", "_deadlines",
        "_describe", "_empty", "_ended", "_fair", "_files", "_given_up", "_kept", "_kits", "_latest", "_log",
        "_loop", "_meter", "_models", "_noting", "_origins", "_owns_store", "_redacting", "_restored",
        "_runs", "_tally", "_turnstile", "_used", "_waiting", "agent", "conversation", "id", "metadata",
        "store", "view",
    )  # fmt: skip

    def __init__(
        self,
        agent: AgentDescription,
        config: SessionConfig,
        store: Store,
        *,
        owns_store: bool = False,
        clock: Clock | None = None,
        describe: Callable[[str, Any], DataPart] | None = None,
        book: Callable[[Store], Book] | None = None,
        redacting: Redacting | None = None,
    ) -> None:
        self.id = config.id or f"s-{os.urandom(6).hex()}"
        self.metadata = dict(config.metadata)
        self.agent = agent
        self.store = store
        self.conversation = Conversation()
        self._owns_store = owns_store
        self._files = files_beside(store)
        self._clock: Clock = clock or SYSTEM_CLOCK
        self._describe = describe or as_text
        self._redacting = redacting or Redacting()
        self._log = Log(self.id, store, self._clock, self._redacting)
        self._asking = Asking(
            self._clock,
            self.id,
            str(self.metadata.get("notebook", "")),
            store,
            self._redacting,
        )
        self._book_of = book
        self._book: Book | None = None
        self._tally = Tally()
        self._origins = Origins(self.conversation)
        self.view = View(self.conversation)
        """What of the conversation the model is shown."""
        self._restored = ""
        """The compaction by which this process restored less than all, until its first run."""
        self._noting: asyncio.Task[None] | None = None
        """Kept alive until what was noted between two runs is durable."""
        self._waiting: Waiting | None = None
        """A run of the log that waits for a person and was begun by another process."""
        self._given_up = ""
        """The run of another process that ended here because another one began."""
        self._runs: int | None = None if config.id else 0
        """The last n of the runs called `rn`; None while the log of an old session was not asked."""
        self._ended: Collection[str] = ()
        """Of the runs in the log when it was read, those that had ended."""
        self._used: set[str] = set()
        """Ids of the runs in the log."""
        self._active: list[Run] = []
        self._meter = Meter()
        self._kept: dict[str, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turnstile: Turnstile  # this and the next two are made with the loop, in `_move_to`
        self._deadlines: Deadlines
        self._fair: FairQueue
        self._models: dict[int, tuple[ModelReference, LanguageModel]] = {}
        self._kits: dict[int, Toolkit] = {}
        """By the identity of their agents."""
        self._latest: AgentDescription = agent
        """Who carried out the latest run."""
        self._empty: Stage | None = None
        """A stage for its next run. It holds what `_open` and `_move_to` replace."""
        self._closed = False

    # -- inputs ------------------------------------------------------------------------------------

    def start(
        self,
        task: str | RuntimeTask,
        *,
        context: RunContext | None = None,
        run_id: str | None = None,
        agent: AgentDescription | None = None,
        schema: Any = None,
    ) -> Run:
        """Begin a run, or queue it behind those of this session that have not ended.

        Args:
            task: what to do.
            context: values for this run alone.
            run_id: a name for it that the session has not used; `r1`, `r2`, … by default.
            agent: answers this run in place of the session's own agent.
            schema: a type: the answer must be JSON that fits, and is `result.data`.

        Raises:
            LoomUsageError: the task or the schema is of a wrong kind, or the session is closed.
        """
        loop = asyncio.get_running_loop()
        run, work = self._enlist(loop, task, context, run_id, agent or self.agent, schema)
        run.task = loop.create_task(work)
        run.task.add_done_callback(lambda _: self._never_began(run) if run.result is None else None)
        return run

    async def run(
        self,
        task: str | RuntimeTask,
        *,
        context: RunContext | None = None,
        run_id: str | None = None,
        agent: AgentDescription | None = None,
        schema: Any = None,
    ) -> RunResult:
        """`start`, and wait for the result: the same work, without a task of its own."""
        loop = asyncio.get_running_loop()
        run, work = self._enlist(loop, task, context, run_id, agent or self.agent, schema)
        run.task = asyncio.current_task(loop)
        await work
        assert run.result is not None  # noqa: S101  every run that ends has one
        return run.result

    def _enlist(
        self,
        loop: asyncio.AbstractEventLoop,
        task: str | RuntimeTask,
        context: RunContext | None,
        run_id: str | None,
        agent: AgentDescription,
        schema: Any,
    ) -> tuple[Run, Coroutine[Any, Any, None]]:
        """A new run of this session, and the work that carries it out."""
        if self._closed:
            self._refuse_if_closed()
        message = first_message(task, context, self._describe)
        knowledge = knowledge_of(context) if context is not None else ()
        metadata = {} if isinstance(task, str) else plain_metadata(task)
        output = OutputType(schema) if schema is not None else None
        if loop is not self._loop:
            self._move_to(loop)
        if self._runs is None:
            self._runs = _last_number(self.store, self.id)
        self._runs += 1
        run = Run(
            self.id,
            run_id or f"r{self._runs}",
            agent.model.name,
            loop,
            self._log,
            agent.name,
            self._asking.place,
        )
        self._active.append(run)
        form = None if output is None else form_to_keep(output)
        return run, self._drive(run, agent, Beginning(message, metadata, form, knowledge), output)

    async def stream(self, task: str | RuntimeTask, **options: Any) -> AsyncIterator[Event]:
        """`start`, and every event as it happens. Leaving the iteration early stops the run."""
        run = self.start(task, **options)
        try:
            async for event in run.events():
                yield event
        finally:
            if not run.done:
                run.stop("nobody listens any more")
            await run.wait()

    async def preview(
        self,
        task: str | RuntimeTask,
        *,
        context: RunContext | None = None,
        agent: AgentDescription | None = None,
        schema: Any = None,
        after: Sequence[Fact] = (),
    ) -> tuple[Request, bytes]:
        """The first request of a run of this task, and the exact body it would be sent as. Sends nothing.

        `after` are facts that would be taken before, as `leave_out(…, preview=True)` gives them.
        """
        self._refuse_if_closed()
        agent = agent or self.agent
        message, _ = await self._redacting.asked(first_message(task, context, self._describe))
        output = OutputType(schema) if schema is not None else None
        async with self._opened():
            kit = await self._kit(agent)
            knowledge = knowledge_of(context)
            known = await self._known_of(agent, kit, message, knowledge)
            request, _ = self._first_request(agent, kit, kit.partitions(), (message, *known), output, after)
            return request, self._model(agent.model).encode(request)

    def _view_after(self, facts: Sequence[Fact]) -> View:
        """What the model would be shown after these; the view itself where there are none."""
        view = copy_of(self.view) if facts else self.view
        if facts:
            view.take(*facts)
        return view

    def _first_request(
        self,
        agent: AgentDescription,
        kit: Toolkit,
        partitions: tuple[PartitionItem, ...],
        messages: tuple[Message, ...],
        output: OutputType | None,
        after: Sequence[Fact] = (),
    ) -> tuple[Request, View]:
        """What a run that begins with these messages would send first, and its view before them."""
        message = messages[0]
        view = self._begun(message, after)
        request = self._request(agent, kit, partitions, view.shown.edited([*view.shown, *messages]), output)
        if self._waiting is not None and view.numbers and kit.get("recall") is None:  # as `_restore` does
            request.tools = (*request.tools, recall_tool(view))
        request.system = with_criteria(request.system, agent.runtime.gate, task_of(message))
        origins = self._origins if view.conversation is self.conversation else Origins(view.conversation)
        begun: list[Kept] = [RunStarted(agent.model.name, message.text), *map(MessageAdded, messages)]
        begin(request, agent.runtime, view, origins, begun)
        return request, view

    async def _known_of(
        self, agent: AgentDescription, kit: Toolkit, message: Message, knowledge: Sequence[Any] = ()
    ) -> tuple[Message, ...]:
        """What capabilities would add to a run that begins with this message."""
        if not kit.enriching and not knowledge:
            return ()
        enquiry = self._enquiry(agent, message, preview=True)
        known, _ = await enriched(kit, enquiry, self._redacting, knowledge)
        return () if known is None else (known,)

    def _enquiry(
        self, agent: AgentDescription, message: Message, run: Run | None = None, *, preview: bool = False
    ) -> Enquiry:
        messages = self.conversation.messages
        hidden = [messages[one] for one, mark in self.view.marks.items() if mark == "hidden"]
        notebook, seen = self._asking.notebook, seen_in([*self.view.shown, *hidden])  # it is not brought back
        number = (self.view.evidence.copy() if preview else self.view.evidence).number
        name, cell = (run.id, run.cell) if run is not None else ("", "")
        return Enquiry(message.text, self.id, name, notebook, agent.name, cell, preview, seen, number)

    def _request(
        self,
        agent: AgentDescription,
        kit: Toolkit,
        partitions: tuple[PartitionItem, ...],
        conversation: Conversation,
        output: OutputType | None,
        run: Run | None = None,
    ) -> Request:
        """A request of an agent: its instructions, what its capabilities add, and no secret in them."""
        system = agent.instructions
        if partitions:
            system = "\n\n".join([text for text in (system, *[item.text for item in partitions]) if text])
        if self._redacting.known.redactor is not None:
            system = self._redacting.words(system)
        form = output.schema if output is not None else None
        return Request(system, conversation, kit.tools, agent.generation, form, None, run)

    def _begun(self, message: Message, after: Sequence[Fact]) -> View:
        """The view as `_begin` would leave it before this message, in the same order; nothing is kept."""
        view, restored = self._view_after(after), self._restored
        policy = self.agent.runtime.session_restore
        if self._waiting is not None:
            closing = [event.message for event in self._waiting.repairs if isinstance(event, MessageAdded)]
            view = grown(view, closing)
            left = restoring(view, policy)
            restored = left.id if left is not None else ""
            if left is not None:
                view.take(left)
        facts = keeping_the_question(view, policy, restored, message)
        if facts:
            view = copy_of(view)
            view.take(*facts)
        return view

    async def resume(self, run_id: str, *, agent: AgentDescription | None = None) -> Run:
        """Take up the last run, whose process ended before it did.

        What it asked is open again, and answers may be sent before or after. What it had done is not
        done twice; about a call that ran at the end a person is asked, unless its tool is idempotent.

        Raises:
            LoomUsageError: it is not the last run of this session, or it has ended.
            SessionBusy: another process has the session.
        """
        async with self._opened():
            past = self._waiting
        if past is None or past.run != run_id:
            waits = f"{past.run} was interrupted" if past is not None else "none of its runs was interrupted"
            raise LoomUsageError(f"run {run_id} of session {self.id} cannot be resumed", cause=waits)
        if any(run.id == run_id for run in self._active):
            cause = "it is being resumed already"
            raise LoomUsageError(f"run {run_id} of session {self.id} cannot be resumed", cause=cause)
        agent = agent or self.agent
        loop = asyncio.get_running_loop()
        run = Run(self.id, run_id, agent.model.name, loop, self._log, agent.name, self._asking.place)
        run.entries = list(past.entries)
        self._active.append(run)
        run.task = loop.create_task(self._drive(run, agent, past, past.output))
        run.task.add_done_callback(lambda _: self._never_began(run) if run.result is None else None)
        return run

    def send(self, what: Stop | Answer) -> None:
        """Give the session an input, from any thread.

        A `Stop` ends all its runs, also those that wait. An `Answer` wakes the run that asked.

        Raises:
            AnswerRefused: the answer does not fit, comes too late, or nothing of that id was asked.
        """
        if isinstance(what, Answer):
            self._asking.take(what)
            return
        for run in tuple(self._active):
            run.stop(what.reason)

    def attend(self) -> Callable[[], None]:
        """A face connects that shows questions to a person; gives the way to leave.

        While there is one, a question waits for its answer; without one it is decided at once, unless
        the policy says to wait.
        """
        return self._asking.attend()

    @property
    def questions(self) -> list[Question]:
        """What waits for a person, oldest first."""
        return self._asking.questions

    def revoke(self, grant: Grant) -> None:
        """Take back a leave that an answer gave."""
        self._asking.revoke(grant)
        self._keep(GrantRevoked(grant))
        if not self._log.commit_now():
            self._commit_soon()

    # -- what the model is shown -------------------------------------------------------------------

    async def ledger(
        self,
        task: str | RuntimeTask | None = None,
        *,
        agent: AgentDescription | None = None,
        schema: Any = None,
        notes: Notes | None = None,
        after: Sequence[Fact] = (),
    ) -> Ledger:
        """What the next request is made of, and what is left out of it.

        Args:
            task: what it would be asked; None: all that stands before the prompt.
            agent: who would answer; the session's own by default.
            schema: the form that the answer would have.
            notes: what is known of parts of the conversation besides.
            after: with a task, facts that would be taken before, as for `preview`.
        """
        agent = agent or self.agent
        output = OutputType(schema) if schema is not None else None
        message = first_message(task, None, self._describe) if task is not None else None
        async with self._opened():
            kit = await self._kit(agent)
            partitions = kit.partitions()
            if message is not None:
                message, _ = await self._redacting.asked(message)
                messages = (message, *await self._known_of(agent, kit, message))
                request, view = self._first_request(agent, kit, partitions, messages, output, after)
            else:
                view = self._view_after(after)
                request = self._request(agent, kit, partitions, view.shown, output)
                begin(request, agent.runtime, view, self._origins)
            answer = agent.generation.max_output_tokens
            budget = budget_of(agent.runtime.context, agent.model.window, answer, self._meter.limit)
            exact = self._meter.exact and not after
            counted = self._meter.counted + self._meter.working if exact else None
            return ledger_of(request, view, partitions, budget=budget, counted=counted, notes=notes)

    async def dashboard(self) -> Dashboard:
        """Where the latest run stands, also while it works, and where no request holds it.

        Raises:
            SessionBusy: another process has the session.
        """
        if not self._active:
            async with self._opened():
                pass
        entries = self.events()
        course = Course.of(entry.event for entry in entries)
        around = around_of(self._latest.runtime, self._origins.kinds, seconds_of(entries, self._clock.now()))
        return dashboard_of(course, self.view, around)

    async def compact(
        self, strategy: str | None = None, *, agent: AgentDescription | None = None, preview: bool = False
    ) -> list[ContextCompacted]:
        """Show the model less of the conversation from the next request on; waits for a run to end.

        Args:
            strategy: the name of one step of the ladder; None takes step after step, mildest first,
                until half is left.
            agent: whose ladder and model are used.
            preview: only say what would be done.

        Raises:
            LoomUsageError: the ladder has no such strategy.
            ModelError: a handoff was to be written and the call failed.
        """
        agent = agent or self.agent
        ladder = chosen(agent.runtime.context, strategy)
        async with self._opened():
            tokens = max(self.view.tokens, 1)
            view = copy_of(self.view)  # a handoff that fails leaves all as it was
            purse = self._purse(
                agent, lambda words: warnings.warn(words, RuntimeWarning, stacklevel=2), Spent()
            )
            model = Watched(self._model(agent.model), agent.model, purse, lambda request: request.tokens)
            protocol = dataclasses.replace(agent.runtime.context, keep_turns=1)
            spent = Usage()

            async def summarise(text: str) -> str:
                nonlocal spent
                reply, _ = await handoff(model, agent.generation, agent.runtime.continuity, tokens, text)
                spent += reply.usage
                return reply.message.text.strip()

            situation = protocol.situation(view, agent.runtime.context.budget or tokens, summarise)
            target = 1 if strategy else tokens // 2
            taken = await make_room(situation, ladder, tokens, target, "asked for")
            taken = [msgspec.structs.replace(one, usage=spent) if one.handoff else one for one in taken]
            if not preview:
                self._take(*taken)
                self._offer_recall()
                self._commit_soon()
            return taken

    async def leave_out(
        self, run_id: str, *, later: bool = False, reason: str = "asked for", preview: bool = False
    ) -> ContextCompacted | None:
        """Show the model nothing of a run from the next request on, as if it had not been; undo undoes it.

        Args:
            run_id: the run.
            later: whether to leave out as well what followed it.
            reason: for the event.
            preview: only say what would be done.

        Returns:
            The event, or None where the model is shown nothing of it as it is.

        Raises:
            LoomUsageError: there is no such run, or it has not ended.
        """
        async with self._opened():
            await self._log.commit()
            found = messages_of(self.store.read(self.id), run_id)
            if found is None:
                raise LoomUsageError(f"session {self.id} has no run {run_id}")
            if self._waiting is not None and (later or self._waiting.run == run_id):
                raise LoomUsageError(
                    f"run {self._waiting.run} was interrupted and may be resumed",
                    fixes=["resume it, or begin another one"],
                )
            if any(run.id == run_id for run in self._active):
                raise LoomUsageError(f"run {run_id} has not ended")
            last = len(self.conversation) - 1 if later else found[1]
            left = self._shown_less(LEFT_OUT, (Change(found[0], last),), reason)
            if left is not None and not preview:
                self._take(left)
                self._commit_soon()
            return left

    async def fork(self, into: str = "", *, before: str = "", through: str = "") -> str:
        """Copy the log into a new session of the same store, and give its id for `agent.session`.

        Args:
            into: the id of the copy; a new one by default.
            before: a run: the copy ends before it.
            through: a run: the copy ends with it.

        Raises:
            LoomUsageError: there is no such run, or a session `into` exists.
        """
        into = into or f"{self.id}-{os.urandom(3).hex()}"
        async with self._opened():
            await self._log.commit()
            await asyncio.to_thread(fork, self.store, self.id, into, before=before, through=through)
        return into

    async def undo_compaction(self, name: str = "", *, first: int | None = None) -> CompactionUndone:
        """Show the model again what a compaction took away; the latest one, where none is named.

        Args:
            name: its id, `c3`.
            first: only the change that begins at this message, counted from 0.

        Raises:
            LoomUsageError: there is nothing of that name to undo.
        """
        async with self._opened():
            known = self.view.compactions
            name = name or next(reversed([*known]), "")
            firsts = [change.first for change in known[name].changes] if name in known else []
            if name not in known or (first is not None and first not in firsts):
                what = f"no compaction '{name}' is in force" if name else "nothing was compacted"
                raise LoomUsageError(what, cause=f"in force: {', '.join(known) or 'none'}")
            undone = CompactionUndone(name, first)
            self._take(undone)
            self._commit_soon()
            return undone

    async def compact_again(self, name: str, changes: tuple[Change, ...]) -> ContextCompacted | None:
        """Put changes that were undone in force again, as a new compaction; None where nothing follows.

        Those that tell of what was withheld after they were made stay undone.

        Args:
            name: of the compaction whose they were, `c3`.
            changes: of it.

        Raises:
            LoomUsageError: nothing of that name was undone.
        """
        async with self._opened():
            known = self.view.undone.get(name)
            if known is None:
                raise LoomUsageError(f"nothing of a compaction '{name}' was undone")
            whole = self.view.told_since(msgspec.structs.replace(known, changes=changes))
            compacted = self._show_less(known.strategy, whole, "its undoing was taken back", known.tells)
            self._commit_soon()
            return compacted

    async def mark(self, message: int, mark: Mark | None) -> None:
        """Keep a message from compaction ("pinned"), or from the model ("hidden"); None takes it off.

        Args:
            message: its number in the conversation, counted from 0.
            mark: what it is marked with.

        Raises:
            LoomUsageError: there is no such message, or no such mark.
        """
        await self.mark_all((message,), mark)

    async def mark_all(self, messages: Sequence[int], mark: Mark | None) -> None:
        """`mark`, of several messages: all of them or, where there is one that is not, none."""
        if mark not in (None, *get_args(Mark)):
            raise LoomUsageError(
                f"a message is not marked {mark!r:.80}", fixes=[f"{one!r}" for one in (*get_args(Mark), None)]
            )
        async with self._opened():
            wrong = next((one for one in messages if not 0 <= one < len(self.conversation)), None)
            if wrong is not None:
                raise LoomUsageError(
                    f"there is no message m{wrong + 1}",
                    cause=f"this conversation has {len(self.conversation)} messages",
                )
            self._take(*(ContextMarked(one, mark) for one in messages))
            self._commit_soon()

    def _show_less(
        self,
        strategy: str,
        changes: tuple[Change, ...],
        reason: str,
        tells: tuple[tuple[int, int], ...] = (),
    ) -> ContextCompacted | None:
        """Put changes in force, unless nothing would be sent in another way."""
        compacted = self._shown_less(strategy, changes, reason, tells)
        if compacted is not None:
            self._take(compacted)
        return compacted

    def _shown_less(
        self,
        strategy: str,
        changes: tuple[Change, ...],
        reason: str,
        tells: tuple[tuple[int, int], ...] = (),
    ) -> ContextCompacted | None:
        """What puts changes in force; None where nothing would be sent in another way."""
        compacted, after = tried(self.view, strategy, changes, self.view.tokens, reason, tells)
        return None if list(after.shown) == list(self.view.shown) else compacted

    def _take(self, *facts: Fact) -> None:
        """Show the model what follows from facts, and keep them."""
        before = self.view.tokens
        self.view.take(*facts)
        self._meter.shrunk(before - self.view.tokens)
        for fact in facts:
            self._keep(fact)

    def _offer_recall(self) -> None:
        """What is not shown any more can be read again, in all toolkits, as the view is now."""
        for kit in self._kits.values():
            kit.view = self.view
            if self.view.numbers:
                kit.offer(recall_tool(self.view))

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        """Between two runs, with the log open."""
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        async with self._turnstile:
            await self._open()
            yield

    def note(self, event: GrantRevoked | VariablesChanged | Fact) -> None:
        """Keep a fact that happened between two runs. It is durable with the next run, or with `close`.

        Raises:
            LoomUsageError: nothing has run in this session yet, so that it has no log.
        """
        self._keep(event)
        self._commit_soon()

    def _keep(self, event: GrantRevoked | VariablesChanged | Fact) -> None:
        if not self._log.is_open:
            raise LoomUsageError(f"session {self.id} has no log yet", fixes=["run something in it first"])
        self._log.note("", event)

    def _commit_soon(self) -> None:
        with suppress(RuntimeError):  # without a loop it waits for the next run
            self._noting = asyncio.get_running_loop().create_task(self._log.commit())
            self._noting.add_done_callback(_look_away)  # the next commit meets the same trouble, and tells it

    async def close(self) -> None:
        """Stop what runs, let go of models, capabilities and the log. May be called twice."""
        self._closed = True
        for run in tuple(self._active):
            run.stop("the session was closed")
        others = [run.ended for run in self._active if run.task is not asyncio.current_task()]
        if others:
            await asyncio.wait(others, timeout=GRACE_SECONDS)
        opened: list[Toolkit | LanguageModel] = list(self._kits.values())
        opened += [model for _, model in self._models.values()]
        self._empty = None
        self._kits.clear()
        self._models.clear()
        try:
            for one in opened:
                await _close(one)
            if self._log.is_open:
                await self._log.commit()
        finally:
            self._log.close()
            if self._owns_store:
                self.store.close()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise LoomUsageError(f"session {self.id} is closed", fixes=["agent.session() opens another"])

    async def __aenter__(self) -> "Session":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def events(self) -> list[LogEntry]:
        """The log so far."""
        kept = list(self.store.read(self.id))
        last = kept[-1].seq if kept else 0  # a commit that is under way may have kept what is still pending
        return [*kept, *(entry for entry in self._log.pending if entry.seq > last)]

    def __repr__(self) -> str:
        return f"<Session {self.id} · {len(self.conversation)} messages>"

    # -- one run -----------------------------------------------------------------------------------

    async def _drive(
        self,
        run: Run,
        agent: AgentDescription,
        work: Beginning | Waiting,
        output: OutputType | None,
    ) -> None:
        """Carry out one run, from its beginning or from where it waited. It gets a result in any case."""
        ending = Ending()
        try:
            if self._turnstile.must_wait():  # for the run before, and for other sessions
                await self._turnstile.turn()
            stage: Stage | None = None
            watches: Sequence[_Watch] = ()
            try:
                try:
                    if not self._log.is_open:
                        await self._open()
                    limit = agent.runtime.limits.timeout
                    watches = self._watch(run, limit) if self.store.durable or limit is not None else ()
                    if (careful := self._set_out(run, work, agent)) is not None:
                        work = await careful
                    known = self._empty if agent is self._latest else None
                    empty = known or await self._empty_stage(agent)
                    stage = self._set_stage(empty, run, agent, work, output)
                    if stage.hooks.given or empty.kit.enriching or work.knowledge:
                        await self._prepare(stage, agent, work)
                    ending.finished = await carry_out(stage)
                    ending.value = stage.value
                except asyncio.CancelledError as stop:
                    ending.cancelled = stop
                    ending.finished = stopped(stage, run)
                except Exception as failure:  # noqa: BLE001  the border: a failure becomes the run's last event
                    ending.error = failure
                    ending.finished = failed(stage, failure)
                finally:
                    for watch in watches:
                        watch.cancel()
                if not self._end_at_once(stage, run, ending):
                    await self._end(stage, run, work, ending)
            finally:
                self._turnstile.leave()
        except asyncio.CancelledError as stop:  # it was still waiting in the queue
            ending.cancelled = stop
            ending.finished = stopped(None, run)
        finally:
            self._hand_out(run, ending)
        _pass_on(ending.cancelled, run)

    async def _prepare(self, stage: Stage, agent: AgentDescription, work: Beginning | Waiting) -> None:
        """Before the first turn: add what capabilities know of the task, and tell the hooks."""
        if isinstance(work, Beginning) and (stage.kit.enriching or work.knowledge):
            await enrich(stage, self._enquiry(agent, work.message, stage.run), work.knowledge)
        if stage.hooks.given:
            await tell(stage, "before_run", goal=work.goal)

    def _hand_out(self, run: Run, ending: Ending) -> None:
        if run in self._active:
            self._active.remove(run)
        entries = tuple(run.entries)
        run.end(
            RunResult(
                run.id, self.id, run.model, ending.finished, entries, ending.value, ending.error, self._files
            )
        )

    def _never_began(self, run: Run) -> None:
        """Its task was cancelled before its first step."""
        self._hand_out(run, Ending(stopped(None, run)))

    def _watch(self, run: Run, limit: float | None) -> Sequence[_Watch]:
        """Beside a run, until cancelled: its time limit, and the word to others that its writer lives."""
        watches: list[_Watch] = []
        if limit is not None:
            watches.append(asyncio.get_running_loop().call_later(limit, run.expire))
        if self.store.durable:
            watches.append(asyncio.ensure_future(self._log.renew()))
        return watches

    def _set_out(
        self, run: Run, work: Beginning | Waiting, agent: AgentDescription
    ) -> Coroutine[Any, Any, Beginning | Waiting] | None:
        """Say that the run begins or goes on; gives what is to be awaited for that, where anything is."""
        if isinstance(work, Waiting):
            return self._go_on(run, work)
        if self.store.durable or self._redacting.doubts(work.message):
            return self._begin_with_care(run, work, agent)
        self._begin(run, work, agent)
        return None

    async def _begin_with_care(self, run: Run, work: Beginning, agent: AgentDescription) -> Beginning:
        """Say that the run begins, where its prompt may hold secrets or its beginning has to be on disk."""
        message, told = await self._redacting.asked(work.message)
        work = Beginning(message, work.metadata, work.form, work.knowledge, told)
        self._begin(run, work, agent)
        if self.store.durable:
            await self._commit_beginning(run)
        return work

    def _set_stage(
        self,
        empty: Stage,
        run: Run,
        agent: AgentDescription,
        work: Beginning | Waiting,
        output: OutputType | None,
    ) -> Stage:
        """The stage of a run that has begun, or goes on."""
        partitions = empty.kit.partitions()
        request = self._request(agent, empty.kit, partitions, self.view.shown, output, run)
        stage = empty.entered(run, request, output, partitions)
        self._meter.working = 0
        if agent.runtime.context.dashboard:
            follow(stage, run.entries)
        if self._meter.limit is not None:
            stage.room = 0
        if isinstance(work, Waiting):
            take_up(stage, work)
        if stage.counted:
            stage.purse = self._purse(agent, lambda words: run.say(Noticed(words, "warning")), stage.spent())
            stage.model = stage.watched(stage.model, agent.model)
        return stage

    async def _go_on(self, run: Run, work: Waiting) -> Waiting:
        """Say that a run goes on which another process began."""
        if work.run == self._given_up:
            raise LoomUsageError(f"run {work.run} cannot be resumed", cause="another run began before it")
        self._redacting.known.refresh()
        self._waiting = None  # not sooner: a run that is stopped before its turn can be resumed again
        run.say(RunResumed())
        if work.told is not None:
            run.say(work.told)
        await self._log.commit()
        return work

    def _purse(self, agent: AgentDescription, tell: Callable[[str], None], spent: Spent) -> Purse:
        """What a run of an agent may spend."""
        if self._book is None and self._book_of is not None:
            self._book = self._book_of(self.store)
        return Purse(agent.runtime.caps, self._book, self._asking.place, self._clock.now, tell, spent)

    def _close_waiting(self, run: Run, past: Beginning | Waiting) -> None:
        """A run that could not be taken up: its calls get results and its questions an end."""
        if not isinstance(past, Waiting) or past.run == self._given_up:
            return
        self._waiting = None
        self._asking.forget_waiting()
        for event in past.repairs:
            if isinstance(event, RunInterrupted):
                continue
            run.say(event)
            if isinstance(event, MessageAdded):
                self._add(event.message)

    def _give_up_waiting(self, past: Waiting) -> None:
        """A run that waited for a person ends here, because another one begins."""
        self._waiting, self._given_up = None, past.run
        self._asking.forget_waiting()
        for event in past.repairs:
            self._log.note(past.run, event)
            if isinstance(event, MessageAdded):
                self._add(event.message)
        self._restore()

    def _begin(self, run: Run, work: Beginning, agent: AgentDescription) -> None:
        if self._waiting is not None:
            self._give_up_waiting(self._waiting)
        message = work.message
        if self._restored:
            restored, self._restored = self._restored, ""
            self._take(
                *keeping_the_question(self.view, self.agent.runtime.session_restore, restored, message)
            )
        if run.id in self._used:
            self._rename(run)
        self._used.add(run.id)
        self.view.skills = ()
        run.say(RunStarted(run.model, message.text, work.metadata, work.form))
        if len(message.parts) > 1 and any(isinstance(part, ImagePart | FilePart) for part in message.parts):
            # what the model cannot take is refused here: in the conversation it would be sent ever again
            self._model(agent.model).encode(Request("", Conversation([message])))
        self._add(message)
        run.say(MessageAdded(message))
        if work.told:
            run.say(Noticed(work.told, "warning"))

    async def _commit_beginning(self, run: Run) -> None:
        """The run is on disk from here on."""
        try:
            await self._log.commit()
        except LeaseLost:  # another process wrote here since our last commit: read what it added, once
            mine, stale = run.id, self._log.lost()
            run.entries.clear()
            await self._open()
            if run.id in self._used:
                self._rename(run)
            self._used.add(run.id)
            known = len(self.conversation)
            for entry in stale:
                if entry.run not in (mine, "") and entry.run in self._ended:
                    continue  # the other process has ended that run
                if isinstance(entry.event, ContextCompacted | CompactionUndone | ContextMarked):
                    self._take_again(entry.event, known)
                    continue
                again = self._log.note(run.id if entry.run == mine else entry.run, entry.event)
                if entry.run == mine:
                    run.entries.append(again)
                if isinstance(entry.event, MessageAdded):
                    self._add(entry.event.message)
            await self._log.commit()

    def _take_again(self, fact: Fact, known: int) -> None:
        """A fact that was not on disk when another process wrote; if its messages moved it is dropped."""
        match fact:
            case ContextCompacted(changes=changes) if all(change.last < known for change in changes):
                fact = msgspec.structs.replace(fact, id=f"c{self.view.numbers + 1}")
            case CompactionUndone(id=name) if name in self.view.compactions:
                pass
            case ContextMarked(message=number) if number < known:
                pass
            case _:
                return
        self.view.take(fact)
        self._log.note("", fact)

    def _rename(self, run: Run) -> None:
        """A run whose id the log has already, from another process, takes the next free one."""
        taken = (int(name[1:]) for name in self._used if name[:1] == "r" and name[1:].isdecimal())
        self._runs = max(taken, default=0) + 1
        run.id = f"r{self._runs}"

    def _end_at_once(self, stage: Stage | None, run: Run, ending: Ending) -> bool:
        """Do what `_end` does, where nothing of it takes time; whether that was so."""
        if stage is None or run.unless is not None or stage.hooks.given:
            return False
        redacting = self._redacting  # not `at_work`: it is asked here each time
        if redacting.known.redactor is not None or redacting.others.in_use:
            return False
        if self.store.durable or run.id == self._given_up:
            return False
        settle_run(stage, run, ending)
        run.entries.append(self._log.note(run.id, ending.finished))
        try:
            self._log.commit_now()
        except Exception as refused:  # noqa: BLE001  the border: what was said stays pending until it is taken
            self._not_kept(run, ending, refused)
        return True

    async def _end(self, stage: Stage | None, run: Run, work: Beginning | Waiting, ending: Ending) -> None:
        """Settle the conversation and keep the end; a store that refuses makes the run a failure."""
        if run.unless is not None and await is_left(run.unless, ending):
            return
        if stage is None:
            self._close_waiting(run, work)
        else:
            settle_run(stage, run, ending)
            if stage.hooks.given:
                try:
                    await tell_the_end(stage, run, ending)
                except asyncio.CancelledError as stop:
                    ending.cancelled = stop
        if not self._log.is_open or run.id == self._given_up:  # that one has its end in the log
            return
        if self._redacting.at_work:
            await tell_safely(ending, self._redacting)
        run.entries.append(self._log.note(run.id, ending.finished))
        try:
            if self.store.durable or not self._log.commit_now():
                await self._log.commit()
        except asyncio.CancelledError as stop:  # the commit has been made all the same
            ending.cancelled = stop
        except Exception as refused:  # noqa: BLE001  the border: what was said stays pending until it is taken
            self._not_kept(run, ending, refused)

    def _not_kept(self, run: Run, ending: Ending, refused: Exception) -> None:
        """The store refused the end of a run, which makes it a failure."""
        reason = refused.title if isinstance(refused, LoomError) else f"{type(refused).__name__}: {refused}"
        fixes = first_of(refused.fixes if isinstance(refused, LoomError) else (), remedies("failed", "store"))
        ending.finished = msgspec.structs.replace(
            ending.finished, status="failed", fault="store", reason=reason, fixes=fixes
        )
        run.entries[-1] = self._log.renote(ending.finished)
        ending.error = refused

    async def _empty_stage(self, agent: AgentDescription) -> Stage:
        """What all runs of an agent in this session have in common; kept for its next one."""
        model, kit = self._model(agent.model), await self._kit(agent)
        governance = agent.runtime.governance
        self._latest = agent
        stage = self._empty = Stage(
            session=self.id,
            model=model,
            kit=kit,
            runtime=agent.runtime,
            governance=governance.with_rules(*kit.rules) if kit.rules else governance,
            commit=self._log.commit if self.store.durable else None,
            clock=self._clock,
            deadlines=self._deadlines,
            fair=self._fair,
            hooks=agent.hooks,
            asking=self._asking,
            redacting=self._redacting,
            origins=self._origins,
            tally=self._tally,
            agents=agent.tally,
            meter=self._meter,
            view=self.view,
            room=self._unseen(agent.runtime),
            reference=agent.model,
            recorded=recording_of(model),
            counted=self.store.durable or bool(agent.runtime.caps) or records(model),
            random=random.random,
            request=_NO_REQUEST,
            files=self._files,
            agent=agent.name,
        )
        return stage

    def _unseen(self, runtime: Runtime) -> int:
        """Tokens of a request that nothing is asked about."""
        if runtime.context.budget is not None or self._meter.limit is not None:
            return 0
        return min(UNSEEN, runtime.preflight.above or UNSEEN)

    # -- what is opened ----------------------------------------------------------------------------

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Locks, timers and clients belong to the loop in which they were made: another one gets new ones."""
        if self._loop is not None and any(not run.done for run in self._active):
            raise LoomUsageError(
                f"session {self.id} runs in another event loop", fixes=["wait for its run first"]
            )
        if self._loop is not None:
            self._models.clear()
            self._kits.clear()
            self._empty = None
        self._loop = loop
        self._deadlines = deadlines_of(loop)
        self._fair = fair_queue(loop)
        self._turnstile = Turnstile(self._fair)

    def _model(self, reference: ModelReference) -> LanguageModel:
        opened = self._models.get(id(reference))
        if opened is None:
            opened = self._models[id(reference)] = (reference, reference.open())
        return opened[1]

    async def _kit(self, agent: AgentDescription) -> Toolkit:
        known = self._kits.get(id(agent))
        if known is None:
            while len(self._kits) >= MAX_KITS:  # runs queue: nobody uses another agent's tools now
                oldest = self._kits.pop(next(iter(self._kits)))
                if self._empty is not None and self._empty.kit is oldest:
                    self._empty = None
                await oldest.close()
            opened = [(one.name, await one.open()) for one in agent.capabilities]
            known = self._kits[id(agent)] = Toolkit(agent, opened, self._kept, self.view)
            if self.view.numbers:
                known.offer(recall_tool(self.view))
        return known

    async def _open(self) -> None:
        """Become the writer of the log and take over what it holds."""
        if self._log.is_open:
            return
        past = await self._log.open()
        if past is not None or len(self.conversation):
            self._take_over(past or Past())
        if past is None:
            self._log.note("", SessionOpened(metadata=self.metadata))

    def _take_over(self, past: Past) -> None:
        """Stand where the log ends, and make it whole."""
        self._empty = None
        self.conversation = past.conversation
        self._origins = Origins(past.conversation)
        self.view = View(past.conversation, plan=past.plan, planned=past.planned, notes=past.notes)
        self.view.evidence = past.evidence
        self.view.skills = past.skills
        if past.context:
            self.view.take(*past.context)
        self._tally = past.tally
        self._waiting = past.waiting
        self._asking.remember(past.asked, past.waiting.questions if past.waiting is not None else ())
        self._meter = past.meter
        if any(isinstance(fact, CompactionUndone | ContextMarked) for fact in past.context):
            self._meter = Meter(self.view.tokens, sent=past.meter.sent)
        self._ended = past.ended
        self._offer_recall()
        self._kept.update(past.kept)
        self._used = past.runs
        for run_id, event in past.repairs:
            self._log.note(run_id, event)
            if isinstance(event, MessageAdded):
                self._add(event.message)
        if past.waiting is None:
            self._restore()

    def _restore(self) -> None:
        """Leave out of what an earlier process left whatever the policy does not want."""
        left = restoring(self.view, self.agent.runtime.session_restore)
        self._restored = left.id if left is not None else ""
        if left is not None:
            self._take(left)
            self._offer_recall()

    def _add(self, message: Message) -> None:
        self.view.add(message)
        self._meter.tail += (message,)


_NO_REQUEST = Request("", Conversation())
"""On a stage that no run has entered."""


async def _close(one: Toolkit | LanguageModel) -> None:
    """Close something that a session opened; what goes wrong there must not cost a result."""
    try:
        async with asyncio.timeout(GRACE_SECONDS):
            await one.close()
    except Exception as error:  # noqa: BLE001  the border: it is told, and the others are closed too
        warnings.warn(
            f"closing {one!r} failed: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2
        )


def _pass_on(cancelled: asyncio.CancelledError | None, run: Run) -> None:
    """Raise a cancellation, where there was one, unless it was our own way to stop the run."""
    if cancelled is None:
        return
    task = asyncio.current_task()
    if run.stop_reason is None or task is None:
        raise cancelled
    task.uncancel()


def _look_away(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()


def _last_number(store: Store, session: str) -> int:
    """The highest n of the latest runs called `rn`. A store in trouble tells it when the run begins."""
    try:
        names = [row.run for row in store.runs(session, limit=100)]
    except StoreError:
        return 0
    return max((int(name[1:]) for name in names if name[:1] == "r" and name[1:].isdecimal()), default=0)
