"""Something that a person attaches becomes a part of a message: an image, a PDF, a sound, a text, a value.

    agent.run(RuntimeTask("what is on it?", attachments=(loom_nb.attach("photo.png"),)))

Only what is handed over here is read. A prompt that names a file is a text and stays one.
"""

import asyncio
import difflib
import os
import stat
import threading
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote

from loom_nb.border import clean
from loom_nb.capabilities.addresses import is_address
from loom_nb.capabilities.describe import describe_image, describe_value
from loom_nb.capabilities.secret_names import looks_secret
from loom_nb.errors import LoomUsageError, ToolError
from loom_nb.media.kinds import AUDIO, DRAWN_ANEW, IMAGES, NAMES, PDF, TEXT, kind_of
from loom_nb.media.measures import is_locked, pages
from loom_nb.media.pictures import LONGEST, fitted
from loom_nb.messages import DataPart, FilePart, ImagePart, Origin
from loom_nb.network.fetch import Client, Guard, Request, checked_allow

MOST_READ = 64 * 2**20
"""Bytes of a file or an answer that are read at all; an image of so many becomes a small one."""
MOST_SENT = 24 * 2**20
"""Bytes of a PDF or a sound; in base64 a vendor takes about 32 MB in one request."""
MOST_TEXT = 2 * 2**20
MOST_PAGES = 100
SECONDS = 60.0
"""For a download with all its redirects."""
_NAMED = 100
"""Characters of a name."""

T = TypeVar("T")
Attachment: TypeAlias = ImagePart | FilePart | DataPart


def attach(
    what: Any, name: str = "", *, longest: int = LONGEST, allow: Iterable[tuple[str, int]] = ()
) -> Attachment:
    """A part to travel with a prompt: `RuntimeTask(goal, attachments=(attach("photo.png"),))`.

    What it is, is told by its bytes and never by its name. Images are turned upright, made smaller where they
    are larger than models look at, and lose what a camera wrote beside them; what is so already is sent to
    the byte.

    Args:
        what: the path of a file, an http or https address, bytes, a matplotlib figure, a PIL image, or any
            other value, which is described as `{name}` in a prompt would be. An address is fetched once.
        name: what the model is told it is called; by default the name of the file.
        longest: pixels of the longer side of an image.
        allow: (host, port) pairs of addresses that may be fetched although they are not public.

    Raises:
        LoomUsageError: there is no such file, it is damaged, too large, of a kind that no vendor takes, or by
            its name it holds secrets; or the address is refused or does not answer.
        SetupError: an image has to be drawn anew, and Pillow is not installed.
    """
    if is_address(what):
        return _waited(attached(what, name, longest=longest, allow=allow))
    return made_of(what, name, longest=longest)


async def attached(
    what: Any, name: str = "", *, longest: int = LONGEST, allow: Iterable[tuple[str, int]] = ()
) -> Attachment:
    """`attach` for an event loop, which goes on meanwhile."""
    if is_address(what):
        data, called, origin = await _fetched(what.strip(), allow)
        return await asyncio.to_thread(_part, data, name or called, origin, longest)
    if isinstance(what, str | os.PathLike):
        return await asyncio.to_thread(made_of, what, name, longest=longest)
    return made_of(what, name, longest=longest)  # a value of the notebook, which belongs to this thread


def made_of(what: Any, name: str = "", *, longest: int = LONGEST) -> Attachment:
    """`attach` for all but addresses."""
    if not 16 <= longest <= 8_000:
        raise LoomUsageError(f"attach: longest is 16 to 8,000 pixels, not {longest}")
    if isinstance(what, ImagePart | FilePart | DataPart):
        return what
    if isinstance(what, str | os.PathLike):
        path = Path(what).expanduser()
        return _part(_read(path), name or path.name, Origin("file", clean(path.name)[:_NAMED]), longest)
    if isinstance(what, bytes | bytearray | memoryview):
        return _part(bytes(what), name or "bytes", Origin("notebook", name), longest)
    image = describe_image(what)
    if image is not None:
        origin = Origin("notebook", name)
        return ImagePart(image.data, image.media_type, origin, name or type(what).__name__.lower())
    return describe_value(name or type(what).__name__, what)


def media_of(value: Any, name: str) -> ImagePart | FilePart | None:
    """Bytes of the notebook that are an image, a PDF or a sound, as a part; None for all else.

    Raises:
        LoomUsageError: they are, and cannot be sent.
        SetupError: see `attach`.
    """
    if type(value) not in (bytes, bytearray) or kind_of(bytes(value)) in ("", TEXT):
        return None
    part = made_of(value, name)
    return part if isinstance(part, ImagePart | FilePart) else None


