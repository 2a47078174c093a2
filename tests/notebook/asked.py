"""A cell whose agent asks before anything acts: what `%%loom` does, in the open, for tests.

In a notebook: ``await asked("save it", save_report)``.
"""

import os
import sys
from contextlib import nullcontext
from typing import Any

from loom_nb import Agent, GovernancePolicy, MemoryStore, Model, Runtime
from loom_nb.notebook import render
from loom_nb.notebook.asking import Desk, Pages, faces_for
from loom_nb.notebook.bridge import play
from loom_nb.notebook.comm_gate import CommGate, is_needed
from loom_nb.notebook.painter import KernelOutlet, LivePainter, PlainPainter, StaticPainter, mode_for
from loom_nb.notebook.stopping import StopBar

PAGES = Pages()
_GATES: list[CommGate] = []


def _gate(kernel: Any) -> CommGate | None:
    from importlib.metadata import version

    if is_needed(version("ipykernel")) and not _GATES:
        _GATES.append(CommGate(kernel))
    return _GATES[0] if _GATES else None


def draw(transcript):
    return render.bundle(transcript), render.metadata(transcript)


async def asked(goal, *tools, model="anthropic:wire", render_as="auto", answer_within=600.0, place=""):
    """Run it in this cell; the RunResult."""
    from IPython import get_ipython

    shell = get_ipython()
    kernel = getattr(shell, "kernel", None)
    content = (kernel.get_parent() if kernel is not None else {}).get("content", {})
    stdin = bool(content.get("allow_stdin"))
    mode = mode_for(render_as, os.environ, in_kernel=kernel is not None, allow_stdin=stdin)
    policy = GovernancePolicy(own_tools="ask", answer_within=answer_within)
    model = Model.from_name(model) if isinstance(model, str) else model
    agent = Agent(model, tools=tools, runtime=Runtime(governance=policy), session_store=MemoryStore())
    session = agent.session()
    run = session.start(goal)
    bar, listening = None, nullcontext()
    if mode == "live":
        outlet = KernelOutlet(shell)
        painter = LivePainter(outlet, draw, run.id)
        bar, listening = StopBar(run, painter, _gate(kernel)), outlet.listening()
    elif mode == "plain":
        painter = PlainPainter(sys.stdout, run.id)
    else:
        painter = StaticPainter(
            lambda data, metadata: shell.display_pub.publish(data=data, metadata=metadata), draw
        )
    faces = faces_for(shell, mode, _gate(kernel) if mode == "live" else None, PAGES)
    control = Desk(run.id, session, painter, faces, bar) if faces.somebody else bar
    try:
        with listening:
            result = await play(run, painter, control)
    finally:
        await session.close()
    result.raise_for_status()
    shell.user_ns["_result"] = result
