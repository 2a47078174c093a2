"""How a run comes to its end: with which status, why, and what helps."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from loom_nb.errors import (
    CredentialError,
    EndFault,
    LoomContextError,
    LoomError,
    LoomKeyError,
    ModelError,
    ReplayDrift,
    SetupError,
    StoreError,
)
from loom_nb.events import RunFinished, Status
from loom_nb.remedies import Known, first_of, remedies
from loom_nb.runtime.calls import tell
from loom_nb.runtime.redacting import Redacting
from loom_nb.runtime.restore import settle
from loom_nb.runtime.run import MOMENT, Run
from loom_nb.runtime.stage import Stage, so_far

CUT_OFF = RunFinished("stopped", reason="its task was cancelled", fixes=remedies("stopped"))


class Ending(msgspec.Struct):
    """How a run comes to its end, while it does."""

    finished: RunFinished = CUT_OFF
    value: Any = None
    error: BaseException | None = None
    cancelled: asyncio.CancelledError | None = None


async def tell_the_end(stage: Stage, run: Run, ending: Ending) -> None:
    """Tell the hooks of the user."""
    finished = ending.finished
    told = {"id": run.id, "status": finished.status, "output": finished.output, "reason": finished.reason}
    if finished.status == "failed":
        await tell(stage, "run_error", error=ending.error, result=told)
    await tell(stage, "after_run", result=told)


def settle_run(stage: Stage, run: Run, ending: Ending) -> None:
    """Bring the conversation to a valid point, where the run did not end at one."""
    stage.closed = True
    if run.task is not None:  # something that a tool has left behind may have set one
        stage.deadlines.clear(run, run.task)
    if ending.finished.status not in ("completed", "denied"):
        for event in settle(stage):
            run.say(event)


async def is_left(unless: Callable[[], bool], ending: Ending) -> bool:
    """Whether the process ends with its run: then another one finds it interrupted."""
    try:
        await asyncio.sleep(MOMENT)
    except asyncio.CancelledError as stop:
        ending.cancelled = stop
    return unless()


def stopped(stage: Stage | None, run: Run) -> RunFinished:
    """The end of a run that was told to end: its words so far are its output."""
    reason = run.stop_reason or "its task was cancelled"
    if stage is None:
        return RunFinished("stopped", reason=reason, fixes=remedies("stopped"))
    if run.expired:
        seconds = stage.runtime.limits.timeout
        return stage.finished("limit", so_far(stage), "timeout", f"it took longer than {seconds:g} s")
    return stage.finished("stopped", so_far(stage), reason=reason)


def failed(stage: Stage | None, failure: Exception) -> RunFinished:
    """The end of a run that an error ended: what went wrong, and what helps."""
    fault: EndFault
    match failure:
        case LoomKeyError():
            fault = "key"
        case ModelError():
            fault = failure.fault
        case StoreError():
            fault = "store"
        case ReplayDrift():
            fault = "replay"
        case CredentialError():
            fault = "credential"
        case SetupError():
            fault = "setup"
        case LoomContextError():
            fault = "context"
        case _:
            fault = "internal"
    reason = failure.title if isinstance(failure, LoomError) else f"{type(failure).__name__}: {failure}"
    status: Status = "limit" if fault == "context" else "failed"
    fixes = failure.fixes if isinstance(failure, LoomError) else ()
    if not (fixes and isinstance(failure, SetupError)):  # else it knows best
        fixes = first_of(fixes, remedies(status, fault, stage.known() if stage is not None else Known()))
    if stage is None:
        return RunFinished("failed", reason=reason, fault=fault, fixes=fixes)
    return stage.finished(status, so_far(stage), fault, reason, fixes=fixes)


async def tell_safely(ending: Ending, redacting: Redacting) -> None:
    """The end of a run as it may be told: its reason, and what helps, may be in the words of a server."""
    finished = ending.finished
    if redacting.asks and finished.reason:
        reason = "withheld: it was not seen whether it holds a secret"
        fixes, known = finished.fixes, remedies(finished.status, finished.fault)
        seen = "\n".join(fixes)
        try:
            reason = await redacting.text(finished.reason)
            looked_through = seen if fixes == known else await redacting.text(seen)
            fixes = fixes if looked_through == seen else known
        except asyncio.CancelledError as stop:
            ending.cancelled, fixes = stop, known
        finished = msgspec.structs.replace(finished, reason=reason, fixes=fixes)
    told = redacting.kept(finished)
    ending.finished = told if isinstance(told, RunFinished) else finished
