"""The files under one folder, to read and to search; nothing outside of it can be reached.

A path is walked one name at a time from an open descriptor of the folder, and no step follows a
link by itself: a link is read and walked like a path that was asked for. So there is no moment
between a check and a use in which a name could be exchanged.
"""

import asyncio
import fnmatch
import json
import mimetypes
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from loom_nb.border import clean
from loom_nb.errors import NotBuiltError, SetupError, ToolError
from loom_nb.messages import Origin, TextPart
from loom_nb.protocols import Toolset
from loom_nb.tools import Tool, tool

MAX_LINES = 2_000
"""Lines that read_file gives at once."""
MAX_LINE = 2_000
"""Characters of one line; the rest is left out and said so."""
MAX_SCAN = 64 * 1024 * 1024
"""Bytes that read_file passes over on its way to the first line."""
MAX_LISTED = 500
MAX_VISITED = 50_000
"""Files and folders that one search looks at."""
MAX_GREP_FILE = 1024 * 1024
MAX_GREP_TOTAL = 32 * 1024 * 1024
MAX_MATCHES = 200
MAX_SECONDS = 5.0
"""For walking, and again for matching."""
MAX_LINKS = 40
_PASSED_OVER = frozenset(
    {".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", ".ipynb_checkpoints"}
)
_FOLDER = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
)
_FILE = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
)  # without waiting: a pipe must not hold us up before we can see that it is one


@dataclass(frozen=True)
class FilesCapability:
    """The tools read_file, list_files, glob and grep over the folder `root`."""

    root: str = "."
    name: str = field(default="files", init=False)

    async def open(self) -> Toolset:
        """Hold the folder open, so that it stays the same one even when it is moved.

        Raises:
            SetupError: there is no such folder, or this system cannot confine a path.
        """
        folder = Folder(self.root)

        async def close() -> None:
            folder.close()

        return Toolset(tools=_tools(folder), close=close)


