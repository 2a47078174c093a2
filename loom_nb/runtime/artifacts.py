"""Artifacts: what a run produced beside its answer, by name: a text, a table, a figure, a file.

A tool keeps one with `artifact("sales", frame)`; `result.artifacts` has them all. Content up to
`INLINE` bytes stands in the log of the session itself, what is larger in a file beside the store. What
comes back of a table is told in `artifact_tables`; texts come back as they were but for lone
surrogates, plain JSON, bytes and the images of figures exactly. Nothing is ever unpickled.
"""

import base64
import hashlib
import io
import mimetypes
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol, overload, runtime_checkable

import msgspec

from loom_nb.border import clean, parse
from loom_nb.errors import BorderError, LoomUsageError, StoreDamaged
from loom_nb.events import ArtifactAdded, ArtifactKind, LogEntry, TableHead
from loom_nb.messages import to_json
from loom_nb.protocols import current_call
from loom_nb.runtime.artifact_files import Files, write_whole
from loom_nb.runtime.artifact_tables import (
    TABLE_TYPE,
    described,
    head_of,
    table_from_json,
    table_to_json,
    text_as_kept,
)

INLINE = 1_000_000
"""Bytes up to which content stands in the log itself."""
LARGEST = 256 * 1024 * 1024
"""Bytes of the largest artifact."""
SHOWN = 2_000
"""Characters of a text that its plain picture shows."""
_JSON = "application/json"
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(;[\w .=+\"-]*)?")
_DRAWN = {"image/png": "png", "image/jpeg": "jpeg", "image/svg+xml": "svg", "application/pdf": "pdf"}
"""What a figure can be drawn as."""
_ENDINGS = {TABLE_TYPE: ".csv", _JSON: ".json", "text/plain": ".txt", "text/markdown": ".md"}
_BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF-": "application/pdf",
}


def artifact(name: str, value: Any, media_type: str | None = None) -> None:
    """Keep a value with the run whose tool calls this, by name.

    ::

        @tool
        def quarterly() -> str:
            frame = ...
            artifact("sales by quarter", frame)
            return "done"

    Args:
        name: what it is called; the same name again in a run is a new version, and both are kept.
        value: a text; bytes; a DataFrame or Series; a matplotlib figure or axes, or an image that draws
            itself as PNG; a dict or list of plain data; or a Path: the file as it is now.
        media_type: what it is, where the value does not say: "text/markdown", "text/csv".

    Raises:
        LoomUsageError: no tool is running here, or the value is of another kind, or too large.
        StoreError: the disk refuses.
    """
    call = current_call.get()
    if call is None:
        raise LoomUsageError(
            f"artifact({name!r}, …) keeps something with a run, and no tool of a run is running here",
            fixes=["call it in a function that an agent has as a tool: Agent(tools=(…,))"],
        )
    call.artifact(name, value, media_type)


class Packed(msgspec.Struct, frozen=True):
    """A value as it will be kept."""

    name: str
    kind: ArtifactKind
    media_type: str
    summary: str
    data: bytes
    table: TableHead | None = None


def packed(name: str, value: Any, media_type: str | None = None) -> Packed:
    """A value as bytes that say what they are. Raises `LoomUsageError` for what cannot be kept."""
    if not isinstance(name, str) or not name.strip() or len(name) > 200 or not name.isprintable():
        raise LoomUsageError("an artifact has a name: one line of at most 200 characters")
    if media_type is not None and not _MEDIA_TYPE.fullmatch(media_type):
        raise LoomUsageError(f"{media_type!r} is no media type", fixes=['"text/csv"', '"image/png"'])
    kept = _kept(clean(name), value, media_type)
    if len(kept.data) > LARGEST:
        raise LoomUsageError(
            f"artifact {name!r} is too large: {size_in_words(len(kept.data))}",
            cause=f"the limit is {size_in_words(LARGEST)}",
            fixes=["write a file, and keep its path as a text"],
        )
    return kept


