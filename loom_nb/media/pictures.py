"""An image as it may be sent: upright, of a size that a vendor takes, with nothing in it but its picture.

Pillow does what cannot be done without it; it is loaded on first use and may be missing.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from loom_nb.errors import LoomError, LoomUsageError, SetupError
from loom_nb.media.kinds import DRAWN_ANEW, IMAGES, NAMES, kind_of
from loom_nb.media.measures import Pixels, pixels
from loom_nb.media.stripping import without_metadata

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST = 1_568
"""Pixels of the longer side: what Anthropic's models look at, and more than OpenAI's do."""
MOST_PIXELS = 89_000_000
"""Of an image that is unpacked: a quarter of a gigabyte."""
MOST_BYTES = 3_900_000
"""Of what is sent: Anthropic takes 5 MB in base64."""
THUMBNAIL = 320
"""Pixels of the longer side of what a transcript shows."""
_QUALITY = 85
_OPENED = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP",
           "image/bmp": "BMP", "image/tiff": "TIFF"}  # fmt: skip
_PLAIN = frozenset({"L", "LA", "RGB", "RGBA"})
INSTALL = 'pip install "loom-nb[media]"'


@dataclass(frozen=True, slots=True)
class Fitted:
    """An image that may be sent."""

    data: bytes
    kind: str
    size: Pixels
    notes: tuple[str, ...] = ()
    """What was done to it, in words."""


def fitted(data: bytes, name: str, longest: int = LONGEST) -> Fitted:
    """An image without metadata, upright and at most so large.

    One that is so already is kept to the byte.

    Args:
        data: the image, in a kind that is known.
        name: what it is called, for errors.
        longest: pixels of its longer side.

    Raises:
        LoomUsageError: it is damaged, or would unpack to more than a machine should have to hold.
        SetupError: Pillow is missing and there is something to be done.
    """
    kind = kind_of(data)
    try:
        return _fitted(data, kind, name, longest)
    except LoomError:
        raise
    except Exception as error:  # noqa: BLE001  what decoders raise at damaged files is without end
        raise LoomUsageError(
            f"{name} is a damaged {NAMES.get(kind, 'image')}", cause=str(error)[:200] or type(error).__name__
        ) from None


def _fitted(data: bytes, kind: str, name: str, longest: int) -> Fitted:
    size = pixels(data)
    if size is not None:
        _refuse_bomb(size, name)
    image = _opened(data, kind, name)
    kept = without_metadata(data, kind)
    size = size or (image.size if image is not None else None)
    if kept is not None and size is not None and max(size) <= longest and len(kept) <= MOST_BYTES:
        return Fitted(kept, kind, size)
    if image is None:
        what = f"{size[0]:,} × {size[1]:,} pixels" if size else f"a {NAMES[kind]}"
        raise SetupError(
            f"{name} cannot be made ready to be sent: Pillow is not installed",
            cause=f"it is {what}, and has to be drawn anew",
            fixes=[INSTALL],
        )
    return _drawn(image, kind, name, longest)


def _refuse_bomb(size: Pixels, name: str) -> None:
    if size[0] * size[1] > MOST_PIXELS:
        raise LoomUsageError(
            f"{name} has {size[0]:,} × {size[1]:,} pixels, at most {MOST_PIXELS:,} are unpacked",
            cause="an image that unpacks to gigabytes can bring a machine down",
            fixes=["attach a smaller copy"],
        )


def _opened(data: bytes, kind: str, name: str) -> "Image | None":
    """Unpacked and found sound; None without Pillow."""
    try:
        from PIL import Image
    except ImportError:
        return None
    image = Image.open(io.BytesIO(data), formats=(_OPENED[kind],))
    _refuse_bomb(image.size, name)
    image.load()
    return image


def _drawn(image: Any, kind: str, name: str, longest: int) -> Fitted:
    from PIL import Image, ImageOps

    notes = []
    if getattr(image, "n_frames", 1) > 1:
        notes.append(f"the first of {image.n_frames:,} frames")
        image.seek(0)
    turned = ImageOps.exif_transpose(image)
    was = turned.size
    turned = _plain(turned)
    if max(was) > longest:
        turned.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        notes.append(f"scaled from {was[0]:,} × {was[1]:,} pixels")
    made = b"" if kind == "image/jpeg" else _saved(turned, "PNG")
    if made and len(made) <= MOST_BYTES:
        return Fitted(made, "image/png", turned.size, tuple(notes))
    made = _saved(_opaque(turned), "JPEG", quality=_QUALITY)
    if len(made) > MOST_BYTES:
        raise LoomUsageError(
            f"{name} is still {len(made):,} bytes at this size", fixes=[f"longest={LONGEST}"]
        )
    if kind != "image/jpeg":
        notes.append("as JPEG, which is smaller")
    return Fitted(made, "image/jpeg", turned.size, tuple(notes))


def _plain(image: Any) -> Any:
    """In a mode that can be scaled and saved."""
    if image.mode in _PLAIN:
        return image
    if image.mode.startswith(("I", "F")):  # of a microscope, say: from its darkest to its brightest
        low, high = image.getextrema()
        scale = 255 / (high - low) if high > low else 1.0
        return image.convert("F").point(lambda value: value * scale - low * scale).convert("L")
    return image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")


def _opaque(image: Any) -> Any:
    from PIL import Image

    if image.mode in ("L", "RGB"):
        return image
    with_alpha = image.convert("RGBA")
    ground = Image.new("RGB", image.size, "white")
    ground.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return ground


def _saved(image: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    bare = image.copy()
    bare.info = {}  # what was written beside the picture is not written again
    bare.save(buffer, format=kind, **options)
    return buffer.getvalue()


@lru_cache(maxsize=64)
def thumbnail(data: bytes) -> tuple[str, bytes] | None:
    """A small copy for a transcript, (media type, bytes); None where none can be drawn."""
    kind = kind_of(data)
    if kind not in IMAGES | DRAWN_ANEW:
        return None
    try:
        made = fitted(data, "the image", THUMBNAIL)
    except (LoomUsageError, SetupError):
        return None
    return made.kind, made.data
