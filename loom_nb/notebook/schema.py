"""A type written in a cell's flag, `Foo` or `list[Foo]`, looked up without running code."""

import ast
import builtins
import typing
from collections.abc import Mapping
from typing import Any

from loom_nb.errors import LoomUsageError
from loom_nb.notebook.cell import look_up, suggestions

_PLAIN = ("str", "int", "float", "bool", "list", "dict", "tuple", "set", "None")


def type_from(text: str, namespace: Mapping[str, Any]) -> Any:
    """The type that `text` names: classes of the namespace, builtins, `Literal`, `Optional`, `X | Y`.

    Raises:
        LoomUsageError: it is no type, or a name in it does not exist.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        raise LoomUsageError(
            f"--schema: '{text}' is no type", fixes=["%%loom --schema list[MyClass]"]
        ) from None
    return _of(tree.body, namespace, text)


def _of(node: ast.expr, namespace: Mapping[str, Any], text: str) -> Any:
    match node:
        case ast.Name() | ast.Attribute():
            return _named(ast.unparse(node), namespace)
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str() | int() as value):
            return value  # inside Literal[…]
        case ast.Tuple(elts=elements):
            return tuple(_of(element, namespace, text) for element in elements)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _of(left, namespace, text) | _of(right, namespace, text)
        case ast.Subscript(value=outer, slice=inner):
            base = _of(outer, namespace, text)
            try:
                return base[_of(inner, namespace, text)]
            except TypeError:
                raise LoomUsageError(f"--schema: {ast.unparse(outer)} takes no [...]", cause=text) from None
        case _:
            raise LoomUsageError(
                f"--schema: '{ast.unparse(node)}' is no type", cause="only names and [...] are read"
            )


def _named(name: str, namespace: Mapping[str, Any]) -> Any:
    try:
        value = look_up(name, namespace)
    except KeyError:
        value = getattr(builtins, name, None) if name in _PLAIN else getattr(typing, name, None)
    if value is None:
        classes = tuple(n for n, v in namespace.items() if isinstance(v, type))
        raise LoomUsageError(
            f"--schema: there is no '{name}' in this notebook",
            fixes=suggestions(name, (*classes, *_PLAIN), "%%loom --schema {}"),
        )
    typed = isinstance(value, type) or typing.get_origin(value) is not None
    if not typed and getattr(value, "__module__", "") != "typing":
        raise LoomUsageError(f"--schema: '{name}' is a {type(value).__name__}, not a type")
    return value
