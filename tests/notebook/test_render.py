"""Five surfaces, one set of facts; HTML that a sanitizer leaves alone; nothing random without `times`."""

import hashlib
import html as stdlib_html
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from loom_nb.events import (
    CallDelta,
    CallFinished,
    CallJudged,
    CallStarted,
    Event,
    LogEntry,
    MessageAdded,
    Noticed,
    RetryScheduled,
    RunFinished,
    RunInterrupted,
    RunStarted,
    SessionOpened,
    TextDelta,
    ThinkingDelta,
    TurnFinished,
    TurnStarted,
)
from loom_nb.messages import (
    DataPart,
    ImagePart,
    Message,
    Origin,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
    user,
)
from loom_nb.notebook import render
from loom_nb.notebook.transcript import Notice, Prompt, Transcript

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c020000000b4944415478da6364f80f0001050101270"
    "2e3660000000049454e44ae426082"
)

ANSWER = """I removed **24 rows** with an impossible temperature and kept everything else. The means hardly
moved, so the cleaning did not change the picture.

| column | before | after | change |
|:--|--:|--:|--:|
| `temperature` | 14.81 | 14.79 | -0.1 % |
| `humidity` | 61.20 | 61.18 | -0.0 % |
| `station` | 12 | 12 | none |

What I did:

1. looked at the *extremes* of every numeric column,
2. dropped rows outside -60 °C … 60 °C,
3. compared the means, where $\\bar{x} = \\frac{1}{n}\\sum_i x_i$.

```python
plausible = df["temperature"].between(-60, 60)   # a sensor that fails reports 999
clean = df[plausible].copy()
```

> The report could not be written: `out/` is read-only. Prices such as $5 and $10 are no formulas.

See [the handbook](https://example.org/handbook/quality?section=3) for the limits.
"""

VARIABLES = "3 variables\n\ndf      DataFrame 1,204 x 8\nlimits  dict, 4 keys\nplot    function (frame)"
TABLE = """       temperature  humidity
mean         14.81     61.20
1%           -8.20     20.10
99%         999.00     98.70"""
DENIED = "PermissionError: out/report.csv: the folder is read-only"
DESCRIBE = '{"name": "df", "columns": ["temperature", "humidity"], "percentiles": [0.01, 0.99]}'
FRAME = "DataFrame 1,204 x 8 -> schema + 5 rows"
THOUGHT = (
    "The user wants the frame cleaned. First see what there is, then look at the extremes of each numeric "
    "column before touching anything."
)


def result(
    call_id: str, name: str, text: str, *, is_error: bool = False, image: bytes = b""
) -> ToolResultPart:
    parts = (TextPart(text, Origin("tool", name)),)
    pictures = (ImagePart(image, "image/png", Origin("tool", name), "histogram.png"),) if image else ()
    return ToolResultPart(call_id, name, parts + pictures, is_error, Origin("tool", name))


def showcase() -> list[Event]:
    """A run with everything in it."""
    calls = (
        ToolCallPart("c1", "list_variables", "{}"),
        ToolCallPart("c2", "describe", DESCRIBE),
    )
    save = ToolCallPart("c3", "save_report", '{"path": "out/report.csv", "rows": 1180}')
    return [
        SessionOpened(),
        RunStarted("offline:demo", "clean {df} and tell me what changed"),
        MessageAdded(
            user(
                "clean {df} and tell me what changed",
                DataPart("df", "x" * 1248, Origin("notebook", "df"), FRAME),
                DataPart("limits", "y" * 160, Origin("notebook", "limits"), "dict with 4 keys"),
            )
        ),
        TurnStarted(1, 380),
        ThinkingDelta(THOUGHT[:60]),
        ThinkingDelta(THOUGHT[60:]),
        TextDelta("Let me look at the data "),
        TextDelta("first."),
        CallDelta("c1", "list_variables", "{}"),
        CallDelta("c2", "describe", calls[1].arguments[:20]),
        CallDelta("c2", "describe", calls[1].arguments[20:]),
        MessageAdded(
            Message(
                "assistant",
                (
                    ThinkingPart(THOUGHT),
                    TextPart("Let me look at the data first.", Origin("model")),
                    *calls,
                ),
            )
        ),
        TurnFinished(1, Usage(412, 60), "tool_calls", "demo", 0.8),
        CallJudged("c1", "list_variables", "allow"),
        CallStarted("c1", "list_variables", {}, ("reads",)),
        CallJudged("c2", "describe", "allow"),
        CallStarted("c2", "describe", json.loads(calls[1].arguments), ("reads",)),
        CallFinished(result("c1", "list_variables", VARIABLES), "ok", 0.02),
        CallFinished(
            result("c2", "describe", TABLE, image=PIXEL),
            "ok",
            0.31,
            10_485_760,
        ),
        Noticed("describe: the middle of a long result was left out of the request", "warning"),
        TurnStarted(2, 700),
        RetryScheduled(1, 2.0, "rate_limit", "429 Too Many Requests"),
        MessageAdded(Message("assistant", (save,))),
        TurnFinished(2, Usage(700, 20), "tool_calls", "demo", 0.5),
        CallJudged("c3", "save_report", "ask", "writes a file", "ask-for-writes"),
        CallStarted("c3", "save_report", json.loads(save.arguments), ("writes",)),
        CallFinished(result("c3", "save_report", DENIED, is_error=True), "error", 0.004),
        TurnStarted(3, 900),
        TextDelta(ANSWER[:200]),
        TextDelta(ANSWER[200:]),
        MessageAdded(Message("assistant", (TextPart(ANSWER, Origin("model")),))),
        TurnFinished(3, Usage(900, 240), "end", "demo", 1.9),
        RunFinished("completed", ANSWER, usage=Usage(2012, 320), cost=0.0, turns=3, seconds=3.6),
    ]  # fmt: skip


