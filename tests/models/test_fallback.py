"""Fallback chains, and what becomes of each fault: over the wire, with the vendors' own SDKs."""

import copy
import pickle
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from loom_nb import Agent, Generation, MemoryStore, Model, RetryPolicy, RunResult, Runtime, tool
from loom_nb.errors import Fault, LoomKeyError, LoomUsageError, ModelError
from loom_nb.events import ContextCompacted, Delta, MessageAdded, Noticed, RetryScheduled, TurnFinished
from loom_nb.inputs import SessionConfig
from loom_nb.messages import Conversation, Message, ThinkingPart, Usage, user
from loom_nb.models.scripted import Call, Thought
from loom_nb.notebook.cell import parse
from loom_nb.protocols import Reply, Request
from loom_nb.runtime.session import Session
from loom_nb.testing import Calls, Drop, Fail, Hang, ManualClock, Say, Think, WireRequest, WireServer
from loom_nb.testing.wire_script import Fixed

BUSY = ModelError("busy", fault="overloaded")
LIMITED = ModelError("slow down", fault="rate_limit", retry_after=3.0)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch):
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FIRST_KEY", "sk-first-0123456789")
    monkeypatch.setenv("SECOND_KEY", "sk-second-0123456789")


@tool(read_only=True)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def request(text: str = "hi", **more: Any) -> Request:
    return Request("", Conversation([user(text)]), **more)


def scripted(*replies: Any) -> Model:
    return Model.scripted(list(replies))


class Asked:
    """A model that is opened, and what it shows."""

    def __init__(self, model: Model) -> None:
        self.model = model.open()
        self.deltas: list[Delta] = []

    async def __call__(self, asked: Request | None = None) -> Reply:
        return await self.model.reply(asked or request(), self.deltas.append)


@asynccontextmanager
async def session(model: Model, clock: ManualClock, **more: Any) -> AsyncIterator[Session]:
    agent = Agent(model, tools=[add], **more)
    opened = Session(agent, SessionConfig(id="s"), MemoryStore(), clock=clock)
    try:
        yield opened
    finally:
        await opened.close()


def shown_key(asked: WireRequest) -> str:
    return asked.headers.get("x-api-key") or asked.headers["authorization"].removeprefix("Bearer ")


def events(result: RunResult, kind: type[Any]) -> list[Any]:
    return [entry.event for entry in result.events if isinstance(entry.event, kind)]


def notices(result: RunResult) -> list[str]:
    return [event.text for event in events(result, Noticed)]


def answered(result: RunResult) -> list[str]:
    return [event.model for event in events(result, TurnFinished)]


# which model answers


async def test_the_first_model_answers_and_nothing_is_said_of_it():
    reply = await Asked(Model.fallback(scripted("one"), scripted("two")))()

    assert (reply.message.text, reply.model, reply.notices) == ("one", "scripted:script", ())


@pytest.mark.parametrize(
    "fault",
    [
        "auth",
        "billing",
        "rate_limit",
        "overloaded",
        "server_error",
        "timeout",
        "connection",
        "cut_stream",
        "model_not_found",
    ],
)
async def test_where_the_first_fails_by_a_fault_of_its_own_the_second_answers(fault: Fault):
    reply = await Asked(Model.fallback(scripted(ModelError("no", fault=fault)), scripted("two")))()

    assert reply.message.text == "two"
    assert reply.notices == (f"scripted:script answers in place of scripted:script ({fault}: no)",)


@pytest.mark.parametrize(
    "fault", ["context_overflow", "payload_too_large", "format", "content_filter", "unknown"]
)
async def test_a_fault_of_the_request_is_no_reason_to_ask_another_model(fault: Fault):
    second = scripted("two")

    with pytest.raises(ModelError, match="no"):
        await Asked(Model.fallback(scripted(ModelError("no", fault=fault)), second))()
    assert second.script.given == 0


