"""One note as a Markdown file: what is known of it in YAML between two lines of dashes, then its words."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from loom_nb.border import clean
from loom_nb.capabilities.memory.notes import Note, Scope, checked
from loom_nb.errors import LoomUsageError

MOST_BYTES = 1_000_000
"""Of a file that is read as a note."""
_MOST_HEAD = 20_000
_FENCE = re.compile(r"\A---[ \t]*\n(?P<head>.*?)^---[ \t]*(?:\n|\Z)(?:[ \t]*\n)?", re.DOTALL | re.MULTILINE)
_OURS = ("id", "category", "tags", "pinned", "importance", "scope", "created", "updated", "source")
_OF_A_TAG = (ValueError, ArithmeticError, LookupError, AttributeError, TypeError)
"""What the parser raises for a tag that does not fit its value: `!!bool maybe`, `!!int ""`."""
_LASTING: tuple[Scope, ...] = ("semantic", "persistent")


class FileNote(msgspec.Struct, frozen=True):
    """What a file says."""

    fields: dict[str, Any]
    """Of a note, all checked: text, category, tags, pinned, importance, scope, extra."""
    id: str = ""
    """Empty where the file does not say."""
    created: float | None = None
    updated: float | None = None


def rendered(note: Note) -> bytes:
    """A note as a file. The same note gives the same bytes, however often it was used."""
    import yaml

    head: dict[str, Any] = {"id": note.id}
    if note.category:
        head["category"] = note.category
    if note.tags:
        head["tags"] = list(note.tags)
    head["pinned"] = note.pinned
    head["importance"] = note.importance
    head["scope"] = note.scope
    head["created"] = _written(note.created)
    head["updated"] = _written(note.updated)
    head["source"] = str(note.by)
    head |= note.extra
    told = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1_000)
    return f"---\n{told}---\n\n{note.text}\n".encode("utf-8", "replace")


def parsed(data: bytes) -> FileNote:
    """What a file says of a note; one without front matter is words alone.

    Raises:
        LoomUsageError: it is too large, no UTF-8, its front matter is no YAML of plain values, or a field
            holds what it does not take.
    """
    if len(data) > MOST_BYTES:
        raise LoomUsageError(f"more than {MOST_BYTES:,} bytes: this is no note")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise LoomUsageError("it is no UTF-8 text") from None
    fence = _FENCE.match(text)
    head = _head(fence["head"]) if fence else {}
    scope = head.get("scope", "persistent")
    if scope not in _LASTING:
        raise LoomUsageError(f"scope: a file is for {' or '.join(_LASTING)} notes, not {scope!r:.40}")
    tags = head.get("tags")
    fields = {
        "text": text[fence.end() :] if fence else text,
        "category": _word(head.get("category")),
        "tags": [_word(tag) for tag in tags] if isinstance(tags, list) else _word(tags),
        "pinned": head.get("pinned", False),
        "importance": head.get("importance", 0.5),
        "scope": scope,
    }
    made = {name: checked(name, value) for name, value in fields.items()}
    made["extra"] = {str(name): _plain(value) for name, value in head.items() if name not in _OURS}
    note_id = _word(head.get("id"))
    return FileNote(
        made, note_id if re.fullmatch(r"[0-9a-z]{4,16}", note_id) else "", _read(head.get("created")),
        _read(head.get("updated")),
    )  # fmt: skip


def _head(text: str) -> Mapping[str, Any]:
    import yaml

    if len(text) > _MOST_HEAD:
        raise LoomUsageError(f"front matter of more than {_MOST_HEAD:,} characters")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise LoomUsageError("front matter with aliases (*name) is not read")
        head = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, *_OF_A_TAG) as error:
        why = " ".join(str(getattr(error, "problem", None) or error).split())
        raise LoomUsageError(f"front matter that is no YAML: {why[:200]}") from None
    if head is None:
        return {}
    if not isinstance(head, dict):
        raise LoomUsageError("front matter is lines of `name: value`")
    return {clean(str(name)): value for name, value in head.items()}


def _word(value: Any) -> str:
    """A scalar as a person wrote it, or nearly: YAML reads 2024 and yes as something else."""
    if value is None:
        return ""
    if isinstance(value, bool | int | float | str | date):
        return str(value)
    raise LoomUsageError(f"a word was expected, not a {type(value).__name__}")


def _plain(value: Any) -> Any:
    """A value of YAML as JSON can hold it."""
    if isinstance(value, dict):
        return {clean(str(name)): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    return clean(str(value))


def _written(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC).isoformat().replace("+00:00", "Z")


def _read(value: Any) -> float | None:
    """A date as a person writes it, in seconds since the epoch; None for what is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
