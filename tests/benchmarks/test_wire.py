"""What our clients spend on the wire, as a ratio to the bare SDK's own event iterator in the same run.

CPU is that of the thread in which the client runs: the server has a thread of its own. Figures, no
verdicts: nothing here fails for being slow.
"""

import json
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loom_nb import Model
from loom_nb.messages import Conversation, Message, TextPart, ToolCallPart, ToolResultPart, user
from loom_nb.protocols import LanguageModel, Request
from loom_nb.testing import Say, WireServer
from loom_nb.tools import tool

pytestmark = [pytest.mark.benchmark, pytest.mark.slow, pytest.mark.timeout(900)]

DELTAS = 10_000
ROUNDS = 5
REQUESTS = 30
GOALS = {"openai chat": 0.5, "openai responses": 0.5, "anthropic": 0.8}
ROWS: list[tuple[str, str, float, float]] = []
"""(dialect, what, ours, the SDK's), in microseconds."""

Ask = Callable[[], Awaitable[str]]


@tool(read_only=True)
def look_up(key: str, limit: int = 10) -> str:
    """Look a value up.

    Args:
        key: what to look for.
        limit: how many at most.
    """
    return key * limit


def our_model(dialect: str, url: str) -> LanguageModel:
    match dialect:
        case "anthropic":
            return Model.anthropic("claude-x", base_url=url, key_env="BENCH_KEY").open()
        case "openai chat":
            return Model.openai("gpt-4o", base_url=f"{url}/v1", key_env="BENCH_KEY").open()
    return Model.openai("gpt-4o", api="responses", base_url=f"{url}/v1", key_env="BENCH_KEY").open()


def bare_client(dialect: str, url: str) -> Any:
    if dialect == "anthropic":
        from anthropic import AsyncAnthropic

        return AsyncAnthropic(api_key="k", base_url=url, max_retries=0)
    from openai import AsyncOpenAI

    return AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0)


async def bare_ask(dialect: str, client: Any, messages: list[Any], tools: list[Any]) -> str:
    """The SDK's own way: its typed events, and the text picked out of them."""
    pieces: list[str] = []
    match dialect:
        case "anthropic":
            stream = await client.messages.create(
                model="claude-x", max_tokens=100, messages=messages, tools=tools, stream=True
            )
            async for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    pieces.append(event.delta.text)
        case "openai chat":
            stream = await client.chat.completions.create(
                model="gpt-4o",
                messages=messages,
                tools=tools,
                stream=True,
                stream_options={"include_usage": True},
            )
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    pieces.append(chunk.choices[0].delta.content)
        case _:
            stream = await client.responses.create(
                model="gpt-4o", input=messages, tools=tools, stream=True, store=False
            )
            async for event in stream:
                if event.type == "response.output_text.delta":
                    pieces.append(event.delta)
    return "".join(pieces)


@asynccontextmanager
async def both(dialect: str, answer: Any) -> AsyncIterator[tuple[LanguageModel, Any]]:
    """Our model and the bare client at one server that always answers the same."""
    with WireServer(lambda request: answer) as server:
        ours, bare = our_model(dialect, server.url), bare_client(dialect, server.url)
        try:
            yield ours, bare
        finally:
            await ours.close()
            await bare.close()


async def cpu(ask: Ask) -> float:
    """Seconds of this thread."""
    started = time.thread_time()
    await ask()
    return time.thread_time() - started


