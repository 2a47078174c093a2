"""Hard caps on what may be spent: a run, a notebook and a day, before and during each model call."""

import asyncio
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from loom_nb import (
    Agent,
    FileSessionStore,
    MemoryStore,
    Model,
    ModelError,
    QualityGate,
    Runtime,
    SessionConfig,
    SpendingCaps,
    SqliteStore,
    tool,
)
from loom_nb.errors import LoomUsageError, StoreError
from loom_nb.events import MessageAdded, Noticed, TextDelta, TurnFinished
from loom_nb.messages import Message, Usage
from loom_nb.models.scripted import Call
from loom_nb.protocols import Reply, Spent
from loom_nb.runtime.session import Session
from loom_nb.runtime.spending import STEP, Purse, day_account, notebook_account
from loom_nb.stores.disk import locked
from loom_nb.stores.spending import FileBook, book_beside
from loom_nb.testing import Say, WireServer
from loom_nb.testing.clock import ManualClock

NOON = time.mktime((2026, 3, 14, 12, 0, 0, 0, 0, -1))
DAY = "day 2026-03-14"


@pytest.fixture
def at_noon(monkeypatch):
    """Here and in new processes it is noon by the local time: no midnight comes in between."""
    ahead = 12 - time.gmtime().tm_hour
    with monkeypatch.context() as changed:
        changed.setenv("TZ", f"NOON{-ahead:+d}")
        time.tzset()
        yield
    time.tzset()


class Priced:
    """A model that costs a tenth of a cent a token, or nobody knows."""

    def __init__(self, model, each=0.001):
        self.model, self.each, self.name = model, each, model.name

    def open(self):
        return self.model.open()

    def window(self):
        return None

    def cost(self, usage, answered=""):
        return None if self.each is None else usage.total_tokens * self.each


def agent(*replies, store=None, caps=None, each=0.001, model=None, tools=(), **options) -> Agent:
    spec = Agent(
        model or Model.scripted(replies),
        tools=tools,
        session_store=store or MemoryStore(),
        runtime=Runtime(caps=caps, **options),
    )
    object.__setattr__(spec, "model", Priced(spec.model, each))
    return spec


def session_of(spec, clock=None, config=None):
    return Session(
        spec,
        config or SessionConfig(),
        spec.session_store,
        clock=clock or ManualClock(NOON),
        book=book_beside,
    )


def spent(store, account=DAY):
    return book_beside(store).change(Spent(), [account])[0]


def asked(spec):
    """How often the model was asked."""
    return spec.model.model.script.given


@tool(read_only=True)
def look(at: int = 0) -> str:
    return f"place {at}"


# -- before a call ---------------------------------------------------------------------------------


async def test_a_request_that_a_cap_does_not_cover_is_not_sent():
    spec = agent("never", caps=SpendingCaps(run="1k"))
    result = await session_of(spec).run("word " * 4_000)

    assert (result.status, result.fault, result.turns, asked(spec)) == ("limit", "tokens", 0, 0)
    assert result.reason == (
        "the budget of this run does not cover this request of about 5,004 tokens: it is 1,000 tokens"
    )
    assert result.finished.fixes == (
        "%%loom --budget 2k",
        'Runtime(caps=SpendingCaps(run="2k"))   (a script)',
    )
    assert spent(spec.session_store) == Spent()


async def test_a_run_ends_before_the_call_that_its_cap_does_not_cover():
    spec = agent(*[Call("look", {"at": n}) for n in range(50)], tools=[look], caps=SpendingCaps(run=0.5))
    result = await session_of(spec).run("go")

    assert (result.status, result.fault) == ("limit", "cost")
    assert 0 < result.cost <= 0.5
    assert result.turns == asked(spec) > 1
    assert "of $0.50 are spent" in result.reason
    assert result.finished.fixes[0] == "%%loom --budget 1"


@pytest.mark.parametrize("scope", ["notebook", "day"])
async def test_a_cap_counts_what_other_sessions_spent(scope):
    store = MemoryStore()
    place = SessionConfig(metadata={"notebook": "work.ipynb"})
    first = agent("word " * 800, store=store, caps=SpendingCaps(run="5k"))
    await session_of(first, config=place).run("go")

    spec = agent("never", store=store, caps=SpendingCaps(**{scope: "500 tok"}))
    unwatched = session_of(agent("one", store=store, caps=SpendingCaps(run="5k")), config=place)
    assert (await unwatched.run("go")).status == "completed"
    result = await session_of(spec, config=place).run("go")
    assert (result.status, result.fault, asked(spec)) == ("limit", "tokens", 0)
    name = {"notebook": "this notebook", "day": "today"}[scope]
    assert result.reason.startswith(f"the budget of {name} is spent: ")
    assert result.finished.fixes[0] == f"%loom budget {scope} 1k"