async def test_a_user_says_which_faults_count():
    chain = Model.fallback(scripted(BUSY), scripted("two"), on=["auth"])
    with pytest.raises(ModelError, match="busy"):
        await Asked(chain)()

    filtered = ModelError("no", fault="content_filter")
    reply = await Asked(Model.fallback(scripted(filtered), scripted("two"), on=["content_filter"]))()
    assert reply.message.text == "two"


async def test_an_answer_that_is_refused_before_its_first_word_counts_where_it_is_asked_for():
    refusal = Reply(Message("assistant", ()), Usage(30, 5), "refusal")

    kept = await Asked(Model.fallback(scripted(refusal), scripted("two")))()
    left = await Asked(Model.fallback(scripted(refusal), scripted("two"), on=["content_filter"]))()

    assert kept.stop_reason == "refusal"
    assert left.message.text == "two"
    assert "content_filter: it refused, for 35 tokens" in left.notices[0]
    assert [(one.usage, one.model) for one in left.discarded] == [(Usage(30, 5), "scripted:script")]
    assert kept.discarded == ()


async def test_after_the_first_delta_no_other_model_speaks():
    with WireServer([Say("Hello my dear friend").cut(after=5)]) as server, WireServer() as other:
        chain = Model.fallback(
            Model.anthropic("claude-x", base_url=server.url, key_env="FIRST_KEY"),
            Model.openai("gpt-4o", base_url=f"{other.url}/v1", key_env="SECOND_KEY"),
        )
        asked = Asked(chain)
        with pytest.raises(ModelError) as caught:
            await asked()
        await asked.model.close()

    assert caught.value.fault == "cut_stream"
    assert asked.deltas
    assert other.requests == []


async def test_a_model_without_a_key_is_passed_over_until_there_is_one(monkeypatch: pytest.MonkeyPatch):
    with WireServer([Say("now it is me")]) as server:
        first = Model.anthropic("claude-x", base_url=server.url, key_env="LATER_KEY")
        asked = Asked(Model.fallback(first, scripted("two")))
        before = await asked()
        monkeypatch.setenv("LATER_KEY", "sk-later-0123456789")
        after = await asked()
        await asked.model.close()

    assert (before.message.text, after.message.text) == ("two", "now it is me")
    assert before.notices == (
        "scripted:script answers in place of anthropic:claude-x (auth: no key for 'anthropic')",
    )
    assert after.notices == ("anthropic:claude-x answers again",)


# when all fail


async def test_when_all_fail_the_fault_that_may_pass_is_raised_and_its_model_is_free():
    refused = ModelError("no such key", fault="auth")
    asked = Asked(Model.fallback(scripted(BUSY, "well again"), scripted(refused)))

    with pytest.raises(ModelError) as caught:
        await asked()
    assert (caught.value.fault, caught.value.passing) == ("overloaded", True)
    assert caught.value.cause == "failed too: scripted:script (auth: no such key)"
    assert (await asked()).message.text == "well again"


async def test_of_faults_that_may_pass_the_one_that_is_over_soonest_is_raised():
    slow = ModelError("slow", fault="rate_limit", retry_after=300.0)
    soon = ModelError("soon", fault="rate_limit", retry_after=20.0)
    for order in ((soon, slow), (slow, soon)):
        with pytest.raises(ModelError, match="soon"):
            await Asked(Model.fallback(*(scripted(error) for error in order)))()


async def test_when_nothing_passes_the_first_models_fault_is_raised():
    first, last = ModelError("no money", fault="billing"), ModelError("no key", fault="auth")
    with pytest.raises(ModelError, match="no money"):
        await Asked(Model.fallback(scripted(first), scripted(last)))()

    with pytest.raises(LoomKeyError, match="openai"):
        await Asked(Model.from_name("openai:gpt-4o|anthropic:claude-x"))()


async def test_a_stand_in_that_cannot_take_the_request_does_not_end_what_may_pass():
    unread = ModelError("reads no images", fault="format")
    with pytest.raises(ModelError) as caught:
        await Asked(Model.fallback(scripted(BUSY), scripted(unread)))()
    assert caught.value.passing

    overflow = ModelError("too long", fault="context_overflow")
    with pytest.raises(ModelError, match="too long"):
        await Asked(Model.fallback(scripted(BUSY), scripted(overflow), scripted("not asked")))()


