"""The OpenAI clients: the real SDK against a real server on the loopback."""

import asyncio
import base64
import itertools
import json
import pickle
import subprocess
import sys
from typing import Any

import pytest

from loom_nb.errors import LoomKeyError, LoomUsageError, ModelError
from loom_nb.events import CallDelta, Delta, TextDelta, ThinkingDelta
from loom_nb.messages import (
    Conversation,
    DataPart,
    FilePart,
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
from loom_nb.models.openai import OpenAIChat, OpenAIResponses
from loom_nb.models.openai_body import is_reasoning_model
from loom_nb.models.openai_schema import strict_schema
from loom_nb.models.registry import VENDORS
from loom_nb.protocols import Generation, OutputSchema, Reply, Request
from loom_nb.testing import Calls, Drop, Fail, Hang, Raw, Say, Think, WireCall, WireServer
from loom_nb.tools import Tool, tool

Client = type[OpenAIChat] | type[OpenAIResponses]

CHAT = Origin("model", "openai-chat")
SECRET = "sk-proj-0123456789abcdef"

both = pytest.mark.parametrize("client", [OpenAIChat, OpenAIResponses])


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch):
    names = [name for vendor in VENDORS.values() for name in vendor.key_env]
    for name in (*names, "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


@tool(read_only=True)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(read_only=True)
def look(what: str) -> str:
    """Look at something."""
    return what


def at(server: WireServer, model: str = "gpt-4o", **more: Any) -> dict[str, Any]:
    """The arguments of a client that calls this server."""
    return {"model": model, "base_url": f"{server.url}/v1", **more}


def request(*messages: Message, **more: Any) -> Request:
    return Request(more.pop("system", ""), Conversation(messages or [user("hi")]), **more)


async def ask(client: Client, server: WireServer, asked: Request | None = None, **more: Any) -> Reply:
    model = client(**at(server, **more))
    try:
        return await model.reply(asked or request(), lambda delta: None)
    finally:
        await model.close()


async def ask_raw(*chunks: dict[str, Any] | str, vendor: str = "compatible") -> tuple[Reply, list[Delta]]:
    """What the chat client makes of these chunks."""
    told = [chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks]
    deltas: list[Delta] = []
    with WireServer([Raw("".join(f"data: {chunk}\n\n" for chunk in told).encode())]) as server:
        model = OpenAIChat(**at(server, vendor=vendor))
        try:
            return await model.reply(request(), deltas.append), deltas
        finally:
            await model.close()


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call_chunk(**call: Any) -> dict[str, Any]:
    return chunk(tool_calls=[call])


async def failure(client: Client, step: Any, **more: Any) -> ModelError:
    with WireServer([step]) as server:
        with pytest.raises(ModelError) as caught:
            await ask(client, server, **more)
        return caught.value


# what comes back


@both
async def test_a_text_arrives_in_deltas_and_whole(client: Client):
    deltas: list[Delta] = []
    with WireServer([Say("Grüße aus dem Netz 🎈")]) as server:
        model = client(**at(server))
        reply = await model.reply(request(), deltas.append)
        await model.close()

    assert reply.message == Message("assistant", (TextPart("Grüße aus dem Netz 🎈", Origin("model")),))
    assert all(isinstance(delta, TextDelta) for delta in deltas)
    assert "".join(delta.text for delta in deltas) == reply.message.text
    assert (reply.stop_reason, reply.model, reply.notices) == ("end", "gpt-4o", ())


@both
async def test_parallel_calls_keep_their_order_and_their_arguments(client: Client):
    deltas: list[Delta] = []
    with WireServer(
        [Say("I add.").then(Calls(("add", {"a": 1, "b": 2}), ("look", {"what": "ü"})))]
    ) as server:
        model = client(**at(server))
        reply = await model.reply(request(tools=[add, look]), deltas.append)
        await model.close()

    calls = reply.message.calls
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("add", {"a": 1, "b": 2}),
        ("look", {"what": "ü"}),
    ]
    assert len({call.id for call in calls}) == 2
    for call in calls:
        pieces = [d for d in deltas if isinstance(d, CallDelta) and d.call_id == call.id]
        assert "".join(piece.arguments for piece in pieces) == call.arguments
        assert {piece.name for piece in pieces} == {call.name}
    assert reply.stop_reason == "tool_calls"


