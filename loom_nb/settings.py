"""What the user has set, each value with where it came from.

A value is looked for in this order: what the caller says, the environment (`LOOM_NB_MODEL`, …), the
nearest project file (`loom.toml`, or `[tool.loom_nb]` in `pyproject.toml`), the default. A key that
nobody knows in a project file is an error that names the file; nothing is ignored in silence.

`read` is pure: it takes the environment and the files as values. `load` finds them.
"""

import difflib
import math
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from loom_nb.errors import SetupError

Render = Literal["auto", "live", "static", "plain"]

Mode = Literal["ask", "read-only", "edits", "all"]
"""What runs unasked. ask: what only looks, and the rest asks. read-only: what only looks, and the rest
is denied. edits: also what can be undone. all: everything that no rule denies."""

MODES: tuple[Mode, ...] = ("ask", "read-only", "edits", "all")

Replay = Literal["auto", "record", "strict", "off"]
"""How recorded answers of a model are used: see `models.cassette.Mode`."""

REPLAYS: tuple[Replay, ...] = ("auto", "record", "strict", "off")

MODE_WORDS: dict[str, str] = {
    "ask": "what only looks runs, all else asks you",
    "read-only": "what only looks runs, all else is refused",
    "edits": "what only looks and edits that can be undone run, all else asks you",
    "all": "EVERYTHING RUNS UNASKED",
}
"""What runs unasked in each mode."""

PREFIX = "LOOM_NB_"
"""Of the names in the environment."""


_AMOUNT = re.compile(
    r"(?P<dollar>\$)?\s*(?P<number>\d[\d,]*(?:\.\d+)?|\.\d+)\s*(?P<times>[km])?\s*"
    r"(?P<unit>tok(?:ens?)?|usd|dollars?)?",
    re.IGNORECASE,
)
_TIMES = {"k": 1_000, "m": 1_000_000}
MOST_DOLLARS = 1_000
"""A larger number without a unit is more likely meant as tokens."""
MOST_TOKENS = 10**15
"""More than that is a slip of the finger, and no longer exact where it is counted."""


@dataclass(frozen=True, slots=True)
class Cap:
    """How much may be spent: US dollars, or tokens. One of the two is given."""

    dollars: float | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        given = [one for one in (self.dollars, self.tokens) if one is not None]
        most = math.inf if self.tokens is None else MOST_TOKENS + 1
        if len(given) != 1 or not 0 < given[0] < most:
            raise SetupError("a budget is a positive number of dollars or of tokens", fixes=["0.05", "20k"])

    @classmethod
    def of(cls, value: "Cap | str | float") -> "Cap":
        """A cap as a person writes it: `0.05`, `$2` and `1500usd` are dollars, `20k` and `500 tok` tokens.

        Raises:
            SetupError: it is neither.
        """
        if isinstance(value, Cap):
            return value
        text = ""
        if isinstance(value, str):
            text = value.strip()
        elif isinstance(value, int | float) and not isinstance(value, bool):
            text = _digits(value) if 0 <= value <= sys.float_info.max else ""
        found = _AMOUNT.fullmatch(text[:_LONGEST])
        if found is None or len(text) > _LONGEST:
            raise SetupError(
                f"{_short(value)} is no budget", cause="dollars or tokens", fixes=["0.05", "20k"]
            )
        number = Fraction(found["number"].replace(",", ""))
        unit = (found["unit"] or "").lower()
        in_dollars = bool(found["dollar"]) or unit.startswith(("usd", "dollar"))
        if found["times"] or unit.startswith("tok"):
            if in_dollars:
                raise SetupError(f"{text!r} is dollars and tokens at once", fixes=["0.05", "20k"])
            return cls(tokens=round(number * _TIMES.get((found["times"] or "").lower(), 1)))
        dollars = float(number) if number <= sys.float_info.max else math.inf
        if number >= MOST_DOLLARS and not in_dollars:
            fixes = [cls(tokens=round(number)).typed] if number < MOST_TOKENS else ["20k"]
            raise SetupError(
                f"{_short(value)}: dollars or tokens?",
                fixes=[*fixes, cls(dollars=dollars).typed if number < MOST_TOKENS else "5.00"],
            )
        return cls(dollars=dollars)

    def __str__(self) -> str:
        if self.tokens is not None:
            return f"{self.tokens:,} tokens"
        dollars = self.dollars or 0.0
        return money(dollars) if dollars >= _SMALL else f"${_digits(dollars)}"

    @property
    def typed(self) -> str:
        """As a person writes it: one word that means the same everywhere, in a shell as well."""
        if self.tokens is None:
            dollars = self.dollars or 0.0
            return _digits(dollars) + ("usd" if dollars >= MOST_DOLLARS else "")
        return f"{self.tokens // 1_000}k" if self.tokens % 1_000 == 0 else f"{self.tokens}tok"


