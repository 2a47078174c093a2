"""Takes flags, and the words behind them, out of the words of a `%loom` line."""

from loom_nb.errors import LoomUsageError


def flag(words: list[str], name: str) -> bool:
    """Whether a flag is among the words; it is taken out of them."""
    found = name in words
    words[:] = [word for word in words if word != name]
    return found


def option(words: list[str], name: str, form: str) -> str:
    """The word behind a flag, both taken out of the words; empty where the flag is not there.

    Args:
        words: of the line, without the command.
        name: of the flag: `--as-of`.
        form: what is to be typed, for the error.

    Raises:
        LoomUsageError: nothing stands behind it.
    """
    if name not in words:
        return ""
    place = words.index(name)
    if place + 1 >= len(words):
        raise LoomUsageError(f"{name}: what?", fixes=[form])
    del words[place]
    return words.pop(place)