async def test_without_any_cap_a_store_that_forgets_is_told_nothing_and_the_model_is_called_as_it_is():
    spec = agent("hello")
    result = await session_of(spec).run("go")
    assert result.status == "completed"
    assert spent(spec.session_store) == Spent()


async def test_dollars_are_never_counted_by_guesses():
    spec = agent("never", each=None, caps=SpendingCaps(day=5))
    result = await session_of(spec).run("go")
    assert (result.status, result.fault, asked(spec)) == ("limit", "cost", 0)
    assert "the price of this model is not known, so that nothing was sent" in result.reason
    assert result.finished.fixes == (
        "%loom budget day 20k",
        'Runtime(caps=SpendingCaps(day="20k"))   (a script)',
    )

    counted = agent("fine", each=None, caps=SpendingCaps(day="5k"))
    assert (await session_of(counted).run("go")).status == "completed"
    account = spent(counted.session_store)
    assert account.tokens == account.unpriced > 0
    assert account.dollars == 0


async def test_a_free_model_is_not_held_by_dollars_that_others_spent():
    store = MemoryStore()
    book_beside(store).change(Spent(100, 9.0), [DAY])
    spec = agent("free", store=store, each=0.0, caps=SpendingCaps(run=0.01, day=5))
    assert (await session_of(spec).run("go")).status == "completed"


async def test_evaluations_are_covered_too_and_the_answer_is_kept():
    more = '{"criteria": [], "passed": false, "critique": "more"}'
    spec = agent(
        *["draft", more] * 40, quality=QualityGate.pass_fail(attempts=40), caps=SpendingCaps(run="2k")
    )
    result = await session_of(spec).run("go")
    assert (result.status, result.fault, result.output) == ("limit", "tokens", "draft")
    assert result.usage.total_tokens <= 2_000
    assert "the answer before was not" in result.reason or "does not cover" in result.reason


async def test_a_call_that_failed_before_it_said_anything_costs_nothing():
    broken = ModelError("no", fault="auth")
    spec = agent(broken, caps=SpendingCaps(run="5k", day="5k"))
    result = await session_of(spec).run("go")
    assert result.status == "failed"
    assert spent(spec.session_store) == Spent()


async def test_what_a_vendor_counts_takes_the_place_of_the_estimate():
    spec = agent("hello", caps=SpendingCaps(day=5))
    result = await session_of(spec).run("go")
    account = spent(spec.session_store)
    assert account.tokens == result.usage.total_tokens
    assert account.dollars == pytest.approx(result.cost)


async def test_a_recorded_answer_is_played_whatever_was_spent_and_costs_nothing(tmp_path):
    tape = tmp_path / "tape.json"
    first = Agent(Model.cassette(tape, Model.scripted(["hello"])), session_store=MemoryStore())
    assert (await first.run("go")).output == "hello"

    store = MemoryStore()
    book_beside(store).change(Spent(10_000), [DAY])
    for mode in ("auto", "strict"):
        model = Model.cassette(tape, Model.scripted([]), mode)
        again = Agent(model, session_store=store, runtime=Runtime(caps=SpendingCaps(day="5k")))
        result = await session_of(again).run("go")
        assert (result.status, result.output) == ("completed", "hello")
    assert spent(store) == Spent(10_000)


# -- during a call ---------------------------------------------------------------------------------


async def test_an_answer_that_passes_a_cap_is_broken_off_and_what_had_come_is_kept():
    model = Model.scripted(["word " * 4_000], chunk=50)
    spec = agent(model=model, caps=SpendingCaps(run="1k"))
    session = session_of(spec)
    result = await session.run("go")

    assert (result.status, result.fault) == ("limit", "tokens")
    assert "was used up while the answer was written: about 1,0" in result.reason
    assert "what had come is kept" in result.reason
    assert 3_800 <= len(result.output) <= 4_100
    kept = [entry.event.message for entry in result.events if isinstance(entry.event, MessageAdded)][-1]
    assert (kept.partial, kept.text) == (True, result.output)
    assert 980 <= spent(spec.session_store).tokens <= 1_030

    again = await session.run("go on", agent=agent("on it goes", caps=SpendingCaps(run="5k")))
    assert again.status == "completed"  # the conversation is a valid one