_LONGEST = 400
"""Characters of an amount."""
_SMALL = 0.0001
"""Dollars: below, four digits say nothing."""


def _digits(number: float) -> str:
    """A number without an exponent, to the last digit."""
    text = f"{Decimal(repr(number)):f}" if isinstance(number, float) else str(number)
    return text.rstrip("0").removesuffix(".") if "." in text else text


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) > MOST_TOKENS:
        return "a number of that size"
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:40]}…"


def money(dollars: float) -> str:
    """`$0`, `$0.0512`, `$0.50`, `$1.25`; `<$0.0001` for what four digits say nothing of."""
    if dollars == 0:
        return "$0"
    if dollars < _SMALL:
        return f"<${_digits(_SMALL)}"
    whole, _, digits = f"{dollars:,.4f}".partition(".")
    return f"${dollars:,.2f}" if dollars >= 1 else f"${whole}.{digits.rstrip('0'):0<2}"


def waiting_time(seconds: float) -> str:
    """`10 min`, and below a minute `20 s`."""
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force."""

    home: Path
    """Where runs are kept, on this machine."""
    model: str = "offline"
    """The model of cells that name none: `offline`, or `vendor:name`."""
    render: Render = "auto"
    """How a run is painted; `auto` chooses by the front end."""
    ascii: bool = False
    """Plain text without box drawing and symbols."""
    replay: Replay = "off"
    """Answers recorded beside the notebook: auto, record, strict or off."""
    approve: Mode = "ask"
    """What runs unasked. `edits` and `all` are only taken from the environment, never from a file."""
    allow: tuple[str, ...] = ()
    """Globs of tools that run unasked, from the environment only: `LOOM_NB_ALLOW=double,web_*`."""
    max_steps: int = 50
    """Model calls of one run."""
    timeout: float | None = None
    """Seconds of one run; None for no limit."""
    budget_cell: Cap | None = None
    """What one run may spend: `0.05` dollars, `20k` tokens; None for no cap."""
    budget_notebook: Cap | None = None
    """What all runs of a notebook may spend."""
    budget_day: Cap | None = None
    """What all runs of a day may spend."""
    ask_above: int | None = 30_000
    """Tokens: a request that is larger all of a sudden is asked about first; None: none is."""
    paint_hz: float = 12.0
    """How often a second a running cell is painted."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """For each name above where its value came from: "default", "LOOM_NB_MODEL", a file, "given"."""
    notices: tuple[str, ...] = ()
    """What the reader should know, such as a mistyped name in the environment."""


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A project file as text."""

    path: Path
    text: str

    @property
    def label(self) -> str:
        """The file and the table in it, for messages."""
        return f"{self.path} [tool.loom_nb]" if self.path.name == "pyproject.toml" else str(self.path)


NAMES = tuple(entry.name for entry in fields(Settings) if entry.name not in ("origins", "notices"))
"""The names that can be set."""


def load(*, folder: Path | None = None, **given: Any) -> Settings:
    """The settings in force for `folder` (default: the working directory); `given` values win.

    Raises SetupError for an unknown name, a value of the wrong kind, or a file that is not TOML.
    """
    return read(os.environ, project_files(folder or Path.cwd()), given)


