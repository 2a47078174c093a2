"""What `%load_ext loom_nb` calls: it puts the magics, the cell and the pictures into this shell.

Nothing here touches the network or imports an SDK; loading twice is the same as loading once.
"""

import os
import re
from typing import Any, TypeVar

from IPython.core.completer import context_matcher
from IPython.core.inputtransformer2 import (
    EscapedCommand,
    HelpEnd,
    MagicAssign,
    TokenTransformBase,
    make_tokens_by_line,
)

from loom_nb import __version__
from loom_nb.notebook import completion, line_magics, magics
from loom_nb.notebook.card import Card
from loom_nb.notebook.front_cells import INVITATION
from loom_nb.notebook.key_places import is_begun
from loom_nb.notebook.workbench import Workbench
from loom_nb.settings import MODE_WORDS

_CELL = re.compile(r"[ \t]*%%loom(?=\s|$)")
_LATER = re.compile(r"^[ \t]*%%loom(?=\s|$)", re.MULTILINE)
_TIMING = ("time", "timeit", "prun", "capture", "memit")
_OTHER = re.compile(rf"[ \t]*(%%(?:{'|'.join(_TIMING)}))(?=\s|$)")
"""Magics that run the cell below them as plain Python: a cell that awaits cannot stand there."""
_RESULT = ("loom_nb.runtime.run", "RunResult")
_ARTIFACT = ("loom_nb.runtime.artifacts", "Artifact")
_DIFFERENCE = ("loom_nb.runtime.difference", "RunDifference")
_ATTRIBUTE = "loom_workbench"
_KEYS = {"ANTHROPIC_API_KEY": "anthropic", "OPENAI_API_KEY": "openai"}
"""What the card names of the vendors; the whole list costs an import that loading does without."""


def load_ipython_extension(shell: Any) -> None:
    """Register everything with a shell and show the card."""
    if hasattr(shell, _ATTRIBUTE):
        return
    bench = Workbench(shell)
    setattr(shell, _ATTRIBUTE, bench)
    magics.register(shell, bench)
    shell.input_transformer_manager.cleanup_transforms.insert(0, awaiting_cell)
    shell.input_transformer_manager.token_transformers.extend(AWAITED_LINES)
    bench.matcher = context_matcher(identifier="loom")(lambda context: completion.complete(context, bench))
    shell.Completer.custom_matchers.append(bench.matcher)
    shell.display_formatter.mimebundle_formatter.for_type_by_name(*_RESULT, bench.bundle_of)
    shell.display_formatter.mimebundle_formatter.for_type_by_name(*_ARTIFACT, _artifact)
    shell.display_formatter.mimebundle_formatter.for_type_by_name(*_DIFFERENCE, _difference)
    shell.events.register("post_execute", bench.forget_screen)
    bench.freshness.watch.watch()
    _welcome(shell, bench)


def unload_ipython_extension(shell: Any) -> None:
    """Take everything out again."""
    bench = vars(shell).pop(_ATTRIBUTE, None)
    if bench is None:
        return
    transforms = shell.input_transformer_manager.cleanup_transforms
    if awaiting_cell in transforms:
        transforms.remove(awaiting_cell)
    lines = shell.input_transformer_manager.token_transformers
    lines[:] = [one for one in lines if one not in AWAITED_LINES]
    if bench.matcher in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.remove(bench.matcher)
    bench.forget_screen()
    formatter = shell.display_formatter.mimebundle_formatter
    for ours in (_RESULT, _ARTIFACT, _DIFFERENCE):
        formatter.deferred_printers.pop(ours, None)
        for kind in [one for one in formatter.type_printers if (one.__module__, one.__name__) == ours]:
            formatter.pop(kind)
    shell.events.unregister("post_execute", bench.forget_screen)
    magics.unregister(shell)
    bench.close()


def _artifact(one: Any) -> dict[str, Any]:
    """How an Artifact is displayed."""
    from loom_nb.notebook.artifact_view import bundle

    return bundle(one)


def _difference(one: Any) -> dict[str, Any]:
    """How two runs side by side are displayed."""
    from loom_nb.notebook.difference_card import bundle

    return bundle(one)


