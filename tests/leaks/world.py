"""What the channels are driven in: a broker that keeps a canary of each type, in a home of its own."""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from loom_nb.credentials.broker import Broker
from loom_nb.credentials.policies import Binding, CredentialPolicy
from tests.leaks.canaries import Canary, Scanner, canaries

T = TypeVar("T")
LEAVE = CredentialPolicy(mode="autonomous")


@dataclass
class World:
    """A home in which a broker keeps the canaries.

    Args:
        home: of loom_nb.
        canaries: that are kept.
    """

    home: Path
    canaries: tuple[Canary, ...]
    broker: Broker
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)
    made: dict[str, Any] = field(default_factory=dict, repr=False)
    """What several channels look at and is made once."""

    def __repr__(self) -> str:
        return "<world>"

    @property
    def tmp(self) -> Path:
        """A folder beside the home, for whatever a channel writes."""
        folder = self.home.parent / f"beside-{secrets.token_hex(4)}"
        folder.mkdir()
        return folder

    def once(self, name: str, make: "Callable[[World], T]") -> "T":
        """What `make` gives, made when it is first asked for."""
        if name not in self.made:
            self.made[name] = make(self)
        found: T = self.made[name]
        return found

    def canary(self, of_type: str) -> Canary:
        """The one of this type."""
        return next(one for one in self.canaries if one.type == of_type)

    def scanner(self, control: str) -> Scanner:
        """Looks for all of them, and for the control."""
        return Scanner.of(self.canaries, control=control)

    def marker(self) -> str:
        """A new text for a control: no secret, and nowhere else."""
        return f"control{secrets.token_hex(12)}"


def keep(broker: Broker, some: tuple[Canary, ...], binding: Binding | None = None) -> None:
    """Put each of them into a broker."""
    for one in some:
        broker.put(one.scope, one.type, one.fields, binding=binding, policy=LEAVE)


@contextlib.contextmanager
def world(folder: Path, *, keeps: bool = True) -> Iterator[World]:
    """A world below a folder."""
    home = folder / "home"
    broker = Broker(home / "secrets", master="file", apart=True)
    made = World(home, canaries(), broker)
    with made.closing:
        try:
            if keeps:
                keep(broker, made.canaries)
            yield made
        finally:
            broker.stop()
