"""The secrets that brokers of this process have used, for whoever takes them out of texts."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loom_nb.credentials.broker.client import Broker

_BROKERS = "loom_nb.credentials.broker.client"


class UsedSecrets:
    """Takes them out, whichever broker keeps them. Nothing is loaded or started before one was used."""

    __slots__ = ("in_use",)

    def __init__(self) -> None:
        self.in_use = False
        """Whether any secret has been used so far: every turn of every run asks."""

    async def redact(self, text: str) -> str:
        """The text without any secret that was used, in any encoding, each as `[secret NAME]`.

        Raises:
            CredentialError: it cannot be said: then the text is not used.
        """
        for broker in _brokers():
            if broker.in_use:
                text = await broker.redact(text)
        return text


USED = UsedSecrets()
"""Of all brokers of this process."""


def _brokers() -> "Iterable[Broker]":
    loaded: Any = sys.modules.get(_BROKERS)
    return () if loaded is None else loaded.brokers()
