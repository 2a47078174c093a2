"""What code in a skill would do if somebody ran it: shell and Python by their syntax, others by pattern.

Nothing is run. A skill may well show code that acts; what is told of here is code that takes secrets away,
loses what is not its own, stays behind or hides what it does.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loom_nb.capabilities.files.guards import runs_later
from loom_nb.capabilities.skills.phrases import Severity

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_CODE = 60_000
"""Characters of one piece that are parsed."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that code would do."""

    line: int
    """Counted from 1, in the piece of code."""
    kind: str
    severity: Severity
    reason: str


SHELLS = frozenset({"sh", "bash", "zsh", "shell", "console", "ksh", "dash", "fish", "terminal"})
PYTHONS = frozenset({"python", "py", "python3", "ipython", "pycon"})
_OTHERS = frozenset(
    {
        "yaml",
        "yml",
        "json",
        "toml",
        "ini",
        "sql",
        "html",
        "css",
        "xml",
        "markdown",
        "md",
        "text",
        "txt",
        "csv",
        "diff",
        "make",
        "makefile",
        "dockerfile",
    }
)

_SECRETS = re.compile(
    r"\$\(?\s*(?:env|printenv|set)\b|`env`|(?:^|[|;&(]\s*)(?:env|printenv)\b|\$\{?\w*(?:TOKEN"
    r"|SECRET|PASSW|API_?KEY|ACCESS_KEY|PRIVATE)\w*"
    r"|~/\.(?:ssh|aws|gnupg|kube|docker|config|netrc|git-credentials|pypirc|npmrc"
    r"|password-store)|\$\{?HOME\}?/\.(?:ssh|aws|gnupg|kube|docker|netrc|git-credentials)"
    r"|\.netrc\b|\bid_(?:rsa|ed25519|ecdsa)\b(?!\.pub)|/etc/shadow|\.aws/credentials"
    r"|(?<![\w.])\.env\b(?!\.)|/proc/self/environ|keychain|Login Data|cookies\.sqlite",
    re.MULTILINE,
)
_SENDS = frozenset(
    [
        "curl",
        "wget",
        "nc",
        "ncat",
        "netcat",
        "socat",
        "scp",
        "sftp",
        "rsync",
        "ftp",
        "tftp",
        "telnet",
        "mail",
        "sendmail",
        "mutt",
        "http",
        "https",
        "xh",
        "rclone",
        "dig",
        "nslookup",
        "host",
    ]
)
_PUBLISHES = re.compile(
    r"\bgh\s+gist\s+create|\baws\s+s3\s+(?:cp|sync|mv)|\bgsutil\s+cp|\bgit\s+push\s+\S*https?://"
)
_RUNS = (
    r"(?:sudo\s+(?:-\S+\s+)*)?(?:env\s+)?(?:\S{0,60}/)?(?:ba|z|k|da|fi)?sh\b"
    r"|(?:sudo\s+)?(?:\S{0,60}/)?(?:python[\d.]*|perl|ruby|node|php)\b"
)
_LOADS = r"(?:curl|wget|fetch|aria2c|lwp-request)\b"
_PIPED = re.compile(rf"{_LOADS}[^\n;]*\|\s*(?:tee\s+\S+\s*\|\s*)?(?:{_RUNS})")
_INSIDE = re.compile(
    rf"(?:(?:{_RUNS})[^\n;|]*?|\beval\s+[\"']?|\bsource\s+|(?:^|\s)\.\s+)(?:<\(|\$\(|`)\s*{_LOADS}"
)
_FETCH_THEN_RUN = re.compile(
    rf"{_LOADS}[^\n]*?(?:-o|-O|--output|>)\s*(\S+)[\s\S]{{0,120}}?(?:&&|;|\n)\s*(?:chmod\s+\S+\s+\1\s"
    rf"*(?:&&|;|\n)\s*)?(?:sudo\s+)?(?:(?:ba|z)?sh\s+|python3?\s+)?\1\b"
)
_DECODED = re.compile(
    rf"(?:base64\s+(?:-d|-D|--decode)|xxd\s+-r|openssl\s+(?:enc|base64)\s[^|\n]*-d"
    rf"|(?<=\| )rev|(?<=\|)rev)\b[^\n]*?(?:\|\s*(?:{_RUNS})|\)\s*[\"']?\s*$)",
    re.MULTILINE,
)
_EVAL_DECODED = re.compile(r"\beval\b[^\n]*(?:base64|xxd|printf|\\x)")
_REVERSE = re.compile(
    r"/dev/(?:tcp|udp)/|\b(?:nc|ncat|netcat)\b[^\n|;]*\s-\w*[ec]\w*\s|\bsocat\b[^\n]*\bexec:", re.IGNORECASE
)
_BOMB = re.compile(r":\(\)\s*\{\s*:\s*\|\s*:\s*&\s*\}")
_TRACES = re.compile(r"\bhistory\s+-c\b|\bunset\s+HISTFILE|\bHISTFILE=/dev/null|>\s*~?\S*/\.bash_history")
_DEFENCES = re.compile(
    r"\bsetenforce\s+0|\bufw\s+disable|\biptables\s+-F|\bcsrutil\s+disable|spctl\s+--master-disable"
    r"|Set-MpPreference\s+-Disable"
)
_INDEX = re.compile(
    r"(?:--index-url|--extra-index-url|-i|--registry)[= ]\s*(?:http://|https?://(?!(?:pypi\.org"
    r"|test\.pypi\.org|files\.pythonhosted\.org|registry\.npmjs\.org|download\.pytorch\.org)))\S+"
)
_POWERSHELL = re.compile(
    r"\b(?:iex|Invoke-Expression)\b[\s\S]{0,120}(?:DownloadString|Invoke-WebRequest"
    r"|\biwr\b|\birm\b|Invoke-RestMethod|Net\.WebClient)|(?:DownloadString|\biwr\b"
    r"|\birm\b)[\s\S]{0,120}\|\s*(?:iex|Invoke-Expression)\b|-enc(?:odedcommand)?\s+[A-Za-z0-9+/=]"
    r"{20,}",
    re.IGNORECASE,
)
_JAVASCRIPT = re.compile(
    r"\beval\s*\(\s*(?:atob|Buffer\.from|unescape|decodeURIComponent)\b|new Function\s*\(\s*atob"
)
_WHOLE = re.compile(
    r"(?:/|/\*|~/?|~/?\*|\$\{?HOME\}?/?\*?|/(?:home|etc|usr|var|bin|boot|lib|opt"
    r"|root|Users|System)(?:/\*?)?|\.\./?\*?|\*|C:\\\\?)"
)
_SYSTEM_TREE = re.compile(r"/(?:etc|usr|var|bin|boot|lib|opt|root|sys|dev)(?:/[\w.-]+)?/?\*?")
_STAYS = re.compile(
    r"(?:^|/)(?:\.(?:bash|zsh|k|c)(?:rc|_profile|_login|env|_aliases)|\.profile"
    r"|\.zprofile|authorized_keys|sitecustomize\.py|usercustomize\.py)$"
    r"|/etc/(?:cron|profile|rc\.local|sudoers|ld\.so\.preload|passwd|shadow|systemd)"
    r"|/cron(?:tabs|\.d)\b|systemd/(?:user|system)/|LaunchAgents|LaunchDaemons"
    r"|autostart/|/startup/|\.git/hooks/|\.ssh/config$|\.pth$"
)  # fmt: skip
_COMMAND_LINE = re.compile(
    r"^[ \t]*(?:\$[ \t]+)?(?:sudo|curl|wget|rm|dd|bash|sh|eval|export|chmod|cat|echo"
    r"|git|pip|python3?|npm|cd|mkdir|cp|mv|tar|find|crontab|ssh|nc|docker)\s",
    re.MULTILINE,
)