# rest and return


async def test_a_model_that_failed_rests_and_comes_back():
    clock = ManualClock()
    first = scripted(BUSY, "well again")
    asked = Asked(Model.fallback(first, scripted("two", "two", "two"), cool_down=60, clock=clock))

    assert (await asked()).message.text == "two"
    await clock.sleep(59)
    assert (await asked()).message.text == "two"
    assert first.script.given == 1
    await clock.sleep(2)
    back = await asked()

    assert (back.message.text, back.notices) == ("well again", ("scripted:script answers again",))


async def test_a_model_rests_for_as_long_as_its_vendor_says():
    clock = ManualClock()
    slow = ModelError("slow", fault="rate_limit", retry_after=500.0)
    first = scripted(slow, "well again")
    asked = Asked(Model.fallback(first, scripted("two", "two"), clock=clock))

    await asked()
    await clock.sleep(499)
    await asked()
    await clock.sleep(2)
    assert (await asked()).message.text == "well again"


async def test_all_who_open_a_chain_share_what_is_known_of_its_models():
    first = scripted(BUSY)
    chain = Model.fallback(first, scripted("two", "two"), clock=ManualClock())

    await Asked(chain)()
    reply = await Asked(chain)()

    assert reply.message.text == "two"
    assert "(overloaded; rests for 60 s more)" in reply.notices[0]


async def test_models_that_rest_are_asked_where_nobody_else_can():
    clock = ManualClock()
    broken = ModelError("no such key", fault="auth")
    first = scripted(BUSY, "well again")
    asked = Asked(Model.fallback(first, scripted("two", broken), clock=clock))

    await asked()
    reply = await asked()

    assert reply.message.text == "well again"
    assert reply.notices == ("scripted:script answers in place of scripted:script (auth: no such key)",)


async def test_a_short_rate_limit_is_waited_for_once():
    clock = ManualClock()
    asked = Asked(Model.fallback(scripted(LIMITED, "one"), scripted("two"), clock=clock))
    reply = await asked()
    assert (reply.message.text, clock.slept) == ("one", [3.0])
    assert reply.notices == ("scripted:script was asked again after the 3 s it told",)

    clock = ManualClock()
    asked = Asked(Model.fallback(scripted(LIMITED, LIMITED), scripted("two"), clock=clock))
    assert (await asked()).message.text == "two"
    assert clock.slept == [3.0]


async def test_a_long_rate_limit_is_not_waited_for():
    clock = ManualClock()
    chain = Model.fallback(scripted(LIMITED), scripted("two"), patience=2.9, clock=clock)

    assert (await Asked(chain)()).message.text == "two"
    assert clock.slept == []


# in a run


async def test_a_run_tells_who_stands_in_at_its_first_turn_and_when_it_changes():
    clock = ManualClock()
    first = scripted(BUSY, "well again")
    second = scripted(Call("add", {"a": 1, "b": 2}), "three", "four")
    async with session(Model.fallback(first, second, clock=clock), clock) as chat:
        one, two = await chat.run("add"), await chat.run("and?")
        await clock.sleep(100)
        three = await chat.run("and?")

    assert [result.output for result in (one, two, three)] == ["three", "four", "well again"]
    assert notices(one) == ["scripted:script answers in place of scripted:script (overloaded: busy)"]
    assert notices(two) == [
        "scripted:script answers in place of scripted:script (overloaded; rests for 60 s more)"
    ]
    assert notices(three) == ["scripted:script answers again"]


async def test_a_fault_of_the_last_model_is_retried_by_the_runtime():
    clock = ManualClock()
    first, last = scripted(BUSY), scripted(BUSY, BUSY, "at last")
    async with session(Model.fallback(first, last, clock=clock), clock) as chat:
        result = await chat.run("hi")

    assert result.output == "at last"
    assert [(event.attempt, event.fault) for event in events(result, RetryScheduled)] == [
        (2, "overloaded"),
        (3, "overloaded"),
    ]
    assert first.script.given == 1


