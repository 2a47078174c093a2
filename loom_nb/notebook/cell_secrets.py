"""What must not travel with the cells of a notebook: texts that look like secrets, by their name or form.

Pure: texts and names go in, texts come out. Secrets that nothing tells from other words stay: an argument
without a name, a password that is read from a file.
"""

import ast
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

from loom_nb.capabilities.anatomy import looks_secret
from loom_nb.redaction.key_forms import without_key_forms

WITHHELD = "[withheld: it looks like a secret]"
SHORTEST_SECRET = 6
"""Characters of the value of a variable that is taken out wherever it stands."""
MOST_HELD = 100
"""Texts of one container that are looked at."""


def secret_texts(names: Mapping[str, object], *, nested: bool = False) -> list[str]:
    """The texts in variables that are withheld for their names, long ones first.

    Args:
        names: variables with their values; a list, tuple, set or dict may hold the texts.
        nested: a plain "key" or "token" is usual data there, as in an environment.
    """
    found: set[str] = set()
    for name, value in names.items():
        held = _held(value)
        if looks_secret(name, "text" if held else value, nested=nested or bool(held)):
            found.update(map(_text, held or [value]))
    return _longest_first(found)


def secrets_in(code: str) -> list[str]:
    """The texts that code gives a secret's name, long ones first: what it puts out may hold them."""
    return _longest_first(_text(_folded(node)) for node in _secret_nodes(_parsed(code)))


def without_secrets(text: str, secrets: Iterable[str], *, code: bool) -> tuple[str, bool]:
    """The text without what looks like a secret, and whether there was any.

    Taken out are these texts, what has the form of a key, passwords in addresses and behind a name like
    `password`; in code the texts that are bound to or compared with such a name, key or argument.
    """
    made = _literals_blotted(text) if code else _ON_LINE.sub(_blotted, _ENV.sub(_blotted, text))
    made = _IN_COMMENT.sub(_blotted, _NAMED_TEXT.sub(_blotted, made))
    made = _IN_ADDRESS.sub(rf"\g<user>{WITHHELD}", made)
    words = [re.escape(one) for one in (WITHHELD, *secrets) if one]
    made = re.sub("|".join(words), WITHHELD, made)
    made = without_key_forms(made, WITHHELD)[0]
    return made, made != text


def _held(value: object) -> list[object]:
    """What a container holds; nothing of what is none, or of a class that may run code."""
    if type(value) is dict:
        value = list(value.values())
    if type(value) in (list, tuple, set, frozenset) and isinstance(value, Iterable):
        return list(itertools.islice(value, MOST_HELD))
    return []


def _text(value: object) -> str:
    """What may be looked for; empty for what is too short, and for what is no text."""
    if type(value) is bytes:
        value = value.decode("utf-8", "ignore")
    return value if type(value) is str and len(value.strip()) >= SHORTEST_SECRET else ""


def _longest_first(texts: Iterable[str]) -> list[str]:
    return sorted({text for text in texts if text}, key=lambda text: (-len(text), text))


# -- by the form -----------------------------------------------------------------------------------------

_NAMED_TEXT = re.compile(
    # a name begins at the first letter of its word, and nowhere else: the work grows with the text
    r"""(?P<lead>(?<![\w-])(?:(?![A-Za-z_])[\w-])*+)(?P<name>[A-Za-z_][\w-]*+)"""
    r"""(?P<mid>["']?\]?\s*[=:]\s*)(?P<text>b?(?P<q>["'])[^"'\n]{3,}(?P=q))"""
)
_SET = re.compile(
    r"""(?P<name>(?<=%env )\w+|(?<=set_env )\w+|(?<=export )\w+)(?P<mid>[= ]\s*)(?P<text>[^\s'"]\S*)"""
)
_ENV = re.compile(r"""^(?P<lead>(?:env: |export )?)(?P<name>[A-Za-z_]\w*)(?P<mid>=)(?P<text>\S+)$""", re.M)
"""A line of what `%env` and `env` put out."""
_WORD = r"""(?P<text>(?=\S*\d)(?=\S*[^\W\d])[^\s'"\[({]{6,})[ \t]*$"""
_SAID = r"""(?P<name>[A-Za-z_][\w-]*)(?P<mid>[ \t]*[:=][ \t]*)""" + _WORD
"""A name and one word with a digit behind it."""
_IN_COMMENT = re.compile(r"(?P<lead>\#[ \t]*)" + _SAID, re.M)
_ON_LINE = re.compile(r"(?P<lead>^[ \t]*(?:[-*][ \t]+)?)" + _SAID, re.M)
"""In a note, or in settings that were put out."""
_IN_ADDRESS = re.compile(r"""(?<=://)(?P<user>[^\s/:@'"]*:)(?P<text>[^\s/@'"{}<>$*]{3,})(?=@)""")


def _blotted(match: re.Match[str]) -> str:
    held, groups = match["text"], match.groupdict()
    if WITHHELD in held or not looks_secret(match["name"], held, nested=True):
        return match[0]
    return f"{groups.get('lead') or ''}{match['name']}{match['mid']}'{WITHHELD}'"


# -- in code ---------------------------------------------------------------------------------------------

_MAGIC = re.compile(r"^[ \t]*[%!?].*$", re.MULTILINE)
_DEFAULTS = frozenset({"setdefault", "get", "getenv", "putenv", "setenv", "set", "set_key", "pop"})
"""Functions that are called with a name and its value."""
_WRAPS = frozenset({"str", "bytes", "SecretStr", "SecretBytes", "quote", "quote_plus", "b64decode"})