class Folder:
    """An open folder, and the only way to what is below it. May be used from several threads."""

    def __init__(self, root: str) -> None:
        if os.open not in os.supports_dir_fd or not hasattr(os, "O_NOFOLLOW"):
            raise NotBuiltError(
                "Capability.files is not built for this system yet",
                cause="it has no open relative to a folder, by which paths are confined",
            )
        try:
            self._fd = os.open(Path(root).expanduser(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SetupError(
                f"Capability.files: the folder {root!r} cannot be opened",
                cause=str(reason),
                fixes=["give a folder that exists, relative to the notebook's working directory"],
            ) from None
        self._system = {Path(mount).stat().st_dev for mount in ("/proc", "/sys") if os.path.ismount(mount)}

    def close(self) -> None:
        """Let go of the folder. May be called twice; later use is a ToolError."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def open_file(self, path: str) -> BinaryIO:
        """An ordinary file for reading. Raises ToolError for all else."""
        fd = self._walk(path)
        kind = os.fstat(fd)
        if stat.S_ISREG(kind.st_mode):
            return os.fdopen(fd, "rb")
        os.close(fd)
        if stat.S_ISDIR(kind.st_mode):
            raise ToolError(f"{_shown(path)} is a folder, not a file", fixes=["list_files lists it"])
        raise ToolError(f"{_shown(path)} is no ordinary file (a pipe, socket or device)")

    def entries(self, path: str) -> list[os.DirEntry[str]]:
        """What is in a folder, by name."""
        fd = self._walk(path)
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                raise ToolError(f"{_shown(path)} is a file, not a folder", fixes=["read_file reads it"])
            with os.scandir(fd) as found:
                entries = sorted(found, key=lambda entry: entry.name)
                for entry in entries:
                    _size(entry)  # asked for while the descriptor is open; the entry remembers it
                return entries
        finally:
            os.close(fd)

    def _walk(self, path: str) -> int:
        """A descriptor of what `path` names. The stack of open folders makes '..' in links safe."""
        if self._fd < 0:
            raise ToolError("the files capability is closed")
        steps = _steps(path)
        stack = [os.open(".", _FOLDER, dir_fd=self._fd)]  # not a dup: that would share the reading position
        links = 0
        try:
            while steps:
                step = steps.pop()
                if step == "..":
                    if len(stack) == 1:
                        raise ToolError(f"{_shown(path)} is refused: a link in it leads out of the folder")
                    os.close(stack.pop())
                    continue
                target = _link(step, stack[-1])
                if target is None:
                    stack.append(self._step(step, stack[-1], path, last=not steps))
                    continue
                links += 1
                if target.startswith("/") or links > MAX_LINKS:
                    why = "leads out of the folder" if links <= MAX_LINKS else "leads to itself"
                    raise ToolError(f"{_shown(path)} is refused: a link in it {why}")
                steps += [part for part in reversed(target.split("/")) if part not in ("", ".")]
            return stack.pop()
        finally:
            for fd in stack:
                os.close(fd)

    def _step(self, name: str, parent: int, path: str, *, last: bool) -> int:
        try:
            fd = os.open(name, _FILE if last else _FOLDER, dir_fd=parent)
        except OSError as error:
            raise ToolError(f"{_shown(path)} cannot be opened: {error.strerror}") from None
        if os.fstat(fd).st_dev in self._system:
            os.close(fd)
            raise ToolError(f"{_shown(path)} is refused: it belongs to the system (/proc, /sys)")
        return fd


def _link(name: str, parent: int) -> str | None:
    """Where a link points to; None for what is no link. If it is exchanged now, the open refuses."""
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError:
        return None


def _steps(path: str) -> list[str]:
    """The names of a path, last one first. Raises ToolError that says why a path is refused."""
    if not isinstance(path, str) or "\0" in path:
        raise ToolError("the path is refused: it has a NUL character")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ToolError("the path is refused: it is not valid Unicode") from None
    if path.startswith("~"):
        raise ToolError(f"{_shown(path)} is refused: '~' leads out of the folder")
    if path.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[\\/]", path):
        raise ToolError(
            f"{_shown(path)} is refused: paths are relative to the folder, they do not begin with '/'"
        )
    parts = path.split("/")
    if ".." in parts:
        raise ToolError(
            f"{_shown(path)} is refused: '..' could lead out of the folder", fixes=["name it from the top"]
        )
    return [part for part in reversed(parts) if part not in ("", ".")]


def _shown(path: str) -> str:
    text = clean(path)
    return repr(text if len(text) <= 120 else f"{text[:117]}...")


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return 0


def _tools(folder: Folder) -> tuple[Tool, ...]:
    reads: Callable[[Callable[..., Any]], Tool] = tool(read_only=True, timeout=60.0)

    def read_file(path: str, start_line: int = 1, line_count: int = 400) -> list[TextPart]:
        """Read lines of a text file.

        Args:
            path: the file, relative to the folder, such as data/prices.csv.
            start_line: the first line, counted from 1.
            line_count: how many lines, at most 2000.
        """
        return [_read(folder, path, start_line, line_count)]

    def list_files(path: str = ".") -> list[TextPart]:
        """List a folder: names with sizes, folders end with '/'.

        Args:
            path: the folder to list, relative to the top; '.' is the top.
        """
        return [TextPart(_listing(folder, path), Origin("file", clean(path)))]

    def glob(pattern: str) -> list[TextPart]:
        """Find files by name.

        Args:
            pattern: such as *.csv (top folder only) or **/*.py (everywhere); * ? [a-z] and ** are known.
        """
        walk = _Walk(folder, pattern)
        names = [name for name, _ in walk]
        return [
            TextPart(
                "\n".join([*names, *walk.notes]) or f"no file matches {pattern}", Origin("file", pattern)
            )
        ]

    async def grep(pattern: str, glob: str = "**/*", ignore_case: bool = False) -> list[TextPart]:
        """Find lines of text files by a regular expression (Python's).

        Args:
            pattern: the regular expression, matched within each line.
            glob: which files, such as **/*.py.
            ignore_case: whether A matches a.
        """
        return [await _grep(folder, pattern, glob, ignore_case)]

    return reads(read_file), reads(list_files), reads(glob), reads(grep)


def _read(folder: Folder, path: str, start_line: int, line_count: int) -> TextPart:
    if start_line < 1 or not 1 <= line_count <= MAX_LINES:
        raise ToolError(f"start_line begins at 1, line_count is 1 to {MAX_LINES:,}")
    with folder.open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.peek(8192)[:8192] if hasattr(file, "peek") else b""
        _refuse_binary(head, path, size)
        encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
        lines, whole = _lines(file, start_line, line_count, encoding)
    last = start_line + len(lines) - 1
    if not lines and start_line > 1:
        raise ToolError(f"{_shown(path)} has no line {start_line:,}")
    span = f"lines {start_line:,}-{last:,}" if lines else "empty"
    more = "" if whole else f", more follows: start_line={last + 1}"
    return TextPart(
        f"{path} ({size:,} bytes, {span}{more})\n" + "\n".join(lines), Origin("file", clean(path))
    )


def _lines(file: BinaryIO, start: int, count: int, encoding: str) -> tuple[list[str], bool]:
    """The lines asked for, and whether the file ends with them."""
    if encoding == "utf-16":  # rare and small: read as a whole
        every = file.read(MAX_SCAN).decode("utf-16", "replace").splitlines()
        return [_cut(clean(line)) for line in every[start - 1 : start - 1 + count]], len(
            every
        ) < start + count
    lines: list[str] = []
    number = 1
    passed = 0
    fresh = True
    while chunk := file.readline(MAX_LINE * 4):
        passed += len(chunk)
        if passed > MAX_SCAN and number < start:
            raise ToolError(
                f"line {start:,} lies beyond the first {MAX_SCAN // 2**20} MB, which is as far as this reads"
            )
        if number >= start + count:
            return lines, False
        if number >= start and fresh:
            text = chunk.decode("utf-8-sig" if number == 1 else "utf-8", "replace")
            lines.append(_cut(clean(text.rstrip("\r\n"))))
        fresh = chunk.endswith(b"\n")
        number += fresh
    return lines, True


def _cut(line: str) -> str:
    return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]} ... (the line goes on)"


