"""A piece of Python before it runs: whether it can run, and what it would do as far as its words tell."""

import ast
import inspect
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from loom_nb.capabilities.anatomy import derives, module_name, mro
from loom_nb.errors import ToolError

MOST_CHARS = 100_000
"""Characters of code that are taken."""

_RUNS = frozenset({"subprocess", "os.system", "os.popen", "pty", "pexpect", "multiprocessing"})
_NETWORK = frozenset(
    {"requests", "httpx", "httpx2", "urllib", "urllib3", "http", "socket", "ftplib", "smtplib", "aiohttp"}
    | {"websockets", "paramiko", "boto3", "telnetlib", "imaplib", "poplib", "xmlrpc", "ssl"}
)
_UNSAFE = frozenset({"ctypes", "pickle", "marshal", "importlib", "signal", "gc", "shutil"})
_DYNAMIC = frozenset(
    {"exec", "eval", "compile", "__import__", "globals", "locals", "vars", "setattr", "delattr"}
)
_DELETES_FILES = frozenset({"unlink", "rmdir", "rmtree", "removedirs"})
_WRITES_FILES = frozenset(
    {"to_csv", "to_excel", "to_parquet", "to_json", "to_pickle", "to_sql", "to_feather", "to_hdf", "to_stata"}
    | {
        "write_text",
        "write_bytes",
        "savefig",
        "savez",
        "savez_compressed",
        "savetxt",
        "write_csv",
        "write_parquet",
    }
    | {
        "touch",
        "mkdir",
        "makedirs",
        "copyfile",
        "copytree",
        "symlink_to",
        "hardlink_to",
        "write_html",
    }
)
_MOVES = frozenset({"os.rename", "os.replace", "shutil.move", "shutil.copy", "shutil.copy2"})
_CHANGES = frozenset(
    {"append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse", "update", "setdefault"}
    | {"add", "discard", "popitem", "appendleft"}
)
_KERNEL = frozenset({"get_ipython", "loom_nb", "IPython", "ipykernel"})
_HOME_THREAD = frozenset({"sqlite3", "tkinter", "PyQt5", "PyQt6", "PySide2", "PySide6", "wx"})
"""Libraries whose objects answer only on the thread that made them."""


@dataclass(frozen=True, slots=True)
class Program:
    """Code that compiles: all its statements, and the value of the last one where it is an expression."""

    source: str
    filename: str
    tree: ast.Module
    body: types.CodeType
    last: types.CodeType | None
    waits: bool
    """It awaits at its top level."""

    @property
    def last_name(self) -> str:
        """The variable whose value is the value of the code; empty where it is another expression."""
        end = self.tree.body[-1] if self.tree.body else None
        return end.value.id if isinstance(end, ast.Expr) and isinstance(end.value, ast.Name) else ""

    def bound_to_home(self, namespace: Mapping[str, Any]) -> bool:
        """Whether it uses objects that answer only on the notebook's own thread, or makes such."""
        if self.waits or any(name.partition(".")[0] in _HOME_THREAD for name in imported(self.tree)):
            return True
        return any(
            module_name(cls).partition(".")[0] in _HOME_THREAD
            for name in mentioned(self.tree, namespace) or namespace
            if name in namespace
            for cls in (type(namespace[name]), *_of_module(namespace[name]))
        )


def program(code: str, filename: str) -> Program:
    """Compile code, `await` allowed at its top level.

    Raises:
        ToolError: it cannot run; says at which line and column.
    """
    if len(code) > MOST_CHARS:
        raise ToolError(f"the code is too long: {len(code):,} characters, at most {MOST_CHARS:,}")
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a remark on the code is no output of the cell
            tree = ast.parse(code, filename)
            statements, last = list(tree.body), None
            end = statements[-1] if statements else None
            if isinstance(end, ast.Expr):
                statements.pop()
                last = compile(ast.Expression(end.value), filename, "eval", flags, dont_inherit=True)
            body = compile(ast.Module(statements, []), filename, "exec", flags, dont_inherit=True)
    except SyntaxError as error:
        raise _cannot_run(code, error) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ToolError("the code cannot be compiled", cause=str(error) or type(error).__name__) from None
    waits = any(one is not None and one.co_flags & inspect.CO_COROUTINE for one in (body, last))
    return Program(code, filename, tree, body, last, bool(waits))


def _cannot_run(code: str, error: SyntaxError) -> ToolError:
    line = (error.text or "").strip()[:120]
    fixes = []
    if line[:1] in ("%", "!", "?") or line.endswith("?"):
        fixes = ["plain Python only: magics, !commands and ? are of the notebook's front end"]
    where = f"line {error.lineno}, column {error.offset}" if error.lineno else "somewhere"
    return ToolError(
        f"the code cannot run: {where}: {error.msg}",
        cause=f"the line is {line!r}" if line else "",
        fixes=fixes,
    )


def reasons(tree: ast.Module, namespace: Mapping[str, Any]) -> tuple[str, ...]:
    """What it would do, in words for a person: a look at names only, that promises nothing."""
    assigned, deleted = bound(tree)
    found = [
        _listed("replaces", [name for name in assigned if name in namespace]),
        _listed("assigns", [name for name in assigned if name not in namespace]),
        _listed("deletes", deleted),
        _listed("changes in place", _changed_in_place(tree, namespace)),
        _listed("imports", [name for name in imported(tree) if _is_worth_telling(name)]),
    ]
    calls = list(_calls(tree))
    found += [
        _listed("deletes files:", [name for name in calls if name.rpartition(".")[2] in _DELETES_FILES]),
        _listed("deletes files:", [name for name in calls if name == "os.remove"]),
        _listed("writes files:", [*_writes(tree, calls), *(name for name in calls if name in _MOVES)]),
        _listed("runs programs:", [name for name in calls if _top(name, _RUNS)]),
        _listed("network:", [name for name in calls if _top(name, _NETWORK)]),
        _listed("calls", [name for name in calls if name in _DYNAMIC]),
        _listed("reaches into the kernel:", _kernel(tree)),
    ]
    return tuple(dict.fromkeys(text for text in found if text))


