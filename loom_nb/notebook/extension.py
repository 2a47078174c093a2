"""What `%load_ext loom_nb` calls: it puts the magics, the cell and the pictures into this shell.

Nothing here touches the network or imports an SDK; loading twice is the same as loading once.
"""

import re
from typing import Any

from IPython.core.completer import context_matcher

from loom_nb import __version__
from loom_nb.notebook import completion, magics
from loom_nb.notebook.card import Card
from loom_nb.notebook.workbench import Workbench

_CELL = re.compile(r"[ \t]*%%loom(?=\s|$)")
_RESULT = ("loom_nb.runtime.run", "RunResult")
_ATTRIBUTE = "loom_workbench"


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
    for number, line in enumerate(lines):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        mark = _CELL.match(line)
        if mark is None:
            return lines
        options = line[mark.end() :].strip()
        body = "".join(lines[number + 1 :]) or "\n"  # IPython refuses a cell magic without any body
        return [f"await get_ipython().run_cell_magic('loom', {options!r}, {body!r})\n"]
    return lines


awaiting_cell.has_side_effects = True  # type: ignore[attr-defined]  # tells IPython not to call it while one types


def _welcome(shell: Any, bench: Workbench) -> None:
    demo = " (demo, free)" if bench.model_name == "offline" else ""
    card = Card(
        f"loom_nb {__version__}",
        (
            ("model", f"{bench.model_name}{demo}"),
            ("keys", "none needed for the demo" if demo else bench.key_state()),
            ("tools", "may look at this notebook's variables; runs only what you hand over with -t"),
        ),
        steps=(("%%loom", "and a prompt below it"), ("%loom", "status and next steps")),
    )
    data = {"text/plain": str(card), "text/html": card.to_html()}
    shell.display_pub.publish(data=data, metadata={})
