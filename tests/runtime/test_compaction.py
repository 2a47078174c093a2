"""What the model is shown when there is too much: valid, reversible, and nothing that matters is lost."""

import dataclasses
import itertools
import json
import random

import pytest

from loom_nb import Agent, GovernancePolicy, MemoryStore, Model, Runtime, tool
from loom_nb.errors import LoomUsageError, ModelError
from loom_nb.events import (
    Change,
    CompactionUndone,
    ContextCompacted,
    ContextMarked,
    Noticed,
    PlanItem,
    TurnFinished,
)
from loom_nb.messages import (
    Conversation,
    DataPart,
    ImagePart,
    Message,
    Origin,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    user,
)
from loom_nb.models.scripted import Call
from loom_nb.notebook import render
from loom_nb.notebook.transcript import Transcript
from loom_nb.runtime.compaction import (
    Auto,
    Collapse,
    ContextProtocol,
    Micro,
    Situation,
    Snip,
    Step,
    make_room,
    spans,
)
from loom_nb.runtime.context import View, last_instruction, turns_back
from loom_nb.runtime.recall import recall_tool
from loom_nb.tokens import estimate_message


def asked(number, size=10):
    return Message(
        "assistant", (ToolCallPart(f"c{number}", "look", json.dumps({"at": number, "for": "x" * size})),)
    )


def answered(number, text):
    return Message(
        "tool", (ToolResultPart(f"c{number}", "look", (TextPart(text, Origin("file", "a.txt")),)),)
    )


def work(turns, size=4_000, instruction="find it"):
    """An instruction, then turns of one call each, then an answer."""
    messages = [user(instruction)]
    for number in range(turns):
        messages += [asked(number), answered(number, f"fact {number} " + "y" * size)]
    return [*messages, Message("assistant", (TextPart("found"),))]


def situation(messages, budget=20_000, keep=2, pinned=(), summarise=None, plan=()):
    view = View(Conversation(messages), plan=plan)
    if pinned:
        view.take(*(ContextMarked(number, "pinned") for number in pinned))
    return ContextProtocol(budget=budget, keep_turns=keep).situation(view, budget, summarise)


def valid(messages):
    """By the vendors' rules: every call has its result in the very next message, no result without a call."""
    waiting: list[str] = []
    for message in messages:
        results = [part.call_id for part in message.parts if isinstance(part, ToolResultPart)]
        if message.role == "tool":
            assert results == waiting
            waiting = []
        else:
            assert not results and not waiting
            waiting = [call.id for call in message.calls]
        for call in message.calls:
            json.loads(call.arguments)
        assert message.parts
    return not waiting


async def compacted(given, compaction, tokens=None):
    tokens = tokens or given.view.tokens
    return await make_room(given, [Step(0.5, compaction)], tokens, 1, "a test")


async def test_snip_keeps_head_and_tail_of_what_is_old_and_all_of_what_is_new():
    given = situation(work(6))
    before = list(given.view.shown)
    (done,) = await compacted(given, Snip())
    after = list(given.view.shown)
    assert valid(after)
    assert [a is b for a, b in zip(before, after, strict=True)][-3:] == [True] * 3
    assert after[2].parts[0].text.startswith("fact 0 y")
    assert 'recall("m3") gives them' in after[2].parts[0].text
    assert after[2].parts[0].parts[0].origin == Origin("file", "a.txt")
    assert done.tokens_after == done.tokens_before - sum(map(estimate_message, before)) + given.view.tokens


async def test_snip_leaves_images_of_earlier_turns_out():
    picture = Message("tool", (ToolResultPart("c0", "look", (ImagePart(b"x"),)),))
    given = situation([user("go"), asked(0), picture, *work(4)[1:]])
    await compacted(given, Snip())
    assert given.view.shown.messages[2].parts[0].text == "[image/png left out; m3 has it]"


async def test_micro_leaves_a_line_of_each_result_and_cuts_long_arguments():
    given = situation([user("go"), asked(0, size=900), answered(0, "z" * 900), *work(4)[1:]])
    await compacted(given, Micro())
    after = given.view.shown.messages
    assert valid(after)
    assert json.loads(after[1].calls[0].arguments)["for"].endswith("… (900 characters)")
    assert len(after[2].parts[0].text) < 200


