"""What a text really says: unseen characters, look-alike letters and encodings taken off, each told of.

Pure functions from texts to texts. Nothing that was decoded is ever run.
"""

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

MAX_NESTED = 3
_MOST = 20
_LEAST = 24
"""Characters of an encoded text that is worth a look."""

_UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2061"
    "\u2062\u2063\u2064\ufeff"
)
_SPLITS_WORDS = re.compile(rf"[A-Za-z][{_UNSEEN}]+[A-Za-z]")
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_OVERRIDES = re.compile("[\u202d\u202e]")
_TAGS = re.compile("(\U0001f3f4)?([\U000e0020-\U000e007f]+)")
_STRIPPED = {ord(char): None for char in _UNSEEN} | dict.fromkeys((*range(8234, 8239), *range(8294, 8298)))
_TWINS = str.maketrans(
    "\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456\u0458\u0455\u0501\u04bb\u051b\u0475\u0410\u0412"
    "\u0421\u0415\u041d\u041a\u041c\u041e\u0420\u0422\u0425\u0406\u0408\u0405"
    "\u03bf\u03b1\u03bd\u03c1\u03b9\u03ba\u03c5\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d"
    "\u039f\u03a1\u03a4\u03a5\u03a7\u0578\u057d\u0585\u0261\u0131",
    "aceopxyijsdhwvABCEHKMOPTXIJSoavpikuABEZHIKMNOPTYXnsogi",
)
_WORD = re.compile(r"[^\W\d_]{4,}")
_BASE64 = re.compile(rf"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{{{_LEAST},}}={{0,2}}(?![A-Za-z0-9+/_=-])")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:0x)?((?:[0-9a-fA-F]{2}){16,})(?![0-9A-Za-z])")
_ESCAPES = re.compile(r"(?:\\x[0-9a-fA-F]{2}|\\[0-7]{3}){3,}")
_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2}){6,}")
_PLAIN = re.compile(r"[A-Za-z]{2,}")


@dataclass(frozen=True, slots=True)
class Mark:
    """A disguise in a text."""

    line: int
    words: str
    serious: bool


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text that stood in another one in an encoding."""

    line: int
    how: str
    text: str


def line_at(text: str, place: int) -> int:
    """The number of the line of a character, counted from 1."""
    return text.count("\n", 0, place) + 1


def unmask(text: str) -> tuple[str, list[Mark]]:
    """The text as a reader sees it, line for line, and what was taken off."""
    if text.isascii():
        return text, []
    marks = [
        Mark(line_at(text, found.start()), "unseen characters inside of a word", True)
        for found in islice(_SPLITS_WORDS.finditer(text), _MOST)
    ]
    for found in islice(_TURNS.finditer(text), _MOST):
        serious = _OVERRIDES.match(found[0]) is not None
        marks.append(
            Mark(line_at(text, found.start()), "characters that turn the direction of the text", serious)
        )
    marks += [
        Mark(line_at(text, found.start()), "a text in unseen tag characters", True)
        for found in islice(_TAGS.finditer(text), _MOST)
        if found[1] is None
    ]
    plain = text.translate(_STRIPPED)
    folded = "\n".join(unicodedata.normalize("NFKC", line) for line in plain.split("\n"))
    made, at = [], 0
    for word in _WORD.finditer(folded):
        twin = word[0].translate(_TWINS)
        if twin != word[0] and twin.isascii() and any(char.isascii() for char in word[0]):
            if len(marks) < 4 * _MOST:
                marks.append(
                    Mark(
                        line_at(folded, word.start()), f"letters of two alphabets in one word ({twin})", True
                    )
                )
            made += [folded[at : word.start()], twin]
            at = word.end()
    return "".join([*made, folded[at:]]), marks


def decoded(text: str, depth: int = 0) -> Iterator[Decoded]:
    """The texts that stand in a text in an encoding, also those in those."""
    for found in _TAGS.finditer(text):
        if found[1] is None:
            hidden = "".join(chr(ord(char) - 0xE0000) for char in found[2] if ord(char) < 0xE007F)
            yield Decoded(line_at(text, found.start()), "unseen tag characters", hidden)
    for how, place, inner in (*_base64(text), *_hex(text), *_escapes(text)):
        line = line_at(text, place)
        yield Decoded(line, how, inner)
        if depth + 1 < MAX_NESTED:
            for deeper in decoded(inner, depth + 1):
                yield Decoded(
                    line, f"{how} in {deeper.how}" if deeper.how != how else f"{how}, twice", deeper.text
                )


def turned(text: str) -> Iterator[tuple[str, str]]:
    """The text in the ciphers that turn letters around, which every reader can try: rot13 and backwards."""
    yield "rot13", codecs.encode(text, "rot13")
    yield "backwards", "\n".join(line[::-1] for line in text.split("\n"))


def _base64(text: str) -> Iterator[tuple[str, int, str]]:
    for found in _BASE64.finditer(text):
        raw = found[0].rstrip("=").replace("-", "+").replace("_", "/")
        try:
            data = base64.b64decode(raw + "=" * (-len(raw) % 4), validate=True)
        except (binascii.Error, ValueError):
            continue
        inner = _as_text(data)
        if inner:
            yield "base64", found.start(), inner


def _hex(text: str) -> Iterator[tuple[str, int, str]]:
    for found in _HEX.finditer(text):
        inner = _as_text(bytes.fromhex(found[1]))
        if inner:
            yield "hexadecimal", found.start(), inner


def _escapes(text: str) -> Iterator[tuple[str, int, str]]:
    for found in _ESCAPES.finditer(text):
        codes = re.findall(r"\\x([0-9a-fA-F]{2})|\\([0-7]{3})", found[0])
        inner = _as_text(bytes(int(one, 16) if one else int(other, 8) & 255 for one, other in codes))
        if inner:
            yield "escapes", found.start(), inner
    for found in _PERCENT.finditer(text):
        inner = _as_text(bytes.fromhex(found[0].replace("%", "")))
        if inner:
            yield "percent signs", found.start(), inner


def _as_text(data: bytes) -> str:
    """The bytes as a text, where they are one."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return ""
    printable = sum(char.isprintable() or char in "\n\t\r" for char in text)
    return text if text and printable == len(text) and _PLAIN.search(text) else ""
