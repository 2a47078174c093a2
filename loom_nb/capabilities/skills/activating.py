"""What a model is given of a skill that it activates: its body, with arguments put in as plain text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from loom_nb.border import clean
from loom_nb.capabilities.skills.guard import Report, check
from loom_nb.capabilities.skills.limits import WHENCE
from loom_nb.capabilities.skills.shelf import Opened

MAX_BODY = 40_000
"""Characters of a body that are given; `read_skill_file` reads on."""
MAX_ARGUMENTS = 4_000

_PLACE = "$ARGUMENTS"
_FENCE = re.compile(r"((?:[\s>]|[-*+]\s|\d{1,9}[.)]\s)*)(`{3,}|~{3,})(.*)")
_INDENTED = re.compile(r"[\s>\-*+\d.)]*?(?:\t| {4})")
_TAG = re.compile(r"<(?:pre|code|script|kbd|samp)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ready:
    """A skill that was read and looked at."""

    opened: Opened
    report: Report
    news: str = ""
    """Why the user should look at it again, though it is theirs; empty: nothing is new."""
    approved: bool = False
    """Whether a person has said yes to this very content."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why a person is asked before it is activated; empty: nobody need be."""
        place = self.opened.skill.place
        told = [] if place.trusted else [f"the skill {self.opened.skill.name} {WHENCE[place.tier]}"]
        told += [self.news] if self.news else []
        found = [one for one in self.report.asked if not (self.approved and one.kind == "unread")]
        return (*told, *(str(one) for one in found))


def look_at(opened: Opened) -> Ready:
    """A skill with what the guard finds in it. What is shipped is not doubted."""
    builtin = opened.skill.tier == "builtin"
    return Ready(opened, Report(()) if builtin else check(opened.texts, opened.unread))


def body_with(body: str, arguments: str) -> str:
    """The body with the arguments in the place of `$ARGUMENTS`, once, as text.

    In code the place is left as it is and the arguments are told below: nobody pastes them into a command
    unquoted without having seen them. What may be code counts as code: indented lines, and a paragraph whose
    backticks do not pair up line by line. What is in the arguments is never looked through for places.
    """
    arguments = clean(arguments)
    if not arguments.strip():
        return body.replace(_PLACE, "(none given)") if _PLACE in body else body
    made, told = [], False
    for line, is_code in _lines(body):
        put_in = line if is_code or _PLACE not in line else _outside_code(line, arguments)
        told = told or put_in != line
        made.append(put_in)
    text = "\n".join(made)
    return text if told else f"{text.rstrip()}\n\nArguments ($ARGUMENTS above stands for them):\n{arguments}"


def _lines(body: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it may be code."""
    doubtful = _TAG.search(body) is not None
    for kind, lines in groupby(_fenced(body), lambda one: one[1] or ("" if one[0].strip() else "blank")):
        block = [line for line, _ in lines]
        doubtful = doubtful or kind == "who knows where it ends"
        sound = not doubtful and kind == "" and all(_spans(line) is not None for line in block)
        for line in block:
            yield line, not sound or _INDENTED.match(line) is not None


def _fenced(body: str) -> Iterator[tuple[str, str]]:
    """Each line, and what it is where it belongs to a block of code between fences."""
    fence = ""
    for line in body.split("\n"):
        found = _FENCE.match(line)
        if found is None or (fence and not _is_plain(found[1])):
            yield line, fence and "code"
        elif not fence and not _is_plain(found[1]):  # in a list or a quote
            yield line, "who knows where it ends"
        else:
            yield line, "code"
            ends = found[2].startswith(fence) and not found[3].strip()
            fence = fence if fence and not ends else "" if fence else found[2]


def _is_plain(before: str) -> bool:
    return before.strip(" ") == "" and len(before) <= 3


def _spans(line: str) -> list[tuple[int, int]] | None:
    """Where inline code is, with its backticks; None where some of them have no partner in the line."""
    runs = [(one.start(), one.end()) for one in re.finditer(r"`+", line)]
    if runs and "\\`" in line:
        return None
    spans, at = [], 0
    while at < len(runs):
        start, end = runs[at]
        partner = next((n for n in range(at + 1, len(runs)) if runs[n][1] - runs[n][0] == end - start), None)
        if partner is None:
            return None
        spans.append((start, runs[partner][1]))
        at = partner + 1
    return spans


def _outside_code(line: str, arguments: str) -> str:
    """A line with the arguments put in where no backticks are around."""
    pieces, at = [], 0
    for start, end in _spans(line) or ():
        pieces += [line[at:start].replace(_PLACE, arguments), line[start:end]]
        at = end
    return "".join([*pieces, line[at:].replace(_PLACE, arguments)])


def told(ready: Ready, arguments: str) -> str:
    """The body as the model reads it, with what the skill may use and has beside it."""
    opened = ready.opened
    body = body_with(opened.body.strip(), arguments)
    if len(body) > MAX_BODY:
        body = f"{body[:MAX_BODY]}\n[… {len(body) - MAX_BODY:,} more characters: read_skill_file]"
    lines = [f"Skill {opened.skill.name} ({opened.skill.place.words})", "", body]
    if opened.matter.allowed_tools is not None:
        lines += [
            "",
            f"While it is active only these tools may be used: {', '.join(opened.matter.allowed_tools)}",
        ]
    if opened.files:
        listed = "\n".join(f"- {name}" for name in opened.files)
        lines += [
            "",
            "Its files, for read_skill_file (a script runs only through a tool that runs code):",
            listed,
        ]
    return "\n".join(lines)
