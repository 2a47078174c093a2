"""The broker of secrets: a process beside the kernel that keeps them, rules on each use and carries it out.

The kernel names a secret and gets what became of its use; a value goes one way only, when it is put.
"""

from loom_nb.credentials.broker.client import Answer, Broker, broker_at, default_broker
from loom_nb.credentials.broker.operations import Exchange, ExchangeBroke

__all__ = ["Answer", "Broker", "Exchange", "ExchangeBroke", "broker_at", "default_broker"]
