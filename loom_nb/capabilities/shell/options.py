"""What a program may be given and still only read: its options, their values, and its operands.

A `Grammar` is an allow-list. An option that is not on it, an abbreviation of one that is, and a value of
another shape raise `Unsure`. Options and values are read as GNU programs read them; because others stop at
the first operand, whatever follows an operand must be harmless as a path as well.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from loom_nb.capabilities.shell.ground import Ground
from loom_nb.capabilities.shell.words import Unsure, Word

Operands = Literal["content", "names", "text", "none"]
"""Paths whose content is printed, paths that are just looked at, free text, or nothing at all."""

_NUMBER = re.compile(r"[+-]?[0-9]+[A-Za-z]{0,3}")
_COUNT = re.compile(r"-[0-9]+")


@dataclasses.dataclass(frozen=True)
class Call:
    """One program's arguments after they were understood."""

    program: str
    options: tuple[tuple[str, str], ...]
    """Names without dashes, with their values."""
    operands: tuple[Word, ...]
    ground: Ground
    places: tuple[str, ...] = ()
    """The paths that the operands stand for, resolved."""

    def has(self, *names: str) -> bool:
        """Whether one of these options was given."""
        return any(name in names for name, _ in self.options)

    def values(self, *names: str) -> list[str]:
        """The values of these options."""
        return [value for name, value in self.options if name in names]


Check = Callable[[Call], None]


@dataclasses.dataclass(frozen=True)
class Grammar:
    """The allow-list of one program.

    `short` is written like getopt's: `nqvc#d=` are the flags n, q, v, the option c with a number and the
    option d with a text. `long` holds names parted by blanks with the same marks at their ends:
    `=` text, `#` number, `@` path that is read, `%` path that is looked at, `?` text that is optional and
    attached.
    """

    short: str = ""
    long: str = ""
    operands: Operands = "content"
    first_is_text: tuple[str, ...] | None = None
    """The first operand is a pattern or a script, unless one of these options was given."""
    most: int | None = None
    counts: bool = False
    """Whether `-5` means a number of lines."""
    free: bool = False
    """Whether words with a dash are nothing special, as for `echo`."""
    getopt: bool = True
    """Whether options follow getopt; else each must stand alone (`-a -L 2`), as parsers differ."""
    check: Check | None = None


@functools.cache
def _kinds(grammar: Grammar) -> dict[str, str]:
    """The mark of each option by its name; empty for a flag."""
    found = dict(re.findall(r"(\S)([=#@%?]?)", grammar.short))
    found |= {name.rstrip("=#@%?"): name[len(name.rstrip("=#@%?")) :] for name in grammar.long.split()}
    return found | {"help": "", "version": ""}


def understand(program: str, grammar: Grammar, words: Sequence[Word], ground: Ground) -> Call:
    """Read the arguments by the grammar; raises `Unsure` at the first that it does not cover."""
    options: list[tuple[str, str]] = []
    operands: list[Word] = []
    kinds = _kinds(grammar)
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.text == "--" and grammar.getopt and not grammar.free:
            operands += rest
            break
        if grammar.free or not word.text.startswith("-") or word.text == "-":
            operands.append(word)
            continue
        _stays_as_written(program, word, ground)
        if grammar.counts and _COUNT.fullmatch(word.text):
            continue
        if not grammar.getopt and not word.text.startswith("--") and len(word.text) > 2:
            raise Unsure(f"writes options of {program} in one: {word.text}", unknown=True)
        for name, value in _option(program, word.text, rest, kinds, ground):
            _check_value(program, name, value, kinds[name], ground)
            if operands and value:
                ground.check(value)
            options.append((name, value))
    call = Call(program, tuple(options), tuple(operands), ground)
    _check_operands(call, grammar)
    return call


def _option(
    program: str, text: str, rest: list[Word], kinds: dict[str, str], ground: Ground
) -> Iterator[tuple[str, str]]:
    """One argument's options (`--name`, `--name=value`, `-abc`, `-n5`), with the next word if need be."""
    if text.startswith("--"):
        name, equals, value = text[2:].partition("=")
        if len(name) < 2 or name not in kinds or (equals and not kinds[name]):
            reason = f"uses an option of {program} that is not known to only read: {text}"
            raise Unsure(reason, unknown=True)
        if kinds[name] in ("", "?") or equals:
            yield name, value
        else:
            yield name, _next(program, text, rest, ground)
        return
    letters = text[1:]
    while letters:
        name, letters = letters[0], letters[1:]
        if name not in kinds:
            reason = f"uses an option of {program} that is not known to only read: -{name} (in {text})"
            raise Unsure(reason, unknown=True)
        if not kinds[name]:
            yield name, ""
        elif letters or kinds[name] == "?":
            yield name, letters
            return
        else:
            yield name, _next(program, text, rest, ground)


def _next(program: str, option: str, rest: list[Word], ground: Ground) -> str:
    if not rest:
        raise Unsure(f"gives {program} no value for {option}")
    word = rest.pop(0)
    _stays_as_written(program, word, ground)
    return word.text


def _stays_as_written(program: str, word: Word, ground: Ground) -> None:
    """An option such as `--include=*.py` is handed on as it is, as long as no file is named like that."""
    if word.is_glob and ground.matches(word):
        raise Unsure(
            f"gives {program} an option that depends on the names of files: {word.raw}", unknown=True
        )


def _check_value(program: str, name: str, value: str, kind: str, ground: Ground) -> None:
    if kind == "#" and not _NUMBER.fullmatch(value):
        raise Unsure(f"gives {program} {value!r} for the number {name}")
    if kind == "@" and value != "-":
        ground.check(value)
    elif kind == "%":
        ground.check(value, content=False)


def _check_operands(call: Call, grammar: Grammar) -> None:
    operands = call.operands
    if grammar.first_is_text is not None and not call.has(*grammar.first_is_text):
        if operands and operands[0].is_glob:
            call.ground.check_word(operands[0])
        operands = operands[1:]
    if operands and grammar.operands == "none":
        raise Unsure(f"gives {call.program} something that it might act on: {operands[0].raw}", unknown=True)
    if grammar.most is not None:
        if len(operands) > grammar.most:
            raise Unsure(f"gives {call.program} a file that it might write: {operands[-1].raw}", unknown=True)
        if any(operand.is_glob for operand in operands):
            raise Unsure(f"gives {call.program} as many files as match: {operands[0].raw}", unknown=True)
    places = [place for operand in operands for place in _places(operand, grammar, call.ground)]
    if grammar.check:
        grammar.check(dataclasses.replace(call, operands=operands, places=tuple(places)))


def _places(operand: Word, grammar: Grammar, ground: Ground) -> list[str]:
    if grammar.operands == "text":
        return ground.check_word(operand, content=False) if operand.is_glob else []
    if operand.text == "-" and grammar.operands == "content":
        return []
    return ground.check_word(operand, content=grammar.operands == "content")
