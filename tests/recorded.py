"""Records the lessons that are played from a recording: the vendor's own client, and a script in its place.

A lesson with a recording names it in its metadata, `"loom_recording": "file.json"`, and plays it strictly.
To record, its cells are played with `record` for `strict` and a wire server at the vendor's address; cells
that are to fail are left out, since what they ask is not to be in the recording.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from loom_nb.testing import Calls, Say, WireServer
from loom_nb.testing.compare import RAISES, _tags
from loom_nb.testing.wire_script import WireReply
from tests.played import play

RECORDING = "loom_recording"
"""The key in a notebook's metadata under which it names its recording."""


@dataclass(frozen=True)
class Vendor:
    """Whose part is played, and what is said in it."""

    address: str
    """The environment variable with the address that the vendor's client calls."""
    key: str
    """The environment variable with its key."""
    script: tuple[WireReply, ...]


CAFES = Vendor(
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_API_KEY",
    (
        Say("I look up both cities.")
        .then(Calls(("opening_hours", {"city": "Rome"}), ("opening_hours", {"city": "Oslo"})))
        .with_usage(input_tokens=1_204, output_tokens=96),
        Say(
            "The café in **Rome** is open longer: 12 hours a day (7:00 to 19:00), "
            "against 8 hours in Oslo (8:00 to 16:00)."
        ).with_usage(input_tokens=1_391, output_tokens=44),
        Say("At 17:30 only **Rome** is open; Oslo closed at 16:00.").with_usage(
            input_tokens=1_463, output_tokens=21
        ),
    ),
)
SCRIPTS: Mapping[str, Vendor] = {"13_a_real_model": CAFES}
"""By the name of the lesson."""


KEY = "a-key-that-opens-nothing"


def recording_of(path: Path) -> Path | None:
    """Where the recording of a notebook lies, if it plays one."""
    name = nbformat.read(path, as_version=4).metadata.get(RECORDING)
    return path.with_name(name) if name else None


def record(path: Path, notebook: Any, folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Record a lesson anew into `folder`; the problems, where that could not be done.

    Args:
        path: of the lesson.
        notebook: its cells.
        folder: in which it is played, and its recording written.
        environment: of its kernel; has no key.
    """
    vendor = SCRIPTS[path.stem]
    take = copy.deepcopy(notebook)
    take.cells = [cell for cell in take.cells if not _tags(cell) & RAISES]
    for cell in take.cells:
        cell.source = cell.source.replace("%loom replay strict", "%loom replay record")
    with WireServer(vendor.script, rules=True, strict=False, key=KEY) as server:
        told = {**environment, vendor.address: server.url, vendor.key: KEY}
        problems = play(take, folder, told).problems
        by_hand = [one for one in server.requests if "x-stainless-lang" not in one.headers]
        left = [f"the script still has {server.leftover!r}"] if server.leftover else []
    return [*problems, *left, *(f"request {one.number} is not of the vendor's client" for one in by_hand)]
