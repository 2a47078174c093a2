"""Doubles for tests of agents: a server that speaks the vendors' protocols from a script."""

from loom_nb.testing.wire import WireRequest, WireServer
from loom_nb.testing.wire_script import Calls, Drop, Fail, Hang, Raw, Say, Think, WireCall, WireReply

__all__ = [
    "Calls",
    "Drop",
    "Fail",
    "Hang",
    "Raw",
    "Say",
    "Think",
    "WireCall",
    "WireReply",
    "WireRequest",
    "WireServer",
]
