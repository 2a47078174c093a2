"""Finds every place of many words in one pass over a text."""

import re
from collections.abc import Callable
from typing import TypeAlias

Spans: TypeAlias = list[tuple[int, int, int]]
"""Each from where, up to where, which word."""


def search(words: list[bytes]) -> Callable[[bytes], Spans]:
    """Finds every place at which one of the words stands, also within another one, in linear time."""
    if not words:
        return lambda text: []
    try:
        from ahocorasick_rs import BytesAhoCorasick
    except ImportError:  # where it cannot be had, as in a browser
        return _slow_search(words)
    find = BytesAhoCorasick(words).find_matches_as_indexes
    return lambda text: [(start, end, word) for word, start, end in find(text, overlapping=True)]


def _slow_search(words: list[bytes]) -> Callable[[bytes], Spans]:
    """The longest word at each place, by a regular expression."""
    numbers = {word: number for number, word in enumerate(words)}
    longest_first = sorted(words, key=len, reverse=True)
    pattern = re.compile(b"(?=(" + b"|".join(map(re.escape, longest_first)) + b"))")
    return lambda text: [(*found.span(1), numbers[found[1]]) for found in pattern.finditer(text)]
