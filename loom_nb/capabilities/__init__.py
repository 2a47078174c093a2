"""What an agent can be given: files, the web, the notebook's variables, tools of your own.

    Agent(model=..., capabilities=[Capability.files("data"), Capability.web()])

Each constructor gives a frozen description; nothing is opened before a session opens it.
"""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, ParamSpec, TypeVar

from loom_nb.capabilities.custom import CustomCapability
from loom_nb.capabilities.files import FilesCapability
from loom_nb.capabilities.variables import VariablesCapability
from loom_nb.capabilities.web import WebCapability
from loom_nb.errors import LoomUsageError, NotBuiltError
from loom_nb.tools import Tool, ToolFunction

__all__ = ["Capability", "CustomCapability", "FilesCapability", "VariablesCapability", "WebCapability"]

P = ParamSpec("P")
T = TypeVar("T")

_BUILT = "files, web, variables and custom"


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
    def files(root: str = ".", read_only: bool = True) -> FilesCapability:
        """Read, list and search the files under one folder; nothing outside of it can be reached.

        Args:
            root: the folder, `~` allowed. Opening raises SetupError where it does not exist.
            read_only: False is not built yet and raises NotBuiltError.
        """
        if read_only is not True:
            raise NotBuiltError(
                "Capability.files(read_only=False) is not part of this version",
                cause="writing with a person's consent comes with approvals",
                fixes=[f"Capability.files({str(root)!r})"],
            )
        return FilesCapability(root=str(root))

    @staticmethod
    @_strict
    def web(allow: Iterable[tuple[str, int]] = ()) -> WebCapability:
        """Fetch public web pages as text.

        Args:
            allow: (host, port) pairs that may be reached although they are not public, such as
                `[("127.0.0.1", 8000)]`. All other loopback, private and link-local ones are refused.
        """
        return WebCapability(allow=allow)

    @staticmethod
    @_strict
    def variables(
        namespace: Callable[[], Mapping[str, Any]] | Mapping[str, Any],
        hidden: Iterable[str] | Mapping[str, Any] = (),
    ) -> VariablesCapability:
        """Look at variables without running any of their code.

        Args:
            namespace: the variables by name, or a function that gives them.
            hidden: names (or patterns such as `tmp*`) that are not shown; a mapping hides a name only
                while it still holds that very value.
        """
        return VariablesCapability(namespace=namespace, hidden=hidden)

    @staticmethod
    @_strict
    def custom(name: str, tools: Iterable[Tool | ToolFunction]) -> CustomCapability:
        """Tools of your own under one name: plain functions or values made by `@tool`."""
        return CustomCapability(name=name, tools=tools)

    @staticmethod
    def shell(*_: object, **__: object) -> NoReturn:
        """Not built yet: raises NotBuiltError."""
        _not_built("shell")

    @staticmethod
    def mcp(*_: object, **__: object) -> NoReturn:
        """Not built yet: raises NotBuiltError."""
        _not_built("mcp")

    @staticmethod
    def skill(*_: object, **__: object) -> NoReturn:
        """Not built yet: raises NotBuiltError."""
        _not_built("skill")

    @staticmethod
    def http(*_: object, **__: object) -> NoReturn:
        """Not built yet: raises NotBuiltError."""
        _not_built("http")

    @staticmethod
    def ssh(*_: object, **__: object) -> NoReturn:
        """Not built yet: raises NotBuiltError."""
        _not_built("ssh")

    @staticmethod
    def memory(*_: object, **__: object) -> NoReturn:
        """Not built yet: raises NotBuiltError."""
        _not_built("memory")
