"""Models that stand in for one another: where one fails, the next one answers in the same turn.

The same machine goes from key to key where the environment holds several for one model.
"""

import asyncio
import dataclasses
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import get_args

import msgspec

from loom_nb.checks import checked, some_of
from loom_nb.checks import number as a_number
from loom_nb.errors import Fault, LoomKeyError, ModelError
from loom_nb.events import Delta
from loom_nb.messages import Conversation, Discarded, ThinkingPart
from loom_nb.models.registry import Model
from loom_nb.protocols import Clock, LanguageModel, Reply, Request

FAULTS: frozenset[Fault] = frozenset(
    {
        "auth",
        "billing",
        "rate_limit",
        "overloaded",
        "server_error",
        "timeout",
        "connection",
        "cut_stream",
        "model_not_found",
    }
)
"""The faults of a model or of the way to it: another model may not have them. A model that has one rests."""
KEY_FAULTS: frozenset[Fault] = frozenset({"auth", "billing", "rate_limit"})
"""The faults that another key may not have."""
COOL_DOWN = 60.0
"""Seconds for which a model that failed is not asked, where its vendor does not say how long."""
PATIENCE = 5.0
"""Seconds: a rate limit that is over so soon is waited for, once."""


class _SystemClock:
    """The machine's own time."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)


@dataclass(frozen=True, slots=True)
class FallbackPolicy:
    """When a chain goes on to its next model, and when it comes back."""

    on: frozenset[Fault] = FAULTS
    cool_down: float = COOL_DOWN
    patience: float = PATIENCE
    clock: Clock | None = None
    """None: the machine's own."""
    lenient: bool = True
    """Whether one that stands in for another may fail in any way."""

    @classmethod
    def of(
        cls, on: Collection[str] | None, cool_down: float, patience: float, clock: Clock | None
    ) -> "FallbackPolicy":
        """A policy of what a user wrote. Raises LoomUsageError for a fault that there is not."""
        words = some_of(*get_args(Fault), such_as='["rate_limit"]')
        faults = FAULTS if on is None else checked("Model.fallback", "on", on, words)
        seconds = a_number(0, unit="a number of seconds", such_as="60")
        cool_down = checked("Model.fallback", "cool_down", cool_down, seconds)
        patience = checked("Model.fallback", "patience", patience, seconds)
        return cls(faults, cool_down, patience, clock)


@dataclass(slots=True)
class Health:
    """Which models of a chain rest, and until when. Shared by all who open the same Model."""

    rests: dict[int, tuple[float, Fault]] = field(default_factory=dict)
    """(the monotonic second at which it may be asked again, why not now), by its place in the chain."""

    def resting(self, number: int, now: float) -> tuple[float, Fault] | None:
        """Seconds for which it rests still, and why; None where it does not."""
        until, fault = self.rests.get(number, (now, "unknown"))
        return (until - now, fault) if until > now else None


@dataclass(frozen=True, slots=True)
class Chain:
    """What `Model.fallback` holds: the models in order, and when to change between them."""

    members: tuple[Model, ...]
    policy: FallbackPolicy = FallbackPolicy()
    health: Health = field(default_factory=Health, compare=False, repr=False)

    def __str__(self) -> str:
        return "|".join(one.name for one in self.members)

    def replaced(self, members: tuple[Model, ...]) -> "Chain":
        """The same of other models."""
        return Chain(members, self.policy)

    def open(self) -> LanguageModel:
        """A client that asks one of them."""
        return FallbackModel(str(self), [Candidate.of(one) for one in self.members], self.policy, self.health)

    def window(self) -> int | None:
        """Tokens that the model takes that would be asked now."""
        now = (self.policy.clock or _SystemClock()).monotonic()
        free = (one for n, one in enumerate(self.members) if self.health.resting(n, now) is None)
        return next(free, self.members[0]).window()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One that may be asked."""

    label: str
    """What a reader is told it is called."""
    open: Callable[[], LanguageModel]
    answers: str = ""
    """What stands as `model` on its replies; empty: what stands there already."""
    signs: bool = False
    """Whether it refuses to think where another model's calls wait for its answer."""
    ready: Callable[[], bool] = lambda: True
    """Whether it counts at all, asked at each call."""

    @classmethod
    def of(cls, model: Model) -> "Candidate":
        """A model of a group."""
        answers = "" if model.members else model.name
        return cls(model.name, model.open, answers, signs=model.api == "messages")


