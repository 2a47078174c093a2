"""A short answer keeps the question it answers: through every ladder, a restart and a handoff."""

import random

import pytest

from loom_nb import (
    Agent,
    ContextProtocol,
    MemoryStore,
    Model,
    Runtime,
    SessionConfig,
    SessionRestorePolicy,
    tool,
)
from loom_nb.messages import MODEL, Conversation, Message, TextPart, ToolCallPart, ToolResultPart, user
from loom_nb.models.scripted import Call
from loom_nb.runtime.compaction import Auto, Collapse, Micro, Snip, Step, make_room
from loom_nb.runtime.context import View
from loom_nb.runtime.short_answers import answers_what, is_short
from tests.runtime.test_compaction import answered, asked, valid, work

QUESTION = "Shall I delete the older of the two files, or rather rename it? " * 12


def said(text):
    return Message("assistant", (TextPart(text, MODEL),))


@pytest.mark.parametrize(
    "text",
    ["yes", "ja", "No, thanks.", "the second one", "2", "b)", "はい", "не надо", "oui, les deux", "  ok\n"],
)
def test_few_words_are_a_short_answer(text):
    assert is_short(text)


@pytest.mark.parametrize(
    "text",
    ["", "why?", "and now\uff1f", "Delete all files that are older than a week and tell me which", "好" * 40],
)
def test_questions_and_whole_instructions_are_none(text):
    assert not is_short(text)


def test_the_question_is_what_the_model_said_last():
    talk = [user("tidy up"), asked(1), answered(1, "two files"), said(QUESTION), user("yes")]
    assert answers_what(talk) == {3}
    assert answers_what([*talk, asked(2), answered(2, "done")]) == {3}
    assert answers_what([*talk[:-1], user("Rename it to report_2024.csv and compress what is left")]) == set()
    assert answers_what([user("yes")]) == set()
    assert answers_what([*talk[:3], said("There are two files."), user("please look at page 2")]) == set()
    assert answers_what([*talk[:3], said("Tell me which."), user("the second one")]) == {3}
    assert (
        answers_what(
            [said(QUESTION), user("tidy up the whole folder, please, as you did it last week"), user("yes")]
        )
        == set()
    )
    assert answers_what([]) == set()


def test_a_question_by_a_tool_is_kept_with_its_answer():
    ask = Message("assistant", (ToolCallPart("q", "ask_user", '{"question": "Which one?"}'),))
    reply = Message("tool", (ToolResultPart("q", "ask_user", (TextPart("the first"),)),))
    long = Message("tool", (ToolResultPart("q", "ask_user", (TextPart("a long story " * 20),)),))
    start = [user("tidy up all of the folders and tell me about each of them")]
    assert answers_what([*start, ask, reply, asked(1), answered(1, "x")]) == {1, 2}
    assert answers_what([*start, ask, long]) == set()
    assert (
        answers_what(
            [*start, ask, reply, said("done"), user("now do another and very different piece of work for me")]
        )
        == set()
    )


async def handoff(text):
    return "Goal: go on."


@pytest.mark.parametrize("seed", range(40))
async def test_after_any_ladder_the_question_of_a_short_answer_is_sent_whole(seed):
    chance = random.Random(seed)
    talk = work(chance.randint(1, 12), size=chance.randint(10, 5_000))[:-1]
    question = said(
        QUESTION[: chance.randint(10, len(QUESTION))]
    )  # cut anywhere: a bare answer needs no mark
    after = work(chance.randint(0, 15), size=chance.randint(10, 5_000), instruction="yes")[1:-1]
    view = View(Conversation([*talk, question, user(chance.choice(["yes", "the second", "ja"])), *after]))
    steps = [Step(0.5, step) for step in (Snip(), Micro(), Collapse(), Auto())]
    for _ in range(4):
        budget = chance.choice([2_000, 8_000])
        protocol = ContextProtocol(budget=budget, keep_turns=chance.randint(1, 3))
        given = protocol.situation(view, budget, handoff)
        await make_room(given, chance.sample(steps, 2), 10**6, 1, "a test")
        shown = list(view.shown)
        place = shown.index(question)
        assert shown[place + 1].text in ("yes", "the second", "ja")
        assert valid(shown)


# -- a restart -------------------------------------------------------------------------------------


@tool(read_only=True)
def look(at: int = 0) -> str:
    return f"stone {at} " * 20


POLICIES = [
    SessionRestorePolicy.none(),
    SessionRestorePolicy.transcript_only(max_chars=50),
    SessionRestorePolicy.transcript_only(max_transcripts=0),
    SessionRestorePolicy.window(max_chars=100),
    SessionRestorePolicy.window(max_messages=1),
    SessionRestorePolicy.runtime_state(),
]


async def asked_before(store):
    spec = Agent(
        Model.scripted([Call("look"), "an answer", Call("look"), QUESTION]), tools=[look], session_store=store
    )
    async with spec.session(SessionConfig("s")) as session:
        await session.run("find the stones of the old wall")
        await session.run("tidy up the stones of the old wall")


@pytest.mark.parametrize("policy", POLICIES, ids=lambda one: one.describe())
async def test_after_any_restart_the_question_of_a_short_answer_is_sent_whole(policy):
    store, seen = MemoryStore(), []
    await asked_before(store)
    spec = Agent(
        Model.scripted([lambda messages: seen.extend(messages) or "ok"]),
        tools=[look],
        session_store=store,
        runtime=Runtime(session_restore=policy),
    )
    async with spec.session(SessionConfig("s")) as session:
        request, _ = await session.preview("yes")
        previewed = list(request.conversation)
        await session.run("yes")
    assert [one.text for one in seen[-2:]] == [QUESTION, "yes"]
    assert valid(seen)
    assert seen == previewed


@pytest.mark.parametrize("policy", POLICIES[:2], ids=lambda one: one.describe())
async def test_a_whole_instruction_gets_no_more_than_the_policy_says(policy):
    store, seen = MemoryStore(), []
    await asked_before(store)
    spec = Agent(
        Model.scripted([lambda messages: seen.extend(messages) or "ok"]),
        session_store=store,
        runtime=Runtime(session_restore=policy),
    )
    async with spec.session(SessionConfig("s")) as session:
        await session.run("Begin with something else: draw a map of the wall and of its towers")
    assert QUESTION not in [one.text for one in seen]


async def test_what_a_person_has_hidden_stays_hidden():
    store, seen = MemoryStore(), []
    await asked_before(store)
    spec = Agent(
        Model.scripted([lambda messages: seen.extend(messages) or "ok"]),
        session_store=store,
        runtime=Runtime(session_restore=SessionRestorePolicy.none()),
    )
    async with spec.session(SessionConfig("s")) as session:
        await session.mark(7, "hidden")
        await session.run("yes")
    assert not any(QUESTION[:40] in one.text for one in seen)
