"""What a child process may reach: which folders it sees, which it may write, whether it has a network.

Pure but for looking at which places exist. The user's home, temporary files and sockets are hidden
as a whole; the root, the Python environment and the folders of PATH are shown again; keys and
connection files stay hidden wherever they are.
"""

import contextlib
import os
import re
import site
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from loom_nb.errors import SetupError

KEPT_NAMES = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TERM", "TMPDIR", "TZ", "SHELL"}
)
"""The names of the environment that a child is given; `LC_*` besides, and what the user names."""

SECRETS_IN_HOME = (
    ".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", ".config", ".netrc", "_netrc", ".pypirc",
    ".npmrc", ".yarnrc.yml", ".git-credentials", ".pgpass", ".my.cnf", ".mylogin.cnf", ".password-store",
    ".jupyter", ".ipython", ".local/share/jupyter/runtime", ".local/share/keyrings", ".local/share/kwalletd",
    ".local/share/loom_nb", ".mozilla", ".thunderbird", ".cargo/credentials", ".cargo/credentials.toml",
    ".gem/credentials", ".huggingface", ".cache/huggingface/token", ".cache/huggingface/stored_tokens",
    ".kaggle", ".databrickscfg", ".boto", ".s3cfg", ".terraform.d", ".terraformrc", ".vault-token",
    ".oci", ".snowflake", ".dbt", ".bash_history", ".zsh_history", ".python_history", ".psql_history",
    ".mysql_history", ".sqlite_history", ".node_repl_history", ".Xauthority", ".ICEauthority",
    "Library/Keychains", "Library/Jupyter/runtime", "Library/Application Support",
)  # fmt: skip
"""Under a home that is itself the root or inside of it, these stay hidden."""

PROGRAMS_IN_HOME = (
    ".local/share/uv/tools",
    ".local/share/uv/python",
    ".local/share/pipx",
    ".local/pipx",
    ".rustup",
    ".nvm",
)
"""What programs in folders of PATH are often made of."""

SCRATCH = ("/tmp", "/var/tmp")  # noqa: S108  each child has its own

SECRETS_OF_SYSTEM = ("/etc/shadow", "/etc/gshadow", "/etc/shadow-", "/etc/gshadow-", "/etc/sudoers")

MountKind: TypeAlias = Literal["empty", "read", "write", "blank"]
"""empty: a folder with nothing in it. blank: a file that cannot be read."""


@dataclass(frozen=True, slots=True)
class Walls:
    """What one child may reach. All paths are absolute, links resolved."""

    root: Path
    writable: bool = False
    """Whether it may write below the root."""
    network: bool = False
    """Whether it has the network of this machine, its loopback included."""
    closed: tuple[Path, ...] = ()
    """Hidden, but what lies below may be shown again: homes, temporary files, sockets."""
    secret: tuple[Path, ...] = ()
    """Hidden wherever they lie; nothing below is ever shown."""
    readable: tuple[Path, ...] = ()
    """Shown, although inside a closed place: the Python environment, the folders of PATH."""

    @property
    def scratch(self) -> frozenset[Path]:
        """Those of the closed places that a child finds empty and may write: what it leaves there is lost."""
        return frozenset(self.closed) & frozenset(map(Path, SCRATCH))

    @classmethod
    def around(
        cls,
        root: Path,
        *,
        writable: bool = False,
        network: bool = False,
        secret: Iterable[Path] = (),
        readable: Iterable[Path] = (),
        environ: Mapping[str, str] | None = None,
    ) -> "Walls":
        """The walls around `root`, with the places of this machine and what is given besides.

        Raises:
            SetupError: the root is no folder, or lies where keys or connection files are kept.
        """
        found = os.environ if environ is None else environ
        place = Path(os.path.realpath(root.expanduser()))
        if not place.is_dir():
            raise SetupError(f"{root} is no folder", fixes=["give a folder that exists as root"])
        secrets = _existing([*secret, *secret_places(found)])
        for one in secrets:
            if is_below(place, one):
                raise SetupError(
                    f"{root} cannot be the root",
                    cause=f"{one} holds keys, connection files or runs, which no command may see",
                    fixes=["give the folder of your project as root"],
                )
        hidden = closed_places(found)
        whole = (*hidden, *homes(found))
        closed = tuple(one for one in hidden if one != place)
        shown = _outermost(
            one
            for one in _existing([*readable, *program_places(found)])
            if not is_below(one, place)
            and not any(is_below(one, other) for other in secrets)
            and not any(is_below(other, one) for other in whole)
        )
        return cls(place, writable, network, closed, secrets, shown)

    def mounts(self) -> list[tuple[MountKind, Path]]:
        """How a mount namespace is made of a read-only copy of everything, in order."""
        plan: list[tuple[MountKind, Path]] = [("empty", one) for one in self.closed]
        plan += [("read", one) for one in self.readable if self._is_closed(one)]
        plan.append(("write" if self.writable else "read", self.root))
        for one in self.secret:
            if self._is_shown(one):
                plan.append(("empty" if one.is_dir() else "blank", one))
        return sorted(plan, key=lambda entry: len(entry[1].parts))

    def _is_closed(self, place: Path) -> bool:
        return any(is_below(place, one) for one in self.closed)

    def _is_shown(self, place: Path) -> bool:
        return not self._is_closed(place) or any(is_below(place, one) for one in (*self.readable, self.root))

    def open_trees(self, top: Path) -> Iterator[str]:
        """The largest trees below `top` that hold nothing hidden. Links are not followed.

        For walls that can only allow: what is not listed is refused.
        """
        if any(is_below(top, one) for one in self.secret):
            return
        hidden = [*self.secret, *(one for one in self.closed if one != top and is_below(one, top))]
        above = frozenset(str(parent) for one in hidden for parent in one.parents)
        yield from _without(str(top), frozenset(map(str, hidden)), above)


