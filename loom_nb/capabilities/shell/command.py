"""Whether a shell command provably does nothing but read inside of one folder, and if not, why not.

Fail-closed: a command counts as a read only if every program, option and operand of it is on an allow-list,
and two parsers agree on how it is put together. Everything else is not forbidden but asked for, with the
reasons on the card. What holds is bound to what `assess_command` was told: the child must start in `cwd`
with PWD unset or equal to it, with `QUIET_ENVIRONMENT` and no other variables that steer programs, and
without a terminal. Between the look and the run a file may be exchanged for a link; only the sandbox
prevents that.
"""

import dataclasses
import os
import re
import typing
from collections.abc import Callable, Iterator, Sequence

from loom_nb.capabilities.shell.dangers import Danger, dangers, known_program
from loom_nb.capabilities.shell.git import QUIET_ENVIRONMENT, judge_git
from loom_nb.capabilities.shell.ground import Ground
from loom_nb.capabilities.shell.options import understand
from loom_nb.capabilities.shell.programs import GRAMMARS, UNABLE_TO_WRITE, VERSIONS
from loom_nb.capabilities.shell.scripts import JUDGES
from loom_nb.capabilities.shell.syntax import Glimpse, agree, glimpse, parse
from loom_nb.capabilities.shell.words import (
    Pipeline,
    Redirection,
    Unsure,
    Word,
    cut,
    pipelines,
    strange_characters,
)

if typing.TYPE_CHECKING:
    from tree_sitter import Tree

__all__ = ["QUIET_ENVIRONMENT", "CommandAssessment", "assess_command"]

MAX_REASONS = 12
_MAX_FOLDERS = 8
_SYSTEM_PROGRAM = re.compile(r"(?:/usr)?/bin/([A-Za-z0-9_\[-]+)")
_DURATION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?[smhd]?")


@dataclasses.dataclass(frozen=True)
class CommandAssessment:
    """What is known of a command before it runs."""

    reads: bool
    """It provably only reads, and only in the root, its own input and what the machine tells everybody."""
    reasons: tuple[str, ...] = ()
    """Why not, in words, each with its culprit. Empty exactly if it reads."""
    destructive: bool = False
    """It loses something, or runs what nobody can vouch for."""
    network: bool = False
    """It talks to other machines, or runs what nobody can vouch for."""
    paths: tuple[str, ...] = ()
    """The paths it names, absolute, links resolved."""
    error: str = ""
    """Not empty if it is no complete shell command."""


def assess_command(
    command: str,
    *,
    root: str,
    cwd: str,
    home: str | None = None,
    resolve: Callable[[str], str] | None = None,
) -> CommandAssessment:
    """Judge a command that would be handed to a shell in the folder `cwd`.

    Args:
        command: The text as the shell would get it.
        root: The folder that may be read.
        cwd: The working folder at the start.
        home: What `~` stands for; just to name paths, a command with `~` always asks.
        resolve: Follows links of an absolute path; os.path.realpath by default.

    Never raises; whatever cannot be told counts as the worst.
    """
    follow = resolve or os.path.realpath
    if strange := strange_characters(command):
        broken = (
            "a command cannot be this" if any("\ud800" <= c <= "\udfff" or c == "\0" for c in command) else ""
        )
        return CommandAssessment(False, (f"obfuscation: it {strange}",), True, True, (), broken and strange)
    ground = Ground(follow(root), frozenset((follow(cwd),)), follow)
    findings: list[Danger] = []
    tree = parse(command)
    try:
        if not all(ground.holds(folder) for folder in ground.folders):
            raise Unsure(f"starts outside of the folder: {cwd}")
        pieces = cut(command)
        agree(command, tree, pieces)
        judged = pipelines(pieces)
        if not judged:
            raise Unsure("is empty")
        findings += _of_list(judged, ground)
    except Unsure as unsure:
        findings.append(_misunderstood(unsure, tree))
    if not findings:
        return CommandAssessment(True, paths=tuple(ground.seen))
    seen = glimpse(tree)
    findings = [*dangers(command, seen), *findings]
    for path in _named_paths(seen, ground, home):
        if path not in ground.seen:
            ground.seen.append(path)
    return CommandAssessment(
        reads=False,
        reasons=_reasons(findings),
        destructive=any(finding.destructive for finding in findings),
        network=any(finding.network for finding in findings),
        paths=tuple(ground.seen),
        error="is not a complete shell command" if tree.root_node.has_error else "",
    )


def _reasons(findings: Sequence[Danger]) -> tuple[str, ...]:
    reasons = tuple(dict.fromkeys(finding.reason for finding in findings if finding.reason))
    return reasons[:MAX_REASONS] or ("is not known to only read",)


def _misunderstood(unsure: Unsure, tree: "Tree") -> Danger:
    """A command that was not taken apart may do anything, unless all it runs is unable to write."""
    seen = glimpse(tree)
    programs = [words[0] if words else "" for words in seen.programs]
    harmless = not tree.root_node.has_error and bool(programs) and set(programs) <= UNABLE_TO_WRITE
    # The tree names what stands in it better than the place where the cutting stopped.
    return Danger("" if seen.constructs else unsure.reason, not harmless, not harmless)


def _danger(unsure: Unsure, program: str) -> Danger:
    worst = unsure.unknown and program not in UNABLE_TO_WRITE
    return Danger(unsure.reason, worst or unsure.destructive, worst)


# --- lists of pipelines, and where they run -------------------------------------------------------


