"""The wire server: what the official clients see of it."""

import asyncio
import http.client
import json
import re
import socket
import time

import anthropic
import openai
import pytest

from loom_nb import Agent, MemoryStore, Model
from loom_nb.errors import LoomUsageError
from loom_nb.testing import Calls, Drop, Fail, Hang, Raw, Say, Think, WireCall, WireRequest, WireServer

ASKED = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
TOLD = {"include_usage": True}
STREAMED = json.dumps({**ASKED, "stream": True}).encode()
EVERYTHING = Think("hm hm").then(Say("Hello to you"), Calls(("add", {"a": 1}), ("sub", {"b": 2})))
EVERYTHING = EVERYTHING.with_usage(
    input_tokens=30, output_tokens=5, cache_read_tokens=20, cache_write_tokens=4
)


def connect(server: WireServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))


def post(server: WireServer, path: str, body: object) -> tuple[int, dict[str, str], bytes]:
    """One bare exchange."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    try:
        connection.request("POST", path, json.dumps(body), {"X-API-Key": "k"})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


# what the official clients read


@pytest.mark.parametrize("streamed", [True, False])
async def test_the_anthropic_client_reads_everything(streamed: bool):
    with WireServer([EVERYTHING]) as server:
        async with anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0) as client:
            if streamed:
                async with client.messages.stream(**ASKED) as stream:
                    message = await stream.get_final_message()
            else:
                message = await client.messages.create(**ASKED)

    thinking, text, first, second = message.content
    assert (thinking.thinking, thinking.signature) == ("hm hm", "c2lnbmF0dXJl")
    assert text.text == "Hello to you"
    assert [(call.name, call.input) for call in (first, second)] == [("add", {"a": 1}), ("sub", {"b": 2})]
    assert first.id != second.id
    assert message.stop_reason == "tool_use"
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (
        6,
        20,
        4,
    )
    assert usage.output_tokens == 5


@pytest.mark.parametrize("streamed", [True, False])
async def test_the_openai_client_reads_a_whole_chat_completion(streamed: bool):
    asked = {"model": "m", "messages": ASKED["messages"]}
    with WireServer([EVERYTHING]) as server:
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0) as client:
            if streamed:
                options = {"include_usage": True}
                async with client.chat.completions.stream(**asked, stream_options=options) as stream:
                    completion = await stream.get_final_completion()
            else:
                completion = await client.chat.completions.create(**asked)

    choice = completion.choices[0]
    assert choice.message.content == "Hello to you"
    assert choice.message.reasoning_content == "hm hm"
    assert [(c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls] == [
        ("add", {"a": 1}),
        ("sub", {"b": 2}),
    ]
    assert choice.finish_reason == "tool_calls"
    assert (completion.usage.prompt_tokens, completion.usage.prompt_tokens_details.cached_tokens) == (30, 20)


@pytest.mark.parametrize("streamed", [True, False])
async def test_the_openai_client_reads_a_whole_response(streamed: bool):
    with WireServer([EVERYTHING]) as server:
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0) as client:
            if streamed:
                async with client.responses.stream(model="m", input="hi") as stream:
                    response = await stream.get_final_response()
            else:
                response = await client.responses.create(model="m", input="hi")

    assert response.output_text == "Hello to you"
    assert [item.type for item in response.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert response.output[0].summary[0].text == "hm hm"
    assert json.loads(response.output[3].arguments) == {"b": 2}
    assert response.status == "completed"
    assert (response.usage.input_tokens, response.usage.input_tokens_details.cached_tokens) == (30, 20)


async def test_a_refusal_and_a_cut_answer_have_each_vendors_words():
    steps = [Say("no").stopping("refusal"), Say("half").stopping("length")]
    with WireServer(steps * 3) as server:
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0) as client:
            chats = [await client.chat.completions.create(model="m", messages=[]) for _ in steps]
            responses = [await client.responses.create(model="m", input="hi") for _ in steps]
        async with anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0) as client:
            messages = [await client.messages.create(**ASKED) for _ in steps]

    assert [chat.choices[0].finish_reason for chat in chats] == ["stop", "length"]
    assert chats[0].choices[0].message.refusal == "no"
    assert responses[0].output[0].content[0].refusal == "no"
    assert responses[1].incomplete_details.reason == "max_output_tokens"
    assert [message.stop_reason for message in messages] == ["refusal", "max_tokens"]


@pytest.mark.parametrize(
    ("status", "theirs", "ours"),
    [
        (400, "BadRequestError", "BadRequestError"),
        (401, "AuthenticationError", "AuthenticationError"),
        (403, "PermissionDeniedError", "PermissionDeniedError"),
        (404, "NotFoundError", "NotFoundError"),
        (413, "ContentTooLargeError", "APIStatusError"),
        (429, "RateLimitError", "RateLimitError"),
        (500, "InternalServerError", "InternalServerError"),
        (529, "OverloadedError", "InternalServerError"),
    ],
)
async def test_errors_are_told_in_the_shape_of_the_vendor(status: int, theirs: str, ours: str):
    with WireServer([Fail(status, "because", retry_after=3)] * 2) as server:
        async with anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0) as client:
            with pytest.raises(getattr(anthropic, theirs, anthropic.APIStatusError)) as first:
                await client.messages.create(**ASKED)
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0) as client:
            with pytest.raises(getattr(openai, ours)) as second:
                await client.chat.completions.create(model="m", messages=[])

    assert first.value.body["error"]["message"] == "because"
    assert first.value.request_id == "req_wire_1"
    assert first.value.response.headers["retry-after"] == "3"
    assert second.value.body["message"] == "because"
    assert second.value.request_id == "req_wire_2"


async def test_an_error_may_come_inside_a_stream():
    with WireServer([Say("a b c").failing(after=4)] * 3) as server:
        async with anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0) as client:
            with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
                async for _ in await client.messages.create(**ASKED, stream=True):
                    pass
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0) as client:
            with pytest.raises(openai.APIError, match="Overloaded"):
                async for _ in await client.chat.completions.create(model="m", messages=[], stream=True):
                    pass
            events = [e async for e in await client.responses.create(model="m", input="x", stream=True)]

    assert (events[-1].type, events[-1].message) == ("error", "Overloaded")


async def test_both_clients_list_its_models():
    with WireServer(models=["one", "two"]) as server:
        async with anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0) as client:
            assert [model.id async for model in client.models.list()] == ["one", "two"]
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0) as client:
            assert [model.id async for model in client.models.list()] == ["one", "two"]


# how it behaves


def test_requests_are_recorded():
    with WireServer([Say("ok")]) as server:
        post(server, "/v1/messages", ASKED)

    (request,) = server.requests
    assert (request.method, request.path, request.number) == ("POST", "/v1/messages", 1)
    assert request.headers["x-api-key"] == "k"
    assert request.json == ASKED
    assert json.loads(request.body) == ASKED
    assert request.outcome == "answered"


def test_a_step_may_depend_on_the_request():
    with WireServer([lambda request: Say(request.json["model"].upper())]) as server:
        _, _, body = post(server, "/v1/chat/completions", ASKED)

    assert json.loads(body)["choices"][0]["message"]["content"] == "M"


def test_one_function_answers_any_number_of_requests():
    def echo(request: WireRequest) -> Say:
        return Say(f"number {request.number}")

    with WireServer(echo) as server:
        bodies = [post(server, "/v1/messages", ASKED)[2] for _ in range(3)]

    assert [json.loads(body)["content"][0]["text"] for body in bodies] == ["number 1", "number 2", "number 3"]


def test_a_function_that_fails_is_told_to_the_client_and_raised_at_the_end():
    with pytest.raises(AssertionError, match="step") as caught, WireServer([lambda _: 1 / 0]) as server:
        status, _, body = post(server, "/v1/messages", ASKED)

    assert status == 400
    assert b"ZeroDivisionError" in body
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_script_that_has_run_out_says_so():
    with WireServer([]) as server:
        status, _, body = post(server, "/v1/messages", ASKED)

    assert status == 400
    assert b"run out" in body


@pytest.mark.parametrize("make", [Model.anthropic, Model.openai], ids=["anthropic", "openai"])
@pytest.mark.parametrize(
    "step", [(), (lambda _: 1 / 0,), (lambda _: None,)], ids=["none", "fails", "no step"]
)
async def test_what_no_repetition_mends_is_asked_for_once(make, step, monkeypatch):
    """A step that cannot be played does not use up the one behind it."""
    monkeypatch.setenv("WIRE_KEY", "k")
    with WireServer([*step, Say("not for this request")] if step else [], strict=False) as server:
        async with Agent(
            make("m", base_url=server.url, key_env="WIRE_KEY"), session_store=MemoryStore()
        ).session() as chat:
            result = await chat.run("go")

    assert result.status == "failed"
    assert len(server.requests) == 1
    assert server.leftover == ((Say("not for this request"),) if step else ())


def test_arguments_of_a_call_may_be_a_mapping():
    assert WireCall("add", {"a": 1}) == WireCall("add", '{"a": 1}') == Calls(("add", {"a": 1})).calls[0]
    with WireServer([Calls(WireCall("add", {"a": 1}, id="c1"))]) as server:
        _, _, body = post(server, "/v1/chat/completions", ASKED)

    call = json.loads(body)["choices"][0]["message"]["tool_calls"][0]
    assert (call["id"], call["function"]) == ("c1", {"name": "add", "arguments": '{"a": 1}'})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: WireCall("add", 5),
        lambda: WireCall("add", ["a"]),
        lambda: WireCall("add", {"a": object()}),
        lambda: WireCall("add", {"a": float("nan")}),
        lambda: WireCall(5, {}),
        lambda: WireCall("add", {}, fragments="3"),
        lambda: Calls("add"),
        lambda: Calls(("add",)),
        lambda: Calls(("add", 5)),
        lambda: Say(5),
        lambda: Say("a", deltas=0),
        lambda: Think(None),
        lambda: Say("a").then("b"),
        lambda: WireServer(["hello"]),
        lambda: WireServer("hello"),
        lambda: WireServer(5),
        lambda: WireServer([("add", {"a": 1})]),
        lambda: WireServer().add(5),
    ],
)
def test_what_no_script_can_hold_is_refused_when_it_is_written(wrong):
    with pytest.raises(LoomUsageError) as raised:
        wrong()

    assert raised.value.fixes


def test_a_lone_step_is_a_script_of_one():
    with WireServer(Say("a")) as server:
        assert post(server, "/v1/chat/completions", ASKED)[0] == 200
        assert not server.leftover


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/responses"])
def test_what_fails_while_a_step_is_written_out_is_raised_at_the_end(path, streamed):
    broken = Say("a").with_usage(input_tokens="many")  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="Error") as caught, WireServer([broken, Say("b")]) as server:
        status, _, body = post(server, path, {**ASKED, "stream": streamed, "stream_options": TOLD})

    assert (status, len(server.leftover)) == (400, 1)
    assert b"the step for request 1 failed" in body
    assert caught.value.__cause__ is not None


def test_embeddings_that_fail_are_raised_at_the_end_as_well():
    with pytest.raises(AssertionError, match="boom"), WireServer(embedding=fails) as server:
        status, _, _ = post(server, "/v1/embeddings", {"model": "m", "input": ["a"]})

    assert status == 400


def fails(texts):
    raise RuntimeError("boom")


def test_steps_that_were_not_used_are_an_error_unless_allowed():
    with pytest.raises(AssertionError, match="1 unused steps"), WireServer([Say("a"), Say("b")]) as server:
        post(server, "/v1/messages", ASKED)

    with WireServer([Say("a")], strict=False) as server:
        assert server.leftover == (Say("a"),)

    with pytest.raises(KeyError), WireServer([Say("a")]):
        raise KeyError  # the first error is the one that counts


def test_a_wrong_key_is_refused_and_uses_no_step():
    with WireServer([Say("ok")], key="right", strict=False) as server:
        status, _, _ = post(server, "/v1/messages", ASKED)

    assert status == 401
    assert len(server.leftover) == 1


def test_an_unknown_path_uses_no_step():
    with WireServer([Say("ok")], strict=False) as server:
        status, _, body = post(server, "/v2/nothing", ASKED)

    assert (status, len(server.leftover)) == (404, 1)
    assert b"/v2/nothing" in body


def test_text_is_split_into_as_many_deltas_as_asked():
    with WireServer([Say("abcdefghij", deltas=4), Say("ab", deltas=9)]) as server:
        bodies = [post(server, "/v1/messages", {**ASKED, "stream": True})[2] for _ in range(2)]

    assert [body.count(b"text_delta") for body in bodies] == [4, 2]


def test_ten_thousand_deltas_go_out_in_large_writes():
    with WireServer([Say("word " * 10_000, deltas=10_000)]) as server, connect(server) as client:
        client.sendall(
            b"POST /v1/messages HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
            % (len(STREAMED), STREAMED)
        )
        raw = b""
        while not raw.endswith(b"\r\n0\r\n\r\n"):
            raw += client.recv(1 << 16)

    assert raw.count(b"text_delta") > 9_900  # some are cut by the bounds of chunks
    assert len(re.findall(rb"\r\n[0-9a-f]+\r\n", raw)) < 100


def test_arguments_are_sent_as_they_are_also_where_they_are_broken():
    step = Calls(
        ("add", '{"a": 1, "b'), WireCall("no_such_tool", "{}", id="x"), WireCall("add", "{}", id="x")
    )
    with WireServer([step]) as server:
        _, _, body = post(server, "/v1/chat/completions", ASKED)

    calls = json.loads(body)["choices"][0]["message"]["tool_calls"]
    assert calls[0]["function"]["arguments"] == '{"a": 1, "b'
    assert [call["id"] for call in calls[1:]] == ["x", "x"]


def test_lone_surrogates_and_nul_go_out_as_escapes():
    with WireServer([Say("\ud800\0", deltas=1)]) as server:
        _, _, body = post(server, "/v1/messages", {**ASKED, "stream": True})

    assert b'"\\ud800\\u0000"' in body


def test_raw_bytes_go_out_unchanged():
    with WireServer([Raw(b"\xff\xfe", status=207, content_type="x/y", headers={"x-extra": "1"})]) as server:
        status, headers, body = post(server, "/v1/messages", ASKED)

    assert (status, headers["content-type"], headers["x-extra"], body) == (207, "x/y", "1", b"\xff\xfe")


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_cut_stream_ends_in_the_middle(how: str):
    with WireServer([Say("a b c d").cut(after=5, how=how)]) as server:  # type: ignore[arg-type]
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            post(server, "/v1/messages", {**ASKED, "stream": True})
        outcome = server.requests[0].wait()

    assert outcome == "cut"


def test_a_clean_cut_is_a_whole_http_answer_without_its_last_events():
    with WireServer([Say("a b").cut(after=4, how="clean")]) as server:
        _, _, body = post(server, "/v1/messages", {**ASKED, "stream": True})

    assert body.count(b"event: ") == 4
    assert b"message_stop" not in body


def test_garbage_stands_between_the_events():
    with WireServer([Say("a b").garbled(after=1, data=b"data: {oops\n\n")]) as server:
        _, _, body = post(server, "/v1/messages", {**ASKED, "stream": True})

    assert body.index(b"message_start") < body.index(b"{oops") < body.index(b"content_block_start")


def test_a_dropped_connection_gives_no_answer():
    with WireServer([Drop()]) as server, pytest.raises(http.client.RemoteDisconnected):
        post(server, "/v1/messages", ASKED)


@pytest.mark.parametrize("step", [Hang(), Say("word " * 1000).slow(0.01), Say("a").late(60)])
def test_it_notices_a_client_that_goes(step: object):
    with WireServer([step]) as server:  # type: ignore[list-item]
        with connect(server) as client:
            client.sendall(
                b"POST /v1/messages HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(STREAMED), STREAMED)
            )
            while not server.requests:
                time.sleep(0.001)
        outcome = server.requests[0].wait()

    assert outcome == "gone"


def test_closing_ends_every_exchange():
    with WireServer([Hang()]) as server, connect(server) as client:
        client.sendall(b"POST /v1/messages HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        while not server.requests:
            time.sleep(0.001)
        server.close()
        assert client.recv(10) == b""

    assert server.requests[0].outcome == "closed"


async def test_many_clients_are_served_at_once():
    with WireServer([*[Hang()] * 30, Say("ok")]) as server:
        async with anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0) as client:
            waiting = [asyncio.create_task(client.messages.create(**ASKED)) for _ in range(30)]
            while len(server.requests) < 30:  # one after the other, the second would never be heard
                await asyncio.sleep(0.01)
            assert (await client.messages.create(**ASKED)).content[0].text == "ok"
            assert not any(one.done() for one in waiting)
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    assert len(server.requests) == 31


def test_steps_can_be_added_while_it_runs():
    with WireServer([]) as server:
        server.add(Say("later"))
        _, _, body = post(server, "/v1/messages", ASKED)

    assert b"later" in body
