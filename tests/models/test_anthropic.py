"""The Anthropic client: the real SDK against a real server on this machine."""

import asyncio
import base64
import gc
import itertools
import json
import subprocess
import sys

import pytest

from loom_nb.errors import LoomKeyError, ModelError
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
from loom_nb.models.anthropic import AnthropicMessages
from loom_nb.protocols import Generation, OutputSchema, Reply, Request
from loom_nb.testing import Calls, Drop, Fail, Hang, Raw, Say, Think, WireCall, WireServer
from loom_nb.tools import tool

KEY = "sk-ant-test-0123456789"
MODEL = "claude-sonnet-4-5"


@tool(read_only=True)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def erase(path: str) -> str:
    """Erase a file."""
    return path


def request(text: str = "hi", **fields: object) -> Request:
    conversation = fields.pop("conversation", None) or Conversation([user(text)])
    return Request(str(fields.pop("system", "Be brief.")), conversation, **fields)  # type: ignore[arg-type]


async def ask(
    server: WireServer, asked: Request | None = None, **options: object
) -> tuple[Reply, list[Delta]]:
    """One call with a fresh client."""
    model = AnthropicMessages(MODEL, base_url=server.url, api_key=KEY, **options)  # type: ignore[arg-type]
    deltas: list[Delta] = []
    try:
        return await model.reply(asked or request(), deltas.append), deltas
    finally:
        await model.close()


async def failure(step: object, asked: Request | None = None, **options: object) -> ModelError:
    """The error of one call that the server answers with `step`."""
    with WireServer([step]) as server, pytest.raises(ModelError) as caught:  # type: ignore[list-item]
        await ask(server, asked, **options)
    assert len(server.requests) == 1
    return caught.value


def body_of(asked: Request, model: str = MODEL, **options: object) -> dict:
    return json.loads(AnthropicMessages(model, api_key=KEY, **options).encode(asked))  # type: ignore[arg-type]


# what comes back


async def test_words_arrive_as_deltas_and_as_a_message():
    with WireServer([Say("Hello to you")]) as server:
        reply, deltas = await ask(server)

    assert deltas == [TextDelta("Hello "), TextDelta("to "), TextDelta("you")]
    assert reply.message == Message("assistant", (TextPart("Hello to you", Origin("model")),))
    assert (reply.stop_reason, reply.model, reply.notices) == ("end", MODEL, ())


