"""The text of a `%%loom` cell becomes a value: its flags, its prompt, and the variables it names.

Nothing here runs anything or raises for odd prompts: braces, LaTeX and JSON stay as they are typed.
A mistyped flag is a `LoomUsageError` with a suggestion; a flag of a later version a `NotBuiltError`.
"""

import argparse
import bisect
import collections
import contextlib
import difflib
import inspect
import itertools
import keyword
import re
import shlex
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from loom_nb.capabilities.anatomy import is_history, module_dict
from loom_nb.errors import LoomUsageError, NotBuiltError, SetupError
from loom_nb.notebook.card import Card, Table
from loom_nb.notebook.tool_groups import GROUPS
from loom_nb.settings import MODES, REPLAYS, Cap, Mode, Replay

LATER_FLAGS = (
    "--as",
    "--agents",
    "--detach",
    "--err",
    "--no-raise-error",
)
"""Announced flags that this version refuses by name."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A variable the prompt names: the path as typed, and its value at that moment."""

    path: str
    value: Any


@dataclass(frozen=True, slots=True)
class CellRequest:
    """What one `%%loom` cell asks for."""

    prompt: str = ""
    """The body, with each reference as ⟨path⟩."""
    references: tuple[Reference, ...] = ()
    notices: tuple[str, ...] = ()
    """What the reader should know, such as a reference that names nothing."""
    model: str | None = None
    out: str | None = None
    new: bool = False
    continues: str | None = None
    schema: str | None = None
    tools: tuple[str, ...] = ()
    attach: tuple[str, ...] = ()
    """Paths and addresses of what travels with the prompt: nothing else is read."""
    max_steps: int | None = None
    timeout: float | None = None
    budget: Cap | None = None
    """What this run may spend; None for the kernel's own."""
    dry_run: bool = False
    approve: Mode | None = None
    """What runs unasked in this cell; None for the kernel's own."""
    replay: Replay | None = None
    """How recorded answers are used in this cell; None for the kernel's own way."""
    fork: str | None = None
    """Go on in a copy of this run's conversation, which stays as it is."""
    background: bool = False
    """Release the cell and go on painting it."""
    ctx: str | None = None
    """Which cells and variables travel with the prompt: see `context_spec`; None for the notebook's way."""
    pinned: bool = False
    """Its turn is never compacted: the cell has the tag for that."""
    raw: bool = False
    quiet: bool = False
    help: bool = False


def parse(line: str, body: str = "", namespace: Mapping[str, Any] | None = None) -> CellRequest:
    """The request of a cell.

    Args:
        line: what stands behind `%%loom`.
        body: the lines below, as typed.
        namespace: the variables that the prompt may name; read, never run.

    Raises:
        LoomUsageError: a flag is unknown, misses its value or contradicts another.
        NotBuiltError: a flag of a later version.
    """
    words = _with_one_spec(_split(line))
    _refuse_later(words)
    options, rest = _parser().parse_known_args(words)
    if rest:
        raise _unknown(rest)
    if options.model and "," in options.model:
        raise NotBuiltError(
            "-m with several models is not part of this version",
            fixes=[f"%%loom -m {options.model.split(',')[0]}"],
        )
    if options.out is not None and (not options.out.isidentifier() or keyword.iskeyword(options.out)):
        raise LoomUsageError(f"-o: '{options.out}' is no name for a variable", fixes=["%%loom -o answer"])
    ways = {
        "--new": options.new,
        "--continue": options.continues is not None,
        "--fork": options.fork is not None,
    }
    if len(told := [flag for flag, is_given in ways.items() if is_given]) > 1:
        raise LoomUsageError(f"{' and '.join(told)} exclude each other", fixes=["keep one of them"])
    text = body.replace("\r\n", "\n").strip("\n")
    if not options.raw:
        _refuse_second(text)
    prompt, references, notices = (text, (), ()) if options.raw else interpolate(text, namespace or {})
    names = tuple(name for group in options.tools for name in group.split(",") if name)
    given = {**vars(options), "tools": names, "attach": tuple(options.attach)}
    return CellRequest(prompt, references, notices, **given)


