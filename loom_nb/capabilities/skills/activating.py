"""What a model is given of a skill that it activates: its body, with arguments put in as plain text."""

import re
from dataclasses import dataclass

from loom_nb.border import clean
from loom_nb.capabilities.skills.guard import Report, check
from loom_nb.capabilities.skills.limits import WHENCE
from loom_nb.capabilities.skills.shelf import Opened

MAX_BODY = 40_000
"""Characters of a body that are given; `read_skill_file` reads on."""
MAX_ARGUMENTS = 4_000

_PLACE = "$ARGUMENTS"
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_INLINE = re.compile(r"(`+)(?:(?!\1).)+?\1")


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
    unquoted without having seen them. What is in the arguments is never looked through for places.
    """
    arguments = clean(arguments)
    if not arguments.strip():
        return body.replace(_PLACE, "(none given)") if _PLACE in body else body
    made, in_code, told = [], "", False
    for line in body.split("\n"):
        fence = _FENCE.match(line)
        if fence is not None and (
            not in_code or (fence[1][0] == in_code[0] and len(fence[1]) >= len(in_code))
        ):
            in_code = "" if in_code else fence[1]
        elif not in_code and _PLACE in line:
            line, done = _outside_code(line, arguments)  # noqa: PLW2901  the line with them put in
            told = told or done
        made.append(line)
    text = "\n".join(made)
    return text if told else f"{text.rstrip()}\n\nArguments ($ARGUMENTS above stands for them):\n{arguments}"


def _outside_code(line: str, arguments: str) -> tuple[str, bool]:
    """A line with the arguments put in where no backticks are around, and whether they were."""
    pieces, at = [], 0
    for code in _INLINE.finditer(line):
        pieces += [line[at : code.start()].replace(_PLACE, arguments), code[0]]
        at = code.end()
    pieces.append(line[at:].replace(_PLACE, arguments))
    made = "".join(pieces)
    return made, made != line


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
