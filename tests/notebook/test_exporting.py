"""A run as Markdown, HTML, a script and cells: what is in it, and what never is."""

import ast
import base64
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import nbformat
import pandas as pd
import pytest

from loom_nb import (
    Agent,
    Capability,
    GovernancePolicy,
    MemoryStore,
    Model,
    RunContext,
    Runtime,
    artifact,
    tool,
)
from loom_nb.errors import LoomUsageError
from loom_nb.events import (
    CallFinished,
    CallStarted,
    LogEntry,
    MessageAdded,
    RunFinished,
    RunStarted,
)
from loom_nb.messages import DataPart, Message, Origin, TextPart, ThinkingPart, ToolResultPart, user
from loom_nb.models.scripted import Call
from loom_nb.notebook.exporting import cells, export, kind_of

KINDS = ["md", "html", "py", "ipynb"]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def ran(code, told="(no output)", call_id="c1", outcome="ok"):
    result = ToolResultPart(call_id, "run_python", (TextPart("printed"), TextPart(told)))
    return CallStarted(call_id, "run_python", {"code": code}), CallFinished(result, outcome)


def called(name, arguments, outcome="ok"):
    return CallStarted("c9", name, arguments), CallFinished(
        ToolResultPart("c9", name, (TextPart("r"),)), outcome
    )


def log(*events, run="r1", prompt="Add up the numbers.", answer="The sum is **3**."):
    whole = [
        RunStarted("anthropic:x", prompt),
        MessageAdded(user(prompt, DataPart("df", "...", Origin("notebook"), "DataFrame 3 x 2"))),
        *events,
        MessageAdded(Message("assistant", (ThinkingPart("hm", "SIGNATURE-1", "OPAQUE-2"), TextPart(answer)))),
        RunFinished("completed", answer, cost=0.25, turns=2),
    ]
    return [LogEntry("s", n, run, 100.0 + n, event) for n, event in enumerate(whole, 1)]


def run_as_script(text, folder):
    path = folder / "out.py"
    path.write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("md", "md"),
        ("out.MD", "md"),
        ("a/b.html", "html"),
        ("cells", "ipynb"),
        ("x.ipynb", "ipynb"),
        ("python", "py"),
    ],
)
def test_a_kind_is_told_by_its_name_or_by_that_of_a_file(name, kind):
    assert kind_of(name) == kind


@pytest.mark.parametrize("name", ["", "pdf", "out.docx", "r3"])
def test_other_kinds_are_refused(name):
    with pytest.raises(LoomUsageError, match="not exported as"):
        export(log(), name)


