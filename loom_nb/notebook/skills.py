"""`%loom skills`: which skills there are, what one says, what the guard finds, and one step back."""

from pathlib import Path
from typing import TYPE_CHECKING

from loom_nb.errors import LoomUsageError, ToolError
from loom_nb.notebook import cell as cells
from loom_nb.notebook.card import Card

if TYPE_CHECKING:
    from loom_nb.capabilities.skills.guard import Report
    from loom_nb.capabilities.skills.places import Place
    from loom_nb.capabilities.skills.shelf import Shelf
    from loom_nb.notebook.workbench import Workbench

VERBS = ("", "show", "check", "undo", "find")
MOST_CHECKED = 200
"""Skills of a listing that the guard looks at."""
MOST_READ = 300_000
"""Characters of all of them: some seconds."""


def skills(bench: "Workbench", words: list[str]) -> Card:
    """The skills of this notebook; `show NAME`, `check PATH`, `find WORDS` and `undo`.

    Raises:
        LoomUsageError: there is no such skill, path or word, or nothing to take back.
    """
    verb, *rest = words or [""]
    if verb in ("show", "check", "find") and not rest:
        what = {"show": "NAME", "check": "PATH", "find": "WORDS"}[verb]
        raise LoomUsageError(
            f"%loom skills {verb} takes a {what.lower()}", fixes=[f"%loom skills {verb} {what}"]
        )
    match verb:
        case "":
            return _listed(bench)
        case "find":
            return _listed(bench, " ".join(rest))
        case "show":
            return _shown(bench, rest)
        case "check":
            return _checked(" ".join(rest))
        case "undo" if not rest:
            return _undone(bench)
        case _:
            names = [one.name for one in shelf_of(bench).usable()]
            raise LoomUsageError(
                f"%loom skills has no {verb!r}" if verb != "undo" else "%loom skills undo takes nothing else",
                fixes=[
                    *(f"%loom skills {one}" for one in cells.near(verb, VERBS[1:])),
                    *(f"%loom skills show {one}" for one in cells.near(verb, names)),
                ]
                or ["%loom skills"],
            )


def places_of(bench: "Workbench") -> "tuple[Place, ...]":
    """Where this notebook looks for skills."""
    from loom_nb.capabilities.skills.places import usual_places

    return usual_places(bench.settings.home, Path.cwd())


def shelf_of(bench: "Workbench") -> "Shelf":
    """The skills of this notebook."""
    from loom_nb.capabilities.skills.shelf import Shelf

    return Shelf(places_of(bench))


def active_in(bench: "Workbench") -> list[str]:
    """The skills that are active in the open conversation."""
    return [one.name for one in bench.session.view.skills] if bench.session is not None else []


def _listed(bench: "Workbench", words: str = "") -> Card:
    from loom_nb.capabilities.skills.activating import look_at
    from loom_nb.capabilities.skills.choosing import best
    from loom_nb.notebook.skill_cards import list_card

    shelf = shelf_of(bench)
    found = list(shelf.all())
    if words:
        found = best([one for one in found if one.matter is not None], words, MOST_CHECKED)
    reports: dict[str, Report] = {}
    left = MOST_READ
    for one in [one for one in found if one.matter is not None][:MOST_CHECKED]:
        try:
            opened = shelf.open(one)
        except ToolError:
            continue  # it is gone meanwhile
        size = sum(len(text) for _, text in opened.texts) if one.tier != "builtin" else 0
        if size <= left:
            left -= size
            reports[str(one.folder)] = look_at(opened).report
    return list_card(found, shelf.places, reports, active_in(bench), words, Path.cwd())


def _shown(bench: "Workbench", rest: list[str]) -> Card:
    from loom_nb.capabilities.skills.activating import look_at
    from loom_nb.notebook.skill_cards import show_card

    shelf = shelf_of(bench)
    try:
        ready = look_at(shelf.open(shelf.get(rest[0])))
    except ToolError as error:
        near = cells.near(rest[0], [one.name for one in shelf.usable()])
        raise LoomUsageError(
            error.title, fixes=[f"%loom skills show {one}" for one in near] or ["%loom skills"]
        ) from None
    return show_card(ready.opened, ready.report, active=rest[0] in active_in(bench), here=Path.cwd())


def _checked(path: str) -> Card:
    from loom_nb.capabilities.skills.contents import HEAD, contents, only
    from loom_nb.capabilities.skills.guard import check
    from loom_nb.capabilities.skills.shelf import read_resource
    from loom_nb.notebook.skill_cards import check_card

    target = Path(path).expanduser()
    if not target.exists():
        raise LoomUsageError(f"there is no {path!r}", fixes=["%loom skills check FOLDER"])
    root = target if target.is_dir() else target.parent
    head = read_resource(root, HEAD if target.is_dir() else target.name)
    if target.is_dir() and head is None:
        raise LoomUsageError(f"{path!r} has no {HEAD}", fixes=["%loom skills check FOLDER_OF_ONE_SKILL"])
    try:
        beside = contents(root, head or "") if target.is_dir() else only(root, target.name)
    except OSError as error:
        raise LoomUsageError(f"{path!r} cannot be read", cause=error.strerror or str(error)) from None
    texts = [(HEAD, head), *beside.texts] if target.is_dir() and head is not None else list(beside.texts)
    return check_card(target.name, check(texts, beside.unread), len(texts))


def _undone(bench: "Workbench") -> Card:
    from loom_nb.capabilities.skills.places import agent_folder
    from loom_nb.capabilities.skills.writing import Wish, desk_at

    try:
        told, _ = desk_at(agent_folder(bench.settings.home)).carry_out(Wish("undo"))
    except ToolError as error:
        raise LoomUsageError(error.title, cause=error.cause, fixes=["%loom skills"]) from None
    return Card(told, steps=(("%loom skills", "which there are now"),))
