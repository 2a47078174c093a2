"""The forms in which a secret may stand in a text: bytes in, bytes out."""

import base64
import html
import json
import re
from collections.abc import Iterator
from urllib.parse import quote

from loom_nb.redaction.escapes import readings

SHORTEST = 8
"""Bytes of a secret that is looked for. A shorter one would blot out ordinary words."""
WHOLE = 160
"""Characters up to which a secret is looked for as a whole; of a longer one each piece is."""
_PIECE = 96
_STEP = 64
_LINES = (57, 48)
"""Bytes of a line of base64 with 76 and with 64 characters."""


def forms(value: str) -> set[bytes]:
    """What to look for in a text, and in its reading by `unescaped`, to find a secret in any encoding.

    Each of them, once found, is the secret or a piece of it. None where it is shorter than `SHORTEST`.
    """
    found: set[bytes] = set()
    if len(value.encode("utf-8", "surrogatepass")) < SHORTEST:
        return found
    for piece in _pieces(value):
        for plain in _plain(piece):
            found |= readings(plain) | {plain.replace(b" ", b"+"), plain.hex().encode()}
            found |= {plain.hex().upper().encode(), *_in_base64(plain)}
        if _SIGNS.search(piece):
            found.update(_written(piece))
    found.update(_lines(value.encode("utf-8", "surrogatepass")))
    for line in _own_lines(value):
        found |= forms(line)
    return {form for form in found if len(form) >= SHORTEST}


def _plain(value: str) -> set[bytes]:
    """As bytes: in UTF-8, with each half of a character beyond 16 bits by itself, and in Latin-1."""
    halves = value.encode("utf-16-le", "surrogatepass")
    units = "".join(chr(int.from_bytes(halves[n : n + 2], "little")) for n in range(0, len(halves), 2))
    plain = {value.encode("utf-8", "surrogatepass"), units.encode("utf-8", "surrogatepass")}
    if all(ord(char) < 256 for char in value):
        plain.add(value.encode("latin-1"))
    return plain


def _written(piece: str) -> Iterator[bytes]:
    """With its escapes, for one that holds signs of escapes: readers of all kinds may not agree on these."""
    coded = json.dumps(piece)[1:-1]
    forms = (
        piece.replace("&", "\\&").replace("%", "\\%"),
        html.escape(piece),
        quote(piece, errors="surrogatepass"),
        coded,
        json.dumps(piece, ensure_ascii=False)[1:-1],
        json.dumps(coded)[1:-1],
    )
    for form in forms:
        yield form.encode("utf-8", "surrogatepass")


def _pieces(value: str) -> Iterator[str]:
    """The value, or pieces of which each overlaps the next: so that whichever stand there make one whole."""
    if len(value) <= WHOLE:
        yield value
        return
    for start in range(0, len(value) - _PIECE, _STEP):
        yield value[start : start + _PIECE]
    yield value[-_PIECE:]


def _own_lines(value: str) -> list[str]:
    """Of one that has several: each is a secret by itself, such as one of a key in PEM."""
    lines = [line.strip() for line in value.splitlines()]
    return [line for line in lines if not line.startswith("-----")] if len(lines) > 1 else []


def _lines(value: bytes) -> Iterator[bytes]:
    """Those of its base64."""
    for width in _LINES:
        if len(value) > width:
            coded = [base64.b64encode(value[n : n + width]) for n in range(0, len(value), width)]
            yield from (line for line in coded if len(line) >= SHORTEST * 2)


def _in_base64(data: bytes) -> Iterator[bytes]:
    """At each of the three places that it may have in a group of three bytes, in either alphabet."""
    for before in range(3):
        coded = base64.b64encode(bytes(before) + data)
        whole = coded.rstrip(b"=")
        head = (0, 2, 3)[before]  # the characters in front of it tell of the bytes before, too
        inner = whole[head:-1] if len(whole) < len(coded) else whole[head:]  # and the last of those behind
        for one in (inner, whole[head:], whole[head:] + b"=", coded[head:]):
            if one == whole[head:] + b"=" and one not in coded:
                continue
            yield one
            yield one.translate(_FOR_ADDRESSES)


_SIGNS = re.compile(r"[%&\\]")
_FOR_ADDRESSES = bytes.maketrans(b"+/", b"-_")
