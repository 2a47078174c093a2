"""Finds secrets in a notebook before it is saved or shared: in its cells, what they put out, its metadata.

Pure: a notebook as it stands in its file goes in, findings come out. No finding holds a secret.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from loom_nb.notebook.cell_secrets import secrets_in
from loom_nb.redaction.key_forms import KeyForm, key_forms

Where: TypeAlias = Literal["source", "output", "metadata", "attachment", "widget state"]
Find: TypeAlias = Callable[[Sequence[str]], list[tuple[int, str]]]
"""Which of some texts hold which stored secret, in any encoding: `Broker.find`."""

EXCERPT = 60
"""Characters of an excerpt."""
SHOWN = 4
"""First characters of a key that are shown: they say whose it is, and no more."""
FIXES: Mapping[Where, str] = {
    "source": "put it into the store with `%loom key set NAME` and take it out of the cell",
    "output": "clear the output of this cell",
    "metadata": "take it out of the metadata (property inspector of the cell)",
    "attachment": "delete the attachment from the cell",
    "widget state": "do not save widget state (Settings), and save the notebook again",
}


@dataclass(frozen=True, slots=True)
class KeyFinding:
    """One place of a notebook in which a secret stands."""

    cell: int
    """Its number, counted from 1; 0 for the notebook itself."""
    where: Where
    kind: str
    """What it looks like: "GitHub token", or "stored secret NAME"."""
    excerpt: str
    """The line around it, with what looks like a secret masked."""
    fix: str
    """What to do about it."""
    scope: str = ""
    """The name of the stored secret, where it is one."""

    def __str__(self) -> str:
        place = f"cell {self.cell}, {self.where}" if self.cell else f"the notebook's {self.where}"
        return f"{place}: {self.kind}: {self.excerpt}"


@dataclass(frozen=True, slots=True)
class _Text:
    cell: int
    where: Where
    text: str
    picture: bool = False
    """Base64 of something that is no text."""


def scan(notebook: Mapping[str, Any], find: Find | None = None) -> tuple[KeyFinding, ...]:
    """What looks like a secret in a notebook, in the order of its cells.

    Found are keys and passwords by their form, texts that code gives a secret's name, also where a cell
    puts them out, and stored secrets where `find` is given. Of widgets and attachments too.

    Args:
        notebook: the parsed file; what is not as the format says is passed over.
        find: tells stored secrets; without it only forms and names are looked at.
    """
    texts = list(_texts(notebook))
    named = _named(notebook)
    found: list[tuple[int, int, KeyFinding]] = []
    stored: dict[int, set[str]] = {}
    for place, scope in find([one.text for one in texts]) if find is not None else ():
        stored.setdefault(place, set()).add(scope)
    for place, one in enumerate(texts):
        found += ((place, start, finding) for start, finding in _findings(one, named))
        for scope in sorted(stored.get(place, ())):
            told = KeyFinding(
                one.cell, one.where, f"stored secret {scope}", f"[secret {scope}]", _fix(one), scope
            )
            found.append((place, -1, told))
    found.sort(key=lambda row: (row[0], row[1], row[2].kind))
    return tuple(dict.fromkeys(finding for _, _, finding in found))


def _findings(one: _Text, named: Sequence[str]) -> Iterator[tuple[int, KeyFinding]]:
    """By form and by name, each with the place in its text."""
    if one.picture:
        return
    forms = key_forms(one.text)
    for value in named:
        for match in re.finditer(re.escape(value), one.text):
            start, end = match.span()
            if not any(form.start < end and start < form.end for form in forms):
                forms.append(KeyForm(start, end, "text with a secret's name"))
    forms.sort(key=lambda form: form.start)
    for form in forms:
        yield (
            form.start,
            KeyFinding(one.cell, one.where, form.kind, _excerpt(one.text, form, forms), _fix(one)),
        )


def _fix(one: _Text) -> str:
    return FIXES[one.where]


def _excerpt(text: str, form: KeyForm, forms: Iterable[KeyForm]) -> str:
    """The words of its line before it, and what it is; each secret of the line masked."""
    line = text.rfind("\n", 0, form.start) + 1
    shown: list[str] = []
    done = line
    for other in sorted(forms, key=lambda one: one.start):
        if other.end <= line or other.start > form.start or other.start < done:
            continue
        shown += (text[done : other.start], _masked(text[other.start : other.end], other.kind))
        done = other.end
    words = " ".join("".join(shown).split())
    return words if len(words) <= EXCERPT else "…" + words[1 - EXCERPT :]


def _masked(secret: str, kind: str) -> str:
    """The first letters of a key of a vendor, which are the same for all of them; of others nothing."""
    known = not kind.startswith(("password", "value", "text", "bearer", "basic", "private", "signature"))
    return f"{secret[:SHOWN]}…" if known and len(secret) >= SHOWN * 4 else "…"


def _named(notebook: Mapping[str, Any]) -> list[str]:
    """What the code of the notebook gives a secret's name, long ones first."""
    found = {
        text
        for cell in _cells(notebook)
        if cell.get("cell_type") == "code"
        for text in secrets_in(_joined(cell.get("source")))
    }
    return sorted(found, key=lambda text: (-len(text), text))


# -- the texts of a notebook -----------------------------------------------------------------------------

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_WORDS = (
    "text/",
    "application/json",
    "application/javascript",
    "application/xml",
    "image/svg",
    "application/vnd.",
)


def _texts(notebook: Mapping[str, Any]) -> Iterator[_Text]:
    metadata = _mapping(notebook.get("metadata"))
    for name, value in metadata.items():
        yield from (
            _Text(0, "widget state" if name == "widgets" else "metadata", text)
            for text in _strings({name: value})
        )
    for number, cell in enumerate(_cells(notebook), 1):
        yield _Text(number, "source", _joined(cell.get("source")))
        yield from (_Text(number, "metadata", text) for text in _strings(cell.get("metadata")))
        for name, data in _mapping(cell.get("attachments")).items():
            yield _Text(number, "attachment", name)
            yield from (replace(one, where="attachment") for one in _bundle(number, _mapping(data)))
        for output in cell.get("outputs") or ():
            yield from _output(number, _mapping(output))


def _output(number: int, output: Mapping[str, Any]) -> Iterator[_Text]:
    if "text" in output:
        yield _Text(number, "output", _ANSI.sub("", _joined(output["text"])))
    if "traceback" in output or "evalue" in output:
        lines = output.get("traceback") or ()
        told = "\n".join([str(output.get("evalue", "")), *(line for line in lines if isinstance(line, str))])
        yield _Text(number, "output", _ANSI.sub("", told))
    yield from _bundle(number, _mapping(output.get("data")))
    yield from (_Text(number, "output", text) for text in _strings(output.get("metadata")))


def _bundle(number: int, data: Mapping[str, Any]) -> Iterator[_Text]:
    for media_type, value in data.items():
        if isinstance(value, str | list) and all(isinstance(one, str) for one in value):
            yield _Text(number, "output", _joined(value), picture=not media_type.startswith(_WORDS))
        else:
            yield from (_Text(number, "output", text) for text in _strings(value))


def _cells(notebook: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    cells = notebook.get("cells")
    return [_mapping(cell) for cell in cells] if isinstance(cells, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _joined(value: object) -> str:
    """A text as the format has it: whole, or as a list of lines."""
    if isinstance(value, list):
        return "".join(line for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""


def _strings(value: object, name: str = "") -> Iterator[str]:
    """Every text in plain data; behind the name that it has, so that the name counts."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, name)
    elif isinstance(value, str) and value:
        yield f'{name}: "{value}"' if name and "\n" not in value and '"' not in value else value
