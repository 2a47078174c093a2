"""The handoff that the offline model writes: extracted from the conversation, nothing is added.

It is given a conversation as text, each message under a line `[m3 · tool]`, and sorts sentences that
stand there under the headings of a handoff. The same text always gives the same handoff.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from loom_nb.messages import DataPart, TextPart
from loom_nb.protocols import Request

ASKED = "Write the handoff."
"""The words by which the runtime asks for one."""
EARLIER = "earlier work"
"""The name of the data in which a conversation is told in short."""
HEADINGS = ("Goal", "Progress", "Decisions", "Open tasks", "Produced artifacts", "Risks", "Next step")
LINE, SHORTEST = 200, 60
"""Characters of a line, where there is room, and where there is little."""
TOKEN = 3
"""Characters for a token of the answer, at least."""

_WANTED = re.compile(r"with these headings and short lists: (.+?)\. Keep every")
_MESSAGE = re.compile(r"^\[m(\d+)(?:-m(\d+))? · (user|assistant|tool)\]$", re.M)
_CALL = re.compile(r"^\[call (\w+)\((.*)\)\]$")
_RESULT = re.compile(r"^\[result of (\w+)\]$")
_DATA = re.compile(r"^\[data (.+)\]$")
_STANDS = re.compile(r"\(This stands for .*gives the words themselves\.\)")
_HEADING = re.compile(rf"^\W*({'|'.join(HEADINGS)})\W*$", re.I)
_DECIDED = re.compile(
    r"\b(?:decided?|let's|let us|we (?:will|use|take)|use .{1,60} instead|agreed|from now on|always|never"
    r"|prefer|must)\b",
    re.I,
)
_OPEN = re.compile(r"\b(?:to ?do|still (?:to|needs?|open)|not yet|remains?|later|pending|fixme)\b", re.I)
_WRONG = re.compile(r"^(?:error|traceback|exception|failed|denied|refused|warning)\b|\b\w+Error\b", re.I)
_PATH = re.compile(r'"(?:path|file|filename|target|to|destination)"\s*:\s*"([^"\n]{1,200})"')
_WROTE = re.compile(r"\b(?:wrote|saved|created|written to)\b\s+[`'\"]?([\w./\\~-]+\.\w{1,8})", re.I)
_PLANNED = re.compile(r"^- (.+) \((pending|active)\)$", re.M)


@dataclass(frozen=True, slots=True)
class Told:
    """One message of the text."""

    name: str
    role: str
    text: str


def asked(request: Request) -> str | None:
    """The conversation of which a handoff is to be written; None for any other request."""
    if request.tools or request.output is not None or not request.conversation.messages:
        return None
    match request.conversation.messages[-1].parts:
        case (TextPart(text=text, origin=origin), DataPart(name="conversation", text=conversation)):
            return conversation if text == ASKED and origin.kind == "system" else None
    return None


def headings(request: Request) -> tuple[str, ...]:
    """Those that are asked for."""
    named = _WANTED.search(request.system)
    return tuple(named[1].split(", ")) if named else HEADINGS


def told_in(text: str) -> list[str]:
    """What the person said, as far as a conversation that is told in short has it."""
    return [line.partition(") ")[2] for heading, line in _from_earlier(text, "m1") if heading == "Goal"]


def handoff(conversation: str, tokens: int | None = None, wanted: tuple[str, ...] = HEADINGS) -> str:
    """The handoff of a conversation.

    Args:
        conversation: as text.
        tokens: it has no more than these, as far as an estimate can tell.
        wanted: its headings; under one that no rule knows there is nothing.
    """
    found: dict[str, list[str]] = {heading: [] for heading in HEADINGS}
    for message in _messages(conversation):
        for heading, line in _lines(message):
            if line not in found[heading]:
                found[heading].append(line)
    found["Next step"] = _next(found)
    room = (tokens or 2_000) * TOKEN - 200
    return _written({heading: found.get(heading, []) for heading in wanted}, room)


def _messages(conversation: str) -> Iterator[Told]:
    """The messages in their order; a line that only looks like the head of one is part of its text."""
    heads: list[re.Match[str]] = []
    last = 0
    for match in _MESSAGE.finditer(conversation):
        first = int(match[1])
        if first == last + 1 or not heads:
            heads.append(match)
            last = int(match[2] or first)
    for place, match in enumerate(heads):
        end = heads[place + 1].start() if place + 1 < len(heads) else len(conversation)
        name = f"m{match[1]}-m{match[2]}" if match[2] else f"m{match[1]}"
        yield Told(name, match[3], conversation[match.end() : end].strip())


def _lines(message: Told) -> Iterator[tuple[str, str]]:
    """(heading, line) of what a message tells."""
    if message.role == "user":
        yield from _from_user(message)
    elif message.role == "assistant":
        yield from _from_model(message)
    else:
        yield from _from_tools(message)


def _from_user(message: Told) -> Iterator[tuple[str, str]]:
    words: list[str] = []
    earlier: list[str] = []
    into = words
    for line in message.text.split("\n"):
        data = _DATA.match(line)
        if data:
            into = earlier if data[1] == EARLIER else []
        else:
            into.append(line)
    text = " ".join(" ".join(words).split())
    if text and not text.startswith("[left out"):
        yield "Goal", f"({message.name}) {text}"
        if _DECIDED.search(text):
            yield "Decisions", f"({message.name}) the person: {text}"
        if _OPEN.search(text):
            yield "Open tasks", f"({message.name}) {text}"
    yield from _from_earlier("\n".join(earlier), message.name)


def _from_earlier(text: str, name: str) -> Iterator[tuple[str, str]]:
    """What an earlier handoff or list says stays under its heading."""
    heading = ""
    for line in _STANDS.sub("", text).split("\n"):
        known = _HEADING.match(line)
        if known:
            heading = next(one for one in HEADINGS if one.lower() == known[1].lower())
            continue
        plain = line.strip().removeprefix("- ").strip()
        if not plain or plain in ("none found", "The plan:") or plain.startswith(("DEMO", "[…", "…")):
            continue
        who = re.match(r"m\d+ the person: (.*)", plain)
        if who:
            yield "Goal", f"({plain.partition(' ')[0]}) {who[1]}"
        elif heading and heading != "Next step" and line.lstrip().startswith("-"):
            yield heading, plain
        elif re.match(r"m\d+ ", plain):
            yield "Progress", f"({plain.partition(' ')[0]}) {plain.partition(' ')[2]}"
    for step, status in _PLANNED.findall(text):
        yield "Open tasks", f"({name}) of the plan: {step} ({status})"


def _from_model(message: Told) -> Iterator[tuple[str, str]]:
    words: list[str] = []
    for line in message.text.split("\n"):
        call = _CALL.match(line)
        if call:
            yield "Progress", f"({message.name}) called {call[1]}({_cut(call[2], 120)})"
            for path in _PATH.findall(call[2]):
                yield "Produced artifacts", f"({message.name}) named in a call of {call[1]}: {path}"
        else:
            words.append(line)
    text = " ".join(" ".join(words).split()).removeprefix("DEMO · ")
    if text and not _CALL.search(message.text.rpartition("\n")[2]):
        yield "Progress", f"({message.name}) answered: {text}"


def _from_tools(message: Told) -> Iterator[tuple[str, str]]:
    name, words = "", []
    for line in [*message.text.split("\n"), "[result of end]"]:
        result = _RESULT.match(line)
        if not result:
            words.append(line)
            continue
        text = " ".join(" ".join(words).split())
        if name and text:
            yield "Progress", f"({message.name}) {name} gave: {text}"
            if _WRONG.search(text[:400]):
                yield "Risks", f"({message.name}) {name}: {text}"
            for path in _WROTE.findall(text):
                yield "Produced artifacts", f"({message.name}) {path}"
        name, words = result[1], []


def _next(found: dict[str, list[str]]) -> list[str]:
    if found["Open tasks"]:
        return [found["Open tasks"][-1]]
    return [f"go on with {found['Goal'][-1]}"] if found["Goal"] else []


def _written(found: dict[str, list[str]], room: int) -> str:
    """Under each heading its lines: shorter where there is little room, the middle ones left out first."""
    count = sum(map(len, found.values())) or 1
    width = max(SHORTEST, min(LINE, room // count))
    most = max(7, room // width)
    parts = ["extracted from the conversation by rules, nothing is added"]
    for heading, lines in found.items():
        share = max(1, most * len(lines) // count)
        parts.append("\n".join([f"**{heading}**", *(_shown(lines, share, width) or ["- none found"])]))
    return "\n\n".join(parts)


def _shown(lines: list[str], most: int, width: int) -> list[str]:
    told = [f"- {_cut(line, width)}" for line in lines]
    if len(told) <= most:
        return told
    head = max(1, most // 3)
    tail = max(1, most - head - 1)
    return [*told[:head], f"- … {len(told) - head - tail:,} more", *told[-tail:]]


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[: chars - 1].rstrip()}…"
