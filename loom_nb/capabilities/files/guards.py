"""Files that other programs run, or take their settings from, without anybody asking them to.

Who writes one of them has code run later: such a change is never a mere edit. A pure function of
names, told apart as the laxest file systems do: case, invisible characters and trailing dots do not count.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

TRASH = ".loom-trash"
"""The folder in the root to which deleted things go."""

_OBEYED = {
    "version control": ".git git~1 .husky .githooks .hg .svn .gitconfig .hgrc .pre-commit-config.yaml",
    "the editor": ".vscode .idea .zed .fleet .devcontainer .devcontainer.json .vimrc .exrc .nvimrc .nvim.lua"
    " .emacs .emacs.d .dir-locals.el",
    "direnv": ".envrc .direnv",
    "an agent": ".mcp.json mcp.json .cursor .claude .codex .gemini skill.md agents.md claude.md"
    " soul.md identity.md user.md",
    "loom": "loom.toml .loom",
    "Jupyter": ".ipython .jupyter ipython_config.py",
    "Python": "sitecustomize.py usercustomize.py .venv site-packages",
    "the CI service": ".gitlab-ci.yml .circleci .travis.yml jenkinsfile .drone.yml .buildkite"
    " azure-pipelines.yml bitbucket-pipelines.yml",
    "the installer": ".npmrc .yarnrc .yarnrc.yml .pnpmfile.cjs pip.conf pip.ini",
    "programs that log in": ".ssh .gnupg .netrc",
    "the debugger": ".gdbinit .lldbinit",
    "the desktop": ".tmux.conf .screenrc .xinitrc .xprofile .xsession .xsessionrc",
    "R": ".rprofile .renviron",
    "the system": "autoexec.bat autorun.inf",
}
_ANYWHERE = {name: who for who, names in _OBEYED.items() for name in names.split()}
_SHELL = re.compile(
    r"\.(bash|zsh|ksh|csh|tcsh|sh|mksh)(rc|env|_?profile|_?login|_?logout|_aliases)"
    r"|\.(z?profile|z?login|z?logout)|config\.fish"
)
_PAIRS = {
    (".github", "workflows"): "the CI service",
    (".github", "actions"): "the CI service",
    (".config", "autostart"): "the desktop",
    (".config", "systemd"): "the system",
    (".config", "git"): "version control",
    (".config", "fish"): "the shell",
    (".config", "nvim"): "the editor",
    (".local", "bin"): "the shell",
    (".cargo", "config.toml"): "the compiler",
    (".cargo", "config"): "the compiler",
    ("node_modules", ".bin"): "the installer",
}
_ENDINGS = {".pth": "Python", ".desktop": "the desktop"}


def runs_later(parts: Sequence[str]) -> str:
    """Who runs the file, or obeys it: "the shell", "version control"; empty for an ordinary file.

    Args:
        parts: the names of its path, links resolved.
    """
    names = [folded(part) for part in parts]
    for name in names:
        if name in _ANYWHERE:
            return _ANYWHERE[name]
    for pair in pairwise(names):
        if pair in _PAIRS:
            return _PAIRS[pair]
    last = names[-1] if names else ""
    if _SHELL.fullmatch(last):
        return "the shell"
    if re.fullmatch(r"(jupyter|ipython)_[a-z_]*config\.(py|json)", last):
        return "Jupyter"
    return next((who for ending, who in _ENDINGS.items() if last.endswith(ending)), "")


def is_backup(parts: Sequence[str]) -> bool:
    """Whether it is one of the copies that Jupyter falls back on."""
    return ".ipynb_checkpoints" in map(folded, parts)


def is_trash(parts: Sequence[str]) -> bool:
    """Whether it is, or lies in, the folder of deleted things."""
    return bool(parts) and folded(parts[0]) == TRASH


def folded(name: str) -> str:
    """A name as a file system may see it that does not tell case, normal forms or unseen characters apart."""
    text = unicodedata.normalize("NFKC", name).casefold()
    if not text.isascii():
        text = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return text.rstrip(" .")
