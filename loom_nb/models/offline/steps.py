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


@dataclass(frozen=True, slots=True)
class Answer:
    """The last words of a run."""

    text: str
    why: str = ""
    bare: bool = False
    """Nothing may be put before it: the text is JSON."""


Plan: TypeAlias = Generator[Calls, tuple[Outcome, ...], Answer]
"""Yields calls, is sent what they gave, and ends with an answer. Run again from the start at every turn."""
