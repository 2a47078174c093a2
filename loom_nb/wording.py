"""How facts are told to people and to models: numbers with their noun, shares, moments, long texts."""

import time


def counted(count: int, noun: str) -> str:
    """A number of things whose plural takes an s: "1 column", "1,204 rows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """A share of 1: "62 %"."""
    return f"{share:.0%}".replace("%", " %")


def moment(seconds: float) -> str:
    """A time since the epoch as the clock of this machine has it: "2025-06-01 14:30"."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def one_line(text: str, chars: int) -> str:
    """A text in one line of at most so many characters."""
    line = " ".join(text[: chars * 4].split())
    return line if len(line) <= chars and len(text) <= chars * 4 else f"{line[: chars - 1]}…"
