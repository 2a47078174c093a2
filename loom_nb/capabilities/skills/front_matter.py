"""The head of a SKILL.md: what a skill is called, what it is for and which tools it needs.

A skill is a text from anywhere. Its YAML is read as events of a parser and put together here, without
recursion: no tags, no anchors, no key twice, a few levels and a few kilobytes; every scalar is a text, so
that version 1.10 stays 1.10.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from loom_nb.border import clean
from loom_nb.errors import ToolError

MAX_FILE = 256 * 1024
"""Bytes of a SKILL.md."""
MAX_HEAD = 16 * 1024
"""Characters of its front matter."""
MAX_DESCRIPTION = 1_024
MAX_DEPTH = 5
MAX_NODES = 500

Tree: TypeAlias = "str | list[Tree] | dict[str, Tree]"

_NAME = re.compile(r"(?=.{1,64}\Z)[a-z0-9]+(?:-[a-z0-9]+)*")
_FENCE = re.compile(r"---[ \t]*")
_TOOL = re.compile(r"[A-Za-z0-9_.*:-]+(?:\([^()\n]*\))?")


class NotASkill(ToolError):
    """A text that is no SKILL.md; the title says why."""


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What stands in the head of a SKILL.md."""

    name: str
    description: str
    allowed_tools: tuple[str, ...] | None = None
    """The only tools that may be used while it is active; None: it names none, so that all may."""
    version: str = ""
    license: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Whatever else it says, as texts."""


def is_name(name: str) -> bool:
    """Whether a skill may be called so: 1 to 64 of a-z, 0-9 and single hyphens between them."""
    return _NAME.fullmatch(name) is not None


def split(text: str) -> tuple[str, str, int]:
    """The front matter and the body of a SKILL.md, and the line, counted from 1, where the body begins.

    Raises:
        NotASkill: it has no front matter, or too much of it.
    """
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    if not _FENCE.fullmatch(lines[0]):
        raise NotASkill("it does not begin with front matter", cause="the first line of a SKILL.md is ---")
    end = next((n for n, line in enumerate(lines[1:], 1) if _FENCE.fullmatch(line)), 0)
    if not end:
        raise NotASkill("its front matter has no end", cause="a second line --- closes it")
    head = "\n".join(lines[1:end])
    if len(head) > MAX_HEAD:
        raise NotASkill(f"its front matter has {len(head):,} characters, {MAX_HEAD:,} are the limit")
    return head, "\n".join(lines[end + 1 :]), end + 2


def parse(text: str, folder: str) -> tuple[FrontMatter, str]:
    """The front matter and the body of a SKILL.md that lies in a folder of this name.

    Raises:
        NotASkill: says what is wrong with it.
    """
    head, body, _ = split(text)
    tree = read_yaml(head)
    if not isinstance(tree, dict):
        raise NotASkill("its front matter is no list of names and values")
    name, description = _text(tree, "name"), " ".join(_text(tree, "description").split())
    if not is_name(name):
        raise NotASkill(
            f"its name is {name!r:.80}", cause="a name has 1 to 64 of a-z, 0-9 and single hyphens between"
        )
    if name != folder:
        raise NotASkill(f"it is called {name} and lies in the folder {folder!r:.80}: they must be the same")
    if not 0 < len(description) <= MAX_DESCRIPTION:
        raise NotASkill(f"its description must have 1 to {MAX_DESCRIPTION:,} characters")
    others = {key: one for key, value in tree.items() if key not in _KNOWN for one in [_flat(value)]}
    meta = tree.get("metadata")
    if isinstance(meta, dict):
        others |= {f"metadata.{key}": _flat(value) for key, value in meta.items()}
    return FrontMatter(
        name, description, _tools(tree), _text(tree, "version"), _text(tree, "license"), others
    ), body


_KNOWN = ("name", "description", "version", "license", "metadata", "allowed-tools", "allowed_tools")


def read_yaml(text: str) -> Tree:
    """The YAML of a front matter as texts, lists and dictionaries.

    Raises:
        NotASkill: it is no YAML, or has what a front matter has no need of.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _put_together(yaml.parse(clean(text), Loader=loader), yaml)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 2})" if mark is not None else ""
        told = getattr(error, "problem", None) or str(error) or type(error).__name__
        raise NotASkill(f"its front matter is no YAML{where}: {told!s:.120}") from None


@dataclass(slots=True)
class _Open:
    """A list or dictionary that is being read."""

    made: "list[Tree] | dict[str, Tree]"
    key: str | None = None

    def put(self, value: Tree) -> None:
        if isinstance(self.made, list):
            self.made.append(value)
        elif self.key is None:
            if not isinstance(value, str):
                raise NotASkill("its front matter has a key that is no text")
            if value in self.made:
                raise NotASkill(f"its front matter says {value!r:.60} twice")
            self.key = value
        else:
            self.made[self.key] = value
            self.key = None


def _put_together(events: Iterator[Any], yaml: Any) -> Tree:
    """One value of the parser's events."""
    top = _Open([])
    stack = [top]
    for count, event in enumerate(events):
        if count > MAX_NODES:
            raise NotASkill("its front matter has too many values")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise NotASkill("its front matter has an anchor or an alias (& or *)")
        if getattr(event, "tag", None) not in (None, "!"):
            raise NotASkill(f"its front matter has a tag ({event.tag!s:.60})")
        if isinstance(event, yaml.ScalarEvent):
            plain = event.style is None or event.style == ""
            stack[-1].put("" if plain and event.value in ("~", "null") else str(event.value))
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if len(stack) > MAX_DEPTH:
                raise NotASkill("its front matter is nested too deeply")
            stack.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else []))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = stack.pop()
            stack[-1].put(done.made)
    values = top.made
    if len(values) != 1:
        raise NotASkill("its front matter is empty" if not values else "its front matter is two documents")
    return values[0] if isinstance(values, list) else values


def _text(tree: Mapping[str, Tree], key: str) -> str:
    value = tree.get(key, "")
    if not isinstance(value, str):
        raise NotASkill(f"its {key} is no text")
    return clean(value).strip()


def _tools(tree: Mapping[str, Tree]) -> tuple[str, ...] | None:
    if "allowed-tools" in tree and "allowed_tools" in tree:
        raise NotASkill("it has both allowed-tools and allowed_tools")
    value = tree.get("allowed-tools", tree.get("allowed_tools"))
    if value is None:
        return None
    words = [part for part in value if isinstance(part, str)] if isinstance(value, list) else []
    if isinstance(value, str):
        words = re.findall(r"[^\s,()]+(?:\([^()]*\))?|[()]", value)
    elif not isinstance(value, list) or len(words) != len(value):
        raise NotASkill("its allowed-tools are no list of names")
    wrong = next((word for word in words if not _TOOL.fullmatch(word.strip())), None)
    if wrong is not None:
        raise NotASkill(f"its allowed-tools have {wrong!r:.60}, which is no name of a tool")
    return tuple(dict.fromkeys(word.strip() for word in words))


def _flat(value: Tree) -> str:
    """Any value as a short text."""
    if isinstance(value, str):
        return clean(value)[:MAX_DESCRIPTION]
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return ", ".join(one for one in inner if isinstance(one, str))[:MAX_DESCRIPTION]
