"""How the bytes of a text file are to be read: told by a mark, found by trying, or guessed and said so."""

import codecs
from dataclasses import dataclass

SAMPLE = 64 * 1024
"""Bytes that are looked at."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_STRANGE = frozenset({*range(9), *range(14, 27), *range(28, 32), 0x7F})
_NOT_IN_1252 = frozenset({0x81, 0x8D, 0x8F, 0x90, 0x9D})


@dataclass(frozen=True, slots=True)
class Encoding:
    """A codec, and what the file begins with before its first character."""

    codec: str = "utf-8"
    mark: bytes = b""
    name: str = "UTF-8"
    guessed: bool = False

    @property
    def wide(self) -> bool:
        """Whether a character has several bytes always, so that lines cannot be told by a byte."""
        return self.codec.startswith(("utf-16", "utf-32"))

    @property
    def note(self) -> str:
        """For the reader, where it is not plain UTF-8."""
        if self.guessed:
            return f"not UTF-8, read as {self.name}: a guess"
        return "" if self.name == "UTF-8" else self.name

    def decode(self, data: bytes) -> str:
        """All of a file as text, every character. Raises UnicodeDecodeError."""
        return data[len(self.mark) :].decode(self.codec)

    def encode(self, text: str) -> bytes:
        """Text as the file has it. Raises UnicodeEncodeError."""
        return self.mark + text.encode(self.codec)


def encoding_of(head: bytes, *, whole: bool) -> Encoding | None:
    """The encoding of a file by its first bytes; None for what is no text.

    Args:
        head: the first SAMPLE bytes or more.
        whole: whether that is all of the file.
    """
    for mark, codec, name in _MARKS:
        if head.startswith(mark):
            return Encoding(codec, mark, name)
    if b"\0" in head:
        return _wide(head)
    if sum(map(head.count, _BYTES)) > len(head) * 0.1:
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=whole)
    except UnicodeDecodeError:
        latin = any(byte in head for byte in _NOT_IN_1252)
        return Encoding("latin-1" if latin else "cp1252", b"", "Latin-1" if latin else "Windows-1252", True)
    return Encoding()


_BYTES = [bytes([byte]) for byte in sorted(_STRANGE)]


def _wide(head: bytes) -> Encoding | None:
    """UTF-16 without a mark: every other byte of Western text is zero."""
    pairs = len(head) // 2
    even, odd = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    for zeros, others, codec in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if pairs and zeros > pairs * 0.6 and not others:
            text = head[: 2 * pairs].decode(codec, "replace")
            if sum(ord(char) in _STRANGE for char in text) <= len(text) * 0.02:
                return Encoding(codec, b"", "UTF-16 without a mark", True)
    return None
