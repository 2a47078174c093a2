"""What an agent can be given: files, the web, the notebook's variables, tools of your own.

    Agent(model=..., capabilities=[Capability.files("data"), Capability.web()])

Each constructor gives a frozen description; nothing is opened before a session opens it.
"""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, ParamSpec, TypeVar

from loom_nb.errors import LoomUsageError, NotBuiltError
from loom_nb.tools import Tool, ToolFunction

if TYPE_CHECKING:
    from loom_nb.capabilities.cells import Cells, CellsCapability
    from loom_nb.capabilities.custom import CustomCapability
    from loom_nb.capabilities.files import FilesCapability
    from loom_nb.capabilities.http import HttpCapability
    from loom_nb.capabilities.human import HumanCapability
    from loom_nb.capabilities.identity import EditLeave, IdentityCapability
    from loom_nb.capabilities.knowledge.capability import KnowledgeCapability
    from loom_nb.capabilities.memory.capability import MemoryCapability
    from loom_nb.capabilities.memory.ranking import MemoryWeights
    from loom_nb.capabilities.plan import PlanCapability
    from loom_nb.capabilities.plugins import Plugged
    from loom_nb.capabilities.python import PythonCapability, Runner
    from loom_nb.capabilities.scratchpad import ScratchpadCapability
    from loom_nb.capabilities.shell.capability import ShellCapability
    from loom_nb.capabilities.skills import SkillsCapability
    from loom_nb.capabilities.ssh import SshCapability
    from loom_nb.capabilities.variables import VariablesCapability
    from loom_nb.capabilities.web import WebCapability
    from loom_nb.retrieval.embedding import Embedder

_HOMES = {
    "CellsCapability": "loom_nb.capabilities.cells",
    "CustomCapability": "loom_nb.capabilities.custom",
    "FilesCapability": "loom_nb.capabilities.files",
    "HttpCapability": "loom_nb.capabilities.http",
    "HumanCapability": "loom_nb.capabilities.human",
    "IdentityCapability": "loom_nb.capabilities.identity",
    "KnowledgeCapability": "loom_nb.capabilities.knowledge.capability",
    "MemoryCapability": "loom_nb.capabilities.memory.capability",
    "PlanCapability": "loom_nb.capabilities.plan",
    "PythonCapability": "loom_nb.capabilities.python",
    "ScratchpadCapability": "loom_nb.capabilities.scratchpad",
    "ShellCapability": "loom_nb.capabilities.shell.capability",
    "SkillsCapability": "loom_nb.capabilities.skills",
    "SshCapability": "loom_nb.capabilities.ssh",
    "VariablesCapability": "loom_nb.capabilities.variables",
    "WebCapability": "loom_nb.capabilities.web",
}
"""Loaded on first use: a facade that loaded all of them would cost more than the notebook around it."""

__all__ = [
    "Capability",
    "CellsCapability",
    "CustomCapability",
    "FilesCapability",
    "HttpCapability",
    "HumanCapability",
    "IdentityCapability",
    "KnowledgeCapability",
    "MemoryCapability",
    "PlanCapability",
    "PythonCapability",
    "ScratchpadCapability",
    "ShellCapability",
    "SkillsCapability",
    "SshCapability",
    "VariablesCapability",
    "WebCapability",
]

P = ParamSpec("P")
T = TypeVar("T")

_BUILT = (
    "files, shell, web, http, ssh, python, variables, cells, human, identity, knowledge, plan, scratchpad, "
    "memory, "
    "skills and custom"
)


def _path(field: str, value: Any) -> Path | None:
    """A path as it was given, or none."""
    if value is None or isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip():
        raise LoomUsageError(f"Capability.{field} is a path, not {value!r:.80}")
    return Path(value)