@both
async def test_thinking_comes_apart_from_the_answer(client: Client):
    deltas: list[Delta] = []
    with WireServer([Think("let me see").then(Say("42"))]) as server:
        model = client(**at(server))
        reply = await model.reply(request(), deltas.append)
        await model.close()

    assert [type(part) for part in reply.message.parts] == [ThinkingPart, TextPart]
    assert reply.message.text == "42"
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == "let me see"


@both
async def test_tokens_are_counted_as_the_vendor_counts_them(client: Client):
    tokens = {"input_tokens": 100, "output_tokens": 9, "cache_read_tokens": 80, "reasoning_tokens": 5}
    with WireServer([Say("ok").with_usage(**tokens)]) as server:
        reply = await ask(client, server)

    assert reply.usage == Usage(**tokens)


@both
@pytest.mark.parametrize("reason", ["length", "content_filter", "refusal"])
async def test_a_stop_that_is_not_the_end_is_told(client: Client, reason: str):
    with WireServer([Say("half a").stopping(reason)]) as server:
        reply = await ask(client, server)

    assert reply.stop_reason == reason
    assert reply.message.text == "half a"


@both
async def test_truncated_arguments_stay_as_they_came_and_go_back_as_an_object(client: Client):
    with WireServer([Calls(("add", '{"a": 1, "b')), Say("sorry")]) as server:
        model = client(**at(server))
        asked = request(tools=[add])
        reply = await model.reply(asked, lambda delta: None)
        asked.conversation.add(reply.message)
        (call,) = reply.message.calls
        asked.conversation.add(Message("tool", (ToolResultPart(call.id, "add", (TextPart("no"),), True),)))
        await model.reply(asked, lambda delta: None)
        await model.close()

    assert call.arguments == '{"a": 1, "b'
    sent = server.requests[1].json
    items = sent["input"] if client is OpenAIResponses else sent["messages"]
    item = items[1] if client is OpenAIResponses else items[1]["tool_calls"][0]["function"]
    assert json.loads(item["arguments"]) == {"invalid_json": '{"a": 1, "b'}


@both
async def test_call_ids_that_come_twice_are_made_different(client: Client):
    with WireServer([Calls(WireCall("add", "{}", id="c1"), WireCall("add", "{}", id="c1"))]) as server:
        reply = await ask(client, server)

    assert [call.id for call in reply.message.calls] == ["c1", "c1_2"]
    assert reply.notices == ("two tool calls came with the id c1; the second is now c1_2",)


# what compatible servers send


async def test_whole_calls_without_index_or_id_and_a_plain_stop_are_calls():
    reply, deltas = await ask_raw(
        call_chunk(function={"name": "add", "arguments": '{"a": 1}'}),
        call_chunk(id="", function={"name": "add", "arguments": '{"a": 2}'}),
        chunk("stop"),
        "[DONE]",
    )

    assert [(call.id, call.arguments) for call in reply.message.calls] == [
        ("call_1_1", '{"a": 1}'),
        ("call_1_2", '{"a": 2}'),
    ]
    assert [d.call_id for d in deltas if isinstance(d, CallDelta)] == ["call_1_1", "call_1_2"]
    assert reply.stop_reason == "tool_calls"


async def test_calls_that_are_all_counted_as_zero_are_told_apart_by_id():
    reply, _ = await ask_raw(
        call_chunk(index=0, id="x", function={"name": "add", "arguments": '{"a":'}),
        call_chunk(index=0, id="x", function={"name": "add", "arguments": " 1}"}),
        call_chunk(index=0, id="y", function={"name": "look", "arguments": {"what": "z"}}),
        chunk("tool_calls"),
    )

    assert [(c.id, c.name, c.arguments) for c in reply.message.calls] == [
        ("x", "add", '{"a": 1}'),
        ("y", "look", '{"what":"z"}'),
    ]


async def test_a_reason_to_finish_on_every_chunk_does_not_end_the_answer():
    reply, _ = await ask_raw(chunk("stop", reasoning="hm"), chunk("stop", content="yes"), "[DONE]")

    assert reply.message.text == "yes"
    assert reply.message.parts[0] == ThinkingPart("hm", origin=CHAT)


async def test_lone_surrogates_and_nul_are_replaced_and_split_pairs_are_joined():
    reply, deltas = await ask_raw(
        r'{"choices": [{"delta": {"content": "a\ud800b\u0000 "}}]}',
        r'{"choices": [{"delta": {"content": "\ud83c"}}]}',
        r'{"choices": [{"delta": {"content": "\udf88"}, "finish_reason": "stop"}]}',
    )

    assert reply.message.text == "a\ufffdb\u2400 🎈"
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == "a\ufffdb\u2400 \ufffd\ufffd"


