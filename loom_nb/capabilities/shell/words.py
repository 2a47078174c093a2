"""A shell command cut into words and operators, for the small part of the language that means what it says.

Bash, dash and the other shells agree on this part: plain words, quotes, escapes, globs, `|`, `&&`, `||`,
`;`, line ends, comments and a few redirections. Whatever else stands in the command raises `Unsure`; so a
word that comes out of here has exactly one meaning, known before the command runs.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Iterator, Sequence

MAX_CHARS = 4_000
MAX_COMMANDS = 16
MAX_WORDS = 200

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,:+@%=^-~#")
_GLOB = frozenset("*?[]")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\[[^\]]*\])?\+?=")
_OPERATORS = ("&&", "||", ";", "|")
_REDIRECTIONS = (">>", ">&", "<", ">")
_SAYS = {
    "$": "expands a variable or runs a command inside of it",
    "`": "runs a command inside of it (backticks)",
    "{": "uses braces, which the shell expands or groups by",
    "}": "uses braces, which the shell expands or groups by",
    "(": "runs a group in a shell of its own",
    ")": "runs a group in a shell of its own",
    "&": "runs in the background or uses an operator that shells read differently",
    "!": "uses the shell's history",
    "\\": "continues a line",
}


def names(text: str) -> frozenset[str]:
    """The words of a text as a set; the tables of this package are written so."""
    return frozenset(text.split())


class Unsure(Exception):
    """The command is outside of what is known to be a read; the text says why, for the approval card."""

    def __init__(self, reason: str, *, destructive: bool = False, unknown: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.destructive = destructive
        self.unknown = unknown
        """Whether something was met of which nobody can say what it does, so that the worst must be said."""


@dataclasses.dataclass(frozen=True)
class Word:
    """One word after quotes are taken off."""

    text: str
    raw: str
    start: int
    """Offset in the command, in characters; `end` likewise."""
    end: int
    active: frozenset[int] = frozenset()
    """Where in `text` an unquoted `*`, `?`, `[` or `]` stands."""

    @property
    def is_glob(self) -> bool:
        """Whether the shell may replace it by names of files."""
        return any(self.text[index] != "]" for index in self.active)

    @property
    def is_bare(self) -> bool:
        """Whether it is written without quotes and escapes."""
        return self.text == self.raw


@dataclasses.dataclass(frozen=True)
class Operator:
    """`|`, `&&`, `||`, `;`, a line end, a redirection, or the number of the stream that it redirects."""

    text: str
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Redirection:
    """`2>/dev/null` is stream 2, operator `>`, target `/dev/null`."""

    stream: str
    operator: str
    target: Word


@dataclasses.dataclass(frozen=True)
class SimpleCommand:
    """A program's name with its arguments."""

    words: tuple[Word, ...]
    redirections: tuple[Redirection, ...] = ()


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """Commands joined by `|`, and how the whole is joined to what stands before: `&&`, `||` or `;`."""

    joined_by: str
    negated: bool
    commands: tuple[SimpleCommand, ...]


def strange_characters(command: str) -> str:
    """Say what in the characters themselves forbids to trust the command's looks, or nothing."""
    if len(command) > MAX_CHARS:
        return f"is longer than {MAX_CHARS:,} characters"
    for character in command:
        if " " <= character <= "~" or character in "\n\t":
            continue
        code = f"U+{ord(character):04X}"
        category = unicodedata.category(character)
        if category[0] == "C":
            return f"holds an invisible or control character ({code})"
        if category[0] == "Z":
            return f"holds a space that is not a plain space ({code})"
        if unicodedata.normalize("NFKC", character) != character:
            return f"holds a character that looks like another one ({code})"
    return ""


def cut(command: str) -> list[Word | Operator]:
    """Cut a command into its words and operators; raises `Unsure` for all that is not plain."""
    pieces: list[Word | Operator] = []
    place = 0
    while place < len(command):
        character = command[place]
        if character in " \t":
            place += 1
        elif character == "\n":
            pieces.append(Operator(";", place, place))
            place += 1
        elif character == "#":
            end = command.find("\n", place)
            place = len(command) if end < 0 else end
        elif operator := _operator_at(command, place):
            pieces.append(operator)
            place = operator.end
        else:
            word = _word_at(command, place)
            place = word.end
            stream = word.is_bare and word.text.isdigit() and command[place : place + 1] in ("<", ">")
            pieces.append(Operator(word.text, word.start, word.end) if stream else word)
    return pieces


def _operator_at(command: str, place: int) -> Operator | None:
    for text in (*_REDIRECTIONS, *_OPERATORS):
        if not command.startswith(text, place):
            continue
        following = command[place + len(text) : place + len(text) + 1]
        if following and following in "<>&|(;":
            raise Unsure(f"uses the operator {text}{following}")
        return Operator(text, place, place + len(text))
    return None


