"""What the agents of one kernel are equipped with, and how much of it runs unasked."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loom_nb.errors import LoomUsageError
from loom_nb.notebook.cells_of_notebook import NotebookCells
from loom_nb.notebook.knowledge_places import KnowledgePlaces
from loom_nb.notebook.past import notebook_name
from loom_nb.notebook.tool_groups import ALWAYS
from loom_nb.settings import Mode

if TYPE_CHECKING:
    from loom_nb.capabilities.identity_files import Files
    from loom_nb.capabilities.memory.store import NoteStore
    from loom_nb.capabilities.python import PythonCapability
    from loom_nb.credentials.broker import Broker
    from loom_nb.protocols import Capability, Rule
    from loom_nb.runtime.governance import GovernancePolicy
    from loom_nb.settings import Settings


WITH_SECRETS = ("http", "ssh")
"""Capabilities whose agent may name secrets."""


def _no_machine() -> "Capability":
    raise LoomUsageError(
        "-t ssh: no secret for another machine is granted here",
        cause="one is of type ssh_private_key or password, bound to a host, a user and the key of the server",
        fixes=[
            "%loom key set NAME --type ssh_private_key --host H --user U --host-key SHA256:…",
            "%loom key   (which there are)",
        ],
    )


class Equipment:
    """Capabilities by name, each made once, and the mode of approvals.

    Args:
        shell: of IPython.
        settings: in force.
    """

    def __init__(self, shell: Any, settings: "Settings") -> None:
        self._shell = shell
        self._made: dict[str, Capability] = {}
        self._files: Files | None = None
        self._home = settings.home
        self._notes: NoteStore | None = None
        self._code = secrets.token_hex(2)
        """Types itself in no saved cell: it is another one in each kernel."""
        self._allow = settings.allow
        self._all_chosen = settings.approve == "all"
        self.mode: Mode = settings.approve
        self._policies: dict[Mode, GovernancePolicy] = {}
        self.knowledge = KnowledgePlaces(settings.home, lambda: notebook_name(shell.user_ns))
        """The documents of `-t knowledge`."""
        self.granted: Callable[[str], tuple[str, ...]] = lambda _: ()
        """The secrets that `http` or `ssh` may name in this notebook."""
        self.broker: Callable[[], Broker | None] = lambda: None
        """Uses them."""
        self.cells = NotebookCells(shell)
        """Follows the cells from the beginning: what is excluded by a tag must not slip through unsaved."""
        self.cells.watch()

    # -- capabilities ------------------------------------------------------------------------------

    def named(self, name: str) -> "Capability":
        """A capability by the name that `-t` knows; files and commands stay in the working directory.

        Raises:
            LoomUsageError: it needs a secret, or documents, and none are given to it here.
        """
        if name == "knowledge":  # another one with other sources
            return self.knowledge.capability()
        secrets = self.granted(name) if name in WITH_SECRETS else ()
        known = " ".join((name, *secrets))
        if known not in self._made:
            self._made[known] = self._with(name, secrets) if secrets else self._make(name)
        return self._made[known]

    def _with(self, name: str, secrets: tuple[str, ...]) -> "Capability":
        """A capability whose agent may name these secrets, and never sees one."""
        if name == "ssh":
            from loom_nb.capabilities.ssh import SshCapability

            return SshCapability(secrets, broker=self.broker())
        from loom_nb.capabilities.http import HttpCapability

        return HttpCapability(credentials=secrets, broker=self.broker())

    def always(self) -> "list[Capability]":
        """Those of every cell."""
        return [self.named(name) for name in ALWAYS]

    def identity(self) -> "list[Capability]":
        """The identity files, where the person has any."""
        return [self.named("identity")] if self.identity_files().any() else []

    def identity_files(self) -> "Files":
        """Where they are, and the record of who wrote them."""
        from loom_nb.capabilities.identity_files import Files

        if self._files is None:
            self._files = Files(self._home / "identity", self._home / "identity.db")
        return self._files

    @property
    def python(self) -> "PythonCapability":
        """Runs code in the notebook, and can take back what it changed."""
        from loom_nb.capabilities.python import PythonCapability

        made = self.named("python")
        assert isinstance(made, PythonCapability)  # noqa: S101  tells the type checker
        return made

    @property
    def notes(self) -> "NoteStore":
        """What the agents of `-t memory` remember."""
        if self._notes is None:
            from loom_nb.capabilities.memory.capability import MemoryCapability
            from loom_nb.credentials.kept_secrets import KeptSecrets
            from loom_nb.notebook.key_places import folder

            made = self.named("memory")
            assert isinstance(made, MemoryCapability)  # noqa: S101  tells the type checker
            self._notes = made.store(KeptSecrets(folder(self._home)))
        return self._notes

    def close(self) -> None:
        """Let go of what was opened to be looked at."""
        if self._notes is not None:
            self._notes.close()
        self.knowledge.close()

    def _make(self, name: str) -> "Capability":
        from loom_nb.capabilities import Capability
        from loom_nb.protocols import Capability as Made

        here = str(Path.cwd())
        make: dict[str, Callable[[], Made]] = {
            "variables": lambda: Capability.variables(self._names, self._shell.user_ns_hidden),
            "python": self._python,
            "human": Capability.human,
            "plan": Capability.plan,
            "scratchpad": Capability.scratchpad,
            "skills": lambda: Capability.skills(write=True),
            "identity": self._identity,
            "files": lambda: Capability.files(here, read_only=False),
            "shell": lambda: Capability.shell(here),
            "web": Capability.web,
            "http": Capability.http,
            "cells": self._cells,
            "ssh": _no_machine,
            "memory": lambda: Capability.memory(path=self._home / "memory.db"),
        }
        return make[name]()

    def _names(self) -> Any:
        return self._shell.user_ns

    def _python(self) -> "PythonCapability":
        from loom_nb.capabilities.python import PythonCapability
        from loom_nb.notebook.python_runner import NotebookRunner

        return PythonCapability(
            self._names, NotebookRunner(self._shell), hidden=self._shell.user_ns_hidden, root=Path.cwd()
        )

    def _identity(self) -> "Capability":
        from loom_nb.capabilities.identity import IdentityCapability

        return IdentityCapability(home=self._home)

    def _cells(self) -> "Capability":
        from loom_nb.capabilities.cells import CellsCapability

        return CellsCapability(self.cells)

    # -- how much runs unasked ---------------------------------------------------------------------

    def policy(self, mode: Mode | None) -> "GovernancePolicy":
        """The judge of a cell: its own mode, or the kernel's.

        Raises:
            LoomUsageError: everything is to run unasked, and that was not chosen in this kernel.
        """
        from loom_nb.runtime.governance import GovernancePolicy
        from loom_nb.runtime.rules import Allow, WhenUntrusted

        mode = mode or self.mode
        if mode == "all" and not self._all_chosen:
            raise LoomUsageError(
                "--approve all: this kernel has not been told that everything may run unasked",
                cause="a saved cell cannot say so for you",
                fixes=[f"%loom approvals all {self._code}", "%%loom --approve edits"],
            )
        if mode not in self._policies:
            rules: list[Rule] = [Allow(glob, f"LOOM_NB_ALLOW names {glob}") for glob in self._allow]
            if mode != "all":
                rules.append(WhenUntrusted(spares=self._allow))
            self._policies[mode] = GovernancePolicy(tuple(rules), mode, own_tools="ask")
        return self._policies[mode]

    def set_mode(self, mode: Mode, code: str = "") -> bool:
        """Choose what runs unasked from now on; False where `all` still wants its code."""
        if mode == "all" and not self._all_chosen:
            if code != self._code:
                return False
            self._all_chosen = True
        self.mode = mode
        return True

    @property
    def code(self) -> str:
        """What must be typed behind `%loom approvals all` in this kernel."""
        return self._code
