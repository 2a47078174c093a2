"""What a path may look like, and how it is shown: names separated by '/', counted from the root.

Nothing is normalised: a character that only looks like a dot or a slash is a character. What is
refused here is refused before the disk is asked.
"""

import re
import unicodedata
from urllib.parse import unquote

from loom_nb.border import clean
from loom_nb.errors import ToolError

MAX_DEPTH = 128
"""Names in one path: each one is an open folder while it is walked."""
MAX_LENGTH = 4096

_HOME = re.compile(r"~([A-Za-z_][A-Za-z0-9_-]*|[+-])?(/|$)")
_DRIVE = re.compile(r"[A-Za-z]:([\\/]|$)")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_OVERLONG = re.compile(r"%(c0%ae|e0%80%ae|f0%80%80%ae)", re.IGNORECASE)
_PADDING = (" ", "\t", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff")
_INVISIBLE = frozenset({0xAD, 0x61C, 0x180E, 0x200B, 0x200E, 0x200F, 0xFEFF, *range(0xFFF9, 0xFFFC)})
_JOINERS = ("\u200c", "\u200d")
"""Part of Persian, of Indic scripts and of emoji; meaningless beside ASCII."""


class Refused(ToolError):
    """A path that nobody can allow: it leads out of the root, or names what is no ordinary file."""


def steps(path: str) -> list[str]:
    """The names of a path, last one first. Raises Refused that says why a path is refused."""
    if not isinstance(path, str) or "\0" in path:
        raise Refused("the path is refused: it has a NUL character")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise Refused("the path is refused: it is not valid Unicode") from None
    if _HOME.match(path):
        raise Refused(f"{shown(path)} is refused: '~' leads out of the folder")
    if path.startswith(("/", "\\")) or _DRIVE.match(path):
        raise Refused(
            f"{shown(path)} is refused: paths are relative to the folder, they do not begin with '/'"
        )
    if _ADDRESS.match(path):
        raise Refused(f"{shown(path)} is refused: it is an address, not a path")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." not in parts and _seems_to_climb(path):
        raise Refused(f"{shown(path)} is refused: a name in it looks like '..'")
    if ".." in parts:
        raise Refused(
            f"{shown(path)} is refused: '..' could lead out of the folder", fixes=["name it from the top"]
        )
    if len(parts) > MAX_DEPTH or len(path) > MAX_LENGTH:
        raise Refused(
            f"{shown(path)} is refused: it is too long",
            cause=f"at most {MAX_DEPTH} names and {MAX_LENGTH:,} characters",
        )
    return parts[::-1]


def _seems_to_climb(path: str) -> bool:
    """Whether some reader could take a name for '..': other dots, other slashes, percent signs.

    It would be an ordinary name here; but there is no honest use for it, and others read paths too.
    """
    text = unicodedata.normalize("NFKC", path)
    for _ in range(3):
        if "%" not in text:
            break
        text = unquote(_OVERLONG.sub(".", text))
    names = text.replace("\\", "/").replace("\u2215", "/").replace("\u2044", "/").split("/")
    return any("." in name and name.strip("".join(_PADDING)) == ".." for name in names)


def check_new_name(name: str) -> None:
    """Raise Refused for a name that should not come into the world, though a disk might take it."""
    what = f"a new name {shown(name)} is refused: "
    hidden = next((char for n, char in enumerate(name) if _is_hidden(name, n)), "")
    if hidden:
        raise Refused(f"{what}it has a character that is not seen (U+{ord(hidden):04X})")
    if "\\" in name:
        raise Refused(f"{what}it has a backslash", fixes=["'/' separates folders"])
    if name.endswith((" ", ".")):
        end = "space" if name[-1] == " " else "dot"
        raise Refused(f"{what}it ends with a {end}, which some systems drop")


def _is_hidden(name: str, place: int) -> bool:
    char = name[place]
    if " " <= char <= "~":
        return False
    if char in _JOINERS:
        return not all(
            near and not near.isascii() for near in (name[place - 1 : place], name[place + 1 : place + 2])
        )
    code = ord(char)
    return (
        unicodedata.category(char) in ("Cc", "Zl", "Zp")
        or code in _INVISIBLE
        or 0x202A <= code <= 0x202E
        or 0x2060 <= code <= 0x206F
        or 0xE0000 <= code <= 0xE00FF
    )


def twin(one: str, other: str) -> bool:
    """Whether two different names are one on some systems: other case, other form of the same letters."""
    return one != other and _form(one) == _form(other)


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def shown(path: str) -> str:
    """A path in quotes for a message, unseen characters escaped, never long."""
    text = clean(path) if isinstance(path, str) else str(path)
    return repr(text if len(text) <= 120 else f"{text[:117]}...")


def plain(name: str) -> str:
    """A name for a listing: one line, unseen characters escaped."""
    text = clean(name)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if _is_hidden(text, n) else char for n, char in enumerate(text)
    )


def amount(size: int) -> str:
    """A number of bytes in words."""
    if size < 1000:
        return f"{size} bytes"
    if size < 1_000_000:
        return f"{size / 1000:.3g} kB" if size < 99_950 else f"{size / 1000:.0f} kB"
    return f"{size / 1_000_000:,.1f} MB"