def _word_at(command: str, start: int) -> Word:
    text: list[str] = []
    active: set[int] = set()
    place = start
    while place < len(command) and command[place] not in " \t\n|&;<>":
        character = command[place]
        if character == "'":
            end = command.find("'", place + 1)
            if end < 0:
                raise Unsure("has a quote that is never closed")
            text.extend(command[place + 1 : end])
            place = end + 1
        elif character == '"':
            place = _double_quoted(command, place + 1, text)
        elif character == "\\":
            escaped = command[place + 1 : place + 2]
            if not " " <= escaped <= "~":
                raise Unsure(_SAYS["\\"])
            text.append(escaped)
            place += 2
        else:
            _check_plain(command, start, place)
            if character in _GLOB:
                active.add(len(text))
            text.append(character)
            place += 1
    if place == start:
        raise Unsure(_SAYS[command[place]])
    return Word("".join(text), command[start:place], start, place, frozenset(active))


def _double_quoted(command: str, place: int, text: list[str]) -> int:
    while place < len(command):
        character, following = command[place], command[place + 1 : place + 2]
        if character == '"':
            return place + 1
        if character == "\\" and following == "\n":
            raise Unsure(_SAYS["\\"])
        if character == "\\" and following in ("$", "`", '"', "\\"):
            text.append(following)
            place += 2
            continue
        # A dollar before the end of the string or a blank is itself in all shells: "foo$".
        if character in "`!" or (character == "$" and following not in ('"', " ", "|")):
            raise Unsure(_SAYS[character])
        text.append(character)
        place += 1
    raise Unsure("has a quote that is never closed")


def _check_plain(command: str, start: int, place: int) -> None:
    character = command[place]
    if character in _GLOB:
        return
    if character == "!":
        # `! cmd`, `find ! -name` and `!=` are not history, not even for an interactive shell.
        end = place + 2 if command[place + 1 : place + 2] == "=" else place + 1
        if place == start and command[end : end + 1] in ("", " ", "\t"):
            return
    if character == "=" and place == start and command[place : place + 2].strip("= ") == "":
        return
    if character == "~" and (place == start or command[place - 1] in ":="):
        raise Unsure("names a home folder (~)")
    if character == "=" and place == start:
        raise Unsure("begins a word with =, which some shells expand")
    if character in _PLAIN or (character == "=" and place > start):
        return
    if not character.isascii():
        raise Unsure(f"holds the character {character} outside of quotes")
    raise Unsure(_SAYS.get(character, f"uses {character}"))


def pipelines(pieces: Sequence[Word | Operator]) -> list[Pipeline]:
    """Group pieces into pipelines; raises `Unsure` when they do not form a plain list of them."""
    found: list[Pipeline] = []
    commands: list[SimpleCommand] = []
    joined_by, negated = ";", False
    for group, ending in _groups(pieces):
        words, redirections = _simple(group)
        if not words and not redirections:
            raise Unsure("has an operator with nothing beside it")
        if not commands and words and words[0].raw == "!":
            negated, words = True, words[1:]
        if not words:
            raise Unsure("redirects without a program")
        if assigned := _ASSIGNMENT.match(words[0].text):
            raise Unsure(f"sets the variable {assigned[1]}")
        commands.append(SimpleCommand(tuple(words), tuple(redirections)))
        if ending != "|":
            found.append(Pipeline(joined_by, negated, tuple(commands)))
            joined_by, commands, negated = ending, [], False
    if commands or joined_by != ";":
        raise Unsure("ends with an operator")
    total = [command for pipeline in found for command in pipeline.commands]
    if len(total) > MAX_COMMANDS or sum(len(command.words) for command in total) > MAX_WORDS:
        raise Unsure(f"joins more than {MAX_COMMANDS} commands or {MAX_WORDS} words")
    return found


def _groups(pieces: Sequence[Word | Operator]) -> Iterator[tuple[list[Word | Operator], str]]:
    group: list[Word | Operator] = []
    pending = False
    for piece in pieces:
        if not (isinstance(piece, Operator) and piece.text in _OPERATORS):
            group.append(piece)
            pending = False
            continue
        if piece.start == piece.end and not group:
            continue  # a line end after an operator, or an empty line
        if piece.text == ";" and not group:
            raise Unsure("has an operator with nothing beside it")
        yield group, piece.text
        group, pending = [], piece.text != ";"
    if group or pending:
        yield group, ";"


def _simple(group: Sequence[Word | Operator]) -> tuple[list[Word], list[Redirection]]:
    words: list[Word] = []
    redirections: list[Redirection] = []
    rest = list(group)
    while rest:
        piece = rest.pop(0)
        if isinstance(piece, Word):
            words.append(piece)
            continue
        stream = ""
        if piece.text.isdigit():
            stream, piece = piece.text, rest.pop(0)
        target = rest.pop(0) if rest else None
        if not isinstance(target, Word):
            raise Unsure("redirects to nothing")
        redirections.append(Redirection(stream, piece.text, target))
    return words, redirections
