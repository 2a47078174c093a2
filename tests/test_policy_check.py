"""`loom-nb policy check`: one case of JSON a line in, one verdict a line out."""

import json
import subprocess
import sys

import pytest

from loom_nb import Veto
from loom_nb.errors import LoomUsageError
from loom_nb.policy_check import PolicyCheck, policy_from


async def judged(*cases, policy=None, root="."):
    async with PolicyCheck(policy, root) as check:
        return [one async for one in check.check([json.dumps(case) for case in cases])]


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        ({"tool": "run_command", "arguments": {"command": "ls -la"}}, "allow"),
        ({"tool": "run_command", "arguments": {"command": "ls -la"}, "tier": "T0"}, "allow"),
        ({"tool": "run_command", "arguments": {"command": "rm -rf ."}}, "ask"),
        ({"tool": "run_command", "arguments": {"command": "rm -rf ."}, "mode": "read-only"}, "deny"),
        ({"tool": "read_file", "arguments": {"path": "../secret"}}, "deny"),
        ({"tool": "write_file", "arguments": {"path": "a.txt", "content": "x"}}, "ask"),
        ({"tool": "write_file", "arguments": {"path": "a.txt", "content": "x"}, "mode": "edits"}, "allow"),
        ({"tool": "write_file", "arguments": {"path": "a.txt", "content": "x"}, "mode": "edits", "origins": ["web"]}, "ask"),
        ({"tool": "web_fetch", "arguments": {"url": "https://example.org"}}, "allow"),
        ({"tool": "web_fetch", "arguments": {"url": "https://example.org"}, "origins": ["file:notes.txt"]}, "ask"),
        ({"tool": "web_fetch", "arguments": {"url": "https://example.org"}, "origins": {"url": "web:https://a.b"}}, "allow"),
        ({"tool": "web_fetch", "arguments": {"url": "http://127.0.0.1/"}}, "deny"),
        ({"tool": "http_request", "arguments": {"url": "https://example.org", "method": "DELETE"}}, "ask"),
        ({"tool": "run_python", "arguments": {"code": "1 + 1"}}, "ask"),
        ({"tool": "run_python", "arguments": {"code": "1 +"}}, "deny"),
        ({"tool": "run_python", "arguments": {"code": "1 + 1"}, "mode": "all", "origins": ["web"]}, "allow"),
        ({"tool": "nothing", "arguments": {}}, "deny"),
        ({"tool": "read_file", "arguments": {"pth": "x"}}, "deny"),
    ],
)  # fmt: skip
async def test_a_case_gets_the_verdict_that_a_run_would(case, verdict, tmp_path):
    (found,) = await judged(case, root=str(tmp_path))
    assert (found.verdict, bool(found.reason), bool(found.rule)) == (verdict, True, True)


async def test_a_root_that_does_not_exist_is_stood_in_for():
    case = {
        "tool": "run_command",
        "arguments": {"command": "cat /no/such/place/a.txt"},
        "root": "/no/such/place",
    }
    (found,) = await judged(case)
    assert found.verdict == "allow"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nonsense", "line 1 is no JSON object"),
        ('{"tool": 3}', "a case has a tool"),
        ('{"tool": "x", "arguments": []}', "a case has a tool"),
        ('{"tool": "x", "mode": "yolo"}', "mode is one of"),
        ('{"tool": "x", "tier": "T9"}', "tier is one of"),
        ('{"tool": "x", "expect": "maybe"}', "expect is"),
        ('{"tool": "x", "origins": ["moon"]}', "origins is a list"),
        ('{"tool": "x", "argments": {}}', "unknown field 'argments'"),
    ],
)
async def test_a_line_that_is_no_case_is_told_by_its_number(line, told):
    async with PolicyCheck() as check:
        with pytest.raises(LoomUsageError, match="line 1") as caught:
            [one async for one in check.check([line])]
    assert told in str(caught.value)


def test_a_policy_is_named_by_mode_or_module(tmp_path, monkeypatch):
    (tmp_path / "house.py").write_text(
        "from loom_nb import *\nfrom loom_nb import GovernancePolicy, Veto\nrules = GovernancePolicy((Veto('write_file'),))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert policy_from("house:rules").rules == (Veto("write_file"),)
    assert policy_from("edits").mode == "edits"
    with pytest.raises(LoomUsageError, match="no_such"):
        policy_from("no_such:thing")
    with pytest.raises(LoomUsageError, match="not a GovernancePolicy"):
        policy_from("json:dumps")


def test_the_command_prints_a_verdict_a_line_and_its_status_is_for_ci(tmp_path):
    cases = tmp_path / "cases.jsonl"
    cases.write_text(
        '{"tool": "run_command", "arguments": {"command": "ls"}, "expect": "allow"}\n\n{"tool": "nothing", "expect": "deny"}\n'
    )
    command = [sys.executable, "-m", "loom_nb", "policy", "check"]
    done = subprocess.run(
        [*command, str(cases)], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["line"], row["verdict"], row["ok"]) for row in rows] == [
        (1, "allow", True),
        (3, "deny", True),
    ]
    assert "2 cases: 1 allow, 0 ask, 1 deny; 0 other than expected" in done.stderr

    wrong = subprocess.run(
        [*command, "-"],
        input='{"tool": "nothing", "expect": "allow"}\n',
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert wrong.returncode == 1
    mistyped = subprocess.run(
        [*command, "nowhere.jsonl"], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert (mistyped.returncode, "cannot read nowhere.jsonl" in mistyped.stdout + mistyped.stderr) == (
        2,
        True,
    )
