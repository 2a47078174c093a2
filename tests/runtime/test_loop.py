"""The loop: what is said, in which order, and how runs end. The oracle is the list of events."""

import asyncio
import dataclasses

import pytest

from loom_nb import (
    Agent,
    Limits,
    MemoryStore,
    Model,
    ModelError,
    RetryPolicy,
    Runtime,
    RuntimeTask,
    ToolError,
    tool,
)
from loom_nb.events import CallFinished, Noticed, RetryScheduled, TextDelta
from loom_nb.inputs import SessionConfig
from loom_nb.messages import Message, TextPart, ToolResultPart, Usage
from loom_nb.models.scripted import Call, Thought
from loom_nb.protocols import Reply
from loom_nb.runtime.session import Session
from loom_nb.testing.clock import ManualClock


@tool(read_only=True)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def erase(path: str) -> str:
    return f"erased {path}"


def agent(*replies, tools=(add, erase), **options):
    return Agent(Model.scripted(replies), tools=tools, session_store=MemoryStore(), **options)


def names(result):
    return [entry.event.type for entry in result.events]


async def test_a_plain_answer_is_told_in_order_and_completes():
    result = await agent("Hello").run("hi")

    assert names(result) == [
        "RunStarted",
        "MessageAdded",
        "TurnStarted",
        "HeadChanged",
        "MessageAdded",
        "TurnFinished",
        "RunFinished",
    ]
    assert (result.status, result.output, result.turns) == ("completed", "Hello", 1)
    assert repr(result).startswith("<Run r1 completed · scripted:script · 1 turn · ")
    assert str(result) == "Hello"


async def test_a_tool_call_is_judged_started_finished_and_goes_back_to_the_model():
    result = await agent(
        Call("add", {"a": 1, "b": 2}), lambda messages: f"It is {messages[-1].parts[0].text}."
    ).run("1+2?")

    assert names(result) == [
        "RunStarted", "MessageAdded",
        "TurnStarted", "HeadChanged", "MessageAdded", "TurnFinished",
        "CallJudged", "CallStarted", "CallFinished", "MessageAdded",
        "TurnStarted", "MessageAdded", "TurnFinished", "RunFinished",
    ]  # fmt: skip
    assert result.output == "It is 3."
    (use,) = result.tools
    assert (use.name, use.arguments, use.outcome, use.result) == ("add", {"a": 1, "b": 2}, "ok", "3")


async def test_deltas_are_shown_and_never_kept():
    model = Model.scripted([[Thought("hm"), "Hello world"]], chunk=5)
    seen = [event async for event in Agent(model, session_store=MemoryStore()).stream("hi")]

    shown = [e.text for e in seen if isinstance(e, TextDelta)]
    assert "".join(shown) == "Hello world"
    assert len(shown) == 3  # where exactly it is cut depends on what might begin a secret of the environment
    assert seen[-1].type == "RunFinished"


