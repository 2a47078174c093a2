"""Skills as cards: which there are, how far each is trusted, and what the guard says of one.

Pure functions from facts to cards. What a skill says of itself is shown as text, with nothing in it unseen.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from loom_nb.capabilities.skills.guard import Report
from loom_nb.capabilities.skills.places import Place
from loom_nb.capabilities.skills.shelf import Opened, Skill
from loom_nb.notebook.card import Card, Table
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.wording import counted, one_line

SHOWN = 100
"""Rows of a listing."""
_SAYS = {"pass": "nothing found", "ask": "you are asked", "block": "refused"}


def list_card(
    skills: Sequence[Skill],
    places: Sequence[Place],
    reports: Mapping[str, Report],
    active: Collection[str] = (),
    words: str = "",
    here: Path | None = None,
) -> Card:
    """The skills of all places, those that count first.

    Args:
        skills: with those that are shadowed or damaged.
        places: where was looked.
        reports: what the guard says, by folder, of those that it looked at.
        active: the names of those that are active now, or were in the last run.
        words: what was searched for.
        here: the working folder: what lies in it is told from there, so that a shared card names no machine.
    """
    ordered = sorted(skills, key=lambda one: (not one.usable, bool(one.shadowed_by), one.name))
    rows = tuple(_row(one, reports.get(str(one.folder)), active) for one in ordered[:SHOWN])
    table = Table(
        "those that count first",
        ("name", "trust", "state", "guard", "what it is for"),
        rows,
    )
    usable = sum(one.usable for one in skills)
    facts = [
        ("looked in", f"{_where(place.path, place, here)} ({place.words})")
        for place in places
        if place.path.is_dir()
    ]
    if words:
        facts.insert(0, ("with the words", visible(words)))
    if len(skills) > SHOWN:
        facts.append(("shown", f"{SHOWN} of {len(skills):,}"))
    steps = (
        ("%%loom -t skills", "offers them to the agent"),
        ("%loom skills show NAME", "its text, its files, what the guard finds"),
        ("%loom skills check PATH", "what the guard says of a skill before you install it"),
        ("%loom skills undo", "takes back the last change that an agent made here"),
    )
    return Card(
        f"{counted(usable, 'skill')} can be used here", tuple(facts), (table,) if rows else (), steps=steps
    )


def _where(path: Path, place: Place, here: Path | None) -> str:
    """A folder for a reader: from the working folder, or from that of the package, where it lies in one."""
    root = place.path.parent.parent if place.tier == "builtin" else here
    told = path.relative_to(root).as_posix() if root is not None and path.is_relative_to(root) else str(path)
    return visible(told)


def _row(skill: Skill, report: Report | None, active: Collection[str]) -> tuple[str, ...]:
    if skill.matter is None:
        state = f"damaged: {skill.problem}"
    elif skill.shadowed_by:
        state = f"shadowed by the one in {skill.shadowed_by}"
    elif report is not None and report.verdict == "block":
        state = "refused"
    else:
        state = "active" if skill.name in active else "ready" if skill.place.trusted else "asked about first"
    guard = guard_words(report) if report is not None else "not looked at" if skill.matter is not None else ""
    told = one_line(visible(skill.description), 160)
    return (visible(skill.name), skill.tier, visible(state), guard, told)


def guard_words(report: Report) -> str:
    """The verdict in a few words: `you are asked: 2 findings`."""
    found = len(report.asked)
    return _SAYS[report.verdict] + (f": {counted(found, 'finding')}" if found else "")


def show_card(opened: Opened, report: Report, *, active: bool = False, here: Path | None = None) -> Card:
    """One skill, whole; `here` is the working folder."""
    skill, matter = opened.skill, opened.matter
    allowed = matter.allowed_tools
    facts = [
        ("trust", f"{skill.tier}: {skill.place.words}"),
        ("what it is for", visible(matter.description)),
        ("folder", _where(skill.folder, skill.place, here)),
        ("tools", "all that the agent has" if allowed is None else visible(", ".join(allowed)) or "none"),
        ("guard", guard_words(report)),
    ]
    facts += [
        (name, visible(value))
        for name, value in (("version", matter.version), ("license", matter.license))
        if value
    ]
    facts += [(visible(name), visible(value)) for name, value in matter.metadata.items()]
    if active:
        facts.insert(0, ("state", "active in the run that goes on"))
    tables = [_findings(report)] if report.findings else []
    if opened.files:
        tables.append(Table("files", (), tuple((visible(name),) for name in opened.files)))
    return Card(
        f"skill {skill.name}", tuple(facts), tuple(tables), visible(opened.text.strip()), folded="SKILL.md"
    )


def check_card(name: str, report: Report, files: int) -> Card:
    """What the guard says of a folder or a file."""
    verdict = {
        "pass": "nothing speaks against it; what it has done is judged all the same",
        "ask": "look at it before you install it: you would be asked before it is activated",
        "block": "it would be refused, whoever allows it",
    }[report.verdict]
    facts = (("verdict", verdict), ("looked at", counted(files, "file")))
    return Card(f"guard: {visible(name)}", facts, (_findings(report),) if report.findings else ())


def _findings(report: Report) -> Table:
    rows = tuple(
        (
            one.severity,
            f"{visible(one.file)}:{one.line}",
            visible(one.reason),
            one_line(visible(one.quote), 100),
        )
        for one in report.findings
    )
    return Table(
        "findings, the worst first", ("severity", "where", "what", "words"), rows, only_html=frozenset({3})
    )