async def test_parallel_calls_keep_their_order_and_their_arguments():
    with WireServer(
        [Say("Let me see.").then(Calls(("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})))]
    ) as server:
        reply, deltas = await ask(server, request(tools=(add,)))

    first, second = reply.message.calls
    assert (json.loads(first.arguments), json.loads(second.arguments)) == ({"a": 1, "b": 2}, {"a": 3, "b": 4})
    assert first.id != second.id
    assert reply.stop_reason == "tool_calls"
    pieces = [delta for delta in deltas if isinstance(delta, CallDelta) and delta.call_id == second.id]
    assert "".join(piece.arguments for piece in pieces) == second.arguments
    assert {piece.name for piece in pieces} == {"add"}


async def test_a_call_without_arguments_has_an_empty_object():
    with WireServer([Calls(("now", ""))]) as server:
        reply, _ = await ask(server)

    assert reply.message.calls[0].arguments == "{}"


async def test_thinking_goes_back_with_its_signature():
    with WireServer(
        [Think("hm hm", signature="c2ln").then(Think("", redacted="b3BhcXVl"), Say("42")), Say("ok")]
    ) as server:
        conversation = Conversation([user("?")])
        reply, deltas = await ask(server, request(conversation=conversation))
        conversation.add(reply.message)
        conversation.add(user("and?"))
        await ask(server, request(conversation=conversation))

    assert [d for d in deltas if isinstance(d, ThinkingDelta)] == [
        ThinkingDelta("hm "),
        ThinkingDelta("hm"),
    ]
    assert server.requests[1].json["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
        {"type": "text", "text": "42"},
    ]


async def test_cached_tokens_are_part_of_the_input():
    told = {"input_tokens": 100, "output_tokens": 7, "cache_read_tokens": 60, "cache_write_tokens": 30}
    with WireServer([Say("ok").with_usage(**told)]) as server:
        reply, _ = await ask(server)

    assert server.requests[0].outcome == "answered"
    assert reply.usage == Usage(**told)


@pytest.mark.parametrize(
    ("told", "ours"),
    [
        ("end_turn", "end"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop_sequence"),
        ("refusal", "refusal"),
        ("pause_turn", "other"),
        ("something_new", "other"),
    ],
)
async def test_every_reason_to_stop_has_our_word(told: str, ours: str):
    with WireServer([Say("ok").stopping(told)]) as server:
        reply, _ = await ask(server)

    assert reply.stop_reason == ours


async def test_two_calls_with_one_id_are_told_apart_and_the_reader_is_told():
    with WireServer([Calls(WireCall("add", "{}", id="same"), WireCall("erase", "{}", id="same"))]) as server:
        reply, deltas = await ask(server)

    assert [(call.name, call.id) for call in reply.message.calls] == [("add", "same"), ("erase", "same_2")]
    assert {d.call_id for d in deltas if isinstance(d, CallDelta) and d.name == "erase"} == {"same_2"}
    assert "same_2" in reply.notices[0]


async def test_lone_surrogates_and_nul_never_come_in():
    with WireServer([Say("a\ud800b\0c", deltas=1).then(Calls(("add", '{"a": "\\ud800"}')))]) as server:
        reply, deltas = await ask(server)

    assert reply.message.text == "a\ufffdb\u2400c"
    assert deltas[0] == TextDelta("a\ufffdb\u2400c")
    reply.message.calls[0].arguments.encode()


async def test_a_character_that_is_split_over_two_deltas_is_whole_in_the_message():
    with WireServer([Say("\ud83d\ude00", deltas=2)]) as server:
        reply, _ = await ask(server)

    assert reply.message.text == "😀"


async def test_truncated_arguments_of_an_ended_message_stay_as_the_model_wrote_them():
    with WireServer([Calls(("add", '{"a": 1, "b')).stopping("length")]) as server:
        reply, _ = await ask(server)

    assert reply.message.calls[0].arguments == '{"a": 1, "b'
    assert reply.stop_reason == "length"


async def test_ten_thousand_deltas_come_through_whole():
    with WireServer([Say("word " * 10_000, deltas=10_000)]) as server:
        reply, deltas = await ask(server)

    assert len(deltas) == 10_000
    assert reply.message.text == "word " * 10_000


async def test_an_answer_in_many_small_writes_reads_the_same():
    with WireServer([Think("hm").then(Say("Grüße 😀"), Calls(("add", {"a": 1}))).slow(0)]) as server:
        reply, _ = await ask(server)

    assert reply.message.text == "Grüße 😀"
    assert reply.message.calls[0].arguments == '{"a": 1}'


async def test_other_line_ends_comments_and_text_in_the_start_of_a_block_are_read():
    lines = [
        'event: message_start\ndata: {"type":"message_start","message":{"model":"m"}}\n\n: a comment\n\n',
        'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hi"}}\n\n',
        'data: {"type":"content_block_stop","index":0}\n\n',
        'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}\n\n',
        'data: {"type":"message_stop"}\n\n',
    ]
    wire = "".join(lines).replace("\n", "\r\n").encode()
    with WireServer([Raw(wire)]) as server:
        reply, deltas = await ask(server)

    assert (reply.message.text, deltas) == ("Hi", [TextDelta("Hi")])


# what is sent


async def test_exactly_one_request_is_sent_and_it_is_the_encoded_one():
    asked = request(tools=(add,))
    with WireServer([Say("ok")]) as server:
        model = AnthropicMessages(MODEL, base_url=server.url, api_key=KEY)
        await model.reply(asked, lambda _: None)
        await model.close()

    assert len(server.requests) == 1
    sent = server.requests[0]
    assert sent.body == model.encode(asked)
    assert (sent.method, sent.path) == ("POST", "/v1/messages")
    assert sent.headers["content-type"] == "application/json"
    assert {"anthropic-version", "user-agent"} <= set(sent.headers)
    assert KEY in sent.headers.get("authorization", "") + sent.headers.get("x-api-key", "")


async def test_one_connection_serves_all_turns():
    with WireServer([Say("ok")] * 3) as server:
        model = AnthropicMessages(MODEL, base_url=server.url, api_key=KEY)
        for _ in range(3):
            await model.reply(request(), lambda _: None)
        await model.close()

    assert server.connections == 1


def test_the_stable_front_and_the_last_message_are_marked_for_the_cache():
    body = body_of(request("hi", tools=(add, erase)))

    mark = {"type": "ephemeral"}
    assert body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": mark}]
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": mark}]}
    ]
    assert [tool["name"] for tool in body["tools"]] == ["add", "erase"]
    assert body["tools"][0]["input_schema"] == add.schema


def test_without_instructions_the_tools_carry_the_mark():
    body = body_of(request(system="", tools=(add, erase)))

    assert "system" not in body
    assert "cache_control" in body["tools"][1]
    assert "cache_control" not in body["tools"][0]


def test_the_bytes_of_earlier_turns_do_not_change():
    conversation = Conversation([user("one")])
    model = AnthropicMessages(MODEL, api_key=KEY)
    asked = request(conversation=conversation, tools=(add,))
    before = []
    for turn in range(4):
        before.append(model.encode(asked))
        conversation.add(Message("assistant", (ToolCallPart(f"t{turn}", "add", '{"a": 1}'),)))
        conversation.add(Message("tool", (ToolResultPart(f"t{turn}", "add", (TextPart("3"),)),)))

    mark = b',"cache_control":{"type":"ephemeral"}'
    for earlier, later in itertools.pairwise(before):
        assert later.replace(mark, b"").startswith(earlier.replace(mark, b"")[:-2])
    assert all(body.count(mark) <= 4 for body in before)


def test_a_call_and_its_result_are_paired():
    conversation = Conversation(
        [
            user("add"),
            Message("assistant", (TextPart("  "), ToolCallPart("t1", "add", '{"a": 1,  "b": 2}'))),
            Message(
                "tool", (ToolResultPart("t1", "add", (TextPart("3"), ImagePart(b"png")), is_error=True),)
            ),
        ]
    )

    messages = body_of(request(conversation=conversation))["messages"]

    assert messages[1]["content"] == [
        {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1, "b": 2}}
    ]
    (result,) = messages[2]["content"]
    assert messages[2]["role"] == "user"
    assert (result["type"], result["tool_use_id"], result["is_error"]) == ("tool_result", "t1", True)
    image = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"png").decode()}
    assert result["content"] == [{"type": "text", "text": "3"}, {"type": "image", "source": image}]


@pytest.mark.parametrize("arguments", ['{"a": 1', "[1]", "", '{"a": 1, "a": 2}', "null"])
def test_arguments_that_are_no_object_still_make_a_valid_body(arguments: str):
    conversation = Conversation([user("x"), Message("assistant", (ToolCallPart("t1", "add", arguments),))])

    assert body_of(request(conversation=conversation))["messages"][1]["content"][0]["input"] == {}


def test_ids_and_names_from_other_vendors_are_spelt_so_that_they_pass():
    conversation = Conversation(
        [
            user("x"),
            Message("assistant", (ToolCallPart("functions.add:0", "my tool!", "{}"),)),
            Message("tool", (ToolResultPart("functions.add:0", "my tool!", (TextPart("3"),)),)),
        ]
    )

    _, call, result = body_of(request(conversation=conversation))["messages"]
    made = call["content"][0]["id"]
    assert made == result["content"][0]["tool_use_id"]
    assert made.replace("_", "").isalnum()
    assert call["content"][0]["name"].replace("_", "").isalnum()


def test_data_is_fenced_and_files_become_what_the_vendor_reads():
    message = user(
        "look",
        DataPart("df", "a,b", Origin("notebook", "df")),
        ImagePart(b"jpg", "image/jpeg"),
        FilePart(b"%PDF", "application/pdf", "paper.pdf"),
        FilePart("Grüße".encode(), "text/markdown", "notes.md"),
        FilePart(b"gif", "image/gif", "x.gif"),
    )

    blocks = body_of(request(conversation=Conversation([message])))["messages"][0]["content"]

    assert blocks[1]["text"].startswith('<data name="df" origin="notebook:df">')
    assert blocks[2]["source"]["media_type"] == "image/jpeg"
    assert (blocks[3]["type"], blocks[3]["title"]) == ("document", "paper.pdf")
    assert base64.b64decode(blocks[3]["source"]["data"]) == b"%PDF"
    assert blocks[4]["source"] == {"type": "text", "media_type": "text/plain", "data": "Grüße"}
    assert blocks[5]["type"] == "image"


@pytest.mark.parametrize(
    "part",
    [
        ImagePart(b"x", "image/svg+xml", name="logo.svg"),
        FilePart(b"x", "application/zip", "a.zip"),
        FilePart(b"\xff", "text/plain", "latin.txt"),
    ],
)
def test_a_file_that_the_vendor_cannot_read_is_refused_by_name(part: ImagePart | FilePart):
    with pytest.raises(ModelError, match=part.name) as caught:
        body_of(request(conversation=Conversation([user("look", part)])))

    assert (caught.value.fault, caught.value.passing) == ("format", False)


def test_a_cut_message_is_sent_in_a_valid_form():
    conversation = Conversation(
        [
            user("x"),
            Message("assistant", (ThinkingPart("half a thought"),), partial=True),
            user("y"),
            Message("assistant", (TextPart("half a sent  "),), partial=True),
            user(""),
        ]
    )

    messages = body_of(request(conversation=conversation))["messages"]

    assert [message["role"] for message in messages] == ["user", "user", "assistant", "user"]
    assert messages[2]["content"] == [{"type": "text", "text": "half a sent"}]
    assert messages[3]["content"][0]["text"] == "(empty)"


def test_thinking_of_another_vendor_stays_at_home():
    foreign = ThinkingPart("hm", signature="x", origin=Origin("model", "openai"))
    conversation = Conversation([user("x"), Message("assistant", (foreign, TextPart("ok"))), user("y")])

    assert body_of(request(conversation=conversation))["messages"][1]["content"] == [
        {"type": "text", "text": "ok"}
    ]


def test_texts_that_no_json_can_carry_are_cleaned_on_the_way_out():
    body = body_of(request("a\ud800\0", system="b\ud800"))

    assert body["messages"][0]["content"][0]["text"] == "a\ufffd\u2400"
    assert body["system"][0]["text"] == "b\ufffd"


# options


def test_options_are_sent_or_said_to_be_dropped():
    generation = Generation(temperature=0.2, top_p=0.9, max_output_tokens=50, stop=("END",), seed=1)
    body = body_of(request(generation=generation))

    assert (body["temperature"], body["top_p"], body["max_tokens"], body["stop_sequences"]) == (
        0.2,
        0.9,
        50,
        ["END"],
    )
    assert "seed" not in body


async def test_a_dropped_option_is_told_with_the_reply():
    with WireServer([Say("ok")] * 2) as server:
        model = AnthropicMessages(MODEL, base_url=server.url, api_key=KEY)
        asked = request(generation=Generation(seed=1))
        replies = [await model.reply(asked, lambda _: None) for _ in range(2)]
        await model.close()

    assert all("seed was dropped" in reply.notices[0] for reply in replies)


@pytest.mark.parametrize(
    ("model", "generation", "expected"),
    [
        ("claude-sonnet-4-5", Generation(thinking_tokens=2000), {"type": "enabled", "budget_tokens": 2000}),
        ("claude-sonnet-4-5", Generation(thinking_tokens=10), {"type": "enabled", "budget_tokens": 1024}),
        (
            "claude-sonnet-4-5",
            Generation(thinking_tokens=9000, max_output_tokens=4000),
            {"type": "enabled", "budget_tokens": 3999},
        ),
        ("claude-sonnet-4-5", Generation(thinking_tokens=9000, max_output_tokens=500), None),
        ("claude-opus-4-7", Generation(thinking_tokens=2000), {"type": "adaptive", "display": "summarized"}),
        ("claude-3-5-haiku-latest", Generation(thinking_tokens=2000), None),
    ],
)
def test_a_thinking_budget_takes_the_form_of_the_model(model: str, generation: Generation, expected: object):
    body = body_of(request(generation=generation), model)

    assert body.get("thinking") == expected
    if expected and "budget_tokens" in body["thinking"]:
        assert body["thinking"]["budget_tokens"] < body["max_tokens"]


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("claude-opus-4-6", "high", "high"),
        ("claude-opus-4-5", "minimal", "low"),
        ("claude-opus-4-7", "none", "low"),
        ("claude-sonnet-4-5", "high", None),
        ("claude-sonnet-4-5", "none", None),
    ],
)
def test_effort_is_sent_to_models_that_take_it(model: str, effort: object, expected: str | None):
    body = body_of(request(generation=Generation(reasoning_effort=effort)), model)  # type: ignore[arg-type]

    assert body.get("output_config", {}).get("effort") == expected


