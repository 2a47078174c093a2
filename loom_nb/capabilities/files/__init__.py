"""The files under one folder, to read, to search and, where that is wanted, to change.

Nothing outside of the folder can be reached, also not while others exchange names in it: see `folder`.
What is changed can be taken back, and is told before it is done: see `plans`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from loom_nb.capabilities.files.folder import Folder
from loom_nb.capabilities.files.home_rule import HomeStaysTheUsers
from loom_nb.capabilities.files.secret_rule import AskAboutSecrets
from loom_nb.capabilities.files.tools import Acting, Looking
from loom_nb.checks import check, flag, path_of
from loom_nb.protocols import Toolset
from loom_nb.settings import load

__all__ = ["FilesCapability", "Folder"]

_WANTED = {"root": path_of(such_as='"data"'), "read_only": flag()}


@dataclass(frozen=True)
class FilesCapability:
    """The tools over the folder `root`; those that change something where `read_only` is False.

    `home` is that of settings, which no tool here changes; None for the one in force.
    """

    root: str = "."
    read_only: bool = True
    home: Path | None = None
    name: str = field(default="files", init=False)

    def __post_init__(self) -> None:
        check(self, _WANTED, called="Capability.files")

    async def open(self) -> Toolset:
        """Hold the folder open, so that it stays the same one even when it is moved.

        Raises:
            SetupError: there is no such folder, or this system cannot confine a path.
        """
        folder = Folder(self.root)

        async def close() -> None:
            folder.close()

        looking = Looking(folder).tools()
        acting = () if self.read_only else Acting(folder).tools()
        home = self.home if self.home is not None else load().home
        rules = (AskAboutSecrets(), HomeStaysTheUsers(home))
        return Toolset(tools=(*looking, *acting), rules=rules, close=close)
