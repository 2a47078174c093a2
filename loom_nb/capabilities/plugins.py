"""Capabilities of other packages, found by the entry points of `loom_nb.capabilities`."""

import difflib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias

from loom_nb.errors import LoomError, SetupError
from loom_nb.protocols import Capability

GROUP = "loom_nb.capabilities"

Plugged: TypeAlias = Capability
"""A capability of another package."""


def plugins() -> dict[str, EntryPoint]:
    """What installed packages announce, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def plugged(name: str, options: Mapping[str, Any]) -> Plugged:
    """The capability that an installed package announces under this name, made with these options.

    Raises:
        SetupError: no installed package has it, it cannot be loaded, or it is no capability.
    """
    known = plugins()
    point = known.get(name)
    if point is None:
        near = difflib.get_close_matches(name, known, n=1)
        raise SetupError(
            f"no installed package brings a capability '{name}'",
            cause=f"found: {', '.join(sorted(known)) or 'none'}",
            fixes=[f"Capability.plugin({near[0]!r})"] if near else ["pip install the package that brings it"],
        )
    try:
        made = point.load()(**options)
    except LoomError:
        raise
    except Exception as error:  # the border: code of another package fails in any way it likes
        raise SetupError(
            f"the capability '{name}' of {_package(point)} could not be made",
            cause=f"{type(error).__name__}: {error}",
        ) from error
    if not isinstance(made, Capability):
        raise SetupError(
            f"what {_package(point)} announces as '{name}' is no capability",
            cause="a capability has a name and an async open() that gives a Toolset",
        )
    return made


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
