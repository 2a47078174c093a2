"""The rules that come with skills: which tools an active one may use, and which skills are asked about."""

import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loom_nb.capabilities.files.home_rule import touched
from loom_nb.capabilities.skills.places import Place
from loom_nb.events import SkillActivated
from loom_nb.protocols import Call, Layer, Verdict

WHENCE = {"project": "came with the project", "agent": "was written by an agent"}
"""Why skills of a place are asked about."""
OWN = ("list_skills", "activate_skill", "deactivate_skill", "read_skill_file")
"""They stay usable whatever a skill allows: else nothing could put it away."""
_SPARED = ("human", "plan", "scratchpad", "runtime")
"""So do the tools of these: they change nothing outside of the conversation."""

_CALLED = {
    "read": ("read_file", "read_notebook"),
    "write": ("write_file", "make_folder"),
    "edit": ("edit_file", "edit_notebook"),
    "multiedit": ("edit_file",),
    "notebookedit": ("edit_notebook", "edit_cell"),
    "grep": ("grep",),
    "glob": ("glob", "list_files", "tree"),
    "ls": ("list_files", "tree"),
    "bash": ("run_command", "start_command", "task_output", "stop_task", "list_tasks"),
    "shell": ("run_command", "start_command", "task_output", "stop_task", "list_tasks"),
    "python": ("run_python",),
    "webfetch": ("fetch", "fetch_page", "web_fetch"),
}
"""How others call tools: a skill that was written for another agent means these of ours."""
_COMMANDS = frozenset({"run_command", "start_command"})
_PATTERN = re.compile(r"([^()]+)(?:\(([^()]*)\))?")


@dataclass(frozen=True, slots=True)
class OnlyAllowedTools:
    """Denies a tool that an active skill does not allow. With several skills each of them must allow it."""

    name: str = "allowed tools of a skill"
    layer: Layer = "permission"
    decision: Literal["deny"] = "deny"

    def judge(self, call: Call) -> Verdict | None:
        """Deny what is not among the tools of every active skill that names some."""
        if call.name in OWN or call.provided_by in _SPARED:
            return None
        against = next((one for one in call.scene.skills if not allows(one, call)), None)
        if against is None:
            return None
        allowed = ", ".join(against.allowed_tools or ()) or "none"
        reason = (
            f"the active skill {against.name} allows only these tools: {allowed};"
            f" deactivate_skill('{against.name}') ends that"
        )
        return Verdict("deny", reason.replace("; ", ", "), self.name)

    def __str__(self) -> str:
        return "tools that an active skill does not name in its allowed_tools are denied"


@dataclass(frozen=True, slots=True)
class SkillsStayTheUsers:
    """Denies the tools for files the folders whose skills are trusted: no agent writes what it trusts.

    Commands and code may name them, for skills have scripts; what those do is judged as ever.
    """

    places: tuple[Place, ...]
    name: str = "skills of the user"
    layer: Layer = "veto"
    decision: Literal["deny"] = "deny"

    def judge(self, call: Call) -> Verdict | None:
        """Deny a call that changes such a folder, something in it, or one in which it lies."""
        roots = [str(one.path) for one in self.places if one.trusted or one.tier == "agent"]
        if touched(call, roots) is not None:
            return Verdict("deny", "agents change no skills that are trusted", self.name)
        return None

    def __str__(self) -> str:
        return "changes of skills that are trusted by the tools for files are denied"


def allows(skill: SkillActivated, call: Call) -> bool:
    """Whether a skill lets this call be made."""
    if skill.allowed_tools is None:
        return True
    return any(_fits(pattern, call) for pattern in skill.allowed_tools)


def _fits(pattern: str, call: Call) -> bool:
    found = _PATTERN.fullmatch(pattern)
    if found is None:
        return False
    name, inner = found[1], found[2]
    named = fnmatch.fnmatchcase(call.name, name) or call.name in _CALLED.get(name.casefold(), ())
    if not named or inner is None or inner.strip() in ("", "*"):
        return named
    if call.name not in _COMMANDS:
        return False  # what is meant by it for another tool is not known
    return _runs_only(str(call.arguments.get("command", "")), inner)


def _runs_only(command: str, pattern: str) -> bool:
    """Whether every program of a command begins with the words of a pattern such as `git diff:*`."""
    from loom_nb.capabilities.shell.syntax import glimpse, parse

    wanted = pattern.replace(":*", " ").replace("*", " ").split()
    tree = parse(command)
    seen = glimpse(tree)
    if tree.root_node.has_error or seen.constructs or seen.writes or seen.background or not wanted:
        return False
    return bool(seen.programs) and all(list(one[: len(wanted)]) == wanted for one in seen.programs)


_CHANGED = "the skill has changed since it was activated: activate_skill again"


def _is_as_activated(active: SkillActivated, call: Call) -> bool:
    """Whether what would be read is the very skill that was looked at, from the same place."""
    now = call.assessment
    if now is None or now.failure:
        return now is not None  # the tool tells why there is nothing to be read
    return now.seal == active.sha256 and now.paths == (str(Path(active.place, active.name)),)


@dataclass(frozen=True, slots=True)
class AskAboutSkills:
    """Asks before a skill is activated that agents wrote, that came with a project or that looks odd."""

    name: str = "skills"
    layer: Layer = "origin"
    decision: Literal["ask"] = "ask"

    def judge(self, call: Call) -> Verdict | None:
        """Ask by what the tool told of the skill; deny files of one that is not active, or another by now."""
        if call.provided_by != "skills":
            return None
        if call.name == "read_skill_file":
            wanted = str(call.arguments.get("name", ""))
            active = next((one for one in call.scene.skills if one.name == wanted), None)
            if active is None:
                told = f"the skill {wanted!r:.80} is not active: activate_skill comes first"
                return Verdict("deny", told, self.name)
            return None if _is_as_activated(active, call) else Verdict("deny", _CHANGED, self.name)
        if call.name != "activate_skill" or call.assessment is None or not call.assessment.reasons:
            return None
        reasons = [one.replace(";", ",") for one in call.assessment.reasons]
        plain = [whence for whence in WHENCE.values() if reasons[0].endswith(whence)]
        by = f"{self.name}: {plain[0]}" if plain else self.name  # a leave for one kind covers no other
        return Verdict("ask", "; ".join(reasons), by, each=len(reasons) > len(plain))

    def __str__(self) -> str:
        return "skills that agents wrote, came with a project or look suspicious are asked about"
