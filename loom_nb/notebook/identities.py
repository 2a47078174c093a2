"""The commands of `%loom identity`: what the agent is told of itself and of you, and who wrote it."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from loom_nb.capabilities.files.differences import difference
from loom_nb.capabilities.identity_files import FILES, TOLD, File, Files, Profile
from loom_nb.errors import LoomUsageError, ToolError
from loom_nb.notebook import cell as cells
from loom_nb.notebook.card import Card, Drawn, Table
from loom_nb.notebook.render.html_blocks import diff
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.wording import counted, moment

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench

T = TypeVar("T")
DIGITS = 8
"""Of the hash by which a content is confirmed: as many as a person copies."""


def identity(bench: "Workbench", words: list[str]) -> Card:
    """Carry out one line of `%loom identity`.

    Raises:
        LoomUsageError: there is no such word or file, or nothing to be done.
    """
    verb, *rest = words or [""]
    command = VERBS.get(verb)
    if command is None:
        raise LoomUsageError(
            f"%loom identity has no command '{verb}'",
            fixes=cells.suggestions(verb, filter(None, VERBS), "%loom identity {}", ("%loom identity",)),
        )
    return command(bench.equipment.identity_files(), rest)


def _all(files: Files, rest: list[str]) -> Card:
    _no_more(rest, "")
    profiles = files.profiles()
    rows = tuple((one.file, TOLD[one.file], side(one), size(one)) for one in profiles)
    steps: list[tuple[str, str]] = [
        (f"%loom identity diff {one.file}", "what the agent made of it, and how to confirm it")
        for one in profiles
        if one.waits
    ]
    if not any(one.is_there for one in profiles):
        steps.append((f"%%writefile {files.path('SOUL.md')}", "and below it how the agent is to behave"))
        steps.append(("%%loom -t identity", "lets the agent write them: you see each edit before it is made"))
    else:
        steps.append(("%loom identity edit SOUL.md", "where to edit one"))
    table = Table("each file, and how it travels", ("file", "what it is", "whose words", "size"), rows)
    facts = (("folder", str(files.folder)),)
    return Card("what the agent knows of itself and of you", facts, (table,), steps=tuple(steps))


def side(profile: Profile) -> str:
    """Whose words a file holds, and so how it travels."""
    if not profile.is_there:
        return profile.trouble or "not there"
    if profile.confirmed:
        return "yours: in the instructions"
    why = profile.trouble or "changed by the agent, not confirmed"
    before = "; your last version is in the instructions" if profile.words else ""
    return f"{why}: travels as data{before}"


def size(profile: Profile) -> str:
    """Of what stands in the file, in characters."""
    text = profile.words if profile.confirmed else profile.data
    return counted(len(text), "character") if profile.is_there else ""


def _show(files: Files, rest: list[str]) -> Card:
    profile = files.profile(_named(rest, "show"))
    if not profile.is_there:
        raise LoomUsageError(f"there is no {profile.file}", cause=profile.trouble or str(profile.path))
    text = profile.words if profile.confirmed else profile.data
    return Card(
        f"{profile.file}: {TOLD[profile.file]}", (("whose words", side(profile)),), text=visible(text)
    )


def _edit(files: Files, rest: list[str]) -> Card:
    profile = files.profile(_named(rest, "edit"))
    steps = (
        (f"%load {profile.path}", "puts its text into a cell"),
        (f"%%writefile {profile.path}", "writes what stands below it"),
    )
    note = "yours, as long as the agent has never edited it"
    if files.edits(profile.file):
        note = f"data until you confirm it: %loom identity diff {profile.file}"
    return Card(
        f"edit {profile.file}", (("file", str(profile.path)), ("what you write is", note)), steps=steps
    )


def _diff(files: Files, rest: list[str]) -> Card:
    chosen = [files.profile(_named(rest, "diff"))] if rest else [one for one in files.profiles() if one.waits]
    waiting = [one for one in chosen if one.waits]
    if not waiting:
        return Card("nothing waits for you: each file is as you wrote or confirmed it")
    drawn = tuple(_drawn(one) for one in waiting)
    steps: list[tuple[str, str]] = []
    for one in waiting:
        steps.append((f"%loom identity confirm {one.file} {one.sha256[:DIGITS]}", "makes this text yours"))
        if files.edits(one.file):
            steps.append((f"%loom identity undo {one.file}", "takes the agent's latest edit back"))
    return Card("from what was yours to what stands there now", drawn=drawn, steps=tuple(steps))


def _drawn(profile: Profile) -> Drawn:
    text = difference(profile.words, profile.data, profile.file, new=not profile.words)
    return Drawn(visible(text), diff(text))


def _undo(files: Files, rest: list[str]) -> Card:
    file = _named(rest, "undo")
    edit = _done(lambda: files.undo(file))
    text = difference(edit.after, edit.before or "", file)
    now = "gone, as it was before" if edit.before is None else side(files.profile(file))
    facts = (("edit", f"of {edit.run or 'a run'}, {moment(edit.at)}"), ("now", now))
    return Card(
        f"the agent's latest edit of {file} is undone", facts, drawn=(Drawn(visible(text), diff(text)),)
    )


def _confirm(files: Files, rest: list[str]) -> Card:
    if len(rest) != 2:
        raise LoomUsageError(
            "%loom identity confirm: say which file, and the digits that its difference shows",
            fixes=["%loom identity diff"],
        )
    file = _named(rest[:1], "confirm")
    _done(lambda: files.confirm(file, rest[1], now=time.time()))
    return Card(f"{file} is yours", (("from now on", side(files.profile(file))),))


def _done(act: Callable[[], T]) -> T:
    """What a file refuses, as an error of the line."""
    try:
        return act()
    except ToolError as error:
        raise LoomUsageError(error.title, cause=error.cause) from None


def _named(rest: list[str], verb: str) -> File:
    """The file that a line names; upper and lower case are one, and the ending may be left out."""
    word = rest[0] if rest else ""
    _no_more(rest[1:], verb)
    for file in FILES:
        if word.casefold() in (file.casefold(), file.casefold().removesuffix(".md")):
            return file
    raise LoomUsageError(
        f"%loom identity {verb}: {f'there is no file {word!r}' if word else 'which file?'}",
        fixes=[f"%loom identity {verb} {file}" for file in FILES],
    )


def _no_more(rest: list[str], verb: str) -> None:
    if rest:
        raise LoomUsageError(f"%loom identity {verb}: {rest[0]!r} is too much".replace("  ", " "))


VERBS: Mapping[str, Callable[[Files, list[str]], Card]] = {
    "": _all, "show": _show, "edit": _edit, "diff": _diff, "undo": _undo, "confirm": _confirm,
}  # fmt: skip
