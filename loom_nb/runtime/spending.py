"""What runs may spend, hard: caps on a run, a notebook and a day, watched before and during each model call.

All kernels and processes that share a store share its book. What a call will send is put down before
it is sent and corrected when it has ended; while an answer is written, its words are put down as they
come. So what was spent is never forgotten by a process that dies: its last call counts as estimated.
Calls that are under way side by side may pass a cap together by no more than `STEP` tokens of answer
each, and by what an estimate of a request was wrong.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from loom_nb.errors import EndFault, LoomUsageError, RunFailed, RunLimited, RunStopped, SetupError, StoreError
from loom_nb.events import CallDelta, Delta
from loom_nb.messages import Discarded, Usage
from loom_nb.protocols import Book, LanguageModel, Reply, Request, Spent
from loom_nb.settings import MOST_TOKENS, Cap
from loom_nb.tokens import CHARS_PER_TOKEN, OTHERS_PER_TOKEN

STEP = 256
"""Tokens of an answer after which they are put down, and what others spent is read."""
_PROBE = 1_000
_QUOTED = '"20k"'

Scope = Literal["run", "notebook", "day"]


@dataclass(frozen=True, slots=True, init=False)
class SpendingCaps:
    """Hard caps: nothing is sent that they do not cover, and an answer that passes one is broken off.

    An amount is dollars (`0.05`) or tokens (`"20k"`). Dollars need a model whose price is known: others
    are refused before anything is sent. Answers that are played from a recording cost nothing.

    Args:
        run: what one run may spend, all its attempts and evaluations together.
        notebook: what all runs of a notebook may; of a session, where there is no notebook.
        day: what all runs may that share the store, from local midnight on.

    Raises:
        LoomUsageError: something is no amount.
    """

    run: Cap | None = None
    notebook: Cap | None = None
    day: Cap | None = None

    def __init__(
        self,
        run: Cap | str | float | None = None,
        notebook: Cap | str | float | None = None,
        day: Cap | str | float | None = None,
    ) -> None:
        for name, value in (("run", run), ("notebook", notebook), ("day", day)):
            try:
                object.__setattr__(self, name, None if value is None else Cap.of(value))
            except SetupError as error:
                raise LoomUsageError(
                    f"SpendingCaps.{name}: {error.title}", cause=error.cause, fixes=error.fixes
                ) from None

    def __bool__(self) -> bool:
        return self.run is not None or self.notebook is not None or self.day is not None

    def describe(self) -> str:
        """In words."""
        return self._told(str)

    def exactly(self) -> str:
        """To the last digit, however amounts are worded for people: recordings keep it."""
        return self._told(lambda cap: str(cap) if cap.dollars is None else f"${cap.typed}")

    def _told(self, words: Callable[[Cap], str]) -> str:
        named = (("a run", self.run), ("the notebook", self.notebook), ("the day", self.day))
        return ", ".join(f"{name} {words(cap)}" for name, cap in named if cap is not None) or "no cap"


def day_account(now: float) -> str:
    """The account of the day, by the local calendar.

    Args:
        now: seconds since the epoch.
    """
    return time.strftime("day %Y-%m-%d", time.localtime(now))


def notebook_account(place: str) -> str:
    """The account of a notebook, or of a session where there is none."""
    return f"notebook {place}"


_NAMES: dict[Scope, str] = {"run": "this run", "notebook": "this notebook", "day": "today"}
_FIXES: dict[Scope, str] = {
    "run": "%%loom --budget {}",
    "notebook": "%loom budget notebook {}",
    "day": "%loom budget day {}",
}


def _more(cap: Cap, scope: Scope) -> list[str]:
    """How to raise a cap."""
    if cap.tokens is not None:
        twice = Cap(tokens=min(2 * cap.tokens, MOST_TOKENS))
    else:
        twice = Cap(dollars=min(2 * (cap.dollars or 0.0), sys.float_info.max))
    plain = twice.typed.replace(".", "", 1).isdecimal()
    return _raised(scope, twice.typed, twice.typed if plain else f'"{twice.typed}"')


def _raised(scope: Scope, typed: str, quoted: str) -> list[str]:
    """A cap by the line of a notebook, and by that of a script."""
    return [_FIXES[scope].format(typed), f"Runtime(caps=SpendingCaps({scope}={quoted}))   (a script)"]


def _limited(cap: Cap, scope: Scope, told: str) -> RunLimited:
    fault: EndFault = "tokens" if cap.tokens is not None else "cost"
    title = f"the budget of {_NAMES[scope]} is reached"
    return RunLimited(title, reason=told, fault=fault, fixes=_more(cap, scope))


class Priced(Protocol):
    """A model as far as its price goes."""

    def cost(self, usage: Usage, answered: str = "") -> float | None:
        """US dollars of tokens, by which model answered; None where the price is not known."""
        ...


def at_most(model: Priced, usage: Usage) -> float | None:
    """US dollars that tokens cost at most, before it is known which of several models answers."""
    most: Callable[[Usage], float | None] | None = getattr(model, "cost_at_most", None)  # of a group alone
    return most(usage) if most is not None else model.cost(usage, "")


class Purse:
    """What one run may spend, and what it has spent.

    Args:
        caps: of its runtime.
        book: of its store; None where nobody else spends.
        place: the notebook, or the session.
        now: the clock, in seconds since the epoch.
        tell: is told where what was spent could not be put down, and no cap needs it.
        spent: what the run had spent in another process.
    """

    def __init__(
        self,
        caps: SpendingCaps,
        book: Book | None,
        place: str,
        now: Callable[[], float],
        tell: Callable[[str], None],
        spent: Spent | None = None,
    ) -> None:
        self.caps = caps
        self.run = spent or Spent()
        self._book = book
        self._place = notebook_account(place)
        self._now = now
        self._tell = tell
        self._told = False
        self._blind = ""
        """The model that answered whose price is not known, though a cap counts dollars."""

    @property
    def in_dollars(self) -> bool:
        """Whether one of the caps counts dollars."""
        caps = (self.caps.run, self.caps.notebook, self.caps.day)
        return any(cap is not None and cap.dollars is not None for cap in caps)

    def guess(self, usage: Usage, model: Priced) -> Spent:
        """What tokens will have cost: at most, where several models may answer.

        Raises:
            RunLimited: a cap counts dollars, and no price is known.
        """
        if not self.in_dollars:
            return Spent(usage.total_tokens)
        most = at_most(model, usage)
        if most is None or self._blind:
            raise self._unpriced()
        return Spent(usage.total_tokens, most)

    def _unpriced(self) -> RunLimited:
        """A cap counts dollars, and what tokens cost is not known."""
        scope, cap = next((scope, cap) for scope, cap in self._caps() if cap and cap.dollars is not None)
        whose = f"of {self._blind}, which answered last," if self._blind else "of this model"
        told = (
            f"the budget of {_NAMES[scope]} is {cap}, and the price {whose} is not known, so that nothing "
            "was sent; tokens can be counted"
        )
        title, fixes = f"the budget of {_NAMES[scope]} cannot be counted", _raised(scope, "20k", _QUOTED)
        return RunLimited(title, reason=told, fault="cost", fixes=fixes)

    async def begin(self, tokens: int, model: Priced) -> "Outlay":
        """Put down a request before it is sent.

        Raises:
            RunLimited: a cap does not cover it; nothing was put down.
            StoreError: what was spent cannot be read.
        """
        request = self.guess(Usage(input_tokens=tokens), model)
        accounts = self._accounts()
        found = await self.put(request, accounts)
        for scope, cap, spent in self._held(found):
            if cap.dollars is not None and not request.dollars:
                continue  # it is free
            if spent.left(cap) <= 0:  # nothing would be left for the answer
                await self.put(Spent() - request, accounts)
                raise _limited(cap, scope, _refusal(cap, scope, spent - request, request))
        return Outlay(self, model, accounts, request, tokens, found)

    async def paid(self, usage: Usage, cost: float | None) -> None:
        """A call ended for which nothing was put down: there is no cap."""
        await self.put(Spent(usage.total_tokens, cost or 0.0, usage.total_tokens if cost is None else 0))

    async def discarded(self, one: Discarded, model: Priced) -> None:
        """Another answer to the same call was paid for, too: at most, where its price is not known."""
        cost = model.cost(one.usage, one.model)
        tokens = one.usage.total_tokens
        most = cost if cost is not None or not self.in_dollars else at_most(model, one.usage)
        await self.put(Spent(tokens, most or 0.0, tokens if cost is None else 0))

    def settled(self, usage: Usage, answered: str, held: Spent, model: Priced) -> Spent:
        """What a call came to, for which this much was put down."""
        cost = model.cost(usage, answered)
        if cost is None and self.in_dollars:  # the next call is refused
            self._blind = answered or "the one that answered"
            return Spent(usage.total_tokens, held.dollars, usage.total_tokens)
        return Spent(usage.total_tokens, cost or 0.0, usage.total_tokens if cost is None else 0)

    async def put(self, change: Spent, accounts: Sequence[str] = ()) -> list[Spent]:
        """Add to the run and to the accounts of the book; what those come to.

        While another process writes it is waited for beside the event loop. What was begun is put down
        even if nobody waits for it any more.
        """
        found: list[Spent] = []
        if self._book is not None:
            accounts = accounts or self._accounts()
            try:
                now = self._book.change_now(change, accounts)
                if now is None and not self._told:  # once is enough to wait in vain
                    work = asyncio.ensure_future(asyncio.to_thread(self._book.change, change, accounts))
                    work.add_done_callback(_look_away)
                    now = await asyncio.shield(work)
                found = now or []
            except StoreError as error:
                self._not_put(error)
            except asyncio.CancelledError:
                self.run = self.run + change
                raise
        self.run = self.run + change
        return found

    def put_now(self, change: Spent, accounts: Sequence[str]) -> list[Spent] | None:
        """`put` without waiting; None, and nothing is put down, while another process writes."""
        found: list[Spent] | None = []
        if self._book is not None:
            try:
                found = self._book.change_now(change, accounts)
            except StoreError as error:
                self._not_put(error)
        if found is not None:
            self.run = self.run + change
        return found

    def _not_put(self, error: StoreError) -> None:
        if self.caps.notebook is not None or self.caps.day is not None:
            raise error  # a cap that cannot be watched covers nothing
        if not self._told:
            self._told = True
            self._tell(f"what was spent could not be put down: {error.title}")

    def passed(self, found: Sequence[Spent], each: float, more: Spent | None = None) -> RunLimited | None:
        """The cap that an answer which is being written has passed, if it has passed one.

        Args:
            found: what the accounts have come to.
            each: dollars of a token.
            more: of the run, not put down yet.
        """
        for scope, cap, spent in self._held(found, more):
            if cap.dollars is not None and not each:
                continue
            if spent.left(cap) <= 0:
                told = (
                    f"the budget of {_NAMES[scope]} was used up while the answer was written: about "
                    f"{spent.of(cap)}; what had come is kept"
                )
                return _limited(cap, scope, told)
        return None

    def room(self, found: Sequence[Spent], each: float) -> int:
        """Tokens of an answer that may come before the caps are looked at again.

        Args:
            found: what the accounts have come to.
            each: dollars of a token.
        """
        room = float(STEP)
        for _, cap, spent in self._held(found):
            left = spent.left(cap)
            room = min(room, left if cap.tokens is not None else left / each if each else STEP)
        return max(1, int(room))

    def _held(self, found: Sequence[Spent], more: Spent | None = None) -> list[tuple[Scope, Cap, Spent]]:
        """Each cap with what was spent of it."""
        run = self.run if more is None else self.run + more
        day, notebook = found or (run, run)
        spent = (run, notebook, day)
        return [(scope, cap, one) for (scope, cap), one in zip(self._caps(), spent, strict=True) if cap]

    def _caps(self) -> tuple[tuple[Scope, Cap | None], ...]:
        return ("run", self.caps.run), ("notebook", self.caps.notebook), ("day", self.caps.day)

    def _accounts(self) -> tuple[str, str]:
        return day_account(self._now()), self._place


def _look_away(work: "asyncio.Future[list[Spent]]") -> None:
    if not work.cancelled():
        work.exception()


def _refusal(cap: Cap, scope: Scope, before: Spent, request: Spent) -> str:
    if before.left(cap) <= 0:
        return f"the budget of {_NAMES[scope]} is spent: {before.of(cap)}"
    spent = f"{before.of(cap)} are spent" if before else f"it is {cap}"
    return f"the budget of {_NAMES[scope]} does not cover this request of about {request.told(cap)}: {spent}"


def weight(delta: Delta) -> float:
    """Tokens of a piece of an answer, estimated."""
    text = delta.arguments if isinstance(delta, CallDelta) else delta.text
    return len(text) / (CHARS_PER_TOKEN if text.isascii() else OTHERS_PER_TOKEN)


class Outlay:
    """One model call: what was put down for it so far. It belongs to the day on which it began."""

    __slots__ = (
        "_accounts", "_each", "_found", "_model", "_next", "_purse", "_put_down", "_written", "held",
        "limited",
    )  # fmt: skip

    def __init__(
        self,
        purse: Purse,
        model: Priced,
        accounts: tuple[str, str],
        held: Spent,
        tokens: int,
        found: Sequence[Spent],
    ) -> None:
        self.held = held
        """For the request and for what was put down of the answer."""
        self.limited: RunLimited | None = None
        """The cap that the answer passed."""
        self._purse = purse
        self._model = model
        self._accounts = accounts
        self._each = 0.0
        """Dollars of a token of the answer."""
        if purse.in_dollars:
            whole = purse.guess(Usage(input_tokens=tokens, output_tokens=_PROBE), model).dollars
            self._each = max(0.0, whole - held.dollars) / _PROBE
        self._written = 0.0
        """Tokens of the answer so far."""
        self._put_down = 0
        self._found = found
        """What the accounts had come to when they were looked at last."""
        self._next = purse.room(found, self._each)

    @property
    def written(self) -> int:
        """Tokens of the answer so far, estimated."""
        return int(self._written)

    def wrote(self, delta: Delta) -> bool:
        """Count a piece of the answer; whether it passes a cap."""
        self._written += weight(delta)
        if self._written - self._put_down >= self._next:
            more = self._more()
            found = self._purse.put_now(more, self._accounts)
            if found is None:  # it is put down with the next piece, and looked at as if it were alone
                known = [one + more for one in self._found]
                self.limited = self._purse.passed(known, self._each, more)
                return self.limited is not None
            self._took(more, found)
            self.limited = self._purse.passed(found, self._each)
            self._next = self._purse.room(found, self._each)
        return self.limited is not None

    def _more(self) -> Spent:
        """What was written and is not put down."""
        new = int(self._written) - self._put_down
        return Spent(new, new * self._each)

    def _took(self, more: Spent, found: Sequence[Spent]) -> None:
        self._put_down += more.tokens
        self.held = self.held + more
        self._found = found

    async def _put(self) -> None:
        more = self._more()
        self._took(more, ())  # before it is waited for: a stop meanwhile does not undo it
        await self._purse.put(more, self._accounts)

    async def broken_off(self) -> None:
        """The call has no end that tells what it came to: the estimate counts, or nothing if nothing came."""
        if self._written:
            await self._put()
        else:
            await self._purse.put(Spent() - self.held, self._accounts)

    async def stopped(self) -> None:
        """The call was sent and nobody waits for its end: it counts as estimated."""
        await self._put()

    async def ended(self, usage: Usage, answered: str) -> None:
        """The call ended."""
        if not usage.total_tokens:  # nobody counted
            await self._put()
            return
        came_to = self._purse.settled(usage, answered, self.held, self._model)
        await self._purse.put(came_to - self.held, self._accounts)


class Watched:
    """A LanguageModel whose calls are paid from a purse.

    Args:
        model: that answers.
        priced: what it costs.
        purse: pays.
        tokens: of a request, estimated.
        unended: is told, as estimated, what a call came to that nobody counted: it was cut off.
    """

    def __init__(
        self,
        model: LanguageModel,
        priced: Priced,
        purse: Purse,
        tokens: Callable[[Request], int],
        unended: Callable[[Usage, Priced], None] = lambda usage, priced: None,
    ) -> None:
        under: Callable[[str], LanguageModel] | None = getattr(model, "under", None)  # of a recording alone
        self.model = model if under is None else under(purse.caps.exactly())
        self.name = model.name
        self._priced = priced
        self._purse = purse
        self._tokens = tokens
        self._unended = unended

    async def reply(self, request: Request, emit: Callable[[Delta], None]) -> Reply:
        """See `LanguageModel`.

        Raises:
            RunLimited: a cap does not cover the call, or the answer has passed one.
            StoreError: what was spent cannot be read, and there is a cap.
        """
        if plays(self.model, request):  # nothing is sent
            return await self.model.reply(request, emit)
        shown: list[Delta] = []

        def show(delta: Delta) -> None:
            shown.append(delta)
            emit(delta)

        try:
            return await self._paid(request, show)
        except RunLimited as limit:
            broke_off(self.model, request, shown, limit)
            raise
        except asyncio.CancelledError as stop:
            reason = str(stop.args[0]) if stop.args and stop.args[0] else "it was stopped"
            broke_off(self.model, request, shown, RunStopped("the run was stopped", reason=reason))
            raise

    async def _paid(self, request: Request, emit: Callable[[Delta], None]) -> Reply:
        """The reply of a model that is asked."""
        if not self._purse.caps:
            return await self._uncapped(request, emit)
        tokens = self._tokens(request)
        outlay = await self._purse.begin(tokens, self._priced)
        try:
            reply = await _within(outlay, self.model, request, emit)
        except (RunLimited, asyncio.CancelledError):
            self._unended(Usage(tokens, outlay.written), self._priced)
            await outlay.stopped()
            raise
        except BaseException:
            if outlay.written:
                self._unended(Usage(tokens, outlay.written), self._priced)
            await outlay.broken_off()
            raise
        await self._discard(reply)
        await outlay.ended(reply.usage, reply.model)
        return reply

    async def _uncapped(self, request: Request, emit: Callable[[Delta], None]) -> Reply:
        """The reply, put down when it has come; as estimated where it has no end."""
        written = 0.0

        def count(delta: Delta) -> None:
            nonlocal written
            written += weight(delta)
            emit(delta)

        try:
            reply = await self.model.reply(request, count)
        except BaseException as error:
            if written or isinstance(error, asyncio.CancelledError):
                usage = Usage(self._tokens(request), int(written))
                self._unended(usage, self._priced)
                await self._purse.paid(usage, at_most(self._priced, usage))
            raise
        await self._discard(reply)
        await self._purse.paid(reply.usage, self._priced.cost(reply.usage, reply.model))
        return reply

    async def _discard(self, reply: Reply) -> None:
        """Put down what was answered and not taken."""
        for one in reply.discarded:
            await self._purse.discarded(one, self._priced)

    def plays(self, request: Request) -> bool:
        """Whether nothing is sent."""
        return plays(self.model, request)

    def encode(self, request: Request) -> bytes:
        """See `LanguageModel`."""
        return self.model.encode(request)

    async def close(self) -> None:
        """See `LanguageModel`."""
        await self.model.close()


async def _within(
    outlay: Outlay, model: LanguageModel, request: Request, emit: Callable[[Delta], None]
) -> Reply:
    """The reply, in a task of its own, which is cancelled where the answer passes a cap."""

    def count(delta: Delta) -> None:
        if outlay.limited is not None:
            return
        emit(delta)
        if outlay.wrote(delta):
            work.cancel()

    work = asyncio.ensure_future(model.reply(request, count))
    here = asyncio.current_task()
    cancelled = here.cancelling() if here is not None else 0
    try:
        return await work
    except BaseException:  # a client may tell of its cancellation in any way
        if outlay.limited is None or (here is not None and here.cancelling() > cancelled):
            raise
        raise outlay.limited from None


def plays(model: LanguageModel, request: Request) -> bool:
    """Whether the answer is one that was recorded, so that nothing is sent."""
    known = recording_of(model)
    return known is not None and known(request)


def recording_of(model: LanguageModel) -> Callable[[Request], bool] | None:
    """What tells whether a request is answered from a recording; None for a model that has none."""
    known: Callable[[Request], bool] | None = getattr(model, "plays", None)
    return known


def broke_off(model: LanguageModel, request: Request, shown: Sequence[Delta], end: RunFailed) -> None:
    """Tell a model that records that there will be no whole reply."""
    known: Callable[[Request, Sequence[Delta], RunFailed], None] | None = getattr(model, "broke_off", None)
    if known is not None:
        known(request, shown, end)


def records(model: LanguageModel) -> bool:
    """Whether a model keeps what was broken off."""
    return hasattr(model, "broke_off")
