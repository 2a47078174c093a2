"""The part of git that only reads, in a repository whose own settings start no programs.

Git runs what a repository tells it to: core.fsmonitor and filters on `git status`, diff.external and textconv
on `git diff`, gpg.program on `git log`, core.sshCommand when objects of a partial clone are missing, hooks
when the index is refreshed, and all of it again in each submodule. So no subcommand is harmless in a
repository that somebody else made, and `--no-pager` mends none of that. Therefore two things are asked of
every call: a subcommand and options that write nothing, and a repository in the root whose settings hold
only keys that are known to start nothing. The user's own configuration is trusted: it acts just the same when
the user types git.

`git status` may rewrite the index to remember file times; GIT_OPTIONAL_LOCKS=0 of `QUIET_ENVIRONMENT` keeps
it from doing so.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from loom_nb.capabilities.shell.ground import MAX_CONFIG, Ground, looks_secret
from loom_nb.capabilities.shell.options import Call, Grammar, understand
from loom_nb.capabilities.shell.words import Unsure, Word, names

QUIET_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
    "PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
}
"""What a child's environment must hold for the verdicts on git to be true."""

_DIFF = (
    "stat? shortstat numstat name-only name-status summary patch no-patch patch-with-stat raw compact-summary"
    " no-color color? word-diff? color-words? minimal patience histogram ignore-all-space ignore-space-change"
    " ignore-blank-lines ignore-space-at-eol unified# diff-filter= find-renames? find-copies? no-renames"
    " check"
    " full-index abbrev? binary relative? text no-ext-diff no-textconv exit-code quiet function-context"
    " inter-hunk-context# pickaxe-all pickaxe-regex no-prefix"
)
_LOG = (
    " oneline graph decorate? no-decorate all branches? tags? remotes? author= committer= grep= since= after="
    " until= before= max-count# skip# reverse pretty? format= abbrev-commit no-abbrev-commit date="
    " follow merges"
    " no-merges first-parent topo-order date-order author-date-order left-right cherry-pick boundary"
    " relative-date source all-match invert-grep regexp-ignore-case extended-regexp fixed-strings parents"
    " children full-history simplify-by-decoration min-parents# max-parents# no-notes ancestry-path"
)
_DIFF_SHORT = "pusbwaRWzU#S=G=M?C?"
_PATCHES = Grammar(_DIFF_SHORT + "n#iEFcmg", _DIFF + _LOG, counts=True)

_READS: dict[str, Grammar] = {
    "status": Grammar(
        "sbvzu?",
        "short branch long verbose porcelain? untracked-files? ignored? show-stash ahead-behind"
        " no-ahead-behind"
        " renames no-renames ignore-submodules?",
    ),
    "diff": Grammar(_DIFF_SHORT, _DIFF + " cached staged merge-base ignore-submodules?"),
    "log": _PATCHES,
    "show": _PATCHES,
    "whatchanged": _PATCHES,
    "reflog": Grammar("n#", "oneline max-count# date= all", counts=True, most=0),
    "shortlog": Grammar("nsec", "numbered summary email all no-merges since= until= author="),
    "blame": Grammar("L=wslcefM?C?b", "show-email show-name show-number porcelain date= root"),
    "grep": Grammar(
        "nilLcwvEFGPehqIaA#B#C#e=",
        "line-number ignore-case files-with-matches name-only count word-regexp invert-match extended-regexp"
        " fixed-strings perl-regexp heading break cached column after-context# before-context#"
        " context# color? all-match and or not max-depth#",
        first_is_text=("e",),
    ),
    "ls-files": Grammar(
        "cdmostuz",
        "cached deleted modified others stage unmerged ignored exclude-standard full-name directory"
        " error-unmatch exclude= eol",
    ),
    "ls-tree": Grammar("rdtlz", "name-only name-status full-name full-tree long abbrev?"),
    "rev-parse": Grammar(
        "q",
        "show-toplevel short? abbrev-ref? verify quiet is-inside-work-tree is-inside-git-dir git-dir"
        " show-prefix"
        " is-bare-repository show-cdup symbolic-full-name git-common-dir absolute-git-dir all branches?"
        " tags?",
    ),
    "rev-list": Grammar("n#", "count all max-count# " + _LOG, counts=True),
    "describe": Grammar("", "tags all always long abbrev# exact-match contains match= candidates#"),
    "cat-file": Grammar("ptse"),
    "merge-base": Grammar("a", "all is-ancestor octopus"),
    "name-rev": Grammar("", "name-only tags always"),
    "count-objects": Grammar("vH", "verbose human-readable", operands="none"),
    "branch": Grammar(
        "arv",
        "all remotes verbose list show-current no-color color? sort= merged? no-merged? contains?"
        " format= abbrev#",
    ),
    "tag": Grammar(
        "ln?", "list sort= format= contains? merged? no-merged? points-at? no-color color? ignore-case"
    ),
    "remote": Grammar("v", "verbose", operands="none"),
    "version": Grammar("", "build-options", operands="none"),
}
_LISTS = {"branch": ("list",), "tag": ("l", "list")}
"""Subcommands that make something out of an operand unless they were told to list."""
_EXACT = {("stash", "list"), ("worktree", "list")}
_CHANGES = names("add commit stash branch tag fetch init worktree notes")
"""Subcommands that change something without losing it."""
_WITHOUT_REPOSITORY = frozenset(("version",))