def deeds(code: str, language: str = "") -> Iterator[Deed]:
    """What a piece of code would do. An unknown language is taken for what it looks like."""
    code = code[:MAX_CODE]
    name = language.casefold()
    yield from _anywhere(code)
    if name in PYTHONS or (not name and _is_python(code)):
        yield from _python(code)
    elif name in SHELLS or (name not in _OTHERS and _COMMAND_LINE.search(code)):
        yield from _shell("\n".join(re.sub(r"^\s*\$ ", "", line) for line in code.split("\n")))


def language_of(path: str, text: str) -> str:
    """The language of a file of a skill; empty for one that is no code."""
    first = text.split("\n", 1)[0]
    ending = path.rpartition(".")[2].casefold() if "." in path else ""
    known = {
        "sh": "sh",
        "bash": "bash",
        "zsh": "zsh",
        "py": "python",
        "js": "js",
        "ts": "js",
        "ps1": "powershell",
        "rb": "ruby",
        "pl": "perl",
        "mjs": "js",
        "bat": "bat",
    }
    if ending in known:
        return known[ending]
    if first.startswith("#!"):
        return "python" if "python" in first else "sh"
    return ""


def _is_python(code: str) -> bool:
    return re.search(r"^[ \t]*(?:import \w|from \w[\w.]* import |def \w+\()", code, re.MULTILINE) is not None


