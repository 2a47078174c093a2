"""All that lies in the folder of a skill: read once, so that what is looked at, sealed and given is the same.

Nothing is left out in silence: what cannot be read, or is more than anybody looks at, is told of.
"""

import hashlib
import os
import re
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from loom_nb.border import clean
from loom_nb.capabilities.files.folder import Folder
from loom_nb.capabilities.skills.code_dangers import language_of
from loom_nb.errors import LoomError, ToolError
from loom_nb.media.kinds import NAMES, PDF, kind_of

HEAD = "SKILL.md"
MAX_RESOURCES = 200
"""Files of one skill that are read, and told of."""
MAX_RESOURCE = 256 * 1024
"""Bytes of one of them that are read."""
MAX_HASHED = 32 * 2**20
"""Bytes of all larger and further files of which a hash is made; the rest is known by size and times."""
MAX_ENTRIES = 20_000
"""Files and folders of one skill that are counted."""
MAX_DEPTH = 20
_TOLD_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that nobody looks at, or all of a folder."""

    path: str
    why: str
    sealed: bool = False
    """Whether the hash of the skill stands for it as well: a yes is then one to these very bytes."""
    harmless: bool = False
    """Whether it is a picture or the like, of which no text speaks as of a program."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies in the folder of a skill beside its SKILL.md."""

    files: tuple[str, ...] = ()
    """What is told of and read on demand, by its path."""
    texts: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """What is looked at: also hidden files, and code that is no sound text."""
    unread: tuple[Unread, ...] = ()
    marks: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """(path, what stands for its content) of everything."""
    changed: int = 0
    """When the last of it was changed, in nanoseconds since the epoch, as no program can set it back."""


def contents(root: Path, head: str = "") -> Contents:
    """Read the folder of a skill, no link followed. Of what goes wrong inside of it, `unread` tells.

    Args:
        root: the folder.
        head: the text of its SKILL.md, which is not read here.

    Raises:
        OSError: the folder itself cannot be read.
    """
    walk = _Walk(root)
    walk.all()
    told = tuple(path for path, _ in walk.files if _is_told(path))[:MAX_RESOURCES]
    try:
        folder = Folder(str(root))
    except LoomError:  # no path can be confined on this system
        unread = [*walk.unread, *(Unread(path, "cannot be read here") for path, _ in walk.files)]
        marks = [*walk.marks, *((path, _stamp(status)) for path, status in walk.files)]
        return Contents(told, (), tuple(unread), tuple(marks), walk.changed)
    try:
        texts = list(_looked_at(folder, walk))
    finally:
        folder.close()
    doubted = _in_doubt(walk.unread, [head, *(text for _, text in texts)])
    return Contents(told, tuple(texts), doubted, tuple(walk.marks), walk.changed)


def only(root: Path, name: str) -> Contents:
    """One file of a folder, read as a part of a skill.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    walk = _Walk(root)
    walk.files.append((name, (root / name).lstat()))
    folder = Folder(str(root))
    try:
        texts = tuple(_looked_at(folder, walk))
    finally:
        folder.close()
    return Contents((name,), texts, tuple(walk.unread), tuple(walk.marks), walk.changed)


def _is_told(path: str) -> bool:
    return (
        path.isprintable()
        and path.count("/") <= _TOLD_DEPTH
        and not any(part.startswith(".") for part in path.split("/"))
    )


class _Walk:
    """The files of a folder with what the disk says of them, those of hidden folders last."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: list[tuple[str, os.stat_result]] = []
        self.unread: list[Unread] = []
        self.marks: list[tuple[str, str]] = []
        self.changed = root.stat().st_ctime_ns
        self._waiting = deque([""])
        self._hidden = deque[str]()
        self._entries = 0

    def all(self) -> None:
        """Go through everything. Raises OSError for the folder itself."""
        while self._waiting or self._hidden:
            inner = self._waiting.popleft() if self._waiting else self._hidden.popleft()
            try:
                with os.scandir(self.root / inner) as entries:
                    found = sorted(islice(entries, MAX_ENTRIES + 1), key=lambda one: one.name)
            except OSError as error:
                if not inner:
                    raise
                self._leave(inner, f"cannot be read ({error.strerror or error})")
                continue
            self._entries += len(found)
            if self._entries > MAX_ENTRIES:
                self._leave(inner, f"lies behind the first {MAX_ENTRIES:,} files and folders")
                return
            for entry in found:
                self._met(entry, f"{inner}{entry.name}")

    def _met(self, entry: os.DirEntry[str], path: str) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            self._leave(path, f"cannot be looked at ({error.strerror or error})")
            return
        self.changed = max(self.changed, status.st_ctime_ns)
        if stat.S_ISREG(status.st_mode):
            if path != HEAD:
                self.files.append((path, status))
        elif not stat.S_ISDIR(status.st_mode):
            what = "is a link" if stat.S_ISLNK(status.st_mode) else "is no ordinary file"
            self._leave(path, what, _stamp(status))
        elif path.count("/") >= MAX_DEPTH:
            self._leave(path, "lies too deep", _stamp(status))
        else:
            (self._hidden if entry.name.startswith(".") else self._waiting).append(f"{path}/")

    def _leave(self, path: str, why: str, mark: str = "") -> None:
        self.unread.append(Unread(path, why))
        self.marks.append((path, f"{why} {mark}"))


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _looked_at(folder: Folder, walk: _Walk) -> Iterator[tuple[str, str]]:
    """The texts of the files; what is none is written down in the walk, as are the marks of all."""
    left = MAX_HASHED
    for number, (path, status) in enumerate(walk.files):
        read = number < MAX_RESOURCES
        data = _data(folder, path, MAX_RESOURCE + 1) if read else None
        if data is not None and len(data) <= MAX_RESOURCE:
            mark = hashlib.sha256(data).hexdigest()
        else:
            mark, left = _mark(folder, path, status, left)
        walk.marks.append((path, mark))
        if not read:
            walk.unread.append(Unread(path, f"lies behind the first {MAX_RESOURCES:,} files", sealed=True))
        elif data is None:
            walk.unread.append(Unread(path, "cannot be read", sealed=True))
        else:
            text, why = _text(path, data)
            if why is not None:
                walk.unread.append(why)
            if text is not None:
                yield path, text