def read(
    environment: Mapping[str, str],
    files: Sequence[ProjectFile] = (),
    given: Mapping[str, Any] = MappingProxyType({}),
) -> Settings:
    """The settings that these sources say, the nearest file first. A given None counts as not given.

    Raises SetupError as `load` does.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, name, value in _found(environment, files, given):
        if name not in values:
            values[name], origins[name] = value, origin
    if "home" not in values:
        values["home"] = default_home()
    for name in NAMES:
        origins.setdefault(name, "default")
    return Settings(**values, origins=MappingProxyType(origins), notices=_misspelt(environment))


def project_files(folder: Path) -> tuple[ProjectFile, ...]:
    """The nearest project file from `folder` upward, as a tuple of none or one.

    The search ends with the folder that holds `.git`, with the user's home, or at the root.
    """
    folder = folder.resolve()
    for place in (folder, *folder.parents):
        for name in ("loom.toml", "pyproject.toml"):
            file = _file(place / name)
            if file and (name == "loom.toml" or _is_ours(file)):
                return (file,)
        if (place / ".git").exists() or place == Path.home():
            break
    return ()


def default_home() -> Path:
    """The folder for the user's data on this kind of machine."""
    import platformdirs

    return platformdirs.user_data_path("loom_nb", appauthor=False)


def _found(
    environment: Mapping[str, str], files: Sequence[ProjectFile], given: Mapping[str, Any]
) -> list[tuple[str, str, Any]]:
    """(origin, name, value) of everything that is set, the strongest first."""
    found: list[tuple[str, str, Any]] = []
    for name, value in given.items():
        _known(name, "the call")
        if value is not None:
            found.append(("given", name, _value(name, value, "the call", Path())))
    for name in NAMES:
        variable = PREFIX + name.upper()
        if text := environment.get(variable, "").strip():
            found.append((variable, name, _value(name, _from_text(name, text), variable, Path())))
    for file in files:
        for name, value in _table(file).items():
            _known(name, file.label)
            found.append((file.label, name, _value(name, value, file.label, file.path.parent)))
    return found


def _known(name: str, origin: str) -> None:
    if name in NAMES:
        return
    close = difflib.get_close_matches(name, NAMES, n=1)
    raise SetupError(
        f"no setting '{name}' in {origin}",
        cause=f"known: {', '.join(NAMES)}",
        fixes=[f"did you mean '{close[0]}'?"] if close else [f"remove '{name}'"],
    )


def _file(path: Path) -> ProjectFile | None:
    try:
        return ProjectFile(path, path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"cannot read {path}", cause=str(error)) from None


def _is_ours(file: ProjectFile) -> bool:
    # another tool's pyproject.toml may be broken without being our business
    return "loom_nb" in file.text and bool(_table(file))


def _table(file: ProjectFile) -> Mapping[str, Any]:
    try:
        whole: Any = tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{file.path} is not TOML", cause=str(error)) from None
    if file.path.name == "pyproject.toml":
        whole = whole.get("tool", {}).get("loom_nb", {})
    if not isinstance(whole, dict):
        raise SetupError(f"{file.label} is not a table", fixes=['model = "offline"'])
    return whole


def _from_text(name: str, text: str) -> Any:
    """A value of the environment as the same value would stand in TOML; odd text stays text."""
    if name == "ascii":
        return {"1": True, "true": True, "yes": True, "on": True}.get(
            text.lower(), {"0": False, "false": False, "no": False, "off": False}.get(text.lower(), text)
        )
    if name == "timeout" and text.lower() == "none":
        return math.inf
    if name == "ask_above":
        return math.inf if text.lower() in ("none", "off") else text
    if name in ("max_steps", "timeout", "paint_hz"):
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
    return text


