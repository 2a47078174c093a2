"""How many tokens a text is likely to be, without a network and without a tokenizer.

The vendor's own count is always preferred: these figures stand only for what it has not counted yet.
"""

from loom_nb.media.counting import file_tokens, image_tokens
from loom_nb.messages import (
    DataPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)

CHARS_PER_TOKEN = 4
"""For ASCII text; measured vendors lie between 3.5 and 4.5 for English and code."""
OTHERS_PER_TOKEN = 1.5
"""Characters that are not ASCII."""
MESSAGE_TOKENS = 4
"""The frame around each message."""
ANSWER = 8_000
"""Tokens of a window that are left for the answer, where a request sets no limit; a quarter at most."""


def room_in(window: int, answer: int | None = None) -> int:
    """Tokens that a request may have of a window, less room for its answer.

    Args:
        window: tokens of request and answer together.
        answer: tokens of the answer at most, where there is a limit.
    """
    return window - min(answer or ANSWER, window // 4)


def estimate(text: str) -> int:
    """Tokens of a text: four ASCII characters, or one and a half others, to a token; at least 1."""
    if not text:
        return 0
    if text.isascii():
        return len(text) // CHARS_PER_TOKEN or 1
    ascii_chars = len(text.encode("ascii", "ignore"))
    return max(1, round(ascii_chars / CHARS_PER_TOKEN + (len(text) - ascii_chars) / OTHERS_PER_TOKEN))


def estimate_message(message: Message) -> int:
    """Tokens of a whole message, its calls, results and images included."""
    total = MESSAGE_TOKENS
    for part in message.parts:
        if type(part) is TextPart and part.text.isascii():  # as `estimate` has it: nearly all are
            total += len(part.text) // CHARS_PER_TOKEN or (1 if part.text else 0)
        else:
            total += estimate_part(part)
    return total


def estimate_part(part: Part) -> int:
    """Tokens of a part without the frame of its message."""
    # compared by type: to tell that a struct is no instance of another class takes longer than all the rest
    if type(part) is TextPart or type(part) is ThinkingPart:
        return estimate(part.text)
    if type(part) is ToolResultPart:
        total = 8
        for inner in part.parts:
            total += estimate_part(inner)
        return total
    if type(part) is ToolCallPart:
        return 8 + estimate(part.name) + estimate(part.arguments)
    if type(part) is DataPart:
        return 8 + estimate(part.name) + estimate(part.text)
    if isinstance(part, ImagePart):
        return image_tokens(part.data)
    return file_tokens(part.data, part.media_type) if isinstance(part, FilePart) else 0
