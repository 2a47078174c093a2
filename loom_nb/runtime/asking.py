"""The open questions of a session: who may answer, how long, and what an answer is bound to.

A question is kept before anybody is waited for; an answer wakes its run at once, from any thread; the
first one that fits counts. Leaves that reach further than one call are read from the log.
"""

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import msgspec

from loom_nb.errors import AnswerRefused
from loom_nb.events import Grant, GrantRevoked, Kept, Noticed, QuestionAnswered, QuestionAsked
from loom_nb.inputs import Answer
from loom_nb.messages import canonical
from loom_nb.protocols import Clock, Store
from loom_nb.questions import Decision, Question, checked, misfits, without_secrets
from loom_nb.runtime.redacting import Redacting
from loom_nb.tools import Tool

MAX_GRANTS = 1_000
"""Questions and answers that are looked through for leaves that hold here."""

How = Literal["person", "timeout", "nobody"]

CALL_LEAVE_SECONDS = 30 * 86_400.0
"""How long a leave for an exact call holds where the answer names no end."""


@dataclass(frozen=True, slots=True)
class Reply:
    """How a question ended: with the checked value of a person, or with its default."""

    how: How
    value: Any = field(repr=False)
    by: str = ""
    question: str = ""
    """The id of the question."""


@dataclass(slots=True, eq=False)
class _Open:
    question: Question
    loop: asyncio.AbstractEventLoop
    reply: "asyncio.Future[Reply]"
    default: Any
    check: Callable[[Any], str]
    taken: bool = False


_TURN = threading.Lock()
"""Of all sessions: it is held for a moment."""