def destroys(tree: ast.Module) -> bool:
    """Whether it plainly deletes files."""
    return any(name.rpartition(".")[2] in _DELETES_FILES or name == "os.remove" for name in _calls(tree))


def talks(tree: ast.Module) -> bool:
    """Whether it plainly uses the network."""
    return any(_top(name, _NETWORK) for name in [*imported(tree), *_calls(tree)])


def bound(tree: ast.Module) -> tuple[list[str], list[str]]:
    """The names that it binds and that it deletes at its top level."""
    assigned: dict[str, None] = {}
    deleted: dict[str, None] = {}
    for node in _outer(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            assigned[node.id] = None
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del):
            deleted[node.id] = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            assigned[node.name] = None
    return list(assigned), list(deleted)


def imported(tree: ast.Module) -> list[str]:
    """The modules that it imports."""
    names: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(dict.fromkeys(alias.name for alias in node.names))
        elif isinstance(node, ast.ImportFrom) and node.module:
            names[node.module] = None
    return list(names)


def mentioned(tree: ast.Module, namespace: Mapping[str, Any]) -> frozenset[str] | None:
    """The names it can reach, through the notebook's own functions too; None where that cannot be told."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if (
        names & _DYNAMIC
        or names & _KERNEL
        or any(_top(one, _KERNEL | {"__main__"}) for one in imported(tree))
    ):
        return None
    waiting = list(names)
    while waiting:
        value = namespace.get(waiting.pop())
        for code in _codes(value):
            fresh = {one for one in code.co_names if one in namespace} - names
            if _DYNAMIC & {*code.co_names}:
                return None
            names |= fresh
            waiting += fresh
    return frozenset(names)


def _codes(value: Any) -> Iterator[types.CodeType]:
    """The code of a function, or of the methods of a class or object, of the notebook."""
    if type(value) is types.FunctionType:
        waiting = [value.__code__] if value.__module__ == "__main__" else []
        while waiting:
            code = waiting.pop()
            yield code
            waiting += [one for one in code.co_consts if type(one) is types.CodeType]
        return
    cls = value if derives(type(value), type) else type(value)
    for one in mro(cls):
        if module_name(one) == "__main__":
            for method in list(type.__dict__["__dict__"].__get__(one).values()):
                if type(method) is types.FunctionType:
                    yield from _codes(method)


def _of_module(value: Any) -> Iterator[type]:
    """Stands for the module itself, where a name is one: `sqlite3.connect(...)` makes such an object."""
    if derives(type(value), types.ModuleType):
        name = getattr(value, "__name__", "")
        if isinstance(name, str) and name.partition(".")[0] in _HOME_THREAD:
            yield type(name, (), {"__module__": name})


def _outer(tree: ast.Module) -> Iterator[ast.AST]:
    """All nodes that are not inside of a function, a class, a lambda or a comprehension."""
    inner = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
    closed = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    waiting: list[ast.AST] = list(reversed(tree.body))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, inner | closed):
            waiting += reversed(list(ast.iter_child_nodes(node)))


def _calls(tree: ast.Module) -> Iterator[str]:
    """What is called, as dotted names: "df.to_csv"; of a longer expression its end: ".to_csv"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield _dotted(node.func)


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{_dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _changed_in_place(tree: ast.Module, namespace: Mapping[str, Any]) -> Iterator[str]:
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            name = _root(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            inplace = any(word.arg == "inplace" for word in node.keywords)
            name = _root(node.func.value) if inplace or node.func.attr in _CHANGES else ""
        if name in namespace and not derives(type(namespace[name]), types.ModuleType):
            yield name


def _writes(tree: ast.Module, calls: list[str]) -> Iterator[str]:
    yield from (name for name in calls if name.rpartition(".")[2] in _WRITES_FILES)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _dotted(node.func).rpartition(".")[2] == "open":
            first = 1 if isinstance(node.func, ast.Name) else 0  # path.open(mode)
            modes = [
                *node.args[first : first + 1],
                *(word.value for word in node.keywords if word.arg == "mode"),
            ]
            if any(isinstance(one, ast.Constant) and _is_writing(one.value) for one in modes):
                yield "open"


def _is_writing(mode: object) -> bool:
    return (
        isinstance(mode, str) and len(mode) <= 4 and not {*mode} - {*"rwxabt+"} and bool({*mode} & {*"wxa+"})
    )


def _kernel(tree: ast.Module) -> Iterator[str]:
    yield from (name for name in imported(tree) if _top(name, _KERNEL))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in ("get_ipython", "In", "Out"):
            yield node.id


def _top(name: str, known: frozenset[str]) -> bool:
    return name.partition(".")[0] in known or ".".join(name.split(".")[:2]) in known


def _is_worth_telling(name: str) -> bool:
    return _top(name, _RUNS | _NETWORK | _UNSAFE) or name.partition(".")[0] not in sys.modules


def _listed(verb: str, names: Any) -> str:
    unique = list(dict.fromkeys(name.lstrip(".") for name in names if name))
    more = f" and {len(unique) - 8} more" if len(unique) > 8 else ""
    return f"{verb} {', '.join(unique[:8])}{more}" if unique else ""