def _at(code: str, place: int) -> int:
    return code.count("\n", 0, place) + 1


_EVERYWHERE: tuple[tuple[re.Pattern[str], str, Severity, str], ...] = (
    (_PIPED, "download", "critical", "runs what it downloads, unseen"),
    (_INSIDE, "download", "critical", "runs what it downloads, unseen"),
    (_FETCH_THEN_RUN, "download", "critical", "downloads a program and runs it"),
    (_POWERSHELL, "download", "critical", "runs what it downloads or what is encoded"),
    (_JAVASCRIPT, "obfuscation", "high", "runs a decoded text"),
    (_DECODED, "obfuscation", "critical", "runs a decoded text"),
    (_EVAL_DECODED, "obfuscation", "critical", "runs a decoded text"),
    (_REVERSE, "remote shell", "critical", "opens a shell to another machine"),
    (_BOMB, "destruction", "critical", "brings the machine to a halt"),
    (_TRACES, "traces", "medium", "removes traces"),
    (_DEFENCES, "defences", "high", "switches off a protection of the machine"),
    (_INDEX, "packages", "high", "installs packages from another place than usual"),
)


_OPENLY = re.compile(r"http://|//\d+\.\d+\.\d+|\bsudo\b|\bpython|\bperl|-enc|\|\s*tee\b")
_MILDER: dict[Severity, Severity] = {"critical": "high", "high": "low"}
"""Many install that way what they know; a person decides."""


def _anywhere(code: str) -> Iterator[Deed]:
    for pattern, kind, severity, reason in _EVERYWHERE:
        found = pattern.search(code)
        if found is None:
            continue
        if kind in ("download", "packages") and _OPENLY.search(found[0]) is None:
            severity = _MILDER.get(severity, severity)  # noqa: PLW2901  from a place that has a name
        yield Deed(_at(code, found.start()), kind, severity, reason)


# -- shell ---------------------------------------------------------------------------------------------------


def _shell(code: str) -> Iterator[Deed]:
    from loom_nb.capabilities.shell.syntax import glimpse, parse

    tree = parse(code)
    for node in _statements(tree.root_node):
        text = (node.text or b"").decode(errors="replace")
        line = node.start_point[0] + 1
        seen = glimpse(_Rooted(node))
        yield from _takes_away(text, line, [one[0] for one in seen.programs if one])
        for words in seen.programs:
            yield from _program(words, line)
        for operator, target in seen.writes:
            if operator != "<" and _stays(target):
                yield Deed(
                    line, "persistence", _worse(target), f"writes {target}, which is run or obeyed later"
                )
            if re.match(r"/dev/(?:sd|nvme|hd|vd|disk)", target):
                yield Deed(line, "destruction", "critical", f"overwrites the disk {target}")


