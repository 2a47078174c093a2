"""Doubles for tests of agents, and a check that a notebook still does what it shows.

`WireServer` speaks the vendors' protocols from a script; `ManualClock` waits without taking time;
`compare_notebook` runs a notebook again and compares its outputs with the saved ones.
"""

from loom_nb.testing.clock import ManualClock
from loom_nb.testing.compare import Difference, compare_notebook
from loom_nb.testing.wire import WireRequest, WireServer
from loom_nb.testing.wire_script import Calls, Drop, Fail, Hang, Raw, Say, Think, WireCall, WireReply

__all__ = [
    "Calls",
    "Difference",
    "Drop",
    "Fail",
    "Hang",
    "ManualClock",
    "Raw",
    "Say",
    "Think",
    "WireCall",
    "WireReply",
    "WireRequest",
    "WireServer",
    "compare_notebook",
]