async def test_without_retries_in_the_runtime_the_chain_still_goes_on():
    clock = ManualClock()
    runtime = Runtime(retry=RetryPolicy(max_attempts=1))
    model = Model.fallback(scripted(LIMITED, LIMITED), scripted("two"), clock=clock)
    async with session(model, clock, runtime=runtime) as chat:
        assert (await chat.run("hi")).output == "two"


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_conversation_goes_to_another_vendor_and_back(api: Any):
    clock = ManualClock()
    steps = [
        Think("I add", signature="c2lnLW9uZQ==").then(Calls(("add", {"a": 1, "b": 2}))),
        Fail(529),
        Say("six"),
    ]
    between = [Think("and more").then(Calls(("add", {"a": 3, "b": 3})))]
    with WireServer(steps, rules=True) as ours, WireServer(between, rules=True) as theirs:
        chain = Model.fallback(
            Model.anthropic("claude-sonnet-4-5", base_url=ours.url, key_env="FIRST_KEY"),
            Model.openai("gpt-5", api=api, base_url=f"{theirs.url}/v1", key_env="SECOND_KEY"),
            cool_down=0,
            clock=clock,
        )
        async with session(chain, clock, generation=Generation(thinking_tokens=2000)) as chat:
            result = await chat.run("add them")
            messages = list(chat.conversation.messages)
            ours.add(Say("bye"))
            after = await chat.run("thanks")

    assert (result.output, after.output) == ("six", "bye")
    assert (ours.refused, theirs.refused) == ([], [])
    assert answered(result) == ["anthropic:claude-sonnet-4-5", "openai:gpt-5", "anthropic:claude-sonnet-4-5"]
    # nothing that one vendor has signed goes to the other
    assert b"c2lnLW9uZQ" not in theirs.requests[0].body
    assert b"and more" not in ours.requests[2].body
    assert b"c2lnLW9uZQ" in ours.requests[2].body
    sources = [p.origin.source for m in messages for p in m.parts if isinstance(p, ThinkingPart)]
    assert sources == ["anthropic", f"openai-{api}"]
    # it would refuse to think over the results of calls before which it has not thought
    assert ["thinking" in one.json for one in ours.requests] == [True, True, False, True]
    assert "thinking is off here: the calls in progress are another model's" in notices(result)
    assert [len(call.arguments) > 0 for m in messages for call in m.calls] == [True, True]


async def test_a_request_that_is_too_large_for_the_stand_in_is_compacted():
    clock = ManualClock()
    words = [Say("x" * 3000), Say("y" * 3000), Fail(529)]
    with WireServer(words) as ours, WireServer(lambda _: Say("fine"), window=2_000) as theirs:
        chain = Model.fallback(
            Model.anthropic("claude-x", base_url=ours.url, key_env="FIRST_KEY"),
            Model.openai("gpt-4o", base_url=f"{theirs.url}/v1", key_env="SECOND_KEY"),
        )
        async with session(chain, clock) as chat:
            for task in ("a " * 1500, "b " * 1500):
                await chat.run(task)
            result = await chat.run("and now?")

    assert (result.status, result.output) == ("completed", "fine")
    assert events(result, ContextCompacted)
    assert theirs.refused
    assert len(ours.requests) == 3


# what a chain is


def test_a_chain_has_a_name_that_makes_it():
    chain = Model.from_name("anthropic:claude-x | openai:gpt-4o")

    assert chain == Model.fallback("anthropic:claude-x", Model.openai("gpt-4o"))
    assert chain.name == "anthropic:claude-x|openai:gpt-4o" == chain.open().name
    assert Model.from_name(chain.name) == chain == pickle.loads(pickle.dumps(chain)) == copy.deepcopy(chain)
    assert hash(chain) == hash(Model.from_name(chain.name))
    assert repr(chain) == "Model('anthropic:claude-x|openai:gpt-4o')"
    assert [one.name for one in chain.members] == ["anthropic:claude-x", "openai:gpt-4o"]


