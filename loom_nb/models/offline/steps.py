"""What the offline model does next: call tools, or answer."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from loom_nb.models.offline.task import Outcome


@dataclass(frozen=True, slots=True)
class Calls:
    """Tools to call side by side."""

    calls: tuple[tuple[str, dict[str, Any]], ...]
    why: str
    """One line for the reader: "picking add because of “add”"."""
    acts: bool = False
    """Whether it is a step of what was ordered: those may be more than a question is given."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The last words of a run."""

    text: str
    why: str = ""
    bare: bool = False
    """Nothing may be put before it: the text is JSON."""
    values: tuple[Any, ...] = ()
    """What the words say as plain data, for an answer that has a schema: the first that fits is taken."""
    told: bool = False
    """Whether the words themselves are an answer, where a text is wanted and there is no plain value."""
    row: dict[str, Any] | None = None
    """The one row of a frame that the words are about."""


Plan: TypeAlias = Generator[Calls, tuple[Outcome, ...], Answer]
"""Yields calls, is sent what they gave, and ends with an answer. Run again from the start at every turn."""
