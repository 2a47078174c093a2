"""What is typed into a plain IPython shell, for tests, and what comes back."""

from typing import Any

from IPython.core.completer import CompletionContext
from IPython.core.interactiveshell import InteractiveShell

from loom_nb.notebook import completion
from loom_nb.notebook.card import Card

TOOL = '''from loom_nb import tool
@tool(read_only=True)
def look(page: int) -> str:
    """Look at a page."""
    return f"page {page}: " + "station reading " * 300'''
ASK = "%%loom -q -t look\nplease look at page {}"


def typed(shell: InteractiveShell, line: str) -> Card:
    """The card of a `%loom` line; raises what the line raised."""
    done = shell.run_cell(f"%loom {line}", store_history=True)
    if done.error_in_exec is not None:
        raise done.error_in_exec
    assert isinstance(done.result, Card)
    return done.result


def facts(card: Card) -> dict[str, Any]:
    """The facts of a card by their names."""
    return dict(card.facts)


def offered(shell: InteractiveShell, before: str) -> list[str]:
    """What Tab offers after this text."""
    context = CompletionContext(
        token="", full_text=before, cursor_position=len(before), cursor_line=0, limit=None
    )
    return [one.text for one in completion.complete(context, shell.loom_workbench)["completions"]]
