"""The broker of secrets: a process beside the kernel that keeps them, rules on each use and carries it out.

The kernel names a secret and gets what became of its use; a value goes one way only, when it is put.
"""

from loom_nb.credentials.broker.client import Broker, broker_at, default_broker

__all__ = ["Broker", "broker_at", "default_broker"]
