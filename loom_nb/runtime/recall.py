"""A tool by which a model reads again what it is no longer shown."""

import re
from collections.abc import Sequence
from typing import Any

from loom_nb.errors import ToolError
from loom_nb.messages import (
    MODEL,
    DataPart,
    Message,
    Origin,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from loom_nb.runtime.context import HIDDEN, View, item_name
from loom_nb.tools import Tool, tool

MOST = 20_000
"""Characters that are given at once."""
FOUND = 6
"""Messages that a search gives."""
AROUND = 300
"""Characters around what was found."""
_NAME = re.compile(r"m(\d+)(?:-m?(\d+))?")


def recall_tool(view: View) -> Tool:
    """The tool `recall` for a conversation."""

    def recall(item: str = "", query: str = "", start: int = 0, length: int = 10_000) -> list[TextPart]:
        """Read earlier parts of this conversation that are no longer shown whole.

        Give the name of an item, as it stands where something was left out, or words to look for.

        Args:
            item: a message or a range of them, such as m12 or m3-m9.
            query: words to look for in all earlier messages, in place of an item.
            start: first character of an item, counted from 0.
            length: number of characters, at most 20000.
        """
        if bool(item) == bool(query.strip()):
            raise ToolError("give an item such as m12, or a query: one of the two")
        if start < 0 or not 0 < length <= MOST:
            raise ToolError(f"start must be 0 or more, length 1 to {MOST}")
        messages = view.readable()
        if query.strip():
            whole = frozenset(one.first for one in view.items() if not one.changed)
            return _found(messages, query, view.withheld, whole)
        return _read(messages, item, start, length, view.withheld)

    made: Any = tool(read_only=True, max_chars=MOST + 2_000)(recall)
    assert isinstance(made, Tool)  # noqa: S101  tells the type checker
    return made


def _read(
    messages: Sequence[Message], item: str, start: int, length: int, hidden: frozenset[int]
) -> list[TextPart]:
    named = _NAME.fullmatch(item.strip())
    first = int(named[1]) - 1 if named else -1
    last = int(named[2]) - 1 if named and named[2] else first
    if not 0 <= first <= last < len(messages):
        raise ToolError(f"there is no item '{item}'; this conversation has m1 to m{len(messages)}")
    parts: list[TextPart] = []
    skip, left = start, length
    for number in range(first, last + 1):
        if number in hidden:
            parts.append(TextPart(f"[{item_name(number)}: {HIDDEN[1:]}", Origin("system")))
            continue
        for text, origin in _texts(messages[number], item_name(number)):
            piece = text[skip : skip + left]
            skip = max(0, skip - len(text))
            if piece:
                parts.append(TextPart(piece, origin))
                left -= len(piece)
            if left <= 0:
                parts.append(TextPart(f"[… more: start={start + length}]", Origin("system")))
                return parts
    return parts or [TextPart("(nothing there)", Origin("system"))]


def _found(
    messages: Sequence[Message], query: str, hidden: frozenset[int], whole: frozenset[int]
) -> list[TextPart]:
    """Where the words stand: first in what is not shown whole, then by whole phrases and whole words."""
    phrase = " ".join(query.casefold().split())
    words = list(dict.fromkeys(re.findall(r"\w+", phrase)))
    hits: list[tuple[bool, bool, int, int, TextPart]] = []
    for number, message in enumerate(messages[:-1] if messages and messages[-1].calls else messages):
        if number in hidden:
            continue
        for text, origin in _texts(message, item_name(number)):
            low = text.casefold()
            exact = _place(low, phrase)
            places = [at for at in (_place(low, word) for word in words) if at >= 0]
            if exact >= 0 or places:
                at = max(0, (exact if exact >= 0 else min(places)) - AROUND // 2)
                piece = f"{item_name(number)}: …{text[at : at + AROUND + AROUND // 2]}…"
                hits.append((number in whole, exact < 0, -len(places), -number, TextPart(piece, origin)))
    best = sorted(hits, key=lambda hit: hit[:4])[:FOUND]
    return [part for *_, part in best] or [TextPart(f"Nothing holds '{query}'.", Origin("system"))]


def _place(text: str, words: str) -> int:
    """Where it stands as words of its own; -1 where it does not."""
    found = re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text) if words else None
    return found.start() if found else -1


def _texts(message: Message, name: str) -> list[tuple[str, Origin]]:
    """The words of a message with where they come from."""
    texts: list[tuple[str, Origin]] = []
    for part in message.parts:
        match part:
            case TextPart():
                texts.append((part.text, part.origin))
            case DataPart():
                texts.append((part.text, part.origin))
            case ToolCallPart():
                texts.append((f"[{name}: call {part.name}({part.arguments})]\n", MODEL))
            case ToolResultPart():
                texts.append((f"[{name}: result of {part.name}]\n", Origin("system")))
                texts += [(one.text, one.origin) for one in part.parts if isinstance(one, TextPart)]
            case ThinkingPart():
                pass
            case _:
                texts.append((f"[{name}: {part.media_type}, {len(part.data):,} bytes]\n", part.origin))
    return texts
