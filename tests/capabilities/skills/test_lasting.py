"""What stays of an active skill when the context is compacted, and when the process ends."""

from loom_nb import Agent, ContextProtocol, GovernancePolicy, MemoryStore, Model, Runtime, SessionConfig
from loom_nb.events import (
    CallFinished,
    MessageAdded,
    RunFinished,
    SkillActivated,
    event_from_json,
    event_to_json,
)
from loom_nb.messages import Conversation, Message, Origin, TextPart, ToolCallPart, ToolResultPart, user
from loom_nb.models.scripted import Call
from loom_nb.runtime.active_skills import bodies_of_skills, with_skill
from loom_nb.runtime.context import View
from loom_nb.runtime.restore import read_past
from loom_nb.tokens import estimate_message
from loom_nb.tools import tool
from tests.capabilities.skills.shelves import agent_with, put, skills_in


@tool(read_only=True)
def page(number: int) -> str:
    """Read a page."""
    return f"page {number} " + "words " * 700


def sent(model_request):
    return "\n".join(
        part.text
        for message in model_request.conversation
        for part in message.parts
        if isinstance(part, ToolResultPart)
    )


async def test_the_body_of_an_active_skill_survives_what_other_results_do_not(tmp_path):
    put(tmp_path / "home" / "skills", "recipe", "Take flour and " + "water, " * 50 + "bake.")
    calls = [Call("page", {"number": number}) for number in range(12)]
    agent = Agent(
        Model.scripted([Call("activate_skill", {"name": "recipe"}), *calls, "done"]),
        capabilities=[skills_in(tmp_path)],
        tools=[page],
        session_store=MemoryStore(),
        runtime=Runtime(governance=GovernancePolicy(), context=ContextProtocol(budget=6_000)),
    )

    async with agent.session() as session:
        result = await session.run("bake")
        shown = [
            part.text
            for message in session.view.shown
            for part in message.parts
            if isinstance(part, ToolResultPart)
        ]

    assert result.status == "completed", result.reason
    assert session.view.compactions
    assert any("Take flour" in text and "bake." in text for text in shown)
    assert not any("page 0 words" in text and len(text) > 3_000 for text in shown)


async def test_another_process_knows_which_skills_are_active_in_a_run_that_waits(tmp_path):
    put(tmp_path / "home" / "skills", "careful", head="allowed-tools: page\n")
    store = MemoryStore()
    agent = agent_with(
        tmp_path,
        Call("activate_skill", {"name": "careful"}), Call("page", {"number": 1}), "done",
        tools=[page],
        store=store,
    )  # fmt: skip
    async with agent.session(SessionConfig("s")) as session:
        await session.run("go")
        entries = session.events()

    ended = next(n for n, one in enumerate(entries) if isinstance(one.event, RunFinished))
    (waiting,) = read_past(entries[:ended]).skills

    assert (waiting.name, waiting.allowed_tools) == ("careful", ("page",))
    async with agent.session(SessionConfig("s")) as session:
        await session.run("again")
        assert session.view.skills == ()


def test_the_latest_word_on_a_skill_counts():
    one, other = SkillActivated("one"), SkillActivated("other")

    active = with_skill(with_skill((), one), other)

    assert with_skill(active, SkillActivated("one", active=False)) == (other,)
    assert with_skill(active, SkillActivated("one", "user")) == (other, SkillActivated("one", "user"))


def test_of_many_active_skills_the_latest_are_kept_that_take_half_of_a_request():
    talk, skills = Conversation([user("go")]), []
    for number, words in enumerate((1_500, 1_500, 9_000, 1_500, 1_500)):
        told = TextPart("word " * words, Origin("skill", f"s{number}"))
        talk.add(Message("assistant", (ToolCallPart(f"c{number}", "activate_skill", {}),)))
        talk.add(Message("tool", (ToolResultPart(f"c{number}", "activate_skill", (told,)),)))
        skills.append(SkillActivated(f"s{number}", call_id=f"c{number}"))
    view = View(talk, skills=tuple(skills))
    size = estimate_message(talk.messages[2])

    assert bodies_of_skills(view, 4 * size) == {8, 10}  # two quarters; the third is larger than one
    assert bodies_of_skills(view, 8 * size) == {2, 4, 8, 10}
    assert bodies_of_skills(view, 4 * size - 4) == frozenset()
    assert bodies_of_skills(View(talk), 8 * size) == frozenset()


async def test_the_log_says_what_was_active_and_a_replay_of_it_reads_the_same(tmp_path):
    put(tmp_path / "home" / "skills", "careful", head="allowed-tools: []\n")
    result = await agent_with(tmp_path, Call("activate_skill", {"name": "careful"}), "done").run("go")

    (event,) = [one.event for one in result.events if isinstance(one.event, SkillActivated)]

    assert event.allowed_tools == () and event_from_json(event_to_json(event)) == event
    kinds = [type(one.event) for one in result.events]
    assert (
        kinds.index(SkillActivated) < kinds.index(CallFinished) < len(kinds) - kinds[::-1].index(MessageAdded)
    )