@dataclass(frozen=True, slots=True)
class _Rooted:
    """A node in the place of a tree."""

    root_node: "Node"


def _statements(root: "Node") -> Iterator["Node"]:
    """The outermost statements."""
    for child in root.named_children:
        if child.type not in ("comment", "heredoc_body"):
            yield child


def _takes_away(text: str, line: int, programs: list[str]) -> Iterator[Deed]:
    names = {name.rpartition("/")[2] for name in programs}
    sends = names & _SENDS
    if not sends and not _PUBLISHES.search(text):
        return
    found = _SECRETS.search(text)
    local = re.search(r"https?://(?:localhost|127\.0\.0\.1)\b", text) and not re.search(
        r"https?://(?!localhost|127\.)", text
    )
    if found is None or local:
        return
    header = re.search(r"(?:-H|--header|-u|--user)\s+[\"'][^\"']*" + re.escape(found[0]), text)
    only_auth = header is not None and len(_SECRETS.findall(text)) == 1
    if not only_auth:
        yield Deed(
            line, "exfiltration", "critical", f"sends secrets to another machine ({found[0].strip()[:40]})"
        )


_STARTS = frozenset({"sudo", "doas", "env", "nohup", "command", "xargs", "timeout"})
_DISK = r"/dev/(?:sd|nvme|hd|vd|disk)"


@dataclass(frozen=True, slots=True)
class _Words:
    """A program with what it is given."""

    name: str
    rest: tuple[str, ...]
    line: int

    @property
    def operands(self) -> list[str]:
        return [word for word in self.rest if not word.startswith("-")]

    @property
    def options(self) -> str:
        return "".join(word for word in self.rest if word.startswith("-"))

    @property
    def text(self) -> str:
        return " ".join(self.rest)

    def deed(self, kind: str, severity: Severity, reason: str) -> Deed:
        return Deed(self.line, kind, severity, reason)


def _program(words: tuple[str, ...], line: int) -> Iterator[Deed]:
    if not words:
        return
    call = _Words(words[0].rpartition("/")[2], words[1:], line)
    if "$(" in words[0] or "`" in words[0]:
        hidden = re.search(r"printf|base64|echo|xxd|\brev\b|\btr\b|\\x|\\[0-7]|curl|wget", words[0])
        severity: Severity = "high" if hidden is not None else "low"
        yield call.deed("obfuscation", severity, "computes the name of the program that it runs")
    if call.name in _STARTS:
        inner = [word for number, word in enumerate(call.rest) if not word.startswith("-") or number > 2]
        while inner and re.match(r"\w+=|\d", inner[0]):
            inner = inner[1:]
        yield from _program(tuple(inner), line)
    judge = _PROGRAMS.get("mkfs" if call.name.startswith("mkfs") else call.name)
    found = judge(call) if judge is not None else None
    if found is not None:
        yield found


def _deletes(call: _Words) -> Deed | None:
    if call.name == "rm" and "r" not in call.options.casefold():
        return None
    whole = [word for word in call.operands if _WHOLE.fullmatch(word) or _SYSTEM_TREE.fullmatch(word)]
    if whole or "no-preserve-root" in call.options:
        return call.deed("destruction", "critical", f"deletes {whole[0] if whole else 'everything'}")
    far = next((word for word in call.operands if word.startswith(("$", "~", "/"))), "")
    return call.deed("destruction", "low", f"deletes {far}") if far else None


def _writes_disk(call: _Words) -> Deed | None:
    hit = re.search(rf"\bof={_DISK}", call.text) if call.name == "dd" else "/dev/" in call.text
    return call.deed("destruction", "critical", "overwrites or formats a disk") if hit else None


def _finds(call: _Words) -> Deed | None:
    acts = re.search(r"-delete|-exec\w* (?:\S{0,60}/)?(?:rm|shred)", call.text)
    where = call.operands[0] if call.operands else ""
    if acts is None or not _WHOLE.fullmatch(where) or where in ("*", ".."):
        return None
    return call.deed("destruction", "critical", f"deletes what it finds below {where}")


