"""Arithmetic in digits or words, worked out without running code.

Only numbers, ``+ - * / // % **``, brackets and a few named functions; anything else is not arithmetic.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Sequence

Number = int | float

NUMBER = re.compile(
    r"(?<![\w.,])[-+\u2212]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,30})(?:\.\d{1,30})?(?:[eE][-+]?\d{1,3})?(?!\d|\.\d|[-/:]\d)"
)
_MONTHLIKE = re.compile(r"\d{4}-\d{2}-\d{2}")
_COUNTED = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen twenty
    """
_WORDS = {word: place for place, word in enumerate(_COUNTED.split())} | {
    "hundred": 100,
    "thousand": 1000,
    "dozen": 12,
}
_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[[Sequence[Number]], Number]] = {
    "sqrt": lambda v: math.sqrt(v[0]),
    "abs": lambda v: abs(v[0]),
    "round": lambda v: round(v[0]),
    "sum": math.fsum,
    "mean": lambda v: math.fsum(v) / len(v),
    "max": max,
    "min": min,
}
_NUM = r"\(*-?\d+(?:\.\d+)?\)*"
_SPOKEN: tuple[tuple[str, str], ...] = (
    (r"\u00d7|·|⋅|\bx(?=\s*\d)|\btimes\b|\bmultiplied by\b|\bmal\b|\bfois\b", "*"),
    (r"÷|\bdivided by\b|\bover\b|\bgeteilt durch\b", "/"),
    (r"\u2212|\bminus\b|\bless\b", "-"),
    (r"\bplus\b|\bund\b(?=\s*\d)", "+"),
    (r"\bmodulo\b|\bmod\b", "%"),
    (r"\bto the power of\b|\braised to\b|\^", "**"),
    (r"\bsquared\b", "**2"),
    (r"\bcubed\b", "**3"),
    (rf"({_NUM})\s*(?:%|percent|per cent)\s*of\s*({_NUM})", r"(\1/100*\2)"),
    (rf"\bhalf of\s*({_NUM})", r"(\1/2)"),
    (rf"\b(?:the )?(?:square )?root of\s*({_NUM})", r"sqrt(\1)"),
)
_LISTED = re.compile(
    r"^(?:the )?(sum|total|average|mean|maximum|minimum|max|min|largest|smallest|product|difference|add"
    r"|multiply|subtract|divide)"
    r"(?: of| between)?(?: up)?\s+(.+)$"
)
_ASKED = re.compile(
    r"^(?:hey|hi|hello|ok|so|please|well|now|and|can you|could you|tell me|just|what is|what's|whats"
    r"|what are|how much is"
    r"|how many is|calculate|compute|evaluate|work out|solve|was ist|wie viel ist|was sind|combien font"
    r"|combien fait"
    r"|cuánto es|the result of|the value of)\b[\s,:]*"
)


def numbers(text: str) -> list[tuple[int, int, Number]]:
    """The numbers in a text with where they stand: digits, "1,204", "-3.5", "seven"."""
    found: list[tuple[int, int, Number]] = []
    dates = [match.span() for match in _MONTHLIKE.finditer(text)]
    for match in NUMBER.finditer(text):
        value = number(match.group())
        if value is not None and not any(start <= match.start() < end for start, end in dates):
            found.append((*match.span(), value))
    for match in re.finditer(r"[A-Za-z]+", text):
        word = match.group().lower()
        if word in _WORDS and word not in ("one",):  # "which one" is no number
            found.append((*match.span(), _WORDS[word]))
    return sorted(found)


def number(text: str) -> Number | None:
    """The number that a text is, or None. Never infinite, never more than 40 digits."""
    plain = text.strip().replace(",", "").replace("\u2212", "-")
    if not re.fullmatch(r"[-+]?\d{1,40}(?:\.\d{0,40})?(?:[eE][-+]?\d{1,3})?", plain):
        return None
    if re.fullmatch(r"[-+]?\d+", plain):
        return int(plain)
    value = float(plain)
    return value if math.isfinite(value) else None