async def test_on_the_wire_the_request_is_closed_in_the_middle_of_the_stream(monkeypatch, at_noon):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
    with WireServer([Say("word " * 3_000).slow(0.0005)]) as server:
        model = Model.anthropic("claude-sonnet-4-5", base_url=server.url)
        spec = Agent(model, session_store=MemoryStore(), runtime=Runtime(caps=SpendingCaps(run=0.01)))
        result = await spec.run("go")
        outcome = await asyncio.to_thread(server.requests[0].wait)

    assert (result.status, result.fault) == ("limit", "cost")
    assert 2_000 < len(result.output) < 5_000  # 15 dollars a million of the answer: some 660 tokens
    assert outcome == "gone"
    assert len(server.requests) == 1
    assert spent(spec.session_store, day_account(time.time())).dollars == pytest.approx(0.01, rel=0.1)


async def test_the_price_of_the_table_is_what_is_put_down(monkeypatch, at_noon):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
    said = Say("hello").with_usage(input_tokens=100_000, output_tokens=2_000)
    with WireServer([said]) as server:
        model = Model.anthropic("claude-sonnet-4-5", base_url=server.url)
        spec = Agent(model, session_store=MemoryStore(), runtime=Runtime(caps=SpendingCaps(day=5)))
        result = await spec.run("go")
    assert result.cost == pytest.approx(100_000 * 3 / 1e6 + 2_000 * 15 / 1e6)
    assert spent(spec.session_store, day_account(time.time())).dollars == pytest.approx(result.cost)


async def test_a_person_who_stops_a_call_has_still_paid_for_it():
    model = Model.scripted(["word " * 400], chunk=50, delay=0.01)
    spec = agent(model=model, caps=SpendingCaps(day="50k"))
    session = session_of(spec)
    run = session.start("go")
    async for event in run.events():
        if event.type == "TextDelta":
            run.stop()
    assert run.result.status == "stopped"
    assert spent(spec.session_store).tokens >= 10


# -- days and places -------------------------------------------------------------------------------


async def test_a_new_day_begins_at_local_midnight():
    late = time.mktime((2026, 3, 14, 23, 59, 30, 0, 0, -1))
    clock = ManualClock(late)
    spec = agent("a", "b", "c", caps=SpendingCaps(day="11 tok"))
    session = session_of(spec, clock)
    assert (await session.run("go")).status == "completed"
    assert (await session.run("go")).status == "limit"

    await clock.sleep(31)
    assert day_account(clock.now()) == "day 2026-03-15"
    fresh = agent("b", store=spec.session_store, caps=SpendingCaps(day="11 tok"))
    assert (await session_of(fresh, clock).run("go")).status == "completed"
    assert spent(spec.session_store, "day 2026-03-15").tokens <= 11


async def test_a_call_belongs_to_the_day_on_which_it_began():
    clock = ManualClock(time.mktime((2026, 3, 14, 23, 59, 59, 0, 0, -1)))
    store = MemoryStore()

    def turns_the_page(messages):
        clock._time += 2
        return "good morning"

    await session_of(agent(turns_the_page, store=store, caps=SpendingCaps(day="5k")), clock).run("go")
    assert spent(store, "day 2026-03-14").tokens > 0
    assert spent(store, "day 2026-03-15") == Spent()


async def test_sessions_without_a_notebook_are_places_of_their_own():
    store = MemoryStore()
    one = session_of(agent("word " * 100, "never", store=store, caps=SpendingCaps(notebook="150 tok")))
    assert (await one.run("go")).status == "completed"
    assert (await one.run("go")).status == "limit"
    other = session_of(agent("fine", store=store, caps=SpendingCaps(notebook="150 tok")))
    assert (await other.run("go")).status == "completed"
    assert spent(store, notebook_account(one.id)).tokens > 100


# -- across processes ------------------------------------------------------------------------------

STORES = {
    "sqlite": lambda folder: SqliteStore(folder / "loom.db"),
    "files": lambda folder: FileSessionStore(folder / "sessions"),
}