def _refuse_binary(head: bytes, path: str, size: int) -> None:
    if not _is_binary(head):
        return
    kind = mimetypes.guess_type(path)[0] or "unknown kind"
    raise ToolError(f"{_shown(path)} is a binary file ({kind}, {size:,} bytes), not text")


def _is_binary(head: bytes) -> bool:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return False
    if b"\0" in head:
        return True
    strange = sum(byte < 9 or 13 < byte < 27 or 27 < byte < 32 for byte in head)
    return strange > len(head) * 0.1


def _listing(folder: Folder, path: str) -> str:
    lines = []
    entries = folder.entries(path)
    for entry in entries[:MAX_LISTED]:
        name = clean(entry.name)
        if entry.is_symlink():
            lines.append(f"{name} (link)")
        elif entry.is_dir(follow_symlinks=False):
            lines.append(f"{name}/")
        else:
            lines.append(f"{name}  {_size(entry):,} bytes")
    if len(entries) > MAX_LISTED:
        lines.append(f"... and {len(entries) - MAX_LISTED:,} more; glob finds them by name")
    return "\n".join(lines) or "(the folder is empty)"


class _Walk:
    """The files below a folder whose path matches a pattern; `notes` says what was left out."""

    def __init__(self, folder: Folder, pattern: str, limit: int = MAX_LISTED) -> None:
        self._folder = folder
        self._matches = _matcher(pattern)
        self._hidden = {part for part in pattern.split("/") if part in _PASSED_OVER}
        self._limit = limit
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[tuple[str, int]]:
        deadline = time.monotonic() + MAX_SECONDS
        pending = [""]
        visited = found = 0
        while pending:
            here = pending.pop()
            try:
                entries = self._folder.entries(here or ".")
            except ToolError:
                if not here:
                    raise
                continue  # gone or not readable: the rest is still worth finding
            folders = []
            for entry in entries:
                visited += 1
                if visited > MAX_VISITED or time.monotonic() > deadline:
                    self.notes.append(f"(stopped after {visited - 1:,} files and folders: narrow the search)")
                    return
                path = f"{here}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in _PASSED_OVER or entry.name in self._hidden:
                        folders.append(f"{path}/")
                elif entry.is_file(follow_symlinks=False) and self._matches(path):
                    found += 1
                    if found > self._limit:
                        self.notes.append(f"(stopped at {self._limit:,} files: narrow the pattern)")
                        return
                    yield clean(path), _size(entry)
            pending += reversed(folders)