def shown(value: Number) -> str:
    """A number as a person writes it: no trailing zeros, eight figures at most."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
    return f"{value:.8g}"


def expression(text: str, known: Number | None = None) -> str | None:
    """The formula a text asks for, or None when it asks for something else.

    Args:
        text: "what is 12*7?", "add 2 and 3", "the average of 1, 2 and 6".
        known: what "that", "it" or "the result" stands for.
    """
    plain = _bare(text)
    if len(plain) > 200:
        return None
    if known is not None:
        plain = re.sub(
            r"\b(?:the (?:last |previous )?(?:result|sum|product|answer|number)|that|it|this)\b",
            repr(known),
            plain,
        )
        if re.match(r"(?:plus|minus|times|divided by|multiplied by|[*/+\u00d7÷^])\s*\(*[\d(]", plain):
            plain = f"{known!r} {plain}"
    listed = _LISTED.match(plain)
    if listed:
        return _listed(listed[1], listed[2])
    for pattern, sign in _SPOKEN:
        plain = re.sub(pattern, sign, plain)
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", plain).strip()
    worked = bool(re.search(r"\d\)*\s*(?:\*\*|[-+*/%])\s*[\d(sa-]|sqrt\(|abs\(|round\(", plain))
    if not worked or not re.fullmatch(r"(?:[\d\s.+\-*/%(),]|sqrt|abs|round)+", plain):
        return None
    plain = re.sub(r"\s+", " ", plain)
    return plain[1:-1] if re.fullmatch(r"\([^()]*\)", plain) else plain


def value_of(formula: str) -> Number | None:
    """The value of a formula, or None when it has none that fits (division by zero, far too large)."""
    if len(formula) > 300:
        return None
    try:
        result = _worth(ast.parse(formula.strip(), mode="eval").body, 0)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError, TypeError):
        return None
    return result if isinstance(result, int) or math.isfinite(result) else None


def _bare(text: str) -> str:
    plain = text.lower().strip()
    for word, value in _WORDS.items():
        if word in plain:
            plain = re.sub(rf"\b{word}\b", str(value), plain)
    for _ in range(4):
        shorter = _ASKED.sub("", plain).strip()
        if shorter == plain:
            break
        plain = shorter
    return re.sub(r"(?:\s*(?:=|\?|!|\.(?!\d)|equals|please|bitte))+$", "", plain).strip()


def _listed(verb: str, rest: str) -> str | None:
    values = [repr(value) for _, _, value in numbers(rest)]
    if len(values) < 2 or re.search(r"[*/^]", rest):
        return None
    leftover = NUMBER.sub("", rest)
    if re.search(r"[^\W\d_]", re.sub(r"\b(?:and|by|from|with|to|und|the|numbers?|of|it)\b", "", leftover)):
        return None
    if verb in ("product", "multiply"):
        return " * ".join(values)
    if verb in ("difference", "subtract", "divide"):
        swapped = values[::-1] if verb == "subtract" and "from" in rest else values
        return (" / " if verb == "divide" else " - ").join(_bracketed(value) for value in swapped[:2])
    if verb in ("sum", "total", "add"):
        return " + ".join(_bracketed(value) for value in values)
    name = {"average": "mean", "maximum": "max", "largest": "max", "minimum": "min", "smallest": "min"}.get(
        verb, verb
    )
    return f"{name}({', '.join(values)})"


def _bracketed(value: str) -> str:
    return f"({value})" if value.startswith("-") else value


def _worth(node: ast.expr, depth: int) -> Number:
    if depth > 60:
        raise ValueError
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_worth(operand, depth + 1)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _worth(operand, depth + 1)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_worth(left, depth + 1), _worth(right, depth + 1))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_worth(left, depth + 1), _worth(right, depth + 1))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS and args:
            return _FUNCTIONS[name]([_worth(arg, depth + 1) for arg in args])
    raise ValueError


def _power(base: Number, exponent: Number) -> Number:
    if abs(exponent) > 512 or (abs(base) > 1 and abs(exponent) * math.log10(abs(base)) > 300):
        raise OverflowError
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError  # noqa: TRY004  a root of a negative number is a value without a place here
    return result
