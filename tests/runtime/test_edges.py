"""Runs at their edges: whatever happens there, the log, the status and the waiting task agree."""

import asyncio
import contextlib
import threading

import pytest

from loom_nb import Agent, MemoryStore, Model, SessionConfig, SqliteStore, Stop, tool
from loom_nb.errors import LoomError
from loom_nb.events import CallFinished, MessageAdded, Noticed, RunFinished
from loom_nb.messages import FilePart, Message, Origin, TextPart, ToolCallPart
from loom_nb.models.scripted import Call
from loom_nb.protocols import Reply, Toolset, current_call
from loom_nb.questions import Question


def agent(*replies, tools=(), store=None, **options):
    return Agent(Model.scripted(replies), tools=tools, session_store=store or MemoryStore(), **options)


def ends(session):
    return [(e.run, e.event.status) for e in session.events() if isinstance(e.event, RunFinished)]


async def test_a_stop_during_the_last_hook_does_not_lose_the_end():
    spec = agent("done")
    entered = asyncio.Event()

    async def slow(**event):
        entered.set()
        await asyncio.sleep(3600)

    spec.on("after_run", slow)
    session = spec.session()
    run = session.start("go")
    await entered.wait()
    run.stop("now")
    assert (await run).status == "completed"
    assert ends(session) == [("r1", "completed")]


async def test_a_stop_that_comes_after_the_end_disturbs_nobody():
    spec = agent("done")
    session = spec.session()
    spec.on("after_run", lambda **event: session.send(Stop("too late")))
    assert (await session.run("go")).status == "completed"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_hook_that_cancels_itself_is_a_notice():
    spec = agent("done")

    async def odd(**event):
        raise asyncio.CancelledError

    spec.on("before_llm", odd)
    result = await spec.run("go")
    assert result.status == "completed"
    assert [e.event.text for e in result.events if isinstance(e.event, Noticed)] == [
        "the hook before_llm cancelled itself"
    ]


class SlowStore(SqliteStore):
    """A disk that takes the time that it is given."""

    def __init__(self, path):
        super().__init__(path)
        self.entered, self.go = threading.Event(), threading.Event()

    def append(self, lease, entries):
        super().append(lease, entries)
        self.entered.set()
        assert self.go.wait(60)


async def test_two_cancellations_during_a_commit_leave_no_gap_in_the_log(tmp_path):
    store = SlowStore(tmp_path / "loom.db")
    session = agent("one", "two", store=store).session()
    task = asyncio.create_task(session.run("go"))
    await asyncio.to_thread(store.entered.wait)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    store.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await session.run("again")).status == "completed"
    assert [e.seq for e in session.events()] == list(range(1, len(session.events()) + 1))
    await session.close()
    store.close()


async def test_a_stop_while_the_log_is_being_opened_leaves_it_free(tmp_path):
    store = SqliteStore(tmp_path / "loom.db")
    session = agent("one", "two", store=store).session(SessionConfig("s"))
    run = session.start("go")
    await asyncio.sleep(0)
    run.stop("at once")
    assert (await run).status == "stopped"
    assert (await session.run("again")).status == "completed"
    await session.close()
    store.close()


async def test_a_task_that_is_cancelled_before_its_first_step_still_ends():
    run = agent("x").session().start("go")
    run.task.cancel()
    assert (await asyncio.wait_for(run.wait(), 60)).status == "stopped"


async def test_readers_who_come_after_the_end_see_the_end_and_do_not_wait():
    release = asyncio.Event()
    session = agent(Call("wait"), "x", tools=(tool(name="wait")(release.wait),)).session()
    first, second = session.start("a"), session.start("b")
    await asyncio.sleep(0.01)
    second.stop("never began")
    assert (await second).events == ()
    release.set()
    await first
    assert [e.type async for e in second.events()] == ["RunFinished"]
    assert [e.type async for e in first.events()][-1] == "RunFinished"


async def test_the_end_is_shown_only_once_it_is_durable():
    class Refusing(MemoryStore):
        def append(self, lease, entries):
            if any(isinstance(entry.event, RunFinished) for entry in entries):
                late.append(run.subscribe(lambda event: seen.append(event)))
                raise RuntimeError("the disk has gone")
            super().append(lease, entries)

    seen, late = [], []
    run = agent("x", store=Refusing()).session().start("go")
    result = await asyncio.wait_for(run.wait(), 60)
    assert (result.status, result.fault) == ("failed", "store")
    assert [e.status for e in seen if isinstance(e, RunFinished)] == ["failed"]


