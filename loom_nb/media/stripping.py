"""An image without what a camera wrote beside its picture: place, time, owner; the picture itself is kept
to the byte, so that the same file gives the same request with any version of any library.
"""

import struct

from loom_nb.media.measures import jpeg_segments

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
    kept, read = [data[:2]], 2
    for mark, content in jpeg_segments(data):
        if mark == 0xDA:
            end = data.rfind(b"\xff\xd9")
            start = data.find(b"\xff\xda", read)
            return b"".join([*kept, data[start : end + 2]]) if 0 <= start < end else None
        read = data.find(bytes([0xFF, mark]), read) + 4 + len(content)
        if mark == 0xE1 and content.startswith(b"Exif\0") and orientation(content[6:]) != 1:
            return None
        if not (_JFIF < mark <= _LAST_APP and mark != _ADOBE) and mark != _COMMENT:
            kept.append(bytes([0xFF, mark]) + (len(content) + 2).to_bytes(2, "big") + content)
    return None


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
