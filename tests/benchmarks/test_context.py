"""What it costs to build a request, to make room and to go on, in long conversations."""

import asyncio
import json

import pytest
from measure import interleaved

from loom_nb.messages import Conversation, Message, TextPart, ToolCallPart, ToolResultPart, user
from loom_nb.models.anthropic_encode import DIALECT
from loom_nb.models.anthropic_encode import message as encode
from loom_nb.runtime.compaction import LADDER, Collapse, ContextProtocol, Micro, Snip, Step, make_room
from loom_nb.runtime.context import View

pytestmark = [pytest.mark.slow, pytest.mark.benchmark, pytest.mark.timeout(600)]


def conversation(messages: int) -> Conversation:
    """An instruction, then calls and their results."""
    made = [user("look around")]
    for number in range(messages // 2):
        made.append(Message("assistant", (ToolCallPart(f"c{number}", "look", json.dumps({"at": number})),)))
        text = f"place {number}: " + "stone and moss, " * 150
        made.append(Message("tool", (ToolResultPart(f"c{number}", "look", (TextPart(text),)),)))
    return Conversation(made)


def body(shown: Conversation) -> bytes:
    return b",".join(shown.fragments(DIALECT, encode))


def us(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs"


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms"


def test_context_build(table):
    """A turn more in a compacted conversation, against joining the bytes that are sent anyway."""
    for messages in (1_000, 10_000):
        view = View(conversation(messages))
        budget = view.tokens
        given = ContextProtocol(budget=budget, ladder=(Step(0.5, Snip()),)).situation(view, budget)
        asyncio.run(make_room(given, [Step(0.5, Snip())], budget, 1, "a benchmark"))
        body(view.shown)
        fragments = list(view.shown.fragments(DIALECT, encode))
        extra = user("next")

        def turn(view=view, extra=extra):
            view.add(extra)
            return body(view.shown)

        ours, floor = interleaved(turn, lambda fragments=fragments: b",".join(fragments), rounds=15)
        table(
            f"request of {messages:,} messages, one turn more", us(ours), us(floor), f"{ours / floor:.2f} · 1"
        )


@pytest.mark.parametrize("step", [Snip(), Micro(), Collapse()], ids=lambda step: step.name)
def test_compaction(table, step):
    """One step over a whole conversation, against reading its bytes once."""
    for messages in (1_000, 10_000):
        talk = conversation(messages)
        whole = body(talk)
        budget = View(talk).tokens

        def compact(talk=talk, budget=budget):
            view = View(talk)
            given = ContextProtocol(budget=budget).situation(view, budget)
            asyncio.run(make_room(given, [Step(0.5, step)], budget, 1, "a benchmark"))
            assert view.compactions
            return view

        ours, floor = interleaved(compact, lambda whole=whole: json.loads(b"[" + whole + b"]"), rounds=5)
        table(f"{step.name}, {messages:,} messages", ms(ours), ms(floor), f"{ours / floor:.2f} · 1")


def test_the_whole_ladder(table):
    """Every step that needs no model, at 1,000 and 10,000 messages: linear in the conversation."""
    times = []
    for messages in (1_000, 10_000):
        talk = conversation(messages)
        budget = View(talk).tokens

        def ladder(talk=talk, budget=budget):
            view = View(talk)
            given = ContextProtocol(budget=budget).situation(view, budget)
            asyncio.run(make_room(given, LADDER[:3], budget, 1, "a benchmark"))

        times += interleaved(ladder, rounds=3)
    table(
        "the ladder, 10,000 against 1,000 messages",
        ms(times[1]),
        ms(times[0]),
        f"{times[1] / times[0]:.1f} · 10",
    )
