"""The commands of `%loom` that go on with what there is: resume, fork, replay, export."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loom_nb.errors import LoomUsageError
from loom_nb.notebook.card import Card
from loom_nb.settings import REPLAYS

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench
    from loom_nb.protocols import RunRow

REPLAY_WORDS = {
    "off": "the model is asked",
    "auto": "what is recorded is played, for the rest the model is asked and recorded",
    "record": "the model is asked, and the recording begins anew",
    "strict": "only what is recorded is played, in its order; anything else is an error",
}


async def resume(bench: "Workbench", words: list[str]) -> Any:
    """Go on with a run whose kernel ended before it did, as its cell would have."""
    row = bench.find_run(words[0], "%loom resume {}") if words else _interrupted(bench)
    if row.status != "interrupted":
        raise LoomUsageError(
            f"run {row.run} was not interrupted: it is {row.status}",
            fixes=[f"%loom show {row.run}", "%loom runs"],
        )
    return await bench.resume(row.session, row.run)


def _interrupted(bench: "Workbench") -> "RunRow":
    """The latest one of this notebook; of any, where its name is not known."""
    row = next(
        (one for one in bench.store.runs(limit=50) if bench.can_be_resumed(one.session, one.run)), None
    )
    if row is None:
        raise LoomUsageError("no run of this notebook was interrupted", fixes=["%loom runs"])
    return row


async def fork(bench: "Workbench", words: list[str]) -> Card:
    """Go on in a copy of a conversation; the cells that follow are its own."""
    row = bench.find_run(words[0] if words else "last", "%loom fork {}")
    into = await bench.fork(row.session, row.run)
    return Card(
        f"this notebook goes on from {row.run} in a copy",
        (("conversation", into), ("the one before", f"{row.session}, as it was")),
        steps=(
            ("%%loom", "goes on in the copy"),
            (f"%%loom --continue {row.session}/{row.run}", "goes back"),
        ),
    )


def replay(bench: "Workbench", words: list[str]) -> Card:
    """How recorded answers are used from the next cell on, and in which file they are."""
    if words:
        if words[0] not in REPLAYS:
            raise LoomUsageError(
                f"%loom replay: there is no way '{words[0]}'",
                cause="; ".join(f"{name}: {told}" for name, told in REPLAY_WORDS.items()),
                fixes=[f"%loom replay {name}" for name in REPLAYS[:3]],
            )
        bench.replay = next(name for name in REPLAYS if name == words[0])
        bench.recorded_in = Path(words[1]).expanduser() if words[1:] else bench.recorded_in
        bench.forget_recordings()
    path = bench.recording()
    held = f"{path.stat().st_size:,} bytes" if path.exists() else "not there yet"
    return Card(
        f"replay: {bench.replay}",
        (("from the next cell on", REPLAY_WORDS[bench.replay]), ("recording", f"{path.name}, {held}")),
        steps=(
            ("LOOM_NB_REPLAY=strict", "in the environment of a test: nothing is asked, drift is an error"),
        )
        if bench.replay != "off"
        else (("%loom replay auto", "records what the model answers, and plays it from then on"),),
    )


def diff(bench: "Workbench", words: list[str]) -> Card:
    """Two runs side by side; of one conversation or of two."""
    from loom_nb.notebook.difference_card import difference_card
    from loom_nb.runtime.difference import RunDifference, side_of

    if len(words) != 2:
        raise LoomUsageError(
            "%loom diff takes two runs",
            cause=f"given: {shlex.join(words) or 'nothing'}",
            fixes=["%loom diff r1 r2", "%loom runs"],
        )
    rows = [bench.find_run(word, "%loom diff {}") for word in words]
    left, right = (side_of(bench.entries_of(row), row.status) for row in rows)
    return difference_card(RunDifference(left, right), times=bench.mode() == "live")


def export(bench: "Workbench", words: list[str]) -> Card:
    """Write a run to a file: Markdown, HTML, Python or a notebook, by its ending."""
    from loom_nb.notebook.exporting import export as exported
    from loom_nb.notebook.exporting import kind_of

    name, *rest = words or ["last"]
    if len(rest) != 2 or rest[0] != "--to":
        raise LoomUsageError(
            "%loom export: say which run and where to",
            cause=f"given: {shlex.join(words) or 'nothing'}",
            fixes=["%loom export last --to run.md", "%loom export r3 --to run.ipynb"],
        )
    path = Path(rest[1]).expanduser()
    kind = kind_of(path.name)
    if path.exists():
        raise LoomUsageError(f"{path} exists", cause="nothing is overwritten", fixes=["another name"])
    row = bench.find_run(name, "%loom export {} --to run.md")
    text = exported(bench.entries_of(row), kind)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LoomUsageError(f"{path} cannot be written", cause=error.strerror or str(error)) from None
    return Card(
        f"{row.run} was written to {path}", (("size", f"{len(text.encode()):,} bytes"), ("as", kind)),
        steps=((f"read {path.name} before you give it away", "only what looks like a key was taken out"),),
    )  # fmt: skip
