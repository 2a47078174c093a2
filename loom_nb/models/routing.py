"""Which of several models a task goes to, by plain facts about the request."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from loom_nb.errors import LoomUsageError, ModelError
from loom_nb.events import Delta
from loom_nb.messages import Conversation, FilePart, ImagePart, Message, Part, TextPart, ToolResultPart
from loom_nb.models.fallback import Candidate, Members, Watch
from loom_nb.models.registry import Model
from loom_nb.protocols import LanguageModel, Reply, Request
from loom_nb.tokens import estimate_message, room_in

ROOMY = 6_000
"""Tokens: a smaller request fits whatever model it is; its window is not looked up."""
LONG = 100_000
"""Tokens from which on a context is long."""
TRIVIAL = 2_000
"""Tokens of a request that may be trivial, all included."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule may look at: of the request as it would be sent."""

    tokens: int
    """An estimate of the whole request."""
    instruction: str
    """The latest words of the person, without what travels with them."""
    images: int = 0
    """In the whole conversation: the model will be shown all of it."""
    files: int = 0
    tools: tuple[str, ...] = ()
    """The names of the tools that are offered."""
    structured: bool = False
    """Whether the answer must have a form."""


_CODE = re.compile(
    r"```|Traceback|\w\(\)|\b\w+\.(?:py|ipynb|js|ts|tsx|java|go|rs|c|cpp|h|sh|sql|r)\b"
    r"|\b(?:code|function|class|method|bug|debug|refactor|implement|compile|regex|unit ?tests?|pytest"
    r"|script|exception|stack ?trace|sql|python|javascript|typescript|rust)\b",
    re.IGNORECASE,
)
_REASONING = re.compile(
    r"\b(?:prove|proof|derive|deduce|step by step|why|analy[sz]e|plan|compare|trade-?offs?|strategy|design"
    r"|evaluate|diagnose)\b",
    re.IGNORECASE,
)
_SHORT = 200


def _trivial(facts: Facts) -> bool:
    """A short question with nothing to look at and nothing to work out."""
    words = facts.instruction
    small = facts.tokens <= TRIVIAL and len(words) <= _SHORT and not facts.images and not facts.files
    return small and bool(words.strip()) and not _CODE.search(words) and not _REASONING.search(words)


STRENGTHS: Mapping[str, Callable[[Facts], bool]] = {
    "vision": lambda facts: facts.images > 0,
    "files": lambda facts: facts.files > 0,
    "long context": lambda facts: facts.tokens >= LONG,
    "code": lambda facts: _CODE.search(facts.instruction) is not None,
    "reasoning": lambda facts: _REASONING.search(facts.instruction) is not None,
    "tools": lambda facts: bool(facts.tools),
    "cheap": _trivial,
}
"""What a model may be good at, and the tasks that ask for it. The words looked for are English."""

When: TypeAlias = str | Callable[[Facts], bool]
Rules: TypeAlias = Mapping[str, Model | str] | Sequence[tuple[When, Model | str]]


@dataclass(frozen=True, slots=True)
class Router:
    """What `Model.route` holds: the rules, and a model for each and for all else."""

    conditions: tuple[When, ...]
    members: tuple[Model, ...]
    """One for each condition, and the default."""

    @classmethod
    def of(cls, rules: Rules, default: Model, named: Callable[[Model | str], Model]) -> "Router":
        """A router of what a user wrote. Raises LoomUsageError for a rule that is none."""
        given: object = rules.items() if isinstance(rules, Mapping) else rules
        pairs = list(given) if isinstance(given, Iterable) else []
        if not pairs:
            raise LoomUsageError("a route has at least one rule", fixes=['{"code": "vendor:model"}'])
        for pair in pairs:
            if (
                not isinstance(pair, tuple)
                or len(pair) != 2
                or not (callable(pair[0]) or pair[0] in STRENGTHS)
            ):
                raise LoomUsageError(
                    f"there is no rule {pair[0] if isinstance(pair, tuple) and pair else pair!r}",
                    fixes=[f"one of {', '.join(STRENGTHS)}", "a function of Facts that says yes or no"],
                )
        return cls(tuple(when for when, _ in pairs), (*(named(model) for _, model in pairs), default))

    def __str__(self) -> str:
        told = [f"{self.reason(n)}={one.name}" for n, one in enumerate(self.members[:-1])]
        return ", ".join([*told, f"else {self.members[-1].name}"])

    def replaced(self, members: tuple[Model, ...]) -> "Router":
        """The same of other models."""
        return Router(self.conditions, members)

    def open(self) -> LanguageModel:
        """A client that asks the one that is chosen."""
        return RoutedModel(self)

    def window(self) -> int | None:
        """Tokens that the largest takes: what outgrows one model goes to another."""
        return max(filter(None, (one.window() for one in self.members)), default=None)

    def reason(self, number: int) -> str:
        """Why a model is chosen, in a word."""
        if number >= len(self.conditions):
            return "default"
        condition = self.conditions[number]
        return condition if isinstance(condition, str) else getattr(condition, "__name__", "rule").strip("<>")

    def choose(self, facts: Facts) -> int:
        """The place in `members` of the model for such a request.

        Raises:
            LoomUsageError: a function of the user's failed.
        """
        wanted = [n for n in range(len(self.conditions)) if self._applies(n, facts)]
        for number in (*wanted, len(self.conditions)):
            if self.fits(number, facts.tokens):
                return number
        return self.largest()

    def fits(self, number: int, tokens: int) -> bool:
        """Whether a request is not known to be too large for a model."""
        if tokens <= ROOMY:
            return True
        window = self.members[number].window()
        return window is None or tokens <= room_in(window)

    def largest(self) -> int:
        """The one with the largest window that is known, else the default."""
        windows = [(one.window() or 0, n) for n, one in enumerate(self.members)]
        return max(windows)[1]

    def _applies(self, number: int, facts: Facts) -> bool:
        condition = self.conditions[number]
        if isinstance(condition, str):
            return STRENGTHS[condition](facts)
        try:
            return bool(condition(facts))
        except Exception as error:  # foreign code: the user is told which rule it was
            raise LoomUsageError(
                f"the rule '{self.reason(number)}' of a route failed",
                cause=f"{type(error).__name__}: {error}",
            ) from error


