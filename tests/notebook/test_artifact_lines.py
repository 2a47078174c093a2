"""`%loom artifacts`, the ledgers of past requests, and a dry run with tools, as they are typed."""

import pytest

from loom_nb.errors import LoomUsageError
from tests.notebook.shells import typed

MADE = '''from loom_nb import artifact, tool
@tool(read_only=True)
def look(page: int) -> str:
    """Look at a page."""
    artifact("a note", f"page {page}")
    return "looked"'''


def test_artifacts_are_listed_and_saved_and_nothing_is_overwritten(shell, tmp_path):
    assert "nothing has run yet" in str(typed(shell, "artifacts"))
    shell.run_cell(MADE)
    assert shell.run_cell("%%loom -q -t look\nplease look at page 1").success
    assert shell.run_cell("%%loom -q\n2 + 2").success
    told = str(typed(shell, "artifacts"))
    assert "artifacts of r1" in told and "a note" in told and "text/plain" in told
    assert "r2 made no artifacts" in str(typed(shell, "artifacts r2"))
    target = tmp_path / "note.txt"
    typed(shell, f"artifacts save 'a note' {target}")
    assert target.read_text() == "page 1"
    target.write_text("mine")
    with pytest.raises(LoomUsageError, match="exists already") as refused:
        typed(shell, f"artifacts save 'a note' {target}")
    assert target.read_text() == "mine"
    typed(shell, refused.value.fixes[0].removeprefix("%loom "))
    assert target.read_text() == "page 1"
    with pytest.raises(LoomUsageError, match="no artifact 'a not'") as near:
        typed(shell, f"artifacts save 'a not' {target}")
    assert near.value.fixes[0].startswith("%loom artifacts save 'a note'")
    with pytest.raises(LoomUsageError, match="takes a name and a path"):
        typed(shell, "artifacts save x")


def test_a_past_request_lists_the_tools_that_were_sent_and_the_next_one_does_not(talk):
    card = typed(talk, "context r1")
    past = str(card)
    assert "tool:look" in [row[0] for row in card.tables[0].rows]
    assert "what request 2 of 2 of r1 was made of" in past

    (table,) = typed(talk, "context").tables
    assert "tool:look" not in [row[0] for row in table.rows]
    assert "what request 1 of 2 of r1" in str(typed(talk, "context show r1.1"))
    with pytest.raises(LoomUsageError, match="r1 has no request 9") as wrong:
        typed(talk, "context r1.9")
    assert wrong.value.fixes == ("%loom context r1.2",)


def test_a_dry_run_with_tools_lists_them_in_the_one_ledger(talk):
    dry = talk.run_cell("%%loom -n -t look\nplease look at page 9").result
    names = [item.name for item in dry.items]
    assert "tool:look" in names and names[-1] == "m13"
    assert "tool:look" in str(dry)
    assert dry.tokens == sum(item.tokens for item in dry.items)