class Members:
    """The opened models of a group, and who made the calls in progress."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = tuple(candidates)
        self.opened = tuple(one.open() for one in candidates)
        self._caller: tuple[int, str] = (-1, "")
        """(who made the latest calls, the id of the first of them)."""

    def request_for(self, number: int, request: Request) -> Request:
        """The request as this one can take it.

        A model that signs its thoughts wants them before the calls that are being answered, and refuses
        to think where they are another's: it is asked without, until the next instruction.
        """
        if not request.generation.thinking_tokens or not self.candidates[number].signs:
            return request
        call = _call_in_progress(request.conversation)
        if call is None or self._caller == (number, call):
            return request
        return msgspec.structs.replace(
            request, generation=dataclasses.replace(request.generation, thinking_tokens=None)
        )

    def signed(self, number: int, reply: Reply, notices: Sequence[str]) -> Reply:
        """The reply with the name of who gave it, and notices before its own."""
        if calls := reply.message.calls:
            self._caller = (number, calls[0].id)
        model = self.name_of(number, reply)
        return msgspec.structs.replace(reply, model=model, notices=(*notices, *reply.notices))

    def name_of(self, number: int, reply: Reply) -> str:
        """Who gave a reply, as prices are known."""
        return self.candidates[number].answers or reply.model

    async def close(self) -> None:
        """Let go of the connections of all."""
        for model in self.opened:
            await model.close()


class Watch:
    """Passes deltas on, and knows whether there was any."""

    __slots__ = ("_emit", "shown")

    def __init__(self, emit: Callable[[Delta], None]) -> None:
        self._emit = emit
        self.shown = False

    def __call__(self, delta: Delta) -> None:
        """Show it."""
        self.shown = True
        self._emit(delta)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why one did not answer."""

    number: int
    error: ModelError | LoomKeyError
    discarded: tuple[Discarded, ...] = ()
    """What it used all the same."""

    @property
    def fault(self) -> Fault:
        return self.error.fault if isinstance(self.error, ModelError) else "auth"

    @property
    def passing(self) -> bool:
        return isinstance(self.error, ModelError) and self.error.passing

    @property
    def retry_after(self) -> float | None:
        return self.error.retry_after if isinstance(self.error, ModelError) else None


@dataclass(slots=True)
class _Turn:
    """One call of the chain, while it looks for an answer."""

    request: Request
    watch: Watch
    failures: list[_Failure] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


