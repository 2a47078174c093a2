"""Where the texts of a turn come from: found again, word for word, in the conversation.

A model can only say what it was told or what it makes up. So the origin of an argument is the part of
the conversation that holds it: the user's own words, else whoever had it first, else the model.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import msgspec

from loom_nb.border import parse
from loom_nb.errors import BorderError
from loom_nb.messages import (
    MODEL,
    Conversation,
    DataPart,
    FilePart,
    ImagePart,
    Message,
    Origin,
    Part,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from loom_nb.protocols import Taint

SHORTEST = 3
"""Characters: shorter texts are found anywhere and say nothing."""


NOT_LOOKED = Origin("tool", "not looked up, there is too much of it")
"""The origin of what would take too long to find: it counts as a text that the user did not write."""

REST = "further texts"
"""Where the texts of a call are counted together that were not looked at one by one."""

MAX_WORK = 16_000_000
"""Characters that are looked through for the texts of one call: it is done on the event loop."""

MAX_LEAVES = 2_000
"""Texts of one call that are looked up."""

MAX_REMEMBERED = 4

_NONE_YET: Any = ()
"""Made for the first who asks: few rules do."""


class Origins(msgspec.Struct, eq=False, gc=False):
    """The origins in one conversation, which grows; each message is looked at once."""

    _conversation: Conversation
    _seen: int = 0
    _kinds: frozenset[str] = frozenset()
    _trusted: list[tuple[str, Origin]] = _NONE_YET
    _others: list[tuple[str, Origin]] = _NONE_YET
    _remembered: dict[tuple[int, tuple[tuple[str, str], ...]], Taint] = _NONE_YET

    def trace(self, arguments: Mapping[str, Any]) -> Taint:
        """The kinds of origin in the conversation that are not the user's, and where arguments were found.

        What is too much to look up is `NOT_LOOKED`.
        """
        self._catch_up()
        if not self._kinds:
            return Taint()
        leaves = (leaf for leaf in _leaves(arguments) if len(leaf[1]) >= SHORTEST)
        some = tuple(islice(leaves, MAX_LEAVES))
        more = next(leaves, None) is not None
        asked = (self._seen, (*some, (REST, "")) if more else some)
        known = self._remembered.get(asked)
        if known is None:  # rules, the card and the last look before the call ask the same
            known = Taint(self._kinds, self._found(some, more=more))
            while len(self._remembered) >= MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[asked] = known
        return known

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of origin in the conversation that are not the user's."""
        self._catch_up()
        return self._kinds

    def _catch_up(self) -> None:
        messages = self._conversation.messages
        if not self._seen:
            self._trusted, self._others, self._remembered = [], [], {}
        for message in messages[self._seen :]:
            for text, origin in _sources(message.parts, message.role):
                (self._trusted if origin.trusted else self._others).append((text, origin))
                if _counts(origin) and origin.kind not in self._kinds:
                    self._kinds |= {origin.kind}
        self._seen = len(messages)

    def _found(self, leaves: tuple[tuple[str, str], ...], *, more: bool) -> dict[str, Origin]:
        found: dict[str, Origin] = {}
        left = MAX_WORK
        for where, text in leaves:
            origin, left = self._whence(text, left)
            found[where] = origin
            if left <= 0:
                more = more or where != leaves[-1][0]
                break
        if more:
            found[REST] = NOT_LOOKED
        return found

    def _whence(self, text: str, left: int) -> tuple[Origin, int]:
        """The origin, and how much work is left to do: the user's words count wherever they stand."""
        for held, origin in chain(self._trusted, self._others):  # whoever came later may quote
            left -= _work(text, held)
            if left <= 0:
                return NOT_LOOKED, 0
            if text in held:
                return origin, left
        return MODEL, left


def kinds_of(messages: Iterable[Message]) -> frozenset[str]:
    """The kinds of origin in these messages that are not the user's."""
    sources = (origin for one in messages for _, origin in _sources(one.parts, one.role))
    return frozenset(origin.kind for origin in sources if _counts(origin))


def _counts(origin: Origin) -> bool:
    return not origin.trusted and origin is not MODEL


def _work(text: str, held: str) -> int:
    """About how many characters are looked at, at worst, to find one text in another."""
    short, long = len(text), len(held)
    if short > long:
        return 16
    if long < 30_000 and (short < 100 or long < 2_500):  # found by a method that may look at each many times
        return 16 + long + long * min(short, long - short) // 32
    return 16 + long


def _sources(parts: tuple[Part, ...], role: str) -> Iterator[tuple[str, Origin]]:
    """What the conversation was told from outside; what the model said itself is not a source."""
    for part in parts:
        match part:
            case ToolResultPart(parts=inner):
                for one in inner:
                    yield (one.text if isinstance(one, TextPart) else ""), one.origin
            case TextPart(text=text, origin=origin) if role != "assistant":
                yield text, origin
            case DataPart(text=text, origin=origin):
                yield text, origin
            case ImagePart(origin=origin) | FilePart(origin=origin):
                yield "", origin
            case ToolCallPart(name=name, arguments=arguments):
                yield name, MODEL
                for _, said in _leaves(_plain(arguments)):
                    yield said, MODEL
            case _:
                pass


def _plain(arguments: str) -> Any:
    try:
        return parse(arguments or "{}")
    except BorderError:
        return arguments


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """(path, text) of every string in the arguments."""
    if isinstance(value, str):
        yield where or "arguments", value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{where}[{number}]")