def stored(kept: Packed, files: Files | None, *, call_id: str = "") -> ArtifactAdded:
    """The fact that a value is kept. What is too large for the log is a file when this returns.

    Raises:
        LoomUsageError: it is too large for the log, and the store has no place for files.
        StoreError: the disk refuses.
    """
    data = kept.data
    fact = ArtifactAdded(
        kept.name,
        kept.kind,
        kept.media_type,
        kept.summary,
        len(data),
        hashlib.sha256(data).hexdigest(),
        call_id,
        table=kept.table,
    )
    if len(data) > INLINE:
        if files is None:
            raise LoomUsageError(
                f"artifact {kept.name!r} is too large for this session: {size_in_words(len(data))}",
                cause=f"its store has no place for files, and its log takes {size_in_words(INLINE)}",
                fixes=["Agent(session_store=SqliteStore(…)) or FileSessionStore(…)", "keep a part of it"],
            )
        files.put(data)
        head = data[: 4 * SHOWN].decode(errors="ignore")[:SHOWN] if kept.kind in ("text", "json") else ""
        return msgspec.structs.replace(fact, head=head)
    if kept.kind in ("text", "json", "table"):
        return msgspec.structs.replace(fact, text=data.decode())
    return msgspec.structs.replace(fact, data=data)


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something that a run produced, by name. `value()` gives it back."""

    fact: ArtifactAdded
    version: int = 1
    """1 for the first of its name in its run."""
    run: str = ""
    time: float = 0.0
    """Seconds since the epoch, UTC."""
    files: Files | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.fact.name

    @property
    def kind(self) -> ArtifactKind:
        """text, json, table, image or data."""
        return self.fact.kind

    @property
    def media_type(self) -> str:
        """Of its bytes."""
        return self.fact.media_type

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        return self.fact.summary

    @property
    def size(self) -> int:
        """Of its bytes."""
        return self.fact.size

    @property
    def sha256(self) -> str:
        """Of its bytes, in hexadecimal."""
        return self.fact.sha256

    def content(self) -> bytes:
        """Its bytes, checked.

        Raises:
            StoreDamaged: they are not what was kept.
            StoreError: their file is gone, or its place is not known here.
        """
        fact = self.fact
        data = fact.data if fact.data is not None else None if fact.text is None else fact.text.encode()
        if data is None:
            if self.files is None:
                raise LoomUsageError(
                    f"the content of artifact {self.name!r} is a file beside its store",
                    fixes=["artifacts_of(entries, files=files_beside(store))"],
                )
            return self.files.get(fact.sha256)
        if hashlib.sha256(data).hexdigest() != fact.sha256:
            raise StoreDamaged(f"artifact {self.name!r} does not match its SHA-256")
        return data

    def value(self) -> Any:
        """What was kept: a str, plain data, a DataFrame, or bytes (of a file, and of the image of a figure).

        Raises:
            StoreError: its content is damaged, gone, or not known here.
        """
        data = self.content()
        match self.kind:
            case "text":
                return data.decode()
            case "json":
                return msgspec.json.decode(data)
            case "table":
                return table_from_json(data)
            case _:
                return data

    @property
    def table(self) -> Any:
        """Its DataFrame. Raises `LoomUsageError` where it is no table."""
        return self._only("table")

    @property
    def text(self) -> str:
        """Its words: of a text, of JSON, and of a file in UTF-8. Raises `LoomUsageError` for all else."""
        try:
            return self.content().decode() if self.kind not in ("table", "image") else str(self._only("text"))
        except UnicodeDecodeError:
            return str(self._only("text"))

    @property
    def image(self) -> bytes:
        """The bytes of its image. Raises `LoomUsageError` where it is none."""
        data: bytes = self._only("image")
        return data

    def _only(self, kind: ArtifactKind) -> Any:
        if self.kind != kind:
            ways = {"json": "value()", "data": "content()"}
            raise LoomUsageError(
                f"artifact {self.name!r} is no {kind}: it is {self.summary}",
                fixes=[
                    f"artifacts[{self.name!r}].{ways.get(self.kind, self.kind)}",
                    f"artifacts[{self.name!r}].save(path)",
                ],
            )
        return self.value()

    def save(self, path: str | Path) -> Path:
        """Write it to a file, whole or not at all; gives the path.

        A table becomes CSV, or TSV or JSON where the name ends so.

        Args:
            path: a file, which is replaced, or a folder, in which it gets a name of its own.

        Raises:
            StoreError: its content is damaged, gone, or not known here.
            OSError: the file cannot be written.
        """
        target = Path(path).expanduser()
        if target.is_dir():
            target /= self.file_name
        data = self.content()
        if self.kind == "table" and target.suffix.lower() != ".json":
            separator = "\t" if target.suffix.lower() == ".tsv" else ","
            frame = table_from_json(data)
            data = frame.to_csv(sep=separator, index=not _numbered(frame)).encode()
        write_whole(target, data)
        return target

    @property
    def file_name(self) -> str:
        """A name for a file of it, without anything that leads elsewhere."""
        stem = re.sub(r"[^\w .()+-]+", "-", self.name).strip(" .-") or "artifact"
        ending = _ENDINGS.get(self.media_type) or mimetypes.guess_extension(self.media_type) or ".bin"
        return stem if stem.lower().endswith(ending) else f"{stem}{ending}"

    @property
    def line(self) -> str:
        """It in one line: ``sales · table, 12 rows × 3 columns · 1.2 kB``."""
        version = f" (version {self.version})" if self.version > 1 else ""
        return f"{self.name}{version} · {self.summary} · {size_in_words(self.size)}"

    def __repr__(self) -> str:
        return f"<Artifact {self.line}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Plain text, and the image of an image: nothing in it that a page would follow or run."""
        if self.kind == "image" and self.media_type in ("image/png", "image/jpeg"):
            return {"text/plain": repr(self), self.media_type: base64.b64encode(self.content()).decode()}
        shown = ""
        if self.kind in ("text", "json"):
            text = self.content().decode()
            left = len(text) - SHOWN
            shown = text[:SHOWN] + (f"\n… {left:,} more characters" if left > 0 else "")
        elif self.kind == "table":
            shown = self.value().head(10).to_string(max_cols=12, max_colwidth=40)
        return {"text/plain": _seen(f"{self!r}\n{shown}".rstrip())}