class Asking:
    """The questions of one session that have no answer yet, and the leaves that hold in it.

    Args:
        clock: the time.
        place: the notebook in which leaves for exact calls hold; the session where it is empty.
        store: the questions and answers of other sessions; nobody else gave leaves where there is none.
        redacting: takes secrets out of what is asked, and learns those that are typed.
    """

    def __init__(
        self,
        clock: Clock,
        session: str,
        place: str = "",
        store: Store | None = None,
        redacting: Redacting | None = None,
    ) -> None:
        self._clock = clock
        self._redacting = redacting or Redacting()
        self.session = session
        self.place = place or session
        self._store = store
        self._open: dict[str, _Open] = {}
        self._early: dict[str, Answer] = {}
        self._waiting: tuple[Question, ...] = ()
        self._faces: set[object] = set()
        self._number = 0
        self._here: dict[tuple[str, str], tuple[str, Grant] | None] = {}
        """(key, place) -> (question, leave) of leaves given here, None for one taken back here."""

    # -- faces -------------------------------------------------------------------------------------

    @property
    def notebook(self) -> str:
        """The notebook; empty in a script."""
        return self.place if self.place != self.session else ""

    @property
    def attended(self) -> bool:
        """Whether somebody shows questions to a person."""
        return bool(self._faces)

    def attend(self) -> Callable[[], None]:
        """A face connects; gives the way to leave."""
        face = object()
        self._faces.add(face)
        return lambda: self._faces.discard(face)

    @property
    def questions(self) -> list[Question]:
        """Those without an answer, oldest first; also those of a run that waits to be resumed."""
        open_now = [one.question for one in tuple(self._open.values())]
        return open_now + [one for one in self._waiting if one.id not in self._open]

    # -- the past ----------------------------------------------------------------------------------

    def remember(self, asked: int, waiting: Iterable[Question]) -> None:
        """Take over what the log of the session says: how many were asked, and which still wait."""
        self._number = max(self._number, asked)
        self._waiting = tuple(waiting)

    def forget_waiting(self) -> tuple[Question, ...]:
        """The turn that waited is over: these of its questions were not asked again."""
        left, self._waiting = self._waiting, ()
        self._early.clear()
        return left

    # -- asking ------------------------------------------------------------------------------------

    async def ask(
        self,
        question: Question,
        say: Callable[[Kept], None],
        commit: Callable[[], Awaitable[None]] | None,
        *,
        wait: bool,
        grant: Callable[[Any], Grant | None] = lambda value: None,
        check: Callable[[Any], str] = lambda value: "",
    ) -> Reply:
        """Ask, and wait for an answer, for the time to run out or for the run to be cancelled.

        Args:
            question: without an id.
            say: keeps a fact of the run.
            commit: makes durable what was said.
            wait: whether somebody may come who answers; else the default counts at once.
            grant: the leave that an answer gives.
            check: why an answer is of no use though it fits the question; empty where it is. Called in
                the thread that answers.
        """
        question = await self._redacting.question(question)
        default = None if question.kind == "secret" else question.default
        if question.default is not None:
            question = msgspec.structs.replace(question, default=_kept(question, default))
        again = self._same_as_before(question)
        if again is None:
            self._number += 1
            letter = "a" if question.kind == "approval" else "q"
            question = msgspec.structs.replace(question, id=f"{letter}{self._number}")
        else:
            question = msgspec.structs.replace(question, id=again.id)
        loop = asyncio.get_running_loop()
        one = _Open(question, loop, loop.create_future(), default, check)
        with _TURN:
            self._open[question.id] = one
            early = self._early.pop(question.id, None)
        try:
            if again is None:
                say(QuestionAsked(question))
                if commit is not None and wait:
                    await commit()
            if early is not None:
                self._take_what_came_early(early, say)
            reply = await self._reply(one, wait=wait)
        except asyncio.CancelledError:
            say(QuestionAnswered(question.id, "cancelled"))
            raise
        finally:
            self._open.pop(question.id, None)
        if reply.how == "person":
            self._redacting.answered(question, reply.value)
        given = grant(reply.value) if reply.how == "person" else None
        say(QuestionAnswered(question.id, reply.how, _kept(question, reply.value), reply.by, given))
        if given is not None:
            self._here[given.key, given.place] = (question.id, given)
        return replace(reply, question=question.id)

    def _take_what_came_early(self, answer: Answer, say: Callable[[Kept], None]) -> None:
        try:
            self.take(answer)
        except AnswerRefused as refused:  # it is asked again, so somebody may do better
            why = f": {refused.cause}" if refused.cause else ""
            say(Noticed(f"{refused.title}{why}; the question stays open", "warning"))

    async def _reply(self, one: _Open, *, wait: bool) -> Reply:
        if one.taken:  # answered already, perhaps before the question was asked again
            return await one.reply
        if not wait:
            return Reply("nobody", one.default)
        if one.question.expires is None:
            return await one.reply
        left = max(one.question.expires - self._clock.now(), 0.0)
        timer: asyncio.Future[Any] = asyncio.ensure_future(self._clock.sleep(left))
        try:
            await asyncio.wait(
                cast("list[asyncio.Future[Any]]", [one.reply, timer]), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            timer.cancel()
        if one.reply.done():
            return one.reply.result()
        if not self._take(one):  # an answer was accepted, and is on its way
            return await one.reply
        return Reply("timeout", one.default)

    def _take(self, one: _Open) -> bool:
        """Whether it was still to be answered; from here on it is not."""
        with _TURN:
            taken, one.taken = one.taken, True
        return not taken

    def _same_as_before(self, question: Question) -> Question | None:
        """The question of a run that is being resumed which asks the very same."""
        for known in self._waiting:
            if _same(known, question):
                self._waiting = tuple([one for one in self._waiting if one is not known])
                return known
        return None

    # -- answering ---------------------------------------------------------------------------------

    def take(self, answer: Answer) -> None:
        """Answer a question. May be called from any thread.

        Raises:
            AnswerRefused: no such question is open, it was answered already, or the value does not fit.
        """
        name: object = answer.question
        if not isinstance(name, str):
            raise AnswerRefused(f"{name!r:.60} is no id of a question")
        with _TURN:
            one = self._open.get(name)
            if one is None:
                self._take_early(answer)
                return
        value = checked(one.question, answer.value)
        self._refuse(one.question, self._is_over(value) or one.check(value))
        if not self._take(one):
            raise AnswerRefused(f"question {answer.question} was answered already")
        one.loop.call_soon_threadsafe(_settle, one.reply, Reply("person", value, answer.by))

    def _take_early(self, answer: Answer) -> None:
        """Keep an answer to a question of a run that is not resumed yet."""
        known = next((known for known in self._waiting if known.id == answer.question), None)
        if known is None:
            waiting = ", ".join(question.id for question in self.questions) or "none"
            raise AnswerRefused(f"no question {answer.question} is open", cause=f"open: {waiting}")
        if known.id in self._early:
            raise AnswerRefused(f"question {answer.question} was answered already")
        value = checked(known, answer.value)
        self._refuse(known, self._is_over(value) or _misfit(known, value))
        self._early[known.id] = answer

    def _is_over(self, value: Any) -> str:
        ends = value.expires if isinstance(value, Decision) else None
        return "expires: that time has passed" if ends is not None and ends <= self._clock.now() else ""

    def _refuse(self, question: Question, why: str) -> None:
        if why:
            raise AnswerRefused(f"the answer does not fit question {question.id}", cause=why)

    # -- leaves ------------------------------------------------------------------------------------

    def granted(self, *grants: Grant) -> str:
        """The id of the question whose answer allows one of these now; empty where none does."""
        elsewhere, now = self._given_elsewhere(), self._clock.now()
        for one in grants:
            place = (one.key, one.place)
            known = self._here[place] if place in self._here else elsewhere.get(place)
            if known is None or (known[1].expires is not None and known[1].expires <= now):
                continue
            if set(one.rules) <= set(known[1].rules):
                return known[0]
        return ""

    def revoke(self, grant: Grant) -> None:
        """Take a leave back."""
        self._here[grant.key, grant.place] = None

    def _given_elsewhere(self) -> dict[tuple[str, str], tuple[str, Grant]]:
        """Leaves that logs tell of: read anew each time, for another kernel may have taken one back."""
        found: dict[tuple[str, str], tuple[str, Grant]] = {}
        over: set[tuple[str, str]] = set()
        kept = self._store.questions(limit=MAX_GRANTS) if self._store is not None else ()
        for entry in kept:  # the newest first
            match entry.event:
                case GrantRevoked(grant=grant):
                    over.add((grant.key, grant.place))
                case QuestionAnswered(question_id=asked, how="person", grant=Grant() as grant, value=value):
                    place = (grant.key, grant.place)
                    if grant.place in (self.place, self.session) and place not in over:
                        found.setdefault(place, (asked, _with_an_end(grant, value, entry.time)))
                case _:
                    pass
        return found


def _with_an_end(grant: Grant, value: Any, given: float) -> Grant:
    """A leave for an exact call that was kept when leaves had no end."""
    if grant.expires is None and isinstance(value, dict) and value.get("scope") == "call":
        return msgspec.structs.replace(grant, expires=given + CALL_LEAVE_SECONDS)
    return grant


def call_key(tool: Tool, arguments: dict[str, Any], reach: Sequence[str] = ()) -> str:
    """SHA-256 that stands for one exact call.

    Args:
        tool: with its source.
        arguments: in their canonical form.
        reach: the paths and hosts that it touches, resolved.
    """
    return hashlib.sha256(f"{tool.source_hash}\0".encode() + canonical([arguments, *reach])).hexdigest()


def tool_key(tool: Tool) -> str:
    """SHA-256 that stands for a tool as it is now."""
    return hashlib.sha256(f"tool\0{tool.source_hash}".encode()).hexdigest()


def _same(known: Question, question: Question) -> bool:
    if known.kind != question.kind or known.call_id != question.call_id:
        return False
    if known.approval is None or question.approval is None:
        return (known.title, known.options, known.schema) == (
            question.title,
            question.options,
            question.schema,
        )
    seen = ("key", "preview", "effects", "destructive", "sandbox", "scopes")
    return all(getattr(known.approval, name) == getattr(question.approval, name) for name in seen)


def _misfit(question: Question, value: Any) -> str:
    """What the schema of a call says of changed arguments, where its tool is not at hand."""
    if not isinstance(value, Decision) or value.arguments is None or question.approval is None:
        return ""
    return misfits(question.approval.schema, value.arguments, "the arguments")


def _settle(future: "asyncio.Future[Reply]", reply: Reply) -> None:
    if not future.done():
        future.set_result(reply)


def _kept(question: Question, value: Any) -> Any:
    """The value as the log may hold it: never a secret."""
    if question.kind == "secret":
        return None
    if question.kind == "form":
        return without_secrets(question.schema, value)
    asked = question.approval
    if isinstance(value, Decision) and value.arguments is not None and asked is not None:
        same = canonical(value.arguments) == canonical(asked.arguments)
        value = msgspec.structs.replace(value, arguments=None) if same else value  # they may be megabytes
    return msgspec.to_builtins(value) if isinstance(value, Decision) else value