class FallbackModel:
    """A LanguageModel that asks the first of several, and where that one fails the next.

    What happens when is told at `Model.fallback`.

    Args:
        name: of them all.
        candidates: in order of preference.
        policy: when to go on.
        health: what is known of them already.
    """

    def __init__(
        self, name: str, candidates: Sequence[Candidate], policy: FallbackPolicy, health: Health | None = None
    ) -> None:
        self.name = name
        self._members = Members(candidates)
        self._policy = policy
        self._clock: Clock = policy.clock or _SystemClock()
        self._health = health if health is not None else Health()
        self._answered = 0
        """Who gave the last reply."""

    async def reply(self, request: Request, emit: Callable[[Delta], None]) -> Reply:
        """The answer of the first that gives one.

        Raises:
            ModelError: nobody did. Where a fault may pass, it is the one that may be over soonest, and of
                equals the last; else the first model's.
            LoomKeyError: the first model has no key, and the others failed for good.
        """
        turn = _Turn(request, Watch(emit))
        queue = list(self._queue())
        for place, (number, rests) in enumerate(queue):
            if rests and any(one.passing for one in turn.failures):
                break  # whoever is free may be well in a moment: no need to wake the ones that rest
            another = place + 1 < len(queue) and not queue[place + 1][1]
            reply = await self._ask(number, turn, another=another)
            if reply is not None:
                return self._told(number, reply, turn)
        raise self._given_up(turn.failures)

    def encode(self, request: Request) -> bytes:
        """What the one would be sent that would be asked now."""
        number, _ = next(self._queue())
        return self._members.opened[number].encode(self._members.request_for(number, request))

    async def close(self) -> None:
        """Let go of connections. May be called twice."""
        await self._members.close()

    def __repr__(self) -> str:
        return f"<FallbackModel {self.name}>"

    def _queue(self) -> Iterator[tuple[int, bool]]:
        """(who, whether it rests): first those that do not, in order; then those that are well soonest."""
        now = self._clock.monotonic()
        resting: list[tuple[float, int]] = []
        for number, candidate in enumerate(self._members.candidates):
            if not candidate.ready():
                continue
            rest = self._health.resting(number, now)
            if rest is None:
                yield number, False
            else:
                resting.append((rest[0], number))
        yield from ((number, True) for _, number in sorted(resting))

    async def _ask(self, number: int, turn: _Turn, *, another: bool) -> Reply | None:
        """The reply of one; None where it failed and the next may be asked.

        Args:
            number: who.
            turn: takes the failure, and what a reader should know.
            another: whether somebody is free after it: else a wait is left to the caller, who shows it.
        """
        failure = await self._once(number, turn, another=another)
        if not isinstance(failure, _Failure):
            return failure
        wait = self._short_wait(failure) if another and not turn.watch.shown else None
        if wait is not None:
            turn.notices.append(f"{self._label(number)} was asked again after the {wait:.3g} s it told")
            await self._clock.sleep(wait)
            failure = await self._once(number, turn, another=another)
            if not isinstance(failure, _Failure):
                return failure
        goes_on = self._goes_on(failure)
        if goes_on and failure.fault in FAULTS and isinstance(failure.error, ModelError):
            rested = self._clock.monotonic() + self._pause(failure)
            self._health.rests[number] = (rested, failure.fault)
        if turn.watch.shown or not goes_on:
            raise failure.error
        turn.failures.append(failure)
        return None

    async def _once(self, number: int, turn: _Turn, *, another: bool) -> "Reply | _Failure":
        request = self._members.request_for(number, turn.request)
        try:
            reply = await self._members.opened[number].reply(request, turn.watch)
        except (ModelError, LoomKeyError) as error:
            return _Failure(number, error)
        if another and reply.stop_reason in ("refusal", "content_filter") and not turn.watch.shown:
            spent = reply.usage.input_tokens + reply.usage.output_tokens
            failure = _Failure(
                number,
                ModelError(f"it refused, for {spent:,} tokens", fault="content_filter"),
                (*reply.discarded, Discarded(reply.usage, self._members.name_of(number, reply))),
            )
            if self._goes_on(failure):
                return failure
        if request is not turn.request:
            turn.notices.append("thinking is off here: the calls in progress are another model's")
        return reply

    def _short_wait(self, failure: _Failure) -> float | None:
        """Seconds after which the same one may be asked again, where that is soon."""
        wait = failure.retry_after
        soon = wait is not None and wait <= self._policy.patience
        return wait if soon and failure.fault == "rate_limit" and failure.passing else None

    def _goes_on(self, failure: _Failure) -> bool:
        """Whether the next one is asked.

        One that stands in may fail as it likes: but where a request is too large for it, whoever sends it
        makes it smaller.
        """
        if failure.number and self._policy.lenient:
            return failure.fault != "context_overflow"
        return failure.fault in self._policy.on

    def _pause(self, failure: _Failure) -> float:
        told = failure.retry_after
        return self._policy.cool_down if told is None else told

    def _told(self, number: int, reply: Reply, turn: _Turn) -> Reply:
        """The reply, and who gave it, where that is another one than before or than is wished for."""
        notices = list(turn.notices)
        if turn.failures or number != self._answered or (number and _is_new_task(turn.request)):
            reasons = [f"{self._label(one.number)} ({one.fault}: {one.error.title})" for one in turn.failures]
            failed = {one.number for one in turn.failures}
            now = self._clock.monotonic()
            for earlier in range(number):
                rest = self._health.resting(earlier, now)
                if rest is not None and earlier not in failed:
                    reasons.append(f"{self._label(earlier)} ({rest[1]}; rests for {rest[0]:.0f} s more)")
            if reasons:
                notices.append(f"{self._label(number)} answers in place of {', '.join(reasons)}")
            elif not number:
                notices.append(f"{self._label(number)} answers again")
        self._answered = number
        self._health.rests.pop(number, None)
        left = tuple(one for failure in turn.failures for one in failure.discarded)
        if left:
            reply = msgspec.structs.replace(reply, discarded=(*left, *reply.discarded))
        return self._members.signed(number, reply, notices)

    def _given_up(self, failures: Sequence[_Failure]) -> ModelError | LoomKeyError:
        """The error that stands for all, and whose model will be asked again."""
        if not failures:
            return ModelError(f"none of {self.name} can be asked", fault="auth")
        passing = [(self._pause(one), -place) for place, one in enumerate(failures) if one.passing]
        chosen = failures[-min(passing)[1]] if passing else min(failures, key=lambda one: one.number)
        self._health.rests.pop(chosen.number, None)
        others = [
            f"{self._label(one.number)} ({one.fault}: {one.error.title})"
            for one in failures
            if one is not chosen
        ]
        if others:
            told = f"failed too: {', '.join(others)}"
            chosen.error.cause = f"{chosen.error.cause}; {told}" if chosen.error.cause else told
        return chosen.error

    def _label(self, number: int) -> str:
        return self._members.candidates[number].label


