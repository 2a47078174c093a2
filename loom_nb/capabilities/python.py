"""Lets an agent run Python in a notebook's namespace, once a person has allowed the code.

What changed is told to the model and to the reader, and a person can take it back.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from loom_nb.border import clean
from loom_nb.capabilities.python_code import destroys, mentioned, program, reasons, talks
from loom_nb.capabilities.python_running import GRACE, ORIGIN, ThreadRunner, Work
from loom_nb.capabilities.snapshots import Namespace, Rollback, Snapshot, Step, in_words
from loom_nb.capabilities.written import Written
from loom_nb.checks import check, number
from loom_nb.errors import LoomError, LoomUsageError
from loom_nb.events import VariablesChanged
from loom_nb.messages import ResultPart, TextPart
from loom_nb.protocols import CallContext, Toolset, current_call
from loom_nb.tools import Assessment, Effect, Tool

TIMEOUT = 120.0
"""Seconds that a piece of code may run."""

_numbers = itertools.count(1)


class Runner(Protocol):
    """Runs code in this process."""

    @property
    def unfinished(self) -> bool:
        """Whether code that was left behind still runs."""
        ...

    async def run(self, work: Work, seconds: float) -> None:
        """Run it to its end or to the end of its time; `work.ended` says which."""
        ...


_WANTED = {"timeout": number(above=0, unit="a number of seconds", such_as="120")}


@dataclass(frozen=True, eq=False)
class PythonCapability:
    """The tool run_python over a namespace that the notebook shares.

    Args:
        namespace: the variables by name, or a function that gives them; it is written to.
        runner: runs the code; by default on a thread of this process.
        timeout: seconds that a piece of code may run.
        hidden: names that are not the reader's while they hold these very values.
        root: the folder in which written files are kept with the run; None: none are.
    """

    namespace: Callable[[], Namespace] | Namespace = field(repr=False)
    runner: Runner | None = field(default=None, repr=False)
    timeout: float = field(default=TIMEOUT, kw_only=True)
    hidden: Mapping[str, Any] | None = field(default=None, kw_only=True, repr=False)
    root: Path | None = field(default=None, kw_only=True)
    name: str = field(default="python", init=False)
    rollback: Rollback = field(init=False, repr=False)
    """The last steps, to be kept or taken back by a person."""
    _told_large: list[bool] = field(default_factory=list, init=False, repr=False, compare=False)
    """Whether it was told that the folder is too large to be followed; once is enough."""
    turn: asyncio.Lock = field(init=False, repr=False)
    """One piece of code at a time, of all conversations: else nobody knows who changed what."""

    def __post_init__(self) -> None:
        check(self, _WANTED, called="Capability.python")
        if not callable(self.namespace) and not isinstance(self.namespace, dict):
            raise LoomUsageError(
                "Capability.python: namespace is a dict or a function that gives one",
                fixes=["Capability.python(globals())"],
            )
        runner = self.runner or ThreadRunner()
        rollback = Rollback(self._names)
        rollback.unfinished = lambda: runner.unfinished
        object.__setattr__(self, "runner", runner)
        object.__setattr__(self, "rollback", rollback)
        object.__setattr__(self, "turn", asyncio.Lock())

    async def open(self) -> Toolset:
        """The tool; there is nothing to connect."""

        async def run_python(code: str) -> list[ResultPart]:
            async with self.turn:
                return await self._run(code)

        tool = Tool(
            function=run_python,
            name="run_python",
            description=DESCRIPTION,
            effects=frozenset({"runs", "writes"}),
            parallel=False,
            timeout=self.timeout + 2 * GRACE + 30.0,  # its own limit comes first, and keeps what was printed
            assess=self.assess,
        )
        return Toolset(tools=(tool,))

    def assess(self, code: str) -> Assessment:
        """What this code would do, by a look at its words; a refusal where it cannot run."""
        effects: set[Effect] = {"runs", "writes"}
        try:
            ready = program(code, "<run_python>")
            names = self._names()
            told = list(reasons(ready.tree, names))
            if ready.bound_to_home(names):
                told.append("runs on the notebook's own thread: while it computes only ■ ends it, not Stop")
        except LoomError as error:
            return Assessment(frozenset(effects), refusal=str(error), preview=code, preview_kind="code")
        except Exception as error:  # noqa: BLE001  the border to odd values: a look must not fail
            told = [f"could not be looked into ({type(error).__name__})"]
            return Assessment(frozenset(effects), reasons=tuple(told), preview=code, preview_kind="code")
        if talks(ready.tree):
            effects.add("network")
        return Assessment(
            frozenset(effects),
            destructive=destroys(ready.tree),
            reasons=tuple(told),
            preview=code,
            preview_kind="code",
        )

    def _names(self) -> Namespace:
        return self.namespace() if callable(self.namespace) else self.namespace

    async def _run(self, code: str) -> list[ResultPart]:
        """Run the code, then tell what it gave and what it changed."""
        assert self.runner is not None  # noqa: S101  __post_init__ sets it
        names, context = self._names(), current_call.get()
        ready = program(code, f"<run_python {next(_numbers)}>")
        reach = mentioned(ready.tree, names)
        before = self.runner.unfinished
        snapshot = await asyncio.to_thread(Snapshot, names, hidden=self.hidden)
        files = await asyncio.to_thread(Written, self.root) if self.root and context is not None else None
        work = Work(ready, names, context.show if context is not None else _nowhere)
        try:
            await self.runner.run(work, self.timeout)
        finally:  # also when the run is stopped: what it did until then can be taken back
            step = await asyncio.to_thread(snapshot.compare, names, reach)
            kept = self._keep(step, context)
            if work.ended == "left" and context is not None:
                context.show(f"\n{_how(work, self.timeout)}\n")
        parts = list(work.parts())
        told = [_how(work, self.timeout), in_words(step, kept=kept)]
        if before:
            told.append(EARLIER)
        if context is not None:
            told += await asyncio.to_thread(_kept_products, context, work, files)
            if files is not None and not files.was_followed and not self._told_large:
                self._told_large.append(True)
                told.append(f"Note: {files.left_out}")
        if not parts and work.ended == "done":
            told.insert(0, "(no output)")
        return [*parts, TextPart("\n".join(text for text in told if text), ORIGIN)]

    def _keep(self, step: Step, context: CallContext | None) -> bool:
        """Keep the way back, and say what changed."""
        call_id = context.call_id if context is not None else f"python-{next(_numbers)}"
        kept = self.rollback.add(call_id, step)
        if context is not None and step.names:
            cannot = (
                step.cannot_restore if kept else tuple(dict.fromkeys([*step.names, *step.cannot_restore]))
            )
            context.say(VariablesChanged(call_id, step.changes, cannot_restore=cannot))
        return kept


DESCRIPTION = (
    "Run Python code in the notebook's own namespace, after a person has allowed it.\n\n"
    "Variables stay afterwards; the value of the last expression, printed output and figures come back. "
    "Top-level await works. input() does not, nor do magics and !commands. The person can roll back.\n\n"
    "Returns: output, value, figures, the exception with its line, and which variables changed."
)
EARLIER = "Note: code of an earlier call that could not be stopped was still running meanwhile."


def _how(work: Work, seconds: float) -> str:
    """How it ended, in words; empty where it just did."""
    match work.ended:
        case "raised":
            return f"The code raised {work.error}"
        case "late":
            return f"The code was stopped after {seconds:g} s, its time limit. What it had done stays."
        case "stopped":
            return "The code was stopped. What it had done until then stays."
        case "left":
            return (
                "The code could not be stopped: it is in a call that does not let itself be interrupted. "
                "It was left behind, ends when that call returns, and may change variables until then."
            )
        case _:
            return ""


def _kept_products(context: CallContext, work: Work, files: Written | None) -> list[str]:
    """Keep with the run what the code drew, showed and wrote; gives what is to be said of it."""
    told = [
        context.product(kind, value, name, of_rows=of_rows) for kind, value, name, of_rows in work.products
    ]
    for name, size, data in files.since() if files is not None else ():
        if data is None:
            told.append(f"{name} has {size:,} bytes: too large to be kept with the run")
        else:
            why, shown = context.product("file", data, clean(name)), " ".join(clean(name).split())
            told.append(f"{shown} is not kept: {why}" if why and shown not in why else why)
    if files is not None and files.was_followed:
        told.append(files.left_out)
    return [f"Note: {text}" for text in dict.fromkeys(told) if text]


def _nowhere(_text: str) -> None:
    """Nobody looks on."""