async def test_collapse_lists_whole_turns_and_stays_within_its_share():
    plan = (PlanItem("write it down", "active"),)
    given = situation(work(40), plan=plan, budget=8_000)
    await compacted(given, Collapse())
    after = given.view.shown.messages
    assert valid(after)
    assert after[0] == given.view.conversation.messages[0]
    (told,) = after[1].parts
    assert isinstance(told, DataPart) and told.origin.kind == "model"
    assert "m3 look: fact 0" in told.text and "write it down (active)" in told.text
    assert estimate_message(after[1]) < 8_000 * 0.15 * 1.2
    assert len(after) == 2 + 3


async def test_auto_shows_what_the_model_wrote_and_a_person_can_read_it_in_the_event():
    read = []

    async def summarise(text):
        read.append(text)
        return "Goal: find it. Progress: fact 1."

    given = situation(work(10), summarise=summarise)
    (done,) = await compacted(given, Auto())
    assert "fact 3" in read[0]
    assert done.handoff.startswith("Goal: find it.")
    assert 'recall("m2-m' in given.view.shown.messages[1].parts[0].text


async def test_auto_does_nothing_where_no_model_may_be_asked():
    given = situation(work(10))
    assert await compacted(given, Auto()) == []


async def test_what_is_pinned_and_the_latest_instruction_stay_whatever_is_taken():
    first = work(5, instruction="the old one")
    given = situation([*first, *work(5, instruction="the new one")], pinned=[4], budget=500)
    for compaction in (Snip(), Micro(), Collapse()):
        await compacted(given, compaction)
    after = list(given.view.shown)
    assert valid(after)
    assert first[4] in after and first[3] in after  # a result stays with its call
    assert any(message.text == "the new one" for message in after)
    assert not any(message.text == "the old one" for message in after)


async def test_a_later_instruction_lets_the_one_before_be_collapsed_with_what_stood_for_its_turns():
    given = situation(work(6))
    await compacted(given, Collapse())
    messages = [*given.view.conversation.messages, *work(6, instruction="next")]
    view = View(Conversation(messages), dict(given.view.compactions))
    again = ContextProtocol(budget=20_000, keep_turns=2).situation(view, 20_000)
    await compacted(again, Collapse())
    after = list(view.shown)
    assert valid(after)
    assert [message.text for message in after if message.role == "user" and message.text] == ["next"]
    assert len(after) < 10


async def test_undo_gives_back_the_same_messages_one_by_one_or_whole():
    messages = work(8)
    given = situation(messages)
    view = given.view
    encoded = list(view.shown.fragments("test", lambda message: repr(message).encode()))
    await compacted(given, Snip())
    await compacted(given, Collapse())
    assert len(view.shown) < len(messages)
    view.take(CompactionUndone("c2"))
    assert len(view.shown) == len(messages)
    first = view.compactions["c1"].changes[0].first
    view.take(CompactionUndone("c1", first))
    assert view.shown.messages[first] is messages[first]
    view.take(CompactionUndone("c1"))
    assert view.shown is view.conversation
    assert list(view.shown.fragments("test", lambda message: b"other")) == encoded


async def test_what_is_hidden_reaches_the_model_as_a_word_and_its_call_stays_valid():
    view = View(Conversation(work(2)))
    view.take(ContextMarked(2, "hidden"), ContextMarked(0, "hidden"))
    assert valid(view.shown)
    assert "fact 0" not in repr(view.shown.messages)
    assert "find it" not in repr(view.shown.messages)
    view.take(ContextMarked(2), ContextMarked(0))
    assert view.shown is view.conversation


async def test_only_what_changed_is_encoded_again():
    given = situation(work(20))
    seen = []

    def encode(message):
        seen.append(message)
        return b"x"

    given.view.shown.fragments("test", encode)
    seen.clear()
    await compacted(given, Snip())
    given.view.add(user("next"))
    given.view.shown.fragments("test", encode)
    assert len(seen) == sum(item.changed for item in given.view.items()) + 1


async def test_a_step_that_frees_next_to_nothing_is_not_taken():
    given = situation(work(4, size=20), budget=100_000)
    assert await compacted(given, Collapse()) == []


def test_the_ladder_is_checked_for_order():
    with pytest.raises(LoomUsageError, match="grow from step to step"):
        ContextProtocol(ladder=(Step(0.8, Snip()), Step(0.7, Micro())))
    with pytest.raises(LoomUsageError, match="between 0 and the first step"):
        ContextProtocol(target=0.9)
    with pytest.raises(LoomUsageError, match="a whole number from 500 on"):
        ContextProtocol(budget=10)