async def test_an_error_in_place_of_a_chunk_is_an_error():
    with pytest.raises(ModelError, match="too many tokens") as caught:
        await ask_raw(
            chunk(content="a"),
            {"error": {"message": "too many tokens", "code": "context_length_exceeded"}},
        )

    assert caught.value.fault == "context_overflow"


async def test_an_end_for_lack_of_resources_is_a_passing_error():
    with pytest.raises(ModelError) as caught:
        await ask_raw(chunk("insufficient_system_resource", content="a"), "[DONE]", vendor="deepseek")

    assert (caught.value.fault, caught.value.passing) == ("overloaded", True)


async def test_a_last_chunk_without_its_blank_line_is_read():
    with WireServer(
        [Raw(b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n')]
    ) as server:
        assert (await ask(OpenAIChat, server)).message.text == "a"


async def test_thinking_within_tags_is_thinking_and_goes_back_within_tags():
    pieces = ["<thi", "nk>", "hm </", "b> yes", "</thi", "nk>", "\n\n", "42 <think>", "!"]
    with WireServer(
        [
            Raw("".join(f"data: {json.dumps(chunk('stop', content=p))}\n\n" for p in pieces).encode()),
            Say("ok"),
        ]
    ) as server:
        model = OpenAIChat(**at(server, vendor="minimax"))
        asked = request()
        reply = await model.reply(asked, lambda delta: None)
        asked.conversation.add(reply.message)
        await model.reply(asked, lambda delta: None)
        await model.close()

    assert reply.message.parts == (
        ThinkingPart("hm </b> yes", origin=CHAT),
        TextPart("42 <think>!", Origin("model")),
    )
    assert server.requests[1].json["messages"][1]["content"] == "<think>hm </b> yes</think>\n\n42 <think>!"


async def test_an_item_that_came_without_deltas_is_not_lost():
    whole = {
        "type": "response.completed",
        "response": {
            "model": "m",
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "a"}]}],
        },
    }
    with WireServer([Raw(f"data: {json.dumps(whole)}\n\n".encode())]) as server:
        assert (await ask(OpenAIResponses, server)).message.text == "a"


async def test_a_failed_response_is_an_error_of_its_kind():
    failed = {
        "type": "response.failed",
        "response": {"error": {"code": "rate_limit_exceeded", "message": "slow"}},
    }
    error = await failure(OpenAIResponses, Raw(f"data: {json.dumps(failed)}\n\n".encode()))

    assert (error.fault, error.passing) == ("rate_limit", True)


# what goes out


@both
async def test_the_body_on_the_wire_is_the_one_that_encode_tells(client: Client):
    with WireServer([Say("ok")]) as server:
        model = client(**at(server))
        asked = request(system="Be ü", tools=[add], generation=Generation(temperature=0.5))
        await model.reply(asked, lambda delta: None)
        await model.close()

    assert server.requests[0].body == model.encode(asked)
    assert json.loads(server.requests[0].body)["temperature"] == 0.5


@both
async def test_each_turn_repeats_the_bytes_of_the_turn_before(client: Client):
    with WireServer([Calls(("add", {"a": n, "b": n})) for n in range(3)]) as server:
        model = client(**at(server, model="gpt-5"))
        asked = request(system="Be brief", tools=[add])
        for _ in range(3):
            reply = await model.reply(asked, lambda delta: None)
            asked.conversation.add(reply.message)
            results = (ToolResultPart(c.id, c.name, (TextPart("4"),)) for c in reply.message.calls)
            asked.conversation.add(Message("tool", tuple(results)))
        await model.close()

    bodies = [sent.body for sent in server.requests]
    assert len(bodies) == 3
    for before, after in itertools.pairwise(bodies):
        assert before.endswith(b"]}") and after.startswith(before[:-2] + b",")