# --- the same facts, read from each surface

CALL = tuple[str, str, str]
"""Tool, the first 16 letters of the hash of its arguments, outcome."""
OUTCOMES = {
    "": "ok",
    "ok": "ok",
    "failed": "error",
    "invalid arguments": "invalid",
    "unknown tool": "unknown_tool",
    "denied": "denied",
    "timed out": "timeout",
    "stopped": "stopped",
    "outcome unknown": "lost",
}
WORDS = "|".join(
    sorted((re.escape(word) for word in OUTCOMES if word and word != "ok"), key=len, reverse=True)
)
STATUSES = ("stopped", "limit", "denied", "failed", "interrupted", "running", "waiting")


def hash_of(arguments: str) -> str:
    told = re.search(r"sha256:([0-9a-f]{16})\)$", arguments)
    if told:
        return told[1]
    canonical = json.dumps(json.loads(arguments), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def ends(footer: str) -> tuple[int, str]:
    tokens = re.search(r"([\d,]+)(?:→|->)([\d,]+) tok", footer)
    total = sum(int(number.replace(",", "")) for number in tokens.groups()) if tokens else 0
    first = re.split(r" [·|] ", footer)[0]
    return total, first if first in STATUSES else "completed"


def facts_of_plain(text: str) -> tuple[list[CALL], int, str]:
    calls = []
    lines = text.rstrip("\n").split("\n")
    for number, line in enumerate(lines):
        found = re.match(rf"(?:✓|✗|■|ok|x|#) ([\w-]+)(?: \[[a-z, ]*\])?(?: ({WORDS}))?(?: (?:→|->) |$)", line)
        if found:
            after = lines[number + 1] if number + 1 < len(lines) else ""
            told = after.removeprefix("    arguments ") if after.startswith("    arguments ") else "{}"
            calls.append((found[1], hash_of(told), OUTCOMES[found[2] or ""]))
    return calls, *ends(lines[-1])


def facts_of_markdown(text: str) -> tuple[list[CALL], int, str]:
    calls = []
    lines = [line for line in text.split("\n") if line]
    for number, line in enumerate(lines):
        found = re.match(rf"- [✓✗■] `([\w-]+)`(?: \*[a-z, ]+\*)?(?: \*\*({WORDS})\*\*)?", line)
        if found:
            told = re.match(r"  arguments (`+) ?(.*?) ?\1$", lines[number + 1])
            calls.append((found[1], hash_of(told[2] if told else "{}"), OUTCOMES[found[2] or ""]))
    return calls, *ends(lines[-1].strip("*").replace("\\", ""))


def facts_of_llm(text: str) -> tuple[list[CALL], int, str]:
    calls = [
        (name, hash_of(arguments), OUTCOMES[word])
        for name, arguments, word in re.findall(r"^\[tool ([\w-]+) (.*) -> ([a-z ]+)\]$", text, re.MULTILINE)
    ]
    return calls, *ends(text.rstrip("\n").split("\n")[-1].strip("[]"))


def facts_of_html(text: str) -> tuple[list[CALL], int, str]:
    told = re.findall(r'title="tool ([\w-]+): ([a-z ]+); arguments sha256:([0-9a-f]{16})"', text)
    footer = stdlib_html.unescape(re.search(r"<footer[^>]*>(.*?)</footer>", text)[1])
    return [(name, sha, OUTCOMES[word]) for name, word, sha in told], *ends(footer)


def facts_of_record(record: dict[str, Any]) -> tuple[list[CALL], int, str]:
    calls = [(call["name"], call["arguments_sha256"][:16], call["outcome"]) for call in record["calls"]]
    return calls, record["usage"]["input_tokens"] + record["usage"]["output_tokens"], record["status"]


def every_outcome(status: str) -> list[Event]:
    outcomes = ("ok", "error", "invalid", "unknown_tool", "denied", "timeout", "stopped", "lost")
    arguments = [
        '{"b": 1, "a": "x"}',
        "{}",
        json.dumps({"text": "word " * 2_000}),
        '{"q": "ö \\" ` | < [x](y)"}',
    ]
    calls = [ToolCallPart(f"c{n}", f"tool_{n}", arguments[n % 4]) for n in range(len(outcomes))]
    done = [
        CallFinished(result(f"c{n}", f"tool_{n}", f"result {n}", is_error=n > 0), outcome)
        for n, outcome in enumerate(outcomes)
    ]
    return [
        RunStarted("anthropic:claude", "go"),
        MessageAdded(user("go")),
        TurnStarted(1),
        MessageAdded(Message("assistant", tuple(calls))),
        TurnFinished(1, Usage(1_000, 234), "tool_calls"),
        *done,
        RunFinished(status, "", "because", usage=Usage(1_000, 234), turns=1),
    ]


RUNS = {
    "showcase": showcase(),
    "in the middle": showcase()[:17],
    **{status: every_outcome(status) for status in ("completed", "stopped", "limit", "denied", "failed")},
    "interrupted": [*every_outcome("completed")[:-1], RunInterrupted()],
    "nothing": [],
}


@pytest.mark.parametrize("name", [name for name in RUNS if name not in ("in the middle", "nothing")])
@pytest.mark.parametrize("only_ascii", [False, True])
def test_all_surfaces_state_the_same_calls_tokens_and_status(name, only_ascii):
    bundle = render.bundle(Transcript.of(RUNS[name]), ascii=only_ascii)
    expected = facts_of_record(bundle[render.RECORD_TYPE])

    assert len(expected[0]) in (3, 8)
    assert facts_of_plain(bundle["text/plain"]) == expected
    assert facts_of_markdown(bundle["text/markdown"]) == expected
    assert facts_of_llm(bundle["text/llm+plain"]) == expected
    assert facts_of_html(bundle["text/html"]) == expected


def of_the_runtime() -> list[Event]:
    """A run whose answer had to be mended, and was attempted once more."""
    schema, attempt = Origin("system", "schema"), Origin("system", "attempt")
    wrong = TextPart("x: not an *integer*\n# you", Origin("model"))
    mend = (TextPart("This does not fit the schema: ", schema), wrong, TextPart("\nOnly JSON.", schema))
    critique = DataPart("critique", "say it in kelvin", Origin("model", "judge"), "what to do better")
    again = (TextPart("Your answer was not accepted.", attempt), critique)
    return [
        RunStarted("scripted", "how warm is it?"),
        MessageAdded(user("how warm is it?")),
        TurnStarted(1),
        MessageAdded(Message("assistant", (TextPart('{"x": "warm"}', Origin("model")),))),
        MessageAdded(Message("user", mend)),
        TurnStarted(2),
        MessageAdded(Message("assistant", (TextPart('{"x": 14}', Origin("model")),))),
        MessageAdded(Message("user", again)),
        TurnStarted(3),
        MessageAdded(Message("assistant", (TextPart('{"x": 287}', Origin("model")),))),
        RunFinished("completed", '{"x": 287}', turns=3),
    ]


def test_what_the_runtime_tells_the_model_is_a_notice_on_every_surface_and_no_words_of_the_user():
    transcript = Transcript.of(of_the_runtime())
    bundle = render.bundle(transcript)
    record = json.dumps(bundle[render.RECORD_TYPE])

    prompts = [block for block in transcript.blocks if isinstance(block, Prompt)]
    notices = [block.text for block in transcript.blocks if isinstance(block, Notice)]
    assert [prompt.text for prompt in prompts] == ["how warm is it?"]
    assert notices == [
        "told the model: This does not fit the schema: x: not an *integer* # you Only JSON.",
        "told the model: Your answer was not accepted. (with critique)",
    ]
    assert "(i) told the model: This does not fit the schema: x: not an *integer*" in bundle["text/plain"]
    assert "you:" not in bundle["text/plain"]
    assert "told the model: This does not fit the schema: x: not an \\*integer\\*" in bundle["text/markdown"]
    assert "**You" not in bundle["text/markdown"]
    assert "told the model: This does not fit the schema" in bundle["text/html"]
    assert ">You" not in bundle["text/html"]
    assert "[info: told the model: This does not fit the schema" in bundle["text/llm+plain"]
    assert "[user]" not in bundle["text/llm+plain"].split("how warm is it?", 1)[-1]
    assert "does not fit" not in record and "not accepted" not in record


@pytest.mark.parametrize("name", RUNS)
def test_every_surface_can_be_made_at_any_point_of_a_run(name):
    for count in range(len(RUNS[name]) + 1):
        bundle = render.bundle(Transcript.of(RUNS[name][:count]), times=True)
        json.dumps(bundle)
        assert all(bundle.values())


def test_nothing_differs_between_two_equal_runs_without_times():
    def run(n: int) -> list[LogEntry]:
        events = []
        for event in showcase():
            if isinstance(event, TurnFinished):
                event = TurnFinished(event.turn, event.usage, event.stop_reason, event.model, n * 0.37)
            if isinstance(event, CallFinished):
                event = CallFinished(event.result, event.outcome, n * 1.9, event.chars)
            if isinstance(event, RetryScheduled):
                event = RetryScheduled(event.attempt, n * 0.77, event.fault, event.message)
            if isinstance(event, RunFinished):
                event = RunFinished(
                    "completed", event.output, usage=event.usage, cost=0.0, turns=3, seconds=n * 9.0
                )
            events.append(LogEntry(f"session{n}", len(events) + 1, f"run-{n}", n * 1e9, event))
        return events

    one, other = Transcript.of(run(1)), Transcript.of(run(2))

    assert render.bundle(one) == render.bundle(other)
    assert render.bundle(one, times=True) != render.bundle(other, times=True)
    assert render.metadata(one)["loom"]["run"] == "run-1"


def test_times_are_told_on_request():
    plain = render.plain(Transcript.of(showcase(), run="r7"), times=True)

    assert plain.endswith("demo · 3 steps · 2,012→320 tok · $0 · 3.6 s · r7\n")
    assert "✓ list_variables [reads] (20 ms) →" in plain and "waiting 2 s, attempt 1" in plain


# --- each surface by itself


def test_plain_text_is_readable_from_top_to_bottom():
    plain = render.plain(Transcript.of(showcase()[:13] + showcase()[-3:]))

    assert plain.startswith(
        "DEMO\n\n"
        "used: df (DataFrame 1,204 x 8 -> schema + 5 rows, ~312 tok) · limits (dict with 4 keys, ~40 tok)\n\n"
        "thinking:\n"
        "  The user wants the frame cleaned. First see what there is, then look at the extremes of each\n"
        "  numeric column before touching anything.\n\n"
        "Let me look at the data first.\n\n"
    )


def test_no_line_of_plain_text_is_wider_than_100_columns():
    wide = (
        "word " * 100
        + "x" * 500
        + " "
        + "漢字" * 100
        + "\n\n```\n"
        + "code " * 80
        + "\n```\n\n| "
        + "cell " * 60
        + "|"
    )
    events = [*every_outcome("failed")[:-1], MessageAdded(Message("assistant", (TextPart(wide),)))]
    events.append(RunFinished("failed", "", "why " * 200, "key"))

    for name in ("showcase", "failed"):
        for line in render.plain(Transcript.of(RUNS[name])).split("\n"):
            assert len(line) <= 100
    for line in render.plain(Transcript.of(events)).split("\n"):
        assert len(line) + sum("\u2e80" < char < "\ua000" for char in line) <= 100


def test_ascii_text_of_an_ascii_run_is_ascii():
    assert render.plain(Transcript.of(every_outcome("failed")), ascii=True).replace("ö", "").isascii()


def test_the_prompt_stands_in_the_cell_and_is_shown_only_on_request():
    transcript = Transcript.of(showcase())

    assert "clean {df}" not in render.html(transcript) + render.plain(transcript) + render.markdown(
        transcript
    )
    assert "clean {df}" in render.html(transcript, prompt=True)
    assert "you: clean {df} and tell" in render.plain(transcript, prompt=True)
    assert "**you** clean {df} and tell" in render.markdown(transcript, prompt=True)
    assert "[user] clean {df}" in render.llm(transcript)


def test_what_is_left_out_of_a_result_is_told_on_each_surface():
    long = "\n".join(f"line {n}" for n in range(3_000))
    call = ToolCallPart("c", "read", "{}")
    done = CallFinished(result("c", "read", long), "ok", 0.0, 10_485_760)
    transcript = Transcript.of([MessageAdded(Message("assistant", (call,))), done, RunFinished("completed")])
    bundle = render.bundle(transcript)

    for surface in ("text/plain", "text/markdown", "text/llm+plain", "text/html"):
        text = bundle[surface].replace("\\", "")
        assert "of 10,485,760 characters; the rest can be read with read_result" in text.replace(
            "\n      ", " "
        )
        assert re.search(r"[\d,]+ more characters", text)
        assert len(text) < 12_000


@pytest.mark.parametrize(
    ("status", "fault", "words"),
    [
        ("failed", "key", ["The run failed (key)", "%loom doctor", "%%loom -m offline"]),
        ("failed", "overloaded", ["The run failed (overloaded)", "run the cell again"]),
        ("limit", "turns", ["A limit was reached (turns)", "--max-steps"]),
        ("stopped", "", ["Stopped"]),
        ("denied", "", ["Not allowed"]),
    ],
)
def test_a_run_that_did_not_complete_says_why_and_what_to_do(status, fault, words):
    transcript = Transcript.of([RunStarted("openai:gpt", "x"), RunFinished(status, "", "the reason", fault)])

    for surface in (render.plain(transcript), render.html(transcript), render.markdown(transcript)):
        for word in [*words, "the reason"]:
            assert word in surface


def test_a_cost_is_told_only_where_it_is_known():
    def footer(cost: float | None) -> str:
        return render.plain(
            Transcript.of([RunStarted("m", ""), RunFinished("completed", "x", cost=cost, turns=1)])
        )

    assert footer(None).endswith("m · 1 step\n")
    assert footer(0.0).endswith("· $0\n")
    assert footer(0.00421).endswith("· $0.0042\n")
    assert footer(12.5).endswith("· $12.50\n")


def test_only_pictures_that_are_what_they_say_become_images():
    def shown(data: bytes, media_type: str) -> str:
        part = ToolResultPart("c", "plot", (ImagePart(data, media_type, name="a<b"),))
        return render.html(Transcript.of([CallFinished(part)]))

    assert '<img alt="a&lt;b, image/png' in shown(PIXEL, "image/png")
    assert "<img" not in shown(b"<svg onload=alert(1)>", "image/svg+xml")
    assert "<img" not in shown(b"<svg onload=alert(1)>", "image/png")


def test_metadata_says_that_a_model_wrote_it():
    assert render.metadata(Transcript.of(showcase(), run="r1")) == {
        "loom": {
            "run": "r1",
            "model": "offline:demo",
            "status": "completed",
            "ai_generated": True,
            "demo": True,
        }
    }


def test_the_record_holds_no_arguments():
    call = ToolCallPart("c", "login", '{"token": "s3cr3t-value"}')
    record = render.record(Transcript.of([MessageAdded(Message("assistant", (call,)))]))

    assert "s3cr3t" not in json.dumps(record)


# --- what a sanitizer would see

TAGS = {
    *(
        "section",
        "div",
        "p",
        "details",
        "summary",
        "h3",
        "h4",
        "h5",
        "h6",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
    ),
    *(
        "td",
        "pre",
        "code",
        "kbd",
        "span",
        "strong",
        "em",
        "s",
        "a",
        "ul",
        "ol",
        "li",
        "blockquote",
        "br",
        "hr",
    ),
    *("img", "footer"),
}
ATTRIBUTES = {
    "*": {"style", "class", "title"},
    "a": {"href", "rel", "target"},
    "th": {"scope"},
    "details": {"open"},
    "ol": {"start"},
    "img": {"src", "alt"},
}
LENGTH = r"(0|[0-9.]+(em|px|%))"
COLOUR = r"(#[0-9a-f]{6}|rgba\((?:128,128,128|46,158,91|221,75,75),0\.\d+\)|transparent)"
STYLES = {
    "margin": rf"{LENGTH}( {LENGTH}){{0,3}}",
    "margin-left": LENGTH,
    "padding": rf"{LENGTH}( {LENGTH}){{0,3}}",
    "border": rf"1px solid {COLOUR}",
    "border-left": rf"\dpx solid {COLOUR}",
    "border-radius": LENGTH,
    "background": COLOUR,
    "color": COLOUR,
    "opacity": r"0\.\d+",
    "font-size": LENGTH,
    "font-family": "monospace",
    "font-weight": r"\d00",
    "font-style": "italic|normal",
    "letter-spacing": LENGTH,
    "line-height": r"[\d.]+",
    "white-space": "pre|pre-wrap",
    "overflow": "auto|hidden",
    "overflow-wrap": "break-word",
    "float": "left|right",
    "width": LENGTH,
    "height": LENGTH,
    "table-layout": "fixed",
    "vertical-align": "top",
    "cursor": "pointer",
    "max-height": LENGTH,
    "max-width": LENGTH,
    "text-align": "left|right|center",
}
"""A part of what JupyterLab's sanitizer lets pass, in the forms in which it does."""
CLASSES = re.compile(
    r"loom|jp-RenderedHTMLCommon|mathjax_(ignore|process)|tex2jax_(ignore|process)|highlight|[a-z][a-z0-9]{0,3}"
)
VOID = {"br", "hr", "img"}


class Judge(HTMLParser):
    """Reads HTML as a browser does and objects to everything that is not on the lists."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        for name, value in attrs:
            assert name in ATTRIBUTES["*"] | ATTRIBUTES.get(tag, set()), (tag, name)
            self.judge(tag, name, value or "")
        if tag not in VOID:
            self.open.append(tag)

    def judge(self, tag: str, name: str, value: str) -> None:
        if name == "style":
            for declaration in filter(None, value.split(";")):
                key, _, told = declaration.partition(":")
                assert re.fullmatch(STYLES[key], told.strip()), declaration
        elif name == "class":
            assert all(CLASSES.fullmatch(word) for word in value.split()), value
        elif name == "href":
            assert re.match(r"(https?://|mailto:)[^\s<>\"']+$", value), value
        elif name == "rel":
            assert set(value.split()) == {"noopener", "noreferrer", "nofollow"}
        elif name == "src":
            assert re.match(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*$", value), value

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def judged(markup: str) -> str:
    """The words of a page that holds nothing but what is allowed."""
    judge = Judge()
    judge.feed(markup)
    judge.close()
    assert not judge.open
    return judge.text


@pytest.mark.parametrize("name", RUNS)
def test_html_holds_only_what_a_sanitizer_lets_pass(name):
    for count in range(len(RUNS[name]) + 1):
        transcript = Transcript.of(RUNS[name][:count])
        judged(render.html(transcript, times=True, prompt=True))
        for piece in render.pieces(transcript, times=True):
            judged(piece.html)


def test_hostile_text_in_every_place_stays_text():
    evil = "\"><img src=x onerror=alert(1)><script>alert(2)</script>'</pre></details><b>\u202e\u0000\ud800"
    picture = ImagePart(b"x", evil, name=evil)
    part = ToolResultPart("c", evil, (TextPart(evil), picture), True)
    events: list[Event] = [
        RunStarted(evil, evil),
        MessageAdded(user(evil, DataPart(evil, evil, Origin("notebook", evil), evil), picture)),
        TurnStarted(1),
        ThinkingDelta(evil),
        TextDelta(evil),
        CallDelta("c", evil, evil),
        CallJudged("c", evil, "deny", evil, evil),
        CallStarted("c", evil, {evil: evil, "text": evil + "\n" + evil}, (evil,)),
        CallFinished(part, "denied"),
        RetryScheduled(1, 1.0, "unknown", evil),
        Noticed(evil),
        MessageAdded(Message("assistant", (TextPart(evil), ToolCallPart("d", evil, evil), picture))),
        MessageAdded(user(evil + "again")),
        RunFinished("failed", evil, evil, evil),
    ]  # fmt: skip
    for count in range(len(events) + 1):
        transcript = Transcript.of(events[:count], run=evil)
        for markup in [render.html(transcript, times=True, prompt=True)] + [
            piece.html for piece in render.pieces(transcript, times=True)
        ]:
            assert "\u202e" not in judged(markup)
            markup.encode()
        markdown = render.markdown(transcript, times=True, prompt=True)
        assert not re.search(
            r"<(?!https?:|mailto:)", re.sub(r"```.*?```|(`+)(?!`).*?\1", "", markdown, flags=re.DOTALL)
        )


# --- to be looked at

PAGE = """<!doctype html><meta charset="utf-8"><title>{theme}</title>
<style>body {{ margin: 2em auto; max-width: 56em; font: 14px/1.55 system-ui, sans-serif; {colours} }}
a {{ color: {link} }} table {{ border-collapse: collapse; font-size: 0.92em }}
td, th {{ padding: 0.4em 0.7em }}
tbody tr:nth-child(odd) {{ background: rgba(128,128,128,0.12) }}
code {{ background: rgba(128,128,128,0.18); padding: 0 0.3em }}
.highlight .k {{ color: {keyword} }} .highlight .s2 {{ color: {string} }}
.highlight .c1 {{ color: {comment} }}</style>
<body class="jp-RenderedHTMLCommon">{body}</body>"""
THEMES = {
    "light": ("background: #fff; color: rgba(0,0,0,0.87)", "#0b57d0", "#008000", "#ba2121", "#408080"),
    "dark": ("background: #111; color: rgba(255,255,255,0.87)", "#8ab4f8", "#4caf50", "#ff7070", "#70a0a0"),
}


def test_the_showcase_is_a_page_of_its_own_in_light_and_dark(tmp_path):
    """With LOOM_NB_ARTIFACTS set the pages are kept there, to be looked at."""
    folder = Path(os.environ.get("LOOM_NB_ARTIFACTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    failed = Transcript.of(
        [*showcase()[:8], RunFinished("failed", "", "no key for vendor 'anthropic'", "key")]
    )
    body = "<hr>".join(
        [
            render.html(Transcript.of(showcase(), run="r1"), times=True),
            "".join(piece.html for piece in render.pieces(Transcript.of(showcase()[:10]))),
            render.html(failed),
        ]
    )
    for theme, (colours, link, keyword, string, comment) in THEMES.items():
        page = PAGE.format(
            theme=theme,
            colours=colours,
            link=link,
            keyword=keyword,
            string=string,
            comment=comment,
            body=body,
        )
        (folder / f"transcript-{theme}.html").write_text(page, encoding="utf-8")

    words = judged(body)
    for word in (
        "DEMO",
        "Thinking",
        "list_variables",
        "save_report",
        "failed",
        "retry",
        "warning",
        "24 rows",
        "demo · 3 steps",
    ):
        assert word in words


def test_code_in_plain_text_ends_where_markdown_ends_it():
    code = "```\nnever closed\n```python\n\n\nstill code\n"
    shown = render.plain(Transcript.of([MessageAdded(Message("assistant", (TextPart(code),)))]))
    assert "```python\n\n\nstill code" in shown


def test_the_share_that_the_vendor_had_kept_stands_in_the_footer_of_every_surface():
    usage = Usage(1_000, 10, cache_read_tokens=800)
    events = [RunStarted("anthropic:claude", "go"), RunFinished("completed", "done", usage=usage, turns=1)]
    bundle = render.bundle(Transcript.of(events, run="r1"), times=False, ascii=False)
    assert "cached 80 %" in bundle["text/plain"] and "cached 80 %" in bundle["text/html"]
    without = Transcript.of([events[0], RunFinished("completed", "done", usage=Usage(1_000, 10), turns=1)])
    assert "cached" not in render.bundle(without, times=False, ascii=False)["text/plain"]


def test_the_size_of_a_picture_is_worded_as_that_of_an_artifact():
    from loom_nb.notebook.render.facts import picture_line
    from loom_nb.notebook.transcript import Picture
    from loom_nb.runtime.artifacts import size_in_words

    for size in (812, 1_000, 24_600, 3_400_000):
        told = picture_line(Picture(name="plot", media_type="image/png", data=b"x" * size))
        assert told == f"plot, image/png, {size_in_words(size)}"