def _strict(constructor: Callable[P, T]) -> Callable[P, T]:
    """Turn a mistyped argument into an error that names the field and the nearest one."""
    signature = inspect.signature(constructor)
    where = f"Capability.{constructor.__name__}"

    @functools.wraps(constructor)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        for field in kwargs:
            if field not in signature.parameters:
                near = difflib.get_close_matches(field, signature.parameters, n=1)
                known = ", ".join(signature.parameters) or "none"
                raise LoomUsageError(
                    f"{where} has no field '{field}'",
                    cause=f"its fields: {known}",
                    fixes=[f"{where}({near[0]}=...)"] if near else [],
                )
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise LoomUsageError(f"{where}: {error}", fixes=[f"{where}{signature}"]) from None
        return constructor(*args, **kwargs)

    return checked


def _not_built(noun: str) -> NoReturn:
    raise NotBuiltError(
        f"Capability.{noun} is not part of this version; it comes later",
        cause=f"built are {_BUILT}",
        fixes=["Capability.custom(name, tools=[my_function]) takes any function of yours"],
    )


class Capability:
    """The constructors of the capabilities that are built in.

    Anything with a `name` and an `async open() -> Toolset` is a capability too: see `protocols.py`.
    """

    def __init__(self) -> None:
        raise LoomUsageError(
            "Capability is not made directly",
            fixes=["Capability.files('data')", "Capability.web()", "Capability.custom(name, tools=[...])"],
        )

    @staticmethod
    @_strict
    def files(root: str = ".", read_only: bool = True) -> "FilesCapability":
        """Read, list and search the files under one folder; nothing outside of it can be reached.

        Args:
            root: the folder, `~` allowed. Opening raises SetupError where it does not exist.
            read_only: False also writes, edits, moves and deletes; what was changed can be undone.
        """
        from loom_nb.capabilities.files import FilesCapability

        return FilesCapability(root=root, read_only=read_only)

    @staticmethod
    @_strict
    def shell(
        root: str = ".",
        sandbox: Literal["auto", "required", "none"] = "auto",
        network: bool = False,
        timeout: float = 120.0,
        env: Iterable[str] = (),
    ) -> "ShellCapability":
        """Run commands in a folder, in a sandbox where there is one.

        Args:
            root: the folder; commands can write nothing outside of it in a sandbox.
            sandbox: auto takes the best there is and shows which; required refuses to run without.
            network: whether commands in the sandbox may use the network.
            timeout: seconds of one command.
            env: names of environment variables that a command may see beside the usual ones.
        """
        from loom_nb.capabilities.shell.capability import ShellCapability

        return ShellCapability(root=root, sandbox=sandbox, network=network, timeout=timeout, env=env)

    @staticmethod
    @_strict
    def web(allow: Iterable[tuple[str, int]] = (), hosts: Iterable[str] = ()) -> "WebCapability":
        """Fetch public web pages as text.

        Args:
            allow: (host, port) pairs that may be reached although they are not public, such as
                `[("127.0.0.1", 8000)]`. All other loopback, private and link-local ones are refused.
            hosts: the only hosts that may be reached, where any are named; `*.example.org` matches.
        """
        from loom_nb.capabilities.web import WebCapability

        return WebCapability(allow=allow, hosts=hosts)

    @staticmethod
    @_strict
    def http(
        allow: Iterable[tuple[str, int]] = (),
        hosts: Iterable[str] = (),
        timeout: float = 30.0,
        max_bytes: int = 4_000_000,
        credentials: Iterable[str] = (),
    ) -> "HttpCapability":
        """Send HTTP requests of any method. `allow` and `hosts` as for `web`.

        Args:
            allow: (host, port) pairs that may be reached although they are not public.
            hosts: the only hosts that may be reached, where any are named.
            timeout: seconds of one request, redirects included.
            max_bytes: of a body; the rest is left out and said so.
            credentials: names of secrets that a request may go with, such as `["github.read"]`; each goes
                only to the hosts that it is bound to, as its policy lets, and is seen by nobody.
        """
        from loom_nb.capabilities.http import HttpCapability

        return HttpCapability(
            allow=allow, hosts=hosts, timeout=timeout, max_bytes=max_bytes, credentials=credentials
        )

    @staticmethod
    @_strict
    def python(
        namespace: Callable[[], MutableMapping[str, Any]] | MutableMapping[str, Any],
        runner: "Runner | None" = None,
        timeout: float = 120.0,
        root: str | Path | None = None,
    ) -> "PythonCapability":
        """Run Python in a namespace; what it changes there is listed and can be rolled back.

        Args:
            namespace: the variables by name, or a function that gives them.
            runner: how code is run; in this process where it is None.
            timeout: seconds of one piece of code.
            root: the folder in which files that the code writes are kept with the run; None: none are.
        """
        from loom_nb.capabilities.python import PythonCapability

        folder = Path(root).expanduser() if root is not None else None
        return PythonCapability(namespace, runner, timeout=timeout, root=folder)

    @staticmethod
    @_strict
    def cells(cells: "Cells") -> "CellsCapability":
        """Read the cells of a notebook and propose changes to them."""
        from loom_nb.capabilities.cells import CellsCapability

        return CellsCapability(cells)

    @staticmethod
    @_strict
    def human() -> "HumanCapability":
        """Ask the person: yes or no, one of several, words, a form."""
        from loom_nb.capabilities.human import HumanCapability

        return HumanCapability()

    @staticmethod
    @_strict
    def identity(
        folder: str | Path | None = None, edits: "EditLeave | Mapping[str, EditLeave]" = "ask"
    ) -> "IdentityCapability":
        """Who the agent is and what it knows of you: SOUL.md, IDENTITY.md, USER.md in a folder of yours.

        What you wrote or confirmed stands in each request as yours; what the agent changed by itself is data
        until you confirm it (`%loom identity`).

        Args:
            folder: where the files are; `identity` in your home of loom_nb by default.
            edits: ask, never or allow; for all files, or by file: `{"USER.md": "allow", "SOUL.md": "never"}`.
        """
        from loom_nb.capabilities.identity import IdentityCapability

        return IdentityCapability(folder, edits)

    @staticmethod
    @_strict
    def plan() -> "PlanCapability":
        """Keep a plan that the reader sees as a checklist."""
        from loom_nb.capabilities.plan import PlanCapability

        return PlanCapability()

    @staticmethod
    @_strict
    def scratchpad() -> "ScratchpadCapability":
        """Keep short notes that outlive compaction and restarts; the dashboard holds them in each request."""
        from loom_nb.capabilities.scratchpad import ScratchpadCapability

        return ScratchpadCapability()

    @staticmethod
    @_strict
    def variables(
        namespace: Callable[[], Mapping[str, Any]] | Mapping[str, Any],
        hidden: Iterable[str] | Mapping[str, Any] = (),
    ) -> "VariablesCapability":
        """Look at variables without running any of their code.

        Args:
            namespace: the variables by name, or a function that gives them.
            hidden: names (or patterns such as `tmp*`) that are not shown; a mapping hides a name only
                while it still holds that very value.
        """
        from loom_nb.capabilities.variables import VariablesCapability

        return VariablesCapability(namespace=namespace, hidden=hidden)

    @staticmethod
    @_strict
    def custom(name: str, tools: Iterable[Tool | ToolFunction]) -> "CustomCapability":
        """Tools of your own under one name: plain functions or values made by `@tool`."""
        from loom_nb.capabilities.custom import CustomCapability

        return CustomCapability(name=name, tools=tools)

    @staticmethod
    def plugin(name: str, **options: Any) -> "Plugged":
        """A capability of another package, which announces it as an entry point of `loom_nb.capabilities`.

        Args:
            name: of the entry point.
            options: what its constructor takes.

        Raises:
            SetupError: no installed package has it, it cannot be loaded, or it is no capability.
        """
        from loom_nb.capabilities.plugins import plugged

        return plugged(name, options)

    @staticmethod
    def mcp(*_: object, **__: object) -> NoReturn:
        """Not built yet: raises NotBuiltError."""
        _not_built("mcp")

    @staticmethod
    @_strict
    def skills(folders: Iterable[str] = (), write: bool = False, listed: int = 1_500) -> "SkillsCapability":
        """Procedures in Markdown (SKILL.md) that the agent is told of by name, and loads when it needs one.

        Args:
            folders: folders of skills of your own; besides, those in `skills` and `.loom/skills` of the
                project, those in your loom_nb folder and those that are shipped are found.
            write: whether the agent may write skills of its own; you are asked about each change.
            listed: tokens that names and descriptions may take in a request.
        """
        from loom_nb.capabilities.skills import SkillsCapability

        return SkillsCapability(folders, write, listed)

    skill = skills
    """Another name of it."""

    @staticmethod
    @_strict
    def knowledge(
        sources: Any,
        enrich: Literal["auto", "never"] = "auto",
        limit: int = 5,
        tokens: int = 2_000,
        threshold: float = 0.35,
        hops: int = 0,
        embedder: Any = "lsa",
        path: str | Path | None = None,
    ) -> "KnowledgeCapability":
        """Search documents, and let passages that fit a task travel with it, each with a number to cite.

        Args:
            sources: folders, files, addresses, `KnowledgeSource`s; or one `KnowledgeBase`.
            enrich: "auto"; or "never": then only the tool `search_knowledge` finds them.
            limit: passages that travel with a task at most.
            tokens: of those together, estimated.
            threshold: 0 to 1: what fits the task less does not travel; see `KnowledgeQuery`.
            hops: along the entity graph of the base, where it has one.
            embedder: "lsa" learns from the documents, offline; None looks for words alone; or an `Embedder`.
            path: the file of the index; one of the user's by default.
        """
        from loom_nb.capabilities.knowledge.capability import KnowledgeCapability

        place = _path("knowledge: path", path)
        return KnowledgeCapability(sources, enrich, limit, tokens, threshold, hops, embedder, place)

    @staticmethod
    @_strict
    def ssh(scopes: Iterable[str], timeout: float = 120.0, raw: bool = False) -> "SshCapability":
        """Run commands on other machines over SSH. The agent names a secret, and the secret the machine.

        Args:
            scopes: the secrets that may be used, of type password or ssh_private_key. Each is bound to one
                user on one host, whose key is pinned: `%loom key bind prod.db --host db.example.com
                --user deploy --host-key SHA256:…`.
            timeout: seconds of one command.
            raw: send commands as they are, to what is no shell, such as a router.
        """
        from loom_nb.capabilities.ssh import SshCapability

        return SshCapability(scopes, timeout=timeout, raw=raw)

    @staticmethod
    @_strict
    def memory(
        scope: Literal["session", "working", "semantic", "persistent"] = "persistent",
        path: str | Path | None = None,
        mirror: str | Path | None = None,
        embedder: "Embedder | None" = None,
        tokens: int = 1_000,
        threshold: float = 0.3,
        weights: "MemoryWeights | None" = None,
    ) -> "MemoryCapability":
        """Keep notes across conversations; each run begins with those that fit its task.

        The agent remembers, searches, updates and forgets; what it writes is judged like any other effect,
        every change can be undone, and no secret becomes a note. Notes are shown as data with their origin,
        never as instructions, and where nothing fits, nothing is shown.

        Args:
            scope: who sees what is remembered: session: that session alone; working: all sessions of the
                notebook, fading within days; semantic: everybody, never fading; persistent: everybody.
            path: the file of the notes; `memory.db` of this user by default.
            mirror: a folder with one Markdown file for each note, which people may edit, add to and keep
                under version control. Without a `path` the folder has notes of its own.
            embedder: finds by meaning as well; see `loom_nb.retrieval.embedding`. None: words alone.
            tokens: of the notes at the beginning of a run, and of those that a search gives.
            threshold: 0 to 1, what the words or the meaning of a note must reach to be shown.
            weights: what counts how much in the ranking; see `loom_nb.capabilities.memory.ranking`.

        Raises:
            LoomUsageError: a value is none that its field takes.
        """
        from loom_nb.capabilities.memory.capability import MemoryCapability
        from loom_nb.capabilities.memory.ranking import MemoryWeights

        return MemoryCapability(
            scope=scope,
            path=_path("memory: path", path),
            mirror=_path("memory: mirror", mirror),
            embedder=embedder,
            tokens=tokens,
            threshold=threshold,
            weights=weights or MemoryWeights(),
        )


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'loom_nb.capabilities' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