async def compare(first: Ask, second: Ask) -> tuple[float, float]:
    """Medians of both, measured in turns after one round to get warm."""
    assert await first() == await second()
    pairs = [(await cpu(first), await cpu(second)) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def conversation(rounds: int) -> list[Message]:
    messages = [user("Look everything up.")]
    for n in range(rounds):
        messages += tool_round(n)
    return messages


def tool_round(n: int) -> list[Message]:
    call = ToolCallPart(f"call_{n}", "look_up", f'{{"key": "value {n}", "limit": 3}}')
    found = ToolResultPart(call.id, call.name, (TextPart(f"what was found for {n}: " + "data " * 100),))
    return [Message("assistant", (TextPart("I look it up."), call)), Message("tool", (found,))]


def wire_messages(dialect: str, messages: list[Message]) -> list[Any]:
    """The same conversation as the SDK takes it: what our client sends, parsed."""
    model = our_model(dialect, "http://localhost:1")
    body = json.loads(model.encode(Request("", Conversation(messages), [look_up])))
    told: list[Any] = body.get("input") or body["messages"]
    return told


def wire_tools(dialect: str) -> list[Any]:
    model = our_model(dialect, "http://localhost:1")
    told: list[Any] = json.loads(model.encode(Request("", Conversation([user("x")]), [look_up])))["tools"]
    return told


def table() -> str:
    lines = [
        "# CPU on the wire",
        "",
        "Microseconds of CPU in the client's thread, medians, against the bare SDK's own event iterator.",
        "",
        "| protocol | what | ours | bare SDK | ratio | goal |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for dialect, what, mine, theirs in ROWS:
        goal = f"≤ {GOALS[dialect]}" if "delta" in what else ""
        lines.append(f"| {dialect} | {what} | {mine:,.1f} | {theirs:,.1f} | {mine / theirs:.2f} | {goal} |")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module", autouse=True)
def told(pytestconfig: pytest.Config) -> Iterator[None]:
    """At the end, show what was measured, and keep it where LOOM_NB_ARTIFACTS says."""
    yield
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{table()}")
    if folder := os.environ.get("LOOM_NB_ARTIFACTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "benchmarks-wire.md").write_text(table())


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_KEY", "k")


@pytest.mark.parametrize("writes", ["large writes", "a write each"])
@pytest.mark.parametrize("dialect", GOALS)
async def test_cpu_of_a_delta(dialect: str, writes: str):
    answer = Say("word " * DELTAS, deltas=DELTAS)
    async with both(dialect, answer.slow(0) if writes == "a write each" else answer) as (ours, bare):
        messages = wire_messages(dialect, [user("hi")])
        tools = wire_tools(dialect)

        async def ask() -> str:
            seen: list[Any] = []
            reply = await ours.reply(Request("", Conversation([user("hi")]), [look_up]), seen.append)
            assert len(seen) == DELTAS
            return reply.message.text

        mine, theirs = await compare(ask, lambda: bare_ask(dialect, bare, messages, tools))
    ROWS.append((dialect, f"a delta of {DELTAS:,}, {writes}", mine / DELTAS * 1e6, theirs / DELTAS * 1e6))


@pytest.mark.parametrize("rounds", [1, 100])
@pytest.mark.parametrize("dialect", GOALS)
async def test_cpu_of_a_request(dialect: str, rounds: int):
    """Each request holds one tool round more than the one before, as in a run."""
    async with both(dialect, Say("ok", deltas=1)) as (ours, bare):
        tools = wire_tools(dialect)
        more = [tool_round(rounds + n) for n in range(REQUESTS)]
        grown = [wire_messages(dialect, tool_messages) for tool_messages in more]

        async def ask() -> str:
            request = Request("", Conversation(conversation(rounds)), [look_up])
            ours.encode(request)  # earlier turns have been encoded by then
            spent = time.thread_time()
            for step in more:
                for message in step:
                    request.conversation.add(message)
                await ours.reply(request, lambda delta: None)
            totals[0].append(time.thread_time() - spent)
            return "done"

        async def ask_bare() -> str:
            messages = wire_messages(dialect, conversation(rounds))
            spent = time.thread_time()
            for step in grown:
                messages += step
                await bare_ask(dialect, bare, messages, tools)
            totals[1].append(time.thread_time() - spent)
            return "done"

        totals: tuple[list[float], list[float]] = ([], [])
        await compare(ask, ask_bare)
    mine, theirs = (statistics.median(total[1:]) / REQUESTS * 1e6 for total in totals)
    ROWS.append((dialect, f"a request after {rounds} tool rounds", mine, theirs))