def test_models_without_sampling_options_are_not_sent_any():
    body = body_of(request(generation=Generation(temperature=0.5)), "claude-opus-4-7")

    assert "temperature" not in body


ANSWER = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "age": {"type": "integer", "description": "in years"},
    },
    "required": ["name"],
}


def test_a_schema_binds_the_answer_in_the_vendors_narrow_form():
    body = body_of(request(output=OutputSchema("person", ANSWER)))

    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "(minLength: 2)"},
                "age": {"type": "integer", "description": "in years"},
            },
            "required": ["name"],
            "additionalProperties": False,
        },
    }


@pytest.mark.parametrize(
    ("model", "schema"),
    [
        ("claude-sonnet-4-20250514", ANSWER),
        (MODEL, {"type": "object", "additionalProperties": {"type": "integer"}}),
        (
            MODEL,
            {"$ref": "#/$defs/Node", "$defs": {"Node": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}},
        ),
    ],
)
async def test_a_schema_that_cannot_bind_is_asked_for_in_words(model: str, schema: dict):
    asked = request(output=OutputSchema("x", schema))
    with WireServer([Say("{}")]) as server:
        client = AnthropicMessages(model, base_url=server.url, api_key=KEY)
        reply = await client.reply(asked, lambda _: None)
        await client.close()

    sent = server.requests[0].json
    assert "output_config" not in sent
    assert json.dumps(schema, separators=(",", ":")) in sent["system"][0]["text"]
    assert "in words" in reply.notices[0]