@pytest.mark.parametrize("seed", range(40))
async def test_every_mixture_of_steps_pins_and_undos_is_valid(seed):
    chance = random.Random(seed)
    messages = []
    number = 0
    for _ in range(chance.randint(1, 6)):
        messages.append(user(f"do {number}"))
        for _ in range(chance.randint(0, 5)):
            calls = [number + one for one in range(chance.randint(1, 3))]
            number += 3
            messages.append(
                Message("assistant", tuple(ToolCallPart(f"c{one}", "look", '{"a": 1}') for one in calls))
            )
            messages.append(
                Message(
                    "tool", tuple(answered(one, "y" * chance.randint(0, 6_000)).parts[0] for one in calls)
                )
            )
        if chance.random() < 0.8:
            messages.append(Message("assistant", (TextPart("done " * chance.randint(1, 100)),)))
    view = View(Conversation(messages))
    for _ in range(12):
        budget = chance.choice([500, 2_000, 8_000])
        pick = chance.random()
        if pick < 0.6:
            given = ContextProtocol(budget=budget, keep_turns=chance.randint(1, 3)).situation(view, budget)
            await compacted(given, chance.choice([Snip(), Micro(), Collapse()]))
        elif pick < 0.8 and view.compactions:
            view.take(CompactionUndone(chance.choice(list(view.compactions))))
        else:
            mark = chance.choice(["pinned", "hidden", None])
            view.take(ContextMarked(chance.randrange(len(messages)), mark))
        assert valid(view.shown)
        covered = sorted((change.first, change.last) for change in view.changes())
        assert all(a[1] < b[0] for a, b in itertools.pairwise(covered))
    view.take(*(CompactionUndone(name) for name in list(view.compactions)))
    view.take(*(ContextMarked(one) for one in list(view.marks)))
    assert list(view.shown) == messages


def test_spans_never_part_a_call_from_its_result():
    messages = work(3)
    assert list(spans(messages, 4, frozenset({0}))) == [(1, 2)]
    assert list(spans(messages, 7, frozenset({0, 4}))) == [(1, 2), (5, 6)]


def test_instructions_and_turns_are_found():
    messages = [*work(3), Message("user", (DataPart("earlier work", "…", Origin("model")),))]
    assert last_instruction(messages) == 0
    assert turns_back(messages, 1) == 7
    assert turns_back(messages, 99) == 0


# -- in a run ----------------------------------------------------------------------------------------------


@tool(read_only=True)
def look(at: int) -> str:
    """Look at a place.

    Args:
        at: the place
    """
    return f"fact {at}: " + f"detail {at} " * 300


MILD = (Step(0.6, Snip()), Step(0.7, Micro()), Step(0.8, Collapse()))


def long_agent(turns, protocol, store, *more):
    script = [Call("look", {"at": number}) for number in range(turns)]
    runtime = Runtime(context=protocol, governance=GovernancePolicy())
    return Agent(
        Model.scripted([*script, *more, "the end"]), tools=[look], runtime=runtime, session_store=store
    )


async def test_a_long_run_is_compacted_on_the_way_and_every_call_is_made_once():
    store = MemoryStore()
    told = []
    agent = long_agent(
        40,
        ContextProtocol(budget=6_000, ladder=MILD),
        store,
    )
    agent.on("on_context_compact", lambda **event: told.append(event))
    async with agent.session() as session:
        result = await session.run("look around")
        assert result.status == "completed"
        assert [use.arguments["at"] for use in result.tools] == list(range(40))
        compactions = [entry.event for entry in result.events if isinstance(entry.event, ContextCompacted)]
        assert {one.strategy for one in compactions} >= {"snip", "micro"}
        assert len(told) == len(compactions)
        assert valid(session.view.shown)
        assert session.view.tokens < 6_000
        assert len(session.conversation) == 82


async def test_another_process_sees_what_was_compacted():
    store = MemoryStore()
    agent = long_agent(20, ContextProtocol(budget=6_000), store)
    async with agent.session() as session:
        await session.run("look around")
        shown = list(session.view.shown)
        name = session.id
    from loom_nb import SessionConfig

    other = Agent(Model.scripted(["again"]), tools=[look], session_store=store)
    async with other.session(SessionConfig(name)) as session:
        await session.run("and now?")
        assert list(session.view.shown)[: len(shown)] == shown


