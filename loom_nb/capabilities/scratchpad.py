"""A scratchpad: the agent's own short notes, which outlive compaction, handoffs and the process."""

from dataclasses import dataclass
from typing import Literal

from loom_nb.border import clean
from loom_nb.errors import ToolError
from loom_nb.events import NotesWritten
from loom_nb.protocols import Toolset, current_call
from loom_nb.tools import tool

MAX_NOTES = 1_200
"""Characters of all notes together: the dashboard holds them in every request."""


@dataclass(frozen=True)
class ScratchpadCapability:
    """Lets the agent keep notes of what it must not lose."""

    name: str = "scratchpad"

    async def open(self) -> Toolset:
        """The tool; there is nothing to connect."""
        return Toolset(tools=[tool(read_only=True, parallel=False)(scratchpad)])


async def scratchpad(how: Literal["append", "replace", "clear", "read"], text: str = "") -> str:
    """Keep short notes: what was found out and must not be lost when earlier messages are left out.

    Args:
        how: append a note, replace all notes by this one, clear them, or read them.
        text: the note, for append and replace.
    """
    context = current_call.get()
    before = context.notes if context is not None else ""
    if how == "read":
        return before or "the scratchpad is empty"
    text = clean(text).strip()
    if bool(text) == (how == "clear"):
        raise ToolError("text: nothing goes with clear" if text else f"text: what is there to {how}?")
    kept = f"{before}\n{text}" if how == "append" and before else text
    if len(kept) > MAX_NOTES:
        raise ToolError(
            f"the scratchpad holds {MAX_NOTES:,} characters, this would be {len(kept):,}",
            fixes=["replace all notes by what still matters"],
        )
    if context is not None:
        context.say(NotesWritten(text, how))
    return f"{len(kept):,} of {MAX_NOTES:,} characters are used" if kept else "the scratchpad is empty"
