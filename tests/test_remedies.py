"""Every way of ending has something to type, and what is typed exists."""

import ast
import re
from typing import get_args

import pytest

import loom_nb
from loom_nb.errors import Fault, RunFault
from loom_nb.events import Status
from loom_nb.notebook.cell import flags
from loom_nb.notebook.line_magics import COMMANDS
from loom_nb.remedies import MOST, REMEDIES, Known, first_of, remedies, typed_and_why

NOT_COMPLETED = [status for status in get_args(Status) if status != "completed"]
FIXES = [(*end, fix) for end in REMEDIES for fix in remedies(*end, Known(variable="ANTHROPIC_API_KEY"))]


@pytest.mark.parametrize("fault", get_args(Fault))
def test_every_failure_of_a_model_has_remedies_of_its_own(fault):
    assert ("failed", fault) in REMEDIES
    assert 2 <= len(remedies("failed", fault)) <= MOST


@pytest.mark.parametrize("fault", get_args(RunFault))
def test_every_other_end_has_remedies_of_its_own(fault):
    assert [status for status, named in REMEDIES if named == fault]


@pytest.mark.parametrize("status", [*NOT_COMPLETED, "interrupted"])
def test_an_end_that_nobody_has_named_yet_has_some_too(status):
    assert len(remedies(status, "of another version")) >= 2


def test_a_completed_run_needs_none():
    assert remedies("completed") == ()


@pytest.mark.parametrize(("status", "fault", "fix"), FIXES)
def test_what_is_typed_exists(status, fault, fix):
    typed, why = typed_and_why(fix)
    if typed.startswith("%%loom"):
        assert [word for word in typed.split() if word.startswith("-")], typed
        assert all(word in flags() for word in typed.split() if word.startswith("-"))
    elif typed.startswith("%loom"):
        assert typed.split()[1] in COMMANDS
    elif why.startswith("a script"):
        names = {node.id for node in ast.walk(ast.parse(typed)) if isinstance(node, ast.Name)}
        known = {"session", "run_id", "path", "model", "os", "getpass"}
        assert all(name in known or hasattr(loom_nb, name) for name in names), typed
    assert not re.search(r"[{}]", fix)


SCRIPTS = sorted({
    fix for _, _, fix in FIXES if fix.endswith("(a script)") and fix.startswith(("Runtime", "Generation"))
})  # fmt: skip


@pytest.mark.parametrize("fix", SCRIPTS)
def test_what_a_script_is_told_can_be_run(fix):
    eval(typed_and_why(fix)[0], {name: getattr(loom_nb, name) for name in dir(loom_nb)})


def test_the_seconds_that_a_vendor_asks_for_are_told():
    first, _, script = remedies("failed", "rate_limit", Known(wait=59.2))

    assert first == "run the cell again in 60 s"
    assert script == "Runtime(retry=RetryPolicy(max_attempts=8, longest_retry_after=60))   (a script)"
    assert remedies("failed", "rate_limit")[0] == "run the cell again in a minute"


def test_a_limit_is_doubled():
    assert remedies("limit", "turns", Known(turns=8))[0] == "%%loom --max-steps 16"
    assert remedies("limit", "timeout", Known(seconds=2.5))[0] == "%%loom --timeout 5"


def test_a_bad_key_is_told_by_its_vendor_and_its_variable():
    kept = remedies("failed", "auth", Known("anthropic"))
    found = remedies("failed", "auth", Known("anthropic", "ANTHROPIC_API_KEY"))

    assert kept[0] == "%loom key set anthropic   (hidden input, kept encrypted)"
    assert "unset ANTHROPIC_API_KEY, which comes first" in found[0]
    assert found[1].startswith('import os, getpass; os.environ["ANTHROPIC_API_KEY"] = ')
    assert len(kept) == 2


def test_what_is_known_best_stands_first_and_once():
    assert first_of(("a", "b"), ("b", "c", "d")) == ("a", "b", "c")