def with_keys(model: Model) -> LanguageModel:
    """A client of one model that tries the keys in the environment in order.

    A key that is refused, or whose account is out of money or over its rate, rests, and the next one is
    shown in the same turn. The keys are looked for at each call; the same key under two names counts
    once.
    """

    def keys() -> list[str]:
        """The names under which there is a key that no earlier name has."""
        found: dict[str, str] = {}
        for name in model.key_env:
            if value := os.environ.get(name, "").strip():
                found.setdefault(value, name)
        return list(found.values())

    def opened(*names: str) -> LanguageModel:
        return dataclasses.replace(model, key_env=names or model.key_env).open_plain()

    def is_one_of_several(name: str) -> bool:
        known = keys()
        return len(known) > 1 and name in known

    candidates = [
        Candidate(f"{model.name} with {name}", partial(opened, name), ready=partial(is_one_of_several, name))
        for name in model.key_env
    ]
    candidates.append(Candidate(model.name, opened, ready=lambda: len(keys()) < 2))
    return FallbackModel(model.name, candidates, FallbackPolicy(KEY_FAULTS, patience=0.0, lenient=False))


def _call_in_progress(conversation: Conversation) -> str | None:
    """The id of the first call whose results were just added; None where there is none, or where the
    thoughts before it are there with their signature.
    """
    messages = conversation.messages
    if not messages or messages[-1].role != "tool":
        return None
    last = next((one for one in reversed(messages) if one.role == "assistant"), None)
    if last is None or not last.calls:
        return None
    signed = any(
        isinstance(part, ThinkingPart) and part.origin.source == "anthropic" and (part.signature or part.data)
        for part in last.parts
    )
    return None if signed else last.calls[0].id


def _is_new_task(request: Request) -> bool:
    messages = request.conversation.messages
    return bool(messages) and messages[-1].role == "user"