def is_below(place: Path, other: Path) -> bool:
    """Whether `place` is `other` or inside of it, by name."""
    return place == other or other in place.parents


def child_environment(environ: Mapping[str, str], names: Iterable[str] = ()) -> dict[str, str]:
    """The part of an environment that a child is given. `names` are given besides, where they are set."""
    kept = KEPT_NAMES | set(names)
    return {name: value for name, value in environ.items() if name in kept or name.startswith("LC_")}


def homes(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The user's home, by the environment and by the system's list of users."""
    found = [environ["HOME"]] if environ.get("HOME") else []
    if sys.platform != "win32":
        import pwd

        with contextlib.suppress(KeyError):  # a user without an entry, as in many containers
            found.append(pwd.getpwuid(os.getuid()).pw_dir)
    return tuple(place for place in _existing(map(Path, found)) if place != Path("/"))


def closed_places(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Homes, temporary files and the places of sockets."""
    names = ["/home", "/root", "/Users", "/tmp", "/var/tmp", "/run", "/var/run", "/dev/shm"]  # noqa: S108
    names += [environ[name] for name in ("TMPDIR", "XDG_RUNTIME_DIR") if environ.get(name)]
    found = _existing([*map(Path, names), *homes(environ)])
    return tuple(place for place in _outermost(found) if place.is_dir() and place != Path("/"))


def secret_places(environ: Mapping[str, str]) -> list[Path]:
    """Where keys, connection files, sockets of agents and our own runs are kept."""
    found = [home / name for home in homes(environ) for name in SECRETS_IN_HOME]
    named = ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "LOOM_NB_HOME", "GNUPGHOME")
    found += [Path(environ[name]).expanduser() for name in named if environ.get(name)]
    for name, below in (
        ("JUPYTER_DATA_DIR", "runtime"),
        ("XDG_RUNTIME_DIR", "jupyter"),
        ("XDG_DATA_HOME", "loom_nb"),
    ):
        if environ.get(name):
            found.append(Path(environ[name]).expanduser() / below)
    if environ.get("XDG_CONFIG_HOME"):
        found.append(Path(environ["XDG_CONFIG_HOME"]).expanduser())
    for name in ("SSH_AUTH_SOCK", "DOCKER_HOST", "DBUS_SESSION_BUS_ADDRESS", "KRB5CCNAME", "NETRC"):
        found += [Path(text) for text in re.findall(r"/[^,;]+", environ.get(name, "").replace("//", "/"))]
    found += _connection_files(sys.argv)
    return [*found, *map(Path, SECRETS_OF_SYSTEM)]


def program_places(environ: Mapping[str, str]) -> list[Path]:
    """The Python environment and the folders of PATH."""
    found = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    found += [str(Path(sys.executable).resolve().parent.parent)] if sys.executable else []
    if site.ENABLE_USER_SITE:
        found.append(site.getusersitepackages())
    on_path = [Path(entry) for entry in environ.get("PATH", "").split(os.pathsep) if entry.startswith("/")]
    on_path += [entry.parent for entry in on_path if entry.name == "shims"]  # what they choose from
    own = [home / name for home in homes(environ) for name in PROGRAMS_IN_HOME]
    return [*map(Path, found), *on_path, *own]


def _connection_files(argv: Sequence[str]) -> list[Path]:
    """The connection file that this process, where it is a kernel, was started with."""
    words = [word.partition("=")[2] if word.startswith("-") else word for word in argv[1:]]
    return [Path(word) for word in words if re.search(r"kernel[^/]*\.json$", word)]


def _existing(places: Iterable[Path]) -> tuple[Path, ...]:
    real = (Path(os.path.realpath(place)) for place in places)
    return tuple(place for place in dict.fromkeys(real) if os.path.lexists(place))


def _outermost(places: Iterable[Path]) -> tuple[Path, ...]:
    kept: list[Path] = []
    for place in sorted(set(places), key=lambda one: len(one.parts)):
        if not any(is_below(place, other) for other in kept):
            kept.append(place)
    return tuple(kept)


def _without(top: str, hidden: frozenset[str], above: frozenset[str]) -> Iterator[str]:
    """`hidden`: where to stop; `above`: the folders that hold one of them."""
    if top in hidden:
        return
    if top not in above:
        yield top
        return
    try:
        entries = sorted(entry.path for entry in os.scandir(top) if not entry.is_symlink())
    except OSError:
        return
    for entry in entries:
        yield from _without(entry, hidden, above)
