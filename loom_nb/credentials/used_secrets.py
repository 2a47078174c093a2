"""The secrets that brokers of this process have used, for whoever takes them out of texts."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loom_nb.credentials.broker.client import Broker

_BROKERS = "loom_nb.credentials.broker.client"


class UsedSecrets:
    """Takes them out, whichever broker keeps them. Nothing is loaded or started before one was used."""

    __slots__ = ()

    @property
    def in_use(self) -> bool:
        """Whether any secret has been used so far."""
        return _BROKERS in sys.modules and any(broker.in_use for broker in _brokers())

    async def redact(self, text: str) -> str:
        """The text without any secret that was used, in any encoding, each as `[secret NAME]`.

        Raises:
            CredentialError: it cannot be said: then the text is not used.
        """
        for broker in _brokers():
            if broker.in_use:
                text = await broker.redact(text)
        return text


def _brokers() -> "Iterable[Broker]":
    loaded: Any = sys.modules.get(_BROKERS)
    return () if loaded is None else loaded.brokers()