class Artifacts(Sequence[Artifact]):
    """The artifacts of a run in the order in which they were kept; `["sales"]` is the last of that name."""

    def __init__(self, items: Iterable[Artifact] = ()) -> None:
        self._items = tuple(items)

    @property
    def names(self) -> list[str]:
        """Each name once."""
        return list(dict.fromkeys(one.name for one in self._items))

    @overload
    def __getitem__(self, key: int | str) -> Artifact: ...
    @overload
    def __getitem__(self, key: slice) -> "Artifacts": ...
    def __getitem__(self, key: int | str | slice) -> "Artifact | Artifacts":
        if isinstance(key, int):
            return self._items[key]
        if isinstance(key, slice):
            return Artifacts(self._items[key])
        for one in reversed(self._items):
            if one.name == key:
                return one
        raise LoomUsageError(
            f"there is no artifact {key!r}",
            cause=f"kept: {', '.join(self.names) or 'none'}",
            fixes=[f"artifacts[{near!r}]" for near in get_close_matches(key, self.names)],
        )

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Artifact]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Artifacts) and self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._items)) or "<no artifacts>"


def artifacts_of(entries: Iterable[LogEntry], *, files: Files | None = None) -> Artifacts:
    """The artifacts that these entries tell of; versions are counted in each run.

    Args:
        entries: of a log, in order.
        files: where the content lies that was too large for the log; see `files_beside`.
    """
    counts: dict[tuple[str, str], int] = {}
    found = []
    for entry in entries:
        if isinstance(entry.event, ArtifactAdded):
            key = entry.run, entry.event.name
            counts[key] = counts.get(key, 0) + 1
            found.append(Artifact(entry.event, counts[key], entry.run, entry.time, files))
    return Artifacts(found)


def size_in_words(size: int) -> str:
    """``812 B``, ``1.2 kB``, ``3.4 MB``, ``1.5 GB``."""
    if size < 1000:
        return f"{size} B"
    if size < 999_950:
        return f"{size / 1000:.1f} kB"
    if size < 999_950_000:
        return f"{size / 1_000_000:.1f} MB"
    return f"{size / 1_000_000_000:,.1f} GB"


def _seen(text: str) -> str:
    """A text without characters that would steer a terminal, or hide or reorder other characters."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


# --- values as bytes


@runtime_checkable
class _Draws(Protocol):
    def savefig(self, file: Any, **options: Any) -> Any: ...


@runtime_checkable
class _OnFigure(Protocol):
    @property
    def figure(self) -> Any: ...


@runtime_checkable
class _DrawsItself(Protocol):
    def _repr_png_(self) -> bytes: ...


def _kept(name: str, value: Any, media_type: str | None) -> Packed:
    """By what the value is. Libraries are only asked for where they are loaded: else nothing is of them."""
    frame = _as_frame(name, value)
    if frame is not None:
        return _table(name, frame, media_type)
    for kinds, keep in _KINDS:
        if isinstance(value, kinds):
            return keep(name, value, media_type)
    match value:
        case type():
            pass
        case _Draws() | _OnFigure(figure=_Draws()):
            return _figure(name, value if isinstance(value, _Draws) else value.figure, media_type)
        case _DrawsItself():
            return _picture(name, value, media_type)
    return _unknown(name, value)


def _as_frame(name: str, value: Any) -> Any:
    """A table; None for anything else. Where pandas is not loaded, nothing can be one of its tables."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.Series):
        return value.to_frame(name if value.name is None else value.name)
    return value if pandas is not None and isinstance(value, pandas.DataFrame) else None


