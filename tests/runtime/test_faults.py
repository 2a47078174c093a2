"""What goes wrong on the wire, through the whole machine: agent, loop, SQLite log, the vendors' own SDKs.

Every case ends in the right status, loses nothing, sends no request that nobody asked for, and
leaves a conversation that the next run goes on from.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from loom_nb import Agent, Model, RunResult, SqliteStore, tool
from loom_nb.events import Event, MessageAdded, ResultKept, RetryScheduled, TextDelta
from loom_nb.inputs import SessionConfig
from loom_nb.messages import Message, TextPart, ToolResultPart
from loom_nb.runtime.session import Session
from loom_nb.testing import Calls, Drop, Fail, Raw, Say, Think, WireCall, WireServer
from loom_nb.testing.clock import ManualClock
from loom_nb.testing.wire_script import Step

KEY = "sk-fault-0123456789abcdef"
DIALECTS: dict[str, Callable[..., Model]] = {
    "anthropic": lambda url, **more: Model.anthropic("claude-x", base_url=url, key_env="FAULT_KEY", **more),
    "chat": lambda url, **more: Model.openai("gpt-4o", base_url=f"{url}/v1", key_env="FAULT_KEY", **more),
    "responses": lambda url, **more: Model.openai(
        "gpt-5", api="responses", base_url=f"{url}/v1", key_env="FAULT_KEY", **more
    ),
}


@tool(read_only=True)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(read_only=True)
def long_text(size: int) -> str:
    """A text of that many characters."""
    return ("0123456789" * (size // 10 + 1))[:size]


@tool(read_only=True)
def odd_text() -> str:
    """A text that no JSON can carry."""
    return "NUL \0 and half a pair \ud83d"


@dataclass
class Bench:
    """A session of an agent with a model on the wire."""

    server: WireServer
    session: Session
    store: SqliteStore
    clock: ManualClock
    seen: list[Event] = field(default_factory=list)

    async def run(self, task: str = "go on") -> RunResult:
        run = self.session.start(task)
        run.subscribe(self.seen.append)
        return await run

    async def ends_well(self, *, requests: int) -> None:
        """Nothing is lost, nothing was sent in secret, and the next run is fine.

        Args:
            requests: how many the server has been sent so far.
        """
        assert len(self.server.requests) == requests
        assert_paired(self.session.conversation.messages)
        self.server.add(Say("all is well"))
        after = await self.run("and now?")
        assert (after.status, after.output) == ("completed", "all is well")
        assert len(self.server.requests) == requests + 1
        assert_paired_on_the_wire(self.server.requests[-1].json)

        kept = [entry.event for entry in self.store.read(self.session.id)]
        messages = [event.message for event in kept if isinstance(event, MessageAdded)]
        assert messages == self.session.conversation.messages
        assert [entry.event for entry in self.session.events()] == kept
        assert KEY not in repr(kept)


def assert_paired(messages: Sequence[Message]) -> None:
    """Every message with calls is followed by one with a result for each, in their order."""
    ids = [call.id for message in messages for call in message.calls]
    assert len(set(ids)) == len(ids)
    for number, message in enumerate(messages):
        told = [part.call_id for part in message.parts if isinstance(part, ToolResultPart)]
        before = messages[number - 1].calls if number else ()
        assert told == [call.id for call in before]
    assert not messages[-1].calls


def assert_paired_on_the_wire(body: dict[str, Any]) -> None:
    """The same in the request as the vendor reads it: no call without its result, and none twice."""
    calls: list[str] = []
    results: list[str] = []
    for item in body.get("input") or body["messages"]:
        calls += [call["id"] for call in item.get("tool_calls") or ()]
        calls += [item["call_id"]] if item.get("type") == "function_call" else []
        results += [item["call_id"]] if item.get("type") == "function_call_output" else []
        results += [item["tool_call_id"]] if item.get("role") == "tool" else []
        for block in item["content"] if isinstance(item.get("content"), list) else ():
            calls += [block["id"]] if block["type"] == "tool_use" else []
            results += [block["tool_use_id"]] if block["type"] == "tool_result" else []
    assert calls == results
    assert len(set(calls)) == len(calls)


def assert_writable(value: Any) -> None:
    """Every text is one that UTF-8 can write, also within the arguments of a call, which servers parse."""
    match value:
        case str():
            value.encode()
            assert "\0" not in value
        case dict():
            for name, inner in value.items():
                assert_writable(json.loads(inner) if name == "arguments" else inner)
        case list():
            for inner in value:
                assert_writable(inner)


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FAULT_KEY", KEY)
    return request.param


@asynccontextmanager
async def bench(dialect: str, folder: Path, *steps: Step, **model: Any) -> AsyncIterator[Bench]:
    with WireServer(steps, key=KEY) as server:
        store = SqliteStore(folder / "loom.db")
        agent = Agent(
            DIALECTS[dialect](server.url, **model),
            instructions="Be brief.",
            tools=[add, long_text, odd_text],
            session_store=store,
        )
        clock = ManualClock()
        session = Session(agent, SessionConfig(id="s"), store, clock=clock)
        try:
            yield Bench(server, session, store, clock)
        finally:
            await session.close()
            store.close()


def retries(result: RunResult) -> list[tuple[int, str]]:
    return [(e.event.attempt, e.event.fault) for e in result.events if isinstance(e.event, RetryScheduled)]


# what passes


@pytest.mark.parametrize(
    ("step", "fault"),
    [(Fail(429, retry_after=7), "rate_limit"), (Fail(503, retry_after=7), "overloaded")],
)
async def test_the_wait_that_the_vendor_asks_for_is_kept(
    dialect: str, tmp_path: Path, step: Step, fault: str
):
    async with bench(dialect, tmp_path, step, Say("Hello")) as at:
        result = await at.run()
        assert (result.status, result.output, at.clock.slept) == ("completed", "Hello", [7.0])
        assert retries(result) == [(2, fault)]
        assert at.server.requests[0].body == at.server.requests[1].body
        await at.ends_well(requests=2)


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (Fail(500), "server_error"),
        (Fail(529), "overloaded"),
        (Fail(502, body=b"<html><h1>Bad gateway</h1></html>"), "server_error"),
        (Drop(), "connection"),
        (Say("never").cut(after=1), "cut_stream"),
        (Say("never").cut(after=1, how="reset"), "cut_stream"),
        (Say("never").cut(after=0, how="clean"), "cut_stream"),
        (Say("never").garbled(after=0), "cut_stream"),
        (Say("never").failing(after=0), "overloaded"),
        (Raw(b"<html>please sign in</html>", content_type="text/html"), "cut_stream"),
    ],
    ids=lambda value: repr(value)[:50],
)
async def test_a_fault_before_the_first_word_is_tried_again(
    dialect: str, tmp_path: Path, step: Step, fault: str
):
    async with bench(dialect, tmp_path, step, Say("Hello")) as at:
        result = await at.run()
        assert (result.status, result.output) == ("completed", "Hello")
        assert retries(result) == [(2, fault)]
        (wait,) = at.clock.slept
        assert 0.1 <= wait <= 1.0
        await at.ends_well(requests=2)


@pytest.mark.parametrize(
    ("status", "fault"), [(429, "rate_limit"), (500, "server_error"), (529, "overloaded")]
)
async def test_a_fault_that_does_not_pass_ends_the_run_after_four_attempts(
    dialect: str, tmp_path: Path, status: int, fault: str
):
    async with bench(dialect, tmp_path, *[Fail(status)] * 4) as at:
        result = await at.run()
        assert (result.status, result.fault, result.output) == ("failed", fault, "")
        assert retries(result) == [(2, fault), (3, fault), (4, fault)]
        for wait, longest in zip(at.clock.slept, (1.0, 2.0, 4.0), strict=True):
            assert longest / 10 <= wait <= longest
        await at.ends_well(requests=4)


async def test_a_wait_that_is_far_too_long_ends_the_run(dialect: str, tmp_path: Path):
    async with bench(dialect, tmp_path, Fail(429, retry_after=3600)) as at:
        result = await at.run()
        assert (result.status, result.fault, at.clock.slept) == ("failed", "rate_limit", [])
        await at.ends_well(requests=1)


# what breaks off


@pytest.mark.parametrize("how", ["close", "reset", "clean"])
async def test_a_stream_that_is_cut_in_the_middle_keeps_its_words_and_is_not_repeated(
    dialect: str, tmp_path: Path, how: Any
):
    step = Say("one two three four five", deltas=12).cut(after=9, how=how)
    async with bench(dialect, tmp_path, step) as at:
        result = await at.run()
        shown = "".join(event.text for event in at.seen if isinstance(event, TextDelta))
        assert (result.status, result.fault, result.output) == ("failed", "cut_stream", shown)
        assert shown
        assert "one two three four five".startswith(shown)
        assert (result.messages[-1].partial, result.messages[-1].text) == (True, shown)
        await at.ends_well(requests=1)
        assert shown in at.server.requests[-1].body.decode()


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (Say("one two three four", deltas=9).garbled(after=7), "cut_stream"),
        (Say("one two three four", deltas=9).failing(after=7), "overloaded"),
        (
            Say("one two three four", deltas=9).failing(after=7, kind="api_error", message="oops"),
            "server_error",
        ),
    ],
)
async def test_garbage_and_errors_within_a_stream_end_the_run(
    dialect: str, tmp_path: Path, step: Step, fault: str
):
    async with bench(dialect, tmp_path, step) as at:
        result = await at.run()
        assert (result.status, result.fault) == ("failed", fault)
        assert result.output.startswith("o")
        await at.ends_well(requests=1)


async def test_a_stream_that_stands_still_ends_in_a_timeout(dialect: str, tmp_path: Path):
    step = Say("one two three", deltas=9).cut(after=7, how="hang")
    async with bench(dialect, tmp_path, step, timeout=3) as at:
        result = await at.run()
        assert (result.status, result.fault) == ("failed", "timeout")
        await at.ends_well(requests=1)


async def test_calls_that_are_cut_off_are_never_run(dialect: str, tmp_path: Path):
    # the event in which the first call is whole comes before the cut
    step = Think("hm").then(Calls(("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4}))).cut(after=12)
    async with bench(dialect, tmp_path, step) as at:
        result = await at.run()
        assert (result.status, result.fault, result.tools) == ("failed", "cut_stream", [])
        await at.ends_well(requests=1)


async def test_a_fault_after_a_tool_has_run_keeps_its_result(dialect: str, tmp_path: Path):
    async with bench(dialect, tmp_path, Calls(("add", {"a": 1, "b": 2})), *[Fail(500)] * 4) as at:
        result = await at.run()
        assert (result.status, result.fault, result.turns) == ("failed", "server_error", 1)
        assert [use.result for use in result.tools] == ["3"]
        await at.ends_well(requests=5)


async def test_stopping_in_mid_stream_closes_the_connection_and_keeps_the_words(dialect: str, tmp_path: Path):
    async with bench(dialect, tmp_path, Say("word " * 500).slow(0.005)) as at:
        run = at.session.start("go on")
        async for event in run.events():
            if isinstance(event, TextDelta):
                run.stop("enough")
        result = await run
        assert (result.status, result.reason) == ("stopped", "enough")
        assert result.output.startswith("word")
        assert await asyncio.to_thread(at.server.requests[0].wait) == "gone"
        await at.ends_well(requests=1)


# what the model gets wrong


@pytest.mark.parametrize(
    "arguments", ['{"a": 1, "b"', '{"a": 1, "a": 2}', "[1]", "NaN", '{"a": 1e999, "b": 1}']
)
async def test_arguments_that_are_no_object_are_told_to_the_model(
    dialect: str, tmp_path: Path, arguments: str
):
    async with bench(dialect, tmp_path, Calls(("add", arguments)), Say("I see")) as at:
        result = await at.run()
        assert (result.status, result.output) == ("completed", "I see")
        assert [use.outcome for use in result.tools] == ["invalid"]
        assert "arguments of add" in at.server.requests[1].body.decode()
        await at.ends_well(requests=2)


async def test_arguments_cut_at_the_output_limit_are_not_run(dialect: str, tmp_path: Path):
    step = Calls(("add", {"a": 1, "b": 2}), ("add", '{"a": 1, "b')).stopping("length")
    async with bench(dialect, tmp_path, step, Say("I see")) as at:
        result = await at.run()
        assert result.status == "completed"
        assert [(use.outcome, use.result) for use in result.tools if use.outcome == "ok"] == [("ok", "3")]
        assert sorted(use.outcome for use in result.tools) == ["invalid", "ok"]
        await at.ends_well(requests=2)


async def test_calls_with_one_id_each_get_their_own_result(dialect: str, tmp_path: Path):
    step = Calls(
        WireCall("add", '{"a": 1, "b": 2}', id="same"), WireCall("add", '{"a": 3, "b": 4}', id="same")
    )
    async with bench(dialect, tmp_path, step, Say("3 and 7")) as at:
        result = await at.run()
        assert (result.status, result.output) == ("completed", "3 and 7")
        (told,) = [message for message in result.messages if message.role == "tool"]
        assert [part.text for part in told.parts if isinstance(part, ToolResultPart)] == ["3", "7"]
        await at.ends_well(requests=2)


async def test_an_unknown_tool_is_told_with_the_nearest_one(dialect: str, tmp_path: Path):
    async with bench(dialect, tmp_path, Calls(("ad", {"a": 1}), ("add", {"a": 1, "b": 2})), Say("ok")) as at:
        result = await at.run()
        assert result.status == "completed"
        assert {use.name: use.outcome for use in result.tools} == {"ad": "unknown_tool", "add": "ok"}
        assert "Did you mean add?" in at.server.requests[1].body.decode()
        await at.ends_well(requests=2)


# what is too much, or cannot be written


async def test_a_result_of_ten_megabytes_is_kept_whole_and_sent_in_short(dialect: str, tmp_path: Path):
    size = 10_000_000
    steps = [
        Calls(WireCall("long_text", json.dumps({"size": size}), id="big")),
        Calls(("read_result", {"call_id": "big", "start": size - 20, "length": 20})),
        Say("done"),
    ]
    async with bench(dialect, tmp_path, *steps) as at:
        result = await at.run()
        assert (result.status, result.output) == ("completed", "done")
        (kept,) = [e.event for e in at.store.read("s") if isinstance(e.event, ResultKept)]
        assert kept.text == long_text(size)
        assert result.tools[1].result == "01234567890123456789"
        assert max(len(request.body) for request in at.server.requests) < 60_000
        await at.ends_well(requests=3)


async def test_characters_that_cannot_be_written_do_no_harm(dialect: str, tmp_path: Path):
    steps = [
        Say("a\ud800b\0c", deltas=1).then(
            Calls(("add", '{"a": 1, "b": 2, "c": "\\ud800\\u0000"}'), ("odd_text", "{}"))
        ),
        Say("fine"),
    ]
    async with bench(dialect, tmp_path, *steps) as at:
        result = await at.run()
        assert (result.status, result.output) == ("completed", "fine")
        assert [use.outcome for use in sorted(result.tools, key=lambda use: use.name)] == ["invalid", "ok"]
        said = result.messages[1].parts[0]
        assert isinstance(said, TextPart)
        assert said.text == "a\ufffdb\u2400c"
        for request in at.server.requests:
            assert_writable(request.json)
        await at.ends_well(requests=2)


async def test_a_prompt_that_cannot_be_written_does_not_block_the_session(dialect: str, tmp_path: Path):
    async with bench(dialect, tmp_path, Say("fine")) as at:
        result = await at.run("half a pair \udc00, NUL \0")
        assert (result.status, result.output) == ("completed", "fine")
        assert_writable(at.server.requests[0].json)
        await at.ends_well(requests=1)


# what does not pass


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (Fail(401, f"invalid key {KEY}"), "auth"),
        (Fail(403), "auth"),
        (Fail(404, "model: claude-none"), "model_not_found"),
        (Fail(402), "billing"),
        (Fail(413), "payload_too_large"),
        (Fail(400, "messages: field required"), "format"),
        (Fail(400, "prompt is too long: 210000 tokens > 200000 maximum"), "context_overflow"),
        (Fail(429, "You exceeded your quota", kind="insufficient_quota"), "billing"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_permanent_fault_ends_the_run_at_once(dialect: str, tmp_path: Path, step: Step, fault: str):
    async with bench(dialect, tmp_path, step) as at:
        result = await at.run()
        assert (result.status, result.fault, at.clock.slept) == ("failed", fault, [])
        assert KEY not in result.reason + repr(result)
        await at.ends_well(requests=1)


async def test_without_a_key_nothing_is_sent(dialect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # the chat clients need none on this machine, so that the key must be asked for by an address elsewhere
    where = {} if dialect == "anthropic" else {"base_url": "http://192.0.2.1/v1"}
    monkeypatch.delenv("FAULT_KEY")
    async with bench(dialect, tmp_path) as at:
        model = at.session.agent.model
        assert isinstance(model, Model)
        away = Model(
            model.vendor, model.model, where.get("base_url", model.base_url), ("FAULT_KEY",), model.api
        )
        result = await at.session.run("go on", agent=Agent(away, session_store=at.store))
        assert (result.status, result.fault) == ("failed", "key")
        assert "no key" in result.reason
        assert at.server.requests == []
        monkeypatch.setenv("FAULT_KEY", KEY)
        await at.ends_well(requests=0)


async def test_a_new_process_goes_on_after_a_fault(dialect: str, tmp_path: Path):
    async with bench(dialect, tmp_path, Calls(("add", {"a": 1, "b": 2})), *[Fail(500)] * 4) as at:
        await at.run("1+2?")
    async with bench(dialect, tmp_path, Say("It is 3.")) as at:
        result = await at.run("well?")
        assert (result.status, result.output, result.id) == ("completed", "It is 3.", "r2")
        sent = at.server.requests[0].json
        assert_paired_on_the_wire(sent)
        assert "1+2?" in at.server.requests[0].body.decode()
        await at.ends_well(requests=1)
