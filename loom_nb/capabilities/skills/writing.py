"""Skills that an agent writes for itself: in one folder, each change shown and asked about, and undoable.

What is written lies in the place of the agent's tier, so that it is never trusted more than an agent is.
The guard reads a skill as it would be before anything is written.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from loom_nb.capabilities.files import moving, rewriting, undoing
from loom_nb.capabilities.files.folder import Folder
from loom_nb.capabilities.files.guards import TRASH, folded
from loom_nb.capabilities.files.history import History, Moved, Wrote
from loom_nb.capabilities.files.paths import Refused, amount
from loom_nb.capabilities.files.plans import WORST
from loom_nb.capabilities.skills.contents import HEAD, spelled
from loom_nb.capabilities.skills.front_matter import is_name, parse
from loom_nb.capabilities.skills.guard import Report, check
from loom_nb.capabilities.skills.places import Place
from loom_nb.capabilities.skills.shelf import Shelf, Skill, known_here, read_skill
from loom_nb.errors import ToolError
from loom_nb.events import SkillChanged
from loom_nb.protocols import current_call
from loom_nb.tools import Assessment, Tool, tool

MAX_SKILLS = 200
"""Skills that agents may have."""
MAX_FILES = 50
"""Files of one of them."""
MAX_TEXT = 64 * 1024
"""Bytes of one file."""
MAX_TOGETHER = 512 * 1024
"""Bytes of all files of one skill."""

MAX_DELETED = 100
"""Deletions that are kept: more than can be undone."""

Action: TypeAlias = Literal["create", "edit", "patch", "delete", "write_file", "remove_file", "undo"]
Done: TypeAlias = Literal["created", "changed", "deleted", "undone"]
_DONE: dict[Action, Done] = {"create": "created", "delete": "deleted", "undo": "undone"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done to a skill."""

    action: Action
    name: str = ""
    content: str = ""
    path: str = ""
    old_text: str = ""
    new_text: str = ""

    @property
    def file(self) -> str:
        """The file it is about, from the folder of the skill, in its one spelling."""
        return spelled(self.path) or HEAD


@dataclass(frozen=True, slots=True)
class Ready:
    """A change that could be made, and what the guard says of the skill as it would be."""

    plan: Any
    report: Report
    words: str = ""


class Desk:
    """The folder of the skills that agents wrote, with what was changed there in this process.

    Args:
        root: the folder; it is made when something is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.history = History()

    @contextmanager
    def planned(self, wish: Wish) -> Iterator[tuple[Folder, Ready]]:
        """The change as it would be made. Nothing but the folder itself comes into being.

        Raises:
            ToolError: it cannot be made as things are.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Folder(str(self.root))
        try:
            with self._plan(folder, wish) as ready:
                yield folder, ready
        finally:
            folder.close()

    def carry_out(self, wish: Wish) -> tuple[str, str]:
        """Make the change; gives what was done in words, and the skill it was done to.

        Raises:
            ToolError: it cannot be made, or the guard refuses it; then nothing has changed.
        """
        with self.history.lock, self.planned(wish) as (folder, ready):
            if ready.report.verdict == "block":
                raise Refused(refused(wish.name, ready.report))
            name = wish.name or _skill_of(self.history)
            told: str = ready.plan.carry_out(folder, self.history)
            if wish.action in ("delete", "remove_file"):
                thin_out(self.root / TRASH)
        return told.replace("undo_change brings it back", "the action undo brings it back"), name

    @contextmanager
    def _plan(self, folder: Folder, wish: Wish) -> Iterator[Ready]:
        if wish.action == "undo":
            with undoing.undoing(folder, self.history) as plan:
                yield Ready(plan, Report(()))
            return
        _check_wish(wish)
        there = (self.root / wish.name / HEAD).exists()
        if wish.action == "create" and there:
            raise ToolError(f"there is a skill {wish.name} already", fixes=["edit or patch changes it"])
        if wish.action not in ("create", "delete") and not there:
            raise ToolError(f"no agent has written a skill {wish.name}", fixes=["create makes one"])
        path = f"{wish.name}/{wish.file}"
        if wish.action in ("delete", "remove_file"):
            with moving.deleting(folder, wish.name if wish.action == "delete" else path) as plan:
                yield Ready(plan, Report(()))
            return
        with self._written(folder, wish, path) as rewrite:
            yield Ready(rewrite, self._looked_at(wish, rewrite.after))

    def _written(self, folder: Folder, wish: Wish, path: str) -> Any:
        if wish.action == "patch":
            return rewriting.editing(folder, path, wish.old_text, wish.new_text, replace_all=False)
        return rewriting.writing(folder, path, wish.content)

    def _looked_at(self, wish: Wish, after: bytes) -> Report:
        """What the guard says of the skill with this file. Raises ToolError where it would be none."""
        text = after.decode()
        if len(after) > MAX_TEXT:
            raise ToolError(
                f"a file of a skill has at most {amount(MAX_TEXT)}, this one {amount(len(after))}"
            )
        if wish.file == HEAD:
            parse(text, wish.name)
        texts = self._texts(wish.name)
        texts[wish.file] = text
        if len(texts) > MAX_FILES:
            raise ToolError(f"a skill has at most {MAX_FILES} files")
        if sum(len(one.encode()) for one in texts.values()) > MAX_TOGETHER:
            raise ToolError(f"all files of a skill have at most {amount(MAX_TOGETHER)}")
        if wish.action == "create":
            skills = [one for one in Shelf([Place(self.root, "agent")]).all() if not one.problem]
            if len(skills) >= MAX_SKILLS:
                raise ToolError(f"agents have written {len(skills)} skills, more are not kept")
        return check(tuple(texts.items()))

    def _texts(self, name: str) -> dict[str, str]:
        matter, _, _ = known_here().look(str(self.root / name), name)
        if matter is None:
            return {}
        return dict(read_skill(Skill(name, Place(self.root, "agent"), matter)).texts)


