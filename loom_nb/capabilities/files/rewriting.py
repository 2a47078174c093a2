"""A file gets another content: written anew, edited in one place, or edited as a notebook."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from loom_nb.capabilities import notebook_file
from loom_nb.capabilities.files.differences import difference
from loom_nb.capabilities.files.disk import make_missing, put, remove_folders
from loom_nb.capabilities.files.encodings import Encoding, encoding_of
from loom_nb.capabilities.files.folder import Folder, Place
from loom_nb.capabilities.files.guards import is_backup
from loom_nb.capabilities.files.history import MAX_KEPT_FILE, History, Wrote, digest
from loom_nb.capabilities.files.paths import amount, check_new_name, plain, shown
from loom_nb.capabilities.files.plans import effects_on, not_in_trash, notes_on, sealed, stamp
from loom_nb.capabilities.files.reading import binary
from loom_nb.capabilities.secret_names import looks_secret
from loom_nb.errors import BorderError, ToolError
from loom_nb.tools import Assessment

MAX_WRITTEN = 8 * 1024 * 1024
"""Bytes of a file that is written or edited."""


@dataclass(slots=True)
class Rewrite:
    """A file with the content that it would get."""

    place: Place
    found: os.stat_result | None
    before: bytes | None
    """None where there is nothing, or too much to be kept."""
    after: bytes
    words: str
    """What happens, as the end of a sentence: "creates out/new.txt (96 kB)"."""
    notes: tuple[str, ...] = ()
    preview: str | None = None
    """In place of the difference of the texts."""

    @property
    def lost(self) -> bool:
        """Whether the old content cannot be had back."""
        return self.found is not None and self.before is None

    def told(self, folder: Folder) -> Assessment:
        """What it would do."""
        place = self.place
        effects, reasons = effects_on(place.parts)
        reasons = [self.words, *reasons, *notes_on(place, self.found), *self.notes]
        if place.missing:
            reasons.insert(1, f"makes the folder {plain('/'.join(place.parts[:-1]))}")
        if self.lost:
            reasons.append(f"the old content is too large to be kept (over {amount(MAX_KEPT_FILE)})")
        absolute = folder.absolute(place.parts)
        return Assessment(
            effects=effects,
            destructive=self.lost or is_backup(place.parts),
            reasons=tuple(reasons),
            preview=self._preview(),
            preview_kind="diff",
            paths=(absolute,),
            seal=sealed(absolute, stamp(self.found) if self.before is None else self.before, place.missing),
        )

    def _preview(self) -> str:
        name = plain(self.place.path)
        if looks_secret(self.place.path):
            return f"--- {name}\n+++ {name}\n(by its name it holds secrets: what is in it is not shown)"
        if self.preview is not None:
            return self.preview
        old = "" if self.found is None else readable(self.before)
        new = readable(self.after)
        if old is None or new is None:
            size = amount(self.found.st_size if self.found else 0)
            return f"--- {name}\n+++ {name}\n(was {size}, no text; becomes {amount(len(self.after))})"
        return difference(old, new, name, new=self.found is None)

    def carry_out(self, folder: Folder, history: History) -> str:
        """Write it."""
        place = self.place
        made = make_missing(folder, place)
        try:
            identity = put(place, self.after, self.found)
        except BaseException:
            remove_folders(folder, made)
            raise
        if self.found is not None:
            history.renewed(self.found, identity)
        if self.lost:
            return f"done: {self.words}; this cannot be taken back"
        history.add(Wrote(self.words, place.parts, self.before, self.found, digest(self.after), made))
        return f"done: {self.words}"


@contextmanager
def writing(folder: Folder, path: str, content: str) -> Iterator[Rewrite]:
    """The plan to give a file this text, whether it exists or not."""
    try:
        after = content.encode()
    except UnicodeEncodeError:
        raise ToolError("the content is not valid Unicode") from None
    _small_enough(after, path)
    with folder.place(path) as place:
        found, before = _target(place, path)
        name, size = plain(place.path), amount(len(after))
        words = f"creates {name} ({size})"
        notes = []
        if found is not None:
            words = f"overwrites {name} ({amount(found.st_size)}) with {size}"
            old = encoding_of(before, whole=True) if before is not None else None
            if before == after:
                notes.append("it has this very content already")
            elif old is not None and old.name != "UTF-8":
                notes.append(f"it was {old.name}, it becomes UTF-8")
            elif before is not None and (b"\r\n" in before) != (b"\r\n" in after):
                notes.append("the ends of its lines change")
        yield Rewrite(place, found, before, after, words, tuple(notes))


@contextmanager
def editing(folder: Folder, path: str, old_text: str, new_text: str, replace_all: bool) -> Iterator[Rewrite]:
    """The plan to exchange a piece of text that stands in the file once, or wherever it stands."""
    if not old_text or old_text == new_text:
        raise ToolError("old_text is empty" if not old_text else "old_text and new_text are the same")
    with folder.place(path) as place:
        found, before = _target(place, path)
        text, encoding = _text(place, found, before, path)
        if "\r\n" in text and old_text not in text:  # a model writes line feeds only
            old_text, new_text = _with_returns(old_text), _with_returns(new_text)
        count = text.count(old_text)
        if count == 0:
            raise ToolError(f"old_text does not stand in {shown(path)}", cause=_nearly(text, old_text))
        if count > 1 and not replace_all:
            raise ToolError(
                f"old_text stands {count} times in {shown(path)} (lines {_line_numbers(text, old_text)})",
                fixes=["more of the lines around it, so that it is one place", "replace_all=true"],
            )
        try:
            after = encoding.encode(text.replace(old_text, new_text))
        except UnicodeEncodeError as error:
            raise ToolError(
                f"{shown(path)} is {encoding.name} and cannot hold {error.object[error.start]!r}",
                fixes=["write_file writes it anew, as UTF-8"],
            ) from None
        _small_enough(after, path)
        line = text.count("\n", 0, text.index(old_text)) + 1
        where = f"line {line:,}" if count == 1 else f"{count} places"
        yield Rewrite(
            place, found, before, after, f"changes {plain(place.path)} ({where})", _encoding_notes(encoding)
        )


@contextmanager
def editing_notebook(folder: Folder, path: str, edit: notebook_file.Edit) -> Iterator[Rewrite]:
    """The plan to insert, replace or delete one cell of a notebook file."""
    with folder.place(path) as place:
        found, before = _target(place, path)
        if found is None or before is None:
            raise ToolError(f"there is no notebook {shown(path)}, or it is too large")
        try:
            after, words = notebook_file.edited(before, edit, path)
        except BorderError as error:
            raise ToolError(f"{shown(path)} is no sound notebook: {error.title}") from None
        _small_enough(after, path)
        name = plain(place.path)
        preview = difference(notebook_file.as_text(before), notebook_file.as_text(after), name)
        notes = ("if it is open in Jupyter, it must be loaded anew there",)
        yield Rewrite(place, found, before, after, f"{words} {name}", notes, preview)


def _target(place: Place, path: str) -> tuple[os.stat_result | None, bytes | None]:
    """What is there to be replaced, and its content. Raises ToolError where it may not be replaced."""
    not_in_trash(place)
    if path.endswith("/"):
        raise ToolError(f"{shown(path)} names a folder: a file's name is missing at its end")
    found = place.file()
    if found is None:
        for name in (*place.missing, place.name):
            check_new_name(name)
        return None, None
    if not found.st_mode & 0o222 or not _writable(place):
        raise ToolError(f"{shown(path)} is write-protected")
    if found.st_size > MAX_KEPT_FILE:
        return found, None
    with place.open() as file:
        found = os.fstat(file.fileno())
        data = file.read(MAX_KEPT_FILE + 1)
    return found, data if len(data) <= MAX_KEPT_FILE else None


def _writable(place: Place) -> bool:
    try:
        return os.access(place.name, os.W_OK, dir_fd=place.folder, effective_ids=True)
    except (NotImplementedError, OSError):
        return True  # it cannot be asked here: writing will tell


def _text(
    place: Place, found: os.stat_result | None, before: bytes | None, path: str
) -> tuple[str, Encoding]:
    if found is None:
        raise ToolError(f"{shown(path)} does not exist", fixes=["write_file creates it"])
    if before is None:
        raise ToolError(f"{shown(path)} is too large to be edited ({amount(found.st_size)})")
    encoding = encoding_of(before, whole=True)
    if encoding is None:
        raise binary(place.path, found.st_size)
    try:
        return encoding.decode(before), encoding
    except UnicodeDecodeError:
        raise ToolError(f"{shown(path)} is damaged: it begins as {encoding.name} and is not") from None


def _small_enough(after: bytes, path: str) -> None:
    if len(after) > MAX_WRITTEN:
        raise ToolError(f"{shown(path)} would have {amount(len(after))}, the limit is {amount(MAX_WRITTEN)}")


def _encoding_notes(encoding: Encoding) -> tuple[str, ...]:
    return (f"it is {encoding.note}",) if encoding.note else ()


def _with_returns(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\n", "\r\n")


def _line_numbers(text: str, piece: str) -> str:
    numbers: list[str] = []
    start = text.find(piece)
    while start >= 0 and len(numbers) < 10:
        numbers.append(str(text.count("\n", 0, start) + 1))
        start = text.find(piece, start + len(piece))
    return ", ".join(numbers) + (", ..." if start >= 0 else "")


def _nearly(text: str, piece: str) -> str:
    """Why a piece may not have been found."""
    wanted = next((line.strip() for line in piece.splitlines() if line.strip()), "")
    for number, line in enumerate(text.splitlines(), 1):
        if wanted and line.strip() == wanted:
            return f"line {number:,} begins like it: spaces or what follows differ"
    return "it must be the same to the letter, spaces and line ends included"


def readable(data: bytes | None) -> str | None:
    """The text of a file for a preview; None for what is no text."""
    encoding = encoding_of(data, whole=True) if data is not None else None
    if data is None or encoding is None:
        return None
    return data[len(encoding.mark) :].decode(encoding.codec, "replace")