class RoutedModel:
    """A LanguageModel that asks one of several; which one is told at `Model.route`.

    Args:
        router: chooses.
    """

    def __init__(self, router: Router) -> None:
        self.name = f"route:{router}"
        self._router = router
        self._members = Members([Candidate.of(one) for one in router.members])
        self._reader = _Reader(Conversation())
        self._chosen: int | None = None
        """Who answered last."""

    async def reply(self, request: Request, emit: Callable[[Delta], None]) -> Reply:
        """The answer of the one that is chosen; see `LanguageModel.reply`.

        Where it says that the request does not fit, the one with the largest window is asked.
        """
        facts = self._facts(request)
        number = self._choice(request, facts)
        watch = Watch(emit)
        why = self._router.reason(number)
        try:
            reply = await self._ask(number, request, watch)
        except ModelError as error:
            larger = self._larger(number)
            if error.fault != "context_overflow" or watch.shown or larger is None:
                raise
            number, why = larger, "larger window"
            reply = await self._ask(number, request, watch)
        if not facts.instruction:  # none of a person's: the runtime asks for a summary, for example
            return self._members.signed(number, reply, ())
        before = len(self._router.conditions) if self._chosen is None else self._chosen
        self._chosen = number
        if number == before:
            return self._members.signed(number, reply, ())
        if not self._router.fits(before, facts.tokens):
            why = f"{why}; the request does not fit {self._router.members[before].name}"
        told = f"routed to {self._router.members[number].name} ({why})"
        return self._members.signed(number, reply, (told,))

    def encode(self, request: Request) -> bytes:
        """What the one would be sent that is chosen."""
        number = self._choice(request, self._facts(request))
        return self._members.opened[number].encode(self._members.request_for(number, request))

    async def close(self) -> None:
        """Let go of connections. May be called twice."""
        await self._members.close()

    def __repr__(self) -> str:
        return f"<RoutedModel {self.name}>"

    async def _ask(self, number: int, request: Request, watch: Watch) -> Reply:
        return await self._members.opened[number].reply(self._members.request_for(number, request), watch)

    def _facts(self, request: Request) -> Facts:
        if self._reader.conversation is not request.conversation:
            self._reader = _Reader(request.conversation)
        return self._reader.facts(request)

    def _choice(self, request: Request, facts: Facts) -> int:
        """The same as before while a task goes on and fits, else by the rules."""
        chosen = self._chosen
        if chosen is not None and _goes_on(request.conversation) and self._router.fits(chosen, facts.tokens):
            return chosen
        return self._router.choose(facts)

    def _larger(self, number: int) -> int | None:
        """Another model with a larger window, where that is known."""
        windows = [one.window() or 0 for one in self._router.members]
        largest = self._router.largest()
        return largest if windows[largest] > windows[number] > 0 else None


class _Reader:
    """Reads the facts of requests of one conversation; each message once."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self._read = 0
        self._tokens = 0
        self._images = 0
        self._files = 0
        self._instruction = ""

    def facts(self, request: Request) -> Facts:
        """What the rules may look at."""
        messages = self.conversation.messages
        for message in messages[self._read :]:
            self._take(message)
        self._read = len(messages)
        return Facts(
            request.head_tokens + self._tokens,
            self._instruction,
            self._images,
            self._files,
            tuple(one.name for one in request.tools),
            request.output is not None,
        )

    def _take(self, message: Message) -> None:
        self._tokens += estimate_message(message)
        self._instruction = _instruction(message) or self._instruction
        self._look(message.parts)

    def _look(self, parts: Sequence[Part]) -> None:
        for part in parts:
            match part:
                case ImagePart():
                    self._images += 1
                case FilePart() if part.media_type.startswith("image/"):
                    self._images += 1
                case FilePart():
                    self._files += 1
                case ToolResultPart():
                    self._look(part.parts)


def _instruction(message: Message) -> str:
    """What a person says in it."""
    if message.role != "user":
        return ""
    return "\n".join(
        part.text for part in message.parts if isinstance(part, TextPart) and part.origin.kind == "user"
    )


def _goes_on(conversation: Conversation) -> bool:
    """Whether a task is in progress: no person has asked for anything since the model last spoke, or that
    was said between a call and its answer.
    """
    asked = False
    for message in reversed(conversation.messages):
        if message.role == "tool":
            return True
        if message.role == "assistant":
            break
        asked = asked or bool(_instruction(message))
    return not asked
