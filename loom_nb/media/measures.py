"""How large a thing is, read from its head: pixels of an image, pages of a PDF, seconds of a sound.

Nothing is decoded: an image that would unpack to gigabytes is measured as cheaply as any other.
"""

import hashlib
import re
import threading
import zlib
from collections.abc import Iterator

from loom_nb.media.kinds import PDF, is_mp3_frame, kind_of

Pixels = tuple[int, int]
"""Width and height."""

_MOST_UNPACKED = 4 * 2**20
"""Bytes of one packed list of objects of a PDF that are looked at."""
_MOST_LISTS = 2_000
_MOST_TOGETHER = 64 * 2**20
"""Bytes of all of them, unpacked."""
_LIST = re.compile(rb"/ObjStm\b(?:(?!/ObjStm)[^\0]){0,2000}?(?<!end)stream\r?\n?")
"""The head of a packed list, up to where it begins."""
_SIZED = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""JPEG's marks of a frame, which tells its size."""


def pixels(data: bytes) -> Pixels | None:
    """Width and height of an image as its head tells them; None where it tells none."""
    match kind_of(data[:32] + b"\0"):
        case "image/png":
            found = (_big(data[16:20]), _big(data[20:24])) if data[12:16] == b"IHDR" else None
        case "image/jpeg":
            found = next(
                ((_big(at[3:5]), _big(at[1:3])) for mark, at in jpeg_segments(data) if mark in _SIZED), None
            )
        case "image/gif":
            found = (_little(data[6:8]), _little(data[8:10]))
        case "image/webp":
            found = _webp(data)
        case "image/bmp":
            found = (_little(data[18:22]), abs(int.from_bytes(data[22:26], "little", signed=True)))
        case _:
            found = None
    return found if found and all(found) else None


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(mark, content) of the parts of a JPEG before its picture begins, which is the last one, empty."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        mark = data[at + 1]
        if mark == 0xFF:  # filling
            at += 1
            continue
        size = _big(data[at + 2 : at + 4])
        if mark == 0xDA or size < 2:
            yield mark, b""
            return
        yield mark, data[at + 4 : at + 2 + size]
        at += 2 + size


def _webp(data: bytes) -> Pixels | None:
    match data[12:16]:
        case b"VP8X":
            return _little(data[24:27]) + 1, _little(data[27:30]) + 1
        case b"VP8L":
            bits = _little(data[21:25])
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF
    return None


def pages(data: bytes) -> int | None:
    """Pages of a PDF by its own tree of pages, None where that cannot be read. Counted once for each file."""
    key = hashlib.sha256(data).digest()
    with _LOCK:
        if key in _PAGES:
            return _PAGES[key]
    count = max((int(found) for text in _objects(data) for found in _counted(text)), default=0) or None
    with _LOCK:
        while len(_PAGES) >= _MOST_KNOWN:
            _PAGES.pop(next(iter(_PAGES)))
        _PAGES[key] = count
    return count


_LOCK = threading.Lock()
_PAGES: dict[bytes, int | None] = {}
"""By the hash of a PDF: several of its readers ask, and none of them keeps the file."""
_MOST_KNOWN = 256


def is_locked(data: bytes) -> bool:
    """Whether a PDF is encrypted, so that a vendor cannot read it."""
    return re.search(rb"/Encrypt\s*(?:\d+\s+\d+\s+R|<<)", data) is not None


def _counted(text: bytes) -> Iterator[bytes]:
    """The numbers of pages that nodes of the tree tell of: the root's is the largest."""
    for node in re.finditer(rb"/Type\s*/Pages\b", text):
        around = text[max(0, node.start() - 4_000) : node.end() + 4_000]
        here = min(node.start(), 4_000)
        begin, end = around.rfind(b"obj", 0, here), around.find(b"endobj", here)
        inner = around[max(0, begin) : end if end >= 0 else len(around)]
        yield from re.findall(rb"/Count\s+(\d{1,6})\b", inner)


def _objects(data: bytes) -> Iterator[bytes]:
    """The objects of a PDF: those that stand open, then those that are packed."""
    yield data
    left = _MOST_TOGETHER
    for packed in packed_lists(data):
        try:
            text = zlib.decompressobj().decompress(packed, min(left, _MOST_UNPACKED))
        except zlib.error:
            continue
        yield text
        left -= len(text)
        if left <= 0:
            return


def packed_lists(data: bytes) -> Iterator[memoryview]:
    """The packed lists of objects of a PDF, each up to its own end and none of it twice."""
    at = 0
    for _ in range(_MOST_LISTS):
        head = _LIST.search(data, at)
        if head is None:
            return
        begin = head.end()
        end = data.find(b"endstream", begin)
        if end < 0:
            return
        yield memoryview(data)[begin:end]
        at = end


def seconds(data: bytes) -> float | None:
    """How long a WAV or an MP3 plays; None where its head does not tell."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _wave_seconds(data)
    return _mp3_seconds(data) if kind_of(data[:16] + b"\0") == "audio/mpeg" else None


def _wave_seconds(data: bytes) -> float | None:
    at, rate = 12, 0
    while at + 8 <= len(data):
        name, size = data[at : at + 4], _little(data[at + 4 : at + 8])
        if name == b"fmt ":
            rate = _little(data[at + 16 : at + 20])
        elif name == b"data":
            return min(size, len(data) - at - 8) / rate if rate else None
        at += 8 + size + size % 2
    return None


_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_BITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


def _mp3_seconds(data: bytes) -> float | None:
    """The frames counted one by one, as their rates may differ."""
    at = 0
    if data[:3] == b"ID3" and len(data) > 10:
        at = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    total = 0.0
    while is_mp3_frame(data[at : at + 4]):
        version, index = data[at + 1] >> 3 & 3, data[at + 2] >> 4
        rate = _RATES[version][data[at + 2] >> 2 & 3]
        samples, bits = (1_152, _BITS_1[index]) if version == 3 else (576, _BITS_2[index])
        size = samples // 8 * bits * 1_000 // rate + (data[at + 2] >> 1 & 1)
        total += samples / rate
        at += size
    return total or None


def measured(data: bytes, kind: str) -> str:
    """The size of a thing as a person says it: "1,568 × 1,176 px", "12 pages", "3.2 s"; else nothing."""
    if kind.startswith("image/"):
        size = pixels(data)
        return f"{size[0]:,} × {size[1]:,} px" if size else ""
    if kind == PDF:
        count = pages(data)
        return "" if count is None else "1 page" if count == 1 else f"{count:,} pages"
    if kind.startswith("audio/"):
        length = seconds(data)
        return (
            ""
            if length is None
            else f"{length:.1f} s"
            if length < 60
            else f"{int(length // 60)}:{int(length % 60):02} min"
        )
    return ""


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