async def test_chat_writes_each_kind_of_message():
    seen = ImagePart(b"\x89PNG", "image/png")
    table = DataPart("df", "a,b", Origin("notebook", "df"))
    asked = request(
        user("look", table, seen, FilePart(b"%PDF", "application/pdf", "p.pdf")),
        Message("assistant", (ThinkingPart("hm"), TextPart("ok"), ToolCallPart("c1", "my.tool", ""))),
        Message(
            "tool",
            (
                ToolResultPart("c1", "my.tool", (TextPart("chart"), seen)),
                ToolResultPart("c2", "add", (TextPart("no such file"),), is_error=True),
            ),
        ),
        user("and this", FilePart(b"x = 1", "text/x-python", "a.py")),
        system="Be brief",
    )
    sent = json.loads(OpenAIChat("gpt-4o").encode(asked))["messages"]

    url = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    pdf = "data:application/pdf;base64," + base64.b64encode(b"%PDF").decode()
    image = {"type": "image_url", "image_url": {"url": url}}
    assert sent == [
        {"role": "system", "content": "Be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "text", "text": '<data name="df" origin="notebook:df">\na,b\n</data>'},
                image,
                {"type": "file", "file": {"filename": "p.pdf", "file_data": pdf}},
            ],
        },
        {
            "role": "assistant",
            "content": "ok",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "my_tool", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "chart\n(what it shows follows)"},
        {"role": "tool", "tool_call_id": "c2", "content": "[error] no such file"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "From the tool my.tool, call c1:"}, image],
        },
        {"role": "user", "content": 'and this\n\n<data name="a.py" origin="user">\nx = 1\n</data>'},
    ]


async def test_responses_write_each_kind_of_message_and_give_the_reasoning_back():
    seen = ImagePart(b"\x89PNG", "image/png")
    ours = ThinkingPart("hm", "rs_1", "ZW5j", Origin("model", "openai-responses"))
    asked = request(
        user("look", seen, FilePart(b"%PDF", "application/pdf", "p.pdf")),
        Message("assistant", (ours, ToolCallPart("c1", "add", '{"a": 1}', vendor_id="fc_1"))),
        Message("tool", (ToolResultPart("c1", "add", (TextPart("chart"), seen)),)),
        Message(
            "assistant",
            (ThinkingPart("other", "rs_2", "x", Origin("model", "anthropic")), TextPart("done"), ours),
        ),
        system="Be brief",
    )
    sent = json.loads(OpenAIResponses("gpt-5").encode(asked))

    image = {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw=="}
    assert sent["instructions"] == "Be brief"
    assert (sent["store"], sent["include"]) == (False, ["reasoning.encrypted_content"])
    assert sent["input"] == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "look"},
                image,
                {
                    "type": "input_file",
                    "filename": "p.pdf",
                    "file_data": "data:application/pdf;base64,JVBERg==",
                },
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "ZW5j",
        },
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}', "id": "fc_1"},
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [{"type": "input_text", "text": "chart"}, image],
        },
        {"role": "assistant", "content": "done"},
    ]


async def test_reasoning_of_a_response_comes_back_in_the_next_request():
    with WireServer(
        [Think("hm", signature="ZW5j").then(Calls(("add", {"a": 1, "b": 2}))), Say("3")]
    ) as server:
        model = OpenAIResponses(**at(server, model="gpt-5"))
        asked = request(tools=[add])
        reply = await model.reply(asked, lambda delta: None)
        asked.conversation.add(reply.message)
        await model.reply(asked, lambda delta: None)
        await model.close()

    thinking, call = server.requests[1].json["input"][1:]
    assert (thinking["type"], thinking["encrypted_content"]) == ("reasoning", "ZW5j")
    assert thinking["id"].startswith("rs_") and call["id"].startswith("fc_")


async def test_deepseek_is_given_its_reasoning_back_and_others_are_not():
    asked = request(user("q"), Message("assistant", (ThinkingPart("hm"), ToolCallPart("c", "add", "{}"))))

    def said(vendor: str) -> dict[str, Any]:
        sent = OpenAIChat("m", vendor=vendor, base_url="http://127.0.0.1:1/v1").encode(asked)
        return json.loads(sent)["messages"][1]

    assert said("deepseek")["reasoning_content"] == "hm"
    assert "reasoning_content" not in said("compatible")


@both
def test_tools_are_told_with_their_schema(client: Client):
    sent = json.loads(client("gpt-4o").encode(request(tools=[add])))

    (told,) = sent["tools"]
    inside = told if client is OpenAIResponses else told["function"]
    assert (inside["name"], inside["description"]) == ("add", "Add two numbers.")
    assert inside["parameters"] == add.schema
    assert told.get("strict", False) is False


