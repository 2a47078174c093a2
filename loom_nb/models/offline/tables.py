"""Tables in plain text: read from pipes, aligned columns or JSON, shown as Markdown."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_ROWS = 10
MAX_COLUMNS = 8
MAX_CELL = 60


@dataclass(frozen=True, slots=True)
class Table:
    """A header and its rows; every row is as long as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, *names: str) -> int | None:
        """Where the first column stands whose title is, or contains, one of the names."""
        low = [title.lower() for title in self.header]
        for name in names:
            if name in low:
                return low.index(name)
        return next((low.index(title) for name in names for title in low if name in title), None)


def tables(text: str) -> list[Table]:
    """The tables in a text, in order."""
    found: list[Table] = []
    block: list[str] = []
    piped = False
    for line in [*text[:60_000].splitlines(), ""]:
        if block and (not line.strip() or ("|" in line) != piped):
            found += _in_block(block, piped=piped)
            block = []
        if line.strip():
            piped = "|" in line
            block.append(line)
    return found


def of_records(records: Sequence[Mapping[str, Any]]) -> Table:
    """A table of objects with the same keys, as JSON gives them."""
    header = list(dict.fromkeys(str(key) for record in records for key in record))
    return Table(
        tuple(header), tuple(tuple(_plain(record.get(key, "")) for key in header) for record in records)
    )


def markdown(table: Table) -> str:
    """A table as Markdown: ten rows, eight columns, and what is left out in words."""
    header = table.header[:MAX_COLUMNS]
    lines = [_row(header), "|" + " --- |" * len(header)]
    lines += [_row(row[:MAX_COLUMNS]) for row in table.rows[:MAX_ROWS]]
    left = []
    if len(table.rows) > MAX_ROWS:
        left.append(f"{len(table.rows) - MAX_ROWS:,} more rows")
    if len(table.header) > MAX_COLUMNS:
        left.append(f"{len(table.header) - MAX_COLUMNS:,} more columns")
    if left:
        lines += ["", f"… and {' and '.join(left)}."]
    return "\n".join(lines)


def code(text: str, *, lines: int = 12) -> str:
    """Foreign text between marks that it cannot close, shortened."""
    kept = text.splitlines()
    shown = "\n".join(line[:160] for line in kept[:lines])
    longest = max((len(run) for run in re.findall(r"`{3,}", shown)), default=2)
    fence = "`" * (longest + 1)
    more = f"\n\n… and {len(kept) - lines:,} more lines." if len(kept) > lines else ""
    return f"{fence}text\n{shown}\n{fence}{more}"


def inline(text: str) -> str:
    """A short foreign text inside a sentence, safe as Markdown."""
    flat = " ".join(text.split())
    flat = flat if len(flat) <= 200 else flat[:197] + "..."
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", flat)


def code_span(text: str) -> str:
    """A short foreign text as code inside a sentence."""
    return f"`{' '.join(text.split())[:120].replace('`', chr(39))}`"


def _row(cells: Iterable[str]) -> str:
    return (
        "| "
        + " | ".join(
            inline(cell if len(cell) <= MAX_CELL else cell[: MAX_CELL - 3] + "...") for cell in cells
        )
        + " |"
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _in_block(block: list[str], *, piped: bool) -> list[Table]:
    if len(block) < 2:
        return []
    if piped:
        table = _from_rows([_cells(line) for line in block])
        return [table] if table else []
    for start in range(min(4, len(block) - 1)):
        lines = block[start:]
        for pattern in (r"\s{2,}", r"\s+"):
            table = _from_rows(
                [re.split(pattern, line.strip()) for line in lines], ragged=lines[0][:1].isspace()
            )
            if table and (pattern != r"\s+" or _printed(table, lines[0])):
                return [table]
    return []


def _cells(line: str) -> list[str]:
    cells = [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line)]
    framed = line.strip().startswith("|") and line.strip().endswith("|") and len(cells) > 2
    return cells[1:-1] if framed else cells


def _printed(table: Table, first: str) -> bool:
    """Whether words with single blanks between are a printed frame and not a sentence."""
    return first[:1].isspace() and len(table.rows) >= 1


def _from_rows(rows: list[list[str]], *, ragged: bool = False) -> Table | None:
    rows = [row for row in rows if not all(re.fullmatch(r":?-*:?", cell) for cell in row)]
    if len(rows) < 2:
        return None
    header, body = rows[0], rows[1:]
    if ragged:  # the header of a printed frame has no cell above its row labels
        width = len(header) + 1
        kept = _while_wide(body, width)
        return Table(("", *header), kept) if kept and len(header) > 0 else None
    kept = _while_wide(body, len(header))
    return Table(tuple(header), kept) if kept and len(header) > 1 else None


def _while_wide(rows: list[list[str]], width: int) -> tuple[tuple[str, ...], ...]:
    kept = []
    for row in rows:
        if len(row) != width:
            break
        kept.append(tuple(row))
    return tuple(kept)
