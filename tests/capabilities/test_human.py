"""The tool by which the agent asks a person."""

import pytest

from loom_nb import Agent, Answer, MemoryStore, Model, Runtime
from loom_nb.capabilities import Capability
from loom_nb.events import QuestionAsked
from loom_nb.models.scripted import Call


async def asked(value, **arguments):
    """(the question, what the model reads) of one call of ask_user."""
    agent = Agent(
        Model.scripted([Call("ask_user", {"question": "Which?", **arguments}), "done"]),
        capabilities=[Capability.human()], session_store=MemoryStore(), runtime=Runtime.supervised(),
    )  # fmt: skip
    questions = []
    async with agent.session() as session:
        run = session.start("go")

        def sink(event):
            if isinstance(event, QuestionAsked):
                questions.append(event.question)
                session.send(Answer(event.question.id, value))

        run.subscribe(sink)
        result = await run
    return questions, result


@pytest.mark.parametrize(
    ("arguments", "value", "told"),
    [
        ({}, "the blue one", "the blue one"),
        ({"kind": "confirm"}, True, "yes"),
        ({"kind": "confirm"}, False, "no"),
        ({"kind": "choice", "options": ["a", "b"]}, "b", "b"),
        ({"kind": "choice", "options": ["a", "b"], "several": True}, ["a", "b"], '["a","b"]'),
        (
            {"kind": "form", "form": {"type": "object", "properties": {"n": {"type": "integer"}}}},
            {"n": 3},
            '{"n":3}',
        ),
    ],
)
async def test_the_model_reads_what_the_person_answered(arguments, value, told):
    questions, result = await asked(value, **arguments)
    assert (questions[0].kind, questions[0].asked_by) == (arguments.get("kind", "text"), "ask_user")
    assert (result.status, result.tools[0].result) == ("completed", told)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"question": " "}, "question: a text"),
        ({"kind": "choice"}, "2 to 50 different"),
        ({"kind": "choice", "options": ["a", "a"]}, "2 to 50 different"),
        ({"kind": "form"}, "a JSON schema of type object"),
        (
            {"kind": "form", "form": {"type": "object", "properties": {"n": {"type": "nonsense"}}}},
            "not valid",
        ),
        ({"kind": "secret"}, "kind"),
    ],
)
async def test_a_question_that_cannot_be_asked_is_told_to_the_model_and_nobody_is_bothered(arguments, wrong):
    questions, result = await asked("x", **arguments)
    assert questions == []
    assert wrong in (result.tools or [None])[0].result


async def test_where_nobody_is_there_the_model_is_told():
    agent = Agent(
        Model.scripted([Call("ask_user", {"question": "Which?"}), "then not"]),
        capabilities=[Capability.human()],
        session_store=MemoryStore(),
    )
    result = await agent.run("go")
    assert "Nobody can be asked here: Which?" in result.tools[0].result
    assert result.output == "then not"