_SAFE_KEY = re.compile(
    r"core\.(repositoryformatversion|filemode|logallrefupdates|ignorecase|precomposeunicode|symlinks|autocrlf"
    r"|safecrlf|eol|quotepath|abbrev|compression|longpaths|protectntfs|untrackedcache)"
    r"|remote\.[^\n]*\.(url|pushurl|fetch|push|tagopt|prune|gh-resolved)"
    r"|branch\.[^\n]*\.(remote|merge|rebase|pushremote|description|vscode-merge-base|gh-merge-base)"
    r"|user\.(name|email|signingkey)|pull\.(rebase|ff)|push\.(default|autosetupremote|followtags)"
    r"|fetch\.(prune|parallel)|merge\.(ff|conflictstyle)|init\.defaultbranch|gc\.(auto|pruneexpire)"
    r"|color\.[a-z.]+|advice\.[a-z]+|lfs\.repositoryformatversion|rerere\.enabled|maintenance\.(auto|strategy)"
)
_SECTION = re.compile(r'\[([A-Za-z0-9-]+)(?: "([^"\\\n]*)")?\]')
_ENTRY = re.compile(r"([A-Za-z][A-Za-z0-9-]*)(?:\s*=\s*([^\\\n]*))?")
_GITLINK = b"\x00\x00\xe0\x00"
"""A submodule's file mode as it stands in the index; a file of just that size looks the same, and asks."""


def judge_git(words: Sequence[Word], ground: Ground) -> None:
    """Raise `Unsure` unless this call of git can only read, and only in the root."""
    rest = list(words)
    while rest and rest[0].text.startswith("-"):
        option = rest.pop(0).text
        if option == "-C" and rest:
            places = ground.check_word(rest.pop(0), content=False)
            ground = ground.at(frozenset(places))
        elif option not in ("--no-pager", "-P", "--no-optional-locks", "--literal-pathspecs"):
            raise Unsure(f"uses an option of git that is not known to only read: {option}", unknown=True)
    if not rest:
        raise Unsure("gives git nothing to do")
    name, arguments = rest[0].text, rest[1:]
    if (name, *(word.text for word in arguments)) in _EXACT:
        _check_repositories(name, ground)
        return
    if name not in _READS:
        says = "changes the repository" if name in _CHANGES else "is not known to only read"
        raise Unsure(f"{says}: git {name}", unknown=name not in _CHANGES)
    if name == "reflog" and arguments and arguments[0].text == "show":
        arguments = arguments[1:]
    call = understand(f"git {name}", _READS[name], arguments, ground)
    _check_call(name, call)
    if name not in _WITHOUT_REPOSITORY:
        _check_repositories(name, ground)


def _check_call(name: str, call: Call) -> None:
    if name in _LISTS and call.operands and not call.has(*_LISTS[name]):
        raise Unsure(f"makes or changes something: git {name} {call.operands[0].text}")
    for shown in call.values("pretty", "format"):
        if "%G" in shown or "signature" in shown:
            raise Unsure("checks signatures with another program")
    for operand in call.operands:
        if looks_secret(operand.text.rpartition(":")[2]):
            raise Unsure(f"reads a file that may hold secrets: {operand.text}")


def _check_repositories(name: str, ground: Ground) -> None:
    for folder in ground.folders:
        for inside in _upwards(folder):
            marker = inside / ".git"
            if not ground.holds(str(inside)):
                if os.path.lexists(marker) or _is_bare(inside):
                    raise Unsure(f"reads outside of the folder: the repository at {inside}")
            elif os.path.lexists(marker):
                _check_repository(marker, name, ground)
                break
            elif _is_bare(inside):
                raise Unsure(f"reads a repository without a work tree: {inside}")


def _upwards(folder: str) -> Iterator[Path]:
    path = Path(folder)
    yield path
    yield from path.parents


def _is_bare(folder: Path) -> bool:
    return os.path.lexists(folder / "HEAD") and os.path.lexists(folder / "objects")


def _check_repository(git: Path, name: str, ground: Ground) -> None:
    for part in ("", "HEAD", "objects", "refs", "config", "index", "info", "logs", "packed-refs"):
        path = str(git / part)
        if os.path.lexists(path) and ground.resolve(path) != path:
            raise Unsure(f"reads a repository that is put together of links: {path}")
    if not all((git / part).exists() for part in ("HEAD", "objects", "refs")):
        raise Unsure(f"reads a repository that is kept elsewhere or broken: {git}")
    for part in ("commondir", "config.worktree", "objects/info/alternates", "hooks/post-index-change"):
        if os.path.lexists(git / part):
            raise Unsure(f"reads a repository that uses {part}: {git}")
    _check_config(git / "config", name)
    if name in ("status", "diff", "describe") and _may_have_submodules(git):
        raise Unsure("looks into submodules, which have settings of their own")


def _check_config(path: Path, name: str) -> None:
    text = _text(path)
    section = ""
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if header := _SECTION.fullmatch(stripped):
            section = header[1].lower() + (f".{header[2]}" if header[2] is not None else "")
            continue
        entry = _ENTRY.fullmatch(stripped)
        key = f"{section}.{entry[1].lower()}" if entry else ""
        bare = entry is not None and key == "core.bare" and (entry[2] or "").strip() == "false"
        if not entry or not (bare or _SAFE_KEY.fullmatch(key)):
            raise Unsure(
                f"reads a repository whose settings may start programs: {stripped[:80]}", unknown=True
            )
        if name == "remote" and re.search(r"://[^/]*@", entry[2] or ""):
            raise Unsure("shows an address that holds a password")


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CONFIG + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise Unsure(f"reads a repository whose settings cannot be read: {path}") from error
    if len(text) > MAX_CONFIG:
        raise Unsure(f"reads a repository with very long settings: {path}")
    return text


def _may_have_submodules(git: Path) -> bool:
    try:
        if any(path.name.startswith("sharedindex.") for path in git.iterdir()):
            return True
        index = git / "index"
        return index.exists() and _GITLINK in index.read_bytes()
    except OSError:
        return True