async def test_the_model_finds_again_what_it_is_no_longer_shown():
    seen = []

    def ask(messages):
        seen.append(messages)
        return Call("recall", {"query": "fact 2"})

    def answer(messages):
        seen.append(messages)
        return messages[-1].parts[0].text

    only = ContextProtocol(budget=6_000, ladder=(Step(0.6, Collapse()),))
    agent = long_agent(30, only, MemoryStore(), ask, answer)
    result = await agent.run("look around")
    assert "fact 2: detail 2 detail 2 " + "detail 2 " * 100 not in repr(seen[0])
    assert result.tools[-1].name == "recall"
    assert "fact 2: detail 2" in result.tools[-1].result


async def test_when_the_vendor_refuses_the_size_the_same_turn_is_tried_with_less():
    script = [Call("look", {"at": number}) for number in range(6)]
    full = ModelError("prompt is too long", fault="context_overflow")
    runtime = Runtime(context=ContextProtocol(ladder=MILD))
    agent = Agent(
        Model.scripted([*script, full, "the end"]), tools=[look], runtime=runtime, session_store=MemoryStore()
    )
    result = await agent.run("look around")
    assert result.status == "completed"
    reasons = [entry.event.reason for entry in result.events if isinstance(entry.event, ContextCompacted)]
    assert set(reasons) == {"the vendor's limit"}


async def test_when_nothing_can_be_left_out_the_vendors_refusal_is_the_end():
    full = ModelError("prompt is too long", fault="context_overflow")
    result = await Agent(Model.scripted([full]), session_store=MemoryStore()).run("go")
    assert (result.status, result.finished.fault) == ("failed", "context_overflow")


async def test_instructions_that_leave_no_room_end_the_run_and_name_the_largest_items():
    agent = Agent(
        Model.scripted(["never"]),
        instructions="be good " * 2_000,
        tools=[look],
        runtime=Runtime(context=ContextProtocol(budget=1_000)),
        session_store=MemoryStore(),
    )
    result = await agent.run("go")
    assert (result.status, result.finished.fault) == ("limit", "context")
    assert "of a budget of 1,000" in result.reason
    assert "the instructions 4,000" in str(result.error)


async def test_a_handoff_is_written_by_the_model_and_is_in_the_next_request():
    seen = []

    def last(messages):
        seen.append(messages)
        return "the end"

    script = [Call("look", {"at": number}) for number in range(8)]
    only = ContextProtocol(budget=8_000, ladder=(Step(0.7, Auto()),), keep_turns=2)
    agent = Agent(
        Model.scripted([*script, "Goal: look around. Progress: facts 0 to 5.", last]),
        tools=[look], runtime=Runtime(context=only), session_store=MemoryStore(),
    )  # fmt: skip
    result = await agent.run("look around")
    (event,) = [entry.event for entry in result.events if isinstance(entry.event, ContextCompacted)]
    assert event.handoff.startswith("Goal: look around.")
    assert "facts 0 to 5" in repr(seen[0])
    turns = [entry.event for entry in result.events if isinstance(entry.event, TurnFinished)]
    assert result.turns == len(turns) == 9, "a handoff is no step of the agent"
    assert event.usage.output_tokens > 0
    assert result.usage == sum((turn.usage for turn in turns), event.usage), "and is paid for all the same"
    footer = str(render.bundle(Transcript.of(result.events))["text/plain"]).splitlines()[-1]
    assert "9 steps" in footer
    assert f"compaction: 1 call, {event.usage.input_tokens:,}→{event.usage.output_tokens:,} tok" in footer


async def test_a_handoff_that_frees_too_little_is_paid_for_and_told():
    script = [Call("look", {"at": number}) for number in range(8)]
    only = ContextProtocol(budget=8_000, ladder=(Step(0.7, Auto()),), keep_turns=2)
    agent = Agent(
        Model.scripted([*script, "long and winding " * 4_000, *["the end"] * 9]),
        tools=[look], runtime=Runtime(context=only), session_store=MemoryStore(),
    )  # fmt: skip
    result = await agent.run("look around")
    told = [entry.event.text for entry in result.events if isinstance(entry.event, Noticed)]
    assert any(text.startswith("compaction: 1 call, ") and "not used" in text for text in told)
    spent = [entry.event.usage for entry in result.events if isinstance(entry.event, TurnFinished)]
    assert result.usage.output_tokens > sum(one.output_tokens for one in spent) + 10_000
    assert result.turns == len(spent)


