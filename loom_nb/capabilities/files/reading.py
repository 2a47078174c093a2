"""What a file gives a model: lines of text, or an image or PDF whole."""

import io
import mimetypes
import os
from collections.abc import Callable
from typing import BinaryIO

from loom_nb.border import clean
from loom_nb.capabilities.files.encodings import SAMPLE, Encoding, encoding_of
from loom_nb.capabilities.files.folder import Folder, size_of
from loom_nb.capabilities.files.paths import plain, shown
from loom_nb.errors import ToolError
from loom_nb.messages import FilePart, ImagePart, Origin, ResultPart, TextPart
from loom_nb.tools import MAX_ATTACHMENT_BYTES

MAX_LINES = 2_000
"""Lines that read_file gives at once."""
MAX_LINE = 2_000
"""Characters of one line; the rest is left out and said so."""
MAX_SCAN = 64 * 1024 * 1024
"""Bytes that read_file passes over on its way to the first line."""
MAX_LISTED = 500
MAX_SIDE = 8_000
"""Pixels of an image's side that the vendors take."""


def read(folder: Folder, path: str, start_line: int, line_count: int) -> list[ResultPart]:
    """The file as parts, with its path as their origin. Raises ToolError for what is none of them."""
    if start_line < 1 or not 1 <= line_count <= MAX_LINES:
        raise ToolError(f"start_line begins at 1, line_count is 1 to {MAX_LINES:,}")
    with folder.open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = os.pread(file.fileno(), SAMPLE, 0)
        kind = _attachment(head)
        if kind:
            return _attached(file, path, kind, size)
        encoding = encoding_of(head, whole=len(head) >= size)
        if encoding is None:
            raise binary(path, size)
        lines, whole = _lines(file, start_line, line_count, encoding)
    if not lines and start_line > 1:
        raise ToolError(f"{shown(path)} has no line {start_line:,}")
    last = start_line + len(lines) - 1
    told = [f"{size:,} bytes", f"lines {start_line:,}-{last:,}" if lines else "empty"]
    told += [encoding.note] if encoding.note else []
    told += [] if whole else [f"more follows: start_line={last + 1}"]
    text = f"{path} ({', '.join(told)})\n" + "\n".join(lines)
    return [TextPart(text, Origin("file", clean(path)))]


def binary(path: str, size: int) -> ToolError:
    """For what is no text."""
    kind = mimetypes.guess_type(path)[0] or "unknown kind"
    return ToolError(f"{shown(path)} is a binary file ({kind}, {size:,} bytes), not text")


def _lines(file: BinaryIO, start: int, count: int, encoding: Encoding) -> tuple[list[str], bool]:
    """The lines asked for, and whether the file ends with them."""
    file.seek(len(encoding.mark))
    if not encoding.wide:  # a line ends with the byte of a line feed: only what is shown is decoded
        return _some_lines(file.readline, start, count, encoding.codec)
    wide = io.TextIOWrapper(file, encoding.codec, errors="replace", newline="\n")
    try:
        return _some_lines(wide.readline, start, count, encoding.codec)
    finally:
        wide.detach()  # the file is the caller's to close


def _some_lines(
    readline: Callable[[int], bytes | str], start: int, count: int, codec: str
) -> tuple[list[str], bool]:
    lines: list[str] = []
    number, passed, fresh = 1, 0, True
    while chunk := readline(MAX_LINE * 4):
        passed += len(chunk)
        if passed > MAX_SCAN and number < start:
            raise ToolError(
                f"line {start:,} lies beyond the first {MAX_SCAN // 2**20} MB, which is as far as this reads"
            )
        if number >= start + count:
            return lines, False
        if number >= start and fresh:
            text = chunk if isinstance(chunk, str) else chunk.decode(codec, "replace")
            lines.append(_cut(clean(text.rstrip("\r\n"))))
        fresh = chunk.endswith("\n") if isinstance(chunk, str) else chunk.endswith(b"\n")
        number += fresh
    return lines, True


def _cut(line: str) -> str:
    return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]} ... (the line goes on)"


def listing(folder: Folder, path: str) -> str:
    """Names with sizes; folders end with '/'."""
    lines = []
    entries = folder.entries(path)
    for entry in entries[:MAX_LISTED]:
        name = plain(entry.name)
        if entry.is_symlink():
            lines.append(f"{name} (link)")
        elif entry.is_dir(follow_symlinks=False):
            lines.append(f"{name}/")
        else:
            lines.append(f"{name}  {size_of(entry):,} bytes")
    if len(entries) > MAX_LISTED:
        lines.append(f"... and {len(entries) - MAX_LISTED:,} more; glob finds them by name")
    return "\n".join(lines) or "(the folder is empty)"


def _attachment(head: bytes) -> str:
    """The media type of what a model can look at, by what the file begins with; else nothing."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return "application/pdf" if head.startswith(b"%PDF-") else ""


def _attached(file: BinaryIO, path: str, kind: str, size: int) -> list[ResultPart]:
    """An image or a PDF; one that a vendor would not take is an error here, where it can be mended."""
    if size > MAX_ATTACHMENT_BYTES:
        raise ToolError(
            f"{shown(path)} is too large to be looked at ({kind}, {size:,} bytes)",
            cause=f"at most {MAX_ATTACHMENT_BYTES:,} bytes",
        )
    data = file.read(MAX_ATTACHMENT_BYTES + 1)
    if not _is_sound(data, kind):
        raise ToolError(f"{shown(path)} is a binary file ({kind}, {size:,} bytes) that is damaged or cut off")
    name, origin = path.rstrip("/").rpartition("/")[2], Origin("file", clean(path))
    words = TextPart(f"{path} ({kind}, {size:,} bytes)", origin)
    if kind == "application/pdf":
        return [words, FilePart(data, kind, clean(name), origin)]
    return [words, ImagePart(data, kind, origin, clean(name))]


def _is_sound(data: bytes, kind: str) -> bool:
    match kind:
        case "image/png":
            wide, high = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
            ends = b"IEND" in data[-64:] and data[12:16] == b"IHDR"
            return ends and 0 < wide <= MAX_SIDE and 0 < high <= MAX_SIDE
        case "image/jpeg":
            return b"\xff\xd9" in data[-4096:]
        case "image/gif":
            return data.rstrip(b"\0").endswith(b";")
        case "image/webp":
            return len(data) >= int.from_bytes(data[4:8], "little") + 8
    return b"%%EOF" in data[-4096:]