def test_a_cell_names_a_chain_as_it_names_a_model():
    cell = parse('-m "anthropic:claude-x|openai:gpt-4o"', "hello")

    assert cell.model is not None
    assert Model.from_name(cell.model).members[1] == Model.openai("gpt-4o")


@pytest.mark.parametrize("name", ["anthropic:claude-x|", "|", "anthropic:claude-x|antropic:y"])
def test_a_chain_of_what_is_no_model_is_refused(name: str):
    with pytest.raises(LoomUsageError, match="there is no vendor"):
        Model.from_name(name)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Model.fallback("offline"), "at least two models"),
        (
            lambda: Model.fallback("offline", "offline", on=["overload"]),
            "(?s)overload.*on is some of .*overloaded",
        ),
        (lambda: Model.fallback("offline", "offline", cool_down=-1), "cool_down=-1"),
        (lambda: Model.fallback("offline", 3), "not a int"),  # type: ignore[arg-type]
    ],
)
def test_a_chain_that_cannot_be_is_refused_where_it_is_written(make: Callable[[], Model], told: str):
    with pytest.raises(LoomUsageError, match=told):
        make()


def test_a_chain_has_a_key_where_one_of_its_models_has(monkeypatch: pytest.MonkeyPatch):
    chain = Model.from_name("anthropic:claude-x|openai:gpt-4o")
    assert not chain.has_key()
    assert chain.key_env == ("ANTHROPIC_API_KEY", "OPENAI_API_KEY")

    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    assert chain.has_key()
    assert Model.from_name("anthropic:claude-x|ollama:llama3.2").has_key()


def test_a_reply_costs_what_the_model_costs_that_gave_it():
    dear, cheap = Model.anthropic("claude-opus-4-1"), Model.openai("gpt-4o-mini")
    chain = Model.fallback(dear, Model.fallback(cheap, "ollama:llama3.2"))
    usage = Usage(1000, 1000)

    assert chain.cost(usage, "anthropic:claude-opus-4-1") == dear.cost(usage)
    assert chain.cost(usage, "openai:gpt-4o-mini") == cheap.cost(usage) != dear.cost(usage)
    assert chain.cost(usage, "ollama:llama3.2") is None
    assert chain.cost(usage) is None
    assert Model.fallback("offline", scripted()).cost(usage) == 0.0


async def test_the_window_is_that_of_the_model_that_would_be_asked():
    clock = ManualClock()
    with WireServer([Fail(529)]) as server:
        small = Model.openai("gpt-4o-mini")
        large = Model.anthropic("claude-sonnet-4-5", base_url=server.url, key_env="FIRST_KEY")
        chain = Model.fallback(large, small, clock=clock)
        before = chain.window()
        opened = chain.open()
        with pytest.raises(ModelError, match="529"):  # the other has no key
            await opened.reply(request(), lambda _: None)
        await opened.close()
    assert before == large.window() != small.window()
    assert chain.window() == large.window()  # all failed: it is free for the next attempt

    rested = Model.fallback(scripted(BUSY), small, scripted("three"), clock=clock)
    await Asked(rested)()
    assert rested.window() == small.window()


def test_a_chain_is_encoded_as_the_model_that_would_be_asked():
    chain = Model.from_name("openai:gpt-4o|anthropic:claude-x").open()

    assert chain.encode(request()) == Model.openai("gpt-4o").open().encode(request())


def test_another_time_limit_is_that_of_each_model():
    chain = Model.from_name("openai:gpt-4o|anthropic:claude-x").with_timeout(7)

    assert [one.timeout for one in chain.members] == [7, 7]


async def test_a_chain_is_recorded_and_played_with_who_answered(tmp_path: Any):
    path = tmp_path / "chain.json"
    chain = Model.fallback(scripted(BUSY), scripted("two"))

    recorded = await Asked(Model.cassette(path, chain))()
    played = await Asked(Model.cassette(path, chain, "replay"))()

    assert played == recorded
    assert played.model == "scripted:script"


