"""How many tokens an image, a PDF or a sound comes to, as the vendors' own documents reckon.

Anthropic: a patch of 28 x 28 pixels is a token, ⌈w/28⌉ · ⌈h/28⌉ (an older text of theirs says about
w · h / 750, which is nearly the same); an image of more than 1,568 pixels a side or 1,568 patches is made
smaller first (platform.claude.com/docs/en/build-with-claude/vision). A page of a PDF is both its text,
1,500 to 3,000 tokens, and an image (…/build-with-claude/pdf-support).
OpenAI: made to fit 2,048 x 2,048, then its shorter side to 768; 85 tokens and 170 for each tile of 512
pixels (platform.openai.com/docs/guides/images-vision). A second of sound is 10 tokens.
"""

import math
import zlib

from loom_nb.media.kinds import PDF
from loom_nb.media.measures import Pixels, pages, pixels, seconds

UNKNOWN_IMAGE = 1_000
"""Tokens of an image that does not tell its size."""
PAGE = 2_500
"""Of a page of a PDF."""
SECOND = 10
"""Of a second of sound."""
_PATCH, _SIDE, _PATCHES = 28, 1_568, 1_568
_BYTES_OF_A_PAGE = 50_000
"""Where a PDF does not tell its pages."""
_BYTES_OF_A_SECOND = 16_000
"""Where a sound does not tell how long it is: MP3 of 128 kbit/s."""


def anthropic_tokens(size: Pixels) -> int:
    """Of an image with Anthropic."""
    wide, high = size
    scale = min(1.0, _SIDE / max(wide, high))
    patches = _patches(wide * scale, high * scale)
    return min(patches, _PATCHES)


def openai_tokens(size: Pixels) -> int:
    """Of an image with OpenAI, looked at closely."""
    wide, high = size
    scale = min(1.0, 2_048 / max(wide, high))
    wide, high = int(wide * scale), int(high * scale)
    scale = min(1.0, 768 / max(1, min(wide, high)))
    return 85 + 170 * math.ceil(wide * scale / 512) * math.ceil(high * scale / 512)


def _patches(wide: float, high: float) -> int:
    return math.ceil(wide / _PATCH) * math.ceil(high / _PATCH)


def image_tokens(data: bytes) -> int:
    """Of an image before anybody has counted: what it costs where it costs more."""
    size = pixels(data)
    return UNKNOWN_IMAGE if size is None else max(1, anthropic_tokens(size), openai_tokens(size))


def file_tokens(data: bytes, kind: str) -> int:
    """Of a file before anybody has counted; of text a quarter of its bytes."""
    if kind.startswith("image/"):
        return image_tokens(data)
    if kind != PDF and not kind.startswith("audio/"):
        return max(1, len(data) // 4)
    mark = (len(data), zlib.crc32(data[:_EDGE]), zlib.crc32(data[-_EDGE:]))
    known = _KNOWN.get(mark)
    if known is None:
        while len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.pop(next(iter(_KNOWN)), None)
        known = _KNOWN[mark] = _looked_through(data, kind)
    return known


def _looked_through(data: bytes, kind: str) -> int:
    if kind == PDF:
        return PAGE * (pages(data) or 1 + len(data) // _BYTES_OF_A_PAGE)
    return max(1, math.ceil(SECOND * (seconds(data) or len(data) / _BYTES_OF_A_SECOND)))


_KNOWN: dict[tuple[int, int, int], int] = {}
"""Tokens of what was looked through: it is asked for again at every turn. A mistake would be one of an
estimate only, so that the edges will do for a mark."""
_EDGE, _MOST_KNOWN = 65_536, 256
