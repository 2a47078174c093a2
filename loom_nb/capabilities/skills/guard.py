"""The guard of skills: looks for attempts on the agent, its user and the machine in what a skill says.

Texts in, findings out; nothing is run or fetched, and only findings are kept. It reads as an attacker writes:
what is hidden, encoded or spelled with other alphabets is read too; and as a reviewer reads: what is quoted,
tabled or warned of is not what is said. A guard is no proof: what it passes is still data to the agent, and
every act is judged.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from loom_nb.border import clean
from loom_nb.capabilities.files.plans import sealed
from loom_nb.capabilities.skills.code_dangers import Deed, deeds, language_of
from loom_nb.capabilities.skills.contents import Unread
from loom_nb.capabilities.skills.disguises import decoded, turned, unmask
from loom_nb.capabilities.skills.front_matter import NotASkill, read_yaml, split
from loom_nb.capabilities.skills.markup import Segment, Sentence, quoted, segments, sentences
from loom_nb.capabilities.skills.phrases import (
    Phrase,
    Severity,
    chat_marks,
    found_in,
    negated,
    wants_obeyed,
    warns,
)

SEVERITIES: tuple[Severity, ...] = ("info", "low", "medium", "high", "critical")
Verdict: TypeAlias = Literal["pass", "ask", "block"]
MAX_FINDINGS = 40
MAX_LOOKED = 60_000
"""Characters of a file: of a longer one a person decides."""
MAX_TOGETHER = 300_000
"""Characters of all files of a skill, likewise."""
MAX_REPORTS = 512
"""That are kept in memory."""
MAX_LINE = 2_000
"""Characters of a line of code, likewise."""
MAX_PIECES = 400
"""Pieces of code in backticks in one file, likewise."""
_HEAD = "SKILL.md"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    kind: str
    severity: Severity
    reason: str
    file: str
    line: int
    quote: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.reason}" + (f" ({self.severity})" if self.severity else "")


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in a skill, the worst first."""

    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """block: nobody should use it. ask: a person looks at it first. pass: nothing speaks against it."""
        severities = {one.severity for one in self.findings}
        return "block" if "critical" in severities else "ask" if severities & {"high", "medium"} else "pass"

    @property
    def asked(self) -> tuple[Finding, ...]:
        """Those because of which a person is asked."""
        return tuple(one for one in self.findings if one.severity in ("medium", "high", "critical"))

    @property
    def worst(self) -> str:
        """The worst one in words."""
        return str(self.findings[0]) if self.findings else ""


def check(texts: Sequence[tuple[str, str]], unread: Sequence[Unread] = ()) -> Report:
    """What speaks against a skill.

    Args:
        texts: its files by name with what is in them; `SKILL.md` is read as one, others as Markdown or code.
        unread: what nobody looked at.
    """
    parts = (*(part for pair in texts for part in pair), *map(repr, unread))
    key = sealed(*(part.encode("utf-8", "surrogateescape") for part in parts))
    with _LOCK:
        report = _REPORTS.get(key)
    if report is None:
        report = _report([*_findings(texts), *_unread(unread)])
        with _LOCK:
            while len(_REPORTS) >= MAX_REPORTS:
                _REPORTS.pop(next(iter(_REPORTS)))
            _REPORTS[key] = report
    return report


_LOCK = threading.Lock()
_REPORTS: dict[str, Report] = {}
"""By the hash of what was looked at: the texts themselves may be large."""


