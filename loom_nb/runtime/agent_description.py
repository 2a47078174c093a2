"""What a session needs of an agent, whoever made it."""

from collections.abc import Sequence
from typing import Protocol

from loom_nb.protocols import Capability, Generation
from loom_nb.runtime.hooks import Hooks
from loom_nb.runtime.policies import Runtime
from loom_nb.runtime.stage import ModelReference
from loom_nb.runtime.tally import Tally
from loom_nb.tools import Tool


class AgentDescription(Protocol):
    """What a session needs of an Agent."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def model(self) -> ModelReference:
        """Who speaks."""
        ...

    @property
    def instructions(self) -> str:
        """The system side of every request."""
        ...

    @property
    def tools(self) -> Sequence[Tool]:
        """What the model may call."""
        ...

    @property
    def capabilities(self) -> Sequence[Capability]:
        """What else it is given; opened by the session."""
        ...

    @property
    def generation(self) -> Generation:
        """Sampling options."""
        ...

    @property
    def runtime(self) -> Runtime:
        """The policies of its runs."""
        ...

    @property
    def hooks(self) -> Hooks:
        """Functions of the user that are told what happens."""
        ...

    @property
    def tally(self) -> Tally:
        """The calls of all its sessions."""
        ...
