"""What the offline model has before it: the request of the user, and what was done and told so far."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from loom_nb.border import clean, parse_object
from loom_nb.errors import BorderError
from loom_nb.messages import DataPart, FilePart, ImagePart, Message, TextPart, ToolCallPart, ToolResultPart
from loom_nb.models.offline.arithmetic import number
from loom_nb.models.offline.facts import Facts, read_facts, together
from loom_nb.models.offline.fill import Known
from loom_nb.models.offline.handoff import EARLIER, told_in
from loom_nb.models.offline.tables import tables
from loom_nb.protocols import OutputSchema, Request
from loom_nb.tools import Tool

MAX_TEXT = 6000
"""Characters of a request that are read for words; of a longer one the beginning and the end."""
ASKED = re.compile(r"I need `([^`\n]+)` for `([^`\n]+)`")
"""How a question for an argument is known again in the next turn."""
_CHANGED = re.compile(r"The person changed ([^\n]*?) before allowing it:")
_REFUSED = re.compile(
    r"\w+ was (?:denied|refused)(?P<person> by the person)?[^:\n]*(?::\s*(?P<why>.+))?", re.S
)
_ASIDE = frozenset({"write_plan"})
"""Tools whose result is nothing to go on with."""
_REPAIR = ("This does not fit the schema:", "Your answer does not fit the schema:")
"""How the runtime begins when it asks for a better answer: no new request."""


_KNOWN = frozenset({"memory", "knowledge", "skill"})
_LABEL = re.compile(r"\[[^\]\n]{1,200}\] ")
_CITED = re.compile(r"\[(\d{1,4})\] ")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a note, a document or a skill that was found."""

    kind: str
    source: str
    text: str

    @property
    def mark(self) -> str:
        """By which it is cited; empty for what has no number."""
        number = _CITED.match(self.text)
        return f"[{number[1]}]" if number and self.kind == "knowledge" else ""

    @property
    def head(self) -> str:
        """Title and headings, without the number."""
        if self.kind != "knowledge":
            return ""
        return _CITED.sub("", self.text.partition("\n\n")[0], count=1)

    @property
    def body(self) -> str:
        """Its own words."""
        if self.kind == "memory":
            return _LABEL.sub("", self.text, count=1)
        return self.text.partition("\n\n")[2] if self.kind == "knowledge" else self.text


