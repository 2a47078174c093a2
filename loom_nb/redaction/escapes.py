r"""What a text says when its escapes are read: `%2F`, `\u002f`, `\"`, `&amp;`, `&#47;`.

All kinds are read at once, since whoever looks through other people's text does not know which one it is
in. A text that comes in pieces has to be taken up where an escape begins, not in the middle of one.
"""

import re
from bisect import bisect_right
from html.entities import html5

_PERCENT = rb"%[0-9A-Fa-f]{2}"
_BACKSLASH = rb"\\(?:u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|x[0-9A-Fa-f]{2}|[nrtbf]|[ -$'-/:-@\[-`{-~])"
"""Not `\\%` and `\\&`: there, what follows may be an escape by itself."""
_ENTITY = rb"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,6});"
_KINDS = tuple(map(re.compile, (_PERCENT, _BACKSLASH, _ENTITY)))
_ESCAPE = re.compile(
    rb"[%&\\](?:(?<=%)" + _PERCENT[1:] + rb"|(?<=&)" + _ENTITY[1:] + rb"|(?<=\\)" + _BACKSLASH[2:] + rb")"
)
"""Begins with a set of characters: so Python looks for it as fast as for these."""
_SIGNS = re.compile(rb"[%&\\]")
_BEGUN = re.compile(
    rb"(?:%[0-9A-Fa-f]?|&(?:#[0-9]{0,7}|#[xX][0-9A-Fa-f]{0,6}|[A-Za-z]{0,6})"
    rb"|\\(?:u[0-9A-Fa-f]{0,3}|U[0-9A-Fa-f]{0,7}|x[0-9A-Fa-f]?)?)"
)
LONGEST = 10
"""Bytes of an escape."""
_CONTROLS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_NAMED = {
    name[:-1].encode(): sign.encode()
    for name, sign in html5.items()
    if name.endswith(";") and len(name) <= 7 and len(sign) == 1
}


def unescaped(text: bytes) -> bytes:
    """The text with its escapes read, once; itself where it has none."""
    if b"%" in text or b"\\" in text or b"&" in text:
        return _ESCAPE.sub(_read, text)
    return text


def readings(text: bytes) -> set[bytes]:
    """What a text is for those who read some kinds of escapes only and take the others as they stand."""
    found = {text}
    for kind in _KINDS:
        found |= {kind.sub(_read, one) for one in found}
    return found


def begun(text: bytes) -> int:
    """Where an escape begins that more text may complete; the length of the text where none does."""
    for place in _beginnings(text, len(text)):
        if _BEGUN.fullmatch(text, place):
            return place
    return len(text)


def aligned(text: bytes, place: int) -> int:
    """The place, or the beginning of the escape in whose middle it lies."""
    for start in _beginnings(text, place):
        found = _ESCAPE.match(text, start)
        if found is not None and found.end() > place:
            return start
    return place


def from_end(text: bytes, back: int) -> int:
    """The place in a text whose reading is so many bytes before the end of the reading of the text."""
    start = aligned(text, max(0, len(text) - back * LONGEST))
    ahead = len(unescaped(text[start:])) - back
    for found in _ESCAPE.finditer(text, start):
        between = found.start() - start
        if ahead < between:
            break
        ahead -= between + len(_read(found))
        if ahead < 0:
            return found.start()
        start = found.end()
    return start + ahead


class Places:
    """Where the bytes of the reading of a text stand in the text itself."""

    def __init__(self, text: bytes) -> None:
        self._read: list[int] = [0]
        self._start: list[int] = [0]
        self._end: list[int] = [0]
        read = last = 0
        for found in _ESCAPE.finditer(text):
            reading = _read(found)
            if reading != found[0]:
                read += found.start() - last
                last = found.end()
                self._note(read, found.start(), last)
                read += len(reading)
                self._note(read, last, last)

    def _note(self, read: int, start: int, end: int) -> None:
        self._read.append(read)
        self._start.append(start)
        self._end.append(end)

    def of(self, start: int, end: int) -> tuple[int, int]:
        """The span of the text that reads so; an escape of which only a part is in it, is in it."""
        return self._place(start)[0], self._place(end - 1)[1]

    def _place(self, read: int) -> tuple[int, int]:
        n = bisect_right(self._read, read) - 1
        start, end, within = self._start[n], self._end[n], read - self._read[n]
        return (start, end) if end > start else (start + within, start + within + 1)


def _beginnings(text: bytes, before: int) -> list[int]:
    """Where escapes may begin that reach up to a place, or over it."""
    starts = []
    for sign in _SIGNS.finditer(text, max(0, before - LONGEST), before):
        run = text[: sign.start()]
        slashes = len(run) - len(run.rstrip(b"\\"))
        if slashes % 2 == 0 or sign[0] != b"\\":  # else the backslash before it takes this one in
            starts.append(sign.start())
    return starts


def _read(found: re.Match[bytes]) -> bytes:
    """What one escape stands for; itself where it stands for nothing."""
    escape = found[0]
    known = _KNOWN.get(escape)
    if known is None:
        known = _decoded(escape)
        if len(_KNOWN) < _MOST_KNOWN:
            _KNOWN[escape] = known
    return known


_KNOWN: dict[bytes, bytes] = {}
_MOST_KNOWN = 4096


def _decoded(escape: bytes) -> bytes:
    sign, kind, rest = escape[:1], escape[1:2], escape[2:]
    if sign == b"%":
        return bytes.fromhex(escape[1:].decode())
    if sign == b"&":
        if kind != b"#":
            return _NAMED.get(escape[1:-1], escape)
        digits = rest[:-1].decode()
        return _letter(int(digits[1:], 16) if digits[0] in "xX" else int(digits), escape)
    if rest:
        return bytes.fromhex(rest.decode()) if kind == b"x" else _letter(int(rest, 16), escape)
    return _CONTROLS.get(kind, kind)


def _letter(code: int, escape: bytes) -> bytes:
    return chr(code).encode("utf-8", "surrogatepass") if code <= 0x10FFFF else escape