async def test_a_handoff_that_fails_is_told_and_the_run_goes_on():
    script = [Call("look", {"at": number}) for number in range(4)]
    refused = ModelError("overloaded", fault="billing")
    only = ContextProtocol(budget=4_000, ladder=(Step(0.7, Auto()),), keep_turns=1)
    agent = Agent(
        Model.scripted([*script, refused, "the end"]),
        tools=[look], runtime=Runtime(context=only), session_store=MemoryStore(),
    )  # fmt: skip
    result = await agent.run("look around")
    assert result.status == "completed"
    assert any("not summarised" in str(entry.event) for entry in result.events)


@dataclasses.dataclass(frozen=True)
class DropsAll:
    """A strategy of a user."""

    name: str = "drops all"

    def compact(self, situation: Situation):
        ranges = spans(situation.view.conversation.messages, situation.before, situation.stays)
        note = Message("user", (DataPart("note", "all is well", Origin("model")),))
        return [Change(first, last, (note,)) for first, last in ranges]


async def test_a_strategy_of_the_users_own_is_a_step_like_any_other():
    agent = long_agent(20, ContextProtocol(budget=6_000, ladder=(Step(0.7, DropsAll()),)), MemoryStore())
    async with agent.session() as session:
        result = await session.run("look around")
        assert result.status == "completed"
        assert {c.strategy for c in session.view.compactions.values()} == {"drops all"}


# -- by a person -------------------------------------------------------------------------------------------


async def done(turns=12, store=None, ladder=MILD, *more):
    agent = long_agent(turns, ContextProtocol(ladder=ladder), store or MemoryStore(), *more)
    session = agent.session()
    await session.run("look around")
    return session


async def test_a_person_compacts_looks_at_it_first_and_undoes_it():
    async with await done() as session:
        before = list(session.view.shown)
        would = await session.compact(preview=True)
        assert [one.strategy for one in would] == ["snip"]
        assert session.view.shown is session.conversation
        assert session.events()[-1].event.type == "RunFinished"
        assert await session.compact() == would
        assert session.view.tokens < sum(map(estimate_message, before))
        undone = await session.undo_compaction()
        assert undone == CompactionUndone("c1")
        assert session.view.shown is session.conversation
        assert [one.event.type for one in session.events()[-2:]] == ["ContextCompacted", "CompactionUndone"]
        with pytest.raises(LoomUsageError, match="nothing was compacted"):
            await session.undo_compaction()


async def test_one_strategy_is_asked_for_by_its_name():
    async with await done() as session:
        (taken,) = await session.compact("collapse")
        assert taken.strategy == "collapse"
        with pytest.raises(LoomUsageError, match="no strategy is called 'shrink'") as refused:
            await session.compact("shrink")
        assert "snip, micro, collapse" in str(refused.value)


async def test_a_handoff_that_is_asked_for_is_written_by_the_model_and_its_cost_is_kept():
    async with await done(12, None, (*MILD, Step(0.9, Auto())), "the end", "Goal: look.") as session:
        (taken,) = await session.compact("auto")
        assert taken.handoff.startswith("Goal: look.")
        assert taken.usage.output_tokens > 0


async def test_a_compaction_that_fails_midway_leaves_all_as_it_was():
    ladder = (Step(0.7, Snip(chars=3_900, head=3_000)), Step(0.9, Auto()))
    async with await done(12, None, ladder, "the end", ModelError("overloaded", fault="billing")) as session:
        before, shown, entries = session.view.tokens, list(session.view.shown), len(session.events())
        with pytest.raises(ModelError, match="overloaded"):
            await session.compact()
        assert session.view.compactions == {}
        assert (session.view.tokens, list(session.view.shown)) == (before, shown)
        assert len(session.events()) == entries


def test_a_result_is_not_shown_beside_the_calls_of_another_turn():
    """What stands between them is left out: nothing of either is sent without its other half."""
    messages = [user("look"), asked(1), answered(1, "one"), asked(2), answered(2, "two"), user("and now?")]
    view = View(Conversation(messages))
    view.take(ContextMarked(2, "hidden"), ContextCompacted("c1", "left out", "", (Change(3, 3),), 1, 1))
    calls = [call.id for message in view.shown for call in message.calls]
    results = [
        part.call_id for message in view.shown for part in message.parts if isinstance(part, ToolResultPart)
    ]
    assert calls == results


