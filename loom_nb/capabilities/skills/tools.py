"""The tools by which a model finds, loads and puts away skills."""

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any

from loom_nb.capabilities.skills.activating import MAX_ARGUMENTS, Ready, look_at, told
from loom_nb.capabilities.skills.choosing import best, line
from loom_nb.capabilities.skills.contents import HEAD, spelled
from loom_nb.capabilities.skills.seen import Seen
from loom_nb.capabilities.skills.shelf import Shelf, Skill
from loom_nb.errors import ToolError
from loom_nb.events import SkillActivated
from loom_nb.messages import Origin, TextPart
from loom_nb.protocols import current_call
from loom_nb.tools import Assessment, Effect, Tool, tool

MAX_LISTED = 50
_READS: frozenset[Effect] = frozenset({"reads"})


@dataclass(frozen=True, slots=True)
class Finding:
    """The tools over a shelf.

    Args:
        shelf: the skills.
        seen: what was used before.
    """

    shelf: Shelf
    seen: Seen
    looked: dict[str, str] = field(default_factory=dict)
    """The hash of each skill as it was last activated, or first read: nothing else is given."""

    def tools(self) -> tuple[Tool, ...]:
        """As the capability brings them."""
        looks: Any = tool(read_only=True, max_chars=60_000)
        acts: Any = tool(read_only=True, parallel=False, max_chars=60_000)
        return (
            looks(self.list_skills),
            dataclasses.replace(acts(self.activate_skill), assess=self.assess, idempotent=False),
            acts(self.deactivate_skill),
            dataclasses.replace(looks(self.read_skill_file), assess=self.assess_reading),
        )

    def list_skills(self, query: str = "", limit: int = 20) -> list[TextPart]:
        """Find skills (written procedures for kinds of tasks) by words; without words lists the first ones.

        Args:
            query: what the task is about.
            limit: how many at most, 1 to 50.
        """
        skills = self.shelf.usable()
        limit = min(max(limit, 1), MAX_LISTED)
        found = best(skills, query, limit) if query.strip() else list(skills[:limit])
        more = len(skills) - len(found)
        rows = [f"{line(one)} ({one.place.words})" for one in found] or ["no skill fits these words"]
        rows += [f"{more:,} more skills: other words find others"] if more else []
        return [TextPart("\n".join(rows), Origin("skill", "list"))]

    def activate_skill(self, name: str, arguments: str = "") -> list[TextPart]:
        """Load a skill: a procedure, given as data. Follow it as far as it serves what the user asked for.

        Args:
            name: as listed.
            arguments: what it is to be applied to, as plain text.
        """
        if len(arguments) > MAX_ARGUMENTS:
            raise ToolError(f"arguments has {len(arguments):,} characters, {MAX_ARGUMENTS:,} are the limit")
        ready = self._ready(name)
        context = current_call.get()
        if self.looked.get(name, ready.opened.sha256) != ready.opened.sha256:
            raise ToolError(f"the skill {name} changed just now", fixes=["activate_skill again"])
        approved = context is not None and bool(context.approved)
        if approved or not ready.news:
            self.seen.keep(ready.opened, approved=approved, now=time.time())
        if context is not None:
            context.say(activated(ready, context.call_id))
        return [TextPart(told(ready, arguments), origin_of(ready.opened.skill))]

    def deactivate_skill(self, name: str) -> str:
        """Put an active skill away: its limits on tools end. The end of the task does so too.

        Args:
            name: of the skill.
        """
        context = current_call.get()
        if context is not None:
            context.say(SkillActivated(name, call_id=context.call_id, active=False))
        return f"{name} is not active any more"

    def read_skill_file(self, name: str, path: str = HEAD, start: int = 0) -> list[TextPart]:
        """Read a file of an active skill.

        Args:
            name: of the skill.
            path: of the file, as the skill lists it.
            start: the first character, counted from 0.
        """
        opened = self.shelf.open(self.shelf.get(name))
        if self.looked.get(name, opened.sha256) != opened.sha256:
            raise ToolError(f"the skill {name} changed just now", fixes=["activate_skill again"])
        text = dict(opened.texts).get(spelled(path))
        if text is None:
            raise ToolError(f"the skill {name} has no readable file {path!r:.120}")
        part = text[max(start, 0) : max(start, 0) + 40_000]
        left = len(text) - max(start, 0) - len(part)
        more = f"\n[… {left:,} more characters: start={max(start, 0) + len(part)}]" if left > 0 else ""
        return [TextPart(f"{path}\n\n{part}{more}", origin_of(opened.skill))]

    def assess(self, name: str, arguments: str = "") -> Assessment:
        """What activating it comes to: who wrote it, and what the guard finds."""
        del arguments
        try:
            ready = self._ready(name)
        except ToolError as error:
            return Assessment(_READS, failure=error.title)
        sha256 = self.looked[name] = ready.opened.sha256
        doubts = ready.doubts
        return Assessment(
            _READS,
            reasons=doubts,
            refusal=f"the skill {name} is refused: {ready.report.worst}"
            if ready.report.verdict == "block"
            else "",
            preview=ready.opened.text if doubts else "",
            paths=(str(ready.opened.skill.folder),),
            binds=sha256,
            seal=sha256,
        )

    def assess_reading(self, name: str, path: str = HEAD, start: int = 0) -> Assessment:
        """Which skill it is that would be read, as it is now: the rule knows which one was activated."""
        del path, start
        try:
            opened = self.shelf.open(self.shelf.get(name))
        except ToolError as error:
            return Assessment(_READS, failure=error.title)
        self.looked.setdefault(name, opened.sha256)  # another reading may be under way
        return Assessment(_READS, paths=(str(opened.skill.folder),), seal=opened.sha256)

    def _ready(self, name: str) -> Ready:
        opened = self.shelf.open(self.shelf.get(name))
        news, approved = self.seen.doubt(opened), self.seen.approved(opened)
        return dataclasses.replace(look_at(opened), news=news, approved=approved)


def origin_of(skill: Skill) -> Origin:
    """Where the text of a skill comes from, as the model and the judge are told."""
    return Origin("skill", f"{skill.tier}/{skill.name}")


def activated(ready: Ready, call_id: str) -> SkillActivated:
    """The fact that a skill is active from now on."""
    skill, matter = ready.opened.skill, ready.opened.matter
    return SkillActivated(
        skill.name,
        skill.tier,
        str(skill.place.path),
        ready.opened.sha256,
        matter.allowed_tools,
        call_id,
        findings=tuple(str(one) for one in ready.report.findings if one.severity != "info"),
    )
