"""What the user told the offline model: read from the conversation itself, nothing is kept elsewhere."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

TOLD = (
    re.compile(
        r"\b(?:please\s+)?(?:remember|note|keep in mind|don't forget"
        r"|do not forget)\b(?: down)?[\s,:]*(?:that\b)?[\s,:]*(.+)",
        re.I | re.S,
    ),
    re.compile(r"\b(?:merke?|merk) dir\b[\s,:]*(?:dass\b)?[\s,:]*(.+)", re.I | re.S),
    re.compile(r"\b(?:retiens|souviens-toi)\b[\s,:]*(?:que\b)?[\s,:]*(.+)", re.I | re.S),
    re.compile(r"\brecuerda\b[\s,:]*(?:que\b)?[\s,:]*(.+)", re.I | re.S),
)
_OWN = (
    re.compile(
        r"\b(?:my|mein|meine|mi|mon|ma)\s+([\w' -]{1,40}?)\s+(?:is|are|ist|sind|es|est)\s+([^.!?\n]{1,200})",
        re.I,
    ),
    re.compile(r"\b(?P<name>i am called|call me|ich heiße|je m'appelle|me llamo)\s+([^.,!?\n]{1,80})", re.I),
    re.compile(r"\b(?P<name>[iI](?:'m| am)) ([A-Z][\w'-]*(?: [A-Z][\w'-]*)?)(?=\s*(?:[.,!]|and\b|$))"),
    re.compile(r"\bi\s+(?P<home>live)\s+in\s+([^.,!?\n]{1,80})", re.I),
    re.compile(r"\bi\s+(?P<work>work)\s+(?:as|at|for|on|in)\s+([^.,!?\n]{1,80})", re.I),
)
_ASKS_ALL = re.compile(
    r"\bwhat\b.*\b(?:did|have)\b.*\bi\b.*\b(?:tell|told|say|said|ask(?:ed)?) (?:you|to remember)"
    r"|\bwhat do you (?:remember|know about me)"
    r"|\bwhat did i (?:just )?(?:tell|say)|\bdo you remember(?: anything| me| what i)?\b"
    r"|\bwas weißt du (?:noch )?über mich",
    re.I,
)
_ASKS_ONE = re.compile(
    r"\b(?:what(?:'s| is| are| was| were)|who is|who's|which is|do you (?:know|remember)|wie ist"
    r"|was ist|wie lautet|tell me|quel est|cuál es)"
    r"\s+(?:again\s+)?(?:my|mein|meine|mon|ma|mi)\s+([\w' -]{1,40})",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Fact:
    """Something the user said of himself, or asked to be remembered."""

    about: str
    """Of what, in lower case: "name", "favourite colour"; empty for a free note."""
    text: str


def is_question(text: str) -> bool:
    """Whether a text asks rather than tells."""
    start = re.match(r"\s*(?:and\s+|so\s+|please\s+)?(\w+)", text.lower())
    asks = {
        "what",
        "who",
        "where",
        "which",
        "when",
        "how",
        "do",
        "does",
        "did",
        "can",
        "is",
        "are",
        "wie",
        "was",
        "wer",
        "wo",
        "quel",
    }
    return text.rstrip().endswith("?") or bool(start and start[1] in asks)


def facts(text: str) -> list[Fact]:
    """What a text tells to be kept, in order."""
    text = text[:4000]
    if is_question(text) and not re.match(
        r"\s*(?:can|could|will) you\s+(?:please\s+)?remember\s+that\b", text, re.I
    ):
        return []
    found: list[Fact] = []
    body = text
    for pattern in TOLD:
        match = pattern.search(text)
        if match:
            body = match[1].strip().rstrip(".!? ")
            break
    told = body != text
    for sentence in re.split(r"(?<=[.!\n])\s+|\s+and\s+(?=my\b|i\b)", body, flags=re.I):
        own = _own(sentence)
        if own:
            found.append(own)
        elif told and sentence.strip(" .!\n"):
            found.append(Fact("", sentence.strip(" .!\n")))
    return found


def noted_subject(text: str) -> str | None:
    """What a question about a thing asks for ("the deadline"): only a note can answer it, or None."""
    match = re.match(
        r"\s*(?:and |so )?(?:what|when|where|who|which)(?:'s|\s+is|\s+was|\s+are)\s+the\s+"
        r"([\w' -]{1,40}?)(?:\s+again)?\s*[?.!]*$",
        text[:200],
        re.I,
    )
    return match[1].lower() if match else None


def wants_note(text: str) -> bool:
    """Whether a text asks in words to remember something."""
    return any(pattern.search(text[:4000]) for pattern in TOLD)


def asks_for_all(text: str) -> bool:
    """Whether a text asks for everything that was told."""
    return bool(_ASKS_ALL.search(text[:500]))


def asked_about(text: str) -> str | None:
    """Which fact a text asks for ("name", "city"), or None."""
    short = text[:500]
    if re.search(
        r"\bwho am i\b|\bwer bin ich\b|\bwie heiße ich\b|\bcomment je m'appelle\b|\bcómo me llamo\b",
        short,
        re.I,
    ):
        return "name"
    if re.search(r"\bwhere do i live\b", short, re.I):
        return "home"
    if re.search(r"\b(?:what do i do|where do i work)\b", short, re.I):
        return "work"
    match = _ASKS_ONE.search(short)
    return match[1].strip(" ?'").lower() if match else None


def found(about: str, among: Iterable[Fact]) -> Fact | None:
    """The newest fact on a subject; words of a free note count too."""
    newest: Fact | None = None
    for fact in among:
        named = fact.about == about or about in fact.about.split() or fact.about in about.split()
        noted = not fact.about and re.search(rf"\b{re.escape(about)}\b", fact.text.lower()) is not None
        if named or noted:
            newest = fact
    return newest


def _own(sentence: str) -> Fact | None:
    for pattern in _OWN:
        match = pattern.search(sentence)
        if match is None:
            continue
        known = [about for about, value in match.groupdict().items() if value]
        about = known[0] if known else match[1].strip().lower()
        return Fact(about, match[2].strip(" .!\"'"))
    return None
