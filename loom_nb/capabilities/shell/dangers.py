"""What is dangerous about a command that has to be asked for, in words for the approval card.

This decides nothing: a command is never let through because nothing was found here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loom_nb.capabilities.shell.syntax import Glimpse
from loom_nb.capabilities.shell.words import names


@dataclass(frozen=True)
class Danger:
    """One sentence, and whether it is about loss or about the network."""

    reason: str
    destructive: bool = False
    network: bool = False


def _table(**groups: str) -> dict[str, list[str]]:
    """The groups of each program; a program may be in several."""
    found: dict[str, list[str]] = {}
    for group, programs in groups.items():
        for name in programs.split():
            found.setdefault(name, []).append(group)
    return found


_GROUPS = _table(
    deletes="rm rmdir unlink shred wipe srm trash trash-put",
    overwrites="mv cp dd install rsync truncate tee ln patch split csplit sponge unzip gunzip gzip bzip2"
    " xz zip"
    " tar cpio 7z zstd ed ex rename mkfs mkswap fdisk parted wipefs sqlite3",
    changes="touch mkdir mkfifo mknod mktemp",
    permits="chmod chown chgrp chattr setfacl",
    network="curl wget ssh scp sftp ftp tftp nc ncat netcat socat telnet ping ping6 traceroute dig"
    " nslookup host"
    " whois aria2c lynx links w3m http https xh aws gcloud gsutil az kubectl helm docker podman rclone mail"
    " sendmail mutt openssl nmap tcpdump gh rsync hub glab",
    installs="pip pip3 pipx uv npm npx pnpm yarn bun apt apt-get aptitude dpkg yum dnf rpm brew conda"
    " mamba snap"
    " gem cargo go poetry pdm easy_install flatpak apk pacman",
    privilege="sudo su doas pkexec runuser chroot setcap setuid unshare nsenter visudo passwd useradd usermod"
    " mount umount insmod modprobe sysctl capsh",
    hides="eval",
    runs="sh bash zsh dash ksh fish csh tcsh python python2 python3 ipython perl ruby node deno php lua"
    " Rscript"
    " julia java exec source . xargs env nohup setsid parallel watch timeout nice ionice stdbuf time strace"
    " ltrace gdb make cmake ninja gradle mvn pytest tox nox jupyter awk gawk mawk nawk sed find fd"
    " script expect"
    " at batch crontab trap command builtin busybox vi vim nvim nano emacs osascript systemd-run flock"
    " tmux screen ldd coproc",
    stops="kill pkill killall shutdown reboot halt poweroff systemctl service init",
    settings="alias unalias export set unset shopt declare typeset local readonly read mapfile let"
    " enable hash"
    " ulimit umask exec pushd popd dirs getopts",
    shows="env printenv ps top htop lsof history ss netstat journalctl dmesg",
    waits="less more most man vi vim nano emacs top htop watch info yes",
)

_SENTENCES: dict[str, tuple[str, bool, bool]] = {
    "deletes": ("deletes files ({0})", True, False),
    "overwrites": ("overwrites or moves files ({0})", True, False),
    "changes": ("makes or changes files ({0})", False, False),
    "permits": ("changes who may read, write or run files ({0})", True, False),
    "network": ("network: {0} talks to other machines", False, True),
    "installs": ("runs other code, perhaps from the network ({0})", True, True),
    "privilege": ("privilege: {0} acts with other rights", True, True),
    "hides": ("obfuscation: {0} runs a text as a command", True, True),
    "runs": ("runs other code ({0})", True, True),
    "stops": ("stops programs or the machine ({0})", True, False),
    "settings": ("changes the shell's settings ({0})", False, False),
    "shows": ("shows the environment or other programs ({0})", False, False),
    "waits": ("waits for keys or never ends ({0})", False, False),
}

_SOMETIMES = names("sed find fd awk gawk mawk time nice timeout command tar")
"""Programs that may just read; what is wrong with a call of them is said by who judged it."""
_STARTS_OTHERS = names(
    "sudo doas pkexec chroot unshare nsenter env nohup setsid xargs timeout time nice ionice stdbuf exec"
    " command builtin watch parallel busybox strace ltrace"
)
_GIT_LOSES = names("reset clean checkout restore rm push rebase filter-branch gc prune switch mv apply am")
_GIT_NETWORK = names("clone fetch pull push ls-remote submodule remote send-email svn p4 archive")
_HARD_TO_READ = (
    (
        r"base64|base32|xxd|openssl|uudecode|rev\b|tr\b|printf|echo -e",
        r"\|\s*(\S*/)?(sh|bash|zsh|dash|ksh|python3?|perl|ruby|node)\b",
    ),
)


def dangers(command: str, glimpse: Glimpse) -> Iterator[Danger]:
    """Name what a command seems to do, beginning with what matters most."""
    for before, after in _HARD_TO_READ:
        if re.search(rf"(?:{before})[^\n]*{after}", command):
            yield Danger("obfuscation: decodes or builds a text and runs it", True, True)
    for words in glimpse.programs:
        yield from _of_program(words)
    for operator, target in glimpse.writes:
        yield from _of_redirection(operator, target)
    if re.search(r"\\x[0-9a-fA-F]{2}|\\[0-7]{3}|\\u[0-9a-fA-F]{4}", command) and "$'" in command:
        yield Danger("obfuscation: writes characters as numbers", True, True)
    for construct in glimpse.constructs:
        yield Danger(construct)
    if glimpse.background:
        yield Danger("goes on in the background (&)")


def _of_program(words: Sequence[str]) -> Iterator[Danger]:
    if not words:
        return
    name = words[0].rpartition("/")[2]
    if "$" in words[0] or "`" in words[0]:
        yield Danger(f"obfuscation: the program's name is computed ({words[0][:60]})", True, True)
        return
    if name == "git":
        yield from _of_git(words[1:])
    if name == "sed" and any(re.match(r"-[a-zA-Z]*i|--in-place", word) for word in words):
        yield Danger("overwrites files (sed -i)", True)
    if name == "find" and (
        acting := [word for word in words if word in ("-delete", "-exec", "-execdir", "-ok")]
    ):
        yield Danger(f"deletes or runs something for every file found (find {acting[0]})", True, True)
    if name in ("curl", "wget") and any(
        re.match(r"-[a-zA-Z]*[oO]|--output|--remote-name", word) for word in words
    ):
        yield Danger(f"overwrites files with what it gets ({name})", True, True)
    for group in _GROUPS.get(name, []) if name not in _SOMETIMES else []:
        sentence, destructive, network = _SENTENCES[group]
        yield Danger(sentence.format(name), destructive, network)
    if name in _STARTS_OTHERS:
        behind = [word for word in words[1:] if not re.match(r"-|[0-9.]+[smhd]?$|\w+=|\{\}", word)]
        if behind and behind[0] != words[0]:
            yield from _of_program(behind)


def _of_git(words: Sequence[str]) -> Iterator[Danger]:
    name = next((word for word in words if not word.startswith("-")), "")
    loses = {"drop", "clear", "remove", "expire", "delete", "-d", "-D", "--delete", "--hard", "--force", "-f"}
    if name in _GIT_LOSES or loses & {*words}:
        yield Danger(f"may lose work (git {name})", destructive=True)
    if name in _GIT_NETWORK:
        yield Danger(f"network: git {name} talks to other machines", network=True)
    if any(re.match(r"-c$|--exec-path|--upload-pack|--receive-pack|--ext-diff", word) for word in words):
        yield Danger("runs other code (options of git)", True, True)


def _of_redirection(operator: str, target: str) -> Iterator[Danger]:
    if target.startswith(("/dev/tcp", "/dev/udp")):
        yield Danger(f"network: opens {target}", network=True)
    elif target == "/dev/null" or target.isdigit() or operator == "<":
        return
    elif operator in (">>", "&>>"):
        yield Danger(f"appends to {target}")
    else:
        yield Danger(f"overwrites {target}", destructive=True)


def known_program(name: str) -> bool:
    """Whether a program is in the tables above, so that the card need not call it unknown."""
    return name.rpartition("/")[2] in _GROUPS or name == "git"