def _unknown(name: str, value: Any) -> Packed:
    kind = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
    raise LoomUsageError(
        f"artifact {name!r} cannot be kept: it is {kind}",
        cause="kept are texts, bytes, tables, figures, plain dicts and lists, and files by their Path",
        fixes=["make a DataFrame, a text or plain data of it", "write it to a file and give its Path"],
    )


def _text(name: str, value: str, media_type: str | None) -> Packed:
    text = text_as_kept(value)
    lines = text.count("\n") + (not text.endswith("\n")) if text else 0
    words = f"text, {lines:,} line{'' if lines == 1 else 's'}"
    return Packed(name, "text", media_type or "text/plain", words, text.encode())


def _bytes(name: str, value: bytes | bytearray | memoryview, media_type: str | None) -> Packed:
    data = bytes(value)
    found = next((kind for start, kind in _BEGINNINGS.items() if data.startswith(start)), None)
    media_type = media_type or found or "application/octet-stream"
    kind: ArtifactKind = "image" if media_type.startswith("image/") else "data"
    return Packed(name, kind, media_type, kind if kind == "image" else media_type, data)


def _file(name: str, value: Path, media_type: str | None) -> Packed:
    path = value.expanduser()
    if not path.is_file():
        raise LoomUsageError(f"artifact {name!r} cannot be kept: there is no file {value}")
    if path.stat().st_size > LARGEST:
        raise LoomUsageError(
            f"artifact {name!r} is too large: {size_in_words(path.stat().st_size)}",
            cause=f"the limit is {size_in_words(LARGEST)}",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LoomUsageError(f"artifact {name!r} cannot be kept: {error.strerror}: {value}") from error
    kept = _bytes(name, data, media_type or mimetypes.guess_type(path.name)[0])
    return msgspec.structs.replace(kept, summary=clean(f"file {path.name}"))


def _plain(name: str, value: Any, media_type: str | None) -> Packed:
    try:
        data = to_json(value)
        parse(data, what=f"artifact {name!r}", max_bytes=LARGEST)
        exact = msgspec.json.decode(data) == (list(value) if isinstance(value, tuple) else value)
    except (TypeError, ValueError, RecursionError, BorderError) as error:
        raise LoomUsageError(
            f"artifact {name!r} cannot be kept: it is not plain JSON",
            cause=str(error).splitlines()[0],
            fixes=["plain are dicts with texts as keys, lists, texts, numbers, True, False and None"],
        ) from None
    if not exact:
        raise LoomUsageError(
            f"artifact {name!r} cannot be kept: it would come back as something else",
            cause="JSON knows only texts as keys, lists, texts, finite numbers, True, False and None",
        )
    count = f"{len(value):,} item{'' if len(value) == 1 else 's'}"
    return Packed(name, "json", media_type or _JSON, f"JSON, {count}", data)


def _table(name: str, value: Any, media_type: str | None) -> Packed:
    if media_type == "text/csv":
        return _text(name, value.to_csv(index=not _numbered(value)), media_type)
    if media_type not in (None, TABLE_TYPE):
        raise LoomUsageError(
            f"artifact {name!r}: a table is not kept as {media_type}",
            fixes=["leave media_type out: it comes back as a DataFrame", 'media_type="text/csv"'],
        )
    data, texts = table_to_json(value)
    summary = f"table, {described(len(value), value.shape[1], texts)}"
    return Packed(name, "table", TABLE_TYPE, clean(summary), data, head_of(value))


def _figure(name: str, value: _Draws, media_type: str | None) -> Packed:
    media_type = media_type or "image/png"
    if media_type not in _DRAWN:
        raise LoomUsageError(
            f"artifact {name!r}: a figure is not drawn as {media_type}", fixes=[", ".join(_DRAWN)]
        )
    drawn = io.BytesIO()
    value.savefig(drawn, format=_DRAWN[media_type], bbox_inches="tight")
    kind: ArtifactKind = "image" if media_type.startswith("image/") else "data"
    return Packed(name, kind, media_type, "figure", drawn.getvalue())


def _picture(name: str, value: _DrawsItself, media_type: str | None) -> Packed:
    data = value._repr_png_()
    if not isinstance(data, bytes) or media_type not in (None, "image/png"):
        return _unknown(name, value)
    return Packed(name, "image", "image/png", "image", data)


def _numbered(frame: Any) -> bool:
    """Whether its rows have no labels but their numbers."""
    from pandas import RangeIndex

    return isinstance(frame.index, RangeIndex) and frame.index.name is None


_KINDS: tuple[tuple[Any, Callable[[str, Any, str | None], Packed]], ...] = (
    (str, _text),
    ((bytes, bytearray, memoryview), _bytes),
    (Path, _file),
    ((dict, list, tuple), _plain),
)
