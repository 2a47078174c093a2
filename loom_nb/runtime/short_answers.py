"""A short answer, "yes" or "the second one", says nothing without the question that it answers.

So both stay together in what is sent, whatever is left out of the rest.
"""

from collections.abc import Sequence

from loom_nb.messages import Message, TextPart, ToolResultPart
from loom_nb.runtime.context import last_instruction, starts_an_exchange
from loom_nb.tokens import estimate

SHORT = 12
"""Tokens of an answer at most, estimated: some 48 letters."""
BARE = 4
"""Tokens of words that say nothing by themselves: also where nobody put a question mark."""
ASKS = "ask_user"
"""The tool by which a model asks in the midst of its work."""
_QUESTION_MARKS = ("?", "\uff1f", "\u061f")


def is_short(text: str) -> bool:
    """Whether words may be the answer to a question: few, and no question themselves."""
    text = text.strip()
    return bool(text) and estimate(text) <= SHORT and not text.endswith(_QUESTION_MARKS)


def answers_what(messages: Sequence[Message]) -> frozenset[int]:
    """The numbers of the messages without which a short answer of the person says nothing.

    Where the latest instruction is short: the words of the model before it, if they ask something or the
    instruction is hardly a word. Where the last question that the model asked by a tool since then got a
    short answer: the call and its result.
    """
    latest = last_instruction(messages)
    kept: set[int] = set()
    said = _said(messages[latest]) if latest >= 0 else ""
    if is_short(said):
        before = _words_before(messages, latest)
        bare = estimate(said.strip()) <= BARE
        kept.update(one for one in before if bare or _asks(messages[one]))
    return frozenset(kept | _asked_since(messages, latest))


def _words_before(messages: Sequence[Message], latest: int) -> Sequence[int]:
    """The last words of the model in the exchange before."""
    for number in range(latest - 1, -1, -1):
        message = messages[number]
        if message.role == "assistant" and message.text.strip():
            return [number]
        if starts_an_exchange(message):
            break
    return ()


def _asks(message: Message) -> bool:
    return any(mark in message.text for mark in _QUESTION_MARKS)


def _asked_since(messages: Sequence[Message], latest: int) -> set[int]:
    """The last question by a tool after the latest instruction, with its result."""
    for number in range(len(messages) - 1, max(latest, 0), -1):
        answers = [part for part in messages[number].parts if isinstance(part, ToolResultPart)]
        asked = [part for part in answers if part.name == ASKS]
        if asked:
            short = any(is_short(part.text) for part in asked)
            return {number - 1, number} if short else set()
    return set()


def _said(message: Message) -> str:
    """What the person says in it, without what comes with it."""
    words = [part.text for part in message.parts if isinstance(part, TextPart) and part.origin.kind == "user"]
    return "\n".join(words)
