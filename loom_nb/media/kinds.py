"""What bytes are, told by the bytes themselves: a name or a server may say anything."""

IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What the large vendors look at."""
DRAWN_ANEW = frozenset({"image/bmp", "image/tiff"})
"""Images that become PNG before they are sent."""
AUDIO = frozenset({"audio/wav", "audio/mpeg"})
PDF = "application/pdf"
TEXT = "text/plain"

NAMES = {
    "image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WebP",
    "image/bmp": "BMP", "image/tiff": "TIFF", PDF: "PDF", "audio/wav": "WAV", "audio/mpeg": "MP3",
    "audio/ogg": "Ogg", "audio/flac": "FLAC", "audio/mp4": "MPEG-4", TEXT: "text",
}  # fmt: skip

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"%PDF-", PDF),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}


def kind_of(data: bytes) -> str:
    """The media type of bytes; empty where they are nothing that is known here."""
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], "")
    for beginning, kind in _BEGINNINGS:
        if data.startswith(beginning) and (kind != "image/bmp" or _is_bitmap(data)):
            return kind
    if data[4:8] == b"ftyp":
        return "audio/mp4" if data[8:11] == b"M4A" else ""
    if is_mp3_frame(data[:4]):
        return "audio/mpeg"
    return TEXT if _is_text(data) else ""


def is_mp3_frame(head: bytes) -> bool:
    """Whether these four bytes begin a frame of MPEG audio, layer III."""
    return (
        len(head) == 4
        and head[0] == 0xFF
        and head[1] & 0xE0 == 0xE0
        and head[1] >> 3 & 3 != 1  # a version that is reserved
        and head[1] >> 1 & 3 == 1  # layer III
        and head[2] >> 4 not in (0, 15)
        and head[2] >> 2 & 3 != 3
    )


def _is_bitmap(data: bytes) -> bool:
    """Two letters begin many a text: the size of the head must be one that is known."""
    return len(data) >= 26 and int.from_bytes(data[14:18], "little") in (12, 40, 52, 56, 64, 108, 124)


def _is_text(data: bytes) -> bool:
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return bool(data)
