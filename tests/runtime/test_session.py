"""Sessions: queueing, stopping at any point, restoring, two writers, a store that refuses."""

import asyncio
import dataclasses
import gc

import pytest
from pydantic import BaseModel

from loom_nb import (
    Agent,
    LoomError,
    MemoryStore,
    Model,
    Run,
    RunContext,
    RuntimeTask,
    SessionConfig,
    SqliteStore,
    Stop,
    tool,
)
from loom_nb.errors import LoomUsageError, RunStopped, SessionBusy, StoreError
from loom_nb.events import CallFinished, CallStarted, MessageAdded, RunFinished, RunInterrupted, RunStarted
from loom_nb.messages import Message, TextPart, ToolCallPart, ToolResultPart, Usage
from loom_nb.models.scripted import Call
from loom_nb.protocols import Reply, Toolset


@tool(read_only=True)
async def forever() -> None:
    await asyncio.sleep(3600)


@tool(read_only=True)
def add(a: int, b: int) -> int:
    return a + b


def agent(*replies, store=None, chunk=0, delay=0.0, tools=(add, forever)):
    return Agent(
        Model.scripted(replies, chunk=chunk, delay=delay), tools=tools, session_store=store or MemoryStore()
    )


def valid(messages: list[Message]) -> bool:
    """Every call is answered in the next message, in order; nothing else is."""
    for number, message in enumerate(messages):
        calls = [call.id for call in message.calls]
        following = messages[number + 1] if number + 1 < len(messages) else None
        results = [p.call_id for p in following.parts if isinstance(p, ToolResultPart)] if following else []
        if calls != (results if following and following.role == "tool" else []):
            return False
    return True


async def test_runs_of_a_session_queue_and_see_each_other():
    session = agent("one", lambda messages: f"{len(messages)} messages").session()
    first, second = session.start("a"), session.start("b")
    results = await asyncio.gather(first, second)

    assert [r.output for r in results] == ["one", "3 messages"]
    assert [r.id for r in results] == ["r1", "r2"]
    order = [(e.run, e.event.type) for e in session.events() if isinstance(e.event, RunStarted | RunFinished)]
    assert order == [("r1", "RunStarted"), ("r1", "RunFinished"), ("r2", "RunStarted"), ("r2", "RunFinished")]


async def test_sessions_run_side_by_side_and_share_nothing():
    gate = asyncio.Barrier(2)

    @tool(read_only=True)
    async def meet() -> str:
        await gate.wait()
        return "met"

    spec = agent(Call("meet"), Call("meet"), "done", "done", tools=(meet,))
    one, two = spec.session(), spec.session()
    results = await asyncio.gather(one.run("a"), two.run("b"))

    assert [r.status for r in results] == ["completed", "completed"]
    assert one.id != two.id
    assert len(one.conversation) == len(two.conversation) == 4


async def stop_after(run: Run, event_type: str) -> None:
    async for event in run.events():
        if event.type == event_type:
            run.stop("enough")


@pytest.mark.parametrize("where", ["RunStarted", "TurnStarted", "TextDelta", "CallDelta", "CallStarted"])
@pytest.mark.parametrize("durable", [False, True])
async def test_a_run_stopped_anywhere_ends_as_stopped_with_a_valid_conversation(where, durable, tmp_path):
    store = SqliteStore(tmp_path / "loom.db") if durable else MemoryStore()
    session = agent(
        ["Some words ", Call("add", {"a": 1, "b": 1}), Call("forever")],
        "later",
        store=store,
        chunk=4,
        delay=0.01,
    ).session()
    run = session.start("go")
    await asyncio.wait_for(stop_after(run, where), 60)
    result = await run

    assert (result.status, result.reason) == ("stopped", "enough")
    assert valid(session.conversation.messages)
    assert [e.event.type for e in result.events][-1] == "RunFinished"
    with pytest.raises(RunStopped, match="r1 was stopped"):
        result.raise_for_status()
    if where == "CallStarted":
        outcomes = {
            e.event.result.name: e.event.outcome for e in result.events if isinstance(e.event, CallFinished)
        }
        assert outcomes["forever"] == "stopped"
    assert (await session.run("again", agent=agent("fine"))).status == "completed"
    assert valid(session.conversation.messages)
    assert [e.seq for e in session.events()] == list(range(1, len(session.events()) + 1))
    await session.close()
    store.close()


