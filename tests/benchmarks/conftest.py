"""Figures of speed: ratios to a floor measured in the same run, printed as a table, never judged."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def table(request, capsys):
    """Rows of (what, ours, floor, goal), printed and written beside the screenshots."""
    rows: list[tuple[str, str, str, str]] = []
    yield lambda *row: rows.append(tuple(str(cell) for cell in row))
    lines = [
        "| what | ours | floor | ratio · goal |",
        "|---|---|---|---|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    text = "\n".join(lines)
    with capsys.disabled():
        print(f"\n{text}\n")
    folder = os.environ.get("LOOM_NB_ARTIFACTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"benchmark-{request.node.name}.md").write_text(text + "\n")
