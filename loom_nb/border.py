"""The one parser for JSON that comes from outside: a model, a browser, a server, a file.

Refused: duplicate keys, NaN and infinities (also `1e400`), lone surrogates, invalid UTF-8, nesting
deeper than 201, and texts over a size that the caller names. What passes is plain data.
"""

from typing import Any

import jiter
import msgspec

from loom_nb.errors import BorderError

_SMALL_E, _LARGE_E, _POINT = b"eE."  # to look for a number in bytes takes a fifth of looking for bytes
MAX_BYTES = 16 * 1024 * 1024
"""The largest text taken where the caller names no size of its own."""


def parse(text: str | bytes, *, what: str = "JSON", max_bytes: int = MAX_BYTES) -> Any:
    """Parse `text`, or raise `BorderError` that says what is wrong and where.

    Args:
        text: the JSON document; bytes are UTF-8.
        what: what the text is, for the message: "arguments of read_file".
        max_bytes: refuse anything longer.
    """
    try:
        data = text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise BorderError(f"{what}: a lone surrogate at character {error.start}") from None
    if len(data) > max_bytes:
        raise BorderError(f"{what}: {len(data):,} bytes, the limit is {max_bytes:,}")
    try:
        value = jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise BorderError(f"{what}: {_brief(error)}") from None
    # only an exponent overflows to infinity, or a fraction after more than 308 digits
    if _SMALL_E in data or _LARGE_E in data or (len(data) > 308 and _POINT in data):
        _refuse_overflow(data, what)
    return value


def parse_object(text: str | bytes, *, what: str = "JSON", max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Like `parse`, and the document must be an object."""
    value = parse(text, what=what, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise BorderError(f"{what}: an object is expected, this is a {type(value).__name__}")
    return value


def clean(text: str) -> str:
    """`text` as it may be kept and sent: lone surrogates become U+FFFD, NUL becomes U+2400."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\u2400")


def _refuse_overflow(data: bytes, what: str) -> None:
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:  # what the two parsers see differently is refused
        raise BorderError(f"{what}: {_brief(error)}") from None


def _brief(error: Exception) -> str:
    """The parser's words; it quotes a duplicate key whole, however long it is."""
    text = str(error)
    return text if len(text) <= 300 else f"{text[:150]} … {text[-140:]}"