def _literals_blotted(code: str) -> str:
    """Code whose texts with a secret's name are withheld; where it is no Python, by its form alone."""
    code = code.replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.encode() for line in code.split("\n")]
    for first, start, last, end in sorted(_secret_places(code), reverse=True):
        head, tail = lines[first][:start], lines[last][end:]
        lines[first : last + 1] = [head + f"'{WITHHELD}'".encode() + tail]
    return _SET.sub(_blotted, b"\n".join(lines).decode())


def _secret_places(code: str) -> set[tuple[int, int, int, int]]:
    """Where those texts stand: first line and byte, last line and byte, counted from 0."""
    return {
        (node.lineno - 1, node.col_offset, (node.end_lineno or node.lineno) - 1, node.end_col_offset or 0)
        for node in _secret_nodes(_parsed(code))
    }


def _parsed(code: str) -> ast.AST:
    """Nothing where it is no Python."""
    try:
        return ast.parse(_MAGIC.sub("", code.replace("\r\n", "\n").replace("\r", "\n")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def _secret_nodes(tree: ast.AST) -> Iterator[ast.expr]:
    for name, value, nested in _named_values(tree):
        for node, inside in _texts(value):
            if looks_secret(name, "text", nested=nested or inside):
                yield node


def _texts(node: ast.expr, inside: bool = False) -> Iterator[tuple[ast.expr, bool]]:
    """The texts that a value is or may be, and whether it only holds them, as a list does."""
    parts: list[ast.expr] = []
    match node:
        case ast.Constant(value=str() | bytes() as held) if len(held) >= 3:
            yield node, inside
        case ast.JoinedStr():
            yield node, inside
        case ast.BinOp(left=left, right=right):
            if next(_texts(left), None) or next(_texts(right), None):
                yield node, inside
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts) | ast.Dict(values=parts):
            inside = True
        case _:
            parts = _passed_on(node)
    for part in parts:
        yield from _texts(part, inside)


def _passed_on(node: ast.expr) -> list[ast.expr]:
    """Of which parts of an expression one is its value, as it is or in another form."""
    match node:
        case ast.BoolOp(values=parts):
            return parts
        case ast.IfExp(body=body, orelse=orelse):
            return [body, orelse]
        case ast.NamedExpr(value=value):
            return [value]
        case ast.Call(func=func, args=args) if _called(func) in _WRAPS:
            return args[:1]
        case ast.Call(func=func, args=[_, *rest]) if _called(func) in _DEFAULTS:
            return rest
        case ast.Call(func=ast.Attribute(value=ast.Constant() as value)):  # 'text'.strip()
            return [value]
        case _:
            return []


def _folded(node: ast.expr) -> object:
    """What a text in code is when it has run; None where that is not to be seen."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            both = _folded(left), _folded(right)
            return both[0] + both[1] if isinstance(both[0], str) and isinstance(both[1], str) else None
        case _:
            return None


def _named_values(tree: ast.AST) -> Iterator[tuple[str, ast.expr, bool]]:
    """Values with the names that they are given, and whether that is the name of a key or an argument."""
    for node in ast.walk(tree):
        yield from _bound(node)
        match node:
            case ast.keyword(arg=str(name), value=value):
                yield name, value, True
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant):
                        yield str(key.value), value, True
            case ast.arguments():
                yield from _by_default(node)
            case ast.Compare(left=left, comparators=others):
                yield from _compared([left, *others])
            case ast.Call(func=func, args=args):
                yield from _called_with(_called(func), args)
            case _:
                pass


def _bound(node: ast.AST) -> Iterator[tuple[str, ast.expr, bool]]:
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _assigned(target, value)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield from _assigned(target, value)
        case ast.NamedExpr(target=target, value=value):
            yield from _assigned(target, value)
        case _:
            pass


def _assigned(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr, bool]]:
    if isinstance(target, ast.Tuple | ast.List):
        if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
            for one, held in zip(target.elts, value.elts, strict=True):
                yield from _assigned(one, held)
        return
    yield _name(target), value, isinstance(target, ast.Subscript)


def _by_default(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr, bool]]:
    """Parameters of a function with what they are by default."""
    placed = [*arguments.posonlyargs, *arguments.args]
    pairs = [*zip(reversed(placed), reversed(arguments.defaults), strict=False)]
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    for parameter, value in (*pairs, *((one, held) for one, held in named if held is not None)):
        yield parameter.arg, value, True


def _compared(sides: list[ast.expr]) -> Iterator[tuple[str, ast.expr, bool]]:
    """What a name is compared with; a comparison with words of its own is usual for a `token`."""
    for name in filter(None, map(_name, sides)):
        yield from ((name, side, True) for side in sides if not _name(side))


def _called_with(function: str, args: list[ast.expr]) -> Iterator[tuple[str, ast.expr, bool]]:
    match args:
        case [ast.Constant(value=str(name)), value, *_] if function in _DEFAULTS:
            yield name, value, True
        case [_, ast.Constant(value=str(name)), value] if function == "setattr":
            yield name, value, False
        case _:
            pass


def _called(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _name(target: ast.expr) -> str:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=key)):
            return str(key)
        case _:
            return ""
