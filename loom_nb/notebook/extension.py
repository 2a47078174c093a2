"""What `%load_ext loom_nb` calls: it puts the magics, the cell and the pictures into this shell.

Nothing here touches the network or imports an SDK; loading twice is the same as loading once.
"""

import os
import re
from typing import Any

from IPython.core.completer import context_matcher

from loom_nb import __version__
from loom_nb.notebook import completion, magics
from loom_nb.notebook.card import Card
from loom_nb.notebook.workbench import Workbench
from loom_nb.settings import MODE_WORDS

_CELL = re.compile(r"[ \t]*%%loom(?=\s|$)")
_TIMING = ("time", "timeit", "prun", "capture", "memit")
_OTHER = re.compile(rf"[ \t]*(%%(?:{'|'.join(_TIMING)}))(?=\s|$)")
"""Magics that run the cell below them as plain Python: a cell that awaits cannot stand there."""
_RESULT = ("loom_nb.runtime.run", "RunResult")
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
    bench.matcher = context_matcher(identifier="loom")(lambda context: completion.complete(context, bench))
    shell.Completer.custom_matchers.append(bench.matcher)
    shell.display_formatter.mimebundle_formatter.for_type_by_name(*_RESULT, bench.bundle_of)
    shell.events.register("post_execute", bench.forget_screen)
    _welcome(shell, bench)


def unload_ipython_extension(shell: Any) -> None:
    """Take everything out again."""
    bench = vars(shell).pop(_ATTRIBUTE, None)
    if bench is None:
        return
    transforms = shell.input_transformer_manager.cleanup_transforms
    if awaiting_cell in transforms:
        transforms.remove(awaiting_cell)
    if bench.matcher in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.remove(bench.matcher)
    bench.forget_screen()
    formatter = shell.display_formatter.mimebundle_formatter
    formatter.deferred_printers.pop(_RESULT, None)
    for kind in [kind for kind in formatter.type_printers if (kind.__module__, kind.__name__) == _RESULT]:
        formatter.pop(kind)
    shell.events.unregister("post_execute", bench.forget_screen)
    magics.unregister(shell)
    bench.close()


def awaiting_cell(lines: list[str]) -> list[str]:
    """A cell whose first line is `%%loom` becomes one that awaits; any other stays as it is.

    It runs before every other transformation, so that the body arrives as typed.
    """
    first = _first(lines)
    if first is None:
        return lines
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


awaiting_cell.has_side_effects = True  # type: ignore[attr-defined]  # tells IPython not to call it while one types


def _welcome(shell: Any, bench: Workbench) -> None:
    mode = bench.equipment.mode
    demo = " (demo, free)" if bench.model_name == "offline" else ""
    key = next((name for name in _KEYS if os.environ.get(name)), None)
    hint = (
        f"{key} is set: %loom model {_KEYS[key]}"
        if key
        else "set ANTHROPIC_API_KEY (%loom models names the others), then %loom model anthropic"
    )
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
    shell.display_pub.publish(data=data, metadata={})