def test_what_was_drawn_before_its_results_came_is_drawn_with_them():
    """A fact may be taken between a call and its result: a view that has grown is one that was made anew."""
    messages = [user("look"), asked(1), answered(1, "one"), asked(2), answered(2, "two"), user("and now?")]
    for gone in (1, 2):
        for at in range(gone + 1, len(messages) + 1):
            view = View(Conversation(messages[:at]))
            view.take(ContextCompacted("c1", "left out", "", (Change(gone, gone),), 1, 1))
            for message in messages[at:]:
                view.add(message)
                assert list(view.shown) == [item.message for item in view.items()]
            assert valid(view.shown)


def test_a_run_that_was_left_out_counts_among_the_compactions():
    view = View(
        Conversation([user("one"), Message("assistant", (TextPart("1"),)), user("two"), user("three")])
    )
    view.take(
        ContextCompacted("c1", "left out", "", (Change(0, 1),), 9, 5),
        ContextCompacted("c2", "left out", "", (Change(2, 2),), 5, 2),
    )
    assert {name: len(changes) for name, changes in view.counting().items()} == {"c1": 1, "c2": 1}


async def test_the_ledger_adds_up_and_says_what_became_of_each_item():
    async with await done() as session:
        await session.mark(2, "pinned")
        await session.compact("snip")
        await session.mark(4, "hidden")
        ledger = await session.ledger()
        by_name = {item.name: item for item in ledger.items}
        assert by_name["m3"].state == "pinned" and by_name["m3"].origin == "tool:look"
        assert by_name["m5"].state == "hidden" and by_name["m5"].whole > by_name["m5"].tokens
        assert by_name["m7"].state == "shortened" and by_name["m7"].by == "c1"
        assert by_name["m26"].state == "sent" and by_name["m26"].whole == 0
        assert by_name["tool:look"].section == "tools"
        assert ledger.sections()["history"] == session.view.tokens
        assert sum(ledger.sections().values()) == ledger.tokens


async def test_the_ledger_names_what_a_list_stands_for():
    async with await done() as session:
        (taken,) = await session.compact("collapse")
        change = taken.changes[0]
        ledger = await session.ledger()
        (stands,) = [item for item in ledger.items if item.state == "stands for others"]
        assert stands.name == f"m{change.first + 1}-m{change.last + 1}" and stands.by == "c1"
        assert (
            len([item for item in ledger.items if item.state == "left out"]) == change.last - change.first + 1
        )
        assert ledger.sections()["history"] == session.view.tokens


async def test_what_is_marked_must_be_there():
    async with await done(2) as session:
        with pytest.raises(LoomUsageError, match="no message m99"):
            await session.mark(98, "pinned")


async def test_a_mark_that_there_is_not_leaves_the_log_readable():
    store = MemoryStore()
    async with Agent(Model.scripted(["one"]), session_store=store).session() as session:
        await session.run("first")
        with pytest.raises(LoomUsageError, match="'hide'"):
            await session.mark(0, "hide")
        assert [one.event for one in session.events()]


async def test_marks_survive_the_process(tmp_path):
    from loom_nb import SessionConfig, SqliteStore

    store = SqliteStore(tmp_path / "loom.db")
    async with await done(6, store) as session:
        await session.mark(2, "pinned")
        await session.mark(4, "hidden")
        await session.compact("snip")
        shown = list(session.view.shown)
        name = session.id
    agent = Agent(Model.scripted(["again"]), tools=[look], session_store=store)
    async with agent.session(SessionConfig(name)) as session:
        await session.ledger()
        assert list(session.view.shown) == shown
        assert session.view.pinned == {2}
    store.close()


async def test_a_preview_of_a_request_is_what_is_sent_after_compaction():
    async with await done(12, None, MILD, "the end", lambda messages: f"{len(messages)} messages") as session:
        await session.compact("collapse")
        request, _ = await session.preview("and now?")
        result = await session.run("and now?")
        assert result.output == f"{len(request.conversation)} messages"


async def test_what_is_hidden_is_told_by_no_list_and_read_by_no_recall():
    for hide_first in (True, False):
        async with await done(12) as session:
            if hide_first:
                await session.mark(4, "hidden")
            await session.compact("snip")
            await session.compact("collapse")
            if not hide_first:
                assert "fact 1:" in repr(session.view.shown.messages)
                await session.mark(4, "hidden")
            assert "fact 1:" not in repr(session.view.shown.messages)
            assert valid(session.view.shown)
            read = recall_tool(session.view).function
            assert "fact 1:" not in repr([*read(item="m1-m9"), *read(query="fact 1")])
            assert "fact 2:" in repr(read(item="m1-m9"))
            await session.mark(4, None)
            assert "fact 1:" in repr(read(item="m5"))
