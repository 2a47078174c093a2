"""Harness: how a long task is attempted, once or again, and by whose decision."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from loom_nb.checks import check, one_of, whole
from loom_nb.errors import LoomUsageError
from loom_nb.events import Status
from loom_nb.inputs import RuntimeTask
from loom_nb.messages import Message, Origin, TextPart
from loom_nb.runtime.quality import ATTEMPTS, Acceptance, name_of

AGAIN = Origin("system", "attempt")
"""Of the words with which every attempt but the first begins: no person said them."""


def begins_again(message: Message) -> bool:
    """Whether a message is the beginning of an attempt but the first; the critique is in it."""
    first = message.parts[0] if message.parts else None
    return message.role == "user" and isinstance(first, TextPart) and first.origin == AGAIN


@dataclass(frozen=True, slots=True)
class Candidate:
    """What an attempt came to. `str(candidate)` is its answer."""

    number: int
    """Of the attempt; 1 is the first."""
    text: str
    status: Status
    """How the run would have ended: only a `completed` one can be accepted."""
    reason: str = ""
    data: Any = None
    """The answer as plain data, where the run asked for a form."""

    def __str__(self) -> str:
        return self.text


class Trial(Protocol):
    """One run in the hands of a custom harness."""

    @property
    def task(self) -> RuntimeTask:
        """What is to be done; its values as the texts that the model is shown."""
        ...

    @property
    def candidates(self) -> Sequence[Candidate]:
        """Of all attempts so far."""
        ...

    async def attempt(self, extra: str = "", *, independent: bool = False) -> Candidate:
        """Let the model work until it ends its answer; limits hold for all attempts together.

        Args:
            extra: what it is told before. From the second attempt on it is told something in any case,
                and the critique of a check in between.
            independent: it is shown nothing of the attempts before.

        Raises:
            ModelError: a model call failed and did not pass.
        """
        ...

    async def check(self, candidate: Candidate) -> Acceptance | None:
        """What the quality gate says; None where it could not be evaluated.

        Raises:
            LoomUsageError: the runtime has no gate, or the attempt did not complete.
        """
        ...


Attempting = Callable[[Trial], Awaitable[Candidate | str | None]]
"""A user's coroutine: gives the candidate that is accepted, an answer of its own, or None for none."""


_WANTED = {
    "kind": one_of("generator_evaluator", "custom", "single_run"),
    "attempts": whole(1, optional=True, such_as="3"),
}


@dataclass(frozen=True, slots=True)
class Harness:
    """How a task is attempted. Made by its class methods.

    Args:
        kind: which.
        attempts: in all; None: as the quality gate says.
        function: of a "custom" one.

    Raises:
        LoomUsageError: a field is of a wrong kind.
    """

    kind: Literal["single_run", "generator_evaluator", "custom"] = "single_run"
    attempts: int | None = None
    function: Attempting | None = None

    def __post_init__(self) -> None:
        check(self, _WANTED)
        if self.kind == "custom" and not callable(self.function):
            raise LoomUsageError(f"Harness.custom takes a coroutine function, not {self.function!r}")

    @classmethod
    def single_run(cls) -> "Harness":
        """One conversation: an answer that is not accepted is mended where it stands."""
        return cls()

    @classmethod
    def generator_evaluator(cls, attempts: int = ATTEMPTS) -> "Harness":
        """Independent candidates, one after the other, until one is accepted.

        Each is shown the conversation as it was before the first, and the critiques of those before,
        not their work. What they did outside the conversation stays done. Without a quality gate, a
        separate model call says whether an answer does what was asked.
        """
        return cls("generator_evaluator", attempts)

    @classmethod
    def custom(cls, function: Attempting) -> "Harness":
        """A coroutine of the user attempts and decides: `async def f(trial): return await trial.attempt()`.

        A run that is resumed calls it anew; its first attempt then goes on where the run waited.
        """
        return cls("custom", None, function)

    def describe(self) -> str:
        """In words."""
        if self.kind == "single_run":
            return "one conversation, in which an answer that is not accepted is mended"
        if self.kind == "custom":
            return f"the function {name_of(self.function)} attempts and decides"
        return (
            f"at most {self.attempts or ATTEMPTS} independent attempts; each is shown the critiques of those "
            "before, not their work"
        )
