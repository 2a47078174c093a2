"""Every command that a text of the package tells the reader to type is one that exists."""

import re
from pathlib import Path

import pytest

import loom_nb
from loom_nb.notebook import cell as cells
from loom_nb.notebook.line_magics import COMMANDS

ROOT = Path(loom_nb.__file__).parent
_LINE = re.compile(r"(?<!%)%loom[ \t]+(?:<[^>]*>)?([^\s\"'`{}\\|:;,.)]+)")
_CELL = re.compile(r"(?<!%)%%loom[ \t]+(-{1,2}[a-z][a-z-]*)")
WORDS = {"line", "cell", "as", "and", "has", "takes"}
"""What follows the name of the magic where a text talks about it."""


def wrong(text: str) -> list[str]:
    """What a text names and neither `%loom` nor `%%loom` knows."""
    commands = [name for name in _LINE.findall(text) if name not in COMMANDS and name not in WORDS]
    return commands + [flag for flag in _CELL.findall(text) if flag not in cells.flags()]


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_a_text_names_only_commands_that_exist(path: Path):
    assert wrong(path.read_text("utf-8")) == []


def test_a_command_that_does_not_exist_is_seen():
    assert wrong('"%loom rumours", `%loom -m offline`, %%loom --agents') == ["rumours", "-m", "--agents"]
    assert wrong('"%loom model offline", `%loom`, %%loom -m offline') == []
