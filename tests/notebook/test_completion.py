"""What Tab offers behind commands and flags, in a plain shell."""

import pytest

from loom_nb.notebook.line_magics import COMMANDS
from tests.notebook.shells import offered


def test_every_command_is_offered(shell):
    assert offered(shell, "%loom ") == list(COMMANDS)


@pytest.mark.parametrize(
    ("before", "first"),
    [
        ("%loom show ", "r3"),
        ("%loom resume ", "r3"),
        ("%loom fork ", "r3"),
        ("%loom diff r1 ", "r3"),
        ("%loom export r1 ", "--to"),
        ("%loom artifacts ", "r3"),
        ("%loom artifacts sa", "save"),
        ("%loom sessions ", "find"),
        ("%loom sessions --all fi", "find"),
        ("%loom replay st", "strict"),
        ("%loom approvals ", "ask"),
        ("%%loom --fork ", "r3"),
        ("%%loom --continue ", "r3"),
        ("%%loom --replay ", "auto"),
        ("%%loom --approve ", "ask"),
    ],
)
def test_what_may_follow_is_offered(talk, before, first):
    assert offered(talk, before)[0] == first


def test_where_nothing_may_follow_what_was_typed_stands(shell):
    assert offered(shell, "%loom replay strict an") == ["an"]
    assert offered(shell, "%loom diff r1 r2 ") == [""]
