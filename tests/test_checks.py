"""What a person writes into a setting is looked at when it is made, and never sent, ignored or half understood."""

import math
from datetime import time
from typing import Any

import pytest

from loom_nb import (
    Agent,
    Allow,
    Between,
    Capability,
    ContextProtocol,
    ContinuityPolicy,
    Deny,
    Destructive,
    FileSessionStore,
    Generation,
    GovernancePolicy,
    Harness,
    Hosts,
    InsideRoot,
    KnowledgeSource,
    Limits,
    MaxCost,
    MemoryWeights,
    Model,
    Once,
    PerMinute,
    Preflight,
    QualityGate,
    RetryPolicy,
    RunContext,
    Runtime,
    RuntimeTask,
    SessionConfig,
    SessionRestorePolicy,
    SpendingCaps,
    SqliteStore,
    Stop,
    Tool,
    Veto,
    WhenUntrusted,
    attach,
    tool,
)
from loom_nb.errors import LoomUsageError
from loom_nb.runtime.compaction import Auto, Micro, Snip, Step


class Odd:
    """A value whose repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError


def look(city: str) -> str:
    """Look."""
    return city


def looking(**options: Any) -> Tool:
    """A tool with these options."""
    return tool(**options)(look)  # type: ignore[no-any-return]


WRONG: list[tuple[Any, dict[str, list[Any]]]] = [
    (
        Generation,
        {
            "temperature": ["hot", -0.1, 2.5, True, math.nan, Odd()],
            "top_p": [-1, 1.5, "0.9"],
            "max_output_tokens": [0, -1, 1.5, "100", True],
            "stop": [5, None, ["a", 3], [""], {"END": 1}],
            "seed": [1.5, "7", 2**63],
            "reasoning_effort": ["zzz", 3, ["low"]],
            "thinking_tokens": [-1, "many"],
        },
    ),
    (
        RetryPolicy,
        {
            "max_attempts": [0, 2.0, None, "4"],
            "first_delay": [-3, "1", None, math.inf],
            "longest_delay": [-1, math.nan],
            "longest_retry_after": [-1, "120"],
        },
    ),
    (
        Limits,
        {
            "max_iterations": ["x", 0, None, 1.5, 10**40, True][:4],
            "max_tokens": [0, "20k", 1.5],
            "max_cost": [0, -1, "$2", math.inf],
            "timeout": [0, "60", math.inf, math.nan],
            "stuck": [0, "5"],
        },
    ),
    (
        ContextProtocol,
        {
            "budget": [499, "20k", 1000.0],
            "ladder": [3, (Snip(),), "snip", ((0.5, Snip()),)],
            "keep_turns": [0, "4"],
            "target": ["half", 0, 1.5],
            "dashboard": ["yes", 1],
        },
    ),
    (Snip, {"chars": [0, "x"], "head": [-1, 1_900], "tail": [0]}),
    (Micro, {"chars": [-1], "argument": ["x"]}),
    (Auto, {"share": [0, 1.1, "x"]}),
    (
        ContinuityPolicy,
        {"sections": ["Goal", ("Goal", ""), 3], "instructions": [None, 3], "max_tokens": [99, "2k", None]},
    ),
    (
        Preflight,
        {
            "above": [0, "30k"],
            "cost": [0, "x"],
            "times": [1, "2", None],
            "answer_within": [0, None, "10 min"],
            "ask": [1, "no"],
        },
    ),
    (
        SessionRestorePolicy,
        {"kind": ["everything", None], "max_messages": [-1, "12", 1.5], "max_chars": ["12k"]},
    ),
    (Harness, {"kind": ["loop"], "attempts": [0, "3", 1.5], "function": []}),
    (
        GovernancePolicy,
        {
            "rules": [Deny("shell"), 5, "deny", ["shell"]],
            "mode": ["al", None, ["ask"]],
            "own_tools": ["deny"],
            "answer_within": [0, "600", None],
            "unattended": ["ask"],
            "above": ["policy"],
        },
    ),
    (WhenUntrusted, {"kinds": ["webb", 5, None, {"web", 5}], "decision": ["allow"], "spares": [5]}),
    (Destructive, {"decision": ["allow", None]}),
    (
        RuntimeTask,
        {
            "input": [[1], "df", {1: 2}],
            "criteria": ["tests stay green", 5, [3], [""]],
            "metadata": ["x", None],
            "attachments": ["photo.png", ["photo.png"], 5],
        },
    ),
    (RunContext, {"inputs": ["df", None, {1: 2}]}),
    (SessionConfig, {"id": [5, None], "metadata": ["x", [1]]}),
    (SpendingCaps, {"run": ["much", -1], "day": [[1]]}),
    (
        looking,
        {
            "timeout": [0, "60", math.inf, None],
            "max_chars": [-1, 0, "many", 1.5],
            "parallel": ["yes"],
            "destructive": ["no"],
            "description": [3],
            "effects": ["flies", [3], 5],
            "name": [3, "no name"],
        },
    ),
    (
        Model.anthropic,
        {"timeout": [0, "60", -1], "options": ["x", 5], "key_env": [5, [3]], "base_url": [5, ""]},
    ),
    (Model.openai, {"api": ["completions"], "organization": [5]}),
    (Model.offline, {"pace": ["slow", -1]}),
]
FIRST: dict[Any, tuple[Any, ...]] = {
    RuntimeTask: ("look",), Model.anthropic: ("claude",), Model.openai: ("gpt",)
}  # fmt: skip
CASES = [(make, name, value) for make, fields in WRONG for name, values in fields.items() for value in values]


@pytest.mark.parametrize(
    ("make", "name", "value"), CASES, ids=[f"{make.__name__}-{name}-{n}" for n, (make, name, _) in enumerate(CASES)]
)  # fmt: skip
def test_a_wrong_value_is_refused_when_it_is_written(make: Any, name: str, value: Any):
    with pytest.raises(LoomUsageError) as raised:
        make(*FIRST.get(make, ()), **{name: value})

    told = str(raised.value)
    assert name in told or make is looking, "it names the field"
    assert raised.value.cause or raised.value.fixes, "it says what to type instead"


def test_a_message_names_the_field_says_what_it_takes_and_what_to_type():
    with pytest.raises(LoomUsageError) as raised:
        Generation(temperature="hot")  # type: ignore[arg-type]

    assert str(raised.value) == (
        "Generation(temperature='hot')\n"
        "  Cause  temperature is a number from 0 to 2, or None\n"
        "  Fix    Generation(temperature=0.7)"
    )
    with pytest.raises(LoomUsageError, match=r"Limits\(timeout=\<Odd\>\)"):
        Limits(timeout=Odd())  # type: ignore[arg-type]
    with pytest.raises(LoomUsageError, match="a number of that size"):
        Generation(seed=10**5000)
    with pytest.raises(LoomUsageError) as long:
        Generation(reasoning_effort="z" * 10_000)  # type: ignore[arg-type]
    assert len(long.value.title) < 100


def test_what_means_the_same_is_kept_in_the_fields_own_spelling():
    import numpy

    assert Generation(stop="END").stop == ("END",)  # type: ignore[arg-type]
    assert Generation(stop=["END", "\n"]).stop == ("END", "\n")  # type: ignore[arg-type]
    assert Generation(stop=["END"]) == Generation(stop=("END",))  # type: ignore[arg-type]
    limits = Limits(max_tokens=numpy.int64(500), max_cost=numpy.float32(0.5))  # type: ignore[arg-type]
    assert [type(limits.max_tokens), type(limits.max_cost)] == [int, float]
    assert GovernancePolicy([Deny("x")]).rules == (Deny("x"),)  # type: ignore[arg-type]
    assert ContinuityPolicy(["Goal"]).sections == ("Goal",)  # type: ignore[arg-type]
    assert RuntimeTask("go", criteria=["short"]).criteria == ("short",)
    assert ContextProtocol(ladder=[Step(0.6, Snip())]).ladder == (Step(0.6, Snip()),)  # type: ignore[arg-type]
    assert WhenUntrusted(kinds={"web"}).kinds == frozenset({"web"})  # type: ignore[arg-type]
    assert tool(effects="reads")(look).effects == {"reads"}  # type: ignore[arg-type]


def test_what_is_right_is_taken_as_it_is(tmp_path):
    picture = tmp_path / "a.txt"
    picture.write_text("words")

    Generation(0, 1.0, 1, (), 0, "none", 0)
    Limits(1, None, None, None, None)
    RetryPolicy(1, 0, 0.0, math.inf)
    GovernancePolicy(answer_within=math.inf)
    RuntimeTask("go", {"a": object()}, (), {"b": 1}, [attach(picture)])  # type: ignore[arg-type]
    SessionRestorePolicy.window(max_messages=0)
    Between(time(22), time(6))
    InsideRoot(tmp_path)  # type: ignore[arg-type]
    assert Generation() == Generation() and hash(Generation(stop="x"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Allow(5),
        lambda: Deny(""),
        lambda: Deny("x", when="always"),
        lambda: Veto(5),
        lambda: PerMinute("x", "10"),
        lambda: PerMinute("x", -1),
        lambda: PerMinute("x", 5, per="day"),
        lambda: Once("x", per="run"),
        lambda: Between("9:00", "17:00"),
        lambda: Between(time(9), time(17), zone="Europe/Berlin"),
        lambda: MaxCost("0.5"),
        lambda: MaxCost(-1),
        lambda: InsideRoot(None),
        lambda: InsideRoot("data", glob=3),
        lambda: Hosts(5),
        lambda: Hosts([5]),
        lambda: QualityGate("strict"),
        lambda: QualityGate.criteria(["a"], attempts="3"),
        lambda: Step("0.6", Snip()),
        lambda: Step(0.6, "snip"),
        lambda: Step(1.6, Snip()),
        lambda: RuntimeTask(5),
        lambda: Model.from_name(None),
        lambda: Model.from_name(5),
        lambda: Model.from_name(" "),
        lambda: Model.anthropic(None),
        lambda: Model.scripted(None),
        lambda: Model.scripted(["a"], chunk="x"),
        lambda: Model.cassette(None, "offline"),
        lambda: Model.cassette("a.json", None),
        lambda: Model.fallback("offline", "offline", patience="x"),
        lambda: Model.route(5, default="offline"),
        lambda: Runtime(limits={"max_tokens": 5}),
        lambda: Runtime.sdk(max_iterations="x"),
        lambda: Agent(5),
        lambda: Agent(tools=5),
        lambda: Agent(tools=["look"]),
        lambda: Agent(name=5),
        lambda: Agent(capabilities=5),
        lambda: Agent(session_store="runs.db"),
        lambda: Agent(generation={"temperature": 1}),
        lambda: Agent().session("study"),
        lambda: Capability.files(5),
        lambda: Capability.files(read_only="yes"),
        lambda: Capability.shell(timeout="60"),
        lambda: Capability.shell(sandbox="yes"),
        lambda: Capability.shell(max_output="x"),
        lambda: Capability.shell(env=5),
        lambda: Capability.python({}, timeout="x"),
        lambda: Capability.ssh(["a"], timeout="x"),
        lambda: Capability.ssh(5),
        lambda: Capability.http(timeout="x"),
        lambda: Capability.web(hosts=5),
        lambda: Capability.skills(folders=5),
        lambda: Capability.skills(write="false"),
        lambda: Capability.skills(listed=True),
        lambda: Agent(skills=5),
        lambda: Agent().run_sync("go", context={"table": 1}),
        lambda: MemoryWeights(words="x"),
        lambda: MemoryWeights(half_life_days=0),
        lambda: KnowledgeSource.folder(None),
        lambda: SqliteStore(5),
        lambda: FileSessionStore(None),
        lambda: QualityGate.criteria(5),
        lambda: QualityGate.criteria("green"),
        lambda: Model.fallback("offline", "offline", on=5),
        lambda: Stop(5),
    ],
)  # fmt: skip
def test_settings_in_other_places_are_looked_at_in_the_same_way(wrong: Any):
    with pytest.raises(LoomUsageError):
        wrong()
