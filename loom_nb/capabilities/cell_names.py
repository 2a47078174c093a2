"""Which names the code of a cell reads from the notebook before it gives them a value, and which it binds."""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loom_nb.capabilities.python_code import bound, mentioned

MOST_CHARS = 100_000


@dataclass(frozen=True, slots=True)
class CellNames:
    """What the code of one cell does with names, as far as its words tell."""

    reads: frozenset[str] = frozenset()
    """Taken from the notebook: before the cell itself has given them a value."""
    binds: frozenset[str] = frozenset()
    mentions: frozenset[str] = frozenset()
    """All that it can reach, so that it may have changed in place."""


def names_of(code: str, namespace: Mapping[str, Any]) -> CellNames:
    """The names of a cell; nothing where it is no Python.

    Args:
        code: plain Python, magics replaced.
        namespace: to look into the notebook's own functions; read, never run.
    """
    if len(code) > MOST_CHARS:
        return CellNames()
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return CellNames()
    reading = _Reading()
    reading.block(tree.body)
    assigned, deleted = bound(tree)
    mine = {*assigned, *deleted, *reading.imported}
    through = mentioned(tree, namespace) or frozenset()
    words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    reads = reading.reads | (through - words - reading.known)
    return CellNames(frozenset(reads), frozenset(mine), frozenset(words | through | mine))


@dataclass(slots=True)
class _Reading:
    """Statements in their order: what is read, and what the cell itself may have given a value by then."""

    known: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    imported: set[str] = field(default_factory=set)
    later: list[ast.AST] = field(default_factory=list)
    """Bodies of functions: they run when everything of the cell may have a value."""

    def block(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            self.statement(statement)
        while self.later:
            self.look(self.later.pop(), inner=True)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found = {(one.asname or one.name).partition(".")[0] for one in names}
                self.imported |= found
                self.known |= found
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for part in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
                    self.look(part)
                self.later.append(node)
                self.known.add(node.name)
            case ast.ClassDef():
                for part in (*node.decorator_list, *node.bases):
                    self.look(part)
                self.later.append(node)
                self.known.add(node.name)
            case ast.Assign(targets=targets, value=value):
                self.look(value)
                for target in targets:
                    self.bind(target)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self.look(value)
                self.bind(target)
            case ast.AugAssign(target=target, value=value):
                self.look(value)
                self.look(target, stored=True)
                self.bind(target)
            case _:
                self.compound(node)

    def compound(self, node: ast.stmt) -> None:
        """Branches and loops. What one branch binds counts as bound behind it: the cell itself may have."""
        branches: list[list[ast.stmt]] = []
        match node:
            case ast.If(test=test) | ast.While(test=test):
                self.look(test)
                branches = [node.body, node.orelse]
            case ast.For() | ast.AsyncFor():
                self.look(node.iter)
                self.bind(node.target)
                branches = [node.body, node.orelse]
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    self.look(item.context_expr)
                    if item.optional_vars is not None:
                        self.bind(item.optional_vars)
                branches = [node.body]
            case ast.Try() | ast.TryStar():
                for one in node.handlers:
                    if one.type is not None:
                        self.look(one.type)
                    self.known |= {one.name} if one.name else set()
                branches = [node.body, *(one.body for one in node.handlers), node.orelse, node.finalbody]
            case _:
                self.look(node)
        ends = [self.branch(one) for one in branches]
        self.known = self.known.union(*ends)

    def branch(self, statements: Iterable[ast.stmt]) -> set[str]:
        """What may have a value at its end."""
        before = set(self.known)
        for one in statements:
            self.statement(one)
        after, self.known = self.known, before
        return after

    def bind(self, target: ast.AST) -> None:
        """A name has a value now; of `d[k]` and `d.a` the `d` is read."""
        match target:
            case ast.Name():
                self.known.add(target.id)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for part in parts:
                    self.bind(part)
            case ast.Starred(value=value):
                self.bind(value)
            case _:
                self.look(target)

    def look(self, node: ast.AST, *, stored: bool = False, inner: bool = False) -> None:
        """The names that are read in an expression; those of comprehensions and functions stay inside."""
        own = _bound_inside(node) if inner else set()
        for one in ast.walk(node):
            own |= _bound_inside(one) if _has_scope(one) else set()
        for one in ast.walk(node):
            if isinstance(one, ast.Name) and (stored or isinstance(one.ctx, ast.Load)):
                self.reads |= {one.id} - own - self.known
        for one in ast.walk(node):
            if isinstance(one, ast.NamedExpr):
                self.bind(one.target)


def _has_scope(node: ast.AST) -> bool:
    return isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.Lambda)


def _bound_inside(node: ast.AST) -> set[str]:
    """Names that mean something else within a function or a comprehension."""
    found = {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    found |= {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
    declared = {name for one in ast.walk(node) if isinstance(one, ast.Global) for name in one.names}
    return found - declared