def _findings(texts: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    """Of file after file, SKILL.md and code before others, until as much was read as is read of one skill."""
    left = MAX_TOGETHER
    for name, text in sorted(texts, key=lambda one: (one[0] != _HEAD, not language_of(*one))):
        length = min(len(text), MAX_LOOKED)
        if length > left:
            why = f"nobody looked at it: of one skill {MAX_TOGETHER:,} characters are looked at"
            yield Finding("size", "medium", why, name, 1)
            return
        left -= length
        yield from _file(name, text)


def _unread(unread: Sequence[Unread]) -> Iterator[Finding]:
    """One finding for each reason."""
    by_reason: dict[tuple[str, bool, bool], list[str]] = {}
    for one in unread:
        by_reason.setdefault((one.why, one.sealed, one.harmless), []).append(one.path)
    for (why, is_sealed, harmless), paths in by_reason.items():
        more = f" ({len(paths):,} of them)" if len(paths) > 1 else ""
        reason = f"has files that nobody looked at{more}: {why}"
        kind = "unread" if is_sealed else "unknown"
        yield Finding(kind, "low" if harmless else "medium", reason, clean(paths[0]) or ".", 1)


def _report(found: list[Finding]) -> Report:
    found = _together(found)
    kept: dict[tuple[str, str, int, str], Finding] = {}
    for one in sorted(found, key=lambda one: (-SEVERITIES.index(one.severity), one.file, one.line)):
        kept.setdefault((one.kind, one.file, one.line, one.reason), one)
    return Report(tuple(kept.values())[:MAX_FINDINGS])


def _together(found: list[Finding]) -> list[Finding]:
    """Who drops the agent's rules and also takes something, or keeps it from the user, means it."""
    kinds = {one.kind for one in found if one.severity == "high"}
    takes = kinds & {"exfiltration", "credentials", "secrecy", "escalation", "spreading", "leak", "download"}
    if ("override" in kinds and takes) or len(takes) > 1:
        return [
            replace(one, severity="critical")
            if one.severity == "high" and one.kind in takes | {"override"}
            else one
            for one in found
        ]
    return found


def _file(name: str, text: str) -> Iterator[Finding]:
    language = "" if name == _HEAD else language_of(name, text)
    if len(text) > MAX_LOOKED:
        yield Finding(
            "size", "medium", f"is longer than what is looked at ({MAX_LOOKED:,} characters)", name, 1
        )
        text = text[:MAX_LOOKED]
    plain, marks = unmask(text)
    for mark in marks:
        severity: Severity = "high" if mark.serious else "medium"
        yield Finding("disguise", severity, f"has {mark.words}", name, mark.line)
    for one in decoded(text):
        yield from _hidden(name, one.line, one.text, one.how)
    yield from _script(name, plain, language) if language else _markdown(name, plain)


def _script(name: str, plain: str, language: str) -> Iterator[Finding]:
    yield from _long_lines(name, plain, 0)
    for deed in deeds(_cut(plain), language):
        yield _of_deed(name, deed, 0)
    yield from _prose(name, Segment("prose", 1, _comments(plain)))


def _markdown(name: str, plain: str) -> Iterator[Finding]:
    if name == _HEAD:
        yield from _fields(name, plain)
        plain = _without_head(plain)
    for how, other in turned(plain):
        yield from _in_cipher(name, other, how)
    for piece in segments(plain):
        if piece.kind == "prose":
            yield from _prose(name, piece)
            yield from _links(name, piece)
        elif piece.kind == "code":
            yield from _code(name, piece)
        else:
            yield from _hidden(name, piece.line, piece.text, "a part that is not shown")


def _without_head(text: str) -> str:
    """The text with empty lines in the place of its front matter."""
    try:
        _, body, line = split(text)
    except NotASkill:
        return text
    return "\n" * (line - 1) + body


def _fields(name: str, text: str) -> Iterator[Finding]:
    """What the front matter says: it is read by the model before anything else is."""
    try:
        head, _, _ = split(text)
        tree = read_yaml(head)
    except NotASkill:
        return
    waiting = [("", tree)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(inner, one) for inner, one in value.items()]
        elif isinstance(value, list):
            waiting += [(key, one) for one in value]
        else:
            place = head.find(value.split("\n")[0][:40]) if value else -1
            line = head.count("\n", 0, max(place, 0)) + 2
            if key in ("allowed-tools", "allowed_tools"):
                if {"*", "all"} & set(re.split(r"[\s,]+", value.casefold())):
                    yield Finding(
                        "escalation", "medium", "asks for every tool (allowed_tools: *)", name, line
                    )
                continue
            for one in (*_prose(name, Segment("prose", 1, value)), *_marks(name, line, value)):
                yield replace(one, line=line, reason=f"its {key or 'head'} {one.reason}")


def _marks(name: str, line: int, text: str) -> Iterator[Finding]:
    if chat_marks(text) or re.match(r"\s*(?:system|assistant)\s*:", text, re.IGNORECASE):
        yield Finding("override", "high", "has marks by which a chat is taken apart", name, line, text[:80])


def _prose(name: str, piece: Segment) -> Iterator[Finding]:
    pieces = 0
    for sentence in sentences(piece):
        said = sentence.said
        pieces += len(sentence.code)
        phrases = list(found_in(said))
        if wants_obeyed(said):
            phrases += [one for inner in quoted(sentence.text) for one in found_in(inner)]
        weak = sentence.listed and (bool(sentence.lead) and warns(sentence.lead))
        for phrase in phrases:
            yield _of_phrase(name, sentence, phrase, weak=weak)
        for phrase in found_in(_spoken(sentence)):
            if phrase.kind == "escalation" and not _SETS.search(sentence.text):
                continue
            if phrase not in phrases and phrase.kind in (
                "exfiltration",
                "credentials",
                "escalation",
                "always",
            ):
                yield _of_phrase(name, sentence, phrase, weak=weak)
        if chat_marks(said):
            yield Finding(
                "override",
                "high",
                "has marks by which a chat is taken apart",
                name,
                sentence.line,
                sentence.text[:80],
            )
        if pieces > MAX_PIECES:
            yield Finding("size", "medium", "has more pieces of code than are looked at", name, sentence.line)
        else:
            yield from _told_to_run(name, sentence)


_SETS = re.compile(
    r"(?:^|[.;:,]\s*|\b(?:and|then|to|first|please|must|should)\s+)(?:call"
    r"|run|set|write|add|use|type|put|enable|turn|execute)\b",
    re.IGNORECASE,
)


def _spoken(sentence: Sentence) -> str:
    """The sentence with its words in backticks, and without those in quotation marks."""
    return (
        re.sub(r"\"[^\"\n]{3,}\"|“[^”\n]{3,}”", " … ", sentence.text).replace("`", "")
        if not sentence.listed
        else ""
    )


def _of_phrase(name: str, sentence: Sentence, phrase: Phrase, *, weak: bool) -> Finding:
    severity = "low" if weak else phrase.severity
    return Finding(phrase.kind, severity, phrase.reason, name, sentence.line, sentence.text[:120])


_RUN = re.compile(
    r"\b(?:run|execute|call|start|type|use|enter|paste|launch|invoke|first|begin with)\b[^.`]{0,40}$",
    re.IGNORECASE,
)


def _told_to_run(name: str, sentence: Sentence) -> Iterator[Finding]:
    """Code in backticks that the sentence tells to run."""
    for code in sentence.code:
        place = sentence.text.find(f"`{code}`")
        before = sentence.text[:place]
        told = not sentence.listed and _RUN.search(before) is not None and not negated(sentence.text, place)
        for deed in deeds(code, "sh"):
            finding = _of_deed(name, deed, 0)
            severity = finding.severity if told else "low"
            yield replace(finding, severity=severity, line=sentence.line)


def _code(name: str, piece: Segment) -> Iterator[Finding]:
    weak = warns(piece.before)
    if piece.language not in ("text", "json", "csv"):
        yield from _long_lines(name, piece.text, piece.line - 1)
    for deed in deeds(_cut(piece.text), piece.language):
        finding = _of_deed(name, deed, piece.line - 1)
        yield replace(finding, severity="low") if weak else finding
    if piece.language in ("", "text", "txt", "md", "markdown"):
        for one in _prose(name, replace(piece, kind="prose")):
            yield replace(one, severity="low") if weak or one.severity == "low" else one
    else:
        for one in _prose(name, Segment("prose", piece.line, _comments(piece.text))):
            yield one


def _cut(code: str) -> str:
    return "\n".join(line[:MAX_LINE] for line in code.split("\n"))


def _long_lines(name: str, code: str, above: int) -> Iterator[Finding]:
    """A line that nobody reads to its end may have anything there."""
    for number, line in enumerate(code.split("\n"), 1):
        if len(line) > MAX_LINE:
            yield Finding(
                "size", "medium", f"has a line of {len(line):,} characters of code", name, above + number
            )
            return


def _comments(code: str) -> str:
    """The comments of a code, in their lines."""
    lines = code.split("\n")
    return "\n".join(
        (found[1] if (found := re.search(r"(?:^|\s)(?:#(?!!)|//)\s*(.*)$", line)) else "") for line in lines
    )


def _of_deed(name: str, deed: Deed, above: int) -> Finding:
    return Finding(deed.kind, deed.severity, deed.reason, name, above + deed.line)


def _hidden(name: str, line: int, text: str, how: str) -> Iterator[Finding]:
    """A text that was hidden or encoded: nothing in it is a mere warning."""
    plain, _ = unmask(text)
    for phrase in found_in(plain, loud=True):
        yield Finding(phrase.kind, "critical", f"in {how}: {phrase.reason}", name, line, plain[:80])
    for deed in deeds(_cut(plain), ""):
        if deed.severity != "low":
            yield Finding(deed.kind, "critical", f"in {how}: {deed.reason}", name, line, plain[:80])
    if re.search(r"\b(?:assistant|AI|AI agent|LLM|claude|gpt)\b\s*[:,]", plain):
        yield Finding("hidden", "high", f"in {how}: speaks to the agent", name, line, plain[:80])


def _in_cipher(name: str, text: str, how: str) -> Iterator[Finding]:
    for number, line in enumerate(text.split("\n"), 1):
        for phrase in found_in(line, loud=True):
            if phrase.kind in ("override", "leak", "exfiltration", "secrecy"):
                yield Finding(phrase.kind, "critical", f"in {how}: {phrase.reason}", name, number, line[:80])


_TOP = frozenset(
    {
        *("com", "org", "net", "io", "dev", "app", "ai", "gov", "edu", "info", "biz", "cloud", "online"),
        *("eu", "uk", "de", "fr", "es", "it", "nl", "ch", "at", "us", "ca", "jp", "cn", "ru", "br"),
    }
)
_LINK = re.compile(r"(!?)\[([^\]\n]{0,300})\]\(\s{0,20}<?([^)\s>]{1,2000})>?[^)]{0,300}\)")
_HOST = re.compile(r"(?:https?://)?((?:[a-z0-9-]+\.)+[a-z]{2,})(?:[/:?#]\S*)?", re.IGNORECASE)


def _links(name: str, piece: Segment) -> Iterator[Finding]:
    """Links that lead elsewhere than they say, and pictures that carry something away."""
    for found in _LINK.finditer(piece.text):
        line = piece.line + piece.text.count("\n", 0, found.start())
        try:
            target = urlsplit(found[3])
            host = (target.hostname or "").casefold()
        except ValueError:
            continue
        said = _HOST.fullmatch(found[2].strip().strip("`"))
        if (
            host
            and said is not None
            and _site(said[1].casefold()) != _site(host)
            and _looks_like_host(found[2])
        ):
            yield Finding(
                "link", "high", f"a link says {said[1]} and leads to {host}", name, line, found[0][:120]
            )
        near = piece.text[max(0, found.start() - 200) : found.end() + 200]
        carries = re.search(r"[?&]\w+=(?:[A-Z_]{3,}|\{|<|\$|%7B|\.\.\.)", found[3])
        if (
            found[1]
            and carries
            and re.search(
                r"\b(?:conversation|data|encoded|secret|answer|content|history|replace)", near, re.IGNORECASE
            )
        ):
            yield Finding(
                "exfiltration", "high", f"a picture carries something to {host}", name, line, found[0][:120]
            )
        if target.username is not None:
            yield Finding(
                "link", "medium", f"a link hides that it leads to {host}", name, line, found[0][:120]
            )
        if found[3].casefold().startswith(("javascript:", "vbscript:")):
            yield Finding("link", "high", "a link runs code", name, line, found[0][:120])


def _looks_like_host(text: str) -> bool:
    """Whether a reader takes the words of a link for the address that it leads to."""
    said = text.strip().strip("`").casefold()
    if said.startswith(("http://", "https://", "www.")):
        return True
    return "/" not in said and said.rpartition(".")[2] in _TOP


def _site(host: str) -> str:
    """The last two names of a host: what somebody owns, nearly."""
    parts = host.removeprefix("www.").split(".")
    keep = 3 if len(parts) > 2 and len(parts[-2]) <= 3 and len(parts[-1]) == 2 else 2
    return ".".join(parts[-keep:])
