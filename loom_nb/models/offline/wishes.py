"""What a request wants done: its pieces in order, each of which begins with a verb, as an order does."""

import re
from dataclasses import dataclass

from loom_nb.models.offline.words import spelled

QUOTED = r"(?:```[\s\S]*?```|`[^`\n]*`|\"[^\"\n]*\"|“[^”\n]*”|(?<!\w)'[^'\n]*'(?!\w))"
"""A piece of text between marks."""
MAX_PIECES = 20

_POLITE = re.compile(
    r"^(?:(?:please|kindly|now|then|and|also|next|first(?:ly)?|second(?:ly)?|third(?:ly)?|finally|lastly"
    r"|afterwards|after that|ok(?:ay)?|so|just|hey|hi|hello)\b[\s,:]*"
    r"|(?:can|could|will|would) you (?:please )?|i(?:'d| would) like you to |i want you to |let['\u2019]?s "
    r"|help me (?:to )?|go ahead and )+",
    re.I,
)
_IF = re.compile(
    r"^(?:(?:and|then)\s+)?if (?P<no>not|no|i (?:say no|do not|don't|refuse|disagree)\b)?"
    r"(?P<yes>yes|so|i (?:say yes|do|agree|want(?: it| that)?|confirm)\b)?\s*,?\s*(?:then\s+)?",
    re.I,
)
_VERBS = """
    clean tidy drop remove delete discard eliminate dedupe deduplicate fill impute replace rename strip
    trim convert parse cast change turn add create make compute calculate insert sort lowercase
    uppercase keep load import read save export write put store move trash erase undo revert run execute
    evaluate start fetch get post patch visit open send ask tell show describe list count print say
    report explain summarise summarize find search look check swap substitute exchange set call use give
    rename order filter take what how which where who
"""
_JOINED = re.compile(
    r"(?:\s*[;\n]+\s*|(?<=[.!?])\s+|\s*,\s*(?:and\s+|then\s+|and then\s+)?"
    r"|\s+(?:and then|and also|then|and|but)\s+)"
)
_HARD = re.compile(r"\s*[;\n]+\s*|\s+")
_NUMBERED = re.compile(r"(?:^|(?<=\s))(\d{1,2})[.)]\s+")
_BULLET = re.compile(r"^\s*[-*•]\s+", re.M)
_PLAN = re.compile(
    r"\b(?:step by step"
    r"|(?:make|write|draw up|show me|with|begin with|start with)(?: me)? (?:a|the|your) plan(?: first)?"
    r"|plan (?:first|it|this|ahead)|first (?:make )?a plan)\b\s*(?:[,:;.]|(?:and|then|to|for)\b)*\s*",
    re.I,
)
_TELLING = re.compile(
    r"^(?:tell|show|report|explain|say|let|give|summari[sz]e|list|describe)\b.*\b(?:changed?|changes|did|done"
    r"|happened|result|difference|outcome|summary|report)\b",
    re.I,
)
_CLOSING = re.compile(r"(?:[\s,]+(?:please|for me|now|thanks|thank you|nicely|too|as well))+[\s.!?]*$", re.I)
_STARTS = spelled(_VERBS)


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing that a request says, without its politeness."""

    text: str
    only_if: bool | None = None
    """The answer, yes or no, on which it hangs."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in pieces."""

    pieces: tuple[Piece, ...]
    numbered: bool = False
    """Whether its steps are counted up."""
    planned: bool = False
    """Whether it asks for a plan in words."""


def asked(text: str) -> Asked:
    """The pieces of a request. What stands between quotation marks is never cut."""
    planned = _PLAN.search(_masked(text)) is not None
    text = _without_plan(text) if planned else text
    steps = _numbered(text)
    spans = steps or [text]
    pieces = [one for span in spans for one in ([span.strip()] if steps else _cut(span))]
    said_once = [one for one, before in zip(pieces, [None, *pieces], strict=False) if one != before]
    found = [_piece(one) for one in said_once[:MAX_PIECES]]
    return Asked(
        tuple(one for one in found if one.text and not _TELLING.match(one.text)),
        numbered=len(steps) >= 2,
        planned=planned,
    )