async def test_a_reader_may_leave_while_it_is_called():
    run = agent("x").session().start("go")
    mine, others = [], []
    leave = run.subscribe(lambda event: (mine.append(event), leave()))
    run.subscribe(others.append)
    await run
    assert len(mine) == 1
    assert others[0].type == "RunStarted"
    assert others[-1].type == "RunFinished"


async def test_a_tool_that_swallows_its_time_limit_still_timed_out_and_harms_no_later_one():
    @tool(timeout=0.05)
    async def deaf() -> str:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            return "partial"
        return "slept"

    @tool(timeout=0.05)
    async def slow() -> None:
        await asyncio.sleep(600)

    result = await agent(Call("deaf"), Call("slow"), "done", tools=(deaf, slow)).run("go")
    assert result.status == "completed"
    assert [use.outcome for use in result.tools] == ["timeout", "timeout"]


@pytest.mark.parametrize("within", [(), (Call("look"),)], ids=["no tool inside", "a tool inside"])
async def test_a_tool_may_await_another_agent_and_keeps_its_own_time_limit(within):
    @tool(read_only=True)
    async def look() -> str:
        return "seen"

    def expert():
        return agent(*within, "inner done", tools=(look,))

    @tool(timeout=60)
    async def ask() -> str:
        return (await expert().run("go")).output

    @tool(timeout=0.2)
    async def ask_and_hang() -> None:
        assert (await expert().run("go")).status == "completed"
        await asyncio.Event().wait()

    @tool(timeout=0.2)
    async def ask_one_that_hangs() -> None:
        await agent(Call("hang"), tools=(hang,)).run("go")

    @tool(timeout=60)
    async def hang() -> None:
        await asyncio.Event().wait()

    tools = (ask, ask_and_hang, ask_one_that_hangs)
    result = await agent(*(Call(one.name) for one in tools), "done", tools=tools).run("go")
    assert [use.outcome for use in result.tools] == ["ok", "timeout", "timeout"]
    assert (result.status, result.tools[0].result) == ("completed", "inner done")


async def test_the_limit_of_what_a_tool_left_behind_ends_with_its_run(tmp_path):
    left = []

    @tool(timeout=0.05)
    async def asks() -> str:
        context = current_call.get()

        async def aside():
            with contextlib.suppress(LoomError):
                await context.ask(Question(id="q", kind="text", title="?"))

        left.append(asyncio.create_task(aside()))
        return "asked"

    spec = agent(Call("asks"), Call("no_such_tool"), "done", tools=(asks,))

    async def until_it_asked(**_):
        await asyncio.wait(left)

    spec.on("after_tool", until_it_asked)
    assert (await spec.run("go")).status == "completed"
    await asyncio.sleep(0.1)  # past the limit: this task is the run's own


async def test_a_tool_that_is_left_behind_says_nothing_after_the_end():
    release, begun, ended = asyncio.Event(), asyncio.Barrier(3), asyncio.Event()

    @tool(read_only=True)
    async def hold() -> str:
        await begun.wait()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        ended.set()
        return "late"

    @tool(read_only=True)
    async def other() -> None:
        await begun.wait()
        await asyncio.sleep(3600)

    session = agent([Call("hold"), Call("other")], tools=(hold, other)).session()
    run = session.start("go")
    await begun.wait()
    await asyncio.sleep(0)
    run.stop("enough")
    result = await run
    release.set()
    await ended.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    finished = [e.event.result.name for e in session.events() if isinstance(e.event, CallFinished)]
    assert sorted(finished) == ["hold", "other"]
    assert tuple(session.events()[1:]) == result.events


@pytest.mark.parametrize("way", [SystemExit, KeyboardInterrupt])
async def test_a_tool_that_wants_to_end_the_program_is_an_error(way):
    @tool
    async def leave() -> None:
        raise way

    result = await agent(Call("leave"), "ok", tools=(leave,)).run("go")
    assert (result.status, result.tools[0].outcome) == ("completed", "error")


