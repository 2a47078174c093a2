"""Routing: which model a task goes to, and when that changes."""

import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from loom_nb import Agent, MemoryStore, Model, RunResult, tool
from loom_nb.errors import LoomUsageError, ModelError
from loom_nb.events import ContextCompacted, Delta, Noticed, TurnFinished
from loom_nb.inputs import SessionConfig
from loom_nb.messages import Conversation, FilePart, ImagePart, Message, Origin, TextPart, Usage, user
from loom_nb.models.routing import STRENGTHS, Facts, Router
from loom_nb.models.scripted import Call
from loom_nb.protocols import OutputSchema, Reply, Request
from loom_nb.runtime.session import Session
from loom_nb.testing import Calls, ManualClock, Say, WireServer
from loom_nb.tools import as_tool

IMAGE = ImagePart(b"\x89PNG", "image/png")
PDF = FilePart(b"%PDF", "application/pdf", "a.pdf")


@tool(read_only=True)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(read_only=True)
def long_text(size: int) -> str:
    """A text of that many characters."""
    return "0123456789" * (size // 10)


def scripted(*replies: Any) -> Model:
    return Model.scripted(list(replies))


def router(*strengths: Any) -> Router:
    """Each strength has a model of its name; for all else there is the offline model."""
    model = Model.route([(one, Model.ollama(str(n))) for n, one in enumerate(strengths)], default="offline")
    chosen = model.options["group"]
    assert isinstance(chosen, Router)
    return chosen


def facts(instruction: str = "", tokens: int = 100, **more: Any) -> Facts:
    return Facts(tokens, instruction, **more)


async def ask(model: Model, *parts: Any, **more: Any) -> Reply:
    opened = model.open()
    try:
        return await opened.reply(
            Request("", Conversation([Message("user", parts)]), **more), lambda delta: None
        )
    finally:
        await opened.close()


@asynccontextmanager
async def session(model: Model) -> AsyncIterator[Session]:
    opened = Session(
        Agent(model, tools=[add, long_text]), SessionConfig(id="s"), MemoryStore(), clock=ManualClock()
    )
    try:
        yield opened
    finally:
        await opened.close()


def events(result: RunResult, kind: type[Any]) -> list[Any]:
    return [entry.event for entry in result.events if isinstance(entry.event, kind)]


def notices(result: RunResult) -> list[str]:
    return [event.text for event in events(result, Noticed)]


# the choice


@pytest.mark.parametrize(
    ("task", "strength"),
    [
        (facts("what is on it?", images=1), "vision"),
        (facts("sum it up", files=2), "files"),
        (facts("sum it up", tokens=150_000), "long context"),
        (facts("Refactor this function"), "code"),
        (facts("why is load() slow?"), "code"),
        (facts("what does main.py do"), "code"),
        (facts("```\nx = 1\n```"), "code"),
        (facts("Traceback (most recent call last): …"), "code"),
        (facts("Prove that there are infinitely many primes"), "reasoning"),
        (facts("compare the two offers"), "reasoning"),
        (facts("what is the capital of France?"), "cheap"),
        (facts("thanks"), "cheap"),
        (facts("tell me a story. " * 20), "default"),
        (facts("thanks", tokens=50_000), "default"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.instruction[:30],
)
def test_a_task_goes_to_the_model_that_is_good_at_it(task: Facts, strength: str):
    chosen = router("vision", "files", "long context", "code", "reasoning", "cheap")

    assert chosen.reason(chosen.choose(task)) == strength


@pytest.mark.parametrize("strength", STRENGTHS)
def test_no_strength_is_asked_for_by_nothing(strength: str):
    assert router(strength).choose(facts()) == 1


def test_the_first_rule_that_applies_counts():
    task = facts("debug what is on it", images=1)

    assert router("vision", "code").choose(task) == 0
    assert router("code", "vision").choose(task) == 0


def test_a_function_of_the_user_is_a_rule():
    def mentions_money(task: Facts) -> bool:
        return "invoice" in task.instruction

    chosen = router(mentions_money, lambda task: task.structured)

    assert chosen.reason(chosen.choose(facts("the invoice"))) == "mentions_money"
    assert chosen.choose(facts("the letter", structured=True)) == 1
    assert chosen.choose(facts("the letter")) == 2


def test_a_function_that_fails_is_named():
    def broken(task: Facts) -> bool:
        return task.colour  # type: ignore[attr-defined,no-any-return]

    with pytest.raises(LoomUsageError, match="the rule 'broken' of a route failed") as caught:
        router(broken).choose(facts())
    assert "colour" in caught.value.cause


def test_a_model_whose_window_is_too_small_is_passed_over():
    small, large = Model.openai("gpt-4o-mini"), Model.gemini("gemini-2.5-flash")
    route = Model.route([("code", small), ("reasoning", large)], default=small).options["group"]
    windows = (small.window() or 0, large.window() or 0)
    assert 0 < windows[0] < windows[1]

    task = "plan the code"
    assert route.choose(facts(task, tokens=windows[0] - 9_000)) == 0
    assert route.choose(facts(task, tokens=windows[0])) == 1
    assert route.choose(facts("fix the code", tokens=windows[0])) == 1, "nothing else fits"
    assert Model.route({"code": small}, default=large).window() == windows[1]


async def test_the_rules_see_the_request_as_it_would_be_sent():
    seen: list[Facts] = []

    def look(task: Facts) -> bool:
        seen.append(task)
        return False

    model = Model.route([(look, "offline")], default=scripted("ok"))
    asked = (TextPart("look at it"), TextPart("not mine", Origin("web", "x")), IMAGE, PDF)
    await ask(model, *asked, tools=[as_tool(add)], output=OutputSchema("form", {}))

    (task,) = seen
    assert (task.instruction, task.images, task.files) == ("look at it", 1, 1)
    assert (task.tools, task.structured) == (("add",), True)
    assert task.tokens > 1000


async def test_an_image_asks_for_a_model_that_sees():
    model = Model.route({"vision": scripted("I see")}, default=scripted("I read"))

    assert (await ask(model, TextPart("what is it?"), IMAGE)).message.text == "I see"
    assert (await ask(model, TextPart("what is it?"))).message.text == "I read"


# in a session


async def test_a_notice_tells_of_each_change_only():
    route = Model.route({"code": scripted("a", "b", "e")}, default=scripted("c", "d"))
    tasks = ["fix the bug", "another bug", "tell me a joke", "and one more", "write a function"]
    async with session(route) as chat:
        results = [await chat.run(task) for task in tasks]

    assert [result.output for result in results] == ["a", "b", "c", "d", "e"]
    assert [notices(result) for result in results] == [
        ["routed to scripted:script (code)"],
        [],
        ["routed to scripted:script (default)"],
        [],
        ["routed to scripted:script (code)"],
    ]


async def test_the_default_is_nothing_to_tell_at_first():
    route = Model.route({"code": scripted()}, default=scripted("hello"))
    async with session(route) as chat:
        assert notices(await chat.run("hi")) == []


async def test_a_run_stays_with_its_model_once_tools_were_called():
    code = scripted(Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4}), "done")
    route = Model.route([(lambda task: task.tokens < 150, code)], default=scripted())
    async with session(route) as chat:
        result = await chat.run("add " * 30)

    assert result.output == "done"
    assert len(events(result, TurnFinished)) == 3


async def test_what_outgrows_its_model_goes_to_a_larger_one():
    calls = Calls(("long_text", {"size": 19_000}), ("long_text", {"size": 18_000}))
    with WireServer([calls, Say("done")], rules=True) as server:
        small = Model.openai("gpt-4", base_url=f"{server.url}/v1")  # takes 8,192 tokens
        large = Model.openai("gpt-4o", base_url=f"{server.url}/v1")
        async with session(Model.route({"code": small}, default=large)) as chat:
            result = await chat.run("run the code")

    assert small.window() == 8192
    assert [event.model for event in events(result, TurnFinished)] == ["openai:gpt-4", "openai:gpt-4o"]
    assert [one.json["model"] for one in server.requests] == ["gpt-4", "gpt-4o"]
    assert notices(result) == [
        "routed to openai:gpt-4 (code)",
        "routed to openai:gpt-4o (default; the request does not fit openai:gpt-4)",
    ]
    assert events(result, ContextCompacted) == []


async def test_a_vendor_that_finds_a_request_too_large_is_believed():
    with WireServer(lambda _: Say("no"), window=10) as tight, WireServer([Say("yes")]) as wide:
        small = Model.openai("gpt-4o-mini", base_url=f"{tight.url}/v1")
        large = Model.openai("gpt-4.1", base_url=f"{wide.url}/v1")
        reply = await ask(Model.route({"code": small}, default=large), TextPart("fix the code"))

    assert (reply.message.text, reply.model) == ("yes", "openai:gpt-4.1")


async def test_where_no_larger_one_is_known_the_runtime_is_told():
    overflow = ModelError("too long", fault="context_overflow")
    with pytest.raises(ModelError, match="too long"):
        await ask(Model.route({"code": scripted(overflow)}, default=scripted("never")), TextPart("code"))


async def test_what_the_runtime_asks_by_itself_changes_nothing():
    route = Model.route({"code": scripted("a", "a summary", "b")}, default=scripted())
    opened = route.open()
    shown: list[Delta] = []
    work = Conversation([user("fix the code")])

    first = await opened.reply(Request("", work), shown.append)
    aside = Conversation([Message("user", (TextPart("Write the handoff.", Origin("system")),))])
    summary = await opened.reply(Request("", aside), shown.append)
    work.add(first.message)
    work.add(Message("user", (TextPart("This does not fit the schema.", Origin("system")),)))
    again = await opened.reply(Request("", work), shown.append)

    assert (summary.message.text, summary.notices) == ("a summary", ())
    assert (again.message.text, again.notices) == ("b", ())


async def test_a_chain_may_stand_in_a_route():
    busy = ModelError("busy", fault="overloaded")
    chain = Model.fallback(scripted(busy), scripted("two"))
    route = Model.route({"code": chain}, default=scripted())

    reply = await ask(route, TextPart("fix the code"))

    assert reply.model == "scripted:script"
    assert reply.notices == (
        "routed to scripted:script|scripted:script (code)",
        "scripted:script answers in place of scripted:script (overloaded: busy)",
    )


# what a route is


def test_a_route_is_a_value():
    def route() -> Model:
        return Model.route({"code": "openai:gpt-4o", "vision": "gemini:g"}, default="ollama:llama3.2")

    model = route()

    assert model == route() == copy.deepcopy(model)
    assert model != Model.route({"code": "openai:gpt-4o"}, default="ollama:llama3.2")
    assert model.name == "route:code=openai:gpt-4o, vision=gemini:g, else ollama:llama3.2"
    assert model.name == model.open().name
    assert [one.name for one in model.members] == ["openai:gpt-4o", "gemini:g", "ollama:llama3.2"]
    assert model.has_key()
    assert model.cost(Usage(10, 10), "ollama:llama3.2") is None
    assert model.cost(Usage(10, 10), "openai:gpt-4o") == Model.openai("gpt-4o").cost(Usage(10, 10))
    assert [one.timeout for one in model.with_timeout(7).members] == [7, 7, 7]


def test_a_route_is_encoded_as_the_model_that_is_chosen():
    asked = Request("", Conversation([user("fix the bug")]))
    route = Model.route({"code": "openai:gpt-4o"}, default="anthropic:claude-x")

    assert route.open().encode(asked) == Model.openai("gpt-4o").open().encode(asked)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Model.route({}, default="offline"), "at least one rule"),
        (lambda: Model.route({"cod": "offline"}, default="offline"), "there is no rule 'cod'"),
        (lambda: Model.route(["code"], default="offline"), "there is no rule 'code'"),  # type: ignore[list-item]
        (lambda: Model.route({"code": "nobody:x"}, default="offline"), "there is no vendor"),
        (lambda: Model.route({"code": "offline"}, default=3), "not a int"),  # type: ignore[arg-type]
        (lambda: Model.from_name("route:code"), "there is no vendor 'route'"),
    ],
)
def test_a_route_that_cannot_be_is_refused_where_it_is_written(make: Callable[[], Model], told: str):
    with pytest.raises(LoomUsageError, match=told):
        make()


async def test_what_a_choice_costs_does_not_grow_with_the_conversation():
    """Each message is read once, however often the model is asked."""
    read: list[int] = []

    class Parts(tuple[Any, ...]):
        def __iter__(self) -> Any:
            read.append(1)
            return super().__iter__()

    conversation = Conversation()
    opened = Model.route({"vision": scripted()}, default=scripted(*["ok"] * 50)).open()
    per_turn = []
    for _ in range(50):
        conversation.add(Message("user", Parts((TextPart("go on"),))))
        read.clear()
        reply = await opened.reply(Request("", conversation), lambda delta: None)
        conversation.add(reply.message)
        per_turn.append(len(read))

    assert per_turn[1] == per_turn[-1] > 0