def unquoted(text: str) -> str:
    """A text without the marks around it."""
    text = text.strip()
    fence = re.fullmatch(r"```[\w+-]*[ \t]*\n?([\s\S]*?)\n?```", text)
    if fence:
        return fence[1]
    if len(text) >= 2 and text[0] + text[-1] in ("``", '""', "''", "“”"):
        return text[1:-1]
    return text


def listed_words(text: str) -> list[str]:
    """What is counted up with commas, "and", "or"; between marks it may hold them."""
    marked = re.findall(QUOTED, text)
    if len(marked) >= 2:
        return [unquoted(one) for one in marked]
    parts = re.split(r"\s*(?:,\s*(?:and|or)\s+|,|\s+(?:and|or)\s+)\s*", text.strip(" .?!:"))
    return [unquoted(one) for one in dict.fromkeys(parts) if one.strip()]


def _masked(text: str) -> str:
    """The same length, with all that is quoted blanked out."""
    return re.sub(QUOTED, lambda match: "\0" * len(match[0]), text)


def _without_plan(text: str) -> str:
    for match in reversed(list(_PLAN.finditer(_masked(text)))):
        text = f"{text[: match.start()]} {text[match.end() :]}"
    return text.strip(" ,:;")


def _numbered(text: str) -> list[str]:
    """The steps of "1. … 2. …", or of lines that begin with a dash; what stands before them is dropped."""
    masked = _masked(text)
    starts: list[tuple[int, int]] = []
    for match in _NUMBERED.finditer(masked):
        if int(match[1]) == len(starts) + 1:
            starts.append(match.span())
    if len(starts) < 2:
        starts = [match.span() for match in _BULLET.finditer(masked)]
    if len(starts) < 2:
        return []
    ends = [*(begin for begin, _ in starts[1:]), len(text)]
    return [text[begin:end].strip(" \n;,.") for (_, begin), end in zip(starts, ends, strict=True)]


def _cut(text: str) -> list[str]:
    masked = _masked(text)
    found, start = [], 0
    for match in _JOINED.finditer(masked):
        hard = _HARD.fullmatch(match[0]) and (match[0].strip() or "\n" in match[0] or match.start() > 0)
        stands_alone = hard and not match[0].strip(" ") and masked[match.start() - 1 : match.start()] in ".!?"
        fenced = masked[match.end() : match.end() + 1] == "\0" and "\n" in match[0]
        begins = _begins(masked[match.end() :])
        if (begins or stands_alone or (hard and match[0].strip(" "))) and not fenced:
            found.append(text[start : match.start()])
            start = match.end()
    return [one.strip(" ,") for one in (*found, text[start:]) if one.strip(" ,.")]


def _begins(rest: str) -> bool:
    """Whether an order or a question begins here."""
    plain = _POLITE.sub("", rest.lstrip())
    plain = _POLITE.sub("", _IF.sub("", plain)) if _conditional(plain) else plain
    word = re.match(r"[A-Za-z]+", plain)
    return bool(word and word[0].lower() in _STARTS)


def _conditional(text: str) -> bool:
    match = _IF.match(text)
    return bool(match and (match["yes"] or match["no"]))


def _piece(text: str) -> Piece:
    text = _POLITE.sub("", text.strip())
    only_if = None
    if _conditional(text):
        match = _IF.match(text)
        only_if = bool(match and match["yes"])
        text = _POLITE.sub("", _IF.sub("", text, count=1))
    ends_quoted = re.search(rf"{QUOTED}\s*$", text) is not None
    return Piece(text.strip() if ends_quoted else _CLOSING.sub("", text).strip(" ,;"), only_if)