def _value(name: str, value: Any, origin: str, folder: Path) -> Any:
    if name == "approve" and value in ("edits", "all") and origin != PREFIX + "APPROVE":
        raise SetupError(
            f"approve = '{value}' in {origin}",
            cause="a file, which may be somebody else's, can only make it stricter",
            fixes=[
                "approve = 'read-only'",
                f"%loom approvals {value}",
                f"{PREFIX}APPROVE={value} in the environment",
            ],
        )
    if name == "allow" and origin != PREFIX + "ALLOW":
        raise SetupError(
            f"allow in {origin}",
            cause="what runs unasked is not taken from a file: it may be somebody else's",
            fixes=[f"{PREFIX}ALLOW=… in the environment", "GovernancePolicy((Allow('…'),)) in a script"],
        )
    made = _KINDS[name][1](value, folder)
    if made is _WRONG:
        raise SetupError(f"{name} = {value!r} in {origin}", cause=f"{name} must be {_KINDS[name][0]}")
    return None if made == math.inf else made


_WRONG = object()


def _text(value: Any, _: Path) -> Any:
    return value.strip() if isinstance(value, str) and value.strip() else _WRONG


def _render(value: Any, _: Path) -> Any:
    return value if value in ("auto", "live", "static", "plain") else _WRONG


def _mode(value: Any, _: Path) -> Any:
    return value if value in MODES else _WRONG


def _replay(value: Any, _: Path) -> Any:
    return value if value in REPLAYS else _WRONG


def _globs(value: Any, _: Path) -> Any:
    if not isinstance(value, str):
        return _WRONG
    return tuple(glob.strip() for glob in value.split(",") if glob.strip())


def _path(value: Any, folder: Path) -> Any:
    if not isinstance(value, str | Path) or not str(value):
        return _WRONG
    return (folder / Path(value).expanduser()).absolute()


def _flag(value: Any, _: Path) -> Any:
    return value if isinstance(value, bool) else _WRONG


def _count(value: Any, _: Path) -> Any:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else _WRONG


def _seconds(value: Any, _: Path) -> Any:
    return float(value) if _is_number(value) and value > 0 else _WRONG


def _hertz(value: Any, _: Path) -> Any:
    return float(value) if _is_number(value) and 0 < value <= 30 else _WRONG


def _cap(value: Any, _: Path) -> Any:
    try:
        return Cap.of(value)
    except SetupError:
        return _WRONG


def _tokens(value: Any, _: Path) -> Any:
    if value == math.inf:
        return value
    if isinstance(value, int):
        return _count(value, _)
    made = _cap(value if not str(value).isdecimal() else f"{value} tok", _)
    return made.tokens if isinstance(made, Cap) and made.tokens is not None else _WRONG


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_KINDS: Mapping[str, tuple[str, Callable[[Any, Path], Any]]] = {
    "home": ("the path of a folder", _path),
    "model": ("the name of a model", _text),
    "render": ("auto, live, static or plain", _render),
    "ascii": ("true or false", _flag),
    "allow": ("globs of tools, with commas between them", _globs),
    "approve": ("ask, read-only, edits or all", _mode),
    "replay": ("auto, record, strict or off", _replay),
    "max_steps": ("a whole number from 1", _count),
    "timeout": ("seconds, more than 0 (inf for no limit)", _seconds),
    "budget_cell": ("dollars such as 0.05, or tokens such as 20k", _cap),
    "budget_notebook": ("dollars such as 0.05, or tokens such as 20k", _cap),
    "budget_day": ("dollars such as 0.05, or tokens such as 20k", _cap),
    "ask_above": ("tokens, such as 30k (inf for never)", _tokens),
    "paint_hz": ("more than 0 and at most 30", _hertz),
}


def _misspelt(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Only near misses: the prefix is shared with programs around us that have variables of their own."""
    known = [PREFIX + name.upper() for name in NAMES]
    told = []
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and variable not in known:
            close = difflib.get_close_matches(variable, known, n=1, cutoff=0.9)
            told += [f"{variable} is not a setting; did you mean {close[0]}?"] if close else []
    return tuple(told)
