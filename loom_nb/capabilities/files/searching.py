"""Files by name and lines by expression, within bounds of time, files and bytes that are said.

The engine is our own: it opens what it reads by descriptor like all else here, where an engine in
another process would open by path, and a name that is exchanged meanwhile would lead it out.
"""

import asyncio
import fnmatch
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from loom_nb.border import clean
from loom_nb.capabilities.files.encodings import SAMPLE, encoding_of
from loom_nb.capabilities.files.folder import Folder, size_of
from loom_nb.capabilities.files.guards import TRASH, folded
from loom_nb.capabilities.files.paths import plain, steps
from loom_nb.capabilities.files.reading import MAX_LISTED
from loom_nb.capabilities.secret_names import looks_secret
from loom_nb.errors import ToolError
from loom_nb.messages import Origin, TextPart

MAX_VISITED = 50_000
"""Files and folders that one search looks at."""
MAX_GREP_FILE = 1024 * 1024
MAX_GREP_TOTAL = 32 * 1024 * 1024
MAX_MATCHES = 200
MAX_SECONDS = 5.0
"""For walking, and again for matching."""
MAX_TREE = 400
"""Lines of a tree."""
_PASSED_OVER = frozenset(
    {".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", ".ipynb_checkpoints", TRASH}
)


class Walk:
    """The files below a folder whose path matches a pattern; `notes` says what was left out."""

    def __init__(self, folder: Folder, pattern: str, limit: int = MAX_LISTED) -> None:
        self._folder = folder
        self._matches = _matcher(pattern)
        self._hidden = {part for part in pattern.split("/") if part in _PASSED_OVER}
        self._limit = limit
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """(path, bytes); the path as it is, not fit to be shown."""
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
                    if folded(entry.name) not in _PASSED_OVER or entry.name in self._hidden:
                        folders.append(f"{path}/")
                elif entry.is_file(follow_symlinks=False) and self._matches(path):
                    found += 1
                    if found > self._limit:
                        self.notes.append(f"(stopped at {self._limit:,} files: narrow the pattern)")
                        return
                    yield path, size_of(entry)
            pending += reversed(folders)


def names(folder: Folder, pattern: str) -> TextPart:
    """The files whose path matches, one a line."""
    walk = Walk(folder, pattern)
    found = [plain(name) for name, _ in walk]
    text = "\n".join([*found, *walk.notes]) or f"no file matches {pattern}"
    return TextPart(text, Origin("file", clean(pattern)))


def tree(folder: Folder, path: str, depth: int) -> str:
    """The folders below `path` as an outline, with what each one holds."""
    if not 1 <= depth <= 10:
        raise ToolError("depth is 1 to 10")
    lines: list[str] = []
    deadline = time.monotonic() + MAX_SECONDS
    pending = [(entry, path, 0) for entry in reversed(folder.entries(path))]
    while pending and len(lines) < MAX_TREE and time.monotonic() < deadline:
        entry, here, level = pending.pop()
        name = f"{'  ' * level}{plain(entry.name)}"
        if entry.is_symlink():
            lines.append(f"{name} (link)")
            continue
        inner = entry.is_dir(follow_symlinks=False)
        lines.append(f"{name}/" if inner else name)
        if inner and folded(entry.name) in _PASSED_OVER:
            lines[-1] += " ..."
        elif inner and level + 1 < depth:
            below = f"{here}/{entry.name}"
            try:
                pending += [(one, below, level + 1) for one in reversed(folder.entries(below))]
            except ToolError:
                lines[-1] += " (cannot be read)"
    if pending:
        lines.append("(the tree goes on: name a folder in it, or a smaller depth)")
    return "\n".join(lines) or "(the folder is empty)"


def _matcher(pattern: str) -> Callable[[str], object]:
    """A glob as a function of paths: `*` stays within a name, `**/` is any number of folders."""
    parts = list(reversed(steps(pattern)))
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


async def lines(folder: Folder, pattern: str, glob: str, ignore_case: bool) -> TextPart:
    """The lines that an expression matches, as `path:number: line`."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ToolError(f"the regular expression is not valid: {error}") from None
    files, notes = await asyncio.to_thread(_texts, folder, glob)
    task = {"pattern": pattern, "ignore_case": ignore_case, "files": files, "most": MAX_MATCHES}
    found = await _matched(json.dumps(task).encode())
    told = [f"{path}:{number}: {line.rstrip()}" for path, number, line in found[:MAX_MATCHES]]
    if len(found) > MAX_MATCHES:
        notes.insert(0, f"(the first {MAX_MATCHES} matches; narrow the search for the rest)")
    head = [] if told else [f"no match in {len(files):,} files"]
    return TextPart(clean("\n".join([*head, *told, *notes])), Origin("file", clean(glob)))


def _texts(folder: Folder, glob: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The text files to search, and what was passed over."""
    walk = Walk(folder, glob, MAX_VISITED)
    files: list[tuple[str, str]] = []
    large: list[str] = []
    secret: list[str] = []
    total = 0
    for path, size in walk:
        if looks_secret(path):
            secret.append(plain(path))
            continue
        if size > MAX_GREP_FILE:
            large.append(plain(path))
            continue
        try:
            with folder.open_file(path) as file:
                data = file.read(MAX_GREP_FILE)
        except ToolError:
            continue  # gone or not readable since it was listed
        encoding = encoding_of(data[:SAMPLE], whole=len(data) <= SAMPLE)
        if encoding is None:
            continue
        total += len(data)
        if total > MAX_GREP_TOTAL:
            walk.notes.append(f"(stopped after {MAX_GREP_TOTAL // 2**20} MB of text: narrow the search)")
            break
        files.append((plain(path), data[len(encoding.mark) :].decode(encoding.codec, "replace")))
    if large:
        walk.notes.append(f"(not searched, over {MAX_GREP_FILE // 2**20} MB: {_some(large)})")
    if secret:
        walk.notes.append(f"(not searched, by their names they hold secrets: {_some(secret)})")
    return files, walk.notes


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:5]) + (", ..." if len(paths) > 5 else "")


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
