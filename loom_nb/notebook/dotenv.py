r"""Reads one value by its name from a `.env` file: a strict, small subset, and it says what it does not read.

Understood: `NAME=value`, `export NAME=value`, `NAME='literal'`, `NAME="with \n \r \t \" \\ \$"`, over
several lines too between quotation marks, comments and blank lines. Not understood: `$NAME`, `${NAME}`,
commands, and blanks around `=`; a line with one of those is an error if it is the one that is asked for.
No message holds a value.
"""

import re
from pathlib import Path
from typing import NoReturn

from loom_nb.errors import LoomUsageError

MOST_BYTES = 1_000_000
_LINE = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)(?P<gap>[ \t]*)=(?P<rest>.*)")
_LITERAL = re.compile(r"'(?P<text>[^']*)'[ \t]*(?:#[^\n]*)?(?=\n|\Z)")
_QUOTED = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"[ \t]*(?:#[^\n]*)?(?=\n|\Z)', re.DOTALL)
_COMMENT = re.compile(r"(?:^|[ \t]+)#.*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def value_in(path: Path, name: str) -> str:
    """The value that a file gives this name; the last one counts, as in a shell.

    Raises:
        LoomUsageError: the file cannot be read, does not name it, or gives it in a form that is not read.
    """
    text = _text(path)
    found: str | None = None
    at = 0
    while at < len(text):
        line_end = text.find("\n", at)
        line_end = len(text) if line_end < 0 else line_end
        match = _LINE.fullmatch(text, at, line_end)
        if match is None:
            at = line_end + 1
            continue
        wanted = match["name"] == name
        value, at = _value(text, match, path=path, wanted=wanted)
        found = value if wanted else found
    if not found:
        there = "it is there and empty" if found is not None else "names are as they stand before ="
        raise LoomUsageError(f"{path} has no value for {name}", cause=there)
    return found


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise LoomUsageError(f"{path} is no .env file", cause=f"it has more than {MOST_BYTES:,} bytes")
        return path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LoomUsageError(f"{path} cannot be read", cause=type(error).__name__) from None


def _value(text: str, match: "re.Match[str]", *, path: Path, wanted: bool) -> tuple[str, int]:
    """A value, and where what follows it begins."""
    at = match.start("rest")
    number = text.count("\n", 0, at) + 1
    end = match.end() + 1
    if text[at : at + 1] in ("'", '"'):
        literal = text[at] == "'"
        quoted = (_LITERAL if literal else _QUOTED).match(text, at)
        if quoted is None:
            if wanted:
                _refuse(path, number, "its quotation mark is not closed")
            return "", end
        inner, end = quoted["text"], quoted.end() + 1
        if literal or not wanted:
            return inner, end
        return _unescaped(inner, path, number), end
    value = _COMMENT.sub("", match["rest"]).strip()
    if not wanted:
        return "", end
    if match["gap"] or match["rest"][:1] in (" ", "\t"):
        _refuse(path, number, "there are blanks around =")
    if re.search(r"[$`\\\"']|\s", value):
        _refuse(path, number, "a value with blanks, quotation marks, $, ` or \\ stands between '…'")
    return value, end


def _unescaped(text: str, path: Path, number: int) -> str:
    """Between double quotation marks. Raises LoomUsageError for what a shell would put in."""
    if re.search(r"(?<!\\)(?:\\\\)*[$`]", text):
        _refuse(path, number, "it refers to another value or a command ($, `), which is not carried out")
    unknown = re.search(r"\\(.)", re.sub(r'\\[nrt"\\$]', "", text), re.DOTALL)
    if unknown is not None:
        _refuse(path, number, 'it holds an escape other than \\n \\r \\t \\" \\\\ \\$')
    return re.sub(r"\\(.)", lambda escape: _ESCAPES[escape[1]], text)


def _refuse(path: Path, number: int, why: str) -> NoReturn:
    raise LoomUsageError(
        f"line {number} of {path} is not understood", cause=why, fixes=["NAME='the value, literally'"]
    )
