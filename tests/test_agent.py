"""Agent: a frozen description, checked when it is made; documents' quick start runs as written."""

import asyncio
import dataclasses

import pytest

from loom_nb import Agent, Generation, LoomError, MemoryStore, Model, Runtime, tool
from loom_nb.errors import LoomUsageError, NotBuiltError, SetupError


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
    with pytest.raises(NotBuiltError, match="skills"):
        Agent(skills=[])
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
    for name in ("harness", "quality", "attention"):
        with pytest.raises(NotBuiltError, match=name):
            Runtime(**{name: object()})
    for preset in (Runtime.long_running, Runtime.autonomous):
        with pytest.raises(NotBuiltError):
            preset(criteria=["x"])
    with pytest.raises(LoomUsageError, match="limit"):
        Runtime(limit=3)
    with pytest.raises(LoomUsageError, match="Runtime.limits must be a Limits"):
        Runtime(limits=3)  # type: ignore[arg-type]
    assert Runtime.sdk(max_iterations=7).describe()["model calls"] == 7


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