async def test_finished_siblings_keep_their_results_when_a_turn_is_stopped():
    session = agent([Call("add", {"a": 1, "b": 1}), Call("forever")], "x").session()
    run = session.start("go")

    async for event in run.events():
        if isinstance(event, CallFinished):
            run.stop()
    results = session.conversation.messages[-1].parts
    assert [(p.name, p.is_error) for p in results] == [("add", False), ("forever", True)]
    assert results[0].text == "2"


async def test_a_run_that_waits_in_the_queue_can_be_stopped_before_it_begins():
    session = agent(Call("forever"), "x").session()
    first, second = session.start("a"), session.start("b")
    await asyncio.sleep(0)
    second.stop("changed my mind")
    result = await second

    assert (result.status, result.events) == ("stopped", ())
    session.send(Stop("all of it"))
    assert (await first).reason == "all of it"


async def test_stop_works_from_another_thread_and_twice():
    session = agent(Call("forever")).session()
    run = session.start("go")
    await asyncio.sleep(0.01)
    await asyncio.to_thread(run.stop, "from afar")
    run.stop("again")
    assert (await run).reason == "from afar"


async def test_cancelling_the_task_that_waits_stops_the_run_and_stays_a_cancellation():
    entered = asyncio.Event()

    @tool(read_only=True)
    async def entering() -> None:
        entered.set()
        await asyncio.sleep(3600)

    session = agent(Call("entering"), Call("entering"), tools=(entering,)).session()
    for waiting in (lambda: session.run("inline"), lambda: session.start("task").wait()):
        entered.clear()
        task = asyncio.ensure_future(waiting())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    last = [e.event for e in session.events() if isinstance(e.event, RunFinished)]
    assert [f.status for f in last] == ["stopped", "stopped"]
    assert valid(session.conversation.messages)


async def test_a_stopped_inline_run_leaves_its_task_uncancelled():
    session = agent(Call("forever")).session()
    asyncio.get_running_loop().call_later(0.02, lambda: session.send(Stop("now")))
    result = await session.run("go")

    assert result.status == "stopped"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_leaving_a_stream_early_stops_the_run():
    session = agent("a b c d e", "x", chunk=1, delay=0.01).session()
    stream = session.stream("go")
    async for event in stream:
        if event.type == "TextDelta":
            break
    await stream.aclose()
    assert [e.event.status for e in session.events() if isinstance(e.event, RunFinished)] == ["stopped"]


async def test_a_session_goes_on_in_a_new_process_where_it_was(tmp_path):
    path = tmp_path / "loom.db"
    store = SqliteStore(path)
    async with agent(Call("add", {"a": 2, "b": 2}), "four", store=store).session(
        SessionConfig("talk")
    ) as session:
        before = await session.run("2+2?")
    store.close()

    store = SqliteStore(path)
    again = agent(lambda messages: str(len(messages)), store=store).session(SessionConfig("talk"))
    result = await again.run("and now?")

    assert result.output == "5", "four kept messages and the new one"
    assert result.id == "r2"
    assert again.conversation.messages[:4] == before.messages
    await again.close()
    store.close()


async def test_a_run_that_a_dead_process_left_open_is_marked_and_its_calls_are_closed():
    store = MemoryStore()
    lease = store.acquire("s")
    from loom_nb.events import LogEntry, SessionOpened
    from loom_nb.messages import user

    message = Message("assistant", (ToolCallPart("c1", "add", "{}"),))
    events = [
        ("", SessionOpened()),
        ("r1", RunStarted("m", "go")),
        ("r1", MessageAdded(user("go"))),
        ("r1", MessageAdded(message)),
        ("r1", CallStarted("c1", "add", {})),
    ]
    store.append(lease, [LogEntry("s", n + 1, run, 0.0, event) for n, (run, event) in enumerate(events)])
    store.release(lease)

    session = agent("fine", store=store).session(SessionConfig("s"))
    result = await session.run("next")

    assert result.status == "completed"
    assert valid(session.conversation.messages)
    marked = [e for e in session.events() if isinstance(e.event, RunInterrupted)]
    assert [e.run for e in marked] == ["r1"]
    (lost,) = [e.event for e in session.events() if isinstance(e.event, CallFinished)]
    assert lost.outcome == "lost"
    assert "not known" in lost.result.text


async def test_two_sessions_of_one_id_cannot_write_side_by_side():
    store = MemoryStore()
    one = agent("a", store=store).session(SessionConfig("same"))
    two = agent("b", store=store).session(SessionConfig("same"))
    await one.run("x")
    result = await two.run("y")

    assert (result.status, result.fault) == ("failed", "store")
    assert isinstance(result.error, SessionBusy)
    await one.close()
    assert (await two.run("y")).status == "completed"


