"""A shell command as a syntax tree: a second opinion on how it was cut, and a look for what it would do.

The tree comes from tree-sitter's grammar of bash. A command is believed only if the tree holds nothing but
known kinds of nodes and its leaves are the very words and operators that `words.cut` found.
"""

import dataclasses
import functools
import typing
from collections.abc import Iterator, Sequence

from loom_nb.capabilities.shell.words import Operator, Unsure, Word

if typing.TYPE_CHECKING:
    from tree_sitter import Node, Parser, Tree

_STRUCTURE = frozenset(
    (
        *("program", "list", "pipeline", "command", "command_name", "negated_command"),
        *("redirected_statement", "file_redirect", "file_descriptor"),
        *("test_command", "unary_expression", "binary_expression", "test_operator"),
    )
)
_WHOLE = frozenset(("word", "number", "string", "raw_string", "concatenation"))
_INSIDE = _WHOLE | {"string_content"}
_SAYS = {
    "ansi_c_string": "hides characters in a quoted string ($'…')",
    "translated_string": 'hides characters in a quoted string ($"…")',
    "simple_expansion": "expands a variable",
    "expansion": "expands a variable",
    "command_substitution": "runs a command inside of it",
    "process_substitution": "runs a command inside of it",
    "arithmetic_expansion": "computes inside of it",
    "brace_expression": "expands braces",
    "variable_assignment": "sets a variable",
    "function_definition": "defines a function",
    "declaration_command": "sets a variable",
    "unset_command": "unsets a variable",
    "heredoc_redirect": "feeds a text to a program (<<)",
    "herestring_redirect": "feeds a text to a program (<<<)",
    "subshell": "runs a group in a shell of its own",
    "compound_statement": "runs a group of commands",
    "for_statement": "repeats commands (for)",
    "c_style_for_statement": "repeats commands (for)",
    "while_statement": "repeats commands (while)",
    "if_statement": "decides between commands (if)",
    "case_statement": "decides between commands (case)",
    "extglob_pattern": "matches files in a way that shells do differently",
    "regex": "matches in a way that shells do differently",
}


@functools.cache
def _parser() -> "Parser":
    import tree_sitter
    import tree_sitter_bash

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


def parse(command: str) -> "Tree":
    """The syntax tree of a command that can be written as UTF-8."""
    return _parser().parse(command.encode())


def agree(command: str, tree: "Tree", pieces: Sequence[Word | Operator]) -> None:
    """Raise `Unsure` unless the tree is made of known nodes and tells the same words and operators."""
    if tree.root_node.has_error:
        raise Unsure("is not a complete shell command")
    leaves = [span for span in _leaves(tree.root_node) if span[0] != span[1]]
    offsets = _offsets(command)
    expected = [(offsets[piece.start], offsets[piece.end]) for piece in pieces if piece.start != piece.end]
    if leaves != expected:
        raise Unsure("is quoted or joined in a way that can be read differently")


def _offsets(command: str) -> list[int]:
    if command.isascii():
        return list(range(len(command) + 1))
    offsets = [0]
    for character in command:
        offsets.append(offsets[-1] + len(character.encode()))
    return offsets


def _leaves(root: "Node") -> Iterator[tuple[int, int]]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.type in {"\n", "comment"}:
            continue
        if node.is_named and node.type in _WHOLE:
            _check_inside(node)
            yield node.start_byte, node.end_byte
        elif node.is_named and node.type not in _STRUCTURE:
            raise Unsure(_SAYS.get(node.type, f"holds a {node.type.replace('_', ' ')}"))
        elif node.child_count == 0:
            yield node.start_byte, node.end_byte
        else:
            waiting.extend(reversed(node.children))


def _check_inside(node: "Node") -> None:
    waiting = list(node.children)
    while waiting:
        child = waiting.pop()
        if child.is_named and child.type not in _INSIDE:
            raise Unsure(_SAYS.get(child.type, f"holds a {child.type.replace('_', ' ')}"))
        waiting.extend(child.children)


@dataclasses.dataclass(frozen=True)
class Glimpse:
    """What a command that was not understood seems to run; for words on a card, never for a leave."""

    programs: tuple[tuple[str, ...], ...] = ()
    """Names with arguments, quotes taken off as well as can be."""
    writes: tuple[tuple[str, str], ...] = ()
    """Redirections into files: operator and target."""
    constructs: tuple[str, ...] = ()
    """Sentences on what else it does: expands a variable, repeats commands."""
    background: bool = False


class Rooted(typing.Protocol):
    """A tree, or a part of one."""

    @property
    def root_node(self) -> "Node":
        """Its top."""
        ...


def glimpse(tree: "Rooted") -> Glimpse:
    """Collect, however deep they are nested, the programs, redirections and constructs of a tree."""
    programs: list[tuple[str, ...]] = []
    writes: list[tuple[str, str]] = []
    constructs: dict[str, None] = {}
    background = False
    waiting = [tree.root_node]
    while waiting:
        node = waiting.pop()
        if node.type == "command":
            programs.append(
                tuple(_plain(child) for child in node.named_children if "redirect" not in child.type)
            )
        elif node.type == "file_redirect":
            destination = node.child_by_field_name("destination")
            operator = next((child.type for child in node.children if not child.is_named), "")
            writes.append((operator, _plain(destination) if destination else ""))
        elif node.type == "&":
            background = True
        if node.is_named and node.type in _SAYS:
            constructs[_SAYS[node.type]] = None
        waiting.extend(reversed(node.children))
    return Glimpse(tuple(programs), tuple(writes), tuple(constructs), background)


def _plain(node: "Node") -> str:
    text = (node.text or b"").decode(errors="replace")
    return text.translate({ord(mark): None for mark in "'\"\\"}) if node.type != "raw_string" else text[1:-1]