def thin_out(trash: Path) -> None:
    """Drop for good what was deleted before the last `MAX_DELETED` deletions: nobody else does."""
    if trash.is_symlink():
        return
    with suppress(OSError), os.scandir(trash) as entries:
        boxes = sorted(one.name for one in entries if one.is_dir(follow_symlinks=False))  # by their time
        for box in boxes[:-MAX_DELETED]:
            shutil.rmtree(trash / box, ignore_errors=True)


@cache
def desk_at(root: Path) -> Desk:
    """One for each folder in this process: what one session wrote, `%loom skills undo` takes back."""
    return Desk(root)


def _check_wish(wish: Wish) -> None:
    if not is_name(wish.name):
        raise ToolError(f"{wish.name!r:.80} is no name for a skill: 1 to 64 of a-z, 0-9 and single hyphens")
    if wish.action in ("write_file", "remove_file") or (wish.action == "patch" and wish.file != HEAD):
        parts = wish.file.split("/")
        if not wish.path or folded(wish.file) == folded(HEAD):
            raise ToolError("path names a file beside SKILL.md, which edit and patch change")
        if wish.path.startswith("/") or len(parts) > 4 or any(part.startswith(".") for part in parts):
            raise ToolError("path is relative and has one to four names, none of which begins with a dot")
    elif wish.path and wish.action != "patch":
        raise ToolError(f"path: {wish.action} is about the whole skill")


def _skill_of(history: History) -> str:
    """The skill of the newest change."""
    last = history.last
    if last is None:
        return ""
    change = last[1]
    parts = (
        change.parts
        if isinstance(change, Wrote)
        else change.source
        if isinstance(change, Moved)
        else change.made[0]
    )
    return parts[0]


def refused(name: str, report: Report) -> str:
    """Why a skill is not written."""
    return f"the skill {name} is refused: {report.worst}"


@dataclass(frozen=True, slots=True)
class Writing:
    """The tool by which an agent keeps skills of its own."""

    desk: Desk

    def tools(self) -> tuple[Tool, ...]:
        """As the capability brings it."""
        made: Callable[[Callable[..., Any]], Tool] = tool(effects=WORST, parallel=False, timeout=60.0)
        return (dataclasses.replace(made(self.skill_manage), undoable=True, assess=self.assess),)

    def skill_manage(
        self,
        action: Action,
        name: str = "",
        content: str = "",
        path: str = "",
        old_text: str = "",
        new_text: str = "",
    ) -> str:
        """Keep a skill of your own: a procedure worth having again. The user is asked about each change.

        Args:
            action: create or edit (the whole SKILL.md), patch (exchange a piece of it, or of the file path),
                delete (the skill), write_file or remove_file (another file), undo (the last change).
            name: of the skill: small letters, digits and hyphens.
            content: for create, edit and write_file; a SKILL.md begins with front matter (name,
                description).
            path: of a file within the skill, such as references/table.md.
            old_text: for patch: the piece, to the letter; it must stand there once.
            new_text: for patch: what takes its place.
        """
        wish = Wish(action, name, content, path, old_text, new_text)
        told, skill = self.desk.carry_out(wish)
        context = current_call.get()
        if context is not None:
            change = _DONE.get(action, "changed")
            file = wish.file if path and action != "undo" else ""
            context.say(SkillChanged(skill, change, file, told, context.call_id))
        return told

    def assess(self, action: Action, **given: str) -> Assessment:
        """What a change would do, with the difference it makes and what the guard says of it."""
        wish = Wish(action, **given)
        try:
            with self.desk.planned(wish) as (folder, ready):
                told: Assessment = ready.plan.told(folder)
        except Refused as error:
            return Assessment(WORST, refusal=error.title)
        except (ToolError, OSError) as error:
            title = error.title if isinstance(error, ToolError) else str(error)
            return Assessment(WORST, reasons=(f"would fail as things are: {title}",), failure=title)
        blocked = refused(wish.name, ready.report) if ready.report.verdict == "block" else ""
        found = [str(one) for one in ready.report.asked]
        reasons = (*told.reasons, "agents obey skills, also in later sessions", *found)
        return dataclasses.replace(told, effects=WORST, reasons=reasons, refusal=blocked)