# several keys


async def test_the_next_key_is_shown_where_the_first_is_refused_and_the_first_one_rests():
    with WireServer([Say("one"), Say("two")], key="sk-second-0123456789") as server:
        asked = Asked(Model.anthropic("claude-x", base_url=server.url, key_env=["FIRST_KEY", "SECOND_KEY"]))
        first, second = await asked(), await asked()
        await asked.model.close()

    shown = [shown_key(one) for one in server.requests]
    assert shown == ["sk-first-0123456789", "sk-second-0123456789", "sk-second-0123456789"]
    assert (first.message.text, second.message.text) == ("one", "two")
    assert len(first.notices) == 1
    assert first.notices[0].startswith(
        "anthropic:claude-x with SECOND_KEY answers in place of anthropic:claude-x with FIRST_KEY (auth: "
    )
    assert "0123456789" not in first.notices[0]


@pytest.mark.parametrize("second", ["", "sk-first-0123456789"])
async def test_one_key_is_tried_once(monkeypatch: pytest.MonkeyPatch, second: str):
    monkeypatch.setenv("SECOND_KEY", second)
    with WireServer(key="another") as server:
        asked = Asked(
            Model.openai("gpt-4o", base_url=f"{server.url}/v1", key_env=["FIRST_KEY", "SECOND_KEY"])
        )
        with pytest.raises(ModelError) as caught:
            await asked()
        await asked.model.close()

    assert (caught.value.fault, len(server.requests)) == ("auth", 1)


async def test_a_fault_that_is_none_of_the_key_shows_no_other_key():
    with WireServer([Fail(500)]) as server:
        asked = Asked(Model.anthropic("claude-x", base_url=server.url, key_env=["FIRST_KEY", "SECOND_KEY"]))
        with pytest.raises(ModelError, match="500"):
            await asked()
        server.add(Say("ok"))
        await asked()
        await asked.model.close()

    assert {shown_key(one) for one in server.requests} == {"sk-first-0123456789"}


# each fault, and what becomes of it


@dataclass(frozen=True)
class Row:
    """What becomes of a fault of the first request of a run.

    Written as what happens until the answer, or "aborted".
    """

    fault: Fault
    step: Fixed
    alone: str
    keys: str
    """With a second key in the environment."""
    chain: str
    """With a second model."""


RECOVERIES = [
    Row("auth", Fail(401), "aborted", "next key", "next model"),
    Row("auth", Fail(403), "aborted", "next key", "next model"),
    Row("billing", Fail(402), "aborted", "next key", "next model"),
    Row("rate_limit", Fail(429), "backed off, again", "next key", "next model"),
    Row("rate_limit", Fail(429, retry_after=4), "waited 4 s, again", "next key", "waited 4 s, again"),
    Row("rate_limit", Fail(429, retry_after=40), "waited 40 s, again", "next key", "next model"),
    Row("rate_limit", Fail(429, retry_after=4000), "aborted", "next key", "next model"),
    Row("overloaded", Fail(529), "backed off, again", "backed off, again", "next model"),
    Row("overloaded", Fail(503, retry_after=9), "waited 9 s, again", "waited 9 s, again", "next model"),
    Row("server_error", Fail(500), "backed off, again", "backed off, again", "next model"),
    Row("timeout", Fail(408), "backed off, again", "backed off, again", "next model"),
    Row("timeout", Hang(), "backed off, again", "backed off, again", "next model"),
    Row("connection", Drop(), "backed off, again", "backed off, again", "next model"),
    Row("cut_stream", Say("x").cut(after=1), "backed off, again", "backed off, again", "next model"),
    Row("context_overflow", Fail(400, "prompt is too long"), *["compacted, again"] * 3),
    Row("payload_too_large", Fail(413), *["aborted"] * 3),
    Row("model_not_found", Fail(404), "aborted", "aborted", "next model"),
    Row("format", Fail(400, "no such field"), *["aborted"] * 3),
    Row("content_filter", Fail(400, "content filter"), *["aborted"] * 3),
    Row("unknown", Say("x").failing(after=0, kind="odd_error", message="odd"), *["aborted"] * 3),
]