def flags() -> tuple[str, ...]:
    """Every flag of this version, long and short."""
    return tuple(flag for action in _parser()._actions for flag in action.option_strings)


def usage() -> str:
    """The help text of `%%loom`."""
    return str(usage_card())


def usage_card() -> Card:
    """The help of `%%loom`."""
    flags = tuple((_typed(action), action.help or "") for action in _parser()._actions)
    return Card(
        "%%loom [FLAGS]: ask an agent. The prompt is the text below it.",
        tables=(
            Table("flags", (), flags, to_type=True),
            Table("-t knows, besides your functions", (), tuple(GROUPS.items())),
            Table("in the prompt", (), _IN_THE_PROMPT, to_type=True),
            Table("tags of cells", (), _TAGS, to_type=True),
        ),
        steps=(("%%loom -t my_function -o answer", "and below it: What changed in {df} since last week?"),),
    )


def _typed(action: argparse.Action) -> str:
    flags = ", ".join(action.option_strings)
    value = f"{action.metavar} …" if action.nargs == "+" else action.metavar if action.nargs is None else ""
    return f"{flags} {value}".rstrip()


_IN_THE_PROMPT = (
    ("{df}, {cfg.field}, {d['key']}, {rows[0]}", "hand over the value beside the instruction, as data"),
    ("{{df}}", "writes {df}"),
    ("other braces, names that do not exist, code", "stay as typed"),
)
_TAGS = (
    ("loom-exclude", "keeps a cell from the model, not the variables and functions that it makes"),
    ("loom-pin", "on a %%loom cell: keeps its turn from compaction"),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise LoomUsageError(f"%%loom: {message}", fixes=["%%loom?   shows every flag"])


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="%%loom",
        add_help=False,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-m", "--model", metavar="MODEL", help="the model for this cell, for example offline or vendor:name")
    add("-o", "--out", metavar="VAR", help="bind the result to a variable, also when the run fails")
    add("--new", action="store_true", help="begin a new conversation")
    add("--continue", dest="continues", metavar="RUN", help="go on in the conversation of this run")
    add("--schema", metavar="TYPE", help="the form of the answer: a class of the notebook, or list[Class]")
    add(
        "-t",
        "--tools",
        metavar="NAME",
        nargs="+",
        action="extend",
        default=[],
        help="what the agent may call: functions of the notebook (* and ? match), or words of the list below",
    )
    add(
        "--attach",
        metavar="FILE",
        nargs="+",
        action="extend",
        default=[],
        help="images, PDFs, sounds or texts that travel with the prompt, by path or address; {fig} in the "
        "prompt hands over a figure, an image or bytes of the notebook",
    )
    add(
        "--ctx",
        metavar="SPEC",
        help="what of the notebook travels with the prompt: mentioned (what it names), above (and the code "
        "of the cells above), none, all, cells:3-7, +df, -cell:12, outputs; several with commas",
    )
    add("--max-steps", metavar="N", type=_positive(int), help="at most so many model calls")
    add("--timeout", metavar="S", type=_positive(float), help="seconds the run may take")
    add("--budget", metavar="AMOUNT", type=_amount, help="what it may spend: 0.05 dollars, or 20k tokens")
    add(
        "--approve",
        metavar="MODE",
        choices=MODES,
        help="what runs unasked: ask (what only looks), read-only (the same, and all else is refused), "
        "edits (also what can be undone), all",
    )
    add("--fork", metavar="RUN", help="go on from this run in a copy of its conversation")
    add(
        "--replay",
        metavar="MODE",
        choices=REPLAYS,
        help="answers recorded beside the notebook: auto (what is recorded, else ask and record), record "
        "(ask and record anew), strict (only what is recorded, in its order), off",
    )
    add("--bg", dest="background", action="store_true", help="release the cell; it is painted further")
    add("-n", "--dry-run", action="store_true", help="show what would be sent, and send nothing")
    add("-r", "--raw", action="store_true", help="take the prompt as it is, without {name}")
    add("-q", "--quiet", action="store_true", help="show the footer only")
    add("-h", "--help", action="store_true", help="show this text")
    return parser


def _positive(kind: type[int] | type[float]) -> Any:
    def convert(text: str) -> int | float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not a positive number")
        return value

    convert.__name__ = "number"
    return convert


def _amount(text: str) -> Cap:
    try:
        return Cap.of(text)
    except SetupError as error:
        fixes = " or ".join(error.fixes)
        raise argparse.ArgumentTypeError(f"{error.title}; write {fixes}") from None


def _split(line: str) -> list[str]:
    lexer = shlex.shlex(line.strip(), posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    lexer.escape = ""  # a backslash is part of a path
    try:
        return list(lexer)
    except ValueError:
        raise LoomUsageError("%%loom: a quotation mark is not closed", cause=line.strip()) from None


def _with_one_spec(words: list[str]) -> list[str]:
    """All that is said behind `--ctx` as one word: it may stand apart, and begin like a flag."""
    if "--ctx" not in words:
        return words
    first = words.index("--ctx") + 1
    last = first
    while last < len(words) and _is_of_spec(words[last], first=last == first):
        last += 1
    spec = ",".join(word.strip(",") for word in words[first:last])
    return [*words[: first - 1], *([f"--ctx={spec}"] if spec else ["--ctx"]), *words[last:]]


def _is_of_spec(word: str, *, first: bool) -> bool:
    if word.startswith("-"):
        return not word.startswith("--") and word not in flags() and (first or word.startswith("-cell"))
    return first or word.startswith("+")


def _refuse_later(words: list[str]) -> None:
    for word in words:
        flag = word.split("=")[0]
        if flag in LATER_FLAGS:
            raise NotBuiltError(
                f"{flag} is not part of this version", fixes=["%%loom?   shows the flags it has"]
            )


def _unknown(rest: list[str]) -> LoomUsageError:
    word = rest[0]
    if not word.startswith("-"):
        return LoomUsageError(
            f"%%loom: unexpected '{word}'",
            cause="the prompt goes on the lines below the flags",
            fixes=["%%loom\n             " + " ".join(rest)],
        )
    return LoomUsageError(
        f"%%loom has no flag {word}", fixes=suggestions(word.split("=")[0], flags(), "%%loom {}")
    )


_SECOND = re.compile(r"^ {0,3}%%loom(?=\s|$)", re.MULTILINE)


def _refuse_second(text: str) -> None:
    """Refuse a prompt in which another cell seems to begin; in a fence or within a line it is a word."""
    if any(not code and _SECOND.search(chunk) for chunk, code in _chunks(text)):
        raise LoomUsageError(
            "a second %%loom in one cell",
            cause="each has to be the first line of its cell; nothing was sent",
            fixes=[
                "give each prompt a cell of its own (in JupyterLab: Ctrl+Shift+- splits one)",
                "%%loom --raw   takes the prompt as it is",
            ],
        )


def not_the_first_line(what_ran: str) -> LoomUsageError:
    """The error of a `%%loom` that stands below other lines.

    Args:
        what_ran: of its cell, in words.
    """
    return LoomUsageError(
        "%%loom has to be the first line of its cell",
        cause=f"here it stands below other code; {what_ran}",
        fixes=["put it and its prompt into a cell of their own (in JupyterLab: Ctrl+Shift+- splits one)"],
    )


def suggestions(
    word: str,
    known: Iterable[str],
    form: str = "{}",
    otherwise: Sequence[str] = ("%%loom?   shows what there is",),
) -> list[str]:
    """What may have been meant, nearest first, each put into `form`; `otherwise` where nothing is near."""
    return [form.format(name) for name in near(word, known)] or list(otherwise)


def near(word: str, known: Iterable[str], *, cutoff: float = 0.55) -> list[str]:
    """At most two of `known` that are like `word`, the second only if it is about as like as the first."""
    alike = difflib.SequenceMatcher(b=word.lower())
    rated = []
    for name in dict.fromkeys(known):
        alike.set_seq1(name.lower())
        if alike.real_quick_ratio() >= cutoff and alike.quick_ratio() >= cutoff and alike.ratio() >= cutoff:
            rated.append((alike.ratio(), name))
    rated.sort(key=lambda pair: -pair[0])
    return [name for rate, name in rated[:2] if rate >= rated[0][0] - 0.1]


def look_up(path: str, namespace: Mapping[str, Any]) -> Any:
    """The value at a path such as `module.function`, found without running code.

    Raises:
        KeyError: there is none.
    """
    names = _Names(namespace)
    if not _WHOLE_PATH.fullmatch(path) or not names.mark(path):
        raise KeyError(path)
    return names.found[path].value


# -- interpolation ---------------------------------------------------------------------------------

PATH = r"[^\W\d]\w*(?:\.[^\W\d]\w*|\[(?:\"[^\"\n\]]*\"|'[^'\n\]]*'|-?\d{1,9})\])*"
"""A variable and its steps, as they stand in braces."""
_BRACES = re.compile(r"\{\{(" + PATH + r")\}\}|\{(" + PATH + r")\}")
_WHOLE_PATH = re.compile(PATH)
_STEP = re.compile(r"\.(\w+)|\[(?:\"([^\"]*)\"|'([^']*)'|(-?\d+))\]")
_ROOT = re.compile(r"\w+")
_OF_OTHERS = re.compile(r"(?:\\[A-Za-z]+\*?|[\\^_$#}\]])\Z")
"""What stands before a brace of LaTeX, a shell or a template."""
MOST_KEYS = 2_000
"""Keys or columns of one value that a slip is compared with."""
MOST_SLIPS = 20
"""References without a value that are looked at: each is compared with every name."""
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_TICKS = re.compile(r"`+")


@dataclass(slots=True)
class _Names:
    """The variables a text may name, and what came of looking for them."""

    namespace: Mapping[str, Any]
    found: dict[str, Reference] = field(default_factory=dict)
    missed: dict[str, None] = field(default_factory=dict)
    """Paths that stand in braces and lead nowhere."""

    def mark(self, path: str) -> bool:
        """Remember the value of `path`, and whether there is one."""
        if path in self.found:
            return True
        root = _root(path)
        if root not in self.namespace or root.startswith("__"):
            return False
        try:
            value = _follow(self.namespace[root], path[len(root) :])
        except Exception:  # noqa: BLE001  the border to user objects: whatever a lookup does, the text stays as typed
            return False
        self.found[path] = Reference(path, value)
        return True


def interpolate(
    text: str, namespace: Mapping[str, Any]
) -> tuple[str, tuple[Reference, ...], tuple[str, ...]]:
    """`text` with each reference to a variable as ⟨path⟩, the values, each path once, and notices.

    Never raises. A path stays as typed when its root is no variable, when it stands in a code span
    or fence, or when looking it up would run code (a property, a call, a method). A notice tells of
    those that look like a slip.
    """
    names = _Names(namespace)
    out = []
    for chunk, code in _chunks(text):
        out.append(chunk if code else _inline(chunk, names))
    return "".join(out), tuple(names.found.values()), _slips(names)


def _chunks(text: str) -> Iterator[tuple[str, bool]]:
    """Paragraphs and fenced blocks, in order: (text, whether it is fenced code)."""
    chunk: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if fence:
            chunk.append(line)
            if mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                yield "".join(chunk), True
                chunk, fence = [], ""
        elif mark and not (mark[1][0] == "`" and "`" in line[mark.end() :]):
            yield "".join(chunk), False
            chunk, fence = [line], mark[1]
        else:
            chunk.append(line)
            if not line.strip():
                yield "".join(chunk), False
                chunk = []
    yield "".join(chunk), bool(fence)


def _inline(text: str, names: _Names) -> str:
    """A paragraph: its code spans are left alone, but for the alias $`name`."""
    if "{" not in text and "$`" not in text:
        return text
    out, done = [], 0
    for start, end, ticks in _spans(text):
        content = text[start + ticks : end - ticks]
        alias = (
            ticks == 1 and text[start - 1 : start] == "$" and start > done and _WHOLE_PATH.fullmatch(content)
        )
        if alias and names.mark(content):
            out += [_braces(text[done : start - 1], names), f"⟨{content}⟩"]
        else:
            out += [_braces(text[done:start], names), text[start:end]]
        done = end
    return "".join([*out, _braces(text[done:], names)])


def _spans(text: str) -> Iterator[tuple[int, int, int]]:
    """Code spans: (start, end, length of the run of backticks that opens and closes each)."""
    runs = [(m.start(), len(m[0])) for m in _TICKS.finditer(text)]
    places: dict[int, list[int]] = collections.defaultdict(list)
    for start, length in runs:
        places[length].append(start)
    done = 0
    for start, length in runs:
        if start < done:
            continue
        same = places[length]
        after = bisect.bisect_right(same, start)
        if after < len(same):
            done = same[after] + length
            yield start, done, length


def _braces(text: str, names: _Names) -> str:
    def replace(match: re.Match[str]) -> str:
        if match[1] is not None:  # {{name}}
            return "{" + match[1] + "}" if _root(match[1]) in names.namespace else match[0]
        if names.mark(match[2]):
            return f"⟨{match[2]}⟩"
        if len(names.missed) < MOST_SLIPS and not _OF_OTHERS.search(
            text, max(0, match.start() - 24), match.start()
        ):
            names.missed[match[2]] = None
        return match[0]

    return _BRACES.sub(replace, text) if "{" in text else text


def _root(path: str) -> str:
    match = _ROOT.match(path)
    return match[0] if match else ""


def _follow(value: Any, steps: str) -> Any:
    for match in _STEP.finditer(steps):
        value = _stepped(value, match)
    return value


def _stepped(value: Any, match: re.Match[str]) -> Any:
    if match[1] is not None:
        return _attribute(value, match[1])
    return _item(value, int(match[4]) if match[4] is not None else match[2] or match[3] or "")


_FRAME_FACTS = frozenset({"shape", "columns", "index", "dtypes", "dtype", "size", "ndim", "name"})
_TUPLE_FIELD = type(collections.namedtuple("_", "a").a)  # type: ignore[attr-defined]


def _attribute(value: Any, name: str) -> Any:
    """An attribute found without running code: no property, no method, no dunder."""
    if name.startswith("__"):
        raise AttributeError(name)
    if _is_of(value, "pandas", "numpy"):
        if name in _FRAME_FACTS:
            return getattr(value, name)
        return _item(value, name)
    plain = inspect.getattr_static(value, name)
    if isinstance(plain, types.MemberDescriptorType | _TUPLE_FIELD):
        return plain.__get__(value, type(value))
    if isinstance(value, types.ModuleType):
        if is_history(module_dict(value), name):
            raise AttributeError(name)
        return plain
    own = inspect.getattr_static(value, "__dict__", None)
    own = own if isinstance(own, dict) else _instance_dict(value)
    if name in own:
        return own[name]
    if hasattr(type(plain), "__get__"):
        raise AttributeError(name)
    return plain


def _instance_dict(value: Any) -> dict[str, Any]:
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found if type(found) is dict else {}


_PLAIN_ITEMS = (dict.__getitem__, list.__getitem__, tuple.__getitem__, str.__getitem__)


def _item(value: Any, key: str | int) -> Any:
    """An item of a builtin container, a frame or an array; other containers may run code."""
    if _is_of(value, "pandas"):
        if isinstance(key, str) and key in value.columns:
            return value[key]
        raise KeyError(key)
    if _is_of(value, "numpy") and isinstance(key, int):
        return value[key]
    if getattr(type(value), "__getitem__", None) not in _PLAIN_ITEMS:
        raise TypeError(type(value).__name__)
    if isinstance(value, dict) and not dict.__contains__(value, key):
        raise KeyError(key)  # before a defaultdict makes one
    if isinstance(value, dict) and is_history(value, key):
        raise KeyError(key)  # it holds hidden cells as well
    return value[key]


def _is_of(value: Any, *packages: str) -> bool:
    package = type(value).__module__.partition(".")[0]
    return package in packages and package in sys.modules


# -- slips -----------------------------------------------------------------------------------------


def _slips(names: _Names) -> tuple[str, ...]:
    """What to tell of references that lead nowhere; nothing of braces that are likely meant as they are."""
    told = []
    for path in names.missed:
        try:
            slip = _slip(path, names.namespace)
        except Exception:  # noqa: BLE001  the border to user objects: a hint is not worth an error
            slip = ""
        told += [slip] if slip else []
    return (f"not found: {', '.join(told)}",) if told else ()


def _slip(path: str, namespace: Mapping[str, Any]) -> str:
    """`dff (did you mean df?)`; empty where nothing says that a variable was meant."""
    root = _root(path)
    if root.startswith("__"):
        return ""
    if root not in namespace:
        mine = [name for name in namespace if not name.startswith("_")]
        meant = near(root, mine, cutoff=0.6) if len(root) > 1 else []
        return f"{path} (did you mean {meant[0]}{path[len(root) :]}?)" if meant else ""
    value, done = namespace[root], len(root)
    for match in _STEP.finditer(path, done):
        try:
            value = _stepped(value, match)
        except Exception:  # noqa: BLE001  this is the step that fails
            return _wrong_step(path, value, match)
    return path


def _wrong_step(path: str, value: Any, match: re.Match[str]) -> str:
    key = match[1] or match[2] or match[3] or ""
    known = [name for name in _steps_of(value, attribute=match[1] is not None) if name != key]
    for name in near(key, known, cutoff=0.6) if key else []:
        start, end = match.span(1 if match[1] else 2 if match[2] else 3)
        return f"{path} (did you mean {path[:start]}{name}{path[end:]}?)"
    if match[1] and inspect.getattr_static(value, match[1], None) is not None:
        return f"{path} (reading it would run code)"
    return path


def steps_from(path: str, namespace: Mapping[str, Any]) -> tuple[list[str], list[str | int]]:
    """What may follow a path in a prompt, found without running code: (attributes, keys and places).

    Empty where the path leads nowhere. What `{path.name}` and `{path['key']}` would not take is left out.
    """
    try:
        value = look_up(path, namespace)
        names = [name for name in _steps_of(value, attribute=True) if _NAME.fullmatch(name)]
        names += [name for name in sorted(_FRAME_FACTS) if _is_frame(value) and hasattr(type(value), name)]
        keys = list(_keys_of(value))
    except Exception:  # noqa: BLE001  the border to user objects: what is offered is not worth an error
        return [], []
    return list(dict.fromkeys(names)), keys


_NAME = re.compile(r"(?!__)[^\W\d]\w*")
FIRST_PLACES = 10
"""Places of a list that are offered, beside its last."""


def _keys_of(value: Any) -> Iterator[str | int]:
    """What `_item` would take: keys of a dict, columns, places of a list or an array."""
    kind = type(value)
    plain = getattr(kind, "__getitem__", None) in _PLAIN_ITEMS
    if plain and issubclass(kind, dict):
        keys = itertools.islice(dict.keys(value), MOST_KEYS)
        yield from (key for key in keys if type(key) in (str, int) and not is_history(value, key))
    elif _is_of(value, "pandas"):
        yield from _steps_of(value, attribute=False)
    elif (plain and issubclass(kind, list | tuple)) or (_is_of(value, "numpy") and value.ndim):
        count = (
            len(value)
            if _is_of(value, "numpy")
            else (list if issubclass(kind, list) else tuple).__len__(value)
        )
        yield from [*range(min(count, FIRST_PLACES)), *([-1] if count else [])]


def _is_frame(value: Any) -> bool:
    return _is_of(value, "pandas", "numpy")


def _steps_of(value: Any, *, attribute: bool) -> Iterator[str]:
    """Names that can be read of a value, found without running code."""
    if isinstance(value, dict) and not attribute:
        yield from (key for key in itertools.islice(dict.keys(value), MOST_KEYS) if type(key) is str)
    elif _is_of(value, "pandas"):
        columns = value.columns if hasattr(type(value), "columns") else ()
        yield from (key for key in itertools.islice(columns, MOST_KEYS) if type(key) is str)
    elif attribute and not _is_of(value, "numpy"):  # an array has none but its facts
        own = vars(value) if isinstance(value, types.ModuleType) else _instance_dict(value)
        fields = itertools.chain(own, *(vars(kind) for kind in type(value).__mro__[:-1]))
        for name in itertools.islice(fields, MOST_KEYS):
            if name.startswith("_"):
                continue
            with contextlib.suppress(AttributeError, KeyError):
                _attribute(value, name)
                yield name
