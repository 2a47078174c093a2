"""The skills by which the guard is measured, read from their four files."""

import base64
import codecs
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "data" / "skills_guard"
_TOKEN = re.compile(r"\{(b64|hex|rot|tags):((?:[^{}]|\{[^{}]*\})*)\}")


@dataclass(frozen=True)
class Sample:
    name: str
    kind: str
    texts: tuple[tuple[str, str], ...]


def samples(file: str) -> list[Sample]:
    """The skills of one file."""
    parts = re.split(
        r"^%%% (\S+) \[([^\]]+)\]\n", (FOLDER / f"{file}.txt").read_text("utf-8"), flags=re.MULTILINE
    )
    return [
        _sample(name, kind, text)
        for name, kind, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    ]


def _sample(name: str, kind: str, text: str) -> Sample:
    head, *others = re.split(r"^\+\+\+ (\S+)\n", text, flags=re.MULTILINE)
    if not head.startswith("---"):
        description, _, body = head.partition("\n")
        head = f"---\nname: {name}\ndescription: {description}\n---\n{body}"
    texts = [("SKILL.md", head), *zip(others[::2], others[1::2], strict=True)]
    return Sample(name, kind, tuple((path, _spelled(one)) for path, one in texts))


def _spelled(text: str) -> str:
    text = re.sub(r"\{U\+([0-9A-F]{4,6})\}", lambda one: chr(int(one[1], 16)), text)
    while _TOKEN.search(text):
        text = _TOKEN.sub(_encoded, text)
    return text


def _encoded(found: re.Match[str]) -> str:
    how, inner = found[1], _spelled(found[2])
    if how == "b64":
        return base64.b64encode(inner.encode()).decode()
    if how == "hex":
        return inner.encode().hex()
    if how == "tags":
        return "".join(chr(0xE0000 + ord(char)) for char in inner)
    return codecs.encode(inner, "rot13")
