"""Scripted models: what a script may hold, and what it makes of it."""

import asyncio
from typing import Any

import pytest

from loom_nb import Agent, MemoryStore, Model, ModelError
from loom_nb.errors import LoomUsageError, SetupError
from loom_nb.events import CallDelta, Delta, TextDelta, ThinkingDelta
from loom_nb.messages import MODEL, Conversation, Message, TextPart, ThinkingPart, Usage, user
from loom_nb.models.scripted import Call, Thought
from loom_nb.protocols import Reply, Request


def request(text: str = "hi") -> Request:
    return Request("Be brief.", Conversation([user(text)]))


async def ask(model: Model, asked: Request | None = None) -> tuple[Reply, list[Delta]]:
    deltas: list[Delta] = []
    return await model.open().reply(asked or request(), deltas.append), deltas


async def test_a_text_is_a_reply():
    reply, deltas = await ask(Model.scripted(["Hello"]))

    assert reply.message == Message("assistant", (TextPart("Hello", MODEL),))
    assert (reply.stop_reason, reply.model, deltas) == ("end", "scripted", [TextDelta("Hello")])


async def test_texts_calls_and_thoughts_stand_in_one_reply_in_their_order():
    reply, deltas = await ask(Model.scripted([[Thought("hm"), "Let me see.", Call("add", {"a": 1})]]))

    assert [type(part).__name__ for part in reply.message.parts] == [
        "ThinkingPart",
        "TextPart",
        "ToolCallPart",
    ]
    assert reply.stop_reason == "tool_calls"
    (call,) = reply.message.calls
    assert (call.name, call.arguments) == ("add", '{"a":1}')
    assert deltas == [ThinkingDelta("hm"), TextDelta("Let me see."), CallDelta(call.id, "add", '{"a":1}')]


async def test_broken_arguments_go_out_as_they_are():
    reply, _ = await ask(Model.scripted([Call("add", '{"a": ')]))

    assert reply.message.calls[0].arguments == '{"a": '


async def test_every_call_has_an_id_of_its_own_unless_it_is_given_one():
    model = Model.scripted([[Call("a"), Call("a")], [Call("a"), Call("a", id="mine")]])
    first, _ = await ask(model)
    second, _ = await ask(model)

    ids = [call.id for reply in (first, second) for call in reply.message.calls]
    assert len(set(ids)) == 4
    assert ids[-1] == "mine"


async def test_long_texts_stream_in_chunks_that_add_up():
    reply, deltas = await ask(Model.scripted(["Grüße aus dem Netz 🎈"], chunk=4))

    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == reply.message.text
    assert [len(delta.text) for delta in deltas if isinstance(delta, TextDelta)][:-1] == [4] * 4


async def test_a_function_sees_the_conversation_and_says_the_reply():
    def echo(messages: list[Message]) -> Any:
        return [f"You said {messages[-1].text}.", Call("add")]

    reply, _ = await ask(Model.scripted([echo]), request("yes"))

    assert reply.message.text == "You said yes."
    assert reply.message.calls


@pytest.mark.parametrize("error", [ModelError("busy", fault="overloaded"), ValueError("odd"), KeyError])
async def test_an_exception_is_raised(error: Any):
    with pytest.raises(error if isinstance(error, type) else type(error)):
        await ask(Model.scripted([error]))


async def test_a_whole_reply_is_streamed_and_given_as_it_is():
    message = Message("assistant", (ThinkingPart("hm"), TextPart("Hello", MODEL)))
    told = Reply(message, Usage(7, 3), "length", "big", ("a notice",))

    reply, deltas = await ask(Model.scripted([told], chunk=3))

    assert reply is told
    assert deltas == [ThinkingDelta("hm"), TextDelta("Hel"), TextDelta("lo")]


@pytest.mark.parametrize("wrong", [None, 42, [["nested"]], ["text", 42]])
async def test_what_cannot_be_a_reply_is_named(wrong: Any):
    with pytest.raises(SetupError, match="a scripted reply cannot"):
        await ask(Model.scripted([wrong]))


def test_a_single_text_in_place_of_a_list_is_refused():
    with pytest.raises(LoomUsageError, match="a script is a list of replies") as caught:
        Model.scripted("Hello")

    assert caught.value.fixes == ("Model.scripted(['Hello'])",)


async def test_asking_for_more_than_the_script_holds_is_an_error():
    model = Model.scripted(["one"])
    await ask(model)

    with pytest.raises(SetupError, match="holds 1 replies and is asked for one more"):
        await ask(model)


async def test_leftovers_are_found():
    model = Model.scripted(["one", "two", Call("three")])
    await ask(model)

    assert model.script.leftover == ("two", Call("three"))
    with pytest.raises(AssertionError, match="2 scripted replies were not asked for: 'two'"):
        model.script.assert_used()
    await ask(model)
    await ask(model)
    model.script.assert_used()


async def test_a_script_goes_on_from_session_to_session():
    agent = Agent(Model.scripted(["one", "two"]), session_store=MemoryStore())

    assert [(await agent.run("?")).output, (await agent.run("?")).output] == ["one", "two"]
    agent.model.script.assert_used()


async def test_a_script_that_has_run_out_ends_the_run_as_a_failure():
    result = await Agent(Model.scripted([]), session_store=MemoryStore()).run("?")

    assert (result.status, result.fault) == ("failed", "setup")


async def test_side_by_side_every_reply_is_given_once():
    model = Model.scripted([f"reply {n}" for n in range(20)], chunk=2, delay=0.0001)
    opened = model.open()

    replies = await asyncio.gather(*(opened.reply(request(), lambda delta: None) for _ in range(20)))

    assert {reply.message.text for reply in replies} == {f"reply {n}" for n in range(20)}


async def test_tokens_are_estimated_and_the_price_is_nothing():
    reply, _ = await ask(Model.scripted(["four words are here"]), request("x" * 400))

    assert reply.usage.input_tokens > 100
    assert reply.usage.output_tokens > 0
    assert Model.scripted([]).cost(reply.usage) == 0.0


def test_only_scripted_models_have_a_script():
    with pytest.raises(LoomUsageError, match="offline:demo has no script"):
        _ = Model.offline().script