async def test_tools_that_only_read_run_side_by_side_and_results_keep_the_order_of_the_calls():
    running, most = 0, 0
    gate = asyncio.Event()

    @tool(read_only=True)
    async def look(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            gate.set()
        await gate.wait()
        running -= 1
        return n

    result = await agent([Call("look", {"n": n}) for n in (1, 2, 3)], "done", tools=(look,)).run("look")

    assert most == 3
    assert [part.text for part in result.messages[2].parts if isinstance(part, ToolResultPart)] == [
        "1",
        "2",
        "3",
    ]


async def test_tools_that_may_write_run_one_after_the_other():
    order = []

    @tool
    async def write(n: int) -> None:
        order.append(("start", n))
        await asyncio.sleep(0)
        order.append(("end", n))

    await agent([Call("write", {"n": 1}), Call("write", {"n": 2})], "done", tools=(write,)).run("write")

    assert order == [("start", 1), ("end", 1), ("start", 2), ("end", 2)]


async def test_a_synchronous_tool_does_not_block_the_loop():
    import threading

    started, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @tool
    def block() -> str:
        loop.call_soon_threadsafe(started.set)
        assert release.wait(60)
        return threading.current_thread().name

    run = agent(Call("block"), "done", tools=(block,)).session().start("go")
    await started.wait()  # the loop lives while the tool blocks
    release.set()
    result = await run

    assert result.status == "completed"
    assert result.tools[0].result.startswith("loom-tool-")


@pytest.mark.parametrize(
    ("call", "outcome", "told"),
    [
        (
            Call("ad", {}),
            "unknown_tool",
            "There is no tool 'ad'. Did you mean add? Known: add, boom, erase, sorry.",
        ),
        (Call("add", {"a": "x", "b": 1}), "invalid", "a: Input should be a valid integer"),
        (Call("add", '{"a": 1, "b'), "invalid", "EOF while parsing"),
        (Call("add", '{"a":1,"a":2,"b":1}'), "invalid", 'duplicate key "a"'),
        (Call("boom", {}), "error", "boom failed: ZeroDivisionError: division by zero (line "),
        (Call("sorry", {}), "error", "try the other one"),
    ],
)
async def test_what_goes_wrong_in_a_call_is_told_to_the_model_and_the_run_goes_on(call, outcome, told):
    @tool
    def boom() -> float:
        return 1 / 0

    @tool
    async def sorry() -> None:
        raise ToolError("try the other one")

    result = await agent(call, "I see", tools=(add, erase, boom, sorry)).run("go")

    assert result.status == "completed"
    assert result.tools[0].outcome == outcome
    assert told in result.tools[0].result
    assert result.messages[2].parts[0].is_error


async def test_a_tool_is_stopped_at_its_time_limit_and_the_run_goes_on():
    @tool(timeout=0.05)
    async def wait() -> None:
        await asyncio.sleep(60)

    result = await agent(Call("wait"), "too slow", tools=(wait,)).run("go")

    assert result.tools[0].outcome == "timeout"
    assert "0.05 s" in result.tools[0].result
    assert result.status == "completed"


async def test_a_tool_that_cancels_itself_is_an_error_not_a_stop():
    @tool
    async def odd() -> None:
        raise asyncio.CancelledError

    result = await agent(Call("odd"), "ok", tools=(odd,)).run("go")
    assert (result.status, result.tools[0].outcome) == ("completed", "error")


async def test_a_long_result_keeps_head_and_tail_and_the_rest_can_be_read():
    text = "".join(f"{n:07d}\n" for n in range(10_000))

    @tool(read_only=True, max_chars=1000)
    def dump() -> str:
        return text

    def read_on(messages):
        shown = messages[-1].parts[0].text
        assert shown.startswith("0000000\n")
        assert shown.endswith("0009999\n")
        assert 'read_result(call_id="call_1_1", start=700) reads on' in shown
        assert len(shown) < 1200
        return Call("read_result", {"call_id": "call_1_1", "start": 40_000, "length": 8})

    result = await agent(Call("dump"), read_on, "done", tools=(dump,)).run("go")

    assert result.tools[1].result == "0005000\n"
    assert next(e.event for e in result.events if isinstance(e.event, CallFinished)).chars == len(text)


async def test_limits_end_a_run_as_limit_never_as_completed():
    forever = [Call("add", {"a": 1, "b": 1})] * 5
    result = await agent(*forever, runtime=Runtime(limits=Limits(max_iterations=3))).run("go")
    assert (result.status, result.fault, result.turns) == ("limit", "turns", 3)

    result = await agent(*forever, runtime=Runtime(limits=Limits(max_tokens=10))).run("go")
    assert (result.status, result.fault) == ("limit", "tokens")

    result = await agent(*forever, runtime=Runtime(limits=Limits(max_cost=0.000001))).run("go")
    assert result.status == "failed", "scripted replies are free: the script runs out first"


async def test_a_run_that_takes_too_long_ends_as_limit_and_keeps_what_arrived():
    model = Model.scripted(["a b c d e f g h " * 1_000], chunk=2, delay=0.05)
    runner = Agent(model, session_store=MemoryStore(), runtime=Runtime(limits=Limits(timeout=2)))
    result = await runner.run("go")

    assert (result.status, result.fault) == ("limit", "timeout")
    assert result.output.startswith("a ")
    assert result.messages[-1].partial


@pytest.mark.parametrize(
    ("stop_reason", "status", "fault"),
    [
        ("length", "limit", "length"),
        ("refusal", "failed", "content_filter"),
        ("tool_calls", "failed", "format"),
    ],
)
async def test_a_cut_or_refused_answer_is_not_completed(stop_reason, status, fault):
    reply = Reply(Message("assistant", (TextPart("half an ans"),)), stop_reason=stop_reason)
    result = await agent(reply).run("go")
    assert (result.status, result.fault, result.output) == (status, fault, "half an ans")


async def test_the_last_call_of_a_message_cut_at_its_limit_does_not_run():
    message = Message("assistant", (Call_part("c1", '{"path":"/tmp/x"}'),))
    result = await agent(Reply(message, stop_reason="length"), "ok").run("go")
    assert result.tools[0].outcome == "invalid"
    assert "cut at its token limit" in result.tools[0].result


def Call_part(call_id, arguments):
    from loom_nb.messages import ToolCallPart

    return ToolCallPart(call_id, "erase", arguments)


async def test_duplicate_call_ids_still_get_one_result_each():
    message = Message("assistant", (Call_part("c", '{"path":"1"}'), Call_part("c", '{"path":"2"}')))
    result = await agent(Reply(message, stop_reason="tool_calls"), "ok").run("go")
    assert [part.text for part in result.messages[2].parts] == ["erased 1", "erased 2"]


def retrying(*replies, **retry):
    clock = ManualClock()
    spec = Agent(Model.scripted(replies), runtime=Runtime(retry=RetryPolicy(**retry)))
    return Session(spec, SessionConfig(), MemoryStore(), clock=clock), clock


async def test_a_fault_that_may_pass_is_tried_again_after_the_time_the_vendor_asks_for():
    session, clock = retrying(ModelError("slow down", fault="rate_limit", retry_after=7.0), "done")
    result = await session.run("go")

    assert result.status == "completed"
    assert clock.slept == [7.0]
    (retry,) = [e.event for e in result.events if isinstance(e.event, RetryScheduled)]
    assert (retry.attempt, retry.delay, retry.fault) == (2, 7.0, "rate_limit")


async def test_waits_grow_with_jitter_and_end():
    session, clock = retrying(*[ModelError("busy", fault="overloaded")] * 4)
    result = await session.run("go")

    assert (result.status, result.fault) == ("failed", "overloaded")
    assert len(clock.slept) == 3
    for wait, most in zip(clock.slept, (1, 2, 4), strict=True):
        assert most / 10 <= wait <= most


@pytest.mark.parametrize(
    "fault", ["auth", "billing", "model_not_found", "format", "context_overflow", "payload_too_large"]
)
async def test_a_permanent_fault_ends_the_run_at_once(fault):
    session, clock = retrying(ModelError("no", fault=fault), "never asked")
    result = await session.run("go")
    assert (result.status, result.fault, clock.slept) == ("failed", fault, [])
    assert isinstance(result.error, ModelError)


async def test_a_final_rate_limit_and_a_very_long_wait_are_not_waited_for():
    for error in (
        ModelError("spend limit", fault="rate_limit", final=True),
        ModelError("later", fault="rate_limit", retry_after=3600),
    ):
        session, clock = retrying(error, "never asked")
        assert (await session.run("go")).fault == "rate_limit"
        assert clock.slept == []


class CutModel:
    """Shows two words and breaks."""

    name = "test:cut"

    async def reply(self, request, emit):
        emit(TextDelta("Hello "))
        emit(TextDelta("wor"))
        raise ModelError("the stream was cut", fault="cut_stream")

    async def close(self) -> None: ...


class Reference:
    def __init__(self, model):
        self.model, self.name = model, model.name

    def open(self):
        return self.model

    def window(self):
        return None

    def cost(self, usage, answered=""):
        return None


async def test_a_stream_that_breaks_after_its_first_words_is_not_repeated_and_the_words_are_kept():
    spec = agent()
    object.__setattr__(spec, "model", Reference(CutModel()))
    session = spec.session()
    result = await session.run("go")

    assert (result.status, result.fault, result.output) == ("failed", "cut_stream", "Hello wor")
    assert names(result)[-3:] == ["HeadChanged", "MessageAdded", "RunFinished"]
    assert result.messages[-1] == Message(
        "assistant", (TextPart("Hello wor", result.messages[-1].parts[0].origin),), partial=True
    )

    after = await session.run("again", agent=agent("fine"))
    assert after.status == "completed", "the next run finds a valid conversation"


async def test_usage_and_cost_are_added_up():
    def reply(text, **usage):
        return Reply(Message("assistant", (TextPart(text),)), Usage(**usage))

    tooled = Message("assistant", (Call_part("c", '{"path":"x"}'),))
    result = await agent(
        Reply(tooled, Usage(10, 5, cache_read_tokens=4), "tool_calls"),
        reply("ok", input_tokens=20, output_tokens=1),
    ).run("go")
    assert result.usage == Usage(30, 6, cache_read_tokens=4)
    assert result.cost == 0.0


async def test_notices_of_the_model_reach_the_reader():
    reply = Reply(Message("assistant", (TextPart("ok"),)), notices=("seed was dropped",))
    result = await agent(reply).run("go")
    assert Noticed("seed was dropped") in [entry.event for entry in result.events]


@dataclasses.dataclass
class City:
    name: str
    people: int


async def test_a_structured_answer_is_checked_mended_and_given_as_data():
    result = await agent("not json", '{"name": "Rome"}', '```json\n{"name":"Rome","people":3}\n```').run(
        "?", schema=City
    )

    assert result.data == City("Rome", 3)
    assert "people: Field required" in result.messages[4].text
    assert result.turns == 3


async def test_an_answer_that_never_fits_is_a_failure():
    result = await agent("no", "no", "no").run("?", schema=list[City])
    assert (result.status, result.fault, result.data) == ("failed", "format", None)


async def test_types_that_are_no_objects_travel_in_a_field():
    result = await agent('{"value": [{"name":"a","people":1}]}').run("?", schema=list[City])
    assert result.data == [City("a", 1)]


async def test_a_task_carries_criteria_inputs_and_metadata():
    def check(messages):
        text = messages[0].parts[0].text
        assert text == "Refactor\n\nThe result must meet these criteria:\n- tests stay green"
        data = messages[0].parts[1]
        assert (data.name, str(data.origin)) == ("scope", "user:scope")
        assert "'a': [1]" in data.text
        return "ok"

    task = RuntimeTask(
        "Refactor", input={"scope": {"a": [1]}}, criteria=["tests stay green"], metadata={"ticket": 7}
    )
    result = await agent(check).run(task)
    assert result.status == "completed", result.reason
    assert result.events[0].event.metadata == {"ticket": 7}