def _text(path: str, data: bytes) -> tuple[str | None, Unread | None]:
    """What is looked at of a file, and what is not."""
    whole = None
    if len(data) > MAX_RESOURCE:
        whole = Unread(path, f"is larger than {MAX_RESOURCE // 1024} kB", sealed=True)
    elif b"\0" not in data:
        try:
            return clean(data.decode()), None
        except UnicodeDecodeError:
            pass
    text = clean(data.decode("utf-8", "replace"))
    if language_of(path, text):
        return text, whole  # an odd byte stops no shell
    kind = kind_of(data[:4_096])
    if path.rpartition(".")[2].casefold() in _ENDINGS.get(kind, ()):
        harmless = b"PK\5\6" not in data and whole is None  # Python runs an archive behind a picture
        return None, Unread(path, f"is a {NAMES[kind]}", sealed=True, harmless=harmless)
    return (
        (text, whole)
        if whole is not None and b"\0" not in data
        else (None, whole or Unread(path, "is no text", sealed=True))
    )


_ENDINGS = {
    "image/png": ("png",), "image/jpeg": ("jpg", "jpeg"), "image/gif": ("gif",), "image/webp": ("webp",),
    "image/bmp": ("bmp",), "image/tiff": ("tif", "tiff"), PDF: ("pdf",), "audio/wav": ("wav",),
    "audio/mpeg": ("mp3",), "audio/ogg": ("ogg",), "audio/flac": ("flac",), "audio/mp4": ("m4a",),
}  # fmt: skip
"""How files of these kinds are called: one that says that it is something else is no mere picture."""


def _data(folder: Folder, path: str, most: int) -> bytes | None:
    try:
        with folder.open_file(path) as file:
            return file.read(most)
    except (ToolError, OSError):
        return None


def _mark(folder: Folder, path: str, status: os.stat_result, left: int) -> tuple[str, int]:
    """What stands for a large or further file, and how many bytes may still be hashed."""
    if status.st_size > left:
        return _stamp(status), left
    whole = hashlib.sha256()
    try:
        with folder.open_file(path) as file:
            while left > 0 and (piece := file.read(min(left, 2**20))):
                whole.update(piece)
                left -= len(piece)
    except (ToolError, OSError):
        return _stamp(status), left
    return whole.hexdigest(), left


_RUN = (
    r"(?:\b(?:ba|da|z|k|c|tc)?sh|\bpython[\d.]*|\bnode|\bruby|\bperl|\bphp|\bsource|\bexec|(?:^|[\s`;&|])\.)"
)


def spelled(path: str) -> str:
    """The one spelling of a path within a skill."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


_BEFORE = 300
"""Characters before the name of a file in which a text says that it is to be run."""
_WORD = 40
"""Characters of the name of a program, which may stand at the end of the line before."""


def _in_doubt(unread: Sequence[Unread], texts: Sequence[str]) -> tuple[Unread, ...]:
    """A picture that a text speaks of as of a program is not harmless: shells and Python run any file."""
    words = {one.path.rpartition("/")[2] for one in unread if one.harmless}
    run = {word for word in words if _is_run(word, texts)}
    return tuple(
        replace(one, harmless=one.harmless and one.path.rpartition("/")[2] not in run) for one in unread
    )


def _is_run(word: str, texts: Sequence[str]) -> bool:
    """Whether a text says that a file of this name is to be run."""
    name = re.escape(word)
    run = re.compile(rf"{_RUN}\s[^\n]{{0,200}}{name}|(?:^|[\s`;&|])\./[^\s`]{{0,200}}{name}", re.MULTILINE)
    return any(
        run.search(text, _from(text, at.start()), at.end())
        for text in texts
        if word in text
        for at in re.finditer(name, text)
    )


def _from(text: str, place: int) -> int:
    """From where on it may be said what is done with the name at this place: the end of the line before."""
    far = max(0, place - _BEFORE)
    return max(far, text.rfind("\n", far, place) - _WORD)