def test_a_new_tool_changes_the_head_and_the_same_tools_do_not():
    model = OpenAIChat("gpt-4o")
    asked = request(tools=[add])
    first = model.encode(asked)
    asked.tools = [add]
    again = model.encode(asked)
    asked.tools = [add, look]

    assert again == first
    assert [told["function"]["name"] for told in json.loads(model.encode(asked))["tools"]] == ["add", "look"]


# options


def options(client: Client, vendor: str, model: str, **wanted: Any) -> dict[str, Any]:
    opened = client(model, vendor=vendor, base_url="http://127.0.0.1:1/v1")
    sent = json.loads(opened.encode(request(generation=Generation(**wanted))))
    own = {"model", "messages", "input", "stream", "stream_options", "store", "include"}
    return {name: value for name, value in sent.items() if name not in own}


async def test_reasoning_models_get_their_own_names_and_the_rest_is_told():
    wanted = Generation(
        temperature=1.0,
        top_p=0.5,
        stop=("x",),
        seed=7,
        max_output_tokens=50,
        reasoning_effort="low",
        thinking_tokens=9,
    )
    with WireServer([Say("ok")]) as server:
        asked = request(system="Be brief", generation=wanted)
        reply = await ask(OpenAIChat, server, asked, model="o4-mini")

    sent = server.requests[0].json
    assert sent["messages"][0] == {"role": "developer", "content": "Be brief"}
    assert (sent["max_completion_tokens"], sent["reasoning_effort"], sent["seed"]) == (50, "low", 7)
    assert not {"temperature", "top_p", "stop", "max_tokens"} & set(sent)
    left_out = ("temperature", "top_p", "stop", "thinking_tokens")
    assert all(any(name in notice for notice in reply.notices) for name in left_out)


async def test_responses_take_fewer_options_and_the_rest_is_told():
    wanted = Generation(stop=("x",), seed=7, max_output_tokens=50, reasoning_effort="low")
    with WireServer([Say("ok")]) as server:
        reply = await ask(OpenAIResponses, server, request(generation=wanted), model="gpt-5-mini")

    sent = server.requests[0].json
    assert (sent["max_output_tokens"], sent["reasoning"]) == (50, {"effort": "low"})
    assert [notice.split(":")[0] for notice in reply.notices] == [
        "the responses API has no stop",
        "the responses API has no seed",
    ]


