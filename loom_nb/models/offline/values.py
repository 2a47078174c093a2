"""Plain data read back from a text: JSON, a number, or the description of a list or a dict."""

import ast
import json
import re
from typing import Any, Final

from loom_nb.models.offline.arithmetic import number

NOTHING: Final = object()
"""Where a text is no plain data; None is data."""
_TITLE = re.compile(r"(dict|list|tuple|set): ([\d,]+) items?\n")
_MOST = 200_000


def plain_data(text: str) -> Any:
    """The value that a text describes, or `NOTHING`: of a dict what can be read, of a list all or nothing."""
    plain = text.strip()
    title = _TITLE.match(plain)
    if title and title[1] == "dict":
        return _entries(plain.splitlines()[1:])
    if title:
        items = [_literal(line.strip()) for line in plain.splitlines()[1:]]
        whole = len(items) == number(title[2]) and not any(one is NOTHING for one in items)
        return items if whole else NOTHING
    return json_or_number(plain)


def json_or_number(text: str) -> Any:
    """JSON, a number, true or false; else `NOTHING`."""
    plain = text.strip()
    if plain.lower() in ("true", "false"):
        return plain.lower() == "true"
    if plain[:1] in tuple("[{") and len(plain) < _MOST:
        try:
            return json.loads(plain, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            return NOTHING
    known = number(plain) if plain else None
    return NOTHING if known is None else known


def _entries(lines: list[str]) -> Any:
    found = {}
    for line in lines[:200]:
        match = re.match(r"\s*('[^'\n]*'|\"[^\"\n]*\"): (.*)$", line)
        key = _literal(match[1]) if match else NOTHING
        value = _literal(match[2]) if match else NOTHING
        if isinstance(key, str) and value is not NOTHING:
            found[key] = value
    return found or NOTHING


def _literal(text: str) -> Any:
    """A Python literal as plain data, or `NOTHING`."""
    if not text or len(text) > 2000 or "\\N" in text:
        return NOTHING
    try:
        return json.loads(json.dumps(ast.literal_eval(text), allow_nan=False))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return NOTHING