def _permits(call: _Words) -> Deed | None:
    if re.search(r"\b[ug]\+\w*s|\b[4267]\d{3}\b", call.text):
        return call.deed("permissions", "high", "gives a program the rights of another user")
    if not re.search(r"\b0?777\b|a\+\S*w", call.text):
        return None
    far = any(_WHOLE.fullmatch(word) for word in call.operands)
    return call.deed("permissions", "high" if far else "low", "lets everybody write")


def _schedules(call: _Words) -> Deed | None:
    sets = call.operands or "-" in call.rest
    return call.deed("persistence", "high", "sets up a job that runs later (crontab)") if sets else None


def _enables(call: _Words) -> Deed | None:
    sets = "enable" in call.operands
    return call.deed("persistence", "medium", "sets up a service that runs later") if sets else None


def _puts(call: _Words) -> Deed | None:
    target = next((word for word in reversed(call.operands) if _stays(word)), "")
    reason = f"writes {target}, which is run or obeyed later"
    return call.deed("persistence", _worse(target), reason) if target else None


def _pushes(call: _Words) -> Deed | None:
    away = "mirror" in call.options or any(re.match(r"https?://|git@", word) for word in call.operands)
    if "push" not in call.operands or not away:
        return None
    return call.deed("exfiltration", "high", "pushes the repository to another place")


def _evaluates(call: _Words) -> Deed | None:
    return call.deed("obfuscation", "medium", "runs a computed text") if "$(" in call.text else None


def _changes_accounts(call: _Words) -> Deed | None:
    return call.deed("privilege", "medium", f"changes accounts of the machine ({call.name})")


_PROGRAMS: dict[str, Callable[[_Words], Deed | None]] = {
    **dict.fromkeys(("rm", "shred", "srm"), _deletes),
    **dict.fromkeys(("dd", "mkfs", "wipefs", "fdisk", "parted"), _writes_disk),
    **dict.fromkeys(("tee", "cp", "mv", "install", "ln"), _puts),
    **dict.fromkeys(("visudo", "useradd", "usermod", "passwd"), _changes_accounts),
    "find": _finds,
    "chmod": _permits,
    "crontab": _schedules,
    "systemctl": _enables,
    "git": _pushes,
    "eval": _evaluates,
}


def _stays(path: str) -> bool:
    return _STAYS.search(path) is not None or bool(
        runs_later([part for part in path.split("/") if part not in ("", "~", "$HOME")])
        and not path.endswith((".venv", ".vscode"))
    )


def _worse(path: str) -> Severity:
    return (
        "critical"
        if re.search(r"authorized_keys|sudoers|ld\.so\.preload|/etc/(?:passwd|shadow)", path)
        else "high"
    )


# -- Python --------------------------------------------------------------------------------------------------

_RUNNERS = frozenset({"exec", "eval", "compile"})
_DECODERS = re.compile(
    r"b64decode|b85decode|b32decode|a85decode|fromhex|unhexlify|decompress|loads"
    r"|rot13|chr\(|bytes\(\[|decode\("
)
_SINKS = re.compile(
    r"\b(?:requests|httpx|aiohttp|session|client|http)\.(?:post|put|get|request"
    r"|patch)\b|\burlopen\b|\burlretrieve\b|\bsmtplib\b|\bsendall\b|\bHTTPS?Connection\b"
    r"|\bparamiko\b|\bftplib\b"
)
_WHOLE_ENV = re.compile(
    r"(?:dict|str|repr|dumps|list)\(\s*os\.environ\b|os\.environ\.(?:items|copy"
    r"|values)\(|os\.environ\s*[,)\]}]|\*\*os\.environ"
)
_SECRET_FILE = re.compile(
    r"\.ssh\b|\.aws\b|\.netrc|id_rsa|id_ed25519|\.gnupg|\.git-credentials|(?<![\w.])\.env\b(?!\.)"
    r"|\.docker/config|\.kube/config|/etc/shadow|Login Data|cookies\.sqlite|\.pypirc"
)
_TREE_GONE = re.compile(
    r"rmtree\(\s*(?:pathlib\.)?(?:Path\.home\(\)|Path\(\s*[\"'](?:~|/)[\"']\s*\)"
    r"|os\.path\.expanduser\(\s*[\"']~/?[\"']\s*\)|os\.environ\[[\"']HOME[\"']\]"
    r"|[\"']/[\"'])"
)
_SHELL_BACK = re.compile(r"\bdup2\b|pty\.spawn|subprocess\.\w+\(\s*\[?\s*[\"'](?:/bin/)?(?:ba)?sh[\"']")