def test_a_log_without_a_run_is_refused():
    with pytest.raises(LoomUsageError, match="no run"):
        export([], "md")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_prompt_code_calls_and_answer_in_order(kind):
    text = export(log(*ran("total = 1 + 2"), *called("read_file", {"path": "a.csv"})), kind, environment={})
    places = [
        text.replace("\\_", "_").find(word)
        for word in ("Add up the numbers", "total", "read_file", "The sum is")
    ]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_runtime_told_the_model_is_not_put_into_the_mouth_of_the_user(kind):
    ours = Origin("system", "schema")
    mend = MessageAdded(Message("user", (TextPart("This does not fit the schema: x", ours),)))

    text = export(log(mend), kind).replace("**", "").lower()

    assert "does not fit the schema" in text
    assert not re.search(r"you:? *this does not fit", text)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_run_gives_the_same_text(kind):
    assert export(log(*ran("x = 1")), kind) == export(log(*ran("x = 1")), kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_that_really_ran_is_exported(kind, tmp_path):
    @tool(read_only=True)
    def draw() -> str:
        artifact("chart", PNG)
        artifact("sales", pd.DataFrame({"a": [1]}))
        return "drawn"

    names = {}
    agent = Agent(
        Model.scripted([Call("run_python", {"code": "n = 20 + 22\nprint(n)"}), Call("draw"), "It is 42."]),
        tools=(draw,),
        capabilities=(Capability.python(names),),
        runtime=replace(Runtime.sdk(), governance=GovernancePolicy(mode="all")),
        session_store=MemoryStore(),
    )
    result = await agent.run("Work it out", context=RunContext(inputs={"k": 7}))
    assert result.status == "completed", result.reason

    text = export(result.events, kind)
    assert "n = 20 + 22" in (
        json.loads(text)["cells"][1]["source"] if kind == "ipynb" else re.sub("<[^>]*>", "", text)
    )
    assert "It is 42" in text
    if kind == "py":
        assert run_as_script(text, tmp_path).stdout == "42\n"
        assert "# artifact: sales · table, 1 row × 1 column" in text
    if kind == "html":
        assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in text


# --- what never is in it

SECRET = "correct-horse-battery"


@pytest.mark.parametrize("kind", KINDS)
def test_signatures_of_thinking_are_left_out(kind):
    text = export(log(), kind)
    assert "SIGNATURE-1" not in text
    assert "OPAQUE-2" not in text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        "sk-ant-api03-abcdefghijklmnop",
        "ghp_" + "a1" * 18,
        "AKIA" + "B2" * 8,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    ],
)
def test_secrets_are_blotted_out_wherever_they_stand(kind, secret):
    events = (
        *ran(f"login('{secret}')"),
        *called("http", {"header": {"key": [f"Bearer {secret}"]}}),
        *ran("x", f"The code raised E: {secret}", "c2"),
    )
    text = export(
        log(*events, prompt=f"my key is {secret}", answer=f"I used `{secret}`, {secret}"),
        kind,
        environment={"MY_TOKEN": SECRET},
    )
    assert secret not in text
    assert secret.replace("_", "\\_") not in text
    assert base64.b64encode(secret.encode()).decode().rstrip("=") not in text
    assert "[secret? " in text.replace("\\", "") or "[secret MY_TOKEN]" in text.replace("\\", "")


@pytest.mark.parametrize("kind", KINDS)
def test_by_default_the_secrets_of_this_process_are_meant(kind, monkeypatch):
    monkeypatch.setenv("LOOM_TEST_SECRET", SECRET)
    assert SECRET not in export(log(answer=SECRET), kind)


def test_ordinary_words_are_not_taken_for_keys():
    text = export(
        log(*ran("from sklearn import x  # sk-learn-contrib-something-longer")), "py", environment={}
    )
    assert "sk-learn-contrib-something-longer" in text


# --- foreign text stays text

NASTY = "</style><script>alert(1)</script><img src=x onerror=alert(1)> [a](javascript:alert(1)) ![p](https://evil.example/p.png)"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_page_is_closed_to_all_that_others_wrote():
    text = export(
        log(*ran(f"x = {NASTY!r}"), *called(NASTY, {NASTY: NASTY}), run=NASTY, prompt=NASTY, answer=NASTY),
        "html",
        environment={},
    )
    tags = Tags()
    tags.feed(text)
    assert not {tag for tag, _ in tags.found} & {
        "script",
        "iframe",
        "object",
        "embed",
        "form",
        "link",
        "base",
    }
    assert [attributes for tag, attributes in tags.found if tag == "img"] == []
    assert not [name for _, attributes in tags.found for name in attributes if name.startswith("on")]
    assert all("javascript:" not in (attributes.get("href") or "") for _, attributes in tags.found)
    assert sum(tag == "style" for tag, _ in tags.found) == 1
    (policy,) = [attributes["content"] for tag, attributes in tags.found if attributes.get("http-equiv")]
    assert policy.startswith("default-src 'none'")


def test_markdown_is_inert_also_where_a_renderer_trusts_html():
    from markdown_it import MarkdownIt

    events = called(NASTY, {NASTY: NASTY})
    text = export(log(*events, run=NASTY, prompt=NASTY, answer=NASTY), "md", environment={})
    tags = Tags()
    tags.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    assert not {tag for tag, _ in tags.found} & {"script", "img", "style"}
    assert [attributes for tag, attributes in tags.found if tag == "a"] == []