async def test_a_capability_that_cannot_close_does_not_cost_the_result():
    class Stuck:
        name = "stuck"

        async def open(self):
            async def close():
                raise OSError("boom")

            return Toolset(close=close)

    store = MemoryStore()
    spec = agent("done", "again", store=store, capabilities=[Stuck()])
    with pytest.warns(RuntimeWarning, match="boom"):
        async with spec.session(SessionConfig("s")) as session:
            assert (await session.run("go")).status == "completed"
    store.release(store.acquire("s"))


async def test_an_id_that_is_taken_gives_way_to_the_next_free_one():
    session = agent("a", "b", "c").session()
    results = [
        await session.run("x", run_id="r2"),
        await session.run("y"),
        await session.run("z", run_id="r2"),
    ]
    assert len({result.id for result in results}) == 3


async def test_what_two_writers_said_in_turn_is_kept_under_their_own_runs(tmp_path):
    path = tmp_path / "loom.db"
    here, there = SqliteStore(path), SqliteStore(path, host="elsewhere")
    one = agent("first", "third", store=here).session(SessionConfig("s"))
    await one.run("1")
    here.release(one._log._lease)  # as if the lease had run out while this kernel slept
    async with agent("second", store=there).session(SessionConfig("s")) as two:
        assert (await two.run("2")).id == "r2"
    result = await one.run("3")

    assert (result.status, result.id) == ("completed", "r3")
    assert ends(one) == [("r1", "completed"), ("r2", "completed"), ("r3", "completed")]
    assert [m.text for m in one.conversation.messages] == ["1", "first", "2", "second", "3", "third"]
    await one.close()
    here.close()
    there.close()


async def test_repeated_call_ids_keep_their_own_arguments_and_their_own_long_results():
    @tool(read_only=True, max_chars=50)
    def big(n: int) -> str:
        return str(n) * 500

    replies = (
        Call("big", {"n": 1}, "c"), Call("big", {"n": 2}, "c"),
        Call("read_result", {"call_id": "c", "length": 3}), Call("read_result", {"call_id": "c_2", "length": 3}), "ok",
    )  # fmt: skip
    result = await agent(*replies, tools=(big,)).run("go")
    assert [use.arguments for use in result.tools[:2]] == [{"n": 1}, {"n": 2}]
    assert [use.result for use in result.tools[2:]] == ["111", "222"]


async def test_refused_messages_run_no_tools_and_empty_ones_are_no_answers():
    ran = []

    @tool
    def act() -> None:
        ran.append(1)

    refused = Message("assistant", (ToolCallPart("c", "act", "{}"),))
    result = await agent(Reply(refused, stop_reason="refusal"), tools=(act,)).run("go")
    assert (result.status, result.fault, ran) == ("failed", "content_filter", [])

    result = await agent(Reply(Message("assistant", ()))).run("go")
    assert (result.status, result.fault) == ("failed", "format")


async def test_attachments_of_a_tool_are_bounded_and_its_words_are_cleaned():
    @tool(read_only=True)
    def give() -> list:
        return [
            FilePart(b"x" * 9 * 2**20, "application/pdf", "big.pdf"),
            TextPart("a\ud800", Origin("web", "u")),
        ]

    session = agent(Call("give"), "ok", tools=(give,)).session()
    result = await session.run("go")
    assert "9.0 MB left out" in result.tools[0].result
    (added,) = [
        e.event for e in result.events if isinstance(e.event, MessageAdded) and e.event.message.role == "tool"
    ]
    assert added.message.parts[0].parts[1] == TextPart("a\ufffd", Origin("web", "u"))


async def test_closing_from_inside_a_run_does_not_wait_for_itself():
    session = agent("done").session()
    session.agent.on("after_run", lambda **event: session.close())
    result = await asyncio.wait_for(session.run("go"), 60)
    assert result.status in ("completed", "stopped")


async def test_a_result_that_cannot_tell_itself_is_an_error_for_the_model():
    class Mute:
        def _repr_llm_(self):
            raise ValueError("no words")

    @tool(read_only=True)
    async def give() -> Mute:
        return Mute()

    result = await agent(Call("give"), "ok", tools=(give,)).run("go")
    assert (result.status, result.tools[0].outcome) == ("completed", "error")
    assert "no words" in result.tools[0].result