def _part(data: bytes, name: str, origin: Origin, longest: int) -> ImagePart | FilePart:
    """The part of these bytes. Raises LoomUsageError for what no vendor takes."""
    name = clean(name)[:_NAMED] or "file"
    kind = kind_of(data)
    if kind in IMAGES | DRAWN_ANEW:
        made = fitted(data, name, longest)
        return ImagePart(made.data, made.kind, origin, name)
    if kind == PDF or kind in AUDIO:
        _refuse_large(name, len(data), MOST_SENT)
        _refuse_unreadable(name, kind, data)
        return FilePart(data, kind, name, origin)
    if kind == TEXT:
        _refuse_large(name, len(data), MOST_TEXT)
        return FilePart(data, kind, name, origin)
    told = f"it is {NAMES[kind]}" if kind in NAMES else "its bytes are none of these"
    raise LoomUsageError(
        f"{name} cannot be attached: {told if data else 'it is empty'}",
        cause="images (PNG, JPEG, GIF, WebP, TIFF, BMP), PDF, WAV, MP3 and text in UTF-8 can",
        fixes=["convert it to one of these"],
    )


def _refuse_large(name: str, size: int, most: int) -> None:
    if size > most:
        raise LoomUsageError(
            f"{name} is too large to be attached ({size:,} bytes)", cause=f"at most {most:,} bytes"
        )


def _refuse_unreadable(name: str, kind: str, data: bytes) -> None:
    if kind != PDF:
        return
    if is_locked(data):
        raise LoomUsageError(f"{name} is locked by a password", fixes=["save a copy without one"])
    count = pages(data)
    if count is not None and count > MOST_PAGES:
        raise LoomUsageError(
            f"{name} has {count:,} pages",
            cause=f"at most {MOST_PAGES} are taken",
            fixes=["attach a part of it"],
        )


def _read(path: Path) -> bytes:
    """A file that a person named, and nothing else: no pipe, no device, no folder."""
    if looks_secret(str(path)) or looks_secret(str(path.resolve())):
        raise LoomUsageError(
            f"{path.name} is not attached: by its name it holds secrets",
            cause="what is attached is sent to the model and kept in the log",
            fixes=["%loom key set NAME   keeps a secret and lets tools use it"],
        )
    try:
        with os.fdopen(_opened(path), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise LoomUsageError(f"{path} is no file", fixes=["name a file"])
            _refuse_large(path.name, status.st_size, MOST_READ)
            return file.read(MOST_READ + 1)
    except FileNotFoundError:
        raise LoomUsageError(f"there is no file {str(path)!r}", fixes=_near(path)) from None
    except OSError as error:
        raise LoomUsageError(f"{path} cannot be read", cause=error.strerror or str(error)) from None


def _opened(path: Path) -> int:
    """Without waiting for what may never come."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))


def _near(path: Path) -> list[str]:
    """Files beside it that may have been meant."""
    try:
        names = [entry.name for entry in os.scandir(path.parent) if entry.is_file()][:5_000]
    except OSError:
        return []
    return [str(path.with_name(name)) for name in difflib.get_close_matches(path.name, names, n=2)]


async def _fetched(url: str, allow: Iterable[tuple[str, int]]) -> tuple[bytes, str, Origin]:
    """(bytes, name, origin) of an address, by the guarded way of every tool."""
    client = Client(Guard("web", "attach", frozenset(checked_allow("web", tuple(allow)))), SECONDS, MOST_READ)
    try:
        target = client.guard.target(url)
        reply = await client.send(Request("GET", target, (("User-Agent", "loom-nb"), ("Accept", "*/*"))))
    except ToolError as error:
        where = "loom_nb.attach(url, allow=[(host, port)])   permits it" if "refused" in error.title else ""
        raise LoomUsageError(
            error.title, cause=error.cause, fixes=[where] if where else ["download it and attach the file"]
        ) from None
    if not 200 <= reply.status < 300:
        raise LoomUsageError(f"attach: {reply.told}", cause=clean(str(reply.target)))
    if not reply.whole:
        raise LoomUsageError(f"attach: what is there is larger than {MOST_READ:,} bytes")
    name = clean(unquote(PurePosixPath(reply.target.url.path).name))
    return reply.body, name or reply.target.host, Origin("web", clean(str(reply.target)))


def _waited(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives, waited for in a thread of its own: a loop may run in this one."""
    made: list[Callable[[], T]] = []

    def run() -> None:
        try:
            value = asyncio.run(work)
            made.append(lambda: value)
        except BaseException as error:  # noqa: BLE001  it is raised where it is waited for
            made.append(_raiser(error))

    thread = threading.Thread(target=run, name="loom-attach", daemon=True)
    thread.start()
    thread.join()
    return made[0]()


def _raiser(error: BaseException) -> Callable[[], Any]:
    def give() -> Any:
        raise error

    return give