@pytest.mark.parametrize(
    ("vendor", "model", "wanted", "sent"),
    [
        ("openai", "gpt-4o", {"max_output_tokens": 5}, {"max_completion_tokens": 5}),
        ("ollama", "qwen3", {"max_output_tokens": 5, "stop": ("a",)}, {"max_tokens": 5, "stop": ["a"]}),
        ("openai", "o9", {"top_p": 1, "reasoning_effort": "none"}, {"top_p": 1, "reasoning_effort": "none"}),
        ("openai", "gpt-4o", {"reasoning_effort": "low"}, {}),
        ("compatible", "gpt-oss", {"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ("deepseek", "deepseek-chat", {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ("qwen", "qwen3-max", {"thinking_tokens": 99}, {"enable_thinking": True, "thinking_budget": 99}),
        ("qwen", "qwen3-max", {"reasoning_effort": "none"}, {"enable_thinking": False}),
        ("minimax", "MiniMax-M2", {"reasoning_effort": "low"}, {}),
    ],
)  # fmt: skip
def test_options_go_in_the_words_of_the_vendor(
    vendor: str, model: str, wanted: dict[str, Any], sent: dict[str, Any]
):
    assert options(OpenAIChat, vendor, model, **wanted) == sent


@pytest.mark.parametrize("name", ["gpt-5", "gpt-5.2-codex", "gpt-6-astra", "o1", "o3-mini", "openai/o4-mini"])
def test_names_of_reasoning_models_are_known(name: str):
    assert is_reasoning_model(name)


@pytest.mark.parametrize(
    "name", ["gpt-4o", "gpt-4.1", "gpt-35-turbo", "gpt-5-chat-latest", "gpt-oss:20b", "olmo"]
)
def test_names_of_other_models_are_not_taken_for_them(name: str):
    assert not is_reasoning_model(name)


@both
def test_more_fields_are_merged_in_and_none_takes_one_away(client: Client):
    more = {"reasoning": {"summary": "auto"}, "stream_options": None, "store": None, "user": "u"}
    opened = client("gpt-5", options=more)
    sent = json.loads(opened.encode(request(generation=Generation(reasoning_effort="low"))))

    assert sent["user"] == "u" and not {"stream_options", "store"} & set(sent)
    if client is OpenAIResponses:
        assert sent["reasoning"] == {"effort": "low", "summary": "auto"}


def test_fields_that_the_client_writes_itself_are_refused():
    with pytest.raises(LoomUsageError, match="messages"):
        OpenAIChat("gpt-4o", options={"messages": []})


# structured output

PERSON = {
    "type": "object",
    "title": "Person",
    "properties": {"name": {"type": "string", "default": "x"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["age"],
}


@both
async def test_an_output_schema_is_sent_strict(client: Client):
    with WireServer([Say('{"name": "Ada", "age": 36}')]) as server:
        asked = request(output=OutputSchema("Person!", PERSON))
        reply = await ask(client, server, asked)

    sent = server.requests[0].json
    form = sent["text"]["format"] if client is OpenAIResponses else sent["response_format"]["json_schema"]
    assert (form["name"], form["strict"]) == ("Person_", True)
    assert form["schema"] == {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    assert json.loads(reply.message.text)["age"] == 36


def test_a_schema_that_cannot_be_strict_goes_as_it_is():
    free = {"type": "object", "additionalProperties": {"type": "integer"}}
    sent = json.loads(OpenAIChat("gpt-4o").encode(request(output=OutputSchema("counts", free))))

    form = sent["response_format"]["json_schema"]
    assert (form["strict"], form["schema"]) == (False, free)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "string"}},
        {"type": "object"},
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {"a": {"type": "array"}}},
        {"type": "object", "properties": {"a": {"type": "object", "additionalProperties": True}}},
        {"type": "object", "properties": {"a": {"not": {"type": "string"}}}},
        {"type": "object", "properties": {"a": {"type": "array", "prefixItems": [{"type": "string"}]}}},
        {"type": "object", "properties": {}, "required": ["a"]},
    ],
)
def test_what_strict_schemas_cannot_say_is_not_said(schema: dict[str, Any]):
    assert strict_schema(schema) is None


def test_references_and_choices_become_strict_too():
    schema = {
        "type": "object",
        "$defs": {
            "Leaf": {"type": "object", "properties": {"v": {"type": ["string", "null"], "format": "uri"}}}
        },
        "properties": {
            "leaf": {"$ref": "#/$defs/Leaf", "description": "a leaf"},
            "leaves": {"type": "array", "items": {"oneOf": [{"$ref": "#/$defs/Leaf"}, {"type": "null"}]}},
            "kind": {"enum": ["a", "b"]},
        },
    }

    assert strict_schema(schema) == {
        "type": "object",
        "$defs": {
            "Leaf": {
                "type": "object",
                "properties": {"v": {"type": ["string", "null"]}},
                "required": ["v"],
                "additionalProperties": False,
            }
        },
        "properties": {
            "leaf": {"$ref": "#/$defs/Leaf"},
            "leaves": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/Leaf"}, {"type": "null"}]}},
            "kind": {"enum": ["a", "b"]},
        },
        "required": ["leaf", "leaves", "kind"],
        "additionalProperties": False,
    }


async def test_a_vendor_that_cannot_enforce_a_schema_is_told_of_it_in_words():
    with WireServer([Say("{}")]) as server:
        asked = request(system="Be brief", output=OutputSchema("person", PERSON))
        reply = await ask(OpenAIChat, server, asked, vendor="deepseek", model="deepseek-chat")

    sent = server.requests[0].json
    assert sent["response_format"] == {"type": "json_object"}
    assert sent["messages"][0]["content"].startswith("Be brief\n\n")
    assert '"age"' in sent["messages"][0]["content"]
    assert "cannot enforce" in reply.notices[0]


# what goes wrong


