"""Child processes that can see little, change less, and really end.

`ladder` finds out which walls this system can build, `walls` says what a child may reach, `process`
runs it. What a level cannot do is told by its notes; none is given up in silence.
"""

from loom_nb.sandbox.ladder import WANTED, Level, Sandbox, Wanted, choose, doctor_lines, probe
from loom_nb.sandbox.process import Child, Finished, run
from loom_nb.sandbox.walls import Walls, child_environment

__all__ = [
    "WANTED",
    "Child",
    "Finished",
    "Level",
    "Sandbox",
    "Walls",
    "Wanted",
    "child_environment",
    "choose",
    "doctor_lines",
    "probe",
    "run",
]
