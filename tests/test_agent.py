"""Agent: a frozen description, checked when it is made; documents' quick start runs as written."""

import asyncio
import dataclasses

import pytest

from loom_nb import (
    Agent,
    Allow,
    Ask,
    Generation,
    GovernancePolicy,
    Harness,
    Limits,
    LoomError,
    MemoryStore,
    Model,
    QualityGate,
    Runtime,
    SessionRestorePolicy,
    tool,
)
from loom_nb.errors import LoomUsageError, NotBuiltError, SetupError
from loom_nb.models.scripted import Call


@tool
def one() -> int:
    return 1


def test_wrong_fields_are_errors_that_name_them():
    for options, told in (
        ({"model": 3}, "Agent.model"),
        ({"instructions": 3}, "Agent.instructions"),
        ({"tools": one}, "Agent.tools"),
        ({"capabilities": ["files"]}, "Agent.capabilities"),
        ({"generation": {}}, "Agent.generation"),
        ({"runtime": "sdk"}, "Agent.runtime"),
        ({"modl": "x"}, "no field 'modl'"),
    ):
        with pytest.raises(LoomUsageError, match=told):
            Agent(**options)
    with pytest.raises(NotBuiltError, match="schedule"):
        Agent(schedule=[])
    with pytest.raises(LoomUsageError, match="no vendor 'antropic'"):
        Agent("antropic:claude")
    with pytest.raises(SetupError, match="not str"):
        Agent(tools=["one"])


def test_an_agent_cannot_be_changed():
    agent = Agent()
    with pytest.raises(AttributeError):
        agent.instructions = "other"  # type: ignore[misc]
    assert agent.model == Model.offline()


def test_a_changed_copy_of_an_agent_shares_no_hooks_and_no_sessions():
    agent = Agent(instructions="a", tools=[one])
    agent.on("before_run", print)
    other = dataclasses.replace(agent, instructions="b")
    assert (other.instructions, other.tools, other.hooks.given) == ("b", agent.tools, False)


def test_runtime_refuses_what_is_not_built_and_describes_what_is():
    for name in ("delegation", "feedback", "attention"):
        with pytest.raises(NotBuiltError, match=name):
            Runtime(**{name: object()})
    with pytest.raises(NotBuiltError, match="max_depth"):
        Runtime.autonomous(max_depth=5, max_iterations=200)
    with pytest.raises(LoomUsageError, match="limit"):
        Runtime(limit=3)
    with pytest.raises(LoomUsageError, match="Runtime.limits must be a Limits"):
        Runtime(limits=3)  # type: ignore[arg-type]
    with pytest.raises(LoomUsageError, match="Runtime.quality must be a QualityGate"):
        Runtime(quality=["tests stay green"])  # type: ignore[arg-type]
    told = Runtime.sdk(max_iterations=7).describe()
    assert told["model calls"] == 7
    assert told["stuck"] == "the same failing call 5 times in a row, or two in turn 10 times, ends the run"
    assert told["quality"].startswith("none: ")


def test_presets_carry_criteria_and_take_any_policy():
    for preset, turns in ((Runtime.long_running, 300), (Runtime.supervised, 50), (Runtime.autonomous, 200)):
        plain = preset()
        assert (plain.limits.max_iterations, plain.limits.stuck) == (turns, 5)
        assert plain.continuity.sections, "a handoff is written"
        assert [step.compaction.name for step in plain.context.ladder][-1] == "auto"
        assert preset(max_iterations=7).limits.max_iterations == 7
        restore = SessionRestorePolicy.window(max_messages=12)
        strict = preset(criteria=["tests stay green"], session_restore=restore, harness=Harness.single_run())
        assert strict.session_restore is restore
        assert strict.quality == QualityGate.criteria(["tests stay green"])
        assert "tests stay green" in strict.describe()["quality"]
        assert preset(quality=None).attempted is False
        with pytest.raises(LoomUsageError, match="not both"):
            preset(criteria=["x"], quality=QualityGate.pass_fail())
        with pytest.raises(LoomUsageError, match="not both"):
            preset(max_iterations=3, limits=Limits())
        with pytest.raises(LoomUsageError, match="no field 'criterias'"):
            preset(criterias=["x"])
    assert Runtime.supervised().governance.unattended == "wait"
    with pytest.raises(LoomUsageError, match="a list of texts"):
        Runtime.long_running(criteria="tests stay green")


async def test_an_autonomous_run_asks_nobody_also_where_somebody_is_there():
    runtime = Runtime.autonomous(governance=GovernancePolicy((Ask("danger"), Allow("fine"))))
    assert runtime.describe()["asked"] == []
    assert any("(nobody is asked)" in words for words in runtime.describe()["denied"])

    @tool
    def danger() -> str:
        return "done"

    script = Model.scripted([Call("danger"), "it was not allowed"])
    agent = Agent(script, tools=[danger], session_store=MemoryStore(), runtime=runtime)
    async with agent.session() as session:
        session.attend()
        result = await session.run("go")
    assert (result.status, [use.outcome for use in result.tools]) == ("denied", ["denied"])
    assert "asks nobody" in result.reason


async def test_two_tools_of_one_name_are_a_clear_failure_of_the_run():
    @tool(name="one")
    def other() -> int:
        return 2

    result = await Agent(Model.scripted(["x"]), tools=[one, other], session_store=MemoryStore()).run("go")
    assert (result.status, result.fault) == ("failed", "setup")
    with pytest.raises(SetupError, match="two tools are called 'one'"):
        result.raise_for_status()


def test_run_sync_works_in_a_script_and_inside_a_running_loop():
    def agent():
        return Agent(Model.scripted(["hello"]), session_store=MemoryStore())

    assert agent().run_sync("hi").output == "hello"

    async def inside():
        return agent().run_sync("hi").output

    assert asyncio.run(inside()) == "hello"


def test_the_quick_start_of_the_mission_document_runs_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "readme.md").write_text("# Title\n")
    from loom_nb import Agent, Capability, Generation, Model, Runtime, tool

    @tool(description="Search documentation", read_only=True)
    async def search_docs(query: str) -> str:
        return f"Results for: {query}"

    async def main():
        agent = Agent(
            model=Model.offline(),
            instructions="You are a concise coding assistant.",
            tools=[search_docs],
            capabilities=[
                Capability.files(read_only=True),
                Capability.web(),
            ],
            generation=Generation(max_output_tokens=512),
            runtime=Runtime.sdk(),
            session_store=MemoryStore(),
        )
        return await agent.run("Summarize this repository")

    result = asyncio.run(main())
    assert result.status == "completed", result.error
    assert result.output


def test_errors_render_as_one_short_block():
    error = LoomUsageError("no flag --foo", cause="it is mistyped", fixes=["--bar", "--baz"])
    assert error._render_traceback_() == [
        "LoomUsageError: no flag --foo\n  Cause  it is mistyped\n  Fix    --bar\n     or  --baz", "  Code   L-USE-01",
    ]  # fmt: skip
    assert isinstance(error, LoomError)
    assert Generation() == Generation()
