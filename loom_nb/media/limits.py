"""What each vendor takes of images, PDFs and sounds; told before anything is sent.

Anthropic: PNG, JPEG, GIF, WebP of 5 MB (in base64) and 8,000 pixels a side, 2,000 where a request holds
more than 20, which what was attached never has (`pictures.LONGEST`); PDFs of 32 MB and 100 pages, not
locked; no sound (platform.claude.com/docs, "Vision" and "PDF support"). OpenAI: the same images, PDFs of
50 MB; WAV and MP3 by chat completions, for models that hear; the responses API takes no sound
(platform.openai.com/docs, "Images and vision", "File inputs", "Audio").
"""

from dataclasses import dataclass

from loom_nb.media.kinds import AUDIO, IMAGES, NAMES, PDF
from loom_nb.media.measures import is_locked, pages, pixels


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one dialect."""

    image_bytes: int
    side: int
    """Pixels."""
    pdf_bytes: int
    pdf_pages: int
    audio: bool
    instead: str = ""
    """What takes sound, where this does not."""


ANTHROPIC = Limits(5 * 2**20 * 3 // 4, 8_000, 32 * 10**6 * 3 // 4, 100, False, "an audio model of openai")
OPENAI_CHAT = Limits(20 * 2**20, 8_000, 32 * 10**6, 100, True)
OPENAI_RESPONSES = Limits(20 * 2**20, 8_000, 32 * 10**6, 100, False, "an audio model with the chat API")


def why_not(limits: Limits, kind: str, data: bytes) -> str:
    """Why a vendor would refuse a part, as the end of a sentence; empty where it would not."""
    if kind in IMAGES:
        return _image(limits, data)
    if kind == PDF:
        return _pdf(limits, data)
    if kind.startswith("audio/"):
        if not limits.audio:
            return f"it takes no sound; {limits.instead} does"
        if kind not in AUDIO:
            return f"it takes WAV and MP3, not {NAMES.get(kind, kind)}"
    return ""


def _image(limits: Limits, data: bytes) -> str:
    if len(data) > limits.image_bytes:
        return f"it has {len(data):,} bytes, at most {limits.image_bytes:,} are taken"
    size = pixels(data)
    if size is not None and max(size) > limits.side:
        return f"it has {size[0]:,} × {size[1]:,} pixels, at most {limits.side:,} a side are taken"
    return ""


def _pdf(limits: Limits, data: bytes) -> str:
    if len(data) > limits.pdf_bytes:
        return f"it has {len(data):,} bytes, at most {limits.pdf_bytes:,} are taken"
    count = pages(data)
    if count is not None and count > limits.pdf_pages:
        return f"it has {count:,} pages, at most {limits.pdf_pages:,} are taken"
    return "it is locked by a password" if is_locked(data) else ""