# keys


async def test_without_a_key_the_error_names_the_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with WireServer([]) as server, pytest.raises(LoomKeyError) as caught:
        await AnthropicMessages(MODEL, base_url=server.url).reply(request(), lambda _: None)

    assert "ANTHROPIC_API_KEY" in str(caught.value)
    assert caught.value.code == "L-KEY-01"
    assert server.requests == []


async def test_the_key_is_read_from_the_environment_at_the_first_call(monkeypatch: pytest.MonkeyPatch):
    with WireServer([Say("ok")], key="from-the-env") as server:
        model = AnthropicMessages(MODEL, base_url=server.url, key_env=("NOT_SET", "MY_KEY"))
        monkeypatch.setenv("MY_KEY", "from-the-env")
        reply = await model.reply(request(), lambda _: None)
        await model.close()

    assert reply.message.text == "ok"


def test_the_key_is_not_shown():
    model = AnthropicMessages(MODEL, api_key=KEY)

    assert KEY not in repr(model)
    assert KEY not in repr(vars(model))


async def test_an_error_that_repeats_the_key_is_redacted():
    error = await failure(Fail(401, f"invalid x-api-key {KEY}"))

    assert KEY not in str(error) + repr(error) + error.title
    assert error.fault == "auth"


# faults


@pytest.mark.parametrize(
    ("step", "fault", "passing"),
    [
        (Fail(400, "messages: field required"), "format", False),
        (Fail(400, "prompt is too long: 210000 tokens > 200000 maximum"), "context_overflow", False),
        (Fail(400, "Your credit balance is too low to access the API"), "billing", False),
        (Fail(400, "Output blocked by content filtering policy: content filter"), "content_filter", False),
        (Fail(401), "auth", False),
        (Fail(402), "billing", False),
        (Fail(403), "auth", False),
        (Fail(404, "model: claude-none"), "model_not_found", False),
        (Fail(413), "payload_too_large", False),
        (Fail(429), "rate_limit", True),
        (Fail(429, "This organization reached its spend limit"), "rate_limit", False),
        (Fail(500), "server_error", True),
        (Fail(529), "overloaded", True),
        (Fail(502, body=b"<html><h1>Bad gateway</h1></html>"), "server_error", True),
        (Drop(), "connection", True),
        (Say("Hello to you").failing(after=4), "overloaded", True),
        (Say("Hello to you").failing(after=4, kind="api_error", message="oops"), "server_error", True),
        (Raw(b'{"error":{"type":"overloaded_error"}}', content_type="application/json"), "overloaded", True),
        (Raw(b"<html>login</html>", content_type="text/html"), "cut_stream", True),
    ],
)  # fmt: skip
async def test_every_failure_has_its_fault(step: object, fault: str, passing: bool):
    error = await failure(step)

    assert (error.fault, error.passing) == (fault, passing)