def awaiting_cell(lines: list[str]) -> list[str]:
    """A cell whose first line is `%%loom` becomes one that awaits; any other stays as it is.

    One that has it below other code becomes one that says where it belongs, and does nothing else. It runs
    before every other transformation, so that the body arrives as typed.
    """
    first = _first(lines)
    if first is None:
        return lines
    if _is_below_code(lines, first):
        return [f"get_ipython().{_ATTRIBUTE}.refuse_below()\n"]
    above = _OTHER.match(lines[first])
    if above is not None:
        second = _first(lines, first + 1)
        loom = second is not None and _CELL.match(lines[second]) is not None
        return [f"get_ipython().{_ATTRIBUTE}.refuse_under({above[1]!r})\n"] if loom else lines
    mark = _CELL.match(lines[first])
    if mark is None:
        return lines
    options = lines[first][mark.end() :].strip()
    body = "".join(lines[first + 1 :]) or "\n"  # IPython refuses a cell magic without any body
    return [f"await get_ipython().run_cell_magic('loom', {options!r}, {body!r})\n"]


def _first(lines: list[str], start: int = 0) -> int | None:
    """The first line from `start` on that is neither empty nor a comment."""
    for number in range(start, len(lines)):
        if lines[number].strip() and not lines[number].lstrip().startswith("#"):
            return number
    return None


def _is_below_code(lines: list[str], first: int) -> bool:
    """Whether IPython would take a later line for a `%%loom`: in no string, below no cell magic."""
    if lines[first].lstrip().startswith("%%") or not _LATER.search("".join(lines[first + 1 :])):
        return False
    for tokens in make_tokens_by_line(lines):
        begins = next((token for token in tokens if token.string.strip()), None)
        if begins is not None and begins.string == "%" and _CELL.match(lines[begins.start[0] - 1]):
            return True
    return False


awaiting_cell.has_side_effects = True  # type: ignore[attr-defined]  # tells IPython not to call it while one types


class AwaitedLine(EscapedCommand):
    """`%loom context` and `%loom compact` at the left edge of a cell: they are awaited."""

    priority = HelpEnd.priority - 1  # a question may end in a question mark

    @classmethod
    def find(cls, tokens_by_line: Any) -> "AwaitedLine | None":
        """The first line with a command, where it is one of ours."""
        return _ours(super().find(tokens_by_line), tokens_by_line)  # type: ignore[no-untyped-call]  # IPython's

    def transform(self, lines: list[str]) -> list[str]:
        """As any line magic, and awaited."""
        return _awaited(super().transform(lines), self)  # type: ignore[no-untyped-call]  # IPython's


class AwaitedValue(MagicAssign):
    """The same for `card = %loom context`."""

    priority = MagicAssign.priority - 1

    @classmethod
    def find(cls, tokens_by_line: Any) -> "AwaitedValue | None":
        """The first assignment of a magic, where it is one of ours."""
        return _ours(super().find(tokens_by_line), tokens_by_line)  # type: ignore[no-untyped-call]  # IPython's

    def transform(self, lines: list[str]) -> list[str]:
        """As any magic that is assigned, and awaited."""
        return _awaited(super().transform(lines), self)


AWAITED_LINES = (AwaitedLine, AwaitedValue)
_LINE = re.compile(r"%loom[ \t]+(.*)")
T = TypeVar("T", bound=TokenTransformBase)


def _ours(found: T | None, tokens_by_line: Any) -> T | None:
    """What was found, where it is a command that is awaited and stands in no block: not in a function."""
    if found is None:
        return None
    for tokens in tokens_by_line:
        for token in tokens:
            if token.start == (found.start_line + 1, found.start_col):
                magic = _LINE.match(token.line, found.start_col)
                in_block = token.line[:1].isspace()
                return found if magic and not in_block and line_magics.is_awaited(magic[1]) else None
    return None


def _awaited(lines: list[str], place: TokenTransformBase) -> list[str]:
    line, at = lines[place.start_line], place.start_col
    lines[place.start_line] = f"{line[:at]}await {line[at:]}"
    return lines


def _welcome(shell: Any, bench: Workbench) -> None:
    mode = bench.equipment.mode
    demo = " (demo, free)" if bench.model_name == "offline" else ""
    key = next((name for name in _KEYS if os.environ.get(name)), None)
    hint = f"{key} is set: %loom model {_KEYS[key]}" if key else "%loom key set anthropic (hidden, encrypted)"
    if not key and is_begun(bench.settings.home):
        hint = "%loom models says for which one is kept here, %loom key what else is"
    card = Card(
        f"loom_nb {__version__}",
        (
            ("model", f"{bench.model_name}{demo}"),
            ("keys", "none needed for the demo" if demo else bench.key_state()),
            *((("Have a key?", hint),) if demo else ()),
            ("approvals", f"{mode}: {MODE_WORDS[mode]}"),
        ),
        steps=(("%%loom", "and a prompt below it"), ("%loom", "status and next steps")),
    )
    data = {"text/plain": str(card), "text/html": card.to_html()}
    shell.display_pub.publish(data=data, metadata=INVITATION if bench.mode() == "live" else {})
