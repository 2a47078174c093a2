"""The tools for files change nothing that loom lives by: its home, with skills, keys and who the agent is."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loom_nb.capabilities.files.guards import folded
from loom_nb.protocols import Call, Layer, Verdict

_MOST_LINKS = 40
"""On the way to one place."""


@dataclass(frozen=True, slots=True)
class HomeStaysTheUsers:
    """Denies the tools for files every change of the home of settings, of what is in it and of what it is in.

    It holds whether or not the home is there yet: who makes it, fills it.
    """

    home: Path
    name: str = "the home of loom"
    layer: Layer = "veto"
    decision: Literal["deny"] = "deny"

    def judge(self, call: Call) -> Verdict | None:
        """Deny a call that changes, moves or deletes such a place."""
        home = str(self.home)
        found = touched(call, [home, *(f"{home}/{inner}" for inner in _OBEYED)])
        if found is None:
            return None
        why = f"{Path(found).name} is, holds or lies in the home of loom: agents obey what stands there"
        return Verdict("deny", f"{why}, so that no agent changes it", self.name)

    def __str__(self) -> str:
        return "changes of the home of loom by the tools for files are denied"


_OBEYED = ("identity", "identity/SOUL.md", "identity/IDENTITY.md", "identity/USER.md", "skills")
"""What may lie elsewhere, with a link in the home that leads there."""


def touched(call: Call, places: Sequence[str]) -> str | None:
    """The path by which a tool for files would change one of these places; None where none would.

    Args:
        call: with what its tool says of it.
        places: see `meets`.
    """
    if call.provided_by != "files" or call.read_only or call.assessment is None:
        return None
    return next((path for path in call.assessment.paths if meets(path, places)), None)


def meets(path: str, places: Iterable[str]) -> bool:
    """Whether a path is one of these places, lies in one, or holds one: who moves it, moves that.

    Names are told apart as the laxest file systems do. The places are followed through every link on the way:
    each of them is a place as well, for another link there leads elsewhere.

    Args:
        path: absolute.
        places: absolute, as they are spelled.
    """
    parts = _names(path)
    for place in places:
        for way in ways(place):
            other = _names(way)
            short = min(len(parts), len(other))
            if parts[:short] == other[:short]:
                return True
    return False


def ways(place: str) -> Iterator[str]:
    """A path as it is spelled, with the first link on it followed, with the next one, and so to its end."""
    path = os.path.abspath(place)  # noqa: PTH100  links are followed one by one
    for _ in range(_MOST_LINKS):
        yield path
        above = [Path(path), *Path(path).parents]
        link = next((one for one in reversed(above) if one.is_symlink()), None)
        if link is None:
            return
        try:
            target = os.path.join(link.parent, link.readlink())  # noqa: PTH118  '..' is resolved below
        except OSError:
            return
        path = os.path.normpath(os.path.join(target, os.path.relpath(path, link)))  # noqa: PTH118
    yield os.path.realpath(place)


def _names(path: str) -> tuple[str, ...]:
    return tuple(folded(name) for name in Path(path).parts)