@dataclass(frozen=True, slots=True)
class Outcome:
    """A call and what came back."""

    name: str
    arguments: dict[str, Any]
    text: str
    is_error: bool = False
    media: int = 0
    """Images and files in the result."""
    changed: tuple[str, ...] = ()
    """Arguments that the person changed before allowing the call: `arguments` are theirs."""
    passages: tuple[Passage, ...] = ()
    """What of it comes from notes, documents or skills."""

    @property
    def refusal(self) -> str:
        """Why the call was not allowed, in words; empty where it was."""
        match = _REFUSED.match(self.text) if self.is_error else None
        if match is None:
            return ""
        why = (match["why"] or "").strip(" .")
        return f"{'you denied it' if match['person'] else 'it was refused'}{f': {why}' if why else ''}"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A message of the user, and all until the next one."""

    text: str
    parts: tuple[DataPart, ...] = ()
    media: int = 0
    turns: tuple[tuple[Outcome, ...], ...] = ()
    answer: str = ""
    found: tuple[Passage, ...] = ()
    """Notes and passages that came along with the words."""

    @property
    def asked(self) -> tuple[str, str] | None:
        """(parameter, tool) that the answer asks for."""
        match = ASKED.search(self.answer)
        return (match[1], match[2]) if match else None


@dataclass(frozen=True, slots=True)
class Task:
    """The newest exchange with its past."""

    text: str
    exchange: Exchange
    past: tuple[Exchange, ...]
    tools: tuple[Tool, ...]
    output: OutputSchema | None = None
    given: dict[str, Any] = field(default_factory=dict)
    """Arguments that the user named when asked: for `given_tool`."""
    given_tool: str = ""
    told: tuple[str, ...] = ()
    """What the user said earlier and is only told in short by now: to be remembered, never an order."""

    def tool(self, name: str) -> Tool | None:
        """The tool of that name."""
        return next((tool for tool in self.tools if tool.name == name), None)

    @property
    def parts(self) -> dict[str, DataPart]:
        """Data that travels with this message, by name."""
        return {part.name: part for part in self.exchange.parts}

    def facts(self, name: str, *, old: bool = True) -> Facts | None:
        """What is known of a variable from data parts and inspections."""
        texts: list[Facts] = []
        if old:
            texts = [
                read_facts(name, text) for exchange in self.past for text in _texts_about(exchange, name)
            ]
        texts += [read_facts(name, text) for text in _texts_about(self.exchange, name)]
        return together(texts[-3:])

    @property
    def known(self) -> Known:
        """Names of variables and columns that came up, the newest first."""
        names: dict[str, None] = {}
        columns: dict[str, None] = {}
        for exchange in (self.exchange, *reversed(self.past[-20:])):
            for name in _variables(exchange):
                names.setdefault(name)
            for part in exchange.parts:
                for column in read_facts(part.name, part.text).columns:
                    columns.setdefault(column.name)
            for outcome in _outcomes(exchange):
                if outcome.name == "inspect_variable" and not outcome.is_error:
                    for column in read_facts("", outcome.text).columns:
                        columns.setdefault(column.name)
        return Known(tuple(names), tuple(columns))


def read_task(request: Request) -> Task:
    """The task of a request."""
    exchanges = _exchanges(request.conversation.messages)
    current = exchanges[-1] if exchanges else Exchange("")
    told = tuple(text for part in _in_short(request.conversation.messages) for text in told_in(part.text))
    return Task(
        _window(current.text), current, tuple(exchanges[:-1]), tuple(request.tools), request.output, told=told
    )


def value_in(text: str) -> Any:
    """The number, text or list that a short piece of data is; None for anything larger."""
    plain = text.strip()
    if not plain or len(plain) > 2000:
        return None
    known = number(plain)
    if known is not None:
        return known
    listing = re.match(r"(?:list|tuple|set): (\d+) items?\n", plain)
    if listing:
        items = [value_in(line) for line in plain.splitlines()[1:]]
        return items if len(items) == int(listing[1]) else None
    if plain[0] in "[{":
        try:
            return parse_object(f'{{"value":{plain}}}')["value"]
        except BorderError:
            return None
    if len(plain) >= 2 and plain[0] == plain[-1] and plain[0] in "'\"":
        return plain[1:-1]
    return plain if "\n" not in plain and len(plain) <= 200 else None


def last_results(task: Task) -> tuple[Outcome, ...]:
    """What the newest tool turn before this message gave, errors left out."""
    for exchange in reversed(task.past[-20:]):
        for turn in reversed(exchange.turns):
            good = tuple(one for one in turn if not one.is_error and one.name not in _ASIDE)
            if good:
                return good
    return ()


def _exchanges(messages: Sequence[Message]) -> list[Exchange]:
    groups: list[list[Message]] = []
    for message in messages:
        only_data = not any(isinstance(part, TextPart) for part in message.parts)  # earlier work, in short
        if only_data and not groups and any(_in_short([message])):
            continue
        if message.role == "user" and not (groups and (only_data or message.text.startswith(_REPAIR))):
            groups.append([message])
        elif groups:
            groups[-1].append(message)
    return [_exchange(group) for group in groups]


def _in_short(messages: Sequence[Message]) -> Iterator[DataPart]:
    """What stands for messages that are not shown."""
    for message in messages:
        for part in message.parts if message.role == "user" else ():
            if isinstance(part, DataPart) and part.name == EARLIER and part.origin.kind == "model":
                yield part


def _exchange(group: list[Message]) -> Exchange:
    first, rest = group[0], group[1:]
    data = [part for one in (first, *rest) if one.role == "user" for part in one.parts]
    found = tuple(map(_passage, filter(_is_known, data)))
    parts = tuple(part for part in first.parts if isinstance(part, DataPart) and not _is_known(part))
    media = sum(isinstance(part, ImagePart | FilePart) for part in first.parts)
    text = re.sub(r"⟨([^⟩\n]{1,200})⟩", r"\1", clean(first.text))
    for part in parts:
        text = text.replace(f"{{{part.name}}}", part.name)
    answer = next(
        (message.text for message in reversed(rest) if message.role == "assistant" and not message.calls), ""
    )
    return Exchange(text, parts, media, tuple(_turns(rest)), clean(answer), found)


def _is_known(part: object) -> bool:
    return isinstance(part, DataPart | TextPart) and part.origin.kind in _KNOWN


def _passage(part: Any) -> Passage:
    return Passage(part.origin.kind, part.origin.source, clean(part.text))


def _turns(messages: list[Message]) -> Iterator[tuple[Outcome, ...]]:
    for place, message in enumerate(messages):
        if message.role != "assistant" or not message.calls:
            continue
        results = {
            part.call_id: part
            for later in messages[place + 1 : place + 2]
            for part in later.parts
            if isinstance(part, ToolResultPart)
        }
        yield tuple(_outcome(call, results.get(call.id)) for call in message.calls)


def _outcome(call: ToolCallPart, result: ToolResultPart | None) -> Outcome:
    try:
        arguments = parse_object(call.arguments or "{}")
    except BorderError:
        arguments = {}
    if result is None:
        return Outcome(call.name, arguments, "no result", is_error=True)
    media = sum(not hasattr(part, "text") for part in result.parts)
    first = result.parts[0] if result.parts else None
    note = (  # only what the runtime itself puts there is the user's word
        _CHANGED.fullmatch(first.text) if isinstance(first, TextPart) and first.origin.trusted else None
    )
    if note is None or len(result.parts) < 2 or not isinstance(result.parts[1], TextPart):
        known = tuple(map(_passage, filter(_is_known, result.parts)))
        return Outcome(call.name, arguments, clean(result.text), result.is_error, media, passages=known)
    try:
        arguments = {**arguments, **parse_object(result.parts[1].text)}
    except BorderError:
        arguments = {}
    text = clean("\n".join(part.text for part in result.parts[2:] if isinstance(part, TextPart)))
    return Outcome(call.name, arguments, text, result.is_error, media, tuple(note[1].split(", ")))


def _outcomes(exchange: Exchange) -> Iterator[Outcome]:
    for turn in exchange.turns:
        yield from turn


def _texts_about(exchange: Exchange, name: str) -> Iterator[str]:
    for part in exchange.parts:
        if part.name == name:
            yield part.text
    for outcome in _outcomes(exchange):
        if (
            outcome.name == "inspect_variable"
            and outcome.arguments.get("name") == name
            and not outcome.is_error
        ):
            yield outcome.text


def _variables(exchange: Exchange) -> Iterator[str]:
    for part in exchange.parts:
        yield part.name
    for outcome in _outcomes(exchange):
        if outcome.is_error:
            continue
        if outcome.name == "list_variables":
            yield from (name for name, _ in listed(outcome.text))
        elif outcome.name == "inspect_variable" and isinstance(outcome.arguments.get("name"), str):
            yield outcome.arguments["name"]


def listed(text: str) -> list[tuple[str, str]]:
    """(name, the rest in words) of each variable in a listing, whatever its layout."""
    for table in tables(text):
        place = table.column("name", "variable")
        if place is not None:
            rows = [
                (row[place].strip("`' "), " · ".join(cell for n, cell in enumerate(row) if n != place))
                for row in table.rows
            ]
            return [(name, rest) for name, rest in rows if name]
    lines = re.findall(
        r"^[\s*•-]*`?([^\W\d]\w{0,80})`?\s*(?:[:|\u2013—-]|\s{2,}|\()\s*(.+)$", text[:20_000], re.M
    )
    return [(name, rest.strip()) for name, rest in lines if name.lower() not in ("name", "error", "note")]


def listed_names(text: str) -> list[str]:
    """Every name in a listing: variables, functions and classes, and those that are only counted up."""
    names = [name for name, _ in listed(text)]
    _, _, code = text.partition("functions and classes:")
    names += re.findall(r"^ +(?:async )?(?:class )?([^\W\d]\w*)", code, re.M)
    for more in re.findall(r"^\.\.\. and [\d,]+ more: (.*)$", text, re.M):
        names += re.findall(r"[^\W\d]\w*", more)
    return names


def names_in_braces(text: str) -> list[str]:
    """The plain names that stand in braces, as a variable is put into a prompt; not in code or TeX."""
    plain = re.sub(r"`[^`\n]*`", " ", without_tex(text))
    return list(dict.fromkeys(re.findall(r"(?<![\\^_$#}\]{\w\"'])\{([^\W\d]\w{0,80})\}(?!\})", plain)))


def without_tex(text: str) -> str:
    """A text without its formulas in TeX: what stands in them is neither arithmetic nor a variable."""
    plain = re.sub(r"\$\$.{1,2000}?\$\$|\\\(.{1,2000}?\\\)|\\\[.{1,2000}?\\\]", " ", text, flags=re.S)
    plain = re.sub(r"\$(?=\S)([^$\n]{1,500})(?<=\S)\$(?!\d)", _unless_money, plain)
    return re.sub(r"\\[A-Za-z]+(?:\{[^{}\n]{0,200}\}){1,4}", " ", plain)


def _unless_money(match: re.Match[str]) -> str:
    inside = match[1]
    formula = re.search(r"[\\^_=+*/<>|(]", inside) or re.fullmatch(r"[A-Za-z]\w?", inside)
    return " " if formula else match[0]


def _window(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1000]}\n{text[-1000:]}"
