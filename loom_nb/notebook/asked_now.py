"""What the front end said with the request that the kernel carries out now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loom_nb.capabilities.cell_tags import tags_of


@dataclass(frozen=True, slots=True)
class AskedNow:
    """The execution of one cell, as its front end asked for it."""

    cell: str = ""
    """The id of the cell; empty where the front end does not say it."""
    tags: frozenset[str] = frozenset()
    """Its tags, where the front end tells them, as JupyterLab does."""
    allow_stdin: bool = False
    """Whether somebody is there who can be asked to type."""


def asked_now(shell: Any) -> AskedNow | None:
    """Of the cell that runs now; None in a terminal, where no front end asks.

    Args:
        shell: of IPython.
    """
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return None
    parent = kernel.get_parent() or {}
    metadata, content = (_mapping(parent.get(part)) for part in ("metadata", "content"))
    cell = metadata.get("cellId", "")
    return AskedNow(
        cell if isinstance(cell, str) else "", tags_of(metadata), bool(content.get("allow_stdin", False))
    )


def _mapping(told: object) -> Mapping[str, Any]:
    return told if isinstance(told, Mapping) else {}