def playing(step: Fixed) -> Callable[[WireRequest], Fixed]:
    """Three answers to fill the conversation, then the fault for whoever asks with the first key, then answers."""

    def answer(asked: WireRequest) -> Fixed:
        return step if asked.number == 4 else Say("word " * 300)

    return answer


def what_happened(result: RunResult, asked: Sequence[WireRequest], clock: ManualClock) -> str:
    """In the words of the table."""
    if result.status == "failed":
        return "aborted"
    happened = [f"waited {wait:g} s" if wait == int(wait) else "backed off" for wait in clock.slept]
    happened += ["compacted"] if events(result, ContextCompacted) else []
    last = answered(result)[-1]
    if last == "openai:gpt-4o":
        happened.append("next model")
    elif shown_key(asked[-1]) != shown_key(asked[3]):
        happened.append("next key")
    else:
        happened.append("again")
    return ", ".join(happened)


@pytest.mark.parametrize("setting", ["alone", "keys", "chain"])
@pytest.mark.parametrize("row", RECOVERIES, ids=lambda row: f"{row.fault}-{row.step!r}"[:40])
async def test_each_fault_has_the_recovery_of_the_table(row: Row, setting: str):
    clock = ManualClock()
    names = ["FIRST_KEY", "SECOND_KEY"] if setting == "keys" else ["FIRST_KEY"]
    with WireServer(playing(row.step)) as server, WireServer(lambda _: Say("well")) as other:
        model = Model.anthropic(
            "claude-x", base_url=server.url, key_env=names, timeout=2 if row.step == Hang() else 60
        )
        if setting == "chain":
            second = Model.openai("gpt-4o", base_url=f"{other.url}/v1", key_env="SECOND_KEY")
            model = Model.fallback(model, second, clock=clock)
        async with session(model, clock) as chat:
            for task in ("a " * 600, "b " * 600, "c " * 600):
                assert (await chat.run(task)).status == "completed"
            clock.slept.clear()
            result = await chat.run("and now?")

        assert what_happened(result, server.requests, clock) == getattr(row, setting)
        if result.status == "failed":
            assert result.fault == row.fault
        told = [row.fault] if "again" in getattr(row, setting) and clock.slept else []
        if setting == "alone":
            assert [event.fault for event in events(result, RetryScheduled)] == told
        assert len(events(result, MessageAdded)) == (1 if result.status == "failed" else 2)


async def test_thinking_goes_on_over_the_results_of_its_own_calls():
    steps = [Think("hm").then(Calls(("add", {"a": 1, "b": 2}))), Say("3")]
    with WireServer(steps, rules=True) as server:
        chain = Model.fallback(
            Model.anthropic("claude-sonnet-4-5", base_url=server.url, key_env="FIRST_KEY"),
            scripted(Thought("never")),
        )
        async with session(chain, ManualClock(), generation=Generation(thinking_tokens=2000)) as chat:
            result = await chat.run("add")

    assert (result.output, notices(result)) == ("3", [])
    assert all("thinking" in one.json for one in server.requests)


async def test_a_run_costs_what_the_models_cost_that_answered():
    spent = Say("x").with_usage(input_tokens=1000, output_tokens=1000)
    with WireServer([spent, Fail(529)]) as ours, WireServer([spent]) as theirs:
        dear = Model.anthropic("claude-opus-4-1", base_url=ours.url, key_env="FIRST_KEY")
        cheap = Model.openai("gpt-4o-mini", base_url=f"{theirs.url}/v1", key_env="SECOND_KEY")
        async with session(Model.fallback(dear, cheap), ManualClock()) as chat:
            costs = [(await chat.run("hi")).cost for _ in range(2)]

    usage = Usage(1000, 1000)
    assert costs == [dear.cost(usage), cheap.cost(usage)]
