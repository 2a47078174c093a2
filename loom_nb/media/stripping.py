"""An image without what a camera wrote beside its picture: place, time, owner; the picture itself is kept
to the byte, so that the same file gives the same request with any version of any library.
"""

import re
import struct

_OF_THE_PICTURE = frozenset(
    {
        b"IHDR",
        b"PLTE",
        b"tRNS",
        b"IDAT",
        b"IEND",
        b"gAMA",
        b"cHRM",
        b"sRGB",
        b"iCCP",
        b"sBIT",
        b"bKGD",
        b"pHYs",
    }
)
"""Chunks of a PNG that say how it looks, and nothing of where it comes from."""
_JFIF, _ADOBE, _LAST_APP, _COMMENT = 0xE0, 0xEE, 0xEF, 0xFE


def without_metadata(data: bytes, kind: str) -> bytes | None:
    """The image with its picture alone; None where that takes drawing it anew.

    That is so for a photograph that lies on its side, for animations, and for kinds other than PNG and JPEG.
    """
    if kind == "image/png":
        return _png(data)
    return _jpeg(data) if kind == "image/jpeg" else None


def _png(data: bytes) -> bytes | None:
    kept, at = [data[:8]], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        name, end = data[at + 4 : at + 8], at + 12 + size
        if end > len(data) or name in (b"acTL", b"eXIf"):  # animated, or it may lie on its side
            return None
        if name in _OF_THE_PICTURE:
            kept.append(data[at:end])
        if name == b"IEND":
            return b"".join(kept)  # what is hung behind it is no picture
        at = end
    return None


def _jpeg(data: bytes) -> bytes | None:
    """Segment by segment, through all scans, to the end of the first image: there may be others behind it."""
    kept, at = [data[:2]], 2
    while (found := _MARK.match(data, at)) is not None:
        mark, start = data[found.end() - 1], found.end()
        if mark == _END:
            return b"".join([*kept, b"\xff\xd9"])
        end = start + int.from_bytes(data[start : start + 2], "big")
        if mark in _WITHOUT_LENGTH or end < start + 2 or end > len(data):
            return None
        content = data[start + 2 : end]
        if mark == 0xE1 and content.startswith(b"Exif\0") and orientation(content[6:]) != 1:
            return None
        at = end
        if mark == _SCAN:  # its data have no length, they go up to the next mark
            behind = _NEXT.search(data, end)
            if behind is None:
                return None
            at = behind.start()
        if _is_of_the_picture(mark, content):
            kept += [bytes([0xFF, mark]), data[start:at]]
    return None


_MARK = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
_NEXT = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
"""Not the zero and the restarts that stand in the data of a scan; each byte is looked at once."""
_SCAN, _END = 0xDA, 0xD9
_WITHOUT_LENGTH = frozenset({0x01, 0xD8})


def _is_of_the_picture(mark: int, content: bytes) -> bool:
    if mark == _JFIF:
        return content.startswith(b"JFIF\0")  # and not JFXX, a smaller picture of before
    return mark == _ADOBE or not (_JFIF < mark <= _LAST_APP or mark == _COMMENT)


def orientation(exif: bytes) -> int:
    """How a picture lies, 1 to 8, by the head of its Exif data; 1 is upright, and where nothing is told."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        for number in range(min(count, 200)):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, at + 2 + 12 * number)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