SPENDS = """
    import asyncio, sys
    from pathlib import Path
    from loom_nb import Agent, FileSessionStore, Model, Runtime, SessionConfig, SpendingCaps, SqliteStore
    kind, folder, caps = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    store = SqliteStore(folder / "loom.db") if kind == "sqlite" else FileSessionStore(folder / "sessions")

    async def main():
        runs = 0
        spec = Agent(Model.scripted(["word " * 80] * 1_000, chunk=20, delay=0.0001),
                     session_store=store, runtime=Runtime(caps=SpendingCaps(day=caps)))
        print("ready", flush=True)
        sys.stdin.readline()
        session = spec.session()
        while (await session.run("go")).status == "completed":
            await session.close()
            session = spec.session()
            runs += 1
        await session.close()
        print(runs, flush=True)

    asyncio.run(main())
"""


def process(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("kind", STORES)
def test_two_processes_that_spend_at_once_keep_to_one_cap(kind, tmp_path, at_noon):
    children = [process(SPENDS, kind, tmp_path, "5k") for _ in range(2)]
    assert [child.stdout.readline() for child in children] == ["ready\n"] * 2
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    runs = [int(child.communicate(timeout=60)[0]) for child in children]

    store = STORES[kind](tmp_path)
    total = spent(store, day_account(time.time())).tokens
    assert all(count > 0 for count in runs)
    assert 5_000 - 150 <= total <= 5_000 + 2 * STEP
    in_the_log = [
        entry.event.usage.total_tokens
        for row in store.sessions()
        for entry in store.read(row.id)
        if entry.event.type == "RunFinished"
    ]
    assert sum(in_the_log) <= total


DIES = """
    import os, signal, sys
    from pathlib import Path
    from loom_nb import Agent, FileSessionStore, Model, Runtime, SpendingCaps, SqliteStore
    kind, folder = sys.argv[1], Path(sys.argv[2])
    store = SqliteStore(folder / "loom.db") if kind == "sqlite" else FileSessionStore(folder / "sessions")

    def dies(messages):
        os.kill(os.getpid(), signal.SIGKILL)

    spec = Agent(Model.scripted(["word " * 80, dies]), session_store=store,
                 runtime=Runtime(caps=SpendingCaps(day="5k")))
    spec.run_sync("go")
    spec.run_sync("word " * 200)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("kind", STORES)
async def test_a_call_whose_process_was_killed_counts_as_estimated(kind, tmp_path, at_noon):
    child = process(DIES, kind, tmp_path)
    child.communicate(timeout=60)
    assert child.returncode == -9
    store = STORES[kind](tmp_path)
    total = spent(store, day_account(time.time())).tokens
    assert 100 + 250 <= total <= 130 + 270

    spec = Agent(
        Model.scripted(["x"]), session_store=store, runtime=Runtime(caps=SpendingCaps(day="300 tok"))
    )
    assert (await spec.run("go")).status == "limit"


@pytest.mark.parametrize("kind", STORES)
async def test_without_a_cap_a_store_that_keeps_is_told_what_was_spent(kind, tmp_path):
    store = STORES[kind](tmp_path)
    result = await session_of(agent("hello", store=store)).run("go")
    assert spent(store) == Spent(result.usage.total_tokens, pytest.approx(result.cost))


async def test_a_resumed_run_has_spent_what_it_had_spent_before(tmp_path):
    store = STORES["sqlite"](tmp_path)
    calls = [Call("look", {"at": n}) for n in range(3)]
    first = session_of(
        agent(*calls, asyncio.CancelledError, store=store, tools=[look]), config=SessionConfig("s")
    )
    with pytest.raises(asyncio.CancelledError):
        await first.run("go")
    # the run ended as stopped there; what it spent stands in the book once
    ended = [one.event for one in first.events() if one.event.type == "RunFinished"]
    assert spent(store).tokens == ended[0].usage.total_tokens


# -- what is damaged -------------------------------------------------------------------------------


async def test_a_cap_that_cannot_be_watched_covers_nothing(tmp_path):
    store = STORES["sqlite"](tmp_path)
    await session_of(agent("hello", store=store)).run("go")
    for path in (tmp_path / "loom.db.spending").glob("day-*"):
        path.write_bytes(b"nonsense")

    watched = agent("never", store=store, caps=SpendingCaps(day="5k"))
    result = await session_of(watched).run("go")
    assert (result.status, result.fault, asked(watched)) == ("failed", "store", 0)
    assert isinstance(result.error, StoreError)

    result = await session_of(agent("fine", store=store, caps=SpendingCaps(run="5k"))).run("go")
    assert result.status == "completed"
    told = [one.event.text for one in result.events if isinstance(one.event, Noticed)]
    assert len(told) == 1
    assert "could not be put down" in told[0]


def test_half_of_a_file_is_enough(tmp_path):
    book = book_beside(STORES["sqlite"](tmp_path))
    book.change(Spent(10, 0.1), ["day x"])
    book.change(Spent(5, 0.2), ["day x"])
    (path,) = (tmp_path / "loom.db.spending").glob("day-*")
    whole = path.read_bytes()
    path.write_bytes(b"\xff" * 100 + whole[100:])  # the newer of the two: the one before counts
    assert book.change(Spent(), ["day x"])[0].tokens == 10
    path.write_bytes(whole)
    assert book.change(Spent(), ["day x"])[0] == Spent(15, pytest.approx(0.3))


def test_the_folder_is_for_its_user_alone_and_small(tmp_path):
    book = book_beside(STORES["files"](tmp_path))
    for _ in range(50):
        book.change(Spent(10, 0.1), ["day x", "notebook ü/" + "n" * 5_000])
    folder = tmp_path / "sessions.spending"
    assert folder.stat().st_mode & 0o077 == 0
    assert len(list(folder.iterdir())) == 3
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2_048
    assert book.change(Spent(), ["notebook ü/" + "n" * 5_000])[0].tokens == 500


# -- what is said ----------------------------------------------------------------------------------


def test_amounts_are_dollars_or_tokens():
    caps = SpendingCaps(run="20k", notebook="$1.50", day=5)
    assert (caps.run.tokens, caps.notebook.dollars, caps.day.dollars) == (20_000, 1.5, 5)
    assert caps.describe() == "a run 20,000 tokens, the notebook $1.50, the day $5.00"
    assert caps.exactly() == "a run 20,000 tokens, the notebook $1.5, the day $5"
    assert SpendingCaps(run=1.001).exactly() != SpendingCaps(run=1.0).exactly()  # for the words they are one
    assert SpendingCaps(run="1.5m").run.tokens == 1_500_000
    assert SpendingCaps(run="500 tok").run.tokens == 500
    assert not SpendingCaps()
    assert Runtime(caps=caps).describe()["budget"] == caps.describe()
    assert Runtime().describe()["budget"] == "no cap"


@pytest.mark.parametrize("wrong", ["", "many", "-1", "0", "20000", "$20k", True, float("nan"), "1e3", [5]])
def test_what_is_no_amount_is_refused_with_two_that_are(wrong):
    with pytest.raises(LoomUsageError, match=r"SpendingCaps\.day") as refused:
        SpendingCaps(day=wrong)
    assert refused.value.fixes


def test_a_chain_costs_at_most_what_its_dearest_model_costs():
    usage = Usage(1_000_000, 0)
    cheap, dear = Model.anthropic("claude-3-5-haiku-latest"), Model.anthropic("claude-sonnet-4-5")
    chain = Model.fallback(cheap, dear)
    assert chain.cost(usage) is None
    assert chain.cost_at_most(usage) == dear.cost(usage) > cheap.cost(usage)
    assert Model.fallback(dear, Model.ollama("llama3.2")).cost_at_most(usage) == dear.cost(usage)
    assert Model.ollama("llama3.2").cost_at_most(usage) is None
    assert Model.offline().cost_at_most(usage) == 0.0


# -- while another process writes ------------------------------------------------------------------


async def test_a_run_waits_for_a_locked_book_and_the_event_loop_does_not(tmp_path):
    store = STORES["sqlite"](tmp_path)
    await session_of(agent("one", store=store)).run("go")
    before, answered = spent(store).tokens, asyncio.Event()

    def answer(request):
        answered.set()
        return "two"

    session = session_of(agent(answer, store=store))
    with locked(tmp_path / "loom.db.spending" / "lock", 1.0, make=True):
        run = session.start("go")
        await answered.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        assert not run.done
    result = await run
    assert not [one for one in result.events if isinstance(one.event, Noticed)]
    assert spent(store).tokens == before + result.usage.total_tokens


async def test_an_answer_goes_on_while_the_book_is_locked_and_is_put_down_after(tmp_path):
    store = STORES["sqlite"](tmp_path)
    model = Model.scripted(["word " * 4_000], chunk=50)
    run = session_of(agent(model=model, store=store, caps=SpendingCaps(day="50k"))).start("go")
    with ExitStack() as stack:
        seen = 0
        async for event in run.events():
            if event.type == "TextDelta":
                seen += 1
                if seen == 1:
                    stack.enter_context(locked(tmp_path / "loom.db.spending" / "lock", 1.0, make=True))
                if seen == 200:
                    stack.close()
    assert (run.result.status, seen) == ("completed", 400)
    assert spent(store).tokens == run.result.usage.total_tokens


async def test_an_answer_passes_no_cap_by_itself_while_the_book_is_locked(tmp_path):
    purse = Purse(SpendingCaps(day="1k"), FileBook(tmp_path), "here", lambda: NOON, print)
    outlay = await purse.begin(100, Priced(Model.scripted([])))
    with locked(tmp_path / "lock", 1.0, make=True):
        pieces = 0
        while not outlay.wrote(TextDelta("word")):
            pieces += 1
            assert pieces <= 900
    await outlay.stopped()
    assert purse.run.tokens == 1_000
    assert FileBook(tmp_path).change(Spent(), [DAY]) == [Spent(1_000)]


# -- calls that have no end ------------------------------------------------------------------------


@pytest.mark.parametrize("caps", [None, SpendingCaps(day="50k")], ids=["no cap", "capped"])
async def test_a_stopped_call_is_told_and_put_down_as_estimated(caps, tmp_path):
    store = STORES["sqlite"](tmp_path)
    model = Model.scripted(["word " * 400], chunk=50, delay=0.01)
    run = session_of(agent(model=model, store=store, caps=caps)).start("go")
    async for event in run.events():
        if event.type == "TextDelta":
            run.stop()
    result = run.result
    assert result.status == "stopped"
    assert result.usage.total_tokens == result.finished.estimated >= 10
    assert result.cost > 0
    assert spent(store).tokens == result.usage.total_tokens


async def test_a_stopped_call_is_told_where_nobody_keeps_a_book():
    run = session_of(agent(model=Model.scripted(["word " * 400], chunk=50, delay=0.01))).start("go")
    async for event in run.events():
        if event.type == "TextDelta":
            run.stop()
    assert run.result.usage.total_tokens == run.result.finished.estimated >= 10
    assert " · ~" in repr(run.result)


@pytest.mark.parametrize("caps", [None, SpendingCaps(day="200k")], ids=["no cap", "capped"])
async def test_an_answer_that_was_refused_is_paid_though_another_model_gave_one(caps, tmp_path):
    refusal = Reply(Message("assistant", ()), Usage(50_000, 10), "refusal", "first")
    group = Model.fallback(Model.scripted([refusal]), Model.scripted(["fine"]), on=["content_filter"])
    store = STORES["sqlite"](tmp_path)
    session = session_of(agent(model=group, store=store, caps=caps))
    result = await session.run("go")
    turn = next(one.event for one in result.events if isinstance(one.event, TurnFinished))
    await session.close()

    assert (result.status, result.output, result.turns) == ("completed", "fine", 1)
    assert [one.usage for one in turn.discarded] == [Usage(50_000, 10)]
    assert result.usage.total_tokens == 50_010 + turn.usage.total_tokens
    assert result.cost == pytest.approx(result.usage.total_tokens * 0.001)
    assert spent(store) == Spent(result.usage.total_tokens, pytest.approx(result.cost))


# -- stores of the user's own ----------------------------------------------------------------------


@dataclass
class Plain:
    """Equal to others, and so without a hash."""

    inner: MemoryStore
    durable = True

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Slotted:
    """Cannot be weakly referred to."""

    __slots__ = ("inner",)
    durable = True

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


@pytest.mark.parametrize("kind", [Plain, Slotted])
async def test_any_durable_store_has_a_book_of_its_own(kind):
    store, other = kind(MemoryStore()), kind(MemoryStore())
    result = await session_of(agent("hello", store=store)).run("go")
    assert result.status == "completed"
    assert spent(store).tokens == result.usage.total_tokens
    assert spent(other) == Spent()
