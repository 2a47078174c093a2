"""Where the texts of a turn come from: found again, word for word, in the conversation.

A model can only say what it was told or what it makes up. So the origin of an argument is the part of
the conversation that holds it: the user's own words, else whoever had it first, else the model.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from loom_nb.border import parse
from loom_nb.errors import BorderError
from loom_nb.messages import (
    MODEL,
    Conversation,
    DataPart,
    FilePart,
    ImagePart,
    Origin,
    Part,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from loom_nb.protocols import Taint

SHORTEST = 3
"""Characters: shorter texts are found anywhere and say nothing."""


class Origins:
    """The origins in one conversation, which grows; each message is looked at once."""

    __slots__ = ("_conversation", "_kinds", "_parts", "_seen")

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._seen = 0
        self._kinds: set[str] = set()
        self._parts: list[tuple[str, Origin]] = []

    def trace(self, arguments: Mapping[str, Any]) -> Taint:
        """The kinds of origin in the conversation that are not the user's, and where arguments were found."""
        self._catch_up()
        found = {where: self._whence(text) for where, text in _leaves(arguments) if len(text) >= SHORTEST}
        return Taint(frozenset(self._kinds), found if self._kinds else {})

    def _catch_up(self) -> None:
        messages = self._conversation.messages
        for message in messages[self._seen :]:
            for text, origin in _sources(message.parts, message.role):
                self._parts.append((text, origin))
                if not origin.trusted and origin is not MODEL:
                    self._kinds.add(origin.kind)
        self._seen = len(messages)

    def _whence(self, text: str) -> Origin:
        first: Origin | None = None
        for held, origin in self._parts:
            if text in held:
                if origin.trusted:
                    return origin
                first = first or origin  # whoever came later may quote
        return first or MODEL


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