def _of_list(found: Sequence[Pipeline], ground: Ground) -> Iterator[Danger]:
    """Follow `cd` through &&, || and ;: each part is judged in every folder in which it may run."""
    after_success = after_failure = ground.folders
    for pipeline in found:
        match pipeline.joined_by:
            case "&&":
                here = ground.at(after_success)
            case "||":
                here = ground.at(after_failure)
            case _:
                here = ground.at(after_success | after_failure)
        succeeded = failed = here.folders
        if pipeline.commands[0].words[0].text == "cd":
            try:
                succeeded = _after_cd(pipeline, here)
            except Unsure as unsure:
                yield _danger(unsure, "cd")
        else:
            yield from _of_pipeline(pipeline, here)
        match pipeline.joined_by:
            case "&&":
                after_success, after_failure = succeeded, after_failure | failed
            case "||":
                after_success, after_failure = after_success | succeeded, failed
            case _:
                after_success, after_failure = succeeded, failed
        if len(after_success | after_failure) > _MAX_FOLDERS:
            yield Danger("changes its folder too often to follow")
            return


def _after_cd(pipeline: Pipeline, ground: Ground) -> frozenset[str]:
    """Where a plain `cd folder` leads. Not with `..`, which a shell takes off the path that it remembers."""
    (command, *others) = pipeline.commands
    words = [word for word in command.words[1:] if word.text != "--"]
    if others or pipeline.negated or command.redirections or len(words) != 1:
        raise Unsure("changes its folder in a way that is not followed (cd)")
    target = words[0]
    if target.is_glob or target.text.startswith("-") or not target.text or ".." in target.text.split("/"):
        raise Unsure(f"changes its folder in a way that is not followed: cd {target.raw}")
    return frozenset(ground.check(target.text, content=False))


def _of_pipeline(pipeline: Pipeline, ground: Ground) -> Iterator[Danger]:
    for command in pipeline.commands:
        try:
            for redirection in command.redirections:
                _check_redirection(redirection, ground)
            _check_program(command.words, ground)
        except Unsure as unsure:
            yield _danger(unsure, command.words[0].text)


def _check_redirection(redirection: Redirection, ground: Ground) -> None:
    stream, operator, target = redirection.stream, redirection.operator, redirection.target
    if stream not in ("", "0", "1", "2"):
        raise Unsure(f"redirects stream {stream}")
    match operator:
        case ">" | ">>" if target.raw == "/dev/null" and stream != "0":
            return
        case ">&" if target.raw in ("1", "2") and stream in ("", "1", "2"):
            return
        case "<" if stream in ("", "0") and not target.is_glob:
            ground.check(target.text)
        case _:
            raise Unsure("" if operator in (">", ">>") else f"redirects {operator}{target.raw}")


# --- programs -------------------------------------------------------------------------------------


def _check_program(words: Sequence[Word], ground: Ground) -> None:
    name, arguments = words[0], list(words[1:])
    program = name.text
    if not name.is_bare or (name.is_glob and program != "["):
        raise Unsure(f"obfuscation: the program's name is quoted or a pattern: {name.raw}", unknown=True)
    if system := _SYSTEM_PROGRAM.fullmatch(program):
        program = system[1]
    if len(arguments) == 1 and arguments[0].raw in VERSIONS.get(program, ()):
        return
    if program in ("time", "nice", "timeout"):
        _check_program(_unwrapped(program, arguments), ground)
    elif program == "command" and arguments and arguments[0].text in ("-v", "-V"):
        understand(program, GRAMMARS["which"], arguments[1:], ground)
    elif program == "git":
        judge_git(arguments, ground)
    elif program in JUDGES:
        JUDGES[program](arguments, ground)
    elif program in GRAMMARS:
        understand(program, GRAMMARS[program], arguments, ground)
    elif known_program(program):
        raise Unsure("")  # the card's sentence on it comes from dangers()
    else:
        raise Unsure(f"runs the unknown program {program}", unknown=True)


def _unwrapped(program: str, arguments: list[Word]) -> list[Word]:
    """What stands behind time, nice or timeout; `cd` and the like mean something else there."""
    rest = arguments
    if program == "time" and rest and rest[0].text == "-p":
        rest = rest[1:]
    elif (
        program == "nice"
        and len(rest) >= 2
        and rest[0].text == "-n"
        and re.fullmatch("[0-9]{1,2}", rest[1].text)
    ):
        rest = rest[2:]
    elif program == "timeout":
        if not rest or not _DURATION.fullmatch(rest[0].text):
            raise Unsure("gives timeout something other than a time")
        rest = rest[1:]
    if not rest or rest[0].text.startswith("-") or rest[0].text in ("time", "nice", "timeout", "!"):
        raise Unsure(f"uses {program} in a way that is not known")
    return rest


# --- paths for the card ---------------------------------------------------------------------------


def _named_paths(seen: Glimpse, ground: Ground, home: str | None) -> Iterator[str]:
    """Arguments that look like paths, and targets of redirections; a guess, for display and for rules."""
    named = [word for words in seen.programs for word in words[1:] if not word.startswith("-")]
    named += [target for _, target in seen.writes if not target.isdigit()]
    for name in named[:50]:
        if name.startswith("~/") and home:
            name = home + name[1:]  # noqa: PLW2901 - the same path, written out
        if not name or len(name) > 1_000 or set(name) & set("$`*?\n"):
            continue
        for folder in sorted(ground.folders):
            path = ground.resolve(os.path.join(folder, name))  # noqa: PTH118 - dots matter
            if "/" in name or "." in name or os.path.lexists(path):
                yield path