def _matcher(pattern: str) -> Callable[[str], object]:
    """A glob as a function of paths: `*` stays within a name, `**/` is any number of folders."""
    parts = list(reversed(_steps(pattern)))
    if not parts or len(pattern) > 500 or pattern.count("*") > 20:
        raise ToolError("the pattern is empty or too long", fixes=["**/*.csv"])
    rows = [part if part == "**" else re.compile(_name_expression(part)) for part in parts]
    if rows[-1] == "**":
        rows.append(re.compile(".*", re.DOTALL))

    def matches(path: str) -> bool:
        # which parts of the pattern may come next: linear in the path, whatever the pattern is
        alive = {0}
        for name in path.split("/"):
            alive = _past_folders(alive, rows)
            alive = {
                state if row == "**" else state + 1
                for state in alive
                if state < len(rows)
                for row in (rows[state],)
                if isinstance(row, str) or row.fullmatch(name)
            }
        return len(rows) in alive

    return matches


def _past_folders(alive: set[int], rows: list[Any]) -> set[int]:
    """`**` may also stand for no folder at all."""
    reached = set(alive)
    for state in sorted(alive):
        step = state
        while step < len(rows) and rows[step] == "**":
            step += 1
            reached.add(step)
    return reached


def _name_expression(part: str) -> str:
    """One name of a glob as a regular expression; possessive, so that no name takes long."""
    return fnmatch.translate(re.sub(r"\*+", "*", part))


_MATCHER = r"""
import json, re, sys
task = json.load(sys.stdin)
expression = re.compile(task["pattern"], re.IGNORECASE if task["ignore_case"] else 0)
found = []
for path, text in task["files"]:
    for number, line in enumerate(text.split("\n"), 1):
        if expression.search(line):
            found.append((path, number, line[:300]))
            if len(found) > task["most"]:
                break
    if len(found) > task["most"]:
        break
json.dump(found, sys.stdout)
"""
"""Matching runs in a process of its own: an expression can take forever, and then holds every thread."""


async def _grep(folder: Folder, pattern: str, glob: str, ignore_case: bool) -> TextPart:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ToolError(f"the regular expression is not valid: {error}") from None
    files, notes = await asyncio.to_thread(_texts, folder, glob)
    task = {"pattern": pattern, "ignore_case": ignore_case, "files": files, "most": MAX_MATCHES}
    found = await _matched(json.dumps(task).encode())
    lines = [f"{path}:{number}: {line.rstrip()}" for path, number, line in found[:MAX_MATCHES]]
    if len(found) > MAX_MATCHES:
        notes.insert(0, f"(the first {MAX_MATCHES} matches; narrow the search for the rest)")
    head = [] if lines else [f"no match in {len(files):,} files"]
    return TextPart(clean("\n".join([*head, *lines, *notes])), Origin("file", clean(glob)))


def _texts(folder: Folder, glob: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The text files to search, and what was passed over."""
    walk = _Walk(folder, glob, MAX_VISITED)
    files: list[tuple[str, str]] = []
    large: list[str] = []
    total = 0
    for path, size in walk:
        if size > MAX_GREP_FILE:
            large.append(path)
            continue
        try:
            with folder.open_file(path) as file:
                data = file.read(MAX_GREP_FILE)
        except ToolError:
            continue  # gone or not readable since it was listed
        if _is_binary(data[:8192]):
            continue
        total += len(data)
        if total > MAX_GREP_TOTAL:
            walk.notes.append(f"(stopped after {MAX_GREP_TOTAL // 2**20} MB of text: narrow the search)")
            break
        files.append(
            (path, data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace"))
        )
    if large:
        shown = ", ".join(large[:5]) + (", ..." if len(large) > 5 else "")
        walk.notes.append(f"(not searched, over {MAX_GREP_FILE // 2**20} MB: {shown})")
    return files, walk.notes


async def _matched(task: bytes) -> list[tuple[str, int, str]]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        "-c",
        _MATCHER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    try:
        async with asyncio.timeout(MAX_SECONDS):
            out, _ = await child.communicate(task)
    except TimeoutError:
        raise ToolError(
            f"the search took longer than {MAX_SECONDS:g} seconds",
            fixes=["a simpler expression, without repeats inside repeats", "fewer files: glob='src/**/*.py'"],
        ) from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise ToolError("the search failed: the expression needs too much memory or depth")
    found: list[tuple[str, int, str]] = json.loads(out)
    return found
