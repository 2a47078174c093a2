"""A notebook file (.ipynb) as cells: listed, and one cell of it inserted, replaced or deleted.

Everything else in the file stays as it is: outputs, metadata, the order of its keys, its indentation.
What comes out is checked against the rules of the format before anything is written.
"""

import json
import re
import secrets
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from loom_nb.border import parse_object
from loom_nb.capabilities.cell_tags import is_hidden, tags_of
from loom_nb.errors import ToolError

Action: TypeAlias = Literal["insert", "replace", "delete"]
Kind: TypeAlias = Literal["code", "markdown", "raw"]

MAX_OUTPUT = 400
"""Characters of the outputs of a cell in a listing."""
MAX_SOURCE = 4_000


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of one cell."""

    action: Action
    cell: int | str | None = None
    """Counted from 0 (negative from the end), or the id; an insert goes before it, or to the end for None."""
    source: str | None = None
    kind: Kind | None = None
    """None for code, or for a replaced cell's own kind."""


def edited(data: bytes, edit: Edit, name: str = "the notebook") -> tuple[bytes, str]:
    """The file after the edit, and what was done, such as "replaces cell 3 of".

    Raises:
        BorderError: it is no JSON that the border lets in.
        ToolError: it is no notebook, there is no such cell, or the result breaks the format's rules.
    """
    notebook = _parsed(data, name)
    cells = notebook["cells"]
    if edit.action == "delete":
        if edit.source is not None:
            raise ToolError("delete takes no source")
        place = _find(cells, edit.cell)
        del cells[place]
        words = f"deletes cell {place} of"
    elif edit.source is None:
        raise ToolError(f"{edit.action} needs the source of the cell")
    elif edit.action == "insert":
        place = len(cells) if edit.cell is None else _find(cells, edit.cell)
        cells.insert(place, _new_cell(notebook, edit.source, edit.kind or "code"))
        words = f"inserts a {edit.kind or 'code'} cell at {place} of"
    else:
        place = _find(cells, edit.cell)
        cells[place] = _with_source(cells[place], edit.source, edit.kind)
        words = f"replaces cell {place} of"
    _check(notebook, name)
    return _written(notebook, data), words


def listed(data: bytes, name: str) -> str:
    """The cells with number, kind, id, source and the beginning of their outputs' text.

    Of a cell that a tag hides from agents only that it is there.
    """
    lines = []
    for number, cell in enumerate(_parsed(data, name)["cells"]):
        if is_hidden(tags_of(cell.get("metadata"))):
            lines += [f"[{number}] hidden from agents by a tag", ""]
            continue
        lines.append(f"[{number}] {cell.get('cell_type')} id={cell.get('id', 'none')}")
        source = _text(cell.get("source"))
        lines.append(source if len(source) <= MAX_SOURCE else f"{source[:MAX_SOURCE]} ... (the cell goes on)")
        outputs = _outputs(cell)
        if outputs:
            lines.append(f"-> {outputs}")
        lines.append("")
    return "\n".join(lines) or "(no cells)"


def as_text(data: bytes) -> str:
    """The sources of the cells, one below the other, to be compared."""
    cells = _parsed(data, "the notebook")["cells"]
    return "".join(
        f"# %% [{cell.get('cell_type')}] {cell.get('id', '')}".rstrip() + f"\n{_text(cell.get('source'))}\n"
        for cell in cells
    )


def sources(data: bytes, name: str) -> list[tuple[int, str, str]]:
    """Number, kind and source of each cell that no tag hides from agents. Raises as `listed` does."""
    return [
        (number, str(cell.get("cell_type")), _text(cell.get("source")))
        for number, cell in enumerate(_parsed(data, name)["cells"])
        if not is_hidden(tags_of(cell.get("metadata")))
    ]


def _parsed(data: bytes, name: str) -> dict[str, Any]:
    notebook = parse_object(data.removeprefix(b"\xef\xbb\xbf"), what=name)
    cells = notebook.get("cells")
    if notebook.get("nbformat") != 4 or not isinstance(cells, list):
        raise ToolError(
            f"{name} is no notebook of format 4",
            cause=f"nbformat is {notebook.get('nbformat')!r}",
            fixes=["opening and saving it in Jupyter brings it to format 4"],
        )
    if not all(isinstance(cell, dict) for cell in cells):
        raise ToolError(f"{name} is no sound notebook: a cell of it is no object")
    return notebook