def _python(code: str) -> Iterator[Deed]:
    code = re.sub(r"^([ \t]*)[%!]", r"\1# ", code, flags=re.MULTILINE)
    sends = _SINKS.search(code)
    if sends is not None and (found := _WHOLE_ENV.search(code)):
        yield Deed(
            _at(code, found.start()),
            "exfiltration",
            "critical",
            "sends the whole environment to another machine",
        )
    if sends is not None and (found := _SECRET_FILE.search(code)):
        yield Deed(
            _at(code, found.start()),
            "exfiltration",
            "critical",
            f"reads {found[0]} and talks to another machine",
        )
    if "socket" in code and (found := _SHELL_BACK.search(code)):
        yield Deed(_at(code, found.start()), "remote shell", "critical", "opens a shell to another machine")
    if found := _TREE_GONE.search(code):
        yield Deed(_at(code, found.start()), "destruction", "critical", "deletes a whole home or disk")
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        if re.search(r"\b(?:exec|eval)\s*\(", code) and _DECODERS.search(code):
            yield Deed(1, "obfuscation", "critical", "runs a decoded text")
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _call(node)
    yield from _python_writes(tree, code)


def _call(node: ast.Call) -> Iterator[Deed]:
    name = ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""
    last = name.rpartition(".")[2]
    constant = bool(node.args) and isinstance(node.args[0], ast.Constant)
    if name.removeprefix("builtins.") in _RUNNERS and node.args and not constant:
        inner = ast.unparse(node.args[0])
        hidden = _DECODERS.search(inner) is not None or ".join(" in inner
        yield Deed(
            node.lineno,
            "obfuscation",
            "critical" if hidden else "medium",
            "runs a decoded text" if hidden else f"runs a computed text ({name})",
        )
    elif last == "__import__" and node.args and not constant:
        yield Deed(node.lineno, "obfuscation", "high", "computes the name of a module that it loads")
    elif (
        name == "getattr"
        and len(node.args) > 1
        and isinstance(node.args[1], ast.BinOp | ast.JoinedStr | ast.Call)
    ):
        yield Deed(node.lineno, "obfuscation", "high", "computes the name of a function that it calls")
    elif (name in ("os.system", "os.popen") or name.startswith("subprocess.")) and node.args:
        command = _command(node.args[0])
        if command:
            for deed in (*_anywhere(command), *_shell(command)):
                yield Deed(node.lineno, deed.kind, deed.severity, deed.reason)


def _command(value: ast.expr) -> str:
    """The command of a call, where it is written out."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    if isinstance(value, ast.List | ast.Tuple):
        words = [
            one.value for one in value.elts if isinstance(one, ast.Constant) and isinstance(one.value, str)
        ]
        return " ".join(words)
    if isinstance(value, ast.JoinedStr):
        return "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in value.values)
    return ""


def _python_writes(tree: ast.AST, code: str) -> Iterator[Deed]:
    if not re.search(r"write_text|write_bytes|open\([^)]*[\"'][wa]\+?[\"']|\.write\(", code):
        return
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and "\n" not in node.value
            and _STAYS.search(node.value)
        ):
            yield Deed(
                node.lineno,
                "persistence",
                _worse(node.value),
                f"writes {node.value[:60]}, which is run or obeyed later",
            )