@both
@pytest.mark.parametrize(
    ("step", "fault", "passing"),
    [
        (Fail(401), "auth", False),
        (Fail(404), "model_not_found", False),
        (Fail(400, kind="context_length_exceeded"), "context_overflow", False),
        (Fail(413), "payload_too_large", False),
        (Fail(429), "rate_limit", True),
        (Fail(429, kind="insufficient_quota"), "billing", False),
        (Fail(500), "server_error", True),
        (Fail(529), "overloaded", True),
        (Drop(), "connection", True),
        (Say("a b c").cut(after=3), "cut_stream", True),
        (Say("a b c").cut(after=3, how="clean"), "cut_stream", True),
        (Say("a b c").cut(after=3, how="reset"), "cut_stream", True),
        (Say("a b c").garbled(after=2), "cut_stream", True),
        (Say("a b c").failing(after=2), "overloaded", True),
        (Raw(b"<html>sign in</html>", content_type="text/html"), "cut_stream", True),
        (Raw(b'{"error": {"code": "slow_down"}}', content_type="application/json"), "overloaded", True),
        (Raw(b"data: " + b"[" * 100_000 + b"\n\n"), "cut_stream", True),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
async def test_every_failure_has_its_fault(client: Client, step: Any, fault: str, passing: bool):
    error = await failure(client, step)

    assert (error.fault, error.passing) == (fault, passing)


@both
async def test_the_time_to_wait_and_the_id_of_the_request_are_kept(client: Client):
    error = await failure(client, Fail(429, retry_after=2.5))

    assert (error.status, error.retry_after) == (429, 2.5)
    assert error.request_id


@both
async def test_one_call_is_one_request_whatever_happens(client: Client):
    with WireServer([Fail(500), Fail(429, retry_after=0), Say("ok")]) as server:
        model = client(**at(server))
        for _ in range(2):
            with pytest.raises(ModelError):
                await model.reply(request(), lambda delta: None)
        await model.reply(request(), lambda delta: None)
        await model.close()

    assert [sent.path.partition("/v1")[2] for sent in server.requests] == [
        "/responses" if client is OpenAIResponses else "/chat/completions"
    ] * 3
    assert server.connections == 1


@both
async def test_a_server_that_says_nothing_is_given_up(client: Client):
    error = await failure(client, Hang(), timeout=2)

    assert (error.fault, error.passing) == ("timeout", True)


@both
async def test_a_stream_that_stands_still_is_given_up(client: Client):
    error = await failure(client, Say("a b c").cut(after=3, how="hang"), timeout=2)

    assert error.fault == "timeout"


@both
async def test_nobody_listening_is_a_connection_fault(client: Client):
    with WireServer() as server:
        gone = at(server)
    model = client(**gone)
    with pytest.raises(ModelError) as caught:
        await model.reply(request(), lambda delta: None)
    await model.close()

    assert caught.value.fault == "connection"


@both
async def test_cancelling_closes_the_connection(client: Client):
    begun = asyncio.Event()
    with WireServer([Say("a long text", deltas=11).slow(0.05)]) as server:
        model = client(**at(server))
        task = asyncio.create_task(model.reply(request(), lambda delta: begun.set()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await asyncio.to_thread(server.requests[0].wait) == "gone"
        await model.close()


@both
async def test_an_error_of_the_listener_passes_through_and_closes_the_connection(client: Client):
    def stumble(delta: Delta) -> None:
        raise KeyError("listener")

    with WireServer([Say("a b c").slow(0.05)]) as server:
        model = client(**at(server))
        with pytest.raises(KeyError):
            await model.reply(request(), stumble)

        assert await asyncio.to_thread(server.requests[0].wait) == "gone"
        await model.close()


@both
async def test_a_connection_that_stays_open_behind_the_end_mark_does_not_hold_the_reply(client: Client):
    with WireServer([Say("ok").cut(after=99, how="hang"), Say("next")]) as server:
        model = client(**at(server))
        first = await model.reply(request(), lambda delta: None)
        assert await asyncio.to_thread(server.requests[0].wait) == "gone"
        second = await model.reply(request(), lambda delta: None)
        await model.close()

    assert (first.message.text, second.message.text) == ("ok", "next")


@both
async def test_many_replies_at_once_open_one_client(client: Client):
    with WireServer(lambda sent: Say(f"to {len(sent.body)}")) as server:
        model = client(**at(server))
        asked = [request(user("x" * n)) for n in range(8)]
        replies = await asyncio.gather(*(model.reply(one, lambda delta: None) for one in asked))
        await model.close()

    assert [reply.message.text for reply in replies] == [f"to {len(model.encode(one))}" for one in asked]


# keys and addresses


@both
async def test_the_key_is_shown_to_the_server_and_to_no_one_else(client: Client):
    told = f"Incorrect API key provided: {SECRET}."
    with WireServer([Say("ok"), Fail(401, message=told)], key=SECRET) as server:
        model = client(**at(server, api_key=SECRET))
        await model.reply(request(), lambda delta: None)
        with pytest.raises(ModelError) as caught:
            await model.reply(request(), lambda delta: None)
        await model.close()

    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    for text in (str(caught.value), repr(caught.value), repr(model), repr(vars(model))):
        assert SECRET not in text
    with pytest.raises(TypeError, match="a key is not pickled"):
        pickle.dumps(model)


@both
async def test_a_missing_key_is_told_with_the_name_to_set(client: Client):
    with pytest.raises(LoomKeyError) as caught:
        await client("gpt-4o").reply(request(), lambda delta: None)

    assert caught.value.title == "no key for 'openai'"
    assert "OPENAI_API_KEY" in caught.value.cause and any(
        "OPENAI_API_KEY" in fix for fix in caught.value.fixes
    )


async def test_the_key_is_looked_up_when_it_is_needed(monkeypatch: pytest.MonkeyPatch):
    with WireServer([Say("ok")], key="from-env") as server:
        model = OpenAIChat(**at(server, vendor="qwen"))
        monkeypatch.setenv("DASHSCOPE_API_KEY", " from-env\n")
        reply = await model.reply(request(), lambda delta: None)
        await model.close()

    assert reply.message.text == "ok"


async def test_a_key_that_was_changed_counts_at_once(monkeypatch: pytest.MonkeyPatch):
    with WireServer([Say("ok")], key="right") as server:
        model = OpenAIChat(**at(server))
        monkeypatch.setenv("OPENAI_API_KEY", "wrong")
        with pytest.raises(ModelError) as caught:
            await model.reply(request(), lambda delta: None)
        monkeypatch.setenv("OPENAI_API_KEY", "right")
        await model.reply(request(), lambda delta: None)
        await model.close()

    assert caught.value.fault == "auth"


async def test_a_key_that_cannot_be_one_is_refused_without_showing_it():
    with pytest.raises(LoomKeyError) as caught:
        await OpenAIChat("gpt-4o", api_key="sk-ключ").reply(request(), lambda delta: None)

    assert "ключ" not in str(caught.value)


async def test_ollama_needs_no_key():
    with WireServer([Say("ok")]) as server:
        reply = await ask(OpenAIChat, server, vendor="ollama", model="llama3.2")

    assert reply.message.text == "ok"
    assert server.requests[0].headers["authorization"] == "Bearer no-key"


async def test_what_the_environment_says_of_openai_is_not_told_to_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: blue\nAuthorization: Bearer other")
    with WireServer([Say("ok"), Say("ok")]) as server:
        await ask(OpenAIChat, server, vendor="compatible")
        await ask(OpenAIChat, server, vendor="openai")

    other, ours = (sent.headers for sent in server.requests)
    assert other["authorization"] == "Bearer no-key"
    assert not {"openai-organization", "openai-project", "x-team"} & set(other)
    assert (ours["openai-organization"], ours["openai-project"], ours["x-team"]) == (
        "org-1",
        "proj-1",
        "blue",
    )


@pytest.mark.parametrize("address", ["", "localhost:11434", "ftp://x/v1"])
def test_an_address_that_is_none_is_refused(address: str):
    with pytest.raises(LoomUsageError, match=r"base_url|no address"):
        OpenAIChat("m", vendor="compatible", base_url=address)


def test_an_unknown_vendor_needs_an_address():
    with pytest.raises(LoomUsageError, match="vendor 'acme' needs a base_url"):
        OpenAIChat("m", vendor="acme")


@both
def test_a_model_can_be_used_from_one_loop_after_another(client: Client):
    with WireServer([Say("one"), Say("two")]) as server:
        model = client(**at(server))

        async def once() -> str:
            reply = await model.reply(request(), lambda delta: None)
            await model.close()
            return reply.message.text

        assert [asyncio.run(once()), asyncio.run(once())] == ["one", "two"]


def test_the_sdk_is_not_imported_before_the_first_request():
    code = """
import sys
from loom_nb.models.openai import OpenAIChat
OpenAIChat("gpt-4o")
print([name for name in ("openai", "httpx2", "pydantic") if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[]"


def test_both_clients_say_who_they_are():
    assert repr(OpenAIChat("llama3.2", vendor="ollama")) == "<OpenAIChat ollama:llama3.2>"
    assert OpenAIResponses("gpt-5").name == "openai:gpt-5"
    assert isinstance(add, Tool)