async def test_an_agent_gives_the_same_session_for_the_same_id_until_it_is_closed():
    spec = agent("a", "b")
    one = spec.session(SessionConfig("x", {"a": 1}))
    assert spec.session(SessionConfig("x", {"b": 2})) is one
    assert one.metadata == {"a": 1, "b": 2}
    await one.close()
    assert spec.session(SessionConfig("x")) is not one


async def test_a_forgotten_session_gives_its_log_free():
    store = MemoryStore()
    spec = agent("a", "b", store=store)
    await spec.session(SessionConfig("x")).run("go")
    gc.collect()
    assert (await spec.session(SessionConfig("x")).run("go")).status == "completed"


class FullStore(MemoryStore):
    """A disk that is full from the nth append on, until it is told otherwise."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self.left = good

    def append(self, lease, entries):
        self.left -= 1
        if self.left < 0:
            raise StoreError("the disk is full")
        super().append(lease, entries)


async def test_a_full_disk_is_a_failure_of_the_run_and_loses_nothing_once_there_is_room():
    store = FullStore(0)
    session = agent("the answer", "more", store=store).session()
    result = await session.run("go")

    assert (result.status, result.fault, result.output) == ("failed", "store", "the answer")
    store.left = 100
    assert (await session.run("again")).status == "completed"
    kept = list(store.read(session.id))
    assert [e.seq for e in kept] == list(range(1, len(kept) + 1))
    assert "the answer" in [e.event.output for e in kept if isinstance(e.event, RunFinished)]


async def test_hooks_are_told_and_their_failures_are_notices():
    told = []
    spec = agent(Call("add", {"a": 1, "b": 2}), "three")
    for name in ("before_run", "before_llm", "after_llm", "before_tool", "after_tool", "after_run"):
        spec.on(name, lambda name=name, **event: told.append((name, event)))

    async def broken(**event):
        raise ValueError("hook trouble")

    spec.on("after_llm", broken)
    result = await spec.run("1+2")

    assert [name for name, _ in told] == [
        "before_run", "before_llm", "after_llm", "before_tool", "after_tool", "before_llm", "after_llm", "after_run",
    ]  # fmt: skip
    facts = dict(told)
    assert facts["before_tool"]["tool_name"] == "add"
    assert facts["after_tool"]["success"] is True
    assert facts["after_run"]["result"]["status"] == "completed"
    assert facts["before_run"]["run_id"] == "r1"
    assert "the hook after_llm failed: ValueError: hook trouble" in [
        e.event.text for e in result.events if e.event.type == "Noticed"
    ]
    with pytest.raises(LoomUsageError, match="there is no hook 'befor_run'"):
        spec.on("befor_run", print)
    with pytest.raises(LoomError, match="not|nothing"):
        spec.on("signal_received", print)


async def test_a_session_that_is_closed_twice_closes_its_capabilities_once():
    closed = []

    @dataclasses.dataclass(frozen=True)
    class Line:
        name: str = "line"

        async def open(self):
            async def hang_up():
                closed.append(self.name)

            return Toolset(close=hang_up)

    session = Agent(Model.scripted(["one"]), capabilities=[Line()], session_store=MemoryStore()).session()
    await session.run("hi")
    await session.close()
    await session.close()
    assert closed == ["line"]


async def test_wrong_tasks_are_refused_by_name():
    session = agent("x").session()
    with pytest.raises(LoomUsageError, match="empty"):
        session.start("  ")
    with pytest.raises(LoomUsageError, match="not int"):
        session.start(3)  # type: ignore[arg-type]
    with pytest.raises(LoomUsageError, match="cannot be the schema"):
        session.start("x", schema=3)
    await session.close()
    with pytest.raises(LoomUsageError, match="closed"):
        session.start("x")


async def test_context_values_travel_as_data():
    result = (
        await agent(lambda messages: messages[0].parts[1].name)
        .session()
        .run("hi", context=RunContext(inputs={"previous": "text"}))
    )
    assert result.output == "previous"


def test_one_session_works_in_one_event_loop_after_another():
    store = MemoryStore()
    session = agent("one", "two", store=store).session()
    assert asyncio.run(session.run("a")).output == "one"
    assert asyncio.run(session.run("b")).output == "two"


async def test_a_tool_that_swallows_the_stop_does_not_keep_the_run_going():
    entered = asyncio.Event()

    @tool
    async def deaf() -> str:
        entered.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "I go on"
        return "slept"

    session = agent(Call("deaf"), "never asked", tools=(deaf,)).session()
    run = session.start("go")
    await entered.wait()
    run.stop("enough")
    result = await run

    assert (result.status, result.reason) == ("stopped", "enough")
    assert valid(session.conversation.messages)
    assert session.agent.model.script.leftover == ("never asked",)


async def test_a_preview_is_the_exact_body_that_the_next_run_sends(monkeypatch):
    from loom_nb.testing import Say, WireServer

    monkeypatch.setenv("LOOM_TEST_KEY", "a-test-key")
    with WireServer([Say("one"), Say("two")]) as server:
        spec = Agent(
            Model.anthropic("claude-x", base_url=server.url, key_env="LOOM_TEST_KEY"),
            instructions="Be brief.", tools=[add], session_store=MemoryStore(),
        )  # fmt: skip
        async with spec.session() as session:
            await session.run("first")
            _, body = await session.preview(RuntimeTask("second", input={"x": [1, 2]}))
            await session.run(RuntimeTask("second", input={"x": [1, 2]}))
        assert len(server.requests) == 2, "a preview sends nothing"
        assert server.requests[1].body == body


async def test_a_session_keeps_the_tools_of_only_so_many_agents_open():
    from loom_nb.runtime.session import MAX_KITS

    session = agent("x").session()
    for _ in range(MAX_KITS + 5):
        await session.run("go", agent=agent("done"))
    assert len(session._kits) == MAX_KITS
    assert session._empty.kit in session._kits.values()


async def test_runs_of_a_session_share_nothing_that_a_run_changes():
    from loom_nb.runtime.stage import Stage

    session = agent("one", "two").session()
    first, second = session.start("a"), session.start("b")
    await asyncio.gather(first, second)
    empty = session._empty
    one, other = empty.entered(first, empty.request, None), empty.entered(second, empty.request, None)

    changing = [name for name in Stage.__struct_fields__ if isinstance(getattr(one, name), (list, set, dict))]
    for name in changing:
        assert getattr(one, name) is not getattr(other, name) and getattr(one, name) is not getattr(
            empty, name
        )
    assert one.tally is other.tally, "the calls of all runs count together"
    for name, nothing in (("results", ()), ("denied", ()), ("started_calls", frozenset())):
        assert getattr(one, name) == nothing, "nothing can be put into what runs share until they need it"


async def test_a_hook_added_between_two_runs_is_told_of_the_second():
    spec, told = agent("one", "two"), []
    session = spec.session()
    await session.run("a")
    spec.on("before_run", lambda **event: told.append(event["goal"]))
    await session.run("b")
    assert told == ["b"]


class Answer(BaseModel):
    city: str


async def test_a_structured_answer_of_any_type_is_kept_as_plain_data(tmp_path):
    store = SqliteStore(tmp_path / "loom.db")
    async with agent('{"city": "Rome"}', store=store).session(SessionConfig("x")) as session:
        result = await session.run("?", schema=Answer)
    assert result.data == Answer(city="Rome")
    assert next(e.event.data for e in store.read("x") if isinstance(e.event, RunFinished)) == {"city": "Rome"}
    store.close()


async def test_metadata_that_no_log_can_keep_is_refused_before_the_run():
    session = agent("x").session()
    for bad in ({"a": object()}, {"a": "\ud800"}):
        with pytest.raises(LoomUsageError, match="plain JSON"):
            session.start(RuntimeTask("go", metadata=bad))
    assert (await session.run("go")).status == "completed"


async def test_a_reply_with_lone_surrogates_is_cleaned_and_kept(tmp_path):
    store = SqliteStore(tmp_path / "loom.db")
    reply = Reply(Message("assistant", (TextPart("a\ud800b\0"),)))
    async with agent(reply, "fine", store=store).session() as session:
        assert (await session.run("go \udc00")).output == "a\ufffdb\u2400"
        assert (await session.run("again")).status == "completed"
    store.close()


async def test_each_reply_is_priced_by_itself():
    class Tiered:
        def __init__(self, model):
            self.model, self.name = model, model.name

        def open(self):
            return self.model.open()

        def window(self):
            return None

        def cost(self, usage, answered=""):
            return 100.0 if usage.input_tokens > 10 else 1.0

    call = Message("assistant", (ToolCallPart("c", "add", '{"a":1,"b":1}'),))
    spec = agent(
        Reply(call, Usage(8, 1), "tool_calls"), Reply(Message("assistant", (TextPart("ok"),)), Usage(9, 1))
    )
    object.__setattr__(spec, "model", Tiered(spec.model))
    assert (await spec.run("go")).cost == 2.0