def _find(cells: list[dict[str, Any]], wanted: int | str | None) -> int:
    """The number of a cell, by number or id."""
    if isinstance(wanted, str):
        found = [number for number, cell in enumerate(cells) if cell.get("id") == wanted]
        if len(found) == 1:
            return found[0]
        if not re.fullmatch(r"-?\d{1,6}", wanted):
            what = "several cells have" if found else "no cell has"
            raise ToolError(f"{what} the id {wanted!r}", fixes=["read_notebook lists numbers and ids"])
        wanted = int(wanted)
    if wanted is None:
        raise ToolError("which cell? give its number or its id", fixes=["read_notebook lists both"])
    if not -len(cells) <= wanted < len(cells):
        known = f"they are 0 to {len(cells) - 1}" if cells else "there are none"
        raise ToolError(f"there is no cell {wanted}: {known}")
    return wanted % len(cells)


def _new_cell(notebook: dict[str, Any], source: str, kind: Kind) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind}
    if kind == "code":
        cell["execution_count"] = None
    if notebook.get("nbformat_minor", 0) >= 5:
        known = {one.get("id") for one in notebook["cells"]}
        cell["id"] = next(name for name in iter(lambda: secrets.token_hex(4), "") if name not in known)
    cell["metadata"] = {}
    if kind == "code":
        cell["outputs"] = []
    cell["source"] = _lines(source)
    return cell


def _with_source(cell: dict[str, Any], source: str, kind: Kind | None) -> dict[str, Any]:
    """The cell with another source; one that becomes another kind loses what that kind does not have."""
    changed = dict(cell)
    changed["source"] = source if isinstance(cell.get("source"), str) else _lines(source)
    if kind is None or kind == cell.get("cell_type"):
        return changed
    changed["cell_type"] = kind
    for field in ("outputs", "execution_count", "attachments"):
        changed.pop(field, None)
    if kind == "code":
        changed |= {"outputs": [], "execution_count": None}
    return changed


def _check(notebook: dict[str, Any], name: str) -> None:
    """Raise ToolError where the rules of the format are broken."""
    from nbformat import ValidationError, validate

    try:
        validate(notebook)
    except ValidationError as error:
        first = str(getattr(error, "message", "") or error).splitlines()[0]
        raise ToolError(f"{name} would not be a sound notebook: {first[:300]}") from None


def _written(notebook: dict[str, Any], before: bytes) -> bytes:
    """As text, in the manner of the file as it was."""
    second = re.search(rb"^[^\n]*\n([ \t]*)", before)
    indent = second.group(1).decode() if second and before.strip().count(b"\n") else None
    ascii_only = before.isascii() and b"\\u" in before
    tight = indent is None and b'": ' not in before[:2000]
    text = json.dumps(
        notebook, indent=indent, ensure_ascii=ascii_only, separators=(",", ":") if tight else None
    )
    mark = b"\xef\xbb\xbf" if before.startswith(b"\xef\xbb\xbf") else b""
    return mark + (text + ("\n" if before.endswith(b"\n") else "")).encode()


def _lines(source: str) -> list[str]:
    return source.splitlines(keepends=True) if "\n" in source else [source] if source else []


def _text(source: Any) -> str:
    if isinstance(source, list):
        return "".join(map(str, source))
    return source if isinstance(source, str) else ""


def _outputs(cell: dict[str, Any]) -> str:
    """The words of the outputs, what is no text by its kind."""
    told: list[str] = []
    for output in cell.get("outputs") or []:
        if not isinstance(output, dict):
            continue
        data = output.get("data") if isinstance(output.get("data"), dict) else {}
        text = _text(output.get("text") or (data or {}).get("text/plain"))
        if output.get("output_type") == "error":
            text = f"{output.get('ename')}: {output.get('evalue')}"
        told.append(text.strip() or f"({', '.join(data or {})})")
    whole = "\n".join(told)
    return whole if len(whole) <= MAX_OUTPUT else f"{whole[:MAX_OUTPUT]} ... (the outputs go on)"