async def test_an_error_has_the_status_and_the_request_id():
    error = await failure(Fail(429, "slow down", retry_after=7))

    assert (error.status, error.retry_after, error.request_id) == (429, 7.0, "req_wire_1")
    assert "req_wire_1" in str(error)
    assert "slow down" in error.title


@pytest.mark.parametrize("how", ["close", "reset", "clean"])
@pytest.mark.parametrize("after", [0, 1, 4, 7])
async def test_a_stream_without_its_end_is_never_a_reply(how: str, after: int):
    step = Say("one two").then(Calls(("add", {"a": 1, "b": 2}))).cut(after=after, how=how)  # type: ignore[arg-type]

    error = await failure(step)

    assert (error.fault, error.passing) == ("cut_stream", True)


DELTA = b'data: {"type": "content_block_delta", "index": %d, "delta": {"type": "text_delta", "text": %b}}\n\n'


@pytest.mark.parametrize(
    "data",
    [
        b'data: {"type": "oops\n\n',
        b"data: \xff\xfe\x00\n\n",
        b"data: [1, 2]\n\n",
        DELTA % (77, b'"x"'),
        DELTA % (0, b"5"),
        b'data: {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
async def test_garbage_in_the_stream_is_an_error_with_a_clear_text(data: bytes):
    error = await failure(Say("one two three").garbled(after=4, data=data))

    assert error.fault == "cut_stream"
    assert "anthropic" in error.title
    assert len(str(error)) < 1000


async def test_events_that_nobody_knows_are_passed_over():
    with WireServer(
        [Say("one two").garbled(after=4, data=b'data: {"type": "brand_new", "x": [1]}\n\n')]
    ) as server:
        reply, _ = await ask(server)

    assert reply.message.text == "one two"


async def test_silence_ends_in_a_timeout():
    error = await failure(Say("one two").cut(after=4, how="hang"), timeout=2)
    assert error.fault == "timeout"

    error = await failure(Hang(), timeout=2)
    assert error.fault == "timeout"


async def test_nobody_listening_is_a_failed_connection():
    model = AnthropicMessages(MODEL, base_url="http://127.0.0.1:9", api_key=KEY)
    with pytest.raises(ModelError) as caught:
        await model.reply(request(), lambda _: None)
    await model.close()

    assert (caught.value.fault, caught.value.passing) == ("connection", False)


async def test_a_call_after_a_failed_one_is_fine():
    with WireServer([Say("x y z").cut(after=4), Fail(500), Say("ok")]) as server:
        model = AnthropicMessages(MODEL, base_url=server.url, api_key=KEY)
        for _ in range(2):
            with pytest.raises(ModelError):
                await model.reply(request(), lambda _: None)
        reply = await model.reply(request(), lambda _: None)
        await model.close()

    assert reply.message.text == "ok"


async def test_cancelling_closes_the_connection():
    begun = asyncio.Event()
    with WireServer([Say("word " * 1000).slow(0.02)]) as server:
        model = AnthropicMessages(MODEL, base_url=server.url, api_key=KEY)
        task = asyncio.create_task(model.reply(request(), lambda _: begun.set()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        outcome = await asyncio.to_thread(server.requests[0].wait)
        await model.close()

    assert outcome == "gone"


def test_one_client_serves_one_loop_after_the_other():
    with WireServer([Say("one"), Say("two")]) as server:
        model = AnthropicMessages(MODEL, base_url=server.url, api_key=KEY)

        async def once() -> str:
            reply = await model.reply(request(), lambda _: None)
            await model.close()
            return reply.message.text

        assert [asyncio.run(once()), asyncio.run(once())] == ["one", "two"]
    gc.collect()


def test_the_sdk_is_loaded_by_the_first_call_only():
    code = (
        "import sys; from loom_nb.models.anthropic import AnthropicMessages;"
        "m = AnthropicMessages('claude-x', api_key='k');"
        "assert not {'anthropic', 'httpx2', 'pydantic'} & set(sys.modules), 'too early'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