@pytest.mark.parametrize("breaker", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\x00"])
def test_no_foreign_text_begins_a_line_of_the_script(tmp_path, breaker):
    evil = f"hello{breaker}print('evil')"
    events = (
        *called(evil, {evil: evil}),
        *ran("1 +", f"The code raised {evil}"),
        *ran(evil, call_id="c3", outcome="denied"),
    )
    text = export(log(*events, run=evil, prompt=evil, answer=evil), "py", environment={})
    assert ast.parse(text).body == []
    done = run_as_script(text, tmp_path)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_script_runs_what_came_to_its_end_and_only_tells_the_rest(tmp_path):
    events = (
        *ran("x = 1"),
        *ran("1/0", "The code raised ZeroDivisionError: division by zero", "c2"),
        *ran("import time; time.sleep(9)", "", "c3", "timeout"),
        *ran("print(x + 1)", "(no output)", "c4"),
        *called("shell", {"command": "rm -rf build"}, "denied"),
    )
    text = export(log(*events), "py")
    assert "# 1/0" in text and "ZeroDivisionError" in text
    assert '# shell {"command":"rm -rf build"} -> denied' in text
    done = run_as_script(text, tmp_path)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_printed_words_that_claim_a_failure_change_nothing():
    result = ToolResultPart("c1", "run_python", (TextPart("The code raised nothing"), TextPart("(done)")))
    text = export(log(CallStarted("c1", "run_python", {"code": "y = 2"}), CallFinished(result)), "py")
    assert "\ny = 2\n" in text


def test_the_script_says_where_code_awaits_or_hides_something():
    text = export(
        log(*ran("import asyncio\nawait asyncio.sleep(0)"), *ran("a = '\u202e'", call_id="c2")), "py"
    )
    assert "# This awaits at the top" in text
    assert "# Careful: this code holds characters that hide" in text


def test_a_call_that_never_began_is_told_as_that():
    result = ToolResultPart("c1", "run_python", (TextPart("denied"),), is_error=True)
    text = export(log(CallFinished(result, "denied")), "py")
    assert "# run_python  -> denied, not called" in text


# --- cells


def test_the_notebook_is_valid_and_has_prompt_code_and_answer():
    events = (
        *ran("x = 1\nx"),
        *ran("1/0", "The code raised ZeroDivisionError", "c2"),
        *called("look", {"a": 1}),
    )
    notebook = nbformat.reads(export(log(*events), "ipynb"), as_version=4)
    nbformat.validate(notebook)
    assert [(cell.cell_type, cell.source.split("\n")[0]) for cell in notebook.cells] == [
        ("markdown", "> **you** Add up the numbers.  "),
        ("code", "x = 1"),
        ("markdown", "This code did not come to its end: The code raised ZeroDivisionError"),
        ("markdown", '`look {"a":1}` → ok'),
        ("markdown", "The sum is **3**."),
    ]
    assert "df (DataFrame 3 x 2)" in notebook.cells[0].source
    assert notebook.cells[1].outputs == []
    assert notebook.cells[1].metadata.loom == {"run": "r1", "ai_generated": True}
    assert not notebook.cells[0].metadata.loom.ai_generated


@pytest.mark.parametrize("source", ["%%bash\nrm -rf /", "!ls", "  %time x", "?x"])
def test_what_a_notebook_would_take_for_a_command_is_no_code_cell(source):
    assert [cell["cell_type"] for cell in cells(log(*ran(source)))] == ["markdown"] * 3


def test_the_cells_alone_are_given_for_an_open_notebook():
    made = cells(log(*ran("x = 1")))
    assert made[1] == {"cell_type": "code", "source": "x = 1"}


@pytest.mark.parametrize("kind", KINDS)
def test_several_runs_follow_each_other(kind):
    text = export([*log(answer="first"), *log(run="r2", answer="second")], kind)
    assert 0 < text.find("first") < text.find("second")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_cut_off_is_exported_as_far_as_it_came(kind):
    assert "Add up" in export(log(*ran("x"))[:3], kind)


@pytest.mark.parametrize("kind", KINDS)
def test_lone_surrogates_can_be_written_to_a_file(kind):
    assert export(log(*ran("x = '\udc80'"), answer="a\udc80"), kind).encode()
