"""Errors on the way of a secret's value, without the frames that held it: `%debug` would find them."""

import traceback
from pathlib import Path

from loom_nb.errors import LoomError


def without_frames(error: BaseException) -> BaseException:
    """The error and all that led to it, without frames; a note says where one that is no LoomError arose."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if not isinstance(one, LoomError) and one.__traceback__ is not None:
            one.add_note(f"at {_places(one)}")
        one.__traceback__ = None
        left += [one.__cause__, one.__context__]
    return error


def _places(error: BaseException) -> str:
    steps = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{Path(step.filename).name}:{step.lineno}" for step in reversed(steps))
